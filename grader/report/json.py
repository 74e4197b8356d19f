"""report.json: its fields are described in docs/report.json.md."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import BinaryIO

from grader.results import ByLabel, Integrity, Score

SCHEMA = 5  # raised whenever a field changes its name or its meaning


SCORED, ROW = {"submission", "measures", "verdicts"}, {"name", "status", "problems"}  # fields since the first version


def is_ours(file: BinaryIO) -> bool:
    """Whether a file is a report.json, or a leaderboard.json, as any version wrote it."""
    try:
        read = json.load(file)
    except (ValueError, RecursionError):
        return False
    rows = read if isinstance(read, list) else [read]
    return all(isinstance(row, dict) and (row.keys() >= SCORED or row.keys() >= ROW) for row in rows)


def as_json(score: Score) -> str:
    """`as_dict` as text."""
    return json.dumps(as_dict(score), indent=2)


def as_dict(score: Score) -> dict:
    """The score with its scales, ready for JSON; `schema` counts up when a field changes."""
    return {
        "schema": SCHEMA,
        "submission": str(score.submission.source),
        "pictures": len(score.submission.pictures),
        "notes": score.submission.notes,
        "reference": score.reference,
        "device": score.device,
        "measures": [asdict(measure) for measure in score.measures],
        "verdicts": [asdict(one) | {"best": one.best, "judged": one.judged} for one in score.verdicts],
        "integrity": _integrity(score.integrity, score.submission.names) if score.integrity else None,
        "not_looked_for": score.not_looked_for,
        "by_label": _by_label(score.by_label) if score.by_label else None,
    }


def _by_label(found: ByLabel) -> dict:
    return {
        "faces": found.faces,
        "by": found.by,
        "overall": asdict(found.overall),
        "labels": [asdict(one) for one in found.labels],
        "names": found.names,
        "confusion": found.confusion.tolist(),
    }


def _integrity(found: Integrity, names: list[str]) -> dict:
    return {
        "groups": [
            {"pictures": [names[i] for i in group.members], "distance": group.distance} for group in found.groups
        ],
        "repeated": found.repeated,
        "collapsed": found.collapsed,
        "near": found.near,
        "disguised": found.disguised,
        "signs": found.signs,
        "optimised": found.optimised,
        "released": found.released,
        "varied": found.varied,
        "copies": [
            {
                "picture": names[copy.index],
                "known": found.names[copy.known],
                "distance": copy.distance,
                "mirrored": copy.mirrored,
            }
            for copy in found.copies
        ],
    }
