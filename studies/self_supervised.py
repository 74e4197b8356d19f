"""A network that no teacher taught: python -m studies.self_supervised SHARED RUNS --folder FOLDER

The third candidate of the study of features (studies.evaluate_features). The trunk of grader.features.anime learns from
scratch, from the pictures that studies.distil learns from, by VICReg (Bardes et al., https://arxiv.org/abs/2105.04906):
two views of a picture shall have like features, each feature shall vary, and no two shall tell the same.

A view is the picture cropped a little, stored in any harmless way, and mirrored or not. Colours stay as they are: what
a network learns to overlook, a distance in its features cannot see. For the same reason the crop is mild: to enlarge
is to blur.

FOLDER keeps the training, and weights.safetensors in the end; the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from grader import console
from grader.features import anime
from studies import distil
from studies.faces import harmlessly
from studies.training import learn

BATCH = 128  # pictures, each in two views
CROP = 0.8  # of a side that a view has at least
WIDTH = 1024  # of the expander, which is thrown away
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # weights of the three terms, the paper's


def view(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [H, H, 3] as it might as well have been: uint8 [64, 64, 3]."""
    size = len(picture)
    side = size * rng.uniform(CROP, 1)
    x, y = rng.uniform(0, size - side, 2)
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, (x, y, x + side, y + side))
    return harmlessly(np.asarray(image), rng)[:, :: rng.choice([-1, 1])]


class Views(IterableDataset):
    """Batches of two views of each picture, uint8 [2, BATCH, 64, 64, 3]; that of a step is always the same."""

    def __init__(self, sets: list[distil.Set], steps: range):
        self.groups, self.steps = distil.grouped(sets), steps

    def __iter__(self) -> Iterator[torch.Tensor]:
        for step in self.steps:
            rng = np.random.default_rng(step)
            pictures = [some.pictures[number] for some, number in distil.drawn(self.groups, BATCH, rng)]
            yield torch.from_numpy(np.stack([[view(picture, rng) for picture in pictures] for _ in range(2)]))


def vicreg(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The loss [] of the embeddings of two views, [N, d] each; the variance is halved as in the authors' code."""
    loss = INVARIANCE * F.mse_loss(a, b)
    for z in (a, b):
        z = z - z.mean(dim=0)
        deviations = torch.sqrt(z.square().sum(dim=0) / (len(z) - 1) + 1e-4)  # [d]
        covariance = z.T @ z / (len(z) - 1)  # [d, d]
        off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + VARIANCE * F.relu(1 - deviations).mean() / 2 + COVARIANCE * off_diagonal / z.shape[1]
    return loss


def train(sets: list[distil.Set], folder: Path, steps: int, rate: float = 1e-3) -> anime.FaceNet:
    """The network after so many steps; its features are `pooled`, and its head has learned nothing. Goes on from
    FOLDER/training.pt, and raises, as `learn` does."""
    torch.manual_seed(0)
    network = anime.FaceNet().to(memory_format=torch.channels_last)
    network.head.requires_grad_(False)  # it is not used
    hidden = nn.Linear(anime.POOLED, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU()
    expander = nn.Sequential(*hidden, nn.Linear(WIDTH, WIDTH))
    both = nn.ModuleDict({"network": network, "expander": expander})

    def loss_of(views: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            pooled = network.pooled(views.flatten(0, 1).permute(0, 3, 1, 2).float() / 255)  # [2 BATCH, POOLED]
            embeddings = expander(pooled)  # [2 BATCH, WIDTH]
        return vicreg(*embeddings.float().chunk(2))

    groups = [{"params": [some for some in both.parameters() if some.requires_grad], "lr": rate}]
    learn(both, groups, partial(Views, sets), loss_of, steps, folder / "training.pt", distil.hash_of_sets(sets))
    return network


@click.command(cls=console.Command, help=__doc__)
@click.argument("shared", type=console.path(exists=True))
@click.argument("runs", type=console.path(exists=True))
@click.option("--folder", default="scratch/self_supervised", show_default=True, type=console.path())
@click.option("--steps", default=1500, type=click.IntRange(1), show_default=True, help=f"Of {2 * BATCH} views each.")
@click.option("--threads", default=1, type=click.IntRange(1), show_default=True)
def main(shared, runs, *, folder, steps, threads):
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    sets = [distil.Set(group, pictures, None) for group, pictures, _ in distil.sources(shared, runs).values()]
    distil.save(train(sets, folder, steps), folder / "weights.safetensors")


if __name__ == "__main__":
    console.run(main, "python -m studies.self_supervised")
