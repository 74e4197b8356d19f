"""Goes on with a deeper network: python -m studies.deepen runs/r3gan runs/deeper --set blocks=2

Copies a run of notebook 10, with more residual blocks at each size. A new block ends in a convolution that is 0, so it
adds nothing: the deeper G draws the same pictures, the deeper D gives the same scores, and training goes on from there.
A small network learns the coarse things in a part of the time (Chen et al., 2016, Net2Net: Accelerating Learning via
Knowledge Transfer, https://arxiv.org/abs/1511.05641).
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path

import click
import torch

from baselines.definitions import BASELINES, definition
from baselines.run import settings_given
from baselines.sample import MASTER, known_settings
from grader import console
from grader.errors import GraderError, first_line
from grader.files import atomic

KINDS = BASELINES / "kit/kinds.py"  # whose as_kind reads settings
NETWORKS = {"G": "Generator", "D": "Discriminator"}


class CannotDeepen(GraderError):
    """A run that no deeper one can be made of; the message says why."""

    exit_code = 1


def deepen(run: Path, output: Path, changes: dict) -> None:
    """Writes a new run folder whose last checkpoint is that of `run`, with `changes` to its settings.

    Adam goes on with what it knows of the old weights. Raises CannotDeepen, for changes too that need other weights
    than more blocks do, and CannotWrite.
    """
    if output.exists():
        raise CannotDeepen(f"{output}: is there already: name a new folder")
    last = run / "checkpoints/last.pt"
    try:
        state = torch.load(last, map_location="cpu", weights_only=True)
        state = deepened(state, changes)
    except SystemExit as refused:  # the notebook's, of a setting
        raise CannotDeepen(str(refused)) from None
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise CannotDeepen(f"{last}: {first_line(error)}: name a run of notebook 10, and more blocks") from None
    with atomic(output) as unfinished:
        (unfinished / "checkpoints").mkdir(parents=True)
        torch.save(state, data := io.BytesIO())  # in memory: on a full disk torch raises no OSError
        (unfinished / "checkpoints/last.pt").write_bytes(data.getbuffer())
        (unfinished / "config.json").write_text(json.dumps(state["settings"], indent=2), encoding="utf-8")
        if (run / "log.csv").exists():
            shutil.copyfile(run / "log.csv", unfinished / "log.csv")


def deepened(state: dict, changes: dict) -> dict:
    """The state of a run's checkpoint, changed. Raises CannotDeepen, KeyError, TypeError, ValueError, and SystemExit of
    a setting."""
    before = known_settings(state["settings"])
    for name, value in changes.items():
        if name not in vars(before):
            raise ValueError(f"there is no setting {name}")
        changes = changes | {name: definition(KINDS, "as_kind")(name, value, getattr(before, name))}
    after = known_settings(asdict(before) | changes)
    definition(MASTER, "losses_of")(after.loss)
    if after.batch_size != before.batch_size:
        raise CannotDeepen(
            f"batch_size is {before.batch_size} in this run and stays so: it tells how many pictures a run has seen"
        )
    state = state | {"settings": asdict(after)}
    torch.manual_seed(after.seed)
    for name, network in NETWORKS.items():
        make = definition(MASTER, network)
        old, new = make(before), make(after)
        averaged = copy.deepcopy(new)
        state[name] = filled(new, state[name])
        state[f"optimizer_{name}"] = with_more_weights(state[f"optimizer_{name}"], old, new, (after.beta1, after.beta2))
        if name == "G":
            state["G_ema"] = filled(averaged, state["G_ema"])
    return state


def filled(network: torch.nn.Module, weights: dict) -> dict:
    """All weights of a network that gets the `weights` of one with fewer. Raises ValueError where one has no place."""
    sizes = {name: weight.shape for name, weight in network.state_dict().items()}
    if unfit := [name for name, weight in weights.items() if sizes.get(name) != weight.shape]:
        raise ValueError(f"{unfit[0]} has no place in the new network")
    network.load_state_dict(weights, strict=False)
    return network.state_dict()


def with_more_weights(state: dict, old: torch.nn.Module, new: torch.nn.Module, betas: tuple[float, float]) -> dict:
    """The state of old's optimizer, for new, which has all weights of old and more, with Adam's `betas`: a run that
    goes on takes them from here, and not from its settings."""
    names = [name for name, _ in new.named_parameters()]
    places = {place: names.index(name) for place, (name, _) in enumerate(old.named_parameters())}
    (group,) = state["param_groups"]
    moments = {places[place]: moments for place, moments in state["state"].items()}
    return {"state": moments, "param_groups": [group | {"params": [*range(len(names))], "betas": betas}]}


@click.command(cls=console.Command)
@click.argument("run", type=console.path(exists=True, file_okay=False))
@click.argument("output", type=console.path())
@click.option("--set", "changes", multiple=True, callback=settings_given, metavar="NAME=VALUE", help="As blocks=2.")
def main(run, output, changes):
    """Copies RUN, a folder that notebook 10 trained in, to OUTPUT, with more blocks.

    \b
    Exit codes:
      0    written
      1    RUN is no run of notebook 10, or needs other weights;
           nothing was written
      2    wrong use, or a file that cannot be read or written
      130  stopped by Ctrl-C

    \b
    Example:
      python -m studies.deepen runs/r3gan runs/deeper --set blocks=2
      python -m baselines.run 10_r3gan --preset cpu_long \\
        --set run=runs/deeper --set blocks=2 --set steps=40000
    """
    deepen(run, output, changes)
    console.wrote(output)


if __name__ == "__main__":
    console.run(main, "python -m studies.deepen")
