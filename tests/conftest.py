"""What several tests need: faces to train on, and the real data where it lies beside the checkout."""

import hashlib
import inspect
import os
import random
import signal
import tempfile
from contextlib import suppress
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
    for variable in ("GRADER_INCEPTION", "GRADER_CASCADE", "KIT_WATCHED"):  # the last as baselines.run left it
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
def described_once(tmp_path_factory):
    """The ImageNet network is slow, and many tests score the same pictures: it sees each once, in whichever worker."""
    import numpy as np

    from grader.features import imagenet
    from grader.progress import unheard

    describe, known, folder = imagenet.describe, {}, tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "described"
    folder.mkdir(exist_ok=True)

    def remembering(pictures, done=unheard):
        if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8 or pictures.ndim != 4:
            return describe(pictures, done)
        keys = [picture.tobytes() for picture in pictures]
        path = folder / hashlib.sha256(pictures.tobytes()).hexdigest()
        if path.exists():
            known.update(zip(keys, np.fromfile(path).reshape(len(keys), -1), strict=True))
        new = {key: number for number, key in enumerate(keys) if key not in known}
        if new or not keys:
            known.update(zip(new, describe(pictures[list(new.values())]), strict=True))
        rows = np.stack([known[key] for key in keys])
        if len(new) >= 100:  # a large set, which another worker may ask for; small ones are described in no time
            unfinished = path.with_suffix(f".{os.getpid()}")
            with suppress(OSError):  # a test in which the disk is full
                rows.tofile(unfinished)
                unfinished.replace(path)
        done(len(keys))
        return rows

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
def inception_weights(tmp_path_factory) -> Path:
    """A state dict as pytorch-fid's own, but random."""
    import torch
    from pytorch_fid import inception

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr("torchvision.models.Inception3.load_state_dict", lambda self, state: None)
        network = inception.fid_inception_v3()
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """A folder of 300 drawn faces with their attributes.csv and about.json."""
    from data.render import render_set

    folder = tmp_path_factory.mktemp("rendered") / "faces"
    render_set(folder, 300, seed=1)
    return folder
