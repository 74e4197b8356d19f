"""The study of what a notebook reaches in its time."""

import csv
import json
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

from grader.errors import GraderError
from studies import per_minute


def test_a_step_is_timed_with_the_settings_of_the_run(tmp_path, rendered, monkeypatch):
    monkeypatch.setattr(per_minute, "STEPS", 4)
    monkeypatch.setattr(per_minute, "WINDOW", 2)
    config = {"faces": "gone.zip", "run": "elsewhere", "steps": 10**6, "batch_size": 4, "width": 2, "seed": 3}
    config |= {"hours": 2.0, "checkpoint_every": 7}  # of how it was kept, not of a step
    (tmp_path / "config.json").write_text(json.dumps(config))
    commands, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **how: commands.append(command) or run(command, **how))
    assert 0 < per_minute.seconds_per_step("01_gan", tmp_path, str(rendered)) < 10
    (given,) = [command[command.index("--set") + 1 :: 2] for command in commands]
    run_and_outputs = [one for one in given if one.startswith(("run=", "outputs="))]
    assert len(run_and_outputs) == 2 and "run=elsewhere" not in given
    assert {*given} - {*run_and_outputs} == {
        "batch_size=4", "width=2", "seed=3", f"faces={rendered}", "steps=4", "log_every=4"
    }  # fmt: skip
    assert [*tmp_path.iterdir()] == [tmp_path / "config.json"]


def test_the_fastest_steps_in_a_row_are_the_time_of_one(monkeypatch):
    """Three in a row, of which each takes half a second, among slower ones."""
    monkeypatch.setattr(per_minute, "WINDOW", 3)
    assert per_minute.fastest(np.cumsum([4, 1, 0.5, 0.5, 0.5, 2, 0.1, 3])) == 0.5


def test_seeds_share_the_time_of_a_step_and_the_fastest_round_counts(tmp_path, monkeypatch):
    times = iter([0.5, 2.0, 0.25, 3.0])  # two rounds of two labels
    monkeypatch.setattr(per_minute, "seconds_per_step", lambda *_: next(times))
    for name, seed, distance in (("a", 1, 900), ("b", 2, 800), ("c", 1, 300)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"seed": seed}))
        (tmp_path / name / "history.csv").write_text(
            f"step,fd_imagenet,afd\n120,{distance},0.1\n240,{distance - 1},0.2\n6000,{distance - 100},0.9\n"
        )
    given = [f"{label}:01_gan:{tmp_path / run}" for label, run in (("plain", "a"), ("plain", "b"), ("new", "c"))]
    result = CliRunner().invoke(per_minute.main, [*given, "--output", str(tmp_path / "out"), "--rounds", "2"])
    assert result.exit_code == 0, result.output
    for line in (
        "plain, seed 2: within ten minutes 799.0 (AFD 0.200) at step 240 of 6,000 in 25.0 minutes",
        "plain, seed 2: within an hour 700.0 (AFD 0.900) at step 6,000 of 6,000 in 25.0 minutes",
        "new, seed 1: within an hour 299.0 (AFD 0.200) at step 240 of 6,000 in 200.0 minutes",
    ):
        assert line in result.output
    with open(tmp_path / "out/per_minute.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["seed"], row["minutes"]) for row in rows[:4]] == [
        ("plain", "1", "0.50"), ("plain", "1", "1.00"), ("plain", "1", "25.00"), ("plain", "2", "0.50"),
    ]  # fmt: skip
    assert (tmp_path / "out/per_minute.png").stat().st_size > 10_000


def test_a_run_without_a_checkpoint_in_that_time_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(per_minute, "seconds_per_step", lambda *_: 1.0)
    (tmp_path / "config.json").write_text(json.dumps({"seed": 1}))
    (tmp_path / "history.csv").write_text("step,fd_imagenet,afd\n3000,143,0.9\n")
    given = [f"late:10_r3gan:{tmp_path}", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(per_minute.main, given)
    assert result.exit_code == 0, result.output
    assert "within ten minutes no checkpoint of 3,000 in 50.0 minutes" in result.output
    assert "within an hour 143.0 (AFD 0.900) at step 3,000" in result.output


@pytest.mark.parametrize("text", ['{"se', "[]", "{}"])
def test_settings_that_are_torn_or_not_of_a_run_are_named(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(GraderError, match=r"config.json: holds no settings of a run: name the folder"):
        per_minute.config_of("01_gan", tmp_path)


@pytest.mark.parametrize(
    ("notebook", "settings", "says"),
    [
        ("07_progressive", {"hold": [1, 2, 3, 4]}, "the first ones tell nothing of the others"),
        ("05_stylegan2", {}, "05_stylegan2 has no preset cpu"),
    ],
)
def test_a_run_whose_steps_cannot_be_timed_is_refused_before_others_are(
    notebook, settings, says, tmp_path, monkeypatch
):
    monkeypatch.setattr(per_minute, "seconds_per_step", lambda *_: pytest.fail("timed"))
    (tmp_path / "config.json").write_text(json.dumps({"seed": 1} | settings))
    (tmp_path / "history.csv").write_text("step,fd_imagenet,afd\n3000,143,0.9\n")
    result = CliRunner().invoke(per_minute.main, [f"GAN:{notebook}:{tmp_path}", "--output", str(tmp_path / "out")])
    assert result.exit_code == 2 and says in result.stderr and result.stderr.count("\n") == 1


def test_a_notebook_that_stops_is_told_in_its_own_last_line(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 1, "faces": "nowhere.zip"}))
    stopped = subprocess.CompletedProcess([], 1, None, "Traceback\nnowhere.zip: no such file\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **options: stopped)
    with pytest.raises(
        GraderError, match=r"^01_gan does not train with the settings of .*: nowhere.zip: no such file$"
    ):
        per_minute.seconds_per_step("01_gan", tmp_path, "")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["late"], "'late' is not LABEL:NOTEBOOK:RUN"),
        (["late:10_r3gan:nowhere"], "is not LABEL:NOTEBOOK:RUN"),
        (["late:no_notebook:."], "is not LABEL:NOTEBOOK:RUN"),
        (["late:10_r3gan:.", "--rounds", "0"], "--rounds"),
        (["late:10_r3gan:."], "history.csv"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_timed(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(per_minute, "seconds_per_step", lambda *_: pytest.fail("timed"))
    result = CliRunner().invoke(per_minute.main, [*given, "--output", "out"])
    assert result.exit_code in (1, 2) and says in result.stderr and result.stderr.count("\n") == 1
