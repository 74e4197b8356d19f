"""How much memory the worst inputs that we could think of take: `python -m tests.helpers.memory FOLDER`.

Makes each in FOLDER, reads it in a process that has imported all that the grader imports, and prints a JSON line: what
it is, what became of it, and the peak in MiB. Linux only: its kernel counts the peak, and forgets it when told to.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from grader import check, scoring  # noqa: F401
from grader.errors import GraderError
from grader.features import reference
from grader.inputs import faces, runs, submission
from grader.metrics.duplicates import duplicates
from tests.helpers.hostile import bmp, npy, png, webp, zipped

MEGA = 2**20
HUGE = 3 * 2**30  # bytes unpacked: more than there may ever be in memory


def repeated(block: bytes, times: int) -> bytes:
    """`times` blocks compressed in the time of one: deflate's output after a full flush stands alone."""
    packer = zlib.compressobj(9, wbits=-15)
    once = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return once * times + packer.flush()


def tgz(*parts: bytes) -> bytes:
    """Raw deflate streams as one .tgz each after the other, without their checksums: an error comes at the end only."""
    head = b"\x1f\x8b\x08" + bytes(7)
    return b"".join(head + part + bytes(8) for part in parts)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def long_name(kind: bytes) -> bytes:
    """A tar whose first entry's name is zeros without end, in one stream."""
    packer = zlib.compressobj(9, wbits=-15)
    start = packer.compress(header("long", HUGE, kind)) + packer.flush(zlib.Z_FULL_FLUSH)
    return tgz(start + repeated(bytes(MEGA), HUGE // MEGA))


def many(kind: bytes, count: int) -> bytes:
    return tgz(repeated(header("x" * 90, 0, kind) * 100, count // 100))


def claiming(names: list[str], data: bytes, size: int) -> bytes:
    """A zip of files that all hold the same deflated data, and are said to have `size` bytes unpacked."""
    file, places = io.BytesIO(), []
    for name in names:
        places.append(file.tell())
        text = name.encode()
        file.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(data), size, len(text), 0) + text + data)
    start = file.tell()
    for name, place in zip(names, places, strict=True):
        text = name.encode()
        fields = (20, 20, 0, 8, 0, 0, 0, len(data), size, len(text), 0, 0, 0, 0, 0, place)
        file.write(struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + text)
    length = file.tell() - start
    file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(names), len(names), length, start, 0))
    return file.getvalue()


def lying_zip(names: list[str], unpacked: int) -> bytes:
    """A zip whose files say that they have 1,000 bytes."""
    return claiming(names, repeated(bytes(MEGA), unpacked // MEGA), 1000)


def crowded_zip(size: int) -> bytes:
    """A zip that is one list of files, as short as they can be named."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    count = size // len(entry)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count % 2**16, count % 2**16, count * len(entry), 0, 0)
    return entry * count + end


def large_picture(mode: str, form: str, **options) -> bytes:
    file = io.BytesIO()
    kind = np.uint16 if mode == "I;16" else np.uint8
    picture = Image.fromarray(np.arange(4096 * 4096, dtype=kind).reshape(4096, 4096))
    (picture if mode == "I;16" else picture.convert("RGB").convert(mode)).save(file, form, **options)
    return file.getvalue()


def animation(form: str, count: int) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), (number % 256, number // 256, 0)) for number in range(count)]
    frames[0].save(file, form, save_all=True, append_images=frames[1:])
    return file.getvalue()


def safetensors(text: bytes, size: int) -> bytes:
    return struct.pack("<Q", size) + text


def submissions() -> Iterator[tuple[str, str, bytes]]:
    """What it is, an ending, and its content."""
    yield "zip: 3 GB, said to be 1,000 bytes", ".zip", lying_zip(["1.jpg", "2.jpg"], HUGE)
    yield "zip: 9 files of 30 MB", ".zip", zipped([(f"{n}.jpg", bytes(30 * MEGA), {}) for n in range(9)])
    yield "zip: 300,000 entries", ".zip", crowded_zip(15 * MEGA)
    yield "zip: a list of files of 1 GB", ".zip", crowded_zip(60 * MEGA)
    yield "tgz: a name of 3 GB", ".tgz", long_name(tarfile.GNUTYPE_LONGNAME)
    yield "tgz: a pax header of 3 GB", ".tgz", long_name(tarfile.XHDTYPE)
    yield "tgz: a file of 3 GB", ".tgz", long_name(tarfile.REGTYPE)
    yield "tgz: a sparse file of 8 GB", ".tgz", gzip.compress(header("1.jpg", 2**33, tarfile.GNUTYPE_SPARSE))
    yield "tgz: 100,000 files", ".tgz", many(tarfile.REGTYPE, 100_000)
    yield "tgz: 100,000 folders", ".tgz", many(tarfile.DIRTYPE, 100_000)
    yield "npz: an array of 10^12", ".npz", zipped([("a.npy", npy(_npy_header("(10**12,)"), b""), {})])
    yield (
        "npz: an array of 10^12 pictures",
        ".npz",
        zipped([("a.npy", npy(_npy_header("(1000000000000, 64, 64, 3)"), b""), {})]),
    )
    yield "npz: an item of 2 GB", ".npz", zipped([("a.npy", npy(_npy_header("(9,)", "|S2147483647"), bytes(9)), {})])
    yield "npz: a header of 3 GB", ".npz", lying_npz()
    pictures = {
        "PNG of 30000x30000": png(30000, 30000),
        "PNG of 4096x4096, 16 bits": large_picture("I;16", "PNG"),
        "PNG of 4096x4096, RGBA": large_picture("RGBA", "PNG", compress_level=1),
        "JPEG of 4096x4096, progressive": large_picture("RGB", "JPEG", progressive=True),
        "JPEG of 4096x4096, CMYK": large_picture("CMYK", "JPEG"),
        "WebP of 16384x16384, animated": webp(16384, 16384),
        "BMP of 2^31 lines": bmp(2**31 - 1, -(2**31) + 1),
        "PNG with a text of 1 GB": png(
            64, 64, rows=bytes(13000), chunks=[(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**28)))]
        ),
        "GIF of 3,000 frames": animation("GIF", 3000),
        "PNG of 1,000 frames": animation("PNG", 1000),
    }
    for what, data in pictures.items():
        yield what, ".tgz", _packed(data)


def _npy_header(shape: str, kind: str = "|u1") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


def lying_npz() -> bytes:
    """An .npy of format 2 whose header has no end."""
    packer = zlib.compressobj(9, wbits=-15)
    start = packer.compress(b"\x93NUMPY\2\0" + struct.pack("<I", HUGE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return claiming(["a.npy"], start + repeated(bytes(MEGA), HUGE // MEGA), HUGE)


def _packed(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for number in (1, 2):
            entry = tarfile.TarInfo(f"{number}.jpg")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def others(folder: Path) -> Iterator[tuple[str, Callable]]:
    """What it is, and what reads it."""
    path = folder / "x.safetensors"
    path.write_bytes(safetensors(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' + b" " * 90 * MEGA, 90 * MEGA))
    yield "safetensors: a header of 90 MB", lambda: reference.of_file(path, "x", 3)
    (folder / "run").mkdir(exist_ok=True)
    for name, unit in (("grad_norms.csv", b"1,1,1\n"), ("history.csv", b"1,1,1\n"), ("config.json", b"[")):
        with open(folder / "run" / name, "wb") as file:
            columns = {"grad_norms.csv": b"step,layer,norm\n", "history.csv": b"step,fd_imagenet,afd\n"}
            file.write(columns.get(name, b"") + unit * (15 * MEGA // len(unit)))
    yield "a run of 15 MB tables", lambda: runs.read_run(folder / "run")
    (folder / "about.json").write_bytes(b'{"name": "' + b"x" * 90 * MEGA + b'"}')
    yield "an about.json of 90 MB", lambda: faces.face_set_name(folder)
    (folder / "x.ipynb").write_bytes(b'{"cells": [' + b"{}," * (7 * MEGA) + b"{}]}")
    yield "a notebook of 7 million cells", lambda: next(check.check_notebook(folder / "x.ipynb"))
    prints = np.zeros((submission.MAX_LOOSE, 48), np.int8)
    yield "10,000 equal pictures", lambda: duplicates(prints)


def measured(what: str, read: Callable) -> None:
    Path("/proc/self/clear_refs").write_text("5")
    try:
        read()
        became = "read"
    except GraderError as error:
        became = error.problems[0]
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    print(json.dumps({"what": what, "became": became, "peak": peak}), flush=True)


def main(folder: Path) -> None:
    measured("nothing", lambda: None)
    for what, ending, data in submissions():
        path = folder / f"x{ending}"
        path.write_bytes(data)
        del data
        for loose in (False, True):
            measured(f"{what}{', loose' * loose}", lambda: submission.read_submission(path, loose))  # noqa: B023
    for what, read in others(folder):
        measured(what, read)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
