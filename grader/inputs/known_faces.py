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
MAX_NAMES = 2**26  # bytes of all names: 71,314 numbers have 420,000


class BadFingerprints(GraderError):
    """Known faces that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True)
class Known:
    """Fingerprints int8 [M, 48] of known faces, and the name of each."""

    fingerprints: np.ndarray
    names: list[str]

    def __add__(self, other: Known) -> Known:
        return Known(np.concatenate([self.fingerprints, other.fingerprints]), self.names + other.names)


def as_tensors(known: Known) -> dict[str, np.ndarray]:
    """Tensors for a file: 48 bytes a face, and the names, of which those that count upwards take about a byte each."""
    names = lzma.compress("\n".join(known.names).encode())
    return {"fingerprints": known.fingerprints, "names": np.frombuffer(names, np.uint8)}


def save_known(known: Known, recipe: str, path: Path = KNOWN) -> None:
    """Writes a file, whole or not at all; `recipe` says which faces they are."""
    write_bytes(path, save(as_tensors(known), {"format": FORMAT, "recipe": recipe, "count": str(len(known.names))}))


def load_known(path: Path = KNOWN, remedy: str = "") -> Known:
    """Known faces from a file with the tensors of `as_tensors`; it may come from strangers. Raises BadFingerprints."""
    remedy = remedy or f"make it again (python -m studies.known_faces FACES --output {path})"
    try:
        with safe_open(path, "numpy") as file:
            if (found := file.metadata().get("format")) != FORMAT:
                raise BadFingerprints(f"{path}: holds fingerprints of another form ({found}): {remedy}")
            if (kind := file.get_slice("fingerprints").get_dtype()) != "I8":
                raise ValueError(f"they are {kind}")
            unpacker = lzma.LZMADecompressor(memlimit=MAX_NAMES)
            names = unpacker.decompress(file.get_tensor("names").tobytes(), MAX_NAMES)
            if not unpacker.eof:
                raise ValueError("their names are cut off, or far too long")
            known = Known(file.get_tensor("fingerprints"), names := names.decode().split("\n"))
    except (OSError, SafetensorError, AttributeError, ValueError, EOFError, lzma.LZMAError) as error:
        raise BadFingerprints(f"{path}: holds no fingerprints ({error}): {remedy}") from None
    if known.fingerprints.shape != (len(names), VALUES):
        raise BadFingerprints(f"{path}: {len(names):,} names do not go with the fingerprints: {remedy}")
    return known
