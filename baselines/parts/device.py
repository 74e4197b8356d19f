# %%
def choose_device():
    """The GPU when there is one that this torch can really run on, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    try:  # an old card (Kaggle's P100) is "available" and fails only at its first kernel
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError as error:
        name = torch.cuda.get_device_name()
        raise SystemExit(
            f"{name} cannot run torch {torch.__version__} ({error}).\n"
            "Kaggle: Settings > Accelerator > GPU T4 x2. Colab: Runtime > Change runtime type > T4 GPU."
        ) from None
    return torch.device("cuda", torch.cuda.current_device())


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
    atexit.register(torch.distributed.destroy_process_group)  # its threads, left alone, may abort an ending process
    before_others = accelerator.main_process_first
where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
print(f"torch {torch.__version__} on {where}")
