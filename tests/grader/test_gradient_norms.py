"""Gradient-norm reports from what the notebooks write."""

import csv
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from grader import cli
from grader.gradient_norms import as_csv, compare
from grader.inputs.runs import BadRun, GradientNorms, Run
from grader.inputs.runs import read_gradient_norms as read_run
from grader.inputs.runs import read_run as read_whole
from grader.report.norms import norms_table
from grader.report.plots import _fonts, _legible, of_run
from grader.report.plots import plot_norms as plot


def make_run(folder, norms, config):
    """A run whose layer k has norms[k] · (1, 2, 3, 4, 5) over five steps."""
    folder.mkdir()
    with open(folder / "grad_norms.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "layer", "name", "norm"])
        for step in range(1, 6):
            rows.writerows([step * 10, layer, f"layers.{layer}", norm * step] for layer, norm in enumerate(norms, 1))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_quartiles_and_labels(tmp_path):
    run = read_run(make_run(tmp_path / "a", [1, 0.1, 1e-4], {"clip": 0.01}))
    assert run.label == "weight clipping c=0.01"
    assert run.steps == 5
    np.testing.assert_allclose(run.quartiles, np.outer([2, 3, 4], [1, 0.1, 1e-4]))
    assert run.ratio == pytest.approx(1e4)
    assert read_run(make_run(tmp_path / "b", [1], {"penalty": 10.0})).label == "gradient penalty λ=10"
    free = read_run(make_run(tmp_path / "c", [1], {"clip": 0.1, "batch_norm": False}))
    assert free.label == "weight clipping c=0.1 without BatchNorm"
    assert read_run(make_run(tmp_path / "plain", [1], {})).label == "plain"


def test_the_command_plots_prints_and_writes(tmp_path):
    clipped = make_run(tmp_path / "clipped", [1, 1e-2, 1e-4, 1e-6], {"clip": 0.01})
    deeper = make_run(tmp_path / "penalty", [1, 2, 1, 2, 1, 2], {"penalty": 10})
    result = CliRunner().invoke(cli.main, ["gradnorm", str(clipped), str(deeper), "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 0, result.output
    assert "largest / smallest" in result.stdout
    assert "1e+06" in result.stdout
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").startswith("\ufeffsetting,")  # for Excel on Windows
    with open(tmp_path / "out.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert float(rows[3]["median"]) == pytest.approx(3e-6)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 800


def test_a_table_that_excel_saved_is_read(tmp_path):
    path = make_run(tmp_path / "a", [1, 2], {}) / "grad_norms.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_run(tmp_path / "a").steps == 5


def test_runs_of_one_setting_are_told_apart_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("one", "two"):
        Path(place).mkdir()
        make_run(Path(place, "gp"), [1, 2], {"penalty": 10})
    for name, settings in (("gp", {"penalty": 10}), ("longer", {"penalty": 10}), ("clipped", {"clip": 0.01})):
        make_run(Path(name), [1, 2], settings)

    def labels(*runs):
        return [run.label for run in compare([*map(Path, runs)], Path("x.png"))]

    assert labels("gp", "longer", "clipped") == [
        "gradient penalty λ=10 (gp)",
        "gradient penalty λ=10 (longer)",
        "weight clipping c=0.01",
    ]
    assert labels("one/gp", "two/gp") == ["gradient penalty λ=10 (one/gp)", "gradient penalty λ=10 (two/gp)"]
    with open("x.csv", newline="", encoding="utf-8-sig") as file:
        assert {row["setting"] for row in csv.DictReader(file)} == {*labels("one/gp", "two/gp")}


@pytest.mark.parametrize("runs", [2, 4, 9, 14])
def test_runs_and_numbers_are_whole_in_a_narrow_table(runs):
    names = [f"gradient penalty λ=10 (runs/wgan_gp_seed{number})" for number in range(runs)]
    some = [GradientNorms(name, np.full((3, 2), 1.234e-6), 5) for name in names]
    with (console := Console(width=80)).capture() as shown:
        console.print(norms_table(some))
    lines = [re.split("[┃│]", line) for line in shown.get().splitlines() if line[:1] in "┃│"]
    cells = ["".join(part.strip() for part in column) for column in zip(*lines, strict=True)][2:-1]
    assert [re.sub(r"\s", "", cell) for cell in cells] == [
        f"{name}1.23e-061.23e-061".replace(" ", "") for name in names
    ]


def test_labels_in_letters_that_no_font_has_are_numbered(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr("grader.report.plots.FONTS", ("DejaVu Sans",))
    _fonts.cache_clear()
    runs = [make_run(tmp_path / name, [1, 2], {}) for name in ("plain", "實驗二")]
    read = [read_run(run) for run in runs]
    assert [run.label for run in _legible(read)] == ["plain", "run 2"]
    compare(runs, tmp_path / "x.png")
    _fonts.cache_clear()
    assert {str(one.message) for one in recwarn if one.category is UserWarning} == {
        "no font here writes 實驗二: it is run 2 in the plot"
    }
    assert "實驗二" in (tmp_path / "x.csv").read_text(encoding="utf-8")
    (plot,) = of_run(Run(read[1], None), {}, {})
    assert ", 實驗二: quartiles" in plot["text"]  # which browsers write


def test_a_font_that_is_gone_is_passed_over(monkeypatch):
    """Matplotlib keeps its list for long."""
    from matplotlib import font_manager

    gone = font_manager.FontEntry("/nowhere/NotoSansCJK.ttc", "Noto Sans CJK TC")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist, gone])
    _fonts.cache_clear()
    assert "Noto Sans CJK TC" not in _fonts()
    _fonts.cache_clear()


HEAD = "step,layer,name,norm\n"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "a,b\n1,2\n",
        HEAD + "1,1,x,2\n2,1,x,3\n2,2,y,4\n",
        HEAD + "1,1,x,2\n1,1,x,3\n2,1,x,4\n2,2,y,4\n",  # as many rows as there should be
        HEAD + "1,1,x,nan\n",
        HEAD + "1,1,x,1e999\n",
        HEAD + "1,-1,x,1\n",
        HEAD + "99999999999999999999,1,x,1\n",
        HEAD + "1\n",
        HEAD + '"' + "x" * 200_000,
        HEAD + "\0\udcff",
        HEAD + "".join(f"1,{layer},x,1\n" for layer in range(1001)),
    ],
)
def test_unusable_runs(tmp_path, content):
    if content is not None:
        (tmp_path / "grad_norms.csv").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BadRun, match=r"grad_norms\.csv"):
        read_run(tmp_path)
    result = CliRunner().invoke(cli.main, ["gradnorm", str(tmp_path), "-o", str(tmp_path / "out.png")])
    assert result.exit_code == 2
    assert not (tmp_path / "out.png").exists()


def test_a_table_that_is_too_long_is_refused_for_its_length(tmp_path, monkeypatch):
    name = "x" * 130_000  # 35 MB in few rows: more than a picture may have
    (tmp_path / "grad_norms.csv").write_text(HEAD + "".join(f"{step},1,{name},1\n" for step in range(270)))
    assert read_run(tmp_path).steps == 270
    monkeypatch.setattr("grader.inputs.runs.MAX_BYTES", 10**7)
    with pytest.raises(BadRun, match=r"grad_norms\.csv: has more than 10 MB: .* larger norms_every$"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", ["", HEAD, HEAD + "1,1,x", HEAD + "1,1,x,2\n1,2,y", HEAD + "1,1,x,2\n1"])
def test_a_run_that_recorded_nothing_is_scored_without_norms(tmp_path, content):
    """The notebooks write the column names when a run begins; 05 and 07 record no norms."""
    (tmp_path / "grad_norms.csv").write_text(content)
    assert read_whole(tmp_path) == Run(None, None)
    result = CliRunner().invoke(cli.main, ["gradnorm", str(tmp_path), "-o", str(tmp_path / "out.png")])
    assert (result.exit_code, result.stderr) == (
        2,
        f"{tmp_path}/grad_norms.csv: holds no row: this run recorded nothing here yet\n",
    )


@pytest.mark.parametrize(
    ("steps", "torn"),
    [
        *(("1,1,x,2\n1,2,y,3\n2,1,x,4\n2,2,y,5\n", torn) for torn in ("3", "3,1,x", "3,1,x,9\n", "3,1,x,9\n3,2,y,1")),
        ("1,1,x,2\n1,2,y,3\n", "2,1,x"),
        ("1,1,x,2\n2,1,x,4\n", "3,1,x"),
    ],
)
def test_a_last_step_that_is_not_whole_does_not_count(tmp_path, steps, torn):
    """And no other is lost, as of a file made by hand, whose last line does not end."""
    (tmp_path / "grad_norms.csv").write_text(HEAD + steps)
    norms = read_run(tmp_path)
    (tmp_path / "grad_norms.csv").write_text(HEAD + steps + torn)
    found = read_run(tmp_path)
    assert found.steps == norms.steps
    np.testing.assert_array_equal(found.quartiles, norms.quartiles)


def test_what_is_left_out_or_cannot_be_read_is_noted(tmp_path):
    steps = "1,1,x,2\n1,2,y,3\n2,1,x,4\n2,2,y,5"
    (tmp_path / "grad_norms.csv").write_text(HEAD + steps)
    with pytest.warns(UserWarning, match=r"grad_norms.csv: its last line does not end, so step 2 is left out: .*break"):
        assert read_run(tmp_path).steps == 1
    (tmp_path / "grad_norms.csv").write_text(HEAD + steps + "\n")
    (tmp_path / "config.json").write_text('{"clip": 0.01')
    with pytest.warns(UserWarning, match=r"config.json: cannot be read \(.*\), so the run is called by its folder"):
        assert read_run(tmp_path).label == tmp_path.name


def test_norms_that_are_all_0_are_drawn_without_a_word_of_matplotlib(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot([read_run(make_run(tmp_path / "zero", [0, 0], {}))], tmp_path / "x.png")


def test_a_table_of_somebody_else_is_kept(tmp_path):
    """hw6.csv is the class list beside hw6.png, say."""
    run, output = make_run(tmp_path / "run", [1, 2], {}), tmp_path / "hw6.png"
    (tmp_path / "hw6.csv").write_text("id,name\n1,Ada\n")
    for notes in (1, 0):
        printed = CliRunner().invoke(cli.main, ["gradnorm", str(run), "-o", str(output)])
        assert printed.exit_code == 0 and printed.stderr.count("kept as hw6.before.csv") == notes
    assert (tmp_path / "hw6.before.csv").read_text() == "id,name\n1,Ada\n"
    assert (tmp_path / "hw6.csv").read_text("utf-8-sig").startswith("setting,layer")
    assert not (tmp_path / "hw6.before2.csv").exists()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_plot_of_somebody_else_is_kept(tmp_path, ending):
    """As a student draws it, with Matplotlib too."""
    run, output = make_run(tmp_path / "run", [1, 2], {}), tmp_path / f"gradnorm.{ending}"
    Figure().savefig(output)
    drawn = output.read_bytes()
    for notes in (1, 0):
        printed = CliRunner().invoke(cli.main, ["gradnorm", str(run), "-o", str(output)])
        assert printed.exit_code == 0 and printed.stderr.count(f"kept as gradnorm.before.{ending}") == notes
    assert (tmp_path / f"gradnorm.before.{ending}").read_bytes() == drawn


@pytest.mark.parametrize(
    "config", ["[]", "1", '{"clip": "x"}', '{"clip": null}', '{"penalty": [1]}', "[" * 100_000, ""]
)
@pytest.mark.parametrize("name", ["a, b", "$x$y_", "$\\frac$", "[red]", "_hidden", "\x1b[31m"])
def test_labels_are_no_markup(tmp_path, name, config):
    folder = make_run(tmp_path / name, [1, 2], {})
    (folder / "config.json").write_text(config)
    run = read_run(folder)
    assert run.label == name.replace("\x1b", r"\x1b")
    assert [row[0] for row in csv.reader(as_csv([run]).splitlines())] == ["setting", run.label, run.label]
    if config == "[]":
        plot([run], tmp_path / "x.png")
        printed = CliRunner().invoke(cli.main, ["gradnorm", str(folder), "-o", str(tmp_path / "out.png")])
        assert run.label in printed.stdout


@pytest.mark.parametrize("name", ["王" * 40, "a.b" * 60])
def test_a_plot_may_have_a_long_name(tmp_path, name):
    folder = make_run(tmp_path / "a", [1, 2], {})
    result = CliRunner().invoke(cli.main, ["gradnorm", str(folder), "-o", str(tmp_path / f"{name}.png")])
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert picture.format == "PNG"


def test_a_plot_is_a_picture(tmp_path):
    folder = make_run(tmp_path / "a", [1, 2], {})
    for name in ("x.txt", "x.csv", "x"):
        result = CliRunner().invoke(cli.main, ["gradnorm", str(folder), "-o", str(tmp_path / name)])
        assert result.exit_code == 2
        assert ".png, .svg, .pdf" in result.stderr
    assert CliRunner().invoke(cli.main, ["gradnorm", str(folder), "-o", str(tmp_path / "x.svg")]).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a", "x.svg", "x.csv"}
