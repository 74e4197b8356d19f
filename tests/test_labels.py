"""What conditional notebooks share: reading labels, and samples that say which class they were asked to be."""

import csv
import io
import os
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image
from torchvision.utils import make_grid

from baselines.build import ROOT

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def part():
    """What parts/read_labels.py defines."""
    names = {"csv": csv, "zipfile": zipfile, "Path": Path, "torch": torch}
    exec((ROOT / "baselines/parts/read_labels.py").read_text(), names)
    return SimpleNamespace(**names)


def face_set(folder, files, as_zip):
    """Files, name -> text, as a folder or as a zip; and the names of its pictures as `read_faces` gives them."""
    for name, text in files.items():
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    pictures = [name for name in files if name.endswith(".png")]
    if not as_zip:
        return folder / "set", [str(folder / "set" / name) for name in pictures]
    return Path(shutil.make_archive(str(folder / "set"), "zip", folder / "set")), pictures


AS = pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
TAGS = "3,aqua hair blue eyes\n\n1,black hair red eyes\n2,aqua hair red eyes\n7,green eyes\n"
DRAWN = "file,hair_colour,eye_colour,hair_shape\n1.png,aqua,red,short\n2.png,black,blue,long\n3.png,aqua,red,long\n"


@AS
@pytest.mark.parametrize(
    ("table", "text", "attribute", "labels", "classes"),
    [
        ("tags.csv", TAGS, "hair", [1, 0, 0, -1, -1], ["aqua", "black"]),
        ("tags.csv", TAGS, "eye", [2, 2, 0, 1, -1], ["blue", "green", "red"]),
        (
            "tags.csv",
            b"\xef\xbb\xbf" + TAGS.replace("\n", "\r\n").encode(),
            "hair",
            [1, 0, 0, -1, -1],
            ["aqua", "black"],
        ),
        ("tags.csv", TAGS.replace("3,", "3.png,"), "hair", [1, 0, 0, -1, -1], ["aqua", "black"]),
        ("attributes.csv", DRAWN, "hair", [0, 1, 0, -1, -1], ["aqua", "black"]),
        ("attributes.csv", DRAWN, "eye", [1, 0, 1, -1, -1], ["blue", "red"]),
        ("attributes.csv", DRAWN, "hair_shape", [1, 0, 0, -1, -1], ["long", "short"]),
        ("attributes.csv", DRAWN + "7.png,white\n", "eye", [1, 0, 1, -1, -1], ["blue", "red"]),
    ],
)
def test_a_table_beside_the_pictures(part, tmp_path, as_zip, table, text, attribute, labels, classes):
    pictures = {f"faces/{number}.png": "" for number in (1, 2, 3, 7, 9)}
    source, names = face_set(tmp_path, {table: text, **pictures}, as_zip)
    found, names_of_classes = part.read_labels(source, names, attribute)
    assert (found.tolist(), names_of_classes) == (labels, classes)


@AS
def test_a_folder_a_class(part, tmp_path, as_zip):
    files = ["cats/1.png", "dogs/small/2.png", "0.png", "dogs/1.png", "birds/x y.png"]
    source, names = face_set(tmp_path, dict.fromkeys(files, ""), as_zip)
    labels, classes = part.read_labels(source, names)
    assert classes == ["birds", "cats", "dogs", "small"]
    assert labels.tolist() == [1, 3, -1, 2, 0]


@AS
def test_chosen_classes_in_their_order(part, tmp_path, as_zip):
    source, names = face_set(tmp_path, dict.fromkeys(["a/1.png", "b/2.png", "c/3.png", "a/4.png"], ""), as_zip)
    labels, classes = part.read_labels(source, names, only=" c, a")
    assert (labels.tolist(), classes) == ([1, -1, 0, 1], ["c", "a"])
    for wrong in ("a", "a, mauve", ","):
        if wrong == ",":
            assert part.read_labels(source, names, only=wrong)[1] == ["a", "b", "c"]
        else:
            with pytest.raises(ValueError, match=f"`classes` is '{wrong}': name two or more of a, b, c"):
                part.read_labels(source, names, only=wrong)


def test_the_tagged_faces(part, shared):
    source = shared / "tagged_3000_64px.zip"
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
    for attribute, count in (("hair", 12), ("eye", 10)):
        labels, classes = part.read_labels(source, names, attribute)
        assert len(labels) == 3000 and labels.min() == 0 and len(classes) == count


def test_without_an_attribute_all_are_one_class(part, tmp_path):
    labels, classes = part.read_labels(tmp_path, ["1.png", "2.png"], "")
    assert (labels.tolist(), labels.dtype, len(classes)) == ([0, 0], torch.long, 1)


@AS
@pytest.mark.parametrize(
    ("files", "attribute", "hint"),
    [
        ({}, "hair", "has no labels: put a tags.csv"),
        ({"notes.csv": "1,aqua hair\n"}, "hair", "has no labels: put a tags.csv"),
        ({"tags.csv": ""}, "hair", "tags.csv tells no two classes of 'hair' apart"),
        ({"tags.csv": "1,aqua hair\n2,aqua hair\n"}, "hair", "tags.csv tells no two classes of 'hair' apart"),
        ({"tags.csv": "101,aqua hair\n102,red hair\n"}, "hair", "tags.csv tells no two classes of 'hair' apart"),
        ({"tags.csv": TAGS}, "nose", "tells no two classes of 'nose' apart"),
        ({"attributes.csv": DRAWN}, "nose", "tells no two classes of 'nose' apart"),
    ],
)
def test_faces_without_labels(part, tmp_path, as_zip, files, attribute, hint):
    source, names = face_set(tmp_path, {"faces/1.png": "", "faces/2.png": "", **files}, as_zip)
    with pytest.raises(ValueError, match=hint):
        part.read_labels(source, names, attribute)


@pytest.fixture
def samples(tmp_path):
    """What parts/labelled_samples.py defines for 12 classes; its run's folder is tmp_path."""
    names = {"csv": csv, "io": io, "os": os, "np": np, "torch": torch, "plt": plt, "Image": Image, "device": "cpu"}
    names |= {"contextmanager": contextmanager, "RANK": 0}
    names |= {"make_grid": make_grid, "display": mock.Mock(), "run": tmp_path, "classes": list("abcdefghijkl")}
    run = (ROOT / "baselines/parts/run.py").read_text()
    exec(run[run.index("@contextmanager") : run.index("class StepTable")], names)
    exec(run[run.index("def picture_grid") : run.index("def pack(")], names)
    exec((ROOT / "baselines/parts/labelled_samples.py").read_text(), names)
    return SimpleNamespace(**names)


@pytest.mark.parametrize("n_classes", [2, 3, 12, 22, 125])
def test_samples_are_balanced_and_begin_with_a_row_a_class(samples, n_classes):
    labels = samples.balanced_labels(1000, n_classes)
    counts = labels.bincount(minlength=n_classes)
    assert len(labels) == 1000 and counts.max() - counts.min() <= 1
    assert torch.equal(labels[: 8 * n_classes].view(n_classes, 8).unique(dim=1)[:, 0], torch.arange(n_classes))


def test_labels_csv_says_what_each_sample_was_asked_to_be(samples, tmp_path):
    samples.write_labels(tmp_path, torch.tensor([1, 0, 1]), ["aqua", "black"])
    assert (tmp_path / "labels.csv").read_bytes() == b"file,label\n1.jpg,black\n2.jpg,aqua\n3.jpg,black\n"


def test_an_animation_stays_under_its_limit(samples, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 128, 3), dtype=np.uint8)
    frames = [Image.fromarray(picture) for picture in noise]
    samples.animate(frames, tmp_path / "large.gif", most=4)
    samples.animate(frames, tmp_path / "small.gif", most=3, limit=5_000)
    samples.animate(frames[:1], tmp_path / "one.gif")
    for name, count, limit in (("large", 4, 2_000_000), ("small", 3, 5_000), ("one", 1, 2_000_000)):
        assert (tmp_path / f"{name}.gif").stat().st_size <= limit
        with Image.open(tmp_path / f"{name}.gif") as gif:
            assert (gif.format, gif.n_frames, gif.info.get("loop", 0)) == ("GIF", count, 0)
            assert abs(gif.width - 2 * gif.height) <= 1
    with Image.open(tmp_path / "large.gif") as gif:  # from the first frame to the last
        gif.seek(3)
        assert np.abs(np.asarray(gif.convert("RGB"), float) - noise[5]).mean() < 30


def test_a_grid_has_a_row_a_class(samples, tmp_path):
    with mock.patch.object(plt, "show"):
        samples.show_classes(torch.zeros(6, 3, 64, 64, dtype=torch.uint8), ["aqua", "black"], tmp_path / "grid.png")
        ticks = [tick.get_text() for tick in plt.gca().get_yticklabels()]
        plt.close()
    assert ticks == ["aqua", "black"]
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 100
