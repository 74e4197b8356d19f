"""Making a submission: 1,000 pictures packed flat under the course's 2 MB, and grids cut into single pictures."""

from __future__ import annotations

import errno
import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from grader.files import CannotWrite, atomic
from grader.inputs.archives import bytes_of, members
from grader.inputs.images import ENDINGS, UnreadablePicture, decode
from grader.inputs.submission import COUNT, MAX_PACKED_BYTES, SIZE, BadSubmission, Submission, read_submission

QUALITIES = (95, 90, 85, 80, 75, 70, 60, 50)  # of JPEG: the first that fits is taken


def pack(source: Path, output: Path) -> tuple[Submission, int | None]:
    """Writes the pictures of a folder or archive as a flat .tgz of 1.jpg … 1000.jpg, and reads it back.

    A submission of the right form is packed byte for byte; any other 1,000 pictures are numbered in the order of their
    names, shrunk to 64x64 where needed, and stored at the highest JPEG quality that keeps the archive under 2 MB.
    Returns the submission as read back, and that quality, or None if the files are as they were.
    Raises BadSubmission when there are not 1,000 pictures or they do not fit; then `output` is left as it was.
    """
    try:
        read_submission(source)
        as_they_are = {name: read() for name, read in members(source) if name.lower().endswith(ENDINGS)}
    except BadSubmission:
        as_they_are = {}
    if as_they_are and (packed := _tgz(as_they_are)) and len(packed) < MAX_PACKED_BYTES:
        return _verified(packed, output), None
    submission = read_submission(source, loose=True)
    if len(submission.pictures) != COUNT:
        raise BadSubmission(
            [f"{source}: holds {len(submission.pictures):,} pictures: the course takes exactly {COUNT:,}"]
        )
    for quality in QUALITIES:
        files = {f"{number}.jpg": _jpeg(picture, quality) for number, picture in enumerate(submission.pictures, 1)}
        if len(packed := _tgz(files)) < MAX_PACKED_BYTES:
            return _verified(packed, output), quality
    raise BadSubmission([f"{source}: over the course's 2 MB even at JPEG quality {QUALITIES[-1]}"])


def cut(grids: Iterable[Path], output: Path) -> int:
    """Cuts grids as torchvision's save_image writes them into single pictures 1.jpg, 2.jpg … in a new folder.

    Returns their number. Raises BadSubmission for a file that is no such grid, and OSError. The folder appears whole or
    not at all.
    """
    if output.exists():
        raise CannotWrite(errno.EEXIST, "exists", str(output))
    with atomic(output) as unfinished:
        unfinished.mkdir()
        tiles = (tile for path in grids for tile in _tiles(path))  # a grid at a time: a large one has 48 MB
        try:
            for number, tile in enumerate(tiles, 1):
                (unfinished / f"{number}.jpg").write_bytes(_jpeg(tile, QUALITIES[0]))
        except BaseException:
            shutil.rmtree(unfinished)
            raise
    return number


def _tiles(path: Path) -> list[np.ndarray]:
    try:
        pixels, _ = decode(bytes_of(path))
    except OSError as error:
        raise BadSubmission(f"{path}: cannot be read ({error.strerror}): name grids of pictures") from None
    except (ValueError, UnreadablePicture) as error:
        raise BadSubmission(f"{path} {error}: name grids of pictures") from None
    if not (found := cut_grid(pixels)):
        raise BadSubmission(f"{path} is {pixels.shape[1]}x{pixels.shape[0]}: no grid of {SIZE}x{SIZE} pictures")
    return found


def cut_grid(pixels: np.ndarray, size: int = SIZE) -> list[np.ndarray]:
    """The single pictures, uint8 [size, size, 3], of a grid [H, W, 3]; none if it is not made of such pictures.

    Pictures stand `gap` pixels apart with as much around them (torchvision's make_grid has 2), or touch. Places that
    stayed empty in the last row, all black or all white, are left out.
    """
    height, width, _ = pixels.shape
    for gap in (2, 0, 1, 3, 4):
        step = size + gap
        if height > gap and width > gap and (height - gap) % step == 0 and (width - gap) % step == 0:
            corners = [(y, x) for y in range(gap, height - gap, step) for x in range(gap, width - gap, step)]
            tiles = [pixels[y : y + size, x : x + size] for y, x in corners]
            while tiles and _empty(tiles[-1]):
                tiles.pop()
            return tiles
    return []


def _empty(tile: np.ndarray) -> bool:
    centre = tile[16:-16, 16:-16]  # into the rest JPEG blurs the neighbours
    return centre.max() <= 8 or centre.min() >= 247


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    """In memory, since Pillow does not notice a disk that is full before the last byte."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _tgz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _verified(packed: bytes, output: Path) -> Submission:
    """Writes what is read back as a submission, or raises and leaves `output` as it was."""
    with atomic(output) as unfinished:
        unfinished.write_bytes(packed)
        return read_submission(unfinished)
