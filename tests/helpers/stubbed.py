"""CUDA without a GPU: a library that says that there are two, for processes of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch


def stubbed_cuda(folder) -> dict:
    """The environment of a process in which CUDA has two devices that can do nothing. The test is skipped where there
    is no C compiler, or no CUDA in torch that would ask."""
    if not torch.version.cuda or not shutil.which("cc"):
        pytest.skip("needs cc, and torch with CUDA")
    library = Path(folder, "stubbed_cuda.so")
    source = Path(__file__).with_name("stubbed_cuda.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, source], check=True)
    root = source.parents[2]
    paths = os.pathsep.join(map(str, (root, root / "baselines")))
    return os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": paths, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
