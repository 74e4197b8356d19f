"""What the terminal and the page say of a score, in the same words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from grader.errors import counted
from grader.features.reference import NAME
from grader.inputs.submission import COUNT
from grader.results import DISTANCES, ByLabel, LabelScore, Measure, Score
from grader.verdict import load_thresholds

GOOD = {  # what is good of each measure, in a few words
    "FD-ImageNet": "lower",
    "FD-anime": "lower: the second opinion of a network trained on anime faces",
    "FID": "lower; the number that papers report",
    "KID": "lower, 0 for real faces; free of FID’s bias by the number of pictures",
    "AFD": "higher: share in which a face is found",
    "precision": "higher: pictures look like real ones",
    "recall": "higher: how many real faces lie among the pictures",
    "density": "1 for real faces: pictures lie where real ones are dense",
    "coverage": "near 1: how many real faces have a picture near them",
}
LABEL_COLUMNS = ("target", "pictures", "accuracy", "real", "mistaken for", "distance", "real", "KID")


def whose(faces: str) -> str:
    """A reference set by its name, in words."""
    return "the course's faces" if faces == NAME else f"the faces of “{faces}”"


def sentences(score: Score) -> list[str]:
    """The verdict on each scale in words."""
    families = load_thresholds()["families"]
    lines = []
    for verdict in score.verdicts:
        scale = families[verdict.family] + " (provisional)" * verdict.provisional
        if len(score.submission.pictures) != COUNT:
            lines.append(f"No verdict on the {scale}: it takes {COUNT:,} pictures. A distance depends on their number.")
        elif not verdict.judged:
            lines.append(f"No verdict on the {scale}: it takes a distance and a ratio, each with its thresholds.")
        elif verdict.withheld:
            lines.append(f"No verdict on the {scale}: needs review: {', '.join(verdict.withheld)}.")
        else:
            unseen = " Copies were not looked for." if score.integrity is None else ""
            lines.append(f"{verdict.best or 'No'} baseline passed on the {scale}.{unseen}")
    if score.reference != NAME and not any(verdict.family == "drawn" for verdict in score.verdicts):
        lines.append(
            f"Only the shipped faces give a verdict of the course, not {score.reference}: leave --reference out."
        )
    return lines + [f"{line[0].upper()}{line[1:]}." for line in score.not_looked_for]


def warnings(score: Score) -> list[str]:
    """What is not as it should be with the pictures themselves, in words."""
    found, lines = score.integrity, []
    if found is None:
        return lines
    if found.copies:
        some = ", ".join(score.submission.names[copy.index] for copy in found.copies[:3])
        some += " …" * (len(found.copies) > 3)
        are = counted(len(found.copies), "picture is a copy of a known face", "pictures are copies of known faces")
        lines.append(f"{are} ({some}).")
    if found.in_disguise:
        count = len(score.probabilities)
        lines.append(
            f"Of {count:,} pictures, {counted(found.near, 'is', 'are')} closer to a known face than honest ones come: "
            "turned, warped or moved copies? See the nearest known faces on the page."
        )
    if found.optimised:
        lines.append(f"Optimised against the grader’s networks? Signs: {'; '.join(found.signs)}.")
    elif found.signs:
        lines.append(f"One sign of optimised or altered pictures, which honest ones do not show: {found.signs[0]}.")
    if found.released:
        lines.append(
            "The pictures look like those of the generator that ships with the kit (python -m baselines.sample)."
        )
    if found.varied:
        lines.append("As varied as only real faces are (docs/scores.md): are the pictures cut out of real faces?")
    if found.collapsed:
        count = len(score.probabilities)
        lines.append(f"Collapsed: {found.repeated:,} of {count:,} pictures are near repeats of another one.")
    return lines


def good(measure: Measure) -> str:
    """What is good of a measure, in a few words."""
    beside = measure.measure == DISTANCES[0] and measure.floor is not None
    return GOOD[measure.measure] + "; see Real faces" * beside


def name(measure: Measure) -> str:
    """What was measured, and by what: "FID (inception)", if the name does not tell. Which weights exactly stands in
    report.json."""
    by = {"embedded": "embedded", "lite0": "ImageNet"}.get(measure.by.partition("-")[0], measure.by)
    return measure.measure if measure.measure.startswith("FD-") else f"{measure.measure} ({by})"


def number(measure: Measure, value: float | None) -> str:
    """A value of a measure, see `written`."""
    return written(value, measure.measure, measure.thresholds.values())


def written(value: float | None, measure: str, thresholds: Iterable[float] = ()) -> str:
    """A distance to four significant digits or whole, a ratio to three decimals, "–" for what could not be had. It gets
    more digits where it would else read as a threshold that it is not: 445.04 beside "≤ 445 ✗"."""
    if value is None:
        return "–"
    least, kind = (4, "g") if measure in DISTANCES else (3, "f")
    if 1e4 <= float(f"{value:.4g}") < 1e9:
        least, kind = 0, "f"
    comma = "," * (not least)
    others = {*thresholds} - {value}
    texts = (f"{value:{comma}.{digits}{kind}}" for digits in range(least, 18))
    return next((text for text in texts if read(text) not in others), repr(value))


def read(text: str) -> float:
    """The number that is `written` so."""
    return float(text.replace(",", ""))


def plus_minus(measure: Measure) -> str:
    """Its standard deviation, or "" where there is none."""
    return "" if measure.spread is None else f" ± {measure.spread:.2g}"


def bar(measure: Measure, tier: str) -> str:
    """The threshold of a tier with its direction: "≤ 190", or "" where there is none."""
    if tier not in measure.thresholds:
        return ""
    return f"{'≤' if measure.lower_is_better else '≥'} {measure.thresholds[tier]:g}"


def label_sentence(found: ByLabel) -> str:
    """How many pictures show what they were asked to, beside the best and the worst to be expected."""
    overall = found.overall
    return (
        f"{overall.accuracy:.1%} of the pictures show the label that they were asked for; of unseen real faces "
        f"{overall.ceiling:.1%} do, of pictures at random {1 / len(found.names):.1%}."
    )


def label_rows(found: ByLabel) -> list[tuple[str, ...]]:
    """The cells of LABEL_COLUMNS: a row per label, and one for all."""
    rows = [
        _label_row(one, _mistake(found, one, counts)) for one, counts in zip(found.labels, found.confusion, strict=True)
    ]
    return [*rows, _label_row(found.overall, "")]


def _label_row(one: LabelScore, mistake: str) -> tuple[str, ...]:
    shares = (f"{share:.3f}" for share in (one.accuracy, one.ceiling))
    distances = ("–" if value is None else f"{value:.1f}" for value in (one.distance, one.floor))
    kid = "–" if one.kid is None else f"{one.kid:.2f} ± {one.spread:.2f}"
    return one.target, f"{one.pictures:,}", *shares, mistake, *distances, kid


def _mistake(found: ByLabel, one: LabelScore, counts: np.ndarray) -> str:
    """The other label that is found most in pictures of one, and how often: "blue 12.4%"; "" if there is none."""
    wrong = np.where(np.array(found.names) == one.target, 0, counts)
    return f"{found.names[wrong.argmax()]} {wrong.max() / one.pictures:.1%}" if wrong.any() else ""
