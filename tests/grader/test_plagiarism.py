"""Pictures that two students handed in, however they are stored; both are named, and honest sets never."""

import numpy as np
import pytest
from PIL import Image

from grader import plagiarism
from grader.features.fingerprints import fingerprints
from grader.inputs.images import decode, jpeg
from grader.inputs.submission import read_submission


@pytest.fixture(scope="module")
def faces(rendered):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(rendered.glob("*.png"))])  # [300, 64, 64, 3]


def stored_again(picture, quality=60):
    return decode(jpeg(picture, quality))[0]


def test_copies_in_every_disguise_are_found_on_both_sides(faces):
    own, others = faces[:100], faces[100:200]
    classroom = {
        "ada": own,
        "stored again": np.stack([stored_again(picture) for picture in own]),
        "shuffled": own[np.random.default_rng(0).permutation(100)],
        "mirrored": own[:, :, ::-1],
        "half": np.concatenate([own[:50], faces[200:250]]),
        "kim": others,
        "once": np.concatenate([own[:1]] * 100),  # one picture of ada's, again and again
        "grey": np.full_like(own, 128),
        "also grey": np.full_like(own, 128),
    }
    done, prints = [], {name: fingerprints(pictures) for name, pictures in classroom.items()}
    found = plagiarism.shared(prints, "secret", done.append)
    assert done == [1] * len(classroom)
    assert found["ada"] == pytest.approx({"stored again": 100, "shuffled": 100, "mirrored": 100, "half": 50}, abs=2)
    assert all(found[other][name] == count for name, others in found.items() for other, count in others.items())
    assert found["kim"] == found["once"] == found["grey"] == found["also grey"] == {}


def test_a_twentieth_of_the_pictures_is_found_and_less_does_not_count():
    prints = np.random.default_rng(0).integers(-60, 60, (11, 400, 48), dtype=np.int8)
    for number, count in enumerate([20] * 9 + [19], 1):  # each another part of the first one's
        prints[number, :count] = prints[0, 40 * (number - 1) :][:count]
    found = plagiarism.shared({f"{number}": some for number, some in enumerate(prints)}, "secret")
    assert found["0"] == {f"{number}": 20 for number in range(1, 10)} and found["10"] == {}


def test_nobody_knows_which_pictures_are_looked_for_first():
    """Else one's own pictures would lie there, and all others be those of a friend."""
    one, other = np.random.default_rng(0).integers(-60, 60, (2, 400, 48), dtype=np.int8)
    rng = np.random.default_rng([*b"a secret"])
    hidden = rng.permutation(400)[plagiarism.SAMPLE :]
    other[hidden] = one[hidden]
    found = [plagiarism.shared({"one": one, "other": other}, secret)["one"] for secret in ("a secret", "another")]
    assert found == [{}, {"other": len(hidden)}]


def test_honest_submissions_share_nothing(shared):
    sources = sorted((shared / "submissions").glob("*.tgz"))
    prints = {path.stem: fingerprints(read_submission(path).pictures) for path in sources}
    assert len(prints) > 5 and not any(plagiarism.shared(prints, "secret").values())
