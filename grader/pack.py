"""Making a submission: 1,000 pictures packed flat under the course's 2 MB, and grids cut into single pictures."""

from __future__ import annotations

import errno
import io
import tarfile
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from grader.errors import counted
from grader.files import CannotWrite, atomic, check_apart
from grader.inputs.archives import BadArchive, bytes_of, members
from grader.inputs.images import UnreadablePicture, decode, is_picture, jpeg
from grader.inputs.submission import COUNT, LABELS, MAX_PACKED_BYTES, SIZE, BadSubmission, Submission, read_submission

QUALITIES = (95, 90, 85, 80, 75, 70, 60, 50)  # of JPEG: the first that fits is taken


def pack(source: Path, output: Path) -> tuple[Submission, int | None]:
    """Writes the pictures of a folder or archive as a flat .tgz of 1.jpg … 1000.jpg, and reads it back.

    A submission of the right form is packed byte for byte; any other 1,000 pictures are numbered in the order of their
    names, shrunk to 64x64 where needed, and stored at the highest JPEG quality that keeps the archive under 2 MB.
    Returns the submission as read back, with the notes on the pictures of `source`, and that quality, or None if the
    files are as they were.
    Warns of labels, which do not go along. Raises BadSubmission when there are not 1,000 pictures or they do not fit;
    then `output` is left as it was.
    """
    check_apart([output], [source])
    submission, quality = _packed(source, output)
    _tell_of_labels(source)
    return submission, quality


def _packed(source: Path, output: Path) -> tuple[Submission, int | None]:
    try:
        notes = read_submission(source).picture_notes
        array = source.suffix.lower() == ".npz" and source.is_file()  # its pictures are no files
        as_they_are = {} if array else {name: read() for name, read in members(source) if is_picture(name)}
    except BadSubmission:
        as_they_are = {}
    if as_they_are and (packed := tgz(as_they_are)) and len(packed) < MAX_PACKED_BYTES:
        return replace(_verified(packed, output), notes=notes), None
    submission = read_submission(source, loose=True)
    if len(submission.pictures) != COUNT:
        raise BadSubmission(
            [f"{source}: holds {counted(len(submission.pictures), 'picture')}: the course takes exactly {COUNT:,}"]
        )
    for quality in QUALITIES:
        files = {f"{number}.jpg": jpeg(picture, quality) for number, picture in enumerate(submission.pictures, 1)}
        if len(packed := tgz(files)) < MAX_PACKED_BYTES:
            return replace(_verified(packed, output), notes=submission.picture_notes), quality
    raise BadSubmission([f"{source}: over the course's 2 MB even at JPEG quality {QUALITIES[-1]}"])


def _tell_of_labels(source: Path) -> None:
    """Warns of labels, and of folders: the course takes pictures alone, without what they were to show. Other
    files are in the notes."""
    with suppress(BadArchive, OSError):  # what is wrong with it is said where its pictures are read
        names = [PurePosixPath(name) for name, _ in members(source)]
        labels = sorted(str(name) for name in names if name.name == LABELS)
        if folders := sorted({str(name.parent) for name in names if is_picture(name.name)} - {"."}):
            labels.append(f"the folder {folders[0]}" if len(folders) == 1 else f"{len(folders):,} folders")
        if labels:
            warnings.warn(
                f"{source}: {', '.join(labels[:5])} not packed: the course takes pictures alone", stacklevel=3
            )


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
        number = 0
        for number, tile in enumerate(tiles, 1):
            (unfinished / f"{number}.jpg").write_bytes(jpeg(tile, QUALITIES[0]))
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


def cut_grid(pixels: np.ndarray) -> list[np.ndarray]:
    """The single pictures, uint8 [64, 64, 3], of a grid [H, W, 3]; none if it is not made of such pictures.

    Pictures stand `gap` pixels apart with as much around them (torchvision's make_grid has 2), or touch. Where several
    gaps fit, it is the one that has one colour, else 0. Places that stayed empty at the end of the last row, all of the
    colour of the gaps, or where there are none all black or all white, are left out.
    """
    height, width, _ = pixels.shape
    fitting = [
        gap
        for gap in (2, 1, 3, 4, 0)
        if min(height, width) > gap and (height - gap) % (SIZE + gap) == (width - gap) % (SIZE + gap) == 0
    ]
    clear = [gap for gap in fitting if gap and _of_one_colour(pixels, gap)]
    if not fitting or (not clear and len(fitting) > 1 and 0 not in fitting):
        return []
    gap = clear[0] if clear else fitting[-1]
    step = SIZE + gap
    corners = [(y, x) for y in range(gap, height - gap, step) for x in range(gap, width - gap, step)]
    tiles = [pixels[y : y + SIZE, x : x + SIZE] for y, x in corners]
    colour = np.median(pixels[:gap].reshape(-1, 3), axis=0) if gap else 255 * (tiles[-1].mean() > 127)
    empty = [_empty(tile, colour) for tile in tiles]
    if all(empty[-((width - gap) // step) :]):  # no grid has a row without a picture: these are dark ones
        return [] if all(empty) else tiles
    while empty[-1]:
        empty.pop()
    return tiles[: len(empty)]


def _of_one_colour(pixels: np.ndarray, gap: int) -> bool:
    """Whether nearly all between the pictures has one colour, as far as JPEG lets it."""
    ys, xs = (np.arange(side) % (SIZE + gap) < gap for side in pixels.shape[:2])
    between = pixels[ys[:, None] | xs].astype(int)  # [n, 3]
    return (np.abs(between - np.median(between, axis=0)).max(axis=1) > 64).mean() < 0.1


def _empty(tile: np.ndarray, colour: np.ndarray | int) -> bool:
    centre = tile[16:-16, 16:-16].astype(int)  # into the rest JPEG blurs the neighbours
    return bool((centre == centre[0, 0]).all() and (np.abs(centre[0, 0] - colour) <= 8).all())


def tgz(files: dict[str, bytes]) -> bytes:
    """A .tgz of files, name -> content, in their order."""
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
