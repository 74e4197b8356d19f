"""Which checkpoint was the best: every checkpoint's 1,000 samples scored, step by step.

A GAN often does not end at its best, and its losses do not show when that was.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from grader.features import imagenet
from grader.features.reference import Reference
from grader.files import check_apart, check_closed, check_writable, csv_text, keep_others, write_bytes, write_text
from grader.inputs.runs import Checkpoint, best, checkpoints
from grader.inputs.submission import COUNT, BadSubmission, read_submission
from grader.metrics import afd
from grader.metrics.frechet import frechet_distance
from grader.progress import Done, Progress, silent
from grader.report.plots import plot_history
from grader.scoring import real_faces


def score_history(
    run: Path,
    reference: Path | None = None,
    progress: Progress = silent,
    output: Path | None = None,
    pack_best: bool = False,
) -> tuple[list[Checkpoint], Reference, list[Path]]:
    """Scores every checkpoint of a run, and writes history.csv and history.png into it, or `output`, and where asked
    to `pack_best` that one's samples as submission.tgz.

    Returns the scores, the real faces that they are against, and what was written. Warns of a checkpoint that cannot be
    read. Raises BadSubmission when there is none that can, BadReference, OSError, and GraderError where the reference
    would be overwritten.
    """
    output = output or run
    written = [output / name for name in ("history.csv", "history.png", *["submission.tgz"] * pack_best)]
    check_apart(written, [reference])
    check_closed(written)
    total = COUNT * len(checkpoints(run))
    check_writable(output)
    against = real_faces(reference, progress)
    scored = list(_scored(run, against, progress("checkpoints", total)))
    if not scored:
        raise BadSubmission(f"{run}: no checkpoint could be scored: train again")
    keep_others(table := output / "history.csv", as_csv([]).strip())
    write_text(table, as_csv(scored))
    plot_history(scored, output / "history.png")
    if pack_best:
        write_bytes(output / "submission.tgz", best(scored).samples.read_bytes())
    return scored, against, written


def _scored(run: Path, reference: Reference, done: Done) -> Iterator[Checkpoint]:
    for path in checkpoints(run):
        try:
            pictures = read_submission(path).pictures
        except BadSubmission as error:
            warnings.warn(f"{path.name}: left out ({error.problems[0]})", stacklevel=2)
            continue
        features = imagenet.describe(pictures, done)
        distance = frechet_distance(features, reference.statistics)
        yield Checkpoint(int(path.stem), path, distance, afd.ratio(features))


def as_csv(history: list[Checkpoint]) -> str:
    """step, fd_imagenet, afd: a line per checkpoint."""
    rows = [(one.step, f"{one.distance:.4f}", f"{one.afd:.3f}") for one in history]
    return csv_text([("step", "fd_imagenet", "afd"), *rows])
