"""Which notebook is the best for its time? python -m studies.per_minute LABEL:NOTEBOOK:RUN... --output FOLDER

Each RUN is the folder of a finished run, scored by `python -m grader history RUN`. Its time is the number of its steps
times what one takes on one CPU thread when the machine is at its quietest: all notebooks train a few steps in turn, for
some rounds, and the shortest time counts. So runs that were trained beside other work can be compared. Runs of a LABEL
are seeds of one line. Prints a table, and writes per_minute.csv and per_minute.png into FOLDER.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from baselines.definitions import BASELINES
from grader import console
from grader.errors import GraderError
from grader.files import atomic, check_writable, csv_text, write_text
from grader.inputs.runs import Checkpoint, best, read_history, read_rows

if TYPE_CHECKING:
    import numpy as np

STEPS, WINDOW = 48, 16  # trained in each round; of these, the fastest so many in a row count. A penalty is every fourth
LIMITS = {"ten minutes": 10.05, "an hour": 60.3}  # in minutes, with the half percent by which a timing is off
OWN = ("run", "outputs", "steps", "hours", "checkpoint_every", "log_every", "cool_down", "pictures")  # no part of it


def config_of(notebook: str, run: Path) -> dict:
    """A run's settings. Raises OSError, and GraderError where a few steps of it cannot be timed for all."""
    try:
        config = json.loads((path := run / "config.json").read_text(encoding="utf-8"))
        config["seed"]
    except (ValueError, TypeError, KeyError):
        raise GraderError(f"{path}: holds no settings of a run: name the folder that a notebook trained in") from None
    if "hold" in config:
        raise GraderError(f"{run}: its steps grow with its pictures, so that the first ones tell nothing of the others")
    if 'PRESETS["cpu"]' not in (BASELINES / f"{notebook}.py").read_text(encoding="utf-8"):
        raise GraderError(f"{notebook} has no preset cpu, with which a step is timed")
    return config


def seconds_per_step(notebook: str, run: Path, faces: str) -> float:
    """The seconds of one step with a run's settings on one thread, in its fastest steps in a row. Raises OSError, and
    GraderError when the notebook stops."""
    config = config_of(notebook, run)
    settings = {name: value for name, value in config.items() if name not in OWN}
    settings |= {"faces": faces} if faces else {}
    with tempfile.TemporaryDirectory() as folder:
        settings |= {"run": f"{folder}/run", "outputs": f"{folder}/outputs", "steps": STEPS, "log_every": STEPS}
        command = [sys.executable, BASELINES / f"{notebook}.py", "--preset", "cpu"]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        quiet = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "KIT_SCORE": "0"}
        done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise GraderError(f"{notebook} does not train with the settings of {run}: {said}")
        seconds = read_rows(Path(folder, "run/log.csv"), {"seconds": float})["seconds"]
    return fastest(seconds)


def fastest(seconds: np.ndarray) -> float:
    """The seconds of a step in the fastest WINDOW steps in a row; `seconds` [N] are since the first, after each."""
    return float((seconds[WINDOW:] - seconds[:-WINDOW]).min() / WINDOW)


def times_of_steps(runs: list[tuple[str, str, Path]], faces: str, rounds: int) -> dict[str, float]:
    """The seconds of a step by label, in its fastest round. The seeds of a label take the same time."""
    first = {label: (notebook, run) for label, notebook, run in reversed(runs)}
    times = {label: [] for label, _, _ in runs}
    for _ in range(rounds):
        for label in times:
            times[label].append(seconds_per_step(*first[label], faces))
            click.echo(f"{label}: {times[label][-1] * 1000:.0f} ms a step", err=True)
    spread = [max(found) / min(found) for found in times.values()]
    click.echo(f"the slowest round took {min(spread):.2f} to {max(spread):.2f} times the fastest", err=True)
    return {label: min(found) for label, found in times.items()}


@dataclass(frozen=True)
class Line:
    """A run's checkpoints, each with the minutes that it took."""

    label: str
    notebook: str
    seed: int
    points: list[tuple[float, Checkpoint]]

    def within(self, limit: float) -> str:
        """The best checkpoint in so many minutes, in words."""
        in_time, found = [point for minutes, point in self.points if minutes <= limit], "no checkpoint"
        if in_time:
            nearest = best(in_time)
            found = f"{nearest.distance:.1f} (AFD {nearest.afd:.3f}) at step {nearest.step:,}"
        minutes, last = self.points[-1]
        return f"{found} of {last.step:,} in {minutes:.1f} minutes"


def compare(runs: list[tuple[str, str, Path]], output: Path, faces: str, rounds: int) -> list[Line]:
    """The line of each run of (label, notebook, run); they are written into `output` too, as a table and drawn. Raises
    GraderError and OSError, before anything is timed where it can be known."""
    histories = [read_history(run / "history.csv") for _, _, run in runs]
    seeds = [config_of(notebook, run)["seed"] for _, notebook, run in runs]
    check_writable(output)
    seconds = times_of_steps(runs, faces, rounds)
    lines = [
        Line(label, notebook, seed, [(point.step * seconds[label] / 60, point) for point in history])
        for (label, notebook, _), seed, history in zip(runs, seeds, histories, strict=True)
    ]
    rows = [("label", "notebook", "seed", "step", "minutes", "fd_imagenet", "afd")]
    for line in lines:
        for minutes, point in line.points:
            score = f"{minutes:.2f}", f"{point.distance:.1f}", f"{point.afd:.3f}"
            rows.append((line.label, line.notebook, line.seed, point.step, *score))
    write_text(output / "per_minute.csv", csv_text(rows))
    draw(lines, output / "per_minute.png")
    return lines


def draw(lines: list[Line], path: Path) -> None:
    """Draws distance against minutes, a colour for each label and a line for each of its runs."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = plt.subplots(figsize=(8, 5))
    colours = {}
    for line in lines:
        minutes, points = zip(*line.points, strict=True)
        first = None if line.label in colours else line.label
        colour = colours.setdefault(line.label, f"C{len(colours)}")
        axes.plot(minutes, [point.distance for point in points], f"{colour}.-", label=first, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlabel="minutes on one quiet CPU thread", ylabel="FD-ImageNet (crypko)")
    for axis, subs in ((axes.xaxis, (1, 2, 5)), (axes.yaxis, (1, 2, 3, 4, 6))):
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    with atomic(path) as unfinished:
        figure.savefig(unfinished, dpi=150, bbox_inches="tight", format="png")
    plt.close(figure)


def runs_given(_context, _argument, texts) -> list[tuple[str, str, Path]]:
    """(label, notebook, run) of each LABEL:NOTEBOOK:RUN. Raises click.BadParameter."""
    given = [text.split(":", 2) for text in texts]
    for text, parts in zip(texts, given, strict=True):
        if len(parts) < 3 or not Path(parts[2]).is_dir() or not (BASELINES / f"{parts[1]}.py").exists():
            raise click.BadParameter(f"{text!r} is not LABEL:NOTEBOOK:RUN, as in GAN:01_gan:runs/gan")
    return [(label, notebook, Path(run)) for label, notebook, run in given]


@click.command(cls=console.Command, help=__doc__)
@click.argument("runs", nargs=-1, required=True, callback=runs_given)
@click.option("--output", required=True, type=console.path(file_okay=False))
@click.option("--faces", default="", help="Where the runs' faces are now, if not where they were.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each is timed.")
def main(runs, output, faces, rounds):
    for line in compare(runs, output, faces, rounds):
        for words, limit in LIMITS.items():
            click.echo(f"{line.label}, seed {line.seed}: within {words} {line.within(limit)}")


if __name__ == "__main__":
    console.run(main, "python -m studies.per_minute")
