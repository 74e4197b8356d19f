"""The score where it was trained: each part alone, with stand-ins for what is downloaded, and what fails says so."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from data.prepare import prepare
from data.render import render_set
from grader import cli
from grader.features import devices, inception
from grader.features.statistics import Statistics
from grader.metrics.afd import cascade_faces
from grader.metrics.frechet import frechet_distance
from kit import score
from kit.faces import read_faces
from kit.samples import pack
from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose submission has 12 pictures of noise, in an empty folder, with nothing at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIT_SCORE")
    monkeypatch.setattr(score, "PLACES", {".": 3})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    pictures = torch.randint(0, 256, (12, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pack(pictures, tmp_path / "submission.tgz")
    (tmp_path / "faces").mkdir()
    settings = SimpleNamespace(faces="faces")
    return SimpleNamespace(folder=tmp_path, settings=settings, device=torch.device("cpu"), last=tmp_path / "last.pt")


def publish(monkeypatch, data):
    """Makes `data` what the published cascade holds."""
    name, url, _ = score.CASCADE
    monkeypatch.setattr(score, "CASCADE", (name, url, hashlib.sha256(data).hexdigest()))


def test_nothing_is_at_hand_and_the_notebook_goes_on(run, monkeypatch, capsys):
    monkeypatch.setattr(score, "import_module", no)
    score.score_run(run, faces=torch.zeros(30, 3, 64, 64, dtype=torch.uint8), fid=True)
    fid, afd, grader = capsys.readouterr().out.splitlines()
    assert fid.startswith("FID: not measured (KIT_OFFLINE is set); pip install pytorch-fid, and switch the internet on")
    assert "pt_inception-2015-12-05-6726825d.pth" in fid
    assert afd.startswith("AFD: not measured (KIT_OFFLINE is set)") and "lbpcascade_animeface.xml" in afd
    assert grader == "grader: not measured (the grader is not installed); docs/running.md says how to install it"


def no(name):
    raise ImportError(name)


def test_without_a_submission_nothing_is_measured(run, monkeypatch, capsys):
    monkeypatch.setattr(score, "inception", no)
    (run.folder / "submission.tgz").unlink()
    score.score_run(run, fid=True)
    said = capsys.readouterr().out
    assert said == f"no {run.folder}/submission.tgz: run the cell of Your submission first\n"


def test_a_submission_from_before_the_last_checkpoint_is_said_to_be_old(run, capsys):
    archive = run.folder / "submission.tgz"
    run.last.touch()
    for age, old in ((-10, True), (10, False)):  # in seconds; the checkpoint's own comes first in a whole run
        os.utime(archive, (run.last.stat().st_mtime + age,) * 2)
        score.score_run(run)
        line = f"{archive} is older than the last checkpoint: run the cell of Your submission again\n"
        assert (line in capsys.readouterr().out) == old


def test_without_a_gpu_fid_waits_for_a_request(run, capsys):
    score.score_run(run)
    assert capsys.readouterr().out.startswith("FID: it takes some minutes on a CPU")


def test_faces_that_are_gone_cost_fid_only(run, capsys):
    run.settings.faces = "nothing here"
    score.score_run(run, fid=True)
    assert capsys.readouterr().out.startswith("FID: not measured (no faces at 'nothing here'")


def test_fid_is_measured_with_the_given_network(run, monkeypatch, capsys):
    torch.manual_seed(0)
    network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 7))
    monkeypatch.setattr(score, "inception", lambda device: lambda pictures: [network(pictures)[:, :, None, None]])
    real = torch.randint(0, 256, (40, 3, 64, 64), dtype=torch.uint8)
    score.score_run(run, faces=real, fid=True)
    fake = score.read_archive(run.folder / "submission.tgz")
    with torch.no_grad():
        seen, others = (network(some.float() / 255).double().numpy() for some in (fake, real))
        expected = frechet_distance(seen, Statistics.of(others))
    assert f"FID: {expected:.1f} against 40 training faces" in capsys.readouterr().out


def test_its_inception_sees_what_the_graders_sees(inception_weights, monkeypatch):
    monkeypatch.setattr(score, "obtain", lambda *_: inception_weights)
    pictures, device = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.device("cpu")
    found = score.features(score.inception(device), pictures, device)
    right = devices.features(inception.load(inception_weights), pictures.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


def test_the_distance_is_right_where_features_outnumber_pictures():
    repeatable = np.random.default_rng(0)
    fake, real = repeatable.normal(1, 2, (20, 30)), repeatable.normal(0, 1, (50, 30))
    expected = frechet_distance(fake, Statistics.of(real))
    assert score.frechet_distance(*map(torch.from_numpy, (fake, real))) == pytest.approx(expected, rel=1e-6)
    assert score.frechet_distance(*map(torch.from_numpy, (real, real))) == pytest.approx(0, abs=1e-6)


def test_why_nothing_could_be_fetched_is_said_plainly(capsys):
    def unreachable():
        raise URLError(OSError(-2, "Name or service not known"))

    score.say("AFD", unreachable, "switch the internet on")
    said = "AFD: not measured ([Errno -2] Name or service not known); switch the internet on\n"
    assert capsys.readouterr().out == said


def test_afd_is_that_of_the_file_at_hand_and_the_graders(run, rendered, monkeypatch, capsys):
    """A stand-in that finds about half of the drawn faces: what it is run with shows in the share."""
    cascade, archive = Path(cv2.data.haarcascades, "haarcascade_smile.xml"), run.folder / "submission.tgz"
    (run.folder / "weights").mkdir()
    shutil.copy(cascade, run.folder / "weights" / score.CASCADE[0])
    publish(monkeypatch, cascade.read_bytes())
    pack(read_faces(rendered)[0][:60], archive)
    share = cascade_faces(score.read_archive(archive).permute(0, 2, 3, 1).numpy(), cascade).mean()
    classifier = cv2.CascadeClassifier
    monkeypatch.setattr(cv2, "CascadeClassifier", lambda: classifier())  # on Windows it opens not every path
    score.score_run(run)
    assert f"AFD: {share:.3f} of the pictures have a face" in capsys.readouterr().out and 0.2 < share < 0.8


def test_the_grader_speaks_where_it_is_installed(run, rendered, monkeypatch, capsys):
    package = run.folder / "site/grader"
    package.mkdir(parents=True)
    speaks = "import os, sys; print('asked', *sys.argv[1:]); print('with', os.environ.get('GRADER_CASCADE'))\n"
    speaks += "print('weights', os.environ.get('GRADER_INCEPTION'))\n"
    speaks += "print('note: FID needs faces\\nnote: not at hand (leave out --offline)\\nwrote x', file=sys.stderr)"
    (package / "__main__.py").write_text(speaks)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    score.score_run(run, reference="faces.zip")
    said = capsys.readouterr().out
    assert f"asked score {run.folder}/submission.tgz --output {run.folder} --offline --reference faces.zip" in said
    assert "with None\n" in said and "weights None\n" in said
    assert said.endswith("note: FID needs faces\n") and "not at hand" not in said and "wrote x" not in said
    Path(score.CASCADE[0]).touch()  # that AFD was measured with
    publish(monkeypatch, b"")
    score.score_run(run)
    assert f"with {score.CASCADE[0]}\n" in (alone := capsys.readouterr().out) and "needs faces" not in alone
    Path(score.INCEPTION[0]).touch()
    monkeypatch.setattr(score, "INCEPTION", (*score.INCEPTION[:2], hashlib.sha256(b"").hexdigest()))
    for device, weights in (("cpu", None), ("cuda", score.INCEPTION[0])):  # all faces of a reference take a CPU hours
        with monkeypatch.context() as patch:
            patch.setattr(run, "device", torch.device(device))
            patch.setattr(score, "inception", no)
            score.score_run(run, fid=True)
        assert f"weights {weights}\n" in capsys.readouterr().out
    (run.folder / "faces.zip").touch()
    asked = said.partition("asked score ")[2].splitlines()[0].split()
    assert cli.score.make_context("score", asked).params["offline"]  # which the grader's own command understands
    score.score_run(run)
    assert "--reference" not in capsys.readouterr().out
    shutil.copy(rendered / "about.json", "faces")
    score.score_run(run)
    assert "--reference faces\n" in capsys.readouterr().out
    (package / "__main__.py").write_text("import sys; sys.exit('it is broken')")
    score.score_run(run)
    assert "grader: not measured (it is broken)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["set", "set.zip"])
def test_drawn_faces_are_told_from_prepared_ones(name, tmp_path, rendered):
    render_set(drawn := tmp_path / f"drawn/{name}", 2, workers=1)
    shutil.copytree(rendered, faces := tmp_path / "faces", ignore=shutil.ignore_patterns("about.json"))
    prepare(faces, prepared := tmp_path / f"prepared/{name}", limit=2, workers=1)
    prepare(rendered, both := tmp_path / f"both/{name}", limit=2, workers=1)
    assert score.drawn_faces(str(drawn)) == drawn
    assert score.drawn_faces(str(prepared)) is None
    assert score.drawn_faces(str(both)) == both


def test_drawn_faces_are_known_in_a_zip_made_by_hand(tmp_path):
    """It has the folder in it."""
    render_set(tmp_path / "hand/faces", 2, workers=1)
    path = shutil.make_archive(tmp_path / "mine", "zip", tmp_path / "hand")
    assert score.drawn_faces(path) == Path(path)


@pytest.mark.parametrize("about", [None, b"", b"\xff", b"7", b"[" * 100_000])
def test_faces_that_do_not_say_what_they_are_were_not_drawn(about, tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for file, data in {"1.png": b"", "about.json": about}.items():
            if data is not None:
                archive.writestr(file, data)
    with zipfile.ZipFile(tmp_path / "faces.zip") as archive:
        archive.extractall(tmp_path / "faces")
    assert score.drawn_faces(str(tmp_path / "faces.zip")) is score.drawn_faces(str(tmp_path / "faces")) is None


@pytest.mark.long
def test_the_grader_itself_speaks(run, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    few = torch.randint(0, 256, (50, 3, 64, 64), dtype=torch.uint8)
    pack(few.repeat(20, 1, 1, 1), run.folder / "submission.tgz")  # the networks look at a picture once
    score.score_run(run)
    said = capsys.readouterr().out
    assert "FD-ImageNet" in said and "offline scale" in said
    assert (run.folder / "report.html").exists()


def test_a_damaged_file_at_hand_does_not_stand_in_for_a_whole_one(run, monkeypatch, capsys):
    publish(monkeypatch, b"whole")
    monkeypatch.setattr(score, "PLACES", {".": 3, str(run.folder): 2})  # two ways to one file
    Path(name := score.CASCADE[0]).write_bytes(b"who")
    with pytest.raises(RuntimeError, match="KIT_OFFLINE is set"):
        score.obtain(*score.CASCADE)
    assert capsys.readouterr().out == f"{name} is not the file that was published, or is damaged: it is left out\n"
    (run.folder / "weights").mkdir()
    Path("weights", name).write_bytes(b"whole")
    assert score.obtain(*score.CASCADE) == score.at_hand(*score.CASCADE) == Path("weights", name)


def test_an_opencv_without_cascades_has_its_remedy(run, monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(RuntimeError, match=r"has no cascades: pip install 'opencv-python-headless<5'"):
        score.detection_ratio(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_a_download_is_verified_and_kept(run, monkeypatch, tmp_path):
    monkeypatch.delenv("KIT_OFFLINE")
    web = tmp_path / "too/deep/to/be/found"
    web.mkdir(parents=True)
    (web / "file").write_text("right")
    with pytest.raises(RuntimeError, match="gave another file"):
        score.obtain("file", f"file://{web}/", "0" * 64)
    path = score.obtain("file", f"file://{web}/", hashlib.sha256(b"right").hexdigest())
    assert path.read_text() == "right" and path.parent.name == "checkpoints"


def test_no_score_where_none_is_wanted(run, monkeypatch, capsys):
    for variable, value in (("NBGRADER_EXECUTION", "autograde"), ("KIT_SCORE", "0")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, value)
            score.score_run(run)
        assert capsys.readouterr().out == ""
