"""The device: half precision, the layout of pictures, and cards that cannot be used."""

import random
import re
from contextlib import nullcontext
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from baselines.build import ROOT
from kit.device import (
    HalfPrecision,
    channels_last_pays,
    get_device,
    gradient_scales,
    half_dtype,
    place,
    rank,
    seed_everything,
    share_gradients,
    world_size,
)
from kit.networks import Discriminator, Generator
from kit.run import frozen
from kit.settings import Settings
from tests.helpers.notebook import lesson

GPU = SimpleNamespace(type="cuda")


def one_step(half=None, freezing=frozen, width=8):
    """The losses of 01's step of D and of G, and the gradients that they leave."""
    names = lesson(ROOT / "baselines/01_gan.py")
    torch.manual_seed(0)
    networks = Generator(100, width), Discriminator(width)
    G, D = (HalfPrecision(network, half) for network in networks) if half else networks
    optimizer_G, optimizer_D = (torch.optim.SGD(network.parameters(), lr=0.0) for network in networks)
    z, real = torch.randn(2, 15, 100), torch.rand(15, 3, 64, 64) * 2 - 1
    for _ in range(9):  # until the scale, halved at every overflow, fits
        with freezing(G):
            loss_D = names["discriminator_step"](D, G, optimizer_D, real, z[0])
        gradients = [weight.grad.clone() for weight in D.parameters()]
        with freezing(D):
            loss_G = names["generator_step"](D, G, optimizer_G, z[1])
        if not half or not (G.overflowed or D.overflowed):
            break
    return [loss_D, loss_G], gradients + [weight.grad for weight in G.parameters()]


def test_not_asking_for_unused_gradients_changes_nothing():
    (losses, gradients), (plain_losses, plain) = one_step(), one_step(freezing=lambda network: nullcontext())
    assert losses == plain_losses
    assert all(map(torch.equal, gradients, plain))


@pytest.mark.parametrize(("half", "tolerance"), [(torch.float16, 0.1), (torch.bfloat16, 0.3)])
def test_half_precision_gives_the_losses_and_gradients_of_float32(half, tolerance):
    (losses, gradients), (plain_losses, plain) = one_step(half), one_step()
    for loss, right in zip(losses, plain_losses, strict=True):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(right.item(), rel=tolerance / 10)
    assert not all(map(torch.equal, gradients, plain))  # it was in half precision
    error = sum((one - right).square().sum() for one, right in zip(gradients, plain, strict=True)).sqrt()
    assert error < tolerance * sum(right.square().sum() for right in plain).sqrt()


def test_an_overflow_counts_as_0_and_halves_the_scale_until_it_fits():
    torch.manual_seed(0)
    network = HalfPrecision(nn.Linear(4, 1), torch.float16, scale=2.0**15)
    x = torch.randn(8, 4)
    network(x).mean().backward()
    expected = x.mean(0, keepdim=True)
    assert torch.allclose(network.module.weight.grad, expected, atol=2e-3)
    network.zero_grad()
    network(1e3 * x).sum().backward()  # 2^15 times this is too large for float16
    assert not network.module.weight.grad.any()
    assert network.scale == 2.0**15 and network.overflowed  # the next gradient is the first to have another scale
    for halvings in range(1, 30):
        network.zero_grad()
        network(1e3 * x).sum().backward()
        assert network.scale == 2.0 ** (15 - halvings)
        if not network.overflowed:
            break
        assert not network.module.weight.grad.any()
    assert halvings > 1
    assert torch.allclose(network.module.weight.grad, 1e3 * x.sum(0, keepdim=True), rtol=2e-2, atol=5)
    network.eval()(x), network.train()
    with torch.no_grad():
        network(x)
    assert network.scale == 2.0 ** (15 - halvings)  # looking on changes nothing


def test_an_overflow_in_a_frozen_network_is_its_own():
    """In G's step D's weights get no gradient: that D overflowed shows only where G's pictures entered it."""
    torch.manual_seed(0)
    G = HalfPrecision(nn.Linear(4, 4), torch.float16)
    D = HalfPrecision(nn.Linear(4, 1), torch.float16, scale=2.0**30)
    D.requires_grad_(False)
    z, found = torch.randn(8, 4), []
    for _ in range(40):
        G.zero_grad()
        D(G(z)).mean().backward()
        found.append(G.module.weight.grad)
    assert not found[0].any() and D.scale < 2.0**20
    assert G.scale == 2.0**14  # nothing of it overflowed
    right = (D.module.weight.T @ z.mean(0, keepdim=True)).float()
    assert torch.allclose(found[-1], right, rtol=1e-2, atol=1e-3)


def test_bfloat16_needs_no_scale():
    assert HalfPrecision(nn.Linear(4, 1), torch.bfloat16).scale == 1
    assert HalfPrecision(nn.Linear(4, 1), torch.float16).scale == 2.0**14


def test_samples_are_float32():
    network = HalfPrecision(nn.Linear(4, 1), torch.float16)
    x = torch.randn(8, 4)
    assert torch.equal(network.eval()(x), network.module(x))
    assert not torch.equal(network.train()(x), network.module(x))


def capability(major, minor=0):
    return mock.patch("torch.cuda.get_device_capability", return_value=(major, minor))


@pytest.mark.parametrize(
    ("card", "dtype"), [((6, 0), None), ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16)]
)
def test_the_half_precision_is_the_cards_own(card, dtype):
    with capability(*card):
        assert half_dtype(GPU) == dtype
    assert half_dtype(torch.device("cpu")) is None


@pytest.mark.parametrize(("device", "card"), [("cpu", None), ("cuda", (8, 0)), ("cuda", (9, 0))])
def test_channels_last_is_for_grouped_convolutions(device, card):
    with capability(*card or (0, 0)):
        assert channels_last_pays(nn.Conv2d(8, 8, 3, groups=2), torch.device(device))
        assert not channels_last_pays(Discriminator(2), torch.device(device))


def test_channels_last_is_not_for_an_old_card():
    with capability(7, 5):
        assert not channels_last_pays(nn.Conv2d(8, 8, 3, groups=2), GPU)


def test_a_cpu_trains_in_float32(capsys):
    network = nn.Linear(4, 1)
    assert place(network, Settings(half=True), torch.device("cpu")) is network
    assert "Linear: 5 parameters, in float32 all the same\n" in capsys.readouterr().out
    place(network, Settings(), torch.device("cpu"))
    assert capsys.readouterr().out == "Linear: 5 parameters\n"


def test_half_precision_is_for_networks_that_may_have_it(monkeypatch):
    cpu, network = torch.device("cpu"), nn.Linear(4, 1)
    monkeypatch.setattr("kit.device.half_dtype", lambda device: torch.bfloat16)
    assert place(network, Settings(half=True), cpu).module is network
    assert place(network, Settings(half=True), cpu, half=False) is network  # such as one under a gradient penalty
    assert place(network, Settings(), cpu) is network


def test_weights_that_share_a_gradient_are_averaged_once_each(monkeypatch):
    """Of a sum autograd gives both terms one and the same tensor."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.ones(3)) for _ in "ab")

        def forward(self, x):
            return (self.a + self.b) * x

    monkeypatch.setattr("kit.device.world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda value: value.mul_(2))  # the other process is alike
    network, x = share_gradients(Sum()), torch.tensor([1.0, 2.0, 3.0])
    network(x).sum().backward()
    assert torch.equal(network.a.grad, x) and torch.equal(network.b.grad, x)


def test_processes_agree_on_gradients_that_are_free_of_their_scales(monkeypatch):
    """An overflow in one process alone halves the scale in all of them: SyncBatchNorm adds up what has it inside."""
    seen, elsewhere = [], [0.0]

    def all_reduce(value, operation=None):
        if operation == torch.distributed.ReduceOp.MAX:
            value.clamp_(min=elsewhere[0])
        else:
            seen.append(value.clone())

    monkeypatch.setattr("kit.device.half_dtype", lambda device: torch.float16)
    monkeypatch.setattr("kit.device.world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    torch.manual_seed(0)
    network, x = place(nn.Linear(4, 1), Settings(half=True), torch.device("cpu")), torch.randn(8, 4)
    network.scale.fill_(2.0**10)
    network(x).mean().backward()
    assert torch.allclose(2 * seen[0], x.mean(0, keepdim=True), atol=2e-3)
    assert torch.equal(network.module.weight.grad, seen[0])
    elsewhere[0] = 1.0  # the other process had an overflow
    network(x)
    assert network.scale == 2.0**9
    elsewhere[0] = 0.0
    network(x)
    assert network.scale == 2.0**9


def test_a_checkpoint_has_the_scale_of_the_next_step():
    half = HalfPrecision(nn.Linear(4, 1), torch.float16)
    half.overflowed.fill_(True)
    assert gradient_scales({"G": half, "other": nn.Linear(4, 1)}) == {"G": half.scale / 2}


OLD = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be …"


@pytest.mark.parametrize(
    ("error", "name", "line"),
    [
        (
            RuntimeError(OLD),
            "Tesla P100",
            r"Tesla P100 cannot run torch \S+ \(CUDA .*device\)\.\n.*GPU T4 x2.* CUDA_VISIBLE_DEVICES to -1 .*",
        ),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "Tesla T4", "Tesla T4 does not .* Restart the kernel.*"),
        (torch.cuda.DeferredCudaCallError("CUDA call failed\nat"), None, "The GPU does not .* Restart the kernel.*"),
    ],
)
def test_a_card_that_cannot_be_used_is_told_with_what_to_do(monkeypatch, error, name, line):
    broken = mock.Mock(side_effect=error)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name or broken())  # both ask CUDA
    monkeypatch.setattr("torch.cuda.set_device", broken)
    monkeypatch.setattr("torch.zeros", broken)
    with pytest.raises(SystemExit) as told:
        get_device()
    assert re.fullmatch(line, str(told.value))


def test_a_torch_without_torch_distributed_trains_alone(monkeypatch):
    monkeypatch.setattr("kit.device.distributed", SimpleNamespace(is_available=lambda: False))  # all that there is
    assert (rank(), world_size()) == (0, 1)


@pytest.mark.parametrize("seed", [5, -1, 2**32 + 1])
def test_a_seed_repeats_everything(seed):
    draws = []
    for _ in range(2):
        seed_everything(seed)
        draws.append((torch.rand(1).item(), random.random(), np.random.rand()))  # noqa: NPY002
    assert draws[0] == draws[1]
