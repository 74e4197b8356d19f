"""All that a GPU has to show, in ten minutes: `make gpu-check`.

First 01 trains at full size, in each layout and precision, beside a loop like the course's sample code. Then each
notebook trains for some seconds at the size of its preset `course`, which tells how long its steps take here. Last,
each solved notebook runs whole at a small size, with its checks, some of them at once. It goes on from what it saved,
to the last bit, and is compared with a training that was not interrupted. What comes of it goes into
baselines/results/gpu_check/, as JSON and as a page. Without a GPU all of it runs too, at sizes for a CPU.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import torch

from baselines.build import ROOT, masters
from kit.device import usable_cores
from tests.benchmarks.training import MASTER, jpegs, notebook, sample_code, timed
from tests.helpers.notebook import execute, lesson, unmoved_by_cuda
from tests.helpers.pretend_gpu import train_and_tell

RESULTS = ROOT / "baselines/results/gpu_check"
GROWING = {"07_progressive": {"hold": [1, 0, 0, 0], "fade": [1, 1, 1, 2]}}  # in six steps from 4x4 to 64x64
ENDLESS = {"steps": 10**9, "hours": 0.0, "log_every": 50, "checkpoint_every": 10**9, "checkpoint_minutes": 1e9}
VARIANTS = {  # of notebook 01: precision and layout
    "float32": {"half": False, "channels_last": False},
    "float32, channels last": {"half": False, "channels_last": True},
    "half": {"half": True, "channels_last": False},
    "half, channels last": {"half": True, "channels_last": True},
}


def memory_mb() -> float | None:
    """The most that this process had of the GPU's memory."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None


def growing(stem: str) -> list[str]:
    """GROWING's settings of a notebook, as words."""
    return [f"{name}={json.dumps(steps)}" for name, steps in GROWING.get(stem, {}).items()]


def check_notebook(stem: str, faces: Path, seconds: float, size: list[str]) -> dict:
    """A notebook whole, resumed and compared, in a process of its own; or why not."""
    if stem not in [master.stem for master in masters()]:
        return {"notebook": stem, "result": f"there is no {stem}"}
    if seconds <= 0:
        return {"notebook": stem, "result": "no time left"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __spec__.name, "--notebook", stem, "--faces", faces, "--folder", folder]
        command += [word for one in [*growing(stem), *size] for word in ("--set", one)]
        began = time.time()
        try:
            environment = os.environ | {"KIT_SCORE": "0"}  # this is about the training
            done = subprocess.run(
                [*map(str, command)], capture_output=True, text=True, timeout=seconds, cwd=ROOT, env=environment
            )
        except subprocess.TimeoutExpired:
            return {"notebook": stem, "result": "no time left"}
        row = {"notebook": stem, "seconds": round(time.time() - began)}
        if done.returncode:
            return row | {"result": (done.stderr.strip().splitlines() or ["failed"])[-1]}
        told = json.loads(Path(folder, "told.json").read_text())
    result = f"{len(told['loaded'])} tensors were not loaded as saved" if told["loaded"] else "whole"
    resumed = "equal"
    if told["differences"]:
        resumed = "{:.2g} away, as two unbroken runs are {:.2g}".format(*told["distances"])
    return row | {"result": result, "device": told["device"], "resumed": resumed, "memory_mb": told["memory_mb"]}


def speeds(faces: Path, steps: int, until: float, **size) -> list[dict]:
    """Steps per second of the sample code's loop and of 01 in each of VARIANTS, each a few seconds long."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, variant in {"sample code": None, **VARIANTS}.items():
            row = {"loop": name, "steps_per_second": None}
            if time.time() < until:
                run = {"faces": str(faces), "run": f"{folder}/{len(rows)}", **ENDLESS, **size}
                row = measured(row, lambda run=run, variant=variant: speed(faces, run, steps, variant))
            rows.append(row)
            print(row, flush=True)
    return rows


def speed(faces: Path, run: dict, steps: int, variant: dict | None) -> dict:
    """Steps per second of 01 in one of VARIANTS, or of the sample code's loop."""
    names = lesson(MASTER, **run, half=bool(variant and variant["half"]))
    device = names["get_device"]()
    if variant:
        names["channels_last_pays"] = lambda *_: variant["channels_last"]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    loop = notebook(names) if variant else sample_code(faces, names)
    timed(loop, max(1, steps // 10), device)
    seconds = timed(loop, steps, device)
    loop.close()
    return {"steps_per_second": round(1 / seconds, 2), "memory_mb": memory_mb()}


def measured(row: dict, measure: Callable[[], dict]) -> dict:
    """The row with what measure() finds, or why it finds nothing: the others go on, with all of the memory."""
    try:
        return row | measure()
    except (Exception, SystemExit) as error:
        return row | {"result": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        gc.collect()  # networks and optimizers know each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def pace(master: Path, faces: Path, seconds: float, warm: int, **size) -> dict:
    """How fast a notebook trains by its preset `course`: steps per second, after `warm` steps in which kernels are
    chosen, the hours of all steps of the preset where it is timed at its own size, and memory."""
    grown = {name: [0] * len(steps) for name, steps in GROWING.get(master.stem, {}).items()}  # 64x64 from the first on
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"faces": str(faces), "run": f"{folder}/run", **ENDLESS, **grown, **size}
        names = execute(master, overrides, until="def train(settings):")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        loop, device = notebook(names, master), names["get_device"]()
        timed(loop, warm, device)
        steps = max(1, round(seconds / timed(loop, 1, device)))
        rate = 1 / timed(loop, steps, device)
        loop.close()
        hours = names["PRESETS"]["course"].steps / rate / 3600
        row = {"notebook": master.stem, "steps_per_second": round(rate, 2), "batch_size": names["settings"].batch_size}
        row["course_hours"] = None if size or grown else round(hours, 2)
        return row | {"memory_mb": memory_mb()}


def paces(stems: list[str], faces: Path, until: float, **how) -> list[dict]:
    """The `pace` of each notebook, or why there is none."""
    rows = []
    for master in masters():
        if master.stem not in stems:
            continue
        row = {"notebook": master.stem, "steps_per_second": None}
        if time.time() < until:
            with unmoved_by_cuda():
                row = measured(row, lambda master=master: pace(master, faces, **how))
        rows.append(row)
        print(row, flush=True)
    return rows


def as_page(found: dict) -> str:
    """The tables as Markdown."""
    lines = [f"# {found['device']}", "", f"torch {found['torch']}, {found['date']}. Made by `make gpu-check`.", ""]
    tables = {"Notebooks": "notebooks", "Speed of each notebook": "pace", "Notebook 01, speed": "speed"}
    for title, rows in ((title, found[name]) for title, name in tables.items()):
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines += [f"## {title}", "", f"| {' | '.join(name.replace('_', ' ') for name in columns)} |"]
        lines += ["|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(cell(row.get(name)) for name in columns) + " |" for row in rows] + [""]
    return "\n".join(lines)


def cell(value) -> str:
    return "–" if value is None else f"{value:,.0f}" if isinstance(value, float) and value > 100 else f"{value}"


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, help="Folder for the tables.")
@click.option("--minutes", default=10.0, show_default=True, help="All in all; what is left over is not done.")
@click.option("--only", help="Notebooks to try, separated by commas. [default: all]")
@click.option("--steps", type=int, help="Steps that each loop is timed for. [default: 200 on a GPU, 1 elsewhere]")
@click.option("--jobs", type=int, help="Small notebooks at once. [default: one for each two cores, at most 4]")
@click.option("--set", "size", multiple=True, help="A setting for the small notebooks, as NAME=JSON.")
@click.option("--notebook", "stem", hidden=True)
@click.option("--faces", type=click.Path(path_type=Path), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(output, minutes, only, steps, jobs, size, stem, faces, folder):
    """Runs everything and writes gpu_check/NAME-OF-THE-GPU.json and .md. Exits with 1 when a notebook is not whole, or
    when one that is timed stops with an error."""
    if stem:  # in a process of its own
        settings = {name: json.loads(value) for name, value in (one.split("=", 1) for one in size)}
        with unmoved_by_cuda():  # 05 trains on after its notebook's end
            told = train_and_tell(stem, faces, folder, checks=True, **settings)
        (folder / "told.json").write_text(json.dumps(told | {"memory_mb": memory_mb()}))
        return
    began = time.time()
    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else "CPU"
    stems = only.split(",") if only else [master.stem for master in masters()]
    size = [*size, *(["width=16", "batch_size=32", "steps=30"] if on_gpu and not size else [])]
    with tempfile.TemporaryDirectory() as drawn:
        from data.render import render_set

        folder = Path(drawn, "faces")
        render_set(folder, 300, seed=1)  # with their attributes, which 06 and 08 need
        full = {"width": 64, "batch_size": 64} if on_gpu else {"width": 4, "batch_size": 8}
        pictures = jpegs(Path(drawn, "jpegs"), 4000 if on_gpu else 200)  # many: new workers start in each epoch
        until = began + 60 * minutes
        speed_rows = speeds(pictures, steps or (200 if on_gpu else 1), until - 30 * minutes, **full)
        how = {"seconds": 4, "warm": 20} if on_gpu else {"seconds": 0.1, "warm": 1, "width": 4, "batch_size": 4}
        pace_rows = paces(stems, folder, until - 30 * minutes, **how)
        with ThreadPoolExecutor(jobs or max(1, min(4, usable_cores() // 2))) as pool:
            checked = pool.map(lambda stem: check_notebook(stem, folder, until - time.time(), size), stems)
            rows = []
            for row in checked:
                rows.append(row)
                print(row, flush=True)
    found = {"device": device, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    found |= {"notebooks": rows, "pace": pace_rows, "speed": speed_rows}
    output.mkdir(parents=True, exist_ok=True)
    name = "_".join(device.lower().split())
    (output / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    (output / f"{name}.md").write_text(as_page(found))
    print(as_page(found))
    if any(row["result"] != "whole" for row in rows) or any("result" in row for row in [*speed_rows, *pace_rows]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
