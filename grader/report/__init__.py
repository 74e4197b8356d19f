"""A score as people and programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.inputs.runs import Run
    from grader.results import Score


NAMES = ("report.json", "report.html")


def write(score: Score, folder: Path, run: Run | None = None) -> list[Path]:
    """Writes report.json and report.html to a folder, each whole or not at all. What others called so is kept.
    Raises OSError."""
    from grader.files import keep_unless, write_text
    from grader.report import json, page

    paths = [folder / name for name in NAMES]
    for path, kind in zip(paths, (json, page), strict=True):
        keep_unless(path, kind.is_ours)
    for path, text in zip(paths, (json.as_json(score) + "\n", page.as_html(score, run)), strict=True):
        write_text(path, text)
    return paths
