"""Distil the teacher into a smaller network: python -m studies.distil SHARED RUNS --folder FOLDER

The student is the teacher's own first blocks, which see pictures as they are, 64x64, and a linear map. The map is
fitted so that it predicts the features that the whole teacher has of the picture enlarged (studies.teacher):
  real faces, of which it sees a version that was shrunk and stored in any harmless way, while the teacher saw the
  bilinear one without loss: so it forgets how a picture was shrunk and stored;
  real faces with one or two corruptions;
  samples of generators at every checkpoint of the runs TRAINED_ON, in RUNS/<run>/samples/<step>.tgz.
Never trained on: every other run, the submissions, crypko_1000_96px, the odd files of crypko_10000_96px, and every
sixth of the 12,000 faces. The target are the first principal components of the teacher's features over all of these
pictures, not of real faces alone: where generators err, real faces vary little.

FOLDER keeps the features of both; the same command goes on where it was stopped.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from grader.files import atomic, natural
from grader.inputs.archives import members
from grader.inputs.images import decode
from studies import teacher
from studies.corruptions import KINDS
from studies.faces import read_faces, split

TRAINED_ON = ("wgan_gp_s11", "wgan_s11", "gan_s11", "biggan_s11", "wgan_noema", "gan_demo")
PER_CHECKPOINT = 250  # of its 1,000 samples
ORIGINALS = 2500  # of the even half of the 10,000
FACES = 4000  # of the 12,000
CORRUPTED = 4000
FILTERS = {name: getattr(Image.Resampling, name.upper()) for name in ("bilinear", "bicubic", "box", "lanczos")}
COMPONENTS = 256
STAGES = (  # of EfficientNet-Lite0, the first six of seven: expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
)
STEM = 32  # channels
POOLED = sum(channels * blocks for *_, channels, blocks in STAGES)  # 1488
SHARES = {"generated": 0.35, "corrupted": 0.2, "originals": 0.25, "faces": 0.2}  # what each group weighs in the fit


class Student(nn.Module):
    """Pictures float [N, 3, 64, 64] in 0..255 -> the teacher's principal components [N, 256], in the teacher's scale.

    Blocks of the teacher, which here see the 64 pixels as they are; the mean of each channel behind each block; and a
    linear map of these means. There is no BatchNorm: the teacher's are folded into its convolutions.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, STEM, 3, 2), nn.ReLU6())
        self.blocks, fan_in = nn.ModuleList(), STEM
        for expansion, kernel, stride, channels, blocks in STAGES:
            for number in range(blocks):
                self.blocks.append(_Block(fan_in, channels, expansion, kernel, 1 if number else stride))
                fan_in = channels
        self.head = nn.Linear(POOLED, COMPONENTS)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, 64, 64] in 0..255 -> what the head reads, [N, 1488]."""
        x, means = self.stem((x - 127) / 128), []  # [N, 32, 32, 32]
        for block in self.blocks:
            x = block(x)  # side 32, 16, 8, 4, 4, 2
            means.append(x.mean(dim=(2, 3)))
        return torch.cat(means, dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(x))


class _Block(nn.Module):
    """An inverted residual (Sandler et al., https://arxiv.org/abs/1801.04381)."""

    def __init__(self, fan_in: int, fan_out: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        inner = fan_in * expansion
        expand = [*_conv(fan_in, inner, 1, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_conv(inner, inner, kernel, stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *depthwise, *_conv(inner, fan_out, 1, 1))
        self.residual = stride == 1 and fan_in == fan_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def _conv(fan_in: int, fan_out: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    padding = kernel - stride  # in all; with a stride of 2 there is one more at the bottom and the right
    pad = nn.ZeroPad2d((padding // 2, padding - padding // 2) * 2)
    return [pad, nn.Conv2d(fan_in, fan_out, kernel, stride, groups=groups)]


def student_of(net: nn.Module) -> Student:
    """The teacher's first blocks, with a head that is not fitted yet."""
    student = Student()
    convs = [[m for m in some.modules() if isinstance(m, nn.Conv2d)] for some in (student, net)]
    for mine, other in zip(*convs, strict=False):
        mine.load_state_dict(other.state_dict())
    return student.eval().to(memory_format=torch.channels_last)


def load(path: Path) -> Student:
    """A student from its weights. Raises FileNotFoundError."""
    student = Student()
    student.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return student.eval().to(memory_format=torch.channels_last)


def describe(student: Student, pictures: np.ndarray) -> np.ndarray:
    """Features float32 [N, 256] of pictures uint8 [N, 64, 64, 3]."""
    return _batched(student, pictures)


@torch.inference_mode()
def _batched(function: Callable, pictures: np.ndarray) -> np.ndarray:
    rows = []
    for start in range(0, len(pictures), 50):
        x = torch.from_numpy(np.ascontiguousarray(pictures[start : start + 50]))
        rows.append(function(x.permute(0, 3, 1, 2).float()).numpy())  # [B, 3, 64, 64], channels last
    return np.concatenate(rows)


def stored(picture: Image.Image, codec: str, quality: int) -> np.ndarray:
    """A picture as it comes back from a file of that kind: "png", "jpeg" or "webp"."""
    if codec == "png":
        return np.asarray(picture)
    file = io.BytesIO()
    picture.save(file, codec, quality=quality, **({"method": 1} if codec == "webp" else {}))
    return np.asarray(Image.open(file).convert("RGB"))


def harmlessly(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One picture uint8 [H, W, 3], shrunk to 64x64 by any filter and stored in any good quality."""
    image = Image.fromarray(picture)
    if image.size != (64, 64):
        image = image.resize((64, 64), list(FILTERS.values())[rng.integers(len(FILTERS))])
    codec = ("png", "jpeg", "jpeg", "webp")[rng.integers(4)]
    return stored(image, codec, int(rng.integers(70, 101)))


def read_originals(path: Path, odd: bool) -> np.ndarray:
    """The odd or the even half of crypko_10000_96px, uint8 [5000, 96, 96, 3]."""
    files = ((name, read) for name, read in members(path) if name.lower().endswith(".jpg"))
    pictures = {name: decode(read())[0] for name, read in files if int(Path(name).stem) % 2 == odd}
    return np.stack([pictures[name] for name in sorted(pictures, key=natural)])


def shrunk(pictures: np.ndarray, filter_name: str = "bilinear") -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(p).resize((64, 64), FILTERS[filter_name])) for p in pictures])


def corrupted(faces: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Faces with one or two corruptions, more often light than heavy."""
    kinds, pictures = list(KINDS.values()), []
    for _ in range(count):
        picture, other = faces[rng.integers(len(faces), size=2)]
        for _ in range(int(rng.integers(1, 3))):
            picture = kinds[rng.integers(len(kinds))](picture, rng.random() ** 1.5, rng, other)
        pictures.append(picture)
    return np.stack(pictures)


def gather(net: nn.Module, student: Student, shared: Path, runs: Path, folder: Path):
    """Per group, the student's means [n, 1488] of its pictures, and the teacher's features [n, 1280]."""
    rng = np.random.default_rng(1)
    faces = split(read_faces(shared / "crypko_12000_64px.zip"))[0]
    originals = read_originals(shared / "crypko_10000_96px.zip", odd=False)[:ORIGINALS]
    small = shrunk(originals)
    sources = {
        "faces": (faces[:FACES], faces[:FACES]),
        "originals": (np.concatenate([originals] * 2), np.concatenate([small] * 2)),
    }
    damaged = corrupted(np.concatenate([faces, small]), CORRUPTED, np.random.default_rng(0))
    sources["corrupted"] = (damaged, damaged)
    generated = []
    for run in TRAINED_ON:
        for file in sorted((runs / run / "samples").glob("*.tgz")):
            pictures = read_faces(file)[:PER_CHECKPOINT]
            generated.append(f"{run}-{file.stem}")
            sources[generated[-1]] = (pictures, pictures)
    pairs = {}
    for name, (pictures, seen) in sources.items():
        print(f"\r{name}: {len(pictures)} pictures", end="\033[K", file=sys.stderr, flush=True)
        changed = np.stack([harmlessly(picture, rng) for picture in pictures])
        means = _kept(folder / f"means-{name}.npy", partial(_batched, student.pooled, changed))
        pairs[name] = (means, _kept(folder / f"targets-{name}.npy", partial(teacher.features, net, seen, half=True)))
    print(file=sys.stderr)
    alike = [pairs.pop(name) for name in generated]
    return pairs | {"generated": tuple(map(np.concatenate, zip(*alike, strict=True)))}


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        with atomic(path) as unfinished, open(unfinished, "wb") as file:
            np.save(file, make())
    return np.load(path)


def components(targets: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [1280], directions [1280, 256] and variances [256] of the first principal components of the targets, each
    group weighing its share."""
    mean = sum(SHARES[name] * some.mean(axis=0, dtype=float) for name, some in targets.items())
    covariance = sum(SHARES[name] * (some - mean).T @ (some - mean) / len(some) for name, some in targets.items())
    values, vectors = np.linalg.eigh(covariance)
    return mean, vectors[:, : -COMPONENTS - 1 : -1], values[: -COMPONENTS - 1 : -1]


def fit(pairs: dict[str, tuple[np.ndarray, np.ndarray]], ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight [256, d] and bias [256] of the linear map from the student's means [n, d] to the targets' components.

    Ridge regression (Hoerl and Kennard, 1970) on means scaled to variance 1, each group weighing its share.
    """
    mean, directions, variances = components({name: targets for name, (_, targets) in pairs.items()})
    x = np.concatenate([pooled for pooled, _ in pairs.values()]).astype(float)  # [N, d]
    y = np.concatenate([(targets - mean) @ directions for _, targets in pairs.values()])  # [N, 256]
    weights = np.concatenate([np.full(len(pooled), SHARES[name] / len(pooled)) for name, (pooled, _) in pairs.items()])
    centre = weights @ x
    scale = np.sqrt(weights @ (x - centre) ** 2) + 1e-6
    x = (x - centre) / scale
    normal = (x.T * weights) @ x + ridge * np.eye(x.shape[1])
    solution = np.linalg.solve(normal, (x.T * weights) @ y)  # [d, 256]
    unexplained = (weights @ (y - x @ solution) ** 2).sum() / variances.sum()
    print(f"{len(x)} pictures; of the components' variance {1 - unexplained:.3f} is explained", file=sys.stderr)
    return (solution / scale[:, None]).T, -(centre / scale) @ solution


@click.command()
@click.argument("shared", type=click.Path(exists=True, path_type=Path))
@click.argument("runs", type=click.Path(exists=True, path_type=Path))
@click.option("--folder", default="scratch/distil", show_default=True, type=click.Path(path_type=Path))
@click.option("--output", default="scratch/distil/distilled.safetensors", show_default=True, type=click.Path())
@click.option("--ridge", default=0.03, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(shared, runs, *, folder, output, ridge, threads):
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    net = teacher.load()
    student = student_of(net)
    weight, bias = fit(gather(net, student, shared, runs, folder), ridge)
    student.head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    with atomic(Path(output)) as unfinished:
        save_file({name: tensor.half().contiguous() for name, tensor in student.state_dict().items()}, unfinished)


if __name__ == "__main__":
    main()
