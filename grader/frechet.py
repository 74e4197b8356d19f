"""The Fréchet distance between two sets of features, each summed up by its mean and covariance.

    d² = |μg − μr|² + tr Σg + tr Σr − 2 tr √(Σr Σg)

Dowson and Landau, "The Fréchet distance between multivariate normal distributions" (1982); as a score for GANs,
with Inception features: Heusel et al., https://arxiv.org/abs/1706.08500.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Mean [d] and unbiased covariance [d, d] of `count` feature vectors, in float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @classmethod
    def of(cls, features: np.ndarray) -> Statistics:
        """Statistics of features [N, d]. Raises ValueError when N < 2 or a feature is not finite."""
        features = checked(features)
        return cls(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)), len(features))

    @classmethod
    def streamed(cls, batches: Iterable[np.ndarray]) -> Statistics:
        """Statistics of features that come in batches [n, d], of which one at a time is held.

        Merges means and scatter matrices as Chan, Golub and LeVeque do (1979), which stays exact where summing
        squares would cancel. Raises ValueError when there are fewer than 2 vectors or one is not finite.
        """
        count, mean, scatter = 0, 0.0, 0.0
        for batch in batches:
            batch = np.asarray(batch, dtype=np.float64)
            if not len(batch):
                continue
            total = count + len(batch)
            shift = batch.mean(axis=0) - mean
            centred = batch - batch.mean(axis=0)
            scatter = scatter + centred.T @ centred + np.outer(shift, shift) * (count * len(batch) / total)
            mean = mean + shift * (len(batch) / total)
            count = total
        if count < 2:
            raise ValueError(f"needs at least 2 feature vectors, got {count}")
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise ValueError("a feature is NaN or infinite")
        return cls(mean, scatter / (count - 1), count)

    def without(self, features: np.ndarray) -> Statistics:
        """Statistics of the same vectors less some of them, features [n, d]. Raises ValueError if under 2 are left."""
        features = checked(features)
        left = self.count - len(features)
        if left < 2:
            raise ValueError(f"{self.count} feature vectors without {len(features)} are too few")
        mean = (self.count * self.mean - features.sum(axis=0)) / left
        shift = features.mean(axis=0) - mean
        scatter = self.covariance * (self.count - 1) - np.cov(features, rowvar=False) * (len(features) - 1)
        scatter -= np.outer(shift, shift) * (left * len(features) / self.count)
        return Statistics(mean, scatter / (left - 1), left)


def frechet_distance(features: np.ndarray | Statistics, reference: Statistics) -> float:
    """Squared Fréchet distance of features [N, d], or of their statistics, to a reference.

    The trace of the square root needs no matrix square root: it is the sum of the square roots of the eigenvalues of
    a symmetric matrix that shares its non-zero eigenvalues with Σr Σg. With X the centred features over √(N−1), that
    is X Σr Xᵀ [N, N] for N ≤ d, and Lᵀ Σg L [d, d] with Σr = L Lᵀ for N > d, where the first form would add N − d
    eigenvalues of pure rounding noise.

    A distance of a set to itself can round to −1e-5; it is clipped to 0.
    Raises ValueError when N < 2, a feature is not finite, or the two do not have the same d.
    """
    if isinstance(features, Statistics):
        mean, rows = features.mean, _root(features.covariance).T  # any X with Xᵀ X = Σg will do
    else:
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


def checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"needs at least 2 feature vectors as [N, d], got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("a feature is NaN or infinite")
    return features
