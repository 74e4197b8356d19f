"""A set of real faces: a folder or an archive of pictures of any name and size."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from grader.errors import GraderError, printable
from grader.files import with_name
from grader.inputs.archives import BadArchive, BadMember, bytes_of, members
from grader.inputs.images import UnreadablePicture, decode, is_picture
from grader.inputs.submission import SIZE

COURSE_COUNT = 71_314  # faces in the course's set
COURSE_IDENTITY = "5d91aa1e2891cef0da446b7bee21c4be0ebab707b28602607d1bedc79232fa6f"  # of them, see `identity`
BATCH = 512  # pictures held at a time
NUMBERED = re.compile(r"(?:.*/)?([0-9]+)\.jpg")


class BadReference(GraderError):
    """A reference that cannot be used; the message names it and the remedy."""


def face_set_name(source: Path) -> str:
    """The name in the set's about.json, which `python -m data` writes, else that of the folder or file."""
    about, own = source / "about.json", printable(with_name(source).stem)
    try:
        name = json.loads(bytes_of(about, 2**20))["name"] if about.is_file() else own
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return own
    return printable(name) if isinstance(name, str) and len(name) < 100 else own


def identity(files: Iterable[tuple[str, Callable]]) -> tuple[int, str]:
    """How many <number>.jpg a set holds, and the sha256 over their lines `<sha256 of the file>  <number>.jpg`.

    The lines go in numeric order, so that neither folders nor the way of packing matter.
    """
    found = []
    for name, read in files:
        if match := NUMBERED.fullmatch(name):
            found.append((int(match[1]), name, hashlib.sha256(read()).hexdigest()))
    lines = "".join(f"{digest}  {number}.jpg\n" for number, _, digest in sorted(found))
    return len(found), hashlib.sha256(lines.encode()).hexdigest()


def is_course(source: Path) -> bool:
    """Whether the pictures of a folder or archive are the course's faces to the byte, as published, and no other: what
    lies beside them would be read as a face too. Nothing else can be told for sure: faces shrunk or stored again may
    have been changed. False for what cannot be read."""
    try:
        if sum(is_picture(name) for name, _ in members(source)) != COURSE_COUNT:  # read nothing yet
            return False
        return identity(members(source)) == (COURSE_COUNT, COURSE_IDENTITY)
    except (BadArchive, OSError):
        return False


def files(
    source: Path, skipped: list[str], wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the wanted files that may be pictures in the user's own folder or archive, also behind links.

    A file that cannot be read is passed over, and "NAME REASON" is appended to `skipped`. Raises what `members` does.
    """
    for name, read in members(source, refused=skipped):
        if is_picture(name) and wanted(name):
            try:
                yield name, read()
            except BadMember as error:
                skipped.append(f"{name} {error.reason}")
            except OSError as error:
                skipped.append(f"{name} cannot be read ({error.strerror or error})")


def read_pictures(
    source: Path, skipped: list[str] | None = None, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, picture uint8 [64, 64, 3]) of the wanted pictures in the user's own folder or archive, shrunk.

    What cannot be read is passed over, and told in `skipped` as `files` does. Raises what `members` does.
    """
    skipped = [] if skipped is None else skipped
    for name, data in files(source, skipped, wanted):
        try:
            yield name, decode(data, SIZE)[0]
        except UnreadablePicture as error:
            skipped.append(f"{name} {error}")


def in_short(skipped: list[str]) -> str:
    """Files that were passed over, in one line for any number of them; "" for none."""
    more = f", and {len(skipped) - 1:,} more" if len(skipped) > 1 else ""
    return f"{skipped[0]}{more}" if skipped else ""


def tell(source: Path, left_out: str) -> None:
    """Warns of files that were passed over, `in_short`."""
    if left_out:
        warnings.warn(f"{source}: left out {left_out}", stacklevel=1)  # from one place: said once a set


def batches(source: Path, skipped: list[str]) -> Iterator[tuple[list[str], np.ndarray]]:
    """(names, pictures uint8 [≤ BATCH, 64, 64, 3]) of all that `read_pictures` gives."""
    pictures = read_pictures(source, skipped)
    while some := list(islice(pictures, BATCH)):
        names, batch = zip(*some, strict=True)
        yield list(names), np.stack(batch)


def without_ending(name: str) -> str:
    """The path without the ending of its file: "a/12" for a/12.jpg."""
    return str(PurePosixPath(name).with_suffix(""))


def named(source: Path, names: Container[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, picture uint8 [64, 64, 3]) of those pictures whose path, with its ending or without, is a name."""

    def own(path: str) -> str:
        return path if path in names else without_ending(path)

    for path, picture in read_pictures(source, wanted=lambda path: own(path) in names):
        yield own(path), picture
