"""Face sets on disk, whole or not at all."""

import shutil

import pytest

from data.faceset import new_set
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
