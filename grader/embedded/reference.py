"""Reference statistics of real Crypko faces: python -m grader.embedded.reference FACES

Made from the faces that the network was trained on: it has not learned them by heart, so that they lie no nearer to
themselves than to unseen faces (`grader.embedded.evaluate` prints both), and there are five times as many of them as
were kept aside, which lowers the floor.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from grader.embedded.faces import read_faces, split
from grader.embedded.network import FEATURES, describe
from grader.frechet import Statistics
from grader.reference import load_statistics, save_statistics

REFERENCE = Path(__file__).with_name("crypko.safetensors")


def make_reference(faces: np.ndarray, recipe: str, path: Path = REFERENCE) -> None:
    """Describes faces uint8 [N, 64, 64, 3] and writes their statistics in float32; `recipe` says which they are."""
    exact = Statistics.of(describe(faces)[0])
    small = Statistics(exact.mean.astype(np.float32), exact.covariance.astype(np.float32), exact.count)
    save_statistics(path, small, {"features": FEATURES, "recipe": recipe})


def load_reference(path: Path = REFERENCE) -> Statistics:
    """Statistics written by `make_reference`. Raises ValueError when there are none, or none of these weights."""
    statistics = load_statistics(path, FEATURES)
    if statistics is None:
        raise ValueError(f"{path} holds no statistics of {FEATURES}: python -m grader.embedded.reference FACES")
    return statistics


@click.command()
@click.argument("faces", type=click.Path(exists=True))
@click.option("--output", default=REFERENCE, type=click.Path(path_type=Path), show_default=True)
def main(faces, output):
    make_reference(split(read_faces(faces))[0], f"faces of {Path(faces).name} that the network was trained on", output)


if __name__ == "__main__":
    main()
