"""Studies of a few lines: what is drawn in order, optimised, and made for the grader to read."""

import tarfile
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from grader.features import anime, imagenet
from grader.features.statistics import Statistics
from grader.inputs.known_faces import load_known
from grader.results import Measure
from studies import known_faces, optimised, order, reference, release


def shades(*values):
    """A picture uint8 [64, 64, 3] of each."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2).repeat(3, 3)


def means(pictures):
    return pictures.reshape(len(pictures), -1).mean(axis=1, keepdims=True)


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Submissions of pictures by what they are named, where they are read: their names are their shades."""
    for name in ("50", "100", "200"):
        (tmp_path / name).touch()
    sets = {name: shades(*range(int(name), int(name) + 20)) for name in ("50", "100", "200")}
    for module in (order, optimised):
        monkeypatch.setattr(module, "read_submission", lambda path: SimpleNamespace(pictures=sets[path.name]))
    return sets


def test_the_farthest_set_is_drawn_first(given, tmp_path, monkeypatch):
    real = SimpleNamespace(statistics=Statistics.of(means(given["100"])))
    monkeypatch.setattr(order, "shipped_reference", lambda: real)
    monkeypatch.setattr(imagenet, "describe", means)
    paths = [str(tmp_path / name) for name in ("100", "200", "50")]
    result = CliRunner().invoke(order.main, [*paths, "--output", str(tmp_path / "order.jpg")])
    assert result.exit_code == 0, result.output
    with order.Image.open(tmp_path / "order.jpg") as sheet:
        drawn = np.asarray(sheet)
    assert drawn.shape == (3 * 66, order.MARGIN + 64 * order.SHOWN, 3)
    for row, first in enumerate((200, 50, 100)):
        assert drawn[66 * row + 30, order.MARGIN + 30].mean() == pytest.approx(first, abs=2)
        assert drawn[66 * row + 30, order.MARGIN + 64 * 13 + 30].mean() == pytest.approx(first + 13, abs=2)
        assert drawn[66 * row : 66 * row + 64, : order.MARGIN].min() < 60  # its distance stands on the left


def test_pictures_are_moved_until_their_features_are_those_of_real_faces(given, tmp_path, monkeypatch):
    """Real faces are of 120 and 130, by a network that sees how bright a picture is."""
    monkeypatch.setattr(optimised, "NETWORKS", {"mean": SimpleNamespace(load=Brightness)})
    monkeypatch.setattr(optimised, "BATCH", 2)
    sample = np.array([[120.0], [130.0]]) / 255
    monkeypatch.setattr(optimised, "shipped_reference", lambda _: SimpleNamespace(sample=sample))
    pictures = given["100"][:4]
    moved = optimised.optimise(pictures, ["mean"], steps=60, rate=1.0)
    assert moved.shape == pictures.shape and moved.dtype == np.uint8
    assert means(moved)[:, 0] == pytest.approx([120, 130, 120, 130], abs=2)
    nearly = optimised.optimise(pictures, ["mean"], steps=5, rate=1.0)
    assert means(nearly)[:, 0] == pytest.approx([105, 106, 107, 108], abs=0.5)  # a grey level a step


class Brightness(torch.nn.Module):
    """Pictures float [B, 3, 64, 64] in 0..1 -> how bright they are [B, 1]."""

    def forward(self, x):
        return x.mean(dim=(1, 2, 3))[:, None]


def test_optimised_pictures_are_packed_as_the_course_takes_them(given, tmp_path, monkeypatch):
    monkeypatch.setattr(optimised, "optimise", lambda pictures, names, steps, rate: pictures + len(names))
    arguments = [str(tmp_path / "50"), "--output", str(tmp_path / "x.tgz"), "--network", "imagenet"]
    result = CliRunner().invoke(optimised.main, [*arguments, "--network", "anime"])
    assert result.exit_code == 0, result.output
    with tarfile.open(tmp_path / "x.tgz") as archive:
        names = archive.getnames()
        with order.Image.open(archive.extractfile("20.jpg")) as last:
            assert np.asarray(last).mean() == pytest.approx(50 + 19 + 2, abs=1)
    assert sorted(names, key=lambda name: int(name[:-4])) == [f"{number}.jpg" for number in range(1, 21)]


def test_known_faces_are_named_by_their_files_alone(tmp_path):
    rng = np.random.default_rng(0)
    for folder, number in (("a", 10), ("b", 9)):
        (tmp_path / "faces" / folder).mkdir(parents=True)
        picture = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        order.Image.fromarray(picture).save(tmp_path / "faces" / folder / f"{number}.png")
    result = CliRunner().invoke(known_faces.main, [str(tmp_path / "faces"), "--output", str(tmp_path / "known")])
    assert result.exit_code == 0, result.output
    known = load_known(tmp_path / "known")
    assert sorted(known.names) == ["10", "9"] and known.fingerprints.shape == (2, 48)


@pytest.fixture
def made(monkeypatch):
    """What the study of references writes, of 30 faces and 20 larger ones, whose shades are their numbers."""
    made = {}
    monkeypatch.setattr(reference, "SAMPLE", 4)
    monkeypatch.setattr(reference, "read_faces", lambda path: shades(*range(30)))
    larger = shades(*range(100, 120)).repeat(2, 1).repeat(2, 2)
    monkeypatch.setattr(reference, "read_originals", lambda path, odd: larger[odd::2])
    monkeypatch.setattr(reference, "make_reference", lambda network, *how: made.update({network.NAME: how}))
    monkeypatch.setattr(reference, "write_bytes", lambda path, data: made.update(released=data))
    monkeypatch.setattr(reference, "statistics", lambda G, weights: b"of the generator")
    monkeypatch.setattr(reference, "load_generator", lambda: None)
    return made


def test_a_reference_is_of_faces_that_no_sample_is_of(made, tmp_path):
    result = CliRunner().invoke(reference.main, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert {*made} == {imagenet.NAME, anime.NAME, "released"}
    for network in (imagenet, anime):
        faces, sample, recipe, path = made[network.NAME]
        seen = means(faces)[:, 0].round()
        assert seen.tolist() == pytest.approx([*(n for n in range(30) if n % 6 != 5), *range(100, 120, 2)], abs=1)
        assert means(sample)[:, 0].tolist() == [113, 115, 117, 119] and sample.shape == (4, 64, 64, 3)
        assert recipe.startswith("35 faces") and path == reference.shipped_path(network)


def test_what_the_generator_is_known_by_is_made_with_the_features_that_it_is_in(made, tmp_path):
    reference.make_references(tmp_path, [imagenet.NAME])
    assert {*made} == {imagenet.NAME}
    reference.make_references(tmp_path, [anime.NAME])
    assert made["released"] == b"of the generator"


def test_a_score_is_told_with_three_digits_or_so():
    values = {"FD-ImageNet": 131.24, "AFD": 0.98765, "KID": 2.345}
    score = SimpleNamespace(measures=[Measure(name, "", None, value) for name, value in values.items()])
    assert release.in_words(score) == "FD-ImageNet 131, AFD 0.988, KID 2.3"
    assert release.in_words(score, ("AFD", "precision")) == "AFD 0.988"


def test_samples_are_scored_as_they_come_and_with_z_made_weaker_and_stronger(monkeypatch):
    """A generator whose pictures are as bright as its z is strong."""
    asked = []

    @contextmanager
    def submission_of(pictures):
        yield pictures

    def score(pictures, metrics, offline):
        asked.append(metrics)
        verdicts = [SimpleNamespace(best=best) for best in (None, "Strong", "Simple")]
        integrity = SimpleNamespace(repeated=3)
        return SimpleNamespace(measures=[Measure("AFD", "", None, pictures)], verdicts=verdicts, integrity=integrity)

    monkeypatch.setattr(release, "submission_of", submission_of)
    monkeypatch.setattr(release.grader, "score", score)
    monkeypatch.setattr(release.play, "noise", lambda G, count, seed: 1.5)
    monkeypatch.setattr(release.play, "sample", lambda G, z: G * z)
    facts = release.scores(2)
    assert facts["score"] == "AFD 3.0" and facts["truncation"] == "z × 0.8: AFD 2.4; z × 1.2: AFD 3.6"
    assert facts["tier"] == "Strong, on the offline scale" and facts["near repeats"].startswith("3 of 1,000")
    assert asked[0] == release.METRICS and "integrity" not in asked[1]
