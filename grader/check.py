"""Runs the check cells of a filled-in notebook, and says of each TODO whether it is done.

The notebook's code runs in a kernel of its own, a separate process with a time limit, in a temporary folder. It is the
user's own code on the user's own machine: do not check notebooks of strangers outside of a sandbox.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from grader.errors import GraderError
from grader.inputs.archives import bytes_of

# How a check cell begins, below the title of a folded one: Colab forgets tags when it saves.
CHECK = re.compile(r"(?:#\s*@title[^\n]*\n)?def check_(\w+)\(")
PARAMETERS = re.compile(r"^overrides = \{.*$", re.MULTILINE)
SMOKE = {"faces": "faces", "run": "run", "outputs": "outputs", "width": 4, "batch_size": 8}
MAX_BYTES = 24 * 2**20  # of a notebook, pictures in it included
DONE, WRONG, NOT_YET, BROKEN = "done", "wrong", "not yet", "broken"
NOTE = "note"  # of another cell that fails: no TODO


class BadNotebook(GraderError):
    """A file that is not one of our notebooks; the message names it and the remedy."""


@dataclass(frozen=True)
class Todo:
    """What became of one TODO: `status` is done, wrong, not yet or broken; `hint` says why it is not done. With the
    status note it is no TODO, but a cell of the student's own that fails."""

    name: str
    status: str
    hint: str = ""


def check_notebook(path: Path, seconds: int = 120) -> Iterator[Todo]:
    """Runs a notebook's cells up to its last check, at smoke size, and yields what each check says.

    A cell may take `seconds`. Raises BadNotebook.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = _read(path)
    cells = notebook.cells
    names = [_check_name(cell.source) for cell in cells]
    if not any(names):
        raise BadNotebook(f"{path}: has no check cells: name one of the notebooks in notebooks/")
    for cell in cells:
        cell.source = PARAMETERS.sub(f"overrides = {SMOKE!r}", cell.source)

    with tempfile.TemporaryDirectory() as folder:
        _write_stand_ins(Path(folder, SMOKE["faces"]))
        client = NotebookClient(notebook, timeout=seconds, kernel_name="python3", kernel_manager_class=_own_kernel())
        client.resources = {"metadata": {"path": folder}}
        with client.setup_kernel():
            last = max(index for index, name in enumerate(names) if name)
            for cell, name in zip(cells[: last + 1], names, strict=False):
                try:
                    client.execute_cell(cell, notebook.cells.index(cell))
                except CellTimeoutError:
                    yield Todo(
                        name or _first_line(cell), BROKEN, f"took longer than {seconds} s: is there an endless loop?"
                    )
                    return
                except DeadKernelError:
                    yield Todo(
                        name or _first_line(cell), BROKEN, "the Python process died: is there too little memory?"
                    )
                    return
                except CellExecutionError as error:
                    if name or error.ename != "NotImplementedError":  # a cell that uses a TODO fails with it
                        todo = _verdict(name or _first_line(cell), error.ename, error.evalue)
                        yield todo if name else replace(todo, status=NOTE)  # what is missing now, a check will say
                else:
                    if name:
                        yield Todo(name, DONE)


def _read(path: Path):
    """The code of a notebook, as a new one: what else is in it matters to no check, and may be broken."""
    import nbformat

    try:
        read = json.loads(bytes_of(path, MAX_BYTES))
        sources = ["".join(cell["source"]) for cell in read["cells"] if cell["cell_type"] == "code"]
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    except OSError as error:
        raise BadNotebook(f"{path}: cannot be read ({error.strerror or error}): name a notebook") from None
    except Exception:  # whatever a broken file makes of JSON and of what should be in it
        raise BadNotebook(f"{path}: not a notebook: download it again as .ipynb") from None


def _own_kernel() -> type:
    """Manages a kernel that is this interpreter, whatever is installed under the name python3."""
    from ipykernel.kernelspec import make_ipkernel_cmd
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        kernel_spec = KernelSpec(
            argv=make_ipkernel_cmd(extra_arguments=["--log-level=ERROR"]),  # it would warn that it talks over TCP
            env={"PYTHONOPTIMIZE": ""},  # checks are asserts
            language="python",
        )

    return OwnKernel


def _check_name(source: str) -> str | None:
    found = CHECK.match(source)
    return found and found[1]


def _verdict(name: str, ename: str, evalue: str) -> Todo:
    if ename == "NotImplementedError":
        return Todo(name, NOT_YET)
    if ename == "AssertionError":
        return Todo(name, WRONG, evalue)
    return Todo(name, BROKEN, f"{ename}: {evalue}".partition("\n")[0])


def _first_line(cell) -> str:
    return next((line for line in cell.source.splitlines() if line.strip()), "an empty cell")


def _write_stand_ins(folder: Path, count: int = 16) -> None:
    """Noise in place of faces, with labels: checks look at code, not at what it learns."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(picture).save(folder / f"{number}.png")
    colours = ["black", "blonde", "brown", "white"]
    tags = (f"{number},{colours[number % 4]} hair {colours[number // 4]} eyes\n" for number in range(count))
    (folder / "tags.csv").write_text("".join(tags))
