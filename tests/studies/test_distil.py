"""The distillation: what it shows the network, and that a training goes on where it was stopped."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from grader.errors import GraderError
from grader.features import anime
from studies import distil, self_supervised
from studies.faces import harmlessly, read_faces, read_originals, shrunk


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    sides = {"faces": 64, "originals": 96, "corrupted": 64, "generated": 64}
    return [
        distil.Set(group, rng.integers(0, 256, (100, side, side, 3), np.uint8), rng.normal(3, 2, (100, 1280)))
        for group, side in sides.items()
    ]


def test_the_targets_are_weighted_by_the_shares_of_groups():
    rng = np.random.default_rng(0)
    sets = [distil.Set(group, None, rng.normal(0, 1, (300, 1280))) for group in distil.SHARES]
    sets.append(distil.Set("generated", None, rng.normal(0, 1, (300, 1280))))
    sets[-1].features[:, 7] += 10  # half of the generated ones
    components = distil.Components.of(sets)
    assert components.mean[7] == pytest.approx(10 * distil.SHARES["generated"] / 2, abs=0.2)
    assert abs(components.directions[7, 0]) > 0.95  # the largest difference comes first
    assert components.of_features(sets[0].features).shape == (300, anime.DIM)
    assert (np.diff(components.variances) <= 0).all()


def test_a_worker_that_is_no_fork_makes_the_same_batches(sets):
    batches = distil.Batches([some.part(unseen=True) for some in sets], distil.Components.of(sets), range(1))
    ((pictures, targets),) = batches
    ((again, same),) = pickle.loads(pickle.dumps(batches))
    assert torch.equal(pictures, again) and torch.equal(targets, same)


def test_a_batch_is_the_same_after_a_stop(sets):
    components = distil.Components.of(sets)
    *_, (pictures, targets) = distil.Batches(sets, components, range(3))
    ((again, same),) = distil.Batches(sets, components, range(2, 3))
    assert pictures.shape == (distil.BATCH, 64, 64, 3)
    assert targets.shape == (distil.BATCH, anime.DIM)
    assert torch.equal(pictures, again)
    assert torch.equal(targets, same)


def test_the_fit_finds_a_linear_map(sets, monkeypatch):
    true = np.random.default_rng(1).normal(0, 0.05, (anime.POOLED, 1280))

    def means(_, pictures):  # of the pictures alone
        return np.random.default_rng(int(pictures.sum())).normal(0, 1, (len(pictures), anime.POOLED))

    monkeypatch.setattr(distil, "pooled", means)
    monkeypatch.setattr(distil, "harmlessly", lambda picture, _: picture)
    monkeypatch.setattr(distil, "ways", lambda originals: [originals])
    linear = [
        distil.Set(some.group, more, means(None, more) @ true + 7)
        for some in sets
        for more in [np.concatenate([some.pictures] * 4)]
    ]
    network, components = anime.FaceNet().eval(), distil.Components.of(linear)
    distil.fit(network, linear, components, ridge=1e-9)
    x = np.random.default_rng(2).normal(0, 1, (5, anime.POOLED))
    with torch.inference_mode():
        predicted = network.head(torch.from_numpy(x).float()).numpy()
    expected = components.of_features(x @ true + 7)
    assert np.abs(predicted - expected).mean() < 0.02 * np.abs(expected).mean()


def test_each_filter_and_each_way_to_store_is_a_set(sets):
    found = distil.ways(next(some for some in sets if some.group == "originals"))
    assert len(found) == 4 * len(distil.STORED)
    assert {some.pictures.shape for some in found} == {(25, 64, 64, 3)}
    assert {some.features.shape for some in found} == {(25, 1280)}


def test_training_goes_on_and_what_is_saved_gives_the_same_features(sets, tmp_path, capsys):
    distil.train(sets, tmp_path, steps=1)
    network = distil.train(sets, tmp_path, steps=2)
    assert "step 1/1" in (said := capsys.readouterr().out)
    assert "step 2/2" in said
    assert torch.load(tmp_path / "training.pt")["step"] == 2
    distil.save(network, tmp_path / "weights.safetensors")
    pictures = sets[0].pictures[:10]
    features = anime.describe(pictures, network=network)
    again = anime.describe(pictures, network=anime.load(tmp_path / "weights.safetensors"))
    np.testing.assert_allclose(again, features, atol=0.02 * np.abs(features).max())  # float16


def test_targets_are_kept_for_the_pictures_that_they_are_of(tmp_path, sets, monkeypatch):
    made = []
    monkeypatch.setattr(distil.teacher, "load", lambda: None)
    monkeypatch.setattr(distil.teacher, "features", lambda _, seen, **__: made.append(seen) or seen[:, 0, 0])
    for some in (sets[0], sets[0], sets[2]):  # of one name
        pictures = some.pictures
        monkeypatch.setattr(distil, "sources", lambda *_, pictures=pictures: {"x": ("faces", pictures, pictures)})
        (found,) = distil.gather(None, None, tmp_path)
        assert np.array_equal(found.features, pictures[:, 0, 0])
    assert len(made) == 2


def test_a_corrupted_set_shares_its_corruptions(monkeypatch):
    seen = []
    monkeypatch.setattr(distil, "KINDS", {kind: lambda p, *_, kind=kind: seen.append(kind) or p for kind in "abcdef"})
    faces = np.zeros((9, 64, 64, 3), np.uint8)
    assert distil.corrupted(faces, 20, np.random.default_rng(0)).shape == (20, 64, 64, 3)
    assert 1 <= len(set(seen)) <= 2
    assert len(seen) == 20 * len(set(seen))


def test_what_is_harmless_changes_a_picture_little():
    y, x = np.indices((96, 96))
    picture = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    versions = np.stack([harmlessly(picture, rng) for _ in range(20)])
    assert versions.shape == (20, 64, 64, 3)
    assert len(np.unique(versions, axis=0)) > 5
    expected = shrunk(picture[None])[0].astype(int)
    assert np.abs(versions - expected).mean() < 5


def test_a_run_that_is_missing_is_told_before_anything_is_read(tmp_path):
    for run in distil.TRAINED_ON:
        (tmp_path / run / "samples").mkdir(parents=True)
        (tmp_path / run / "samples/000500.tgz").touch()
    (tmp_path / distil.TRAINED_ON[2] / "samples/000500.tgz").unlink()
    arguments = [str(tmp_path), str(tmp_path), "--folder", str(tmp_path / "kept")]
    for command in (distil.main, self_supervised.main):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2 and result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"{tmp_path / distil.TRAINED_ON[2] / 'samples'}: no .tgz is there")


def test_new_weights_of_the_grader_need_a_new_reference(tmp_path, monkeypatch):
    monkeypatch.setattr(distil, "gather", lambda *_: None)
    monkeypatch.setattr(distil, "train", lambda *_: None)
    monkeypatch.setattr(distil, "save", lambda *_: None)
    arguments = [str(tmp_path), str(tmp_path), "--folder", str(tmp_path / "kept")]
    remedy = f"python -m studies.reference {tmp_path} --features anime"
    assert remedy in CliRunner().invoke(distil.main, arguments).stdout
    assert remedy not in CliRunner().invoke(distil.main, [*arguments, "--output", str(tmp_path / "other")]).stdout


@pytest.mark.parametrize("read", [read_faces, partial(read_originals, odd=True)])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, read):
    (tmp_path / "7.jpg").write_bytes(b"no picture")
    with pytest.raises(GraderError, match=r"7\.jpg is not a picture") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(GraderError, match="no such file or folder"):
        read(tmp_path / "missing")
