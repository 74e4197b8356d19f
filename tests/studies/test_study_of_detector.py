"""The study of the detector: shares of faces in sets and runs, and whether probabilities are right."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from studies import detector as study
from studies import train_detector


@pytest.mark.parametrize(("off", "error"), [(0, "0.000"), (0.2, "0.200"), (-0.15, "0.150")])
def test_the_calibration_error_is_how_far_probabilities_are_off(off, error, tmp_path, capsys):
    said = np.repeat([0.25, 0.55, 0.75], 100)
    study._reliability(said, said + off, tmp_path / "plot.png" if off else None)
    out = capsys.readouterr().out
    assert f"expected calibration error {error}" in out
    (row,) = (line.split() for line in out.splitlines() if line.startswith("0.5 to 0.6"))
    assert row[3:] == ["100", f"{0.55 + off:.3f}"]
    assert (tmp_path / "plot.png").exists() == bool(off)


def test_sets_and_runs_are_told_by_the_share_of_faces_that_was_found(monkeypatch, capsys):
    """A detector that calls bright pictures faces, and a cascade that calls a picture one from a higher level on."""

    def pictures(*shades):
        return np.array(shades, np.uint8)[:, None, None, None].repeat(64, 1).repeat(64, 2).repeat(3, 3)

    def cascade(pictures, path, neighbours=3):
        return pictures.mean(axis=(1, 2, 3)) > 40 * neighbours

    monkeypatch.setattr(study, "describe", lambda pictures: pictures.mean(axis=(1, 2, 3))[:, None])
    monkeypatch.setattr(study.detector, "probabilities", lambda rows: rows[:, 0] / 255)
    monkeypatch.setattr(study.detector, "ratio", lambda rows: (rows > 100).mean())
    monkeypatch.setattr(study, "frechet_distance", lambda rows, _: 255 - rows.mean())
    monkeypatch.setattr(study, "no_face", lambda *_: pictures(0)[0])
    monkeypatch.setattr(study, "corrupted", lambda kind, faces, severity: faces // 2)
    for module in (study, train_detector):
        monkeypatch.setattr(module, "cascade_faces", cascade)
    real = pictures(250, 210, 130, 90)
    faces = SimpleNamespace(real=real, tagged=real, held_out=real, submissions={"sent": pictures(110, 10)})
    study.study(faces, [("gan", [pictures(9, 8), pictures(9, 250), real])], None, None)
    said = capsys.readouterr().out
    rows = {line[:34].strip(): line[34:].split() for line in said.splitlines()}
    assert rows["real"] == ["0.750", "0.750", "0.500"]
    assert rows["real, JPEG 75"] == ["0.500", "0.250", "0.000"]
    assert rows["sent"] == ["0.500", "0.000", "0.000"] and rows["no face: flat"] == ["0.000"] * 3
    assert "gan: Spearman of the ratio with the nearness to real faces 1.00, of lbpcascade's 1.00" in said
    (ours,) = (line.split() for line in said.splitlines() if line.startswith("  ours"))
    assert ours == ["ours", "0", "0.5", "0.75"]
    shares = {line[:10]: line.split()[3:] for line in said.splitlines() if " to " in line}
    assert shares["0.0 to 0.1"] == ["3", f"{1 / 3 / 2 / 3:.3f}"]  # of one of them Bayes' rule says 1 / 3
    assert shares["0.9 to 1.0"] == ["3", f"{(0.5 + 0.5 + 1) / 3:.3f}"]  # generated ones count half


def test_the_command_reads_every_checkpoint_of_each_run_under_its_name(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(study, "checked_cascade", lambda path: path.name)
    monkeypatch.setattr(study.Faces, "read", lambda shared: "faces")
    monkeypatch.setattr(study, "checkpoints", lambda run: [run / "1.tgz", run / "2.tgz"])
    monkeypatch.setattr(
        study, "read_submission", lambda path: SimpleNamespace(pictures=f"{path.parent.name} {path.stem}")
    )
    monkeypatch.setattr(study, "study", lambda *given: asked.update(given=given))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "--shared", str(tmp_path), "--plot", "x.png"]
    assert CliRunner().invoke(study.main, arguments, catch_exceptions=False).exit_code == 0
    runs = [("a", ["a 1", "a 2"]), ("b", ["b 1", "b 2"])]
    assert asked["given"] == ("faces", runs, "lbpcascade_animeface.xml", Path("x.png"))
