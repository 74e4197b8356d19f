"""The notebooks as nbgrader assignments, with nbgrader itself: `make nbgrader`, which installs it apart."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from baselines.build import ROOT, masters
from tests.helpers.notebook import cells

NBGRADER = os.environ.get("NBGRADER", "")
pytestmark = pytest.mark.skipif(not NBGRADER, reason="NBGRADER names no nbgrader: make nbgrader")


def nbgrader(course, *arguments):
    path = f"{Path(NBGRADER).parent}{os.pathsep}{os.environ['PATH']}"  # it calls its neighbour alembic
    done = subprocess.run(
        [NBGRADER, *arguments], cwd=course, capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 0, done.stderr[-3000:]


def submit(course, student, name, change):
    """Hands in the released notebook with its TODO cells changed."""
    notebook = nbformat.read(course / f"release/{name}/{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = change(cell.metadata.nbgrader.grade_id, cell.source)
    folder = course / f"submitted/{student}/{name}"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


SOURCES = [("notebooks", master.stem) for master in masters()] + [("baselines/solved", "01_gan")]  # student's, solved


@pytest.mark.parametrize(("version", "name"), SOURCES)
def test_release_and_autograde(tmp_path, rendered, version, name):
    solved = cells(ROOT / f"baselines/{name}.py")
    course = tmp_path / "course"
    source = course / "source" / name
    source.mkdir(parents=True)
    (course / "nbgrader_config.py").write_text("c = get_config()\nc.Execute.iopub_timeout = 60\n")  # as the docs say
    shutil.copy(ROOT / version / f"{name}.ipynb", source)
    shutil.make_archive(str(source / "faces"), "zip", rendered)
    nbgrader(course, "generate_assignment", name)
    released = (course / f"release/{name}/{name}.ipynb").read_text()
    points = [
        cell.metadata.nbgrader.points
        for cell in nbformat.reads(released, as_version=4).cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    todos = [cell_id for cell_id in solved if cell_id.startswith("todo-")]
    assert points == [1] * len(todos)
    for cell in nbformat.reads(released, as_version=4).cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            assert "raise NotImplementedError" in cell.source and "SOLUTION" not in cell.source

    submit(course, "ada", name, lambda cell_id, text: solved[cell_id])
    submit(course, "bob", name, lambda cell_id, text: text)
    submit(course, "eve", name, lambda cell_id, text: text if cell_id == todos[-1] else solved[cell_id])
    nbgrader(course, "autograde", name, "--create")
    nbgrader(course, "export")
    with open(course / "grades.csv", newline="") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"ada": len(todos), "bob": 0, "eve": len(todos) - 1}
