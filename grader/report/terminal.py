"""A score as tables on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grader.errors import printable
from grader.report.words import (
    GOOD,
    LABEL_COLUMNS,
    bar,
    label_rows,
    label_sentence,
    name,
    number,
    sentences,
    spread,
    warnings,
)
from grader.results import DISTANCES, ByLabel, Score
from grader.verdict import load_thresholds


def show(score: Score, console: Console | None = None) -> None:
    """Prints the tables, the verdicts, and what is not as it should be with the pictures."""
    console = console or Console(highlight=False)
    tables = as_tables(score)
    if console.measure(tables[0], options=console.options.update_width(1000)).maximum > console.width:
        tables = as_tables(score, with_tiers=False)
    console.print(*tables, *sentences(score), sep="\n")
    for line in warnings(score):
        console.print(Text(line, "red"))


def as_tables(score: Score, with_tiers: bool = True) -> list:
    """The score as rich tables: the measures that have thresholds, a column per tier, and the others. Where there is no
    room for the tiers, the sentences tell which are passed."""
    thresholds = load_thresholds()
    shown = thresholds["tiers"] if with_tiers else []
    style = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    title = f"{score.submission.source.name}: {len(score.submission.pictures):,} pictures against {score.reference}"
    table = Table(title=escape(printable(title)), **style)
    table.add_column("measure", no_wrap=True)
    for heading in ("score", "real faces", *shown):
        table.add_column(heading, justify="right", no_wrap=True)
    others = Table("", **style)
    others.add_column("score", justify="right", no_wrap=True)
    others.add_column("good", overflow="fold")
    for measure in score.measures:
        if measure.measure in (*DISTANCES[:-1], "AFD"):
            floor = number(measure, measure.floor) if measure.floor is not None else ""
            tiers = (_cell(bar(measure, tier), measure.passed.get(tier)) for tier in shown)
            table.add_row(name(measure), number(measure, measure.value), floor, *tiers)
        else:
            others.add_row(name(measure), number(measure, measure.value) + spread(measure), GOOD[measure.measure])
    table.add_section()
    for verdict in score.verdicts if shown else []:
        passed = ("[yellow]?[/]" if verdict.withheld else _cell("", passed) for passed in verdict.passed.values())
        table.add_row(thresholds["families"][verdict.family], "", "", *passed)
    tables = [table, others] if others.row_count else [table]
    return [*tables, _label_table(score.by_label, style)] if score.by_label else tables


def _label_table(found: ByLabel, style: dict):
    """What was found by label as a rich table."""
    table = Table(
        title=escape(f"by label, against {found.faces}"), caption=label_sentence(found), caption_justify="left", **style
    )
    for heading in LABEL_COLUMNS:
        table.add_column(heading, justify="left" if heading == LABEL_COLUMNS[0] else "right", no_wrap=True)
    for row in label_rows(found):
        table.add_row(*map(escape, row), end_section=row[0] == found.labels[-1].target)
    return table


def _cell(text: str, passed: bool | None) -> str:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[passed]
    return f"{text} {mark}".strip()
