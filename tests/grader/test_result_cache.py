"""When a kept result still holds: the content of a submission and of all that it is measured with decide."""

import os
from dataclasses import replace

import numpy as np
import pytest

from grader import grading, result_cache
from grader.features.reference import shipped_reference
from grader.inputs.known_faces import Known
from grader.metrics.registry import NAMES, Against
from grader.scoring import Scorer


@pytest.fixture(scope="module")
def scorer():
    known = Known(np.zeros((2, 48), np.int8), ["1", "2"])
    return Scorer(NAMES, Against(shipped_reference()), known, None, (0.25, 0.35), None)


def test_the_key_follows_all_that_is_measured_with(scorer):
    against, known = scorer.against, scorer.known
    moved = replace(against.real.statistics, mean=against.real.statistics.mean + 1e-9)
    changed = [
        replace(scorer, metrics=("afd",)),
        replace(scorer, limits=(0.2, 0.35)),
        replace(scorer, known=None),
        replace(scorer, known=None, given=known),
        replace(scorer, given=known),
        replace(scorer, known=replace(known, names=["1", "3"])),
        replace(scorer, known=replace(known, fingerprints=known.fingerprints + 1)),
        replace(scorer, against=replace(against, missing={"fid": "no weights"})),
        replace(scorer, against=replace(against, real_inception=against.real)),
        replace(scorer, against=replace(against, real=replace(against.real, faces="others"))),
        replace(scorer, against=replace(against, real=replace(against.real, statistics=moved))),
        replace(scorer, against=replace(against, real=replace(against.real, floors={75: 73.0}))),
    ]
    keys = [result_cache.measured_with(one, result_cache.code()) for one in (scorer, *changed)]
    assert len(set(keys)) == len(keys)
    assert result_cache.measured_with(replace(scorer), result_cache.code()) == keys[0]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("thresholds.toml", b"Boss = 240", b"Boss = 241"),
        ("verdict.py", b"COPIED = 0.01", b"COPIED = 0.02"),
        ("scoring.py", b"LIKE_COURSE = 25.0", b"LIKE_COURSE = 26.0"),
        ("results.py", b'DISTANCES = ("FD-ImageNet", ', b"DISTANCES = ("),
        ("grading.py", b"STRIP = 6", b"STRIP = 5"),
        ("workers.py", b"MAX_SECONDS = 60", b"MAX_SECONDS = 6"),
        ("files.py", b'"desktop.ini", ', b""),
        ("report/json.py", b"SCHEMA = 5", b"SCHEMA = 6"),
        ("report/images.py", b"quality=80", b"quality=81"),  # the strip in each result
        ("inputs/images.py", b"MAX_PIXELS = 16", b"MAX_PIXELS = 8"),
        ("metrics/copies.py", b"RIVALS = 16", b"RIVALS = 17"),
        ("metrics/copies.py", b"SAME = 0.28", b"SAME = 0.29"),
        ("metrics/afd.py", b"THRESHOLD = 0.5", b"THRESHOLD = 0.6"),
        ("metrics/prdc.py", b"AS_REAL, MEASURED = 0.2", b"AS_REAL, MEASURED = 0.3"),
        ("metrics/optimised.py", b"MOVED = 1.15", b"MOVED = 1.2"),
        ("features/fingerprints.py", b"BLANK = 0.2", b"BLANK = 0.1"),
        ("weights/detector.safetensors", b"", b"others"),
    ],
)
def test_the_key_follows_the_code_and_the_weights(scorer, copied, file, old, new):
    before, data = result_cache.measured_with(scorer, result_cache.code()), (copied / file).read_bytes()
    assert data.count(old) == 1 or not old
    (copied / file).write_bytes(data.replace(old, new, 1))
    assert result_cache.measured_with(scorer, result_cache.code()) != before
    (copied / file).write_bytes(data)
    assert result_cache.measured_with(scorer, result_cache.code()) == before


@pytest.mark.parametrize(
    ("file", "line"), [("report/page.py", b"# other\n"), ("report/templates/report.html.j2", b"<p>")]
)
def test_a_page_follows_what_draws_it_and_the_numbers_do_not(scorer, copied, file, line):
    page, numbers = result_cache.drawn_by(), result_cache.measured_with(scorer, result_cache.code())
    data = (copied / file).read_bytes()
    (copied / file).write_bytes(data + line)
    assert result_cache.drawn_by() != page and result_cache.measured_with(scorer, result_cache.code()) == numbers
    (copied / file).write_bytes(data)
    assert result_cache.drawn_by() == page


def test_no_word_of_the_plan_of_a_class_grades_it_again():
    measures = [path.name for pattern in result_cache.MEASURES for path in result_cache.HERE.glob(pattern)]
    assert measures and "leaderboard.py" not in measures


def test_a_process_measures_with_the_code_that_it_has_loaded(scorer, copied, monkeypatch):
    """A worker of Dask that is asked again, for other options, when another grader lies on the disk: its results are
    none of that one's."""
    monkeypatch.setattr(grading, "_scorer", lambda options: scorer)
    grading._own_code.cache_clear()

    def key():
        grading._measured_with.cache_clear()  # as other options do
        return grading._measured_with(grading.Options())

    before = key()
    for file in ("metrics/afd.py", "thresholds.toml"):
        data = (copied / file).read_bytes()
        (copied / file).write_bytes(data + b"# other\n")
        assert key() == before != result_cache.measured_with(scorer, result_cache.code())
        (copied / file).write_bytes(data)
    grading._own_code.cache_clear()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The grader's own files in another place, to be changed; the largest ones are cut."""
    folder = tmp_path_factory.mktemp("copied")
    with pytest.MonkeyPatch.context() as patch:
        patterns = (*result_cache.MEASURES, *result_cache.DRAWN_BY)
        for path in (path for pattern in patterns for path in result_cache.HERE.glob(pattern) if path.is_file()):
            copy = folder / path.relative_to(result_cache.HERE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes()[: 2**16])
        patch.setattr(result_cache, "HERE", folder)
        yield folder


def test_the_key_follows_the_content_of_a_submission(tmp_path):
    folder = tmp_path / "eve"
    (folder / "below").mkdir(parents=True)
    (folder / "1.jpg").write_bytes(b"one")
    (folder / "below/2.jpg").write_bytes(b"two")
    before = result_cache.key(folder, "x")
    (folder / ".DS_Store").write_bytes(b"of a teacher who looked into it")
    os.utime(folder / "1.jpg", ns=(1, 1))
    assert result_cache.key(folder, "x") == before != result_cache.key(folder, "y")
    keys = {before}
    state = os.stat(folder / "1.jpg")
    (folder / "1.jpg").write_bytes(b"two")
    os.utime(folder / "1.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))  # as long, and as old
    keys.add(result_cache.key(folder, "x"))
    (folder / "1.jpg").rename(folder / "3.jpg")
    keys.add(result_cache.key(folder, "x"))
    (folder / "below/2.jpg").unlink()
    keys.add(result_cache.key(folder, "x"))
    (folder / "below/2.jpg").symlink_to("/etc/passwd")
    keys.add(result_cache.key(folder, "x"))
    keys.add(result_cache.key(folder.rename(tmp_path / "eve (1)"), "x"))  # the result names it
    assert len(keys) == 6


@pytest.mark.parametrize("folder", [True, False])
def test_the_key_follows_a_link_at_the_top(tmp_path, folder):
    target, link = tmp_path / "target/eve", tmp_path / "eve"
    inside = target / "1.jpg" if folder else target
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"one")
    link.symlink_to(target)
    before = result_cache.key(link, "x")
    assert before == result_cache.key(target, "x")
    inside.write_bytes(b"two")
    assert result_cache.key(link, "x") != before
