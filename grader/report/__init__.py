"""A score as people and programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.inputs.runs import Run
    from grader.results import Score


NAMES = ("report.json", "report.html")


def write(score: Score, folder: Path, run: Run | None = None) -> list[Path]:
    """Writes report.json and report.html to a folder, each whole or not at all. Raises OSError."""
    from grader.files import write_text
    from grader.report.json import as_json
    from grader.report.page import as_html

    paths = [folder / name for name in NAMES]
    for path, text in zip(paths, (as_json(score) + "\n", as_html(score, run)), strict=True):
        write_text(path, text)
    return paths
