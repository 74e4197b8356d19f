"""Notebook 01's training beside a loop like the course's sample code, on the same machine: `make bench-training`.

    python -m tests.benchmarks.training [FACES]

Both have the same networks, batch and faces, and the same two cores, where the machine has more. The sample code's loop
is written after its description: two workers decode every JPEG in every epoch, the fakes of D's step are not detached,
both networks ask for all gradients, and each loss is fetched in each step. Ours is the notebook's own code. They take
turns, so that a busy machine slows both down; each round's ratio stands beside the medians.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from baselines.build import ROOT
from data.render import render
from tests.helpers.notebook import cells, lesson

MASTER = ROOT / "baselines/01_gan.py"


def jpegs(folder: Path, number: int) -> Path:
    """Drawn faces as the course's are stored: 96x96 JPEG."""
    folder.mkdir()
    for index, (picture, _) in enumerate(render(number, seed=1)):
        face = Image.fromarray(np.ascontiguousarray(picture)).resize((96, 96), Image.Resampling.BICUBIC)
        face.save(folder / f"{index}.jpg", quality=95)
    return folder


class Faces(torch.utils.data.Dataset):
    """Decodes and shrinks a picture each time it is asked for."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.jpg"))
        normalize = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.transform = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor(), normalize])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture.convert("RGB"))


def sample_code(folder: Path, names: dict):
    """Yields after every step of the sample code's loop, on networks of the notebook's classes."""
    settings, device = names["settings"], names["get_device"]()
    G, D = names["Generator"](settings.z_dim, settings.width), names["Discriminator"](settings.width)
    G, D, bce = G.to(device), D.to(device), nn.BCELoss()
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas)
    loader = torch.utils.data.DataLoader(
        Faces(folder), settings.batch_size, shuffle=True, num_workers=2, drop_last=True
    )
    while True:
        for real in loader:
            real = real.to(device)
            fake = G(torch.randn(len(real), settings.z_dim, device=device))
            p_real, p_fake = D(real), D(fake)
            loss_D = (bce(p_real, torch.ones_like(p_real)) + bce(p_fake, torch.zeros_like(p_fake))) / 2
            D.zero_grad()
            loss_D.backward()
            optimizer_D.step()

            p_fake = D(G(torch.randn(len(real), settings.z_dim, device=device)))
            loss_G = bce(p_fake, torch.ones_like(p_fake))
            G.zero_grad()
            loss_G.backward()
            optimizer_G.step()
            yield loss_D.item(), loss_G.item()


def loop_of(master: Path) -> str:
    """The cell of a notebook's train(settings), which yields after every step in place of giving back its run."""
    source = next(source for source in cells(master).values() if "\ndef train(" in f"\n{source}")
    loop, found, rest = source.rpartition("    return run")
    assert found and not rest.strip(), "the notebook's loop ends otherwise now"
    return f"{loop}        yield"


def notebook(names: dict, master: Path = MASTER):
    """Yields after every step of a notebook's train(settings)."""
    exec(compile(loop_of(master), master.stem, "exec"), names)
    return names["train"](names["settings"])


def finish(device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(loop, steps: int, device) -> float:
    """Seconds a step."""
    started = time.perf_counter()
    for _ in range(steps):
        next(loop)
    finish(device)
    return (time.perf_counter() - started) / steps


def gpu_columns(loop, steps: int, device) -> list[str]:
    """Peak memory of both loops' tensors together, in MB, and the share of the time in which no kernel runs."""
    torch.cuda.reset_peak_memory_stats()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        started = time.perf_counter()
        timed(loop, steps, device)
        seconds = time.perf_counter() - started
    busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return [f"{torch.cuda.max_memory_allocated() / 1e6:,.0f}", f"{max(0, 1 - busy / seconds):.0%}"]


@click.command()
@click.argument("faces", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--width", default=64, show_default=True, help="The networks' width; the course's is 64.")
@click.option("--batch", default=64, show_default=True, help="Pictures a batch; the course's is 64.")
@click.option("--steps", type=int, help="Steps a round. [default: 100 on a GPU, 2 on a CPU]")
@click.option("--rounds", default=5, show_default=True)
def main(faces, width, batch, steps, rounds):
    """Times both on FACES, a folder of JPEGs, or on 2,000 drawn ones."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        faces = faces or jpegs(Path(folder, "faces"), 2000)
        small = {"faces": str(faces), "run": f"{folder}/run", "width": width, "batch_size": batch, "log_every": 50}
        names = lesson(MASTER, **small, steps=10**9, checkpoint_every=10**9, checkpoint_minutes=1e9)
        device = names["get_device"]()
        steps = steps or (100 if device.type == "cuda" else 2)
        loops = {"sample code": sample_code(faces, names), "notebook 01": notebook(names)}
        for loop in loops.values():
            timed(loop, max(1, steps // 10), device)  # workers, kernels and memory are there from now on
        seconds = {name: [] for name in loops}
        for _ in range(rounds):
            for name, loop in loops.items():
                seconds[name].append(timed(loop, steps, device))

        where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        print(f"\n{where}, {torch.get_num_threads()} threads, torch {torch.__version__}; width {width}, batch {batch}")
        gpu = device.type == "cuda"
        columns = ["", "steps/s", "pictures/s", "s an epoch of 71,314", *(["GPU MB", "GPU waits"] if gpu else [])]
        print("".join(f"{column:>22}" for column in columns))
        for name, loop in loops.items():
            median = statistics.median(seconds[name])
            row = [name, f"{1 / median:.3f}", f"{batch / median:.1f}", f"{71_314 // batch * median:,.0f}"]
            print("".join(f"{value:>22}" for value in row + (gpu_columns(loop, steps, device) if gpu else [])))
        ratios = [theirs / ours for theirs, ours in zip(*seconds.values(), strict=True)]
        print(f"times as fast: {statistics.median(ratios):.2f} (rounds {', '.join(f'{r:.2f}' for r in ratios)})")
        sys.stdout.flush()
        loops.clear()  # ends the workers before their folder goes


if __name__ == "__main__":
    main()
