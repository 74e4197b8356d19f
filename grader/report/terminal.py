"""Tables on the terminal: a score, and the history of a run."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from grader.errors import printable
from grader.features.reference import Reference
from grader.inputs.runs import Checkpoint, best
from grader.metrics import afd
from grader.report.words import (
    LABEL_COLUMNS,
    bar,
    good,
    label_rows,
    label_sentence,
    name,
    number,
    plus_minus,
    sentences,
    warnings,
)
from grader.results import DISTANCES, ByLabel, Measure, Score
from grader.verdict import judge, load_thresholds

SCORES, WORDS, TIERS = range(3)  # what there is room for: the scores alone, words on them, the tiers
WORDY = 56  # columns for words beside the scores


def show(score: Score, console: Console | None = None) -> None:
    """Prints the tables, the verdicts, and what is not as it should be with the pictures."""
    console = console or Console(highlight=False)
    rooms = zip(*(as_tables(score, room) for room in (TIERS, WORDS, SCORES)), strict=True)
    tables = [next((one for one in same if _width(one, console) <= console.width), same[-1]) for same in rooms]
    console.print(*tables, *map(Text, sentences(score)), *(Text(line, "red") for line in warnings(score)), sep="\n")


def _width(table: Table, console: Console) -> int:
    """How wide a table is in which nothing is cut."""
    if table.columns[-1].header == "good":  # words that go on in the next line
        return WORDY
    return console.measure(table, options=console.options.update_width(1000)).maximum


def as_tables(score: Score, room: int = TIERS) -> list:
    """The score as rich tables: the measures that have thresholds, a column per tier, and the others. Where there is no
    `room` for the tiers, the sentences tell which are passed; where there is less, the scores stand alone."""
    thresholds = load_thresholds()
    shown = thresholds["tiers"] if room == TIERS else []
    style = {"title_justify": "left", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    title = f"{score.submission.source.name}: {len(score.submission.pictures):,} pictures against {score.reference}"
    table = Table(title=escape(printable(title)), **style)
    table.add_column("measure", no_wrap=room > SCORES, overflow="fold")
    for heading in ("score", "real faces", *shown)[: None if room else 1]:
        table.add_column(heading, justify="right", no_wrap=True)
    others = Table(**style)
    others.add_column("", no_wrap=room > SCORES, overflow="fold")
    others.add_column("score", justify="right", no_wrap=True)
    if room:
        others.add_column("good", overflow="fold")
    for measure in score.measures:
        if measure.measure in (*DISTANCES[:-1], "AFD"):
            floor = number(measure, measure.floor) if measure.floor is not None else ""
            tiers = (_cell(bar(measure, tier), measure.passed.get(tier)) for tier in shown)
            row, into = (_name(measure, score), number(measure, measure.value), floor, *tiers), table
        else:
            row = _name(measure, score), number(measure, measure.value) + plus_minus(measure), good(measure)
            into = others
        into.add_row(*row[: len(into.columns)])
    table.add_section()
    for verdict in score.verdicts if shown else []:
        passed = ("[yellow]?[/]" if verdict.withheld else _cell("", passed) for passed in verdict.passed.values())
        table.add_row(thresholds["families"][verdict.family], "", "", *passed)
    tables = [table, others] if others.row_count else [table]
    return [*tables, _label_table(score.by_label, style, (3, 4, 8)[room])] if score.by_label else tables


def _label_table(found: ByLabel, style: dict, columns: int):
    """What was found by label as a rich table of the first columns."""
    distances = "FD-ImageNet and KID " * (columns == len(LABEL_COLUMNS))
    title = escape(printable(f"by label, {distances}against {found.faces}"))
    table = Table(title=title, caption=label_sentence(found), caption_justify="left", **style)
    for heading in LABEL_COLUMNS[:columns]:
        table.add_column(heading, justify="left" if heading == LABEL_COLUMNS[0] else "right", no_wrap=True)
    for row in label_rows(found):
        table.add_row(*map(escape, row[:columns]), end_section=row[0] == found.labels[-1].target)
    return table


def _name(measure: Measure, score: Score) -> str:
    """A row's name; where it is against other faces than the title says, with those."""
    if measure.reference in (None, score.reference):
        return name(measure)
    return f"{name(measure)}\nagainst {escape(printable(measure.reference))}"


def _cell(text: str, passed: bool | None) -> str:
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}[passed]
    return f"{text} {mark}".strip()


def history_table(history: list[Checkpoint], reference: Reference) -> Table:
    """The scores of a run's checkpoints, the best one marked."""
    table = Table(title=f"against {escape(reference.faces)}", title_justify="left")
    for column in ("step", "FD-ImageNet", "AFD", ""):
        table.add_column(column, justify="right")
    scores = [
        [Measure("FD-ImageNet", reference.features, reference.faces, checkpoint.distance) for checkpoint in history],
        [Measure("AFD", afd.scale(), None, checkpoint.afd) for checkpoint in history],
    ]
    thresholds = load_thresholds()
    distances, ratios = (judge(measures, thresholds)[0] for measures in scores)
    for checkpoint, *measures in zip(history, distances, ratios, strict=True):
        mark = "[green]best[/]" if checkpoint == best(history) else ""
        table.add_row(f"{checkpoint.step:,}", *(number(one, one.value) for one in measures), mark)
    return table
