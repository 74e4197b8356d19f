"""A face set on disk: a folder of PNG pictures or a zip of them, with an about.json. It appears whole or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from data import DataError
from grader.errors import printable
from grader.files import all_files, atomic, by_a_system, left_behind, move
from grader.inputs.images import is_picture
from grader.inputs.labels import TABLES
from grader.inputs.submission import LABELS, is_archive

ABOUT = "about.json"  # what the set is; also the mark by which we know a folder of ours
OF_A_SET = (ABOUT, LABELS, *TABLES)  # and pictures


@contextmanager
def new_set(output: Path, overwrite: bool = False) -> Iterator[Callable[[str, bytes], None]]:
    """Gives write(name, bytes) for the files of a new set; a zip when `output` ends in .zip. An about.json with a seed
    is the mark of a set that was drawn: the notebooks' last cell knows it by that.

    All is written beside `output` and renamed when the block ends well; an error or Ctrl-C leaves nothing.
    Raises DataError when something is there, before the block or by its end, unless `overwrite` is set and it is a set
    of ours; when `output` has the name of another archive; and when the set is whole and what it replaced stays.
    """
    output = Path(output).resolve()
    _check_free(output, overwrite)
    old = None
    try:
        with atomic(output) as partial:
            if _is_zip(output):
                with zipfile.ZipFile(partial, "w") as archive:  # stored: PNG does not get smaller
                    yield archive.writestr
            else:
                partial.mkdir()
                yield lambda name, data: _write(partial, name, data)
            _check_free(output, overwrite)  # once more: the work may have taken an hour
            if output.is_dir():  # a folder cannot be replaced in one step: out of the way, and back if need be
                old = move(output, partial.with_name(f"{partial.name}.old"))
    except BaseException:
        if old:
            move(old, output)
        raise
    if old:
        try:
            shutil.rmtree(old)
        except (OSError, KeyboardInterrupt) as error:
            raise DataError(f"{output}: is complete; remove {old}, which is left of what it replaced") from error


def png(picture: np.ndarray) -> bytes:
    """A picture uint8 [H, W, 3] as a file of a set."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def about_json(about: dict) -> bytes:
    """The text of about.json."""
    return (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()


def _write(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    try:
        path.write_bytes(data)
    except FileNotFoundError:
        if path.parent == folder:  # gone: somebody removed the unfinished set
            raise
        path.parent.mkdir()  # the first of its folder
        path.write_bytes(data)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _check_free(output: Path, overwrite: bool) -> None:
    if is_archive(output.name) and not _is_zip(output):
        raise DataError(f"{output}: a set is a folder or a .zip; name another output")
    if os.path.ismount(output):  # it cannot be replaced
        raise DataError(f"{output}: is a mount point; name a folder in it")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if output.is_dir() == _is_zip(output):
        raise DataError(f"{output}: is {'a folder' if output.is_dir() else 'a file'}; name another output")
    if not overwrite:
        raise DataError(f"{output}: exists already; name another output, or replace it with --overwrite")
    if not _is_ours(output):
        raise DataError(f"{output}: holds no {ABOUT}, so it was not made here and stays; name another output")
    if other := _not_ours(output):
        raise DataError(
            f"{output}: holds {other}, which is no part of a set, and stays: move it, or name another output"
        )


def _is_ours(output: Path) -> bool:
    if output.is_dir():
        return (output / ABOUT).is_file()
    try:
        with zipfile.ZipFile(output) as archive:
            return ABOUT in archive.namelist()
    except Exception:  # no zip, or a damaged one: what reads it may raise anything
        return False


def _not_ours(output: Path) -> str | None:
    """The name of a file that no set has, which somebody else put into one, or of the hidden folder that it lies in."""
    if output.is_dir():
        names = (Path(path).relative_to(output).as_posix() for path in all_files(output, but=by_a_system))
    else:
        with zipfile.ZipFile(output) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    for path in map(PurePosixPath, names):
        hidden = next((depth for depth, part in enumerate(path.parts, 1) if left_behind(part)), None)
        of_a_set = not hidden and (is_picture(path.name) or path.name in OF_A_SET)
        if not of_a_set and not any(map(by_a_system, path.parts)):
            return printable("/".join(path.parts[:hidden]))
    return None
