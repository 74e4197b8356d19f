"""Submissions as strangers send them: what is accepted, and what the message is where one is not."""

import errno
import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from grader.inputs.images import decode, jpeg_quality
from grader.inputs.submission import COUNT, BadSubmission, NotRead, Several, read_handed_in, read_submission
from tests.helpers.pngs import HEADER, chunk, clear_at

NAMES = [f"{number}.jpg" for number in range(1, COUNT + 1)]


def encoded(shade=128, size=(64, 64), mode="RGB", form="JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade % 256, 90, 160)).convert(mode).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A good submission: name -> bytes, every picture of its own shade."""
    return {name: encoded(number) for number, name in enumerate(NAMES)}


def folder_of(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def tgz_of(files: dict[str, bytes], path: Path, extra: list[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in extra:
            archive.addfile(entry)
    return path


def zip_of(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def problems(source: Path, **options) -> str:
    with pytest.raises(BadSubmission) as caught:
        read_submission(source, **options)
    assert all("\n" not in line for line in caught.value.problems)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("form", ["folder", "tgz", "dotted tgz", "zip"])
def test_good_submissions_read_alike(files, tmp_path, form):
    source = {
        "folder": lambda: folder_of(files, tmp_path / "outputs"),
        "tgz": lambda: tgz_of(files, tmp_path / "my.tgz"),
        "dotted tgz": lambda: tgz_of({f"./{name}": data for name, data in files.items()}, tmp_path / "my.tgz"),
        "zip": lambda: zip_of(files, tmp_path / "my.zip"),
    }[form]()
    submission = read_submission(source)
    assert submission.names == NAMES
    assert submission.pictures.shape == (COUNT, 64, 64, 3)
    assert submission.pictures.dtype == np.uint8
    assert not submission.notes
    shades = submission.pictures[:, 32, 32, 0].astype(int)
    assert np.abs(shades - np.arange(COUNT) % 256).max() <= 3  # in order, and not mixed up


def test_missing_empty_and_unreadable_sources(tmp_path):
    assert "no such file or folder" in problems(tmp_path / "nowhere")
    assert "holds no picture" in problems(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert "holds no picture" in problems(tmp_path)
    assert "not a folder, .zip or .tar" in problems(tmp_path / "notes.txt")


def test_folder_without_permission(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refused)  # no mode of a folder keeps root out
    assert "cannot be read (Permission denied): check its permissions" in problems(tmp_path)


def test_a_picture_that_the_system_does_not_give_is_named_after_what_is_wrong_before_it(tmp_path, monkeypatch):
    folder = folder_of({"1.jpg": b"text", "2.jpg": b"", "3.jpg": b""}, tmp_path)
    read = Path.read_bytes

    def refused(path):
        if path.name == "2.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(NotRead) as e:
        read_submission(folder)
    first, second = e.value.problems
    assert first.startswith("1.jpg is not a picture")
    assert second == f"{folder}/2.jpg: cannot be read (Permission denied): check its permissions"


def test_an_array_in_a_folder_that_may_not_be_searched(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)  # as before Python 3.14
    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(NotRead, match=r"mine\.npz: cannot be read \(Permission denied\): check its permissions"):
        read_submission(tmp_path / "mine.npz")


@pytest.mark.parametrize("name", ["my.tgz", "my.zip", "my.npz"])
def test_what_the_system_does_not_give_is_no_broken_archive(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"PK\3\4" if name != "my.tgz" else b"\x1f\x8b")
    with pytest.raises(BadSubmission) as e:
        read_submission(tmp_path / name)
    assert type(e.value) is BadSubmission

    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("gzip.open" if name == "my.tgz" else "zipfile.ZipFile", fails)
    with pytest.raises(NotRead, match=r"my\....: cannot be read \(Input/output error\): check its permissions$"):
        read_submission(tmp_path / name)
    with pytest.raises(NotRead):
        read_submission(tmp_path / "nowhere.tgz")


def test_a_zip_that_names_a_place_outside_itself_is_broken(files, tmp_path):
    """And no fault of the system's, though this is who says so."""
    zip_of({"1.jpg": files["1.jpg"], "2.jpg": files["2.jpg"]}, tmp_path / "my.zip")
    data = (tmp_path / "my.zip").read_bytes()
    at = data.rindex(b"PK\1\2")  # the second entry's, whose place is told by a field of 64 bits
    end = data.rindex(b"PK\5\6")
    size, start = struct.unpack("<II", data[end + 12 : end + 20])
    far = struct.pack("<HHQ", 1, 8, 2**63 - 1)
    entry = (
        data[at : at + 30] + struct.pack("<H", len(far)) + data[at + 32 : at + 42] + b"\xff" * 4 + data[at + 46 : end]
    )
    tail = data[end : end + 12] + struct.pack("<II", size + len(far), start) + data[end + 20 :]
    (tmp_path / "my.zip").write_bytes(data[:at] + entry + far + tail)
    with pytest.raises(BadSubmission, match=r"2\.jpg cannot be unpacked") as e:
        read_submission(tmp_path / "my.zip")
    assert type(e.value) is BadSubmission


def test_broken_off_archive(files, tmp_path):
    path = tgz_of(files, tmp_path / "my.tgz")
    path.write_bytes(path.read_bytes()[:-5000])
    assert "jpg cannot be unpacked" in problems(path)
    path.write_bytes(path.read_bytes()[:10])
    assert "not a folder, .zip or .tar[.gz] that can be read" in problems(path)


def test_one_picture_short_or_over(files, tmp_path):
    short = folder_of({name: files[name] for name in NAMES[:572] + NAMES[573:]}, tmp_path / "short")
    message = problems(short)
    assert "holds 999 pictures" in message
    assert "missing 573.jpg" in message
    over = folder_of(files | {"1001.jpg": files["1.jpg"]}, tmp_path / "over")
    message = problems(over)
    assert "holds 1,001 pictures" in message
    assert "1001.jpg" in message


@pytest.mark.parametrize(
    ("names", "broken", "says"),
    [
        (NAMES[:-1], NAMES, ["holds 999", "missing 1000.jpg"]),
        (NAMES[:-1], ["500.jpg"], ["holds 999", "missing 1000.jpg"]),
        ([*NAMES, "1001.jpg"], ["1001.jpg"], ["holds 1,001", "unexpected names (1001.jpg): name"]),
        (["0.jpg", *NAMES[:-1]], None, ["unexpected names (0.jpg): name"]),
        ([f"outputs/{name}" for name in NAMES], None, ["inside outputs/: pack"]),
        ([f"outputs/{name}" for name in NAMES[:-1]], [], ["inside outputs/: pack", "holds 999", "missing 1000.jpg"]),
        ([f"a/{name}" for name in NAMES[1:]] + ["b/2.jpg"], [], ["inside a, b/: pack", "missing 1.jpg"]),
    ],
)
def test_names_are_told_whether_pictures_can_be_read_or_not(tmp_path, monkeypatch, names, broken, says):
    broken = names if broken is None else broken
    data = encoded()
    source = zip_of({name: b"text" if name in broken else data for name in names}, tmp_path / "my.zip")
    monkeypatch.setattr(
        "grader.inputs.submission.decode", lambda data, *_, **__: decode(data) if data == b"text" else (0, "RGB")
    )
    lines = [line.removeprefix(f"{source}: ") for line in problems(source).splitlines()]
    form = [line for line in lines if not line.endswith(("make it again", "more such files"))]
    for line, start in zip(form, says, strict=True):
        assert start in line and (not start.startswith("missing") or line == start)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded()[:-300], "7.jpg is damaged"),
        (b"just text", "7.jpg is not a picture"),
        (b"", "7.jpg is not a picture"),
        (encoded(size=(1, 1)), "7.jpg is 1x1: write pictures of 64x64"),
        (encoded(size=(15000, 15000), mode="1", form="PNG"), "7.jpg is far too large"),
    ],
    ids=["truncated", "text", "nothing", "1x1", "15000x15000"],
)
def test_bad_pictures_are_named(files, tmp_path, data, message):
    assert message in problems(tgz_of(files | {"7.jpg": data}, tmp_path / "my.tgz"))


def test_many_bad_pictures_make_a_short_message(files, tmp_path):
    message = problems(folder_of(dict.fromkeys(files, b"text"), tmp_path))
    assert len(message.splitlines()) <= 13
    assert "990 more" in message


@pytest.mark.parametrize(("mode", "form"), [("L", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG")])
def test_other_modes_are_read_as_rgb_with_a_note(files, tmp_path, mode, form):
    submission = read_submission(tgz_of(files | {"7.jpg": encoded(128, mode=mode, form=form)}, tmp_path / "my.tgz"))
    assert any(mode in note for note in submission.notes)
    assert submission.pictures[6].shape == (64, 64, 3)
    if mode != "L":
        assert np.abs(submission.pictures[6, 32, 32].astype(int) - [128, 90, 160]).max() < 30


def test_transparency_is_laid_on_white(files, tmp_path):
    file = io.BytesIO()
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(file, "PNG")
    submission = read_submission(tgz_of(files | {"7.jpg": file.getvalue()}, tmp_path / "my.tgz"))
    assert (submission.pictures[6] == 255).all()


def test_16_bits_are_scaled_and_nothing_is_turned_or_animated(files, tmp_path):
    deep, clear, moving, turned = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    grey = np.full((64, 64), 200 * 257, np.uint16)
    Image.fromarray(grey).save(deep, "PNG")
    grey[:32] = 7
    Image.fromarray(grey).save(clear, "PNG")
    clear = clear_at(7, clear.getvalue())
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    red.save(moving, "WEBP", save_all=True, append_images=[blue] * 20, lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    half = red.copy()
    half.paste(blue, (0, 32))
    half.save(turned, "PNG", exif=exif)
    odd = {
        "1.jpg": deep.getvalue(),
        "2.jpg": moving.getvalue(),
        "3.jpg": turned.getvalue(),
        "4.jpg": clear,
    }
    pictures = read_submission(tgz_of(files | odd, tmp_path / "my.tgz")).pictures
    assert (pictures[0] == 200).all()
    assert (pictures[1] == (255, 0, 0)).all()
    assert (pictures[2, :32] == (255, 0, 0)).all() and (pictures[2, 32:] == (0, 0, 255)).all()
    assert (pictures[3, :32] == 255).all() and (pictures[3, 32:] == 200).all()


def test_other_formats_are_not_opened_whatever_their_name(files, tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n"
    for data in (postscript, encoded(form="GIF"), encoded(form="TIFF"), encoded(form="PPM")):
        assert "7.jpg is not a picture" in problems(tgz_of(files | {"7.jpg": data}, tmp_path / "my.tgz"))


def test_large_pictures_are_refused_by_their_header(files, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("it was decoded"))
    folder = folder_of(dict.fromkeys(files, encoded(size=(65, 64), form="PNG")), tmp_path / "large")
    assert "1.jpg is 65x64: write pictures of 64x64" in problems(folder)


def test_parent_folder_in_the_archive(files, tmp_path):
    message = problems(tgz_of({f"outputs/{name}": data for name, data in files.items()}, tmp_path / "my.tgz"))
    assert message == f"{tmp_path}/my.tgz: the pictures are inside outputs/: pack them flat (tar -czf ../my.tgz *.jpg)"


@pytest.mark.parametrize("name", ["../7.jpg", "/tmp/7.jpg", "a/../../7.jpg", "C:\\7.jpg", "..\\7.jpg"])
def test_names_that_leave_the_archive_are_refused(files, tmp_path, name):
    assert "outside the archive" in problems(tgz_of({name: files["7.jpg"]}, tmp_path / "my.tgz"))
    assert "outside the archive" in problems(zip_of({name: files["7.jpg"]}, tmp_path / "my.zip"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.tgz", "my.zip"]  # nothing was extracted


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(files, tmp_path, kind):
    link = tarfile.TarInfo("7.jpg")
    link.type, link.linkname = kind, "/etc/passwd"
    del (rest := dict(files))["7.jpg"]
    assert "'7.jpg' is a link or a device" in problems(tgz_of(rest, tmp_path / "my.tgz", [link]))


def test_links_in_folders_and_zips_are_refused(files, tmp_path):
    folder = folder_of(files, tmp_path / "outputs")
    (folder / "7.jpg").unlink()
    (folder / "7.jpg").symlink_to(folder / "8.jpg")
    assert "'7.jpg' is a link" in problems(folder)
    entry = zipfile.ZipInfo("7.jpg")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert "'7.jpg' is a link" in problems(tmp_path / "my.zip")


def test_too_many_files_and_bombs_are_refused(tmp_path):
    many = zip_of({f"{number}.txt": b"" for number in range(6000)}, tmp_path / "many.zip")
    assert "more than 5,000 files" in problems(many)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(1, 11):
            archive.writestr(f"{number}.jpg", bytes(30 * 10**6))
    assert "MB unpacked" in problems(tmp_path / "bomb.zip")


def test_the_same_name_twice(files, tmp_path):
    with tarfile.open(tmp_path / "my.tgz", "w:gz") as archive:
        for name in [*NAMES, "7.jpg"]:
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    assert "7.jpg is there twice" in problems(tmp_path / "my.tgz")
    twice = zip_of({"7.jpg": b"text"}, tmp_path / "my.zip")
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("7.jpg", b"text")
    assert "7.jpg is there twice" in problems(twice)


def test_what_ends_the_reading_hides_nothing_before_it(tmp_path):
    message = problems(zip_of({"1.jpg": b"text", "../2.jpg": b""}, tmp_path / "my.zip"))
    assert "1.jpg is not a picture" in message and "outside the archive" in message


def test_no_archive_counts_for_pictures_that_cannot_be_read(tmp_path, monkeypatch):
    """A passing error of the disk, say."""
    (tmp_path / "good.tgz").touch()

    def read_submission(source):
        if source == tmp_path:
            raise NotRead([f"{source}: cannot be read (Stale file handle): check its permissions"])
        return "older pictures"

    monkeypatch.setattr("grader.inputs.submission.read_submission", read_submission)
    with pytest.raises(NotRead):
        read_handed_in(tmp_path)


def test_what_systems_leave_behind_is_passed_over(files, tmp_path):
    leftovers = {"__MACOSX/._1.jpg": b"x", ".DS_Store": b"x", "._2.jpg": b"x", "Thumbs.db": b"x"}
    submission = read_submission(zip_of(files | leftovers | {"readme.txt": b"hello"}, tmp_path / "my.zip"))
    assert submission.notes == ["passed over: 1 other file (readme.txt)"]


def test_loose_takes_any_pictures(tmp_path):
    files = {"a b/ü.png": encoded(form="PNG", size=(96, 80)), "x.webp": encoded(form="WEBP"), "t.jpg": b"text"}
    assert "t.jpg is not a picture" in problems(folder_of(files, tmp_path), loose=True)
    (tmp_path / "t.jpg").unlink()
    submission = read_submission(tmp_path, loose=True)
    assert submission.pictures.shape == (2, 64, 64, 3)
    (tmp_path / "x.webp").unlink()
    assert "at least 2" in problems(tmp_path, loose=True)


def test_loose_takes_no_more_than_can_be_held(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.inputs.submission.MAX_LOOSE", 3)
    folder = folder_of({f"{number}.png": encoded(form="PNG") for number in range(3)}, tmp_path)
    assert len(read_submission(folder, loose=True).pictures) == 3
    (folder / "4.png").write_bytes(encoded())
    assert "more than 3 pictures: score a part of them" in problems(folder, loose=True)


def test_names_reach_no_terminal_raw(files, tmp_path):
    nasty = {"\x1b[2J.jpg": b"text", "\udcff\r.jpg": files["1.jpg"], "\x07.txt": b""}
    tgz = tgz_of(files | nasty, tmp_path / "\x1b]0;owned\x07.tgz")
    message = problems(tgz)
    assert message.replace("\n", "").isprintable()
    assert r"\x1b[2J.jpg is not a picture" in message and r"\udcff\r.jpg" in message


def test_an_oversize_archive_is_noted(files, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=95)
    submission = read_submission(zip_of(dict.fromkeys(files, file.getvalue()), tmp_path / "my.zip"))
    size = (tmp_path / "my.zip").stat().st_size
    assert submission.notes == [f"my.zip is {size:,} bytes, over the course's limit of 2 MB"]


@pytest.mark.parametrize("shape", [(1000, 64, 64, 3), (1000, 3, 64, 64)])
def test_arrays_of_pictures(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with open(tmp_path / "MINE.NPZ", "wb") as file:
        np.savez_compressed(file, pixels)
    submission = read_submission(tmp_path / "MINE.NPZ")
    expected = pixels if shape[-1] == 3 else pixels.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(submission.pictures, expected)
    assert submission.names[999] == "1000.jpg"


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((999, 64, 64, 3), np.uint8), "holds 999"),
        (np.zeros((1000, 64, 64, 3), np.float32), "float32"),
        (np.zeros((1000, 32, 32, 3), np.uint8), "32, 32"),
        (np.array([{"a": open}] * 3, dtype=object), "cannot be read"),
        (np.zeros((30000, 64, 64, 3), np.uint8), "30000, 64"),
    ],
)
def test_arrays_of_something_else(tmp_path, array, problem):
    np.savez_compressed(tmp_path / "mine.npz", array)
    with pytest.raises(BadSubmission, match=problem):
        read_submission(tmp_path / "mine.npz")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "mine.npz").read_bytes()[:200])
    with pytest.raises(BadSubmission, match="cannot be read"):
        read_submission(tmp_path / "torn.npz")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def npy(text: str, version=b"\1\0", length: int | None = None) -> bytes:
    size = (len(text) if length is None else length).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 64, 64, 3)}"), "1000000000000, 64"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 64, 64, 3)}"), r"-1, 64"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000, 64, 64, 3)}"), "too early"),
        (npy("{'descr': '|S2147483647', 'fortran_order': False, 'shape': (9,)}"), "S2147483647"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1000, 64, 64, 3)}"), "object"),
        (npy("{}", b"\2\0", 2**32 - 1), "format"),
        (npy("-" * 9000 + "1"), "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_an_array_is_not_believed(tmp_path, content, problem):
    path = zip_of({"a.npy": content}, tmp_path / "mine.npz")
    assert problem in problems(path).replace("\\", "")


def test_what_a_file_calls_itself_is_not_repeated_at_length(tmp_path):
    path = zip_of({"a" * 5000: b""}, tmp_path / "mine.npz")
    path.write_bytes(path.read_bytes().replace(b"aaa", b"bbb", 1))  # the two places that name it differ
    assert "differ" not in problems(path) and len(problems(path)) < 500 + len(str(path))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("object.npz", np.array([Payload()] * 1000, dtype=object))
    with open("plain.npz", "wb") as file:
        pickle.dump(Payload(), file)
    zip_of({"a.npy": pickle.dumps(Payload())}, tmp_path / "packed.npz")
    for name in ("object", "plain", "packed"):
        assert "cannot be read" in problems(tmp_path / f"{name}.npz")
    assert "cannot be read" in problems(zip_of({}, tmp_path / "empty.npz"))
    assert not (tmp_path / "unpickled").exists()


def test_texts_of_a_png_are_not_unpacked(monkeypatch):
    """64 MB of them a picture took four minutes for a submission of under a megabyte."""
    data = encoded(form="PNG")
    texts = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20))) * 200
    unpacked = []
    monkeypatch.setattr(PngImagePlugin, "_safe_zlib_decompress", lambda text: unpacked.append(text) or b"")
    pictures = [decode(one)[0] for one in (data, data[:HEADER] + texts + data[HEADER:])]
    assert np.array_equal(*pictures)
    assert not unpacked


def test_a_message_names_what_was_found_instead(tmp_path):
    folder = tmp_path / "eve"
    folder.mkdir()
    tgz = tgz_of({"1.jpg": encoded()}, folder / "a.tgz")
    assert "holds no picture but an archive (a.tgz), packed below" in problems(folder)
    assert "but an archive (a.tgz), packed twice" in problems(zip_of({"a.tgz": tgz.read_bytes()}, tmp_path / "x.zip"))
    (folder / "b.zip").write_bytes(b"")
    assert "2 archives (a.tgz, b.zip), and only one can count" in problems(folder)
    assert "is empty, 0 bytes: make it again, or upload" in problems(folder / "b.zip")
    assert "1 other file (report.pdf)" in problems(tgz_of({"report.pdf": b"x"}, tmp_path / "x.tgz"))
    folder = folder_of({"1.jpg": encoded(), "a.tgz": b""}, tmp_path / "both")
    assert "beside an archive (a.tgz)" in problems(folder)


@pytest.mark.parametrize(
    ("names", "several"),
    [
        (["ada/1.jpg", "eve/1.jpg"], True),
        (["ada/gan.tgz", "eve/gan.rar"], True),
        (["gan.tgz"], False),
        (["outputs/1.jpg", "docs/plot.png"], False),  # of one person's code
        ([f"{name}/{n}.jpg" for name in ("ada", "eve") for n in range(2501)], True),  # too many to be read
        ([f"{n}.jpg" for n in range(5001)], False),
        (["1.jpg", "1.jpg"], False),
    ],
)
def test_what_may_hold_a_class_is_told_from_one_broken_submission(tmp_path, names, several):
    path = tmp_path / "late.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name in names:
            archive.writestr(name, b"")
    with pytest.raises(BadSubmission) as e:
        read_submission(path)
    assert isinstance(e.value, Several) == several


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95, 99, 100])
def test_the_quality_of_a_jpeg_is_told_from_its_tables(quality):
    picture, file = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    assert abs(jpeg_quality(file.getvalue(), 64) - quality) <= (quality < 99)
    assert jpeg_quality(file.getvalue(), 256) is None
    assert jpeg_quality(encoded(form="PNG"), 64) is None
    assert jpeg_quality(file.getvalue()[:30], 64) is None


def test_a_submission_knows_how_its_pictures_are_stored(tmp_path):
    jpegs = {f"{number}.jpg": encoded() for number in range(3)}  # Pillow's own quality, 75
    pngs = {f"{number}.png": encoded(form="PNG") for number in range(3)}
    assert read_submission(folder_of(jpegs, tmp_path / "jpegs"), loose=True).quality == 75
    assert read_submission(folder_of(pngs, tmp_path / "pngs"), loose=True).quality is None
    assert read_submission(folder_of(jpegs | pngs, tmp_path / "both"), loose=True).quality is None
    large = {
        f"{number}.jpg": encoded(size=(256, 256)) for number in range(3)
    }  # shrunk, so that no pixel is stored like this
    assert read_submission(folder_of(large, tmp_path / "large"), loose=True).quality is None
