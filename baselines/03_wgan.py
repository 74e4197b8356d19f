# %% [markdown]
# # 03 · Wasserstein GAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | what a critic is, why its slope must be bounded, and what weight clipping does to its gradients \
#   (report, questions 1 and 2) |
# | **You write** | `make_critic`, `make_optimizers`, `discriminator_step`, `generator_step`, `layer_norms` |
# | **Time** | `cpu`: 7 minutes on one CPU core, for **Simple**. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 \
#   hours on any GPU. `course`: 6 minutes on an H200, computed from steps per second |
# | **Tier** | **Strong**: {{Strong}} |

# %% [markdown] lang="zh"
# # 03 · Wasserstein GAN（WGAN）
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 評論家（critic）是什麼、為什麼它的斜率要有上限，還有權重裁剪（weight clipping）對它的梯度有什麼影 \
#   響（報告第 1、2 題） |
# | **你要寫** | `make_critic`、`make_optimizers`、`discriminator_step`、`generator_step`、`layer_norms` |
# | **時間** | `cpu`：一個 CPU 核心 7 分鐘，只能過 **Simple**。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 \
#   1、3、11.5 小時。`course`：H200 上 6 分鐘（由每秒步數換算） |
# | **等級** | **Strong**：{{Strong}} |

# %% [markdown]
# ![Eight samples after 500, 1,500 and 4,000 steps of preset cpu](results/03_wgan_cpu/stages.jpg)
#
# *Preset `cpu` after 500, 1,500 and 4,000 steps, not selected.*

# %% [markdown] lang="zh"
# ![設定組 cpu 訓練 500、1,500、4,000 步之後的八個樣本](results/03_wgan_cpu/stages.jpg)
#
# *設定組 `cpu` 訓練 500、1,500、4,000 步之後，沒有挑選過。*

# %% [markdown]
# With the formula of 01, a discriminator that is sure of itself teaches nothing: its Sigmoid is flat there, and so is
# the loss. (01's non-saturating loss is steep there, but unsteady.) The reason is the Jensen–Shannon divergence, which
# $D$ estimates. It is $\log 2$ for any two distributions that do not overlap, however near they are. The **earth
# mover's distance** does say how far apart they are, so $G$ always knows which way to go
# ([Arjovsky et al., 2017](https://arxiv.org/abs/1701.07875)). It is
#
# $$W(p_{\text{real}}, p_G) = \max_{\lVert D \rVert_L \le 1} \; \mathbb E_x[D(x)] - \mathbb E_z[D(G(z))]$$
#
# over all $D$ whose slope is at most 1. $D$ no longer gives a probability: it is a **critic** that gives any number. So
# the Sigmoid goes, and the logarithms go.
#
# - The slope is bounded crudely: after each step, every weight is clipped to $[-c, c]$.
# - Momentum makes a critic with clipped weights unstable, so both optimizers are RMSprop.
# - A better critic gives better advice, so it makes more steps. Per step of $G$ it makes five in the paper and in
#   preset `course`, two in the other presets.
#
# You take the Sigmoid away, make the optimizers, write both steps, and measure the gradient norms for your report.
#
# Watch `loss_D`. Its negative estimates the distance, times a factor that depends on $c$: so compare it within one run
# only. Unlike a vanilla GAN's loss, the distance falls as the pictures get better. Watch the gradient norms too. A
# clipped layer scales what passes through it by a factor that depends on $c$. Over many layers the factors multiply, so
# the gradient fades or explodes. BatchNorm hides much of that, because it scales back: try
# `{"batch_norm": False, "layers": 12}` for your report. 04 bounds the slope without clipping. The score to beat is
# **Strong**.

# %% [markdown] lang="zh"
# 照 01 的公式，判別器一旦很有把握，就教不了 $G$ 什麼：它的 Sigmoid 在那裡是平的，損失也是平的。（01 的不飽和損失在那裡
# 很陡，但是不穩定。）原因在於它估計的是 Jensen–Shannon 散度（divergence）。只要兩個分布不重疊，不管靠得多近，這個散度都
# 是 $\log 2$。**推土機距離**（earth mover's distance）就說得出它們相隔多遠，所以 $G$ 永遠知道該往哪裡走
# （[Arjovsky et al., 2017](https://arxiv.org/abs/1701.07875)）。它的式子是
#
# $$W(p_{\text{real}}, p_G) = \max_{\lVert D \rVert_L \le 1} \; \mathbb E_x[D(x)] - \mathbb E_z[D(G(z))]$$
#
# 也就是從所有斜率不超過 1 的 $D$ 裡，取最大的值。$D$ 給的不再是機率：它是**評論家**（critic），什麼數都可以給。所以
# Sigmoid 拿掉，對數也拿掉。
#
# - 限制斜率的方法很粗糙：每一步之後，把每個權重裁剪到 $[-c, c]$。
# - 權重裁剪過的評論家，加上動量（momentum）就不穩定，所以兩個最佳化器都用 RMSprop。
# - 評論家越好，給的意見就越有用，所以它走得比 $G$ 多：$G$ 每走一步，論文和設定組 `course` 裡它走五步，其他設
#   定組走兩步。
#
# 你要拿掉 Sigmoid、建立最佳化器、寫兩個訓練步驟，還要量報告用的梯度範數。
#
# 訓練時看 `loss_D`。它的負值就是估計的距離，再乘上一個和 $c$ 有關的倍數，所以只能在同一次訓練裡比較。圖片變好，這個距離
# 就會變小；原始的 GAN 的損失做不到這一點。也要看梯度範數。訊號每通過一個裁剪過的層，就會乘上一個和 $c$ 有關的倍數。層數
# 一多，倍數連乘起來，梯度不是越來越小，就是爆炸。BatchNorm 會把大小調回來，所以這個問題大多被它蓋住了：寫報告時，試試
# `{"batch_norm": False, "layers": 12}`。04 不用裁剪，換一個方法限制斜率。目標是通過 **Strong**。

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
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from kit.checks import (
    CHANGED_AFTER,
    THROUGH_D,
    TORCH_SAYS,
    WatchedSGD,
    are_close,
    check_critic,
    check_device,
    check_step,
    done,
    errors_in_words,
    explained,
    has_values,
    output_of,
    right_gradients,
    tiny_batch,
    tiny_pair,
)
from kit.device import get_device, place, seed_everything
from kit.faces import load_faces
from kit.kinds import make_settings
from kit.launch import launch
from kit.networks import Discriminator, Generator
from kit.run import Run, frozen
from kit.samples import plot_losses, write_submission
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
class WganSettings(Settings):
    clip: float = 0.01  # c: weights of D stay between −c and c
    layers: int = 4  # layers of D before the last, 4 or more; those over 4 keep the size
    batch_norm: bool = True  # BatchNorm in D; without it, the gradients of clipped layers fade or explode

    def __post_init__(self):
        if self.layers < 4:
            raise SystemExit(f"`layers` is {self.layers}: set it to 4 or more")


# The best of those that were tried on a CPU: larger steps, fewer of the critic, and a wider clip than the paper's
FASTER = {"lr_G": 4e-4, "lr_D": 4e-4, "n_critic": 2, "clip": 0.03}
COURSE = WganSettings(run="runs/wgan", n_critic=5, lr_G=5e-5, lr_D=5e-5, steps=50 * 1115, checkpoint_every=2230)
PRESETS = t4_presets(COURSE, **FASTER)
PRESETS["cpu"] = replace(  # 7 minutes on one CPU core
    COURSE, steps=4000, batch_size=32, width=16, ema=0.99, checkpoint_every=500, **FASTER
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"clip": 0.1}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The critic
#
# `Discriminator(width, layers, norm, probability)` of 01 ends in a Sigmoid unless told otherwise. `layers` over 4 adds
# layers that keep the size. You need them for the gradient norms of a deep critic. `norm` is the class of its norm
# layers, `nn.BatchNorm2d` by default. `nn.Identity` in its place changes nothing that passes through.
#
# <details><summary>Hint 1</summary>
#
# Call `Discriminator(width, layers=4, norm=nn.BatchNorm2d, probability=True)` with what `settings` say. Which of the
# four must change for a critic?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `probability=False` takes the Sigmoid away. For `norm` give the class itself, not a layer: `nn.BatchNorm2d` or
# `nn.Identity`.
#
# </details>

# %% [markdown] lang="zh"
# ## 評論家
#
# 01 的 `Discriminator(width, layers, norm, probability)` 預設以 Sigmoid 結尾。`layers` 超過 4 的時候，會多出一些不改變
# 大小的層，用來看很深的評論家的梯度範數。`norm` 是正規化層的類別（class），預設是 `nn.BatchNorm2d`。換成
# `nn.Identity`，資料就會原樣通過。
#
# <details><summary>提示 1</summary>
#
# 呼叫 `Discriminator(width, layers=4, norm=nn.BatchNorm2d, probability=True)`，照 `settings` 裡的設定填。四個引數裡，
# 哪一個不改就不是評論家？
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `probability=False` 會拿掉 Sigmoid。`norm` 要給類別本身，不是一個層：`nn.BatchNorm2d` 或 `nn.Identity`。
#
# </details>


# %% todo="make_critic"
def make_critic(settings):
    """A critic of settings.width and settings.layers, with BatchNorm if settings.batch_norm is True, else without any
    norm: pictures [N, 3, 64, 64] -> any number [N]."""
    ### BEGIN SOLUTION
    norm = nn.BatchNorm2d if settings.batch_norm else nn.Identity
    return Discriminator(settings.width, settings.layers, norm, probability=False)
    ### END SOLUTION


# %% check="make_critic"
def check_make_critic(make):
    odd = replace(settings, width=5, layers=6)
    norms = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
    for batch_norm in (True, False):
        critic = check_critic(make, replace(odd, batch_norm=batch_norm))
        found = [module for module in critic.modules() if isinstance(module, norms)]
        kinds = {type(module).__name__ for module in found if not (batch_norm and isinstance(module, nn.BatchNorm2d))}
        assert not kinds and bool(found) == batch_norm, (
            f"settings.batch_norm is {batch_norm}, but the critic's norms are {', '.join(kinds) or 'missing'}: give "
            "Discriminator nn.BatchNorm2d or nn.Identity as its norm"
        )
        blocks = odd.layers - 1  # all before the last layer but the first
        assert len(found) == batch_norm * blocks, (
            f"{len(found)} blocks have BatchNorm, and {blocks} should: each but the first, as Discriminator gives it"
        )
    done("make_critic")


check_make_critic(make_critic)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The signature is `torch.optim.RMSprop(params, lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0, momentum=0)`. You need
# the first two arguments.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# One optimizer has `G.parameters()` and `settings.lr_G`, the other `D.parameters()` and `settings.lr_D`. Return G's
# first.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# 完整的引數是 `torch.optim.RMSprop(params, lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0, momentum=0)`。你只需要前兩
# 個。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 一個最佳化器用 `G.parameters()` 和 `settings.lr_G`，另一個用 `D.parameters()` 和 `settings.lr_D`。回傳時，G 的放前
# 面。
#
# </details>


# %% todo="make_optimizers"
def make_optimizers(G, D, settings):
    """(optimizer of G, optimizer of D): RMSprop without momentum, with settings.lr_G and settings.lr_D."""
    ### BEGIN SOLUTION
    return (
        torch.optim.RMSprop(G.parameters(), settings.lr_G),
        torch.optim.RMSprop(D.parameters(), settings.lr_D),
    )
    ### END SOLUTION


# %% check="make_optimizers"
def check_make_optimizers(make):
    D, G = tiny_pair(probability=False)
    odd = replace(settings, lr_G=3e-4, lr_D=7e-5)
    with explained("an optimizer takes parameters, such as G.parameters(), and then its learning rate"):
        made = make(G, D, odd)
    made, remarks = tuple(made) if isinstance(made, Iterator) else made, []
    assert isinstance(made, (tuple, list)) and len(made) == 2, "return two optimizers: that of G, that of D"
    for letter, optimizer, network, lr in zip("GD", made, (G, D), (odd.lr_G, odd.lr_D), strict=True):
        assert isinstance(optimizer, torch.optim.Optimizer), f"{type(optimizer).__name__} is no optimizer of torch"
        trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        assert trained == {*map(id, network.parameters())}, (
            f"optimizer_{letter} must train all parameters of {letter} and nothing else. Return G's optimizer first"
        )
        for group in optimizer.param_groups:
            assert group.get("lr") == lr, (
                f"the learning rate of optimizer_{letter} is {group.get('lr')}, settings.lr_{letter} is {lr}"
            )
            momentum = group.get("betas", (group.get("momentum", 0),))[0]
            assert momentum == 0, (
                f"optimizer_{letter} has momentum {momentum}, with which a clipped critic is unstable: use RMSprop "
                "as in the paper, or Adam with beta1 = 0"
            )
            assert not group.get("maximize"), f"optimizer_{letter} climbs: leave maximize out, the losses are minimised"
            decay = group.get("weight_decay", 0)
            assert decay == 0, f"optimizer_{letter} has weight_decay {decay}, which the paper does not use: set it to 0"
            for name, limit in (("alpha", 1), ("eps", 1e-3)):  # a large eps leaves tiny steps
                value = group.get(name)  # None where the optimizer has no such thing, in Adafactor two numbers
                assert not isinstance(value, (int, float)) or 0 < value < limit, (
                    f"optimizer_{letter} has {name} {value}: leave it out. RMSprop's third and fourth arguments are "
                    "alpha and eps, not betas"
                )
        before = [weight.detach().clone() for weight in network.parameters()]
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        with explained(f"optimizer_{letter}.step() does not run as training calls it: use RMSprop, as in the paper"):
            optimizer.step()
        assert all((weight < was).all() for weight, was in zip(network.parameters(), before, strict=True)), (
            f"optimizer_{letter}.step() does not move all weights: use RMSprop, as in the paper"
        )
        if isinstance(optimizer, (torch.optim.SGD, torch.optim.ASGD)):
            remarks.append(
                f"optimizer_{letter} is {type(optimizer).__name__}, whose step shrinks with the gradient: at this "
                "learning rate it hardly moves. RMSprop's does not shrink"
            )
    done("make_optimizers", remarks)


check_make_optimizers(make_optimizers)

# %% [markdown]
# ## The two steps
#
# $$L_D = \mathbb E_z[D(G(z))] - \mathbb E_x[D(x)] \qquad L_G = -\mathbb E_z[D(G(z))]$$
#
# To minimise $L_D$ is to maximise the difference. Clip **after** the optimizer's step: a step can leave $[-c, c]$.
#
# <details><summary>Hint 1</summary>
#
# No logarithm and no target. $L_D$ is a difference of two means, in the order of the formula.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# After `step()`, go through `D.parameters()` under `torch.no_grad()`, and call `clamp_(-clip, clip)` on each.
#
# </details>

# %% [markdown] lang="zh"
# ## 兩個訓練步驟
#
# $$L_D = \mathbb E_z[D(G(z))] - \mathbb E_x[D(x)] \qquad L_G = -\mathbb E_z[D(G(z))]$$
#
# 最小化 $L_D$，就是讓真圖的分數比假圖高，差得越多越好。在最佳化器的 `step()` **之後**才裁剪：走完這一步，權重可能會超
# 出 $[-c, c]$。
#
# <details><summary>提示 1</summary>
#
# 沒有對數，也沒有目標。$L_D$ 是兩個平均相減，順序照式子。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 在 `step()` 之後，用 `torch.no_grad()` 包住一個迴圈，對 `D.parameters()` 裡的每個參數呼叫 `clamp_(-clip, clip)`。
#
# </details>


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z, clip):
    """One step of the critic on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim]. Then all its parameters
    are clipped to −clip … clip. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    loss = D(G(z).detach()).mean() - D(real).mean()
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    with torch.no_grad():
        for weight in D.parameters():
            weight.clamp_(-clip, clip)
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    def right(D, G, real, z, clip=None):
        return D(G(z)).mean() - D(real).mean()

    def log_loss(D, G, real, z, clip):
        return -(D(real).sigmoid().log().mean() + (1 - D(G(z)).sigmoid()).log().mean())

    def hinge(D, G, real, z, clip):
        return (1 - D(real)).relu().mean() + (1 + D(G(z))).relu().mean()

    def pair(sign=2):  # which makes the gradient longer than 1, to which 02 clips
        return tiny_pair(probability=False, sign=sign)

    def batch():
        return *tiny_batch(), 1e6  # a clip that leaves all weights as they are

    mistakes = {
        "the sign is wrong: D(fake) should fall, D(real) should rise, and the loss is minimised": (
            lambda *given: -right(*given)
        ),
        f"only the reals count: add mean D(G(z)), {THROUGH_D}": lambda D, G, real, *_: -D(real).mean(),
        f"only the fakes count: subtract mean D(real), {THROUGH_D}": lambda D, G, real, z, clip: D(G(z)).mean(),
        "D(real) has the wrong sign: the loss is mean D(G(z)) − mean D(real)": (
            lambda D, G, real, z, clip: D(G(z)).mean() + D(real).mean()
        ),
        "D(G(z)) has the wrong sign: the loss is mean D(G(z)) − mean D(real)": (
            lambda D, G, real, z, clip: -D(G(z)).mean() - D(real).mean()
        ),
        "the difference is squared: no square": lambda *given: right(*given).square(),
        "the loss is halved: W is the whole difference": lambda *given: right(*given) / 2,
        "this is the sum over the batch: take the mean": lambda D, G, real, *rest: len(real) * right(D, G, real, *rest),
        "this is 01's cross-entropy: no log, no BCE": log_loss,
        "D(real) has a log: no log, no BCE": (
            lambda D, G, real, z, clip: D(G(z)).mean() - D(real).sigmoid().log().mean()
        ),
        "this is BCE divided by 2: no log, no BCE": lambda *given: log_loss(*given) / 2,
        "this is the hinge loss: leave the relu out": hinge,
        "these are squared errors: no square": (
            lambda D, G, real, z, clip: (D(real) - 1).square().mean() + D(G(z)).square().mean()
        ),
    }
    remarks = check_step(step, right, mistakes, pair=pair, batch=batch, clips_weights=True)
    # once more where the fakes have the higher scores
    mistakes = {"there is an abs() too many: W may be below 0 for a while": lambda *given: -right(*given).abs()}
    check_step(step, right, mistakes, pair=lambda: pair(sign=-2), batch=batch, clips_weights=True)
    for clip in (0.0137, 0.21):
        check_clipping(step, right, clip)
    done("discriminator_step", remarks)


def check_clipping(step, loss_of, clip):
    """Checks D's weights after a step that would bring some of them over ±clip."""
    clips_gradients = "the gradient changes with clip: clip D's weights alone, no gradients, no scores and no loss"

    def after(start_inside, batch_norm=False, steep=False):
        """(D's weights after the step, what the optimizer alone would have made of them, the gradients that it used)"""
        D, G = tiny_pair(probability=False)
        if batch_norm:
            norm = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Flatten())
            D.layers.insert(1, norm.to(check_device()))
        real, z = tiny_batch()
        real = 300 * real  # so that gradients are over clip, where weights are not
        if steep:  # so that the loss is over clip as well
            real = real.abs()
        with torch.no_grad():
            for weight in D.parameters() if start_inside else ():
                weight.copy_(weight.abs() if steep else weight).clamp_(-clip, clip)
        before, G_before = [[w.detach().clone() for w in network.parameters()] for network in (D, G)]
        expected = right_gradients(loss_of(D, G, real, z), D)
        steepest = max(g.abs().max().item() for g in expected)
        optimizer = WatchedSGD(D, lr=0.7 * clip / steepest)  # at most 0.7 of the way from 0 to the limit
        counters = {"desired output type": "clip D.parameters(), not BatchNorm's counters"}
        with errors_in_words(lambda error: f"the step stops with {error}", counters):
            step(D, G, optimizer, real, z, clip)
        used, left = optimizer.seen[-1], [weight.grad for weight in D.parameters()]
        assert not has_values(left) or are_close(left, used), CHANGED_AFTER
        assert not start_inside or are_close(used, expected), clips_gradients
        assert all(map(torch.equal, G.parameters(), G_before)), "G's weights changed in D's step: clip D's alone"
        free = [w - optimizer.param_groups[0]["lr"] * g for w, g in zip(before, used, strict=True)]
        return [w.detach().clone() for w in D.parameters()], free, used

    def clipped(weights, low=-clip, high=clip):
        return [weight.clamp(low, high) for weight in weights]

    after(start_inside=True, steep=True)
    found, free, _ = after(start_inside=True)
    if are_close(found, clipped(free), 1e-5):
        found, _, _ = after(start_inside=False, batch_norm=True)
        over = [[*weight.shape] for weight in found if weight.abs().max() > 1.01 * clip]
        assert not over, (
            f"weights of shape {over[0]} are not clipped: clip all of D.parameters(), BatchNorm's and biases too"
        )
        return
    widest = max(weight.abs().max().item() for weight in found)
    if are_close(found, free, 1e-5):
        far, _, used = after(start_inside=False)
        assert max(w.abs().max() for w in far) > 1.71 * clip, (
            "clipped before optimizer_D.step(), which leaves the range again: clip after it"
        )
        assert max(g.abs().max() for g in used) > 1.01 * clip, clips_gradients
        raise AssertionError(
            f"after the step D has a weight of {widest:.4f}: clip all to −clip … clip, here ±{clip}, whatever layer "
            "they are of"
        )
    assert not are_close(found, [c if c.dim() > 1 else f for c, f in zip(clipped(free), free, strict=True)], 1e-5), (
        "the biases are not clipped: clip all of D.parameters()"
    )
    assert not are_close(found, clipped(free, high=None), 1e-5), "weights over clip stay: clip at both ends"
    assert not are_close(found, clipped(free, low=None), 1e-5), "weights under −clip stay: clip at both ends"
    assert not are_close(found, clipped(free, -widest, widest), 1e-5), (
        f"the weights are clipped to ±{widest:.4g}, but clip is {clip}"
    )
    either = zip(found, clipped(free), free, strict=True)
    assert not all(are_close([one], [c], 1e-5) or are_close([one], [f], 1e-5) for one, c, f in either), (
        "some of D.parameters() are clipped, and others are not: go through all. Is the return inside of the loop?"
    )
    raise AssertionError(
        "clip each weight by itself: what is over clip becomes clip, what is under −clip becomes −clip"
    )


check_discriminator_step(discriminator_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $L_G$ has one term. The fakes keep their gradient.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Take the mean of `D(G(z))`, and change its sign. Then `zero_grad()`, `backward()`, `step()` of `optimizer_G`.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# $L_G$ 只有一項。假圖要保留梯度。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 取 `D(G(z))` 的平均，加上負號。然後用 `optimizer_G`，做 `zero_grad()`、`backward()`、`step()`。
#
# </details>

# %% todo="generator_step"
from kit.wgan import generator_step


# %% check="generator_step"
def check_generator_step(step):
    def right(D, G, z):
        return -D(G(z)).mean()

    mistakes = {
        "the sign is wrong: G wants D(G(z)) to rise, and the loss is minimised": lambda D, G, z: D(G(z)).mean(),
        "this is 01's cross-entropy: no log, no BCE": lambda D, G, z: -D(G(z)).sigmoid().log().mean(),
        "this is log(1 − D(G(z))): no log, no BCE": lambda D, G, z: (1 - D(G(z)).sigmoid()).log().mean(),
        "D(G(z)) has a Sigmoid: leave it as it is": lambda D, G, z: -D(G(z)).sigmoid().mean(),
        "this is the sum over the batch: take the mean": lambda D, G, z: -D(G(z)).sum(),
        "the loss is halved: take the mean as it is": lambda D, G, z: -D(G(z)).mean() / 2,
        "this is a squared error: no square": lambda D, G, z: (D(G(z)) - 1).square().mean(),
    }

    def pair(sign=-1):
        return tiny_pair(probability=False, sign=sign)

    remarks = check_step(step, right, mistakes, trains="G", pair=pair)
    # once more where the fakes' scores are below 0
    mistakes = {"there is an abs() too many: D(G(z)) may be below 0": lambda D, G, z: -D(G(z)).abs().mean()}
    check_step(step, right, mistakes, trains="G", pair=lambda: pair(sign=1))
    done("generator_step", remarks)


check_generator_step(generator_step)

# %% [markdown]
# ## The gradient norms
#
# Your report shows how strong the critic's gradient is at each layer. $D$'s step leaves it in each weight's `.grad`. Of
# each layer take the weight, which has more than one dimension. Biases, and the vectors of BatchNorm, have only one:
# leave them out.
#
# <details><summary>Hint 1</summary>
#
# `D.named_parameters()` gives (name, weight) in the right order. `weight.dim()` tells how many dimensions a weight has.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `weight.grad.norm()` is the L2 norm, a scalar tensor. Leave out what has one dimension, and what has no gradient
# (`weight.grad is None`).
#
# </details>

# %% [markdown] lang="zh"
# ## 梯度範數
#
# 你的報告要畫出評論家每一層的梯度有多強。$D$ 的步驟會把梯度留在每個權重的 `.grad` 裡。每一層只看維度大於 1 的那個權
# 重。bias 和 BatchNorm 的向量只有一維：不要算進去。
#
# <details><summary>提示 1</summary>
#
# `D.named_parameters()` 會照正確的順序，給你每個權重的名稱和權重本身。`weight.dim()` 告訴你權重有幾維。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `weight.grad.norm()` 是 L2 範數，一個純量張量。只有一維的略過，沒有梯度的（`weight.grad is None`）也略過。
#
# </details>

# %% todo="layer_norms"
from kit.norms import layer_norms


# %% check="layer_norms"
def check_layer_norms(norms_of):
    repeatable = torch.Generator().manual_seed(8)
    D = Discriminator(5, 6, probability=False)
    with torch.no_grad():
        for weight in D.parameters():  # no two of a size
            weight.copy_(torch.randn(weight.shape, generator=repeatable) * torch.rand((), generator=repeatable))
    D.to(check_device())

    def give_gradients():
        for weight in D.parameters():
            weight.grad = (
                torch.randn(weight.shape, generator=repeatable).to(check_device()) * weight.detach().abs().mean()
            )
            if weight.dim() == 4:  # an order that no view(-1) takes
                weight.grad = weight.grad.contiguous(memory_format=torch.channels_last)

    layers = {name: weight for name, weight in D.named_parameters() if weight.dim() > 1}
    previous = None
    for size in (1, 1e-9):  # a gradient that vanishes is what the report is about
        give_gradients()
        for weight in D.parameters():
            weight.grad *= size
        weights = [weight.detach().clone() for weight in D.parameters()]
        gradients = [weight.grad.clone() for weight in D.parameters()]
        found = output_of(norms_of, D, meanings=TORCH_SAYS)
        assert isinstance(found, dict), f"return a dict, {{name: norm}}, not {type(found).__name__}"
        assert all(weight.grad is not None for weight in D.parameters()) and are_close(
            [weight.grad for weight in D.parameters()], gradients
        ), "it changes the gradients: only read them"
        assert D.training and all(weight.requires_grad for weight in D.parameters()), (
            "it puts D into eval(), or freezes it"
        )
        assert all(map(torch.equal, D.parameters(), weights)), "it changes D's weights: only read the gradients"
        vectors = [name for name, weight in D.named_parameters() if weight.dim() == 1 and name in found]
        assert not vectors, f"{vectors[0]} has one dimension: leave the biases and the norms' vectors out"
        missing = [name for name in layers if name not in found]
        assert not missing, f"{missing[0]} is missing: take each weight with more than one dimension, by its name"
        strange = [name for name in found if name not in layers]
        assert not strange, f"{strange[0]!r} is no weight of D: name the norms as D.named_parameters() does"
        assert [*found] == [*layers], "the order is wrong: from the picture on, as D.named_parameters() has them"
        for name, norm in found.items():
            assert torch.is_tensor(norm), (
                f"the norm of {name} is of type {type(norm).__name__}: keep it a tensor, item() waits for the GPU"
            )
            assert norm.device == layers[name].device, (
                f"the norm of {name} has left D's device: keep it as it is, item() and cpu() wait for the GPU"
            )
            assert norm.dim() == 0, f"the norm of {name} has the shape {[*norm.shape]}: take one number per layer"
        found = torch.stack([*found.values()])

        def all_of(measure):
            return torch.stack([measure(weight.grad) for weight in layers.values()])

        right = all_of(lambda g: g.square().sum().sqrt())
        apart = ~((found - right).abs() <= 1e-3 * right)  # each by itself; NaN too
        if apart.any():
            wrong = {
                "these are norms of the weights: take weight.grad": torch.stack([w.norm() for w in layers.values()]),
                "this is the L1 norm: take the L2 norm, weight.grad.norm()": all_of(lambda g: g.abs().sum()),
                "this is the squared norm: take its root": all_of(lambda g: g.square().sum()),
                "this is the largest value: take the L2 norm": all_of(lambda g: g.abs().max()),
                "this is the mean size: take the L2 norm": all_of(lambda g: g.abs().mean()),
                "this is the root of the mean square: take the L2 norm, of the sum": (
                    all_of(lambda g: g.square().mean().sqrt())
                ),
                "this is the sum: take the L2 norm": all_of(torch.sum),
                "this is the mean: take the L2 norm": all_of(torch.mean),
                "this is the logarithm: the plot takes it": right.log(),
                "one norm for all layers: take one for each": right.norm().expand_as(right),
            }
            if previous is not None:
                kept = "it keeps values of an earlier call: read the gradients that D has now"
                for memory in (previous, previous + right, (previous + right) / 2, (previous**2 + right**2).sqrt()):
                    assert not are_close([found], [memory]), kept
            for hint, values in wrong.items():
                assert not are_close([found / size], [values.detach() / size]), hint
            assert size == 1, "small norms are wrong: add nothing, round nothing, and leave none out"
            norms, wanted = (", ".join(f"{norm:.4g}" for norm in some[apart][:3].tolist()) for some in (found, right))
            raise AssertionError(
                f"there are norms {norms}, which should be {wanted}: the L2 norm of each weight's gradient"
            )
        previous = right

    D.zero_grad()  # as a D's step leaves it that ends so
    remarks = []
    try:
        if any(float(norm) for norm in norms_of(D).values()):
            raise AssertionError("it gives norms where there is no gradient: read weight.grad, and keep nothing")
    except (AttributeError, TypeError, RuntimeError, ValueError, KeyError):  # torch's too
        remarks = ["without a gradient weight.grad is None, which stops training: leave such weights out"]
    done("layer_norms", remarks)


check_layer_norms(layer_norms)

# %% [markdown]
# ## Training
#
# `.grad` is a running sum. $G$'s loss goes through $D$ and would leave its own gradients there. So the loop reads the
# norms after $D$'s step and before $G$'s.

# %% [markdown] lang="zh"
# ## 訓練
#
# `.grad` 會一直累加。$G$ 的損失會經過 $D$，也會把自己的梯度加進去。所以迴圈在 $D$ 的步驟之後、$G$ 的步驟之前讀取範數。


# %%
def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    faces = load_faces(settings, device)  # uint8 [N, 3, 64, 64]
    G = place(Generator(settings.z_dim, settings.width), settings, device)
    D = place(make_critic(settings), settings, device)
    optimizer_G, optimizer_D = make_optimizers(G, D, settings)
    run = Run(settings, G, D, optimizer_G=optimizer_G, optimizer_D=optimizer_D)

    for step, real in run.steps(faces):  # real is [batch_size, 3, 64, 64] in −1 … 1
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise(), settings.clip))
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
# The negative of `loss_D` estimates the distance: it should fall slowly. The gradient norms are in `grad_norms.csv`.
# `python -m grader gradnorm runs/wgan` draws them for your report.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# `loss_D` 的負值是估計的距離：它應該慢慢下降。梯度範數在 `grad_norms.csv` 裡。`python -m grader gradnorm runs/wgan` 會
# 畫出報告要用的圖。

# %%
plot_losses(run)

# %% [markdown]
# ## Your report
#
# **Question 1.** Name at least two differences between WGAN and a vanilla GAN. You have met them here: the loss, the
# last layer of $D$, the optimizer, the clipping, `n_critic`.
#
# **Question 2.** Plot the gradient norm of the discriminator for two settings: weight clipping (this notebook) and
# gradient penalty (04). The discriminator has at least 4 layers. The y-axis is the gradient norm on a log scale, the
# x-axis the layer, from low to high. **What do you observe?** Say where the curve rises or falls, by which factor, and
# why. You see more with 12 layers. Set here `overrides = {"batch_norm": False, "layers": 12, "run": "runs/wgan_12"}`,
# and in 04 `overrides = {"layers": 12, "run": "runs/wgan_gp_12"}`. In the cell below, write the `run` of the other
# notebook.
#
# The cell below draws both settings, as soon as both runs are there. In another session, put the `.zip` of the other
# run back into `runs/`. On Kaggle, attach it with *Add Input*.

# %% [markdown] lang="zh"
# ## 你的報告
#
# **第 1 題。** 說出 WGAN 和原始的 GAN 至少兩個不同的地方。你在這裡都看過了：損失、$D$ 的最後一層、最佳化器、裁
# 剪、`n_critic`。
#
# **第 2 題。** 畫出判別器在兩種設定下的梯度範數：權重裁剪（這份筆記本）和梯度懲罰（04）。判別器至少要有 4 層。y 軸是梯
# 度範數，用對數尺度；x 軸是層，從低到高。**你觀察到什麼？** 說明曲線在哪裡上升、在哪裡下降、差幾倍、為什麼。用 12 層會
# 看得更清楚：這裡設 `overrides = {"batch_norm": False, "layers": 12, "run": "runs/wgan_12"}`，04 設
# `overrides = {"layers": 12, "run": "runs/wgan_gp_12"}`。下面的儲存格要寫另一份筆記本的 `run`。
#
# 兩次訓練的結果都有了，下面的儲存格就會把兩種設定畫在一起。如果換過工作階段，先把另一次訓練的 `.zip` 放回 `runs/`。在
# Kaggle 上，用 *Add Input* 把它加進來。

# %%
from kit.report import plot_norms

plot_norms(run, "runs/wgan_gp")

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
# | `loss_D` grows without end, below or above 0 | the slope of $D$ is not bounded | run the check of \
#   `discriminator_step` again; make `clip` smaller |
# | `loss_D` stays near 0 from the start | `clip` is so small that $D$ is flat: look at the norms, below 1e-8 | make \
#   `clip` three times as large; for the report without BatchNorm leave it: this is what you show |
# | `loss_G` → 0 | with a critic 0 means nothing: any number can be added to all scores | look at `loss_D` and at the \
#   pictures |
# | the norms differ widely: the first layer's is many times the last one's, or a small fraction of it | clipping lets \
#   gradients explode or fade from layer to layer; BatchNorm hides it | this is what your report shows; compare it \
#   with 04 |
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
# | `loss_D` 離 0 越來越遠，停不下來，正負都有可能 | $D$ 的斜率沒有上限 | 再執行一次 `discriminator_step` 的檢查；把 \
#   `clip` 調小 |
# | `loss_D` 從一開始就在 0 附近 | `clip` 太小，$D$ 幾乎是平的：看看範數，會低於 1e-8 | 把 `clip` 調成三倍；報告裡沒有 \
#   BatchNorm 的那次不用改，那正是要呈現的 |
# | `loss_G` → 0 | 對評論家來說，0 沒有特別的意思：所有的分數可以一起加上任何數 | 看 `loss_D` 和圖片 |
# | 各層的範數差很多：第一層是最後一層的好幾倍，或幾分之一 | 裁剪讓梯度一層一層地變大或變小；BatchNorm 會把它蓋住 | 這 \
#   正是報告要呈現的；和 04 比較 |
# | 一直重複同一張臉，「近似重複」的比例上升 | 模式崩潰（mode collapse）：用評論家時很少見，所以是 $D$ 太弱 | 調高 \
#   `n_critic`，或調低 `lr_G`；用更早的檢查點 |
# | 雜訊，或灰色方塊 | 步數太少；如果用了 `ema`，移動平均還沒跟上，裡面還有一開始的權重 | 接著訓練：$G$ 再 500 步；用 \
#   了 `ema` 就要 5 / (1 − `ema`) 步，0.999 是 5,000 步。然後和最上面的圖比較 |
