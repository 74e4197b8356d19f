"""Is each picture what it was asked to be? Distances within each class, and the share in which a probe finds it.

The mean of the Fréchet distances within classes is known as intra-FID: Miyato and Koyama (2018),
https://arxiv.org/abs/1802.05637. Asking a classifier whether the label shows: Odena, Olah and Shlens (2016),
https://arxiv.org/abs/1610.09585.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grader.features.statistics import Statistics
from grader.metrics.colours import Probe, colours
from grader.metrics.frechet import frechet_distance
from grader.metrics.kid import kernel_distance

DRAWS = 10  # of real faces, over which a distance within a class is averaged


@dataclass(frozen=True)
class ClassScore:
    """One class. Distances are None where fewer than 2 pictures were asked to be of it."""

    name: str
    asked: int  # pictures that were asked to be of it
    found: float  # the share of them in which the probe finds it, higher is better
    ceiling: float  # the share of unseen real faces of this class in which it does
    distance: float | None  # Fréchet, lower is better
    floor: float | None  # what as many real faces score
    kid: float | None  # 0 for real faces
    spread: float | None  # of kid


@dataclass(frozen=True)
class ByClass:
    """A conditional set against real `faces`: a score for each class that was asked for, and which class each picture
    was `asked` to be of and was `found` to be of, int [N], as places in the real faces' `names`."""

    faces: str
    names: list[str]
    asked: np.ndarray
    found: np.ndarray
    classes: list[ClassScore]

    @property
    def overall(self) -> ClassScore:
        """All classes: `found` is the accuracy, 1 / C for pictures at random, and `ceiling` that of unseen real faces
        if as many of each class were asked for; pictures clearer than those can lie above it. Distances, floor and kid
        are means over the classes, of equal weight; None if one of them is."""
        accuracy = float(np.mean(self.asked == self.found))
        ceiling = sum(one.asked * one.ceiling for one in self.classes) / len(self.asked)
        distances = [(one.distance, one.floor, one.kid) for one in self.classes]
        means, spread = (None, None, None), None
        if not any(None in three for three in distances):
            means = np.mean(distances, axis=0).tolist()
            spread = float(np.sqrt(sum(one.spread**2 for one in self.classes))) / len(self.classes)
        return ClassScore("all", len(self.asked), accuracy, ceiling, *means, spread)

    @property
    def confusion(self) -> np.ndarray:
        """How many pictures of each of `classes` were found to be of each of `names`, int [A, C]."""
        rows = (self.found[self.asked == number] for number in np.unique(self.asked))
        return np.stack([np.bincount(row, minlength=len(self.names)) for row in rows])


@dataclass(frozen=True)
class RealClasses:
    """Real faces of C classes, each with at least 4: features [M, d], labels 0 … C−1 [M], and a probe fitted on half of
    them; `ceilings` [C] are the shares of the other half that it tells right."""

    faces: str
    names: list[str]
    features: np.ndarray
    labels: np.ndarray
    probe: Probe
    ceilings: np.ndarray

    @classmethod
    def of(cls, faces: str, names: list[str], labels: np.ndarray, pictures: np.ndarray, features: np.ndarray):
        """From pictures uint8 [M, 64, 64, 3] with their labels and features."""
        rng = np.random.default_rng(0)
        fitted = np.zeros(len(labels), bool)
        for number in range(len(names)):
            members = rng.permutation(np.flatnonzero(labels == number))
            fitted[members[: len(members) // 2]] = True
        seen = colours(pictures)
        probe = Probe.fit(seen[fitted], labels[fitted], len(names))
        right = probe(seen) == labels
        ceilings = np.array([right[~fitted & (labels == number)].mean() for number in range(len(names))])
        return cls(faces, names, features, labels, probe, ceilings)

    def grade(self, asked: np.ndarray, pictures: np.ndarray, features: np.ndarray) -> ByClass:
        """Scores of pictures uint8 [N, 64, 64, 3] with features [N, d] that were asked to be of classes int [N]."""
        found = self.probe(colours(pictures))
        classes = []
        for number in np.unique(asked):
            mine, real = asked == number, self.features[self.labels == number]
            distances = (None, None, None, None)
            if mine.sum() > 1:
                kid = kernel_distance(features[mine], real)
                distances = (*distance_and_floor(features[mine], real), kid.value, kid.spread)
            share, ceiling = float(np.mean(found[mine] == number)), float(self.ceilings[number])
            classes.append(ClassScore(self.names[number], int(mine.sum()), share, ceiling, *distances))
        return ByClass(self.faces, self.names, asked, found, classes)


def distance_and_floor(features: np.ndarray, real: np.ndarray, draws: int = DRAWS) -> tuple[float, float]:
    """Fréchet distance of features [N, d] to real ones [M, d], and that of as many real ones.

    A distance grows as pictures get fewer, on either side: with 80 it is mostly that. So both are taken of the same
    number of pictures, N or half of the real ones if that is less, and to the same real ones: those that are not drawn
    for the floor. Means over several draws. Raises ValueError when N < 2 or M < 4.
    """
    rng, size = np.random.default_rng(0), min(len(features), len(real) // 2)
    distances = []
    for _ in range(draws):
        real = rng.permutation(real)
        aside, others = real[:size], Statistics.of(real[size:])
        distances.append([frechet_distance(some, others) for some in (rng.permutation(features)[:size], aside)])
    return tuple(np.mean(distances, axis=0).tolist())
