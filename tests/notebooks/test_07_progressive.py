"""Notebook 07, progressive growing: runs, resumes in mid-fade, holds to the paper's formulas, catches mistakes."""

import csv
import json
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.build import ROOT
from tests.notebook import assert_caught, assert_passes, run, sources

STEM = "07_progressive"
RESOLUTIONS = [4, 8, 16, 32, 64]
# 4×4 is held for a step, and so on: step 3 is in the midst of 8×8 coming in, and 64×64 comes in with the last three
GROWTH = {"hold": [1, 1, 1, 1], "fade": [4, 2, 2, 2], "batch_share": [1, 1, 1, 0.5, 0.5], "lr_share": [1, 1, 1, 1, 0.5]}


@pytest.fixture(scope="module")
def cells():
    """The names of the notebook's cells up to its losses."""
    settings = SimpleNamespace(z_dim=7, width=2, averaging="all", loss="least squares", penalty=10.0, drift=1e-3)
    settings.seed, settings.lr_G, settings.lr_D, settings.beta1, settings.beta2 = 0, 1e-3, 1e-3, 0.0, 0.99
    names = {"torch": torch, "nn": torch.nn, "np": np, "math": math, "settings": settings}
    names |= {"device": torch.device("cpu"), "seed_everything": torch.manual_seed}
    wanted = ("def double", "def with_stddev", "class Generator(", "def gradient_penalty", "def least_squares_D")
    for cell, source in sources(ROOT / f"baselines/{STEM}.py", True).items():
        if cell.startswith("todo-") or any(name in source for name in wanted):
            exec(source, names)
    return SimpleNamespace(**names)


@pytest.fixture
def pair(cells):
    torch.manual_seed(0)
    return cells.Generator(7, 2), cells.Discriminator(2)


def test_it_runs_from_top_to_bottom_and_resumes_in_mid_fade(tmp_path, rendered):
    whole = tmp_path / "whole"
    whole.mkdir()
    tiny = GROWTH | {"checkpoint_every": 100, "z_dim": 16}
    run(f"baselines/{STEM}.ipynb", tmp_path, rendered, **tiny, steps=3)
    text = run(f"baselines/{STEM}.ipynb", tmp_path, rendered, **tiny, steps=16)
    assert "going on from step 3" in text
    assert "going on" not in run(f"baselines/{STEM}.ipynb", whole, rendered, **tiny, steps=16)
    for resolution, step in ((4, 1), (8, 6), (16, 9), (32, 12)):
        assert (f"{resolution}×{resolution} is done after step {step}" in text) == (step > 3)

    resumed, uninterrupted = (
        torch.load(folder / "run/checkpoints/last.pt", weights_only=True) for folder in (tmp_path, whole)
    )
    assert resumed["step"] == uninterrupted["step"] == 16
    for name in ("G", "D", "average_G"):
        for key, tensor in uninterrupted[name].items():
            assert torch.equal(resumed[name][key], tensor), f"{name}.{key} differs after a resume"
    for name in ("optimizer_G", "optimizer_D"):
        assert resumed[name]["param_groups"] == uninterrupted[name]["param_groups"]
        assert resumed[name]["param_groups"][0]["lr"] == 0.5e-3
        assert resumed[name]["state"].keys() == uninterrupted[name]["state"].keys()
        for number, state in uninterrupted[name]["state"].items():
            assert all(torch.equal(resumed[name]["state"][number][key], value) for key, value in state.items())
    assert resumed["D"]["on_reals"] != 0

    losses = []
    for folder in (tmp_path, whole):
        with open(folder / "run/log.csv", newline="") as file:
            losses.append([(row["step"], row["loss_D"], row["loss_G"]) for row in csv.DictReader(file)])
    assert losses[0] == losses[1] and [row[0] for row in losses[0]] == [str(step) for step in range(1, 17)]
    assert (tmp_path / "outputs/1000.jpg").read_bytes() == (whole / "outputs/1000.jpg").read_bytes()
    for name in ("growth.png", "samples/last_of_08.png"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / "run" / name).read_bytes()

    assert len(list((tmp_path / "outputs").iterdir())) == 1000
    assert json.loads((tmp_path / "run/config.json").read_text())["fade"] == GROWTH["fade"]
    with Image.open(tmp_path / "run/growth.png") as growth:
        assert growth.size == (8 * 66 + 2, 5 * 68)  # a row a resolution
        small = np.asarray(growth.crop((2, 2, 66, 66)))
        large = np.asarray(growth.crop((2, 4 * 68 + 2, 66, 4 * 68 + 66)))
    assert np.array_equal(small, small[::16, ::16].repeat(16, 0).repeat(16, 1))  # 4×4 enlarged
    assert len(np.unique(large.reshape(-1, 3), axis=0)) > 16


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_growing_changes_nothing_at_first(cells, pair, level):
    G, D = pair
    smaller, larger = RESOLUTIONS[level - 1], RESOLUTIONS[level]
    z, pictures = torch.randn(6, 7), torch.randn(6, 3, larger, larger)
    with torch.no_grad():
        G.stage = D.stage = smaller, 1.0
        old, judged = G(z), D(cells.halve(pictures))
        assert old.shape == (6, 3, smaller, smaller)
        G.stage = D.stage = larger, 0.0
        assert torch.equal(G(z), cells.double(old))
        assert torch.equal(D(pictures), judged)
        G.stage = D.stage = larger, 0.5
        assert not torch.allclose(G(z), cells.double(old))
        assert not torch.allclose(D(pictures), judged)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_both_ways_learn_while_fading_and_the_old_one_not_after(pair, level):
    G, D = pair
    z = torch.randn(6, 7)

    def learning(alpha):
        """Which levels of rgb layers and of blocks get a gradient."""
        G.zero_grad(), D.zero_grad()
        G.stage = D.stage = RESOLUTIONS[level], alpha
        D(G(z)).square().sum().backward()
        for parts in (G.to_rgb, D.from_rgb, G.blocks, D.blocks):
            grads = [[weight.grad for weight in part.parameters()] for part in parts]
            assert all(len({grad is None for grad in grad_list}) == 1 for grad_list in grads)
            yield [number for number, grad_list in enumerate(grads) if grad_list[0] is not None]

    below = list(range(level + 1))
    assert list(learning(0.5)) == [[level - 1, level], [level - 1, level], below, below]
    assert list(learning(1.0)) == [[level], [level], below, below]


def test_fading_ends_where_holding_begins(pair):
    G, D = pair
    z, pictures = torch.randn(6, 7), torch.randn(6, 3, 16, 16)
    with torch.no_grad():
        G.stage = D.stage = 16, 1 - 1e-7
        last = G(z), D(pictures)
        G.stage = D.stage = 16, 1.0
        assert torch.allclose(G(z), last[0], atol=1e-5) and torch.allclose(D(pictures), last[1], atol=1e-4)


def test_reals_are_as_sharp_as_fakes(cells):
    real = torch.rand(3, 3, 64, 64)
    assert torch.equal(cells.as_sharp(real, 64, 1.0), real)
    small = cells.as_sharp(real, 8, 1.0)
    assert torch.allclose(small, real.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5)), atol=1e-6)
    assert torch.equal(cells.as_sharp(real, 8, 0.0), cells.double(cells.halve(small)))
    assert torch.allclose(cells.as_sharp(real, 8, 0.5), (small + cells.double(cells.halve(small))) / 2)


def test_the_stage_follows_from_the_step_alone(cells):
    hold, fade = [5, 0, 7, 1], [3, 4, 0, 6]
    stages = [cells.stage(step, hold, fade) for step in range(40)]
    resolutions = [resolution for resolution, _ in stages]
    assert [resolutions.count(resolution) for resolution in RESOLUTIONS] == [5, 3, 11, 1, 20]
    for before, after in pairwise(stages):
        assert after > before or after == before  # it never shrinks
    assert [alpha for resolution, alpha in stages if resolution == 64][:7] == [step / 6 for step in range(7)]


def test_pixel_norm_gives_a_mean_square_of_one(cells):
    out = cells.pixel_norm(5 + 3 * torch.randn(4, 32, 6, 6))
    assert torch.allclose(out.square().mean(1), torch.ones(4, 6, 6), atol=1e-6)


@pytest.mark.parametrize(("channels_in", "channels_out", "kernel"), [(8, 64, 3), (128, 32, 1), (16, 200, 4)])
def test_equalized_layers_keep_a_variance_of_one(cells, channels_in, channels_out, kernel):
    torch.manual_seed(0)
    conv = cells.EqualizedConv(channels_in, channels_out, kernel, gain=1.0)
    with torch.no_grad():
        assert 0.9 < conv(torch.randn(64, channels_in, 8, 8)).var() < 1.1
        assert 0.9 < conv.weight.std() < 1.1


def test_he_gain_keeps_the_mean_square_through_relus(cells):
    torch.manual_seed(0)
    x = torch.randn(256, 128, 1, 1)
    with torch.no_grad():
        for _ in range(10):
            x = cells.EqualizedConv(128, 128, 1)(x).relu()
    assert 0.5 < x.square().mean() < 2  # without the gain it were 2⁻¹⁰


def test_the_switches_of_the_minibatch_deviation(cells):
    torch.manual_seed(0)
    x = torch.randn(8, 5, 4, 4) * torch.arange(1.0, 6).view(1, 5, 1, 1) + torch.randn(1, 5, 4, 4)
    deviations = x.numpy().std(0)  # [5, 4, 4]
    expected = {
        "all": [deviations.mean()],
        "flat": [x.numpy().std()],
        "spatial": deviations.mean((1, 2)),
        "gpool": x.numpy().std((0, 2, 3)),
    }
    for averaging, values in expected.items():
        out = cells.with_stddev(x, averaging)
        assert out.shape == (8, 5 + len(values), 4, 4)
        assert torch.equal(out[:, :5], x)
        assert np.allclose(out[:, 5:], np.reshape(values, (1, -1, 1, 1)), rtol=1e-5)
        D = cells.Discriminator(2, averaging)
        assert D(torch.randn(4, 3, 64, 64)).shape == (4,)


def test_noise_on_reals_grows_with_how_sure_the_discriminator_is(cells):
    class Sure(torch.nn.Module):
        """Answers 0.9 for all, and keeps what it saw."""

        on_reals, seen = torch.zeros(()), ()

        def forward(self, pictures):
            self.seen = (*self.seen, pictures)
            return torch.full((len(pictures),), 0.9)

    D, real, fake = Sure(), torch.zeros(16, 3, 32, 32), torch.ones(16, 3, 32, 32)
    for step in range(30):
        d = 0.9 * (1 - 0.9**step)
        assert torch.isclose(D.on_reals, torch.tensor(d))
        D.seen = ()
        loss = cells.least_squares_D(D, real, fake)
        assert torch.isclose(loss, torch.tensor((0.1**2 + 0.9**2) / 2))
        noisy, same = D.seen
        assert torch.equal(same, fake)
        size = 0.2 * max(0, d - 0.5) ** 2
        assert abs(noisy.std().item() - size) <= 0.02 * size
    assert size > 0.02


def test_the_switch_to_wgan_gp_adds_penalty_and_drift(cells, pair):
    G, D = pair
    G.stage = D.stage = 8, 0.5
    real, fake = torch.randn(4, 3, 8, 8), G(torch.randn(4, 7)).detach()
    torch.manual_seed(1)
    loss = cells.LOSSES["wgan-gp"][0](D, real, fake)
    torch.manual_seed(1)
    penalty = cells.gradient_penalty(D, real, fake)
    with torch.no_grad():
        expected = D(fake).mean() - D(real).mean() + 10 * penalty + 1e-3 * D(real).square().mean()
    assert torch.isclose(loss, expected)
    loss.backward()
    assert D.from_rgb[1].weight.grad.abs().sum() > 0
    assert torch.isclose(cells.LOSSES["wgan-gp"][1](D(fake)), -D(fake).mean())


# Planted mistakes: (TODO, what to replace in the solution, by what, a part of the hint).
MISTAKES = [
    ("stage", "step < steps_held", "step <= steps_held", "the first step of 8×8"),
    ("stage", "resolution, step / steps_faded", "resolution, 1 - step / steps_faded", "not (8, 0.0)"),
    ("stage", "step / steps_faded", "step / (steps_held + steps_faded)", "after 2 of the 4 steps"),
    ("stage", "        step -= steps_held\n", "", "the first step of 8×8"),
    ("stage", "        step -= steps_faded\n", "", "faded in for 4 steps and then held for 5"),
    ("stage", "resolution *= 2", "resolution += 4", "three doublings"),
    ("stage", "    return resolution, 1.0\n    ###", "    return resolution * 2, 1.0\n    ###", "long after"),
    ("stage", "    return resolution, 1.0\n    ###", "    ###", "long after"),
    ("stage", "            return resolution, 1.0", "            return resolution", "return resolution and α"),
    ("stage", "            return resolution, 1.0", "            return resolution, 0.0", "nothing to be faded over"),
    ("fade", "(1 - alpha) * old + alpha * new", "alpha * old + (1 - alpha) * new", "the wrong way round"),
    ("fade", "(1 - alpha) * old", "old", "at α = 1 it is not new"),
    ("fade", "(1 - alpha) * old + alpha * new", "new + (1 - alpha) * (old - new)", "but for rounding"),
    ("fade", "(1 - alpha) * old + alpha * new", "new if alpha > 0 else old", "¾ of old"),
    ("fade", "return ", "alpha = alpha**2\n    return ", "¾ of old"),
    ("fade", "* old +", "* old.detach() +", "no detach() here"),
    ("fade", "alpha * new", "alpha * new.detach()", "no detach() here"),
    ("pixel_norm", ".mean(1, keepdim=True)", ".sum(1, keepdim=True)", "take the mean"),
    ("pixel_norm", ".mean(1, keepdim=True)", ".mean((1, 2, 3), keepdim=True)", "dim 1, alone"),
    ("pixel_norm", ".mean(1, keepdim=True)", ".mean((2, 3), keepdim=True)", "dim 1, alone"),
    ("pixel_norm", ".mean(1, keepdim=True)", ".mean(0, keepdim=True)", "dim 1, alone"),
    ("pixel_norm", ".rsqrt()", ".reciprocal()", "its square root divides"),
    ("pixel_norm", " + 1e-8", "", "add 1e-8 under the root"),
    ("pixel_norm", "return ", "x = x - x.mean(1, keepdim=True)\n    return ", "nothing is subtracted"),
    ("pixel_norm", "x.square().mean(1, keepdim=True)", "x.var(1, keepdim=True)", "is to be 1 at each"),
    ("pixel_norm", "return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()", "return x / x.abs()", "one number"),
    ("equalized_conv", "self.weight * scale", "self.weight", "the weights are not scaled"),
    ("equalized_conv", "math.sqrt(self.weight[0].numel())", "self.weight[0].numel()", "square root of n"),
    ("equalized_conv", "self.weight[0].numel()", "self.weight.shape[1]", "n counts the kernel's 3×3 places too"),
    ("equalized_conv", "self.weight[0].numel()", "self.weight[:, 0].numel()", "not output channels"),
    ("equalized_conv", "self.gain /", "1 /", "with a gain of √2"),
    ("equalized_conv", "self.gain /", "math.sqrt(2) /", "use self.gain"),
    ("equalized_conv", "self.bias, padding", "self.bias * scale, padding", "do not scale it"),
    ("equalized_conv", ", padding=self.padding", "", "pass self.padding on"),
    ("equalized_conv", "self.weight * scale", "self.weight.data * scale", "the weight has no gradient"),
    ("equalized_conv", "self.weight * scale", "nn.init.normal_(self.weight, 0, scale)", "scale them when used"),
    ("minibatch_stddev", "(x - x.mean(0)).square().mean(0)", "(x - x.mean()).square().mean()", "all numbers together"),
    ("minibatch_stddev", "(x - x.mean(0)).square().mean(0)", "x.var(1, correction=0)", "dim 0, not dim 1"),
    ("minibatch_stddev", ".sqrt().mean()", ".mean()", "the variance: take its root"),
    ("minibatch_stddev", ".sqrt().mean()", ".mean().sqrt()", "first the root"),
    ("minibatch_stddev", ".sqrt().mean()", ".sqrt().mean(0)", "one number for the whole batch"),
    ("minibatch_stddev", "spread.expand(len(x), 1,", "spread.expand(len(x), 5,", "one channel more"),
    ("minibatch_stddev", "[x, spread.expand(len(x), 1, *x.shape[2:])]", "[spread.expand(len(x), 1, 4, 4), x]", "last"),
    ("minibatch_stddev", "spread.expand", "spread.detach().expand", "the new channel has no gradient"),
    ("minibatch_stddev", " + 1e-8", "", "add 1e-8 under the root"),
    ("minibatch_stddev", "x.mean(0)", "0", "the new channel is"),
]


@pytest.mark.parametrize(("todo", "right", "wrong", "hint"), MISTAKES)
def test_checks_catch_the_usual_mistakes(todo, right, wrong, hint):
    assert_caught(STEM, todo, right, wrong, hint, {"settings": SimpleNamespace()})


# Other right solutions: (TODO, the function's body).
ALSO_RIGHT = [
    (
        "stage",
        """
    level, ends = 0, np.cumsum([steps for pair in zip(hold, fade) for steps in pair])  # of holding, of fading, …
    phase = int(np.searchsorted(ends, step, side="right"))
    if phase % 2 == 0 or phase == len(ends):
        return 2 ** (2 + phase // 2), 1.0
    return 2 ** (3 + phase // 2), float((step - ends[phase - 1]) / fade[phase // 2])
""",
    ),
    ("fade", "\n    return torch.lerp(old, new, alpha)\n"),
    ("fade", "\n    return old + alpha * (new - old)\n"),
    ("pixel_norm", "\n    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)\n"),
    ("pixel_norm", "\n    return nn.functional.normalize(x, dim=1) * math.sqrt(x.shape[1])\n"),
    (
        "equalized_conv",
        """
        n = self.weight.shape[1] * self.weight.shape[2] * self.weight.shape[3]
        x = nn.functional.conv2d(x * (self.gain / n**0.5), self.weight, padding=self.padding)
        return x + self.bias.view(1, -1, 1, 1)
""",
    ),
    (
        "minibatch_stddev",
        """
    spread = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()
    return torch.cat([x, spread * torch.ones_like(x[:, :1])], dim=1)
""",
    ),
    (
        "minibatch_stddev",
        """
    count, _, height, width = x.shape
    return torch.cat([x, x.std(0).mean().repeat(count, 1, height, width)], dim=1)
""",
    ),
]


@pytest.mark.parametrize(("todo", "body"), ALSO_RIGHT)
def test_checks_pass_other_right_solutions(todo, body):
    assert_passes(STEM, todo, body, {"settings": SimpleNamespace()})
