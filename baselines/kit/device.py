"""The device, and networks on it: layout, half precision, several GPUs."""

import math
import os
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)  # every device


def together():
    """Whether this process trains with others. Some torch wheels for Windows know nothing of that."""
    return distributed.is_available() and distributed.is_initialized()


def rank():
    """The number of this process among those that train together; the first, 0, writes and speaks for all."""
    return distributed.get_rank() if together() else 0


def world_size():
    """How many processes train together."""
    return distributed.get_world_size() if together() else 1


def get_device():
    """The GPU of this process, else the CPU. Raises SystemExit where there is a GPU that this torch cannot run on: to
    train on a CPU for hours is for the user to choose."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if error := kernel_error(device):  # before all else, which would fail as well
            said, name = str(error).partition("\n")[0], "The GPU"
            with suppress(Exception):
                name = torch.cuda.get_device_name(device)
            if "no kernel image" in str(error):
                raise SystemExit(
                    f"{name} cannot run torch {torch.__version__} ({said}).\n"
                    "Kaggle: Settings > Accelerator > GPU T4 x2. Colab: Runtime > Change runtime type > T4 GPU. "
                    "Elsewhere: to train on the CPU, set CUDA_VISIBLE_DEVICES to -1 before the kernel starts."
                )
            raise SystemExit(f"{name} does not answer ({said}). Restart the kernel, and end what else uses this GPU.")
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # all batches have one size: the fastest kernels are worth a search
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))  # more would wait for each other
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__} on {where}")
    return device


def kernel_error(device):
    """The error of this torch on a device that it cannot run on, else None. An old card (Kaggle's P100) is "available",
    and fails only at its first kernel; so does a full one."""
    try:
        torch.zeros(1, device=device).add_(1).item()
    except (RuntimeError, torch.cuda.DeferredCudaCallError) as error:  # the second from the second time on
        return error
    return None


def usable_cores(groups=Path("/sys/fs/cgroup"), own=Path("/proc/self/cgroup")):
    """The cores that the affinity and the cgroup of this process, and those above it, leave it."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    folders = {groups, groups / "cpu"}
    with suppress(OSError, ValueError):  # no Linux
        for line in own.read_text().splitlines():  # "0::/a/b" of version 2, or "4:cpu:/a/b"
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                below = groups / ("cpu" if controllers else "") / path.lstrip("/")
                folders |= {below, *(folder for folder in below.parents if groups in folder.parents)}
    for folder in folders:
        with suppress(OSError, ValueError):  # no limit, or none that can be read
            if (limit := folder / "cpu.max").exists():
                quota, period = map(float, limit.read_text().split())
            else:
                quota, period = (float((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:
                count = min(count, max(1, math.ceil(quota / period)))
    return count


def place(network, settings, device, half=True):
    """The network on the device, ready to train. Without `half` it stays in float32 whatever settings.half says."""
    dtype = half_dtype(device) if half and settings.half else None
    stays = ", in float32 all the same" if settings.half and not dtype else ""
    print(f"{type(network).__name__}: {sum(weight.numel() for weight in network.parameters()):,} parameters{stays}")
    network = network.to(device)
    if channels_last_pays(network, device):
        network = network.to(memory_format=torch.channels_last)
    if dtype:
        network = HalfPrecision(network, dtype)
    return share_gradients(network) if world_size() > 1 else network  # on top: it averages what is free of the scale


def channels_last_pays(network, device):
    """Whether to take the layout [N, H, W, C]: for grouped convolutions, on a CPU, where it is faster, and on new GPUs,
    where that is not measured. Without groups 01 on an H100 makes 84 steps per second with it, and 94 without."""
    grouped = any(getattr(module, "groups", 1) > 1 for module in network.modules())
    return grouped and (device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0))


def take_layout_of_weights(optimizer):
    """Lays what an optimizer keeps of each weight out as the weight is, which may have changed since it was saved. A
    fused Adam takes no other: a GPU refuses it, and a CPU mixes the numbers up."""
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if torch.is_tensor(value) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def half_dtype(device):
    """The half precision of this GPU's matrix units, or None. A T4 claims bfloat16 and only emulates it."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (7, 0):
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


class HalfPrecision(nn.Module):
    """A network that trains in half precision. What goes in and comes out is float32, and so are its weights.

    Small gradients would be 0 in float16. So they are multiplied by a scale where they enter the network, at its
    exit, and divided by it where they leave, at its entrance and at its weights. A gradient that overflows counts as
    0, and the scale is halved (https://arxiv.org/abs/1710.03740). All of it happens on the device: no step waits.
    """

    def __init__(self, module, dtype, scale=2.0**14):
        super().__init__()
        self.module, self.dtype = module, dtype
        device = next(module.parameters()).device
        # bfloat16 has the range of float32 and needs no scale
        self.register_buffer("scale", torch.tensor(scale if dtype == torch.float16 else 1.0, device=device))
        self.register_buffer("overflowed", torch.zeros((), dtype=torch.bool, device=device))
        for weight in module.parameters():
            weight.register_hook(self.unscaled)

    def next_scale(self):
        return torch.where(self.overflowed, self.scale / 2, self.scale)

    def unscaled(self, gradient):
        finite = gradient.isfinite().all()
        self.overflowed.logical_or_(~finite)
        return torch.where(finite, gradient / self.scale, 0)

    def forward(self, x):
        if not self.training:  # samples are float32
            return self.module(x)
        if torch.is_grad_enabled():
            if world_size() > 1:  # SyncBatchNorm adds up gradients that have the scale in them: it must be one for all
                overflowed = self.overflowed.float()
                distributed.all_reduce(overflowed, distributed.ReduceOp.MAX)
                self.overflowed.copy_(overflowed)
            self.scale.copy_(self.next_scale())
            self.overflowed.zero_()
        scale = self.scale.clone()
        x = x.view_as(x)
        if x.requires_grad:  # the only sign of an overflow where the weights are frozen
            x.register_hook(self.unscaled)
        with torch.autocast(x.device.type, self.dtype):
            out = self.module(x)
        out = out.float()
        if out.requires_grad:
            out.register_hook(lambda gradient: gradient * scale)
        return out


def without_wrapper(network):
    return network.module if isinstance(network, HalfPrecision) else network


def gradient_scales(parts):
    """{name: scale of the next step, as this process knows it} of the networks among them that train in float16."""
    halves = {name: part for name, part in parts.items() if isinstance(part, HalfPrecision)}
    return {name: half.next_scale() for name, half in halves.items() if half.dtype == torch.float16}


def share_gradients(network):
    """Makes all processes take the step of the joint batch: each sees a part of it, and gradients are averaged.
    BatchNorm sees the whole batch too, on GPUs; on CPUs it sees its part."""
    if next(network.parameters()).is_cuda:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def averaged(gradient):
        gradient = (gradient / world_size()).contiguous()  # a new tensor: another weight may have the one that came
        distributed.all_reduce(gradient)
        return gradient

    for weight in network.parameters():
        weight.register_hook(averaged)
    return network
