"""Grades as CSV files: for spreadsheets, for Moodle's import, and for Canvas' gradebook, on which NTU COOL runs.

UTF-8 with the mark by which spreadsheets know it. No cell is a formula: names are chosen by strangers.
"""

from __future__ import annotations

from pathlib import Path

from grader.errors import counted
from grader.files import BOM, csv_text, write_text
from grader.report.board import plain

SHEET = ("id", "name", "tier", "late_days", "grade", "status", "uploaded", "remarks", "notes")
ASSIGNMENT = "GAN"  # the name of its column in Canvas


def write(rows: list[dict], page: Path) -> list[Path]:
    """Writes `page`.grades.csv, .moodle.csv and .canvas.csv from rows with the fields of SHEET, `problems`, `number`
    and `platform`. Raises OSError.

    A grade of None is an empty cell in the first, and no line in the others: on the platforms an empty cell erases.
    Nor has a student a line whom they could not find: Moodle gives the grade of a line without a name to the student
    of the line before.
    """
    rows = [row | {"grade": "" if row["grade"] is None else f"{row['grade']:.10g}"} for row in rows]
    sheet = [SHEET, *([row[column] for column in SHEET] for row in rows)]
    moodle = [("Identifier", "ID number", "Full name", "Grade", "Last modified (grade)", "Feedback comments")]
    canvas = [("Student", "ID", "SIS User ID", "SIS Login ID", "Section", ASSIGNMENT)]
    roster = any(row["id"] for row in rows)  # else Moodle finds its students by its own numbers alone
    for row in rows:
        number, own = _number(row, "moodle", "Participant "), _number(row, "canvas")
        if row["grade"] and (row["id"] if roster else number):
            moodle.append([number, row["id"], row["name"], row["grade"], "", _feedback(row)])
        if row["grade"] and (row["id"] or own):
            canvas.append([row["name"], own, row["id"], "", "", row["grade"]])
    for path, (head, *lines) in zip(beside(page), (sheet, moodle, canvas), strict=True):
        write_text(path, BOM + csv_text([head, *(map(plain, line) for line in lines)], ending="\r\n"))
    return beside(page)


def beside(page: Path) -> list[Path]:
    """The files that `write` makes for a page, in its order."""
    return [page.with_name(f"{page.stem}.{kind}.csv") for kind in ("grades", "moodle", "canvas")]


def _feedback(row: dict) -> str:
    """What the student reads beside the grade: none of the remarks, in which others are named."""
    late = [counted(row["late_days"], "late day")] if row["late_days"] else []
    return "; ".join(filter(None, (row["tier"], *late, *row["problems"])))


def _number(row: dict, platform: str, before: str = "") -> str:
    """The platform's own number of the student, where the upload came from it."""
    return f"{before}{row['number']}" if row["platform"] == platform else ""
