"""`make gpu-check` to its end, on the CPU and at the smallest sizes."""

import json
import os
import subprocess
import sys

from baselines.build import ROOT
from tests.benchmarks import gpu_check


def test_the_check_of_a_gpu_runs_to_its_end_and_writes_its_tables(tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks.gpu_check", "--output", tmp_path, "--only", "01_gan,nothing"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "baselines"), "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads((tmp_path / "cpu.json").read_text())
    whole, failed = found["notebooks"]
    assert (whole["result"], whole["device"], whole["resumed"]) == ("whole", "cpu", "equal")
    assert failed["result"] == "there is no nothing"  # and the others went on
    assert [row["loop"] for row in found["speed"]][:2] == ["sample code", "float32"]
    assert all(row["steps_per_second"] > 0 for row in found["speed"])
    page = (tmp_path / "cpu.md").read_text()
    assert page.startswith("# CPU\n") and "| 01_gan |" in page and "| half, channels last |" in page


def test_a_notebook_that_fails_is_a_row_that_says_why(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: too small\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **options: failed)
    assert gpu_check.check_notebook("01_gan", tmp_path, 60, [])["result"] == "ValueError: too small"
    assert gpu_check.check_notebook("01_gan", tmp_path, 0, [])["result"] == "no time left"
