"""AFD, the share of pictures in which a detector finds an anime face.

The course's own detector is not published. Two stand in for it: nagadomi's LBP cascade
(https://github.com/nagadomi/lbpcascade_animeface), which comes closest to what the course reported, and the embedded
network, which is always at hand (grader.embedded). Their shares are different scales.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

MIN_NEIGHBORS = 3  # closest to the course's published ratios; the cascade's own README takes 5


def cascade_faces(pictures: np.ndarray, cascade: Path, min_neighbors: int = MIN_NEIGHBORS) -> np.ndarray:
    """Whether the cascade finds a face in each of pictures uint8 [N, H, W, 3]: bool [N].

    Grey, histogram equalised, scale factor 1.1, faces of 24 pixels and more, as everyone runs it. Nothing is padded:
    a border makes the cascade find faces in noise.
    """
    import cv2

    classifier = cv2.CascadeClassifier(str(cascade))
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
