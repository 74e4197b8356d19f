"""Optimised pictures: moved along the gradients of the public networks until their score is good.

The networks are at hand for everyone, so a score can be descended like a loss: in 20 steps fair pictures reach a tier
that they do not deserve, and to a person stay the same. What is optimised for one network holds for that network, and
for these very pixels. Four signs tell it, each with what honest sets show; two of them ask for a review.
`python -m studies.optimised` makes such pictures.
"""

from __future__ import annotations

import hashlib

import numpy as np

from grader.features import imagenet
from grader.features.reference import Reference
from grader.metrics.afd import CASCADE_SCALE
from grader.metrics.frechet import frechet_distance
from grader.results import Measure

FEW = 300  # pictures that are moved: enough to tell
MOVED = 1.15  # honest sets .97 to 1.08: real faces, six submissions, four runs
# The second opinion grows faster than the distance: submissions up to 450 lie at 25 for 337, and with the third power.
# Runs of 10 lie above that, mostly by their SLACK. Beyond 450 nobody gains a tier by it.
USUAL, GROWTH, SURPLUS = 25 / 337**3, 3, 5
SLACK = 60  # of the second opinion: runs of 10 are up to 50 above real faces
TOO_NEAR = 0.8  # of what as many real faces score
FOUND, SEEN = 0.9, 0.25  # shares of faces by our detector and by the cascade that do not go together
SIGNS = 2  # that ask for a review
SIGNS_OF, NOT_ALL = "signs of optimised pictures", "were not all looked for"


def moved(pictures: np.ndarray) -> np.ndarray:
    """Pictures uint8 [N, H, W, 3] moved by half a pixel to the left and up: means of four neighbours."""
    padded = np.pad(pictures, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge").astype(np.float32)
    total = padded[:, 1:, 1:] + padded[:, :-1, 1:] + padded[:, 1:, :-1] + padded[:, :-1, :-1]
    return np.rint(total / 4).astype(np.uint8)


def signs(pictures: np.ndarray, features: np.ndarray, real: Reference, measures: list[Measure]) -> list[str]:
    """What tells that pictures uint8 [N, 64, 64, 3] with `features` [N, 1280] were optimised, a line each.

    `real` are the faces that they are compared with, and `measures` what was measured of them.
    """
    values = _measured(measures)
    distance, second = values.get(("FD-ImageNet", "lite0")), values.get(("FD-anime", "embedded"))
    found, seen = values.get(("AFD", "embedded")), values.get(("AFD", CASCADE_SCALE.partition("-")[0]))
    lines = []
    if distance is None or distance.floor is None or len(pictures) < FEW:
        return lines
    if second is not None and second.floor is not None:
        most = second.floor + max(SLACK, SURPLUS * USUAL * distance.value**GROWTH)
        if second.value > most:
            lines.append(f"FD-anime is {second.value:.4g}; honest sets with this FD-ImageNet have {most:.4g} at most")
    if distance.value < TOO_NEAR * distance.floor:
        lines.append(f"FD-ImageNet is {distance.value:.4g}, and as many real faces have {distance.floor:.4g}")
    if found and seen and found.value >= FOUND and seen.value < SEEN:
        lines.append(f"our detector finds faces in {found.value:.0%} of them, lbpcascade in {seen.value:.0%}")
    if lines or second is None:  # else it would be alone, which asks for no review, and it takes 2 s
        # Drawn by their content: who knew the places would put pictures there that are as they were.
        seed = hashlib.sha256(pictures.tobytes()).digest()
        some = np.random.default_rng([*seed]).permutation(len(pictures))[:FEW]
        before, after = (
            frechet_distance(rows, real.statistics)
            for rows in (features[some], imagenet.describe(moved(pictures[some])))
        )
        if after > MOVED * before:
            ratio = after / before
            lines.append(f"moved by half a pixel, their distance is {ratio:.2f} times as large (honest sets: 1.08)")
    return lines


def not_looked_for(measures: list[Measure], signs: list[str]) -> list[str]:
    """A line on the signs that could not be looked for without a measure, and what to add, and one where it takes the
    cascade to tell; [] where all were."""
    values, lines = _measured(measures), []
    measured = {name for name, by in values if by != "lbpcascade"}
    if missing := [name.lower() for name in ("FD-ImageNet", "FD-anime", "AFD") if name not in measured]:
        one = ", and one shows" if len(signs) == 1 else ""
        generator = ", or of the shipped generator," * ("fd-anime" in missing)
        lines.append(f"{SIGNS_OF}{generator} {NOT_ALL}{one}: add {','.join(missing)} to --metrics")
    found = values.get(("AFD", "embedded"))
    if found and found.value >= FOUND and ("AFD", "lbpcascade") not in values:
        lines.append(f"{SIGNS_OF} {NOT_ALL}: without lbpcascade nothing checks the high AFD")
    return lines


def _measured(measures: list[Measure]) -> dict[tuple[str, str], Measure]:
    """What has a value, by its name and what it was measured by, whatever the weights."""
    return {(one.measure, one.by.partition("-")[0]): one for one in measures if one.value is not None}
