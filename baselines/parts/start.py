# %% [markdown]
# ## Training
#
# $G$ never settles: it swings around what $D$ would accept, and single steps leave noise in the pictures. The samples
# can come from a running average of its weights, $\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$, which
# swings less. The sample code does without, which is `ema` $\beta = 0$; try 0.995.

# %%
fixed_z = torch.randn(1000, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed)).to(device)

average_G = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)

parts = {"G": G, "D": D, "average_G": average_G, "optimizer_G": optimizer_G, "optimizer_D": optimizer_D}
start = load_checkpoint(**parts)
log = LossLog(run / "log.csv", start)
norms = GradientNorms(run / "grad_norms.csv", D, start)
tables = [log, norms]


def noise(count):
    return torch.randn(count, settings.z_dim, device=device)
