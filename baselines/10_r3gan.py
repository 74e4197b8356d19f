# %% [markdown]
# # 10 · R3GAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | a modern GAN without tricks: a loss that compares pairs, two gradient penalties, and residual \
#   blocks without normalisation |
# | **You write** | `relativistic_losses`, `zero_centred_penalty`, `discriminator_step`, `ResidualBlock` |
# | **Time** | `cpu`: 12 minutes on one CPU core, for **Strong** or **Boss**. `cpu_long`: 1½ hours on one, for \
#   **Boss**. `demo`, for `make demo`: 3 minutes on two. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours on any GPU. \
#   On an H100 `t4_1h` passed **Boss** with `hours` set to nine minutes and `ema` to 0.998. `course`: 29 minutes on an \
#   H200, computed from steps per second. `large`: not measured |
# | **Tier** | **Boss**: {{Boss}} |

# %% [markdown] lang="zh"
# # 10 · R3GAN
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 不靠訣竅的現代 GAN：成對比較的損失、兩個梯度懲罰、沒有正規化的殘差區塊 |
# | **你要寫** | `relativistic_losses`、`zero_centred_penalty`、`discriminator_step`、`ResidualBlock` |
# | **時間** | `cpu`：一個 CPU 核心 12 分鐘，能過 **Strong** 或 **Boss**。`cpu_long`：一個 CPU 核心 1 個半小時， \
#   能過 **Boss**。`demo`（給 `make demo` 用）：兩個核心 3 分鐘。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 \
#   小時。在 H100 上，`t4_1h` 把 `hours` 設成九分鐘、`ema` 設成 0.998，就過了 **Boss**。`course`：H200 上 29 分鐘 \
#   （由每秒步數換算）。`large`：還沒量過 |
# | **等級** | **Boss**：{{Boss}} |

# %% [markdown]
# ![Eight samples after 1,200, 2,400 and 3,800 steps of preset cpu](results/10_r3gan_cpu/stages.jpg)
#
# *Preset `cpu` after 1,200, 2,400 and 3,800 steps, not selected. At the end the learning rates go down: lines close.*

# %% [markdown] lang="zh"
# ![設定組 cpu 訓練 1,200、2,400、3,800 步之後的八個樣本](results/10_r3gan_cpu/stages.jpg)
#
# *設定組 `cpu` 訓練 1,200、2,400、3,800 步之後，沒有挑選過。最後學習率降低，線條就接起來了。*

# %% [markdown]
# Many people think that a GAN needs a bag of tricks. **R3GAN**
# ([Huang et al., 2024](https://arxiv.org/abs/2501.05441)) shows the opposite. With the right loss, a plain network does
# better than StyleGAN2. The loss never looks at a picture alone. It compares a real picture with a fake one, and $D$
# only has to say which of the two is more real ([Jolicoeur-Martineau, 2018](https://arxiv.org/abs/1807.00734)):
#
# $$L_D = \mathbb E_{x, z}\big[\operatorname{softplus}\big(-(D(x) - D(G(z)))\big)\big] \qquad
#   L_G = \mathbb E_{x, z}\big[\operatorname{softplus}\big(-(D(G(z)) - D(x))\big)\big]$$
#
# In 01 $D$ draws one line between all reals and all fakes. $G$ may push all its fakes over this line at one place, and
# then it has lost modes. Here each fake is compared with a real picture drawn at random. So $D$ needs a line around
# every real one, and every mode of the data counts. This loss alone does not converge. Two penalties mend that. They
# ask for a flat $D$, a slope of 0, where the reals are ($R_1$) and where the fakes are ($R_2$)
# ([Mescheder et al., 2018](https://arxiv.org/abs/1801.04406)):
#
# $$R_1 = \frac{\gamma_1}{2}\, \mathbb E_x\big[\lVert \nabla_x D(x) \rVert_2^2\big] \qquad
#   R_2 = \frac{\gamma_2}{2}\, \mathbb E_z\big[\lVert \nabla_{\tilde x} D(\tilde x) \rVert_2^2\big],
#   \quad \tilde x = G(z)$$
#
# So training needs no tricks, and the networks can be simple. They are stacks of residual blocks, as in modern
# classifiers: $x + W_3\, a(W_2 * a(W_1 x))$, where $W_1$ and $W_3$ are 1×1 convolutions, $W_2$ is a grouped 3×3
# convolution, and $a$ is a leaky ReLU. There is no normalisation. Instead $W_3$ starts at 0, and the others start small
# ([Fixup, Zhang et al., 2019](https://arxiv.org/abs/1901.09321)). Each change of size uses a low-pass filter. Samples
# come from averaged weights.

# %% [markdown] lang="zh"
# 很多人以為，訓練 GAN 少不了一大堆訣竅。**R3GAN**（[Huang et al., 2024](https://arxiv.org/abs/2501.05441)）告訴我們不
# 是這樣：損失用對了，普通的網路就能贏過 StyleGAN2。這個損失從不單獨看一張圖片，而是拿一張真圖和一張假圖比較。$D$ 只要
# 說哪一張比較真（[Jolicoeur-Martineau, 2018](https://arxiv.org/abs/1807.00734)）：
#
# $$L_D = \mathbb E_{x, z}\big[\operatorname{softplus}\big(-(D(x) - D(G(z)))\big)\big] \qquad
#   L_G = \mathbb E_{x, z}\big[\operatorname{softplus}\big(-(D(G(z)) - D(x))\big)\big]$$
#
# 在 01，$D$ 只在所有真圖和所有假圖之間畫一條界線。$G$ 可以把所有假圖都從同一個地方推過這條線，這樣就丟掉了一些模式
# （mode）。在這裡，每張假圖都和隨機抽到的一張真圖比較。$D$ 在每張真圖附近都要有界線，所以資料的每個模式都算數。但是只用
# 這個損失，訓練不會收斂，還要加上兩個懲罰。它們要 $D$ 在真圖那裡（$R_1$）和假圖那裡（$R_2$）都是平的，也就是斜率要是 0
# （[Mescheder et al., 2018](https://arxiv.org/abs/1801.04406)）：
#
# $$R_1 = \frac{\gamma_1}{2}\, \mathbb E_x\big[\lVert \nabla_x D(x) \rVert_2^2\big] \qquad
#   R_2 = \frac{\gamma_2}{2}\, \mathbb E_z\big[\lVert \nabla_{\tilde x} D(\tilde x) \rVert_2^2\big],
#   \quad \tilde x = G(z)$$
#
# 訓練不需要訣竅，網路也就可以很簡單：和現代的分類網路一樣，一個殘差區塊（residual block）接著一個。區塊是
# $x + W_3\, a(W_2 * a(W_1 x))$，其中 $W_1$ 和 $W_3$ 是 1×1 卷積，$W_2$ 是分組的（grouped）3×3 卷積，$a$ 是 leaky
# ReLU。沒有正規化，改成從初始值下手：$W_3$ 從 0 開始，其他的從很小的值開始
# （[Fixup, Zhang et al., 2019](https://arxiv.org/abs/1901.09321)）。改變大小的地方，都有一個低通濾波器。樣本來自平均過
# 的權重。

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
from dataclasses import dataclass, replace

import torch
from kit.augment import augmentation
from kit.checks import (
    THROUGH_D,
    Waves,
    are_close,
    check_device,
    check_function,
    check_gradients,
    check_scalar,
    check_step,
    done,
    errors_in_words,
    has_values,
    output_of,
    right_gradients,
    stand_ins,
    tiny_batch,
    tiny_pair,
)
from kit.convolution import Conv2d, convolve
from kit.device import get_device, place, seed_everything
from kit.faces import as_input, load_faces
from kit.kinds import check_known, make_settings
from kit.launch import launch
from kit.norms import layer_norms
from kit.run import Run, frozen
from kit.samples import plot_losses, sample, write_submission
from torch import nn
from torch.nn import functional as F

# %% [markdown]
# ## Settings
#
# On a GPU take the longest of `t4_1h`, `t4_3h` and `t4_12h` that you have time for. At their end, and at that of `cpu`,
# `cpu_long` and `demo`, the learning rates go down (`cool_down`). On a CPU this gained as much as the second half of
# the steps. `course` and `large` do without it. FD-ImageNet is the grader's distance to real faces: lower is better,
# and unseen real faces have 73. On an H100, `t4_1h` with `hours=0.1455` and `ema=0.998` came to 129, in 11,728 steps on
# 22,000 faces. Among them are the faces that FD-ImageNet compares with. On an H200, 5,000 steps with rates of 2e-4 and
# $\gamma$ = 1 gave 320. With nearly the settings of `t4_1h` they gave 183. One run each.

# %% [markdown] lang="zh"
# ## 設定
#
# 有 GPU 的話，在 `t4_1h`、`t4_3h`、`t4_12h` 裡，選時間夠用的、最長的一個。它們和 `cpu`、`cpu_long`、`demo` 一樣，最後學
# 習率會降低（`cool_down`）。在 CPU 上，這一段的效果和後半段的所有步數一樣大。`course` 和 `large` 沒有這一段。在 H100
# 上，`t4_1h` 加上 `hours=0.1455`、`ema=0.998`，用 22,000 張臉訓練 11,728 步，FD-ImageNet 是 129。這是評分程式量的、和真
# 實人臉的距離：越低越好，沒看過的真實人臉是 73；算這個距離用的臉，也在訓練的臉裡面。在 H200 上各訓練一次、5,000 步：用
# 學習率 2e-4、$\gamma$ = 1 是 320；用和 `t4_1h` 幾乎一樣的設定是 183。

# %% show=true
from kit.settings import Settings, t4_presets


# %%
@dataclass(frozen=True)
class R3GANSettings(Settings):
    run: str = "runs/r3gan"
    loss: str = "relativistic"  # or "non-saturating", that of 01
    r1: float = 1.0  # γ₁, the weight of the penalty on reals; 0 leaves it out
    r2: float = 1.0  # γ₂, the weight of the penalty on fakes; 0 leaves it out
    penalty_every: int = 1  # steps from one with penalties to the next, which count as many times there
    cool_down: float = 0.0  # the share of the training, at its end, over which both learning rates go down to 0
    augment: str = ""  # what D sees differently each time: "color,translation,cutout" or some of them; for few faces
    blocks: int = 1  # residual blocks at each size, in G and in D
    largest_G: int = 64  # the largest size at which G has blocks: 64, 32 or 16; large maps cost the most
    largest_D: int = 64  # the same for D
    group_width: int = 16  # channels in a group of a 3×3 convolution; 0 makes one group of all

    def __post_init__(self):
        check_known("loss", self.loss, ("relativistic", "non-saturating"))
        check_known("largest_G", self.largest_G, (64, 32, 16))
        check_known("largest_D", self.largest_D, (64, 32, 16))


SLOW = R3GANSettings(width=32, lr_G=2e-4, lr_D=2e-4, beta1=0.0, beta2=0.99, ema=0.999, steps=50 * 1115)
SLOW = replace(SLOW, checkpoint_every=2230)
COURSE = replace(SLOW, lr_G=7e-4, lr_D=7e-4, r1=0.1, r2=0.1)  # the paper has time for 20 million pictures
PRESETS = t4_presets(COURSE, cool_down=0.5, largest_D=32)
PRESETS["large"] = replace(SLOW, width=96, blocks=2, batch_size=256, ema=0.9996)  # as deep as the paper's
FASTER = {"batch_size": 8, "lr_G": 1e-3, "lr_D": 1e-3, "penalty_every": 4, "cool_down": 1 / 3}
CPU = replace(COURSE, width=16, largest_D=32, **FASTER)
PRESETS["cpu"] = replace(CPU, steps=3800, ema=0.995, checkpoint_every=600)  # 12 minutes on one CPU core
PRESETS["cpu_long"] = replace(CPU, batch_size=16, steps=15_000, ema=0.997, checkpoint_every=1000)  # an hour and a half
DEMO = replace(CPU, width=8, r1=0.3, r2=0.3, ema=0.99, seed=1)
PRESETS["demo"] = replace(DEMO, steps=2200, checkpoint_every=550)  # three minutes on two CPU cores

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"augment": "color,translation,cutout"}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The loss
#
# $D$ gives each picture any number, its score. There are as many reals as fakes, so the first real makes a pair with
# the first fake, and so on. Only the difference of a pair counts.
#
# <details><summary>Hint 1</summary>
#
# Subtract first, then `F.softplus`, then the mean over the pairs.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $D$ wants `real - fake` to be large, so it minimises the softplus of its negative. $G$ wants the opposite.
#
# </details>

# %% [markdown] lang="zh"
# ## 損失
#
# $D$ 給每張圖片一個分數，可以是任何數。真圖和假圖一樣多，所以第一張真圖配第一張假圖，第二張配第二張，依此類推。算數的
# 只有一對裡面的差。
#
# <details><summary>提示 1</summary>
#
# 先相減，再 `F.softplus`，最後把每一對的結果平均起來。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# $D$ 要 `real - fake` 越大越好，所以把這個差加上負號，取 softplus，再最小化。$G$ 要的正好相反。
#
# </details>


# %% todo="relativistic_losses"
def relativistic_loss_D(real, fake):
    """D's loss, a scalar, of its scores of reals [N] and of fakes [N]."""
    ### BEGIN SOLUTION
    return F.softplus(fake - real).mean()
    ### END SOLUTION


def relativistic_loss_G(real, fake):
    """G's loss, a scalar, of D's scores of reals [N] and of fakes [N]."""
    ### BEGIN SOLUTION
    return F.softplus(real - fake).mean()
    ### END SOLUTION


# %% check="relativistic_losses"
def check_relativistic_losses(loss_D, loss_G):
    def loss(want):
        """The right loss of how far each picture of a pair is ahead, and the usual wrong ones."""
        return F.softplus(-want).mean()

    def mistakes(ahead, who, above):
        """{hint: wrong loss}. `ahead`(real, fake) is what should be large."""

        def ragan(r, f):
            return loss(ahead(r, f.mean())) + loss(ahead(r.mean(), f))

        return {
            f"the sign is wrong: {who} should be small where {above}; or does fake come before real?": lambda r, f: (
                loss(-ahead(r, f))
            ),
            "each score stands alone here, as in 01: subtract the two of a pair first": lambda r, f: (
                F.softplus(-ahead(r, 0 * f)).mean() + F.softplus(-ahead(0 * r, f)).mean()
            ),
            "the softplus is missing: a pair that is far apart already should cost nothing": lambda r, f: (
                -ahead(r, f).mean()
            ),
            "this is the hinge: take the softplus": lambda r, f: (1 - ahead(r, f)).relu().mean(),
            "this is relu: take the softplus": lambda r, f: (-ahead(r, f)).relu().mean(),
            "this is the sigmoid: take the softplus, which is −log of the sigmoid": lambda r, f: (
                (-ahead(r, f)).sigmoid().mean()
            ),
            "this is log of the sigmoid without its minus": lambda r, f: F.logsigmoid(ahead(r, f)).mean(),
            "this is the other loss with a minus, which saturates: take the softplus of the difference the other way "
            "round": lambda r, f: -F.softplus(ahead(r, f)).mean(),
            "this is the square of the difference: take the softplus": lambda r, f: (1 - ahead(r, f)).square().mean(),
            "the mean comes too early: take the softplus of each pair": lambda r, f: F.softplus(-ahead(r, f).mean()),
            "this is RaGAN: compare each score with its partner, not with the mean of the other side": ragan,
            "this is RaGAN, halved: compare each score with its partner, not with the mean of the other side": (
                lambda r, f: ragan(r, f) / 2
            ),
            "a score is compared with the mean of the other side: compare it with its partner": lambda r, f: F.softplus(
                -ahead(r, f.mean())
            ).mean(),
            "a score is compared with the mean of the reals: compare it with its partner": lambda r, f: F.softplus(
                -ahead(r.mean(), f)
            ).mean(),
            "each real meets each fake: a pair is one of each, at the same place of the batch": lambda r, f: F.softplus(
                -ahead(r[:, None], f[None])
            ).mean(),
            "take the mean over the pairs, not the sum": lambda r, f: F.softplus(-ahead(r, f)).sum(),
            "the loss is halved": lambda r, f: F.softplus(-ahead(r, f)).mean() / 2,
            f"only the fakes count: {who} needs D's scores of reals too": lambda r, f: F.softplus(
                -ahead(0 * r, f)
            ).mean(),
            f"only the reals count: {who} needs D's scores of fakes too": lambda r, f: F.softplus(
                -ahead(r, 0 * f)
            ).mean(),
        }

    repeatable = torch.Generator().manual_seed(3)
    for count, size in ((5, 1), (8, 1), (6, 4)):  # far apart, too
        real = size * (1.7 * torch.randn(count, generator=repeatable) + 0.6).to(check_device()).requires_grad_()
        fake = size * (0.8 * torch.randn(count, generator=repeatable) - 0.3).to(check_device()).requires_grad_()
        real, fake = 1 * real, 1 * fake  # what comes from D is no leaf
        no_part = real.detach()  # G has no influence on the scores of reals
        for name, function, scores, ahead, above in (
            ("relativistic_loss_D", loss_D, (real, fake), lambda r, f: r - f, "D(real) > D(fake)"),
            ("relativistic_loss_G", loss_G, (no_part, fake), lambda r, f: f - r, "D(fake) > D(real)"),
        ):
            try:
                check_function(
                    function, lambda r, f, ahead=ahead: loss(ahead(r, f)), scores, mistakes(ahead, name, above)
                )
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from None
    done("relativistic_losses")


check_relativistic_losses(relativistic_loss_D, relativistic_loss_G)

# %% [markdown]
# ## The two penalties
#
# $R_1$ and $R_2$ are one function, called once for the reals and once for the fakes. It gets $D$'s scores, and the
# pictures that they are of. `torch.autograd.grad(scores.sum(), pictures, create_graph=True)` gives the gradient with
# respect to each picture. Unlike 04, the slope should be 0, not 1. So there is no root, and nothing to mix.
#
# <details><summary>Hint 1</summary>
#
# `torch.autograd.grad` returns a tuple with one gradient `[N, 3, 64, 64]`. Its squares add up over all numbers of a
# picture. Last, take the mean over the pictures.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Square the gradient, sum over its dimensions 1, 2 and 3, and take the mean. The factor $\gamma / 2$ comes later, in
# $D$'s step.
#
# </details>

# %% [markdown] lang="zh"
# ## 兩個懲罰
#
# $R_1$ 和 $R_2$ 是同一個函式，對真圖呼叫一次，對假圖呼叫一次。它的輸入是圖片，還有 $D$ 給這些圖片的分
# 數。`torch.autograd.grad(scores.sum(), pictures, create_graph=True)` 給你對每張圖片的梯度。和 04 不同，這裡斜率應該是
# 0，不是 1。所以不用開根號，也不用混合圖片。
#
# <details><summary>提示 1</summary>
#
# `torch.autograd.grad` 回傳一個 tuple，裡面是一個梯度 `[N, 3, 64, 64]`。先平方，把一張圖片裡所有的數加起來，再對圖片取
# 平均。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 把梯度平方，在第 1、2、3 維加總，再取平均。$\gamma / 2$ 等到 $D$ 的步驟再乘。
#
# </details>


# %% todo="zero_centred_penalty"
def zero_centred_penalty(scores, pictures):
    """The mean over the batch of ‖∇D(x)‖₂², a scalar, without γ / 2. scores [N] are D's, of pictures [N, 3, 64, 64]."""
    ### BEGIN SOLUTION
    (gradient,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)  # [N, 3, 64, 64]
    return gradient.square().sum((1, 2, 3)).mean()
    ### END SOLUTION


# %% check="zero_centred_penalty"
TAKE_FIRST = "autograd.grad returns a tuple with one gradient for each input: take its first"
USUAL_ERRORS = {  # a part of torch's words: ours
    "implicitly created only for scalar": "autograd.grad wants one number first, scores.sum(), and then the pictures",
    "backward through the graph a second time": "the graph of D's scores is gone: create_graph=True keeps it",
    "not have been used in the graph": "the gradient is that of the scores with respect to `pictures` as they are: no "
    "copy, and no detach()",
    "differentiated Tensors does not require grad": "the gradient is that of the scores with respect to `pictures` as "
    "they are: no copy, and no detach()",
    "does not require grad": "the scores have lost their graph: is there a detach() or no_grad()?",
    "Mismatch in shape: grad_output": "grad_outputs needs the shape of the scores, [N]: ones_like(scores), or sum the "
    "scores",
    "Use .reshape": "numbers may lie in another order in memory: flatten(1) or reshape, not view",
    "'tuple'": TAKE_FIRST,
    "not tuple": TAKE_FIRST,
}


def check_zero_centred_penalty(penalty):
    repeatable = torch.Generator().manual_seed(10)
    scales = torch.linspace(0.05, 1.3, 6).view(-1, 1, 1, 1)
    x = (torch.randn(6, 3, 64, 64, generator=repeatable) * scales).to(check_device()).requires_grad_()
    D = Waves().to(check_device())

    def scores_of(x):
        return D(x.movedim(1, -1))  # so the gradient lies in memory as in training: [N, 64, 64, 3]

    (s,) = torch.autograd.grad(scores_of(x).sum(), x, create_graph=True)  # [6, 3, 64, 64]
    norms = s.flatten(1).norm(dim=1)  # [6]
    right = norms.square().mean()
    mistakes = {
        "the slope should be 0 here, not 1 as in 04: subtract nothing": lambda: (norms - 1).square().mean(),
        "this is the norm: take its square": lambda: norms.mean(),
        "the mean comes too early: square each picture's norm first": lambda: norms.mean().square(),
        "this is the mean over the pixels: sum over all numbers of a picture, then the mean over pictures": (
            lambda: s.square().mean()
        ),
        "this is the sum over the batch: take the mean over the pictures": lambda: s.square().sum(),
        "this is the gradient of the scores' mean: sum the scores, each has a picture of its own": (
            lambda: right / len(s) ** 2
        ),
        "this is the L1 norm, squared: the squares of the gradient add up": lambda: (
            s.flatten(1).abs().sum(1).square().mean()
        ),
        "this is the L1 norm: the squares of the gradient add up": lambda: s.flatten(1).abs().sum(1).mean(),
        "the largest number alone is not enough: the squares of all add up": lambda: (
            s.flatten(1).abs().amax(1).square().mean()
        ),
        "the gradient is not squared": lambda: s.flatten(1).sum(1).mean(),
        "the sum is squared: square first, then sum": lambda: s.flatten(1).sum(1).square().mean(),
        "this is the square of the square": lambda: norms.square().square().mean(),
        "the ½ of γ / 2 is already in: it belongs to D's step": lambda: right / 2,
        "γ / 2 is already in: it belongs to D's step": lambda: settings.r1 / 2 * right,
        "the sign is wrong: the penalty is never negative": lambda: -right,
    }
    scores, before = scores_of(x), x.detach().clone()
    found = output_of(penalty, scores, x, meanings=USUAL_ERRORS)
    assert not any(one.grad is not None for one in (x, *D.parameters())), (
        "backward() leaves gradients where they do not belong: use torch.autograd.grad"
    )
    assert torch.equal(before, x), "it changes the pictures: leave them as they are"
    check_scalar(found)
    if not are_close([found], [right]):
        for hint, wrong in mistakes.items():
            assert not are_close([found], [wrong()]), hint
        factor = (found / right).item()
        multiple = factor > 0 and are_close(right_gradients(found, D), [factor * g for g in right_gradients(right, D)])
        assert not multiple, (
            f"the penalty is {factor:.4g} times as large as it should be: leave γ to D's step, sum the "
            "squares over each picture, and take the mean over the pictures"
        )
        raise AssertionError(
            f"the penalty is {found.item():.4f}, and should be {right.item():.4f}: square the gradient, sum over each "
            "picture, and take the mean over the pictures"
        )
    gradients, wanted = right_gradients(found, D), right_gradients(right, D)
    assert has_values(gradients), "the penalty has no gradient for D's weights: create_graph=True, and no detach()"
    assert are_close(gradients, wanted), (
        "the penalty is right, but its gradient for D's weights is not: is there a detach() or item() on the way?"
    )
    done("zero_centred_penalty")


check_zero_centred_penalty(zero_centred_penalty)

# %% [markdown]
# ## The two steps
#
# $D$'s step minimises $L_D + R_1 + R_2$. One pass through $D$ gives the scores for the loss and for the penalty. For
# that, call `requires_grad_()` on the pictures before $D$ sees them. `loss_D` comes as an argument, so that you can
# train with another loss later.
#
# <details><summary>Hint 1</summary>
#
# `real.detach().requires_grad_()` is the same picture, and it asks for a gradient. The fakes need the same.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add `r1 / 2` times the penalty of the reals' scores, and `r2 / 2` times that of the fakes' scores. With `if r1:` a
# penalty of weight 0 costs no time.
#
# </details>

# %% [markdown] lang="zh"
# ## 兩個訓練步驟
#
# $D$ 的步驟要最小化 $L_D + R_1 + R_2$。圖片只經過 $D$ 一次，得到的分數，損失和懲罰都用得到。所以圖片送進 $D$ 之前，就
# 要先呼叫 `requires_grad_()`，才算得出對圖片的梯度。`loss_D` 是傳進來的引數，這樣你之後可以換別的損失來訓練。
#
# <details><summary>提示 1</summary>
#
# `real.detach().requires_grad_()` 是同樣的圖片，但是可以對它算梯度。假圖也要這樣做。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 用真圖的分數算懲罰，乘以 `r1 / 2` 加上去；用假圖的分數算懲罰，乘以 `r2 / 2` 加上去。寫成 `if r1:`，權重是 0 的懲罰就
# 不花時間。
#
# </details>


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z, loss_D, r1, r2):
    """One step of D on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim]: loss_D(scores of reals, scores of
    fakes), with `r1` / 2 times the penalty on reals and `r2` / 2 times that on fakes. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    real, fake = real.detach().requires_grad_(), G(z).detach().requires_grad_()
    real_scores, fake_scores = D(real), D(fake)  # [N] each
    loss = loss_D(real_scores, fake_scores)
    if r1:
        loss = loss + r1 / 2 * zero_centred_penalty(real_scores, real)
    if r2:
        loss = loss + r2 / 2 * zero_centred_penalty(fake_scores, fake)
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    def measure(scores, pictures):
        """No penalty, but as good to see γ by: a mean over the pictures, too. Reals and fakes give other numbers."""
        return (0.05 * scores.square() + 0.2 * scores + 0.3).sum() / len(pictures)

    called = []

    def stand_in(scores=None, pictures=None, *more, **named):
        called.append(True)
        assert torch.is_tensor(scores) and torch.is_tensor(pictures) and not more and not named, (
            "call zero_centred_penalty(scores, pictures)"
        )
        assert scores.dim() == 1 and pictures.dim() == 4, (
            "zero_centred_penalty wants D's scores [N], then the pictures [N, 3, 64, 64]"
        )
        assert pictures.requires_grad, "the pictures must ask for a gradient before D sees them: requires_grad_()"
        assert scores.requires_grad, "the scores have lost their graph: no detach() or no_grad() around D"
        (slope,) = torch.autograd.grad(scores.sum(), pictures, retain_graph=True, allow_unused=True)
        assert has_values([slope]), (  # of one pass for both, the slope for the other half is there, and 0
            "scores and pictures do not belong together: the penalty wants D(x) and the very x that D saw"
        )
        assert len(scores) <= len(pictures), (
            f"zero_centred_penalty gets {len(scores)} scores, and {len(pictures)} pictures: give it the scores of "
            "these pictures alone"
        )
        return measure(scores, pictures)

    def pairs(real, fake):
        """A loss that is not the notebook's, so that one written out by hand shows."""
        assert real.dim() == fake.dim() == 1, "loss_D takes D's scores, [N] of reals and [N] of fakes, and no pictures"
        return (0.7 * fake - 1.1 * real).sigmoid().mean() + 0.1 * (real * fake).mean()

    pairs.__qualname__ = "loss_D"  # which Python names when its arguments do not fit

    def parts(D, G, real, z):
        r, f = D(real), D(G(z))
        return pairs(r, f), measure(r, real), measure(f, G(z)), r, f

    def wrong(formula):
        """formula(loss, penalty on reals, penalty on fakes, γ₁, γ₂) as a loss like `right`."""
        return lambda D, G, real, z, _, r1, r2: formula(*parts(D, G, real, z)[:3], r1, r2)

    right = wrong(lambda loss, P1, P2, r1, r2: loss + r1 / 2 * P1 + r2 / 2 * P2)
    mistakes = {
        "the ½ is missing: r1 / 2 and r2 / 2": wrong(lambda loss, P1, P2, r1, r2: loss + r1 * P1 + r2 * P2),
        "both penalties count half of what they should: the weights are r1 / 2 and r2 / 2, and each is a mean over "
        "its own N pictures: give it N scores and their own N pictures": wrong(
            lambda loss, P1, P2, r1, r2: loss + r1 / 4 * P1 + r2 / 4 * P2
        ),
        "r1 belongs to the reals, r2 to the fakes: they are swapped": wrong(
            lambda loss, P1, P2, r1, r2: loss + r2 / 2 * P1 + r1 / 2 * P2
        ),
        "the weights r1 / 2 and r2 / 2 are missing": wrong(lambda loss, P1, P2, r1, r2: loss + P1 + P2),
        "only the ½ is there: the arguments r1 and r2 over 2": wrong(
            lambda loss, P1, P2, r1, r2: loss + P1 / 2 + P2 / 2
        ),
        "the penalty on fakes has no part in the gradient: add r2 / 2 times it": wrong(
            lambda loss, P1, P2, r1, r2: loss + r1 / 2 * P1
        ),
        "the penalty on reals has no part in the gradient: add r1 / 2 times it": wrong(
            lambda loss, P1, P2, r1, r2: loss + r2 / 2 * P2
        ),
        "both penalties are on the reals": wrong(lambda loss, P1, P2, r1, r2: loss + (r1 + r2) / 2 * P1),
        "both penalties are on the fakes": wrong(lambda loss, P1, P2, r1, r2: loss + (r1 + r2) / 2 * P2),
        "both penalties have the weight r1: that on the fakes has r2": wrong(
            lambda loss, P1, P2, r1, r2: loss + r1 / 2 * (P1 + P2)
        ),
        "both penalties have the weight r2: that on the reals has r1": wrong(
            lambda loss, P1, P2, r1, r2: loss + r2 / 2 * (P1 + P2)
        ),
        "γ is that of the settings, whatever the arguments r1 and r2 say": wrong(
            lambda loss, P1, P2, r1, r2: loss + settings.r1 / 2 * P1 + settings.r2 / 2 * P2
        ),
        "the penalties are subtracted: they should be small, and the loss is minimised, so add them": wrong(
            lambda loss, P1, P2, r1, r2: loss - r1 / 2 * P1 - r2 / 2 * P2
        ),
        f"only the penalties count: add loss_D(scores of reals, scores of fakes), {THROUGH_D}": wrong(
            lambda loss, P1, P2, r1, r2: r1 / 2 * P1 + r2 / 2 * P2
        ),
        "the sign of loss_D is wrong: it is minimised": wrong(
            lambda loss, P1, P2, r1, r2: r1 / 2 * P1 + r2 / 2 * P2 - loss
        ),
        "the arguments of loss_D are swapped: the reals' scores come first": lambda D, G, real, z, _, r1, r2: (
            pairs(*parts(D, G, real, z)[:2:-1]) + r1 / 2 * measure(D(real), real) + r2 / 2 * measure(D(G(z)), G(z))
        ),
        "the loss is the relativistic one, whatever `loss_D` says: call loss_D": lambda D, G, real, z, _, r1, r2: (
            F.softplus(D(G(z)) - D(real)).mean() + r1 / 2 * measure(D(real), real) + r2 / 2 * measure(D(G(z)), G(z))
        ),
    }
    with stand_ins(step, zero_centred_penalty=stand_in):
        for r1, r2, hint in (
            (7.3, 2.1, "the penalties have no part in the gradient: add them as tensors"),
            (0.0, 3.7, "with r1 = 0 the penalty on fakes must stay: is it under `if r1:`?"),
            (1.3, 0.0, "with r2 = 0 the penalty on reals must stay: is it under `if r2:`?"),
            (0.0, 0.0, ""),
        ):
            called.clear()
            try:
                remarks = check_step(
                    step,
                    right,
                    {hint: wrong(lambda loss, P1, P2, r1, r2: loss)} | mistakes,
                    pair=lambda: tiny_pair(probability=False),
                    batch=lambda r1=r1, r2=r2: (*tiny_batch(), pairs, r1, r2),
                )
            except AssertionError as error:
                if not (r1 or r2):  # as most steps have it where penalty_every is over 1
                    raise AssertionError(f"with r1 = r2 = 0 D still learns from loss_D: {error}") from None
                if not called and "the gradient at" in str(error):
                    raise AssertionError(
                        "call zero_centred_penalty(scores, pictures) by this name, once for the reals and once for the "
                        "fakes"
                    ) from None
                raise
        if called:
            remarks += ["zero_centred_penalty is called while its weight is 0: `if r1:` is faster"]
        check_step(  # a gradient longer than 1, to which 02 clips
            *(step, right, mistakes),
            pair=lambda: tiny_pair(probability=False, sign=20),
            batch=lambda: (*tiny_batch(), pairs, 7.3, 2.1),
        )
    done("discriminator_step", remarks)


check_discriminator_step(discriminator_step)

# %% [markdown]
# $G$'s step needs reals too, as its loss compares pairs. It gets no penalty. `losses_of` gives the loss above, or
# that of 01 to compare it with.

# %% [markdown] lang="zh"
# $G$ 的步驟也需要真圖，因為它的損失也是成對比較。它沒有懲罰。`losses_of` 給你上面的損失，或是 01 的損失，讓你比較。


# %%
def generator_step(D, G, optimizer_G, real, z, loss_G):
    """One step of G on the fakes of z [N, z_dim], each beside one of the real pictures [N, 3, 64, 64]. Returns its
    loss, a scalar."""
    with torch.no_grad():  # G has no influence on the scores of reals
        real_scores = D(real)
    loss = loss_G(real_scores, D(G(z)))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss


def non_saturating_loss_D(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_loss_G(real, fake):
    return F.softplus(-fake).mean()


def losses_of(name):
    """(D's loss, G's loss) of a name."""
    return {
        "relativistic": (relativistic_loss_D, relativistic_loss_G),
        "non-saturating": (non_saturating_loss_D, non_saturating_loss_G),
    }[name]


# %% [markdown]
# ## The residual block
#
# The block adds something to what comes in. A 1×1 convolution goes to more channels, a 3×3 convolution mixes
# neighbours, and a 1×1 convolution goes back. The 3×3 one is grouped: each group of channels sees only itself, which
# costs little, so that there can be many channels. A leaky ReLU of slope 0.2 follows the first two. Nothing follows the
# last.
#
# Without normalisation, the first weights decide whether training starts. In a deep network every block that adds makes
# the numbers larger. So the last convolution starts at 0: at first the block does nothing. The other two start with
# He's weights times a `gain` under 1. `convolution` below does that. With gain 0 its weights are 0.

# %% [markdown] lang="zh"
# ## 殘差區塊
#
# 這個區塊在輸入上加一點東西。先用 1×1 卷積增加通道，再用 3×3 卷積混合相鄰的像素，最後用 1×1 卷積變回原來的通道數。3×3
# 卷積是分組的：每一組通道只看得到自己這一組。這樣算得快，所以可以用很多通道。前兩個卷積後面各有一個斜率 0.2 的 leaky
# ReLU，最後一個卷積後面什麼都沒有。
#
# 沒有正規化的時候，訓練能不能開始，就看一開始的權重。網路很深，而每個區塊都加一點東西，數值就會越來越大。所以最後一個
# 卷積從 0 開始：一開始，區塊什麼都不做。另外兩個卷積用 He 的初始化，再乘以小於 1 的 `gain`。下面的 `convolution` 就是
# 這樣做的。gain 是 0，權重就是 0。


# %%
def convolution(channels_in, channels_out, kernel, groups=1, gain=1.0):
    """A convolution that keeps the size. Its weights are normal with the standard deviation gain · √(2 / inputs)."""
    layer = Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, groups=groups)
    nn.init.normal_(layer.weight, 0, gain * math.sqrt(2 / layer.weight[0].numel()))
    nn.init.zeros_(layer.bias)
    return layer


# %% [markdown]
# The block keeps the shape of what comes in. Write both of its functions.
#
# <details><summary>Hint 1</summary>
#
# `convolution(channels, inner, 1, gain=gain)` is the first. `groups` belongs to the second. The last has gain 0.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `F.leaky_relu(…, 0.2)` after the first and after the second. Then the last, and `x +` it.
#
# </details>

# %% [markdown] lang="zh"
# 輸入是什麼形狀，區塊的輸出就是什麼形狀。它的兩個函式都由你來寫。
#
# <details><summary>提示 1</summary>
#
# 第一個是 `convolution(channels, inner, 1, gain=gain)`。`groups` 用在第二個。最後一個的 gain 是 0。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 第一個和第二個後面都用 `F.leaky_relu(…, 0.2)`。接著是最後一個，然後用 `x +` 加上它的輸出。
#
# </details>


# %% todo="ResidualBlock"
class ResidualBlock(nn.Module):
    """x [N, channels, H, W] -> the same shape. `inner` channels inside, in `groups` groups."""

    def __init__(self, channels, inner, groups, gain):
        super().__init__()
        ### BEGIN SOLUTION
        self.expand = convolution(channels, inner, 1, gain=gain)
        self.mix = convolution(inner, inner, 3, groups, gain)
        self.project = convolution(inner, channels, 1, gain=0.0)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        inside = F.leaky_relu(self.expand(x), 0.2)  # [N, inner, H, W]
        inside = F.leaky_relu(self.mix(inside), 0.2)
        return x + self.project(inside)
        ### END SOLUTION


# %% check="ResidualBlock"
def check_ResidualBlock(make):
    usual = {"divisible by groups": "the fourth argument of convolution is `groups`: give the gain its name, gain=gain"}

    def built(channels, inner, groups, gain):
        torch.manual_seed(channels)
        with errors_in_words(lambda error: f"ResidualBlock{channels, inner, groups, gain} stops with: {error}", usual):
            block = make(channels, inner, groups, gain).to(check_device())
        kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
        assert not any(isinstance(module, kinds) for module in block.modules()), "there is no normalisation here"
        found = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
        assert len(found) == 3, (
            f"the block has {len(found)} convolutions, and should have 3: 1×1, grouped 3×3, 1×1. Make each by "
            "convolution(…), and keep it by a name of its own, self.…: in a list they are not found"
        )
        sizes = [one.kernel_size[0] for one in found]
        assert sorted(sizes) == [1, 1, 3], f"the kernels are {sizes}, and should be 1, 3, 1"
        mix = found[sizes.index(3)]
        first, last = (one for one in found if one is not mix)
        if first.in_channels == inner and last.in_channels == channels:  # made in another order than they are used
            first, last = last, first
        for name, one, want in (
            ("first", first, (channels, inner, 1)),
            ("3×3", mix, (inner, inner, groups)),
            ("last", last, (inner, channels, 1)),
        ):
            seen = one.in_channels, one.out_channels, one.groups
            assert seen == want, (
                "the {} convolution goes from {} to {} channels in {} groups, and should from {} to {} in {}".format(
                    name, *seen, *want
                )
            )
        return block, first, mix, last

    gain = 0.61
    block, first, mix, last = built(64, 96, 4, gain)
    assert not last.weight.any(), "the last convolution starts at 0: gain=0.0"
    assert last.bias is None or not last.bias.any(), "the bias of the last convolution starts at 0 too"
    for name, one, padding in (("first", first, 0), ("3×3", mix, 1), ("last", last, 0)):
        keeps = one.padding in ((padding, padding), "same") and one.stride == (1, 1)
        assert keeps, f"the {name} convolution keeps the size: padding={padding}, stride=1"
    for name, one in (("first", first), ("3×3", mix)):
        spread = one.weight.std().item()
        wanted = gain * math.sqrt(2 / one.weight[0].numel())
        assert spread, f"the {name} convolution starts at 0, so that nothing is ever learned: only the last one does"
        assert abs(spread / wanted - 1) < 0.05, (
            f"the weights of the {name} convolution have a standard deviation of {spread:.4f}, and should have "
            f"{wanted:.4f}: make it by convolution(…, gain=gain)"
        )

    block, first, mix, last = built(6, 10, 5, gain)
    repeatable = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for weight in block.parameters():
            weight.copy_(0.6 * torch.randn(weight.shape, generator=repeatable))

    def formula(a=0.2, skip=1.0, one=True, two=True, three=False):
        """Builds the block's function, or one that differs in a slope, its skip, or in which activations are there."""

        def act(x, there=True):
            return F.leaky_relu(x, a) if there else x

        return lambda x: skip * x + act(last(act(mix(act(first(x), one)), two)), three)

    mistakes = {
        "x is missing: the block adds to what comes in": formula(skip=0.0),
        "x counts twice": formula(skip=2.0),
        "x is subtracted: x + …": formula(skip=-1.0),
        "the slope of the leaky ReLU is 0.01: it is 0.2 here": formula(a=0.01),
        "this is ReLU: take the leaky ReLU with a slope of 0.2": formula(a=0.0),
        "there is no activation: without one, three convolutions are no more than one": formula(one=False, two=False),
        "the activation after the first convolution is missing": formula(one=False),
        "the activation after the 3×3 convolution is missing": formula(two=False),
        "there is an activation after the last convolution: nothing follows it": formula(three=True),
        "there is an activation after the last convolution, but none before it": formula(two=False, three=True),
        "there is an activation after the sum: x must go through as it is": lambda x: F.leaky_relu(formula()(x), 0.2),
        "there is an activation before the first convolution: the block begins with the convolution": lambda x: (
            x + last(F.leaky_relu(mix(F.leaky_relu(first(F.leaky_relu(x, 0.2)), 0.2)), 0.2))
        ),
    }
    scales = torch.tensor([0.3, 0.8, 1.3]).view(3, 1, 1, 1)
    x = (torch.randn(3, 6, 4, 7, generator=repeatable) * scales).to(check_device()).requires_grad_()
    check_function(block, formula(), (x,), mistakes)
    check_gradients(block(x), formula()(x), {"x": x, **dict(block.named_parameters())})
    done("ResidualBlock")


check_ResidualBlock(ResidualBlock)

# %% [markdown]
# ## The networks
#
# $G$ and $D$ mirror each other. $G$ begins with a map of 4×4 that it learns, and scales each of its channels by a
# number from $z$. Then it doubles the size four times. $D$ halves it four times, weighs each channel of the last map by
# a map of 4×4, and adds up.
#
# Sizes change with a filter. $G$ doubles by bilinear interpolation. Before $D$ takes every other pixel, it blurs with
# $[1, 3, 3, 1] / 8$ along rows and columns. Without a blur a thin line would come and go as it moves by a pixel
# (*aliasing*), and $D$'s gradient would make dots of it.
#
# With $L$ blocks the `gain` is $L^{-1/4}$, as Fixup has it for three convolutions per block. All groups have the same
# width, so the wide layers have more of them. Blocks on large maps cost the most, above all in $D$, which a penalty
# differentiates twice. They are worth it in $G$: without blocks at 64×64 each line breaks into dashes. Only `course`
# and `large` have them in $D$. In other presets $D$ begins with a strided convolution.

# %% [markdown] lang="zh"
# ## 兩個網路
#
# $G$ 和 $D$ 互為鏡像。$G$ 從一張學出來的 4×4 特徵圖開始，每個通道乘上一個由 $z$ 算出來的數。然後把大小加倍，做四
# 次。$D$ 把大小減半，做四次，再把最後的特徵圖每個通道都用一張 4×4 的權重加權，全部加起來。
#
# 改變大小的時候，都要用濾波器。$G$ 用雙線性內插加倍。$D$ 每兩個像素只留一個，所以先沿著列和行用 $[1, 3, 3, 1] / 8$ 模
# 糊。如果不模糊，一條細線只要移動一個像素，就會時有時無（混疊，*aliasing*）；$D$ 的梯度會讓細線變成一個個小點。
#
# 一共有 $L$ 個區塊時，`gain` 是 $L^{-1/4}$：這是 Fixup 的公式，用在有三個卷積的區塊。每一組的通道數都一樣，所以越寬的
# 層，組就越多。大特徵圖的區塊最花時間，$D$ 的尤其是，因為懲罰要對 $D$ 微分兩次。對 $G$ 來說很值得：在 64×64 沒有區塊，
# 每條線都會斷成一段一段。除了 `course` 和 `large`，所有設定組的 $D$ 在 64×64 都沒有區塊，從一個 stride 2 的卷積開始。

# %%
SIZES = {4: 8, 8: 8, 16: 4, 32: 2, 64: 1}  # size of a map: its channels, as multiples of the width


class Double(nn.Module):
    """x [N, channels_in, H, W] -> [N, channels_out, 2H, 2W]."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.layer = convolution(channels_in, channels_out, 1, gain=math.sqrt(0.5))  # keeps the variance

    def forward(self, x):
        return F.interpolate(self.layer(x), scale_factor=2, mode="bilinear", align_corners=False)


class Halve(nn.Module):
    """x [N, channels_in, H, W] -> [N, channels_out, H/2, W/2]."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.layer = convolution(channels_in, channels_out, 1, gain=math.sqrt(0.5))
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("blur", (row[:, None] * row).repeat(channels_in, 1, 1, 1))  # [channels_in, 1, 4, 4]

    def forward(self, x):
        return self.layer(convolve(x, self.blur, stride=2, padding=1, groups=len(self.blur)))


def blocks_of(settings, largest):
    """{size: its residual blocks as a module}, without any at sizes over the largest."""
    counts = {size: settings.blocks if size <= largest else 0 for size in SIZES}
    gain = max(1, sum(counts.values())) ** -0.25
    made = {}
    for size, count in counts.items():
        channels = settings.width * SIZES[size]
        groups = 2 * channels // math.gcd(2 * channels, settings.group_width or 2 * channels)
        made[size] = nn.Sequential(*(ResidualBlock(channels, 2 * channels, groups, gain) for _ in range(count)))
    return made


class Generator(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64], mostly in −1 … 1."""

    def __init__(self, settings):
        super().__init__()
        w, blocks = settings.width, blocks_of(settings, settings.largest_G)
        self.basis = nn.Parameter(torch.randn(8 * w, 4, 4))
        self.scales = nn.Linear(settings.z_dim, 8 * w, bias=False)
        nn.init.normal_(self.scales.weight, 0, settings.z_dim**-0.5)
        layers = [blocks[4]]  # [N, 8w, 4, 4]
        for size in (8, 16, 32, 64):
            layers += [Double(w * SIZES[size // 2], w * SIZES[size]), blocks[size]]
        last = convolution(w, 3, 1 if settings.largest_G == 64 else 3, gain=math.sqrt(0.5))
        self.layers = nn.Sequential(*layers, last)

    def forward(self, z):
        return self.layers(self.scales(z)[:, :, None, None] * self.basis)  # [N, 8w] -> [N, 8w, 4, 4] -> …


class Discriminator(nn.Module):
    """pictures [N, 3, 64, 64] -> their scores, any number [N]. It sees them augmented, if settings.augment says so."""

    def __init__(self, settings):
        super().__init__()
        w, blocks = settings.width, blocks_of(settings, settings.largest_D)
        self.augment = augmentation(settings.augment)
        if settings.largest_D == 64:
            layers = [convolution(3, w, 1, gain=math.sqrt(0.5)), blocks[64], Halve(w, 2 * w)]
        else:
            layers = [Conv2d(3, 2 * w, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for size in (32, 16, 8):
            layers += [blocks[size], Halve(w * SIZES[size], w * SIZES[size // 2])]
        self.layers = nn.Sequential(*layers, blocks[4])  # -> [N, 8w, 4, 4]
        self.basis = nn.Conv2d(8 * w, 8 * w, 4, groups=8 * w, bias=False)  # holds a weight per channel and place
        self.score = nn.Linear(8 * w, 1, bias=False)
        nn.init.normal_(self.basis.weight, 0, 0.25)
        nn.init.normal_(self.score.weight, 0, (8 * w) ** -0.5)

    def forward(self, pictures):
        maps = self.layers(self.augment(pictures))  # [N, 8w, 4, 4]
        return self.score((self.basis.weight[:, 0] * maps).sum((2, 3))).squeeze(1)  # [N, 8w] -> [N, 1] -> [N]


# %% [markdown]
# ## Training
#
# $D$ gets `half=False`: a penalty in half precision soon is NaN. Two penalties make $D$'s step the slow one.

# %% [markdown] lang="zh"
# ## 訓練
#
# $D$ 用 `half=False`：用半精度算懲罰，很快就會變成 NaN。因為有兩個懲罰，$D$ 的步驟比 $G$ 的慢。


# %%
def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    loss_D, loss_G = losses_of(settings.loss)
    faces = load_faces(settings, device)  # uint8 [N, 3, 64, 64]
    G = place(Generator(settings), settings, device)
    D = place(Discriminator(settings), settings, device, half=False)
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)
    run = Run(settings, G, D, optimizer_G=optimizer_G, optimizer_D=optimizer_D)

    for step, real in run.steps(faces):  # real is [batch_size, 3, 64, 64] in −1 … 1
        share = min(1, run.left / settings.cool_down) if settings.cool_down else 1
        for optimizer, rate in ((optimizer_G, settings.lr_G), (optimizer_D, settings.lr_D)):
            optimizer.param_groups[0]["lr"] = rate * share
        weight = settings.penalty_every if step % settings.penalty_every == 0 else 0
        r1, r2 = weight * settings.r1, weight * settings.r2
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise(), loss_D, r1, r2))
        if step % settings.norms_every == 0:
            run.record_norms(layer_norms(D))  # now: G's step would add its own gradients
        if step % settings.n_critic == 0:
            with frozen(D):  # no time for gradients of weights that stay as they are
                run.log(loss_G=generator_step(D, G, optimizer_G, real, run.noise(), loss_G))
            run.update_average()
    return run


# %% [markdown]
# To stop early, interrupt the kernel (■, or Ctrl-C) while the next cell runs. Training ends after its step, with
# samples and a checkpoint, and you can run the cells after it. Run that cell again to go on. To open the run later
# without more training, add `"steps": 1` to `overrides`.
#
# The end of a run with `cool_down` is the best place to stop. If you train on, the learning rates go
# up again, and pictures are good only at the end of that session.

# %% [markdown] lang="zh"
# 想提早結束，就在下一個儲存格執行的時候中斷核心（kernel；■，或 Ctrl-C）。訓練會做完目前這一步，存下樣本和檢查點，然後你
# 可以執行它後面的儲存格。再執行一次那個儲存格，就會接著訓練。之後想打開這次訓練、但不再訓練下去，就在 `overrides` 加上
# `"steps": 1`。
#
# 用了 `cool_down`，訓練結束的時候就是停下來最好的時機。接著訓練的話，學習率又會升高，要到那一次訓練的最後，圖片才會再
# 變好。

# %%
run = launch(train, settings)

# %% [markdown]
# ## What it learned
#
# Where $D$ cannot tell the two of a pair apart, both losses are $\log 2 = 0.69$. `loss_D`, penalties included, should
# be lower than that, and `loss_G` higher. They tell who is ahead, not how good the pictures are. Both should move
# little.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# 如果 $D$ 分不出一對裡面哪張是真的，兩個損失都是 $\log 2 = 0.69$。`loss_D` 連懲罰算在內，應該還是比它低；`loss_G` 應該
# 比它高。它們只說誰領先，不說圖片好不好。兩個都不應該有太大的變動。

# %%
plot_losses(run)

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
# | `loss_D` → 0 and `loss_G` grows without end | $D$ is steep: a penalty has no effect, or $\gamma$ is too small | \
#   run the checks of `zero_centred_penalty` and `discriminator_step` again; raise `r1` and `r2` |
# | both losses stay at 0.69, and samples are blurred | $\gamma$ is too large: $D$ is flat everywhere | lower `r1` and \
#   `r2` to a tenth |
# | a loss is NaN, or grows at once | the first steps are too large: no block starts at 0, or the rates are too high | \
#   run the check of `ResidualBlock` again; lower `lr_G` and `lr_D` |
# | one face repeated, “near repeats” rises | modes are lost | `loss` `"relativistic"`, both penalties on |
# | samples repeat training faces, and get worse late | few faces: $D$ knows them by heart | `augment` \
#   `"color,translation,cutout"` |
# | noise | with `ema`, the average is still young | train on, for 5 / (1 − `ema`) steps of $G$: 5,000 for \
#   0.999 |

# %% [markdown] lang="zh"
# ## 結果不對勁時
#
# 大部分的設定一改，筆記本就會停下來：把 `run` 也換成別的資料夾，重新訓練。想用同一個 `run` 接著訓練，就調高 `steps`，再
# 執行一次筆記本；有 `hours` 的設定組不用改。
#
# | 你看到 | 原因 | 怎麼辦 |
# |---|---|---|
# | `loss_D` → 0，`loss_G` 一直變大，停不下來 | $D$ 太陡：有一個懲罰沒有作用，或 $\gamma$ 太小 | 再執行一次 \
#   `zero_centred_penalty` 和 `discriminator_step` 的檢查；調高 `r1` 和 `r2` |
# | 兩個損失都停在 0.69，樣本很模糊 | $\gamma$ 太大：$D$ 到處都是平的 | 把 `r1` 和 `r2` 除以 10 |
# | 損失是 NaN，或一開始就變大 | 最初的幾步太大：沒有區塊從 0 開始，或學習率太高 | 再執行一次 `ResidualBlock` 的檢 \
#   查；調低 `lr_G` 和 `lr_D` |
# | 一直重複同一張臉，「近似重複」的比例上升 | 有些模式不見了 | `loss` 用 `"relativistic"`，兩個懲罰都打開 |
# | 樣本和訓練用的臉一樣，後來還越來越差 | 臉太少：$D$ 把它們背起來了 | `augment` 設成 `"color,translation,cutout"` |
# | 雜訊 | 如果用了 `ema`，移動平均還沒跟上，裡面還有一開始的權重 | 接著訓練，$G$ 要 5 / (1 − `ema`) 步：0.999 是 \
#   5,000 步 |

# %% [markdown]
# ## Going further
#
# **Take it apart.** Each part can be left out by a setting. Give every run a folder of its own (`run`), and compare the
# samples, “near repeats”, and the recall that the grader measures:
#
# | settings | what should follow |
# |---|---|
# | `{"r2": 0.0}` | nothing holds $D$ flat where the fakes are. At the start they lie far from the reals, where $R_1$ \
#   does not reach: gradients explode. In the paper such runs diverge. Ours, of 1,200 steps, did not |
# | `{"r1": 0.0}` | the same at the reals: $D$ grows steep there, and $G$ is driven past them. In 1,200 steps it did \
#   no harm |
# | `{"r1": 0.0, "r2": 0.0}` | $D$ wins, and `loss_G` grows. The losses circle, and nothing settles. You see it in \
#   five minutes: lines become loops, and all hair turns brown |
# | `{"loss": "non-saturating"}` | it converges, but modes are lost: less variety, lower recall. That takes longer \
#   than ten minutes |
# | `{"penalty_every": 4}` | `cpu`, `cpu_long` and `demo` have it. In the other presets the penalties then come at \
#   every fourth step, four times as strong ([Karras et al., 2020](https://arxiv.org/abs/1912.04958)): a step costs a \
#   quarter less on a CPU. After as many steps the pictures were as good at first, and worse later, in the one run \
#   that was compared |
# | `{"cool_down": 0.0}` | `course` and `large` have it. In the other presets the learning rates then stay as they are \
#   to the end: the pictures keep moving, with colours that come and go, and lines that break |
# | `{"largest_G": 32}` | no blocks at 64×64: lines become dashes |
# | `{"augment": "color,translation,cutout"}` | with thousands of faces or fewer, $D$ cannot learn them by heart, and \
#   training goes on longer. In ten minutes it did harm, with 12,000 faces and with 500 |
#
# The augmentation ([Zhao et al., 2020](https://arxiv.org/abs/2006.10738)) changes reals and fakes alike before $D$ sees
# them: their colours, their place, and a part that is cut out. It is differentiable, so $G$ learns through it, and does
# not learn to draw it.
#
# **What the paper does in addition.** It changes settings while it trains. For faces of 64×64, $\gamma$ goes from 2 to
# 0.2, and both rates go from 2e-4 to 5e-5 over 20 million pictures. $D$ sees more and more augmentation. Here only the
# rates go down, over the last part of the training (`cool_down`).

# %% [markdown] lang="zh"
# ## 更進一步
#
# **一個一個拿掉。** 每個部分都可以用設定拿掉。每次訓練都用不同的資料夾（`run`），再比較樣本、「近似重複」的比例，還有
# 評分程式量出來的召回率（recall）：
#
# | 設定 | 會怎麼樣 |
# |---|---|
# | `{"r2": 0.0}` | 在假圖那裡，沒有東西讓 $D$ 保持平坦。一開始假圖離真圖很遠，$R_1$ 管不到：梯度會爆炸。論文裡，這樣 \
#   的訓練會發散。我們訓練 1,200 步，沒有發散 |
# | `{"r1": 0.0}` | 真圖那裡也一樣：$D$ 在那裡變得很陡，$G$ 會被推過頭。1,200 步之內沒有變差 |
# | `{"r1": 0.0, "r2": 0.0}` | $D$ 贏了，`loss_G` 一直變大。損失繞著圈子走，怎麼樣都穩定不下來。五分鐘就看得到： \
#   線條變成圈圈，頭髮都變成棕色 |
# | `{"loss": "non-saturating"}` | 會收斂，但有些模式會不見：多樣性比較低，召回率也比較低。要比十分鐘更久才看得出來 |
# | `{"penalty_every": 4}` | `cpu`、`cpu_long`、`demo` 本來就是這樣。其他設定組會變成每四步才算一次懲罰，強度是四倍 \
#   （[Karras et al., 2020](https://arxiv.org/abs/1912.04958)）：在 CPU 上一步省下四分之一的時間。 \
#   在比較過的那一次訓練裡，同樣的步數，一開始圖片一樣好，後來比較差 |
# | `{"cool_down": 0.0}` | `course`、`large` 本來就是這樣。其他設定組的學習率會到最後都不變：圖片一直在變，顏色時有時 \
#   無，線條會斷 |
# | `{"largest_G": 32}` | 在 64×64 沒有區塊：線條變成一段一段 |
# | `{"augment": "color,translation,cutout"}` | 臉只有幾千張或更少的時候，用了它，$D$ 就背不起來，可以訓練得更久。有 \
#   12,000 張臉或只有 500 張臉，訓練十分鐘的話，用了它反而都比較差 |
#
# 資料擴增（augmentation，[Zhao et al., 2020](https://arxiv.org/abs/2006.10738)）在 $D$ 看到圖片之前，用同樣的方式改動
# 真圖和假圖：改顏色、移動位置、挖掉一塊。它可以微分，所以 $G$ 的梯度能穿過它；但 $G$ 不會學著去畫這些改動。
#
# **論文還做了什麼。** 論文一邊訓練，一邊改設定。訓練 64×64 的臉時，在 2,000 萬張圖片之內，$\gamma$ 從 2 降到 0.2，兩個
# 學習率都從 2e-4 降到 5e-5。$D$ 看到的擴增則越來越多。這裡只有學習率會降，
# 在訓練的最後一段（`cool_down`）。

# %% [markdown]
# **How steep is $D$?** The cell below is folded. It measures the slope of $D$ at reals and at fakes. With both
# penalties the two are small and alike. In a small training they were .52 and .47 after 600 steps, without $R_1$ .78
# and .72, without $R_2$ .58 and .59, and without both 1.10 and .78.

# %% [markdown] lang="zh"
# **$D$ 有多陡？** 下面的儲存格是摺疊的。它量 $D$ 在真圖和假圖那裡的斜率。兩個懲罰都有的話，兩個數都很小，也差不多
# 大。在一次小的訓練裡，600 步之後是 .52 和 .47，沒有 $R_1$ 是 .78 和 .72，沒有 $R_2$ 是 .58 和 .59，兩個都沒有是 1.10
# 和 .78。


# %% fold="The slope of D at reals and at fakes"
def slope(D, pictures):
    """The mean of ‖∇D(x)‖₂ over pictures [N, 3, 64, 64] in −1 … 1."""
    pictures = pictures.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(D(pictures).sum(), pictures)
    return gradient.flatten(1).norm(dim=1).mean().item()


count = settings.batch_size
faces = load_faces(settings, torch.device("cpu"))[:count].to(run.device)
fakes = sample(run.G_ema, run.z[:count]).to(run.device)
for name, some in {"reals": faces, "fakes": fakes}.items():
    print(f"slope of D at {name}: {slope(run.parts['D'], as_input(some)):.3f}")
