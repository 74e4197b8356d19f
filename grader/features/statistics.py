"""Features summed up: their mean and covariance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SAMPLE = 1000  # real faces whose features are kept: as many as a submission has


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


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Up to `most` of `count` places, spread evenly over them: int [≤ most]."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def checked(features: np.ndarray) -> np.ndarray:
    """Features [N, d] as float64. Raises ValueError when N < 2 or one is not finite."""
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"needs at least 2 feature vectors as [N, d], got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("a feature is NaN or infinite")
    return features
