"""The loop that trains the networks of studies.distil and studies.self_supervised, and goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from grader.errors import GraderError
from grader.files import atomic


def learn(
    network: nn.Module, groups: Iterable, batches: Callable, loss_of: Callable, steps: int, path: Path, data: str
) -> None:
    """Trains the parameters in `groups` by AdamW up to so many steps, and keeps its state in a file, from which the
    same call goes on, also to more steps.

    `batches` makes a data set of a range of steps, `loss_of` the loss [] of a batch. The rate of a group rises to its
    "lr", stays, and falls to 0 over the last third. Raises GraderError for a file of other `data`, or further on.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
    rates, running = [group["lr"] for group in optimizer.param_groups], []
    first, started = resume(path, network, optimizer, data, steps), time.time()
    network.train()
    for step, batch in enumerate(DataLoader(batches(range(first, steps)), None, num_workers=1), first + 1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1, step / 100, 3 * (1 - (step - 1) / steps))
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running.append(loss.item())
        if step % 50 == 0 or step == steps:
            pace = (step - first) / (time.time() - started)
            print(f"step {step}/{steps}: loss {np.mean(running[-50:]):.3f}, {pace:.2f} steps/s", flush=True)
        if step % 250 == 0 or step == steps:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "data": data, "step": step}
            with atomic(path) as unfinished:
                torch.save(state, unfinished)
    network.eval()


def resume(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, data: str, steps: int) -> int:
    """The number of steps already done; network and optimizer are then as `learn` kept them. Raises as it does."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu")
    if state.get("data") != data:
        raise GraderError(f"{path}: is not known to be of these pictures: name another --folder, or move it away")
    if state["step"] > steps:
        raise GraderError(f"{path}: is at step {state['step']}: choose more --steps, or name another --folder")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
