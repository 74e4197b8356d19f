"""`grader check` on notebooks in every state of being filled in."""

import asyncio
import errno
import json
import math
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import nbformat
import pytest
from click.testing import CliRunner
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from baselines.build import ROOT, masters
from grader import cli
from grader.check import BROKEN, NOT_YET, TODOS, _check_name, _kernel, _kit_notebook, _read, _verdict, own_kernel
from grader.filled_in import BEGIN, END, KIT_FIRST, LEFT_OUT, _left_out, filled_in
from tests.helpers.notebook import cells

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


def written(folder, sources):
    """A notebook of these code cells: without the kit's, no import takes long."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    (folder / "mine.ipynb").write_text(json.dumps(nbformat.v4.new_notebook(cells=cells)))  # half a character, too
    return folder / "mine.ipynb"


def check_cell(name):
    return (
        f"def check_{name}(step):\n    assert step() == 1, 'not 1'\n    print('{name}: done')\n\n\ncheck_{name}({name})"
    )


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_left_out_where_no_color_asks_for_that(monkeypatch, no_color):
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("grader.check.check_notebook", lambda *_: [SimpleNamespace(name="x", status=NOT_YET, hint="")])
    result = CliRunner().invoke(cli.main, ["check", "x.ipynb"], color=True)
    assert ("\x1b[" in result.stdout) == (not no_color)


@pytest.mark.skipif(not find_spec("stylegan2_pytorch"), reason="needs stylegan2_pytorch")
def test_the_stylegan_notebook_is_checked_without_a_gpu():
    result = check(ROOT / "baselines/solved/05_stylegan2.ipynb")
    assert result.exit_code == 0, result.output
    assert result.stdout == "done     make_trainer\ndone     generate\n"


def test_todos_not_yet_filled_do_not_hide_the_next(monkeypatch):
    execute, stops = AsyncKernelClient.execute, set()

    def noted(client, code, **options):
        stops.add(options["stop_on_error"])  # else a kernel drops what comes right after an error, now and then
        return execute(client, code, **options)

    monkeypatch.setattr(AsyncKernelClient, "execute", noted)
    result = check(STUDENT, "--json")
    assert stops == {False}
    assert result.exit_code == 1
    names = ["make_critic", "make_optimizers", "discriminator_step", "generator_step", "layer_norms"]
    assert json.loads(result.stdout) == [{"name": name, "status": "not yet", "hint": ""} for name in names]


def test_a_mistake_gets_its_hint_in_the_language_of_the_notebook_and_settings_are_written_in_any_way(tmp_path):
    """In Chinese here; test_checks_of_the_kit has it in English."""
    solved = {cell.id: cell.source for cell in nbformat.read(SOLVED, as_version=4).cells}
    notebook = nbformat.read(ROOT / "notebooks/zh/01_gan.ipynb", as_version=4)
    settings = next(cell for cell in notebook.cells if cell.source.startswith("preset = "))
    settings.source = 'preset, overrides = "cpu", dict(\n    steps=5,\n    width=8,\n)'
    for cell in notebook.cells:
        if cell.id.startswith("todo-"):
            cell.source = solved[cell.id].replace("bce(p_fake, torch.zeros_like(p_fake))", "0")
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    result = check(tmp_path / "mine.ipynb")
    assert result.exit_code == 1
    assert result.stdout.startswith("wrong    discriminator_step\n         只算了真圖")
    assert result.stdout.endswith("\ndone     generator_step\n")


def test_an_endless_loop_is_stopped(tmp_path):
    sources = (
        "def discriminator_step():\n    while True:\n        pass",
        "check_discriminator_step = lambda step: step()",
        "check_discriminator_step(discriminator_step)",
        "check_generator_step(discriminator_step)",
    )
    result = check(written(tmp_path, sources), "--seconds", "3")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "broken   discriminator_step",
        "         took longer than 3 s: is there an endless loop?",
        "broken   generator_step",
        "         its check was not reached",
    ]


def test_of_what_a_cell_prints_only_the_end_is_kept(monkeypatch):
    """Neither a loop that prints, nor pictures, nor an error of any length fill the memory."""
    kept, execute = [], NotebookClient.execute_cell
    monkeypatch.setattr("grader.check.MAX_OUTPUT", 1000, raising=False)
    monkeypatch.setattr(NotebookClient, "execute_cell", lambda *args: kept.append(execute(*args)) or kept[-1])
    loop = "for _ in range(50):\n    print('x' * 1000, flush=True)\n    display('z' * 1000)"
    with _kernel(30) as run:
        assert run(f"{loop}\nprint('step: done')")[0].endswith("\nstep: done\n")
        assert len(json.dumps(kept)) < 3000
        assert len(run("raise ValueError('x' * 10_000)")[1].evalue) == 1000


def test_a_check_that_was_reached_once_is_not_lost(tmp_path):
    """It may stand again after a cell that takes too long, but not after another attempt. Training takes two steps."""
    sources = (
        "make_settings = PRESETS = print\nmake_settings(PRESETS, overrides['steps'])",
        "def check_first():\n    print(0.69, end='')\n    print('first: done')\n\n\ncheck_first()",
        "def third():\n    pass\n\n\ndef fourth():\n    pass",
        "def check_third():\n    print('third: done')\n\n\ncheck_third()",
        "def check_fourth():\n    print('fourth: done')\n\n\ncheck_fourth()",
        "def third():\n    return 1\n\n\ndef fourth():\n    return 1",
        "while True:\n    pass",
        "check_first()",
        "check_second()",
        "check_third()",
        "check_fourth()",
    )
    result = check(written(tmp_path, sources), "--seconds", "3")
    assert result.stdout.splitlines() == [
        "broken   while True:",
        "         took longer than 3 s: is there an endless loop?",
        "done     first",
        "broken   third",
        "         its check was not reached",
        "broken   fourth",
        "         its check was not reached",
        "broken   second",
        "         its check was not reached",
    ]


def test_the_kernel_is_this_interpreters_own_and_asserts_hold_in_it(tmp_path):
    """Whatever is installed under the name python3, and however this process was started."""
    spec = tmp_path / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "another", "language": "python"}))
    path = written(tmp_path, ["def discriminator_step():\n    return 0", check_cell("discriminator_step")])
    environment = os.environ | {"JUPYTER_PATH": str(tmp_path), "PYTHONOPTIMIZE": "1"}
    command = [sys.executable, "-m", "grader", "check", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("wrong    discriminator_step\n         not 1\n")


def test_on_windows_a_kernel_leaves_ctrl_c_to_its_parent_and_pyzmq_is_not_heard(monkeypatch):
    """What it hears itself comes twice, and breaks off the step that it was to end with."""
    started = {}

    async def start_kernel(self, **options):
        started.update(options)
        warnings.warn("Proactor event loop does not implement add_reader family …", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(AsyncKernelManager, "start_kernel", start_kernel)
    for flag in (0, 512):  # elsewhere Popen takes no other than 0
        if flag:
            monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", flag, raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asyncio.run(own_kernel()().start_kernel(cwd="here"))
        assert started == {"stderr": subprocess.DEVNULL, "creationflags": flag, "cwd": "here"}


def test_a_solved_notebook_is_done_and_a_cell_of_the_students_own_that_fails_is_a_note(tmp_path):
    notebook = nbformat.read(SOLVED, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_code_cell("# my notes\nopen('my own file.txt')"))
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    result = check(tmp_path / "mine.ipynb")
    assert result.exit_code == 0, result.output
    note, *others = result.stdout.splitlines()
    assert note.split() == ["note", "#", "my", "notes"]
    assert "my own file.txt" in others[0]
    assert others[1:] == ["done     discriminator_step", "done     generator_step"]


def test_a_todos_last_check_decides(tmp_path):
    """What failed before it is a note, or the reason why there is nothing to check. In one kernel: that is cheap."""
    sources = []

    def attempt(name, returns, more=""):
        sources.append(f"def {name}():\n    return {returns}{more}")

    def checked(name):
        sources.append(check_cell(name))

    attempt("cycle_loss", 1, "\n\n\ncycle_loss(run)")  # tried on what only training makes
    checked("cycle_loss")
    attempt("make_optimizers", 1)
    sources.append("my thoughts")  # no Python
    checked("make_optimizers")
    attempt("generator_step", 2)
    checked("generator_step")
    attempt("generator_step", 1)
    checked("generator_step")
    attempt("exchange", 1)
    checked("exchange")
    attempt("exchange", 2, "\n\n\nprint('exchange: done', run)")
    checked("exchange")
    attempt("discriminator_step", "(")
    sources.append("thoughts again")
    checked("discriminator_step")
    sources.append("def exchange(")  # nothing checks it
    sources += ["print('exchange: done')", sources[-2]]
    result = check(written(tmp_path, sources), "--json")
    assert result.exit_code == 1, result.output
    assert [(todo["name"], todo["status"], todo["hint"].partition(":")[0]) for todo in json.loads(result.stdout)] == [
        ("def cycle_loss():", "note", "NameError"),
        ("cycle_loss", "done", ""),
        ("my thoughts", "note", "SyntaxError"),
        ("make_optimizers", "done", ""),
        ("generator_step", "done", ""),
        ("def exchange():", "note", "NameError"),
        ("exchange", "wrong", "not 1"),
        ("thoughts again", "note", "SyntaxError"),
        ("def exchange(", "note", "SyntaxError"),
        ("discriminator_step", "broken", "SyntaxError"),
    ]


def test_a_notebook_that_is_too_large_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.check.MAX_BYTES", 10**6)
    path = written(tmp_path, ["0" * 10**6])
    result = check(path)
    assert result.exit_code == 2
    assert result.stderr.endswith("mine.ipynb: has more than 1 MB: clear its outputs, and save it again\n")


@pytest.mark.parametrize("found", [True, False])
def test_no_room_for_temporary_files(tmp_path, monkeypatch, found):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path) if found else None)
    monkeypatch.setattr("PIL.Image.Image.save" if found else "tempfile._get_default_tempdir", full)
    result = check(written(tmp_path, [check_cell("step")]))
    assert result.exit_code == 2
    where = tmp_path if found else "temporary files"
    reason = "cannot be written (No space left on device): make room, or set TMPDIR to another folder"
    assert result.stderr == f"{where}: {reason}\n"


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
        ("def check_step(step):\n    pass\n\n\ncheck_step(step)", "step"),
        ("# @title Check: step\nclass Tiny:\n    pass\n\n\ncheck_step(step, Tiny)", "step"),
        ("# @title Check: step\n# check_step(step)", None),
        ("# @title Check: step\ndef check_step(step):\n    pass", None),
        ("check_step(step)\n%matplotlib inline\n!true\nprint(step)", "step"),
        ("%matplotlib inline\nx = 1", None),
        ("%%timeit\ncheck_step(step)", None),  # which prints it a thousand times
        ("x = (", None),
    ],
)
def test_a_check_cell_is_known_by_its_call(source, name):
    assert _check_name(source) == name


def test_the_table_of_todos_is_that_of_the_notebooks():
    assert {
        master.stem[:2]: tuple(name.removeprefix("todo-") for name in cells(master) if name.startswith("todo-"))
        for master in masters()
    } == TODOS


def test_a_check_that_is_gone_is_missing(tmp_path):
    """Deleted, commented out, renamed or gutted: none of these is done."""
    checks = {name: check_cell(name) for name in TODOS["03"]}
    checks["make_critic"] = ""
    checks["make_optimizers"] = "\n".join(f"# {line}" for line in checks["make_optimizers"].splitlines())
    checks["layer_norms"] = checks["layer_norms"].replace("print(", "(")
    checks["discriminator_step"] = checks["discriminator_step"].replace("check_", "other_")
    sources = [source for name in checks for source in (f"def {name}():\n    return 1", checks[name])]
    result = check(written(tmp_path, sources), "--json")
    assert result.exit_code == 1
    todos = json.loads(result.stdout)
    assert todos[0] == {"name": "generator_step", "status": "done", "hint": ""}
    gone = ["make_critic", "make_optimizers", "discriminator_step", "layer_norms"]
    assert [(todo["name"], todo["status"]) for todo in todos[1:]] == [(name, "missing") for name in gone]
    assert all(todo["hint"].startswith("its check cell is gone") for todo in todos[1:])


def test_magics_hide_neither_a_todo_nor_its_check(tmp_path):
    """What measures a cell, or keeps its output, is passed over; so are commands in a cell."""
    sources = [
        "\n%%time\n!true\n%matplotlib inline\ndef first():\n    return 1",
        f"%%time\n%%capture kept\n{check_cell('first')}",
        "%%prun -q\ndef second():\n    !true\n    return 1",
        f"%%capture\n{check_cell('second')}\n!true",
    ]
    result = check(written(tmp_path, sources))
    assert result.stdout == "done     first\ndone     second\n"


def test_no_check_cell_is_left(tmp_path):
    result = check(edited(SOLVED, tmp_path / "mine.ipynb", "check_", "x_"))
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if line[0] != " "] == [
        "missing  discriminator_step",
        "missing  generator_step",
    ]


def test_checks_of_the_kit(tmp_path):
    """Neither gutted checks nor a changed kit help; a helper in a cell of its own, and an experiment, do no damage."""
    notebook = nbformat.read(ROOT / "baselines/solved/02_gradient_clipping.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(
            "nn.utils.clip_grad_norm_(network.parameters(), max_norm)", "shorten(network)"
        )
        if cell.source.startswith("# @title Check: "):
            cell.source = 'print("clipped_step: done")\ncheck_clipped_step = print\ncheck_clipped_step()'
            cell.metadata = {}
    helper = "import math\n\nFAR = math.inf\n\n\ndef shorten(network):\n    return FAR"
    notebook.cells.insert(5, nbformat.v4.new_code_cell(f"!true\n{helper}\nexperiment = missing + 1"))
    notebook.cells.insert(6, nbformat.v4.new_code_cell("def check_step(*_):\n    return []"))
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    result = check(tmp_path / "mine.ipynb", "--kit", str(ROOT / "notebooks"))
    assert result.exit_code == 1
    assert result.stdout.startswith("wrong    clipped_step\n         not clipped: call")


def test_a_way_round_the_kit_is_told_where_it_is_taken(tmp_path):
    notebook = nbformat.read(ROOT / "baselines/solved/02_gradient_clipping.ipynb", as_version=4)
    gutted = "def clipped_step(*_):\n    globals()['check_clipped_step'] = print"
    (todo,) = (cell for cell in notebook.cells if "def clipped_step" in cell.source)
    todo.source = gutted
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    result = check(tmp_path / "mine.ipynb", "--kit", str(ROOT / "notebooks"))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"broken   clipped_step\n         SystemExit: {LEFT_OUT}\n")


def test_what_a_system_left_in_the_kit_is_passed_over(tmp_path):
    (tmp_path / "._01_gan.ipynb").write_bytes(b"\0\5\x16\7")
    kit = tmp_path / "01_gan.ipynb"
    kit.write_bytes((ROOT / "notebooks/01_gan.ipynb").read_bytes())
    assert _kit_notebook(tmp_path, "01", SOLVED) == _kit_notebook(kit, "01", SOLVED)


def test_the_kit_must_have_the_notebook(tmp_path):
    result = check(SOLVED, "--kit", str(ROOT / "notebooks/03_wgan.ipynb"))
    assert result.exit_code == 2
    assert "holds no notebook with the TODOs of" in result.stderr


KIT = [("todo-step", "def step():\n    raise NotImplementedError"), ("c", "import torch\n\nwidth = 4")]


@pytest.mark.parametrize(
    ("sources", "cells"),
    [
        (["def step():\n    pass", "step.calls = 0"], ["def step():\n    pass\nstep.calls = 0"]),
        (
            ["def step():\n    pass", "step = torch.compile(step)"],
            ["def step():\n    pass\nstep = torch.compile(step)"],
        ),
        (
            ["table = {}\ntable[torch.nn] = other = 1\ntable |= {}", "def step():\n    return table"],
            ["table = {}", "table[torch.nn] = other = 1", "table |= {}", "def step():\n    return table"],
        ),
        (
            ["def step():\n    pass", "old = step", "def step():\n    old()"],
            ["def step():\n    pass\nold = step\ndef step():\n    old()"],
        ),
        (
            ["table = []\nfor i in (1, 2):\n    table.append(i)\ntable.sort()", "def step():\n    return table"],
            ["table = []", "for i in (1, 2):\n    table.append(i)", "table.sort()", "def step():\n    return table"],
        ),
        2 * (["try:\n    import c\nexcept ImportError:\n    c = 0", "if c:\n\n    def step():\n        pass"],),
        (["def step():\n    pass", "print(step())\nfor _ in (1, 2):\n    step()"], ["def step():\n    pass"]),
        (["def step(z):\n    return z", "with a():\n    z = run.G()"], ["def step(z):\n    return z"]),
        (
            ["def step():\n    return z", "for z in (2,):\n    pass"],
            ["def step():\n    return z", "for z in (2,):\n    pass"],
        ),
        (
            ["with open(a) as z:\n    pass", "match 1:\n    case 1:\n        y = 2", "def step():\n    return z + y"],
            ["with open(a) as z:\n    pass", "match 1:\n    case 1:\n        y = 2", "def step():\n    return z + y"],
        ),
        (["def step():\n    pass", "for step in (1, 2):\n    run()"], ["def step():\n    pass"]),
        2 * (["W = []", "for width in (1, 2):\n    W.append(width)", "def step():\n    return W"],),
        (["def step():\n    return z()", "def z():\n    pass"], ["def step():\n    return z()", "def z():\n    pass"]),
        (["def step():\n    return pi", "from math import *"], ["def step():\n    return pi"]),  # for a plot, say
        (  # where the TODO finds them
            ["from math import *", "width = 2", "def step():\n    return sum, width", "for a in b:\n    width = a"],
            ["from math import *", KIT_FIRST.format(theirs=[]), "width = 2", "def step():\n    return (sum, width)"],
        ),
        (["(z := 0.5)\n%time f(z)", "def step():\n    return z"], ["(z := 0.5)", "def step():\n    return z"]),
        (
            ["f([z := y for y in x])\ny = x = lambda: (w := 1)", "def step():\n    return [y, z, w]"],
            ["f([(z := y) for y in x])", "y = x = lambda: (w := 1)", "def step():\n    return [y, z, w]"],
        ),
        (["!true\n%matplotlib inline\ndef step():\n    pass\n!true"], ["def step():\n    pass"]),
        (["%%timeit\ndef step():\n    pass"], ["%%timeit\ndef step():\n    pass"]),
        (["def a():\n    pass", "import torch, width\nwidth = []\ntorch.x = 1"], [KIT[0][1]]),
        (  # of an import, what the kit does not know
            ["from torch import autograd, width\nimport math, torch", "def step():\n    return [autograd, math]"],
            ["from torch import autograd", "import math", "def step():\n    return [autograd, math]"],
        ),
        (["def step(a, a):\n    return b", "b = 1"], ["def step(a, a):\n    return b"]),
        (["def step(:", "def step():\n    pass"], ["def step():\n    pass"]),
        (["def step():\n    pass", "def step(:"], ["def step():\n    pass\ndef step(:"]),
        (["step[0], torch.x = 1, 2", "width = 8"], [KIT[0][1]]),
        (["def step():\n    pass", "step.__globals__['width'] = 8"], [f"def step():\n    pass\n{_left_out('step')}"]),
        *(
            ([f"def step():\n    {line}"], [_left_out("step")])
            for line in (
                "globals()['width'] = 8",
                "sys.modules['torch'].equal = 8",
                "getattr(step, '__globals__')['width'] = 8",
                "from builtins import __dict__ as names",
            )
        ),
        (
            ["def seen():\n    return globals()", "def step():\n    seen()"],
            [_left_out("seen"), "def step():\n    seen()"],
        ),
        (  # honest ones
            ['def step(G):\n    """No globals()."""\n    return [*G.modules()]'],
            ['def step(G):\n    """No globals()."""\n    return [*G.modules()]'],
        ),
        (["def step():\n    return " + "-" * 900 + "1"], ["def step():\n    return " + "-" * 900 + "1"]),
    ],
)
def test_what_a_kit_takes_of_a_notebook(sources, cells):
    """All statements that change a TODO, or a helper of one, in their order."""
    begin = [f"{BEGIN}\n{KIT_FIRST.format(theirs=[])}"]
    around = [] if cells == [KIT[0][1]] else begin, [] if cells == [KIT[0][1]] else [END.format(names=["step"])]
    assert filled_in(KIT, sources) == [*around[0], *cells, *around[1], KIT[1][1]]


@pytest.mark.parametrize("number", TODOS)
def test_a_kit_takes_every_todo(number):
    """Also where the kit has a variable of its name: 07 has a `fade`."""
    (solved,) = (ROOT / "baselines/solved").glob(f"{number}_*.ipynb")
    kit = _kit_notebook(ROOT / "notebooks", number, solved)
    unwritten = {source for key, source in kit if key.startswith("todo-")}
    assert unwritten.isdisjoint(filled_in(kit, _read(solved)[0]))


def run_in_shell(sources, **names):
    """The names that there are after these cells, run as IPython does."""
    main = ModuleType("__main__")
    shell = SimpleNamespace(user_module=main, user_ns=vars(main))
    vars(main).update(names, get_ipython=lambda: shell)
    with patch.dict(sys.modules, __main__=main):
        for source in sources:
            exec(source, shell.user_ns)
    return vars(main)


def test_an_import_of_all_binds_nothing_for_a_kit_and_replaces_nothing_of_it():
    """Neither what the checks use, as `all` and `torch`, nor anything else; a TODO sees it as in its own notebook."""
    star = "try:\n    from mine import *\nexcept OSError:\n    pass"
    sources = [star, "def half(x):\n    return all(x) + e", "def step():\n    return half([pi + width, torch])"]
    cells, mine = filled_in(KIT, sources)[:-1], ModuleType("mine")
    vars(mine).update(all=sum, torch=2, pi=2, e=2, width=2)
    with patch.dict(sys.modules, mine=mine):
        names = run_in_shell(cells, torch=100, width=20)
    assert names["step"]() == 2 + 20 + 100 + 2
    assert names.keys() == {*vars(ModuleType("m")), "__builtins__", "get_ipython", "step", "torch", "width"}


def test_an_import_of_all_replaces_no_other_todo_in_a_kit():
    """It stands again before each TODO, and has a name that is another's. Its own may come of it."""
    kit = [("todo-e", "def e():\n    pass"), ("todo-half", "def half():\n    pass")]
    sources = ["from math import *", "base = e\n\n\ndef e():\n    return base", "def half():\n    return e() / tau"]
    assert run_in_shell(filled_in(kit, sources))["half"]() == math.e / math.tau


def test_a_helper_of_two_todos_is_one():
    """So a class of theirs is one class, and a list that both use one list; a name of the kit's is as it is by then."""
    kit = [
        ("todo-first", "def first():\n    pass"),
        ("cell", "width = 2"),
        ("todo-second", "def second():\n    pass"),
    ]
    sources = [
        "class Fake:\n    pass",
        "kept = []",
        "def first():\n    kept.append(Fake())\n    return kept",
        "def second():\n    return kept, type(kept[0]) is Fake, width",
    ]
    names = run_in_shell(filled_in(kit, sources), width=1)
    shown = names["first"]()
    kept, same, width = names["second"]()
    assert kept is shown and same and width == 2 and "kept" not in names


def test_a_students_helpers_have_any_name_and_change_nothing_of_the_kit(tmp_path, monkeypatch):
    """What the kit has by that name stays, for the kit. Statements that fail, or take long, spoil no other TODO."""
    written_here = {
        "timed": ["%%time\n%%capture\ntarget = 1", "%%time\ndef timed():\n    return target"],
        "walrus": ["(scale := 1)", "def walrus():\n    return scale"],
        "same_name": ["def features():\n    return 1", "def same_name():\n    return features()"],
        "more_arguments": ["def show(p, real):\n    return real", "def more_arguments():\n    return show(0, 1)"],
        "clock": ["from time import time", "def clock():\n    return time() > 0"],
        "edited": ["class Tiny:\n    seen = 0", "def edited():\n    return Tiny.seen"],
        "lost": ["gone = 1 / 0", "def lost():\n    return gone"],
        "raises": ["@missing\ndef raises():\n    return 1"],
        "wide": ["def wide():\n    return width - 3", "def hang():\n    while True:\n        pass", "width = hang()"],
        "built": ["def part():\n    return walrus()", "def built():\n    return part()"],
    }
    checks = {name: check_cell(name) for name in written_here}
    checks["built"] = f"built.__globals__['walrus'] = lambda: 0\n{checks['built']}"  # as stand_ins() does
    machinery = "import time\n\nwidth = 4\n\n\ndef show(p):\n    return p\n\n\ndef features():\n    return 0"
    kit = [nbformat.v4.new_code_cell(machinery), nbformat.v4.new_code_cell("class Tiny:\n    seen = 1")]
    for name, cell in checks.items():
        kit.append(nbformat.v4.new_code_cell(f"def {name}():\n    raise NotImplementedError", id=f"todo-{name}"))
        kit.append(
            nbformat.v4.new_code_cell(f"assert (time.time(), show(1), features(), width)[1:] == (1, 0, 4)\n{cell}")
        )
    nbformat.write(nbformat.v4.new_notebook(cells=kit), tmp_path / "kit.ipynb")
    monkeypatch.setattr("grader.check.TODOS", {"02": tuple(written_here)})
    sources = [source for name, cells in written_here.items() for source in [*cells, checks[name]]]
    result = check(written(tmp_path, sources), "--kit", str(tmp_path / "kit.ipynb"), "--json", "--seconds", "20")
    assert [(todo["name"], todo["status"], todo["hint"]) for todo in json.loads(result.stdout)] == [
        *((name, "done", "") for name in [*written_here][:6]),
        ("gone = 1 / 0", "note", "ZeroDivisionError: division by zero"),
        ("lost", "broken", "NameError: name 'gone' is not defined"),
        ("raises", "broken", "NameError: name 'missing' is not defined"),
        ("wide", "done", ""),
        ("built", "wrong", "not 1"),
    ]


def test_cells_that_python_cannot_read_are_one_line(tmp_path):
    """Nested too deep, or with half a character in it; a failing cell before them hides neither."""
    sources = (
        "mine",
        f"def discriminator_step():\n    return {'1+' * 50_000}1",
        check_cell("discriminator_step"),
        f"def generator_step():\n    return 1\n\n\n# \ud800\n{'-' * 10_000}1",
        check_cell("generator_step"),
    )
    path = written(tmp_path, sources)
    assert all(source.isprintable() for source in "".join(_read(path)[0]).split("\n"))
    result = check(path, "--seconds", "30")
    assert result.exit_code == 1, result.output
    assert [line.split() for line in result.stdout.splitlines()[:5]] == [
        ["note", "mine"],
        ["NameError:", "name", "'mine'", "is", "not", "defined"],
        ["broken", "discriminator_step"],
        ["RecursionError:", "nested", "too", "deep"],
        ["broken", "generator_step"],
    ]
    assert len(result.stdout.splitlines()) == 6


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ("step: fill in the cell above (between BEGIN and END SOLUTION)", NOT_YET),
        ("step：請完成上面的儲存格（BEGIN 和 END SOLUTION 之間）", NOT_YET),
        ("", NOT_YET),
        ("\"check_uniform_bounds\" not implemented for 'Long'", BROKEN),  # torch.rand_like(labels)
    ],
)
def test_a_todo_is_unwritten_only_where_it_says_so(says, status):
    assert _verdict("step", SimpleNamespace(ename="NotImplementedError", evalue=says)).status == status
