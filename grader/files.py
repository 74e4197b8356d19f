"""Files and their names: one way to write, one order, and one list of what nobody put there."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from grader.errors import GraderError, printable

# macOS, Windows, Synology, KDE; in any case
SYSTEM_FILES = ("__macosx", ".ds_store", "icon\r", "thumbs.db", "desktop.ini", "@eadir", ".directory")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # no names of files on Windows
BOM = "\ufeff"  # at the beginning of a CSV file that people open: without it Excel on Windows does not read UTF-8
PARTS = ".parts"  # the folder in which the leaderboard keeps its results, beside its page
PATIENCE = 5  # seconds until a file is given up that others hold


def left_behind(name: str) -> bool:
    """Whether a file or folder of this name was left by a system or by us, and not put there by a person, as far as it
    is to be read: of what is hidden some is a person's, as .git is, and must not be removed."""
    return (name.startswith(".") and name != "..") or by_a_system(name) or name.endswith(PARTS)


def by_a_system(name: str) -> bool:
    """Whether a file or folder of this name was left by a system for certain: nobody misses it."""
    return name.casefold() in SYSTEM_FILES or name.startswith("._")  # that: macOS, beside each file


def natural(name: str) -> tuple:
    """The key of the one order of names: numbers in them count as numbers, 2.jpg before 10.jpg."""
    parts = re.split("([0-9]+)", name)  # text, digits, text …
    digits = [part.lstrip("0") for part in parts[1::2]]
    parts[1::2] = [(len(number), number) for number in digits]  # no int(): a stranger's number may have 10,000 digits
    return parts, name


def some(names: Iterable[str], most: int = 3) -> str:
    """The first of the names, and how many more there are, for one line."""
    names = sorted(names, key=natural)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def all_files(source: Path, but: Callable[[str], bool] = left_behind) -> Iterator[str]:
    """The files of a folder in one order, without what is left behind, or the file itself; `but` says of a name whether
    it is passed over. Without recursion: folders may lie a thousand deep. Raises OSError."""
    if source.is_symlink() or not source.is_dir():
        yield str(source)
        return
    waiting = [str(source)]
    while waiting:
        with os.scandir(waiting.pop()) as listing:
            found = sorted(listing, key=lambda entry: natural(entry.name))
        found = [entry for entry in found if not but(entry.name)]
        waiting += [entry.path for entry in reversed(found) if entry.is_dir(follow_symlinks=False)]
        yield from (entry.path for entry in found if not entry.is_dir(follow_symlinks=False))


def with_name(path: Path) -> Path:
    """The path with a name of its own: the folders . and .. have another one in full."""
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


def file_name(name: str, alone: bool = False) -> str:
    """A name for a file that stands for a submission's and that any file system takes, with a hash where it is long or
    has capitals: macOS and Windows do not tell it from one in small letters. `alone` says that there is none. Windows
    takes whole paths of 259 characters, and a Chinese letter is 9 of them here. No file of this name is hidden."""
    quoted = urllib.parse.quote(name, safe="", errors="surrogateescape")
    quoted = f"_{quoted}" if DEVICES.match(quoted) else re.sub(r"^\.", "%2E", quoted)
    if len(quoted) < 100 and (alone or not re.search("[A-Z]", name)):
        return quoted
    return f"{quoted[:80]}+{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def sha256(path: Path) -> str:
    """The hex digits of a file's SHA-256, which holds a piece of it at a time. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def short_hash(path: Path) -> str:
    """The first 8 hex digits of a file's SHA-256. Raises OSError."""
    return sha256(path)[:8]


class CannotWrite(OSError):
    """A file or folder that cannot be written, named by `filename`: no other OSError is about writing."""


def check_writable(folder: Path) -> None:
    """Makes the folder and fails now rather than after the work. Raises CannotWrite."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CannotWrite(error.errno, error.strerror, str(folder)) from None


def check_apart(written: Iterable[Path], needed: Iterable[Path | None]) -> None:
    """Fails before the work where one of the files to be written is another one of them, or one of `needed`: whoever
    names a page need not think of the files that go beside it. Raises GraderError."""
    inputs, seen = {_place(path) for path in needed if path}, set()
    for path in written:
        if _place(path) in inputs:
            raise GraderError(f"{path}: is needed, and would be overwritten: give what is written another name")
        if (real := os.path.realpath(path)) in seen:
            raise GraderError(f"{path}: would be written twice: give each file that is written its own name")
        seen.add(real)


def check_closed(written: Iterable[Path]) -> None:
    """Fails before the work where a file that is to be written again is a folder, or open in a program that locks it:
    Excel does so on Windows. Raises CannotWrite."""
    for path in written:
        if path.is_dir():
            raise CannotWrite(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if path.is_file():
            move(path, path)  # changes nothing, and is refused as the later one would be


def _place(path: Path) -> tuple[int, int] | str:
    """The same for all names of a file that is there: there are systems to which a and A are one."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def move(source: Path, target: Path) -> Path:
    """Gives a file or folder another name, in place of a file that has it, and returns that. Windows refuses while a
    virus scanner, or what copies files to a cloud, has it or a file in it open: there it is tried again for a while.
    Raises CannotWrite."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(source, target)
            return target
        except OSError as error:
            if not isinstance(error, PermissionError) or os.name != "nt" or time.monotonic() > until:
                raise CannotWrite(error.errno, error.strerror, str(target)) from error
            time.sleep(0.1)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file or a new folder to, which is renamed when all went well: `path` is whole, or
    as it was before.

    Raises CannotWrite, which names `path`. An error of reading passes as it is.
    """
    ending = path.suffix if len(os.fsencode(path.suffix)) <= 16 else ""  # tells some writers what to write
    stem = path.name.removesuffix(ending).encode("utf-8", "surrogateescape")
    name = stem[:64].decode(sys.getfilesystemencoding(), "ignore") + ending  # a name has its limit, 255 bytes, too
    unfinished = path.with_name(f".{secrets.token_hex(4)}.{name}")  # no process id: containers share a few of those
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            move(unfinished, path)
        finally:
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
            else:
                unfinished.unlink(missing_ok=True)
    except CannotWrite:
        raise
    except OSError as error:
        about = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes, os.PathLike)) else path
        if not {about, *about.parents} & {unfinished, path} and about not in path.parents:
            raise
        raise CannotWrite(error.errno, error.strerror or str(error), str(path)) from None


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all, for all to read as other files are: safetensors' own save_file lets nobody
    else read it. Raises CannotWrite."""
    with atomic(path) as unfinished:
        unfinished.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a text as it is, in UTF-8, whole or not at all. Raises CannotWrite."""
    write_bytes(path, text.encode())


def read_kept(path: Path) -> dict:
    """What we wrote down for another run as an object of JSON; {} where it is not there, or is not that any more."""
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def unused(path: Path) -> Path:
    """A new name for what is there, beside it: NAME.before.csv of NAME.csv."""
    names = (path.with_name(f"{path.stem}.before{number}{path.suffix}") for number in ("", *range(2, 10_000)))
    return next(name for name in names if not name.exists())


def keep_unless(path: Path, is_ours: Callable[[BinaryIO], bool]) -> None:
    """Keeps a copy of a file that is to be replaced and is none of ours, with a warning: it may be somebody's homework.
    Raises OSError."""
    try:
        with open(path, "rb") as file:
            replaceable = is_ours(file)
    except (FileNotFoundError, NotADirectoryError):  # writing it says what is wrong
        return
    if not replaceable and path.stat().st_size:
        copy = unused(path)
        write_bytes(copy, path.read_bytes())
        warnings.warn(printable(f"{path} was not made by this command: that file is kept as {copy.name}"), stacklevel=3)


def keep_others(path: Path, begins: str) -> None:
    """`keep_unless` of a table, of which ours begin so: it may be somebody's list of students. Raises OSError."""
    keep_unless(path, lambda file: file.read().removeprefix(BOM.encode()).startswith(begins.encode()))


def csv_text(rows: Iterable[Iterable], ending: str = "\n") -> str:
    """Rows as the text of a CSV file."""
    table = io.StringIO()
    csv.writer(table, lineterminator=ending).writerows(rows)
    return table.getvalue()
