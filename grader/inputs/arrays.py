"""Arrays out of an .npz from a stranger: nothing is unpickled, and no memory is taken on the word of a header."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from grader.errors import first_line
from grader.inputs.archives import PIECE, Frugal, not_given, opened


class BadArray(Exception):
    """An .npz that does not hold what it should; the message says why, in one line."""


def read_arrays(source: Path, names: tuple[str, ...] = (), max_bytes: int = 2**26) -> Iterator[np.ndarray]:
    """Yields the arrays of these names from an .npz, or without names its first one.

    They are of integers or floats, and of at most `max_bytes` each. Raises BadArray, and OSError.
    """
    try:
        if not source.is_file():
            raise FileNotFoundError("no such file")
        with Frugal(source) as file, zipfile.ZipFile(file) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            if not entries:
                raise ValueError("it is empty")
            for name in names or list(entries)[:1]:
                if name not in entries:
                    raise ValueError(f"it has no {name}")
                with opened(archive, entries[name]) as member:
                    yield _read(member, max_bytes)
    except Exception as error:  # parsers fed with garbage may raise anything
        if not_given(error):
            raise
        raise BadArray(first_line(error)) from None


def _read(file, max_bytes: int) -> np.ndarray:
    if (version := npy.read_magic(file)) != (1, 0):  # later ones have headers of any length
        raise ValueError(f"an array of format {version}")
    shape, by_column, kind = npy.read_array_header_1_0(file)
    if kind.kind not in "iuf":
        raise ValueError(f"an array of {kind}")
    if min(shape, default=0) < 0 or (size := math.prod(shape) * kind.itemsize) > max_bytes:
        raise ValueError(f"an array of {kind} {list(shape)}")
    array = np.empty(math.prod(shape), kind)
    view = memoryview(array.view(np.uint8))
    for start in range(0, size, PIECE):
        piece = view[start : start + PIECE]
        if file.readinto(piece) < len(piece):
            raise EOFError("it ends too early")
    return array.reshape(shape, order="F" if by_column else "C")
