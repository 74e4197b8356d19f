"""A GPU that is not there: `install()` lets this process believe in one. It cannot be undone.

Its tensors say cuda:0 and keep their values on the CPU, so that all of a notebook runs. What a GPU refuses is refused:
tensors of both devices in one operation, NumPy of a tensor that is on the GPU, numbers on the GPU by a CPU's generator.
Its random numbers have a state of their own. Where the host would wait for a GPU, the line that does is counted.

    python -m tests.helpers.pretend_gpu 01_gan FACES FOLDER     the report of `train_and_tell`, as JSON
"""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
import torchvision  # noqa: F401  compares functions of torch with lists of them, so it comes before they change
from torch.optim.optimizer import _foreach_supported_types
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
TRANSFERS = ("aten::_to_copy", "aten::copy_")
INDEXING = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_", "aten::_unsafe_index")


class State:
    """What the pretended GPU remembers."""

    random: ClassVar = torch.Generator().manual_seed(0)
    waits: ClassVar = Counter()  # line of Python -> how often the host waited there
    watching = False  # whether waits are counted
    loads_to = GPU  # where torch.load puts what was saved from the GPU


class OnGPU(torch.Tensor):
    """A tensor that says cuda:0. `held` is the same on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        like = {"dtype": held.dtype, "layout": held.layout, "strides": held.stride()}
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), storage_offset=held.storage_offset(), device=GPU, **like
        )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return compute(operation, args, kwargs or {})

    def __deepcopy__(self, memo):
        twin = OnGPU(self.held.detach().clone())
        memo[id(self)] = torch.nn.Parameter(twin, self.requires_grad) if hasattr(self, "_is_param") else twin
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return arrived, (self.held.detach().clone(),)

    def __repr__(self, *, tensor_contents=None):
        return f"OnGPU({self.held!r})"


def arrived(held):
    """A tensor that was saved on the GPU, where torch.load was told to put it."""
    return OnGPU(held) if State.loads_to.type == "cuda" else held


class Everywhere(TorchDispatchMode):
    """Sees operations that make a tensor on the GPU from nothing, too."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return compute(operation, args, kwargs or {})


def compute(operation, args, kwargs):
    """The result of an operation, on the device that it belongs to."""
    given = tree_flatten((args, kwargs))[0]
    on_gpu = [x for x in given if isinstance(x, OnGPU)]
    device = kwargs.get("device")
    to_gpu = device.type == "cuda" if device is not None else bool(on_gpu)
    if not on_gpu and not to_gpu:
        return operation(*args, **kwargs)
    name = operation._schema.name
    if name in TRANSFERS:
        source = args[name == "aten::copy_"]
        to_gpu = isinstance(args[0], OnGPU) if name == "aten::copy_" else to_gpu
        if isinstance(source, OnGPU) != to_gpu and not (kwargs.get("non_blocking") or args[2:3] == (True,)):
            wait("to the GPU" if to_gpu else "from the GPU")
    else:
        refuse_both_devices(operation, name, args, [x for x in given if isinstance(x, torch.Tensor)])
        by_mask = any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in tree_flatten(args[1:2])[0])
        depends = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*operation.tags}
        if by_mask if name in INDEXING else depends:
            wait(name)
    if torch.Tag.nondeterministic_seeded in operation.tags and to_gpu:
        if kwargs.get("generator"):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        with random_numbers_of_the_gpu():
            return run(operation, args, kwargs, to_gpu)
    return run(operation, args, kwargs, to_gpu)


def refuse_both_devices(operation, name, args, tensors):
    for x in tensors:
        if isinstance(x, OnGPU):
            continue
        if name in INDEXING and x is not args[0]:  # indices may be on the CPU, and are sent to the GPU
            wait("indices to the GPU")
        elif x.dim() or x is args[0] or name in ("aten::cat", "aten::stack"):  # a single number may be anywhere
            raise RuntimeError(f"Expected all tensors to be on the same device, {operation}: {list(x.shape)} is on cpu")


def run(operation, args, kwargs, to_gpu):
    wrappers = {}

    def held(x):
        if isinstance(x, OnGPU):
            wrappers[id(x.held)] = x
            return x.held
        return CPU if isinstance(x, torch.device) else x

    def wrapped(x):
        if not isinstance(x, torch.Tensor) or isinstance(x, OnGPU):
            return x
        return wrappers.get(id(x)) if id(x) in wrappers else OnGPU(x) if to_gpu else x  # in place, or new

    inner_args, inner_kwargs = tree_map(held, (args, kwargs))
    inner_kwargs.pop("pin_memory", None)
    if torch.Tag.inplace_view in operation.tags and isinstance(args[0], OnGPU):  # such as squeeze_: both change shape
        operation(*inner_args, **inner_kwargs)
        with no_dispatch():
            return operation(*args, **kwargs)
    return tree_map(wrapped, operation(*inner_args, **inner_kwargs))


@contextmanager
def random_numbers_of_the_gpu():
    of_the_cpu = torch.get_rng_state()
    torch.set_rng_state(State.random.get_state())
    try:
        yield
    finally:
        State.random.set_state(torch.get_rng_state())
        torch.set_rng_state(of_the_cpu)


def wait(why):
    if State.watching:
        frames = [frame for frame in traceback.extract_stack() if frame.filename != __file__]
        ours = next(frame for frame in reversed(frames) if "/torch/" not in frame.filename)
        State.waits[f"{why}: {ours.filename}, line {ours.lineno}: {ours.line or ours.name}"] += 1


def refuse_numpy(method):
    def converted(self, *args, **kwargs):
        if isinstance(self, OnGPU):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return method(self, *args, **kwargs)

    return converted


def with_new_parameters(apply):
    """Module.to, which puts other tensors into its parameters: theirs cannot become of another class. Only there, as a
    load_state_dict would do the same, and lose the hooks of a parameter."""

    def applied(module, *args, **kwargs):
        before = torch.__future__.get_swap_module_params_on_conversion()  # a module's children come first
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    return applied


def install():
    """From here on torch says that it has one GPU, a T4."""
    cuda = torch.cuda
    yes, nothing = (lambda *_: True), (lambda *_: None)
    cuda._lazy_init, cuda.is_available, cuda.is_initialized, cuda.is_bf16_supported = nothing, yes, yes, yes
    cuda.set_device, cuda.synchronize, cuda.empty_cache, cuda.current_device = nothing, nothing, nothing, lambda: 0
    cuda.device_count, cuda.is_current_stream_capturing = (lambda: 1), (lambda: False)
    cuda.get_device_name, cuda.get_device_capability = (lambda *_: "a pretended GPU"), (lambda *_: (7, 5))
    cuda.manual_seed = cuda.manual_seed_all = State.random.manual_seed
    cuda.get_rng_state = lambda *_: State.random.get_state()
    cuda.set_rng_state = lambda state, *_: State.random.set_state(state)  # refuses one that is on the GPU
    torch.backends.cudnn.enabled = False  # the CPU has none of its operations
    _foreach_supported_types.append(OnGPU)
    torch.nn.Module._apply = with_new_parameters(torch.nn.Module._apply)
    torch.Tensor.numpy, torch.Tensor.__array__ = map(refuse_numpy, (torch.Tensor.numpy, torch.Tensor.__array__))
    torch.Tensor.cuda = lambda self, device=None, non_blocking=False: self.to(GPU, non_blocking=non_blocking)
    tolist = torch.Tensor.tolist
    torch.Tensor.tolist = lambda self: tolist(self.cpu())
    torch.serialization.add_safe_globals([arrived])
    load = torch.load

    def load_to(file, map_location=None, **options):
        State.loads_to = torch.device(map_location or GPU)
        return load(file, map_location=CPU, **options)

    torch.load = load_to
    torch.autograd.set_multithreading_enabled(False).__enter__()  # else autograd looks for the GPU's thread
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device="cuda") is made on the CPU, then moved
    torch._C._ensureCUDADeviceGuardSet()  # switching to the GPU does nothing, as for torch's own fake tensors
    Everywhere().__enter__()


def watched(steps):
    """Run.steps, with waits counted from the second step on, as an epoch's order is sent to the GPU in the first, until
    the last step is made: what flushes then may wait."""

    def watched_steps(run, *tensors, **options):
        for step, *batch in steps(run, *tensors, **options):
            yield (step, *batch)
            State.watching = step < run.settings.steps

    return watched_steps


def counted(train, settings):
    """What train(settings) returns, and where it made the host wait: {line: times}."""
    State.waits.clear()
    run = train(settings)
    State.watching = False
    return run, dict(State.waits)


def differences(a, b, path=""):
    """Where two checkpoints differ, but for the settings, and for what samples tell, which not all trainings make."""
    if isinstance(a, dict):
        keys = (a.keys() | b.keys()) - {"settings", "fewest_repeats"}
        return [found for key in keys for found in differences(a.get(key), b.get(key), f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        found = [] if len(a) == len(b) else [path]
        return found + [one for x, y in zip(a, b, strict=False) for one in differences(x, y, path)]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [path]


def distance(a, b):
    """How far the weights of two checkpoints' G and D are from each other, as a share of their size."""
    pairs = [(a[name][key], b[name][key]) for name in ("G", "D") for key in a[name]]
    apart, size = (
        sum(x.double().square().sum() for x in of) for of in ([x - y for x, y in pairs], [x for x, _ in pairs])
    )
    return float((apart / size).sqrt())


def watch_loading(names, told):
    """Lets a run that goes on tell where it differs from what was saved, before its first step."""
    load = names["Run"].load_checkpoint

    def load_and_tell(run):
        run.step = load(run)
        if run.step:
            saved, run.last = run.last, run.folder / "loaded.pt"
            run.save_checkpoint()
            told["loaded"] = differences(*(torch.load(path, map_location="cpu") for path in (saved, run.last)))
            run.last = saved
        return run.step

    names["Run"].load_checkpoint = load_and_tell


def train_and_tell(stem, faces, folder, steps=3, checks=False, samples=1000, **overrides):
    """Runs a solved notebook whole, its checks only if asked to. Goes on with its training for as many steps, and
    trains for all of them without a break. Tells where each had the host wait, as far as the GPU is a pretended one,
    where what was loaded differs from what was saved, and where the last two ended differently. On a GPU they may: it
    sums in no fixed order. Then `distances` are theirs, and that of two trainings without a break."""
    from baselines.build import ROOT
    from tests.helpers.notebook import execute, small

    quiet = {"log_every": 1000, "checkpoint_every": 1000, "checkpoint_minutes": 1e9}
    overrides = small(folder, faces, **(quiet | {"steps": steps} | overrides))
    master = ROOT / f"baselines/{stem}.py"
    names = execute(master, overrides, checks=checks, before_training=partial(watch_training, samples=samples))
    run, settings, train = names["run"], names["settings"], names["train"]
    told = {
        "fresh": names["waits"],
        "device": str(run.device),
        "pictures": len(list(Path(folder, "outputs").iterdir())),
    }
    names["Run"].save_samples = lambda run: None  # the first training has some, and they take long
    watch_loading(names, told)
    run, told["resumed"] = counted(train, replace(settings, steps=2 * steps))
    told["step"] = run.step

    def end(name):
        return torch.load(Path(folder, name, "checkpoints/last.pt"), map_location="cpu")

    counted(train, replace(settings, steps=2 * steps, run=f"{folder}/whole"))
    resumed, whole = end("run"), end("whole")
    told["differences"] = differences(resumed, whole)
    if told["differences"]:
        counted(train, replace(settings, steps=2 * steps, run=f"{folder}/again"))
        told["distances"] = [distance(resumed, whole), distance(end("again"), whole)]
    return told


def watch_training(names, samples):
    """Lets a notebook's training count where the host waits, and make so many samples."""
    from tests.helpers.notebook import with_few_samples

    with_few_samples(names, samples)
    names["Run"].steps = watched(names["Run"].steps)
    train = names["train"]

    def counted_train(settings):
        run, names["waits"] = counted(train, settings)
        return run

    names["train"] = counted_train


if __name__ == "__main__":
    from tests.helpers import pretend_gpu  # by its own name, under which checkpoints know it

    stem, faces, folder, *settings = sys.argv[1:]
    overrides = {name: json.loads(value) for name, value in (setting.split("=", 1) for setting in settings)}
    pretend_gpu.install()
    told = pretend_gpu.train_and_tell(stem, faces, Path(folder), **overrides)
    Path(folder, "told.json").write_text(json.dumps(told, indent=2))
