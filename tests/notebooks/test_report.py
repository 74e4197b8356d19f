"""The report's plot: both settings where both runs are there, a line where one is not."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kit import report, samples


def written(folder, settings, rows):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings))
    lines = [f"{step},{layer},layers.{layer},{norm}\n" for step, layer, norm in rows]
    (folder / "grad_norms.csv").write_text("step,layer,name,norm\n" + "".join(lines))
    return SimpleNamespace(folder=folder)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were shown."""
    figures = []
    monkeypatch.setattr(samples, "show", figures.append)
    monkeypatch.setattr(report, "fetch_run", lambda folder: None)
    return figures


ROWS = [(1, 1, 8.0), (1, 2, 2.0), (2, 1, 4.0), (2, 2, 1.0), (3, 1, 6.0), (3, 2, 1.5), (4, 1, 9e9)]  # 4 was cut off


def test_clipping_is_drawn_beside_the_penalty(tmp_path, drawn, capsys):
    run = written(tmp_path / "wgan", {"clip": 0.01}, ROWS)
    written(tmp_path / "wgan_gp", {"penalty": 10.0}, ROWS)
    report.plot_norms(run, tmp_path / "wgan_gp")
    (axes,) = drawn[0].axes
    assert axes.get_yscale() == "log"
    assert [line.get_label() for line in axes.lines] == ["weight clipping c = 0.01", "gradient penalty λ = 10"]
    assert np.array_equal(axes.lines[0].get_xdata(), [1, 2])
    assert np.array_equal(axes.lines[0].get_ydata(), [6.0, 1.5])  # medians
    assert "weight clipping c = 0.01: largest over smallest layer 4\n" in capsys.readouterr().out
    assert (run.folder / "grad_norms.png").exists()


def test_runs_of_one_setting_are_told_apart_by_their_folders(tmp_path, drawn, capsys):
    run = written(tmp_path / "wgan_gp", {"penalty": 10.0}, ROWS)
    table = written(tmp_path / "longer", {"penalty": 10.0}, ROWS).folder / "grad_norms.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig")  # as Excel saves it
    report.plot_norms(run, tmp_path / "longer")
    labels = ["gradient penalty λ = 10 (wgan_gp)", "gradient penalty λ = 10 (longer)"]
    assert [line.get_label() for line in drawn[0].axes[0].lines] == labels
    said = capsys.readouterr().out
    assert all(f"{label}: largest over smallest layer 4\n" in said for label in labels)


def test_other_numbers_of_layers_and_gradients_of_0_are_told(tmp_path, drawn, capsys):
    run = written(tmp_path / "deep", {"clip": 0.01, "batch_norm": False}, [(1, 1, 0.0), (1, 2, 2.0), (1, 3, 4.0)])
    written(tmp_path / "wgan", {"clip": 0.01, "batch_norm": True}, ROWS)
    report.plot_norms(run, tmp_path / "wgan")
    assert capsys.readouterr().out.splitlines() == [
        "weight clipping c = 0.01 without BatchNorm: largest over smallest layer inf",
        "weight clipping c = 0.01: largest over smallest layer 4",
        "D has a different number of layers in each run (2, 3): set `layers` to the same number",
    ]


@pytest.mark.parametrize("torn", ["5,2", "5,2,layers.2,", "5,2,layers.2,1e-"])
def test_a_torn_row_is_passed_over(tmp_path, torn):
    table = written(tmp_path / "wgan", {}, ROWS).folder / "grad_norms.csv"
    with open(table, "a") as file:
        file.write(f"5,1,layers.1,3.0\n{torn}")
    assert report.read_norms(table).tolist() == [[8, 2], [4, 1], [6, 1.5]]


def test_a_run_that_is_missing_is_named(tmp_path, drawn, capsys):
    report.plot_norms(written(tmp_path / "wgan", {"clip": 0.01}, ROWS), tmp_path / "wgan_gp")
    assert f"{tmp_path}/wgan_gp/grad_norms.csv has no norms yet: train that notebook too" in capsys.readouterr().out
    assert len(drawn[0].axes[0].lines) == 1


def test_no_norms_at_all(tmp_path, drawn, capsys):
    report.plot_norms(written(tmp_path / "wgan", {"clip": 0.01}, []), tmp_path / "other")
    assert capsys.readouterr().out.count("has no norms yet") == 2


def test_the_other_run_is_taken_from_where_a_session_left_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(samples, "show", lambda figure: None)
    monkeypatch.setattr(
        report, "fetch_run", lambda folder: written(folder, {"penalty": 7.0}, ROWS) and print("took up", folder.name)
    )
    report.plot_norms(written(tmp_path / "wgan", {"clip": 0.01}, ROWS), tmp_path / "wgan_gp")
    said = capsys.readouterr().out
    assert "took up wgan_gp" in said and "gradient penalty λ = 7" in said


def test_the_other_run_is_taken_from_its_zip_beside_the_run_on_a_drive(tmp_path, drawn, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = written(tmp_path / "drive/runs/wgan_gp", {"penalty": 7.0}, ROWS)
    fetched = []
    monkeypatch.setattr(report, "fetch_run", fetched.append)
    assert report.run_beside(Path("runs/wgan"), run.folder) == Path("runs/wgan")
    (tmp_path / "drive/runs/wgan.zip").touch()
    assert report.run_beside(Path("runs/wgan"), run.folder) == tmp_path / "drive/runs/wgan"
    assert fetched == [Path("runs/wgan"), tmp_path / "drive/runs/wgan"]


def test_the_other_run_is_found_beside_the_run_on_a_drive(tmp_path, drawn, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "drive/runs/wgan", {"clip": 0.01}, ROWS)
    report.plot_norms(written(tmp_path / "drive/runs/wgan_gp", {"penalty": 7.0}, ROWS), "runs/wgan")
    assert "weight clipping c = 0.01: largest" in capsys.readouterr().out
