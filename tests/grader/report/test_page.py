"""The pages as a browser shows them, in headless Chromium; skipped where there is none."""

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from grader.features import anime
from grader.inputs.runs import read_run
from grader.inputs.submission import Submission
from grader.metrics import afd
from grader.report import board
from grader.report.images import strip as jpeg_strip
from grader.report.json import as_dict
from grader.report.page import ShownScore, as_html
from grader.report.terminal import as_tables, show
from grader.results import ByLabel, Copy, Group, Integrity, LabelScore, Measure
from grader.verdict import judge, load_thresholds

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


def chromium(tmp_path, *arguments):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    """A score with everything a page can show: all measures, copies, groups, notes."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1000, 64, 64, 3), dtype=np.uint8)
    names = [f"{number}.jpg" for number in range(1, 1001)]
    measures = [
        Measure("FD-anime", anime.scale(), "crypko", 64.9, floor=10.1),
        Measure("AFD", afd.scale(), None, 0.968),
        Measure("KID", anime.scale(), "crypko", 0.43, spread=0.05),
        *(Measure(name, anime.scale(), "crypko", 0.5) for name in ("precision", "recall", "density", "coverage")),
        Measure("FID", "inception", "crypko", None, note="weights are not at hand"),
        Measure("AFD", "lbpcascade-3", None, 0.477),
    ]
    measures, verdicts = judge(measures, load_thresholds())
    copies = [Copy(3, 7, 0.02, True)]
    integrity = Integrity([Group([1, 2, 5], 0.1)], True, copies, copies, 0.25, {7: "known"}, {7: pictures[8]})
    submission = Submission(tmp_path_factory.mktemp("page") / "mine.tgz", names, pictures, ["a note"])
    one = LabelScore("<i>aqua", 500, 0.9, 0.95, 80.5, 60.5, 0.12, 0.03)
    target = np.arange(1000) % 2
    by_label = ByLabel(
        "tagged (hair)", ["<i>aqua", "[red]"], target, rng.permutation(target), [one, replace(one, target="[red]")]
    )
    return ShownScore(submission, "crypko", measures, verdicts, rng.random(1000), integrity, by_label)


@pytest.fixture(scope="module")
def pages(score, tmp_path_factory):
    """report.html and leaderboard.html."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "run").mkdir()
    norms = "".join(f"{step},{layer},x,{layer * step}\n" for step in (1, 2) for layer in (1, 2, 3))
    (folder / "run/grad_norms.csv").write_text("step,layer,name,norm\n" + norms)
    (folder / "run/history.csv").write_text("step,fd_anime,afd\n10,500,0.1\n20,200,0.5\n")
    (folder / "report.html").write_text(as_html(score, read_run(folder / "run")))
    strip = base64.b64encode(jpeg_strip(score.submission.pictures, 6)).decode()
    results = [
        {"name": name, "status": "graded", "problems": [], "strip": strip, **as_dict(score)} for name in ("zoe", "ada")
    ]
    results[0]["measures"][0]["value"] = 30.0
    results.append({"name": "eve", "status": "broken", "problems": ["holds 999 pictures"]})
    board.write(results, folder / "leaderboard.html")
    return folder


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize("name", ["report.html", "leaderboard.html"])
def test_every_picture_and_column_has_its_label(pages, name):
    elements = Elements((pages / name).read_text())
    assert elements.all("html")[0]["lang"] == "en"
    assert elements.all("meta")[1]["name"] == "viewport"
    assert elements.all("img")
    assert all(image["alt"].strip() and image["src"].startswith("data:image/") for image in elements.all("img"))
    assert all(head.get("scope") == "col" for head in elements.all("th"))


def test_text_stands_out_from_the_paper_in_light_and_in_dark(pages):
    light, dark = re.findall(r":root \{([^}]*)\}", (pages / "report.html").read_text())

    def luminance(colour):
        colour = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
        values = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    for scheme in (light, dark):
        colours = {name: luminance(value) for name, value in re.findall(r"--(\w+): #(\w+)", scheme)}
        for name in ("ink", "soft", "good", "bad"):
            bright, dim = sorted([colours[name], colours["paper"]], reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, f"--{name} in {scheme}"  # WCAG 2 AA


def test_labels_are_text_wherever_they_are_shown(pages, score):
    page = (pages / "report.html").read_text()
    assert "&lt;i&gt;aqua" in page and "<i>" not in page
    assert "<i>" not in score._repr_html_()
    from rich.console import Console

    console = Console(record=True, width=100, file=io.StringIO())
    console.print(*as_tables(score))
    assert "[red]" in console.export_text()


def test_a_narrow_terminal_keeps_the_score_and_loses_the_tiers(score):
    from rich.console import Console

    for width, tiers in ((32, False), (40, False), (50, False), (75, False), (80, True), (100, True)):
        console = Console(record=True, width=width, file=io.StringIO())
        show(score, console)
        table = console.export_text().partition("KID")[0]
        assert "FD-anime (embedded)" in table and re.search(r"AFD \(lbpcascade-3\) +0\.477", table) and "…" not in table
        assert ("Strong" in table) == tiers


@needs_chromium
@pytest.mark.parametrize("name", ["report.html", "leaderboard.html"])
def test_pages_open_without_errors_and_with_their_pictures(pages, tmp_path, name):
    for width in (390, 1200):
        shot = tmp_path / f"{width}.png"
        seen = chromium(tmp_path, f"--window-size={width},1600", f"--screenshot={shot}", f"file://{pages / name}")
        assert "CONSOLE" not in seen.stderr, seen.stderr
        with Image.open(shot) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.std() > 10
    script = "<script>document.title = [...document.images].filter(i => !i.naturalWidth).length + ' missing, ' "
    script += "+ (document.documentElement.scrollWidth > innerWidth ? 'too wide' : 'fits')</script>"
    (tmp_path / name).write_text((pages / name).read_text().replace("</body>", f"{script}</body>"))
    dom = chromium(tmp_path, "--window-size=390,800", "--dump-dom", f"file://{tmp_path / name}").stdout
    assert "<title>0 missing, fits</title>" in dom


@needs_chromium
def test_the_leaderboard_sorts_by_any_column(pages, tmp_path):
    text = (pages / "leaderboard.html").read_text()

    def order(*clicks):
        script = "".join(f"document.querySelectorAll('th button')[{column}].click();" for column in clicks)
        (tmp_path / "x.html").write_text(text.replace("</body>", f"<script>{script}</script></body>"))
        dom = chromium(tmp_path, "--dump-dom", f"file://{tmp_path / 'x.html'}").stdout
        return re.findall(r"<td>(zoe|ada|eve)</td>", dom)

    assert order() == ["zoe", "ada", "eve"]  # by the distance
    assert order(1) == ["ada", "eve", "zoe"]
    assert order(1, 1) == ["zoe", "eve", "ada"]
    assert order(3, 3) == ["ada", "zoe", "eve"]  # the farthest first, what is missing last


@needs_chromium
def test_the_report_prints(pages, tmp_path):
    file = tmp_path / "report.pdf"
    chromium(tmp_path, f"--print-to-pdf={file}", "--no-pdf-header-footer", f"file://{pages / 'report.html'}")
    assert file.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True).stdout
        for words in ("FD-anime", "Samples", "By label", "Copies of known faces", "Gradient norms", "Training history"):
            assert words in text
