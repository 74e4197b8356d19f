# %%
total = None if settings.hours else settings.steps
progress = tqdm(range(start + 1, settings.steps + 1), "training", total, initial=start, mininterval=5)
began = time.time()
for step in progress:
    log.add(step, *take_step(step))

    time_is_up = 0 < settings.hours * 3600 <= time.time() - began
    at_checkpoint = step % settings.checkpoint_every == 0 or step == settings.steps or time_is_up
    if step % settings.log_every == 0 or at_checkpoint:
        for table in tables:
            table.flush()
        progress.set_postfix({name: f"{loss:.3f}" for name, loss in log.losses.items()}, refresh=False)
    if at_checkpoint:
        pictures = sample(average_G, fixed_z)  # [1000, 3, 64, 64]
        grid = picture_grid(pictures[:SHOWN])
        grid.save(run / f"samples/{step:06d}.png")
        pack(pictures, run / f"samples/{step:06d}.tgz")
        save_checkpoint(step, **parts)
        print(f"step {step:,}")
        display(grid)
    if time_is_up:
        print(f"{settings.hours:g} hours are over: run the notebook again to go on from here")
        break
