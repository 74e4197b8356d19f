"""Distil the teacher into the shipped network: python -m studies.distil SHARED RUNS --folder FOLDER

The network (grader.features.anime) sees pictures as they are, 64x64, and learns from scratch to predict the features
that the teacher has of the picture enlarged (studies.teacher):
  real faces, of which it sees a version that was shrunk and stored in any harmless way, another one each time, while
  the teacher saw the bilinear one without loss: so it forgets how a picture was shrunk and stored;
  real faces with one or two corruptions, in sets that share them;
  samples of generators at every checkpoint of the runs TRAINED_ON, in RUNS/<run>/samples/<step>.tgz.
Never trained on: every other run, the submissions, crypko_1000_96px, the odd files of crypko_10000_96px, every sixth
of the 12,000 faces, and `reference_faces`. The targets are the first principal components of the teacher's
features over all of these pictures, not of real faces alone: where generators err, real faces vary little.

FOLDER keeps the teacher's features and the training; the same command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save as as_bytes
from torch import nn
from torch.utils.data import IterableDataset

from grader import console
from grader.errors import GraderError
from grader.features import anime
from grader.files import atomic, write_bytes
from studies import teacher
from studies.corruptions import KINDS
from studies.faces import FILTERS, harmlessly, hash_of, read_faces, read_originals, shrunk, split, stored
from studies.training import learn

TRAINED_ON = ("wgan_gp_s11", "wgan_s11", "gan_s11", "biggan_s11", "wgan_noema", "gan_demo")
PER_CHECKPOINT = 500  # of its 1,000 samples
# Of the 12,000 faces, and as many of the 4,918 even ones of the 10,000: the last ones, which no training sees. That of
# the shipped network saw 82 of the latter.
REFERENCE = 2500
FACES = 7500  # of the 12,000
ORIGINALS = 2500  # of the even half of the 10,000
CORRUPTED = 60, 200  # sets, and pictures of each
SHARES = {"faces": 0.15, "originals": 0.15, "corrupted": 0.3, "generated": 0.4}  # of the sets in a batch
BATCH = 64
RATE = 1.5e-3  # the highest
HEAD = 0.07  # of the rate, for the head: it adds up 800 numbers, so that a step of each is a large step of the sum
UNSEEN = 20  # one picture in so many is kept to tell what the network predicts of pictures that it did not see
TEMPER = 0.1  # components are divided by their variance to this power in the loss, so that small ones count
WHOLE_SETS = 10.0  # in the last fit, what the mean of a set weighs: errors that a set shares do not average out

STORED = (("png", 0), ("webp", 90), ("jpeg", 90), ("jpeg", 75))


def reference_faces(shared: Path) -> np.ndarray:
    """Real faces over the harmless variety, uint8 [5000, 64, 64, 3], which no training saw."""
    rng = np.random.default_rng(1)
    faces = split(read_faces(shared / "crypko_12000_64px.zip"))[0][-REFERENCE:]
    originals = read_originals(shared / "crypko_10000_96px.zip", odd=False)[-REFERENCE:]
    return np.stack([harmlessly(picture, rng) for some in (faces, originals) for picture in some])


def corrupted(faces: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """A set of faces with the same one or two corruptions, more often light than heavy."""
    kinds = rng.choice(list(KINDS), int(rng.integers(1, 3)), replace=False)
    most, pictures = rng.random(), []
    for _ in range(count):
        picture, other = faces[rng.integers(len(faces), size=2)]
        for kind in kinds:
            picture = KINDS[kind](picture, most * rng.uniform(0.7, 1), rng, other)
        pictures.append(picture)
    return np.stack(pictures)


@dataclass(frozen=True, eq=False)
class Set:
    """Pictures that belong together, uint8 [n, H, W, 3], and the teacher's features of them [n, 1280], or components of
    these [n, d]."""

    group: str  # one of SHARES
    pictures: np.ndarray
    features: np.ndarray | None

    def part(self, unseen: bool) -> Set:
        """Every UNSEENth picture, or all but those."""
        chosen = (np.arange(len(self.pictures)) % UNSEEN == UNSEEN - 1) == unseen
        return Set(self.group, self.pictures[chosen], self.features[chosen])


def sources(shared: Path, runs: Path) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """Every set that is trained on, by its name: its group, its pictures, and the same as the teacher sees them.

    Raises GraderError where one of the runs TRAINED_ON is missing: without it another network would be trained.
    """
    archives = {run: sorted((runs / run / "samples").glob("*.tgz")) for run in TRAINED_ON}
    if missing := [run for run, found in archives.items() if not found]:
        raise GraderError(f"{runs / missing[0] / 'samples'}: no .tgz is there: RUNS must hold {', '.join(TRAINED_ON)}")
    faces = split(read_faces(shared / "crypko_12000_64px.zip"))[0][:FACES]
    originals = read_originals(shared / "crypko_10000_96px.zip", odd=False)[:-REFERENCE][:ORIGINALS]
    small = shrunk(originals)
    found = {"faces": ("faces", faces, faces), "originals": ("originals", originals, small)}
    rng, both = np.random.default_rng(0), np.concatenate([faces, small])
    for number in range(CORRUPTED[0]):
        pictures = corrupted(both, CORRUPTED[1], rng)
        found[f"corrupted-{number:02}"] = ("corrupted", pictures, pictures)
    for run, files in archives.items():
        for file in files:
            pictures = read_faces(file)[:PER_CHECKPOINT]
            found[f"{run}-{file.stem}"] = ("generated", pictures, pictures)
    return found


def gather(shared: Path, runs: Path, folder: Path) -> list[Set]:
    """Every set that the network learns from; the teacher's features are kept in the folder."""
    found, net, sets = sources(shared, runs), teacher.load(), []
    for name, (group, pictures, seen) in found.items():
        print(f"\r{name}: {len(pictures)} pictures", end="\033[K", file=sys.stderr, flush=True)
        path = folder / f"targets-{name}-{hash_of(seen)}.npy"
        sets.append(Set(group, pictures, kept_in(path, partial(teacher.features, net, seen, half=True))))
    print(file=sys.stderr)
    return sets


def kept_in(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in a .npy file, which is made first where it is not there."""
    if not path.exists():
        with atomic(path) as unfinished, open(unfinished, "wb") as file:
            np.save(file, make())
    return np.load(path)


@dataclass(frozen=True, eq=False)
class Components:
    """The first principal components of the teacher's features: mean [1280], directions [1280, d], variances [d]."""

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, sets: list[Set]) -> Components:
        """Each group weighs its share, and each set of a group as much as the others."""
        weights = [SHARES[some.group] / sum(some.group == other.group for other in sets) for some in sets]
        weights = np.array(weights) / np.sum(weights)
        mean = sum(w * some.features.mean(axis=0, dtype=float) for w, some in zip(weights, sets, strict=True))
        covariance = 0
        for weight, some in zip(weights, sets, strict=True):
            centred = some.features - mean
            covariance = covariance + weight / len(centred) * centred.T @ centred
        values, vectors = np.linalg.eigh(covariance)
        last = -anime.DIM - 1
        return cls(mean, vectors[:, :last:-1], values[:last:-1])

    def of_features(self, features: np.ndarray) -> np.ndarray:
        """Components [n, d] of the teacher's features [n, 1280]."""
        return (features - self.mean) @ self.directions


def grouped(sets: list[Set]) -> dict[str, list[Set]]:
    """The sets of each group of SHARES."""
    return {name: [some for some in sets if some.group == name] for name in SHARES}


def drawn(groups: dict[str, list[Set]], count: int, rng: np.random.Generator) -> Iterator[tuple[Set, int]]:
    """So many pictures, each as its set and its number in it, by the SHARES of groups; sets of a group are equal."""
    for group in rng.choice(list(SHARES), count, p=list(SHARES.values())):
        some = groups[group][rng.integers(len(groups[group]))]
        yield some, rng.integers(len(some.pictures))


class Batches(IterableDataset):
    """Batches: pictures uint8 [BATCH, 64, 64, 3], and their components scaled to variance 1, float32 [BATCH, d].

    The batch of a step is the same whenever the training reaches it.
    """

    def __init__(self, sets: list[Set], components: Components, steps: range):
        scaled = [components.of_features(some.features) / np.sqrt(components.variances) for some in sets]
        scaled = [replace(some, features=rows.astype(np.float32)) for some, rows in zip(sets, scaled, strict=True)]
        self.groups, self.steps = grouped(scaled), steps

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step in self.steps:
            rng = np.random.default_rng(step)
            pictures, targets = [], []
            for some, number in drawn(self.groups, BATCH, rng):
                pictures.append(harmlessly(some.pictures[number], rng)[:, :: rng.choice([-1, 1])])
                targets.append(some.features[number])
            yield torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(targets))


def train(sets: list[Set], folder: Path, steps: int) -> anime.FaceNet:
    """The network after so many steps; goes on from FOLDER/training.pt, and raises, as `learn` does. In the end the
    head is fitted once more, see `fit`."""
    torch.manual_seed(0)
    network = anime.FaceNet().to(memory_format=torch.channels_last)
    seen, components = [some.part(unseen=False) for some in sets], Components.of(sets)
    nn.init.zeros_(network.head.weight)
    trunk = [some for name, some in network.named_parameters() if not name.startswith("head.")]
    groups = [{"params": trunk, "lr": RATE}, {"params": network.head.parameters(), "lr": RATE * HEAD}]
    weights = torch.from_numpy(components.variances ** (1 - 2 * TEMPER)).float()
    weights /= weights.sum()  # so that the mean as the only answer costs 1

    def loss_of(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        pictures, targets = batch
        with torch.autocast("cpu", torch.bfloat16):
            pooled = network.pooled(pictures.permute(0, 3, 1, 2).float() / 255)
        return (network.head(pooled.float()) - targets).square().mean(dim=0) @ weights

    batches = partial(Batches, seen, components)
    learn(network, groups, batches, loss_of, steps, folder / "training.pt", hash_of_sets(sets))
    fit(network, seen, components)
    for group in SHARES:
        unseen = [some.part(unseen=True) for some in sets if some.group == group]
        print(f"{group}: {explained(network, unseen, components):.3f} of the variance of unseen pictures is explained")
    return network


def hash_of_sets(sets: list[Set]) -> str:
    """What says whether a training went on with the same pictures and features."""
    return hash_of(*(array for some in sets for array in (some.pictures, some.features) if array is not None))


def fit(network: anime.FaceNet, sets: list[Set], components: Components, ridge: float = 0.01) -> None:
    """Fits the head, in the teacher's scale, by ridge regression (Hoerl and Kennard, 1970).

    Each group weighs its share. To the pictures of a set is added their mean, which weighs WHOLE_SETS as much; the
    originals are one set for each way to shrink and store them, so that each is told to stay in its place.
    """
    rng, normal, mixed = np.random.default_rng(0), 0, 0
    sets = [way for some in sets for way in (ways(some) if some.group == "originals" else [some])]
    for some in sets:
        share = SHARES[some.group] / sum(some.group == other.group for other in sets)
        pictures = some.pictures
        if some.group != "originals":
            pictures = np.stack([harmlessly(picture, rng) for picture in pictures])
        x = np.concatenate([pooled(network, pictures), np.ones((len(pictures), 1))], axis=1)  # [n, POOLED + 1]
        y = components.of_features(some.features)  # [n, d]
        means = x.mean(axis=0, keepdims=True), y.mean(axis=0, keepdims=True)
        for rows, wanted, weight in ((x, y, share), (*means, WHOLE_SETS * share)):
            normal = normal + weight / len(rows) * rows.T @ rows
            mixed = mixed + weight / len(rows) * rows.T @ wanted
    penalty = ridge * np.eye(len(normal))
    penalty[-1, -1] = 0  # not of the bias
    solution = torch.from_numpy(np.linalg.solve(normal + penalty, mixed)).float()  # [POOLED + 1, d]
    with torch.no_grad():
        network.head.weight.copy_(solution[:-1].T)
        network.head.bias.copy_(solution[-1])


def ways(originals: Set) -> list[Set]:
    """A quarter of the originals for each filter and each of STORED."""
    sets = []
    for number, (filter_name, how) in enumerate(product(FILTERS, STORED)):
        part = slice(number % 4, None, 4)
        small = shrunk(originals.pictures[part], filter_name)
        pictures = np.stack([stored(picture, *how) for picture in small])
        sets.append(Set(originals.group, pictures, originals.features[part]))
    return sets


@torch.inference_mode()
def pooled(network: anime.FaceNet, pictures: np.ndarray) -> np.ndarray:
    """What the head reads, float64 [N, POOLED], of pictures uint8 [N, 64, 64, 3]."""
    parts = (torch.from_numpy(pictures[start : start + 64]) for start in range(0, len(pictures), 64))
    return np.concatenate([network.pooled(x.permute(0, 3, 1, 2).float() / 255).double().numpy() for x in parts])


def explained(network: anime.FaceNet, sets: list[Set], components: Components) -> float:
    """The share of the components' variance over all groups that the network predicts of these."""
    rng, errors = np.random.default_rng(0), []
    for some in sets:
        pictures = np.stack([harmlessly(picture, rng) for picture in some.pictures])
        truth = components.of_features(some.features)
        errors.append(((anime.describe(pictures, network=network) - truth) ** 2).sum(axis=1).mean())
    return 1 - np.mean(errors) / components.variances.sum()


def save(network: anime.FaceNet, path: Path) -> None:
    """Writes the weights: those of convolutions and the head as float16, the others as they are."""
    state = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    write_bytes(path, as_bytes(state))


@click.command(cls=console.Command, help=__doc__)
@click.argument("shared", type=console.path(exists=True))
@click.argument("runs", type=console.path(exists=True))
@click.option("--folder", default="scratch/distil", show_default=True, type=console.path())
@click.option("--output", default=anime.WEIGHTS, show_default=True, type=console.path())
@click.option("--steps", default=6000, type=click.IntRange(1), show_default=True, help="Of 64 pictures each.")
@click.option("--threads", default=1, type=click.IntRange(1), show_default=True)
def main(shared, runs, *, folder, output, steps, threads):
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    save(train(gather(shared, runs, folder), folder, steps), output)
    console.wrote(output)
    if output.resolve() == anime.WEIGHTS.resolve():  # until then, the shipped reference is of the network before
        print(f"next: python -m studies.reference {shared} --features anime")


if __name__ == "__main__":
    console.run(main, "python -m studies.distil")
