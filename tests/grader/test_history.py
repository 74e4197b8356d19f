"""The best checkpoint of a run that gets better and then collapses."""

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from grader import cli
from grader.features.reference import shipped_reference
from grader.history import as_csv
from grader.inputs.images import jpeg
from grader.inputs.runs import BadRun, Checkpoint, read_history
from grader.pack import tgz
from grader.report.terminal import history_table


def write_samples(path, pictures):
    """1,000 pictures as a checkpoint's .tgz; fewer are repeated."""
    encoded = [jpeg(picture, 75) for picture in pictures]
    path.write_bytes(tgz({f"{number + 1}.jpg": encoded[number % len(encoded)] for number in range(1000)}))


@pytest.fixture(scope="module")
def collapsing(tmp_path_factory, rendered):
    """Noise at step 10, faces at 20 and 30 (with noise on them at 30), and one face alone at 40."""
    run = tmp_path_factory.mktemp("runs") / "collapsing"
    (run / "samples").mkdir(parents=True)
    faces = np.stack([np.asarray(Image.open(path)) for path in sorted(rendered.glob("*.png"))[:60]])
    rng = np.random.default_rng(0)
    noisy = (faces + rng.normal(0, 20, faces.shape)).clip(0, 255).astype(np.uint8)
    write_samples(run / "samples/000010.tgz", rng.integers(0, 256, faces.shape, dtype=np.uint8))
    write_samples(run / "samples/000020.tgz", faces)
    write_samples(run / "samples/000030.tgz", noisy)
    write_samples(run / "samples/000040.tgz", faces[:1])
    (run / "samples/000050.tgz").write_bytes(b"broken off")
    return run


def test_the_best_checkpoint_is_found_and_packed(collapsing, rendered):
    args = ["history", str(collapsing), "--reference", str(rendered), "--pack", "best"]
    (collapsing / "history.csv").write_text("epoch,loss\n")  # a student's own
    result = CliRunner().invoke(cli.main, args)
    assert result.exit_code == 0, result.output
    assert (collapsing / "history.before.csv").read_text() == "epoch,loss\n"
    assert "000050.tgz: left out" in result.stderr
    with open(collapsing / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20", "30", "40"]
    distances = [float(row["fd_imagenet"]) for row in rows]
    assert min(distances) == distances[1]
    assert [float(row["afd"]) > 0.5 for row in rows] == [False, True, True, True]
    assert (collapsing / "submission.tgz").read_bytes() == (collapsing / "samples/000020.tgz").read_bytes()
    assert (collapsing / "history.png").stat().st_size > 10_000
    (best,) = (line for line in result.stdout.splitlines() if "best" in line)
    assert "20" in best


def test_its_table_writes_numbers_as_the_page_does():
    """None reads as a threshold that it is not."""
    faces = shipped_reference()
    history = [Checkpoint(1000, Path("1000"), 445.04, 0.4996), Checkpoint(2000, Path("2000"), 12346.4, 0.5)]
    cells = [[*column.cells] for column in history_table(history, faces).columns]
    assert cells == [["1,000", "2,000"], ["445.04", "12,346"], ["0.4996", "0.500"], ["[green]best[/]", ""]]


def test_a_run_on_a_file_system_that_is_read_only_is_scored_into_another_folder(tmp_path, monkeypatch):
    run, tried = tmp_path / "input/run", []
    (run / "samples").mkdir(parents=True)
    write_samples(run / "samples/000010.tgz", np.zeros((1, 64, 64, 3), np.uint8))

    def refused(*, dir):
        tried.append(dir)
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr("grader.files.tempfile.TemporaryFile", refused)
    result = CliRunner().invoke(cli.main, ["history", str(run)])
    assert result.exit_code == 2
    assert result.stderr == f"{run}: cannot be written (Read-only file system): name another place to write to\n"
    monkeypatch.undo()
    monkeypatch.setattr(
        "grader.history._scored", lambda run, *_: [Checkpoint(10, run / "samples/000010.tgz", 1.0, 0.5)]
    )
    output = tmp_path / "working"
    result = CliRunner().invoke(cli.main, ["history", str(run), "--output", str(output), "--pack", "best"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in output.iterdir()} == {"history.csv", "history.png", "submission.tgz"}
    assert [path.name for path in run.iterdir()] == ["samples"]


@pytest.mark.parametrize("name", ["history.csv", "history.png", "submission.tgz"])
def test_a_file_that_another_program_has_open_is_told_before_the_work(tmp_path, monkeypatch, name):
    """Excel has, on Windows, what it shows."""

    replace = os.replace

    def refused(source, target):
        if Path(source).name == name:
            raise PermissionError(13, "Permission denied", str(source))
        replace(source, target)

    for one in ("history.csv", "history.png", "submission.tgz"):
        (tmp_path / one).touch()
    monkeypatch.setattr(os, "replace", refused)
    monkeypatch.delattr("grader.history.checkpoints")
    result = CliRunner().invoke(cli.main, ["history", str(tmp_path), "--pack", "best"])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"{tmp_path / name}: cannot be written (Permission denied): ")


def test_a_folder_without_checkpoints(tmp_path):
    result = CliRunner().invoke(cli.main, ["history", str(tmp_path)])
    assert result.exit_code == 1
    assert "no samples/STEP.tgz" in result.stderr


def test_names_that_are_no_steps(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("²", "x", "9" * 20, "-1"):
        (tmp_path / f"samples/{name}.tgz").touch()
    result = CliRunner().invoke(cli.main, ["history", str(tmp_path)])
    assert result.exit_code == 1
    assert "no samples/STEP.tgz" in result.stderr


@pytest.mark.parametrize("rows", ["", "10,500", "10,nan,0.1", "x,1,1", "10,500,0.1\n20,-1,0.5", "\0"])
def test_a_broken_history_is_told_before_the_work_and_does_not_stop_it(tmp_path, rows):
    (tmp_path / "history.csv").write_text(f"step,fd_imagenet,afd\n{rows}\n")
    with pytest.raises(BadRun, match=r"history\.csv"):
        read_history(tmp_path / "history.csv")
    result = CliRunner().invoke(cli.main, ["score", "nowhere", "--run", str(tmp_path), "--output", str(tmp_path)])
    noted, stopped = result.stderr.splitlines()
    assert noted.startswith(f"note: not drawn: {tmp_path}/history.csv: ")
    assert stopped == "nowhere: no such file or folder" and result.exit_code == 1


def test_a_history_is_read_as_it_was_written(tmp_path):
    scored = [Checkpoint(step, Path(f"samples/{step}.tgz"), 100.5, 0.25) for step in (10, 2000)]
    (tmp_path / "history.csv").write_text(as_csv(scored))
    assert read_history(tmp_path / "history.csv") == scored
