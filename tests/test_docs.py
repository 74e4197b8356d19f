"""README and docs: every command in them is run, every link leads somewhere, and the README stays short."""

import csv
import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from grader.features import imagenet
from grader.metrics import afd
from grader.metrics.copies import DISGUISED
from grader.metrics.duplicates import COLLAPSED
from grader.metrics.optimised import FOUND, SEEN, TOO_NEAR
from grader.results import Measure
from grader.verdict import COPIED, judge, load_thresholds
from kit.run import FREE_SETTINGS
from tests.conftest import ROOT

READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
FOLDERS = [ROOT / folder / "README.md" for folder in ("notebooks", "baselines/weights")]
PAGES = [*READMES, *FOLDERS, *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADER = re.compile(  # tier and minutes of preset cpu in the box at a notebook's top, in English or Chinese
    r"^# \| \*\*(?:Time|時間)\*\* \|(?P<time>.*?) \|\n"
    r"# \| \*\*(?:Tier|等級)\*\* \| (?:\*\*(?P<tier>\w+)\*\*(?:: |：)|none|無)",
    re.MULTILINE | re.DOTALL,
)
TIERS = ("Simple", "Medium", "Strong", "Boss")
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
PLACE = re.compile(r"\]\(((?!http)[^)#]*)#([^)]+)\)")
RESULTS = ROOT / "baselines/results"
SMALL = "--set faces=faces --set steps=2 --set batch_size=8 --set width=2 --set log_every=1 --set hours=0"
SCRIPT = "python baselines/01_gan.py --preset cpu"
MORE = {  # what makes a long command short
    "python -m baselines.run 01_gan --preset cpu": SMALL,
    SCRIPT: SMALL,
    "torchrun --nproc-per-node 2 baselines/01_gan.py --preset t4_3h": SMALL,
    "python -m data render faces/ --count 4000": "--count 40",
    "python -m baselines.sample --face-set made": "--count 40",
}
ELSEWHERE = {
    "python -m data fetch": "needs the internet: tests/data/test_fetch.py downloads from a local server",
    "python -m grader history runs/r3gan": "the same with --pack best is run",
    "python -m grader check notebooks/01_gan.ipynb": "a kernel: tests/grader/test_check.py does it",
    "python -m grader check notebooks/03_wgan.ipynb": "the same",
    "python -m studies.release runs/r3gan --output mine.safetensors": "slow: tests/studies/test_release.py does it",
}
LONG = {
    "torchrun --nproc-per-node 2 baselines/01_gan.py --preset t4_3h",
    "python -m grader check notebooks/zh/01_gan.ipynb",
    "python -m baselines.sample --faces faces.zip",
    SCRIPT,
}
CODES = {"python -m grader check notebooks/zh/01_gan.ipynb": 1}


def commands() -> dict[str, list[str]]:
    """Each command that a page shows after a $, without its comment, once, and the lines that are shown below it."""
    found = {}
    lines = [line for page in PAGES for block in CONSOLE.findall(page.read_text()) for line in block.splitlines()]
    for line in lines:
        if line.startswith("$ "):
            below = found.setdefault(re.sub(r"\s+# .*", "", line[2:]).strip(), [])
        else:
            below.append(line)
    return found


def half_filled(notebook):
    """Fills in the TODOs, the first one right and the other with its labels swapped."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    solved = json.loads((ROOT / "baselines/solved/01_gan.ipynb").read_text(encoding="utf-8"))
    solutions = {cell["id"]: "".join(cell["source"]) for cell in solved["cells"]}
    for cell in content["cells"]:
        if cell["id"].startswith("todo-"):
            cell["source"] = solutions[cell["id"]]
        if cell["id"] == "todo-generator_step":
            cell["source"] = cell["source"].replace("ones_like", "zeros_like")
    notebook.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory, rendered):
    """A folder that holds all that the commands name."""
    place = tmp_path_factory.mktemp("place")
    (place / "baselines").symlink_to(ROOT / "baselines")
    shutil.copytree(ROOT / "notebooks", place / "notebooks")
    half_filled(place / "notebooks/zh/01_gan.ipynb")
    shutil.copytree(rendered, place / "faces")
    shutil.make_archive(place / "faces", "zip", rendered)
    (place / "outputs").mkdir()
    labels = [f"{number}.jpg,{('blue', 'blonde', 'brown')[number % 3]}" for number in range(1, 1001)]
    (place / "outputs/labels.csv").write_text("\n".join(["file,label", *labels]) + "\n")
    few = sorted((place / "faces").glob("*.png"))[:50]  # each many times: the networks look at a picture once
    for number in range(1, 1001):
        with Image.open(few[number % len(few)]) as picture:
            picture.convert("RGB").save(place / f"outputs/{number}.jpg")
    shutil.copytree(place / "outputs", place / "my_pictures", ignore=shutil.ignore_patterns("*.csv"))
    for run in ("gan", "wgan", "wgan_gp", "r3gan"):
        (place / f"runs/{run}/samples").mkdir(parents=True)
        settings = {"wgan": {"clip": 0.03}, "wgan_gp": {"penalty": 10}}.get(run, {})
        (place / f"runs/{run}/config.json").write_text(json.dumps(settings))
        rows = [f"{step},{layer},layers.{layer}.weight,{step / layer}" for step in (50, 100) for layer in range(1, 5)]
        (place / f"runs/{run}/grad_norms.csv").write_text("\n".join(["step,layer,name,norm", *rows]) + "\n")
        with tarfile.open(place / f"runs/{run}/samples/000100.tgz", "w:gz") as archive:
            for picture in sorted((place / "my_pictures").iterdir()):
                archive.add(picture, picture.name)
        shutil.copy(place / f"runs/{run}/samples/000100.tgz", place / f"runs/{run}/submission.tgz")
    (place / "submissions").mkdir()
    shutil.copy(place / "runs/gan/submission.tgz", place / "submissions/b12345678.tgz")
    (place / "roster.csv").write_text("id,name\nb12345678,Ada\nb12345679,Eve\n")
    shutil.copy(ROOT / "grader/points.toml", place / "points.toml")
    (place / "results/default").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (530, 530, 3), np.uint8)).save(
        place / "results/default/generated-1-ema.jpg"
    )
    return place


def in_folder(folder, command):
    """Runs a command of the docs, made short, in a folder."""
    program, *arguments = shlex.split(f"{command} {MORE.get(command, '')}")
    program = [sys.executable, "-m", "torch.distributed.run"] if program == "torchrun" else [sys.executable]
    arguments = [
        name
        for argument in arguments
        for name in ([str(path.relative_to(folder)) for path in folder.glob(argument)] or [argument])
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )


def in_words(lines) -> set[str]:
    """Lines without their figures, and without a table's bare rows: what does not depend on the data."""
    bare = (" ".join(re.sub(r"\d[\d.,]*", "0", line).replace("┃", "│").split()) for line in lines)
    return {line for line in bare if re.search("[a-z]", line)}


def with_reports(command) -> bool:
    return "grader leaderboard" in command and "--reports" in command


@pytest.fixture(scope="module")
def graded(place):
    """The same, with the class graded once, pages and all: every other leaderboard finds its results."""
    (command,) = filter(with_reports, commands())
    done = in_folder(place, command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return place


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.long] if command in LONG else [])
        for command in commands()
        if not command.startswith(("make ", ". "))
    ],
)
def test_a_command_of_the_docs_does_what_they_say(command, place, tmp_path, request):
    if command in ELSEWHERE:
        pytest.skip(ELSEWHERE[command])
    if "grader leaderboard" in command:
        place = request.getfixturevalue("graded")
    if with_reports(command):
        return  # by it the class was graded
    folder = tmp_path / "here"
    absent = [name for name in ("outputs", "my_pictures") if name not in command]  # a thousand files each
    if command.startswith("python -m data"):
        absent.append("faces")  # which it makes
    ignored = shutil.ignore_patterns(*absent)
    shutil.copytree(place, folder, symlinks=True, copy_function=os.link, ignore=ignored)
    done = in_folder(folder, command)
    assert done.returncode == CODES.get(command, 0), done.stdout[-2000:] + done.stderr[-2000:]
    assert in_words(commands()[command]) - in_words((done.stdout + done.stderr).splitlines()) == set()
    if "01_gan" in command and command in MORE:
        assert len([*folder.glob("outputs/*.jpg")]) == 1000
    if command == SCRIPT:
        assert "lr_G=0.0004" in done.stdout


def test_each_command_that_is_run_in_another_way_is_in_the_docs():
    assert {*MORE, *ELSEWHERE, *LONG, *CODES} <= {*commands()}


def test_the_generator_from_python_does_what_its_card_says():
    card = (ROOT / "baselines/weights/README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    exec(code, names := {})
    assert names["pictures"].shape == (8, 3, 64, 64)


def test_the_grader_from_python_does_what_the_page_says(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/report.json.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(code, names := {})
    said = capsys.readouterr().out
    assert "'Boss': " in said and "FD-ImageNet " in said and "AFD " in said
    assert all(hasattr(names["result"], name) for name in ("measures", "verdicts", "integrity", "by_label"))


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_a_make_target_of_the_docs_is_there(command):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", [*READMES, ROOT / "docs/running.md"], ids=lambda page: page.name)
def test_a_page_tells_where_make_installs_before_it_runs_anything_there(page):
    venv = re.search(r"^VENV *:= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    lines = [line for block in CONSOLE.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    firsts = [
        next(i for i, line in enumerate(lines) if line.startswith(f"$ {start}"))
        for start in ("make", f". {venv}/bin/activate", "python -m")
    ]
    assert firsts == sorted(firsts)


def test_the_demo_removes_nothing_but_its_own():
    rules = (ROOT / "Makefile").read_text()
    demo = rules[rules.index("\ndemo:") : rules.index("\ntest:")]
    assert re.findall(r"\brm -rf (.*)", demo) == ["$(DEMO)"]
    places = re.findall(r"(?:faces=|run=|outputs=|--save |--face-set )(\S+)", demo)
    assert len(places) == 5 and all(place.startswith("$(DEMO)/") for place in places)


@pytest.mark.parametrize("target", ["test-oldest", "test-newest", "lock"])
def test_a_make_target_that_wants_uv_says_how_to_get_it(target):
    done = subprocess.run([shutil.which("make"), target], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.endswith(": pip install uv\n"), done.stdout.count("\n")) == (2, True, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    for link, heading in PLACE.findall(page.read_text()):
        target = page.parent / link if link else page
        titles = re.findall(r"^#+ (.*)", target.read_text(), re.M)
        assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, heading


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_readme_is_short_and_begins_with_a_picture(readme):
    lines = readme.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    first = next(number for number, line in enumerate(lines) if line.startswith("!["))
    assert first < next(number for number, line in enumerate(lines) if line.startswith("## "))


def test_both_readmes_say_the_same():
    """What needs no translation: commands and what they print, links, results."""
    english, chinese = (readme.read_text(encoding="utf-8") for readme in READMES)
    assert "(README.zh.md)" in english.splitlines()[2] and "(README.md)" in chinese.splitlines()[2]
    blocks = [block for block in CONSOLE.findall(english) if "grader check" not in block]
    assert blocks == [block for block in CONSOLE.findall(chinese) if "grader check" not in block]
    links = {re.sub("notebooks/zh/(?=.)", "notebooks/", link) for link in LINK.findall(chinese)} - {"README.md"}
    assert links == {*LINK.findall(english)} - {"README.zh.md"}
    for pattern in (r"^#+ ", r"^\| ", r"\d*\.\d+|\d,\d{3}"):  # headings, rows, measured values
        same = [re.findall(pattern, text.replace("4,000 張臉，用它們", ""), re.M) for text in (english, chinese)]
        assert same[0] == same[1]


def tables(page) -> list[dict[str, str]]:
    """The rows of all tables of a page, each with its header."""
    rows, header = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip(" *") for cell in line.split("|")[1:-1]]
        if not cells:
            header = None
        elif not header:
            header = cells
        elif set(line) - {*"|- "}:
            rows.append(dict(zip(header, cells, strict=True)))
    return rows


def measured() -> set[tuple[str, str]]:
    """FD-ImageNet and AFD, as docs write them, of each row of the results, and of each checkpoint there."""
    rows = [(row.get("FD-ImageNet", ""), row.get("AFD embedded")) for row in tables(RESULTS / "README.md")]
    for path in RESULTS.glob("*/history*.csv"):
        with open(path, newline="") as file:
            rows += [(row["fd_imagenet"], row["afd"].lstrip("0")) for row in csv.DictReader(file)]
    return {(f"{float(fd):,.0f}", ratio) for fd, ratio in rows if re.fullmatch(r"[\d.]+", fd)}


def test_the_results_of_the_readme_are_those_that_were_measured():
    """And what they pass by today's thresholds."""
    shown = [row for row in tables(READMES[0]) if "passes" in row]
    assert len(shown) == 10
    for row in shown:
        pairs = [*zip(row["FD-ImageNet"].split(", "), row["AFD"].split(", "), strict=True)]
        assert {*pairs} <= measured(), row["run"]
        for fd, ratio in pairs:
            distance = Measure("FD-ImageNet", imagenet.scale(), "crypko", float(fd.replace(",", "")))
            _, verdicts = judge([distance, Measure("AFD", afd.scale(), None, float(ratio))], load_thresholds())
            assert verdicts[0].best == row["passes"], row["run"]


def test_the_verdict_that_is_drawn_has_the_thresholds_of_today():
    drawn = re.findall("<text[^>]*>([^<]*)</text>", (ROOT / "docs/verdict.svg").read_text(encoding="utf-8"))
    texts = [html.unescape(text).replace("\xa0", " ").strip() for text in drawn]
    scales = {(scale["family"], scale["measure"]): scale for scale in load_thresholds()["scale"]}
    for name, key in (
        ("FD-ImageNet", ("embedded", "FD-ImageNet")),
        ("AFD (embedded)", ("embedded", "AFD")),
        ("FID (inception)", ("published", "FID")),
        ("AFD (lbpcascade-3)", ("published", "AFD")),
    ):
        bars = [text for text in texts[texts.index(name) :] if text.startswith(("≤", "≥"))][: len(TIERS)]
        assert [float(bar[1:]) for bar in bars] == [scales[key][tier] for tier in TIERS], name


def test_the_page_on_scores_has_the_limits_of_today_and_distances_that_were_measured():
    rows = tables(ROOT / "docs/scores.md")
    assert [row["share"] for row in rows if "share" in row] == [f"{x:.0%}" for x in (COPIED, COLLAPSED, DISGUISED)]
    scales = {(scale["family"], scale["measure"]): scale for scale in load_thresholds()["scale"]}
    columns = {
        ("embedded", "FD-ImageNet"): "FD-ImageNet",
        ("embedded", "AFD"): "AFD (embedded)",
        ("published", "FID"): "FID",
        ("published", "AFD"): "AFD (lbpcascade)",
    }
    shown = [row for row in rows if "tier" in row]
    assert [row["tier"] for row in shown] == [*TIERS]
    for scale, column in columns.items():
        assert [float(row[column][2:]) for row in shown] == [scales[scale][tier] for tier in TIERS], column
    *_, near, cascade = [row["sign"] for row in rows if "sign" in row]
    assert re.findall(r"\.\d+", near + cascade) == [f"{x:g}"[1:] for x in (TOO_NEAR, FOUND, SEEN)]
    shown = " ".join(row["FD-ImageNet"] for row in rows if "submissions" in row.get("set", ""))
    distances = re.findall(r"\d[\d,]*\d", shown)
    assert len(distances) == 7 and {*distances} <= {distance for distance, _ in measured()}


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_readme_names_the_tiers_and_times_of_the_notebooks_headers(readme):
    text = readme.read_text(encoding="utf-8")
    aims = dict(re.findall(r"^\| \[.*/(\d\d_\w+)\.ipynb\) \|.*\| ([^|]+) \|$", text, re.MULTILINE))
    masters = sorted((ROOT / "baselines").glob("[01]*.py"))
    assert [*aims] == [master.stem for master in masters]
    minutes = dict(re.findall(r"^\| (\d\d)\D+`cpu` \| [^|]+ \| (\d+) ", text, re.MULTILINE))
    assert len(minutes) == 5
    for master in masters:
        headers = [*HEADER.finditer(master.read_text(encoding="utf-8"))]
        assert len(headers) == 2, master.stem
        for header in headers:
            named = [tier for tier in TIERS if tier in aims[master.stem]]
            assert named == ([header["tier"]] if header["tier"] else []), master.stem
            if time := minutes.get(master.stem[:2]):
                assert re.search(rf"`cpu`(: |：一個 CPU 核心 ){time} (minutes|分鐘)", header["time"]), master.stem


def test_the_notebooks_say_alike_how_long_they_take_and_whether_there_is_a_tier():
    minutes = []
    for master in sorted((ROOT / "baselines").glob("[01]*.py")):
        text = master.read_text(encoding="utf-8")
        times = [
            re.search(r"`cpu`(?:: |：一個 CPU 核心 )([\d 到to]+) (?:minutes|分鐘)", h["time"])
            for h in HEADER.finditer(text)
        ]
        english, chinese = ([int(n) for n in re.findall(r"\d+", time[1])] if time else [] for time in times)
        assert english == chinese, master.stem
        minutes += english
        tierless = not any(header["tier"] for header in HEADER.finditer(text))
        said = text.replace("\n# ", " ")  # as wrapped lines go on
        assert tierless == ("no tier for them" in said) == ("沒有等級" in text), master.stem
    assert f"{min(minutes)} to {max(minutes)} minutes on one CPU core" in (ROOT / "docs/running.md").read_text("utf-8")


def test_the_page_on_running_names_the_settings_that_may_change():
    text = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    (said,) = re.findall(
        r"^To continue a run you may change these settings only: (.*?)\. ", text, re.MULTILINE | re.DOTALL
    )
    assert re.findall("`(.*?)`", said) == [*FREE_SETTINGS]


def test_the_page_of_the_design_has_a_line_for_each_file():
    named, folders = set(), []
    for line in (ROOT / "docs/design.md").read_text(encoding="utf-8").split("```")[1].splitlines():
        indent, name = re.match(r"( *)(\S*)", line).groups()
        if name.endswith("/") and len(indent) <= 4:  # two spaces a level; what is further right goes on from above
            folders = [*folders[: len(indent) // 2], name]
        elif name.endswith(".py") and len(indent) <= 4:
            named.add("".join(folders[: len(indent) // 2]) + name)
    folders = [ROOT / name for name in ("grader", "studies", "data", "baselines/kit")]
    there = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.py")}
    there = {path for path in there if not path.endswith("__.py") and not path.startswith("grader/cli/")}
    assert there - named == set()
    assert [path for path in named if not (ROOT / path).exists()] == []
