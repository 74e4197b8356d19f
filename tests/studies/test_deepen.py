"""A deeper run draws what the run before drew, and goes on training from there."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from baselines.sample import MASTER
from studies import deepen
from tests.helpers.notebook import SMOKE, before_launch


def names(name):
    return before_launch(MASTER)[name]


def train(folder, faces, **others):
    settings = names("PRESETS")["cpu"]
    names("train")(replace(settings, **SMOKE | {"faces": str(faces), "run": str(folder)} | others))


@pytest.fixture(scope="module")
def run(rendered, tmp_path_factory):
    train(folder := tmp_path_factory.mktemp("before") / "run", rendered, steps=3)
    return folder


def checkpoint(run):
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


def command(*arguments):
    return CliRunner().invoke(deepen.main, [str(argument) for argument in arguments])


def networks(state):
    settings = names("R3GANSettings")(**state["settings"])
    made = {name: names(deepen.NETWORKS[name[0]])(settings) for name in ("G", "G_ema", "D")}
    for name, network in made.items():
        network.load_state_dict(state[name])
    return made


def test_it_begins_where_the_other_ended_and_learns_with_all_blocks(run, rendered, tmp_path):
    deeper = tmp_path / "deeper"
    result = command(run, deeper, "--set", "blocks=2", "--set", "ema=0.99")
    assert result.exit_code == 0, result.stderr
    before, after = checkpoint(run), checkpoint(deeper)
    z, pictures = torch.randn(3, 100), torch.randn(3, 3, 64, 64)
    old, new = networks(before), networks(after)
    for name, seen in (("G", z), ("G_ema", z), ("D", pictures)):
        assert torch.equal(old[name](seen), new[name](seen))
        assert len([*new[name].parameters()]) > len([*old[name].parameters()])
    for name in ("G", "D"):
        old_moments, new_moments = (
            {
                parameter: state[f"optimizer_{name}"]["state"].get(place)
                for place, (parameter, _) in enumerate(networks[name].named_parameters())
            }
            for state, networks in ((before, old), (after, new))
        )
        for parameter, moments in new_moments.items():
            if parameter in old_moments:
                assert all(torch.equal(value, moments[key]) for key, value in old_moments[parameter].items())
            else:
                assert moments is None

    train(deeper, rendered, steps=6, blocks=2, ema=0.99)
    for name, network in networks(state := checkpoint(deeper)).items():
        last = [weight for key, weight in network.named_parameters() if key.endswith("project.weight")]
        assert all(weight.any() for weight in last), name
    assert state["step"] == 6
    assert (deeper / "log.csv").read_text().startswith((run / "log.csv").read_text())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["blocks=0"], "has no place in the new network"),
        (["width=8"], "has no place in the new network"),
        (["blocks=many"], "many"),
        (["colour=3"], "there is no setting colour"),
        (["width=0"], "`width` is 0"),
        (["z_dim=0"], "`z_dim` is 0"),
        (["augment=1"], "there is no augmentation 1"),
        (["augment=colour"], "there is no augmentation colour"),
        (["loss=hinge"], "`loss` is 'hinge': use one of"),
        (["batch_size=5"], "in this run and stays so"),
    ],
)
def test_other_weights_are_refused_in_one_line(run, tmp_path, changes, why):
    result = command(run, tmp_path / "deeper", *(word for change in changes for word in ("--set", change)))
    assert result.exit_code == 1
    assert why in result.stderr and result.stderr.count("\n") == 1
    assert not [one for one in tmp_path.iterdir() if "deeper" in one.name]


def test_a_generator_in_half_precision_keeps_its_scale(run):
    scales = {"G": torch.tensor(8.0)}
    assert deepen.deepened(checkpoint(run) | {"scales": scales}, {"blocks": 2})["scales"] == scales


def test_what_is_no_run_and_what_is_there_is_refused(run, tmp_path):
    (tmp_path / "other/checkpoints").mkdir(parents=True)
    (tmp_path / "other/checkpoints/last.pt").write_bytes(b"no checkpoint")
    for source, output, why in ((tmp_path / "other", tmp_path / "new", "last.pt"), (run, run, "is there already")):
        result = command(source, output, "--set", "blocks=2")
        assert result.exit_code == 1 and why in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert command(run, tmp_path / "new", "--set", "blocks").exit_code == 2


def test_adam_goes_on_with_the_betas_that_are_set(run):
    state = deepen.deepened(checkpoint(run), {"beta1": 0.25})
    for name in ("G", "D"):
        (group,) = state[f"optimizer_{name}"]["param_groups"]
        assert group["betas"] == (0.25, state["settings"]["beta2"])
