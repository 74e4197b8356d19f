"""The command line. Each command imports what it needs, so that --help answers at once."""

from __future__ import annotations

from pathlib import Path

import click

from grader import console
from grader.errors import as_argument, counted, shortened
from grader.version import VERSION


@click.group(cls=console.Commands, context_settings={"show_default": True})
@click.version_option(VERSION, message="%(version)s")
def main() -> None:
    """Get a set of anime faces for the notebooks: draw one, shrink one, or fetch the course's.

    A set is a folder of PNG pictures, with an about.json that says what it is. If OUTPUT ends in .zip, it is a zip of
    them. It appears whole or not at all.

    \b
    Examples:
      python -m data render faces/
      python -m data prepare --help

    \b
    Exit codes of every command:
      0    done
      1    a set that cannot be made: one line
      2    wrong use, or a file that cannot be read or written: one line
      130  stopped by Ctrl-C; nothing is left behind but a download to go on with
    """


_workers = click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="How many processes.  [default: one for each core]"
)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is a set made here.")
_size = click.option("--size", type=click.IntRange(16, 256), default=64, metavar="N", help="Pixels a side.")


@main.command(short_help="Draw faces by rule, with their attributes.")
@click.argument("output", type=console.path())
@click.option("--count", type=click.IntRange(1), default=4000, metavar="N", help="How many faces.")
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Another seed draws other faces.")
@_size
@_workers
@_overwrite
def render(output: Path, count: int, seed: int, size: int, workers: int | None, overwrite: bool) -> None:
    """Draw faces by rule into OUTPUT, a folder or a .zip. An attributes.csv tells the hair, the eyes and so on of each
    face. The same seed draws the same faces. 4,000 faces take about 30 seconds on two cores.

    \b
    Example:
      python -m data render faces/ --count 4000 --seed 1
    """
    from data.render import render_set

    render_set(output, count, seed, size, overwrite=overwrite, workers=workers)
    console.say(f"{counted(count, 'face')} written to {output}")


@main.command(short_help="Shrink your own faces to 64x64.")
@click.argument("source", type=console.path(exists=True))
@click.argument("output", type=console.path())
@_size
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N pictures.  [default: all]")
@click.option("--name", help="What about.json calls the set.  [default: the source's name]")
@_workers
@_overwrite
def prepare(
    source: Path,
    output: Path,
    size: int,
    limit: int | None,
    name: str | None,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Shrink the faces in SOURCE, and write them to OUTPUT, a folder or a .zip.

    SOURCE is a folder, a .zip or a .tgz of JPEG, PNG, WebP or BMP pictures of any size. They keep their names.

    Labels go along: tags.csv, attributes.csv and labels.csv. Without a tags.csv or attributes.csv that can be read,
    folders are kept as classes: aqua/1.jpg becomes aqua/1.png. A file that is no picture is named and skipped, and so,
    below a folder, is what was made of faces: runs and submissions of a notebook, and sets beside other pictures.

    \b
    Example:
      python -m data prepare faces.zip faces/
    """
    from data.prepare import prepare

    made = prepare(source, output, size, limit, name, overwrite=overwrite, workers=workers)
    for line in shortened([f"skipped {line}" for line in made.skipped]):
        console.say(line)
    for note in made.notes:
        console.note(note)
    console.say(f"{counted(made.written, 'face')} written, {len(made.skipped):,} skipped")


@main.command(short_help="Download the course's 71,314 faces (453 MB).")
@click.argument("output", type=console.path(), default="faces.zip")
@click.option("--url", help="A mirror of the same file.  [default: the course's]")
def fetch(output: Path, url: str | None) -> None:
    """Download the course's 71,314 faces (453 MB) to OUTPUT, a .zip, and check that they are the right ones.

    What has come so far is kept in OUTPUT.part. After a lost connection, the same command goes on with it.

    \b
    Examples:
      python -m data fetch
      python -m data fetch /data/faces.zip --url https://mirror.example/faces.zip
    """
    from data.fetch import URL, fetch

    if output.suffix.lower() != ".zip":
        raise click.UsageError(f"{output}: choose a name that ends in .zip")

    fresh = fetch(output, url or URL)
    console.say(f"{output}: {'complete' if fresh else 'already there'}, and the course's 71,314 faces")
    console.say(f"next: python -m data prepare {as_argument(output)} faces/")


def run():
    """The whole program, with its exit code."""
    console.run(main, "python -m data")
