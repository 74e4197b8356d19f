"""A run: one folder with settings, losses, samples and checkpoints, from which training goes on."""

import copy
import io
import json
import os
import random
import re
import signal
import time
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from kit.device import gradient_scales, rank, take_layout_of_weights, without_wrapper, world_size
from kit.faces import batches_of, is_ignored
from kit.files import (
    StepTable,
    atomic_write,
    failed_disk_reported,
    failed_write_reported,
    open_zip,
    replace_file,
    set_aside,
)
from kit.progress import progress
from kit.samples import (
    ALIKE,
    SHOWN,
    check_outputs,
    fixed_noise,
    limit_of_repeats,
    near_repeats,
    pack,
    picture_grid,
    sample,
    show,
)

LOSSES = ("loss_D", "loss_G")
WARM_UP = 10  # steps that the estimate leaves out: in the first ones a GPU chooses its kernels, for 20 seconds and more
APART = 5.0  # seconds between two steps at which processes ask each other whether to stop
EXPLODED = 1e15  # a loss of this size: critics with a large clipping value reach 1e11, and go on
FREE_SETTINGS = (  # what may change when a run goes on
    *("faces", "faces_b", "run", "outputs", "steps", "hours", "processes", "half"),
    *("checkpoint_every", "checkpoint_minutes", "log_every", "norms_every", "cool_down"),
    *("psi", "truncation"),  # they change samples only
    "shape_steps",  # of a network that comes after the run
)
NEEDED = ("log.csv", "checkpoints/last.pt")  # in a zip, to go on from
OF_CHECKPOINT = ("step", "settings", "pictures", "rng", "python_rng")  # beside the parts of the run
SAME_MEAN = 0.05  # of 255 levels: another decoder of JPEGs moves the mean of a set by less, other faces by more


@contextmanager
def frozen(network):
    """No gradients for the weights of a network that only looks on: they would cost a fifth of a step's time."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


@contextmanager
def stop_asked():
    """Yields a function that says whether an interrupt or SIGTERM came. A second one ends training at once; not so in
    several processes, which get each one twice: from the terminal, and from what launched them."""
    asked, before = [], {}

    def ask(number, _frame):
        asked.append(number)
        if world_size() == 1:
            signal.signal(number, before[number])

    before.update((number, signal.signal(number, ask)) for number in (signal.SIGINT, signal.SIGTERM))
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """One training of a pair G and D. It goes on from its last checkpoint when there is one.

    G_ema is the running average of G that samples come from, z what they are made of. The first `shown` of them stand
    in the grids, 8 in a row. `parts` are all other things that have a state: optimizers, and whatever else training
    changes. A run's folder holds config.json, log.csv,
    grad_norms.csv, checkpoints/ (last.pt, the one before, and G_ema's weights at each) and samples/ (a grid and a .tgz
    of 1,000 pictures at each).
    """

    def __init__(self, settings, G, D, z=None, shown=SHOWN, **parts):
        self.settings, self.G, self.folder, self.shown = settings, G, Path(settings.run), shown
        self.device = next(G.parameters()).device
        self.G_ema = copy.deepcopy(without_wrapper(G)).eval().requires_grad_(False)
        self.z = (fixed_noise(settings) if z is None else z).to(self.device)
        self.parts = {"G": G, "D": D, "G_ema": self.G_ema, **parts}
        if settings.batch_size % world_size():
            raise SystemExit(f"{world_size()} processes cannot share a batch of {settings.batch_size} evenly")
        self.archive = self.folder.with_name(f"{self.folder.name}.zip")
        check_place(self.folder, self.archive)
        check_outputs(settings)
        with failed_write_reported(self.folder):
            for name in ("checkpoints", "samples"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.last, self.previous = (self.folder / f"checkpoints/{name}.pt" for name in ("last", "previous"))
        # of the set that `steps` deals out, and of those beside it: how many pictures, and their mean
        self.pictures, self.means = [], []
        self.asked, self.ask_at = (0, 0.0), 0  # the step, and when: of the last question, and the step of the next one
        self.left = 1.0  # the share of the training that is still to come: of its steps, or of this session's hours
        self.fewest_repeats = 1.0  # the least share of near repeats that samples of this run had
        self.session = ""  # its mark in the folder, once it has trained
        self.step = self.start = self.load_checkpoint()
        if rank():  # noise of its own
            torch.manual_seed(settings.seed + self.start + 1_000_003 * rank())
        self.log_table = StepTable(self.folder / "log.csv", [*LOSSES, "seconds"], self.start)
        self.norms_table = StepTable(self.folder / "grad_norms.csv", ["layer", "name", "norm"], self.start)
        self.tables = [self.log_table, self.norms_table]  # that the end of training closes
        *losses, self.seconds = map(float, self.log_table.last[1:] if self.log_table.last else [0, 0, 0])
        self.losses = {name: torch.tensor(loss, device=self.device) for name, loss in zip(LOSSES, losses, strict=True)}
        self.log_rows, self.norms_rows, self.alike = [], [], ALIKE

    # what the loop calls

    def steps(self, *tensors, batch_size=0, beside=()):
        """Yields (step, batch, …) from the step after the last checkpoint to the last one: a batch of each tensor, as
        `batches_of` makes them. Between steps it writes what was logged, samples and checkpoints, and it ends early
        when the session's hours are over or an interrupt came. `beside` are sets that the loop deals out itself."""
        settings, began = self.settings, time.time()
        sets = [tensors[0], *beside]
        pictures, means = [*map(len, sets)], [mean_of(faces) for faces in sets]
        for then, now in zip(self.pictures, pictures, strict=False):  # an older notebook counted the first set only
            if then != now:
                counts = f"{then:,} then, {now:,} now"
                raise SystemExit(f"{self.folder} holds a run on other faces ({counts}): set another `run`")
        if any(abs(then - now) > SAME_MEAN for then, now in zip(self.means, means, strict=False)):
            raise SystemExit(f"{self.folder} holds a run on other faces, though as many: set another `run`")
        self.pictures, self.means, self.alike = pictures, means, limit_of_repeats(tensors[0])
        batches = batches_of(
            *tensors, batch_size=batch_size or settings.batch_size, seed=settings.seed, start=self.start
        )
        total = None if settings.hours else settings.steps
        steps = range(self.start + 1, settings.steps + 1)
        bar = progress(iter(steps) if settings.hours else steps, "training", total, self.start) if steps else steps
        if not steps and settings.steps > 1:  # else it was to be opened only
            print(f"the run is at step {self.start:,}, `steps` is {settings.steps:,}: nothing is left to train")
        saved_at, writing, agreed_left = began, 0.0, 1.0
        with stop_asked() as stopped:
            for step in bar:
                self.step = step
                self.left = min((settings.steps - step + 1) / settings.steps, agreed_left)
                yield (step, *next(batches))
                if step == self.start + 1 and rank() == 0:  # who looks on, or fails at once, stops nobody
                    self.session = os.urandom(8).hex()
                    atomic_write(self.folder / "session", lambda path: path.write_text(self.session))
                row = torch.stack([self.losses[name] for name in LOSSES])
                self.log_rows.append((step, row, self.seconds + time.time() - began))
                if step == self.start + WARM_UP:
                    warm = time.time()
                if step == self.start + WARM_UP + 50 and step < settings.steps:
                    self.print_estimate((time.time() - warm) / 50, time.time() - began)
                left = 1 - (time.time() - began + writing) / (settings.hours * 3600) if settings.hours else 1.0
                end = "stopped" if stopped() else f"{settings.hours:g} hours are over" if left <= 0 else ""
                end, agreed_left = self.agreed(end, left, agreed_left)
                with_samples = step % settings.checkpoint_every == 0 or step == settings.steps or end
                due = with_samples or time.time() - saved_at > settings.checkpoint_minutes * 60
                if due or step % settings.log_every == 0:
                    self.flush()
                    bar.set_postfix_str("loss_D {:.3f}, loss_G {:.3f}".format(*self.latest), refresh=False)
                if due:
                    saved_at = time.time()
                if due and rank() == 0:
                    self.check_weights()
                    if with_samples:
                        self.save_samples()
                    self.save_checkpoint()
                    writing = max(writing, time.time() - saved_at)
                if end:
                    print(f"{end}: run the notebook again to go on from here")
                    break
        for table in self.tables:
            table.close()
        if self.step > self.start or not self.is_packed():
            self.pack()

    def noise(self, count=0):
        """New z [count, z_dim], for this process's part of a batch unless `count` says otherwise."""
        count = count or self.settings.batch_size // world_size()
        return torch.randn(count, self.settings.z_dim, device=self.device)

    def log(self, **losses):
        """Keeps losses, scalar tensors, for log.csv; one that a step does not log stays as it was. They stay on the
        device until they are written, so that no step waits for the GPU. Plain numbers and losses on the CPU are taken
        too."""
        for name, loss in losses.items():
            is_tensor = torch.is_tensor(loss)  # a number is filled in there, which takes no copy
            self.losses[name] = (
                loss.detach().to(self.device) if is_tensor else torch.full((), float(loss), device=self.device)
            )

    def record_norms(self, norms):
        """Keeps {name: norm, a scalar tensor} for grad_norms.csv."""
        if norms:  # none where D's step cleared its gradients
            self.norms_rows.append((self.step, [*norms], torch.stack([*norms.values()])))

    def update_average(self):
        """Moves G_ema towards G: θ_ema ← β θ_ema + (1 − β) θ, β = settings.ema; BatchNorm's statistics likewise."""
        G, weight = without_wrapper(self.G), 1 - self.settings.ema
        averages, values = ([*one.parameters(), *one.buffers()] for one in (self.G_ema, G))
        pairs = [(average, value.detach()) for average, value in zip(averages, values, strict=True)]
        floats = [(average, value) for average, value in pairs if value.is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*floats, strict=True)), weight)
        for average, value in pairs:
            if not value.is_floating_point():
                average.copy_(value)

    # what is written

    def flush(self):
        """Writes the rows that were kept. Raises SystemExit when a loss is NaN or has exploded."""
        if not self.log_rows:
            return
        self.check_session()
        steps, rows, seconds = zip(*self.log_rows, strict=True)
        values = torch.stack(rows).tolist()  # the one wait for the GPU
        self.latest = values[-1]
        self.log_table.append(
            [step, *(f"{loss:.6g}" for loss in losses), f"{second:.3f}"]
            for step, losses, second in zip(steps, values, seconds, strict=True)
        )
        self.norms_table.append(  # where no row is new, too: those of steps that were lost go
            [step, layer, name, f"{norm:.6g}"]
            for step, names, norms in self.norms_rows
            for layer, (name, norm) in enumerate(zip(names, norms.tolist(), strict=True), 1)
        )
        self.log_rows.clear()
        self.norms_rows.clear()
        for step, losses in zip(steps, values, strict=True):
            if not all(abs(loss) < EXPLODED for loss in losses):  # NaN is not smaller either
                self.diverged("loss_D is {:.3g} and loss_G {:.3g}".format(*losses), step)

    def save_samples(self):
        """A grid and a .tgz of 1,000 pictures by G_ema, its weights, and a line on what is seen."""
        pictures = sample(self.G_ema, self.z)  # [1000, 3, 64, 64]
        grid = picture_grid(pictures[: self.shown])
        atomic_write(self.folder / f"samples/{self.step:06d}.png", partial(grid.save, format="PNG"))
        pack(pictures, self.folder / f"samples/{self.step:06d}.tgz")
        weights = self.G_ema.state_dict()
        atomic_write(self.folder / f"checkpoints/{self.step:06d}.pt", partial(torch.save, weights))
        repeats = near_repeats(pictures, self.alike)
        # an untrained generator's pictures are alike as well, and become less so
        collapsing = repeats > self.fewest_repeats + 0.1
        self.fewest_repeats = min(self.fewest_repeats, repeats)
        hint = ": G is collapsing, earlier samples may be better" if collapsing else ""
        print(f"step {self.step:,}: {repeats:.1%} near repeats{hint}")
        show(grid)

    def print_estimate(self, seconds, passed):
        """How long this session still takes, `passed` seconds after it began, with so many `seconds` per step."""
        left = (self.settings.steps - self.step) * seconds
        if self.settings.hours:
            left = min(left, self.settings.hours * 3600 - passed)
        time_left = f"{left / 3600:.1f} hours" if left > 5400 else f"{left / 60:.0f} minutes"
        print(f"{1 / seconds:.1f} steps per second: about {time_left} to go")

    # checkpoints

    def config(self):
        """The settings as JSON has them, which stay the same while a run lasts."""
        return json.loads(json.dumps(asdict(self.settings)))

    def save_checkpoint(self):
        """Networks, optimizers and random states: all that an uninterrupted run would have at this step. The one before
        is kept as previous.pt."""
        self.check_session()
        state = {name: without_wrapper(part).state_dict() for name, part in self.parts.items()}
        state |= {"step": self.step, "settings": self.config()}
        state |= {"pictures": sum(self.pictures[:1]), "pictures_beside": self.pictures[1:], "means": self.means}
        state |= {"scales": gradient_scales(self.parts), "fewest_repeats": self.fewest_repeats}
        name, numbers, *others = np.random.get_state()  # noqa: NPY002
        state |= {"rng": torch.get_rng_state(), "python_rng": random.getstate()}
        state |= {"numpy_rng": (name, numbers.tolist(), *others)}  # torch.load wants no arrays
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state()

        def write(unfinished):
            torch.save(state, unfinished)
            if self.last.exists():  # killed from here on, the run has only previous.pt, which is whole
                replace_file(self.last, self.previous)

        atomic_write(self.last, write)

    def read_checkpoint(self):
        """(path, state) of the last checkpoint that is whole, or None. Sets a broken one aside, and says so."""
        for path in filter(Path.exists, (self.last, self.previous)):
            try:
                damaged = damage_of(path)
                if not damaged:
                    return path, checkpoint_of(path)
                reason = f"{damaged} is damaged"
            except (OSError, MemoryError):  # which say nothing of the file
                raise
            except Exception as error:  # another file, of whatever kind, may raise anything
                if "tried to allocate" in str(error):  # torch's word for too little memory
                    raise
                reason = "it is no checkpoint"
            if rank() == 0:
                replace_file(path, path.with_name(path.name + ".broken"))
                print(f"{path} is broken ({reason}) and set aside: looking for the one before")
        return None

    def load_checkpoint(self):
        """The step to go on from, 0 without a checkpoint. Refuses to mix runs with different settings."""
        found = None
        if rank() == 0:
            found = self.read_checkpoint()  # broken files are set aside before the others look
            fetch_run(self.folder, step=found[1]["step"] if found else 0)
        if world_size() > 1:
            distributed.barrier()
        now, found, step = self.config(), found or self.read_checkpoint(), 0
        if found:
            path, state = found
            then, step = state["settings"], state["step"]
            changed = [name for name in now if then.get(name) != now[name] and name not in FREE_SETTINGS]
            if changed:
                # no words between values: a translation would take them for its own
                changes = ", ".join(f"{name} {then.get(name)} → {now[name]}" for name in changed)
                raise SystemExit(f"{self.folder} holds a run with other settings ({changes}): set another `run`")
            for name, part in self.parts.items():
                try:
                    without_wrapper(part).load_state_dict(state[name])
                except (KeyError, RuntimeError, ValueError):  # a network that was changed since, or an older notebook
                    raise SystemExit(f"{self.folder} holds a run with another {name}: set another `run`") from None
                if isinstance(part, torch.optim.Optimizer):
                    take_layout_of_weights(part)
            for name, scale in gradient_scales(self.parts).items():  # none where this run was not in float16 before
                self.parts[name].scale.copy_(state.get("scales", {}).get(name, scale))
            self.pictures = [state["pictures"], *state.get("pictures_beside", [])]
            self.means = state.get("means", [])  # none of an older notebook
            self.fewest_repeats = state.get("fewest_repeats", 1.0)  # likewise
            torch.set_rng_state(state["rng"])
            random.setstate(state["python_rng"])
            if "numpy_rng" in state:  # not of older notebooks
                np.random.set_state(state["numpy_rng"])  # noqa: NPY002
            if "cuda_rng" in state and self.device.type == "cuda":
                torch.cuda.set_rng_state(state["cuda_rng"])
            print(f"going on from step {step:,} of {path}")
        if step < self.settings.steps:
            atomic_write(
                self.folder / "config.json", lambda path: path.write_text(json.dumps(now, indent=2), encoding="utf-8")
            )
        return step

    def agreed(self, end, left, before):
        """(why the session ends, the share of its hours that is left), the same for all processes: they ask each other
        after about APART seconds, at most settings.log_every steps, and take what was left `before` until then."""
        if world_size() == 1:
            return end, left
        if self.step < self.ask_at:
            return "", before
        now, (step, then), answers = time.time(), self.asked, [None] * world_size()
        distributed.all_gather_object(answers, (end, left, (now - then) / (self.step - step)))
        ends, shares, paces = zip(*answers, strict=True)
        self.asked = self.step, now
        self.ask_at = self.step + int(min(self.settings.log_every, max(1, APART / max(*paces, 1e-6))))
        return max(ends), min(shares)

    def check_session(self):
        """Stops a run before it writes where a later session trains: in another tab, or with a new kernel."""
        latest = self.session
        with suppress(OSError, ValueError):  # a Drive may lose it, or lag behind
            latest = (self.folder / "session").read_text() or latest
        if self.session and latest != self.session:
            raise SystemExit(f"another session trains in {self.folder}: end it, or set another `run`")

    def check_weights(self):
        """Stops a run before a network that holds NaN replaces the last checkpoint that does not."""
        for name, part in self.parts.items():
            if isinstance(part, nn.Module) and not all(value.isfinite().all() for value in part.state_dict().values()):
                self.diverged(f"weights of {name} are not finite", self.step)

    def diverged(self, what, step):
        """Ends a run in which there is nothing left to train: one line that names the last good checkpoint."""
        last = self.read_checkpoint()
        good = f"the last good checkpoint is {last[0]} of step {last[1]['step']:,}" if last else "no checkpoint exists"
        raise SystemExit(
            f"stopped at step {step:,}: {what}; {good}. Lower lr_D and lr_G, and set another `run`: in this one the "
            "same would happen again."
        )

    def is_packed(self):
        """Whether the archive beside the run is as new as its last checkpoint."""
        last = checkpoint_in(self.folder)
        return not last.exists() or (self.archive.exists() and time_of(self.archive) >= time_of(last))

    def may_replace_archive(self):
        """Whether the archive beside the run is of the same run, and no further than it."""
        name = self.folder.name
        return lists_run(self.archive, name) and step_saved(zipfile.Path(self.archive, f"{name}/")) <= self.step

    def pack(self):
        """Everything to go on from, in one archive beside the run: the last checkpoint, the tables and the samples."""
        names = ("config.json", "log.csv", "grad_norms.csv", "labels.csv")
        files = [self.folder / name for name in names] + sorted(self.folder.glob("samples/*.*"))
        packed = [(file, file) for file in files] + [(checkpoint_in(self.folder), self.last)]  # it, and as what

        def write(unfinished):
            with zipfile.ZipFile(unfinished, "w", strict_timestamps=False) as archive:  # 1970 is packed as 1980
                for file, place in packed:
                    if file.exists():  # weights and pictures cannot be compressed any further
                        how = zipfile.ZIP_DEFLATED if file.suffix == ".csv" else zipfile.ZIP_STORED
                        archive.write(file, Path(self.folder.name, place.relative_to(self.folder)), how)

        try:
            if rank() == 0 and self.archive.is_file() and not self.may_replace_archive():
                print(f"{self.archive} is none of this run, or got further: it is now {set_aside(self.archive)}")
            atomic_write(self.archive, write)
        except SystemExit as error:  # the run is whole without it, and what comes after the training needs none
            print(f'{error} With "steps": 1 in `overrides` it only packs.')
            return
        if rank() == 0:
            size = self.archive.stat().st_size / 1e6
            print(f"{self.archive}, {size:,.0f} MB, is all that another session needs to go on from here")


def mean_of(pictures):
    """The mean of some pixels of all uint8 pictures, in whatever order: tells sets apart that are as large."""
    some = pictures[:, :, ::8, ::8]
    return some.sum().item() / some.numel()


def damage_of(path):
    """What is damaged in a zip, as torch.save writes one: torch.load checks no checksums."""
    try:
        with failed_disk_reported(path), open_zip(path) as archive:
            return archive.testzip()
    except zipfile.BadZipFile:
        return "its end"


def checkpoint_of(path):
    """What `save_checkpoint` wrote, on the CPU: an Adam with its step counters on a GPU waits for it at every step.
    Raises all sorts of errors where it is something else."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not {*OF_CHECKPOINT} <= state.keys() or not isinstance(state["step"], int):
        raise KeyError
    return state


def check_place(folder, archive):
    """Raises SystemExit where a run would write among somebody's files, or its archive would replace one."""
    with failed_disk_reported(folder):
        names = {name for name in os.listdir(folder) if not is_ignored(name)} if folder.is_dir() else set()
    if names and not names & {"config.json", "checkpoints", "log.csv", "grad_norms.csv", "samples", "submission.tgz"}:
        raise SystemExit(f"{folder} holds no run, but other files, such as {min(names)}: set `run` to a new folder")
    if archive.is_file() and lists_run(archive, folder.name) is False:
        raise SystemExit(
            f"{archive} is no archive of this run, which would replace it: rename it, or set another `run`"
        )


def lists_run(archive, name):
    """Whether a zip has a run of this name among its files, damaged or not; None where it cannot be read, or was cut
    off and is read as a zip that lies in it."""
    try:
        with failed_disk_reported(archive), open_zip(archive) as files:
            begins = min((file.header_offset for file in files.infolist()), default=0)
            return None if begins else f"{name}/log.csv" in files.namelist()
    except Exception:  # a zip that is damaged may raise anything
        return None


def holds_run(archive, name):
    """Whether a zip holds what a run goes on from, whole. Cut off, it may still be read: as the last checkpoint in it,
    a zip as well."""
    try:
        with failed_disk_reported(archive), open_zip(archive) as files:
            return all(files.read(f"{name}/{file}") for file in NEEDED)  # which looks at their checksums
    except Exception:  # a zip that is damaged may raise anything
        return False


def steps_logged(path, name):
    """The last step in the log.csv of a run, a folder or a zip that holds the folder `name`; 0 where there is none."""
    try:
        files = zipfile.Path(path, f"{name}/") if path.is_file() else path
        rows = (files / "log.csv").read_text(encoding="utf-8").splitlines()
    except Exception:  # a zip that is damaged may raise anything
        return 0
    steps = (re.match(r"\d*", row)[0] for row in rows)  # Excel may have put semicolons behind them
    return max((int(step) for step in steps if step), default=0)


def checkpoint_in(files):
    """The last checkpoint in a run's folder or zip, or the one before, where a session was killed between the two."""
    last, previous = (files / f"checkpoints/{name}.pt" for name in ("last", "previous"))
    return last if last.exists() else previous


def step_saved(files):
    """The step of the last checkpoint in a run's folder; 0 where it cannot be read. A log may be ahead of it."""
    try:
        data = io.BytesIO(checkpoint_in(files).read_bytes())
        return torch.load(data, map_location="cpu", weights_only=True)["step"]
    except Exception:  # a checkpoint that is damaged may raise anything
        return 0


def write_as_of(data, when, path):
    """Writes a file that keeps the time of the one it was copied from: a submission tells by it that it is older than
    a checkpoint."""
    path.write_bytes(data)
    with suppress(OSError):  # on a Drive that keeps no times
        os.utime(path, (when, when))


def time_of(file):
    """When a file in a folder or a zip was last written, in seconds since 1970. A zip has the time of day where it was
    packed, which may be to come here."""
    if isinstance(file, Path):
        return file.stat().st_mtime
    return time.mktime((*file.root.getinfo(file.at).date_time, 0, 0, -1))


def fetch_run(
    folder, places=("/kaggle/input", "/content/runs"), step=0, uploads=(".", "/content", "/content/drive/MyDrive")
):
    """Takes up the run of an earlier session into its folder: NAME.zip as `Run.pack` wrote it, "NAME (1).zip" as a
    browser renames it, the folder that Kaggle made of it, or one from before the Drive was mounted. `places` are
    searched, in `uploads` a zip lies on top. Of several, the one that got furthest; of equals a folder, which holds
    more than its zip. Where the folder holds a run, which is at `step`, that stays as it is, and a line tells of one
    that got further."""
    places, uploads = [*map(Path, places)], [folder.parent, *map(Path, uploads)]
    zips = [path for place in uploads for path in place.glob("*.zip")]
    zips += [path for place in places for path in place.rglob("*.zip")]
    name = re.compile(re.escape(folder.name) + r"( ?\(\d+\)|(-\d+))?")
    zips = [*{path.resolve(): path for path in zips if name.fullmatch(path.stem) and path.is_file()}.values()]
    saved = [path for place in places for path in place.rglob("checkpoints/*.pt")]
    unpacked = {path.parents[1]: None for path in saved if path.name in ("last.pt", "previous.pt")}
    unpacked = [path for path in unpacked if path.name == folder.name and path.resolve() != folder.resolve()]
    steps = {path: steps_logged(path, folder.name) for path in zips + unpacked}
    runs = []
    for path in zips:
        if step and steps[path] <= step:  # to look at its checksums would take long
            continue
        if holds_run(path, folder.name):
            runs.append((path, zipfile.Path(path, f"{folder.name}/")))
        elif not name.fullmatch(path.stem)[2]:  # gan-2.zip may be whole, and of another run
            print(f"{path} is broken, or holds no run of this name: upload it again")
    runs += [(path, path) for path in unpacked if steps[path] > step]
    if not runs:
        return
    path, files = max(runs, key=lambda run: (steps[run[0]], run[0].is_dir(), len([*run[0].glob("checkpoints/*")])))
    if step:
        if (further := step_saved(files)) > step:
            print(f"{path} holds a run that got further, to step {further:,}: to go on from there, rename {folder}")
        return
    checkpoint = checkpoint_in(files)
    ahead = max(0, time_of(checkpoint) - time.time())  # of our clock
    for name in ("", "samples", "checkpoints"):
        with failed_write_reported(folder / name):
            (folder / name).mkdir(parents=True, exist_ok=True)
        found = (files / name).iterdir() if (files / name).is_dir() else ()  # without samples: they come later
        for file in sorted(found, key=lambda file: file.name):  # last.pt after all STEP.pt: with it the run is there
            if not file.is_file():
                continue
            try:
                with failed_disk_reported(path):
                    data, when = file.read_bytes(), time_of(file) - ahead
            except Exception as error:  # a zip that is damaged may raise anything
                if file.name in ("log.csv", checkpoint.name):
                    raise
                print(f"left out {file}, which cannot be read: {error}")
                continue
            atomic_write(folder / name / file.name, partial(write_as_of, data, when))
    print(f"took up the run in {path} (without it, a new one would begin)")
