"""The faces to train on and those to hold out, from a folder or an archive."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from grader.errors import GraderError
from grader.files import natural
from grader.inputs.archives import BadArchive, members
from grader.inputs.images import ENDINGS, UnreadablePicture, decode, is_picture
from grader.inputs.submission import SIZE

FILTERS = {name: getattr(Image.Resampling, name.upper()) for name in ("bilinear", "bicubic", "box", "lanczos")}
SHIFT = 3  # pixels that a picture is moved by


def hash_of(*arrays: np.ndarray) -> str:
    """8 hex digits that say whether arrays are the same: what is kept of them in a file is named by it."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:8]


def read_faces(path: str | Path) -> np.ndarray:
    """Every picture of a folder, .zip or .tgz as uint8 [N, 64, 64, 3], in the numeric order of their names.

    Raises GraderError when there is no picture, or one cannot be read, and OSError.
    """
    return read_some(Path(path), lambda name: True, SIZE)


def read_some(path: Path, wanted: Callable[[str], bool], size: int | None = None) -> np.ndarray:
    """The pictures of those names, as `read_faces` does; without a `size` as large as they are."""
    pictures = {}
    try:
        for name, read in members(path):
            if is_picture(name) and wanted(name):
                pictures[name] = decode(read(), size)[0]
    except UnreadablePicture as error:
        raise GraderError(f"{path}: {name} {error}: leave it out, or get the set again") from None
    except BadArchive as error:
        raise GraderError(str(error)) from None
    except FileNotFoundError:
        raise GraderError(f"{path}: no such file or folder") from None
    if not pictures:
        raise GraderError(f"{path}: holds no picture ({', '.join(ENDINGS)})")
    return np.stack([pictures[name] for name in sorted(pictures, key=natural)])


def read_originals(path: Path, odd: bool) -> np.ndarray:
    """Those of crypko_10000_96px with an odd number, or an even one, uint8 [N, 96, 96, 3]: 5,082 or 4,918."""
    return read_some(path, lambda name: name.lower().endswith(".jpg") and int(Path(name).stem) % 2 == odd)


def stored(picture: np.ndarray, codec: str, quality: int) -> np.ndarray:
    """A picture uint8 [H, W, 3] as it comes back from a file of that kind: "png", "jpeg" or "webp"."""
    if codec == "png":
        return picture
    file = io.BytesIO()
    Image.fromarray(picture).save(file, codec, quality=quality, **({"method": 1} if codec == "webp" else {}))
    return decode(file.getvalue())[0]


def shrunk(pictures: np.ndarray, filter_name: str = "bilinear") -> np.ndarray:
    """Pictures uint8 [N, H, W, 3] as [N, 64, 64, 3], by one of FILTERS."""
    return np.stack([np.asarray(Image.fromarray(p).resize((64, 64), FILTERS[filter_name])) for p in pictures])


def harmlessly(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One picture uint8 [H, W, 3], shrunk to 64x64 by any filter if it is larger, and stored in any good quality."""
    image = Image.fromarray(picture)
    if image.size != (64, 64):
        image = image.resize((64, 64), list(FILTERS.values())[rng.integers(len(FILTERS))])
    codec = ("png", "jpeg", "jpeg", "webp")[rng.integers(4)]
    return stored(np.asarray(image), codec, int(rng.integers(70, 101)))


def split(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(faces to train on, faces held out): every sixth one is held out."""
    held_out = np.arange(len(faces)) % 6 == 5
    return faces[~held_out], faces[held_out]


def shifted(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture moved by up to SHIFT pixels, and mirrored half of the time."""
    y, x = rng.integers(0, 2 * SHIFT + 1, 2)
    size = len(picture)
    picture = np.pad(picture, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")[y : y + size, x : x + size]
    return picture[:, :: rng.choice([-1, 1])]
