"""Distil the teacher into a small network: python -m studies.distil SHARED RUNS --folder FOLDER

The student learns the teacher's features of a picture (studies.teacher) from pictures as they are, 64x64:
  real faces, of which it sees a version that was shrunk and stored in any harmless way, while the teacher saw the
  bilinear one without loss: so it forgets how a picture was shrunk and stored;
  real faces with one or two corruptions;
  samples of generators at every checkpoint of the runs TRAINED_ON, in RUNS/<run>/samples/<step>.tgz.
Never trained on: every other run, the submissions, crypko_1000_96px, the odd files of crypko_10000_96px, and every
sixth of the 12,000 faces. The target are the first principal components of the teacher's features over all of these
pictures, not of real faces alone: where generators err, real faces vary little.

FOLDER keeps pictures, targets and the state of the training; the same command goes on where it was stopped.
"""

from __future__ import annotations

import io
import sys
import time
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from grader.files import atomic, natural
from grader.inputs.archives import members
from grader.inputs.images import decode
from studies import teacher
from studies.corruptions import KINDS
from studies.faces import read_faces, split

TRAINED_ON = ("wgan_gp_s11", "wgan_s11", "gan_s11", "biggan_s11", "wgan_noema", "gan_demo")
PER_CHECKPOINT = 250  # of its 1,000 samples
ORIGINALS = 2500  # of the even half of the 10,000
CORRUPTED = 4000
FILTERS = {name: getattr(Image.Resampling, name.upper()) for name in ("bilinear", "bicubic", "box", "lanczos")}
COMPONENTS = 256


STAGES = ((32, 1), (64, 2), (128, 2), (256, 1))  # channels, residual convolutions; each stage halves the side
POOLED = 640
SHARES = {"generated": 0.35, "corrupted": 0.2, "originals": 0.25, "faces": 0.2}  # of each batch
BATCH = 64
TEMPER = 0.25  # targets are divided by their variance to this power: 0 is the teacher's own scale, 0.5 whitens


class Student(nn.Module):
    """Pictures float [N, 3, 64, 64] in 0..255 -> the teacher's principal components [N, 256], in the teacher's scale.

    Plain strided and residual convolutions (He et al., https://arxiv.org/abs/1512.03385): on a CPU they are faster than
    the teacher's depthwise ones. A BatchNorm behind each helps to train; `folded` has none left.
    """

    def __init__(self, norms: bool = True):
        super().__init__()
        layers, fan_in = [], 3
        for channels, residuals in STAGES:
            layers += [_conv(fan_in, channels, 4, 2, norms), nn.ReLU()]  # side 32, 16, 8, 4
            layers += [_ResidualConv(channels, norms) for _ in range(residuals)]
            fan_in = channels
        self.body = nn.Sequential(*layers, _conv(fan_in, POOLED, 1, 1, norms), nn.ReLU())  # [N, 640, 4, 4]
        self.head = nn.Linear(POOLED, COMPONENTS)
        self.register_buffer("scale", torch.ones(COMPONENTS))  # the head learns components divided by this

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, 64, 64] in 0..255 -> what the head reads, [N, 640]."""
        return self.body((x - 127.5) / 64).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(x)) * self.scale


class _ResidualConv(nn.Module):
    def __init__(self, channels: int, norms: bool):
        super().__init__()
        self.inner = _conv(channels, channels, 3, 1, norms)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def _conv(fan_in: int, fan_out: int, kernel: int, stride: int, norms: bool) -> nn.Sequential:
    conv = nn.Conv2d(fan_in, fan_out, kernel, stride, (kernel - 1) // 2, bias=not norms)
    return nn.Sequential(conv, nn.BatchNorm2d(fan_out)) if norms else nn.Sequential(conv)


def folded(student: Student) -> Student:
    """The same network with each BatchNorm folded into its convolution: no picture depends on its batch."""
    student.eval()
    plain = Student(norms=False)
    pairs = zip(_convs(student), _convs(plain), strict=True)
    for (conv, norm), (bare,) in pairs:
        bare.load_state_dict(fuse_conv_bn_eval(conv, norm).state_dict())
    plain.head.load_state_dict(student.head.state_dict())
    plain.scale.copy_(student.scale)
    return plain.eval()


def _convs(student: Student) -> list[nn.Sequential]:
    return [m for m in student.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]


def load(path: Path) -> Student:
    """A folded student from its weights. Raises FileNotFoundError."""
    student = Student(norms=False)
    student.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return student.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def describe(student: Student, pictures: np.ndarray) -> np.ndarray:
    """Features float32 [N, 256] of pictures uint8 [N, 64, 64, 3]."""
    return np.concatenate([student(_tensor(pictures[i : i + 64])).numpy() for i in range(0, len(pictures), 64)])


def _tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()  # channels last


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


def _kept(folder: Path, name: str, make) -> np.ndarray:
    path = folder / f"pictures-{name}.npy"
    if not path.exists():
        with atomic(path) as unfinished, open(unfinished, "wb") as file:
            np.save(file, make())
    return np.load(path)


def _first_of(file: Path) -> np.ndarray:
    return read_faces(file)[:PER_CHECKPOINT]


def gather(shared: Path, runs: Path, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """To train on: groups of pictures uint8 [n, H, W, 3] with the teacher's features [n, 1280] of them."""
    groups = {}  # name -> pictures, and what the teacher sees of them
    for run in TRAINED_ON:
        for file in sorted((runs / run / "samples").glob("*.tgz")):
            first = partial(_first_of, file)
            groups[f"{run}-{file.stem}"] = _kept(folder, f"{run}-{file.stem}", first)
    originals = _kept(
        folder, "originals", lambda: read_originals(shared / "crypko_10000_96px.zip", odd=False)[:ORIGINALS]
    )
    faces = _kept(folder, "faces", lambda: split(read_faces(shared / "crypko_12000_64px.zip"))[0])
    both = np.concatenate([faces, shrunk(originals)])
    groups["corrupted"] = _kept(folder, "corrupted", lambda: corrupted(both, CORRUPTED, np.random.default_rng(0)))
    groups |= {"originals": originals, "faces": faces}
    net, targets = teacher.load(), {}
    for name, pictures in groups.items():
        path = folder / f"targets-{name}.npy"
        if not path.exists():
            print(f"teacher: {name}", file=sys.stderr, flush=True)
            with atomic(path) as unfinished, open(unfinished, "wb") as file:
                np.save(
                    file, teacher.features(net, pictures if pictures.shape[1] == 64 else shrunk(pictures), half=True)
                )
        targets[name] = np.load(path)
    generated = [name for name in groups if name not in SHARES]
    pairs = {name: (groups[name], targets[name]) for name in SHARES if name in groups}
    pairs["generated"] = tuple(np.concatenate([some[name] for name in generated]) for some in (groups, targets))
    return pairs


def components(pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [1280], directions [1280, 256] and variances [256] of the first principal components of the targets, each
    group weighing its share of a batch."""
    mean = sum(SHARES[name] * targets.mean(axis=0, dtype=float) for name, (_, targets) in pairs.items())
    centred = {name: targets - mean for name, (_, targets) in pairs.items()}
    scatter = sum(SHARES[name] * x.T @ x / len(x) for name, x in centred.items())
    values, vectors = np.linalg.eigh(scatter)
    return mean, vectors[:, : -COMPONENTS - 1 : -1], values[: -COMPONENTS - 1 : -1]


def batch_of(pairs, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [64, 64, 64, 3], each changed harmlessly, and their targets."""
    pictures, targets = [], []
    for name in rng.choice(list(SHARES), size=BATCH, p=list(SHARES.values())):
        some, wanted = pairs[name]
        i = rng.integers(len(some))
        pictures.append(harmlessly(some[i], rng))
        targets.append(wanted[i])
    return np.stack(pictures), np.stack(targets)


def train(pairs, folder: Path, steps: int, lr: float, seed: int) -> Student:
    """The average of the weights over the last steps; goes on from FOLDER/last.pt."""
    torch.manual_seed(seed)
    mean, directions, variances = components(pairs)
    scale = variances**TEMPER
    pairs = {name: (p, ((t - mean) @ directions / scale).astype(np.float32)) for name, (p, t) in pairs.items()}
    student = Student().to(memory_format=torch.channels_last)
    student.scale.copy_(torch.from_numpy(scale))
    optimizer = torch.optim.AdamW(student.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, pct_start=0.15)
    average = torch.optim.swa_utils.AveragedModel(
        student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99), use_buffers=True
    )
    parts = {"student": student, "optimizer": optimizer, "schedule": schedule, "average": average}
    first, last = 0, folder / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        first = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    started, losses, total = time.perf_counter(), [], float((variances / scale**2).mean())
    for step in range(first, steps):
        pictures, targets = batch_of(pairs, np.random.default_rng((seed, step)))
        with torch.autocast("cpu", torch.bfloat16):
            pooled = student.pooled(_tensor(pictures))
        loss = (student.head(pooled.float()) - torch.from_numpy(targets)).square().mean() / total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(student)
        losses.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            with atomic(last) as unfinished:
                torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step + 1}, unfinished)
            rate = BATCH * len(losses) / (time.perf_counter() - started)
            print(
                f"step {step + 1}/{steps}  unexplained {np.mean(losses[-50:]):.3f}  {rate:.0f} pictures/s", flush=True
            )
    return average.module


@click.command()
@click.argument("shared", type=click.Path(exists=True, path_type=Path))
@click.argument("runs", type=click.Path(exists=True, path_type=Path))
@click.option("--folder", default="scratch/distil", show_default=True, type=click.Path(path_type=Path))
@click.option("--output", default="scratch/distil/distilled.safetensors", show_default=True, type=click.Path())
@click.option("--steps", default=1500, show_default=True, help="64 pictures each.")
@click.option("--lr", default=2e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(shared, runs, *, folder, output, steps, lr, seed, threads):
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    student = folded(train(gather(shared, runs, folder), folder, steps, lr, seed))
    with atomic(Path(output)) as unfinished:
        save_file({name: tensor.half().contiguous() for name, tensor in student.state_dict().items()}, unfinished)


if __name__ == "__main__":
    main()
