"""FID of 1,000 pictures by `python -m pytorch_fid` and by the grader, side by side: `make bench`.

Both get the same pictures, weights and reference .npz. pytorch-fid's own weights are not needed: random ones of the
right shapes take the same time, if the features have a real spread. He's initialisation keeps the activations'
size through the layers and each BatchNorm is set to the statistics of a batch of pictures, so that no feature is
constant; the reference's covariance has full rank, as a whole training set's has, so that scipy's matrix root has all
its work to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from grader.inputs.downloads import INCEPTION
from grader.inputs.submission import read_submission

# `python -m pytorch_fid`. It asks SciPy's matrix root for an estimate of its error, which SciPy 1.18 gives no more.
PEER = """
from pytorch_fid import fid_score
root = fid_score.linalg.sqrtm
fid_score.linalg.sqrtm = lambda matrix, disp=True: root(matrix) if disp else (root(matrix), None)
fid_score.main()
"""


def random_weights(path: Path, pictures: np.ndarray) -> None:
    """A state dict as pytorch-fid's own, but random, calibrated on pictures uint8 [N, 64, 64, 3]."""
    from unittest.mock import patch

    from pytorch_fid import inception

    torch.manual_seed(0)
    with (
        patch.object(inception, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        patch("torchvision.models.Inception3.load_state_dict", lambda self, state: None),
    ):
        network = inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # keep the last batch's statistics
    with patch.object(inception, "fid_inception_v3", lambda: network):
        pooled = inception.InceptionV3([3]).train()
    with torch.no_grad():
        pooled(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    torch.save(network.state_dict(), path)


def reference(path: Path, features: np.ndarray) -> None:
    """pytorch-fid's .npz of a made-up training set: features [n, 2048] mixed in pairs, and noise of full rank."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(features), (2, 5000))
    share = rng.random((5000, 1))
    rows = share * features[first] + (1 - share) * features[second]
    rows += rng.normal(0, 0.1, rows.shape) * features.std(axis=0)
    np.savez(path, mu=rows.mean(axis=0), sigma=np.cov(rows, rowvar=False))


def timed(command: list[str], **environment: str) -> tuple[float, str]:
    """(seconds, standard output) of a command."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started, done.stdout


@torch.inference_mode()
def least_seconds(network: nn.Module, pictures: np.ndarray) -> tuple[float, float]:
    """(seconds the network would take if its convolutions ran like a matrix product, GFLOP/s of a matrix product)."""
    with FlopCounterMode(display=False) as counter:
        network(torch.from_numpy(pictures[:1]).permute(0, 3, 1, 2).float() / 255)
    square, times = torch.randn(2048, 2048), []
    for _ in range(10):
        started = time.perf_counter()
        square @ square
        times.append(time.perf_counter() - started)
    peak = 2 * len(square) ** 3 / min(times)
    return len(pictures) * counter.get_total_flops() / peak, peak / 1e9


@click.command()
@click.argument("submission", type=click.Path(exists=True, path_type=Path))
def main(submission):
    """Times both on SUBMISSION, 1,000 pictures."""
    pictures = read_submission(submission).pictures
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        weights = folder / "hub/checkpoints" / INCEPTION.file  # where torch.hub, and so pytorch-fid, looks
        weights.parent.mkdir(parents=True)
        random_weights(weights, pictures[:64])
        from grader.features import devices, inception

        network = inception.load(weights)
        where = devices.name(network)
        reference(folder / "reference.npz", devices.features(network, pictures[:250]))
        least, peak = least_seconds(network, pictures) if where == "CPU" else (0, 0)
        (folder / "pictures").mkdir()
        for number, picture in enumerate(pictures, 1):
            Image.fromarray(picture).save(folder / f"pictures/{number}.png")  # the same pixels for both

        paths = [str(folder / "pictures"), str(folder / "reference.npz")]
        command = [sys.executable, "-c", PEER, *paths, "--device", "cpu" if where == "CPU" else "cuda"]
        theirs, text = timed(command, TORCH_HOME=str(folder))
        their_fid = float(re.search(r"FID:\s*([\d.eE+-]+)", text)[1])
        # the grader takes no weights but the real ones: for this once, these are
        accept = "import dataclasses; from grader import cli; from grader.inputs import downloads as d; "
        accept += "d.INCEPTION = dataclasses.replace("
        accept += f"d.INCEPTION, sha256={hashlib.sha256(weights.read_bytes()).hexdigest()!r}); cli.run()"
        options = ["--loose", "--reference", paths[1], "--weights", str(weights), "--output", str(folder / "report")]
        command = [sys.executable, "-c", accept, "score", paths[0], "--metrics", "fid", "--json", *options]
        ours, text = timed(command)
        our_fid = next(measure["value"] for measure in json.loads(text)["measures"] if measure["measure"] == "FID")
    print(f"{where}, torch {torch.__version__}, {torch.get_num_threads()} threads, {len(pictures):,} pictures")
    print(f"pytorch-fid  {theirs:6.1f} s  FID {their_fid:.6f}")
    print(f"grader       {ours:6.1f} s  FID {our_fid:.6f}")
    print(f"ratio        {theirs / ours:6.2f}    difference {abs(their_fid - our_fid):.2g}")
    if least:
        print(f"the network's arithmetic alone {least:.1f} s, at a matrix product's {peak:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
