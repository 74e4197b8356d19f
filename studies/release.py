"""Makes the weights that baselines.sample plays with from a run of notebook 10: python -m studies.release runs/r3gan

Writes G_ema's weights at one step as a .safetensors, with the settings and all measured facts in it, and from these the
table in the README.md beside it, the card. Weights whose samples are copies of the course's faces are not written.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save

import grader
from baselines import sample as play
from baselines.definitions import definition
from grader import console
from grader.errors import GraderError, first_line
from grader.features import anime
from grader.features.statistics import Statistics
from grader.files import atomic, short_hash
from grader.inputs.known_faces import load_known
from grader.inputs.runs import best, read_history, read_rows
from grader.inputs.submission import read_submission
from grader.metrics import released
from grader.metrics.copies import COPY, integrity
from grader.results import Score

METRICS = ("fd-imagenet", "fd-anime", "kid", "afd", "prdc", "integrity")
SEED = 0  # of the samples that are checked and scored: baselines.sample's own, not one that a checkpoint was picked by
LEVELS = 1  # of 255: half precision may change no sample's pixel by more
# Settings that change nothing in the weights, or name a place on somebody's machine.
NOT_TOLD = ("faces", "run", "outputs", "checkpoint_every", "checkpoint_minutes", "log_every", "norms_every")
RENAME = "your ResidualBlock may hold expand, mix and project, and no other weights: change it, and train again"
TABLE = re.compile(r"(?<=<!-- facts -->\n).*?(?=<!-- /facts -->)", re.DOTALL)


class CannotRelease(GraderError):
    """A run that no weights are made of; the message says why."""

    exit_code = 1


def release(run: Path, step: int | None, output: Path, told: dict[str, str]) -> Path | None:
    """Writes the weights of a run's step, by default its best one in history.csv, and the card's table beside them.

    `told` are facts that no file of the run holds, or that it holds in part: the words for "command", "faces",
    "hardware" and "time". Returns the card's path, None where no card of these weights is there.
    Raises CannotRelease, BadRun and CannotWrite; then no file is changed.
    """
    card = read_card(output)
    config = read_config(run)
    step = step or best(read_history(run / "history.csv")).step
    G = read_checkpoint(run / f"checkpoints/{step:06d}.pt", config)
    facts = facts_of(run, step, config)
    dtype, pictures = in_half_precision(G)  # [1000, 3, 64, 64]
    megabytes = sum(weight.numel() for weight in G.state_dict().values()) * dtype.itemsize / 1e6
    ships = output.resolve() == play.WEIGHTS.resolve()
    if ships and megabytes > play.MOST_BYTES / 1e6:
        raise CannotRelease(
            f"{run}: {megabytes:.1f} MB of weights, and {play.MOST_BYTES / 1e6:g} MB may ship: name another --output"
        )
    checked = check_copies(pictures)
    facts |= told | {"precision": str(dtype).removeprefix("torch.")}
    facts |= {"parameters": sum(weight.numel() for weight in G.parameters()), "copies": checked, **scores(G)}
    settings = {name: value for name, value in asdict(G.settings).items() if name not in NOT_TOLD}
    texts = {"format": play.FORMAT, "about": json.dumps({"settings": settings, "facts": facts}, ensure_ascii=False)}
    weights = save({name: weight.to(dtype) for name, weight in G.state_dict().items()}, texts)
    with ExitStack() as written:  # each file takes its name when all of them are there
        new = written.enter_context(atomic(output))
        new.write_bytes(weights)
        if ships:
            written.enter_context(atomic(released.FILE)).write_bytes(statistics(G, new))
        if not card:
            return None
        path = output.with_name("README.md")
        written.enter_context(atomic(path)).write_bytes(TABLE.sub(lambda _: table(new), card).encode())
        return path


def read_config(run: Path) -> dict:
    """The settings in a run's config.json. Raises CannotRelease where they are not those of notebook 10."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        if not {"width", "group_width", "largest_G"} <= {*config}:
            raise ValueError("its settings are not those of notebook 10")
    except (OSError, ValueError, TypeError) as error:
        raise CannotRelease(f"{run}/config.json: {first_line(error)}: name a run of notebook 10") from None
    return config


def read_checkpoint(path: Path, config: dict) -> torch.nn.Module:
    """G_ema at a step, in evaluation mode, of its weights in checkpoints/. Raises CannotRelease."""
    try:
        G = play.make_generator(config)
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if unknown := [name for name in weights if name not in G.state_dict()]:
            raise CannotRelease(f"{path}: {unknown[0]} is no layer of the solved notebook 10: {RENAME}")
        G.load_state_dict(weights)
    except CannotRelease:
        raise
    except Exception as error:  # a file that is damaged may raise anything
        there = ", ".join(sorted(str(int(one.stem)) for one in path.parent.glob("[0-9]*.pt")))
        unpacked = "name the folder that the run was trained in, not what its zip was unpacked to"
        remedy = f"choose a --step of {there}" if there else unpacked
        raise CannotRelease(f"{path}: {first_line(error)}: {remedy}") from None
    return G.eval().requires_grad_(False)


def in_half_precision(G: torch.nn.Module) -> tuple[torch.dtype, torch.Tensor]:
    """(the type that the weights can be kept in, 1,000 samples [1000, 3, 64, 64] of G in it): float16 where that
    changes no pixel of them by more than LEVELS, and then G has these weights; else float32."""
    whole, z = {name: weight.clone() for name, weight in G.state_dict().items()}, play.noise(G, play.COUNT, SEED)
    before = play.sample(G, z)
    G.load_state_dict({name: weight.half().float() for name, weight in whole.items()})
    after = play.sample(G, z)
    if (before.int() - after.int()).abs().max() <= LEVELS:
        return torch.float16, after
    G.load_state_dict(whole)
    return torch.float32, before


def statistics(G: torch.nn.Module, weights: Path) -> bytes:
    """The file by which the grader knows the shipped generator's pictures, as they are handed in: statistics of their
    features, and which weights, G's, and which network these are of."""
    batches = (play.sample(G, play.noise(G, play.COUNT, seed)) for seed in range(1, 11))
    own = Statistics.of(np.concatenate([anime.describe(handed_in(pictures)) for pictures in batches]))  # [10000, 256]
    tensors = {"mean": own.mean.astype(np.float32), "covariance": own.covariance.astype(np.float16)}
    made_with = {"weights": short_hash(weights), "features": anime.scale()}
    return save_arrays(tensors | {"count": np.array(own.count)}, made_with)


def check_copies(pictures: torch.Tensor) -> str:
    """How near samples [N, 3, 64, 64] come to the course's 71,314 faces, in words. Raises CannotRelease where one of
    them is a copy by the grader's own check, or where more than honest pictures are close to one."""
    known = load_known()
    found = integrity(pictures.permute(0, 2, 3, 1).numpy(), known)
    least = found.closest[0].distance if found.closest else float("inf")
    words = (
        f"{len(found.copies)} of {len(pictures):,} samples are one of the course's {len(known.names):,} faces; the "
        f"nearest is {least:.3f} from one, a copy's distance is {COPY:g} at most; "
        f"{found.near} are as near to one face alone as disguised copies are"
    )
    if found.copies or found.disguised:
        raise CannotRelease(f"the samples do not pass the copy check: {words}")
    return words


def scores(G: torch.nn.Module) -> dict[str, str]:
    """What the grader measures of 1,000 samples of G, written and read as any submission is; and of their z made
    weaker and stronger."""
    z = play.noise(G, play.COUNT, SEED)
    score = scored(play.sample(G, z), METRICS)
    tier = next((verdict.best for verdict in score.verdicts if verdict.best), "none")
    others = {psi: scored(play.sample(G, play.truncated(z, psi)), ("fd-imagenet", "afd", "prdc")) for psi in (0.8, 1.2)}
    kept = ("FD-ImageNet", "AFD", "precision", "coverage")
    return {
        "score": in_words(score),
        "truncation": "; ".join(f"z × {psi:g}: {in_words(other, kept)}" for psi, other in others.items()),
        "tier": f"{tier}, on the offline scale",
        "near repeats": f"{score.integrity.repeated} of {play.COUNT:,} samples are like another one",
    }


def scored(pictures: torch.Tensor, metrics: tuple[str, ...]) -> Score:
    """The Score of pictures [1000, 3, 64, 64], as JPEG."""
    with submission_of(pictures) as path:
        return grader.score(path, metrics=metrics, offline=True)


def handed_in(pictures: torch.Tensor) -> np.ndarray:
    """Pictures [1000, 3, 64, 64] as the grader reads them from a submission, as JPEG: uint8 [1000, 64, 64, 3]."""
    with submission_of(pictures) as path:
        return read_submission(path).pictures


@contextmanager
def submission_of(pictures: torch.Tensor) -> Iterator[Path]:
    """A .tgz of pictures [1000, 3, 64, 64], as it is handed in; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        play.write_submission(pictures, path := Path(folder, "samples.tgz"))
        yield path


def in_words(score: Score, kept: tuple[str, ...] = ()) -> str:
    """All measures of a score, or those that are named, with three digits or so."""
    measures = [one for one in score.measures if not kept or one.measure in kept]
    digits = [0 if one.value > 100 else 1 if one.value > 2 else 3 for one in measures]
    return ", ".join(f"{one.measure} {one.value:.{few}f}" for one, few in zip(measures, digits, strict=True))


def facts_of(run: Path, step: int, config: dict) -> dict:
    """What the files of a run tell of its training up to a step."""
    rows = read_rows(run / "log.csv", {"step": int, "seconds": float}, grows=True)
    seconds = float(rows["seconds"][rows["step"] <= step][-1])
    return {
        "command": command(config),
        "step": step,
        "shown": step * config["batch_size"],
        "faces": f"{count_of_faces(run):,} faces",
        "time": f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min",
        "hardware": "hardware not told",
        "seed": config["seed"],
    }


def count_of_faces(run: Path) -> int:
    """How many faces a run trained on, as its last checkpoint has it, or the one before. Raises CannotRelease."""
    reasons = []
    for path in (run / "checkpoints/last.pt", run / "checkpoints/previous.pt"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)["pictures"]
        except Exception as error:  # likewise
            reasons.append(f"{path}: {first_line(error)}: name the folder that the run was trained in, with its files")
    raise CannotRelease(reasons[0])


def command(config: dict) -> str:
    """The command that trains with these settings: the preset that is nearest to them, and what differs from it."""
    config = asdict(play.known_settings(config))  # a setting that is younger than the run was as it is by default
    told = {*config} - {*NOT_TOLD}
    differences = {}
    for name, preset in definition(play.MASTER, "PRESETS").items():
        changed = [key for key, value in asdict(preset).items() if key in told and config[key] != value]
        differences[name] = [f"--set {key}={config[key]}" for key in changed]
    name = min(differences, key=lambda name: len(differences[name]))
    return " ".join([f"python -m baselines.run {play.MASTER.stem} --preset {name}", *differences[name]])


def table(weights: Path) -> str:
    """The card's table, of what stands in a file of weights alone."""
    facts = play.read_about(weights)["facts"]
    told = facts["command"]
    size = f"{weights.stat().st_size / 1000:,.0f} kB, {facts['precision']}, sha256 {short_hash(weights)}…"
    rows = {
        "generator": f"{facts['parameters']:,} parameters; {size}",
        "trained on": facts["faces"],
        "command": told if "`" in told else f"`{told}`",  # as told: several commands, and words
        "step": f"{facts['step']:,}, that is {facts['shown']:,} pictures shown; averaged weights, G_ema",
        "seed": f"{facts['seed']} for training; {SEED} for the samples that are scored and checked",
        "time, hardware": f"{facts['time']}, {facts['hardware']}",
        **{name: facts[name] for name in ("score", "tier", "truncation", "near repeats", "copies")},
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]) + "\n"


def read_card(weights: Path) -> str:
    """The text of the README.md beside a file of weights; "" where there is none that names the file and has marks for
    a table: a card of other weights stays as it is."""
    try:
        text = weights.with_name("README.md").read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return ""
    return text if TABLE.search(text) and f"`{weights.name}`" in text else ""


@click.command(cls=console.Command)
@click.argument("run", type=console.path(exists=True, file_okay=False))
@click.option("--step", type=click.IntRange(1), help="The checkpoint.  [default: the best one in RUN/history.csv]")
@click.option(
    "--output",
    type=console.path(dir_okay=False),
    default=play.WEIGHTS,
    help="The file for the weights. By default it is that of the weights which ship with this project, 10 MB at most: "
    "they and their card are replaced.",
)
@click.option("--command", help="How it was trained, if not by one command.  [default: by RUN's settings]")
@click.option("--faces", help="Which faces they were, in words.  [default: how many]")
@click.option("--hardware", help="What it was trained on, in words.  [default: not told]")
@click.option("--time", help="How long it took, in words.  [default: as RUN/log.csv has it]")
def main(run, step, output, **told):
    """Writes the weights of RUN, a folder that notebook 10 trained in, and the table of their card. Without --step it
    takes the best checkpoint by RUN/history.csv, which `python -m grader history RUN` writes.

    \b
    Exit codes:
      0    written
      1    the samples do not pass the copy check, RUN is no run of
           notebook 10, or its weights are too large to ship; nothing
           was written
      2    wrong use, or a file that cannot be read or written
      130  stopped by Ctrl-C

    \b
    Examples:
      python -m grader history runs/r3gan
      python -m studies.release runs/r3gan --output mine.safetensors
    """
    card = release(run, step, output, {name: text for name, text in told.items() if text})
    console.wrote(*filter(None, (output, card)))
    click.echo(table(output), nl=False)


if __name__ == "__main__":
    console.run(main, "python -m studies.release")
