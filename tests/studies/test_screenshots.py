"""The pictures of pages: which class the board is of, and how a browser is asked for them."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from grader.inputs.images import decode
from studies import screenshots


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A run with six checkpoints of ten pictures, as dark as their steps, and ten faces."""
    monkeypatch.setattr(screenshots, "COUNT", 10)
    (tmp_path / "faces").mkdir()
    for number in range(12):
        Image.new("RGB", (64, 64), (200 + number,) * 3).save(tmp_path / f"faces/{number}.png")
    moments = {f"{step}": np.full((10, 64, 64, 3), step, np.uint8) for step in (10, 20, 30, 40, 50, 60)}
    monkeypatch.setattr(screenshots, "checkpoints", lambda run: [*moments])
    monkeypatch.setattr(screenshots, "read_submission", lambda step: SimpleNamespace(pictures=moments[step]))
    return tmp_path


def shade(path):
    return round(decode(path.read_bytes())[0].mean())


def test_a_class_hands_in_three_moments_shared_pictures_known_faces_and_too_few(demo, tmp_path):
    (tmp_path / "class/old").mkdir(parents=True)
    screenshots._hand_in(demo, tmp_path / "class")
    sent = {path.name: [*path.iterdir()] for path in (tmp_path / "class").iterdir()}
    counts = {name: len(files) for name, files in sent.items()}
    assert counts == {"b01": 10, "b02": 10, "b03": 10, "b04": 10, "b05": 9, "b06": 10}
    found = {name: {shade(path) for path in files} for name, files in sent.items()}
    assert found["b01"] == {60} and found["b02"] == {10} and found["b06"] == {50}
    assert found["b03"] == {60, 10} and found["b04"] == {*range(200, 210)}  # by number, and not by name


def test_the_board_shows_tiers_as_if_the_scale_were_the_courses(demo, tmp_path, monkeypatch):
    asked, written = {}, {}
    results = [{"verdicts": [{"family": "drawn faces"}]}, {"problems": ["999 pictures"]}]

    def make(folder, page, options, roster):
        asked.update(folder=folder, options=options, roster=roster.read_text(encoding="utf-8"))
        return results

    monkeypatch.setattr(screenshots.leaderboard, "make", make)
    monkeypatch.setattr(screenshots.board, "write", lambda results, page: written.update({page: results}))
    screenshots.write_board(demo, tmp_path, ("afd",))
    assert asked["folder"] == tmp_path / "class" and asked["roster"].splitlines()[1] == "b01,Ada"
    assert asked["options"].metrics == ("afd",) and asked["options"].offline
    assert written == {tmp_path / "leaderboard.html": results}
    assert results[0]["verdicts"] == [{"family": "embedded faces"}]


def test_the_pages_are_of_the_demos_run_and_need_no_download(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(screenshots.history, "score_history", lambda run, faces: done.append(run))
    monkeypatch.setattr(screenshots.grader, "score", lambda path, faces, **how: done.append((path, how)) or "score")
    monkeypatch.setattr(screenshots, "read_run", lambda run: "run")
    monkeypatch.setattr(screenshots.report, "write", lambda *what: done.append(what))
    monkeypatch.setattr(screenshots, "write_board", lambda demo, folder, metrics: done.append(metrics))
    screenshots.write_pages(tmp_path, tmp_path / "pages")
    run, (path, how), report, metrics = done
    assert run == tmp_path / "gan" and path == run / "submission.tgz" and how["offline"]
    assert report == ("score", tmp_path / "pages", "run") and metrics == tuple(how["metrics"])
    assert "fd-imagenet" in metrics and not {"fid", "lbpcascade"} & {*metrics}


@pytest.fixture
def browser(tmp_path, monkeypatch):
    """A Chromium that takes pictures of the size that it is asked for, dark where it should be."""
    path = tmp_path / "chromium"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom PIL import Image\n"
        "given = dict(one.split('=', 1) for one in sys.argv if '=' in one)\n"
        "size = tuple(map(int, given['--window-size'].split(',')))\n"
        "shade = 30 if '--blink-settings' in given else 220\n"
        "Image.new('RGB', size, (shade, shade, len(sys.argv[-1]) % 7)).save(given['--screenshot'], 'PNG')\n"
    )
    path.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(path) if name == "google-chrome" else None)


def test_a_page_is_taken_as_wide_and_as_dark_as_asked(browser, tmp_path):
    (tmp_path / "page.html").touch()
    picture = screenshots.take(tmp_path / "page.html", 390, 700)
    assert picture.size == (390, 700) and picture.getpixel((5, 5))[0] == 220
    assert screenshots.take(tmp_path / "page.html", 200, 100, dark=True).getpixel((5, 5))[0] == 30


def test_of_each_page_there_is_a_wide_picture_a_dark_one_and_one_of_two_phones(tmp_path, monkeypatch):
    def take(page, width, height, dark=False):
        return Image.new("RGB", (width, height), "black" if dark else "white")

    monkeypatch.setattr(screenshots, "take", take)
    screenshots.write_pictures(tmp_path, tmp_path)
    assert len([*tmp_path.iterdir()]) == 6
    with Image.open(tmp_path / "report_narrow.jpg") as phones:
        assert phones.size == (800, 1500)
        assert [round(phones.getpixel((x, 700))[0] / 64) for x in (200, 400, 600)] == [4, 2, 0]
    with Image.open(tmp_path / "leaderboard_dark.jpg") as wide:
        assert wide.size == (1200, 560) and max(wide.getpixel((600, 300))) < 9


def test_a_picture_is_as_good_as_its_size_allows(tmp_path, monkeypatch):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    sizes = []
    for largest in (150_000, 30_000, 100):
        monkeypatch.setattr(screenshots, "LARGEST", largest)
        screenshots.save(picture, tmp_path / "x.jpg")
        sizes.append((tmp_path / "x.jpg").stat().st_size)
    assert 150_000 > sizes[0] > 30_000 >= sizes[1] > 25_000 > sizes[2] > 100  # the least quality is a bound too


@pytest.mark.parametrize("there", [True, False])
def test_without_a_browser_the_pages_alone_are_written(there, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(shutil, "which", lambda name: "/chromium" if there else None)
    monkeypatch.setattr(screenshots, "write_pages", lambda demo, folder: done.append(folder))
    monkeypatch.setattr(screenshots, "write_pictures", lambda folder, output: done.append(output))
    result = CliRunner().invoke(screenshots.main, [str(tmp_path), str(tmp_path / "docs")])
    assert done == [tmp_path / "pages", tmp_path / "docs"][: 1 + there]
    assert ("no Chromium" in result.output) != there
