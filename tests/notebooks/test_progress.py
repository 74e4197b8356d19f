"""Progress: a bar for who looks on, a line a minute in a log file."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from kit import progress as module
from kit.progress import progress, watched


@pytest.fixture
def log(monkeypatch, capsys):
    """Standard error as a file, of a training whose steps take 25 seconds."""
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("KIT_WATCHED", raising=False)
    return capsys


def test_in_a_log_file_there_is_a_line_a_minute(log):
    shown = progress(range(5), "training", 1000, 990)
    seen = []
    for step in shown:
        shown.set_postfix_str("loss 1", refresh=False)
        seen.append(step)
    assert seen == [0, 1, 2, 3, 4]
    assert log.readouterr().err == "training: 993 of 1,000, loss 1\n"


def test_of_several_processes_one_speaks(log, monkeypatch):
    monkeypatch.setattr(module, "rank", lambda: 1)
    assert [*progress(range(9), "training")] == [*range(9)]
    assert log.readouterr().err == ""


def test_who_looks_on(log, monkeypatch):
    assert not watched()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert watched()
    monkeypatch.setenv("KIT_WATCHED", "0")  # as baselines.run says of a log file
    monkeypatch.setitem(sys.modules, "ipykernel", module)
    assert not watched()
    monkeypatch.delenv("KIT_WATCHED")
    assert watched()


def test_who_looks_on_from_outside_a_notebook_gets_a_bar_of_letters(log, monkeypatch):
    monkeypatch.setattr("tqdm.auto.tqdm", None)  # as with ipywidgets, whose bars papermill does not pass on
    monkeypatch.setenv("KIT_WATCHED", "1")
    assert [*progress(range(3), "training")] == [0, 1, 2]
    assert "training: 100%" in log.readouterr().err


def test_a_notebook_without_widgets_has_no_warning():
    code = (
        "import sys, types; sys.modules['ipykernel'] = types.ModuleType('ipykernel');"
        "sys.modules['ipykernel.zmqshell'] = sys.modules['IPython'] = sys.modules['ipykernel'];"
        "sys.modules['ipykernel'].get_ipython = list; sys.modules['ipywidgets'] = None;"
        "sys.path.insert(0, 'baselines'); from kit.progress import progress; print(*progress(range(3), 'steps'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 1 2\n" and "Warning" not in done.stderr and "steps" in done.stderr
