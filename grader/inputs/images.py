"""The one decoder: from picture files to arrays, for submissions and references alike.

Only plain picture formats are opened, and a picture's size is checked before it is decoded.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from grader.errors import first_line

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf")  # chunks of a PNG
LUMA = 3688  # sum of the table of quality 50
MAX_PIXELS = 16 * 2**20  # of one picture, before it is shrunk


def is_picture(name: str) -> bool:
    """Whether a file is, by its name, a picture that is read here."""
    return name.lower().endswith(ENDINGS)


class UnreadablePicture(Exception):
    """A file that is not a picture we can read; the message says why."""


class WrongSize(UnreadablePicture):
    """A picture of another size than it should have."""


def jpeg(picture: np.ndarray, quality: int) -> bytes:
    """A picture uint8 [H, W, 3] as a file; in memory, since Pillow does not notice a full disk before the last byte."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def decode(data: bytes, size: int | None = None, shrink: bool = True) -> tuple[np.ndarray, str]:
    """The RGB pixels, uint8 [H, W, 3], of a picture file, and the mode that it was stored in ("RGB", "L", "RGBA" …).

    With `size` it is shrunk to [size, size, 3] as the course does: bilinear with antialiasing, the aspect not kept; or,
    unless `shrink`, one of another size is refused. Transparent pictures are laid on white, of animated ones the first
    frame is taken, and no EXIF tag turns anything: pixels are scored as they are stored. Raises UnreadablePicture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow grumbles over metadata
            return _decode(data, size, shrink)
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError:
        raise UnreadablePicture("is far too large") from None
    except Image.UnidentifiedImageError:
        raise UnreadablePicture("is not a picture (JPEG, PNG, WebP or BMP)") from None
    except Exception as error:  # a decoder fed with garbage may raise anything
        raise UnreadablePicture(f"is damaged ({first_line(error)})") from None


def _decode(data: bytes, size: int | None, shrink: bool) -> tuple[np.ndarray, str]:
    with Image.open(io.BytesIO(_without_texts(data)), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise UnreadablePicture(f"is {picture.width}x{picture.height}, too large")
        if not shrink and picture.size != (size, size):
            raise WrongSize(f"is {picture.width}x{picture.height}")
        mode = picture.mode
        if mode.startswith("I") or mode == "F":  # 16 bits and more: convert() would clip them to white
            values = np.array(picture, dtype=np.float32)
            values[values == picture.info.get("transparency")] = 65535
            picture = Image.fromarray((values / 257).clip(0, 255).astype(np.uint8))
        elif mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("RGB")
        if size and picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(picture), mode


def jpeg_quality(data: bytes, size: int) -> int | None:
    """The quality 1 … 100 that a JPEG of [size, size] was stored with, told from its first table; None for other and
    damaged files, and for one of another size: once it is shrunk, its pixels do not show how it was stored.

    The tables of the Independent JPEG Group, which all common programs take, are one table times a factor, and at least
    1: at quality 100, where the factor is 0, nothing but ones.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
                if picture.size != (size, size):
                    return None
                table = picture.quantization[0]
    except Exception:  # as above
        return None
    if max(table) == 1:
        return 100
    percent = 100 * sum(table) / LUMA
    return round(min(max((200 - percent) / 2 if percent <= 100 else 5000 / percent, 1), 100))


def _without_texts(data: bytes) -> bytes:
    """A PNG without its texts and colour profile, which no pixel needs: Pillow unpacks up to 64 MB of them a picture.

    W3C, PNG specification, section 5.3: a chunk is its length, its type, that many bytes, and a checksum of 4.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    parts, start = [data[:8]], 8
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] not in TEXTS:
            parts.append(data[start:end])
        start = end
    return b"".join(parts)
