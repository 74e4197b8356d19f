"""The distillation: resumable, and a student whose pictures do not depend on their batch."""

import numpy as np
import pytest
import torch

from studies import distil


@pytest.fixture
def pairs():
    """Random pictures with random targets, of every group."""
    rng = np.random.default_rng(0)

    def group(side):
        return rng.integers(0, 256, (300, side, side, 3), np.uint8), rng.normal(size=(300, 1280)).astype(np.float32)

    return {name: group(96 if name == "originals" else 64) for name in distil.SHARES}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(distil, "STAGES", ((4, 1), (4, 0), (4, 0), (4, 0)))
    monkeypatch.setattr(distil, "BATCH", 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_stopped_training_goes_on_to_the_same_weights(pairs, tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    expected = distil.train(pairs, whole, steps=52, lr=1e-3, seed=0)

    real_batch_of, calls = distil.batch_of, []

    def stops(*args):
        calls.append(args)
        if len(calls) == 52:  # after the state of step 50 is kept
            raise KeyboardInterrupt
        return real_batch_of(*args)

    monkeypatch.setattr(distil, "batch_of", stops)
    with pytest.raises(KeyboardInterrupt):
        distil.train(pairs, halves, steps=52, lr=1e-3, seed=0)
    monkeypatch.setattr(distil, "batch_of", real_batch_of)
    found = distil.train(pairs, halves, steps=52, lr=1e-3, seed=0)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name


def test_a_folded_student_sees_the_same_and_no_batch(pairs):
    torch.manual_seed(0)
    student = distil.Student()
    pictures = pairs["faces"][0][:20]
    with torch.no_grad():
        student(distil._tensor(pictures))  # running statistics that are not the initial ones
        plain = distil.folded(student)
        expected = student(distil._tensor(pictures)).numpy()
    features = distil.describe(plain, pictures)
    assert features.shape == (20, distil.COMPONENTS)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    alone = np.concatenate([distil.describe(plain, pictures[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(features, alone, atol=1e-6)


def test_what_is_harmless_changes_a_picture_little():
    y, x = np.indices((96, 96))
    picture = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    versions = np.stack([distil.harmlessly(picture, rng) for _ in range(20)])
    assert versions.shape == (20, 64, 64, 3)
    assert len(np.unique(versions, axis=0)) > 5
    expected = distil.shrunk(picture[None])[0].astype(int)
    assert np.abs(versions - expected).mean() < 5


def test_components_are_the_targets_own(pairs):
    _, directions, variances = distil.components(pairs)
    assert directions.shape == (1280, distil.COMPONENTS)
    np.testing.assert_allclose(directions.T @ directions, np.eye(distil.COMPONENTS), atol=1e-4)
    assert (np.diff(variances) <= 1e-6).all()
