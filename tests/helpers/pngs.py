"""PNG files that not every Pillow writes."""

from __future__ import annotations

import zlib

HEADER = 33  # bytes of the signature and of IHDR


def clear_at(grey: int, png: bytes) -> bytes:
    """A grey PNG with one value that is transparent, by a chunk tRNS (https://www.w3.org/TR/png-3/#11tRNS)."""
    chunk = b"tRNS" + grey.to_bytes(2, "big")
    return png[:HEADER] + (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png[HEADER:]
