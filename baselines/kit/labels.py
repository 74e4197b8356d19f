"""Labels: read from a table or from folders, dealt out evenly to samples, written beside them."""

import csv
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from kit.faces import LABEL_TABLES, files_of, find_faces, is_ignored, on_device, read_faces
from kit.files import atomic_write, failed_disk_reported
from kit.samples import picture_grid, show, show_plot


def read_table(text, attribute):
    """What a tags.csv or an attributes.csv tells of an attribute, by the stem of the picture's name: {"12": "aqua"}."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True) if len(row) > 1]
    if rows and rows[0][0] == "file":  # a column per attribute
        column = next((i for i, name in enumerate(rows[0]) if i and name.startswith(attribute)), None)
        known = {row[0]: row[column] for row in rows[1:] if len(row) > column} if column else {}
    else:  # "aqua hair blue eyes": the word before the attribute
        word = re.compile(rf"\b(\w+) {re.escape(attribute)}")
        known = {row[0]: match[1] for row in rows if (match := word.search(row[1]))}
    return {Path(file).stem: value for file, value in known.items()}


def read_labels(source, names, attribute="hair", only="", setting="`classes`"):
    """The label of each named picture of a folder or zip, int [N], −1 where there is none; and the classes' names.

    `attribute` says what the classes are of: "hair" or "eye" of a tags.csv, the beginning of a column's name in an
    attributes.csv; "" makes one class of all. Without a table, folders are the classes: aqua/1.jpg. `only` names the
    classes to take, separated by commas, in the order of their numbers; "" takes all, sorted. Raises SystemExit when
    the table cannot be read, and, naming the `setting` that says `only`, when fewer than two classes are left.
    """
    if not attribute:
        return torch.zeros(len(names), dtype=torch.long), ["face"]
    files = files_of(source)
    tables = [file for file in files if Path(file).name in LABEL_TABLES and not is_ignored(file)]
    table = min(tables, key=lambda name: (name.count("/"), name), default=None)  # the uppermost
    if table:
        try:
            with failed_disk_reported(source):
                data = files[table]()
            known = read_table(data.decode("utf-8-sig"), attribute)  # Excel adds a mark
        except Exception as error:  # a broken zip may raise anything
            encoded = isinstance(error, UnicodeDecodeError)  # by Excel, in Big5
            hint = "save it as CSV UTF-8" if encoded else "write rows as 1,blue hair green eyes"
            raise SystemExit(f"{table} in {source} is no table ({error}): {hint}") from None
        values = [known.get(Path(name).stem) for name in names]
    else:
        values = [Path(name).parent.name for name in names]
    found = sorted({value for value in values if value})
    classes = [*dict.fromkeys(name.strip() for name in only.split(",") if name.strip())] or found
    if len(found) < 2 and table:
        raise SystemExit(f"{table} has fewer than two classes of {attribute!r} in {source}: set another `attribute`")
    if len(found) < 2:
        raise SystemExit(
            f"{source} has no labels: put a tags.csv (1,blue hair green eyes) beside the pictures, or each class into "
            "a folder of its own"
        )
    unknown = [name for name in classes if name not in found]
    if unknown or len(classes) < 2:
        wrong = f"there is no {', '.join(unknown)}" if unknown else f"{only!r} is one class"
        raise SystemExit(f"{setting}: {wrong}: name two or more of {', '.join(found)}")
    return torch.tensor([classes.index(value) if value in classes else -1 for value in values]), classes


def load_labelled_faces(settings, device):
    """Faces uint8 [N, 3, 64, 64] and their labels [N], both on the device, and the classes' names.

    Faces without a label are left out. Raises SystemExit when the others do not fill one batch.
    """
    source = find_faces(settings.faces)
    faces, names = read_faces(source)
    labels, classes = read_labels(source, names, settings.attribute, settings.classes)
    faces, labels = faces[labels >= 0], labels[labels >= 0].to(device)
    if len(faces) < settings.batch_size:
        raise SystemExit(f"{len(faces)} faces of {source} have a label, fewer than one batch of {settings.batch_size}")
    faces = on_device(faces, source, settings, device)
    print(f"{len(classes)} classes: " + ", ".join(f"{name} {(labels == i).sum()}" for i, name in enumerate(classes)))
    return faces, labels, classes


def balanced_labels(count, n_classes):
    """Labels [count], as many of each class as possible: first 8 of each class in turn, then one of each."""
    rows = torch.arange(n_classes).repeat_interleave(8)
    return torch.cat([rows, torch.arange(count) % n_classes])[:count]


def write_labels(run, labels, classes):
    """labels.csv in a run's folder: which class each of 1.jpg, 2.jpg, … should show. `write_submission` copies it to
    the pictures. Raises SystemExit when the run, which goes on, has other classes there."""
    rows = [("file", "label"), *((f"{n}.jpg", classes[label]) for n, label in enumerate(labels.tolist(), 1))]
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows(rows)  # a class may have a comma in its name
    path, text = run.folder / "labels.csv", table.getvalue()
    known = path.read_text("utf-8-sig", "replace") if run.start and path.exists() else ""  # Excel adds a mark
    if any(then != now for then, now in zip(known.splitlines(), text.splitlines(), strict=False)):
        raise SystemExit(f"{run.folder} holds a run on faces of other classes: set another `run`")
    atomic_write(path, lambda unfinished: unfinished.write_bytes(text.encode()))


def show_classes(pictures, classes, path):
    """Shows and saves a grid of pictures [rows × columns, 3, H, W]: a row per class, its name beside it."""
    columns, (height, width) = len(pictures) // len(classes), pictures.shape[2:]
    figure, axes = plt.subplots(figsize=(1 + 0.6 * columns, 0.6 * len(classes) * height / width), layout="constrained")
    axes.imshow(picture_grid(pictures, columns))
    axes.set_yticks([(row + 0.5) * (height + 2) for row in range(len(classes))], classes)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    show_plot(figure, path)


def animate(frames, path, most=24, limit=2e6):
    """Shows and saves at most `most` of the frames (PIL pictures) as an animated GIF of at most `limit` bytes."""
    if not frames:
        print(f"no {path}: there are no pictures yet, as each checkpoint adds them")
        return
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)]
    scale, gif = 1.0, None
    while gif is None or len(gif.getvalue()) > limit:
        size = [round(scale * side) for side in frames[0].size]
        first, *others = [frame.convert("RGB").resize(size, Image.Resampling.BOX).quantize() for frame in frames]
        gif, scale = io.BytesIO(), 0.8 * scale
        first.save(gif, "GIF", save_all=True, append_images=others, duration=[250] * len(others) + [2000], loop=0)
    atomic_write(path, lambda path: path.write_bytes(gif.getvalue()))
    show(gif.getvalue())
