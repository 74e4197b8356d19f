"""`make gpu-check` to its end, on the CPU and at the smallest sizes."""

import ast
import json
import subprocess
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from baselines.build import ROOT, masters
from kit.run import Run
from kit.settings import Settings
from tests.benchmarks import gpu_check
from tests.benchmarks.training import loop_of
from tests.helpers.pretend_gpu import distance, watch_loading


@pytest.fixture
def on_the_cpu(monkeypatch):
    """For this process, and for those that it starts."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    variables = {"PYTHONPATH": str(ROOT / "baselines"), "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_check_of_a_gpu_runs_to_its_end_and_writes_its_tables(tmp_path, on_the_cpu, monkeypatch):
    row = {"notebook": "01_gan", "seconds": 9, "result": "whole", "device": "cpu", "resumed": "equal"}
    check = gpu_check.check_notebook
    monkeypatch.setattr(
        gpu_check, "check_notebook", lambda stem, *more: row if stem == "01_gan" else check(stem, *more)
    )
    name = "half, channels last"  # all variants differ in settings alone
    monkeypatch.setattr(gpu_check, "VARIANTS", {name: gpu_check.VARIANTS[name]})
    command = ["--output", str(tmp_path), "--only", "01_gan,nothing"]
    done = CliRunner().invoke(gpu_check.main, command, catch_exceptions=False)
    assert done.exit_code == 1, done.output  # as "nothing" is not whole
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert found["notebooks"] == [row, {"notebook": "nothing", "result": "there is no nothing"}]  # the others went on
    assert [row["loop"] for row in found["speed"]] == ["sample code", name]
    assert all(row["steps_per_second"] > 0 for row in found["speed"] + found["pace"])
    assert [row["notebook"] for row in found["pace"]] == ["01_gan"]
    page = (tmp_path / "cpu.md").read_text()
    assert page.startswith("# CPU\n") and "| 01_gan |" in page and f"| {name} |" in page


@pytest.mark.parametrize("master", masters(), ids=lambda master: master.stem)
def test_the_loop_of_every_notebook_can_be_timed(master):
    loop = ast.parse(loop_of(master)).body[-1].body[-1]
    assert ast.unparse(loop.iter).startswith("run.steps(") and isinstance(loop.body[-1].value, ast.Yield)


@pytest.mark.parametrize(
    ("result", "timed", "code"),
    [
        ("whole", {"steps_per_second": None}, 0),  # no time was left for it
        ("no time left", {}, 1),
        ("whole", {"result": "OutOfMemoryError: CUDA out of memory"}, 1),
    ],
)
def test_the_check_fails_where_a_notebook_is_not_whole(tmp_path, on_the_cpu, monkeypatch, result, timed, code):
    monkeypatch.setattr("data.render.render_set", lambda *_, **__: None)
    monkeypatch.setattr(gpu_check, "jpegs", lambda *_: None)
    monkeypatch.setattr(gpu_check, "speeds", lambda *_, **__: [])
    monkeypatch.setattr(gpu_check, "paces", lambda *_, **__: [{"notebook": "01_gan"} | timed])
    monkeypatch.setattr(gpu_check, "check_notebook", lambda stem, *_: {"notebook": stem, "result": result})
    done = CliRunner().invoke(gpu_check.main, ["--output", str(tmp_path), "--only", "01_gan"])
    assert done.exit_code == code and (tmp_path / "cpu.md").exists()


def test_a_loop_that_cannot_train_does_not_end_the_check(tmp_path, rendered, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(gpu_check, "sample_code", full)
    monkeypatch.setattr(gpu_check, "VARIANTS", {"float32": gpu_check.VARIANTS["float32"]})
    row, other = gpu_check.speeds(rendered, 1, time.time() + 60, width=2, batch_size=4)
    assert row["steps_per_second"] is None and row["result"] == "OutOfMemoryError: CUDA out of memory."
    assert other["steps_per_second"] > 0


def test_on_a_gpu_01_trains_at_full_size(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr("data.render.render_set", lambda *_, **__: None)
    monkeypatch.setattr(gpu_check, "jpegs", lambda folder, number: number)
    monkeypatch.setattr(gpu_check, "speeds", lambda *given, **size: asked.append((*given[:2], size)) or [])
    monkeypatch.setattr(gpu_check, "check_notebook", lambda *_: {"result": "whole"})
    CliRunner().invoke(gpu_check.main, ["--output", str(tmp_path), "--only", "01_gan"], catch_exceptions=False)
    assert asked == [(4000, 200, {"width": 64, "batch_size": 64})]  # those of the preset `course`


@pytest.mark.parametrize(
    ("loaded", "differ", "row"),
    [([], [], ("whole", "equal")), (["/D"], ["/D"], ("1 tensors were not loaded as saved", "0.5 away, as two"))],
)
def test_a_resume_is_told_apart_from_sums_in_another_order(tmp_path, monkeypatch, loaded, differ, row):
    told = {"loaded": loaded, "differences": differ, "distances": [0.5, 0.01], "device": "cuda:0", "memory_mb": 1}

    def run(command, **_):
        Path(command[command.index("--folder") + 1], "told.json").write_text(json.dumps(told))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    found = gpu_check.check_notebook("01_gan", tmp_path, 60, [])
    assert found["result"] == row[0] and found["resumed"].startswith(row[1])


@pytest.mark.parametrize(("slip", "differences"), [(0, []), (1, ["/D/weight"])])
def test_what_is_not_loaded_as_it_was_saved_is_told(tmp_path, slip, differences):
    class Forgetful(Run):
        def load_checkpoint(self):
            step = super().load_checkpoint()
            self.parts["D"].weight.data += slip
            return step

    def session():
        return Forgetful(Settings(run=str(tmp_path)), nn.Linear(2, 1), nn.Linear(1, 1), z=torch.ones(8, 2))

    told, run = {}, session()
    run.step = 1
    run.save_checkpoint()
    watch_loading({"Run": Forgetful}, told)
    assert session().last.name == "last.pt" and told["loaded"] == differences


def test_a_distance_is_a_share_of_the_weights_size():
    one = {"G": {"w": torch.tensor([3.0])}, "D": {"w": torch.tensor([4.0])}, "step": 1}
    other = one | {"D": {"w": torch.tensor([4.5])}}
    assert distance(one, other) == pytest.approx(0.1) and distance(one, one) == 0


def test_a_notebook_is_whole_and_resumes_in_a_process_of_its_own(on_the_cpu, rendered):
    row = gpu_check.check_notebook("01_gan", rendered, 500, ["samples=100"])
    assert (row["result"], row.get("device"), row.get("resumed")) == ("whole", "cpu", "equal")


def test_a_notebook_that_fails_is_a_row_that_says_why(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: too small\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **options: failed)
    assert gpu_check.check_notebook("01_gan", tmp_path, 60, [])["result"] == "ValueError: too small"
    assert gpu_check.check_notebook("01_gan", tmp_path, 0, [])["result"] == "no time left"
