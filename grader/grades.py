"""What a class gets back: a grade for each student, a page for each, and a board without names."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import secrets
import warnings
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from grader.errors import counted, printable
from grader.files import (
    PARTS,
    by_a_system,
    file_name,
    keep_unless,
    left_behind,
    natural,
    read_kept,
    short_hash,
    unused,
    write_bytes,
    write_text,
)
from grader.inputs.archives import bytes_of
from grader.inputs.submission import is_archive
from grader.points import Points
from grader.report import board, gradebook
from grader.report.page import is_ours as is_page
from grader.report.page import page_of
from grader.results import BROKEN, MISSING, UNSURE
from grader.roster import Student
from grader.uploads import Upload

PAGES = ".pages.json"  # in the folder of reports: the list of those in it
SECRET = "secret.txt"  # by which the folder of results is told from a student's
RECORD = ".written.json"  # beside it: what was written among the submissions
NOTHING = {"status": MISSING, "problems": ["handed nothing in"]}
ANYBODYS = {  # where something was handed in, by nobody knows whom
    "status": UNSURE,
    "problems": ["what has this name or id may be somebody else's: a person decides whose it is"],
    "undecided": True,
}
NOBODYS = "an upload that is nobody's may be theirs: put its student's id into its name, or take it out, and run again"
DEEPER = (
    "an upload that is nobody's may hold theirs, deeper or packed: if it is one student's, put the id into its name; "
    "if it is several students', move theirs up beside the others, and take it away; then run again"
)
HEAD = "<body>"  # after which a page of a score gets its grade


def with_missing(results: list[dict], students: Iterable[Student]) -> list[dict]:
    """The results with a row for each student who handed nothing in, and each row with its student and their notes."""
    by_name = {result["name"]: result for result in results}
    rows = []
    for student in sorted(students, key=lambda student: natural(student.row)):
        result = by_name.get(student.row, {"name": student.row} | (ANYBODYS if student.unsure else NOTHING))
        about = {"id": student.id, "name": student.name}
        time = student.upload and student.upload.uploaded
        uploaded = time and time.isoformat(timespec="seconds")
        notes = [*result.get("notes", []), *student.notes]
        rows.append(result | {"student": about, "uploaded": uploaded, "notes": notes})
    return rows


def with_grades(results: list[dict], students: Iterable[Student], points: Points) -> list[dict]:
    """A row with a grade for each student, in the order of the roster: the fields of grader.report.gradebook."""
    shown, own = {row["of"]: row for row in board.ranked(results)}, {result["name"]: result for result in results}
    students = list(students)
    mixed = len({student.upload.platform for student in students if student.upload}) > 1
    rows = [_row(student, shown[student.row], own[student.row], points, mixed) for student in students]
    _leave_undecided(students, rows, own)
    return rows


def _row(student: Student, row: dict, result: dict, points: Points, mixed: bool) -> dict:
    """The row of one student, by their `row` on the board and their `result`. `mixed` tells that the uploads are not
    all of one platform: then a file may only be called as Canvas calls them."""
    upload, days = student.upload, _late_days(student.upload, points)
    unjudged = row["graded"] and not row["judged"]  # against other faces, say, or without the distance
    grade = None if unjudged or result.get("undecided") else points.grade(row["passed"], days)
    notes = list(row["notes"])
    if days is None:
        notes += ["its file does not tell how many days it is late: decide its grade"] * (grade is None)
    elif upload and upload.platform == "canvas" and points.deadline and mixed:
        notes.append("named as Canvas names files, without LATE: 0 late days")
    return {
        "id": student.id,
        "name": printable(student.name),
        "tier": row["passed"],
        "late_days": days,
        "grade": grade,
        "status": result["status"],
        "uploaded": _shown(upload and upload.uploaded, points),
        "deadline": _shown(points.deadline, points),
        "problems": result["problems"],
        "remarks": row["remarks"],
        "notes": notes,
        "number": upload.number if upload else "",
        "platform": upload.platform if upload else "",
    }


def _shown(time: datetime | None, points: Points) -> str:
    """A time as the class reads it, in the zone of the deadline: "2026-04-14 00:30:00+08:00"."""
    zone = points.deadline.tzinfo if points.deadline else timezone.utc
    return time.astimezone(zone).isoformat(" ", "seconds") if time else ""


def _late_days(upload: Upload | None, points: Points) -> int | None:
    """Begun days after the deadline; None where it is late by nobody knows how much."""
    if not (upload and points.deadline):
        return 0
    # Canvas says that it is late, and not by how much; what was downloaded before the deadline is not late
    unsaid = not upload.dated and upload.time > points.deadline
    return None if upload.late or unsaid else points.late_days(upload.uploaded)


def _leave_undecided(students: list[Student], rows: list[dict], own: dict[str, dict]) -> None:
    """Takes the grade from those on the roster who handed nothing in, or nothing that can be graded, while an upload
    that is worth points is nobody's and may be theirs; a note says what to do. `own` are the results, by name."""
    somebody_came = any(student.id and student.upload for student in students)  # else it may be a whole class, packed
    anybodys = [  # 0 points of whoever it is are 0 points
        student
        for student, row in zip(students, rows, strict=True)
        if not (student.id or student.whose) and (row["grade"] != 0 or not somebody_came)
    ]
    for student, row in zip(students, rows, strict=True):
        if student.id and row["status"] in (MISSING, BROKEN, UNSURE):
            platform = student.upload and student.upload.platform  # where it knows both, they are two people
            theirs = [own[one.row] for one in anybodys if not platform or one.upload.platform != platform]
            remedies = dict.fromkeys(DEEPER if {"several", "deeper"} & one.keys() else NOBODYS for one in theirs)
            if remedies:
                row.update(grade=None, notes=[*row["notes"], *remedies])


def write_tables(rows: list[dict], page: Path, parts: Path) -> None:
    """Writes the tables of grades, and warns of those that a person has to decide. A table that a person has changed
    since is kept beside, as NAME.before.csv, with a warning: what they decided by hand stands nowhere else. Raises
    OSError."""
    record = parts / ".tables.json"  # no name that file_name gives begins so
    written = read_kept(record)
    changed = {path: kept for path in gradebook.beside(page) if (kept := _changed(path, written.get(path.name)))}
    for path, copy in changed.items():
        write_bytes(copy, path.read_bytes())
        warnings.warn(f"{path} may have been changed by hand: that version is kept as {copy.name}", stacklevel=2)
    paths = gradebook.write(rows, page)
    write_text(record, json.dumps({path.name: short_hash(path) for path in paths}))
    if undecided := sum(row["grade"] is None for row in rows):
        whose = counted(undecided, "grade is", "grades are")
        warnings.warn(f"{whose} for you to decide: empty in {paths[0].name}, not in the other tables", stacklevel=2)


def _changed(path: Path, written: str | None) -> Path | None:
    """A new name for a table that is not as it was written."""
    if not path.is_file() or short_hash(path) == written:
        return None
    return unused(path)


def kept_files(*pages: Path | None) -> list[Path]:
    """What was kept before these pages, or a file beside them, were written."""
    return [
        path
        for page in filter(None, pages)
        for ending in (page.suffix, ".csv", ".json")
        for middle in ("", ".*")
        for path in page.parent.glob(f"{glob.escape(page.stem)}{middle}.before*{glob.escape(ending)}")
        if path.is_file()
    ]


def written_before(folder: Path, parts: Path) -> set[Path]:
    """What leaderboards have written among the submissions, whole paths: that of the results in `parts`, and others
    whose results lie in the class folder. Never an archive: somebody else may make such a folder, too."""
    real, entries, found = folder.resolve(), [], set()
    with suppress(OSError):  # that it cannot be read is said elsewhere
        entries = [path for path in real.iterdir() if path.name.endswith(PARTS)]
    for one in {*entries, own := parts.resolve()}:
        if not (holds := _holds_results(one)) and one != own:
            continue
        page = one.with_name(one.name.removesuffix(PARTS))
        written = {page, *board.beside(page), *gradebook.beside(page)} if holds else set()
        with suppress(OSError, ValueError, TypeError, RecursionError):  # of an older version there is no record
            written = {Path(os.path.realpath(real / name)) for name in json.loads(bytes_of(one / RECORD))}
        written.update(kept_files(page), [one] if holds else [])
        found |= {path for path in written if real in path.parents and _may_be_ours(path)}
    return found


def _may_be_ours(path: Path) -> bool:
    """Whether what a record names can be written by a leaderboard: anybody may write a record."""
    if path.is_dir():
        return _holds_results(path) or (path / PAGES).is_file()
    return not is_archive(path.name)


def _holds_results(folder: Path) -> bool:
    """Whether a folder has a secret as we make them, and no file of another kind than we write there."""
    with suppress(OSError, ValueError):
        return only_ours(folder) and bool(re.fullmatch(rb"[0-9a-f]{32}", bytes_of(folder / SECRET, 32)))
    return False


def only_ours(folder: Path) -> bool:
    """Whether a folder has no file of another kind than we write among the results, but what is hidden, as what was
    not finished is. Raises OSError."""
    seen = (path for path in folder.iterdir() if not path.name.startswith(".") and not by_a_system(path.name))
    return all(path.name == SECRET or path.suffix in (".json", ".html") for path in seen)


def is_our_page(path: Path) -> bool:
    """Whether there is a page that the grader drew."""
    with suppress(OSError), open(path, "rb") as file:
        return is_page(file)
    return False


def remember(written: Iterable[Path], parts: Path, submissions: Path) -> None:
    """Records which files and folders are written among the submissions, with those from before: at another time, for
    another page or with fewer of them, they would be taken for submissions. Raises OSError."""
    folder = submissions.resolve()
    paths = written_before(folder, parts) | {path.resolve() for path in written}
    inside = sorted(path.relative_to(folder).as_posix() for path in paths if folder in path.parents)
    if inside:
        write_text(parts / RECORD, json.dumps(inside))


def secret(parts: Path) -> str:
    """What no student knows, made once for a class: so a student keeps one code on the public board, and a class that
    is compared again is compared in the same way."""
    path = parts / SECRET
    if not path.is_file() or not path.read_bytes().strip():  # an empty one would let anybody tell the codes
        write_text(path, secrets.token_hex(16))
    return path.read_text(encoding="utf-8", errors="replace")


def pseudonym(id: str, row: str, key: str) -> str:
    """The code that stands for a student on the public board, long enough that no two of a class meet. It is that of
    the id, where there is one: a name may be corrected."""
    return hashlib.sha256(json.dumps([key, id, not id and row]).encode()).hexdigest()[:10]


def write_public(results: list[dict], page: Path, key: str) -> None:
    """The board with a code in the place of each name, and nothing that names a file or another student. Who has no
    upload is not on it. Raises OSError."""
    rows = []
    for result in results:
        if result["status"] not in (MISSING, UNSURE):
            problems = ["could not be graded"] if result["problems"] else []
            name = pseudonym(result["student"]["id"], result["name"], key)
            rows.append(result | {"name": name, "problems": problems, "notes": [], "shares": {}})
    keep_unless(page, is_page)
    write_text(page, board.as_page(board.ranked(rows), "Leaderboard"))


def page_names(students: list[Student]) -> list[str]:
    """The names of the students' pages in the folder of reports, by their ids; no two are one to macOS and Windows."""
    pages, taken = {}, set()
    for student in sorted(students, key=lambda student: not student.id):  # ids keep their names
        name = student.id or student.row
        while (page := f"{file_name(name, alone=True)}.html").lower() in taken:  # a folder may be called like an id
            name += "_"
        taken.add(page.lower())
        pages[student.row] = page
    return [pages[student.row] for student in students]


def is_others(folder: Path) -> bool:
    """Whether a folder for reports holds something, and none of our pages."""
    found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return PAGES not in found and not all(map(left_behind, found))


def remove_pages(folder: Path, but: list[str], submissions: Path) -> None:
    """Removes from the folder of reports the pages that were written into it before of these submissions, `but` those
    that are now to be written: with another roster, a student would have two pages, and perhaps two grades. The list of
    them lies in that folder, for a board of another name finds it there too. What another class has written there since
    stays. Raises OSError."""
    path, ours = folder / PAGES, os.path.realpath(submissions)
    kept = read_kept(path).items()
    written = {one: names for one, names in kept if isinstance(names, list) and all(isinstance(n, str) for n in names)}
    before = written.get(ours, [])
    written[ours] = but
    for name in {*before}.difference(*written.values()):
        (folder / Path(name).name).unlink(missing_ok=True)
    write_text(path, json.dumps(written))


def write_pages(students: list[Student], rows: list[dict], parts: Path, folder: Path, key: str | None) -> None:
    """A page for each student with their own data alone, named by their id: the whole report that was kept in the
    folder `parts`, with the grade above it, or why there is none. Raises OSError."""
    for student, row, name in zip(students, rows, page_names(students), strict=True):
        own = row | {"title": student.row}
        shown = key and student.upload  # by write_public
        own["code"] = pseudonym(student.id, student.row, key) if shown else None
        report = student.upload and parts / f"{file_name(student.upload.entry)}.html"
        if report and report.is_file():  # one at a time: a class of 300 has a gigabyte of them
            text = report.read_text(encoding="utf-8").replace(HEAD, HEAD + page_of("grade.html.j2", own), 1)
        else:
            text = page_of("student.html.j2", own)
        keep_unless(folder / name, is_page)
        write_text(folder / name, text)
