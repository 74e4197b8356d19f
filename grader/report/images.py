"""The pictures on the pages: grids, strips, and pictures side by side."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

GRID = 10  # pictures a side in the sample grid
MARK = (214, 58, 48)  # the frame of a picture that is not as it should be


def sample_grid(pictures: np.ndarray, marked: np.ndarray, most: int = GRID * GRID, gap: int = 3) -> np.ndarray:
    """Up to `most` pictures [N, 64, 64, 3], spread evenly, as one, uint8 [H, W, 3]; those marked, bool [N], are framed
    in red."""
    chosen = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).round().astype(int)
    size, rows = pictures.shape[1], -(-len(chosen) // GRID)
    cell = size + 2 * gap
    grid = np.full((rows * cell, GRID * cell, 3), 255, np.uint8)
    for place, index in enumerate(chosen):
        y, x = cell * (place // GRID), cell * (place % GRID)
        if marked[index]:
            grid[y : y + cell, x : x + cell] = MARK
        grid[y + gap : y + gap + size, x + gap : x + gap + size] = pictures[index]
    return grid


def side_by_side(pictures: list[np.ndarray], gap: int = 2) -> np.ndarray:
    """Pictures [64, 64, 3] side by side, a little apart."""
    white = np.full((len(pictures[0]), gap, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=1)


def strip(pictures: np.ndarray, count: int) -> bytes:
    """A small JPEG of some of the pictures [N, 64, 64, 3], spread evenly, side by side."""
    chosen = np.linspace(0, len(pictures) - 1, count).round().astype(int)
    file = io.BytesIO()
    Image.fromarray(side_by_side([pictures[i] for i in chosen])).save(file, "JPEG", quality=80)
    return file.getvalue()


def png(pixels: np.ndarray) -> str:
    """Pixels uint8 [H, W, 3] as the address of a picture that stands in the page itself."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return uri(file.getvalue())


def uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
