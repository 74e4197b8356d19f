"""`python -m grader check`."""

from __future__ import annotations

import sys

import click

from grader import console


@click.command(short_help="Say of every TODO of a notebook whether it is done.")
@click.argument("notebook", type=console.path())
@click.option(
    "--seconds",
    type=click.IntRange(1, 10**6),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long one cell may take.",
)
@click.option(
    "--kit",
    type=console.path(exists=True),
    metavar="FOLDER",
    help="For TAs: the kit's folder notebooks/. Checks and all else come from there; of NOTEBOOK only its TODOs are "
    "taken, and what they call.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of name, status and hint instead.")
def check(notebook, seconds, kit, as_json):
    """Runs the check cells of NOTEBOOK and prints a line for each TODO: done, wrong with a hint, not yet, broken, or
    missing where its check is gone. Where a TODO has several checks, the last one counts. Another cell that fails is a
    note, or says why its TODO is broken. One that takes too long ends the check: TODOs after it are broken.

    The code runs at a small size on noise, in a process and a temporary folder of its own; NOTEBOOK stays as it is. It
    may do whatever you may do: check notebooks of strangers in a sandbox only.

    \b
    Exit codes:
      0    all TODOs are done
      1    some are not
      2    not one of our notebooks, or not to be read

    \b
    Example:
      python -m grader check notebooks/04_wgan_gp.ipynb
      python -m grader check handed_in.ipynb --kit notebooks/
    """
    import json
    import os
    from dataclasses import asdict

    from grader import check as checks
    from grader.errors import printable

    if os.environ.get("NO_COLOR"):  # rich follows it by itself, click does not
        click.get_current_context().color = False
    todos = []
    for todo in checks.check_notebook(notebook, seconds, kit):
        todos.append(todo)
        if not as_json:
            colour = {checks.DONE: "green", checks.NOT_YET: "yellow", checks.NOTE: "yellow"}.get(todo.status, "red")
            click.echo(f"{click.style(f'{todo.status:8}', fg=colour)} {printable(todo.name)}")
            for line in todo.hint.splitlines():
                click.echo(f"         {printable(line)}")
    if as_json:
        click.echo(json.dumps([asdict(todo) for todo in todos], indent=2))
    sys.exit(any(todo.status not in (checks.DONE, checks.NOTE) for todo in todos))
