"""Real faces shrunk: as the course does it, whatever the files are, and all or nothing."""

import json
import struct
import zipfile
import zlib
from importlib import import_module
from io import BytesIO

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from data import DataError
from data.cli import main

module = import_module("data.prepare")  # `prepare` is also the name of the function in it
prepare = module.prepare


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
    assert prepare(source, tmp_path / "out", workers=2) == (3, 0)
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
    assert prepare(source, tmp_path / "out", workers=1) == (10, 0)
    corners = {path.stem: tuple(pixels(path)[0, [0, -1]].ravel()) for path in (tmp_path / "out").glob("*.png")}
    white, red, blue = (255, 255, 255), (255, 0, 0), (0, 0, 255)
    assert corners["rgba"] == white + blue
    assert corners["la"] == (*white, 29, 29, 29)
    assert corners["palette"] == red + blue
    assert corners["transparent"] == white + blue
    assert corners["grey"] == (77,) * 6
    assert corners["bit"] == white * 2
    assert corners["cmyk"] == pytest.approx(red * 2, abs=4)
    assert corners["deep"] == (128,) * 6
    assert corners["dot"] == (9, 8, 7) * 2
    assert corners["web"] == (0, 200, 0) * 2


def test_turned_upright_by_exif(source, tmp_path):
    image = Image.new("RGB", (40, 40), "black")
    image.paste("white", (0, 0, 40, 20))  # light above; 6 says: turn by 90° clockwise, so light to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(source / "turned.jpg", exif=exif, quality=95)
    prepare(source, tmp_path / "out", workers=1)
    upright = pixels(tmp_path / "out/turned.png")
    assert upright[:, :20].mean() < 10
    assert upright[:, -20:].mean() > 245


def bomb():
    """20,000 x 20,000 pixels of one bit in a few kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(2501) * 20_000)
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


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
    assert lines[-1] == "1 faces written, 6 skipped"
    for name in ("cut.jpg", "text.jpg", "empty.png", "huge.png", "large.png", "notes.txt"):
        assert [line for line in lines if line.startswith(f"skipped {name}: ")]
    assert "skipped text.jpg: not a picture" in lines
    assert "skipped huge.png: more than 64 megapixels" in lines
    assert "skipped large.png: 9000x9000 is more than 64 megapixels" in lines
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
    assert prepare(source, tmp_path / "out/small.zip", workers=2) == (4, 0)
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
    assert prepare(source, tmp_path / "out", workers=1) == (1, 1)


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
    (out / "about.json").unlink()
    foreign = run(source, out, "--overwrite")
    assert foreign.exit_code == 1
    assert (out / "2.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    (tmp_path / "plain").write_text("a file")
    assert run(source, tmp_path / "plain", "--overwrite").exit_code == 1
    other = zipped(tmp_path / "other.zip", x=b"")
    assert run(source, other, "--overwrite").exit_code == 1
    assert zipfile.ZipFile(other).namelist() == ["x"]


def test_never_replaces_its_own_source(source, tmp_path):
    picture().save(source / "1.png")
    (tmp_path / "about.json").write_text("{}")
    for output in (source, tmp_path):
        assert run(source, output, "--overwrite").exit_code == 1
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
    assert result.stderr == "interrupted; run the same command again\n"
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "about.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
