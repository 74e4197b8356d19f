"""A score as people and programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.inputs.runs import Run
    from grader.results import Score


def write(score: Score, folder: Path, run: Run | None = None) -> list[Path]:
    """Writes report.json and report.html to a folder, each whole or not at all. Raises OSError."""
    from grader.files import write_text
    from grader.report.json import as_json
    from grader.report.page import as_html

    texts = {folder / "report.json": as_json(score) + "\n", folder / "report.html": as_html(score, run)}
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
