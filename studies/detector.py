"""How good is the embedded detector? python -m studies.detector RUN... --shared FOLDER --plot reliability.png

Prints the share of faces that it and lbpcascade find in real faces, in submissions and in pictures without a face;
then in every checkpoint of the given runs, which it never saw, beside FD-ImageNet; and whether its probabilities are
right: of the pictures to which it gives about p, a share of about p should be faces. Which of a generator's pictures
are faces is not known, but how many is, from the cascade's finds (studies.train_detector.face_probabilities). A
generated face counts half there, as in the training.
"""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

from grader import console
from grader.features.imagenet import describe
from grader.features.reference import shipped_reference
from grader.files import atomic
from grader.inputs.runs import checkpoints
from grader.inputs.submission import read_submission
from grader.metrics import afd as detector
from grader.metrics.afd import cascade_faces
from grader.metrics.frechet import frechet_distance
from studies.corruptions import NO_FACES, no_face
from studies.evaluate import Faces, corrupted
from studies.train_detector import GENERATED, checked_cascade, face_probabilities

BINS = 10


def study(faces: Faces, runs: list[tuple[str, list[np.ndarray]]], cascade: Path, plot: Path | None) -> None:
    """All of it, of sets of real faces and of each run by its name: the pictures uint8 [N, 64, 64, 3] of each of its
    checkpoints."""
    _sets(faces, cascade)
    none = np.stack([no_face("patches", faces.held_out, np.random.default_rng(0)) for _ in range(1000)])
    said, right = [], []
    for name, moments in runs:
        features = [describe(pictures) for pictures in tqdm(moments, name, disable=None)]
        said += [detector.probabilities(rows) for rows in features]
        right += [GENERATED * share for share in face_probabilities(moments, faces.held_out, none, cascade)]
        _history(name, features, moments, cascade)
    real = detector.probabilities(describe(faces.real))  # as many as a checkpoint has, and all of them faces
    _reliability(np.concatenate([*said, real]), np.concatenate([*right, np.ones(len(real))]), plot)


def _sets(faces, cascade):
    rng = np.random.default_rng(0)
    sets = {"real": faces.real, "real, JPEG 75": corrupted("jpeg", faces.real, 20 / 90), "tagged": faces.tagged}
    sets |= faces.submissions
    for kind in NO_FACES:
        sets[f"no face: {kind}"] = np.stack([no_face(kind, faces.real, rng) for _ in range(500)])
    print(f"{'share of faces, ' + detector.scale():<34}{'ours':>8}{'lbpcascade 3':>14}{'5':>8}")
    for name, pictures in sets.items():
        theirs = [cascade_faces(pictures, cascade, neighbours).mean() for neighbours in (3, 5)]
        print(f"{name:<34}{detector.ratio(describe(pictures)):8.3f}{theirs[0]:14.3f}{theirs[1]:8.3f}")


def _history(name, features, moments, cascade):
    reference = shipped_reference().statistics
    distances = [frechet_distance(rows, reference) for rows in features]
    ours = [detector.ratio(rows) for rows in features]
    theirs = [cascade_faces(pictures, cascade).mean() for pictures in moments]
    print(f"\n{name}: Spearman of the ratio with the nearness to real faces", end=" ")
    print(f"{-spearmanr(ours, distances).statistic:.2f}, of lbpcascade's {-spearmanr(theirs, distances).statistic:.2f}")
    for what, row in (("FD-ImageNet", distances), ("ours", ours), ("lbpcascade 3", theirs)):
        print(f"  {what:<14}" + " ".join(f"{value:6.3g}" for value in row))


def _reliability(said, right, plot):
    """Both [N]; prints and draws the share of faces by the probability that was given."""
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.digitize(said, edges[1:-1])
    counts = np.bincount(bins, minlength=BINS)
    given, true = (np.bincount(bins, values, BINS) / np.maximum(counts, 1) for values in (said, right))
    print(f"\n{'probability given':<20}{'pictures':>10}{'faces among them':>18}")
    for low, high, count, mean in zip(edges, edges[1:], counts, true, strict=False):
        print(f"{low:.1f} to {high:.1f}{'':<10}{count:>10,}{mean:18.3f}")
    print(f"expected calibration error {np.sum(counts * np.abs(given - true)) / len(said):.3f}")
    if plot:
        figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
        thin = {"color": "grey", "linewidth": 1}
        axes.plot([0, 1], [0, 1], **thin, linestyle="--", label="perfectly calibrated")
        shown = counts >= 50
        axes.plot(given[shown], true[shown], marker="o", label=detector.scale())
        axes.axvline(detector.THRESHOLD, **thin, linestyle=":", label="counts as a face from here on")
        axes.set(xlabel="probability of a face that the detector gives", ylabel="share of faces among the pictures")
        axes.legend(frameon=False)
        with atomic(plot) as unfinished:
            figure.savefig(unfinished, dpi=120)


@click.command(cls=console.Command, help=__doc__)
@click.argument("runs", nargs=-1, required=True, type=console.path(exists=True))
@click.option("--shared", required=True, type=console.path(exists=True), help="The folder of test data.")
@click.option("--plot", type=console.path(), callback=console.ending(".png"), help="How right probabilities are.")
def main(runs, shared, plot):
    cascade, faces = checked_cascade(shared / "lbpcascade_animeface.xml"), Faces.read(shared)
    moments = [(run.name, [read_submission(path).pictures for path in checkpoints(run)]) for run in runs]
    study(faces, moments, cascade, plot)


if __name__ == "__main__":
    console.run(main, "python -m studies.detector")
