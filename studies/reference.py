"""The shipped reference, of real Crypko faces: python -m studies.reference FACES

Made from the faces that the network was trained on: it has not learned them by heart, so that they lie no nearer to
themselves than to unseen faces (`studies.evaluate` prints both), and there are five times as many of them as
were held out, which lowers the floor.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from grader.features.anime import describe, scale
from grader.features.reference import NAME, SAMPLE, SHIPPED, Reference, save_reference
from grader.features.statistics import Statistics
from studies.faces import read_faces, split


def make_reference(faces: np.ndarray, held_out: np.ndarray, recipe: str, path: Path = SHIPPED) -> None:
    """Describes faces and others held out, uint8 [N, 64, 64, 3], and writes statistics of the former and features of
    the latter, rounded to the size of a download; `recipe` says which they are."""
    spread = (
        np.linspace(0, len(held_out) - 1, min(SAMPLE, len(held_out))).round().astype(int)
    )  # a set's order may drift
    made = Reference(NAME, scale(), Statistics.of(describe(faces)), describe(held_out[spread]), held_out=True)
    save_reference(path, made, recipe, (np.float32, np.float32, np.float16))


@click.command()
@click.argument("faces", type=click.Path(exists=True))
@click.option("--output", default=SHIPPED, type=click.Path(path_type=Path), show_default=True)
def main(faces, output):
    recipe = f"faces of {Path(faces).name} that the network was trained on; the sample is of those held out"
    make_reference(*split(read_faces(faces)), recipe, output)


if __name__ == "__main__":
    main()
