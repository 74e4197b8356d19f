"""Known real faces by their fingerprints, in a file of 48 bytes a face; grader.features.fingerprints makes them."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from grader.errors import GraderError
from grader.files import write_bytes

KNOWN = Path(__file__).parents[1] / "weights/crypko_fingerprints.safetensors"
FORMAT = "dct 8+3+3, middle 56, step 1/24"  # changes with every change to a fingerprint
VALUES = 48  # of a fingerprint


class BadFingerprints(GraderError):
    """Known faces that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True)
class Known:
    """Fingerprints int8 [M, 48] of known faces, and the name of each."""

    fingerprints: np.ndarray
    names: list[str]

    def __add__(self, other: Known) -> Known:
        return Known(np.concatenate([self.fingerprints, other.fingerprints]), self.names + other.names)


def save_known(known: Known, recipe: str, path: Path = KNOWN) -> None:
    """Writes 48 bytes a face and the packed names, whole or not at all; `recipe` says which faces they are."""
    packed = lzma.compress("\n".join(known.names).encode())  # names that count upwards take about a byte each
    tensors = {"fingerprints": known.fingerprints, "names": np.frombuffer(packed, np.uint8)}
    write_bytes(path, save(tensors, {"format": FORMAT, "recipe": recipe, "count": str(len(known.names))}))


def load_known(path: Path = KNOWN) -> Known:
    """Known faces from a file of `save_known`. Raises BadFingerprints."""
    remedy = f"make it again (python -m studies.known_faces FACES --output {path})"
    try:
        with safe_open(path, "numpy") as file:
            if (found := file.metadata().get("format")) != FORMAT:
                raise BadFingerprints(f"{path}: holds fingerprints of another form ({found}): {remedy}")
            names = lzma.decompress(file.get_tensor("names").tobytes()).decode().split("\n")
            known = Known(file.get_tensor("fingerprints"), names)
    except (OSError, SafetensorError, AttributeError, lzma.LZMAError) as error:
        raise BadFingerprints(f"{path}: holds no fingerprints ({error}): {remedy}") from None
    if known.fingerprints.shape != (len(names), VALUES):
        raise BadFingerprints(f"{path}: {len(names):,} names do not go with the fingerprints: {remedy}")
    return known
