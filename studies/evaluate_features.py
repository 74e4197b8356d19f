"""Which features rank faces as a person does? python -m studies.evaluate_features SHARED RUNS

Measures, for each candidate, the Fréchet distance to the same real faces of
  a. real faces that no training saw, shrunk by four filters and stored in four ways;
  b. the submissions, and every checkpoint of the runs in RUNS/<run>/samples/<step>.tgz, against the teacher's distance.
Prints the tables of baselines/results/features. FOLDER keeps the features, so that the same command goes on where it
was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import click
import numpy as np
import torch
from scipy.stats import spearmanr

from grader import console
from grader.features import anime
from grader.features.statistics import Statistics
from grader.files import short_hash
from grader.metrics.frechet import frechet_distance
from studies import distil, teacher
from studies.evaluate import JUDGED, SUBMISSIONS
from studies.faces import FILTERS, hash_of, read_faces, read_originals, shrunk, stored

CODECS = {"PNG": ("png", 0), "WebP 95": ("webp", 95), "JPEG 95": ("jpeg", 95), "JPEG 75": ("jpeg", 75)}
TEACHER = "teacher 128"


def candidates(weights: Path, self_supervised: Path | None) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """By name: pictures uint8 [N, 64, 64, 3] -> features [N, d]."""
    net = cache(teacher.load)
    found = {
        f"teacher {size}": lambda p, size=size: teacher.features(net(), p, size, half=True) for size in (128, 96, 64)
    }
    found[f"anime {short_hash(weights)}"] = partial(anime.describe, network=anime.load(weights))
    if self_supervised:
        found[f"self-supervised {short_hash(self_supervised)}"] = partial(distil.pooled, anime.load(self_supervised))
    return found


def real_sets(shared: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, pictures) of the same real faces, shrunk by each filter and stored by each codec."""
    originals = read_originals(shared / "crypko_10000_96px.zip", odd=True)[:count]
    for filter_name in FILTERS:
        small = shrunk(originals, filter_name)
        for codec, how in CODECS.items():
            yield f"{filter_name} {codec}", np.stack([stored(p, *how) for p in small])


class Distances:
    """Fréchet distances of sets in one candidate's features, which are kept in a folder."""

    def __init__(self, name: str, features: Callable, folder: Path, reference: np.ndarray):
        self.name, self.features, self.folder = name, features, folder
        self.reference = Statistics.of(self.kept("reference", reference))

    def of(self, name: str, pictures: np.ndarray) -> float:
        """The distance of a set of that name."""
        return frechet_distance(self.kept(name, pictures), self.reference)

    def kept(self, name: str, pictures: np.ndarray) -> np.ndarray:
        """The features of a set, computed once."""
        path = self.folder / f"{self.name}-{name}-{hash_of(pictures)}.npy".replace(" ", "_")
        return distil.kept_in(path, lambda: np.asarray(self.features(pictures), np.float32))


def study_sets(shared: Path, found: dict[str, Distances], count: int) -> None:
    """Question a, and the judge's order, of `count` pictures of each set, by candidates of these names."""
    reals = dict(real_sets(shared, count))
    submissions = {name: read_faces(shared / "submissions" / f"{name}.tgz")[:count] for name in SUBMISSIONS}
    measured = (reals | submissions).items()
    rows = {name: {row: judge.of(row, some) for row, some in measured} for name, judge in found.items()}
    _table(["set", *rows], [[row, *(rows[name][row] for name in rows)] for row in (*reals, *SUBMISSIONS)])
    summary = {
        "a: worst real set / best submission, at most .333": [_worst(d, reals) for d in rows.values()],
        "a: largest / smallest of the filters, at most 1.6": [_spread(d) for d in rows.values()],
        "b: judged in the judge's order": [_judged(d) for d in rows.values()],
        "milliseconds per picture": [_speed(judge, next(iter(reals.values()))) for judge in found.values()],
    }
    print()
    _table(["", *rows], [[title, *values] for title, values in summary.items()])


def study_runs(shared: Path, runs: Path, found: dict[str, Distances], count: int) -> None:
    """Question b, of `count` pictures of each checkpoint and submission, by candidates of these names."""
    files = {f"{file.parts[-3]} {file.stem}": file for file in sorted(runs.glob("*/samples/*.tgz"))}
    files |= {name: shared / "submissions" / f"{name}.tgz" for name in SUBMISSIONS}
    over = {name: {} for name in found}
    for row, file in files.items():
        some = read_faces(file)[:count]
        for name, judge in found.items():
            over[name][row] = judge.of(f"run {row}", some)
    held_out = [row for row in files if row.split(" ")[0] not in distil.TRAINED_ON]
    print(f"\n{len(files)} sets of {count} pictures; {len(held_out)} of them held out of the distillation (*)\n")
    ranks = [
        [title, *(spearmanr([d[r] for r in some], [over[TEACHER][r] for r in some]).statistic for d in over.values())]
        for title, some in (("all", list(files)), ("held out", held_out))
    ]
    _table(["b: Spearman with the teacher's distance", *over], ranks)
    print()
    order = sorted(files, key=over[TEACHER].get)
    _table(["set", *over], [[row + " *" * (row in held_out), *(over[name][row] for name in over)] for row in order])


def _worst(distances: dict[str, float], reals) -> float:
    return max(distances[row] for row in reals) / min(distances[row] for row in SUBMISSIONS)


def _spread(distances: dict[str, float]) -> float:
    """Over the filters, stored in the same way; the worst of the ways."""
    ratios = []
    for codec in CODECS:
        alike = [distances[f"{filter_name} {codec}"] for filter_name in FILTERS]
        ratios.append(max(alike) / min(alike))
    return max(ratios)


def _judged(distances: dict[str, float]) -> str:
    values = [distances[name] for name in JUDGED]
    return "yes" if values == sorted(values) else "no"


def _speed(judge: Distances, pictures: np.ndarray) -> float:
    some = pictures[:200]
    judge.features(some)
    started = time.perf_counter()
    judge.features(some)
    return 1000 * (time.perf_counter() - started) / len(some)


def _table(head: list[str], rows: list[list]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) and v < 10 else _text(v) for v in row) + " |")


def _text(value) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


@click.command(cls=console.Command, help=__doc__)
@click.argument("shared", type=console.path(exists=True))
@click.argument("runs", type=console.path(exists=True))
@click.option("--weights", default=anime.WEIGHTS, type=console.path(exists=True), help="Of our network.")
@click.option("--self-supervised", type=console.path(exists=True), help="Weights of that candidate.")
@click.option("--folder", default="scratch/features", show_default=True, type=console.path())
@click.option("--candidate", "named", multiple=True, help="Only these, and the teacher.")
@click.option("--pictures", default=1000, type=click.IntRange(1), show_default=True, help="Of each set, for a.")
@click.option("--per-checkpoint", default=1000, type=click.IntRange(1), show_default=True, help="The same, for b.")
@click.option("--threads", default=1, type=click.IntRange(1), show_default=True)
def main(shared, runs, *, weights, self_supervised, folder, named, pictures, per_checkpoint, threads):
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    features = candidates(weights, self_supervised)
    for one in named:
        if not any(one in (name, name.split(" ")[0]) for name in features):
            raise click.BadParameter(f"there is no {one!r} among {', '.join(features)}", param_hint="--candidate")
    chosen = [name for name in features if not named or name == TEACHER or {name, name.split(" ")[0]} & {*named}]
    reference = distil.reference_faces(shared)
    found = {name: Distances(name, features[name], folder, reference) for name in chosen}
    study_sets(shared, found, pictures)
    study_runs(shared, runs, found, per_checkpoint)


if __name__ == "__main__":
    console.run(main, "python -m studies.evaluate_features")
