"""`python -m grader pack` and `python -m grader slice`."""

from __future__ import annotations

import click

from grader import console
from grader.errors import counted, printable


@click.command(short_help="Pack 1,000 pictures as the course takes them.")
@click.argument("source", type=console.path())
@click.option(
    "-o",
    "--output",
    type=console.path(dir_okay=False),
    default="submission.tgz",
    show_default=True,
    callback=console.ending(".tgz", ".tar.gz"),
    help="The archive to write, a .tgz or .tar.gz of less than 2 MB.",
)
def pack(source, output):
    """Packs SOURCE, a folder or archive of 1,000 pictures, as the course takes them: a flat .tgz of 1.jpg … 1000.jpg,
    64x64 pixels each, of less than 2 MB. It is read back before it is put in place.

    Pictures of that form are packed byte for byte. Others become 1.jpg … 1000.jpg in the order of their names, are
    shrunk, and are stored at the highest JPEG quality that fits.

    \b
    Exit codes:
      0    packed
      1    SOURCE does not hold 1,000 pictures that can be read
      2    wrong use, or a file that cannot be written

    \b
    Example:
      python -m grader pack my_pictures/ -o submission.tgz
    """
    from grader.pack import pack

    submission, quality = pack(source, output)
    for line in submission.notes:
        console.note(line)
    how = "as they were" if quality is None else f"as JPEG of quality {quality}"
    console.wrote(output)
    console.note(f"{len(submission.pictures):,} pictures, {how}, {output.stat().st_size:,} bytes")


@click.command("slice", short_help="Cut grids of pictures into single ones.")
@click.argument("grids", type=console.path(), nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=console.path(),
    default="outputs",
    show_default=True,
    help="The folder to make, which must not be there.",
)
def slice_(grids, output):
    """Cuts GRIDS, pictures of many 64x64 pictures as torchvision's save_image and stylegan2_pytorch write them, into
    1.jpg, 2.jpg … in a new folder. Places left empty at a grid's end are left out: those of the colour between
    the pictures, and black or white ones where pictures touch.

    \b
    Exit codes:
      0    cut
      1    one of GRIDS is no such grid, or cannot be read; nothing was written
      2    wrong use, or a folder that cannot be written or is there already

    \b
    Example:
      python -m grader slice results/default/generated-*-ema.jpg -o outputs
    """
    from grader.pack import cut

    count = cut(grids, output)
    click.echo(f"wrote {counted(count, 'picture')} to {printable(str(output))}", err=True)
