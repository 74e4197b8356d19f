"""Does the embedded network see what a person sees? python -m grader.embedded.evaluate --shared ../shared/data

Prints one table a question, beside a control: the same network with random weights. The submissions and
crypko_1000_96px were never used for training.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.stats import spearmanr

from grader.embedded import network as net
from grader.embedded.corruptions import KINDS, NO_FACES, no_face
from grader.embedded.faces import read_faces, split
from grader.embedded.reference import shipped_reference
from grader.embedded.train import scale_features
from grader.frechet import Statistics, frechet_distance

SUBMISSIONS = ("gan_fair", "wgan_blurry", "gan_early_noisy", "gan_overexposed")
LADDERS = (
    "blur", "noise", "jpeg", "checkerboard", "colour cast", "black squares", "swapped patches", "salt and pepper"
)  # fmt: skip
STRENGTHS = (0.05, 0.15, 0.3, 0.5, 0.8)


@click.command()
@click.option("--shared", default="../shared/data", type=click.Path(exists=True, path_type=Path), show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(shared, threads):
    torch.set_num_threads(threads)
    train, aside = split(read_faces(shared / "crypko_12000_64px.zip"))
    tagged = split(read_faces(shared / "tagged_3000_64px.zip"))[1]
    real = read_faces(shared / "crypko_1000_96px.zip")
    judges = (Judge(net.load(), shipped_reference().statistics), Judge.control(aside))

    floors(judges[0], train, aside, real)
    submissions(judges, shared, real, tagged)
    no_faces(judges[0], real)
    ladders(judges, real, tagged)
    dropped_modes(judges, np.concatenate([train, aside]))
    invariance_and_speed(real)


class Judge:
    """A network and the statistics of real faces that its features are compared with."""

    def __init__(self, network: net.FaceNet, reference: Statistics):
        self.network, self.reference = network, reference

    @classmethod
    def control(cls, faces: np.ndarray) -> Judge:
        torch.manual_seed(0)
        network = net.FaceNet().eval()
        scale_features(network, faces)
        return cls(network, Statistics.of(net.describe(faces, network=network)[0]))

    def distance(self, pictures: np.ndarray) -> float:
        return frechet_distance(net.describe(pictures, network=self.network)[0], self.reference)


def floors(judge, train, aside, real):
    rng = np.random.default_rng(0)
    trained, unseen, other = (net.describe(faces)[0] for faces in (rng.permutation(train), aside, real))
    print(f"\nFloor: distance of 1,000 real faces, weights {net.WEIGHTS_ID}")
    print(f"{'reference':<24}{'aside':>8}{'crypko_1000_96px':>18}")
    references = {"trained": trained, "2,000 trained": trained[:2000], "2nd half of aside": unseen[1000:]}
    for name, features in references.items():
        reference = Statistics.of(features)
        print(f"{name:<24}" + "".join(f"{frechet_distance(f, reference):10.2f}" for f in (unseen[:1000], other)))
    memory = frechet_distance(trained[:1000], Statistics.of(trained[1000:]))
    print(f"1,000 trained faces to the other trained ones: {memory:.2f}")
    draws = [frechet_distance(rng.permutation(unseen)[:1000], judge.reference) for _ in range(5)]
    print(f"5 draws of 1,000 faces kept aside, to the shipped reference: {np.mean(draws):.2f} ± {np.std(draws):.2f}")


def submissions(judges, shared, real, tagged):
    print(f"\n{'1,000 pictures':<20}{'distance':>10}{'control':>10}{'faces':>8}{'mean p':>8}")
    sets = {"real": real, "real, JPEG 75": each("jpeg", real, 20 / 90), "tagged (500)": tagged}
    sets |= {name: read_faces(shared / "submissions" / f"{name}.tgz") for name in SUBMISSIONS}
    for name, pictures in sets.items():
        faces = net.describe(pictures, network=judges[0].network)[1]
        row = "".join(f"{judge.distance(pictures):10.2f}" for judge in judges)
        print(f"{name:<20}{row}{np.mean(faces > net.FACE_THRESHOLD):8.3f}{faces.mean():8.3f}")


def no_faces(judge, real):
    rng = np.random.default_rng(0)
    print("\nShare called a face")
    for kind in NO_FACES:
        faces = net.describe(np.stack([no_face(kind, real, rng) for _ in range(500)]), network=judge.network)[1]
        print(f"  {kind:<18}{np.mean(faces > net.FACE_THRESHOLD):6.3f}")


def ladders(judges, real, tagged):
    print(f"\n{'strength':<18}" + "".join(f"{s:9}" for s in STRENGTHS) + "   Spearman  control")
    for kind in LADDERS:
        steps = [each(kind, real, strength) for strength in STRENGTHS]
        ladder(kind, judges, steps)
    rng = np.random.default_rng(0)
    steps = []
    for share in STRENGTHS:
        count = min(round(share * 1000), len(tagged))
        steps.append(np.concatenate([real[count:], tagged[rng.permutation(len(tagged))[:count]]]))
    ladder("tagged, share (to .5)", judges, steps[:-1])


def ladder(name, judges, steps):
    rows = [[judge.distance(pictures) for pictures in steps] for judge in judges]
    ranks = [spearmanr(range(len(row)), row).statistic for row in rows]
    print(f"{name:<18}" + "".join(f"{d:9.2f}" for d in rows[0]) + f"{ranks[0]:11.2f}{ranks[1]:9.2f}")


def dropped_modes(judges, faces):
    rng = np.random.default_rng(0)
    raw = faces.reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(len(faces), -1)  # [N, 8·8·3]
    label = kmeans2(raw, 100, minit="++", seed=rng)[1]
    clusters = rng.permutation(100)
    print(f"\n{'clusters kept':<18}{'distance':>10}{'control':>10}")
    for kept in (100, 50, 20, 5):
        pool = faces[np.isin(label, clusters[:kept])]
        pictures = pool[rng.integers(len(pool), size=1000)]
        print(f"{kept:<18}" + "".join(f"{judge.distance(pictures):10.2f}" for judge in judges))
    print(f"{'one picture':<18}" + "".join(f"{judge.distance(faces[:1].repeat(1000, 0)):10.2f}" for judge in judges))


def invariance_and_speed(real):
    features, faces = net.describe(real)
    for size in (1, 1000):
        other_features, other_faces = net.describe(real, size)
        change = np.abs(other_features - features).max() / np.abs(features).max()
        print(
            f"\nbatch {size} against 64: features {change:.1e}, faces {np.abs(other_faces - faces).max():.1e}", end=""
        )
    started = time.perf_counter()
    net.describe(real)
    rate = len(real) / (time.perf_counter() - started)
    size = net.WEIGHTS.stat().st_size / 1e6
    print(f"\n{rate:.0f} pictures/s on {torch.get_num_threads()} threads, {net.DIM} features, weights {size:.2f} MB")


def each(kind: str, pictures: np.ndarray, strength: float) -> np.ndarray:
    """Every picture corrupted alike, with the next one as the other face."""
    rng = np.random.default_rng(0)
    pairs = zip(pictures, np.roll(pictures, 1, axis=0), strict=True)
    return np.stack([KINDS[kind](picture, strength, rng, other) for picture, other in pairs])


if __name__ == "__main__":
    sys.exit(main())
