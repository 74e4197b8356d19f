"""The loop that trains the networks of studies.distil and studies.self_supervised, and goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from grader.errors import GraderError
from grader.files import atomic


def learn(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Callable[[range], IterableDataset],
    loss_of: Callable[..., torch.Tensor],
    steps: int,
    path: Path,
    data: str,
) -> None:
    """Descends the loss [] of each batch up to step `steps`. `batches` gives those of a range of steps.

    The rate of each of the optimizer's groups rises to what it is, stays, and falls to 0 over the last third. The state
    is kept in a file, from which the same call goes on, also to more steps; `data` says what it learns from. Raises
    GraderError as `resume` does.
    """
    rates, running = [group["lr"] for group in optimizer.param_groups], []
    first, started = resume(path, network, optimizer, data, steps), time.time()
    network.train()
    for step, batch in enumerate(DataLoader(batches(range(first, steps)), None, num_workers=1), first + 1):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share_of_rate(step, steps)
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running.append(loss.item())
        if step % 50 == 0 or step == steps:
            pace = (step - first) / (time.time() - started)
            print(f"step {step}/{steps}: loss {np.mean(running[-50:]):.3f}, {pace:.2f} steps/s", flush=True)
        if step % 250 == 0 or step == steps:
            keep(path, network, optimizer, data, step)
    network.eval()


def share_of_rate(step: int, steps: int) -> float:
    """What part of the highest rate a step has, the first of them being 1: it rises, stays, and falls to 0."""
    return min(1, step / 100, 3 * (1 - (step - 1) / steps))


def resume(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, data: str, steps: int) -> int:
    """The number of steps already done; network and optimizer are then as `keep` wrote them. Raises GraderError where
    that was with other data, or after more steps than are asked for."""
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


def keep(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, data: str, step: int) -> None:
    """Writes the state of a training, whole or not at all."""
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "data": data, "step": step}
    with atomic(path) as unfinished:
        torch.save(state, unfinished)
