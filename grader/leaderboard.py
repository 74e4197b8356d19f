"""The leaderboard: every submission in a folder graded, side by side, and laid out as one table.

Each result is written as soon as it is there, under a name made of the submission's own: a run that was stopped goes on
with what is missing, and so does one with another roster. A submission that cannot be graded is a row that says why.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from grader import kept
from grader import roster as classroom
from grader.cores import usable_cores
from grader.errors import GraderError, first_line, printable
from grader.files import PARTS, SECRET, all_files, check_apart, check_closed, left_behind, natural, sha256, write_text
from grader.inputs.archives import decoded
from grader.inputs.images import ENDINGS
from grader.inputs.submission import (
    ARCHIVES,
    OTHER_ARCHIVES,
    BadSubmission,
    Deeper,
    NotRead,
    Several,
    is_archive,
    packed,
)
from grader.metrics.registry import NAMES
from grader.points import DEFAULT, Points, read_points
from grader.progress import Done, Progress, silent, unheard
from grader.roster import Student
from grader.uploads import MOODLE
from grader.version import VERSION
from grader.workers import TooSlow, bounded, dask, local

if TYPE_CHECKING:
    import numpy as np

    from grader.inputs.submission import Submission
    from grader.scoring import Scorer

NUMBERED = re.compile(rf"\d+({'|'.join(map(re.escape, ENDINGS))})", re.IGNORECASE)  # as the course has pictures named
GRADED, BROKEN = "graded", "broken"
ELSEWHERE = "measured with other files than here: start the workers again"
DRAWN_ELSEWHERE = "its page was drawn by another grader than here: start the workers again"
STRIP = 6  # pictures of each submission on the page


@dataclass(frozen=True)
class Options:
    """What submissions are graded with, as Scorer.prepare takes it."""

    reference: Path | None = None
    metrics: tuple[str, ...] = NAMES
    offline: bool = False
    pages: bool = False  # a whole report of each, too

    def shown(self) -> dict:
        """The same for readers of the results, without a path."""
        return {
            "reference": self.reference and printable(self.reference.name),
            "metrics": list(self.metrics),
            "offline": self.offline,
        }

    def resolved(self) -> Options:
        """The same for processes with another current folder."""
        return replace(self, reference=self.reference and self.reference.absolute())  # its name stays

    def scorer(self, progress: Progress = silent) -> Scorer:
        from grader.scoring import Scorer

        return Scorer.prepare(self.reference, metrics=self.metrics, offline=self.offline, progress=progress)


def submissions(folder: Path, ours: Collection[Path] = (), roster: list[Student] | None = None) -> dict[str, Path]:
    """Name -> what was handed in, for each entry of a folder: an archive, a folder of pictures, or any other file, for
    a row that names its kind. `ours` are files of the teacher's, which are none, nor are links to them, nor a folder
    that holds nothing else.

    A student's folder that holds an archive and no picture stands for that archive, as course platforms pack them; of
    several, each is an upload of its own, NAME/ARCHIVE, but where they may be those of several people, by their names
    and the `roster`: such a folder stays whole. Names are what comes before an archive's ending. Raises GraderError.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise GraderError(f"{folder}: cannot be read ({error.strerror}): name a folder of submissions") from None
    found, names = {}, set()
    entries = [entry for entry in entries if not _passed_over(entry) and not _is_ours(entry, ours)]
    entries.sort(key=lambda entry: not (entry.is_dir() or packed(entry.name)))  # these keep their names
    for entry in entries:
        whole = decoded(os.fsencode(entry.name))  # in a locale without UTF-8 too
        endings = [ending for ending in ARCHIVES + OTHER_ARCHIVES if whole.lower().endswith(ending)]
        name = whole if entry.is_dir() else whole[: len(whole) - len(next(iter(endings), ""))]
        if not name or name in names:
            name = whole
        while name in names:  # a plain file beside an archive, or the same name in another encoding
            name += "_"
        names.add(name)
        archives, pictured = _inside(entry) if entry.is_dir() else ([], False)
        if pictured:
            found[name] = entry
        elif len(archives) > 1 and not classroom.of_several([archive.name for archive in archives], roster):
            found |= {f"{name}/{archive.name}": archive for archive in archives}
        else:
            found[name] = archives[0] if len(archives) == 1 else entry
    return found


def _passed_over(entry: Path) -> bool:
    """Whether an entry was left by a system or by us, and not handed in under such a name."""
    if entry.name.endswith(PARTS):
        return (entry / SECRET).is_file()
    handed_in = is_archive(entry.name) or MOODLE.fullmatch(entry.name)
    return left_behind(entry.name) and (not handed_in or entry.name.startswith("._"))  # ._: macOS, beside each file


def _is_ours(entry: Path, ours: Collection[Path]) -> bool:
    real = Path(os.path.realpath(entry))
    if real in ours:
        return True
    inside = {path for path in ours if real in path.parents}
    if not inside:
        return False
    with suppress(OSError):
        return all(not inside.isdisjoint((path, *path.parents)) for path in map(Path, all_files(real)))
    return False


def _inside(folder: Path) -> tuple[list[Path], bool]:
    """The archives of a folder, and whether it holds pictures that are named as the course's."""
    archives, pictured = [], False
    with suppress(OSError):  # that it cannot be read is said where it is graded
        for path in folder.iterdir():
            pictured = pictured or bool(NUMBERED.fullmatch(path.name))
            if packed(path.name) and not left_behind(path.name) and path.is_file() and not path.is_symlink():
                archives.append(path)
    return archives, pictured


def _beside(source: Path, folder: Path, uploads: Collection[Path]) -> list[str]:
    """A note on what lies in a student's folder beside the archive that is graded, and is no upload of its own."""
    if source.parent == folder:
        return []
    with suppress(OSError):
        others = (path for path in source.parent.iterdir() if path not in uploads)
        names = [path.name for path in others if not left_behind(path.name)]
        return [f"beside it lies {printable(name)}: passed over" for name in sorted(names, key=natural)[:3]]
    return []


def make(
    folder: Path,
    page: Path,
    options: Options,
    *,
    jobs: int | None = None,
    address: str | None = None,
    roster: Path | None = None,
    points: Path | None = None,
    public: Path | None = None,
    reports: Path | None = None,
    progress: Progress = silent,
) -> list[dict]:
    """Grades all submissions of a folder and writes the page, resuming from `page`.parts. Returns the results.

    A `roster` lists the students, `points` says what tiers give: with one of both, tables of grades are written.
    `public` is a page without names, `reports` a folder with a page for each student.
    `jobs` are as many processes, by default one per core; `address` is that of a Dask cluster, to be used instead.
    Warns of metrics that cannot be had. Raises GraderError, and OSError.
    """
    plan = _plan(folder, page, options, roster, points, public, reports)
    scorer = plan.options.scorer(progress)  # so that what is wrong shows now, and caches are filled
    for metric, note in scorer.against.missing.items():
        warnings.warn(f"{metric}: {note}", stacklevel=2)
    executor = (lambda: dask(address)) if address else (lambda: local(jobs))
    measured_with = kept.measured_with(scorer, kept.code())

    def grade_some(found: dict[str, Path]) -> list[dict]:
        done = progress("submissions", len(found))
        return grade_all(found, plan.parts, plan.options, measured_with, executor, done)

    students, results = _graded(plan, grade_some, progress)
    _write(plan, students, results)
    return results


@dataclass(frozen=True)
class _Plan:
    """What is graded, and what is written of it; `students` with the upload that is tried first."""

    folder: Path
    page: Path
    parts: Path
    options: Options
    entries: dict[str, Path]
    students: list[Student]
    points: Points
    tables: bool
    public: Path | None
    reports: Path | None


def _plan(
    folder: Path,
    page: Path,
    options: Options,
    roster: Path | None,
    points: Path | None,
    public: Path | None,
    reports: Path | None,
) -> _Plan:
    """What `make` is to do, by its arguments. Raises all that can be known to be wrong before the work."""
    from grader import grades
    from grader.report import board
    from grader.report import grades as grade_tables

    options = replace(options.resolved(), pages=reports is not None)
    listed = classroom.read_roster(roster) if roster else None
    worth = read_points(points or DEFAULT)
    given = [*filter(None, (roster, points, public, reports, options.reference)), *grades.kept_tables(page)]
    parts = page.with_name(f"{page.name}{PARTS}")
    ours = {path.resolve() for path in (page, parts, *board.beside(page), *grade_tables.beside(page), *given)}
    entries = submissions(folder.resolve(), ours, listed)
    students = classroom.students(entries, listed, worth.deadline)
    plan = _Plan(folder, page, parts, options, entries, students, worth, bool(roster or points), public, reports)
    tables = grade_tables.beside(page) if plan.tables else []
    pages = [reports, *(reports / name for name in grades.page_names(students))] if reports else []
    archives = (path for path in folder.iterdir() if packed(path.name))  # those called like ours among them
    written = [page, *board.beside(page), *tables, *filter(None, [public]), *pages]
    check_apart(written, (roster, points, options.reference, plan.parts, folder, *archives, *entries.values()))
    check_closed(written)
    if not any(student.upload for student in students):
        raise BadSubmission(
            f"{folder}: holds no submission: put an archive or a folder of pictures for each student there"
        )
    return plan


def _graded(
    plan: _Plan, grade_some: Callable[[dict[str, Path]], list[dict]], progress: Progress
) -> tuple[list[Student], list[dict]]:
    """The students with the upload that counts, and a result for the row of each."""
    from grader import grades, plagiarism

    students, counting = _settled(plan.students, grade_some)
    results = []
    for student, result in counting:
        beside = _beside(student.upload.source, plan.folder.resolve(), plan.entries.values())
        undecided = {"undecided": True} if student.undecided else {}
        results.append(result | undecided | {"name": student.row, "notes": [*result.get("notes", []), *beside]})
    prints = {result["name"]: _prints(result) for result in results if "prints" in result}
    shares = plagiarism.shared(prints, grades.secret(plan.parts), progress("submissions compared", len(prints)))
    results = [result | {"shares": shares.get(result["name"], {})} for result in results]
    return students, [_about(plan.options) | result for result in grades.with_missing(results, students)]


def _write(plan: _Plan, students: list[Student], results: list[dict]) -> None:
    """Writes all that is asked for. Raises OSError."""
    from grader import grades
    from grader.report import board

    rows = grades.graded(results, students, plan.points)
    key = grades.secret(plan.parts) if plan.public else None
    board.write(results, plan.page)
    if plan.tables:
        grades.write_tables(rows, plan.page, plan.parts)
    if plan.public:
        grades.write_public(results, plan.public, key)
    if plan.reports:
        grades.remove_pages(plan.reports, grades.page_names(students), plan.folder)
        grades.write_pages(students, rows, results, grades.read_pages(plan.parts, students), plan.reports, key)


def _settled(
    students: list[Student], grade_some: Callable[[dict[str, Path]], list[dict]]
) -> tuple[list[Student], list[tuple[Student, dict]]]:
    """The students with the upload that counts, and its result for each who has one. A student's other uploads are
    graded too, where the latest fails or nobody knows which it is: the code that lies beside the pictures is no reason
    for 0 points."""
    results, tried = {}, {}
    while wanted := {one.entry: one.source for student in students for one in student.to_grade(tried)}:
        for result in grade_some(wanted):
            results[result["name"]] = result
            failed = result["status"] == BROKEN and not result.get("undecided")
            tried[result["name"]] = result["problems"][0] if failed else ""
    students, counting = [student.settled(tried) for student in students], []
    listed = any(student.id for student in students)
    for student in students:
        if student.upload:
            result = results[student.upload.entry]
            uploads = [results.get(one.entry, {}) for one in (student.upload, *student.others)]
            nobodys = listed and not (student.id or student.whose or student.upload.platform)
            signs = ("several", "deeper") if nobodys else ("several",)  # that one is a class, or a part of it
            if result["status"] == BROKEN and any(one.get(sign) for one in uploads for sign in signs):
                result = result | {"undecided": True}
            counting.append((student, result))
    return students, counting


def _prints(result: dict) -> np.ndarray:
    """Its fingerprints, int8 [N, 48]."""
    import numpy as np

    return np.frombuffer(base64.b64decode(result["prints"]), np.int8).reshape(result["pictures"], -1)


def _about(options: Options) -> dict:
    """What every result says of how it came about."""
    from grader.report.json import SCHEMA

    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"schema": SCHEMA, "version": VERSION, "date": date, "options": options.shown()}


def grade(name: str, source: Path, options: Options) -> dict:
    """The result of one submission, ready for JSON; never raises for what a submission holds."""
    from grader.features.fingerprints import fingerprints
    from grader.report.images import strip
    from grader.report.json import as_dict
    from grader.report.page import as_html

    scorer = _scorer(options)
    about = _about(options) | {
        "name": name,
        "measured_with": _measured_with(options),
        "submission": source.name,
    }
    try:
        with bounded():
            submission = _read(source)
    except BadSubmission as error:
        whole = printable(str(source))
        problems = [
            problem.removeprefix(f"{whole}: ").replace(whole, printable(source.name)) for problem in error.problems
        ]
        about |= {"undecided": True} if isinstance(error, NotRead) else {}  # a worker that does not see the files, say
        about |= {"several": True} if isinstance(error, Several) else {}
        about |= {"deeper": True} if isinstance(error, Deeper) else {}
        return about | {"status": BROKEN, "problems": problems}
    except MemoryError:
        return about | {"status": BROKEN, "problems": ["takes too much memory: pack the pictures alone"]}
    except TooSlow as error:
        return about | {"status": BROKEN, "problems": [f"{error}: pack the pictures alone"]}
    pictures = submission.pictures
    score = scorer.score(replace(submission, source=Path(source.name)))
    failed = [  # here and now, where it could be had
        f"{one.measure} by {one.by}: {one.note}"
        for one in score.measures
        if one.value is None and one.note not in scorer.against.missing.values()
    ]
    about |= {"notes": [*submission.notes, *failed], "failed": bool(failed)}
    shown, prints = (base64.b64encode(data).decode() for data in (strip(pictures, STRIP), fingerprints(pictures)))
    page = {"page": as_html(score), "drawn_by": _own_code()[1]} if options.pages else {}
    return as_dict(score) | about | page | {"status": GRADED, "problems": [], "strip": shown, "prints": prints}


def _read(source: Path) -> Submission:
    """What was handed in. Where the pictures of a folder are no submission, and the one archive beside them is, that
    is it: a sample lies there. Raises BadSubmission."""
    from grader.inputs.submission import read_submission

    try:
        return read_submission(source)
    except BadSubmission as error:
        archives, _ = _inside(source)
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


def _has_page(result: dict, path: Path, options: Options, drawn_by: str) -> bool:
    """Whether a result has the page that is wanted of it, as it would be drawn now: by `drawn_by`. The page there may
    be that of another result, which was shown and not kept."""
    if result["status"] != GRADED or not options.pages:
        return True
    with suppress(OSError):
        return (result.get("page"), result.get("drawn_by")) == (sha256(path.with_suffix(".html")), drawn_by)
    return False


@lru_cache(maxsize=1)
def _scorer(options: Options) -> Scorer:
    """Made once in each process, not for each submission."""
    import torch

    torch.set_num_threads(1)  # there is a process for each core
    return options.scorer()


@lru_cache(maxsize=1)
def _own_code() -> tuple[str, str]:
    """What measures and what draws pages, as it was when this process began to grade: a worker of Dask lives on while
    files change on the disk, and goes on with what it has loaded."""
    return kept.code(), kept.drawn_by()


@lru_cache(maxsize=1)
def _measured_with(options: Options) -> str:
    return kept.measured_with(_scorer(options), _own_code()[0])


def grade_all(
    found: dict[str, Path],
    parts: Path,
    options: Options,
    measured_with: str,
    executor: Callable[[], AbstractContextManager[Executor]],
    done: Done = unheard,
) -> list[dict]:
    """Results of all submissions, by name. Those in the folder `parts` from before, of the same content, are kept.
    A result that was measured with other files than here is `undecided`, and so is a submission that was not read.

    `measured_with` is that of grader.kept: where it changes, all are graded again. `executor` makes what runs the work;
    it is asked again when a process died, and a submission with which that happens twice is given up.
    """
    results, waiting, drawn_by = {}, {}, kept.drawn_by()
    for name, source in found.items():
        path = parts / f"{kept.file_name(name)}.json"
        try:
            key = kept.key(source, measured_with)
        except OSError:
            key = None  # grading it says why; it is tried again each time
        if key and (before := kept.read(path, key)) and _has_page(before, path, options, drawn_by):
            results[name] = before | {"name": name}
            done(1)
        else:
            waiting[name] = (source, path, key)

    def keep(name: str, result: dict) -> None:
        _, path, key = waiting.pop(name)
        if report := result.pop("page", None):
            write_text(path.with_suffix(".html"), report)
            result["page"] = hashlib.sha256(report.encode()).hexdigest()
        elif options.pages or result["status"] != GRADED:  # else a run beside this one may want it
            path.with_suffix(".html").unlink(missing_ok=True)  # of another result
        results[name], holds = _shown(result | {"key": key}, measured_with, drawn_by)
        if holds:
            kept.write(path, holds)
        done(1)

    def give_up(name: str, problem: str) -> None:
        keep(name, {"name": name, "status": BROKEN, "problems": [problem], "undecided": True})

    def run(names: list[str]) -> None:
        """Those are left `waiting` that were not graded when a process died."""
        with executor() as pool:
            futures = {pool.submit(grade, name, waiting[name][0], options): name for name in names}
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    return
                except Exception as error:  # of ours, or of a cluster that gave up on it: a row, and not for ever
                    give_up(futures[future], f"grading it failed ({first_line(error)})")
                else:
                    keep(futures[future], result)

    while waiting:
        run(list(waiting))
        # One of those that were being worked on killed its process: alone, it takes no other with it.
        for name in list(waiting)[: usable_cores() + 2]:
            run([name])
            if name in waiting:
                give_up(name, "grading it ended the process, twice: is it far too large?")
    return [results[name] for name in sorted(results, key=natural)]


def _shown(result: dict, measured_with: str, drawn_by: str) -> tuple[dict, dict | None]:
    """A result as it is shown, and as it is kept, where it would be the same another time: not of a worker with other
    files, of a submission that was not read, or with a measure that failed."""
    there = result.get("measured_with", measured_with)
    alike = kept.judge_alike(there, measured_with)
    failed, result = result.get("failed"), {key: value for key, value in result.items() if key != "failed"}
    holds = bool(result["key"]) and there == measured_with and not failed and not result.get("undecided")
    notes = [ELSEWHERE] * (result["status"] == GRADED and not alike)
    notes += [DRAWN_ELSEWHERE] * (result.get("drawn_by", drawn_by) != drawn_by)  # without --reports nothing is amiss
    shown = result | ({"notes": [*result.get("notes", []), *notes]} if notes else {})
    if not holds and (not alike or result["status"] == BROKEN):
        shown["undecided"] = True  # next time it may be graded, or otherwise: it is worth no points yet
    return shown, result if holds else None
