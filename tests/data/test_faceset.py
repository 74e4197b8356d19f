"""Face sets on disk, whole or not at all."""

import shutil

import pytest

from data.faceset import ABOUT, new_set
from grader import files
from grader.files import CannotWrite


def remove_on_the_way(output):
    with new_set(output) as write:
        write("hair/1.png", b"")
        write("2.png", b"")
        (unfinished,) = output.parent.iterdir()
        shutil.rmtree(unfinished)
        write("3.png", b"")


def test_a_set_that_somebody_removes_on_the_way_is_not_begun_anew(tmp_path):
    """It would be renamed without the files before."""
    with pytest.raises(CannotWrite, match="set"):
        remove_on_the_way(tmp_path / "set")
    assert not [*tmp_path.iterdir()]


def test_an_old_set_is_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    def refuse(source, target):
        raise CannotWrite(13, "Permission denied", str(target))

    def replace_it():
        with new_set(tmp_path / "set", overwrite=True) as write:
            write(ABOUT, b"new")

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ABOUT).write_text("old")
    monkeypatch.setattr(files, "move", refuse)  # the last step; the old one is moved away by faceset's own
    with pytest.raises(CannotWrite):
        replace_it()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set" / ABOUT).read_text() == "old"
