"""Results that are kept while a class is graded, and the keys that tell whether they still hold.

A key is made of content: of the submission, and of all that it is measured with. A result is taken again only under
the same key, and only if nobody changed its file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from grader.files import all_files, sha256, write_text
from grader.inputs.submission import MAX_BYTES, MAX_FILES

if TYPE_CHECKING:
    from grader.features.reference import Reference
    from grader.scoring import Scorer

HERE = Path(__file__).parent
MEASURES = (  # whatever a result changes with
    *("inputs/*.py", "features/*.py", "metrics/*.py", "report/json.py", "results.py", "scoring.py", "verdict.py"),
    *("grading.py", "report/images.py", "thresholds.toml", "weights/*.safetensors"),
    "workers.py",  # how long it may be read
    "files.py",  # what is passed over in it, and in which order the rest comes
)
DRAWN_BY = ("report/*.py", "report/templates/*")  # whatever its page changes with besides


def measured_with(scorer: Scorer, code: str) -> str:
    """Changes with all that a submission is measured with: the `code`, reference, known faces, and which measures are
    asked for; after a dash, also with which of them can be had."""
    against = scorer.against
    digest = hashlib.sha256()
    said = [sorted(scorer.metrics), scorer.limits, code]
    digest.update(json.dumps(said).encode())
    for reference in (against.real, against.anime):
        _add_reference(digest, reference)
    for known in (scorer.known, scorer.given):
        digest.update(b"none")
        if known is not None:
            digest.update(known.fingerprints.tobytes() + "\n".join(known.names).encode("utf-8", "surrogatepass"))
    alike = digest.hexdigest()
    _add_reference(digest, against.real_inception)
    digest.update(json.dumps(sorted(against.missing)).encode())
    return f"{alike}-{digest.hexdigest()}"


def code() -> str:
    """Changes with the code that measures, its weights and its thresholds, as they lie on the disk: what runs is what
    lay there when it was loaded."""
    return _hash(MEASURES)


def drawn_by() -> str:
    """Changes with all that draws a result's page, and with nothing that its numbers depend on."""
    return _hash(DRAWN_BY)


def _hash(patterns: tuple[str, ...]) -> str:
    """The hash of the grader's own files of these names."""
    paths = (path for pattern in patterns for path in sorted(HERE.glob(pattern)) if path.is_file())
    hashes = [sha256(path) for path in paths]
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def judge_alike(one: str, other: str) -> bool:
    """Whether what two processes measure with differs at most in measures that one of them cannot have."""
    return one.partition("-")[0] == other.partition("-")[0]


def _add_reference(digest, reference: Reference | None) -> None:
    if reference is None:
        digest.update(b"none")
        return
    statistics = reference.statistics
    digest.update(f"{reference.faces} {reference.features} {statistics.count} {reference.held_out}".encode())
    digest.update(json.dumps(reference.floors, sort_keys=True).encode())
    for array in (statistics.mean, statistics.covariance, reference.sample):
        digest.update(b"none" if array is None else array.tobytes())


def key(source: Path, measured_with: str) -> str:
    """Changes with the content of a submission, its name and its files', and what it is measured with.

    Of what is far over the limits only the state of the files counts: it is refused anyway. A link at the top is
    followed, as it is where the submission is read. Raises OSError.
    """
    digest, left = hashlib.sha256(f"{measured_with} {source.name}".encode("utf-8", "surrogatepass")), MAX_BYTES
    source = Path(os.path.realpath(source))
    for count, path in enumerate(all_files(source)):
        if count > 2 * MAX_FILES:
            break
        status = os.lstat(path)
        digest.update(os.fsencode(os.path.relpath(path, source)) + f" {status.st_mode} {status.st_size} ".encode())
        if not stat.S_ISREG(status.st_mode) or status.st_size > left:
            digest.update(str(status.st_mtime_ns).encode())
            continue
        left -= status.st_size
        digest.update(sha256(Path(path)).encode())
    return digest.hexdigest()


def write(path: Path, result: dict) -> None:
    """Keeps a result with a seal: what was broken off, or changed by hand, is graded again. Raises OSError."""
    write_text(path, json.dumps({"seal": _seal(result)} | result))


def read(path: Path, key: str) -> dict | None:
    """The result that was kept under this key, if there is one."""
    with suppress(OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        result = json.loads(path.read_bytes())
        if result.pop("seal") == _seal(result) and result["key"] == key:
            return result
    return None


def _seal(result: dict) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
