"""Which checkpoint was the best: every checkpoint's 1,000 samples scored, step by step.

A GAN does not end at its best, and its losses do not show when that was.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from grader.errors import whole
from grader.features import anime as network
from grader.features.reference import Reference
from grader.gradient_norms import read_rows
from grader.inputs.submission import BadSubmission, read_submission
from grader.metrics import afd as detector
from grader.metrics.frechet import frechet_distance


@dataclass(frozen=True)
class Checkpoint:
    """The scores of one checkpoint's samples, on the embedded scale."""

    step: int
    samples: Path
    distance: float  # FD-anime, lower is better
    faces: float  # AFD, higher is better


def checkpoints(run: Path) -> list[Path]:
    """The archives of samples in a run, runs/NAME/samples/STEP.tgz, by step. Raises BadSubmission if there is none."""
    named = (path for path in run.glob("samples/*.tgz") if re.fullmatch("[0-9]{1,12}", path.stem))
    found = sorted(named, key=lambda path: int(path.stem))
    if not found:
        raise BadSubmission([f"{run}: no samples/STEP.tgz: name the folder that a notebook's `run` setting named"])
    return found


def score_run(
    run: Path, net: network.FaceNet, reference: Reference, progress: Callable[[int], None]
) -> Iterator[Checkpoint | str]:
    """Yields each checkpoint's scores, or a line that says why it cannot be read. `progress` counts pictures."""
    describe = partial(network.describe, network=net, progress=progress)
    for path in checkpoints(run):
        try:
            pictures = read_submission(path).pictures
        except BadSubmission as error:
            yield f"{path.name}: left out ({error.problems[0]})"
            continue
        features = describe(pictures)
        distance = frechet_distance(features, reference.statistics)
        yield Checkpoint(int(path.stem), path, distance, detector.ratio(features))


def best(history: list[Checkpoint]) -> Checkpoint:
    """The checkpoint that is nearest to the real faces; of equals the earliest."""
    return min(history, key=lambda checkpoint: (checkpoint.distance, checkpoint.step))


def pack(checkpoint: Checkpoint, output: Path) -> None:
    """Makes a checkpoint's samples the submission, whole or not at all. Raises OSError."""
    with whole(output) as unfinished:
        shutil.copyfile(checkpoint.samples, unfinished)


def as_csv(history: list[Checkpoint]) -> str:
    """step, fd_anime, afd: a line a checkpoint."""
    rows = (f"{checkpoint.step},{checkpoint.distance:.4f},{checkpoint.faces:.3f}" for checkpoint in history)
    return "\n".join(["step,fd_anime,afd", *rows]) + "\n"


def from_csv(path: Path) -> list[Checkpoint]:
    """What `as_csv` gave, from a file. Raises BadRun."""
    rows = read_rows(path, {"step": int, "fd_anime": float, "afd": float})
    return [Checkpoint(step, Path(f"samples/{step}.tgz"), distance, faces) for step, distance, faces in rows.tolist()]


def as_table(history: list[Checkpoint], reference: Reference):
    """A rich table of the history, the best checkpoint marked."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"against {escape(reference.faces)}", title_justify="left")
    for column in ("step", "FD-anime", "AFD", ""):
        table.add_column(column, justify="right")
    for checkpoint in history:
        mark = "[green]best[/]" if checkpoint == best(history) else ""
        table.add_row(f"{checkpoint.step:,}", f"{checkpoint.distance:.4g}", f"{checkpoint.faces:.3f}", mark)
    return table


def plot(history: list[Checkpoint], path: Path) -> None:
    """Draws both scores over the steps, and a line at the best checkpoint. Raises OSError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    steps = [checkpoint.step for checkpoint in history]
    upper.plot(steps, [checkpoint.distance for checkpoint in history], marker="o")
    upper.set(yscale="log", ylabel="FD-anime (lower is better)")
    lower.plot(steps, [checkpoint.faces for checkpoint in history], marker="o", color="C1")
    lower.set(ylabel="AFD (higher is better)", ylim=(-0.02, 1.02), xlabel="step")
    for axes in (upper, lower):
        axes.axvline(best(history).step, color="C2", linestyle="--", label=f"best: step {best(history).step:,}")
        axes.grid(alpha=0.3)
    upper.legend()
    with whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150)
