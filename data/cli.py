"""The command line. Each command imports what it needs, so that --help answers at once."""

from __future__ import annotations

from pathlib import Path

import click

from data import DataError


class _Commands(click.Group):
    """Turns what a user can mend into one line on stderr."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except DataError as error:
            click.echo(f"error: {error}", err=True)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again", err=True)
            ctx.exit(130)
        except OSError as error:
            click.echo(f"error: {error.filename or 'output'}: {error.strerror or error}", err=True)
        ctx.exit(1)


@click.group(cls=_Commands, context_settings={"show_default": True})
def main() -> None:
    """Get a set of anime faces for the notebooks: draw one, shrink one, or fetch the course's."""


_path = click.Path(path_type=Path)
_workers = click.option("--workers", type=click.IntRange(1), help="Processes.  [default: every core]")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is a set made here.")
_size = click.option("--size", type=click.IntRange(16, 256), default=64, help="Pixels a side.")


@main.command()
@click.argument("output", type=_path)
@click.option("--count", type=click.IntRange(1), default=4000, help="How many faces.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Another seed draws other faces.")
@_size
@_workers
@_overwrite
def render(output: Path, **options) -> None:
    """Draw faces by rule into the folder (or .zip) OUTPUT, with attributes.csv."""
    from data.render import render_set

    render_set(output, **options)
    click.echo(f"{options['count']:,} faces written to {output}", err=True)


@main.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=_path)
@_size
@click.option("--limit", type=click.IntRange(1), help="Only the first N files.")
@click.option("--name", help="What about.json calls the set.  [default: the source's name]")
@_workers
@_overwrite
def prepare(source: Path, output: Path, **options) -> None:
    """Shrink the faces in SOURCE, a folder or a zip, into the folder (or .zip) OUTPUT."""
    from data.prepare import prepare

    written, skipped = prepare(source, output, **options)
    click.echo(f"{written:,} faces written, {skipped:,} skipped", err=True)


@main.command()
@click.argument("output", type=_path, default="faces.zip")
@click.option("--url", help="A mirror of the same file.  [default: the course's]")
def fetch(output: Path, url: str | None) -> None:
    """Download the course's 71,314 faces (452 MB) to OUTPUT; a broken download is gone on with."""
    from data.fetch import URL, fetch

    fresh = fetch(output, url or URL)
    click.echo(f"{output}: {'complete' if fresh else 'already there'}, and the course's 71,314 faces", err=True)
    click.echo(f"next: python -m data prepare {output} faces/", err=True)
