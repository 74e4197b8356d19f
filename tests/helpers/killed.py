"""A run that is killed with SIGKILL at random moments and started again, and one that is left alone.

    python -m tests.helpers.killed FOLDER FACES KILLS

trains notebook 01 in FOLDER/killed and FOLDER/whole, in forks of this process: it has loaded torch already, so that a
start takes a second, and it has never called backward(), after which no fork may.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import click
import torch

from baselines.build import ROOT
from tests.helpers.notebook import lesson

KILLED = -signal.SIGKILL


def run(names: dict, folder: Path, seconds: float = 600.0) -> int:
    """The exit code of a training that gets this long before it is killed. What it prints is added to FOLDER.txt."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        output = os.open(folder.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1), os.dup2(output, 2)
        os.chdir(folder)
        try:
            began_at = time.time()
            names["train"](names["settings"])
            Path("times.txt").write_text(f"{names['first_step_at'] - began_at}\n{time.time() - began_at}\n")
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        finally:
            sys.stdout.flush()
        os._exit(0)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("faces", type=click.Path(exists=True, path_type=Path))
@click.argument("kills", type=int)
def main(folder, faces, kills):
    torch.set_num_threads(1)
    overrides = {"faces": str(faces.resolve()), "run": "run", "steps": 6 * kills, "norms_every": 2, "ema": 0.9}
    names = lesson(ROOT / "baselines/01_gan.py", **overrides)
    steps_of = names["Run"].steps

    def timed_steps(run, *tensors):
        names["first_step_at"] = time.time()
        yield from steps_of(run, *tensors)

    names["Run"].steps = timed_steps

    for name in ("whole", "killed"):
        (folder / name).mkdir(parents=True)
    if run(names, folder / "whole"):
        sys.exit(f"the uninterrupted run failed: {folder}/whole.txt")
    with open(folder / "whole/times.txt") as file:
        start, end = map(float, file)
    click.echo(f"left alone: {start:.1f} s to the first step, {end - start:.1f} s of training")

    # The run gains less than its share of the training between two kills: it lasts through most of them.
    moments, count, share = random.Random(0), 0, 1.5 * (end - start) / kills
    while count < kills:
        after = moments.uniform(start / 2, start + share)
        code = run(names, folder / "killed", after)
        if code not in (0, KILLED):
            sys.exit(f"a run failed by itself: {folder}/killed.txt")
        if code == KILLED:
            count += 1
        else:
            share, start = share / 2, start * 0.9  # it came to its end before
        log = folder / "killed/run/log.csv"
        rows = len(log.read_text().splitlines()) - 1 if log.exists() else 0
        click.echo(f"{'killed' if code else 'ended'} within {after:.2f} s, log.csv at row {rows}")
    if run(names, folder / "killed"):
        sys.exit(f"the last run failed: {folder}/killed.txt")


if __name__ == "__main__":
    main()
