"""06: runs solved, goes on bit-equal, learns what labels mean, and its checks catch what they should."""

import csv
import tarfile
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from baselines.build import ROOT
from tests.notebook import assert_caught, assert_passes, run, sources

STEM = "06_cgan"
NOTEBOOK = f"baselines/{STEM}.ipynb"


def test_runs_solved_from_top_to_bottom_and_resumes(tmp_path, rendered):
    own = {"wrong_labels": True, "shape_steps": 2, "classes": "red, aqua, black"}
    (tmp_path / "whole").mkdir()
    run(NOTEBOOK, tmp_path, rendered, steps=2, **own)
    assert "going on from step 2" in run(NOTEBOOK, tmp_path, rendered, steps=4, **own)
    run(NOTEBOOK, tmp_path / "whole", rendered, steps=4, checkpoint_every=4, **own)
    resumed, uninterrupted = (
        torch.load(folder / "run/checkpoints/last.pt", weights_only=True) for folder in (tmp_path, tmp_path / "whole")
    )
    for name in ("G", "D", "average_G"):
        for key, tensor in uninterrupted[name].items():
            assert torch.equal(resumed[name][key], tensor), f"{name}.{key} differs after a resume"

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
        assert grid.size == (8 * 66 + 2, 3 * 66 + 2)  # a row a class
    with Image.open(tmp_path / "run/training.gif") as gif:
        assert gif.n_frames == 2


def test_d_learns_which_label_belongs_to_which_picture():
    names = {"torch": torch, "nn": torch.nn, "device": torch.device("cpu")}
    for name, source in sources(ROOT / f"baselines/{STEM}.py", True).items():
        if name in ("todo-one_hot", "todo-join", "todo-other_labels", "todo-discriminator_step"):
            exec(source, names)
    exec((ROOT / "baselines/parts/dcgan.py").read_text(), names)
    torch.manual_seed(0)
    G, D = names["Generator"](20 + 3, 2), names["Discriminator"](2, channels=3 + 3)
    optimizer, labels = torch.optim.Adam(D.parameters(), 4e-3), torch.arange(12) % 3
    y = names["one_hot"](labels, 3)

    def colours():  # nearly red, green and blue
        return (torch.rand(12, 3, 1, 1) * 0.4 - 0.9 + 1.3 * y[:, :, None, None]).expand(-1, -1, 64, 64)

    for _ in range(60):
        wrong_y = names["one_hot"](names["other_labels"](labels, 3), 3)
        names["discriminator_step"](D, G, optimizer, colours(), torch.randn(12, 20), y, wrong_y)
    with torch.no_grad():
        p_right, p_wrong = (D(names["join_pictures"](colours(), y)).mean() for y in (y, y.roll(1, 1)))
    assert p_right > 0.9 and p_wrong < 0.1, f"{p_right:.2f} under the right labels, {p_wrong:.2f} under wrong ones"


@pytest.fixture(scope="module")
def paper():
    """The networks and shapes of the last section."""
    names = {"torch": torch, "nn": torch.nn, "device": torch.device("cpu")}
    cells = sources(ROOT / f"baselines/{STEM}.py", True).values()
    exec(next(source for source in cells if source.startswith("SHAPES")), names)
    return SimpleNamespace(**names)


def test_the_papers_network_has_the_papers_sizes(paper):
    G, D = paper.PaperGenerator(100, 10), paper.PaperDiscriminator(10)
    sizes = [(layer.in_features, layer.out_features) for layer in G.modules() if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(100, 200), (10, 1000), (1200, 1200), (1200, 784)]
    units = [
        (layer.linear.out_features // layer.pieces, layer.pieces) for layer in D.modules() if hasattr(layer, "pieces")
    ]
    assert units == [(240, 5), (50, 5), (240, 4)]
    assert G(torch.zeros(3, 110)).shape == (3, 1, 28, 28)
    assert D(torch.zeros(3, 11, 28, 28)).shape == (3,)


def test_maxout_is_the_largest_of_its_pieces(paper):
    maxout, x = paper.Maxout(7, 5, 3), torch.randn(4, 7)
    linear = x @ maxout.linear.weight.T + maxout.linear.bias
    for unit in range(5):
        largest = torch.stack([linear[:, 3 * unit + piece] for piece in range(3)]).max(0).values
        assert torch.allclose(maxout(x)[:, unit], largest)


def test_shapes_are_told_apart_by_their_areas(paper):
    torch.manual_seed(0)
    shapes = paper.draw_shapes(torch.arange(5).repeat(200))
    assert shapes.shape == (1000, 1, 28, 28) and shapes.min() == 0 and shapes.max() == 1
    assert shapes[:, 0, [0, -1]].max() == 0, "a shape leaves its picture"
    area = dict(zip(paper.SHAPES, shapes.view(200, 5, -1).sum(2).mean(0).tolist(), strict=True))
    size = 8.5**2 + 0.75  # the mean of size², uniform in 7 … 10
    for name, share in {"cross": 2.04, "disc": torch.pi, "ring": 0.75 * torch.pi, "square": 2.56}.items():
        assert abs(area[name] / size - share) < 0.15, name
    assert area["triangle"] < area["cross"]


def test_a_label_shifts_what_the_first_convolution_sees():
    """Constant maps are a bias a class: away from the border, where the padding has no maps."""
    names = {"torch": torch, "nn": torch.nn}
    cells = sources(ROOT / f"baselines/{STEM}.py", True)
    exec(cells["todo-join"], names)
    convolution, pictures = torch.nn.Conv2d(3 + 4, 5, 4, stride=2, padding=1), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        joined = convolution(names["join_pictures"](pictures, torch.eye(4)))
        alone = torch.nn.functional.conv2d(pictures, convolution.weight[:, :3], convolution.bias, stride=2, padding=1)
        shift = convolution.weight[:, 3:].sum((2, 3)).T  # [classes, 5]
    assert torch.allclose((joined - alone)[:, :, 1:-1, 1:-1], shift[:, :, None, None].expand(-1, -1, 6, 6), atol=1e-5)


JOIN_REAL, JOIN_FAKE = "D(join_pictures(real, y))", "D(join_pictures(fake, y))"
MAPS = "y[:, :, None, None].expand(-1, -1, *pictures.shape[2:])"
OTHERS = "(labels + torch.randint_like(labels, 1, n_classes)) % n_classes"
ONE_HOT = "nn.functional.one_hot(labels, n_classes).float()"
MISTAKES = [
    ("one_hot", ONE_HOT, "labels[:, None].float()", "a number a label"),
    ("one_hot", ONE_HOT, "labels.float()", "a number a label"),
    ("one_hot", "(labels, n_classes).float", "(labels).float", "pass n_classes on"),
    ("one_hot", ".float()", "", ".float()"),
    ("one_hot", ".float()", ".float().T", "transposed"),
    ("one_hot", ".one_hot(labels,", ".one_hot((labels + 1) % n_classes,", "label 2 of 5 is [0, 0, 1, 0, 0]"),
    ("one_hot", ONE_HOT, "1 - nn.functional.one_hot(labels, n_classes).float()", "label 2 of 5 is [0, 0, 1, 0, 0]"),
    ("join", "torch.cat([z, y], 1)", "torch.cat([y, z], 1)", "z comes first"),
    ("join", "torch.cat([z, y], 1)", "torch.cat([z, y.argmax(1, keepdim=True)], 1)", "not [4, 12]"),
    ("join", "torch.cat([z, y], 1)", "z", "not [4, 12]"),
    ("join", "torch.cat([pictures, maps], 1)", "pictures", "a map for each class"),
    ("join", "torch.cat([pictures, maps], 1)", "torch.cat([maps, pictures], 1)", "the pictures come first"),
    ("join", "torch.cat([pictures, maps], 1)", "pictures.flatten(1)", "keep pictures as they are"),
    ("join", MAPS, "y.argmax(1).view(-1, 1, 1, 1).expand(-1, 1, 6, 8)", "a map for each class"),
    ("join", MAPS, "y.repeat(1, 48).view(4, 5, 6, 8)", "a map is constant"),
    ("join", MAPS, "y.flip(0)[:, :, None, None].expand(-1, -1, 6, 8)", "the maps of picture n"),
    ("join", MAPS, "y.flip(1)[:, :, None, None].expand(-1, -1, 6, 8)", "the maps of picture n"),
    ("other_labels", "1, n_classes", "0, n_classes", "some labels are still right"),
    ("other_labels", OTHERS, "labels[torch.randperm(len(labels))]", "some labels are still right"),
    ("other_labels", OTHERS, "labels", "these are the right labels"),
    ("other_labels", OTHERS, "(labels + 1) % n_classes", "at every call"),
    ("other_labels", " % n_classes", "", "% n_classes"),
    ("other_labels", "1, n_classes", "1, n_classes - 1", "never come"),
    (
        "other_labels",
        f"return {OTHERS}",
        "drawn = torch.randint_like(labels, n_classes)\n"
        "    return torch.where(drawn == labels, (labels + 1) % n_classes, drawn)",
        "come more often",
    ),
    ("discriminator_step", JOIN_REAL, "D(real)", "join y to the pictures"),
    ("discriminator_step", JOIN_FAKE, "D(fake)", "join y to the pictures"),
    ("discriminator_step", "G(join_z(z, y))", "G(z)", "join y to z"),
    ("discriminator_step", JOIN_REAL, "D(join_pictures(real, y.roll(1, 0)))", "another label than its own"),
    ("discriminator_step", JOIN_FAKE, "D(join_pictures(fake, y.roll(1, 0)))", "another label than its own"),
    ("discriminator_step", "join_z(z, y)", "join_z(z, y[torch.randperm(len(y))])", "another label than its own"),
    ("discriminator_step", "join_z(z, y)", "join_z(z, torch.zeros_like(y))", "another label than its own"),
    ("discriminator_step", ".detach()", "", "detach() the fakes"),
    ("discriminator_step", "    optimizer_D.zero_grad()\n", "", "zero_grad()"),
    ("discriminator_step", "    optimizer_D.step()\n", "", "optimizer_D.step()"),
    ("discriminator_step", "    loss.backward()\n", "", "call backward()"),
    ("discriminator_step", "return loss", "return loss.item()", "return the loss"),
    ("discriminator_step", "bce(p_real, torch.ones_like(p_real)) + ", "", "add BCE(D(real, y), 1)"),
    (
        "discriminator_step",
        "loss = (bce(p_real, torch.ones_like(p_real)) + loss_rejected) / 2",
        "loss = (bce(p_real, torch.zeros_like(p_real)) + bce(p_fake, torch.ones_like(p_fake))) / 2",
        "targets swapped",
    ),
    ("discriminator_step", "if wrong_y is not None", "if False", "nothing comes of it"),
    ("discriminator_step", "torch.zeros_like(p_wrong)", "torch.ones_like(p_wrong)", "get 0, not 1"),
    ("discriminator_step", "join_pictures(real, wrong_y)", "join_pictures(fake, wrong_y)", "it is the real pictures"),
    ("discriminator_step", "torch.zeros_like(p_wrong))) / 2", "torch.zeros_like(p_wrong)))", "count half each"),
    ("discriminator_step", "(real, wrong_y)", "(real, torch.ones_like(wrong_y))", "see the formula"),
    ("generator_step", "D(join_pictures(G(join_z(z, y)), y))", "D(G(join_z(z, y)))", "join y to the pictures"),
    ("generator_step", "join_z(z, y)", "z", "join y to z"),
    ("generator_step", "G(join_z(z, y)), y", "G(join_z(z, y)), y.roll(1, 0)", "another label than it was made for"),
    ("generator_step", "join_z(z, y)", "join_z(z, y[torch.randperm(len(y))])", "another label than it was made for"),
    ("generator_step", "ones_like", "zeros_like", "targets swapped"),
    ("generator_step", "bce(p_fake, torch.ones_like(p_fake))", "(1 - p_fake).log().mean()", "saturates"),
    ("generator_step", "G(join_z(z, y)), y", "G(join_z(z, y)).detach(), y", "no detach() here"),
    ("generator_step", "    optimizer_G.zero_grad()\n", "", "zero_grad()"),
    ("generator_step", "    optimizer_G.step()\n", "", "optimizer_G.step()"),
]
ALSO_RIGHT = [
    ("one_hot", "    return torch.eye(n_classes, device=labels.device)[labels]\n"),
    ("one_hot", "    return (labels[:, None] == torch.arange(n_classes, device=labels.device)).to(torch.float32)\n"),
    ("one_hot", "    return torch.zeros(len(labels), n_classes).scatter_(1, labels.view(-1, 1), 1.0)\n"),
    (
        "join",
        """
    maps = torch.ones_like(pictures[:, :1]) * y.view(len(y), -1, 1, 1)
    return torch.hstack([pictures, maps])
""",
    ),
    (
        "join",
        """
    height, width = pictures.shape[-2:]
    maps = y.repeat_interleave(height * width, 1).view(len(y), y.shape[1], height, width)
    return torch.concat((pictures, maps), dim=1)
""",
    ),
    (
        "other_labels",
        """
    drawn = torch.randint(n_classes - 1, labels.shape, device=labels.device)
    return drawn + (drawn >= labels).long()
""",
    ),
    (
        "other_labels",
        """
    chances = 1 - torch.nn.functional.one_hot(labels, n_classes).float()
    return torch.multinomial(chances, 1).squeeze(1)
""",
    ),
    (
        "discriminator_step",  # one pass for all, twice the loss, logarithms by hand
        """
    optimizer_D.zero_grad(set_to_none=False)
    with torch.no_grad():
        fake = G(join_z(z, y))
    pairs = [join_pictures(real, y), join_pictures(fake, y)]
    if wrong_y is not None:
        pairs.append(join_pictures(real, wrong_y))
    p_real, p_fake, *p_wrong = D(torch.cat(pairs)).chunk(len(pairs))
    rejected = torch.stack([-(1 - p).log().mean() for p in (p_fake, *p_wrong)]).mean()
    loss = -p_real.log().mean() + rejected
    loss.backward()
    optimizer_D.step()
    return loss.detach()
""",
    ),
    (
        "generator_step",
        """
    D.requires_grad_(False)
    optimizer_G.zero_grad()
    fake = G(join_z(z, y))
    loss = torch.nn.functional.softplus(-torch.logit(D(join_pictures(fake, y)))).mean()
    loss.backward()
    optimizer_G.step()
    D.requires_grad_(True)
    return loss
""",
    ),
]


def names():
    return {"settings": SimpleNamespace(z_dim=100)}


@pytest.mark.parametrize(
    ("todo", "right", "wrong", "hint"),
    MISTAKES,
    ids=lambda value: value if value in ("one_hot", "join", "other_labels") or value.endswith("_step") else "",
)
def test_checks_catch_the_usual_mistakes(todo, right, wrong, hint):
    assert_caught(STEM, todo, right, wrong, hint, names())


@pytest.mark.parametrize(("todo", "body"), ALSO_RIGHT, ids=lambda value: value if "\n" not in value else "")
def test_checks_pass_other_right_solutions(todo, body):
    assert_passes(STEM, todo, body, names())
