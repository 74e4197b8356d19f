"""The 2048 features that FID was defined on, from pytorch-fid's Inception network and weights.

Heusel et al., https://arxiv.org/abs/1706.08500; network and weights: https://github.com/mseitzer/pytorch-fid.
The weights are not ours to ship: see grader.assets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

DIM = 2048
BATCH_SIZE = 50  # pytorch-fid's default


def load(weights: Path) -> torch.nn.Module:
    """pytorch-fid's network with weights from a file (a plain state dict; nothing else is unpickled)."""
    from pytorch_fid import inception

    state = torch.load(weights, map_location="cpu", weights_only=True)
    # The package can only download its weights; hand it ours where it would.
    with patch.object(inception, "load_state_dict_from_url", lambda *args, **kwargs: state):
        network = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[DIM]])
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def features(network: torch.nn.Module, pictures: np.ndarray, progress: Callable[[int], None] = lambda n: None):
    """Features [N, 2048] float64 of pictures uint8 [N, H, W, 3]; the network itself enlarges them to 299x299.

    `progress` is called with the number of pictures done.
    """
    device = next(network.parameters()).device
    rows = []
    for start in range(0, len(pictures), BATCH_SIZE):
        batch = torch.from_numpy(pictures[start : start + BATCH_SIZE]).to(device).permute(0, 3, 1, 2).float() / 255
        rows.append(network(batch)[0].flatten(1).cpu().double().numpy())  # [n, 2048, 1, 1] -> [n, 2048]
        progress(len(batch))
    return np.concatenate(rows)
