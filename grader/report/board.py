"""The leaderboard's page, and the same as .csv and .json."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from grader.errors import printable
from grader.files import natural, write_text
from grader.report.page import page_of

COLUMNS = ("FD-anime", "AFD", "AFD (lbpcascade-3)", "FID", "KID", "precision", "recall", "density", "coverage")
NEEDS_REVIEW = "needs review"  # in place of a tier: the verdict is withheld

HIDDEN = ("strip", "key", "prints", "measured_with")  # of a result, in the .json


def ranked(results: list[dict]) -> list[dict]:
    """Rows of the table: the nearest to real faces first, then those that need a review, and those that could not be
    graded last."""
    rows = []
    for result in sorted(results, key=lambda result: natural(result["name"])):
        values = {}
        for measure in result.get("measures", []):
            label = f"{measure['measure']} ({measure['by']})"
            values[label if label in COLUMNS else measure["measure"]] = measure["value"]
        verdicts = {verdict["family"]: verdict for verdict in result.get("verdicts", [])}
        offline = verdicts.get("embedded", {})
        withheld = offline.get("withheld", [])
        remarks = list(result["problems"])
        if integrity := result.get("integrity"):
            if integrity["copies"]:
                remarks.append(f"{len(integrity['copies'])} copies of known faces")
            if integrity["collapsed"]:
                remarks.append("collapsed")
            if integrity.get("disguised") and len(integrity["copies"]) < integrity["near"]:
                remarks.append(f"{integrity['near']} pictures are like known faces in disguise")
        elif "integrity" in result:
            remarks.append("copies were not looked for")
        remarks += [f"{count:,} pictures that {other} has too" for other, count in result.get("shares", {}).items()]
        rows.append(
            {
                "name": printable(result["name"]),
                "passed": NEEDS_REVIEW if withheld else offline.get("best") or "",
                **{column: values.get(column) for column in COLUMNS},
                "remarks": [printable(remark) for remark in remarks],
                "notes": [printable(note) for note in result.get("notes", [])],
                "graded": result["status"] == "graded",
                "withheld": bool(withheld),
                "missing": result["status"] == "missing",
                "strip": result.get("strip"),
            }
        )
    rows = sorted(rows, key=lambda row: (not row["graded"], row["withheld"], _distance(row)))
    placed = [_distance(row) for row in rows if row["graded"] and not row["withheld"]]
    return [
        {"rank": placed.index(_distance(row)) + 1 if row["graded"] and not row["withheld"] else None, **row}
        for row in rows
    ]


def _distance(row: dict) -> float:
    """The distance as it is shown: who has the same number has the same rank."""
    return float("inf") if row["FD-anime"] is None else float(f"{row['FD-anime']:.4g}")


def write(results: list[dict], page: Path) -> list[Path]:
    """Writes the page, and the same as .csv and .json beside it, each whole or not at all. Raises OSError."""
    rows = ranked(results)
    shown = _columns(rows)
    table = io.StringIO()
    fields = ["rank", "name", "passed", *shown, "remarks", "notes"]
    writer = csv.DictWriter(table, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({field: plain(row[field]) for field in fields} for row in rows)
    without = [{name: value for name, value in result.items() if name not in HIDDEN} for result in results]
    texts = {
        page: as_page(rows, page.stem),
        page.with_suffix(".csv"): table.getvalue(),
        page.with_suffix(".json"): json.dumps(without, indent=2) + "\n",
    }
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def beside(page: Path) -> list[Path]:
    """The files that `write` makes with a page."""
    return [page.with_suffix(".csv"), page.with_suffix(".json")]


def as_page(rows: list[dict], title: str) -> str:
    """The table of `ranked` as one page."""
    return page_of("leaderboard.html.j2", {"rows": rows, "columns": _columns(rows), "title": title})


def _columns(rows: list[dict]) -> list[str]:
    return [column for column in COLUMNS if any(row[column] is not None for row in rows)]


def plain(value):
    """A value that no spreadsheet takes for a formula: names are chosen by strangers."""
    value = "; ".join(value) if isinstance(value, list) else value
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in tuple("=+-@") else value
