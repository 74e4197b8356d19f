"""A score as people and programs read it: a table on the terminal, report.json, and report.html with pictures."""

from __future__ import annotations

import base64
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from grader.embedded.network import FACE_THRESHOLD, FEATURES
from grader.score import Score
from grader.verdict import LOWER_IS_BETTER, Measure, load_baselines, on_scale

SCHEMA = 1  # of report.json: raised whenever a field changes its name or its meaning
GRID = 10  # pictures a side in the sample grid
MARK = (214, 58, 48)  # the frame of a picture in which no face is found


def as_json(score: Score) -> str:
    """The score with its scales, as a JSON object; `schema` counts up when a field changes."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "submission": str(score.submission.source),
            "pictures": len(score.submission.pictures),
            "notes": score.submission.notes,
            "reference": score.reference,
            "measures": [asdict(measure) for measure in score.measures],
            "verdicts": [asdict(verdict) | {"best": verdict.best} for verdict in score.verdicts],
        },
        indent=2,
    )


def as_table(score: Score):
    """The score as a rich table: a row a measure, a column a tier."""
    from rich import box
    from rich.table import Table

    baselines = load_baselines()
    title = f"{score.submission.source.name}: {len(score.submission.pictures):,} pictures"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measure")
    table.add_column("against")
    table.add_column("score", justify="right")
    for tier in baselines["tiers"]:
        table.add_column(tier, justify="right")
    for measure in score.measures:
        table.add_row(
            name(measure),
            measure.reference or "",
            number(measure, measure.value),
            *(_cell(bar(measure, tier), measure.passed.get(tier)) for tier in baselines["tiers"]),
        )
    table.add_section()
    for verdict in score.verdicts:
        table.add_row(
            baselines["families"][verdict.family], "", "", *(_cell("", passed) for passed in verdict.passed.values())
        )
    return table


def sentences(score: Score) -> list[str]:
    """The verdict on each scale in words."""
    families = load_baselines()["families"]
    lines = []
    for verdict in score.verdicts:
        scale = families[verdict.family] + " (provisional)" * verdict.provisional
        if set(verdict.passed.values()) == {None}:
            lines.append(f"No verdict on the {scale}: it takes a distance and a ratio, each with its thresholds.")
        else:
            lines.append(f"{verdict.best or 'No'} baseline passed on the {scale}.")
    return lines


def _cell(text: str, passed: bool | None) -> str:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[passed]
    return f"{text} {mark}".strip()


def name(measure: Measure) -> str:
    """What was measured, and by what: "FID (inception)". Which weights exactly stands in report.json."""
    return f"{measure.measure} ({'embedded' if measure.by == FEATURES else measure.by})"


def number(measure: Measure, value: float | None) -> str:
    """A distance to four significant digits, a ratio to three decimals, "–" for what could not be had."""
    if value is None:
        return "–"
    return f"{value:.4g}" if LOWER_IS_BETTER[measure.measure] else f"{value:.3f}"


def bar(measure: Measure, tier: str) -> str:
    """The threshold of a tier with its direction: "≤ 190", or "" where there is none."""
    if tier not in measure.thresholds:
        return ""
    return f"{'≤' if LOWER_IS_BETTER[measure.measure] else '≥'} {measure.thresholds[tier]:g}"


def as_html(score: Score) -> str:
    """One page with everything in it, pictures included, that needs no network and no script."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("grader", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"name": name, "number": number, "bar": bar}
    baselines = load_baselines()
    return environment.get_template("report.html.j2").render(
        score=score,
        tiers=baselines["tiers"],
        sentences=sentences(score),
        sources=_sources(score, baselines),
        grid=_png(sample_grid(score.submission.pictures, score.faces)),
        shown=min(GRID * GRID, len(score.faces)),
        unseen=int((score.faces < FACE_THRESHOLD).sum()),
    )


def sample_grid(pictures: np.ndarray, faces: np.ndarray, gap: int = 3) -> np.ndarray:
    """Up to 100 pictures spread evenly over the submission, uint8 [H, W, 3]; those without a face framed in red."""
    chosen = np.linspace(0, len(pictures) - 1, min(GRID * GRID, len(pictures))).round().astype(int)
    size, rows = pictures.shape[1], -(-len(chosen) // GRID)
    cell = size + 2 * gap
    grid = np.full((rows * cell, GRID * cell, 3), 255, np.uint8)
    for place, index in enumerate(chosen):
        y, x = cell * (place // GRID), cell * (place % GRID)
        if faces[index] < FACE_THRESHOLD:
            grid[y : y + cell, x : x + cell] = MARK
        grid[y + gap : y + gap + size, x + gap : x + gap + size] = pictures[index]
    return grid


def write(score: Score, folder: Path) -> list[Path]:
    """Writes report.json and report.html to a folder, each whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / "report.json": as_json(score) + "\n", folder / "report.html": as_html(score)}
    for path, text in texts.items():
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    return list(texts)


def _sources(score: Score, baselines: dict) -> list[tuple[str, str]]:
    """(scale, where its thresholds are from) for the scales that were used."""
    scales = [measure for measure in score.measures if measure.thresholds]
    return [
        (name(measure), scale["source"])
        for measure in scales
        for scale in baselines["scale"]
        if on_scale(measure, scale)
    ]


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
