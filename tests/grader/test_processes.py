"""Processes: as many as a container or a scheduler leaves cores to this one, not as the machine has."""

import os
import signal
import subprocess
import sys

import pytest

from data import parallel
from grader import workers
from grader.processes import deaf_to_ctrl_c, usable_cores
from kit import device, faces


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

    class Pool:
        def __init__(self, count, *_, **__):
            asked.append(count)
            raise OSError("enough")

    monkeypatch.setattr(workers, "_Pool", Pool)
    monkeypatch.setattr(workers, "get_context", lambda how: None)
    monkeypatch.setattr(parallel, "_processes", Pool)
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


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_is_heard_after_processes_were_started():
    child = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"

    def start():
        with deaf_to_ctrl_c():
            os.kill(os.getpid(), signal.SIGINT)
            assert subprocess.check_output([sys.executable, "-c", child]) == b"True\n"

    with pytest.raises(KeyboardInterrupt):
        start()
