"""Faces: found where Kaggle and Colab keep them, decoded and sorted as the grader does, dealt out in batches."""

import errno
import io
import os
import random
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from grader import files
from grader.inputs import images
from kit import faces
from kit.faces import (
    as_input,
    batch_indices,
    batches_of,
    decode,
    is_ignored,
    load_faces,
    natural_key,
    read_faces,
)
from kit.settings import Settings
from tests.helpers.pngs import SIGNATURE, clear_at, header

CPU = torch.device("cpu")


def put(folder, count=10):
    """A folder with so many files that look like pictures by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").touch()
    return folder


def find(places, given=""):
    """What is found where ten pictures are enough."""
    return faces.find_faces(given, places, fewest=10)


# where


@pytest.mark.parametrize(
    "path",
    [
        "animefaces",
        "animefaces/faces",
        "datasets/someone/animefaces/faces/faces",
        "datasets/someone/animefaces",
        "notebooks/someone/drawn-faces",
        "notebooks/someone/drawn-faces/deep/er",
    ],
)
def test_faces_are_found_wherever_kaggle_mounts_them(tmp_path, path):
    here = put(tmp_path / path)
    assert find({tmp_path: 7}) == here


@pytest.mark.parametrize("root", ["", "datasets/someone", "notebooks/someone", "datasets", "competitions"])
def test_of_several_data_sets_the_largest_is_taken_and_they_are_never_mixed(tmp_path, root):
    for number, name in enumerate(["one", "two", "three", "four"]):
        put(tmp_path / root / name, 10 + number % 3)
    assert find({tmp_path: 7}) == tmp_path / root / "three"


@pytest.mark.parametrize("root", ["animefaces", "datasets/someone/animefaces", "notebooks/someone/anime/faces"])
def test_folders_of_classes_are_read_as_one_set(tmp_path, root):
    for name in ("aqua", "black", "blonde", "brown"):
        put(tmp_path / root / name, 4)
    put(tmp_path / "datasets/another/faces", 11)
    assert find({tmp_path: 7}) == tmp_path / root


def test_a_zip_is_found_and_goes_before_folders(tmp_path):
    for name in ("some", "other", "folders"):
        put(tmp_path / "mine" / name, 5)
    (tmp_path / "mine/faces.zip").touch()
    assert find({tmp_path: 2}) == tmp_path / "mine/faces.zip"


@pytest.mark.parametrize("root", ["faces", ""])
def test_two_classes_of_a_prepared_set_are_read_as_one_set(tmp_path, root):
    for name in ("aqua", "blue"):
        put(tmp_path / root / name, 11)
    assert find({tmp_path: 7}) == tmp_path / root / "aqua"
    (tmp_path / root / "about.json").touch()
    assert find({tmp_path: 7}) == tmp_path / root


def pack(path, count=10, *others):
    """A zip of so many files that look like pictures by their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in (*(f"set/{number}.jpg" for number in range(count)), *others):
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize("table", faces.LABEL_TABLES)
def test_a_table_of_labels_and_the_faces_below_it_are_one_set(tmp_path, twelve, table):
    """As Kaggle unpacks a zip."""
    images = put(tmp_path / "tagged/images", 13)
    mine = put_named(tmp_path / "drawn/images", twelve)
    for folder in (tmp_path, images.parent, mine.parent):
        (folder / table).touch()
    assert find({tmp_path: 7}) == tmp_path / "tagged"
    assert find({tmp_path / "drawn": 2, tmp_path: 2}) == tmp_path / "tagged"  # the place itself may hold anything
    put(tmp_path / "more/images")
    put_named(tmp_path / "more/mine", twelve)
    (tmp_path / "more" / table).touch()
    images.parent.rename(tmp_path / ".hidden")
    assert find({tmp_path: 7}) == tmp_path / "drawn"
    mine.rename(tmp_path / ".gone")
    assert find({tmp_path: 7}) == tmp_path / "more/images"  # a submission lies beside them


def test_any_zip_of_enough_pictures_is_a_set(tmp_path):
    put(tmp_path / "few", 10)
    here = pack(tmp_path / "mine/Anime.ZIP", 12, "readme.txt")
    pack(tmp_path / "small.zip", 9, *map(str, range(20)))
    assert find({tmp_path: 3}) == here
    put(tmp_path / "many", 12)
    assert find({tmp_path: 3}).is_dir()  # as many: what is there unpacked
    (tmp_path / "faces.zip").touch()
    assert find({tmp_path: 3}) == tmp_path / "faces.zip"


def test_a_place_within_a_place_is_looked_into_by_itself(tmp_path):
    drive = tmp_path / "drive/MyDrive"
    put(drive / "hw6", 1)
    pack(drive / "photos.zip", 12)
    (drive / "hw6/faces.zip").touch()
    assert find({tmp_path: 2, drive: 2}) == drive / "hw6/faces.zip"


def test_zips_that_are_none_or_hold_a_run_are_no_sets(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4" + bytes(9999))
    (tmp_path / "folder.zip").mkdir()
    pack(tmp_path / "gan.zip", 20, "gan/log.csv", "gan/checkpoints/last.pt")
    pack(tmp_path / "best.zip", 20)
    (tmp_path / "best/samples").mkdir(parents=True)
    (tmp_path / "best/log.csv").touch()
    pack(tmp_path / "best/submission.zip", 20)
    pack(tmp_path / "__MACOSX/mine.zip", 20)
    pack(tmp_path / "outputs/mine.zip", 20)
    with pytest.raises(SystemExit, match="found no faces"):
        find({tmp_path: 3})


def test_a_log_alone_makes_no_run(tmp_path):
    """A program that fetches faces may keep one."""
    for name in ("a/1", "a/2", "b/1"):
        save(tmp_path / f"fetched/{name}.png")
    (tmp_path / "fetched/a/log.csv").touch()
    assert faces.find_faces("", {tmp_path: 2}, fewest=1) == tmp_path / "fetched/a"
    assert sorted(faces.files_of(tmp_path / "fetched")) == ["a/1.png", "a/2.png", "a/log.csv", "b/1.png"]
    here = pack(tmp_path / "zipped/mine.zip", 12, "set/log.csv")
    (tmp_path / "zipped/log.csv").touch()
    assert find({tmp_path: 2}) == here


def test_what_a_folder_holds_beside_the_notebook_s_says_nothing_of_what_is_above(tmp_path, monkeypatch):
    put(tmp_path / "project")
    (tmp_path / "project/notebooks").mkdir()
    (tmp_path / "project/notebooks/tags.csv").touch()
    monkeypatch.chdir(tmp_path / "project/notebooks")
    assert find({".": 3, "..": 2}) == faces.Path("..")


def test_what_systems_and_runs_leave_is_no_set_of_faces(tmp_path):
    for name in ("__MACOSX/faces", ".ipynb_checkpoints", "runs/gan/samples", "outputs"):
        put(tmp_path / name, 15)
    few = put(tmp_path / "few", 9)
    with pytest.raises(SystemExit, match="found no faces"):
        find({tmp_path: 3})
    assert find({tmp_path: 3, put(tmp_path / "elsewhere"): 1}) == tmp_path / "elsewhere"
    assert find({tmp_path: 3}, str(few)) == few


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_submission_is_no_set_of_faces_wherever_it_lies(tmp_path, as_zip):
    names = [f"{number}.jpg" for number in range(1, 1001)]
    (tmp_path / "mine").mkdir()
    for name in [*names, "labels.csv"]:
        (tmp_path / "mine" / name).touch()
    if as_zip:
        with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
            for name in names:
                archive.writestr(f"outputs/{name}", b"")
    real = put(tmp_path / "drive/faces")
    assert find({tmp_path: 1, tmp_path / "drive": 2}) == real
    (tmp_path / "mine/1001.jpg").touch()
    assert find({tmp_path: 1, tmp_path / "drive": 2}) == tmp_path / "mine"


@pytest.fixture
def twelve(monkeypatch):
    """The names of a submission where it is small."""
    names = {f"{number}.jpg" for number in range(1, 13)}
    monkeypatch.setattr(faces, "SUBMISSION", names)
    return names


def put_named(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_faces_that_are_named_as_a_submission_are_found_where_something_speaks_for_them(tmp_path, twelve, capsys):
    """As the first 1,000 of the course's faces are, or a class of 1,000 faces. Several such folders alone may be the
    submissions of several runs."""
    faces_alone = put_named(tmp_path / "one/faces", twelve)
    for name in ("aqua", "black", "blonde"):
        put_named(tmp_path / "two/classes" / name, twelve)
        put_named(tmp_path / "three/classes" / name, [*twelve, "13.jpg"])
    put_named(tmp_path / "three/classes/pink", twelve)
    assert find({tmp_path / "one": 2}) == faces_alone
    assert find({tmp_path / "three": 2}) == tmp_path / "three/classes"
    assert "skipped" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        find({tmp_path / "two": 2})
    assert capsys.readouterr().out.count("skipped") == 3


def test_submissions_beside_the_faces_are_no_classes(tmp_path, twelve, capsys):
    real = put(tmp_path / "hw6/real", 15)
    skipped = [put_named(tmp_path / f"hw6/{name}", twelve) for name in ("mine", "other")]
    assert find({tmp_path: 2}) == real
    said = capsys.readouterr().out
    assert all(f"skipped {folder}, which looks like a submission" in said for folder in skipped)


def test_what_is_skipped_as_a_submission_is_named_once(tmp_path, twelve, capsys):
    mine = put_named(tmp_path / "mine", twelve)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name in twelve:
            archive.writestr(name, b"")
    for _ in range(2):
        with pytest.raises(SystemExit, match="found no faces"):
            find({tmp_path: 2})
    assert sorted(capsys.readouterr().out.splitlines()) == [
        f"skipped {path}, which looks like a submission: set `faces` to it if it is faces"
        for path in (mine, tmp_path / "mine.zip")
    ]
    assert find({}, str(mine)) == mine


def test_classes_below_a_cover_are_read(tmp_path, twelve, capsys):
    save(tmp_path / "cover.png")
    put_named(tmp_path / "aqua", twelve)
    assert [*faces.files_of(tmp_path)] == ["cover.png"]
    assert f"skipped {tmp_path / 'aqua'}, which looks like a submission" in capsys.readouterr().out
    put_named(tmp_path / "black", twelve)
    assert len(faces.files_of(tmp_path)) == 25
    for number in range(11):
        (tmp_path / f"{number}.jpg").touch()
    assert len(faces.files_of(tmp_path)) == 12  # a whole set, and what was made of it


def test_fakes_below_the_faces_are_not_read(tmp_path):
    """Where the faces lie in /content itself, training again reads those faces and no others."""
    for name in ("a", "more/b", "runs/gan/samples/000002"):
        save(tmp_path / f"{name}.png")
    (tmp_path / "runs/gan/log.csv").touch()
    (tmp_path / "mine").mkdir()
    for number in range(1, 1001):
        (tmp_path / f"mine/{number}.jpg").touch()
    assert read_faces(tmp_path)[1] == ["a.png", "more/b.png"]
    assert len(faces.files_of(tmp_path / "mine")) == 1000  # the one that you name
    (tmp_path / "a.png").unlink()
    assert read_faces(tmp_path)[1] == ["more/b.png"]


@pytest.mark.parametrize("classes", [("aqua", "black"), ("aqua", "black", "blonde", "brown")])
@pytest.mark.parametrize("named_alike", [False, True])
def test_fakes_beside_folders_of_classes_are_not_read(tmp_path, twelve, monkeypatch, classes, named_alike):
    """Where a notebook runs in the folder of its faces, as {"faces": "."} says."""
    monkeypatch.chdir(tmp_path)
    for name in classes:
        put_named(tmp_path / name, twelve) if named_alike else put(tmp_path / name)
    for run in ("runs/gan", "mine"):
        put(tmp_path / run / "samples", 3)
        (tmp_path / run / "log.csv").touch()
    put_named(tmp_path / "outputs", twelve)
    for source in (tmp_path, faces.Path(".")):
        assert {*map(os.path.dirname, faces.files_of(source))} == {*classes}
    (tmp_path / "outputs").rename(tmp_path / "06")
    put_named(tmp_path / "outputs/06", twelve)
    assert not any(name.startswith("outputs") for name in faces.files_of(tmp_path))


def test_a_class_that_is_counted_is_read(tmp_path, twelve, capsys):
    """Where sets are searched and where one is read, the same folders are classes."""
    for name in ("aqua", "black", "blonde"):
        put(tmp_path / "classes" / name, 15)
    put_named(tmp_path / "classes/pink", twelve)
    put_named(tmp_path / "classes/faces", twelve)
    (tmp_path / "classes/preview.png").touch()
    assert find({tmp_path: 2}) == tmp_path / "classes"
    assert len(faces.files_of(tmp_path / "classes")) == 1 + 3 * 15 + 2 * 12
    assert "skipped" not in capsys.readouterr().out
    put(tmp_path / "classes", 15)  # the faces lie on top
    assert len(faces.files_of(tmp_path / "classes")) == 16 + 3 * 15 + 12
    assert find({tmp_path: 2}) == tmp_path / "classes"
    assert f"skipped {tmp_path / 'classes/pink'}" in capsys.readouterr().out


@pytest.mark.parametrize("about", [*faces.LABEL_TABLES, "about.json"])
def test_what_speaks_for_a_set_is_heard_where_it_is_read(tmp_path, twelve, about):
    put_named(tmp_path / "set/images", twelve)
    (tmp_path / "set/cover.png").touch()
    (tmp_path / "set" / about).touch()
    assert find({tmp_path: 2}) == tmp_path / "set"
    assert len(faces.files_of(tmp_path / "set")) == 14


def test_it_looks_no_deeper_than_it_may(tmp_path):
    put(tmp_path / "a/b/c")
    assert find({tmp_path: 3}) == tmp_path / "a/b/c"
    with pytest.raises(SystemExit):
        find({tmp_path: 2, tmp_path / "nothing": 5})


def test_places_are_searched_in_their_order(tmp_path):
    first, second = put(tmp_path / "input/few", 10), put(tmp_path / "content/many", 12)
    assert find({tmp_path / "input": 7, tmp_path / "content": 2}) == first
    assert find({tmp_path / "content": 2, tmp_path / "input": 7}) == second


def test_a_given_place_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"no faces at '.*nothing': set `faces` to a folder or a zip"):
        find({}, str(tmp_path / "nothing"))


def test_the_usual_places_are_those_of_kaggle_colab_and_this_project():
    assert [*faces.PLACES] == ["/kaggle/input", "/content", "/content/drive/MyDrive", ".", ".."]


# the decoder and the order, which are the grader's as well


def picture_file(kind):
    """A picture file that decoders may read in different ways: 70x50, coloured, noisy, partly transparent."""
    noise = np.random.default_rng(3).integers(0, 256, (50, 70, 4), dtype=np.uint8)
    noise[:, :35] = noise[:, :35] // 4
    picture, options = Image.fromarray(noise, "RGBA"), {}
    if kind == "P with transparency":
        picture, options = picture.convert("RGB").quantize(), {"transparency": 3}
    elif kind == "P with many transparencies":
        picture, options = picture.convert("RGB").quantize(), {"transparency": bytes(range(256))}
    elif kind == "L with transparency":
        picture, options = picture.convert("L"), {"transparency": 60}
    elif kind in ("16 bit", "16 bit with transparency"):
        picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif kind == "turned":
        picture, exif = picture.convert("RGB"), Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    elif kind != "RGBA":
        picture = picture.convert(kind)
    if kind in ("turned", "CMYK", "RGB"):
        options |= {"format": "JPEG"}
    file = io.BytesIO()
    picture.save(file, **({"format": "PNG"} | options))
    return clear_at(60 * 257, file.getvalue()) if kind == "16 bit with transparency" else file.getvalue()


KINDS = ["RGB", "RGBA", "LA", "L", "1", "P", "P with transparency", "P with many transparencies"]
KINDS += ["L with transparency", "16 bit", "16 bit with transparency", "turned", "CMYK"]


@pytest.mark.parametrize("size", [64, 32, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_is_the_graders(kind, size):
    data = picture_file(kind)
    pixels = decode(data, size)
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
    assert np.array_equal(pixels, images.decode(data, size)[0])


@pytest.mark.parametrize("encoder", ["webp", "bmp"])
def test_other_formats_are_decoded_as_the_grader_does(encoder):
    file = io.BytesIO()
    with Image.open(io.BytesIO(picture_file("RGB"))) as picture:
        picture.save(file, encoder)
    assert np.array_equal(decode(file.getvalue(), 64), images.decode(file.getvalue(), 64)[0])


BROKEN = {
    "cut off": picture_file("RGBA")[:2000],
    "one bit": bytes(byte ^ (i == 3000) for i, byte in enumerate(picture_file("RGBA"))),
    "no picture": b"no picture",
    "empty": b"",
    "huge": SIGNATURE + header(30_000, 30_000),
    "gif": b"GIF89a\1\0\1\0\0\0\0;",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_the_grader_refuses_is_refused_here(what):
    with pytest.raises(images.UnreadablePicture):
        images.decode(BROKEN[what], 64)
    with pytest.raises(ValueError, match=r"^.+$"):
        decode(BROKEN[what], 64)


def test_the_order_of_names_is_the_graders():
    names = [
        "10.jpg",
        "2.jpg",
        "1.jpg",
        "01.jpg",
        "001.jpg",
        "a.jpg",
        "a1b.jpg",
        "a1.jpg",
        "a01.jpg",
        "ab.jpg",
        "A.jpg",
    ]
    names += ["1a.jpg", "1a2.jpg", "1a10.jpg", "black/2.jpg", "black/10.jpg", "aqua/3.jpg", "aqua 2/1.jpg", "-1.jpg"]
    names += ["٣.jpg", "²1.jpg", "é1.jpg", f"{'9' * 5000}.jpg", "img (2).jpg", "img (10).jpg", ".jpg"]
    right = sorted(names, key=files.natural)
    for seed in range(5):
        random.Random(seed).shuffle(names)
        assert sorted(names, key=natural_key) == right


def test_what_systems_leave_behind_is_the_graders_list():
    names = [*files.SYSTEM_FILES, ".DS_Store", "._1.jpg", ".ipynb_checkpoints", "1.jpg", "faces", "Thumbs.jpg"]
    for name in [*names, "THUMBS.DB", "Desktop.ini", "x.html.parts", "_faces"]:
        assert is_ignored(name) == files.left_behind(name)
        assert is_ignored(f"faces/{name}/2.jpg") == files.left_behind(name)


# reading


def save(path, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (level, 0, 0)).save(path)


def test_a_broken_picture_is_named_and_counted_and_the_others_are_read(tmp_path, capsys):
    for number in (1, 2, 10):
        save(tmp_path / f"{number}.png", number)
    for name in ("3", "4"):
        (tmp_path / f"{name}.png").write_bytes(BROKEN["cut off"])
    pictures, names = read_faces(tmp_path)
    assert names == ["1.png", "2.png", "10.png"]
    assert pictures.shape == (3, 3, 64, 64) and pictures.dtype == torch.uint8 and pictures.is_contiguous()
    assert pictures[:, 0, 0, 0].tolist() == [1, 2, 10]
    assert "left out what cannot be read: 2 of 5 pictures, such as 3.png: " in capsys.readouterr().out


FAILS = "/proc/self/mem"  # Linux answers as a Drive that is gone: Input/output error
GONE = r"cannot be read: Input/output error\. Mount the Drive again"
on_linux = pytest.mark.skipif(not os.path.exists(FAILS), reason=f"no {FAILS}")


@on_linux
def test_a_disk_that_fails_costs_no_faces(tmp_path, capsys):
    """A part of them would be other faces, with which no run goes on."""
    save(tmp_path / "faces/1.png")
    (tmp_path / "faces/2.png").symlink_to(FAILS)
    (tmp_path / "faces/3.png").symlink_to("nothing")
    with pytest.raises(SystemExit, match=f"^{tmp_path}/faces {GONE}"):
        read_faces(tmp_path / "faces")
    (tmp_path / "faces/2.png").unlink()
    save(tmp_path / "faces/2.png")
    assert read_faces(tmp_path / "faces")[1] == ["1.png", "2.png"]
    assert "left out what cannot be read: 1 of 3 pictures, such as 3.png" in capsys.readouterr().out
    for name, look, remedy in (
        ("faces", lambda: read_faces(tmp_path / "faces.zip"), "the notebook again."),
        ("mine", lambda: faces.pictures_in(tmp_path / "mine.zip", 0), "Or set `faces` to your faces.*"),
    ):
        (tmp_path / f"{name}.zip").symlink_to(FAILS)
        with pytest.raises(SystemExit, match=f"^{tmp_path}/{name}.zip {GONE}.* {remedy}$"):
            look()


def test_a_folder_that_cannot_be_listed_drops_out_of_no_set_in_silence(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        save(tmp_path / f"faces/{name}/1.png")
    why, scandir = [], os.scandir

    def scan(folder):
        if why and os.path.basename(folder) == "b":
            raise OSError(why[0], os.strerror(why[0]), str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    why.append(errno.EIO)
    for look in (lambda: read_faces(tmp_path / "faces"), lambda: faces.find_faces("", {tmp_path: 2}, fewest=1)):
        with pytest.raises(SystemExit, match=f"^{tmp_path}/faces/b {GONE}"):
            look()
    why[0] = errno.EACCES
    assert faces.find_faces("", {tmp_path: 2}, fewest=1) == tmp_path / "faces/a"
    assert capsys.readouterr().out == ""
    assert read_faces(tmp_path / "faces")[1] == ["a/1.png"]
    assert capsys.readouterr().out == f"left out {tmp_path}/faces/b, which cannot be read: Permission denied\n"
    (tmp_path / "datasets/b").mkdir(parents=True)
    with pytest.raises(SystemExit, match="holds no readable picture"):
        read_faces(tmp_path / "datasets/b")

    def exists(path):
        if path.parent.name == "b":
            raise PermissionError
        return os.path.exists(path)

    with monkeypatch.context() as patched:
        patched.setattr(faces.Path, "exists", exists)
        assert faces.find_faces("", {tmp_path: 2}, fewest=1) == tmp_path / "faces/a"
    why.clear()
    assert read_faces(tmp_path / "faces")[1] == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_folder_and_a_zip_are_read_alike(tmp_path, as_zip):
    for name in ("b/2.png", "b/10.png", "a/1.png", "__MACOSX/a/._1.png", "a/.hidden.png", ".ipynb_checkpoints/1.png"):
        save(tmp_path / "faces" / name, len(name))
    (tmp_path / "faces/tags.csv").write_text("1,aqua hair\n")
    (tmp_path / "faces/c.png").mkdir()  # a folder that is named like a picture
    source = tmp_path / "faces"
    if as_zip:
        source = tmp_path / "faces.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in sorted((tmp_path / "faces").rglob("*"), reverse=True):
                archive.write(path, path.relative_to(tmp_path / "faces"))
    pictures, names = read_faces(source)
    assert names == ["a/1.png", "b/2.png", "b/10.png"]
    assert pictures[:, 0, 0, 0].tolist() == [7, 7, 8]


def test_one_broken_member_ends_no_notebook(tmp_path, capsys, recwarn):
    for number in (1, 2, 3):
        save(tmp_path / f"{number}.png", number)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for number in (1, 2, 3):
            archive.write(tmp_path / f"{number}.png", f"{number}.png")
    data = bytearray((tmp_path / "faces.zip").read_bytes())
    data[data.index((tmp_path / "1.png").read_bytes()) + 50] ^= 1  # a wrong checksum
    at = data.rindex(b"PK\1\2", 0, data.rindex(b"3.png"))
    data[at + 8] |= 1  # encrypted
    (tmp_path / "faces.zip").write_bytes(data)
    assert read_faces(tmp_path / "faces.zip")[1] == ["2.png"]
    assert "left out what cannot be read: 2 of 3 pictures, such as 1.png: Bad CRC-32" in capsys.readouterr().out
    assert not recwarn


def test_names_with_backslashes_are_paths(tmp_path):
    """As some packers on Windows write them."""
    save(tmp_path / "1.png")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name in ("aqua\\1.png", "red\\2.png", "__MACOSX\\aqua\\1.png"):
            archive.writestr(name, (tmp_path / "1.png").read_bytes())
    assert read_faces(tmp_path / "faces.zip")[1] == ["aqua/1.png", "red/2.png"]


def test_files_behind_links_are_read_and_no_link_leads_in_circles(tmp_path):
    for name in ("store/a", "store/b", "classes/red/3"):
        save(tmp_path / f"{name}.png")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in "ab":
        (snapshot / f"{name}.png").symlink_to(tmp_path / f"store/{name}.png")
    for name, target in (("circle", snapshot), ("more", tmp_path / "classes"), ("again", tmp_path / "classes")):
        (snapshot / name).symlink_to(target)
    (snapshot / "nowhere.png").symlink_to(tmp_path / "nowhere")
    assert read_faces(snapshot)[1] == ["a.png", "again/red/3.png", "b.png"]


def test_a_set_without_a_readable_picture_is_refused(tmp_path):
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(SystemExit, match="holds no readable picture: name another folder or zip"):
        read_faces(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"no zip"])
def test_a_broken_zip_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "faces.zip").write_bytes(content)
    with pytest.raises(SystemExit, match=r"^.*faces\.zip is not a zip, or a broken one: .*$"):
        read_faces(tmp_path / "faces.zip")


def test_faces_are_read_once_in_a_session(tmp_path, monkeypatch):
    save(tmp_path / "1.png")
    first = read_faces(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(faces, "decode", None)
        assert read_faces(tmp_path) is first
    save(tmp_path / "2.png")  # there were too few
    assert len(read_faces(tmp_path)[1]) == 2


@pytest.mark.parametrize("as_zip", [False, True])
def test_other_faces_of_the_same_names_are_read_again(tmp_path, as_zip):
    source = tmp_path / ("faces.zip" if as_zip else "faces")
    for level in (1, 2):
        if source.is_dir():
            source.rename(tmp_path / "old")
        save(tmp_path / "faces/1.png", level)
        if as_zip:
            with zipfile.ZipFile(source, "w") as archive:
                archive.write(tmp_path / "faces/1.png", "1.png")
        os.utime(source if as_zip else source / "1.png", (level, level))
        assert (read_faces(source)[0][:, 0] == level).all()


def test_too_few_faces_for_a_batch_are_told(rendered, tmp_path):
    settings = Settings(faces=str(rendered), batch_size=301)
    with pytest.raises(SystemExit, match="holds 300 faces, fewer than one batch of 301"):
        load_faces(settings, CPU)
    assert load_faces(Settings(faces=str(rendered)), CPU).shape == (300, 3, 64, 64)


# batches


def test_bytes_become_the_range_of_tanh():
    levels = as_input(torch.arange(256, dtype=torch.uint8))
    assert levels[0] == -1 and levels[255] == 1 and levels.dtype == torch.float32


def test_every_epoch_has_every_face_once_in_a_new_order():
    batches = batch_indices(23, 5, seed=3, start=0, device=CPU)
    epochs = [torch.cat([next(batches) for _ in range(4)]) for _ in range(3)]
    assert all(epoch.unique().numel() == 20 for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    again = batch_indices(23, 5, seed=4, start=0, device=CPU)
    assert torch.equal(torch.cat([next(again) for _ in range(4)]), epochs[1])  # the seed of an epoch is seed + epoch


@pytest.mark.parametrize("start", [0, 1, 4, 7, 8])
def test_batches_go_on_as_if_never_interrupted(start):
    whole, rest = (batch_indices(23, 5, seed=3, start=step, device=CPU) for step in (0, start))
    for _ in range(start):
        next(whole)
    assert all(torch.equal(next(whole), next(rest)) for _ in range(10))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_each_batch(monkeypatch, count):
    whole = next(batch_indices(24, 12, seed=3, start=0, device=CPU))
    parts = []
    monkeypatch.setattr(faces, "world_size", lambda: count)
    for rank in range(count):
        monkeypatch.setattr(faces, "rank", lambda rank=rank: rank)
        parts.append(next(batch_indices(24, 12, seed=3, start=0, device=CPU)))
    assert torch.equal(torch.stack(parts, 1).flatten(), whole)


def test_a_batch_has_a_part_of_each_tensor():
    pictures = torch.arange(24, dtype=torch.uint8).view(24, 1, 1, 1)
    labels = torch.arange(24)
    real, label = next(batches_of(pictures, labels, batch_size=6, seed=1))
    assert real.dtype == torch.float32 and label.dtype == torch.long
    assert torch.allclose(real.flatten(), label / 127.5 - 1)
    (real,) = next(batches_of(pictures, batch_size=6, seed=1, start=2))
    assert real.shape == (6, 1, 1, 1)
