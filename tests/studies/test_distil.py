"""The distillation: a student that is the teacher's beginning, whose pictures do not depend on their batch."""

import numpy as np
import pytest
import torch

from studies import distil


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return distil.Student().eval()


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)


def test_a_picture_does_not_depend_on_its_batch(student, pictures):
    features = distil.describe(student, pictures)
    assert features.shape == (12, distil.COMPONENTS)
    alone = np.concatenate([distil.describe(student, pictures[i : i + 1]) for i in range(12)])
    np.testing.assert_allclose(features, alone, atol=1e-5 * np.abs(features).max())


def test_the_student_begins_with_the_convolutions_it_is_given(student, pictures):
    convs = [m for m in student.modules() if isinstance(m, torch.nn.Conv2d)]
    given = torch.nn.Sequential(*convs, torch.nn.Conv2d(192, 1280, 1))  # the teacher has more of them
    again = distil.student_of(given)
    with torch.inference_mode():
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        np.testing.assert_allclose(again.pooled(x), student.pooled(x), atol=1e-4)


def test_the_fit_finds_a_linear_map():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(20, 1280))
    pairs = {}
    for name in distil.SHARES:
        means = rng.normal(3, 2, (200, 20))
        pairs[name] = (means, means @ true + 7)
    weight, bias = distil.fit(pairs, ridge=1e-6)
    mean, directions, _ = distil.components({name: targets for name, (_, targets) in pairs.items()})
    x = rng.normal(3, 2, (5, 20))
    np.testing.assert_allclose(x @ weight.T + bias, (x @ true + 7 - mean) @ directions, atol=0.01)


def test_what_is_harmless_changes_a_picture_little():
    y, x = np.indices((96, 96))
    picture = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    versions = np.stack([distil.harmlessly(picture, rng) for _ in range(20)])
    assert versions.shape == (20, 64, 64, 3)
    assert len(np.unique(versions, axis=0)) > 5
    expected = distil.shrunk(picture[None])[0].astype(int)
    assert np.abs(versions - expected).mean() < 5
