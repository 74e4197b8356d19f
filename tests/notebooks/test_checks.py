"""The check cells: they catch every planted mistake with the right hint, and accept every other right answer."""

import re
from functools import cache

import pytest

from baselines import translate
from baselines.build import masters
from kit.checks import TORCH_SAYS, errors_in_words
from kit.translation import translator
from tests.helpers.notebook import cells, check, solution_with, written


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


@pytest.mark.parametrize(("master", "case"), cases("mistake"))
def test_a_mistake_gets_its_hint(master, case):
    with pytest.raises(AssertionError) as caught:
        check(master, case["todo"], solution_with(master, case))
    assert case["hint"] in str(caught.value)
    if translate.is_translated(master.stem):
        assert re.search(translate.CHINESE, in_chinese(master)(str(caught.value))), f"not translated: {caught.value}"


@pytest.mark.parametrize(("master", "case"), cases("right"))
def test_another_right_answer_passes(master, case, capsys):
    check(master, case["todo"], solution_with(master, case))
    said = capsys.readouterr().out
    assert f"{case['todo']}: done" in said
    assert case.get("remark", "") in said
    assert ("remark:" in said.rpartition(f"{case['todo']}: done")[2]) == ("remark" in case)


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_the_solved_notebook_is_done_without_remarks(master, capsys):
    todos = [name.removeprefix("todo-") for name in cells(master) if name.startswith("todo-")]
    check(master, todos[-1], cells(master)[f"todo-{todos[-1]}"], alone=False)
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.endswith(": done")] == [f"{todo}: done" for todo in todos]
    assert "remark" not in said


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("Found no NVIDIA driver on your system.\nCheck"), "on the device of the pictures"),  # on a CPU
        (AssertionError("Torch not compiled with CUDA enabled"), "on the device of the pictures"),
        (RuntimeError("Expected all tensors to be on the same device, but found"), "on the device of the pictures"),
        (ValueError("Target size (6, 1) must be the same as input size (6)"), "targets of one shape"),
        (KeyError("real"), "stops with KeyError: 'real'"),
        (StopIteration(), "stops with StopIteration"),
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


@pytest.mark.parametrize("error", [NotImplementedError(), NotImplementedError("generate: fill in the cell above (…)")])
def test_a_todo_that_nobody_has_written_says_so_itself(error):
    with pytest.raises(NotImplementedError), errors_in_words(str, TORCH_SAYS):
        raise error
