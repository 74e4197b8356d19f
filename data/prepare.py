"""Real faces of any size, made into the 64x64 set which the notebooks read, with their labels."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from data import DataError
from data.faceset import ABOUT, about_json, new_set, png
from data.parallel import ordered_map
from grader.errors import counted, printable
from grader.files import DEVICES, csv_text, natural, some, with_name
from grader.inputs.archives import BadArchive, BadMember, decoded, members
from grader.inputs.images import UnreadablePicture, decode, is_picture
from grader.inputs.labels import TABLES, height
from grader.inputs.submission import COUNT, LABELS, NUMBERS

CHUNK = 4  # pictures a worker takes at a time: they may be large
MAX_STEM = 200  # bytes: file systems take 255, an ending included
WRITTEN = {"runs", "outputs"}  # where a notebook writes, unless told otherwise
BESIDE_LOG = ("checkpoints", "samples")  # what a run has beside its log.csv
COVERS = 9  # at most so many pictures above folders of classes show what is in them


@dataclass(frozen=True)
class Prepared:
    """How many faces were written, a line for each file that was skipped, and notes on labels."""

    written: int
    skipped: list[str]
    notes: list[str]


def prepare(
    source: Path,
    output: Path,
    size: int = 64,
    limit: int | None = None,
    name: str | None = None,
    *,
    overwrite: bool = False,
    workers: int | None = None,
) -> Prepared:
    """Writes the first `limit` pictures of a folder, .zip or .tar[.gz] as a set of PNG [size, size].

    Tables of labels go along, and the seed of a set that was drawn. Where no table can be read, and the pictures lie in
    several folders, these are kept: they are the classes. A file that cannot be read is skipped. An output in the
    source is no part of it, nor are runs, submissions and sets made before, below a folder. Raises DataError when the
    source holds no readable picture, or the output is taken.
    """
    given = with_name(Path(source))  # a link has a name of its own: what it leads to may be called by its content
    source, output = given.resolve(), Path(output).resolve()
    if output == source or output in source.parents:
        raise DataError(f"{output}: would replace its own source; name another output")
    pictures, tables, skipped, notes = _listed(source, output)
    pictures = sorted(pictures, key=natural)[:limit]
    drawn = _of_drawn(tables.pop(ABOUT, []))
    read = {table: _decoded(found) for table, found in tables.items()}
    labelled = any(read[table][1] is not None for table in TABLES if table in read)
    classes = [] if labelled else _classes(pictures)
    stems: dict[str, list[str]] = {}  # by name; a zip may hold a name twice
    for picture, stem in zip(pictures, _stems(pictures, keep_folders=bool(classes)), strict=True):
        stems.setdefault(picture, []).append(stem)
    written: dict[str, str] = {}
    count = 0
    with new_set(output, overwrite) as write:
        shrunk = ordered_map(partial(_shrunk, size), _contents(source, stems), workers, CHUNK)
        with tqdm(shrunk, total=len(pictures), unit=" faces", disable=None) as bar:  # closed before an error is told
            for picture, stem, png in bar:
                if isinstance(png, str):
                    skipped.append(f"{picture}: {png}")
                    continue
                write(f"{stem}.png", png)
                written[picture] = f"{stem}.png"
                count += 1
        if not written:
            reason = f" ({why[0]})" if (why := skipped or notes) else ""
            raise DataError(f"{source}: no picture in it could be read{reason}; name the folder or zip with the faces")
        if classes:
            notes.append(f"{len(classes):,} folders are kept, as classes: {some(classes, 5)}")
        for table, (file, text, more) in read.items():
            notes += more
            if text is not None:
                data, more = _carried(table, file, text, written)
                notes += more
                if data is not None:
                    write(table, data)
        about = {"name": printable(name or drawn.pop("name", given.stem)), "count": count, "size": size}
        about |= {"source": printable(given.name), "filter": "bilinear"}
        write(ABOUT, about_json(drawn | about))
    return Prepared(count, skipped, notes)


def shrink(data: bytes, size: int = 64) -> bytes:
    """A picture file as a PNG of RGB [size, size], read and shrunk as the grader does. Raises UnreadablePicture."""
    return png(decode(data, size)[0])


def _made_of_faces(names: Iterable[str]) -> dict[PurePosixPath, str]:
    """{folder below the folder of these files: what it is} for what a notebook made of faces, as far as it is sure: the
    notebooks take no faces out of it either, see baselines/kit/faces.py."""
    files: dict[PurePosixPath, set[str]] = {}
    for path in map(PurePosixPath, names):
        files.setdefault(path.parent, set()).add(path.name)
    counts = {folder: sum(map(is_picture, names)) for folder, names in files.items()}
    made = {}
    for folder in files.keys() - {PurePosixPath()}:
        likely = WRITTEN & {*folder.parts} or counts.get(folder.parent, 0) > COVERS  # a class may have such names too
        if "log.csv" in files[folder] and any(folder / name in files for name in BESIDE_LOG):
            made[folder] = "a run"
        elif likely and counts[folder] == COUNT and files[folder].issuperset(NUMBERS) and folder.name != "faces":
            made[folder] = "a submission"
    return made


def _made_before(
    found: list[tuple[str, Callable[[], bytes]]], apart: Container[PurePosixPath], top: str
) -> list[PurePosixPath]:
    """The folders below that of these files which are sets made of what lies here as well, by their about.json. `top`
    is the name of the folder of these files. None where all pictures that are not set `apart` lie in such sets: they
    are meant."""
    abouts = {PurePosixPath(name).parent: read for name, read in found if PurePosixPath(name).name == ABOUT}
    abouts.pop(PurePosixPath(), None)  # of the source itself
    there = {top, *(part for name, _ in found for part in PurePosixPath(name).parts)}
    sets = [folder for folder, read in abouts.items() if _json(_read(read)).get("source") in there]
    pictures = (PurePosixPath(name) for name, _ in found if is_picture(name))
    others = (path for path in pictures if not any(folder in apart or folder in sets for folder in path.parents))
    return sets if any(others) else []


def _listed(source: Path, output: Path) -> tuple[list[str], dict[str, list], list[str], list[str]]:
    """The files that may be pictures, by their ending or else by what is in them; of each kind of table the (name,
    bytes or the reason why there are none) of all that were found, the uppermost first; lines on what is neither; and
    notes on folders that are left out. An output in the source is left out too: it was made of the others.
    """
    if not source.exists():
        raise DataError(f"{source}: does not exist; name a folder or zip of faces")
    pictures, tables, skipped = [], {}, []
    try:
        found = members(source, refused=skipped)
        apart = {}
        if source.is_dir():
            found = list(found)  # what is packed must be read before the next is asked for
            if source in output.parents:
                own = PurePosixPath(printable(decoded(os.fsencode(output.relative_to(source).as_posix()))))
                found = [one for one in found if own not in (PurePosixPath(one[0]), *PurePosixPath(one[0]).parents)]
            apart = _made_of_faces(name for name, _ in found)
            apart |= dict.fromkeys(_made_before(found, apart, printable(source.name)), "a set made before")
        left_out = "{} is left out, as it looks like {}: name it alone if it is faces"
        notes = [left_out.format(*folder) for folder in sorted(apart.items())]
        for name, read in found:
            file = PurePosixPath(name).name
            if not apart.keys().isdisjoint(PurePosixPath(name).parents):
                continue
            if file in (*TABLES, LABELS, ABOUT):
                tables.setdefault(file, []).append((name, _read(read)))
            elif not is_picture(name) and (problem := _unreadable(name, read)):
                skipped.append(f"{name}: {problem}")  # now: 1.txt beside 1.png would take its name
            else:
                pictures.append(name)
    except BadArchive as error:
        raise DataError(f"{error}; download it again, or name another source") from None
    except OSError as error:
        where, reason = error.filename or source, error.strerror or error
        raise DataError(f"{where}: cannot be read ({reason}); check its permissions") from None
    for found in tables.values():
        found.sort(key=lambda table: height(table[0]))
    return pictures, tables, skipped, notes


def _read(read: Callable[[], bytes]) -> bytes | str:
    """The file's bytes, or why there are none."""
    try:
        return read()
    except BadMember as error:
        return error.reason
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _unreadable(name: str, read: Callable[[], bytes]) -> str | None:
    """Why a file is no picture that can be read, or None where it is one."""
    *_, made = _shrunk(1, (name, "", _read(read)))
    return made if isinstance(made, str) else None


def _contents(source: Path, stems: dict[str, list[str]]) -> Iterator[tuple[str, str, bytes | str]]:
    """(name, stem, bytes or the reason why there are none) of the named files, in the order in which they lie there."""
    for name, read in members(source, refused=[]):
        if stems.get(name):
            yield name, stems[name].pop(0), _read(read)


def _shrunk(size: int, item: tuple[str, str, bytes | str]) -> tuple[str, str, bytes | str]:
    """(name, stem, PNG or the reason why there is none)."""
    name, stem, data = item
    try:
        return name, stem, data if isinstance(data, str) else shrink(data, size)
    except UnreadablePicture as error:
        return name, stem, str(error)


def _classes(pictures: Iterable[str]) -> list[str]:
    """The folders that pictures lie in, where there are several: the notebooks take them as classes."""
    found = {PurePosixPath(name).parent.name for name in pictures} - {""}
    return sorted(found) if len(found) > 1 else []


def _stems(names: Iterable[str], keep_folders: bool = False) -> list[str]:
    """A new name without suffix for each file: its own, made unique with -2, -3 … and safe on every system.

    With `keep_folders` it begins with the folder that the file lies in: aqua/1.
    """
    taken: dict[str, int] = {}
    stems = []
    for name in names:
        path = PurePosixPath(name)
        own = _safe(path.stem)
        if keep_folders and path.parent.name:
            own = f"{_safe(path.parent.name)}/{own}"
        stem = own
        while _folded(stem) in taken:
            taken[_folded(own)] += 1
            stem = f"{own}-{taken[_folded(own)]}"
        taken[_folded(stem)] = 1
        stems.append(stem)
    return stems


def _safe(name: str) -> str:
    """The name of a file or folder as every system takes it, and this one's file system can write it."""
    encoding = sys.getfilesystemencoding()
    name = name.encode(encoding, "backslashreplace").decode(encoding)
    name = re.sub(r'[<>:"|?*\\\x00-\x1f]', "_", name).encode()[:MAX_STEM].decode(errors="ignore").rstrip(". ")
    return f"_{name}" if DEVICES.match(name) or not name else name


def _folded(name: str) -> str:
    """Equal for names which some systems hold for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _decoded(found: list[tuple[str, bytes | str]]) -> tuple[str, str | None, list[str]]:
    """The name of the table that counts of those of one kind, the uppermost; its text, None where it has none that can
    be read; and notes on that and on the others."""
    (name, data), *others = found
    notes = [f"{other} is not carried along: {name} comes first" for other, _ in others]
    if isinstance(data, str):
        return name, None, [*notes, f"{name} is not carried along: {data}"]
    try:
        text = data.decode("utf-8-sig")  # Excel adds a mark
    except UnicodeDecodeError:
        return name, None, [*notes, f"{name} is not carried along, as it is not in UTF-8: save it as CSV UTF-8"]
    if not text.strip():
        return name, None, [*notes, f"{name} is not carried along, as it is empty"]
    return name, text, notes


def _of_drawn(found: list[tuple[str, bytes | str]]) -> dict:
    """The seed in the uppermost about.json, by which notebooks know that a set was drawn, and its name, by which scores
    call it; nothing of a set that was not drawn."""
    about = _json(found[0][1]) if found else {}
    if "seed" not in about:
        return {}
    kept = {"seed": about["seed"]}
    return kept | {"name": about["name"]} if isinstance(about.get("name"), str) else kept


def _json(data: bytes | str) -> dict:
    """What an about.json says; nothing of one that cannot be read."""
    try:
        about = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _carried(table: str, name: str, text: str, written: dict[str, str]) -> tuple[bytes | None, list[str]]:
    """The table to write, or None, and notes on what of it does not go along; `written` are new names by old ones.

    TABLES are tied to the pictures by their stems, and stay as they are; LABELS names files.
    """
    if table == LABELS:
        return _relabelled(name, text, written)
    notes = []
    renamed = [old for old, new in written.items() if PurePosixPath(old).stem != PurePosixPath(new).stem]
    if renamed:
        example = f"{renamed[0]} (now {written[renamed[0]]})"
        unknown = counted(len(renamed), "face by its new name", "faces by their new names")
        notes.append(f"{name} does not know {unknown}, such as {example}")
    return text.encode(), notes


def _relabelled(name: str, text: str, written: dict[str, str]) -> tuple[bytes | None, list[str]]:
    """A labels.csv with the new names of the pictures."""
    try:
        header, *rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True)] or [[]]
    except csv.Error as error:
        return None, [f"{name} is not carried along: {error}"]
    if header != ["file", "label"]:
        return None, [f"{name} is not carried along: it does not begin with the line file,label"]
    folder, rows = PurePosixPath(name).parent, [row for row in rows if row]
    known = [(written.get(str(folder / row[0].replace("\\", "/"))), *row[1:]) for row in rows]
    known = [row for row in known if row[0]]
    lost = len(rows) - len(known)
    notes = [f"{name}: {lost:,} of {len(rows):,} rows name no face that was written"] if lost else []
    return csv_text([header, *known]).encode(), notes
