"""Scores submissions: every measure that can be had with what is at hand, each named by its scale."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import nn

from grader import verdict
from grader.features import anime as network
from grader.features import reference
from grader.features.anime import FEATURES
from grader.features.reference import Reference, shipped_reference
from grader.inputs import downloads as assets
from grader.inputs.images import named
from grader.inputs.labels import LabelledFaces, read_asked, read_faces
from grader.inputs.submission import Submission, read_submission
from grader.metrics import afd as detection
from grader.metrics import afd as detector
from grader.metrics import copies as integrity
from grader.metrics.afd import DETECTOR
from grader.metrics.by_label import ByClass, RealClasses
from grader.metrics.frechet import frechet_distance
from grader.metrics.kid import kernel_distance
from grader.metrics.prdc import manifold
from grader.verdict import Measure, Verdict

METRICS = ("fd-anime", "afd", "kid", "manifold", "fid", "lbpcascade", "integrity")
SAME_FACES = 30.0  # of FD-anime: 1,000 faces of the course score 10, another style of drawing 120 and more

CLOSEST = 10
STATISTICS = (".npz", ".safetensors")  # references without the faces themselves

Progress = Callable[[str, int], "Callable[[int], None]"]  # (what, how many) -> to be called with each number done


def silent(what: str, total: int) -> Callable[[int], None]:
    return lambda done: None


@dataclass(frozen=True)
class Findings:
    """Pictures of a submission that are alike, and those that are known real faces; see grader.metrics.copies.

    `closest` are the ten pictures most like a known face; nearer than `limit`, they are copies. `names`
    and `pictures` (uint8 [64, 64, 3], where the faces are at hand) are those of the faces in `copies` and `closest`.
    """

    groups: list[integrity.Group]
    collapsed: bool
    copies: list[integrity.Copy]
    closest: list[integrity.Copy]
    limit: float
    names: dict[int, str]
    pictures: dict[int, np.ndarray]

    @property
    def repeated(self) -> int:
        """How many pictures are like another one."""
        return sum(len(group.members) for group in self.groups)


@dataclass(frozen=True)
class Score:
    """Measures and verdicts of one submission; `faces` is the embedded detector's probability per picture [N]."""

    submission: Submission
    reference: str
    measures: list[Measure]
    verdicts: list[Verdict]
    faces: np.ndarray
    findings: Findings | None = None
    by_class: ByClass | None = None

    def _repr_html_(self) -> str:
        from grader.report.page import as_fragment  # what Jupyter shows

        return as_fragment(self)


@dataclass(frozen=True)
class Yardstick:
    """All that a submission is measured with: made once, it scores any number of them."""

    metrics: Collection[str]
    net: network.FaceNet
    embedded: Reference
    known: integrity.Known
    limits: tuple[float, float]  # of distance between fingerprints: of a copy, and of pictures that are alike
    faces: Path | None  # where the known faces themselves are, if not only their fingerprints
    inception: nn.Module | None = None
    against: Reference | None = None  # in Inception's features
    cascade: Path | None = None
    notes: dict[str, str] = field(default_factory=dict)  # metric -> why it cannot be had
    classes: RealClasses | None = None

    def score(self, submission: Submission, progress: Progress = silent, asked: Sequence[str] | None = None) -> Score:
        """Measures and verdicts of a submission; by class as well if it is known what each picture was `asked` to show,
        one of the names of `classes`."""
        pictures = submission.pictures
        seen = progress("embedded features", len(pictures))
        features = network.describe(pictures, progress=seen, network=self.net)
        measures = [
            measure
            for metric in METRICS
            if metric in self.metrics and metric != "integrity"
            for measure in getattr(self, "_" + metric.replace("-", "_"))(pictures, features, progress)
        ]
        verdicts = verdict.judge(measures, verdict.load_baselines())
        findings = self._findings(pictures) if "integrity" in self.metrics else None
        by_class = None
        if asked is not None:
            by_class = self.classes.grade(np.array([self.classes.names.index(c) for c in asked]), pictures, features)
        faces = detector.faces(features)
        return Score(submission, self.embedded.faces, measures, verdicts, faces, findings, by_class)

    def _fd_anime(self, pictures, features, progress) -> list[Measure]:
        distance = frechet_distance(features, self.embedded.statistics)
        return [Measure("FD-anime", FEATURES, self.embedded.faces, distance, floor=self.embedded.floor)]

    def _afd(self, pictures, features, progress) -> list[Measure]:
        return [Measure("AFD", DETECTOR, None, detector.ratio(features))]

    def _kid(self, pictures, features, progress) -> list[Measure]:
        distance = kernel_distance(features, self.embedded.sample)
        return [Measure("KID", FEATURES, self.embedded.faces, distance.value, spread=distance.spread)]

    def _manifold(self, pictures, features, progress) -> list[Measure]:
        try:
            shares = manifold(features, self.embedded.sample)
        except ValueError as error:  # fewer pictures than neighbours
            return [Measure("precision", FEATURES, self.embedded.faces, None, note=str(error))]
        return [
            Measure(name, FEATURES, self.embedded.faces, getattr(shares, name))
            for name in ("precision", "recall", "density", "coverage")
        ]

    def _fid(self, pictures, features, progress) -> list[Measure]:
        if self.against is None:
            return [Measure("FID", "inception", self.embedded.faces, None, note=self.notes["fid"])]
        from grader.features import inception

        rows = inception.features(self.inception, pictures, progress("Inception features", len(pictures)))
        distance = frechet_distance(rows, self.against.statistics)
        return [Measure("FID", "inception", self.against.faces, distance, floor=self.against.floor)]

    def _lbpcascade(self, pictures, features, progress) -> list[Measure]:
        ratio = Measure(
            "AFD", f"lbpcascade-{detection.MIN_NEIGHBORS}", None, None, note=self.notes.get("lbpcascade", "")
        )
        if self.cascade:
            ratio.value = float(detection.cascade_faces(pictures, self.cascade).mean())
        return [ratio]

    def _findings(self, pictures: np.ndarray) -> Findings:
        copy_limit, alike_limit = self.limits
        groups = integrity.duplicates(integrity.fingerprints(pictures), alike_limit)
        known = integrity.copies(pictures, self.known.fingerprints, limit=np.inf)  # the nearest one of each
        copies = [copy for copy in known if copy.distance <= copy_limit]
        closest = sorted(known, key=lambda copy: copy.distance)[:CLOSEST]
        names = {copy.known: self.known.names[copy.known] for copy in copies + closest}
        shown = {name: index for index, name in names.items()}
        seen = {shown[name]: picture for name, picture in named(self.faces, shown)} if self.faces else {}
        collapsed = integrity.collapsed(groups, len(pictures))
        return Findings(groups, collapsed, copies, closest, copy_limit, names, seen)


def prepare(
    reference_source: Path | None = None,
    metrics: Collection[str] = METRICS,
    weights: Path | None = None,
    cascade: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
    labelled: LabelledFaces | None = None,
) -> Yardstick:
    """What submissions are measured with.

    The reference is the shipped one of the course's faces, or a folder or archive of faces, or what `python -m grader
    reference` made of one, or (for FID only) an .npz of pytorch-fid's. `weights` and `cascade` name copies of
    Inception's weights and of lbpcascade; without them, copies from before are used or, unless `offline`, downloaded.
    `labelled` faces are what conditional sets are scored with by class.
    Raises BadReference, AssetError for a named file that is wrong, and ValueError for an unknown metric.
    """
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"no such metric: {', '.join(sorted(unknown))}: choose from {', '.join(METRICS)}")
    for asset, given in ((assets.INCEPTION, weights), (assets.CASCADE, cascade)):
        assets.find(asset, given)  # a wrong file is an error now, not after minutes of work
    faces = None if reference_source is None or reference_source.suffix in STATISTICS else reference_source
    net = network.load()
    embedded = embedded_reference(reference_source, net, progress)
    inception = against = cascade_path = None
    notes = {}
    if "fid" in metrics:
        try:
            inception, against = _inception(reference_source, embedded.faces, weights, offline, progress)
        except assets.AssetError as error:
            notes["fid"] = str(error)
    if "lbpcascade" in metrics:
        try:
            cascade_path = assets.obtain(assets.CASCADE, cascade, offline)
        except assets.AssetError as error:
            notes["lbpcascade"] = str(error)
    known, limits = None, (integrity.COPY, integrity.ALIKE)
    if "integrity" in metrics:
        shipped = integrity.load_known()
        known = integrity.Known(shipped.fingerprints, [f"crypko/{name}" for name in shipped.names])
        if faces:  # first, so that a face that both hold is found where there is a picture of it
            given = integrity.of_faces(faces)
            known, limits = given + known, integrity.limits(given.fingerprints)
    classes = None
    if labelled:
        done = progress("labelled faces", len(labelled.pictures))
        features = network.describe(labelled.pictures, progress=done, network=net)
        classes = RealClasses.of(labelled.title, labelled.names, labelled.labels, labelled.pictures, features)
    return Yardstick(
        tuple(metrics), net, embedded, known, limits, faces, inception, against, cascade_path, notes, classes
    )


def score(
    source: Path | str,
    reference: Path | str | None = None,
    loose: bool = False,
    progress: Progress = silent,
    by_class: Path | str | None = None,
    attribute: str = "hair",
    labels: Path | str | None = None,
    **options,
) -> Score:
    """Scores a folder or archive of pictures; `options` are those of `prepare`. Raises BadSubmission as well.

    `by_class` names labelled real faces, to score each class by itself, by that `attribute` of theirs, "hair" or "eye";
    what the pictures were asked to show stands in their labels.csv, or in the file that `labels` names.
    """
    submission = read_submission(Path(source), loose)
    asked = labelled = None
    if by_class:
        asked = read_asked(submission.source, submission.names, Path(labels) if labels else None)
        labelled = read_faces(Path(by_class), attribute, set(asked))
    yardstick = prepare(Path(reference) if reference else None, progress=progress, labelled=labelled, **options)
    return yardstick.score(submission, progress, asked)


def embedded_reference(source: Path | None, net: network.FaceNet, progress: Progress) -> Reference:
    """What FD-anime is measured against: the given faces, or the shipped ones. Raises BadReference."""
    shipped = shipped_reference()
    if source is None or source.suffix == ".npz":
        return shipped
    if source.suffix == ".safetensors":
        return recognised(reference.of_file(source, FEATURES, network.DIM), shipped)
    done = progress("reference faces", 0)
    given = reference.of_faces(source, FEATURES, lambda batch: network.describe(batch, progress=done, network=net))
    return recognised(given, shipped)


def recognised(given: Reference, shipped: Reference) -> Reference:
    """The reference under the shipped one's name if it is made of the same kind of faces, whatever its folder is
    called: thresholds hold for the faces that they were measured with, and for no others."""
    same = frechet_distance(given.statistics, shipped.statistics) < SAME_FACES
    return replace(given, faces=shipped.faces) if same else given


def _inception(source: Path | None, faces: str, weights: Path | None, offline: bool, progress: Progress):
    """Inception with its weights, and the reference in its features. Raises AssetError for whatever is missing."""
    if source is None or source.suffix == ".safetensors":
        raise assets.AssetError("needs --reference: a folder or zip of real faces, or an .npz of pytorch-fid's")
    from grader.features import inception

    against = reference.of_npz(source, "inception", inception.DIM) if source.suffix == ".npz" else None
    net = inception.load(assets.obtain(assets.INCEPTION, weights, offline))
    if against:
        return net, against
    done = progress("reference faces, Inception", 0)
    against = reference.of_faces(source, "inception", lambda batch: inception.features(net, batch, done))
    return net, replace(against, faces=faces)
