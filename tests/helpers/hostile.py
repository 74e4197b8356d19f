"""What strangers may send, as hypothesis strategies: pictures, archives, arrays and tables, mostly not quite right.

Everything starts from something valid, so that a case gets past the first check, and is then spoiled in one or two
places. PROOF is what a payload writes if it is ever unpickled or run.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from tests.helpers.pngs import SIGNATURE, chunk, header

PROOF = "unpickled-or-executed"

NAMES = [
    "1.jpg", "2.jpg", "3.jpg", "4.jpg", "4.png", "./1.jpg", "faces/1.jpg", "1.JPG", "5.webp", "6.bmp", "notes.txt",
    "../1.jpg", "/tmp/1.jpg", "a/../../1.jpg", "C:\\1.jpg", "..\\1.jpg", "\\\\host\\1.jpg", "a//1.jpg", "a/./1.jpg",
    "", ".", "..", "/", "//", "~/1.jpg", "1.jpg/", "1.jpg ", " .jpg", ".jpg", "-rf.jpg", "con.jpg", "._1.jpg",
    "__MACOSX/1.jpg", ".DS_Store", "about.json", "\x1b[31m\x1b]0;owned\x07.jpg", "1\r2.jpg", "1\n2.jpg", "\x00.jpg",
    "\u202egpj.1.jpg", "\u200b1.jpg", "e\u0301.jpg", "\u0130.jpg", "王小明.jpg", "\U0001f600.jpg", "\udc80\udcff.jpg",
    "\x7f\x9b.jpg",
    "<script>alert(1)</script>.jpg", "\"onload=x '&.jpg", "=cmd()|x.jpg", "[/red].jpg", "[bold]1.jpg", "$x$y_.jpg",
    "$\\frac.jpg", "%s%n.jpg", "{0.__class__}{{7*7}}.jpg", "$(touch x)`id`.jpg", "a" * 120 + ".jpg", "a" * 300 + ".jpg",
    "b/" * 60 + "1.jpg", "9" * 30 + ".jpg", "²³.jpg", "1.tgz", "x.py",
]  # fmt: skip
names = st.one_of(
    st.sampled_from(["1.jpg", "2.jpg", "3.jpg", "4.jpg"]),  # what it should be, so that some cases are read to the end
    st.sampled_from(NAMES),
    st.text(st.characters(codec=None), max_size=8).map(lambda text: f"{text}.jpg"),
)
NUMBERS = [-(2**63), -(2**31), -512, -1, 0, 1, 2, 511, 512, 65535, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1]


class _Payload:
    def __reduce__(self):
        return os.mkdir, (PROOF,)


PICKLE = pickle.dumps(_Payload())


# Pictures


def encoded(form: str, mode: str = "RGB", size=(64, 64), **options) -> bytes:
    """A small picture with some content."""
    ramp = np.indices(size[::-1]).sum(axis=0) * 255 // max(sum(size), 1)
    grey = Image.fromarray(ramp.astype(np.uint8))
    file = io.BytesIO()
    picture = Image.merge("RGB", (grey, grey.rotate(90), grey))
    if mode == "I;16":  # old Pillows make it of grey alone
        picture = picture.convert("L")
    picture.convert(mode).save(file, form, **options)
    return file.getvalue()


def png(width, height, depth=8, colour=2, interlace=0, rows=b"", chunks=()) -> bytes:
    """A PNG whose header says what it likes, with right checksums; `chunks` are (name, data)."""
    middle = b"".join(chunk(*part) for part in chunks)
    head = SIGNATURE + header(width, height, depth, colour, interlace)
    return head + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def bmp(width, height, bits=24, compression=0, colours=0) -> bytes:
    """A BMP whose header says what it likes."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(3000)


def webp(width, height) -> bytes:
    """A WebP that says it is an animation of this size."""
    canvas = struct.pack("<I", 0x02) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    frame = encoded("WEBP")[12:]
    body = b"VP8X" + struct.pack("<I", 10) + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += b"ANMF" + struct.pack("<I", 16 + len(frame)) + bytes(16) + frame
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@cache
def good_pictures() -> list[bytes]:
    """Files that can be read, of every kind that the world has."""
    deep = (np.indices((64, 64)).sum(axis=0) * 500).astype(np.uint16)
    frames = [Image.new("RGB", (64, 64), (shade, 90, 30)) for shade in (0, 99, 200)]
    animated = [io.BytesIO(), io.BytesIO()]
    frames[0].save(animated[0], "PNG", save_all=True, append_images=frames[1:])
    frames[0].save(animated[1], "WEBP", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64) % 7).convert("P")
    transparent = io.BytesIO()
    palette.save(transparent, "PNG", transparency=bytes(range(7)))
    return [
        encoded("JPEG"),
        *(encoded("JPEG", mode) for mode in ("L", "CMYK")),
        encoded("JPEG", progressive=True),
        encoded("JPEG", exif=turned),
        encoded("JPEG", comment=b"\x1b[31m" * 50),
        *(encoded("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *(cv2.imencode(".png", np.stack([deep] * channels, axis=-1))[1].tobytes() for channels in (1, 3, 4)),
        png(64, 64, interlace=1, rows=bytes(3 * 64 * 64 + 200)),
        transparent.getvalue(),
        animated[0].getvalue(),
        animated[1].getvalue(),
        *(encoded("WEBP", mode, lossless=lossless) for mode in ("RGB", "RGBA") for lossless in (False, True)),
        *(encoded("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(encoded("PNG", size=size) for size in ((1, 1), (66, 66), (96, 80), (1, 3000))),
    ]


@cache
def no_pictures() -> list[bytes]:
    """Files that are something else, some of which Pillow would open if it were let."""
    return [
        b"",
        b"text\x1b[31m",
        bytes(500),
        PICKLE,
        *(encoded(form) for form in ("GIF", "TIFF", "ICO", "PPM", "PCX", "TGA", "EPS", "PDF")),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(/tmp/x) (w) file\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        zipped([("1.jpg", b"x", {})]),
    ]


@st.composite
def headers(draw) -> bytes:
    """Pictures that say a size, depth or kind of their own."""
    size = st.one_of(st.integers(0, 70), st.sampled_from([n for n in NUMBERS if 0 <= n < 2**32] + [4096, 16383, 30000]))
    width, height = draw(size), draw(size)
    kind = draw(st.sampled_from(["png", "bmp", "webp", "jpeg"]))
    if kind == "png":
        extra = st.tuples(
            st.sampled_from([b"tRNS", b"PLTE", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"gAMA", b"IHDR", b"qqqq"]),
            st.one_of(st.binary(max_size=40), st.just(b"k\0\0" + zlib.compress(bytes(3 * 10**6)))),
        )
        depth, colour = draw(st.sampled_from([1, 2, 4, 8, 16, 0, 255])), draw(st.sampled_from([0, 2, 3, 4, 6, 1, 9]))
        chunks = draw(st.lists(extra, max_size=3))
        return png(width, height, depth, colour, draw(st.integers(0, 2)), bytes(draw(st.integers(0, 20000))), chunks)
    if kind == "bmp":
        signed = st.one_of(st.integers(-70, 70), st.sampled_from([n for n in NUMBERS if -(2**31) <= n < 2**31]))
        bits = draw(st.sampled_from([1, 4, 8, 16, 24, 32, 0, 7]))
        return bmp(draw(signed), draw(signed), bits, draw(st.integers(0, 7)), draw(st.sampled_from([0, 2, 2**31])))
    if kind == "webp":
        return webp(max(width, 1) % 2**24 or 1, max(height, 1) % 2**24 or 1)
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height % 2**16, width % 2**16)
    return bytes(data)


@st.composite
def spoilt(draw, whole) -> bytes:
    """Bytes with a piece cut off, overwritten, taken out, or written twice."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        near = draw(st.booleans())  # headers stand at the front
        at = at % 64 if near and len(data) > 64 else at
        length = draw(st.integers(1, 16))
        how = draw(st.sampled_from(["cut", "flip", "number", "noise", "remove", "repeat"]))
        if how == "cut":
            del data[at:]
        elif how == "flip":
            data[at] ^= draw(st.integers(1, 255))
        elif how == "number":
            data[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", draw(st.sampled_from(NUMBERS)) % 2**32)
        elif how == "noise":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif how == "remove":
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length * 8]
    return bytes(data)


fine = st.sampled_from(range(8)).map(lambda n: good_pictures()[n])
pictures = st.one_of(
    fine,
    st.deferred(lambda: st.sampled_from(good_pictures())),
    spoilt(st.deferred(lambda: st.sampled_from(good_pictures()))),
    spoilt(headers()),
    st.deferred(lambda: st.sampled_from(no_pictures())),
)


# Archives and folders

KINDS = [tarfile.REGTYPE] * 8 + [tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
KINDS += [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME]
KINDS += [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"M", b"Z", b"\xff"]
PAX = ["path", "size", "linkpath", "mtime", "hdrcharset", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"]
PAX += ["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name", "comment", "SCHILY.xattr.x"]


@st.composite
def entries(draw) -> list[tuple[str, bytes]]:
    """(name, data) of four good pictures, of four with something wrong, or of anything."""
    kind = draw(st.sampled_from(["right", "right", "nearly", "any"]))
    if kind == "any":
        return draw(st.lists(st.tuples(names, pictures), max_size=6))
    found = [(f"{number}.jpg", draw(fine)) for number in range(1, 5)]
    if kind == "nearly":
        found[draw(st.integers(0, 3)) :: 4] = draw(st.lists(st.tuples(names, pictures), min_size=1, max_size=1))
    return found


@st.composite
def tars(draw) -> bytes:
    """A tar, whole or compressed, of entries of any name, type and claimed size."""
    file, odd = io.BytesIO(), draw(st.booleans())
    for name, data in draw(entries()):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        if odd and draw(st.integers(0, 2)) == 0:
            entry.type = draw(st.sampled_from(KINDS))
            entry.linkname = draw(st.sampled_from(["", "/etc/passwd", "../../x", "1.jpg"]))
            entry.size = draw(st.sampled_from([len(data)] * 8 + NUMBERS))
            value = st.one_of(st.sampled_from(NAMES), st.sampled_from(NUMBERS).map(str), st.text(max_size=5))
            entry.pax_headers = draw(st.dictionaries(st.sampled_from(PAX), value, max_size=2))
        form = draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
        try:
            header = entry.tobuf(form, errors="surrogateescape")
        except (ValueError, UnicodeError):  # this form has no way to say it
            header = entry.tobuf(tarfile.GNU_FORMAT, errors="surrogatepass")
        file.write(header + data + bytes(-len(data) % 512))
    file.write(bytes(draw(st.sampled_from([1024, 512, 0]))))
    packed = draw(spoilt(st.just(file.getvalue())))
    return draw(st.sampled_from([gzip.compress, gzip.compress, bytes]))(packed)


def zipped(entries, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name, data, what to set in its ZipInfo)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data, settings in entries:
            entry = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            entry.compress_type = settings.pop("compress_type", compression)
            archive.writestr(entry, data)
            for field, value in settings.items():
                setattr(entry, field, value)  # in the directory at the end alone: a lie
    return file.getvalue()


@st.composite
def zips(draw) -> bytes:
    """A zip of entries of any name, type, method and claimed size."""
    found, odd = [], draw(st.booleans())
    for name, data in draw(entries()):
        settings = {}
        if odd and draw(st.integers(0, 2)) == 0:
            lies = {
                "file_size": st.sampled_from([n for n in NUMBERS if n >= 0]),
                "compress_size": st.sampled_from([n for n in NUMBERS if n >= 0]),
                "header_offset": st.sampled_from([n for n in NUMBERS if n >= 0]),
                "flag_bits": st.integers(0, 2**16 - 1),
                "external_attr": st.sampled_from([0o120777 << 16, 0o10644 << 16, 0o40755 << 16, 16]),
                "CRC": st.just(7),
                "compress_type": st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
            }
            field = draw(st.sampled_from(sorted(lies)))
            settings[field] = draw(lies[field])
        found.append((name, data, settings))
    try:
        packed = zipped(found)
    except (ValueError, UnicodeError, struct.error, OverflowError):  # zipfile has no way to say it
        packed = zipped([(name, data, {}) for name, data, _ in found])
    if odd and draw(st.booleans()):  # in the directory, where it hurts
        at = packed.find(b"PK\x01\x02")
        if at >= 0:
            return packed[:at] + draw(spoilt(st.just(packed[at:])))
    return draw(spoilt(st.just(packed)))


archives = st.one_of(tars(), tars(), zips(), zips(), spoilt(st.just(gzip.compress(bytes(5000)))), pictures)
KINDS_ON_DISK = ["file"] * 7 + ["folder", "link", "outward link", "pipe"]
folders = st.one_of(
    entries().map(lambda found: [(name, data, "file") for name, data in found]),
    st.lists(st.tuples(names, pictures, st.sampled_from(KINDS_ON_DISK)), max_size=7),
)


def lay_out(entries, folder: Path) -> Path:
    """Makes a folder of (name, data, kind), as far as the file system lets it."""
    folder.mkdir()
    for name, data, kind in entries:
        relative = os.path.normpath(name.replace("\0", "")).lstrip("/")
        if relative.split("/")[0] in ("..", ".", ""):
            continue
        path = folder / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "file":
                with open(path, "xb") as file:  # not into a pipe of that name
                    file.write(data)
            else:
                path.symlink_to("/etc/passwd" if kind == "outward link" else folder)
        except (OSError, UnicodeError):
            continue
    return folder


# Arrays


def npy(header: str | None, data: bytes, version=(1, 0)) -> bytes:
    """An .npy file with a header of its own."""
    text = (header or "").encode("latin1", "replace") + b"\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


@st.composite
def npys(draw) -> bytes:
    """An .npy: pictures, other arrays, and headers that say what they like."""
    kind = draw(st.sampled_from(["pictures", "pictures", "pictures", "array", "header", "object", "pickle"]))
    if kind == "pickle":
        return PICKLE
    file = io.BytesIO()
    if kind == "object":
        np.save(file, np.array([_Payload()] * 3, dtype=object))
    elif kind == "pictures":
        layout = draw(st.sampled_from([(64, 64, 3)] * 4 + [(3, 64, 64), (64, 64), (64, 64, 4)]))
        order = draw(st.sampled_from("CF"))
        np.save(file, np.full((draw(st.sampled_from([4, 4, 4, 0, 1, 5])), *layout), 7, np.uint8, order=order))
    elif kind == "array":
        shape = draw(st.sampled_from([(), (0,), (4, 64, 64, 3), (4, 2), (2, 2), (2,), (4, 64, 64, 3, 0)]))
        form = draw(st.sampled_from(["u1", "i1", "f2", "f8", "c16", "?", "U3", "S3", "M8[s]", "f4,u1"]))
        np.save(file, np.zeros(shape, form))
    else:
        descr = draw(st.sampled_from(["|u1", "<f8", "|O", "|S2147483647", "<U9999999", "|V99", "x", "", "u1,u1"]))
        shapes = ["(4,64,64,3)", "(10**12,)", "(1099511627776,64,64,3)", "(-1,64,64,3)", "()", "4", "(4.0,)", "(True,)"]
        shape = draw(st.sampled_from(shapes))
        text = f"{{'descr': {descr!r}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}}}"
        odd = ["__import__('os').mkdir('x')", "(" * 300, "{}", "{'descr': 1}", "\0", "9" * 9000, "", text + " " * 20000]
        version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
        return npy(draw(st.sampled_from([text] * 6 + odd)), bytes(draw(st.sampled_from([0, 12288, 49152]))), version)
    return draw(spoilt(st.just(file.getvalue())))


@st.composite
def npzs(draw, keys=("arr_0.npy", "mu.npy", "sigma.npy", "x", "../y.npy", "")) -> bytes:
    """An .npz of such arrays."""
    if draw(st.integers(0, 2)) == 0:
        file = io.BytesIO()
        np.savez_compressed(file, np.full((draw(st.sampled_from([4, 4, 4, 5])), 64, 64, 3), 7, np.uint8))
        return draw(spoilt(st.just(file.getvalue())))
    found = [(draw(st.sampled_from(keys)), data, {}) for data in draw(st.lists(npys(), max_size=3))]
    if found and draw(st.integers(0, 4)) == 0:
        found[0][2]["file_size"] = draw(st.sampled_from([n for n in NUMBERS if 0 <= n < 2**32]))
    return draw(spoilt(st.just(zipped(found, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))))))


@st.composite
def statistics(draw, dim=3) -> bytes:
    """pytorch-fid's .npz, with numbers that no features have."""
    value = draw(st.sampled_from([0.0, 1.0, 1.0, 1.0, -1.0, 1e-300, 1e30, 1e300, np.inf, np.nan]))
    rows, columns = draw(st.sampled_from([(dim, dim)] * 5 + [(dim, 2), (0, 0), (1, 1)]))
    file = io.BytesIO()
    form = draw(st.sampled_from(["f8", "f8", "f4", "f4", "c16", "u1"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sigma = (np.eye(rows, columns) * value).astype(form)
        np.savez(file, mu=np.full(draw(st.sampled_from([dim] * 5 + [0, 2048])), value).astype(form), sigma=sigma)
    return draw(spoilt(st.just(file.getvalue())))


@st.composite
def safetensors(draw, features: str, dim: int) -> bytes:
    """A file of a reference, with tensors of other shapes, types and numbers."""
    form = draw(st.sampled_from([np.float64, np.float32, np.float16, np.uint8, np.int64]))
    wide = draw(st.sampled_from([dim] * 8 + [2, 0]))
    tensors = {
        "mean": np.zeros(draw(st.sampled_from([(wide,)] * 7 + [(wide, 1)])), form),
        "covariance": np.eye(wide, draw(st.sampled_from([wide] * 7 + [2])), dtype=form),
        "sample": np.zeros(
            draw(st.sampled_from([(20, wide)] * 5 + [(0, wide), (1, wide), (1100, wide), (wide,)])), form
        ),
    }
    spoil = draw(st.sampled_from([None, None, None, np.nan, np.inf, 1e300]))
    if spoil is not None and form in (np.float32, np.float64) and wide:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors[draw(st.sampled_from(sorted(tensors)))][:1] = spoil
    if draw(st.integers(0, 5)) == 0:
        del tensors[draw(st.sampled_from(sorted(tensors)))]
    metadata = {
        "features": features,
        "count": "300",
        "faces": draw(names),
        "held_out": draw(st.sampled_from(["True", ""])),
    }
    metadata["faces"] = metadata["faces"].encode("utf-8", "replace").decode()
    metadata["count"] = draw(st.sampled_from(["300"] * 8 + ["0", "-1", "x", "9" * 400, "9" * 5000, "NaN"]))
    if draw(st.integers(0, 5)) == 0:
        del metadata[draw(st.sampled_from(sorted(metadata)))]
    whole = save(tensors, metadata or None)
    if draw(st.integers(0, 5)) == 0:
        text = draw(st.sampled_from(["{}", "[]", '{"mean":{}}', "[" * 5000, '{"__metadata__":{}}', "\udc80"]))
        text = text.encode("utf-8", "surrogatepass")
        whole = struct.pack("<Q", draw(st.sampled_from([len(text), 2**63, 0]))) + text
    return draw(spoilt(st.just(whole)))


# What runs and classes leave in files

numbers_as_text = st.one_of(
    st.integers(-5, 50).map(str),
    st.floats(width=32).map(str),
    st.sampled_from(
        ["NaN", "inf", "-inf", "1e999", "0", "-1", "9" * 5000, "1_000", "１", "²", "0x10", "", "\0", " 1 "]
    ),
    st.text(max_size=3),
)


@st.composite
def tables(draw, columns, rows) -> bytes:
    """A CSV file: right, or with missing columns, odd numbers, odd quotes, or no text at all."""
    if draw(st.integers(0, 2)) == 0:
        return draw(spoilt(st.just("\n".join([",".join(columns), *rows, ""]).encode())))
    kept = draw(st.sampled_from([columns] * 6 + [columns[1:], columns[:1], [], [*columns, *columns]]))
    if draw(st.booleans()):
        lines = rows
    else:
        row = st.lists(numbers_as_text, min_size=len(kept), max_size=len(kept) + draw(st.integers(0, 1)))
        lines = [",".join(row) for row in draw(st.lists(row, max_size=6))]
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\0"]))
    text = end.join([",".join(kept), *lines]) + end
    text = draw(st.sampled_from([text] * 5 + ["", '"' + text, '"' + "x" * 200_000, "\ufeff" + text, text * 2]))
    return draw(spoilt(st.just(text.encode("utf-8", "surrogatepass"))))


@st.composite
def jsons(draw, whole: dict) -> bytes:
    """A JSON file: `whole` with other values, or something else, or broken off."""
    leaf = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), st.text(max_size=5), names)
    value = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=5
    )
    changed = dict(whole)
    for key in draw(st.lists(st.sampled_from(sorted(whole)), max_size=2)) if whole else []:
        changed[key] = draw(value)
    other = draw(value)
    text = draw(st.sampled_from([json.dumps(changed)] * 6 + [json.dumps(other), "[" * 100_000, '{"a":' * 5000, ""]))
    return draw(spoilt(st.just(text.encode("utf-8", "surrogatepass"))))
