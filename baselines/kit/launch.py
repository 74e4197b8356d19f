"""Training in this process, or in one process per GPU."""

import codecs
import io
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import distributed

from kit.names import name_taken
from kit.progress import watched
from kit.run import checkpoint_in

# Once interrupted, processes have 120 seconds for samples and a checkpoint. Until 2.12 torchrun's own 30 cannot be set.
TORCHRUN = """
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import PContext
close = PContext.close
PContext.close = lambda self, death_sig=None, timeout=30: close(self, death_sig, 120 if death_sig else timeout)
run.main()
"""


def launch(train, settings, one_process=False):
    """Calls train(settings) and returns its run. With settings.processes over 1 it trains in that many new processes,
    one per GPU; a script that torchrun started is one of them already. With `one_process` it raises SystemExit where
    more than one are asked for."""
    if taken := name_taken(globals()):
        raise SystemExit(taken)
    together = max(settings.processes, int(os.environ.get("WORLD_SIZE", 1))) > 1
    if one_process and together:
        raise SystemExit("this notebook trains in one process: set `processes` to 1")
    if os.name == "nt" and together:  # it has no NCCL, and nothing passes an interrupt on to a process
        raise SystemExit("Windows trains in one process only: set `processes` to 1")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        run = train_together(train, settings)
        if int(os.environ["RANK"]):
            raise SystemExit  # what comes after training is for the first process
        return run
    if settings.processes > 1:
        start_processes(train, settings)
        if not checkpoint_in(Path(settings.run)).exists():
            raise KeyboardInterrupt  # it came before the first step
        settings = replace(settings, processes=1, steps=1)  # this only opens the run
    with full_gpu_reported(settings):
        return train(settings)


@contextmanager
def full_gpu_reported(settings):
    """One line where the GPU's memory does not last. A checkpoint binds a run to its batch_size."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        remedy = "lower `batch_size`"
        if checkpoint_in(Path(settings.run)).exists():
            remedy = "lower `batch_size` and set another `run`"
        raise SystemExit(f"the GPU's memory is full: {remedy}, and restart the kernel") from None


def train_together(train, settings):
    """Trains as one of several processes, whose number and place torchrun tells by the environment."""
    if int(os.environ["RANK"]):  # the first process speaks for all
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    on_gpu, local_rank = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if on_gpu:
        if local_rank >= (gpus := torch.cuda.device_count()):
            raise SystemExit(f"process {local_rank + 1} has no GPU: set torchrun's --nproc-per-node to {gpus}")
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with full_gpu_reported(settings):
        run = train(settings)
    distributed.destroy_process_group()  # not after an error: the others would be the first to tell of one, of this
    return run


def worker(train, settings, folder):
    """What each new process does: it trains, and leaves word in the folder of what went wrong."""
    sys.stderr = sys.stdout  # so that progress is seen; what the launcher itself has to say is not
    try:
        train_together(train, settings)
    except KeyboardInterrupt:  # before the first step, or after the last: nothing went wrong
        raise SystemExit(1) from None
    except BaseException as error:
        text = str(error) if isinstance(error, SystemExit) else traceback.format_exc()
        Path(folder, f"error{os.environ['RANK']}.txt").write_text(text, encoding="utf-8")
        raise SystemExit(1) from None


def as_bytes(function):
    """A function as bytes, for a new process: with its code, as a notebook's has no module to be imported from."""
    try:
        import cloudpickle
    except ImportError:
        raise SystemExit("`processes` needs cloudpickle: pip install cloudpickle") from None

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, thing):  # two kinds of things of which cloudpickle knows nothing
            if isinstance(thing, ModuleType) and type(thing) is not ModuleType:  # such as torch.backends.cudnn
                return import_module, (thing.__name__,)
            if isinstance(thing, type(cache(len))) and thing.__module__ == "__main__":  # functions with a @cache
                return cache, (thing.__wrapped__,)
            return super().reducer_override(thing)

    file = io.BytesIO()
    Pickler(file).dump(function)
    return file.getvalue()


def start_processes(train, settings):
    """Trains in settings.processes new processes and passes on what they print, and an interrupt. They start afresh
    with nothing but `train` and the settings: a forked copy of this process could not use its GPUs. Raises SystemExit
    with the first error of any process."""
    if torch.cuda.is_available() and torch.cuda.device_count() < settings.processes:  # else they train on the CPU
        raise SystemExit(f"`processes` is {settings.processes}, but there are {torch.cuda.device_count()} GPUs")
    with tempfile.TemporaryDirectory() as folder:
        payload = Path(folder, "train.pkl")
        payload.write_bytes(as_bytes(partial(worker, train, settings, folder)))
        # An interrupt ends a process that starts: an import may swallow Python's, and C++ that waits is deaf to it.
        code = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        code += "import cloudpickle, sys; cloudpickle.load(open(sys.argv[1], 'rb'))()"
        launcher = [sys.executable, "-c", TORCHRUN, "--standalone"]
        launcher += [f"--nproc-per-node={settings.processes}", "--no-python"]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // settings.processes)),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONUNBUFFERED": "1",
            "KIT_WATCHED": str(int(watched())),
        }
        log = Path(folder, "launcher.txt")
        with open(log, "wb") as file:
            command = [*launcher, sys.executable, "-c", code, str(payload)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, env=environment)
        asked_to_stop = pass_on(process)
        errors = sorted(Path(folder).glob("error*.txt"), key=lambda path: path.stat().st_mtime)  # the cause comes first
        if errors:
            raise SystemExit(errors[0].read_text(encoding="utf-8"))
        if process.returncode and not asked_to_stop:
            raise SystemExit(
                f"the processes could not train: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
            )


def pass_on(process):
    """Prints what a process prints, until it ends. Signals that ask to stop are passed on. Returns those that came."""
    asked = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character

    def ask(number, _frame):
        asked.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while text := os.read(process.stdout.fileno(), 65536):
            sys.stdout.write(decoder.decode(text))
        process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return asked
