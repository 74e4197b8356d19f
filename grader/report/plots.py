"""What a training wrote, drawn: gradient norms by layer, and scores over the steps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from grader.files import atomic
from grader.inputs.runs import Checkpoint, LayerNorms, Run, best
from grader.report.images import uri


def plot_norms(runs: list[LayerNorms], path: Path) -> None:
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
    with atomic(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def plot_history(history: list[Checkpoint], path: Path) -> None:
    """Draws both scores over the steps, and a line at the best checkpoint. Raises OSError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    steps = [checkpoint.step for checkpoint in history]
    upper.plot(steps, [checkpoint.distance for checkpoint in history], marker="o")
    upper.set(yscale="log", ylabel="FD-ImageNet (lower is better)")
    lower.plot(steps, [checkpoint.faces for checkpoint in history], marker="o", color="C1")
    lower.set(ylabel="AFD (higher is better)", ylim=(-0.02, 1.02), xlabel="step")
    for axes in (upper, lower):
        axes.axvline(best(history).step, color="C2", linestyle="--", label=f"best: step {best(history).step:,}")
        axes.grid(alpha=0.3)
    upper.legend()
    with atomic(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def of_run(run: Run) -> list[dict]:
    """What a run has, drawn: of each a title, a picture, and a text that says what it shows."""
    plots = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plot.png")
        if norms := run.norms:
            plot_norms([norms], file)
            text = f"L2 norm of the discriminator’s gradient by layer, {norms.label}: quartiles of {norms.steps} steps"
            plots.append({"title": "Gradient norms", "image": uri(file.read_bytes()), "text": text})
        if history := run.history:
            plot_history(history, file)
            text = f"Scores of {len(history)} checkpoints; the best by FD-ImageNet is step {best(history).step:,}"
            plots.append({"title": "Training history", "image": uri(file.read_bytes()), "text": text})
    return plots
