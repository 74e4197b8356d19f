"""Copies: pictures of a submission that are known real faces, by their fingerprints.

The threshold comes from `python -m studies.copies`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from grader.features.fingerprints import (
    MIRROR,
    blank,
    fingerprints,
    nearest,
    rms,
    squared_distances,
    squared_steps,
)
from grader.features.statistics import evenly_spaced
from grader.inputs.faces import named
from grader.inputs.known_faces import Known
from grader.metrics.duplicates import ALIKE, collapsed, duplicates
from grader.results import Copy, Integrity

# A copy. Of 12,000 Crypko faces, every pair up to 0.26 is one drawing that the set holds twice, in another crop or with
# another mouth, seen by eye; the nearest two drawings are 0.31 apart. Of 1,000 faces that were kept apart, 3 lie below
# 0.1, all three such drawings again, and the next at 0.32. Planted copies lie below 0.15, save where a crop or shift
# falls between two views.
COPY = 0.25
# No limit is lower. Planted copies lie below it, so faces that near are one face, held twice. Of 4,000 drawn faces,
# more alike than any others here, 3 in 1,000 have another one within 0.19.
FLOOR = 0.15
# Disguised copies. Rotated by 12 degrees, warped or shrunk, few copies are below COPY, but more of them are below NEAR
# than of honest pictures. A good generator draws usual faces, though, and in one moment of a training 1.1% of its
# pictures were near to a known one: to several of them. A copy is near to one. So those count that are nearer than
# ALONE times the distance to the next known face, as in the ratio test of Lowe (2004, IJCV 60, 91-110). That leaves
# 1.8% to 78% of disguised copies, and 0.2% of honest pictures at most, in over 50 sets of 1,000 (samples of eight GANs
# at all stages, seven submissions to the course); of 3,000 faces of another set, none. A shift by 6 pixels to the side
# is missed, 0.3%, and so is chroma moved away from red. `python -m studies.copies` counts all of it.
NEAR, ALONE, DISGUISED = 0.35, 0.75, 0.01
SAME = 0.28  # two known faces up to here are one drawing, see COPY
RIVALS = 16  # known faces that may be the next one: all views are tried on these
CLOSEST = 10  # pictures that are shown beside the known face that is nearest to them

COURSES = "crypko/"  # before the names of the course's faces

# Where a copy's middle 56x56 may lie now: (pixels cropped a side, shift to the right, shift down). The nearest known
# face is looked for with few views, then all are tried on that one face.
VIEWS = ((0, 0, 0), (2, 0, 0), (4, 0, 0))
CLOSE_VIEWS = tuple(itertools.product((0, 2, 4), (-1.5, 0, 1.5), (-1.5, 0, 1.5)))


def limits(prints: np.ndarray) -> tuple[float, float]:
    """(COPY, ALIKE), or less for known fingerprints [M, 48] of faces that are more alike than Crypko's.

    Three in 1,000 Crypko faces have another one nearer than COPY, and of any 1,000 of them as many have one among
    these nearer than ALIKE: of other faces, no more may. Faces that the set holds several times, at most FLOOR apart,
    count as one: they say nothing of how alike different faces are.
    """
    some, submission = (prints[evenly_spaced(len(prints), size)] for size in (2000, 1000))
    return min(COPY, _usual_least(some, prints)), min(ALIKE, _usual_least(submission, submission))


def _usual_least(some: np.ndarray, prints: np.ndarray) -> float:
    """The distance to the nearest of `prints` that is over FLOOR away, that 3 in 1,000 of `some` stay below."""
    least = np.full(len(some), np.inf)
    for _, squared in squared_distances(some, prints, 1024):
        least = np.minimum(least, np.where(squared > squared_steps(FLOOR), squared, np.inf).min(axis=1))
    return float(np.quantile(rms(least), 0.003, method="lower")) if len(least) else np.inf


def copies(pictures: np.ndarray, known: np.ndarray, limit: float = COPY) -> list[Copy]:
    """The pictures uint8 [N, 64, 64, 3] that are one of the known fingerprints [M, 48], by their index.

    Found are the same picture, stored again, mirrored, and cropped or shifted a little. Each is named with the nearest
    of the known faces only. A blank picture is nobody's copy: among real faces there are nearly blank ones.
    """
    if not len(known):
        return []
    count = len(pictures)
    face, distance, mirrored = np.zeros(count, np.int64), np.full(count, np.inf, np.float32), np.zeros(count, bool)
    for view in VIEWS:
        prints = fingerprints(pictures, view)
        for flipped in (False, True):
            index, found = nearest(prints * MIRROR if flipped else prints, known)
            nearer = found < distance
            face[nearer], distance[nearer], mirrored[nearer] = index[nearer], found[nearer], flipped
    for view in CLOSE_VIEWS:
        prints = fingerprints(pictures, view)
        prints[mirrored] *= MIRROR
        steps = prints.astype(np.float32) - known[face]
        distance = np.minimum(distance, rms((steps**2).sum(axis=1)))
    return [
        Copy(int(index), int(face[index]), float(distance[index]), bool(mirrored[index]))
        for index in np.flatnonzero((distance <= limit) & ~blank(fingerprints(pictures)))
    ]


def alone(pictures: np.ndarray, found: list[Copy], known: np.ndarray) -> list[Copy]:
    """Those of the `found` copies among pictures uint8 [N, 64, 64, 3] to which no other one of the known fingerprints
    [M, 48] is nearly as near. Other prints of the same drawing are no others."""
    if not found:
        return []
    own = pictures[[copy.index for copy in found]]  # [n, 64, 64, 3]
    drawings = known[[copy.known for copy in found]].astype(np.float32)  # [n, 48]
    signs = np.where(np.array([copy.mirrored for copy in found])[:, None], MIRROR, 1)  # [n, 48]
    rivals, least = np.zeros((len(own), 0), np.int64), np.zeros((len(own), 0), np.float32)
    others = squared_distances(drawings, known, 4096)
    for (start, squared), (_, apart) in zip(
        squared_distances(fingerprints(own) * signs, known, 4096), others, strict=True
    ):
        squared = np.where(rms(apart) > SAME, squared, np.inf)  # [n, ≤ 4096]
        index = np.argsort(squared, axis=1)[:, :RIVALS]
        rivals = np.column_stack([rivals, start + index])
        least = np.column_stack([least, np.take_along_axis(squared, index, axis=1)])
        kept = np.argsort(least, axis=1, kind="stable")[:, :RIVALS]
        rivals, least = (np.take_along_axis(values, kept, axis=1) for values in (rivals, least))  # [n, ≤ RIVALS]
    for view in CLOSE_VIEWS:
        steps = (fingerprints(own, view) * signs)[:, None] - known[rivals].astype(np.float32)  # [n, ≤ RIVALS, 48]
        least = np.minimum(least, np.where(np.isfinite(least), (steps**2).sum(axis=2), np.inf))
    next_one = rms(least.min(axis=1))
    return [copy for copy, other in zip(found, next_one, strict=True) if copy.distance <= ALONE * other]


def near_ones(pictures: np.ndarray, found: list[Copy], known: np.ndarray) -> list[Copy]:
    """Those of the `found` that are copies, by COPY, or may be disguised ones: within NEAR, and alone there."""
    copied = [copy for copy in found if copy.distance <= COPY]
    return copied + alone(pictures, [copy for copy in found if COPY < copy.distance <= NEAR], known)


def integrity(
    pictures: np.ndarray,
    known: Known,
    given: Known | None = None,
    limits: tuple[float, float] = (COPY, ALIKE),
    faces: Path | None = None,
) -> Integrity:
    """Copies of known faces and near duplicates among pictures uint8 [N, 64, 64, 3].

    `known` are the course's faces. `given` are others, with `limits` of their own: of a copy, and of pictures that are
    alike. `faces` is the folder or archive in which the given ones lie.
    """
    copy_limit, alike_limit = limits
    groups = duplicates(fingerprints(pictures), alike_limit)
    nearest_known = copies(pictures, known.fingerprints, limit=np.inf)  # the nearest one of each
    near = len(near_ones(pictures, nearest_known, known.fingerprints))
    sets = [(nearest_known, COPY)]
    if given:  # first, so that a face that both hold is found where there is a picture of it
        nearest_given = copies(pictures, given.fingerprints, limit=np.inf)
        nearest_known = [replace(copy, known=copy.known + len(given.names)) for copy in nearest_known]
        sets, known = [(nearest_given, copy_limit), (nearest_known, COPY)], given + known
    copied, found = {}, {}
    for nearest_ones, limit in sets:
        for copy in nearest_ones:
            if copy.distance <= limit:
                copied.setdefault(copy.index, copy)
            found[copy.index] = min(found.get(copy.index, copy), copy, key=lambda one: one.distance)
    copied = [copied[index] for index in sorted(copied)]
    closest = sorted((found | {copy.index: copy for copy in copied}).values(), key=lambda copy: copy.distance)[:CLOSEST]
    names = {copy.known: known.names[copy.known] for copy in copied + closest}
    shown = {name: index for index, name in names.items() if given and index < len(given.names)}
    seen = {shown[name]: picture for name, picture in named(faces, shown)} if faces else {}
    names |= {index: f"./{name}" for name, index in shown.items() if name.startswith(COURSES)}  # no course's
    return Integrity(
        groups=groups,
        collapsed=collapsed(groups, len(pictures)),
        copies=copied,
        closest=closest,
        limits={index: copy_limit if given and index < len(given.names) else COPY for index in names},
        names=names,
        pictures=seen,
        near=near,
        disguised=near >= DISGUISED * len(pictures),
    )
