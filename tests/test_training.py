"""A run is never lost: killed, interrupted, on a full disk, with broken files, or diverging."""

import csv
import importlib
import os
import resource
import signal
import subprocess
import sys
import tarfile
import zipfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import nn

from baselines.build import ROOT
from tests.notebook import sources

KILLS = os.environ.get("KILLS", "3")  # `make test-kill` sets 20
LOSS = torch.tensor(0.5)


@dataclass
class Settings:
    run: str
    outputs: str = "outputs"
    steps: int = 6
    hours: float = 0.0
    checkpoint_every: int = 2
    log_every: int = 1
    seed: int = 1
    lr_G: float = 1e-4


class Paint(nn.Module):
    """z [N, 2] -> pictures [N, 3, 64, 64] of one weight's grey."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z):
        return (self.weight + z.mean(1)).tanh().view(-1, 1, 1, 1).expand(-1, 3, 64, 64)


def session(folder, steps=6, losses=lambda step: (LOSS, LOSS), **others):
    """A notebook up to its loop, with a network of one weight, which is the sum of the steps and of random numbers."""
    names = {
        "settings": Settings(str(folder / "gan"), steps=steps, **others),
        "faces": [0] * 8,
        "source": Path("faces"),
    }
    for part in ("setup", "device", "run"):
        exec((ROOT / f"baselines/parts/{part}.py").read_text(), names)
    G = Paint()
    average_G = names["AveragedModel"](G)
    parts = {"G": G, "average_G": average_G, "optimizer_G": torch.optim.Adam(G.parameters())}
    names["seed_everything"](1)
    start = names["load_checkpoint"](**parts)
    log = names["LossLog"](names["run"] / "log.csv", start)

    def take_step(step):
        with torch.no_grad():
            G.weight += step + torch.rand(1)
        average_G.update_parameters(G)
        return losses(step)

    names |= {"G": G, "average_G": average_G, "parts": parts, "start": start, "log": log, "tables": [log]}
    names["importlib"] = SimpleNamespace(import_module=mock.Mock(side_effect=ImportError))  # without the grader
    return names | {"take_step": take_step, "fixed_z": torch.ones(8, 2)}


def train(names):
    exec((ROOT / "baselines/parts/loop.py").read_text(), names)
    return names


def read_rows(path):
    with open(path, newline="") as file:
        return [*csv.reader(file)]


def logged(folder):
    return [int(row[0]) for row in read_rows(folder / "gan/log.csv")[1:]]


def equal(one, other):
    """Whether two states hold the same, to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_run_killed_again_and_again_ends_as_if_it_had_been_left_alone(tmp_path, rendered):
    command = [sys.executable, "-m", "tests.killed", str(tmp_path), str(rendered), KILLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert done.stdout.count("killed within") == int(KILLS)
    whole, killed = (
        torch.load(tmp_path / name / "run/checkpoints/last.pt", weights_only=True) for name in ("whole", "killed")
    )
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
    last = tmp_path / "gan/checkpoints/last.pt"
    data = bytearray(last.read_bytes())
    data[data.index(b"average_G")] ^= 4
    last.write_bytes({"cut off": data[:-100], "one bit": data, "empty": b""}[broken])
    (tmp_path / "gan/config.json").write_text("{")  # only for readers: the checkpoint has its own
    capsys.readouterr()
    names = session(tmp_path)
    printed = capsys.readouterr().out
    assert f"{last} is broken" in printed and "going on from step 4 of " in printed
    assert logged(tmp_path) == [1, 2, 3, 4]
    train(names)
    assert logged(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert "is broken" not in capsys.readouterr().out
    (tmp_path / "whole").mkdir()
    train(session(tmp_path / "whole"))
    checkpoints = [torch.load(folder / "gan/checkpoints/last.pt") for folder in (tmp_path, tmp_path / "whole")]
    assert all(equal(checkpoints[0][name], checkpoints[1][name]) for name in ("G", "average_G", "optimizer_G", "rng"))


def test_whatever_happens_while_it_is_written_a_whole_checkpoint_is_there(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    for moment in range(1, 4):  # of the three things done to files: write, move the old, name the new
        names = session(tmp_path / str(moment))
        names["save_checkpoint"](2, **names["parts"])
        names["save_checkpoint"](4, **names["parts"])
        done = []

        def die(real, moment=moment, done=done):
            def act(*args):
                done.append(real)
                if len(done) == moment:
                    raise Killed
                return real(*args)

            return act

        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", die(torch.save))
            patched.setattr(os, "replace", die(os.replace))
            with pytest.raises(Killed):
                names["save_checkpoint"](6, **names["parts"])
        assert names["read_checkpoint"]()[1]["step"] == 4


def test_rows_after_the_checkpoint_and_torn_ones_are_cut(tmp_path):
    train(session(tmp_path, steps=12))
    with open(tmp_path / "gan/log.csv", "a") as file:
        file.write("13,0.5,0.5,1.0\n1")  # the beginning of 14
    session(tmp_path, steps=14)
    assert logged(tmp_path) == [*range(1, 13)]


def test_a_full_disk_is_reported_and_leaves_the_checkpoint_whole(tmp_path):
    names = session(tmp_path)
    names["save_checkpoint"](2, **names["parts"])
    for step in range(1000):
        names["log"].add(step, LOSS, LOSS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # a write beyond fails as on a full disk
    try:
        with pytest.raises(SystemExit, match=r"last.pt cannot be written: .* MB are free. Earlier checkpoints are"):
            names["save_checkpoint"](4, **names["parts"])
        with pytest.raises(SystemExit, match=r"log.csv cannot be written: File too large"):
            names["log"].flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names["read_checkpoint"]()[1]["step"] == 2
    assert not [*tmp_path.rglob("*.part")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_after_its_step_with_all_that_a_session_leaves(tmp_path, capsys, number):
    def losses(step):
        if step == 3:
            signal.raise_signal(number)
        return LOSS, LOSS

    before = signal.getsignal(number)
    names = train(session(tmp_path, losses=losses))
    assert signal.getsignal(number) is before
    assert "stopped: run the notebook again" in capsys.readouterr().out
    assert names["read_checkpoint"]()[1]["step"] == 3
    with tarfile.open(tmp_path / "gan/samples/000003.tgz") as archive:
        assert len(archive.getnames()) == 8
    train(names)  # the same cell again
    assert logged(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_second_interrupt_ends_at_once(tmp_path):
    def losses(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(session(tmp_path, losses=losses))


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -1e16])
def test_a_diverging_loss_ends_the_run_and_names_the_checkpoint_before(tmp_path, loss):
    def losses(step):
        return (torch.tensor(loss) if step == 5 else LOSS), LOSS

    with pytest.raises(SystemExit, match=r"stopped at step 5: loss_D is .*last\.pt of step 4"):
        train(session(tmp_path, losses=losses, log_every=6))
    assert torch.load(tmp_path / "gan/checkpoints/last.pt")["step"] == 4


def test_weights_that_are_not_numbers_never_replace_a_checkpoint(tmp_path):
    names = session(tmp_path)

    def losses(step):
        if step == 6:
            names["G"].weight.data.fill_(float("nan"))
        return LOSS, LOSS

    names["take_step"] = lambda step: losses(step)
    with pytest.raises(SystemExit, match=r"stopped at step 6: weights of G are not finite.*of step 4"):
        train(names)
    assert not (tmp_path / "gan/samples/000006.tgz").exists()


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

    names = session(there, steps=4)  # nothing beside it: a new run
    assert names["start"] == 0
    for attached in ("gan.zip", "my-run"):
        names["fetch_run"]([kaggle])
        assert f"took up the run in {kaggle / attached}" in capsys.readouterr().out
        names["LAST"].unlink()
        (kaggle / "gan.zip").unlink(missing_ok=True)
    names["fetch_run"]([kaggle])
    names = session(there)
    assert names["start"] == 4
    train(names)
    assert logged(there) == [1, 2, 3, 4, 5, 6]
    assert len([*there.glob("gan/samples/*")]) == 6


def test_repeats_among_samples_are_seen(tmp_path):
    names = session(tmp_path) | {"importlib": importlib}
    exec((ROOT / "baselines/parts/run.py").read_text(), names)  # with the grader
    pictures = torch.randint(0, 256, (300, 3, 8, 8), dtype=torch.uint8)
    pictures = nn.functional.interpolate(pictures, 64)  # no two alike
    assert names["near_repeats"](pictures) == 0
    collapsed = pictures.clone()
    collapsed[:100] = pictures[:1]
    assert names["near_repeats"](collapsed) == pytest.approx(1 / 3)
    history = []
    numbers = torch.get_rng_state()
    assert "collapsing" not in names["what_is_seen"](pictures, history)
    assert "33.3% near repeats, a face found in " in (line := names["what_is_seen"](collapsed, history))
    assert "collapsing" in line
    assert torch.equal(torch.get_rng_state(), numbers)  # the training goes on as if nobody had looked


def one_step(half=None, freeze=True, width=8):
    """The losses of 01's step of D and of G on its shared part, and the gradients that they leave: as it is, without
    freezing, or in half precision with its scaler."""
    names = {"torch": torch, "nn": nn, "contextmanager": contextmanager, "device": torch.device("cpu")}
    cells = sources(ROOT / "baselines/01_gan.py", True)
    start, train = ((ROOT / f"baselines/parts/{part}.py").read_text() for part in ("start", "train"))
    steps = train[train.index("def update_D") : train.index("def take_step")]
    torch.manual_seed(0)
    for code in (
        (ROOT / "baselines/parts/dcgan.py").read_text(),
        cells["todo-discriminator_step"],
        cells["todo-generator_step"],
        start.partition("fixed_z = ")[0],
        steps,
        "def noise(count): return z[count % 7]",
    ):
        exec(code, names)
    G, D = names["Generator"](100, width), names["Discriminator"](width)
    G.mixed = D.mixed = half is not None
    if not freeze:
        names["frozen"] = lambda network: nullcontext()
    still = [torch.optim.SGD(network.parameters(), lr=0.0) for network in (G, D)]
    scaler = torch.amp.GradScaler("cpu", enabled=half == torch.float16)
    scaled_G, scaled_D = (
        names["mix_precision"](network, optimizer, half, scaler)
        for network, optimizer in zip((G, D), still, strict=True)
    )
    names |= {"G": G, "D": D, "scaled_G": scaled_G, "scaled_D": scaled_D, "average_G": mock.Mock()}
    names["z"] = torch.randn(7, 15, 100)
    real = torch.rand(15, 3, 64, 64) * 2 - 1
    for _ in range(8):  # until the scale, halved at every overflow, fits
        names["update_D"](real), names["update_G"](15)
    losses = [names["update_D"](real)]
    gradients = [weight.grad.clone() for weight in D.parameters()]
    losses.append(names["update_G"](15))
    return losses, gradients + [weight.grad for weight in G.parameters()], scaler


def test_not_asking_for_unused_gradients_changes_nothing():
    (losses, gradients, _), (plain_losses, plain, _) = one_step(), one_step(freeze=False)
    assert losses == plain_losses
    assert all(map(torch.equal, gradients, plain))


@pytest.mark.parametrize(("half", "tolerance"), [(torch.float16, 0.1), (torch.bfloat16, 0.3)])
def test_half_precision_gives_the_losses_and_gradients_of_float32(half, tolerance):
    (losses, gradients, scaler), (plain_losses, plain, _) = one_step(half), one_step()
    assert scaler.is_enabled() == (half == torch.float16)
    for loss, right in zip(losses, plain_losses, strict=True):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(right.item(), rel=tolerance / 10)
    assert not all(map(torch.equal, gradients, plain))  # it was in half precision
    error = sum((one - right).square().sum() for one, right in zip(gradients, plain, strict=True)).sqrt()
    assert error < tolerance * sum(right.square().sum() for right in plain).sqrt()
