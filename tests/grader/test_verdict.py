"""Verdicts: only on the scale that a threshold was set on, and only when all of a family was measured."""

import re

import numpy as np
import pytest

from grader.features import imagenet
from grader.metrics import afd as detector
from grader.results import Copy, Group, Integrity, Measure
from grader.verdict import judge, load_thresholds

BASELINES = {
    "tiers": ["Simple", "Boss"],
    "families": {"published": "published scale"},
    "scale": [
        {"family": "published", "measure": "FID", "by": "inception", "reference": "crypko", "provisional": False}
        | {"Simple": 400, "Boss": 100},
        {
            "family": "published",
            "measure": "AFD",
            "by": "lbpcascade-3",
            "provisional": True,
            "Simple": 0.0,
            "Boss": 0.6,
        },
    ],
}


def fid(value, reference="crypko", by="inception"):
    return Measure("FID", by, reference, value)


def afd(value, by="lbpcascade-3"):
    return Measure("AFD", by, None, value)


@pytest.mark.parametrize(
    ("measures", "passed", "best"),
    [
        ([fid(90.0), afd(0.7)], [True, True], "Boss"),
        ([fid(100.0), afd(0.6)], [True, True], "Boss"),  # a threshold itself passes
        ([fid(100.1), afd(0.7)], [True, False], "Simple"),
        ([fid(90.0), afd(0.59)], [True, False], "Simple"),
        ([fid(400.1), afd(0.7)], [False, False], None),
        ([fid(90.0)], [None, None], None),  # one of the two alone is no verdict
        ([fid(90.0), afd(None)], [None, None], None),
        ([fid(None), afd(0.7)], [None, None], None),
        ([fid(90.0, reference="cats"), afd(0.7)], [None, None], None),
        ([fid(90.0, by="embedded-00000000"), afd(0.7)], [None, None], None),
        ([fid(90.0), afd(0.7, by="lbpcascade-5")], [None, None], None),
    ],
)
def test_judge(measures, passed, best):
    _, (verdict,) = judge(measures, BASELINES)
    assert list(verdict.passed.values()) == passed
    assert verdict.best == best


def test_a_higher_tier_does_not_count_without_the_lower_ones():
    baselines = BASELINES | {"scale": [dict(BASELINES["scale"][0], Simple=50), BASELINES["scale"][1]]}
    _, (verdict,) = judge([fid(90.0), afd(0.7)], baselines)
    assert verdict.passed == {"Simple": False, "Boss": True}
    assert verdict.best is None


def test_provisional_thresholds_make_a_provisional_verdict():
    _, (verdict,) = judge([fid(90.0), afd(0.7)], BASELINES)
    assert verdict.provisional


def test_the_shipped_baselines():
    baselines = load_thresholds()
    for scale in baselines["scale"]:
        bars = [scale[tier] for tier in baselines["tiers"] if tier in scale]
        assert bars == sorted(bars, reverse=scale["measure"] != "AFD"), scale
        assert len(scale["source"]) > 40, "every threshold says where it is from"
        assert scale["family"] in baselines["families"]
        assert scale["by"] in (imagenet.scale(), detector.scale(), "inception", "lbpcascade-3"), (
            "thresholds belong to weights that we ship"
        )
    assert not any("judge" in scale["by"] for scale in baselines["scale"])


@pytest.mark.parametrize(
    ("distance", "ratio", "strong"), [(415, 0.674, False), (346, 0.818, False), (334, 0.849, True)]
)
def test_the_submissions_that_the_course_judged_are_medium(distance, ratio, strong):
    """Of the two between which Strong lies, each is on its side."""
    measures = [
        Measure("FD-ImageNet", imagenet.scale(), "crypko", distance),
        Measure("AFD", detector.scale(), None, ratio),
    ]
    judged, (verdict, _) = judge(measures, load_thresholds())
    assert verdict.best == "Medium" and judged[0].passed["Strong"] == strong


def test_the_demos_thresholds_are_what_their_source_says():
    distance, ratio = (scale for scale in load_thresholds()["scale"] if scale["family"] == "drawn")
    gan, faces = (
        float(re.search(pattern, distance["source"])[1].replace(",", ""))
        for pattern in (r"([\d,]+) after 1,400 steps", r"([\d,]+) \(Boss")
    )
    bars = [distance[tier] for tier in load_thresholds()["tiers"]]
    assert (bars[0], bars[-1]) == pytest.approx((gan * 4 / 3, faces * 2), rel=0.03)
    assert bars == pytest.approx(np.geomspace(bars[0], bars[-1], 4), rel=0.01)
    (other,) = (s for s in load_thresholds()["scale"] if (s["family"], s["measure"]) == ("embedded", "AFD"))
    assert "The same as on the offline scale" in ratio["source"]
    assert all(ratio[key] == other[key] for key in ("by", *load_thresholds()["tiers"]))


def found(copies=0, repeated=0, near=0):
    groups = [Group(list(range(repeated)), 0.0)] if repeated else []
    copied = [Copy(index, 0, 0.0, False) for index in range(copies)]
    return Integrity(groups, repeated >= 100, copied, [], {}, {}, {}, near, near >= 10)


@pytest.mark.parametrize(
    ("integrity", "withheld"),
    [
        (found(), []),
        (found(copies=9, near=9), []),
        (found(copies=10, near=10), ["10 known faces"]),
        (found(repeated=99), []),
        (found(repeated=100), ["100 near repeats of another picture"]),
        (found(near=10), ["10 pictures are like known faces in disguise"]),
        (found(copies=5, near=10), ["10 pictures are like known faces in disguise"]),
    ],
)
def test_a_verdict_is_withheld_for_a_review(integrity, withheld):
    _, (verdict,) = judge([fid(90.0), afd(0.7)], BASELINES, integrity=integrity)
    assert verdict.withheld == withheld
    assert verdict.best == (None if withheld else "Boss")


@pytest.mark.parametrize("count", [2, 999, 1001, 10_000])
def test_only_a_thousand_pictures_are_judged(count):
    measures, (verdict,) = judge([fid(90.0), afd(0.7)], BASELINES, count)
    assert set(verdict.passed.values()) == {None} and verdict.best is None
    assert measures == [fid(90.0), afd(0.7)]


def test_the_faces_of_the_demo_have_a_family_of_their_own():
    measures = [
        Measure("FD-ImageNet", imagenet.scale(), "generated", 5.0),
        Measure("AFD", detector.scale(), None, 0.95),
    ]
    _, verdicts = judge(measures, load_thresholds())
    assert {verdict.family: verdict.best for verdict in verdicts} == {"drawn": "Boss", "published": None}
    measures[0] = Measure("FD-ImageNet", imagenet.scale(), "crypko", 5.0)
    _, verdicts = judge(measures, load_thresholds())
    assert {verdict.family: verdict.best for verdict in verdicts} == {"embedded": "Boss", "published": None}


def test_a_file_for_fid_alone_moves_no_other_scale():
    """An .npz may have any name, that of the demo's faces too: FD-ImageNet is against the shipped ones as before."""
    measures = [
        Measure("FD-ImageNet", imagenet.scale(), "crypko", 5.0),
        Measure("AFD", detector.scale(), None, 0.95),
        Measure("FID", "inception", "generated", 50.0),
    ]
    judged, verdicts = judge(measures, load_thresholds())
    assert [measure.family for measure in judged] == ["embedded", "embedded", None]
    assert {verdict.family: verdict.best for verdict in verdicts} == {"embedded": "Boss", "published": None}


def test_a_verdict_is_withheld_where_a_scale_lacks_a_tier():
    distance, ratio = BASELINES["scale"]
    baselines = BASELINES | {"scale": [{key: distance[key] for key in distance if key != "Boss"}, ratio]}
    for integrity, withheld, best in ((found(), [], "Simple"), (found(copies=1000), ["1,000 known faces"], None)):
        _, (verdict,) = judge([fid(90.0), afd(0.7)], baselines, integrity=integrity)
        assert verdict.passed == {"Simple": True, "Boss": None}
        assert (verdict.withheld, verdict.best) == (withheld, best)
