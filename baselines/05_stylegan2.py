# %% [markdown]
# # 05 · StyleGAN2
#
# | In this notebook | |
# |---|---|
# | **You learn** | what styles are, how to set up a network that others wrote, and how truncation trades variety for \
#   quality |
# | **You write** | `make_trainer`, `generate` |
# | **Time** | `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours on any GPU. `course`: 1.9 hours on an H200, \
#   computed from steps per second. There is no `cpu` preset: 700 small steps took 20 minutes on one CPU core, and \
#   gave no faces yet |
# | **Tier** | **Boss**: {{Boss}} |

# %% [markdown] lang="zh"
# # 05 · StyleGAN2
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 什麼是風格（style）、怎麼設定別人寫好的網路，還有截斷怎麼用多樣性換品質 |
# | **你要寫** | `make_trainer`、`generate` |
# | **時間** | `t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 小時。`course`：H200 上 1.9 小時（由每秒步數換算）。 \
#   沒有 `cpu` 這個設定組：在一個 CPU 核心上，小尺寸跑 700 步要 20 分鐘，還看不到臉 |
# | **等級** | **Boss**：{{Boss}} |

# %% [markdown]
# A DCGAN gets its noise once, at its entrance. StyleGAN tells each **resolution** anew what the face should look like.
# A mapping network $S$ first bends the noise into a style, $w = S(z)$. Noise is a round cloud: its directions mean
# nothing. Those of $w$ are free to mean something: hair, pose, colour. The generator starts from a learned constant. At
# every resolution the style scales the channels of the convolution's weights. Then StyleGAN2 divides by the size of the
# result (*demodulation*). StyleGAN1 normalised the feature maps, and left blobs
# ([Karras et al., 2020](https://arxiv.org/abs/1912.04958)):
#
# $$w'_{ijk} = s_i\, w_{ijk} \qquad w''_{ijk} = w'_{ijk} \Big/ \sqrt{\textstyle\sum_{i,k} {w'_{ijk}}^2 + \epsilon}$$
#
# Here $w_{ijk}$ is a weight of the convolution, not the style: $i$ counts its input channels, $j$ its output channels,
# and $k$ the places of its kernel. A linear layer makes the scales $s_i$ from the style.
#
# $D$'s loss is the *hinge loss*, the mean of $\max(0, 1 + D(x)) + \max(0, 1 - D(G(z)))$: here $D$ scores fakes high,
# and pictures that it is sure of no longer count. On every fourth step a gradient penalty is added. It is not taken
# between reals and fakes as in 04, but at both, and it wants a slope of 0. Notebook 10 calls it $R_1$ and $R_2$. Later
# another penalty is added: a step in $w$ should change the picture by the same amount everywhere. The better
# architecture costs time: a step takes about thirteen times as long as in 01, with half as many pictures.
#
# You do not write it. As in real work, the network comes from a package,
# [`stylegan2_pytorch`](https://github.com/lucidrains/stylegan2-pytorch). Your part is to **use it right**: set it up
# for this task, and sample from it. When you sample, keep only the part $\psi$ of each style's distance from the mean
# style:
#
# $$w_\psi = \bar w + \psi\,(S(z) - \bar w)$$
#
# That is the *truncation trick*. A smaller $\psi$ means safer faces, which are more alike. The detector finds more of
# them, and FID gets worse, since it misses the variety. One student's run of 50,000 steps gave FID 66, 77, 96 and a
# detection ratio of .47, .56, .66 at $\psi$ = 1, .75, .5. Watch the trade, and take what suits your tier. The score to
# beat is **Boss**. How far the preset `t4_12h` comes was not measured.

# %% [markdown] lang="zh"
# DCGAN 只在入口拿到一次雜訊。StyleGAN 則在每個**解析度**都再說一次，這張臉該是什麼樣子。映射網路（mapping network）$S$
# 先把雜訊轉換成風格（style），$w = S(z)$。雜訊像一團圓圓的雲，方向沒有意義。$w$ 的方向不受這個限制，可以有意義：頭髮、
# 姿勢、顏色。生成器從一個學來的常數開始。在每個解析度，風格會縮放卷積權重的各個通道。接著 StyleGAN2 再除以結果的大小
# （*demodulation*）。StyleGAN1 是對特徵圖做正規化，結果會留下斑點
# （[Karras et al., 2020](https://arxiv.org/abs/1912.04958)）：
#
# $$w'_{ijk} = s_i\, w_{ijk} \qquad w''_{ijk} = w'_{ijk} \Big/ \sqrt{\textstyle\sum_{i,k} {w'_{ijk}}^2 + \epsilon}$$
#
# 這裡的 $w_{ijk}$ 是卷積的權重，不是風格：$i$ 是輸入通道，$j$ 是輸出通道，$k$ 是 kernel 裡的位置。縮放的倍數 $s_i$ 由一
# 個線性層從風格算出來。
#
# $D$ 的損失是 *hinge 損失*，也就是 $\max(0, 1 + D(x)) + \max(0, 1 - D(G(z)))$ 的平均：在這裡，$D$ 給假圖的分數是高的，
# 已經很有把握的圖片就不再管它。每四步再加一次梯度懲罰：不像 04 在真圖和假圖之間，而是在真圖和假圖上，要求斜率接近 0。筆
# 記本 10 把它叫做 $R_1$ 和 $R_2$。訓練到後面，還會多一個懲罰：不管在 $w$ 的哪裡，走一步，圖片的變化都要一樣大。進步來自
# 架構，代價是時間：一步用的圖片張數只有 01 的一半，卻要大約十三倍的時間。
#
# 網路不用你寫。就像在實際工作裡，網路來自一個套
# 件：[`stylegan2_pytorch`](https://github.com/lucidrains/stylegan2-pytorch)。你要做的是**用對它**：替這個任務設定好，再
# 從它取樣。取樣的時候，每個風格和平均風格的距離只留下 $\psi$ 倍：
#
# $$w_\psi = \bar w + \psi\,(S(z) - \bar w)$$
#
# 這就是*截斷技巧*（truncation trick）。$\psi$ 越小，臉越保險，但也越像。偵測器會找到更多臉，FID 卻會變差，因為少了多樣
# 性。有一位學生訓練了 50,000 步，在 $\psi$ = 1、.75、.5 的時候，FID 是 66、77、96，偵測率是 .47、.56、.66。看清楚這個
# 取捨，選適合你的等級的 $\psi$。目標是通過 **Boss**。設定組 `t4_12h` 能做到什麼程度，還沒量過。

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
import importlib.machinery
import importlib.util
import math
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from unittest import mock

import torch
from kit.checks import are_close, check_device, done, output_of
from kit.device import get_device, seed_everything
from kit.faces import load_faces
from kit.kinds import make_settings
from kit.launch import launch
from kit.run import Run
from kit.samples import plot_losses, write_submission
from torch import nn

# %% [markdown]
# ## The package
#
# It is installed without its own list of requirements. That list has an experiment tracker, `aim`, which brings forty
# packages, has no builds for new Pythons, and is used only when asked to log. The cells are folded.

# %% [markdown] lang="zh"
# ## 套件
#
# 安裝時不理會套件自己的需求清單。清單上有一個記錄實驗的工具 `aim`，它會再帶進四十個套件，新版的 Python 裝不了，而且只
# 有要求記錄時才用得到。這些儲存格是摺疊的。

# %% fold="Install stylegan2_pytorch 1.9.0"
PACKAGES = ["stylegan2_pytorch==1.9.0", "vector_quantize_pytorch==0.1.0", "einops", "kornia", "kornia_rs", "fire"]
PACKAGES += ["termcolor", "retry", "py", "decorator"]
if importlib.util.find_spec("stylegan2_pytorch") is None:
    pip = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES])
    if pip.returncode:
        raise SystemExit("pip could not install stylegan2_pytorch. Kaggle: Settings > Internet > On, then run again.")

# %% fold="Import it without aim, and without a GPU too"
# The package imports aim, and does not use it. With a spec, as others (accelerate, by way of kornia) may look for it.
sys.modules.setdefault("aim", importlib.util.module_from_spec(importlib.machinery.ModuleSpec("aim", None)))
# Without a GPU the package refuses to be imported, and calls .cuda() on whatever it makes. There, and only there, its
# first question is answered with yes, and .cuda() leaves things where they are. Good for a try, too slow for more.
if not torch.cuda.is_available():
    torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self
with mock.patch("torch.cuda.is_available", return_value=True):
    from stylegan2_pytorch import NanException, Trainer

# %% [markdown]
# ## Settings
#
# Set `preset` below to the longest of `t4_1h`, `t4_3h` and `t4_12h` that you have time for. All of them need a GPU.

# %% [markdown] lang="zh"
# ## 設定
#
# 在下面設定 `preset`：用 `t4_1h`、`t4_3h`、`t4_12h` 裡時間夠用的、最長的一個。全部都需要 GPU。

# %% show=true
from kit.settings import Settings


# %%
@dataclass(frozen=True)
class StyleGANSettings(Settings):
    run: str = "runs/stylegan2"
    steps: int = 50_000  # steps of D, each with one of G
    batch_size: int = 30
    lr_G: float = 2e-4  # of S and G
    lr_D: float = 3e-4
    ema: float = 0.998  # β of the running average of S and G
    z_dim: int = 512  # numbers in z, and in a style
    width: int = 16  # the package's network_capacity: G has twice as many channels next to the picture, D four times
    psi: float = 0.75  # ψ of the truncation when sampling: 1 for all the variety, less for safer faces
    checkpoint_every: int = 1000

    def __post_init__(self):
        fixed = ("beta1", "beta2", "n_critic", "norms_every", "half")
        if changed := [name for name in fixed if getattr(self, name) != getattr(Settings, name)]:
            raise SystemExit(f"the package decides on {', '.join(changed)}: leave it as it is")
        if self.lr_G <= 0:  # the package takes lr_D as a multiple of it
            raise SystemExit(f"`lr_G` is {self.lr_G}: it must be more than 0")


COURSE = StyleGANSettings()  # the package's own sizes and learning rates, its batch of 5 taken 6 times as one of 30
LONG = replace(COURSE, steps=10**9)  # the clock ends it
PRESETS = {
    "course": COURSE,
    "t4_1h": replace(LONG, hours=1.0),
    "t4_3h": replace(LONG, hours=3.0),
    "t4_12h": replace(LONG, hours=11.5, checkpoint_every=4000),  # Kaggle ends a session after 12 hours
}

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"psi": 0.6}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## The trainer
#
# `Trainer` builds the networks ($S$, $G$ and $D$), and makes a step at each call of `train()`. Left to itself, it reads
# JPEGs again in every epoch. It saves no optimizer, so a resumed run is unstable at first. It begins to average only
# after step 20,000, and writes pictures as 8×8 grids. `FaceTrainer` keeps its steps, and leaves the rest to this
# notebook.

# %% [markdown] lang="zh"
# ## 訓練程式（trainer）
#
# `Trainer` 建立網路（$S$、$G$、$D$），每呼叫一次 `train()` 就訓練一步。但如果全交給它，每個 epoch 都要重新讀 JPEG；它
# 不存最佳化器，所以接著訓練時會不穩；第 20,000 步之後才開始算平均；圖片也只寫成 8×8 的拼圖。`FaceTrainer` 只留下它的訓
# 練步驟，其他的都由這份筆記本來做。


# %%
class FaceTrainer(Trainer):
    """The package's trainer, without files of its own. Its state is what training changes besides S, G and D."""

    def init_folders(self):
        pass

    def save(self, number):
        pass

    def load(self, number):  # what the package does when a loss is NaN; it would find no file
        pass

    def evaluate(self, number):
        pass

    def train(self):
        """A step on the batches in self.loader. Raises NanException when a loss is NaN."""
        with redirect_stdout(None):  # it would speak of checkpoints that do not exist
            super().train()

    def state_dict(self):
        pl_mean = None if self.pl_mean is None else float(self.pl_mean)  # the mean path length
        return {"G_opt": self.GAN.G_opt.state_dict(), "D_opt": self.GAN.D_opt.state_dict(), "pl_mean": pl_mean}

    def load_state_dict(self, state):
        self.GAN.G_opt.load_state_dict(state["G_opt"])
        self.GAN.D_opt.load_state_dict(state["D_opt"])
        self.pl_mean = state["pl_mean"]


# %% [markdown]
# Now make one. `Trainer` has a default for everything. Set the six arguments named here, and leave all others as they
# are. Look at the
# [arguments](https://github.com/lucidrains/stylegan2-pytorch/blob/1.9.0/stylegan2_pytorch/stylegan2_pytorch.py): the
# size of the pictures, the capacity of the networks, the batch size, the learning rate of G, `lr`, and `ttur_mult`: the
# learning rate of D divided by that of G. `latent_dim`, the length of z, is passed on to the networks.
#
# <details><summary>Hint 1</summary>
#
# The names are `FaceTrainer(image_size=…, network_capacity=…, batch_size=…, lr=…, ttur_mult=…, latent_dim=…)`.
# `settings` have other names for them.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# $D$'s learning rate is `lr · ttur_mult`. Solve that for `ttur_mult`.
#
# </details>

# %% [markdown] lang="zh"
# 現在建立一個。`Trainer` 的每個引數都有預設值。只設定這裡提到的六個，其他的都不要動。看看它有哪些
# [引數](https://github.com/lucidrains/stylegan2-pytorch/blob/1.9.0/stylegan2_pytorch/stylegan2_pytorch.py)：圖片的大
# 小、網路的容量、批次的大小、G 的學習率 `lr`，還有 `ttur_mult`，也就是 D 的學習率是 G 的幾倍。`latent_dim` 是 z 的長
# 度，會傳給網路。
#
# <details><summary>提示 1</summary>
#
# 引數的名字是 `FaceTrainer(image_size=…, network_capacity=…, batch_size=…, lr=…, ttur_mult=…, latent_dim=…)`。在
# `settings` 裡，它們叫別的名字。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# $D$ 的學習率是 `lr · ttur_mult`。從這裡解出 `ttur_mult`。
#
# </details>


# %% todo="make_trainer"
def make_trainer(settings):
    """A FaceTrainer for pictures of 64×64, with what settings say: width, batch_size, lr_G, lr_D, z_dim."""
    ### BEGIN SOLUTION
    return FaceTrainer(
        image_size=64,
        network_capacity=settings.width,
        batch_size=settings.batch_size,
        lr=settings.lr_G,
        ttur_mult=settings.lr_D / settings.lr_G,
        latent_dim=settings.z_dim,
    )
    ### END SOLUTION


# %% check="make_trainer"
def check_make_trainer(make):
    settings = StyleGANSettings(width=3, batch_size=8, lr_G=3e-4, lr_D=7e-5, z_dim=24)  # all unlike any default

    def taken(make, *given):
        try:
            return make(*given)
        except (TypeError, AttributeError, AssertionError, ValueError, ArithmeticError) as error:
            said = str(error).partition("\n")[0]
            raise AssertionError(f"the package does not take these arguments: {said}") from error

    trainer = taken(make, settings)
    assert isinstance(trainer, FaceTrainer), f"return a FaceTrainer(…), not {type(trainer).__name__}"
    more = trainer.GAN_params[1]
    unknown = more.keys() - {"latent_dim", "style_depth", "steps"}
    assert not unknown, f"the package has no argument {', '.join(sorted(unknown))}"
    assert trainer.image_size == 64, f"the pictures would be {trainer.image_size} pixels wide: set image_size"
    assert isinstance(trainer.image_size, int), f"image_size is {trainer.image_size}: make it a whole number"
    assert trainer.network_capacity == settings.width, (
        f"network_capacity is {trainer.network_capacity}, not settings.width, which is {settings.width} here"
    )
    together = trainer.batch_size * trainer.gradient_accumulate_every
    assert together == settings.batch_size, f"a step would see {together} pictures, not {settings.batch_size}"
    assert isinstance(trainer.batch_size, int) and isinstance(trainer.gradient_accumulate_every, int), (
        f"a batch has a whole number of pictures, not {trainer.batch_size}: divide with //"
    )
    for name in ("evaluate_every", "save_every"):
        value = getattr(trainer, name)
        assert isinstance(value, int) and value >= 1, (
            f"{name} is {value}, and the package divides by it: make it a whole number, 1 or more"
        )
    untouched = FaceTrainer()
    for name in (
        *("transparent", "fp16", "cl_reg", "fq_layers", "attn_layers", "no_const", "fmap_max", "lr_mlp", "aug_prob"),
        *("mixed_prob", "no_pl_reg", "rel_disc_loss", "dual_contrast_loss", "top_k_training", "is_ddp", "world_size"),
        "calculate_fid_every",
    ):
        value, usual = getattr(trainer, name), getattr(untouched, name)
        assert value == usual, f"{name} is {value}, which changes the training: leave it at {usual}"
    assert more.get("style_depth", 8) == 8, f"S has {more['style_depth']} layers: leave style_depth at 8"
    taken(trainer.init_GAN)
    assert trainer.GAN.G.latent_dim == settings.z_dim, (
        f"z would have {trainer.GAN.G.latent_dim} numbers, not settings.z_dim, {settings.z_dim} here: set latent_dim"
    )
    lr_G, lr_D = (optimizer.param_groups[0]["lr"] for optimizer in (trainer.GAN.G_opt, trainer.GAN.D_opt))
    assert math.isclose(lr_G, settings.lr_G), (
        f"G's learning rate, lr, is {lr_G:g}, not settings.lr_G, {settings.lr_G:g}"
    )
    assert not math.isclose(lr_D, settings.lr_D * settings.lr_G), (
        "ttur_mult is how many times as large D's learning rate is as G's: divide lr_D by lr_G"
    )
    assert math.isclose(lr_D, settings.lr_D), (
        f"D's learning rate, lr · ttur_mult, is {lr_D:g}, not settings.lr_D, {settings.lr_D:g}"
    )
    done("make_trainer")


check_make_trainer(make_trainer)

# %% [markdown]
# ## Sampling
#
# `S` takes noise `[N, z_dim]` to styles of the same shape. `G` takes styles `[N, layers, z_dim]`: one for each of its
# `G.num_layers` layers, here the same for all of them. It also takes an image of noise for the details. The package's
# pictures are 0 … 1, and overshoot a little.
#
# <details><summary>Hint 1</summary>
#
# First the styles: `S(z)` is `[N, z_dim]`. Pull them towards `mean_style` by the formula above.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `style[:, None].expand(-1, G.num_layers, -1)` has one style per layer, `[N, layers, z_dim]`. The pictures overshoot:
# `clamp` them.
#
# </details>

# %% [markdown] lang="zh"
# ## 取樣
#
# `S` 把雜訊 `[N, z_dim]` 變成風格，形狀不變。`G` 要的是風格 `[N, layers, z_dim]`：它有 `G.num_layers` 層，每層一個風
# 格，這裡每層都用同一個。它還要一張雜訊圖，用來生成細節。這個套件的圖片在 0 … 1，會稍微超出範圍。
#
# <details><summary>提示 1</summary>
#
# 先算風格：`S(z)` 是 `[N, z_dim]`。用上面的公式，把它們往 `mean_style` 拉近。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `style[:, None].expand(-1, G.num_layers, -1)` 讓每層有一個風格，`[N, layers, z_dim]`。圖片會超出範圍：用 `clamp` 限制
# 住。
#
# </details>


# %% todo="generate"
def generate(S, G, z, mean_style, psi, image_noise):
    """Pictures [N, 3, 64, 64] in 0 … 1 of z [N, z_dim], their styles truncated towards mean_style [1, z_dim] by psi.

    image_noise is [N, 64, 64, 1].
    """
    ### BEGIN SOLUTION
    style = mean_style + psi * (S(z) - mean_style)  # [N, z_dim]
    styles = style[:, None].expand(-1, G.num_layers, -1)  # [N, layers, z_dim]
    return G(styles, image_noise).clamp(0, 1)
    ### END SOLUTION


# %% check="generate"
def check_generate(generate):
    class Mapping(nn.Module):
        def forward(self, z):
            assert z.dim() == 2, f"S takes z [N, z_dim], not {[*z.shape]}: repeat its styles, not z"
            return (1.5 * z + 0.4).tanh() * 2 + 1  # not linear: the mean style is not the style of the mean z

    class Synthesis(nn.Module):
        num_layers, latent_dim, image_size = 3, 8, 64  # the package's names

        def forward(self, styles, input_noise):
            assert torch.is_tensor(input_noise), "pass image_noise on to G"
            shade = torch.linspace(-4, 2.5, 64 * 64, device=styles.device).view(1, 1, 64, 64)
            tint = torch.tensor([-0.1, 0.0, 0.2], device=styles.device).view(3, 1, 1)
            out = shade + tint + styles.flatten(1).mean(1).view(-1, 1, 1, 1)  # [N, 3, 64, 64]
            seen.append((styles, input_noise, out))
            return out.clone()

    repeatable = torch.Generator().manual_seed(7)
    S, G, seen = Mapping(), Synthesis(), []  # seen: what G got and gave, call by call
    for network in (S, G):
        network.weight = nn.Parameter(torch.zeros(1, device=check_device()))  # somebody may ask for its device
    z, other = (torch.randn(6, 8, generator=repeatable).to(check_device()) for _ in range(2))
    mean_style = torch.linspace(0.3, 1.8, 8, device=check_device())[None]
    image_noise = torch.rand(6, 64, 64, 1, generator=repeatable).to(check_device())
    given = [one.clone() for one in (z, mean_style, image_noise)]
    torch_says = {
        "'input_noise'": "pass image_noise on to G",
        "'list' object": "G takes one tensor of styles, [N, G.num_layers, z_dim], and no list",
        "expanded size": "the styles need a dimension for the layers: style[:, None].expand(-1, G.num_layers, -1)",
    }
    pictures = output_of(generate, S, G, z, mean_style, 0.37, image_noise, meanings=torch_says)
    assert all(map(torch.equal, given, (z, mean_style, image_noise))), "it changes what it is given: make new tensors"
    assert seen, "make the pictures with G"
    styles, noise, overshooting = map(torch.cat, zip(*seen, strict=True))
    assert styles.shape != image_noise.shape, "G takes the styles first, then image_noise"
    assert styles.shape[1:] != (3, 8) or len(styles) == 6, (
        f"G made {len(styles)} pictures of 6 z: call it once, with all of them"
    )
    assert styles.shape == (6, 3, 8), (
        f"G takes styles [N, G.num_layers, z_dim], one per layer: here [6, 3, 8], not {list(styles.shape)}"
    )
    assert torch.equal(noise, image_noise), "pass image_noise on to G"

    def is_style(style):
        return are_close([styles], [style[:, None].expand(-1, 3, -1)])

    w, right = S(z), mean_style + 0.37 * (S(z) - mean_style)
    assert not are_close([styles], [right.repeat(3, 1).view(6, 3, 8)]), (
        "the layers of a picture get the styles of other pictures: repeat each style for its own layers"
    )
    wrong = {
        "the styles are not truncated": w,
        "truncate the styles S(z), not the noise z": S(mean_style + 0.37 * (z - mean_style)),
        "this truncates z, and does not map it: take S(z)": mean_style + 0.37 * (z - mean_style),
        "this is ψ S(z), which pulls towards 0: pull towards mean_style, with brackets around S(z) − w̄": 0.37 * w,
        "ψ the wrong way round: ψ = 1 leaves S(z) as it is": 0.63 * w + 0.37 * mean_style,
        "this pulls towards the mean of these styles alone: pull towards mean_style": (
            w.mean(0) + 0.37 * (w - w.mean(0))
        ),
        "mean_style is a style already: do not map it again": S(mean_style) + 0.37 * (w - S(mean_style)),
        "use psi, not the setting's 0.75": mean_style + 0.75 * (w - mean_style),
        "mean_style is not scaled by 1 − ψ: w̄ + ψ (S(z) − w̄) has ψ before the whole difference": mean_style + 0.37 * w,
        "the difference is S(z) − w̄, not a sum": mean_style + 0.37 * (w + mean_style),
        "the sign is wrong: S(z) − w̄": mean_style - 0.37 * (w - mean_style),
        "add mean_style again after scaling the difference": 0.37 * (w - mean_style),
    }
    for hint, style in wrong.items():
        assert not is_style(style), hint
    assert is_style(right), "the styles are not mean_style + psi · (S(z) − mean_style)"
    assert torch.is_tensor(pictures), f"return the pictures, a tensor, not {type(pictures).__name__}"
    assert pictures.shape == (6, 3, 64, 64), f"the pictures are {list(pictures.shape)}, not [6, 3, 64, 64]"
    pictures = pictures.to(check_device())
    assert not are_close([pictures], [overshooting.clamp(-1, 1)]), "clamp to 0 … 1, not to −1 … 1"
    assert not are_close([pictures], [2 * overshooting.clamp(0, 1) - 1]), "leave the pictures at 0 … 1, not at −1 … 1"
    assert pictures.max() < 100, "leave the pictures at 0 … 1, not at 0 … 255"
    assert pictures.min() >= 0 and pictures.max() <= 1, "clamp the pictures to 0 … 1"
    assert are_close([pictures], [overshooting.clamp(0, 1)]), "G's pictures are 0 … 1 already: only clamp them"
    seen.clear()
    generate(S, G, other, mean_style, 1.0, image_noise)
    styles = torch.cat([styles for styles, _, _ in seen])
    assert is_style(S(other)), "at ψ = 1 the styles are S(z)"
    done("generate")


check_generate(generate)


# %%
class StyleGenerator(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64] in −1 … 1, as the other notebooks' generators give them."""

    def __init__(self, S, G, psi, seed):
        super().__init__()
        self.S, self.G, self.psi, self.seed = S, G, psi, seed

    def forward(self, z):
        repeatable = torch.Generator().manual_seed(self.seed)  # sampling leaves training's random numbers alone
        mean_style = self.S(torch.randn(2000, z.shape[1], generator=repeatable).to(z)).mean(0, keepdim=True)
        image_noise = torch.rand(len(z), 64, 64, 1, generator=repeatable).to(z)
        return generate(self.S, self.G, z, mean_style, self.psi, image_noise) * 2 - 1


# %% [markdown]
# ## Training
#
# The package's step gives $D$ the hinge loss on a batch of reals and fakes. Then $G$ gets the mean score of its fakes:
# here $D$ scores fakes high. In about seven batches of ten, the layers of a fake take their styles from two different
# z, so that no layer learns to rely on its neighbours. In all presets, samples come from `G_ema`, the running average
# of $S$ and $G$.

# %% [markdown] lang="zh"
# ## 訓練
#
# 套件的一步，先拿一個批次的真圖和假圖，用 hinge 損失訓練 $D$。然後 $G$ 的損失就是假圖的平均分數：在這裡，$D$ 給假圖的分
# 數是高的。十個批次裡大約有七個，同一張假圖的各層用的是兩個不同 z 的風格，這樣就沒有哪一層會學到依賴相鄰的層。每個設定
# 組的樣本都來自 `G_ema`，也就是 $S$ 和 $G$ 的權重的移動平均。


# %%
def train(settings):
    """Trains S and G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema."""
    seed_everything(settings.seed)
    device = get_device()
    faces = load_faces(settings, device)  # uint8 [N, 3, 64, 64]
    trainer = make_trainer(settings)
    if (count := trainer.batch_size * trainer.gradient_accumulate_every) != settings.batch_size:
        raise SystemExit(f"make_trainer takes {count} pictures per step, and `batch_size` is {settings.batch_size}")
    trainer.init_GAN()
    for name in ("S", "G", "D"):
        print(f"{name}: {sum(weight.numel() for weight in getattr(trainer.GAN, name).parameters()):,} parameters")
    G = StyleGenerator(trainer.GAN.S, trainer.GAN.G, settings.psi, settings.seed)
    run = Run(settings, G, trainer.GAN.D, trainer=trainer)

    for step, real in run.steps(faces):  # real is [batch_size, 3, 64, 64] in −1 … 1
        trainer.steps = step  # the package's penalties take turns by it
        trainer.loader = iter(((real + 1) / 2).split(trainer.batch_size))  # the package's pictures are 0 … 1
        try:
            trainer.train()
        except NanException:
            run.diverged("a loss is NaN", step)
        run.log(loss_D=trainer.d_loss, loss_G=trainer.g_loss)
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
run = launch(train, settings, one_process=True)  # the package has its own way with several GPUs

# %% [markdown]
# ## What it learned
#
# $D$'s hinge loss is 2 when it knows nothing, and 0 when it tells all reals from all fakes. In between
# neither is ahead.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# $D$ 的 hinge 損失是 2，表示它什麼都不知道；是 0，表示真圖假圖它全都分得出來。在兩者之間，就是誰也沒有領先。

# %%
plot_losses(run)

# %% [markdown]
# ## Your submission
#
# 1,000 pictures `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz` in RUN, the folder of this
# training. The cell below prints where they are. Score them on the computer that has this project:
# `python -m grader score RUN/submission.tgz`.
#
# $\psi$ changes samples only, not the training. So try others: put `run.G_ema.psi = 0.6` at the top of the next cell,
# and run it again.
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
# $\psi$ 只影響樣本，不影響訓練。所以可以多試幾個：在下一個儲存格的最上面加上 `run.G_ema.psi = 0.6`，再執行一次。
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
# | `loss_D` → 0 | $D$ tells all fakes from reals: too few faces, or its learning rate is too high | \
#   more faces, or lower `lr_D` |
# | `loss_D` stays at 2, or `loss_G` → 0 and stays there | $D$ learns nothing | check `ttur_mult`; raise `lr_D` |
# | `loss_D` grows over 2 | the step is too long | lower `lr_G` and `lr_D` |
# | one face repeated | $\psi$ is too small; if all at $\psi$ = 1 are alike as well, mode collapse | raise \
#   `run.G_ema.psi`; take an earlier checkpoint |
# | noise, or blurred heads | too few steps: under 1,000 nothing else is to be expected | train longer |
# | the GPU's memory is full | the batch is too large for this GPU | `overrides = {"batch_size": 16}`; restart the \
#   kernel |

# %% [markdown] lang="zh"
# ## 結果不對勁時
#
# 大部分的設定一改，筆記本就會停下來：把 `run` 也換成別的資料夾，重新訓練。想用同一個 `run` 接著訓練，就調高 `steps`，再
# 執行一次筆記本；有 `hours` 的設定組不用改。
#
# | 你看到 | 原因 | 怎麼辦 |
# |---|---|---|
# | `loss_D` → 0 | 真圖和假圖，$D$ 全都分得出來：臉太少，或 $D$ 的學習率太大 | 用更多臉，或調低 `lr_D` |
# | `loss_D` 停在 2，或 `loss_G` → 0 之後就不動 | $D$ 什麼都沒學到 | 檢查 `ttur_mult`；調高 `lr_D` |
# | `loss_D` 超過 2，還一直變大 | 每一步太大 | 調低 `lr_G` 和 `lr_D` |
# | 一直重複同一張臉 | $\psi$ 太小；如果 $\psi$ = 1 的臉也都很像，就是模式崩潰（mode collapse） | 調高 \
#   `run.G_ema.psi`；用更早的檢查點 |
# | 雜訊，或模糊的頭 | 步數太少：不到 1,000 步，就只會是這樣 | 訓練久一點 |
# | GPU 的記憶體滿了 | 批次太大，這張 GPU 放不下 | `overrides = {"batch_size": 16}`，然後重新啟動核心（kernel） |

# %% [markdown]
# ## Going further
#
# The package's own command makes 8×8 grids (`--num_image_tiles 1` makes single pictures). If you have only grids, the
# next cells cut them apart again: those in `results/`, where the command puts them, into `singles/`.

# %% [markdown] lang="zh"
# ## 更進一步
#
# 套件自己的指令會輸出 8×8 的拼圖（加上 `--num_image_tiles 1` 就是單張圖片）。如果你只有拼圖，下面的儲存格會把它們切
# 開：拼圖在 `results/`（指令會把它們放在那裡），切好的圖片放到 `singles/`。

# %% fold="Cut grids in results/"
from kit.grids import cut_grids, grids_in

cut_grids(grids_in("results"), "singles")
