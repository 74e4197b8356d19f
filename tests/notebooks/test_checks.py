"""The check cells: they catch every planted mistake with the right hint, and accept every other right answer."""

import re
from functools import cache

import pytest

from baselines import translate
from baselines.build import masters
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
    check(master, todos[-1], cells(master)[f"todo-{todos[-1]}"])
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.endswith(": done")] == [f"{todo}: done" for todo in todos]
    assert "remark" not in said
