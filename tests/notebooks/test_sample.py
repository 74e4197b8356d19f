"""The trained generator: the weights that ship are what their card says, and the command makes all its pictures."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from baselines import sample as play
from baselines.sample import BadWeights, load_generator
from grader.features import anime, imagenet
from grader.features.reference import shipped_reference
from grader.files import short_hash
from grader.inputs.faces import face_set_name
from grader.inputs.submission import read_submission
from grader.metrics import afd, released
from grader.metrics.copies import COPY
from grader.verdict import load_thresholds
from kit.faces import read_faces
from kit.score import drawn_faces
from studies import release

TINY = {"z_dim": 6, "width": 2, "largest_G": 16}


def write_weights(path, settings=TINY, weights=None, **texts):
    torch.manual_seed(1)
    weights = play.make_generator(TINY).state_dict() if weights is None else weights
    about = {"format": play.FORMAT, "about": json.dumps({"settings": settings})} | texts
    save_file(weights, path, about)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def shipped():
    return load_generator()


def command(*arguments):
    result = CliRunner().invoke(play.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stderr.splitlines()


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


# the weights that ship


def test_the_shipped_weights_draw_faces_that_nobody_drew(shipped):
    pictures = play.sample(shipped, play.noise(shipped, 100, seed=1))
    assert pictures.shape == (100, 3, 64, 64) and pictures.dtype == torch.uint8
    assert afd.ratio(imagenet.describe(pictures.permute(0, 2, 3, 1).numpy())) > 0.7
    assert release.check_copies(pictures).startswith("0 of 100 samples are")


def test_the_shipped_samples_score_as_they_did(shipped):
    """Nothing else would see all distances double, or all thresholds be wrong by as much."""
    pictures = play.sample(shipped, play.noise(shipped, play.COUNT, release.SEED))
    score = release.scored(pictures, ("fd-imagenet", "afd", "fd-anime", "integrity"))
    distance, faces, _ = score.measures
    assert distance.value == pytest.approx(131.2, abs=2)
    assert faces.value == pytest.approx(0.989, abs=0.004)
    assert score.integrity.released  # a class should know whose they are


def test_the_grader_knows_the_pictures_of_these_weights():
    with safe_open(released.FILE, "numpy") as file:
        assert file.metadata() == {"weights": short_hash(play.WEIGHTS), "features": anime.scale()}


@pytest.mark.parametrize(("psi", "tint"), [(0.8, 0), (1.2, 0), (1, 12)])
def test_the_grader_knows_them_mirrored_truncated_and_tinted_too(shipped, psi, tint):
    pictures = play.sample(shipped, play.truncated(play.noise(shipped, play.COUNT, seed=21), psi)).flip(3).int()
    pictures += torch.tensor([tint, 0, -tint])[:, None, None]
    handed_in = release.handed_in(pictures.clamp(0, 255).to(torch.uint8))
    assert released.released(anime.describe(handed_in), shipped_reference(anime).statistics)


def test_the_card_says_what_the_weights_say_of_themselves():
    card = play.WEIGHTS.with_name("README.md").read_text(encoding="utf-8")
    assert f"<!-- facts -->\n{release.table(play.WEIGHTS)}<!-- /facts -->" in card
    assert play.WEIGHTS.stat().st_size <= play.MOST_BYTES
    about = play.read_about(play.WEIGHTS)
    assert not any(str(value).startswith("/") for part in about.values() for value in part.values())  # nobody's paths
    assert not {"faces", "run", "outputs"} & {*about["settings"]}


def test_the_generator_is_that_of_the_notebook(shipped):
    z = play.noise(shipped, 3, seed=11)
    assert torch.equal(z, torch.randn(3, shipped.settings.z_dim, generator=torch.Generator().manual_seed(11)))
    pictures = shipped(z)
    assert pictures.shape == (3, 3, 64, 64) and pictures.dtype == torch.float32 and not pictures.requires_grad
    assert not shipped.training and pictures.abs().quantile(0.9) < 1


def test_shrinking_z_is_truncation_towards_the_mean_style(shipped):
    """As the docstring of truncated says: the mean style is 0."""
    z = play.noise(shipped, 4, seed=0)
    torch.testing.assert_close(shipped.scales(play.truncated(z, 0.7)), 0.7 * shipped.scales(z))


# weights that are none


def missing_one():
    weights = play.make_generator(TINY).state_dict()
    return dict(list(weights.items())[1:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "9"}, "its format is 9"),
        ({"about": "{"}, "Expecting property name"),
        ({"about": "[]"}, "list indices"),
        ({"settings": {}}, "size mismatch|Error"),
        ({"settings": TINY | {"width": "2"}}, "width is '2'"),
        ({"settings": TINY | {"width": 10**12}}, "width is 1000000000000"),
        ({"settings": TINY | {"blocks": 10**9}}, "blocks is 1000000000"),
        ({"weights": missing_one()}, "Error"),
        ({"weights": {name: one * math.nan for name, one in play.make_generator(TINY).state_dict().items()}}, "finite"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_what_is_no_generator_is_refused_in_one_line(change, says, tmp_path):
    path = write_weights(tmp_path / "some.safetensors", **change)
    with pytest.raises(BadWeights, match=says) as caught:
        load_generator(path)
    assert len(caught.value.problems) == 1 and str(caught.value).startswith(
        f"{path}: holds no generator of notebook 10"
    )


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    torch.save({"weights": Bomb()}, tmp_path / "bomb.safetensors")
    with pytest.raises(BadWeights):
        load_generator(tmp_path / "bomb.safetensors")
    assert not (tmp_path / "exploded").exists()


# ways through z


def test_an_arc_keeps_its_speed_and_its_distance_from_0():
    a, b = torch.randn(2, 100, generator=torch.Generator().manual_seed(2))
    b *= a.norm() / b.norm()
    way = play.slerp(a, b, 9)
    torch.testing.assert_close(way[[0, -1]], torch.stack([a, b]))
    torch.testing.assert_close(way.norm(dim=1), a.norm().expand(9))
    steps = torch.nn.functional.cosine_similarity(way[1:], way[:-1])
    torch.testing.assert_close(steps, steps[0].expand(8))
    assert torch.lerp(a, b, 0.5).norm() < 0.8 * way[4].norm()  # what a straight line does


def test_a_walk_goes_from_each_stop_to_the_next_and_back_to_the_first(monkeypatch):
    drawn, z = [], torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(4))  # 3 stops of 2 samples

    def flat(G, z):
        drawn.append(z)
        grey = torch.arange(0, 20 * len(z) // 2, 20, dtype=torch.uint8).repeat_interleave(2)  # lighter each frame
        return grey[:, None, None, None].expand(-1, 3, 64, 64)

    monkeypatch.setattr(play, "sample", flat)
    frames = play.walk(None, z, steps=4)
    arcs = torch.cat(drawn).view(3, 4, 2, 5)
    for arc, here, there in zip(arcs, z, z[[1, 2, 0]], strict=True):
        for number in range(2):
            torch.testing.assert_close(arc[:, number], play.slerp(here[number], there[number], 5)[:4])
    shown = [frame.convert("L").getpixel((x, 30)) for frame in frames for x in (30, 96)]
    assert shown[::2] == shown[1::2] == pytest.approx(range(0, 240, 20), abs=9)  # of 256 colours


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_an_arc_between_z_of_one_line_is_that_line(factor):
    a = torch.arange(1.0, 6.0)
    assert torch.allclose(play.slerp(a, factor * a, 3)[1], (1 + factor) / 2 * a, atol=1e-4)


# the command


def test_it_writes_all_its_pictures_and_a_submission(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    G = load_generator(tiny)
    samples = play.sample(G, play.noise(G, 1000, seed=5))
    Path("faces").mkdir()  # six samples as they are, and one mirrored: these are the nearest
    for number, picture in enumerate(samples[:7].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(picture[:, ::-1] if number == 6 else picture).save(f"faces/{number}.png")
    monkeypatch.setattr("grader.metrics.copies.limits", lambda prints: (0.125 if len(prints) == 7 else 0, 0))
    said = command("--weights", tiny, "--seed", 5, "--faces", "faces", "--submission", "my own")
    assert [line.split(":")[0] for line in said] == [
        *(f"wrote samples/{name}" for name in ("samples.png", "interpolation.png", "walk.gif", "truncation.png")),
        "wrote samples/nearest.png",
        "wrote my own",
    ]
    assert said[-1].endswith("next: python -m grader score 'my own'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "my own", "samples"]
    grid = read("samples/samples.png")
    assert grid.shape == (530, 530, 3)
    assert np.array_equal(grid[2:66, 68:132], samples[1].permute(1, 2, 0).numpy())
    ways = read("samples/interpolation.png")
    assert np.array_equal(ways[68:132, 2:66], samples[1].permute(1, 2, 0).numpy())  # from one of the first row …
    assert np.array_equal(ways[68:132, -66:-2], samples[9].permute(1, 2, 0).numpy())  # … to the one below it
    with Image.open("samples/walk.gif") as loop:
        assert (loop.n_frames, loop.size) == (48, (266, 134))
    sweep, at_1 = read("samples/truncation.png")[play.CAPTION :], 66 * play.STRENGTHS.index(1)
    assert np.array_equal(sweep[2:66, at_1 + 2 : at_1 + 66], samples[0].permute(1, 2, 0).numpy())
    assert np.array_equal(read("samples/nearest.png")[play.CAPTION + 2 : play.CAPTION + 66, 2:66], grid[2:66, 2:66])
    assert "the least distance is 0.000, a copy's at most 0.125" in said[4]
    submission = read_submission(Path("my own"))
    assert submission.quality == play.QUALITY
    with io.BytesIO() as file:  # the picture as a notebook stores it
        Image.fromarray(samples[999].permute(1, 2, 0).numpy()).save(file, "JPEG")
        assert np.array_equal(submission.pictures[999], np.asarray(Image.open(file)))


def test_the_same_seed_makes_the_same_pictures(tiny, tmp_path):
    for name, arguments in {"a": [], "b": [], "seed": ["--seed", 1], "psi": ["--truncation", 0.5]}.items():
        command("--weights", tiny, "--output", tmp_path / name, *arguments)
    made = {name: (tmp_path / name / "samples.png").read_bytes() for name in ("a", "b", "seed", "psi")}
    assert made["a"] == made["b"] and len({*made.values()}) == 3


def test_truncation_multiplies_the_z_of_the_sweep_once(tiny, tmp_path):
    for psi in (1, 0.4):
        play.draw(load_generator(tiny), tmp_path / f"{psi}", truncation=psi)  # as from Python
    sweeps = [read(tmp_path / f"{psi}/truncation.png") for psi in (1, 0.4)]
    assert np.array_equal(*sweeps)


@pytest.mark.parametrize("name", ["mine.tgz", "mine.TGZ", "mine.tar.gz"])
def test_a_packed_submission_is_one_too(name, tiny, tmp_path):
    G = load_generator(tiny)
    play.write_submission(play.sample(G, play.noise(G, 1000, seed=0)), tmp_path / name)
    assert (tmp_path / name).is_file() and len(read_submission(tmp_path / name).pictures) == 1000


def test_a_face_set_is_one_that_the_notebooks_and_the_grader_know(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = command("--weights", tiny, "--seed", 5, "--truncation", 0.5, "--count", 12, "--face-set", "made")
    assert said == ["wrote made: 12 faces to train on"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]  # and no pictures of the rest
    faces = read_faces(Path("made"))[0]
    G = load_generator(tiny)
    assert torch.equal(faces, play.sample(G, play.truncated(play.noise(G, 12, seed=5), 0.5)))
    assert drawn_faces("made") == Path("made")


def test_only_a_face_set_of_the_shipped_weights_as_they_are_has_the_demos_own_scale(tiny, shipped, tmp_path):
    for G, psi in ((shipped, 1), (shipped, 0.3), (load_generator(tiny), 1)):
        play.write_face_set(G, tmp_path / f"{G.weights}_{psi}", 2, truncation=psi)
    names = {face_set_name(path) for path in tmp_path.iterdir()}
    assert len(names) == 3
    assert names & {scale.get("reference") for scale in load_thresholds()["scale"]} == {"generated"}
    assert face_set_name(tmp_path / f"{shipped.weights}_1") == "generated"


def test_a_large_face_set_is_never_whole_in_memory(tiny, tmp_path, monkeypatch):
    G, drawn = load_generator(tiny), []
    whole, sample = play.sample(G, play.noise(G, 12, seed=0)), play.sample
    monkeypatch.setattr(play, "AT_ONCE", 5)
    monkeypatch.setattr(play, "sample", lambda G, z: drawn.append(len(z)) or sample(G, z))
    play.write_face_set(G, tmp_path / "made.zip", count=12)
    assert drawn == [5, 5, 2]
    faces = read_faces(tmp_path / "made.zip")[0]
    assert len(faces) == 12 and (faces.int() - whole.int()).abs().max() <= 1  # other batches round otherwise


def test_samples_beside_the_faces_that_are_nearest(shipped, tmp_path):
    pictures = play.sample(shipped, play.noise(shipped, 12, seed=3))
    for number, picture in enumerate(pictures[:3].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(picture[:, ::-1] if number else picture).save(tmp_path / f"{number}.png")
    other_way = np.roll(pictures[0].permute(1, 2, 0).numpy()[:, ::-1], 1, axis=0)  # the next one to sample 0
    Image.fromarray(other_way).save(tmp_path / "3.png")
    found = play.nearest_faces(pictures, tmp_path, count=2, most=4)
    (first,) = (
        faces
        for sample, faces in zip(found.samples, found.faces, strict=True)
        if np.array_equal(sample, pictures[0].permute(1, 2, 0))
    )
    assert np.array_equal(first[1], other_way)
    assert found.samples.shape == (4, 64, 64, 3) and found.faces.shape == (4, 2, 64, 64, 3)
    assert found.distances == sorted(found.distances)
    assert found.distances[2] < 0.1 < COPY < found.distances[3]
    for sample, faces in zip(found.samples[:3], found.faces[:3], strict=True):
        assert np.array_equal(faces[0], sample) or np.array_equal(faces[0][:, ::-1], sample)


def test_faces_of_one_file_name_in_several_folders_are_told_apart(shipped, tmp_path):
    pictures = play.sample(shipped, play.noise(shipped, 3, seed=3))
    for number, picture in enumerate(pictures.permute(0, 2, 3, 1).numpy()):
        (tmp_path / f"class{number}").mkdir()
        Image.fromarray(picture).save(tmp_path / f"class{number}/1.png")
    found = play.nearest_faces(pictures, tmp_path, count=2, most=3)
    assert np.array_equal(found.faces[:, 0], found.samples)


def test_blank_samples_are_nobodys_copy(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "face.png")
    assert play.nearest_faces(torch.full((3, 3, 64, 64), 7, dtype=torch.uint8), tmp_path) is None
