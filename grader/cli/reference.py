"""`python -m grader reference`."""

from __future__ import annotations

import click

from grader import console


@click.command(short_help="Keep what faces are compared with in one file.")
@click.argument("faces", type=console.path(exists=True))
@click.option(
    "-o",
    "--output",
    type=console.path(dir_okay=False),
    callback=console.ending(".safetensors"),
    help="The .safetensors to write, of about 25 MB, and 5 MB more for 100,000 faces.  [default: FACES.safetensors]",
)
def reference(faces, output):
    """Computes what --reference needs of FACES, and writes it to one file: mean and covariance of the features of all
    faces (those of FD-ImageNet), the features of 1,000 of them, and 48 numbers of each, by which copies are found.

    FACES is a folder, .zip, .tar or .tgz of 2 pictures or more, of any size and name, shrunk to 64x64. They are read in
    small batches: any number of them needs little memory. 1,000 take about 8 seconds. From 2,000 on, about 25
    more go into 1,000 of them, stored as JPEG in three qualities. A file that is no picture is named and left out.

    \b
    Example:
      python -m grader reference faces.zip -o faces.safetensors
      python -m grader score outputs/ --reference faces.safetensors
    """
    from grader.files import with_name
    from grader.metrics.frechet import floor
    from grader.scoring import keep_reference

    output = output or with_name(faces).with_name(f"{with_name(faces).stem}.safetensors")
    with console.bars() as progress:
        made = keep_reference(faces, output, progress)
    unseen = floor(made)
    console.wrote(output)
    console.note(
        f"{made.statistics.count:,} faces, named {made.faces}"
        + ("" if unseen is None else f"; 1,000 real faces have FD-ImageNet {unseen:.4g}")
    )
