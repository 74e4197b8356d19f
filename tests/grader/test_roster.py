"""Uploads find their students: ids in names, the names of platforms, the latest of several."""

import os
import unicodedata

import pytest

from grader import grades
from grader.errors import GraderError
from grader.points import read_points
from grader.roster import Student, read_roster, students
from tests.grader.test_uploads import entries


def roster_of(path, text):
    path.write_text(text, encoding="utf-8")
    return read_roster(path)


@pytest.fixture
def listed(tmp_path):
    return roster_of(
        tmp_path / "r.csv", "\ufeffName,ID,group\n王小明,B10901001,1\nAda Lovelace,b10901002,2\nKim,b1090100,1\n"
    )


def test_a_roster_is_read_as_spreadsheets_write_it(listed):
    assert [(one.id, one.name) for one in listed] == [
        ("B10901001", "王小明"),
        ("b10901002", "Ada Lovelace"),
        ("b1090100", "Kim"),
    ]


def test_a_gradebook_of_canvas_is_a_roster(tmp_path):
    """Its ID is Canvas' own number of a student."""
    text = (
        "Student,ID,SIS User ID,SIS Login ID,Section,GAN (7)\n,,,,,Manual Posting\n    Points Possible,,,,,10\n"
        '"Lovelace, Ada",12,b1,ada,hw6,\n"Student, Test",14,,5cf2,hw6,\n'
    )
    assert [(one.id, one.name) for one in roster_of(tmp_path / "r.csv", text)] == [("b1", "Lovelace, Ada")]
    with pytest.raises(GraderError, match="line 4 has no id"):
        roster_of(tmp_path / "r.csv", text.replace("b1,", ","))
    with pytest.raises(GraderError, match="without the column SIS User ID"):
        roster_of(tmp_path / "r.csv", 'Student,ID,Section\n    Points Possible,,\n"Lovelace, Ada",12,hw6\n')
    text = 'Student,ID,Section\n"Lovelace, Ada",b1,hw6\n'  # a list from elsewhere
    assert [one.id for one in roster_of(tmp_path / "r.csv", text)] == ["b1"]


@pytest.mark.parametrize("head", ["First name,Last name,ID number", "名字,姓氏,ID number", "First name,Surname,學號"])
def test_the_two_names_of_moodles_export_are_one(tmp_path, head):
    listed = roster_of(tmp_path / "r.csv", f"{head}\nAda,Lovelace,b1\n小明,王,b2\nKim,,b3\n")
    assert [(one.id, one.name) for one in listed] == [("b1", "Ada Lovelace"), ("b2", "王小明"), ("b3", "Kim")]


def test_a_roster_without_names_says_so(tmp_path):
    with pytest.warns(UserWarning, match=r"r\.csv: has no column name"):
        assert [one.name for one in roster_of(tmp_path / "r.csv", "id,中文姓名\nb1,王小明\n")] == [""]


@pytest.mark.parametrize(
    "head",
    ["ID,學號,姓名", "id,Student ID,name", "No.,ID,姓名", "\ufeff\u200bID,\u200b學號,姓\u200b名", "＃,ＩＤ,姓名"],
)
def test_the_id_is_the_schools_and_not_the_number_of_the_line(tmp_path, head):
    listed = roster_of(tmp_path / "r.csv", f"\ufeff{head}\n1,B10901001,王小明\n2,B10901002,Ada\n")
    assert [(one.id, one.name) for one in listed] == [("B10901001", "王小明"), ("B10901002", "Ada")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no column id"),
        ("number,name\n1,a\n", "no column id"),
        ("id,name\n", "lists no student"),
        ("id,name\nb1,a\nB1,b\n", "line 3 has the id B1 again"),
        ("id,name\n,a\n", "line 2 has no id"),
        ("id,group\nb1,1\n , \n,2\n", "line 4 has no id"),  # the one before is blank
        ('id,name\nb1,"a\nb"\n,c\n', "line 4 has no id"),  # a name of two lines
        ('id,name\nb1,"Ada\nb2,Bob\nb3,Cy\n', "not a roster"),  # else all below are in Ada's name
    ],
)
def test_a_roster_that_is_none_is_named(tmp_path, text, problem):
    with pytest.raises(GraderError, match=problem):
        roster_of(tmp_path / "r.csv", text)
    (tmp_path / "big5.csv").write_bytes("id,name\nb1,王".encode("big5"))
    with pytest.raises(GraderError, match="UTF-8"):
        read_roster(tmp_path / "big5.csv")


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_lines_may_end_as_on_other_systems(tmp_path, end):
    (tmp_path / "r.csv").write_bytes(f"id,name{end}b1,Ada{end}b2,Eve{end}".encode())
    assert [(one.id, one.name) for one in read_roster(tmp_path / "r.csv")] == [("b1", "Ada"), ("b2", "Eve")]


def test_a_comma_in_a_name_is_told(tmp_path):
    with pytest.raises(GraderError, match="line 3 has more cells than the first line: put quotes around a comma"):
        roster_of(tmp_path / "r.csv", "id,name\nb1,Ada,\nb2,Lovelace, Ada\n")
    listed = roster_of(tmp_path / "r.csv", 'id,name\nb1,"Lovelace, Ada"\nb2,Eve,,\n')
    assert [one.name for one in listed] == ["Lovelace, Ada", "Eve"]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_may_stand_between_what_excel_writes(tmp_path, mark):
    listed = roster_of(tmp_path / "r.csv", "id,name\nb1,Ada\nb2,Eve\n".replace(",", mark))
    assert [(one.id, one.name) for one in listed] == [("b1", "Ada"), ("b2", "Eve")]


@pytest.mark.parametrize("first", ["sep=;", "\ufeffSEP=;", '"sep=;"', "sep=;;"])
def test_the_line_that_tells_excel_the_mark_is_no_line_of_the_table(tmp_path, first):
    listed = roster_of(tmp_path / "r.csv", f'{first}\r\nid;name\r\nb1;"Lovelace; Ada, Countess"\r\n')
    assert [(one.id, one.name) for one in listed] == [("b1", "Lovelace; Ada, Countess")]
    with pytest.raises(GraderError, match="line 4 has no id"):
        roster_of(tmp_path / "r.csv", f"{first}\nid;name\nb1;Ada\n;Eve\n")


@pytest.mark.parametrize("begins", [b"PK\3\4", b"\xd0\xcf\x11\xe0"])
def test_a_workbook_is_told_how_to_become_a_roster(tmp_path, begins):
    (tmp_path / "r.xlsx").write_bytes(begins + bytes(600))
    with pytest.raises(
        GraderError, match=r"r\.xlsx: a workbook of a spreadsheet, and no CSV file: save it as CSV UTF-8"
    ):
        read_roster(tmp_path / "r.xlsx")


def test_whose_archive_lies_in_anothers_folder_is_not_missing(tmp_path):
    listed = roster_of(tmp_path / "r.csv", "id,name\nb1,Ada\nb2,Bob\nb3,Cy\n")
    (tmp_path / "b1").mkdir()
    for name in ("b1.tgz", "b2.tgz"):
        (tmp_path / "b1" / name).touch()
    unsure = {one.id: one.unsure for one in students({"b1": tmp_path / "b1"}, listed)}
    assert unsure["b2"] and not unsure["b3"]
    (tmp_path / "b2.tgz").touch()
    found = {"b1": tmp_path / "b1", "b2": tmp_path / "b2.tgz"}
    assert not {one.id: one.unsure for one in students(found, listed)}["b2"]


def test_of_files_of_canvas_the_one_that_came_last_counts(tmp_path):
    """Its number tells: a -6 may be the student's own, and the times are those of the download."""
    for names in (
        ["kimeve_12_345_hw-6.tgz", "kimeve_12_346_hw.tgz"],
        ["kimeve_12_99_hw-6.tgz", "kimeve_12_346_final.tgz"],
        ["kimeve_12_345_hw.tgz", "kimeve_12_346_hw-1.tgz"],
    ):
        for order in (names, names[::-1]):
            (row,) = students(entries(tmp_path, order))
            assert row.upload.source.name == names[1]


def test_a_time_is_not_compared_with_that_of_a_download(tmp_path):
    """Downloaded again, another upload would count."""
    for names in (["kimeve_12_345_b7.tgz", "b7.tgz"], ["b7.tgz", "kimeve_12_345_b7.tgz"]):
        (row,) = students(entries(tmp_path, names), [Student("b7", "Eve Kim")])
        assert row.upload.entry == "b7" and not row.ordered  # sent by mail
        assert row.notes == ["one of 2 uploads; passed over: kimeve_12_345_b7"]
        assert [one.entry for one in row.to_grade({})] == ["b7", "kimeve_12_345_b7"]
        both = row.settled({"b7": "", "kimeve_12_345_b7": ""})
        assert both.upload.entry == "b7" and both.undecided and "decide which of 2 uploads counts" in both.notes[0]
        one = row.settled({"b7": "holds no picture", "kimeve_12_345_b7": ""})
        assert one.upload.entry == "kimeve_12_345_b7" and not one.undecided
        assert one.notes == ["the latest of 2 uploads that can be graded; passed over: b7 (holds no picture)"]


def test_the_latest_that_can_be_graded_counts(tmp_path):
    names = [f"kimeve_12_{number}_hw.tgz" for number in range(1, 8)]
    (row,) = students(entries(tmp_path, names))
    tried = {}
    for name in ("kimeve_12_7_hw", "kimeve_12_6_hw"):
        assert [one.entry for one in row.to_grade(tried)] == [name]
        tried[name] = "torn"
    assert not row.to_grade(tried | {"kimeve_12_5_hw": ""})
    done = row.settled(tried | {"kimeve_12_5_hw": ""})
    assert (done.upload.entry, done.undecided) == ("kimeve_12_5_hw", False)
    assert done.notes[0].endswith("passed over: kimeve_12_7_hw (torn)") and done.notes[3:] == ["and 3 more such files"]
    torn = dict.fromkeys((f"kimeve_12_{number}_hw" for number in range(3, 8)), "torn")
    assert not row.to_grade(torn)  # that is enough work
    assert row.settled(torn).undecided  # the others were not read
    (row,) = students(entries(tmp_path, names[:2]))
    assert not row.settled(dict.fromkeys(("kimeve_12_1_hw", "kimeve_12_2_hw"), "torn")).undecided


@pytest.mark.parametrize("eve", ["onlineeve_12_101_b09901001.tgz", "Eve Online_12_assignsubmission_file_b09901001.tgz"])
def test_nobody_hands_in_for_another_by_an_id_in_a_file_name(tmp_path, eve):
    listed = [Student("b09901001", "Ada Lovelace"), Student("b09901002", "Eve Online"), Student("b09901003", "Kim")]
    ada = "lovelaceada_11_100_b09901001.tgz" if "assign" not in eve else eve.replace("Eve Online_12", "Ada Lovelace_11")
    rows = students(entries(tmp_path, [ada, eve]), listed)
    assert [row.upload and row.upload.source.name for row in rows] == [ada, eve, None]
    twins = [Student("b09901001", "Eve Online"), Student("b09901002", "Online Eve")]  # the name does not tell: the id
    assert [bool(row.upload) for row in students(entries(tmp_path, [eve]), twins)] == [True, False]


@pytest.mark.parametrize(
    ("name", "ada"),
    [
        ("Nick_17_assignsubmission_file_/gan.tgz", False),
        ("Nick_17_assignsubmission_file_gan.tgz", False),
        ("Nick_17_assignsubmission_file_/gan_17.tgz", True),
        ("Nick_5_assignsubmission_file_17.tgz", True),
        ("Nick 17_5_assignsubmission_file_gan.tgz", True),  # a school that puts its ids there
        ("nick_17_345_gan.tgz", False),
        ("nick_LATE_5_17_gan.tgz", False),
        ("nick_LATE_17_345_gan", False),
        ("nick_17_text.html", False),
        ("nick_5_345_17.tgz", True),
        ("nick_17.tgz", True),
    ],
)
def test_a_number_of_the_platforms_is_nobodys_id(tmp_path, name, ada):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    entry = name.partition("/")[0].removesuffix(".tgz")
    row = students({entry: tmp_path / name}, [Student("17", "Ada")])[0]
    assert bool(row.upload) == ada


def test_what_was_typed_into_canvas_is_of_its_student(tmp_path):
    listed = [Student("b1", "Ada Lovelace"), Student("b2", "Kim"), Student("b3", "Eve")]
    found = entries(tmp_path, ["lovelaceada_12_text.html", "kim_LATE_13_link.html", "eve_14_345_gan.tgz"])
    rows = students(found, listed)
    assert [(row.upload.typed, row.upload.late, row.upload.readable) for row in rows] == [
        (True, False, False), (True, True, False), (False, False, True),
    ]  # fmt: skip
    by_chance = entries(tmp_path, ["ada_2024_text.html", "bob_2024_text.html"])
    assert [row.row for row in students(by_chance)] == [*by_chance]


ADA, XIAO = "Ada Lovelace_11_assignsubmission_file_", "小美_12_assignsubmission_file_"


@pytest.mark.parametrize(
    ("names", "own", "others"),
    [
        ([ADA + "b1", XIAO + "b1"], 0, [1]),  # named by the platform, and by a file's name
        ([XIAO + "b1", ADA + "gan", ADA + "2"], 2, [0]),
        (["lovelaceada_11_100_b1", "mei_12_101_b1"], 0, [1]),
        ([ADA + "b1", ADA.replace("11", "13") + "gan"], 0, [1]),  # a namesake who is not on the roster
        ([ADA + "b1", "mei_12_101_b1"], 0, []),  # two platforms: as far as anybody knows one person
    ],
)
def test_two_numbers_of_a_platform_are_two_people(tmp_path, names, own, others):
    listed = [Student("b1", "Ada Lovelace"), Student("b2", "Eve")]
    rows = students(entries(tmp_path, [f"{name}.tgz" for name in names]), listed)
    assert rows[0].upload.entry == names[own] and not rows[0].unsure
    assert [row.upload.entry for row in rows[2:]] == [names[place] for place in others]
    assert all("under another number" in row.notes[-1] for row in rows[2:])


def test_one_person_who_names_two_ids_is_neither(tmp_path):
    listed = [Student("b1", "Ada Lovelace"), Student("b2", "Eve")]
    rows = students(entries(tmp_path, ["nick_5_100_b1.tgz", "nick_5_101_b2.tgz"]), listed)
    assert [(row.unsure, row.upload) for row in rows[:2]] == [(True, None)] * 2
    assert "b1 Ada Lovelace or b2 Eve" in rows[2].notes[-1]


@pytest.mark.parametrize(
    "names",
    [
        [ADA.replace("Ada Lovelace", "A. L.") + "b1", XIAO + "b1"],
        [ADA + "gan", ADA.replace("11", "13") + "gan"],
        [ADA + "b1", ADA.replace("11", "13") + "b1", "b1"],
    ],
)
def test_where_nobody_can_tell_whose_an_upload_is_a_person_decides(tmp_path, names):
    rows = students(entries(tmp_path, [f"{name}.tgz" for name in names]), [Student("b1", "Ada Lovelace")])
    assert rows[0].unsure and rows[0].upload is None
    assert sorted(row.upload.entry for row in rows[1:]) == sorted(names)
    assert all("may be that of b1 Ada Lovelace" in row.notes[-1] for row in rows[1:])
    results = grades.with_missing([], rows[:1])
    (row,) = grades.with_grades(results, rows[:1], read_points())
    assert (row["status"], row["grade"]) == ("unsure", None) and "a person decides" in row["remarks"][0]


@pytest.mark.parametrize(
    ("names", "owners", "unsure"),
    [
        (["Wang Wei_5_assignsubmission_file_", "Wang Wei_6_assignsubmission_file_"], [], ["b1", "b2"]),
        (["weiwang_5_100_hw6", "weiwang_6_101_hw6"], [], ["b1", "b2"]),
        (["weiwang_5_100_b3"], [], ["b1", "b2"]),  # an id in a file's name does not count before the platform's name
        (["weiwang_5_100_b1", "weiwang_6_101_hw6"], ["b1"], ["b2"]),
        (["weiwang_5_100_b1", "weiwang_6_101_b1"], [], ["b1", "b2"]),
        (["weiwang_5_100_b1", "eve_7_101_b1"], ["b1", "b3"], []),
        (["weiwang_5_100_b1", "kim_7_101_b1"], ["b1"], []),  # of somebody who is not on the roster
        (["b1_b3"], [], ["b1", "b3"]),
    ],
)
def test_who_may_have_handed_in_is_not_missing(tmp_path, names, owners, unsure):
    """Namesakes, and a file that names two ids: an import of 0 would be wrong for one of them."""
    listed = [Student("b1", "Wang Wei"), Student("b2", "Wang Wei"), Student("b3", "Eve")]
    rows = students(entries(tmp_path, [f"{name}.tgz" for name in names]), listed)
    assert [row.id for row in rows[:3] if row.upload] == owners
    assert [row.id for row in rows if row.unsure] == unsure
    assert all("decide whose it is" in row.notes[-1] for row in rows[3:] if row.name != "kim")


@pytest.mark.parametrize(
    ("other", "counts"), [("nick_5_101_report.pdf", 0), ("nick_5_101_hw6-1.tgz", 1), ("nick_5_101_b1_b2.tgz", 1)]
)
def test_another_file_of_one_person_is_the_same_students(tmp_path, other, counts):
    """A row of its own would be a second line of that student in the gradebook, with a grade of its own."""
    listed = [Student("b1", "Nicholas Lee"), Student("b2", "Eve")]
    row, eve = students(entries(tmp_path, ["nick_5_100_b1.tgz", other]), listed)
    assert row.upload.source.name == ["nick_5_100_b1.tgz", other][counts]
    assert "of 2 uploads" in row.notes[0] and not eve.unsure


def test_an_id_on_one_archive_of_a_shared_folder_is_not_on_the_others(tmp_path):
    """class/late/ may hold those of two students: one would get the other's grade. A folder's name may tell whose."""
    own, other = entries(tmp_path, ["b5.tgz", "gan.tgz"]).values()
    listed = [Student("b5", "Ada Lee"), Student("b6", "Eve")]
    for folder in ("late", "late b5", "Lee, Ada", "Ada_7_assignsubmission_file_"):
        found = {f"{folder}/{path.name}": path for path in (own, other)}
        ada, eve, *nobodys = students(found, listed)
        assert ada.ordered and eve.upload is None
        assert (ada.upload.source, len(nobodys)) == ((own, 1) if folder == "late" else (other, 0))
    ada, eve, nobodys = students({f"late/{path.name}": path for path in (own, other)}, listed)
    assert nobodys.upload.source == other and not nobodys.whose
    assert ada.settled({"late/b5.tgz": ""}).undecided and "late holds an upload that is nobody's too" in ada.notes[-1]
    assert not students({"late/b5.tgz": own, "gan": other}, listed)[0].settled({"late/b5.tgz": ""}).undecided
    results = [{"name": row.row, "status": "graded", "problems": [], "undecided": True} for row in (ada, nobodys)]
    rows = grades.with_grades(grades.with_missing(results, [ada, eve, nobodys]), [ada, eve, nobodys], read_points())
    assert (rows[1]["status"], rows[1]["grade"]) == ("missing", None)
    found = {f"late/{path.name}": path for path in entries(tmp_path, ["gan.tgz", "b5_b6.tgz", "old.tgz"]).values()}
    assert [row.row for row in students(found, listed)[2:]] == [
        "late", "late (late/b5_b6.tgz)", "late (late/old.tgz)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "owners"), [("hw6-ada-l", ["ada-l"]), ("hw6-ada", ["ada"]), ("ada_ada-l", []), ("ada-l-ada-l", ["ada-l"])]
)
def test_an_id_within_a_longer_one_is_not_told(tmp_path, entry, owners):
    rows = students(entries(tmp_path, [f"{entry}.tgz"]), [Student("ada", "Ada"), Student("ada-l", "Ada Lee")])
    assert [row.id for row in rows if row.id and row.upload] == owners
    assert any(row.unsure for row in rows) == (not owners)


def test_of_uploads_of_one_time_the_last_by_name_counts(tmp_path, listed):
    found = entries(tmp_path, ["b10901001_10.tgz", "b10901001_9.tgz"])
    for path in found.values():
        os.utime(path, (1000, 1000))
    assert students(found, listed)[0].upload.entry == "b10901001_10"


def test_each_student_has_the_upload_that_counts(tmp_path, listed):
    names = (
        "b10901001_first.tgz", "hw6b10901001.tgz", "lovelaceada_LATE_12_345_gan-1.tgz", "lovelaceada_12_344_gan.tgz",
        "b109010023.tgz", "b10901001_b10901002.tgz",
    )  # fmt: skip
    rows = students(entries(tmp_path, names), listed)
    assert [row.row for row in rows] == [
        "B10901001 王小明", "b10901002 Ada Lovelace", "b1090100 Kim", "b109010023", "b10901001_b10901002",
    ]  # fmt: skip
    assert rows[0].upload.entry == "hw6b10901001"
    assert rows[0].notes == ["the latest of 2 uploads; passed over: b10901001_first"]
    assert rows[1].upload.entry == "lovelaceada_LATE_12_345_gan-1" and "late, says Canvas" in rows[1].notes
    assert rows[2].upload is None
    assert "no one student" in rows[3].notes[-1]
    assert rows[4].notes[-1] == "it may be that of B10901001 王小明 or b10901002 Ada Lovelace: decide whose it is"


@pytest.mark.parametrize(
    ("cell", "name", "entry"),
    [
        ("Ada\u00a0Lovelace", "Ada Lovelace", "lovelaceada_12_345_gan"),
        ("王\u3000小明", "王 小明", "王小明_12_345_gan"),
        ("\u200bJose\u0301  Ruiz\ufeff", "José Ruiz", "Jos\u00e9 Ruiz_7_assignsubmission_file_"),
        ("Jos\u00e9 Ruiz", "José Ruiz", "Jose\u0301 Ruiz_7_assignsubmission_file_"),
        ("Groß, Anna", "Groß, Anna", "GROSSANNA_12_345_gan"),
        ("Ａｄａ Ｌ", "Ａｄａ Ｌ", "lada_12_345_gan"),
        ("王\ue123明", "王\\ue123明", "王\ue123明_12_345_gan"),  # a character of the school's own
        ("王\ue123 明", "王\\ue123 明", "明 王\ue123_7_assignsubmission_file_"),
    ],
)
def test_a_name_is_found_in_all_its_forms(tmp_path, cell, name, entry):
    listed = roster_of(tmp_path / "r.csv", f'id,name\nb1,"{cell}"\n')
    assert unicodedata.normalize("NFC", listed[0].name) == name
    (row,) = students(entries(tmp_path, [f"{entry}.tgz"]), listed)
    assert row.upload and row.id == "b1"


def test_of_names_of_the_same_letters_each_is_found(tmp_path):
    listed = [Student("b1", "陳怡君"), Student("b2", "陳君怡"), Student("b3", "Ada Lee")]
    for ada in ("leeada_13_346_a", "leaead_13_346_b3"):  # in any order only with an id
        for one in ("陳怡君_11_345_a", "怡君陳_11_345_a", "怡君 陳_11_assignsubmission_file_a"):
            names = [one, "陳君怡_12_assignsubmission_file_a", ada]
            rows = students(entries(tmp_path, [f"{name}.tgz" for name in reversed(names)]), listed)
            assert [row.upload and row.upload.entry for row in rows] == names


@pytest.mark.parametrize(
    ("name", "same"),
    [("Smith Ann Mary", True), ("Mary ann-Smith", True), ("Annmary Smith", True), ("Mary Ann Smtih", False)],
)
def test_a_name_that_only_has_the_letters_may_be_another_ones(tmp_path, name, same):
    listed = [Student("b1", "Ann Mary Smith"), Student("b2", "陳君怡")]
    row, chen, *more = students(
        entries(tmp_path, [f"{name}_7_assignsubmission_file_.tgz", "陳怡君_12_346_a.tgz"]), listed
    )
    assert (bool(row.upload), row.unsure) == (same, not same) and (chen.upload, chen.unsure) == (None, True)
    assert more[-1].notes == ["it may be that of b2 陳君怡: decide whose it is"] and len(more) == 2 - same
    row, chen, other = students(entries(tmp_path, ["陳怡君_12_346_a.tgz", "陳君怡_13_347_a.tgz"]), listed)
    assert chen.upload.number == "13" and other.upload.number == "12" and not row.unsure


def test_an_id_is_found_in_all_its_forms(tmp_path):
    listed = roster_of(tmp_path / "r.csv", "id,name\nＢ１\u200b,Ada\n")
    (row,) = students(entries(tmp_path, ["hw_b1.tgz"]), listed)
    assert row.upload.entry == "hw_b1"
    with pytest.raises(GraderError, match="the id b1 again"):
        roster_of(tmp_path / "r.csv", "id,name\nＢ１,Ada\nb1,Eve\n")


@pytest.mark.parametrize(
    ("id", "entry", "found"),
    [
        ("b1", "王小明b1", True),
        ("b1", "작업b1", True),
        ("b1", "第3組B1王", True),
        ("1b", "王1b小明", True),
        ("b1", "ab1", False),
        ("b1", "éb1", False),  # the end of a name
        ("1b", "1bé", False),
        ("1b", "王21b", False),
        ("學1", "大學1", False),
    ],
)
def test_an_id_is_no_part_of_a_longer_word(tmp_path, id, entry, found):
    row = students(entries(tmp_path, [f"{entry}.tgz"]), [Student(id, "Ada")])[0]
    assert bool(row.upload) == found


def test_without_a_roster_each_upload_is_a_student(tmp_path):
    rows = students(
        entries(tmp_path, ("ada.tgz", "Kim_7_assignsubmission_file_.tgz", "Kim_8_assignsubmission_file_.tgz"))
    )
    assert [row.row for row in rows] == ["ada", "Kim", "Kim (Kim_8_assignsubmission_file_)"]


@pytest.mark.parametrize(
    "later",
    [
        "Ada_7_assignsubmission_onlinetext_/onlinetext.html",
        "Ada_7_assignsubmission_onlinetext_/picture.png",
        "Ada_7_assignsubmission_file_2/gan.rar",
        "Ada_7_assignsubmission_file_2/.DS_Store",
    ],
)
def test_a_folder_without_pictures_counts_only_where_there_is_nothing_else(tmp_path, later):
    (tmp_path / later).parent.mkdir()
    (tmp_path / later).touch()
    found = {path.name: path for path in tmp_path.iterdir()}
    archive = entries(tmp_path, ["Ada_7_assignsubmission_file_.tgz"])  # of 1970
    assert [row.upload.entry for row in students(found)] == list(found)
    (row,) = students(found | archive)
    assert row.upload.entry == "Ada_7_assignsubmission_file_"
    assert row.notes == [f"the latest archive of 2 uploads; passed over: {next(iter(found))}"]


@pytest.mark.parametrize("inside", ["1.JPG", "gan.zip", "outputs/1.jpg"])
def test_a_folder_with_pictures_counts_before_a_file(tmp_path, inside):
    (tmp_path / "Ada_7_assignsubmission_file_" / inside).parent.mkdir(parents=True)
    (tmp_path / "Ada_7_assignsubmission_file_" / inside).touch()
    found = {"Ada_7_assignsubmission_file_": tmp_path / "Ada_7_assignsubmission_file_"}
    (tmp_path / "Ada_7_assignsubmission_file_z.pdf").touch()
    found["Ada_7_assignsubmission_file_z.pdf"] = tmp_path / "Ada_7_assignsubmission_file_z.pdf"
    assert [row.upload.entry for row in students(found)] == ["Ada_7_assignsubmission_file_"]


def test_a_file_that_is_no_archive_counts_only_where_there_is_none(tmp_path, listed):
    names = ("b10901001.tgz", "b10901001 report.pdf", "b1090100.rar", "b1090100.txt")
    rows = students(entries(tmp_path, names), listed)
    assert rows[0].upload.entry == "b10901001"
    assert rows[0].notes == ["the latest archive of 2 uploads; passed over: b10901001 report.pdf"]
    assert rows[2].upload.entry == "b1090100.txt"
    assert rows[2].notes == ["the latest of 2 uploads; passed over: b1090100.rar"]
