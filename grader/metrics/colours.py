"""The colour classifier: which label does a picture show, by its colours alone?

Fisher's linear discriminant (1936) on histograms of colour, one for each part of the picture (Swain and Ballard, "Color
indexing", 1991). On 3,000 tagged anime faces, half of them unseen, it tells 12 colours of hair apart in 90% and 10
colours of eyes in 79%; on the features of a small network trained on faces it did in 87% and 41%.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 32  # pixels that are looked at: averaged from 64, so that the dot noise of young generators is gone
GRID = 4  # patches a side
LEVELS = 4  # of each of red, green and blue
DIM = GRID * GRID // 2 * LEVELS**3  # 512
SHRINK = 0.03  # of the covariance towards a round one: fewer pictures than dimensions still give a classifier


def colours(pictures: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Pictures uint8 [N, 64, 64, 3] -> roots of the shares of each colour in each patch, float64 [N, DIM].

    A patch and its mirror image count as one: hair and eyes look the same on both sides. A colour between two levels
    counts for both, in proportion. Between roots of shares, the Euclidean distance is Hellinger's.
    """
    return np.concatenate([_colours(pictures[i : i + batch_size]) for i in range(0, len(pictures), batch_size)])


def _colours(pictures: np.ndarray) -> np.ndarray:
    count, block, side = len(pictures), pictures.shape[1] // SIDE, SIDE // GRID
    small = pictures.reshape(count, SIDE, block, SIDE, block, 3).mean(axis=(2, 4), dtype=np.float32) / 255
    left, right = small[:, :, : SIDE // 2], small[:, :, : SIDE // 2 - 1 : -1]  # [N, 32, 16, 3], the right one mirrored
    both = np.stack([left, right], axis=1).reshape(count, 2, GRID, side, GRID // 2, side, 3)
    patches = both.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, 2 * side * side, 3)  # [N·8, 128 pixels, 3]
    levels = np.arange(LEVELS, dtype=np.float32)
    votes = (1 - abs(patches[..., None] * (LEVELS - 1) - levels)).clip(min=0)  # [N·8, 128, 3, 4]: each pixel has one
    red, green, blue = votes.transpose(2, 0, 1, 3)
    red_green = (red[..., None] * green[..., None, :]).reshape(*red.shape[:2], -1)  # [N·8, 128, 16]
    shares = red_green.transpose(0, 2, 1) @ blue / patches.shape[1]  # [N·8, 16, 4]
    return np.sqrt(shares.reshape(count, DIM), dtype=np.float64)


@dataclass(frozen=True)
class ColourClassifier:
    """Scores of L labels that are linear in the features: features @ weights [d, L] + bias [L]."""

    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, count: int) -> ColourClassifier:
        """The discriminant for features [N, d] with labels 0 … L−1, int [N]. It takes each label for a Gaussian cloud
        of one common covariance, and all labels for equally frequent. Every label needs a picture."""
        means = np.stack([features[labels == label].mean(axis=0) for label in range(count)])  # [L, d]
        centred = features - means[labels]
        covariance = centred.T @ centred / len(features)
        spread = np.trace(covariance) or 1  # none where each label is one picture and its copies: any says the same
        round_one = spread / len(covariance) * np.eye(len(covariance))
        weights = np.linalg.solve((1 - SHRINK) * covariance + SHRINK * round_one, means.T)
        return cls(weights, -np.sum(means.T * weights, axis=0) / 2)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features [N, d] -> the most likely label of each, int [N]."""
        return np.argmax(features @ self.weights + self.bias, axis=1)
