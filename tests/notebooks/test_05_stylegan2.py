"""Notebook 05, StyleGAN2 by the real package: runs, resumes, ends well when a loss is NaN, and cuts grids."""

import csv
import os
import random
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.utils import make_grid, save_image

from baselines.build import ROOT
from grader import pack
from kit.grids import cut_grid, cut_grids, grids_in
from tests.helpers.notebook import SMOKE, before_launch, equal, execute, run, unmoved_by_cuda

MASTER = ROOT / "baselines/05_stylegan2.py"
SMALL = {"batch_size": 2, "z_dim": 16}


@pytest.fixture
def cells():
    """The names that the notebook's cells define before training."""
    with unmoved_by_cuda():
        yield SimpleNamespace(**before_launch(MASTER))


@pytest.fixture
def settings(cells, tmp_path, rendered):
    def settings(folder="run", **overrides):
        places = {"faces": str(rendered), "run": str(tmp_path / folder), "outputs": str(tmp_path / "outputs")}
        return cells.make_settings(cells.PRESETS, "course", SMOKE | SMALL | places | overrides)

    return settings


@pytest.mark.long
def test_it_runs_from_top_to_bottom(tmp_path, rendered):
    run(ROOT / "baselines/solved/05_stylegan2.ipynb", tmp_path, rendered, **SMALL, steps=1)
    assert len(list((tmp_path / "outputs").iterdir())) == 1000
    with Image.open(tmp_path / "outputs/1.jpg") as picture:
        assert picture.size == (64, 64)
    assert (tmp_path / "run/losses.png").exists() and not (tmp_path / "singles").exists()
    assert not (tmp_path / "models").exists() and not (tmp_path / "results").exists()


def test_what_it_does_to_torch_is_undone():
    before = torch.Tensor.cuda, nn.Module.cuda
    execute(MASTER, {}, until="mock.patch(")
    assert (torch.Tensor.cuda, nn.Module.cuda) == before


def test_others_may_look_for_the_package_that_is_left_out(cells):
    find_spec("aim")  # as accelerate does, which kornia may import; a module without a spec is a ValueError


def test_longer_presets_end_by_the_clock(cells):
    for preset in cells.PRESETS.values():
        assert not preset.hours or preset.steps > 10**8


def test_it_resumes_as_if_never_interrupted(cells, settings, capsys):
    cells.train(settings("halves", steps=3))
    capsys.readouterr()
    halves = cells.train(settings("halves", steps=5))  # the gradient penalty comes at step 4
    assert "going on from step 3" in capsys.readouterr().out
    whole = cells.train(settings("whole", steps=5))
    states = [torch.load(run.last, weights_only=True) for run in (halves, whole)]
    assert set(states[0]["trainer"]) == {"G_opt", "D_opt", "pl_mean"}
    assert {name.partition(".")[0] for name in states[0]["G"]} == {"S", "G"}
    for name in ("step", "G", "D", "G_ema", "trainer", "rng", "python_rng"):
        assert equal(states[0][name], states[1][name]), f"{name} differs after a resume"
    tables = []
    for one in (halves, whole):
        with open(one.folder / "log.csv", newline="") as file:
            tables.append([row[:3] for row in csv.reader(file)])
    assert tables[0] == tables[1] and len(tables[0]) == 6
    weights = [torch.cat([weight.flatten() for weight in network.parameters()]) for network in (whole.G, whole.G_ema)]
    assert not torch.equal(*weights)  # the average follows slowly


def test_the_mean_path_length_goes_on_too(cells, settings):
    trainer, other = cells.make_trainer(settings()), cells.make_trainer(settings())
    trainer.init_GAN(), other.init_GAN()
    trainer.pl_mean = np.float64(0.37)  # as the package computes it
    other.load_state_dict(trainer.state_dict())
    assert other.pl_mean == 0.37 and type(trainer.state_dict()["pl_mean"]) is float


def test_a_loss_that_is_not_a_number_ends_in_one_line_that_names_the_checkpoint(cells, settings, capsys, monkeypatch):
    train = cells.FaceTrainer.train

    def poisoned(trainer):
        if trainer.steps == 4:
            next(trainer.GAN.D.parameters()).data.fill_(float("nan"))
        train(trainer)

    monkeypatch.setattr(cells.FaceTrainer, "train", poisoned)
    given = settings(steps=6, log_every=100)
    with pytest.raises(SystemExit) as stopped:
        cells.train(given)
    line = str(stopped.value)
    assert line.startswith("stopped at step 4: a loss is NaN; the last good checkpoint is ") and "\n" not in line
    assert "last.pt of step 2" in line
    assert stopped.value.__suppress_context__ or isinstance(stopped.value.__context__, cells.NanException)
    assert "NaN" not in capsys.readouterr().out  # the package would tell of checkpoints that do not exist
    assert torch.load(f"{given.run}/checkpoints/last.pt", weights_only=True)["step"] == 2


def test_a_batch_in_parts_feeds_every_picture_once(cells, settings, monkeypatch):
    def in_parts(settings):
        return cells.FaceTrainer(
            image_size=64, network_capacity=2, batch_size=1, gradient_accumulate_every=2, latent_dim=settings.z_dim
        )

    seen = []
    monkeypatch.setitem(cells.train.__globals__, "make_trainer", in_parts)
    train = cells.FaceTrainer.train

    def watched(trainer):
        parts = list(trainer.loader)
        seen.append([tuple(part.shape) for part in parts])
        assert all(part.min() >= 0 and part.max() <= 1 for part in parts)
        trainer.loader = iter(parts)
        train(trainer)
        assert not list(trainer.loader)

    monkeypatch.setattr(cells.FaceTrainer, "train", watched)
    cells.train(settings(steps=1))
    assert seen == [[(1, 3, 64, 64)] * 2]


def test_parts_that_make_no_whole_batch_are_refused(cells, settings, monkeypatch):
    def in_thirds(settings):
        return cells.FaceTrainer(image_size=64, batch_size=settings.batch_size // 3, gradient_accumulate_every=3)

    monkeypatch.setitem(cells.train.__globals__, "make_trainer", in_thirds)
    with pytest.raises(SystemExit, match="make_trainer takes 6 pictures per step, and `batch_size` is 8"):
        cells.train(settings(steps=1, batch_size=8))


def test_sampling_is_repeatable_and_leaves_random_numbers_alone(cells, settings):
    trainer = cells.make_trainer(settings())
    trainer.init_GAN()
    G, z = cells.StyleGenerator(trainer.GAN.S, trainer.GAN.G, psi=0.6, seed=1), torch.randn(3, 16)
    before = torch.get_rng_state(), random.getstate()
    with torch.no_grad():
        first, second = G(z), G(z)
    assert torch.equal(first, second) and first.shape == (3, 3, 64, 64)
    assert first.min() >= -1 and first.max() <= 1
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()


def test_generate_gives_the_packages_own_pictures(cells, settings):
    trainer = cells.make_trainer(settings())
    trainer.init_GAN()
    S, G, z, noise = trainer.GAN.S, trainer.GAN.G, torch.randn(2, 16), torch.rand(2, 64, 64, 1)
    for block in G.blocks:
        nn.init.normal_(block.to_noise1.weight, 0, 0.3)  # else noise has no effect yet
    with torch.no_grad():
        mean_style = S(torch.randn(500, 16)).mean(0, keepdim=True)
        trainer.av = mean_style.numpy()
        expected = trainer.generate_truncated(S, G, [(z, G.num_layers)], noise, trunc_psi=0.37)
        assert torch.allclose(cells.generate(S, G, z, mean_style, 0.37, noise), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("beta1", 0.7), ("beta2", 0.7), ("n_critic", 7), ("norms_every", 7), ("half", True)]
)
def test_settings_that_the_package_fixes_are_refused(cells, name, value):
    with pytest.raises(SystemExit, match=f"the package decides on {name}: leave it as it is"):
        cells.make_settings(cells.PRESETS, "course", {name: value})


def test_a_learning_rate_that_nothing_can_be_a_multiple_of_is_refused(cells):
    with pytest.raises(SystemExit, match=r"^`lr_G` is 0: it must be more than 0$"):
        cells.make_settings(cells.PRESETS, "course", {"lr_G": 0})


def test_it_trains_in_one_process_only(cells, settings):
    with pytest.raises(SystemExit, match="trains in one process"):
        cells.launch(cells.train, settings(processes=2), one_process=True)


@pytest.fixture
def grids(tmp_path):
    """Grids as torchvision writes them, with their number of pictures, and pictures that are no grids."""
    numbers = torch.Generator().manual_seed(0)
    grids = {}
    for count, columns, gap in (
        (64, 8, 2),
        (13, 8, 2),
        (16, 8, 0),
        (6, 4, 1),
        (5, 3, 3),
        (3, 2, 4),
        (1, 1, 2),
        (1, 1, 0),
    ):
        path = tmp_path / f"{count}_{columns}_{gap}.png"
        save_image(torch.rand(count, 3, 64, 64, generator=numbers) * 0.8 + 0.1, path, nrow=columns, padding=gap)
        grids[path.name] = np.asarray(Image.open(path)), count
    for gap in (0, 2):
        path = tmp_path / f"white_{gap}.png"
        save_image(torch.rand(13, 3, 64, 64, generator=numbers), path, nrow=8, padding=gap, pad_value=1)
        grids[path.name] = np.asarray(Image.open(path)), 13
    save_image(torch.rand(13, 3, 64, 64, generator=numbers), tmp_path / "grid.jpg", nrow=8)
    grids["grid.jpg"] = np.asarray(Image.open(tmp_path / "grid.jpg")), 13
    for height, width in ((100, 100), (64, 65), (2, 2), (1, 66), (132, 131)):
        grids[f"{height}x{width}"] = np.full((height, width, 3), 100, np.uint8), 0
    grids["black"] = np.zeros((134, 134, 3), np.uint8), 0
    noise = torch.rand(1024, 3, 64, 64, generator=numbers) * 0.8 + 0.1
    dark = torch.cat([noise[:13], noise[:3] * 0.05])
    for name, pictures, row, padding in (
        ("touching, as wide as others with gaps", noise, 32, 0),
        ("with gaps, as wide as touching ones", noise[:950], 31, 2),
        ("as wide as touching ones, too", noise[:225], 15, 4),
        ("dark at the end", dark, 8, 2),
        ("white at the end", torch.cat([noise[:14], torch.ones(2, 3, 64, 64)]), 8, 2),
    ):
        grid = make_grid(pictures, nrow=row, padding=padding)
        grids[name] = (grid * 255).byte().permute(1, 2, 0).numpy(), len(pictures)
    return grids


def test_grids_are_cut_as_the_grader_cuts_them(grids):
    for name, (pixels, count) in grids.items():
        ours, graders = cut_grid(pixels), pack.cut_grid(pixels)
        assert len(ours) == len(graders) == count, name
        assert all(map(np.array_equal, ours, graders)), name


def test_a_broken_grid_ends_no_notebook(tmp_path, capsys):
    save_image(torch.rand(13, 3, 64, 64), tmp_path / "grid.png", nrow=8)
    (tmp_path / "broken.png").write_bytes((tmp_path / "grid.png").read_bytes()[:5000])
    cut_grids([tmp_path / "broken.png", tmp_path / "grid.png"], tmp_path / "singles")
    assert len(list((tmp_path / "singles").iterdir())) == 13
    assert "left out" in capsys.readouterr().out


def test_what_is_no_grid_is_named_and_pictures_of_others_stay(tmp_path, capsys):
    save_image(torch.rand(13, 3, 64, 64), tmp_path / "grid.png", nrow=8)
    save_image(torch.rand(1, 3, 100, 100), tmp_path / "face.png")
    cut_grids([tmp_path / "face.png", tmp_path / "grid.png"], tmp_path / "singles")
    assert f"left out {tmp_path / 'face.png'}: no grid of pictures of 64×64\n" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="singles/ exists: rename it"):
        cut_grids([tmp_path / "grid.png"], tmp_path / "singles")
    cut_grids([tmp_path / "face.png"], tmp_path / "singles")  # nothing to write


def test_the_grids_that_were_asked_for_come_before_those_of_training(tmp_path):
    """The package names the latter 0-ema.jpg, 1-ema.jpg, …: the first is noise."""
    folder = tmp_path / "default"
    folder.mkdir()
    for name in ("0", "2", "10", "9"):
        (folder / f"{name}-ema.jpg").touch()
        (folder / f"{name}.jpg").touch()
    assert [path.name for path in grids_in(tmp_path)] == ["10-ema.jpg"]
    for number in (0, 10, 9):
        (folder / f"generated-11-27-2026_03-28-57-{number}-ema.jpg").touch()
    assert [path.name[30:] for path in grids_in(tmp_path)] == ["0-ema.jpg", "9-ema.jpg", "10-ema.jpg"]
    newest = folder / "generated-01-02-2027_03-28-57-0-ema.jpg"  # of another time that it was asked
    newest.touch()
    os.utime(newest, (2**32, 2**32))
    assert grids_in(tmp_path) == [newest]
    assert grids_in(tmp_path / "nowhere") == []


def test_cut_pictures_are_those_that_the_grid_was_made_of(tmp_path):
    pictures = torch.rand(13, 3, 64, 64)
    save_image(pictures, tmp_path / "grid.png", nrow=8)
    tiles = cut_grid(np.asarray(Image.open(tmp_path / "grid.png")))
    for tile, picture in zip(tiles, pictures, strict=True):
        assert np.array_equal(tile, (picture * 255 + 0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy())
    cut_grids([tmp_path / "grid.png"] * 2, tmp_path / "singles", most=20)
    assert sorted(int(path.stem) for path in (tmp_path / "singles").iterdir()) == [*range(1, 21)]
    cut_grids([], tmp_path / "none")
    assert not (tmp_path / "none").exists()
