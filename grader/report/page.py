"""report.html: one page with everything in it, pictures included, that needs no network and no script."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from grader.errors import counted, printable
from grader.features.statistics import evenly_spaced
from grader.inputs.runs import Run
from grader.metrics import afd
from grader.metrics.copies import COURSES
from grader.report import plots, words
from grader.report.images import grid, png_uri
from grader.report.scales import scales
from grader.results import Copy, Group, Measure, Score, Verdict
from grader.verdict import judged_against, load_thresholds, scale_of

if TYPE_CHECKING:
    from jinja2 import Environment

SHOWN = 20  # pairs and groups on the page; report.json has them all
GROUP = 8  # pictures of a group
BLOCKS, COLUMNS, ROWS = 2, 8, 5  # of the samples: blocks stand side by side, on a narrow screen one below the other
EXTREMES = 10  # pictures that the detector likes most, and least
PER_LABEL = 10  # pictures of each label


MARKS = (  # in the head of each page
    b'<meta name="generator" content="anime-gan-kit">',
    b"--ink: #1c1e21; --soft: #5b616b; --paper: #fff;",  # of versions before that
)


class ShownScore(Score):
    """A Score that Jupyter shows as its tables."""

    @classmethod
    def of(cls, score: Score) -> ShownScore:
        """The same score, shown."""
        return cls(**{field.name: getattr(score, field.name) for field in fields(score)})

    def _repr_html_(self) -> str:
        return as_fragment(self)


def is_ours(file: BinaryIO) -> bool:
    """Whether a file is a page that the grader drew, in any version."""
    head = file.read(2**16)
    return any(mark in head for mark in MARKS)


def as_html(score: Score, run: Run | None = None) -> str:
    """One page with everything in it, pictures included, that needs no network and no script.

    `run` is a training, whose gradient norms and history are drawn where it has them.
    """
    found, faceless = score.integrity, score.probabilities < afd.THRESHOLD
    best, worst = _extremes(score.probabilities)
    copied = {copy.index for copy in found.copies} if found else set()
    return page_of(
        "report.html.j2",
        {
            "score": score,
            "badges": _badges(score),
            "scales": scales(score),
            "sources": _sources(score, load_thresholds()),
            "samples": _samples(score, faceless),
            "shown": min(BLOCKS * COLUMNS * ROWS, len(faceless)),
            "unseen": int(faceless.sum()),
            "best": [_face(score, index) for index in best],
            "worst": [_face(score, index) for index in worst],
            "copies": [_pair(score, copy) for copy in found.copies[:SHOWN]] if found else [],
            "closest": [_pair(score, copy) for copy in found.closest if copy.index not in copied] if found else [],
            "groups": [_group(score, group) for group in found.groups[:SHOWN]] if found else [],
            "strips": _strips(score) if score.by_label else [],
            "plots": plots.of_run(run, *_lines(score)) if run else [],
        },
    )


def as_fragment(score: Score) -> str:
    """The verdict and the tables alone, to stand inside another page: what Jupyter shows of a score."""
    parts = ["verdict.html.j2", "table.html.j2", *["by_label.html.j2"] * (score.by_label is not None)]
    return "".join(page_of(part, {"score": score}) for part in parts)


def page_of(template: str, values: dict) -> str:
    """A template filled in; whatever strangers named, the page is HTML that any encoding takes."""
    return "\n".join(map(printable, _templates().get_template(template).render(values).split("\n")))


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("grader.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {
        "counted": counted,
        "name": words.name,
        "whose": words.whose,
        "number": words.number,
        "plus_minus": words.plus_minus,
        "bar": words.bar,
        "good": words.good,
        "tiers": load_thresholds()["tiers"],
        "sentences": words.sentences,
        "warnings": words.warnings,
        "label_sentence": words.label_sentence,
        "label_rows": words.label_rows,
        "label_columns": words.LABEL_COLUMNS,
    }
    environment.filters["whose"] = words.whose
    return environment


def _badges(score: Score) -> list[dict]:
    """The verdicts that could be given or are withheld, each in a word or two, with what the next tier asks; if there
    is none, that the first could not be given."""
    badges = []
    for verdict, sentence in zip(score.verdicts, words.sentences(score), strict=False):
        if verdict.withheld:
            title, mood = "Needs review", "bad"
        elif verdict.judged:
            title, mood = verdict.best or "No tier", "good" if verdict.best else "soft"
        else:
            title, mood = "No verdict", "soft"
        passed = verdict.passed if verdict.judged and not verdict.withheld else {}
        badge = {"title": title, "mood": mood, "family": verdict.family, "sentence": sentence, "passed": passed}
        badges.append(badge | {"judged": verdict.judged, "next": _next(score, verdict) if passed else None})
    return [badge for badge in badges if badge["judged"]] or badges[:1]


def _next(score: Score, verdict: Verdict) -> dict | None:
    """The lowest tier that is not passed, and the measures that do not reach it."""
    tier = next((tier for tier, passed in verdict.passed.items() if not passed), None)
    own = [one for one in score.measures if one.family == verdict.family and one.passed.get(tier) is False]
    return {"tier": tier, "measures": own} if own else None


def _samples(score: Score, faceless: np.ndarray) -> list[str]:
    """Pictures spread evenly over the submission, in blocks; those in which no face is found are framed."""
    chosen = evenly_spaced(len(faceless), BLOCKS * COLUMNS * ROWS)
    blocks = np.array_split(chosen, range(COLUMNS * ROWS, len(chosen), COLUMNS * ROWS))
    return [png_uri(grid(score.submission.pictures[some], faceless[some], COLUMNS)) for some in blocks if len(some)]


def _extremes(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that are most and least likely faces, by their index, the most telling first."""
    order = np.argsort(probabilities, kind="stable")
    count = min(EXTREMES, len(order) // 2)
    return order[::-1][:count], order[:count]


def _face(score: Score, index: int) -> dict:
    """A picture of the submission by itself."""
    picture, name = score.submission.pictures[index], score.submission.names[index]
    return {"image": png_uri(picture), "name": name, "probability": score.probabilities[index]}


def _pair(score: Score, copy: Copy) -> dict:
    """A picture of the submission and the known face that it is like, where that is at hand."""
    known, name = score.integrity.pictures.get(copy.known), score.integrity.names[copy.known]
    limit = score.integrity.limits[copy.known]
    return {
        "image": png_uri(score.submission.pictures[copy.index]),
        "known_image": None if known is None else png_uri(known),
        "picture": score.submission.names[copy.index],
        "known": name,
        "courses": name.startswith(COURSES),
        "distance": words.written(copy.distance, "distance", [round(limit, 3)]),
        "limit": limit,
        "mirrored": copy.mirrored,
    }


def _group(score: Score, group: Group) -> dict:
    """Some of the pictures that are alike, side by side."""
    names = [score.submission.names[i] for i in group.members]
    pictures = score.submission.pictures[group.members[:GROUP]]
    return {"image": png_uri(grid(pictures, np.zeros(len(pictures), bool), len(pictures), gap=1)), "names": names}


def _strips(score: Score) -> list[dict]:
    """Up to ten pictures of each label that was asked for, those in which another one is found framed."""
    found, strips = score.by_label, []
    for one in found.labels:
        mine = found.target == found.names.index(one.target)
        wrong = found.target[mine] != found.found[mine]
        chosen = evenly_spaced(len(wrong), PER_LABEL)
        image = png_uri(grid(score.submission.pictures[mine][chosen], wrong[chosen], PER_LABEL))
        right = one.pictures - int(wrong.sum())
        strips.append({"name": one.target, "image": image, "pictures": one.pictures, "right": right})
    return strips


def _lines(score: Score) -> tuple[plots.Lines, plots.Lines]:
    """The tiers of the distance and of the ratio on the first scale that is judged, which the history is on as well."""
    family = score.verdicts[0].family if score.verdicts else None
    own = [one for one in score.measures if one.family == family and one.thresholds]
    distance, ratio = (_tiers([one for one in own if one.lower_is_better == lower]) for lower in (True, False))
    return distance, ratio


def _tiers(measures: list[Measure]) -> plots.Lines:
    one = measures[0] if measures else None
    return {} if one is None else one.thresholds | ({} if one.floor is None else {plots.REAL: one.floor})


def _sources(score: Score, thresholds: dict) -> list[dict]:
    """Where the thresholds of the scales that were used are from."""
    against = judged_against(score.measures)
    scales = ((measure, scale_of(measure, thresholds, against)) for measure in score.measures if measure.family)
    return [{"measure": measure, "source": scale["source"]} for measure, scale in scales if scale]
