"""The embedded network: what it promises about its numbers."""

import numpy as np
import pytest

from grader.features.anime import DIM, WEIGHTS, describe, load
from grader.features.reference import shipped_reference
from grader.metrics import afd as detector
from studies.reference import make_reference


@pytest.fixture(scope="module")
def network():
    return load()


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)


def test_weights_are_small():
    assert WEIGHTS.stat().st_size <= 3_000_000


def test_result_does_not_depend_on_the_batch_size(network, noise):
    features = describe(noise, 64, network=network)
    for size in (1, 7, 1000):
        other = describe(noise, size, network=network)
        assert np.abs(other - features).max() <= 1e-5 * np.abs(features).max()
        np.testing.assert_allclose(detector.faces(other), detector.faces(features), atol=1e-5)


def test_same_pictures_give_the_same_numbers(noise):
    first, second = describe(noise), describe(noise)  # each loads the network anew
    assert np.array_equal(first, second)
    assert first.shape == (70, DIM)
    assert first.dtype == detector.faces(first).dtype == np.float64


def test_progress_counts_pictures(network, noise):
    seen = []
    describe(noise, 32, seen.append, network)
    assert seen == [32, 32, 6]


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((2, 64, 64, 3)),
        np.zeros((2, 96, 96, 3), np.uint8),
        np.zeros((2, 3, 64, 64), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
        [[0]],
    ],
)
def test_wrong_pictures_are_refused(network, pictures):
    with pytest.raises(ValueError, match="pictures must be"):
        describe(pictures, network=network)


def test_reference_fits_the_weights():
    reference = shipped_reference().statistics
    assert reference.mean.shape == (DIM,)
    assert reference.count >= 1000
    np.testing.assert_array_equal(reference.covariance, reference.covariance.T)
    values = np.linalg.eigvalsh(reference.covariance)
    assert values.min() >= -1e-5 * values.max()


def test_reference_of_other_weights_is_refused(tmp_path, noise, monkeypatch):
    make_reference(noise, noise, "noise", tmp_path / "noise.safetensors")
    assert shipped_reference(tmp_path / "noise.safetensors").statistics.count == len(noise)
    monkeypatch.setattr("grader.features.anime.scale", lambda: "embedded-00000000")
    with pytest.raises(ValueError, match="no statistics of embedded-00000000"):
        shipped_reference(tmp_path / "noise.safetensors")
