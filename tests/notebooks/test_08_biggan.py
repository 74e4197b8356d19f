"""08: each layer against its formula or torch's own, the averages, the steps, and the training from top to bottom."""

import ast
import copy
import csv
import math
import re
import tarfile
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from baselines.build import ROOT
from kit.run import frozen
from tests.helpers.notebook import SMOKE, before_launch, cells, check_two_processes, run

MASTER = ROOT / "baselines/08_biggan.py"
NUMBERS = 3  # classes


@cache
def functions() -> dict:
    """What the notebook defines: its cells up to training, and the functions of those after it."""
    names = before_launch(MASTER)  # the very names that its functions see, so that tests can change them
    launched = False
    for name, source in cells(MASTER).items():
        launched = launched or "run = launch(" in source
        if launched:
            tree = ast.parse(source)
            tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
            exec(compile(tree, name, "exec"), names)
    return names


def notebook(preset="biggan", **chosen):
    """What the notebook defines, and small settings of a preset."""
    small = {"width": 4, "z_dim": 20, "attention": 16} | chosen
    settings = replace(functions()["PRESETS"][preset], **{key: one for key, one in small.items() if one is not None})
    return SimpleNamespace(**functions() | {"settings": settings})


def pair(names, seed=0):
    torch.manual_seed(seed)
    return names.Generator(names.settings, NUMBERS), names.Discriminator(names.settings, NUMBERS)


def batch(names, count, seed=0):
    """(pictures, y, z and y of fakes), with labels that differ from picture to picture."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 64, 64, generator=generator) * 2 - 1
    y, fake_y = (names.one_hot((torch.arange(count) + shift) % NUMBERS, NUMBERS) for shift in (0, 1))
    return pictures, y, names.join(torch.randn(count, names.settings.z_dim, generator=generator), fake_y)


def effective_weights(network):
    """Name -> a normalised weight as its layer uses it, a matrix with a row per output."""
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


@pytest.mark.parametrize("style", ["torch", "ajbrock"])
def test_in_evaluation_torchs_style_trusts_its_vectors_and_ours_takes_an_iteration(style):
    torch.manual_seed(0)
    layer = notebook().layer(nn.Linear(4, 6, bias=False), style).eval()
    W = layer.parametrizations.weight.original.detach().normal_()  # an average, whose vectors it never was
    before = [buffer.clone() for buffer in layer.buffers()]
    if style == "torch":
        u, v = before
    else:
        v = F.normalize(W.T @ before[0], dim=0)
        u = F.normalize(W @ v, dim=0)
    for _ in range(2):
        assert torch.allclose(layer.weight, W / (u @ W @ v), atol=1e-5)
    assert all(map(torch.equal, before, layer.buffers()))


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
def test_conditional_batch_norm_has_a_scale_and_a_shift_per_class(shared):
    names = notebook(shared=shared, skip_z=False)
    G, _ = pair(names)
    norm = G.blocks[0].norm1
    torch.manual_seed(1)
    x, y = torch.randn(6, 32, 3, 3), names.one_hot(torch.tensor([0, 1, 2, 2, 1, 0]), NUMBERS)
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
        gradients_of(D, lambda optimizer, b=b: names.discriminator_step(D, G, optimizer, b, 20))
        for b in ([large], small)
    ]
    assert (of_D[0] - of_D[1]).abs().max() < 1e-6 < of_D[0].abs().max()
    latents = [[large[2]], [part[2] for part in small]]
    of_G = [gradients_of(G, lambda optimizer, b=b: names.generator_step(D, G, optimizer, b, 20, 1e-4)) for b in latents]
    assert (of_G[0] - of_G[1]).abs().max() < 1e-6 < of_G[0].abs().max()
    G.train()  # where BatchNorm takes the statistics of each small batch: another step, as the notebook says
    of_G = [gradients_of(G, lambda optimizer, b=b: names.generator_step(D, G, optimizer, b, 20, 1e-4)) for b in latents]
    assert (of_G[0] - of_G[1]).abs().max() > 1e-4


def test_a_steps_loss_is_the_hinge_of_its_batches():
    names = notebook(width=2)
    G, D = (network.eval() for network in pair(names))
    batches = [batch(names, 4, seed) for seed in (0, 1)]
    with torch.no_grad():
        real = torch.cat([D(pictures, y) for pictures, y, _ in batches])
        fake = torch.cat([D(G(latents), latents[:, 20:]) for _, _, latents in batches])
    optimizer = torch.optim.SGD([*D.parameters(), *G.parameters()], lr=0.0)
    loss_D = names.discriminator_step(D, G, optimizer, batches, 20)
    assert all(weight.grad is None for weight in G.parameters())
    of_D = [weight.grad.clone() for weight in D.parameters()]
    with frozen(D):
        loss_G = names.generator_step(D, G, torch.optim.SGD(G.parameters(), lr=0.0), [z for *_, z in batches], 20, 0.0)
    assert all(map(torch.equal, of_D, (weight.grad for weight in D.parameters())))
    assert math.isclose(loss_D, (1 - real).clamp(0).mean() + (1 + fake).clamp(0).mean(), rel_tol=1e-5)
    assert math.isclose(loss_G, -fake.mean(), rel_tol=1e-4, abs_tol=1e-5)


def test_the_penalty_is_in_Gs_gradient_and_not_in_its_loss():
    names = notebook(width=2)
    G, D = (network.double().eval() for network in pair(names))
    (latents,) = doubled(batch(names, 4)[2])
    loss, found = {}, {}
    for beta in (0.0, 0.37):

        def step(optimizer, beta=beta):
            loss[beta] = names.generator_step(D, G, optimizer, [latents], 20, beta)

        found[beta] = gradients_of(G, step)
    penalty = names.orthogonal_penalty(G)
    right = torch.autograd.grad(0.37 * penalty, [*G.parameters()], allow_unused=True)
    right = [torch.zeros_like(w) if g is None else g for g, w in zip(right, G.parameters(), strict=True)]
    assert torch.allclose(found[0.37] - found[0.0], torch.cat([g.flatten() for g in right]), atol=1e-10)
    assert loss[0.0] == loss[0.37] and penalty > 0.01


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
        names.update_average(average, G, step, names.settings)
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
    cut = names.truncate(z, 1.0, seed=4)
    assert torch.equal(z, kept) and torch.equal(names.truncate(z, 0.0, seed=4), z)
    assert cut.abs().max() <= 1
    assert torch.equal(cut[z.abs() <= 1], z[z.abs() <= 1])
    assert torch.equal(cut, names.truncate(z, 1.0, seed=4)) and not torch.equal(cut, names.truncate(z, 1.0, seed=5))
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


def test_samples_of_given_classes(monkeypatch):
    names = notebook()
    monkeypatch.setitem(functions(), "sample", lambda _G, latents: latents)
    made = SimpleNamespace(classes=[*"abc"], settings=names.settings, G_ema=None, device="cpu")
    latents, labels = names.sample_classes(made, {"c": 2, "a": 3}, truncation=0.5)
    assert labels.tolist() == [2, 2, 0, 0, 0]
    assert latents.shape == (5, 20 + NUMBERS) and latents[:, 20:].argmax(1).tolist() == labels.tolist()
    assert latents[:, :20].abs().max() <= 0.5
    with pytest.raises(ValueError, match="mauve"):
        names.sample_classes(made, {"mauve": 1})


def test_fakes_have_classes_as_frequent_as_the_faces():
    names = notebook()
    torch.manual_seed(0)
    made = SimpleNamespace(noise=lambda count: torch.randn(count, 20))
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    latents = names.latents_of_fakes(made, labels, 4, 5000)
    assert latents.shape == (5000, 24)
    assert torch.allclose(latents[:, 20:].mean(0), torch.tensor([0.6, 0.3, 0.1, 0.0]), atol=0.03)


@pytest.mark.parametrize("preset", ["sngan", "sagan", "biggan", "course", "cpu", "t4_3h"])
@pytest.mark.parametrize("classes", [1, NUMBERS])
def test_each_preset_trains(preset, classes):
    names = notebook(preset=preset, width=2, attention=None, z_dim=20)
    torch.manual_seed(0)
    G, D = names.Generator(names.settings, classes), names.Discriminator(names.settings, classes)
    attention = [module for network in (G, D) for module in network.modules() if type(module) is names.SelfAttention]
    assert len(attention) == (0 if preset == "sngan" else 2)
    normalised = [bool(effective_weights(network)) for network in (G, D)]
    assert normalised == [preset != "sngan", True]
    y = names.one_hot(torch.arange(4) % classes, classes)
    latents = names.join(torch.randn(4, 20), y)
    before = [copy.deepcopy(network.state_dict()) for network in (G, D)]
    names.discriminator_step(
        D, G, torch.optim.Adam(D.parameters(), 0.01), [(torch.randn(4, 3, 64, 64), y, latents)], 20
    )
    names.generator_step(D, G, torch.optim.Adam(G.parameters(), 0.01), [latents], 20, 1e-4)
    for network, state in zip((G, D), before, strict=True):
        still = {name for name, weight in network.named_parameters() if torch.equal(weight, state[name])}
        assert all(re.search(r"\.(f|g|h)\.|attention.*\.v\.|blocks\.\d\.v\.", name) for name in still)  # γ is still 0


def train(folder, faces, **overrides):
    """Trains in this process, which spares starting a kernel. Returns the run."""
    names = functions()
    places = {"faces": str(faces), "run": str(folder / "run"), "outputs": str(folder / "outputs")}
    return names["train"](replace(names["PRESETS"]["course"], **SMOKE | places | overrides))


def test_runs_solved_from_top_to_bottom_and_resumes(tmp_path, rendered, capsys):
    small = {"attention": 8, "accumulate": 2, "shared": 4, "norms_every": 2, "truncation": 1.0, "ema_start": 1}
    first = train(tmp_path, rendered, **small, checkpoint_every=4)
    assert first.z[:, :100].abs().max() <= 1 and first.shown == 8 * 12
    train(tmp_path / "whole", rendered, **small, steps=6, checkpoint_every=6)
    assert "going on" not in capsys.readouterr().out
    text = run(ROOT / "baselines/solved/08_biggan.ipynb", tmp_path, rendered, **small, steps=6)
    assert "12 classes: aqua" in text and "going on from step 4" in text
    resumed, uninterrupted = (
        torch.load(folder / "run/checkpoints/last.pt", weights_only=True) for folder in (tmp_path, tmp_path / "whole")
    )
    for name in ("G", "D", "G_ema"):
        for key, tensor in uninterrupted[name].items():
            assert torch.equal(resumed[name][key], tensor), f"{name}.{key} differs after a resume"
    tables = [(tmp_path / name, tmp_path / "whole" / name) for name in ("run/log.csv", "run/grad_norms.csv")]
    for rows, others in (map(read_rows, paths) for paths in tables):
        assert [row[:2] for row in rows] == [row[:2] for row in others] and rows[-1][0] == "6"

    labels = [label for _, label in read_rows(tmp_path / "outputs/labels.csv")[1:]]
    assert len(labels) == 1000 and {labels.count(name) for name in labels} == {83, 84}
    assert (tmp_path / "run/labels.csv").read_text() == (tmp_path / "outputs/labels.csv").read_text()
    pictures = [f"{number}.jpg" for number in range(1, 1001)]
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {*pictures, "labels.csv"}
    with tarfile.open(tmp_path / "run/submission.tgz") as archive:
        assert archive.getnames() == pictures
    for name, frames in (("classes", 12 * 3), ("z", 3 * 12)):
        assert (tmp_path / f"run/{name}.gif").stat().st_size <= 2e6
        with Image.open(tmp_path / f"run/{name}.gif") as gif:
            assert gif.n_frames == frames
    assert (tmp_path / "run/classes.png").exists() and (tmp_path / "run/truncation.png").exists()
    with Image.open(tmp_path / "run/samples/000006.png") as grid:
        assert grid.size == (8 * 66 + 2, 12 * 66 + 2)  # a row per class


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_trains_without_classes(tmp_path, rendered, capsys):
    trained = train(tmp_path, rendered, attribute="", attention=8, accumulate=1, shared=4, steps=2)
    assert "1 classes: face 300" in capsys.readouterr().out
    assert trained.classes == ["face"]
    assert trained.z.shape == (100, 101) and (trained.z[:, 100] == 1).all()


def test_both_networks_stay_in_float32(tmp_path, rendered, monkeypatch):
    monkeypatch.setitem(functions(), "half_dtype", lambda device: torch.bfloat16)
    run = train(tmp_path, rendered, steps=0, half=True, attention=0)
    assert [type(run.parts[name]).__name__ for name in "GD"] == ["Generator", "Discriminator"]


def test_faces_that_do_not_fill_the_batches_of_a_step_are_refused(tmp_path, rendered):
    with pytest.raises(SystemExit, match="300 faces are fewer than one batch of 320"):
        train(tmp_path, rendered, batch_size=80, accumulate=4)


def test_the_loop_deals_out_faces_and_fakes_and_moves_the_average(tmp_path, rendered, monkeypatch):
    of_D, of_G, averaged = [], [], []

    def recorded(steps):
        return lambda _D, _G, _optimizer, *given: steps.append(given) or torch.zeros(())

    monkeypatch.setitem(functions(), "discriminator_step", recorded(of_D))
    monkeypatch.setitem(functions(), "generator_step", recorded(of_G))
    monkeypatch.setitem(functions(), "layer_norms", lambda D: {"none": torch.zeros(())})
    monkeypatch.setitem(functions(), "update_average", lambda *given: averaged.append(given))
    small = {"accumulate": 3, "n_critic": 2, "steps": 5, "orthogonal": 0.37, "attention": 0, "checkpoint_every": 5}
    trained = train(tmp_path, rendered, **small, batch_size=5, classes="red,blue")
    assert [given[1:] for given in of_D] == [(100,)] * 5 and [given[1:] for given in of_G] == [(100, 0.37)] * 2
    assert [len(batches) for batches, *_ in of_D + of_G] == [3] * 7
    faces = [face for batches, *_ in of_D[:2] for real, _, _ in batches for face in real]  # of one epoch, 45 faces
    assert all(not torch.equal(a, b) for n, a in enumerate(faces) for b in faces[:n])
    for real, y, latents in of_D[0][0]:
        assert real.shape == (5, 3, 64, 64) and -1 <= real.min() < real.max() <= 1
        assert y.shape == (5, 2) and latents.shape == (5, 102)
        assert (y.sum(1) == 1).all() and (latents[:, 100:].sum(1) == 1).all()
    assert all(latents.shape == (5, 102) for latents in of_G[0][0])
    assert averaged == [(trained.G_ema, trained.G, step, trained.settings) for step in (1, 2)]
    assert not trained.G_ema.training and trained.G.training
    assert 45 <= len(trained.faces) < 60  # those of its classes


@pytest.mark.long  # those of 01 train in the other tests
def test_trains_in_two_processes(tmp_path, rendered):
    places = {"faces": str(rendered), "run": str(tmp_path / "run"), "outputs": str(tmp_path / "outputs")}
    small = {"steps": 2, "checkpoint_every": 2, "attention": 0, "accumulate": 2, "processes": 2, "norms_every": 1}
    settings = replace(functions()["PRESETS"]["course"], **SMOKE | places | small)
    assert len(check_two_processes(functions()["train"], settings).classes) == 12
    assert (tmp_path / "run/labels.csv").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"z_dim": 128}, "`z_dim` is 128, which skip_z deals out in 5 equal pieces: set a multiple of 5"),
        ({"spectral_norm": "none"}, "`spectral_norm` is 'none': use one of 'torch', 'ajbrock', ''"),
        *(({"attention": size}, f"`attention` is {size}: use one of 0, 8, 16, 32") for size in (4, 48, 64)),
    ],
)
def test_settings_that_cannot_be_are_told_before_any_face_is_read(settings, said):
    names = notebook()
    with pytest.raises(SystemExit, match=f"^{re.escape(said)}$"):
        names.make_settings(names.PRESETS, "biggan", settings)
