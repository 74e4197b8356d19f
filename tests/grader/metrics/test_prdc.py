"""Precision, recall, density and coverage against the literal definition, closed forms and prdc."""

from itertools import compress
from math import dist
from statistics import median
from unittest.mock import ANY

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from grader.features.reference import shipped_reference
from grader.metrics.prdc import PRDC, prdc
from grader.metrics.registry import METRICS, Against, Sample
from grader.progress import silent
from tests.grader.metrics.test_kid import sample


def approx(precision, recall, density, coverage, typical_recall=ANY):
    shares = (precision, recall, density, coverage)
    return PRDC(*(pytest.approx(value, abs=1e-12) for value in shares), typical_recall)


def by_loops(features, real, k):
    """The definitions point by point, with Python's own distance."""

    def balls(points):
        """Each point with its distance to the k-th nearest of the others."""
        for i, point in enumerate(points):
            others = [other for j, other in enumerate(points) if j != i]
            yield point, sorted(dist(point, other) for other in others)[k - 1]

    features, real = features.tolist(), real.tolist()
    radii = [radius for _, radius in balls(features)]
    small = [radius <= median(radii) for radius in radii]
    hits = [[dist(x, y) < radius for y, radius in balls(real)] for x in features]  # [N, M]
    back = [[dist(y, x) < radius for x, radius in balls(features)] for y in real]  # [M, N]
    return approx(
        sum(any(row) for row in hits) / len(features),
        sum(any(row) for row in back) / len(real),
        sum(sum(row) for row in hits) / (k * len(features)),
        sum(any(column) for column in zip(*hits, strict=True)) / len(real),
        sum(any(compress(row, small)) for row in back) / len(real),
    )


@pytest.mark.parametrize(
    ("count", "real_count", "dim", "k"), [(20, 30, 3, 5), (30, 20, 1, 1), (7, 9, 40, 3), (6, 6, 2, 5)]
)
def test_agrees_with_the_literal_double_loop(count, real_count, dim, k):
    features, real = sample(count, dim, 1, shift=0.3, scale=0.8), sample(real_count, dim, 2)
    assert prdc(features, real, k) == by_loops(features, real, k)


@pytest.mark.parametrize("seed", range(5))
def test_ties_and_duplicates_agree_with_the_literal_double_loop(seed):
    """Points of a 3 x 3 x 3 grid: copies and equal distances everywhere, all of them exact."""
    rng = np.random.default_rng(seed)
    features, real = rng.integers(0, 3, (25, 3)), rng.integers(0, 3, (40, 3))
    assert prdc(features, real, 3) == by_loops(features, real, 3)


def test_a_case_by_hand():
    """On a line, k = 1. Real 0, 1, 3, 10 with radii 1, 1, 2, 7; features 0.5, 3.5, 30 with radii 3, 3, 26.5.

    0.5 lies in the balls of 0 and 1, 3.5 in those of 3 and 10, 30 in none. Of the real ones, 0, 1 and 3 lie within 3
    of 0.5, 10 within 26.5 of 30.
    """
    result = prdc(np.array([[0.5], [3.5], [30]]), np.array([[0.0], [1], [3], [10]]), k=1)
    assert result == approx(precision=2 / 3, recall=1, density=4 / 3, coverage=1)


def test_the_border_is_outside():
    """Real 0 and 1 with radius 1; feature 2 is at distance 1 from the nearest, feature −1 likewise."""
    features, real = np.array([[2.0], [-1]]), np.array([[0.0], [1]])
    assert prdc(features, real, k=1) == approx(precision=0, recall=1, density=0, coverage=0)
    assert prdc(features * 0.99, real, k=1) == approx(precision=1, recall=1, density=1, coverage=1)


@pytest.mark.parametrize(("count", "real_count", "k"), [(60, 60, 5), (40, 90, 3)])
def test_second_set_of_the_same_distribution(count, real_count, k):
    """Whatever the distribution: E density = 1, E coverage = 1 − Π (M−1−i) / (N+M−1−i), i < k (Naeem et al., lemma 2).

    400 draws, within 4 standard errors, of which the largest is 0.01.
    """
    rng = np.random.default_rng(3)
    draws = [prdc(rng.normal(size=(count, 4)), rng.normal(size=(real_count, 4)), k) for _ in range(400)]
    missed = np.prod([(real_count - 1 - i) / (count + real_count - 1 - i) for i in range(k)])
    for values, expected in (([m.density for m in draws], 1), ([m.coverage for m in draws], 1 - missed)):
        assert np.std(values) / 20 < 0.01
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / 20


@pytest.mark.parametrize(("count", "dim", "offset"), [(100, 6, 0), (51, 368, 0), (50, 3, 1e4), (6, 10, -1e4)])
def test_identical_sets_are_perfect_exactly(count, dim, offset):
    """Each ball holds itself and k − 1 more, its k-th neighbour lies on the border: density is 1 and not 1 + 1/k.

    Far from 0, distances from |x|² + |y|² − 2 x·y would round differently from either side.
    """
    features = sample(count, dim, 4, shift=offset)
    assert prdc(features, features[::-1]) == approx(1, 1, 1, 1)


def test_one_picture_repeated():
    """Its balls are empty. A real one lies in its own ball and in those of its neighbours; an unreal one in none."""
    real = sample(200, 6, 5) + 100
    picture = min(real, key=lambda point: dist(point, real.mean(axis=0)))  # others' near neighbour too
    balls = sum(dist(picture, point) < sorted(dist(point, other) for other in real)[5] for point in real)
    assert balls > 1
    assert prdc(np.tile(picture, (50, 1)), real) == approx(1, 0, balls / 5, balls / 200)
    assert prdc(np.tile(picture + 50, (50, 1)), real) == approx(0, 0, 0, 0)


def test_copies_among_the_real_ones():
    """Up to k − 1 copies of a point leave its ball a radius; with k it is empty, even for the same point."""
    points = sample(20, 4, 6)
    five, six = np.repeat(points, 5, axis=0), np.repeat(points, 6, axis=0)
    assert prdc(points, five) == approx(1, 1, 1, 1)  # radius: to the nearest other point
    assert prdc(points, six) == approx(0, 1, 0, 0)
    assert prdc(six, six) == approx(0, 0, 0, 0)


def test_a_missing_kind_costs_recall_and_coverage_alone():
    """Two far clusters of 30 and 10 real ones, of which the features copy the first."""
    first, second = sample(30, 5, 7), sample(10, 5, 8, shift=100)
    assert prdc(first, np.concatenate([first, second])) == approx(1, 0.75, 1, 0.75)


def test_an_unreal_kind_costs_precision_and_density_alone():
    first, second = sample(30, 5, 9), sample(10, 5, 10, shift=100)
    assert prdc(np.concatenate([first, second]), first) == approx(0.75, 1, 0.75, 1)


def test_precision_is_recall_the_other_way_round():
    a, b = sample(60, 4, 11), sample(80, 4, 12, shift=0.8)
    there, back = prdc(a, b), prdc(b, a)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert there.precision != there.recall


def test_order_shift_and_scale_do_not_matter():
    features, real = sample(60, 4, 13, scale=0.7), sample(80, 4, 14)
    expected = prdc(features, real)
    assert prdc(features[::-1], real[::-1]) == expected
    assert prdc(features * 1e3 - 1e3, real * 1e3 - 1e3) == expected
    assert prdc(features, real, k=3) != expected


def test_values_of_prdc():
    """Of prdc 0.2, compute_prdc, for numbers from the one generator of NumPy whose stream never changes."""
    for (count, real_count, dim, shift, scale, k, seed), published in (
        ((40, 50, 6, 0.3, 1, 5, 0), (0.925, 0.9, 0.98, 0.94)),
        ((50, 40, 6, 0, 0.7, 3, 1), (0.98, 0.45, 1.78, 0.925)),
        ((30, 30, 64, 0.1, 1, 5, 2), (0.9333333333333333, 0.7, 1.3666666666666667, 1.0)),
    ):
        frozen = np.random.RandomState(seed)
        features, real = scale * frozen.randn(count, dim) + shift, frozen.randn(real_count, dim)
        assert prdc(features, real, k) == approx(*published)


@pytest.mark.parametrize("bad", [np.ones((1, 4)), np.ones(4), np.ones((0, 4)), np.array([[1.0] * 4, [np.nan] * 4])])
def test_bad_features_are_errors_not_numbers(bad):
    with pytest.raises(ValueError, match="feature"):
        prdc(bad, sample(10, 4, 17), k=1)
    with pytest.raises(ValueError, match="feature"):
        prdc(sample(10, 4, 17), bad, k=1)


def test_too_few_for_k_neighbours_is_an_error():
    few, many = sample(5, 4, 18), sample(6, 4, 19)
    for features, real, k, says in (
        (few, many, 5, "needs 6 pictures or more"),
        (many, few, 5, "needs 6 real faces or more"),
        (many, many, 6, "needs 7 pictures"),
        (many, many, 0, "no 0-th neighbour"),
    ):
        with pytest.raises(ValueError, match=says):
            prdc(features, real, k)
    assert prdc(many, many, 5).coverage == 1


def test_different_dimensions_are_an_error():
    with pytest.raises(ValueError, match="4 dimensions, the real ones have 5"):
        prdc(sample(10, 4, 20), sample(10, 5, 21))


def test_coverage_tells_a_varied_set_from_a_collapsed_one_where_recall_does_not():
    """Many dimensions, pictures that vary nearly as real ones and are a little off: no real one is as near to them as
    they are to each other. What collapsed onto five real ones is no farther from them."""
    real = sample(300, 200, 22)
    varied, five = sample(300, 200, 23, shift=0.4, scale=0.9), np.repeat(sample(5, 200, 24), 60, axis=0)
    varied, collapsed = prdc(varied, real), prdc(five + sample(300, 200, 25, scale=0.1), real)
    assert varied.recall < 0.05
    assert collapsed.recall == 0
    assert varied.coverage > 5 * collapsed.coverage


def test_many_pictures_are_taken_in_parts(monkeypatch):
    features, real = sample(50, 4, 26, scale=0.7), sample(70, 4, 27)
    whole = prdc(features, real)
    monkeypatch.setattr("grader.metrics.prdc.ROWS", 20)
    assert prdc(features, real) == whole


def test_a_few_pictures_of_another_kind_do_not_make_a_set_as_varied_as_real_faces():
    """Their balls reach over all real features; those of the set do not."""
    real, poor = sample(1000, 20, 31), sample(980, 20, 32, shift=3, scale=0.1)
    mixed = np.concatenate([poor, sample(20, 20, 33, scale=0.8)])
    assert prdc(mixed, real).recall > 0.5 and not of(mixed, real).varied
    assert of(sample(1000, 20, 34), real).varied
    assert not of(sample(999, 20, 34), real).varied  # of fewer it is not known


def test_shares_are_computed_once(monkeypatch):
    """They take a second, and are asked for twice: as measures, and for what they tell of pieces of faces."""
    calls = []
    monkeypatch.setattr("grader.metrics.prdc.cdist", lambda *sets: calls.append(sets) or cdist(*sets))
    some, real = sample(1000, 20, 34), shipped_reference()
    one = of(some, real.sample[:, :20])
    assert one.varied is not None and METRICS["prdc"](one, Against(real))[1].value == one.shares.recall
    assert len(calls) == 1


def of(features, real):
    return Sample(None, features, None, silent, real)
