# %% [markdown]
# # 02 · Gradient clipping
#
# | In this notebook | |
# |---|---|
# | **You learn** | why one long gradient can ruin a run, and how to shorten it without turning it |
# | **You write** | `clipped_step` |
# | **Time** | `cpu`: 11 minutes on one CPU core, for **Simple**. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours \
#   on any GPU. `course`: 8 minutes on an H200, computed from steps per second |
# | **Tier** | **Medium**: {{Medium}} |

# %% [markdown] lang="zh"
# # 02 · 梯度裁剪（gradient clipping）
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 為什麼一個太長的梯度就能毀掉整次訓練，還有怎麼把它縮短而不改變方向 |
# | **你要寫** | `clipped_step` |
# | **時間** | `cpu`：一個 CPU 核心 11 分鐘，只能過 **Simple**。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 小 \
#   時。`course`：H200 上 8 分鐘（由每秒步數換算） |
# | **等級** | **Medium**：{{Medium}} |

# %% [markdown]
# ![Eight samples after 500, 2,000 and 4,000 steps of preset cpu](results/02_gradient_clipping_cpu/stages.jpg)
#
# *Preset `cpu` after 500, 2,000 and 4,000 steps, not selected.*

# %% [markdown] lang="zh"
# ![設定組 cpu 訓練 500、2,000、4,000 步之後的八個樣本](results/02_gradient_clipping_cpu/stages.jpg)
#
# *設定組 `cpu` 訓練 500、2,000、4,000 步之後，沒有挑選過。*

# %% [markdown]
# The vanilla GAN's gradients are unruly. While $D$ sees through the fakes, $-\log D(G(z))$ is steep. One batch can then
# throw $G$ far away from what it has learned: faces at one checkpoint are noise at the next. The cheapest cure shortens
# a gradient $g$ that is too long, and keeps its direction:
#
# $$g \leftarrow g \cdot \min\!\Big(1, \frac{c}{\lVert g \rVert_2}\Big)$$
#
# Here $\lVert g \rVert_2$ is the norm over **all** parameters of a network together
# ([Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)). A short gradient passes unchanged: $c$ is a speed limit,
# not a learning rate. If every gradient is clipped, $c$ is too small: then all gradients have the same length. Adam
# divides by the size of past gradients. So clipping helps against single long gradients, not against gradients that are
# always long.
#
# Two more changes make the **Medium** baseline. $D$ makes two steps per step of $G$ (`n_critic`), so $G$ learns from a
# better $D$. And training lasts 50 epochs. All else is as in 01.
#
# You write the clipped step.

# %% [markdown] lang="zh"
# 原始的 GAN 的梯度很不穩定。當 $D$ 看穿假圖，$-\log D(G(z))$ 很陡，一個批次就可能把 $G$ 甩得很遠，學到的東西都沒了：這
# 個檢查點還是人臉，下一個就變成雜訊。最省事的辦法，是把太長的梯度 $g$ 縮短，方向不變：
#
# $$g \leftarrow g \cdot \min\!\Big(1, \frac{c}{\lVert g \rVert_2}\Big)$$
#
# 這裡的 $\lVert g \rVert_2$ 是把一個網路的**所有**參數合起來算的範數
# （[Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)）。短的梯度不會變：$c$ 是速限，不是學習率。如果每個梯度都被
# 裁剪，就是 $c$ 太小了：所有的梯度會變得一樣長。Adam 會除以過去梯度的大小，所以裁剪擋得住偶爾一次的長梯度，對一直都很
# 長的梯度沒有用。
#
# **Medium** 基準線除了裁剪，還有兩個改動。$G$ 每走一步，$D$ 走兩步（`n_critic`），$G$ 就能向更好的 $D$ 學習。另外，訓
# 練延長到 50 個 epoch。其他都和 01 一樣。
#
# 你要寫的是會裁剪梯度的訓練步驟。

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
from kit.checks import check_step, done, has_values, norm_over_weights, right_gradients, tiny_batch, tiny_pair
from kit.device import get_device, place, seed_everything
from kit.faces import load_faces
from kit.kinds import make_settings
from kit.launch import launch
from kit.networks import Discriminator, Generator, bce
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
class ClippingSettings(Settings):
    max_norm: float = 1.0  # c, the norm of the longest gradient that a step may use


FASTER = {"lr_G": 4e-4, "lr_D": 2e-4}  # the best of those that were tried on a CPU
COURSE = ClippingSettings(run="runs/clipping", n_critic=2, steps=50 * 1115, checkpoint_every=2230)
PRESETS = t4_presets(COURSE, **FASTER)
PRESETS["cpu"] = replace(  # 11 minutes on one CPU core
    COURSE, steps=4000, batch_size=32, width=16, ema=0.99, checkpoint_every=500, **FASTER
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"max_norm": 5.0}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## One clipped step
#
# `backward()` makes the gradient, and the optimizer's `step()` uses it: clip in between. `nn.utils.clip_grad_norm_`
# takes one norm over all the parameters that it gets, and clips in place.
#
# <details><summary>Hint 1</summary>
#
# Four calls in the right order. The gradient exists only after `backward()`, and is used up by `step()`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `nn.utils.clip_grad_norm_(parameters, max_norm)` works in place. Its first argument is `network.parameters()`: all of
# them at once.
#
# </details>

# %% [markdown] lang="zh"
# ## 裁剪一步的梯度
#
# `backward()` 算出梯度，最佳化器的 `step()` 用掉它：裁剪就放在兩者之間。`nn.utils.clip_grad_norm_` 會把傳進去的參數合
# 起來算一個範數，然後直接改動它們的梯度。
#
# <details><summary>提示 1</summary>
#
# 一共四個呼叫，順序要對。`backward()` 之後才有梯度，`step()` 就把它用掉了。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `nn.utils.clip_grad_norm_(parameters, max_norm)` 會直接改動梯度。第一個引數是 `network.parameters()`：所有的參數一次
# 傳進去。
#
# </details>


# %% todo="clipped_step"
def clipped_step(loss, network, optimizer, max_norm):
    """One step of the network's optimizer on a loss, a scalar. The gradient that it uses is no longer than max_norm, an
    L2 norm over all parameters of the network."""
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimizer.step()
    ### END SOLUTION


# %% check="clipped_step"
def check_clipped_step(clipped_step):
    class TwoParts(nn.Module):
        """A tiny D whose weights are in two modules, as those of G are."""

        def __init__(self, D):
            super().__init__()
            self.first, self.rest = D.layers[:1], D.layers[1:]

        def forward(self, pictures):
            return self.rest(self.first(pictures.mean((2, 3)))).squeeze(1).sigmoid()

    def pair():
        D, G = tiny_pair()
        return TwoParts(D), G

    def loss_of(D, G, real, z, shift):
        return -3 * (D(real).log().mean() + (1 - D(G(z).detach())).log().mean()) + shift

    def clipped(change, value=1):
        """A loss with `value` times the value of loss_of, and with its gradients changed: change([each weight's])."""

        def changed(D, *arguments):
            loss = loss_of(D, *arguments)
            gradients = change(right_gradients(loss, D))
            return value * loss.detach() + sum(
                (g * (weight - weight.detach())).sum() for g, weight in zip(gradients, D.parameters(), strict=True)
            )

        return changed

    def scaled(gradients, norm, c):
        return [g * min(1, c / norm) for g in gradients]

    def p_norm(gradients, p):
        return torch.cat([g.flatten() for g in gradients]).norm(p)

    def matrices(gradients):
        return [g for g in gradients if g.dim() > 1]

    remarks = []
    # the gradient has a norm of 2.98, no part of it has 2.4, and its squared norm and its L1 norm are over 4.7
    for max_norm, shift in ((1e6, 0), (4.7, 0), (0.37, 0), (0.37, -9), (2.4, 0)):

        def right(gradients, c=max_norm):
            return scaled(gradients, norm_over_weights(gradients), c)

        mistakes = {
            "not clipped: call nn.utils.clip_grad_norm_ between backward() and optimizer.step(), with "
            "network.parameters() itself, no gradients and no copies, and with max_norm": lambda g: g,
            "a short gradient got longer: it must pass unchanged, so multiply by min(1, c / ‖g‖)": (
                lambda g, c=max_norm: [one * c / norm_over_weights(g) for one in g]
            ),
            "clipped value by value, which changes the direction: take one norm over all parameters": (
                lambda g, c=max_norm: [one.clamp(-c, c) for one in g]
            ),
            "each parameter is clipped by its own norm: take one norm over all parameters together": (
                lambda g, c=max_norm: [scaled([one], one.norm(), c)[0] for one in g]
            ),
            "each part of the network is clipped by its own norm: take one norm over all parameters together": (
                lambda g, c=max_norm: [
                    one for part in (g[:2], g[2:]) for one in scaled(part, norm_over_weights(part), c)
                ]
            ),
            "this is the L1 norm: take the L2 norm": lambda g, c=max_norm: scaled(g, p_norm(g, 1), c),
            "this is the largest value: take the L2 norm": lambda g, c=max_norm: scaled(g, p_norm(g, torch.inf), c),
            "this is the squared norm: take its root": lambda g, c=max_norm: scaled(g, norm_over_weights(g) ** 2, c),
            "the biases are not clipped: use all parameters": lambda g, c=max_norm: [
                scaled([one], norm_over_weights(matrices(g)), c)[0] if one.dim() > 1 else one for one in g
            ],
            "the biases are not in the norm: use all parameters": (
                lambda g, c=max_norm: scaled(g, norm_over_weights(matrices(g)), c)
            ),
            f"the norm is at most 1.0, whatever max_norm says (here {max_norm}): use max_norm": (
                lambda g: scaled(g, norm_over_weights(g), 1.0)
            ),
        }

        def step(D, G, optimizer, *arguments, c=max_norm):
            loss = loss_of(D, G, *arguments)
            clipped_step(loss, D, optimizer, c)
            used, left = (optimizer.seen or [[]])[0], [weight.grad for weight in D.parameters()]
            if has_values(used) and has_values(left) and norm_over_weights(used) > 1.01 * c:
                assert norm_over_weights(left) > 1.01 * c, (
                    "clipped too late, optimizer.step() has used the long gradient: clip before it"
                )
            return loss

        mistakes = {hint: clipped(wrong, 0) for hint, wrong in mistakes.items()}
        remarks = check_step(
            *(step, clipped(right), mistakes),
            pair=pair,
            batch=lambda shift=shift: (*tiny_batch(), shift),
            optimizer_name="optimizer",
        )
    done("clipped_step", remarks)


check_clipped_step(clipped_step)

# %% [markdown]
# Both steps are those of 01, with this one at their end.

# %% [markdown] lang="zh"
# 兩個訓練步驟和 01 一樣，只是最後換成你寫的 `clipped_step`。


# %%
def discriminator_step(D, G, optimizer_D, real, z, max_norm):
    """One step of D on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    p_real, p_fake = D(real), D(G(z).detach())
    loss = (bce(p_real, torch.ones_like(p_real)) + bce(p_fake, torch.zeros_like(p_fake))) / 2
    clipped_step(loss, D, optimizer_D, max_norm)
    return loss


def generator_step(D, G, optimizer_G, z, max_norm):
    """One step of G on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    p_fake = D(G(z))
    loss = bce(p_fake, torch.ones_like(p_fake))
    clipped_step(loss, G, optimizer_G, max_norm)
    return loss


# %% [markdown]
# ## Training
#
# The loop is that of 01. The norms that it records are those of clipped gradients: in `grad_norms.csv`, the root of the
# sum of all squares is never over `max_norm`.

# %% [markdown] lang="zh"
# ## 訓練
#
# 訓練迴圈和 01 一樣。它記錄的範數，是裁剪之後的梯度的範數：在 `grad_norms.csv` 裡，各層範數的平方和再開根號，不會超過
# `max_norm`。


# %%
def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    faces = load_faces(settings, device)  # uint8 [N, 3, 64, 64]
    G = place(Generator(settings.z_dim, settings.width), settings, device)
    D = place(Discriminator(settings.width), settings, device)
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)
    run = Run(settings, G, D, optimizer_G=optimizer_G, optimizer_D=optimizer_D)

    for step, real in run.steps(faces):  # real is [batch_size, 3, 64, 64] in −1 … 1
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise(), settings.max_norm))
        if step % settings.norms_every == 0:
            run.record_norms(layer_norms(D))  # now: G's step would add its own gradients
        if step % settings.n_critic == 0:
            with frozen(D):  # no time for gradients of weights that stay as they are
                run.log(loss_G=generator_step(D, G, optimizer_G, run.noise(), settings.max_norm))
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
# The losses still say only which of the two is ahead. Compare `losses.png` in the folder of this run with that of 01:
# its peaks should be lower. Each point of a curve is a mean over some steps. Single steps stand in `log.csv`.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# 損失還是只告訴你誰領先。把這次訓練資料夾裡的 `losses.png` 和 01 的比一比：尖峰應該變低了。曲線上的每一點是一段步數的平
# 均；一步一步的損失在 `log.csv` 裡。

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
# | `loss_D` falls to 0, `loss_G` grows | $D$ is sure of everything: its gradient no longer tells $G$ which way is \
#   better, and samples get worse | lower `lr_D`, or raise `lr_G`; use the samples of an earlier checkpoint |
# | `loss_G` → 0 | $G$ deceives $D$ with anything: $D$ learns too little | raise `lr_D`; run the check of \
#   `clipped_step` again |
# | `loss_D` or `loss_G` still has high peaks | `max_norm` is over the length of most gradients, so nothing is \
#   clipped | lower `max_norm`: look at `grad_norms.csv` |
# | nothing moves: the losses hardly change | `max_norm` is far too small: gradients come near Adam's ε, 1e-8 | raise \
#   `max_norm` |
# | one face repeated, “near repeats” rises | mode collapse: $G$ found one face that $D$ accepts | take an earlier \
#   checkpoint; lower `lr_G` |
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
# | `loss_D` 降到 0，`loss_G` 一直變大 | $D$ 對每張圖都很有把握：它的梯度沒辦法告訴 $G$ 往哪裡走更好，樣本會越來越差 | \
#   調低 `lr_D`，或調高 `lr_G`；用更早的檢查點的樣本 |
# | `loss_G` → 0 | $G$ 隨便做什麼都騙得過 $D$：$D$ 學得太少 | 調高 `lr_D`；再執行一次 `clipped_step` 的檢查 |
# | `loss_D` 或 `loss_G` 還是有很高的尖峰 | `max_norm` 比大多數的梯度都長，等於沒有裁剪 | 調低 `max_norm`：先看看 \
#   `grad_norms.csv` |
# | 什麼都不動：損失幾乎不變 | `max_norm` 小得太多：梯度接近 Adam 的 ε（1e-8） | 調高 `max_norm` |
# | 一直重複同一張臉，「近似重複」的比例上升 | 模式崩潰（mode collapse）：$G$ 找到一張 $D$ 會接受的臉 | 用更早的檢查 \
#   點；調低 `lr_G` |
# | 雜訊，或灰色方塊 | 步數太少；如果用了 `ema`，移動平均還沒跟上，裡面還有一開始的權重 | 接著訓練：$G$ 再 500 步；用 \
#   了 `ema` 就要 5 / (1 − `ema`) 步，0.999 是 5,000 步。然後和最上面的圖比較 |
