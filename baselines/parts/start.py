# %% [markdown]
# ## Training
#
# $G$ never settles: it swings around what $D$ would accept, and single steps leave noise in the pictures. The samples
# can come from a running average of its weights, $\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$, which
# swings less. The sample code does without, which is `ema` $\beta = 0$; try 0.995.

# %%
def half_precision():
    """The type in which this GPU's matrix units compute, if asked for. A T4 claims bfloat16, and emulates it."""
    if not settings.half or device.type != "cuda" or torch.cuda.get_device_capability(device) < (7, 0):
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


class ScaledSteps:
    """An optimizer for a network in float16. Steps whose gradients were too large for it are left out, and the scale is
    lowered. One scaler serves both networks: G's gradients come through D."""

    def __init__(self, optimizer, scaler):
        self.optimizer, self.scaler = optimizer, scaler

    def __getattr__(self, name):
        return getattr(self.optimizer, name)

    def step(self):
        self.scaler.unscale_(self.optimizer)  # so that grad_norms.csv has the true ones
        self.scaler.step(self.optimizer)
        self.scaler.update()


def mix_precision(network, optimizer, half, scaler):
    """Lets a network compute in half precision, if it may; returns what its steps are made with."""
    network.half, network.scaler = (half if getattr(network, "mixed", False) else None), scaler
    return ScaledSteps(optimizer, scaler) if network.half == torch.float16 else optimizer


@contextmanager
def frozen(network):
    """No gradients for the weights of the one who only looks on: a fifth of a step's time would go into them."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def share_gradients(network):
    """Of several processes each sees its part of a batch. With the mean of their gradients all make the same step, that
    of one process with the whole batch; for that, BatchNorm has to see the whole batch too, which it can on GPUs."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for weight in network.parameters():
        weight.register_hook(lambda gradient: accelerator.reduce(gradient, "mean"))


fixed_z = torch.randn(1000, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed)).to(device)

average_G = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)

half = half_precision()
scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
scaled_G, scaled_D = mix_precision(G, optimizer_G, half, scaler), mix_precision(D, optimizer_D, half, scaler)

parts = {"G": G, "D": D, "average_G": average_G, "optimizer_G": optimizer_G, "optimizer_D": optimizer_D}
parts["scaler"] = scaler
with before_others():  # the first may set broken files aside
    start = load_checkpoint(**parts)
if PROCESSES > 1:
    if settings.batch_size % PROCESSES:
        raise SystemExit(f"{PROCESSES} processes cannot share a batch of {settings.batch_size} evenly")
    share_gradients(G)
    share_gradients(D)
    if RANK:  # noise of its own
        torch.manual_seed(settings.seed + start + 1_000_003 * RANK)
log = LossLog(run / "log.csv", start)
norms = GradientNorms(run / "grad_norms.csv", D, start)
tables = [log, norms]


def noise(count):
    return torch.randn(count, settings.z_dim, device=device)
