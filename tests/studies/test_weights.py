"""Training runs, and the shipped weights see what a person sees."""

import numpy as np
import pytest
from click.testing import CliRunner

from grader.features import imagenet
from grader.features.imagenet import DIM
from grader.features.reference import shipped_reference
from grader.metrics import afd as detector
from grader.metrics.frechet import frechet_distance
from studies import train_detector
from studies.corruptions import KINDS, no_face
from studies.faces import read_faces


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["noise", "flat", "gradient", "texture"])
def test_no_face_in_pictures_without_one(kind):
    rng = np.random.default_rng(1)
    pictures = np.stack([no_face(kind, np.zeros((1, 64, 64, 3), np.uint8), rng) for _ in range(100)])
    assert detector.ratio(imagenet.describe(pictures)) <= 0.02


def test_every_corruption_keeps_the_format_and_starts_harmless(noise):
    rng = np.random.default_rng(0)
    for corrupt in KINDS.values():
        for severity in (0.0, 0.5, 1.0):
            result = corrupt(noise[0], severity, rng, noise[1])
            assert result.shape == (64, 64, 3)
            assert result.dtype == np.uint8
    for kind in KINDS.keys() - {"jpeg"}:
        np.testing.assert_array_equal(KINDS[kind](noise[0], 0.0, rng, noise[1]), noise[0])


@pytest.fixture(scope="module")
def judged(shared):
    """Distance and share of faces of 1,000 real faces, of the same as JPEG, and of each submission."""
    real, reference, rng = (
        read_faces(shared / "crypko_1000_96px.zip"),
        shipped_reference().statistics,
        np.random.default_rng(0),
    )
    sets = {"real": real, "real jpeg": np.stack([KINDS["jpeg"](face, 20 / 90, rng, face) for face in real])}
    sets |= {path.stem: read_faces(path) for path in (shared / "submissions").glob("*.tgz")}
    verdicts = {}
    for name, pictures in sets.items():
        features = imagenet.describe(pictures)
        verdicts[name] = frechet_distance(features, reference), detector.ratio(features)
    return verdicts


def test_distance_ranks_as_a_person_does(judged):
    distance = {name: verdict[0] for name, verdict in judged.items()}
    assert 3 * max(distance["real"], distance["real jpeg"]) < distance["judged_200_4"]
    assert distance["judged_200_4"] < distance["judged_150_4"] < distance["judged_90_5"] < distance["gan_fair"]
    assert distance["gan_fair"] < distance["wgan_blurry"]
    assert distance["wgan_blurry"] < min(distance["gan_early_noisy"], distance["gan_overexposed"])


def test_detector_ranks_as_a_person_does(judged):
    share = {name: verdict[1] for name, verdict in judged.items()}
    assert share["real"] >= 0.95
    assert share["real jpeg"] >= 0.95
    assert share["judged_200_4"] > share["judged_90_5"] + 0.05
    assert min(share["judged_150_4"], share["judged_90_5"]) > share["gan_fair"] > 0.3 + share["wgan_blurry"]
    assert max(share["gan_early_noisy"], share["gan_overexposed"]) <= 0.02


def test_detector_knows_another_style_and_upright_faces(shared):
    tagged = read_faces(shared / "tagged_3000_64px.zip")[5::6]  # the part that training holds out
    assert detector.ratio(imagenet.describe(tagged)) >= 0.95
    rng = np.random.default_rng(0)
    for kind in ("patches", "upside down"):
        pictures = np.stack([no_face(kind, tagged, rng) for _ in range(200)])
        assert detector.ratio(imagenet.describe(pictures)) <= 0.02


def test_face_probabilities_follow_bayes(monkeypatch):
    """It finds half of the real faces and a tenth of what is none; of the moment it finds .3, so half are faces."""
    found = {"real": 0.5, "none": 0.1, "moment": 0.3, "early": 0.05}
    monkeypatch.setattr(train_detector, "cascade_faces", lambda kind, _: np.arange(100) < 100 * found[kind])
    moment, early = train_detector.face_probabilities(["moment", "early"], "real", "none", None)
    np.testing.assert_allclose(moment[:30], 0.5 * 0.5 / 0.3)
    np.testing.assert_allclose(moment[30:], 0.5 * 0.5 / 0.7)
    assert moment.mean() == pytest.approx(0.5)
    assert early.max() == 0  # fewer than among pictures without a face


def test_detector_training_gives_the_probabilities_of_its_labels():
    """Faces with probability 1, .7 and 0 in three places of the feature space are told so."""
    rng = np.random.default_rng(0)
    features = np.concatenate([place + rng.normal(size=(2000, DIM)) for place in rng.normal(size=(3, DIM))])
    labels = np.repeat([1, 0.7, 0], 2000)
    trained = train_detector.train(features, labels, epochs=6, seed=0, batch=32)
    shares = detector.probabilities(features, trained).reshape(3, 2000).mean(axis=1)
    assert shares == pytest.approx([1, 0.7, 0], abs=0.05)


@pytest.mark.long
def test_detector_training_runs(rendered, tmp_path, monkeypatch):
    monkeypatch.setattr(train_detector, "cascade_faces", lambda pictures, _: pictures.mean(axis=(1, 2, 3)) > 128)
    monkeypatch.setattr(train_detector, "checked_cascade", lambda path: path)
    args = [str(rendered), "--cascade", str(rendered / "about.json"), "--output", str(tmp_path / "weights")]
    args += ["--examples", "300", "--epochs", "40", "--negative-steps", "20"]
    assert CliRunner().invoke(train_detector.main, args, catch_exceptions=False).exit_code == 0
    faces, rng, trained = read_faces(rendered), np.random.default_rng(2), detector.load(tmp_path / "weights")
    none = np.stack([no_face(kind, faces, rng) for kind in ("noise", "flat", "gradient", "texture") for _ in range(25)])
    faces, none = (detector.probabilities(imagenet.describe(one), trained) for one in (faces, none))
    assert faces.mean() > 0.5 and none.mean() < 0.15, (faces.mean(), none.mean())  # untrained: .5 and .5


def test_a_new_detector_is_said_to_be_on_no_scale(rendered, tmp_path, monkeypatch):
    """And a run that cannot be read is told before anything is trained."""
    trained = detector.Detector()
    monkeypatch.setattr(train_detector, "load_cascade", lambda path: None)
    arguments = [str(rendered), "--cascade", str(rendered / "about.json"), "--output", str(tmp_path / "weights")]
    monkeypatch.setattr(train_detector, "make_hard_negatives", None)
    result = CliRunner().invoke(train_detector.main, [*arguments, "--run", str(tmp_path)])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and str(tmp_path) in result.stderr
    none = np.zeros((1, 64, 64, 3), np.uint8)
    monkeypatch.setattr(train_detector, "make_hard_negatives", lambda *_: (none, [none]))
    monkeypatch.setattr(train_detector, "face_probabilities", lambda *_: [np.zeros(1)])
    monkeypatch.setattr(train_detector, "examples", lambda *_: (none, None))
    monkeypatch.setattr(train_detector, "train", lambda *_: trained)
    result = CliRunner().invoke(train_detector.main, arguments, catch_exceptions=False)
    scale = detector.scale_of_weights(tmp_path / "weights")
    assert f"{scale}, which grader/thresholds.toml does not know" in result.stderr
    monkeypatch.setattr(train_detector, "load_thresholds", lambda: {"scale": [{"by": scale}]})
    assert scale not in CliRunner().invoke(train_detector.main, arguments).stderr
