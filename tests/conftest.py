"""What several tests need: faces to train on, and the real data where it lies beside the checkout."""

import inspect
import os
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
    for variable in ("GRADER_INCEPTION", "GRADER_CASCADE"):
        monkeypatch.delenv(variable, raising=False)


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


@pytest.fixture(scope="session")
def rendered_1000(tmp_path_factory) -> Path:
    """A folder of 1,000 drawn faces with their attributes.csv."""
    from data.render import render_set

    folder = tmp_path_factory.mktemp("rendered_1000") / "faces"
    render_set(folder, 1000, seed=2)
    return folder
