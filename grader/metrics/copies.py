"""Whether a submission is its maker's own and not all one picture: copies of known faces, and near duplicates.

A fingerprint is 48 low frequencies of a picture's two-dimensional cosine transform, as perceptual hashes use it
(Zauner, http://phash.org/docs/pubs/thesis_zauner.pdf): 36 of luma and 6 of each colour difference, each divided by its
usual size in faces, all divided by the picture's contrast. It is taken of the middle 56x56 pixels, so that a picture
that lost up to 4 pixels a side still holds all of it, and the odd horizontal frequencies change their sign in a mirror,
so that mirrored copies cost no second fingerprint. What can be drawn from it again is a blur of about 6x6 cells of grey
and 2x3 of colour, no face.

Distances are root mean square differences, where 1.2 is usual between two faces. The thresholds come from
`python -m studies.copies`.

A file of fingerprints of known faces: python -m grader.metrics.copies FACES
"""

from __future__ import annotations

import itertools
import lzma
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from grader.errors import GraderError, shortened, whole
from grader.inputs.archives import BadArchive, members
from grader.inputs.images import ENDINGS, UnreadablePicture, decode

# A copy. Of 12,000 Crypko faces, every pair up to 0.26 is one drawing that the set holds twice, in another crop or with
# another mouth, seen by eye; the nearest two drawings are 0.31 apart. Of 1,000 faces that were kept apart, 3 lie below
# 0.1, all three such drawings again, and the next at 0.32. Planted copies lie below 0.15, save where a crop or shift
# falls between two views.
COPY = 0.25
# A near duplicate. Among 1,000 faces there is at most one pair, from those drawings, and else none below 0.46.
ALIKE = 0.35
# The share of such pictures from which a submission is called collapsed: of 1,000 faces up to 0.2%, four submissions to
# the course up to 0.5%, a GAN that begins to repeat itself 2% to 10%, samples that all look the same 11% to 100%.
COLLAPSED = 0.1

KNOWN = Path(__file__).parents[1] / "weights/crypko_fingerprints.safetensors"
FORMAT = "dct 8+3+3, middle 56, step 1/24"  # changes with every change to a fingerprint

SIZE = 64
MARGIN = 4  # pixels a side that a copy may have lost
LUMA, COLOUR = 8, 3  # frequencies u + v below these
MEANS = 3  # the first values are the picture's mean colour
FAINTEST = 0.5  # contrast, where 1 is usual: what has less is not stretched further, or its noise would be compared
BLANK = 0.2  # contrast of a fingerprint, where 1 is usual; the palest of 12,000 faces has 0.26
STEP = 1 / 24  # of a stored value
YCC = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)  # JPEG's

_ORDER = np.add.outer(np.arange(LUMA), np.arange(LUMA))  # u + v
_KEPT = np.stack([_ORDER < LUMA, _ORDER < COLOUR, _ORDER < COLOUR], axis=-1)  # [8, 8, 3]
_WEIGHTS = ((1 + _ORDER[..., None]) / np.array([32, 10, 10]))[_KEPT].astype(np.float32)  # 1 / (usual size in faces)
MIRROR = np.broadcast_to((-1) ** np.arange(LUMA)[None, :, None], _KEPT.shape)[_KEPT].astype(np.int8)

# Where a copy's middle 56x56 may lie now: (pixels cropped a side, shift to the right, shift down). The nearest known
# face is looked for with few views, then all are tried on that one face.
VIEWS = ((0, 0, 0), (2, 0, 0), (4, 0, 0))
CLOSE_VIEWS = tuple(itertools.product((0, 2, 4), (-1.5, 0, 1.5), (-1.5, 0, 1.5)))


class BadFingerprints(GraderError):
    """Known faces that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True)
class Known:
    """Fingerprints int8 [M, 48] of known faces, and the name of each."""

    fingerprints: np.ndarray
    names: list[str]

    def __add__(self, other: Known) -> Known:
        return Known(np.concatenate([self.fingerprints, other.fingerprints]), self.names + other.names)


@dataclass(frozen=True)
class Copy:
    """Picture `index` of a submission is face `known`, at a distance, perhaps mirrored."""

    index: int
    known: int
    distance: float
    mirrored: bool


@dataclass(frozen=True)
class Group:
    """Pictures that are alike: each has one at most `distance` away, through which it hangs together with the rest."""

    members: list[int]
    distance: float


def fingerprints(pictures: np.ndarray, view: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Fingerprints int8 [N, 48] of pictures uint8 [N, 64, 64, 3].

    With a `view` (crop, right, down): those that the pictures had before `crop` pixels a side were cut off and the rest
    resized to 64 again, with the cut moved so that what is seen moved to the right and down. Raises ValueError.
    """
    pictures = np.asarray(pictures)
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIZE, SIZE, 3):
        raise ValueError(f"needs pictures uint8 [N, {SIZE}, {SIZE}, 3], got {pictures.dtype} {list(pictures.shape)}")
    crop, right, down = view
    across, along = _cosines(crop, right), _cosines(crop, down)
    found = np.empty((len(pictures), len(_WEIGHTS)), np.int8)
    for start in range(0, len(pictures), 256):  # float32 copies of 12 MB
        batch = pictures[start : start + 256].astype(np.float32).reshape(-1, SIZE, SIZE * 3)
        rows = (along @ batch).reshape(-1, SIZE, 3)  # [n * 8, 64, 3]
        cells = (across @ rows).reshape(-1, LUMA, LUMA, 3) @ YCC.T  # [n, 8, 8, 3]
        cells[:, 0, 0, 0] -= 128
        values = cells[:, _KEPT] * _WEIGHTS  # [n, 48]
        contrast = np.sqrt((values[:, 1:] ** 2).mean(axis=1, keepdims=True))
        values /= np.maximum(contrast, FAINTEST)
        found[start : start + 256] = np.clip(np.rint(values / STEP), -127, 127)
    return found


def _cosines(crop: float, shift: float) -> np.ndarray:
    """[8, 64]: the cosine transform of the middle as integrals over pixels, so that it may begin inside of one.

    Where a view reaches over the border, the border's pixels go on.
    """
    scale = SIZE / (SIZE - 2 * crop)
    low, high = scale * (MARGIN - crop + shift), scale * (SIZE - MARGIN - crop + shift)
    edges = np.r_[-np.inf, np.arange(1, SIZE), np.inf]
    t = np.clip((edges - low) / (high - low), 0, 1)  # 0 … 1 over the middle
    u = np.arange(LUMA)[:, None]
    integrals = t * np.sinc(u * t)  # ∫ cos(π u t) dt
    return (np.diff(integrals, axis=1) * np.where(u, np.sqrt(2), 1)).astype(np.float32)


def nearest(prints: np.ndarray, known: np.ndarray, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Of fingerprints [N, 48], the index [N] of the nearest of known [M, 48], the first of several, and its distance.

    Holds [N, chunk] numbers at a time, whole and below 2^24: float32 makes no error, and no chunk size a difference.
    """
    index, least = np.zeros(len(prints), np.int64), np.full(len(prints), np.inf, np.float32)
    for start, squared in _squared(prints, known, chunk):
        best = squared.argmin(axis=1)
        value = np.take_along_axis(squared, best[:, None], axis=1)[:, 0]
        nearer = value < least
        index[nearer], least[nearer] = start + best[nearer], value[nearer]
    return index, _distance(least)


def _squared(prints: np.ndarray, known: np.ndarray, chunk: int) -> Iterator[tuple[int, np.ndarray]]:
    """(start, squared distances [N, ≤ chunk] to known[start:]), in steps of a stored value.

    |a − b|² = |a|² − 2ab + |b|² as one matrix product, of (|a|², 1, −2a) and (1, |b|², b).
    """
    a, b = prints.astype(np.float32), known.astype(np.float32)
    a = np.column_stack([(a**2).sum(axis=1), np.ones(len(a), np.float32), -2 * a])  # [N, 50]
    b = np.column_stack([np.ones(len(b), np.float32), (b**2).sum(axis=1), b])  # [M, 50]
    for start in range(0, len(b), chunk):
        yield start, a @ b[start : start + chunk].T


def _distance(squared: np.ndarray) -> np.ndarray:
    return np.sqrt(squared / len(_WEIGHTS)) * STEP


def duplicates(prints: np.ndarray, limit: float = ALIKE, chunk: int = 1024) -> list[Group]:
    """Groups of fingerprints [N, 48] that are alike, the largest first.

    A set of real faces has some, since it holds some drawings twice: see `collapsed` for when there are too many.
    Pictures of one colour are alike when the colour is.
    """
    if not len(prints):
        return []
    home = np.arange(len(prints))  # the first picture of the group that each one is in
    least = np.full(len(prints), np.inf, np.float32)
    most = (limit / STEP) ** 2 * len(_WEIGHTS)
    for first in range(0, len(prints), chunk):
        for start, squared in _squared(prints[first : first + chunk], prints[first:], chunk):
            i, j = np.nonzero(squared <= most)
            later = start + j > i  # each pair once, and nothing with itself
            row, column, square = first + i[later], first + start + j[later], squared[i[later], j[later]]
            if len(row):
                np.minimum.at(least, row, square)
                np.minimum.at(least, column, square)
                home = _joined(home, row, column)
    order = np.argsort(home, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(home[order])) + 1)
    found = [Group(group.tolist(), float(_distance(least[group].max()))) for group in groups if len(group) > 1]
    return sorted(found, key=lambda group: (-len(group.members), group.members))


def _joined(home: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Groups, each named by its first member, once pairs are joined as well: so that pairs need not be kept, of which
    10,000 equal pictures have 50 million."""
    nodes = np.arange(len(home))
    ends = np.concatenate([nodes, row]), np.concatenate([home, column])
    links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(home), len(home)))
    label = connected_components(links, directed=False)[1]
    return np.unique(label, return_index=True)[1][label]


def collapsed(groups: list[Group], count: int) -> bool:
    """Whether of `count` pictures the share in groups of alike ones is that of a collapsed generator."""
    return sum(len(group.members) for group in groups) >= COLLAPSED * max(count, 1)


def limits(prints: np.ndarray) -> tuple[float, float]:
    """(COPY, ALIKE), or less for known fingerprints [M, 48] of faces that are more alike than Crypko's.

    Three in 1,000 Crypko faces have another one nearer than COPY, and of any 1,000 of them as many have one among
    these nearer than ALIKE: of other faces, no more may.
    """
    some, submission = (prints[_spread(len(prints), size)] for size in (2000, 1000))
    return min(COPY, _usual_least(some, prints)), min(ALIKE, _usual_least(submission, submission))


def _spread(count: int, size: int) -> np.ndarray:
    return np.unique(np.linspace(0, max(count - 1, 0), min(size, count)).round().astype(int))


def _usual_least(some: np.ndarray, prints: np.ndarray) -> float:
    """The distance to the nearest other one of `prints`, of which each of `some` is one, that 3 in 1,000 stay below."""
    if len(prints) < 2:
        return np.inf
    two = np.full((len(some), 2), np.inf)  # the nearest is the print itself
    for _, squared in _squared(some, prints, 1024):
        two = np.sort(
            np.column_stack([two, np.partition(squared, 1, axis=1)[:, :2] if squared.shape[1] > 1 else squared])
        )
        two = two[:, :2]
    return float(np.quantile(_distance(two[:, 1]), 0.003, method="lower"))


def copies(pictures: np.ndarray, known: np.ndarray, limit: float = COPY) -> list[Copy]:
    """The pictures uint8 [N, 64, 64, 3] that are one of the known fingerprints [M, 48], by their index.

    Found are the same picture, stored again, mirrored, and cropped or shifted a little. Each is named with the nearest
    of the known faces only. A blank picture is nobody's copy: among real faces there are nearly blank ones.
    """
    if not len(known):
        return []
    count = len(pictures)
    face, distance, mirrored = np.zeros(count, np.int64), np.full(count, np.inf, np.float32), np.zeros(count, bool)
    for view in VIEWS:
        prints = fingerprints(pictures, view)
        for flipped in (False, True):
            index, found = nearest(prints * MIRROR if flipped else prints, known)
            nearer = found < distance
            face[nearer], distance[nearer], mirrored[nearer] = index[nearer], found[nearer], flipped
    for view in CLOSE_VIEWS:
        prints = fingerprints(pictures, view)
        prints[mirrored] *= MIRROR
        steps = prints.astype(np.float32) - known[face]
        distance = np.minimum(distance, _distance((steps**2).sum(axis=1)))
    return [
        Copy(int(index), int(face[index]), float(distance[index]), bool(mirrored[index]))
        for index in np.flatnonzero((distance <= limit) & ~_blank(fingerprints(pictures)))
    ]


def _blank(prints: np.ndarray) -> np.ndarray:
    return ((prints[:, MEANS:].astype(np.float32) * STEP) ** 2).mean(axis=1) < BLANK**2


def of_faces(source: Path) -> Known:
    """The fingerprints of every picture of a folder or archive, shrunk to 64x64, in the numeric order of the names.

    Warns of files that cannot be read. Raises BadFingerprints.
    """
    names, prints, batch, skipped = [], [], [], []

    def describe():
        prints.append(fingerprints(np.stack(batch)))
        batch.clear()

    try:
        for name, read in members(source):
            if name.lower().endswith(ENDINGS):
                try:
                    batch.append(decode(read(), SIZE)[0])
                    names.append(PurePosixPath(name).stem)
                except UnreadablePicture as error:
                    skipped.append(f"{name}, which {error}")
            if len(batch) == 512:
                describe()
    except (BadArchive, OSError) as error:
        raise BadFingerprints(f"{source}: not usable ({error}): name a folder or zip of faces") from None
    if batch:
        describe()
    for line in shortened(skipped):
        warnings.warn(f"{source}: left out {line}", stacklevel=2)
    if not names:
        raise BadFingerprints(f"{source}: holds no picture ({', '.join(ENDINGS)}): name a folder or zip of faces")
    order = sorted(range(len(names)), key=lambda i: (len(names[i]), names[i]))  # 2 before 10
    return Known(np.concatenate(prints)[order], [names[i] for i in order])


def save_known(known: Known, recipe: str, path: Path = KNOWN) -> None:
    """Writes 48 bytes a face and the packed names, whole or not at all; `recipe` says which faces they are."""
    packed = lzma.compress("\n".join(known.names).encode())  # names that count upwards take about a byte each
    tensors = {"fingerprints": known.fingerprints, "names": np.frombuffer(packed, np.uint8)}
    with whole(path) as unfinished:
        save_file(tensors, unfinished, {"format": FORMAT, "recipe": recipe, "count": str(len(known.names))})


def load_known(path: Path = KNOWN) -> Known:
    """Known faces from a file of `save_known`. Raises BadFingerprints."""
    remedy = f"make it again (python -m grader.metrics.copies FACES --output {path})"
    try:
        with safe_open(path, "numpy") as file:
            if (found := file.metadata().get("format")) != FORMAT:
                raise BadFingerprints(f"{path}: holds fingerprints of another form ({found}): {remedy}")
            names = lzma.decompress(file.get_tensor("names").tobytes()).decode().split("\n")
            known = Known(file.get_tensor("fingerprints"), names)
    except (OSError, SafetensorError, AttributeError, lzma.LZMAError) as error:
        raise BadFingerprints(f"{path}: holds no fingerprints ({error}): {remedy}") from None
    if known.fingerprints.shape != (len(names), len(_WEIGHTS)):
        raise BadFingerprints(f"{path}: {len(names):,} names do not go with the fingerprints: {remedy}")
    return known


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
