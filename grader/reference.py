"""What a submission is compared with: the statistics of a set of real faces in some network's features.

Computing them takes minutes for a whole training set, so they are kept, under a name made of the content of the set
and of the network: the same pictures anywhere give the same name, a changed set another.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from grader.assets import cache_folder
from grader.frechet import Statistics
from grader.pictures import ENDINGS, BadArchive, batches, members


class BadReference(Exception):
    """A reference that cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Reference:
    """Statistics, and the names that scores are labelled with: of the face set and of the features."""

    faces: str
    features: str
    statistics: Statistics


def of_faces(source: Path, features: str, extract: Callable) -> Reference:
    """The reference of a folder or archive of faces, from the cache or computed with `extract` (pictures -> [n, d]).

    `features` names the network with its weights. Raises BadReference.
    """
    try:
        digest = hashlib.sha256(features.encode())
        for name, read in members(source):
            if name.lower().endswith(ENDINGS):
                digest.update(hashlib.sha256(read()).digest())
        path = cache_folder() / f"reference-{digest.hexdigest()[:24]}.safetensors"
        if (statistics := load_statistics(path, features)) is None:
            skipped = []
            statistics = Statistics.streamed(extract(batch) for batch in batches(source, skipped=skipped))
            save_statistics(path, statistics, {"features": features})
            for line in skipped:
                warnings.warn(f"{source}: left out {line}", stacklevel=2)
    except (BadArchive, OSError, ValueError) as error:
        raise BadReference(f"{source}: not a usable reference ({error}): name a folder or zip of faces") from None
    return Reference(face_set_name(source), features, statistics)


def of_npz(source: Path, features: str) -> Reference:
    """pytorch-fid's format: an .npz with `mu` [d] and `sigma` [d, d]. Raises BadReference."""
    try:
        with np.load(source, allow_pickle=False) as arrays:
            mean, covariance = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise BadReference(f"{source}: no statistics of pytorch-fid's form, mu and sigma ({error})") from None
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise BadReference(f"{source}: mu {mean.shape} and sigma {covariance.shape} do not go together")
    return Reference(source.stem, features, Statistics(mean, covariance, 0))


def face_set_name(source: Path) -> str:
    """The name in the set's about.json, which `python -m data` writes, else that of the folder or file."""
    about = source / "about.json"
    try:
        return str(json.loads(about.read_text())["name"]) if about.is_file() else source.stem
    except (OSError, ValueError, KeyError, TypeError):
        return source.stem


def load_statistics(path: Path, features: str) -> Statistics | None:
    """Statistics from a file of `save_statistics`; None when there is none, it is not whole, or of other features."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
            mean, covariance = (file.get_tensor(name).astype(np.float64) for name in ("mean", "covariance"))
            return Statistics(mean, covariance, int(metadata["count"])) if metadata["features"] == features else None
    except (OSError, SafetensorError, KeyError):
        return None


def save_statistics(path: Path, statistics: Statistics, metadata: dict[str, str]) -> None:
    """Writes under a temporary name, then renames, so that two graders can share a cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    tensors = {"mean": statistics.mean, "covariance": statistics.covariance}
    save_file(tensors, unfinished, {**metadata, "count": str(statistics.count)})
    os.replace(unfinished, path)
