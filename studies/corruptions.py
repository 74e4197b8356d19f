"""Ways in which a picture of a face goes wrong, each with a severity from 0 (untouched) to 1 (ruined).

A corruption is a function (picture, severity, rng, other) -> picture, with pictures uint8 [64, 64, 3]; `other` is a
second face, for the kinds that mix two.
"""

from __future__ import annotations

import cv2
import numpy as np


def _blur(picture, severity, rng, other):
    sigma = 3 * severity
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0.1 else picture


def _noise(picture, severity, rng, other):
    return _uint8(picture + rng.normal(0, 70 * severity, picture.shape))


def _jpeg(picture, severity, rng, other):
    quality = round(95 - 90 * severity)
    _, code = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]


def _checkerboard(picture, severity, rng, other):
    """The grid that transposed convolutions leave where their kernels overlap unevenly."""
    period = int(rng.choice([2, 4, 8]))
    tile = np.kron(rng.choice([-1, 1], (2, 2)), np.ones((period // 2, period // 2)))
    tile = (tile - tile.mean() + rng.normal(0, 0.5, (period, period)))[..., None] * rng.uniform(0.5, 1, 3)
    repeats = len(picture) // period
    return _uint8(picture + 60 * severity * np.tile(tile, (repeats, repeats, 1)))


def _cast(picture, severity, rng, other):
    direction = rng.normal(size=3)
    return _uint8(picture + 120 * severity * direction / np.linalg.norm(direction))


def _overexposure(picture, severity, rng, other):
    return _uint8(picture * (1 + 1.5 * float(severity)))


def _fade(picture, severity, rng, other):
    grey = rng.uniform(60, 200)
    return _uint8(picture + severity * (grey - picture))


def _squares(picture, severity, rng, other):
    picture, count = picture.copy(), int(rng.integers(1, 6))
    side = round(40 * severity / np.sqrt(count))
    for y, x in rng.integers(0, len(picture) - side + 1, (count, 2)):
        picture[y : y + side, x : x + side] = 0
    return picture


def _swap(picture, severity, rng, other):
    side = int(rng.choice([8, 16]))
    tiles = _tiles(picture, side)
    moved = rng.permutation(len(tiles))[: round(severity * len(tiles))]
    tiles[moved] = tiles[np.roll(moved, 1)]
    return _untile(tiles)


def _salt(picture, severity, rng, other):
    hit = rng.random(picture.shape[:2]) < 0.4 * severity
    return np.where(hit[..., None], 255 * rng.integers(0, 2, (*hit.shape, 1)), picture).astype(np.uint8)


def _posterise(picture, severity, rng, other):
    step = 1 + 150 * severity
    return _uint8(np.round(picture / step) * step)


def _ghost(picture, severity, rng, other):
    return _uint8(picture + severity / 2 * (other.astype(float) - picture))


def _warp(picture, severity, rng, other):
    coarse = rng.normal(0, 9 * severity, (2, int(rng.integers(3, 9)), int(rng.integers(3, 9)))).astype(np.float32)
    size = picture.shape[1::-1]
    y, x = np.indices(picture.shape[:2], dtype=np.float32)
    shift = [cv2.resize(field, size, interpolation=cv2.INTER_CUBIC) for field in coarse]
    return cv2.remap(picture, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _splice(picture, severity, rng, other):
    """One side of the face, up to half of it, belongs to somebody else."""
    width = round(severity * len(picture) / 2)
    turns = int(rng.integers(4))
    picture, other = np.rot90(picture, turns).copy(), np.rot90(other, turns)
    picture[:, :width] = other[:, :width]
    return np.ascontiguousarray(np.rot90(picture, -turns))


def _turn(picture, severity, rng, other):
    angle = 180 * severity * rng.choice([-1, 1])
    centre = (len(picture) - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), angle, 1)
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def _fog(picture, severity, rng, other):
    """Soft blobs of colour, as a generator leaves that has found the mean face and little else."""
    coarse = rng.normal(0, 90 * severity, (*rng.integers(4, 17, 2), 3))
    return _uint8(picture + cv2.resize(coarse, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC))


KINDS = {
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "checkerboard": _checkerboard,
    "colour cast": _cast,
    "overexposure": _overexposure,
    "fade": _fade,
    "black squares": _squares,
    "swapped patches": _swap,
    "salt and pepper": _salt,
    "posterise": _posterise,
    "ghost": _ghost,
    "warp": _warp,
    "splice": _splice,
    "turn": _turn,
    "fog": _fog,
}


def no_face(kind: str, faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One picture uint8 [64, 64, 3] that no one would call a face; `kind` is one of NO_FACES.

    "patches" and "upside down" are made from one of the `faces` [N, 64, 64, 3].
    """
    size = faces.shape[1]
    if kind == "noise":
        low, high = np.sort(rng.uniform(0, 256, 2))
        shape = (size, size, rng.choice([1, 3]))
        return _uint8(np.broadcast_to(rng.uniform(low, high, shape), (size, size, 3)))
    if kind == "flat":
        return np.broadcast_to(rng.integers(0, 256, 3), (size, size, 3)).astype(np.uint8)
    if kind == "gradient":
        corners = rng.uniform(0, 256, (2, 2, 3))
        return _uint8(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR))
    if kind == "texture":  # noise of one grain, from specks to clouds, or stripes
        if rng.random() < 0.5:
            grain = rng.uniform(0, 256, (*rng.integers(2, 40, 2), 3))
            return _uint8(cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC))
        y, x = np.indices((size, size))
        wave = np.sin(rng.uniform(-1.5, 1.5) * x + rng.uniform(-1.5, 1.5) * y + rng.uniform(0, 7))
        return _uint8(rng.uniform(0, 256, 3) + wave[..., None] * rng.uniform(20, 120, 3))
    face = faces[rng.integers(len(faces))]
    if kind == "patches":
        return _untile(rng.permutation(_tiles(face, int(rng.choice([8, 16])))))
    return face[::-1].copy()


NO_FACES = ("noise", "flat", "gradient", "texture", "patches", "upside down")


def _tiles(picture: np.ndarray, side: int) -> np.ndarray:
    n = len(picture) // side
    return picture.reshape(n, side, n, side, 3).swapaxes(1, 2).reshape(n * n, side, side, 3)


def _untile(tiles: np.ndarray) -> np.ndarray:
    n, side = round(len(tiles) ** 0.5), tiles.shape[1]
    return tiles.reshape(n, n, side, side, 3).swapaxes(1, 2).reshape(n * side, n * side, 3)


def _uint8(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
