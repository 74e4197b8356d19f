"""The 2048 features that FID was defined on, from pytorch-fid's Inception network and weights.

Heusel et al., https://arxiv.org/abs/1706.08500; network and weights: https://github.com/mseitzer/pytorch-fid.
The weights are not ours to ship: see grader.inputs.downloads.
"""

from __future__ import annotations

import warnings
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

    It is on the GPU if that can run it. Where it cannot, as an old card cannot run a new torch, or has no memory left,
    a warning says so, and the network is on the CPU.
    """
    from pytorch_fid import inception

    state = torch.load(weights, map_location="cpu", weights_only=True)
    # The package can only download its weights; hand it ours where it would.
    with patch.object(inception, "load_state_dict_from_url", lambda *args, **kwargs: state):
        network = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[DIM]]).eval()
    if torch.cuda.is_available():
        try:
            network = network.cuda()
            _forward(network, np.zeros((1, 64, 64, 3), np.uint8))
            return network
        except RuntimeError as error:  # no kernel for this card, or no memory
            _warn_of_cpu(error)
    return _on_cpu(network)


def _warn_of_cpu(error: RuntimeError) -> None:
    reason = str(error).partition("\n")[0]
    warnings.warn(f"Inception runs on the CPU, the GPU cannot run it ({reason})", stacklevel=3)


def _on_cpu(network: nn.Module) -> nn.Module:
    """The network on the CPU. It runs twice as fast there with each BatchNorm folded into its convolution and channels
    last; the features change by rounding alone."""
    network = network.cpu()
    for module in network.modules():
        if isinstance(getattr(module, "bn", None), nn.BatchNorm2d):  # torchvision's BasicConv2d: conv, bn, ReLU
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
    return network.to(memory_format=torch.channels_last)


def device_name(network: nn.Module | None) -> str:
    """Where the network runs: "CPU", or the GPU's name."""
    device = next(network.parameters()).device if network else torch.device("cpu")
    return "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)


def features(network: nn.Module, pictures: np.ndarray, progress: Callable[[int], None] = lambda n: None):
    """Features [N, 2048] float64 of pictures uint8 [N, H, W, 3]; the network itself enlarges them to 299x299.

    `progress` is called with the number of pictures done. A GPU without enough memory leaves the rest to the CPU: the
    network moves there, with a warning.
    """
    rows, done = [], 0
    while done < len(pictures):
        batch_size = 16 if next(network.parameters()).device.type == "cpu" else 50  # small enough for a CPU's cache
        batch = pictures[done : done + batch_size]
        try:
            rows.append(_forward(network, batch))
        except torch.cuda.OutOfMemoryError as error:
            _warn_of_cpu(error)
            _on_cpu(network)
            continue
        done += len(batch)
        progress(len(batch))
    return np.concatenate(rows)


@torch.inference_mode()
def _forward(network: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """Features [n, 2048] float64 of one batch uint8 [n, H, W, 3]. New cards would round to TF32, others not: it is off,
    so that a score does not depend on the card."""
    batch = torch.from_numpy(pictures).to(next(network.parameters()).device)  # [n, H, W, 3], channels last
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return network(batch.permute(0, 3, 1, 2).float() / 255)[0].flatten(1).cpu().double().numpy()
