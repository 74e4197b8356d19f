"""Points for tiers, and late days."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from grader.errors import GraderError
from grader.points import read_points

RULES = """
[points]
Simple = 2
Boss = 10
[late]
deadline = 2026-06-01T23:59:00+08:00
free_days = 1
per_day = 0.25
"""


def points_of(path, text):
    path.write_text(text)
    return read_points(path)


def test_late_days_cost_what_the_file_says(tmp_path):
    points = points_of(tmp_path / "p.toml", RULES)
    deadline = datetime(2026, 6, 1, 15, 59, tzinfo=timezone.utc)
    assert points.late_days(deadline + timedelta(seconds=0.5)) == 0  # it is shown as the deadline itself
    late = [points.late_days(deadline + timedelta(hours=hours)) for hours in (-5, 0, 1, 24, 25, 1000)]
    assert late == [0, 0, 1, 1, 2, 42]
    assert [points.grade("Boss", days) for days in late] == [10, 10, 10, 10, 7.5, 0]
    assert points.grade("", 0) == 0
    assert points.grade("needs review", 0) is None


def test_a_tier_that_is_left_out_gives_what_the_lower_one_gives(tmp_path):
    points = points_of(tmp_path / "p.toml", "[points]\nMedium = 2\nBoss = 5")
    assert [points.grade(tier, 0) for tier in ("", "Simple", "Medium", "Strong", "Boss")] == [0, 0, 2, 2, 5]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no zone to set")
@pytest.mark.parametrize("zone", ["Asia/Taipei", "America/Los_Angeles"])
@pytest.mark.parametrize("written", ["", "Z", "-12:00", "+14:00"])
def test_a_deadline_at_an_end_of_the_calendar(tmp_path, monkeypatch, zone, written):
    """As people write "never": it is no error, and nothing is late."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        never, always = (
            points_of(tmp_path / "p.toml", f"[points]\nBoss = 1\n[late]\ndeadline = {day}{written}")
            for day in ("9999-12-31T23:59:59", "0001-01-01T00:00:00")
        )
        now = datetime.now(timezone.utc)
        assert never.late_days(now) == 0 and always.late_days(now) > 700_000
        local = points_of(tmp_path / "p.toml", "[points]\nBoss = 1\n[late]\ndeadline = 2026-06-01T12:00:00")
        assert local.deadline == datetime(2026, 6, 1, 12).astimezone()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_default_has_no_deadline():
    points = read_points()
    assert points.late_days(datetime.now(timezone.utc)) == 0
    assert [points.grade(tier, 0) for tier in ("", "Simple", "Medium", "Strong", "Boss")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[points]\nBoss = 1\n[late]\nper_day = 10", "per_day = 10 is no share of 0 to 1: write per_day = 0.1"),
        ("[points]\n[late]\nper_day = 0.1", "gives nobody a point: write Simple = 1"),
        ("[points]\nSimple = 0", "gives nobody a point: write Simple = 1"),
        ("[points]\nSimple = 5\nBoss = 1", "Boss gives 1 points, and Simple 5: give a higher tier as many"),
        ("[points]\nMedium = 2\nStrong = 1", "Strong gives 1 points, and Medium 2: give a higher tier as many"),
    ],
)
def test_what_would_give_nobody_what_they_earned_is_an_error(tmp_path, text, says):
    with pytest.raises(GraderError, match=r"p\.toml: ") as caught:
        points_of(tmp_path / "p.toml", text)
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


def test_all_tiers_may_give_as_much_and_a_late_day_all(tmp_path):
    points = points_of(tmp_path / "p.toml", "[points]\nSimple = 1\nBoss = 1\n[late]\nper_day = 1")
    assert [points.grade(tier, days) for tier in ("Simple", "Boss") for days in (0, 1)] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "text",
    ["", "[points", "points = 3", "[points]\nboss = 3", "[points]\nBoss = -1", "[points]\nBoss = nan",
     "[points]\nBoss = '3'", "[points]\nBoss = 3\n[late]\nper_week = 1",
     "[points]\nBoss = 3\n[late]\ndeadline = '1 June'"],
)  # fmt: skip
def test_what_is_wrong_is_an_error_of_one_line(tmp_path, text):
    with pytest.raises(GraderError, match=r"p\.toml: ") as caught:
        points_of(tmp_path / "p.toml", text)
    assert len(caught.value.problems) == 1
