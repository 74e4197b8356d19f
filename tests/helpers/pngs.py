"""PNG files that not every Pillow writes, chunk by chunk: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = 33  # bytes of the signature and of IHDR


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk with the right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """The chunk IHDR, which says what it likes."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def clear_at(grey: int, png: bytes) -> bytes:
    """A grey PNG with one value that is transparent, by a chunk tRNS."""
    return png[:HEADER] + chunk(b"tRNS", grey.to_bytes(2, "big")) + png[HEADER:]
