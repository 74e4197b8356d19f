"""Real faces shrunk: as the course does it, whatever the files are, and all or nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
import zlib
from importlib import import_module
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from data import DataError
from data.cli import main
from grader.inputs.images import decode
from kit.faces import files_of, is_picture
from tests.conftest import ROOT
from tests.helpers.pngs import SIGNATURE, chunk, header

module = import_module("data.prepare")  # `prepare` is also the name of the function in it
prepare = module.prepare


def counts(*arguments, **options):
    made = prepare(*arguments, **options)
    return made.written, len(made.skipped)


def picture(width=96, height=96, mode="RGB", seed=0):
    smooth = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return smooth.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)


def run(*arguments):
    return CliRunner().invoke(main, ["prepare", *map(str, arguments), "--workers", "1"])


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_shrinks_as_the_course_does(source, tmp_path):
    for name in (2, 10, 1):
        picture(seed=name).save(source / f"{name}.jpg", quality=95)
    assert counts(source, tmp_path / "out", workers=2) == (3, 0)
    for name in (1, 2, 10):
        with Image.open(source / f"{name}.jpg") as image:
            expected = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(pixels(tmp_path / f"out/{name}.png"), expected)
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about == {"name": "source", "count": 3, "size": 64, "source": "source", "filter": "bilinear"}


def test_natural_order_and_limit(source, tmp_path):
    for name in (10, 9, 1, 2):
        picture().save(source / f"{name}.png")
    prepare(source, tmp_path / "out", limit=3, name="mine", workers=1)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["1.png", "2.png", "9.png"]
    assert json.loads((tmp_path / "out/about.json").read_text())["name"] == "mine"


def test_every_mode_becomes_the_right_colours(source, tmp_path):
    half = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    half.paste((0, 0, 255, 255), (20, 0, 40, 40))
    half.save(source / "rgba.png")
    half.convert("LA").save(source / "la.png")
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (20, 0, 40, 40))
    palette.save(source / "palette.png")
    palette.save(source / "transparent.png", transparency=0)
    Image.new("L", (40, 40), 77).save(source / "grey.png")
    Image.new("1", (40, 40), 1).save(source / "bit.png")
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(source / "cmyk.jpg", quality=95)
    Image.fromarray(np.full((40, 40), 32768, np.uint16)).save(source / "deep.png")
    Image.new("RGB", (1, 1), (9, 8, 7)).save(source / "dot.png")
    Image.new("RGB", (40, 40), (0, 200, 0)).save(source / "web.webp", lossless=True)
    Image.new("RGB", (40, 40), (9, 9, 200)).save(source / "plain.bmp")
    assert counts(source, tmp_path / "out", workers=1) == (11, 0)
    corners = {path.stem: tuple(pixels(path)[0, [0, -1]].ravel()) for path in (tmp_path / "out").glob("*.png")}
    white, red, blue = (255, 255, 255), (255, 0, 0), (0, 0, 255)
    assert corners["rgba"] == white + blue
    assert corners["la"] == (*white, 29, 29, 29)
    assert corners["palette"] == red + blue
    assert corners["transparent"] == white + blue
    assert corners["grey"] == (77,) * 6
    assert corners["bit"] == white * 2
    assert corners["cmyk"] == pytest.approx(red * 2, abs=4)
    assert corners["deep"] == (127,) * 6
    assert corners["dot"] == (9, 8, 7) * 2
    assert corners["web"] == (0, 200, 0) * 2
    for path in source.iterdir():  # the grader sees the same before and after
        np.testing.assert_array_equal(
            decode(path.read_bytes(), 64)[0], pixels(tmp_path / f"out/{path.stem}.png"), err_msg=path.name
        )


def test_pixels_are_as_they_are_stored_whatever_exif_says(source, tmp_path):
    image = Image.new("RGB", (40, 40), "black")
    image.paste("white", (0, 0, 40, 20))  # light above; 6 says: turn by 90° clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(source / "turned.jpg", exif=exif, quality=95)
    prepare(source, tmp_path / "out", workers=1)
    stored = pixels(tmp_path / "out/turned.png")
    assert stored[:20].mean() > 245
    assert stored[-20:].mean() < 10


def bomb():
    """20,000 x 20,000 pixels of one bit in a few kilobytes."""
    rows = chunk(b"IDAT", zlib.compress(bytes(2501) * 20_000))
    return SIGNATURE + header(20_000, 20_000, depth=1, colour=0) + rows + chunk(b"IEND")


def test_what_is_broken_is_named_and_skipped(source, tmp_path):
    picture().save(source / "good.jpg")
    jpeg = (source / "good.jpg").read_bytes()
    (source / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (source / "text.jpg").write_text("not a picture at all")
    (source / "empty.png").touch()
    (source / "huge.png").write_bytes(bomb())
    Image.new("1", (9000, 9000)).save(source / "large.png")
    (source / "notes.txt").write_text("hello")
    (source / ".hidden").write_text("what systems leave behind")
    result = run(source, tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines[-1] == "1 face written, 6 skipped"
    for name in ("cut.jpg", "text.jpg", "empty.png", "huge.png", "large.png", "notes.txt"):
        assert [line for line in lines if line.startswith(f"skipped {name}: ")]
    assert "skipped text.jpg: is not a picture (JPEG, PNG, WebP or BMP)" in lines
    assert "skipped huge.png: is far too large" in lines
    assert "skipped large.png: is 9000x9000, too large" in lines
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["good.png"]


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def png(**kwargs):
    buffer = BytesIO()
    picture(**kwargs).save(buffer, "PNG")
    return buffer.getvalue()


def test_zip_to_zip(tmp_path):
    members = {
        "faces/": b"",
        "faces/1.png": png(),
        "faces/more/1.png": png(seed=1),
        "../../escape.png": png(),
        "faces\\7.png": png(),
        "__MACOSX/._1.png": b"junk",
        "tags.csv": b"id,tags\n1,aqua hair\n",
    }
    source = zipped(tmp_path / "set.zip", **members)
    assert counts(source, tmp_path / "out/small.zip", workers=2) == (4, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set.zip"]
    with zipfile.ZipFile(tmp_path / "out/small.zip") as archive:
        expected = ["1-2.png", "1.png", "7.png", "about.json", "escape.png", "tags.csv"]
        assert sorted(archive.namelist()) == expected
        assert archive.read("tags.csv") == members["tags.csv"]


def test_duplicate_stems():
    names = ["a/1.jpg", "b/1.png", "b/1-2.png", "c/1.gif", "d/A.png", "d/a.png", 'e/x:"y.png']
    assert module._stems(names) == ["1", "1-2", "1-2-2", "1-3", "A", "a-2", "x__y"]


def test_a_damaged_member_does_not_stop_the_zip(tmp_path):
    source = zipped(tmp_path / "set.zip", **{"1.png": png(), "2.png": png(seed=1)})
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"IDAT") + 20] ^= 255  # the first member's checksum is wrong now
    source.write_bytes(raw)
    assert counts(source, tmp_path / "out", workers=1) == (1, 1)


def test_a_file_or_folder_that_the_system_does_not_give(source, tmp_path, monkeypatch):
    for name in ("1.png", "2.png", "3.txt"):
        picture().save(source / name, "PNG")
    read = Path.read_bytes

    def refused(path):
        if path.stem in "23":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    made = prepare(source, tmp_path / "out", workers=1)
    reason = "cannot be read (Permission denied)"
    assert (made.written, sorted(made.skipped)) == (1, [f"2.png: {reason}", f"3.txt: {reason}"])

    def scandir(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"source: cannot be read \(Permission denied\); check its permissions"):
        prepare(source, tmp_path / "out", overwrite=True, workers=1)


@pytest.mark.parametrize("content", ["nothing", "text only", "broken zip"])
def test_no_faces_is_an_error_and_leaves_nothing(content, source, tmp_path):
    if content == "text only":
        (source / "1.jpg").write_text("no")
    if content == "broken zip":
        source = tmp_path / "source/broken.zip"
        source.write_bytes(b"PK\x03\x04 and then nothing")
    result = run(source, tmp_path / "out")
    assert result.exit_code == 1
    assert str(source) in result.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_missing_source_is_wrong_use(tmp_path):
    assert run(tmp_path / "nowhere", tmp_path / "out").exit_code == 2
    with pytest.raises(DataError, match="does not exist"):
        prepare(tmp_path / "nowhere", tmp_path / "out")


def test_an_output_is_replaced_only_if_asked_and_ours(source, tmp_path):
    picture().save(source / "1.png")
    out = tmp_path / "out"
    out.mkdir()
    assert run(source, out).exit_code == 0  # an empty folder is free
    again = run(source, out)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
    picture().save(source / "2.png")
    assert run(source, out, "--overwrite").exit_code == 0
    assert (out / "2.png").exists()
    (out / "thesis.docx").touch()
    kept = run(source, out, "--overwrite")
    assert kept.exit_code == 1 and "out: holds thesis.docx, which is no part of a set, and stays" in kept.stderr
    (out / "thesis.docx").rename(out / "mine.csv")
    assert "out: holds mine.csv" in run(source, out, "--overwrite").stderr
    (out / "mine.csv").unlink()
    (out / "about.json").unlink()
    foreign = run(source, out, "--overwrite")
    assert foreign.exit_code == 1 and "holds no about.json" in foreign.stderr
    assert (out / "2.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    (tmp_path / "plain").write_text("a file")
    assert "plain: is a file; name another output" in run(source, tmp_path / "plain", "--overwrite").stderr
    out.rename(tmp_path / "folder.zip")
    (tmp_path / "folder.zip/about.json").touch()
    assert "is a folder; name another output" in run(source, tmp_path / "folder.zip", "--overwrite").stderr
    assert (tmp_path / "folder.zip/2.png").exists()
    (tmp_path / "set.tgz").mkdir()
    assert "a set is a folder or a .zip" in run(source, tmp_path / "set.tgz").stderr
    other = zipped(tmp_path / "other.zip", x=b"")
    assert "holds no about.json" in run(source, other, "--overwrite").stderr
    assert zipfile.ZipFile(other).namelist() == ["x"]
    mixed = zipped(tmp_path / "mixed.zip", **{"about.json": b"{}", "1.png": b"", ".DS_Store": b"", "code/x.py": b""})
    assert "holds code/x.py, which is no part of a set" in run(source, mixed, "--overwrite").stderr
    damaged = zipped(tmp_path / "damaged.zip", **{"about.json": b"{}"})
    damaged.write_bytes(damaged.read_bytes().replace(b"PK\1\2", b"PK\7\7"))
    assert "was not made here" in run(source, damaged, "--overwrite").stderr


@pytest.mark.parametrize("name", [".git/HEAD", ".venv/a/b.py", ".env", ".private/me.png", "board.parts/1.json"])
def test_what_somebody_hid_in_a_set_stays_and_what_systems_left_does_not(name, source, tmp_path):
    picture().save(source / "1.png")
    out = tmp_path / "out"
    prepare(source, out, workers=1)
    for left in (".DS_Store", "._1.png", "@eaDir/1.png", "Thumbs.db"):
        (out / left).parent.mkdir(exist_ok=True)
        (out / left).touch()
    prepare(source, out, overwrite=True, workers=1)
    assert files(out) == ["1.png", "about.json"]
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).touch()
    top = name.partition("/")[0]
    with pytest.raises(DataError, match=f"out: holds {re.escape(top)}, which is no part of a set, and stays"):
        prepare(source, out, overwrite=True, workers=1)
    packed = zipped(tmp_path / "set.zip", **{"about.json": b"{}", "1.png": b"", name: b""})
    with pytest.raises(DataError, match=f"set.zip: holds {re.escape(top)}, which"):
        prepare(source, packed, overwrite=True, workers=1)
    assert (out / name).is_file()


def test_a_mount_point_is_refused_before_the_work(source, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "out")
    with pytest.raises(DataError, match="out: is a mount point; name a folder in it"):
        prepare(source, tmp_path / "out", workers=1)  # of an empty source, which is told later


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_what_appears_at_the_output_meanwhile_stays(name, source, tmp_path, monkeypatch):
    out = tmp_path / name
    picture().save(source / "1.png")
    shrink = module.shrink

    def beside_another(*arguments):
        (out.write_text if out.suffix else (out.mkdir(), out / "theirs")[1].write_text)("theirs")
        return shrink(*arguments)

    monkeypatch.setattr(module, "shrink", beside_another)
    assert "exists already" in run(source, out).stderr
    assert (out if out.suffix else out / "theirs").read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "source"]


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, PermissionError(13, "Permission denied")])
def test_a_set_is_said_to_be_complete_where_what_it_replaced_stays(stopped, source, tmp_path, monkeypatch):
    picture().save(source / "1.png")
    prepare(source, tmp_path / "out", workers=1)
    picture().save(source / "2.png")

    def rmtree(folder):
        raise stopped

    monkeypatch.setattr("data.faceset.shutil.rmtree", rmtree)
    result = run(source, tmp_path / "out", "--overwrite")
    (old,) = tmp_path.glob(".*.old")
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path / 'out'}: is complete; remove {old}, which is left of what it replaced\n"
    assert files(tmp_path / "out") == ["1.png", "2.png", "about.json"]


def test_never_replaces_its_own_source(source, tmp_path):
    picture().save(source / "1.png")
    (tmp_path / "about.json").write_text("{}")
    (source / "about.json").write_text("{}")  # as a set of ours, which may be replaced
    for output in (source, tmp_path):
        result = run(source, output, "--overwrite")
        assert result.stderr == f"{output}: would replace its own source; name another output\n"
        assert result.exit_code == 1
    assert (source / "1.png").exists()


def test_an_interrupt_leaves_the_old_set_and_nothing_else(source, tmp_path, monkeypatch):
    for name in range(4):
        picture().save(source / f"{name}.png")
    out = tmp_path / "out"
    prepare(source, out, limit=1, workers=1)
    shrink, calls = module.shrink, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return shrink(*arguments)

    monkeypatch.setattr(module, "shrink", interrupted)
    result = run(source, out, "--overwrite")
    assert result.exit_code == 130
    assert result.stderr.split("\n") == ["", "stopped: run the same command again", ""]
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "about.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


# Labels


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_folders_are_kept_as_classes(separator, tmp_path):
    members = {
        f"set{separator}aqua{separator}1.png": png(),
        f"set{separator}aqua{separator}2.png": png(seed=2),
        f"set{separator}blue{separator}1.png": png(seed=1),
        f"more{separator}blue{separator}1.png": png(seed=3),
        f"docs{separator}readme.txt": b"no class of its own",
    }
    made = prepare(zipped(tmp_path / "set.zip", **members), tmp_path / "out", workers=1)
    assert made.notes == ["2 folders are kept, as classes: aqua, blue"]
    expected = ["about.json", "aqua/1.png", "aqua/2.png", "blue/1-2.png", "blue/1.png"]
    assert files(tmp_path / "out") == expected
    again = prepare(tmp_path / "out", tmp_path / "again.zip", workers=1)
    assert again.notes == made.notes
    with zipfile.ZipFile(tmp_path / "again.zip") as archive:
        assert sorted(archive.namelist()) == expected


def test_one_folder_is_no_class_and_a_table_says_more_than_folders(tmp_path):
    members = {"faces/1.png": png(), "faces/2.png": png(seed=1)}
    assert prepare(zipped(tmp_path / "one.zip", **members), tmp_path / "one", workers=1).notes == []
    assert files(tmp_path / "one") == ["1.png", "2.png", "about.json"]
    members = {"a\\1.png": png(), "b\\2.png": png(seed=1), "b\\attributes.csv": b"file,hair_colour\n1.png,aqua\n"}
    assert prepare(zipped(tmp_path / "two.zip", **members), tmp_path / "two", workers=1).notes == []
    assert files(tmp_path / "two") == ["1.png", "2.png", "about.json", "attributes.csv"]


@pytest.mark.parametrize("table", ["1,水色 hair\n".encode("big5"), b"\n"])
def test_folders_are_classes_where_no_table_can_be_read(table, tmp_path):
    members = {"set/aqua/1.png": png(), "set/blue/1.png": png(seed=1), "set/tags.csv": table}
    made = prepare(zipped(tmp_path / "set.zip", **members), tmp_path / "out", workers=1)
    assert made.notes[0] == "2 folders are kept, as classes: aqua, blue"
    assert made.notes[1].startswith("set/tags.csv is not carried along, as it is ")
    assert files(tmp_path / "out") == ["about.json", "aqua/1.png", "blue/1.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="not everybody may make links there")
def test_the_name_is_that_of_the_link_not_of_what_it_leads_to(source, tmp_path):
    (tmp_path / "faces.zip").symlink_to(zipped(tmp_path / "5d91aa1e", **{"1.png": png()}))
    prepare(tmp_path / "faces.zip", tmp_path / "out", workers=1)
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert (about["name"], about["source"]) == ("faces", "faces.zip")


def test_labels_csv_goes_along_with_the_new_names(tmp_path):
    table = "\ufefffile,label\r\n1.jpg,aqua\r\nmore\\1.jpg,blue\r\n\r\n3.jpg,red\r\n9.jpg,red\r\n"
    members = {
        "set\\labels.csv": table.encode(),
        "set\\1.jpg": png(),
        "set\\more\\1.jpg": png(seed=1),
        "set\\3.jpg": b"no picture",
    }
    made = prepare(zipped(tmp_path / "set.zip", **members), tmp_path / "out", workers=1)
    assert (tmp_path / "out/labels.csv").read_bytes() == b"file,label\nset/1.png,aqua\nmore/1.png,blue\n"
    assert files(tmp_path / "out") == ["about.json", "labels.csv", "more/1.png", "set/1.png"]
    assert "set/labels.csv: 2 of 4 rows name no face that was written" in made.notes


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("labels.csv", b"1.png,aqua\n", "it does not begin with the line file,label"),
        ("labels.csv", b"", "as it is empty"),
        ("tags.csv", "1,水色 hair\n".encode("big5"), "as it is not in UTF-8: save it as CSV UTF-8"),
    ],
)
def test_a_table_that_says_nothing_is_named(name, table, reason, source, tmp_path):
    picture().save(source / "1.png")
    (source / name).write_bytes(table)
    result = run(source, tmp_path / "out")
    assert result.exit_code == 0
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert note.startswith(f"note: {name} is not carried along")
    assert note.endswith(reason)
    assert files(tmp_path / "out") == ["1.png", "about.json"]


def test_what_of_a_table_does_not_go_along_is_said(tmp_path):
    members = {
        "b/tags.csv": b"1,blue hair\n",
        "tags.csv": b"1,aqua hair\n",
        "a/1.png": png(),
        "b/1.png": png(seed=1),
    }
    made = prepare(zipped(tmp_path / "set.zip", **members), tmp_path / "out", workers=1)
    assert made.notes == [
        "b/tags.csv is not carried along: tags.csv comes first",
        "tags.csv does not know 1 face by its new name, such as b/1.png (now 1-2.png)",
    ]
    assert (tmp_path / "out/tags.csv").read_bytes() == b"1,aqua hair\n"
    raw = (tmp_path / "set.zip").read_bytes()
    (tmp_path / "set.zip").write_bytes(raw.replace(b"1,aqua", b"1,AQUA"))  # its checksum is wrong now
    notes = prepare(tmp_path / "set.zip", tmp_path / "out", overwrite=True, workers=1).notes
    assert notes[0] == "2 folders are kept, as classes: a, b"
    assert notes[2].startswith("tags.csv is not carried along: cannot be unpacked (Bad CRC-32")


def test_files_beside_the_pictures_take_neither_their_names_nor_their_places(source, tmp_path):
    for number in (1, 2, 3):
        picture(seed=number).save(source / f"{number}.png")
        (source / f"{number}.json").write_text("{}")
        (source / f"{number}.gif").write_text("no picture")
    (source / "2.png").rename(source / "2")  # a picture without an ending
    (source / "3.png").rename(source / "3.PNG")
    (source / "tags.csv").write_text("1,aqua hair\n2,blue hair\n")
    made = prepare(source, tmp_path / "out", limit=3, workers=1)
    assert files(tmp_path / "out") == ["1.png", "2.png", "3.png", "about.json", "tags.csv"]
    assert made.notes == []
    reason = "is not a picture (JPEG, PNG, WebP or BMP)"
    assert sorted(made.skipped) == [f"{n}.{kind}: {reason}" for n in (1, 2, 3) for kind in ("gif", "json")]


@pytest.mark.parametrize("name", ["small", "more/小", "small.zip"])
def test_an_output_in_the_source_is_no_part_of_it(name, source, tmp_path):
    (source / "small0").mkdir()
    picture().save(source / "1.png")
    picture(seed=1).save(source / "small0/2.png")
    for _ in range(2):
        made = prepare(source, source / name, overwrite=True, workers=1)
        assert (made.written, made.skipped, made.notes) == (2, [], [])


def test_what_notebooks_made_of_the_faces_is_no_part_of_them(source, tmp_path):
    kept = ["1.png", *(f"{number}.jpg" for number in range(10, 19))]
    made = ["runs/gan/log.csv", "runs/gan/config.json", "runs/gan/samples/1.jpg", "gan2/log.csv", "gan2/samples/1.jpg"]
    made += [f"{folder}/{number}.jpg" for folder in ("outputs", "mine") for number in range(1, 1001)]
    for name in kept + made:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(png() if name == "1.png" else b"")
    result = run(source, tmp_path / "out")
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    looks = {"gan2": "a run", "mine": "a submission", "outputs": "a submission", "runs/gan": "a run"}
    left_out = "note: {} is left out, as it looks like {}: name it alone if it is faces"
    assert notes == [left_out.format(*folder) for folder in looks.items()]
    assert result.stderr.splitlines()[-1] == "1 face written, 9 skipped"
    assert {*filter(is_picture, files_of(source))} == {*kept}  # the notebooks' own reader leaves out the same
    assert f"read ({left_out[6:].format('gan', 'a run')})" in run(source / "runs", tmp_path / "none").stderr
    (source / "18.jpg").unlink()
    names = [path.relative_to(source).as_posix() for path in source.rglob("*.jpg")]
    assert PurePosixPath("mine") not in module._made_of_faces(names)  # so few on top may show what the folders hold
    assert module._made_of_faces(module.NUMBERS) == {}  # named as the source


def test_a_set_made_before_is_no_part_of_the_faces_that_it_was_made_of(source, tmp_path):
    for name in ("a", "b", "c"):
        picture().save(source / f"{name}.png")
    prepare(source, source / "small", workers=1)
    other = run(source, source / "smaller", "--size", "32")
    assert "note: small is left out, as it looks like a set made before: name it alone if it is faces" in other.stderr
    assert other.stderr.splitlines()[-1] == "3 faces written, 0 skipped"
    for name in ("a", "b", "c"):
        (source / f"{name}.png").unlink()
    (source / "runs/gan/samples").mkdir(parents=True)
    for name in ("log.csv", "samples/1.jpg"):
        (source / "runs/gan" / name).write_bytes(b"")
    made = prepare(source, tmp_path / "both", workers=1)  # without others, the sets are what is meant
    assert made.written == 6
    assert made.notes[-1] == "2 folders are kept, as classes: small, smaller"
    picture().save(source / "a.png")
    for about in ('{"name": "by somebody else"}', '{"count": 3, "size": 64, "source": "elsewhere"}'):
        for folder in ("small", "smaller"):
            (source / folder / "about.json").write_text(about)
        assert prepare(source, tmp_path / f"all{len(about)}", workers=1).written == 7


# What is broken, odd, or left behind


def test_whatever_decoding_raises_is_named_and_counted(tmp_path):
    good = png()
    head, end = SIGNATURE + header(8, 8), chunk(b"IEND")
    members = {
        "0.png": good,
        "deflate.png": head + chunk(b"IDAT", b"no deflate data") + end,
        "header.png": SIGNATURE + chunk(b"IHDR", b"short") + end,
        "chunk.png": good[:40] + b"\xff" * 30 + good[70:],
        "bomb.png": head + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27))) + end,
        "secret.png": good,
        "unpacked.png": good,
    }
    source = zipped(tmp_path / "set.zip", **members)
    raw = bytearray(source.read_bytes())
    for name, at, value in ((b"secret.png", 8, 1), (b"unpacked.png", 10, 99)):  # encrypted; an unknown compression
        raw[raw.rindex(name) - 46 + at] = value
        raw[raw.index(name) - 30 + at - 2] = value
    source.write_bytes(raw)
    for workers in (1, 2):
        made = prepare(source, tmp_path / "out", overwrite=True, workers=workers)
        assert made.written == 1
        assert sorted(line.partition(":")[0] for line in made.skipped) == sorted(set(members) - {"0.png"})
        assert all("\n" not in line and str(tmp_path) not in line and len(line) < 300 for line in made.skipped)


def test_many_warnings_are_one_line_with_a_count(source, tmp_path):
    picture().save(source / "0.png")
    for number in range(1, 72):
        (source / f"{number}.png").write_bytes(b"no picture")
    result = run(source, tmp_path / "out")
    lines = result.stderr.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("skipped 1.png: ")
    assert lines[-2:] == ["and 61 more such files", "1 face written, 71 skipped"]


def test_what_systems_leave_behind_is_passed_over(source, tmp_path):
    picture().save(source / "1.png")
    for name in ("@eaDir/1.png", ".ipynb_checkpoints/1-checkpoint.jpg", "__MACOSX/._1.png", "._1.png"):
        (source / name).parent.mkdir(exist_ok=True)
        picture().save(source / name)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (source / name).write_bytes(b"what systems leave behind")
    assert counts(source, tmp_path / "out", workers=1) == (1, 0)
    assert files(tmp_path / "out") == ["1.png", "about.json"]


def test_odd_names_in_archives(tmp_path):
    names = {
        "CON.png": "_CON",
        "aux.tar.png": "_aux.tar",
        "水.png": "水",
        "長" * 120 + ".png": "長" * 66,  # 200 bytes of 360
        "x\ny.png": "x_ny",
        "e\u0301.png": "e\u0301",
        "\xe9.png": "\xe9-2",  # the same name to macOS
        "1. .png": "1",
        "/root/C:/../2.png": "2",
    }
    source = zipped(tmp_path / "set.zip", **dict.fromkeys(names, png()), **{"n" * 500 + ".png": png()})
    made = prepare(source, tmp_path / "out.zip", workers=1)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert sorted(archive.namelist()) == sorted(["about.json", *(f"{name}.png" for name in names.values())])
    assert len(made.skipped) == 1
    assert "is a name of 504 characters" in made.skipped[0]
    source.write_bytes(source.read_bytes().replace("水".encode(), b"\xff\xfe\xfd"))  # said to be UTF-8, and is not
    broken = run(source, tmp_path / "broken")
    assert broken.exit_code == 1
    assert len(broken.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text(source, tmp_path):
    for name in (b"\xff\xfe.png", "水".encode("big5") + b".png", b"a\nb.png", b"CON.png", b"1 .png"):
        Path(os.fsdecode(bytes(source) + b"/" + name)).write_bytes(png())
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    source.rename(odd)
    assert counts(odd, tmp_path / "out", workers=1) == (5, 0)
    names = files(tmp_path / "out")
    assert names == ["1.png", "_CON.png", "_udcff_udcfe.png", "a_nb.png", "about.json", "水.png"]
    assert json.loads((tmp_path / "out/about.json").read_text(encoding="utf-8"))["name"] == "\\udcff"


@pytest.mark.skipif(sys.platform == "win32", reason="links want rights there")
def test_files_behind_links_are_read_once_and_no_link_leads_round(source, tmp_path):
    (tmp_path / "store/aqua").mkdir(parents=True)
    (tmp_path / "store/blob").write_bytes(png())
    picture(seed=1).save(tmp_path / "store/aqua/2.png")
    (source / "1.png").symlink_to("../store/blob")
    (source / "aqua").symlink_to("../store/aqua")
    (source / "round").symlink_to(".")
    (source / "self.png").symlink_to("self.png")
    (source / "gone.png").symlink_to("nowhere.png")
    made = prepare(source, tmp_path / "out", workers=1)
    assert files(tmp_path / "out") == ["1.png", "2.png", "about.json"]
    assert [line.split()[0] for line in made.skipped] == ["'gone.png'", "'round'", "'self.png'"]


def test_here_and_its_parent(source, tmp_path, monkeypatch):
    picture().save(source / "1.png")
    monkeypatch.chdir(source)
    assert run(".", "../out").exit_code == 0
    assert json.loads((tmp_path / "out/about.json").read_text())["name"] == "source"
    for output in (".", ".."):
        assert "would replace its own source" in run(".", output, "--overwrite").stderr
    assert files(source) == ["1.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="locales of POSIX")
@pytest.mark.parametrize("encoding", ["ascii", "cp950"])
def test_what_is_written_does_not_depend_on_the_locale(encoding, source, tmp_path):
    (source / "水色").mkdir()
    (source / "é").mkdir()
    picture().save(source / "水色/髪.png")
    picture().save(source / "é/1.png")
    (source / "é/labels.csv").write_text("file,label\n1.png,藍\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": encoding}
    for arguments in (["prepare", str(source), str(tmp_path / "out.zip"), "--name", "臉"], ["prepare", "--help"]):
        command = [sys.executable, "-m", "data", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | plain, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert len(archive.namelist()) == 4
        assert json.loads(archive.read("about.json").decode("utf-8"))["count"] == 2
        assert archive.read("labels.csv").decode("utf-8").endswith("1.png,藍\n")


def test_a_tgz_is_read_too(tmp_path):
    with tarfile.open(tmp_path / "set.tgz", "w:gz") as archive:
        for number in (10, 9, 1):
            entry = tarfile.TarInfo(f"faces/{number}.png")
            entry.size = len(png())
            archive.addfile(entry, BytesIO(png()))
        link = tarfile.TarInfo("faces/2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    made = prepare(tmp_path / "set.tgz", tmp_path / "out", limit=2, workers=1)
    assert files(tmp_path / "out") == ["1.png", "9.png", "about.json"]
    assert made.skipped == ["'faces/2.png' is a link or a device: pack the pictures themselves"]


def test_a_name_that_a_zip_holds_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in (0, 1):
            archive.writestr("1.png", png(seed=seed))
    assert counts(tmp_path / "set.zip", tmp_path / "out", workers=1) == (2, 0)
    assert not np.array_equal(pixels(tmp_path / "out/1.png"), pixels(tmp_path / "out/1-2.png"))


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_with_workers_leaves_nothing(tmp_path):
    source = zipped(tmp_path / "set.zip", **dict.fromkeys((f"{n}.png" for n in range(4000)), png()))
    command = [sys.executable, "-m", "data", "prepare", str(source), str(tmp_path / "out"), "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (begun := list(tmp_path.glob(".*/*.png"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert begun and process.returncode == 130
    assert errors.split("\n") == ["", "stopped: run the same command again", ""]
    assert files(tmp_path) == ["set.zip"]


def test_the_old_set_comes_back_when_the_new_one_cannot_be_put_in_its_place(source, tmp_path, monkeypatch):
    picture().save(source / "1.png")
    prepare(source, tmp_path / "out", workers=1)
    picture().save(source / "2.png")

    def refused(old, new):
        raise PermissionError(13, "Permission denied", str(new))

    monkeypatch.setattr(os, "replace", refused)
    result = run(source, tmp_path / "out", "--overwrite")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "cannot be written (Permission denied)" in line
    assert files(tmp_path) == ["out/1.png", "out/about.json", "source/1.png", "source/2.png"]


def test_a_set_that_was_drawn_stays_one(source, tmp_path):
    """The notebooks' last cell knows it by the seed in about.json, and a score calls it by its name."""
    (source / "faces").mkdir()
    picture().save(source / "faces/1.png")
    (source / "faces/about.json").write_text('{"name": "generated", "seed": 7, "size": 96}')
    for name, called in ((None, "generated"), ("mine", "mine")):
        prepare(source, tmp_path / called, name=name, workers=1)
        about = json.loads((tmp_path / called / "about.json").read_text())
        assert (about["name"], about["seed"], about["size"]) == (called, 7, 64)
    for other in ('{"name": "generated"}', "[1]", "no json", '{"seed": 1, "name": 2}'):
        (source / "about.json").write_text(other)  # it lies above the other one
        prepare(source, tmp_path / "out", workers=1, overwrite=True)
        about = json.loads((tmp_path / "out/about.json").read_text())
        assert about["name"] == "source" and ("seed" in about) == (other.startswith('{"seed'))
