"""report.html: one page with everything in it, pictures included, that needs no network and no script."""

from __future__ import annotations

from dataclasses import fields

from grader.errors import printable
from grader.inputs.runs import Run
from grader.metrics import afd
from grader.report import plots, words
from grader.report.images import GRID, png, sample_grid, side_by_side
from grader.results import Copy, Group, Score
from grader.verdict import load_thresholds, scale_of

SHOWN = 20  # pairs and groups on the page; report.json has them all
SIDE_BY_SIDE = 8  # pictures of a group


class ShownScore(Score):
    """A Score that Jupyter shows as its tables."""

    @classmethod
    def of(cls, score: Score) -> ShownScore:
        return cls(**{field.name: getattr(score, field.name) for field in fields(score)})

    def _repr_html_(self) -> str:
        return as_fragment(self)


def as_html(score: Score, run: Run | None = None) -> str:
    """One page with everything in it, pictures included, that needs no network and no script.

    `run` is a training, whose gradient norms and history are drawn where it has them.
    """
    found, faceless = score.integrity, score.probabilities < afd.THRESHOLD
    return page_of(
        "report.html.j2",
        {
            "score": score,
            "sources": _sources(score, load_thresholds()),
            "grid": png(sample_grid(score.submission.pictures, faceless)),
            "shown": min(GRID * GRID, len(score.probabilities)),
            "unseen": int(faceless.sum()),
            "copies": [_pair(score, copy) for copy in found.copies[:SHOWN]] if found else [],
            "closest": [_pair(score, copy) for copy in found.closest] if found and found.pictures else [],
            "groups": [_group(score, group) for group in found.groups[:SHOWN]] if found else [],
            "limit": found.limit if found else None,
            "strips": _strips(score) if score.by_label else [],
            "plots": plots.of_run(run) if run else [],
        },
    )


def as_fragment(score: Score) -> str:
    """The verdict and the tables alone, to stand inside another page: what Jupyter shows of a score."""
    tables = ["table.html.j2", "by_label.html.j2"] if score.by_label else ["table.html.j2"]
    return "".join(page_of(table, {"score": score}) for table in tables)


def page_of(template: str, values: dict) -> str:
    """A template filled in; whatever strangers named, the page is HTML that any encoding takes."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("grader.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {
        "name": words.name,
        "number": words.number,
        "spread": words.spread,
        "bar": words.bar,
        "good": words.GOOD,
        "tiers": load_thresholds()["tiers"],
        "sentences": words.sentences,
        "warnings": words.warnings,
        "label_sentence": words.label_sentence,
        "label_rows": words.label_rows,
        "label_columns": words.LABEL_COLUMNS,
    }
    return "\n".join(map(printable, environment.get_template(template).render(values).split("\n")))


def _pair(score: Score, copy: Copy) -> dict:
    """A picture of the submission beside the known face that it is like, where that is at hand."""
    known = score.integrity.pictures.get(copy.known)
    sides = [score.submission.pictures[copy.index]] + ([] if known is None else [known])
    return {
        "image": png(side_by_side(sides)),
        "picture": score.submission.names[copy.index],
        "known": score.integrity.names[copy.known],
        "distance": copy.distance,
        "mirrored": copy.mirrored,
    }


def _group(score: Score, group: Group) -> dict:
    """Some of the pictures that are alike, side by side."""
    names = [score.submission.names[i] for i in group.members]
    pictures = [score.submission.pictures[i] for i in group.members[:SIDE_BY_SIDE]]
    return {"image": png(side_by_side(pictures)), "names": names}


def _strips(score: Score) -> list[dict]:
    """Up to ten pictures of each label that was asked for, those in which another one is found framed."""
    found, strips = score.by_label, []
    for one in found.labels:
        mine = found.target == found.names.index(one.target)
        wrong = found.target[mine] != found.found[mine]
        image = png(sample_grid(score.submission.pictures[mine], wrong, GRID))
        right = one.pictures - int(wrong.sum())
        strips.append({"name": one.target, "image": image, "pictures": one.pictures, "right": right})
    return strips


def _sources(score: Score, thresholds: dict) -> list[tuple[str, str]]:
    """(scale, where its thresholds are from) for the scales that were used."""
    references = {measure.reference for measure in score.measures}
    scales = ((measure, scale_of(measure, thresholds, references)) for measure in score.measures if measure.family)
    return [(words.name(measure), scale["source"]) for measure, scale in scales if scale]
