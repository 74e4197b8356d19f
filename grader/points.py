"""Points for tiers, and what late days cost, from a small TOML file: points.toml beside this file is the default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from grader import toml
from grader.errors import GraderError, first_line
from grader.inputs.archives import bytes_of
from grader.verdict import load_thresholds

DEFAULT = Path(__file__).with_name("points.toml")
DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Points:
    """Points per tier; the deadline with its time zone, or None; free days; the share that each further one costs."""

    tiers: dict[str, float]
    deadline: datetime | None = None
    free_days: int = 0
    per_day: float = 0.0

    def late_days(self, uploaded: datetime | None) -> int:
        """Begun days after the deadline, by whole seconds, as times are shown."""
        if uploaded is None or self.deadline is None:
            return 0
        return max(0, math.ceil(math.floor((uploaded - self.deadline).total_seconds()) / DAY))

    def grade(self, tier: str, days: int | None) -> float | None:
        """The points for the highest tier passed, "" for none, after what late days cost; None for what is no tier, and
        where `days` is None and a day costs something, late by nobody knows how much: a person decides. 0 points stay
        0."""
        if tier and (tier not in self.tiers or (days is None and self.per_day)):
            return None
        share = max(0.0, 1 - self.per_day * max(0, (days or 0) - self.free_days))
        return round(self.tiers.get(tier, 0) * share, 4)


def read_points(path: Path = DEFAULT) -> Points:
    """A tier that the file leaves out has the points of the next lower one. Raises GraderError, and OSError."""
    try:
        read = toml.loads(bytes_of(path, 2**16).decode("utf-8-sig"))
        tiers, late = read.pop("points"), dict(read.pop("late", {}))
        deadline, free, share = late.pop("deadline", None), late.pop("free_days", 0), late.pop("per_day", 0)
    except KeyError:
        raise GraderError(f"{path}: has no [points]: copy {DEFAULT.name} of the grader and change it") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise GraderError(f"{path}: not a file of points ({first_line(error)}): copy {DEFAULT.name}") from None
    known = load_thresholds()["tiers"]
    numbers = [*tiers.values(), free, share] if isinstance(tiers, dict) else [None]
    if read or late or not all(_amount(number) for number in numbers) or set(tiers) - set(known):
        wrong = ", ".join([*read, *late, *(set(tiers) - set(known) if isinstance(tiers, dict) else [])])
        reason = f"{wrong} is unknown" if wrong else "something is no number of 0 or more"
        raise GraderError(f"{path}: {reason}: [points] has {', '.join(known)}; [late] deadline, free_days, per_day")
    _check_fair(path, {tier: tiers[tier] for tier in known if tier in tiers}, share)
    if deadline is not None and not isinstance(deadline, datetime):
        raise GraderError(f"{path}: the deadline is no time: write deadline = 2026-06-01T23:59:00+08:00")
    points = 0
    for tier in known:  # from the lowest on
        points = tiers.setdefault(tier, points)
    return Points(tiers, deadline and _zoned(deadline), free, share)


def _check_fair(path: Path, tiers: dict[str, float], share: float) -> None:
    """Fails where points, from the lowest tier on, or the share of a late day would take what somebody earned. Raises
    GraderError."""
    if not any(tiers.values()):
        raise GraderError(f"{path}: [points] gives nobody a point: write Simple = 1, say")
    if share > 1:
        raise GraderError(f"{path}: per_day = {share:g} is no share of 0 to 1: write per_day = 0.1 for a tenth")
    for lower, tier in pairwise(tiers):
        if tiers[tier] < tiers[lower]:
            fewer = f"{tier} gives {tiers[tier]:g} points, and {lower} {tiers[lower]:g}"
            raise GraderError(f"{path}: {fewer}: give a higher tier as many or more")


def _zoned(deadline: datetime) -> datetime:
    """The deadline with a zone: without one, this machine's."""
    if deadline.tzinfo is not None:
        return deadline
    try:
        return deadline.astimezone()
    except (OSError, OverflowError, ValueError):
        return deadline.replace(tzinfo=timezone.utc)  # at an end of the calendar, where a zone changes nothing


def _amount(number) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < math.inf
