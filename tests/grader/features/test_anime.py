"""The embedded network: what it promises about its numbers."""

from itertools import islice

import numpy as np
import pytest

from grader.features import anime
from grader.features.anime import DIM, WEIGHTS, describe, load
from grader.features.reference import shipped_reference
from grader.inputs.archives import members
from grader.inputs.images import decode
from grader.metrics.frechet import frechet_distance
from studies.faces import FILTERS, read_faces, shrunk


@pytest.fixture(scope="module")
def network():
    return load()


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)


def test_weights_are_small():
    assert WEIGHTS.stat().st_size <= 3_000_000


def test_result_does_not_depend_on_the_batch_size(network, noise, monkeypatch):
    features = describe(noise, network=network)
    for size in (1, 7, 1000):
        monkeypatch.setattr(anime, "BATCH", size)
        other = describe(noise, network=network)
        assert np.abs(other - features).max() <= 1e-5 * np.abs(features).max()


def test_same_pictures_give_the_same_numbers(noise):
    first, second = describe(noise), describe(noise)  # each loads the network anew
    assert np.array_equal(first, second)
    assert first.shape == (70, DIM)
    assert first.dtype == np.float64


def test_progress_counts_pictures(network, noise):
    seen = []
    describe(noise, seen.append, network)
    assert seen == [64, 6]


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


def test_a_submission_is_farther_from_real_faces_than_any_way_to_shrink_them(network, shared):
    files = ((name, read) for name, read in members(shared / "crypko_1000_96px.zip") if name.endswith(".jpg"))
    originals = np.stack([decode(read())[0] for _, read in islice(files, 300)])
    reference = shipped_reference(anime).statistics
    real = [
        frechet_distance(describe(shrunk(originals, filter_name), network=network), reference)
        for filter_name in FILTERS
    ]
    names = ("judged_200_4", "gan_fair", "wgan_blurry", "gan_early_noisy")  # as a person ranks them
    submissions = [read_faces(shared / "submissions" / f"{name}.tgz")[:300] for name in names]
    distances = [frechet_distance(describe(pictures, network=network), reference) for pictures in submissions]
    assert max(real) <= 1.6 * min(real)
    assert max(real) <= 0.5 * min(distances)  # a third with 1,000 pictures: with fewer every set has a higher floor
    assert distances == sorted(distances)
