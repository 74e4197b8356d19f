"""The gradient penalty: D's slope between reals and fakes should be 1."""

import torch


def gradient_penalty(D, real, fake):
    """The mean over the batch of (‖∇D(x̂)‖₂ − 1)², a scalar, without λ. real and fake are [N, 3, 64, 64]."""
    ### BEGIN SOLUTION
    alpha = torch.rand(len(real), 1, 1, 1, device=real.device)  # one for each picture
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(D(mixed).sum(), mixed, create_graph=True)  # [N, 3, 64, 64]
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
    ### END SOLUTION
