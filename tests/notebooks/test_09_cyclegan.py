"""09 CycleGAN: it runs and resumes bit-equal, and its parts do what they say."""

import csv
import os
import shutil
import tarfile
from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image

from baselines.build import ROOT
from kit.launch import launch
from tests.helpers.notebook import SMOKE, before_todos, cells, equal, run, uncalled, with_few_samples

MASTER = ROOT / "baselines/09_cyclegan.py"
CPU = torch.device("cpu")


@cache
def names():
    """What the solved notebook defines before it trains, but not its settings: no function reads them by itself."""
    found = dict(before_todos(MASTER))
    del found["settings"]
    started = False
    for name, source in cells(MASTER).items():
        started = started or name.startswith("todo-")
        if started and "launch(train, settings" in source:
            return with_few_samples(found)
        if started:
            exec(compile(uncalled(name, source), name, "exec"), found)


def settings_for(faces, folder, **settings):
    small = {**SMOKE, "batch_size": 2, "history": 5, "identity": 5.0, "norms_every": 2}
    places = {"faces": str(faces), "run": str(folder / "run"), "outputs": str(folder / "outputs")}
    return names()["CycleSettings"](**small | places | settings)


def load(folder):
    return torch.load(folder / "run/checkpoints/last.pt", weights_only=True)


def test_training_resumes_bit_equal(tmp_path, rendered, capsys):
    train = names()["train"]
    train(settings_for(rendered, tmp_path))
    shutil.copytree(tmp_path / "run", tmp_path / "killed/run")
    checkpoints = tmp_path / "killed/run/checkpoints"
    (checkpoints / "previous.pt").replace(checkpoints / "last.pt")  # as after step 2
    assert len(load(tmp_path / "killed")["history_A"]["pictures"]) == 4
    capsys.readouterr()
    train(settings_for(rendered, tmp_path / "killed"))
    assert "going on from step 2" in capsys.readouterr().out

    uninterrupted, resumed = load(tmp_path), load(tmp_path / "killed")
    assert len(uninterrupted["history_A"]["pictures"]) == 5  # full: it drew random numbers
    assert {"G", "D", "history_A", "history_B", "optimizer_G", "python_rng", "rng"} <= uninterrupted.keys()
    for name in uninterrupted.keys() - {"settings"}:  # which hold the folder
        assert equal(resumed[name], uninterrupted[name]), f"{name} differs after a resume"
    for folder in (tmp_path, tmp_path / "killed"):
        with open(folder / "run/samples/measures.csv", newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        assert [row["step"] for row in rows] == [2, 4]
        assert all(0 <= row["changed_AB"] <= 1 and 0 < row["difference_ABA"] < 255 for row in rows)
        for name in ("000002_ABA", "000004_BAB"):
            assert Image.open(folder / f"run/samples/{name}.png").height == 3 * 64 + 4 * 2  # three rows
        with open(folder / "run/grad_norms.csv", newline="") as file:
            assert [(row["step"], row["layer"]) for row in csv.DictReader(file)] == [
                (step, layer) for step in "24" for layer in "12345"
            ]


def test_D_is_frozen_in_the_step_of_the_generators_alone(tmp_path, rendered, monkeypatch):
    seen, step = [], names()["generator_step"]

    def watched(G, D, *arguments):
        seen.append(any(weight.requires_grad for weight in D.parameters()))
        return step(G, D, *arguments)

    monkeypatch.setitem(names(), "generator_step", watched)
    run = names()["train"](settings_for(rendered, tmp_path, steps=2))
    assert seen == [False, False]
    assert all(weight.requires_grad for weight in run.parts["D"].parameters())


def test_all_networks_stay_in_float32(tmp_path, rendered, monkeypatch):
    monkeypatch.setitem(before_todos(MASTER), "half_dtype", lambda device: torch.bfloat16)  # as place() sees it
    run = names()["train"](settings_for(rendered, tmp_path, steps=0, half=True))
    assert [type(run.parts[name]).__name__ for name in "GD"] == ["Generators", "Discriminators"]


def test_the_solved_notebook_runs(tmp_path, rendered):
    said = run(ROOT / "baselines/solved/09_cyclegan.ipynb", tmp_path, rendered)
    assert "in the other domain, by their colours" in said
    pictures = [f"{number}.jpg" for number in range(1, 1001)]
    for path in ("samples/000002.tgz", "submission.tgz"):
        with tarfile.open(tmp_path / "run" / path) as archive:
            assert archive.getnames() == pictures
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == set(pictures)
    with tarfile.open(tmp_path / "run/domain_B.tgz") as archive:
        labels = (rendered / "attributes.csv").read_text()
        wanted = [line for line in labels.splitlines() if line.split(",")[1] in ("blonde", "orange", "pink", "white")]
        assert len(archive.getnames()) == len(wanted) > 0


@pytest.mark.parametrize("how", ["setting", "torchrun"])
def test_it_trains_in_one_process(how, tmp_path, rendered, monkeypatch):
    settings = settings_for(rendered, tmp_path)
    if how == "setting":
        settings = replace(settings, processes=2)
    else:
        monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="this notebook trains in one process"):
        launch(names()["train"], settings, one_process=True)
    assert "launch(train, settings, one_process=True)" in MASTER.read_text(encoding="utf-8")


@pytest.fixture
def numbered(tmp_path):
    """Makes a folder of pictures that each hold their own number, with classes a, b, c, d in turn."""

    def make(name, count, first=0):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            Image.new("RGB", (64, 64), (first + number,) * 3).save(folder / f"{number}.png")
        rows = [f"{number},{'abcd'[number % 4]} hair" for number in range(count)]
        (folder / "tags.csv").write_text("\n".join(rows))
        return folder

    return make


def domains(faces, tmp_path, **settings):
    given = {"seed": 1, "batch_size": 2, "classes_a": "c", "classes_b": "a"}
    return names()["load_domains"](settings_for(faces, tmp_path, **given | settings), CPU)


def numbers(*faces):
    return sorted(torch.cat(faces)[:, 0, 0, 0].tolist())


def test_labels_divide_the_faces_into_domains_and_a_tenth_is_held_out(numbered, tmp_path):
    faces = numbered("faces", 80)
    train_A, train_B, held_out_A, held_out_B = domains(faces, tmp_path, classes_a="c,b")
    assert numbers(train_A, held_out_A) == [i for i in range(80) if i % 4 in (1, 2)]  # no face is in both
    assert numbers(train_B, held_out_B) == [i for i in range(80) if i % 4 == 0]
    assert len(held_out_A) == 4
    assert len(held_out_B) == 2
    assert torch.equal(domains(faces, tmp_path, classes_a="c,b", batch_size=1)[2], held_out_A)
    with pytest.raises(SystemExit, match="domain B, a: fewer faces"):
        domains(faces, tmp_path, classes_a="c,b", batch_size=19)
    with pytest.raises(SystemExit, match="`classes_a` and `classes_b`: there is no x: name two or more of"):
        domains(faces, tmp_path, classes_a="c,x")
    with pytest.raises(SystemExit, match="`classes_a` and `classes_b` both name a, c: name each class in one of them"):
        domains(faces, tmp_path, classes_a="c, a", classes_b="a,b, c")
    with pytest.raises(SystemExit, match=r"no faces at '.*none': set `faces_b` to a folder"):
        domains(faces, tmp_path, faces_b=str(tmp_path / "none"))


def test_two_sources_are_two_domains_and_need_no_labels(numbered, tmp_path):
    faces, others = numbered("faces", 30), numbered("others", 20, first=100)
    train_A, train_B, held_out_A, held_out_B = domains(faces, tmp_path, faces_b=str(others))
    assert numbers(train_A, held_out_A) == [*range(30)]
    assert numbers(train_B, held_out_B) == [*range(100, 120)]
    assert len(held_out_A) == 3


def test_a_thousand_faces_begin_with_those_held_out():
    held_out, train = (torch.arange(*bounds).view(-1, 1, 1, 1) for bounds in ((0, 7), (100, 400)))
    thousand = names()["thousand"].__wrapped__  # not the first of them only
    faces = thousand(held_out, train).flatten()
    assert faces[:9].tolist() == [*range(7), 100, 101]
    assert len(faces) == 1000
    assert faces[307] == 0  # again, as they are few
    many = thousand(torch.zeros(900, 1, 1, 1), torch.ones(5000, 1, 1, 1))
    assert many.sum() == 100
    assert len(many) == 1000


def test_about_half_of_the_pictures_are_mirrored():
    pictures = torch.rand(400, 3, 4, 4)
    mirrored = names()["mirrored"](pictures)
    as_they_are = (mirrored == pictures).flatten(1).all(1)
    assert torch.equal(mirrored[~as_they_are], pictures[~as_they_are].flip(3))
    assert 140 < as_they_are.sum() < 260


def test_the_colour_classifier_tells_colours_apart_and_measures_count_changes():
    def faces(red, count=60):
        noise = torch.randint(-40, 40, (count, 3, 64, 64), generator=torch.Generator().manual_seed(red))
        return (noise + torch.tensor([red, 120, 120]).view(3, 1, 1)).to(torch.uint8)

    dark, light = faces(90), faces(150)
    classifier = names()["fit_colour_classifier"](dark, light)
    assert names()["share_in_B"](classifier, torch.cat([dark, light[:20]])) == pytest.approx(0.25)
    trip_A, trip_B = (dark, light, dark + 3), (light, torch.cat([dark[:15], light[:45]]), light)
    assert names()["measure"](classifier, trip_A, trip_B) == pytest.approx((1.0, 0.25, 3.0, 0.0))


def test_the_networks_are_those_of_the_task():
    generator, discriminator = names()["Generator"](4), names()["Discriminator"](64)
    pictures = generator(torch.randn(2, 3, 64, 64))
    assert pictures.shape == (2, 3, 64, 64)
    assert pictures.abs().max() <= 1
    strides = [(type(m).__name__, m.stride) for m in generator.modules() if "Conv" in type(m).__name__]
    assert strides == [("Conv2d", (2, 2))] * 3 + [("Conv2d", (1, 1))] * 12 + [("ConvTranspose2d", (2, 2))] * 3
    assert [m.out_channels for m in discriminator.layers if hasattr(m, "stride")] == [64, 128, 256, 512, 1]
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    assert kinds.count("InstanceNorm2d") == 3
    assert kinds[1] == "LeakyReLU"  # no norm in the first
    assert discriminator(pictures).shape == (2, 1, 6, 6)
    alone, together = generator(pictures[:1]), generator(pictures)[:1]
    assert torch.allclose(alone, together, atol=1e-5)  # no picture depends on its batch


def test_the_pair_called_itself_translates_a_into_b():
    G = names()["Generators"](torch.nn.Identity(), torch.nn.Tanh())
    pictures = torch.randn(1, 3, 4, 4)
    assert torch.equal(G(pictures), G.AB(pictures))
    assert not torch.equal(G(pictures), G.BA(pictures))


def test_a_history_comes_back_from_its_state_on_its_device():
    History = names()["History"]
    history, other = History(3, CPU), History(3, CPU)
    other.load_state_dict(history.state_dict())
    assert other.pictures == []
    history.pictures = [torch.full((3, 2, 2), float(i)) for i in range(3)]
    other.load_state_dict(history.state_dict())
    assert all(map(torch.equal, other.pictures, history.pictures))
    elsewhere = History(3, torch.device("meta"))  # a checkpoint is read on the CPU
    elsewhere.load_state_dict(history.state_dict())
    assert {picture.device.type for picture in elsewhere.pictures} == {"meta"}


def test_what_D_is_shown_is_on_the_device_of_the_fakes():
    def elsewhere(history, fakes):
        return names()["exchange"](history, fakes).to("meta")

    with pytest.raises(AssertionError, match="fakes are on cpu, but what is shown is on meta"):
        names()["check_exchange"](elsewhere)


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_history_is_refused_where_settings_are_read(size, tmp_path):
    with pytest.raises(SystemExit, match=f"`history` is {size}: set it to 1 or more"):
        settings_for(tmp_path, tmp_path, history=size)


@pytest.mark.parametrize("todo", ["cycle_loss", "make_optimizers", "generator_step", "exchange", "discriminator_step"])
def test_checks_read_no_settings(todo, capsys):
    assert "settings" not in names()
    capsys.readouterr()  # what the cells print when they first run
    names()[f"check_{todo}"](names()[todo])
    assert capsys.readouterr().out == f"{todo}: done\n"
