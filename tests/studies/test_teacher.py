"""Studies compute on the CPU, wherever the grader has put its networks."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from studies import optimised, teacher

PICTURES = np.zeros((3, 64, 64, 3), np.uint8)


class OnGPU(nn.Module):
    """A network that takes nothing of the CPU before it is there itself."""

    where = "GPU"

    def cpu(self):
        self.where = "CPU"
        return self

    def forward(self, x):
        assert self.where == "CPU"
        return x


def test_the_teacher_is_a_copy_on_the_cpu(monkeypatch):
    network = OnGPU()
    monkeypatch.setattr(teacher.imagenet, "load", lambda: SimpleNamespace(layers=network))
    assert teacher.features(teacher.load(), PICTURES, size=64).shape == (3, 3)
    assert network.where == "GPU"


def test_pictures_are_optimised_against_a_copy_on_the_cpu():
    network = OnGPU()
    x = torch.zeros(2, 3, 64, 64, requires_grad=True)
    assert optimised._network(SimpleNamespace(load=lambda: network))(x).requires_grad
    assert network.where == "GPU"
