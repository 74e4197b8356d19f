"""From a folder or an archive to the files in it.

Files come from strangers. Archives are read member by member and never extracted, links are not followed, and nothing
that an archive says of itself is believed: whatever is held in memory is counted first. For that, tar's headers are
walked here: tarfile reads long names whole, keeps every header, follows chains of them by recursion, and on some
versions never comes back from a negative size.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from grader.errors import first_line, printable
from grader.files import left_behind, natural

MAX_FILE_BYTES = 32 * 2**20  # of one file
MAX_ENTRIES = 500_000  # folders and headers included
MAX_DIRECTORY = 16 * 2**20  # of the list of its files at a zip's end: 71,314 faces have 6 MB
MAX_HEADER = 2**16  # of the headers in which a tar keeps what has no room in its own: long names, mostly
MAX_PADDING = 2**20  # of zeros after a tar's end
MAX_NAME = 400  # characters
PIECE = 2**20  # bytes read at once

KINDS = {  # how files begin that are handed in where a folder, .zip or .tar[.gz] should be
    b"Rar!\x1a\x07": "a .rar archive",
    b"7z\xbc\xaf\x27\x1c": "a .7z archive",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\0": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"LZIP": "packed by lzip",
    b"MSCF": "a .cab archive",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x93NUMPY": "an .npy array",
}

FILE, NOTHING, OTHER = "file", "nothing to read", "link or device"
VOLUME, LISTING = b"V", b"D"  # GNU's: the name of an archive, and what a folder held when it was packed
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)  # a sparse file's data is not its content
Entry = tuple[str, str, int, Callable[[], bytes] | None]  # name, one of these three, bytes, reads it


class BadArchive(Exception):
    """An archive that is broken, or holds what no honest one does; the message names the entry and the remedy."""


class BadMember(BadArchive):
    """A file in an archive that cannot be had, and the `reason`, with the remedy."""

    def __init__(self, source: Path, name: str, reason: str):
        super().__init__(source, name, reason)
        self.source, self.name, self.reason = source, name, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.name} {self.reason}"


def not_given(error: Exception) -> bool:
    """Whether the system did not give a file's bytes, which says nothing of what is in it. Without a number it is an
    error of gzip's; and "invalid" is a place outside the file, which a broken archive may name."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def bytes_of(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """A file's content. Raises OSError, and ValueError for a pipe, a device, or more than `most` bytes."""
    if path.exists() and not path.is_file():
        raise ValueError("is no file")
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"has more than {most / 1e6:.0f} MB")
    return data


def members(
    source: Path, max_files: int | None = None, max_bytes: int | None = None, refused: list[str] | None = None
) -> Iterator[tuple[str, Callable]]:
    """Yields (name, read) for every regular file of a folder, .zip or .tar[.gz], where read() returns its bytes.

    Names are relative, printable, and have forward slashes. What systems leave behind (.DS_Store, __MACOSX) is
    passed over. A member must be read before the next one is asked for.
    Raises OSError, and BadArchive for links, absolute or parent paths, broken archives, more than `max_files` files, or
    more than `max_bytes` bytes in all; read() raises OSError, and BadMember for a broken file, or one of over
    MAX_FILE_BYTES.

    A list `refused` is for a set of the user's own: links in a folder are followed, what points outside loses its "..",
    and any other name that would be an error is passed over, and the reason is appended to the list.
    """
    files = total = 0
    for count, (name, kind, size, read) in enumerate(_entries(source, follow=refused is not None), 1):
        total += size
        if count > MAX_ENTRIES:
            raise BadArchive(f"{source}: more than {MAX_ENTRIES:,} entries: pack the pictures alone")
        if max_bytes is not None and total > max_bytes:
            raise BadArchive(f"{source}: more than {max_bytes / 1e6:.0f} MB unpacked: pack the pictures alone")
        if kind == NOTHING:
            continue
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or any(map(left_behind, parts)):
            continue
        if refused is not None:
            parts = [part for part in parts if part not in ("/", "..") and not part.endswith(":")]
        name = printable("/".join(parts))
        if problem := _problem(name, parts, kind):
            if refused is None:
                raise BadArchive(f"{source}: {problem}")
            refused.append(problem)
            continue
        files += 1
        if max_files is not None and files > max_files:
            raise BadArchive(f"{source}: more than {max_files:,} files: pack the pictures alone")
        yield name, partial(_unpacked, source, name, size, read)


def _problem(name: str, parts: Sequence[str], kind: str) -> str | None:
    """Why no honest archive holds a file of this name, and the remedy."""
    if len(name) > MAX_NAME:
        return f"{name[:40]!r}… is a name of {len(name):,} characters: pack the pictures alone"
    if not parts or parts[0] == "/" or ".." in parts or parts[0].endswith(":"):
        return f"{name!r} points outside the archive: pack the pictures alone, flat"
    if kind == OTHER:
        return f"{name!r} is a link or a device: pack the pictures themselves"
    return None


def _unpacked(source: Path, name: str, size: int, read: Callable) -> bytes:
    if size > MAX_FILE_BYTES:
        raise BadMember(source, name, f"has {size / 1e6:,.0f} MB: no picture needs as much, leave it out")
    try:
        return read()
    except Exception as error:  # broken off, a wrong checksum, encrypted, an unknown compression …
        if not_given(error):
            raise
        raise BadMember(source, name, f"cannot be unpacked ({first_line(error)}): pack it again") from None


def _entries(source: Path, follow: bool = False) -> Iterator[Entry]:
    if source.is_dir():
        yield from _folder(source, follow)
        return
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    if not source.is_file():
        raise BadArchive(f"{source}: is a pipe or a device: name a folder, .zip or .tar[.gz]")
    start = b""
    try:
        with open(source, "rb") as file:
            start = file.read(512)
        yield from _zip(source) if start[:4] in (b"PK\3\4", b"PK\5\6") else _tar(source)
    except BadArchive:
        raise
    except Exception as error:  # parsers fed with garbage may raise anything
        if not_given(error):
            raise
        reason = _kind_of(start) or first_line(error)
        if start[:2] == b"\x1f\x8b" and isinstance(error, tarfile.HeaderError):
            reason = "a .gz of something else than a .tar"
        raise BadArchive(
            f"{source}: not a folder, .zip or .tar[.gz] that can be read ({reason}): pack the pictures as .tgz"
        ) from None


def _kind_of(start: bytes) -> str | None:
    """What a file is that is no archive read here, by its first 512 bytes, where they tell."""
    kinds = (kind for first, kind in KINDS.items() if start.startswith(first))
    return next(kinds, "text" if start and not re.search(rb"[^\t\n\r -~\x80-\xff]", start) else None)


def _folder(root: Path, follow: bool) -> Iterator[Entry]:
    waiting, known = [root], {os.path.realpath(root)}
    while waiting:  # no recursion: folders may lie in folders a thousand deep
        folder = waiting.pop()
        with os.scandir(folder) as listing:
            found = list(islice((entry for entry in listing if not left_behind(entry.name)), MAX_ENTRIES + 1))
        found.sort(key=lambda entry: natural(entry.name))
        below = []
        for entry in found:
            path, status = Path(entry.path), entry.stat(follow_symlinks=False)
            name = decoded(os.fsencode(path.relative_to(root).as_posix()))
            if follow and entry.is_symlink():
                with suppress(OSError):  # it leads nowhere: it stays a link
                    status = path.stat()
            real = os.path.realpath(path) if follow and stat.S_ISDIR(status.st_mode) else path
            if stat.S_ISDIR(status.st_mode) and real not in known:  # or a link would lead round and round
                known.add(real)
                below.append(path)
                yield name, NOTHING, 0, None
            else:
                kind = FILE if stat.S_ISREG(status.st_mode) else OTHER
                yield name, kind, status.st_size, path.read_bytes
        waiting += reversed(below)


class Frugal(io.FileIO):
    """A file that gives no more than MAX_DIRECTORY bytes at once: zipfile reads a zip's list of files in one piece, and
    believes what the zip says of its length."""

    def read(self, size: int | None = -1) -> bytes:
        wanted = MAX_DIRECTORY + 1 if size is None or size < 0 else size
        if (size is not None and size > MAX_DIRECTORY) or len(data := super().read(wanted)) > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"more than {MAX_DIRECTORY / 1e6:.0f} MB at once")
        return data


def _zip(source: Path) -> Iterator[Entry]:
    """The entries of a zip, which is all of the file: other programs read what stands before or after it."""
    with Frugal(source) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        end = 22 + len(archive.comment)
        file.seek(-end, os.SEEK_END)
        if file.read(4) != b"PK\5\6" or (entries and min(entry.header_offset for entry in entries) != 0):
            raise BadArchive(
                f"{source}: holds more than one archive, or bytes before or after it: pack the pictures alone"
            )
        for entry in entries:
            name = _zip_name(entry)
            kind = NOTHING if name.endswith(("/", "\\")) else FILE
            if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                kind = OTHER
            yield name, kind, entry.file_size, partial(_unzipped, archive, entry)


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The name of an entry: where it does not say that it is UTF-8 (bit 11), Windows packed it in its own code page."""
    with suppress(UnicodeEncodeError):  # of a name that a field beside it tells
        if not entry.flag_bits & 0x800:
            return decoded(entry.orig_filename.partition("\0")[0].encode("cp437"), "cp437")
    return entry.filename


def decoded(name: bytes, otherwise: str = "utf-8") -> str:
    """A name in UTF-8 or Big5, else in another encoding; what that cannot tell are surrogates."""
    for encoding in ("utf-8", "cp950"):
        with suppress(UnicodeDecodeError):
            return name.decode(encoding)
    return name.decode(otherwise, "surrogateescape")


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with opened(archive, entry) as file:
        return b"".join(iter(partial(file.read, PIECE), b""))  # of the file below no more is read at once: see Frugal


def opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo):
    """The file of an entry, whose read(n) takes memory for n bytes and no more. Raises BadZipFile."""
    if entry.flag_bits & 1:
        raise zipfile.BadZipFile("it has a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack more than they are asked
        raise zipfile.BadZipFile("compressed by another method than deflate")
    return archive.open(entry)


def _tar(source: Path) -> Iterator[Entry]:
    """The entries of a tar in the forms of POSIX and GNU."""
    with open(source, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(source) if packed else open(source, "rb") as file:
        said, headers = {}, 0  # of the next entry, by the headers before it; the bytes of all such headers
        while header := file.read(tarfile.BLOCKSIZE):
            if not header.strip(b"\0"):  # the end, as far as tar is concerned
                if not _only_zeros(file):
                    raise BadArchive(f"{source}: holds more after the archive's end: pack the pictures alone")
                return
            entry = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            size = int(said.get("size", entry.size)) if entry.type in PLAIN else entry.size
            if size < 0:
                raise tarfile.ReadError(f"a size of {size} bytes")
            start = file.tell()
            if entry.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                headers += size
                if size > MAX_HEADER or headers > MAX_DIRECTORY:
                    raise tarfile.ReadError(f"headers of {max(size, headers)} bytes")
                text = _exactly(file, size)
                said |= {"path": _text(text)} if entry.type == tarfile.GNUTYPE_LONGNAME else _said(text)
                yield "", NOTHING, size, None
            elif entry.type in (VOLUME, LISTING):
                said = {}
                yield "", NOTHING, size, None
            elif entry.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                yield "", NOTHING, size, None  # links are refused, and what holds for all entries is no name
            else:
                kind = NOTHING if entry.isdir() else FILE if entry.type in PLAIN else OTHER
                size = size if kind == FILE else 0  # others have no data, whatever they say
                name = decoded(said.get("path", entry.name).encode("utf-8", "surrogateescape"))
                yield name, kind, size, partial(_exactly, file, size)
                said = {}
            file.seek(start + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)


def _only_zeros(file) -> bool:
    """Whether nothing but padding follows. What is no further part of a .gz raises an error of gzip's own."""
    rest = file.read(MAX_PADDING + 1)
    return len(rest) <= MAX_PADDING and not rest.strip(b"\0")


def _said(text: bytes) -> dict[str, str]:
    """What a pax header says of a name and a size: nothing else is kept, a stranger may name millions of keys."""
    said = {}
    for key, value in _records(text):
        if key.startswith("GNU.sparse."):
            raise tarfile.ReadError("a file with holes, as tar -S packs it")
        if key in ("path", "size"):
            said[key] = value
    return said


def _records(text: bytes) -> Iterator[tuple[str, str]]:
    """The (key, value) of a pax header, lines "LENGTH KEY=VALUE" whose length counts all of the line."""
    start = 0
    while start < len(text):
        digits = text[start : start + 8].partition(b" ")[0]
        line = text[start : start + int(digits)]
        if not digits.isdigit() or not len(digits) + 2 < len(line) == int(digits):
            raise tarfile.ReadError("a pax header that is broken")
        key, _, value = line[len(digits) + 1 : -1].partition(b"=")
        yield _text(key), _text(value)
        start += len(line)


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _exactly(file, size: int) -> bytes:
    if len(data := file.read(size)) < size:
        raise EOFError("it ends too early")
    return data
