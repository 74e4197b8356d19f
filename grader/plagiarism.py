"""Pictures that two students of a class both handed in, by their fingerprints: stored again, shuffled, mirrored, or
only a part of them. Both are named to each other; nothing here tells who made them.
"""

from __future__ import annotations

import numpy as np

from grader.features.fingerprints import MIRROR, blank, squared_distances, squared_steps
from grader.metrics.copies import COPY
from grader.progress import Done, unheard

SHARED = 0.05  # of the pictures: seven honest submissions to the course share none
SAMPLE = 128  # pictures of one that are looked for in the other first: 5% shared are missed once in 700


def shared(prints: dict[str, np.ndarray], secret: str, done: Done = unheard) -> dict[str, dict[str, int]]:
    """Name -> {other name: how many pictures both have}, for fingerprints int8 [N, 48] of each.

    A picture counts once, however often the other one has it. Blank pictures, and less than SHARED of the smaller set,
    do not count. The `secret` chooses the pictures that are looked for first: who knew them would put their own there.
    `done` is called with 1 for each name.
    """
    sets = {name: some[~blank(some)] for name, some in prints.items()}
    found = {name: {} for name in prints}
    names = list(prints)
    for place, name in enumerate(names):
        own = sets[name]
        sample = own[np.random.default_rng([*secret.encode()]).permutation(len(own))[:SAMPLE]]
        for other in names[place + 1 :]:
            theirs = sets[other]
            if not len(theirs) or not _near(sample, theirs).any():
                continue
            count = int(min(_near(own, theirs).sum(), _near(theirs, own).sum()))
            if count >= SHARED * min(len(prints[name]), len(prints[other])):
                found[name][other] = found[other][name] = count
        done(1)
    return found


def _near(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of fingerprints [N, 48] has one nearer than COPY among others [M, 48], mirrored or not: bool [N]."""
    most = squared_steps(COPY)
    near = np.zeros(len(some), bool)
    for prints in (some, some * MIRROR):
        for _, squared in squared_distances(prints, others, 1024):
            near |= squared.min(axis=1) <= most
    return near
