"""A map over processes that keeps its order and dies quietly."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from data import DataError
from grader.processes import ProcessDied, ProcessPool, at_most, usable_cores

CHUNK = 32  # items a worker takes at a time: a face is milliseconds, a message between processes is not free
AHEAD = 4  # chunks a worker that are read before their turn: all at once may not fit in memory


def ordered_map(function: Callable, items: Iterable, workers: int | None = None, chunk: int = CHUNK) -> Iterator:
    """function(item) for every item, in order, over `workers` processes (None: every core this process may use).

    With one worker everything runs here. Leaving the iterator early, by an error or Ctrl-C, ends the workers. Raises
    DataError where one of them is killed, CannotStart where none can be started.
    """
    workers = at_most(workers or usable_cores())
    if workers == 1:
        yield from map(function, items)
        return
    items, begun = iter(items), deque()
    try:
        with ProcessPool(workers, _prepare, "--workers") as pool:
            while some := list(islice(items, chunk)):
                begun.append(pool.submit(_each, function, some))
                if len(begun) >= AHEAD * workers:
                    yield from begun.popleft().result()
            while begun:
                yield from begun.popleft().result()
    except ProcessDied:
        raise DataError("a worker was killed, maybe for want of memory: use fewer --workers") from None


def _each(function: Callable, items: list) -> list:
    return [function(item) for item in items]


def _prepare() -> None:
    import cv2

    cv2.setNumThreads(1)
