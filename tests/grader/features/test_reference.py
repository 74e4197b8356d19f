"""References: cached by content, read from pytorch-fid's .npz, and told apart by what is in them."""

import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from grader import result_cache
from grader.features import reference
from grader.features.statistics import SAMPLE, Statistics
from grader.inputs.faces import BadReference, face_set_name
from grader.inputs.images import decode, jpeg
from grader.metrics.frechet import floor, floors, frechet_distance
from grader.scoring import described


def mean_colours(batch):
    return batch.reshape(len(batch), -1, 3).mean(axis=1)


@pytest.fixture
def counted():
    """mean_colours, and how many pictures it was given."""
    calls = []

    def extract(batch):
        calls.append(len(batch))
        return mean_colours(batch)

    return extract, calls


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_computed_once_for_the_same_content(rendered, tmp_path, counted, cache):
    extract, calls = counted
    first = reference.of_faces(rendered, "colours", extract, floors)
    assert (first.faces, first.features, first.statistics.count) == ("rendered", "colours", 300)
    copy = tmp_path / "copy"
    shutil.copytree(rendered, copy)
    again = reference.of_faces(copy, "colours", extract, floors)
    assert sum(calls) == 300  # the same pictures elsewhere: not computed again
    np.testing.assert_array_equal(again.statistics.covariance, first.statistics.covariance)
    reference.of_faces(copy, "other features", extract, floors)
    assert sum(calls) == 600
    (copy / "0.png").unlink()
    assert reference.of_faces(copy, "colours", extract, floors).statistics.count == 299
    assert [path.name[:10] for path in cache.iterdir()] == ["reference-"] * 3  # and nothing unfinished


def test_the_cache_keeps_those_that_were_used_last(rendered, counted, cache):
    """One of each set of faces that was ever named filled a disk of gigabytes."""
    extract, calls = counted
    cache.mkdir()
    others = [cache / f"reference-{number:024x}.safetensors" for number in range(reference.MOST_KEPT)]
    for age, path in enumerate(others, 1):
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    own = [cache / "pt_inception.pth", cache / "reference-of-mine.safetensors"]
    for path in own:
        path.touch()
        os.utime(path, (0, 0))
    reference.of_faces(rendered, "colours", extract, floors)
    (made,) = {*cache.glob("reference-*")}.difference(others, own)
    assert {*cache.iterdir()} == {*others[:-1], made, *own}
    os.utime(made, (0, 0))
    reference.of_faces(rendered, "colours", extract, floors)  # only read
    reference.of_faces(rendered, "others", extract, floors)
    assert made.exists() and not others[-2].exists() and sum(calls) == 600


def test_a_broken_cache_file_is_computed_again(rendered, counted, cache):
    extract, calls = counted
    reference.of_faces(rendered, "colours", extract, floors)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert reference.of_faces(rendered, "colours", extract, floors).statistics.count == 300
    assert sum(calls) == 600


def test_unreadable_pictures_are_named(rendered, tmp_path, counted):
    folder = tmp_path / "faces"
    shutil.copytree(rendered, folder)
    (folder / "5.png").write_text("text")
    for _ in range(2):  # of the kept reference as of the computed one
        with pytest.warns(UserWarning, match=r"left out 5\.png is not a picture"):
            assert reference.of_faces(folder, "colours", counted[0], floors).statistics.count == 299
    assert sum(counted[1]) == 299


def test_a_set_of_the_users_own_is_read_through_links_and_broken_members(rendered, tmp_path, counted):
    (tmp_path / "linked").mkdir()
    for path in sorted(rendered.glob("*.png"))[:9]:
        (tmp_path / "linked" / path.name).symlink_to(path)
    (tmp_path / "linked/circle").symlink_to(tmp_path / "linked")
    (tmp_path / "linked/gone.png").symlink_to(tmp_path / "gone")
    with pytest.warns(UserWarning, match=r"left out 'circle' is a link .*, and 1 more$"):
        assert reference.of_faces(tmp_path / "linked", "colours", counted[0], floors).statistics.count == 9
    packed = Path(shutil.make_archive(str(tmp_path / "faces"), "zip", rendered))
    data = bytearray(packed.read_bytes())
    data[data.index(b"IHDR") + 20] ^= 1
    packed.write_bytes(data)
    with pytest.warns(UserWarning, match=r"left out .*\.png cannot be unpacked \(Bad CRC-32"):
        assert reference.of_faces(packed, "colours", counted[0], floors).statistics.count == 299


def test_a_set_in_the_current_folder_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "faces/inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "faces")
    assert face_set_name(Path()) == face_set_name(tmp_path / "faces") == "faces"
    monkeypatch.chdir(tmp_path / "faces/inner")
    assert face_set_name(Path("..")) == "faces"


def test_useless_references(tmp_path, counted):
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadReference, match="not a usable reference"):
            reference.of_faces(source, "colours", counted[0], floors)


def test_npz_of_pytorch_fid(tmp_path):
    np.savez(tmp_path / "crypko.npz", mu=np.zeros(4), sigma=np.eye(4))
    loaded = reference.of_npz(tmp_path / "crypko.npz", "inception")
    assert (loaded.faces, loaded.features) == ("crypko", "inception")
    np.savez(tmp_path / "odd.npz", mu=np.zeros(4), sigma=np.eye(3))
    np.savez(tmp_path / "other.npz", x=np.zeros(4))
    np.savez(tmp_path / "pickled.npz", mu=np.array([object()]), sigma=np.eye(1))
    for name in ("odd", "other", "pickled", "missing"):
        with pytest.raises(BadReference, match=name):
            reference.of_npz(tmp_path / f"{name}.npz", "inception")


@pytest.mark.parametrize(
    ("mean", "covariance"),
    [
        (np.full(4, np.nan), np.eye(4)),
        (np.zeros(4), np.full((4, 4), np.inf)),
        (np.zeros(4), np.eye(4) * 1e300),
        (np.zeros(0), np.eye(0)),
        (np.zeros((4, 1)), np.eye(4)),
        (np.zeros(4, complex), np.eye(4)),
        (np.array(["a"] * 4), np.eye(4)),
    ],
)
def test_numbers_that_no_distance_can_be_taken_to(tmp_path, mean, covariance):
    np.savez(tmp_path / "odd.npz", mu=mean, sigma=covariance)
    with pytest.raises(BadReference, match=r"odd\.npz"):
        reference.of_npz(tmp_path / "odd.npz", "inception")
    if mean.dtype != float:
        return
    made = reference.Reference("x", "f", Statistics(mean, covariance, 300), np.zeros((5, 4)))
    reference.save_reference(tmp_path / "odd.safetensors", made)
    with pytest.raises(BadReference, match=r"odd\.safetensors"):
        reference.of_file(tmp_path / "odd.safetensors", "f", 4)


def test_statistics_in_other_features(tmp_path):
    np.savez(tmp_path / "x.npz", mu=np.zeros(4), sigma=np.eye(4))
    assert reference.of_npz(tmp_path / "x.npz", "inception", 4).statistics.mean.shape == (4,)
    with pytest.raises(BadReference, match=r"x\.npz"):
        reference.of_npz(tmp_path / "x.npz", "inception", 2048)


@pytest.mark.parametrize(
    "content",
    [
        save({"mean": np.zeros(4)}),  # no metadata
        save({"mean": np.zeros(4)}, {"features": "f"}),
        save(
            {name: np.zeros(4) for name in reference.TENSORS},
            {"features": "f", "count": "x", "held_out": "", "faces": ""},
        ),
        save(
            {name: np.zeros(4) for name in reference.TENSORS},
            {"features": "f", "count": "9", "held_out": "", "faces": ""},
        ),
        (90 * 2**20).to_bytes(8, "little") + b"{}",
        b"",
    ],
)
def test_other_safetensors_are_no_references(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(BadReference, match=r"x\.safetensors"):
        reference.of_file(tmp_path / "x.safetensors", "f", 4)


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ('{"name": "mine"}', "mine"),
        ('{"name": "\\u001b[31m<b>"}', r"\x1b[31m<b>"),
        ('{"name": ["x"]}', "faces"),
        (f'{{"name": "{"x" * 500}"}}', "faces"),
        ("[" * 100_000, "faces"),
        ("[]", "faces"),
        ("\ud800", "faces"),
        (" " * 2**21, "faces"),
    ],
)
def test_a_set_tells_its_name(tmp_path, about, name):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/about.json").write_text(about, errors="surrogatepass")
    assert face_set_name(tmp_path / "faces") == name


def test_a_cache_that_cannot_be_written_costs_no_score(rendered, counted, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADER_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="the reference is not kept"):
        assert reference.of_faces(rendered, "colours", counted[0], floors).statistics.count == 300


def test_a_set_like_the_shipped_faces_is_said_to_be_so_and_never_takes_their_name():
    rng = np.random.default_rng(0)
    shifts = {"crypko": 0, "my folder": 0.1, "cats": 0.28}
    rows = {name: rng.normal(size=(5000, 400)) + shift for name, shift in shifts.items()}
    shipped, same, other = (
        reference.Reference(name, "f", Statistics.of(faces), faces[:SAMPLE]) for name, faces in rows.items()
    )
    assert frechet_distance(rows["cats"], shipped.statistics) < floor(shipped) + 25  # 5,000 beside 1,000
    assert described(same, shipped).faces == "my folder (like the course's faces)"
    assert described(other, shipped).faces == "cats"
    assert described(replace(other, faces="crypko"), shipped).faces == "another crypko"


def test_the_sample_is_random_and_the_same_every_time():
    rows = np.arange(5000.0)[:, None]
    kept = []
    for size in (100, 700):  # whatever the batches
        sampler = reference.Sampler()
        batches = (rows[i : i + size] for i in range(0, 5000, size))
        passed = np.concatenate(list(sampler.describe(batches, lambda batch: 2 * batch)))
        np.testing.assert_array_equal(passed, 2 * rows)
        np.testing.assert_array_equal(sampler.rows, 2 * sampler.pictures)
        kept.append(np.sort(sampler.pictures[:, 0]))
    np.testing.assert_array_equal(*kept)
    assert len(np.unique(kept[0])) == 1000
    assert abs(kept[0].mean() - 2500) < 4 * 5000 / np.sqrt(12 * 1000)
    assert kept[0][0] < 100 and kept[0][-1] > 4900


def test_the_floor_is_what_unseen_faces_score():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 5))
    sampler = reference.Sampler()
    statistics = Statistics.streamed(sampler.describe([rows], np.copy))
    unseen = floor(reference.Reference("x", "y", statistics, sampler.rows))
    chosen = (rows[:, None] == sampler.rows).all(axis=2).any(axis=1)
    assert unseen == pytest.approx(frechet_distance(rows[chosen], Statistics.of(rows[~chosen])), rel=1e-9)
    assert floor(reference.Reference("x", "y", statistics, None)) is None
    few = reference.Sampler()
    assert (
        floor(reference.Reference("x", "y", Statistics.streamed(few.describe([rows[:1999]], np.copy)), few.rows))
        is None
    )


def test_a_given_set_knows_the_floor_of_faces_stored_as_a_submission_is(tmp_path, counted, cache):
    faces = np.random.default_rng(0).integers(0, 256, (2100, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    (tmp_path / "faces").mkdir()
    for number, face in enumerate(faces):
        Image.fromarray(face).save(tmp_path / f"faces/{number:04}.png")

    def points(pictures):
        counted[0](pictures)
        return pictures[:, 4::32, 4::32].reshape(len(pictures), -1).astype(float)

    made = reference.of_faces(tmp_path / "faces", "points", points, floors)
    again = reference.of_faces(tmp_path / "faces", "points", points, floors)
    assert sum(counted[1]) == 2100 + 3 * 1000
    assert again.floors == made.floors and set(made.floors) == set(reference.FEW_QUALITIES)
    digests = [hashlib.sha256(), hashlib.sha256()]
    for digest, one in zip(digests, (made, again), strict=True):
        result_cache._add_reference(digest, one)
    assert digests[0].digest() == digests[1].digest()  # or workers of a class would not grade as the class does
    chosen = np.argsort(np.random.default_rng(0).random(2100))
    others = Statistics.of(points(faces[chosen[1000:]]))
    for quality in reference.FEW_QUALITIES:
        stored = points(np.stack([decode(jpeg(face, quality))[0] for face in faces[chosen[:1000]]]))
        assert floor(made, 1000, quality) == pytest.approx(frechet_distance(stored, others), rel=1e-6)
    assert floor(made) != floor(made, 1000, 75) != floor(made, 1000, 95)
    assert floor(made, 1000, 100) == pytest.approx(made.floors[95] + (floor(made) - made.floors[95]) * 5 / 6)
    assert floor(made, 1000, 10) == made.floors[50]
