"""`python -m grader gradnorm`."""

from __future__ import annotations

import click

from grader import console


@click.command(short_help="Plot the discriminator's gradient norms, layer by layer.")
@click.argument("runs", type=console.path(), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=console.path(dir_okay=False),
    default="gradnorm.png",
    show_default=True,
    callback=console.ending(".png", ".svg", ".pdf"),
    help="The plot, a .png, .svg or .pdf; the numbers go beside it, as .csv.",
)
def gradnorm(runs, output):
    """Plots how long the discriminator's gradient is in each of its layers, one line for each of RUNS.

    RUNS are folders that the notebooks' training wrote. Their grad_norms.csv is read (step, layer, name, norm), and
    config.json for the name of the line: weight clipping c=0.01, gradient penalty λ=10.

    Prints a table of the median norm by layer, over the recorded steps, and writes the plot and a .csv with the
    quartiles. Norms are L2, of the gradient of D's loss by a layer's weights; they have no unit.

    \b
    Example:
      python -m grader gradnorm runs/wgan runs/wgan_gp -o gradnorm.png
    """
    from rich.console import Console

    from grader.gradient_norms import compare
    from grader.report.norms import norms_table

    Console().print(norms_table(compare(runs, output)))
    console.wrote(output, output.with_suffix(".csv"))
