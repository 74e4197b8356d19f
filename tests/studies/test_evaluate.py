"""The study of distances: a number is kept for the faces and the reference that it is of."""

import numpy as np
import pytest

from grader.errors import GraderError
from grader.features.statistics import Statistics
from studies.evaluate import Faces, Judge, Kept


def test_numbers_are_kept_for_the_faces_and_the_reference_that_they_are_of(tmp_path):
    path = tmp_path / "kept.json"
    one, other = (np.full((2, 64, 64, 3), shade, np.uint8) for shade in (1, 2))
    for real, wanted in ((one, 0.0), (one, 0.0), (other, 2.0), (one, 0.0)):
        kept = Kept.read(path, Faces(one, one, real, one, {"sent": one}))
        assert kept.get("row", lambda wanted=wanted: [wanted]) == [wanted]
    assert len(kept.numbers) == 2
    rows = np.random.default_rng(0).normal(size=(2, 5, 3))
    first, again, another = (Judge("scale", None, Statistics.of(rows[n])).key for n in (0, 0, 1))
    assert first == again != another


@pytest.mark.parametrize("text", ['{"ro', "[]", '{"seed": 3}'])
def test_a_file_of_numbers_that_is_torn_or_another_is_named(text, tmp_path):
    (tmp_path / "kept.json").write_text(text)
    one = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(GraderError, match=r"kept.json: holds no numbers of this study .*: name another --kept"):
        Kept.read(tmp_path / "kept.json", Faces(one, one, one, one, {}))
