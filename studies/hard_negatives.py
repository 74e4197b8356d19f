"""Pictures that are nearly faces, for the network to learn the difference from.

Eigenfaces, drawn from the normal distribution that has the faces' mean and covariance (Turk and Pentland, "Eigenfaces
for recognition", 1991): everything blends softly into everything. And samples of throw-away generators, trained
briefly: narrow versions of the course's DCGAN (Radford et al., https://arxiv.org/abs/1511.06434), one with its kernel
of 5 and one with a kernel of 4, so that no single kind of grid stands for "generated".
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

Z, BATCH = 100, 64
WIDTH = 16  # channels of the largest maps
# Kernel and learning rate of each generator. The last one learns ten times too fast: it overshoots, and saturates.
GENERATORS = (5, 3e-4), (4, 3e-4), (5, 3e-3)


def make_hard_negatives(faces: np.ndarray, steps: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Up to 2,000 eigenfaces, and the 100 samples of each generator at each of 20 moments of its `steps`.

    `faces` are uint8 [M, 64, 64, 3], as is everything returned.
    """
    drawn = eigenfaces(faces, min(2000, 2 * len(faces)), np.random.default_rng(seed))
    moments = []
    for kernel, lr in GENERATORS:
        moments += _train(faces, kernel=kernel, lr=lr, steps=steps, seed=seed + kernel + round(1e5 * lr))
    return drawn, moments


def eigenfaces(faces: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` pictures uint8 [count, 64, 64, 3], each of 10 to 400 principal components of up to 1,500 faces."""
    x = faces[rng.permutation(len(faces))[:1500]].reshape(-1, faces[0].size).astype(np.float32)  # [M, 12288]
    mean = x.mean(axis=0)
    x = (x - mean) / np.sqrt(len(x))
    vectors = np.linalg.eigh(x @ x.T)[1]
    components = vectors[:, :-401:-1].T @ x  # [400, 12288], largest first, as long as their deviation
    drawn = np.empty((count, *faces.shape[1:]), np.uint8)
    for picture in drawn:
        kept = components[: int(np.exp(rng.uniform(np.log(10), np.log(400))))]
        sample = mean + rng.normal(size=len(kept)).astype(np.float32) @ kept
        picture[:] = sample.clip(0, 255).reshape(picture.shape)
    return drawn


def _train(faces, *, kernel, lr, steps, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator, critic = _generator(kernel), _critic()
    optimizers = [torch.optim.Adam(m.parameters(), lr=lr, betas=(0.5, 0.999)) for m in (generator, critic)]
    moments = {*np.linspace(steps / 20, steps, 20).round()}
    for step in range(1, steps + 1):
        real = torch.from_numpy(faces[rng.integers(len(faces), size=BATCH)]).permute(0, 3, 1, 2) / 127.5 - 1
        fake = generator(torch.randn(BATCH, Z))  # [B, 3, 64, 64]
        loss = F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
        _descend(optimizers[1], loss)
        _descend(optimizers[0], F.softplus(-critic(fake)).mean())
        if step in moments:
            generator.eval()
            with torch.no_grad():
                samples = generator(torch.randn(100, Z))
            generator.train()
            print(f"\rgenerator with kernel {kernel}: step {step}/{steps}", end="", file=sys.stderr, flush=True)
            yield ((samples + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    print(file=sys.stderr)


def _descend(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _generator(kernel):
    def up(fan_in, fan_out):  # twice as large, whichever the kernel
        padding = (kernel - 1) // 2
        return nn.ConvTranspose2d(fan_in, fan_out, kernel, 2, padding, kernel % 2, bias=False)

    layers = [nn.Linear(Z, 8 * WIDTH * 16, bias=False), nn.Unflatten(1, (8 * WIDTH, 4, 4))]
    layers += [nn.BatchNorm2d(8 * WIDTH), nn.ReLU()]
    for fan_in, fan_out in ((8, 4), (4, 2), (2, 1)):  # 4x4 -> 8x8 -> 16x16 -> 32x32
        layers += [up(fan_in * WIDTH, fan_out * WIDTH), nn.BatchNorm2d(fan_out * WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, up(WIDTH, 3), nn.Tanh())


def _critic():
    layers = [nn.Conv2d(3, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)]
    for fan_in, fan_out in ((1, 2), (2, 4), (4, 8)):
        layers += [nn.Conv2d(fan_in * WIDTH, fan_out * WIDTH, 4, 2, 1), nn.BatchNorm2d(fan_out * WIDTH)]
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * WIDTH, 1, 4), nn.Flatten(0))
