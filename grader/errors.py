"""What a user can mend, said in lines that name the file, the reason and the remedy, and that any terminal can show."""

from __future__ import annotations

import os
import shlex
import subprocess
import unicodedata
from pathlib import Path


class GraderError(Exception):
    """What a user can mend; `problems` are one line each."""

    exit_code = 2

    def __init__(self, problems: str | list[str]):
        self.problems = [printable(problem) for problem in ([problems] if isinstance(problems, str) else problems)]
        super().__init__("; ".join(self.problems))


def printable(text: str) -> str:
    """The text as one line that any terminal and any encoding takes: what is no visible character is written out.
    Any space is a plain one: names in Chinese have wide ones."""
    if text.isprintable():
        return text
    text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sentence(text: str) -> str:
    """The text with an end, so that another sentence can follow."""
    return text if text.endswith((".", "?")) else f"{text}."


def counted(number: int, one: str, several: str = "") -> str:
    """A number with what it counts, `one` or `several`, by default with an s: "1 picture", "2,000 pictures"."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def first_line(error: Exception) -> str:
    """What an error of others says, as one line of a length to read: some quote whatever the file holds."""
    line = printable(str(error).partition("\n")[0].rstrip(": ")) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]}…"


def shortened(lines: list[str], most: int = 10) -> list[str]:
    """The first few lines, and how many more there are."""
    return lines[:most] + ([f"and {counted(len(lines) - most, 'more such file')}"] if len(lines) > most else [])


def as_argument(path: Path) -> str:
    """A path as this system's shell takes it in a command."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))
