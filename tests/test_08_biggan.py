"""08: each rung of the ladder against its formula or torch's own, the training from top to bottom, and the checks."""

import contextlib
import copy
import csv
import io
import math
import re
import tarfile
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import nbformat
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from baselines.build import ROOT, build
from tests.notebook import SMOKE, assert_caught, assert_passes, run, sources

STEM = "08_biggan"
NUMBERS = 3  # classes


@cache
def cells():
    return sources(ROOT / f"baselines/{STEM}.py", True)


def cell_with(text):
    return next(source for source in cells().values() if text in source)


def notebook(preset="biggan", sample=None, **chosen):
    """What the notebook's cells define, without faces and training, at small settings of a preset."""
    names = {"torch": torch, "nn": nn, "math": math, "dataclass": dataclass, "replace": replace, "device": "cpu"}
    for text in ("class Settings", "def with_longer", "class LadderSettings"):
        exec(cell_with(text), names)
    small = {"width": 4, "z_dim": 20, "attention": 16} | chosen
    names["settings"] = replace(
        names["PRESETS"][preset], **{name: value for name, value in small.items() if value is not None}
    )
    names |= {"sample": sample, "average_G": None}
    names["classes"] = [*"abcdef"[:NUMBERS]]
    solutions = [source for name, source in cells().items() if name.startswith("todo-") and "train_step" not in name]
    others = ["class SpectralNorm", "class UpBlock", "class DownBlock", "def orthogonal_penalty", "def update_average"]
    others += ["def sample_classes", "def slerp", "def round_walk"]
    for source in solutions + [cell_with(text) for text in others]:
        body = re.split(r"^(?:betas|seed_everything|fixed_z|pictures, chosen|z = |animate_faces)\b", source, flags=re.M)
        exec(body[0], names)
    return SimpleNamespace(**names)


def pair(names, seed=0):
    torch.manual_seed(seed)
    return names.Generator(names.settings, NUMBERS), names.Discriminator(names.settings, NUMBERS)


def batch(names, count, seed=0):
    """(pictures, y, z and y of fakes), with labels that differ from picture to picture."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 64, 64, generator=generator) * 2 - 1
    y, fake_y = names.one_hot(torch.arange(count) % NUMBERS), names.one_hot((torch.arange(count) + 1) % NUMBERS)
    return pictures, y, names.join(torch.randn(count, names.settings.z_dim, generator=generator), fake_y)


def effective_weights(network):
    """Name -> a normalised weight as its layer uses it, a matrix with a row an output."""
    layers = ((name, layer) for name, layer in network.named_modules() if nn.utils.parametrize.is_parametrized(layer))
    return {name: layer.weight.detach().flatten(1) for name, layer in layers}


@pytest.mark.parametrize("style", ["torch", "ajbrock"])
def test_largest_singular_values_are_1_after_warm_up(style):
    names = notebook(spectral_norm=style)
    G, D = pair(names)
    with torch.no_grad():
        for network in (G, D):
            for weight in network.parameters():
                if weight.dim() > 1:
                    weight.normal_(0, 3)  # far from 1, and from the orthogonal weights of the start
            for _ in range(80):
                effective_weights(network)  # a forward pass asks its layers for no more
    for network in (G.eval(), D.eval()):
        weights = effective_weights(network)
        for name, W in weights.items():
            assert abs(torch.linalg.svdvals(W)[0] - 1) < 0.01, name
        plain = {name for name, weight in network.named_parameters() if weight.dim() > 1 and "original" not in name}
        assert plain == ({"embed.weight"} if network is G else set())  # BigGAN's embedding is not normalised
        assert len(weights) == (2 + 4 * 7 + 4 if network is G else 5 * 3 + 4 + 2)


def test_both_styles_give_the_same_outputs_and_gradients():
    torch.manual_seed(0)
    names = notebook()
    of_torch = names.layer(nn.Conv2d(3, 5, 3), "torch")
    ours = names.layer(nn.Conv2d(3, 5, 3), "ajbrock")
    weight = torch.randn(5, 3, 3, 3)
    for layer in (of_torch, ours):
        layer.parametrizations.weight.original.data.copy_(weight)
        layer.bias.data.zero_()
        for _ in range(300):
            layer.weight  # noqa: B018
        layer.eval()
    x = torch.randn(2, 3, 6, 6)
    gradients = []
    for layer in (of_torch, ours):
        layer(x).square().sum().backward()
        gradients.append(layer.parametrizations.weight.original.grad)
    assert torch.allclose(of_torch(x), ours(x), atol=1e-5)
    assert torch.allclose(*gradients, atol=1e-4)


def test_singular_vectors_are_buffers_that_move_in_training_only():
    names = notebook()
    layer = names.layer(nn.Linear(4, 6), "ajbrock")
    norm = layer.parametrizations.weight[0]
    layer.parametrizations.weight.original.data.normal_()
    assert [name for name, _ in layer.named_buffers()] == ["parametrizations.weight.0.u"]
    start, x = norm.u.clone(), torch.ones(1, 4)
    layer.eval()(x)
    assert torch.equal(norm.u, start)
    layer.train()(x)
    assert not torch.equal(norm.u, start)
    with pytest.raises(ValueError, match="no style 'brock'"):
        names.layer(nn.Linear(4, 6), "brock")


def test_averaged_weights_are_normalised_by_an_iteration_of_their_own():
    torch.manual_seed(0)
    names = notebook()
    trained = torch.randn(6, 9)
    norm = names.SpectralNorm(trained).eval()
    U, _, Vh = torch.linalg.svd(trained)
    norm.u.copy_(U[:, 0])
    average = trained + 0.2 * torch.randn(6, 9)  # a weight whose u it is not
    error_of_kept_u_and_v = abs(torch.linalg.svdvals(average)[0] / (U[:, 0] @ average @ Vh[0]) - 1)
    assert abs(torch.linalg.svdvals(norm(average))[0] - 1) < error_of_kept_u_and_v / 2


def test_the_projection_logit_is_the_formula():
    names = notebook()
    _, D = pair(names)
    pictures, y, _ = batch(names, 6)
    D.eval()
    with torch.no_grad():
        D.psi.bias.fill_(0.3)
        phi = D.blocks[:-1](pictures).clamp(0).sum((2, 3))  # [6, 8w]
        e, psi = D.embed.weight, D.psi.weight[0]
        right = torch.stack([phi[n] @ e[:, n % NUMBERS] + phi[n] @ psi + 0.3 for n in range(6)])
        assert torch.allclose(D(pictures, y), right, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (4, 6)])
def test_attention_is_torchs_own(size):
    torch.manual_seed(0)
    names = notebook()
    attention = names.SelfAttention(32, "ajbrock").eval()
    attention.gamma.data.fill_(0.7)
    x = torch.randn(2, 32, *size, requires_grad=True)
    f, g, h = (part(x).flatten(2).mT for part in (attention.f, attention.g, attention.h))
    assert f.shape == h.shape == (2, size[0] * size[1] // 4, 4) and g.shape == (2, size[0] * size[1], 4)
    found = F.scaled_dot_product_attention(g, f, h, scale=1.0).mT.unflatten(2, size)
    theirs, ours = x + 0.7 * attention.v(found), attention(x)
    assert torch.allclose(ours, theirs, atol=1e-5)
    weights = torch.randn_like(x)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-4)


@pytest.mark.parametrize("shared", [0, 8])
def test_conditional_batch_norm_has_a_scale_and_a_shift_a_class(shared):
    names = notebook(shared=shared, skip_z=False)
    G, _ = pair(names)
    norm = G.blocks[0].norm1
    torch.manual_seed(1)
    x, y = torch.randn(6, 32, 3, 3), names.one_hot(torch.tensor([0, 1, 2, 2, 1, 0]))
    normal = F.batch_norm(x, None, None, training=True)
    ours = norm(x, G.embed(y))
    gains, biases = (part(G.embed(torch.eye(NUMBERS))) for part in (norm.gain, norm.bias))  # [classes, 32] each
    for n, label in enumerate(y.argmax(1)):
        right = (1 + gains[label])[:, None, None] * normal[n] + biases[label][:, None, None]
        assert torch.allclose(ours[n], right, atol=1e-4)
    assert not torch.allclose(gains[0], gains[1], atol=1e-3)


def test_skip_z_deals_z_out_among_the_blocks():
    names = notebook()
    G, _ = pair(names)
    G.eval()
    seen = []
    for block in G.blocks:
        block.register_forward_hook(lambda _block, _inputs, output: seen.append(output))
    _, _, latents = batch(names, 2)
    with torch.no_grad():
        G(latents)
        for piece in range(5):
            changed = latents.clone()
            changed[:, 4 * piece : 4 * piece + 4] += 1
            G(changed)
            moved = [not torch.equal(*pair) for pair in zip(seen[:4], seen[4:], strict=True)]
            assert moved == [stage >= piece - 1 for stage in range(4)]
            del seen[4:]
    with pytest.raises(ValueError, match="z_dim is 21"):
        names.Generator(replace(names.settings, z_dim=21), NUMBERS)


def gradients_of(network, step):
    """The gradients that a step leaves, on one vector."""
    step(torch.optim.SGD(network.parameters(), lr=0.0))
    return torch.cat([weight.grad.flatten() for weight in network.parameters()])


def doubled(*tensors):
    return tuple(tensor.double() for tensor in tensors)


def test_accumulated_gradients_are_the_large_batchs():
    names = notebook(width=2)
    G, D = (network.double().eval() for network in pair(names))  # evaluation: running statistics, u as it is
    large = doubled(*batch(names, 6))
    small = [doubled(*(part[i : i + 2] for part in large)) for i in (0, 2, 4)]
    of_D = [
        gradients_of(D, lambda optimizer, b=b: names.discriminator_step(D, G, optimizer, b)) for b in ([large], small)
    ]
    assert (of_D[0] - of_D[1]).abs().max() < 1e-6 < of_D[0].abs().max()
    latents = [[large[2]], [part[2] for part in small]]
    of_G = [gradients_of(G, lambda optimizer, b=b: names.generator_step(D, G, optimizer, b)) for b in latents]
    assert (of_G[0] - of_G[1]).abs().max() < 1e-6 < of_G[0].abs().max()
    G.train()  # where BatchNorm takes the statistics of each small batch: another step, as the notebook says
    of_G = [gradients_of(G, lambda optimizer, b=b: names.generator_step(D, G, optimizer, b)) for b in latents]
    assert (of_G[0] - of_G[1]).abs().max() > 1e-4


def test_a_steps_loss_is_the_hinge_of_its_batches():
    names = notebook(width=2, orthogonal=0.0)
    G, D = (network.eval() for network in pair(names))
    batches = [batch(names, 4, seed) for seed in (0, 1)]
    with torch.no_grad():
        real = torch.cat([D(pictures, y) for pictures, y, _ in batches])
        fake = torch.cat([D(G(latents), latents[:, 20:]) for _, _, latents in batches])
    optimizer = torch.optim.SGD([*D.parameters(), *G.parameters()], lr=0.0)
    loss_D, loss_G = (
        names.discriminator_step(D, G, optimizer, batches),
        names.generator_step(D, G, optimizer, [latents for *_, latents in batches]),
    )
    assert math.isclose(loss_D, (1 - real).clamp(0).mean() + (1 + fake).clamp(0).mean(), rel_tol=1e-5)
    assert math.isclose(loss_G, -fake.mean(), rel_tol=1e-4, abs_tol=1e-5)
    assert all(weight.requires_grad for weight in D.parameters())


def test_the_orthogonal_penalty_is_the_formula():
    names = notebook()
    G, _ = pair(names)
    torch.manual_seed(0)
    total = 0.0
    for name, weight in G.named_parameters():
        weight.data += 0.1 * torch.randn_like(weight)
        if weight.dim() > 1 and name != "embed.weight":
            products = weight.flatten(1) @ weight.flatten(1).T
            total = total + (products * (1 - torch.eye(len(products)))).square().sum()
    assert torch.isclose(names.orthogonal_penalty(G), total, rtol=1e-4)
    orthogonal = nn.Linear(6, 4)
    nn.init.orthogonal_(orthogonal.weight, gain=3)
    assert abs(names.orthogonal_penalty(orthogonal)) < 1e-2 < 3**4  # whatever the filters' lengths


def test_the_average_is_the_closed_form():
    names = notebook(ema=0.9, ema_buffers=0.5, ema_start=3, ema_every=2)
    G = nn.Sequential(names.layer(nn.Linear(2, 3), "ajbrock"), nn.BatchNorm1d(3))
    average, states = copy.deepcopy(G), {}
    for step in range(1, 11):
        for weight in G.parameters():
            weight.data.normal_()
        G(torch.randn(8, 2))  # moves the running statistics, u, and the number of batches
        names.update_average(average, G, step)
        states[step] = {name: value.clone() for name, value in G.state_dict().items()}
        if step <= 3:
            assert all(torch.equal(value, states[step][name]) for name, value in average.state_dict().items())
    steps = [4, 6, 8, 10]  # every second one after the third
    for name, value in average.state_dict().items():
        beta = 0.9 if name in dict(G.named_parameters()) else 0.5 if "running" in name else 0.0
        right = beta ** len(steps) * states[3][name]
        right = right + sum((1 - beta) * beta ** (3 - i) * states[step][name] for i, step in enumerate(steps))
        assert torch.allclose(value.double(), right.double(), atol=1e-5), name


def test_truncation_draws_again_what_lies_beyond():
    names = notebook()
    z = torch.randn(500, 100, generator=torch.Generator().manual_seed(0))
    kept = z.clone()
    cut = names.truncate(z, 1.0)
    assert torch.equal(z, kept) and torch.equal(names.truncate(z, 0.0), z)
    assert cut.abs().max() <= 1
    assert torch.equal(cut[z.abs() <= 1], z[z.abs() <= 1])
    assert torch.equal(cut, names.truncate(z, 1.0)) and not torch.equal(cut, names.truncate(z, 1.0, seed=5))
    inside = math.erf(1 / math.sqrt(2))  # a normal distribution cut at ±1 has the variance 1 − 2 φ(1) / P(|z| < 1)
    assert abs(cut.var() - (1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / inside)) < 0.005


def test_lerp_walks_on_the_line_and_slerp_on_the_arc():
    names = notebook()
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    for between in (names.lerp, names.slerp):
        assert torch.allclose(between(a, b, 0.0), a) and torch.allclose(between(a, b, 1.0), b, atol=1e-6)
    assert torch.allclose(names.lerp(a, b, 0.25), torch.tensor([1.5, 0.5, 0.0]))
    angle = math.radians(22.5)
    right = torch.tensor([2 * math.cos(angle), 2 * math.sin(angle), 0.0])
    assert torch.allclose(names.slerp(a, b, 0.25), right, atol=1e-6)
    for other in (3 * a, -a):  # no arc between them is the shortest
        assert torch.equal(names.slerp(a, other, 0.5), names.lerp(a, other, 0.5))
    rows = names.walk(a, b, 5, names.slerp)
    assert rows.shape == (5, 3) and torch.allclose(rows.norm(dim=1), torch.tensor(2.0))
    around = names.round_walk(torch.stack([a, b]), 4)
    assert around.shape == (8, 3) and torch.equal(around[[0, 4]], torch.stack([a, b]))
    assert torch.allclose(around[5], names.lerp(b, a, 0.25))


def test_samples_of_chosen_classes():
    names = notebook(sample=lambda _G, latents: latents)
    latents, labels = names.sample_classes({"c": 2, "a": 3}, truncation=0.5)
    assert labels.tolist() == [2, 2, 0, 0, 0]
    assert latents.shape == (5, 20 + NUMBERS) and latents[:, 20:].argmax(1).tolist() == labels.tolist()
    assert latents[:, :20].abs().max() <= 0.5
    with pytest.raises(ValueError, match="'mauve'"):
        names.sample_classes({"mauve": 1})


@pytest.mark.parametrize("preset", ["sngan", "sagan", "biggan", "course", "cpu", "t4_3h"])
@pytest.mark.parametrize("classes", [1, NUMBERS])
def test_each_rung_trains(preset, classes):
    names = notebook(preset=preset, width=2, attention=None, z_dim=20)
    names.classes[:] = "abc"[:classes]
    torch.manual_seed(0)
    G, D = names.Generator(names.settings, classes), names.Discriminator(names.settings, classes)
    attention = [module for network in (G, D) for module in network.modules() if type(module) is names.SelfAttention]
    assert len(attention) == (0 if preset == "sngan" else 2)
    normalised = [bool(effective_weights(network)) for network in (G, D)]
    assert normalised == [preset != "sngan", True]
    y = names.one_hot(torch.arange(4) % classes)
    latents = names.join(torch.randn(4, 20), y)
    before = [copy.deepcopy(network.state_dict()) for network in (G, D)]
    names.discriminator_step(D, G, torch.optim.Adam(D.parameters(), 0.01), [(torch.randn(4, 3, 64, 64), y, latents)])
    names.generator_step(D, G, torch.optim.Adam(G.parameters(), 0.01), [latents])
    for network, state in zip((G, D), before, strict=True):
        still = {name for name, weight in network.named_parameters() if torch.equal(weight, state[name])}
        assert all(re.search(r"\.(f|g|h)\.|attention.*\.v\.|blocks\.\d\.v\.", name) for name in still)  # γ is still 0


def train(folder, faces, **overrides):
    """Runs the notebook's cells up to the end of training, in this process, which spares starting kernels."""
    text = build(ROOT / f"baselines/{STEM}.py")[ROOT / f"baselines/{STEM}.ipynb"]
    names, out = {}, io.StringIO()
    settings = SMOKE | {"faces": str(faces), "run": str(folder / "run")} | overrides
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        for cell in nbformat.reads(text, as_version=4).cells:
            if cell.cell_type == "code" and not cell.id.startswith("check-"):
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"overrides": settings, "display": lambda _: None}
            if "for step in progress" in cell.source:
                return names, out.getvalue()


def test_runs_solved_from_top_to_bottom_and_resumes(tmp_path, rendered):
    small = {"attention": 8, "accumulate": 2, "shared": 4, "norms_every": 2, "truncation": 1.0, "ema_start": 1}
    names, _ = train(tmp_path, rendered, **small)
    assert names["fixed_z"][:, :100].abs().max() <= 1
    assert "going on" not in train(tmp_path / "whole", rendered, **small, steps=6, checkpoint_every=6)[1]
    text = run(f"baselines/{STEM}.ipynb", tmp_path, rendered, **small, steps=6)
    assert "12 classes: aqua" in text and "going on from step 4" in text
    resumed, uninterrupted = (
        torch.load(folder / "run/checkpoints/last.pt", weights_only=True) for folder in (tmp_path, tmp_path / "whole")
    )
    for name in ("G", "D", "average_G"):
        for key, tensor in uninterrupted[name].items():
            assert torch.equal(resumed[name][key], tensor), f"{name}.{key} differs after a resume"
    tables = [(tmp_path / name, tmp_path / "whole" / name) for name in ("run/log.csv", "run/grad_norms.csv")]
    for rows, others in (map(read_rows, paths) for paths in tables):
        assert [row[:2] for row in rows] == [row[:2] for row in others] and rows[-1][0] == "6"

    labels = [label for _, label in read_rows(tmp_path / "outputs/labels.csv")[1:]]
    assert len(labels) == 1000 and {labels.count(name) for name in labels} == {83, 84}
    pictures = [f"{number}.jpg" for number in range(1, 1001)]
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {*pictures, "labels.csv"}
    with tarfile.open(tmp_path / "run/submission.tgz") as archive:
        assert archive.getnames() == pictures
    for name, frames in (("classes", 12 * 3), ("z", 3 * 12)):
        assert (tmp_path / f"run/{name}.gif").stat().st_size <= 2e6
        with Image.open(tmp_path / f"run/{name}.gif") as gif:
            assert gif.n_frames == frames
    assert (tmp_path / "run/classes.png").exists() and (tmp_path / "run/truncation.png").exists()


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_trains_without_classes(tmp_path, rendered):
    names, text = train(tmp_path, rendered, attribute="", attention=8, accumulate=1, shared=4, steps=2)
    assert "1 classes: face 300" in text
    assert names["fixed_z"].shape == (1000, 101) and (names["fixed_z"][:, 100] == 1).all()


# Planted mistakes: (TODO, what to replace in the solution, by what, a part of the hint).
MISTAKES = [
    ("hinge_losses", "(1 - real)", "(1 + real)", "reals want over 1"),
    ("hinge_losses", "(1 + fake)", "(1 - fake)", "score under −1"),
    ("hinge_losses", "(1 - real).relu().mean() + (1 + fake)", "(1 + real).relu().mean() + (1 - fake)", "swapped"),
    (
        "hinge_losses",
        "(1 - real).relu().mean() + (1 + fake).relu().mean()",
        "-real.mean() + fake.mean()",
        "costs nothing",
    ),
    (
        "hinge_losses",
        "(1 - real).relu().mean() + (1 + fake).relu().mean()",
        "(1 - real.mean()).relu() + (1 + fake.mean()).relu()",
        "of each picture, then the mean",
    ),
    ("hinge_losses", "(1 - real).relu().mean() + (1 + fake)", "(-real).relu().mean() + fake", "at ±1, not at 0"),
    (
        "hinge_losses",
        "relu().mean() + (1 + fake).relu().mean()",
        "relu().sum() + (1 + fake).relu().sum()",
        "not the sum",
    ),
    ("hinge_losses", "(1 - real).relu().mean() + (1 + fake).relu().mean()", "(1 - real).relu() + fake", "one number"),
    ("hinge_losses", "return -fake.mean()", "return fake.mean()", "the sign is wrong"),
    ("hinge_losses", "return -fake.mean()", "return (1 - fake).relu().mean()", "has no hinge"),
    ("largest_singular_value", "    with torch.no_grad():\n", "    if True:\n", "under torch.no_grad()"),
    ("largest_singular_value", "u @ W @ v, u", "u @ W.detach() @ v, u", "σ has no gradient"),
    ("largest_singular_value", "return u @ W @ v, u", "return u @ W @ v, v", "not one number a row"),
    (
        "largest_singular_value",
        "        u = F.normalize(W @ v, dim=0)",
        "        F.normalize(W @ v, dim=0)",
        "did not move",
    ),
    ("largest_singular_value", "u = F.normalize(W @ v, dim=0)", "u = W @ v", "length 1"),
    ("largest_singular_value", "return u @ W @ v, u", "return W.norm(), u", "Frobenius norm"),
    (
        "largest_singular_value",
        "v = F.normalize(W.T @ u, dim=0)",
        "v = W.T @ u; v = v / v.norm() ** 2 * W.norm()",
        "σ is",
    ),
    ("largest_singular_value", "return u @ W @ v, u", "return (u @ W @ v) ** 2, u", "this is σ²"),
    (
        "largest_singular_value",
        "u = F.normalize(W @ v, dim=0)",
        "u.copy_(F.normalize(W @ v, dim=0))",
        "the u that came in was changed",
    ),
    ("SelfAttention", "return x + self.gamma * self.v", "return self.gamma * self.v", "the output is x: x + γ o"),
    ("SelfAttention", "x + self.gamma * self.v", "x + self.v", "the output is x: x + γ o"),
    (
        "SelfAttention",
        "return x + self.gamma * self.v(",
        "return (1 + self.gamma) * x + self.gamma * self.v(",
        "o is not",
    ),
    (
        "SelfAttention",
        "return x + self.gamma * self.v(",
        "return x * (1 - self.gamma) + self.gamma * self.v(",
        "x is missing",
    ),
    ("SelfAttention", "x + self.gamma *", "x + self.gamma**2 *", "γ is missing"),
    ("SelfAttention", ".softmax(2)", ".softmax(1)", "softmax over the wrong places"),
    ("SelfAttention", ".softmax(2)", "", "the softmax is missing"),
    ("SelfAttention", "@ keys)", "@ keys / keys.shape[1] ** 0.5)", "no 1 / √d"),
    (
        "SelfAttention",
        "gathered = values @ attention.transpose(1, 2)",
        "gathered = (attention @ values.mT).reshape(values.shape[0], values.shape[1], -1)",
        "transpose it",
    ),
    ("ConditionalBatchNorm", "(1 + gain)", "gain", "the scale is 1 + gain"),
    ("ConditionalBatchNorm", "self.norm(x)", "x", "not normalised"),
    ("ConditionalBatchNorm", " + bias", "", "the bias is missing"),
    ("ConditionalBatchNorm", "(self.gain, self.bias)", "(self.bias, self.gain)", "mixed up"),
    ("ConditionalBatchNorm", "(1 + gain) * self.norm(x) + bias", "(1 + gain) * (self.norm(x) + bias)", "then shift"),
    ("ConditionalBatchNorm", "(1 + gain) * self.norm(x) + bias", "self.norm((1 + gain) * x + bias)", "normalise first"),
    ("ConditionalBatchNorm", "[:, :, None, None]", ".T[:, :, None, None]", "went to a channel"),
    ("projection_logit", " + psi(features).squeeze(1)", "", "ψ(φ(x)) is missing"),
    ("projection_logit", "(class_vectors * features).sum(1) + ", "", "the projection e · φ(x) is missing"),
    ("projection_logit", "(class_vectors * features).sum(1)", "class_vectors @ features.T", "(e * φ).sum(1)"),
    (
        "projection_logit",
        "(class_vectors * features).sum(1) + psi(features).squeeze(1)",
        "psi(features + class_vectors).squeeze(1)",
        "not added to it",
    ),
    ("projection_logit", ".sum(1)", ".mean(1)", "not a mean"),
    ("projection_logit", "psi(features)", "psi(class_vectors)", "not of the class"),
    ("projection_logit", ".squeeze(1)", "", "that makes [N, N]"),
]
# Other right solutions: (TODO, the whole function's body).
ALSO_RIGHT = [
    ("hinge_losses", "\n    return -1 * fake.sum() / len(fake)\n"),
    (
        "largest_singular_value",
        """
    constant = W.detach()
    v = constant.t().mv(u)
    v = v / v.norm()
    new = constant.mv(v)
    new = new / new.norm()
    return (W * torch.outer(new, v)).sum(), new
""",
    ),
    (
        "SelfAttention",
        """
        N, C, H, W = x.shape
        q = self.g(x).view(N, -1, H * W).permute(0, 2, 1)
        k, v = self.f(x).flatten(2).mT, self.h(x).flatten(2).mT
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
        return torch.add(x, self.v(o.permute(0, 2, 1).reshape(N, -1, H, W)) * self.gamma)
""",
    ),
    (
        "ConditionalBatchNorm",
        """
        x = self.norm(x)
        x = x + x * self.gain(condition).unsqueeze(-1).unsqueeze(-1)
        return x + self.bias(condition).view(len(x), -1, 1, 1)
""",
    ),
    (
        "projection_logit",
        "\n    return (torch.einsum('nc,nc->n', features, class_vectors)[:, None] + psi(features)).flatten()\n",
    ),
]


def names_of_checks():
    found = {"F": F, "settings": None}
    exec(cell_with("class SpectralNorm"), found | {"torch": torch, "nn": nn}, scope := {})
    return found | scope


@pytest.mark.parametrize(("todo", "right", "wrong", "hint"), MISTAKES)
def test_checks_catch_the_usual_mistakes(todo, right, wrong, hint):
    assert_caught(STEM, todo, right, wrong, hint, names_of_checks())


@pytest.mark.parametrize(("todo", "body"), ALSO_RIGHT, ids=[todo for todo, _ in ALSO_RIGHT])
def test_checks_pass_other_right_solutions(todo, body):
    assert_passes(STEM, todo, body, names_of_checks())


def test_the_hinge_check_passes_another_loss_of_D():
    names = {"torch": torch, "device": "cpu"}
    exec(cells()["todo-hinge_losses"] + "\n" + cells()["check-hinge_losses"], names)
    half = lambda real, fake: (torch.clamp_min(1 - real, 0) + torch.maximum(1 + fake, fake * 0)).mean() / 2  # noqa: E731
    names["check_hinge_losses"](half, names["hinge_loss_G"])
