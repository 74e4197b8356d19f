"""Signs of optimised pictures: each by itself, and none for honest measures."""

import numpy as np
import pytest

from grader.features.reference import Reference
from grader.features.statistics import Statistics
from grader.metrics import optimised
from grader.metrics.optimised import FEW, SIGNS, moved, not_looked_for, signs
from grader.results import Measure

PICTURES = np.zeros((FEW, 64, 64, 3), np.uint8)


@pytest.fixture
def real():
    return Reference("crypko", "lite0-128", Statistics(np.zeros(2), np.eye(2), 5000))


@pytest.fixture
def features(monkeypatch):
    """Features at a distance of 9 or so, which half a pixel does not change."""
    rows = np.random.default_rng(0).normal(size=(FEW, 2)) + 3 / np.sqrt(2)
    monkeypatch.setattr(optimised.imagenet, "describe", lambda pictures: rows)
    return rows


def measures(distance=337.0, second=25.0, found=0.8, seen=0.48):
    return [
        Measure("FD-ImageNet", "lite0-128", "crypko", distance, floor=73.0),
        Measure("FD-anime", "embedded-1", "crypko", second, floor=6.0),
        Measure("AFD", "embedded-2", None, found),
        Measure("AFD", "lbpcascade-3", None, seen),
    ]


@pytest.mark.parametrize(
    ("distance", "second", "found", "seen"),
    [
        (337, 25, 0.8, 0.48),
        (420, 41, 0.7, 0.49),
        (477, 69, 0.6, 0.48),
        (953, 502, 0.02, 0.42),
        (75, 7, 0.96, 0.52),
        (143, 26, 0.99, 0.7),  # a run of 10 on a CPU
        (183, 29, 0.99, 0.65),  # and one on a GPU
        (252, 54.9, 0.988, 0.488),  # preset cpu
    ],
)
def test_honest_sets_show_none(real, features, distance, second, found, seen):
    assert signs(PICTURES, features, real, measures(distance, second, found, seen)) == []


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"distance": 181.0, "second": 170.0}, "FD-anime is 170; honest sets with this FD-ImageNet have 66 at most"),
        ({"distance": 180.0, "second": 79.0}, "FD-anime is 79; honest sets with this FD-ImageNet have 66 at most"),
        ({"distance": 330.0, "second": 150.0}, "FD-anime is 150; honest sets with this FD-ImageNet have 123.4 at most"),
        ({"distance": 50.0, "second": 7.0}, "FD-ImageNet is 50, and as many real faces have 73"),
        ({"found": 0.95, "seen": 0.2}, "finds faces in 95% of them, lbpcascade in 20%"),
    ],
)
def test_each_sign(real, features, change, sign):
    (line,) = signs(PICTURES, features, real, measures(**change))
    assert sign in line


def test_a_distance_that_half_a_pixel_changes(real, features, monkeypatch):
    monkeypatch.setattr(optimised.imagenet, "describe", lambda pictures: features * 1.2)
    first, line = signs(PICTURES, features, real, measures(second=170.0))
    assert "FD-anime is 170" in first and "moved by half a pixel, their distance is" in line


def test_pictures_are_moved_only_where_it_can_ask_for_a_review(real, features, monkeypatch):
    monkeypatch.delattr(optimised.imagenet, "describe")
    assert signs(PICTURES, features, real, measures()) == []


def test_half_a_pixel_is_looked_at_where_there_is_no_second_opinion(real, features, monkeypatch):
    monkeypatch.setattr(optimised.imagenet, "describe", lambda pictures: features * 1.2)
    for some in (measures(second=None), [one for one in measures() if one.measure != "FD-anime"]):
        (line,) = signs(PICTURES, features, real, some)
        assert "moved by half a pixel" in line
        assert not_looked_for(some, [line]) == [
            "signs of optimised pictures, or of the shipped generator, were not all looked for, and one shows: "
            "add fd-anime to --metrics"
        ]
    assert len(signs(PICTURES, features, real, measures(distance=50.0, second=None))) == SIGNS
    (line,) = not_looked_for(measures()[2:], [])
    assert line.endswith("were not all looked for: add fd-imagenet,fd-anime to --metrics")
    (line,) = not_looked_for([one for one in measures() if one.by != "embedded-2"], [])
    assert line == "signs of optimised pictures were not all looked for: add afd to --metrics"
    assert not_looked_for(measures(), []) == []


def test_whether_the_cascade_would_show_a_sign_is_told_where_it_could():
    (line,) = not_looked_for(measures(found=0.95, seen=None), [])
    assert line == "signs of optimised pictures were not all looked for: without lbpcascade nothing checks the high AFD"
    assert not_looked_for(measures(found=0.89, seen=None), []) == []  # too few faces for that sign


def test_no_places_are_known_where_pictures_are_not_moved(real, monkeypatch):
    """Else a part of them, left as it is, would hide the rest."""
    looked_at = []

    def describe(some):
        looked_at.append(some[:, 0, 0, 0].astype(int) * 256 + some[:, 0, 0, 1])
        return np.random.default_rng(0).normal(size=(len(some), 2))

    monkeypatch.setattr(optimised.imagenet, "describe", describe)
    monkeypatch.setattr(optimised, "moved", lambda some: some)
    rows = np.random.default_rng(0).normal(size=(1000, 2))
    pictures = np.zeros((1000, 64, 64, 3), np.uint8)
    pictures[:, 0, 0, :2] = np.stack(np.divmod(np.arange(1000), 256), axis=1)
    for last in (0, 0, 1):
        pictures[-1, -1, -1, -1] = last
        signs(pictures, rows, real, measures(second=170.0))
    first, again, other = looked_at
    assert len(set(first)) == FEW and first.tolist() == again.tolist()  # the same score each time
    assert len({*first} & {*other}) < 150  # 90 are expected


def test_what_was_not_measured_shows_nothing(real, features):
    assert signs(PICTURES, features, real, []) == []
    assert signs(PICTURES, features, real, measures(second=None, seen=None)) == []


def test_half_a_pixel_is_the_mean_of_neighbours():
    ramp = np.broadcast_to(np.arange(0, 128, 2, dtype=np.uint8)[None, None, :, None], (1, 64, 64, 3))
    assert (moved(ramp)[0, :, :-1] == ramp[0, :, :-1] + 1).all()
