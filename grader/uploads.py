"""What the names and times of uploads tell: names as people give them, and those of the bulk downloads of Moodle
(`Name_123_assignsubmission_file_`) and of Canvas, on which NTU COOL runs (`name_LATE_123_456_file-1.tgz`).
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import islice
from pathlib import Path

from grader.files import all_files, left_behind
from grader.inputs.archives import decoded
from grader.inputs.images import ENDINGS
from grader.inputs.submission import MAX_FILES, packed

MOODLE = re.compile(  # the first is Moodle's own: all after it is how the student called the file
    r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>file|onlinetext)(?:_.*)?", re.DOTALL
)
CANVAS = re.compile(  # the second number is that of the file: Canvas counts all files as they come
    r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<number>[1-9]\d{0,17})_"
    r"(?:(?P<file>[1-9]\d{0,17})_(?P<called>.+)|(?P<typed>text|link)\.html)",
    re.DOTALL,
)
AGAIN = re.compile(r"-\d+$")  # what Canvas adds to the name of a file that is handed in again
DOWNLOAD = timedelta(minutes=10)  # in which a class is packed; no class hands in as fast
FEW = 5  # people; fewer may hand in at one moment


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
        return self.platform, self.number or owner(self.entry)

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
    shown = not left_behind(entry.name) and (entry.is_dir() or entry.name.lower().endswith(ENDINGS))
    return shown or packed(entry.name)


def owner(entry: str) -> str:
    """The name of what lies in the class folder: all that is in a student's folder is theirs."""
    return entry.partition("/")[0]


def handed_in(found: dict[str, Path], deadline: datetime | None = None, told: Collection[str] = ()) -> list[Upload]:
    """The uploads of a class. Warns where the times are those of a download. `told` are names in the class folder that
    tell whose they are: what a student has called as Canvas would, in a folder so named, is that student's."""
    tops = {*map(owner, found)}
    by_chance = _by_chance(tops)
    # else students may have called archives so, in folders of their own
    canvas = any(CANVAS.fullmatch(name) and name not in by_chance for name in tops)
    called = {entry: _called(entry, source) for entry, source in found.items()}
    own = {
        entry
        for entry, name in called.items()
        if name != owner(entry) and owner(entry) in told and not ((match := CANVAS.fullmatch(name)) and match["late"])
    }
    by_chance |= _by_chance({name for entry, name in called.items() if entry not in own}) - tops
    uploads = [
        _upload(entry, source, called[entry], canvas and entry not in own and called[entry] not in by_chance)
        for entry, source in found.items()
    ]
    return _dated(uploads, deadline)


def _upload(entry: str, source: Path, called: str, canvas: bool) -> Upload:
    """What the name of an entry and the time of its files tell: a platform may have `called` it so, and `canvas` says
    whether Canvas may."""
    time = _time(source)
    if canvas and (found := CANVAS.fullmatch(called)):
        file, late, typed = int(found["file"] or 0), bool(found["late"]), bool(found["typed"])
        return Upload(entry, source, time, found["name"], found["number"], file, "canvas", late, typed)
    if found := MOODLE.fullmatch(called):
        typed = found["kind"] == "onlinetext"
        return Upload(
            entry, source, time, found["name"], found["number"], platform="moodle", typed=typed, dated=not typed
        )
    return Upload(entry, source, time, owner(entry))


def _called(entry: str, source: Path) -> str:
    """The name that a platform may have given: of what lies in the class folder, else of the file one folder deeper."""
    name = owner(entry)
    return name if MOODLE.fullmatch(name) or CANVAS.fullmatch(name) else decoded(os.fsencode(source.name))


def _by_chance(entries: Iterable[str]) -> set[str]:
    """Entries that are called as Canvas would, and not by it: each student has a number of their own there, and so has
    each file of theirs. hw6_2024_12_ada and hw6_2024_12_bob would be one file. With hw6_2024_13_bob the class would be
    one student, hw6, and people's names have no digits; 2024_11201_6_gan and 2024_11202_6_gan would be two of one such
    name. In ada_11201_6_gan, bob_11202_6_gan and so on the 6 that most have is the homework, and no other number
    there is a file's; a few may be a group, of whose one file each has a copy. What Moodle may have named too is of the
    platform that most others are of."""
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
    most = max(Counter(file for _, file in files if file).values(), default=0)  # students who share a file
    one_file = most > max(2, len(names) / 2)
    return both | {
        match.string
        for match in found
        if (one_file and match["file"])
        or len(names[match["number"]]) > 1
        or len(files[match.group("number", "file")]) > 1
        or (re.search(r"\d", match["name"]) and len(numbers[match["name"]]) > 1)
        or (re.search(r"\d", match["name"]) and len(called) == 1 and len(called[match["name"]]) > 1)
        or (len(called) == 1 and len(numbers[match["name"]]) > 2)  # a whole class of one name
    }


def _time(source: Path) -> datetime:
    """When a file was written, or the latest file of a folder, in UTC: the folder itself was written by unpacking."""
    times = []
    with suppress(OSError):
        files = islice(all_files(Path(os.path.realpath(source))), MAX_FILES)
        times += (os.lstat(path).st_mtime for path in files)
    try:
        return datetime.fromtimestamp(max(times) if times else os.lstat(source).st_mtime, timezone.utc)
    except (OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(0, timezone.utc)


def _dated(uploads: list[Upload], deadline: datetime | None) -> list[Upload]:
    """The same without times that look like those of a download or a copy: a whole class would be late. Warns of it."""
    for platform, looks_so, said in (
        ("moodle", _downloaded, "uploads from Moodle seem to have the time of their download"),
        ("", _copied, "uploads seem to have the time at which they were copied or cloned"),
    ):
        files = [one for one in uploads if one.platform == platform and one.dated]
        late = [one for one in files if deadline and one.time > deadline]
        if looks_so(late, [one for one in files if one not in late]):
            if late:
                warnings.warn(f"{said}: which of them are late is not known", stacklevel=4)
            uploads = [replace(one, dated=False) if one.platform == platform else one for one in uploads]
    return uploads


def _downloaded(late: list[Upload], early: list[Upload]) -> bool:
    """Whether these look like a download of Moodle's, of which many versions date files so. Of real times most people
    have some before the deadline, and those not all of one moment."""
    times, in_time = [one.time for one in early], _people(early)
    return len(_people(late)) > len(in_time) or (len(in_time) > 1 and max(times) - min(times) <= DOWNLOAD)


def _copied(late: list[Upload], early: list[Upload]) -> bool:
    """Whether nearly all of a class came at one moment after the deadline. A few people may do so. A sheet or a list
    that lies there is nobody."""
    late, early = ([one for one in some if one.readable] for some in (late, early))
    times = sorted(one.time for one in late)
    at_once = [one for one in late if abs(one.time - times[len(times) // 2]) <= DOWNLOAD]
    return len(_people(at_once)) >= max(FEW, 0.9 * len(_people([*late, *early])))


def _people(uploads: list[Upload]) -> set[tuple[str, str]]:
    return {one.person for one in uploads}
