# %% [markdown]
# # 09 · CycleGAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | how to translate between two sets of pictures without pairs, and how to measure whether it worked |
# | **You write** | `cycle_loss`, `make_optimizers`, `generator_step`, `exchange`, `discriminator_step` |
# | **Time** | `cpu`: 18 minutes on one CPU core, computed from 3,129 steps. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 \
#   hours on any GPU. `course`: 39 minutes on an H100, computed from steps per second |
# | **Tier** | none: the hair should change its colour, and the face should stay the same |

# %% [markdown] lang="zh"
# # 09 · CycleGAN
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 圖片沒有成對，怎麼在兩組圖片之間轉換；還有怎麼量轉換得好不好 |
# | **你要寫** | `cycle_loss`、`make_optimizers`、`generator_step`、`exchange`、`discriminator_step` |
# | **時間** | `cpu`：一個 CPU 核心 18 分鐘。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 小時。 \
#   `course`：H100 上 39 分鐘（由每秒步數換算） |
# | **等級** | 無：這裡看的是髮色有沒有變，還有臉是不是同一張 |

# %% [markdown]
# What would this face look like with light hair? To learn that from examples, you would want every face twice: once
# with dark hair, once with light. Nobody drew those. CycleGAN needs only two sets of pictures, domain $A$ and domain
# $B$. No picture of one belongs to a picture of the other ([Zhu et al., 2017](https://arxiv.org/abs/1703.10593)). One
# generator, $G_{AB}$, takes a picture of $A$ and makes one of $B$. There is no noise $z$. A discriminator $D_B$ knows
# real pictures of $B$, and judges the result. The other pair, $G_{BA}$ and $D_A$, works the other way.
#
# That is not enough. $D_B$ accepts any picture of $B$. So $G_{AB}$ could answer every face with the same one. The way
# back makes it a *translation*: a picture that is translated there and back must be what it was.
#
# $$L_{cycle} = \mathbb E_a\big[\lVert G_{BA}(G_{AB}(a)) - a \rVert_1\big]
#   + \mathbb E_b\big[\lVert G_{AB}(G_{BA}(b)) - b \rVert_1\big]$$
#
# So $G_{AB}$ must keep what $G_{BA}$ needs to restore the face: its shape, its pose, its eyes. It changes what $D_B$
# asks for, and little else. Least squares take the place of the logarithm
# ([Mao et al., 2017](https://arxiv.org/abs/1611.04076)). They still give a gradient to a fake that $D$ takes for real.
# The generators minimise together
#
# $$L_G = \mathbb E_a\big[(D_B(G_{AB}(a)) - 1)^2\big] + \mathbb E_b\big[(D_A(G_{BA}(b)) - 1)^2\big]
#   + \lambda\, L_{cycle} \qquad \lambda = 10$$
#
# Here $A$ are the faces with dark hair, and $B$ those with light hair. You can also take drawn faces and real ones, or
# any two sets of your own. You write the cycle loss, the optimizers, both steps, and the history of fakes.

# %% [markdown] lang="zh"
# 這張臉換成淺色頭髮，會是什麼樣子？如果要從範例學，每張臉都得有兩張圖：一張深色頭髮，一張淺色頭髮。可是沒有人畫
# 過。CycleGAN 只要兩組圖片，也就是兩個領域（domain）：$A$ 和 $B$。兩邊的圖片不必配對
# （[Zhu et al., 2017](https://arxiv.org/abs/1703.10593)）。生成器 $G_{AB}$ 拿 $A$ 的圖片，做出 $B$ 的圖片，不用雜訊
# $z$。判別器 $D_B$ 認得 $B$ 的真圖，由它來判斷結果。另一對是 $G_{BA}$ 和 $D_A$，方向相反。
#
# 這樣還不夠。只要是 $B$ 的圖片，$D_B$ 都接受。所以不管輸入哪張臉，$G_{AB}$ 都可以輸出同一張。要能回得來，才叫「*轉
# 換*」：圖片轉換過去、再轉換回來，必須和原來一樣。
#
# $$L_{cycle} = \mathbb E_a\big[\lVert G_{BA}(G_{AB}(a)) - a \rVert_1\big]
#   + \mathbb E_b\big[\lVert G_{AB}(G_{BA}(b)) - b \rVert_1\big]$$
#
# 所以 $G_{AB}$ 必須留下 $G_{BA}$ 還原這張臉所需要的東西：臉型、姿勢、眼睛。它只改 $D_B$ 要求的部分，其他幾乎不動。最小
# 平方（least squares）取代了對數（[Mao et al., 2017](https://arxiv.org/abs/1611.04076)）：就算 $D$ 已經把假圖當成真
# 的，假圖還是有梯度。兩個生成器一起最小化
#
# $$L_G = \mathbb E_a\big[(D_B(G_{AB}(a)) - 1)^2\big] + \mathbb E_b\big[(D_A(G_{BA}(b)) - 1)^2\big]
#   + \lambda\, L_{cycle} \qquad \lambda = 10$$
#
# 這裡的 $A$ 是深色頭髮的臉，$B$ 是淺色頭髮的臉。你也可以用程式畫的臉和資料集裡的臉，或是任何兩組你自己的圖片。你要寫循
# 環損失、最佳化器、兩種訓練步驟，還有假圖的歷史（history）。

# %% [markdown]
# ## Before you start
#
# The next cells are folded. They hold what all notebooks share: settings, reading faces, checkpoints, samples. You do
# not have to read them, but you can: open a cell by its title.

# %% [markdown] lang="zh"
# ## 開始之前
#
# 接下來的儲存格是摺疊的。裡面是所有筆記本共用的部分：設定、讀取人臉、檢查點、樣本。你不必讀，但可以讀：點標題就會展
# 開。標題和程式碼維持英文。

# %%
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from kit.checks import (
    THROUGH_D,
    TORCH_SAYS,
    are_close,
    check_device,
    check_scalar,
    check_step,
    done,
    errors_in_words,
    explained,
    right_gradients,
    tiny_batch,
)
from kit.device import get_device, place, seed_everything
from kit.faces import as_input, batches_of, find_faces, read_faces
from kit.files import StepTable, atomic_write
from kit.labels import read_labels
from kit.kinds import make_settings
from kit.launch import launch
from kit.norms import layer_norms
from kit.run import Run, frozen
from kit.samples import pack, picture_grid, plot_losses, sample, show, write_submission
from torch import nn

# %% [markdown]
# ## Settings
#
# Set `preset` below: on a GPU the longest of `t4_1h`, `t4_3h` and `t4_12h` that you have time for, on a CPU `cpu`.

# %% [markdown] lang="zh"
# ## 設定
#
# 在下面設定 `preset`：有 GPU 的話，用 `t4_1h`、`t4_3h`、`t4_12h` 裡時間夠用的、最長的一個；只有 CPU 就用 `cpu`。

# %% show=true
from kit.settings import Settings, t4_presets


# %%
@dataclass(frozen=True)
class CycleSettings(Settings):
    """Those above, and these. z_dim, n_critic and half mean nothing here: there is no z, and all take turns."""

    faces_b: str = ""  # folder or zip of domain B, `faces` being A; "" makes both of `faces`, by their labels
    attribute: str = "hair"  # what the labels tell: "hair" or "eye" of a tags.csv, a column of an attributes.csv
    classes_a: str = "black, blue, brown, purple"  # the labels that are domain A
    classes_b: str = "blonde, orange, pink, white"  # and domain B; the other colours are now light, now dark
    cycle: float = 10.0  # λ, the weight of the cycle loss
    identity: float = 0.0  # weight of the identity loss, which keeps colours; 0 leaves it out, the paper tries 5
    history: int = 50  # fakes of earlier steps that each D is shown again; at least 1

    def __post_init__(self):
        if self.history < 1:
            raise SystemExit(f"`history` is {self.history}: set it to 1 or more")


PRESETS = t4_presets(  # "course": as many pictures as the paper's 200 epochs of 1,000
    CycleSettings(run="runs/cyclegan", steps=50_000, batch_size=4, lr_G=2e-4, lr_D=2e-4, checkpoint_every=2500)
)
PRESETS["cpu"] = replace(  # 18 minutes on one CPU core
    PRESETS["course"], steps=5000, batch_size=2, width=16, lr_G=4e-4, lr_D=4e-4, ema=0.995, checkpoint_every=500
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"classes_b": "pink", "identity": 5.0}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The networks
#
# A generator halves the picture three times. It works on the 8×8 map in six residual blocks, and doubles it three
# times. Each block adds something to what it gets. A discriminator gives one answer for each of 6×6 places (a
# *PatchGAN*). In the paper an answer sees 70×70 of 256×256 pixels. Here an answer at a corner sees half of the picture,
# one in the middle nearly all. InstanceNorm normalises every picture by itself. You can read both in the folded cell.
#
# The networks come in pairs, named as in the formulas: `G.AB` and `G.BA`, `D.A` and `D.B`.

# %% [markdown] lang="zh"
# ## 網路
#
# 生成器先把圖片縮小一半，做三次。在 8×8 的特徵圖上，它經過六個殘差區塊（residual block），每個區塊在輸入上加一點東西。
# 最後再放大一倍，也做三次。判別器對 6×6 個位置各給一個回答（*PatchGAN*）。論文的圖片是 256×256，一個回答只看得到 70×70
# 的一小塊（patch）。這裡的圖片很小，角落的回答看得到半張圖，中間的回答差不多看得到整張圖。InstanceNorm 把每張圖片各自正
# 規化。兩種網路的程式都在摺疊的儲存格裡。
#
# 網路成對出現，名字和公式一樣：`G.AB` 和 `G.BA`、`D.A` 和 `D.B`。


# %% fold="The networks: a residual generator, and a discriminator of patches"
def convolution(channels_in, channels_out, stride=2, norm=True):
    """A convolution [N, channels_in, H, W] -> [N, channels_out, H / 2, W / 2], or one less than H and W at stride 1."""
    if not norm:
        return [nn.Conv2d(channels_in, channels_out, 4, stride, padding=1)]
    without_bias = nn.Conv2d(channels_in, channels_out, 4, stride, padding=1, bias=False)  # a norm takes it out again
    return [without_bias, nn.InstanceNorm2d(channels_out)]


class ResidualBlock(nn.Module):
    """maps [N, channels, H, W] -> the same shape: the maps plus what two convolutions make of them."""

    def __init__(self, channels):
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, maps):
        return maps + self.change(maps)


class Generator(nn.Module):
    """pictures [N, 3, 64, 64] in −1 … 1 -> as many in the other domain."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            *convolution(3, width),  # [N, 3, 64, 64] -> [N, w, 32, 32]
            nn.ReLU(),
            *convolution(width, 2 * width),  # [N, w, 32, 32]  -> [N, 2w, 16, 16]
            nn.ReLU(),
            *convolution(2 * width, 4 * width),  # [N, 2w, 16, 16] -> [N, 4w, 8, 8]
            nn.ReLU(),
            *(ResidualBlock(4 * width) for _ in range(6)),
            *self.double(4 * width, 2 * width),  # [N, 4w, 8, 8]   -> [N, 2w, 16, 16]
            *self.double(2 * width, width),  # [N, 2w, 16, 16] -> [N, w, 32, 32]
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),  # [N, w, 32, 32]  -> [N, 3, 64, 64]
            nn.Tanh(),
        )
        self.apply(small_weights)

    @staticmethod
    def double(channels_in, channels_out):
        up = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
        return up, nn.InstanceNorm2d(channels_out), nn.ReLU()

    def forward(self, pictures):
        return self.layers(pictures)


class Discriminator(nn.Module):
    """pictures [N, 3, 64, 64] -> answers [N, 1, 6, 6], one per patch, trained to be 1 for reals and 0 for fakes."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            *convolution(3, width, norm=False),  # [N, 3, 64, 64] -> [N, w, 32, 32]
            nn.LeakyReLU(0.2),
            *convolution(width, 2 * width),  # [N, w, 32, 32]  -> [N, 2w, 16, 16]
            nn.LeakyReLU(0.2),
            *convolution(2 * width, 4 * width),  # [N, 2w, 16, 16] -> [N, 4w, 8, 8]
            nn.LeakyReLU(0.2),
            *convolution(4 * width, 8 * width, stride=1),  # [N, 4w, 8, 8]   -> [N, 8w, 7, 7]
            nn.LeakyReLU(0.2),
            *convolution(8 * width, 1, stride=1, norm=False),  # [N, 8w, 7, 7]   -> [N, 1, 6, 6]
        )
        self.apply(small_weights)

    def forward(self, pictures):
        return self.layers(pictures)


def small_weights(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)


# %%
class Generators(nn.Module):
    """AB translates pictures [N, 3, 64, 64] of domain A into B, and BA back. Called itself, it is AB."""

    def __init__(self, AB, BA):
        super().__init__()
        self.AB, self.BA = AB, BA

    def forward(self, pictures):
        return self.AB(pictures)


class Discriminators(nn.Module):
    """A tells real pictures [N, 3, 64, 64] of domain A from fakes, and B those of B."""

    def __init__(self, A, B):
        super().__init__()
        self.A, self.B = A, B


# %% [markdown]
# ## The cycle loss
#
# $L_1$ is the mean absolute difference over all pixels. It is not the square: squares forgive many small differences,
# which look like blur. Both directions count, each with its own mean.

# %% [markdown] lang="zh"
# ## 循環損失
#
# $L_1$ 是所有像素的差取絕對值，再平均。不是平方：平方會放過很多小小的差，看起來就是模糊。兩個方向都要算，各自取平均。


# %% fold="What the checks share: tiny translators and discriminators, and two batches"
class TinyTranslator(nn.Module):
    """pictures [N, 3, H, W] -> the same shape, each pixel with mixed colours. It is small, and not linear."""

    def __init__(self):
        super().__init__()
        self.colours = nn.Linear(3, 3)

    def forward(self, pictures):
        return torch.tanh(self.colours(pictures.movedim(1, 3))).movedim(3, 1)


class TinyPatchD(nn.Module):
    """pictures [N, 3, H, W] -> any numbers [N, 1, 6, 6], one per patch. It is small, and not linear."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, pictures):
        patches = nn.functional.adaptive_avg_pool2d(pictures, 6)  # -> [N, 3, 6, 6]
        return self.layers(patches.movedim(1, 3)).movedim(3, 1)


def tiny_networks():
    """(D, G): Discriminators and Generators with weights that are always the same, and of which no two are alike. Each
    D gives answers of both signs."""
    D, G = Discriminators(TinyPatchD(), TinyPatchD()), Generators(TinyTranslator(), TinyTranslator())
    repeatable = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in [*D.parameters(), *G.parameters()]:
            weight.copy_(torch.randn(weight.shape, generator=repeatable))
        D.A.layers[-1].bias -= 4.4
        D.B.layers[-1].bias -= 0.8
    return D.to(check_device()), G.to(check_device())


def tiny_domains():
    """Pictures of domains A and B, each [5, 3, 64, 64]: those of B are darker, and lighter to the right."""
    real_A = tiny_batch()[0][:5]  # not 6, as D's answers are 6×6: [6] would broadcast to [6, 1, 6, 6]
    ramp = torch.linspace(-0.6, 0.5, 64, device=check_device())
    return real_A, 0.4 * real_A.flip(0, 2) + ramp - 0.2


def right_l1(pictures, others):
    return (pictures - others).abs().mean()


NO_PICTURES = {  # there is no z here
    "shapes cannot be multiplied": "G and D take pictures, [N, 3, 64, 64]: torch.cat joins batches along dim 0"
}


def with_shapes_here(step):
    """The same step. When shapes do not fit, it says what D answers, and what both networks take."""
    meanings = NO_PICTURES | {"must match the size": "D's answers are [N, 1, 6, 6]: use ones_like or zeros_like"}

    def explained_step(*arguments):
        try:
            return step(*arguments)
        except RuntimeError as error:
            for words, hint in meanings.items():
                if words in str(error):
                    raise AssertionError(hint) from None
            raise

    return explained_step


def right_cycle_loss(G, real_A, real_B, fake_A, fake_B):
    assert not real_A.requires_grad and not real_B.requires_grad, (
        "cycle_loss takes G, real_A, real_B, fake_A, fake_B: the real pictures first"
    )
    return right_l1(G.BA(fake_B), real_A) + right_l1(G.AB(fake_A), real_B)


right_cycle_loss.__qualname__ = "cycle_loss"  # which Python names when its arguments do not fit

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The fakes are half of the way. Which generator takes `fake_B` back to domain $A$?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Compare `G.BA(fake_B)` with `real_A`, and `G.AB(fake_A)` with `real_B`: `.abs().mean()` of each difference.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# 做出假圖，路才走了一半。哪個生成器會把 `fake_B` 帶回領域 $A$？
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `G.BA(fake_B)` 和 `real_A` 比，`G.AB(fake_A)` 和 `real_B` 比：每個差都取 `.abs().mean()`。
#
# </details>


# %% todo="cycle_loss"
def cycle_loss(G, real_A, real_B, fake_A, fake_B):
    """How far pictures are from themselves when translated there and back, a scalar, without λ. All four are
    [N, 3, 64, 64]; fake_B = G.AB(real_A) and fake_A = G.BA(real_B) are made already."""
    ### BEGIN SOLUTION
    return (G.BA(fake_B) - real_A).abs().mean() + (G.AB(fake_A) - real_B).abs().mean()
    ### END SOLUTION


# %% check="cycle_loss"
def check_cycle_loss(cycle_loss):
    _, G = tiny_networks()
    real_A, real_B = tiny_domains()

    def value_and_gradient(loss_function):
        given = real_A.clone(), real_B.clone(), G.BA(real_B), G.AB(real_A)
        before = [one.detach().clone() for one in given]
        with errors_in_words(lambda error: f"cycle_loss stops with {error}", TORCH_SAYS | NO_PICTURES):
            loss = loss_function(G, *given)
            assert all(map(torch.equal, given, before)), "it changes what it is given: make a new tensor"
            return check_scalar(loss), right_gradients(loss, G)

    def two_ways(distance):  # of both round trips
        return lambda G, A, B, fake_A, fake_B: distance(G.BA(fake_B), A) + distance(G.AB(fake_A), B)

    lost = "part of the gradient is lost: it flows through both generators of a round trip, detach() nothing"
    summed = "the sum over all pixels: take the mean"
    mistakes = [
        ("one direction only: B → A → B is missing", lambda G, A, B, fake_A, fake_B: right_l1(G.BA(fake_B), A)),
        ("one direction only: A → B → A is missing", lambda G, A, B, fake_A, fake_B: right_l1(G.AB(fake_A), B)),
        ("this is L2, the square: take L1, abs()", two_ways(lambda x, y: (x - y).square().mean())),
        (
            "this is half of it: each direction has its mean, and counts whole",
            two_ways(lambda x, y: right_l1(x, y) / 2),
        ),
        ("differences of both signs cancel: take abs() of each pixel", two_ways(lambda x, y: (x - y).mean())),
        ("differences of both signs cancel: take abs() before mean()", two_ways(lambda x, y: (x - y).mean().abs())),
        (
            "λ is already in: it belongs to the loss of the generators, not in here",
            two_ways(lambda x, y: 10 * right_l1(x, y)),
        ),
        (summed, two_ways(lambda x, y: (x - y).abs().sum())),
        (summed, two_ways(lambda x, y: (x - y).abs().sum() / len(x))),
        (
            "a fake is compared with a picture of its own domain: translate it back, and compare it with where it came "
            "from",
            lambda G, A, B, fake_A, fake_B: right_l1(fake_A, A) + right_l1(fake_B, B),
        ),
        (
            "this is the way there alone, which should change the picture: translate the fakes back first",
            lambda G, A, B, fake_A, fake_B: right_l1(fake_B, A) + right_l1(fake_A, B),
        ),
        (
            "each fake goes through the same generator twice: G.BA takes fake_B back, G.AB takes fake_A",
            lambda G, A, B, fake_A, fake_B: right_l1(G.AB(fake_B), A) + right_l1(G.BA(fake_A), B),
        ),
        (
            "this is the identity loss: translate the fakes back, and not the real pictures",
            lambda G, A, B, fake_A, fake_B: right_l1(G.AB(B), B) + right_l1(G.BA(A), A),
        ),
        (
            "the real pictures are swapped: compare G.BA(fake_B) with real_A, where it came from",
            lambda G, A, B, fake_A, fake_B: right_l1(G.BA(fake_B), B) + right_l1(G.AB(fake_A), A),
        ),
    ]
    value, expected = value_and_gradient(right_cycle_loss)
    found_value, found = value_and_gradient(cycle_loss)
    if not are_close(found, expected):
        assert not math.isclose(found_value, value, rel_tol=1e-4), lost
        for hint, wrong in mistakes:
            wrong_value, gradient = value_and_gradient(wrong)
            assert not are_close(found, gradient) and not math.isclose(found_value, wrong_value, rel_tol=1e-4), hint
    shown = f"the loss is {found_value:.4f}, not {value:.4f}: mean |G.BA(fake_B) − real_A|, and the same for B"
    assert math.isclose(found_value, value, rel_tol=1e-4), shown
    done("cycle_loss")


check_cycle_loss(cycle_loss)

# %% [markdown]
# ## The optimizers
#
# $L_{cycle}$ ties the two generators to each other. One step moves both: **one** Adam has the weights of both. The
# discriminators have nothing to do with each other. Each has an Adam of its own.
#
# <details><summary>Hint 1</summary>
#
# The signature is `torch.optim.Adam(params, lr=0.001, betas=(0.9, 0.999))`. `params` may be a list of the weights of
# two networks.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `[*G.AB.parameters(), *G.BA.parameters()]` is such a list. The order to return them: generators, D.A, D.B.
#
# </details>

# %% [markdown] lang="zh"
# ## 最佳化器
#
# $L_{cycle}$ 把兩個生成器綁在一起，一步要同時更新兩個。所以只用**一個** Adam，兩者的權重都交給它。兩個判別器互不相干，
# 各有自己的 Adam。
#
# <details><summary>提示 1</summary>
#
# 用法是 `torch.optim.Adam(params, lr=0.001, betas=(0.9, 0.999))`。`params` 可以是一個 list，裡面有兩個網路的權重。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `[*G.AB.parameters(), *G.BA.parameters()]` 就是這樣的 list。回傳的順序是：生成器、D.A、D.B。
#
# </details>


# %% todo="make_optimizers"
def make_optimizers(G, D, lr_G, lr_D, betas):
    """(of both generators, of D.A, of D.B): three Adams with lr_G or lr_D, and with betas, (beta1, beta2)."""
    ### BEGIN SOLUTION
    return (
        torch.optim.Adam([*G.AB.parameters(), *G.BA.parameters()], lr_G, betas),
        torch.optim.Adam(D.A.parameters(), lr_D, betas),
        torch.optim.Adam(D.B.parameters(), lr_D, betas),
    )
    ### END SOLUTION


# %% check="make_optimizers"
def check_make_optimizers(make):
    lr_G, lr_D, betas = 0.0031, 0.0017, (0.41, 0.93)
    D, G = tiny_networks()
    parts = {"G.AB": G.AB, "G.BA": G.BA, "D.A": D.A, "D.B": D.B}

    def held_by(optimizer):
        ids = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        counts = {name: [id(weight) in ids for weight in part.parameters()] for name, part in parts.items()}
        names = [
            name if all(held) else f"{name} ({sum(held)}/{len(held)})" for name, held in counts.items() if any(held)
        ]
        return ", ".join(names) or "nothing"

    with explained("Adam takes one list of weights, [*G.AB.parameters(), *G.BA.parameters()], then lr and betas"):
        optimizers = make(G, D, lr_G, lr_D, betas)
    optimizers = tuple(optimizers) if isinstance(optimizers, Iterator) else optimizers
    assert isinstance(optimizers, (tuple, list)), f"return three optimizers, not {type(optimizers).__name__}"
    assert len(optimizers) == 3, f"three optimizers, not {len(optimizers)}: of both generators, of D.A, of D.B"
    for optimizer in optimizers:
        assert isinstance(optimizer, torch.optim.Optimizer), f"{type(optimizer).__name__} is no optimizer: take Adam"
    held = [held_by(optimizer) for optimizer in optimizers]
    assert held[0] == "G.AB, G.BA", f"the first holds {held[0]}: give it both generators, and no D"
    assert held[1:] == ["D.A", "D.B"], f"the second and third hold {held[1]} and {held[2]}, not D.A and D.B"
    otherwise = (
        "they do not move the weights as torch.optim.Adam does: take Adam itself, no AdamW or NAdam, with the learning "
        "rate and the betas alone, and each weight once"
    )
    for name, optimizer, lr in zip(("G", "D.A", "D.B"), optimizers, (lr_G, lr_D, lr_D), strict=True):
        for group in optimizer.param_groups:
            assert "betas" in group, f"the optimizer of {name} is {type(optimizer).__name__}: take Adam"
            assert math.isclose(group["lr"], lr, rel_tol=1e-6), (
                f"the learning rate of {name} is {group['lr']}, not {lr}"
            )
            hint = f"{name}: pass Adam the argument betas, here {betas}, and not {group['betas']}"
            assert tuple(group["betas"]) == betas, hint
            assert not group.get("weight_decay") and not group.get("amsgrad"), otherwise  # small ones do not show below

    twin_D, twin_G = tiny_networks()  # moved by what is right
    right = torch.optim.Adam(twin_G.parameters(), lr_G, betas), torch.optim.Adam(twin_D.parameters(), lr_D, betas)
    start = [weight.detach().clone() for weight in [*G.parameters(), *D.parameters()]]
    for size in (1.0, -0.4, 0.05):
        for networks in ((G, D), (twin_G, twin_D)):
            for weight in [weight for network in networks for weight in network.parameters()]:
                weight.grad = size * torch.linspace(1, 2, weight.numel(), device=check_device()).view_as(weight)
        for optimizer in [*optimizers, *right]:
            optimizer.step()
    moved = [w - s for w, s in zip([*G.parameters(), *D.parameters()], start, strict=True)]
    expected = [w - s for w, s in zip([*twin_G.parameters(), *twin_D.parameters()], start, strict=True)]
    assert not are_close(moved, [-e for e in expected]), "they climb: leave maximize at its default, False"
    assert are_close(moved, expected), otherwise
    done("make_optimizers")


check_make_optimizers(make_optimizers)

# %% [markdown]
# ## The generators' step
#
# Take $L_G$ from above: $D$ should take both fakes for real, by least squares, and $\lambda$ times the cycle loss comes
# on top. A third loss can be switched on, with the setting `identity`. $D_B$ accepts a light-haired face on a pink
# background as gladly as on a white one. So $G_{AB}$ may tint pictures, as long as $G_{BA}$ takes the tint out again.
# But what is in the target domain already needs no change:
#
# $$L_{identity} = \mathbb E_b\big[\lVert G_{AB}(b) - b \rVert_1\big]
#   + \mathbb E_a\big[\lVert G_{BA}(a) - a \rVert_1\big]$$
#
# It costs two more passes. While its weight is 0, leave it out, passes and all.
#
# <details><summary>Hint 1</summary>
#
# Make both fakes first. Each goes to the discriminator of its new domain. Least squares: how far is the answer from 1?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Leave the identity loss out while `identity` is 0: `if identity:`. Return the loss and both fakes.
#
# </details>

# %% [markdown] lang="zh"
# ## 生成器的步驟
#
# 照上面的 $L_G$：$D$ 要把兩邊的假圖都當成真的，用最小平方；再加上 $\lambda$ 乘以循環損失。還有第三個損失，用設定
# `identity` 打開。只要是淺色頭髮的臉，不管背景是粉紅色還是白色，$D_B$ 都一樣接受。所以 $G_{AB}$ 可以替圖片染色，只要
# $G_{BA}$ 再把顏色去掉就好。可是已經在目標領域裡的圖片，本來就不必改：
#
# $$L_{identity} = \mathbb E_b\big[\lVert G_{AB}(b) - b \rVert_1\big]
#   + \mathbb E_a\big[\lVert G_{BA}(a) - a \rVert_1\big]$$
#
# 這個恆等損失（identity loss）要多跑兩次生成器。權重是 0 的時候就省掉，那兩次也不要跑。
#
# <details><summary>提示 1</summary>
#
# 先做出兩邊的假圖。假圖到了哪個領域，就交給那個領域的判別器。最小平方：回答離 1 有多遠？
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `identity` 是 0 的時候，省掉恆等損失：`if identity:`。回傳損失和兩邊的假圖。
#
# </details>


# %% todo="generator_step"
def generator_step(G, D, optimizer_G, real_A, real_B, cycle_loss, cycle, identity):
    """One step of both generators on real pictures, each [N, 3, 64, 64]. cycle_loss is the function that you wrote;
    cycle is its weight λ, and identity that of the identity loss. Returns the loss, a scalar, and its fakes fake_A and
    fake_B, each [N, 3, 64, 64]."""
    ### BEGIN SOLUTION
    fake_A, fake_B = G.BA(real_B), G.AB(real_A)
    loss = ((D.A(fake_A) - 1) ** 2).mean() + ((D.B(fake_B) - 1) ** 2).mean()
    loss = loss + cycle * cycle_loss(G, real_A, real_B, fake_A, fake_B)
    if identity:
        identity_loss = (G.AB(real_B) - real_B).abs().mean() + (G.BA(real_A) - real_A).abs().mean()
        loss = loss + identity * identity_loss
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss, fake_A, fake_B
    ### END SOLUTION


# %% check="generator_step"
def right_generators_loss(cycle_A, cycle_B, identity, fool_A=1.0, fool_B=1.0, target=1.0, square=torch.square, **more):
    """The loss of the generators with a weight for each term, or with other arguments a wrong one."""
    same, through = more.get("same", right_l1), more.get("through", lambda fake: fake)

    def loss_of(D, G, real_A, real_B):
        fake_A, fake_B = G.BA(real_B), G.AB(real_A)
        adversarial = fool_A * square(D.A(fake_A) - target).mean() + fool_B * square(D.B(fake_B) - target).mean()
        cycles = cycle_A * right_l1(G.BA(through(fake_B)), real_A) + cycle_B * right_l1(G.AB(through(fake_A)), real_B)
        return adversarial + cycles + identity * (same(G.AB(real_B), real_B) + same(G.BA(real_A), real_A))

    return loss_of


def check_generator_step(step):
    remarks = [*check_with_weights(step, 3.7, 0.0), *check_with_weights(step, 2.3, 7.3)]
    done("generator_step", dict.fromkeys(remarks))


def check_with_weights(step, cycle, identity):
    def changed(**changes):
        return right_generators_loss(**{"cycle_A": cycle, "cycle_B": cycle, "identity": identity} | changes)

    def mixed_up(D, G, real_A, real_B):
        return changed()(Discriminators(D.B, D.A), G, real_A, real_B)

    def crossed(D, G, real_A, real_B):
        fake_A, fake_B = G.AB(real_A), G.BA(real_B)
        judged = (D.A(fake_A) - 1).square().mean() + (D.B(fake_B) - 1).square().mean()
        return judged + cycle * right_cycle_loss(G, real_A, real_B, fake_A, fake_B)

    def other_way(D, G, real_A, real_B):
        own = right_l1(G.AB(real_A), real_A) + right_l1(G.BA(real_B), real_B)
        return changed(identity=0)(D, G, real_A, real_B) + identity * own

    def wrong_order(swap_fakes):
        def loss_of(D, G, real_A, real_B):
            fake_A, fake_B = G.BA(real_B), G.AB(real_A)
            pictures = (real_A, real_B, fake_B, fake_A) if swap_fakes else (real_B, real_A, fake_A, fake_B)
            return changed(cycle_A=0, cycle_B=0)(D, G, real_A, real_B) + cycle * right_cycle_loss(G, *pictures)

        return loss_of

    mistakes = {
        "cycle_loss takes fake_A first, and then fake_B": wrong_order(True),
        "cycle_loss takes real_A first, and then real_B": wrong_order(False),
        "the cycle loss is missing, or it has no gradient: no detach()": changed(cycle_A=0, cycle_B=0),
        "λ is missing: `cycle` times the cycle loss": changed(cycle_A=1, cycle_B=1),
        "λ is 10 whatever `cycle` is: take the argument": changed(cycle_A=10, cycle_B=10),
        "the cycle loss is subtracted: add it": changed(cycle_A=-cycle, cycle_B=-cycle),
        "λ belongs to the cycle loss alone, not to the whole loss": changed(fool_A=cycle, fool_B=cycle),
        "λ is halved: cycle_loss(…) counts whole": changed(cycle_A=cycle / 2, cycle_B=cycle / 2),
        "the weights are mixed up: `cycle` is of the cycle loss, `identity` of the identity loss": changed(
            cycle_A=identity, cycle_B=identity, identity=cycle
        ),
        "the cycle loss of one direction only, A → B → A: take cycle_loss(…), which holds both": changed(cycle_B=0),
        "the cycle loss of one direction only, B → A → B: take cycle_loss(…), which holds both": changed(cycle_A=0),
        "the cycle loss does not reach the way there: no detach() of the fakes": changed(through=torch.detach),
        "the fakes have no gradient: no detach(), and no no_grad() around G": changed(
            fool_A=0, fool_B=0, through=torch.detach
        ),
        "these are D's labels for fakes: G wants D to answer 1 for its fakes": changed(target=0.0),
        "the discriminators are mixed up: D.A judges fake_A, and D.B fake_B": mixed_up,
        "the generators are mixed up: fake_A = G.BA(real_B), and fake_B = G.AB(real_A)": crossed,
        "one generator is not judged, G.BA: D.A(fake_A) should be 1, and no detach()": changed(fool_A=0),
        "one generator is not judged, G.AB: D.B(fake_B) should be 1, and no detach()": changed(fool_B=0),
        "no generator is judged: D.A(fake_A) and D.B(fake_B) should be 1, and no detach()": changed(fool_A=0, fool_B=0),
        "D's answers need the square: (D.A(fake_A) − 1)², and not its absolute value": changed(square=torch.abs),
        "D's answers count half: only the loss of D is halved": changed(fool_A=0.5, fool_B=0.5),
        "the identity loss is missing although `identity` is not 0, or it has no gradient: no detach()": changed(
            identity=0
        ),
        "the identity loss counts without its weight: `identity` times the identity loss, which may be 0": changed(
            identity=1
        ),
        "the weight of the identity loss is 5 whatever `identity` is: take the argument": changed(identity=5),
        "λ multiplies the identity loss too: `identity` alone is its weight": changed(identity=cycle * identity),
        "λ multiplies the identity loss, as half of it: `identity` alone is its weight": changed(identity=cycle / 2),
        "the identity loss is L2, the square: take L1, abs()": changed(same=nn.functional.mse_loss),
        "the identity loss is of pictures in the target domain already: G.AB(real_B) and G.BA(real_A)": other_way,
    }
    passes, made = [], []

    def as_step(D, G, optimizer, real_A, real_B):
        with torch.no_grad():
            fakes = G.BA(real_B), G.AB(real_A)
        counters = [part.register_forward_hook(lambda *_: passes.append(1)) for part in (G.AB, G.BA)]
        passes.clear()
        result = with_shapes_here(step)(G, D, optimizer, real_A, real_B, right_cycle_loss, cycle, identity)
        for counter in counters:
            counter.remove()
        assert isinstance(result, (tuple, list)) and len(result) == 3, "return loss, fake_A, fake_B"
        assert not torch.is_tensor(result[0]) or result[0].dim() < 4, (
            "return loss, fake_A, fake_B: the loss comes first"
        )
        with torch.no_grad():
            made.append((result[1:], fakes, (G.BA(real_B), G.AB(real_A))))
        return result[0]

    D, G = tiny_networks()
    remarks = check_step(as_step, changed(), mistakes, "G", lambda: (D, G), lambda: (None, *tiny_domains()))
    remarks = [remark for remark in remarks if "zero_grad" not in remark]  # D's step does not get as far as G here
    for found, fakes, afterwards in made:
        for fake in found:
            assert torch.is_tensor(fake) and fake.shape == fakes[0].shape, "return loss, fake_A, fake_B: two batches"
        assert not are_close(found, fakes[::-1]), "return loss, fake_A, fake_B: fakes of domain A first"
        if are_close(found, afterwards):
            remarks = ["the fakes are made anew after the step: return those of the loss, which is faster"]
        else:
            assert are_close(found, fakes), "return the fakes of the loss: fake_A = G.BA(real_B), fake_B = G.AB(real_A)"
    if not identity and len(passes) > 4 and not remarks:
        remarks = [f"{len(passes)} passes through generators while `identity` is 0: 4 are enough, which is faster"]
    if not all(weight.requires_grad for weight in D.parameters()):
        remarks = [*remarks, "D stays frozen: the loop sets that right, but end with D.requires_grad_(True)"]
    return remarks


check_generator_step(generator_step)

# %% [markdown]
# ## The history of fakes
#
# A discriminator that sees only the newest fakes forgets the older ones. The generator goes back to those, and the two
# run in circles. So $D$ is shown a mix of new and old. A `History` keeps 50 fakes. Once it is full, toss a coin for
# each new fake. It is shown as it is, or it takes the place of a random old one, which is shown instead. Draw with
# `random`, `np.random.rand` or torch: their states are in the checkpoints.

# %% [markdown] lang="zh"
# ## 假圖的歷史
#
# 判別器只看最新的假圖，就會忘記舊的。生成器又回去做舊的，兩邊就一直繞圈子。所以要給 $D$ 看新舊混合的假圖。`History` 留
# 著 50 張。滿了以後，每張新的假圖都擲一次硬幣：一面是直接給 $D$ 看；另一面是和一張隨機的舊圖交換，改給 $D$ 看那張舊的。
# 亂數用 `random`、`np.random.rand` 或 torch 產生：它們的狀態存在檢查點裡。


# %%
class History:
    """Fakes of earlier steps, `pictures`: a list of at most `size` tensors [3, 64, 64] on the device."""

    def __init__(self, size, device):
        self.size, self.device, self.pictures = size, device, []

    def state_dict(self):
        return {"pictures": torch.stack(self.pictures) if self.pictures else None}

    def load_state_dict(self, state):
        self.pictures = [] if state["pictures"] is None else [*state["pictures"].to(self.device)]


# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Go through the fakes one by one, detached. There are three cases: room in the history, or one of the two sides of a
# coin.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `history.pictures` is a list. To exchange, remember the old picture, and put the new one in its place. `torch.stack`
# makes a batch of what is shown.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# 先 detach，再一張一張處理假圖。有三種情況：歷史裡還有空位，不然就是硬幣的兩面。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `history.pictures` 是一個 list。要交換，就先記住舊的圖片，再把新的放到它的位置。最後用 `torch.stack` 把要給 $D$ 看的
# 圖片疊成一個批次。
#
# </details>


# %% todo="exchange"
def exchange(history, fakes):
    """What D is shown in place of new fakes [N, 3, 64, 64]: as many pictures, which carry no gradient.

    As long as there is room in the history, a new fake is kept there, and shown. Once it is full, a new fake is shown
    with probability 1/2. Else it takes the place of a random picture of the history, which is shown.
    """
    ### BEGIN SOLUTION
    shown = []
    for fake in fakes.detach():
        if len(history.pictures) < history.size:
            history.pictures.append(fake)
        elif random.random() < 0.5:
            place = random.randrange(history.size)
            fake, history.pictures[place] = history.pictures[place], fake
        shown.append(fake)
    return torch.stack(shown)
    ### END SOLUTION


# %% check="exchange"
def check_exchange(exchange):
    numbered = iter(range(10**6))
    motif = torch.linspace(1, -1, 3 * 64 * 64, device=check_device()).view(3, 64, 64)

    def new_fakes(count=8):
        """Pictures of one motif that hold their own number, [count, 3, 64, 64]."""
        fakes = torch.tensor([float(next(numbered)) for _ in range(count)], device=check_device()).requires_grad_()
        return fakes.view(-1, 1, 1, 1) * motif

    def numbers(pictures):
        return [round(picture.flatten()[0].item()) for picture in pictures]

    each = "for each fake one picture is shown, itself or an old one"
    small = "a batch may be larger than the history: draw a place for each fake by itself"

    def say(error):
        if error.startswith("IndexError") and len(history.pictures) < history.size:
            return "the history is not full yet: as long as there is room, keep each new fake, and show it"
        if error.startswith("IndexError"):
            return "this place is not in the history: draw one of 0 … history.size − 1"
        if error.startswith("ValueError") and history.size < 8:
            return small
        if "TensorList" in error:
            return f"it stacks an empty list: {each}"
        return f"exchange stops with {error}"

    def call(fakes):
        with errors_in_words(say, {"'History'": "the fakes of earlier steps are in history.pictures, a list"}):
            shown = exchange(history, fakes)
        if torch.is_tensor(shown) and shown.shape[1:] == fakes.shape[1:] and len(shown) != len(fakes):
            assert len(shown) > len(fakes) or len(fakes) <= history.size, small
            raise AssertionError(f"{len(fakes)} fakes, and {len(shown)} shown: {each}")
        assert torch.is_tensor(shown) and shown.shape == fakes.shape, "return as many pictures, stacked: [N, 3, 64, 64]"
        assert shown.device == fakes.device, (
            f"D and the fakes are on {fakes.device}, but what is shown is on {shown.device}"
        )
        assert not shown.requires_grad, "what is shown carries a gradient of G: detach() the fakes"
        hint = "history.pictures is a list of pictures, each [3, 64, 64]"
        assert isinstance(history.pictures, list), hint
        assert all(torch.is_tensor(one) and one.shape == fakes.shape[1:] for one in history.pictures), hint
        assert not any(picture.requires_grad for picture in history.pictures), (
            "the history keeps the fakes with their gradients, and all networks' memory with them: detach() the fakes"
        )
        assert torch.equal(shown, shown[:, :1, :1, :1] * motif), "pictures have changed: show and keep them as they are"
        return shown

    def check_all_are_there(before, new, shown, room, hint):
        if sorted(numbers(history.pictures) + numbers(shown)) != sorted(before + new + new[:room]):
            kept_in = {picture.untyped_storage().data_ptr() for picture in history.pictures}
            assert numbers(shown) == new or shown.untyped_storage().data_ptr() not in kept_in, (
                "the history keeps views of the batch that you write to, and they change with it: keep clone()s"
            )
            raise AssertionError(hint)

    history = History(37, check_device())
    while len(history.pictures) < 37:
        fakes, before = new_fakes(), numbers(history.pictures)
        new, kept = numbers(fakes), min(len(before) + 8, 37)  # the fakes themselves may be written to
        shown = call(fakes)
        now, room = len(history.pictures), kept - len(before)
        assert now <= 37, f"the history has grown to {now} pictures: keep history.size, here 37, at most"
        assert now == kept, f"{kept} fakes should be kept by now, not {now}: keep new ones as long as there is room"
        assert {*new[:room]} <= {*numbers(shown)}, "as long as there is room, new fakes are shown"
        check_all_are_there(before, new, shown, room, "a picture got lost, or came twice")

    def play(seed, size=3):
        """What is shown of 20 batches larger than the history, with all dice from a seed; and their next throws."""
        nonlocal history
        history, start = History(size, check_device()), next(numbered)
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)  # noqa: NPY002
        shown = [[number - start for number in numbers(call(new_fakes()))] for _ in range(20)]
        return shown, (random.random(), np.random.random(), torch.rand(()).item())  # noqa: NPY002

    full = history
    (shown, dice), (again, _), (_, other_dice) = map(play, (1, 1, 2))
    assert not {*dice} & {*other_dice}, "leave out the seed: all would be drawn alike every time"
    assert shown == again, "draw with random, np.random or torch, and set no seed: a checkpoint keeps their states"
    history = full

    first, put_away = set(numbers(history.pictures)), []
    for _ in range(20):
        fakes, before = new_fakes(), numbers(history.pictures)
        new, shown = numbers(fakes), call(fakes)
        hint = "a picture got lost, or came twice: a new fake takes the very place of the old one that is shown"
        check_all_are_there(before, new, shown, 0, hint)
        put_away.append(len(set(new) - set(numbers(shown))))
    oldest = []  # whether it is the oldest picture that is shown, each time an old one is
    for fake in map(new_fakes, [1] * 100):
        first_in, new, shown = min(numbers(history.pictures)), numbers(fake), numbers(call(fake))
        oldest += [shown == [first_in]] * (shown != new)
    old = [numbers(fake) != numbers(call(fake)) for fake in map(new_fakes, [1] * 2000)]
    share = sum(old) / len(old)
    assert share > 0, "the history is never used: with probability 1/2 an old picture is shown"
    assert share < 1, "no new fake is shown any more: with probability 1/2 it is"
    assert 0.4 < share < 0.6, f"an old picture is shown in {share:.0%} of all cases: make it half of them"
    assert sum(oldest) < len(oldest) / 2, "always the oldest picture goes: draw a random one"
    assert not first & set(numbers(history.pictures)), "some places are never exchanged: draw a random one"
    assert max(put_away) > 1, (
        "never more than one fake of a batch gets into the history: draw a coin and a place for each"
    )
    assert sum(2 <= count <= 6 for count in put_away) > 10, "all of a batch or nothing: decide for each fake by itself"
    done("exchange")


check_exchange(exchange)

# %% [markdown]
# ## The discriminators' step
#
# Each $D$ learns by itself, from real pictures of its domain and from fakes. These come out of its history. As in the
# paper, the loss is halved. With Adam this changes the number and not the steps; `lr_D` is what slows $D$.
#
# $$L_{D_B} = \tfrac12\,\mathbb E_b\big[(D_B(b) - 1)^2\big] + \tfrac12\,\mathbb E_a\big[D_B(G_{AB}(a))^2\big]$$
#
# <details><summary>Hint 1</summary>
#
# There is one $D$ here, and no $G$: `fake` was made before. Reals should get 1, fakes 0, by least squares.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Halve each of the two means, or the sum.
#
# </details>

# %% [markdown] lang="zh"
# ## 判別器的步驟
#
# 每個 $D$ 各學各的：看自己領域的真圖，也看從自己的歷史拿出來的假圖。和論文一樣，損失要除以二。用 Adam 的話，這只會改變
# 損失的數字，不會改變每一步；要讓 $D$ 慢下來，靠的是 `lr_D`。
#
# $$L_{D_B} = \tfrac12\,\mathbb E_b\big[(D_B(b) - 1)^2\big] + \tfrac12\,\mathbb E_a\big[D_B(G_{AB}(a))^2\big]$$
#
# <details><summary>提示 1</summary>
#
# 這裡只有一個 $D$，沒有 $G$：`fake` 之前就做好了。$D$ 對真圖該回答 1，對假圖該回答 0，用最小平方。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 兩個平均各除以二，或是加起來再除以二。
#
# </details>


# %% todo="discriminator_step"
def discriminator_step(D, optimizer_D, real, fake):
    """One step of one discriminator, D.A or D.B, on real pictures of its domain and on fakes out of its history, each
    [N, 3, 64, 64] and without gradient. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    loss = ((D(real) - 1) ** 2).mean() / 2 + (D(fake) ** 2).mean() / 2
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    def loss_with(on_real, on_fake):
        return lambda D, G, real, fake: on_real(D(real)).mean() + on_fake(D(fake)).mean()

    def nothing(answers):
        return 0 * answers

    def to_1(answers):
        return (answers - 1) ** 2 / 2

    def to_0(answers):
        return answers**2 / 2

    mistakes = {
        "labels swapped: reals are 1, fakes are 0": loss_with(to_0, to_1),
        "labels swapped: reals are 1, fakes are 0. And halve the loss": loss_with(
            lambda x: 2 * to_0(x), lambda x: 2 * to_1(x)
        ),
        "halve the loss, as in the formula": loss_with(lambda x: 2 * to_1(x), lambda x: 2 * to_0(x)),
        "the fakes count twice: halve both terms": loss_with(to_1, lambda x: 2 * to_0(x)),
        "the reals count twice: halve both terms": loss_with(lambda x: 2 * to_1(x), to_0),
        f"only the reals count: add half of mean D(fake)², {THROUGH_D}": loss_with(to_1, nothing),
        f"only the fakes count: add half of mean (D(real) − 1)², {THROUGH_D}": loss_with(nothing, to_0),
        "fakes get the label 1 too: D should answer 0 for them": loss_with(to_1, to_1),
        "fakes get the label −1: D should answer 0 for them": loss_with(to_1, lambda x: (x + 1) ** 2 / 2),
        "this is a critic's loss, without least squares: half of mean (D(real) − 1)² + mean D(fake)²": loss_with(
            lambda x: -x, lambda x: x
        ),
        "half of mean D(fake)² is added, not taken away": loss_with(to_1, lambda x: -to_0(x)),
        "both terms are of the fakes: the one with −1 is of D(real)": lambda D, G, real, fake: right(D, G, fake, fake),
        "both terms are of the reals: the one without −1 is of D(fake)": lambda D, G, real, fake: right(
            D, G, real, real
        ),
        "these are absolute values: square them": loss_with(lambda x: (x - 1).abs() / 2, lambda x: x.abs() / 2),
        "the label of the reals is 1, not 0.9": loss_with(lambda x: (x - 0.9) ** 2 / 2, to_0),
        "square before the mean: each patch should be 1 or 0, and not their mean": lambda D, G, real, fake: (
            (D(real).mean() - 1) ** 2 / 2 + D(fake).mean() ** 2 / 2
        ),
    }

    def right(D, G, real, fake):
        return ((D(real) - 1) ** 2).mean() / 2 + (D(fake) ** 2).mean() / 2

    def as_step(D, G, optimizer, real, fake):
        return with_shapes_here(step)(D, optimizer, real, fake)

    D, G = tiny_networks()
    with torch.no_grad():
        batch = tiny_domains()[1], G.AB(tiny_domains()[0])  # as out of the history
    done("discriminator_step", check_step(as_step, right, mistakes, "D", lambda: (D.B, G), lambda: batch))


check_discriminator_step(discriminator_step)

# %% [markdown]
# ## Two domains
#
# With `faces_b`, one source is one domain. Without it, labels divide the faces. A tenth of each domain, at most 1,000
# faces, is held out: no network learns from them. The grids and the measures show these faces.

# %% [markdown] lang="zh"
# ## 兩個領域
#
# 設了 `faces_b`，就是一個來源一個領域。沒設的話，就照標籤把人臉分成兩邊。每個領域保留（held out）十分之一的臉，最多
# 1,000 張，不拿來訓練任何網路。拼圖和量測用的都是這些臉。


# %%
def load_domains(settings, device):
    """(train_A, train_B, held_out_A, held_out_B), each uint8 [N, 3, 64, 64] on the device. Raises SystemExit when a
    domain has fewer faces to learn from than one batch."""
    source = find_faces(settings.faces)
    faces, names = read_faces(source)
    if settings.faces_b:
        name_A, name_B = source.name, Path(settings.faces_b).name
        domain_A, domain_B = faces, read_faces(find_faces(settings.faces_b, setting="faces_b"))[0]
    else:
        name_A, name_B = settings.classes_a, settings.classes_b
        setting = "`classes_a` and `classes_b`"
        labels, classes = read_labels(source, names, settings.attribute, f"{name_A}, {name_B}", setting)
        of_A, of_B = ({*map(str.strip, names.split(","))} & {*classes} for names in (name_A, name_B))
        if of_A & of_B:
            raise SystemExit(f"{setting} both name {', '.join(sorted(of_A & of_B))}: name each class in one of them")
        of_A = torch.tensor([classes.index(name) for name in of_A], dtype=torch.long)
        is_A = torch.isin(labels, of_A)
        domain_A, domain_B = faces[is_A], faces[(labels >= 0) & ~is_A]
    (train_A, held_out_A), (train_B, held_out_B) = (hold_out(faces, settings.seed) for faces in (domain_A, domain_B))
    for title, train, held_out in (f"A, {name_A}", train_A, held_out_A), (f"B, {name_B}", train_B, held_out_B):
        print(f"{title}: {len(train):,} faces to learn from, {len(held_out):,} held out")
        if len(train) < settings.batch_size:
            raise SystemExit(f"domain {title}: fewer faces to learn from than one batch of {settings.batch_size}")
    return tuple(faces.to(device) for faces in (train_A, train_B, held_out_A, held_out_B))


def hold_out(faces, seed):
    """Pictures [N, 3, 64, 64] -> (those to learn from, those held out); always the same for one seed."""
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(seed))
    count = min(math.ceil(len(faces) / 10), 1000)
    return faces[order[count:]], faces[order[:count]]


def thousand(held_out, train):
    """1,000 faces [1000, 3, 64, 64] to translate: those held out first, and all again if they are few."""
    faces = torch.cat([held_out, train[: 1000 - len(held_out)]])
    return faces[torch.arange(1000, device=faces.device) % len(faces)]


def mirrored(pictures):
    """Pictures [N, 3, 64, 64], about every second one mirrored."""
    coins = torch.rand(len(pictures), 1, 1, 1, device=pictures.device) < 0.5
    return torch.where(coins, pictures.flip(3), pictures)


# %% fold="Round trips of held-out faces, and what they measure"
def round_trip(there, back, faces):
    """Faces [N, 3, 64, 64] as bytes, translated, and translated back, also as bytes."""
    translated = sample(there, as_input(faces))
    return faces.cpu(), translated, sample(back, as_input(translated.to(faces.device)))


def both_trips(G, held_out_A, held_out_B):
    """The round trips A → B → A and B → A → B of faces [N, 3, 64, 64]."""
    return round_trip(G.AB, G.BA, held_out_A), round_trip(G.BA, G.AB, held_out_B)


def trip_grid(trip, columns=10):
    """Three rows: faces, translated, translated back."""
    return picture_grid(torch.cat([pictures[:columns] for pictures in trip]), columns)


def thumbnails(pictures):
    """Bytes [N, 3, 64, 64] -> [N, 193]: the numbers of 8×8 pixels, and a 1."""
    small = nn.functional.adaptive_avg_pool2d(as_input(pictures), 8).flatten(1)
    return torch.cat([small, torch.ones_like(small[:, :1])], 1)


def fit_colour_classifier(faces_A, faces_B):
    """Weights [193]: thumbnails(pictures) @ weights is below 0 for domain A and above 0 for B, by ridge regression."""
    count = min(len(faces_A), len(faces_B), 4000)  # as many of each, so that it favours neither
    x = thumbnails(torch.cat([faces_A[:count], faces_B[:count]]))
    y = torch.ones(count, device=x.device)
    return torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], device=x.device), x.T @ torch.cat([-y, y]))


def share_in_B(colour_classifier, pictures):
    """The share of bytes [N, 3, 64, 64] that the classifier takes for domain B."""
    return (thumbnails(pictures.to(colour_classifier.device)) @ colour_classifier > 0).float().mean().item()


MEASURES = ["changed_AB", "changed_BA", "difference_ABA", "difference_BAB"]


def measure(colour_classifier, trip_A, trip_B):
    """The shares of translations that are in the target domain, by their colours, and the round trips' differences."""
    changed = share_in_B(colour_classifier, trip_A[1]), 1 - share_in_B(colour_classifier, trip_B[1])
    return *changed, *((start.float() - end.float()).abs().mean().item() for start, _, end in (trip_A, trip_B))


def record_trips(run, measures, colour_classifier, held_out_A, held_out_B):
    """Measures round trips by G_ema in a row of `measures`, and saves a grid of each direction beside the samples."""
    trips = both_trips(run.G_ema, held_out_A, held_out_B)
    measures.append([[run.step, *(f"{value:.4g}" for value in measure(colour_classifier, *trips))]])
    for name, trip in zip(("ABA", "BAB"), trips, strict=True):
        path = run.folder / f"samples/{run.step:06d}_{name}.png"
        atomic_write(path, partial(trip_grid(trip).save, format="PNG"))


# %% [markdown]
# ## Training
#
# Every step takes a batch from each domain, some pictures mirrored. It moves the generators, and then the
# discriminators. The paper lets the learning rate fall to 0 in the second half of training. With `ema` (all presets
# but `course`) the samples come from a running average of the generators' weights, which calms them as well.
#
# Every `checkpoint_every` steps the run translates 1,000 faces of $A$, those held out first. It also translates
# held-out faces there and back, as pictures (`samples/*_ABA.png`) and as numbers (`samples/measures.csv`, see "Going
# further").

# %% [markdown] lang="zh"
# ## 訓練
#
# 每一步從兩個領域各拿一個批次，有些圖片會左右翻轉。先更新生成器，再更新判別器。論文在訓練的後半段讓學習率降到 0。用
# 了 `ema`（除了 `course`，所有設定組都用），樣本就來自生成器權重的移動平均，同樣可以讓結果穩定下來。
#
# 每 `checkpoint_every` 步會轉換 1,000 張 $A$ 的臉，先用保留的。保留的臉也會轉換過去、再轉換回來，存成圖片
# （`samples/*_ABA.png`）和數字（`samples/measures.csv`，請看「更進一步」）。


# %%
def train(settings):
    """Trains both pairs, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    train_A, train_B, held_out_A, held_out_B = load_domains(settings, device)
    width = settings.width
    G = place(Generators(Generator(width), Generator(width)), settings, device, half=False)
    D = place(Discriminators(Discriminator(width), Discriminator(width)), settings, device, half=False)
    betas = (settings.beta1, settings.beta2)
    optimizer_G, optimizer_A, optimizer_B = make_optimizers(G, D, settings.lr_G, settings.lr_D, betas)
    history_A, history_B = History(settings.history, device), History(settings.history, device)
    parts = {"history_A": history_A, "history_B": history_B, "optimizer_G": optimizer_G}
    parts |= {"optimizer_A": optimizer_A, "optimizer_B": optimizer_B}
    run = Run(settings, G, D, z=as_input(thousand(held_out_A, train_A)), **parts)
    batches_B = batches_of(train_B, batch_size=settings.batch_size, seed=settings.seed + 1, start=run.start)
    measures = StepTable(run.folder / "samples/measures.csv", MEASURES, run.start)
    run.tables.append(measures)
    colour_classifier = fit_colour_classifier(train_A, train_B)

    for step, real_A in run.steps(train_A, beside=[train_B]):  # [batch_size, 3, 64, 64] in −1 … 1
        real_A, real_B = mirrored(real_A), mirrored(next(batches_B)[0])
        with frozen(D):  # no time for gradients of weights that stay as they are
            loss_G, fake_A, fake_B = generator_step(
                G, D, optimizer_G, real_A, real_B, cycle_loss, settings.cycle, settings.identity
            )
        run.update_average()
        loss_A = discriminator_step(D.A, optimizer_A, real_A, exchange(history_A, fake_A))
        loss_B = discriminator_step(D.B, optimizer_B, real_B, exchange(history_B, fake_B))
        run.log(loss_D=(loss_A + loss_B) / 2, loss_G=loss_G)
        if step % settings.norms_every == 0:
            run.record_norms(layer_norms(D.B))
        if step % settings.checkpoint_every == 0:
            record_trips(run, measures, colour_classifier, held_out_A, held_out_B)
    return run


# %% [markdown]
# To stop early, interrupt the kernel (■, or Ctrl-C) while the next cell runs. Training ends after its step, with
# samples and a checkpoint, and you can run the cells after it. Run that cell again to go on. To open the run later
# without more training, add `"steps": 1` to `overrides`.

# %% [markdown] lang="zh"
# 想提早結束，就在下一個儲存格執行的時候中斷核心（kernel；■，或 Ctrl-C）。訓練會做完目前這一步，存下樣本和檢查點，然後你
# 可以執行它後面的儲存格。再執行一次那個儲存格，就會接著訓練。之後想打開這次訓練、但不再訓練下去，就在 `overrides` 加上
# `"steps": 1`。

# %%
run = launch(train, settings, one_process=True)

# %% [markdown]
# ## There and back
#
# These are faces that no network learned from. In each picture the first row is the face, the second its translation,
# the third the translation translated back.

# %% [markdown] lang="zh"
# ## 去了再回來
#
# 這些臉，沒有一個網路學過。每張圖的第一列是原來的臉，第二列是轉換過去的，第三列是再轉換回來的。

# %%
train_A, train_B, held_out_A, held_out_B = load_domains(settings, run.device)
trips = both_trips(run.G_ema, held_out_A, held_out_B)
for title, trip in zip(("A → B → A", "B → A → B"), trips, strict=True):
    print(title)
    show(trip_grid(trip))

# %% [markdown]
# The third row can look good even where the second row does not. A generator can hide what the way back needs in noise
# that nobody sees ([Chu et al., 2017](https://arxiv.org/abs/1712.02950)). In another `run`, set `cycle` to 0. Is row 2
# still the face of row 1? In a third one, set it to 50. Does the hair still change its colour in row 2? Each takes as
# long as this training.
#
# `loss_G` holds the cycle loss too, so it falls as the round trips get better. The losses show trouble, not quality.

# %% [markdown] lang="zh"
# 第二列明明不怎麼樣，第三列卻可能很好看。生成器會把回程需要的資訊，藏在沒有人看得見的雜訊裡
# （[Chu et al., 2017](https://arxiv.org/abs/1712.02950)）。換一個 `run`，把 `cycle` 設成 0：第二列還是第一列的臉嗎？再
# 換一個，設成 50：第二列的髮色還會變嗎？每次都和這次訓練一樣久。
#
# `loss_G` 裡也有循環損失，所以來回得越準，它就越低。用損失來發現問題，不要用來判斷品質。

# %%
plot_losses(run)

# %% [markdown]
# ## Your submission
#
# 1,000 faces of $A$, translated to $B$: `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz`. The
# first grid shows 64 of them **before**, the second **after**.

# %% [markdown] lang="zh"
# ## 你要繳交的檔案
#
# 1,000 張 $A$ 的臉，轉換成 $B$：`1.jpg` … `1000.jpg`，大小 64×64，放在一個資料夾裡，也打包成沒有子資料夾的
# `submission.tgz`。第一張拼圖是其中 64 張轉換**之前**的樣子，第二張是**之後**。

# %%
show(picture_grid(thousand(held_out_A, train_A)[:64].cpu()))
pictures = write_submission(run)

# %% [markdown]
# Compare them with the faces of domain $B$ only:
# `python -m grader score RUN/submission.tgz --reference RUN/domain_B.tgz`. RUN is the folder of this training: the next
# cell prints it.

# %% [markdown] lang="zh"
# 只和領域 $B$ 的臉比：`python -m grader score RUN/submission.tgz --reference RUN/domain_B.tgz`。RUN 是這次訓練的資料
# 夾，下一個儲存格會印出來。

# %%
pack(torch.cat([train_B, held_out_B]).cpu(), run.folder / "domain_B.tgz")
print(run.folder / "domain_B.tgz")

# %% [markdown]
# ## Your score
#
# The cells below score what you trained here. FID is measured on a GPU against the faces of domain $B$, with
# pytorch-fid's Inception network (91 MB, from the internet). AFD is the share of pictures in which lbpcascade finds a
# face. The grader, if it is installed, measures distances to your own faces. There is no tier for them. If this machine
# lacks something, a line says what.
#
# Compare FID with FID only. The course's site has another scale, and no factor converts one to the other.

# %% [markdown] lang="zh"
# ## 你的分數
#
# 下面的儲存格替你在這裡訓練的結果評分。FID 在 GPU 上計算，拿生成的圖片和領域 $B$ 的人臉比較，用的是 pytorch-fid 的
# Inception 網路（91 MB，從網路下載）。AFD 是 lbpcascade 找得到臉的圖片所佔的比例。如果裝了評分程式 grader，它會量生成
# 的圖片和你的人臉資料的距離；用自己的資料，沒有等級。這台機器缺什麼，會印出一行說明。
#
# FID 只能和 FID 比。課程網站用的是另一種尺度，兩者之間沒有換算的倍數。

# %%
from kit.score import score_run

score_run(run, faces=torch.cat([train_B, held_out_B]), reference=run.folder / "domain_B.tgz")

# %% [markdown]
# ## When it looks wrong
#
# Most settings cannot change within a `run`: set another one. To train on in the same `run`, raise `steps` and run the
# notebook again. A preset with `hours` needs no change for that.
#
# | you see | cause | what to do |
# |---|---|---|
# | `loss_D` → 0, `loss_G` grows | the discriminators tell all fakes from reals | lower `lr_D` |
# | `loss_D` stays at 0.25 | the discriminators learn nothing: they say 0.5 to everything | raise `lr_D`; run the \
#   check of `discriminator_step` again |
# | `loss_D` grows over 0.25 | worse than saying 0.5 to everything: the steps are too long | lower `lr_D` |
# | one face repeated, whatever the input | the cycle loss has no effect | run the check of `cycle_loss` again; \
#   raise `cycle` |
# | nothing changes: output equals input | `cycle` or `identity` is too large | `cycle` 5, `identity` 0 |
# | noise, or dots | too few steps | wait for 1,000 steps more; `ema` 0.995 |

# %% [markdown] lang="zh"
# ## 結果不對勁時
#
# 大部分的設定一改，筆記本就會停下來：把 `run` 也換成別的資料夾，重新訓練。想用同一個 `run` 接著訓練，就調高 `steps`，再
# 執行一次筆記本；有 `hours` 的設定組不用改。
#
# | 你看到 | 原因 | 怎麼辦 |
# |---|---|---|
# | `loss_D` → 0，`loss_G` 一直變大 | 真圖和假圖，判別器全都分得出來 | 調低 `lr_D` |
# | `loss_D` 停在 0.25 | 判別器什麼都沒學到：全部回答 0.5 | 調高 `lr_D`；再執行一次 `discriminator_step` 的檢查 |
# | `loss_D` 變大，超過 0.25 | 比全部回答 0.5 還差：每一步太大 | 調低 `lr_D` |
# | 不管輸入什麼，都是同一張臉 | 循環損失沒有作用 | 再執行一次 `cycle_loss` 的檢查；調高 `cycle` |
# | 什麼都沒變：輸出和輸入一樣 | `cycle` 或 `identity` 太大 | `cycle` 設成 5，`identity` 設成 0 |
# | 雜訊，或小點 | 步數太少 | 再等 1,000 步；`ema` 設成 0.995 |

# %% [markdown]
# ## Going further
#
# Did it translate? Ask three questions, each with a number.
#
# - *Is the result in the other domain?* A simple colour classifier decides: a linear rule on thumbnails of 8×8 pixels,
#   fitted to the real faces of both domains by least squares. It sees no lines, only which colour is where. For hair,
#   that is the question.
# - *Is it still the same face?* The way back tells, as far as it can: the mean absolute difference between a face and
#   its round trip, in grey levels of 0 … 255.
# - *Does it look real?* That is the Fréchet distance to the other domain, which the grader measures.

# %% [markdown] lang="zh"
# ## 更進一步
#
# 轉換成功了嗎？問三個問題，每個問題都用一個數字回答。
#
# - *結果到了另一個領域嗎？* 由一個簡單的顏色分類器決定。它是 8×8 縮圖上的線性規則，用最小平方從兩個領域的真實人臉算出
# 來。它看不到線條，只看得到哪裡是什麼顏色。對頭髮來說，要問的就是顏色。
# - *還是同一張臉嗎？* 這要看回程，雖然回程能說的有限：一張臉和它來回之後的樣子相減，取絕對值再平均。灰階從 0 到 255。
# - *看起來像真的嗎？* 這要看和另一個領域之間的 Fréchet 距離，由評分程式（grader）計算。

# %% fold="The measures of the last weights"
colour_classifier = fit_colour_classifier(train_A, train_B)
right = (1 - share_in_B(colour_classifier, held_out_A) + share_in_B(colour_classifier, held_out_B)) / 2
print(f"the colour classifier puts {right:.1%} of the held-out real faces into their own domain")
changed_AB, changed_BA, difference_ABA, difference_BAB = measure(colour_classifier, *trips)
print(f"in the other domain, by their colours: {changed_AB:.1%} of A → B, {changed_BA:.1%} of B → A")
print(f"mean difference after a round trip (255 at most): {difference_ABA:.1f} from A, {difference_BAB:.1f} from B")
