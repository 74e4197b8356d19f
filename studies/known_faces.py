"""The fingerprints of known faces that the grader ships: python -m studies.known_faces FACES"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import click

from grader import console
from grader.features.fingerprints import of_faces
from grader.inputs.known_faces import KNOWN, save_known


@click.command(cls=console.Command)
@click.argument("faces", type=console.path(exists=True))
@click.option("--output", default=KNOWN, type=console.path(), show_default=True)
def main(faces, output):
    """Writes the fingerprints of FACES, a folder or archive, each named by its file.

    The shipped ones are of all 71,314 faces of the course, shrunk to 64x64 (bilinear) and stored as JPEG of quality 95.
    They are numbers, and no picture can be drawn from them again. The faces are named by their numbers in the set.
    """
    known = of_faces(faces)
    known = replace(known, names=[PurePosixPath(name).name for name in known.names])
    save_known(known, f"every face of {faces.name}, in numeric order", output)


if __name__ == "__main__":
    console.run(main, "python -m studies.known_faces")
