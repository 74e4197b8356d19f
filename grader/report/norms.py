"""Gradient norms as a table on the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from grader.inputs.runs import GradientNorms


def norms_table(runs: list[GradientNorms]) -> Table:
    """A row per layer, the median norm of each run; last the largest over the smallest."""
    table = Table(title="L2 norm of D's gradient, median over steps", title_justify="left")
    table.add_column("layer", overflow="fold")  # cut off, two names would look alike, and 1.23e-06 like 1.23
    for run in runs:
        table.add_column(escape(run.label), justify="right", overflow="fold")
    for layer in range(max(run.quartiles.shape[1] for run in runs)):
        cells = (f"{run.quartiles[1, layer]:.3g}" if layer < run.quartiles.shape[1] else "" for run in runs)
        table.add_row(str(layer + 1), *cells)
    table.add_section()
    table.add_row("largest / smallest", *(f"{run.ratio:.3g}" for run in runs))
    return table
