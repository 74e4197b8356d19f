"""Every metric by its name, in the order in which scores are listed: the one list, for scoring and the command line.

A metric is a function (sample, against) -> measures. It imports what it needs, so that the names alone cost nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from grader.errors import first_line

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from grader.features.reference import Reference
    from grader.progress import Progress
    from grader.results import Measure


@dataclass(frozen=True)
class Sample:
    """Pictures uint8 [N, 64, 64, 3] and their embedded features float64 [N, d]."""

    pictures: np.ndarray
    features: np.ndarray
    progress: Progress


@dataclass(frozen=True)
class Against:
    """What samples are measured against: the real faces in embedded features; and, if they are to be had, Inception
    with the real faces in its features, and the cascade's file. `missing` says of a metric why it cannot be had."""

    embedded: Reference
    inception: nn.Module | None = None
    real: Reference | None = None  # in Inception's features
    cascade: Path | None = None
    missing: dict[str, str] = field(default_factory=dict)


def fd_anime(sample: Sample, against: Against) -> list[Measure]:
    from grader.metrics.frechet import floor, frechet_distance
    from grader.results import Measure

    real = against.embedded
    distance = frechet_distance(sample.features, real.statistics)
    return [Measure("FD-anime", real.features, real.faces, distance, floor=floor(real, len(sample.pictures)))]


def afd(sample: Sample, against: Against) -> list[Measure]:
    from grader.metrics import afd
    from grader.results import Measure

    return [Measure("AFD", afd.scale(), None, afd.ratio(sample.features))]


def kid(sample: Sample, against: Against) -> list[Measure]:
    from grader.metrics.kid import kernel_distance
    from grader.results import Measure

    real = against.embedded
    distance = kernel_distance(sample.features, real.sample)
    return [Measure("KID", real.features, real.faces, distance.value, spread=distance.spread)]


def prdc(sample: Sample, against: Against) -> list[Measure]:
    from dataclasses import asdict

    from grader.metrics.prdc import prdc
    from grader.results import Measure

    real = against.embedded
    try:
        shares = prdc(sample.features, real.sample)
    except ValueError as error:  # fewer pictures than neighbours
        return [Measure("precision", real.features, real.faces, None, note=str(error))]
    return [Measure(name, real.features, real.faces, share) for name, share in asdict(shares).items()]


def fid(sample: Sample, against: Against) -> list[Measure]:
    from grader.features import inception
    from grader.metrics.frechet import floor, frechet_distance
    from grader.results import Measure

    real = against.real
    if real is None:
        return [Measure("FID", "inception", against.embedded.faces, None, note=against.missing["fid"])]
    done = sample.progress("Inception features", len(sample.pictures))
    try:
        features = inception.features(against.inception, sample.pictures, done)
    except RuntimeError as error:  # of a GPU: no memory, or no kernels for it
        return [Measure("FID", "inception", real.faces, None, note=first_line(error))]
    distance = frechet_distance(features, real.statistics)
    return [Measure("FID", "inception", real.faces, distance, floor=floor(real, len(sample.pictures)))]


def lbpcascade(sample: Sample, against: Against) -> list[Measure]:
    from grader.metrics import afd
    from grader.results import Measure

    if against.cascade is None:
        return [Measure("AFD", afd.CASCADE, None, None, note=against.missing["lbpcascade"])]
    try:
        found = afd.cascade_faces(sample.pictures, against.cascade)
    except Exception as error:  # OpenCV is not there, another one, or has an error of its own
        note = f"OpenCV does not run it ({first_line(error)}): pip install 'opencv-python-headless<5'"
        return [Measure("AFD", afd.CASCADE, None, None, note=note)]
    return [Measure("AFD", afd.CASCADE, None, float(found.mean()))]


METRICS = {"fd-anime": fd_anime, "afd": afd, "kid": kid, "prdc": prdc, "fid": fid, "lbpcascade": lbpcascade}
INTEGRITY = "integrity"  # copies and near duplicates: no measure, but asked for as one
NAMES = (*METRICS, INTEGRITY)
FORMER = {"manifold": "prdc"}  # names of before, for one release


def selected(names: Iterable[str]) -> tuple[str, ...]:
    """The names, those of before with a warning as those of now. Raises ValueError for an unknown one."""
    names = tuple(names)
    for name in FORMER.keys() & set(names):
        warnings.warn(f"the metric {name} is called {FORMER[name]} now", stacklevel=2)
    names = tuple(FORMER.get(name, name) for name in names)
    if unknown := sorted(set(names) - set(NAMES)):
        raise ValueError(f"{', '.join(unknown)}: choose from {', '.join(NAMES)}")
    return names
