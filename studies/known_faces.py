"""The fingerprints of known faces that the grader ships: python -m studies.known_faces FACES"""

from __future__ import annotations

from pathlib import Path

import click

from grader.features.fingerprints import of_faces
from grader.inputs.known_faces import KNOWN, BadFingerprints, save_known


@click.command()
@click.argument("faces", type=click.Path(exists=True, path_type=Path))
@click.option("--output", default=KNOWN, type=click.Path(path_type=Path), show_default=True)
def main(faces, output):
    """Writes the fingerprints of FACES, a folder or archive."""
    try:
        save_known(of_faces(faces), f"every face of {faces.name}, in numeric order", output)
    except BadFingerprints as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
