"""From a folder or an archive of picture files to arrays: one path for submissions and references alike.

Files come from strangers. Archives are read member by member and never extracted, links are not followed, sizes are
checked before anything is decompressed or decoded, and only plain picture formats are opened.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 16 * 2**20  # of one picture, before it is shrunk
SYSTEM_FILES = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


class BadArchive(Exception):
    """An archive that is broken, or holds what no honest one does; the message names the entry and the remedy."""


class UnreadablePicture(Exception):
    """A file that is not a picture we can read; the message says why."""


def members(source: Path, max_files: int | None = None, max_bytes: int | None = None) -> Iterator[tuple[str, Callable]]:
    """Yields (name, read) for every regular file of a folder, .zip or .tar[.gz], where read() returns its bytes.

    Names are relative, with forward slashes. What operating systems leave behind (.DS_Store, __MACOSX) is passed over.
    A member must be read before the next one is asked for.
    Raises FileNotFoundError, PermissionError, and BadArchive for links, absolute or parent paths, broken archives, more
    than `max_files` files, or more than `max_bytes` bytes in all.
    """
    files = total = 0
    for name, size, read in _entries(source):
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or any(part in SYSTEM_FILES or part.startswith("._") for part in parts):
            continue
        name = "/".join(parts)
        if parts[0] == "/" or ".." in parts or parts[0].endswith(":"):
            raise BadArchive(f"{source}: {name!r} points outside the archive: pack the pictures alone, flat")
        if read is None:
            raise BadArchive(f"{source}: {name!r} is a link or a device: pack the pictures themselves")
        files, total = files + 1, total + size
        if max_files is not None and files > max_files:
            raise BadArchive(f"{source}: more than {max_files:,} files: pack the pictures alone")
        if max_bytes is not None and total > max_bytes:
            raise BadArchive(f"{source}: more than {max_bytes / 1e6:.0f} MB unpacked: pack the pictures alone")
        yield name, partial(_unpacked, source, name, read)


def _unpacked(source: Path, name: str, read: Callable) -> bytes:
    try:
        return read()
    except PermissionError:
        raise
    except Exception as error:  # broken off, a wrong checksum, encrypted, an unknown compression …
        raise BadArchive(f"{source}: {name} cannot be unpacked ({_first_line(error)}): pack it again") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(":")


def _entries(source: Path) -> Iterator[tuple[str, int, Callable | None]]:
    """(name, size, read) of every entry that is not a folder; read is None for what must not be read."""
    if source.is_dir():
        yield from _folder_entries(source, source)
    elif not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
                yield entry.filename, entry.file_size, None if is_link else lambda e=entry: archive.read(e)
    else:
        try:
            with tarfile.open(source, "r:*") as archive:
                for entry in archive:
                    if entry.isdir():
                        continue
                    read = (lambda e=entry: archive.extractfile(e).read()) if entry.isreg() else None
                    yield entry.name, entry.size, read
        except (tarfile.TarError, EOFError, OSError) as error:
            if isinstance(error, PermissionError):
                raise
            reason = _first_line(error)
            raise BadArchive(f"{source}: not a folder, .zip or .tar[.gz] that can be read ({reason})") from None


def _folder_entries(root: Path, folder: Path) -> Iterator[tuple[str, int, Callable | None]]:
    for entry in sorted(os.scandir(folder), key=lambda entry: (len(entry.name), entry.name)):  # 2.jpg before 10.jpg
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _folder_entries(root, path)
        else:
            regular = entry.is_file(follow_symlinks=False)
            yield (
                path.relative_to(root).as_posix(),
                entry.stat(follow_symlinks=False).st_size,
                (path.read_bytes if regular else None),
            )


def decode(data: bytes, size: int | None = None) -> tuple[np.ndarray, str]:
    """The RGB pixels, uint8 [H, W, 3], of a picture file, and the mode that it was stored in ("RGB", "L", "RGBA" …).

    With `size` it is shrunk to [size, size, 3] as the course does: bilinear with antialiasing, the aspect not kept.
    Transparent pictures are laid on white. Raises UnreadablePicture.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UnreadablePicture(f"is {picture.width}x{picture.height}, too large")
            mode = picture.mode
            if mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            elif mode.startswith("I") or mode == "F":  # 16 bits and more: convert() would clip them to white
                values = np.asarray(picture, dtype=np.float64)
                picture = Image.fromarray((values / 257).clip(0, 255).astype(np.uint8))
            picture = picture.convert("RGB")
            if size and picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(picture), mode
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError:
        raise UnreadablePicture("is far too large") from None
    except Image.UnidentifiedImageError:
        raise UnreadablePicture("is not a picture (JPEG, PNG, WebP or BMP)") from None
    except Exception as error:  # a decoder fed with garbage may raise anything
        raise UnreadablePicture(f"is damaged ({error})") from None


def batches(source: Path, size: int = 64, batch_size: int = 512, skipped: list | None = None) -> Iterator[np.ndarray]:
    """Batches uint8 [≤ batch_size, size, size, 3] of all pictures of a folder or archive, shrunk to `size`.

    "NAME REASON" of files that cannot be read is appended to `skipped`.
    """
    batch = []
    for name, read in members(source):
        if name.lower().endswith(ENDINGS):
            try:
                batch.append(decode(read(), size)[0])
            except UnreadablePicture as error:
                if skipped is not None:
                    skipped.append(f"{name} {error}")
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def named(source: Path, stems: Container[str], size: int = 64) -> Iterator[tuple[str, np.ndarray]]:
    """(stem, picture uint8 [size, size, 3]) of those pictures of a folder or archive whose file name is a stem."""
    for name, read in members(source):
        stem = PurePosixPath(name).stem
        if stem in stems and name.lower().endswith(ENDINGS):
            try:
                yield stem, decode(read(), size)[0]
            except UnreadablePicture:
                continue  # whoever asked for it could read it: it has changed since
