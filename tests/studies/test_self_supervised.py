"""The self-supervised network: its views, its loss, and that a training goes on where it was stopped."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from grader.features import anime
from studies import distil, self_supervised
from studies.faces import shrunk


@pytest.fixture
def sets(monkeypatch):
    """Coarse random pictures, which differ from each other and keep what they are when cropped."""
    monkeypatch.setattr(self_supervised, "BATCH", 8)
    rng = np.random.default_rng(0)
    sides = {"faces": 64, "originals": 96, "corrupted": 64, "generated": 64}
    return [
        distil.Set(group, rng.integers(0, 256, (40, 4, 4, 3), np.uint8).repeat(n // 4, 1).repeat(n // 4, 2), None)
        for group, n in sides.items()
    ]


@pytest.mark.parametrize("side", [64, 96])
def test_a_view_is_the_picture_a_little_nearer(side):
    y, x = np.indices((side, side)) * 255 / side
    picture = np.stack([x, y, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    views = np.stack([self_supervised.view(picture, rng) for _ in range(40)]).astype(int)
    assert views.shape == (40, 64, 64, 3)
    assert np.abs(views[..., 2] - 90).mean() < 3  # colours stay
    spans = np.abs(views[:, 32, -1, 0] - views[:, 32, 0, 0])  # of a cropped picture's left to right
    assert 0.75 * 255 < spans.min() < 0.87 * 255 < spans.max()
    mirrored = views[:, 32, 0, 0] > 128
    assert mirrored.any() and not mirrored.all()


def test_the_loss_is_least_when_views_agree_and_features_vary_by_themselves():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(64, 8, generator=rng)
    a = torch.linalg.qr(a - a.mean(dim=0))[0] * 63**0.5  # centred, of variance 1, uncorrelated
    assert self_supervised.vicreg(a, a).item() == pytest.approx(0, abs=0.01)
    assert self_supervised.vicreg(a, a + 1).item() == pytest.approx(25, abs=0.1)
    assert self_supervised.vicreg(a / 2, a / 2).item() == pytest.approx(25 / 2, abs=0.1)
    same = a[:, :1].expand(-1, 8)
    assert self_supervised.vicreg(same, same).item() == pytest.approx(2 * 7, abs=0.1)  # 8 * 7 covariances of 1 / 8


def test_a_batch_has_two_views_of_each_picture_and_is_the_same_after_a_stop(sets):
    *_, last = self_supervised.Views(sets, range(3))
    (again,) = self_supervised.Views(sets, range(2, 3))
    assert last.shape == (2, 8, 64, 64, 3) and last.dtype == torch.uint8 and torch.equal(last, again)
    one, other = (views.float().mean(dim=(1, 2)) for views in last)  # [8, 3]: a view keeps what colours there are
    nearest = torch.cdist(one, other).argmin(dim=1)
    assert not torch.equal(*last) and (nearest == torch.arange(8)).sum() >= 6


def test_it_learns_and_goes_on_where_it_was_stopped(sets, tmp_path, capsys):
    for name, parts in (("stopped", (6, 12)), ("whole", (12,))):
        (tmp_path / name).mkdir()
        for steps in parts:
            network = self_supervised.train(sets, tmp_path / name, steps, rate=0.02)
        distil.save(network, tmp_path / name / "weights.safetensors")
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert losses[1] < losses[0]  # of steps 7 to 12, and 1 to 6
    stopped, whole = (anime.load(tmp_path / name / "weights.safetensors") for name in ("stopped", "whole"))
    pictures = shrunk(sets[1].pictures[:20])
    np.testing.assert_array_equal(distil.pooled(stopped, pictures), distil.pooled(whole, pictures))


def test_the_command_trains_on_what_the_distillation_does_and_writes_weights(sets, tmp_path, monkeypatch):
    given = {some.group: (some.group, some.pictures, some.pictures) for some in sets}
    monkeypatch.setattr(distil, "sources", lambda *_: given)
    arguments = [str(tmp_path), str(tmp_path), "--folder", str(tmp_path / "kept"), "--steps", "1"]
    result = CliRunner().invoke(self_supervised.main, arguments, catch_exceptions=False)
    assert "step 1/1" in result.output
    assert anime.load(tmp_path / "kept/weights.safetensors").head.out_features == anime.DIM
