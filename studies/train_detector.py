"""Train the embedded detector:

    python -m studies.train_detector CRYPKO --more TAGGED --more DRAWN --run RUN... --cascade FILE

What it learns from: real faces; the same, corrupted in every way and up to ruin; pictures without a face; and what
generators of our own made while they learned, from noise to nearly faces: throw-away ones, one of which is driven until
its pictures burn out, and runs of the notebooks. Among these must be some without averaged weights: the dots and burnt
colours that averaging hides are what most students' pictures have. Nobody wrote down how
likely those are faces. The cascade's share of finds in each moment of a training says it, by Bayes' rule: see
`face_probabilities`. (Not of eigenfaces: it takes blurs for faces.) What is a face and can be told from a real one is
half a face: by that the ratio still rises from fair pictures to good ones.

The shipped weights: 10,000 Crypko faces, 2,500 tagged and 1,667 drawn ones (`python -m data render drawn --count 2000
--seed 5`); runs of 01, 03, 04 and 08 (preset cpu, seed 11), of 03 the same with ema=0, and of 01 (preset cpu, 1,400
steps, seed 2022).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save
from torch.nn import functional as F
from tqdm import tqdm

from grader import console
from grader.errors import GraderError, first_line
from grader.features import imagenet
from grader.files import write_bytes
from grader.inputs.runs import checkpoints
from grader.inputs.submission import read_submission
from grader.metrics.afd import WEIGHTS, Detector, cascade_faces, load_cascade, scale_of_weights
from grader.verdict import load_thresholds
from studies.corruptions import KINDS, NO_FACES, no_face
from studies.faces import read_faces, shifted, split
from studies.hard_negatives import make_hard_negatives

BATCH = 256
OF_EACH = 400  # samples of each checkpoint of a run
HARDLY_A_FACE = 0.02  # what an eigenface is worth: nothing in it has an edge
GENERATED = 0.5  # what a generated face is worth, beside a real one

TOLERANCE = {  # up to which severity a person still sees a face, and from which none; beyond 1: never quite ruined
    "blur": (0.3, 0.9),
    "noise": (0.5, 1.2),
    "jpeg": (0.7, 1.1),
    "checkerboard": (0.5, 1.2),
    "colour cast": (1.0, 2.0),
    "overexposure": (0.2, 0.6),
    "fade": (0.7, 1.0),
    "black squares": (0.2, 0.7),
    "swapped patches": (0.1, 0.4),
    "salt and pepper": (0.4, 1.1),
    "posterise": (0.5, 1.2),
    "ghost": (0.3, 1.2),
    "warp": (0.15, 0.5),
    "splice": (0.3, 1.0),
    "turn": (0.15, 0.4),
    "fog": (0.4, 0.9),
}


def checked_cascade(path: Path) -> Path:
    """The path, of a cascade that OpenCV runs. Raises GraderError."""
    try:
        load_cascade(path)
    except Exception as error:  # OpenCV is another one, or has an error of its own
        reason = f"OpenCV does not run it ({first_line(error)})"
        raise GraderError(f"{path}: {reason}: name lbpcascade_animeface.xml") from None
    return path


def face_probabilities(
    moments: list[np.ndarray], real: np.ndarray, none: np.ndarray, cascade: Path
) -> list[np.ndarray]:
    """The probability that each picture of each moment is a face, float [N] for uint8 [N, 64, 64, 3].

    The cascade finds a share r of `real` faces and f of pictures with `none`. Of a moment's pictures it finds
    m = πr + (1−π)f, which gives the share π of faces among them. Then a picture that it found is a face with
    probability πr / m, and another with π(1−r) / (1−m).
    """
    r, f = (cascade_faces(pictures, cascade).mean() for pictures in (real, none))
    probabilities = []
    for pictures in moments:
        found = cascade_faces(pictures, cascade)
        share = np.clip((found.mean() - f) / (r - f), 0, 1)
        m = share * r + (1 - share) * f
        probabilities.append(np.where(found, share * r / max(m, 1e-9), share * (1 - r) / (1 - m)))
    return probabilities


def examples(
    styles: list[np.ndarray], negatives: tuple[np.ndarray, np.ndarray], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [count, 64, 64, 3] and the probability to call each a face, float [count].

    `styles` are sets of real faces, the first the most frequent; `negatives` are pictures and their probabilities.
    """
    pictures, labels = np.empty((count, *styles[0].shape[1:]), np.uint8), np.empty(count)
    for i in tqdm(range(count), "making examples", disable=None):
        pictures[i], labels[i] = _example(styles, negatives, rng)
    return pictures, labels


def _example(styles, negatives, rng):
    faces = styles[0] if rng.random() < 0.6 else styles[rng.integers(len(styles))]
    draw = rng.random()
    if draw < 0.15:  # the last two kinds are made from faces, and the hardest
        return no_face(rng.choice(NO_FACES[-2 if rng.random() < 0.5 else 0 :]), faces, rng), 0.0
    if draw < 0.5:
        pictures, probabilities = negatives
        number = rng.integers(len(pictures))
        picture, label = pictures[number], probabilities[number]
    else:
        picture, label = faces[rng.integers(len(faces))], 1.0
    picture = shifted(picture, rng)
    if rng.random() < 0.5:  # stored as a photograph is, or as a student's samples are
        picture = KINDS["jpeg"](picture, rng.uniform(0, 0.4), rng, picture)
    for kind in rng.choice(list(KINDS), rng.choice(3, p=(0.4, 0.45, 0.15)), replace=False):
        severity = rng.random()
        picture = KINDS[kind](picture, severity, rng, faces[rng.integers(len(faces))])
        light, ruined = TOLERANCE[kind]
        label *= np.clip((ruined - severity) / (ruined - light), 0, 1)
    return picture, label


def train(features: np.ndarray, labels: np.ndarray, epochs: int, seed: int, batch: int = BATCH) -> Detector:
    """A detector trained on features [N, 1280] and the probability of a face [N]."""
    torch.manual_seed(seed)
    x, y, detector = torch.from_numpy(features).float(), torch.from_numpy(labels).float(), Detector()
    deviation, mean = torch.std_mean(x[y == 1], dim=0)
    detector.mean.copy_(mean)
    detector.deviation.copy_(deviation + 0.05)  # what hardly varies in faces is not blown up
    optimizer = torch.optim.AdamW(detector.parameters(), weight_decay=0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * (len(x) // batch))
    for _ in tqdm(range(epochs), "training", disable=None):
        for rows in torch.randperm(len(x))[: len(x) // batch * batch].view(-1, batch):
            loss = F.binary_cross_entropy_with_logits(detector.logits(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return detector.eval()


def train_on(
    styles: list[np.ndarray], moments: list[np.ndarray], cascade: Path, count: int, epochs: int, steps: int, seed: int
) -> Detector:
    """A detector trained on `count` examples of real faces, corrupted ones, and pictures that are none.

    `styles` are sets of real faces uint8 [N, 64, 64, 3], the first the most frequent; `moments` are what generators
    made while they learned, of the same kind. Throw-away ones that train for so many `steps` add more of them.
    """
    rng = np.random.default_rng(seed)
    eigenfaces, drawn = make_hard_negatives(styles[0], steps, seed)
    none = np.stack([no_face("patches", styles[0], rng) for _ in range(1000)])
    shares = face_probabilities([*drawn, *moments], styles[0][:2000], none, cascade)
    probabilities = [np.full(len(eigenfaces), HARDLY_A_FACE), *(GENERATED * share for share in shares)]
    negatives = np.concatenate([eigenfaces, *drawn, *moments]), np.concatenate(probabilities)
    pictures, labels = examples(styles, negatives, count, rng)
    return train(imagenet.describe(pictures), labels, epochs, seed)


@click.command(cls=console.Command, help=__doc__)
@click.argument("source", metavar="FACES", type=console.path(exists=True))
@click.option("--more", multiple=True, type=console.path(exists=True), help="Faces of another style; may be repeated.")
@click.option("--run", "runs", multiple=True, type=console.path(exists=True), help="A notebook's; may be repeated.")
@click.option("--cascade", required=True, type=console.path(exists=True), help="lbpcascade_animeface.xml")
@click.option("--output", default=WEIGHTS, type=console.path(), show_default=True)
@click.option("--examples", "count", default=45_000, type=click.IntRange(BATCH), show_default=True, help="Pictures.")
@click.option("--epochs", default=12, type=click.IntRange(1), show_default=True)
@click.option("--negative-steps", default=600, type=click.IntRange(min=20), show_default=True)
@click.option("--threads", default=1, type=click.IntRange(1), show_default=True, help="A seed needs as many to repeat.")
@click.option("--seed", default=1, type=click.IntRange(0), show_default=True)
def main(source, *, more, runs, cascade, output, count, epochs, negative_steps, threads, seed):
    torch.set_num_threads(threads)
    cascade = checked_cascade(cascade)  # first what may be broken: to train takes long
    moments = [read_submission(path).pictures[:OF_EACH] for run in runs for path in checkpoints(run)]
    styles = [split(read_faces(path))[0] for path in (source, *more)]
    trained = train_on(styles, moments, cascade, count, epochs, negative_steps, seed)
    write_bytes(output, save(trained.state_dict()))
    console.wrote(output)
    if (scale := scale_of_weights(output)) not in {one["by"] for one in load_thresholds()["scale"]}:
        console.note(
            f"these weights have a scale of their own, {scale}, which grader/thresholds.toml does not know: until its "
            "thresholds are measured and entered there, AFD by them is not judged, and no grade is given"
        )


if __name__ == "__main__":
    console.run(main, "python -m studies.train_detector")
