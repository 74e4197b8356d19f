"""Pictures of the shipped generator, told by two distances; tests/notebooks/test_sample.py has real ones."""

import numpy as np
import pytest

from grader.features import anime
from grader.features.reference import shipped_reference
from grader.metrics import released


@pytest.mark.parametrize(("to_ours", "named"), [(11.9, True), (12.1, False)])
def test_pictures_are_ours_at_less_than_a_share_of_the_distance_to_real_faces(monkeypatch, to_ours, named):
    monkeypatch.setattr(released, "frechet_distance", lambda features, other: 20 if other == "real" else to_ours)
    assert released.released(np.zeros((2, anime.DIM)), "real") == named


def test_real_faces_are_not_named():
    real = shipped_reference(anime)
    assert not released.released(real.sample, real.statistics)
