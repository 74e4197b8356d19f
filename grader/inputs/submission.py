"""What the course takes: exactly 1,000 pictures 1.jpg … 1000.jpg of 64x64, as a folder or packed flat."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from grader.errors import GraderError, counted, printable, shortened
from grader.files import natural, some, with_name
from grader.inputs.archives import BadArchive, members
from grader.inputs.arrays import BadArray, read_arrays
from grader.inputs.images import ENDINGS, UnreadablePicture, WrongSize, decode, is_picture, jpeg_quality

ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip", ".npz")
OTHER_ARCHIVES = (  # that are not read here
    *(".rar", ".7z", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tar.lz"),
    *(".gz", ".bz2", ".xz", ".zst", ".z", ".lz", ".lzma", ".cab", ".arj", ".ace", ".zipx", ".alz", ".egg"),
)
COUNT = 1000
SIZE = 64
NUMBERED = re.compile(rf"\d+({'|'.join(map(re.escape, ENDINGS))})", re.IGNORECASE)  # as the course has pictures named
NUMBERS = [f"{number}.jpg" for number in range(1, COUNT + 1)]  # the names that the course wants
MAX_PACKED_BYTES = 2_000_000  # the course's limit for the .tgz
MAX_FILES = 5_000
MAX_BYTES = 256 * 10**6
LABELS = "labels.csv"  # what each picture of a conditional set was asked to show; grader.inputs.labels reads it
MAX_LOOSE = 10_000  # pictures: all of them are held, and each is compared with each


def packed(name: str) -> bool:
    """Whether a file is, by its name, an archive that is read here. ._: macOS, beside each file."""
    return name.lower().endswith(ARCHIVES) and not name.startswith("._")


def is_archive(name: str) -> bool:
    """Whether a name is that of any archive, one that is read here or not."""
    return name.lower().endswith((*ARCHIVES, *OTHER_ARCHIVES))


class BadSubmission(GraderError):
    """A submission that cannot be scored; `problems` are one line each, with the remedy."""

    exit_code = 1


class NotRead(BadSubmission):
    """One that is not there, or that the system does not give: nobody knows what it holds."""


class Several(BadSubmission):
    """One that may hold the submissions of several people, as a class one folder deeper does."""


class Deeper(BadSubmission):
    """One whose only archive, or all pictures, lie deeper or packed: a class of one student would look the same."""


@dataclass(frozen=True)
class Submission:
    """Pictures uint8 [N, 64, 64, 3] in the order of `names`, and notes on what was not quite as it should be. `quality`
    is that of the JPEGs of 64x64, the median one; None where most are stored otherwise. `file_note` is the one of the
    notes that is on the file that they came in, if there is one: packed anew, it is another file."""

    source: Path
    names: list[str]
    pictures: np.ndarray
    notes: list[str]
    quality: int | None = None
    file_note: str = ""

    @property
    def picture_notes(self) -> list[str]:
        """The notes that stay true of the same pictures in another file."""
        return [note for note in self.notes if note != self.file_note]


def read_submission(source: Path, loose: bool = False) -> Submission:
    """Reads a submission from a folder, .tgz, .tar or .zip, or an .npz that holds one array of pictures.

    `loose` takes 2 to 10,000 pictures of any name, size and folder, shrunk to 64x64.
    Raises BadSubmission with everything that is wrong, not only the first thing.
    """
    source = with_name(source)
    names, pictures, modes, qualities, problems, extra, found = set(), {}, Counter(), [], [], [], 0
    try:
        if source.suffix.lower() == ".npz" and source.is_file():
            return _read_array(source, loose)
        for name, read in members(source, None if loose else MAX_FILES, None if loose else MAX_BYTES):
            if not is_picture(name):
                if PurePosixPath(name).name != LABELS:
                    extra.append(name)
                continue
            found += 1
            if found > MAX_LOOSE:
                raise BadSubmission([f"{source}: more than {MAX_LOOSE:,} pictures: score a part of them"])
            if name in names:
                problems.append(f"{name} is there twice: pack each picture once")
                continue
            names.add(name)
            try:
                data = read()
                pictures[name], mode = decode(data, SIZE, shrink=loose)
                modes[mode] += 1
                qualities.append(jpeg_quality(data, SIZE))
            except WrongSize as error:
                problems.append(f"{name} {error}: write pictures of {SIZE}x{SIZE}")
            except UnreadablePicture as error:
                problems.append(f"{name} {error}: make it again")
    except BadArchive as error:
        raise _refused([*shortened(problems), str(error)], names, extra) from None
    except OSError as error:
        where, why = error.filename or source, error.strerror  # a picture's own name, in a folder
        why = f"{where}: cannot be read ({why}): check its permissions" if why else str(error)
        raise NotRead([*shortened(problems), why]) from None

    problems = shortened(problems) + ([] if loose else _form(source, names, found))
    size = source.stat().st_size if source.is_file() else None
    if not found and size == 0:
        problems = [f"{source}: is empty, 0 bytes: make it again, or upload it again"]
    elif not found:
        problems = [f"{source}: {_instead(source, extra)}: it should hold 1.jpg … {COUNT}.jpg"]
    elif loose and len(pictures) < 2:
        problems.append(f"{source}: a score needs at least 2 readable pictures")
    if problems and found and (archives := [name for name in extra if name.lower().endswith(ARCHIVES)]):
        problems.append(f"{source}: the pictures lie beside an archive ({some(archives)}): hand in one of both")
    if problems:
        raise _refused(problems, names, extra)

    names = sorted(pictures, key=natural)
    large = bool(size) and size > MAX_PACKED_BYTES
    file_note = f"{source.name} is {size:,} bytes, over the course's limit of 2 MB" if large else ""
    notes = _notes(modes, extra) + [file_note] * large
    stored = [quality for quality in qualities if quality]
    quality = statistics.median_low(stored) if 2 * len(stored) > len(names) else None
    return Submission(source, names, np.stack([pictures[name] for name in names]), notes, quality, file_note)


def _notes(modes: Counter[str], extra: list[str]) -> list[str]:
    """What was not quite as it should be: pictures stored in other modes than RGB, and files that are no pictures."""
    odd = {mode: counted(n, "picture is", "pictures are") for mode, n in modes.items() if mode != "RGB"}
    notes = [f"{some_are} stored as {mode}, read as RGB" for mode, some_are in odd.items()]
    return notes + ([f"passed over: {counted(len(extra), 'other file')} ({some(extra)})"] if extra else [])


def archives_in(folder: Path) -> tuple[list[Path], bool]:
    """The archives of a folder, and whether it holds pictures that are named as the course's."""
    archives, pictured = [], False
    with suppress(OSError):  # that it cannot be read is said where it is graded
        for path in folder.iterdir():
            pictured = pictured or bool(NUMBERED.fullmatch(path.name))
            if packed(path.name) and path.is_file() and not path.is_symlink():
                archives.append(path)
    return archives, pictured


def read_handed_in(source: Path) -> Submission:
    """What was handed in. Where the pictures of a folder are no submission, and the one archive beside them is, that
    is it: a sample lies there. Raises BadSubmission."""
    try:
        return read_submission(source)
    except BadSubmission as error:
        archives, _ = archives_in(source)
        if len(archives) != 1 or isinstance(error, NotRead):  # pictures that the system does not give may be right
            raise
        try:
            archived = read_submission(archives[0])
        except NotRead:
            raise
        except BadSubmission:
            raise error from None
    note = f"the pictures beside {printable(archives[0].name)} are no submission: passed over"
    return replace(archived, notes=[*archived.notes, note])


def _refused(problems: list[str], pictures: set[str], others: list[str]) -> BadSubmission:
    """Several where it holds several archives, or pictures of one name in several folders."""
    sets, archives = len(pictures) > len({PurePosixPath(name).name for name in pictures}), sum(map(is_archive, others))
    if sets or archives > 1:
        return Several(problems)
    deeper = all("/" in name for name in pictures) if pictures else archives
    return (Deeper if deeper else BadSubmission)(problems)


def _read_array(source: Path, loose: bool) -> Submission:
    """The pictures in an .npz, its first array: uint8, [N, 64, 64, 3] or [N, 3, 64, 64]. Nothing is unpickled.
    Raises BadSubmission, and OSError."""
    remedy = f"save uint8 pictures [{COUNT}, {SIZE}, {SIZE}, 3] with numpy.savez"
    try:
        (pictures,) = read_arrays(source, max_bytes=MAX_LOOSE * SIZE * SIZE * 3)
    except BadArray as error:
        raise BadSubmission([f"{source}: cannot be read ({error}): {remedy}"]) from None
    if pictures.ndim == 4 and pictures.shape[1:] == (3, SIZE, SIZE):
        pictures = pictures.transpose(0, 2, 3, 1)
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIZE, SIZE, 3):
        raise BadSubmission([f"{source}: its array is {pictures.dtype} {list(pictures.shape)}: {remedy}"])
    if len(pictures) != COUNT and not (loose and len(pictures) > 1):
        raise BadSubmission(
            [f"{source}: holds {counted(len(pictures), 'picture')}: the course takes exactly {COUNT:,}"]
        )
    names = [f"{number}.jpg" for number in range(1, len(pictures) + 1)]
    note = "read from an array: the course takes a .tgz"
    return Submission(source, names, np.ascontiguousarray(pictures), [note], file_note=note)


def _form(source: Path, names: set[str], found: int) -> list[str]:
    """What is wrong with the names and the number of the pictures, whether they can be read or not."""
    folders, flat = ({name.rpartition("/")[part] for name in names} for part in (0, 2))
    missing, unexpected = set(NUMBERS) - flat, flat - set(NUMBERS)
    problems = []
    if inside := folders - {""}:
        problems.append(f"{source}: the pictures are inside {some(inside)}/: pack them flat (tar -czf ../my.tgz *.jpg)")
    if found != COUNT:
        problems.append(f"{source}: holds {counted(found, 'picture')}: the course takes exactly {COUNT:,}")
    if unexpected:
        problems.append(f"{source}: unexpected names ({some(unexpected)}): name them 1.jpg … {COUNT}.jpg")
    elif missing:
        problems.append(f"{source}: missing {some(missing)}")
    return problems


def _instead(source: Path, others: list[str]) -> str:
    """What a submission without a picture holds instead."""
    archives = [name for name in others if is_archive(name)]
    if len(archives) > 1:
        return f"holds no picture but {len(archives)} archives ({some(archives)}), and only one can count"
    if archives:
        return f"holds no picture but an archive ({some(archives)}), packed {'twice' if source.is_file() else 'below'}"
    return (
        f"holds no picture but {counted(len(others), 'other file')} ({some(others)})" if others else "holds no picture"
    )
