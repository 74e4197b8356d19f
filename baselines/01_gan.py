# %% [markdown]
# # 01 · The vanilla GAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | what $G$ and $D$ want from each other, why $G$ does not minimise $\log(1 - D(G(z)))$, and how to \
#   read the losses |
# | **You write** | `discriminator_step`, `generator_step` |
# | **Time** | `cpu`: 7 minutes on one CPU core, for **Simple**. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours \
#   on any GPU. `course`: 12 seconds on an H200, or 78 minutes on one CPU core, computed from steps per second |
# | **Tier** | **Simple**: {{Simple}} |

# %% [markdown] lang="zh"
# # 01 · 原始的 GAN（vanilla GAN）
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | $G$ 和 $D$ 各自要什麼、為什麼 $G$ 不去最小化 $\log(1 - D(G(z)))$，還有損失該怎麼看 |
# | **你要寫** | `discriminator_step`、`generator_step` |
# | **時間** | `cpu`：一個 CPU 核心 7 分鐘，可以過 **Simple**。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 \
#   1、3、11.5 小時。`course`：H200 上 12 秒，一個 CPU 核心要 78 分鐘（由每秒步數換算） |
# | **等級** | **Simple**：{{Simple}} |

# %% [markdown]
# ![Eight samples after 500, 1,500 and 3,000 steps of preset cpu](results/01_gan_cpu/stages.jpg)
#
# *Preset `cpu` after 500, 1,500 and 3,000 steps, not selected: heads first, then eyes, then hair and dots of noise.*

# %% [markdown] lang="zh"
# ![設定組 cpu 訓練 500、1,500、3,000 步之後的八個樣本](results/01_gan_cpu/stages.jpg)
#
# *設定組 `cpu` 訓練 500、1,500、3,000 步之後，沒有挑選過：先有頭，再有眼睛，然後是頭髮，還有雜訊的小點。*

# %% [markdown]
# Two networks play against each other. The **generator** $G$ turns noise $z$ into a picture. The **discriminator** $D$
# says how likely a picture is to be real. $D$ learns to tell the two apart. $G$ learns to be taken for real:
#
# $$\min_G \max_D \; \mathbb E_{x}\big[\log D(x)\big] + \mathbb E_{z}\big[\log(1 - D(G(z)))\big]$$
#
# ([Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)). Taken literally, the formula gives $G$ no gradient when
# it needs one most: while $D$ sees through every fake, $\log(1 - D(G(z)))$ is flat. So $G$ maximises $\log D(G(z))$
# instead. This *non-saturating* loss has the same fixed point, and a strong gradient while $G$ is losing.
#
# You write both training steps. The score to beat is **Simple**.

# %% [markdown] lang="zh"
# 兩個網路互相對抗。**生成器** $G$ 把雜訊 $z$ 變成圖片。**判別器** $D$ 判斷一張圖片有多像真的。$D$ 學著分辨真假，$G$ 學
# 著讓 $D$ 信以為真：
#
# $$\min_G \max_D \; \mathbb E_{x}\big[\log D(x)\big] + \mathbb E_{z}\big[\log(1 - D(G(z)))\big]$$
#
# （[Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)）。如果照著式子做，$G$ 會在最需要梯度的時候沒有梯度：當
# $D$ 看穿每一張假圖，$\log(1 - D(G(z)))$ 是平的。所以 $G$ 改成最大化 $\log D(G(z))$。這個「不飽和」（non-saturating）的
# 損失有同樣的不動點，而且 $G$ 落後的時候梯度很大。
#
# 兩邊的訓練步驟都由你來寫。目標是通過 **Simple**。

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
import torch
from kit.checks import THROUGH_D, check_step, done, tiny_pair
from kit.device import get_device, place, seed_everything
from kit.faces import load_faces
from kit.kinds import make_settings
from kit.launch import launch
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
FASTER = {"lr_G": 4e-4, "lr_D": 2e-4}  # the best of those that were tried on a CPU
PRESETS = t4_presets(Settings(), **FASTER)  # "course": the sample code's sizes
PRESETS["cpu"] = Settings(steps=3000, batch_size=32, width=16, ema=0.99, **FASTER)  # 7 minutes on one CPU core

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"steps": 20 * 1115}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The two networks
#
# The DCGAN pair of the course's sample code. The generator makes a 4×4 picture of many channels from z, and doubles its
# size four times. The discriminator mirrors it, and ends in one number per picture.

# %% [markdown] lang="zh"
# ## 兩個網路
#
# 這是課程範例程式的 DCGAN。生成器先從 z 做出一張 4×4、有很多通道的圖，再把大小加倍四次。判別器反過來做，最後每張圖片得
# 到一個數。

# %% show=true
from kit.networks import Discriminator, Generator, bce

# %% [markdown]
# ```
#        z                 project        double         double          double          double + Tanh
#   G   [100] ─────────► [512, 4, 4] ─► [256, 8, 8] ─► [128, 16, 16] ─► [64, 32, 32] ─► [3, 64, 64]  picture
#
#       probability       last layer     halve          halve           halve           halve
#   D   [1] ◄─ Sigmoid ◄─ [1, 1, 1] ◄─  [512, 4, 4] ◄─ [256, 8, 8] ◄── [128, 16, 16] ◄─ [64, 32, 32] ◄─ picture
# ```

# %% [markdown] lang="zh"
# `project` 是線性投影，`double` 讓寬和高加倍，`halve` 讓寬和高減半，最後一層（`last layer`）給出機率
# （`probability`）：
#
# ```
#        z                 project        double         double          double          double + Tanh
#   G   [100] ─────────► [512, 4, 4] ─► [256, 8, 8] ─► [128, 16, 16] ─► [64, 32, 32] ─► [3, 64, 64]  picture
#
#       probability       last layer     halve          halve           halve           halve
#   D   [1] ◄─ Sigmoid ◄─ [1, 1, 1] ◄─  [512, 4, 4] ◄─ [256, 8, 8] ◄── [128, 16, 16] ◄─ [64, 32, 32] ◄─ picture
# ```


# %% [markdown]
# ## The two steps
#
# With binary cross-entropy the two goals become two losses. $D$ should answer 1 for reals and 0 for fakes. $G$ should
# make $D$ answer 1 for its fakes:
#
# $$L_D = -\tfrac12\,\mathbb E_x[\log D(x)] - \tfrac12\,\mathbb E_z[\log(1 - D(G(z)))]$$
# $$L_G = -\mathbb E_z[\log D(G(z))]$$
#
# In $D$'s step the fakes are only examples. `detach()` them: then no time goes into gradients for $G$ that nobody uses.
#
# <details><summary>Hint 1</summary>
#
# Ask $D$ twice: once for the reals, once for the fakes. Each answer is one probability per picture, `[N]`. What should
# $D$ have said?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.ones_like(p)` and `torch.zeros_like(p)` are the right answers as targets. Add the two `bce`, then do the usual
# three: `zero_grad()`, `backward()`, `step()`.
#
# </details>

# %% [markdown] lang="zh"
# ## 兩個訓練步驟
#
# 用二元交叉熵（binary cross-entropy），兩個目標就變成兩個損失。$D$ 應該對真圖回答 1，對假圖回答 0。$G$ 要讓 $D$ 對假圖
# 回答 1：
#
# $$L_D = -\tfrac12\,\mathbb E_x[\log D(x)] - \tfrac12\,\mathbb E_z[\log(1 - D(G(z)))]$$
# $$L_G = -\mathbb E_z[\log D(G(z))]$$
#
# 在 $D$ 的步驟裡，假圖只是範例。對它們用 `detach()`：這樣就不會花時間去算 $G$ 的梯度，反正這一步用不到。
#
# <details><summary>提示 1</summary>
#
# 問 $D$ 兩次：一次給真圖，一次給假圖。每次都是每張圖片一個機率，`[N]`。$D$ 該怎麼回答才對？
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 正確答案當作目標，就是 `torch.ones_like(p)` 和 `torch.zeros_like(p)`。把兩個 `bce` 相加，再做三件固定的
# 事：`zero_grad()`、`backward()`、`step()`。
#
# </details>


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z):
    """One step of D on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    p_real, p_fake = D(real), D(G(z).detach())
    loss = (bce(p_real, torch.ones_like(p_real)) + bce(p_fake, torch.zeros_like(p_fake))) / 2
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    def right(D, G, real, z):
        return -(D(real).log().mean() + (1 - D(G(z))).log().mean()) / 2

    mistakes = {
        "D gives probabilities already: bce(…), no with_logits, no softplus": lambda D, G, real, z: (
            ((1 + (-D(real)).exp()).log().mean() + (1 + D(G(z)).exp()).log().mean()) / 2
        ),
        "these are squared errors: use bce": lambda D, G, real, z: (
            ((D(real) - 1).square().mean() + D(G(z)).square().mean()) / 2
        ),
        "this is the difference of two means, 03's loss: use bce": lambda D, G, real, z: (
            (D(G(z)).mean() - D(real).mean()) / 2
        ),
        "the label of the reals is 1, not 0.9": lambda D, G, real, z: (
            -(0.9 * D(real).log() + 0.1 * (1 - D(real)).log() + (1 - D(G(z))).log()).mean() / 2
        ),
        "labels swapped: reals are 1, fakes are 0": lambda D, G, real, z: (
            -((1 - D(real)).log().mean() + D(G(z)).log().mean()) / 2
        ),
        f"only the reals count: add BCE(D(G(z)), 0), {THROUGH_D}": lambda D, G, real, z: -D(real).log().mean() / 2,
        f"only the fakes count: add BCE(D(real), 1), {THROUGH_D}": lambda D, G, real, z: (
            -(1 - D(G(z))).log().mean() / 2
        ),
        "fakes get the label 1 too: D should answer 0 for them": lambda D, G, real, z: (
            -(D(real).log().mean() + D(G(z)).log().mean()) / 2
        ),
    }
    remarks = check_step(step, right, mistakes, scales=(1.0, 2.0))  # the mean of both, or the sum
    check_step(step, right, mistakes, pair=lambda: tiny_pair(sign=-2), scales=(1.0, 2.0))  # a gradient longer than 1
    done("discriminator_step", remarks)


check_discriminator_step(discriminator_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $G$ is judged by $D$ alone. No real picture is needed, and the fakes are not detached: the gradient must come back
# through $D$.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Which answer does $G$ want for its fakes? That is the target of `bce`. Move only $G$: use `optimizer_G`.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# $G$ 的好壞只由 $D$ 判斷。這裡不需要真圖，假圖也不要 detach：梯度必須穿過 $D$ 傳回來。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# $G$ 希望 $D$ 對假圖回答什麼？那就是 `bce` 的目標。只更新 $G$：用 `optimizer_G`。
#
# </details>


# %% todo="generator_step"
def generator_step(D, G, optimizer_G, z):
    """One step of G on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    p_fake = D(G(z))
    loss = bce(p_fake, torch.ones_like(p_fake))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss
    ### END SOLUTION


# %% check="generator_step"
def check_generator_step(step):
    def right(D, G, z):
        return -D(G(z)).log().mean()

    mistakes = {
        "D gives probabilities already: bce(…), no with_logits, no softplus": lambda D, G, z: (
            (1 + (-D(G(z))).exp()).log().mean()
        ),
        "this is a squared error: use bce": lambda D, G, z: (D(G(z)) - 1).square().mean(),
        "this is a mean of scores, 03's loss: use bce": lambda D, G, z: -D(G(z)).mean(),
        "this is log(1 − D(G(z))), which saturates: use −log D(G(z))": lambda D, G, z: (1 - D(G(z))).log().mean(),
        "labels swapped: G wants D to answer 1 for its fakes": lambda D, G, z: -(1 - D(G(z))).log().mean(),
    }
    remarks = check_step(step, right, mistakes, trains="G")
    for sign in (2, -4):  # a gradient longer than 1, and a D that believes G
        check_step(step, right, mistakes, trains="G", pair=lambda sign=sign: tiny_pair(sign=sign))
    done("generator_step", remarks)


check_generator_step(generator_step)

# %% [markdown]
# ## Training
#
# $G$ never settles: it swings around what $D$ would accept. So samples can come from `G_ema`, a running average of its
# weights, $\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$. The sample code does without: its `ema` $\beta$ is
# 0. Try 0.995.
#
# The run saves 1,000 samples every `checkpoint_every` steps. **Keep them all**: a GAN often does not end at its best,
# and the losses do not tell when that was. After a lost session run the notebook again: it goes on from the last
# checkpoint.

# %% [markdown] lang="zh"
# ## 訓練
#
# $G$ 不會停在一點：它會在 $D$ 能接受的範圍附近擺盪。所以樣本可以來自 `G_ema`，也就是 $G$ 的權重的移動平
# 均，$\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$。範例程式不用它：`ema`（$\beta$）是 0。你可以試試
# 0.995。
#
# 每 `checkpoint_every` 步會存下 1,000 個樣本。**全部留著**：GAN 最好的時候常常不在最後，而且從損失看不出是什麼時候。連
# 線中斷之後，重新執行這份筆記本，它會從最後一個檢查點接著訓練。


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
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise()))
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
# In a vanilla GAN the losses say only which of the two is ahead. They show trouble, not quality: when $D$'s loss is 0,
# its gradient no longer tells $G$ which way is better, and samples get worse.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# 在原始的 GAN 裡，損失只告訴你誰領先。用損失來發現問題，不要用來判斷品質：當 $D$ 的損失是 0，它的梯度就沒辦法告訴 $G$
# 往哪裡走更好，樣本會越來越差。

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
#   `discriminator_step` again |
# | `loss_D` grows | $D$ was ahead, and $G$ has found its weak spot; or the learning rates are too high | wait 500 \
#   steps; if it goes on, lower `lr_D` and `lr_G` |
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
# | `loss_G` → 0 | $G$ 隨便做什麼都騙得過 $D$：$D$ 學得太少 | 調高 `lr_D`；再執行一次 `discriminator_step` 的檢查 |
# | `loss_D` 一直變大 | $D$ 本來領先，現在 $G$ 找到了它的弱點；或是學習率太大 | 等 500 步；如果還是這樣，調低 `lr_D` \
#   和 `lr_G` |
# | 一直重複同一張臉，「近似重複」的比例上升 | 模式崩潰（mode collapse）：$G$ 找到一張 $D$ 會接受的臉 | 用更早的檢查 \
#   點；調低 `lr_G` |
# | 雜訊，或灰色方塊 | 步數太少；如果用了 `ema`，移動平均還沒跟上，裡面還有一開始的權重 | 接著訓練：$G$ 再 500 步；用 \
#   了 `ema` 就要 5 / (1 − `ema`) 步，0.999 是 5,000 步。然後和最上面的圖比較 |
