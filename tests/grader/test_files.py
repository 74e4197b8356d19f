"""Names in their one order, and what systems leave behind."""

import pytest

from grader.files import left_behind, natural


def test_numbers_count_as_numbers():
    assert sorted(["10.jpg", "1.jpg", "2.jpg"], key=natural) == ["1.jpg", "2.jpg", "10.jpg"]
    assert sorted(["b/10", "b/9", "a1b10", "a1b2"], key=natural) == ["a1b2", "a1b10", "b/9", "b/10"]
    assert natural("02.jpg") != natural("2.jpg")


def test_a_number_may_have_any_number_of_digits():
    assert sorted(["9" * 10_000, "1" + "0" * 10_000, "8"], key=natural)[0] == "8"
    assert natural("1" + "0" * 10_000) > natural("9" * 10_000)


@pytest.mark.parametrize("name", ["__MACOSX", ".DS_Store", "._1.jpg", "Thumbs.db", "desktop.ini", "@eaDir", ".git"])
def test_left_behind(name):
    assert left_behind(name)


@pytest.mark.parametrize("name", ["Desktop.ini", "THUMBS.DB", ".ipynb_checkpoints", "leaderboard.html.parts"])
def test_left_behind_in_other_spellings_and_by_ourselves(name):
    assert left_behind(name)


@pytest.mark.parametrize("name", ["1.jpg", "..", "thumbs", "a.b", "parts"])
def test_put_there_by_a_person(name):
    assert not left_behind(name)
