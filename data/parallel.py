"""A map over processes that keeps its order and dies quietly."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator

from grader.cores import at_most, deaf_to_ctrl_c, usable_cores

CHUNK = 32  # items a worker takes at a time: a face is milliseconds, a message between processes is not free


def ordered_map(function: Callable, items: Iterable, workers: int | None = None, chunk: int = CHUNK) -> Iterator:
    """function(item) for every item, in order, over `workers` processes (None: every core this process may use).

    With one worker everything runs here. Leaving the iterator early, by an error or Ctrl-C, ends the workers.
    """
    workers = at_most(workers or usable_cores())
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned on every system: a fork copies the locks of OpenCV's and torch's threads without the threads, and hangs.
    context = multiprocessing.get_context("spawn")
    with deaf_to_ctrl_c():
        pool = context.Pool(workers, initializer=_start_worker)
    with pool:  # leaving the block terminates the workers
        yield from pool.imap(function, items, chunk)


def _start_worker() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    cv2.setNumThreads(1)
