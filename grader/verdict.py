"""Which baselines a score passes: thresholds per scale, from thresholds.toml beside this file."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DISTANCES = ("FD-anime", "FID", "KID")  # lower is better; all other measures are shares, and higher is better


@dataclass
class Measure:
    """One number on one scale: `by` names features or detector, `reference` the faces (distances only).

    `value` is None when it could not be had, and `note` says why. `floor` is what as many real faces score, and
    `spread` a standard deviation, where they are known.
    """

    measure: str
    by: str
    reference: str | None
    value: float | None
    note: str = ""
    floor: float | None = None
    spread: float | None = None
    family: str | None = None
    provisional: bool = False
    thresholds: dict[str, float] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)  # by tier; tiers without a threshold are missing

    @property
    def lower_is_better(self) -> bool:
        return self.measure in DISTANCES


@dataclass(frozen=True)
class Verdict:
    """Per tier: True or False when all measures of a family could be judged, else None."""

    family: str
    provisional: bool
    passed: dict[str, bool | None]

    @property
    def best(self) -> str | None:
        """The highest tier passed with all those below it."""
        best = None
        for tier, passed in self.passed.items():
            if not passed:
                break
            best = tier
        return best


def load_baselines() -> dict:
    """What stands in thresholds.toml."""
    return tomllib.loads(Path(__file__).with_name("thresholds.toml").read_text(encoding="utf-8"))


def judge(measures: list[Measure], baselines: dict) -> list[Verdict]:
    """Fills in the thresholds of the scale that each measure is on, and returns a verdict per family.

    A measure for which no scale is defined (another reference set, say) keeps no thresholds and is not judged: there
    is no conversion between scales.
    """
    tiers = baselines["tiers"]
    for measure in measures:
        for scale in baselines["scale"]:
            if on_scale(measure, scale):
                measure.family, measure.provisional = scale["family"], scale["provisional"]
                measure.thresholds = {tier: scale[tier] for tier in tiers if tier in scale}
                if measure.value is not None:
                    measure.passed = {
                        tier: measure.value <= bar if measure.lower_is_better else measure.value >= bar
                        for tier, bar in measure.thresholds.items()
                    }
    verdicts = []
    for family in baselines["families"]:
        judged = [measure for measure in measures if measure.family == family]
        kinds = {measure.lower_is_better for measure in judged if measure.passed}
        complete = len(kinds) == 2  # a distance and a detection ratio, neither alone
        passed = {
            tier: all(measure.passed[tier] for measure in judged)
            if complete and all(tier in measure.passed for measure in judged)
            else None
            for tier in tiers
        }
        verdicts.append(Verdict(family, any(measure.provisional for measure in judged), passed))
    return verdicts


def on_scale(measure: Measure, scale: dict) -> bool:
    """Whether a scale of thresholds.toml is the one that a measure is on."""
    return all(getattr(measure, key) == scale[key] for key in ("measure", "by", "reference") if key in scale)
