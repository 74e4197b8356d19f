"""Which baselines a score passes: thresholds per scale, from thresholds.toml beside this file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from grader import toml
from grader.errors import counted
from grader.inputs.submission import COUNT
from grader.results import DISTANCES, Integrity, Measure, Verdict

COPIED = 0.01  # the share of known faces from which a verdict is withheld: over 50 sets of honest GANs hold none


def load_thresholds() -> dict:
    """What stands in thresholds.toml: tiers, families, and a table for each scale."""
    return toml.loads(Path(__file__).with_name("thresholds.toml").read_text(encoding="utf-8"))


def judge(
    measures: list[Measure], thresholds: dict, count: int = COUNT, integrity: Integrity | None = None
) -> tuple[list[Measure], list[Verdict]]:
    """The measures with the thresholds of the scale that each is on, and a verdict per family.

    A measure for which no scale is defined (another reference set, say) has no thresholds and is not judged: there
    is no conversion between scales. Distances depend on the `count` of pictures, and thresholds are for 1,000: another
    count is not judged. Verdicts are withheld where `integrity` asks for a review.
    """
    tiers, reasons = thresholds["tiers"], review(integrity, count)
    if count == COUNT:
        against = judged_against(measures)
        measures = [_on_its_scale(measure, thresholds, against) for measure in measures]
    return measures, [_verdict(family, measures, tiers, reasons) for family in _families(measures, thresholds)]


def _families(measures: list[Measure], thresholds: dict) -> list[str]:
    """The families to judge: one that stands in for another hides it where a measure is on it, and else is hidden."""
    families = list(thresholds["families"])
    for own, other in thresholds.get("instead", {}).items():
        families.remove(other if any(measure.family == own for measure in measures) else own)
    return families


def review(integrity: Integrity | None, count: int) -> list[str]:
    """Why a person has to look at `count` pictures before they pass anything; [] if nothing speaks against them."""
    if integrity is None:
        return []
    copied, repeated, near = len(integrity.copies), integrity.repeated, integrity.near
    reasons = {
        counted(copied, "known face"): copied >= COPIED * count,
        f"{repeated:,} near repeats of another picture": integrity.collapsed,
        in_disguise(near): integrity.in_disguise,
        f"{len(integrity.signs)} signs of optimised pictures": integrity.optimised,
    }
    return [reason for reason, found in reasons.items() if found]


def in_disguise(near: int) -> str:
    """What a person has to look at, where so many pictures may be disguised copies."""
    return counted(near, "picture is like a known face", "pictures are like known faces") + " in disguise"


def judged_against(measures: list[Measure]) -> str | None:
    """The faces that FD-ImageNet is measured against: a file for FID alone may have any name."""
    return next((measure.reference for measure in measures if measure.measure == DISTANCES[0]), None)


def _on_its_scale(measure: Measure, thresholds: dict, against: str | None) -> Measure:
    scale = scale_of(measure, thresholds, against)
    if scale is None:
        return measure
    bars = {tier: scale[tier] for tier in thresholds["tiers"] if tier in scale}
    passed = {}
    if (value := measure.value) is not None:
        passed = {tier: value <= bar if measure.lower_is_better else value >= bar for tier, bar in bars.items()}
    return replace(measure, family=scale["family"], provisional=scale["provisional"], thresholds=bars, passed=passed)


def _verdict(family: str, measures: list[Measure], tiers: list[str], reasons: list[str]) -> Verdict:
    own = [measure for measure in measures if measure.family == family]
    complete = len({measure.lower_is_better for measure in own if measure.passed}) == 2  # a distance and a ratio
    passed = {
        tier: all(measure.passed[tier] for measure in own)
        if complete and all(tier in measure.passed for measure in own)
        else None
        for tier in tiers
    }
    verdict = Verdict(family, any(measure.provisional for measure in own), passed)
    return replace(verdict, withheld=reasons) if verdict.judged else verdict


def scale_of(measure: Measure, thresholds: dict, against: str | None) -> dict | None:
    """The table of the scale that a measure is on, when FD-ImageNet beside it is `against` these faces."""
    keys = ("measure", "by", "reference")
    return next(
        (
            scale
            for scale in thresholds["scale"]
            if all(getattr(measure, key) == scale[key] for key in keys if key in scale)
            and scale.get("beside") in (against, None)
        ),
        None,
    )
