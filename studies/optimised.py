"""What betrays pictures optimised against the grader? python -m studies.optimised SUBMISSION --output FILE.tgz

The networks are public, so anyone can descend their gradients: here each picture is moved until its features, by one
network or by both, are those of a real face of the shipped reference. Writes the pictures, packed as the course takes
them. `python -m grader score` should ask for a review of them.
"""

from __future__ import annotations

import sys
from copy import deepcopy

import click
import numpy as np
import torch
from torch import nn

from grader import console
from grader.features import anime, imagenet
from grader.features.reference import shipped_reference
from grader.files import write_bytes
from grader.inputs.images import jpeg
from grader.inputs.submission import read_submission
from grader.pack import tgz

NETWORKS = {"imagenet": imagenet, "anime": anime}
BATCH = 20


def optimise(pictures: np.ndarray, names: list[str], steps: int, rate: float) -> np.ndarray:
    """Pictures uint8 [N, 64, 64, 3] with features nearer to those of real faces; `rate` is in grey levels a step."""
    networks = [(_network(NETWORKS[name]), shipped_reference(NETWORKS[name])) for name in names]
    scales = [torch.from_numpy(real.sample.std(axis=0)).float() + 1e-3 for _, real in networks]
    moved = np.empty_like(pictures)
    for start in range(0, len(pictures), BATCH):
        x = torch.from_numpy(pictures[start : start + BATCH]).permute(0, 3, 1, 2).float()  # [B, 3, 64, 64]
        rows = np.arange(start, start + len(x)) % len(networks[0][1].sample)
        targets = [torch.from_numpy(real.sample[rows]).float() for _, real in networks]
        x.requires_grad_()
        optimizer = torch.optim.Adam([x], lr=rate)
        for _ in range(steps):
            losses = [
                ((network(x) - target) / scale).square().mean()
                for (network, _), target, scale in zip(networks, targets, scales, strict=True)
            ]
            optimizer.zero_grad()
            sum(losses).backward()
            optimizer.step()
            with torch.no_grad():
                x.clamp_(0, 255)
        moved[start : start + BATCH] = x.detach().round().byte().permute(0, 2, 3, 1).numpy()
        print(f"\r{start + len(x)} of {len(pictures)}: {sum(losses).item():.3f}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return moved


def _network(features) -> nn.Module:
    """Pictures float [B, 3, 64, 64] in 0..255 -> features [B, d], with gradients, on the CPU."""
    network = deepcopy(features.load()).cpu().float().eval().requires_grad_(False)
    return network if features is imagenet else lambda x: network(x / 255)


@click.command(cls=console.Command, help=__doc__)
@click.argument("submission", type=console.path(exists=True))
@click.option("--output", required=True, type=console.path())
@click.option("--network", "names", type=click.Choice(list(NETWORKS)), multiple=True, default=("imagenet",))
@click.option("--steps", default=20, type=click.IntRange(1), show_default=True)
@click.option("--rate", default=2.0, show_default=True, help="Grey levels a step.")
@click.option("--quality", default=95, type=click.IntRange(1, 100), show_default=True, help="Of the JPEGs.")
@click.option("--threads", default=1, type=click.IntRange(1), show_default=True)
def main(submission, output, names, steps, rate, quality, threads):
    torch.set_num_threads(threads)
    moved = optimise(read_submission(submission).pictures, list(names), steps, rate)
    write_bytes(output, tgz({f"{number}.jpg": jpeg(picture, quality) for number, picture in enumerate(moved, 1)}))


if __name__ == "__main__":
    console.run(main, "python -m studies.optimised")
