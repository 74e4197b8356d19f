"""Draws docs/verdict.svg, what `python -m grader score` shows on a terminal: `python -m studies.verdict PICTURES`."""

from __future__ import annotations

import io
import re
from pathlib import Path

import click
from rich.console import Console
from rich.terminal_theme import MONOKAI

from grader import console, score
from grader.files import write_text
from grader.report.terminal import show
from grader.results import Score


def draw(scored: Score) -> str:
    """The .svg of a terminal on which a score is shown."""
    screen = Console(record=True, width=80, file=io.StringIO(), highlight=False, force_terminal=True)
    screen.print("[bold]$ python -m grader score runs/r3gan/submission.tgz[/]\n")
    show(scored, screen)
    svg = screen.export_svg(title="grader", theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from the net


@click.command(cls=console.Command)
@click.argument("pictures", type=console.path(exists=True))
@click.option("--output", type=console.path(), default="docs/verdict.svg", show_default=True)
def main(pictures: Path, output: Path) -> None:
    """Scores PICTURES and draws the verdict as it is printed."""
    write_text(output, draw(score(pictures, offline=True)))
    console.wrote(output)


if __name__ == "__main__":
    console.run(main, "python -m studies.verdict")
