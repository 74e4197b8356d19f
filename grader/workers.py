"""What grades a class: processes of this machine or of a Dask cluster, and the bounds on reading one submission."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from pathlib import Path

from grader.errors import GraderError, first_line
from grader.processes import ProcessPool, usable_cores

MAX_SECONDS = 60  # of processor time to read one submission: an honest one takes one
MAX_MEMORY = 2 * 2**30  # bytes to read one submission, on top of what the process holds already
SCHEDULER_SECONDS = 10  # to wait for a Dask scheduler to answer


class TooSlow(BaseException):
    """Reading takes longer than it may. No Exception: decoders catch those, and would go on."""


def local(jobs: int | None = None) -> ProcessPool:
    """As many processes as `jobs`, by default one for each core."""
    return ProcessPool(jobs or usable_cores(), _prepare, "--jobs")


def _prepare() -> None:
    """Makes this process one of several that keep a core busy each. It warns of nothing: its parent has read the same,
    and has said so."""
    warnings.simplefilter("ignore")
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


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
