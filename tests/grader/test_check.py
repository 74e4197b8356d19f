"""`grader check` on notebooks in every state of being filled in."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner

from baselines.build import ROOT
from grader import cli
from grader.check import _check_name

SOLVED = ROOT / "baselines/solved/01_gan.ipynb"
STUDENT = ROOT / "notebooks/03_wgan.ipynb"


def check(path, *args):
    return CliRunner().invoke(cli.main, ["check", str(path), *args])


def edited(path, target, old, new):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(old, new)
        cell.metadata = {}  # as Colab leaves it
    nbformat.write(notebook, target)
    return target


def test_a_solved_notebook_is_done():
    result = check(SOLVED)
    assert result.exit_code == 0, result.output
    assert result.stdout == "done     discriminator_step\ndone     generator_step\n"


def test_the_stylegan_notebook_is_checked_without_a_gpu():
    result = check(ROOT / "baselines/solved/05_stylegan2.ipynb")
    assert result.exit_code == 0, result.output
    assert result.stdout == "done     make_trainer\ndone     generate\n"


def test_todos_not_yet_filled_do_not_hide_the_next():
    result = check(STUDENT, "--json")
    assert result.exit_code == 1
    names = ["make_critic", "make_optimizers", "discriminator_step", "generator_step", "layer_norms"]
    assert json.loads(result.stdout) == [{"name": name, "status": "not yet", "hint": ""} for name in names]


def test_a_mistake_gets_its_hint(tmp_path):
    path = edited(SOLVED, tmp_path / "mine.ipynb", "bce(p_fake, torch.zeros_like(p_fake))", "0")
    result = check(path)
    assert result.exit_code == 1
    assert result.stdout.startswith("wrong    discriminator_step\n         only the reals count")


def test_an_endless_loop_is_stopped(tmp_path):
    path = edited(SOLVED, tmp_path / "mine.ipynb", "    loss.backward()\n", "    while True:\n        pass\n")
    result = check(path, "--seconds", "15")
    assert result.exit_code == 1
    assert "took longer than 15 s" in result.stdout


def test_the_kernel_is_this_interpreters_own_and_asserts_hold_in_it(tmp_path):
    """Whatever is installed under the name python3, and however this process was started."""
    spec = tmp_path / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "another", "language": "python"}))
    path = edited(SOLVED, tmp_path / "mine.ipynb", "bce(p_fake, torch.zeros_like(p_fake))", "0")
    environment = os.environ | {"JUPYTER_PATH": str(tmp_path), "PYTHONOPTIMIZE": "1"}
    command = [sys.executable, "-m", "grader", "check", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("wrong    discriminator_step\n         only the reals count")


def test_a_cell_of_the_students_own_that_fails_is_a_note(tmp_path):
    notebook = nbformat.read(SOLVED, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_code_cell("# my notes\nopen('my own file.txt')"))
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    result = check(tmp_path / "mine.ipynb")
    assert result.exit_code == 0, result.output
    note, *others = result.stdout.splitlines()
    assert note.split() == ["note", "#", "my", "notes"]
    assert "my own file.txt" in others[0]
    assert others[1:] == ["done     discriminator_step", "done     generator_step"]


@pytest.mark.parametrize("content", [None, "text", "{}", json.dumps({"cells": [], "nbformat": 4, "nbformat_minor": 5})])
def test_other_files(tmp_path, content):
    if content is not None:
        (tmp_path / "x.ipynb").write_text(content)
    result = check(tmp_path / "x.ipynb")
    assert result.exit_code == 2
    assert "x.ipynb" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def check_step(step):\n    pass", "step"),
        ("# @title Check: step\ndef check_step(step):\n    pass", "step"),
        ("#@title Check: step\ndef check_step(step):\n    pass", "step"),
        ("# @title A run\nimport copy\ndef check_step(step):\n    pass", None),
        ("x = 1", None),
    ],
)
def test_a_check_cell_is_known_below_its_title(source, name):
    assert _check_name(source) == name
