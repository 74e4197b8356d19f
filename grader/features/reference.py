"""What a submission is compared with: a set of real faces in some network's features.

Computing them takes minutes for a whole training set, so they are kept, under a name made of the content of the set
and of the network: the same pictures anywhere give the same name, a changed set another.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from grader.errors import printable
from grader.features import imagenet
from grader.features.statistics import SAMPLE, Statistics
from grader.files import write_bytes
from grader.inputs.archives import BadArchive
from grader.inputs.arrays import BadArray, read_arrays
from grader.inputs.downloads import cache_folder
from grader.inputs.faces import BadReference, batches, face_set_name, files, in_short, tell
from grader.inputs.known_faces import FORMAT, Known, as_tensors

MOST_KEPT = 12  # references in the cache, of 3 to 50 MB each: a set of faces has up to three, one a network
TENSORS = ("mean", "covariance", "sample")
QUALITIES = (50, 60, 70, 75, 80, 85, 90, 95, 100)  # of JPEG, for which the shipped references know the floor
FEW_QUALITIES = (50, 75, 95)  # for which a given one does: pack goes down to 50, notebooks write 75 and 95
WEIGHTS, NAME = Path(__file__).parents[1] / "weights", "crypko"
LARGEST = 1e12  # no feature comes near it, and its square does not overflow
MAX_NUMBERS = 2**23  # of a tensor: 2,048 features have a covariance of 2^22
MAX_HEADER = 2**20  # bytes of metadata in front of the tensors: ours have a few hundred


@dataclass(frozen=True, eq=False)
class Reference:
    """A set of real faces: its statistics, and the names that scores are labelled with, of the set and the features.

    `sample` holds the features [n, d] of up to 1,000 of the faces, where they are known: drawn at random, but in the
    shipped ones of one end of the set; `held_out` tells that these are not among the faces of the statistics. `floors`
    are the distances of the same 1,000 faces stored as JPEG, by quality, where they are known. `left_out` names, in
    short, files of the set that cannot be read.
    """

    faces: str
    features: str
    statistics: Statistics
    sample: np.ndarray | None = None
    held_out: bool = False
    floors: dict[int, float] = field(default_factory=dict)
    left_out: str = ""


class Sampler:
    """Keeps up to SAMPLE of the pictures that pass by, with their features `rows`, each with the same chance: those
    with the smallest random keys."""

    def __init__(self):
        self.rng, self.keys = np.random.default_rng(0), np.empty(0)
        self.pictures = self.rows = None

    def describe(self, batches: Iterable[np.ndarray], extract: Callable) -> Iterator[np.ndarray]:
        """Features [n, d] of batches of pictures [n, …], which are seen on their way."""
        for pictures in batches:
            rows = extract(pictures)
            yield rows
            keys = np.concatenate([self.keys, self.rng.random(len(rows))])
            if self.rows is not None:
                pictures, rows = np.concatenate([self.pictures, pictures]), np.concatenate([self.rows, rows])
            kept = np.argsort(keys)[:SAMPLE]
            self.keys, self.pictures, self.rows = keys[kept], pictures[kept], rows[kept]


def of_faces(source: Path, features: str, extract: Callable, floors: Callable) -> Reference:
    """The reference of a folder or archive of faces, from the cache or computed with `extract` (pictures -> [n, d]).

    `features` names the network with its weights. `floors` is metrics.frechet.floors. Raises BadReference.
    """
    try:
        digest = hashlib.sha256(f"{features} {FEW_QUALITIES}".encode())
        unread = []
        for name, data in files(source, unread):  # names too: those of broken files are told
            digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
        digest.update(json.dumps(unread).encode())
        path, name = cache_folder() / f"reference-{digest.hexdigest()[:24]}.safetensors", face_set_name(source)
        if made := load_reference(path, name, features):
            _mark_used(path)
        else:
            skipped, sampler = [], Sampler()
            pictures = (batch for _, batch in batches(source, skipped))
            statistics = Statistics.streamed(sampler.describe(pictures, extract))
            made = Reference(name, features, statistics, sampler.rows)
            floors_of_it = floors(made, sampler.pictures, extract, FEW_QUALITIES)
            made = replace(made, floors=floors_of_it, left_out=in_short(skipped))
            _keep(path, made)
            made = load_reference(path, name, features) or made  # what another process reads is the same, to the bit
    except (BadArchive, OSError, ValueError) as error:
        raise BadReference(f"{source}: not a usable reference ({error}): name a folder or zip of faces") from None
    tell(source, made.left_out)  # of a kept one as well
    return made


def _keep(path: Path, made: Reference) -> None:
    try:
        save_reference(path, made)
        _drop_older(path.parent)
    except OSError as error:  # a cache that cannot be written costs time, not the score
        warnings.warn(f"{path}: the reference is not kept ({error.strerror}): set GRADER_CACHE", stacklevel=3)


def _mark_used(path: Path) -> None:
    with suppress(OSError):  # a cache that may only be read
        os.utime(path)


def _drop_older(folder: Path) -> None:
    """Removes from the cache all references but those that were used last. Other processes may do the same, and read
    them: who finds one gone computes it again."""
    used = []
    for path in folder.glob(f"reference-{'[0-9a-f]' * 24}.safetensors"):  # no file that a person called so
        with suppress(OSError):
            used.append((path.stat().st_mtime, path))
    for _, path in sorted(used)[:-MOST_KEPT]:
        with suppress(OSError):  # gone already, or open on Windows
            path.unlink()


def of_npz(source: Path, features: str, dim: int | None = None) -> Reference:
    """pytorch-fid's format: an .npz with `mu` [d] and `sigma` [d, d], d = `dim` if given. Raises BadReference."""
    try:
        mean, covariance = (array.astype(np.float64) for array in read_arrays(source, ("mu", "sigma")))
    except (BadArray, OSError) as error:
        raise BadReference(f"{source}: no statistics of pytorch-fid's form, mu and sigma ({error})") from None
    if not _sound(mean, covariance) or len(mean) != (dim or len(mean)):
        raise BadReference(f"{source}: mu {mean.shape} and sigma {covariance.shape} are no mean and covariance")
    return Reference(printable(source.stem), features, Statistics(mean, covariance, 0))


def _sound(mean: np.ndarray, covariance: np.ndarray, sample: np.ndarray | None = None) -> bool:
    """Whether the shapes go together, and a distance to the numbers would be one."""
    sample = mean[None] if sample is None else sample
    shapes = (mean.shape, covariance.shape, sample.shape[1:])
    return (
        mean.size > 0
        and shapes == ((mean.size,), (mean.size, mean.size), (mean.size,))
        and all((np.abs(array) < LARGEST).all() for array in (mean, covariance, sample))
    )


def of_file(path: Path, features: str, dim: int) -> Reference:
    """A reference in `dim` features that `python -m grader reference` wrote. Raises BadReference."""
    made = load_reference(path, None, features)
    if made is None or len(made.statistics.mean) != dim:
        raise BadReference(f"{path}: no reference in the features {features}: python -m grader reference FACES")
    return made


def load_reference(path: Path, faces: str | None, features: str) -> Reference | None:
    """A reference from a file of `save_reference`, under another name if `faces` is one; None when there is none, it is
    not whole, or of other features."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            if int.from_bytes(file.read(8), "little") > MAX_HEADER:
                return None
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            shapes = [file.get_slice(name).get_shape() for name in TENSORS]
            if metadata["features"] != features or max(map(math.prod, shapes)) > MAX_NUMBERS:
                return None
            mean, covariance, sample = (file.get_tensor(name).astype(np.float64) for name in TENSORS)
            count, faces = int(metadata["count"]), faces or metadata["faces"]
            held_out = metadata["held_out"] == "True"
            floors = {int(quality): float(value) for quality, value in json.loads(metadata.get("floors", "{}")).items()}
            left_out = printable(metadata.get("left_out", ""))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    if not _sound(mean, covariance, sample) or not 2 <= len(sample) <= SAMPLE or not 2 <= count < LARGEST:
        return None
    statistics = Statistics(mean, covariance, count)
    return Reference(printable(faces[:100]), features, statistics, sample, held_out, floors, left_out)


def save_reference(
    path: Path, reference: Reference, recipe: str = "", kinds=(np.float64,) * 3, known: Known | None = None
) -> None:
    """Writes a file, whole or not at all, so that two graders can share a cache. Raises OSError.

    `kinds` are the types that the mean, the covariance and the sample are kept in. `known` are the fingerprints of the
    faces, by which their copies are found.
    """
    arrays = (reference.statistics.mean, reference.statistics.covariance, reference.sample)
    tensors = {name: array.astype(kind) for name, array, kind in zip(TENSORS, arrays, kinds, strict=True)}
    about = {
        "faces": reference.faces,
        "features": reference.features,
        "count": reference.statistics.count,
        "held_out": reference.held_out,
        "left_out": reference.left_out,
        "floors": json.dumps({quality: round(floor, 4) for quality, floor in reference.floors.items()}),
    }
    metadata = {name: str(value) for name, value in about.items()} | {"recipe": recipe}
    if known:
        tensors, metadata = tensors | as_tensors(known), metadata | {"format": FORMAT}
    write_bytes(path, save(tensors, metadata))


def shipped_path(network: ModuleType) -> Path:
    """The file of the course's faces in the features of `imagenet` or `anime`."""
    return WEIGHTS / f"{NAME}_{network.NAME}.safetensors"


def shipped_reference(network: ModuleType = imagenet) -> Reference:
    """The course's faces in the features of `imagenet` or `anime`, as `python -m studies.reference` wrote them. Raises
    BadReference for other weights."""
    path = shipped_path(network)
    if (shipped := load_reference(path, NAME, network.scale())) is None:
        remedy = f"make it with python -m studies.reference SHARED --features {network.NAME}"
        raise BadReference(f"{path}: holds no statistics of {network.scale()}: {remedy}")
    return shipped
