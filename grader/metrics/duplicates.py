"""Near duplicates: pictures of a submission that are alike, by their fingerprints. Many of them are a collapse.

The thresholds come from `python -m studies.copies`.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from grader.features.fingerprints import rms, squared_distances, squared_steps
from grader.results import Group

# A near duplicate. Among 1,000 faces there is at most one pair, from those drawings, and else none below 0.46.
ALIKE = 0.35
# The share of such pictures from which a submission is called collapsed: of 1,000 faces up to 0.2%, four submissions to
# the course up to 0.5%, a GAN that begins to repeat itself 2% to 10%, samples that all look the same 11% to 100%.
COLLAPSED = 0.1


def duplicates(prints: np.ndarray, limit: float = ALIKE, chunk: int = 1024) -> list[Group]:
    """Groups of fingerprints [N, 48] that are alike, the largest first.

    A set of real faces has some, since it holds some drawings twice: see `collapsed` for when there are too many.
    Pictures of one colour are alike when the colour is.
    """
    if not len(prints):
        return []
    home = np.arange(len(prints))  # the first picture of the group that each one is in
    least = np.full(len(prints), np.inf, np.float32)
    most = squared_steps(limit)
    for first in range(0, len(prints), chunk):
        for start, squared in squared_distances(prints[first : first + chunk], prints[first:], chunk):
            i, j = np.nonzero(squared <= most)
            later = start + j > i  # each pair once, and nothing with itself
            row, column, square = first + i[later], first + start + j[later], squared[i[later], j[later]]
            if len(row):
                np.minimum.at(least, row, square)
                np.minimum.at(least, column, square)
                home = _joined(home, row, column)
    order = np.argsort(home, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(home[order])) + 1)
    found = [Group(group.tolist(), float(rms(least[group].max()))) for group in groups if len(group) > 1]
    return sorted(found, key=lambda group: (-len(group.members), group.members))


def _joined(home: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Groups, each named by its first member, once pairs are joined as well: so that pairs need not be kept, of which
    10,000 equal pictures have 50 million."""
    nodes = np.arange(len(home))
    ends = np.concatenate([nodes, row]), np.concatenate([home, column])
    links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(home), len(home)))
    label = connected_components(links, directed=False)[1]
    return np.unique(label, return_index=True)[1][label]


def collapsed(groups: list[Group], count: int) -> bool:
    """Whether of `count` pictures the share in groups of alike ones is that of a collapsed generator."""
    return sum(len(group.members) for group in groups) >= COLLAPSED * max(count, 1)
