"""The loop of the trainings: how it learns, how its rate changes, and what it does not go on from."""

import numpy as np
import pytest
import torch
from torch import nn

from grader.errors import GraderError
from studies import distil, training


def learn(path, steps, data="these", slow=0.01):
    """The weights of two layers that learn to give 1; the second one at another rate."""
    torch.manual_seed(0)
    network = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    groups = [{"params": network[0].parameters(), "lr": 0.1}, {"params": network[1].parameters(), "lr": slow}]

    def loss_of(x):
        assert network.training
        return (network[1](network[0](x)) - 1).square().mean()

    def batches(some):
        return [torch.full((2, 1), 1 + step / 9) for step in some]

    training.learn(network, groups, batches, loss_of, steps, path, data)
    assert not network.training
    return nn.utils.parameters_to_vector(network.parameters())


@pytest.fixture(autouse=True)
def no_worker(monkeypatch):
    monkeypatch.setattr(training, "DataLoader", lambda batches, *_, **__: batches)


def test_it_learns_and_goes_on_as_if_it_had_not_been_stopped(tmp_path, capsys):
    whole = learn(tmp_path / "whole.pt", 300)
    state = torch.load(tmp_path / "whole.pt")
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 6 and losses[-1] < 0.01 < losses[0]
    assert state["step"] == 300 and state["data"] == "these"
    learn(tmp_path / "stopped.pt", 1)
    stopped = learn(tmp_path / "stopped.pt", 300)
    assert torch.equal(stopped, whole)


def test_each_group_has_its_own_rate_which_rises_and_falls(tmp_path, monkeypatch):
    rates = []

    class Watched(torch.optim.AdamW):
        def step(self):
            rates.append([group["lr"] for group in self.param_groups])
            super().step()

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    learn(tmp_path / "training.pt", 600, slow=0.02)
    fast, slow = np.array(rates).T
    assert fast[[0, 99, 400]] == pytest.approx([0.001, 0.1, 0.1]) and fast[599] == pytest.approx(0.1 * 3 / 600)
    assert (np.diff(fast)[:98] > 0).all() and (np.diff(fast)[402:] < 0).all()
    assert slow == pytest.approx(fast / 5)


def test_a_training_on_other_pictures_or_further_on_is_refused(tmp_path):
    kept = tmp_path / "training.pt"
    before = learn(kept, 3)
    assert torch.equal(learn(kept, 3), before)  # it is done
    with pytest.raises(GraderError, match=r"training.pt: is not known to be of these pictures"):
        learn(kept, 9, data="others")
    with pytest.raises(GraderError, match=r"training.pt: is at step 3: choose more --steps"):
        learn(kept, 2)


def test_other_pictures_or_features_have_another_hash():
    pictures = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    sets = [distil.Set("faces", some, features) for some in (pictures, pictures[::-1]) for features in (None, pictures)]
    hashes = [distil.hash_of_sets([some]) for some in sets]
    assert len({*hashes}) == 4 and hashes[0] == distil.hash_of_sets([distil.Set("faces", pictures.copy(), None)])
