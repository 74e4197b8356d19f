"""Notebook 07, progressive growing: runs, resumes in mid-fade, holds to the paper's formulas."""

import csv
import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.build import ROOT
from kit.gradient_penalty import gradient_penalty
from tests.helpers.notebook import SMOKE, before_launch, run

MASTER = ROOT / "baselines/07_progressive.py"
RESOLUTIONS = [4, 8, 16, 32, 64]
# 4×4 is held for a step, and so on: step 3 is in the midst of 8×8 coming in, and 64×64 comes in with the last three
GROWTH = {"hold": (1, 1, 1, 1), "fade": (4, 2, 2, 2), "batch_share": (1, 1, 1, 0.5, 0.5), "lr_share": (1, 1, 1, 1, 0.5)}


@pytest.fixture(scope="module")
def cells():
    """The names that the notebook's cells define before training."""
    return SimpleNamespace(**before_launch(MASTER))


@pytest.fixture
def pair(cells):
    torch.manual_seed(0)
    return cells.Generator(7, 2), cells.Discriminator(2)


@pytest.fixture
def train(cells, rendered):
    def train(folder, **overrides):
        places = {"faces": str(rendered), "run": str(folder / "run"), "outputs": str(folder / "outputs")}
        tiny = SMOKE | places | GROWTH | {"checkpoint_every": 100, "z_dim": 16}
        return cells.train(cells.make_settings(cells.PRESETS, "course", tiny | overrides))

    return train


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_it_runs_from_top_to_bottom(tmp_path, rendered):
    tiny = {name: list(value) for name, value in GROWTH.items()} | {"z_dim": 16, "checkpoint_every": 100}
    text = run(ROOT / "baselines/solved/07_progressive.ipynb", tmp_path, rendered, **tiny, steps=16)
    for resolution, step in ((4, 1), (8, 6), (16, 9), (32, 12)):
        assert f"{resolution}×{resolution} is done after step {step}\n" in text
    assert len(list((tmp_path / "outputs").iterdir())) == 1000
    assert json.loads((tmp_path / "run/config.json").read_text())["fade"] == list(GROWTH["fade"])
    with Image.open(tmp_path / "run/growth.png") as growth:
        assert growth.size == (8 * 66 + 2, 5 * 68)  # one row per resolution
        small = np.asarray(growth.crop((2, 2, 66, 66)))
        large = np.asarray(growth.crop((2, 4 * 68 + 2, 66, 4 * 68 + 66)))
    assert np.array_equal(small, small[::16, ::16].repeat(16, 0).repeat(16, 1))  # 4×4 enlarged
    assert len(np.unique(large.reshape(-1, 3), axis=0)) > 16


def test_both_networks_stay_in_float32(tmp_path, train, monkeypatch):
    monkeypatch.setitem(before_launch(MASTER), "half_dtype", lambda device: torch.bfloat16)
    run = train(tmp_path, steps=0, half=True)
    assert [type(run.parts[name]).__name__ for name in "GD"] == ["Generator", "Discriminator"]


def test_it_resumes_in_mid_fade_as_if_never_interrupted(tmp_path, train, cells, capsys):
    train(tmp_path / "halves", steps=3)
    capsys.readouterr()
    halves = train(tmp_path / "halves", steps=16)
    said = capsys.readouterr().out
    assert "going on from step 3" in said and "8×8 is done after step 6\n" in said and "\n4×4 is done" not in said
    whole = train(tmp_path / "whole", steps=16)

    resumed, uninterrupted = (torch.load(run.last, weights_only=True) for run in (halves, whole))
    assert resumed["step"] == uninterrupted["step"] == 16
    for name in ("G", "D", "G_ema"):
        for key, tensor in uninterrupted[name].items():
            assert torch.equal(resumed[name][key], tensor), f"{name}.{key} differs after a resume"
    for name in ("optimizer_G", "optimizer_D"):
        assert resumed[name]["param_groups"] == uninterrupted[name]["param_groups"]
        assert resumed[name]["param_groups"][0]["lr"] == 0.5e-3
        assert resumed[name]["state"].keys() == uninterrupted[name]["state"].keys()
        for number, state in uninterrupted[name]["state"].items():
            assert all(torch.equal(resumed[name]["state"][number][key], value) for key, value in state.items())
    assert resumed["D"]["on_reals"] != 0

    losses = [
        [(row["step"], row["loss_D"], row["loss_G"]) for row in rows_of(run.folder / "log.csv")]
        for run in (halves, whole)
    ]
    assert losses[0] == losses[1] and [row[0] for row in losses[0]] == [str(step) for step in range(1, 17)]
    assert cells.growth_of(halves).tobytes() == cells.growth_of(whole).tobytes()
    rows = [(run.folder / "samples/last_of_08.png").read_bytes() for run in (halves, whole)]
    assert rows[0] == rows[1]


def test_a_run_with_nothing_left_to_train_samples_at_the_stage_of_its_last_step(tmp_path, train):
    before = train(tmp_path, steps=4)
    after = train(tmp_path, steps=4)
    assert after.start == 4
    assert before.G_ema.stage == after.G_ema.stage == (8, 0.5)
    assert torch.equal(before.G_ema(before.z[:9]), after.G_ema(after.z[:9]))


def test_tuples_in_settings_are_compared_by_what_they_hold(tmp_path, train):
    train(tmp_path, steps=1)
    run = train(tmp_path, steps=2, hold=[1, 1, 1, 1])
    assert run.start == 1 and run.settings.hold == (1, 1, 1, 1)  # `stage` gets a tuple all the same
    with pytest.raises(SystemExit, match=r"fade \[4, 2, 2, 2\] → \[4, 2, 2, 3\]"):
        train(tmp_path, steps=3, fade=(4, 2, 2, 3))


def test_it_trains_in_one_process_only(cells):
    settings = cells.make_settings(cells.PRESETS, "course", {"processes": 2})
    with pytest.raises(SystemExit, match="trains in one process"):
        cells.launch(cells.train, settings, one_process=True)


def test_both_losses_train_every_part_that_is_in_use(tmp_path, train):
    for loss in ("least squares", "wgan-gp"):
        run = train(tmp_path / loss, steps=13, loss=loss, averaging="gpool")
        assert all(float(row["loss_D"]) for row in rows_of(run.folder / "log.csv"))


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_samples_have_one_size_at_every_stage(cells, pair, level):
    G, z = pair[0], torch.randn(3, 7)
    for alpha in (0.5, 1.0) if level else (1.0,):
        G.stage = RESOLUTIONS[level], alpha
        with torch.no_grad():
            small = G.train()(z)
            large = G.eval()(z)
        times = 64 // RESOLUTIONS[level]
        assert large.shape == (3, 3, 64, 64)
        assert torch.equal(large, small.repeat_interleave(times, 2).repeat_interleave(times, 3))


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
    assert 0.5 < x.square().mean() < 2  # without the gain it would be 2⁻¹⁰


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
    settings = cells.GrowingSettings(loss="wgan-gp", penalty=7.3, drift=0.37)
    loss_of_D, loss_of_G = cells.make_losses(settings)
    torch.manual_seed(1)
    loss = loss_of_D(D, real, fake)
    torch.manual_seed(1)
    penalty = gradient_penalty(D, real, fake)
    expected = D(fake).mean() - D(real).mean() + 7.3 * penalty + 0.37 * D(real).square().mean()
    assert torch.isclose(loss, expected)
    weights = [*D.parameters()]
    found, right = (torch.autograd.grad(one, weights, allow_unused=True) for one in (loss, expected))
    assert [slope is None for slope in found] == [slope is None for slope in right]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, right, strict=True) if a is not None)
    assert sum(slope is not None and slope.any() for slope in found) > 10
    assert torch.isclose(loss_of_G(D(fake)), -D(fake).mean())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("hold", (1, 1, 1), "`hold` is (1, 1, 1): give it 4 numbers"),
        ("fade", (1, 1, 1, 1, 1), "`fade` is (1, 1, 1, 1, 1): give it 4 numbers"),
        ("batch_share", (1, 1, 1, 1), "`batch_share` is (1, 1, 1, 1): give it 5 numbers"),
        ("batch_share", (2, 1, 1, 1, 1), "`batch_share` is (2, 1, 1, 1, 1): give it numbers over 0, at most 1"),
        ("lr_share", [1, 1, 1, 1], "`lr_share` is (1, 1, 1, 1): give it 5 numbers"),
        ("lr_share", (1, 1, 1, 1, 0), "`lr_share` is (1, 1, 1, 1, 0): give it numbers over 0"),
        ("hold", (1, -1, 1, 1), "`hold` is -1: set it to 0 or more"),
        ("fade", [1, 1, 1, 1.5], "fade is 1.5: it must be a whole number"),
        ("lr_share", (1, 1, 1, 1, "half"), "lr_share is 'half': it must be a number"),
        ("loss", "wgan_gp", "`loss` is 'wgan_gp': use one of 'least squares', 'wgan-gp'"),
        ("averaging", "al", "`averaging` is 'al': use one of 'all', 'spatial', 'gpool', 'flat'"),
    ],
)
def test_settings_that_would_end_a_run_are_told_at_once(cells, name, value, said):
    with pytest.raises(SystemExit) as stopped:
        cells.make_settings(cells.PRESETS, "course", {name: value})
    assert str(stopped.value) == said
