"""The kernel distance against the literal formula, the moments it compares, and torch-fidelity."""

import numpy as np
import pytest

from grader.metrics.kid import kernel_distance


def sample(count, dim, seed, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, size=(count, dim))


def published_pair(shift):
    """60 and 60 features of 8 dimensions, from the one generator of NumPy whose stream is promised never to change."""
    frozen = np.random.RandomState(0)
    return frozen.randn(60, 8) + shift, frozen.randn(60, 8)


def by_loops(x, y):
    """The paper's formula pair by pair."""

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return sum((sum(a[i] * b[j]) / len(a[i]) + 1) ** 3 for i, j in pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize(("count", "real_count", "dim"), [(2, 2, 3), (3, 5, 1), (12, 17, 4), (9, 6, 30)])
def test_agrees_with_the_literal_double_loop(count, real_count, dim):
    x, y = sample(count, dim, 1, shift=0.4), sample(real_count, dim, 2)
    assert kernel_distance(x, y).value == pytest.approx(by_loops(x, y), rel=1e-12, abs=1e-12)


def test_one_dimension_from_sums_of_powers():
    """(xy + 1)³ = 1 + 3xy + 3x²y² + x³y³, and the mean of (xy)ᵖ over i ≠ j is ((Σxᵖ)² − Σx²ᵖ) / (N (N−1))."""
    x, y = sample(400, 1, 3, shift=0.2), sample(700, 1, 4, scale=1.3)
    expected = 0.0
    for power, weight in ((1, 3), (2, 3), (3, 1)):
        p, q = x**power, y**power
        within = (p.sum() ** 2 - (p**2).sum()) / (400 * 399) + (q.sum() ** 2 - (q**2).sum()) / (700 * 699)
        expected += weight * (within - 2 * p.mean() * q.mean())
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.3, 1.5)])
def test_expectation_is_the_closed_form_for_normal_distributions(shift, scale):
    """d = 1: 3 Δm₁² + 3 Δm₂² + Δm₃² with the moments of N(μ, σ²); 0 where the distributions are the same.

    400 draws, within 4 standard errors. Counting a picture with itself would add at least 0.35, 3 to 20 times that.
    """
    expected = 3 * shift**2 + 3 * (shift**2 + scale**2 - 1) ** 2 + (shift**3 + 3 * shift * scale**2) ** 2
    rng = np.random.default_rng(5)
    draws = [kernel_distance(rng.normal(shift, scale, (20, 1)), rng.normal(size=(30, 1)), 1).value for _ in range(400)]
    assert abs(np.mean(draws) - expected) < 4 * np.std(draws) / 20


def test_below_zero_is_not_clipped():
    """The value of a set against itself: 2/N times the mean kernel over different pictures less that over equal ones.

    The distributions could not be closer; about half of all draws from one distribution are negative as well.
    """
    x = sample(100, 8, 6)
    kernel = (x @ x.T / 8 + 1) ** 3
    expected = 2 / 100 * ((kernel.sum() - np.trace(kernel)) / (100 * 99) - np.trace(kernel) / 100)
    assert expected < -0.1
    assert kernel_distance(x, x).value == pytest.approx(expected, rel=1e-9)
    draws = [kernel_distance(sample(50, 8, seed), sample(50, 8, seed + 1000), 1).value for seed in range(100)]
    assert 30 < np.sum(np.array(draws) < 0) < 80


def test_two_pictures_repeated():
    """No spread in either set: k(a, a) + k(b, b) − 2 k(a, b), and the same in every subset."""
    a, b = sample(2, 5, 7)
    result = kernel_distance(np.tile(a, (50, 1)), np.tile(b, (30, 1)))
    expected = (a @ a / 5 + 1) ** 3 + (b @ b / 5 + 1) ** 3 - 2 * (a @ b / 5 + 1) ** 3
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.spread == pytest.approx(0, abs=1e-9)


def test_invariances():
    x, y = sample(40, 6, 8, shift=0.3), sample(70, 6, 9)
    value = kernel_distance(x, y).value
    turn = np.linalg.qr(sample(6, 6, 10))[0]
    assert kernel_distance(y, x).value == pytest.approx(value, rel=1e-9)
    assert kernel_distance(x[::-1], y[::-1]).value == pytest.approx(value, rel=1e-9)
    assert kernel_distance(x @ turn, y @ turn).value == pytest.approx(value, rel=1e-9)


def test_grows_with_the_strength_of_a_change():
    values = [kernel_distance(sample(200, 8, 11, shift), sample(300, 8, 12)).value for shift in (0, 0.1, 0.2, 0.4, 0.8)]
    assert values == sorted(values) and abs(values[0]) < 0.1 < values[-1]


@pytest.mark.parametrize(("shift", "factor"), [(1.0, 1.0), (0.0, 3**0.5)])
def test_spread_over_halves_is_the_standard_error(shift, factor):
    """Against the standard deviation over 300 new draws: as large when the sets differ, √3 times when they do not."""
    rng = np.random.default_rng(13)
    results = [kernel_distance(rng.normal(shift, 1, (60, 3)), rng.normal(size=(80, 3))) for _ in range(300)]
    error = np.std([result.value for result in results])
    assert np.sqrt(np.mean([result.spread**2 for result in results])) == pytest.approx(factor * error, rel=0.15)


def test_spread_is_that_of_the_subsets():
    """Exhaustive: halves of 4 and 3, which are 2 of each, each as likely as any other."""
    x, y = sample(4, 2, 14, shift=0.5), sample(3, 2, 15)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    every = [by_loops(x[list(i)], y[list(j)]) for i in pairs for j in pairs if 3 not in j]
    drawn = kernel_distance(x, y, subsets=5000)
    assert drawn.spread == pytest.approx(np.std(every), rel=0.05)
    assert drawn.value == pytest.approx(np.mean(every), rel=1e-9)  # the mean over all subsets is the whole estimate

    assert kernel_distance(x, y, subsets=1).spread == 0  # the whole sets are not one of the subsets
    assert kernel_distance(x[:2], y).spread > 0  # halves of 2 and 3 would be too few for pairs


def test_deterministic_and_the_value_depends_on_no_draw():
    x, y = sample(30, 4, 16), sample(40, 4, 17, shift=0.2)
    first, again, other = kernel_distance(x, y), kernel_distance(x, y), kernel_distance(x, y, subsets=7)
    assert first == again
    assert other.value == pytest.approx(first.value, rel=1e-12) and other.spread != first.spread


def test_values_of_torch_fidelity():
    """Of torch-fidelity 0.4.0, kid_features_to_metric: all 60 at once, and the ± over 1,000 subsets of 30."""
    for shift, value, spread in ((0.0, 0.022460139382510125, 0.114169), (0.5, 1.3124086929366467, 0.367828)):
        ours = kernel_distance(*published_pair(shift), subsets=1000)
        assert ours.value == pytest.approx(value, rel=1e-9)
        assert ours.spread == pytest.approx(spread, rel=0.1)  # other subsets are drawn: 2 % a standard error, each


def test_many_pictures_are_taken_in_parts(monkeypatch):
    features, real = sample(50, 4, 20, scale=0.7), sample(70, 4, 21)
    whole = kernel_distance(features, real)
    monkeypatch.setattr("grader.metrics.kid.ROWS", 20)
    parts = kernel_distance(features, real)
    assert (parts.value, parts.spread) == pytest.approx((whole.value, whole.spread), rel=1e-9)


def test_features_fewer_than_dimensions_and_far_from_zero():
    """Large features lose digits in proportion to the kernel, 1e−16 of it, and no more."""
    x, y = sample(10, 368, 22, shift=30), sample(12, 368, 23, shift=30)
    assert kernel_distance(x, y).value == pytest.approx(by_loops(x, y), abs=1e-12 * 900**3)


@pytest.mark.parametrize("bad", [np.ones((1, 4)), np.ones(4), np.ones((0, 4)), np.array([[1.0] * 4, [np.nan] * 4])])
def test_bad_features_are_errors_not_numbers(bad):
    with pytest.raises(ValueError, match="feature"):
        kernel_distance(bad, sample(10, 4, 24))
    with pytest.raises(ValueError, match="feature"):
        kernel_distance(sample(10, 4, 24), bad)


def test_different_dimensions_are_an_error():
    with pytest.raises(ValueError, match="4 dimensions, the real ones have 5"):
        kernel_distance(sample(10, 4, 25), sample(10, 5, 26))


def test_no_subset_is_an_error():
    with pytest.raises(ValueError, match="at least 1 subset"):
        kernel_distance(sample(20, 4, 27), sample(10, 4, 28), subsets=0)
