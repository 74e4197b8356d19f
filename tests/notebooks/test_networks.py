"""The networks of the course, and their loss."""

import pytest
import torch
from torch import nn

from kit.networks import Discriminator, Generator, bce


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def test_the_pair_is_the_one_of_the_sample_code():
    G, D = Generator(100, 64), Discriminator(64)
    assert count(G) == 5_142_080
    assert count(D) == 2_766_529
    small = Generator(5, 2)(torch.randn(3, 5))
    assert small.shape == (3, 3, 64, 64) and small.abs().max() <= 1
    p = Discriminator(2)(small)
    assert p.shape == (3,) and ((p > 0) & (p < 1)).all()


def test_a_discriminator_has_as_many_layers_as_asked_for():
    for layers in range(4, 16):
        deep = Discriminator(2, layers, nn.InstanceNorm2d, probability=False)
        assert sum(isinstance(module, nn.Conv2d) for module in deep.modules()) == layers + 1
        assert deep(torch.zeros(3, 3, 64, 64)).shape == (3,)
    assert Discriminator(2, channels=5)(torch.zeros(3, 5, 64, 64)).shape == (3,)


def test_weights_begin_as_in_the_dcgan_paper():
    torch.manual_seed(0)
    for network in (Generator(100, 16), Discriminator(16)):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.weight.numel() > 10_000:
                assert module.weight.mean().item() == pytest.approx(0, abs=1e-3)
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            elif isinstance(module, nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02) and not module.bias.any()


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_bce_is_torchs_in_value_and_gradient_with_0_and_1_included(target):
    found, right = (torch.tensor([0.0, 1e-30, 0.2, 0.5, 0.999, 1.0], requires_grad=True) for _ in range(2))
    targets = torch.full_like(found, target)
    (loss := bce(found, targets)).backward()
    (expected := nn.BCELoss()(right, targets)).backward()
    assert loss.dim() == 0 and torch.equal(loss, expected)
    assert torch.equal(found.grad, right.grad)


@pytest.mark.parametrize("one", [float("nan"), -0.1, 1.5])
def test_bce_of_what_is_no_probability_or_target_is_nan_and_stops_no_gpu(monkeypatch, one):
    asked, torchs = [], nn.functional.binary_cross_entropy
    monkeypatch.setattr(nn.functional, "binary_cross_entropy", lambda *both: asked.extend(both) or torchs(*both))
    p = torch.tensor([0.5, one], requires_grad=True)
    (loss := bce(p, torch.ones(2))).backward()
    assert loss.isnan() and p.grad.isfinite().all()
    assert bce(torch.full((2,), 0.5), torch.tensor([1.0, one])).isnan()
    assert len(asked) == 4 and all(given.min() >= 0 and given.max() <= 1 for given in asked)
