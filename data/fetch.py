"""The course's 71,314 faces: downloaded once, however often the line drops, and proved to be the right ones.

Why no download library: neither pooch nor torch.hub goes on where a broken download stopped, and on a dormitory's
network 453 MB rarely come in one piece.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from tqdm import tqdm

from data import DataError, DiskFull
from grader.errors import counted
from grader.files import CannotWrite, check_writable, move
from grader.inputs import faces
from grader.inputs.archives import BadArchive, members
from grader.inputs.faces import COURSE_COUNT, COURSE_IDENTITY

try:
    import fcntl
except ImportError:  # on Windows: there nothing keeps two fetches apart
    fcntl = None

URL = "https://huggingface.co/datasets/LeoFeng/MLHW_6/resolve/main/faces.zip"

ATTEMPTS = 6  # in a row without a new byte
TIMEOUT = (10, 60)  # seconds to connect, seconds of silence
CHUNK = 1 << 13  # bytes; what a chunk holds when the line drops is lost


def fetch(
    output: Path, url: str = URL, count: int = COURSE_COUNT, digest: str = COURSE_IDENTITY, pause: float = 1.0
) -> bool:
    """Downloads the zip to `output` and checks that it is the set; False when the set was there already.

    What has come so far stays in `<output>.part` and is gone on with; `pause` seconds, then twice as many, go
    before each new attempt. Raises DataError when offline, out of space, while another fetch writes to the same folder,
    or when what came is not the set, and CannotWrite.
    """
    output = Path(output)
    if output.exists():
        problem = _difference(output, count, digest)
        if problem:
            raise DataError(f"{output}: {problem}; move it away, or name another output")
        return False
    check_writable(output.parent)
    part = output.with_name(output.name + ".part")
    with _alone_in(output.parent):
        _download(url, part, pause)
        problem = _difference(part, count, digest)
        _etag_file(part).unlink(missing_ok=True)
        if problem:
            bad = output.with_name(output.name + ".bad")
            move(part, bad)
            raise DataError(f"{url}: {problem}; kept as {bad}, run the command again to download it afresh")
        move(part, output)
    return True


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Raises DataError while another process is in such a block: two would append to the same file. The folder itself
    is locked, so that nothing is left when one is killed."""
    if not fcntl:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{folder}: another fetch is running there; wait for its end") from None
        except OSError:
            pass  # a file system that has no locks
        yield
    finally:
        os.close(lock)


def identity(archive: Path) -> tuple[int, str]:
    """That of grader.inputs.faces, watched. Raises BadArchive when the zip, or a file in it, is damaged."""
    with tqdm(members(archive), desc="checking", total=COURSE_COUNT, unit=" faces", disable=None) as bar:
        return faces.identity(bar)


def _difference(archive: Path, count: int, digest: str) -> str | None:
    try:
        found, found_digest = identity(archive)
    except BadArchive:
        return "is damaged"
    if found != count:
        return f"holds {counted(found, 'face')}, not the {count:,} of the course"
    return None if found_digest == digest else "holds other pictures than the course's"


def _download(url: str, part: Path, pause: float) -> None:
    """Calls `_resume` until the file is whole; each time more of it is there than ever before buys ATTEMPTS more."""
    failures, best = 0, _size(part)
    while True:
        try:
            return _resume(url, part)
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else None
            if status and status < 500 and status != 429:
                raise DataError(f"{url}: the server answers {status}; name a mirror with --url") from error
            if isinstance(error, requests.exceptions.InvalidProxyURL):
                raise DataError(f"{url}: the proxy is no address; set https_proxy to one, or unset it") from error
            if isinstance(error, ValueError):
                raise DataError(f"{url}: is no address of a server; name one as https://…") from error
            failures = 1 if _size(part) > best else failures + 1
            best = max(best, _size(part))
            if failures == ATTEMPTS:
                reason = f"the server answers {status}" if status else "no connection"
                raise DataError(f"{url}: {reason}; run the command again later, it goes on from {part}") from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise CannotWrite(error.errno, error.strerror, str(part)) from error
            raise DiskFull(
                f"{part}: the disk is full ({error.strerror}); make room and run the command again, it goes on"
            ) from error
        wait = pause * 2 ** (failures - 1)
        tqdm.write(f"connection lost, trying again in {wait:g} s", file=sys.stderr)
        time.sleep(wait)


def _resume(url: str, part: Path) -> None:
    """One request for what is missing of the file. Raises RequestException when the line drops before its end, and
    DataError when less than what we have is the answer."""
    have, etag_file = _size(part), _etag_file(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag_file.exists():
            headers["If-Range"] = etag_file.read_text(encoding="utf-8")  # another file by now: send all of it
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if answer.headers.get("Content-Range", f"bytes */{have}") == f"bytes */{have}":
                return  # nothing is missing; a server may leave out how long the file is
            part.unlink()
            raise requests.ConnectionError("what we have is longer than the file: start over")
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise requests.ConnectionError("the server sends another part than asked for: start over")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        if resumed and (whole := answer.headers["Content-Range"].rpartition("/")[2]).isdigit():
            total = int(whole)  # a proxy may send a part of the rest
        if not resumed and (total or 0) < have:  # a page of the network's, or another file: ours is worth more
            sends = "a file of unknown length" if total is None else f"{total:,} bytes, fewer than are in {part}"
            raise DataError(
                f"{url}: the server sends {sends}; name a mirror with --url, or remove {part} to start over"
            )
        free = shutil.disk_usage(part.parent).free + have - start
        if total and total - start > free:
            needed = f"{(total - start) / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
            raise OSError(errno.ENOSPC, needed)
        if not resumed:
            etag_file.unlink(missing_ok=True)
            etag = answer.headers.get("ETag", "W/")
            if not etag.startswith("W/"):  # a weak one does not promise the same bytes
                etag_file.write_text(etag, encoding="utf-8")
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None)
        with bar, part.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total and _size(part) < total:
        raise requests.ConnectionError("the answer ended early")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")
