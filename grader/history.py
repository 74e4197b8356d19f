"""Which checkpoint was the best: every checkpoint's 1,000 samples scored, step by step.

A GAN often does not end at its best, and its losses do not show when that was.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from grader.features import imagenet
from grader.features.reference import Reference
from grader.files import check_writable, write_bytes, write_text
from grader.inputs.runs import Checkpoint, best, checkpoints
from grader.inputs.submission import COUNT, BadSubmission, read_submission
from grader.metrics import afd
from grader.metrics.frechet import frechet_distance
from grader.progress import Done, Progress, silent
from grader.report import words
from grader.report.plots import plot_history
from grader.results import Measure
from grader.scoring import real_faces
from grader.verdict import judge, load_thresholds


def score_history(
    run: Path, reference: Path | None = None, progress: Progress = silent, output: Path | None = None
) -> tuple[list[Checkpoint], Reference]:
    """Scores every checkpoint of a run, and writes history.csv and history.png into it, or `output`.

    Returns the scores, and the real faces that they are against. Warns of a checkpoint that cannot be read. Raises
    BadSubmission when there is none that can, BadReference, and OSError.
    """
    total, output = COUNT * len(checkpoints(run)), output or run
    check_writable(output)
    against = real_faces(reference, progress)
    scored = list(_scored(run, against, progress("checkpoints", total)))
    if not scored:
        raise BadSubmission(f"{run}: no checkpoint could be scored: train again")
    write_text(output / "history.csv", as_csv(scored))
    plot_history(scored, output / "history.png")
    return scored, against


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


def pack(checkpoint: Checkpoint, output: Path) -> None:
    """Makes a checkpoint's samples the submission, whole or not at all. Raises OSError."""
    write_bytes(output, checkpoint.samples.read_bytes())


def as_csv(history: list[Checkpoint]) -> str:
    """step, fd_imagenet, afd: a line per checkpoint."""
    rows = (f"{checkpoint.step},{checkpoint.distance:.4f},{checkpoint.afd:.3f}" for checkpoint in history)
    return "\n".join(["step,fd_imagenet,afd", *rows]) + "\n"


def as_table(history: list[Checkpoint], reference: Reference):
    """A rich table of the history, the best checkpoint marked."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"against {escape(reference.faces)}", title_justify="left")
    for column in ("step", "FD-ImageNet", "AFD", ""):
        table.add_column(column, justify="right")
    scores = [
        [Measure("FD-ImageNet", reference.features, reference.faces, checkpoint.distance) for checkpoint in history],
        [Measure("AFD", afd.scale(), None, checkpoint.afd) for checkpoint in history],
    ]
    thresholds = load_thresholds()
    distances, ratios = (judge(measures, thresholds)[0] for measures in scores)
    for checkpoint, *measures in zip(history, distances, ratios, strict=True):
        mark = "[green]best[/]" if checkpoint == best(history) else ""
        table.add_row(f"{checkpoint.step:,}", *(words.number(one, one.value) for one in measures), mark)
    return table
