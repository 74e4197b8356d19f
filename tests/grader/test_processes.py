"""Processes: as many as a container or a scheduler leaves cores to this one, not as the machine has."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from multiprocessing.context import SpawnProcess

import pytest

from data import parallel
from grader import workers
from grader.processes import GUARD, CannotStart, ProcessDied, ProcessPool, usable_cores
from kit import device, faces
from tests.helpers import pieces


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
)
def test_the_limit_of_a_container_holds(tmp_path, monkeypatch, files, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(8)}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == faces.usable_cores(tmp_path) == count


def test_the_affinity_holds_and_windows_waits_for_no_more_than_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert usable_cores(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores(tmp_path) == 128
    monkeypatch.setattr("grader.processes.os.name", "nt")
    assert usable_cores(tmp_path) == 60


@pytest.mark.parametrize(
    ("line", "folder", "text"),
    [
        ("0::/a/b", "a/b", {"cpu.max": "200000 100000\n"}),
        ("0::/a/b", "a", {"cpu.max": "200000 100000\n"}),
        ("4:cpu,cpuacct:/a/b", "cpu/a", {"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}),
    ],
)
def test_the_limits_of_the_groups_above_hold_too(tmp_path, monkeypatch, line, folder, text):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(8)}, raising=False)
    (tmp_path / "groups" / folder).mkdir(parents=True)
    for name, content in text.items():
        (tmp_path / "groups" / folder / name).write_text(content)
    (tmp_path / "own").write_text(f"7:memory:/x\n{line}\n")
    assert usable_cores(tmp_path / "groups", tmp_path / "own") == 2
    assert device.usable_cores(tmp_path / "groups", tmp_path / "own") == 2


def test_processes_are_as_many_as_cores_and_on_windows_no_more_than_it_waits_for(monkeypatch):
    asked = []

    def enough(_pool, count, **__):
        asked.append(count)
        raise OSError("enough")

    monkeypatch.setattr(ThreadPoolExecutor, "__init__", enough)
    for module in (workers, parallel):
        monkeypatch.setattr(module, "usable_cores", lambda: 5)
    with monkeypatch.context() as windows:  # and no longer: pytest itself asks for it
        windows.setattr("grader.processes.os.name", "nt")
        for jobs in (None, 200, 7):
            with pytest.raises(OSError, match="enough"), workers.local(jobs):
                pass
            with pytest.raises(OSError, match="enough"):
                next(parallel.ordered_map(len, [], jobs))
    assert asked == [5, 5, 60, 60, 7, 7]


def test_torch_keeps_to_the_cores(monkeypatch):
    threads = []
    monkeypatch.setattr(device, "usable_cores", lambda: 1)
    monkeypatch.setattr(device.torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(device.torch, "set_num_threads", threads.append)
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    device.get_device()
    assert threads == [1]


def nothing():
    pass


def test_a_process_that_is_killed_while_it_answers_ends_its_own_work_alone():
    """As by the kernel, for want of memory: half an answer is in the pipe."""
    with ProcessPool(2, nothing, "--jobs") as pool:
        torn, *others = [pool.submit(pieces.dies_while_it_answers), *(pool.submit(abs, -n) for n in range(9))]
        with pytest.raises(ProcessDied):
            torn.result(timeout=60)
        assert [other.result(timeout=60) for other in others] == [*range(9)]
        with pytest.raises(ProcessDied):
            pool.submit(os._exit, 9).result(timeout=60)
        assert len(pool.started) <= 2  # and no descriptors of those that died
    assert not active_children()


def test_errors_come_back_and_what_cannot_be_sent_is_one():
    with ProcessPool(1, nothing, "--jobs") as pool:
        process = pool.submit(os.getpid).result(timeout=60)
        work = (int, "x"), (sys.exit, "said"), (pieces.cannot_be_sent,), (pieces.fails_with_what_cannot_be_sent,)
        found = [pool.submit(*one) for one in work]
        for future, kind in zip(found, (ValueError, SystemExit, Exception, RuntimeError), strict=True):
            with pytest.raises(kind):
                future.result(timeout=60)
        assert pool.submit(os.getpid).result(timeout=60) == process
    with ProcessPool(1, pieces.fails_to_prepare, "--jobs") as pool, pytest.raises(OSError, match="No space"):
        pool.submit(abs, 1).result(timeout=60)


@pytest.mark.parametrize("pool", [lambda: workers.local(2), lambda: ProcessPool(2, nothing, "--workers")])
def test_an_error_ends_the_work_at_once(pool):
    futures = []

    def work():
        with pool() as some:
            some.submit(abs, 1).result(timeout=60)
            futures.extend(some.submit(time.sleep, 3600) for _ in range(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(futures) == 4 and all(future.done() for future in futures) and not active_children()


def test_a_second_ctrl_c_ends_the_work_too(monkeypatch):
    terminate, asked = SpawnProcess.terminate, []

    def interrupted(process):
        asked.append(process)
        if len(asked) == 1:
            raise KeyboardInterrupt
        terminate(process)

    def work():
        with ProcessPool(1, nothing, "--jobs") as pool:
            pool.submit(abs, 1).result(timeout=60)
            futures.extend(pool.submit(time.sleep, 3600) for _ in range(3))
            raise KeyboardInterrupt

    futures = []
    monkeypatch.setattr(SpawnProcess, "terminate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(futures) == 3 and all(future.done() for future in futures) and not active_children()


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_a_process_hears_no_ctrl_c_and_this_one_does():
    with ProcessPool(1, nothing, "--jobs") as pool:
        process = pool.submit(os.getpid).result(timeout=60)
        os.kill(process, signal.SIGINT)
        assert pool.submit(os.getpid).result(timeout=60) == process
        assert signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result(timeout=60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("owner", "error"),
    [
        ("multiprocessing.context.SpawnProcess", BlockingIOError(11, "Resource temporarily unavailable")),
        ("threading.Thread", RuntimeError("can't start new thread")),
    ],
)
def test_a_process_or_thread_that_cannot_be_started(monkeypatch, owner, error):
    """As where a user may have no more of them: no fault of what was to be worked on."""

    def refused(_):
        raise error

    said = re.escape(f"could not start a process ({error}): use fewer --jobs")
    monkeypatch.setattr(f"{owner}.start", refused)
    with workers.local(2) as pool, pytest.raises(CannotStart, match=said):
        pool.submit(abs, 1).result(timeout=60)
    with pytest.raises(CannotStart, match="use fewer --workers"):
        list(parallel.ordered_map(abs, [1], workers=2))


UNGUARDED = "from data.parallel import ordered_map\nprint('here')\nprint([*ordered_map(abs, [-1, -2], workers=2)])\n"


@pytest.mark.parametrize("stdin", [False, True])
def test_a_script_that_processes_cannot_run_anew_is_told_so(tmp_path, stdin):
    """Without a guard each of them starts others; what is read from stdin, they cannot read again."""
    (script := tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, "-"] if stdin else [sys.executable, script]
    given = {"input": UNGUARDED, "text": True, "capture_output": True, "timeout": 120}
    done = subprocess.run(command, **given, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert done.returncode == 1 and done.stderr.count("under if __name__ == '__main__':")
    assert done.stderr.rstrip().endswith(f"CannotStart: {GUARD}")
    assert "use fewer" not in done.stderr and "was killed" not in done.stderr


def test_a_process_that_is_killed_as_it_begins_is_no_fault_of_the_script(monkeypatch):
    """As by the kernel, for want of memory: its work is tried again."""
    start = SpawnProcess.start

    def killed(process):
        start(process)
        process.kill()

    monkeypatch.setattr(SpawnProcess, "start", killed)
    with ProcessPool(1, nothing, "--jobs") as pool, pytest.raises(ProcessDied):
        pool.submit(abs, 1).result(timeout=60)
