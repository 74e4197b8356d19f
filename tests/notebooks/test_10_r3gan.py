"""10: resampling, blocks and penalties do what they say, each part can be left out, and a resumed run is exact."""

import csv
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from baselines.build import ROOT
from kit.augment import WAYS, augmentation
from tests.helpers.notebook import SMOKE, before_launch, check_resume, check_two_processes

MASTER = ROOT / "baselines/10_r3gan.py"


def names(name):
    return before_launch(MASTER)[name]


def small(folder, faces="", preset="cpu", **others):
    few = {"n_critic": 2, "norms_every": 2, "checkpoint_every": 100}
    places = {"faces": str(faces), "run": str(folder / "run")}
    return replace(names("PRESETS")[preset], **SMOKE | few | places | others)


def test_norms_are_told_from_the_picture_up():
    names = before_launch(MASTER)
    D = names["Discriminator"](replace(names["PRESETS"]["cpu"], width=2))
    weights = [name for name, _ in D.named_parameters() if name.endswith("weight")]
    assert weights[0].startswith("layers.0.") and weights[-2:] == ["basis.weight", "score.weight"]


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, rendered):
    check_resume(names("train"), small, tmp_path, rendered, augment="color,translation,cutout")


@pytest.mark.long
def test_trains_in_two_processes(tmp_path, rendered):
    check_two_processes(names("train"), small(tmp_path, rendered, steps=2, processes=2, augment="translation"))


def test_half_precision_is_not_for_the_discriminator(tmp_path, rendered, monkeypatch):
    notebook = before_launch(MASTER)
    monkeypatch.setitem(notebook, "half_dtype", lambda device: torch.bfloat16)
    run = notebook["train"](small(tmp_path, rendered, half=True, steps=2, loss="non-saturating"))
    with open(tmp_path / "run/log.csv", newline="") as file:
        assert all(
            float(row[loss]) > 0 for row in csv.DictReader(file) for loss in ("loss_D", "loss_G") if row["step"] == "2"
        )
    assert isinstance(run.parts["G"], notebook["HalfPrecision"])
    assert not isinstance(run.parts["D"], notebook["HalfPrecision"])
    with open(tmp_path / "run/grad_norms.csv", newline="") as file:
        norms = [float(row["norm"]) for row in csv.DictReader(file)]
    assert len(norms) == 1 + 4 * 3 + 3 + 2  # the first layer, 4 blocks, 3 of Halve, the last two
    assert max(norms) > 0


@pytest.mark.parametrize(("setting", "value"), [("loss", "hinge"), ("augment", "color,blur")])
def test_a_name_that_does_not_exist_is_refused(tmp_path, rendered, setting, value):
    with pytest.raises(SystemExit, match=value.rpartition(",")[2]):
        names("train")(small(tmp_path, rendered, **{setting: value}))


def test_a_loss_that_is_written_again_is_the_one_that_trains(monkeypatch):
    monkeypatch.setitem(before_launch(MASTER), "relativistic_loss_D", "written again")
    assert names("losses_of")("relativistic")[0] == "written again"


@pytest.mark.parametrize(
    ("preset", "sizes"), [("course", (5, 5)), ("large", (5, 5)), ("cpu", (5, 4)), ("demo", (5, 4)), ("t4_1h", (5, 4))]
)
def test_networks_fit_every_preset(tmp_path, preset, sizes):
    settings = small(tmp_path, preset=preset, width=4)
    G, D = names("Generator")(settings), names("Discriminator")(settings)
    assert D(G(torch.randn(2, settings.z_dim))).shape == (2,)
    for network, count in zip((G, D), sizes, strict=True):
        blocks = [module for module in network.modules() if isinstance(module, names("ResidualBlock"))]
        assert len(blocks) == settings.blocks * count
        for block in blocks:
            x = torch.randn(1, block.expand.in_channels, 4, 4)
            assert torch.equal(block(x), x)  # at first it does nothing


def test_make_demo_names_a_preset_that_is_there():
    makefile = (ROOT / "Makefile").read_text()
    name, preset = re.search(r"-m baselines\.run (\w+) --preset (\w+)", makefile).groups()
    assert (name, preset in names("PRESETS")) == (MASTER.stem, True)


@pytest.mark.parametrize(
    ("width", "group_width", "groups"), [(16, 16, 2), (12, 16, 3), (16, 0, 1), (5, 16, 5), (2, 64, 1)]
)
def test_groups_have_one_width(tmp_path, width, group_width, groups):
    """The width of a group, or the largest that divides the channels."""
    blocks = names("blocks_of")(small(tmp_path, preset="course", width=width, group_width=group_width), 64)
    mix = [blocks[size][0].mix for size in (64, 32)]
    assert [one.out_channels for one in mix] == [2 * width, 4 * width]
    assert mix[0].groups == groups


def test_resampling_keeps_what_is_smooth_and_drops_what_aliases():
    halve, double = names("Halve")(3, 3), names("Double")(3, 3)
    for one in (halve, double):
        one.layer = nn.Identity()
    flat = torch.full((1, 3, 8, 8), 0.7)
    assert torch.allclose(halve(flat)[:, :, 1:-1, 1:-1], flat[:, :, :2, :2], atol=1e-6)
    assert torch.allclose(double(flat), torch.full((1, 3, 16, 16), 0.7), atol=1e-6)
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 3, 8, 8)
    assert halve(stripes)[:, :, 1:-1, 1:-1].abs().max() < 1e-6
    dot = torch.zeros(1, 3, 8, 8)
    dot[:, :, 3, 3] = 1
    assert halve(dot).sum().item() == pytest.approx(halve(dot.roll(1, 3)).sum().item())  # wherever it lies


@pytest.mark.parametrize("slope", [0.0, 0.25, 3.0])
def test_a_linear_critic_is_penalised_for_its_slope(slope):
    D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1))
    with torch.no_grad():
        D[1].weight.mul_(slope / D[1].weight.norm())
    x = torch.randn(5, 3, 16, 16, requires_grad=True)
    assert names("zero_centred_penalty")(D(x).squeeze(1), x).item() == pytest.approx(slope**2, abs=1e-5)


@pytest.mark.parametrize(("r1", "r2", "calls"), [(0.0, 0.0, 0), (1.0, 0.0, 1), (0.0, 1.0, 1), (1.0, 1.0, 2)])
def test_a_penalty_of_weight_0_costs_nothing(tmp_path, monkeypatch, r1, r2, calls):
    notebook, seen = before_launch(MASTER), []
    right = notebook["zero_centred_penalty"]
    monkeypatch.setitem(notebook, "zero_centred_penalty", lambda *given: seen.append(1) or right(*given))
    settings = small(tmp_path)
    G, D = notebook["Generator"](settings), notebook["Discriminator"](settings)
    real, z = torch.rand(4, 3, 64, 64), torch.randn(4, settings.z_dim)
    optimizer = torch.optim.SGD(D.parameters(), 0.0)
    notebook["discriminator_step"](D, G, optimizer, real, z, notebook["relativistic_loss_D"], r1, r2)
    assert len(seen) == calls


def test_penalties_come_every_few_steps_and_as_many_times_as_strong(tmp_path, rendered, monkeypatch):
    notebook, seen = before_launch(MASTER), []
    right = notebook["discriminator_step"]
    monkeypatch.setitem(notebook, "discriminator_step", lambda *given: seen.append(given[-2:]) or right(*given))
    notebook["train"](small(tmp_path, rendered, steps=6, penalty_every=3, r1=0.5, r2=0.25))
    assert seen == [(0, 0), (0, 0), (1.5, 0.75)] * 2


def test_the_learning_rates_go_down_to_0_at_the_end_and_a_longer_run_raises_them_again(tmp_path, rendered, monkeypatch):
    notebook, rates = before_launch(MASTER), []
    right = notebook["discriminator_step"]

    def watched(D, G, optimizer, *given):
        rates.append(optimizer.param_groups[0]["lr"])
        return right(D, G, optimizer, *given)

    monkeypatch.setitem(notebook, "discriminator_step", watched)
    settings = small(tmp_path, rendered, steps=6, cool_down=2 / 3, lr_D=1.0e-3)
    notebook["train"](settings)
    notebook["train"](replace(settings, steps=8, cool_down=0.0))
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 7.5e-4, 5e-4, 2.5e-4, 1e-3, 1e-3])


def test_nothing_named_changes_nothing():
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    assert augmentation("")(pictures) is pictures


@pytest.mark.parametrize("way", WAYS)
def test_each_picture_is_augmented_by_itself_and_gradients_flow_twice(way):
    torch.manual_seed(0)
    one = torch.rand(1, 3, 64, 64) * 2 - 1
    pictures = one.repeat(16, 1, 1, 1).requires_grad_()
    augmented = augmentation(way)(pictures)
    assert augmented.shape == pictures.shape
    assert len({tuple(picture.flatten().tolist()) for picture in augmented.detach()}) > 12  # of the same picture
    (gradient,) = torch.autograd.grad(augmented.square().sum(), pictures, create_graph=True)
    gradient.square().sum().backward()
    assert all(picture.any() for picture in pictures.grad)


def test_translation_moves_whole_pictures_by_an_eighth_at_most():
    torch.manual_seed(0)
    dot = torch.zeros(200, 3, 64, 64)
    dot[:, :, 32, 32] = 1
    moved = WAYS["translation"](dot)
    places = moved[:, 0].flatten(1).argmax(1)
    assert torch.equal(moved.sum((1, 2, 3)), dot.sum((1, 2, 3)))
    for shifts in (places // 64 - 32, places % 64 - 32):
        assert (shifts.min(), shifts.max()) == (-8, 8)
    white = WAYS["translation"](torch.ones(50, 1, 64, 64))
    assert set(white.unique().tolist()) == {0.0, 1.0} and white.mean() > 0.8  # grey comes in


def test_cutout_takes_a_quarter_of_a_picture_at_most():
    torch.manual_seed(0)
    gone = 1 - WAYS["cutout"](torch.ones(200, 3, 64, 64)).mean((1, 2, 3))
    assert gone.max().item() == pytest.approx(0.25, abs=0.01) and 0.05 < gone.min() < 0.08  # in a corner


def test_color_changes_light_and_keeps_shapes():
    torch.manual_seed(0)
    grey = torch.linspace(-1, 1, 64).expand(8, 3, 64, 64)
    changed = WAYS["color"](grey)
    assert (changed - changed.mean(1, keepdim=True)).abs().max() < 1e-5  # grey has no colour to strengthen
    contrast = changed.flatten(1).std(1) / grey.flatten(1).std(1)
    assert contrast.min() > 0.49 and contrast.max() < 1.51
