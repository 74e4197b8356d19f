"""Real faces of any size and format, made into the 64x64 set which the notebooks read."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from data import DataError
from data.faceset import ABOUT, about_json, new_set
from data.parallel import ordered_map

TABLES = ("tags.csv", "attributes.csv")  # what is known of the faces: goes along unchanged, tied by the stems
MAX_PIXELS = 64 * 2**20
MAX_BYTES = 256 * 2**20  # of one file inside a zip, unpacked


def prepare(
    source: Path,
    output: Path,
    size: int = 64,
    limit: int | None = None,
    name: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> tuple[int, int]:
    """Writes the first `limit` files of a folder or zip as a set of PNG [size, size]; returns (written, skipped).

    A file that cannot be read is named on stderr and skipped.
    Raises DataError when the source is neither folder nor zip, holds no readable picture, or the output is taken.
    """
    source, output = Path(source).resolve(), Path(output).resolve()
    if output == source or output in source.parents:
        raise DataError(f"{output}: would replace its own source; name another output")
    members = _members(source)
    pictures = [member for member in members if PurePosixPath(member).name not in (*TABLES, ABOUT)][:limit]
    written = 0
    try:
        with new_set(output, overwrite) as write:
            shrunk = ordered_map(partial(_shrink_member, source, size), pictures, workers)
            progress = tqdm(shrunk, total=len(pictures), unit=" faces", disable=None)
            for member, stem, (png, problem) in zip(pictures, _stems(pictures), progress, strict=True):
                if problem:
                    tqdm.write(f"skipped {member}: {problem}", file=sys.stderr)
                else:
                    write(f"{stem}.png", png)
                    written += 1
            if not written:
                raise DataError(f"{source}: no picture in it could be read; name the folder or zip with the faces")
            for table in TABLES:
                found = [member for member in members if PurePosixPath(member).name == table]
                if found:
                    write(table, _read(source, min(found, key=lambda member: member.count("/"))))
            about = {"name": name or source.stem, "count": written, "size": size, "source": source.name}
            write(ABOUT, about_json({**about, "filter": "bilinear"}))
    finally:
        _archive.cache_clear()
    return written, len(pictures) - written


def shrink(file, size: int = 64) -> Image.Image:
    """One picture, a path or an open file, as RGB [size, size]; shrunk as the course does, by Pillow's bilinear filter.

    Turned upright by its EXIF tag; what is transparent becomes white. Raises what Pillow raises for a broken
    picture, and ValueError for one of more than MAX_PIXELS, before any pixel of it is decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow grumbles over metadata; the size we check ourselves
        try:
            image = Image.open(file)
        except Image.DecompressionBombError as error:
            raise ValueError("more than 64 megapixels") from error
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} is more than 64 megapixels")
            upright = ImageOps.exif_transpose(image)
            return _rgb(upright).resize((size, size), Image.Resampling.BILINEAR)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow itself would cut them off at 255
        return Image.fromarray((np.asarray(image) / 257).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _shrink_member(source: Path, size: int, member: str) -> tuple[bytes | None, str | None]:
    """The PNG of one member, or in one line why there is none."""
    try:
        png = io.BytesIO()
        shrink(io.BytesIO(_read(source, member)), size).save(png, "PNG")
        return png.getvalue(), None
    except Image.UnidentifiedImageError:
        return None, "not a picture"
    except Exception as error:  # whatever a broken file provokes in a decoder must not stop the other 71,313
        return None, (str(error) or type(error).__name__).splitlines()[0]


def _members(source: Path) -> list[str]:
    """Every file in a folder or zip, as a path with slashes, in natural order: 2.jpg before 10.jpg."""
    if source.is_dir():
        names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    elif source.exists():
        raise DataError(f"{source}: neither a folder nor a whole zip; download it again or name another source")
    else:
        raise DataError(f"{source}: does not exist; name a folder or zip of faces")
    hidden = re.compile(r"(^|/)(\.[^./]|__MACOSX/)")  # what systems leave behind
    return sorted((name for name in names if not hidden.search(name)), key=_natural)


def _natural(name: str) -> list:
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", name))]


def _stems(members: Iterable[str]) -> list[str]:
    """A file name without its suffix for each member: its own, made unique with -2, -3 … and safe on every system."""
    taken: dict[str, int] = {}
    stems = []
    for member in members:
        own = re.sub(r'[<>:"|?*\x00-\x1f]', "_", PurePosixPath(member.replace("\\", "/")).stem)
        stem = own
        while stem.casefold() in taken:
            taken[own.casefold()] += 1
            stem = f"{own}-{taken[own.casefold()]}"
        taken[stem.casefold()] = 1
        stems.append(stem)
    return stems


def _read(source: Path, member: str) -> bytes:
    if source.is_dir():
        return (source / member).read_bytes()
    archive = _archive(source, os.getpid())
    if archive.getinfo(member).file_size > MAX_BYTES:
        raise ValueError("more than 256 MiB unpacked")
    return archive.read(member)


@lru_cache(maxsize=1)
def _archive(source: Path, process: int) -> zipfile.ZipFile:
    # Opened once a process: its directory is long to read, and two processes must not share a position in a file.
    return zipfile.ZipFile(source)
