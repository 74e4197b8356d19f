"""A set of real faces: a folder or an archive of pictures of any name and size."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from grader.errors import GraderError, printable
from grader.inputs.archives import BadArchive, bytes_of, members
from grader.inputs.images import ENDINGS, UnreadablePicture, decode

COUNT = 71_314  # faces in the course's set
IDENTITY = "5d91aa1e2891cef0da446b7bee21c4be0ebab707b28602607d1bedc79232fa6f"  # of them, see `identity`
NUMBERED = re.compile(r"(?:.*/)?([0-9]+)\.jpg")


class BadReference(GraderError):
    """A reference that cannot be used; the message names it and the remedy."""


def face_set_name(source: Path) -> str:
    """The name in the set's about.json, which `python -m data` writes, else that of the folder or file."""
    about, own = source / "about.json", printable(source.stem)
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
    """Whether a folder or archive holds the course's faces to the byte, as published. Nothing else can be told for
    sure: faces shrunk or stored again may have been changed. False for what cannot be read."""
    try:
        if sum(NUMBERED.fullmatch(name) is not None for name, _ in members(source)) != COUNT:  # read nothing yet
            return False
        return identity(members(source)) == (COUNT, IDENTITY)
    except (BadArchive, OSError):
        return False


def batches(source: Path, size: int = 64, batch_size: int = 512, skipped: list | None = None) -> Iterator[np.ndarray]:
    """Batches uint8 [≤ batch_size, size, size, 3] of all pictures of a folder or archive, shrunk to `size`.

    "NAME REASON" of files that cannot be read is appended to `skipped`.
    """
    batch = []
    for name, read in members(source):
        if name.lower().endswith(ENDINGS):
            try:
                batch.append(decode(read(), size)[0])
            except UnreadablePicture as error:
                if skipped is not None:
                    skipped.append(f"{name} {error}")
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def named(source: Path, stems: Container[str], size: int = 64) -> Iterator[tuple[str, np.ndarray]]:
    """(stem, picture uint8 [size, size, 3]) of those pictures of a folder or archive whose file name is a stem."""
    for name, read in members(source):
        stem = PurePosixPath(name).stem
        if stem in stems and name.lower().endswith(ENDINGS):
            try:
                yield stem, decode(read(), size)[0]
            except UnreadablePicture:
                continue  # whoever asked for it could read it: it has changed since
