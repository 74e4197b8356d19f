"""What grades a class: processes of this machine or of a Dask cluster, and the bounds on reading one submission."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

from grader.errors import GraderError, first_line
from grader.processes import at_most, deaf_to_ctrl_c, usable_cores

MAX_SECONDS = 60  # of processor time to read one submission: an honest one takes one
MAX_MEMORY = 2 * 2**30  # bytes to read one submission, on top of what the process holds already
SCHEDULER_SECONDS = 10  # to wait for a Dask scheduler to answer


class TooSlow(BaseException):
    """Reading takes longer than it may. No Exception: decoders catch those, and would go on."""


@contextmanager
def local(jobs: int | None = None) -> Iterator[Executor]:
    """As many processes as `jobs`, by default one for each core. They end with this process, however it ends, and at
    once where the block ends by an error or Ctrl-C, whatever they were doing."""
    others = {*active_children()}
    pool = _Pool(at_most(jobs or usable_cores()), mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for child in {*active_children()} - others:
            child.terminate()
        with suppress(RuntimeError):  # its thread could not be started
            pool.shutdown()
        raise
    pool.shutdown()  # waits for them


class _Pool(ProcessPoolExecutor):
    def submit(self, *args, **kwargs):
        """Raises GraderError where the system starts no process, or no thread to watch over it."""
        try:
            with deaf_to_ctrl_c():  # it may start a process
                return super().submit(*args, **kwargs)
        except BrokenProcessPool:
            raise
        except (OSError, RuntimeError) as error:
            raise GraderError(f"could not start a process ({first_line(error)}): use fewer --jobs") from None


def _start_worker() -> None:
    """Makes this process one of several that keep a core busy each, deaf to Ctrl-C. It warns of nothing: its parent
    has read the same, and has said so. It ends when its parent is gone: it waits for work on a pipe that it holds open
    itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

    def wait():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """An existing Dask cluster, whose workers have this package and see the same files under the same names.

    What a lost worker was doing is done by another one. Where there is none yet, a warning says so: a cluster may start
    them when there is work. Raises GraderError, also where the connection is lost.
    """
    try:
        from distributed import Client

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # of a lost scheduler a line is enough
        client = Client(address, timeout=SCHEDULER_SECONDS)
    except ImportError:
        raise GraderError("--dask needs the package distributed: pip install distributed") from None
    except (OSError, ValueError) as error:
        reason = f"no Dask scheduler answers ({first_line(error)})"
        raise GraderError(f"{address}: {reason}: name one that runs, as tcp://host:8786") from None
    with client:
        if not client.nthreads():
            warnings.warn(f"{address}: has no worker yet: start one", stacklevel=4)
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except CancelledError:
            lost = "the connection to the scheduler was lost: start it, and run the same command again"
            raise GraderError(f"{address}: {lost}") from None
        except BaseException:
            executor.shutdown(wait=False)  # what is waiting need not begin
            raise


@contextmanager
def bounded() -> Iterator[None]:
    """Raises TooSlow after MAX_SECONDS of processor time, and MemoryError beyond MAX_MEMORY bytes.

    Only a process's main thread can be stopped so, and only where the system has such limits: on Windows and in Dask's
    threads, what readers count themselves is all that holds.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    import resource

    def stop(*_):
        raise TooSlow(f"reading it takes more than {MAX_SECONDS:g} seconds")

    before, limits = signal.signal(signal.SIGPROF, stop), resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + MAX_MEMORY
        allowed = [most, *(limit for limit in limits if limit != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_AS, (min(allowed), limits[1]))
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS, 1)  # again each second: a finalizer swallows what is raised in it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
