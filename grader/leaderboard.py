"""The leaderboard: every submission in a folder graded, side by side, and laid out as one table.

Each result is written as soon as it is there, under a name made of the submission's: a run that was stopped goes on
with what is missing. A submission that cannot be graded is a row that says why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from grader.cores import usable_cores
from grader.errors import GraderError, first_line, printable
from grader.files import left_behind, natural, write_text
from grader.inputs.images import ENDINGS
from grader.metrics.registry import NAMES
from grader.progress import Progress, silent

if TYPE_CHECKING:
    from grader.scoring import Scorer

ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip", ".npz")
GRADED, BROKEN = "graded", "broken"
STRIP = 6  # pictures of each submission on the page


@dataclass(frozen=True)
class Options:
    """What submissions are graded with, as Scorer.prepare takes it."""

    reference: Path | None = None
    metrics: tuple[str, ...] = NAMES
    offline: bool = False

    def resolved(self) -> Options:
        """The same for processes with another current folder."""
        return replace(self, reference=self.reference and self.reference.resolve())

    def scorer(self, progress: Progress = silent) -> Scorer:
        from grader.scoring import Scorer

        return Scorer.prepare(self.reference, metrics=self.metrics, offline=self.offline, progress=progress)


def submissions(folder: Path) -> dict[str, Path]:
    """Name -> archive or folder of pictures, for each entry of a folder.

    A student's folder that holds one archive and no picture stands for that archive, as course platforms pack them.
    Names are what comes before the first ending. Raises GraderError.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise GraderError(f"{folder}: cannot be read ({error.strerror}): name a folder of submissions") from None
    found = {}
    for entry in entries:
        if left_behind(entry.name):
            continue
        if entry.is_dir():
            found[entry.name] = _handed_in(entry)
        elif entry.name.lower().endswith(ARCHIVES):
            name = entry.name[: -len(next(ending for ending in ARCHIVES if entry.name.lower().endswith(ending)))]
            found[name if name not in found else entry.name] = entry
    return found


def _handed_in(folder: Path) -> Path:
    """The one archive of a folder without pictures, or else the folder itself."""
    packed = []
    with suppress(OSError):  # that it cannot be read is said where it is graded
        for path in folder.iterdir():
            if path.suffix.lower() in ENDINGS or len(packed) > 1:
                return folder
            if path.name.lower().endswith(ARCHIVES) and path.is_file() and not path.is_symlink():
                packed.append(path)
    return packed[0] if len(packed) == 1 else folder


def make(
    folder: Path,
    page: Path,
    options: Options,
    *,
    jobs: int | None = None,
    address: str | None = None,
    progress: Progress = silent,
) -> list[dict]:
    """Grades all submissions of a folder and writes the page, resuming from `page`.parts. Returns the results.

    `jobs` are as many processes, by default one per core; `address` is that of a Dask cluster, to be used instead.
    Warns of metrics that cannot be had. Raises GraderError, and OSError.
    """
    from grader.inputs.submission import BadSubmission
    from grader.report import board

    options = options.resolved()
    found = submissions(folder.resolve())
    if not found:
        raise BadSubmission(
            f"{folder}: holds no submission: put an archive or a folder of pictures for each student there"
        )
    scorer = options.scorer(progress)  # so that what is wrong shows now, and caches are filled
    for metric, note in scorer.against.missing.items():
        warnings.warn(f"{metric}: {note}", stacklevel=2)
    executor = (lambda: dask(address)) if address else (lambda: local(jobs or usable_cores()))
    parts = page.with_name(f"{page.name}.parts")
    results = grade_all(found, parts, options, executor, progress("submissions", len(found)))
    board.write(results, page)
    return results


def grade(name: str, source: Path, options: Options) -> dict:
    """The result of one submission, ready for JSON; never raises for what a submission holds."""
    from grader.inputs.submission import BadSubmission, read_submission
    from grader.report.images import strip
    from grader.report.json import as_dict

    try:
        score = _scorer(options).score(read_submission(source))
    except BadSubmission as error:
        problems = [problem.removeprefix(printable(f"{source}: ")) for problem in error.problems]
        return {"name": name, "status": BROKEN, "problems": problems}
    except MemoryError:
        return {"name": name, "status": BROKEN, "problems": [f"{source}: takes too much memory"]}
    pictures = score.submission.pictures
    shown, digest = base64.b64encode(strip(pictures, STRIP)).decode(), hashlib.sha256(pictures).hexdigest()
    return {"name": name, "status": GRADED, "problems": [], "strip": shown, "digest": digest, **as_dict(score)}


@lru_cache(maxsize=1)
def _scorer(options: Options) -> Scorer:
    """Made once in each process, not for each submission."""
    import torch

    torch.set_num_threads(1)  # there is a process for each core
    return options.scorer()


def grade_all(
    found: dict[str, Path],
    parts: Path,
    options: Options,
    executor: Callable[[], AbstractContextManager[Executor]],
    done: Callable[[int], None] = lambda n: None,
) -> list[dict]:
    """Results of all submissions, by name. Those in the folder `parts` from before, of the same content, are kept.

    `executor` makes what runs the work; it is asked again when a process died, and a submission with which that
    happens twice is given up.
    """
    results, waiting = {}, {}
    for name, source in found.items():
        path = parts / f"{_file_name(name)}.json"
        key = _key(source, options)
        if (before := _read(path)) and before["key"] == key:
            results[name] = before
            done(1)
        else:
            waiting[name] = (source, path, key)

    def keep(name: str, result: dict, stored: bool = True) -> None:
        _, path, key = waiting.pop(name)
        results[name] = result | {"key": key}
        if stored:
            _write(path, results[name])
        done(1)

    def give_up(name: str, problem: str, stored: bool = True) -> None:
        keep(name, {"name": name, "status": BROKEN, "problems": [problem]}, stored)

    def run(names: list[str]) -> bool:
        """Whether all of them were graded, or a process died on the way."""
        with executor() as pool:
            futures = {pool.submit(grade, name, waiting[name][0], options): name for name in names}
            try:
                for future in as_completed(futures):
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        return False
                    except Exception as error:  # of ours, or of a cluster that gave up on it: a row, and not for ever
                        give_up(futures[future], f"grading it failed ({first_line(error)})", stored=False)
                    else:
                        keep(futures[future], result)
            except BaseException:  # stopped, or a full disk: what is waiting need not begin
                for future in futures:
                    future.cancel()
                raise
        return True

    while waiting and not run(list(waiting)):
        # One of those that were being worked on killed its process: alone, it takes no other with it.
        for name in list(waiting)[: usable_cores() + 2]:
            if not run([name]):
                give_up(name, "grading it ended the process, twice: is it far too large?")
    return [results[name] for name in sorted(results, key=natural)]


def local(jobs: int) -> Executor:
    """One process for each job."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """An existing Dask cluster, whose workers have this package and see the same files under the same names.

    What a lost worker was doing is done by another one. Raises GraderError.
    """
    try:
        from distributed import Client

        client = Client(address, timeout=20)
    except ImportError:
        raise GraderError("--dask needs the package distributed: pip install distributed") from None
    except (OSError, ValueError) as error:
        reason = f"no Dask scheduler answers ({first_line(error)})"
        raise GraderError(f"{address}: {reason}: name one that runs, as tcp://host:8786") from None
    with client:
        yield client.get_executor(pure=False)


def _key(source: Path, options: Options) -> str:
    """Changes when the submission or what it is measured with does."""
    from grader.features import anime
    from grader.inputs.submission import MAX_FILES
    from grader.metrics import afd
    from grader.report.json import SCHEMA

    digest = hashlib.sha256(f"{SCHEMA} {anime.scale()} {afd.scale()} {options}".encode())
    for path in islice(_files(source), 2 * MAX_FILES):  # of those that hold more, none is taken anyway
        with suppress(OSError):
            state = os.lstat(path)
            digest.update(os.fsencode(path) + f" {state.st_size} {state.st_mtime_ns} ".encode())
    return digest.hexdigest()


def _files(source: Path) -> Iterator[str]:
    if not source.is_dir():
        yield str(source)
    for folder, folders, names in os.walk(source):
        folders.sort(key=natural)
        yield from (os.path.join(folder, name) for name in sorted(names, key=natural))


def _file_name(name: str) -> str:
    """A name for a file that stands for a submission's and that any file system takes."""
    quoted = urllib.parse.quote(name, safe="", errors="surrogateescape")
    return quoted if len(quoted) < 200 else quoted[:150] + hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _write(path: Path, result: dict) -> None:
    """Keeps a result with a seal: what was broken off, or changed by hand, is graded again."""
    write_text(path, json.dumps({"seal": _seal(result)} | result))


def _read(path: Path) -> dict | None:
    try:
        result = json.loads(path.read_bytes())
        return result if result.pop("seal") == _seal(result) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None


def _seal(result: dict) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
