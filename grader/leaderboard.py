"""A whole class: every submission in a folder graded, side by side, and laid out as one table.

Each result is written as soon as it is there, under a name made of the submission's: a run that was stopped goes on
with what is missing. A submission that cannot be graded is a row that says why.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from grader.errors import GraderError, first_line, printable, whole
from grader.inputs.images import ENDINGS

ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip", ".npz")
GRADED, BROKEN = "graded", "broken"
STRIP = 6  # pictures of each submission on the page
COLUMNS = ("FD-anime", "AFD", "AFD (lbpcascade-3)", "FID", "KID", "precision", "recall", "density", "coverage")


def submissions(folder: Path) -> dict[str, Path]:
    """Name -> archive or folder of pictures, for each entry of a folder.

    A student's folder that holds one archive and no picture stands for that archive, as course platforms pack them.
    Names are what comes before the first ending. Raises GraderError.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise GraderError(f"{folder}: cannot be read ({error.strerror}): name a folder of submissions") from None
    found = {}
    for entry in entries:
        if entry.name.startswith("."):
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


def grade(name: str, source: Path, options: dict) -> dict:
    """The result of one submission, ready for JSON; never raises for what a submission holds."""
    from grader.inputs.submission import BadSubmission, read_submission
    from grader.report.page import as_dict, jpeg_strip

    try:
        score = _yardstick(tuple(sorted(options.items()))).score(read_submission(source))
    except BadSubmission as error:
        problems = [problem.removeprefix(printable(f"{source}: ")) for problem in error.problems]
        return {"name": name, "status": BROKEN, "problems": problems}
    except MemoryError:
        return {"name": name, "status": BROKEN, "problems": [f"{source}: takes too much memory"]}
    strip = base64.b64encode(jpeg_strip(score, STRIP)).decode()
    digest = hashlib.sha256(score.submission.pictures).hexdigest()
    return {"name": name, "status": GRADED, "problems": [], "strip": strip, "digest": digest, **as_dict(score)}


@lru_cache(maxsize=1)
def _yardstick(options: tuple):
    """Made once in each process, not for each submission."""
    import torch

    from grader.scoring import prepare

    torch.set_num_threads(1)  # there is a process for each core
    return prepare(**dict(options))


def grade_all(
    found: dict[str, Path],
    parts: Path,
    options: dict,
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
        for name in list(waiting)[: (os.cpu_count() or 1) + 2]:
            if not run([name]):
                give_up(name, "grading it ended the process, twice: is it far too large?")
    return [results[name] for name in sorted(results)]


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


def ranked(results: list[dict]) -> list[dict]:
    """Rows of the table, the nearest to real faces first, those that could not be graded last."""
    rows, first = [], {}  # first: digest of the pictures -> who handed them in
    for result in sorted(results, key=lambda result: result["name"]):
        values = {}
        for measure in result.get("measures", []):
            label = f"{measure['measure']} ({measure['by']})"
            values[label if label in COLUMNS else measure["measure"]] = measure["value"]
        best = {verdict["family"]: verdict["best"] for verdict in result.get("verdicts", [])}
        integrity = result.get("integrity") or {"copies": [], "collapsed": False}
        remarks = list(result["problems"])
        if integrity["copies"]:
            remarks.append(f"{len(integrity['copies'])} copies of known faces")
        if integrity["collapsed"]:
            remarks.append("collapsed")
        if (digest := result.get("digest")) and (owner := first.setdefault(digest, result["name"])) != result["name"]:
            remarks.append(f"the same pictures as {owner}")
        rows.append(
            {
                "name": printable(result["name"]),
                "passed": best.get("embedded") or "",
                **{column: values.get(column) for column in COLUMNS},
                "remarks": [printable(remark) for remark in remarks],
                "graded": result["status"] == GRADED,
                "strip": result.get("strip"),
            }
        )
    last = float("inf")
    return sorted(rows, key=lambda row: (not row["graded"], last if row["FD-anime"] is None else row["FD-anime"]))


def write(results: list[dict], page: Path) -> list[Path]:
    """Writes the page, and the same as .csv and .json beside it, each whole or not at all. Raises OSError."""
    from grader.report.page import page_of

    rows = ranked(results)
    shown = [column for column in COLUMNS if any(row[column] is not None for row in rows)]
    table = io.StringIO()
    fields = ["name", "passed", *shown, "remarks"]
    writer = csv.DictWriter(table, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({field: _plain(row[field]) for field in fields} for row in rows)
    without = [
        {name: value for name, value in result.items() if name not in ("strip", "key", "digest")} for result in results
    ]
    texts = {
        page: page_of("leaderboard.html.j2", rows=rows, columns=shown, title=page.stem),
        page.with_suffix(".csv"): table.getvalue(),
        page.with_suffix(".json"): json.dumps(without, indent=2) + "\n",
    }
    for path, text in texts.items():
        with whole(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")
    return list(texts)


def _plain(value):
    """A value that no spreadsheet takes for a formula: names are chosen by strangers."""
    value = "; ".join(value) if isinstance(value, list) else value
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _key(source: Path, options: dict) -> str:
    """Changes when the submission or what it is measured with does."""
    from grader.features.anime import FEATURES
    from grader.inputs.submission import MAX_FILES
    from grader.metrics.afd import DETECTOR
    from grader.report.page import SCHEMA

    digest = hashlib.sha256(f"{SCHEMA} {FEATURES} {DETECTOR} {sorted(options.items())}".encode())
    for path in islice(_files(source), 2 * MAX_FILES):  # of those that hold more, none is taken anyway
        with suppress(OSError):
            state = os.lstat(path)
            digest.update(os.fsencode(path) + f" {state.st_size} {state.st_mtime_ns} ".encode())
    return digest.hexdigest()


def _files(source: Path) -> Iterator[str]:
    if not source.is_dir():
        yield str(source)
    for folder, folders, names in os.walk(source):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))


def _file_name(name: str) -> str:
    """A name for a file that stands for a submission's and that any file system takes."""
    quoted = urllib.parse.quote(name, safe="", errors="surrogateescape")
    return quoted if len(quoted) < 200 else quoted[:150] + hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _write(path: Path, result: dict) -> None:
    """Keeps a result with a seal: what was broken off, or changed by hand, is graded again."""
    with whole(path) as unfinished:
        unfinished.write_text(json.dumps({"seal": _seal(result)} | result), encoding="utf-8")


def _read(path: Path) -> dict | None:
    try:
        result = json.loads(path.read_bytes())
        return result if result.pop("seal") == _seal(result) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None


def _seal(result: dict) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
