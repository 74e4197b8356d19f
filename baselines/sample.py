"""Plays with a trained generator, without a GPU and without faces: `python -m baselines.sample`.

    import torch
    from baselines.sample import load_generator

    G = load_generator()
    pictures = G(torch.randn(8, G.settings.z_dim))  # [8, 3, 64, 64]

Its weights and their card are in baselines/weights/; `python -m studies.release` makes them. Each command imports what
it needs, so that --help answers at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from baselines.definitions import BASELINES, definition
from grader import console
from grader.errors import GraderError, as_argument, counted, first_line, printable
from grader.files import atomic, check_writable, short_hash
from grader.version import VERSION

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

MASTER = BASELINES / "10_r3gan.py"  # whose Generator the weights are of
SAMPLES = BASELINES / "kit/samples.py"  # whose functions draw the same pictures
WEIGHTS = BASELINES / "weights/r3gan.safetensors"
FORMAT = "10_r3gan generator, 1"
MOST_BYTES = 10_000_000  # of the weights that ship
LARGEST = 1024  # of a number in the settings of a network that is read
COUNT = 1000  # pictures of a submission
FACES = 4000  # pictures of a face set
AT_ONCE = 1000  # of them in memory: a multiple of the notebook's batch, so that it draws the same
SHOWN, COLUMNS = 64, 8  # samples in a grid
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)  # of z, in truncation.png
PACKED = (".tgz", ".tar.gz")  # a submission, where it is no folder
QUALITY = 75  # of JPEG, as the notebooks store their pictures
CAPTION = 16  # pixels


class BadWeights(GraderError):
    """A file that holds no generator of notebook 10; the message names it and the remedy."""


def load_generator(path: Path | str = WEIGHTS) -> torch.nn.Module:
    """A trained G of notebook 10 in evaluation mode: z float [N, G.settings.z_dim] -> pictures float [N, 3, 64, 64],
    mostly in −1 … 1.

    z is normal noise. G.settings are the notebook's settings that G was trained with. The file is a .safetensors of
    `python -m studies.release`, and G.weights its short hash: numbers and texts are read from it, and nothing is
    unpickled. Raises BadWeights.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    remedy = "name a .safetensors that `python -m studies.release` made"
    try:
        about = read_about(path)
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118, it is no dict
        with torch.device("meta"):  # whatever sizes the settings ask for, nothing is allocated
            G = make_generator(about["settings"])
        G.load_state_dict(weights, assign=True)
        G.to(memory_format=torch.channels_last)  # grouped convolutions then take half as long on a CPU
        if not all(weight.isfinite().all() for weight in weights.values()):
            raise ValueError("weights are not finite")
        G.weights = short_hash(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise BadWeights(f"{path}: holds no generator of notebook 10 ({first_line(error)}): {remedy}") from None
    return G.eval().requires_grad_(False)


def read_about(path: Path) -> dict:
    """What a file of weights says of itself: its "settings", and the "facts" of its card where it has some. Raises
    OSError, SafetensorError and ValueError."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        texts = file.metadata() or {}
    if texts.get("format") != FORMAT:
        raise ValueError(f"its format is {texts.get('format')}, not {FORMAT}")
    return json.loads(texts["about"])


def make_generator(settings: dict) -> torch.nn.Module:
    """An untrained Generator of notebook 10, with the notebook's `settings` as G.settings; those that it does not know
    are left out. Raises ValueError for a network that cannot be."""
    G = definition(MASTER, "Generator")(known := known_settings(settings))
    G.settings = known
    return G


def known_settings(settings: dict) -> object:
    """Notebook 10's settings with the given ones that it knows: a run of before or after may have others. Raises
    ValueError for a network that cannot be."""
    default = definition(MASTER, "R3GANSettings")()
    try:
        known = replace(default, **{name: value for name, value in settings.items() if name in vars(default)})
    except SystemExit as error:  # as the notebook ends
        raise ValueError(error) from None
    for name in ("z_dim", "width", "blocks", "largest_G", "group_width"):
        least = 0 if name in ("blocks", "group_width") else 1
        if type(value := getattr(known, name)) is not int or not least <= value <= LARGEST:
            raise ValueError(f"{name} is {value!r}")
    return known


def noise(G: torch.nn.Module, count: int, seed: int) -> torch.Tensor:
    """z [count, z_dim], the same for the same seed: with the seed that G was trained with, that of its own samples."""
    return definition(SAMPLES, "fixed_noise")(replace(G.settings, seed=seed), count)


def sample(G: torch.nn.Module, z: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [N, 3, 64, 64] of z [N, z_dim]."""
    return definition(SAMPLES, "sample")(G, z)


def slerp(a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
    """z [steps, z_dim] from a [z_dim] to b [z_dim] on an arc, each in its place: Shoemake, 1985, Animating rotation
    with quaternion curves, https://doi.org/10.1145/325334.325242.

    Nearly all z lie at one distance from 0. A straight line between two of them leaves it, and its middle is a z that
    G never saw; the arc stays.
    """
    import torch

    t = torch.linspace(0, 1, steps)[:, None]  # [steps, 1]
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if torch.sin(angle) < 1e-4:  # one direction, or two opposite ones: there the arc is a line, or any
        return torch.lerp(a, b, t)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def truncated(z: torch.Tensor, psi: float) -> torch.Tensor:
    """z [N, z_dim] times ψ, which shrinks it towards its mean, 0.

    G begins with a linear layer of z, without a bias. So this is StyleGAN's truncation as well, ψ of the way from the
    mean style to a style (Karras et al., 2019, https://arxiv.org/abs/1812.04948). Less than 1 gives safer faces, which
    are paler and more alike; more than 1 gives stronger ones, which break more often. The card has both, measured.
    """
    return psi * z


def interpolation(G: torch.nn.Module, first: torch.Tensor, last: torch.Tensor) -> Image.Image:
    """A row for each z of `first` [N, z_dim]: on the arc from it to the same one of `last` [N, z_dim]."""
    import torch

    return grid(sample(G, torch.cat([slerp(a, b, COLUMNS) for a, b in zip(first, last, strict=True)])))


def walk(G: torch.nn.Module, z: torch.Tensor, steps: int = 12) -> list[Image.Image]:
    """The frames of a loop: grids of N samples that go on arcs through z [stops, N, z_dim] and back to the first, in
    256 colours each."""
    import torch
    from PIL.Image import Quantize

    arcs = [  # [steps, N, z_dim] each, without the last step, where the next arc begins
        torch.stack([slerp(a, b, steps + 1)[:-1] for a, b in zip(here, there, strict=True)], dim=1)
        for here, there in zip(z, z.roll(-1, dims=0), strict=True)
    ]
    pictures = sample(G, torch.cat(arcs).flatten(0, 1)).unflatten(0, (-1, z.shape[1]))  # [frames, N, 3, 64, 64]
    # by octree: Pillow's own way, the median cut, takes 4 s
    return [grid(frame, COLUMNS // 2).quantize(256, Quantize.FASTOCTREE) for frame in pictures]


def truncation_sweep(G: torch.nn.Module, z: torch.Tensor) -> Image.Image:
    """A row for each z [N, z_dim], at all STRENGTHS, which stand above."""
    import torch

    rows = torch.stack([truncated(z, psi) for psi in STRENGTHS], dim=1)  # [N, 8, z_dim]
    pictures = grid(sample(G, rows.flatten(0, 1)), len(STRENGTHS))
    step = (pictures.width - 2) // len(STRENGTHS)
    return captioned(pictures, {step * place + 2: f"z × {psi:g}" for place, psi in enumerate(STRENGTHS)})


@dataclass(frozen=True)
class Nearest:
    """Samples uint8 [N, 64, 64, 3] that are nearest to real faces, the nearest first, the distance [N] of each, the
    faces uint8 [N, k, 64, 64, 3] that are nearest to each, and the distance up to which a sample is a copy of one."""

    samples: np.ndarray
    distances: list[float]
    faces: np.ndarray
    limit: float

    def grid(self) -> Image.Image:
        """A row for each sample: the sample, then the faces, in two blocks with a gap."""
        from PIL import Image

        count = self.faces.shape[1]
        left, right = grid(self.samples, 1), grid(self.faces.reshape(-1, *self.faces.shape[2:]), count)
        both = Image.new("RGB", (left.width + 6 + right.width, left.height), "white")
        both.paste(left, (0, 0))
        both.paste(right, (left.width + 6, 0))
        return captioned(both, {2: "sample", left.width + 8: "nearest real faces"})


def nearest_faces(pictures: torch.Tensor, faces: Path, count: int = COLUMNS - 1, most: int = COLUMNS) -> Nearest | None:
    """Of pictures uint8 [N, 3, 64, 64] the `most` that come nearest to a face of a folder or archive, each with the
    `count` faces nearest to it, by the fingerprints with which the grader finds copies: colours and coarse shapes, also
    mirrored.

    None where all pictures are blank: such a one is nobody's copy. Warns of files that cannot be read. Raises
    BadFingerprints.
    """
    import numpy as np

    from grader.features.fingerprints import MIRROR, fingerprints, of_faces, squared_distances
    from grader.inputs.faces import named
    from grader.metrics.copies import copies, limits

    pictures = pictures.permute(0, 2, 3, 1).numpy()  # [N, 64, 64, 3]
    known = of_faces(faces)
    closest = sorted(copies(pictures, known.fingerprints, limit=np.inf), key=lambda copy: copy.distance)[:most]
    if not closest:
        return None
    prints = fingerprints(pictures[[copy.index for copy in closest]])  # [most, 48]
    both_ways = (squared_distances(some, known.fingerprints, len(known.names)) for some in (prints, prints * MIRROR))
    squared = np.minimum(*(found for way in both_ways for _, found in way))  # [most, M]
    for row, copy in zip(squared, closest, strict=True):
        row[copy.known] = -1  # found in more views than one: it comes first
    order = squared.argsort(axis=1, kind="stable")[:, :count]  # [most, k]
    seen = dict(named(faces, {known.names[face] for face in order.flat}))
    return Nearest(
        pictures[[copy.index for copy in closest]],
        [copy.distance for copy in closest],
        np.stack([np.stack([seen[known.names[face]] for face in row]) for row in order]),
        limits(known.fingerprints)[0],
    )


def grid(pictures: torch.Tensor | np.ndarray, columns: int = COLUMNS) -> Image.Image:
    """One picture of uint8 [N, 3, H, W], or [N, H, W, 3] where they are no tensor, as the notebooks' grids are."""
    import torch

    if not torch.is_tensor(pictures):
        pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return definition(SAMPLES, "picture_grid")(pictures, columns)


def captioned(picture: Image.Image, texts: dict[int, str]) -> Image.Image:
    """A picture with a line of texts above it, each by its place in pixels from the left."""
    from PIL import Image, ImageDraw

    made = Image.new("RGB", (picture.width, picture.height + CAPTION), "white")
    made.paste(picture, (0, CAPTION))
    for left, text in texts.items():
        ImageDraw.Draw(made).text((left, 3), text, fill="black")
    return made


def write_submission(pictures: torch.Tensor, output: Path) -> None:
    """Writes pictures uint8 [N, 3, 64, 64] as 1.jpg, 2.jpg … into a new folder, or packed flat where `output` ends in
    .tgz or .tar.gz: whole, or not at all. Raises CannotWrite."""
    from grader.inputs.images import jpeg
    from grader.pack import tgz

    files = {f"{n}.jpg": jpeg(one, QUALITY) for n, one in enumerate(pictures.permute(0, 2, 3, 1).numpy(), 1)}
    with atomic(output) as unfinished:
        if output.name.lower().endswith(PACKED):
            unfinished.write_bytes(tgz(files))
            return
        unfinished.mkdir()
        for name, data in files.items():
            (unfinished / name).write_bytes(data)


def write_face_set(G: torch.nn.Module, output: Path, count: int = FACES, seed: int = 0, truncation: float = 1) -> None:
    """Writes samples as a face set to train on: a new folder, or a new .zip, of PNG, with an about.json that says what
    they are: "generated" is what the demo's own scale is for, the shipped weights and z as it is. G is one of
    load_generator. Raises DataError and CannotWrite."""
    from data.faceset import ABOUT, about_json, new_set, png

    as_measured = (G.weights, truncation) == (short_hash(WEIGHTS), 1)
    name = "generated" if as_measured else f"generated by {G.weights}, z × {truncation:g}"
    about = {"name": name, "count": count, "seed": seed, "truncation": truncation, "version": VERSION}
    with new_set(output) as write:
        parts = truncated(noise(G, count, seed), truncation).split(AT_ONCE)
        pictures = (picture for z in parts for picture in sample(G, z).permute(0, 2, 3, 1).numpy())
        for number, picture in enumerate(pictures):  # [64, 64, 3]
            write(f"{number}.png", png(picture))
        write(ABOUT, about_json(about))


def write_picture(picture: Image.Image, path: Path, what: str, **options) -> None:
    """Writes a picture, whole or not at all, and says what it shows. Raises CannotWrite."""
    with atomic(path) as unfinished:
        picture.save(unfinished, path.suffix[1:].upper(), **options)
    console.say(printable(f"wrote {path}: {what}"))


def draw(
    G: torch.nn.Module,
    output: Path,
    seed: int = 0,
    truncation: float = 1,
    faces: Path | None = None,
    submission: Path | None = None,
) -> None:
    """Writes the pictures into a folder that `main` tells of, with the `submission` if it has a name, and says what
    each shows. Raises CannotWrite, and of `faces` what nearest_faces raises."""
    whole = noise(G, COUNT if submission else SHOWN, seed)  # [1000 or 64, z_dim]
    z = truncated(whole, truncation)
    shown, row = sample(G, z[:SHOWN]), z[:COLUMNS]
    nearest = nearest_faces(shown, faces) if faces else None  # first: what is wrong with the faces shows now
    check_writable(output)
    write_picture(grid(shown), output / "samples.png", f"{SHOWN} samples of seed {seed}, as they came")
    ways = "each row goes from a sample of the first row to the one below it"
    write_picture(interpolation(G, row, z[COLUMNS : 2 * COLUMNS]), output / "interpolation.png", ways)
    frames = walk(G, z[:SHOWN].view(-1, COLUMNS, G.settings.z_dim)[:4])
    loop = {"save_all": True, "append_images": frames[1:], "duration": 90, "loop": 0}
    write_picture(
        frames[0], output / "walk.gif", "the first row, on such ways through three more rows and back", **loop
    )
    strengths = "the first row, left weaker (safer, paler, more alike), right stronger (more of them broken)"
    write_picture(truncation_sweep(G, whole[:COLUMNS]), output / "truncation.png", strengths)
    if nearest:
        from grader.report.words import written

        distance = written(nearest.distances[0], "distance", [round(nearest.limit, 3)])
        least = f"the least distance is {distance}, a copy's at most {nearest.limit:.3f}"
        write_picture(nearest.grid(), output / "nearest.png", f"the samples nearest to a real face; {least}")
    elif faces:
        console.note("no nearest.png: these samples are blank. Raise --truncation")
    if submission:
        write_submission(sample(G, z), submission)
        command = f"python -m grader score {as_argument(submission)}"
        console.say(printable(f"wrote {submission}: {COUNT:,} pictures; next: {command}"))


def _finite(_context, _option, number: float) -> float:
    if number != number:  # NaN, which no range refuses
        raise click.BadParameter("nan is no number.")
    return number


def _new(*packed: str):
    """A callback that takes only the path of what is not there yet: a folder, or a file with one of these endings."""

    def callback(_context, _option, path: Path | None) -> Path | None:
        if path is None:
            return None
        from grader.inputs.submission import is_archive

        if path.exists():
            raise click.BadParameter(f"{path} is there already: name a new one.")
        if is_archive(path.name) and not path.name.lower().endswith(packed):
            raise click.BadParameter(f"{path}: name a folder, or what ends in {' or '.join(packed)}.")
        return path

    return callback


@click.command(cls=console.Command)
@click.version_option(VERSION, message="%(version)s")
@click.option(
    "--output",
    type=console.path(file_okay=False),
    default="samples",
    show_default=True,
    help="Folder for the pictures, made if it is not there.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Another seed gives other faces, the same seed the same.",
)
@click.option(
    "--truncation",
    type=click.FloatRange(0, 4),
    callback=_finite,
    default=1.0,
    show_default=True,
    metavar="X",
    help="What z is multiplied by. Under 1: safer faces, paler and more alike. Over 1: stronger ones, more of them "
    "broken. truncation.png shows it.",
)
@click.option(
    "--faces",
    type=console.path(exists=True),
    help="A folder, .zip or .tgz of real faces: nearest.png then shows those that are nearest to the samples.  "
    "[default: no such picture]",
)
@click.option(
    "--submission",
    type=console.path(),
    callback=_new(*PACKED),
    help="A new folder for 1,000 pictures as the course takes them, or a new .tgz: `python -m grader score` scores "
    "them.  [default: none are made]",
)
@click.option(
    "--face-set",
    type=console.path(),
    callback=_new(".zip"),
    help="A new folder or .zip for faces to train on, where there are no real ones: then only it is made.  "
    "[default: none is made]",
)
@click.option(
    "--count",
    type=click.IntRange(1, 100_000),
    default=FACES,
    show_default=True,
    metavar="N",
    help="Faces in --face-set.",
)
@click.option(
    "--weights",
    type=console.path(exists=True, dir_okay=False),
    default=WEIGHTS,
    help="The generator: what `python -m studies.release` made of a run.  [default: the one that ships]",
)
def main(
    output: Path,
    seed: int,
    truncation: float,
    faces: Path | None,
    submission: Path | None,
    face_set: Path | None,
    count: int,
    weights: Path,
) -> None:
    """Makes faces with a trained generator of notebook 10, in seconds on a CPU, and writes pictures of them:

    \b
      samples.png        64 samples, as they come
      interpolation.png  ways through z from one sample to another
      walk.gif           eight of these ways, moving
      truncation.png     the same z, made weaker and stronger
      nearest.png        with --faces: the samples that are nearest to a
                         real face, each beside the faces nearest to it

    How it was trained, and what it may be used for, stands in baselines/weights/README.md.

    \b
    Exit codes:
      0    done
      2    wrong use, or a file that cannot be read or written: one line
      130  stopped by Ctrl-C

    \b
    Examples:
      python -m baselines.sample
      python -m baselines.sample --seed 7 --truncation 0.8 --output seed7
      python -m baselines.sample --faces faces.zip
      python -m baselines.sample --submission mine
      python -m baselines.sample --face-set made --count 10000
    """
    console.only_with("--face-set", face_set, count="--count")
    alone = {"output": "--output", "faces": "--faces", "submission": "--submission"}
    console.only_with("a call without --face-set, which makes nothing else", not face_set, **alone)
    G = load_generator(weights)
    if face_set:
        check_writable(face_set.parent)
        write_face_set(G, face_set, count, seed, truncation)
        console.say(printable(f"wrote {face_set}: {counted(count, 'face')} to train on"))
        return
    if submission:
        if submission.resolve() in (output.resolve(), *output.resolve().parents):
            raise click.UsageError(f"--submission {submission} would hold the pictures of --output too: name another.")
        check_writable(submission.parent)
    draw(G, output, seed, truncation, faces, submission)


if __name__ == "__main__":
    console.run(main, "python -m baselines.sample")
