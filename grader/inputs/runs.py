"""What a training wrote into its folder: grad_norms.csv, config.json, samples/; and the history.csv of its scores."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from grader.errors import GraderError, first_line, printable
from grader.files import natural, with_name
from grader.inputs.archives import bytes_of
from grader.inputs.submission import BadSubmission

MAX_LAYERS = 1000
MAX_BYTES = 256 * 10**6  # of a table: 12 layers of 500,000 steps. The worst of this size takes 1.6 GB
FILES = (  # of a run, beside its checkpoints and samples
    *("config.json", "labels.csv", "log.csv", "losses.png", "grad_norms.csv", "grad_norms.png"),
    *("history.csv", "history.png", "submission.tgz"),
)


class BadRun(GraderError):
    """A run with a table that is missing or cannot be used; the message names the file and the remedy."""


class NoRows(BadRun):
    """A table in which nothing was recorded yet."""


@dataclass(frozen=True)
class GradientNorms:
    """Quartiles over the recorded steps of the L2 norm per layer, float [3, layers], lowest layer first."""

    label: str
    quartiles: np.ndarray
    steps: int

    @property
    def ratio(self) -> float:
        """The largest layer's median norm over the smallest's; infinite when one is zero."""
        median = self.quartiles[1]
        return float(median.max()) / float(median.min()) if median.min() > 0 else float("inf")


def read_gradient_norms(run: Path) -> GradientNorms:
    """The norms in a run's grad_norms.csv (step, layer, name, norm), labelled by the setting in its config.json.

    Raises BadRun.
    """
    path = run / "grad_norms.csv"
    rows, torn = _rows_and_torn(path, {"step": int, "layer": int, "norm": float}, grows=True)
    rows.sort(order=("step", "layer"))
    layers = np.unique(rows["layer"])
    last = rows["step"] == rows["step"][-1]
    step, comma, _ = torn.partition(b",")
    # the training was cut off while it wrote them; where no other step tells how many layers there are, see of which
    # step the torn line is
    if last.sum() < len(layers) or (last.all() and torn and (not comma or step == b"%d" % rows["step"][-1])):
        left_out, rows = rows["step"][-1], rows[~last]
        if torn and len(rows):
            why = f"its last line does not end, so step {left_out} is left out"
            warnings.warn(printable(f"{path}: {why}: if the run is over, add a line break there"), stacklevel=2)
    if not len(rows):
        raise _no_rows(path)
    steps = np.unique(rows["step"])
    if len(rows) != len(layers) * len(steps) or (rows["layer"].reshape(len(steps), -1) != layers).any():
        raise BadRun(f"{path}: holds {len(rows)} rows for {len(layers)} layers and {len(steps)} steps: train again")
    if len(layers) > MAX_LAYERS:
        raise BadRun(f"{path}: holds {len(layers):,} layers: train again")
    norms = rows["norm"].reshape(len(steps), len(layers))
    return GradientNorms(_label(run), np.quantile(norms, [0.25, 0.5, 0.75], axis=0), len(steps))


def read_rows(path: Path, columns: dict[str, type], grows: bool = False) -> np.ndarray:
    """Columns of a CSV file of numbers, as a record array [rows] of their names. Raises BadRun.

    Of a file that `grows` during a run, a last line that does not end is left out: it may be half a line.
    Whole numbers are 0 to 10^12, others 0 to 10^30: a number that is none has no quartiles and no place in a plot.
    """
    return _rows_and_torn(path, columns, grows)[0]


def _rows_and_torn(path: Path, columns: dict[str, type], grows: bool) -> tuple[np.ndarray, bytes]:
    """The rows of read_rows, and the last line that was left out."""
    try:
        data = bytes_of(path, MAX_BYTES)
    except OSError:
        raise BadRun(f"{path}: cannot be read: name the folder that a notebook's `run` setting named") from None
    except ValueError as error:  # too long, or no file
        raise BadRun(f"{path}: {error}: name a run's folder, or train with a larger norms_every") from None
    try:
        end = data.rfind(b"\n") + 1 if grows else len(data)
        table = csv.DictReader(io.TextIOWrapper(io.BytesIO(data[:end]), "utf-8-sig", newline=""))
        cells = (tuple(kind(row[name]) for name, kind in columns.items()) for row in table)
        rows = np.fromiter(cells, [(name, np.int64 if kind is int else np.float64) for name, kind in columns.items()])
    except (KeyError, ValueError, TypeError, OverflowError, csv.Error):
        raise BadRun(f"{path}: not the columns {', '.join(columns)}, all of numbers: make it again") from None
    if not len(rows):
        raise _no_rows(path)
    for name, kind in columns.items():
        wrong = ~((rows[name] >= 0) & (rows[name] <= (1e12 if kind is int else 1e30)))  # NaN as well
        if wrong.any():
            row = rows[wrong.argmax()]
            raise BadRun(f"{path}: {name} is {row[name]} at step {row['step']}: did it diverge? Train again")
    return rows, data[end:]


def _no_rows(path: Path) -> NoRows:
    return NoRows(f"{path}: holds no row: this run recorded nothing here yet")


def _label(run: Path) -> str:
    try:
        config = json.loads(bytes_of(run / "config.json", 2**20))
    except FileNotFoundError:
        config = None
    except (OSError, ValueError, RecursionError) as error:
        config, where = None, run / "config.json"
        why = f"cannot be read ({first_line(error)}), so the run is called by its folder"
        warnings.warn(printable(f"{where}: {why}: copy it from the run again"), stacklevel=3)
    for setting, text in (
        ("clip", "weight clipping c="),
        ("penalty", "gradient penalty λ="),
        ("max_norm", "clip norm "),
    ):
        value = config.get(setting) if isinstance(config, dict) else None
        if isinstance(value, int | float) and abs(value) < 1e30:
            return f"{text}{value:g}" + ("" if config.get("batch_norm", True) else " without BatchNorm")
    return printable(with_name(run).name)


@dataclass(frozen=True)
class Checkpoint:
    """The scores of one checkpoint's samples."""

    step: int
    samples: Path
    distance: float  # FD-ImageNet, lower is better
    afd: float  # AFD, higher is better


def checkpoints(run: Path) -> list[Path]:
    """The archives of samples in a run, runs/NAME/samples/STEP.tgz, by step. Raises BadSubmission if there is none, and
    OSError."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):  # no glob(): to it a folder that cannot be read is empty
        found += (path for path in (run / "samples").iterdir() if re.fullmatch(r"[0-9]{1,12}\.tgz", path.name))
    found.sort(key=lambda path: natural(path.stem))
    if not found:
        raise BadSubmission([f"{run}: no samples/STEP.tgz: name the folder that a notebook's `run` setting named"])
    return found


def best(history: list[Checkpoint]) -> Checkpoint:
    """The checkpoint that is nearest to the real faces; of equals the earliest."""
    return min(history, key=lambda checkpoint: (checkpoint.distance, checkpoint.step))


def read_history(path: Path) -> list[Checkpoint]:
    """The scores of checkpoints in a history.csv: step, fd_imagenet, afd. Raises BadRun."""
    if not path.exists():  # no training writes it
        raise BadRun(f"{path}: does not exist: write it with python -m grader history {path.parent}")
    rows = read_rows(path, {"step": int, "fd_imagenet": float, "afd": float})
    return [Checkpoint(step, Path(f"samples/{step}.tgz"), distance, afd) for step, distance, afd in rows.tolist()]


@dataclass(frozen=True)
class Run:
    """A run's gradient norms and the scores of its checkpoints, None where it has none that can be used; `problems` say
    why of a file that is there."""

    norms: GradientNorms | None
    history: list[Checkpoint] | None
    problems: list[str] = field(default_factory=list)


def read_run(run: Path) -> Run:
    """What a run has of the two. One that cannot be used is a problem, and no error: of a run that diverged late there
    are still pictures to score."""
    found, problems = {}, []
    for name, read in (("grad_norms.csv", _norms_so_far), ("history.csv", read_history)):
        try:
            found[name] = read(run / name) if (run / name).exists() else None
        except BadRun as error:
            problems += error.problems
    return Run(found.get("grad_norms.csv"), found.get("history.csv"), problems)


def _norms_so_far(path: Path) -> GradientNorms | None:
    with suppress(NoRows):  # the notebooks begin each run with a line of column names
        return read_gradient_norms(path.parent)
    return None
