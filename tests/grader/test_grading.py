"""Submissions graded in processes: what ends one, what another grader measured, and which results are kept."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import grader.scoring  # noqa: F401 - now, and not first where a test has put another reader in its place
from grader import grading, result_cache, workers
from grader.errors import GraderError
from grader.inputs import submission
from grader.inputs.submission import Submission
from grader.results import Measure, Score
from tests.conftest import ROOT
from tests.helpers import graders


def test_a_result_has_the_page_that_is_wanted_of_it(monkeypatch):
    pictures = np.zeros((10, 64, 64, 3), np.uint8)
    names = [f"{number}.jpg" for number in range(10)]
    monkeypatch.setattr(
        submission, "read_submission", lambda source: submission.Submission(source, names, pictures, [])
    )
    monkeypatch.setattr(grading, "_scorer", grading.Options.scorer)  # which leaves torch its threads
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    options = grading.Options(metrics=("afd",), offline=True, pages=True)
    result = grading.grade("ada", Path("ada.tgz"), options)
    assert "<title>Score of ada.tgz</title>" in result["page"] and result["drawn_by"] == result_cache.drawn_by()


def test_one_that_kills_its_process_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "grade", graders.dies_for_eve)
    found = {name: tmp_path / f"{name}.tgz" for name in ("ada", "bob", "eve", "kim", "zoe")}
    for path in found.values():
        path.touch()
    results = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: workers.local(2))
    assert {result["name"]: result["status"] for result in results} == {
        "ada": "graded", "bob": "graded", "eve": "broken", "kim": "graded", "zoe": "graded",
    }  # fmt: skip
    assert "ended the process" in results[2]["problems"][0]
    assert [result.get("undecided", False) for result in results] == [False, False, True, False, False]
    assert not (tmp_path / "parts/eve.json").exists()  # another load may have ended it: it is tried again


def test_a_mistake_of_ours_costs_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "grade", graders.fails_for_eve)
    found = {name: tmp_path / name for name in ("eve", "kim")}
    for path in found.values():
        path.touch()
    results = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: workers.local(1))
    assert [result["status"] for result in results] == ["broken", "graded"]
    assert "a mistake of ours" in results[0]["problems"][0] and results[0]["undecided"]
    monkeypatch.setattr(grading, "grade", graders.slow)  # mended: it is graded now, and the other one not again
    again = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: workers.local(1))
    assert again[0]["status"] == "graded"
    assert again[1] == results[1]


def test_workers_that_are_older_than_the_code_are_to_be_started_again(tmp_path, monkeypatch):
    def grade(name, source, options):
        raise ImportError("cannot import name 'Deeper'")

    monkeypatch.setattr(grading, "grade", grade)
    (tmp_path / "eve").touch()
    (row,) = grading.grade_all(
        {"eve": tmp_path / "eve"}, tmp_path / "parts", grading.Options(), "x", lambda: ThreadPoolExecutor(1)
    )
    assert row["problems"] == ["grading it failed (cannot import name 'Deeper'): start the workers again"]
    assert row["undecided"]


@pytest.mark.parametrize("error", [OSError("[WinError 1455] too small"), MemoryError(), ImportError("DLL load failed")])
def test_a_process_without_room_for_the_grader_ends_the_command(tmp_path, monkeypatch, error):
    """Else it fails one submission after the other, faster than the others grade them. In a thread, such as Dask's, it
    is one of somebody's machines."""

    def scorer(options):
        raise error

    monkeypatch.setattr(grading, "_scorer", scorer)
    (tmp_path / "eve").touch()
    given = {"eve": tmp_path / "eve"}, tmp_path / "parts", grading.Options(), "x"
    with pytest.raises(GraderError, match=r"^a process could not load the grader \(.+\): use fewer --jobs$") as told:
        grading.grade_all(*given, graders.Serial)
    assert pickle.loads(pickle.dumps(told.value)).problems == told.value.problems  # as it comes from a process
    (row,) = grading.grade_all(*given, lambda: ThreadPoolExecutor(1))
    assert row["problems"][0].startswith("grading it failed (") and row["undecided"]


def test_no_wait_is_without_end(tmp_path, monkeypatch):
    """On Windows Ctrl-C would wait for it, for hours."""
    waits = []

    def wait(*args, timeout=None, **options):
        waits.append(timeout)
        return futures.wait(*args, timeout=timeout, **options)

    monkeypatch.setattr(grading, "wait", wait)
    monkeypatch.setattr(grading, "grade", graders.listed)
    found = {name: tmp_path / name for name in ("ada", "eve")}
    for path in found.values():
        path.touch()
    results = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: ThreadPoolExecutor(2))
    assert len(results) == 2 and waits and {*waits} == {0.5}


def test_what_could_not_be_read_is_undecided(tmp_path, monkeypatch):
    """By a worker that does not see the folder, say: another time it is graded, and until then nobody has 0 points."""
    monkeypatch.setattr(grading, "_scorer", lambda options: None)
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    for name in ("ada", "eve"):
        (tmp_path / name).write_text("no archive")
    grade = grading.grade

    def elsewhere(name, source, options):
        return grade(name, source if name == "eve" else tmp_path / "unseen" / name, options)

    monkeypatch.setattr(grading, "grade", elsewhere)
    found = {name: tmp_path / name for name in ("ada", "eve")}
    results = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: ThreadPoolExecutor(1))
    assert results[0]["problems"] == ["no such file or folder"]
    assert [result.get("undecided", False) for result in results] == [True, False]
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["eve.json"]


def test_a_measure_that_failed_once_is_measured_again(tmp_path, monkeypatch):
    """A GPU without memory, say: the row says so, and the grade rests on the other measures until then."""
    fid, pictures = Measure("FID", "inception", "faces", None, note="out of memory"), np.zeros((6, 64, 64, 3), np.uint8)

    def grade(*measures):
        score = Score(whole, "faces", [Measure("KID", "inception", "faces", 1.0), *measures], [], np.zeros(6))
        scorer = SimpleNamespace(score=lambda _: score)
        monkeypatch.setattr(grading, "_scorer", lambda options: scorer)
        options = grading.Options(missing=(("lbpcascade", "no OpenCV"),))
        (result,) = grading.grade_all({"eve": path}, tmp_path / "parts", options, "x", lambda: ThreadPoolExecutor(1))
        return result

    whole, path = Submission(tmp_path / "eve.tgz", [f"{n}.jpg" for n in range(6)], pictures, ["a note"]), tmp_path / "e"
    path.touch()
    monkeypatch.setattr(submission, "read_submission", lambda source: whole)
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    once = grade(fid)
    assert once["notes"] == ["a note", "FID by inception: out of memory"]
    assert not once.get("undecided") and "failed" not in once
    elsewhere = Measure("AFD", "lbpcascade-3", None, None, note="no OpenCV here")  # of a worker alone
    assert grade(replace(fid, value=90.0), elsewhere)["notes"] == ["a note", "AFD by lbpcascade-3: no OpenCV here"]
    missing = Measure("AFD", "lbpcascade-3", None, None, note="no OpenCV")  # known before, and part of the key
    assert [one["value"] for one in grade(replace(fid, value=90.0), missing)["measures"]] == [1.0, 90.0, None]
    assert grade(fid)["notes"] == ["a note"]  # kept


@pytest.mark.parametrize("executor", [graders.Serial, lambda: ThreadPoolExecutor(1)])
def test_what_a_worker_warns_of_is_said_here(tmp_path, monkeypatch, executor):
    """Once, and not raw by each process, into the bar: of what all read, this process has said it. In a thread, such as
    Dask's, it is warned of as it comes: to record it there would be for all threads."""

    def score(_):
        warnings.warn("the GPU cannot run it", stacklevel=1)
        return Score(whole, "faces", [], [], np.zeros(6))

    whole = Submission(tmp_path, ["1.jpg"] * 6, np.zeros((6, 64, 64, 3), np.uint8), [])
    monkeypatch.setattr(submission, "read_submission", lambda source: whole)
    monkeypatch.setattr(grading, "_scorer", lambda options: SimpleNamespace(score=score))
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    (tmp_path / "eve").touch()
    result = grading.grade("eve", tmp_path / "eve", grading.Options())
    assert result["warnings"] == ["the GPU cannot run it"]  # recorded, in the main thread
    with pytest.warns(UserWarning, match="the GPU cannot run it") as said:
        (row,) = grading.grade_all({"eve": tmp_path / "eve"}, tmp_path / "parts", grading.Options(), "x", executor)
    assert len(said) == 1 and "warnings" not in row


def test_a_worker_says_nothing(capfd):
    with workers.local(1) as pool:
        pool.submit(graders.warns).result()
    assert capfd.readouterr() == ("", "")


def test_what_was_measured_with_other_files_is_undecided(tmp_path, monkeypatch):
    """By a worker that was started before they changed."""

    measured_with = {}

    def grade(name, source, options):
        status = {"torn": "broken"}.get(name, "graded")
        problems = ["torn"] if status == "broken" else []
        return {"name": name, "status": status, "problems": problems, "measured_with": measured_with[name]}

    monkeypatch.setattr(grading, "grade", grade)
    found = {name: tmp_path / name for name in ("ada", "eve", "torn")}
    for path in found.values():
        path.touch()

    def grade_all(parts):
        return grading.grade_all(found, tmp_path / parts, grading.Options(), "new-1", lambda: ThreadPoolExecutor(1))

    for others, undecided in (({"eve": "old-1", "torn": "old-1"}, [False, True, True]), ({}, [False] * 3)):
        measured_with |= dict.fromkeys(found, "new-1") | others
        results = grade_all("parts")
        assert [result.get("undecided", False) for result in results] == undecided
        noted = [grading.ELSEWHERE in result.get("notes", []) for result in results]
        assert noted == undecided
    measured_with |= dict.fromkeys(found, "new-2")  # one that has no lbpcascade, say
    for _ in range(2):
        results = grade_all("others")
        assert not any(result.get("undecided") for result in results)  # what is torn is torn there too
        assert not any(result.get("notes") for result in results)
        assert not [*tmp_path.glob("others/*.json")]  # a worker that has it may grade it next time


def test_what_was_drawn_by_another_grader_is_named_and_kept(tmp_path, monkeypatch):
    """By a worker that was started before the page's look changed: its numbers hold."""

    def grade(name, source, options):
        page = {"page": name, "drawn_by": {"eve": "old"}.get(name, "new")} if options.pages else {}
        return {"name": name, "status": "graded", "problems": [], "measured_with": "x"} | page

    monkeypatch.setattr(grading, "grade", grade)
    monkeypatch.setattr(result_cache, "drawn_by", lambda: "new")
    found = {name: tmp_path / name for name in ("ada", "eve")}
    for path in found.values():
        path.touch()
    for pages, noted in ((True, [False, True]), (True, [False, True]), (False, [False] * 2)):
        results = grading.grade_all(
            found,
            tmp_path / "parts",
            grading.Options(pages=pages),
            "x",
            lambda: ThreadPoolExecutor(1),
        )
        assert [grading.DRAWN_ELSEWHERE in result.get("notes", []) for result in results] == noted
        assert not any(result.get("undecided") for result in results)
        monkeypatch.setattr(grading, "grade", grade if pages else None)


def test_dask_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(GraderError, match="--dask needs the package distributed: pip install"), workers.dask("x"):
        pass


def test_on_a_dask_cluster_that_loses_a_worker(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(grading, "grade", graders.slow)
    found = {f"{number:02d}": tmp_path / f"{number:02d}.tgz" for number in range(12)}
    for path in found.values():
        path.touch()
    done = []

    def kill_one(count):
        done.append(count)
        if len(done) == 4:
            one = next((tmp_path / "parts").glob("*.json"))
            os.kill(json.loads(one.read_text())["process"], signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        results = grading.grade_all(
            found, tmp_path / "parts", grading.Options(), "x", lambda: workers.dask(address), kill_one
        )
    assert [result["name"] for result in results] == sorted(found)
    assert {result["status"] for result in results} == {"graded"}
    assert len({result["process"] for result in results}) >= 2


def test_a_dask_cluster_without_workers_that_is_lost(tmp_path):
    """In a line, and not as rows with the fault of each, nor by silence for ever."""
    distributed = pytest.importorskip("distributed")
    (tmp_path / "eve").touch()
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        threading.Timer(0.5, cluster.close).start()
        with (
            pytest.warns(UserWarning, match=f"{address}: has no worker yet: start one"),
            pytest.raises(GraderError, match=f"{address}: the connection to the scheduler was lost"),
        ):
            grading.grade_all(
                {"eve": tmp_path / "eve"}, tmp_path / "parts", grading.Options(), "x", lambda: workers.dask(address)
            )
    assert not (tmp_path / "parts").exists()


def test_no_process_is_no_fault_of_a_submission(tmp_path, monkeypatch):
    def refused(_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    (tmp_path / "eve").touch()
    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refused)
    with pytest.raises(GraderError, match=r"could not start a process \(.*\): use fewer --jobs"):
        grading.grade_all(
            {"eve": tmp_path / "eve"}, tmp_path / "parts", grading.Options(), "x", lambda: workers.local(1)
        )
    assert not (tmp_path / "parts").exists()


def test_a_submission_that_takes_too_long_or_too_much(tmp_path, monkeypatch):
    class Nothing:
        against = None

    monkeypatch.setattr(grading, "_scorer", lambda options: Nothing)
    monkeypatch.setattr(grading, "_measured_with", lambda options: "")
    monkeypatch.setattr(workers, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(workers, "MAX_MEMORY", 2**28)

    def busy(source):
        while True:
            with contextlib.suppress(Exception):  # as decoders do
                sum(range(1000))

    def hungry(source):
        return np.ones(2**28)

    for read, problem in ((busy, "more than 0.2 seconds"), (hungry, "too much memory")):
        if read is hungry and not os.path.exists("/proc/self/statm"):
            continue
        monkeypatch.setattr(submission, "read_submission", read)
        row = grading.grade("eve", tmp_path / "eve.tgz", grading.Options())
        assert row["status"] == "broken" and problem in row["problems"][0]
    assert len(np.ones(2**25)) == 2**25  # and the bound is gone


def test_a_reference_behind_a_link_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("faces.zip").symlink_to("5d91aa1e")
    assert grading.Options(Path("faces.zip")).resolved().reference == Path.cwd() / "faces.zip"
    assert grading.Options(metrics="afd").resolved().metrics == ("afd",)


PARENT = """
import os, time
from grader import workers

if __name__ == "__main__":
    with workers.local(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_workers_end_with_their_parent(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        with contextlib.suppress(FileNotFoundError):  # gone a moment ago, or a system without /proc
            if "\nState:\tZ" in Path(f"/proc/{worker}/status").read_text():
                return  # dead, and nobody asked how it ended
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


STOPPED = """
import os, signal, threading, time
from pathlib import Path
from grader import grading, workers
from tests.helpers import graders


def stop():
    while len([*Path().glob("stopped.?")]) < 2:  # until both workers are busy
        time.sleep(0.05)
    os.killpg(0, signal.SIGINT)


if __name__ == "__main__":
    grading.grade = graders.busy
    threading.Thread(target=stop, daemon=True).start()
    began = time.time()
    try:
        found = {name: Path(__file__) for name in "abcdef"}
        options, parts = grading.Options(), Path("parts")
        grading.grade_all(found, parts, options, "x", lambda: workers.local(2))
    except KeyboardInterrupt:
        print("stopped", time.time() - began < 20)
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_waits_for_no_submission_and_workers_say_nothing(tmp_path):
    (tmp_path / "stopped.py").write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, tmp_path / "stopped.py"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60,
        start_new_session=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("stopped True\n", "")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("is bad", "is good"),
        lambda text: text.replace("problems", "problfms"),
        lambda text: "[]",
        lambda text: '{"seal": null}',
        lambda text: "[" * 100_000,
        lambda text: "",
    ],
)
def test_a_stored_result_that_was_broken_is_graded_again(tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(grading, "grade", graders.listed)
    (tmp_path / "eve.tgz").touch()

    def grade():
        return grading.grade_all(
            {"eve": tmp_path / "eve.tgz"}, tmp_path, grading.Options(), "x", lambda: ThreadPoolExecutor(1)
        )

    before = grade()
    path = tmp_path / "eve.json"
    whole = path.read_text()
    path.write_text(spoil(whole))
    assert grade() == before
    assert path.read_text() == whole
    monkeypatch.setattr(grading, "grade", None)
    assert grade() == before  # and then it is kept
