"""Which baselines a score passes: thresholds per scale, from thresholds.toml beside this file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from grader.results import Measure, Verdict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_thresholds() -> dict:
    """What stands in thresholds.toml: tiers, families, and a table for each scale."""
    return tomllib.loads(Path(__file__).with_name("thresholds.toml").read_text(encoding="utf-8"))


def judge(measures: list[Measure], thresholds: dict) -> tuple[list[Measure], list[Verdict]]:
    """The measures with the thresholds of the scale that each is on, and a verdict per family.

    A measure for which no scale is defined (another reference set, say) has no thresholds and is not judged: there
    is no conversion between scales.
    """
    tiers = thresholds["tiers"]
    judged = [_on_its_scale(measure, thresholds) for measure in measures]
    return judged, [_verdict(family, judged, tiers) for family in thresholds["families"]]


def _on_its_scale(measure: Measure, thresholds: dict) -> Measure:
    scale = scale_of(measure, thresholds)
    if scale is None:
        return measure
    bars = {tier: scale[tier] for tier in thresholds["tiers"] if tier in scale}
    passed = {}
    if (value := measure.value) is not None:
        passed = {tier: value <= bar if measure.lower_is_better else value >= bar for tier, bar in bars.items()}
    return replace(measure, family=scale["family"], provisional=scale["provisional"], thresholds=bars, passed=passed)


def _verdict(family: str, measures: list[Measure], tiers: list[str]) -> Verdict:
    own = [measure for measure in measures if measure.family == family]
    complete = len({measure.lower_is_better for measure in own if measure.passed}) == 2  # a distance and a ratio
    passed = {
        tier: all(measure.passed[tier] for measure in own)
        if complete and all(tier in measure.passed for measure in own)
        else None
        for tier in tiers
    }
    return Verdict(family, any(measure.provisional for measure in own), passed)


def scale_of(measure: Measure, thresholds: dict) -> dict | None:
    """The table of the scale that a measure is on."""
    keys = ("measure", "by", "reference")
    return next(
        (s for s in thresholds["scale"] if all(getattr(measure, key) == s[key] for key in keys if key in s)), None
    )
