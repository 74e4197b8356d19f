"""The leaderboard: every submission in a folder graded, side by side, and laid out as one table.

A run that was stopped goes on with what is missing, and so does one with another roster. A submission that cannot be
graded is a row that says why.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from grader import grades, plagiarism, result_cache
from grader import roster as classroom
from grader.errors import GraderError, printable
from grader.files import PARTS, all_files, check_apart, check_closed, check_writable, left_behind, natural, some
from grader.grading import Options, about, grade_all, prints_of
from grader.inputs.archives import decoded
from grader.inputs.submission import ARCHIVES, OTHER_ARCHIVES, BadSubmission, archives_in, is_archive, packed
from grader.points import DEFAULT, Points, read_points
from grader.progress import Progress, silent
from grader.report import board, gradebook
from grader.results import BROKEN
from grader.roster import Student
from grader.uploads import MOODLE
from grader.workers import dask, local


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
        archives, pictured = archives_in(entry) if entry.is_dir() else ([], False)
        if pictured:
            found[name] = entry
        elif len(archives) > 1 and not classroom.of_several([archive.name for archive in archives], roster):
            found |= {f"{name}/{archive.name}": archive for archive in archives}
        else:
            found[name] = archives[0] if len(archives) == 1 else entry
    return found


def _passed_over(entry: Path) -> bool:
    """Whether an entry was left by a system, and not handed in under such a name."""
    handed_in = is_archive(entry.name) or MOODLE.fullmatch(entry.name) or entry.name.endswith(PARTS)
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


def _beside(source: Path, folder: Path, uploads: Collection[Path]) -> list[str]:
    """A note on what lies in a student's folder beside the archive that is graded, and is no upload of its own."""
    if source.parent == folder:
        return []
    with suppress(OSError):
        others = (path for path in source.parent.iterdir() if path not in uploads)
        names = [path.name for path in others if not left_behind(path.name)]
        return [f"passed over what lies beside it: {printable(some(names))}"] if names else []
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
    measured_with = result_cache.measured_with(scorer, result_cache.code())
    options = replace(plan.options, missing=tuple(scorer.against.missing.items()))

    def grade_some(found: dict[str, Path]) -> list[dict]:
        done = progress("submissions", len(found))
        return grade_all(found, plan.parts, options, measured_with, executor, done)

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

    @property
    def written(self) -> list[Path]:
        """All that is written but the results themselves, and the pages in the folder of reports."""
        tables = gradebook.beside(self.page) if self.tables else []
        return [self.page, *board.beside(self.page), *tables, *filter(None, (self.public, self.reports))]


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
    options = replace(options.resolved(), pages=reports is not None)
    listed = classroom.read_roster(roster) if roster else None
    worth = read_points(points or DEFAULT)
    given = [*filter(None, (roster, points, public, reports, options.reference)), *grades.kept_files(page, public)]
    parts = page.with_name(f"{page.name}{PARTS}")
    ours = {path.resolve() for path in (page, parts, *board.beside(page), *gradebook.beside(page), *given)}
    before = grades.written_before(folder, parts)
    if passed := [path.relative_to(folder.resolve()).as_posix() for path in before - ours if path.exists()]:
        named = printable(some(passed))
        warnings.warn(f"passed over what a leaderboard wrote among the submissions before: {named}", stacklevel=3)
    entries = submissions(folder.resolve(), ours | before, listed)
    students = classroom.students(entries, listed, worth.deadline)
    plan = _Plan(folder, page, parts, options, entries, students, worth, bool(roster or points), public, reports)
    pages = [reports / name for name in grades.page_names(students)] if reports else []
    archives = (path for path in folder.iterdir() if packed(path.name))  # those called like ours among them
    written = [*plan.written, *pages]
    check_apart(written, (roster, points, options.reference, plan.parts, folder, *archives, *entries.values()))
    for path in (parts, *plan.written):  # what a student handed in
        taken = path.is_file() or (path == parts and path.exists() and not grades.only_ours(path))
        known = path.resolve() in before or (path != parts and grades.is_our_page(public if path == public else page))
        if taken and not known and folder.resolve() in path.resolve().parents:
            raise GraderError(f"{path}: lies among the submissions, and is not ours: name another page to write")
    if reports and folder.resolve() in reports.resolve().parents and grades.is_others(reports):
        raise GraderError(f"{reports}: lies among the submissions, and is not ours: name a new folder for the pages")
    check_closed(path for path in written if path != reports)
    if not any(student.upload for student in students):
        raise BadSubmission(
            f"{folder}: holds no submission: put an archive or a folder of pictures for each student there"
        )
    for made in filter(None, (public and public.parent, reports)):
        check_writable(made)
    return plan


def _graded(
    plan: _Plan, grade_some: Callable[[dict[str, Path]], list[dict]], progress: Progress
) -> tuple[list[Student], list[dict]]:
    """The students with the upload that counts, and a result for the row of each."""
    key = grades.secret(plan.parts)  # now: it tells that folder from a student's, also where the grading is stopped
    students, counting = _settled(plan.students, grade_some)
    results = []
    for student, result in counting:
        beside = _beside(student.upload.source, plan.folder.resolve(), plan.entries.values())
        undecided = {"undecided": True} if student.undecided else {}
        results.append(result | undecided | {"name": student.row, "notes": [*result.get("notes", []), *beside]})
    prints = {result["name"]: prints_of(result) for result in results if "prints" in result}
    shares = plagiarism.shared(prints, key, progress("submissions compared", len(prints)))
    results = [result | {"shares": shares.get(result["name"], {})} for result in results]
    return students, [about(plan.options) | result for result in grades.with_missing(results, students)]


def _write(plan: _Plan, students: list[Student], results: list[dict]) -> None:
    """Writes all that is asked for. Raises OSError."""
    rows = grades.with_grades(results, students, plan.points)
    key = grades.secret(plan.parts) if plan.public else None
    grades.remember(plan.written, plan.parts, plan.folder)
    board.write(results, plan.page)
    if plan.tables:
        grades.write_tables(rows, plan.page, plan.parts)
    if plan.public:
        grades.write_public(results, plan.public, key)
    if plan.reports:
        grades.remove_pages(plan.reports, grades.page_names(students), plan.folder)
        grades.write_pages(students, rows, plan.parts, plan.reports, key)


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
            found = [sign for sign in signs if any(one.get(sign) for one in uploads)]
            if result["status"] == BROKEN and found:
                result = result | dict.fromkeys(("undecided", *found), True)
            counting.append((student, result))
    return students, counting
