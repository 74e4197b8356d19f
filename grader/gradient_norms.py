"""The second report: how long the discriminator's gradient is in each of its layers, run against run.

Weight clipping lets it fade or explode from layer to layer, the gradient penalty keeps it level: Gulrajani et al.,
https://arxiv.org/abs/1704.00028, figure 1b.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grader.errors import GraderError, printable, whole
from grader.inputs.archives import bytes_of

MAX_LAYERS = 1000


class BadRun(GraderError):
    """A run without usable gradient norms; the message names the file and the remedy."""


@dataclass(frozen=True)
class LayerNorms:
    """Quartiles over the recorded steps of the L2 norm per layer, float [3, layers], lowest layer first."""

    label: str
    quartiles: np.ndarray
    steps: int

    @property
    def spread(self) -> float:
        """The largest layer's median norm over the smallest's; infinite when one is zero."""
        median = self.quartiles[1]
        return float(median.max()) / float(median.min()) if median.min() > 0 else float("inf")


def read_run(run: Path) -> LayerNorms:
    """The norms in a run's grad_norms.csv (step, layer, name, norm), labelled by the setting in its config.json.

    Raises BadRun.
    """
    path = run / "grad_norms.csv"
    rows = read_rows(path, {"step": int, "layer": int, "norm": float})
    rows.sort(order=("step", "layer"))
    layers, steps = np.unique(rows["layer"]), np.unique(rows["step"])
    if len(rows) != len(layers) * len(steps) or (rows["layer"].reshape(len(steps), -1) != layers).any():
        raise BadRun(f"{path}: holds {len(rows)} rows for {len(layers)} layers and {len(steps)} steps: train again")
    if len(layers) > MAX_LAYERS:
        raise BadRun(f"{path}: holds {len(layers):,} layers: train again")
    norms = rows["norm"].reshape(len(steps), len(layers))
    return LayerNorms(_label(run), np.quantile(norms, [0.25, 0.5, 0.75], axis=0), len(steps))


def read_rows(path: Path, columns: dict[str, type]) -> np.ndarray:
    """Columns of a CSV file of numbers, as a record array [rows] of their names. Raises BadRun.

    Whole numbers are 0 to 10^12, others 0 to 10^30: a number that is none has no quartiles and no place in a plot.
    """
    try:
        table = csv.DictReader(io.TextIOWrapper(io.BytesIO(bytes_of(path)), "utf-8", newline=""))
        cells = (tuple(kind(row[name]) for name, kind in columns.items()) for row in table)
        rows = np.fromiter(cells, [(name, np.int64 if kind is int else np.float64) for name, kind in columns.items()])
    except OSError:
        raise BadRun(f"{path}: cannot be read: name the folder that a notebook's `run` setting named") from None
    except (KeyError, ValueError, TypeError, OverflowError, csv.Error):
        raise BadRun(f"{path}: not the columns {', '.join(columns)}, all of numbers: make it again") from None
    if not len(rows):
        raise BadRun(f"{path}: holds no row: make it again")
    for name, kind in columns.items():
        wrong = ~((rows[name] >= 0) & (rows[name] <= (1e12 if kind is int else 1e30)))  # NaN as well
        if wrong.any():
            row = rows[wrong.argmax()]
            raise BadRun(f"{path}: {name} is {row[name]} at step {row['step']}: did it diverge? Train again")
    return rows


def _label(run: Path) -> str:
    try:
        config = json.loads(bytes_of(run / "config.json", 2**20))
    except (OSError, ValueError, RecursionError):
        config = None
    for setting, text in (
        ("clip", "weight clipping c="),
        ("penalty", "gradient penalty λ="),
        ("max_norm", "clip norm "),
    ):
        value = config.get(setting) if isinstance(config, dict) else None
        if isinstance(value, int | float) and abs(value) < 1e30:
            return f"{text}{value:g}" + ("" if config.get("batch_norm", True) else " without BatchNorm")
    return printable(run.name)


def as_csv(runs: list[LayerNorms]) -> str:
    """One line a layer of a run: setting, layer, lower quartile, median, upper quartile."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["setting", "layer", "q25", "median", "q75"])
    for run in runs:
        lines.writerows([run.label, n, *(f"{q:.6g}" for q in qs)] for n, qs in enumerate(run.quartiles.T, 1))
    return file.getvalue()


def as_table(runs: list[LayerNorms]):
    """A rich table: a row a layer, the median norm of each run; last the largest over the smallest."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="L2 norm of D's gradient, median over steps", title_justify="left")
    table.add_column("layer")
    for run in runs:
        table.add_column(escape(run.label), justify="right")
    for layer in range(max(run.quartiles.shape[1] for run in runs)):
        cells = (f"{run.quartiles[1, layer]:.3g}" if layer < run.quartiles.shape[1] else "" for run in runs)
        table.add_row(str(layer + 1), *cells)
    table.add_section()
    table.add_row("largest / smallest", *(f"{run.spread:.3g}" for run in runs))
    return table


def plot(runs: list[LayerNorms], path: Path) -> None:
    """Draws norm (log scale) against layer, low to high: the median, and the band between the quartiles.

    The ending of `path` says which kind of picture it becomes. Raises OSError.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for run, marker in zip(runs, "osD^vPX*" * len(runs), strict=False):
        layers = np.arange(1, run.quartiles.shape[1] + 1)
        median = np.where(run.quartiles[1] > 0, run.quartiles[1], np.nan)  # a norm of 0 has no place on a log axis
        (line,) = axes.plot(layers, median, marker=marker, label=f" {run.label}")  # one that begins with _ is hidden
        axes.fill_between(layers, run.quartiles[0], run.quartiles[2], alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set(yscale="log", xlabel="discriminator layer, from the picture up", ylabel="L2 norm of the weight's gradient")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)  # a folder may be called $x$
    with whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150)
