"""Names of before work for one release, with a line that tells the new one."""

import inspect
import json

import pytest
from click.testing import CliRunner
from PIL import Image

import grader
from grader import cli
from grader.metrics.registry import NAMES, selected

NOTES = {
    "class": "note: class is called leaderboard now",
    "by-class": "note: by-class is called by-label now",
    "manifold": "note: the metric manifold is called prdc now",
}


@pytest.fixture
def few(tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    for number in range(8):
        Image.effect_noise((64, 64), 50).convert("RGB").save(folder / f"{number}.png")
    return folder


def test_the_command_class(tmp_path):
    (tmp_path / "submissions/eve").mkdir(parents=True)
    args = ["class", str(tmp_path / "submissions"), "-o", str(tmp_path / "x.html"), "--offline", "--metrics", "afd"]
    result = CliRunner().invoke(cli.main, [*args, "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == NOTES["class"]
    assert result.stderr.count(NOTES["class"]) == 1
    assert (tmp_path / "x.html").exists()


def test_the_option_by_class(few, tmp_path):
    args = ["score", str(few), "--loose", "--offline", "--by-class", str(few), "--output", str(tmp_path)]
    result = CliRunner().invoke(cli.main, args)
    assert result.exit_code == 1
    note, problem = result.stderr.splitlines()
    assert note == NOTES["by-class"]
    assert "no labels.csv says" in problem


def test_the_metric_manifold(few, tmp_path):
    args = ["score", str(few), "--loose", "--offline", "--metrics", "manifold", "--json", "--output", str(tmp_path)]
    result = CliRunner().invoke(cli.main, args)
    assert result.exit_code == 0, result.output
    assert NOTES["manifold"] in result.stderr
    measures = json.loads(result.stdout)["measures"]
    assert [measure["measure"] for measure in measures] == ["precision", "recall", "density", "coverage"]
    with pytest.warns(UserWarning, match="manifold is called prdc now"):
        assert selected(["afd", "manifold"]) == ("afd", "prdc")


def test_help_names_what_is_called_so_now():
    for args in (["--help"], ["score", "--help"]):
        shown = CliRunner().invoke(cli.main, args).output
        assert not {"--by-class", "manifold"} & set(shown.split())
        assert "\n  class " not in shown


def test_score_names_all_that_it_takes(few):
    public = inspect.signature(grader.score).parameters
    assert all(one.kind is not inspect.Parameter.VAR_KEYWORD for one in public.values())
    assert public["metrics"].default == NAMES
    with pytest.raises(ValueError, match="fids: choose from fd-imagenet"):
        grader.score(few, loose=True, metrics=["fids"])
