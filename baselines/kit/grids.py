"""Grids of pictures, cut into single pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from kit.faces import natural_key
from kit.files import failed_write_reported

SIDE = 64  # pixels of a picture


def cut_grid(pixels):
    """The pictures, each uint8 [64, 64, 3], of a grid [H, W, 3] as torchvision's save_image writes it; none if it
    is no such grid. Pictures stand 0 to 4 pixels apart, with as much around them. Places that are left empty at the
    end of the last row, all of the colour between the pictures, or black or white where they touch, are no pictures."""
    height, width, _ = pixels.shape
    fitting = [
        gap
        for gap in (2, 1, 3, 4, 0)
        if min(height, width) > gap and (height - gap) % (SIDE + gap) == (width - gap) % (SIDE + gap) == 0
    ]
    clear = [gap for gap in fitting if gap and of_one_colour(pixels, gap)]
    if not fitting or (not clear and len(fitting) > 1 and 0 not in fitting):
        return []  # no grid, or one that may be cut in several ways
    gap = clear[0] if clear else fitting[-1]
    step = SIDE + gap
    corners = [(y, x) for y in range(gap, height - gap, step) for x in range(gap, width - gap, step)]
    pictures = [pixels[y : y + SIDE, x : x + SIDE] for y, x in corners]
    colour = np.median(pixels[:gap].reshape(-1, 3), axis=0) if gap else 255 * (pictures[-1].mean() > 127)
    empty = [is_empty(picture, colour) for picture in pictures]
    in_last_row = (width - gap) // step
    if all(empty[-in_last_row:]):  # no grid has a row without a picture: these are dark ones
        return [] if all(empty) else pictures
    while empty[-1]:
        empty.pop()
    return pictures[: len(empty)]


def of_one_colour(pixels, gap):
    """Whether nearly all that lies between the pictures of a grid has one colour, as far as JPEG lets it."""
    ys, xs = (np.arange(side) % (SIDE + gap) < gap for side in pixels.shape[:2])
    between = pixels[ys[:, None] | xs].astype(int)  # [n, 3]
    far = np.abs(between - np.median(between, axis=0)).max(axis=1) > 64
    return far.mean() < 0.1


def is_empty(picture, colour):
    centre = picture[16:-16, 16:-16].astype(int)  # around it JPEG blurs the neighbours in
    return (centre == centre[0, 0]).all() and (np.abs(centre[0, 0] - colour) <= 8).all()


def grids_in(folder):
    """The grids by averaged weights that stylegan2_pytorch made when it was last asked for some, in the folders of a
    folder; if it was not, the last of those that it made while it trained."""
    grids = sorted(Path(folder).glob("*/*-ema.jpg"), key=lambda path: natural_key(str(path)))
    asked = [path for path in grids if path.name.startswith("generated-")]
    if not asked:
        return grids[-1:]
    times = [str(path).rsplit("-", 2)[0] for path in asked]  # generated-TIME-NUMBER-ema.jpg
    _, newest = max(zip([path.stat().st_mtime for path in asked], times, strict=True))
    return [path for path, time in zip(asked, times, strict=True) if time == newest]


def cut_grids(paths, folder, most=1000):
    """Writes the first `most` pictures of some grids as 1.jpg, 2.jpg, … into a new folder. Names those that cannot be
    cut. Raises SystemExit where the folder is there: pictures of other grids may lie in it."""
    pictures = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                found = cut_grid(np.asarray(picture.convert("RGB")))
            if not found:
                raise ValueError(f"no grid of pictures of {SIDE}×{SIDE}")
            pictures += found
        except Exception as error:  # a decoder fed with garbage may raise anything
            print(f"left out {path}: {error}")
    if pictures and Path(folder).exists():
        raise SystemExit(f"{folder}/ exists: rename it, and run this cell again")
    if pictures:
        with failed_write_reported(Path(folder)):
            Path(folder).mkdir(parents=True)
            for number, picture in enumerate(pictures[:most], 1):
                Image.fromarray(picture).save(Path(folder, f"{number}.jpg"))
        print(f"{min(len(pictures), most):,} of {len(pictures):,} pictures are in {folder}/")
