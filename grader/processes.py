"""Processes that work for this one: how many it may keep busy, and how they start."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

MOST_ON_WINDOWS = 60  # it waits for no more than 63 handles at once


def usable_cores(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The cores that the affinity and the cgroup of this process leave it; containers and schedulers set both.

    `own` names the cgroup below `groups`; the limits of those above it hold as well.
    """
    # macOS and Windows do not know the affinity
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in {groups, groups / "cpu", *_cgroups(groups, own)}:
        with suppress(OSError, ValueError):  # no limit, or none that can be read
            if (limit := folder / "cpu.max").exists():  # version 2: "200000 100000", or "max 100000"
                quota, period = limit.read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if float(quota) > 0:  # -1 is no limit
                count = min(count, max(1, math.ceil(float(quota) / float(period))))
    return at_most(count)


def _cgroups(groups: Path, own: Path) -> Iterator[Path]:
    """The folders of the cgroup that this process is in, and of those above it: lines "0::/a/b", or "4:cpu:/a/b"."""
    with suppress(OSError, ValueError):  # no Linux
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                path = PurePosixPath(path.lstrip("/"))
                yield from (groups / ("cpu" if controllers else "") / part for part in (path, *path.parents))


def at_most(count: int) -> int:
    """So many processes, or fewer where the system cannot wait for as many."""
    return min(count, MOST_ON_WINDOWS) if os.name == "nt" else count


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started in here hear no Ctrl-C from their first moment: it is the parent's to answer, once, when the
    block ends."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield
        return
    asked = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    if hasattr(signal, "pthread_sigmask"):  # what new processes inherit
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # starting it in the block would unmask the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
        if asked:
            signal.raise_signal(signal.SIGINT)
