"""Pictures of the shipped generator: told from others by a distance. tests/notebooks/test_sample.py has real ones."""

import numpy as np
import pytest

from grader.features import anime
from grader.features.reference import shipped_reference
from grader.metrics import released


@pytest.mark.parametrize(("distance", "named"), [(9.9, True), (10, False)])
def test_the_limit_is_a_distance_of_ten(monkeypatch, distance, named):
    monkeypatch.setattr(released, "frechet_distance", lambda features, own: distance)
    assert released.released(np.zeros((2, anime.DIM))) == named


def test_real_faces_are_not_named():
    assert not released.released(shipped_reference(anime).sample)
