"""The second report: how long the discriminator's gradient is in each of its layers, run against run.

Weight clipping lets it fade or explode from layer to layer, the gradient penalty keeps it level: Gulrajani et al.,
https://arxiv.org/abs/1704.00028, figure 1b.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class BadRun(Exception):
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
        return float(median.max() / median.min()) if median.min() > 0 else float("inf")


def read_run(run: Path) -> LayerNorms:
    """The norms in a run's grad_norms.csv (step, layer, name, norm), labelled by the setting in its config.json.

    Raises BadRun.
    """
    path = run / "grad_norms.csv"
    try:
        with open(path, newline="") as file:
            rows = [(int(row["step"]), int(row["layer"]), float(row["norm"])) for row in csv.DictReader(file)]
    except OSError:
        raise BadRun(f"{path}: cannot be read: name the folder that a notebook's `run` setting named") from None
    except (KeyError, ValueError, TypeError):
        raise BadRun(f"{path}: not the columns step, layer, name, norm") from None
    layers, steps = sorted({layer for _, layer, _ in rows}), sorted({step for step, _, _ in rows})
    if len(rows) != len(layers) * len(steps) or not rows:
        raise BadRun(f"{path}: holds {len(rows)} rows for {len(layers)} layers and {len(steps)} steps: train again")
    values = np.array([norm for _, _, norm in sorted(rows)]).reshape(len(steps), len(layers))
    return LayerNorms(_label(run), np.quantile(values, [0.25, 0.5, 0.75], axis=0), len(steps))


def _label(run: Path) -> str:
    try:
        config = json.loads((run / "config.json").read_text())
    except (OSError, ValueError):
        return run.name
    for setting, text in (
        ("clip", "weight clipping c="),
        ("penalty", "gradient penalty λ="),
        ("max_norm", "clip norm "),
    ):
        if setting in config:
            return f"{text}{config[setting]:g}" + ("" if config.get("batch_norm", True) else " without BatchNorm")
    return run.name


def as_csv(runs: list[LayerNorms]) -> str:
    """One line a layer of a run: setting, layer, lower quartile, median, upper quartile."""
    lines = ["setting,layer,q25,median,q75"]
    for run in runs:
        lines += [f"{run.label},{n},{','.join(f'{q:.6g}' for q in qs)}" for n, qs in enumerate(run.quartiles.T, 1)]
    return "\n".join(lines) + "\n"


def as_table(runs: list[LayerNorms]):
    """A rich table: a row a layer, the median norm of each run; last the largest over the smallest."""
    from rich.table import Table

    table = Table(title="L2 norm of D's gradient, median over steps", title_justify="left")
    table.add_column("layer")
    for run in runs:
        table.add_column(run.label, justify="right")
    for layer in range(max(run.quartiles.shape[1] for run in runs)):
        cells = (f"{run.quartiles[1, layer]:.3g}" if layer < run.quartiles.shape[1] else "" for run in runs)
        table.add_row(str(layer + 1), *cells)
    table.add_section()
    table.add_row("largest / smallest", *(f"{run.spread:.3g}" for run in runs))
    return table


def plot(runs: list[LayerNorms], path: Path) -> None:
    """Draws norm (log scale) against layer, low to high: the median, and the band between the quartiles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for run, marker in zip(runs, "osD^vPX*" * len(runs), strict=False):
        layers = np.arange(1, run.quartiles.shape[1] + 1)
        median = np.where(run.quartiles[1] > 0, run.quartiles[1], np.nan)  # a norm of 0 has no place on a log axis
        (line,) = axes.plot(layers, median, marker=marker, label=run.label)
        axes.fill_between(layers, run.quartiles[0], run.quartiles[2], alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set(yscale="log", xlabel="discriminator layer, from the picture up", ylabel="L2 norm of the weight's gradient")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
