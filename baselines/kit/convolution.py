"""Convolutions for critics with a gradient penalty, which differentiates a gradient."""

from contextlib import suppress

import torch
from torch import nn
from torch.nn import functional as F


class Convolution(torch.autograd.Function):
    """F.conv2d, as quick to differentiate twice as once.

    torch's own second derivative takes a grouped convolution apart, and computes group after group: on a GPU that is up
    to hundreds of small kernels per layer. Here the gradient for the input is a transposed convolution where it may be
    differentiated again, and what autograd makes of that are convolutions. The gradient for the weight is computed only
    where it is asked for: a penalty asks for that of the pictures alone.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, groups):
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, groups
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        stride, padding, groups = ctx.how
        wants_x, *wants_others = ctx.needs_input_grad[:3]
        nodes = [node for node, _ in ctx.next_functions[1:]] + [None]  # of weight, and of bias where there is one
        wants_others = [wants and is_asked_for(node) for wants, node in zip(wants_others, nodes, strict=False)]
        again = wants_x and torch.is_grad_enabled()
        gradient_x, gradient_weight, gradient_bias = torch.ops.aten.convolution_backward(
            *(gradient, x, weight, weight.shape[:1], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups),
            (wants_x and not again, *wants_others),
        )
        if again:
            rest = [
                size - ((out - 1) * stride - 2 * padding + kernel)
                for size, out, kernel in zip(x.shape[2:], gradient.shape[2:], weight.shape[2:], strict=True)
            ]  # rows and columns at the end that the stride leaves out
            gradient_x = F.conv_transpose2d(gradient, weight, None, stride, padding, rest, groups)
        return gradient_x, gradient_weight, gradient_bias, None, None, None


def is_asked_for(node):
    """Whether this backward pass goes on to a node of the graph. needs_input_grad tells only whether one could."""
    with suppress(AttributeError, RuntimeError):  # a torch without it; a leaf that autograd.grad() was asked for
        return torch._C._will_engine_execute_node(node)
    return True


def convolve(x, weight, bias=None, stride=1, padding=0, groups=1):
    """F.conv2d of x [N, channels, H, W] by weight [out, channels / groups, k, k]."""
    if torch.is_autocast_enabled(x.device.type):  # half precision, in which nothing is differentiated twice
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)
    return Convolution.apply(x, weight, bias, stride, padding, groups)


class Conv2d(nn.Conv2d):
    """nn.Conv2d by `convolve` where stride and padding are plain numbers, else torch's own."""

    def _conv_forward(self, x, weight, bias):
        odd = isinstance(self.padding, str) or len({*self.padding}) > 1 or len({*self.stride}) > 1
        if odd or self.dilation != (1, 1) or self.padding_mode != "zeros" or x.dim() != 4:
            return super()._conv_forward(x, weight, bias)
        return convolve(x, weight, bias, self.stride[0], self.padding[0], self.groups)
