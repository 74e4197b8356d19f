"""Archives of every honest form read alike, and the dishonest ones are refused in one line."""

import gzip
import io
import os
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from grader.errors import printable
from grader.files import CannotWrite, atomic, left_behind
from grader.inputs import archives
from grader.inputs.archives import BadArchive, BadMember, bytes_of, members

LONG = "folder/" * 20 + "1.jpg"  # has no room in a tar's header


def read_all(path):
    return {name: read() for name, read in members(path)}


def tar_of(entries, path, form=tarfile.PAX_FORMAT, mode="w:gz"):
    """(name, data, fields of its TarInfo) as a tar."""
    with tarfile.open(path, mode, format=form, errors="surrogateescape") as archive:
        for name, data, fields in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(data))
    return path


def header(name, kind=tarfile.REGTYPE, size=0):
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tars_of_every_form_read_alike(tmp_path, form, mode):
    sizes = (0, 1, 511, 512, 513, 10_000)
    files = {f"{size}.jpg": os.urandom(size) for size in sizes} | {LONG: b"long"}
    if form != tarfile.USTAR_FORMAT:
        files["王小明" * 40 + ".jpg"] = b"not ascii"
    entries = [("folder", b"", {"type": tarfile.DIRTYPE}), *((name, data, {}) for name, data in files.items())]
    assert read_all(tar_of(entries, tmp_path / "x.tar", form, mode)) == files


def test_a_member_may_be_left_unread(tmp_path):
    path = tar_of([(f"{n}.jpg", bytes([n]) * 1000, {}) for n in range(9)], tmp_path / "x.tgz")
    assert [read()[0] for name, read in members(path) if name != "4.jpg"] == [0, 1, 2, 3, 5, 6, 7, 8]


def test_what_is_left_behind_in_a_folder_counts_for_no_bound(tmp_path):
    """A checkout is far larger than its pictures."""
    for name in ("1.jpg", ".DS_Store", ".git/objects/ab/cd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
    assert [name for name, _ in members(tmp_path, max_files=1, max_bytes=10)] == ["1.jpg"]


def test_what_git_and_macos_put_into_tars_is_passed_over(tmp_path):
    extended = {"pax_headers": {"SCHILY.xattr.com.apple.quarantine": "q", "mtime": "1.5", "comment": "hello"}}
    with tarfile.open(tmp_path / "x.tgz", "w:gz", pax_headers={"comment": "a commit"}) as archive:
        entry = tarfile.TarInfo("1.jpg")
        entry.size, entry.pax_headers = 3, extended["pax_headers"]
        archive.addfile(entry, io.BytesIO(b"abc"))
    assert read_all(tmp_path / "x.tgz") == {"1.jpg": b"abc"}


@pytest.mark.parametrize(
    "content",
    [
        header("1.jpg", size=-512),  # some versions of tarfile go round in circles on it
        header("1.jpg", size=-(2**62)),
        header("x", tarfile.GNUTYPE_LONGNAME, 2**40),
        header("x", tarfile.XHDTYPE, 12) + b"9999 path=x\n".ljust(512, b"\0"),
        header("x", tarfile.XHDTYPE, 12) + b"0 path=xxxx\n".ljust(512, b"\0"),
        header("x", tarfile.XHDTYPE, 12) + b"path=1.jpg12".ljust(512, b"\0"),
        header("x", tarfile.XHDTYPE, 12) + b"12 size=-99\n".ljust(512, b"\0") + header("1.jpg"),
        header("x", tarfile.XHDTYPE, 12) + b"12 size=1e9\n".ljust(512, b"\0") + header("1.jpg"),
        header("1.jpg", size=10) + b"0123456789".ljust(512, b"\0") + b"x" * 512,
        header("1.jpg")[:300],
    ],
)
def test_broken_tars(tmp_path, content):
    for path, data in ((tmp_path / "x.tar", content), (tmp_path / "x.tgz", gzip.compress(content))):
        path.write_bytes(data)
        with pytest.raises(BadArchive, match="that can be read"):
            read_all(path)


def test_headers_in_a_chain_of_any_length(tmp_path):
    chain = (header("x", tarfile.GNUTYPE_LONGNAME, 6) + b"2.jpg\0".ljust(512, b"\0")) * 5000
    (tmp_path / "x.tar").write_bytes(chain + header("1.jpg", size=1) + b"a".ljust(512, b"\0"))
    assert read_all(tmp_path / "x.tar") == {"2.jpg": b"a"}


def test_sparse_files_are_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(header("1.jpg", tarfile.GNUTYPE_SPARSE, 2**40))
    with pytest.raises(BadArchive, match="link or a device"):
        read_all(tmp_path / "x.tar")

    holes = [("1.jpg", b"a", {"pax_headers": {"GNU.sparse.major": "1"}})]
    with pytest.raises(BadArchive, match="a file with holes, as tar -S packs it"):
        read_all(tar_of(holes, tmp_path / "x.tar"))


def test_what_gnu_tar_says_of_an_archive_and_of_folders_is_no_file(tmp_path):
    label, listing = header("hw6", b"V"), header("folder/", b"D", 6) + b"Y1.jpg".ljust(512, b"\0")
    picture = header("1.jpg", size=1) + b"a".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(label + listing + picture)
    assert read_all(tmp_path / "x.tar") == {"1.jpg": b"a"}


def test_a_zip_with_a_password_or_with_more_says_so(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.jpg", b"a")
    data = bytearray(path.read_bytes())
    path.write_bytes(data + b"\n")
    with pytest.raises(BadArchive, match="or bytes before or after it"):
        read_all(path)
    data[data.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(BadArchive, match="it has a password"):
        read_all(path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_what_its_first_bytes_say(tmp_path, mode):
    """A zip's end mark may stand in the tail of any file: that of a member, or of compressed data."""
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        archive.writestr("another.jpg", b"x")
    small = (tmp_path / "small.zip").read_bytes()
    path = tar_of([("1.jpg", b"a", {}), ("small.zip", small, {})], tmp_path / "x.tar", mode="w")
    if mode == "w:gz":  # as compressed data may hold it by chance
        path.write_bytes(gzip.compress(path.read_bytes(), 0))
    assert zipfile.is_zipfile(path)
    assert read_all(path) == {"1.jpg": b"a", "small.zip": small}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_are_unpacked_only_where_that_can_be_bounded(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("1.jpg", b"x" * 1000)
    with pytest.raises(BadArchive, match="by another method than deflate"):
        read_all(tmp_path / "x.zip")


def test_a_zip_that_lies_about_a_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.jpg", bytes(10**7))
        archive.filelist[0].file_size = 1000
    with pytest.raises(BadArchive, match="CRC"):
        read_all(tmp_path / "x.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_large_file_in_a_zip_is_read_in_pieces(tmp_path, method):
    data = os.urandom(2**20) * (archives.MAX_FILE_BYTES // 2**20)  # deflate finds nothing in it either
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method, compresslevel=1) as archive:
        archive.writestr("1.png", data)
    assert read_all(tmp_path / "x.zip") == {"1.png": data}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"PK\1\2", b"PK\7\7"),  # BadZipFile
        (b"PK\1\2\x14\3", b"PK\1\2\x14\3\xff"),  # NotImplementedError: a later version of zip
        ("ü.jpg".encode(), b"\xff\xff.jpg"),  # UnicodeDecodeError
    ],
)
def test_a_zip_whose_list_of_files_is_broken(tmp_path, old, new):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("ü.jpg", b"x")
    whole = (tmp_path / "x.zip").read_bytes()
    at = whole.rindex(old)
    (tmp_path / "x.zip").write_bytes(whole[:at] + new + whole[at + len(new) :])
    with pytest.raises(BadArchive, match="that can be read"):
        read_all(tmp_path / "x.zip")


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tgz")
    with pytest.raises(BadArchive, match="is a pipe or a device"):
        read_all(tmp_path / "x.tgz")
    with pytest.raises(BadArchive, match=r"'x\.tgz' is a link or a device"):
        read_all(tmp_path)
    with pytest.raises(ValueError, match="is no file"):
        bytes_of(tmp_path / "x.tgz")


def test_folders_in_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):  # deeper than Python's stack
        os.mkdir("a")
        os.chdir("a")
    Path("1.jpg").touch()
    with pytest.raises(BadArchive, match="a name of 2,405 characters"):
        read_all(tmp_path)
    os.remove("1.jpg")
    for _ in range(1200):  # pytest's own clearing up is not as deep
        os.chdir("..")
        os.rmdir("a")
    for name in ("10.jpg", "2.jpg", "b/1.jpg", "b/c/1.jpg"):
        path = tmp_path / "ordered" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert list(read_all(tmp_path / "ordered")) == ["2.jpg", "10.jpg", "b/1.jpg", "b/c/1.jpg"]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_LONGNAME])
def test_entries_of_every_kind_are_counted(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 100)
    (tmp_path / "x.tar").write_bytes(header("._x", kind) * 101)
    with pytest.raises(BadArchive, match="more than 100 entries"):
        read_all(tmp_path / "x.tar")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "folder").mkdir()
    with open(tmp_path / "folder/1.jpg", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(BadMember, match=r"folder: 1\.jpg has 1,000,000 MB") as told:
        read_all(tmp_path / "folder")
    assert told.value.reason == "has 1,000,000 MB: no picture needs as much, leave it out"
    assert [name for name, _ in members(tmp_path / "folder")] == ["1.jpg"]  # what is not read may be of any size
    with pytest.raises(ValueError, match="more than 34 MB"):
        bytes_of(tmp_path / "folder/1.jpg")


NASTY = {"\x1b[31mred.jpg": r"\x1b[31mred.jpg", "a\nb.jpg": r"a\nb.jpg", "\u202egpj.jpg": r"\u202egpj.jpg"}


def test_names_reach_nobody_raw(tmp_path):
    path = tar_of([(name, b"x", {}) for name in [*NASTY, "\udc80.jpg", "王 ü.jpg"]], tmp_path / "x.tgz")
    assert list(read_all(path)) == [*NASTY.values(), r"\udc80.jpg", "王 ü.jpg"]
    for name in [*NASTY, "\udc80.jpg"]:
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(b"x")
    assert set(read_all(tmp_path / "folder")) == {*NASTY.values(), r"\udc80.jpg"}


def test_printable():
    assert printable("王小明 ü €") == "王小明 ü €"
    assert printable("王\u3000小明\xa0\x07") == r"王 小明 \x07"  # as a roster has it
    assert printable("\x00\x07\x1b\x7f\x9b\r\n\t\u2028\u200b\udc80") == r"\x00\x07\x1b\x7f\x9b\r\n\t\u2028\u200b\udc80"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "x.txt"
    with atomic(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    with suppress(KeyboardInterrupt), atomic(path) as unfinished:
        unfinished.write_text("second")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    with pytest.raises(CannotWrite, match=r"x\.txt") as caught, atomic(tmp_path / "new/x.txt/y.txt") as unfinished:
        pass
    assert caught.value.filename == str(tmp_path / "new/x.txt/y.txt")
    assert [path.name for path in path.parent.iterdir()] == ["x.txt"]


def test_what_a_killed_process_of_the_same_number_left_stands_in_nobodys_way(tmp_path, monkeypatch):
    """In containers each process may be the first one."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    names = []
    for _ in range(2):
        with suppress(KeyboardInterrupt), atomic(tmp_path / "set") as unfinished:
            unfinished.mkdir()
            names.append(unfinished.name)
            monkeypatch.setattr("grader.files.shutil.rmtree", lambda path: None)
            raise KeyboardInterrupt
    assert len({*names}) == 2 and all(left_behind(name) for name in names)


def test_an_error_of_reading_is_not_called_one_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError, match="source") as caught, atomic(tmp_path / "x.txt") as unfinished:
        unfinished.write_bytes((tmp_path / "source").read_bytes())
    assert not isinstance(caught.value, CannotWrite)
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    with atomic(tmp_path / ("x" * 251 + ".txt")) as unfinished:
        unfinished.write_text("text")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def tgz_and_zip(folder):
    one = tar_of([("1.jpg", b"tar", {})], folder / "one.tgz").read_bytes()
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("1.jpg", b"zip")
    return one, (folder / "two.zip").read_bytes()


def test_two_archives_in_one_file_are_refused(tmp_path):
    """Else one program reads one of them, and another program the other."""
    one, two = tgz_and_zip(tmp_path)
    plain = gzip.decompress(one)
    mixed = {
        "gzip, then zip": one + two,
        "zip, then gzip": two + one,
        "gzip twice": one + one,
        "zip twice": two + two,
        "tar, then zip": plain + two,
        "zip, then zip's end": two + b"rest",
        "zip inside of the gzip, after the tar": gzip.compress(plain + two),
        "tar twice in one gzip": gzip.compress(plain + plain),
    }
    for data in mixed.values():
        path = tmp_path / "x.tgz"
        path.write_bytes(data)
        with pytest.raises(BadArchive):
            read_all(path)


def test_an_archive_is_told_by_its_first_bytes_whatever_its_name(tmp_path):
    one, two = tgz_and_zip(tmp_path)
    (tmp_path / "x.zip").write_bytes(one)
    (tmp_path / "x.tgz").write_bytes(two)
    (tmp_path / "x.tar").write_bytes(gzip.decompress(one))
    assert read_all(tmp_path / "x.zip") == read_all(tmp_path / "x.tar") == {"1.jpg": b"tar"}
    assert read_all(tmp_path / "x.tgz") == {"1.jpg": b"zip"}
    inner = tar_of([("a.zip", two, {})], tmp_path / "y.tar", mode="w")  # a zip's end in its tail, and no zip
    assert list(read_all(inner)) == ["a.zip"]
    assert list(read_all(tar_of([("1.jpg", b"", {})], tmp_path / "z.tgz"))) == ["1.jpg"]


def test_headers_of_a_tar_are_counted_together(tmp_path, monkeypatch):
    records = b"".join(b"12 %05d=xx\n" % number for number in range(5000))
    block = header("x", tarfile.XHDTYPE, len(records)) + records + bytes(-len(records) % 512)
    (tmp_path / "x.tar").write_bytes(block * 3 + header("1.jpg"))
    assert read_all(tmp_path / "x.tar") == {"1.jpg": b""}
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 2 * len(records))
    with pytest.raises(BadArchive, match="headers of 180000 bytes"):
        read_all(tmp_path / "x.tar")
    monkeypatch.setattr(archives, "MAX_HEADER", len(records) - 1)
    with pytest.raises(BadArchive, match="headers of 60000 bytes"):  # one alone
        read_all(tmp_path / "x.tar")
