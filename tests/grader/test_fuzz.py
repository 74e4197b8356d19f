"""Everything that the grader reads, fed with what `hostile` makes: 10,000 cases with `make fuzz`, a few with the tests.

A case is read, or refused by the package's own error in lines that a terminal can show. It raises nothing else, runs
and unpickles nothing, and neither writes nor reads outside of its own folder; an audit hook watches all of that.
"""

import csv
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader import cli, grading, history, leaderboard, pack, scoring
from grader import gradient_norms as gradnorm
from grader.features import imagenet as network
from grader.features import reference
from grader.inputs import images as pictures
from grader.inputs import runs, submission
from grader.inputs.faces import BadReference
from grader.inputs.runs import BadRun
from grader.inputs.submission import BadSubmission
from grader.metrics.frechet import floor, frechet_distance
from grader.metrics.kid import kernel_distance
from grader.report import board, plots
from grader.report.norms import norms_table
from tests.helpers import graders, hostile

CASES = int(os.environ.get("FUZZ", 200))
SECONDS = 30  # a case that takes longer hangs
FORBIDDEN = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
)
CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "os.utime",
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """Notes what happens outside of `box` that should not, while there is one."""

    def __init__(self):
        self.box, self.seen = None, []
        self.follows = False  # links in a set of the user's own may lead anywhere
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.box is None:
            return
        if event in FORBIDDEN:
            self.seen.append((event, args))
        elif event == "open" and isinstance(args[0], str | bytes):
            path = os.path.abspath(os.fsdecode(args[0]))
            inside = path.startswith(self.box)
            outward = inside and not self.follows and not os.path.realpath(path).startswith(self.box)
            if (args[2] & WRITES and not inside) or outward:
                self.seen.append((event, args))
        elif event in CHANGES and not all(
            f"{os.path.abspath(os.fsdecode(path))}/".startswith(self.box)
            for path in args
            if isinstance(path, str | bytes)
        ):
            self.seen.append((event, args))


watch = Watch()
outcomes = Counter()


def cases(share):
    """A share of all cases, the same ones in every run."""
    return settings(
        max_examples=max(round(CASES * share), 5),
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """A current folder of our own, a course of four pictures, and a summary at the end."""
    base = tmp_path_factory.mktemp("fuzz")
    (base / "cwd").mkdir()
    (base / "outside.txt").write_text("as it was")
    plots.plot_norms([runs.GradientNorms("first", np.ones((3, 2)), 1)], base / "first.png")  # fonts are looked for once
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base / "cwd")
        patch.setattr(submission, "COUNT", 4)
        patch.setattr(submission, "NUMBERS", submission.NUMBERS[:4])
        patch.setattr(pack, "COUNT", 4)
        patch.setattr(tempfile, "tempdir", str(base))
        yield base
    for kind in sorted({kind for kind, _ in outcomes}):
        read, refused = outcomes[kind, "read"], outcomes[kind, "refused"]
        assert read or kind == "histories", f"none of {kind} was read"
        print(f"\n{kind:12} {read + refused:6,} cases: {read:6,} read, {refused:6,} refused", end="")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of the process, imports included
    print(f"\n{sum(outcomes.values()):,} cases in {time.monotonic() - started:.0f} s, at most {peak:,.0f} MiB")


@contextmanager
def case(follows=False):
    """A folder for one case, watched; all around it stays as it was."""
    watch.follows = follows
    base = Path(tempfile.gettempdir())
    before = sorted(os.listdir(base))
    box = Path(tempfile.mkdtemp(prefix="box"))
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    tempfile.tempdir = str(box)
    try:
        yield box
        watch.box = None
        assert not watch.seen
        assert sorted(path for path in os.listdir(base) if path != box.name) == before
        assert os.listdir(base / "cwd") == [] and (base / "outside.txt").read_text() == "as it was"
    finally:
        watch.box = None
        watch.seen.clear()
        signal.alarm(0)
        tempfile.tempdir = str(base)
        shutil.rmtree(box)


class Hangs(BaseException):
    """No error that anything between here and there would take for its own."""


def too_long(*_):
    raise Hangs(f"not done after {SECONDS} s")


def attempt(kind, box, read, *refusals):
    """What `read()` gives, or None if it refuses in printable lines."""
    watch.box = f"{box}/"
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)  # no user sees them: those of an old matplotlib, say
            result = read()
        for warning in said:  # ours, in a line that a terminal can show, and no other's
            assert warning.category is UserWarning and str(warning.message).isprintable(), warning
    except refusals as error:
        lines = getattr(error, "problems", [str(error)])
        assert lines and all(line.isprintable() and 5 < len(line) < 1500 for line in lines), lines
        outcomes[kind, "refused"] += 1
        return None
    finally:
        watch.box = None
    outcomes[kind, "read"] += 1
    return result


@pytest.mark.parametrize("way", ["written", "changed", "read by a link", "run"])
def test_the_watch_sees_what_leaves_the_folder(way, place):
    def leave():
        return {
            "written": lambda: (place / "outside.txt").write_text("as it was"),
            "changed": lambda: os.utime(place / "outside.txt"),
            "read by a link": lambda: (box / "link").read_text(),
            "run": lambda: os.system("true"),
        }[way]()

    with case() as box:
        (box / "link").symlink_to(place / "outside.txt")
        attempt("watched", box, leave)
        assert len(watch.seen) == 1
        watch.seen.clear()


def put(content, path):
    """A file of bytes, or a folder of entries."""
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    return hostile.lay_out(content, path)


def right(found):
    """Whether it is a submission as the rest of the grader expects one."""
    assert found.pictures.dtype == np.uint8 and found.pictures.shape == (len(found.names), 64, 64, 3)
    assert len(set(found.names)) == len(found.names) >= 2
    assert all(line.isprintable() for line in found.names + found.notes)


@cases(0.4)
@given(st.one_of(hostile.archives, hostile.folders), st.sampled_from([".tgz", ".zip", ".npz", ""]), st.booleans())
def test_submissions(content, ending, loose):
    with case() as box:
        source = put(content, box / f"in{ending}")
        if found := attempt("submissions", box, lambda: submission.read_submission(source, loose), BadSubmission):
            right(found)


@cases(0.2)
@given(hostile.pictures, st.sampled_from([None, 64]))
def test_pictures(data, size):
    with case() as box:
        found = attempt("pictures", box, lambda: pictures.decode(data, size), pictures.UnreadablePicture)
        if found:
            pixels, _ = found
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert size is None or pixels.shape == (64, 64, 3)
            assert all(tile.shape == (64, 64, 3) for tile in pack.cut_grid(pixels))


@cases(0.1)
@given(st.one_of(hostile.npzs(), hostile.npzs(), hostile.npys()), st.booleans())
def test_arrays(data, loose):
    with case() as box:
        source = put(data, box / "in.npz")
        if found := attempt("arrays", box, lambda: submission.read_submission(source, loose), BadSubmission):
            right(found)


references = st.one_of(
    st.tuples(st.sampled_from([".zip", ".tgz", ""]), hostile.archives),
    st.tuples(st.sampled_from(["", ".zip"]), hostile.folders),
    st.tuples(st.just(".npz"), st.one_of(hostile.statistics(network.DIM), hostile.npzs())),
    st.tuples(st.just(".safetensors"), hostile.safetensors(network.scale(), network.DIM)),
)


@cases(0.1)
@given(references, st.one_of(st.none(), hostile.jsons({"name": "faces"})))
def test_references(given_, about):
    ending, content = given_
    with case(follows=True) as box, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADER_CACHE", str(box / "cache"))
        source = put(content, box / f"in{ending}")
        if about is not None and source.is_dir():
            shutil.rmtree(source / "about.json", ignore_errors=True)
            (source / "about.json").unlink(missing_ok=True)
            (source / "about.json").write_bytes(about)

        def read():
            if ending != ".npz":
                return scoring.real_faces(source)
            return reference.of_npz(source, network.scale())

        if found := attempt("references", box, read, BadReference):
            assert found.faces.isprintable() and len(found.faces) < 300
            drawn = np.random.default_rng(0).normal(size=(10, len(found.statistics.mean)))
            assert np.isfinite(frechet_distance(drawn, found.statistics))
            if found.sample is not None:
                assert np.isfinite(kernel_distance(drawn, found.sample, subsets=2).value)
                floor(found, len(found.sample))


NORMS = [f"{step},{layer},x,{norm}" for step in (1, 2) for layer, norm in enumerate(("1", "0", "1e-300"), 1)]


@cases(0.08)
@given(
    st.tuples(
        hostile.jsons({"clip": 0.01, "batch_norm": True}),
        hostile.tables(["step", "layer", "name", "norm"], NORMS),
        hostile.tables(["step", "fd_imagenet", "afd"], ["10,500,0.1", "20,0,0.5", "30,1e9,1"]),
    ),
    hostile.names,
    st.integers(0, 9),
)
def test_runs(files, name, drawn):
    with case() as box:
        folder = box / (hostile_name(name) or "run")
        folder.mkdir()
        for file, data in zip(("config.json", "grad_norms.csv", "history.csv"), files, strict=True):
            (folder / file).write_bytes(data)

        def norms():
            found = runs.read_gradient_norms(folder)
            assert list(csv.reader(gradnorm.as_csv([found]).splitlines(keepends=True)))
            table = shown(norms_table([found]))
            if drawn == 0:
                plots.plot_norms([found], box / "x.png")
            return table

        def scores():
            found = runs.read_history(folder / "history.csv")
            if drawn == 0:
                plots.plot_history(found, box / "y.png")
            return history.best(found)

        attempt("runs", box, norms, BadRun)
        attempt("histories", box, scores, BadRun)


def hostile_name(name):
    """A name that the file system takes, or None."""
    name = name.replace("/", "_").replace("\0", "")
    try:
        return name if name not in ("", ".", "..") and len(os.fsencode(name)) < 250 else None
    except UnicodeError:
        return None


def shown(*things) -> str:
    """What rich prints, which a terminal can show."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=100).print(*things)
    text = file.getvalue()
    assert all(line.isprintable() for line in text.splitlines())
    return text


def graded(name, source, options):
    """What `grading.grade` gives, without measuring anything."""
    try:
        found = submission.read_submission(source)
    except BadSubmission as error:
        return {"name": name, "status": "broken", "problems": error.problems}
    return {"name": name, "status": "graded", "problems": found.notes, "measures": [], "verdicts": []}


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = Counter()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        assert not {name for name, _ in attributes} - {
            "lang", "charset", "name", "content", "class", "tabindex", "role", "aria-label", "scope", "data-sort",
            "type", "data-value", "src", "alt",
        }  # fmt: skip


@cases(0.04)
@given(st.dictionaries(hostile.names, st.one_of(hostile.archives, hostile.folders), max_size=4), st.data())
def test_classes(handed_in, data):
    with case() as box, pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "grade", graded)
        folder = box / "class"
        folder.mkdir()
        for name, content in handed_in.items():
            if name := hostile_name(name):
                put(content, folder / (name + (".tgz" if isinstance(content, bytes) else "")))
        page = box / "board.html"

        def grade():
            found = leaderboard.submissions(folder)
            results = grading.grade_all(found, box / "parts", grading.Options(), "x", graders.Serial)
            assert len(results) == len(found)
            return board.write(results, page)

        attempt("classes", box, grade)
        before = [path.read_bytes() for path in box.glob("board.*")]
        for part in box.glob("parts/*"):  # a second time, with what is stored spoilt
            part.write_bytes(data.draw(hostile.spoilt(st.just(part.read_bytes()))))
        for part in list(box.glob("parts/*"))[:1]:
            part.write_bytes(data.draw(hostile.jsons({"seal": "", "name": "x", "problems": []})))
        attempt("classes", box, grade)
        assert [path.read_bytes() for path in box.glob("board.*")] == before
        text = page.read_text(encoding="utf-8")
        assert all(line.isprintable() for line in text.splitlines())
        tags = Tags(text).tags
        assert tags["script"] == 1 and tags["tr"] == 1 + len(leaderboard.submissions(folder))
        with open(page.with_suffix(".csv"), newline="", encoding="utf-8-sig") as file:
            assert len(list(csv.reader(file))) == tags["tr"]
        json.loads(page.with_suffix(".json").read_text())


@cases(0.04)
@given(
    st.sampled_from(["pack", "slice", "gradnorm", "history", "check", "leaderboard", "score", "reference"]),
    st.one_of(hostile.archives, hostile.folders, hostile.npzs(), hostile.jsons({"cells": [], "nbformat": 4})),
    hostile.names,
)
def test_commands(command, content, name):
    with case() as box, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADER_CACHE", str(box / "cache"))
        patch.setattr(grading, "grade", graded)
        patch.setattr(leaderboard, "local", lambda jobs: graders.Serial())
        (box / "out").mkdir()
        source = put(content, box / (hostile_name(name) or "in"))
        made = "made.tgz" if command == "pack" else "made.png"
        options = {
            **{"check": [], "history": [], "score": ["--offline", "--output", str(box / "out")]},
            "leaderboard": ["--offline", "-o", str(box / "out" / made)],
        }
        args = [command, str(source), *options.get(command, ["-o", str(box / "out" / made)])]
        result = attempt("commands", box, lambda: CliRunner().invoke(cli.main, args))
        assert result.exit_code in (0, 1, 2), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert all(line.isprintable() for line in result.output.splitlines()), result.output
        assert "Traceback" not in result.output
        if result.exit_code:
            assert not list((box / "out").iterdir())
