"""The second report: how long the discriminator's gradient is in each of its layers, run against run.

Weight clipping lets it fade or explode from layer to layer, the gradient penalty keeps it level: Gulrajani et al.,
https://arxiv.org/abs/1704.00028, figure 1b.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from grader.errors import printable
from grader.files import BOM, check_apart, csv_text, keep_others, with_name, write_text
from grader.inputs.runs import FILES, GradientNorms, read_gradient_norms
from grader.report.plots import plot_norms

COLUMNS = ("setting", "layer", "q25", "median", "q75")


def compare(runs: list[Path], output: Path) -> list[GradientNorms]:
    """Plots the gradient norms of runs to `output`, the numbers beside it as .csv. Raises BadRun, OSError, and
    GraderError where one of both is a file of a run's own."""
    check_apart([output, output.with_suffix(".csv")], [run / name for run in runs for name in FILES])
    read = told_apart([read_gradient_norms(path) for path in runs], runs)
    plot_norms(read, output)
    keep_others(table := output.with_suffix(".csv"), csv_text([COLUMNS]).strip())
    write_text(table, BOM + as_csv(read))
    return read


def told_apart(read: list[GradientNorms], folders: list[Path]) -> list[GradientNorms]:
    """The same with the name of its folder in each label that several have; where that is alike too, with its path."""
    labels = [run.label for run in read]
    for name in (lambda folder: with_name(folder).name, str):
        named = [
            run if labels.count(run.label) == 1 else replace(run, label=f"{run.label} ({printable(name(folder))})")
            for run, folder in zip(read, folders, strict=True)
        ]
        if len({run.label for run in named}) == len(named):
            break
    return named


def as_csv(runs: list[GradientNorms]) -> str:
    """One line per layer of a run: setting, layer, lower quartile, median, upper quartile."""
    rows = [[run.label, n, *(f"{q:.6g}" for q in qs)] for run in runs for n, qs in enumerate(run.quartiles.T, 1)]
    return csv_text([COLUMNS, *rows])
