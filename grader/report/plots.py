"""What a training wrote, drawn: gradient norms by layer, and scores over the steps."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grader.files import atomic, keep_unless
from grader.inputs.runs import Checkpoint, GradientNorms, Run, best
from grader.report.images import uri
from grader.results import DISTANCES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Lines = dict[str, float]  # what a line across a plot stands for, and its height
MARK = "anime-gan-kit"  # in each file, as the program that drew it
REAL = "real faces"  # the name of one that is no tier

# Each is asked in turn for a letter; after Matplotlib's own, those that Linux, Windows and macOS have for Chinese.
FONTS = (
    *("DejaVu Sans", "Noto Sans CJK TC", "Noto Sans CJK JP", "Noto Sans TC", "Source Han Sans TC", "WenQuanYi Zen Hei"),
    *("Droid Sans Fallback", "AR PL UMing TW", "Microsoft JhengHei", "Microsoft YaHei", "PingFang TC", "PingFang HK"),
    *("Heiti TC", "Hiragino Sans", "Arial Unicode MS"),
)

FILE = {"figure.figsize": (8, 5), "savefig.dpi": 150}
PAGE = {"figure.figsize": (5.6, 4.2), "savefig.dpi": 160, "font.size": 11}  # readable at the width of a phone


def _colours(ink: str, soft: str, paper: str, lines: list[str]) -> dict:
    from matplotlib import cycler

    inks = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink)
    papers = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), paper)
    softs = dict.fromkeys(("axes.edgecolor", "grid.color", "legend.edgecolor"), soft)
    return inks | papers | softs | {"axes.prop_cycle": cycler(color=lines)}


def plot_norms(runs: list[GradientNorms], path: Path) -> None:
    """Draws norm (log scale) against layer, low to high: the median, and the band between the quartiles.

    The ending of `path` says which kind of picture it becomes. Raises OSError.
    """
    runs = _legible(runs)
    _write(lambda figure: _draw_norms(figure, runs), path)


def plot_history(history: list[Checkpoint], path: Path) -> None:
    """Draws both scores over the steps, and a line at the best checkpoint. Raises OSError."""
    _write(lambda figure: _draw_history(figure, history, {}, {}), path)


@cache
def _fonts() -> dict[str, str]:
    """The FONTS that are there, and the file of each."""
    from matplotlib.font_manager import fontManager

    files = {entry.name: entry.fname for entry in reversed(fontManager.ttflist)}  # kept for long: some may be gone
    return {name: files[name] for name in FONTS if name in files and Path(files[name]).is_file()}


def _legible(runs: list[GradientNorms]) -> list[GradientNorms]:
    """The same, with a number for a label that no font here can write, and a warning that says so."""
    from matplotlib.font_manager import get_font

    fonts, named = [get_font(file) for file in _fonts().values()], []
    for number, run in enumerate(runs, 1):
        if not all(any(font.get_char_index(ord(letter)) for font in fonts) for letter in run.label):
            warnings.warn(f"no font here writes {run.label}: it is run {number} in the plot", stacklevel=3)
            run = replace(run, label=f"run {number}")
        named.append(run)
    return named


def _draw_norms(figure: Figure, runs: list[GradientNorms]) -> None:
    axes = figure.add_subplot()
    for run, marker in zip(runs, "osD^vPX*" * len(runs), strict=False):
        layers = np.arange(1, run.quartiles.shape[1] + 1)
        median = np.where(run.quartiles[1] > 0, run.quartiles[1], np.nan)  # a norm of 0 has no place on a log axis
        (line,) = axes.plot(layers, median, marker=marker, label=f" {run.label}")  # one that begins with _ is hidden
        axes.fill_between(layers, run.quartiles[0], run.quartiles[2], alpha=0.2, color=line.get_color(), linewidth=0)
    scale = "log" if any((run.quartiles > 0).any() for run in runs) else "linear"
    axes.set(yscale=scale, xlabel="discriminator layer, from the picture up", ylabel="L2 norm of the weight's gradient")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)  # a folder may be called $x$


def _draw_history(figure: Figure, history: list[Checkpoint], distances: Lines, ratios: Lines) -> None:
    upper, lower = figure.subplots(2, sharex=True)
    steps = [checkpoint.step for checkpoint in history]
    upper.plot(steps, [checkpoint.distance for checkpoint in history], marker="o")
    upper.set(yscale="log", ylabel=f"{DISTANCES[0]}\n(lower is better)")
    lower.plot(steps, [checkpoint.afd for checkpoint in history], marker="o", color="C1")
    lower.set(ylabel="AFD\n(higher is better)", ylim=(-0.02, 1.02), xlabel="step")
    for axes, lines in ((upper, distances), (lower, ratios)):
        axes.axvline(best(history).step, color="C2", linestyle="--", label=f"best: step {best(history).step:,}")
        axes.grid(alpha=0.3)
        for name, height in lines.items():
            axes.axhline(height, color="C3", linestyle=":", linewidth=1)
            side = "top" if name == REAL else "bottom"  # the highest tier lies close to the real faces
            place = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": side, "fontsize": "small"}
            axes.text(1.01, height, name, **place)
    upper.legend()


def _figure(draw) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure)
    return figure


def _write(draw, path: Path) -> None:
    """Draws into a file. A picture that others called so is kept: students draw with Matplotlib too."""
    from matplotlib import rc_context

    keep_unless(path, lambda file: MARK.encode() in file.read())
    about = {"Software" if path.suffix.lower() == ".png" else "Creator": MARK}
    with rc_context(FILE | {"font.family": [*_fonts()]}), atomic(path) as unfinished:
        _figure(draw).savefig(unfinished, metadata=about)


def _light_and_dark(draw) -> dict[str, str]:
    """The plot for light and for dark pages."""
    from matplotlib import rc_context

    light = _colours("#1c1e21", "#8b919b", "#ffffff", ["#1f77b4", "#d9680b", "#2a8f3c", "#8a4bb0"])
    dark = _colours("#e8eaed", "#7b828d", "#17191c", ["#6cb4ee", "#f5a65b", "#7ed492", "#cf9bf0"])
    drawn = {}
    for name, colours in {"image": light, "dark": dark}.items():
        with rc_context(PAGE | colours | {"font.family": [*_fonts()]}):
            file = io.BytesIO()
            _figure(draw).savefig(file, format="png")
        drawn[name] = uri(file.getvalue())
    return drawn


def of_run(run: Run, distances: Lines, ratios: Lines) -> list[dict]:
    """What a run has, drawn: of each a title, a picture for light and for dark pages, and a text that says what it
    shows. `distances` and `ratios` are drawn as lines across the history."""
    plots = []
    if norms := run.norms:
        legible = _legible([norms])
        drawn = _light_and_dark(lambda figure: _draw_norms(figure, legible))
        text = f"L2 norm of the discriminator’s gradient by layer, {norms.label}: quartiles of {norms.steps} steps"
        plots.append({"title": "Gradient norms", "text": text, **drawn})
    if history := run.history:
        drawn = _light_and_dark(lambda figure: _draw_history(figure, history, distances, ratios))
        text = f"Scores of {len(history)} checkpoints; the best by {DISTANCES[0]} is step {best(history).step:,}"
        if lines := distances | ratios:
            text += ". Dotted: the tiers" + ", and what real faces score" * (REAL in lines)
        if distances:
            text += f"; those of {DISTANCES[0]} hold if the history is against the same faces as this score"
        plots.append({"title": "Training history", "text": text, **drawn})
    return plots
