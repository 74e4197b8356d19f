# %%
settings = replace(PRESETS[preset], **overrides)
if "NBGRADER_EXECUTION" in os.environ:  # autograding is about the checks: small networks, a few steps
    settings = replace(settings, steps=2, batch_size=8, width=4)
print(settings)

several = PROCESSES == 1 and getattr(settings, "processes", 1) > 1
if several:
    from accelerate import notebook_launcher
    from torch.distributed.elastic.multiprocessing.api import SignalException

    if "get_ipython" not in globals():
        raise SystemExit("processes is for notebooks: start a script with accelerate launch, or with torchrun")
    if torch.cuda.is_initialized():
        raise SystemExit("this notebook has a GPU in use: restart the kernel, so that processes can have them all")
    if 0 < torch.cuda.device_count() < settings.processes:
        raise SystemExit(f"processes is {settings.processes}, and GPUs are {torch.cuda.device_count()}")
device = torch.device("cpu") if several else choose_device()  # a GPU touched here could not be had by a process

before_others = nullcontext
if PROCESSES > 1:
    from accelerate import Accelerator
    from tqdm import tqdm  # widgets are the notebook's own

    accelerator = Accelerator(cpu=device.type == "cpu")
    before_others = accelerator.main_process_first
where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
print(f"torch {torch.__version__} on {where}")
