"""Who handed in what: uploads joined with a roster by the student number in their names, the latest of each student."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import warnings
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path

from grader.errors import GraderError, printable, shortened
from grader.files import natural
from grader.inputs.archives import bytes_of, decoded
from grader.inputs.submission import archives_in
from grader.uploads import CANVAS, MOODLE, Upload, handed_in, owner

COLUMNS = {  # the first that is there: a bare "ID" may be Canvas' own number, or that of the line
    "id": ("sis user id", "student id", "student number", "id number", "學號", "sid", "id"),
    "name": ("name", "student", "full name", "姓名"),
    "first": ("first name", "名字"),  # Moodle's export has two columns
    "last": ("last name", "surname", "姓氏"),
}
NOBODY = ("points possible", "student, test")  # lines of such a gradebook
MAX_BYTES = 4 * 2**20  # of a roster
WORKBOOKS = (b"PK\3\4", b"\xd0\xcf\x11\xe0")  # how .xlsx and .ods begin, and .xls
TRIES = 5  # uploads of one student that are graded to find the one that counts


@dataclass(frozen=True)
class Student:
    """One student, with the upload that counts, if there is one, and `others` that were passed over, the likeliest
    first. `unsure` is one without, for whom there are uploads of which nobody knows whose they are."""

    id: str
    name: str
    upload: Upload | None = None
    others: list[Upload] = field(default_factory=list)
    ordered: bool = True  # it is known which of the uploads is the latest
    failed: dict[str, str] = field(default_factory=dict)  # entry -> why it cannot be graded
    undecided: bool = False  # another upload may count as well as this one
    reasons: list[str] = field(default_factory=list)  # for which it has a row of its own
    whose: list[str] = field(default_factory=list)  # the ids of those whose such a row may be; none: anybody's
    unsure: bool = False
    shared: bool = False  # its upload lies in a folder that tells nobody, beside one that is nobody's

    @property
    def row(self) -> str:
        """The name of the student's row."""
        return " ".join(filter(None, (self.id, self.name)))

    @property
    def notes(self) -> list[str]:
        """How the upload was found, and what was passed over."""
        notes = []
        if self.others:
            uploads = f"{len(self.others) + 1} uploads"
            if self.undecided:
                which = f"decide which of {uploads} counts: nobody can tell which is the latest that can be graded"
            elif self.upload.entry not in self.failed and self.failed:
                which = f"the latest of {uploads} that can be graded"
            elif not self.ordered:
                which = f"one of {uploads}"
            elif any(one.readable != self.upload.readable for one in self.others):
                which = f"the latest archive of {uploads}"
            else:
                which = f"the latest of {uploads}"
            whys = [f" ({self.failed[one.entry]})" if one.entry in self.failed else "" for one in self.others]
            passed = [f"{which}; passed over: {one.entry}{why}" for one, why in zip(self.others, whys, strict=True)]
            notes += shortened(passed, 3)
        if self.upload and self.upload.late:
            notes.append("late, says Canvas")
        if self.shared:
            both = f"{owner(self.upload.entry)} holds an upload that is nobody's too"
            notes.append(f"{both}: decide whose each is, or put an id into its name")
        return [printable(note) for note in (*notes, *self.reasons)]

    def to_grade(self, tried: dict[str, str]) -> list[Upload]:
        """The uploads to grade next, before it is known which counts. `tried` are those that were: entry -> why it
        cannot be graded, "" where it can. Where it is known which is the latest, the ones before wait until it fails.
        """
        untried = [one for one in self._candidates[:TRIES] if one.entry not in tried]
        if not self.ordered:
            return untried
        return [] if any(tried.get(one.entry) == "" for one in self._candidates) else untried[:1]

    def settled(self, tried: dict[str, str]) -> Student:
        """The same with the upload that counts, when no more is to be graded: the latest that can be."""
        if self.upload is None:
            return self
        candidates = self._candidates
        fine = [one for one in candidates if tried.get(one.entry) == ""]
        unread = any(one.entry not in tried for one in candidates)
        last = (fine or candidates)[0]
        return replace(
            self,
            upload=last,
            others=[one for one in (self.upload, *self.others) if one is not last],
            failed={one.entry: why for one in candidates if (why := tried.get(one.entry))},
            undecided=self.shared or ((len(fine) > 1 or unread) if not self.ordered else (unread and not fine)),
        )

    @property
    def _candidates(self) -> list[Upload]:
        """The uploads of which one may count, the likeliest first: none that is no archive before one that is."""
        return [self.upload, *(one for one in self.others if one.readable)] if self.upload else []


def of_several(archives: list[str], roster: list[Student] | None = None) -> bool:
    """Whether the archives of one folder, by their names, may be those of several people: a class one folder deeper,
    say. One student has few, one number and one name of a platform, and one id of the roster."""
    moodles = {found["number"] for name in archives if (found := MOODLE.fullmatch(name))}
    canvas = [found for name in archives if (found := CANVAS.fullmatch(name)) and not MOODLE.fullmatch(name)]
    # a student's own names may look like those of Canvas: 2022_11_30_gan and 2022_12_10_gan
    people = min(len({found[part] for found in canvas}) for part in ("name", "number"))
    told = (_ids_in(name, roster or []) for name in archives)
    ids = {one[0] for one in told if len(one) == 1}
    return len(archives) > TRIES or max(len(moodles), people, len(ids)) > 1


def read_roster(path: Path) -> list[Student]:
    """The students of a CSV file with the columns id and name, in its order. Raises GraderError, and OSError."""
    remedy = "write a CSV file whose first line is id,name"
    try:
        data = bytes_of(path, MAX_BYTES)
        if data.startswith(WORKBOOKS):
            how = "save it as CSV UTF-8, in Excel by File > Save As"
            raise GraderError(f"{path}: a workbook of a spreadsheet, and no CSV file: {how}")
        text = data.decode("utf-8-sig")
        text = text.replace("\r\n", "\n").replace("\r", "\n")  # old Excel for Mac ends lines so
        said = re.match(r'"?sep=([^\w"\n])', text, re.IGNORECASE)  # for Excel; it is no line of the table
        mark = said[1] if said else _separator(text)
        reader = csv.reader(io.StringIO(text), delimiter=mark, strict=True)  # a quote left open hides rows
        if said:
            next(reader)
        numbered = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        reason = printable(str(error))
        raise GraderError(f"{path}: not a roster ({reason}): close each quote, or leave the quotes out") from None
    except ValueError as error:
        raise GraderError(f"{path}: not a roster ({printable(str(error))}): {remedy}, in UTF-8") from None
    rows = [row for _, row in numbered]
    head = [_plain(_tidy(cell)) for cell in rows[0]] if rows else []
    places = {key: next((head.index(one) for one in names if one in head), None) for key, names in COLUMNS.items()}
    if places["id"] is None:
        raise GraderError(f"{path}: has no column id: {remedy}")
    marked = any(_plain(_tidy(cell)) in NOBODY for row in rows for cell in row[:1])
    if marked and {"student", "id"} <= {*head} and "sis user id" not in head:
        raise GraderError(
            f"{path}: a gradebook of Canvas without the column SIS User ID, whose ID is Canvas' own number: {remedy}"
        )
    named = any(places[key] is not None for key in ("name", "first", "last"))
    if not named:
        warnings.warn(f"{path}: has no column name, so uploads are found by their ids alone", stacklevel=2)
    students = {}
    for number, row in numbered[1:]:
        cells = {
            key: _tidy(row[place]) if place is not None and place < len(row) else "" for key, place in places.items()
        }
        if places["name"] is None:
            cells["name"] = _joined(cells["first"], cells["last"])
        nobody = cells["name"].casefold() in ("", *NOBODY) if named else not any(map(_tidy, row))
        if not cells["id"] and nobody:
            continue
        if any(map(_tidy, row[len(head) :])):
            raise GraderError(f"{path}: line {number} has more cells than the first line: put quotes around a comma")
        if not cells["id"] or _plain(cells["id"]) in students:
            what = f"the id {cells['id']} again" if cells["id"] else "no id"
            raise GraderError(f"{path}: line {number} has {what}: give each student one line with an id")
        students[_plain(cells["id"])] = Student(cells["id"], cells["name"])
    if not students:
        raise GraderError(f"{path}: lists no student: {remedy}, then a line for each student")
    return list(students.values())


def _joined(first: str, last: str) -> str:
    """A whole name as its owner writes it: 陳怡君, but Eve Chen."""
    if first and last and all(unicodedata.category(c) == "Lo" for c in first + last):
        return last + first
    return " ".join(filter(None, (first, last)))


def _separator(text: str) -> str:
    """What stands between the columns: Excel writes semicolons where numbers have a decimal comma."""
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _tidy(cell: str) -> str:
    """A cell or a name with single plain spaces, without the marks that nobody sees and that come along from web pages,
    and with rare characters, which not every system shows, written out."""
    return printable(" ".join("".join(c for c in cell if unicodedata.category(c) != "Cf").split()))


def _plain(text: str) -> str:
    """The text in one form of all that Unicode and the systems have for it: macOS writes é as e and a mark."""
    return unicodedata.normalize("NFKC", text).casefold()


def students(
    found: dict[str, Path], roster: list[Student] | None = None, deadline: datetime | None = None
) -> list[Student]:
    """Each student with the upload that counts: those of the roster first, then uploads that are nobody's on it.

    Of several uploads the latest counts, but none that is no archive before one that is. A note names the others.
    Warns where the times are those of a download.
    """
    listed = roster or []
    uploads = handed_in(found, deadline, {name for name in map(owner, found) if _ids_in(name, listed)})
    ids = _ids_of_owners(uploads, listed)
    own = {
        student.id: _of_one(student, [one for one in uploads if ids[one.entry] == [student.id]], listed)
        for student in listed
    }
    taken, left = {one.entry for some in own.values() for one in some}, defaultdict(list)
    for one in uploads:
        if one.entry not in taken:
            # a folder that tells nobody may be of several
            left[one.person if one.platform or not listed else one.entry].append(one)
    strangers = [_stranger(some, ids, own, listed) for some in left.values()]
    unsure = {id for some in left.values() for one in some for id in ids[one.entry]}
    unsure.update(id for stranger in strangers for id in stranger.whose)
    inside = (path.name for one in uploads if one.source.is_dir() for path in archives_in(one.source)[0])
    unsure.update(id for name in inside for id in _ids_in(decoded(os.fsencode(name)), listed))  # in another's folder
    folders = {one.person for some in left.values() for one in some if not one.platform and one.entry != one.name}
    rows = [
        replace(
            _latest(student, own[student.id]),
            unsure=student.id in unsure and not own[student.id],
            shared=any(one.person in folders for one in own[student.id]),
        )
        for student in listed
    ]
    return _apart([*rows, *strangers])


def _ids_of_owners(uploads: list[Upload], roster: list[Student]) -> dict[str, list[str]]:
    """Entry -> the ids of the students whose it may be, as `_ids_of` has them: where it does not tell, or they
    contradict, other files of the same person do. A folder is of one person only where its name tells whose: of two
    students' it would give one the other's grade."""
    candidates, told = {one.entry: _ids_of(one, roster) for one in uploads}, defaultdict(set)
    words = {student.id: _words(student.name) for student in roster}
    for one in uploads:
        ids = candidates[one.entry]
        if len(ids) == 1 and (one.platform or _ids_in(one.name, roster) == ids or _words(one.name) == words[ids[0]]):
            told[one.person].update(ids)
    return {one.entry: [*told[one.person]] or candidates[one.entry] for one in uploads}


def _stranger(
    uploads: list[Upload], ids: dict[str, list[str]], own: dict[str, list[Upload]], roster: list[Student]
) -> Student:
    """A row of its own for the uploads of a person who is nobody on the roster, and why: `own` are the uploads of those
    who are on it."""
    row = _latest(Student("", ""), uploads)
    row = replace(row, name=row.upload.name)
    may = [one for one in uploads if ids[one.entry]]
    if not may:
        return replace(row, reasons=["its name has the id of no one student of the roster"] if roster else [])
    last = may[-1]
    rows = " or ".join(student.row for student in roster if student.id in ids[last.entry])
    if len(ids[last.entry]) > 1:
        whose = [] if "" in ids[last.entry] else ids[last.entry]
        return replace(row, reasons=[f"it may be that of {rows}: decide whose it is"], whose=whose)
    reason = f"it may be that of {rows}, as others may: decide whose it is"
    if own[ids[last.entry][0]]:
        reason = f"named like {rows}, but {last.platform.capitalize()} has it under another number"
    return replace(row, reasons=[reason], whose=_named(last, roster))  # more than one have put this id into a name


def _of_one(student: Student, uploads: list[Upload], roster: list[Student]) -> list[Upload]:
    """Those of a student's uploads that are of one person: a platform gives each a number of their own. Where there are
    more, the name there counts before an id in a file's name. None where both do not tell."""
    own = []
    for platform in {one.platform for one in uploads}:
        some = [one for one in uploads if one.platform == platform]
        for told in (_named, _told):
            if len({one.number for one in some}) > 1:
                numbers = {one.number for one in some if student.id in told(one, roster)}
                some = [one for one in some if one.number in numbers] or some
        if len({one.number for one in some}) > 1:
            return []
        own += some
    return own


def _ids_of(one: Upload, roster: list[Student]) -> list[str]:
    """The ids of the students whose upload it may be, "" for somebody who is not on the roster: whom the platform
    names, an id in a file's name tells apart. Where it names nobody, those whose ids stand there: anybody may write
    them."""
    named, told = _named(one, roster), _told(one, roster)
    alike = [] if named else [student.id for student in _of_the_letters(one, roster)]
    if sure := [id for id in named or alike if id in told] or named:
        return sure
    return [*alike, *(id for id in told if id not in alike), ""] if alike else told


def _named(one: Upload, roster: list[Student]) -> list[str]:
    """The ids of the students whom the platform names. In which order families and given names stand does not count:
    怡君陳 is 陳怡君, and not 陳君怡."""
    letters, words = _letters(one.name), _words(one.name)
    return [
        student.id
        for student in _of_the_letters(one, roster)
        if letters in 2 * _letters(student.name) or words == _words(student.name)
    ]


def _of_the_letters(one: Upload, roster: list[Student]) -> list[Student]:
    """The students with the letters of the platform's name, in whatever order: it may be another one's name."""
    letters = sorted(_letters(one.name)) if one.platform else []
    return [student for student in roster if letters and sorted(_letters(student.name)) == letters]


def _told(one: Upload, roster: list[Student]) -> list[str]:
    """The ids that stand in the names of the entry or its file, but not in the platform's own numbers."""
    before = f"{one.name}_{'LATE_' * one.late}{one.number}_{f'{one.file}_' * bool(one.file)}"
    names = owner(one.entry), decoded(os.fsencode(one.source.name))
    return _ids_in("\n".join((one.name, *(name.removeprefix(before) for name in names))), roster)


def _ids_in(text: str, roster: list[Student]) -> list[str]:
    """The ids that stand in the text, and not only within longer ones of the roster, as ada does in ada-l."""
    text = _plain(text)
    found = {student.id: _places(_plain(student.id), text) for student in roster}
    every = {place for places in found.values() for place in places}

    def alone(place: tuple[int, int]) -> bool:
        return not any(one[0] <= place[0] and place[1] <= one[1] for one in every - {place})

    return [id for id, places in found.items() if any(map(alone, places))]


def _places(number: str, text: str) -> list[tuple[int, int]]:
    """Where a number stands in the text, and not as a part of a longer one: b123 does in hw6b123.tgz, and in
    王小明b123.tgz: a word of Latin letters has no Chinese, kana or hangul."""
    if number not in text:
        return []
    letter = r"[^\W\d_\u2e80-\U0003ffff]" if number.isascii() else r"[^\W\d_]"
    before, after = (r"\d" if end.isdigit() else letter for end in (number[0], number[-1]))
    return [found.span() for found in re.finditer(rf"(?<!{before}){re.escape(number)}(?!{after})", text)]


@cache  # each upload is compared with each name
def _letters(name: str) -> str:
    """A name without case, spaces and marks: Canvas writes "lovelaceada" for Ada Lovelace."""
    return "".join(filter(str.isalnum, _plain(_tidy(name))))


@cache
def _words(name: str) -> tuple[str, ...]:
    """Its words in one order."""
    return tuple(sorted("".join(c if c.isalnum() else " " for c in _plain(_tidy(name))).split()))


def _latest(student: Student, uploads: list[Upload]) -> Student:
    if not uploads:
        return student

    def place(one: Upload) -> tuple:  # of Canvas' files no time is known, and their numbers are
        return one.readable, one.uploaded is not None, one.file, one.time, natural(one.entry)

    last, *others = sorted(uploads, key=place, reverse=True)
    readable = [one for one in uploads if one.readable]
    orders = [{one.file for one in readable if one.file}, {one.uploaded for one in readable if one.uploaded}]
    ordered = len(readable) < 2 or len(readable) in map(len, orders)
    return replace(student, upload=last, others=others, ordered=ordered)


def _apart(found: list[Student]) -> list[Student]:
    """The same with a name of its own for each row: two students may be called the same."""
    seen, apart = set(), []
    for student in found:
        if student.row in seen:
            student = replace(student, name=f"{student.name} ({student.upload.entry})")
        seen.add(student.row)
        apart.append(student)
    return apart
