# %% [markdown]
# # 08 · SNGAN, SAGAN, BigGAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | the parts that made GANs large: hinge loss, spectral normalisation, attention, conditional \
#   BatchNorm, projection |
# | **You write** | `hinge_losses`, `largest_singular_value`, `SelfAttention`, `ConditionalBatchNorm`, \
#   `projection_logit` |
# | **Time** | `cpu`: 9 to 10 minutes on one CPU core; `cpu_sngan` 12, `cpu_sagan` 14. `t4_1h`, `t4_3h`, `t4_12h`: 1, \
#   3 and 11.5 hours on any GPU. `course`: 24 minutes on an H100, computed from steps per second. \
#   `sngan`, `sagan`, `biggan`: not measured |
# | **Tier** | none: faces with labels are not the course's. Variety counts, and the colour that you asked for |

# %% [markdown] lang="zh"
# # 08 · SNGAN、SAGAN、BigGAN
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | GAN 能越做越大，靠的是哪些技術：hinge 損失、頻譜正規化、注意力、條件式 BatchNorm、投影 |
# | **你要寫** | `hinge_losses`、`largest_singular_value`、`SelfAttention`、`ConditionalBatchNorm`、`projection_logit` \
#   |
# | **時間** | `cpu`：一個 CPU 核心 9 到 10 分鐘；`cpu_sngan` 12 分鐘，`cpu_sagan` 14 分 \
#   鐘。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 小時。`course`：H100 上 24 分鐘（由每秒 \
#   步數換算）。`sngan`、`sagan`、`biggan`：還沒量過 |
# | **等級** | 無：課程的資料裡沒有這種有標籤的人臉。這裡看的是多樣性夠不夠，還有顏色是不是你要的 |

# %% [markdown]
# A critic must not be steep. Notebook 03 clips its weights, and 04 punishes its slope. **SNGAN**
# ([Miyato et al., 2018](https://arxiv.org/abs/1802.05957)) divides every weight by its largest singular value $\sigma$:
# $\bar W = W / \sigma(W)$. Then no weight, taken as a matrix, can stretch anything, and it costs next to nothing. The
# loss is the hinge. It leaves pictures alone that $D$ is already sure of:
#
# $$L_D = \mathbb E_x[\max(0, 1 - D(x, y))] + \mathbb E_z[\max(0, 1 + D(G(z, y), y))]
#   \qquad L_G = -\mathbb E_z[D(G(z, y), y)]$$
#
# Here both networks know the class $y$, for example the colour of the hair. $D$ projects its features $\phi(x)$ onto
# one vector per class ([Miyato & Koyama, 2018](https://arxiv.org/abs/1802.05637)). $G$ takes the scale and the shift of
# its BatchNorm from the class.
#
# **SAGAN** ([Zhang et al., 2018](https://arxiv.org/abs/1805.08318)) lets every place of a map look at every other, so
# that two eyes can match. It normalises the weights of $G$ as well.
#
# **BigGAN** ([Brock et al., 2018](https://arxiv.org/abs/1809.11096)) makes all of it larger: wider layers, and a batch
# several times as large. All layers share one embedding of the class. A piece of $z$ enters at every size (skip-z).
# Filters are kept apart (orthogonal regularisation). Samples come from averaged weights. And $z$ can be cut off at a
# threshold, which trades variety for quality.
#
# One notebook trains all three: the presets `sngan`, `sagan` and `biggan` differ in their settings alone. `course` is a
# smaller BigGAN, with a batch of 64. You write
# the loss and the four parts that carry the ideas.

# %% [markdown] lang="zh"
# 評論家不能太陡。筆記本 03 裁剪權重，04 懲罰斜率。**SNGAN**（[Miyato et al., 2018](https://arxiv.org/abs/1802.05957)）
# 把每個權重除以它最大的奇異值 $\sigma$：$\bar W = W / \sigma(W)$。這樣沒有一個權重（當成矩陣來看）能把輸入拉長，而且幾
# 乎不花時間。損失用的是 hinge：$D$ 已經很有把握的圖片，就不再管它：
#
# $$L_D = \mathbb E_x[\max(0, 1 - D(x, y))] + \mathbb E_z[\max(0, 1 + D(G(z, y), y))]
#   \qquad L_G = -\mathbb E_z[D(G(z, y), y)]$$
#
# 這裡兩個網路都知道類別 $y$，例如髮色。每個類別有一個向量，$D$ 把特徵 $\phi(x)$ 投影到上面
# （[Miyato & Koyama, 2018](https://arxiv.org/abs/1802.05637)）。$G$ 的 BatchNorm 則由類別決定縮放和平移。
#
# **SAGAN**（[Zhang et al., 2018](https://arxiv.org/abs/1805.08318)）讓特徵圖上的每個位置都看得到其他所有位置，兩隻眼睛
# 才配得起來。$G$ 的權重也做頻譜正規化。
#
# **BigGAN**（[Brock et al., 2018](https://arxiv.org/abs/1809.11096)）把這些全部放大：層更寬，批次大好幾倍。所有的層共用
# 類別的嵌入向量（embedding）。每個解析度都拿到一段 $z$（skip-z）。濾波器之間要分得開（正交正則化）。樣本來自平均過的權
# 重。$z$ 還可以用一個門檻截斷，犧牲一些多樣性，換來品質。
#
# 三種都用這一份筆記本訓練：設定組 `sngan`、`sagan`、`biggan` 的差別只在設定。`course` 是小一點的 BigGAN，批次是 64。你
# 要寫損失，還有實現這些想法的四個部分。

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
from dataclasses import dataclass, replace

import torch
from kit.checks import (
    are_close,
    check_device,
    check_gradients,
    check_scalar,
    done,
    explained,
    has_values,
    weighted_slopes,
)
from kit.device import get_device, place, seed_everything
from kit.kinds import check_known, make_settings
from kit.labels import animate, balanced_labels, load_labelled_faces, show_classes, write_labels
from kit.launch import launch
from kit.norms import layer_norms
from kit.run import Run, frozen
from kit.samples import fixed_noise, picture_grid, plot_losses, sample, show, write_submission
from torch import nn
from torch.nn import functional as F

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
class BigGANSettings(Settings):
    """The defaults are SNGAN's. SAGAN and BigGAN change some."""

    run: str = "runs/biggan"
    attribute: str = "hair"  # what the classes are of: "hair", "eye" or a column's name; "" trains without classes
    classes: str = ""  # which classes to learn, separated by commas; "" takes all
    lr_G: float = 2e-4
    lr_D: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.9
    n_critic: int = 5
    steps: int = 50_000
    checkpoint_every: int = 2500
    spectral_norm: str = "torch"  # the style: "torch" is the library's, "ajbrock" is the one below, "" is none
    spectral_norm_G: bool = False  # in G too, not in D alone
    attention: int = 0  # the size of the maps that get self-attention, in G and in D; 0 is none
    shared: int = 0  # numbers in the class embedding that all layers of G share; 0 gives each layer its own table
    skip_z: bool = False  # a fifth of z for the start and for each block, instead of all of it for the start
    accumulate: int = 1  # batches whose gradients add up to one step
    orthogonal: float = 0.0  # weight of the orthogonal regularisation of G, BigGAN's β
    ema_start: int = 0  # G_ema is a copy of G until this step of G
    ema_every: int = 1  # steps of G between updates of G_ema
    ema_buffers: float = 0.0  # β of BatchNorm's running means and variances in G_ema; 0 copies those of G
    truncation: float = 0.0  # numbers of the samples' z beyond ±this are drawn again; 0 takes z as it comes

    def __post_init__(self):
        check_known("spectral_norm", self.spectral_norm, ("torch", "ajbrock", ""))
        check_known("attention", self.attention, (0, 8, 16, 32))  # G has maps of 64 as well, and D of 4
        if self.skip_z and self.z_dim % 5:
            raise SystemExit(f"`z_dim` is {self.z_dim}, which skip_z deals out in 5 equal pieces: set a multiple of 5")


SNGAN = BigGANSettings()
SAGAN = replace(SNGAN, spectral_norm_G=True, attention=32, n_critic=1, lr_G=1e-4, lr_D=4e-4)
BIGGAN = replace(SAGAN, spectral_norm="ajbrock", shared=128, skip_z=True, width=96, accumulate=4, orthogonal=1e-4)
BIGGAN = replace(BIGGAN, n_critic=2, lr_G=5e-5, lr_D=2e-4, beta2=0.999, steps=20_000, checkpoint_every=1000)
BIGGAN = replace(BIGGAN, ema=0.999, ema_start=1000, ema_buffers=0.9)
COURSE = replace(BIGGAN, width=64, accumulate=1, lr_G=1e-4, lr_D=4e-4)  # a ninth of the work, at SAGAN's rates
PRESETS = t4_presets(COURSE) | {"sngan": SNGAN, "sagan": SAGAN, "biggan": BIGGAN}

# Ten minutes on one CPU core, where attention to maps of 32 would take longer than all the rest.
SMALL = dict(steps=1800, batch_size=16, width=8, accumulate=1, n_critic=1, lr_G=1e-3, lr_D=5e-4, beta2=0.999)
SMALL |= dict(ema=0.99, ema_start=100, ema_buffers=0.9, checkpoint_every=300)
PRESETS["cpu"] = replace(BIGGAN, **SMALL, attention=16, shared=20)
PRESETS["cpu_sagan"] = replace(SAGAN, **SMALL, attention=16)
PRESETS["cpu_sngan"] = replace(SNGAN, **SMALL)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"attribute": "eye"}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The hinge loss
#
# A real picture costs nothing once $D$ gives it a score over 1, and a fake costs nothing once its score is under −1.
# The others have a slope of 1, whatever their score. $G$'s loss has no hinge: it wants high scores, however high.
#
# <details><summary>Hint 1</summary>
#
# A hinge is `relu`: it is 0 on one side, and a line on the other. Where does it bend for reals, and where for fakes?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The two terms of $D$ are `(1 - real).relu()` and `(1 + fake).relu()`, each with its own mean. $G$ has no hinge.
#
# </details>

# %% [markdown] lang="zh"
# ## hinge 損失
#
# 真圖的分數一超過 1，就沒有損失了。假圖的分數一低於 −1，也沒有損失了。其他的圖片斜率都是 1，不管分數是多少。$G$ 的損失
# 沒有 hinge：分數越高越好，沒有上限。
#
# <details><summary>提示 1</summary>
#
# hinge 就是 `relu`：一邊是 0，另一邊是一條斜線。真圖的轉折點在哪裡？假圖的呢？
#
# </details>
#
# <details><summary>提示 2</summary>
#
# $D$ 的兩項是 `(1 - real).relu()` 和 `(1 + fake).relu()`，各自取平均。$G$ 沒有 hinge。
#
# </details>


# %% todo="hinge_losses"
def hinge_loss_D(real, fake):
    """D's loss, a scalar, of its scores of reals [N] and of fakes [N]."""
    ### BEGIN SOLUTION
    return (1 - real).relu().mean() + (1 + fake).relu().mean()
    ### END SOLUTION


def hinge_loss_G(fake):
    """G's loss, a scalar, of D's scores of its fakes [N]."""
    ### BEGIN SOLUTION
    return -fake.mean()
    ### END SOLUTION


# %% check="hinge_losses"
def check_hinge_losses(loss_D, loss_G):
    def compare(name, loss, right_loss, mistakes, scores, scales):
        """Checks the gradient of a loss for each score, then its value. `scores` is {"reals": [N], …}."""
        given = [score.clone().requires_grad_() for score in scores.values()]

        def gradients(function):
            value = function(*given)
            with explained("its gradient cannot be taken"):
                return value, torch.autograd.grad(value, given, allow_unused=True)

        shown = [score * 1 for score in given]  # what comes from D is no leaf
        with explained(f"{name} takes D's scores, [N] each, and returns one number"):
            value = loss(*shown)
        number = check_scalar(value)
        assert value.requires_grad, f"{name} has no gradient: is there a detach(), no_grad() or item() in it?"
        _, found = gradients(lambda *_: value)
        assert all(map(torch.equal, shown, given)), f"{name} changes the scores in place: leave them as they are"
        right, expected = gradients(right_loss)
        scale = next((s for s in scales if are_close(found, [s * e for e in expected])), None)
        if scale is None:
            for hint, mistake in mistakes.items():
                _, wrong = gradients(mistake)
                assert not any(are_close(found, [s * w for w in zeros(wrong, given)]) for s in scales), hint
            for what, gradient in zip(scores, found, strict=True):
                assert has_values([gradient]), (
                    f"D's scores of {what} get no gradient in {name}: are they there, without detach(), and is "
                    "max(0, …) of each taken before the mean?"
                )
            assert not are_close(found, [-e for e in expected]), f"the sign of {name} is wrong: a loss is minimised"
            count = len(given[0])
            assert not any(are_close(found, [s * count * e for e in expected]) for s in scales), (
                "take the mean over the batch, not the sum"
            )
            raise AssertionError(f"{name} is {number:.4f}, and should be {right.item():.4f}; its gradient is wrong too")
        assert abs(number - scale * right.item()) < 1e-4, (
            f"the gradient is right, but {name} is {number:.4f} instead of {scale * right.item():.4f}"
        )

    def zeros(gradients, like):
        return [torch.zeros_like(s) if g is None else g for g, s in zip(gradients, like, strict=True)]

    def hinge(scores):
        return scores.relu().mean()

    mistakes = {
        "signs are swapped: reals want to score over 1, fakes under −1; or are the arguments in another order?": (
            lambda r, f: hinge(1 + r) + hinge(1 - f)
        ),
        "a real picture costs max(0, 1 − D(x)): reals want over 1": lambda r, f: hinge(1 + r) + hinge(1 + f),
        "a real picture costs max(0, 1 − D(x)), not max(0, D(x) − 1): reals want over 1": (
            lambda r, f: hinge(r - 1) + hinge(1 + f)
        ),
        "a fake costs max(0, 1 + D(G(z))): fakes should score under −1": lambda r, f: hinge(1 - r) + hinge(1 - f),
        "a picture that D is sure of costs nothing: max(0, …)": lambda r, f: f.mean() - r.mean(),
        "max(0, …) is missing for the reals: one that D is sure of costs nothing": lambda r, f: hinge(1 + f) - r.mean(),
        "max(0, …) is missing for the fakes: one that D is sure of costs nothing": lambda r, f: hinge(1 - r) + f.mean(),
        "take max(0, …) of each picture, then the mean": lambda r, f: hinge(1 - r.mean()) + hinge(1 + f.mean()),
        "the hinge is at ±1, not at 0: max(0, 1 − D(x)), max(0, 1 + D(G(z)))": lambda r, f: hinge(-r) + hinge(f),
        "this is the cross-entropy of 01, with a sigmoid: the hinge is max(0, …)": lambda r, f: (
            F.softplus(-r).mean() + F.softplus(f).mean()
        ),
        "no squares: the hinge is max(0, …) itself": lambda r, f: (
            (1 - r).relu().square().mean() + (1 + f).relu().square().mean()
        ),
        "this is min(0, …), not max(0, …): a picture that D is sure of costs nothing": lambda r, f: (
            (1 - r).clamp(max=0).mean() + (1 + f).clamp(max=0).mean()
        ),
    }
    real = torch.tensor([-2.0, 0.5, 3.0, 0.9, 1.7, -20.0, 20.0], device=check_device())
    fake = torch.tensor([-6.0, -0.25, 1.5, -0.7, -1.3, 20.0, -22.0], device=check_device())
    compare(
        "hinge_loss_D",
        loss_D,
        lambda r, f: hinge(1 - r) + hinge(1 + f),
        mistakes,
        {"reals": real, "fakes": fake},
        (1.0, 0.5),  # the sum of both halves, or their mean
    )
    mistakes = {
        "the sign is wrong: G wants high scores, and the loss is minimised": lambda f: f.mean(),
        "G's loss has no hinge: −mean D(G(z))": lambda f: hinge(1 - f),
        "G's loss has no hinge, also not at 0: −mean D(G(z))": lambda f: hinge(-f),
        "G's loss has no hinge, also not of the mean: −mean D(G(z))": lambda f: (-f.mean()).relu(),
        "G's loss is not D's: −mean D(G(z))": lambda f: hinge(1 + f),
        "this is the cross-entropy of 01: G's loss here is −mean D(G(z))": lambda f: F.softplus(-f).mean(),
    }
    for scores in (fake, -fake):  # whose mean is below 0, and above
        compare("hinge_loss_G", loss_G, lambda f: -f.mean(), mistakes, {"fakes": scores}, (1.0,))
    done("hinge_losses")


check_hinge_losses(hinge_loss_D, hinge_loss_G)

# %% [markdown]
# ## Spectral normalisation
#
# $\sigma(W)$ is the most that $W$ can stretch a vector. Power iteration finds it. Start from any $u$, and take
# $v = W^\top u$ and then $u = Wv$, each scaled to length 1. The two turn towards the pair of vectors that $W$ stretches
# most, and then $\sigma = u^\top W v$. Weights move little in a step. So one iteration per step is enough, if $u$ is
# kept.
#
# The gradient flows through $W$ in $u^\top W v$. It does not flow through $u$ and $v$, which are constants here. The
# weight of a convolution, `[out, in, k, k]`, counts as a matrix with one row per output. Where its windows overlap, the
# convolution itself may stretch up to $k$ times as much.
#
# <details><summary>Hint 1</summary>
#
# One iteration is two products, each scaled to length 1 by `F.normalize(…, dim=0)`. They are constants for the
# gradient.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Make the new `v` and `u` under `torch.no_grad()`. Outside of it, $u^\top W v$ is `u @ W @ v`.
#
# </details>

# %% [markdown] lang="zh"
# ## 頻譜正規化
#
# $\sigma(W)$ 是 $W$ 最多能把一個向量拉長幾倍。用冪迭代（power iteration）就找得到：從任意的 $u$ 開始，先算
# $v = W^\top u$，再算 $u = Wv$，每次都把長度縮放成 1。$u$ 和 $v$ 會慢慢轉向 $W$ 拉得最長的那一對方向，這時
# $\sigma = u^\top W v$。訓練一步，權重只變一點點。所以只要留著 $u$，每一步迭代一次就夠了。
#
# 梯度經過 $u^\top W v$ 裡的 $W$，不經過 $u$ 和 $v$：它們在這裡是常數。卷積的權重 `[out, in, k, k]` 當成一個矩陣，每個
# 輸出通道一列。卷積的視窗會重疊，所以卷積本身拉長的倍數，最多可以是這個矩陣的 $k$ 倍。
#
# <details><summary>提示 1</summary>
#
# 迭代一次就是做兩次乘法，每次都用 `F.normalize(…, dim=0)` 把長度縮放成 1。對梯度來說，結果是常數。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 在 `torch.no_grad()` 裡面算新的 `v` 和 `u`。到了外面，$u^\top W v$ 就是 `u @ W @ v`。
#
# </details>


# %% todo="largest_singular_value"
def largest_singular_value(W, u):
    """One power iteration for W [rows, columns], from u [rows]. Returns σ, a scalar with gradient, and the new u."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        v = F.normalize(W.T @ u, dim=0)  # [columns]
        u = F.normalize(W @ v, dim=0)  # [rows]
    return u @ W @ v, u
    ### END SOLUTION


# %% check="largest_singular_value"
def check_largest_singular_value(iterate):
    def unit(vector):
        return vector / vector.norm()

    shapes = "W is [rows, columns], u is [rows] and v is [columns]: v = Wᵀu, u = Wv, and F.normalize(…, dim=0)"
    sides = "u has a number per row of W, v one per column: W.T @ u, W @ v, u @ W @ v"
    torch_says = {"shapes cannot be multiplied": sides, "size mismatch": sides}
    for rows, columns, size in ((3, 5, 1.0), (7, 2, 1.0), (3, 5, 0.2)):  # wide, tall, and one that shrinks
        W = torch.linspace(-1, 2, rows * columns, device=check_device()).view(rows, columns).sin()
        W = (size * W).requires_grad_()
        u_before = unit(torch.linspace(0.6, -0.8, rows, device=check_device()))
        given, W_given = u_before.clone(), W.detach().clone()
        with explained(shapes, torch_says):
            returned = iterate(W, given)
        assert isinstance(returned, (tuple, list)) and len(returned) == 2, "return two things: σ, and the new u"
        sigma, u = returned
        assert torch.equal(given, u_before), "the u that came in was changed: return a new one"
        assert torch.equal(W, W_given), "W was changed: SpectralNorm divides it by σ, you only return σ"
        assert torch.is_tensor(sigma) and sigma.dim() == 0, "σ comes first, and is one number, a tensor: u @ W @ v"
        assert torch.is_tensor(u) and u.shape == (rows,), (
            f"u has shape {list(getattr(u, 'shape', []))}, and should be [{rows}]: one number per row of W"
        )
        assert abs(u.norm().item() - 1) < 1e-4, f"u has length {u.norm().item():.4f}, and should have 1: normalise it"
        assert not u.requires_grad, "u is a constant: take the iteration under torch.no_grad()"
        constant = W.detach()
        v_right = unit(constant.T @ u_before)
        u_right = unit(constant @ v_right)
        sigma_right, value = (constant @ v_right).norm().item(), sigma.item()
        assert not torch.allclose(u, u_before), "u did not move: u is W v, scaled to length 1"
        assert not torch.allclose(u, -u_right, atol=1e-4), "u has the wrong sign: u is W v, scaled to length 1"
        assert torch.allclose(u, u_right, atol=1e-4), "one iteration is v = Wᵀu, then u = Wv, each scaled to length 1"
        assert abs(value - constant.norm().item()) > 1e-3, "this is the Frobenius norm: σ = uᵀWv"
        unscaled = (constant @ constant.T @ u_before).norm().item()
        assert abs(value - unscaled) > 1e-3, "σ is of a v that is too long: scale v to length 1"
        assert abs(value - sigma_right**2) > 1e-3, "this is σ²: σ is u @ W @ v"
        assert abs(value - (u_before @ constant @ v_right).item()) > 1e-3, "σ is of the u before: take the new u and v"
        assert abs(value - sigma_right) < 1e-4, (
            f"σ is {value:.4f}, and should be {sigma_right:.4f}: uᵀ W v, with the new u, and with v scaled by the "
            "root of its sum of squares"
        )
        assert sigma.requires_grad, "σ has no gradient: u @ W @ v stays outside of torch.no_grad()"
        with explained("its gradient cannot be taken"):
            (gradient,) = torch.autograd.grad(sigma, W, allow_unused=True)
        assert has_values([gradient]), "σ has no gradient for W: W itself stands in u @ W @ v, not a copy"
        assert are_close([gradient], [torch.outer(u_right, v_right)]), (
            "the gradient of σ with respect to W is u vᵀ: none flows through u and v"
        )
        for _ in range(100):
            sigma, u = iterate(W, u)
        largest = torch.linalg.svdvals(constant)[0].item()
        assert abs(sigma.item() - largest) < 1e-3, (
            f"σ comes to {sigma.item():.4f} after 100 calls, and should to {largest:.4f}"
        )
    done("largest_singular_value")


check_largest_singular_value(largest_singular_value)

# %% [markdown]
# There are two styles, and they differ in what they keep. `torch` keeps $u$ and $v$. It iterates in training only, and
# trusts them in evaluation. `ajbrock`, after BigGAN's PyTorch code, keeps $u$ alone. It iterates in every forward pass,
# and stores the new $u$ in training only. So its $\sigma$ fits averaged weights as well, whose $u$ was never trained.

# %% [markdown] lang="zh"
# 頻譜正規化有兩種寫法，差別在於留下什麼。`torch` 留下 $u$ 和 $v$：只在訓練時迭代，評估時直接用留下的值。`ajbrock` 照
# BigGAN 的 PyTorch 程式，只留下 $u$：每次前向傳播都迭代，但只在訓練時存下新的 $u$。所以它的 $\sigma$ 也適用於平均過的
# 權重，雖然它們的 $u$ 從來沒有訓練過。


# %%
class SpectralNorm(nn.Module):
    """Style `ajbrock`: a weight -> the weight over its largest singular value, at every forward pass of its layer."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("u", F.normalize(torch.randn(len(weight)), dim=0))

    def forward(self, weight):
        sigma, u = largest_singular_value(weight.flatten(1), self.u)  # [out, in, k, k] -> [out, in · k · k]
        if self.training:
            self.u.copy_(u)
        return weight / sigma


def layer(module, style=""):
    """The layer with orthogonal weights to start from, spectrally normalised in a style, or not at all for ""."""
    nn.init.orthogonal_(module.weight)
    if style == "torch":
        nn.utils.parametrizations.spectral_norm(module)
    elif style == "ajbrock":
        nn.utils.parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))
    return module


# %% [markdown]
# ## Self-attention
#
# Every place $j$ of a map asks all places $i$ with a query $g(x_j)$. They answer by keys $f(x_i)$, and have values
# $h(x_i)$ to give:
#
# $$\beta_{ji} = \operatorname{softmax}_i\big(f(x_i)^\top g(x_j)\big) \qquad
#   o_j = v\Big(\sum_i \beta_{ji}\, h(x_i)\Big) \qquad y_j = x_j + \gamma\, o_j$$
#
# $f$, $g$, $h$ and $v$ are 1×1 convolutions. Inside there are an eighth of the channels. $\gamma$ is learned. It starts
# at 0: at first the network is what it would be without. There is no $1 / \sqrt d$ here, unlike in transformers. Keys
# and values are the largest of each 2×2 places, as in the authors' code: a quarter of the time and memory.
#
# <details><summary>Hint 1</summary>
#
# `flatten(2)` makes `[N, c, places]` of each map. Every query meets every key: a product of `[N, HW, c]` and `[N, c,
# HW/4]`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The softmax goes over the keys, the last dimension. Then the values are summed with these weights, and `unflatten(2,
# x.shape[2:])` makes a map again.
#
# </details>

# %% [markdown] lang="zh"
# ## 自注意力
#
# 特徵圖上的每個位置 $j$，用 query $g(x_j)$ 去問所有的位置 $i$。位置 $i$ 用 key $f(x_i)$ 回答，再把 value $h(x_i)$ 交出
# 來：
#
# $$\beta_{ji} = \operatorname{softmax}_i\big(f(x_i)^\top g(x_j)\big) \qquad
#   o_j = v\Big(\sum_i \beta_{ji}\, h(x_i)\Big) \qquad y_j = x_j + \gamma\, o_j$$
#
# $f$、$g$、$h$、$v$ 都是 1×1 卷積，中間的通道數只有八分之一。$\gamma$ 是學來的，從 0 開始：一開始，網路就和沒有注意力
# 一樣。這裡沒有 $1 / \sqrt d$，和 transformer 不同。key 和 value 在每 2×2 個位置裡取最大值，和作者的程式一樣：時間和記
# 憶體只要四分之一。
#
# <details><summary>提示 1</summary>
#
# `flatten(2)` 把每張特徵圖變成 `[N, c, places]`。每個 query 都要和每個 key 相乘，也就是 `[N, HW, c]` 乘上
# `[N, c, HW/4]`。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# softmax 對 key 做，也就是最後一個維度。接著用這些權重把 value 加總，再用 `unflatten(2, x.shape[2:])` 變回特徵圖。
#
# </details>


# %% todo="SelfAttention"
class SelfAttention(nn.Module):
    """x [N, channels, H, W] -> the same shape: each place with what it gathered from all over the map."""

    def __init__(self, channels, style=""):
        super().__init__()
        inside = max(1, channels // 8)
        f, g, h = (layer(nn.Conv2d(channels, inside, 1, bias=False), style) for _ in range(3))
        self.f, self.g, self.h = nn.Sequential(f, nn.MaxPool2d(2)), g, nn.Sequential(h, nn.MaxPool2d(2))
        self.v = layer(nn.Conv2d(inside, channels, 1, bias=False), style)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        """x + γ o. From x [N, channels, H, W], self.g makes queries [N, c, H, W], self.f keys and self.h values, both
        [N, c, H/2, W/2]. self.v takes [N, c, H, W] back to x's shape."""
        ### BEGIN SOLUTION
        queries, keys, values = (part(x).flatten(2) for part in (self.g, self.f, self.h))  # [N, c, places] each
        attention = (queries.transpose(1, 2) @ keys).softmax(2)  # [N, H · W, H · W / 4], a row per query
        gathered = values @ attention.transpose(1, 2)  # [N, c, H · W]
        return x + self.gamma * self.v(gathered.unflatten(2, x.shape[2:]))
        ### END SOLUTION


# %% check="SelfAttention"
def check_SelfAttention(make):
    def formula(x):
        """What the layer should give, with the weights that it has."""
        queries, keys, values = (part(x).flatten(2).mT for part in (attention.g, attention.f, attention.h))
        found = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)  # [N, queries, c]
        return x + attention.gamma * attention.v(found.mT.unflatten(2, x.shape[2:]))

    shapes = (
        "for x [N, C, H, W] queries are [N, c, H·W], keys and values [N, c, H·W/4], the softmax "
        "is [N, H·W, H·W/4], and v takes [N, c, H, W]"
    )
    parts = "keep the constructor as it is: forward uses self.f, self.g, self.h, self.v and self.gamma"
    for channels, height, width in ((24, 4, 6), (8, 6, 2)):
        torch.manual_seed(channels)
        with explained(parts):
            attention = make(channels).to(check_device())
        assert all(hasattr(attention, name) for name in ("f", "g", "h", "v")), parts
        assert isinstance(getattr(attention, "gamma", None), nn.Parameter), parts
        x = torch.randn(3, channels, height, width, device=check_device())
        x = (x * torch.tensor([0.3, 0.8, 1.3], device=check_device()).view(3, 1, 1, 1)).requires_grad_()
        kept = x.detach().clone()
        with torch.no_grad():
            for more in (0, 1):  # γ starts as 0
                attention.gamma.add_(more)
                with explained(shapes):
                    y = attention(x)
                assert torch.is_tensor(y), "return the map: x + γ o"
                assert y.shape == x.shape, f"the shape is {list(y.shape)}, not {list(x.shape)}"
                assert torch.equal(x, kept), "x was changed in place: other layers still need it"
                assert more or torch.allclose(y, x, atol=1e-5), "with γ = 0 the output is x: x + γ o"
            o = y - x
            queries, keys, values = (part(x).flatten(2).mT for part in (attention.g, attention.f, attention.h))
            scores = queries @ keys.mT  # [N, queries, keys]
            found = scores.softmax(2) @ values  # [N, queries, c]

            def near(wrong, o=o, x=x, attention=attention):
                """Whether o is what comes of the wrong things found [N, queries, c]."""
                return torch.allclose(o, attention.v(wrong.mT.unflatten(2, x.shape[2:])), atol=1e-4)

            right_o = attention.v(found.mT.unflatten(2, x.shape[2:]))
            inside = queries.shape[2]
            assert not torch.allclose(o + x, right_o, atol=1e-4), "x is missing: x + γ o"
            assert inside == 1 or not near((scores / inside**0.5).softmax(2) @ values), "no 1 / √d in SAGAN"
            assert not near(scores.softmax(1) @ values), (
                "softmax over the wrong places: what a query takes adds up to 1"
            )
            assert not near(scores.softmax(0) @ values), "softmax over the pictures: it is over the places that answer"
            assert not near(scores @ values), "the softmax is missing"
            assert not near(scores.softmax(2) @ keys), "the values are h(x), not the keys f(x)"
            assert inside == 1 or not near(found.reshape(3, inside, -1).mT), (
                "[N, H · W, c] is no map yet: transpose it to [N, c, H · W] first"
            )
            factor = ((o * right_o).sum() / right_o.square().sum()).item()
            assert abs(factor - 1) < 1e-3 or not torch.allclose(o, factor * right_o, atol=1e-4), (
                f"with γ = 1 o is added {factor:.3g} times: x + γ o"
            )
            assert torch.allclose(o, right_o, atol=1e-4), "o is not v(Σ_i β_ji h(x_i)): compare with the formula"
            attention.gamma.fill_(0.7)
            assert torch.allclose(attention(x), x + 0.7 * right_o, atol=1e-4), (
                "γ is missing, or scales x as well: x + γ o"
            )
        inputs = {"x": x, **dict(attention.named_parameters())}
        check_gradients(attention(x), formula(x), inputs)
        for gamma in (0.0, -0.5):  # where it starts, and where it may go
            attention.gamma.data.fill_(gamma)
            out = attention(x)
            assert has_values(weighted_slopes(out, [attention.gamma])), (
                f"with γ = {gamma} γ gets no gradient, and would stay so: x + γ o, without if, relu() or abs()"
            )
            assert torch.allclose(out, formula(x), atol=1e-4), "γ may be below 0 too: x + γ o, without relu() or abs()"
            check_gradients(out, formula(x), inputs)
    done("SelfAttention")


check_SelfAttention(SelfAttention)

# %% [markdown]
# ## Conditional BatchNorm
#
# BatchNorm brings every channel to mean 0 and variance 1. Then a scale and a shift say what it is to be. Here they
# depend on a condition $c$, one row per picture: $(1 + \text{gain}(c)) \cdot \text{norm}(x) + \text{bias}(c)$. In SNGAN
# $c$ is the class as a one-hot row, so that `gain` is a table with one row per class. In BigGAN it is the shared
# embedding of the class, with a piece of $z$.
#
# <details><summary>Hint 1</summary>
#
# `self.gain(condition)` is `[N, channels]`. To multiply a map it needs two more dimensions.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `[:, :, None, None]` adds them. The scale is `1 + gain`, so that a gain of 0 changes nothing.
#
# </details>

# %% [markdown] lang="zh"
# ## 條件式 BatchNorm
#
# BatchNorm 把每個通道變成平均 0、變異數 1，再用縮放（scale）和平移（shift）決定它該是什麼樣子。這裡的縮放和平移由條件
# $c$ 決定，每張圖片一列：$(1 + \text{gain}(c)) \cdot \text{norm}(x) + \text{bias}(c)$。在 SNGAN 裡，$c$ 是類別的
# one-hot，所以 `gain` 就是一張表，每個類別一列。在 BigGAN 裡，$c$ 是共用的類別嵌入向量，再接上一段 $z$。
#
# <details><summary>提示 1</summary>
#
# `self.gain(condition)` 是 `[N, channels]`。要和特徵圖相乘，還少兩個維度。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 用 `[:, :, None, None]` 補上這兩個維度。縮放是 `1 + gain`，所以 gain 是 0 的時候什麼都不變。
#
# </details>


# %% todo="ConditionalBatchNorm"
class ConditionalBatchNorm(nn.Module):
    """x [N, channels, H, W] and condition [N, numbers] -> x normalised, with the scale and shift of its condition."""

    def __init__(self, channels, numbers, style=""):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = (layer(nn.Linear(numbers, channels, bias=False), style) for _ in range(2))

    def forward(self, x, condition):
        """(1 + gain) · norm(x) + bias. self.gain and self.bias take [N, numbers] to [N, channels]."""
        ### BEGIN SOLUTION
        gain, bias = (part(condition)[:, :, None, None] for part in (self.gain, self.bias))  # [N, channels, 1, 1] each
        return (1 + gain) * self.norm(x) + bias
        ### END SOLUTION


# %% check="ConditionalBatchNorm"
def check_ConditionalBatchNorm(make):
    torch.manual_seed(0)
    remarks, parts = [], "keep the constructor as it is: forward uses self.norm, self.gain and self.bias"
    for channels in (5, 7):  # of 5 pictures: a gain in the wrong place shows by its value, then by its shape
        with explained(parts):
            module = make(channels, 3).to(check_device())
        assert all(hasattr(module, name) for name in ("norm", "gain", "bias")), parts
        condition = torch.randn(5, 3, device=check_device()).requires_grad_()
        contrast = torch.linspace(0.5, 4, 5, device=check_device()).view(5, 1, 1, 1)  # of each picture
        x = (1 + contrast * torch.randn(5, channels, 2, 3, device=check_device())).requires_grad_()
        norm = F.batch_norm(x, None, None, training=True)
        gain, bias = (part(condition)[:, :, None, None] for part in (module.gain, module.bias))
        kept = x.detach().clone()
        with explained("a gain and a bias are [N, channels], and become [N, channels, 1, 1] beside x"):
            y = module(x, condition)
        assert torch.is_tensor(y), "return the map: (1 + gain) · norm(x) + bias"
        assert y.shape == x.shape, f"the shape is {list(y.shape)}, not {list(x.shape)}"
        assert torch.equal(x, kept), "x was changed in place: other layers still need it"

        def near(wrong, y=y):
            return torch.allclose(y, wrong, atol=1e-3)

        assert not near((1 + gain) * x + bias), "x is not normalised: self.norm(x)"
        assert not near(gain * norm + bias), "the scale is 1 + gain: a gain of 0 changes nothing"
        assert not near((1 + bias) * norm + gain), "gain and bias are mixed up"
        assert not near((1 + gain) * norm), "the bias is missing"
        assert not near(norm + bias), "the gain is missing: (1 + gain) · norm(x) + bias"
        assert not near((1 + gain) * norm - bias), "the bias is added, not taken away"
        assert not near((1 + gain) * (norm + bias)), "scale first, then shift: (1 + gain) · norm(x) + bias"
        assert not near(F.batch_norm((1 + gain) * x + bias, None, None, training=True)), "normalise first, then scale"
        assert not near((1 + gain) * F.instance_norm(x) + bias), (
            "this normalises each picture by itself: BatchNorm takes all pictures of a batch together, self.norm(x)"
        )
        if channels == 5:
            shifted = (1 + gain.transpose(0, 1)) * norm + bias.transpose(0, 1)
            assert not near(shifted), (
                "the gain of a picture went to a channel: [N, channels] becomes [N, channels, 1, 1]"
            )
        assert near((1 + gain) * norm + bias), (
            "this is not (1 + gain) · norm(x) + bias, one gain per picture and channel"
        )
        moved = module.norm.running_mean
        assert moved.abs().sum() > 0, "the running means did not move: call self.norm(x)"
        assert not torch.allclose(moved, 0.09 * x.mean((0, 2, 3)), atol=1e-4), (
            "self.norm normalises what it has normalised already: call it once"
        )
        if not torch.allclose(moved, 0.1 * x.mean((0, 2, 3)), atol=1e-4):
            remarks = ["the running means move more than once per batch: call self.norm(x) once, which is faster"]
        inputs = {"x": x, "the condition": condition, **dict(module.named_parameters())}
        check_gradients(y, (1 + gain) * norm + bias, inputs)

        module.eval()
        statistics = module.norm.running_mean, module.norm.running_var
        y = module(x, condition)
        assert near((1 + gain) * F.batch_norm(x, *statistics) + bias, y), (
            "in evaluation mode it does not use the running statistics: call self.norm(x), which does"
        )
    done("ConditionalBatchNorm", remarks)


check_ConditionalBatchNorm(ConditionalBatchNorm)

# %% [markdown]
# ## The generator
#
# Residual blocks double the size, from 4×4 to 64×64. The main path of a block goes through two convolutions, and the
# shortcut beside it through one of 1×1. $G$ takes $z$ and $y$ side by side, as one row. $y$ is a one-hot row. A row
# with 0.5 for one class and 0.5 for another works too. You will use that to walk between classes.

# %% [markdown] lang="zh"
# ## 生成器
#
# 每個殘差區塊（residual block）把大小加倍，從 4×4 到 64×64。區塊的主要路徑經過兩個卷積，旁邊的捷徑（shortcut）經過一個
# 1×1 卷積。$G$ 的輸入是 $z$ 和 $y$ 接成的一列。$y$ 是 one-hot，所以一半這個類別、一半那個類別，也是可以用的一列。後面
# 你會用它從一個類別走到另一個類別。


# %%
class UpBlock(nn.Module):
    """x [N, channels_in, S, S] and condition [N, numbers] -> [N, channels_out, 2S, 2S]."""

    def __init__(self, channels_in, channels_out, numbers, style, style_of_norms):
        super().__init__()
        self.norm1 = ConditionalBatchNorm(channels_in, numbers, style_of_norms)
        self.conv1 = layer(nn.Conv2d(channels_in, channels_out, 3, padding=1), style)
        self.norm2 = ConditionalBatchNorm(channels_out, numbers, style_of_norms)
        self.conv2 = layer(nn.Conv2d(channels_out, channels_out, 3, padding=1), style)
        self.shortcut = layer(nn.Conv2d(channels_in, channels_out, 1), style)

    def forward(self, x, condition):
        h = self.conv1(double(self.norm1(x, condition).relu()))
        h = self.conv2(self.norm2(h, condition).relu())
        return h + double(self.shortcut(x))  # 1×1 before doubling or after is the same, and before is cheaper


def double(x):
    return F.interpolate(x, scale_factor=2)  # [N, C, S, S] -> [N, C, 2S, 2S], each pixel four times


class Generator(nn.Module):
    """z and y side by side [N, z_dim + classes] -> pictures [N, 3, 64, 64] in −1 … 1."""

    def __init__(self, settings, classes):
        super().__init__()
        pieces = 5 if settings.skip_z else 1  # one for the start, and one for each block
        self.numbers, piece = [settings.z_dim, classes], settings.z_dim // pieces
        style = settings.spectral_norm if settings.spectral_norm_G else ""
        style_of_norms = style if settings.shared else ""  # tables of classes are not normalised, as in the papers
        self.embed = nn.Linear(classes, settings.shared, bias=False) if settings.shared else nn.Identity()
        numbers = (settings.shared or classes) + (piece if settings.skip_z else 0)

        w = settings.width
        channels = [8 * w, 8 * w, 4 * w, 2 * w, w]  # of maps of 4, 8, 16, 32 and 64
        self.project = layer(nn.Linear(piece, channels[0] * 4 * 4), style)
        self.pieces, self.blocks, self.attention = pieces, nn.ModuleList(), nn.ModuleDict()
        for stage in range(4):
            self.blocks.append(UpBlock(channels[stage], channels[stage + 1], numbers, style, style_of_norms))
            if 8 * 2**stage == settings.attention:
                self.attention[str(stage)] = SelfAttention(channels[stage + 1], style)
        self.paint = nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), layer(nn.Conv2d(w, 3, 3, padding=1), style), nn.Tanh())

    def forward(self, latents):
        z, y = latents.split(self.numbers, 1)
        z, *skipped = z.chunk(self.pieces, 1)
        embedded = self.embed(y)
        x = self.project(z).unflatten(1, (-1, 4, 4))
        for stage, block in enumerate(self.blocks):
            x = block(x, torch.cat([embedded, *skipped[stage : stage + 1]], 1))
            if str(stage) in self.attention:
                x = self.attention[str(stage)](x)
        return self.paint(x)


# %% [markdown]
# ## The discriminator, with projection
#
# With the loss of 01, the best $D$ compares reals with fakes in two things. One is how likely the class $y$ is for this
# picture. The other is how likely the picture is, whatever its class. Its score before the Sigmoid is the sum of two
# terms: one depends on the class, and one does not. $D$ is built as such a sum, with the hinge loss too,
#
# $$D(x, y) = e_y^\top \phi(x) + \psi(\phi(x))$$
#
# with a learned vector $e_y$ for each class, and a linear $\psi$. The residual blocks make $\phi(x)$ of the picture,
# summed over all places.
#
# <details><summary>Hint 1</summary>
#
# $e_y^\top \phi$ is one number per picture: multiply, and sum over the channels.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `psi(features)` is `[N, 1]`. Take `squeeze(1)` before you add it to `[N]`.
#
# </details>

# %% [markdown] lang="zh"
# ## 有投影的判別器
#
# 用 01 的損失，最好的 $D$ 拿真圖和假圖比兩件事：看到這張圖片，它屬於類別 $y$ 的機會有多大；不管類別，出現這張圖片的機會
# 又有多大。它在 Sigmoid 之前的分數就是兩項的和：一項和類別有關，一項無關。換成 hinge 損失，$D$ 也做成這樣的和：
#
# $$D(x, y) = e_y^\top \phi(x) + \psi(\phi(x))$$
#
# $e_y$ 是學來的向量，每個類別一個；$\psi$ 是線性的。$\phi(x)$ 是殘差區塊從圖片算出來的，再對所有位置加總。
#
# <details><summary>提示 1</summary>
#
# $e_y^\top \phi$ 是每張圖片一個數：先相乘，再對通道加總。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `psi(features)` 是 `[N, 1]`。先 `squeeze(1)`，再和 `[N]` 相加。
#
# </details>


# %% todo="projection_logit"
def projection_logit(features, class_vectors, psi):
    """D's scores [N] of features φ(x) [N, C], with the e_y of each [N, C], and psi, a layer [N, C] -> [N, 1]."""
    ### BEGIN SOLUTION
    return (class_vectors * features).sum(1) + psi(features).squeeze(1)
    ### END SOLUTION


# %% check="projection_logit"
def check_projection_logit(logit):
    torch.manual_seed(0)
    psi = nn.Linear(7, 1).to(check_device())
    features = (torch.randn(4, 7, device=check_device()) + 0.3).requires_grad_()
    vectors = torch.randn(4, 7, device=check_device()).requires_grad_()
    given = features, vectors, psi.weight, psi.bias
    before = [one.detach().clone() for one in given]
    with explained("(e * φ).sum(1) is [N], and ψ(φ) is [N, 1] until you squeeze(1) it"):
        scores = logit(features, vectors, psi)
    assert torch.is_tensor(scores), f"return the scores [N] as a tensor, not as {type(scores).__name__}"
    assert all(map(torch.equal, given, before)), "it changes what it is given: make a new tensor"
    by_class = torch.stack([e @ phi for e, phi in zip(vectors, features, strict=True)])
    rest = psi(features)[:, 0]

    def near(wrong):
        return scores.shape == wrong.shape and torch.allclose(scores, wrong, atol=1e-4)

    assert not near(by_class + psi(features)), "ψ gives [N, 1], and with [N] that makes [N, N]"
    assert not near(by_class[:, None] + rest), "the projection is [N, 1], and with [N] that makes [N, N]: no keepdim"
    assert scores.shape != (4, 4), (
        "the scores are [N, N]: ψ(φ) is [N, 1], so squeeze it; and each picture meets its own vector, (e * φ).sum(1)"
    )
    assert scores.shape == (4,), f"4 pictures gave {list(scores.shape)}, not one number each"
    assert not near(by_class), "ψ(φ(x)) is missing"
    assert not near(rest), "the projection e · φ(x) is missing"
    assert not near(by_class - rest), "ψ(φ(x)) is added, not taken away"
    assert not near(rest - by_class), "the projection e · φ(x) is added, not taken away"
    assert not near(psi(features + vectors)[:, 0]), "e is multiplied with φ(x), not added to it"
    assert not near(by_class / 7 + rest), "a scalar product is a sum, not a mean"
    assert not near(by_class / 7**0.5 + rest), "no 1 / √C: the scalar product as it is"
    assert not near(by_class.sum() + rest), (
        "each picture gets the sum over all pictures: sum over the features, .sum(1)"
    )
    assert not near(F.cosine_similarity(vectors, features) + rest), "e and φ(x) keep their lengths: no cosine"
    assert not near(by_class + psi(vectors)[:, 0]), "ψ is of the features, not of the class"
    assert not near(by_class + psi(vectors * features)[:, 0]), "ψ is of the features alone, not of e * φ(x)"
    assert not near(by_class + features @ psi.weight[0]), "the bias of ψ is missing: call psi(features)"
    assert near(by_class + rest), "this is not e · φ(x) + ψ(φ(x)) for each picture"
    inputs = {"φ(x)": features, "e_y": vectors, "ψ's weight": psi.weight, "ψ's bias": psi.bias}
    check_gradients(scores, by_class + rest, inputs)
    done("projection_logit")


check_projection_logit(projection_logit)


# %%
class DownBlock(nn.Module):
    """x [N, channels_in, S, S] -> [N, channels_out, S/2, S/2], or the same size."""

    def __init__(self, channels_in, channels_out, style, first=False, down=True):
        super().__init__()
        self.before = nn.Identity() if first else nn.ReLU()  # a picture's darker half is not to be cut off
        self.conv1 = layer(nn.Conv2d(channels_in, channels_out, 3, padding=1), style)
        self.conv2 = layer(nn.Conv2d(channels_out, channels_out, 3, padding=1), style)
        self.shortcut = layer(nn.Conv2d(channels_in, channels_out, 1), style)
        self.shrink = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, x):
        h = self.conv2(self.conv1(self.before(x)).relu())
        return self.shrink(h) + self.shortcut(self.shrink(x))


class Discriminator(nn.Module):
    """pictures [N, 3, 64, 64] and y [N, classes] -> scores [N], any number."""

    def __init__(self, settings, classes):
        super().__init__()
        w, style = settings.width, settings.spectral_norm
        channels = [3, w, 2 * w, 4 * w, 8 * w]  # of maps of 64, 32, 16, 8 and 4
        blocks = []
        for stage in range(4):
            blocks.append(DownBlock(channels[stage], channels[stage + 1], style, first=stage == 0))
            if 32 // 2**stage == settings.attention:
                blocks.append(SelfAttention(channels[stage + 1], style))
        self.blocks = nn.Sequential(*blocks, DownBlock(8 * w, 8 * w, style, down=False), nn.ReLU())
        self.embed = layer(nn.Linear(classes, 8 * w, bias=False), style)  # column y is e_y
        self.psi = layer(nn.Linear(8 * w, 1), style)

    def forward(self, pictures, y):
        features = self.blocks(pictures).sum((2, 3))  # [N, 8w, 4, 4] -> [N, 8w]
        return projection_logit(features, self.embed(y), self.psi)


# %% [markdown]
# ## A large batch out of small ones
#
# BigGAN's batch of 2,048 does not fit into our GPUs, but gradients add up. Take four batches, and divide each loss by
# four: their gradients add up to that of the mean over all. In $D$ this is exact: nothing in it looks at other
# pictures. $G$'s BatchNorm does: it normalises each of the four by itself (*ghost batches*). So the step differs from
# that of a large batch, but it may be as good. Power iteration goes on from batch to batch, so $\sigma$ differs by as
# little as from step to step.
#
# **Orthogonal regularisation** adds $\beta\,\lVert W W^\top \circ (1 - I) \rVert^2$ to $G$'s loss for each weight $W$.
# The filters are its rows. They should be orthogonal to each other, but may have any length. It makes $G$ smooth, so
# that the truncation below is safe. As $\lVert W W^\top \rVert = \lVert W^\top W \rVert$, the smaller of the two will
# do.

# %% [markdown] lang="zh"
# ## 用小批次湊出大批次
#
# BigGAN 的批次是 2,048，我們的 GPU 都裝不下。不過梯度可以累加：拿四個批次，每個損失除以四，梯度加起來就等於全部取平均
# 的梯度。對 $D$ 來說，兩者完全相同，因為它看一張圖片時不會用到別張。$G$ 的 BatchNorm 卻會用到：它在四個批次裡各自正規
# 化（*ghost batch*）。所以這一步和真正的大批次不一樣，但不一定比較差。冪迭代從一個批次接到下一個批次，$\sigma$ 的差別
# 很小，和一步到下一步差不多。
#
# **正交正則化**（orthogonal regularization）替 $G$ 的每個權重 $W$，在損失裡加上
# $\beta\,\lVert W W^\top \circ (1 - I) \rVert^2$。濾波器就是 $W$ 的列：它們應該互相正交，長度則不限。這樣 $G$ 會比較平
# 滑，下面的截斷才安全。因為 $\lVert W W^\top \rVert = \lVert W^\top W \rVert$，算比較小的那個就好。


# %%
def orthogonal_penalty(network):
    """The sum of the squares of all scalar products between filters of a weight, over all weights but the embedding."""
    total = 0.0
    for name, weight in network.named_parameters():
        if weight.dim() > 1 and not name.startswith("embed"):
            W = weight.flatten(1)  # [out, in, k, k] -> [out, in · k · k]
            products = W @ W.T if W.shape[0] < W.shape[1] else W.T @ W
            total = total + products.square().sum() - W.square().sum(1).square().sum()  # the last is the diagonal
    return total


def discriminator_step(D, G, optimizer_D, batches, z_dim):
    """One step of D on all batches: tuples of real pictures [N, 3, 64, 64], their y [N, classes], and the z and y that
    its fakes are made of [N, z_dim + classes]. Returns its loss, a scalar."""
    optimizer_D.zero_grad()
    total = 0.0
    for real, y, latents in batches:
        with torch.no_grad():
            fake = G(latents)
        scores = D(torch.cat([real, fake]), torch.cat([y, latents[:, z_dim:]]))  # [2N]
        loss = hinge_loss_D(*scores.split(len(real))) / len(batches)
        loss.backward()
        total = total + loss.detach()
    optimizer_D.step()
    return total


def generator_step(D, G, optimizer_G, batches, z_dim, orthogonal):
    """One step of G on all batches of z and y [N, z_dim + classes]. `orthogonal` is the weight of its penalty. Returns
    its loss without the penalty, a scalar."""
    optimizer_G.zero_grad()
    total = 0.0
    for latents in batches:
        loss = hinge_loss_G(D(G(latents), latents[:, z_dim:])) / len(batches)
        loss.backward()
        total = total + loss.detach()
    if orthogonal:
        (orthogonal * orthogonal_penalty(G)).backward()
    optimizer_G.step()
    return total


# %% [markdown]
# ## The average, and what samples are made of
#
# Samples come from `G_ema`, a running average of $G$'s weights. Here it starts late, as a copy of $G$: the first
# weights are worth nothing. BatchNorm's running statistics are averages already, and follow with a $\beta$ of their
# own. The vectors $u$ are copied: an average of directions is no direction.
#
# The samples' $z$ can be truncated: numbers beyond a threshold are drawn again. Each class gets as many of the 1,000
# samples as the others, one more or less.

# %% [markdown] lang="zh"
# ## 移動平均，還有樣本怎麼來
#
# 樣本來自 `G_ema`，也就是 $G$ 的權重的移動平均。這裡它比較晚才開始平均，之前只是 $G$ 的複本：最早的權重沒有價
# 值。BatchNorm 的統計量本來就是移動平均，所以用另一個 $\beta$ 更新。向量 $u$ 直接複製：把方向拿來平均，就不是方向了。
#
# 樣本的 $z$ 可以截斷：超過門檻的數重抽。1,000 個樣本平均分給每個類別，最多差一個。


# %%
@torch.no_grad()
def update_average(G_ema, G, step, settings):
    """Moves G_ema towards G after the step `step` of G: a copy up to step settings.ema_start, then every
    settings.ema_every steps θ_ema ← β θ_ema + (1 − β) θ."""
    copies = step <= settings.ema_start
    if not copies and step % settings.ema_every:
        return
    beta, beta_buffers = (0.0, 0.0) if copies else (settings.ema, settings.ema_buffers)
    torch._foreach_lerp_([*G_ema.parameters()], [*G.parameters()], 1 - beta)
    for (name, average), buffer in zip(G_ema.named_buffers(), G.buffers(), strict=True):
        if name.endswith(("running_mean", "running_var")):
            average.lerp_(buffer, 1 - beta_buffers)
        else:
            average.copy_(buffer)


def truncate(z, threshold, seed):
    """z with the numbers beyond ±threshold drawn again until none is left. None is drawn again at 0 or less."""
    z, generator = z.clone(), torch.Generator().manual_seed(seed)
    while threshold > 0 and (beyond := z.abs() > threshold).any():
        z[beyond] = torch.randn(int(beyond.sum()), generator=generator).to(z.device)
    return z


def one_hot(labels, classes):
    return F.one_hot(labels, classes).float()  # [N] -> [N, classes]


def join(z, y):
    return torch.cat([z, y], 1)  # what G takes: [N, z_dim] and [N, classes] -> [N, z_dim + classes]


def latents_of_samples(settings, labels, classes):
    """z and y of the samples [N, z_dim + classes], always the same for one seed, of their labels [N]."""
    z = truncate(fixed_noise(settings, len(labels)), settings.truncation, settings.seed + 1)
    return join(z, one_hot(labels, classes))


def latents_of_fakes(run, labels, classes, count):
    """z and y for fakes [count, z_dim + classes], whose classes are as frequent as among the faces' labels [N]."""
    z = run.noise(count)
    return join(z, one_hot(labels[torch.randint(len(labels), (count,), device=labels.device)], classes))


# %% [markdown]
# ## Training
#
# Both networks stay in float32: `half` changes nothing here.

# %% [markdown] lang="zh"
# ## 訓練
#
# 兩個網路都維持 float32：`half` 在這裡沒有作用。


# %%
def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, with its faces as run.faces
    and the names of its classes as run.classes."""
    seed_everything(settings.seed)
    device = get_device()
    faces, labels, names = load_labelled_faces(settings, device)  # uint8 [N, 3, 64, 64], int [N], the classes' names
    classes, z_dim = len(names), settings.z_dim
    G = place(Generator(settings, classes), settings, device, half=False)
    D = place(Discriminator(settings, classes), settings, device, half=False)
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)
    labels_of_samples = balanced_labels(1000, classes)  # first eight of each class: a row of the grid
    z = latents_of_samples(settings, labels_of_samples, classes)
    run = Run(settings, G, D, z, shown=8 * classes, optimizer_G=optimizer_G, optimizer_D=optimizer_D)
    run.faces, run.classes = faces, names
    write_labels(run, labels_of_samples, names)

    for step, real, y in run.steps(faces, labels, batch_size=settings.batch_size * settings.accumulate):
        pairs = zip(real.chunk(settings.accumulate), y.chunk(settings.accumulate), strict=True)
        batches = [(x, one_hot(y, classes), latents_of_fakes(run, labels, classes, len(x))) for x, y in pairs]
        run.log(loss_D=discriminator_step(D, G, optimizer_D, batches, z_dim))
        if step % settings.norms_every == 0:
            run.record_norms(layer_norms(D))  # now: G's step would add its own gradients
        if step % settings.n_critic == 0:
            fakes = [latents_of_fakes(run, labels, classes, len(x)) for x, *_ in batches]
            with frozen(D):  # no time for gradients of weights that stay as they are
                run.log(loss_G=generator_step(D, G, optimizer_G, fakes, z_dim, settings.orthogonal))
            update_average(run.G_ema, G, step // settings.n_critic, settings)
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
# $L_D$ is 2 where $D$ gives every picture a 0, and 0 where it is sure of all. $G$ learns while it is between the two.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# 如果 $D$ 給每張圖片都打 0 分，$L_D$ 是 2；如果 $D$ 對每張都有把握，$L_D$ 是 0。在這兩者之間，$G$ 才學得到東西。

# %%
plot_losses(run)

# %% [markdown]
# What does the class change? Below, all rows share their eight $z$. Down a column only the class changes.

# %% [markdown] lang="zh"
# 類別會改變什麼？下圖的每一列都用同樣的八個 $z$。一行從上往下看，只有類別不同。

# %%
z = run.z[:8, : settings.z_dim].repeat(len(run.classes), 1)  # [8 · classes, z_dim]
rows = torch.arange(len(run.classes), device=run.device).repeat_interleave(8)
pictures = sample(run.G_ema, join(z, one_hot(rows, len(run.classes))))
show_classes(pictures, run.classes, run.folder / "classes.png")

# %% [markdown]
# ## Truncation
#
# Few numbers of a $z$ are far from 0, so $G$ has learned little from those. Draw them again, and faces get more regular
# and more alike. Each row below has the same eight $z$, with their numbers beyond the threshold drawn again. But $z$
# gets shorter: its length is about 0.6 at ±0.1, and about 10 in training. Only a smooth $G$ can use so short a $z$.

# %% [markdown] lang="zh"
# ## 截斷
#
# $z$ 裡離 0 很遠的數很少，$G$ 也就學得少。把這些數重抽，臉會變得端正，但也變得相像。下圖的每一列是同樣的八個 $z$，超過
# 門檻的數重抽過。不過 $z$ 會變短：±0.1 的長度大約是 0.6，訓練時大約是 10。$G$ 要夠平滑，才受得了。`z as it is` 是沒有截
# 斷的，`within` 後面是門檻。

# %%
thresholds = {"z as it is": 0.0, "within ±1": 1.0, "within ±0.5": 0.5, "within ±0.1": 0.1}
z = torch.randn(8, settings.z_dim, generator=torch.Generator().manual_seed(1)).to(run.device)
z = torch.cat([truncate(z, threshold, settings.seed + 1) for threshold in thresholds.values()])  # [4 · 8, z_dim]
y = run.z[:1, settings.z_dim :].expand(len(z), -1)
show_classes(sample(run.G_ema, join(z, y)), list(thresholds), run.folder / "truncation.png")

# %% [markdown]
# ## Your submission
#
# 1,000 pictures `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz` in RUN, the folder of this
# training. The cell below prints where they are. Score them on the computer that has this project:
# `python -m grader score RUN/submission.tgz --reference FACES`, where FACES are those that you trained on. Add
# `--by-label FACES --labels RUN/labels.csv`, and the grader also scores each class by itself. `labels.csv` says which
# class each picture should show. For eye colours add `--attribute eye`.
#
# An earlier checkpoint may be better. `python -m grader history RUN --reference FACES --pack best` puts the best one
# into `RUN/submission.tgz`: score it by the same command. The folder of pictures keeps the last one.

# %% [markdown] lang="zh"
# ## 你要繳交的檔案
#
# 1,000 張 64×64 的圖片 `1.jpg` … `1000.jpg`，放在一個資料夾裡，也打包成沒有子資料夾的 `submission.tgz`，放進這次訓練的
# 資料夾 RUN。下面的儲存格會印出它們在哪裡。在裝了這個專案的電腦上，用
# `python -m grader score RUN/submission.tgz --reference FACES` 替它們評分，FACES 是訓練用的人臉。再加上
# `--by-label FACES --labels RUN/labels.csv`，評分程式還會替每個類別分開評分。`labels.csv` 寫著每張圖片該是哪個類別。如
# 果是眼睛的顏色，再加上 `--attribute eye`。
#
# 更早的檢查點可能更好：用 `python -m grader history RUN --reference FACES --pack best`，就能把最好的一個放進
# `RUN/submission.tgz`，再用同一個指令評分。圖片的資料夾裡還是最後一個。

# %%
pictures = write_submission(run)

# %% [markdown]
# ## Your score
#
# The cells below score what you trained here. On a GPU you get FID. It compares with up to 10,000 of your training
# faces, by pytorch-fid's Inception network (91 MB, downloaded). AFD is the share of pictures in which lbpcascade finds
# a face. The grader, if it is installed, measures distances to your own faces. There is no tier for them. If this
# machine lacks something, a line says what.
#
# Compare FID with FID only. The course's site has another scale, and no factor converts one to the other.

# %% [markdown] lang="zh"
# ## 你的分數
#
# 下面的儲存格替你在這裡訓練的結果評分。FID 在 GPU 上計算，拿生成的圖片和訓練用的人臉（最多 10,000 張）比較，用的是
# pytorch-fid 的 Inception 網路（91 MB，從網路下載）。AFD 是 lbpcascade 找得到臉的圖片所佔的比例。如果裝了評分程式
# grader，它會量生成的圖片和你的人臉資料的距離；用自己的資料，沒有等級。這台機器缺什麼，會印出一行說明。
#
# FID 只能和 FID 比。課程網站用的是另一種尺度，兩者之間沒有換算的倍數。

# %%
from kit.faces import find_faces
from kit.score import score_run

score_run(run, faces=run.faces, reference=find_faces(settings.faces))

# %% [markdown]
# ## When it looks wrong
#
# Most settings cannot change within a `run`: set another one. To train on in the same `run`, raise `steps` and run the
# notebook again. A preset with `hours` needs no change for that.
#
# | you see | cause | what to do |
# |---|---|---|
# | `loss_D` → 0 | $D$ is sure of all: spectral normalisation does not work, or `lr_D` is too high | run \
#   the check of `largest_singular_value` again, if `spectral_norm` is `ajbrock`; lower `lr_D` |
# | `loss_D` stays at 2, `loss_G` → 0 | $D$ knows nothing: all scores are near 0 | raise `lr_D`, or `n_critic` |
# | `loss_D` grows over 2 | large batches and large steps: BigGAN collapses late | take an earlier checkpoint; lower \
#   `lr_G` |
# | one face per class | SNGAN and SAGAN do this in ten minutes; BigGAN varies | turn on `skip_z`; take a larger batch \
#   (`accumulate`) |
# | noise | too few steps; before `ema_start` the average is a copy of $G$ | wait for 500 steps more |

# %% [markdown] lang="zh"
# ## 結果不對勁時
#
# 大部分的設定一改，筆記本就會停下來：把 `run` 也換成別的資料夾，重新訓練。想用同一個 `run` 接著訓練，就調高 `steps`，再
# 執行一次筆記本；有 `hours` 的設定組不用改。
#
# | 你看到 | 原因 | 怎麼辦 |
# |---|---|---|
# | `loss_D` → 0 | $D$ 對每張圖都很有把握：頻譜正規化沒有作用，或是 `lr_D` 太高 | `spectral_norm` 是 `ajbrock` 時，再 \
#   執行一次 `largest_singular_value` 的檢查；調低 `lr_D` |
# | `loss_D` 停在 2，`loss_G` → 0 | $D$ 什麼都分不出來：分數都接近 0 | 調高 `lr_D` 或 `n_critic` |
# | `loss_D` 一直變大，超過 2 | 批次大、每一步也大：BigGAN 訓練到後來會崩潰 | 用更早的檢查點；調低 `lr_G` |
# | 每個類別只有一張臉 | SNGAN 和 SAGAN 只訓練十分鐘就會這樣；BigGAN 有變化 | 打開 `skip_z`；用大一點的批次 \
#   （`accumulate`） |
# | 雜訊 | 步數太少；在 `ema_start` 之前，平均值只是 $G$ 的複本 | 再等 500 步 |

# %% [markdown]
# ## Going further
#
# The cells below are folded.
#
# **Samples of given classes.** As many of each class as you want.

# %% [markdown] lang="zh"
# ## 更進一步
#
# 下面的儲存格是摺疊的。
#
# **指定類別的樣本。** 每個類別想要幾張，就有幾張。


# %% fold="Samples of given classes"
def sample_classes(run, counts, truncation=0.0, seed=0):
    """Pictures uint8 [N, 3, 64, 64] and their labels [N], as many of each class as counts says: {"aqua": 5, "red": 3}.

    Raises ValueError for a class that does not exist.
    """
    labels = torch.tensor([run.classes.index(name) for name, count in counts.items() for _ in range(count)])
    z = torch.randn(len(labels), run.settings.z_dim, generator=torch.Generator().manual_seed(seed))
    latents = join(truncate(z, truncation, seed + 1), one_hot(labels, len(run.classes)))
    return sample(run.G_ema, latents.to(run.device)), labels


pictures, _ = sample_classes(run, {run.classes[0]: 5, run.classes[-1]: 3}, settings.truncation)
show(picture_grid(pictures))

# %% [markdown]
# **Walks.** Between two $z$ a straight line (*lerp*) passes nearer to 0 than any $z$ that $G$ was trained on. 100
# normal numbers have a length of about $\sqrt{100}$, and half way it is $\sqrt{50}$. The great circle (*slerp*) keeps
# the length. Between classes the line is the natural way: half of one row and half of the other.

# %% [markdown] lang="zh"
# **漫步。** 在兩個 $z$ 之間走直線（*lerp*），半路上會離 0 很近，$G$ 訓練時沒看過這麼近的 $z$。100 個常態分布的數，長度
# 大約是 $\sqrt{100}$；走到一半，長度只剩 $\sqrt{50}$。沿著大圓走（*slerp*），長度就不會變。類別之間就走直線，這樣才自
# 然：一半這一列，一半那一列。


# %% fold="Walks between classes, and between two z"
def lerp(a, b, t):
    """The row a [numbers] at t = 0, b at t = 1, and what lies between on the line."""
    return (1 - t) * a + t * b


def slerp(a, b, t):
    """As lerp, on the arc from the direction of a to that of b; the length goes from one to the other as well."""
    angle = torch.acos(F.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if angle.sin() < 1e-4:  # the same direction, or opposite ones, between which no arc is shorter
        return lerp(a, b, t)
    return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b


def walk(a, b, steps, between=lerp):
    """Rows [steps, numbers] from a to b."""
    return torch.stack([between(a, b, t) for t in torch.linspace(0, 1, steps).tolist()])


z = torch.randn(8, settings.z_dim, generator=torch.Generator().manual_seed(2)).to(run.device)
y = torch.eye(len(run.classes), device=run.device)  # a row per class
print(f"one z per row, from {run.classes[0]} to {run.classes[-1]}")
classes_between = walk(y[0], y[-1], 8)
show(picture_grid(sample(run.G_ema, torch.cat([join(row.expand(8, -1), classes_between) for row in z[:4]]))))
print(f"one class, {run.classes[0]}, from one z to another: lerp above, slerp below")
zs_between = torch.cat([walk(z[0], z[1], 8, lerp), walk(z[0], z[1], 8, slerp)])
show(picture_grid(sample(run.G_ema, join(zs_between, y[0].expand(16, -1)))))

# %% [markdown]
# **Animations.** Six faces walk through all classes. Then a face of each class walks through $z$, and back to where it
# began.

# %% [markdown] lang="zh"
# **動畫。** 先讓六張臉走過所有的類別。接著每個類別各有一張臉，在 $z$ 裡走一圈，回到起點。


# %% fold="The same walks as animated pictures"
def round_walk(corners, steps, between=lerp):
    """Rows [corners · steps, numbers] from each corner [corners, numbers] to the next, and back to the first."""
    return torch.cat([walk(a, b, steps + 1, between)[:-1] for a, b in zip(corners, corners.roll(-1, 0), strict=True)])


def animate_faces(run, frames, path):
    """An animated picture at `path`. Each frame is a grid of faces, of rows [faces, z_dim + classes]."""
    pictures = sample(run.G_ema, torch.cat(frames)).split(len(frames[0]))
    animate([picture_grid(frame, columns=6) for frame in pictures], path, most=len(pictures))


animate_faces(run, [join(z[:6], between.expand(6, -1)) for between in round_walk(y, 3)], run.folder / "classes.gif")
zs = round_walk(z[:3], 12, slerp)
animate_faces(run, [join(between.expand(len(y), -1), y) for between in zs], run.folder / "z.gif")
