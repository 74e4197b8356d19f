"""One submission graded in some process, and its result kept.

Each result is written as soon as it is there, under a name made of the submission's own: a run that was stopped goes on
with what is missing. A submission that cannot be graded is a result that says why.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from grader import result_cache
from grader.errors import GraderError, first_line, printable
from grader.files import file_name, natural, sha256, write_text
from grader.inputs.submission import BadSubmission, Deeper, NotRead, Several, read_handed_in
from grader.metrics.registry import NAMES, selected
from grader.processes import CannotStart, ProcessDied
from grader.progress import Done, Progress, silent, unheard
from grader.results import BROKEN, GRADED
from grader.version import VERSION
from grader.workers import TooSlow, bounded

if TYPE_CHECKING:
    import numpy as np

    from grader.scoring import Scorer

ELSEWHERE = "graded with other files than here: start the workers again"
DRAWN_ELSEWHERE = "its page was drawn by another grader than here: start the workers again"
STRIP = 6  # pictures of each submission on the page


class CannotLoad(GraderError):
    """A process that has no room for the grader: no submission is to blame, and none can be graded there."""


@dataclass(frozen=True)
class Options:
    """What submissions are graded with, as Scorer.prepare takes it."""

    reference: Path | None = None
    metrics: tuple[str, ...] = NAMES
    offline: bool = False
    pages: bool = False  # a whole report of each, too
    missing: tuple[tuple[str, str], ...] = ()  # metrics, and why each cannot be had: decided once, for all processes

    def shown(self) -> dict:
        """The same for readers of the results, without a path."""
        return {
            "reference": self.reference and printable(self.reference.name),
            "metrics": list(self.metrics),
            "offline": self.offline,
        }

    def resolved(self) -> Options:
        """The same for processes with another current folder. Raises ValueError for an unknown metric."""
        reference = self.reference and self.reference.absolute()  # its name stays
        return replace(self, reference=reference, metrics=selected(self.metrics))

    def scorer(self, progress: Progress = silent) -> Scorer:
        """The Scorer that they ask for. Raises what Scorer.prepare does."""
        from grader.scoring import Scorer

        given = {"metrics": self.metrics, "offline": self.offline, "missing": self.missing}
        return Scorer.prepare(self.reference, **given, progress=progress)


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

    `measured_with` is that of grader.result_cache: where it changes, all are graded again. `executor` makes what runs
    the work; it is asked again when a process died, and a submission with which that happens twice is given up.
    Raises CannotLoad and CannotStart.
    """
    work = _Work(parts, options, measured_with, executor, done, result_cache.drawn_by())
    work.begin(found)
    work.run(list(work.waiting))
    for name in list(work.waiting):  # its process died: alone, it has all memory
        work.run([name])
        if name in work.waiting:
            work.give_up(name, "grading it ended the process, twice: is it far too large?")
    return [work.results[name] for name in sorted(work.results, key=natural)]


@dataclass
class _Work:
    """Submissions that are being graded: the `results` that are there, and what is still `waiting` for one."""

    parts: Path
    options: Options
    measured_with: str
    executor: Callable[[], AbstractContextManager[Executor]]
    done: Done
    drawn_by: str
    waiting: dict[str, tuple[Path, Path, str | None]] = field(default_factory=dict)  # source, the result's file, key
    results: dict[str, dict] = field(default_factory=dict)

    def begin(self, found: dict[str, Path]) -> None:
        """Takes the results that still hold; all others wait."""
        for name, source in found.items():
            path = self.parts / f"{file_name(name)}.json"
            try:
                key = result_cache.key(source, self.measured_with)
            except OSError:
                key = None  # grading it says why; it is tried again each time
            before = key and result_cache.read(path, key)
            if before and _has_page(before, path, self.options, self.drawn_by):
                self.results[name] = before | {"name": name}
                self.done(1)
            else:
                self.waiting[name] = (source, path, key)

    def run(self, names: list[str]) -> None:
        """Grades some. Those are left `waiting` whose process died."""
        with self.executor() as pool:
            futures = {pool.submit(grade, name, self.waiting[name][0], self.options): name for name in names}
            for future in _completed(futures):
                try:
                    result = future.result()
                except ProcessDied:
                    continue
                except (CannotLoad, CannotStart, CancelledError):  # that: of a cluster that is lost, and all that waits
                    raise
                except Exception as error:  # of ours, or of a cluster that gave up on it: a row, and not for ever
                    older = ": start the workers again" if isinstance(error, ImportError) else ""  # than the code here
                    self.give_up(futures[future], f"grading it failed ({first_line(error)}){older}")
                else:
                    self.keep(futures[future], result)

    def give_up(self, name: str, problem: str) -> None:
        """Takes for a result that there is none, until another time."""
        self.keep(name, {"name": name, "status": BROKEN, "problems": [problem], "undecided": True})

    def keep(self, name: str, result: dict) -> None:
        """Takes a result, and writes it where it would be the same another time."""
        _, path, key = self.waiting.pop(name)
        for warning in result.pop("warnings", []):
            warnings.warn(warning, stacklevel=2)
        if report := result.pop("page", None):
            write_text(path.with_suffix(".html"), report)
            result["page"] = hashlib.sha256(report.encode()).hexdigest()
        elif self.options.pages or result["status"] != GRADED:  # else a run beside this one may want it
            path.with_suffix(".html").unlink(missing_ok=True)  # of another result
        self.results[name], holds = _shown(result | {"key": key}, self.measured_with, self.drawn_by)
        if holds:
            result_cache.write(path, holds)
        self.done(1)


def _completed(futures: Iterable[Future]) -> Iterator[Future]:
    """Each as soon as it is done. On Windows Ctrl-C ends no wait without a limit, as that of as_completed."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        yield from done


def _shown(result: dict, measured_with: str, drawn_by: str) -> tuple[dict, dict | None]:
    """A result as it is shown, and as it is kept, where it would be the same another time: not of a worker with other
    files, of a submission that was not read, or with a measure that failed."""
    there = result.get("measured_with", measured_with)
    alike = result_cache.judge_alike(there, measured_with)
    failed, result = result.get("failed"), {key: value for key, value in result.items() if key != "failed"}
    holds = bool(result["key"]) and there == measured_with and not failed and not result.get("undecided")
    notes = [ELSEWHERE] * (not alike)
    notes += [DRAWN_ELSEWHERE] * (result.get("drawn_by", drawn_by) != drawn_by)  # without --reports nothing is amiss
    shown = result | ({"notes": [*result.get("notes", []), *notes]} if notes else {})
    if not alike or (result["status"] == BROKEN and not result["key"]):
        shown["undecided"] = True  # next time it may be graded, or otherwise: it is worth no points yet
    return shown, result if holds else None


def grade(name: str, source: Path, options: Options) -> dict:
    """The result of one submission, ready for JSON; never raises for what a submission holds. Raises CannotLoad."""
    try:
        from grader.features.fingerprints import fingerprints
        from grader.report.images import strip
        from grader.report.json import as_dict
        from grader.report.page import as_html

        scorer = _scorer(options)
    except (ImportError, MemoryError, OSError) as error:
        if _in_a_thread():  # a worker of Dask's: others may do better
            raise
        raise CannotLoad(f"a process could not load the grader ({first_line(error)}): use fewer --jobs") from None
    result = about(options) | {"name": name, "measured_with": _measured_with(options), "submission": source.name}
    try:
        with bounded():
            submission = read_handed_in(source)
    except BadSubmission as error:
        whole = printable(str(source))
        problems = [
            problem.removeprefix(f"{whole}: ").replace(whole, printable(source.name)) for problem in error.problems
        ]
        result |= {"undecided": True} if isinstance(error, NotRead) else {}  # a worker that does not see the files, say
        result |= {"several": True} if isinstance(error, Several) else {}
        result |= {"deeper": True} if isinstance(error, Deeper) else {}
        return result | {"status": BROKEN, "problems": problems}
    except MemoryError:
        return result | {"status": BROKEN, "problems": ["takes too much memory: pack the pictures alone"]}
    except TooSlow as error:
        return result | {"status": BROKEN, "problems": [f"{error}: pack the pictures alone"]}
    pictures = submission.pictures
    with _warnings() as said:  # as of a GPU that fails, of which it knows alone
        score = scorer.score(replace(submission, source=Path(source.name)))
    failed = [  # here and now, where it could be had
        f"{one.measure} by {one.by}: {one.note}"
        for one in score.measures
        if one.value is None and one.note not in dict(options.missing).values()
    ]
    result |= {"notes": [*submission.notes, *failed], "failed": bool(failed)}
    result |= {"warnings": [str(one.message) for one in said if one.category is UserWarning]}
    shown, prints = (base64.b64encode(data).decode() for data in (strip(pictures, STRIP), fingerprints(pictures)))
    page = {"page": as_html(score), "drawn_by": _own_code()[1]} if options.pages else {}
    return as_dict(score) | result | page | {"status": GRADED, "problems": [], "strip": shown, "prints": prints}


@contextmanager
def _warnings() -> Iterator[list[warnings.WarningMessage]]:
    """What is warned of meanwhile. In a thread, such as Dask's, that is not recorded: it would be for all threads."""
    if _in_a_thread():
        yield []
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        yield said


def _in_a_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


def about(options: Options) -> dict:
    """What every result says of how it came about."""
    from grader.report.json import SCHEMA

    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"schema": SCHEMA, "version": VERSION, "date": date, "options": options.shown()}


def prints_of(result: dict) -> np.ndarray:
    """Its fingerprints, int8 [N, 48]."""
    import numpy as np

    return np.frombuffer(base64.b64decode(result["prints"]), np.int8).reshape(result["pictures"], -1)


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
    return result_cache.code(), result_cache.drawn_by()


@lru_cache(maxsize=1)
def _measured_with(options: Options) -> str:
    return result_cache.measured_with(_scorer(options), _own_code()[0])
