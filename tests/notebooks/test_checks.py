"""The check cells: they catch every planted mistake with the right hint, and accept every other right answer."""

import os
import re
from functools import cache
from unittest import mock

import pytest
import torch

from baselines import translate
from baselines.build import masters, module_source
from baselines.definitions import BASELINES
from kit.checks import TORCH_SAYS, check_device, check_step, errors_in_words, output_of
from kit.translation import translator
from tests.helpers.notebook import before_todos, cells, check, solution_with, written

VANILLA = BASELINES / "01_gan.py"


def cases(kind):
    return [
        pytest.param(master, case, id=f"{master.stem}-{case['todo']}-{case['what']}")
        for master in masters()
        for case in written(master).get(kind, [])
    ]


@cache
def in_chinese(master):
    """Translates what a master's checks say."""
    tables = translate.read_table("kit") | translate.read_table(master.stem)
    return translator({template: text for template, text in tables.items() if text})


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """05's mistakes make folders where they run: one of them takes the package's own trainer."""
    before = {*os.listdir()}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("here"))
        yield
    assert not {"models", "results"} & ({*os.listdir()} - before)


@pytest.mark.parametrize(("master", "case"), cases("mistake"))
def test_a_mistake_gets_its_hint(master, case):
    with pytest.raises(AssertionError) as caught:
        check(master, case["todo"], solution_with(master, case))
    assert case["hint"] in str(caught.value)
    if translate.is_translated(master.stem):
        said = in_chinese(master)(str(caught.value))
        assert re.search(translate.CHINESE, said), f"not translated: {caught.value}"
        assert " and " not in said.partition("Error: ")[0], f"half of it is translated: {said}"  # torch says the rest


@pytest.mark.parametrize(("master", "case"), cases("right"))
def test_another_right_answer_passes(master, case, capsys):
    check(master, case["todo"], solution_with(master, case))
    said = capsys.readouterr().out
    assert f"{case['todo']}: done" in said
    assert case.get("remark", "") in said
    assert said.rpartition(f"{case['todo']}: done")[2].count("remark:") == ("remark" in case)


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_the_solved_notebook_is_done_without_remarks(master, capsys):
    todos = [name.removeprefix("todo-") for name in cells(master) if name.startswith("todo-")]
    check(master, todos[-1], cells(master)[f"todo-{todos[-1]}"], alone=False)
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.endswith(": done")] == [f"{todo}: done" for todo in todos]
    assert "remark" not in said


OURS = re.compile(  # names of the checks' own helpers that no student gives to theirs
    r"(check|right|tiny|labelled|watch|with)_\w+|(Tiny|Labelled)\w+|[A-Z_]+|(One)?Plane|Bowl"
    "|WatchedSGD|Waves|are_close|done|errors_in_words|explained|has_values|modes_of|norm_over_weights|nothing_left_behind|output_of|stand_ins|weighted_slopes"
)


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_no_helper_of_a_student_takes_the_place_of_one_of_the_checks(master):
    sources = [s for n, s in cells(master).items() if n.startswith("check-") or s.startswith("# @title What the check")]
    defined = {match for source in sources for match in re.findall(r"^(?:class |def )?(\w+)(?:[(:]| = )", source, re.M)}
    assert not [name for name in defined if not OURS.fullmatch(name)]


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("from random import random", "random"),
        ("from time import time", "time"),
        ("from copy import copy", "copy"),  # with which checks themselves would stop
        ("def sample(p):\n    return p", "sample"),
        ("class Run:\n    pass", "Run"),
        ("show = 3", "show"),
        ("import random, time, copy\nfrom random import random as dice\nfrom torch import nn", None),
        ("class Generator(nn.Module):\n    pass", None),  # others' networks may be tried
    ],
)
def test_what_takes_a_name_of_the_folded_cells_is_told(line, taken):
    source = f"{line}\n\n\n{cells(VANILLA)['todo-generator_step']}"
    if not taken:
        check(VANILLA, "generator_step", source)
        return
    with pytest.raises(AssertionError, match=f"^the folded cells use the name `{taken}`"):
        check(VANILLA, "generator_step", source)


def test_a_name_that_was_taken_stops_a_training_before_it_begins():
    names = before_todos(VANILLA)
    with (
        mock.patch.dict(names, show=lambda x: x),
        pytest.raises(SystemExit, match=r"^the folded cells use the name `show`"),
    ):
        names["launch"](lambda settings: 1 / 0, names["settings"])


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_a_folded_cell_may_be_run_again(master):
    names = before_todos(master)
    remembered = dict(names["KIT_NAMES"])
    assert len(remembered) > 100
    with mock.patch.dict(names):
        for source in cells(master).values():
            if "remember(globals()" in source:
                break
            exec(compile(source, f"{master.stem}, again", "exec", dont_inherit=True), names)
        names["KIT_NAMES"].update(remembered)
        assert not names["name_taken"](names)
        exec("# a remark in a folded cell\n" + module_source("device"), names)
        assert not names["name_taken"](names)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("Target size (6, 1) must be the same as input size (6)"), "targets of one shape"),
        (KeyError("real"), "stops with KeyError: 'real'"),
        (StopIteration(), "stops with StopIteration"),
        (NameError("name 'F' is not defined", name="F"), "F is not defined: write nn.functional"),
        (NameError("name 'netD' is not defined", name="netD"), "netD is not defined: take what the function gets"),
        (UnboundLocalError("cannot access local variable"), "stops with UnboundLocalError: cannot access"),
        (
            NotImplementedError('"sum" not implemented for Long\nmore'),
            'NotImplementedError: "sum" not implemented for Long',
        ),
        (AssertionError("a check's own words"), "a check's own words"),
    ],
)
def test_an_error_of_a_solution_is_told_in_a_line(error, line):
    with pytest.raises(AssertionError) as caught, errors_in_words(lambda said: f"it stops with {said}", TORCH_SAYS):
        raise error
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Found no NVIDIA driver on your system.\nCheck"),  # on a CPU
        AssertionError("Torch not compiled with CUDA enabled"),
        RuntimeError("Expected all tensors to be on the same device, but found"),
    ],
)
def test_a_tensor_on_another_device_is_told_in_every_check(error):
    with pytest.raises(AssertionError, match=r"^make new tensors on the device of those that you get"):
        output_of(mock.Mock(side_effect=error), torch.zeros(1), meanings={"of that check": "its hint"})


def test_a_gpu_that_has_stopped_is_told_in_every_check():
    stopped = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be …")
    with pytest.raises(AssertionError, match="restart the kernel"):
        output_of(mock.Mock(side_effect=stopped), torch.zeros(1))
    with pytest.raises(AssertionError, match="restart the kernel"):  # the next try, before its step begins
        check_step(None, None, {}, pair=mock.Mock(side_effect=stopped))


def test_an_error_names_the_shapes_of_tensors_where_there_are_any():
    with pytest.raises(AssertionError, match=r"^for \[2, 3\] it stops with KeyError: 1$"):
        output_of(mock.Mock(side_effect=KeyError(1)), torch.zeros(2, 3))
    with pytest.raises(AssertionError, match=r"^it stops with KeyError: 1$"):
        output_of(mock.Mock(side_effect=KeyError(1)), "a network")


def test_checks_run_on_the_cpu_where_a_card_is_too_old(monkeypatch):
    """Else the first check ends in CUDA's own words, before get_device() says what to do."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for error, device in ((RuntimeError("no kernel image is available"), "cpu"), (None, "cuda")):
        monkeypatch.setattr("torch.zeros", mock.Mock(side_effect=error))
        assert check_device.__wrapped__().type == device


@pytest.mark.parametrize("error", [NotImplementedError(), NotImplementedError("generate: fill in the cell above (…)")])
def test_a_todo_that_nobody_has_written_says_so_itself(error):
    with pytest.raises(NotImplementedError), errors_in_words(str, TORCH_SAYS):
        raise error
