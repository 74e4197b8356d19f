"""The 2048 features that FID was defined on, from pytorch-fid's Inception network and weights.

Heusel et al., https://arxiv.org/abs/1706.08500; network and weights: https://github.com/mseitzer/pytorch-fid.
The weights are not ours to ship: see grader.inputs.downloads.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from grader.features import devices

DIM = 2048


class Inception(nn.Module):
    """Pictures float [N, 3, H, W] in 0..255 -> features [N, 2048]; it enlarges them to 299x299 itself."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x / 255)[0].flatten(1)


def load(weights: Path) -> Inception:
    """pytorch-fid's network with weights from a file (a plain state dict; nothing else is unpickled), in its place."""
    from pytorch_fid import inception

    state = torch.load(weights, map_location="cpu", weights_only=True)
    # The package can only download its weights; hand it ours where it would.
    with patch.object(inception, "load_state_dict_from_url", lambda *args, **kwargs: state):
        return devices.place(Inception(inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[DIM]])))
