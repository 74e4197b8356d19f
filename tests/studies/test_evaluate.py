"""The study of distances: its sets, its tables, and that a number is kept for what it is of."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from grader.errors import GraderError
from grader.features.statistics import Statistics
from grader.metrics.frechet import frechet_distance
from studies import evaluate
from studies.evaluate import Faces, Judge, Kept


def test_numbers_are_kept_for_the_faces_and_the_reference_that_they_are_of(tmp_path):
    path = tmp_path / "kept.json"
    one, other = (np.full((2, 64, 64, 3), shade, np.uint8) for shade in (1, 2))
    for real, wanted in ((one, 0.0), (one, 0.0), (other, 2.0), (one, 0.0)):
        kept = Kept.read(path, Faces(one, one, real, one, {"sent": one}))
        assert kept.get("row", lambda wanted=wanted: [wanted]) == [wanted]
    assert len(kept.numbers) == 2
    rows = np.random.default_rng(0).normal(size=(2, 5, 3))
    first, again, another = (Judge("scale", None, Statistics.of(rows[n])).key for n in (0, 0, 1))
    assert first == again != another


@pytest.mark.parametrize("text", ['{"ro', "[]", '{"seed": 3}'])
def test_a_file_of_numbers_that_is_torn_or_another_is_named(text, tmp_path):
    (tmp_path / "kept.json").write_text(text)
    one = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(GraderError, match=r"kept.json: holds no numbers of this study .*: name another --kept"):
        Kept.read(tmp_path / "kept.json", Faces(one, one, one, one, {}))


@pytest.fixture(scope="module")
def faces():
    """Coarse random pictures, of which every one is another."""
    every = np.random.default_rng(0).integers(0, 256, (160, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    sent = {name: every[n : n + 8] for n, name in enumerate(evaluate.SUBMISSIONS)}
    return Faces(every[:100], every[100:140], every[140:150], every[150:], sent)


@pytest.mark.parametrize("kind", evaluate.UNSEEN)
def test_a_corruption_that_no_training_knew_grows_from_nothing(kind, faces):
    before = faces.real.astype(int)
    changes = [np.abs(evaluate.corrupted(kind, faces.real, severity) - before).mean() for severity in (0, 0.15, 0.8)]
    assert changes[0] <= 1 and changes[0] + 2 < changes[1] < changes[2] - 2  # a hue is rounded
    assert evaluate.corrupted(kind, faces.real, 0.5).dtype == np.uint8
    np.testing.assert_array_equal(*(evaluate.corrupted(kind, faces.real, 0.5) for _ in range(2)))


def test_an_unknown_corruption_does_what_its_name_says():
    rng, picture = np.random.default_rng(0), np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 200, 100, 0
    torn = evaluate.UNSEEN["torn rows"](picture, 1, rng, None)
    assert (torn.mean(axis=1) == picture.mean(axis=1)).all() and not (torn == torn[0]).all()
    assert evaluate.UNSEEN["hue"](picture, 1, rng, None)[0, 40].tolist() == pytest.approx([0, 100, 200], abs=3)
    fine = rng.integers(0, 256, (64, 64, 3), np.uint8)
    assert len(np.unique(evaluate.UNSEEN["pixelate"](fine, 0.9, rng, None).reshape(-1, 3), axis=0)) <= 12**2


def test_the_other_face_of_a_corruption_is_the_next_one(faces):
    halves = evaluate.corrupted("ghost", faces.real, 1)
    expected = (faces.real.astype(float) + np.roll(faces.real, 1, axis=0)) / 2
    assert np.abs(halves - expected).max() <= 1


def test_the_sets_of_a_row_are_in_the_order_that_a_judge_should_see(faces):
    rows = evaluate.series(faces)
    assert [*rows][:4] == ["another domain", *evaluate.UNSEEN] and {*rows} > {*evaluate.KINDS}
    known = {face.tobytes() for face in faces.real}
    mixed = rows["another domain"]()
    assert [sum(face.tobytes() not in known for face in some) for some in mixed] == [0, 2, 3, 5, 8]
    np.testing.assert_array_equal(rows["blur"]()[3], evaluate.corrupted("blur", faces.real, 0.5))
    (clustered,) = evaluate.modes(faces).values()
    counts = [len({face.tobytes() for face in some}) for some in clustered()]
    assert counts == sorted({*counts}, reverse=True) and counts[0] > 100 and counts[-1] == 1
    (judged,) = evaluate.people(faces).values()
    assert judged()[0] is faces.real and judged()[-1] is faces.submissions["gan_overexposed"]


def test_a_rank_is_how_well_distances_are_in_order():
    assert evaluate.rank([1, 3, 9, 27]) == 1 and evaluate.rank([4, 3, 2, 1]) == -1
    assert evaluate.rank([1, 3, 2]) == 0.5


def test_the_tables_tell_the_ranks_of_each_judge_and_numbers_that_are_kept(faces, tmp_path, monkeypatch, capsys):
    """A judge that looks at the shades of coarse pictures, and one that is always wrong."""

    def features(pictures):
        return pictures[:, ::16, ::16].reshape(len(pictures), -1).astype(float)

    reference = Statistics.of(features(faces.real))
    good, bad = (evaluate.Judge(name, features, reference) for name in ("good", "bad"))
    monkeypatch.setattr(bad, "distance", lambda pictures: -good.distance(pictures))
    monkeypatch.setattr(evaluate, "_invariance_and_speed", lambda real: print(f"speed of {len(real)}"))
    monkeypatch.setattr(evaluate, "copies", lambda pictures, known: [*pictures[:3]])
    for _ in range(2):
        kept = Kept.read(tmp_path / "kept.json", faces)
        evaluate.study(faces, {"ImageNet": good, "anime": bad}, kept)
        monkeypatch.setattr(evaluate, "kmeans2", pytest.fail)  # no set is made again
    first, again = capsys.readouterr().out.split("Distances by ")[1:]
    assert first == again
    for kind in ("another domain", "fade", "overexposure"):
        (row,) = (line for line in first.splitlines() if line.startswith(f"{kind} "))
        assert row[40:60].split() == ["1.00", "-1.00"], row
    assert "speed of 10\n\nImageNet\nFloor: 5 draws of 1,000 faces held out" in first
    assert f"copied: {good.distance(faces.train):.2f}, and 3 named as copies" in first
    others = Statistics.of(features(faces.held_out))
    assert f"distance to 40 others\n250         {frechet_distance(features(faces.train), others):.2f}" in first


def test_a_judge_is_zero_for_its_own_faces_and_inception_is_asked_for(faces, monkeypatch):
    monkeypatch.setattr(evaluate.inception, "load", lambda weights: weights)
    monkeypatch.setattr(evaluate.devices, "features", lambda network, pictures: pictures[:, ::32, 0, 0] / 1.0)
    assert [*evaluate.judges_of(faces, None)] == ["ImageNet", "anime"]
    judge = evaluate.judges_of(faces, "weights")["Inception"]
    assert judge.distance(faces.held_out) < 0.001 < judge.distance(faces.real)


def test_how_a_picture_is_described_alone_and_how_fast_is_told(faces, monkeypatch, capsys):
    whole = SimpleNamespace(scale=lambda: "by all", DIM=1, describe=lambda p: np.full((len(p), 1), float(len(p))))
    alone = SimpleNamespace(scale=lambda: "by itself", DIM=2, describe=lambda p: p[:, 0, 0, :2] / 1.0)
    monkeypatch.setattr(evaluate, "OURS", {"ImageNet": whole, "anime": alone})
    evaluate._invariance_and_speed(faces.real)
    by_all, by_itself = (line for line in capsys.readouterr().out.splitlines() if line)
    assert by_all.startswith("by all: 1 features") and by_all.endswith("one by one they change by 9.0e-01")
    assert by_itself.startswith("by itself: 2 features") and by_itself.endswith("one by one they change by 0.0e+00")


def test_the_faces_of_the_study_are_split_as_the_trainings_split_them(tmp_path, monkeypatch):
    read = {}

    def pictures(path):
        read[path.name] = len(read)
        return np.full((12, 64, 64, 3), read[path.name], np.uint8)

    monkeypatch.setattr(evaluate, "read_faces", pictures)
    faces = Faces.read(tmp_path)
    assert [len(some) for some in (faces.train, faces.held_out, faces.real, faces.tagged)] == [10, 2, 12, 2]
    assert (faces.tagged == read["tagged_3000_64px.zip"]).all() and [*faces.submissions] == [*evaluate.SUBMISSIONS]


def test_the_command_judges_with_inception_only_where_its_weights_are(faces, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Faces, "read", lambda shared: faces)
    monkeypatch.setattr(evaluate, "judges_of", lambda _, weights: asked.append(weights))
    monkeypatch.setattr(evaluate, "study", lambda faces, judges, kept: asked.append(kept.path))
    weights = tmp_path / "weights"
    weights.touch()
    for more in ([], ["--weights", str(weights), "--kept", str(tmp_path / "kept.json")]):
        result = CliRunner().invoke(evaluate.main, ["--shared", str(tmp_path), *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert asked == [None, None, weights, tmp_path / "kept.json"]
