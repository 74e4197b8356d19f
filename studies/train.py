"""Train the embedded network: python -m studies.train FACES [--more FACES]… --output facenet.safetensors

Three tasks share one trunk, so that the features change with whatever a grader must see:
  which corruptions a picture has suffered and how strong each is, or whether a generator made it (texture, colour);
  whether it is a face (structure);
  its thumbnail, redrawn from the embedding (who and what is shown, so that missing modes count).
Every sixth face is held out and never trained on. The shipped weights: 10,000 Crypko faces, --more 2,500 tagged ones,
--more 1,667 drawn ones (python -m data render … --count 2000), every option as below; 20 minutes on one busy core.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from grader.features import anime as net
from grader.files import atomic, short_hash
from studies.corruptions import KINDS, NO_FACES, STILL_A_FACE, no_face
from studies.faces import read_faces, shifted, split
from studies.hard_negatives import make_hard_negatives

LIGHT, RUINED = 0.2, 0.7  # a face corrupted at most so much is a face, at least so much is none; between: in between
HARDLY_A_FACE = 0.25  # what an eigenface is worth: eyes, hair and chin are in place, but nothing has an edge


@click.command()
@click.argument("faces", type=click.Path(exists=True))
@click.option("--more", multiple=True, type=click.Path(exists=True), help="Faces of another style; may be repeated.")
@click.option("--output", default=net.WEIGHTS, type=click.Path(), show_default=True)
@click.option("--steps", default=1000, show_default=True, help="Steps of the network, 128 pictures each.")
@click.option(
    "--negative-steps",
    default=600,
    type=click.IntRange(min=20),
    show_default=True,
    help="Steps of each throw-away generator.",
)
@click.option("--threads", default=1, show_default=True, help="The same seed needs the same number to repeat.")
@click.option("--seed", default=0, show_default=True)
def main(faces, *, more, output, steps, negative_steps, threads, seed):
    torch.set_num_threads(threads)
    styles = [split(read_faces(path)) for path in (faces, *more)]  # (train, held_out) each
    eigenfaces, moments = make_hard_negatives(styles[0][0], negative_steps, seed)
    probabilities = np.repeat([HARDLY_A_FACE, 0.0], [len(eigenfaces), sum(map(len, moments))])
    negatives = np.concatenate([eigenfaces, *moments]), probabilities
    network = train([style[0] for style in styles], negatives, steps, seed)
    scale_features(network, styles[0][1])
    weights_id = save(network, output)
    print(f"wrote {output}, weights {weights_id}", file=sys.stderr)


class WithHeads(net.FaceNet):
    """The network with the heads of its three tasks, which read its features and nothing else."""

    def __init__(self):
        super().__init__()
        self.severity = nn.Linear(net.DIM, len(KINDS) + 1)  # severity of each corruption, and "was generated"
        self.face = nn.Sequential(nn.Linear(net.DIM, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))
        self.thumbnail = nn.Linear(net.EMBEDDING, 3 * 16 * 16)


def train(
    styles: list[np.ndarray],
    negatives: tuple[np.ndarray, np.ndarray],
    steps: int,
    seed: int,
    *,
    batch: int = 128,
    tasks: tuple[float, float, float] = (5, 1, 5),
) -> WithHeads:
    """A network trained on faces uint8 [N, 64, 64, 3] of one or more styles, and on negatives [M, 64, 64, 3] with
    the probability to call each a face [M]. `tasks` weighs corruptions, faces and thumbnail: about equal once
    trained."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network, started = WithHeads(), time.perf_counter()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for step in range(1, steps + 1):
        x, severity, is_face = _batch(styles, negatives, batch, rng)
        pooled = network.pooled(x)
        severity_loss = F.binary_cross_entropy_with_logits(network.severity(pooled), severity)
        face_loss = F.binary_cross_entropy_with_logits(network.face(pooled), is_face)
        thumbnail = network.thumbnail(pooled[:, -net.EMBEDDING :]).unflatten(1, (3, 16, 16))
        thumbnail_loss = F.mse_loss(thumbnail, F.avg_pool2d(x, 4) * 2 - 1)
        loss = tasks[0] * severity_loss + tasks[1] * face_loss + tasks[2] * thumbnail_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps:
            losses = f"corruptions {severity_loss:.3f}, face {face_loss:.3f}, thumbnail {thumbnail_loss:.3f}"
            rate = step * batch / (time.perf_counter() - started)
            print(f"\rstep {step}/{steps}: {losses}, {rate:.0f} pictures/s ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return network.eval()


def scale_features(network: net.FaceNet, faces: np.ndarray) -> None:
    """Centre every feature and bring it to variance 1 over real faces, so that no stage outweighs another."""
    features = net.describe(faces, network=network)
    network.centre.copy_(torch.from_numpy(features.mean(axis=0)))
    network.scale.copy_(torch.from_numpy(features.std(axis=0)))


def save(network: net.FaceNet, path) -> str:
    """Write the weights and return their id."""
    with atomic(Path(path)) as unfinished:
        save_file(network.state_dict(), unfinished)
    return short_hash(Path(path))


def _batch(styles, negatives, size, rng):
    """Pictures [B, 3, 64, 64] in 0..1, severity [B, kinds + 1], probability to call each a face [B]."""
    examples = [_example(styles, negatives, rng) for _ in range(size)]
    pictures, *labels = (np.stack(column) for column in zip(*examples, strict=True))
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return x, *(torch.from_numpy(label).float() for label in labels)


def _example(styles, negatives, rng):
    kinds, severities = list(KINDS), np.zeros(len(KINDS) + 1)
    faces = styles[0] if rng.random() < 0.7 else styles[rng.integers(len(styles))]
    face = shifted(faces[rng.integers(len(faces))], rng)
    picture, is_face, draw = face, 1.0, rng.random()
    if draw < 0.15:  # the two kinds made from faces are the hard ones
        kind = rng.choice(list(NO_FACES)[-2 if rng.random() < 0.5 else 0 :])
        severities[kinds.index(NO_FACES[kind])] = 1
        return no_face(kind, faces, rng), severities, 0.0
    if draw < 0.4:
        pictures, probabilities = negatives
        number = rng.integers(len(pictures))
        share = 1.0 if rng.random() < 0.5 else rng.uniform(LIGHT, 1)  # of the negative, in a half-formed face
        picture = np.rint(face + share * (pictures[number].astype(float) - face)).astype(np.uint8)
        is_face = max(probabilities[number], _face_probability(share))
        severities[-1] = share
    if rng.random() < 0.4:  # stored as a photograph is, or as a student's samples are
        severities[kinds.index("jpeg")] = severity = rng.uniform(0, 0.4)
        picture = KINDS["jpeg"](picture, severity, rng, picture)
    count = rng.choice(5, p=(0.3, 0.35, 0.2, 0.1, 0.05))
    for number in rng.choice(len(KINDS), count, replace=False):
        kind, severity = kinds[number], rng.uniform(0, 1 - severities[-1] / 2)
        picture = KINDS[kind](picture, severity, rng, faces[rng.integers(len(faces))])
        severities[number] = max(severities[number], severity)
        if kind not in STILL_A_FACE:
            is_face *= _face_probability(severity)
    return picture, severities, is_face


def _face_probability(severity):
    """Probability to call a picture a face that is corrupted with this severity."""
    return np.clip((RUINED - severity) / (RUINED - LIGHT), 0, 1)


if __name__ == "__main__":
    main()
