"""Is each picture what it was asked to be? Distances within each label, and how often a classifier finds the label.

The mean of the Fréchet distances within labels is known as intra-FID: Miyato and Koyama (2018),
https://arxiv.org/abs/1802.05637. Asking a classifier whether the label shows: Odena, Olah and Shlens (2016),
https://arxiv.org/abs/1610.09585.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grader.features import imagenet
from grader.features.statistics import Statistics
from grader.inputs.labels import LabelledFaces
from grader.metrics.colours import ColourClassifier, colours
from grader.metrics.frechet import frechet_distance
from grader.metrics.kid import kernel_distance
from grader.results import ByLabel, LabelScore

DRAWS = 10  # of real faces, over which a distance within a label is averaged


@dataclass(frozen=True)
class RealLabels:
    """Real faces with L labels, at least 4 faces of each: features [M, d], labels 0 … L−1 [M], and a colour classifier
    fitted on half of them; `ceilings` [L] are the shares of the other half that it tells right."""

    faces: str
    names: list[str]
    features: np.ndarray
    labels: np.ndarray
    classifier: ColourClassifier
    ceilings: np.ndarray

    @classmethod
    def of(cls, labelled: LabelledFaces, features: np.ndarray) -> RealLabels:
        """From labelled faces and their features [M, d]."""
        names, labels, rng = labelled.names, labelled.labels, np.random.default_rng(0)
        fitted = np.zeros(len(labels), bool)
        for number in range(len(names)):
            members = rng.permutation(np.flatnonzero(labels == number))
            fitted[members[: len(members) // 2]] = True
        seen = colours(labelled.pictures)
        classifier = ColourClassifier.fit(seen[fitted], labels[fitted], len(names))
        right = classifier(seen) == labels
        ceilings = np.array([right[~fitted & (labels == number)].mean() for number in range(len(names))])
        return cls(labelled.title, names, features, labels, classifier, ceilings)

    def score(self, targets: list[str], pictures: np.ndarray, features: np.ndarray) -> ByLabel:
        """Scores of pictures uint8 [N, 64, 64, 3] with features [N, d], of each the label that it was asked to show."""
        target, found = np.array([self.names.index(name) for name in targets]), self.classifier(colours(pictures))
        scores = []
        for number in np.unique(target):
            mine, real = target == number, self.features[self.labels == number]
            distance = floor = kid = spread = None
            if mine.sum() > 1:
                distance, floor = distance_and_floor(features[mine], real)
                kernel = kernel_distance(features[mine], real)
                kid, spread = kernel.value, kernel.spread
            scores.append(
                LabelScore(
                    target=self.names[number],
                    pictures=int(mine.sum()),
                    accuracy=float(np.mean(found[mine] == number)),
                    ceiling=float(self.ceilings[number]),
                    distance=distance,
                    floor=floor,
                    kid=kid,
                    spread=spread,
                )
            )
        return ByLabel(self.faces, imagenet.scale(), self.names, target, found, scores)


def distance_and_floor(features: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Fréchet distance of features [N, d] to real ones [M, d], and that of as many real ones.

    A distance grows as pictures get fewer, on either side: with 80 it is mostly that. So both are taken of the same
    number of pictures, N or half of the real ones if that is less, and to the same real ones: those that are not drawn
    for the floor. Means over several draws. Raises ValueError when N < 2 or M < 4.
    """
    rng, size = np.random.default_rng(0), min(len(features), len(real) // 2)
    distances = []
    for _ in range(DRAWS):
        real = rng.permutation(real)
        held_out, others = real[:size], Statistics.of(real[size:])
        distances.append([frechet_distance(some, others) for some in (rng.permutation(features)[:size], held_out)])
    return tuple(np.mean(distances, axis=0).tolist())
