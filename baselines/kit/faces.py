"""The faces: found, read once, kept as bytes on the GPU."""

import io
import os
import re
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kit.device import rank, usable_cores, world_size
from kit.files import failed_disk_reported, open_zip
from kit.progress import progress

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 16 * 2**20  # of one picture, before it is shrunk
PLACES = {"/kaggle/input": 7, "/content": 2, "/content/drive/MyDrive": 2, ".": 3, "..": 2}  # how deep to look
COVERS = 9  # at most so many pictures above folders of classes show what is in them
LABEL_TABLES = ("tags.csv", "attributes.csv")
SUBMISSION = {f"{number}.jpg" for number in range(1, 1001)}
WRITTEN = ("runs", "outputs")  # where a notebook writes, unless told otherwise
BESIDE_LOG = {"checkpoints", "samples"}  # what a run has beside its log.csv, and a set that a program fetched has not
NO_ZIP = (OSError, zipfile.BadZipFile, ValueError, NotImplementedError)  # what opening one raises for another file
LEFT_BY_SYSTEMS = ("__macosx", "@eadir", "thumbs.db", "desktop.ini", "icon\r")  # in any case


def is_ignored(name):
    """Whether a path inside a folder or archive is something that systems or the grader leave behind, or hidden."""
    parts = [part for part in Path(name).parts if part != ".."]
    return any(part.casefold() in LEFT_BY_SYSTEMS or part[0] == "." or part.endswith(".parts") for part in parts)


def is_picture(name):
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_ignored(name)


def is_submission(names):
    """Whether the pictures among the names of files are exactly those that a notebook writes for the course."""
    pictures = [Path(name).name for name in names if is_picture(name)]
    return len(pictures) == len(SUBMISSION) and {*pictures} == SUBMISSION


def may_be_fakes(folder, names):
    """Whether a folder of files of these names looks like a submission, wherever `outputs` put it; a class of 1,000
    faces, and the first 1,000 of the course's, look the same."""
    return is_submission(names) and folder.name != "faces"


def are_classes(parent, on_top, children, fakes):
    """Whether the folders of pictures below a parent, which holds as many pictures `on_top`, are one set together: a
    folder per class. Then those of them that may be `fakes` are faces."""
    sure = [child for child in children if child not in fakes]  # beside few of them, submissions are no classes
    if len(sure) < len(children) and on_top > COVERS:  # the faces lie on top, and below them what was made of them
        return False
    tagged = len(children) in (1, len(sure)) and any((parent / name).exists() for name in LABEL_TABLES)
    return tagged or len(sure) > 2 or (parent / "about.json").exists()  # which `python -m data` writes into a set


@cache  # once for each
def tell_skipped(path):
    print(f"skipped {path}, which looks like a submission: set `faces` to it if it is faces")


@cache
def tell_unlisted(folder, reason):
    print(f"left out {folder}, which cannot be read: {reason}")


def pass_over(error):
    """What becomes of a folder that cannot be listed while faces are searched: it may be anybody's."""
    with suppress(OSError), failed_disk_reported(error.filename):
        raise error


def leave_out(error):
    """What becomes of a folder of faces that cannot be listed."""
    pass_over(error)
    tell_unlisted(error.filename, error.strerror)


def natural_key(name):
    """Sorts 2.jpg before 10.jpg, and no two names alike: the order of faces is part of what a run repeats."""
    parts = re.split("([0-9]+)", name)  # text, digits, text, …
    numbers = [digits.lstrip("0") for digits in parts[1::2]]
    parts[1::2] = [(len(number), number) for number in numbers]
    return parts, name


def find_faces(given="", places=PLACES, fewest=1000, setting="faces"):
    """The folder or zip to read faces from: the given one, else the largest set of `fewest` or more in the first of
    the places, {folder: how deep to look}, that has one.

    Raises SystemExit when there is none, and names the `setting` that says what is given.
    """
    if given:
        with failed_disk_reported(given):
            there = Path(given).exists()
        if not there:
            raise SystemExit(f"no faces at {given!r}: set `{setting}` to a folder or a zip of face pictures")
        return Path(given)
    for place, depth in places.items():
        if found := largest_set(Path(place), depth, fewest, {*map(Path, places)}):
            return found
    raise SystemExit(
        "found no faces. Kaggle: Add Input > a data set of anime faces. Colab: upload faces.zip to /content or to your "
        "Drive. Elsewhere: set `faces` to a folder or a zip of face pictures."
    )


def largest_set(place, depth, fewest, others=()):
    """The folder or zip below a place that holds the most pictures, or None where none holds `fewest`.
    The `others`, places too, are not looked into."""
    counts, zips, fakes = {}, {}, []  # folder or zip -> number of pictures
    for folder, folders, names in os.walk(place, onerror=pass_over):
        if Path(folder) != place and of_run(names, folders):
            folders.clear()
            continue
        if may_be_fakes(Path(folder), names):
            fakes.append(Path(folder))
        folders[:] = [name for name in folders if name not in WRITTEN and not is_ignored(name)]
        folders[:] = [name for name in folders if Path(folder, name) not in others]
        if len(Path(folder).relative_to(place).parts) >= depth:
            folders.clear()
        if count := sum(is_picture(name) for name in names):
            counts[Path(folder)] = count
        zips |= {Path(folder, name): 0 for name in names if name.lower().endswith(".zip") and not is_ignored(name)}
    by_parent = {}
    for folder in counts:
        if folder != place:  # what is above a place is no part of it, and "." is the parent of ".." and of itself
            by_parent.setdefault(folder.parent, []).append(folder)
    roots = data_set_roots(place)
    for parent, children in by_parent.items():
        on_top = counts.get(parent, 0)
        may_be_set = parent not in roots or (parent / "about.json").exists()
        if may_be_set and are_classes(parent, on_top, children, fakes):
            counts[parent] = on_top + sum(counts[child] for child in children)
            fakes = [folder for folder in fakes if folder.parent != parent]
    for folder in fakes:
        del counts[folder]
        tell_skipped(folder)
    if known := [path for path in zips if path.name in ("faces.zip", "MLHW_6.zip")]:
        counts |= dict.fromkeys(known, 10**6)
    else:
        counts |= {path: pictures_in(path, fewest) for path in zips}
    best = max(counts, key=lambda path: (counts[path], path in by_parent), default=None)  # with all that lies beside
    return best if best and counts[best] >= fewest else None


def pictures_in(path, fewest):
    """How many pictures a zip lists; 0 where it is too small, broken, a submission, that of a run, or in a run. Raises
    SystemExit where the disk fails: without this zip, another set would be taken."""
    smallest = 78  # bytes that a file takes in a zip, without its name: most zips need not be opened
    try:
        with failed_disk_reported(path):
            in_run = is_run(path.parent) or is_run(path.with_suffix(""))
            files = {} if in_run or path.stat().st_size < smallest * fewest else files_in_zip(path)
    except NO_ZIP:
        return 0
    except SystemExit as failed:
        raise SystemExit(f"{failed} Or set `faces` to your faces: then it is not looked at.") from None
    if is_submission(files):
        tell_skipped(path)
        return 0
    return 0 if has_run(files) else sum(map(is_picture, files))


def of_run(names, folders):
    """Whether a folder that holds these files and folders is a run's."""
    return "log.csv" in names and not BESIDE_LOG.isdisjoint(folders)


def is_run(folder):
    return (folder / "log.csv").exists() and any((folder / name).exists() for name in BESIDE_LOG)


def has_run(names):
    """Whether a run is among files of these names."""
    folders = {Path(name).parent for name in names if Path(name).name == "log.csv"}
    beside = {folder / name for folder in folders for name in BESIDE_LOG}
    return bool(beside) and any(Path(name).parent in beside for name in names)


def data_set_roots(place):
    """The folders below which data sets stand side by side: they are never read as one."""
    roots = ("datasets", "competitions", "datasets/*", "notebooks/*")
    return {place, *(folder for root in roots for folder in place.glob(root))}


def decode(data, size):
    """The RGB pixels, uint8 [size, size, 3], of a picture file: shrunk bilinearly as the course does, transparent parts
    laid on white, 16-bit greys scaled to 8 bits, pixels as they are stored whatever EXIF says. Raises ValueError."""
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} is too large")
            if picture.mode.startswith("I") or picture.mode == "F":
                values = np.array(picture, dtype=np.float32)
                values[values == picture.info.get("transparency")] = 65535
                picture = Image.fromarray((values / 257).clip(0, 255).astype(np.uint8))
            elif picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("RGB")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except Exception as error:  # a decoder fed with garbage may raise anything
        raise ValueError(str(error).partition("\n")[0]) from None


def files_of(source):
    """{name: what reads its bytes} of the files in a folder or zip; names are relative, with forward slashes.

    Files behind links are there too, each folder once; runs and submissions below a folder are not.
    Raises SystemExit for a file that is no zip.
    """
    if source.is_file():
        try:
            return files_in_zip(source)
        except NO_ZIP as error:
            raise SystemExit(f"{source} is not a zip, or a broken one: {error}") from None
    found, known, fakes = {}, {os.path.realpath(source)}, []  # found: folder -> its files
    for folder, folders, names in os.walk(source, onerror=leave_out, followlinks=True):
        folder = Path(folder)
        if folder != source and of_run(names, folders):
            folders.clear()
            continue
        places = {os.path.realpath(folder / name): name for name in sorted(folders, key=natural_key, reverse=True)}
        folders[:] = [name for place, name in places.items() if place not in known][::-1]  # a link may lead in circles
        known.update(places)
        paths = [folder / name for name in names]
        found[folder] = {decoded(os.fsencode(path.relative_to(source).as_posix())): path.read_bytes for path in paths}
        if folder != source and may_be_fakes(folder, found[folder]):
            fakes.append(folder)
    counts = {folder: sum(map(is_picture, files)) for folder, files in found.items()}
    for folder in submissions_among(source, fakes, counts):
        tell_skipped(folder)
        del found[folder]
    return {name: read for files in found.values() for name, read in files.items()}


def files_in_zip(path):
    """{name: what reads its bytes} of the files in a zip."""
    archive = open_zip(path)
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    return {zip_name(entry).replace("\\", "/"): partial(archive.read, entry) for entry in entries}


def submissions_among(source, fakes, counts):
    """Which of the folders that may be `fakes` are no faces of a source, whose folders hold so many pictures."""
    written = [folder for folder in fakes if {*folder.relative_to(source).parts} & {*WRITTEN}]
    fakes = [folder for folder in fakes if folder not in written]
    doubted = []
    for fake in fakes:
        beside = [path for path in counts if path.parent == fake.parent and counts[path] and path.name not in WRITTEN]
        if not are_classes(fake.parent, counts[fake.parent], beside, fakes):
            doubted.append(fake)
    rest = sum(counts.values()) - sum(counts[folder] for folder in written + doubted)
    if not rest or (len(doubted) > 1 and rest <= COVERS):  # the source can mean nothing else
        doubted = []
    return written + doubted


def zip_name(entry):
    """The name of a file in a zip: where it does not say that it is UTF-8, Windows packed it in its own code page."""
    try:
        return entry.filename if entry.flag_bits & 0x800 else decoded(entry.orig_filename.encode("cp437"), "cp437")
    except UnicodeEncodeError:  # a name that a field beside it tells
        return entry.filename


def decoded(name, otherwise="utf-8"):
    """A name of these bytes in UTF-8 or Big5, else in another encoding; what that cannot tell is written out."""
    for encoding in ("utf-8", "cp950"):
        with suppress(UnicodeDecodeError):
            return name.decode(encoding)
    return name.decode(otherwise, "surrogateescape").encode("utf-8", "backslashreplace").decode()


def read_faces(source):
    """All pictures of a folder or zip in natural order: uint8 [N, 3, 64, 64], and their N names.

    What cannot be read is counted and left out. Raises SystemExit when nothing can be read, or the disk fails: a part
    of the faces would be another set.
    """
    with failed_disk_reported(source):
        names = tuple(sorted(filter(is_picture, files_of(source)), key=natural_key))
        return read_pictures(source, names, times_of(source, names))


def times_of(source, names):
    """When a zip, or some 50 of the files in a folder, were written: all 71,314 would take long on a network drive."""
    paths = [source] if source.is_file() else [source / name for name in names[:: len(names) // 50 + 1]]
    return tuple(path.stat().st_mtime_ns for path in paths if path.exists())


@lru_cache(2)  # so that training again in the same session does not read the faces again; 09 has two sets
def read_pictures(source, names, _times):
    """What `read_faces` returns, of pictures of these names. With other names or other times they are read anew."""
    files, broken = files_of(source), []

    def read(name):
        try:  # a ZipFile reads one member at a time; decoding, the slow part, runs in parallel
            with failed_disk_reported(source):
                data = files[name]()
            return decode(data, 64)
        except Exception as error:
            broken.append(f"{name}: {error}")

    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        warnings.simplefilter("ignore")  # Pillow grumbles over metadata
        pictures = list(progress(pool.map(read, names), "reading faces", len(names)))
    if broken:
        print(f"left out what cannot be read: {len(broken):,} of {len(names):,} pictures, such as {min(broken)}")
    readable = {name: picture for name, picture in zip(names, pictures, strict=True) if picture is not None}
    if not readable:
        raise SystemExit(f"{source} holds no readable picture: name another folder or zip of face pictures")
    pictures = torch.from_numpy(np.stack([*readable.values()]))
    return pictures.permute(0, 3, 1, 2).contiguous(), [*readable]  # [N, 64, 64, 3] -> [N, 3, 64, 64]


def load_faces(settings, device):
    """All faces as uint8 [N, 3, 64, 64] on the device: the course's 71,314 are 876 MB."""
    source = find_faces(settings.faces)
    faces, _ = read_faces(source)
    return on_device(faces, source, settings, device)


def on_device(faces, source, settings, device):
    """Faces [N, 3, 64, 64] on the device. Raises SystemExit when they do not fill one batch."""
    if len(faces) < settings.batch_size:
        raise SystemExit(f"{source} holds {len(faces)} faces, fewer than one batch of {settings.batch_size}")
    print(f"{len(faces):,} faces from {source}, {faces.numel() / 1e6:.0f} MB on {device}")
    return faces.to(device)


def as_input(pictures):
    """Bytes 0 … 255 become −1 … 1, the range of tanh."""
    return pictures.float() / 127.5 - 1


def batch_indices(count, batch_size, seed, start, device):
    """Endless index tensors [batch_size] into `count` pictures. Each epoch has a new order, which depends on the seed
    alone: from step `start` on it gives what an uninterrupted run would see. Each of several processes gets its part
    of a batch. An epoch's order is on the device at once, so that no step waits for a copy. Raises SystemExit when the
    pictures do not fill one batch."""
    if count < batch_size:
        raise SystemExit(f"{count} faces are fewer than one batch of {batch_size}")
    steps_per_epoch = count // batch_size
    step = start
    while True:
        epoch, position = divmod(step, steps_per_epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).to(device)
        for i in range(position, steps_per_epoch):
            yield order[i * batch_size : (i + 1) * batch_size][rank() :: world_size()]
            step += 1


def batches_of(*tensors, batch_size, seed, start=0):
    """Endless tuples with a batch of each tensor, which all have N rows: pictures uint8 [N, 3, H, W] become floats in
    −1 … 1, labels [N] stay as they are."""
    for indices in batch_indices(len(tensors[0]), batch_size, seed, start, tensors[0].device):
        yield tuple(as_input(rows[indices]) if rows.dtype == torch.uint8 else rows[indices] for rows in tensors)
