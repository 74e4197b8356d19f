"""06: runs solved, goes on bit-equal, learns what labels mean, and its checks tell of one TODO alone."""

import csv
import tarfile
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from baselines.build import ROOT
from kit.checks import stand_ins
from kit.networks import Discriminator, Generator
from tests.helpers.notebook import SMOKE, before_todos, cells, check, check_two_processes, equal, run, with_few_samples

MASTER = ROOT / "baselines/06_cgan.py"
CLASSES = "red, aqua, black"


@pytest.fixture(scope="module")
def notebook():
    """What the solved notebook defines, without its training."""
    names = with_few_samples(dict(before_todos(MASTER)))
    sources = cells(MASTER)
    for name, source in sources.items():
        defines = "\ndef train(" in f"\n{source}" or ("SHAPES" in source and "G_shapes" not in source)
        if defines or name.startswith("todo-"):
            exec(source, names)
    return SimpleNamespace(**names)


def test_runs_solved_from_top_to_bottom(tmp_path, rendered):
    solved = ROOT / "baselines/solved/06_cgan.ipynb"
    printed = run(solved, tmp_path, rendered, wrong_labels=True, shape_steps=2, classes=CLASSES)
    assert "1,000 pictures in" in printed and "remark" not in printed

    outputs = tmp_path / "outputs"
    pictures = [f"{number}.jpg" for number in range(1, 1001)]
    assert {path.name for path in outputs.iterdir()} == {*pictures, "labels.csv"}
    with tarfile.open(tmp_path / "run/submission.tgz") as archive:
        assert archive.getnames() == pictures
    with open(outputs / "labels.csv", newline="") as file:
        asked = {row["file"]: row["label"] for row in csv.DictReader(file)}
    assert (tmp_path / "run/labels.csv").read_bytes() == (outputs / "labels.csv").read_bytes()
    assert list(asked) == pictures
    assert sorted(Counter(asked.values()).values()) == [333, 333, 334]
    assert list(asked.values())[:24] == ["red"] * 8 + ["aqua"] * 8 + ["black"] * 8  # the order of `classes`

    for name in ("classes.png", "shapes.png", "losses.png"):
        with Image.open(tmp_path / "run" / name) as picture:
            picture.load()
    with Image.open(tmp_path / "run/samples/000004.png") as grid:
        assert grid.size == (8 * 66 + 2, 3 * 66 + 2)  # a row per class
    with Image.open(tmp_path / "run/training.gif") as gif:
        assert gif.n_frames == 2


def settings_in(notebook, folder, faces, **overrides):
    places = {"faces": str(faces), "run": str(folder / "run"), "outputs": str(folder / "outputs")}
    return notebook.make_settings(notebook.PRESETS, "course", SMOKE | places | {"classes": CLASSES} | overrides)


def test_a_run_goes_on_as_if_it_had_never_stopped(tmp_path, rendered, notebook, capsys):
    own = {"wrong_labels": True, "n_critic": 2, "ema": 0.9, "checkpoint_every": 5}
    notebook.train(settings_in(notebook, tmp_path / "parts", rendered, steps=2, **own))
    notebook.train(settings_in(notebook, tmp_path / "parts", rendered, steps=5, **own))
    assert "going on from step 2" in capsys.readouterr().out
    notebook.train(settings_in(notebook, tmp_path / "whole", rendered, steps=5, **own))
    resumed, whole = (
        torch.load(tmp_path / name / "run/checkpoints/last.pt", weights_only=True) for name in ("parts", "whole")
    )
    for name in ("G", "D", "G_ema", "optimizer_G", "optimizer_D", "rng", "step"):
        assert equal(resumed[name], whole[name]), f"{name} differs after a resume"


@pytest.mark.long
def test_trains_in_two_processes(tmp_path, rendered, notebook):
    small = settings_in(notebook, tmp_path, rendered, steps=2, processes=2, wrong_labels=True)
    trained = check_two_processes(notebook.train, small)
    assert trained.classes == ["red", "aqua", "black"] and (tmp_path / "run/labels.csv").exists()


def test_labels_csv_is_there_before_the_first_step(tmp_path, rendered, notebook):
    run = notebook.train(settings_in(notebook, tmp_path, rendered, steps=0))
    assert (tmp_path / "run/labels.csv").read_text().startswith("file,label\n1.jpg,red\n")
    assert not (tmp_path / "outputs").exists()
    assert run.classes == ["red", "aqua", "black"] and run.z.shape == (100, 103)
    assert 0 < len(run.faces) < 300  # those of its classes


def test_fakes_get_the_labels_of_the_batch(tmp_path, rendered, notebook):
    """G and D see the same labels, those of the real faces; wrong ones are wrong."""
    seen = []

    def step_D(D, G, optimizer, real, z, y, wrong_y=None):
        seen.append((real, y, wrong_y))
        for weight in D.parameters():
            weight.grad = torch.zeros_like(weight)
        return torch.zeros(())

    def step_G(D, G, optimizer, z, y):
        assert torch.equal(y, seen[-1][1])
        return torch.zeros(())

    settings = settings_in(notebook, tmp_path, rendered, wrong_labels=True, checkpoint_every=4)
    faces, labels, _ = notebook.load_labelled_faces(settings, torch.device("cpu"))
    with stand_ins(notebook.train, discriminator_step=step_D, generator_step=step_G):
        notebook.train(settings)
    assert len(seen) == 4
    for real, y, wrong_y in seen:
        assert y.shape == wrong_y.shape == (8, 3) and not (y * wrong_y).any() and (wrong_y.sum(1) == 1).all()
        for picture, label in zip(real, y.argmax(1), strict=True):
            (found,) = torch.nonzero(((faces.float() / 127.5 - 1 - picture).abs() < 1e-6).flatten(1).all(1))[:1]
            assert labels[found] == label


def test_rows_of_classes_differ_by_the_label_alone(notebook):
    class G(torch.nn.Module):  # paints z into the upper half, the label into the lower one
        def forward(self, joined):
            z, y = joined.split([5, 3], 1)
            upper, lower = z.mean(1).tanh(), y.argmax(1) / 3
            rows = torch.stack([upper] * 32 + [lower] * 32, 1)  # [N, 64]
            return rows[:, None, :, None].expand(-1, 3, -1, 64)

    z = torch.cat([torch.randn(1000, 5), torch.eye(3)[torch.arange(1000) % 3]], 1)
    run = SimpleNamespace(classes=["a", "b", "c"], z=z, settings=SimpleNamespace(z_dim=5), G_ema=G())
    names = vars(notebook) | {"run": run, "show_classes": lambda *_: None}
    source = next(source for source in cells(MASTER).values() if source.startswith("def rows_of_classes"))
    exec(source.partition("\nshow_classes(")[0], names)
    rows = names["rows_of_classes"](run).view(3, 8, 3, 64, 64)
    assert (rows[0, :, :, :32] == rows[:, :, :, :32]).all()
    assert [len(row.unique()) for row in rows[:, :, 0, 63, 0]] == [1, 1, 1] and len(rows[:, 0, 0, 63, 0].unique()) == 3


def test_checks_tell_of_their_own_todo_alone(capsys):
    """The steps are right whatever the functions are like that join labels."""
    student = cells(MASTER, solved=False)
    for todo in ("discriminator_step", "generator_step"):
        names = dict(before_todos(MASTER))
        for name, source in cells(MASTER).items():
            if name == f"todo-{todo}" or source.startswith("# @title What the checks of the two steps share"):
                exec(source, names)
            elif name.startswith("todo-"):
                exec(student[name], names)
            elif name == f"check-{todo}":
                exec(source, names)
                assert f"{todo}: done" in capsys.readouterr().out
        with pytest.raises(NotImplementedError, match="join"):  # they are back
            names["join_z"](torch.zeros(1, 1), torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("todo", "old", "new"),
    [
        ("discriminator_step", "join_pictures(real, y)", "join_pictures(real, y, size=64)"),
        ("generator_step", "join_z(z, y)", "join_z(z, y, None)"),
    ],
)
def test_functions_that_join_may_take_more_arguments(todo, old, new, capsys):
    source = cells(MASTER)[f"todo-{todo}"]
    assert old in source
    check(MASTER, todo, source.replace(old, new))
    assert f"{todo}: done" in capsys.readouterr().out


@pytest.mark.parametrize("todo", ["one_hot", "join", "other_labels", "discriminator_step", "generator_step"])
def test_an_unsolved_todo_says_so(todo):
    with pytest.raises(NotImplementedError, match=todo):
        check(MASTER, todo, cells(MASTER, solved=False)[f"todo-{todo}"])


def test_d_learns_which_label_belongs_to_which_picture(notebook):
    torch.manual_seed(0)
    G, D = Generator(20 + 3, 2), Discriminator(2, channels=3 + 3)
    optimizer, labels = torch.optim.Adam(D.parameters(), 4e-3), torch.arange(12) % 3
    y = notebook.one_hot(labels, 3)

    def colours():  # nearly red, green and blue
        return (torch.rand(12, 3, 1, 1) * 0.4 - 0.9 + 1.3 * y[:, :, None, None]).expand(-1, -1, 64, 64)

    for _ in range(60):
        wrong_y = notebook.one_hot(notebook.other_labels(labels, 3), 3)
        notebook.discriminator_step(D, G, optimizer, colours(), torch.randn(12, 20), y, wrong_y)
    with torch.no_grad():
        p_right, p_wrong = (D(notebook.join_pictures(colours(), y)).mean() for y in (y, y.roll(1, 1)))
    assert p_right > 0.9 and p_wrong < 0.1, f"{p_right:.2f} under the right labels, {p_wrong:.2f} under wrong ones"


def test_a_label_shifts_what_the_first_convolution_sees(notebook):
    """Constant maps are a bias per class: away from the border, where the padding has no maps."""
    convolution, pictures = torch.nn.Conv2d(3 + 4, 5, 4, stride=2, padding=1), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        joined = convolution(notebook.join_pictures(pictures, torch.eye(4)))
        alone = torch.nn.functional.conv2d(pictures, convolution.weight[:, :3], convolution.bias, stride=2, padding=1)
        shift = convolution.weight[:, 3:].sum((2, 3)).T  # [classes, 5]
    assert torch.allclose((joined - alone)[:, :, 1:-1, 1:-1], shift[:, :, None, None].expand(-1, -1, 6, 6), atol=1e-5)


# The paper's own network


def test_d_is_frozen_in_the_steps_of_g_on_shapes(notebook):
    """Steps are accepted which leave it to the loop that D gets no gradients in G's step."""
    step, seen = notebook.generator_step, []

    def watched(D, G, *arguments):
        D.zero_grad()
        loss = step(D, G, *arguments)
        seen.append([weight.grad for weight in D.parameters()])
        return loss

    settings = notebook.ConditionalSettings(steps=1, shape_steps=2, z_dim=5)  # as where a run is opened
    with stand_ins(notebook.train_on_shapes, generator_step=watched):
        notebook.train_on_shapes(settings, SimpleNamespace(device=torch.device("cpu"), step=9))
    assert len(seen) == 2 and not any(gradient is not None for gradients in seen for gradient in gradients)


def test_the_papers_network_has_the_papers_sizes(notebook):
    G, D = notebook.PaperGenerator(100, 10), notebook.PaperDiscriminator(10)
    sizes = [(layer.in_features, layer.out_features) for layer in G.modules() if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(100, 200), (10, 1000), (1200, 1200), (1200, 784)]
    units = [
        (layer.linear.out_features // layer.pieces, layer.pieces) for layer in D.modules() if hasattr(layer, "pieces")
    ]
    assert units == [(240, 5), (50, 5), (240, 4)]
    assert G(torch.zeros(3, 110)).shape == (3, 1, 28, 28)
    assert D(torch.zeros(3, 11, 28, 28)).shape == (3,)


def test_maxout_is_the_largest_of_its_pieces(notebook):
    maxout, x = notebook.Maxout(7, 5, 3), torch.randn(4, 7)
    linear = x @ maxout.linear.weight.T + maxout.linear.bias
    for unit in range(5):
        largest = torch.stack([linear[:, 3 * unit + piece] for piece in range(3)]).max(0).values
        assert torch.allclose(maxout(x)[:, unit], largest)


def test_shapes_are_told_apart_by_their_areas(notebook):
    torch.manual_seed(0)
    shapes = notebook.draw_shapes(torch.arange(5).repeat(200))
    assert shapes.shape == (1000, 1, 28, 28) and shapes.min() == 0 and shapes.max() == 1
    assert shapes[:, 0, [0, -1]].max() == 0, "a shape leaves its picture"
    area = dict(zip(notebook.SHAPES, shapes.view(200, 5, -1).sum(2).mean(0).tolist(), strict=True))
    size = 8.5**2 + 0.75  # the mean of size², uniform in 7 … 10
    for name, share in {"cross": 2.04, "disc": torch.pi, "ring": 0.75 * torch.pi, "square": 2.56}.items():
        assert abs(area[name] / size - share) < 0.15, name
    assert area["triangle"] < area["cross"]


@pytest.mark.parametrize(
    ("todo", "right", "hint"),
    [
        ("one_hot", "n_classes).float()", "keep y on the device of the labels"),
        ("join", "torch.cat([z, y], 1)", "join_z: keep z and y on their device"),
    ],
)
def test_what_is_fixed_on_one_device_is_told_before_samples_come_from_the_cpu(todo, right, hint):
    taken = {"check_device": lambda: torch.device("meta"), "name_taken": lambda names: ""}  # in place of a GPU
    names = before_todos(MASTER) | taken
    exec(cells(MASTER)[f"todo-{todo}"].replace(right, f"{right}.to(check_device())"), names)
    with pytest.raises(AssertionError, match=hint):
        exec(cells(MASTER)[f"check-{todo}"], names)
