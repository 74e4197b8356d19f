"""The command on a Dask cluster, with nothing standing in for the grader."""

import json

import pytest
from click.testing import CliRunner

from grader import cli


def test_a_class_is_graded_on_a_dask_cluster(tmp_path, rendered):
    distributed = pytest.importorskip("distributed")
    for student in ("ada", "eve"):
        (tmp_path / "class" / student).mkdir(parents=True)
        for number in range(1000):
            (tmp_path / f"class/{student}/{number + 1}.jpg").hardlink_to(rendered / f"{number % 10}.png")
    page = tmp_path / "board.html"
    given = ["leaderboard", tmp_path / "class", "-o", page, "--reports", tmp_path / "pages", "--metrics", "afd"]
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        asked = [*given, "--offline", "--dask", cluster.scheduler_address]
        result = CliRunner().invoke(cli.main, [*map(str, asked)])
        assert "grade" in cluster.scheduler.task_prefixes  # and not here
    assert result.exit_code == 0, result.output
    rows = json.loads(page.with_suffix(".json").read_text())
    assert [(row["name"], row["status"], row.get("notes")) for row in rows] == [
        ("ada", "graded", []),
        ("eve", "graded", []),
    ]
