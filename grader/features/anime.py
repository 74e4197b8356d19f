"""The embedded network: what the second opinion sees of a picture.

A small residual network. `python -m studies.distil` taught it from scratch to predict what an ImageNet network sees of
the picture enlarged: its first principal components over real faces, corrupted ones and samples of many generators.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from grader.features.devices import check_pictures
from grader.files import short_hash
from grader.progress import Done, unheard

NAME = "anime"  # of its shipped reference
WEIGHTS = Path(__file__).parents[1] / "weights/facenet.safetensors"

STAGES = ((24, 0), (48, 1), (96, 2), (192, 1))  # channels and residual convolutions; each stage halves the side
LAST = 512  # channels in the end
POOLED = 96 + 192 + LAST
DIM = 256  # components
BATCH = 64  # pictures looked at at once


@cache
def scale() -> str:
    """The name of the scale, made of the hash of the weights: other weights, other numbers."""
    return f"embedded-{short_hash(WEIGHTS)}"


class FaceNet(nn.Module):
    """Pictures float [N, 3, 64, 64] in 0..1 -> features [N, DIM]: the teacher's components, in the teacher's scale.

    Strided and residual convolutions (He et al., https://arxiv.org/abs/1512.03385). The features are linear in the
    channels' means over the last two stages and what follows: the first stages see how a picture was shrunk.
    """

    def __init__(self):
        super().__init__()
        self.stages, fan_in = nn.ModuleList(), 3
        for channels, residuals in STAGES:
            residual = (_Residual(_conv(channels, channels, 3, 1)) for _ in range(residuals))
            self.stages.append(nn.Sequential(_conv(fan_in, channels, 4, 2), nn.ReLU(), *residual))
            fan_in = channels
        self.last = nn.Sequential(_conv(fan_in, LAST, 1, 1), nn.ReLU())
        self.norm, self.head = nn.BatchNorm1d(POOLED, affine=False), nn.Linear(POOLED, DIM)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, 64, 64] in 0..1 -> what the head reads, [N, POOLED]."""
        x, maps = x * 2 - 1, []
        for stage in self.stages:
            x = stage(x)  # [N, 24, 32, 32], [N, 48, 16, 16], [N, 96, 8, 8], [N, 192, 4, 4]
            maps.append(x)
        return self.norm(torch.cat([some.mean(dim=(2, 3)) for some in (*maps[-2:], self.last(x))], dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(x))


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def _conv(fan_in: int, fan_out: int, kernel: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(fan_in, fan_out, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(fan_out))


def load(path: str | Path = WEIGHTS) -> FaceNet:
    """The network with its shipped weights, in eval mode. Raises FileNotFoundError when they are missing."""
    network = FaceNet()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network.eval().to(memory_format=torch.channels_last)


def describe(pictures: np.ndarray, done: Done = unheard, network: FaceNet | None = None) -> np.ndarray:
    """Pictures uint8 [N, 64, 64, 3], RGB -> features float64 [N, DIM].

    `done` is called with the number of pictures of each batch done; `network` is the shipped one unless given.
    Raises ValueError for another shape or type, or when there is no picture.
    """
    check_pictures(pictures)
    network = network or load()
    features = np.empty((len(pictures), DIM))
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            batch = slice(start, start + BATCH)
            x = torch.from_numpy(pictures[batch]).permute(0, 3, 1, 2).float() / 255  # [B, 3, 64, 64]
            features[batch] = network(x).numpy()
            done(len(x))
    return features
