"""`make gpu-check` to its end, on the CPU and at the smallest sizes."""

import json
import subprocess

import pytest
from click.testing import CliRunner

from baselines.build import ROOT
from tests.benchmarks import gpu_check


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
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert found["notebooks"] == [row, {"notebook": "nothing", "result": "there is no nothing"}]  # the others went on
    assert [row["loop"] for row in found["speed"]] == ["sample code", name]
    assert all(row["steps_per_second"] > 0 for row in found["speed"])
    page = (tmp_path / "cpu.md").read_text()
    assert page.startswith("# CPU\n") and "| 01_gan |" in page and f"| {name} |" in page


def test_a_notebook_is_whole_and_resumes_in_a_process_of_its_own(on_the_cpu, rendered):
    row = gpu_check.check_notebook("01_gan", rendered, 500, [])
    assert (row["result"], row.get("device"), row.get("resumed")) == ("whole", "cpu", "equal")


def test_a_notebook_that_fails_is_a_row_that_says_why(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: too small\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **options: failed)
    assert gpu_check.check_notebook("01_gan", tmp_path, 60, [])["result"] == "ValueError: too small"
    assert gpu_check.check_notebook("01_gan", tmp_path, 0, [])["result"] == "no time left"
