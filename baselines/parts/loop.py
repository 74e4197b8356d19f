# %% [markdown]
# To stop early, interrupt the kernel (■, or Ctrl-C): training ends after its step, with samples and a checkpoint, and
# the cells below can be run. This cell run again goes on from there.


# %%
@contextmanager
def stop_asked():
    """Yields a function that says whether an interrupt or SIGTERM came. A second one ends training at once; not so in
    several processes, to which their launcher passes on what they got themselves."""
    asked, before = [], {}

    def ask(number, _frame):
        asked.append(number)
        if PROCESSES == 1:
            signal.signal(number, before[number])

    before.update((number, signal.signal(number, ask)) for number in (signal.SIGINT, signal.SIGTERM))
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def any_process(end, step):
    """Why the session ends, if any process has a reason: they ask each other every settings.log_every steps."""
    if step % settings.log_every:
        return ""
    reasons = [None] * PROCESSES
    torch.distributed.all_gather_object(reasons, end)
    return max(reasons)


def run_cells(cells):
    """What each of several processes does: the notebook's cells so far, with the GPU that is its own."""
    torch.set_num_threads(1)  # the notebook's other threads are not in a process forked from it
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells, 1):
        try:
            exec(cell, names)
        except SystemExit as over:
            if over.code:
                raise RuntimeError(over.code) from None
        except Exception as error:
            if number == len(cells):
                raise
            print(f"cell {number}: {type(error).__name__}: {error}")  # as it did in the notebook, before you mended it
    if names.get("end") == "stopped":  # as the launcher was, which only waits for this process to be gone
        sys.stdout.flush()
        os._exit(0)


def train_in_processes():
    """Trains in settings.processes processes, until they end or an interrupt does. Returns the step they came to."""
    cells = [cell for cell in get_ipython().user_ns["In"] if not cell.startswith(("%", "!"))]
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "120"  # seconds to write samples in, once interrupted; else 30
    with stop_asked(), suppress(SignalException):  # they get the interrupt as well
        notebook_launcher(
            run_cells, (cells,), settings.processes, rdzv_backend="c10d", rdzv_endpoint="localhost:0", rdzv_id=str(run)
        )
    return load_checkpoint(**parts)


if (several or PROCESSES > 1) and "share_gradients" not in globals():
    raise SystemExit("this notebook trains in one process: each of several would go its own way")
steps = settings.steps
if several:
    start = steps = train_in_processes()
total = None if settings.hours else steps
progress = tqdm(range(start + 1, steps + 1), "training", total, initial=start, mininterval=5, disable=RANK > 0)
began, writing, repeats = time.time(), 0.0, []
with stop_asked() as stopped:
    for step in progress:
        log.add(step, *take_step(step))

        time_is_up = 0 < settings.hours * 3600 <= time.time() - began + writing
        end = "stopped" if stopped() else f"{settings.hours:g} hours are over" if time_is_up else ""
        end = end if PROCESSES == 1 else any_process(end, step)
        at_checkpoint = step % settings.checkpoint_every == 0 or step == settings.steps or end
        if step % settings.log_every == 0 or at_checkpoint:
            for table in tables:
                table.flush()
            progress.set_postfix({name: f"{loss:.3f}" for name, loss in log.losses.items()}, refresh=False)
        if at_checkpoint and not RANK:
            written_from = time.time()
            check_weights(step, **parts)
            pictures = sample(average_G, fixed_z)  # [1000, 3, 64, 64]
            grid = picture_grid(pictures[:SHOWN])
            write_safely(run / f"samples/{step:06d}.png", partial(grid.save, format="PNG"))
            pack(pictures, run / f"samples/{step:06d}.tgz")
            write_safely(run / f"checkpoints/{step:06d}.pt", partial(torch.save, average_G.module.state_dict()))
            save_checkpoint(step, **parts)
            print(f"step {step:,}: {what_is_seen(pictures, repeats)}")
            display(grid)
            start, writing = step, time.time() - written_from
        if end:
            print(f"{end}: run the notebook again to go on from here")
            break
if RANK:  # what comes next is for the first process
    raise SystemExit
pack_run()
