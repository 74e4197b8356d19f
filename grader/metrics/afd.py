"""AFD, the share of pictures in which a detector finds an anime face.

The course's own detector is not published. Two stand in for it: nagadomi's LBP cascade
(https://github.com/nagadomi/lbpcascade_animeface), which comes closest to what the course reported, and the embedded
detector, which is always at hand. Their shares are different scales. The embedded detector reads the features of the
ImageNet network (`studies.train_detector`), and can be taught anew without moving the scale of the distances.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from grader.features.imagenet import DIM
from grader.files import short_hash

if TYPE_CHECKING:
    import cv2

WEIGHTS = Path(__file__).parents[1] / "weights/detector.safetensors"

# A picture counts as a face when it is more likely one than not. The labels are probabilities, so at one half the two
# mistakes weigh the same. Fixed before any submission was scored.
THRESHOLD = 0.5
MIN_NEIGHBORS = 3  # closest to the course's published ratios; the cascade's own README takes 5


CASCADE_SCALE = f"lbpcascade-{MIN_NEIGHBORS}"  # the name of its scale


@cache
def scale() -> str:
    """The name of the embedded detector's scale."""
    return scale_of_weights(WEIGHTS)


def scale_of_weights(path: Path) -> str:
    """The name of a detector's scale, made of the hash of its weights: other weights, other shares."""
    return f"embedded-{short_hash(path)}"


class Detector(nn.Module):
    """Features [N, 1280] of the ImageNet network -> probability of a face [N]."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.register_buffer("mean", torch.zeros(DIM))
        self.register_buffer("deviation", torch.ones(DIM))
        self.layers = nn.Sequential(nn.Linear(DIM, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Features [N, 1280] -> the logarithm of the odds that each shows a face [N]."""
        return self.layers((features - self.mean) / self.deviation)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.logits(features))


def load(path: str | Path = WEIGHTS) -> Detector:
    """The detector with its shipped weights. Raises FileNotFoundError when they are missing."""
    detector = Detector()
    detector.load_state_dict(load_file(path))
    return detector.eval()


def probabilities(features: np.ndarray, detector: Detector | None = None) -> np.ndarray:
    """Features float [N, 1280] -> probability of a face float64 [N], by the shipped detector unless one is given."""
    with torch.inference_mode():
        return (detector or load())(torch.from_numpy(features).float()).double().numpy()


def ratio(features: np.ndarray) -> float:
    """AFD: the share of pictures, given by their features [N, 1280], that the shipped detector takes for faces."""
    return float(np.mean(probabilities(features) >= THRESHOLD))


def load_cascade(path: Path) -> cv2.CascadeClassifier:
    """The cascade in a file. Raises ImportError, AttributeError, ValueError and cv2.error, by the OpenCV that is there,
    and OSError."""
    import cv2

    classifier = cv2.CascadeClassifier()
    # from memory, as OpenCV opens no path that Windows' code page cannot write
    storage = cv2.FileStorage(path.read_text(encoding="utf-8"), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    if not classifier.read(storage.getFirstTopLevelNode()):
        raise ValueError(f"{path} holds no cascade")
    return classifier


def cascade_faces(pictures: np.ndarray, cascade: Path, min_neighbors: int = MIN_NEIGHBORS) -> np.ndarray:
    """Whether the cascade in a file finds a face in each of pictures uint8 [N, H, W, 3]: bool [N]. Raises what
    load_cascade does.

    Grey, histogram equalised, scale factor 1.1, faces of 24 pixels and more, as everyone runs it. Nothing is padded:
    a border makes the cascade find faces in noise.
    """
    import cv2

    classifier = load_cascade(cascade)  # one for each call: in two threads, as Dask has, it finds other faces
    found = [
        classifier.detectMultiScale(
            cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)),
            scaleFactor=1.1,
            minNeighbors=min_neighbors,
            minSize=(24, 24),
        )
        for picture in pictures
    ]
    return np.array([len(faces) > 0 for faces in found])
