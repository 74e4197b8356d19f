"""Copies and near duplicates: planted ones are found, different pictures are not accused, by-hand arithmetic agrees."""

import io
import lzma
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import save

from grader.features.fingerprints import MIRROR, STEP, fingerprints, nearest, of_faces
from grader.inputs import known_faces
from grader.inputs.known_faces import KNOWN, BadFingerprints, Known, as_tensors, load_known, save_known
from grader.metrics.copies import ALONE, COPY, DISGUISED, FLOOR, NEAR, SAME, Copy, alone, copies, integrity, limits
from grader.metrics.duplicates import ALIKE, collapsed, duplicates
from grader.results import Group
from studies.copies import BEYOND
from studies.faces import read_faces
from studies.known_faces import main


def fields(count, seed=0, cells=8):
    """Smooth fields of colour uint8 [count, 64, 64, 3], less alike than drawn faces are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, cells, cells, 3)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((64, 64), Image.Resampling.BICUBIC)) for c in coarse])


def stored(picture, kind="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, kind, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def cropped(picture, pixels):
    inner = Image.fromarray(np.ascontiguousarray(picture)).crop((pixels, pixels, 64 - pixels, 64 - pixels))
    return np.asarray(inner.resize((64, 64), Image.Resampling.BILINEAR))


def by_hand(a, b):
    """Distances [N, M], one pair at a time and in whole numbers."""
    squares = [[((x.astype(int) - y.astype(int)) ** 2).sum() for y in b] for x in a]
    return np.sqrt(np.array(squares) / a.shape[1]) / 24


@pytest.fixture(scope="module")
def faces(rendered):
    return read_faces(rendered)


DISGUISES = {
    "none": lambda picture: picture,
    "JPEG": lambda picture: stored(picture, quality=50),
    "WebP": lambda picture: stored(picture, "WEBP", quality=50),
    "brighter": lambda picture: np.clip(picture * 1.05, 0, 255).astype(np.uint8),
    "mirrored": lambda picture: picture[:, ::-1],
    "cropped": lambda picture: cropped(picture, 2),
    "cropped by an odd number": lambda picture: cropped(picture, 1),
    "cropped as far as it goes": lambda picture: cropped(picture, 4),
    "shifted": lambda picture: np.pad(picture, ((2, 0), (0, 2), (0, 0)), mode="edge")[1:65, 1:65],
    "mirrored and shifted": lambda picture: np.pad(picture[:, ::-1], ((2, 0), (2, 0), (0, 0)), mode="edge")[1:65, 1:65],
    "all at once": lambda picture: stored(cropped(picture[:, ::-1], 2), quality=75),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_copy_is_found_in_every_disguise(faces, disguise):
    own = fields(20, seed=1)
    planted = np.stack([DISGUISES[disguise](picture) for picture in faces[40:80]])
    found = copies(np.concatenate([own, planted]), fingerprints(faces))
    assert [copy.index for copy in found] == list(range(20, 60))
    right = [copy for copy in found if copy.known == copy.index + 20]
    assert len(right) >= 38  # drawn faces are few and much alike: a crop may come nearer to another one
    mirrored = disguise in ("mirrored", "mirrored and shifted", "all at once")
    assert {copy.mirrored for copy in right} == {mirrored}
    assert max(copy.distance for copy in found) <= COPY


def test_different_pictures_are_not_accused(faces):
    """Fields of colour: some of the drawn faces come from nearly the same draw and are as alike as copies."""
    known = fingerprints(np.concatenate([fields(300), faces]))
    assert copies(fields(300, seed=1), known) == []
    assert len(copies(faces[:150], fingerprints(faces[150:]))) < 15


def test_a_larger_crop_is_another_picture(faces):
    """The limit is a limit: what is not found is not found by accident."""
    assert len(copies(np.stack([cropped(picture, 12) for picture in faces[:40]]), fingerprints(faces))) < 4


def test_the_mirror_image_has_the_same_fingerprint_but_for_signs(faces):
    difference = fingerprints(faces[:, :, ::-1]).astype(int) - fingerprints(faces) * MIRROR
    assert np.abs(difference).max() <= 1
    assert (fingerprints(faces) != fingerprints(faces) * MIRROR).any(axis=1).all()


def test_contrast_and_storage_do_not_matter_but_colour_does(faces):
    prints = fingerprints(faces)
    pale = fingerprints(np.rint(128 + (faces.astype(float) - 128) * 0.8).astype(np.uint8))
    swapped = fingerprints(faces[..., ::-1])
    assert np.median(np.diag(by_hand(prints[:20], pale[:20]))) < 0.05
    assert np.median(np.diag(by_hand(prints[:20], swapped[:20]))) > COPY


def test_nearest_is_that_of_a_slow_search(faces):
    prints, known = fingerprints(faces[:30]), fingerprints(faces[30:130])
    known[70] = known[3] = prints[5]  # of two equal ones the first counts
    table = by_hand(prints, known)
    for chunk in (1, 7, 100, 4096):
        index, distance = nearest(prints, known, chunk)
        np.testing.assert_array_equal(index, table.argmin(axis=1))
        np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-6)


def test_fingerprints_do_not_depend_on_the_batch(faces):
    together = fingerprints(faces)
    np.testing.assert_array_equal(together, np.concatenate([fingerprints(face[None]) for face in faces]))
    assert together.dtype == np.int8 and together.shape == (300, 48)
    assert (np.abs(together) == 127).mean() < 0.001  # of a byte's range next to nothing is cut off


def groups_by_hand(table, limit):
    """Connected groups of a table of distances, by spreading labels until nothing changes."""
    label = np.arange(len(table))
    linked = table <= limit
    while True:
        spread = np.array([label[row].min() for row in linked])
        if (spread == label).all():
            break
        label = spread
    groups = [np.flatnonzero(label == value).tolist() for value in np.unique(label)]
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group))


@pytest.mark.parametrize("chunk", [1, 13, 1024])
def test_groups_are_those_of_a_slow_search(faces, chunk):
    prints = fingerprints(np.concatenate([faces[:60], faces[5:9], faces[7:8]]))
    table = by_hand(prints, prints)
    limit = np.sort(table[np.triu_indices(60, 1)])[30]  # so that some groups are chains
    found = duplicates(prints, limit, chunk)
    assert [group.members for group in found] == groups_by_hand(table, limit)
    assert len(found[0].members) > 3
    np.fill_diagonal(table, np.inf)
    for group in found:
        assert group.distance == pytest.approx(max(table[member].min() for member in group.members), abs=1e-6)


def test_a_sets_own_repeats_are_told_but_are_no_collapse():
    """39 repeats in 71,314 faces, as the course's set has them, and two in three hundred."""
    pictures = fields(300)
    pictures[200], pictures[201] = pictures[3], stored(pictures[4], quality=75)
    prints = fingerprints(pictures)
    assert [group.members for group in duplicates(prints, limit=0)] == [[3, 200]]
    found = duplicates(prints)
    assert [group.members for group in found] == [[3, 200], [4, 201]]
    assert found[0].distance == 0 < found[1].distance < 0.1
    assert not collapsed(found, 300)
    assert not collapsed([Group([2 * i, 2 * i + 1], 0.0) for i in range(39)], 71_314)


def test_a_tenth_is_a_collapse():
    assert [collapsed([Group([*range(count)], 0.0)], 1000) for count in (99, 100)] == [False, True]


@pytest.mark.parametrize(("share", "expected"), [(0.05, False), (0.15, True), (1, True)])
def test_a_planted_collapse_is_called_one_from_a_tenth_on(share, expected):
    rng = np.random.default_rng(0)
    pictures = fields(400)
    for i in range(round(400 * share)):  # variations of two, not the same
        picture = np.roll(pictures[i % 2], rng.integers(-1, 2, 2), axis=(0, 1))
        pictures[i] = np.clip(picture + rng.normal(0, 10, picture.shape), 0, 255)
    found = duplicates(fingerprints(pictures))
    assert collapsed(found, 400) is expected
    assert sum(len(group.members) for group in found) == round(400 * share)
    assert duplicates(fingerprints(pictures), limit=0) == []


def test_pictures_of_one_colour():
    black, white, red = (np.full((64, 64, 3), colour, np.uint8) for colour in (0, 255, (255, 0, 0)))
    prints = fingerprints(np.stack([black, white, red, black, white, white]))
    assert [group.members for group in duplicates(prints)] == [[1, 4, 5], [0, 3]]
    assert duplicates(fingerprints(black[None])) == []
    pale = 255 - fields(1)[0] // 20  # nearly white, as some real faces are
    assert copies(np.stack([white, black, red]), np.concatenate([prints, fingerprints(pale[None])])) == []
    assert [copy.known for copy in copies(fields(1), fingerprints(fields(3)))] == [0]


def test_nothing_to_compare():
    none = np.empty((0, 64, 64, 3), np.uint8)
    assert fingerprints(none).shape == (0, 48)
    assert duplicates(fingerprints(none)) == [] and not collapsed([], 0)
    assert copies(none, fingerprints(fields(2))) == [] == copies(fields(2), fingerprints(none))


@pytest.mark.parametrize(
    "pictures", [np.zeros((2, 96, 96, 3), np.uint8), np.zeros((2, 64, 64, 3)), np.zeros(3, np.uint8)]
)
def test_only_pictures_of_the_right_size_and_kind(pictures):
    with pytest.raises(ValueError, match=r"needs pictures uint8 \[N, 64, 64, 3\]"):
        fingerprints(pictures)


def test_a_file_of_fingerprints(rendered, faces, tmp_path):
    path = tmp_path / "new" / "known.safetensors"
    result = CliRunner().invoke(main, [str(rendered), "--output", str(path)])
    assert result.exit_code == 0, result.output
    known = load_known(path)
    np.testing.assert_array_equal(known.fingerprints, fingerprints(faces))  # in numeric order: 2 before 10
    assert known.names == [str(number) for number in range(300)]
    assert path.stat().st_size < 300 * 48 + 2000
    assert [one.name for one in path.parent.iterdir()] == ["known.safetensors"]


def test_unreadable_pictures_are_named(rendered, tmp_path):
    (tmp_path / "1.png").write_text("text")
    (tmp_path / "2.png").write_bytes((rendered / "2.png").read_bytes())
    with pytest.warns(UserWarning, match=re.escape("left out 1.png is not a picture")):
        assert of_faces(tmp_path).names == ["2"]


def test_faces_of_one_name_in_two_folders_are_told_apart(tmp_path):
    faces = dict(zip(("red/1.png", "blue/1.png", "blue/2.png", "blue/2.jpg", "crypko/0.png"), fields(5), strict=True))
    for name, picture in faces.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / name)
    given = of_faces(tmp_path)
    assert given.names == ["blue/1", "blue/2.jpg", "blue/2.png", "crypko/0", "red/1"]
    course = Known(fingerprints(fields(1, seed=7)), ["crypko/0"])
    planted = np.stack([faces["blue/1.png"], faces["red/1.png"], faces["blue/2.png"], *fields(1, seed=7)])
    found = integrity(planted, course, given, limits=(0.19, 0.2), faces=tmp_path)
    assert [found.names[copy.known] for copy in found.copies] == ["blue/1", "red/1", "blue/2.png", "crypko/0"]
    for copy in found.copies[:3]:
        np.testing.assert_array_equal(found.pictures[copy.known], planted[copy.index])
    assert [found.limits[copy.known] for copy in found.copies] == [0.19, 0.19, 0.19, COPY]
    assert found.copies[3].known not in found.pictures  # another crypko/0 than that of the folder


@pytest.mark.parametrize("at_hand", [True, False])
def test_faces_of_the_users_are_not_called_the_courses(at_hand, tmp_path):
    """In a folder called as the course's set, or a file that was made of one: the page would name the wrong remedy."""
    (tmp_path / "crypko").mkdir()
    (own,), (other,) = fields(1), fields(1, seed=7)
    Image.fromarray(own).save(tmp_path / "crypko/0.png")
    given, course = of_faces(tmp_path), Known(fingerprints(other[None]), ["crypko/0"])
    found = integrity(np.stack([own, other]), course, given, faces=tmp_path if at_hand else None)
    assert [found.names[copy.known] for copy in found.copies] == ["./crypko/0", "crypko/0"]
    assert [*found.pictures] == [found.copies[0].known] * at_hand


def test_useless_files(tmp_path, monkeypatch):
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadFingerprints, match="name a folder or zip of faces"):
            of_faces(source)
    path = tmp_path / "known.safetensors"
    with pytest.raises(BadFingerprints, match="make it again"):
        load_known(path)
    known = Known(fingerprints(fields(2)), ["1", "2"])
    save_known(known, "fields", path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(BadFingerprints, match="holds no fingerprints"):
        load_known(path)
    save_known(Known(known.fingerprints, ["1"]), "fields", path)
    with pytest.raises(BadFingerprints, match="do not go with"):
        load_known(path)
    tensors = as_tensors(known)
    for wrong, message in (
        ({"fingerprints": known.fingerprints.astype(np.float32)}, "they are F32"),
        ({"names": np.frombuffer(lzma.compress(bytes(known_faces.MAX_NAMES + 1)), np.uint8)}, "far too long"),
        ({"names": tensors["names"][:-20]}, "cut off"),
        ({"names": np.ones(40, np.uint8)}, "holds no fingerprints"),
    ):
        path.write_bytes(save(tensors | wrong, {"format": known_faces.FORMAT}))
        with pytest.raises(BadFingerprints, match=message):
            load_known(path)
    path.write_bytes(whole)
    monkeypatch.setattr(known_faces, "FORMAT", "a later one")
    with pytest.raises(BadFingerprints, match="another form"):
        load_known(path)


def test_the_shipped_faces_accuse_no_drawn_face_and_few_unseen_ones(faces, shared):
    known = load_known().fingerprints
    assert KNOWN.stat().st_size < 3_500_000
    assert len(known) == 71_314
    assert copies(faces, known) == []
    unseen = read_faces(shared / "tagged_3000_64px.zip")[:1000]
    assert copies(unseen, known) == []
    assert len(copies(unseen, known, NEAR)) < DISGUISED * 1000 / 2
    mine = read_faces(shared / "crypko_1000_96px.zip")
    assert len(copies(mine, known)) == 1000  # every face of the course is known
    assert not collapsed(duplicates(fingerprints(unseen)), len(unseen))


def test_the_shipped_faces_are_those_of_the_course(shared):
    known = load_known()
    pictures = read_first(shared / "crypko_12000_64px.zip", 60)
    found = copies(np.stack([cropped(picture[:, ::-1], 2) for picture in pictures.values()]), known.fingerprints)
    assert [known.names[copy.known] for copy in found] == list(pictures)
    assert all(copy.mirrored for copy in found)


def read_first(source, count):
    """The first pictures of a zip by the names that fingerprints give them."""
    from itertools import islice

    from grader.inputs.archives import members
    from grader.inputs.images import decode

    return {
        name.rpartition("/")[2].partition(".")[0]: decode(read())[0] for name, read in islice(members(source), count)
    }


def test_submissions_are_neither_copied_nor_collapsed(shared):
    from grader.inputs.submission import read_submission

    known = load_known().fingerprints
    for path in sorted((shared / "submissions").glob("*.tgz")):
        pictures = read_submission(path).pictures
        assert copies(pictures[:250], known) == [], path.name
        assert len(copies(pictures[:250], known, NEAR)) <= DISGUISED * 250 / 2, path.name
        groups = duplicates(fingerprints(pictures), ALIKE)
        assert sum(len(group.members) for group in groups) <= 10, path.name


def test_limits_are_lower_for_faces_that_are_alike():
    assert limits(load_known().fingerprints[::6]) == (COPY, ALIKE)
    rng = np.random.default_rng(0)
    base = rng.integers(-40, 40, 48)
    prints = np.clip(base + rng.integers(-8, 9, (600, 48)), -127, 127).astype(np.int8)
    copy, alike = limits(prints)
    steps = prints[:, None].astype(float) - prints[None, ::1]
    distances = np.sqrt((steps**2).mean(axis=2)) * STEP
    np.fill_diagonal(distances, np.inf)
    least = distances.min(axis=1)
    assert copy == pytest.approx(np.quantile(least, 0.003, method="lower"), rel=1e-5)
    assert copy <= alike < ALIKE
    assert (least < copy).mean() <= 0.003
    assert limits(prints[:1]) == (COPY, ALIKE)


def test_faces_that_a_set_holds_twice_do_not_turn_the_search_off(faces):
    once = fingerprints(faces)
    twice = np.concatenate([once, fingerprints(np.stack([stored(face, quality=75) for face in faces]))])
    for prints in (np.concatenate([once, once]), twice):
        assert min(limits(prints)) >= FLOOR
        assert limits(prints) == pytest.approx(limits(once), abs=0.02)
        assert len(copies(faces, prints, limits(prints)[0])) == len(faces)


def test_each_known_set_has_its_own_limit(faces):
    """A crop that is a copy by the course's limit stays one, though the given faces have a lower one, and the other way
    round a picture is no copy of a given face only because the course's limit is higher."""
    copy = cropped(faces[0], 1)[None]
    course, given = Known(fingerprints(faces[:5]), list("abcde")), Known(fingerprints(faces[5:9]), list("fghi"))
    (found,) = copies(copy, course.fingerprints)
    low = (found.distance / 2, ALIKE)
    result = integrity(copy, course, given, low)
    assert [result.names[one.known] for one in result.copies] == ["a"]
    assert integrity(copy, given, course, low).copies == []


@pytest.mark.parametrize("disguise", list(BEYOND)[:5])
def test_copies_beyond_the_limit_are_told_together(shared, disguise):
    known = load_known()
    pictures = np.stack(list(read_first(shared / "crypko_1000_96px.zip", 300).values()))
    pictures = np.stack([decode_64(picture) for picture in pictures])
    found = integrity(np.stack([BEYOND[disguise](picture) for picture in pictures]), known)
    assert found.disguised and found.near >= DISGUISED * 300


def around(prints, distance, count=1, seed=0):
    """Fingerprints [count, 48] at a distance from one of them [48], each in a direction of its own."""
    steps = np.random.default_rng(seed).standard_normal((count, 48))
    steps *= distance / STEP / np.sqrt((steps**2).mean(axis=1, keepdims=True))
    return np.clip(np.rint(prints + steps), -127, 127).astype(np.int8)


@pytest.mark.parametrize(
    ("others", "counted"),
    [
        (0.9, True),  # far from all other known faces: a copy, disguised
        (0.5, True),
        (0.32, False),  # a usual face: it is as near to others
    ],
)
def test_a_picture_that_is_near_to_several_known_faces_is_no_copy_of_one(faces, others, counted):
    picture = faces[:1]
    print_ = fingerprints(picture)[0]
    known = np.concatenate([around(print_, 0.3), around(print_, others, 30, seed=1), around(print_, 1.2, 5000, seed=2)])
    found = integrity(picture, Known(known, [f"{n}.jpg" for n in range(len(known))]))
    assert found.closest[0].distance < NEAR
    assert not found.copies
    assert found.near == counted


def test_one_disguised_copy_in_a_hundred_is_told():
    pictures = fields(101)
    known = Known(around(fingerprints(pictures[:1])[0], 0.3), ["1.jpg"])
    found = [integrity(pictures[:count], known) for count in (101, 100)]
    assert [(one.near, one.disguised) for one in found] == [(1, False), (1, True)]


def test_a_drawing_that_is_known_twice_still_has_its_copies(faces):
    print_ = fingerprints(faces[:1])[0]
    drawing = around(print_, 0.31)
    known = np.concatenate([drawing, around(drawing[0], SAME - 0.08, 3, seed=1), around(print_, 1.2, 5000, seed=2)])
    (one,) = copies(faces[:1], known, NEAR)
    assert COPY < one.distance <= NEAR
    assert alone(faces[:1], [one], known) == [one]


def test_few_known_faces_are_no_rivals(faces):
    known = around(fingerprints(faces[:1])[0], 0.3)
    one = Copy(0, 0, 0.3, False)
    assert alone(faces[:1], [one], known) == [one]
    assert alone(faces[:1], [], known) == []
    assert 0 < ALONE < 1


def decode_64(picture):
    return np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR))
