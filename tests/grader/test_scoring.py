"""The command line as a user meets it: verdicts, reports, exit codes, and what is left behind when something fails."""

import csv
import errno
import inspect
import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from grader import cli, grading, score
from grader.features import anime, devices, imagenet, reference
from grader.features.reference import shipped_reference
from grader.features.statistics import Statistics
from grader.inputs import faces, known_faces
from grader.inputs.archives import members
from grader.inputs.images import decode, jpeg
from grader.inputs.known_faces import BadFingerprints, Known
from grader.inputs.submission import COUNT, Submission, read_submission
from grader.metrics import afd
from grader.metrics.frechet import frechet_distance
from grader.metrics.registry import METRICS, NAMES, Against, Sample, selected
from grader.pack import tgz
from grader.progress import silent
from grader.report import board, words
from grader.report.json import as_dict
from grader.results import Integrity, Measure
from grader.scoring import Scorer, keep_reference


def run(*args):
    return CliRunner().invoke(cli.main, ["score", *map(str, args)])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, rendered):
    """A submission of drawn faces: 300 of them, repeated."""
    folder = tmp_path_factory.mktemp("submission") / "outputs"
    folder.mkdir()
    for number in range(COUNT):
        Image.open(rendered / f"{number % 300}.png").save(folder / f"{number + 1}.jpg")
    return folder


@pytest.fixture(scope="module")
def generated(tmp_path_factory, rendered):
    """The drawn faces under the name of the demo's, which have tiers."""
    folder = tmp_path_factory.mktemp("generated") / "faces"
    shutil.copytree(rendered, folder)
    (folder / "about.json").write_text('{"name": "generated"}')
    return folder


def test_scored_offline_with_nothing_at_hand_and_a_page_that_escapes_what_strangers_wrote(outputs, tmp_path):
    """The page needs no network either."""
    evil = tmp_path / "<script>alert(1)<"
    evil.mkdir()
    for path in outputs.iterdir():
        (evil / path.name).hardlink_to(path)
    (evil / "<b>.txt").touch()
    result = run(evil, "--offline", "--output", tmp_path / "report")
    assert result.exit_code == 0
    assert "FD-ImageNet" in result.stdout
    assert "Boss" in result.stdout
    assert "needs --reference" in result.stderr
    assert "lbpcascade_animeface.xml is not at hand" in result.stderr
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["schema"] == 5
    assert report["pictures"] == COUNT
    assert report["reference"] == "crypko"
    assert report["device"] == "CPU"
    assert report["integrity"]["released"] is False
    by_scale = {(measure["measure"], measure["by"]): measure for measure in report["measures"]}
    assert by_scale["FD-ImageNet", imagenet.scale()]["value"] > 0
    assert by_scale["AFD", afd.scale()]["value"] > 0.5
    assert by_scale["FID", "inception"]["value"] is None
    stored_alike = shipped_reference().floors[75]  # as Pillow stores a JPEG
    assert by_scale["FD-ImageNet", imagenet.scale()]["floor"] == pytest.approx(stored_alike, rel=1e-6)
    stored_alike = shipped_reference(anime).floors[75]
    assert by_scale["FD-anime", anime.scale()]["floor"] == pytest.approx(stored_alike, rel=1e-6)
    assert by_scale["KID", imagenet.scale()]["value"] > 10 * by_scale["KID", imagenet.scale()]["spread"] > 0
    assert by_scale["recall", imagenet.scale()]["value"] < 0.2  # drawn faces are not Crypko's
    assert report["integrity"]["collapsed"] and report["integrity"]["repeated"] == COUNT  # 300 pictures, repeated
    assert report["integrity"]["copies"] == []
    assert "near repeats" in result.stdout
    verdicts = {verdict["family"]: verdict for verdict in report["verdicts"]}
    assert None not in verdicts["embedded"]["passed"].values()
    assert set(verdicts["published"]["passed"].values()) == {None}
    assert verdicts["embedded"]["judged"] and not verdicts["published"]["judged"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.html", "report.json"]
    page = (tmp_path / "report/report.html").read_text()
    assert "<script" not in page
    assert "<b>" not in page
    links = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'>\s]*)", page)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)


def test_scored_against_the_set_it_was_made_from(outputs, generated, tmp_path):
    options = ("--offline", "--output", tmp_path, "--json", "--metrics")
    against_itself = run(outputs, *options, "fd-imagenet,afd,integrity", "--reference", generated)
    report = json.loads(against_itself.stdout)  # standard output is the report and nothing else
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["reference"] == "generated"
    drawn = report["verdicts"][0]  # judged as the demo's faces: 300 of the set, as JPEG
    assert drawn["family"] == "drawn" and drawn["passed"]["Strong"]
    assert drawn["best"] is None and "1,000 known faces" in drawn["withheld"][0]
    crypko = json.loads(run(outputs, *options, "fd-imagenet").stdout)
    assert report["measures"][0]["value"] < crypko["measures"][0]["value"] / 3


def test_a_reference_kept_in_a_file_scores_the_same(outputs, rendered, tmp_path):
    file = tmp_path / "drawn.safetensors"
    made = CliRunner().invoke(cli.main, ["reference", str(rendered), "-o", str(file)])
    assert made.exit_code == 0, made.output
    assert "300 faces, named rendered" in made.stderr
    options = ("--offline", "--output", tmp_path, "--json", "--metrics", "fd-imagenet,kid")
    first, second = (json.loads(run(outputs, *options, "--reference", path).stdout) for path in (rendered, file))
    for one, other in zip(first["measures"], second["measures"], strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-9)
        assert one["reference"] == other["reference"] == "rendered"
    file.write_bytes(file.read_bytes()[:1000])
    assert run(outputs, *options, "--reference", file).exit_code == 2


def test_the_command_line_offers_what_there_is_to_measure():
    (option,) = (option for option in cli.score.params if option.name == "metrics")
    assert all(metric in option.help for metric in NAMES)


def test_chosen_metrics_alone(outputs, tmp_path):
    result = run(outputs, "--offline", "--output", tmp_path, "--json", "--metrics", "afd,kid")
    report = json.loads(result.stdout)
    assert [measure["measure"] for measure in report["measures"]] == ["AFD", "KID"]
    assert report["integrity"] is None
    wrong = run(outputs, "--metrics", "afd,fids")
    assert wrong.exit_code == 2
    assert "fids" in wrong.stderr


def test_copies_of_the_given_faces_are_shown_beside_them(outputs, rendered, tmp_path):
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(3, 6):  # of the 300 drawn faces: 12 or 13 pictures of the submission
        Image.open(rendered / f"{number}.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(faces / f"{number}.png")
    options = ("--offline", "--output", tmp_path, "--json", "--metrics", "integrity", "--reference", faces)
    copies = json.loads(run(outputs, *options).stdout)["integrity"]["copies"]
    assert {copy["known"] for copy in copies} == {"3", "4", "5"}
    assert {(int(copy["picture"].removesuffix(".jpg")) - 1) % 300 for copy in copies} == {3, 4, 5}
    assert all(copy["mirrored"] for copy in copies)
    page = (tmp_path / "report.html").read_text()
    assert "Copies of known faces" in page and "4.jpg is 3, mirrored" in page


def test_copies_are_looked_for_among_the_faces_of_a_file_too(rendered, tmp_path):
    """Those of the folder that it was made of; one without their fingerprints is refused."""
    faces, file, bare = tmp_path / "faces", tmp_path / "kept.safetensors", tmp_path / "bare.safetensors"
    (faces / "red").mkdir(parents=True)
    for number in range(10):
        shutil.copy(rendered / f"{number}.png", faces / f"red/{number}.png")
    keep_reference(faces, file)
    reference.save_reference(bare, reference.load_reference(file, None, imagenet.scale()))
    folder, kept = (Scorer.prepare(path, metrics=["integrity"]) for path in (faces, file))
    np.testing.assert_array_equal(kept.given.fingerprints, folder.given.fingerprints)
    assert kept.given.names == folder.given.names == [f"red/{number}" for number in range(10)]
    assert kept.limits == folder.limits and kept.faces is None
    file.write_bytes(file.read_bytes().replace(known_faces.FORMAT.encode(), b"x" * len(known_faces.FORMAT)))
    for path in (bare, file):
        with pytest.raises(BadFingerprints, match="python -m grader reference FACES makes it again"):
            Scorer.prepare(path, metrics=["integrity"])


def test_two_signs_of_optimised_pictures_ask_for_a_review_and_one_does_not(monkeypatch):
    """Of faces that nothing else speaks against. What honest pictures show was measured for the course's faces only."""
    real, found = shipped_reference(), Integrity([], False, [], [], {}, {}, {})
    scorer = Scorer(("fd-imagenet", "afd"), Against(real), Known(np.zeros((1, 48), np.int8), ["1"]), None, (), None)
    pictures = Submission(Path("mine.tgz"), [], np.zeros((COUNT, 64, 64, 3), np.uint8), [])
    distance = Measure("FD-ImageNet", imagenet.scale(), "crypko", 200.0)
    monkeypatch.setitem(METRICS, "fd-imagenet", lambda *_: [distance])
    monkeypatch.setattr("grader.scoring.imagenet.describe", lambda pictures, _: np.zeros((COUNT, imagenet.DIM)))
    monkeypatch.setattr("grader.scoring.integrity", lambda *_: found)
    one = "One sign of optimised or altered pictures, which honest ones do not show: a."
    two = "Optimised against the grader’s networks? Signs: a; b."
    for count, withheld, said in ((0, [], []), (1, [], [one]), (2, ["2 signs of optimised pictures"], [two])):
        monkeypatch.setattr("grader.scoring.optimised.signs", lambda *_, count=count: ["a", "b"][:count])
        score = scorer.score(pictures)
        (row,) = board.ranked([as_dict(score) | {"name": "mine", "status": "graded", "problems": []}])
        assert score.verdicts[0].judged and score.verdicts[0].withheld == withheld
        assert ("optimised against the grader?" in row["remarks"]) == bool(withheld)
        assert ("one sign of optimised or altered pictures: a" in row["remarks"]) == (count == 1)
        assert words.warnings(score) == said
    disguised = replace(found, near=500, disguised=True)
    monkeypatch.setattr("grader.scoring.integrity", lambda *_: disguised)
    others = replace(scorer, against=Against(replace(real, faces="others"))).score(pictures).integrity
    assert others == found and scorer.score(pictures).integrity.near == 500


def test_a_run_brings_its_plots_onto_the_page(outputs, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/history.csv").write_text("step,fd_imagenet,afd\n10,500,0.1\n20,200,0.5\n30,300,0.4\n")
    norms = "".join(f"{step},{layer},x,{layer * step}\n" for step in (1, 2) for layer in (1, 2, 3))
    (tmp_path / "run/grad_norms.csv").write_text("step,layer,name,norm\n" + norms)
    assert run(outputs, "--offline", "--output", tmp_path, "--metrics", "afd", "--run", tmp_path / "run").exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "the best by FD-ImageNet is step 20" in page
    assert "Gradient norms" in page


def test_a_run_that_diverged_stops_no_score(outputs, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/history.csv").write_text("step,fd_imagenet,afd\n10,500,0.1\n")
    (tmp_path / "run/grad_norms.csv").write_text("step,layer,name,norm\n1,1,x,nan\n")
    done = run(outputs, "--offline", "--output", tmp_path, "--metrics", "afd", "--run", tmp_path / "run")
    assert done.exit_code == 0 and "grad_norms.csv: norm is nan at step 1" in done.stderr
    assert "note: not drawn: " in done.stderr and "draws nothing" not in done.stderr
    page = (tmp_path / "report.html").read_text()
    assert "Training history" in page and "Gradient norms" not in page


def test_fd_anime_is_a_distance_to_the_shipped_faces_or_to_the_given_ones(rendered, tmp_path):
    drawn = np.stack([np.asarray(Image.open(rendered / f"{number}.png")) for number in range(40)])
    given = tmp_path / "given"
    given.mkdir()
    for number in range(20, 40):
        (given / f"{number}.png").hardlink_to(rendered / f"{number}.png")
    features = anime.describe(drawn)
    for source, real in ((None, shipped_reference(anime).statistics), (given, Statistics.of(features[20:]))):
        (measure,) = METRICS["fd-anime"](
            Sample(drawn[:20], None, None, silent), Scorer.prepare(source, metrics=["fd-anime"]).against
        )
        assert measure.value == pytest.approx(frechet_distance(features[:20], real), rel=1e-4)


def test_pictures_that_fit_the_faces_of_one_network_only_show_it(rendered, monkeypatch):
    """By the networks themselves: all is measured under the names by which signs are looked for."""
    monkeypatch.setattr("grader.metrics.optimised.FEW", 20)
    pictures = np.stack([np.asarray(Image.open(rendered / f"{number}.png")) for number in range(40)])
    real = replace(shipped_reference(), statistics=Statistics.of(imagenet.describe(pictures)))
    against, known = Against(real, shipped_reference(anime)), Known(np.zeros((1, 48), np.int8), ["1"])
    scorer = Scorer(("fd-imagenet", "fd-anime"), against, known, None, (0.25, 0.35), None)
    found = scorer.score(Submission(Path("mine.tgz"), [], pictures[:20], [])).integrity
    assert [sign.split(" is ")[0].split(",")[0] for sign in found.signs] == [
        "FD-anime",
        "FD-ImageNet",
        "moved by half a pixel",
    ]
    assert found.optimised


def test_a_few_pictures_have_each_share_with_its_reason():
    sample = Sample(None, np.zeros((5, imagenet.DIM)), None, silent, shipped_reference().sample)
    found = METRICS["prdc"](sample, Against(shipped_reference()))
    assert [(one.measure, one.value, one.note) for one in found] == [
        (name, None, "needs 6 pictures or more") for name in ("precision", "recall", "density", "coverage")
    ]


def test_from_python_in_three_lines(outputs, generated):
    from grader import score

    told = []

    def progress(what, total):
        told.append((what, total, []))
        return told[-1][2].append

    result = score(outputs, generated, metrics=["fd-imagenet", "afd"], offline=True, progress=progress)
    assert [(what, total) for what, total, _ in told] == [("reference faces", 0), ("features", 1000)]
    of_faces, of_pictures = (sum(counts) for *_, counts in told)
    assert of_pictures == 1000 and of_faces in (0, 300)  # 0 where another test had their features kept
    assert result.verdicts[0].best in ("Strong", "Boss")
    assert [measure.measure for measure in result.measures] == ["FD-ImageNet", "AFD"]
    shown = result._repr_html_()
    assert "<table>" in shown and f"{result.verdicts[0].best} baseline passed" in shown


def test_score_names_all_that_it_takes(outputs):
    public = inspect.signature(score).parameters
    assert all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in public.values())
    assert public["metrics"].default == NAMES
    for wrong in (["fids"], "fids"):
        with pytest.raises(ValueError, match=r"^fids: choose from fd-imagenet"):
            score(outputs, metrics=wrong)
    assert selected("afd") == selected(["afd"]) == ("afd",) and selected("afd, kid") == ("afd", "kid")


def test_a_report_that_a_student_wrote_is_kept(outputs, tmp_path):
    for name, text in (("report.html", "<p>my homework report</p>"), ("report.json", '{"mine": 1}')):
        (tmp_path / name).write_text(text)
    for notes in (2, 0):
        result = run(outputs, "--offline", "--metrics", "afd", "--output", tmp_path)
        assert result.exit_code == 0 and result.stderr.count("kept as report.before.") == notes
    assert (tmp_path / "report.before.html").read_text() == "<p>my homework report</p>"
    assert (tmp_path / "report.before.json").read_text() == '{"mine": 1}'
    assert len([*tmp_path.iterdir()]) == 4


def test_a_bad_submission(outputs, tmp_path):
    short = tmp_path / "short"
    short.mkdir()
    (short / "1.jpg").hardlink_to(outputs / "1.jpg")
    result = run(short, "--offline", "--output", tmp_path / "report")
    assert result.exit_code == 1
    assert "holds 1 picture: the course takes exactly 1,000" in result.stderr
    assert not result.stdout
    assert not list((tmp_path / "report").iterdir())


def test_no_permission_to_write_is_known_before_the_work(outputs, tmp_path, monkeypatch):
    def refused(*, dir):
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr("grader.files.tempfile.TemporaryFile", refused)  # no mode of a folder keeps root out
    monkeypatch.setattr("grader.inputs.submission.read_submission", lambda *_: pytest.fail("the work had begun"))
    result = run(outputs, "--offline", "--output", tmp_path)
    assert result.exit_code == 2
    assert "cannot be written (Permission denied)" in result.stderr


def test_an_interrupt_leaves_nothing(outputs, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("grader.scoring.imagenet.describe", interrupted)
    monkeypatch.setattr("os._exit", sys.exit)  # or the process of the tests ends
    monkeypatch.setattr(sys, "argv", ["grader", "score", str(outputs), "--offline", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.run()
    assert caught.value.code == 130
    assert "stopped" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_real_submissions_rank_as_a_person_ranks_them(shared, tmp_path):
    """By the command, two next to each other; tests/studies/test_weights.py ranks all of them, and real faces."""
    published = {"gan_fair": 0.477, "wgan_blurry": 0.417, "gan_early_noisy": 0.112, "gan_overexposed": 0.164}
    values, options = {}, ("--offline", "--json", "--output", tmp_path, "--cascade")
    for name in published:
        metrics = "fd-imagenet,afd,lbpcascade" if name in ("wgan_blurry", "gan_early_noisy") else "lbpcascade"
        cascade = (shared / "lbpcascade_animeface.xml", "--metrics", metrics)
        result = run(shared / f"submissions/{name}.tgz", *options, *cascade)
        assert result.exit_code == 0, result.output
        values[name] = {(m["measure"], m["by"]): m["value"] for m in json.loads(result.stdout)["measures"]}
    assert {name: of["AFD", "lbpcascade-3"] for name, of in values.items()} == pytest.approx(published, abs=1e-9)
    better, worse = values["wgan_blurry"], values["gan_early_noisy"]
    assert better["FD-ImageNet", imagenet.scale()] < worse["FD-ImageNet", imagenet.scale()]
    assert better["AFD", afd.scale()] > worse["AFD", afd.scale()]


def test_the_cascade_with_five_neighbors_finds_what_its_readme_settings_find(shared):
    pictures = read_submission(shared / "submissions/gan_fair.tgz").pictures
    found = afd.cascade_faces(pictures, shared / "lbpcascade_animeface.xml", min_neighbors=5)
    assert found.mean() == pytest.approx(0.364, abs=1e-9)
    assert found.dtype == np.bool_


@pytest.fixture
def mean_colours_as_inception(monkeypatch):
    """Three numbers a picture in place of Inception's 2048, so that FID's way through the grader can be walked."""

    others = devices.features

    def features(network, pictures, progress):
        if network is not None:
            return others(network, pictures, progress)
        progress(len(pictures))
        return pictures.reshape(len(pictures), -1, 3).mean(axis=1)

    monkeypatch.setattr("grader.inputs.downloads.obtain", lambda asset, *args: asset)
    monkeypatch.setattr("grader.features.inception.load", lambda weights: None)
    monkeypatch.setattr("grader.features.devices.features", features)
    monkeypatch.setattr("grader.features.inception.DIM", 3)
    monkeypatch.setattr("grader.metrics.afd.load_cascade", lambda path: path)
    monkeypatch.setattr("grader.metrics.afd.cascade_faces", lambda pictures, cascade: np.ones(len(pictures), bool))
    return features


def test_fid_is_judged_only_against_the_faces_its_thresholds_are_for(
    outputs, rendered, tmp_path, mean_colours_as_inception
):
    rows = mean_colours_as_inception(None, read_submission(outputs).pictures, lambda done: None)
    expected = Statistics.of(rows)
    for name in ("crypko", "cats"):
        np.savez(tmp_path / f"{name}.npz", mu=expected.mean + 3, sigma=expected.covariance)
    published, options = {}, ("--json", "--output", tmp_path, "--metrics", "fid,lbpcascade")
    for given in (tmp_path / "crypko.npz", tmp_path / "cats.npz", rendered):
        report = json.loads(run(outputs, *options, "--reference", given).stdout)
        fid = next(measure for measure in report["measures"] if measure["measure"] == "FID")
        published[given.stem] = (fid["reference"], fid["value"], report["verdicts"][1]["best"])
    assert published["crypko"] == ("another crypko", pytest.approx(27), None)  # three means moved by 3: 3 · 3²
    assert published["cats"] == ("cats", pytest.approx(27), None)
    assert published["faces"] == ("rendered", pytest.approx(0, abs=1), None)


def test_nothing_optional_is_fatal(rendered, monkeypatch, tmp_path):
    for variable in ("GRADER_CASCADE", "GRADER_INCEPTION"):
        monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    metrics = ("afd", "fid", "lbpcascade")
    scored = score(rendered, rendered, metrics=metrics, loose=True, offline=True)
    notes = [measure.note for measure in scored.measures if measure.value is None]
    assert len(notes) == 2 and all("nowhere: no such file" in note for note in notes)

    against, sample = Against(None), Sample(scored.submission.pictures[:2], None, None, silent)
    (measure,) = METRICS["lbpcascade"](sample, replace(against, cascade=tmp_path / "nowhere"))
    assert measure.value is None and "OpenCV does not run it" in measure.note

    def out_of_memory(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("grader.features.devices.features", out_of_memory)
    (measure,) = METRICS["fid"](sample, replace(against, real_inception=shipped_reference()))
    assert measure.value is None and measure.note == "CUDA out of memory"


@pytest.mark.parametrize("opencv", ["none", "another", "there"])
def test_a_cascade_that_opencv_does_not_run_is_missing_before_the_work(opencv, tmp_path, monkeypatch):
    """So that it is said once, and no result without it is taken for good once OpenCV is mended."""
    (tmp_path / "cascade.xml").write_text("<?xml version='1.0'?><opencv_storage><x>1</x></opencv_storage>")
    monkeypatch.setattr("grader.inputs.downloads.obtain", lambda *_: tmp_path / "cascade.xml")
    if opencv != "there":
        monkeypatch.setitem(sys.modules, "cv2", {"none": None, "another": SimpleNamespace()}[opencv])
    missing = Scorer.prepare(metrics=["lbpcascade"]).against.missing
    assert "OpenCV does not run it" in missing["lbpcascade"]
    assert "pip install 'opencv-python-headless<5'" in missing["lbpcascade"]


def test_what_another_process_could_not_have_is_not_tried_again(monkeypatch):
    """A download that fails once and not the next time would give some rows of a class a measure."""
    monkeypatch.setattr("grader.inputs.downloads.obtain", None)
    options = grading.Options(metrics=("lbpcascade",), missing=(("lbpcascade", "no connection"),))
    assert options.scorer().against.missing == {"lbpcascade": "no connection"}
    assert options.shown()["offline"] is False and "missing" not in options.shown()


def test_the_cascade_finds_the_same_in_many_threads(rendered, monkeypatch):
    """As Dask's workers have, who share all that they measure with: OpenCV's classifiers are not safe there."""
    path = Path(cv2.data.haarcascades, "haarcascade_smile.xml")
    monkeypatch.setattr("grader.inputs.downloads.obtain", lambda *_: path)
    against = Scorer.prepare(metrics=["lbpcascade"]).against
    pictures = np.stack([np.asarray(Image.open(rendered / f"{number}.png")) for number in range(60)])
    sample = Sample(pictures, None, None, silent)
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda _: METRICS["lbpcascade"](sample, against)[0].value, range(16))]
    assert {*found} == {float(afd.cascade_faces(pictures, path).mean())}


def test_fid_is_judged_against_the_courses_own_files(outputs, rendered, tmp_path, mean_colours_as_inception):
    """Told by their sha256, whatever the folder is called; one byte or picture more, and it is another set."""
    folder = tmp_path / "anything"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.jpg").write_bytes((rendered / f"{number}.png").read_bytes())
    options = ("--json", "--output", tmp_path, "--reference", folder, "--metrics", "fid,lbpcascade")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grader.inputs.faces.COURSE_COUNT", 300)
        patch.setattr("grader.inputs.faces.COURSE_IDENTITY", faces.identity(members(folder))[1])
        report = json.loads(run(outputs, *options).stdout)
        assert report["reference"] == report["measures"][0]["reference"] == "crypko"
        assert None not in report["verdicts"][1]["passed"].values()
        (folder / "1_flip.png").write_bytes((rendered / "1.png").read_bytes())
        assert not faces.is_course(folder)
        (folder / "1_flip.png").rename(folder / "notes.txt")
        assert faces.is_course(folder)
        with open(folder / "7.jpg", "ab") as file:
            file.write(b"\0")
        report = json.loads(run(outputs, *options).stdout)
        assert report["reference"] == "anything"
        assert report["verdicts"][1]["best"] is None


def test_the_courses_own_files_are_not_decoded_for_fingerprints_that_are_shipped(rendered, tmp_path, monkeypatch):
    """Of 71,314 faces that took 45 seconds, on each start and in each process."""
    folder = tmp_path / "faces"
    (folder / "deep").mkdir(parents=True)
    for number in range(20):
        shutil.copy(rendered / f"{number}.png", folder / "deep" / f"{number}.jpg")
    monkeypatch.setattr("grader.inputs.faces.COURSE_COUNT", 20)
    monkeypatch.setattr("grader.inputs.faces.COURSE_IDENTITY", faces.identity(members(folder))[1])
    with monkeypatch.context() as patch:
        patch.setattr("grader.inputs.faces.decode", None)
        scorer = Scorer.prepare(folder, metrics="integrity")
    assert scorer.given.names == [f"deep/{number}" for number in range(20)]
    assert (scorer.given.fingerprints == scorer.known.fingerprints[:20]).all()
    assert {name for name, _ in faces.named(folder, set(scorer.given.names))} == {*scorer.given.names}
    assert scorer.limits == Scorer.prepare(metrics="integrity").limits
    (folder / "deep/7.jpg").write_bytes((rendered / "8.png").read_bytes())
    assert (Scorer.prepare(folder, metrics="integrity").given.fingerprints != scorer.given.fingerprints).any()


@pytest.fixture(scope="module")
def forged(tmp_path_factory, outputs):
    """A reference that fits a submission, under the shipped one's name."""
    shipped = reference.shipped_reference()
    features = imagenet.describe(read_submission(outputs).pictures)
    made = replace(shipped, statistics=Statistics.of(features), sample=features)
    path = tmp_path_factory.mktemp("forged") / "crypko.safetensors"
    reference.save_reference(path, made)
    return path


def test_a_forged_reference_takes_no_thresholds(outputs, forged, tmp_path):
    result = run(outputs, "--offline", "--output", tmp_path, "--reference", forged, "--metrics", "fd-imagenet,afd")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["measures"][0]["value"] < 1e-3
    assert report["measures"][0]["thresholds"] == {}
    assert {verdict["best"] for verdict in report["verdicts"]} == {None}
    assert "Only the shipped faces give a verdict" in result.stdout


def test_ten_pictures_a_hundred_times_pass_nothing(rendered, tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"{number + 1}.jpg").write_bytes((rendered / f"{number % 10}.png").read_bytes())
    result = run(folder, "--offline", "--output", tmp_path, "--metrics", "fd-imagenet,afd,integrity")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdicts"][0]["passed"]["Simple"] is not None
    assert report["verdicts"][0]["best"] is None
    for text in (result.stdout, (tmp_path / "report.html").read_text()):
        text = " ".join(text.split())
        assert "needs review: 1,000 near repeats of another picture" in text
        assert "not all looked for: add fd-anime to --metrics." in text
        assert "baseline passed" not in text


def test_known_faces_pass_nothing_anywhere(shared, tmp_path):
    """1,000 faces of the course as they are, which once were Boss and first on the board."""
    (tmp_path / "class").mkdir()
    stored = [jpeg(decode(read(), 64)[0], 90) for _, read in members(shared / "crypko_1000_96px.zip")]
    (tmp_path / "class/eve.tgz").write_bytes(tgz({f"{number}.jpg": data for number, data in enumerate(stored, 1)}))
    page = tmp_path / "board.html"
    arguments = ["leaderboard", str(tmp_path / "class"), "--offline", "--jobs", "1", "-o", str(page)]
    result = CliRunner().invoke(cli.main, [*arguments, "--metrics", "fd-imagenet,afd,integrity"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(page.with_suffix(".json").read_text())
    assert row["verdicts"][0]["passed"]["Boss"] and row["verdicts"][0]["best"] is None
    assert row["verdicts"][0]["withheld"] == ["1,000 known faces"]
    with open(page.with_suffix(".csv"), newline="") as file:
        assert next(csv.DictReader(file))["passed"] == "needs review"
    assert "needs review" in page.read_text()


def test_fewer_than_a_thousand_pictures_are_not_judged(rendered, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for number in range(10):
        (few / f"{number}.png").hardlink_to(rendered / f"{number}.png")
    result = run(few, "--loose", "--offline", "--output", tmp_path, "--metrics", "fd-imagenet,afd")
    report = json.loads((tmp_path / "report.json").read_text())
    distance, ratio = report["measures"]
    assert distance["thresholds"] == ratio["thresholds"] == {}
    assert 100 < distance["floor"] < distance["value"]  # what ten real faces score
    assert {verdict["best"] for verdict in report["verdicts"]} == {None}
    assert "it takes 1,000 pictures" in result.stdout and "passed" not in result.stdout
