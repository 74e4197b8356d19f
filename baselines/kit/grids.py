"""Grids of pictures, cut into single pictures."""

from pathlib import Path

import numpy as np
from PIL import Image


def cut_grid(pixels, size=64):
    """The pictures, each uint8 [size, size, 3], of a grid [H, W, 3] as torchvision's save_image writes it; none if it
    is no such grid. Pictures stand 0 to 4 pixels apart, with as much around them. Places that are left empty at the
    end, all black or all white, are no pictures."""
    for gap in (2, 0, 1, 3, 4):  # 2 is torchvision's own
        (rows, rest_below), (columns, rest_beside) = (divmod(side - gap, size + gap) for side in pixels.shape[:2])
        if rows > 0 and columns > 0 and not rest_below and not rest_beside:
            break
    else:
        return []
    corners = [(gap + i * (size + gap), gap + j * (size + gap)) for i in range(rows) for j in range(columns)]
    pictures = [pixels[y : y + size, x : x + size] for y, x in corners]
    while pictures and is_empty(pictures[-1]):
        pictures.pop()
    return pictures


def is_empty(picture):
    centre = picture[16:-16, 16:-16]  # around it JPEG blurs the neighbours in
    return centre.max() <= 8 or centre.min() >= 247


def cut_grids(paths, folder, most=1000):
    """Writes the first `most` pictures of some grids as 1.jpg, 2.jpg, … into a folder."""
    pictures = [picture for path in paths for picture in cut_grid(np.asarray(Image.open(path).convert("RGB")))]
    for number, picture in enumerate(pictures[:most], 1):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(Path(folder, f"{number}.jpg"))
    if pictures:
        print(f"{min(len(pictures), most):,} of {len(pictures):,} pictures are in {folder}/")
