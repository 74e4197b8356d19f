"""Files that are whole at any moment, and tables with a row per step."""

import csv
import errno
import os
import shutil
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

from kit.device import rank

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, or for this user, or for this file
FULL_SAYS_TORCH = ("unexpected pos", "failed writing")  # torch.save tells of it by a RuntimeError, as of all else
OF_ONE_FILE = (  # what says nothing of the disk: a link to nowhere, a file of somebody else, an archive that is damaged
    *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EINVAL),
    None,
)


def run_folder(run, colab="/content", drive="/content/drive/MyDrive"):
    """Where a run is kept. Colab forgets all files with the session: there it is on your Drive, if that is mounted.
    If it is not, a line tells how to mount it. Raises SystemExit where `run` names no folder of its own."""
    if Path(run).name in ("", ".."):  # its zip lies beside it, under its name
        raise SystemExit(f"`run` is {run!r}: name a folder of its own")
    if Path(run).is_absolute() or not Path(colab).is_dir():
        return run
    with failed_disk_reported(drive):
        mounted = Path(drive).is_dir()
    if mounted:
        return str(Path(drive, run))
    print(
        f"Colab forgets {run} with the session. To keep it on your Drive, run this in a new cell, then Run all again:\n"
        "from google.colab import drive; drive.mount('/content/drive')"
    )
    return run


@contextmanager
def failed_write_reported(path):
    """One line for a file or folder that cannot be written: the disk is full, or it is open elsewhere, or protected."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        reason = getattr(error, "strerror", None) or said.rpartition("strerror: ")[2].rstrip(".")
        remedy, free = "if another program has it open, close it there; else set another `run` or `outputs`", 0
        if getattr(error, "errno", None) in FULL or any(words in said for words in FULL_SAYS_TORCH):
            with suppress(OSError):  # of a Drive that is gone
                free = shutil.disk_usage(path.parent).free / 1e6
            remedy = f"make room ({free:,.0f} MB are free)"
        raise SystemExit(
            f"{path} cannot be written: {reason}. Earlier checkpoints are whole: {remedy}, and run the notebook again."
        ) from error


@contextmanager
def failed_disk_reported(path):
    """One line where a Drive or a disk fails: no file is to blame, and all that comes after would be missing too."""
    try:
        yield
    except OSError as error:
        # Windows has EINVAL for all that it has no other number for: a file in a cloud that is away, a failed disk
        if error.errno in OF_ONE_FILE and (error.errno, os.name) != (errno.EINVAL, "nt"):
            raise
        raise SystemExit(
            f"{path} cannot be read: {error.strerror}. Mount the Drive again, or check the disk, and run the notebook "
            "again."
        ) from error


def open_zip(path):
    """A ZipFile. zipfile calls a file broken whose end a failing disk does not give: that is told apart here."""
    with failed_disk_reported(path):
        try:
            return zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            with open(path, "rb") as file:
                file.seek(max(0, path.stat().st_size - 2**17))  # more than zipfile looks at
                file.read()
            raise


def replace_file(path, target, patience=5.0):
    """Renames. Windows refuses that while another program has one of the two open: what only looks, such as a virus
    scanner, is done within seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            return os.replace(path, target)
        except PermissionError:
            if os.name != "nt" or time.monotonic() >= until:
                raise
        time.sleep(0.1)


def set_aside(path):
    """Renames a file that may be somebody's to gan.before.zip, or gan.before2.zip, and returns the new path."""
    kept, number = path.with_name(f"{path.stem}.before{path.suffix}"), 2
    while kept.exists():
        kept, number = path.with_name(f"{path.stem}.before{number}{path.suffix}"), number + 1
    with failed_write_reported(path):
        replace_file(path, kept)
    return kept


def atomic_write(path, write, patience=5.0):
    """Calls write(temporary path), then renames: a session that dies in between, or a full disk, leaves the old file
    whole. Of several processes only the first one writes."""
    if rank():
        return
    unfinished = path.with_name(path.name + ".part")
    with failed_write_reported(path):
        try:
            write(unfinished)
            replace_file(unfinished, path, patience)
        finally:
            unfinished.unlink(missing_ok=True)


def rows_of(path):
    """The rows of a CSV file, whatever has become of it."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file, suppress(csv.Error):
        yield from csv.reader(line.replace("\0", "") for line in file)  # which a computer that went down may leave


def has_all_cells(row, columns):
    """Whether a row has a step and all the columns. The last one may be torn, where a session died."""
    if len(row) != 1 + len(columns) or not row[0].isdecimal():
        return False
    return all(name == "name" or is_number(cell) for name, cell in zip(columns, row[1:], strict=True))


def is_number(text):
    with suppress(ValueError):
        return float(text) is not None
    return False


class StepTable:
    """A CSV file whose first column is the step. It keeps the rows of an earlier session up to step `start`, and loses
    the others with its first new row: another session may still train, and this one only look on. A file of another
    form, as Excel saves one with semicolons, is kept beside. While another program has the file open, as Excel on
    Windows, new rows wait: they are worth no training."""

    def __init__(self, path, columns, start):
        self.path, self.is_foreign, kept = path, False, []
        if path.exists():
            rows = rows_of(path)
            self.is_foreign = next(rows, []) not in ([], ["step", *columns])
            if start:
                kept = [row for row in rows if has_all_cells(row, columns) and int(row[0]) <= start]
        self.last = kept[-1] if kept else None
        self.kept, self.waiting, self.refused = [["step", *columns], *kept], [], False
        if not path.exists():
            self.append([])

    def append(self, rows):
        if rank():
            return
        self.waiting += rows
        try:
            self.write_waiting()
        except SystemExit as error:
            if os.name != "nt" or not isinstance(error.__cause__, PermissionError):
                raise
            if not self.refused:
                print(f"{self.path} is open in another program: close it there, its new rows wait until then")
            self.refused = True

    def close(self):
        """Writes the rows that still wait, where that cannot be to a file beside."""
        if not self.refused:
            return
        try:
            self.write_waiting()
        except SystemExit:
            rest = self.path.with_suffix(".rest.csv")
            self.write(self.kept + self.waiting, rest, "w")
            print(f"{self.path} is still open in another program: its last rows are in {rest}")

    def write_waiting(self):
        if self.is_foreign:
            print(f"{self.path} was saved by another program: it is now {set_aside(self.path)}")
            self.is_foreign = False
        if self.kept:  # without patience, as the next call tries again
            atomic_write(self.path, lambda path: self.write(self.kept, path, "w"), patience=0)
            self.kept = []
        self.write(self.waiting, self.path, "a")
        self.waiting, self.refused = [], False

    def write(self, rows, path, mode):
        with failed_write_reported(self.path), open(path, mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
