"""Pictures that are nearly faces, made from a few, and the examples that the detector learns from."""

from types import SimpleNamespace

import numpy as np
import pytest

from studies import hard_negatives, train_detector
from studies.faces import shifted


@pytest.fixture
def faces():
    """Two smooth pictures, and all that lies between them: their pixels vary in one way only."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(60, 190, (2, 4, 4, 3)).repeat(16, 1).repeat(16, 2)
    return np.stack([first + (second - first) * share for share in rng.random(30)]).astype(np.uint8)


def test_eigenfaces_vary_as_the_faces_do(faces):
    drawn = hard_negatives.eigenfaces(faces, 300, np.random.default_rng(1))
    assert drawn.shape == (300, 64, 64, 3) and drawn.dtype == np.uint8
    assert np.abs(drawn.mean(axis=0) - faces.mean(axis=0)).mean() < 4
    assert drawn.std(axis=0).mean() == pytest.approx(faces.std(axis=0).mean(), rel=0.2)
    along = (faces - faces.mean(axis=0)).reshape(30, -1)
    along = along[0] / np.linalg.norm(along[0])
    rest = (drawn - faces.mean(axis=0)).reshape(300, -1)
    assert np.linalg.norm(rest @ along) > 0.95 * np.linalg.norm(rest)  # they leave the line by rounding only


def test_a_generator_is_shown_at_twenty_moments_while_it_learns(monkeypatch):
    """What it learns from is white."""
    for name, value in {"WIDTH": 2, "BATCH": 4, "GENERATORS": ((4, 0.02),)}.items():
        monkeypatch.setattr(hard_negatives, name, value)
    white = np.full((5, 64, 64, 3), 255, np.uint8)
    drawn, moments = hard_negatives.make_hard_negatives(white, steps=40, seed=3)
    assert drawn.shape == (10, 64, 64, 3) and drawn.min() >= 254
    assert [some.shape for some in moments] == 20 * [(100, 64, 64, 3)]
    brightness = [some.mean() for some in moments]
    assert brightness[0] == pytest.approx(128, abs=5) and brightness[5] + 20 < brightness[10] < brightness[19] - 20


@pytest.mark.parametrize("kernel", [4, 5])
def test_a_generator_makes_pictures_whichever_its_kernel(kernel):
    generator, critic = hard_negatives._generator(kernel).eval(), hard_negatives._critic().eval()
    pictures = generator(hard_negatives.torch.randn(2, hard_negatives.Z))
    assert pictures.shape == (2, 3, 64, 64) and pictures.abs().max() <= 1 and critic(pictures).shape == (2,)


def test_a_picture_is_moved_a_little_and_mirrored_half_of_the_time():
    picture = np.indices((64, 64))[1].astype(np.uint8)[..., None].repeat(3, 2)  # its columns have numbers
    picture[..., 1] = picture[..., 0].T
    rng = np.random.default_rng(0)
    seen = np.stack([shifted(picture, rng) for _ in range(200)])[:, 20, 20, :2].astype(int)
    mirrored = seen[:, 0] > 32
    assert 70 < mirrored.sum() < 130
    assert {*seen[~mirrored, 0]} == {*range(17, 24)} == {*seen[:, 1]}  # by up to three, also downwards
    assert {*seen[mirrored, 0]} == {*range(40, 47)}  # 63 - 20, ± 3


def drawn(count, kinds, tolerance, monkeypatch):
    """Examples of white faces, of negatives that are faces by .3, and of pictures that are none, which are black."""
    monkeypatch.setattr(train_detector, "KINDS", kinds)
    monkeypatch.setattr(train_detector, "TOLERANCE", dict.fromkeys(kinds, tolerance))
    monkeypatch.setattr(train_detector, "no_face", lambda kind, faces, rng: np.zeros_like(faces[0]))
    faces, none = np.full((3, 64, 64, 3), 255, np.uint8), np.full((5, 64, 64, 3), 99, np.uint8)
    return train_detector.examples([faces, faces], (none, np.full(5, 0.3)), count, np.random.default_rng(0))


def test_an_example_is_called_a_face_by_what_it_is_made_of(monkeypatch):
    harmless = dict.fromkeys(("jpeg", "blur", "noise"), lambda picture, *_: picture)
    pictures, labels = drawn(600, harmless, (1, 2), monkeypatch)
    assert pictures.shape == (600, 64, 64, 3) and pictures.dtype == np.uint8
    for shade, label, share in ((0, 0, 0.15), (99, 0.3, 0.35), (255, 1, 0.5)):
        these = (pictures == shade).all(axis=(1, 2, 3))
        assert these.mean() == pytest.approx(share, abs=0.06) and (labels[these] == label).all()


def test_an_example_is_less_of_a_face_the_more_it_is_corrupted(monkeypatch):
    def reddened(picture, severity, rng, other):
        return np.stack([np.full((64, 64), 255 - 100 * severity), *picture[..., 1:].transpose(2, 0, 1)], axis=-1)

    kinds = {"jpeg": lambda picture, *_: picture, "blur": reddened}
    pictures, labels = drawn(600, kinds, (0.2, 0.7), monkeypatch)
    corrupted = (pictures[:, 0, 0, 0] < 255) & (pictures[:, 0, 0, 1] == 255)
    severity = (255 - pictures[corrupted, 0, 0, 0]) / 100
    expected = np.clip((0.7 - severity) / 0.5, 0, 1)
    assert corrupted.sum() > 50 and (labels[corrupted] <= expected + 0.03).all()  # jpeg may take the rest
    assert np.median(np.abs(labels[corrupted] - expected)) < 0.03 and {0, 1} <= {*labels[corrupted]}


def test_a_detector_learns_from_faces_generators_and_runs(faces, monkeypatch):
    """A negative is as much of a face as its moment is, halved, and an eigenface hardly one."""
    given = SimpleNamespace()
    moments = [np.full((n, 64, 64, 3), n, np.uint8) for n in (2, 3)]
    monkeypatch.setattr(train_detector, "make_hard_negatives", lambda *_: (faces[:4], moments[:1]))
    monkeypatch.setattr(train_detector, "face_probabilities", lambda all, *_: [np.full(len(one), 0.8) for one in all])
    monkeypatch.setattr(train_detector, "examples", lambda *arguments: vars(given).update(all=arguments) or ("x", "y"))
    monkeypatch.setattr(train_detector, "imagenet", SimpleNamespace(describe=lambda x: f"features of {x}"))
    monkeypatch.setattr(train_detector, "train", lambda *arguments: arguments)
    trained = train_detector.train_on([faces], moments[1:], None, count=7, epochs=2, steps=20, seed=5)
    assert trained == ("features of x", "y", 2, 5)
    styles, (pictures, probabilities), count, _ = given.all
    assert styles == [faces] and count == 7
    assert pictures[4:, 0, 0, 0].tolist() == [2, 2, 3, 3, 3]
    assert probabilities.tolist() == [0.02] * 4 + [0.4] * 5
