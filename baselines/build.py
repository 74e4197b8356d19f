"""Builds the notebooks from their masters: `python -m baselines.build`.

A master, baselines/NN_name.py, is py:percent (https://jupytext.readthedocs.io) with three marks of its own:

    # %% include: run, handin         the cells of parts/run.py and parts/handin.py come here; parts include as well
    # %% include: solved train_step   those of parts/train_step.py, no longer the student's to write
    # %% todo="name"                  what stands between BEGIN and END SOLUTION is the student's to write
    # %% check="name"                 tells the student at once whether it is right

Each master becomes notebooks/NN_name.ipynb, with its solutions taken out, and baselines/NN_name.ipynb, solved. The
marks of solutions stay in both: nbgrader wants them (https://nbgrader.readthedocs.io).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jupytext
import nbformat

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r"^# %% include: (.+)$", re.MULTILINE)
SOLUTION = re.compile(r"^( *)(### BEGIN SOLUTION\n).*?^ *(### END SOLUTION)$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"^ *### (?:BEGIN|END) SOLUTION\n| todo=\"\w+\"$", re.MULTILINE)
TODO = r'\1\2\1# TODO: your code in place of the next line\n\1raise NotImplementedError("{}")\n\1\3'


def masters() -> list[Path]:
    return sorted(ROOT.glob("baselines/[0-9][0-9]_*.py"))


def build(master: Path) -> dict[Path, str]:
    """The text of the student's and of the solved notebook of a master, by the path each belongs at."""
    return {
        ROOT / folder / f"{master.stem}.ipynb": nbformat.writes(_notebook(master, folder, solved)) + "\n"
        for folder, solved in (("notebooks", False), ("baselines", True))
    }


def _notebook(master: Path, folder: str, solved: bool) -> nbformat.NotebookNode:
    text = INCLUDE.sub(_parts, master.read_text())
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(badges(f"{folder}/{master.stem}.ipynb")))
    for number, cell in enumerate(notebook.cells):
        todo, check = cell.metadata.pop("todo", None), cell.metadata.pop("check", None)
        cell.id = f"todo-{todo}" if todo else f"check-{check}" if check else f"cell-{number}"
        cell.source = cell.source.strip("\n")
        if todo and not solved:
            cell.source = SOLUTION.sub(TODO.format(todo), cell.source)
        if todo or check:
            cell.metadata["tags"] = ["todo" if todo else "check"]
            cell.metadata["nbgrader"] = _nbgrader(cell.id, graded=bool(check))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "accelerator": "GPU",  # Colab opens it on one
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def _nbgrader(cell_id: str, graded: bool) -> dict:
    """nbgrader's mark of a cell: a TODO is the student's to write, a check is locked and earns a point
    (https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html)."""
    mark = {"schema_version": 3, "grade_id": cell_id, "grade": graded, "solution": not graded, "locked": graded}
    return mark | {"task": False, "cell_type": "code"} | ({"points": 1} if graded else {})


def _parts(mark: re.Match) -> str:
    return "\n".join(_part(name.strip()) for name in mark[1].split(","))


def _part(name: str) -> str:
    solved, name = name.startswith("solved "), name.removeprefix("solved ")
    text = (ROOT / f"baselines/parts/{name}.py").read_text()
    return INCLUDE.sub(_parts, MARK.sub("", text) if solved else text)


def badges(path: str) -> str:
    """ "Open in Kaggle" and "Open in Colab" for a notebook at `path` in the repository of pyproject.toml."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    file = f"blob/main/{path}"
    return (
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
        f"(https://kaggle.com/kernels/welcome?src={repository}/{file})\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{repository.removeprefix('https://github.com/')}/{file})"
    )


if __name__ == "__main__":
    for master in masters():
        for path, text in build(master).items():
            path.write_text(text)
            print(path.relative_to(ROOT))
