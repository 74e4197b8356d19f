"""Which task makes the better features? python -m studies.features --shared FOLDER

Trains the embedded network on one task at a time, for as many steps each, and asks of every candidate what
studies.evaluate asks of the shipped one. The same network with random weights is the control. Prints a table with a
row per candidate: how many series of corruptions grow without a step back; the lowest Spearman among them; what a
corruption of severity .3 costs in floors (the distance of unseen real faces; the geometric mean over the series); and
whether missing modes and the submissions are ranked as a person ranks them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from grader.features import anime as net
from studies.evaluate import SERIES, Faces, Judge, control, modes, people, rank, series
from studies.faces import shifted
from studies.hard_negatives import make_hard_negatives
from studies.train import HARDLY_A_FACE, WithHeads, scale_features, train

TASKS = {  # weights of: naming corruptions, telling faces from negatives, redrawing a thumbnail
    "name the corruption": (5, 0, 0),
    "face or not": (0, 1, 0),
    "redraw a thumbnail": (0, 0, 5),
    "all three (shipped)": (5, 1, 5),
}


@click.command()
@click.option("--shared", required=True, type=click.Path(exists=True, path_type=Path), help="The folder of test data.")
@click.option("--steps", default=150, show_default=True, help="Of each training, 128 pictures each.")
@click.option("--negative-steps", default=100, show_default=True)
def main(shared, steps, negative_steps):
    torch.set_num_threads(1)
    faces = Faces.read(shared)
    eigenfaces, moments = make_hard_negatives(faces.train, negative_steps, seed=0)
    probabilities = np.repeat([HARDLY_A_FACE, 0.0], [len(eigenfaces), sum(map(len, moments))])
    negatives = np.concatenate([eigenfaces, *moments]), probabilities

    faces = replace(faces, real=faces.real[:500])
    questions = [question(faces) for question in (series, modes, people)]
    print(f"{steps} steps each; series: {', '.join(SERIES)}, pixelate, hue, torn rows, another domain")
    print(f"{'task':<28}{'growing':>8}{'lowest':>8}{'floors':>8}{'modes':>8}{'people':>8}{'training':>10}")
    for seed in range(2):
        _row(f"random weights, seed {seed}", control(faces.held_out, seed), faces, questions)
    started = time.perf_counter()
    _row("tell pictures apart", tell_apart(faces.train, steps, seed=0), faces, questions, started)
    for name, tasks in TASKS.items():
        started = time.perf_counter()
        _row(name, train([faces.train], negatives, steps, seed=0, tasks=tasks), faces, questions, started)
    _row("shipped weights", net.load(), faces, questions)


def tell_apart(faces: np.ndarray, steps: int, seed: int, batch: int = 128) -> net.FaceNet:
    """Contrastive, after SimCLR (https://arxiv.org/abs/2002.05709): of two views of each face, moved and mirrored, the
    network is to find the pairs. Its usual views, recoloured and blurred, would teach it to overlook just that."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = WithHeads()
    head = nn.Sequential(nn.Linear(net.DIM, 128), nn.ReLU(), nn.Linear(128, 64))
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(steps):
        chosen = faces[rng.integers(len(faces), size=batch // 2)]
        views = np.stack([shifted(face, rng, most=8) for _ in range(2) for face in chosen])
        x = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255  # [B, 3, 64, 64]
        z = F.normalize(head(network.pooled(x)), dim=1)  # [B, 64]
        similarity = (z @ z.T / 0.2).fill_diagonal_(-torch.inf)  # [B, B]
        loss = F.cross_entropy(similarity, torch.arange(batch).roll(batch // 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _row(name, network, faces, questions, started=None):
    taken = f"{(time.perf_counter() - started) / 60:.1f} min" if started else "–"
    scale_features(network, faces.held_out)
    judge = Judge.of(network, faces.held_out)
    corruptions, clusters, order = ({row: judge.distances(sets) for row, sets in rows.items()} for rows in questions)
    ranks, floor = [rank(distances) for distances in corruptions.values()], judge.distance(faces.real)
    cost = np.exp(np.mean([np.log(distances[2] / floor) for distances in corruptions.values()]))
    others = "".join(f"{rank(distances):8.2f}" for rows in (clusters, order) for distances in rows.values())
    growing = sum(r > 0.999 for r in ranks)
    print(f"{name:<28}{growing:>5}/{len(ranks)}{min(ranks):8.2f}{cost:8.1f}{others}{taken:>10}", flush=True)


if __name__ == "__main__":
    main()
