"""Settings: presets, overrides, and the command line of a master."""

import errno
from dataclasses import asdict, make_dataclass, replace

import pytest

from baselines.build import ROOT
from kit.command_line import read_parameters
from kit.device import seed_everything
from kit.faces import batch_indices
from kit.files import run_folder
from kit.kinds import make_settings
from kit.samples import fixed_noise
from kit.settings import Settings, t4_presets
from tests.helpers.notebook import lesson

PRESETS = t4_presets(Settings())
SEEDS = "-2**63 or more, and less than 2**63"
FASTEST = 154  # steps per second: 03 on an H200, in baselines/results/


def test_the_course_preset_is_the_sample_code():
    course = PRESETS["course"]
    assert (course.steps, course.batch_size, course.lr_G, course.lr_D) == (1115, 64, 1e-4, 1e-4)
    assert (course.beta1, course.beta2, course.z_dim, course.width, course.n_critic) == (0.5, 0.999, 100, 64, 1)
    assert course.ema == 0 and not course.half


def test_longer_presets_end_by_the_clock():
    hours = {name: preset.hours for name, preset in PRESETS.items()}
    assert hours == {"course": 0, "t4_1h": 1, "t4_3h": 3, "t4_12h": 11.5}
    sessions = 20
    for preset in PRESETS.values():
        assert not preset.hours or preset.steps > sessions * preset.hours * 3600 * FASTEST


def test_overrides_replace_a_presets_settings(capsys):
    settings = make_settings(PRESETS, "t4_1h", {"lr_G": 3e-4, "run": "elsewhere"})
    assert settings == replace(PRESETS["t4_1h"], lr_G=3e-4, run="elsewhere")
    assert "lr_G=0.0003" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("corse", {}, "there is no preset 'corse': use one of course, t4_1h, t4_3h, t4_12h"),
        ("course", {"lr": 1}, "there is no setting lr: use some of faces, run, outputs, steps, "),
        ("course", {"zdim": 1, "lr": 1, "steps": 2}, "there is no setting lr, zdim: use some of "),
    ],
)
def test_names_that_do_not_exist_are_told_with_those_that_do(preset, overrides, said):
    with pytest.raises(SystemExit) as stopped:
        make_settings(PRESETS, preset, overrides)
    assert str(stopped.value).startswith(said)


@pytest.mark.parametrize("name", ["n_critic", "norms_every", "checkpoint_every", "log_every", "batch_size", "width"])
def test_what_training_divides_by_is_no_0(name):
    for value in (0, -1, -1.0):
        with pytest.raises(SystemExit, match=rf"^`{name}` is {int(value)}: set it to 1 or more$"):
            make_settings(PRESETS, "course", {name: value})
    never = {"course": replace(PRESETS["course"], norms_every=0)}  # as 07 has it, which records none
    assert make_settings(never, "course", {"norms_every": 0}).norms_every == 0


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("hours", -1, "0 or more"),  # the clock would never end it
        ("hours", float("nan"), "0 or more"),
        ("steps", -5, "0 or more"),
        ("lr_G", float("nan"), "0 or more"),
        ("lr_D", float("inf"), "a finite number"),
        ("processes", -3, "0 or more"),
        ("ema", 1, "0 or more, and less than 1"),
        ("ema", -0.5, "0 or more, and less than 1"),
        ("beta2", float("nan"), "0 or more, and less than 1"),
        ("ema", 10**400, "0 or more, and less than 1"),  # no float holds it
        ("seed", 2**63, SEEDS),
        ("seed", 10**30, SEEDS),
        ("seed", -(2**63) - 1, SEEDS),
    ],
)
def test_numbers_that_cannot_be(name, value, least):
    with pytest.raises(SystemExit) as stopped:
        make_settings(PRESETS, "course", {name: value})
    assert str(stopped.value) == f"`{name}` is {value}: set it to {least}"
    assert make_settings(PRESETS, "course", {"seed": -1, "ema": 0, "hours": 0}).seed == -1


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("steps", 1e4, 10_000),
        ("steps", True, None),
        ("steps", 1.5, None),
        ("steps", float("inf"), None),
        ("steps", "many", None),
        ("hours", 1, 1),
        ("hours", "1h", None),
        ("hours", False, None),
        ("half", 1, True),
        ("half", "yes", None),
        ("run", 2024, "2024"),
        ("run", True, None),
        ("faces", None, None),
        ("hold", [1, 2], (1, 2)),
        ("hold", 3, None),
    ],
)
def test_a_value_of_another_type_is_told_in_one_line(name, value, kept, capsys):
    presets = {"course": make_dataclass("Some", [("hold", tuple, (1, 1))], bases=(Settings,), frozen=True)()}
    if kept is not None:
        found = getattr(make_settings(presets, "course", {name: value}), name)
        assert found == kept and type(found) is not float
        return
    with pytest.raises(SystemExit) as stopped:
        make_settings(presets, "course", {name: value})
    assert str(stopped.value).startswith(f"{name} is {value!r}: it must be ")


@pytest.mark.parametrize("run", [".", "./", "", "..", "/", "runs/.."])
def test_a_run_has_a_folder_of_its_own(run):
    with pytest.raises(SystemExit, match=f"^`run` is {run!r}: name a folder of its own$"):
        make_settings(PRESETS, "course", {"run": run})


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63)])
def test_a_seed_that_may_be_lasts_for_all_epochs(seed):
    settings = make_settings(PRESETS, "course", {"seed": seed})
    seed_everything(settings.seed)
    fixed_noise(settings, 2)
    next(batch_indices(2, 1, settings.seed, 10**9, "cpu"))


def test_autograding_makes_it_small(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    settings = make_settings(PRESETS, "course", {})
    assert (settings.steps, settings.batch_size, settings.width) == (2, 8, 4)


def test_every_setting_has_a_line_of_meaning():
    source = (ROOT / "baselines/kit/settings.py").read_text(encoding="utf-8")
    for name in asdict(Settings()):
        (line,) = [line for line in source.splitlines() if line.startswith(f"    {name}: ")]
        assert "  # " in line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("4e-4", 4e-4), ("20", 20), ("True", True), ("(1, 2)", (1, 2))),
        *(("my faces/b.zip", "my faces/b.zip"), ("2024_11_27", "2024_11_27"), ("", "")),
    ],
)
def test_the_command_line_reads_values_as_python_writes_them(text, value):
    assert read_parameters(PRESETS, ["--set", f"run={text}"]) == ("course", {"run": value})


def test_the_command_line_takes_a_preset_and_several_settings():
    arguments = ["--preset", "t4_3h", "--set", "faces=a=b", "--set", "steps=3"]
    assert read_parameters(PRESETS, arguments) == ("t4_3h", {"faces": "a=b", "steps": 3})
    assert read_parameters(PRESETS, []) == ("course", {})


@pytest.mark.parametrize("arguments", [["--set", "steps"], ["--preset", "corse"], ["--steps", "3"]])
def test_wrong_use_of_the_command_line_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        read_parameters(PRESETS, arguments)
    assert stopped.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_colab_keeps_a_run_on_the_drive_once_that_is_mounted(tmp_path, capsys):
    colab, drive = tmp_path / "content", tmp_path / "content/drive/MyDrive"
    assert run_folder("runs/gan", colab, drive) == "runs/gan"  # not on Colab
    assert capsys.readouterr().out == ""
    colab.mkdir()
    assert run_folder("runs/gan", colab, drive) == "runs/gan"
    assert "Colab forgets runs/gan with the session" in (said := capsys.readouterr().out)
    assert "from google.colab import drive; drive.mount('/content/drive')" in said
    drive.mkdir(parents=True)
    assert run_folder("runs/gan", colab, drive) == str(drive / "runs/gan")
    assert run_folder(str(tmp_path / "mine"), colab, drive) == str(tmp_path / "mine")  # as asked for
    assert capsys.readouterr().out == ""


def test_a_drive_that_is_gone_is_told(tmp_path, monkeypatch):
    def is_dir(path):
        if path.name == "MyDrive":
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return True

    monkeypatch.setattr("kit.files.Path.is_dir", is_dir)
    with pytest.raises(SystemExit, match=r"MyDrive cannot be read: Transport .* Mount the Drive again"):
        run_folder("runs/gan", tmp_path, tmp_path / "MyDrive")


def test_a_notebook_asks_where_its_run_is_kept(monkeypatch):
    monkeypatch.setattr("kit.kinds.run_folder", lambda run: f"/drive/{run}")
    assert make_settings(PRESETS, "course", {}).run == "/drive/runs/gan"


@pytest.mark.parametrize(
    ("stem", "better"),
    [
        ("01_gan", {"lr_G": 4e-4, "lr_D": 2e-4}),
        ("02_gradient_clipping", {"lr_G": 4e-4, "lr_D": 2e-4, "n_critic": 2}),
        ("03_wgan", {"lr_G": 4e-4, "lr_D": 4e-4, "n_critic": 2, "clip": 0.03}),
        ("04_wgan_gp", {"lr_G": 4e-4, "lr_D": 4e-4, "n_critic": 2}),
    ],
)
def test_longer_presets_begin_from_the_best_rates(stem, better):
    presets = lesson(ROOT / f"baselines/{stem}.py")["PRESETS"]
    for name in ("t4_1h", "t4_3h", "t4_12h"):
        assert asdict(presets[name]).items() >= better.items()
        assert (presets[name].width, presets[name].batch_size) == (64, 64)


def test_08s_default_fits_into_a_session():
    presets = lesson(ROOT / "baselines/08_biggan.py")["PRESETS"]
    work = [one.width**2 * one.accumulate * one.steps for one in (presets["course"], presets["biggan"])]
    assert work[1] == 9 * work[0]
