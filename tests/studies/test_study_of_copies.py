"""The study of copies: what it prints of sets, by their kind and not by their name, and of shared pictures."""

import numpy as np

from grader.features.fingerprints import fingerprints
from studies.copies import recoloured, study_duplicates, study_shared


def test_copies_are_counted_in_submissions_whatever_their_name(capsys):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 64, 64, 3), np.uint8)
    ends = "a path whose last letters are the same/faces.tgz"
    study_duplicates({"real": pictures[0]}, {f"{n}{ends}": pictures[n] for n in (1, 2)}, fingerprints(pictures[1]))
    *_, real, first, second = capsys.readouterr().out.splitlines()
    assert real.split()[-1] in ("yes", "no")  # not counted
    assert first.split()[-1] == "20" and second.split()[-1] == "0"


def test_shared_pictures_are_told_or_not(capsys):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 20, 64, 64, 3), np.uint8)
    study_shared(pictures[0], {"all": pictures[0], "half": np.concatenate([*pictures])[10:30], "none": pictures[1]})
    *_, every, half, none = capsys.readouterr().out.splitlines()
    assert every.split()[-1] == "100.0%" and half.split()[-1] == "50.0%" and none.endswith("not told")


def test_a_hue_is_turned_and_light_and_dark_stay():
    picture = np.full((64, 64, 3), (180, 100, 100), np.uint8)
    turned, redder = recoloured(picture, degrees=180)[0, 0], recoloured(picture, red=20)[0, 0]
    assert turned[0] < turned[1] and redder[0] > 200 and redder[1] < 90
    assert all(abs(one @ [0.299, 0.587, 0.114] - 123.9) < 2 for one in (turned, redder))
