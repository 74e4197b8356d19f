"""The teacher: the ImageNet network of the judged distance, at any size and in half precision.

Half precision (bfloat16) is twice as fast where the processor has it; it changes a distance by 1%.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from grader.features import imagenet

SIZE = imagenet.ENLARGED  # pixels a side that pictures are enlarged to


def load() -> nn.Sequential:
    """Pictures float [N, 3, H, W] in -1..1 -> [N, 1280, H/32, W/32], on the CPU."""
    return deepcopy(imagenet.load().layers).cpu()  # a copy: the grader's own may stay on the GPU


@torch.inference_mode()
def features(net: nn.Module, pictures: np.ndarray, size: int = SIZE, half: bool = False) -> np.ndarray:
    """Features float32 [N, 1280] of pictures uint8 [N, 64, 64, 3], enlarged to `size` pixels a side.

    `half` computes in bfloat16: twice as fast where the processor has it.
    """
    rows = []
    for start in range(0, len(pictures), 50):
        x = torch.from_numpy(pictures[start : start + 50]).permute(0, 3, 1, 2).float()  # [B, 3, 64, 64]
        if size != x.shape[-1]:
            x = F.interpolate(x, (size, size), mode="bicubic", align_corners=False).clamp(0, 255)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            maps = net(x)  # [B, 1280, size/32, size/32]
        rows.append(maps.float().mean((2, 3)).numpy())
    return np.concatenate(rows)
