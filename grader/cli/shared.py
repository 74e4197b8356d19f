"""What the commands share: how they print, and options that several of them have."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from grader.errors import printable
from grader.metrics.registry import selected

MINUTE = 60  # seconds between two lines of progress where there is no terminal


def say(text: str) -> None:
    """Writes lines to standard error, which are not glued to a progress bar."""
    if "tqdm" in sys.modules and sys.stderr is not None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(text, err=True)
    else:
        click.echo(text, err=True)


def note(text) -> None:
    say(f"note: {printable(str(text))}")


def wrote(*paths: Path) -> None:
    say(f"wrote {', '.join(printable(str(path)) for path in paths)}")


def stop(code: int, *lines: str):
    say("\n".join(printable(str(line)) for line in lines))
    sys.exit(code)


def progress(what: str, total: int):
    """A bar on a terminal. Without one there is a line a minute, at most."""
    from tqdm import tqdm

    unit = what if what == "submissions" else "pictures"
    if sys.stderr is not None and sys.stderr.isatty():
        bar = tqdm(desc=what, total=total or None, unit=f" {unit}", leave=False, delay=1, file=sys.stderr)

        def move(count: int) -> None:
            bar.update(count)
            if total and bar.n >= total:
                bar.close()

        return move
    done, told = 0, time.monotonic()

    def update(count: int) -> None:
        nonlocal done, told
        done += count
        if (now := time.monotonic()) - told >= MINUTE:
            told = now
            note(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

    return update


def metrics(_context, _option, text: str) -> tuple[str, ...]:
    """A callback: the names in a list, separated by commas."""
    try:
        return selected(name.strip() for name in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


offline = click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
