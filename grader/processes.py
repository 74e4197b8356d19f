"""Processes that work for this one: how many it may keep busy, and a pool of them that outlives each."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import current_process, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path, PurePosixPath

from grader.errors import GraderError, first_line

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


class CannotStart(GraderError):
    """The system starts no process, or no thread to wait for its answers."""


GUARD = "a process ended as it began (why stands above): call this from a file, under if __name__ == '__main__':"


class ProcessDied(Exception):
    """A process was killed while it did some work, maybe for want of memory."""


class ProcessPool(ThreadPoolExecutor):
    """An executor of up to `count` processes, each of which calls prepare() first; who asks for too many is told to use
    fewer of the `option`. Work raises CannotStart, or ProcessDied where its process was killed: another process takes
    its place, and no other work is lost.

    Each process has a pipe of its own, and a thread here that waits for its answer. Those of ProcessPoolExecutor share
    a pipe: when one is killed while it writes an answer, the others wait for the rest of it for ever.

    Processes hear no Ctrl-C: it is this one's to answer. They end with it, however it ends, and at once where the
    block ends by an error or Ctrl-C, whatever they are doing.
    """

    def __init__(self, count: int, prepare: Callable[[], None], option: str):
        super().__init__(at_most(count), initializer=_block_ctrl_c)
        if getattr(current_process(), "_inheriting", False):  # it runs the script anew, and would start others that do
            raise CannotStart(GUARD)
        # Spawned on every system: a fork copies locks of OpenCV's and torch's threads without the threads, and hangs.
        self.context, self.prepare, self.option = get_context("spawn"), prepare, option
        self.own = threading.local()  # of each thread: its process, and the pipe to it
        self.starting, self.started, self.ended = threading.Lock(), [], False
        if os.name != "nt":
            resource_tracker.ensure_running()  # a thread that started it would hear Ctrl-C again

    def submit(self, function: Callable, *args) -> Future:
        try:
            return super().submit(self._ask, function, args)
        except RuntimeError as error:
            raise self._too_many(error) from None

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.shutdown()  # waits for all work
        finally:
            self.shutdown(wait=False, cancel_futures=True)
            try:
                self._end()
            except KeyboardInterrupt:  # again: what still works would keep this process from its end
                self._end()
                raise
            self.shutdown()

    def _end(self) -> None:
        with self.starting:
            self.ended = True
            for process in self.started:
                process.terminate()
            for process in self.started:
                process.join()

    def _ask(self, function: Callable, args: tuple) -> object:
        if begins := not hasattr(self.own, "worker"):
            self.own.worker = self._start()
        process, pipe = self.own.worker
        try:
            if begins:
                _receive(process, pipe)
                begins = False
            pipe.send((function, args))
            answer, error = _receive(process, pipe)
        except (EOFError, OSError):
            del self.own.worker
            with self.starting:
                self.started.remove(process)
            process.join()
            killed = process.exitcode < 0
            process.close()
            raise ProcessDied if killed or not begins else CannotStart(GUARD) from None
        if error is not None:
            raise error
        return answer

    def _too_many(self, error: Exception) -> CannotStart:
        return CannotStart(f"could not start a process ({first_line(error)}): use fewer {self.option}")

    def _start(self) -> tuple[BaseProcess, Connection]:
        with self.starting:
            if self.ended:
                raise ProcessDied
            try:
                ours, theirs = self.context.Pipe()
                process = self.context.Process(target=_answer, args=(theirs, self.prepare), daemon=True)
                process.start()
            except (OSError, RuntimeError) as error:
                raise self._too_many(error) from None
            self.started.append(process)
        theirs.close()  # only the process has it now: when it ends, so does what we read
        return process, ours


def _receive(process: BaseProcess, pipe: Connection) -> object:
    """What a process sends next. Raises EOFError and OSError where it has ended."""
    if pipe not in wait([pipe, process.sentinel]):  # on Windows a pipe outlives who never opened it
        raise EOFError
    return pipe.recv()


def _block_ctrl_c() -> None:
    """For this thread, and for the processes that it starts, from their first moment."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _answer(pipe: Connection, prepare: Callable[[], None]) -> None:
    """What a process does: it says that it has begun, calls what it is sent, and sends back the result or the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    with suppress(OSError):  # nobody waits any more
        pipe.send(None)  # the parent's script, which it has run anew, did not end it

    def end_with_parent():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    prepared = False
    with suppress(EOFError, OSError):  # nobody asks any more
        while True:
            asked = pipe.recv_bytes()
            try:
                if not prepared:  # before what is asked for is imported
                    prepare()
                    prepared = True
                function, args = ForkingPickler.loads(asked)
                answer = ForkingPickler.dumps((function(*args), None))
            except BaseException as error:
                answer = _as_answer(error)
            pipe.send_bytes(answer)


def _as_answer(error: BaseException) -> bytes:
    """The error, or one that says the same where it cannot be sent."""
    try:
        return ForkingPickler.dumps((None, error))
    except Exception:
        return ForkingPickler.dumps((None, RuntimeError(f"{type(error).__name__}: {first_line(error)}")))
