"""Notebooks for tests: run whole at a small size, and their check cells tried on what students write."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from unittest import mock

import nbformat
import papermill
import torch

from baselines.build import ROOT
from grader import toml

SMOKE = {"steps": 4, "batch_size": 8, "width": 2, "checkpoint_every": 2, "log_every": 2}
FEW = 100  # samples at a checkpoint, where no test asks for all 1,000


def small(folder, faces, **overrides) -> dict:
    """Overrides that make a run small and keep it in a folder."""
    places = {"faces": str(faces), "run": str(folder / "run"), "outputs": str(folder / "outputs")}
    return SMOKE | places | overrides


def run(path, folder, faces, preset="course", **overrides) -> str:
    """Runs a notebook in a folder; returns what its cells printed."""
    parameters = {"preset": preset, "overrides": small(folder, faces, **overrides)}
    notebook = papermill.execute_notebook(path, None, parameters, cwd=folder, progress_bar=False, kernel_name="python3")
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


@cache
def built(master) -> dict[Path, str]:
    """The texts of a master's committed notebooks by their paths, the student's first; test_build holds that they are
    what the master builds, which takes a second each."""
    paths = [ROOT / folder / f"{master.stem}.ipynb" for folder in ("notebooks", "baselines/solved", "notebooks/zh")]
    return {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}


@cache
def cells(master, solved=True) -> dict[str, str]:
    """The code cells of a built notebook: cell id -> source."""
    text = built(master)[ROOT / ("baselines/solved" if solved else "notebooks") / f"{master.stem}.ipynb"]
    return {cell.id: cell.source for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"}


def equal(one, other):
    """Whether two states hold the same, to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def check_resume(train, small, folder, faces, **settings) -> None:
    """Holds a run that stopped after 3 of 5 steps against one that did not; `small` makes the settings of both."""
    train(small(folder, faces, steps=3, **settings))
    resumed = train(small(folder, faces, steps=5, **settings))
    whole = train(small(folder / "whole", faces, steps=5, **settings))
    assert resumed.start == 3
    for name in ("G", "D", "G_ema", "optimizer_G", "optimizer_D"):
        states = [run.parts[name].state_dict() for run in (resumed, whole)]
        assert equal(*states), f"{name} differs after a resume"


def check_two_processes(train, settings):
    """Trains in two processes, of which one writes. Returns the run that came of it."""
    from kit.launch import launch  # programs that import this module may not know kit

    run = launch(train, settings)
    rows = Path(run.folder, "log.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["step", *map(str, range(1, settings.steps + 1))]
    assert run.start == settings.steps
    return run


@contextmanager
def unmoved_by_cuda():
    """Without a GPU .cuda() leaves things where they are, as notebook 05 has it, and not for longer than this."""
    if torch.cuda.is_available():
        yield
        return
    stays = {"cuda": lambda self, *_, **__: self}
    with mock.patch.multiple(torch.Tensor, **stays), mock.patch.multiple(torch.nn.Module, **stays):
        yield


@unmoved_by_cuda()
def execute(master, overrides, solved=True, until="", checks=None, before_training=lambda names: None) -> dict:
    """Runs a notebook's code in this process, with its parameters set, and returns its names. Where `until` is given it
    stops after the cell that holds this text, and leaves out the checks unless `checks` asks for them.
    `before_training` gets the names as they are when training begins, and may change them."""
    checks = not until if checks is None else checks
    names = {"__name__": "__main__"}
    for name, source in cells(master, solved).items():
        if name.startswith("check-") and not checks:
            continue
        if "run = launch(" in source:
            before_training(names)
        exec(compile(source, f"{master.stem} {name}", "exec", dont_inherit=True), names)
        if source.startswith("preset = "):
            names["overrides"] = overrides
        if until and until in source:
            break
    return names


def with_few_samples(names, count=FEW) -> dict:
    """A notebook's names, changed: it draws `count` samples at each checkpoint, as 1,000 take longer than its steps."""
    for name in {"fixed_noise", "balanced_labels", "thousand"} & names.keys():
        names[name] = first(count, names[name])
    return names


def first(count, function):
    """What returns the first `count` of what a function returns. It still counts as that function."""

    @wraps(function)
    def few(*arguments):
        return function(*arguments)[:count]

    return few


def lesson(master, **overrides) -> dict:
    """The names of a solved notebook up to train(settings): networks, steps, and small `settings`."""
    return with_few_samples(execute(master, SMOKE | overrides, until="def train(settings):"))


def uncalled(name, source) -> str:
    """The source of a cell by its name; of a check's, without the call in its last line."""
    return source.rpartition("\ncheck_")[0] if name.startswith("check-") else source


@cache
@unmoved_by_cuda()
def before_todos(master) -> dict:
    """The names that a notebook's cells have defined when its first TODO comes."""
    names = {"__name__": "__main__"}
    for name, source in cells(master).items():
        if name.startswith("todo-"):
            return names
        exec(compile(source, f"{master.stem} {name}", "exec", dont_inherit=True), names)


@cache
@unmoved_by_cuda()
def before_launch(master) -> dict:
    """The names that a solved notebook's cells have defined when training begins: its functions, `train` too. No check
    is called."""
    names = {"__name__": "__main__"}
    for name, source in cells(master).items():
        if "run = launch(" in source:
            return with_few_samples(names)
        exec(compile(uncalled(name, source), f"{master.stem} {name}", "exec", dont_inherit=True), names)


@unmoved_by_cuda()
def check(master, todo, solution, alone=True) -> None:
    """Runs a notebook's cells from its first TODO to the check of `todo`, which gets the given solution. The checks
    before it are not called, unless it is not `alone`."""
    names = before_todos(master)  # itself: what a solution defines may take the place of something, as in a notebook
    before = dict(names)
    started = False
    try:
        for name, source in cells(master).items():
            started = started or name.startswith("todo-")
            last = name == f"check-{todo}"
            if name == f"todo-{todo}":
                source = solution
            elif alone and not last:
                source = uncalled(name, source)
            if started:
                exec(compile(source, f"{master.stem} {name}", "exec", dont_inherit=True), names)
            if last:
                return
    finally:
        names.clear()
        names.update(before)


def written(master) -> dict:
    """The planted mistakes and the other right answers of a notebook."""
    path = ROOT / f"baselines/mistakes/{master.stem}.toml"
    return toml.loads(path.read_text(encoding="utf-8"))


def solution_with(master, case) -> str:
    """The TODO cell of a solved notebook, changed as a case of `written` says."""
    source = cells(master)[f"todo-{case['todo']}"]
    if "cell" in case:  # the whole of it
        return case["cell"]
    if "body" in case:
        head, found, _ = source.rpartition("### BEGIN SOLUTION\n")
        assert found, f"no solution in {case['todo']}"
        return head.rstrip(" ") + case["body"].strip("\n") + "\n"
    assert case["old"] in source, f"{case['old']!r} is not in the solution of {case['todo']}"
    return source.replace(case["old"], case["new"])
