"""04: the critic stays in float32, each picture is penalised for itself, and a resumed run is the uninterrupted one."""

import csv
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import nn

from baselines.build import ROOT
from kit.gradient_penalty import gradient_penalty
from tests.helpers.notebook import SMOKE, before_launch, check_resume, check_two_processes

MASTER = ROOT / "baselines/04_wgan_gp.py"


def small(folder, faces, **others):
    few = {"n_critic": 2, "norms_every": 2, "checkpoint_every": 100}
    places = {"faces": str(faces), "run": str(folder / "run")}
    return replace(before_launch(MASTER)["settings"], **SMOKE | few | places | others)


def test_a_critic_has_four_layers_at_least(tmp_path, rendered):
    with pytest.raises(SystemExit, match="`layers` is 3: set it to 4 or more"):
        small(tmp_path, rendered, layers=3)


@pytest.mark.parametrize("slope", [0.25, 1.0, 3.0])
def test_a_linear_critic_is_penalised_for_its_slope(slope):
    D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1))
    with torch.no_grad():
        D[1].weight.mul_(slope / D[1].weight.norm())
    penalty = gradient_penalty(D, *torch.randn(2, 5, 3, 16, 16))
    assert penalty.item() == pytest.approx((slope - 1) ** 2, abs=1e-5)


@pytest.mark.filterwarnings("error")
def test_the_check_of_alpha_asks_no_gpu_that_it_does_not_use(monkeypatch):
    """As with a driver that is too old: CUDA counts GPUs, and refuses all else."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_rng_state", mock.Mock(side_effect=RuntimeError("the driver is too old")))
    before_launch(MASTER)["check_alpha"](gradient_penalty, calls=8)


def test_a_wrong_mixture_is_called_one_whatever_is_drawn():
    """Its penalty is a random number, which comes near to that of some other mistake now and then."""

    def penalty(D, real, fake):
        alpha = torch.rand(len(real), 1, 1, 1)
        mixed = (alpha * real + alpha * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(D(mixed).sum(), mixed, create_graph=True)
        return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()

    check = before_launch(MASTER)["check_gradient_penalty"]
    for seed in range(100):
        torch.manual_seed(seed)
        with pytest.raises(AssertionError, match="x̂ is not between real and fake"):
            check(penalty)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, rendered):
    check_resume(before_launch(MASTER)["train"], small, tmp_path, rendered)


@pytest.mark.long
def test_trains_in_two_processes(tmp_path, rendered):
    check_two_processes(before_launch(MASTER)["train"], small(tmp_path, rendered, processes=2))


def test_half_precision_is_not_for_the_critic(tmp_path, rendered, monkeypatch):
    notebook = before_launch(MASTER)
    monkeypatch.setitem(notebook, "half_dtype", lambda device: torch.bfloat16)
    run = notebook["train"](small(tmp_path, rendered, half=True, layers=6, steps=2))
    assert isinstance(run.parts["G"], notebook["HalfPrecision"])
    assert not isinstance(run.parts["D"], notebook["HalfPrecision"])
    with open(tmp_path / "run/grad_norms.csv", newline="") as file:
        norms = [float(row["norm"]) for row in csv.DictReader(file)]
    assert len(norms) == 7
    assert min(norms) > 0
