"""The Fréchet distance against closed forms, scipy's matrix square root, and pytorch-fid."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from grader.features.statistics import Statistics
from grader.metrics.frechet import frechet_distance


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def sample(rng):
    def sample(count, dim, rank=None, shift=0.0):
        mixing = rng.normal(size=(rank or dim, dim))
        return rng.normal(size=(count, rank or dim)) @ mixing + shift

    return sample


def by_square_root(a: Statistics, b: Statistics) -> float:
    root = sqrtm(a.covariance @ b.covariance)
    return float(
        np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root).real
    )


def exact(mean, covariance):
    """Features whose statistics are exactly these: the corners of a scaled cross."""
    dim = len(mean)
    corners = np.concatenate([np.eye(dim), -np.eye(dim)]) * np.sqrt((2 * dim - 1) / 2)  # unit covariance, mean 0
    return corners @ np.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_closed_form_for_commuting_covariances(dim, rng):
    """Diagonal covariances: Σ (μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    mean_a, mean_b = rng.normal(size=(2, dim))
    sd_a, sd_b = rng.uniform(0.5, 2, size=(2, dim))
    a, b = exact(mean_a, np.diag(sd_a**2)), exact(mean_b, np.diag(sd_b**2))
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((sd_a - sd_b) ** 2)
    assert frechet_distance(a, Statistics.of(b)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(50, 8), (9, 8), (8, 8), (500, 64)])
def test_agrees_with_scipy_square_root(count, dim, sample):
    features, reference = sample(count, dim), Statistics.of(sample(1000, dim, shift=0.3))
    expected = by_square_root(Statistics.of(features), reference)
    assert frechet_distance(features, reference) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("count", "dim", "rank"), [(20, 64, None), (200, 64, 5), (40, 40, 3)])
def test_singular_covariances(count, dim, rank, sample):
    """N < d, or features that fill only a subspace. Both forms must give what the singular values of X L give."""
    features, reference = sample(count, dim, rank), Statistics.of(sample(300, dim, rank))
    rows = (features - features.mean(0)) / np.sqrt(count - 1)
    values, vectors = np.linalg.eigh(reference.covariance)
    nuclear = np.linalg.svd(rows @ (vectors * np.sqrt(values.clip(0))), compute_uv=False).sum()
    expected = np.sum((features.mean(0) - reference.mean) ** 2) + np.sum(rows**2) + np.trace(reference.covariance)
    expected -= 2 * nuclear
    assert frechet_distance(features, reference) == pytest.approx(expected, rel=1e-6)


def test_agrees_with_pytorch_fid(monkeypatch, sample):
    from pytorch_fid import fid_score

    # it still passes `disp`, which SciPy 1.18 has dropped
    monkeypatch.setattr(fid_score.linalg, "sqrtm", lambda matrix, disp: (sqrtm(matrix), None))
    features, other = sample(400, 32), sample(900, 32, shift=0.2)
    a, b = Statistics.of(features), Statistics.of(other)
    theirs = fid_score.calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(features, b) == pytest.approx(theirs, abs=1e-4 * theirs)


@pytest.mark.parametrize(("count", "dim"), [(300, 16), (10, 64)])
def test_identical_sets_are_at_distance_zero(count, dim, sample):
    """About half of them would round to less."""
    for features in (sample(count, dim) for _ in range(10)):
        assert 0 <= frechet_distance(features, Statistics.of(features)) < 1e-4


def test_one_picture_repeated(sample, rng):
    """No spread at all: the mean's distance plus the whole variance of the reference."""
    reference = Statistics.of(sample(100, 6))
    one = np.repeat(rng.normal(size=(1, 6)), 50, axis=0)
    expected = np.sum((one[0] - reference.mean) ** 2) + np.trace(reference.covariance)
    assert frechet_distance(one, reference) == pytest.approx(expected, rel=1e-6)


def test_streamed_statistics_equal_those_at_once(sample):
    features = sample(1000, 12) + 1e4  # far from 0: summed squares would lose 8 digits
    whole, streamed = Statistics.of(features), Statistics.streamed(np.array_split(features, [1, 10, 400]))
    np.testing.assert_allclose(streamed.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, whole.covariance, rtol=1e-9)
    assert streamed.count == 1000


@pytest.mark.parametrize("bad", [np.ones((1, 4)), np.ones(4), np.array([[1.0, np.nan], [1, 2]])])
def test_bad_features_are_errors_not_numbers(bad, sample):
    with pytest.raises(ValueError, match="feature"):
        Statistics.of(bad)
    with pytest.raises(ValueError, match="feature"):
        frechet_distance(bad, Statistics.of(sample(10, 4)))
    with pytest.raises(ValueError, match="feature"):
        Statistics.streamed([np.atleast_2d(bad)[:1], np.atleast_2d(bad)[1:]] if bad.ndim == 2 else [])


def test_different_dimensions_are_an_error(sample):
    with pytest.raises(ValueError, match="dimensions"):
        frechet_distance(sample(10, 4), Statistics.of(sample(10, 5)))


def test_statistics_without_some_of_the_vectors():
    rows = np.random.default_rng(0).normal(3, 2, size=(500, 4))
    less, exact = Statistics.of(rows).without(rows[:200]), Statistics.of(rows[200:])
    np.testing.assert_allclose(less.mean, exact.mean, rtol=1e-12)
    np.testing.assert_allclose(less.covariance, exact.covariance, rtol=1e-10, atol=1e-12)
    assert less.count == 300
    with pytest.raises(ValueError, match="too few"):
        Statistics.of(rows).without(rows[1:])
