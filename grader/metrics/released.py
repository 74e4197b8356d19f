"""Pictures of the generator that this project releases. `python -m baselines.sample` draws 1,000 of them in seconds,
and they pass Boss: in a class a person should know.

The threshold is in FD-anime. Between 10,000 of the generator's pictures and 1,000 others it is 2 to 8: plain, with
z × 0.8 to 1.2, mirrored, moved, tinted, of less contrast, with noise, or as JPEG. Other steps of the same run, from
3,000 steps away, have 13 and more, other runs 20 and more.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from grader.features.statistics import Statistics
from grader.files import write_bytes
from grader.metrics.frechet import frechet_distance

FILE = Path(__file__).parents[1] / "weights/released_anime.safetensors"
NEAR = 10


def released(features: np.ndarray) -> bool:
    """Whether pictures with `features` [N, 256] of the anime network look like the released generator's."""
    return frechet_distance(features, _statistics()) < NEAR


@cache
def _statistics() -> Statistics:
    tensors = load_file(FILE)
    return Statistics(
        tensors["mean"].astype(np.float64), tensors["covariance"].astype(np.float64), int(tensors["count"])
    )


def keep(features: np.ndarray, made_with: dict[str, str]) -> None:
    """Writes what `released` compares with: the statistics of `features` [N, 256] of the generator's pictures.
    `made_with` names the weights that drew them, and the network."""
    own = Statistics.of(features)
    tensors = {"mean": own.mean.astype(np.float32), "covariance": own.covariance.astype(np.float16)}
    write_bytes(FILE, save(tensors | {"count": np.array(own.count)}, made_with))
