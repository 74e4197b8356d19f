"""03: the critic stays clipped, its gradients are read in time, and RMSprop's state is part of a checkpoint."""

import csv
from dataclasses import replace

import pytest
import torch

from baselines.build import ROOT
from tests.helpers.notebook import SMOKE, before_launch, check_resume, check_two_processes

MASTER = ROOT / "baselines/03_wgan.py"


def small(folder, faces, **others):
    places = {"faces": str(faces), "run": str(folder / "run")}
    return replace(
        before_launch(MASTER)["settings"],
        **SMOKE | {"n_critic": 2, "norms_every": 2, "checkpoint_every": 100} | places | others,
    )


def test_a_critic_has_four_layers_at_least(tmp_path, rendered):
    with pytest.raises(SystemExit, match="`layers` is 3: set it to 4 or more"):
        small(tmp_path, rendered, layers=3)


def test_a_deep_critic_without_norms_trains_clipped(tmp_path, rendered):
    run = before_launch(MASTER)["train"](small(tmp_path, rendered, layers=6, batch_norm=False, clip=0.0123))
    D = run.parts["D"]
    assert not any("Norm" in type(module).__name__ for module in D.modules())
    sizes = torch.cat([weight.detach().abs().flatten() for weight in D.parameters()])
    assert sizes.max() == torch.tensor(0.0123)
    assert (sizes < 0.0123).any()
    with open(tmp_path / "run/grad_norms.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    names = [name for name, weight in D.named_parameters() if weight.dim() == 4]
    assert [(row["step"], row["layer"]) for row in rows] == [(step, str(i)) for step in "24" for i in range(1, 8)]
    assert [row["name"] for row in rows] == 2 * names


def test_norms_are_read_after_the_step_of_D_and_before_that_of_G(tmp_path, rendered, monkeypatch):
    notebook, order = before_launch(MASTER), []
    for letter, name in {"D": "discriminator_step", "N": "layer_norms", "G": "generator_step"}.items():

        def noted(*arguments, letter=letter, real=notebook[name]):
            order.append(letter)
            return real(*arguments)

        monkeypatch.setitem(notebook, name, noted)
    notebook["train"](small(tmp_path, rendered, steps=6, n_critic=2, norms_every=3))
    assert "".join(order) == "D" + "DG" + "DN" + "DG" + "D" + "DNG"


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, rendered):
    check_resume(before_launch(MASTER)["train"], small, tmp_path, rendered)


@pytest.mark.long
def test_trains_in_two_processes(tmp_path, rendered):
    check_two_processes(before_launch(MASTER)["train"], small(tmp_path, rendered, processes=2))


def test_a_norm_that_leaves_the_gpu_gets_its_hint():
    notebook = before_launch(MASTER)
    norms_of = notebook["layer_norms"]
    with pytest.raises(AssertionError, match="item\\(\\) and cpu\\(\\) wait for the GPU"):
        notebook["check_layer_norms"](lambda D: {name: norm.to("meta") for name, norm in norms_of(D).items()})
