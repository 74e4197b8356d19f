"""02: what it records are clipped gradients, and both of its steps clip."""

import csv
from dataclasses import replace

import pytest
import torch

from baselines.build import ROOT
from kit.checks import WatchedSGD, norm_over_weights, tiny_batch, tiny_pair
from tests.helpers.notebook import SMOKE, before_launch, check_two_processes

MASTER = ROOT / "baselines/02_gradient_clipping.py"


def test_recorded_gradients_are_no_longer_than_max_norm(tmp_path, rendered):
    notebook = before_launch(MASTER)
    places = {"faces": str(rendered), "run": str(tmp_path / "run"), "norms_every": 1}
    notebook["train"](replace(notebook["settings"], **SMOKE, **places, max_norm=0.0123))
    with open(tmp_path / "run/grad_norms.csv", newline="") as file:
        rows = [(row["step"], float(row["norm"])) for row in csv.DictReader(file)]
    for step in "1234":
        norms = [norm for of, norm in rows if of == step]
        assert len(norms) == 5
        assert 0.005 < sum(norm**2 for norm in norms) ** 0.5 <= 0.0123  # without the biases' part


@pytest.mark.parametrize("letter", ["D", "G"])
def test_both_steps_clip_the_gradient_of_their_own_network(letter):
    notebook = before_launch(MASTER)
    D, G = tiny_pair()
    optimizer = WatchedSGD({"D": D, "G": G}[letter])
    real, z = tiny_batch()
    if letter == "D":
        notebook["discriminator_step"](D, G, optimizer, real, z, 0.0037)
    else:
        notebook["generator_step"](D, G, optimizer, z, 0.0037)
    assert norm_over_weights(optimizer.seen[0]) == pytest.approx(0.0037, rel=1e-3)
    assert torch.equal(G.layers[0].weight, tiny_pair()[1].layers[0].weight) == (letter == "D")


@pytest.mark.long
def test_trains_in_two_processes(tmp_path, rendered):
    notebook = before_launch(MASTER)
    places = {"faces": str(rendered), "run": str(tmp_path / "run"), "outputs": str(tmp_path / "outputs")}
    check_two_processes(notebook["train"], replace(notebook["settings"], **SMOKE | places, processes=2))
