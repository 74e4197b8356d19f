# %% [markdown]
# # 07 · Progressive growing
#
# | In this notebook | |
# |---|---|
# | **You learn** | how to grow two networks while they train, and three ideas that later GANs kept |
# | **You write** | `stage`, `fade`, `pixel_norm`, `equalized_conv`, `minibatch_stddev` |
# | **Time** | `cpu`: 9 minutes on one CPU core. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours on any GPU. \
#   `course`: at most 15 minutes on an H100, computed from steps per second at 64×64 |
# | **Tier** | **Simple**: {{Simple}} |

# %% [markdown] lang="zh"
# # 07 · 漸進式成長（progressive growing）
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 怎麼讓兩個網路一邊訓練一邊長大，還有後來的 GAN 一直沿用的三個想法 |
# | **你要寫** | `stage`、`fade`、`pixel_norm`、`equalized_conv`、`minibatch_stddev` |
# | **時間** | `cpu`：一個 CPU 核心 9 分鐘。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 小時。 \
#   `course`：H100 上最多 15 分鐘（由 64×64 的每秒步數換算） |
# | **等級** | **Simple**：{{Simple}} |

# %% [markdown]
# ![Eight samples at 4×4, 16×16 and 64×64](results/07_progressive_cpu/stages.jpg)
#
# *The same eight $z$ at 4×4, 16×16 and 64×64, from a longer run, of 5,500 steps. Not selected.*

# %% [markdown] lang="zh"
# ![4×4、16×16、64×64 時的八個樣本](results/07_progressive_cpu/stages.jpg)
#
# *同樣的八個 $z$ 在 4×4、16×16、64×64 時的樣子：來自一次比較長的訓練（5,500 步），沒有挑選過。*

# %% [markdown]
# At 64×64 the networks must learn everything at once: where the head is, which colour the hair has, how an eye shines.
# So begin small ([Karras et al., 2018](https://arxiv.org/abs/1710.10196)). $G$ and $D$ first play with pictures of 4×4.
# There a face is a patch of colour on a background, and both are good at it soon. Then both get a block that doubles
# the resolution, and another, up to 64×64. The smaller blocks go on learning. Steps at low resolution are cheap, and no
# more than one block is new at any time.
#
# A new block knows nothing yet, and would spoil what the others know. So it is **faded in** while $\alpha$ rises from
# 0 to 1. $G$ mixes its old picture, enlarged, with the new block's. $D$ mixes what it reads in the shrunk picture with
# what the new block reads in the whole one:
#
# $$G_{2r}(z) = (1-\alpha)\,\mathrm{double}\big(G_r(z)\big) + \alpha\, G_{2r}^\mathrm{new}(z) \qquad
#   h_r(x) = (1-\alpha)\,\mathrm{rgb}_r\big(\mathrm{halve}(x)\big) + \alpha\, D_{2r}^\mathrm{new}(x)$$
#
# Here $h_r(x)$ are $D$'s features of size $r$, and $\mathrm{rgb}_r$ is the layer that makes them from a picture. Then
# the block is held at $\alpha = 1$ until all have settled. Reals are mixed like the fakes. Otherwise their sharpness
# would give them away.
#
# The paper's other ideas have outlived growing itself (pixel norm for $z$ only). **Pixel norm** and the **equalized
# learning rate** keep signals and weights at a size of 1 without BatchNorm. The **minibatch standard deviation** tells
# $D$ how different the pictures of a batch are, and so gives away a $G$ that has collapsed. You write all of these, and
# the growing.

# %% [markdown] lang="zh"
# 64×64 的臉，網路什麼都得同時學：頭在哪裡、頭髮是什麼顏色、眼睛怎麼發亮。所以先從小的開始
# （[Karras et al., 2018](https://arxiv.org/abs/1710.10196)）。$G$ 和 $D$ 先用 4×4 的圖片對抗。這時一張臉只是背景上的一
# 個色塊，兩邊很快就學會了。接著兩邊各加上一個把解析度加倍的區塊（block），然後再加一個，直到 64×64。原來的區塊會繼續
# 學。低解析度的步驟花不了多少時間，而且任何時候最多只有一個區塊是新的。
#
# 新的區塊還什麼都不會，直接加進來會毀掉其他區塊學到的東西。所以要讓它**淡入**（fade in），這時 $\alpha$ 從 0 升到
# 1。$G$ 把自己的舊圖片放大，和新區塊的圖片混合。$D$ 也把兩種特徵混合：一種從縮小的圖片讀出來，一種由新區塊從原來大小的
# 圖片讀出來：
#
# $$G_{2r}(z) = (1-\alpha)\,\mathrm{double}\big(G_r(z)\big) + \alpha\, G_{2r}^\mathrm{new}(z) \qquad
#   h_r(x) = (1-\alpha)\,\mathrm{rgb}_r\big(\mathrm{halve}(x)\big) + \alpha\, D_{2r}^\mathrm{new}(x)$$
#
# 這裡 $h_r(x)$ 是 $D$ 在大小 $r$ 的特徵，$\mathrm{rgb}_r$ 是把圖片變成特徵的那一層。淡入之後，$\alpha$ 保持在 1，直到所
# 有區塊都穩定下來。真圖也要和假圖一樣混合。不然真圖比較清楚，$D$ 一看就認出來了。
#
# 漸進式成長後來很少用了，這篇論文的其他想法卻一直沿用下來（pixel norm 後來只用在 $z$ 上）。**Pixel norm** 和
# **equalized learning rate**（均衡學習率）不用 BatchNorm，就讓訊號和權重的大小保持在 1。**Minibatch standard
# deviation**（小批次標準差）告訴 $D$ 同一個批次裡的圖片彼此差多少，這樣就看得出 $G$ 是不是崩潰了。這些全部由你來寫，成
# 長的部分也是。

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
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral

import torch
from kit.checks import (
    are_close,
    check_device,
    check_function,
    done,
    errors_in_words,
    explained,
    output_of,
    weighted_slopes,
)
from kit.device import get_device, place, seed_everything
from kit.faces import load_faces
from kit.files import atomic_write
from kit.gradient_penalty import gradient_penalty
from kit.kinds import check_known, make_settings
from kit.launch import launch
from kit.run import Run, frozen
from kit.samples import picture_grid, plot_losses, sample, show, write_submission
from PIL import Image
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
class GrowingSettings(Settings):
    hold: tuple = (1115, 1115, 2230, 2230)  # steps at 4×4, 8×8, 16×16 and 32×32; 64×64 is held to the end
    fade: tuple = (1115, 1115, 2230, 2230)  # steps in which 8×8, 16×16, 32×32 and 64×64 are faded in
    batch_share: tuple = (1.0, 1.0, 1.0, 1.0, 1.0)  # batches at 4×4 … 64×64, as a share of batch_size, at most 1
    lr_share: tuple = (1.0, 1.0, 1.0, 1.0, 1.0)  # learning rates at 4×4 … 64×64, as a share of lr_G and lr_D
    averaging: str = "all"  # of the minibatch standard deviation: all, spatial, gpool or flat
    loss: str = "least squares"  # or "wgan-gp"
    penalty: float = 10.0  # λ of wgan-gp
    drift: float = 1e-3  # ε of wgan-gp: how much D's answers for reals are pulled to 0
    norms_every: int = 0  # not recorded here: D's layers come one by one

    def __post_init__(self):
        check_known("averaging", self.averaging, ("all", "spatial", "gpool", "flat"))
        check_known("loss", self.loss, ("least squares", "wgan-gp"))
        for name, count in (("hold", 4), ("fade", 4), ("batch_share", 5), ("lr_share", 5)):
            if len(numbers := getattr(self, name)) != count:
                raise SystemExit(f"`{name}` is {numbers}: give it {count} numbers")
        if not all(0 < share <= 1 for share in self.batch_share):
            raise SystemExit(f"`batch_share` is {self.batch_share}: give it numbers over 0, at most 1")
        if min(self.lr_share) <= 0:
            raise SystemExit(f"`lr_share` is {self.lr_share}: give it numbers over 0")


COURSE = GrowingSettings(  # the paper's, but narrower and shorter
    run="runs/progressive", steps=30 * 1115, lr_G=1e-3, lr_D=1e-3, beta1=0.0, beta2=0.99, ema=0.999, width=32
)
PRESETS = t4_presets(COURSE)
for name, times in (("t4_3h", 2), ("t4_12h", 8)):  # with more time it grows slower
    longer = {phase: tuple(times * steps for steps in getattr(COURSE, phase)) for phase in ("hold", "fade")}
    PRESETS[name] = replace(PRESETS[name], **longer)
PRESETS["cpu"] = replace(  # 9 minutes on one CPU core
    COURSE,
    steps=2150,
    hold=(200, 250, 400, 300),
    fade=(150, 200, 200, 200),
    batch_size=16,
    lr_G=5e-3,
    lr_D=5e-3,
    lr_share=(1, 1, 1, 0.2, 0.2),  # 5e-3 is too much for 32×32
    loss="wgan-gp",
    width=8,
    ema=0.99,
    checkpoint_every=200,
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"loss": "wgan-gp"}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## When to grow
#
# A resolution is held for some steps. Then the next is faded in for some, and held, and so on. Resolution and $\alpha$
# follow from the number of the step alone. So nothing has to be remembered, and a run that goes on from a checkpoint
# goes on at the right stage.
#
# <details><summary>Hint 1</summary>
#
# Walk through the phases, and subtract the length of each from `step`, until it lies within one.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `zip(hold, fade)` gives the length of a hold, and of the fade after it. In a fade the resolution is the new one
# already, and α is `step / steps_faded`.
#
# </details>

# %% [markdown] lang="zh"
# ## 什麼時候長大
#
# 一個解析度先維持若干步。接著下一個解析度用若干步淡入，再維持若干步，依此類推。只看現在是第幾步，就知道解析度和
# $\alpha$。所以什麼都不必記錄，從檢查點接著訓練時，階段也一定是對的。
#
# <details><summary>提示 1</summary>
#
# 一段一段走過去，從 `step` 減掉每一段的長度，直到它落在某一段裡。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `zip(hold, fade)` 每次給你一段維持的長度，和它後面那段淡入的長度。淡入的時候，解析度已經是新的，α 是
# `step / steps_faded`。
#
# </details>


# %% todo="stage"
def stage(step, hold, fade):
    """The resolution (4, 8, …) and α (0 … 1) of the step that comes after `step` others; the first comes after 0.

    hold and fade are tuples. 4×4 is held for hold[0] steps. Then 8×8 is faded in for fade[0] steps, α = 0/fade[0],
    1/fade[0], …, and held at α = 1 for hold[1] steps, and so on. The last resolution, which comes with fade[-1], is
    held for ever.
    """
    ### BEGIN SOLUTION
    resolution = 4
    for steps_held, steps_faded in zip(hold, fade, strict=True):
        if step < steps_held:
            return resolution, 1.0
        step -= steps_held
        resolution *= 2
        if step < steps_faded:
            return resolution, step / steps_faded
        step -= steps_faded
    return resolution, 1.0
    ### END SOLUTION


# %% check="stage"
def check_stage(stage):
    hold, fade = (3, 5, 2), (4, 10, 0)

    def at(step, hold=hold, fade=fade):
        def say(error):
            given, takes_lists = ([*hold], [*fade]), False
            with suppress(Exception):
                takes_lists = bool(stage(step, *given))
            if given != ([*hold], [*fade]):
                return "hold and fade are used again at the next step: leave them as they are"
            if takes_lists:
                return "hold and fade are tuples: make lists of them, [*hold]"
            return f"stage({step}, {hold}, {fade}) stops with {error}"

        with errors_in_words(say, {}):
            found = stage(step, hold, fade)
        assert isinstance(found, (tuple, list)) and len(found) == 2, f"return resolution and α, not {found}"
        resolution, alpha = found
        assert isinstance(resolution, Integral), f"{resolution!r} pixels are no size: the resolution is a whole number"
        assert resolution < 10**6, "the resolution doubles once for each number in fade, and then stays"
        return resolution, alpha.item() if torch.is_tensor(alpha) else alpha

    first, last = at(0), at(10**6)
    assert first == (4, 1), f"the first step is {first}, not (4, 1.0): 4×4 has nothing to be faded over"
    assert last == (32, 1), f"long after three doublings the stage is {last}, not (32, 1.0)"
    begins, end = at(3), at(2)
    assert end == (4, 1), f"4×4, held for 3 steps, is {end} at step 2, the third"
    assert begins == (8, 0), f"the first step of 8×8 is {begins}, not (8, 0.0)"
    half = at(5)
    assert half == (8, 0.5), f"after 2 of the 4 steps of fading the stage is {half}, not (8, 0.5)"
    held = {at(step) for step in range(7, 12)}
    assert held == {(8, 1)}, f"8×8 is faded in for 4 steps and then held for 5, where it is {held}, not (8, 1.0)"
    assert at(12) == (16, 0), f"16×16 begins at step 3 + 4 + 5, with {at(12)}"
    assert at(24) == (32, 1), f"a fade of 0 steps: 32×32 is there at once, with α = 1, not as {at(24)}"
    hold, fade = (0, 2, 0, 4, 1), (3, 0, 7, 2, 5)  # five doublings, some of their phases empty
    phases = [(4, hold[0], 0)]
    for doubling, length in enumerate(fade, 1):
        phases += [(2 ** (2 + doubling), 0, length), (2 ** (2 + doubling), (*hold, 9)[doubling], 0)]
    expected = [
        one
        for resolution, steps_held, steps_faded in phases
        for one in [(resolution, i / steps_faded) for i in range(steps_faded)] + [(resolution, 1.0)] * steps_held
    ]
    for step, right in enumerate(expected):
        found = at(step, hold, fade)
        same = found[0] == right[0] and abs(found[1] - right[1]) < 1e-6
        assert same, f"with hold {hold} and fade {fade}, step {step} is {found}, not {right}"
    done("stage")


check_stage(stage)

# %% [markdown]
# ## Fading
#
# At $\alpha = 0$ the mixture has to be the old one to the last bit. Then growing changes nothing at first.
#
# <details><summary>Hint 1</summary>
#
# It is the formula above, with `old` and `new`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The two weights are `1 - alpha` and `alpha`: their sum is 1.
#
# </details>

# %% [markdown] lang="zh"
# ## 淡入
#
# $\alpha = 0$ 的時候，混合的結果必須和舊的完全一樣，連最後一個 bit 都一樣。這樣剛開始長大時，什麼都不會變。
#
# <details><summary>提示 1</summary>
#
# 就是上面的公式，換成 `old` 和 `new`。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 兩個權重是 `1 - alpha` 和 `alpha`，加起來是 1。
#
# </details>


# %% todo="fade"
def fade(old, new, alpha):
    """The mixture of two tensors of one shape: old at α = 0, new at α = 1."""
    ### BEGIN SOLUTION
    return (1 - alpha) * old + alpha * new
    ### END SOLUTION


# %% check="fade"
def check_fade(fade):
    repeatable = torch.Generator().manual_seed(1)
    old, new = (torch.randn(4, 3, 8, 8, generator=repeatable).to(check_device()).requires_grad_() for _ in range(2))
    old, new = 3 * old + 1, 1 * new  # of another size and mean
    mistakes = {
        "the wrong way round: α = 0 is old, α = 1 is new; or are the arguments in another order?": (
            lambda old, new, alpha: alpha * old + (1 - alpha) * new
        ),
        "old is not scaled by 1 − α: at α = 1 it should be gone": lambda old, new, alpha: old + alpha * new,
        "new is not scaled by α: at α = 0 it is not there yet": lambda old, new, alpha: (1 - alpha) * old + new,
        "α comes in as a square: it rises in a straight line": lambda old, new, alpha: (
            (1 - alpha**2) * old + alpha**2 * new
        ),
        "this jumps: only between 0 and 1 are the two mixed": lambda old, new, alpha: new,
    }
    for alpha in (0.37, 0.8, 0.0, 1.0):
        check_function(fade, lambda old, new, alpha: (1 - alpha) * old + alpha * new, (old, new, alpha), mistakes)
    assert torch.equal(fade(old, new, 0.0), old), (
        "at α = 0 it is old but for rounding: (1 − α) · old + α · new is exact"
    )
    done("fade")


check_fade(fade)


# %%
def double(pictures):
    """[N, C, r, r] -> [N, C, 2r, 2r]: every pixel becomes four."""
    return nn.functional.interpolate(pictures, scale_factor=2)


def halve(pictures):
    """[N, C, 2r, 2r] -> [N, C, r, r]: the mean of every four pixels."""
    return nn.functional.avg_pool2d(pictures, 2)


def as_sharp(real, resolution, alpha):
    """Reals [N, 3, 64, 64] -> [N, 3, resolution, resolution], mixed as the fakes are."""
    real = nn.functional.avg_pool2d(real, real.shape[-1] // resolution)
    return fade(double(halve(real)), real, alpha) if alpha < 1 else real


# %% [markdown]
# ## Pixel norm
#
# It comes after every convolution of $G$ except the last one, to RGB. $z$ goes through it too. Each pixel has a vector
# of $C$ channels. Divide it by its root mean square. Then no layer can drive the others to ever larger numbers.
#
# $$b = a \Big/ \sqrt{\tfrac1C \textstyle\sum_c a_c^2 + 10^{-8}}$$
#
# <details><summary>Hint 1</summary>
#
# The mean goes over the channels only: dimension 1. Keep this dimension, so that the division fits.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `x.square().mean(1, keepdim=True)` is `[N, 1, H, W]`. Add $10^{-8}$ under the root.
#
# </details>

# %% [markdown] lang="zh"
# ## Pixel norm
#
# 除了最後輸出 RGB 的卷積，$G$ 的每個卷積後面都有它，$z$ 也要先經過它。每個像素是一個向量，有 $C$ 個通道。把這個向量除以
# 自己的均方根（root mean square）。這樣就沒有一層會讓其他層的數越變越大。
#
# $$b = a \Big/ \sqrt{\tfrac1C \textstyle\sum_c a_c^2 + 10^{-8}}$$
#
# <details><summary>提示 1</summary>
#
# 只在通道上取平均，也就是維度 1。保留這個維度，才能直接相除。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `x.square().mean(1, keepdim=True)` 的形狀是 `[N, 1, H, W]`。在根號裡加上 $10^{-8}$。
#
# </details>


# %% todo="pixel_norm"
def pixel_norm(x):
    """Features [N, C, H, W]; each pixel gets a mean square of 1 over its channels."""
    ### BEGIN SOLUTION
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    ### END SOLUTION


# %% check="pixel_norm"
def check_pixel_norm(norm):
    def maps(channels):
        """x [4, channels, 3, 5], of another size at each pixel."""
        repeatable = torch.Generator().manual_seed(2)
        x = torch.randn(4, channels, 3, 5, generator=repeatable)
        x = x * torch.rand(4, 1, 3, 5, generator=repeatable).add(0.1) + 0.5
        return 1 * x.to(check_device()).requires_grad_()

    zeros = torch.zeros(2, 6, 3, 5, device=check_device(), requires_grad=True)
    out = output_of(
        norm, 1 * zeros, shape=zeros.shape, meanings={"must match the size": "keep dim 1: write keepdim=True"}
    )

    def divided(over, square=True):
        return lambda x: (
            x / (x.square().mean(over, keepdim=True) if square else x.abs().mean(over, keepdim=True)).sqrt()
        )

    mistakes = {
        "this makes the sum of squares 1: take the mean": lambda x: x / x.square().sum(1, keepdim=True).sqrt(),
        "the root is missing: divide by the root of the mean square": lambda x: x / x.square().mean(1, keepdim=True),
        "nothing is subtracted: only divide": lambda x: (
            (x - x.mean(1, keepdim=True)) / x.var(1, keepdim=True, correction=0).sqrt()
        ),
        "nothing is subtracted: only divide by the root of the mean square": lambda x: (
            (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
        ),
        "this is the standard deviation: take the mean of the squares themselves": lambda x: (
            x / x.var(1, keepdim=True, correction=0).sqrt()
        ),
        "this is the deviation with N − 1: take the mean of the squares themselves": lambda x: (
            x / x.std(1, keepdim=True)
        ),
        "the mean is over the channels, dim 1, alone: not over a whole picture": divided((1, 2, 3)),
        "the mean is over the channels, dim 1, alone: not over the places": divided((2, 3)),
        "the channels are dim 1: dim −1 is the width": divided(-1),
        "the mean is over the channels, dim 1, alone: not over the batch": divided(0),
        "the mean is over the channels, dim 1, alone: not over everything": divided((0, 1, 2, 3)),
        "this divides each number by itself: take the mean over the channels": lambda x: x / x.abs(),
        "this is the mean of absolute values: take squares": lambda x: x / x.abs().mean(1, keepdim=True),
        "this divides the sum by 6 channels, and here are 16: take the mean": lambda x: (
            x / (x.square().sum(1, keepdim=True) / 6).sqrt()
        ),
        "multiplied by the root mean square: divide by it": lambda x: x * x.square().mean(1, keepdim=True).sqrt(),
    }
    for channels in (6, 16):
        check_function(
            norm, lambda x: x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt(), (maps(channels),), mistakes
        )
    assert out.isfinite().all(), "a pixel of zeros is divided by 0: add 1e-8 under the root"
    assert weighted_slopes(out, [zeros])[0].isfinite().all(), (
        "a pixel of zeros has a gradient of NaN: add 1e-8 under the root"
    )
    done("pixel_norm")


check_pixel_norm(pixel_norm)

# %% [markdown]
# ## The equalized learning rate
#
# Each output of a layer is a sum of $n$ numbers: input channels × kernel height × kernel width. He's initialisation
# gives weights the size $\sqrt{2/n}$, so that signals keep their size through a layer and its ReLU. But Adam's steps
# have one length, whatever the size of a weight. So for their size, the small weights of wide layers change faster than
# those of narrow ones. The cure: give every weight a size of 1, $w \sim N(0, 1)$. Scale it where it is **used**, in
# each forward pass:
#
# $$\hat w = c\, w \qquad c = \mathrm{gain} \big/ \sqrt n \qquad \mathrm{gain} = \sqrt 2$$
#
# The last layers take a gain of 1: no ReLU follows them.
#
# <details><summary>Hint 1</summary>
#
# Scale the weight in `forward`, not in the constructor. $n$ is how many numbers add up to one output.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `self.weight[0].numel()` is $n$. Then call `nn.functional.conv2d(input, weight, bias, padding=…)` with the scaled
# weight.
#
# </details>

# %% [markdown] lang="zh"
# ## 均衡學習率（equalized learning rate）
#
# 一層的每個輸出都是 $n$ 個數相加：輸入通道數 × kernel 的高 × kernel 的寬。He 的初始化讓權重的大小是 $\sqrt{2/n}$，訊號
# 經過這一層和它的 ReLU，大小就不會變。但是不管權重多大，Adam 每一步的長度都一樣。寬的層權重比較小，所以和自己的大小相
# 比，變得比窄的層快。解決的辦法：讓每個權重的大小都是 1，$w \sim N(0, 1)$。等到**用**它的時候才縮放，每次 forward 都做
# 一次：
#
# $$\hat w = c\, w \qquad c = \mathrm{gain} \big/ \sqrt n \qquad \mathrm{gain} = \sqrt 2$$
#
# 最後的層後面沒有 ReLU，gain 用 1。
#
# <details><summary>提示 1</summary>
#
# 在 `forward` 裡縮放權重，不要在建構子裡。$n$ 是有多少個數相加成一個輸出。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `self.weight[0].numel()` 就是 $n$。然後用縮放過的權重呼叫 `nn.functional.conv2d(input, weight, bias, padding=…)`。
#
# </details>


# %% todo="equalized_conv"
class EqualizedConv(nn.Module):
    def __init__(self, channels_in, channels_out, kernel, padding=0, gain=2**0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.padding, self.gain = padding, gain

    def forward(self, x):
        """The convolution of [N, C_in, H, W] with self.padding, its weight scaled by gain / √n; the bias is not."""
        ### BEGIN SOLUTION
        scale = self.gain / math.sqrt(self.weight[0].numel())
        return nn.functional.conv2d(x, self.weight * scale, self.bias, padding=self.padding)
        ### END SOLUTION


# %% check="equalized_conv"
def check_equalized_conv(Conv):
    repeatable = torch.Generator().manual_seed(3)
    parts = "keep the constructor as it is: forward uses self.weight, self.bias, self.padding and self.gain"

    def made(*arguments):
        with explained(parts):
            conv = Conv(*arguments)
        assert all(isinstance(getattr(conv, name, None), nn.Parameter) for name in ("weight", "bias")), parts
        return conv

    def check(channels_in, channels_out, kernel, padding, gain):
        conv = made(channels_in, channels_out, kernel, padding, gain)
        conv = conv.to(check_device()).double()  # new GPUs round floats
        with torch.no_grad():
            for weight in conv.parameters():
                weight.copy_(torch.randn(weight.shape, generator=repeatable))
        x = torch.randn(2, channels_in, 9, 6, generator=repeatable).to(check_device()).double()
        x, before = 1 * x.requires_grad_(), conv.weight.detach().clone()

        def scaled(scale, scale_bias=1.0):
            return lambda x, weight, bias: nn.functional.conv2d(x, weight * scale, bias * scale_bias, padding=padding)

        out = output_of(conv, x)
        assert torch.equal(conv.weight, before), "the weights should stay N(0, 1): scale them when used, not in place"
        right_size = 9 + 2 * padding - kernel + 1
        assert torch.is_tensor(out), f"it returns no tensor, but {type(out).__name__}"
        assert out.dim() == 4, f"{list(x.shape)} became {list(out.shape)}: return the map as the convolution gives it"
        assert out.shape[2] == right_size or out.shape[2] != 9 - kernel + 1, "pass self.padding on"
        n, root = channels_in * kernel**2, gain / math.sqrt(channels_in * kernel**2)
        mistakes = {
            "the weights are not scaled": scaled(1.0),
            "divide by the square root of n, not by n": scaled(gain / n),
            "divide by √n, do not multiply": scaled(gain * math.sqrt(n)),
            "n counts the kernel's places too, not the input channels alone": scaled(gain / math.sqrt(channels_in)),
            "n counts the input channels too, not the kernel's places alone": scaled(gain / kernel),
            "n has kernel × kernel places, not kernel": scaled(gain / math.sqrt(channels_in * kernel)),
            "n counts what goes into one output: input channels, not output channels": scaled(
                gain / math.sqrt(channels_out * kernel**2)
            ),
            "n counts what goes into one output, not all weights": scaled(gain / math.sqrt(channels_out * n)),
            "the gain is missing: the scale is gain / √n": scaled(1 / math.sqrt(n)),
            "√2 is this layer's gain only where nothing else is asked for: use self.gain": scaled(math.sqrt(2 / n)),
            "the gain is not under the root: the scale is gain / √n": scaled(math.sqrt(gain / n)),
            "the bias is scaled too: add it as it is": scaled(root, root),
            "the bias is missing": scaled(root, 0.0),
            "the bias is added twice": scaled(root, 2.0),
            "the scaled weight is that of an earlier call: scale at each": lambda x, weight, bias: nn.functional.conv2d(
                x, before * root, bias, padding=padding
            ),
        }
        with torch.no_grad():
            conv.weight.mul_(1.5)  # as a step of Adam would
        check_function(lambda x, weight, bias: conv(x), scaled(root), (x, conv.weight, conv.bias), mistakes)

    check(5, 3, 3, padding=2, gain=0.7)
    check(4, 6, 1, padding=0, gain=1.9)
    check(3, 7, 4, padding=1, gain=1.0)
    conv = made(50, 60, 3)  # large enough to tell a spread by its weights
    mean, spread, bias = conv.weight.mean(), conv.weight.std(), conv.bias
    assert abs(mean) < 0.05 and abs(spread - 1) < 0.05 and not bias.any(), (
        "weights start as N(0, 1), the bias as 0: leave the constructor as it is"
    )
    x = torch.randn(2, 50, 5, 5, generator=repeatable)
    right = nn.functional.conv2d(x, conv.weight * math.sqrt(2 / 450))
    defaults = "without padding and gain, they are 0 and √2: leave the constructor as it is"
    assert are_close([output_of(conv, x, shape=right.shape)], [right], 0.01), defaults
    done("equalized_conv")


check_equalized_conv(EqualizedConv)

# %% [markdown]
# ## The minibatch standard deviation
#
# $D$ sees one picture at a time, and cannot know that $G$ makes the same one again and again. So near its end it is
# told how much the batch varies. Take the standard deviation over the batch of each feature at each place. Average them
# to a single number. Every picture gets it as one more channel.
#
# $$s = \frac{1}{CHW} \sum_{c,h,w} \sqrt{\tfrac1N \textstyle\sum_n (x_{nchw} - \bar x_{chw})^2 + 10^{-8}}$$
#
# <details><summary>Hint 1</summary>
#
# From inside to outside: the deviation over the batch (dimension 0) of each feature at each place, then one mean of
# all.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `expand` the one number to `[N, 1, H, W]`, and join it with `torch.cat([x, …], 1)`.
#
# </details>

# %% [markdown] lang="zh"
# ## 小批次標準差（minibatch standard deviation）
#
# $D$ 一次只看一張圖片，不會知道 $G$ 一直在畫同一張。所以在 $D$ 接近最後一層的地方，告訴它這個批次裡有多少變化。每個位
# 置的每個特徵，都在批次上算一個標準差，再全部平均成一個數。把這個數當作多出來的一個通道，接在每張圖片上。
#
# $$s = \frac{1}{CHW} \sum_{c,h,w} \sqrt{\tfrac1N \textstyle\sum_n (x_{nchw} - \bar x_{chw})^2 + 10^{-8}}$$
#
# <details><summary>提示 1</summary>
#
# 由內往外算：先算每個位置的每個特徵在批次上（維度 0）的標準差，再把全部平均成一個數。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 用 `expand` 把這個數展開成 `[N, 1, H, W]`，再用 `torch.cat([x, …], 1)` 接起來。
#
# </details>


# %% todo="minibatch_stddev"
def minibatch_stddev(x):
    """Features [N, C, H, W] -> [N, C + 1, H, W]: the last channel is the mean standard deviation over the batch."""
    ### BEGIN SOLUTION
    spread = ((x - x.mean(0)).square().mean(0) + 1e-8).sqrt().mean()
    return torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], 1)
    ### END SOLUTION


# %% check="minibatch_stddev"
def check_minibatch_stddev(stddev):
    repeatable = torch.Generator().manual_seed(4)
    x = torch.randn(6, 5, 4, 3, generator=repeatable) * torch.rand(1, 5, 4, 3, generator=repeatable).mul(3)
    x = 1 * (x + torch.randn(1, 5, 4, 3, generator=repeatable)).to(check_device()).requires_grad_()
    out = output_of(stddev, x, shape=(6, 6, 4, 3))
    assert not torch.equal(out[:, 1:], x), "the features come first, as they are, and the new channel last"
    assert torch.equal(out[:, :5], x), "the features come first, as they are"
    assert torch.allclose(out[:, 5], out[:, 5].mean(), atol=1e-5), (
        "one number for the whole batch, the same at every place"
    )

    def told(spread):
        return lambda x: torch.cat([x, spread(x).expand(len(x), 1, *x.shape[2:])], 1)

    mistakes = {}
    for n, correction in (("N", 0), ("N − 1", 1)):  # which of them divides changes nothing in training
        fixed = {"correction": correction}
        mistakes |= {
            f"the variance (over {n}): take its root": told(lambda x, c=fixed: x.var(0, **c).mean()),
            f"first the root of each variance (over {n}), then the mean": told(
                lambda x, c=fixed: x.var(0, **c).mean().sqrt()
            ),
            f"this is the deviation (over {n}) of all numbers together: take that of each feature over the batch, "
            "dim 0, then the mean": told(lambda x, c=fixed: x.std(**c)),
            f"over the batch, dim 0, not dim 1 (over {n})": told(lambda x, c=fixed: x.std(1, **c).mean()),
            f"over the batch, dim 0, not over the places (over {n})": told(
                lambda x, c=fixed: x.std((2, 3), **c).mean()
            ),
            f"over the batch, dim 0, alone: each place has its own deviation (over {n})": told(
                lambda x, c=fixed: x.std((0, 2, 3), **c).mean()
            ),
        }
    mistakes["the mean is not subtracted: this is the root mean square"] = told(
        lambda x: x.square().mean(0).sqrt().mean()
    )
    mistakes["the mean of absolute values: take squares, and the root of their mean"] = told(
        lambda x: (x - x.mean(0)).abs().mean()
    )
    mistakes["the deviations are summed: take their mean"] = told(lambda x: x.std(0, correction=0).sum())
    with_N = told(lambda x: (x.var(0, correction=0) + 1e-8).sqrt().mean())
    with_N_minus_1 = told(lambda x: (x.var(0) + 1e-8).sqrt().mean())
    right = with_N_minus_1 if are_close([out[:, 5]], [with_N_minus_1(x)[:, 5]]) else with_N

    def new_channel(function):  # small beside the features: it is compared by itself
        return lambda x: function(x)[:, 5]

    wrong = {hint: new_channel(function) for hint, function in mistakes.items()}
    check_function(new_channel(stddev), new_channel(right), (x,), wrong)
    check_function(stddev, right, (x,), {})
    same = (3 * x[:1]).detach().expand(6, -1, -1, -1).clone().requires_grad_()
    (slope,) = weighted_slopes(stddev(1 * same), [same])
    assert slope.isfinite().all(), (
        "equal pictures have a gradient of NaN: add 1e-8 under the root, to the mean of (x − mean)². The mean of x² "
        "less the squared mean may round to less than 0"
    )
    done("minibatch_stddev")


check_minibatch_stddev(minibatch_stddev)

# %% [markdown]
# That was `averaging` *all*. *spatial* averages over the places only, which leaves one number per channel. *gpool* has
# one per channel too: the deviation over batch and places together. *flat* is the deviation of all numbers together.

# %% [markdown] lang="zh"
# 這是 `averaging` 設成 *all* 的做法。*spatial* 只在位置上平均，每個通道留下一個數。*gpool* 也是每個通道一個數，但是把
# 批次和位置放在一起算標準差。*flat* 把所有的數放在一起算一個標準差。


# %%
def with_stddev(x, averaging):
    """Features [N, C, H, W] with one more channel (all, flat) or C more (spatial, gpool)."""
    if averaging == "all":
        return minibatch_stddev(x)
    over = {"spatial": (0,), "gpool": (0, 2, 3), "flat": (0, 1, 2, 3)}[averaging]
    spread = ((x - x.mean(over, keepdim=True)).square().mean(over, keepdim=True) + 1e-8).sqrt()
    if averaging == "spatial":
        spread = spread.mean((2, 3), keepdim=True)  # [1, C, H, W] -> [1, C, 1, 1]
    return torch.cat([x, spread.expand(len(x), -1, *x.shape[2:])], 1)


# %% [markdown]
# ## The two networks
#
# All blocks are there from the start. The stage says which of them are used. A block that is not used has no gradient,
# and Adam leaves a weight without one alone. So it is as if the block had been added later, while optimizers, averages
# and checkpoints never change their shape. At $\alpha = 1$ the old way is not even computed.

# %% [markdown] lang="zh"
# ## 兩個網路
#
# 所有的區塊從一開始就在，由階段決定用哪些。沒用到的區塊沒有梯度，而 Adam 不會更新沒有梯度的權重。所以效果就像區塊是後
# 來才加的，但最佳化器、移動平均和檢查點的形狀都不會變。$\alpha = 1$ 的時候，舊的路徑連算都不算。

# %%
RESOLUTIONS = [4, 8, 16, 32, 64]


def channels_at(width):
    """Channels at 4×4, 8×8, …: `width` at 64×64, twice as many at each halving, and never more than 8 times."""
    return [min(8, 64 // resolution) * width for resolution in RESOLUTIONS]


def leaky(x):
    return nn.functional.leaky_relu(x, 0.2)


class GeneratorBlock(nn.Module):
    """Features [N, C_in, r, r] -> [N, C_out, r, r]."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first = EqualizedConv(channels_in, channels_out, 3, padding=1)
        self.second = EqualizedConv(channels_out, channels_out, 3, padding=1)

    def forward(self, x):
        return pixel_norm(leaky(self.second(pixel_norm(leaky(self.first(x))))))


class Generator(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, r, r], r as its stage says, about −1 … 1: there is no tanh at the end.

    In evaluation mode pixels are repeated to [N, 3, 64, 64], so that samples have one size at every stage.
    """

    def __init__(self, z_dim, width):
        super().__init__()
        channels = channels_at(width)
        self.stage = RESOLUTIONS[-1], 1.0  # resolution and α
        self.project = EqualizedConv(z_dim, channels[0] * 4 * 4, 1)
        self.blocks = nn.ModuleList(
            GeneratorBlock(channels[max(level - 1, 0)], channels[level]) for level in range(len(RESOLUTIONS))
        )
        self.to_rgb = nn.ModuleList(EqualizedConv(count, 3, 1, gain=1.0) for count in channels)

    def forward(self, z):
        resolution, alpha = self.stage
        level = RESOLUTIONS.index(resolution)
        x = self.project(pixel_norm(z[:, :, None, None]))  # [N, z_dim, 1, 1] -> [N, 8w · 16, 1, 1]
        x = self.blocks[0](pixel_norm(leaky(x.view(len(z), -1, 4, 4))))  # -> [N, 8w, 4, 4]
        for block in self.blocks[1 : level + 1]:
            smaller, x = x, block(double(x))  # [N, C_in, r/2, r/2] -> [N, C_out, r, r]
        pictures = self.to_rgb[level](x)
        if alpha < 1:
            pictures = fade(double(self.to_rgb[level - 1](smaller)), pictures, alpha)
        return pictures if self.training else nn.functional.interpolate(pictures, RESOLUTIONS[-1])


class DiscriminatorBlock(nn.Module):
    """Features [N, C_in, r, r] -> [N, C_out, r/2, r/2]."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first = EqualizedConv(channels_in, channels_in, 3, padding=1)
        self.second = EqualizedConv(channels_in, channels_out, 3, padding=1)

    def forward(self, x):
        return halve(leaky(self.second(leaky(self.first(x)))))


class Answer(nn.Module):
    """Features [N, C, 4, 4] -> any number, [N, 1, 1, 1]. Here D is told how much the batch varies."""

    def __init__(self, channels, averaging):
        super().__init__()
        self.averaging = averaging
        told = 1 if averaging in ("all", "flat") else channels
        self.first = EqualizedConv(channels + told, channels, 3, padding=1)
        self.second = EqualizedConv(channels, channels, 4)  # [N, C, 4, 4] -> [N, C, 1, 1]
        self.last = EqualizedConv(channels, 1, 1, gain=1.0)

    def forward(self, x):
        return self.last(leaky(self.second(leaky(self.first(with_stddev(x, self.averaging))))))


class Discriminator(nn.Module):
    """pictures [N, 3, r, r], r as its stage says -> any number [N]."""

    def __init__(self, width, averaging="all"):
        super().__init__()
        channels = channels_at(width)
        self.stage = RESOLUTIONS[-1], 1.0  # resolution and α
        self.from_rgb = nn.ModuleList(EqualizedConv(3, count, 1) for count in channels)
        self.blocks = nn.ModuleList(
            [
                Answer(channels[0], averaging),
                *(DiscriminatorBlock(channels[level], channels[level - 1]) for level in range(1, len(RESOLUTIONS))),
            ]
        )
        self.register_buffer("on_reals", torch.zeros(()))  # a running mean of its answers for reals

    def forward(self, pictures):
        resolution, alpha = self.stage
        level = RESOLUTIONS.index(resolution)
        x = self.blocks[level](leaky(self.from_rgb[level](pictures)))  # [N, 3, r, r] -> [N, C, r/2, r/2]
        if alpha < 1:
            x = fade(leaky(self.from_rgb[level - 1](halve(pictures))), x, alpha)
        for block in reversed(self.blocks[:level]):
            x = block(x)  # … -> [N, 8w, 4, 4] -> [N, 1, 1, 1]
        return x.flatten()


# %% [markdown]
# ## The losses
#
# Growing asks for no loss of its own. Least squares ([Mao et al., 2017](https://arxiv.org/abs/1611.04076)) is quick:
# $D$ should answer 1 for reals and 0 for fakes, and $G$ wants a 1,
#
# $$L_D = \tfrac12\,\mathbb E_x\big[(D(x) - 1)^2\big] + \tfrac12\,\mathbb E_z\big[D(G(z))^2\big] \qquad
#   L_G = \tfrac12\,\mathbb E_z\big[(D(G(z)) - 1)^2\big]$$
#
# It breaks down when $D$ is so sure that its answers for reals reach 1 and stay. The cure: let $d$ be the running mean
# of those answers. Add noise of the size $0.2 \cdot \max(0, d - 0.5)^2$ to the reals. The surer $D$ is, the harder they
# are to tell from fakes. (The paper multiplies the inputs of all of $D$'s layers by such noise.)
#
# The other loss is `wgan-gp`: 04's, and the paper's first choice. A small pull $\epsilon\, \mathbb E_x[D(x)^2]$ keeps
# $D$ from drifting. By the minibatch standard deviation, each answer of $D$ depends a little on the other pictures. The
# penalty sums all answers, so it takes their slope together.

# %% [markdown] lang="zh"
# ## 損失
#
# 漸進式成長不需要自己的損失。最小平方（least squares，[Mao et al., 2017](https://arxiv.org/abs/1611.04076)）算得
# 快：$D$ 應該對真圖回答 1，對假圖回答 0；$G$ 要的是 1：
#
# $$L_D = \tfrac12\,\mathbb E_x\big[(D(x) - 1)^2\big] + \tfrac12\,\mathbb E_z\big[D(G(z))^2\big] \qquad
#   L_G = \tfrac12\,\mathbb E_z\big[(D(G(z)) - 1)^2\big]$$
#
# 如果 $D$ 太有把握，對真圖的回答到了 1 就不再變，訓練就會垮掉。解決的辦法：設 $d$ 是這些回答的移動平均，然後給真圖加上
# 大小是 $0.2 \cdot \max(0, d - 0.5)^2$ 的雜訊。$D$ 越有把握，真圖就越難和假圖區分。（論文的做法，是把 $D$ 每一層的輸入
# 乘上這種雜訊。）
#
# 另一個損失是 `wgan-gp`：它就是 04 的損失，也是論文的首選。再加上很小的一項 $\epsilon\, \mathbb E_x[D(x)^2]$，$D$ 的值
# 就不會越飄越遠。現在 $D$ 的每個回答，都會受到同批次其他圖片的一點影響。梯度懲罰先把這些回答相加，所以它算的是全部合起
# 來的斜率。


# %%
def least_squares_D(D, real, fake):
    noise_size = 0.2 * (D.on_reals - 0.5).clamp(min=0) ** 2
    d_real, d_fake = D(real + noise_size * torch.randn_like(real)), D(fake)
    D.on_reals.lerp_(d_real.detach().mean(), 0.1)  # 0.9 of the old mean, 0.1 of the new
    return ((d_real - 1).square().mean() + d_fake.square().mean()) / 2


def least_squares_G(d_fake):
    return (d_fake - 1).square().mean() / 2


def wgan_gp_D(D, real, fake, penalty, drift):
    d_real, d_fake = D(real), D(fake)
    loss = d_fake.mean() - d_real.mean()
    return loss + penalty * gradient_penalty(D, real, fake) + drift * d_real.square().mean()


def wgan_gp_G(d_fake):
    return -d_fake.mean()


def make_losses(settings):
    """The losses (D, real, fake) -> scalar and D(G(z)) -> scalar that settings.loss names."""
    return {
        "least squares": (least_squares_D, least_squares_G),
        "wgan-gp": (partial(wgan_gp_D, penalty=settings.penalty, drift=settings.drift), wgan_gp_G),
    }[settings.loss]


def discriminator_step(D, G, optimizer_D, real, z, loss_of_D):
    """One step of D on reals [N, 3, r, r] and on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    loss = loss_of_D(D, real, G(z).detach())
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss


def generator_step(D, G, optimizer_G, z, loss_of_G):
    """One step of G on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    loss = loss_of_G(D(G(z)))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss


# %% [markdown]
# ## Training
#
# What $D$ sees has the resolution of the stage. Reals are shrunk to it, and faded like the fakes. Samples come from
# `G_ema`, a running average of $G$'s weights. They are enlarged to 64×64 by repeating pixels, so that you see them
# grow.

# %% [markdown] lang="zh"
# ## 訓練
#
# $D$ 看到的圖片，解析度由階段決定。真圖縮小到這個解析度，也和假圖一樣淡入。樣本來自 `G_ema`，也就是 $G$ 的權重的移動平
# 均。樣本用重複像素的方法放大到 64×64，讓你看到它們怎麼長大。


# %%
def grow(step, settings, networks, optimizer_G, optimizer_D):
    """Brings networks and learning rates to the stage after `step` steps. Returns resolution, α and batch size."""
    resolution, alpha = stage(step, settings.hold, settings.fade)
    for network in networks:
        network.stage = resolution, alpha
    level = RESOLUTIONS.index(resolution)
    for optimizer, lr in ((optimizer_G, settings.lr_G), (optimizer_D, settings.lr_D)):
        for group in optimizer.param_groups:
            group["lr"] = lr * settings.lr_share[level]
    return resolution, alpha, max(1, round(settings.batch_size * settings.batch_share[level]))


def save_row(run, resolution):
    """Keeps a row of samples from the last step of a resolution."""
    row = picture_grid(sample(run.G_ema, run.z[:8]))
    path = run.folder / f"samples/last_of_{resolution:02d}.png"
    atomic_write(path, partial(row.save, format="PNG"))
    print(f"{resolution}×{resolution} is done after step {run.step}")


def growth_of(run):
    """One picture of the rows that `save_row` kept, and of one by G_ema as it is now. Saves growth.png."""
    rows = [Image.open(path).convert("RGB") for path in sorted(run.folder.glob("samples/last_of_*.png"))]
    rows.append(picture_grid(sample(run.G_ema, run.z[:8])))
    growth = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        growth.paste(row, (0, number * row.height))
    atomic_write(run.folder / "growth.png", partial(growth.save, format="PNG"))
    return growth


def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    faces = load_faces(settings, device)  # uint8 [N, 3, 64, 64]
    G = place(Generator(settings.z_dim, settings.width), settings, device, half=False)  # 1e-8 is 0 in half precision
    D = place(Discriminator(settings.width, settings.averaging), settings, device, half=False)
    loss_of_D, loss_of_G = make_losses(settings)
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas)
    run = Run(settings, G, D, optimizer_G=optimizer_G, optimizer_D=optimizer_D)
    to_stage = partial(grow, settings=settings, networks=(G, D, run.G_ema))
    to_stage = partial(to_stage, optimizer_G=optimizer_G, optimizer_D=optimizer_D)
    to_stage(max(run.step - 1, 0))  # where the last step was made: samples may come before the next one

    for step, real in run.steps(faces):  # real is [batch_size, 3, 64, 64] in −1 … 1
        resolution, alpha, count = to_stage(step - 1)
        real = as_sharp(real[:count], resolution, alpha)  # -> [count, 3, resolution, resolution]
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise(count), loss_of_D))
        if step % settings.n_critic == 0:
            with frozen(D):  # no time for gradients of weights that stay as they are
                run.log(loss_G=generator_step(D, G, optimizer_G, run.noise(count), loss_of_G))
            run.update_average()
        if stage(step, settings.hold, settings.fade)[0] != resolution:  # this was its last step
            save_row(run, resolution)
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
run = launch(train, settings, one_process=True)  # the deviation over a batch needs the whole of it

# %% [markdown]
# ## What it learned
#
# A new block shows in the losses: they jump where it comes in, and settle while it is held.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# 從損失看得出新的區塊：它進來的時候損失會跳一下，維持的時候又穩定下來。

# %%
plot_losses(run)


# %% [markdown]
# ## How it grew
#
# One row per resolution, of the same z at its last step. Look at what stays from row to row. Pose and colours are
# settled at 8×8 and 16×16 already, and later blocks draw into them.

# %% [markdown] lang="zh"
# ## 它怎麼長大
#
# 每個解析度一列，是同樣的 z 在這個解析度最後一步的樣子。看看一列一列下來，有什麼沒變。姿勢和顏色在 8×8 和 16×16 就定
# 了，後來的區塊只是往裡面畫細節。

# %%
show(growth_of(run))

# %% [markdown]
# ## Your submission
#
# 1,000 pictures `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz` in RUN, the folder of this
# training. The cell below prints where they are. Score them on the computer that has this project:
# `python -m grader score RUN/submission.tgz`.
#
# An earlier checkpoint may be better. `python -m grader history RUN --pack best` puts the best one into
# `RUN/submission.tgz`: score it by the same command. The folder of pictures keeps the last one.

# %% [markdown] lang="zh"
# ## 你要繳交的檔案
#
# 1,000 張 64×64 的圖片 `1.jpg` … `1000.jpg`，放在一個資料夾裡，也打包成沒有子資料夾的 `submission.tgz`，放進這次訓練的
# 資料夾 RUN。下面的儲存格會印出它們在哪裡。在裝了這個專案的電腦上，用 `python -m grader score RUN/submission.tgz` 替它
# 們評分。
#
# 更早的檢查點可能更好：用 `python -m grader history RUN --pack best`，就能把最好的一個放進 `RUN/submission.tgz`，再用同
# 一個指令評分。圖片的資料夾裡還是最後一個。

# %%
pictures = write_submission(run)

# %% [markdown]
# ## Your score
#
# The cells below score what you trained here. On a GPU you get FID. It compares with up to 10,000 of your training
# faces, by pytorch-fid's Inception network (91 MB, downloaded). AFD is the share of pictures in which lbpcascade finds
# a face. If the grader is installed, it measures FD-ImageNet, and AFD by a detector of its own, and says which tier you
# pass. If this machine lacks something, a line says what.
#
# Compare FID with FID only. The course's site has another scale, and no factor converts one to the other.

# %% [markdown] lang="zh"
# ## 你的分數
#
# 下面的儲存格替你在這裡訓練的結果評分。FID 在 GPU 上計算，拿生成的圖片和訓練用的人臉（最多 10,000 張）比較，用的是
# pytorch-fid 的 Inception 網路（91 MB，從網路下載）。AFD 是 lbpcascade 找得到臉的圖片所佔的比例。如果裝了評分程式
# grader，它會量 FD-ImageNet，也會用自己的偵測器量 AFD，然後說你通過哪個等級。這台機器缺什麼，會印出一行說明。
#
# FID 只能和 FID 比。課程網站用的是另一種尺度，兩者之間沒有換算的倍數。

# %%
from kit.score import score_run

score_run(run)

# %% [markdown]
# ## When it looks wrong
#
# Most settings cannot change within a `run`: set another one. To train on in the same `run`, raise `steps` and run the
# notebook again. A preset with `hours` needs no change for that.
#
# | you see | cause | what to do |
# |---|---|---|
# | `loss_D` → 0, `loss_G` grows to 0.5 (least squares) | $D$ tells all fakes from reals | lower `lr_D` |
# | `loss_G` → 0 (least squares) | $D$ learns too little, or does not see the new block | raise `lr_D`; run the check \
#   of `fade` again |
# | `loss_D` grows as a resolution fades in | learning rates that suit 4×4 are too high for 32×32 | lower the last \
#   two numbers of `lr_share` |
# | one face repeated | mode collapse | run the check of `minibatch_stddev` again; take an earlier checkpoint |
# | noise at a new resolution | the block has just come: this is normal while α rises | wait until it is held |
# | `loss_D` is far below 0 (`wgan-gp`) | normal while it grows: a picture has 48 numbers at 4×4, 12,288 at 64×64, and \
#   all count. Later: `penalty` is under 10, or $G$ is too slow | wait 500 steps; then set `penalty` to 10, or raise \
#   `lr_G` |

# %% [markdown] lang="zh"
# ## 結果不對勁時
#
# 大部分的設定一改，筆記本就會停下來：把 `run` 也換成別的資料夾，重新訓練。想用同一個 `run` 接著訓練，就調高 `steps`，再
# 執行一次筆記本；有 `hours` 的設定組不用改。
#
# | 你看到 | 原因 | 怎麼辦 |
# |---|---|---|
# | `loss_D` → 0，`loss_G` 升到 0.5（least squares） | 真圖和假圖，$D$ 全都分得出來 | 調低 `lr_D` |
# | `loss_G` → 0（least squares） | $D$ 學得太少，或是看不到新的區塊 | 調高 `lr_D`；再執行一次 `fade` 的檢查 |
# | 新的解析度淡入時，`loss_D` 一直變大 | 適合 4×4 的學習率，對 32×32 太大 | 調低 `lr_share` 的最後兩個數 |
# | 一直重複同一張臉 | 模式崩潰（mode collapse） | 再執行一次 `minibatch_stddev` 的檢查；用更早的檢查點 |
# | 新的解析度有雜訊 | 區塊剛加進來：α 上升的時候很正常 | 等到淡入結束 |
# | `loss_D` 遠低於 0（`wgan-gp`） | 長大的時候很正常：64×64 的圖片有 12,288 個數（4×4 只有 48 個），距離是全部合起來 \
#   算的。後來還是這樣的話，是 `penalty` 小於 10，或 $G$ 太慢 | 等 500 步；還是這樣，就把 `penalty` 設成 10，或調高 \
#   `lr_G` |
