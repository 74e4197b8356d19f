"""What all our programs share: how they answer a wrong use, print, show progress and end."""

from __future__ import annotations

import builtins
import errno
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import click

from grader.errors import GraderError, printable, sentence
from grader.files import CannotWrite
from grader.progress import Progress

MINUTE = 60  # seconds between two lines of progress where there is no terminal
INTERRUPTED = 130  # the exit code after Ctrl-C
NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())  # since click 8.2, in place of the help itself


class OneLine:
    """Makes of a click command one that says in one line what is wrong with its use, and that Ctrl-C stopped it.
    Its -h is --help."""

    def __init__(self, *args, context_settings: dict | None = None, **kwargs):
        settings = {"help_option_names": ["-h", "--help"]} | (context_settings or {})
        super().__init__(*args, context_settings=settings, **kwargs)

    def main(self, *args, standalone_mode: bool = True, **kwargs):
        try:
            with in_lines():  # --help is written before a command is called
                result = super().main(*args, standalone_mode=False, **kwargs)
        except NO_ARGUMENTS as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else kwargs.get("prog_name", self.name)
            stop(2, f"{sentence(error.format_message())} See {command} --help")
        except click.Abort:
            stop(INTERRUPTED, "stopped: run the same command again")
        return sys.exit(result) if standalone_mode else result


@contextmanager
def in_lines() -> Iterator[None]:
    """Turns what a user can mend into lines on standard error and an exit code, and warnings into notes."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: note(message)
        try:
            yield
        except GraderError as error:
            stop(error.exit_code, *error.problems)
        except BrokenPipeError:
            raise  # whoever read our output has seen enough
        except OSError as error:
            if error.errno == errno.ENOENT and not error.filename:
                stop(2, "the current folder is gone: change to another one")
            where, reason = error.filename or "standard output", error.strerror or error
            if error.filename and not isinstance(error, CannotWrite):
                stop(2, f"{where}: cannot be read ({reason}): check its permissions")
            remedy = "name another place to write to"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                remedy = f"make room, or {remedy}"
            elif error.errno in (errno.EACCES, errno.EPERM):  # Windows says so of a file that is open in Excel
                remedy = "close it in other programs, or check its permissions, and run the same command again"
            stop(2, f"{where}: cannot be written ({reason}): {remedy}")


class Command(OneLine, click.Command):
    """A program of one command, which says in lines whatever a user can mend."""


class Commands(OneLine, click.Group):
    """The same of several commands."""


def run(command: OneLine, name: str):
    """The whole program, with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in Jupyter's %run, nor where it is closed
            stream.reconfigure(errors="backslashreplace")  # a terminal without ≤ and ✓ still gets its table
    try:
        command.main(prog_name=name)
    except SystemExit as end:
        if hasattr(builtins, "__IPYTHON__"):  # %run would show a traceback below the line that says what is wrong
            return
        if end.code != INTERRUPTED:
            raise
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(INTERRUPTED)  # at once: what threads of torch still do takes seconds


def say(text: str) -> None:
    """Writes lines to standard error, which are not glued to a progress bar."""
    if "tqdm" in sys.modules and sys.stderr is not None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(text, err=True)
    else:
        click.echo(text, err=True)


def note(text) -> None:
    """A line of standard error that says what is not as it should be, and stops nothing."""
    say(f"note: {printable(str(text))}")


def wrote(*paths: Path) -> None:
    """The last line of a command: which files it wrote."""
    say(f"wrote {', '.join(printable(str(path)) for path in paths)}")


def stop(code: int, *lines: str):
    """Ends the program with an exit code, and lines that say why."""
    say("\n".join(printable(str(line)) for line in lines))
    sys.exit(code)


@contextmanager
def bars() -> Iterator[Progress]:
    """Gives a `progress` whose bars are gone when the block ends, however it ends: what comes next has its own line."""
    with ExitStack() as shown:
        yield partial(progress, shown=shown)


def progress(what: str, total: int, shown: ExitStack | None = None):
    """A bar on a terminal. Without one there is a line a minute, at most."""
    from tqdm import tqdm

    unit = "submissions" if what.startswith("submissions") else "pictures"
    if sys.stderr is not None and sys.stderr.isatty():
        bar = tqdm(desc=what, total=total or None, unit=f" {unit}", leave=False, delay=1, file=sys.stderr)
        if shown:
            shown.callback(bar.close)

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
            note(f"{what}: {done:,}" + (f" of {total:,}" if total else "") + f" {unit}" * (not what.startswith(unit)))

    return update


def only_with(what: str, there: object, **options: str) -> None:
    """Raises UsageError where one of the options, by parameter, is given that does nothing without something else."""
    for parameter, option in options.items():
        if not there and was_given(parameter):
            raise click.UsageError(f"{option} is for {what}")


def was_given(parameter: str) -> bool:
    """Whether the command line names this option, and not only its default does."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


def ending(*endings: str):
    """A callback that takes only the path of a file with one of these endings: its name says what it holds."""

    def callback(_context, _option, path: Path | None) -> Path | None:
        if path and not path.name[1:].lower().endswith(endings):  # .png alone is a name without an ending
            raise click.BadParameter(f"{path}: choose a name that ends in {', '.join(endings)}.")
        return path

    return callback


class NamedPath(click.Path):
    """A path that is not empty, as a variable of the shell is that was not set."""

    def convert(self, value, parameter, context):
        if not os.fspath(value):
            self.fail("it is empty: name a file or folder.", parameter, context)
        return super().convert(value, parameter, context)


path = partial(NamedPath, path_type=Path, readable=False)  # who reads it says why it cannot be, and what to do
