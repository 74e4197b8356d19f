"""The 2048 features that FID was defined on, from pytorch-fid's Inception network and weights.

Heusel et al., https://arxiv.org/abs/1706.08500; network and weights: https://github.com/mseitzer/pytorch-fid.
The weights are not ours to ship: see grader.inputs.downloads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DIM = 2048


def load(weights: Path) -> nn.Module:
    """pytorch-fid's network with weights from a file (a plain state dict; nothing else is unpickled).

    On a CPU it runs twice as fast with each BatchNorm folded into its convolution and channels last; the features
    change by rounding alone.
    """
    from pytorch_fid import inception

    state = torch.load(weights, map_location="cpu", weights_only=True)
    # The package can only download its weights; hand it ours where it would.
    with patch.object(inception, "load_state_dict_from_url", lambda *args, **kwargs: state):
        network = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[DIM]]).eval()
    if torch.cuda.is_available():
        return network.cuda()
    for module in network.modules():
        if isinstance(getattr(module, "bn", None), nn.BatchNorm2d):  # torchvision's BasicConv2d: conv, bn, ReLU
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
    return network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def features(network: nn.Module, pictures: np.ndarray, progress: Callable[[int], None] = lambda n: None):
    """Features [N, 2048] float64 of pictures uint8 [N, H, W, 3]; the network itself enlarges them to 299x299.

    `progress` is called with the number of pictures done.
    """
    device = next(network.parameters()).device
    batch_size = 16 if device.type == "cpu" else 50  # small enough for a CPU's cache
    rows = []
    for start in range(0, len(pictures), batch_size):
        batch = torch.from_numpy(pictures[start : start + batch_size]).to(device)  # [n, H, W, 3], channels last
        rows.append(network(batch.permute(0, 3, 1, 2).float() / 255)[0].flatten(1).cpu().double().numpy())  # [n, 2048]
        progress(len(batch))
    return np.concatenate(rows)
