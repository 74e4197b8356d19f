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
log = Log(run / "log.csv", ["loss_D", "loss_G"])
log.keep_until(start)
loss_G = torch.zeros((), device=device)  # until G's first step
batches = face_batches(faces, settings.batch_size, settings.seed, start)

progress = tqdm(range(start + 1, settings.steps + 1), "training", settings.steps, initial=start, mininterval=5)
for step in progress:
    real = next(batches)
    z = torch.randn(len(real), settings.z_dim, device=device)
    loss_D = discriminator_step(D, G, optimizer_D, real, z)
    if step % settings.n_critic == 0:
        z = torch.randn(len(real), settings.z_dim, device=device)
        loss_G = generator_step(D, G, optimizer_G, z)
        average_G.update_parameters(G)
    log.add(step, loss_D, loss_G)

    at_checkpoint = step % settings.checkpoint_every == 0 or step == settings.steps
    if step % settings.log_every == 0 or at_checkpoint:
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
