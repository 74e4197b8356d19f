"""The study of features, from files to its tables, with features that take no time."""

import tarfile
import zlib

import numpy as np
from click.testing import CliRunner
from PIL import Image

from grader.features import anime
from studies import distil, evaluate_features


def _coarse(pictures):
    return pictures.reshape(-1, 4, 16, 4, 16, 3).mean(axis=(2, 4)).reshape(len(pictures), -1)  # [N, 48]


def test_the_tables_name_every_set_and_the_held_out_ones(tmp_path, monkeypatch):
    seed = 0

    def random_pictures(*given, side=64, **__):
        rng = np.random.default_rng([seed, zlib.crc32(str(given).encode())])
        return rng.integers(0, 256, (40, side, side, 3), np.uint8)

    for run in ("wgan_s11", "another"):
        samples = tmp_path / "runs" / run / "samples"
        samples.mkdir(parents=True)
        Image.fromarray(random_pictures()[0]).save(tmp_path / "1.png")
        with tarfile.open(samples / "000500.tgz", "w:gz") as archive:
            archive.add(tmp_path / "1.png", "1.png")
    for module in (distil, evaluate_features):
        monkeypatch.setattr(module, "read_originals", lambda *_, **__: random_pictures(side=96))
    monkeypatch.setattr(distil, "read_faces", random_pictures)
    monkeypatch.setattr(evaluate_features, "read_faces", random_pictures)
    monkeypatch.setattr(evaluate_features, "candidates", lambda *_: {"teacher 128": _coarse, "shipped": _coarse})

    arguments = [str(tmp_path), str(tmp_path / "runs"), "--folder", str(tmp_path / "kept"), "--pictures", "20"]
    result = CliRunner().invoke(evaluate_features.main, [*arguments, "--per-checkpoint", "20"], catch_exceptions=False)
    assert result.exit_code == 0
    for row in ("| lanczos JPEG 75 |", "| gan_fair |", "| another 000500 * |", "| wgan_s11 000500 |", "| held out |"):
        assert row in result.output, row
    assert "9 sets of 20 pictures; 8 of them held out" in result.output

    def without_times(output):
        return [line for line in output.splitlines() if "milliseconds" not in line]

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    again = CliRunner().invoke(evaluate_features.main, [*arguments, "--per-checkpoint", "20"], catch_exceptions=False)
    assert without_times(again.output) == without_times(result.output)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}  # not computed again
    seed = 1  # other pictures of the same names
    other = CliRunner().invoke(evaluate_features.main, [*arguments, "--candidate", "shipped"], catch_exceptions=False)
    assert other.exit_code == 0 and "| set | teacher 128 | shipped |" in other.output
    assert not {*without_times(other.output)} & {line for line in result.output.splitlines() if "gan" in line}


def test_a_candidate_that_there_is_not_is_said_before_anything_is_computed(tmp_path):
    arguments = [str(tmp_path), str(tmp_path), "--folder", str(tmp_path / "kept"), "--candidate", "teachers"]
    result = CliRunner().invoke(evaluate_features.main, arguments)
    assert result.exit_code == 2 and "there is no 'teachers' among teacher 128, teacher 96" in result.stderr


def test_a_self_supervised_network_is_a_candidate_by_what_its_head_would_read(tmp_path):
    distil.save(anime.FaceNet().eval(), tmp_path / "weights.safetensors")
    assert not any("self" in name for name in evaluate_features.candidates(anime.WEIGHTS, None))
    *_, (name, features) = evaluate_features.candidates(anime.WEIGHTS, tmp_path / "weights.safetensors").items()
    assert name.split(" ")[0] == "self-supervised"
    assert features(np.zeros((3, 64, 64, 3), np.uint8)).shape == (3, anime.POOLED)
