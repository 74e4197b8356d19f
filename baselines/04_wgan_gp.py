# %% [markdown]
# # 04 · WGAN with gradient penalty
#
# | In this notebook | |
# |---|---|
# | **You learn** | how a penalty bounds the slope instead of clipping, and what that does to the gradients (report, \
#   question 2) |
# | **You write** | `make_critic`, `gradient_penalty`, `discriminator_step` |
# | **Time** | `cpu`: 6 minutes on one CPU core, for **Simple**. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours \
#   on any GPU. `course`: 15 minutes on an H200, computed from steps per second |
# | **Tier** | **Strong**: {{Strong}} |

# %% [markdown] lang="zh"
# # 04 · 加上梯度懲罰的 WGAN（WGAN-GP）
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 懲罰怎麼代替裁剪來限制斜率，還有這對梯度有什麼影響（報告第 2 題） |
# | **你要寫** | `make_critic`、`gradient_penalty`、`discriminator_step` |
# | **時間** | `cpu`：一個 CPU 核心 6 分鐘，只能過 **Simple**。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 \
#   1、3、11.5 小時。`course`：H200 上 15 分鐘（由每秒步數換算） |
# | **等級** | **Strong**：{{Strong}} |

# %% [markdown]
# ![Eight samples after 250, 1,000 and 2,000 steps of preset cpu](results/04_wgan_gp_cpu/stages.jpg)
#
# *Preset `cpu` after 250, 1,000 and 2,000 steps, not selected: it starts slowly.*

# %% [markdown] lang="zh"
# ![設定組 cpu 訓練 250、1,000、2,000 步之後的八個樣本](results/04_wgan_gp_cpu/stages.jpg)
#
# *設定組 `cpu` 訓練 250、1,000、2,000 步之後，沒有挑選過：起步比較慢。*

# %% [markdown]
# Clipping bounds the critic's slope, but it cripples the critic. Most weights end at $\pm c$, so it can express only
# simple functions. On their way through the layers gradients fade or explode, unless $c$ is tuned with care; BatchNorm
# hides it (03). The slope may be 1 at most. The best critic has a slope of 1 nearly everywhere on the line from a fake
# to its real partner. So ask for a slope of 1 directly, between reals and fakes
# ([Gulrajani et al., 2017](https://arxiv.org/abs/1704.00028)):
#
# $$L_D = \mathbb E_z[D(G(z))] - \mathbb E_x[D(x)]
#   + \lambda\, \mathbb E_{\hat x}\big[(\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1)^2\big]
#   \qquad \hat x = \alpha x + (1 - \alpha)\, G(z), \;\; \alpha \sim U[0, 1]$$
#
# Here $\lambda = 10$, and each picture has one $\alpha$. Take the gradient with respect to the **picture**. Its norm is
# one number per picture, over all pixels and channels. The penalty is part of the loss, so its own gradient is needed
# too: `create_graph=True`.
#
# The penalty is computed for each picture by itself. BatchNorm would make $D$'s answer for one picture depend on all
# the others, so the critic takes InstanceNorm instead. No weight is clipped, so Adam works again, with $\beta_1 = 0$.
#
# You write the critic, the penalty, and $D$'s step. Watch the gradient norms. With 12 layers, the largest is less than
# ten times the smallest. In 03 without BatchNorm it is more than a hundred times. But this critic has InstanceNorm,
# which scales back as BatchNorm does. So the penalty is not the only reason: say so in your report. The score to beat
# is **Strong**.

# %% [markdown] lang="zh"
# 裁剪限制了評論家（critic）的斜率，但也讓評論家變得很弱。大部分的權重最後都停在 $\pm c$，所以它只能表示簡單的函數。除非
# $c$ 調得很仔細，梯度一層一層傳過去，不是消失就是爆炸；BatchNorm 會把它蓋住（03）。斜率最多是 1。而在假圖和它對應的真圖
# 的連線上，最好的評論家幾乎處處斜率都是 1。那就直接要求斜率是 1，就在真圖和假圖之間
# （[Gulrajani et al., 2017](https://arxiv.org/abs/1704.00028)）：
#
# $$L_D = \mathbb E_z[D(G(z))] - \mathbb E_x[D(x)]
#   + \lambda\, \mathbb E_{\hat x}\big[(\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1)^2\big]
#   \qquad \hat x = \alpha x + (1 - \alpha)\, G(z), \;\; \alpha \sim U[0, 1]$$
#
# 這裡 $\lambda = 10$，每張圖片各有一個 $\alpha$。梯度是對**圖片**的梯度；一張圖片的所有像素和通道合起來，算一個範數。
# 懲罰本身也是損失的一部分，所以還要能算懲罰的梯度：`create_graph=True`。
#
# 懲罰是每張圖片各算各的。BatchNorm 會讓 $D$ 對一張圖片的回答受到其他圖片影響，所以評論家改用 InstanceNorm。權重不再裁
# 剪，所以又能用 Adam 了，$\beta_1 = 0$。
#
# 評論家、懲罰、$D$ 的步驟都由你來寫。注意看梯度範數：用 12 層訓練，這裡最大的不到最小的十倍；03 拿掉 BatchNorm，會差到
# 一百倍以上。不過這裡的評論家有 InstanceNorm，和 BatchNorm 一樣會把大小調回來，所以原因不只是懲罰：報告裡要寫清楚。目標
# 是通過 **Strong**。

# %% [markdown]
# ## Before you start
#
# The next cells are folded. They hold what all notebooks share: settings, reading faces, checkpoints, samples, and the
# two networks of 01. You do not have to read them, but you can: open a cell by its title.

# %% [markdown] lang="zh"
# ## 開始之前
#
# 接下來的儲存格是摺疊的。裡面是所有筆記本共用的部分：設定、讀取人臉、檢查點、樣本，還有 01 的兩個網路。你不必讀，但可
# 以讀：點標題就會展開。標題和程式碼維持英文。

# %%
from dataclasses import dataclass, replace

import torch
from torch import nn
from kit.checks import (
    THROUGH_D,
    TinyG,
    Waves,
    are_close,
    check_critic,
    check_device,
    check_scalar,
    check_step,
    done,
    has_values,
    output_of,
    right_gradients,
    stand_ins,
    tiny_batch,
    tiny_pair,
)
from kit.device import get_device, place, seed_everything
from kit.faces import load_faces
from kit.kinds import make_settings
from kit.launch import launch
from kit.networks import Discriminator, Generator
from kit.norms import layer_norms
from kit.run import Run, frozen
from kit.samples import plot_losses, write_submission

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
class PenaltySettings(Settings):
    penalty: float = 10.0  # λ
    layers: int = 4  # layers of D before the last, 4 or more; those over 4 keep the size

    def __post_init__(self):
        if self.layers < 4:
            raise SystemExit(f"`layers` is {self.layers}: set it to 4 or more")


FASTER = {"lr_G": 4e-4, "lr_D": 4e-4, "n_critic": 2}  # the best of those that were tried on a CPU
COURSE = PenaltySettings(run="runs/wgan_gp", n_critic=5, beta1=0.0, beta2=0.9, steps=50 * 1115, checkpoint_every=2230)
PRESETS = t4_presets(COURSE, **FASTER)
PRESETS["cpu"] = replace(  # 6 minutes on one CPU core
    COURSE, steps=2000, batch_size=32, width=16, ema=0.99, checkpoint_every=250, **FASTER
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"layers": 10}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The critic
#
# As in 03 it has no Sigmoid, and now it has no BatchNorm: `nn.InstanceNorm2d` normalises each picture by itself. Let it
# learn a scale and a shift, `affine=True`, as BatchNorm does by default.
# `Discriminator(width, layers, norm, probability)` calls `norm` with a number of channels, so `norm` can be any
# function that returns a layer.
#
# <details><summary>Hint 1</summary>
#
# The signatures are `Discriminator(width, layers=4, norm=nn.BatchNorm2d, probability=True)` and
# `nn.InstanceNorm2d(num_features, eps=1e-05, momentum=0.1, affine=False)`. `Discriminator` calls `norm(channels)`, so
# it wants a function, not a layer.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Write a small function of `channels` that returns an `nn.InstanceNorm2d` with `affine=True`. Give the function itself
# to `Discriminator`, without calling it.
#
# </details>

# %% [markdown] lang="zh"
# ## 評論家
#
# 和 03 一樣沒有 Sigmoid，現在連 BatchNorm 也拿掉：`nn.InstanceNorm2d` 對每張圖片各自做正規化。請用 `affine=True`，讓它
# 學縮放和平移；BatchNorm 預設就會學。`Discriminator(width, layers, norm, probability)` 會用通道數呼叫 `norm`，所以只要
# 是會回傳一層的函式，都可以當 `norm`。
#
# <details><summary>提示 1</summary>
#
# 引數是這樣的：`Discriminator(width, layers=4, norm=nn.BatchNorm2d, probability=True)` 和
# `nn.InstanceNorm2d(num_features, eps=1e-05, momentum=0.1, affine=False)`。`Discriminator` 會呼叫 `norm(channels)`，所
# 以要給它函式，不是給它一層。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 寫一個小函式，輸入 `channels`，回傳 `affine=True` 的 `nn.InstanceNorm2d`。把函式本身交給 `Discriminator`，不要呼叫
# 它。
#
# </details>


# %% todo="make_critic"
def make_critic(settings):
    """A critic of settings.width and settings.layers, with InstanceNorm that learns a scale and a shift: pictures
    [N, 3, 64, 64] -> any number [N], each by itself."""

    ### BEGIN SOLUTION
    def norm(channels):
        return nn.InstanceNorm2d(channels, affine=True)

    return Discriminator(settings.width, settings.layers, norm, probability=False)
    ### END SOLUTION


# %% check="make_critic"
def check_make_critic(make):
    odd = replace(settings, width=5, layers=6)
    critic, pictures = check_critic(make, odd), tiny_batch()[0].requires_grad_()
    (slope,) = torch.autograd.grad(critic(pictures)[0], pictures)
    assert not slope[1:].any(), (
        "a picture's score depends on the rest of its batch: there is BatchNorm in the critic. Use InstanceNorm2d"
    )
    kinds = (nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
    norms = [module for module in critic.modules() if isinstance(module, kinds)]
    assert len(norms) >= odd.layers - 1, (
        f"the critic has {len(norms)} norm layers, and should have {odd.layers - 1}: give Discriminator a norm"
    )
    assert all([*norm.parameters()] for norm in norms), (
        "the norm learns no scale and no shift: pass affine=True, by its name"
    )
    done("make_critic")


check_make_critic(make_critic)

# %% [markdown]
# ## The penalty
#
# `torch.autograd.grad(outputs, inputs, create_graph=True)` gives the gradient with respect to the pictures. Sum $D$'s
# answers first. Each depends on its own picture alone, so the gradient of the sum holds the gradient of each.
#
# <details><summary>Hint 1</summary>
#
# Mix first: one $\alpha$ per picture, of the shape `[N, 1, 1, 1]`. The mixture needs `requires_grad_()`, as the
# gradient is taken for it.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.autograd.grad(D(mixed).sum(), mixed, create_graph=True)` gives a tuple with one gradient `[N, 3, 64, 64]`.
# Flatten it to `[N, 12288]`: one L2 norm per picture, then the distance to 1.
#
# </details>

# %% [markdown] lang="zh"
# ## 懲罰
#
# `torch.autograd.grad(outputs, inputs, create_graph=True)` 給你對圖片的梯度。先把 $D$ 的回答加起來。每個回答只和自己的
# 圖片有關，所以對總和取梯度，就得到每張圖片各自的梯度。
#
# <details><summary>提示 1</summary>
#
# 先混合：每張圖片一個 $\alpha$，形狀是 `[N, 1, 1, 1]`。混合出來的圖片要呼叫 `requires_grad_()`，因為梯度是對它取的。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `torch.autograd.grad(D(mixed).sum(), mixed, create_graph=True)` 回傳一個 tuple，裡面是一個梯度 `[N, 3, 64, 64]`。攤平
# 成 `[N, 12288]`，每張圖片算一個 L2 範數，再看它和 1 的距離。
#
# </details>

# %% todo="gradient_penalty"
from kit.gradient_penalty import gradient_penalty


# %% check="gradient_penalty"
class OnePlane(Waves):
    """Waves without the tanh: all pictures have one slope, wherever they lie."""

    def forward(self, pictures):
        return pictures.flatten(-3) @ self.directions.T @ self.heights  # [N], or a number for one alone


class Plane(OnePlane):
    """Each picture of a batch has a slope of its own, wherever it lies."""

    def forward(self, pictures):
        planes = super().forward(pictures)
        return planes * torch.linspace(0.5, 1.5, planes.numel(), device=planes.device).view_as(planes)


class Bowl(nn.Module):
    """D(x) = Σ w x³ / 3, over pixels with a weight each. Its slope at a pixel is w x², which tells what x is, and that
    of a mixture is no mixture of slopes."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 64, 64), weight))

    def forward(self, pictures):
        return (self.weight * pictures**3).sum((-3, -2, -1)) / 3


TAKE_FIRST = "autograd.grad returns a tuple with one gradient for each input: take its first"
USUAL_ERRORS = {  # a part of torch's words: ours
    "must match the size": "α needs the shape [N, 1, 1, 1], one number for each picture; N is len(real)",
    "implicitly created only for scalar": "autograd.grad wants one number: sum D's answers, D(x̂).sum()",
    "element 0 of tensors does not require grad": "D(x̂) has no gradient: is there a detach() or no_grad() around it?",
    "does not require grad": "x̂ must ask for a gradient before it goes into D: requires_grad_()",
    "flags of leaf variables": "fake may come with its graph, and then requires_grad = True stops: call "
    "requires_grad_()",
    "not have been used in the graph": "the gradient is that of D(x̂) with respect to x̂: D must be called with this x̂, "
    "after its requires_grad_()",
    "Mismatch in shape: grad_output": "grad_outputs needs the shape of D's answers, [N]: ones_like, or sum D's answers",
    "'tuple'": TAKE_FIRST,
    "not tuple": TAKE_FIRST,
}


def check_penalty(penalty, D, real, fake):
    """The value of a penalty, as a tensor. Usual errors end in a line that says what to do."""
    before = [pictures.clone() for pictures in (real, fake)]
    for weight in D.parameters():
        weight.grad = torch.ones_like(weight)
    value = output_of(penalty, D, real, fake, meanings=USUAL_ERRORS)
    assert D.training, "D stays in eval(): it has to learn"
    assert all(weight.requires_grad for weight in D.parameters()), "D's weights stay frozen: it has to learn"
    assert all(weight.grad is not None and (weight.grad == 1).all() for weight in D.parameters()), (
        "the gradients of D's weights change: use torch.autograd.grad, no backward() and no zero_grad()"
    )
    D.zero_grad()
    assert all(map(torch.equal, before, (real, fake))), "it changes the pictures: make x̂ a new tensor"
    check_scalar(value)
    return value


def check_gradient_penalty(penalty):
    repeatable = torch.Generator().manual_seed(10)
    scales = torch.linspace(0.05, 1.3, 6).view(-1, 1, 1, 1)
    x = (torch.randn(6, 3, 64, 64, generator=repeatable) * scales).to(check_device())
    D = Waves().to(check_device())

    def slopes(D):
        mixed = x.clone().requires_grad_()
        return torch.autograd.grad(D(mixed).sum(), mixed, create_graph=True)[0]  # [6, 3, 64, 64]

    def right(slope):
        return ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean()

    mistakes = {
        "this is the L1 norm: take the L2 norm, norm(2, dim=1)": lambda s: (
            (s.flatten(1).abs().sum(1) - 1) ** 2
        ).mean(),
        "this is the squared norm: take its root before you subtract 1": (
            lambda s: ((s.flatten(1).square().sum(1) - 1) ** 2).mean()
        ),
        "this is the root of the mean square: take the L2 norm, of the sum": (
            lambda s: ((s.flatten(1).square().mean(1).sqrt() - 1) ** 2).mean()
        ),
        "this is the largest value: take the L2 norm": lambda s: ((s.flatten(1).abs().amax(1) - 1) ** 2).mean(),
        "the norm should be 1, not 0: subtract 1 before squaring": lambda s: s.flatten(1).norm(dim=1).square().mean(),
        "slopes below 1 count too: leave out what makes them 0": (
            lambda s: ((s.flatten(1).norm(dim=1) - 1).relu() ** 2).mean()
        ),
        "slopes over 1 count too: leave out what makes them 0": (
            lambda s: ((1 - s.flatten(1).norm(dim=1)).relu() ** 2).mean()
        ),
        "the difference is not squared: (norm − 1)²": lambda s: (s.flatten(1).norm(dim=1) - 1).mean(),
        "the difference is not squared but made positive: (norm − 1)²": (
            lambda s: (s.flatten(1).norm(dim=1) - 1).abs().mean()
        ),
        "one norm over the whole batch: take one for each picture": lambda s: (s.norm() - 1) ** 2,
        "one norm for each pixel: flatten each picture, and take one norm of it": lambda s: (
            (s.norm(dim=1) - 1) ** 2
        ).mean(),
        "one norm for each channel: flatten each picture, and take one norm of it": (
            lambda s: ((s.flatten(2).norm(dim=2) - 1) ** 2).mean()
        ),
        "one norm for each row of pixels: flatten each picture, and take one norm of it": (
            lambda s: ((s.norm(dim=3) - 1) ** 2).mean()
        ),
        "the norms run over the batch: flatten(1) keeps it, and norm(2, dim=1) leaves one for each picture": (
            lambda s: ((s.flatten(1).norm(dim=0) - 1) ** 2).mean()
        ),
        "the mean comes too early: square each picture's difference first": (
            lambda s: (s.flatten(1).norm(dim=1).mean() - 1) ** 2
        ),
        "the mean comes before the square: square each picture's difference first": (
            lambda s: (s.flatten(1).norm(dim=1) - 1).abs().mean() ** 2
        ),
        "the mean comes before the root: take the norm of each picture first": (
            lambda s: (s.flatten(1).square().sum(1).mean().sqrt() - 1) ** 2
        ),
        "this is the sum over the batch: take the mean": lambda s: len(s) * right(s),
        "this is the gradient of the mean of D's answers: sum them, each has a picture of its own": (
            lambda s: right(s / len(s))
        ),
        "the penalty is halved": lambda s: right(s) / 2,
        "λ is already in: it belongs to the loss of D, not in here": lambda s: 10 * right(s),
        "settings.penalty is already in: it belongs to the loss of D": lambda s: settings.penalty * right(s),
    }
    expected, asked = right(slopes(D)), []
    hook = D.register_forward_pre_hook(lambda D, given: asked.extend(one.detach() for one in given))
    found = check_penalty(penalty, D, x, x.clone())  # wherever between them: x̂ = x
    hook.remove()
    assert found.isfinite(), (
        "the penalty is no number where real and fake are the same picture: is there a root of less than 0, or a "
        "division by their distance? Square before you sum, and take D's gradient at x̂"
    )
    if not are_close([found], [expected]):
        outside = (
            "x̂ is not between real and fake: where they are the same picture, α real + (1 − α) fake is that picture"
        )
        if not are_close([check_penalty(penalty, D, x, x.clone())], [found]):  # another α, and not the same
            at_x = [one.shape == x.shape and are_close([one], [x]) for one in asked]
            assert not at_x or not all(at_x), (
                "x̂ is right, but the gradient is not that of D(x̂) with respect to x̂: give autograd.grad the x̂ that "
                "went into D"
            )
            raise AssertionError(outside)
        for hint, wrong in mistakes.items():
            assert not are_close([found], [wrong(slopes(D))]), hint
        plane = Plane().to(check_device())
        assert not are_close([check_penalty(penalty, plane, x, x.clone())], [right(slopes(plane))]), outside
        raise AssertionError(
            f"the penalty is {found.item():.4f}, and should be {expected.item():.4f}: flatten each picture's gradient, "
            "take one norm of it, subtract 1, square, and take the mean"
        )
    gradients, wanted = right_gradients(found, D), right_gradients(expected, D)
    assert has_values(gradients), "the penalty has no gradient for D's weights: create_graph=True, and no detach()"
    assert are_close(gradients, wanted), (
        "the penalty is right, but its gradient for D's weights is not: is there a detach() or item() on the way?"
    )
    check_penalty(penalty, D, x, x.clone().requires_grad_() * 1)  # a fake that is not detached
    plane, other = OnePlane().to(check_device()), x.flip(0) / 2  # so x̂ does not matter
    assert are_close([check_penalty(penalty, plane, x, other)], [right(slopes(plane))]), (
        "return the penalty alone: there is something else in it that depends on real and fake"
    )
    check_alpha(penalty)
    done("gradient_penalty")


def check_alpha(penalty, count=32, calls=32):
    """Checks the α of a penalty whose value is right. A Bowl's gradient tells them, whatever way they are drawn."""
    weight = 0.0045
    D = Bowl(weight).to(check_device())
    columns = torch.arange(64, device=check_device()) % count
    own = (columns == torch.arange(count, device=columns.device).view(-1, 1)).float()  # [N, 64]: its own columns
    own = own.view(count, 1, 1, 64).expand(-1, 3, 64, -1)  # 0 in all others' columns
    real, fake = 1 * own, own / 2  # so there x̂ = (1 + α) / 2

    def drawn():
        """α [N, 384] of one call, at each pixel of a picture's own columns."""
        (gradient,) = right_gradients(check_penalty(penalty, D, real, fake), D)
        # P = mean over i of (n_i − 1)² with n_i² = Σ w² x̂⁴, so that ∂P/∂w · N / 2w = (n_i − 1) / n_i · x̂⁴ =: r
        r = torch.stack([gradient[one.bool()] for one in own]) * count / (2 * weight)  # [N, 384]
        n = (1 - (1 + 4 * weight**2 * r.sum(1, keepdim=True)).clamp(min=0).sqrt()) / 2  # from Σ w² r = (n − 1) n
        return 2 * (r * n / (n - 1)).clamp(min=0) ** 0.25 - 1

    with torch.random.fork_rng([0] if check_device().type == "cuda" else []):  # on two GPUs the default warns
        torch.manual_seed(0)
        alpha = torch.stack([drawn() for _ in range(calls)]).cpu()  # [calls, N, 384]
    assert alpha.isfinite().all(), "the penalty of some pictures has a gradient of NaN: is there a root of 0?"
    assert alpha.abs().max() > 0.02, "x̂ is always the fake: mix real and fake"
    assert (alpha - 1).abs().max() > 0.02, "x̂ is always the real picture: mix real and fake"
    assert alpha.amin() > -0.02 and alpha.amax() < 1.02, (
        f"α goes from {alpha.amin():.1f} to {alpha.amax():.1f}: x̂ lies between real and fake, with α in [0, 1]"
    )
    assert (alpha.amax(2) - alpha.amin(2)).max() < 0.02, "one α per pixel or channel: take one for each picture"
    alpha = alpha.mean(2)  # [calls, N]
    assert (alpha.amax(0) - alpha.amin(0)).max() > 0.02, (
        "x̂ is the same at every call: mix real and fake, with an α drawn anew"
    )
    assert (alpha.amax(1) - alpha.amin(1)).max() > 0.02, "one α for the whole batch: take one for each picture"
    apart = torch.cdist(alpha.T, alpha.T, p=torch.inf).fill_diagonal_(1)  # [N, N]
    assert apart.min() > 0.02, "some pictures share their α: take one for each picture"
    drawn_sorted = alpha.flatten().sort().values
    uniform = (torch.arange(len(drawn_sorted)) + 0.5) / len(drawn_sorted)
    # a fair draw is farther away than this once in a million times (Kolmogorov–Smirnov)
    assert (drawn_sorted - uniform).abs().max() < 2.7 / len(drawn_sorted) ** 0.5, (
        f"α is not uniform in [0, 1], its mean is {alpha.mean():.2f}: use torch.rand"
    )


check_gradient_penalty(gradient_penalty)

# %% [markdown]
# ## The two steps
#
# $D$'s step is that of 03 without its clipping, and with $\lambda$ times the penalty.
#
# <details><summary>Hint 1</summary>
#
# It is 03's loss, plus $\lambda$ times your `gradient_penalty`. Nothing is clipped.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Make the fakes once, detached, and use them in both terms.
#
# </details>

# %% [markdown] lang="zh"
# ## 兩個訓練步驟
#
# $D$ 的步驟和 03 一樣，只是不裁剪，並且加上 $\lambda$ 倍的懲罰。
#
# <details><summary>提示 1</summary>
#
# 就是 03 的損失，加上 $\lambda$ 乘以你的 `gradient_penalty`。什麼都不用裁剪。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 假圖只生成一次，先 detach，兩項都用它。
#
# </details>


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z, penalty):
    """One step of the critic on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim], with `penalty` times the
    gradient penalty between them. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    fake = G(z).detach()
    loss = D(fake).mean() - D(real).mean() + penalty * gradient_penalty(D, real, fake)
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    calls = []

    def stand_in(D=None, real=None, fake=None, *more, **named):
        """No penalty, but as good to see λ by: it depends on D's weights, and on real and fake alike."""
        calls.append(1)
        pictures = torch.is_tensor(real) and torch.is_tensor(fake)
        critic = callable(D) and not isinstance(D, TinyG)
        assert critic and pictures and not more and not named, "call gradient_penalty(D, real, fake)"
        assert real.dim() == fake.dim() == 4, "gradient_penalty wants pictures, [N, 3, 64, 64]: fake is G(z)"
        return measure(D, real, fake)

    def measure(D, real, fake):
        far = (real - fake).square().mean((1, 2, 3))  # [N]
        return 0.05 * (D((real + fake) / 2).square() * (0.5 + far)).mean() + 0.2

    def distance(D, G, real, z):
        return D(G(z)).mean() - D(real).mean()

    def right(D, G, real, z, penalty):
        return distance(D, G, real, z) + penalty * measure(D, real, G(z))

    def log_loss(D, G, real, z):
        return -(D(real).sigmoid().log().mean() + (1 - D(G(z)).sigmoid()).log().mean())

    mistakes = {
        "there is an abs() too many: W may be below 0 for a while": (
            lambda D, G, real, z, penalty: penalty * measure(D, real, G(z)) - distance(D, G, real, z).abs()
        ),
        "the sign is wrong: mean D(fake) − mean D(real) is minimised": (
            lambda D, G, real, z, penalty: penalty * measure(D, real, G(z)) - distance(D, G, real, z)
        ),
        f"the penalty has no part in the gradient: add penalty * gradient_penalty(D, real, fake) as a tensor, "
        f"{THROUGH_D}": lambda D, G, real, z, penalty: distance(D, G, real, z),
        "λ is missing: `penalty` times the gradient penalty": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) + measure(D, real, G(z))
        ),
        "λ is 10, whatever `penalty` says: use the argument, no number and no settings.penalty": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) + 10 * measure(D, real, G(z))
        ),
        "λ is settings.penalty, whatever the argument `penalty` says": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) + settings.penalty * measure(D, real, G(z))
        ),
        "D(real) has the wrong sign: it is mean D(fake) − mean D(real)": (
            lambda D, G, real, z, penalty: D(G(z)).mean() + D(real).mean() + penalty * measure(D, real, G(z))
        ),
        "D(fake) has the wrong sign: it is mean D(fake) − mean D(real)": (
            lambda D, G, real, z, penalty: penalty * measure(D, real, G(z)) - D(G(z)).mean() - D(real).mean()
        ),
        "the penalty is subtracted: it should be small, and the loss is minimised, so add it": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) - penalty * measure(D, real, G(z))
        ),
        "λ belongs to the penalty alone, not to the whole loss": (
            lambda D, G, real, z, penalty: penalty * (distance(D, G, real, z) + measure(D, real, G(z)))
        ),
        f"only the penalty counts: add mean D(fake) − mean D(real), {THROUGH_D}": (
            lambda D, G, real, z, penalty: penalty * measure(D, real, G(z))
        ),
        f"only the reals count: add mean D(G(z)), {THROUGH_D}": (
            lambda D, G, real, z, penalty: penalty * measure(D, real, G(z)) - D(real).mean()
        ),
        f"only the fakes count: subtract mean D(real), {THROUGH_D}": (
            lambda D, G, real, z, penalty: penalty * measure(D, real, G(z)) + D(G(z)).mean()
        ),
        "the penalty is taken at (real, real): it wants real and fake": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) + penalty * measure(D, real, real)
        ),
        "the penalty is taken at (fake, fake): it wants real and fake": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) + penalty * measure(D, G(z), G(z))
        ),
        "the difference is halved: W is the whole": (
            lambda D, G, real, z, penalty: distance(D, G, real, z) / 2 + penalty * measure(D, real, G(z))
        ),
        "the difference is a sum over the batch: take the mean": (
            lambda D, G, real, z, penalty: len(z) * distance(D, G, real, z) + penalty * measure(D, real, G(z))
        ),
        "this is 01's cross-entropy: no log, no BCE": (
            lambda D, G, real, z, penalty: log_loss(D, G, real, z) + penalty * measure(D, real, G(z))
        ),
    }

    def watched(D, G, optimizer, real, z, penalty):
        calls.clear()
        loss = step(D, G, optimizer, real, z, penalty)
        assert calls or not penalty, (
            "the penalty is missing, or is not that of the cell above: call gradient_penalty(D, real, fake) by this "
            "name"
        )
        return loss

    with stand_ins(step, gradient_penalty=stand_in):  # so λ is seen whatever the penalty is
        for penalty, sign in ((7.3, 1), (1.0, -1), (0.0, 1)):  # W is above 0, and once below
            remarks = check_step(
                watched,
                right,
                mistakes,
                pair=lambda sign=sign: tiny_pair(probability=False, sign=sign),
                batch=lambda penalty=penalty: (*tiny_batch(), penalty),
            )
    done("discriminator_step", remarks)


check_discriminator_step(discriminator_step)

# %% [markdown]
# $G$'s step is that of 03.

# %% [markdown] lang="zh"
# $G$ 的步驟和 03 一樣。

# %% show=true
from kit.wgan import generator_step

# %% [markdown]
# ## Training
#
# The loop is that of 03. Its $D$ gets `half=False`: a penalty in half precision soon is NaN. $D$'s step costs more than
# 03's, since the penalty needs a gradient of a gradient.

# %% [markdown] lang="zh"
# ## 訓練
#
# 迴圈和 03 一樣，但 $D$ 多了 `half=False`：用半精度算懲罰，很快就會變成 NaN。$D$ 的一步比 03 慢，因為懲罰要算「梯度的
# 梯度」。


# %%
def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    faces = load_faces(settings, device)  # uint8 [N, 3, 64, 64]
    G = place(Generator(settings.z_dim, settings.width), settings, device)
    D = place(make_critic(settings), settings, device, half=False)
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)
    run = Run(settings, G, D, optimizer_G=optimizer_G, optimizer_D=optimizer_D)

    for step, real in run.steps(faces):  # real is [batch_size, 3, 64, 64] in −1 … 1
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise(), settings.penalty))
        if step % settings.norms_every == 0:
            run.record_norms(layer_norms(D))  # now: G's step would add its own gradients
        if step % settings.n_critic == 0:
            with frozen(D):  # no time for gradients of weights that stay as they are
                run.log(loss_G=generator_step(D, G, optimizer_G, run.noise()))
            run.update_average()
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
run = launch(train, settings)

# %% [markdown]
# ## What it learned
#
# −`loss_D` is roughly the distance minus the penalty: it should fall slowly. The gradient norms are in
# `grad_norms.csv`. `python -m grader gradnorm runs/wgan runs/wgan_gp` draws them beside those of 03.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# `loss_D` 加上負號，大約是距離減去懲罰：這個數應該慢慢下降。梯度範數在
# `grad_norms.csv`。`python -m grader gradnorm runs/wgan runs/wgan_gp` 會把它和 03 的畫在同一張圖上。

# %%
plot_losses(run)

# %% [markdown]
# ## Your report
#
# **Question 1.** Name at least two differences between WGAN and a vanilla GAN. You met them in 03. The penalty adds
# another: what does it ask of $D$, and where?
#
# **Question 2.** Plot the gradient norm of the discriminator for two settings: weight clipping (03) and gradient
# penalty (this notebook). The discriminator has at least 4 layers. The y-axis is the gradient norm on a log scale, the
# x-axis the layer, from low to high. **What do you observe?** Say where the curve rises or falls, by which factor, and
# why. You see more with 12 layers. Set here `overrides = {"layers": 12, "run": "runs/wgan_gp_12"}`, and in 03
# `overrides = {"batch_norm": False, "layers": 12, "run": "runs/wgan_12"}`. In the cell below, write the `run` of the
# other notebook.
#
# The cell below draws both settings, as soon as both runs are there. In another session, put the `.zip` of the other
# run back into `runs/`. On Kaggle, attach it with *Add Input*.

# %% [markdown] lang="zh"
# ## 你的報告
#
# **第 1 題。** 說出 WGAN 和原始的 GAN 有哪些不同，至少兩個。你在 03 已經看過了。懲罰又帶來一個不同：它對 $D$ 要求什
# 麼？在哪裡要求？
#
# **第 2 題。** 畫出判別器在兩種設定下的梯度範數：權重裁剪（03）和梯度懲罰（這份筆記本）。判別器至少要有 4 層。y 軸是梯
# 度範數，用對數尺度；x 軸是層，從低到高。**你觀察到什麼？** 請說明曲線在哪裡上升或下降、差幾倍、為什麼。用 12 層會看得
# 更清楚：這裡設 `overrides = {"layers": 12, "run": "runs/wgan_gp_12"}`，03 設
# `overrides = {"batch_norm": False, "layers": 12, "run": "runs/wgan_12"}`。下面的儲存格要寫另一份筆記本的 `run`。
#
# 兩次訓練的結果都有了，下面的儲存格就會把兩種設定畫在一起。如果換過工作階段，先把另一次訓練的 `.zip` 放回 `runs/`。在
# Kaggle 上，用 *Add Input* 把它加進來。

# %%
from kit.report import plot_norms

plot_norms(run, "runs/wgan")

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
# | `loss_D` grows without end, below or above 0 | the penalty has no effect: $\lambda$ is missing, or its gradient \
#   is lost | run the checks of `gradient_penalty` and `discriminator_step` again |
# | `loss_D` is far below 0 | at first this is normal: a picture has 12,288 numbers, and the distance counts them all. \
#   Later: `penalty` is under 10, or $G$ is too slow | wait 500 steps; then set `penalty` to 10, or raise `lr_G` |
# | `loss_D` is large and positive | first 20 steps: slopes are still far from 1, and $\lambda$ multiplies the \
#   penalty. Later: $D$'s steps are too large | wait; later lower `lr_D` |
# | `loss_G` → 0 | with a critic 0 means nothing: any number can be added to all scores | look at `loss_D` and at the \
#   pictures |
# | NaN | the root of 0 has no gradient; or half precision in $D$ | write $+ 10^{-12}$ under the root; `half=False` \
#   for $D$ |
# | one face repeated, “near repeats” rises | mode collapse: rare with a critic, so $D$ is too weak | raise \
#   `n_critic`, or lower `lr_G`; take an earlier checkpoint |
# | noise, or grey squares | too few steps; with `ema`, the average is still young | train on: for 500 steps of \
#   $G$, with `ema` for 5 / (1 − `ema`), which is 5,000 for 0.999; then compare with the picture at the top |

# %% [markdown] lang="zh"
# ## 結果不對勁時
#
# 大部分的設定一改，筆記本就會停下來：把 `run` 也換成別的資料夾，重新訓練。想用同一個 `run` 接著訓練，就調高 `steps`，再
# 執行一次筆記本；有 `hours` 的設定組不用改。
#
# | 你看到 | 原因 | 怎麼辦 |
# |---|---|---|
# | `loss_D` 離 0 越來越遠，停不下來，正負都有可能 | 懲罰沒有作用：少了 $\lambda$，或懲罰的梯度斷了 | \
#   再執行一次 `gradient_penalty` 和 `discriminator_step` 的檢查 |
# | `loss_D` 遠低於 0 | 剛開始很正常：距離是 12,288 個數合起來算的。後來還是這樣的話，是 `penalty` 小於 10，或 $G$ 太 \
#   慢 | 等 500 步；還是這樣，就把 `penalty` 設成 10，或調高 `lr_G` |
# | `loss_D` 是很大的正數 | 最初 20 步斜率離 1 還很遠，而且懲罰要乘上 $\lambda$；後來才這樣的話，是 $D$ 的每一步太 \
#   大 | 先等等；後來才這樣的話，調低 `lr_D` |
# | `loss_G` → 0 | 對評論家來說，0 沒有特別的意思：所有的分數可以一起加上任何數 | 看 `loss_D` 和圖片 |
# | NaN | 0 的平方根沒有梯度；或 $D$ 用了半精度 | 在根號裡加上 $10^{-12}$；$D$ 要用 `half=False` |
# | 一直重複同一張臉，「近似重複」的比例上升 | 模式崩潰（mode collapse）：用評論家時很少見，所以是 $D$ 太弱 | 調高 \
#   `n_critic`，或調低 `lr_G`；用更早的檢查點 |
# | 雜訊，或灰色方塊 | 步數太少；如果用了 `ema`，移動平均還沒跟上，裡面還有一開始的權重 | 接著訓練：$G$ 再 500 步；用 \
#   了 `ema` 就要 5 / (1 − `ema`) 步，0.999 是 5,000 步。然後和最上面的圖比較 |
