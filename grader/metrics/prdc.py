"""Precision, recall, density and coverage: are the pictures like real ones, and are all kinds of real ones there?

Each set is taken for the region that balls around its points cover, each ball reaching to the point's k-th nearest
neighbour in the same set. Precision and recall: Kynkäänniemi et al. (2019), https://arxiv.org/abs/1904.06991; density
and coverage: Naeem et al. (2020), https://arxiv.org/abs/2002.09797. Defined as in the latter's package, `prdc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform

from grader.features.statistics import checked

ROWS = 1024  # of distances, held at a time: those of 10,000 pictures would be 800 MB
# What the typical recall is of 1,000 pictures that are no GAN's: of real faces .49, of such that are cut out of two
# real faces each .24 to .42, while no generator of ours has over .15, and no submission of the course over .08.
AS_REAL, MEASURED = 0.2, 1000


@dataclass(frozen=True)
class PRDC:
    """Shares of the two sets, higher is better; they depend on N, M and k: compare at the same ones only.

    precision: share of the features that lie in any real ball. 1 is good: nothing looks unreal.
    recall: share of the real features that lie in any ball of the features. 1 is good: no kind is missing, but a few
        far outliers are enough for it.
    density: number of real balls that a feature lies in, over k, on average. 1 is what a second set of real pictures
        gets. Above 1 they crowd where real ones are dense, which one good picture repeated does as well.
    coverage: share of the real balls that hold a feature. Good is near 1 − 2⁻ᵏ for N = M, which is what a second set
        of real pictures gets; it rises with N / M.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    typical_recall: float


def prdc(features: np.ndarray, real: np.ndarray, k: int = 5) -> PRDC:
    """All shares of features [N, d] against real features [M, d].

    A point on the border of a ball is outside. A ball of radius 0, around a point with k copies or more, is thus empty
    and does not hold even its own centre: real pictures that often repeated cannot be covered.

    Such ties need distances without rounding of their own: 0 between equal rows and the same from either side. Hence
    every difference is squared and summed; |x|² + |y|² − 2 x·y is faster and gives equal rows a distance of 1e−7.

    Raises ValueError when N or M ≤ k, a feature is not finite, or the two do not have the same d.
    """
    features, real = checked(features), checked(real)
    if features.shape[1] != real.shape[1]:
        raise ValueError(f"features have {features.shape[1]} dimensions, the real ones have {real.shape[1]}")
    if k < 1:
        raise ValueError(f"no {k}-th neighbour")
    for some, what in ((features, "pictures"), (real, "real faces")):
        if len(some) <= k:
            raise ValueError(f"needs {k + 1} {what} or more")
    distances, radii = cdist(real, features), _radii(features, k)  # [M, N], [N]
    in_real = distances < _radii(real, k)[:, None]  # is feature n in the ball of real m?
    in_features = distances < radii  # is real m in the ball of feature n?
    return PRDC(
        precision=float(in_real.any(axis=0).mean()),
        recall=float(in_features.any(axis=1).mean()),
        density=float(in_real.sum(axis=0).mean() / k),
        coverage=float(in_real.any(axis=1).mean()),
        typical_recall=float(in_features[:, radii <= np.median(radii)].any(axis=1).mean()),
    )


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance [N] of each of the points [N, d] to its k-th nearest other one; a copy of it is another one, at 0."""
    if len(points) <= ROWS:
        within = [squareform(pdist(points))]  # each pair once
    else:
        within = (cdist(points[start : start + ROWS], points) for start in range(0, len(points), ROWS))
    return np.concatenate([np.partition(rows, k, axis=1)[:, k] for rows in within])  # 0 is the point itself
