"""The leaderboard's page, and the same as .csv and .json."""

from __future__ import annotations

import json
from pathlib import Path

from grader.errors import counted, printable
from grader.files import BOM, csv_text, keep_others, keep_unless, natural, write_text
from grader.metrics.afd import CASCADE_SCALE
from grader.report.json import is_ours as is_json
from grader.report.page import is_ours as is_page
from grader.report.page import page_of
from grader.report.words import read, written
from grader.results import DISTANCES, GRADED, MISSING, UNSURE
from grader.verdict import in_disguise

NEEDS_REVIEW = "needs review"  # in place of a tier: the verdict is withheld

HIDDEN = ("strip", "key", "prints", "measured_with", "drawn_by", "page", "several", "deeper")  # in the .json


def ranked(results: list[dict]) -> list[dict]:
    """Rows of the table: the nearest to real faces first, then those that need a review, and those that could not be
    graded last."""
    columns, rows = _columns(results), []
    for result in sorted(results, key=lambda result: natural(result["name"])):
        measures = {_column(measure): measure for measure in result.get("measures", [])}
        values = {column: measures[column]["value"] if column in measures else None for column in columns}
        texts = {column: _written(measures[column]) if column in measures else written(None, "") for column in columns}
        verdicts = {verdict["family"]: verdict for verdict in result.get("verdicts", [])}
        offline = verdicts.get("embedded", {})
        withheld = offline.get("withheld", [])
        graded = result["status"] == GRADED
        judged = offline.get("judged", False)
        rows.append(
            {
                "of": result["name"],  # two names may be shown alike
                "name": printable(result["name"]),
                "passed": NEEDS_REVIEW if withheld else offline.get("best") or "",
                "values": values,
                "texts": texts,
                "against": [one["reference"] for one in result.get("measures", []) if one.get("reference")],
                "remarks": [printable(remark) for remark in _remarks(result, judged)],
                "notes": [printable(note) for note in result.get("notes", [])],
                "graded": graded,
                "judged": judged,
                "withheld": bool(withheld),
                "missing": result["status"] == MISSING,
                "submitted": result["status"] not in (MISSING, UNSURE),
                "strip": result.get("strip"),
            }
        )
    rows = sorted(rows, key=lambda row: (not row["graded"], row["withheld"], _distance(row)))
    placed = [_distance(row) for row in rows if _placed(row)]
    return [{"rank": placed.index(_distance(row)) + 1 if _placed(row) else None, **row} for row in rows]


def _remarks(result: dict, judged: bool) -> list[str]:
    remarks = list(result["problems"])
    if integrity := result.get("integrity"):
        if integrity["copies"]:
            remarks.append(counted(len(integrity["copies"]), "copy of a known face", "copies of known faces"))
        if integrity["collapsed"]:
            remarks.append("collapsed")
        if integrity.get("disguised") and len(integrity["copies"]) < integrity["near"]:
            remarks.append(in_disguise(integrity["near"]))
        if integrity.get("optimised"):
            remarks.append("optimised against the grader?")
        elif integrity.get("signs"):
            remarks.append(f"one sign of optimised or altered pictures: {integrity['signs'][0]}")
        if integrity.get("released"):
            remarks.append("pictures of the generator that the homework kit ships?")
        if integrity.get("varied"):
            remarks.append("as varied as real faces: cut out of real faces?")
    elif "integrity" in result:
        remarks.append("copies were not looked for")
    if result["status"] == GRADED and not judged:
        remarks.append("not judged: other faces, another detector, or a measure is missing")
    remarks += result.get("not_looked_for", [])
    return remarks + [
        f"{counted(count, 'picture')} that {other} has too" for other, count in result.get("shares", {}).items()
    ]


def _placed(row: dict) -> bool:
    """Whether a row has a rank: the --metrics may leave the distance out."""
    return row["graded"] and not row["withheld"] and _distance(row) < float("inf")


def _column(measure: dict) -> str:
    """The measure's name; of the two detection ratios the one by lbpcascade says so."""
    return f"{measure['measure']} ({CASCADE_SCALE})" if measure["by"] == CASCADE_SCALE else measure["measure"]


def _columns(results: list[dict]) -> list[str]:
    """The columns of what any submission has a value for: those that verdicts rest on first, then as they come."""
    judged = {}
    for result in results:
        for measure in result.get("measures", []):
            if measure["value"] is not None:
                column = _column(measure)
                judged[column] = judged.get(column, False) or bool(measure.get("family"))
    return sorted(judged, key=lambda column: not judged[column])


def _distance(row: dict) -> float:
    """The distance to rank by, as it is shown: who has the same number has the same rank."""
    column = next((column for column in row["values"] if column in DISTANCES), None)
    return float("inf") if row["values"].get(column) is None else read(row["texts"][column])


def _written(measure: dict) -> str:
    return written(measure["value"], measure["measure"], measure.get("thresholds", {}).values())


def write(results: list[dict], page: Path) -> list[Path]:
    """Writes the page, and the same as .csv and .json beside it, each whole or not at all. What others called so is
    kept. Raises OSError."""
    rows = ranked(results)
    head = ["rank", "name", "passed", *(rows[0]["values"] if rows else ()), "remarks", "notes"]
    lines = [
        [row["rank"], row["name"], row["passed"], *row["values"].values(), row["remarks"], row["notes"]] for row in rows
    ]
    table = csv_text([head, *(map(plain, line) for line in lines)])
    without = [{name: value for name, value in result.items() if name not in HIDDEN} for result in results]
    paths = [page, *beside(page)]
    keep_unless(page, is_page)
    keep_others(paths[1], csv_text([head[:3]]).strip())
    keep_unless(paths[2], is_json)
    texts = as_page(rows, page.stem), BOM + table, json.dumps(without, indent=2) + "\n"
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return paths


def beside(page: Path) -> list[Path]:
    """The files that `write` makes with a page."""
    return [page.with_suffix(".csv"), page.with_suffix(".json")]


def as_page(rows: list[dict], title: str) -> str:
    """The table of `ranked` as one page."""
    columns = list(rows[0]["values"]) if rows else []
    values = {"rows": rows, "columns": columns, "lower": [column for column in columns if column in DISTANCES]}
    against = dict.fromkeys(faces for row in rows for faces in row["against"])  # each once
    return page_of("leaderboard.html.j2", values | {"title": title, "against": list(against)})


def plain(value):
    """A value that no spreadsheet takes for a formula: names are chosen by strangers."""
    value = "; ".join(value) if isinstance(value, list) else value
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in tuple("=+-@＝＋－＠") else value
