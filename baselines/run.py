"""Runs a solved notebook without a browser, its output passed through: `python -m baselines.run 01_gan`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from pathlib import Path

import click

from baselines.definitions import BASELINES, masters
from baselines.kit.command_line import read_settings
from grader import console
from grader.version import VERSION

NAMES = [master.stem for master in masters()]


def settings_given(_context, _option, pairs) -> dict:
    """{name: value} of an option's texts NAME=VALUE, as click's callback. Raises click.BadParameter."""
    try:
        return read_settings(pairs)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def as_it_is(path: Path) -> str:
    """The path for papermill, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _stopping(number, frame):
    """Answers Ctrl-C at once: the notebook may still write a checkpoint."""
    console.say("stopping")
    signal.default_int_handler(number, frame)


@click.command(cls=console.Command)
@click.version_option(VERSION, message="%(version)s")
@click.argument("name", type=click.Choice(NAMES))
@click.option("--preset", default="course", show_default=True, help="Which of the notebook's presets to start from.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    callback=settings_given,
    metavar="NAME=VALUE",
    help="One of the notebook's settings. May be given more than once.",
)
@click.option("--save", type=console.path(dir_okay=False), help="Keep the executed notebook, pictures included.")
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
      130  stopped by Ctrl-C; started again, it goes on from its last checkpoint

    \b
    Example:
      python -m baselines.run 01_gan --preset cpu --set faces=faces.zip
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    from grader.check import DIED, own_kernel

    lists = {  # papermill would write (1, 2) as "(1, 2)"
        setting: list(value) if isinstance(value, tuple) else value for setting, value in overrides.items()
    }
    warnings.filterwarnings("ignore", module="zmq|tornado")
    os.environ["KIT_WATCHED"] = str(int(bool(sys.stderr and sys.stderr.isatty())))  # for the notebook's progress
    try:
        papermill.execute_notebook(
            as_it_is(BASELINES / f"solved/{name}.ipynb"),
            save and as_it_is(save),
            {"preset": preset, "overrides": lists},
            kernel_name="python3",
            kernel_manager_class=own_kernel(),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except papermill.PapermillExecutionError as error:
        console.stop(1, f"{name}: {error.ename}: {' '.join(error.evalue.split())}")
    except DeadKernelError:
        console.stop(1, f"{name}: {DIED}")
    except BrokenPipeError:
        raise  # whoever read our output has seen enough
    except OSError as error:
        reason = error.strerror or error
        if any(frame.name == "write_ipynb" for frame in traceback.extract_tb(error.__traceback__)):
            console.stop(2, f"{save}: cannot be written ({reason}): name another --save")
        console.stop(1, f"{name}: stopped ({reason})")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _stopping)
    console.run(main, "python -m baselines.run")
