"""The pictures on the pages: grids, strips, and pictures side by side."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from grader.features.statistics import evenly_spaced
from grader.inputs.images import jpeg

MARK = (214, 58, 48)  # the frame of a picture that is not as it should be
CLEAR = 0  # what lies between pictures lets the page's paper through, light or dark
GAP = 2  # pixels between those of a strip


def grid(pictures: np.ndarray, marked: np.ndarray, columns: int, gap: int = 3) -> np.ndarray:
    """Pictures [N, 64, 64, 3] as one, uint8 [H, W, 4], clear in between; those marked, bool [N], are framed in red."""
    size = pictures.shape[1]
    cell = size + 2 * gap
    made = np.full((-(-len(pictures) // columns) * cell, columns * cell, 4), CLEAR, np.uint8)
    for place, picture in enumerate(pictures):
        y, x = cell * (place // columns), cell * (place % columns)
        if marked[place]:
            made[y : y + cell, x : x + cell] = (*MARK, 255)
        tile = made[y + gap : y + gap + size, x + gap : x + gap + size]
        tile[..., :3], tile[..., 3] = picture, 255
    return made


def strip(pictures: np.ndarray, count: int) -> bytes:
    """A small JPEG of some of the pictures [N, 64, 64, 3], spread evenly, side by side, a little apart."""
    chosen = pictures[evenly_spaced(len(pictures), count)]
    apart = np.pad(chosen, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    return jpeg(np.concatenate(apart, axis=1)[:, :-GAP], quality=80)


def png_uri(pixels: np.ndarray) -> str:
    """Pixels uint8 [H, W, 3 or 4] as the address of a picture that stands in the page itself."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return uri(file.getvalue())


def uri(png: bytes) -> str:
    """The same of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
