"""What the names and times of uploads tell: names as people give them, and those of the bulk downloads of Moodle
(`Name_123_assignsubmission_file_`) and of Canvas, on which NTU COOL runs (`name_LATE_123_456_file-1.tgz`).
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import islice
from pathlib import Path

from grader.files import all_files, left_behind
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
DOWNLOAD = timedelta(minutes=10)  # in which a class is packed; no class hands in as fast


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


def handed_in(found: dict[str, Path], deadline: datetime | None = None) -> list[Upload]:
    """The uploads of a class. Warns where the times are those of a download."""
    by_chance = _by_chance({*map(_owner, found)})
    uploads = [upload(entry, source, canvas=_owner(entry) not in by_chance) for entry, source in found.items()]
    return _dated(uploads, deadline)


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
        warnings.warn(unknown, stacklevel=4)
    return [replace(one, dated=False) if one.platform == "moodle" else one for one in uploads]
