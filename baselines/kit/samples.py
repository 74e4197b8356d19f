"""Samples: made, looked at, packed as the course takes them."""

import base64
import io
import math
import os
import sys
import tarfile
from functools import partial
from itertools import chain
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.utils import make_grid

from kit.faces import SUBMISSION, is_picture, is_submission, natural_key
from kit.files import atomic_write, failed_disk_reported, failed_write_reported, rows_of, set_aside

SHOWN = 64  # of the 1,000 samples, in a grid
ALIKE = 12  # levels of 255; of 1,000 real faces the nearest two are 17 apart


def fixed_noise(settings, count=1000):
    """z [count, z_dim] on the CPU, always the same for one seed."""
    return torch.randn(count, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed))


@torch.no_grad()
def sample(G, z, batch_size=25):  # larger ones take up to twice as long on a CPU, which fetches new memory for each
    """Pictures uint8 [N, 3, 64, 64] on the CPU, of z [N, z_dim], by G in evaluation mode."""
    training = G.training
    G.eval()
    fakes = torch.cat([G(part) for part in z.split(batch_size)])
    G.train(training)
    return ((fakes + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def nearest_distances(pictures):
    """How far each of the pictures [N, 3, H, W] is from the one most like it [N]: by how many of 255 levels their
    thumbnails of 8×8 pixels differ (root mean square)."""
    thumbnails = nn.functional.adaptive_avg_pool2d(pictures.float(), 8).flatten(1)  # [N, 3, H, W] -> [N, 192]
    distances = torch.cdist(thumbnails, thumbnails) / thumbnails.shape[1] ** 0.5  # [N, N]
    return distances.fill_diagonal_(math.inf).amin(1)


def near_repeats(pictures, limit=ALIKE):
    """The share of pictures [N, 3, H, W] that another one nearly repeats: it is within the limit."""
    return (nearest_distances(pictures) <= limit).float().mean().item()


def limit_of_repeats(faces):
    """ALIKE, or less for faces [N, 3, H, W] that are more alike than usual, as drawn ones are: 0.7 times the distance
    that one in a hundred of 1,000 of them stays under. Faces that are there twice, which many sets have, do not count:
    with them it would be 0, and no collapse would be seen."""
    distances = nearest_distances(faces[:: max(1, len(faces) // 1000)][:1000])
    distances = distances[distances >= 1]
    if not len(distances):
        return ALIKE
    return min(ALIKE, 0.7 * distances.kthvalue(max(1, len(distances) // 100)).values.item())


def picture_grid(pictures, columns=8):
    """One PIL picture of many [N, 3, H, W], row by row."""
    return Image.fromarray(make_grid(pictures, columns, padding=2, pad_value=255).permute(1, 2, 0).numpy())


def as_jpeg(picture):
    """The bytes of a PIL picture as JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


def show(picture):
    """Shows a picture, a figure or the bytes of a GIF where there is a notebook; a script has only its files."""
    if "ipykernel" in sys.modules:
        from IPython import display

        if isinstance(picture, Image.Image):  # left as it is, it would be stored as PNG too, seven times as large
            picture = display.Image(as_jpeg(picture), format="jpeg")
        elif isinstance(picture, bytes):  # a PIL picture would be its first frame, and saved pages leave out image/gif
            data = base64.b64encode(picture).decode()
            picture = display.HTML(f'<img src="data:image/gif;base64,{data}" alt="pictures that change over time">')
        display.display(picture)
    plt.close("all")


def show_plot(figure, path):
    """Shows a figure and saves it as PNG."""
    atomic_write(path, partial(figure.savefig, dpi=120, format="png"))
    show(figure)


def pack(pictures, path):
    """A flat .tgz of 1.jpg, 2.jpg, … of pictures uint8 [N, 3, H, W]: the form in which the course takes them."""

    def write(unfinished):
        with tarfile.open(unfinished, "w:gz") as archive:
            for number, picture in enumerate(pictures, 1):
                data = as_jpeg(Image.fromarray(picture.permute(1, 2, 0).numpy()))
                entry = tarfile.TarInfo(f"{number}.jpg")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    atomic_write(path, write)


def output_folder(settings):
    """Where single pictures go. Kaggle lets only 500 files be downloaded: there the .tgz has to do."""
    return Path("/tmp" if Path("/kaggle/working").exists() else ".", settings.outputs)


def check_outputs(settings):
    """Raises SystemExit where single pictures would replace somebody's pictures, or lie among faces."""
    folder = output_folder(settings)
    with failed_disk_reported(folder):
        names = sorted(filter(is_picture, os.listdir(folder)), key=natural_key) if folder.is_dir() else []
    given = {Path(str(path)).resolve() for name in ("faces", "faces_b") if (path := getattr(settings, name, ""))}
    here = folder.resolve()
    in_faces = given & {*here.parents} and not is_submission(names)  # one that lies there is not read as faces
    of_faces = here in given or in_faces or folder.name == "faces"
    for name in names:
        if of_faces or (name in SUBMISSION and not is_sample(folder / name)):
            raise SystemExit(f"{folder} holds other pictures, such as {name}: move them, or set another `outputs`")


def is_sample(path):
    """Whether a picture may be one that a notebook wrote for the course, whole or, where it was killed, cut off."""
    try:
        with Image.open(path) as picture:
            return picture.format == "JPEG" and picture.size == (64, 64)
    except Exception:  # what a decoder raises
        return True


def clear_labels(outputs):
    """Takes away the labels.csv of the pictures that lie there: one that a notebook wrote for them goes, another one is
    kept under another name."""
    path, names = outputs / "labels.csv", SUBMISSION & {*os.listdir(outputs)}
    if not path.is_file():
        return
    rows = [*rows_of(path)]
    if rows[:1] == [["file", "label"]] and {row[0] for row in rows[1:] if len(row) == 2} == names:
        path.unlink()
    else:
        print(f"{path} is not of the pictures there: it is now {set_aside(path)}")


def write_submission(run):
    """Writes 1,000 samples of G_ema, [1000, 3, 64, 64], as submission.tgz and as single files; with labels.csv beside
    them where the run has one. Returns them."""
    pictures, archive = sample(run.G_ema, run.z), run.folder / "submission.tgz"
    outputs = output_folder(run.settings)
    pack(pictures, archive)
    check_outputs(run.settings)
    with failed_write_reported(outputs), tarfile.open(archive) as packed:
        outputs.mkdir(parents=True, exist_ok=True)
        clear_labels(outputs)
        for name in SUBMISSION - {*packed.getnames()}:  # of a larger submission: the folder holds what the archive does
            (outputs / name).unlink(missing_ok=True)
        for entry in packed:
            (outputs / entry.name).write_bytes(packed.extractfile(entry).read())
        if (labels := run.folder / "labels.csv").exists():  # only now: before, other pictures may lie there
            (outputs / labels.name).write_bytes(labels.read_bytes())
    if others := sorted(name for name in os.listdir(outputs) if is_picture(name) and name not in SUBMISSION):
        print(f"{outputs} holds other pictures, such as {others[0]}: score the archive, or move them")
    size = archive.stat().st_size / 1e6
    print(f"{len(pictures):,} pictures in {outputs}/ and in {archive} ({size:.2f} MB; the limit is 2 MB)")
    show(picture_grid(pictures[: run.shown]))
    return pictures


def plot_losses(run):
    """Draws the losses in a run's log.csv, as means of some 200 parts of the run: single steps are noise. Saves
    losses.png."""
    path = run.folder / "log.csv"
    with open(path, encoding="utf-8-sig", errors="replace") as file:  # of a long run it has millions of lines
        names = next(file, "").strip().split(",")
        # the last is torn where a session died
        whole = (line for line in file if line.count(",") == len(names) - 1 and not line.endswith(","))
        first = next(whole, "")
        if names[0] != "step" or not first:  # nothing is logged yet, or another program saved it
            print(f"{path} has no losses to draw: train on, and run this cell again")
            return
        rows = np.loadtxt(chain([first], whole), delimiter=",", ndmin=2)
    window = max(1, len(rows) // 200)
    means = rows[: len(rows) // window * window].reshape(-1, window, len(names)).mean(1)
    figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    for name, column in zip(names, means.T, strict=True):
        if name.startswith("loss"):
            axes.plot(means[:, 0], column, label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    show_plot(figure, run.folder / "losses.png")
