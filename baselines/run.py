"""Runs a solved notebook without a browser, its output passed through: `python -m baselines.run 01_gan`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import click

from baselines.kit.command_line import value_of

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("[0-9][0-9]_*.py"))


def _setting(_context, _option, pairs) -> dict:
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not of the form name=value")
    return {name: value_of(text) for name, _, text in (pair.partition("=") for pair in pairs)}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", type=click.Choice(NAMES))
@click.option("--preset", default="course", show_default=True, help="Which of the notebook's presets to start from.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    callback=_setting,
    metavar="NAME=VALUE",
    help="One of the notebook's settings. May be given more than once.",
)
@click.option(
    "--save", type=click.Path(path_type=Path, dir_okay=False), help="Keep the executed notebook, pictures included."
)
def main(name: str, preset: str, overrides: dict, save: Path | None) -> None:
    """Runs the solved notebook NAME in the current folder, and passes its output through.

    It reads the folder or zip of faces that the setting `faces` names, or looks for one, and writes the folders that
    `run` and `outputs` name: losses, checkpoints, samples, 1,000 pictures. Run again, it goes on from its last
    checkpoint. Its settings and presets stand at its beginning: course, t4_1h, t4_3h, t4_12h, and in all but 05 cpu.

    \b
    Exit codes:
      0    done
      1    the notebook stopped with an error
      2    wrong use, or a --save that cannot be written

    \b
    Example:
      python -m baselines.run 01_gan --preset cpu --set faces=faces.zip
    """
    import papermill

    warnings.filterwarnings("ignore", module="zmq|tornado")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without × goes on all the same
    try:
        papermill.execute_notebook(
            HERE / f"solved/{name}.ipynb",
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
    except OSError as error:
        click.echo(f"{save}: cannot be written ({error.strerror or error}): name another --save", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
