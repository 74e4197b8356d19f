"""A conditional set scored by class: closed forms, generators whose faults are known, and every wrong table."""

import base64
import io
import json
import os
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from grader import cli, score
from grader.errors import GraderError
from grader.features.anime import describe
from grader.inputs.labels import LabelledFaces, read_asked, read_faces
from grader.inputs.submission import read_submission
from grader.metrics.by_label import RealLabels, distance_and_floor
from grader.metrics.colours import DIM, ColourClassifier, colours
from grader.report.images import MARK
from grader.report.json import as_dict
from grader.report.page import as_html
from grader.report.words import label_rows

REAL, ASKED = 400, 200  # drawn faces


@pytest.fixture(scope="module")
def drawn():
    """600 drawn faces, their hair's colour as text, and their features."""
    from data.render import render

    pictures, attributes = zip(*render(REAL + ASKED, seed=3), strict=True)
    pictures = np.stack(pictures)
    return pictures, np.array([one["hair_colour"] for one in attributes]), describe(pictures)


@pytest.fixture(scope="module")
def real(drawn):
    """The first 400 of them, to compare with."""
    pictures, hair, features = (part[:REAL] for part in drawn)
    names, labels = np.unique(hair, return_inverse=True)
    return RealLabels.of(LabelledFaces("drawn", names.tolist(), labels, pictures), features)


@pytest.fixture(scope="module")
def faces(drawn, tmp_path_factory):
    """The same as a zip with tags.csv."""
    pictures, hair, _ = drawn
    path = tmp_path_factory.mktemp("labelled") / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(REAL):
            archive.writestr(f"images/{number}.png", encoded(pictures[number], "PNG"))
        archive.writestr("tags.csv", "".join(f"{number},{hair[number]} hair\n" for number in range(REAL)))
    return path


@pytest.fixture(scope="module")
def outputs(drawn, tmp_path_factory):
    """The other 200, as a perfect generator's samples."""
    pictures, hair, _ = drawn
    folder = tmp_path_factory.mktemp("conditional") / "outputs"
    folder.mkdir()
    for number in range(ASKED):
        (folder / f"{number + 1}.jpg").write_bytes(encoded(pictures[REAL + number], "JPEG", quality=95))
    write_labels(folder / "labels.csv", hair[REAL:])
    return folder


def encoded(picture, kind, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def write_labels(path, labels):
    rows = "".join(f"{number}.jpg,{label}\n" for number, label in enumerate(labels, 1))
    path.write_text("file,label\n" + rows)


def rows_of_tables(page):
    """Of each table its rows as text, by their first cells."""
    tables = []
    for table in page.split("<table")[1:]:
        rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
        rows = [re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
        rows = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in rows]
        tables.append({row[0]: row for row in rows})
    return tables


def run(*args):
    return CliRunner().invoke(cli.main, ["score", *map(str, args), "--loose", "--offline", "--metrics", "afd"])


# The colour classifier


def test_colours_of_a_plain_picture():
    blue = np.broadcast_to(np.uint8([0, 0, 255]), (1, 64, 64, 3))
    between = np.broadcast_to(np.uint8([0, 85, 0]) // np.uint8([1, 2, 1]), (1, 64, 64, 3))  # green at 42, almost half
    patches = colours(blue).reshape(8, 4, 4, 4)  # red, green, blue: each at level 0, 85, 170 or 255
    assert (patches[:, 0, 0, 3] == 1).all() and patches.sum() == 8
    patches = colours(between).reshape(8, 4, 4, 4)
    np.testing.assert_allclose(patches[:, 0, :2, 0] ** 2, [[1 - 42 / 85, 42 / 85]] * 8, rtol=1e-5)


def test_colours_are_shares_and_the_same_in_a_mirror():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    seen = colours(pictures, batch_size=2)
    assert seen.shape == (5, DIM)
    np.testing.assert_allclose((seen.reshape(5, 8, 64) ** 2).sum(axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(seen, colours(pictures[:, :, ::-1]), atol=1e-6)
    assert abs(seen - colours(pictures[:, ::-1])).max() > 0.01  # but not upside down


def test_the_colour_classifier_is_fishers_discriminant():
    rng, count = np.random.default_rng(0), 20_000
    root = rng.normal(size=(3, 3))  # of the common covariance
    means = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 1]])
    labels = np.arange(count) % 3
    features = means[labels] + rng.normal(size=(count, 3)) @ root.T
    classifier = ColourClassifier.fit(features, labels, 3)
    inverse = np.linalg.inv(root @ root.T)
    likely = [-np.sum((features - mean) @ inverse * (features - mean), axis=1) for mean in means]
    assert np.mean(classifier(features) == np.argmax(likely, axis=0)) > 0.95  # it differs by its shrinkage
    unequal = np.flatnonzero((labels == 0) | (np.arange(count) < 3000))
    rare = ColourClassifier.fit(features[unequal], labels[unequal], 3)
    assert np.mean(rare(features) == classifier(features)) > 0.95  # that a class is rare here says nothing of the asked


@pytest.mark.parametrize("greys", [[0, 255, 85], [0, 255, 90]])  # the means of the latter are rounded
def test_labels_of_one_picture_each_are_told_apart(greys):
    labels = np.arange(15) // 5
    seen = colours(np.uint8(greys)[labels][:, None, None, None] * np.ones((64, 64, 3), np.uint8))
    np.testing.assert_array_equal(ColourClassifier.fit(seen, labels, 3)(seen), labels)


# Distances


def test_a_moved_class_is_as_far_as_it_was_moved():
    rng = np.random.default_rng(0)
    features, real = rng.normal(size=(80, 20)), rng.normal(size=(200, 20))
    shift = np.zeros(20)
    shift[:4] = 3
    distance, floor = distance_and_floor(features, real)
    assert 0 < floor < 4
    assert distance == pytest.approx(floor, rel=0.3)
    moved, same = distance_and_floor(features + shift, real)
    assert same == floor
    assert moved - distance == pytest.approx(shift @ shift, rel=0.15)


def test_more_pictures_than_real_faces_are_scored_as_many_as_these():
    rng = np.random.default_rng(0)
    features, real = rng.normal(size=(500, 20)), rng.normal(size=(60, 20))
    distance, floor = distance_and_floor(features, real)
    assert distance == pytest.approx(floor, rel=0.3)  # of all 500 it would be half as much


# Generators


def means(found):
    overall = found.overall
    return overall.accuracy, overall.ceiling, overall.distance, overall.floor


def labels_of(real, numbers):
    return [real.names[number] for number in numbers]


def test_unseen_real_faces_are_found_where_they_belong(drawn, real):
    pictures, hair, features = (part[REAL:] for part in drawn)
    found = real.score(hair, pictures, features)
    accuracy, ceiling, distance, floor = means(found)
    assert accuracy > 0.95 and ceiling > 0.95  # drawn hair is plain
    assert distance == pytest.approx(floor, rel=0.1)
    assert abs(found.overall.kid) < 3 * found.overall.spread
    assert found.confusion.sum() == ASKED
    assert np.trace(found.confusion) == round(accuracy * ASKED)
    assert [one.pictures for one in found.labels] == found.confusion.sum(axis=1).tolist()


def test_a_generator_that_ignores_the_label(drawn, real):
    pictures, hair, features = (part[REAL:] for part in drawn)
    honest = real.score(hair, pictures, features).overall
    ignored = real.score(np.random.default_rng(0).permutation(hair), pictures, features).overall
    assert ignored.accuracy < 0.2  # by chance 1 / 12
    assert ignored.ceiling == pytest.approx(honest.ceiling)
    assert ignored.distance > honest.distance + 10
    assert ignored.floor == honest.floor
    assert ignored.kid > honest.kid + 5 * ignored.spread


def test_a_generator_that_makes_one_class_only(drawn, real):
    red = drawn[1] == "red"
    pictures, features = (part[red][np.arange(96) % red.sum()] for part in (drawn[0], drawn[2]))
    found = real.score(labels_of(real, np.arange(96) % 12), pictures, features)
    column = found.confusion[:, real.names.index("red")]
    assert column.sum() > 80
    shares = {one.target: one.accuracy for one in found.labels}
    assert shares.pop("red") > 0.8
    assert max(shares.values()) < 0.2
    nearest = min(found.labels, key=lambda one: one.distance)
    assert nearest.target == "red"


def test_labels_that_mean_nothing_cannot_be_learned(drawn, real):
    labels = np.random.default_rng(0).permutation(real.labels)
    nothing = RealLabels.of(LabelledFaces("drawn", real.names, labels, drawn[0][:REAL]), real.features)
    assert nothing.ceilings.mean() < 0.2  # of the faces that it was fitted on, it tells nearly all
    assert np.mean(nothing.classifier(colours(drawn[0][:REAL])) == labels) > 0.5


def test_the_real_faces_themselves_are_nearer_than_their_floor(drawn, real):
    found = real.score(labels_of(real, real.labels), drawn[0][:REAL], drawn[2][:REAL])
    assert all(one.distance < one.floor for one in found.labels)
    assert found.overall.accuracy >= found.overall.ceiling  # half of them fitted the classifier


def test_a_class_of_one_picture_has_no_distance(drawn, real):
    found = real.score(labels_of(real, [0, 1, 1]), drawn[0][:3], drawn[2][:3])
    assert found.labels[0].distance is None and found.labels[1].distance > 0
    assert found.overall.distance is None and found.overall.kid is None
    assert "–" in label_rows(found)[0]


def test_tagged_faces(shared, monkeypatch):
    """Real drawings with labels that people gave them; a perfect generator's samples are those kept apart."""
    monkeypatch.setattr("grader.inputs.labels.MOST", 1500)
    tagged = read_faces(shared / "tagged_3000_64px.zip")
    assert (len(tagged.names), len(tagged.pictures), tagged.title) == (12, 1500, "tagged_3000_64px (hair)")
    order = np.random.default_rng(1).permutation(1500)
    labels, pictures = tagged.labels[order], tagged.pictures[order]
    features = describe(pictures)
    real = RealLabels.of(LabelledFaces("tagged", tagged.names, labels[400:], pictures[400:]), features[400:])
    accuracy, ceiling, distance, floor = means(
        real.score(labels_of(real, labels[:400]), pictures[:400], features[:400])
    )
    assert accuracy > 0.8
    assert accuracy == pytest.approx(ceiling, abs=0.06)
    assert distance == pytest.approx(floor, rel=0.1)
    shuffled = np.random.default_rng(0).permutation(labels[:400])
    accuracy, _, distance, _ = means(real.score(labels_of(real, shuffled), pictures[:400], features[:400]))
    assert accuracy < 0.15
    assert distance > 1.5 * floor


def test_tagged_eyes(shared, monkeypatch):
    monkeypatch.setattr("grader.inputs.labels.MOST", 1500)
    eyes = read_faces(shared / "tagged_3000_64px.zip", "eye")
    real = RealLabels.of(eyes, np.zeros((1500, 1)))
    assert len(real.names) == 10
    assert real.ceilings.mean() > 0.65  # 0.35 on the embedded features


# Labels of real faces; tests/notebooks/test_labels.py holds that they are read as the notebooks read them


def test_no_more_real_faces_than_tell_something(faces, monkeypatch):
    monkeypatch.setattr("grader.inputs.labels.MOST", 12 * 22)
    read = read_faces(faces)
    assert np.bincount(read.labels).tolist() == [22] * 12
    assert (read_faces(faces).pictures == read.pictures).all()


def test_an_attribute_that_folders_cannot_have_is_told(rendered, tmp_path, recwarn):
    for number, path in enumerate(sorted(rendered.glob("*.png"))[:40]):
        (tmp_path / "blue (eye)" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        os.link(path, tmp_path / "blue (eye)" / "ab"[number % 2] / path.name)
    assert read_faces(tmp_path / "blue (eye)").names == ["a", "b"] and not recwarn
    with pytest.warns(UserWarning, match="its classes are folders, so the attribute eye does nothing"):
        assert read_faces(tmp_path / "blue (eye)", "eye").title == "blue (eye)"


# The command


def test_scored_from_the_command_line(outputs, faces, tmp_path, drawn):
    hair = drawn[1][REAL:].copy()
    hair[hair == "red"] = "blue"  # asked to be blue, but red
    write_labels(tmp_path / "mine.csv", hair)
    result = run(outputs, "--by-label", faces, "--labels", tmp_path / "mine.csv", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert "passed over" not in result.stderr  # labels.csv is no stray file
    assert "of unseen real faces" in " ".join(result.stdout.split())

    made = json.loads((tmp_path / "report.json").read_text())["by_label"]
    assert made["faces"] == "faces (hair)"
    assert made["names"] == sorted(set(drawn[1]))
    assert [one["target"] for one in made["labels"]] == sorted(set(hair))  # nothing was asked to be red
    assert np.shape(made["confusion"]) == (11, 12) and np.sum(made["confusion"]) == ASKED
    assert made["overall"]["distance"] == pytest.approx(np.mean([one["distance"] for one in made["labels"]]))

    page = (tmp_path / "report.html").read_text()
    scores, confusion = rows_of_tables(page)[-2:]
    printed = [line.split() for line in result.stdout.partition("by label")[2].splitlines() if line.strip()]
    printed = {words[0]: words for words in printed}
    for one in [*made["labels"], made["overall"]]:
        for row in (scores[one["target"]], printed[one["target"]]):
            assert row[1:4] == [str(one["pictures"]), f"{one['accuracy']:.3f}", f"{one['ceiling']:.3f}"]
    assert scores["blue"][4].startswith("red ")
    head, *columns = confusion["asked ↓ found →"]
    assert columns == made["names"]
    assert confusion.keys() - {head} == scores.keys() - {"target", "all"}
    assert int(confusion["blue"][1 + columns.index("red")]) == np.sum(drawn[1][REAL:] == "red")
    strips = re.findall(r'<figure class="strip"><figcaption>(\w+):.*?base64,([^"]*)', page)
    framed = {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))[0, :, 1] == MARK[1] for name, png in strips
    }
    assert framed.keys() == set(hair)
    assert 0 < framed["blue"].mean() < 1 and not framed["aqua"].any()


def test_from_python_and_in_jupyter(outputs, faces):
    result = score(outputs, by_label=faces, loose=True, metrics=["afd"])
    assert result.by_label.overall.accuracy > 0.95
    shown = result._repr_html_()
    assert "By label" in shown and "<img" not in shown
    plain = replace(result, by_label=None)
    assert as_dict(plain)["by_label"] is None
    assert "By label" not in as_html(plain) and "By label" not in plain._repr_html_()


def test_an_archive_brings_its_labels(outputs, tmp_path):
    archive = tmp_path / "mine.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(outputs, "outputs")
    submission = read_submission(archive, loose=True)
    inside = read_asked(archive, submission.names)
    beside = read_asked(outputs, [Path(name).name for name in submission.names])
    assert inside == beside and len(set(inside)) == 12


# Wrong tables

GOOD = "file,label\n" + "".join(f"{number}.jpg,aqua\n" for number in range(1, ASKED + 1))


WRONG = [
    (None, "no labels.csv says what each picture was asked to show: name one by --labels"),
    ("", "does not begin with the line file,label"),
    (GOOD.removeprefix("file,label\n"), "does not begin with the line file,label"),
    (GOOD.replace("7.jpg,aqua", "7.jpg", 1), "row 8 is not a file and its label"),
    (GOOD.replace("7.jpg,aqua", "7.jpg,", 1), "row 8 is not a file and its label"),
    (GOOD.replace("7.jpg,aqua", "7.jpg,aqua,1", 1), "row 8 is not a file and its label"),
    (GOOD + "7.jpg,blue\n", "more than one row for 7.jpg: keep one"),
    (GOOD.replace("7.jpg,aqua\n", "", 1), "no row for 7.jpg: add"),
    (GOOD + "201.jpg,aqua\n999.jpg,aqua\n", "rows for 201.jpg, 999.jpg, which are not among the pictures"),
    (GOOD.replace("7.jpg,aqua", "7.jpg,teal", 1), "has no class teal: ask for aqua, black"),
    (GOOD.replace("7.jpg,aqua", "7.jpg,\x1b[31m", 1), "has no class \\x1b[31m: "),
    (GOOD.replace("aqua", "水藍").encode("big5"), "no table (not in UTF-8: save it as CSV UTF-8)"),
    (GOOD + "x" * 200_000, "no table (field larger than field limit"),
    (GOOD + "\n" * 200_000, "no table (more than 200,000 rows)"),
    (GOOD.replace("aqua", '"aqua', 1), "no table (unexpected end of data)"),  # else all rows below are its label
    (GOOD + " " * 2**24, "no table (more than 17 MB)"),
]


@pytest.mark.parametrize(("table", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_a_wrong_labels_csv(outputs, faces, tmp_path, table, problem):
    folder = tmp_path / "outputs"
    folder.mkdir()
    for path in outputs.glob("*.jpg"):
        os.link(path, folder / path.name)
    if table is not None:
        (folder / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    result = run(folder, "--by-label", faces, "--output", tmp_path)
    assert result.exit_code == 1, result.output
    assert problem in result.stderr
    assert str(folder) in result.stderr or str(faces) in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("report.*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_nobody_waits_for_labels_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(GraderError, match=r"labels\.csv: no table \(is no file\)") as error:
        read_asked(tmp_path, ["1.jpg"], tmp_path / "labels.csv")
    assert error.value.exit_code == 2  # no fault of the submission


def test_everything_that_is_wrong_is_said_at_once(outputs, faces, tmp_path):
    wrong = GOOD.replace("7.jpg,aqua\n", "", 1).replace("9.jpg,aqua\n", "9.jpg,aqua\n9.jpg,aqua\n", 1) + "0.jpg,aqua\n"
    (tmp_path / "wrong.csv").write_text(wrong)
    result = run(outputs, "--by-label", faces, "--labels", tmp_path / "wrong.csv", "--output", tmp_path)
    assert result.exit_code == 1
    twice, absent, missing = result.stderr.splitlines()
    assert "9.jpg" in twice and "0.jpg" in absent and "7.jpg" in missing


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--attribute", "skin"], "fewer than two classes of 20 faces by 'skin': put a tags.csv"),
        (["--by-label", "plain"], "fewer than two classes of 20 faces"),
        (["--by-label", "broken.zip"], "broken.zip: no labelled faces"),
        (["--by-label", "binary"], "no labelled faces (tags.csv: not in UTF-8"),
        (["--by-label", "few"], "fewer than 20 faces of red: add some, or ask for others"),
        (["--by-label", "unreadable"], "too many of its pictures cannot be read"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_wrong_faces(outputs, faces, tmp_path, options, problem, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "binary", "unreadable", "few/blue", "few/red", "few/green"):
        Path(name).mkdir(parents=True)
    for number in range(25):
        for name in ("few/blue", "few/green", "few/red")[: 3 if number < 19 else 2]:
            Path(name, f"{number}.jpg").touch()
        for name in (f"{number}.jpg", f"{number + 100}.jpg"):
            Path("unreadable", name).touch()
    tags = (f"{number},{'red' if number < 100 else 'blue'} hair\n" for number in range(125))
    Path("unreadable/tags.csv").write_text("".join(tags))
    Path("plain/1.jpg").touch()
    Path("binary/tags.csv").write_bytes(b"\xff\xfe\x00")
    Path("broken.zip").write_bytes(b"PK")
    write_labels(Path("asked.csv"), ["red"] * ASKED)
    result = run(outputs, "--by-label", faces, "--labels", "asked.csv", *options)
    assert result.exit_code == 2, result.output
    assert problem in result.stderr
    assert sum(not line.startswith("note: ") for line in result.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("report.*"))


def test_labels_alone_are_no_use(outputs, tmp_path):
    result = run(outputs, "--labels", outputs / "labels.csv", "--output", tmp_path)
    assert result.exit_code == 2
    assert "--by-label" in result.stderr
