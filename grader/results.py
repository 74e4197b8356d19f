"""What results are made of: values alone, no work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from grader.inputs.submission import Submission

DISTANCES = ("FD-ImageNet", "FD-anime", "FID", "KID")  # the judged one first; lower is better, all others are shares
# Of a row of a class: it has a score; it can have none; nothing was handed in; nobody knows whether something was.
GRADED, BROKEN, MISSING, UNSURE = "graded", "broken", "missing", "unsure"


@dataclass(frozen=True)
class Measure:
    """One number on one scale: `by` names features or detector, `reference` the faces that it is measured
    against, None for AFD.

    `value` is None when it could not be had, and `note` says why. `floor` is what as many real faces score, and
    `spread` a standard deviation, where they are known. The last four are filled in by grader.verdict.judge.
    """

    measure: str
    by: str
    reference: str | None
    value: float | None
    note: str = ""
    floor: float | None = None
    spread: float | None = None
    family: str | None = None
    provisional: bool = False
    thresholds: dict[str, float] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)  # by tier; tiers without a threshold are missing

    @property
    def lower_is_better(self) -> bool:
        """Whether less is better; of shares more is."""
        return self.measure in DISTANCES


@dataclass(frozen=True)
class Verdict:
    """Per tier: True or False when all measures of a family could be judged, else None.

    `withheld` says why the pictures need a person's review: then no tier counts as passed, whatever was measured.
    """

    family: str
    provisional: bool
    passed: dict[str, bool | None]
    withheld: list[str] = field(default_factory=list)

    @property
    def judged(self) -> bool:
        """Whether any tier could be."""
        return any(passed is not None for passed in self.passed.values())

    @property
    def best(self) -> str | None:
        """The highest tier passed with all those below it; None while the verdict is withheld."""
        if self.withheld:
            return None
        best = None
        for tier, passed in self.passed.items():
            if not passed:
                break
            best = tier
        return best


@dataclass(frozen=True)
class Copy:
    """Picture `index` of a submission is face `known`, at a distance, perhaps mirrored."""

    index: int
    known: int
    distance: float
    mirrored: bool


@dataclass(frozen=True)
class Group:
    """Pictures that are alike: each has one at most `distance` away, through which it hangs together with the rest."""

    members: list[int]
    distance: float


@dataclass(frozen=True)
class Integrity:
    """Pictures of a submission that are alike, and those that are known real faces.

    `closest` are the ten pictures most like a known face. `near` counts pictures that are nearer to a face of the
    course than honest ones are, and `disguised` tells that they are too many. `signs` are those of pictures that were
    optimised against the public networks, and `optimised` tells that they are enough. `released` tells that they
    look like those of the generator that this project releases, and `varied` that they are as varied as only real faces
    are, or pieces of them. `names`, `limits` (the distance up to which a picture is a copy) and `pictures` (uint8 [64,
    64, 3], where the faces are at hand) are of the faces in `copies` and `closest`.
    """

    groups: list[Group]
    collapsed: bool
    copies: list[Copy]
    closest: list[Copy]
    limits: dict[int, float]
    names: dict[int, str]
    pictures: dict[int, np.ndarray]
    near: int = 0
    disguised: bool = False
    signs: list[str] = field(default_factory=list)
    optimised: bool = False
    released: bool = False
    varied: bool = False

    @property
    def in_disguise(self) -> bool:
        """Whether too many are `near`, and not by the copies alone, which are told by themselves."""
        return self.disguised and len(self.copies) < self.near

    @property
    def repeated(self) -> int:
        """How many pictures are like another one."""
        return sum(len(group.members) for group in self.groups)


@dataclass(frozen=True)
class LabelScore:
    """One label. Distances are None where fewer than 2 pictures have it for a target."""

    target: str  # the label that was asked for
    pictures: int  # how many were asked to show it
    accuracy: float  # the share of them in which the colour classifier finds it, higher is better
    ceiling: float  # the share of unseen real faces with this label in which it does
    distance: float | None  # Fréchet, lower is better
    floor: float | None  # what as many real faces score
    kid: float | None  # 0 for real faces
    spread: float | None  # of kid


@dataclass(frozen=True)
class ByLabel:
    """A conditional set against real `faces`: a score for each label that was asked for, its distances `by` these
    features, and of each picture the label that was its `target` and the one that was `found` in it, int [N], as places
    in the real faces' `names`."""

    faces: str
    by: str
    names: list[str]
    target: np.ndarray
    found: np.ndarray
    labels: list[LabelScore]

    @property
    def overall(self) -> LabelScore:
        """All labels: `accuracy` is 1 / L for pictures at random, and `ceiling` is that of unseen real faces if as many
        of each label were asked for; pictures clearer than those can lie above it. Distances, floor and kid are means
        over the labels, of equal weight; None if one of them is."""
        ceiling = sum(one.pictures * one.ceiling for one in self.labels) / len(self.target)
        distances = [(one.distance, one.floor, one.kid) for one in self.labels]
        means, spread = (None, None, None), None
        if not any(None in three for three in distances):
            means = np.mean(distances, axis=0).tolist()
            spread = float(np.sqrt(sum(one.spread**2 for one in self.labels))) / len(self.labels)
        accuracy = float(np.mean(self.target == self.found))
        return LabelScore("all", len(self.target), accuracy, ceiling, *means, spread)

    @property
    def confusion(self) -> np.ndarray:
        """How many pictures of each of `labels` were found to show each of `names`, int [A, L]."""
        rows = (self.found[self.target == number] for number in np.unique(self.target))
        return np.stack([np.bincount(row, minlength=len(self.names)) for row in rows])


@dataclass(frozen=True)
class Score:
    """Measures and verdicts of one submission; `probabilities` are the embedded detector's, that each picture is a
    face, float [N]. `device` says where the ImageNet network ran.
    `not_looked_for` are lines on signs that could not be looked for, and why."""

    submission: Submission
    reference: str
    measures: list[Measure]
    verdicts: list[Verdict]
    probabilities: np.ndarray
    integrity: Integrity | None = None
    by_label: ByLabel | None = None
    device: str = "CPU"
    not_looked_for: list[str] = field(default_factory=list)
