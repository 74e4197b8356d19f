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


def ranked(results: list[dict]) -> list[dict]:
    """Rows of the table: the nearest to real faces first, then those that need a review, and those that could not be
    graded last."""
    rows, first = [], {}  # first: digest of the pictures -> who handed them in
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
        if (digest := result.get("digest")) and (owner := first.setdefault(digest, result["name"])) != result["name"]:
            remarks.append(f"the same pictures as {owner}")
        rows.append(
            {
                "name": printable(result["name"]),
                "passed": NEEDS_REVIEW if withheld else offline.get("best") or "",
                **{column: values.get(column) for column in COLUMNS},
                "remarks": [printable(remark) for remark in remarks],
                "graded": result["status"] == "graded",
                "withheld": bool(withheld),
                "strip": result.get("strip"),
            }
        )
    last = float("inf")
    return sorted(
        rows,
        key=lambda row: (not row["graded"], row["withheld"], last if row["FD-anime"] is None else row["FD-anime"]),
    )


def write(results: list[dict], page: Path) -> list[Path]:
    """Writes the page, and the same as .csv and .json beside it, each whole or not at all. Raises OSError."""
    rows = ranked(results)
    shown = [column for column in COLUMNS if any(row[column] is not None for row in rows)]
    table = io.StringIO()
    fields = ["name", "passed", *shown, "remarks"]
    writer = csv.DictWriter(table, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({field: _plain(row[field]) for field in fields} for row in rows)
    without = [
        {name: value for name, value in result.items() if name not in ("strip", "key", "digest")} for result in results
    ]
    texts = {
        page: page_of("leaderboard.html.j2", {"rows": rows, "columns": shown, "title": page.stem}),
        page.with_suffix(".csv"): table.getvalue(),
        page.with_suffix(".json"): json.dumps(without, indent=2) + "\n",
    }
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def _plain(value):
    """A value that no spreadsheet takes for a formula: names are chosen by strangers."""
    value = "; ".join(value) if isinstance(value, list) else value
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
