"""`python -m grader history`."""

from __future__ import annotations

import click

from grader import console
from grader.cli import options


@click.command(short_help="Score every checkpoint of a run and find the best.")
@click.argument("run", type=console.path(exists=True, file_okay=False))
@options.reference
@click.option("--pack", type=click.Choice(["best"]), help="Write that checkpoint's samples to submission.tgz.")
@click.option(
    "--output",
    type=console.path(file_okay=False),
    help="Folder for what is written, made if it is not there: RUN may be read only.  [default: RUN]",
)
def history(run, reference, pack, output):
    """Scores the samples of every checkpoint in RUN, a folder that a notebook's training wrote, and marks the best.

    Reads RUN/samples/STEP.tgz, 1,000 pictures each, about 7 seconds for one. Best is the checkpoint with the lowest
    FD-ImageNet; a GAN often does not end at its best. Checkpoints that cannot be read are named and left out.

    Prints a table, and writes history.csv and history.png into RUN, where `score --run RUN` finds them.

    \b
    Exit codes:
      0    scored
      1    RUN holds no samples that can be scored
      2    wrong use, or a file that cannot be read or written

    \b
    Example:
      python -m grader history runs/wgan --pack best
    """
    from rich.console import Console

    from grader.history import score_history
    from grader.report.terminal import history_table

    with console.bars() as progress:
        scored, against, written = score_history(run, reference, progress, output, pack_best=pack == "best")
    Console().print(history_table(scored, against))
    console.wrote(*written)
