"""Runs the check cells of a filled-in notebook, and says of each TODO whether it is done.

The notebook's code runs in a kernel of its own, a separate process with a time limit, in a temporary folder. It is the
user's own code on the user's own machine: do not check notebooks of strangers outside of a sandbox.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from grader.errors import GraderError
from grader.files import left_behind
from grader.filled_in import defines, filled_in, first_code_line, parsed, statements, without_magics
from grader.inputs.archives import bytes_of

SMOKE = {"faces": "faces", "run": "run", "outputs": "outputs", "steps": 2, "width": 4, "batch_size": 8}
MAX_BYTES = 64 * 2**20  # of a notebook, pictures in it included: the worst JSON of this size takes 1.7 GB
MAX_OUTPUT = 2**20  # characters of what a cell prints, or its error says: a loop may print for minutes
NOTE = "note"  # of another cell that fails: no TODO
DONE, WRONG, NOT_YET, BROKEN, MISSING = "done", "wrong", "not yet", "broken", "missing"
DIED = "the Python process died: is there too little memory?"
NOT_REACHED = "its check was not reached"
NO_CHECK = "its check cell is gone, or was changed: copy it from the kit's notebook"
TODOS = {  # what each of the kit's notebooks asks for, by the number in its heading
    "01": ("discriminator_step", "generator_step"),
    "02": ("clipped_step",),
    "03": ("make_critic", "make_optimizers", "discriminator_step", "generator_step", "layer_norms"),
    "04": ("make_critic", "gradient_penalty", "discriminator_step"),
    "05": ("make_trainer", "generate"),
    "06": ("one_hot", "join", "other_labels", "discriminator_step", "generator_step"),
    "07": ("stage", "fade", "pixel_norm", "equalized_conv", "minibatch_stddev"),
    "08": ("hinge_losses", "largest_singular_value", "SelfAttention", "ConditionalBatchNorm", "projection_logit"),
    "09": ("cycle_loss", "make_optimizers", "generator_step", "exchange", "discriminator_step"),
    "10": ("relativistic_losses", "zero_centred_penalty", "discriminator_step", "ResidualBlock"),
}
HEADING = re.compile(r"^#+ (\d\d) · ", re.MULTILINE)


class BadNotebook(GraderError):
    """A file that is not one of our notebooks; the message names it and the remedy."""


@dataclass(frozen=True)
class Todo:
    """What became of one TODO: `status` is done, wrong, not yet, broken or missing; `hint` says why it is not done. The
    status note is for a cell of the student's own that fails."""

    name: str
    status: str
    hint: str = ""


def check_notebook(path: Path, seconds: int = 120, kit: Path | None = None) -> Iterator[Todo]:
    """Runs a notebook's cells up to its last check, at smoke size, and yields what each check says.

    With `kit`, the kit's own notebook or the folder of them, only what the TODOs define is taken from `path`, with what
    they call: checks and everything else are the kit's. A cell may take `seconds`. Raises BadNotebook.
    """
    sources, number = _read(path)
    if kit:
        sources = filled_in(_kit_notebook(kit, number, path), sources)
    names = [_check_name(source) for source in sources]
    expected = TODOS.get(number) or tuple(dict.fromkeys(filter(None, names)))
    if not expected:
        raise BadNotebook(f"{path}: has no check cells: name one of the notebooks in notebooks/")
    account, index = _Account(expected, [name if name in expected else None for name in names]), -1
    with _kernel(seconds) as run:
        for index, source in enumerate(sources[: max(account.deciding.values(), default=-1) + 1]):
            name, todo = account.names[index], account.subject(index, source)
            shown = name or first_code_line(source)
            try:
                text, error = run(source)
            except _KernelGone as gone:
                yield Todo(todo or shown, BROKEN, str(gone))
                account.told.add(todo)
                break
            if error:
                yield from account.heard(index, todo, _verdict(shown, error))
            elif name and _says_done(text, name):
                yield from account.heard(index, todo, Todo(name, DONE))
    yield from account.rest(index)


class _KernelGone(Exception):
    """No cell can run after this one; the message says why."""


@contextmanager
def _kernel(seconds: int) -> Iterator[Callable]:
    """Yields run(source), which runs a cell in a kernel of its own: (what it printed, its error or None)."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    with ExitStack() as stack:
        try:
            temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # on Windows a kernel that ends has it
            folder = stack.enter_context(temporary)
            _write_stand_ins(Path(folder, SMOKE["faces"]))
        except OSError as error:
            where, why = tempfile.tempdir or "temporary files", error.strerror or error  # None: no folder was found
            remedy = "make room, or set TMPDIR to another folder"
            raise GraderError(f"{where}: cannot be written ({why}): {remedy}") from None
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])  # place for the one that runs
        client = NotebookClient(notebook, timeout=seconds, kernel_name="python3", kernel_manager_class=own_kernel())
        client.shutdown_kernel = "immediate"  # nothing in it is to be kept
        client.process_message = _keep_the_last
        client.resources = {"metadata": {"path": folder}}
        with client.setup_kernel(env=os.environ | {"OMP_NUM_THREADS": "1"}):  # networks so small only wait for threads
            execute = client.kc.execute  # a cell that fails would take along the next one, if that came at once
            client.kc.execute = lambda source, **options: execute(source, **options | {"stop_on_error": False})

            def run_cell(source):
                return client.execute_cell(nbformat.v4.new_code_cell(source), 0)

            def run(source):
                if "make_settings(PRESETS" in source:  # whatever the student set, and however
                    run_cell(f"overrides = {SMOKE!r}")
                try:
                    cell = run_cell('raise RecursionError("nested too deep")' if _too_deep(source) else source)
                except CellTimeoutError:
                    raise _KernelGone(f"took longer than {seconds} s: is there an endless loop?") from None
                except DeadKernelError:
                    raise _KernelGone(DIED) from None
                except CellExecutionError as error:
                    error.evalue = error.evalue[:MAX_OUTPUT]
                    return "", error
                return "".join(output.text for output in cell.outputs), None

            yield run


def _keep_the_last(message: dict, cell, _: int) -> None:
    """Takes a kernel's message in place of nbclient, which keeps all: of a cell's outputs stays the end of the text,
    which has the verdict. Pictures and tracebacks say nothing here."""
    from nbclient.exceptions import CellExecutionComplete
    from nbformat.v4 import new_output

    content = message["content"]
    if message["msg_type"] == "status" and content["execution_state"] == "idle":
        raise CellExecutionComplete
    if message["msg_type"] == "stream":
        text = "".join(output.text for output in cell.outputs) + content["text"]
        cell.outputs = [new_output("stream", text=text[-MAX_OUTPUT:])]


class _Account:
    """What the cells of a notebook have said of its TODOs so far. `names` has the TODO of each cell that checks one."""

    def __init__(self, expected: tuple[str, ...], names: list[str | None]):
        self.expected, self.names = expected, names
        self.deciding = {name: index for index, name in enumerate(names) if name}  # its last check, after attempts
        self.told, self.notes = set(), {}  # TODOs of which all is said; TODO -> how a cell failed that was to define it
        self.earlier = {}  # TODO -> what its check said last

    def subject(self, index: int, source: str) -> str | None:
        """The TODO that a cell may decide or spoil."""
        defined = [one for one in self.expected if defines(source, one)]
        for one in defined:  # written again: what was said of it before says nothing
            self.earlier.pop(one, None)
        todo = self.names[index] or next(iter(defined), None)
        if not todo and self.names[index + 1] not in self.notes and statements(source) is None:
            todo = self.names[index + 1]  # not valid: the next check is what it may spoil
        return None if index > self.deciding.get(todo, index) else todo  # None: all is said

    def heard(self, index: int, todo: str | None, verdict: Todo) -> Iterator[Todo]:
        """What is to be told once a cell has given a verdict; `todo` is its subject."""
        name = self.names[index]
        if name:
            self.earlier[name] = verdict
        if index < self.deciding.get(name, index):
            return
        if name:
            note = self.notes.pop(name, None)
            if note and verdict.hint == f"NameError: name '{name}' is not defined":  # that cell is the cause
                verdict = replace(note, name=name, status=BROKEN)
            elif note:
                yield note
            yield verdict
            self.told.add(name)
        elif verdict.status != NOT_YET:  # a cell that uses a TODO fails with it
            note = replace(verdict, status=NOTE)
            if todo:  # its check says whether that matters
                self.notes[todo] = note
            else:
                yield note

    def rest(self, index: int) -> Iterator[Todo]:
        """What is to be told of the other TODOs, when the cell at `index` was the last to run."""
        for name in self.expected:
            if name not in self.told:
                yield from [self.notes[name]] if name in self.notes else []
                if self.deciding.get(name, -1) > index:
                    yield self.earlier.get(name, Todo(name, BROKEN, NOT_REACHED))
                else:
                    yield Todo(name, MISSING, NO_CHECK)


def _read(path: Path) -> tuple[list[str], str]:
    """The sources of a notebook's code cells, and the number of the kit's notebook that it is, or "". What else is in
    it matters to no check, and may be broken."""
    try:
        content = bytes_of(path, MAX_BYTES)
    except OSError as error:
        raise BadNotebook(f"{path}: cannot be read ({error.strerror or error}): name a notebook") from None
    except ValueError as error:
        remedy = "clear its outputs, and save it again" if path.is_file() else "name a notebook"
        raise BadNotebook(f"{path}: {error}: {remedy}") from None
    try:
        cells = json.loads(content)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        # no kernel takes half a character
        sources = [without_magics(source.encode(errors="replace").decode()) for source in sources]
        texts = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    except Exception:  # whatever a broken file makes of JSON and of what should be in it
        raise BadNotebook(f"{path}: not a notebook: download it again as .ipynb") from None
    heading = HEADING.search(texts)
    if heading and heading[1] in TODOS:
        return sources, heading[1]
    checks = {*map(_check_name, sources)} - {None}
    shared = {number: len(checks & {*names}) / len(checks | {*names}) for number, names in TODOS.items()}
    number = max(shared, key=shared.get)
    return sources, number if shared[number] else ""


def _too_deep(source: str) -> bool:
    """Whether Python gives up on what is nested in a cell: to such a cell a kernel never answers."""
    try:
        compile(parsed(source), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except RecursionError:
        return True
    except (SyntaxError, ValueError, MemoryError):
        pass
    return False


def own_kernel() -> type:
    """Manages a kernel that is this interpreter, whatever is installed under the name python3."""
    from ipykernel.kernelspec import make_ipkernel_cmd
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        kernel_spec = KernelSpec(
            argv=make_ipkernel_cmd(),
            env={"PYTHONOPTIMIZE": "", "PYTHONWARNINGS": "ignore:To exit"},  # checks are asserts; of SystemExit
            language="python",
        )

        async def start_kernel(self, **options):
            ours = {
                # the log of the kernel itself, no cell's: that it talks over TCP, how it was stopped
                "stderr": subprocess.DEVNULL,
                # on Windows: else it hears Ctrl-C by itself, and once more from whoever runs it
                "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            }
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Proactor event loop", RuntimeWarning)  # of pyzmq on Windows
                await super().start_kernel(**ours | options)

    return OwnKernel


def _check_name(source: str) -> str | None:
    """X of a cell that calls check_X(…) at its top level: Colab forgets tags when it saves."""
    for statement in reversed(statements(source) or []):
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            function = ast.unparse(statement.value.func)
            if function.startswith("check_"):  # else another call, as a line magic is one
                return function.removeprefix("check_")
    return None


def _kit_notebook(kit: Path, number: str, path: Path) -> list[tuple[str, str]]:
    """(id, source) of the code cells of the kit's notebook with the TODOs of `number`. Raises BadNotebook."""
    notebooks = [one for one in sorted(kit.glob("*.ipynb")) if not left_behind(one.name)] if kit.is_dir() else [kit]
    for notebook in notebooks:
        try:
            cells = [cell for cell in json.loads(notebook.read_bytes())["cells"] if cell["cell_type"] == "code"]
            found = [(cell["id"], "".join(cell["source"])) for cell in cells]
        except (OSError, ValueError, KeyError, TypeError):
            raise BadNotebook(f"{notebook}: not one of the kit's notebooks: name the folder notebooks/") from None
        if number and {f"todo-{name}" for name in TODOS[number]} == {
            one for one, _ in found if one.startswith("todo-")
        }:
            return found
    raise BadNotebook(f"{kit}: holds no notebook with the TODOs of {path}: name the kit's folder notebooks/")


def _says_done(text: str, name: str) -> bool:
    """Whether a check that ran to its end said so, in English or Chinese: one without its calls says nothing. What the
    TODO printed may stand before it in the line."""
    return bool(re.search(rf"{name}: (?:done|完成)$", text, re.MULTILINE))


def _is_unwritten(error) -> bool:
    """Whether an error is that of a TODO nobody has written yet: torch has NotImplementedErrors too, which say more."""
    says = error.evalue
    return error.ename == "NotImplementedError" and (
        not says or "fill in the cell above" in says or "請完成上面的儲存格" in says
    )


def _verdict(name: str, error) -> Todo:
    if _is_unwritten(error):
        return Todo(name, NOT_YET)
    if error.ename == "AssertionError":
        return Todo(name, WRONG, error.evalue)
    kind = "SyntaxError" if error.ename == "_IncompleteInputError" else error.ename  # its name since Python 3.13
    return Todo(name, BROKEN, f"{kind}: {error.evalue}".partition("\n")[0])


def _write_stand_ins(folder: Path) -> None:
    """Noise in place of faces, with labels: checks look at code, not at what it learns."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(picture).save(folder / f"{number}.png")
    colours = ["black", "blonde", "brown", "white"]
    tags = (f"{number},{colours[number % 4]} hair {colours[number // 4]} eyes\n" for number in range(len(noise)))
    (folder / "tags.csv").write_text("".join(tags), encoding="utf-8")
