"""kit.convolution: convolutions whose gradients are differentiated again."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from kit import convolution
from kit.convolution import Conv2d, convolve
from tests.helpers.notebook import equal


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "groups", "size"),
    [
        ((6, 4), 3, 1, 1, 2, (5, 7)),  # grouped, as in a residual block
        ((6, 6), 4, 2, 1, 6, (9, 8)),  # each channel by itself, as a blur, with a row that the stride leaves out
        ((3, 8), 4, 2, 1, 1, (8, 8)),
        ((4, 2), 3, 3, 0, 1, (11, 10)),
        ((4, 4), 1, 1, 0, 1, (5, 5)),
    ],
)
def test_it_is_torchs_convolution_and_so_are_both_derivatives(channels, kernel, stride, padding, groups, size):
    torch.manual_seed(0)
    shapes = [(3, channels[0], *size), (channels[1], channels[0] // groups, kernel, kernel), (channels[1],)]
    given = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]

    def ours(x, weight, bias):
        return convolve(x, weight, bias, stride, padding, groups)

    assert torch.allclose(ours(*given), F.conv2d(*given, stride, padding, 1, groups))
    assert gradcheck(ours, given) and gradgradcheck(ours, given)


def slope(layer, x):
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    return gradient.square().sum()


def test_a_layer_with_it_learns_from_a_penalty_what_torchs_layer_learns():
    torch.manual_seed(0)
    ours, theirs = (kind(8, 8, 3, padding=1, groups=4).double() for kind in (Conv2d, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 6, 6, dtype=torch.double, requires_grad=True)
    for layer in (ours, theirs):
        slope(layer, x).backward()
    assert torch.allclose(ours.weight.grad, theirs.weight.grad) and equal(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(
    "how", [{"padding": "same"}, {"dilation": 2}, {"padding": (1, 0)}, {"padding_mode": "reflect"}]
)
def test_what_it_does_not_take_is_torchs_own(how):
    ours, theirs = (kind(4, 6, 3, **{"padding": 1} | how) for kind in (Conv2d, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 7, 7)
    assert torch.equal(ours(x), theirs(x)) and torch.equal(ours(x[0]), theirs(x[0]))


class Counting(TorchDispatchMode):
    """Counts convolutions, and their gradients."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += "conv" in operation._schema.name
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("groups", [1, 4, 32])
def test_a_penalty_takes_as_many_convolutions_however_many_groups_there_are(groups):
    layer, x = Conv2d(32, 32, 3, padding=1, groups=groups), torch.randn(2, 32, 4, 4, requires_grad=True)
    with Counting() as counting:
        slope(layer, x).backward()
    assert counting.count <= 8  # torch's own takes one for each group, and more


def test_in_half_precision_it_is_torchs_own():
    layer, x = Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_a_penalty_computes_no_gradient_for_weights_that_nobody_asks_for(monkeypatch):
    asked = []

    def is_asked_for(node, known=convolution.is_asked_for):
        asked.append(known(node))
        return asked[-1]

    monkeypatch.setattr(convolution, "is_asked_for", is_asked_for)
    layer, x = Conv2d(4, 4, 3, groups=2), torch.randn(2, 4, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    assert asked == [False, False]  # the weight, and the bias
    asked.clear()
    slope.square().sum().backward()
    assert True in asked and layer.weight.grad.abs().sum() > 0
    asked.clear()
    torch.autograd.grad(layer(x).sum(), [layer.weight, layer.bias])
    assert asked == [True, True]
