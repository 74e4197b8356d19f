"""The command line: reads arguments, calls, prints. A file for each command.

Each command imports what it needs, so that --help answers at once.
"""

from __future__ import annotations

import click

from grader import console
from grader.cli.check import check
from grader.cli.gradient_norms import gradnorm
from grader.cli.history import history
from grader.cli.leaderboard import leaderboard
from grader.cli.pack import pack, slice_
from grader.cli.reference import reference
from grader.cli.score import score
from grader.version import VERSION


@click.group(cls=console.Commands)
@click.version_option(VERSION, message="%(version)s")
def main():
    """Scores pictures of anime faces for NTU's machine learning homework 6, on scales of its own: FD-ImageNet, FID and
    AFD, and the baselines passed.

    \b
    Examples:
      python -m grader score outputs/
      python -m grader score --help

    \b
    Exit codes of every command:
      0    done
      1    what was handed in is not as it should be, or (to score, pack and
           slice) cannot be read: a line for each problem
      2    wrong use, or another file that cannot be read or written: one line
      130  stopped by Ctrl-C
    """


for command in (score, gradnorm, history, check, reference, leaderboard, pack, slice_):
    main.add_command(command)


def run():
    """The whole program, with its exit code."""
    console.run(main, "python -m grader")
