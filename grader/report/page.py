"""A score as people and programs read it: a table on the terminal, report.json, and report.html with pictures."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from grader.errors import printable, whole
from grader.metrics import afd as detector
from grader.metrics.by_label import ByClass, ClassScore
from grader.scoring import Score
from grader.verdict import Measure, load_baselines, on_scale

if TYPE_CHECKING:
    from grader.gradient_norms import LayerNorms
    from grader.history import Checkpoint

SCHEMA = 2  # of report.json: raised whenever a field changes its name or its meaning
GRID = 10  # pictures a side in the sample grid
SHOWN = 20  # pairs and groups on the page; report.json has them all
SIDE_BY_SIDE = 8  # pictures of a group
GOOD = {  # what is good of each measure, in a few words
    "FD-anime": "lower; real faces stand in the next column",
    "FID": "lower; the number that papers report",
    "KID": "lower, 0 for real faces; free of FID’s bias by the number of pictures",
    "AFD": "higher: share in which a face is found",
    "precision": "near 1: pictures look like real ones",
    "recall": "near 1: all kinds of real ones are there",
    "density": "1 for real faces: pictures lie where real ones are dense",
    "coverage": "near 1: how many real faces have a picture near them",
}
CLASS_COLUMNS = ("class", "asked", "found", "real", "mistaken for", "FD-anime", "real", "KID")
MARK = (214, 58, 48)  # the frame of a picture that is not as it should be


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
        "measures": [asdict(measure) for measure in score.measures],
        "verdicts": [asdict(verdict) | {"best": verdict.best} for verdict in score.verdicts],
        "integrity": _findings(score),
        "by_class": _by_class(score.by_class) if score.by_class else None,
    }


def _by_class(found: ByClass) -> dict:
    return {
        "faces": found.faces,
        "overall": asdict(found.overall),
        "classes": [asdict(one) for one in found.classes],
        "names": found.names,
        "confusion": found.confusion.tolist(),
    }


def _findings(score: Score) -> dict | None:
    found = score.findings
    if found is None:
        return None
    names = score.submission.names
    return {
        "groups": [
            {"pictures": [names[i] for i in group.members], "distance": group.distance} for group in found.groups
        ],
        "repeated": found.repeated,
        "collapsed": found.collapsed,
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


def as_tables(score: Score) -> list:
    """The score as rich tables: the measures that have thresholds, a column a tier, and the others."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    baselines = load_baselines()
    style = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    title = f"{score.submission.source.name}: {len(score.submission.pictures):,} pictures against {score.reference}"
    table = Table(title=escape(printable(title)), **style)
    table.add_column("measure", no_wrap=True)
    for heading in ("score", "real faces", *baselines["tiers"]):
        table.add_column(heading, justify="right", no_wrap=True)
    others = Table("", **style)
    others.add_column("score", justify="right", no_wrap=True)
    others.add_column("good", overflow="fold")
    for measure in score.measures:
        if measure.measure in ("FD-anime", "FID", "AFD"):
            floor = number(measure, measure.floor) if measure.floor is not None else ""
            tiers = (_cell(bar(measure, tier), measure.passed.get(tier)) for tier in baselines["tiers"])
            table.add_row(name(measure), number(measure, measure.value), floor, *tiers)
        else:
            others.add_row(name(measure), number(measure, measure.value) + spread(measure), GOOD[measure.measure])
    table.add_section()
    for verdict in score.verdicts:
        passed = (_cell("", passed) for passed in verdict.passed.values())
        table.add_row(baselines["families"][verdict.family], "", "", *passed)
    tables = [table, others] if others.row_count else [table]
    return [*tables, _class_table(score.by_class, style)] if score.by_class else tables


def _class_table(found: ByClass, style: dict):
    """What was found by class as a rich table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"by class, against {found.faces}"), caption=class_sentence(found), caption_justify="left", **style
    )
    for heading in CLASS_COLUMNS:
        table.add_column(heading, justify="left" if heading == CLASS_COLUMNS[0] else "right", no_wrap=True)
    for row in class_rows(found):
        table.add_row(*map(escape, row), end_section=row[0] == found.classes[-1].name)
    return table


def class_sentence(found: ByClass) -> str:
    """How many pictures show what they were asked to, beside the best and the worst to be expected."""
    overall = found.overall
    return (
        f"{overall.found:.1%} of the pictures show the class that they were asked for; of unseen real faces "
        f"{overall.ceiling:.1%} do, of pictures at random {1 / len(found.names):.1%}."
    )


def class_rows(found: ByClass) -> list[tuple[str, ...]]:
    """The cells of CLASS_COLUMNS: a row a class, and one for all."""
    rows = [
        _class_row(one, _mistake(found, one, counts))
        for one, counts in zip(found.classes, found.confusion, strict=True)
    ]
    return [*rows, _class_row(found.overall, "")]


def _class_row(one: ClassScore, mistake: str) -> tuple[str, ...]:
    shares = (f"{share:.3f}" for share in (one.found, one.ceiling))
    distances = ("–" if value is None else f"{value:.1f}" for value in (one.distance, one.floor))
    kid = "–" if one.kid is None else f"{one.kid:.2f} ± {one.spread:.2f}"
    return one.name, f"{one.asked:,}", *shares, mistake, *distances, kid


def _mistake(found: ByClass, one: ClassScore, counts: np.ndarray) -> str:
    """The other class that pictures of one are found to be of most, and how often: "blue 12%"; "" if there is none."""
    wrong = np.where(np.array(found.names) == one.name, 0, counts)
    return f"{found.names[wrong.argmax()]} {wrong.max() / one.asked:.0%}" if wrong.any() else ""


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


def warnings(score: Score) -> list[str]:
    """What is not as it should be with the pictures themselves, in words."""
    found, lines = score.findings, []
    if found is None:
        return lines
    if found.copies:
        some = ", ".join(score.submission.names[copy.index] for copy in found.copies[:3])
        lines.append(
            f"{len(found.copies):,} pictures are copies of known real faces ({some}{' …' * (len(found.copies) > 3)})."
        )
    if found.collapsed:
        lines.append(f"Collapsed: {found.repeated:,} of {len(score.faces):,} pictures are near repeats of another one.")
    return lines


def _cell(text: str, passed: bool | None) -> str:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[passed]
    return f"{text} {mark}".strip()


def name(measure: Measure) -> str:
    """What was measured, and by what: "FID (inception)". Which weights exactly stands in report.json."""
    return f"{measure.measure} ({'embedded' if measure.by.startswith('embedded-') else measure.by})"


def number(measure: Measure, value: float | None) -> str:
    """A distance to four significant digits, a ratio to three decimals, "–" for what could not be had."""
    if value is None:
        return "–"
    return f"{value:.4g}" if measure.lower_is_better else f"{value:.3f}"


def spread(measure: Measure) -> str:
    return "" if measure.spread is None else f" ± {measure.spread:.2g}"


def bar(measure: Measure, tier: str) -> str:
    """The threshold of a tier with its direction: "≤ 190", or "" where there is none."""
    if tier not in measure.thresholds:
        return ""
    return f"{'≤' if measure.lower_is_better else '≥'} {measure.thresholds[tier]:g}"


def as_html(score: Score, run: Path | None = None) -> str:
    """One page with everything in it, pictures included, that needs no network and no script.

    `run` is a folder of a training, whose gradient norms and history are drawn where it has them.
    """
    found = score.findings
    return page_of(
        "report.html.j2",
        score=score,
        sources=_sources(score, load_baselines()),
        grid=_png(sample_grid(score.submission.pictures, score.faces < detector.THRESHOLD)),
        shown=min(GRID * GRID, len(score.faces)),
        unseen=int((score.faces < detector.THRESHOLD).sum()),
        copies=[_pair(score, copy) for copy in found.copies[:SHOWN]] if found else [],
        closest=[_pair(score, copy) for copy in found.closest] if found and found.pictures else [],
        groups=[_group(score, group) for group in found.groups[:SHOWN]] if found else [],
        limit=found.limit if found else None,
        strips=_strips(score) if score.by_class else [],
        plots=_plots(run) if run else [],
    )


def as_fragment(score: Score) -> str:
    """The verdict and the tables alone, to stand inside another page: what Jupyter shows of a score."""
    tables = ["table.html.j2", "by_label.html.j2"] if score.by_class else ["table.html.j2"]
    return "".join(page_of(table, score=score) for table in tables)


def page_of(template: str, **values) -> str:
    """A template filled in; whatever strangers named, the page is HTML that any encoding takes."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("grader.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {
        "name": name,
        "number": number,
        "spread": spread,
        "bar": bar,
        "good": GOOD,
        "tiers": load_baselines()["tiers"],
        "sentences": sentences,
        "warnings": warnings,
        "class_sentence": class_sentence,
        "class_rows": class_rows,
        "class_columns": CLASS_COLUMNS,
    }
    return "\n".join(map(printable, environment.get_template(template).render(values).split("\n")))


def jpeg_strip(score: Score, count: int) -> bytes:
    """A few of the pictures, spread evenly, side by side in a small JPEG."""
    chosen = np.linspace(0, len(score.faces) - 1, count).round().astype(int)
    file = io.BytesIO()
    Image.fromarray(_row([score.submission.pictures[i] for i in chosen])).save(file, "JPEG", quality=80)
    return file.getvalue()


def _pair(score: Score, copy) -> dict:
    """A picture of the submission beside the known face that it is like, where that is at hand."""
    known = score.findings.pictures.get(copy.known)
    sides = [score.submission.pictures[copy.index]] + ([] if known is None else [known])
    return {
        "image": _png(_row(sides)),
        "picture": score.submission.names[copy.index],
        "known": score.findings.names[copy.known],
        "distance": copy.distance,
        "mirrored": copy.mirrored,
    }


def _group(score: Score, group) -> dict:
    """Some of the pictures that are alike, side by side."""
    names = [score.submission.names[i] for i in group.members]
    return {"image": _png(_row([score.submission.pictures[i] for i in group.members[:SIDE_BY_SIDE]])), "names": names}


def _strips(score: Score) -> list[dict]:
    """Up to ten pictures of each class that was asked for, those in which another one is found framed."""
    found, strips = score.by_class, []
    for one in found.classes:
        mine = found.asked == found.names.index(one.name)
        wrong = found.asked[mine] != found.found[mine]
        image = _png(sample_grid(score.submission.pictures[mine], wrong, GRID))
        strips.append({"name": one.name, "image": image, "asked": one.asked, "found": one.asked - int(wrong.sum())})
    return strips


def _row(pictures: list[np.ndarray], gap: int = 2) -> np.ndarray:
    """Pictures [64, 64, 3] side by side, a little apart."""
    white = np.full((len(pictures[0]), gap, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=1)


def read_run(run: Path) -> tuple[LayerNorms | None, list[Checkpoint] | None]:
    """The gradient norms and the history of a run, as far as it has them. Raises BadRun."""
    from grader import gradient_norms as gradnorm
    from grader import history

    return (
        gradnorm.read_run(run) if (run / "grad_norms.csv").exists() else None,
        history.from_csv(run / "history.csv") if (run / "history.csv").exists() else None,
    )


def _plots(run: Path) -> list[dict]:
    """What a run has, drawn: a heading, a picture, and what it shows. Raises BadRun."""
    import tempfile

    from grader import gradient_norms as gradnorm
    from grader import history

    plots, (norms, scored) = [], read_run(run)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plot.png")
        if norms:
            gradnorm.plot([norms], file)
            text = f"L2 norm of the discriminator’s gradient by layer, {norms.label}: quartiles of {norms.steps} steps"
            plots.append({"title": "Gradient norms", "image": _uri(file.read_bytes()), "text": text})
        if scored:
            history.plot(scored, file)
            text = f"Scores of {len(scored)} checkpoints; the best by FD-anime is step {history.best(scored).step:,}"
            plots.append({"title": "Training history", "image": _uri(file.read_bytes()), "text": text})
    return plots


def sample_grid(pictures: np.ndarray, marked: np.ndarray, most: int = GRID * GRID, gap: int = 3) -> np.ndarray:
    """Up to `most` pictures [N, 64, 64, 3], spread evenly, as one, uint8 [H, W, 3]; those marked, bool [N], are framed
    in red."""
    chosen = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).round().astype(int)
    size, rows = pictures.shape[1], -(-len(chosen) // GRID)
    cell = size + 2 * gap
    grid = np.full((rows * cell, GRID * cell, 3), 255, np.uint8)
    for place, index in enumerate(chosen):
        y, x = cell * (place // GRID), cell * (place % GRID)
        if marked[index]:
            grid[y : y + cell, x : x + cell] = MARK
        grid[y + gap : y + gap + size, x + gap : x + gap + size] = pictures[index]
    return grid


def write(score: Score, folder: Path, run: Path | None = None) -> list[Path]:
    """Writes report.json and report.html to a folder, each whole or not at all. Raises OSError."""
    texts = {folder / "report.json": as_json(score) + "\n", folder / "report.html": as_html(score, run)}
    for path, text in texts.items():
        with whole(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
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
    return _uri(file.getvalue())


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
