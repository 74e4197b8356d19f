"""The shipped references, of real Crypko faces: python -m studies.reference SHARED

Over 14,918 faces, each stored in any harmless way, so that none is punished: all but every sixth of the 12,000, which
are 64x64 already, bilinear and WebP 95, and the even ones of the 10,000, shrunk in any harmless way before. The sample,
which the floor is made of, are the last 1,000 odd ones, shrunk as the course does and without loss; the floors beside
it are of the same faces stored as JPEG.

Faces from everywhere in the set are needed, although our own network was trained on some: the set drifts with its
numbers, so that faces of one end lie nearer to each other than to those of the other end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import torch
from tqdm import tqdm

from baselines.sample import WEIGHTS, load_generator
from grader import console
from grader.features import anime, imagenet
from grader.features.reference import NAME, QUALITIES, SAMPLE, Reference, save_reference, shipped_path
from grader.features.statistics import Statistics
from grader.files import write_bytes
from grader.metrics import released
from grader.metrics.frechet import floors
from studies.faces import harmlessly, read_faces, read_originals, shrunk, split
from studies.release import statistics

FEATURES = {network.NAME: network for network in (imagenet, anime)}


def make_reference(network: ModuleType, faces: np.ndarray, sample: np.ndarray, recipe: str, path: Path) -> None:
    """Describes faces and others held out, uint8 [N, 64, 64, 3], and writes statistics of the former and features of
    the latter, rounded to the size of a download; `recipe` says which they are."""
    bar = tqdm(total=len(faces), desc=network.NAME, disable=None)
    known = Statistics.of(network.describe(faces, done=bar.update))
    made = Reference(NAME, network.scale(), known, network.describe(sample), held_out=True)
    made = replace(made, floors=floors(made, sample, network.describe, QUALITIES))
    save_reference(path, made, recipe, (np.float32, np.float16, np.float16))


def make_references(shared: Path, names: Collection[str]) -> None:
    """Writes the shipped references in the features of these names; with anime's goes what the grader knows the shipped
    generator's pictures by, which is in the same features."""
    rng, originals = np.random.default_rng(1), partial(read_originals, shared / "crypko_10000_96px.zip")
    some = split(read_faces(shared / "crypko_12000_64px.zip"))[0]
    faces = np.stack([harmlessly(picture, rng) for group in (some, originals(odd=False)) for picture in group])
    recipe = f"{len(faces):,} faces in any harmless form; the sample is of others, as the course shrinks them"
    sample = shrunk(originals(odd=True)[-SAMPLE:])
    for name in names:
        make_reference(FEATURES[name], faces, sample, recipe, shipped_path(FEATURES[name]))
    if anime.NAME in names:
        write_bytes(released.FILE, statistics(load_generator(), WEIGHTS))


@click.command(cls=console.Command, help=__doc__)
@click.argument("shared", type=console.path(exists=True))
@click.option("--features", type=click.Choice(list(FEATURES)), multiple=True, help="Only these.  [default: all]")
@click.option("--threads", default=1, type=click.IntRange(1), show_default=True)
def main(shared, features, threads):
    torch.set_num_threads(threads)
    make_references(shared, features or FEATURES)


if __name__ == "__main__":
    console.run(main, "python -m studies.reference")
