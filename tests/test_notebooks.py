"""The notebooks: built from their masters, running top to bottom, and with checks that catch what they should."""

import csv
import json
import re
import sys
import tarfile
from types import ModuleType, SimpleNamespace
from unittest import mock

import nbformat
import numpy as np
import pytest
import torch
from papermill.exceptions import PapermillExecutionError
from PIL import Image
from torchvision.utils import save_image

from baselines.build import ROOT, badges, build, masters
from tests.notebook import assert_caught, assert_passes, run, sources

DCGANS = [master for master in masters() if master.stem < "05"]


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_committed_notebooks_are_what_their_masters_build(master):
    for path, text in build(master).items():
        assert path.read_text() == text, f"{path} differs from what {master.name} builds: run 'make notebooks'"


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_every_notebook_stands_alone_and_carries_its_badges(master):
    for path, text in build(master).items():
        notebook = nbformat.reads(text, as_version=4)
        code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        assert not re.search(r"(import|from) (grader|data|baselines)\b", code)
        assert badges(path.relative_to(ROOT).as_posix()) in notebook.cells[1].source
        assert not any(cell.get("outputs") for cell in notebook.cells)
        assert sum(cell.metadata.get("tags") == ["parameters"] for cell in notebook.cells) == 1


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_students_get_todos_each_with_its_check_and_no_solution(master):
    student, solved = sources(master, False), sources(master, True)
    todos = [name for name in student if name.startswith("todo-")]
    assert todos
    for name in todos:
        assert "raise NotImplementedError" in student[name]
        assert "raise NotImplementedError" not in solved[name]
        assert name.replace("todo-", "check-") in student
        body = solved[name].partition("### BEGIN SOLUTION\n")[2].partition("    ### END SOLUTION")[0]
        assert body and body not in student[name]


def test_the_readme_has_the_same_badges():
    readme = (ROOT / "README.md").read_text()
    for master in masters():
        for line in badges(f"notebooks/{master.stem}.ipynb").splitlines():
            assert line in readme


def test_01_runs_solved_from_top_to_bottom_and_resumes(tmp_path, rendered):
    run("baselines/01_gan.ipynb", tmp_path, rendered, norms_every=2)
    assert json.loads((tmp_path / "run/config.json").read_text())["width"] == 2
    assert (tmp_path / "run/samples/000004.png").exists()
    pictures = [f"{number}.jpg" for number in range(1, 1001)]
    for path in (tmp_path / "run/samples/000002.tgz", tmp_path / "run/submission.tgz"):
        with tarfile.open(path) as archive:
            assert archive.getnames() == pictures
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == set(pictures)

    (tmp_path / "whole").mkdir()
    text = run("baselines/01_gan.ipynb", tmp_path, rendered, norms_every=2, steps=6)  # the same run, longer
    assert "going on from step 4" in text
    with open(tmp_path / "run/log.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5", "6"]
    with open(tmp_path / "run/grad_norms.csv", newline="") as file:
        rows = [(row["step"], row["layer"], float(row["norm"])) for row in csv.DictReader(file)]
    assert [row[:2] for row in rows] == [(step, layer) for step in "246" for layer in "12345"]
    assert all(norm > 0 for *_, norm in rows)
    assert "going on" not in run("baselines/01_gan.ipynb", tmp_path / "whole", rendered, norms_every=2, steps=6)
    resumed, uninterrupted = (
        torch.load(folder / "run/checkpoints/last.pt", weights_only=True) for folder in (tmp_path, tmp_path / "whole")
    )
    for name in ("G", "D"):
        for key, tensor in uninterrupted[name].items():
            assert torch.equal(resumed[name][key], tensor), f"{name}.{key} differs after a resume"

    with pytest.raises(PapermillExecutionError, match="batch_size: 8 then, 16 now"):
        run("baselines/01_gan.ipynb", tmp_path, rendered, norms_every=2, batch_size=16)


def test_a_session_ends_when_its_hours_are_over(tmp_path, rendered):
    steps = {"steps": 10**6, "checkpoint_every": 10**6}
    text = run("baselines/01_gan.ipynb", tmp_path, rendered, "t4_12h", hours=1e-6, **steps)
    assert "hours are over" in text
    assert (tmp_path / "run/samples/000001.tgz").exists()
    assert len(list((tmp_path / "outputs").iterdir())) == 1000
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] == 1


def test_05_runs_solved_with_the_real_package_and_resumes(tmp_path, rendered):
    (tmp_path / "whole").mkdir()
    small = {"batch_size": 2, "z_dim": 16}
    run("baselines/05_stylegan2.ipynb", tmp_path, rendered, **small, steps=2)
    assert "going on from step 2" in run("baselines/05_stylegan2.ipynb", tmp_path, rendered, **small, steps=4)
    run("baselines/05_stylegan2.ipynb", tmp_path / "whole", rendered, **small, steps=4, checkpoint_every=4)
    assert len(list((tmp_path / "outputs").iterdir())) == 1000
    with Image.open(tmp_path / "outputs/1.jpg") as picture:
        assert picture.size == (64, 64)
    resumed, uninterrupted = (
        torch.load(folder / "run/checkpoints/last.pt", weights_only=True) for folder in (tmp_path, tmp_path / "whole")
    )
    for name in ("S", "G", "D"):
        for key, tensor in uninterrupted["trainer"][name].items():
            assert torch.equal(resumed["trainer"][name][key], tensor), f"{name}.{key} differs after a resume"


def test_05_cuts_grids_into_their_pictures(tmp_path):
    names = {"Image": Image, "Path": lambda _: tmp_path}
    cells = sources(ROOT / "baselines/05_stylegan2.py", True).values()
    exec(next(source for source in cells if "def cut_grid" in source), names)
    pictures = torch.rand(13, 3, 64, 64)
    save_image(pictures, tmp_path / "grid.png", nrow=8)  # two rows, the second with three empty places
    with Image.open(tmp_path / "grid.png") as grid:
        tiles = names["cut_grid"](grid)
    assert len(tiles) == 13
    for tile, picture in zip(tiles, pictures, strict=True):
        assert np.array_equal(np.asarray(tile), (picture * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy())


@pytest.mark.parametrize("master", DCGANS[1:], ids=lambda path: path.stem)
def test_the_others_run_solved_from_top_to_bottom(tmp_path, rendered, master):
    run(f"baselines/{master.stem}.ipynb", tmp_path, rendered, checkpoint_every=4)
    assert len(list((tmp_path / "outputs").iterdir())) == 1000


@pytest.mark.parametrize("master", masters(), ids=lambda path: path.stem)
def test_the_student_version_stops_at_its_first_todo(tmp_path, rendered, master):
    first = next(name for name in sources(master, False) if name.startswith("todo-")).removeprefix("todo-")
    with pytest.raises(PapermillExecutionError) as caught:
        run(f"notebooks/{master.stem}.ipynb", tmp_path, rendered)
    assert caught.value.ename == "NotImplementedError"
    assert caught.value.evalue == first


def test_the_pair_is_the_one_of_the_sample_code():
    names = {"torch": torch, "nn": torch.nn}
    exec((ROOT / "baselines/parts/dcgan.py").read_text(), names)

    def count(network):
        return sum(weight.numel() for weight in network.parameters())

    assert count(names["Generator"](100, 64)) == 5_142_080
    assert count(names["Discriminator"](64)) == 2_766_529
    for layers in range(4, 16):
        deep = names["Discriminator"](2, layers, names["nn"].InstanceNorm2d, probability=False)
        assert sum(isinstance(module, torch.nn.Conv2d) for module in deep.modules()) == layers + 1
        assert deep(torch.zeros(3, 3, 64, 64)).shape == (3,)


# Planted mistakes: (TODO, what to replace in the solution, by what, a part of the hint).
MISTAKES = {
    "01_gan": [
        ("discriminator_step", ".detach()", "", "detach() the fakes"),
        ("discriminator_step", "    optimizer_D.zero_grad()\n", "", "zero_grad()"),
        ("discriminator_step", "    optimizer_D.step()\n", "", "optimizer_D.step()"),
        ("discriminator_step", "    loss.backward()\n", "", "call backward()"),
        ("discriminator_step", "return loss", "return loss.item()", "return the loss"),
        ("discriminator_step", "bce(p_fake, torch.zeros_like(p_fake))", "0", "BCE(D(G(z)), 0)"),
        (
            "discriminator_step",
            "bce(p_real, torch.ones_like(p_real)) + bce(p_fake, torch.zeros_like(p_fake))",
            "bce(p_real, torch.zeros_like(p_real)) + bce(p_fake, torch.ones_like(p_fake))",
            "labels swapped",
        ),
        ("generator_step", "ones_like", "zeros_like", "labels swapped"),
        (
            "generator_step",
            "loss = bce(p_fake, torch.ones_like(p_fake))",
            "loss = (1 - p_fake).log().mean()",
            "saturates",
        ),
        ("generator_step", "D(G(z))", "D(G(z).detach())", "no detach() here"),
        ("generator_step", "    optimizer_G.zero_grad()\n", "", "zero_grad()"),
        ("generator_step", "    optimizer_G.step()\n", "", "optimizer_G.step()"),
    ],
    "02_gradient_clipping": [
        ("clipped_step", "clip_grad_norm_", "clip_grad_value_", "value by value"),
        ("clipped_step", "    nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)\n", "", "not clipped"),
        (
            "clipped_step",
            "    nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)\n    optimizer.step()",
            "    optimizer.step()\n    nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)",
            "before optimizer.step()",
        ),
        (
            "clipped_step",
            "    loss.backward()\n    nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)",
            "    nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)\n    loss.backward()",
            "clip after backward()",
        ),
        ("clipped_step", "    optimizer.zero_grad()\n", "", "zero_grad() first"),
        ("clipped_step", "    optimizer.step()", "", "call optimizer.step()"),
        (
            "clipped_step",
            "nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)",
            "norm = torch.cat([w.grad for w in network.parameters()]).norm()\n"
            "    for w in network.parameters():\n"
            "        w.grad *= settings.max_norm / norm",
            "a short gradient got longer",
        ),
    ],
    "03_wgan": [
        ("make_critic", ", probability=False", "", "Sigmoid is still in"),
        ("make_critic", "settings.layers, ", "", "pass settings.layers on"),
        ("make_optimizers", "RMSprop", "Adam", "no momentum"),
        ("make_optimizers", "G.parameters(), settings.lr_G", "D.parameters(), settings.lr_G", "first G's optimizer"),
        ("make_optimizers", "settings.lr_D", "0.1", "learning rate"),
        (
            "discriminator_step",
            "D(G(z).detach()).mean() - D(real).mean()",
            "D(real).mean() - D(G(z).detach()).mean()",
            "sign",
        ),
        ("discriminator_step", "D(real).mean()", "D(real).sigmoid().log().mean()", "no log, no BCE"),
        ("discriminator_step", ".detach()", "", "detach() the fakes"),
        ("discriminator_step", "    optimizer_D.zero_grad()\n", "", "zero_grad()"),
        ("discriminator_step", "    optimizer_D.step()\n", "", "optimizer_D.step()"),
        ("discriminator_step", "weight.clamp_(-settings.clip, settings.clip)", "pass", "clip it to ±"),
        (
            "discriminator_step",
            """    optimizer_D.step()
    with torch.no_grad():
        for weight in D.parameters():
            weight.clamp_(-settings.clip, settings.clip)
""",
            """    with torch.no_grad():
        for weight in D.parameters():
            weight.clamp_(-settings.clip, settings.clip)
    optimizer_D.step()
""",
            "clipped before the step",
        ),
        ("generator_step", "-D(G(z))", "D(G(z))", "sign"),
        ("generator_step", "-D(G(z)).mean()", "-D(G(z)).sigmoid().log().mean()", "no log"),
        ("generator_step", "D(G(z))", "D(G(z).detach()).requires_grad_()", "no detach() here"),
        (
            "train_step",
            """    if step % settings.norms_every == 0:
        record_norms(step)
    if step % settings.n_critic == 0:
        loss_G = update_G(len(real))
""",
            """    if step % settings.n_critic == 0:
        loss_G = update_G(len(real))
    if step % settings.norms_every == 0:
        record_norms(step)
""",
            "read after G's step",
        ),
        ("train_step", "step % settings.n_critic == 0", "True", "n_critic = 2"),
        ("train_step", "step % settings.norms_every == 0", "True", "norms_every = 4"),
        ("train_step", "return loss_D, loss_G", "return loss_D", "return (loss_D, loss_G or None)"),
    ],
    "04_wgan_gp": [
        ("make_critic", ", norm, probability", ", probability", "Use InstanceNorm2d"),
        ("make_critic", ", probability=False", "", "Sigmoid is still in"),
        ("gradient_penalty", ".norm(2, dim=1)", ".abs().sum(1)", "L1 norm"),
        ("gradient_penalty", ".norm(2, dim=1) - 1)", ".norm(2, dim=1))", "subtract 1"),
        ("gradient_penalty", "gradient.flatten(1).norm(2, dim=1)", "gradient.norm()", "one for each picture"),
        ("gradient_penalty", "gradient.flatten(1).norm(2, dim=1)", "gradient.norm(2, dim=1)", "flatten each picture"),
        ("gradient_penalty", "return (", "return settings.penalty * (", "λ is already in"),
        ("gradient_penalty", "len(real), 1, 1, 1", "*real.shape", "one α per pixel"),
        ("gradient_penalty", "len(real), 1, 1, 1", "len(real), 3, 1, 1", "one α per pixel or channel"),
        ("gradient_penalty", "len(real), 1, 1, 1", "1, 1, 1, 1", "one α for the whole batch"),
        ("gradient_penalty", "torch.rand(", "3 * torch.rand(", "in [0, 1]"),
        ("gradient_penalty", ", create_graph=True", "", "create_graph=True"),
        ("discriminator_step", " + settings.penalty * gradient_penalty(D, real, fake)", "", "the penalty is missing"),
        ("discriminator_step", "settings.penalty * ", "", "λ is missing"),
        ("discriminator_step", "+ settings.penalty", "- settings.penalty", "add it"),
        ("discriminator_step", "D(fake).mean() - D(real).mean()", "D(real).mean() - D(fake).mean()", "sign"),
        ("discriminator_step", ".detach()", "", "detach() the fakes"),
        ("discriminator_step", "    optimizer_D.zero_grad()\n", "", "zero_grad()"),
        ("discriminator_step", "    optimizer_D.step()\n", "", "optimizer_D.step()"),
    ],
    "05_stylegan2": [
        ("make_trainer", "        image_size=64,\n", "", "128 pixels wide"),
        ("make_trainer", "        network_capacity=settings.width,\n", "", "network_capacity is settings.width"),
        ("make_trainer", "        batch_size=settings.batch_size,\n", "", "a step would see 4 pictures, not 30"),
        ("make_trainer", "image_size=64,", "image_size=64, gradient_accumulate_every=6,", "180 pictures, not 30"),
        ("make_trainer", "lr=settings.lr_G", "lr=settings.lr_D", "G's learning rate"),
        ("make_trainer", "ttur_mult=settings.lr_D / settings.lr_G", "ttur_mult=settings.lr_D", "D's learning rate"),
        ("make_trainer", "        latent_dim=settings.z_dim,\n", "", "set latent_dim"),
        ("make_trainer", "FaceTrainer(", "stylegan2_pytorch.Trainer(", "return a FaceTrainer"),
        ("generate", "mean_style + psi * (S(z) - mean_style)", "S(z)", "not truncated"),
        (
            "generate",
            "mean_style + psi * (S(z) - mean_style)",
            "S(mean_style + psi * (z - mean_style))",
            "not the noise",
        ),
        ("generate", "mean_style + psi * (S(z) - mean_style)", "psi * S(z)", "towards 0"),
        ("generate", "psi * (S(z) - mean_style)", "(1 - psi) * (S(z) - mean_style)", "wrong way round"),
        ("generate", "style[:, None].expand(-1, G.num_layers, -1)", "style", "one a layer"),
        ("generate", "style[:, None].expand(-1, G.num_layers, -1)", "style[:, None]", "one a layer"),
        ("generate", "styles, image_noise)", "styles, torch.rand_like(image_noise))", "pass image_noise on"),
        ("generate", ".clamp(0, 1)", "", "clamp the pictures"),
        ("generate", "G(styles, image_noise)", "((G(styles, image_noise) + 1) / 2)", "0 … 1 already"),
    ],
}
# Other right solutions: (TODO, the whole function's body).
ALSO_RIGHT = {
    "01_gan": [
        (
            "discriminator_step",
            """
    optimizer_D.zero_grad(set_to_none=False)
    with torch.no_grad():
        fake = G(z)
    loss_real = -D(real).log().mean()
    loss_real.backward()
    loss_fake = -(1 - D(fake)).log().mean()
    loss_fake.backward()
    optimizer_D.step()
    return (loss_real + loss_fake).detach()
""",
        ),
        (
            "generator_step",
            """
    D.requires_grad_(False)
    optimizer_G.zero_grad()
    loss = torch.nn.functional.softplus(-torch.logit(D(G(z)))).mean()
    loss.backward()
    optimizer_G.step()
    D.requires_grad_(True)
    return loss
""",
        ),
    ],
    "02_gradient_clipping": [
        (
            "clipped_step",
            """
    for weight in network.parameters():
        weight.grad = None
    loss.backward()
    norm = torch.cat([weight.grad.flatten() for weight in network.parameters()]).norm()
    if norm > settings.max_norm:
        for weight in network.parameters():
            weight.grad *= settings.max_norm / norm
    optimizer.step()
""",
        ),
    ],
    "03_wgan": [
        (
            "make_optimizers",
            "\n    return torch.optim.Adam(G.parameters(), 5e-5, (0.0, 0.9)), torch.optim.SGD(D.parameters(), 5e-5)\n",
        ),
        (
            "discriminator_step",
            """
    D.zero_grad()
    loss_real = -D(real).mean()
    loss_real.backward()
    with torch.no_grad():
        fake = G(z)
    loss_fake = D(fake).mean()
    loss_fake.backward()
    optimizer_D.step()
    for weight in D.parameters():
        weight.data = weight.data.clip(-settings.clip, settings.clip)
    return loss_real + loss_fake
""",
        ),
    ],
    "04_wgan_gp": [
        (
            "gradient_penalty",
            """
    x = torch.lerp(fake, real, torch.rand(len(real), device=real.device).view(-1, 1, 1, 1)).detach().requires_grad_()
    score = D(x)
    gradient = torch.autograd.grad(score, x, torch.ones_like(score), create_graph=True, retain_graph=True)[0]
    slope = gradient.square().sum(dim=(1, 2, 3)).add(1e-12).sqrt()
    return torch.nn.functional.mse_loss(slope, torch.ones_like(slope))
""",
        ),
    ],
    "05_stylegan2": [
        (
            "make_trainer",
            """
    sizes = {"image_size": 64, "network_capacity": settings.width, "latent_dim": settings.z_dim}
    ttur = settings.lr_D / settings.lr_G
    return FaceTrainer("faces", batch_size=5, gradient_accumulate_every=6, lr=settings.lr_G, ttur_mult=ttur, **sizes)
""",
        ),
        (
            "generate",
            """
    style = torch.lerp(mean_style.expand(len(z), -1), S(z), psi)
    styles = stylegan2_pytorch.stylegan2_pytorch.styles_def_to_tensor([(style, G.num_layers)])
    return torch.clip(G(styles, image_noise), 0.0, 1.0)
""",
        ),
    ],
}


def stylegan2_package():
    """The package as the notebook imports it on a machine without a GPU."""
    sys.modules.setdefault("aim", ModuleType("aim"))
    with mock.patch("torch.cuda.is_available", return_value=True):
        import stylegan2_pytorch
    return stylegan2_pytorch


def names(stem):
    """What the checks of a notebook use besides its own cells."""
    settings = SimpleNamespace(z_dim=100, width=2, layers=6, max_norm=1.0, clip=0.01, penalty=10.0)
    settings.lr_G = settings.lr_D = 5e-5
    settings.n_critic, settings.norms_every = 5, 50
    found = {"settings": settings, "torch": torch, "nn": torch.nn}
    exec((ROOT / "baselines/parts/dcgan.py").read_text(), found)
    if stem == "05_stylegan2":
        settings.batch_size, settings.z_dim, settings.lr_D = 30, 64, 1e-4
        found |= {"stylegan2_pytorch": stylegan2_package(), "device": torch.device("cpu")}
        cells = sources(ROOT / f"baselines/{stem}.py", True).values()
        exec(next(source for source in cells if source.startswith("class FaceTrainer")), found)
    return found


@pytest.mark.parametrize(
    ("stem", "todo", "right", "wrong", "hint"),
    [(stem, *mistake) for stem, mistakes in MISTAKES.items() for mistake in mistakes],
    ids=lambda value: value if isinstance(value, str) and len(value) < 25 else "",
)
def test_checks_catch_the_usual_mistakes(stem, todo, right, wrong, hint):
    assert_caught(stem, todo, right, wrong, hint, names(stem))


@pytest.mark.parametrize(
    ("stem", "todo", "body"),
    [(stem, *other) for stem, others in ALSO_RIGHT.items() for other in others],
    ids=lambda value: value if "\n" not in value else "",
)
def test_checks_pass_other_right_solutions(stem, todo, body):
    assert_passes(stem, todo, body, names(stem))
