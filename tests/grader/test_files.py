"""Names in their one order, what systems leave behind, and files that others hold."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from grader import files
from grader.files import CannotWrite, atomic, check_closed, keep_unless, left_behind, natural
from grader.report import json as report_json
from grader.report import page


def test_numbers_count_as_numbers():
    assert sorted(["10.jpg", "1.jpg", "2.jpg"], key=natural) == ["1.jpg", "2.jpg", "10.jpg"]
    assert sorted(["b/10", "b/9", "a1b10", "a1b2"], key=natural) == ["a1b2", "a1b10", "b/9", "b/10"]
    assert natural("02.jpg") != natural("2.jpg")


def test_a_number_may_have_any_number_of_digits():
    assert sorted(["9" * 10_000, "1" + "0" * 10_000, "8"], key=natural)[0] == "8"
    assert natural("1" + "0" * 10_000) > natural("9" * 10_000)


@pytest.mark.parametrize("name", ["__MACOSX", ".DS_Store", "._1.jpg", "Thumbs.db", "desktop.ini", "@eaDir", ".git"])
def test_left_behind(name):
    assert left_behind(name)


@pytest.mark.parametrize("name", ["Desktop.ini", "THUMBS.DB", ".ipynb_checkpoints", "leaderboard.html.parts"])
def test_left_behind_in_other_spellings_and_by_ourselves(name):
    assert left_behind(name)


@pytest.mark.parametrize("name", ["1.jpg", "..", "thumbs", "a.b", "parts"])
def test_put_there_by_a_person(name):
    assert not left_behind(name)


@pytest.mark.parametrize(("system", "held", "whole"), [("nt", 2, True), ("nt", 1000, False), ("posix", 2, False)])
def test_windows_lends_a_new_folder_to_a_scanner_for_a_while(tmp_path, monkeypatch, system, held, whole):
    """An hour's work was removed there because of one that looked at its last file."""
    refused = iter(range(held))

    def replace(source, target):
        for _ in refused:
            raise PermissionError(13, "Access is denied", str(source))
        os.replace(source, target)

    clock = iter(range(100))
    monkeypatch.setattr(files, "os", SimpleNamespace(**vars(os) | {"name": system, "replace": replace}))
    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    outcome = nullcontext() if whole else pytest.raises(CannotWrite)
    with outcome, atomic(tmp_path / "faces") as partial:
        partial.mkdir()
        (partial / "1.png").touch()
    assert [path.name for path in tmp_path.rglob("*")] == (["faces", "1.png"] if whole else [])
    (tmp_path / "a.csv").touch()
    refused = iter(range(held))
    with nullcontext() if whole else pytest.raises(CannotWrite):
        check_closed([tmp_path / "a.csv"])


OURS = '<meta name="generator" content="anime-gan-kit">'
OLD = "<style>\n:root { color-scheme: light; --ink: #1c1e21; --soft: #5b616b; --paper: #fff; --line: #d9dce1;"
SCORED, ROW = {"submission": "a", "measures": [], "verdicts": []}, {"name": "a", "status": "broken", "problems": []}


@pytest.mark.parametrize(
    ("is_ours", "text", "ours"),
    [
        (page.is_ours, "<p>my homework report</p>", False),
        (page.is_ours, f"<!doctype html>\n<head>\n{OURS}", True),
        (page.is_ours, f"<!doctype html>\n<head>\n{OLD}", True),
        (page.is_ours, "\ud800", False),
        (report_json.is_ours, json.dumps(SCORED), True),
        (report_json.is_ours, json.dumps([ROW, ROW]), True),
        (report_json.is_ours, json.dumps([ROW, {"name": "a"}]), False),
        (report_json.is_ours, '{"loss": 1}', False),
        (report_json.is_ours, "my report", False),
        (report_json.is_ours, "3", False),
        (report_json.is_ours, "[" * 100_000, False),
    ],
)
def test_what_others_wrote_is_kept_and_what_is_ours_is_replaced(tmp_path, is_ours, text, ours):
    path = tmp_path / "report.x"
    path.write_text(text, errors="surrogatepass")
    with nullcontext() if ours else pytest.warns(UserWarning, match="kept as report.before.x"):
        keep_unless(path, is_ours)
    assert (tmp_path / "report.before.x").exists() != ours


@pytest.mark.parametrize("template", ["report", "leaderboard", "student"])
def test_each_page_has_our_mark(template):
    text = (Path(page.__file__).parent / f"templates/{template}.html.j2").read_bytes()
    assert page.MARKS[0] in text and text.index(page.MARKS[0]) < text.index(b"<title>")
