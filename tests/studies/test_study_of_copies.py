"""The study of copies: what it prints of sets, by their kind and not by their name."""

import numpy as np

from grader.features.fingerprints import fingerprints
from studies.copies import study_duplicates


def test_copies_are_counted_in_submissions_whatever_their_name(capsys):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 64, 64, 3), np.uint8)
    ends = "a path whose last letters are the same/faces.tgz"
    study_duplicates({"real": pictures[0]}, {f"{n}{ends}": pictures[n] for n in (1, 2)}, fingerprints(pictures[1]))
    *_, real, first, second = capsys.readouterr().out.splitlines()
    assert real.split()[-1] in ("yes", "no")  # not counted
    assert first.split()[-1] == "20" and second.split()[-1] == "0"
