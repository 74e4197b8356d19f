"""Who handed in what: uploads joined with a roster by the student number in their names, the latest of each student.

Understood are names as people give them, and the bulk downloads of Moodle (`Name_123_assignsubmission_file_`) and of
Canvas, on which NTU COOL runs (`name_LATE_123_456_file-1.tgz`).
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import islice
from pathlib import Path

from grader.errors import GraderError, printable
from grader.files import all_files, left_behind, natural
from grader.inputs.archives import bytes_of
from grader.inputs.images import ENDINGS
from grader.inputs.submission import ARCHIVES, MAX_FILES, packed

MOODLE = re.compile(  # the first is Moodle's own: all after it is how the student called the file
    r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>file|onlinetext)(?:_.*)?", re.DOTALL
)
CANVAS = re.compile(  # the second number is that of the file: Canvas counts all files as they come
    r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<number>[1-9]\d{0,17})_"
    r"(?:(?P<file>[1-9]\d{0,17})_(?P<called>.+)|(?P<typed>text|link)\.html)",
    re.DOTALL,
)
AGAIN = re.compile(r"-\d+$")  # what Canvas adds to the name of a file that is handed in again
COLUMNS = {  # in a gradebook of Canvas "ID" is Canvas' own number
    "id": ("sis user id", "id", "student id", "student number", "學號"),
    "name": ("name", "student", "full name", "姓名"),
}
NOBODY = ("points possible", "student, test")  # lines of such a gradebook
MAX_BYTES = 4 * 2**20  # of a roster
DOWNLOAD = timedelta(minutes=10)  # in which a class is packed; no class hands in as fast
TRIES = 5  # uploads of one student that are graded to find the one that counts


@dataclass(frozen=True)
class Upload:
    """An entry of a class folder, or FOLDER/ARCHIVE for one of several archives in one: `number` is the platform's own
    of the student, `file` that of the file."""

    entry: str
    source: Path
    time: datetime
    name: str
    number: str = ""
    file: int = 0
    platform: str = ""
    late: bool = False
    typed: bool = False  # into a field of the platform's, and no file
    dated: bool = True  # by the platform when it came, and not by the download

    @property
    def person(self) -> tuple[str, str]:
        """Who handed it in, by the platform's number; without one, no two uploads are known to be of one person."""
        return self.platform, self.number or _owner(self.entry)

    @property
    def uploaded(self) -> datetime | None:
        """When it was handed in, as far as it can be told: Canvas dates files by the download."""
        return None if self.platform == "canvas" or not self.dated else self.time

    @cached_property
    def readable(self) -> bool:
        """Whether it may be graded, by names: an archive, or a folder that holds a picture, an archive or a folder."""
        if self.typed:
            return False
        if not self.source.is_dir():
            return packed(self.source.name)
        with suppress(OSError), os.scandir(self.source) as listing:
            return any(_may_hold_pictures(entry) for entry in listing)
        return False


def _may_hold_pictures(entry: os.DirEntry) -> bool:
    return not left_behind(entry.name) and (entry.is_dir() or entry.name.lower().endswith((*ARCHIVES, *ENDINGS)))


def _owner(entry: str) -> str:
    """The name of what lies in the class folder: all that is in a student's folder is theirs."""
    return entry.partition("/")[0]


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
            for one in reversed(self.others[:3]):
                why = f" ({self.failed[one.entry]})" if one.entry in self.failed else ""
                notes.append(f"{which}; passed over: {one.entry}{why}")
        if self.upload and self.upload.late:
            notes.append("late, says Canvas")
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
            undecided=(len(fine) > 1 or unread) if not self.ordered else (unread and not fine),
        )

    @property
    def _candidates(self) -> list[Upload]:
        """The uploads of which one may count, the likeliest first: none that is no archive before one that is."""
        return [self.upload, *(one for one in self.others if one.readable)] if self.upload else []


def upload(entry: str, source: Path, canvas: bool = True) -> Upload:
    """What the name of an entry and the time of its files tell; `canvas` says whether Canvas may have named it."""
    time, owner = _time(source), _owner(entry)
    if canvas and (found := CANVAS.fullmatch(owner)):
        file, late, typed = int(found["file"] or 0), bool(found["late"]), bool(found["typed"])
        return Upload(entry, source, time, found["name"], found["number"], file, "canvas", late, typed)
    if found := MOODLE.fullmatch(owner):
        typed = found["kind"] == "onlinetext"
        return Upload(
            entry, source, time, found["name"], found["number"], platform="moodle", typed=typed, dated=not typed
        )
    return Upload(entry, source, time, owner)


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


def _by_chance(entries: Iterable[str]) -> set[str]:
    """Entries that are called as Canvas would, and not by it: each student has a number of their own there, and so has
    each file of theirs. hw6_2024_12_ada and hw6_2024_12_bob would be one file. With hw6_2024_13_bob the class would be
    one student, hw6, and people's names have no digits; 2024_11201_6_gan and 2024_11202_6_gan would be two of one such
    name. What Moodle may have named too is of the platform that most others are of."""
    found, moodles = [], 0
    for entry in entries:
        if match := CANVAS.fullmatch(entry):
            found.append(match)
        elif MOODLE.fullmatch(entry):
            moodles += 1
    both = {match.string for match in found if MOODLE.fullmatch(match.string)}
    both = both if moodles >= len(found) - len(both) else set()
    names, files, numbers, called = defaultdict(set), defaultdict(set), defaultdict(set), defaultdict(set)
    for match in found:
        names[match["number"]].add(match["name"])
        stem = (match["called"] or match["typed"]).partition(".")[0]  # it may lie unpacked beside
        files[match.group("number", "file")].add(stem)
        numbers[match["name"]].add(match["number"])
        called[match["name"]].add(AGAIN.sub("", stem))
    return both | {
        match.string
        for match in found
        if len(names[match["number"]]) > 1
        or len(files[match.group("number", "file")]) > 1
        or (re.search(r"\d", match["name"]) and len(numbers[match["name"]]) > 1)
        or (re.search(r"\d", match["name"]) and len(called) == 1 and len(called[match["name"]]) > 1)
        or (len(called) == 1 and len(numbers[match["name"]]) > 2)  # a whole class of one name
    }


def _time(source: Path) -> datetime:
    """When a file was written, or the latest file of a folder, in UTC: the folder itself was written by unpacking."""
    times, real = [], os.path.realpath(source)
    with suppress(OSError):
        inside = ((path, path.removeprefix(real).split(os.sep)) for path in all_files(Path(real)))
        files = (path for path, parts in inside if not any(map(left_behind, parts)))
        times += (os.lstat(path).st_mtime for path in islice(files, MAX_FILES))
    try:
        return datetime.fromtimestamp(max(times) if times else os.lstat(source).st_mtime, timezone.utc)
    except (OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(0, timezone.utc)


def read_roster(path: Path) -> list[Student]:
    """The students of a CSV file with the columns id and name, in its order. Raises GraderError."""
    remedy = "write a CSV file whose first line is id,name"
    try:
        text = bytes_of(path, MAX_BYTES).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text)))
    except (OSError, ValueError, csv.Error) as error:
        raise GraderError(f"{path}: not a roster ({printable(str(error))}): {remedy}, in UTF-8") from None
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    places = {key: next((head.index(one) for one in names if one in head), None) for key, names in COLUMNS.items()}
    if places["id"] is None:
        raise GraderError(f"{path}: has no column id: {remedy}")
    marked = any(cell.strip().casefold() in NOBODY for row in rows for cell in row[:1])
    if marked and {"student", "id"} <= {*head} and "sis user id" not in head:
        raise GraderError(
            f"{path}: a gradebook of Canvas without the column SIS User ID, whose ID is Canvas' own number: {remedy}"
        )
    students = {}
    for number, row in enumerate(rows[1:], 2):
        cells = {
            key: _tidy(row[place]) if place is not None and place < len(row) else "" for key, place in places.items()
        }
        if not cells["id"] and cells["name"].casefold() in ("", *NOBODY):
            continue
        if not cells["id"] or _plain(cells["id"]) in students:
            what = f"the id {cells['id']} again" if cells["id"] else "no id"
            raise GraderError(f"{path}: line {number} has {what}: give each student one line with an id")
        students[_plain(cells["id"])] = Student(printable(cells["id"]), printable(cells["name"]))
    if not students:
        raise GraderError(f"{path}: lists no student: {remedy}, then a line for each student")
    return list(students.values())


def _tidy(cell: str) -> str:
    """A cell with single plain spaces, and without the marks that nobody sees and that come along from web pages."""
    return " ".join("".join(c for c in cell if unicodedata.category(c) != "Cf").split())


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
    listed, uploads, by_chance = roster or [], defaultdict(list), _by_chance({*map(_owner, found)})
    reasons, whose = {}, {}  # why people with a row of their own are nobody on the roster, and who they may be
    handed_in = [upload(entry, source, canvas=_owner(entry) not in by_chance) for entry, source in found.items()]
    handed_in = _dated(handed_in, deadline)
    candidates = {one.entry: _candidates(one, listed) for one in handed_in}
    owners, unsure = defaultdict(set), set()
    for one in handed_in:
        if len(candidates[one.entry]) == 1:
            owners[one.person].update(candidates[one.entry])
    for one in handed_in:
        ids, told = candidates[one.entry], owners[one.person]
        if told and (len(ids) != 1 or len(told) > 1):  # other files of the same person tell, or contradict
            ids = [*told]
        uploads[ids[0] if len(ids) == 1 else one.person].append(one)
        if len(ids) > 1:
            unsure.update(ids)
            whose[one.person] = [id for id in ids if id]
            rows = " or ".join(student.row for student in listed if student.id in ids)
            reasons[one.person] = f"it may be that of {rows}: decide whose it is"
    owned = {}
    for student in listed:
        some = uploads.pop(student.id, [])
        own = owned[student.id] = _of_one(student, some, listed)
        for one in some:
            if one not in own:
                uploads[one.person].append(one)
                whose[one.person] = _named(one, listed)  # more people than one have put this id into a name
                unsure.update([student.id], whose[one.person])
                reasons[one.person] = (
                    f"named like {student.row}, but {one.platform.capitalize()} has it under another number"
                    if own
                    else f"it may be that of {student.row}, as others may: decide whose it is"
                )
    ours = [
        replace(student, unsure=True)
        if student.id in unsure and not owned[student.id]
        else _latest(student, owned[student.id])
        for student in listed
    ]
    for person, some in uploads.items():
        last = _latest(Student("", ""), some)
        reason = reasons.get(person, "its name has the id of no one student of the roster")
        reason = [reason] if roster else []
        ours.append(replace(last, name=last.upload.name, reasons=reason, whose=whose.get(person, [])))
    return _apart(ours)


def _dated(uploads: list[Upload], deadline: datetime | None) -> list[Upload]:
    """The same without the times of Moodle's uploads, where they look like those of downloads: many versions of Moodle
    date files so, and a whole class would be late. Of real times most people have some before the deadline, and those
    not all of one moment."""
    files = [one for one in uploads if one.platform == "moodle" and one.dated]
    late = [one for one in files if deadline and one.time > deadline]
    early = [one for one in files if one not in late]
    times = [one.time for one in early]
    in_time = {one.person for one in early}
    of_one_moment = len(in_time) > 1 and max(times) - min(times) <= DOWNLOAD
    if len({one.person for one in late}) <= len(in_time) and not of_one_moment:
        return uploads
    if late:
        unknown = "uploads from Moodle seem to have the time of their download: which of them are late is not known"
        warnings.warn(unknown, stacklevel=3)
    return [replace(one, dated=False) if one.platform == "moodle" else one for one in uploads]


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


def _candidates(one: Upload, roster: list[Student]) -> list[str]:
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
    """The ids that stand in the names of the entry or its file."""
    return _ids_in(f"{one.entry}\n{one.source.name}", roster)


def _ids_in(text: str, roster: list[Student]) -> list[str]:
    text = _plain(text)
    return [student.id for student in roster if _whole(_plain(student.id), text)]


def _whole(number: str, text: str) -> bool:
    """Whether a number stands in the text, and not as a part of a longer one: b123 does in hw6b123.tgz."""
    before, after = (r"\d" if end.isdigit() else r"[^\W\d_]" for end in (number[0], number[-1]))
    return number in text and bool(re.search(rf"(?<!{before}){re.escape(number)}(?!{after})", text))


def _letters(name: str) -> str:
    """A name without case, spaces and marks: Canvas writes "lovelaceada" for Ada Lovelace."""
    return "".join(filter(str.isalnum, _plain(name)))


def _words(name: str) -> list[str]:
    """Its words in one order."""
    return sorted("".join(c if c.isalnum() else " " for c in _plain(name)).split())


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
