"""kit/labels.py: what tells of labels, read as the grader reads it; and samples that say what they should show."""

import base64
import csv
import io
import shutil
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from grader.inputs.labels import read_faces
from kit.labels import animate, balanced_labels, load_labelled_faces, read_labels, show_classes, write_labels
from kit.samples import write_submission


def face_set(folder, files, as_zip):
    """Files, name -> text, as a folder or as a zip; and the names of its pictures as `read_faces` gives them."""
    for name, text in files.items():
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    pictures = [name for name in files if name.endswith(".png")]
    if not as_zip:
        return folder / "set", pictures
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
def test_a_table_beside_the_pictures(tmp_path, as_zip, table, text, attribute, labels, classes):
    pictures = {f"faces/{number}.png": "" for number in (1, 2, 3, 7, 9)}
    source, names = face_set(tmp_path, {table: text, **pictures}, as_zip)
    found, names_of_classes = read_labels(source, names, attribute)
    assert (found.tolist(), names_of_classes) == (labels, classes)


@AS
def test_a_folder_per_class(tmp_path, as_zip):
    files = ["cats/1.png", "dogs/small/2.png", "0.png", "dogs/1.png", "birds/x y.png"]
    source, names = face_set(tmp_path, dict.fromkeys(files, ""), as_zip)
    labels, classes = read_labels(source, names)
    assert classes == ["birds", "cats", "dogs", "small"]
    assert labels.tolist() == [1, 3, -1, 2, 0]


@AS
def test_chosen_classes_in_their_order(tmp_path, as_zip):
    source, names = face_set(tmp_path, dict.fromkeys(["a/1.png", "b/2.png", "c/3.png", "a/4.png"], ""), as_zip)
    labels, classes = read_labels(source, names, only=" c, a")
    assert (labels.tolist(), classes) == ([1, -1, 0, 1], ["c", "a"])
    labels, classes = read_labels(source, names, only="c, a, c")  # named twice
    assert (labels.tolist(), classes) == ([1, -1, 0, 1], ["c", "a"])
    assert read_labels(source, names, only=",")[1] == ["a", "b", "c"]
    for only, wrong in (
        ("a", "'a' is one class"),
        ("a, a", "'a, a' is one class"),
        ("a, mauve, c, x", "there is no mauve, x"),
    ):
        with pytest.raises(SystemExit, match=f"`classes`: {wrong}: name two or more of a, b, c"):
            read_labels(source, names, only=only)
    with pytest.raises(SystemExit, match="`classes_a` and `classes_b`: there is no x: name"):
        read_labels(source, names, only="a, x", setting="`classes_a` and `classes_b`")


def test_the_tagged_faces(shared):
    source = shared / "tagged_3000_64px.zip"
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
    for attribute, count in (("hair", 12), ("eye", 10)):
        labels, classes = read_labels(source, names, attribute)
        assert len(labels) == 3000 and labels.min() == 0 and len(classes) == count


def test_without_an_attribute_all_are_one_class(tmp_path):
    labels, classes = read_labels(tmp_path, ["1.png", "2.png"], "")
    assert (labels.tolist(), labels.dtype, len(classes)) == ([0, 0], torch.long, 1)


@AS
@pytest.mark.parametrize(
    ("files", "attribute", "hint"),
    [
        ({}, "hair", "has no labels: put a tags.csv"),
        ({"notes.csv": "1,aqua hair\n"}, "hair", "has no labels: put a tags.csv"),
        ({"tags.csv": ""}, "hair", "tags.csv has fewer than two classes of 'hair'"),
        ({"tags.csv": "1,aqua hair\n2,aqua hair\n"}, "hair", "tags.csv has fewer than two classes of 'hair'"),
        ({"tags.csv": "101,aqua hair\n102,red hair\n"}, "hair", "tags.csv has fewer than two classes of 'hair'"),
        ({"tags.csv": TAGS}, "nose", "has fewer than two classes of 'nose'"),
        ({"attributes.csv": DRAWN}, "nose", "has fewer than two classes of 'nose'"),
    ],
)
def test_faces_without_labels(tmp_path, as_zip, files, attribute, hint):
    source, names = face_set(tmp_path, {"faces/1.png": "", "faces/2.png": "", **files}, as_zip)
    with pytest.raises(SystemExit, match=hint):
        read_labels(source, names, attribute)


@AS
@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("1,黑 hair\n2,藍 hair\n".encode("big5"), "save it as CSV UTF-8"),
        (b'1,"' + b"a" * 200_000 + b'"\n', "write rows as 1,blue hair green eyes"),
    ],
    ids=["Big5", "field"],
)
def test_a_table_that_is_none(tmp_path, as_zip, data, hint):
    source, names = face_set(tmp_path, {"1.png": "", "tags.csv": data}, as_zip)
    with pytest.raises(SystemExit, match=rf"tags\.csv in .* is no table \(.*\): {hint}"):
        read_labels(source, names)


def encoded(value, size=64):
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(file, "PNG")
    return file.getvalue()


TAGGED = [f"{n},{('aqua', 'blue')[n < 30]} hair {('red', 'green')[n % 2]} eyes" for n in range(60)]
SWAPPED = [f"{n},{('aqua', 'blue')[n % 2]} hair {('red', 'green')[n < 30]} eyes" for n in range(60)]
HEAD = "file,skin,hair_colour,hair_shape,eye_colour"
COLUMNS = [f"{n}.png,fair,{('black', 'aqua')[n % 2]},long,{('green', 'red')[n < 30]}" for n in range(61)]
TABLES = {
    "tags": {"tags.csv": "\n".join(TAGGED)},
    "tags as Excel writes them": {"tags.csv": "\ufeff" + "\r\n".join(TAGGED) + "\r\n\r\n"},
    "tags with blanks": {"tags.csv": "\n".join(row.replace(",", " , ") for row in TAGGED)},
    "tags with names of files": {"tags.csv": "\n".join(row.replace(",", ".png,") for row in TAGGED)},
    "tags with folders, in quotes": {"x/tags.csv": "\n".join(f'"a/{row}"'.replace(",", '.png","') for row in TAGGED)},
    "tags that say two things": {"tags.csv": "\n".join(row.replace(" hair", " hair white hair") for row in TAGGED)},
    "tags with a hyphen": {"tags.csv": "\n".join(row.replace("aqua", "light-aqua") for row in TAGGED)},
    "attributes": {"x/attributes.csv": "\n".join([HEAD, *COLUMNS])},
    "attributes with blanks": {"attributes.csv": "\n".join([HEAD, *COLUMNS]).replace(",", ", ")},
    "attributes with gaps": {"attributes.csv": "\n".join([HEAD, *COLUMNS]).replace("59.png,fair,aqua", "59.png,fair,")},
    "the upper of two tables": {"a/tags.csv": "\n".join(TAGGED), "b/attributes.csv": "\n".join([HEAD, *COLUMNS])},
    "a table over another": {"a/tags.csv": "\n".join(TAGGED), "tags.csv": "\n".join(SWAPPED)},
    "a table that a system left behind": {"__MACOSX/tags.csv": "\n".join(TAGGED)},
    "folders": {},
}


@pytest.mark.filterwarnings("ignore:.*classes are folders:UserWarning")
@AS
@pytest.mark.parametrize("attribute", ["hair", "eye"])
@pytest.mark.parametrize("tables", [*TABLES])
def test_labels_are_those_that_the_grader_reads(tmp_path, as_zip, tables, attribute):
    pictures = {f"{'ab'[n % 2]}/c/{'xy'[n // 30]}/{n}.png": encoded(n) for n in range(60)}
    source, names = face_set(tmp_path, pictures | TABLES[tables], as_zip)
    labels, classes = read_labels(source, names, attribute)
    read = read_faces(source, attribute)
    assert read.names == classes and len(classes) == 2
    numbers = read.pictures[:, 0, 0, 0].tolist()
    assert sorted(numbers) == [n for n in range(60) if labels[n] >= 0]
    assert read.labels.tolist() == [labels[number] for number in numbers]
    if tables == "a table over another":
        assert labels.tolist() == [n % 2 if attribute == "hair" else int(n >= 30) for n in range(60)]


def test_the_grader_reads_what_samples_should_show(tmp_path):
    from grader.inputs.labels import read_asked

    classes = ["aqua", 'light, "blue"', "schwarz-grün"]
    asked = balanced_labels(50, 3)
    write_labels(SimpleNamespace(folder=tmp_path, start=0), asked, classes)
    pictures = [f"{number}.jpg" for number in range(1, 51)]
    assert read_asked(tmp_path, pictures) == [classes[label] for label in asked]


def settings_for(source, **others):
    return SimpleNamespace(**{"faces": str(source), "attribute": "hair", "classes": "", "batch_size": 3} | others)


@AS
def test_faces_and_their_labels_belong_together(tmp_path, as_zip, capsys):
    order = {10: "aqua", 2: "black", 33: "aqua", 1: "white", 4: None}
    table = "".join(f"{n},{colour} hair\n" for n, colour in order.items() if colour)
    files = {f"{n}.png": encoded(n) for n in order} | {"tags.csv": table}
    source, _ = face_set(tmp_path, files, as_zip)
    faces, labels, classes = load_labelled_faces(settings_for(source), torch.device("cpu"))
    assert classes == ["aqua", "black", "white"]
    told = {int(face[0, 0, 0]): classes[label] for face, label in zip(faces, labels, strict=True)}
    assert told == {n: colour for n, colour in order.items() if colour}
    assert "3 classes: aqua 2, black 1, white 1" in capsys.readouterr().out

    faces, labels, classes = load_labelled_faces(settings_for(source, classes="white, aqua"), torch.device("cpu"))
    assert (faces[:, 0, 0, 0].tolist(), labels.tolist(), classes) == ([1, 10, 33], [0, 1, 1], ["white", "aqua"])
    with pytest.raises(SystemExit, match=r"3 faces of .* have a label, fewer than one batch of 4"):
        load_labelled_faces(settings_for(source, classes="white, aqua", batch_size=4), torch.device("cpu"))


@pytest.mark.parametrize("n_classes", [2, 3, 12, 22, 125])
def test_samples_are_balanced_and_begin_with_a_row_per_class(n_classes):
    labels = balanced_labels(1000, n_classes)
    counts = labels.bincount(minlength=n_classes)
    assert len(labels) == 1000 and counts.max() - counts.min() <= 1
    assert torch.equal(labels[: 8 * n_classes].view(n_classes, 8).unique(dim=1)[:, 0], torch.arange(n_classes))


def test_labels_csv_says_what_each_sample_should_show(tmp_path):
    run, labels, table = SimpleNamespace(folder=tmp_path, start=0), torch.tensor([1, 0, 1]), tmp_path / "labels.csv"
    write_labels(run, labels, ["aqua", "black"])
    written = b"file,label\n1.jpg,black\n2.jpg,aqua\n3.jpg,black\n"
    assert table.read_bytes() == written
    run.start = 5  # it goes on
    table.write_bytes(b"\xef\xbb\xbf" + written.replace(b"\n", b"\r\n"))  # looked at in Excel, and saved
    write_labels(run, labels, ["aqua", "black"])
    assert table.read_bytes() == written
    with pytest.raises(SystemExit, match="holds a run on faces of other classes: set another `run`"):
        write_labels(run, labels, ["aqua", "red"])
    assert table.read_bytes() == written and [*tmp_path.iterdir()] == [table]
    run.start = 0
    write_labels(run, labels, ["aqua", "red"])
    assert b"red" in table.read_bytes()


def test_labels_come_to_the_pictures_together_with_them(tmp_path):
    settings = SimpleNamespace(outputs=str(tmp_path / "outputs"))
    G = torch.nn.Sequential(torch.nn.Linear(2, 3 * 64 * 64), torch.nn.Unflatten(1, (3, 64, 64)))
    run = SimpleNamespace(folder=tmp_path, settings=settings, G_ema=G, z=torch.zeros(3, 2), shown=2, start=0)
    write_submission(run)
    pictures = {"1.jpg", "2.jpg", "3.jpg"}
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == pictures
    write_labels(run, torch.tensor([1, 0, 1]), ["aqua", "black"])
    assert not (tmp_path / "outputs/labels.csv").exists()  # other pictures may lie there
    write_submission(run)
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == pictures | {"labels.csv"}
    with open(tmp_path / "outputs/labels.csv", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["black", "aqua", "black"]


def test_an_animation_stays_under_its_limit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 128, 3), dtype=np.uint8)
    frames = [Image.fromarray(picture) for picture in noise]
    animate(frames, tmp_path / "large.gif", most=4)
    animate(frames, tmp_path / "small.gif", most=3, limit=5_000)
    animate(frames[:1], tmp_path / "one.gif")
    for name, count, limit in (("large", 4, 2_000_000), ("small", 3, 5_000), ("one", 1, 2_000_000)):
        assert (tmp_path / f"{name}.gif").stat().st_size <= limit
        with Image.open(tmp_path / f"{name}.gif") as gif:
            assert (gif.format, gif.n_frames, gif.info.get("loop", 0)) == ("GIF", count, 0)
            assert abs(gif.width - 2 * gif.height) <= 1
    with Image.open(tmp_path / "large.gif") as gif:  # from the first frame to the last
        gif.seek(3)
        assert np.abs(np.asarray(gif.convert("RGB"), float) - noise[5]).mean() < 30


def test_of_no_pictures_there_is_no_animation(tmp_path, capsys):
    """As where a run was stopped before its first samples."""
    animate([], tmp_path / "training.gif")
    assert capsys.readouterr().out.startswith(f"no {tmp_path}/training.gif: there are no pictures yet")
    assert not [*tmp_path.iterdir()]


def test_an_animation_moves_in_a_notebook(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setattr("IPython.display.display", shown.append)
    animate([Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")], tmp_path / "two.gif")
    data = base64.b64encode((tmp_path / "two.gif").read_bytes()).decode()
    assert f'<img src="data:image/gif;base64,{data}" alt="pictures' in shown[0]._repr_html_()


def test_a_grid_has_a_row_per_class(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("kit.samples.show", shown.append)
    show_classes(torch.zeros(6, 3, 64, 64, dtype=torch.uint8), ["aqua", "black"], tmp_path / "grid.png")
    (figure,) = shown
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["aqua", "black"]
    plt.close(figure)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.width > 100
