# %% [markdown]
# ## What a run writes
#
# Everything goes to one folder: the settings, a row of losses a step, the last checkpoint, and for every checkpoint a
# grid of the same 64 faces and a .tgz of 1,000 samples. **Keep the samples of every checkpoint**: GANs do not end at
# their best, and the losses will not tell you when that was. Run the notebook again after a lost session, and it goes
# on where the last checkpoint was written.

# %%
run = Path(settings.run)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "samples").mkdir(exist_ok=True)


def write_safely(path, write):
    """Writes to a temporary name first: a session that dies in between leaves the old file whole."""
    unfinished = path.with_name(path.name + ".part")
    write(unfinished)
    os.replace(unfinished, path)


class StepTable:
    """A CSV file whose first column is the step. Starts with the rows of an earlier session up to step `start`."""

    def __init__(self, path, columns, start):
        self.path, self.columns, self.waiting, kept = path, columns, [], []  # what waits is written at the next flush
        if start:
            with open(path, newline="") as file:
                kept = [row for row in csv.reader(file) if row[0].isdigit() and int(row[0]) <= start]
        write_safely(path, lambda path: self.append([["step", *columns], *kept], path, "w"))
        self.last = kept[-1] if kept else None

    def append(self, rows, path=None, mode="a"):
        with open(path or self.path, mode, newline="") as file:
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
        if not all(map(math.isfinite, losses[-1])):
            raise FloatingPointError(f"{self.losses} at step {steps[-1]}: the last checkpoint is kept")


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


def save_checkpoint(step, **parts):
    """Networks, optimizers and random states: all that an uninterrupted run would have at this step."""
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"step": step, "rng": torch.get_rng_state(), "python_rng": random.getstate()}
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state_all()
    write_safely(run / "checkpoints/last.pt", lambda path: torch.save(state, path))


FREE = ("faces", "run", "outputs", "steps", "hours", "checkpoint_every", "log_every")  # may change when a run goes on


def load_checkpoint(**parts):
    """The step to go on from, 0 without a checkpoint. Refuses to mix runs with different settings."""
    config = asdict(settings) | {"faces": source.name, "pictures": len(faces)}
    config_path, path = run / "config.json", run / "checkpoints/last.pt"
    step = 0
    if path.exists():
        old = json.loads(config_path.read_text())
        changed = {name: now for name, now in config.items() if old.get(name) != now and name not in FREE}
        if changed:
            changes = ", ".join(f"{name}: {old.get(name)} then, {now} now" for name, now in changed.items())
            raise SystemExit(f"{run} holds a run with other settings ({changes}): set another `run`")
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"].cpu())
        random.setstate(state["python_rng"])
        if "cuda_rng" in state and device.type == "cuda":
            torch.cuda.set_rng_state_all([rng.cpu() for rng in state["cuda_rng"]])
        step = state["step"]
        print(f"going on from step {step:,} of {path}")
    write_safely(config_path, lambda path: path.write_text(json.dumps(config, indent=2)))
    return step


SHOWN = 64  # of the 1,000 samples, in a grid


@torch.no_grad()
def sample(G, z, batch_size=100):
    """Pictures [N, 3, 64, 64] as bytes from z [N, z_dim], with the generator in evaluation mode."""
    G.eval()
    fakes = torch.cat([G(part) for part in z.split(batch_size)])
    G.train()
    return ((fakes + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


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
