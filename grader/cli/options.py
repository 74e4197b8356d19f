"""Options that several commands have."""

from __future__ import annotations

import click

from grader import console
from grader.metrics.registry import selected


def metrics(_context, _option, text: str) -> tuple[str, ...]:
    """A callback: the names in a list, separated by commas."""
    try:
        return selected(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


offline = click.option("--offline", is_flag=True, help="Download nothing; use what is at hand.")
reference = click.option(
    "--reference",
    type=console.path(exists=True),
    help="Real faces to compare with, as for `score`.  [default: the shipped statistics of the course's faces]",
)
