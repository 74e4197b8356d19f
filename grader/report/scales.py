"""A distance on a logarithmic scale, with the tiers and real faces on it: where each mark stands on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from grader.report import words
from grader.report.plots import REAL
from grader.results import Measure, Score

MARGIN = 10  # per cent of the scale that stay free on either side
APART = {"wide": 7, "narrow": 16}  # per cent between two labels: as wide as they are, on a desk and on a phone
BEYOND = 8  # times the farthest mark: a score beyond is drawn there


@dataclass(frozen=True)
class Mark:
    """A tier, or the real faces, at `place` per cent from the left. `label_at` says the same of its label, which stands
    apart from the others, by the kinds of screen of APART. A score `reached` it if it lies as far right."""

    label: str
    number: str
    place: float
    label_at: dict[str, float]
    reached: bool


@dataclass(frozen=True)
class Scale:
    """A distance with its marks from the far left, far from real faces, to the right; `place` is that of the score."""

    measure: Measure
    place: float
    marks: list[Mark]


def scales(score: Score) -> list[Scale]:
    """A scale for each distance that is judged; if none is, for the first whose value for real faces is known."""
    distances = [one for one in score.measures if one.lower_is_better and one.value is not None]
    judged = [one for one in distances if one.thresholds]
    return [scale(one) for one in judged or [one for one in distances if one.floor is not None][:1]]


def scale(measure: Measure) -> Scale:
    """The scale of one distance. The nearer to real faces, the farther right: it is read as a way that leads there."""
    values = dict(measure.thresholds) | ({} if measure.floor is None else {REAL: measure.floor})
    values = dict(sorted(values.items(), key=lambda item: -item[1]))
    least, most = max(min(values.values()), 1e-6), max(values.values())
    shown = min(max(measure.value, least / BEYOND), most * BEYOND)
    near, far = math.log(min(least, shown)), math.log(max(most, shown, least * 10))

    def place(value: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (far - math.log(max(value, 1e-6))) / (far - near)

    places = [place(value) for value in values.values()]
    labels_at = {screen: _apart(places, least) for screen, least in APART.items()}
    marks = [
        Mark(
            label,
            words.number(measure, value),
            places[i],
            {screen: labels[i] for screen, labels in labels_at.items()},
            measure.value <= value,
        )
        for i, (label, value) in enumerate(values.items())
    ]
    return Scale(measure, place(shown), marks)


def _apart(places: list[float], gap: float) -> list[float]:
    """Places in rising order, moved little, but so that they are a `gap` apart and within the scale."""
    gap = min(gap, 100 / max(len(places), 1))
    right, left = list(places), list(places)
    for i in range(1, len(places)):
        right[i] = max(right[i], right[i - 1] + gap)
    for i in reversed(range(len(places) - 1)):
        left[i] = min(left[i], left[i + 1] - gap)
    middle = [(a + b) / 2 for a, b in zip(right, left, strict=True)]
    for i in range(len(middle)):
        middle[i] = max(middle[i], gap / 2 + i * gap)
    for i in range(len(middle)):
        middle[-1 - i] = min(middle[-1 - i], 100 - gap / 2 - i * gap)
    return middle
