"""The embedded detector: whether a picture is an anime face, read from its embedded features.

Trained on the features alone (`grader.embedded.train_detector`), so that it can be taught anew without moving the scale
of the distances.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from grader.embedded.network import DIM

WEIGHTS = Path(__file__).with_name("detector.safetensors")
WEIGHTS_ID = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8] if WEIGHTS.exists() else "untrained"
DETECTOR = f"embedded-{WEIGHTS_ID}"  # the name of the scale: other weights, other shares

# A picture counts as a face when it is more likely one than not. The labels are probabilities, so at one half the two
# mistakes weigh the same. Fixed before any submission was scored.
THRESHOLD = 0.5


class Detector(nn.Module):
    """Features [N, DIM], scaled to variance 1 over real faces -> probability of a face [N]."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DIM, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        # the square root tames features that a ruined picture moves by hundreds of standard deviations
        return self.layers(features.sign() * features.abs().sqrt())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.logits(features))


def load(path: str | Path = WEIGHTS) -> Detector:
    """The detector with its shipped weights. Raises FileNotFoundError when they are missing."""
    detector = Detector()
    detector.load_state_dict(load_file(path))
    return detector.eval()


def faces(features: np.ndarray, detector: Detector | None = None) -> np.ndarray:
    """Features float [N, DIM] -> probability of a face float64 [N], by the shipped detector unless one is given."""
    with torch.inference_mode():
        return (detector or load())(torch.from_numpy(features).float()).double().numpy()


def ratio(features: np.ndarray) -> float:
    """AFD: the share of pictures, given by their features [N, DIM], that the shipped detector takes for faces."""
    return float(np.mean(faces(features) >= THRESHOLD))
