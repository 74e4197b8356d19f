"""A picture's fingerprint: 48 low frequencies of its two-dimensional cosine transform, as perceptual hashes use it.

Zauner, http://phash.org/docs/pubs/thesis_zauner.pdf. 36 values are of luma and 6 of each colour difference, each
divided by its usual size in faces, all divided by the picture's contrast. It is taken of the middle 56x56 pixels, so
that a picture that lost up to 4 pixels a side still holds all of it. The odd horizontal frequencies change their sign
in a mirror, so that mirrored copies cost no second fingerprint. What can be drawn from it again is a blur of about 6x6
cells of grey and 2x3 of colour, no face.

Distances are root mean square differences, where 1.2 is usual between two faces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from grader.files import natural
from grader.inputs.archives import BadArchive
from grader.inputs.faces import batches, in_short, tell, without_ending
from grader.inputs.images import ENDINGS
from grader.inputs.known_faces import VALUES, BadFingerprints, Known
from grader.inputs.submission import SIZE

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
    found = np.empty((len(pictures), VALUES), np.int8)
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
    for start, squared in squared_distances(prints, known, chunk):
        best = squared.argmin(axis=1)
        value = np.take_along_axis(squared, best[:, None], axis=1)[:, 0]
        nearer = value < least
        index[nearer], least[nearer] = start + best[nearer], value[nearer]
    return index, rms(least)


def squared_distances(prints: np.ndarray, known: np.ndarray, chunk: int) -> Iterator[tuple[int, np.ndarray]]:
    """(start, squared distances [N, ≤ chunk] to known[start:]), in steps of a stored value.

    |a − b|² = |a|² − 2ab + |b|² as one matrix product, of (|a|², 1, −2a) and (1, |b|², b).
    """
    a, b = prints.astype(np.float32), known.astype(np.float32)
    a = np.column_stack([(a**2).sum(axis=1), np.ones(len(a), np.float32), -2 * a])  # [N, 50]
    b = np.column_stack([np.ones(len(b), np.float32), (b**2).sum(axis=1), b])  # [M, 50]
    for start in range(0, len(b), chunk):
        yield start, a @ b[start : start + chunk].T


def rms(squared: np.ndarray) -> np.ndarray:
    """Distances of `squared_distances`, of any shape: root mean squares, usually 1.2 between two faces."""
    return np.sqrt(squared / VALUES) * STEP


def squared_steps(distance: float) -> float:
    """The opposite: the squared distance, in steps of a stored value."""
    return (distance / STEP) ** 2 * VALUES


def blank(prints: np.ndarray) -> np.ndarray:
    """Whether pictures with fingerprints int8 [N, 48] show next to nothing but a colour: bool [N]."""
    return ((prints[:, MEANS:].astype(np.float32) * STEP) ** 2).mean(axis=1) < BLANK**2


def of_faces(source: Path) -> Known:
    """The fingerprints of every picture of a folder or archive, shrunk to 64x64, in the numeric order of the names.

    A name is the path in there without its ending; with it where two pictures differ in nothing else. Warns of files
    that cannot be read. Raises BadFingerprints.
    """
    names, prints, skipped = [], [], []
    try:
        for some, pictures in batches(source, skipped):
            names += some
            prints.append(fingerprints(pictures))
    except (BadArchive, OSError) as error:
        raise BadFingerprints(f"{source}: not usable ({error}): name a folder or zip of faces") from None
    tell(source, in_short(skipped))
    if not names:
        raise BadFingerprints(f"{source}: holds no picture ({', '.join(ENDINGS)}): name a folder or zip of faces")
    count = Counter(map(without_ending, names))
    names = [short if count[short := without_ending(name)] == 1 else name for name in names]
    order = sorted(range(len(names)), key=lambda i: natural(names[i]))
    return Known(np.concatenate(prints)[order], [names[i] for i in order])
