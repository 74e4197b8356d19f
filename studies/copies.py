"""Where the thresholds of copies and near duplicates come from: python -m studies.copies FACES UNSEEN [SUBMISSION]...

FACES are the known faces, UNSEEN are faces of the same kind that are not among them, as large as they were published.
Copies of known faces are planted in every way that a copy may be disguised, and counted; what is found among UNSEEN is
a false alarm, unless a person who looks at the two sees the same drawing. Then parts of a set of real faces are
replaced by variations of a few, as a collapsing generator makes them.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image
from PIL.Image import Resampling
from scipy.ndimage import gaussian_filter

from grader import console, plagiarism
from grader.features.fingerprints import fingerprints
from grader.inputs.archives import members
from grader.inputs.faces import COURSE_COUNT
from grader.inputs.images import decode, is_picture
from grader.inputs.known_faces import load_known
from grader.inputs.submission import COUNT, SIZE, read_submission
from grader.metrics.copies import ALONE, COPY, DISGUISED, NEAR, copies, near_ones
from grader.metrics.duplicates import ALIKE, collapsed, duplicates
from studies.corruptions import KINDS
from studies.faces import read_faces, stored

PLANTED = 500


def cropped(picture: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """So many pixels cut off each side, and enlarged to 64x64 again."""
    inner = Image.fromarray(picture).crop((left, top, SIZE - right, SIZE - bottom))
    return np.asarray(inner.resize((SIZE, SIZE), Resampling.BILINEAR))


def shifted(picture: np.ndarray, right: int, down: int) -> np.ndarray:
    """Moved by whole pixels; the outermost ones are repeated."""
    index = np.arange(SIZE)
    return picture[(index - down).clip(0, SIZE - 1)][:, (index - right).clip(0, SIZE - 1)]


def relit(picture: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """Its mean times `brightness`, and what differs from the mean times `contrast`."""
    mean = picture.mean()
    return np.clip(np.rint((picture - mean) * contrast + mean * brightness), 0, 255).astype(np.uint8)


def mixed(picture: np.ndarray) -> np.ndarray:
    """Mirrored, cropped and stored, all three."""
    return stored(cropped(np.ascontiguousarray(picture[:, ::-1]), 2, 2, 2, 2), "jpeg", 75)


DISGUISES = {
    "none": lambda picture: picture,
    **{f"JPEG, quality {quality}": partial(stored, codec="jpeg", quality=quality) for quality in (95, 75, 50, 30)},
    "WebP, quality 50": partial(stored, codec="webp", quality=50),
    "mirrored": lambda picture: picture[:, ::-1],
    **{f"cropped {n} a side": partial(cropped, left=n, top=n, right=n, bottom=n) for n in (1, 2, 3, 4)},
    "cropped 3 left, 0 top, 1 right, 1 bottom": partial(cropped, left=3, top=0, right=1, bottom=1),
    "shifted 1 right, 1 down": partial(shifted, right=1, down=1),
    "shifted 2 right, 2 up": partial(shifted, right=2, down=-2),
    "brightness +5%": partial(relit, brightness=1.05, contrast=1),
    "brightness -5%": partial(relit, brightness=0.95, contrast=1),
    "contrast +5%": partial(relit, brightness=1, contrast=1.05),
    "contrast -5%": partial(relit, brightness=1, contrast=0.95),
    "contrast -30%": partial(relit, brightness=1, contrast=0.7),
    "mirrored, cropped 2 a side, JPEG 75": mixed,
}


def turned(picture: np.ndarray, degrees: float = 0, scale: float = 1, right: float = 0, down: float = 0) -> np.ndarray:
    """Turned, enlarged and moved; the outermost pixels are repeated."""
    matrix = cv2.getRotationMatrix2D((31.5, 31.5), degrees, scale)
    matrix[:, 2] += right, down
    return cv2.warpAffine(picture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)


def elastic(picture: np.ndarray, pixels: float) -> np.ndarray:
    """Moved by smooth random fields, by `pixels` at most, each picture in its own way."""
    rng = np.random.default_rng(picture.sum())
    fields = gaussian_filter(rng.standard_normal((2, SIZE, SIZE)), (0, 8, 8))
    fields *= pixels / np.sqrt((fields**2).sum(axis=0).max())
    down, right = np.mgrid[:SIZE, :SIZE] + fields
    return cv2.remap(
        picture, right.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def cast(picture: np.ndarray, levels: float) -> np.ndarray:
    """Cast in another colour, each picture in its own one."""
    return KINDS["colour cast"](picture, levels / 120, np.random.default_rng(picture.sum()), None)


def recoloured(picture: np.ndarray, degrees: float = 0, red: float = 0) -> np.ndarray:
    """With its hue turned, or all of it moved towards red by levels of chroma; light and dark stay."""
    ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(float)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    ycc[..., 1:] = (ycc[..., 1:] - 128) @ np.array([[cos, sin], [-sin, cos]]) + [128 + red, 128]
    return cv2.cvtColor(np.clip(np.rint(ycc), 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)


BEYOND = {  # disguises that leave a copy no copy by COPY
    "rotated by 12 degrees": partial(turned, degrees=12),
    "rotated by 10 degrees, elastic 3": lambda picture: elastic(turned(picture, degrees=10), 3),
    "elastic 6": partial(elastic, pixels=6),
    "scaled by .9": partial(turned, scale=0.9),
    "shifted 4 right, 4 down": partial(turned, right=4, down=4),
    "shifted 6 down": partial(turned, down=6),
    "shifted 6 right": partial(turned, right=6),
    **{f"colours cast by {levels} levels": partial(cast, levels=levels) for levels in (60, 96)},
    "hue turned by 90 degrees": partial(recoloured, degrees=90),
    "chroma moved by 45 to red": partial(recoloured, red=45),
    "chroma moved by 45 from red": partial(recoloured, red=-45),
}


def planted_collapse(faces: np.ndarray, share: float, severity: float, rng: np.random.Generator) -> np.ndarray:
    """COUNT faces, of which a share are variations of ten: warped, relit and cast in another colour."""
    pictures = faces[rng.choice(len(faces), COUNT, replace=False)]
    for i in range(10, round(COUNT * share)):
        picture = KINDS["warp"](pictures[i % 10], severity, rng, None)
        picture = KINDS["colour cast"](picture, severity / 4, rng, None)
        pictures[i] = relit(picture, rng.uniform(0.95, 1.05), rng.uniform(0.9, 1.1))
    return pictures


def study_copies(faces: np.ndarray, known: np.ndarray, unseen: Path, rng: np.random.Generator) -> None:
    """How many planted copies are found in each disguise, and how near they come."""
    chosen = rng.choice(len(faces), min(PLANTED, len(faces)), replace=False)
    click.echo(f"\n{len(chosen)} planted copies among {len(known):,} known, limit {COPY}\n")
    click.echo(f"{'disguise':42s} {'found':>7s} {'wrongly named':>14s} {'distance 50%':>13s} {'100%':>6s}")

    def row(disguise, pictures, known, expected):
        found = copies(pictures, known)
        right = [copy for copy in found if copy.known == expected[copy.index]]
        distances = [copy.distance for copy in right] or [np.nan]
        median, most = np.median(distances), max(distances)
        share, wrong = len(right) / len(pictures), len(found) - len(right)
        click.echo(f"{disguise:42s} {share:7.1%} {wrong:14d} {median:13.3f} {most:6.3f}")

    for disguise, apply in DISGUISES.items():
        row(disguise, np.stack([apply(picture) for picture in faces[chosen]]), known, chosen)
    files = [read() for name, read in members(unseen) if is_picture(name)][:PLANTED]
    more = fingerprints(np.stack([decode(file, SIZE)[0] for file in files]))
    for resampling in (Resampling.LANCZOS, Resampling.BICUBIC, Resampling.BOX, Resampling.NEAREST):
        resized = [Image.fromarray(decode(file)[0]).resize((SIZE, SIZE), resampling) for file in files]
        expected = len(known) + np.arange(len(files))
        row(f"shrunk with {resampling.name.lower()}", np.stack(resized), np.concatenate([known, more]), expected)


def study_false_alarms(faces: np.ndarray, known: np.ndarray, unseen: np.ndarray) -> None:
    """How many faces that nobody copied are called copies, and how near such faces come."""
    start = time.process_time()
    found = copies(unseen, known)
    took = time.process_time() - start
    click.echo(f"\nunseen faces called a copy: {len(found)} of {len(unseen):,} ({took:.1f} s): look at them")
    for copy in found:
        click.echo(f"  unseen {copy.index}, known {copy.known}, {copy.distance:.3f}{', mirrored' * copy.mirrored}")
    nearest = sorted(copy.distance for copy in copies(unseen, known, limit=0.5))
    click.echo("  distances, least first: " + " ".join(f"{distance:.2f}" for distance in nearest[:10]))
    halves = copies(faces[::2], known[1::2])
    click.echo(f"of every second known face, in the other half: {len(halves)} of {len(faces[::2]):,}")
    course = np.tile(known, (-(-COURSE_COUNT // len(known)), 1))[:COURSE_COUNT]
    start = time.process_time()
    copies(unseen, course)
    click.echo(f"{len(unseen):,} against {COURSE_COUNT:,}: {time.process_time() - start:.1f} s")


def study_disguises(sets: dict[str, np.ndarray]) -> None:
    """Against the shipped prints: the share of pictures below NEAR, of the sets and of disguised known faces."""
    known = load_known().fingerprints
    click.echo(
        f"\nshare of pictures within {NEAR} of a known face, and of those within {ALONE} times the distance to the "
        f"next one; with the copies, from {DISGUISED:.0%} on they are called disguised\n"
    )
    for name, pictures in sets.items():
        near = copies(pictures, known, NEAR)
        copied = [copy for copy in near if copy.distance <= COPY]
        shares = [len(some) / len(pictures) for some in (copied, near, near_ones(pictures, near, known))]
        click.echo("{:42s} copies {:6.1%}, near {:6.1%}, counted {:6.1%}".format(name[-42:], *shares))


def study_shared(pictures: np.ndarray, sets: dict[str, np.ndarray]) -> None:
    """Of pictures that one student handed in, and another one in disguise."""
    click.echo(f"\nshare of pictures that two students share, told from {plagiarism.SHARED:.0%} on\n")
    for name, disguised in sets.items():
        both = {"one": fingerprints(pictures), "other": fingerprints(disguised)}
        told = plagiarism.shared(both, "secret")["one"].get("other", 0)
        click.echo(f"{name:42s} " + (f"{told / len(pictures):6.1%}" if told else "not told"))


def study_duplicates(faces: dict[str, np.ndarray], sent: dict[str, np.ndarray], known: np.ndarray) -> None:
    """Of sets of real faces, and of submissions, whose copies of known faces are counted too."""
    click.echo(f"\nnear duplicates inside 1,000 pictures, limit {ALIKE}\n")
    click.echo(f"{'pictures':42s} repeated   alike  largest group  collapsed  copies")
    for name, pictures in (*faces.items(), *sent.items()):
        prints = fingerprints(pictures)
        repeats, groups = duplicates(prints, limit=0), duplicates(prints)
        repeated, alike = (sum(len(group.members) for group in found) / len(prints) for found in (repeats, groups))
        largest = len(groups[0].members) if groups else 0
        verdict = "yes" if collapsed(groups, len(prints)) else "no"
        copied = f"{len(copies(pictures, known)):7d}" if name in sent else ""
        click.echo(f"{name[-42:]:42s} {repeated:8.1%} {alike:7.1%} {largest:14d} {verdict:>10s} {copied}")


def study(pictures: np.ndarray, others: np.ndarray, unseen: Path, sent: dict[str, np.ndarray], seed: int) -> None:
    """All of it, of known faces and `others`, which are those of the file or folder `unseen`, and of submissions by
    their names, uint8 [N, 64, 64, 3] each."""
    rng, known = np.random.default_rng(seed), fingerprints(pictures)
    study_copies(pictures, known, unseen, rng)
    study_false_alarms(pictures, known, others)

    repeats, alike = duplicates(known, limit=0), duplicates(known)
    click.echo(f"among the {len(known):,} known: {len(repeats)} exact repeats, {len(alike)} groups of alike ones")
    sets = {f"{n}. real faces": pictures[rng.choice(len(pictures), COUNT, replace=False)] for n in (1, 2, 3)}
    sets["unseen faces"] = others
    for share in (0.05, 0.12, 0.3, 1):
        for severity in (0.05, 0.1, 0.2, 0.3):
            collapse = planted_collapse(pictures, share, severity, rng)
            sets[f"faces, {share:.0%} varied by {severity} from ten"] = collapse
    study_duplicates(sets, sent, known)
    disguised = {name: np.stack([apply(picture) for picture in others]) for name, apply in DISGUISES.items()}
    beyond = {name: np.stack([apply(picture) for picture in others]) for name, apply in BEYOND.items()}
    study_disguises(sent | {"unseen faces": others} | beyond)
    study_shared(others, disguised | beyond)


@click.command(cls=console.Command, help=__doc__)
@click.argument("faces", type=console.path(exists=True))
@click.argument("unseen", type=console.path(exists=True))
@click.argument("submissions", nargs=-1, type=console.path(exists=True))
@click.option("--seed", default=0, type=click.IntRange(0), show_default=True)
def main(faces, unseen, submissions, seed):
    sent = {str(path): read_submission(path).pictures for path in submissions}  # first what may be broken
    study(read_faces(faces), read_faces(unseen), unseen, sent, seed)


if __name__ == "__main__":
    console.run(main, "python -m studies.copies")
