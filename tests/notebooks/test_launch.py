"""Training in several processes: two on the CPU stand for two GPUs."""

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import cloudpickle
import nbformat
import pytest
import torch
from nbclient import NotebookClient
from torch import distributed, nn
from torch.distributed import run as distributed_run
from torch.distributed.elastic.multiprocessing.api import PContext

from baselines.build import ROOT
from kit.launch import TORCHRUN, launch, pass_on, worker
from kit.settings import Settings
from tests.helpers.notebook import built, lesson, small
from tests.helpers.stubbed import stubbed_cuda

MASTER = ROOT / "baselines/01_gan.py"
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the processes need not import the tests


def gradients(D, G, real, z):
    """Of a GAN's loss and a gradient penalty, for all weights of D and G."""
    loss = -D(real).log().mean() - (1 - D(G(z))).log().mean()
    x = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)  # a penalty is averaged as well
    (loss + slope.flatten(1).norm(dim=1).mean()).backward()
    found = [weight.grad.clone() for weight in [*D.parameters(), *G.parameters()]]
    D.zero_grad(), G.zero_grad()
    return found


def joint_gradient():
    """(found, right): the gradient of a process's part of a batch after all agreed, and that of the whole batch."""
    from kit.device import rank, share_gradients, world_size
    from kit.faces import as_input, batch_indices
    from kit.networks import Discriminator

    D, G = Discriminator(4, norm=nn.Identity), nn.Sequential(nn.Linear(8, 3 * 64 * 64), nn.Unflatten(1, (3, 64, 64)))
    for weight in [*D.parameters(), *G.parameters()]:  # both processes begin alike
        nn.init.normal_(weight, 0, 0.1, generator=torch.Generator().manual_seed(weight.numel()))
    repeatable = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (40, 3, 64, 64), dtype=torch.uint8, generator=repeatable)
    z = torch.randn(16, 8, generator=repeatable)
    indices = next(batch_indices(40, 16, seed=1, start=0, device=torch.device("cpu")))
    everything = [None] * world_size()
    distributed.all_gather_object(everything, indices.tolist())
    joint = torch.tensor(everything).T.flatten()  # dealt out one by one
    assert len(indices) == 8 and joint.unique().numel() == 16
    right = gradients(D, G, as_input(faces[joint]), z)
    share_gradients(D), share_gradients(G)
    return gradients(D, G, as_input(faces[indices]), z[rank() :: world_size()]), right


@pytest.fixture(scope="module")
def together(tmp_path_factory, rendered):
    """What two processes of 01 tell, the folder that they trained in, and the run that came of it."""
    folder = tmp_path_factory.mktemp("together")
    names = lesson(MASTER, **small(folder, rendered, processes=2, checkpoint_every=4))
    train = names["train"]

    def train_and_tell(settings):
        if not distributed.is_initialized():  # at last, in this process
            return train(settings)
        found, right = joint_gradient()
        run = train(settings)
        told = {
            "error": max(float((one - other).abs().max()) for one, other in zip(found, right, strict=True)),
            "largest": max(float(one.abs().max()) for one in right),
            "noise": run.noise().tolist(),
            "weights": [w.double().sum().item() for w in run.parts["D"].parameters()],
            "average": [w.double().sum().item() for w in run.G_ema.parameters()],
        }
        (folder / f"told{os.environ['RANK']}.json").write_text(json.dumps(told))
        return run

    run = launch(train_and_tell, names["settings"])
    return [json.loads((folder / f"told{rank}.json").read_text()) for rank in (0, 1)], folder, run


def test_two_processes_have_the_gradient_of_the_joint_batch(together):
    told, _, _ = together
    for one in told:
        assert one["largest"] > 1e-2
        assert one["error"] < 1e-5


def test_two_processes_train_alike_on_noise_of_their_own(together):
    told, _, run = together
    assert told[0]["noise"] != told[1]["noise"]
    assert len(told[0]["noise"]) == len(told[1]["noise"]) == 4  # of a batch of 8
    assert told[0]["weights"] == told[1]["weights"]
    assert told[0]["average"] == told[1]["average"]
    assert [w.double().sum().item() for w in run.parts["D"].parameters()] == told[0]["weights"]  # what is loaded


def test_one_of_two_processes_writes(together):
    _, folder, run = together
    assert run.step == 4
    with open(folder / "run/log.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert torch.load(folder / "run/checkpoints/last.pt", weights_only=True)["step"] == 4
    assert not [*folder.rglob("*.part")]


def test_an_interrupt_that_the_launcher_passes_on_again_ends_nothing_early(tmp_path, rendered, capfd):
    names = lesson(MASTER, **small(tmp_path, rendered, processes=2))
    discriminator_step, steps = names["discriminator_step"], []

    def interrupted(*arguments):
        steps.append(1)
        if len(steps) == 3:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
        return discriminator_step(*arguments)

    names["discriminator_step"] = interrupted
    run = launch(names["train"], replace(names["settings"], steps=100))
    said = capfd.readouterr().out
    assert "stopped: run the notebook again" in said
    assert said.count("step 4: ") == 1  # the second process is silent
    assert run.step in (3, 4)


def test_once_interrupted_processes_have_time_for_a_checkpoint(monkeypatch):
    """With any torch: those before 2.12 read no environment variable that says how much."""
    closed = []
    monkeypatch.setattr(PContext, "close", lambda *given: closed.append(given))
    monkeypatch.setattr(distributed_run, "main", lambda: [PContext.close("processes", one) for one in (2, None)])
    exec(TORCHRUN, {})
    assert closed == [("processes", signal.SIGINT, 120), ("processes", None, 30)]  # None: one of them failed


def test_an_interrupt_before_the_first_step_is_one(tmp_path):
    notebook = os.getpid()

    def train(settings):
        if os.environ["RANK"] == "0":
            os.kill(notebook, signal.SIGINT)
        time.sleep(60)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        launch(train, Settings(processes=2, run=str(tmp_path)))
    assert signal.getsignal(signal.SIGINT) is before


class SlowImport:
    """What a process loads before it trains; the second asks for an interrupt meanwhile, and loses it."""

    def __init__(self, folder, notebook):
        self.of = folder, notebook

    def __reduce__(self):
        return interrupted_import, self.of


def interrupted_import(folder, notebook):
    try:
        if os.environ["RANK"] == "1":
            os.kill(notebook, signal.SIGINT)
            time.sleep(60)
    except KeyboardInterrupt:  # as by an `except` around an import
        Path(folder, "lost").touch()


def test_an_interrupt_while_a_process_loads_its_modules_is_not_lost(tmp_path):
    imported = SlowImport(tmp_path, os.getpid())

    def train(settings):
        return imported

    with pytest.raises(KeyboardInterrupt):
        launch(train, Settings(processes=2, run=str(tmp_path)))
    assert not (tmp_path / "lost").exists()


def test_an_error_in_a_process_reaches_the_user_as_itself(tmp_path):
    def train(settings):
        if os.environ["RANK"] == "1":
            raise ValueError("a slip")
        distributed.barrier()

    with pytest.raises(SystemExit) as stopped:
        launch(train, Settings(processes=2, run=str(tmp_path)))
    text = str(stopped.value)
    assert text.endswith("ValueError: a slip\n") and 'raise ValueError("a slip")' in text


def test_what_a_process_says_when_it_exits_reaches_the_user_alone(tmp_path, monkeypatch):
    def train_together(train, settings):
        raise SystemExit("loss_D is nan: lower lr_D")

    monkeypatch.setitem(worker.__globals__, "train_together", train_together)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # which it changes
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stopped:
        worker(None, Settings(), tmp_path)
    assert stopped.value.code == 1
    assert (tmp_path / "error1.txt").read_text() == "loss_D is nan: lower lr_D"


def test_a_full_gpu_is_told_with_what_helps(tmp_path, monkeypatch):
    def train(settings):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    settings = Settings(run=str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        launch(train, settings)
    assert str(stopped.value) == "the GPU's memory is full: lower `batch_size`, and restart the kernel"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.pt").touch()  # its batch_size cannot change
    monkeypatch.setattr(distributed, "init_process_group", lambda backend: None)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # which the worker changes
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(SystemExit):
        worker(train, settings, tmp_path)
    told = (tmp_path / "error0.txt").read_text()
    assert told.endswith("full: lower `batch_size` and set another `run`, and restart the kernel")


def test_training_goes_on_where_a_forked_process_could_not(tmp_path):
    """With GPUs, the first backward() starts threads that no forked child may use again."""
    command = [sys.executable, ROOT / "tests/helpers/launches.py", tmp_path]
    done = subprocess.run(command, env=stubbed_cuda(tmp_path), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unable to handle autograd's threading in combination with fork" in done.stdout
    for name in ("0", "1", "notebook"):
        assert (tmp_path / name).read_text() == "3 of 2 GPUs"


def test_processes_that_cannot_be_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match="`processes` is 2, but there are 1 GPUs"):
        launch(None, Settings(processes=2))
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which all but the first process close
    with pytest.raises(SystemExit, match="process 2 has no GPU: set torchrun's --nproc-per-node to 1"):
        launch(None, Settings())
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # its driver is too old: they train on the CPU
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(SystemExit, match="`processes` needs cloudpickle: pip install cloudpickle"):
        launch(None, Settings(processes=2))
    monkeypatch.setattr("kit.launch.os", SimpleNamespace(name="nt", environ=os.environ))
    with pytest.raises(SystemExit, match="Windows trains in one process only: set `processes` to 1"):
        launch(None, Settings(processes=2))


def test_a_notebook_for_one_process_says_so():
    with pytest.raises(SystemExit, match="this notebook trains in one process: set `processes` to 1"):
        launch(None, Settings(processes=2), one_process=True)


def test_one_process_is_this_one():
    settings = Settings()
    assert launch(lambda given: (given, os.getpid()), settings) == (settings, os.getpid())


def test_what_processes_print_is_passed_on_character_by_character(capsys):
    code = "import os, time; bar = '█→'.encode()\nfor byte in bar: os.write(1, bytes([byte])); time.sleep(0.02)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert pass_on(process) == []
    assert capsys.readouterr().out == "█→"


def with_parameters(**overrides):
    """01's solved notebook with its parameters set, without its checks."""
    text = built(MASTER)[ROOT / "baselines/solved/01_gan.ipynb"]
    notebook = nbformat.reads(text, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not cell.id.startswith("check-")]
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = f"preset, overrides = 'course', {small(Path('.'), **overrides)!r}"
    return notebook


@pytest.mark.long
def test_a_notebook_has_two_processes_train_until_an_interrupt(tmp_path, rendered):
    notebook = with_parameters(faces=rendered, steps=100_000, processes=2)
    failed = nbformat.v4.new_code_cell("raise ValueError('a slip')", metadata={"tags": ["raises-exception"]})
    notebook.cells.insert(1, failed)
    client = NotebookClient(notebook, kernel_name="python3", timeout=300)
    client.resources = {"metadata": {"path": str(tmp_path)}}

    def interrupt():
        while not (tmp_path / "run/checkpoints/000004.pt").exists():
            time.sleep(0.2)
        asyncio.run(client.km.interrupt_kernel())

    Thread(target=interrupt, daemon=True).start()
    again = nbformat.v4.new_code_cell("overrides['steps'] = run.step")  # nothing is left to do
    notebook.cells += [again, *(cell for cell in notebook.cells if "make_settings(" in cell.source)]
    notebook.cells += [cell for cell in notebook.cells if cell.source.startswith("run = launch(")]
    notebook.cells = [nbformat.from_dict(dict(cell, id=f"cell{n}")) for n, cell in enumerate(notebook.cells)]
    client.nb = notebook
    client.execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    last = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"]
    assert (
        4 <= last < 100_000 and said.count(f"going on from step {last:,}") == 3
    )  # the notebook twice, the processes once
    with open(tmp_path / "run/log.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(step) for step in range(1, last + 1)]
    assert len(list((tmp_path / "outputs").iterdir())) == 1000  # the notebook's own cells go on from there
