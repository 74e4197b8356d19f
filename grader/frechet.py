"""The Fréchet distance between two sets of features, each summed up by its mean and covariance.

    d² = |μg − μr|² + tr Σg + tr Σr − 2 tr √(Σr Σg)

Dowson and Landau, "The Fréchet distance between multivariate normal distributions" (1982); as a score for GANs,
with Inception features: Heusel et al., https://arxiv.org/abs/1706.08500.
"""

from __future__ import annotations

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
        features = _checked(features)
        return cls(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)), len(features))


def frechet_distance(features: np.ndarray, reference: Statistics) -> float:
    """Squared Fréchet distance of features [N, d] to a reference.

    The trace of the square root needs no matrix square root: it is the sum of the square roots of the eigenvalues of
    a symmetric matrix that shares its non-zero eigenvalues with Σr Σg. With X the centred features over √(N−1), that
    is X Σr Xᵀ [N, N] for N ≤ d, and Lᵀ Σg L [d, d] with Σr = L Lᵀ for N > d, where the first form would add N − d
    eigenvalues of pure rounding noise.

    A distance of a set to itself can round to −1e-5; it is clipped to 0.
    Raises ValueError when N < 2, a feature is not finite, or the two do not have the same d.
    """
    features = _checked(features)
    count, dim = features.shape
    if reference.mean.shape != (dim,) or reference.covariance.shape != (dim, dim):
        raise ValueError(f"features have {dim} dimensions, the reference has {len(reference.mean)}")
    mean = features.mean(axis=0)
    centred = (features - mean) / np.sqrt(count - 1)  # X [N, d], so that Σg = Xᵀ X
    if count <= dim:
        symmetric = centred @ reference.covariance @ centred.T  # [N, N]
    else:
        values, vectors = np.linalg.eigh(reference.covariance)
        projected = centred @ (vectors * np.sqrt(values.clip(min=0)))  # X L [N, d]
        symmetric = projected.T @ projected  # [d, d]
    root_trace = np.sqrt(np.linalg.eigvalsh(symmetric).clip(min=0)).sum()
    difference = mean - reference.mean
    squared = difference @ difference + np.sum(centred**2) + np.trace(reference.covariance) - 2 * root_trace
    return max(float(squared), 0.0)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"needs at least 2 feature vectors as [N, d], got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("a feature is NaN or infinite")
    return features
