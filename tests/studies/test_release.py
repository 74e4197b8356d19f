"""Weights are released with facts that are measured, and not where a sample is a copy of a face."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from baselines import sample as play
from baselines.definitions import definitions
from grader.features.fingerprints import fingerprints
from grader.files import short_hash
from grader.inputs.known_faces import Known
from grader.results import Integrity
from studies import release

SCORES = {"score": "FD-ImageNet 375", "truncation": "z × 0.8: 390", "tier": "Medium", "near repeats": "none"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of notebook 10 whose step 200 is the shipped generator. No face is known, and nothing is scored."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    monkeypatch.setattr(play, "COUNT", 40)
    monkeypatch.setattr(release, "scores", lambda G: SCORES)
    monkeypatch.setattr(release, "load_known", lambda: Known(fingerprints(noise), ["0", "1"]))
    folder, G = tmp_path / "run", play.load_generator()
    (folder / "checkpoints").mkdir(parents=True)
    config = asdict(G.settings) | {"faces": "/home/ada/faces", "seed": 3, "hours": 2.0}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "cool_down"}))
    (folder / "history.csv").write_text("step,fd_imagenet,afd\n100,500,0.5\n200,400,0.7\n300,450,0.6\n")
    torn = "\n4"
    (folder / "log.csv").write_text("step,loss_D,loss_G,seconds\n100,1,1,60\n200,1,1,120\n300,1,1,180" + torn)
    torch.save({"pictures": 1234}, folder / "checkpoints/last.pt")
    weights = {name: weight + 1e-5 * torch.randn_like(weight) for name, weight in G.state_dict().items()}
    torch.save(weights, folder / "checkpoints/000200.pt")
    return folder


def command(*arguments):
    return CliRunner().invoke(release.main, [str(argument) for argument in arguments])


def test_the_best_step_becomes_weights_with_their_card(run, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "LEVELS", 255)  # float16 is exact enough
    output, card = tmp_path / "weights/some.safetensors", tmp_path / "weights/README.md"
    card.parent.mkdir()
    card.write_text("# `some.safetensors`\n<!-- facts -->\nold\n<!-- /facts -->\nand more\n")
    result = command(run, "--output", output, "--hardware", "one T4", "--command", "two commands")
    assert result.exit_code == 0, result.stderr
    G, weights = play.load_generator(output), torch.load(run / "checkpoints/000200.pt", weights_only=True)
    assert G.settings.seed == 3
    for name, weight in G.state_dict().items():
        assert torch.equal(weight, weights[name].half().float())
    text = card.read_text()
    assert text == f"# `some.safetensors`\n<!-- facts -->\n{release.table(output)}<!-- /facts -->\nand more\n"
    assert result.stdout == release.table(output)
    for fact in (
        "1,234 faces",
        "| 200, that is",
        "2 min, one T4",
        "`two commands`",
        "FD-ImageNet 375",
        "0 of 40 samples",
        "float16",
    ):
        assert fact in text
    assert b"/home/ada" not in output.read_bytes()
    assert output.stat().st_mode == card.stat().st_mode  # for all to read, as other files are


def test_another_page_beside_the_weights_stays_as_it_is(run, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert release.release(run, None, tmp_path / "some.safetensors", {}) is None
    assert (tmp_path / "README.md").read_text() == "mine"
    assert play.load_generator(tmp_path / "some.safetensors").settings.seed == 3


def test_a_page_beside_the_weights_that_is_no_text_is_left_alone(run, tmp_path):
    (tmp_path / "README.md").write_bytes("說明".encode("big5"))
    assert release.release(run, None, tmp_path / "some.safetensors", {}) is None
    assert (tmp_path / "README.md").read_bytes() == "說明".encode("big5")


def test_samples_that_are_known_faces_are_not_released(run, tmp_path, monkeypatch):
    G = play.load_generator()
    copied = play.sample(G, play.noise(G, play.COUNT, release.SEED)[2:3]).permute(0, 2, 3, 1).numpy()
    monkeypatch.setattr(release, "load_known", lambda: Known(fingerprints(copied), ["7"]))
    result = command(run, "--output", tmp_path / "weights/some.safetensors")
    assert result.exit_code == 1
    assert "do not pass the copy check: 1 of 40 samples are one of the course's 1 faces" in result.stderr
    assert not (tmp_path / "weights").exists()


def test_samples_that_are_like_known_faces_in_disguise_are_not_released(monkeypatch):
    found = Integrity([], False, [], [], {}, {}, {}, near=3, disguised=True)
    monkeypatch.setattr(release, "integrity", lambda *_: found)
    monkeypatch.setattr(release, "load_known", lambda: Known(np.zeros((1, 48), np.int8), ["7"]))
    with pytest.raises(release.CannotRelease, match=r"do not pass the copy check: 0 of 2 .* 3 are as near"):
        release.check_copies(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (None, ["--step", "300"], "choose a --step of 200"),
        ("history.csv", [], "history.csv: does not exist: write it with python -m grader history "),
        ("config.json", [], "name a run of notebook 10"),
        ("checkpoints/last.pt", [], "name the folder that the run was trained in"),
        ("checkpoints/000200.pt", [], "name the folder that the run was trained in, not what its zip"),
    ],
)
def test_what_is_no_such_run_is_refused(run, tmp_path, change, options, says):
    if change:
        (run / change).unlink()
    result = command(run, "--output", tmp_path / "x/some.safetensors", *options)
    assert result.exit_code in (1, 2) and len(result.stderr.splitlines()) == 1 and says in result.stderr, result.stderr
    assert not (tmp_path / "x").exists()


def test_the_checkpoint_before_the_last_is_enough(run, tmp_path):
    """Where a session was killed between the two."""
    (run / "checkpoints/last.pt").rename(run / "checkpoints/previous.pt")
    assert command(run, "--output", tmp_path / "own.safetensors").exit_code == 0
    (run / "checkpoints/last.pt").write_bytes(b"torn")
    assert command(run, "--output", tmp_path / "own.safetensors").exit_code == 0


def test_what_the_grader_knows_pictures_by_are_those_that_are_handed_in():
    """As JPEG, that is."""
    pictures = play.sample(play.load_generator(), torch.randn(20, 100)).repeat(50, 1, 1, 1)
    given = pictures.permute(0, 2, 3, 1).numpy()
    seen = release.handed_in(pictures)
    assert seen.shape == given.shape and 0 < np.abs(seen.astype(int) - given).mean() < 10


def test_a_torn_checkpoint_is_named(run, tmp_path):
    (run / "checkpoints/000200.pt").write_bytes(b"torn")
    result = command(run, "--output", tmp_path / "own.safetensors")
    assert result.exit_code == 1 and "000200.pt: " in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_block_with_other_names_is_told_which_to_take(run, tmp_path):
    path = run / "checkpoints/000200.pt"
    weights = {name.replace("expand", "first"): weight for name, weight in torch.load(path).items()}
    torch.save(weights, path)
    result = command(run, "--output", tmp_path / "own.safetensors")
    assert (
        result.exit_code == 1
        and "first.weight is no layer of the solved notebook 10: your ResidualBlock may hold" in result.stderr
    )


def test_weights_that_are_too_large_do_not_ship(run, tmp_path, monkeypatch):
    """That is told before they are scored, and anyone's own may be as large as they like."""
    monkeypatch.setattr(play, "MOST_BYTES", 1000)
    assert command(run, "--output", tmp_path / "own.safetensors").exit_code == 0
    monkeypatch.setattr(release, "scores", None)
    monkeypatch.setattr(play, "WEIGHTS", tmp_path / "some.safetensors")
    result = command(run, "--output", tmp_path / "some.safetensors")
    assert result.exit_code == 1 and "may ship: name another --output" in result.stderr
    assert not [*tmp_path.glob("*some*"), *tmp_path.glob("README*")]


def test_half_precision_that_shows_is_not_taken(monkeypatch):
    monkeypatch.setattr(play, "COUNT", 20)
    G = play.load_generator()
    with torch.no_grad():
        for weight in G.parameters():
            weight.copy_(weight.half())
        assert release.in_half_precision(G)[0] == torch.float16
        for weight in G.parameters():
            weight *= 1 + 1e-3 * torch.rand(weight.shape, generator=torch.Generator().manual_seed(1))
        G.layers[-1].weight *= 1e4  # what float16 rounds off is seen then
    whole = {name: weight.clone() for name, weight in G.state_dict().items()}
    dtype, pictures = release.in_half_precision(G)
    assert dtype == torch.float32
    assert all(torch.equal(weight, whole[name]) for name, weight in G.state_dict().items())
    assert torch.equal(pictures, play.sample(G, play.noise(G, 20, release.SEED)))


def test_the_command_is_the_nearest_preset_and_what_differs_from_it():
    (presets,) = definitions(play.MASTER, "PRESETS").values()
    config = asdict(presets["cpu"]) | {"seed": 11, "augment": "color,cutout", "run": "/x", "log_every": 1}
    words = "python -m baselines.run 10_r3gan --preset cpu --set seed=11 --set augment=color,cutout"
    assert release.command(config) == words
    for name in ("large", "t4_1h", "t4_12h"):
        assert release.command(asdict(presets[name])) == f"python -m baselines.run 10_r3gan --preset {name}"


def test_the_card_of_other_weights_stays_as_it_is(run, tmp_path):
    card = "# `shipped.safetensors`\n<!-- facts -->\nold\n<!-- /facts -->\n"
    (tmp_path / "README.md").write_text(card)
    assert release.release(run, None, tmp_path / "mine.safetensors", {}) is None
    assert (tmp_path / "README.md").read_text() == card


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Weights that ship, with their card and statistics, as small as can be: {file: what is in it}."""
    files = {name: tmp_path / name for name in ("some.safetensors", "README.md", "statistics.safetensors")}
    for path in files.values():
        path.write_text("# `some.safetensors`\n<!-- facts -->\nold\n<!-- /facts -->\n")
    monkeypatch.setattr(play, "WEIGHTS", files["some.safetensors"])
    monkeypatch.setattr(release.released, "FILE", files["statistics.safetensors"])
    monkeypatch.setattr(release, "handed_in", lambda pictures: None)
    features = np.random.default_rng(0).normal(size=(2, release.anime.DIM))
    monkeypatch.setattr(release.anime, "describe", lambda pictures: features)
    return files.values()


def test_weights_that_ship_come_with_their_statistics_and_card(run, shipped):
    weights, card, statistics = shipped
    release.release(run, None, weights, {})
    with safe_open(statistics, "numpy") as file:
        assert file.metadata() == {"weights": short_hash(weights), "features": release.anime.scale()}
    assert f"sha256 {short_hash(weights)}…" in card.read_text()


@pytest.mark.parametrize("stopped", ["statistics", "table"])
def test_a_release_that_is_stopped_changes_no_file(stopped, run, shipped, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    before = [path.read_bytes() for path in shipped]
    monkeypatch.setattr(release, stopped, stop)
    with pytest.raises(KeyboardInterrupt):
        release.release(run, None, play.WEIGHTS, {})
    assert [path.read_bytes() for path in shipped] == before


@pytest.mark.parametrize(
    ("told", "row"), [("a b", "| `a b` |"), ("`a b`; then `c`, stopped", "| `a b`; then `c`, stopped |")]
)
def test_commands_that_are_told_are_marked_as_code_once(told, row, tmp_path, monkeypatch):
    facts = dict.fromkeys(("faces", "time", "hardware", "seed", "precision", "copies", *SCORES), "x")
    facts |= {"command": told, "parameters": 1, "step": 1, "shown": 16}
    monkeypatch.setattr(play, "read_about", lambda path: {"facts": facts})
    (weights := tmp_path / "some.safetensors").write_bytes(b"")
    assert f"| command {row}\n" in release.table(weights)
