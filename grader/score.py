"""Scores a submission: every measure that can be had with what is at hand, each named by its scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grader import assets, detection, reference, verdict
from grader.embedded import network
from grader.embedded.network import FEATURES
from grader.embedded.reference import load_reference
from grader.frechet import frechet_distance
from grader.reference import Reference
from grader.submission import Submission, read_submission
from grader.verdict import Measure, Verdict

SAME_FACES = 30.0  # of FD-anime: 1,000 faces of the course score 10, another style of drawing 120 and more

Progress = Callable[[str, int], "Callable[[int], None]"]  # (what, how many) -> to be called with each number done


@dataclass(frozen=True)
class Score:
    """Measures and verdicts of one submission; `faces` is the embedded detector's probability per picture [N]."""

    submission: Submission
    reference: str
    measures: list[Measure]
    verdicts: list[Verdict]
    faces: np.ndarray


def score(
    source: Path,
    reference_source: Path | None = None,
    weights: Path | None = None,
    cascade: Path | None = None,
    offline: bool = False,
    loose: bool = False,
    progress: Progress = lambda what, total: lambda done: None,
) -> Score:
    """Scores a folder or archive of pictures.

    The reference is the shipped statistics of the course's faces, or a folder or archive of faces, or (for FID only)
    an .npz of pytorch-fid's. `weights` and `cascade` name copies of Inception's weights and of lbpcascade; without
    them, copies from before are used or, unless `offline`, downloaded.
    Raises BadSubmission, BadReference, and AssetError for a named file that is wrong.
    """
    for asset, given in ((assets.INCEPTION, weights), (assets.CASCADE, cascade)):
        assets.find(asset, given)  # a wrong file is an error now, not after minutes of work
    submission = read_submission(source, loose)
    pictures = submission.pictures
    features, faces = network.describe(pictures, progress=progress("embedded features", len(pictures)))
    embedded = embedded_reference(reference_source, progress)
    measures = [
        Measure("FD-anime", FEATURES, embedded.faces, frechet_distance(features, embedded.statistics)),
        Measure("AFD", FEATURES, None, float(np.mean(faces >= network.FACE_THRESHOLD))),
        _fid(pictures, reference_source, embedded.faces, weights, offline, progress),
        _cascade_ratio(pictures, cascade, offline),
    ]
    verdicts = verdict.judge(measures, verdict.load_baselines())
    return Score(submission, embedded.faces, measures, verdicts, faces)


def embedded_reference(source: Path | None, progress: Progress) -> Reference:
    """What FD-anime is measured against: the given faces, or the shipped statistics. Raises BadReference."""
    shipped = Reference("crypko", FEATURES, load_reference())
    if source is None or source.suffix == ".npz":
        return shipped
    done = progress("reference faces", 0)
    net = network.load()  # once, not for every batch
    given = reference.of_faces(source, FEATURES, lambda batch: network.describe(batch, progress=done, network=net)[0])
    return recognised(given, shipped)


def recognised(given: Reference, shipped: Reference) -> Reference:
    """The reference under the shipped one's name if it is made of the same kind of faces, whatever its folder is
    called: thresholds hold for the faces that they were measured with, and for no others."""
    same = frechet_distance(given.statistics, shipped.statistics) < SAME_FACES
    return Reference(shipped.faces if same else given.faces, given.features, given.statistics)


def _fid(pictures, source, faces: str, weights, offline: bool, progress: Progress) -> Measure:
    fid = Measure("FID", "inception", faces, None)
    if source is None:
        fid.note = "needs --reference: a folder or zip of real faces"
        return fid
    try:
        path = assets.obtain(assets.INCEPTION, weights, offline)
    except assets.AssetError as error:
        fid.note = str(error)
        return fid
    from grader import inception

    net = inception.load(path)
    if source.suffix == ".npz":
        against = reference.of_npz(source, "inception")
        fid.reference = against.faces
    else:
        done = progress("reference faces, Inception", 0)
        against = reference.of_faces(source, "inception", lambda batch: inception.features(net, batch, done))
    rows = inception.features(net, pictures, progress("Inception features", len(pictures)))
    fid.value = frechet_distance(rows, against.statistics)
    return fid


def _cascade_ratio(pictures: np.ndarray, cascade: Path | None, offline: bool) -> Measure:
    ratio = Measure("AFD", f"lbpcascade-{detection.MIN_NEIGHBORS}", None, None)
    try:
        found = detection.cascade_faces(pictures, assets.obtain(assets.CASCADE, cascade, offline))
        ratio.value = float(found.mean())
    except assets.AssetError as error:
        ratio.note = str(error)
    return ratio
