"""python -m baselines.run: what it hands on to a notebook, and what it says when one stops."""

import signal
import subprocess
import sys

import nbformat
import papermill
import pytest
from click.testing import CliRunner
from nbclient.exceptions import DeadKernelError
from papermill.iorw import write_ipynb
from papermill.parameterize import parameterize_path
from papermill.translators import PythonTranslator

from baselines.run import main
from tests.conftest import ROOT


def run(monkeypatch, execute, *arguments):
    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return CliRunner().invoke(main, ["07_progressive", *map(str, arguments)])


def test_a_notebook_gets_numbers_in_parentheses_as_numbers(monkeypatch):
    given = {}
    run(monkeypatch, lambda *arguments, **options: given.update(arguments[2]), "--set", "hold=(1, 2)", "--set", "run=a")
    assert given["overrides"] == {"hold": [1, 2], "run": "a"}
    assert PythonTranslator.translate(given["overrides"]["hold"]) == "[1, 2]"


def test_braces_in_a_path_stand_for_themselves(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("baselines.run.BASELINES", tmp_path / "{0}")
    run(monkeypatch, lambda *arguments, **_: given.extend(arguments[:2]), "--save", tmp_path / "{name}{}.ipynb")
    meant = [parameterize_path(path, {"name": "x"}) for path in given]
    assert meant == [str(tmp_path / "{0}/solved/07_progressive.ipynb"), str(tmp_path / "{name}{}.ipynb")]
    run(monkeypatch, lambda *arguments, **_: given.extend(arguments[:2]))
    assert given[-1] is None


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            papermill.PapermillExecutionError(0, 1, "", "SystemExit", "no faces\n here: set `faces`", []),
            1,
            "07_progressive: SystemExit: no faces here: set `faces`",
        ),
        (DeadKernelError("Kernel died"), 1, "07_progressive: the Python process died: is there too little memory?"),
        (OSError(12, "Cannot allocate memory"), 1, "07_progressive: stopped (Cannot allocate memory)"),
        (OSError("no reason"), 1, "07_progressive: stopped (no reason)"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--save", "kept.ipynb"]])
def test_why_a_notebook_stopped_is_one_line(error, code, line, arguments, monkeypatch):
    def execute(*_, **__):
        raise error

    result = run(monkeypatch, execute, *arguments)
    assert (result.exit_code, result.stderr.splitlines()) == (code, [line])


def test_a_notebook_that_cannot_be_saved_is_blamed_on_its_place(monkeypatch, tmp_path):
    save = tmp_path / "nowhere/kept.ipynb"

    def execute(_, path, *__, **___):
        write_ipynb(nbformat.v4.new_notebook(), str(path))

    result = run(monkeypatch, execute, "--save", save)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{save}: cannot be written (") and line.endswith("): name another --save")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_is_answered_at_once_and_then_ends_it():
    notebook = "papermill.execute_notebook = lambda *_, **__: print('trains', flush=True) or time.sleep(60)"
    code = f"import papermill, runpy, time; {notebook}; runpy.run_module('baselines.run', None, '__main__')"
    command = [sys.executable, "-c", code, "07_progressive"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "trains\n"
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    said = [line for line in errors.splitlines() if line]  # click ends the line of the ^C
    assert said == ["stopping", "stopped: run the same command again"]
