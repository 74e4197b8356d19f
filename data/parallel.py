"""A map over processes that keeps its order and dies quietly."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue

from data import DataError
from grader.processes import at_most, deaf_to_ctrl_c, usable_cores

CHUNK = 32  # items a worker takes at a time: a face is milliseconds, a message between processes is not free
AHEAD = 4  # chunks a worker that are read before their turn: all at once may not fit in memory


def ordered_map(function: Callable, items: Iterable, workers: int | None = None, chunk: int = CHUNK) -> Iterator:
    """function(item) for every item, in order, over `workers` processes (None: every core this process may use).

    With one worker everything runs here. Leaving the iterator early, by an error or Ctrl-C, ends the workers. Raises
    DataError where one of them is killed.
    """
    workers = at_most(workers or usable_cores())
    if workers == 1:
        yield from map(function, items)
        return
    items, begun = iter(items), deque()
    # a thread for each process: those of concurrent.futures share a pipe, and one that is killed while it writes an
    # answer leaves the others waiting for the rest of it
    with ThreadPoolExecutor(workers) as threads, _processes(workers, function) as idle:
        while some := list(islice(items, chunk)):
            begun.append(threads.submit(_ask, idle, some))
            if len(begun) >= AHEAD * workers:
                yield from begun.popleft().result()
        while begun:
            yield from begun.popleft().result()


@contextmanager
def _processes(count: int, function: Callable) -> Iterator[SimpleQueue[Connection]]:
    """Connections to processes, each of which answers a list of items with function(item) of each, or an exception.
    Leaving the block ends them, whatever they are doing."""
    # Spawned on every system: a fork copies the locks of OpenCV's and torch's threads without the threads, and hangs.
    context = get_context("spawn")
    idle, started = SimpleQueue(), []
    try:
        with deaf_to_ctrl_c():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_answer, args=(function, theirs), daemon=True)
                process.start()
                started.append(process)
                theirs.close()  # only the process has it now: when it ends, so does what we read
                idle.put(ours)
        yield idle
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join()


def _ask(idle: SimpleQueue[Connection], items: list) -> list:
    connection = idle.get()
    try:
        connection.send(items)
        answer = connection.recv()
    except (EOFError, OSError):
        raise DataError("a worker was killed, maybe for want of memory; name fewer --workers") from None
    finally:
        idle.put(connection)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(function: Callable, connection: Connection) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):  # nobody asks any more
        while True:
            items = connection.recv()
            try:
                answer = [function(item) for item in items]
            except Exception as error:
                answer = error
            connection.send(answer)
