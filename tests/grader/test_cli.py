"""What every command says for itself, and what it says when something is wrong: one line, and no traceback."""

import errno
import importlib
import io
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import click
import nbformat
import pytest
import torch
from click.testing import CliRunner
from nbclient import NotebookClient
from PIL import Image
from torchvision.utils import save_image
from tqdm import tqdm

from grader import console, workers
from grader.check import own_kernel
from grader.cli import run as program_run
from grader.version import VERSION
from tests.conftest import ROOT
from tests.grader.test_gradient_norms import make_run

PROGRAMS = {
    "grader": "grader.cli",
    "data": "data.cli",
    "baselines.run": "baselines.run",
    "baselines.sample": "baselines.sample",
    "baselines.translate": "baselines.translate",
}


def program(name):
    return importlib.import_module(PROGRAMS[name]).main


def commands():
    """Every program and every command in it, as words."""
    for name in PROGRAMS:
        yield name
        yield from (f"{name} {command}" for command in getattr(program(name), "commands", ()))


def run(words):
    """The exit code and the lines on standard error of a command line, run in this process; those of progress left out,
    which a slow machine shows and a fast one does not."""
    name, *arguments = shlex.split(words)
    result = CliRunner().invoke(program(name), arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, [line for line in result.stderr.splitlines() if line.strip() and "pictures/s]" not in line]


@pytest.fixture
def place(tmp_path, monkeypatch, rendered):
    """A current folder with what the examples name, and with what is wrong in one way or another."""
    monkeypatch.chdir(tmp_path)
    for folder in ("outputs", "submissions", "my_pictures", "empty", "taken", "class/eve", "runs/unsound", "notebooks"):
        Path(folder).mkdir(parents=True)
    for run in ("wgan", "wgan_gp"):
        make_run(tmp_path / "runs" / run, [1, 2], {})
    Path("faces").symlink_to(rendered)
    Path("runs/unsound/grad_norms.csv").write_text("step,layer,name,norm\n1,1,x,nan\n")
    for file in (
        "roster.csv",
        "submission.tgz",
        "faces.zip",
        "faces.safetensors",
        "text.txt",
        "text.npz",
        "text.safetensors",
    ):
        Path(file).write_text("text")
    Path("taken/file").touch()
    save_image(torch.rand(8, 3, 64, 64), "grid.png")
    Image.new("RGB", (100, 100)).save("no_grid.png")
    return tmp_path


@pytest.mark.parametrize("words", list(commands()))
def test_help_says_what_how_and_gives_examples_that_parse(words, place):
    name, *rest = words.split()
    command = program(name).commands[rest[0]] if rest else program(name)
    result = CliRunner().invoke(program(name), [*rest, "--help"], terminal_width=80)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    options = result.stdout.partition("\nOptions:\n")[2].split("\n  -")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            (text,) = (" ".join(option.split()) for option in options if f"{parameter.opts[-1]} " in f"-{option} "[:40])
            assert text[-1] in ".]", parameter.name
            told = "[default: " in text
            assert (
                told
                or parameter.is_flag
                or parameter.name in ("run", "pack", "address", "overrides", "save", "by_label", "kit")
            )
    examples = [line for line in lines if line.startswith("    python -m ")]
    assert examples
    for example in examples:
        name, *arguments = shlex.split(example)[2:]
        parsed = program(name)
        if isinstance(parsed, click.Group):
            parsed, arguments = parsed.commands[arguments[0]], arguments[1:]
        if arguments != ["--help"]:
            parsed.make_context(example, arguments)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_may_not_be_read_is_told_by_its_reader(name):
    """With its remedy and exit code: click's own test of it has neither."""
    top = program(name)
    for command in getattr(top, "commands", {"": top}).values():
        paths = [parameter for parameter in command.params if isinstance(parameter.type, click.Path)]
        assert not [parameter.name for parameter in paths if parameter.type.readable], command.name


@pytest.mark.parametrize(
    "words",
    ["history runs/wgan", "leaderboard class --roster roster.csv", "leaderboard class --points roster.csv"],
)
def test_what_may_not_be_read_is_no_file_of_another_form(place, words, monkeypatch):
    def refused(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    for reader in ("pathlib.Path.iterdir", "grader.roster.bytes_of", "grader.points.bytes_of"):
        monkeypatch.setattr(reader, refused)  # no mode of a file keeps root out
    code, (line,) = run(f"grader {words}")
    assert code == 2 and line.endswith(": cannot be read (Permission denied): check its permissions")


def test_help_imports_nothing_heavy():
    """So that it answers at once."""
    for name, module in PROGRAMS.items():
        code = f"import sys; from {module} import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        heavy = {"torch", "numpy", "cv2", "PIL", "scipy", "safetensors", "matplotlib", "rich", "requests"}
        assert not heavy & set(seen.split()), name


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("grader score", 2, "Missing argument 'SUBMISSION'"),
        ("grader score nowhere", 1, "nowhere: no such file or folder"),
        ("grader score empty", 1, "empty: holds no picture"),
        ("grader score text.txt", 1, "text.txt: not a folder, .zip or .tar[.gz]"),
        ("grader score text.npz", 1, "text.npz: cannot be read"),
        ("grader score faces --reference nowhere", 2, "'nowhere' does not exist"),
        ("grader score faces --loose --reference empty", 2, "empty: not a usable reference"),
        ("grader score faces --loose --reference text.txt", 2, "text.txt: not a usable reference"),
        ("grader score faces --loose --reference text.npz", 2, "text.npz: no statistics of pytorch-fid's form"),
        ("grader score faces --loose --reference text.safetensors", 2, "text.safetensors: no reference"),
        ("grader score faces --output text.txt", 2, "'text.txt' is a file"),
        ("grader score faces --output text.txt/x", 2, "text.txt/x: cannot be written (Not a directory)"),
        ("grader score faces --metrics fids", 2, "fids: choose from fd-imagenet"),
        ("grader score faces --metrics ''", 2, "none is named: choose from fd-imagenet"),
        ("grader score ''", 2, "it is empty: name a file or folder"),
        ("grader leaderboard class -o ''", 2, "it is empty: name a file or folder"),
        ("grader leaderboard class --public ''", 2, "it is empty: name a file or folder"),
        ("data prepare '' out", 2, "it is empty: name a file or folder"),
        ("data prepare faces ''", 2, "it is empty: name a file or folder"),
        ("data fetch text.txt/x.zip", 2, "text.txt: cannot be written (File exists)"),
        ("grader leaderboard class --jobs 3000000000", 2, "--jobs"),
        ("grader check text.txt --seconds 9999999999", 2, "--seconds"),
        ("grader score faces --run nowhere", 2, "'nowhere' does not exist"),
        ("grader score faces --labels text.txt", 2, "--labels is for --by-label FACES. See main score --help"),
        ("grader score faces --attribute hair", 2, "--attribute is for --by-label FACES"),
        ("grader score faces --metrics afd --weights x", 2, "--weights is for fid in --metrics"),
        ("grader score faces --metrics afd --cascade x", 2, "--cascade is for lbpcascade in --metrics"),
        (
            "grader score faces --loose --metrics afd --reference text.npz",
            2,
            "text.npz: statistics for fid, which is not measured",
        ),
        (
            "grader leaderboard class --metrics afd --reference text.npz",
            2,
            "text.npz: statistics for fid, which is not",
        ),
        ("grader reference faces -o faces.zip", 2, "faces.zip: choose a name that ends in .safetensors"),
        ("grader leaderboard class --dask x --jobs 2", 2, "--jobs is for processes of this machine, not for --dask"),
        ("grader score faces --loose --weights nowhere", 2, "nowhere: no such file"),
        ("grader score faces --loose --weights text.txt", 2, "text.txt: wrong checksum"),
        ("grader score faces --loose --cascade text.txt", 2, "text.txt: wrong checksum"),
        ("grader score faces --unknown", 2, "No such option"),
        ("grader scores", 2, "No such command"),
        ("grader --unknown", 2, "No such option"),
        ("grader score faces --ofline", 2, "? See main score --help"),
        ("data --unknown", 2, "No such option"),
        ("data prepare --unknown", 2, "No such option"),
        ("baselines.run --unknown", 2, "No such option"),
        ("grader gradnorm", 2, "Missing argument 'RUNS...'"),
        ("grader gradnorm nowhere", 2, "nowhere/grad_norms.csv: cannot be read"),
        ("grader gradnorm text.txt", 2, "text.txt/grad_norms.csv: cannot be read"),
        ("grader gradnorm runs/unsound", 2, "runs/unsound/grad_norms.csv: norm is nan"),
        ("grader gradnorm runs/wgan -o text.txt/x.png", 2, "text.txt/x.png: cannot be written"),
        ("grader gradnorm runs/wgan -o x.gif", 2, "x.gif: choose a name that ends in .png"),
        ("grader gradnorm runs/wgan -o taken", 2, "taken"),
        ("grader pack outputs -o x.zip", 2, "x.zip: choose a name that ends in .tgz, .tar.gz"),
        ("grader pack outputs -o .tgz", 2, ".tgz: choose a name that ends in .tgz, .tar.gz"),
        ("grader pack outputs -o x.tar", 2, "x.tar: choose a name that ends in .tgz, .tar.gz"),
        ("grader history nowhere", 2, "'nowhere' does not exist"),
        ("grader history text.txt", 2, "'text.txt' is a file"),
        ("grader history empty", 1, "empty: no samples/STEP.tgz"),
        ("grader check nowhere", 2, "nowhere: cannot be read (No such file or directory)"),
        ("grader check empty", 2, "empty: is no file: name a notebook"),
        ("grader check text.txt", 2, "text.txt: not a notebook"),
        ("grader check text.txt --seconds 0", 2, "--seconds"),
        ("grader reference nowhere", 2, "'nowhere' does not exist"),
        ("grader reference empty", 2, "empty: not a usable reference"),
        ("grader reference text.txt", 2, "text.txt: not a usable reference"),
        ("grader reference faces -o text.txt/x.safetensors", 2, "text.txt: cannot be written"),
        ("grader reference faces -o taken", 2, "'taken' is a directory"),
        ("grader leaderboard nowhere", 2, "'nowhere' does not exist"),
        ("grader leaderboard empty", 1, "empty: holds no submission"),
        ("grader leaderboard class --reference empty --metrics afd", 2, "empty: not a usable reference"),
        (
            "grader leaderboard class --metrics afd --dask tcp://127.0.0.1:1",
            2,
            "tcp://127.0.0.1:1: no Dask scheduler answers",
        ),
        ("grader leaderboard class --metrics afd --offline -o text.txt/x", 2, "text.txt/x.parts"),
        ("grader pack nowhere", 1, "nowhere: no such file or folder"),
        ("grader pack empty", 1, "empty: holds no picture"),
        ("grader pack faces", 1, "faces: holds 300 pictures: the course takes exactly 1,000"),
        ("grader slice nowhere -o x", 1, "nowhere: cannot be read (No such file or directory)"),
        ("grader slice empty -o x", 1, "empty is no file"),
        ("grader slice text.txt -o x", 1, "text.txt is not a picture"),
        ("grader slice grid.png no_grid.png -o x", 1, "no_grid.png is 100x100: no grid"),
        ("grader slice grid.png -o taken", 2, "taken: cannot be written (exists)"),
        ("grader slice grid.png -o text.txt/x", 2, "text.txt/x: cannot be written"),
        ("data render taken", 1, "taken: exists already"),
        ("data render text.txt/x --count 1 --workers 1", 2, "text.txt/x: cannot be written"),
        ("data render x.tar.gz --count 1", 1, "x.tar.gz: a set is a folder or a .zip"),
        ("data render x --count 0", 2, "--count"),
        ("data render x --size 3", 2, "--size"),
        ("data draw", 2, "No such command 'draw'. See main --help"),
        ("data prepare nowhere x", 2, "'nowhere' does not exist"),
        ("data prepare empty x --workers 1", 1, "empty: no picture in it could be read"),
        ("data prepare text.txt x", 1, "text.txt: not a folder, .zip or .tar[.gz] that can be read"),
        ("data fetch faces/", 2, "faces: choose a name that ends in .zip. See main fetch --help"),
        ("data fetch new.zip --url nothing", 1, "nothing: is no address of a server"),
        ("baselines.run 99_gan", 2, "99_gan"),
        ("baselines.run 01_gan --set faces", 2, "is not of the form NAME=VALUE"),
        ("baselines.translate 01", 2, "'01' is not one of '01_gan'"),
        ("baselines.sample --seed -1", 2, "--seed"),
        ("baselines.sample --truncation nan", 2, "nan is no number"),
        ("baselines.sample --submission a --output a/b", 2, "--submission a would hold the pictures of --output too"),
        ("baselines.sample --faces nowhere", 2, "'nowhere' does not exist"),
        ("baselines.sample --faces empty", 2, "empty: holds no picture"),
        ("baselines.sample --faces text.txt", 2, "text.txt: not usable"),
        ("baselines.sample --weights text.safetensors", 2, "text.safetensors: holds no generator of notebook 10"),
        ("baselines.sample --submission x.zip", 2, "x.zip: name a folder, or what ends in .tgz or .tar.gz"),
        ("baselines.sample --face-set x.tgz", 2, "x.tgz: name a folder, or what ends in .zip"),
        ("baselines.sample --count 9", 2, "--count is for --face-set"),
        ("baselines.sample --face-set x --faces faces", 2, "--faces is for a call without --face-set"),
        ("baselines.sample --submission taken", 2, "taken is there already"),
        ("baselines.sample --submission text.txt/x", 2, "text.txt: cannot be written"),
        ("baselines.sample --face-set taken", 2, "taken is there already"),
        ("baselines.sample --face-set text.txt/x --count 1", 2, "text.txt: cannot be written"),
        ("baselines.sample --output text.txt/x", 2, "text.txt/x: cannot be written"),
    ],
)
def test_errors_name_the_file_the_reason_and_the_remedy(place, words, code, says, monkeypatch):
    monkeypatch.setattr(workers, "SCHEDULER_SECONDS", 0.5)
    before = sorted(place.rglob("*"))
    exit_code, lines = run(words)
    assert (exit_code, says in lines[-1]) == (code, True), lines
    assert len(lines) == 1, lines
    assert lines[-1].isprintable()
    made = {path.name for path in set(place.rglob("*")) - set(before)}
    assert made <= {"leaderboard.html.parts", "secret.txt"}, made


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("leaderboard class -o roster.html --roster roster.csv", "roster.csv: is needed"),
        ("leaderboard class -o x.html --points x.csv", "x.csv: is needed"),
        ("leaderboard class --reference leaderboard.json", "leaderboard.json: is needed"),
        ("leaderboard class --roster leaderboard.moodle.csv", "leaderboard.moodle.csv: is needed"),
        ("leaderboard class --roster roster.csv --public roster.csv", "roster.csv: is needed"),
        ("leaderboard class -o class/ada.tgz", "class/ada.tgz: is needed"),
        ("leaderboard class --reports class", "class: is needed"),
        ("leaderboard class --reports leaderboard.html.parts", "leaderboard.html.parts: is needed"),
        ("leaderboard class -o x.csv", "x.csv: would be written twice"),
        ("leaderboard class -o x.json", "x.json: would be written twice"),
        ("leaderboard class -o x.html --public ./x.html", "x.html: would be written twice"),
        ("leaderboard class -o ada.html --reports .", "ada.html: would be written twice"),
        ("gradnorm runs/wgan -o runs/wgan/grad_norms.svg", "runs/wgan/grad_norms.csv: is needed"),
        ("gradnorm runs/wgan runs/wgan_gp -o runs/wgan_gp/log.pdf", "runs/wgan_gp/log.csv: is needed"),
        ("reference faces.safetensors -o faces.safetensors", "faces.safetensors: is needed"),
        ("reference faces.safetensors", "faces.safetensors: is needed"),
        ("pack submission.tgz", "submission.tgz: is needed"),
        ("score outputs --by-label faces --labels report.json", "report.json: is needed"),
        ("history runs/wgan --pack best --reference runs/wgan/submission.tgz", "runs/wgan/submission.tgz: is needed"),
    ],
)
def test_nothing_that_is_needed_is_overwritten(place, words, names):
    """It is refused before the work, by name, and every file is as it was."""
    files = (
        "class/ada.tgz",
        "x.csv",
        "leaderboard.json",
        "leaderboard.moodle.csv",
        "report.json",
        "runs/wgan/submission.tgz",
    )
    for name in (*files, "runs/wgan_gp/log.csv"):
        Path(name).write_text("text")
    for roster in ("roster.csv", "leaderboard.moodle.csv"):
        Path(roster).write_text("id,name\nada,Ada\n")
    Path("x.csv").write_text("[points]\nBoss = 1\n")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    code, lines = run(f"grader {words}")
    assert (code, len(lines), names in lines[-1]) == (2, 1, True), lines
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@contextmanager
def full_disk(size):
    """Files may not grow over `size` bytes: what a full disk does, where no disk need be filled."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(os.name == "nt", reason="no such limit")
@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("grader score many --loose --offline --metrics afd --output out", "out/report.html"),
        ("grader gradnorm runs/wgan -o out/x.png", "out/x.png"),
        ("grader reference faces -o out/x.safetensors", "out/x.safetensors"),
        ("grader leaderboard class --offline --metrics afd --jobs 1 -o out/x.html", "out/x.html"),
        ("grader pack many -o out/x.tgz", "out/x.tgz"),
        ("grader slice grid.png -o out/x", "out/x"),
        ("data render out/x --count 9 --workers 1", "out/x: "),
        ("data prepare faces out/x.zip --workers 1", "out/x.zip: "),
        ("baselines.sample --output out", "out/samples.png"),
        ("baselines.sample --face-set out/x --count 9", "out/x: "),
    ],
)
def test_a_full_disk_leaves_nothing_half_written(place, words, file):
    Path("many").mkdir()
    for number in range(1000 if "pack" in words else 6):
        Image.effect_noise((64, 64), 50).save(f"many/{number}.png")
    Path("out").mkdir()
    with full_disk(2000):
        code, lines = run(words)
    assert code == 2
    assert file in lines[-1] and "File too large" in lines[-1], lines
    assert all(line.startswith("note: ") for line in lines[:-1]) or "leaderboard" in words, lines
    left = {path.name for path in Path("out").rglob("*")}
    assert left <= {"report.json", "x.html.parts", "eve.json", "secret.txt"}, left


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", ["grader --help", "grader --version", "grader score --help", "data --help"])
def test_help_that_cannot_be_written_is_one_line(words):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", *words.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode and "standard output: cannot be written" in done.stderr and "Traceback" not in done.stderr


def test_a_broken_pipe_is_no_error_of_ours(place):
    command = f"{sys.executable} -m grader gradnorm {place}/runs/wgan -o {place}/x.png | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr
    assert (place / "x.png").exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal_and_a_line_a_minute_elsewhere(monkeypatch):
    clock = iter(range(0, 1000, 25))  # seconds
    for name in ("grader.console.time.monotonic", "tqdm.std.time"):
        monkeypatch.setattr(name, lambda: next(clock))
    streams = io.StringIO(), Terminal()
    for stream in streams:
        monkeypatch.setattr(sys, "stderr", stream)
        done = console.progress("submissions compared", 10)
        for _ in range(6):
            done(1)
    lines, bar = (stream.getvalue() for stream in streams)
    assert lines == "note: submissions compared: 3 of 10\nnote: submissions compared: 6 of 10\n"
    assert "60%" in bar and "s/ submissions]" in bar and "\n" not in bar
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    done = console.progress("checkpoints", 20_000)
    for _ in range(3):
        done(1000)
    assert stream.getvalue() == "note: checkpoints: 3,000 of 20,000 pictures\n"


def test_a_bar_is_gone_before_a_table_is_printed(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    clock = iter(range(0, 1000, 25))  # seconds
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    with console.bars() as progress:
        progress("reference faces", 0)(7)  # of which nobody knows how many there are
    assert "reference faces: 7" in stream.getvalue()
    assert re.search(r"\r\s*\r$", stream.getvalue())


def test_notes_are_not_glued_to_a_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = tqdm(total=10, file=stream)
    console.note("a line")
    bar.close()
    assert re.search(r"(^|[\r\n])[^|\r\n]*note: a line\n", stream.getvalue())


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_error(place, closed):
    command = f"{sys.executable} -m grader gradnorm {place}/runs/wgan -o {place}/x.png {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "Traceback" not in done.stderr + done.stdout
    assert (place / "x.png").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_version_is_the_projects(name):
    assert CliRunner().invoke(program(name), ["--version"]).stdout == f"{VERSION}\n"


def test_a_stream_of_jupyters_that_cannot_be_reconfigured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["grader", "--version"])
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delattr("builtins.__IPYTHON__", raising=False)  # that of a kernel in this process
    with pytest.raises(SystemExit) as caught:
        program_run()
    assert not caught.value.code


def test_run_in_a_notebook_prints_what_the_command_prints(place):
    """%run -m grader in a real kernel: the same table and verdict, an error as its one line without a traceback of
    SystemExit, and the notebook's variables are still there."""
    Path("few").mkdir()
    for number in range(10):
        shutil.copy(f"faces/{number}.png", "few")
    score = f"score few --loose --offline --metrics afd --output {place}"
    sources = f"x = 7\n%run -m grader {score}", "%run -m grader score nowhere", "x"
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120, kernel_manager_class=own_kernel())
    client.shutdown_kernel = "immediate"
    client.resources = {"metadata": {"path": str(place)}}
    with client.setup_kernel(env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}):
        for index, cell in enumerate(cells):
            client.execute_cell(cell, index)
    scored, failed, after = (cell.outputs for cell in cells)
    shown = "".join(output.data["text/plain"] for output in scored if output.output_type == "display_data")
    assert click.unstyle(shown).split() == CliRunner().invoke(program("grader"), score.split()).stdout.split()
    assert [(output.output_type, output.text) for output in failed] == [("stream", "nowhere: no such file or folder\n")]
    assert after[0].data["text/plain"] == "7"


@pytest.mark.skipif(os.name == "nt", reason="removes the current folder")
def test_a_current_folder_that_is_gone_and_names_that_a_system_does_not_take_are_no_tracebacks(tmp_path):
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone && rmdir ../gone && {sys.executable} -m grader gradnorm run"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment)
    assert (found.returncode, found.stderr) == (2, "the current folder is gone: change to another one\n")
    code = "import sys, pathlib; from grader.files import write_text; write_text(pathlib.Path(sys.argv[1]), 'x')"
    subprocess.run([sys.executable, "-c", code, f"{tmp_path}/中文.csv"], check=True, env=environment)
    assert (tmp_path / "中文.csv").read_text() == "x"
