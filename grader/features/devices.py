"""Networks that tell the features of pictures: on the GPU where there is one that can run them, else on the CPU."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from grader.errors import GraderError, first_line
from grader.inputs.submission import SIZE
from grader.progress import Done, unheard

# Of CUDA, cuDNN and their memory; the second where torch begins to use a GPU, and is not the first's
FAILURES = (RuntimeError, torch.cuda.DeferredCudaCallError)


class BrokenGPU(GraderError, RuntimeError):
    """A GPU that failed, and took the network with it."""


def check_pictures(pictures: np.ndarray) -> None:
    """Raises ValueError unless they are uint8 [N, 64, 64, 3] with N > 0."""
    if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be a uint8 array, got {getattr(pictures, 'dtype', type(pictures).__name__)}")
    if pictures.ndim != 4 or pictures.shape[1:] != (SIZE, SIZE, 3) or len(pictures) == 0:
        raise ValueError(f"pictures must be [N, {SIZE}, {SIZE}, 3] with N > 0, got {list(pictures.shape)}")


def place(network: nn.Module) -> nn.Module:
    """A network of pictures float [n, 3, H, W] in 0..255 -> features [n, d], in eval mode, where it is to run.

    It is on the GPU if that can run it. Where it cannot, as an old card cannot run a new torch, or has no memory left,
    a warning says so, and the network is on the CPU. Raises BrokenGPU where it cannot be moved there.
    """
    network = network.eval()
    if torch.cuda.is_available():
        try:
            _forward(network.cuda(), np.zeros((1, 64, 64, 3), np.uint8))
        except FAILURES as error:  # no kernel for this card, or no memory
            _leave_gpu(network, error)
        return network
    return _on_cpu(network)


def _leave_gpu(network: nn.Module, error: Exception) -> None:
    reason = first_line(error)
    try:
        _on_cpu(network)
    except FAILURES:  # after some errors of a kernel nothing can be read from the GPU any more
        failed = f"{type(network).__name__}: the GPU failed ({reason})"
        raise BrokenGPU(f"{failed}: set CUDA_VISIBLE_DEVICES=-1 to use the CPU") from None
    warnings.warn(f"{type(network).__name__} runs on the CPU, the GPU cannot run it ({reason})", stacklevel=3)


def _on_cpu(network: nn.Module) -> nn.Module:
    """The network on the CPU. It runs twice as fast there with each BatchNorm folded into its convolution and channels
    last; the features change by rounding alone."""
    network = network.cpu()
    for module in network.modules():
        if isinstance(getattr(module, "bn", None), nn.BatchNorm2d):  # torchvision's BasicConv2d: conv, bn, ReLU
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
    return network.to(memory_format=torch.channels_last)


def name(network: nn.Module) -> str:
    """Where the network runs: "CPU", or the GPU's name."""
    device = next(network.parameters()).device
    return "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)


def on_gpu(network: nn.Module) -> bool:
    """Whether a network lies on a GPU, of whichever maker."""
    return next(network.parameters()).device.type != "cpu"


def features(network: nn.Module, pictures: np.ndarray, done: Done = unheard) -> np.ndarray:
    """Features float64 [N, d] of pictures uint8 [N, H, W, 3].

    `done` is called with the number of pictures of each batch done. A GPU that fails, with its memory full, say,
    leaves the rest to the CPU: the network moves there, with a warning. Raises BrokenGPU where it cannot.
    """
    rows, start = [], 0
    while start < len(pictures):
        # On a CPU small enough for its cache, and for memory that is not handed back and fetched anew at each layer.
        batch = pictures[start : start + (50 if on_gpu(network) else 4)]
        try:
            rows.append(_forward(network, batch))
        except FAILURES as error:
            if not on_gpu(network):
                raise
            _leave_gpu(network, error)
            continue
        start += len(batch)
        done(len(batch))
    return np.concatenate(rows)


@torch.inference_mode()
def _forward(network: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """Features [n, d] float64 of one batch uint8 [n, H, W, 3]. New cards would round to TF32, others not: it is off, so
    that a score does not depend on the card."""
    batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(next(network.parameters()).device)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return network(batch.permute(0, 3, 1, 2).float()).cpu().double().numpy()  # [n, 3, H, W], channels last
