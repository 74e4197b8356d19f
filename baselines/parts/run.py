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


class Log:
    """log.csv with a row a step. Values stay on the device until `flush`, so that no step waits for the GPU."""

    def __init__(self, path, columns):
        self.path, self.columns, self.rows, self.started = path, columns, [], time.time()

    def keep_until(self, step):
        """Starts the file, with the rows of an earlier session up to `step`."""
        rows = []
        if self.path.exists() and step:
            with open(self.path, newline="") as file:
                rows = [row for row in csv.reader(file) if row[0].isdigit() and int(row[0]) <= step]
            self.started -= float(rows[-1][-1])  # the clock goes on as well

        def write(path):
            with open(path, "w", newline="") as file:
                csv.writer(file).writerows([["step", *self.columns, "seconds"], *rows])

        write_safely(self.path, write)

    def add(self, step, *values):
        self.rows.append((step, torch.stack([value.detach() for value in values]), time.time() - self.started))

    def flush(self):
        """Writes what was added; returns the last row's values."""
        steps, values, seconds = zip(*self.rows, strict=True)
        values = torch.stack(values).tolist()
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerows(
                [step, *(f"{value:.6g}" for value in row), f"{second:.3f}"]
                for step, row, second in zip(steps, values, seconds, strict=True)
            )
        self.rows.clear()
        if not all(map(math.isfinite, values[-1])):
            raise FloatingPointError(f"the loss is {values[-1]} at step {steps[-1]}: the last checkpoint is kept")
        return values[-1]


def save_checkpoint(step, **parts):
    """Networks, optimizers and random states: all that an uninterrupted run would have at this step."""
    state = {name: part.state_dict() for name, part in parts.items()} | {"step": step, "rng": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state_all()
    write_safely(run / "checkpoints/last.pt", lambda path: torch.save(state, path))


FREE = ("faces", "run", "outputs", "steps", "checkpoint_every", "log_every")  # may change when a run goes on


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
        if "cuda_rng" in state and device.type == "cuda":
            torch.cuda.set_rng_state_all([rng.cpu() for rng in state["cuda_rng"]])
        step = state["step"]
        print(f"going on from step {step:,} of {path}")
    write_safely(config_path, lambda path: path.write_text(json.dumps(config, indent=2)))
    return step


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
