"""What a class gets back: grades for three programs, a page for each student, and a board that names nobody."""

import csv
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from grader import cli, grades, grading, leaderboard, result_cache
from grader.files import file_name
from grader.metrics.registry import Against
from grader.points import read_points
from grader.report import gradebook
from grader.report.page import MARKS
from grader.roster import Student
from grader.roster import students as students_of
from grader.uploads import Upload
from grader.version import VERSION
from tests.conftest import ROOT
from tests.grader.test_uploads import upload

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


def result(name, distance, best, **more):
    measures = [{"measure": "FD-ImageNet", "by": "e", "value": distance}]
    passed = {"Simple": best is not None, "Medium": best in ("Medium", "Strong"), "Strong": best == "Strong"}
    verdicts = [{"family": "embedded", "best": best, "passed": passed, "judged": True}]
    return {"name": name, "status": "graded", "problems": [], "measures": measures, "verdicts": verdicts} | more


@pytest.fixture
def classroom():
    def student(key, name, **more):
        return Student(key, name, Upload(name, Path(name), NOW, name, **more))

    students = [
        student("b1", "Ada", number="7", platform="moodle"),
        student("b2", "=HYPERLINK()", number="9", platform="canvas"),
        Student("b3", "王小明"),
        student("b4", "Kim"),
    ]
    results = [
        result("b1 Ada", 50.0, "Strong", shares={"b2 =HYPERLINK()": 700}, notes=["beside it: Ada.png"]),
        result("b2 =HYPERLINK()", 50.0, "Strong", shares={"b1 Ada": 700}),
        {"name": "b4 Kim", "status": "broken", "problems": ["Kim.tgz: holds no picture"]},
    ]
    results = grades.with_missing(results, students)
    return students, results, grades.with_grades(results, students, read_points())


def read(path):
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(data.decode("utf-8-sig").splitlines()))


def test_three_tables_of_grades(classroom, tmp_path):
    sheet, moodle, canvas = (read(path) for path in gradebook.write(classroom[2], tmp_path / "board.html"))
    assert [row["grade"] for row in sheet] == [row["Grade"] for row in moodle] == ["3", "3", "0", "0"]
    assert {row["Last modified (grade)"] for row in moodle} == {""}  # Moodle takes no worksheet without it
    assert [row["status"] for row in sheet] == ["graded", "graded", "missing", "broken"]
    assert sheet[2]["remarks"] == "handed nothing in" and sheet[2]["name"] == "王小明"
    assert sheet[0]["uploaded"] == "2026-06-01 00:00:00+00:00"
    assert [row["Feedback comments"] for row in moodle[2:]] == ["handed nothing in", "Kim.tgz: holds no picture"]
    assert [row["Identifier"] for row in moodle] == ["Participant 7", "", "", ""]
    assert [row["ID"] for row in canvas] == ["", "9", "", ""]
    assert [row["SIS User ID"] for row in canvas] == ["b1", "b2", "b3", "b4"]
    for rows in (sheet, moodle, canvas):
        assert all(cell[:1] not in tuple("=+-@") for row in rows for cell in row.values())


def test_what_was_not_judged_has_no_grade(tmp_path):
    """Not 0 points: a person decides. Who was judged and passed nothing has 0."""
    unjudged = [{"family": "embedded", "best": None, "passed": dict.fromkeys(("Simple", "Medium")), "judged": False}]
    results = [
        result("fid alone", 50.0, None, verdicts=[]),
        result("judged", 500.0, None),
        result("other faces", 50.0, None, verdicts=unjudged),
        {"name": "out of memory", "status": "broken", "problems": ["grading it failed"], "undecided": True},
    ]
    students = [Student("", row["name"], Upload("", Path(), NOW, "")) for row in results]
    rows = grades.with_grades(results, students, read_points())
    assert [row["grade"] for row in rows] == [None, 0, None, None]
    assert [row["grade"] for row in read(gradebook.write(rows, tmp_path / "board.html")[0])] == ["", "0", "", ""]
    with pytest.warns(UserWarning, match=r"^3 grades are for you to decide: empty in other\.grades\.csv"):
        grades.write_tables(rows, tmp_path / "other.html", tmp_path / "parts")
    grades.write_pages(students, rows, tmp_path, tmp_path / "pages", None)
    decided = {path.stem: "still to be decided" not in path.read_text() for path in (tmp_path / "pages").iterdir()}
    assert decided == {"fid%20alone": False, "judged": True, "other%20faces": False, "out%20of%20memory": False}


def test_times_are_those_of_the_deadlines_zone(tmp_path):
    """Half past midnight in Taipei is the day before in UTC: a student would read that a late upload was in time."""
    taipei = timezone(timedelta(hours=8))
    came = datetime(2026, 4, 13, 16, 30, tzinfo=timezone.utc)
    students = [Student("b1", "Ada", Upload("b1.tgz", Path("b1.tgz"), came, ""))]
    results = grades.with_missing([result("b1 Ada", 50.0, "Strong")], students)
    late = replace(read_points(), deadline=datetime(2026, 4, 13, 23, 59, tzinfo=taipei), per_day=0.1)
    rows = grades.with_grades(results, students, late)
    sheet, moodle, _ = (read(path) for path in gradebook.write(rows, tmp_path / "board.html"))
    assert sheet[0]["uploaded"] == "2026-04-14 00:30:00+08:00"
    assert moodle[0]["Feedback comments"] == "Strong; 1 late day"
    grades.write_pages(students, rows, tmp_path, tmp_path, None)
    page = (tmp_path / "b1.html").read_text()
    assert "1 late day. Uploaded 2026-04-14 00:30:00+08:00, after the deadline, 2026-04-13 23:59:00+08:00." in page


def test_two_names_that_are_shown_alike_have_their_own_grades():
    results = [result("王 小明", 50.0, "Strong"), result("王\u3000小明", 500.0, None)]
    students = [Student("", row["name"], Upload("", Path(), NOW, "")) for row in results]
    rows = grades.with_grades(results, students, read_points())
    assert [(row["name"], row["grade"]) for row in rows] == [("王 小明", 3), ("王 小明", 0)]


def test_platforms_get_no_line_that_erases_or_hits_another(classroom, tmp_path):
    """An empty cell erases a grade on them, and Moodle gives a line without an id to the student of the line before."""
    row = classroom[2][0]
    more = {"tier": "", "grade": 0, "number": "", "platform": ""}
    rows = [
        row,
        row | {"id": "b2", "name": "Eve", "grade": None},
        row | more | {"id": "", "name": "notes.txt"},
        row | {"id": "", "name": "Kim", "number": "8"},
        row | {"id": "", "name": "Zoe", "number": "9", "platform": "canvas"},
    ]
    for some, *names in (
        (rows, ["Ada", "Eve", "notes.txt", "Kim", "Zoe"], ["Ada"], ["Ada", "Zoe"]),
        (rows[2:], ["notes.txt", "Kim", "Zoe"], ["Kim"], ["Zoe"]),  # without a roster
    ):
        sheet, moodle, canvas = (read(path) for path in gradebook.write(some, tmp_path / "board.html"))
        assert [row["name"] for row in sheet] == names[0]
        assert [row["Full name"] for row in moodle] == names[1]
        assert [row["Student"] for row in canvas] == names[2]


def test_a_download_of_canvas_does_not_tell_the_days(tmp_path):
    """Its files have the time of the download, long after the deadline. That is nobody's late day."""
    uploads = {
        "ada_12_345_gan": "Strong",
        "eve_LATE_13_346_gan": "Strong",
        "kim_LATE_14_347_gan": None,
        "bob": "Strong",
    }
    results = [result(entry.partition("_")[0], 50.0, best) for entry, best in uploads.items()]
    students = [Student("", row["name"], upload(entry, tmp_path)) for row, entry in zip(results, uploads, strict=True)]
    late = replace(read_points(), deadline=datetime.now(timezone.utc) - timedelta(days=2.5), per_day=0.1)
    for points, grades_, days in (
        (late, ["3", "", "0", "2.1"], ["0", "", "", "3"]),
        (read_points(), ["3", "3", "0", "3"], ["0"] * 4),
    ):
        sheet = read(gradebook.write(grades.with_grades(results, students, points), tmp_path / "board.html")[0])
        assert [row["grade"] for row in sheet] == grades_
        assert [row["late_days"] for row in sheet] == days
        assert ["decide its grade" in row["notes"] for row in sheet] == [grade == "" for grade in grades_]
        assert [row["uploaded"] == "" for row in sheet] == [True, True, True, False]
        without_late = ["named as Canvas names files, without LATE" in row["notes"] for row in sheet]
        assert without_late == [points is late, False, False, False]  # bob's is no file of Canvas: perhaps none is
    whole = grades.with_missing(results, students)
    assert [row["name"] for row in whole if row["uploaded"]] == ["bob"]


@pytest.mark.parametrize(
    ("times", "per_day", "days", "points"),
    [
        ((86400, 86500, 86700), 0.1, ["", "", "2"], ["", "", "1.6"]),
        ((86400, 86500, 86700), 0, ["", "", "2"], ["2", "2", "2"]),  # a late day costs nothing
        ((86400, 90000, 86700), 0.1, ["", "", "2"], ["", "", "1.6"]),  # downloaded twice
        ((-100, 86400, 86700), 0.1, ["0", "1", "2"], ["2", "1.8", "1.6"]),
        ((0, 100, 86700), 0.1, ["0", "1", "2"], ["2", "1.8", "1.6"]),
    ],
)
def test_a_download_of_moodle_may_not_tell_the_days(tmp_path, monkeypatch, measured, times, per_day, days, points):
    """Its files may have the time of the download. No class hands in as fast."""
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    for number, time in enumerate(times, 1):
        path = Path("class", f"Kim_{number}_assignsubmission_file_b{number}.tgz" if number < 3 else "b3.tgz")
        path.write_bytes(b"x")
        os.utime(path, (time, time))
    Path("roster.csv").write_text("id,name\nb1,Ada\nb2,Kim Lee\nb3,Eve\n")
    Path("p.toml").write_text(f"[points]\nMedium = 2\n[late]\ndeadline = 1970-01-01T00:00:00Z\nper_day = {per_day}")
    done = CliRunner().invoke(cli.main, ["leaderboard", "class", "--roster", "roster.csv", "--points", "p.toml"])
    assert done.exit_code == 0, done.output
    sheet = read(Path("leaderboard.grades.csv"))
    assert [(row["late_days"], row["grade"]) for row in sheet] == [*zip(days, points, strict=True)]
    assert done.stderr.count("time of their download") == (days[0] == "")
    assert ["decide its grade" in row["notes"] for row in sheet] == [grade == "" for grade in points]
    assert [row["uploaded"] == "" for row in sheet] == [day == "" for day in days]


@pytest.mark.parametrize(
    ("times", "unknown"),
    [
        ((-90_000, -5000, 60, 200), ()),
        ((-90_000, 60, 200), (1, 2)),  # most are late: one was downloaded before the others, say
        ((-90_000, -89_900, 200), (2,)),  # downloaded before the deadline, and what is new again after it
        ((60,), (0,)),
    ],
)
@pytest.mark.filterwarnings("ignore:uploads from Moodle")
def test_of_a_download_of_moodle_what_came_before_the_deadline_is_in_time(tmp_path, times, unknown):
    points = replace(read_points(), deadline=NOW, per_day=0.1)
    found = {f"Kim_{number}_assignsubmission_file_": tmp_path / f"{number}.tgz" for number in range(len(times))}
    for path, time in zip(found.values(), times, strict=True):
        path.touch()
        os.utime(path, (NOW.timestamp() + time,) * 2)
    found["Kim_9_assignsubmission_onlinetext_"] = tmp_path  # written by the download, whatever the files are
    listed = students_of(found, None, NOW)
    results = [result(student.row, 50.0, "Strong") for student in listed]
    rows = grades.with_grades(results, listed, points)[: len(times)]
    assert [row["grade"] is None for row in rows] == [place in unknown for place in range(len(times))]
    assert [row["late_days"] for row in rows] == [
        None if place in unknown else int(time > 0) for place, time in enumerate(times)
    ]


def test_a_part_of_a_class_that_is_packed_costs_nobody_a_grade(tmp_path, monkeypatch, measured):
    """Who is in it would have 0 points, as others of the roster have handed in. In a student's folder it is code."""
    monkeypatch.chdir(tmp_path)
    for name in ("b1.tgz", "b2/late.zip", "b2/gan.tgz", "b4/late.zip", "b4/report.zip"):
        Path("class", name).parent.mkdir(parents=True, exist_ok=True)
        Path("class", name).write_bytes(b"x")
    Path("class/late.zip").write_bytes(b"x")
    os.utime("class/b2/gan.tgz", (1000, 1000))
    os.utime("class/b4/late.zip", (1000, 1000))
    Path("roster.csv").write_text("id,name\nb1,Ada\nb2,Eve\nb3,Kim\nb4,Bob\n")

    def grade(name, source, options):
        several = {"status": "broken", "problems": ["holds no picture but 20 archives"], "several": True}
        if source.name == "report.zip":
            return {"name": name, "status": "broken", "problems": ["holds no picture"]}
        return {"name": name} | several if source.name == "late.zip" else result(name, 50.0, "Medium")

    monkeypatch.setattr(grading, "grade", grade)
    for _ in range(2):  # and so it is kept
        done = CliRunner().invoke(cli.main, ["leaderboard", "class", "--roster", "roster.csv"])
        assert done.exit_code == 0, done.output
        rows = {row["id"]: row["grade"] for row in read(Path("leaderboard.grades.csv"))}
        assert rows == {"b1": "2", "b2": "2", "b3": "", "b4": "", "": ""}
        monkeypatch.setattr(grading, "grade", None)
    assert [row["undecided"] for row in json.loads(Path("leaderboard.json").read_text()) if row["name"] == "late"]


def test_the_public_board_names_nobody(classroom, tmp_path):
    _, results, _ = classroom
    key = grades.secret(tmp_path)
    assert grades.secret(tmp_path) == key
    grades.write_public(results, tmp_path / "public.html", key)
    text = (tmp_path / "public.html").read_text()
    table = text.partition("<table>")[2].partition("</table>")[0]
    for result in results:  # random hexadecimal digits may spell "b4"
        table = table.replace(grades.pseudonym(result["student"]["id"], result["name"], key), "")
    for name in ("Ada", "HYPERLINK", "王", "Kim", "b1", "b4", "700"):
        assert name not in table
    assert grades.pseudonym("b1", "b1 Ada Lovelace", key) in text and "could not be graded" in text  # of any name
    assert grades.pseudonym("b3", "b3 王小明", key) not in text


def test_codes_of_a_large_class_do_not_meet():
    students = [who for number in range(10_000) for who in ((str(number), ""), ("", str(number)))]
    codes = {grades.pseudonym(*who, "key") for who in students}
    assert len(codes) == 20_000


def test_a_page_for_each_student_with_their_own_data(classroom, tmp_path):
    students, _, rows = classroom
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / f"{file_name(students[0].upload.entry)}.html").write_text("<html>\n<body>\nwhole report</body>")
    rows[3] |= {"grade": 1.0, "late_days": 1}
    grades.write_pages(students, rows, parts, tmp_path, "key")
    texts = {path.stem: path.read_text() for path in tmp_path.glob("*.html")}
    assert texts.keys() == {"b1", "b2", "b3", "b4"}
    assert "whole report" in texts["b1"] and "3 points</strong> for Strong" in texts["b1"]
    assert "1 point</strong>; 1 late day." in texts["b4"]
    assert all("<h1>" in text and "<h2>" not in text.partition("<h1>")[0] for text in texts.values())
    assert grades.pseudonym("b1", "b1 Ada", "key") in texts["b1"]
    assert "handed nothing in" in texts["b3"] and "holds no picture" in texts["b4"]
    assert all(other not in texts[own] for own, other in (("b1", "HYPERLINK"), ("b2", "Ada"), ("b4", "Ada")))


def test_pages_keep_the_capitals_of_an_id_where_no_other_is_the_same_in_small_letters(classroom, tmp_path):
    students, _, rows = classroom
    students = [replace(one, id=id) for one, id in zip(students, ("B1", "Kim", "kim", "b4"), strict=True)]
    grades.write_pages(students, rows, tmp_path / "parts", tmp_path, None)
    names = sorted(path.stem for path in tmp_path.iterdir())
    assert names == ["B1", "Kim", "b4", "kim_"]


def test_a_row_without_an_id_takes_no_students_page():
    """A friend's archive in Ada's folder: the row of what is nobody's is called like her id."""
    students = [Student("", "b1"), Student("b1", "Ada"), Student("", "B1_"), Student("", "con"), Student("_con", "")]
    assert grades.page_names(students) == ["b1_.html", "b1.html", "B1__.html", "con_.html", "_con.html"]


@pytest.fixture
def measured(monkeypatch):
    """The submissions that were graded, while nothing is measured."""
    names = []

    def grade(name, source, options):
        names.append(name)
        page = {"page": f"{MARKS[0].decode()}<body>report of {name}", "drawn_by": result_cache.drawn_by()}
        return result(name, 50.0, "Medium") | (page if options.pages else {})

    monkeypatch.setattr(grading.Options, "scorer", lambda *_: SimpleNamespace(against=Against(None)))
    monkeypatch.setattr(result_cache, "measured_with", lambda *_: "x")
    monkeypatch.setattr(leaderboard, "local", lambda jobs: ThreadPoolExecutor(1))
    monkeypatch.setattr(grading, "grade", grade)
    return names


def test_another_roster_grades_nothing_again(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    for name in ("b1.tgz", "Eve Online_7_assignsubmission_file_.zip"):
        Path("class", name).write_bytes(b"x")
    for roster, rows in (
        (None, ["Eve Online", "b1"]),
        ("id,name\nb1,Ada", ["Eve Online", "b1 Ada"]),
        ("id,name\nb1,Ada L.\nb2,Eve Online", ["b1 Ada L.", "b2 Eve Online"]),
    ):
        Path("roster.csv").write_text(roster or "")
        done = CliRunner().invoke(cli.main, ["leaderboard", "class", *["--roster", "roster.csv"] * bool(roster)])
        assert done.exit_code == 0, done.output
        assert [row["name"] for row in json.loads(Path("leaderboard.json").read_text())] == rows
        assert len(measured) == 2
    for _ in range(2):
        command = ["leaderboard", "class", "--roster", "roster.csv", "--reports", "reports"]
        assert CliRunner().invoke(cli.main, command).exit_code == 0
        assert len(measured) == 4  # once more for the pages
        assert "report of Eve Online_7" in Path("reports/b2.html").read_text()
    monkeypatch.setattr(result_cache, "drawn_by", lambda: "a newer grader")
    assert CliRunner().invoke(cli.main, command[:4]).exit_code == 0
    assert len(measured) == 4  # without pages nothing has changed
    assert CliRunner().invoke(cli.main, command).exit_code == 0
    assert len(measured) == 6
    assert "drawn_by" not in Path("leaderboard.json").read_text()
    broken = {"status": "broken", "problems": ["torn"]}
    monkeypatch.setattr(grading, "grade", lambda name, source, options: {"name": name} | broken)
    Path("class/b1.tgz").write_bytes(b"handed in again")
    assert CliRunner().invoke(cli.main, command).exit_code == 0
    page = Path("reports/b1.html").read_text()
    assert "torn" in page and "report of" not in page  # the one of before
    assert "report of Eve Online_7" in Path("reports/b2.html").read_text()


def test_pages_replace_no_submission(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("class/b1").mkdir(parents=True)
    Path("class/b1/my.tgz").write_bytes(b"x")
    Path("roster.csv").write_text("id,name\nb1,Ada")
    command = ["leaderboard", "class", "--roster", "roster.csv"]
    done = CliRunner().invoke(cli.main, [*command, "--reports", "class/b1"])
    assert done.exit_code == 2 and "class/b1: lies among the submissions, and is not ours" in done.stderr
    assert [path.name for path in Path("class/b1").iterdir()] == ["my.tgz"]
    for _ in range(2):  # a folder of ours may lie there
        done = CliRunner().invoke(cli.main, [*command, "--reports", "class/pages"])
        assert done.exit_code == 0, done.output
        assert [row["name"] for row in json.loads(Path("leaderboard.json").read_text())] == ["b1 Ada"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--public", "roster.csv/x.html"], "roster.csv: cannot be written"),
        (["--reports", "roster.csv/x"], "roster.csv/x: cannot be written"),
        (["--public", "taken"], "taken"),
        (["-o", "page.html"], "page.csv: cannot be written (Is a directory)"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, measured, words, says):
    monkeypatch.chdir(tmp_path)
    for folder in ("class", "taken", "page.csv"):
        Path(folder).mkdir()
    Path("class/b1.tgz").write_bytes(b"x")
    Path("roster.csv").write_text("id,name\nb1,Ada")
    done = CliRunner().invoke(cli.main, ["leaderboard", "class", "--roster", "roster.csv", *words])
    assert done.exit_code == 2 and says in done.stderr and not measured


def test_points_keep_their_digits(tmp_path):
    more = {"id": "b1", "grade": 1234567.5, "number": "", "platform": "", "problems": []}
    row = dict.fromkeys(gradebook.SHEET, "") | more
    assert "1234567.5" in gradebook.write([row], tmp_path / "board.html")[0].read_text("utf-8-sig")


def test_what_can_be_had_is_decided_once_for_a_class(tmp_path, monkeypatch, measured):
    """A worker that tries again what failed here may have it: a table in which some rows have a measure."""
    without = Against(None, missing={"lbpcascade": "no connection"})
    monkeypatch.setattr(grading.Options, "scorer", lambda *_: SimpleNamespace(against=without))
    grade = grading.grade
    told = []
    monkeypatch.setattr(grading, "grade", lambda *given: told.append(given[2].missing) or grade(*given))
    (tmp_path / "class").mkdir()
    (tmp_path / "class/b1.tgz").touch()
    done = CliRunner().invoke(cli.main, ["leaderboard", str(tmp_path / "class"), "-o", str(tmp_path / "x.html")])
    assert done.exit_code == 0 and "note: lbpcascade: no connection\n" in done.stderr
    assert told == [(("lbpcascade", "no connection"),)]


def test_a_run_without_pages_removes_none(tmp_path, monkeypatch, measured):
    """Another run, beside it, may be about to read them."""
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    command = ["leaderboard", "class", "--reports", "reports"]
    for content, arguments, graded in (("x", command, 1), ("y", command[:2], 2), ("y", command, 3)):
        Path("class/b1.tgz").write_text(content)
        assert CliRunner().invoke(cli.main, arguments).exit_code == 0
        assert Path("leaderboard.html.parts/b1.html").is_file() and len(measured) == graded


def test_a_page_of_a_result_that_was_not_kept_is_drawn_again(tmp_path, monkeypatch):
    """Else a student would see the numbers of other faces under their grade."""
    (tmp_path / "b1").touch()

    def page(measured_with, failed=False):
        def grade(name, source, options):
            graded = {"name": name, "status": "graded", "problems": [], "failed": failed}
            return graded | {"page": f"with {measured_with}", "drawn_by": result_cache.drawn_by()}

        monkeypatch.setattr(grading, "grade", grade)
        options, parts = grading.Options(pages=True), tmp_path / "parts"
        grading.grade_all({"b1": tmp_path / "b1"}, parts, options, measured_with, lambda: ThreadPoolExecutor(1))
        return (parts / "b1.html").read_text()

    for measured_with, failed in (("faces", False), ("other faces", True), ("faces", False)):
        assert page(measured_with, failed) == f"with {measured_with}"


def test_pages_of_another_roster_are_removed_and_nothing_else(tmp_path, monkeypatch, measured):
    """A student would have two of them, with two grades."""
    monkeypatch.chdir(tmp_path)
    for name in ("class", "one", "two"):
        Path(name).mkdir()
    Path("class/b1.tgz").write_bytes(b"x")
    Path("one/ours.html").write_text("")
    for reports, roster, pages in (
        ("one", "b1,Ada", {"b1"}),
        ("one", "B1,Ada", {"B1"}),
        ("two", "b1,Ada\nb2,Kim", {"b1", "b2"}),
        ("./one", "B9,Ada", {"B9", "b1"}),  # b1 is no more of the roster
    ):
        Path("roster.csv").write_text(f"id,name\n{roster}\n")
        command = ["leaderboard", "class", "--roster", "roster.csv", "--reports", reports]
        assert CliRunner().invoke(cli.main, command).exit_code == 0
        assert {path.stem for path in Path(reports).glob("[!.]*")} - {"ours"} == pages
    assert Path("one/ours.html").is_file() and Path("two/b2.html").is_file()


def test_pages_are_removed_for_a_board_of_another_name_too(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    Path("class/b1.tgz").write_bytes(b"x")
    for output, id in (("one.html", "b1"), ("two.html", "b2")):
        Path("roster.csv").write_text(f"id,name\n{id},Ada\n")
        command = ["leaderboard", "class", "-o", output, "--roster", "roster.csv", "--reports", "reports"]
        assert CliRunner().invoke(cli.main, command).exit_code == 0
    assert {path.stem for path in Path("reports").glob("[!.]*")} == {"b1", "b2"}  # b1.tgz has a row of its own
    Path("class/b1.tgz").rename("class/b2.tgz")
    assert CliRunner().invoke(cli.main, [*command[:3], "three.html", *command[4:]]).exit_code == 0
    assert {path.stem for path in Path("reports").glob("[!.]*")} == {"b2"}


def test_what_a_person_typed_into_a_table_is_kept(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("b1.tgz").write_bytes(b"x")
    command = ["leaderboard", ".", "--points", str(ROOT / "grader/points.toml")]
    for _ in range(2):
        done = CliRunner().invoke(cli.main, command)
        assert done.exit_code == 0 and "kept as" not in done.stderr
    for kept_as in ("leaderboard.grades.before.csv", "leaderboard.grades.before2.csv"):
        Path("leaderboard.grades.csv").write_text(f"decided by hand: {kept_as}")
        done = CliRunner().invoke(cli.main, command)
        assert done.stderr.count("kept as") == 1 and f"that version is kept as {kept_as}" in done.stderr
        assert Path(kept_as).read_text() == f"decided by hand: {kept_as}"
        assert [row["name"] for row in read(Path("leaderboard.grades.csv"))] == ["b1"]  # and no table is a submission


def test_pages_of_somebody_else_are_kept(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    Path("class/b1.tgz").write_bytes(b"x")
    Path("reports").mkdir()
    theirs = ("leaderboard.html", "leaderboard.csv", "leaderboard.json", "public.html", "reports/b1.html")
    for name in theirs:
        Path(name).write_text(f"my own {name}")
    command = ["leaderboard", "class", "--public", "public.html", "--reports", "reports"]
    Path("reports/.pages.json").write_text("{}")  # of another class: that folder is taken as ours
    for notes in (5, 0):
        done = CliRunner().invoke(cli.main, command)
        assert done.exit_code == 0 and done.stderr.count("kept as") == notes, done.output
    for path in map(Path, theirs):
        assert path.with_name(f"{path.stem}.before{path.suffix}").read_text() == f"my own {path}"
    assert [row["name"] for row in json.loads(Path("leaderboard.json").read_text())] == ["b1"]


@pytest.mark.parametrize("text", ["[]", "[1]", "3", "null", '{"a": 3}', '{"a": [1]}', "[" * 100_000, "\x00", ""])
def test_what_was_written_down_for_the_next_run_may_have_any_form(tmp_path, monkeypatch, measured, text):
    """After hours of grading it is no reason to end without a board."""
    monkeypatch.chdir(tmp_path)
    (parts := Path("leaderboard.html.parts")).mkdir()
    Path("reports").mkdir()
    Path("b1.tgz").write_bytes(b"x")
    records = [Path("reports/.pages.json"), parts / ".tables.json", parts / grades.SECRET, parts / "b1.json"]
    for record in records:
        record.write_text(text)
    command = ["leaderboard", ".", "--points", str(ROOT / "grader/points.toml"), "--reports", "reports"]
    done = CliRunner().invoke(cli.main, [*command, "--public", "public.html"])
    assert done.exit_code == 0, done.output
    assert all(isinstance(json.loads(record.read_text()), dict) for record in records if record.name != grades.SECRET)
    assert grades.secret(parts).strip()


def test_a_submission_called_tables_is_kept_as_any_other(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("tables.tgz").write_bytes(b"x")
    for _ in range(2):
        done = CliRunner().invoke(cli.main, ["leaderboard", ".", "--points", str(ROOT / "grader/points.toml")])
        assert done.exit_code == 0 and "kept as" not in done.stderr
    assert measured == ["tables"]


def test_results_of_a_run_that_was_stopped_are_no_submission(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    for name in ("b1.tgz", "b2.tgz"):
        Path(name).write_bytes(b"x")
    grade = grading.grade

    def stopped(name, source, options):
        if name == "b2":
            raise KeyboardInterrupt
        return grade(name, source, options)

    monkeypatch.setattr(grading, "grade", stopped)
    assert CliRunner().invoke(cli.main, ["leaderboard", "."]).exit_code and measured == ["b1"]
    monkeypatch.setattr(grading, "grade", grade)
    assert CliRunner().invoke(cli.main, ["leaderboard", ".", "-o", "other.html"]).exit_code == 0
    assert [row["name"] for row in json.loads(Path("other.json").read_text())] == ["b1", "b2"]


def test_a_table_that_another_program_has_open_stops_it_before_the_work(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    Path("class/b1.tgz").write_bytes(b"x")
    Path("leaderboard.csv").touch()

    def locked(source, target):  # as Windows does while Excel has it open
        raise PermissionError(13, "Permission denied", source, 5, target)

    monkeypatch.setattr(os, "replace", locked)
    done = CliRunner().invoke(cli.main, ["leaderboard", "class"])
    assert (done.exit_code, measured) == (2, [])
    assert done.stderr == (
        "leaderboard.csv: cannot be written (Permission denied): close it in other programs, or check its permissions, "
        "and run the same command again\n"
    )


def test_who_has_no_upload_is_no_submission_and_not_on_the_public_board(tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    for number in (5, 6):
        Path("class", f"Wei_{number}_assignsubmission_file_.tgz").write_bytes(b"x")
    Path("roster.csv").write_text("id,name\nb1,Wei\nb2,Eve\n")
    command = ["leaderboard", "class", "--roster", "roster.csv", "--public", "public.html", "--reports", "reports"]
    done = CliRunner().invoke(cli.main, command)
    assert (
        "2 submissions, 0 of which could not be graded; 1 on the roster handed nothing in; of 1 nobody" in done.stderr
    )
    assert "2 submissions, 0 of which could not be graded. 1 handed nothing in. Of 1 nobody" in (
        Path("leaderboard.html").read_text()
    )
    public = Path("public.html").read_text()
    assert "2 submissions, 0 of which" in public and "nobody" not in public and public.count("<tr>") == 3
    shown = {path.stem: "On the public board" in path.read_text() for path in Path("reports").glob("*.html")}
    assert (shown.pop("b1"), shown.pop("b2")) == (False, False) and [*shown.values()] == [True, True]


@pytest.mark.parametrize(
    ("names", "fails", "counts", "grade"),
    [
        (["b1/pictures.tgz", "b1/zcode.zip"], "zcode", "pictures.tgz", "2"),  # in a folder of Moodle's, say
        (["b1/v1.tgz", "b1/v2.tgz"], None, "v2.tgz", "2"),
        (["b1/v1.tgz", "b1/v2.tgz"], "v", "v2.tgz", "0"),
        (["b1_pictures.tgz", "b1_zcode.zip"], "zcode", "b1_pictures.tgz", "2"),
        (["ada_7_456_pictures.tgz", "ada_7_457_code.zip"], "code", "ada_7_456_pictures.tgz", "2"),
        (["ada_7_456_v1.tgz", "ada_7_457_v2.tgz"], None, "ada_7_457_v2.tgz", "2"),
        (["ada_7_456_v1.tgz", "b1.tgz"], None, "b1.tgz", ""),  # of which time is known
        (["ada_7_456_v1.tgz", "b1.tgz"], "b1", "ada_7_456_v1.tgz", "2"),
    ],
)
def test_the_latest_upload_that_can_be_graded_counts(tmp_path, monkeypatch, measured, names, fails, counts, grade):
    """Code that lies beside the pictures is no reason for 0 points."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(names):
        path = Path("class", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1000 + number,) * 2)
    Path("roster.csv").write_text("id,name\nb1,Ada\n")

    def grade_one(name, source, options):
        if fails and fails in source.name:
            return {"name": name, "status": "broken", "problems": ["holds no picture"]}
        return result(name, 50.0, "Medium", submission=source.name)

    monkeypatch.setattr(grading, "grade", grade_one)
    done = CliRunner().invoke(cli.main, ["leaderboard", "class", "--roster", "roster.csv"])
    assert done.exit_code == 0, done.output
    (row,) = read(Path("leaderboard.grades.csv"))
    assert row["grade"] == grade
    (entry,) = json.loads(Path("leaderboard.json").read_text())
    assert entry.get("submission", counts) == counts and "2 uploads" in row["notes"]
    assert ("(holds no picture)" in row["notes"]) == (fails is not None) and "beside it" not in row["notes"]
    assert ("decide which of 2 uploads" in row["notes"]) == entry.get("undecided", False) == (grade == "")


def test_two_classes_share_a_folder_of_pages(tmp_path, monkeypatch, measured):
    """Each removes its own pages alone, and none that the other has written since."""
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("a")
    for folder, roster, submitted, pages in (
        ("a", "b1,Ada\nb7,Kim\nb8,Eve", ["b1", "b8"], ["b1", "b7", "b8"]),
        ("b", "b2,Bob\nb7,Kim", ["b2"], ["b1", "b2", "b7", "b8"]),  # Kim has moved
        ("link", "b1,Ada", ["b1"], ["b1", "b2", "b7"]),
        ("b", "b2,Bob", ["b2"], ["b1", "b2"]),
    ):
        shutil.rmtree(Path(folder).resolve(), ignore_errors=True)
        Path(folder).resolve().mkdir()
        for name in submitted:
            Path(folder, f"{name}.tgz").write_bytes(b"x")
        Path("roster.csv").write_text(f"id,name\n{roster}\n")
        command = ["leaderboard", folder, "--roster", "roster.csv", "--reports", "pages", "-o", f"board_{folder}.html"]
        assert CliRunner().invoke(cli.main, command).exit_code == 0
        assert sorted(path.stem for path in Path("pages").glob("*.html")) == pages


def test_who_may_own_what_is_nobodys_gets_no_0(tmp_path):
    """Canvas would get 0 points for Nicholas Lee, and those of his upload for nick."""
    nick = upload("nick_5_100_hw6", tmp_path)
    students = [
        Student("b2", "Nicholas Lee"),
        Student("b3", "Eve", replace(nick, entry="b3")),
        Student("", "nick", nick),
    ]
    broken = {"status": "broken", "problems": ["holds no picture"]}
    for nicks, eves, canvas in (
        (result("nick", 50.0, "Medium"), result("b3 Eve", 50.0, None), ["Eve", "nick"]),
        ({"name": "nick", "undecided": True} | broken, {"name": "b3 Eve"} | broken, ["Eve"]),
        ({"name": "nick"} | broken, result("b3 Eve", 50.0, None), ["Nicholas Lee", "Eve", "nick"]),  # 0 in any case
    ):
        rows = grades.with_grades(grades.with_missing([nicks, eves], students), students, read_points())
        assert (rows[0]["grade"], rows[0]["status"]) == (0 if "Nicholas Lee" in canvas else None, "missing")
        assert (grades.NOBODYS in rows[0]["notes"]) == (rows[0]["grade"] is None)
        assert rows[1]["grade"] == 0 and not rows[1]["notes"]
        assert [row["Student"] for row in read(gradebook.write(rows, tmp_path / "board.html")[2])] == canvas


@pytest.mark.parametrize(
    ("adas", "other", "decided"),
    [("b1_report", "final_gan", False), ("ada_5_100_b1", "gan_6_101_hw", True), ("ada_5_100_b1", "final_gan", False)],
)
def test_whose_own_is_broken_may_have_handed_in_what_is_nobodys(tmp_path, adas, other, decided):
    """Her report has her id, and her pictures have not. Two numbers of one platform are two people."""
    found = {name: tmp_path / f"{name}.tgz" for name in (adas, other)}
    for path in found.values():
        path.touch()
    students = students_of(found, [Student("b1", "Ada")])
    results = [{"name": "b1 Ada", "status": "broken", "problems": ["a PDF"]}, result(students[1].row, 50.0, "Medium")]
    ada, _ = grades.with_grades(grades.with_missing(results, students), students, read_points())
    assert (ada["grade"], ada["notes"]) == ((0, []) if decided else (None, [grades.NOBODYS]))


def test_a_class_that_is_packed_or_one_folder_deeper_gets_no_0(tmp_path):
    students = [Student("b1", "Ada"), Student("b2", "Eve"), Student("", "HW6", upload("HW6", tmp_path))]
    whole = {"name": "HW6", "status": "broken", "problems": ["holds no picture but 2 archives"]}
    rows = grades.with_grades(grades.with_missing([whole], students), students, read_points())
    assert [(row["grade"], grades.NOBODYS in row["notes"]) for row in rows[:2]] == [(None, True)] * 2


@pytest.mark.parametrize(
    ("names", "cy"),
    [
        (["b1_b2.tgz"], 0),  # of two who worked together
        (["Wang Wei_5_assignsubmission_file_.tgz", "Wang Wei_6_assignsubmission_file_.tgz"], 0),
        (["nick_5_100_b1.tgz", "eve_6_101_b1.tgz"], None),  # one of them wrote another's id
        (["nick_5_100_b1.tgz", "wangwei_6_101_b1.tgz", "gan.tgz"], None),
        (["wangwei_6_101_b1.tgz", "weiwagn_5_100_gan.tgz"], None),  # the letters alone are anybody's
    ],
)
def test_whose_an_upload_cannot_be_has_0(tmp_path, names, cy):
    found = {name.removesuffix(".tgz"): tmp_path / name for name in names}
    for path in found.values():
        path.touch()
    students = students_of(found, [Student("b1", "Wang Wei"), Student("b2", "Wang Wei"), Student("b3", "Cy")])
    results = [result(student.row, 50.0, "Medium") for student in students if student.upload]
    rows = grades.with_grades(grades.with_missing(results, students), students, read_points())
    assert rows[2]["name"] == "Cy" and (rows[2]["grade"], grades.NOBODYS in rows[2]["notes"]) == (cy, cy is None)
    assert all(row["grade"] is None for row, student in zip(rows, students, strict=True) if student.unsure)


def test_every_row_of_a_class_with_a_roster(tmp_path, monkeypatch, measured):
    """From the command to its files."""
    (tmp_path / "class").mkdir()
    for name in ("b1.tgz", "9_b2.tgz"):
        (tmp_path / "class" / name).write_bytes(b"x")
        os.utime(tmp_path / "class" / name, (0, 0))
    (tmp_path / "roster.csv").write_text("id,name\nb1,Ada\nb2,Kim\nb3,Eve\n")
    (tmp_path / "points.toml").write_text(
        "[points]\nMedium = 2\n[late]\ndeadline = 1969-12-31T12:00:00Z\nper_day = 0.5"
    )
    command = ["leaderboard", "class", "--roster", "roster.csv", "--points", "points.toml", "--public", "p.html"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, [*command, "--reports", "reports"])
    assert done.exit_code == 0, done.output
    assert "2 submissions, 0 of which could not be graded; 1 on the roster handed nothing in" in done.stderr
    rows = json.loads(Path("leaderboard.json").read_text())
    assert [row["student"]["id"] for row in rows] == ["b1", "b2", "b3"]
    assert all({"schema", "version", "date", "options", "uploaded"} <= row.keys() for row in rows)
    assert rows[0]["version"] == VERSION
    sheet = read(Path("leaderboard.grades.csv"))
    assert [(row["late_days"], row["grade"]) for row in sheet] == [("1", "1"), ("1", "1"), ("0", "0")]
    assert sorted(path.name for path in Path("reports").glob("*.html")) == ["b1.html", "b2.html", "b3.html"]
    assert "1 handed nothing in" in Path("leaderboard.html").read_text()
