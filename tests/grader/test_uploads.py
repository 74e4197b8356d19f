"""What names and times of uploads tell: Moodle's and Canvas' downloads, and what only looks like them."""

import os
import warnings
from datetime import datetime, timezone

import pytest

from grader.roster import Student, students
from grader.uploads import handed_in


def entries(folder, names):
    found = {}
    for number, name in enumerate(names):
        path = folder / name
        path.touch()
        os.utime(path, (1000 + number, 1000 + number))
        found[name.removesuffix(".tgz")] = path
    return found


def upload(entry, source):
    """The only one of a class."""
    (one,) = handed_in({entry: source})
    return one


def test_names_of_platforms(tmp_path):
    moodle = upload("王小明_123_assignsubmission_file_", tmp_path)
    assert (moodle.platform, moodle.name, moodle.number) == ("moodle", "王小明", "123")
    assert upload("A_B_7_assignsubmission_file_my.gan", tmp_path).name == "A_B"
    canvas = upload("lovelaceada_LATE_12_345_b10901002-3", tmp_path)
    assert (canvas.platform, canvas.name, canvas.number, canvas.file, canvas.late) == (
        "canvas", "lovelaceada", "12", 345, True,
    )  # fmt: skip
    assert upload("b10901002_gan", tmp_path).platform == upload("hw6_2024_06_ada", tmp_path).platform == ""


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["hw6_2024_12_ada.tgz", "hw6_2024_12_bob.tgz"], ["hw6_2024_12_ada", "hw6_2024_12_bob"]),
        (["hw6_2024_12_team-1.tgz", "hw6_2024_12_team-2.tgz"], ["hw6_2024_12_team-1", "hw6_2024_12_team-2"]),
        (["hw6_2024_10_ada.tgz", "hw6_2024_11_bob"], ["hw6_2024_10_ada", "hw6_2024_11_bob"]),
        (["2024_11201_6_gan.tgz", "2024_11202_6_gan.tgz"], ["2024_11201_6_gan", "2024_11202_6_gan"]),
        ([f"gan_1120{n}_6_x.tgz" for n in range(3)], [f"gan_1120{n}_6_x" for n in range(3)]),
        (
            [f"{name}_1120{n}_6_x.tgz" for n, name in enumerate("王陳李")],
            [f"{name}_1120{n}_6_x" for n, name in enumerate("王陳李")],
        ),
        (  # one has written another number
            ["ada_11201_6_x.tgz", "bob_11202_6_x.tgz", "cy_11203_6_x.tgz", "eve_11230_7_x.tgz"],
            ["ada_11201_6_x", "bob_11202_6_x", "cy_11203_6_x", "eve_11230_7_x"],
        ),
        (  # two groups
            [f"{name}_1{n}_{345 + n // 3}_x.tgz" for n, name in enumerate(["ada", "bob", "cy", "dan", "eve", "fay"])],
            ["ada", "bob", "cy", "dan", "eve", "fay"],
        ),
        (["王_107_12_assignsubmission_file_a.tgz", "林_108_13_assignsubmission_file_a.tgz"], ["王_107", "林_108"]),
        (["user7_12_345_hw.tgz", "user7_12_346_hw-1.tgz"], ["user7"]),  # handed in again
        (["user7_12_345_gan.tgz", "user7_12_346_report.pdf", "wukong_13_347_gan.tgz"], ["user7", "wukong"]),
        (["ada_2024_5_hw6.tgz", "bob_2024_6_hw6.tgz"], ["ada_2024_5_hw6", "bob_2024_6_hw6"]),
        (["kimeve_12_345_gan.tgz", "kimeve_12_346_report.pdf", "wukong_13_347_gan.tgz"], ["kimeve", "wukong"]),
        (["kimeve_12_345_gan.tgz", "wukong_13_345_gan.tgz"], ["kimeve", "wukong"]),  # handed in for a group
        (["kim_101_text.html", "eve_LATE_102_link.html", "wu_103_text.html"], ["kim", "eve", "wu"]),
        (["kimeve_12_345_gan.rar", "kimeve_12_345_gan"], ["kimeve"]),  # a teacher unpacked it
    ],
)
def test_names_that_are_canvas_by_chance_merge_nobody(tmp_path, names, rows):
    assert [row.row for row in students(entries(tmp_path, names))] == rows


@pytest.mark.parametrize("tail", ["Bob_777_assignsubmission_file_gan", "x_9_assignsubmission_file_b2", "x_9_10_b2"])
@pytest.mark.parametrize("start", ["{}_77{}_assignsubmission_file_", "{}_77{}_10{}_"])
def test_what_follows_the_platforms_own_part_of_a_name_is_the_students(tmp_path, start, tail):
    """Else Ada's file would replace Bob's."""
    bob, ada = (start.format(name, number, number) for name, number in (("Bob", 7), ("Ada", 6)))
    rows = students(
        entries(tmp_path, [f"{bob}gan.tgz", f"{ada}{tail}.tgz"]), [Student("b1", "Ada"), Student("b2", "Bob")]
    )
    assert [row.upload and row.upload.entry for row in rows] == [ada + tail, f"{bob}gan"]


@pytest.mark.parametrize(
    "names", [["lovelaceada_LATE_12_345_b1.tgz"], ["lovelaceada_12_344_b1.tgz", "lovelaceada_LATE_12_345_b1.tgz"]]
)
def test_a_file_of_canvas_one_folder_deeper_is_that_students(tmp_path, names):
    """Its numbers are no ids, it is late, and its time is that of the download."""
    found = entries(tmp_path, ["eve_13_346_gan.tgz"])
    for name in names:
        found[f"late/{name}" if len(names) > 1 else "late"] = tmp_path / name
        (tmp_path / name).touch()
    ada, *others = students(found, [Student(id, id) for id in ("b1", "12", "345", "344")])
    assert (ada.upload.number, ada.upload.file, ada.upload.late, ada.upload.uploaded) == ("12", 345, True, None)
    assert ada.ordered and [row.row for row in others if row.upload] == ["eve"]


def test_a_file_of_moodle_one_folder_deeper_is_that_students(tmp_path):
    one = upload("late", tmp_path / "Ada Lovelace_17_assignsubmission_file_gan.tgz")
    assert (one.platform, one.name, one.number) == ("moodle", "Ada Lovelace", "17")


@pytest.mark.parametrize("names", [["dcgan_50_64_best.tgz"], ["dcgan_50_64_best.tgz", "dcgan_100_64_best.tgz"]])
def test_archives_in_folders_of_a_class_that_is_not_of_canvas_are_the_folders(tmp_path, names):
    found = {f"b1/{name}": path for name, path in zip(names, entries(tmp_path, names).values(), strict=True)}
    (row,) = students(found, [Student("b1", "Ada")])
    assert row.upload.source.name == names[-1] and row.upload.uploaded


@pytest.mark.parametrize("folder", ["11205", "late"])
def test_an_archive_in_a_folder_makes_no_class_that_of_canvas(tmp_path, folder):
    tops = ["gan_11201_1_final", "gan_11202_2_final", "gan_11203_3_final", "gan_11204_4_x"]
    found = entries(tmp_path, [f"{name}.tgz" for name in tops]) | {folder: tmp_path / "dcgan_50_64_best.tgz"}
    found[folder].touch()
    rows = students(found, [Student(f"1120{number}", "") for number in range(1, 5)])
    assert [row.upload.entry for row in rows] == [*found]


def test_what_canvas_calls_late_is_so_in_a_students_folder_too(tmp_path):
    """The teacher has moved it there. Its time is that of the download."""
    found = {"kimeve_50_345_gan": tmp_path / "kimeve_50_345_gan.tgz", "b1": tmp_path / "adalee_LATE_77_460_gan.tgz"}
    for path in found.values():
        path.touch()
    _, ada = students(found, [Student("b3", "Eve Kim"), Student("b1", "Ada Lee")])
    assert ada.upload.late and ada.upload.uploaded is None


@pytest.mark.parametrize("top", ["b3_100_64_gan", "kimeve_50_345_gan"])
def test_in_a_folder_of_a_student_an_archive_called_as_canvas_would_is_theirs(tmp_path, top):
    """One such name of two students is no person, and changes nothing of what Canvas has named."""
    found = entries(tmp_path, [f"{top}.tgz"]) | {
        name: tmp_path / name / "dcgan_50_64_best.tgz" for name in ("b1", "b2")
    }
    for path in [*found.values()][1:]:
        path.parent.mkdir()
        path.touch()
    rows = students(found, [Student(id, name) for id, name in (("b3", "Eve Kim"), ("b1", "Ada"), ("b2", "Bob"))])
    assert [(row.upload.entry, row.upload.platform) for row in rows] == [(top, "canvas"), ("b1", ""), ("b2", "")]


def test_a_class_that_was_cloned_has_no_times(tmp_path):
    """Each would be late by the days until then. A few may hand in together; and most do not in a real class."""
    deadline = datetime.fromtimestamp(50_000, timezone.utc)

    def dated(*times, strays=None):
        found = entries(tmp_path, [f"b{number}.tgz" for number in range(len(times))])
        for path, time in zip(found.values(), times, strict=True):
            os.utime(path, (time, time))
        found |= strays or {}
        return [one.dated for one in handed_in(found, deadline)]

    with pytest.warns(UserWarning, match="copied or cloned: which of them are late is not known"):
        assert dated(*range(90_000, 91_000, 50), 40_000) == [False] * 21
    with pytest.warns(UserWarning, match="copied or cloned"):
        assert dated(*[90_000] * 18, *range(2)) == [False] * 20  # nine in ten
    strays = entries(tmp_path, ["instructions.pdf", "students.xlsx", "notes.txt"])
    with pytest.warns(UserWarning, match="copied or cloned"):
        assert dated(*range(90_000, 91_000, 50), strays=strays) == [False] * 23
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(dated(*[90_000] * 4)) and all(dated(*[90_000] * 8, *range(8))) and all(dated(*[40_000] * 9))
        assert all(dated(*[90_000] * 17, *range(3)))
        assert all(dated(*range(60_000, 90_000, 2_000)))


def test_a_linked_folder_is_as_old_as_its_files(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far/1.jpg").touch()
    os.utime(tmp_path / "far/1.jpg", (1000, 1000))
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert upload("near", tmp_path / "near").time.timestamp() == 1000


def test_many_files_of_few_late_students_are_no_download(tmp_path):
    """Students count, and not their files; who handed in again late is one of those who were in time."""
    found = {}
    for number in range(7):
        for file in range(1 if number < 4 else 3):
            name = f"Kim_{number}_assignsubmission_file_/{file}.tgz"
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
            time = 1000 * number if number < 4 else 90_000 * (file + (number > 4))
            os.utime(tmp_path / name, (time, time))
            found[name] = tmp_path / name
    rows = students(found, deadline=datetime.fromtimestamp(80_000, timezone.utc))
    assert [row.upload.uploaded is not None for row in rows] == [True] * 7


def test_a_folder_was_uploaded_when_its_latest_file_was(tmp_path):
    for name, time in (
        ("ada/deep/1.jpg", 2000),
        ("ada/2.jpg", 1000),
        ("ada/.DS_Store", 3000),
        ("ada/@eaDir/1.jpg/THUMB_M.jpg", 3000),
        ("kim/1.jpg", 1500),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    (tmp_path / "none").mkdir()
    os.utime(tmp_path / "none", (500, 500))
    times = [upload(name, tmp_path / name).time.timestamp() for name in ("ada", "kim", "none")]
    assert times == [2000, 1500, 500]
