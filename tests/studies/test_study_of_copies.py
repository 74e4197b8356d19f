"""The study of copies: its disguises, what it prints of sets, by their kind and not by their name, and all of it."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from grader.features.fingerprints import fingerprints
from grader.metrics.duplicates import duplicates
from studies import copies as study
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


def coarse(count):
    """Pictures of 4x4 squares, none of which is like another one."""
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8).repeat(16, 1).repeat(16, 2)


@pytest.fixture
def picture():
    """Its red grows to the right and its green downwards, two levels a pixel; its blue is even."""
    down, right = np.indices((64, 64))
    return np.stack([60 + 2 * right, 60 + 2 * down, np.full_like(right, 90)], axis=-1).astype(np.uint8)


def inside(picture):
    return picture[16:48, 16:48].astype(int)


def test_a_disguise_moves_a_picture_as_it_says(picture):
    moves = {
        (2, 0): inside(study.shifted(picture, right=2, down=0)),
        (0, -1): inside(study.shifted(picture, right=0, down=-1)),
        (3, 5): inside(study.turned(picture, right=3, down=5)),
        (-2, -1): inside(study.cropped(picture, left=4, top=2, right=0, bottom=0)),
    }
    for (right, down), moved in moves.items():
        difference = (inside(picture) - moved).mean(axis=(0, 1))
        assert difference == pytest.approx([2 * right, 2 * down, 0], abs=0.3), (right, down)
    assert study.cropped(picture, 0, 0, 0, 0).tolist() == picture.tolist()
    assert study.shifted(picture, 5, 0)[:, :6].tolist() == picture[:, :1].repeat(6, 1).tolist()  # the outermost


def test_a_disguise_turns_and_enlarges_about_the_middle(picture):
    assert np.abs(study.turned(picture, degrees=180).astype(int) - picture[::-1, ::-1]).max() <= 1
    reds = study.turned(picture, scale=0.5)[32, 24:40, 0].astype(int)  # half as large: twice as steep
    assert np.diff(reds).mean() == pytest.approx(4, abs=0.1)
    bent = inside(study.elastic(picture, 3)) - inside(picture)
    assert 1 < np.abs(bent).max() <= 2 * 3 + 1  # no pixel further than 3, at two levels each
    assert np.array_equal(study.elastic(picture, 3), study.elastic(picture, 3))


def test_a_disguise_changes_light_and_colour_as_it_says(picture):
    mean = picture.mean()
    darker, paler = study.relit(picture, 0.9, 1), study.relit(picture, 1, 0.5)
    assert darker.mean() == pytest.approx(0.9 * mean, abs=0.5) and darker.std() == pytest.approx(picture.std(), abs=0.5)
    assert paler.mean() == pytest.approx(mean, abs=0.5) and paler.std() == pytest.approx(picture.std() / 2, abs=0.5)
    moved = (study.cast(picture, 30).astype(float) - picture).reshape(-1, 3)
    assert np.linalg.norm(moved.mean(axis=0)) == pytest.approx(30, abs=1) and moved.std(axis=0).max() < 1
    mirrored = study.mixed(picture).astype(int)
    assert (mirrored[:, 4, 0] > mirrored[:, 60, 0]).all()


def test_a_collapse_is_of_ten_faces_as_far_as_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(study, "COUNT", 100)
    faces = coarse(120)
    known = {face.tobytes() for face in faces}
    found = {}
    for share in (0.1, 0.3, 1):
        pictures = study.planted_collapse(faces, share, 0.05, np.random.default_rng(1))
        assert pictures.shape == (100, 64, 64, 3)
        found[share] = sum(picture.tobytes() not in known for picture in pictures)
        groups = duplicates(fingerprints(pictures))
        assert sum(len(group.members) for group in groups) == (0 if share == 0.1 else round(100 * share))
    assert found == {0.1: 0, 0.3: 20, 1: 90}


def test_all_of_it_is_told_of_known_faces_others_and_submissions(tmp_path, monkeypatch, capsys):
    """Half of what is sent is known."""
    for name, count in {"COUNT": 40, "PLANTED": 10, "COURSE_COUNT": 100}.items():
        monkeypatch.setattr(study, name, count)
    faces, others = np.split(coarse(72), [60])
    for number, picture in enumerate(others, 10):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(study, "load_known", lambda: SimpleNamespace(fingerprints=fingerprints(faces)))
    study.study(faces, others, tmp_path, {"mine": np.concatenate([faces[:6], others[:6]])}, seed=0)
    said = capsys.readouterr().out
    planted, later = (
        {line[:42].strip(): line[42:].split() for line in part.splitlines()}
        for part in said.split("\nunseen faces called")
    )
    assert "10 planted copies among 60 known" in said
    for disguise in ("none", "JPEG, quality 95", "mirrored", "contrast -5%", "shrunk with bicubic"):
        found, wrong, *_ = planted[disguise]
        assert (found, wrong) == ("100.0%", "0"), disguise
    assert "unseen faces called a copy: 0 of 12" in said and "in the other half: 0 of 30" in said
    assert "among the 60 known: 0 exact repeats" in said
    assert later["2. real faces"][0] == "0.0%" and later["faces, 100% varied by 0.05 from ten"][3] == "yes"
    assert f"{'mine':42s} copies  50.0%, near  50.0%" in said
    assert f"{'mirrored':42s} 100.0%" in said and f"{'shifted 6 down':42s} not told" in said


def test_the_command_reads_submissions_before_it_studies_anything(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(study, "read_faces", lambda path: asked.append(path.name) or path.name)
    monkeypatch.setattr(study, "read_submission", lambda path: asked.append(path.name) or SimpleNamespace(pictures=7))
    monkeypatch.setattr(study, "study", lambda *given: asked.append(given))
    paths = [tmp_path / name for name in ("faces", "unseen", "mine.tgz")]
    for path in paths:
        path.touch()
    result = CliRunner().invoke(study.main, [*map(str, paths), "--seed", "3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert asked[:3] == ["mine.tgz", "faces", "unseen"]
    assert asked[3] == ("faces", "unseen", paths[1], {str(paths[2]): 7}, 3)
