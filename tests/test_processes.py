"""Training in several processes: two on the CPU stand for two GPUs."""

import asyncio
import csv
import json
import subprocess
import sys
import time
from threading import Thread

import nbformat
import torch
from nbclient import NotebookClient

from baselines.build import ROOT
from tests.notebook import as_script, with_parameters

# What each process does: its part of a batch, and the first the whole batch as well.
ONE_BATCH = """
from types import SimpleNamespace
parts = "{root}/baselines/parts"
exec(open(f"{{parts}}/setup.py").read())
settings = SimpleNamespace(faces="{faces}", batch_size=16, seed=1)
exec(open(f"{{parts}}/device.py").read())
exec(open(f"{{parts}}/faces.py").read())
exec(open(f"{{parts}}/dcgan.py").read())
start = open(f"{{parts}}/start.py").read()
exec(start[start.index("def share_gradients") : start.index("fixed_z = ")])
D, G = Discriminator(4, norm=nn.Identity), nn.Sequential(nn.Linear(8, 3 * 64 * 64), nn.Unflatten(1, (3, 64, 64)))
for weight in [*D.parameters(), *G.parameters()]:  # both processes begin alike
    torch.nn.init.normal_(weight, 0, 0.1, generator=torch.Generator().manual_seed(weight.numel()))


def gradients(real, z):
    loss = -D(real).log().mean() - (1 - D(G(z))).log().mean()
    x = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)  # a penalty is averaged as well
    (loss + slope.flatten(1).norm(dim=1).mean()).backward()
    found = [weight.grad.clone() for weight in [*D.parameters(), *G.parameters()]]
    D.zero_grad(), G.zero_grad()
    return found


indices = next(batch_indices(len(faces), 16, 1))
z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
everything = [None] * PROCESSES
torch.distributed.all_gather_object(everything, indices.tolist())
joint = torch.tensor(everything).T.flatten()  # dealt out one by one
right = gradients(as_input(faces[joint]), z)
share_gradients(D), share_gradients(G)
found = gradients(as_input(faces[indices]), z[RANK::PROCESSES])
assert len(indices) == 8 and joint.unique().numel() == 16
error = max(float((one - other).abs().max()) for one, other in zip(found, right))
assert max(float(one.abs().max()) for one in right) > 1e-2
print(f"error {{error:.1e}}")
assert error < 1e-5, error
"""


def launch(script, folder):
    """What two processes of a script print, which gloo joins; the run must succeed."""
    (folder / "script.py").write_text(script)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def test_two_processes_have_the_gradient_of_the_joint_batch(tmp_path, rendered):
    out = launch(ONE_BATCH.format(root=ROOT, faces=rendered), tmp_path)
    assert out.count("error ") == 1  # the second process is silent


def test_two_processes_train_alike_on_noise_of_their_own_and_one_writes(tmp_path, rendered):
    script = as_script(ROOT / "baselines/01_gan.ipynb", faces=str(rendered), run="run", outputs="outputs")
    told = """
found = {"noise": noise(1).sum().item(), "weights": [float(w.double().sum()) for w in D.parameters()], "rank": RANK}
with open(f"told{RANK}.json", "w") as file:
    json.dump(found, file)
if RANK:  # what comes next is for the first process
"""
    assert "if RANK:  # what comes next" in script
    out = launch(script.replace("if RANK:  # what comes next is for the first process\n", told), tmp_path)
    told = [json.loads((tmp_path / f"told{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0]["noise"] != told[1]["noise"]
    assert told[0]["weights"] == told[1]["weights"]
    assert out.count("step 4: ") == 1
    with open(tmp_path / "run/log.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] == 4
    assert len(list((tmp_path / "outputs").iterdir())) == 1000


def test_an_interrupt_that_the_launcher_passes_on_again_ends_nothing_early(tmp_path, rendered):
    script = as_script(ROOT / "baselines/01_gan.ipynb", faces=str(rendered), run="run", outputs="outputs")
    twice = """    for step in progress:
        if step == 3:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
"""
    assert script.count("    for step in progress:\n") == 1
    out = launch(script.replace("    for step in progress:\n", twice), tmp_path)
    assert "stopped: run the notebook again" in out
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] in (3, 4)
    assert len(list((tmp_path / "outputs").iterdir())) == 1000


def test_a_notebook_has_two_processes_train_until_an_interrupt(tmp_path, rendered):
    overrides = {"faces": str(rendered), "run": "run", "outputs": "outputs", "processes": 2}
    notebook = with_parameters(ROOT / "baselines/01_gan.ipynb", steps=100_000, **overrides)
    failed = nbformat.v4.new_code_cell("raise ValueError('a slip')", metadata={"tags": ["raises-exception"]})
    notebook.cells.insert(1, failed)
    settings = {"kernel_name": "python3", "resources": {"metadata": {"path": str(tmp_path)}}, "timeout": 300}
    client = NotebookClient(notebook, **settings)

    def interrupt():
        while not (tmp_path / "run/checkpoints/000004.pt").exists():
            time.sleep(0.2)
        asyncio.run(client.km.interrupt_kernel())

    Thread(target=interrupt, daemon=True).start()
    client.execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    last = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"]
    assert 4 <= last < 100_000 and f"going on from step {last:,}" in said
    with open(tmp_path / "run/log.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(step) for step in range(1, last + 1)]
    assert len(list((tmp_path / "outputs").iterdir())) == 1000  # the notebook's own cells go on from there

    again = with_parameters(ROOT / "baselines/01_gan.ipynb", steps=last, **overrides)  # nothing is left to do
    NotebookClient(again, **settings).execute()
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] == last
