"""Odd names: bytes that are no UTF-8, Big5, too long ones, devices of Windows; whatever the locale, files are UTF-8."""

import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO

import pytest
from PIL import Image

from grader.files import atomic, file_name
from grader.inputs.archives import members
from kit.faces import files_of
from tests.conftest import ROOT


def jpeg(seed=0):
    file = BytesIO()
    Image.effect_noise((64, 64), 30 + seed).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def windows_zip(path, names):
    """A zip as Windows' Explorer packs it: names in its code page, and nothing that says so."""
    parts, directory, offset = [], [], 0
    for name in names:
        common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0x8CDC1683, 1, 1, len(name), 0)  # stored, no bit 11
        parts.append(b"PK\3\4" + common + name + b"x")
        directory.append(b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name)
        offset += len(parts[-1])
    listing = b"".join(directory)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(listing), offset, 0)
    path.write_bytes(b"".join(parts) + listing + end)


NAMES = {  # as they are stored -> as a person reads them
    "許功蓋/王.jpg".encode("cp950"): "許功蓋/王.jpg",  # three that end in a backslash
    b"aqua\\1.jpg": "aqua/1.jpg",
    "café.jpg".encode("cp437"): "café.jpg",
    "王小明.jpg".encode(): "王小明.jpg",
}


def test_names_in_zips_of_windows(tmp_path):
    windows_zip(tmp_path / "set.zip", NAMES)
    assert [name for name, _ in members(tmp_path / "set.zip")] == [*NAMES.values()]
    assert [read() for _, read in members(tmp_path / "set.zip")] == [b"x"] * 4
    files = files_of(tmp_path / "set.zip")  # the notebooks' own reader
    assert [*files] == [*NAMES.values()] and all(read() == b"x" for read in files.values())


def test_a_folder_with_a_backslash_at_its_end_is_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("aqua\\", b"")
        archive.writestr("aqua\\1.jpg", b"x")
    assert [name for name, _ in members(tmp_path / "set.zip")] == ["aqua/1.jpg"]


def test_names_of_other_bytes_in_tars_and_folders(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT, encoding="cp950") as archive:
        archive.addfile(tarfile.TarInfo("功.jpg"))
    assert [name for name, _ in members(tmp_path / "set.tar")] == ["功.jpg"]
    if sys.platform != "linux":
        pytest.skip("other systems refuse such names")
    folder = os.fsencode(tmp_path / "set")
    os.mkdir(folder)
    for name in ("功.jpg".encode("cp950"), b"\xff.jpg"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"x")
    assert sorted(name for name, _ in members(tmp_path / "set")) == ["\\udcff.jpg", "功.jpg"]
    assert sorted(files_of(tmp_path / "set")) == ["\\udcff.jpg", "功.jpg"]
    assert [*map(str, files_of(tmp_path / "set"))] == [*files_of(tmp_path / "set")]


@pytest.mark.parametrize("name", ["con", "NUL.jpg", "Aux", "com1", "lpt9.tgz"])
def test_devices_of_windows_name_no_file(name):
    assert file_name(name).partition("+")[0] == f"_{name}"


def test_files_are_told_apart_where_capitals_are_small_letters():
    names = ["ada", "Ada", "ADA", "王é", "王É", "a" * 300, "A" * 300, "a" * 299 + "A"]
    assert len({file_name(name).lower() for name in names}) == len(names)
    assert file_name("ada") == "ada"
    assert max(len(file_name(name)) for name in [*names, "王" * 11, "王" * 20]) < 100  # Windows: 259 for a path


def test_a_long_name_in_any_letters_can_be_written(tmp_path):
    for letter in "a王😀":
        path = tmp_path / (letter * (250 // len(letter.encode())))
        with atomic(path) as unfinished:
            assert len(os.fsencode(unfinished.name)) <= 100
            unfinished.write_text("x")
        assert path.read_text() == "x"


RUN_EACH = """
import runpy, sys

_, *commands = sys.argv
for command in commands:
    sys.argv = ["grader", *command.split()]
    try:
        runpy.run_module("grader", run_name="__main__")
    except SystemExit as end:
        print("ended with", end.code or 0, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="locales of POSIX")
def test_what_is_written_is_utf_8_whatever_the_locale(tmp_path):
    for name in ("王/1.jpg", "王/2.jpg", "class/王小明.tgz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg() if name.endswith("jpg") else b"")
    (tmp_path / "roster.csv").write_text("id,name\nb1,王小明\nb2,😀\n", encoding="utf-8")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    environment |= {"PYTHONIOENCODING": "cp950"}
    commands = (
        "score 王 --loose --offline --metrics afd --output report",
        "leaderboard class --offline --metrics afd --jobs 1 --roster roster.csv --reports reports",
        "pack 王",
    )
    run_each = [sys.executable, "-c", RUN_EACH, *commands]  # in one process, which imports torch once
    done = subprocess.run(run_each, cwd=tmp_path, env=environment, capture_output=True)
    assert re.findall(rb"^ended with (.*)", done.stderr, re.MULTILINE) == [b"0", b"0", b"1"], done.stderr[-2000:]
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr[-2000:]
    for path in tmp_path.rglob("*.[hcj]*"):
        if path.suffix in (".html", ".csv", ".json"):
            path.read_text(encoding="utf-8")
    rows = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert {row["student"]["name"] for row in rows} == {"王小明", "😀"}
    assert "王小明" in (tmp_path / "leaderboard.grades.csv").read_text(encoding="utf-8")
