"""Calls backward() as the check cells do, tries a forked child, then trains in two processes: python launches.py RUN"""

import os
import sys
from pathlib import Path
from unittest import mock

import torch

from kit import launch
from kit.settings import Settings


def backward():
    weight = torch.ones(1, requires_grad=True)
    (3 * weight).sum().backward()
    return weight.grad.item()


def train(settings):
    name = os.environ.get("RANK", "notebook")
    Path(settings.run, name).write_text(f"{backward():g} of {torch.cuda.device_count()} GPUs")
    Path(settings.run, "checkpoints").mkdir(exist_ok=True)
    if name != "1":
        torch.save({"step": 1}, Path(settings.run, "checkpoints/last.pt"))


def on_the_cpu(*arguments):
    torch.cuda.is_available = lambda: False  # the stub can run no kernel
    launch.worker(*arguments)


if __name__ == "__main__":
    backward()
    child = os.fork()
    if not child:
        try:
            backward()
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    with mock.patch("kit.launch.worker", on_the_cpu):
        launch.launch(train, Settings(processes=2, run=sys.argv[1]))
