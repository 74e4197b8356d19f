"""Notebooks on a GPU that is not there: nothing that a GPU refuses, no step that waits for it, and an exact resume."""

import json
import subprocess
import sys

import pytest

from baselines.build import masters
from tests.benchmarks.gpu_check import growing
from tests.helpers.stubbed import stubbed_cuda

WHOLE = "01_gan"  # with its check cells too, which take longer than all else, and with all samples
HALF = ("01_gan", "02_gradient_clipping", "03_wgan", "06_cgan")  # the others' steps, or D's, stay in float32
SMALLER = {
    "05_stylegan2": ["batch_size=2", "z_dim=16"],
    "08_biggan": ["batch_size=4", "accumulate=2", "attention=16"],
    "09_cyclegan": ["batch_size=2", "history=5"],  # full after three steps: then it draws random numbers
}
PACKAGE = "stylegan2_pytorch"  # fetches its own losses, and does not ask us
SAMPLES = ": sample"  # which 07 shows of each resolution when it ends


@pytest.mark.parametrize("stem", [master.stem for master in masters()])
def test_a_notebook_trains_without_waiting(stem, tmp_path, rendered):
    more = ["checks=true"] if stem == WHOLE else ["samples=100", *SMALLER.get(stem, []), *growing(stem)]
    if stem in HALF:
        more.append("half=true")
    if stem != "05_stylegan2":  # there the package decides
        more += ["norms_every=2", "n_critic=2"]
    command = [sys.executable, "-m", "tests.helpers.pretend_gpu", stem, rendered, tmp_path, *more]
    done = subprocess.run(command, env=stubbed_cuda(tmp_path), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["device"] == "cuda:0" and told["pictures"] >= (1000 if stem == WHOLE else 100) and told["step"] == 6
    for when in ("fresh", "resumed"):
        assert [line for line in told[when] if PACKAGE not in line and not line.endswith(SAMPLES)] == []
        assert told[when] or stem != "05_stylegan2"  # what waits is seen
    assert told["loaded"] == [] and told["differences"] == []
