"""What the commands share: how they print, and options that several of them have."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from grader.errors import printable
from grader.metrics.registry import selected


def note(text) -> None:
    click.echo(f"note: {printable(str(text))}", err=True)


def wrote(*paths: Path) -> None:
    click.echo(f"wrote {', '.join(printable(str(path)) for path in paths)}", err=True)


def stop(code: int, *lines: str):
    click.echo("\n".join(printable(str(line)) for line in lines), err=True)
    sys.exit(code)


def progress(what: str, total: int):
    from tqdm import tqdm

    unit = what if what == "submissions" else "pictures"
    return tqdm(desc=what, total=total or None, unit=f" {unit}", leave=False, delay=1, file=sys.stderr).update


def metrics(_context, _option, text: str) -> tuple[str, ...]:
    """A callback: the names in a list, separated by commas."""
    try:
        return selected(name.strip() for name in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


offline = click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
