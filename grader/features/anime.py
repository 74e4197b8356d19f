"""The embedded network: what the score sees of a picture.

Five strided convolution stages. `python -m studies.train` trained it to name corruptions and their severity, to tell
faces from everything else, and to redraw a thumbnail, so that its features change with all of these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from grader.files import short_hash

WEIGHTS = Path(__file__).parents[1] / "weights/facenet.safetensors"

SIZE = 64  # pixels a side
STAGES = ((3, 24, 4, 2), (24, 48, 4, 2), (48, 64, 3, 1), (64, 96, 4, 2), (96, 128, 4, 2))  # in, out, kernel, stride
EMBEDDING = 96
DIM = 2 * (24 + 48 + 64) + EMBEDDING  # 368


@cache
def scale() -> str:
    """The name of the scale, made of the hash of the weights: other weights, other numbers."""
    return f"embedded-{short_hash(WEIGHTS)}" if WEIGHTS.exists() else "embedded-untrained"


class FaceNet(nn.Module):
    """Pictures float [N, 3, 64, 64] in 0..1 -> features [N, DIM], scaled to variance 1 over real faces.

    The features are the mean and the standard deviation of each channel of the first three stages, which see texture
    and colour, and an embedding of the last stage, which sees the whole face. The heads that training needs are not
    here: see `studies.train`.
    """

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, k, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o, k, s in STAGES
        )
        self.embed = nn.Linear(128 * 16, EMBEDDING)
        self.norm = nn.BatchNorm1d(DIM, affine=False)
        self.register_buffer("centre", torch.zeros(DIM))  # mean and standard deviation over real faces
        self.register_buffer("scale", torch.ones(DIM))

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, 64, 64] in 0..1 -> what the heads read, [N, DIM]."""
        x, parts = x * 2 - 1, []
        for number, stage in enumerate(self.stages):
            x = stage(x)  # [N, 24, 32, 32], [N, 48, 16, 16], [N, 64, 16, 16], [N, 96, 8, 8], [N, 128, 4, 4]
            if number < 3:
                deviation, mean = torch.std_mean(x, dim=(2, 3))
                parts += [mean, deviation]
        return self.norm(torch.cat([*parts, self.embed(x.flatten(1))], dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, 64, 64] in 0..1 -> features [N, DIM]."""
        return (self.pooled(x) - self.centre) / self.scale


def load(path: str | Path = WEIGHTS) -> FaceNet:
    """The network with its shipped weights, in eval mode. Raises FileNotFoundError when they are missing."""
    network = FaceNet()
    tensors = load_file(path)  # with the heads of the training, which are passed over
    network.load_state_dict({name: tensors[name].float() for name in network.state_dict() if name in tensors})
    return network.eval()


def describe(
    pictures: np.ndarray,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
    network: FaceNet | None = None,
) -> np.ndarray:
    """Pictures uint8 [N, 64, 64, 3], RGB -> features float64 [N, DIM].

    `progress` is called with the number of pictures of each batch done; `network` is the shipped one unless given.
    Raises ValueError for another shape or type, or when there is no picture.
    """
    if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
        raise ValueError(f"pictures must be a uint8 array, got {getattr(pictures, 'dtype', type(pictures).__name__)}")
    if pictures.ndim != 4 or pictures.shape[1:] != (SIZE, SIZE, 3) or len(pictures) == 0:
        raise ValueError(f"pictures must be [N, {SIZE}, {SIZE}, 3] with N > 0, got {list(pictures.shape)}")
    network = network or load()
    features = np.empty((len(pictures), DIM))
    with torch.inference_mode():
        for start in range(0, len(pictures), batch_size):
            batch = slice(start, start + batch_size)
            x = torch.from_numpy(pictures[batch]).permute(0, 3, 1, 2).float() / 255  # [B, 3, 64, 64]
            features[batch] = network(x).numpy()
            if progress:
                progress(len(x))
    return features
