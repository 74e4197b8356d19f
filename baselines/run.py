"""Runs a solved notebook without a browser, its output passed through: `python -m baselines.run 01_gan`."""

from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("[0-9][0-9]_*.py"))


def _setting(_context, _option, pairs) -> dict:
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not of the form name=value")
    return {name: _value(text) for name, _, text in (pair.partition("=") for pair in pairs)}


def _value(text: str):
    try:
        return ast.literal_eval(text)  # 4e-4, 2000, True
    except (ValueError, SyntaxError):
        return text  # a path


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--preset", default="course", show_default=True, help="One of the notebook's presets.")
@click.option("--set", "overrides", multiple=True, callback=_setting, help="A setting, as name=value. Repeatable.")
@click.option("--save", type=click.Path(path_type=Path), help="Where to keep the executed notebook.")
def main(name: str, preset: str, overrides: dict, save: Path | None) -> None:
    """Runs the solved notebook NAME in the current folder.

    \b
    Example:
      python -m baselines.run 01_gan --set faces=faces.zip --set steps=20000
    """
    import papermill

    warnings.filterwarnings("ignore", module="zmq|tornado")
    try:
        papermill.execute_notebook(
            HERE / f"{name}.ipynb",
            save,
            {"preset": preset, "overrides": overrides},
            kernel_name="python3",
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except papermill.PapermillExecutionError as error:
        click.echo(f"{name}: {error.ename}: {error.evalue}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
