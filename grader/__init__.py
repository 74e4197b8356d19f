"""Scores pictures of anime faces: `from grader import score`, then `score("outputs/")`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from grader.metrics.registry import NAMES
from grader.progress import Progress, silent

if TYPE_CHECKING:
    from grader.results import Score


def score(
    source: Path | str,
    reference: Path | str | None = None,
    *,
    metrics: str | Collection[str] = NAMES,
    loose: bool = False,
    offline: bool = False,
    weights: Path | str | None = None,
    cascade: Path | str | None = None,
    by_label: Path | str | None = None,
    attribute: str | None = None,
    labels: Path | str | None = None,
    progress: Progress | None = None,
) -> Score:
    """Scores 1,000 pictures and says which baselines they pass. About 14 seconds on one core.

    source: the pictures: a folder, .zip, .tgz, .tar, or an .npz of one array uint8 [N, 64, 64, 3].
    reference: real faces to compare with: a folder or archive, what `python -m grader reference` made of one, or
        pytorch-fid's .npz. Without it: the shipped statistics of the course's faces.
    metrics: names of the metrics to compute, or one name.
    loose: takes 2 to 10,000 pictures of any name and size, shrunk to 64x64.
    offline: downloads nothing.
    weights: a copy of pytorch-fid's Inception weights, for fid.
    cascade: a copy of lbpcascade_animeface.xml, for lbpcascade.
    by_label: labelled real faces. Each label of a conditional set is then scored by itself.
    attribute: which attribute of these faces to go by: "eye", say. Without it: "hair".
    labels: a file that says what each picture was asked to show. Without it: labels.csv among the pictures.
    progress: is called with (what, how many) and gives a function, which is called with each number done.

    Returns a Score: its `measures`, `verdicts`, `integrity` and `by_label`. Jupyter shows it as a table.
    Raises BadSubmission, BadReference or AssetError (all are grader.errors.GraderError, with a line per problem), and
    ValueError for an unknown metric.
    """
    from grader.inputs.labels import read_asked, read_faces
    from grader.inputs.submission import read_submission
    from grader.report.page import ShownScore
    from grader.scoring import Scorer  # torch is imported when it is needed, not for `--help`

    progress = progress or silent
    submission, targets, labelled = read_submission(Path(source), loose), None, None
    if by_label:
        targets = read_asked(submission.source, submission.names, _path(labels))
        labelled = read_faces(Path(by_label), attribute, set(targets))
    scorer = Scorer.prepare(
        _path(reference),
        metrics=metrics,
        weights=_path(weights),
        cascade=_path(cascade),
        offline=offline,
        labelled=labelled,
        progress=progress,
    )
    return ShownScore.of(scorer.score(submission, progress, targets))


def _path(path: Path | str | None) -> Path | None:
    return Path(path) if path else None
