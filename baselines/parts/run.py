# %% [markdown]
# ## What a run writes
#
# Everything goes to one folder: the settings, a row of losses a step, the last checkpoint and the one before, and for
# every checkpoint the weights of the averaged generator, a grid of the same 64 faces and a .tgz of 1,000 samples.
# **Keep the samples of every checkpoint**: GANs do not end at their best, and the losses will not tell you when that
# was. Run the notebook again after a lost session, and it goes on where the last checkpoint was written. When a session
# ends, the run is packed into one archive beside its folder, `runs/gan.zip` for `runs/gan`. On another machine, put it
# back there; on Kaggle, add it as an input: the notebook finds it.

# %%
run = Path(settings.run)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "samples").mkdir(exist_ok=True)
LAST, PREVIOUS = run / "checkpoints/last.pt", run / "checkpoints/previous.pt"


@contextmanager
def full_disk_reported(path):
    """One line for a file that cannot be written, which is what a full disk looks like."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        free = shutil.disk_usage(run).free / 1e6
        raise SystemExit(
            f"{path} cannot be written: {reason}; {free:,.0f} MB are free. Earlier checkpoints are whole: make room, "
            "and run the notebook again to go on from the last one."
        ) from error


def write_safely(path, write):
    """Writes to a temporary name first: a session that dies in between, or a full disk, leaves the old file whole. Only
    the first of several processes writes."""
    if RANK:
        return
    unfinished = path.with_name(path.name + ".part")
    with full_disk_reported(path):
        try:
            write(unfinished)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


class StepTable:
    """A CSV file whose first column is the step. Starts with the rows of an earlier session up to step `start`."""

    def __init__(self, path, columns, start):
        self.path, self.columns, self.waiting, kept = path, columns, [], []  # what waits is written at the next flush
        if start and path.exists():
            with open(path, newline="") as file:  # its last row may be torn: a session died while it was written
                rows = [row for row in csv.reader(file) if len(row) == 1 + len(columns) and row[0].isdigit()]
            kept = [row for row in rows if int(row[0]) <= start]
        write_safely(path, lambda path: self.append([["step", *columns], *kept], path, "w"))
        self.last = kept[-1] if kept else None

    def append(self, rows, path=None, mode="a"):
        if RANK:
            return
        with full_disk_reported(self.path), open(path or self.path, mode, newline="") as file:
            csv.writer(file).writerows(rows)


class LossLog(StepTable):
    """log.csv: a row a step. Values stay on the device until `flush`, so that no step waits for the GPU."""

    def __init__(self, path, start):
        super().__init__(path, ["loss_D", "loss_G", "seconds"], start)
        self.started = time.time() - (float(self.last[-1]) if self.last else 0)  # the clock goes on as well
        self.loss_G = torch.zeros((), device=device)

    def add(self, step, loss_D, loss_G):
        """loss_G is None in steps without G, which take the one before."""
        self.loss_G = self.loss_G if loss_G is None else loss_G.detach()
        self.waiting.append((step, torch.stack([loss_D.detach(), self.loss_G]), time.time() - self.started))

    def flush(self):
        """Writes what was added, and keeps the last losses."""
        steps, losses, seconds = zip(*self.waiting, strict=True)
        losses = torch.stack(losses).tolist()
        self.append(
            [step, *(f"{loss:.6g}" for loss in row), f"{second:.3f}"]
            for step, row, second in zip(steps, losses, seconds, strict=True)
        )
        self.waiting.clear()
        self.losses = dict(zip(self.columns, losses[-1], strict=False))
        for step, row in zip(steps, losses, strict=True):
            if not all(abs(loss) < EXPLODED for loss in row):  # NaN is not smaller either
                raise SystemExit(diverged(step, f"loss_D is {row[0]:.3g} and loss_G {row[1]:.3g}"))


class GradientNorms(StepTable):
    """grad_norms.csv: the L2 norm of the gradient of every weight of D, a row a layer, counted from the picture on."""

    def __init__(self, path, D, start):
        super().__init__(path, ["layer", "name", "norm"], start)
        self.weights = {name: weight for name, weight in D.named_parameters() if weight.dim() > 1}

    def add(self, step):
        """Reads the gradients that D has now: those of its loss, as long as G's step has not added its own."""
        self.waiting.append((step, torch.stack([weight.grad.norm() for weight in self.weights.values()])))

    def flush(self):
        for step, norms in self.waiting:
            layers = enumerate(zip(self.weights, norms.tolist(), strict=True), 1)
            self.append([step, layer, name, f"{norm:.6g}"] for layer, (name, norm) in layers)
        self.waiting.clear()


EXPLODED = 1e15  # a loss of this size: critics with a large clipping value reach 1e11, and go on


def diverged(step, what):
    """The line with which a run ends when there is nothing left to train."""
    last = read_checkpoint()
    good = f"the last good checkpoint is {last[0]} of step {last[1]['step']:,}" if last else "no checkpoint was written"
    return (
        f"stopped at step {step:,}: {what}; {good}. Lower lr_D and lr_G, in another `run`: the same would come again."
    )


def check_weights(step, **parts):
    """Stops a run before a network that holds NaN replaces the last checkpoint that does not."""
    for name, part in parts.items():
        if isinstance(part, nn.Module) and not all(value.isfinite().all() for value in part.state_dict().values()):
            raise SystemExit(diverged(step, f"weights of {name} are not finite"))


# %% [markdown]
# A session may die at any moment, in the middle of writing a checkpoint too, and a download may break off. So the
# checkpoint before the last is kept, files get their names only when they are whole, and are looked over when read.


# %%
def whole_run():
    """The settings, which stay the same while a run lasts."""
    return asdict(settings) | {"faces": source.name, "pictures": len(faces)}


def save_checkpoint(step, **parts):
    """Networks, optimizers and random states: all that an uninterrupted run would have at this step. The one before is
    kept as previous.pt."""
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "settings": whole_run(), "rng": torch.get_rng_state(), "python_rng": random.getstate()}
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state()

    def write(unfinished):
        torch.save(state, unfinished)
        if LAST.exists():  # killed from here on, the run has only previous.pt, which is whole
            os.replace(LAST, PREVIOUS)

    write_safely(LAST, write)


def read_checkpoint():
    """(path, state) of the last checkpoint that is whole, or None. Sets a broken one aside, and says so."""
    for path in filter(Path.exists, (LAST, PREVIOUS)):
        try:
            with zipfile.ZipFile(path) as archive:  # what torch.save writes; torch.load does not look at its checksums
                damaged = archive.testzip()
        except zipfile.BadZipFile:
            damaged = "its end"
        if not damaged:
            return path, torch.load(path, map_location=device, weights_only=True)
        os.replace(path, path.with_name(path.name + ".broken"))
        print(f"{path} is broken ({damaged} is damaged) and set aside: looking for the one before")
    return None


# What may change when a run goes on.
FREE = ("faces", "run", "outputs", "steps", "hours", "checkpoint_every", "log_every", "processes")


def load_checkpoint(**parts):
    """The step to go on from, 0 without a checkpoint. Refuses to mix runs with different settings."""
    now, step = whole_run(), 0
    found = read_checkpoint()
    if found:
        path, state = found
        then, step = state["settings"], state["step"]
        changed = [name for name in now if then.get(name) != now[name] and name not in FREE]
        if changed:
            changes = ", ".join(f"{name}: {then.get(name)} then, {now[name]} now" for name in changed)
            raise SystemExit(f"{run} holds a run with other settings ({changes}): set another `run`")
        for name, part in parts.items():
            if state[name]:  # a scaler that was not in use has no state
                part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"].cpu())
        random.setstate(state["python_rng"])
        if "cuda_rng" in state and device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        print(f"going on from step {step:,} of {path}")
    write_safely(run / "config.json", lambda path: path.write_text(json.dumps(now, indent=2)))
    return step


def pack_run():
    """Everything to go on from, in one archive beside the run: the last checkpoint, the tables and the samples."""
    files = [run / name for name in ("config.json", "log.csv", "grad_norms.csv")]
    files = [path for path in files if path.exists()] + sorted(run.glob("samples/*.*")) + [LAST]
    path = run.with_name(f"{run.name}.zip")

    def write(unfinished):
        with zipfile.ZipFile(unfinished, "w") as archive:  # weights and pictures cannot be compressed any further
            for file in files:
                archive.write(file, Path(run.name, file.relative_to(run)))

    write_safely(path, write)
    print(f"{path}, {path.stat().st_size / 1e6:,.0f} MB, is all that another session needs to go on from here")


def fetch_run(places=("/kaggle/input",)):
    """Takes up the run of an earlier session: NAME.zip as `pack_run` wrote it, or the folder that Kaggle made of it.
    Of several, the one that got furthest."""
    archive = run.with_name(f"{run.name}.zip")
    found = [archive] if archive.exists() else []
    for place in map(Path, places):
        found += [*place.rglob(archive.name), *(path.parents[1] for path in place.rglob("checkpoints/last.pt"))]
    runs = [(path, zipfile.Path(path, f"{run.name}/") if path.is_file() else path) for path in found]
    runs = [(path, files) for path, files in runs if path.stem == run.name and (files / "log.csv").exists()]
    if not runs:
        return
    path, files = max(runs, key=lambda one: len((one[1] / "log.csv").read_bytes()))
    for folder in ("", "samples", "checkpoints"):  # the checkpoint comes last: with it the run is there
        for file in (files / folder).iterdir():
            if file.is_file():
                write_safely(run / folder / file.name, lambda path, file=file: path.write_bytes(file.read_bytes()))
    print(f"took up the run in {path} (without it, a new one would begin)")


if not RANK and not LAST.exists() and not PREVIOUS.exists():
    fetch_run()

# %% [markdown]
# Samples, and what they tell while training goes on: a generator that collapses paints the same few faces over and
# over, whatever the losses say.


# %%
SHOWN = 64  # of the 1,000 samples, in a grid


@torch.no_grad()
def sample(G, z, batch_size=100):
    """Pictures [N, 3, 64, 64] as bytes from z [N, z_dim], with the generator in evaluation mode."""
    G.eval()
    fakes = torch.cat([G(part) for part in z.split(batch_size)])
    G.train()
    return ((fakes + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def near_repeats(pictures):
    """The share of pictures [N, 3, 64, 64] that another one nearly repeats: their thumbnails of 8×8 differ by less than
    12 of 255 levels (root mean square). Of 1,000 faces none do; the nearest are 17 apart."""
    thumbnails = nn.functional.avg_pool2d(pictures.float(), 8).flatten(1)  # [N, 192]
    distances = torch.cdist(thumbnails, thumbnails) / thumbnails.shape[1] ** 0.5
    return (distances.fill_diagonal_(math.inf).amin(1) < 12).float().mean().item()


def faces_found(pictures):
    """The share of pictures [N, 3, 64, 64] in which the kit's detector finds a face, None where it is not installed."""
    try:
        network, detector = (importlib.import_module(f"grader.embedded.{name}") for name in ("network", "detector"))
    except ImportError:
        return None
    with torch.random.fork_rng():  # making networks draws random numbers: leave the training's alone
        return detector.ratio(network.describe(pictures.permute(0, 2, 3, 1).contiguous().numpy()))


def what_is_seen(pictures, history):
    """A line on samples. `history` holds the repeats of earlier checkpoints: those of a collapse come back."""
    history.append(near_repeats(pictures))
    found = faces_found(pictures)
    line = f"{history[-1]:.1%} near repeats" + ("" if found is None else f", a face found in {found:.1%}")
    if history[-1] > min(history) + 0.1:  # an untrained generator's pictures are alike as well, and become less so
        line += ": G is collapsing, earlier samples may be better"
    return line


def picture_grid(pictures, columns=8):
    """One PIL picture of many, row by row."""
    return Image.fromarray(make_grid(pictures, columns, padding=2, pad_value=255).permute(1, 2, 0).numpy())


def pack(pictures, path):
    """A flat .tgz of 1.jpg, 2.jpg, …: the form in which the course takes pictures."""

    def write(unfinished):
        with tarfile.open(unfinished, "w:gz") as archive:
            for number, picture in enumerate(pictures, 1):
                jpeg = io.BytesIO()
                Image.fromarray(picture.permute(1, 2, 0).numpy()).save(jpeg, "JPEG")
                entry = tarfile.TarInfo(f"{number}.jpg")
                entry.size = len(jpeg.getvalue())
                archive.addfile(entry, io.BytesIO(jpeg.getvalue()))

    write_safely(path, write)
