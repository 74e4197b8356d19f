"""What several tests need: faces to train on, and the real data where it lies beside the checkout."""

import inspect
import os
import random
import signal
import tempfile
from functools import partialmethod
from pathlib import Path

import click.testing
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

# What hypothesis remembers of failed cases stays out of the checkout.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir(), "hypothesis")))

# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

if "mix_stderr" in inspect.signature(click.testing.CliRunner).parameters:  # before click 8.2
    click.testing.CliRunner.__init__ = partialmethod(click.testing.CliRunner.__init__, mix_stderr=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tests neither use nor fill the user's cache, and download nothing by accident."""
    monkeypatch.setenv("GRADER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("KIT_OFFLINE", "1")
    monkeypatch.setenv("KIT_SCORE", "0")  # the last cell of a notebook takes 15 s: a test of it takes this away
    for variable in ("GRADER_INCEPTION", "GRADER_CASCADE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for name in (variable, variable.upper()):
            monkeypatch.delenv(name, raising=False)
            if variable == "https_proxy":  # nobody answers there; servers of the tests speak http
                monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def same_random_numbers():
    """A test draws the same numbers, whichever tests ran before it in its process."""
    import torch

    random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def described_once():
    """The ImageNet network is slow, and many tests score the same pictures: it sees each once per process."""
    import numpy as np

    from grader.features import imagenet

    describe, known = imagenet.describe, {}

    def remembering(pictures, progress=None):
        if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8 or pictures.ndim != 4:
            return describe(pictures, progress)
        keys = [picture.tobytes() for picture in pictures]
        new = {key: number for number, key in enumerate(keys) if key not in known}
        if new or not keys:
            known.update(zip(new, describe(pictures[list(new.values())]), strict=True))
        if progress:
            progress(len(keys))
        return np.stack([known[key] for key in keys])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagenet, "describe", remembering)
        yield


@pytest.fixture(scope="session")
def shared():
    """The folder of real faces and submissions; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """A folder of 300 drawn faces with their attributes.csv and about.json."""
    from data.render import render_set

    folder = tmp_path_factory.mktemp("rendered") / "faces"
    render_set(folder, 300, seed=1)
    return folder
