"""What pictures show, and what they were asked to show, as files tell it.

Real faces have a tags.csv (`12,aqua hair blue eyes`) or an attributes.csv (`file,hair_colour,…`), or lie in a folder
per label. The notebooks read them by the same rules. A conditional set has a labels.csv (`file,label`).
"""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from grader.errors import GraderError
from grader.files import some
from grader.inputs.archives import BadArchive, bytes_of, members
from grader.inputs.faces import BadReference, face_set_name, in_short, read_pictures, tell
from grader.inputs.images import is_picture
from grader.inputs.submission import LABELS, BadSubmission

TABLES = ("tags.csv", "attributes.csv")
HAIR = "hair"  # what faces are labelled by, unless another attribute is asked for
MAX_TABLE_BYTES = 16 * 2**20  # 100,000 rows of attributes have 12 MB
MAX_ROWS = 200_000
FEWEST = 20  # real faces per label: half of them fit the classifier, the others tell how far it can be trusted
MOST = 6000  # real faces in all, as many per label: more would take time and tell little


@dataclass(frozen=True)
class LabelledFaces:
    """Pictures uint8 [M, 64, 64, 3], and of each the place of its label among `names`, int [M]."""

    title: str
    names: list[str]
    labels: np.ndarray
    pictures: np.ndarray


def read_asked(source: Path, pictures: list[str], given: Path | None = None) -> list[str]:
    """The label that each of a submission's pictures was asked to show, from the labels.csv in it, or the `given` file.

    Raises BadSubmission with everything that is wrong, not only the first thing, and GraderError for a given file that
    cannot be read or is no table: it is no part of the submission.
    """
    refused = GraderError if given else BadSubmission
    where = str(given) if given else f"{source}: {LABELS}"
    try:
        folder, data = (PurePosixPath(), bytes_of(given, MAX_TABLE_BYTES)) if given else _find_labels(source)
        header, *rows = _rows(data) or [[]]
    except BadArchive as error:
        raise BadSubmission([str(error)]) from None
    except OSError as error:
        raise refused([f"{where}: cannot be read ({error.strerror or error}): name another file"]) from None
    except ValueError as error:
        raise refused([f"{where}: no table ({error}): write rows as 1.jpg,aqua"]) from None
    if header != ["file", "label"]:
        raise refused([f"{where}: does not begin with the line file,label: write it above the rows"])
    for number, row in enumerate(rows, 2):
        if row and (len(row) != 2 or not row[1]):
            raise refused([f"{where}: row {number} is not a file and its label: write it as 1.jpg,aqua"])

    pairs = [(str(folder / row[0]), row[1]) for row in rows if row]
    times = Counter(name for name, _ in pairs)
    problems = []
    if twice := [name for name, count in times.items() if count > 1]:
        problems.append(f"{where}: more than one row for {_quoted(twice)}: keep one for each picture")
    if absent := times.keys() - set(pictures):
        problems.append(f"{where}: rows for {_quoted(absent)}, which are not among the pictures: remove them")
    if missing := set(pictures) - times.keys():
        problems.append(f"{where}: no row for {_quoted(missing)}: add what each was asked to show")
    if problems:
        raise BadSubmission(problems)
    labels = dict(pairs)
    return [labels[name] for name in pictures]


def read_faces(source: Path, attribute: str | None = None, asked: Collection[str] = ()) -> LabelledFaces:
    """Labelled real faces from a folder or archive.

    `attribute` says what to take of a table, by default the hair: the word before "hair" or "eye" in a tags.csv, the
    first column of an attributes.csv whose name begins so. Labels of fewer than FEWEST faces are left out, unless they
    were `asked` for. Warns of an attribute where there is no table.
    Raises BadSubmission when a label was asked for that the faces do not have, and BadReference.
    """
    by = HAIR if attribute is None else attribute
    try:
        label_of, table = _labels(source, by)
        counts = Counter(label_of.values())
        names = sorted(name for name, count in counts.items() if count >= FEWEST)
        if len(names) < 2:
            raise BadReference(
                f"{source}: fewer than two classes of {FEWEST} faces by {by!r}: put a tags.csv (1,blue hair "
                "green eyes) beside the pictures, or each class into a folder of its own"
            )
        if unknown := set(asked) - counts.keys():
            remedy = f"ask for {_quoted(counts, 20)}, or by another --attribute"
            raise BadSubmission([f"{source}: has no class {_quoted(unknown)}: {remedy}"])
        if few := [name for name in set(asked) if counts[name] < FEWEST]:
            raise BadReference(f"{source}: fewer than {FEWEST} faces of {_quoted(few)}: add some, or ask for others")
        drawn = _drawn(label_of, names)
        skipped = []
        pictures = dict(read_pictures(source, skipped, drawn.__contains__))
        tell(source, in_short(skipped))
    except (BadArchive, OSError, ValueError) as error:
        raise BadReference(f"{source}: no labelled faces ({error}): name a folder or zip of them") from None
    labels = np.array([names.index(label_of[name]) for name in pictures], dtype=int)
    if np.bincount(labels, minlength=len(names)).min() < FEWEST // 2:
        raise BadReference(f"{source}: too many of its pictures cannot be read: make them again")
    if attribute is not None and not table:
        warnings.warn(f"{source}: its classes are folders, so the attribute {attribute} does nothing", stacklevel=2)
    title = face_set_name(source) + f" ({by})" * table
    return LabelledFaces(title, names, labels, np.stack(list(pictures.values())))


def _labels(source: Path, attribute: str) -> tuple[dict[str, str], bool]:
    """The label of each labelled picture, and whether a table told it. Raises what `members` does, and ValueError."""
    names, table, data = [], None, b""
    for name, read in members(source, refused=[]):
        if is_picture(name):
            names.append(name)
        elif PurePosixPath(name).name in TABLES and (table is None or height(name) < height(table)):
            table, data = name, read()
    if table:
        try:
            told = _told(_rows(data), attribute)
        except ValueError as error:
            raise ValueError(f"{table}: {error}") from None
        label_of = {name: told.get(PurePosixPath(name).stem) for name in names}
    else:
        label_of = {name: PurePosixPath(name).parent.name for name in names}
    return {name: value for name, value in label_of.items() if value}, table is not None


def height(table: str) -> tuple[int, str]:
    """What sorts the uppermost table first, as the notebooks take it too."""
    return table.count("/"), table


def _told(rows: list[list[str]], attribute: str) -> dict[str, str]:
    """What the rows of a tags.csv or an attributes.csv tell, by the stem of the picture's name: {"12": "aqua"}."""
    rows = [row for row in rows if len(row) > 1]
    if rows and rows[0][0] == "file":  # a column an attribute
        column = next((i for i, name in enumerate(rows[0]) if i and name.startswith(attribute)), None)
        told = {row[0]: row[column] for row in rows[1:] if len(row) > column} if column else {}
    else:  # the word before the attribute; \b, lest a long field is searched from each of its letters
        word = re.compile(rf"\b(\w+) {re.escape(attribute)}")
        told = {row[0]: found[1] for row in rows if (found := word.search(row[1]))}
    return {PurePosixPath(file).stem: value for file, value in told.items()}


def _drawn(label_of: dict[str, str], names: list[str]) -> set[str]:
    """Pictures with the named labels, at random, up to as many of each as make MOST together."""
    rng, drawn = np.random.default_rng(0), set()
    for name in names:
        labelled = [picture for picture, value in label_of.items() if value == name]
        drawn.update(rng.permutation(labelled)[: max(FEWEST, MOST // len(names))].tolist())
    return drawn


def _find_labels(source: Path) -> tuple[PurePosixPath, bytes]:
    """The folder of the uppermost labels.csv, and its bytes. Raises BadSubmission when there is none."""
    found = None
    for name, read in members(source):
        path = PurePosixPath(name)
        if path.name == LABELS and (found is None or len(path.parent.parts) < len(found[0].parts)):
            found = path.parent, read()
    if found is None:
        raise BadSubmission([f"{source}: no {LABELS} says what each picture was asked to show: name one by --labels"])
    return found


def _rows(data: bytes) -> list[list[str]]:
    """The cells of a table, without the blanks around them. Raises ValueError."""
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(f"more than {MAX_TABLE_BYTES / 1e6:.0f} MB")
    try:
        lines = data.decode("utf-8-sig").splitlines()  # Excel adds a mark
    except UnicodeDecodeError:
        raise ValueError("not in UTF-8: save it as CSV UTF-8") from None
    if len(lines) > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS:,} rows")
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True)]
    except csv.Error as error:
        raise ValueError(error) from None


def _quoted(names: Collection[str], most: int = 3) -> str:
    """Some of the names, as long as they fit on one line: errors make them printable."""
    return some((name[:40] for name in names), most)
