"""Scores submissions: every measure that can be had with what is at hand, each named by its scale."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import ModuleType

from grader import verdict
from grader.errors import first_line
from grader.features import anime, devices, imagenet, reference
from grader.features.fingerprints import of_faces
from grader.features.reference import Reference, shipped_reference
from grader.files import check_apart, check_writable
from grader.inputs import downloads
from grader.inputs.archives import members
from grader.inputs.faces import BadReference, is_course, without_ending
from grader.inputs.images import is_picture
from grader.inputs.known_faces import Known, load_known
from grader.inputs.labels import LabelledFaces
from grader.inputs.submission import Submission
from grader.metrics import afd, copies, duplicates, optimised
from grader.metrics.by_label import RealLabels
from grader.metrics.copies import integrity
from grader.metrics.frechet import floor, floors, frechet_distance
from grader.metrics.registry import INTEGRITY, METRICS, NAMES, Against, Sample, selected
from grader.metrics.released import released
from grader.progress import Progress, silent
from grader.results import Score

LIKE_COURSE = 25.0  # over what as many of the course's faces score, who lie 20 around that; a similar style 50 over it
LIKE = "like the course's faces"
KEPT, PUBLISHED = ".safetensors", ".npz"  # references without the faces themselves: ours, and pytorch-fid's


@dataclass(frozen=True)
class Scorer:
    """All that a submission is measured with: made once, it scores any number of them."""

    metrics: Collection[str]
    against: Against
    known: Known | None  # the course's faces, which a submission may have copied; None: copies are not looked for
    given: Known | None  # the faces of the reference
    limits: tuple[float, float]  # of distance between fingerprints: of a copy of those, and of pictures that are alike
    faces: Path | None  # where the given faces themselves are, if not only their fingerprints
    labels: RealLabels | None = None

    @classmethod
    def prepare(
        cls,
        source: Path | None = None,
        *,
        metrics: str | Collection[str] = NAMES,
        weights: Path | None = None,
        cascade: Path | None = None,
        offline: bool = False,
        labelled: LabelledFaces | None = None,
        missing: Collection[tuple[str, str]] = (),
        progress: Progress = silent,
    ) -> Scorer:
        """Reads and computes what submissions are measured with.

        The reference is the shipped one of the course's faces, or a `source`: a folder or archive of faces, or what
        `python -m grader reference` made of one, or (for FID only) an .npz of pytorch-fid's. `weights` and `cascade`
        name copies of Inception's weights and of lbpcascade; without them, copies from before are used or, unless
        `offline`, downloaded. `labelled` faces are what conditional sets are scored with by label. What is `missing`,
        metrics and why each cannot be had, is not tried again.
        Raises BadReference, BadFingerprints, AssetError for a named file that is wrong, GraderError where the ImageNet
        network has no weights, and ValueError for an unknown metric.
        """
        metrics = selected(metrics)
        imagenet.find_weights()  # nothing can be scored without them
        for asset, given in ((downloads.INCEPTION, weights), (downloads.CASCADE, cascade)):
            if given:
                downloads.find(asset, given)  # a wrong file is an error now, not after minutes of work
        faces = None if source is None or _kind(source) in (KEPT, PUBLISHED) else source
        real = real_faces(None if _kind(source) == PUBLISHED and "fid" in metrics else source, progress)
        against, tried = Against(real, missing=dict(missing)), {*metrics}.difference(name for name, _ in missing)
        if "fd-anime" in tried:
            against = _with_anime(against, source, progress)
        if "fid" in tried:
            against = _with_inception(against, source, weights, offline, progress)
        if "lbpcascade" in tried:
            against = _with_cascade(against, cascade, offline)
        known, given, limits = None, None, (copies.COPY, duplicates.ALIKE)
        if INTEGRITY in metrics:
            shipped = load_known()
            known = replace(shipped, names=[f"{copies.COURSES}{name}" for name in shipped.names])
            if faces is not None and real.faces == reference.NAME:  # the course's own, whose fingerprints are shipped
                given = _named_as_in(faces, shipped)
            elif faces is not None:
                given = of_faces(faces)
                limits = copies.limits(given.fingerprints)
            elif _kind(source) == KEPT:
                given = load_known(source, "python -m grader reference FACES makes it again")
                limits = copies.limits(given.fingerprints)
        labels = None
        if labelled:
            done = progress("labelled faces", len(labelled.pictures))
            labels = RealLabels.of(labelled, imagenet.describe(labelled.pictures, done))
        return cls(metrics, against, known, given, limits, faces, labels)

    def score(self, submission: Submission, progress: Progress = silent, targets: list[str] | None = None) -> Score:
        """Measures and verdicts of a submission; by label as well if it is known what each picture was asked to show,
        its target, one of the names of `labels`."""
        pictures = submission.pictures
        features = imagenet.describe(pictures, progress("features", len(pictures)))
        sample = Sample(pictures, features, submission.quality, progress, self.against.real.sample)
        measures = [
            measure
            for name, metric in METRICS.items()
            if name in self.metrics
            for measure in metric(sample, self.against)
        ]
        found = None
        if self.known:
            found = integrity(pictures, self.known, self.given, self.limits, self.faces)
            if self.against.real.faces != reference.NAME:  # how near honest pictures come was measured for those
                found = replace(found, near=0, disguised=False)
            else:
                signs = optimised.signs(pictures, features, self.against.real, measures)
                found = replace(found, signs=signs, optimised=len(signs) >= optimised.SIGNS, varied=sample.varied)
                if self.against.anime:  # where it is missing, not_looked_for says so
                    found = replace(found, released=released(sample.anime, self.against.anime.statistics))
        measures, verdicts = verdict.judge(measures, verdict.load_thresholds(), len(pictures), found)
        not_looked_for = []
        if found and self.against.real.faces == reference.NAME and any(one.judged for one in verdicts):
            not_looked_for = optimised.not_looked_for(measures, found.signs)
        return Score(
            submission,
            self.against.real.faces,
            measures,
            verdicts,
            probabilities=afd.probabilities(features),
            integrity=found,
            by_label=self.labels.score(targets, pictures, features) if targets is not None else None,
            device=devices.name(imagenet.load()),
            not_looked_for=not_looked_for,
        )


def _kind(source: Path | None) -> str | None:
    return source and source.suffix.lower()


def _named_as_in(source: Path, shipped: Known) -> Known:
    """The shipped fingerprints of the course's faces, under the names by which a folder or archive of them shows their
    pictures: to decode all of it again takes most of a minute, in each process."""
    paths = {PurePosixPath(name).stem: without_ending(name) for name, _ in members(source) if is_picture(name)}
    there = [index for index, name in enumerate(shipped.names) if name in paths]
    return Known(shipped.fingerprints[there], [paths[shipped.names[index]] for index in there])


def real_faces(source: Path | None, progress: Progress = silent) -> Reference:
    """What FD-ImageNet is measured against: the given faces, or the shipped ones; the latter also where the given files
    are the course's own, to the byte. Raises BadReference."""
    shipped = shipped_reference()
    if _kind(source) == PUBLISHED:
        raise BadReference(f"{source}: statistics for fid, which is not measured here: name a folder or zip of faces")
    if source is None or (_kind(source) != KEPT and is_course(source)):
        return shipped
    return described(_given(source, imagenet, progress), shipped)


def _given(source: Path, network: ModuleType, progress: Progress) -> Reference:
    if _kind(source) == KEPT:
        return reference.of_file(source, network.scale(), network.DIM)
    done = progress("reference faces", 0)
    return reference.of_faces(source, network.scale(), lambda batch: network.describe(batch, done=done), floors)


def described(given: Reference, shipped: Reference) -> Reference:
    """The given reference with words on what its faces are like. It never takes the shipped one's name, and so never
    its thresholds: statistics, and files that only look like the course's, can be made to fit any submission."""
    name = given.faces if given.faces != shipped.faces else f"another {given.faces}"
    usual = floor(shipped, len(given.sample)) or 0.0  # as many with as many: a distance falls with their number
    like = frechet_distance(given.sample, shipped.statistics) < usual + LIKE_COURSE
    return replace(given, faces=f"{name} ({LIKE})" if like else name)


def keep_reference(faces: Path, output: Path, progress: Progress = silent) -> Reference:
    """Computes the reference of a folder or archive of faces, and writes it to a file. Raises BadReference, OSError."""
    check_apart([output], [faces])
    check_writable(output.parent)
    made = _given(faces, imagenet, progress)
    recipe = f"{made.statistics.count:,} faces of {made.faces}"
    reference.save_reference(output, made, recipe, known=of_faces(faces))
    return made


def _with_anime(against: Against, source: Path | None, progress: Progress) -> Against:
    if _kind(source) == KEPT:
        reason = f"{source.name} holds other features: name the faces themselves"
        return against.without("fd-anime", reason)
    if against.real.faces == reference.NAME:  # the shipped faces, or the course's own, told once
        return replace(against, anime=shipped_reference(anime))
    return replace(against, anime=replace(_given(source, anime, progress), faces=against.real.faces))


def _with_cascade(against: Against, cascade: Path | None, offline: bool) -> Against:
    try:
        path = downloads.obtain(downloads.CASCADE, cascade, offline)
        afd.load_cascade(path)  # what is wrong shows now
        return replace(against, cascade=path)
    except downloads.AssetError as error:
        reason = str(error)
    except Exception as error:  # OpenCV is not there, another one, or has an error of its own
        reason = f"OpenCV does not run it ({first_line(error)}): pip install 'opencv-python-headless<5'"
    return against.without("lbpcascade", reason)


def _with_inception(
    against: Against, source: Path | None, weights: Path | None, offline: bool, progress: Progress
) -> Against:
    """Inception with its weights, and the reference in its features; or why they cannot be had."""
    from grader.features import inception

    if source is None or _kind(source) == KEPT:
        reason = "needs --reference: a folder or zip of real faces, or an .npz of pytorch-fid's"
        return against.without("fid", reason)
    real = None
    if _kind(source) == PUBLISHED:
        real = reference.of_npz(source, "inception", inception.DIM)
        if real.faces == against.real.faces:  # a file's name proves nothing
            real = replace(real, faces=f"another {real.faces}")
    try:
        network = inception.load(downloads.obtain(downloads.INCEPTION, weights, offline))
        if real is None:
            done = progress("reference faces, Inception", 0)
            real = reference.of_faces(source, "inception", lambda batch: devices.features(network, batch, done), floors)
            real = replace(real, faces=against.real.faces)
    except downloads.AssetError as error:
        return against.without("fid", str(error))
    except (ImportError, RuntimeError) as error:  # no pytorch-fid; torch tells of a GPU's troubles by the other
        return against.without("fid", first_line(error))
    return replace(against, inception=network, real_inception=real)
