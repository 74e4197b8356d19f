"""A run is never lost: killed, interrupted, on a full disk, with broken files, or diverging."""

import csv
import errno
import inspect
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from contextlib import nullcontext, suppress
from dataclasses import make_dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import kit.run
from baselines import translate
from baselines.build import ROOT
from grader.inputs.images import jpeg_quality
from kit.device import HalfPrecision, seed_everything
from kit.files import StepTable
from kit.networks import Discriminator, Generator
from kit.norms import layer_norms
from kit.run import Run, fetch_run
from kit.samples import (
    fixed_noise,
    limit_of_repeats,
    near_repeats,
    output_folder,
    pack,
    picture_grid,
    plot_losses,
    sample,
    show,
    write_submission,
)
from kit.settings import Settings
from kit.translation import translator
from tests.helpers.notebook import equal, lesson

KILLS = os.environ.get("KILLS", "3")  # `make test-kill` sets 20
SMALL = Settings(steps=6, batch_size=8, z_dim=2, checkpoint_every=2, log_every=1, seed=1)
LOSS = torch.tensor(0.5)


class Paint(nn.Module):
    """z [N, 2] -> pictures [N, 3, 64, 64] of one weight's grey."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z):
        return (self.weight + z.mean(1)).tanh().view(-1, 1, 1, 1).expand(-1, 3, 64, 64)


def session(folder, **overrides):
    """A run of a network of one weight, with 8 samples."""
    settings = replace(SMALL, **{"run": str(folder / "gan"), "outputs": str(folder / "outputs"), **overrides})
    seed_everything(settings.seed)
    G = Paint()
    return Run(settings, G, nn.Linear(1, 1), z=torch.ones(8, 2), optimizer_G=torch.optim.Adam(G.parameters()))


def train(run, losses=lambda step: (LOSS, LOSS)):
    """Trains a run: the weight is the sum of all steps, faces and random numbers."""
    faces = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1)
    for step, real in run.steps(faces):
        with torch.no_grad():
            run.G.weight += step + torch.rand(1) + np.random.rand() + real.mean()  # noqa: NPY002
        run.update_average()
        loss_D, loss_G = losses(step)
        run.log(loss_D=loss_D, loss_G=loss_G)
    return run


def read_rows(path):
    with open(path, newline="") as file:
        return [*csv.reader(file)]


def append_row(folder, row):
    with open(folder / "gan/log.csv", "a") as file:
        file.write(row + "\n")


def logged(folder):
    return [int(row[0]) for row in read_rows(folder / "gan/log.csv")[1:]]


def last(folder, name="gan"):
    return torch.load(folder / name / "checkpoints/last.pt", weights_only=True)


def without_places(state):
    return state | {"settings": {name: state["settings"][name] for name in ("seed", "batch_size", "ema", "width")}}


# going on


def test_a_run_does_not_go_on_with_another_number_of_faces(tmp_path):
    train(session(tmp_path, steps=2))
    with pytest.raises(SystemExit, match=r"other faces .40 then, 41 now.: set another `run`"):
        next(session(tmp_path).steps(torch.zeros(41, 1, 1, 1, dtype=torch.uint8)))


def test_a_run_does_not_go_on_with_as_many_other_faces(tmp_path):
    train(session(tmp_path, steps=2))
    with pytest.raises(SystemExit, match="a run on other faces, though as many: set another `run`"):
        next(session(tmp_path).steps(torch.ones(40, 1, 1, 1, dtype=torch.uint8)))
    state = last(tmp_path)
    del state["means"]  # as in a checkpoint of an older notebook
    torch.save(state, tmp_path / "gan/checkpoints/last.pt")
    next(session(tmp_path).steps(torch.ones(40, 1, 1, 1, dtype=torch.uint8)))


@pytest.mark.parametrize(("levels", "same"), [(1, True), (8, False)])  # of one face in 40
def test_faces_that_another_decoder_read_are_the_same_still(tmp_path, levels, same):
    A, B = torch.full((2, 40, 3, 8, 8), 100, dtype=torch.uint8)
    for _ in session(tmp_path, steps=2).steps(A, beside=[B]):
        pass
    for faces in (A, B):
        faces[0] += levels
        with nullcontext() if same else pytest.raises(SystemExit, match="a run on other faces, though as many"):
            next(session(tmp_path).steps(A, beside=[B]))
        faces[0] -= levels


def test_faces_that_the_loop_deals_out_itself_are_counted_too(tmp_path):
    run, A, B = session(tmp_path, steps=2), *torch.zeros(2, 40, 1, 1, 1, dtype=torch.uint8)
    for _ in run.steps(A, beside=[B[:30]]):
        pass
    assert last(tmp_path)["pictures"] == 40
    with pytest.raises(SystemExit, match=r"other faces .30 then, 31 now."):
        next(session(tmp_path).steps(A, beside=[B[:31]]))
    next(session(tmp_path).steps(A, beside=[B[:30]]))


def test_a_run_is_opened_without_training_by_steps_of_1(tmp_path, capsys):
    """As the notebooks say. Nothing in its folder changes."""
    train(session(tmp_path, hours=1.0))
    files = {path: path.read_bytes() for path in (tmp_path / "gan").rglob("*.*")}
    run, state = train(session(tmp_path, hours=1.0, steps=1)), last(tmp_path)
    assert run.step == 6 and run.pictures == [40]
    assert equal(run.G_ema.state_dict(), state["G_ema"]) and equal(run.G.state_dict(), state["G"])
    assert "nothing is left to train" not in capsys.readouterr().out  # as was asked for
    assert {path: path.read_bytes() for path in (tmp_path / "gan").rglob("*.*")} == files
    assert json.loads((tmp_path / "gan/config.json").read_text())["steps"] == 6
    train(session(tmp_path))
    assert "the run is at step 6, `steps` is 6: nothing is left to train" in capsys.readouterr().out


def test_a_run_in_three_sessions_is_the_run_in_one_to_the_last_bit(tmp_path, rendered):
    names = lesson(ROOT / "baselines/01_gan.py", norms_every=2, ema=0.9, n_critic=2, faces=str(rendered))

    def train_to(steps, folder):
        return names["train"](replace(names["settings"], steps=steps, run=str(tmp_path / folder)))

    for steps in (3, 4, 7):
        train_to(steps, "parts")
        torch.rand(9), seed_everything(99)  # whatever a session does between
    run = train_to(7, "whole")
    assert run.step == 7 and run.G_ema is run.parts["G_ema"]
    states = [last(tmp_path, name) for name in ("parts", "whole")]
    assert equal(*map(without_places, states))
    rows = [[row[:-1] for row in read_rows(tmp_path / name / "log.csv")] for name in ("parts", "whole")]
    assert rows[0] == rows[1]  # but for the seconds
    assert [row[0] for row in rows[0]] == ["step", "1", "2", "3", "4", "5", "6", "7"]
    seconds = [float(row[-1]) for row in read_rows(tmp_path / "parts/log.csv")[1:]]
    assert seconds == sorted(seconds)
    norms = [(tmp_path / name / "grad_norms.csv").read_text() for name in ("parts", "whole")]
    assert norms[0] == norms[1]
    header, *rows = read_rows(tmp_path / "whole/grad_norms.csv")
    assert header == ["step", "layer", "name", "norm"]
    assert [row[:2] for row in rows] == [[step, layer] for step in "246" for layer in "12345"]
    assert all(float(row[-1]) > 0 for row in rows)


def test_another_process_has_other_noise_in_each_session(tmp_path, monkeypatch):
    train(session(tmp_path, steps=2))
    monkeypatch.setattr(kit.run, "rank", lambda: 1)
    first, second = (session(folder).noise() for folder in (tmp_path / "new", tmp_path))
    assert not torch.equal(first, second)


def test_a_run_killed_again_and_again_ends_as_if_it_had_been_left_alone(tmp_path, rendered):
    command = [sys.executable, "-m", "tests.helpers.killed", str(tmp_path), str(rendered), KILLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert done.stdout.count("killed within") == int(KILLS)
    whole, killed = (last(tmp_path / name, "run") for name in ("whole", "killed"))
    assert whole["step"] == 6 * int(KILLS)
    assert equal(whole, killed)
    rows = [[row[:-1] for row in read_rows(tmp_path / name / "run/log.csv")] for name in ("whole", "killed")]
    assert rows[0] == rows[1]  # but for the seconds
    assert [row[0] for row in rows[1]] == ["step", *map(str, range(1, 1 + 6 * int(KILLS)))]
    norms = [(tmp_path / name / "run/grad_norms.csv").read_text() for name in ("whole", "killed")]
    assert norms[0] == norms[1]
    names = [sorted(path.name for path in (tmp_path / name / "run/samples").iterdir()) for name in ("whole", "killed")]
    assert names[0] == names[1]


@pytest.mark.parametrize("broken", ["cut off", "one bit", "empty"])
def test_a_broken_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, capsys, broken):
    train(session(tmp_path))
    path = tmp_path / "gan/checkpoints/last.pt"
    data = bytearray(path.read_bytes())
    data[data.index(b"G_ema")] ^= 4
    path.write_bytes({"cut off": data[:-100], "one bit": data, "empty": b""}[broken])
    (tmp_path / "gan/config.json").write_text("{")  # only for readers: the checkpoint has its own
    capsys.readouterr()
    run = session(tmp_path)
    printed = capsys.readouterr().out
    assert f"{path} is broken (" in printed and "is damaged) and set aside" in printed
    assert "going on from step 4 of " in printed
    assert path.with_name("last.pt.broken").exists()
    train(run)
    assert logged(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert "is broken" not in capsys.readouterr().out
    train(session(tmp_path / "whole"))
    checkpoints = [last(tmp_path), last(tmp_path / "whole")]
    assert all(equal(checkpoints[0][name], checkpoints[1][name]) for name in ("G", "G_ema", "optimizer_G", "rng"))


class Unpickled:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    "other",
    [
        lambda path: zip_of(path, "1.jpg"),
        lambda path: shutil.copyfile(path.with_name("000006.pt"), path),  # weights alone
        lambda path: torch.save([1], path),
        lambda path: torch.save({"step": 6}, path),
        lambda path: torch.save(torch.load(path) | {"step": "6"}, path),
        lambda path: torch.save({"step": Unpickled()}, path),
    ],
)
def test_a_file_that_is_no_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, monkeypatch, capsys, other):
    monkeypatch.chdir(tmp_path)
    train(session(tmp_path))
    path = tmp_path / "gan/checkpoints/last.pt"
    other(path)
    assert session(tmp_path).start == 4
    told = f"{path} is broken (it is no checkpoint) and set aside: looking for the one before\n"
    assert told in capsys.readouterr().out
    assert path.with_name("last.pt.broken").exists() and not (tmp_path / "unpickled").exists()


def test_a_checkpoint_that_memory_does_not_last_for_is_left_where_it_is(tmp_path, monkeypatch):
    train(session(tmp_path))
    said = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000 bytes"
    monkeypatch.setattr(torch, "load", mock.Mock(side_effect=RuntimeError(said)))
    with pytest.raises(RuntimeError, match="tried to allocate"):
        session(tmp_path)
    assert (tmp_path / "gan/checkpoints/last.pt").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no /proc/self/mem, which answers Input/output error")
def test_a_checkpoint_or_an_archive_on_a_disk_that_fails_is_not_taken_for_a_broken_one(tmp_path):
    train(session(tmp_path, steps=4))
    files = [*(tmp_path / f"gan/checkpoints/{name}.pt" for name in ("previous", "last")), tmp_path / "gan.zip"]
    for path in files:
        path.unlink()
    for path in files:
        path.symlink_to("/proc/self/mem")
        with pytest.raises(SystemExit, match=f"^{path} cannot be read: Input/output error. Mount the Drive again"):
            session(tmp_path)
        assert path.is_symlink()


@pytest.mark.parametrize(("archive", "start"), [(True, 6), (False, 0)])
def test_with_both_checkpoints_broken_the_archive_is_taken_up_or_a_run_begins_anew(tmp_path, capsys, archive, start):
    train(session(tmp_path))
    for name in ("last", "previous"):
        (tmp_path / f"gan/checkpoints/{name}.pt").write_bytes(b"PK")
    if not archive:
        (tmp_path / "gan.zip").unlink()
    run = session(tmp_path)
    assert run.start == start and capsys.readouterr().out.count("is broken") == 2
    run.log_table.append([])
    assert logged(tmp_path) == [*range(1, start + 1)]


def test_whatever_happens_while_it_is_written_a_whole_checkpoint_is_there(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    for moment in range(1, 4):  # of the three things done to files: write, move the old, name the new
        run = session(tmp_path / str(moment))
        for run.step in (2, 4):
            run.save_checkpoint()
        done = []

        def die(real, moment=moment, done=done):
            def act(*args):
                done.append(real)
                if len(done) == moment:
                    raise Killed
                return real(*args)

            return act

        run.step = 6
        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", die(torch.save))
            patched.setattr(os, "replace", die(os.replace))
            with pytest.raises(Killed):
                run.save_checkpoint()
        assert run.read_checkpoint()[1]["step"] == 4


def test_rows_after_the_checkpoint_and_torn_ones_are_cut(tmp_path):
    train(session(tmp_path, steps=12))
    with open(tmp_path / "gan/log.csv", "a") as file:
        file.write("13,0.5,0.5,1.0\n1")  # the beginning of 14
    table = tmp_path / "gan/grad_norms.csv"
    table.write_text(table.read_text() + "13,1,layer,0.5\n")
    for torn in ("", "4,0.5,0.6,"):
        with open(tmp_path / "gan/log.csv", "a") as file:
            file.write(torn)
        plot_losses(session(tmp_path, steps=1))  # opened, not trained
    train(session(tmp_path, steps=13))
    assert logged(tmp_path) == [*range(1, 14)] and table.read_text() == "step,layer,name,norm\n"


def test_a_table_keeps_whole_rows_up_to_its_start(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("step,loss\n1,0.5\n\nx,0.5\n2,0.25\n3,0.1\n3\n")
    table = StepTable(path, ["loss"], 2)
    assert table.last == ["2", "0.25"]
    table.append([[3, 0.7]])
    assert read_rows(path) == [["step", "loss"], ["1", "0.5"], ["2", "0.25"], ["3", "0.7"]]
    StepTable(path, ["loss"], 0).append([])  # a new run
    assert read_rows(path) == [["step", "loss"]]


@pytest.mark.parametrize(
    "torn", ["6,0.532677,0.863556,", "6,0.532677,0.8635,-", "6,0.5,0.8,1.0\0", "6,,0.863556,1.000"]
)
def test_a_run_goes_on_from_a_torn_log(tmp_path, torn):
    train(session(tmp_path))
    path = tmp_path / "gan/log.csv"
    whole = path.read_text().splitlines()
    path.write_text("\n".join([*whole[:-1], torn]))
    train(session(tmp_path, steps=8))
    assert logged(tmp_path)[:5] == [1, 2, 3, 4, 5] and logged(tmp_path)[-2:] == [7, 8]
    assert not path.with_name("log.before.csv").exists()


def as_excel_saves(text, form):
    if form == "comma":
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    return text.replace(".", ",").replace(",", ";").encode("utf-16" if form == "unicode" else "utf-8")


@pytest.mark.parametrize("form", ["comma", "semicolon", "unicode"])
def test_a_log_that_excel_has_saved_is_kept(tmp_path, capsys, form):
    train(session(tmp_path))
    path = tmp_path / "gan/log.csv"
    saved = as_excel_saves(path.read_text(), form)
    path.write_bytes(saved)
    plot_losses(session(tmp_path, steps=1))
    assert path.read_bytes() == saved  # opened, not trained
    assert (f"{path} has no losses to draw" in capsys.readouterr().out) == (form != "comma")
    train(session(tmp_path, steps=8))
    told = f"{path} was saved by another program: it is now {tmp_path}/gan/log.before.csv" in capsys.readouterr().out
    if form == "comma":
        assert logged(tmp_path) == [*range(1, 9)] and not told
    else:
        assert logged(tmp_path) == [7, 8] and told and path.with_name("log.before.csv").read_bytes() == saved


def test_a_run_is_taken_up_with_a_log_that_excel_has_saved(tmp_path):
    train(session(tmp_path / "kaggle", steps=2))
    (tmp_path / "kaggle/gan.zip").unlink()
    path = tmp_path / "kaggle/gan/log.csv"
    path.write_bytes(as_excel_saves(path.read_text(), "semicolon"))
    fetch_run(tmp_path / "gan", [tmp_path / "kaggle"])
    assert last(tmp_path)["step"] == 2


def test_a_full_disk_is_reported_and_leaves_the_checkpoint_whole(tmp_path):
    run = session(tmp_path)
    run.step = 2
    run.save_checkpoint()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # a write beyond fails as on a full disk
    try:
        whole = (
            r"last.pt cannot be written: .*\. Earlier checkpoints are whole: make room \(.* MB are free\), and run the"
        )
        with pytest.raises(SystemExit, match=whole):
            run.save_checkpoint()
        run.log_rows = [(step, torch.zeros(2), 0.0) for step in range(1000)]
        with pytest.raises(SystemExit, match=r"log.csv cannot be written: File too large"):
            run.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.read_checkpoint()[1]["step"] == 2
    assert not [*tmp_path.rglob("*.part")]


def test_a_drive_that_is_gone_is_reported_in_a_line(tmp_path):
    with pytest.raises(SystemExit, match=r"log.csv cannot be written: No such file or directory\. ") as stopped:
        kit.files.atomic_write(tmp_path / "gone/log.csv", lambda path: path.write_text("x"))
    assert "make room" not in str(stopped.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone/last.pt", "Parent directory .* does not exist"),
        ("", "(Is a directory|File .* cannot be opened)"),  # the second is of torch 2.4
    ],
)
def test_a_checkpoint_that_cannot_be_opened_is_not_told_as_a_full_disk(tmp_path, name, reason):
    path = tmp_path / name
    line = rf"cannot be written: {reason}\. .* set another `run`"
    with pytest.raises(SystemExit, match=line), kit.files.failed_write_reported(path):
        torch.save({}, path)


@pytest.mark.parametrize("goes_on", [False, True])  # in its first rows a session rewrites the table
@pytest.mark.parametrize("closed_at", [5, None])
def test_a_table_that_is_open_in_excel_costs_no_training(tmp_path, monkeypatch, capsys, goes_on, closed_at):
    if goes_on:
        train(session(tmp_path, steps=2))
    run, is_open = session(tmp_path), True

    def held(function):
        def call(*arguments, **others):
            if is_open and Path(arguments[-1 if function is os.replace else 0]).name == "log.csv":
                raise PermissionError(13, "Permission denied")
            return function(*arguments, **others)

        return call

    def losses(step):
        nonlocal is_open
        is_open = step != closed_at and is_open
        return LOSS, LOSS

    monkeypatch.setattr(kit.files, "open", held(open), raising=False)
    monkeypatch.setattr(kit.files, "os", SimpleNamespace(name="nt", replace=held(os.replace)))
    train(run, losses)
    said, rest = capsys.readouterr().out, tmp_path / "gan/log.rest.csv"
    assert said.count("log.csv is open in another program: close it there") == 1
    assert last(tmp_path)["step"] == 6
    assert logged(tmp_path) == ([*range(1, 7)] if closed_at else [1, 2] * goes_on)
    assert not [*tmp_path.rglob("*.part")]
    assert rest.exists() != bool(closed_at) == ("its last rows are in" not in said)
    if rest.exists():  # with all that the session would have written
        assert [row.partition(",")[0] for row in rest.read_text().split()][-6:] == [*"123456"]


@pytest.mark.parametrize("system", ["nt", "posix"])
def test_a_file_that_a_virus_scanner_looks_at_is_renamed_on_windows_as_soon_as_it_may(tmp_path, monkeypatch, system):
    left = [PermissionError(13, "Permission denied")] * 2

    def replace(*paths):
        if left:
            raise left.pop()
        os.replace(*paths)

    run = session(tmp_path)
    run.save_checkpoint()
    monkeypatch.setattr(kit.files, "os", SimpleNamespace(name=system, replace=replace))
    monkeypatch.setattr(kit.files.time, "sleep", lambda seconds: None)
    on_windows = system == "nt"
    with nullcontext() if on_windows else pytest.raises(SystemExit, match=r"last\.pt cannot be written: Permission"):
        run.save_checkpoint()
    assert run.last.exists() and run.previous.exists() == on_windows and len(left) == (not on_windows)


def test_on_windows_einval_may_be_a_cloud_that_is_away(tmp_path, monkeypatch):
    error = OSError(errno.EINVAL, "Invalid argument")
    with pytest.raises(OSError, match="Invalid argument"), kit.files.failed_disk_reported(tmp_path):
        raise error
    monkeypatch.setattr(kit.files, "os", SimpleNamespace(name="nt"))
    with pytest.raises(SystemExit, match="cannot be read: Invalid argument"), kit.files.failed_disk_reported(tmp_path):
        raise error


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()  # as on a system that may not be written to, in place of a folder
    line = r"{} cannot be written: (?:Not a directory|File exists)\. .* set another `run` or `outputs`, and run"
    with pytest.raises(SystemExit, match=line.format("file/gan")):
        session(tmp_path / "file")
    run = session(tmp_path, outputs=str(tmp_path / "file"))
    with pytest.raises(SystemExit, match=line.format("file")):
        write_submission(run)
    (run.folder / "losses.png").mkdir()
    run.log_table.append([[1, 0, 0, 0]])
    with pytest.raises(SystemExit, match=r"losses\.png cannot be written: Is a directory"):
        plot_losses(run)


def test_other_settings_are_refused_and_those_that_may_change_are_not(tmp_path, capsys):
    train(session(tmp_path))
    with pytest.raises(SystemExit, match=r"\(batch_size 8 → 4, seed 1 → 2\): set another `run`") as refused:
        session(tmp_path, batch_size=4, seed=2)
    in_chinese = translator(translate.read_table("kit"))(str(refused.value))
    assert in_chinese.endswith("gan 裡的訓練用的是別的設定（batch_size 8 → 4, seed 1 → 2）：把 `run` 設成別的名字")
    free = {"steps": 8, "hours": 1.0, "checkpoint_every": 3, "checkpoint_minutes": 1.0, "log_every": 2, "faces": "x"}
    free |= {"norms_every": 3}
    assert session(tmp_path, **free, half=True).start == 6
    assert "going on from step 6" in capsys.readouterr().out
    assert set(free) <= set(kit.run.FREE_SETTINGS)


@pytest.mark.parametrize("name", ["psi", "truncation", "shape_steps", "faces_b"])  # of 05, of 08, of 06, of 09
def test_a_run_goes_on_with_other_samples_and_where_its_faces_lie_elsewhere(tmp_path, name):
    own = make_dataclass("Own", [(name, float, 0.75)], bases=(Settings,), frozen=True)
    small = own(run=str(tmp_path / "gan"), outputs=str(tmp_path / "outputs"), steps=6, batch_size=8, z_dim=2, seed=1)
    for settings, start in ((small, 0), (replace(small, **{name: 0.6}), 6)):
        G = Paint()
        run = Run(settings, G, nn.Linear(1, 1), z=torch.ones(8, 2), optimizer_G=torch.optim.Adam(G.parameters()))
        assert run.start == start
        train(run)


@pytest.mark.parametrize(("part", "other"), [("D", {}), ("D", nn.Linear(2, 1).state_dict()), ("optimizer_G", None)])
def test_a_run_of_other_networks_is_refused_in_a_line(tmp_path, part, other):
    run = session(tmp_path)
    train(run)
    state = torch.load(run.last)
    if other is None:
        del state[part]  # as in a checkpoint of an older notebook
    else:
        state[part] = other
    torch.save(state, run.last)
    with pytest.raises(SystemExit, match=f"gan holds a run with another {part}: set another `run`"):
        session(tmp_path)


def test_a_run_of_an_older_notebook_goes_on(tmp_path):
    run = train(session(tmp_path))
    state = torch.load(run.last)
    del state["numpy_rng"]
    torch.save(state, run.last)
    assert session(tmp_path).start == 6


def test_a_run_in_half_precision_goes_on_with_its_scale_and_without_it(tmp_path):
    def half_session(half, scale=2.0**14, dtype=torch.float16):
        G, D = Paint(), nn.Linear(1, 1)
        wrapped = {"G": HalfPrecision(G, dtype, scale), "D": D} if half else {"G": G, "D": D}
        return Run(replace(SMALL, run=str(tmp_path / "half"), half=half), **wrapped, z=torch.ones(8, 2))

    run = half_session(half=True, scale=2.0**9)
    run.G.module.weight.data += 1
    run.step = 1
    run.save_checkpoint()
    assert half_session(half=True).G.scale == 2.0**9  # halving it again would cost steps
    assert half_session(half=True, dtype=torch.bfloat16).G.scale == 1
    plain = half_session(half=False)
    assert plain.start == 1 and torch.equal(plain.G.weight, run.G.module.weight)
    plain.save_checkpoint()
    assert half_session(half=True).G.scale == 2.0**14


@pytest.mark.parametrize("then", [torch.contiguous_format, torch.channels_last])
def test_a_run_goes_on_in_another_layout_as_if_it_had_been_its_own(tmp_path, then):
    """As from a T4 to a newer GPU. A fused Adam takes moments in the order of the weights' memory."""
    now = {torch.contiguous_format: torch.channels_last, torch.channels_last: torch.contiguous_format}[then]

    def train_in(layout, folder, steps):
        seed_everything(1)
        D = nn.Conv2d(3, 4, 3).to(memory_format=layout)
        adam = torch.optim.Adam(D.parameters(), fused=True)
        run = Run(replace(SMALL, run=str(tmp_path / folder)), Paint(), D, z=torch.ones(8, 2), optimizer_D=adam)
        for step in range(run.start + 1, steps + 1):
            adam.zero_grad()
            pictures = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(step))
            D(pictures).square().mean().backward()
            adam.step()
            run.step = step
        run.save_checkpoint()
        return D.weight

    train_in(then, "changed", 3)
    weight, expected = train_in(now, "changed", 6), train_in(now, "same", 6)
    assert weight.stride() == expected.stride() and torch.allclose(weight, expected, atol=1e-6)


# two sessions in one folder


@pytest.mark.parametrize("end", [None, signal.SIGINT])
def test_a_session_that_another_has_followed_stops_and_writes_nothing(tmp_path, end):
    train(session(tmp_path, steps=2))
    files = {}

    def losses(step):
        if step == 4:
            train(session(tmp_path, steps=4))  # as in another tab
            files.update((path, path.read_bytes()) for path in (tmp_path / "gan").rglob("*.*"))
            if end:
                signal.raise_signal(end)
        return LOSS, LOSS

    earlier = session(tmp_path)
    with pytest.raises(SystemExit, match=r"another session trains in .*gan: end it, or set another `run`"):
        train(earlier, losses)
    with pytest.raises(SystemExit, match="another session trains"):
        earlier.save_checkpoint()
    assert {path: path.read_bytes() for path in (tmp_path / "gan").rglob("*.*")} == files
    assert logged(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("lost", [None, b"", b"\xff"])
def test_a_session_goes_on_where_its_mark_is_lost_or_somebody_only_looks_on(tmp_path, lost):
    train(session(tmp_path, steps=2))
    mark = tmp_path / "gan/session"

    def losses(step):
        if step == 4:
            append_row(tmp_path, "3,0,0,0")  # since the checkpoint
            rows = logged(tmp_path)
            train(session(tmp_path, steps=1))  # opened, not trained
            with pytest.raises(SystemExit, match="other settings"):
                session(tmp_path, seed=2)
            with pytest.raises(SystemExit, match="other faces"):
                next(session(tmp_path).steps(torch.zeros(41, 1, 1, 1, dtype=torch.uint8)))
            next(session(tmp_path).steps(torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1)))  # stopped in its step
            mark.unlink() if lost is None else mark.write_bytes(lost)
            assert logged(tmp_path) == rows
        return LOSS, LOSS

    assert train(session(tmp_path), losses).step == 6
    assert last(tmp_path)["step"] == 6


# endings


def test_a_run_writes_samples_checkpoints_and_one_archive(tmp_path, capsys):
    run = train(session(tmp_path))
    assert sorted(path.name for path in (tmp_path / "gan").iterdir()) == [
        *("checkpoints", "config.json", "grad_norms.csv", "log.csv", "samples", "session")
    ]
    samples = sorted(path.name for path in (tmp_path / "gan/samples").iterdir())
    assert samples == [f"00000{step}.{kind}" for step in (2, 4, 6) for kind in ("png", "tgz")]
    weights = torch.load(tmp_path / "gan/checkpoints/000006.pt", weights_only=True)
    assert equal(weights, {**run.G_ema.state_dict()})
    said = capsys.readouterr().out
    assert "step 4: 100.0% near repeats" in said and f"{tmp_path}/gan.zip, 0 MB" in said
    train(run := session(tmp_path))  # nothing is left to do
    assert run.step == 6 and len(logged(tmp_path)) == 6


def test_a_run_that_has_only_its_previous_checkpoint_is_packed_as_any(tmp_path):
    train(session(tmp_path))
    checkpoints = tmp_path / "gan/checkpoints"
    (checkpoints / "last.pt").rename(checkpoints / "previous.pt")
    (tmp_path / "gan.zip").unlink()
    train(session(tmp_path, steps=1))
    with zipfile.ZipFile(tmp_path / "gan.zip") as archive:
        assert archive.read("gan/checkpoints/last.pt") == (checkpoints / "previous.pt").read_bytes()


def test_an_archive_that_cannot_be_written_costs_no_run_and_is_packed_where_it_is_opened(tmp_path, capsys):
    archive = tmp_path / "gan.zip"
    archive.mkdir()
    assert train(session(tmp_path)).step == 6  # what comes after the training has its run
    said = capsys.readouterr().out
    assert re.search(
        r'gan\.zip cannot be written: .*notebook again\. With "steps": 1 in `overrides` it only packs', said
    )
    archive.rmdir()
    os.utime(tmp_path / "gan/log.csv", (0, 0))  # a time that no zip can hold
    train(session(tmp_path, steps=1))
    with zipfile.ZipFile(archive) as files:
        assert {"gan/log.csv", "gan/checkpoints/last.pt"} <= {*files.namelist()}
    packed = archive.stat().st_mtime_ns
    train(session(tmp_path, steps=1))
    assert archive.stat().st_mtime_ns == packed  # it holds all already


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_after_its_step_with_all_that_a_session_leaves(tmp_path, capsys, number):
    def losses(step):
        if step == 3:
            signal.raise_signal(number)
        return LOSS, LOSS

    before = signal.getsignal(number)
    run = train(session(tmp_path), losses)
    assert signal.getsignal(number) is before
    assert "stopped: run the notebook again" in capsys.readouterr().out
    assert run.read_checkpoint()[1]["step"] == 3
    with tarfile.open(tmp_path / "gan/samples/000003.tgz") as archive:
        assert len(archive.getnames()) == 8
    train(session(tmp_path))  # the same cell again
    assert logged(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_second_interrupt_ends_at_once(tmp_path):
    def losses(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    run = session(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(run, losses)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "gan/checkpoints/last.pt").exists()


def test_an_error_leaves_no_handler_behind_also_while_its_traceback_is_held(tmp_path):
    def broken(step):
        raise ValueError("a slip")

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="a slip") as held:  # with all its frames, as in a notebook
        train(session(tmp_path), broken)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    def losses(step):
        if step == 3:
            held.value.__traceback__ = None  # the frames of the first go, while a second trains
            signal.raise_signal(signal.SIGINT)
        return LOSS, LOSS

    assert train(session(tmp_path), losses).step == 3
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_session_ends_when_its_hours_are_over(tmp_path, capsys):
    train(session(tmp_path, steps=10**6, checkpoint_every=10**6, log_every=50, hours=1e-9))
    assert "1e-09 hours are over: run the notebook again" in capsys.readouterr().out
    assert (tmp_path / "gan/samples/000001.tgz").exists()
    assert last(tmp_path)["step"] == 1


def test_a_bar_shows_no_last_step_that_the_hours_do_not_reach(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_WATCHED", "1")
    totals = []
    monkeypatch.setattr("tqdm.tqdm.refresh", lambda bar, **_: totals.append(bar.total))
    train(session(tmp_path / "hours", hours=1.0))
    train(session(tmp_path / "steps"))
    assert {*totals} == {None, 6}


def test_a_run_knows_what_is_left_of_its_steps_and_of_its_hours(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(kit.run, "time", SimpleNamespace(time=lambda: clock.now))

    def left(run):
        seen = []
        for _ in run.steps(torch.zeros(8, 3, 64, 64, dtype=torch.uint8)):
            run.log(loss_D=LOSS, loss_G=LOSS)
            seen.append(run.left)
            clock.now += 900
        return seen

    assert left(session(tmp_path, steps=4)) == [1, 0.75, 0.5, 0.25]
    assert left(session(tmp_path, steps=8)) == [0.5, 0.375, 0.25, 0.125]
    assert left(session(tmp_path, steps=10**6, hours=1.0)) == pytest.approx([1, 0.75, 0.5, 0.25], abs=1e-4)


def test_hours_leave_time_to_write(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(kit.run, "time", SimpleNamespace(time=lambda: clock.now))
    save_checkpoint = Run.save_checkpoint

    def slowly(run):
        clock.now += 300
        save_checkpoint(run)

    def losses(step):
        clock.now += 60
        return LOSS, LOSS

    monkeypatch.setattr(Run, "save_checkpoint", slowly)
    train(session(tmp_path, steps=1000, hours=1.0, checkpoint_every=10, checkpoint_minutes=60.0), losses)
    assert clock.now == 3600
    assert last(tmp_path)["step"] == 40


def test_a_checkpoint_is_written_after_some_minutes_in_any_case(tmp_path):
    def losses(step):
        if step == 3:
            assert last(tmp_path)["step"] == 2
        return LOSS, LOSS

    train(session(tmp_path, checkpoint_every=10**6, log_every=10**6, checkpoint_minutes=0.0), losses)
    assert [path.name for path in (tmp_path / "gan/samples").glob("*.tgz")] == ["000006.tgz"]
    assert (tmp_path / "gan/checkpoints/previous.pt").exists()
    train(session(tmp_path / "seldom", checkpoint_every=10**6, checkpoint_minutes=10.0))
    assert not (tmp_path / "seldom/gan/checkpoints/previous.pt").exists()


@pytest.mark.parametrize(("seconds", "apart"), [(0.01, 8), (1.0, 5), (1.6, 3), (20.0, 1)])
def test_processes_agree_on_when_the_hours_are_over(tmp_path, monkeypatch, seconds, apart):
    """One whose clock is behind would go on alone, and wait for the others for ever. Where steps are slow they ask
    more often: log_every of them may take longer than an interrupt leaves."""
    runs, answers = [session(tmp_path / name, log_every=8) for name in "ab"], [("", 0.5), ("1 hours are over", -0.1)]

    def gather(found, own):
        found[:] = [(*answer, pace) for answer, pace in zip(answers, (seconds / 2, seconds), strict=True)]

    monkeypatch.setattr(kit.run, "world_size", lambda: len(answers))
    monkeypatch.setattr(kit.run.distributed, "all_gather_object", gather)
    for step in range(1, 2 * apart + 2):
        agreed = []
        for run, own in zip(runs, answers, strict=True):
            run.step = step
            agreed.append(run.agreed(*own, 0.6))
        assert agreed == [("1 hours are over", -0.1) if step % apart == 1 % apart else ("", 0.6)] * 2


def test_processes_tell_each_other_how_long_a_step_takes(tmp_path, monkeypatch):
    run, clock, told = session(tmp_path), SimpleNamespace(now=0.0), []
    monkeypatch.setattr(kit.run, "time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(kit.run, "world_size", lambda: 2)

    def gather(found, own):
        found[:] = [own] * 2
        told.append((run.step, own[2]))

    monkeypatch.setattr(kit.run.distributed, "all_gather_object", gather)
    run.settings = replace(run.settings, log_every=50)
    for run.step in range(1, 9):
        clock.now += 2
        run.agreed("", 1.0, 1.0)
    assert told == [(1, 2), (3, 2), (5, 2), (7, 2)]


def test_processes_that_write_nothing_wait_for_their_gpu_no_more_often(tmp_path, monkeypatch):
    clock, waits = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(kit.run, "time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(kit.run, "rank", lambda: 1)
    monkeypatch.setattr(Run, "flush", lambda run: waits.append(run.step))
    monkeypatch.setattr(Run, "latest", (0, 0), raising=False)

    def losses(step):
        clock.now += 61
        return LOSS, LOSS

    run = session(tmp_path, steps=12, checkpoint_every=10**6, log_every=10**6, checkpoint_minutes=5.0)
    monkeypatch.setattr(run, "pack", lambda: None)
    train(run, losses)
    assert waits == [5, 10, 12]


def test_after_60_steps_it_says_how_long_it_takes(tmp_path, monkeypatch, capsys):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(kit.run, "time", SimpleNamespace(time=lambda: clock.now))

    def losses(step):
        clock.now += 2 if (step - 1) % 60 > 1 else 100  # a GPU chooses its kernels in the first ones
        return LOSS, LOSS

    quick = {"checkpoint_every": 10**6, "log_every": 50}
    train(session(tmp_path, steps=120, **quick), losses)
    assert capsys.readouterr().out.count("0.5 steps per second: about 2 minutes to go") == 1
    train(session(tmp_path, steps=181, **quick), losses)
    assert capsys.readouterr().out.count("0.5 steps per second: about 0 minutes to go") == 1
    train(session(tmp_path, steps=240, **quick), losses)
    assert "steps per second" not in capsys.readouterr().out  # the session ends there
    run = session(tmp_path, steps=100_240, **quick)
    run.print_estimate(2, 100)
    assert "about 55.6 hours to go" in capsys.readouterr().out
    run = session(tmp_path, steps=100_240, hours=1.0, **quick)
    run.print_estimate(2, 100)
    assert "about 58 minutes to go" in capsys.readouterr().out


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -1e16])
def test_a_diverging_loss_ends_the_run_and_names_the_checkpoint_before(tmp_path, loss):
    def losses(step):
        return (torch.tensor(loss) if step == 5 else LOSS), LOSS

    with pytest.raises(SystemExit, match=r"stopped at step 5: loss_D is .*last\.pt of step 4") as stopped:
        train(session(tmp_path, log_every=6), losses)
    assert "\n" not in str(stopped.value)
    assert last(tmp_path)["step"] == 4


def test_a_large_loss_ends_no_run(tmp_path):
    assert train(session(tmp_path), lambda step: (torch.tensor(-1e12), LOSS)).step == 6


def test_weights_that_are_not_numbers_never_replace_a_checkpoint(tmp_path):
    run = session(tmp_path)

    def losses(step):
        if step == 6:
            run.G.weight.data.fill_(float("nan"))
        return LOSS, LOSS

    with pytest.raises(SystemExit, match=r"stopped at step 6: weights of G are not finite.*of step 4") as stopped:
        train(run, losses)
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "gan/samples/000006.tgz").exists()


def test_a_run_that_diverges_before_its_first_checkpoint_says_so(tmp_path):
    with pytest.raises(SystemExit, match=r"stopped at step 1: loss_D is nan.*; no checkpoint exists"):
        train(session(tmp_path), lambda step: (torch.tensor(float("nan")), LOSS))


# files of somebody else


def test_a_submission_takes_away_nothing_of_somebody_else(tmp_path, capsys):
    run, outputs = train(session(tmp_path)), tmp_path / "outputs"
    write_submission(run)
    for name in ("labels.csv", "notes.txt", "1001.jpg"):
        (outputs / name).write_text("file,label\n1.jpg,mine\n")
    (run.folder / "labels.csv").write_text("of the run")
    write_submission(run)
    kept, said = outputs / "labels.before.csv", capsys.readouterr().out
    assert f"{outputs}/labels.csv is not of the pictures there: it is now {kept}\n" in said
    assert f"{outputs} holds other pictures, such as 1001.jpg: score the archive, or move them\n" in said
    assert kept.read_text() == "file,label\n1.jpg,mine\n" and (outputs / "labels.csv").read_text() == "of the run"
    assert {*os.listdir(outputs)} == {f"{n}.jpg" for n in range(1, 9)} | {
        "labels.csv",
        kept.name,
        "notes.txt",
        "1001.jpg",
    }


def zip_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "somebody's")
    return path.read_bytes()


@pytest.mark.parametrize("names", [["1.jpg"], ["gan/1.jpg"], []])
def test_a_zip_in_the_place_of_the_archive_that_is_none_is_refused(tmp_path, names):
    data = zip_of(tmp_path / "gan.zip", *names)
    with pytest.raises(SystemExit, match=r"^\S*/gan\.zip is no archive of this run, which would replace it: rename it"):
        session(tmp_path)
    assert [*tmp_path.iterdir()] == [tmp_path / "gan.zip"] and (tmp_path / "gan.zip").read_bytes() == data


@pytest.mark.parametrize("what", ["torn", "no zip", "further", "came later"])
def test_an_archive_that_may_be_somebodys_is_kept_under_another_name(tmp_path, capsys, what):
    train(session(tmp_path, steps=4))
    archive, whole = tmp_path / "gan.zip", (tmp_path / "gan.zip").read_bytes()
    shutil.rmtree(tmp_path / "gan")
    (tmp_path / "gan.before.zip").touch()  # of an earlier time
    archive.write_bytes({"torn": whole[:-50], "no zip": b"Rar!"}.get(what, whole))
    if what in ("further", "came later"):
        archive.rename(tmp_path / "kept")
    run = session(tmp_path, steps=2)
    if what == "further":
        (tmp_path / "kept").rename(archive)
    if what == "came later":
        zip_of(archive, "1.jpg")
    data = archive.read_bytes()
    train(run)
    told = f"{archive} is none of this run, or got further: it is now {tmp_path}/gan.before2.zip\n"
    assert told in capsys.readouterr().out and (tmp_path / "gan.before2.zip").read_bytes() == data
    train(session(tmp_path, steps=4))  # its own is replaced, as before
    assert kit.run.steps_logged(archive, "gan") == 4 and not (tmp_path / "gan.before3.zip").exists()
    with zipfile.ZipFile(archive, "a") as files:  # a log is ahead of the checkpoint where a session was killed
        log = files.read("gan/log.csv").decode()
        files.writestr("gan/log.csv", f"{log}9,0.5,0.5,1\n")
    train(session(tmp_path, steps=6))
    assert not (tmp_path / "gan.before3.zip").exists()


@pytest.mark.parametrize("name", ["1.jpg", "faces/1.jpg", "pictures/000002.png"])
def test_a_run_takes_no_folder_that_holds_other_files(tmp_path, name):
    (tmp_path / "gan" / name).parent.mkdir(parents=True)
    (tmp_path / "gan/.DS_Store").touch()
    (tmp_path / "gan" / name).write_text("somebody's")
    with pytest.raises(SystemExit, match=f"/gan holds no run, but other files, such as {name.partition('/')[0]}: set"):
        session(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix] == [tmp_path / "gan" / name]


@pytest.mark.parametrize(
    ("name", "picture", "others", "fine"),
    [
        ("1.jpg", ("JPEG", (64, 64)), {}, True),  # an earlier submission
        ("1.jpg", None, {}, True),  # one that was killed
        ("1.jpg", ("JPEG", (128, 128)), {}, False),
        ("1.jpg", ("PNG", (64, 64)), {}, False),
        ("1001.jpg", ("JPEG", (64, 64)), {}, True),  # which nothing replaces
        ("me.jpg", ("JPEG", (64, 64)), {}, True),
        ("notes.txt", None, {}, True),
        ("1.jpg", ("JPEG", (64, 64)), {"faces": "{}/outputs"}, False),
        ("1.jpg", ("JPEG", (64, 64)), {"faces": "{}"}, False),  # a class of these faces
        ("1.jpg", ("JPEG", (64, 64)), {"outputs": "{}/faces"}, False),  # which is never taken for a submission
    ],
)
def test_outputs_takes_no_folder_that_holds_other_pictures(tmp_path, name, picture, others, fine):
    others = {setting: path.format(tmp_path) for setting, path in others.items()}
    path = Path(others.get("outputs", tmp_path / "outputs"), name)
    path.parent.mkdir()
    path.touch()
    if picture:
        Image.new("RGB", picture[1]).save(path, picture[0])
    with nullcontext() if fine else pytest.raises(SystemExit, match=f"holds other pictures, such as {name}: move them"):
        session(tmp_path, **others)


# taken to another session


def test_one_archive_is_all_that_another_session_needs(tmp_path, capsys):
    here, there, kaggle = tmp_path / "here", tmp_path / "there", tmp_path / "kaggle/input"
    train(session(here, steps=4))
    kaggle.mkdir(parents=True)
    with zipfile.ZipFile(here / "gan.zip") as archive:
        assert "gan/checkpoints/previous.pt" not in archive.namelist()
        archive.extractall(kaggle / "my-run")  # as Kaggle unpacks what is uploaded
    (here / "gan.zip").rename(kaggle / "gan.zip")
    other = kaggle / "other/wgan/checkpoints/last.pt"  # another notebook's
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")

    run = session(there, steps=4)  # nothing beside it: a new run
    assert run.start == 0
    for attached in ("my-run/gan", "gan.zip"):  # a folder may hold more than its zip
        fetch_run(run.folder, [kaggle])
        assert f"took up the run in {kaggle / attached} (" in capsys.readouterr().out
        run.last.unlink()
        shutil.rmtree(kaggle / "my-run", ignore_errors=True)
    fetch_run(run.folder, [kaggle])
    run = session(there)
    assert run.start == 4
    train(run)
    assert logged(there) == [1, 2, 3, 4, 5, 6]
    assert len([*there.glob("gan/samples/*")]) == 6


def test_an_archive_beside_the_run_is_taken_up_and_the_furthest_of_several(tmp_path, capsys):
    for steps in (2, 4):
        train(session(tmp_path / str(steps), steps=steps))
    (tmp_path / "new").mkdir()
    (tmp_path / "2/gan.zip").rename(tmp_path / "new/gan.zip")
    fetch_run(tmp_path / "new/gan", [tmp_path / "nothing here"])
    assert last(tmp_path / "new")["step"] == 2
    (tmp_path / "new/gan/checkpoints/last.pt").unlink()
    fetch_run(tmp_path / "new/gan", [tmp_path / "4"])
    assert last(tmp_path / "new")["step"] == 4


def test_a_run_from_before_the_drive_was_mounted_is_taken_up(tmp_path, capsys):
    train(session(tmp_path / "content/runs", steps=4))
    drive = tmp_path / "content/drive/MyDrive/runs/gan"
    for name in ("checkpoints", "samples"):
        (drive / name).mkdir(parents=True)
    fetch_run(drive, [tmp_path / "content/runs"])
    assert last(drive.parent)["step"] == 4
    assert f"took up the run in {tmp_path / 'content/runs/gan'} (" in capsys.readouterr().out
    kept = sorted(path.name for path in (drive / "checkpoints").iterdir())
    assert kept == ["000002.pt", "000004.pt", "last.pt", "previous.pt"]  # the zip beside it has fewer
    assert inspect.signature(fetch_run).parameters["places"].default == ("/kaggle/input", "/content/runs")


@pytest.mark.parametrize("fuller", ["a", "b"])
def test_of_two_folders_that_are_as_far_the_fuller_one_is_taken_up(tmp_path, fuller):
    """Kaggle unpacks a zip that is uploaded as a data set: of its checkpoints it has the last one alone."""
    train(session(tmp_path, steps=4))
    for place in ("a", "b"):
        shutil.copytree(tmp_path / "gan", tmp_path / f"input/{place}/gan")
        if place != fuller:
            for name in ("000002.pt", "000004.pt", "previous.pt"):
                (tmp_path / f"input/{place}/gan/checkpoints/{name}").unlink()
    fetch_run(tmp_path / "new/gan", [tmp_path / "input"])
    assert (tmp_path / "new/gan/checkpoints/000002.pt").exists()


@pytest.mark.parametrize("name", ["gan.zip", "gan (1).zip", "gan(1).zip", "gan-1.zip"])
def test_an_archive_that_was_uploaded_is_taken_up_as_a_browser_names_it(tmp_path, monkeypatch, capsys, name):
    train(session(tmp_path / "there", steps=2))
    train(session(tmp_path / "other", steps=4))
    for place in ("content", "runs"):
        (tmp_path / place).mkdir()
    (tmp_path / "there/gan.zip").rename(tmp_path / "content" / name)
    (tmp_path / "other/gan").rename(tmp_path / "other/gan-2")
    shutil.make_archive(tmp_path / "content/gan-2", "zip", tmp_path / "other", "gan-2")  # another run's
    (tmp_path / "content/gan (3).zip").mkdir()
    (tmp_path / "content/gan_faces.zip").write_bytes(b"no zip")
    (tmp_path / "content/gan (2).zip").write_bytes((tmp_path / "other/gan.zip").read_bytes()[:-50])
    capsys.readouterr()
    monkeypatch.chdir(tmp_path / "content")
    fetch_run(tmp_path / "runs/gan", [], uploads=[".", tmp_path / "content", tmp_path / "nothing here"])
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and "gan (2).zip is broken, or holds no run" in told[0]
    assert told[1] == f"took up the run in {tmp_path / 'content' / name} (without it, a new one would begin)"
    assert last(tmp_path / "runs")["step"] == 2
    defaults = inspect.signature(fetch_run).parameters
    assert defaults["uploads"].default == (".", "/content", "/content/drive/MyDrive")


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_run_that_got_further_elsewhere_is_told_and_overwrites_none(tmp_path, monkeypatch, capsys, as_zip):
    here, there = tmp_path / "drive/gan", tmp_path / ("there/gan.zip" if as_zip else "there/gan")
    monkeypatch.setattr(fetch_run, "__defaults__", ([tmp_path / "there", tmp_path / "drive"], 0, []))
    train(session(here.parent, steps=2))
    train(session(tmp_path / "4", steps=4))
    there.parent.mkdir()
    (tmp_path / "4" / there.name).rename(there)
    told = f"{there} holds a run that got further, to step 4: to go on from there, rename {here}\n"
    capsys.readouterr()
    assert session(here.parent).start == 2
    assert told in capsys.readouterr().out
    here.rename(tmp_path / "renamed")
    assert session(here.parent).start == 4  # as it was told
    train(session(here.parent, steps=4))
    with open(here / "log.csv", "a") as file:  # killed between two checkpoints
        file.write("5,0.5,0.5,1.000\n")
    if not as_zip:
        shutil.copyfile(here / "log.csv", there / "log.csv")
    assert session(here.parent).start == 4
    assert "got further" not in capsys.readouterr().out


@pytest.mark.parametrize("end", [-1, -50, 5000, 0])
def test_an_archive_that_was_cut_off_is_named_and_passed_over(tmp_path, capsys, end):
    train(session(tmp_path))
    (tmp_path / "new").mkdir()
    (tmp_path / "new/gan.zip").write_bytes((tmp_path / "gan.zip").read_bytes()[:end])
    assert session(tmp_path / "new").start == 0
    assert f"{tmp_path}/new/gan.zip is broken, or holds no run of this name: upload it again" in capsys.readouterr().out


def with_wrong_checksums(data, *members):
    data = bytearray(data)
    for member in members:
        data[data.rindex(member.encode()) - 46 + 16] ^= 1  # in the zip's directory, at its end
    return data


def test_an_archive_with_a_damaged_member_is_named_and_passed_over(tmp_path, capsys):
    train(session(tmp_path))
    (tmp_path / "new").mkdir()
    (tmp_path / "new/gan.zip").write_bytes(with_wrong_checksums((tmp_path / "gan.zip").read_bytes(), "gan/log.csv"))
    assert session(tmp_path / "new").start == 0
    assert "new/gan.zip is broken, or holds no run of this name: upload it again" in capsys.readouterr().out


def test_a_damaged_sample_in_an_archive_is_named_and_costs_no_run(tmp_path, capsys):
    train(session(tmp_path, steps=4))
    damaged = "gan/samples/000002.png", "gan/grad_norms.csv"
    (tmp_path / "new").mkdir()
    (tmp_path / "new/gan.zip").write_bytes(with_wrong_checksums((tmp_path / "gan.zip").read_bytes(), *damaged))
    assert session(tmp_path / "new").start == 4
    assert {path.name for path in (tmp_path / "new/gan/samples").iterdir()} == {
        "000002.tgz",
        "000004.png",
        "000004.tgz",
    }
    said = capsys.readouterr().out
    for name in damaged:
        assert f"left out {tmp_path}/new/gan.zip/{name}, which cannot be read: Bad CRC-32" in said


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_run_without_samples_is_taken_up(tmp_path, capsys, as_zip):
    train(session(tmp_path / "kaggle", steps=2))
    shutil.rmtree(tmp_path / "kaggle/gan/samples")
    (tmp_path / "kaggle/gan.zip").unlink()
    if as_zip:
        shutil.make_archive(tmp_path / "gan", "zip", tmp_path / "kaggle", "gan")
    fetch_run(tmp_path / "gan", [tmp_path / "kaggle"] * (not as_zip))
    assert last(tmp_path)["step"] == 2


def test_a_run_is_taken_up_whole_or_not_at_all(tmp_path, monkeypatch):
    train(session(tmp_path / "kaggle", steps=4))
    (tmp_path / "kaggle/gan.zip").unlink()
    there, here, write = tmp_path / "kaggle/gan", tmp_path / "gan", kit.run.atomic_write
    whole = {path.relative_to(there) for path in there.rglob("*.*")}

    for moment in range(len(whole) + 1):  # so many files are written, then it is interrupted
        writes = iter([write] * moment)
        monkeypatch.setattr(kit.run, "atomic_write", lambda *args, writes=writes: next(writes)(*args))
        with suppress(StopIteration):
            fetch_run(here, [tmp_path / "kaggle"])
        found = {path.relative_to(here) for path in here.rglob("*.*")}
        if {"last.pt", "previous.pt"} & {path.name for path in found}:
            assert whole - found <= {Path("checkpoints/previous.pt")}  # which is only there for a last.pt that breaks
        shutil.rmtree(here)


def test_a_run_that_was_killed_between_two_names_of_its_checkpoint_is_taken_up(tmp_path, monkeypatch, capsys):
    train(session(tmp_path / "kaggle", steps=4))
    train(session(tmp_path / "old", steps=1))
    (tmp_path / "kaggle/gan.zip").unlink()
    (tmp_path / "kaggle/gan/checkpoints/last.pt").unlink()
    monkeypatch.setattr(fetch_run, "__defaults__", ([tmp_path / "kaggle"], 0, []))
    assert session(tmp_path / "new").start == 2
    capsys.readouterr()
    assert session(tmp_path / "old").start == 1
    assert "kaggle/gan holds a run that got further, to step 2:" in capsys.readouterr().out


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_submission_that_is_taken_up_is_as_new_as_it_was(tmp_path, as_zip):
    there, packed = tmp_path / "kaggle/gan", 1_700_000_000
    train(session(there.parent, steps=2))
    (there.parent / "gan.zip").unlink()
    (there / "submission.tgz").touch()
    os.utime(there / "submission.tgz", (packed,) * 2)
    os.utime(there / "checkpoints/last.pt", (packed - 10,) * 2)
    if as_zip:
        shutil.make_archive(tmp_path / "gan", "zip", there.parent, "gan")
    fetch_run(tmp_path / "gan", [there.parent] * (not as_zip))
    times = [(tmp_path / "gan" / name).stat().st_mtime for name in ("submission.tgz", "checkpoints/last.pt")]
    assert times == [packed, packed - 10]


def test_what_is_taken_up_is_no_newer_than_now(tmp_path):
    """A zip that was packed where the day is further on."""
    train(session(tmp_path / "there", steps=2))
    gan, soon = tmp_path / "there/gan", time.time() + 8 * 3600
    (gan / "submission.tgz").touch()
    os.utime(gan / "submission.tgz", (soon - 60,) * 2)
    os.utime(gan / "checkpoints/last.pt", (soon,) * 2)
    shutil.make_archive(tmp_path / "gan", "zip", gan.parent, "gan")
    fetch_run(tmp_path / "gan", [])
    times = [(tmp_path / "gan" / name).stat().st_mtime for name in ("submission.tgz", "checkpoints/last.pt")]
    assert times[0] < times[1] <= time.time()


# averages, samples, norms


def test_the_running_average_is_torchs(tmp_path):
    torch.manual_seed(0)
    G = Generator(4, 2)
    run = Run(replace(SMALL, run=str(tmp_path), z_dim=4, ema=0.9), G, nn.Linear(1, 1), z=torch.ones(2, 4))
    right = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    right.update_parameters(G)  # begins with G as it is
    for _ in range(20):
        with torch.no_grad():
            for weight in G.parameters():
                weight += 0.1 * torch.randn_like(weight)
        G(torch.randn(8, 4))  # moves BatchNorm's statistics
        run.update_average()
        right.update_parameters(G)
    states = run.G_ema.state_dict(), right.module.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        if value.is_floating_point():
            assert torch.allclose(value, states[1][name], rtol=1e-5, atol=1e-7), name
            assert not torch.equal(value, G.state_dict()[name])
        else:  # numbers of batches, which have no average
            assert torch.equal(value, G.state_dict()[name])
    assert not run.G_ema.training and not any(weight.requires_grad for weight in run.G_ema.parameters())


def test_without_an_average_samples_come_from_G_itself(tmp_path):
    run = train(session(tmp_path, ema=0.0, steps=3))
    assert torch.equal(run.G_ema.weight, run.G.weight)
    half = HalfPrecision(Paint(), torch.float16)
    run = Run(replace(SMALL, run=str(tmp_path / "half")), half, nn.Linear(1, 1), z=torch.ones(8, 2))
    half.module.weight.data += 1
    run.update_average()
    assert isinstance(run.G_ema, Paint) and torch.equal(run.G_ema.weight, half.module.weight)


def test_repeats_among_samples_are_seen(tmp_path, capsys):
    pictures = torch.randint(0, 256, (300, 3, 8, 8), dtype=torch.uint8)
    pictures = nn.functional.interpolate(pictures, 64)  # no two alike
    assert near_repeats(pictures) == 0
    collapsed = pictures.clone()
    collapsed[:100] = pictures[:1]
    assert near_repeats(collapsed) == pytest.approx(1 / 3)
    run = session(tmp_path)
    numbers = torch.get_rng_state()
    for shown in (pictures, collapsed):
        run.G_ema.forward = lambda z, shown=shown: shown / 127.5 - 1
        run.save_samples()
    healthy, hint = (line for line in capsys.readouterr().out.splitlines() if line.startswith("step"))
    assert healthy == "step 0: 0.0% near repeats"
    assert hint == "step 0: 33.3% near repeats: G is collapsing, earlier samples may be better"
    assert torch.equal(torch.get_rng_state(), numbers)  # the training goes on as if nobody had looked
    run.step = 2
    run.save_checkpoint()
    for old in (False, True):
        if old:  # a checkpoint of an older notebook
            state = last(tmp_path)
            del state["fewest_repeats"]
            torch.save(state, run.last)
        resumed = session(tmp_path)
        resumed.G_ema.forward = lambda z: collapsed / 127.5 - 1
        resumed.save_samples()
        assert ("G is collapsing" in capsys.readouterr().out) != old


def test_faces_that_are_alike_themselves_are_no_repeats():
    """A generator whose pictures differ as the training faces do has not collapsed, however alike those are."""
    levels = torch.randint(0, 256, (300, 3, 8, 8), dtype=torch.uint8)
    different = nn.functional.interpolate(levels, 64)
    assert limit_of_repeats(different) == 12
    similar = (100 + different / 18).to(torch.uint8)  # the nearest two are 4 levels apart
    assert near_repeats(similar) == 1
    assert near_repeats(similar, limit_of_repeats(similar)) == 0
    collapsed = similar.clone()
    collapsed[:100] = similar[:1]
    assert near_repeats(collapsed, limit_of_repeats(similar)) == pytest.approx(1 / 3)
    twice = torch.cat([similar[:290], similar[:10]])  # as in many sets
    assert limit_of_repeats(twice) == pytest.approx(limit_of_repeats(similar), rel=0.1)
    assert limit_of_repeats(different[:1].expand(9, -1, -1, -1)) == 12


def test_samples_are_of_evaluation_mode_and_fill_all_levels():
    class Ramp(nn.Module):
        def forward(self, z):
            assert not self.training
            return z.view(-1, 1, 1, 1).expand(-1, 3, 64, 64)

    G = Ramp()
    levels = sample(G, torch.linspace(-1.1, 1.1, 1000).view(-1, 1))[:, 0, 0, 0]
    assert G.training and levels.dtype == torch.uint8
    assert levels.unique().tolist() == [*range(256)]
    assert torch.equal(fixed_noise(SMALL), fixed_noise(SMALL)) and fixed_noise(SMALL).shape == (1000, 2)


def test_a_submission_is_an_archive_and_the_same_single_files(tmp_path, capsys):
    run = train(session(tmp_path))
    run.z = torch.linspace(-1, 1, 2000).view(1000, 2)
    assert write_submission(run).shape == (1000, 3, 64, 64)
    with tarfile.open(tmp_path / "gan/submission.tgz") as archive:
        assert archive.getnames() == [f"{number}.jpg" for number in range(1, 1001)]
        assert archive.extractfile("7.jpg").read() == (tmp_path / "outputs/7.jpg").read_bytes()
    assert len([*(tmp_path / "outputs").iterdir()]) == 1000
    assert "1,000 pictures in" in capsys.readouterr().out
    assert output_folder(run.settings) == tmp_path / "outputs"
    labels = tmp_path / "outputs/labels.csv"
    labels.write_text("file,label\n" + "".join(f"{number}.jpg,blue\n" for number in range(1, 1001)))
    run.z = run.z[:2]
    write_submission(run)  # the labels of the earlier pictures go with them
    assert sorted(os.listdir(tmp_path / "outputs")) == ["1.jpg", "2.jpg"]
    pack(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), tmp_path / "two.tgz")
    with tarfile.open(tmp_path / "two.tgz") as archive:
        assert archive.getnames() == ["1.jpg", "2.jpg"]
        assert jpeg_quality(archive.extractfile("1.jpg").read(), 4) == 75


def test_a_grid_in_a_notebook_costs_its_jpeg_alone(monkeypatch):
    outputs = []
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setattr(
        "IPython.core.display_functions.publish_display_data", lambda data, *_, **__: outputs.append(data)
    )
    monkeypatch.setattr("IPython.core.interactiveshell.InteractiveShell.initialized", lambda: True)
    show(picture_grid(torch.randint(0, 256, (64, 3, 64, 64), dtype=torch.uint8)))
    (output,) = outputs
    assert {*output} == {"image/jpeg", "text/plain"}


def test_norms_are_of_every_layers_weights_from_the_picture_on():
    D = Discriminator(2)
    D(torch.randn(4, 3, 64, 64)).sum().backward()
    norms = layer_norms(D)
    assert [*norms] == ["layers.0.0.weight", *(f"layers.{i}.0.weight" for i in (1, 2, 3)), "layers.4.weight"]
    assert norms["layers.4.weight"].item() == pytest.approx(D.layers[4].weight.grad.square().sum().sqrt().item())


@pytest.mark.parametrize("loss", [0.5, 1, LOSS])
def test_a_loss_that_comes_on_the_cpu_lies_beside_those_on_the_gpu(tmp_path, loss):
    run = session(tmp_path)
    run.device = torch.device("meta")  # in place of a GPU
    run.log(loss_D=loss, loss_G=torch.zeros((), device="meta", requires_grad=True))
    assert torch.stack([*run.losses.values()]).device == run.device
    assert not run.losses["loss_G"].requires_grad


def test_a_loss_that_is_not_logged_stays_as_it_was(tmp_path):
    run = session(tmp_path, steps=3)
    for step, _ in run.steps(torch.zeros(8, 3, 8, 8, dtype=torch.uint8)):
        run.log(loss_D=torch.tensor(float(step), requires_grad=True))
        if step == 2:
            run.log(loss_G=torch.tensor(7.0))
    rows = [row[:3] for row in read_rows(tmp_path / "gan/log.csv")]
    assert rows == [["step", "loss_D", "loss_G"], ["1", "1", "0"], ["2", "2", "7"], ["3", "3", "7"]]
