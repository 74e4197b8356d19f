"""Packing 1,000 pictures under 2 MB, and cutting grids."""

import tarfile
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision.utils import save_image

from grader import cli
from grader.inputs.submission import MAX_PACKED_BYTES, read_submission
from grader.pack import cut_grid


def run(*args):
    return CliRunner().invoke(cli.main, [*map(str, args)])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, rendered):
    folder = tmp_path_factory.mktemp("pack") / "outputs"
    folder.mkdir()
    for number in range(1000):
        Image.open(rendered / f"{number % 300}.png").save(folder / f"{number + 1}.jpg")
    return folder


def test_a_submission_is_packed_byte_for_byte(outputs, tmp_path):
    result = run("pack", outputs, "-o", tmp_path / "mine.tgz")
    assert result.exit_code == 0, result.output
    assert "as they were" in result.stderr
    with tarfile.open(tmp_path / "mine.tgz") as archive:
        assert sorted(archive.getnames()) == sorted(f"{number}.jpg" for number in range(1, 1001))
        assert archive.extractfile("7.jpg").read() == (outputs / "7.jpg").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tgz"]


def test_of_an_array_its_pictures_are_packed_whatever_else_lies_in_it(outputs, tmp_path):
    pictures = np.full((1000, 64, 64, 3), 200, np.uint8)
    pictures[:, ::2] = np.arange(1000)[:, None, None, None] % 251
    np.savez(tmp_path / "mix.npz", pictures)
    with zipfile.ZipFile(tmp_path / "mix.npz", "a") as archive:
        for number in range(1, 1001):
            archive.write(outputs / f"{number}.jpg", f"{number}.jpg")
    assert run("pack", tmp_path / "mix.npz", "-o", tmp_path / "mix.tgz").exit_code == 0
    packed = read_submission(tmp_path / "mix.tgz").pictures
    assert np.abs(packed.astype(int) - pictures).mean() < 5


def test_other_names_sizes_and_kinds_are_made_to_fit(tmp_path):
    (tmp_path / "png").mkdir()
    rng = np.random.default_rng(0)
    for number in range(1000):  # noise, the hardest to pack, in order of brightness
        picture = (rng.random((64, 64, 3)) * 64 + number * 0.18).astype(np.uint8)
        Image.fromarray(picture).convert("RGBA").resize((96, 96)).save(tmp_path / f"png/sample_{number}.png")
    result = run("pack", tmp_path / "png", "-o", tmp_path / "mine.tgz")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mine.tgz").stat().st_size < MAX_PACKED_BYTES
    means = read_submission(tmp_path / "mine.tgz").pictures.mean(axis=(1, 2, 3))
    assert (np.diff(means) > -5).all() and means[-1] - means[0] > 150  # the order of the names was kept
    assert "quality" in result.stderr
    assert "note: 1,000 pictures are stored as RGBA, read as RGB" in result.stderr


def test_what_is_too_large_as_it_is_takes_the_highest_quality_that_fits(tmp_path, monkeypatch):
    for module in ("grader.inputs.submission", "grader.pack"):
        monkeypatch.setattr(f"{module}.COUNT", 10)
    monkeypatch.setattr("grader.inputs.submission.NUMBERS", [f"{number}.jpg" for number in range(1, 11)])
    (tmp_path / "outputs").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8)
    for number, picture in enumerate(noise, 1):  # 37,500 bytes, packed
        Image.fromarray(picture).save(tmp_path / f"outputs/{number}.jpg", quality=90)
    for most, words in ((27_500, "quality 80"), (10_000, "over the course's 2 MB even at JPEG quality 50")):
        monkeypatch.setattr("grader.pack.MAX_PACKED_BYTES", most)  # 85 takes 29,100
        assert words in run("pack", tmp_path / "outputs", "-o", tmp_path / "mine.tgz").stderr
    assert (tmp_path / "mine.tgz").stat().st_size < 27_500


def test_what_is_not_packed_is_told(outputs, tmp_path):
    for number in range(1, 1001):
        path = tmp_path / f"made/{'aqua' if number % 2 else 'red'}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(outputs / f"{number}.jpg")
    (tmp_path / "made/labels.csv").write_text("file,label\n")
    (tmp_path / "made/notes.txt").write_text("mine")
    result = run("pack", tmp_path / "made", "-o", tmp_path / "mine.tgz")
    assert result.exit_code == 0, result.output
    assert "made: labels.csv, 2 folders not packed: the course takes pictures alone" in result.stderr
    assert "note: passed over: 1 other file (notes.txt)" in result.stderr


@pytest.mark.parametrize("name", ["mine.npz", "mine.tar"])
def test_what_is_mended_is_not_told_and_nothing_twice(outputs, tmp_path, monkeypatch, name):
    if name == "mine.npz":
        np.savez_compressed(tmp_path / name, np.zeros((1000, 64, 64, 3), np.uint8))
    else:
        monkeypatch.setattr("grader.inputs.submission.MAX_PACKED_BYTES", 1000)  # what is read, and not what is written
        (tmp_path / "tags.csv").write_text("1,aqua hair")
        with tarfile.open(tmp_path / name, "w") as archive:
            for path in (*outputs.iterdir(), tmp_path / "tags.csv"):
                archive.add(path, path.name)
    result = run("pack", tmp_path / name, "-o", tmp_path / "mine.tgz")
    assert result.exit_code == 0 and "1,000 pictures, as " in result.stderr
    assert f", {(tmp_path / 'mine.tgz').stat().st_size:,} bytes" in result.stderr  # 2 MB is no rounded number
    assert "limit of 2 MB" not in result.stderr and "array" not in result.stderr
    assert result.stderr.count("tags.csv") == (name == "mine.tar")


def test_too_few_pictures_leave_an_old_archive_alone(outputs, tmp_path):
    (tmp_path / "few").mkdir()
    for number in range(1, 10):
        (tmp_path / f"few/{number}.jpg").hardlink_to(outputs / f"{number}.jpg")
    (tmp_path / "mine.tgz").write_text("old")
    result = run("pack", tmp_path / "few", "-o", tmp_path / "mine.tgz")
    assert result.exit_code == 1
    assert "holds 9 pictures" in result.stderr
    assert (tmp_path / "mine.tgz").read_text() == "old"


@pytest.mark.parametrize(("count", "padding", "empty"), [(64, 2, 0), (13, 2, 0), (16, 0, 0), (13, 0, 0), (13, 0, 1)])
def test_grids_are_cut_into_their_pictures(tmp_path, count, padding, empty):
    pictures = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    save_image(pictures, tmp_path / "grid.png", nrow=8, padding=padding, pad_value=empty)
    tiles = cut_grid(np.asarray(Image.open(tmp_path / "grid.png")))
    assert len(tiles) == count
    for tile, picture in zip(tiles, pictures, strict=True):
        np.testing.assert_array_equal(tile, (picture * 255 + 0.5).byte().permute(1, 2, 0).numpy())


def test_slice_writes_numbered_pictures(tmp_path):
    for name in "ab":
        save_image(torch.rand(10, 3, 64, 64), tmp_path / f"{name}.jpg", nrow=8)
    result = run("slice", tmp_path / "a.jpg", tmp_path / "b.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(int(path.stem) for path in (tmp_path / "out").iterdir()) == list(range(1, 21))
    again = run("slice", tmp_path / "a.jpg", "-o", tmp_path / "out")
    assert again.exit_code == 2 and "exists" in again.stderr
    Image.new("RGB", (100, 100)).save(tmp_path / "c.png")
    wrong = run("slice", tmp_path / "a.jpg", tmp_path / "c.png", "-o", tmp_path / "new")
    assert wrong.exit_code == 1 and "c.png is 100x100" in wrong.stderr
    assert not (tmp_path / "new").exists()
