"""The pages as a browser shows them, in headless Chromium; skipped where there is none."""

import base64
import io
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from grader.features import imagenet
from grader.grades import HEAD
from grader.inputs.runs import read_run
from grader.inputs.submission import Submission
from grader.metrics import afd
from grader.report import board, plots, words
from grader.report.images import grid
from grader.report.images import strip as jpeg_strip
from grader.report.json import as_dict
from grader.report.page import ShownScore, as_html
from grader.report.scales import APART, scale
from grader.report.terminal import as_tables, show
from grader.results import ByLabel, Copy, Group, Integrity, LabelScore, Measure
from grader.verdict import judge, load_thresholds
from tests.conftest import ROOT

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
        Measure("FD-ImageNet", imagenet.scale(), "crypko", 301.25, floor=73.39),
        Measure("AFD", afd.scale(), None, 0.968),
        Measure("KID", imagenet.scale(), "crypko", 0.43, spread=0.05),
        *(Measure(name, imagenet.scale(), "crypko", 0.5) for name in ("precision", "recall", "density", "coverage")),
        Measure("FID", "inception", "crypko", None, note="weights are not at hand"),
        Measure("AFD", "lbpcascade-3", None, 0.477),
    ]
    measures, verdicts = judge(measures, load_thresholds())
    copies = [Copy(3, 7, 0.02, True)]
    integrity = Integrity([Group([1, 2, 5], 0.1)], True, copies, copies, {7: 0.25}, {7: "known"}, {7: pictures[8]})
    submission = Submission(tmp_path_factory.mktemp("page") / "mine.tgz", names, pictures, ["a note"])
    one = LabelScore("<i>aqua", 500, 0.9, 0.95, 80.5, 60.5, 0.12, 0.03)
    target = np.arange(1000) % 2
    by_label = ByLabel(
        "tagged (hair)", "f", ["<i>aqua", "[red]"], target, rng.permutation(target), [one, replace(one, target="[red]")]
    )
    return ShownScore(submission, "crypko", measures, verdicts, rng.random(1000), integrity, by_label)


@pytest.fixture(scope="module")
def pages(score, tmp_path_factory):
    """report.html and leaderboard.html."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "run").mkdir()
    norms = "".join(f"{step},{layer},x,{layer * step}\n" for step in (1, 2) for layer in (1, 2, 3))
    (folder / "run/grad_norms.csv").write_text("step,layer,name,norm\n" + norms)
    (folder / "run/history.csv").write_text("step,fd_imagenet,afd\n10,500,0.1\n20,200,0.5\n")
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
    cells = [attributes.get("scope") for tag, attributes in elements.found if tag in ("tr", "th")]  # None begins a row
    rows = [scopes.split() for scopes in " ".join(scope or "|" for scope in cells).split("|")[1:]]
    assert rows and all(scopes == ["row"] or {*scopes} == {"col"} for scopes in rows)


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


def test_the_page_on_report_json_names_every_field(score):
    text, found = (ROOT / "docs/report.json.md").read_text(), as_dict(score)
    tables = re.findall(r"^\| Field.*\n\| ---.*\n((?:\| .*\n)+)", text, re.MULTILINE)
    names = [re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))) for table in tables]
    assert names == [[*found], [*found["by_label"]["overall"]]]
    for name, row in found.items():
        if isinstance(row, (list, dict)) and name not in ("notes", "not_looked_for"):  # lines of text
            (told,) = re.findall(rf"^\*\*(?:A row of )?`{name}`.*?\n\n", text, re.MULTILINE | re.DOTALL)
            for field in row if isinstance(row, dict) else row[0]:
                assert f"`{field}`" in told, f"{name}: {field}"


def test_labels_are_text_wherever_they_are_shown(pages, score):
    page = (pages / "report.html").read_text()
    assert "&lt;i&gt;aqua" in page and "<i>" not in page
    assert "<i>" not in score._repr_html_()
    from rich.console import Console

    console = Console(record=True, width=100, file=io.StringIO())
    console.print(*as_tables(score))
    assert "[red]" in console.export_text()


@pytest.mark.parametrize("name", ["faces [crop].zip", "[/]", ":smile:"])
def test_a_sentence_on_the_terminal_keeps_a_name_as_it_is(score, name):
    from rich.console import Console

    console = Console(record=True, width=200, file=io.StringIO())
    verdicts = [replace(verdict, withheld=[name]) for verdict in score.verdicts]
    show(replace(score, reference=name, verdicts=verdicts), console)
    text = console.export_text()
    assert f"not {name}: leave --reference out" in text and f"needs review: {name}." in text


def test_a_narrow_terminal_keeps_the_score_and_loses_the_tiers(score):
    from rich.console import Console

    for width, tiers in ((32, False), (40, False), (50, False), (75, False), (80, True), (100, True)):
        console = Console(record=True, width=width, file=io.StringIO())
        show(score, console)
        table = console.export_text().partition("KID")[0]
        assert "FD-ImageNet  " in table and "…" not in table
        assert re.search(r"AFD \(lbpcascade-3\) +0\.477", table)
        assert ("Strong" in table) == tiers


def on_terminal(score, width):
    from rich.console import Console

    console = Console(record=True, width=width, file=io.StringIO())
    show(score, console)
    return console.export_text()


def test_a_long_label_takes_no_tiers_from_the_other_table(score):
    found = replace(score.by_label, labels=[replace(one, target="silver-white") for one in score.by_label.labels])
    wide, narrow = (on_terminal(replace(score, by_label=found), width) for width in (120, 80))
    assert "mistaken for" in wide and "by label, FD-ImageNet and KID against tagged (hair)" in wide
    assert "mistaken for" not in narrow and "Strong" in narrow and "silver-white" in narrow
    assert "by label, against tagged (hair)" in narrow


def test_few_mistakes_are_not_none(score):
    found = score.by_label.target.copy()
    found[:4] = 1 - found[:4]  # 2 of 500
    assert words.label_rows(replace(score.by_label, found=found))[0][4] == "[red] 0.4%"


def test_a_row_against_other_faces_than_the_title_says_so(score):
    fid = Measure("FID", "inception", "mine [x]", 27.0)
    text = on_terminal(replace(score, measures=[*score.measures, fid]), 80)
    assert re.search(r"FID \(inception\) +27 .*\n *against mine \[x\]", text)
    assert text.count("against mine") == 1 and "Strong" in text


def test_the_report_begins_with_what_a_person_wants(pages):
    page = (pages / "report.html").read_text()
    order = (HEAD, 'class="badge', 'class="scale', ">Samples<", ">Best and worst samples<", ">Copies of known faces<")
    order += (">Nearest known faces<", ">All measures<", ">By label<", ">Training history<", "<details>")
    places = [page.index(part) for part in order]  # after HEAD a student's page has the grade
    assert places == sorted(places)


def few(score, count, **changes):
    """The same with fewer pictures, and what belongs to them."""
    pictures = replace(
        score.submission, pictures=score.submission.pictures[:count], names=score.submission.names[:count]
    )
    measures, verdicts = judge(changes.pop("measures", score.measures), load_thresholds(), count)
    found = replace(score.integrity, groups=[], copies=[], closest=[])
    changes = {"probabilities": score.probabilities[:count], "integrity": found, "by_label": None} | changes
    return replace(score, submission=pictures, measures=measures, verdicts=verdicts, **changes)


def test_every_state_of_a_score_has_its_page(score):
    measures, verdicts = judge(score.measures, load_thresholds(), 1000, score.integrity)
    text = as_html(replace(score, measures=measures, verdicts=verdicts))
    assert "Needs review" in text and "✓ Simple" not in text  # repeats: no tier counts as passed
    honest = replace(score, integrity=None)
    measures, verdicts = judge(score.measures, load_thresholds())
    text = as_html(replace(honest, measures=measures, verdicts=verdicts))
    assert 'class="tier">Strong<' in text and "Boss asks for FD-ImageNet" in text and "≤ 240," in text
    assert "Copies were not looked for" in text
    blank = replace(score.integrity, copies=[], closest=[])
    assert "No picture shows enough to be compared with a known face." in as_html(replace(score, integrity=blank))
    for count in (0, 1, 2):
        text = as_html(few(score, count))
        assert "No verdict" in text and ("Samples" in text) == (count > 0)
        assert ("Best and worst" in text) == (count > 1)
    text = as_html(few(score, 1000, measures=[], integrity=None))
    assert "No verdict" in text and "<table>" not in text and 'class="scale' not in text


def test_a_class_is_told_whose_pictures_are_those_of_the_shipped_generator(score):
    some = replace(score, integrity=replace(score.integrity, released=True))
    (row,) = board.ranked([as_dict(some) | {"name": "mine", "status": "graded", "problems": []}])
    assert "pictures of the generator that the homework kit ships?" in row["remarks"]
    assert any("python -m baselines.sample" in line for line in words.warnings(some))


def test_a_recall_of_real_faces_is_remarked(score):
    some = replace(score, integrity=replace(score.integrity, varied=True))
    (row,) = board.ranked([as_dict(some) | {"name": "mine", "status": "graded", "problems": []}])
    assert "as varied as real faces: cut out of real faces?" in row["remarks"]
    assert any("cut out of real faces?" in line for line in words.warnings(some))


def test_what_was_not_looked_for_stands_beside_the_verdict(score):
    some = replace(score, not_looked_for=["copies of some faces were not looked for: make the file again"])
    line = "Copies of some faces were not looked for: make the file again."
    assert line in words.sentences(some) and line in as_html(some) and line in some._repr_html_()
    assert words.sentences(score) == words.sentences(some)[:-1]
    (row,) = board.ranked([{"name": "ada", "status": "graded", "problems": [], **as_dict(some)}])
    assert some.not_looked_for[0] in row["remarks"]


def test_nearest_known_faces_are_always_shown(score):
    closest, names = [Copy(4, 9, 0.41, False), Copy(5, 8, 0.2504, False)], {9: "crypko/9", 8: "crypko/8"}
    found = replace(score.integrity, copies=[], closest=closest, limits={9: 0.25, 8: 0.25}, names=names, pictures={})
    text = as_html(replace(score, integrity=found))
    assert "5.jpg, crypko/<wbr>9: 0.410 &gt; 0.250" in text and "crypko/<wbr>8: 0.2504 &gt; 0.250" in text
    assert "not at hand as pictures" in text and "python -m data fetch" in text and "safetensors" not in text
    own = replace(found, limits={9: 0.19, 8: 0.25}, names={9: "mine/9", 8: "crypko/8"})  # kept by `reference`
    text = as_html(replace(score, integrity=own))
    assert "mine/<wbr>9: 0.410 &gt; 0.190" in text and "python -m data fetch" not in text
    assert "in place of the .safetensors" in text
    found = replace(found, pictures={9: score.submission.pictures[0]})
    text = as_html(replace(score, integrity=found))
    assert 'alt="Known face crypko/9"' in text and "at hand as pictures" not in text


def test_the_scale_leads_to_real_faces():
    measures = [
        Measure("FID", "inception", "crypko", value, floor=floor)
        for value in (171.0, 0.0, 1e9)
        for floor in (20.0, None)
    ]
    judged, _ = judge(measures, load_thresholds())
    for measure in judged:
        found = scale(measure)
        places = [mark.place for mark in found.marks]
        assert [mark.label for mark in found.marks][:4] == ["Simple", "Medium", "Strong", "Boss"]
        assert places == sorted(places) and 0 < min([found.place, *places]) <= max([found.place, *places]) < 100
        assert all(
            mark.reached == (measure.value <= bar) for mark, bar in zip(found.marks, (400, 190, 170, 100), strict=False)
        )
        for screen, gap in APART.items():
            labels = [mark.label_at[screen] for mark in found.marks]
            assert (np.diff(labels) >= gap - 1e-9).all() and labels[0] >= gap / 2 and labels[-1] <= 100 - gap / 2
    assert scale(judged[0]).marks[1].place < scale(judged[0]).place < scale(judged[0]).marks[2].place  # 190, 171, 170


def test_numbers_are_written_out():
    distance = Measure("FID", "inception", None, 0.0)
    texts = {None: "–", 64.93: "64.93", 9999.4: "9999", 9999.7: "10,000", 12346.4: "12,346", 2e9: "2e+09"}
    assert [words.number(distance, value) for value in texts] == [*texts.values()]


def test_a_number_does_not_read_as_a_threshold_that_it_is_not():
    measures = [Measure("FD-ImageNet", imagenet.scale(), "crypko", value) for value in (445.04, 445.0, 445.0004)]
    measures += [Measure("AFD", afd.scale(), None, 0.4996)]
    judged, _ = judge(measures, load_thresholds())
    assert [words.number(one, one.value) for one in judged] == ["445.04", "445", "445.0004", "0.4996"]
    assert [one.passed["Medium"] for one in judged] == [False, True, False, False]


def test_the_board_writes_numbers_as_the_page_does():
    """444.96 passes Medium and 445.04 does not: neither reads as 445, and they share no rank."""
    values = {"eve": 12346.4, "ada": 444.96, "kim": 445.04, "bob": 445.041}
    measures = [Measure("FD-ImageNet", imagenet.scale(), "crypko", value) for value in values.values()]
    judged, _ = judge(measures, load_thresholds())
    about = {"status": "graded", "problems": []}
    results = [about | {"name": name, "measures": [asdict(one)]} for name, one in zip(values, judged, strict=True)]
    rows = board.ranked(results)
    shown = [(row["name"], row["rank"], row["texts"]["FD-ImageNet"]) for row in rows]
    assert shown == [("ada", 1, "444.96"), ("bob", 2, "445.04"), ("kim", 2, "445.04"), ("eve", 4, "12,346")]
    assert all(f">{text}</td>" in board.as_page(rows, "board") for *_, text in shown)


def test_real_faces_are_referred_to_only_where_they_have_a_number(score):
    (row,) = (one for one in score.measures if one.measure == "FD-ImageNet")
    assert words.good(row) == "lower; see Real faces" and words.good(replace(row, floor=None)) == "lower"


def test_the_page_says_what_is_dotted(pages):
    run, bars, same = replace(read_run(pages / "run"), norms=None), {"Simple": 0.1}, "the same faces as this score"
    texts = [
        plots.of_run(run, *lines)[0]["text"] for lines in (({}, {}), ({}, bars), (bars, bars), ({plots.REAL: 1}, bars))
    ]
    assert ["Dotted: the tiers" in text for text in texts] == [False, True, True, True]
    assert [same in text for text in texts] == [False, False, True, True]
    assert ["real faces" in text for text in texts] == [False, False, False, True]


def test_the_history_is_drawn_with_the_tiers(pages, score):
    from matplotlib.figure import Figure

    history = read_run(pages / "run").history
    figure = Figure()
    plots._draw_history(figure, history, {"Simple": 730, "real faces": 10}, {"Simple": 0.0})
    upper, lower = figure.axes
    assert [text.get_text() for text in upper.texts] == ["Simple", "real faces"]
    assert {730.0, 10.0} <= {line.get_ydata()[0] for line in upper.lines}
    low, high = upper.get_ylim()
    assert low < 10 and high > 730
    assert [text.get_text() for text in lower.texts] == ["Simple"]


def test_pictures_and_plots_follow_a_dark_page(pages):
    lines = grid(np.full((3, 64, 64, 3), 9, np.uint8), np.array([False, True, False]), columns=2)
    assert lines[0, 0, 3] == 0 and tuple(lines[0, 71]) == (214, 58, 48, 255) and lines[10, 10, 3] == 255
    assert lines[-1, -1, 3] == 0  # where there is no picture
    page = (pages / "report.html").read_text()
    dark = re.findall(
        r'<source media="screen and \(prefers-color-scheme: dark\)" srcset="data:image/png;base64,([^"]*)"', page
    )
    assert len(dark) == 2
    for png in dark:
        corner = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").getpixel((0, 0))
        assert corner == (0x17, 0x19, 0x1C)


def test_verdict_and_remarks_stand_right_after_the_name(pages):
    page = (pages / "leaderboard.html").read_text()
    heads = re.findall(r'<th scope="col".*?>(?:<button type="button">)?([^<]+)', page)
    assert heads[:6] == ["#", "Name", "Passed", "Remarks", "Samples", "FD-ImageNet"]
    cells = re.findall(r"<td.*?</td>", page.partition(">zoe</th>")[2], re.DOTALL)
    assert ">Strong<" in cells[0] and "1 copy of a known face" in cells[1] and "<img" in cells[2]


def test_a_row_that_was_not_judged_is_not_called_without_a_tier():
    def page(family):
        verdict = {"family": family, "best": None, "withheld": [], "passed": {"Simple": False}, "judged": True}
        result = {"name": "a", "status": "graded", "problems": [], "measures": [], "verdicts": [verdict]}
        return board.as_page(board.ranked([result]), "board")

    assert ">no tier<" in page("embedded") and ">no tier<" not in page("drawn")


def test_the_board_says_which_faces_it_is_against_and_why_nothing_is_judged():
    def result(name, *references, passed=None):
        measures = [
            {"measure": "FD-ImageNet", "by": "x", "value": 9.0, "reference": reference} for reference in references
        ]
        verdict = {"family": "embedded", "best": None, "withheld": [], "passed": {"Simple": passed}}
        verdict["judged"] = passed is not None
        return {"name": name, "status": "graded", "problems": [], "measures": measures, "verdicts": [verdict]}

    rows = board.ranked([result("a", "mine", None), result("b", "mine", "<another>", passed=False)])
    assert "Compared with the faces of “mine” and the faces of “&lt;another&gt;”." in board.as_page(rows, "board")
    reason = "not judged: other faces, another detector, or a measure is missing"
    assert {row["name"]: row["remarks"] for row in rows} == {"a": [reason], "b": []}


def test_the_board_takes_its_columns_from_the_measures(tmp_path):
    def result(name, **values):
        measures = [
            {"measure": measure, "by": by, "value": value, "family": family}
            for measure, (by, value, family) in values.items()
        ]
        return {"name": name, "status": "graded", "problems": [], "measures": measures, "verdicts": []}

    results = [
        result("a", KID=("x", 2.0, None), FID=("y", 7.0, "published"), recall=("x", None, None)),
        result("b", KID=("x", 1.0, None), FID=("y", 8.0, "published"), AFD=("lbpcascade-3", 0.5, "published")),
    ]
    rows = board.ranked(results)
    assert [(row["rank"], row["name"]) for row in rows] == [(1, "a"), (2, "b")]  # by the judged distance
    assert list(rows[0]["values"].items()) == [("FID", 7.0), ("AFD (lbpcascade-3)", None), ("KID", 2.0)]


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
        return re.findall(r">(zoe|ada|eve)</th>", dom)

    assert order() == ["zoe", "ada", "eve"]  # by the distance
    assert order(1) == ["ada", "eve", "zoe"]
    assert order(1, 1) == ["zoe", "eve", "ada"]
    assert order(4, 4) == ["ada", "zoe", "eve"]  # the farthest first, what is missing last


@needs_chromium
def test_the_report_prints(pages, tmp_path):
    file = tmp_path / "report.pdf"
    chromium(tmp_path, f"--print-to-pdf={file}", "--no-pdf-header-footer", f"file://{pages / 'report.html'}")
    assert file.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True).stdout
        for part in (
            "FD-ImageNet",
            "Samples",
            "By label",
            "Copies of known faces",
            "Gradient norms",
            "Training history",
        ):
            assert part in text
        for tiers in ("≤ 1250.*≤ 445.*≤ 340.*≤ 240", "≥ ?0 ?✓.*≥ 0.5.*≥ 0.85.*≥ 0.9"):
            assert re.search(tiers, text)  # each row of the table whole
    if shutil.which("pdftoppm"):
        subprocess.run(["pdftoppm", "-r", "20", "-gray", file, tmp_path / "page"], check=True)
        *pages, _ = sorted(tmp_path.glob("page-*.pgm"))
        for page in pages:
            with Image.open(page) as picture:
                rows = np.flatnonzero(np.asarray(picture).min(axis=1) < 200)
            assert rows[-1] > 0.55 * picture.height, f"{page.name} is half empty"
