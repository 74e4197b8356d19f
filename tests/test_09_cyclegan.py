"""09 CycleGAN: it runs and resumes bit-equal, its parts do what they say, its checks catch what they should."""

import csv
import math
import random
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from baselines.build import ROOT
from tests.notebook import assert_caught, assert_passes, run, run_check, sources

STEM = "09_cyclegan"
SETTINGS = {"cycle": 10.0, "identity": 0.0, "history": 50, "lr_G": 2e-4, "lr_D": 3e-4, "beta1": 0.5, "beta2": 0.999}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cells():
    return [*sources(ROOT / f"baselines/{STEM}.py", True).values()]


def execute(cells, starts, names):
    """Runs the cells that define the given functions or classes, in their order."""
    for cell in cells:
        if any(f"{kind} {start}" in cell for start in starts for kind in ("def", "class")):
            exec(cell, names)
    return names


def names(**settings):
    """What the checks use besides their own cells."""
    found = {"settings": SimpleNamespace(**SETTINGS | settings), "random": random, "torch": torch}
    return execute(sources(ROOT / f"baselines/{STEM}.py", True).values(), ["History"], found)


def load(folder):
    return torch.load(folder / "run/checkpoints/last.pt", weights_only=True)


def same(one, other):
    """Whether two states are equal bit by bit, whatever they are made of."""
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_it_runs_solved_and_resumes_bit_equal(tmp_path, rendered):
    small = {"faces": rendered, "history": 5, "identity": 5.0, "norms_every": 2}
    run(f"baselines/{STEM}.ipynb", tmp_path, **small, steps=4)
    shutil.copytree(tmp_path / "run", tmp_path / "killed/run")
    checkpoints = tmp_path / "killed/run/checkpoints"
    (checkpoints / "previous.pt").replace(checkpoints / "last.pt")  # as after step 2
    assert len(load(tmp_path / "killed")["history_A"]["pictures"]) == 5
    assert "going on from step 2" in run(f"baselines/{STEM}.ipynb", tmp_path / "killed", **small, steps=4)

    uninterrupted, resumed = load(tmp_path), load(tmp_path / "killed")
    assert {"G", "D", "history_A", "history_B", "optimizer_G", "python_rng", "rng"} <= uninterrupted.keys()
    for name in uninterrupted.keys() - {"settings"}:  # which hold the folder
        assert same(resumed[name], uninterrupted[name]), f"{name} differs after a resume"
    for folder in (tmp_path, tmp_path / "killed"):
        with open(folder / "run/samples/measures.csv", newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        assert [row["step"] for row in rows] == [2, 4]
        assert all(0 <= row["changed_AB"] <= 1 and 0 < row["difference_ABA"] < 255 for row in rows)
    pictures = [f"{number}.jpg" for number in range(1, 1001)]
    for path in ("samples/000002.tgz", "submission.tgz"):
        with tarfile.open(tmp_path / "run" / path) as archive:
            assert archive.getnames() == pictures
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == set(pictures)
    with tarfile.open(tmp_path / "run/domain_B.tgz") as archive:
        labels = (rendered / "attributes.csv").read_text()
        wanted = [line for line in labels.splitlines() if line.split(",")[1] in ("blonde", "orange", "pink", "white")]
        assert len(archive.getnames()) == len(wanted) > 0


def domains(cells, faces, **settings):
    """Runs the cell that makes the domains of `faces`, with labels 0, 1, 2, … in turn of classes a, b, c, d."""

    def read_labels(source, names, attribute, only):
        classes = [name.strip() for name in only.split(",")]
        kinds = ["abcd"[i % 4] for i in range(len(faces))]
        return torch.tensor([classes.index(kind) if kind in classes else -1 for kind in kinds]), classes

    found = {
        "torch": torch,
        "math": math,
        "device": CPU,
        "Path": Path,
        "source": Path("faces.zip"),
        "faces": faces,
        "names": [],
    }
    found |= {"read_labels": read_labels, "find_faces": Path, "read_faces": lambda path: (faces[:20] + 100, [])}
    defaults = {"seed": 1, "batch_size": 2, "faces_b": "", "attribute": "hair", "classes_a": "c", "classes_b": "a"}
    found["settings"] = SimpleNamespace(**defaults | settings)
    return execute(cells, ["keep_aside"], found)


def numbers(faces):
    return sorted(faces[:, 0, 0, 0].tolist())


def test_labels_divide_the_faces_into_domains_and_a_tenth_is_kept_aside(cells):
    faces = torch.arange(80).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    found = domains(cells, faces, classes_a="c,b", classes_b="a")
    assert numbers(found["domain_A"]) == [i for i in range(80) if i % 4 in (1, 2)]
    assert numbers(found["domain_B"]) == [i for i in range(80) if i % 4 == 0]
    for name, size in (("A", 4), ("B", 2)):
        train, aside = found[f"train_{name}"], found[f"aside_{name}"]
        assert len(aside) == size
        assert numbers(torch.cat([train, aside])) == numbers(found[f"domain_{name}"])  # no face is in both
    again = domains(cells, faces, classes_a="c,b", classes_b="a", batch_size=1)
    assert torch.equal(again["aside_A"], found["aside_A"])
    with pytest.raises(ValueError, match="domain B, a: fewer faces"):
        domains(cells, faces, classes_a="c,b", batch_size=19)


def test_two_sources_are_two_domains_and_need_no_labels(cells):
    faces = torch.arange(30).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    found = domains(cells, faces, faces_b="real.zip")
    assert numbers(found["domain_A"]) == [*range(30)]
    assert numbers(found["domain_B"]) == [*range(100, 120)]
    assert len(found["aside_A"]) == 3


def test_the_judge_tells_colours_apart_and_measures_count_changes(cells):
    def faces(red, count=60):
        noise = torch.randint(-40, 40, (count, 3, 64, 64), generator=torch.Generator().manual_seed(red))
        return (noise + torch.tensor([red, 120, 120]).view(3, 1, 1)).to(torch.uint8)

    dark, light = faces(90), faces(150)
    found = {"torch": torch, "nn": torch.nn, "device": CPU, "as_input": lambda pictures: pictures / 127.5 - 1}
    found |= {"train_A": dark, "train_B": light, "aside_A": dark[:7], "aside_B": light[:5]}
    execute(cells, ["thumbnails", "round_trip"], found)
    assert found["share_in_B"](torch.cat([dark, light[:20]])) == pytest.approx(0.25)
    trip_A, trip_B = (dark, light, dark + 3), (light, torch.cat([dark[:15], light[:45]]), light)
    assert found["measure"](trip_A, trip_B) == pytest.approx((1.0, 0.25, 3.0, 0.0))


def test_the_networks_are_those_of_the_task(cells):
    found = {"torch": torch, "nn": torch.nn, "device": CPU, "seed_everything": torch.manual_seed}
    found["settings"] = SimpleNamespace(width=64, seed=0)
    execute(cells, ["ResidualBlock"], found)
    generator, discriminator = found["Generator"](4), found["Discriminator"](64)
    pictures = generator(torch.randn(2, 3, 64, 64))
    assert pictures.shape == (2, 3, 64, 64) and pictures.abs().max() <= 1
    strides = [(type(m).__name__, m.stride) for m in generator.modules() if "Conv" in type(m).__name__]
    assert strides == [("Conv2d", (2, 2))] * 3 + [("Conv2d", (1, 1))] * 12 + [("ConvTranspose2d", (2, 2))] * 3
    assert [m.out_channels for m in discriminator.layers if hasattr(m, "stride")] == [64, 128, 256, 512, 1]
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    assert kinds.count("InstanceNorm2d") == 3 and kinds[1] == "LeakyReLU"  # none in the first
    assert discriminator(pictures).shape == (2, 1, 6, 6)
    alone, together = generator(pictures[:1]), generator(pictures)[:1]
    assert torch.allclose(alone, together, atol=1e-5)  # no picture depends on its batch


def test_a_history_comes_back_from_its_state():
    History = names()["History"]
    history, other = History(3), History(3)
    other.load_state_dict(history.state_dict())
    assert other.pictures == []
    history.pictures = [torch.full((3, 2, 2), float(i)) for i in range(3)]
    other.load_state_dict(history.state_dict())
    assert all(map(torch.equal, other.pictures, history.pictures))


def swapped(text, one, other):
    return text.replace(one, "...").replace(other, one).replace("...", other)


CYCLE = "(G.BA(fake_B) - real_A).abs().mean() + (G.AB(fake_A) - real_B).abs().mean()"
FOOL = "((D.A(fake_A) - 1) ** 2).mean() + ((D.B(fake_B) - 1) ** 2).mean()"
WEIGHTED = "settings.cycle * cycle_loss(G, real_A, real_B, fake_A, fake_B)"
IDENTITY = "(G.AB(real_B) - real_B).abs().mean() + (G.BA(real_A) - real_A).abs().mean()"
BOTH = "[*G.AB.parameters(), *G.BA.parameters()]"
SWAP = "fake, history.pictures[place] = history.pictures[place], fake"
LOSS_D = "((D(real) - 1) ** 2).mean() / 2 + (D(shown) ** 2).mean() / 2"

# Planted mistakes: (TODO, what to replace in the solution, by what, a part of the hint).
MISTAKES = [
    ("cycle_loss", " + (G.AB(fake_A) - real_B).abs().mean()", "", "one direction only"),
    ("cycle_loss", "(G.BA(fake_B) - real_A).abs().mean() + ", "", "one direction only"),
    ("cycle_loss", ".abs()", ".square()", "this is L2"),
    ("cycle_loss", CYCLE, f"settings.cycle * ({CYCLE})", "λ is already in"),
    ("cycle_loss", ".mean()", ".sum()", "take the mean"),
    ("cycle_loss", "G.BA(fake_B)", "G.BA(fake_B.detach())", "detach() nothing"),
    ("cycle_loss", CYCLE, f"({CYCLE}).detach()", "detach() nothing"),
    ("cycle_loss", CYCLE, f"({CYCLE}).item()", "return the loss as a tensor"),
    ("cycle_loss", CYCLE, CYCLE.replace("G.BA(fake_B)", "fake_B").replace("G.AB(fake_A)", "fake_A"), "the way there"),
    ("cycle_loss", CYCLE, CYCLE.replace("G.BA(fake_B)", "fake_A").replace("G.AB(fake_A)", "fake_B"), "where it came"),
    ("cycle_loss", CYCLE, swapped(CYCLE, "G.AB", "G.BA"), "the same generator twice"),
    ("make_optimizers", BOTH, "G.AB.parameters()", "give it both generators"),
    ("make_optimizers", BOTH, "G.BA.parameters()", "give it both generators"),
    ("make_optimizers", BOTH, "[*G.parameters(), *D.parameters()]", "and no D"),
    ("make_optimizers", "D.B.parameters()", "D.A.parameters()", "not D.A and D.B"),
    (
        "make_optimizers",
        f"        torch.optim.Adam({BOTH}, settings.lr_G, betas),\n",
        "        torch.optim.Adam(G.AB.parameters(), settings.lr_G, betas),\n"
        "        torch.optim.Adam(G.BA.parameters(), settings.lr_G, betas),\n",
        "three optimizers, not 4",
    ),
    ("make_optimizers", "settings.lr_D, betas", "settings.lr_G, betas", "the learning rate of D.A"),
    ("make_optimizers", ", betas)", ")", "makes a GAN swing"),
    ("generator_step", f"    loss = loss + {WEIGHTED}\n", "", "the cycle loss is missing"),
    ("generator_step", "settings.cycle * ", "", "λ is missing"),
    (
        "generator_step",
        "cycle_loss(G, real_A, real_B, fake_A, fake_B)",
        "(G.BA(fake_B) - real_A).abs().mean()",
        "one direction only",
    ),
    ("generator_step", FOOL, FOOL.replace(" - 1", ""), "these are D's labels for fakes"),
    ("generator_step", FOOL, swapped(FOOL, "D.A", "D.B"), "are mixed up"),
    ("generator_step", " + ((D.B(fake_B) - 1) ** 2).mean()", "", "one generator is not judged"),
    ("generator_step", "D.A(fake_A)", "D.A(fake_A.detach())", "no detach()"),
    ("generator_step", f"{WEIGHTED}", f"{WEIGHTED}.detach()", "no detach()"),
    ("generator_step", "if settings.identity:", "if False:", "the identity loss is missing"),
    ("generator_step", "settings.identity * identity_loss", "identity_loss", "settings.identity times"),
    ("generator_step", IDENTITY, swapped(IDENTITY, "G.AB", "G.BA"), "in the target domain already"),
    ("generator_step", "    if settings.identity:\n", f"    loss = loss + {IDENTITY}\n    if False:\n", "although"),
    ("generator_step", "return loss, fake_A, fake_B", "return loss, fake_B, fake_A", "fakes of domain A first"),
    ("generator_step", "return loss, fake_A, fake_B", "return loss", "return loss, fake_A, fake_B"),
    ("generator_step", "    optimizer_G.zero_grad()\n", "", "zero_grad()"),
    ("generator_step", "    loss.backward()\n", "", "has no gradient"),
    ("generator_step", "    optimizer_G.step()\n", "", "optimizer_G.step()"),
    ("generator_step", "    optimizer_G.zero_grad()\n", "    D.requires_grad_(False)\n" * 2, "zero_grad()"),
    (
        "generator_step",
        "    optimizer_G.zero_grad()\n",
        "    D.requires_grad_(False)\n    optimizer_G.zero_grad()\n",
        "stays frozen",
    ),
    ("exchange", "fakes.detach()", "fakes", "detach() the fakes"),
    ("exchange", "torch.stack(shown)", "fakes.detach()", "came twice"),
    ("exchange", "random.random() < 0.5", "False", "the history is never used"),
    ("exchange", "random.random() < 0.5", "True", "no new fake is shown any more"),
    ("exchange", "random.random() < 0.5", "random.random() < 0.2", "make it half of them"),
    ("exchange", "random.randrange(history.size)", "0", "choose a random one"),
    ("exchange", SWAP, "fake = history.pictures[place]", "came twice"),
    ("exchange", SWAP, "history.pictures[place] = fake", "came twice"),
    ("exchange", "            history.pictures.append(fake)\n", "            pass\n", "are to be kept by now, not 0"),
    ("exchange", "len(history.pictures) < history.size", "random.random() < 1", "has grown to 56 pictures"),
    ("exchange", "return torch.stack(shown)", "return shown", "stacked"),
    ("exchange", "random.random() < 0.5", "random.Random(fakes.sum().item()).random() < 0.5", "each fake by itself"),
    ("discriminator_step", LOSS_D, "(D(real) ** 2).mean() / 2 + ((D(shown) - 1) ** 2).mean() / 2", "labels swapped"),
    ("discriminator_step", LOSS_D, "((D(real) - 1) ** 2).mean() + (D(shown) ** 2).mean()", "halve the loss"),
    ("discriminator_step", " + (D(shown) ** 2).mean() / 2", "", "mean D(shown)²"),
    ("discriminator_step", LOSS_D, "(D(shown) - D(real)).mean()", "mean D(shown)²"),
    ("discriminator_step", "exchange(history, fake)", "fake.detach()", "did not go through the history"),
    ("discriminator_step", "exchange(history, fake)", "fake", "G got a gradient"),
    ("discriminator_step", "D(shown)", "D(fake.detach())", "show it what exchange"),
    ("discriminator_step", "    optimizer_D.zero_grad()\n", "", "zero_grad()"),
    ("discriminator_step", "    loss.backward()\n", "", "call backward()"),
    ("discriminator_step", "    optimizer_D.step()\n", "", "call optimizer_D.step()"),
    ("discriminator_step", "return loss", "return loss.item()", "return the loss as a tensor"),
]


@pytest.mark.parametrize(("todo", "right", "wrong", "hint"), MISTAKES)
def test_checks_catch_the_usual_mistakes(todo, right, wrong, hint):
    assert_caught(STEM, todo, right, wrong, hint, names())


# Other right solutions: (TODO, the whole function's body).
ALSO_RIGHT = [
    (
        "cycle_loss",
        """
    l1 = nn.L1Loss()
    return l1(real_A, G.BA(fake_B)) + l1(real_B, G.AB(fake_A))
""",
    ),
    (
        "make_optimizers",
        """
    of = lambda network, lr: torch.optim.Adam(network.parameters(), lr=lr, betas=(settings.beta1, settings.beta2))
    return of(G, settings.lr_G), of(D.A, settings.lr_D), of(D.B, settings.lr_D)
""",
    ),
    (
        "make_optimizers",
        """
    betas = (settings.beta1, settings.beta2)
    groups = [{"params": G.AB.parameters()}, {"params": G.BA.parameters()}]
    return [
        torch.optim.Adam(groups, settings.lr_G, betas),
        *(torch.optim.Adam(network.parameters(), settings.lr_D, betas) for network in (D.A, D.B)),
    ]
""",
    ),
    (
        "generator_step",
        """
    D.requires_grad_(False)
    optimizer_G.zero_grad(set_to_none=False)
    mse, l1 = nn.MSELoss(), nn.L1Loss()
    fake_B = G.AB(real_A)
    fake_A = G.BA(real_B)
    answer_A, answer_B = D.A(fake_A), D.B(fake_B)
    adversarial = mse(answer_A, torch.ones_like(answer_A)) + mse(answer_B, torch.ones_like(answer_B))
    cycle = l1(G.BA(fake_B), real_A) + l1(G.AB(fake_A), real_B)
    identity = l1(G.AB(real_B), real_B) + l1(G.BA(real_A), real_A)
    loss = adversarial + settings.cycle * cycle + settings.identity * identity
    loss.backward()
    optimizer_G.step()
    D.requires_grad_(True)
    return loss.detach(), fake_A.detach(), fake_B.detach()
""",
    ),
    (
        "exchange",
        """
    shown = fakes.detach().clone()
    for i, fake in enumerate(fakes.detach().unbind()):
        if len(history.pictures) < history.size:
            history.pictures += [fake.clone()]
        elif torch.rand(()) > 0.5:
            place = torch.randint(history.size, ()).item()
            shown[i] = history.pictures[place]
            history.pictures[place] = fake
    return shown
""",
    ),
    (
        "exchange",
        """
    shown = []
    with torch.no_grad():
        for fake in fakes.clone():
            if len(history.pictures) < history.size:
                history.pictures.append(fake)
                shown.append(fake)
            elif random.choice([True, False]):
                random.shuffle(history.pictures)
                shown.append(history.pictures.pop())
                history.pictures.append(fake)
            else:
                shown.append(fake)
    return torch.stack(shown, 0)
""",
    ),
    (
        "discriminator_step",
        """
    D.zero_grad()
    loss_real = 0.5 * nn.functional.mse_loss(D(real), torch.ones_like(D(real)))
    loss_real.backward()
    answers = D(exchange(history, fake.detach()))
    loss_fake = 0.5 * answers.square().mean()
    loss_fake.backward()
    optimizer_D.step()
    return (loss_real + loss_fake).detach()
""",
    ),
]


@pytest.mark.parametrize(("todo", "body"), ALSO_RIGHT)
def test_checks_pass_other_right_solutions(todo, body):
    assert_passes(STEM, todo, body, names())


@pytest.mark.parametrize("settings", [{"cycle": 0.0}, {"cycle": 1.0, "identity": 0.5}, {"lr_G": 1e-3, "history": 1}])
def test_checks_pass_under_other_settings_and_leave_them_alone(settings):
    cells = sources(ROOT / f"baselines/{STEM}.py", True)
    found = names(**settings)
    run_check(cells, "discriminator_step", cells["todo-discriminator_step"], found)
    assert vars(found["settings"]) == SETTINGS | settings
