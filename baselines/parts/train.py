# %% [markdown]
# ## Training
#
# $G$ never settles: it swings around what $D$ would accept, and single steps leave noise in the pictures. The samples
# can come from a running average of its weights, $\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$, which
# swings less. The sample code does without, so the course's preset has `ema` $\beta = 0$; try 0.995.

# %%
fixed_z = torch.randn(1000, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed)).to(device)

average_G = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)

parts = {"G": G, "D": D, "average_G": average_G, "optimizer_G": optimizer_G, "optimizer_D": optimizer_D}
start = load_checkpoint(**parts)
log = LossLog(run / "log.csv", start)
norms = GradientNorms(run / "grad_norms.csv", D, start)
batches = face_batches(faces, settings.batch_size, settings.seed, start)
loss_G = torch.zeros((), device=device)  # until G's first step


def noise(count):
    return torch.randn(count, settings.z_dim, device=device)


def update_D(real):
    return discriminator_step(D, G, optimizer_D, real, noise(len(real)))


def update_G(count):
    loss = generator_step(D, G, optimizer_G, noise(count))
    average_G.update_parameters(G)
    return loss


progress = tqdm(range(start + 1, settings.steps + 1), "training", settings.steps, initial=start, mininterval=5)
for step in progress:
    loss_D, new_loss_G = train_step(step, next(batches), update_D, update_G, norms.add)
    loss_G = loss_G if new_loss_G is None else new_loss_G
    log.add(step, loss_D, loss_G)

    at_checkpoint = step % settings.checkpoint_every == 0 or step == settings.steps
    if step % settings.log_every == 0 or at_checkpoint:
        norms.flush()
        values = log.flush()
        progress.set_postfix_str(f"loss_D {values[0]:.3f}, loss_G {values[1]:.3f}", refresh=False)
    if at_checkpoint:
        pictures = sample(average_G, fixed_z)  # [1000, 3, 64, 64]
        grid = picture_grid(pictures[:64])
        grid.save(run / f"samples/{step:06d}.png")
        pack(pictures, run / f"samples/{step:06d}.tgz")
        save_checkpoint(step, **parts)
        print(f"step {step:,}")
        display(grid)
