"""The Fréchet distance between two sets of features, each summed up by its mean and covariance.

    d² = |μg − μr|² + tr Σg + tr Σr − 2 tr √(Σr Σg)

Dowson and Landau, "The Fréchet distance between multivariate normal distributions" (1982); as a score for GANs,
with Inception features: Heusel et al., https://arxiv.org/abs/1706.08500.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from grader.features.statistics import SAMPLE, Statistics, checked
from grader.inputs.images import decode, jpeg

if TYPE_CHECKING:
    from grader.features.reference import Reference

WITHOUT_LOSS = 101  # in place of JPEG's quality, which is 100 at most


def frechet_distance(features: np.ndarray, reference: Statistics) -> float:
    """Squared Fréchet distance of features [N, d] to the statistics of a reference.

    The trace of the square root needs no matrix square root: it is the sum of the square roots of the eigenvalues of
    a symmetric matrix that shares its non-zero eigenvalues with Σr Σg. With X the centred features over √(N−1), that
    is X Σr Xᵀ [N, N] for N ≤ d, and Lᵀ Σg L [d, d] with Σr = L Lᵀ for N > d, where the first form would add N − d
    eigenvalues of pure rounding noise.

    A distance of a set to itself can round to −1e-5; it is clipped to 0.
    Raises ValueError when N < 2, a feature is not finite, or the two do not have the same d.
    """
    features = checked(features)
    mean = features.mean(axis=0)
    rows = (features - mean) / np.sqrt(len(features) - 1)  # X [N, d]
    if reference.mean.shape != mean.shape:
        raise ValueError(f"features have {len(mean)} dimensions, the reference has {len(reference.mean)}")
    if len(rows) <= len(mean):
        symmetric = rows @ reference.covariance @ rows.T  # [N, N]
    else:
        projected = rows @ _root(reference.covariance)  # X L [N, d]
        symmetric = projected.T @ projected  # [d, d]
    root_trace = np.sqrt(np.linalg.eigvalsh(symmetric).clip(min=0)).sum()
    difference = mean - reference.mean
    squared = difference @ difference + np.sum(rows**2) + np.trace(reference.covariance) - 2 * root_trace
    return max(float(squared), 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """L [d, d] with L Lᵀ = Σ, also where Σ is singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(min=0))


def floors(reference: Reference, faces: np.ndarray, extract: Callable, qualities: Iterable[int]) -> dict[int, float]:
    """The floors of a reference by JPEG quality: of its sample's faces uint8 [N, 64, 64, 3], stored so. None of them
    where there are too few other faces."""
    others = _others(reference, reference.sample)
    if others is None:
        return {}

    def stored(quality: int) -> np.ndarray:
        return np.stack([decode(jpeg(face, quality))[0] for face in faces])

    return {quality: frechet_distance(extract(stored(quality)), others) for quality in qualities}


def floor(reference: Reference, count: int = SAMPLE, quality: int | None = None) -> float | None:
    """The Fréchet distance of `count` real faces to the others: no honest submission can be expected below it.

    They are as the reference's faces are, or, where it knows floors, stored as JPEG of a `quality`: on the line between
    two known ones, and under the lowest as that one, which is too low. None where it cannot be told, for over 1,000
    pictures and with under 2,000 faces: a distance depends on the number of pictures.
    """
    lossless = _floor(reference, count)
    if lossless is None or quality is None or not reference.floors:
        return lossless
    of_all = _floor(reference, SAMPLE)
    known = sorted({WITHOUT_LOSS: of_all, **reference.floors}.items())
    return lossless - of_all + float(np.interp(quality, *zip(*known, strict=True)))


@lru_cache(maxsize=8)
def _floor(reference: Reference, count: int) -> float | None:
    if reference.sample is None or not 2 <= count <= len(reference.sample) == SAMPLE:
        return None
    sample = np.random.default_rng(0).permutation(reference.sample)[:count]  # faces drift with their numbers
    others = _others(reference, sample)
    return None if others is None else frechet_distance(sample, others)


def _others(reference: Reference, sample: np.ndarray) -> Statistics | None:
    """The faces of a reference that the sample [n, d] is none of; None where they are too few."""
    if reference.held_out:
        return reference.statistics
    return reference.statistics.without(sample) if reference.statistics.count >= 2 * SAMPLE else None
