"""Do the distances see what a person sees? python -m studies.evaluate --shared FOLDER

Prints one table per question: FD-ImageNet beside FD-anime, and beside Inception where `--weights` names its weights.
The submissions and crypko_1000_96px were never used for training. With `--kept FILE.json` each number is written there
once it is known, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.stats import spearmanr

from grader import console
from grader.errors import GraderError
from grader.features import anime, devices, imagenet, inception
from grader.features.reference import shipped_reference
from grader.features.statistics import Statistics
from grader.files import write_text
from grader.inputs.known_faces import load_known
from grader.metrics import afd as detector
from grader.metrics.copies import copies
from grader.metrics.frechet import frechet_distance
from studies.corruptions import KINDS
from studies.faces import hash_of, read_faces, split

JUDGED = ("judged_200_4", "judged_150_4", "judged_90_5")  # best first, as the course's judge has them
SUBMISSIONS = (*JUDGED, "gan_fair", "wgan_blurry", "gan_early_noisy", "gan_overexposed")
SEVERITIES = (0.05, 0.15, 0.3, 0.5, 0.8)
OURS = {"ImageNet": imagenet, "anime": anime}

# Rows that make sets of pictures uint8 [N, 64, 64, 3] when asked, in an order that a judge should see.
Rows = dict[str, Callable[[], list[np.ndarray]]]


@dataclass(frozen=True)
class Faces:
    """Sets of real faces uint8 [N, 64, 64, 3]: trained on, held out, never near any training, of another style."""

    train: np.ndarray
    held_out: np.ndarray
    real: np.ndarray
    tagged: np.ndarray
    submissions: dict[str, np.ndarray]

    @classmethod
    def read(cls, shared: Path) -> Faces:
        """From the folder of test data."""
        train, held_out = split(read_faces(shared / "crypko_12000_64px.zip"))
        tagged = split(read_faces(shared / "tagged_3000_64px.zip"))[1]
        sent = {name: read_faces(shared / "submissions" / f"{name}.tgz") for name in SUBMISSIONS}
        return cls(train, held_out, read_faces(shared / "crypko_1000_96px.zip"), tagged, sent)


class Judge:
    """Features by the name of their scale, uint8 [N, 64, 64, 3] -> [N, d], and real faces' statistics in them."""

    def __init__(self, scale: str, features: Callable[[np.ndarray], np.ndarray], reference: Statistics):
        self.scale, self.features, self.reference = scale, features, reference
        self.key = f"{scale} from {hash_of(reference.mean, reference.covariance)}"  # what numbers are kept by

    def distance(self, pictures: np.ndarray) -> float:
        """How far a set is from real faces."""
        return frechet_distance(self.features(pictures), self.reference)


@dataclass
class Kept:
    """Numbers by what they are and the faces that they are of, kept in a file if there is one."""

    path: Path | None
    numbers: dict[str, list[float]]
    faces: str  # their hash

    @classmethod
    def read(cls, path: Path | None, faces: Faces) -> Kept:
        """What a file has of these faces, if there is one. Raises GraderError."""
        arrays = (faces.train, faces.held_out, faces.real, faces.tagged, *faces.submissions.values())
        try:
            numbers = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
            if not all(isinstance(found, list) for found in numbers.values()):
                raise ValueError("it has other things in it")
        except (ValueError, AttributeError) as error:
            raise GraderError(f"{path}: holds no numbers of this study ({error}): name another --kept") from None
        return cls(path, numbers, hash_of(*arrays))

    def get(self, what: str, compute: Callable[[], list[float]]) -> list[float]:
        """The numbers, computed where they are not kept yet."""
        what = f"{what}, faces {self.faces}"
        if what not in self.numbers:
            self.numbers[what] = compute()
            if self.path:
                write_text(self.path, json.dumps(self.numbers, indent=1) + "\n")
        return self.numbers[what]


def judges_of(faces: Faces, weights: Path | None) -> dict[str, Judge]:
    """The grader's two, and Inception by its weights, where there are some."""
    judges = {name: Judge(one.scale(), one.describe, shipped_reference(one).statistics) for name, one in OURS.items()}
    if weights:
        features = partial(devices.features, inception.load(weights))
        judges["Inception"] = Judge("inception", features, Statistics.of(features(faces.held_out)))
    return judges


def study(faces: Faces, judges: dict[str, Judge], kept: Kept) -> None:
    """All of it, of judges by their names, among them those of OURS."""
    print(f"Distances by {imagenet.scale()} and {anime.scale()}, detector {detector.scale()}")
    for title, question in QUESTIONS.items():
        _table(title, judges, question(faces), kept)
    _invariance_and_speed(faces.real)
    for name in OURS:
        print(f"\n{name}", flush=True)
        for measure in (_floors, _memorised, _sizes):
            measure(judges[name], faces, kept)


def series(faces: Faces) -> Rows:
    """Each corruption at five growing severities, and five growing shares of another style."""

    def mixed() -> list[np.ndarray]:
        count = min(len(faces.real), len(faces.tagged))
        shares = [round(count * share) for share in SEVERITIES]
        return [np.concatenate([faces.real[share:count], faces.tagged[:share]]) for share in shares]

    def worse(kind: str) -> list[np.ndarray]:
        return [corrupted(kind, faces.real, severity) for severity in SEVERITIES]

    return {"another domain": mixed} | {kind: partial(worse, kind) for kind in (*UNSEEN, *KINDS)}


def modes(faces: Faces) -> Rows:
    """1,000 faces from 100, 50, 20 and 5 of 100 clusters of tiny pictures, and one repeated."""

    def fewer() -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        pool = np.concatenate([faces.train, faces.held_out])
        tiny = pool.reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(len(pool), -1)  # [N, 8·8·3]
        label, clusters = kmeans2(tiny, 100, minit="++", seed=rng)[1], rng.permutation(100)
        kept = [pool[np.isin(label, clusters[:count])] for count in (100, 50, 20, 5)]
        sets = [some[rng.integers(len(some), size=1000)] for some in kept]
        return [*sets, pool[:1].repeat(1000, 0)]

    return {"100, 50, 20, 5 clusters, one face": fewer}


def people(faces: Faces) -> Rows:
    """Real faces and the submissions, in the judge's order and then in that of a person."""
    return {"real, three judged, fair, blurry, noisy, overexposed": lambda: [faces.real, *faces.submissions.values()]}


QUESTIONS = {
    "Ranks submissions (the last two are equals)": people,
    "Punishes missing modes": modes,
    "Grows with each corruption, severities " + ", ".join(map(str, SEVERITIES)): series,
}


def rank(distances: list[float]) -> float:
    """Spearman's correlation of distances with their order: 1 when each is larger than the one before."""
    return float(spearmanr(range(len(distances)), distances).statistic)


def _table(title, judges, rows, kept):
    head = "".join(f"{name:>10}" for name in judges)
    print(f"\n{title}\n{'':<40}{head}  (Spearman), and the distances by ImageNet")
    for row, make in rows.items():
        sets, distances = cache(make), {}
        for name, judge in judges.items():
            what = f"{row} by {judge.key}"
            distances[name] = kept.get(what, lambda judge=judge, sets=sets: [*map(judge.distance, sets())])
        ranks = "".join(f"{rank(distances[name]):10.2f}" for name in judges)
        print(f"{row:<40}{ranks}  " + " ".join(f"{distance:.4g}" for distance in distances["ImageNet"]), flush=True)


def _floors(judge, faces, kept):
    rng = np.random.default_rng(0)

    def drawn() -> list[float]:
        unseen = judge.features(faces.held_out)
        return [frechet_distance(rng.permutation(unseen)[:1000], judge.reference) for _ in range(5)]

    draws = kept.get(f"5 draws by {judge.key}", drawn)
    print(f"Floor: 5 draws of 1,000 faces held out {np.mean(draws):.2f} ± {np.std(draws):.2f}")


def _sizes(judge, faces, kept):
    """The faces trained on stand in for unseen ones, of which there are too few: they score the same (see above)."""
    counts = (250, 500, 1000, 2000, 5000, 10_000)

    def distances() -> list[float]:
        features = np.random.default_rng(0).permutation(judge.features(faces.train))
        reference = Statistics.of(judge.features(faces.held_out))
        return [frechet_distance(features[:count], reference) for count in counts]

    print(f"{'real faces':<12}distance to {len(faces.held_out):,} others")
    for count, distance in zip(counts, kept.get(f"sizes by {judge.key}", distances), strict=True):
        print(f"{count:<12,}{distance:.2f}")


def _memorised(judge, faces, kept):
    copied = faces.train[:1000]
    found = copies(copied, load_known().fingerprints)
    (distance,) = kept.get(f"copied by {judge.key}", lambda: [judge.distance(copied)])
    print(f"1,000 of the reference's own faces, copied: {distance:.2f}, and {len(found)} named as copies")


def _invariance_and_speed(real):
    for features in OURS.values():
        together = features.describe(real)
        alone = np.concatenate([features.describe(picture[None]) for picture in real[:100]])
        change = np.abs(alone - together[:100]).max() / np.abs(together).max()
        started = time.process_time()
        features.describe(real)
        rate = len(real) / (time.process_time() - started)
        print(f"\n{features.scale()}: {features.DIM} features, {rate:.0f} pictures per CPU second;", end=" ")
        print(f"one by one they change by {change:.1e}")


def corrupted(kind: str, pictures: np.ndarray, severity: float) -> np.ndarray:
    """Every picture corrupted alike, with the next one as the other face."""
    rng = np.random.default_rng(0)
    corrupt, pairs = (KINDS | UNSEEN)[kind], zip(pictures, np.roll(pictures, 1, axis=0), strict=True)
    return np.stack([corrupt(picture, severity, rng, other) for picture, other in pairs])


def _pixelate(picture, severity, rng, other):
    side = round(64 * (1 - 0.9 * severity))
    return cv2.resize(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), (64, 64), interpolation=0)


def _hue(picture, severity, rng, other):
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + round(90 * severity)) % 180  # half degrees: up to the opposite colour
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _tear(picture, severity, rng, other):
    shifts = np.rint(rng.normal(0, 10 * severity, len(picture))).astype(int)
    return np.stack([np.roll(row, shift, axis=0) for row, shift in zip(picture, shifts, strict=True)])


UNSEEN = {"pixelate": _pixelate, "hue": _hue, "torn rows": _tear}  # corruptions that no training knew


@click.command(cls=console.Command, help=__doc__)
@click.option("--shared", required=True, type=console.path(exists=True), help="The folder of test data.")
@click.option("--weights", type=console.path(exists=True), help="Inception's, to judge beside ours.")
@click.option("--kept", type=console.path(dir_okay=False), help="Where numbers are kept, to go on later.")
@click.option("--threads", default=2, type=click.IntRange(1), show_default=True)
def main(shared, weights, kept, threads):
    torch.set_num_threads(threads)
    faces = Faces.read(shared)
    kept = Kept.read(kept, faces)
    study(faces, judges_of(faces, weights), kept)


if __name__ == "__main__":
    console.run(main, "python -m studies.evaluate")
