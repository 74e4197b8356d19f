"""Grades as CSV files: for spreadsheets, for Moodle's import, and for Canvas' gradebook, on which NTU COOL runs.

UTF-8 with the mark by which spreadsheets know it. No cell is a formula: names are chosen by strangers.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from grader.files import BOM, write_text
from grader.report.board import plain

SHEET = ("id", "name", "tier", "late_days", "grade", "status", "uploaded", "remarks", "notes")


def write(rows: list[dict], page: Path, assignment: str = "GAN") -> list[Path]:
    """Writes `page`.grades.csv, .moodle.csv and .canvas.csv from rows with the fields of SHEET, `number` and
    `platform`. A grade of None is an empty cell, which the platforms leave as it is. Raises OSError."""
    rows = [row | {"grade": "" if row["grade"] is None else f"{row['grade']:g}"} for row in rows]
    sheet = [SHEET, *([row[column] for column in SHEET] for row in rows)]
    moodle = [("Identifier", "ID number", "Full name", "Grade", "Feedback comments")]
    canvas = [("Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment)]
    for row in rows:
        moodle.append([_number(row, "moodle", "Participant "), row["id"], row["name"], row["grade"], row["tier"]])
        canvas.append([row["name"], _number(row, "canvas"), row["id"], "", "", row["grade"]])
    for path, (head, *lines) in zip(beside(page), (sheet, moodle, canvas), strict=True):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(head)
        writer.writerows([plain(cell) for cell in line] for line in lines)
        write_text(path, BOM + text.getvalue())
    return beside(page)


def beside(page: Path) -> list[Path]:
    """The files that `write` makes for a page, in its order."""
    return [page.with_name(f"{page.stem}.{kind}.csv") for kind in ("grades", "moodle", "canvas")]


def _number(row: dict, platform: str, before: str = "") -> str:
    """The platform's own number of the student, where the upload came from it."""
    return f"{before}{row['number']}" if row["platform"] == platform else ""
