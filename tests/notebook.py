"""Running notebooks and their check cells, for the tests of all of them."""

import math
from functools import cache

import nbformat
import numpy as np
import papermill
import pytest
import torch

from baselines.build import ROOT, build

SMOKE = {"steps": 4, "batch_size": 8, "width": 2, "checkpoint_every": 2, "log_every": 2}


def run(path, folder, faces, preset="course", **overrides) -> str:
    """Runs a notebook in a folder; returns what its cells printed."""
    overrides = (
        SMOKE | {"faces": str(faces), "run": str(folder / "run"), "outputs": str(folder / "outputs")} | overrides
    )
    notebook = papermill.execute_notebook(
        path, None, {"preset": preset, "overrides": overrides}, cwd=folder, progress_bar=False, kernel_name="python3"
    )
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


@cache
def sources(master, solved) -> dict[str, str]:
    """Cell id -> source of a built notebook."""
    text = build(master)[ROOT / ("baselines" if solved else "notebooks") / f"{master.stem}.ipynb"]
    return {cell.id: cell.source for cell in nbformat.reads(text, as_version=4).cells}


def with_parameters(path, preset="course", **overrides) -> nbformat.NotebookNode:
    """A notebook with its parameters set."""
    notebook = nbformat.read(path, as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = f"preset, overrides = {preset!r}, {SMOKE | overrides!r}"
    return notebook


def as_script(path, preset="course", **overrides) -> str:
    """The code of a notebook as one script, with its parameters set."""
    cells = with_parameters(path, preset, **overrides).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def run_check(cells, todo, solution, names):
    """Runs the solutions and checks of a notebook's cells up to the check of `todo`, which gets the given solution.
    `names` holds what those cells use besides torch, at least `settings`."""
    names = {"torch": torch, "nn": torch.nn, "np": np, "math": math, "device": torch.device("cpu"), **names}
    torch.manual_seed(0)
    for name, source in cells.items():  # the checks before it define what this one may use
        if name.startswith("todo-"):
            exec(solution if name == f"todo-{todo}" else source, names)
        if name.startswith("check-") or source.startswith("def toy_"):
            exec(source, names)
        if name == f"check-{todo}":
            return


def assert_caught(stem, todo, right, wrong, hint, names):
    """The check of a TODO fails with the hint when `right` in its solution is replaced by `wrong`."""
    cells = sources(ROOT / f"baselines/{stem}.py", True)
    solution = cells[f"todo-{todo}"]
    assert right in solution
    with pytest.raises(AssertionError) as caught:
        run_check(cells, todo, solution.replace(right, wrong), names)
    assert hint in str(caught.value)


def assert_passes(stem, todo, body, names):
    """The check of a TODO passes another right body of its function."""
    cells = sources(ROOT / f"baselines/{stem}.py", True)
    head, _, _ = cells[f"todo-{todo}"].rpartition('"""\n')
    run_check(cells, todo, f'{head}"""\n{body}', names)
