"""Every metric by its name, in the order in which scores are listed: the one list, for scoring and the command line.

A metric is a function (sample, against) -> measures. It imports what it needs, so that the names alone cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from grader.errors import first_line

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from grader.features.reference import Reference
    from grader.metrics.prdc import PRDC
    from grader.progress import Progress
    from grader.results import Measure


@dataclass(frozen=True)
class Sample:
    """Pictures uint8 [N, 64, 64, 3], their features by the ImageNet network, float64 [N, 1280], the JPEG quality that
    they are stored with, None without loss, and the real features [M, 1280] that their shares are against."""

    pictures: np.ndarray
    features: np.ndarray
    quality: int | None
    progress: Progress
    real: np.ndarray | None = None

    @cached_property
    def shares(self) -> PRDC:
        """Precision, recall and so on, computed once: for the measures, and for what they tell of pieces of faces.
        Raises ValueError for fewer pictures than neighbours."""
        from grader.metrics.prdc import prdc

        return prdc(self.features, self.real)

    @property
    def varied(self) -> bool:
        """Whether they are as varied as only real faces are, or pieces of them. It is known of 1,000 pictures: of fewer
        each ball is wide."""
        from grader.metrics.prdc import AS_REAL, MEASURED

        return len(self.features) == MEASURED and self.shares.typical_recall > AS_REAL

    @cached_property
    def anime(self) -> np.ndarray:
        """Their features by the anime network, float64 [N, 256]."""
        from grader.features import anime

        return anime.describe(self.pictures, self.progress("anime features", len(self.pictures)))


@dataclass(frozen=True)
class Against:
    """What samples are measured against: the real faces in the ImageNet network's features; and, if they are to be had,
    in those of the anime network; Inception, and the real faces in its features; and the cascade's file. `missing` says
    of a metric why it cannot be had."""

    real: Reference
    anime: Reference | None = None
    inception: nn.Module | None = None
    real_inception: Reference | None = None
    cascade: Path | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def without(self, metric: str, reason: str) -> Against:
        """The same where this metric cannot be had."""
        return replace(self, missing=self.missing | {metric: reason})


def fd_imagenet(sample: Sample, against: Against) -> list[Measure]:
    """The distance that verdicts rest on."""
    return [_distance("FD-ImageNet", sample.features, against.real, sample.quality)]


def fd_anime(sample: Sample, against: Against) -> list[Measure]:
    """The second opinion; without a value where its reference could not be had."""
    from grader.features import anime
    from grader.results import Measure

    if against.anime is None:
        return [Measure("FD-anime", anime.scale(), against.real.faces, None, note=against.missing["fd-anime"])]
    return [_distance("FD-anime", sample.anime, against.anime, sample.quality)]


def _distance(name: str, features: np.ndarray, real: Reference, quality: int | None) -> Measure:
    from grader.metrics.frechet import floor, frechet_distance
    from grader.results import Measure

    distance = frechet_distance(features, real.statistics)
    return Measure(name, real.features, real.faces, distance, floor=floor(real, len(features), quality))


def afd(sample: Sample, against: Against) -> list[Measure]:
    """The ratio by the embedded detector."""
    from grader.metrics import afd
    from grader.results import Measure

    return [Measure("AFD", afd.scale(), None, afd.ratio(sample.features))]


def kid(sample: Sample, against: Against) -> list[Measure]:
    """The kernel distance, with its standard deviation."""
    from grader.metrics.kid import kernel_distance
    from grader.results import Measure

    real = against.real
    distance = kernel_distance(sample.features, real.sample)
    return [Measure("KID", real.features, real.faces, distance.value, spread=distance.spread)]


def prdc(sample: Sample, against: Against) -> list[Measure]:
    """Precision, recall, density and coverage; without values for fewer pictures than neighbours."""
    from grader.results import Measure

    real, names = against.real, ("precision", "recall", "density", "coverage")
    try:
        return [Measure(name, real.features, real.faces, getattr(sample.shares, name)) for name in names]
    except ValueError as error:  # fewer pictures than neighbours
        return [Measure(name, real.features, real.faces, None, note=str(error)) for name in names]


def fid(sample: Sample, against: Against) -> list[Measure]:
    """The distance that papers report; without a value where Inception could not be had, or failed."""
    from grader.features import devices
    from grader.results import Measure

    real = against.real_inception
    if real is None:
        return [Measure("FID", "inception", against.real.faces, None, note=against.missing["fid"])]
    done = sample.progress("Inception features", len(sample.pictures))
    try:
        features = devices.features(against.inception, sample.pictures, done)
    except RuntimeError as error:  # of a GPU: no memory, or no kernels for it
        return [Measure("FID", "inception", real.faces, None, note=first_line(error))]
    return [_distance("FID", features, real, sample.quality)]


def lbpcascade(sample: Sample, against: Against) -> list[Measure]:
    """The ratio by the cascade; without a value where that could not be had, or failed."""
    from grader.metrics import afd
    from grader.results import Measure

    if against.cascade is None:
        return [Measure("AFD", afd.CASCADE_SCALE, None, None, note=against.missing["lbpcascade"])]
    try:
        found = afd.cascade_faces(sample.pictures, against.cascade)
    except Exception as error:  # of OpenCV: no memory, say
        return [Measure("AFD", afd.CASCADE_SCALE, None, None, note=f"OpenCV does not run it ({first_line(error)})")]
    return [Measure("AFD", afd.CASCADE_SCALE, None, float(found.mean()))]


METRICS = {
    "fd-imagenet": fd_imagenet,
    "afd": afd,
    "fd-anime": fd_anime,
    "kid": kid,
    "prdc": prdc,
    "fid": fid,
    "lbpcascade": lbpcascade,
}
INTEGRITY = "integrity"  # copies and near duplicates: no measure, but asked for as one
NAMES = (*METRICS, INTEGRITY)


def selected(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names, also where they are one text, as on the command line: "fd-imagenet, afd". Raises ValueError for an
    unknown one, and for none."""
    names = names.split(",") if isinstance(names, str) else names
    names = tuple(stripped for name in names if (stripped := name.strip()))
    if (unknown := sorted(set(names) - set(NAMES))) or not names:
        raise ValueError(f"{', '.join(unknown) or 'none is named'}: choose from {', '.join(NAMES)}")
    return names
