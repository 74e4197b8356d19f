"""How many processes this one may keep busy."""

from __future__ import annotations

import math
import os
from pathlib import Path

MOST_ON_WINDOWS = 60  # it waits for no more than 63 handles at once


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """The cores that the affinity and the cgroup of this process leave it; containers and schedulers set both."""
    # macOS and Windows do not know the affinity
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if (limit := groups / "cpu.max").exists():  # version 2: "200000 100000", or "max 100000"
            quota, period = limit.read_text().split()
        else:
            quota, period = ((groups / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if float(quota) > 0:  # -1 is no limit
            count = min(count, max(1, math.ceil(float(quota) / float(period))))
    except (OSError, ValueError):
        pass  # no limit, or none that can be read
    return min(count, MOST_ON_WINDOWS) if os.name == "nt" else count
