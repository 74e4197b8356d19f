# %% [markdown]
# # 06 · The conditional GAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | how a label enters both networks, and why $D$ must see it too |
# | **You write** | `one_hot`, `join`, `other_labels`, `discriminator_step`, `generator_step` |
# | **Time** | `cpu`: 15 minutes on one CPU core. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 hours on any GPU. \
#   `course`: 3 minutes on an H100, computed from steps per second |
# | **Tier** | none: what counts is that the hair has the colour that you asked for. Preset `cpu` reaches 85% |

# %% [markdown] lang="zh"
# # 06 · 條件式 GAN（conditional GAN）
#
# | 這份筆記本 | |
# |---|---|
# | **你會學到** | 標籤怎麼進到兩個網路裡，還有為什麼 $D$ 也必須看到標籤 |
# | **你要寫** | `one_hot`、`join`、`other_labels`、`discriminator_step`、`generator_step` |
# | **時間** | `cpu`：一個 CPU 核心 15 分鐘。`t4_1h`、`t4_3h`、`t4_12h`：任何 GPU 上 1、3、11.5 小時。 \
#   `course`：H100 上 3 分鐘（由每秒步數換算） |
# | **等級** | 無：重要的是，頭髮是不是你要的顏色。設定組 `cpu` 有 85% 畫對 |

# %% [markdown]
# ![Samples of six hair colours at three stages of preset cpu](results/06_cgan_cpu/stages.jpg)
#
# *Preset `cpu` at the beginning, in between, and at the end; one row per hair colour, not selected.*

# %% [markdown] lang="zh"
# ![設定組 cpu 在三個階段的樣本，有六種髮色](results/06_cgan_cpu/stages.jpg)
#
# *設定組 `cpu` 剛開始、中間和結束時的樣本。每種髮色一列，沒有挑選過。*

# %% [markdown]
# A GAN draws whatever it likes. To ask it for something, such as *blue hair*, give both players a label $y$. $G$ draws
# from $z$ **and** $y$. $D$ judges a picture **together with** the label that it is said to have
# ([Mirza & Osindero, 2014](https://arxiv.org/abs/1411.1784)):
#
# $$\min_G \max_D \; \mathbb E_{x, y}\big[\log D(x, y)\big] + \mathbb E_{z, y}\big[\log(1 - D(G(z, y), y))\big]$$
#
# For each label this is the game of 01: at its end, $G(\cdot, y)$ draws pictures with the label $y$. Show $D$ the
# finest face with red hair as *blue*: it should reject it, because no real pair looks like that. Both players must know
# the label. If only $G$ knows it, it is more noise. If only $D$ knows it, $G$ cannot draw what the label asks for.
#
# A label enters a network as a **one-hot** vector. It has one number per class: 1 for the label's own class, 0 for the
# others. $G$ gets it joined to $z$. $D$ has convolutions, so it gets the label joined to the picture: every number
# becomes a constant map as large as the picture, one more channel beside red, green and blue.
#
# You write how labels join, and both steps. There is no score to beat: what counts is that the hair has the colour that
# you asked for. You need faces with labels: drawn ones (`python -m data render faces`), or real ones with their tags.

# %% [markdown] lang="zh"
# 一般的 GAN 想畫什麼就畫什麼。如果你想指定，例如要*藍髮*，就把標籤 $y$ 給兩個網路。$G$ 用 $z$ **和** $y$ 來畫。$D$ 看
# 的是圖片，**加上**這張圖片號稱的標籤（[Mirza & Osindero, 2014](https://arxiv.org/abs/1411.1784)）：
#
# $$\min_G \max_D \; \mathbb E_{x, y}\big[\log D(x, y)\big] + \mathbb E_{z, y}\big[\log(1 - D(G(z, y), y))\big]$$
#
# 對每個標籤來說，這就是 01 的對抗：到最後，$G(\cdot, y)$ 畫出的就是標籤為 $y$ 的圖片。拿一張再漂亮不過的紅髮臉，跟 $D$
# 說這是*藍髮*：$D$ 應該拒絕，因為真的資料裡沒有這種組合。兩個網路都必須知道標籤。如果只有 $G$ 知道，標籤就只是多了一些
# 雜訊。如果只有 $D$ 知道，$G$ 就沒辦法照標籤畫。
#
# 標籤以 **one-hot** 向量的形式進入網路。每個類別有一個數：標籤自己的類別是 1，其他都是 0。$G$ 拿到的是 $z$ 後面接上這
# 個向量。$D$ 用的是卷積，所以標籤要接在圖片上：每個數變成一張和圖片一樣大的常數圖（map），每個像素都是這個數。這樣就在
# 紅、綠、藍之外，每個類別多一個通道。
#
# 你要寫的是標籤怎麼接上去，還有兩個訓練步驟。這裡沒有要通過的分數：重要的是，頭髮是不是你要的顏色。你需要有標籤的人
# 臉：可以用程式畫（`python -m data render faces`），也可以用真的資料集加上它的標籤檔。

# %% [markdown]
# ## Before you start
#
# The next cells are folded. They hold what all notebooks share: settings, reading faces and labels, the two networks,
# checkpoints, samples. You do not have to read them, but you can: open a cell by its title.

# %% [markdown] lang="zh"
# ## 開始之前
#
# 接下來的儲存格是摺疊的。裡面是所有筆記本共用的部分：設定、讀取人臉和標籤、兩個網路、檢查點、樣本。你不必讀，但可以
# 讀：點標題就會展開。標題和程式碼維持英文。

# %%
from dataclasses import dataclass, replace

import torch
from kit.checks import THROUGH_D, TinyD, TinyG, check_device, check_step, done, explained, stand_ins, tiny_batch
from kit.device import get_device, place, seed_everything
from kit.labels import animate, balanced_labels, load_labelled_faces, show_classes, write_labels
from kit.kinds import make_settings
from kit.launch import launch
from kit.networks import Discriminator, Generator, bce
from kit.norms import layer_norms
from kit.progress import progress
from kit.run import Run, frozen
from kit.samples import fixed_noise, plot_losses, sample, write_submission
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
class ConditionalSettings(Settings):
    attribute: str = "hair"  # what the classes are of: "hair" or "eye" of a tags.csv, a column of an attributes.csv
    classes: str = ""  # which classes to learn, separated by commas; "" takes all
    wrong_labels: bool = False  # whether D sees real faces with wrong labels too, as a third kind of example
    shape_steps: int = 2000  # batches of shapes for the paper's network, at the end


PRESETS = t4_presets(ConditionalSettings(run="runs/cgan", steps=12_000, lr_G=2e-4, lr_D=2e-4, checkpoint_every=1000))
PRESETS["cpu"] = replace(  # 15 minutes on one CPU core
    PRESETS["course"], steps=3000, batch_size=32, width=16, lr_G=4e-4, lr_D=2e-4, ema=0.99, checkpoint_every=250
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"classes": "black, blonde, blue, pink"}

# %% only="script"
from kit.command_line import read_parameters

preset, overrides = read_parameters(PRESETS)

# %%
settings = make_settings(PRESETS, preset, overrides)

# %% [markdown]
# ## Labels as numbers that a network can take
#
# Every class has a number, but the number means nothing. 2 is not twice 1, and blonde does not lie between black and
# blue. So a network gets one number per class.
#
# <details><summary>Hint 1</summary>
#
# torch has a function of this name in `nn.functional`. What type does it return?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Networks take floats: call `.float()` on it.
#
# </details>

# %% [markdown] lang="zh"
# ## 把標籤變成網路能用的數
#
# 每個類別都有編號，但編號的大小沒有意義。2 不是 1 的兩倍，金髮也不在黑髮和藍髮的中間。所以改給網路一串數，每個類別一
# 個。
#
# <details><summary>提示 1</summary>
#
# torch 的 `nn.functional` 裡就有同名的函式。它回傳什麼型別？
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 網路要的是浮點數：對結果呼叫 `.float()`。
#
# </details>


# %% todo="one_hot"
def one_hot(labels, n_classes):
    """Labels [N], 0 … n_classes − 1 -> floats [N, n_classes]: 1 at the label, 0 elsewhere."""
    ### BEGIN SOLUTION
    return nn.functional.one_hot(labels, n_classes).float()
    ### END SOLUTION


# %% check="one_hot"
def check_one_hot(one_hot):
    # the labels of samples are on the CPU, those of faces are not
    for numbers, n_classes, device in (([2, 0, 1, 2], 5, "cpu"), ([1, 0], 3, check_device())):
        labels, n = torch.tensor(numbers, device=device), len(numbers)
        with explained(f"{n} labels and {n_classes} classes make [{n}, {n_classes}]"):
            y = one_hot(labels, n_classes)
        assert torch.is_tensor(y), f"return a tensor, not {type(y).__name__}"
        shape, right_shape = list(y.shape), [n, n_classes]
        assert shape != [n, 1, n_classes], f"{shape} has a dimension too many: labels stay [N], without unsqueeze(1)"
        assert shape not in ([n], [n, 1]), "this is one number per label: make it one per class"
        assert shape != right_shape[::-1], "transposed: a row per label, a column per class"
        square = shape == [n_classes, n_classes] != right_shape
        assert not square, f"{n} labels gave {shape}: make a row per label, not per class"
        assert shape == right_shape, f"{n} labels of {n_classes} classes gave {shape}, not {right_shape}: use n_classes"
        assert y.dtype == torch.float32, f"networks take float32, and this is {y.dtype}: call .float()"
        assert y.device == labels.device, "keep y on the device of the labels, which may be the CPU"
        right = [[float(column == label) for column in range(n_classes)] for label in numbers]
        for label, row, wanted in zip(numbers, y.tolist(), right, strict=True):
            assert row == wanted, f"label {label} of {n_classes} classes should be {wanted}, not {row}"
        assert labels.tolist() == numbers, "the labels themselves were changed: make a new tensor"
    done("one_hot")


check_one_hot(one_hot)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.cat` joins tensors along one dimension. Channels are dimension 1, for z and for pictures.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `y[:, :, None, None]` is `[N, classes, 1, 1]`. `expand` it to the height and the width of the pictures first.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# `torch.cat` 沿著一個維度把張量接起來。z 和圖片都一樣，通道是維度 1。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `y[:, :, None, None]` 的形狀是 `[N, classes, 1, 1]`。先用 `expand` 把它展開成圖片的高和寬。
#
# </details>


# %% todo="join"
def join_z(z, y):
    """z [N, z_dim] and then y [N, classes] -> [N, z_dim + classes]."""
    ### BEGIN SOLUTION
    return torch.cat([z, y], 1)
    ### END SOLUTION


def join_pictures(pictures, y):
    """pictures [N, C, H, W] and then y [N, classes] as constant maps -> [N, C + classes, H, W]."""
    ### BEGIN SOLUTION
    maps = y[:, :, None, None].expand(-1, -1, *pictures.shape[2:])  # [N, classes] -> [N, classes, H, W]
    return torch.cat([pictures, maps], 1)
    ### END SOLUTION


# %% check="join"
def check_join_z(join_z, z, y):
    wanted = [len(z), z.shape[1] + y.shape[1]]
    right = f"z {list(z.shape)} and y {list(y.shape)} make {wanted}"
    given = z.clone(), y.clone()
    with explained(f"{right}, but join_z stops. Join along dimension 1"):
        joined = join_z(*given)
    assert torch.is_tensor(joined), f"join_z: return a tensor, not {type(joined).__name__}"
    assert joined.device == z.device, "join_z: keep z and y on their device, which may be the CPU"
    assert joined.shape[1:] != (z.shape[1] + 1,), f"{right}, not {list(joined.shape)}: join all columns of y"
    assert list(joined.shape) == wanted, f"{right}, not {list(joined.shape)}: join along dimension 1"
    assert all(map(torch.equal, given, (z, y))), "it changes what it is given: make a new tensor"
    assert joined.dtype == z.dtype, f"join_z: z and y are {z.dtype}, and networks do not take {joined.dtype}"
    assert not torch.equal(joined, torch.cat([y, z], 1)), "z comes first, then y"
    assert torch.equal(joined, torch.cat([z, y], 1)), "join z and y as they are: some of their numbers changed"


def check_join_pictures(join_pictures, pictures, y):
    channels = pictures.shape[1]
    wanted = [len(y), channels + y.shape[1], *pictures.shape[2:]]
    right = f"pictures {list(pictures.shape)} and y {list(y.shape)} make {wanted}"
    before, given = pictures.detach().clone(), y.clone()
    with explained(f"{right}, but join_pictures stops. maps are as large as the pictures, pictures.shape[2:]"):
        joined = join_pictures(pictures, given)
    assert torch.is_tensor(joined), f"join_pictures: return a tensor, not {type(joined).__name__}"
    shape = list(joined.shape)
    assert joined.dim() == 4, f"{right}, not {shape}: keep pictures as they are, and add channels"
    assert shape[1] == wanted[1], f"{right}, not {shape}: a map for each class, joined along dimension 1"
    assert shape == wanted, f"{right}, not {shape}: maps as large as the picture"
    assert joined.dtype == pictures.dtype, f"join_pictures: networks take {pictures.dtype}, not {joined.dtype}"
    assert torch.equal(pictures, before), "the pictures themselves were changed: make a new tensor"
    assert torch.equal(given, y), "it changes what it is given: make a new tensor"
    assert torch.equal(joined[:, :channels], pictures), "the pictures come first, unchanged; then the maps"
    maps = joined[:, channels:].flatten(2)  # [N, classes, H × W]
    assert torch.equal(maps.amin(2), maps.amax(2)), "a map is constant: the same number at every pixel"
    assert torch.equal(maps[:, :, 0], y), "the maps of picture n are the numbers of y[n], in their order"
    assert joined.requires_grad, "no gradient comes back to the pictures, and G needs it: no detach(), no .data"
    (gradient,) = torch.autograd.grad(joined.pow(3).sum(), pictures)
    assert torch.allclose(gradient, 3 * before**2), "the gradient of the pictures is wrong: only join them"


def check_join(join_z, join_pictures):
    for rows, n_classes, size in (([2, 0, 1, 4], 5, (6, 8)), ([0, 3], 4, (5, 3))):
        y = torch.eye(n_classes)[rows]
        for device in ("cpu", check_device()):  # the z of samples is made on the CPU
            y = y.to(device)
            check_join_z(join_z, torch.randn(len(y), n_classes + 2, device=device), y)
        pictures = torch.randn(len(y), 3, *size, device=check_device(), requires_grad=True)
        check_join_pictures(join_pictures, pictures, y)
        check_join_pictures(join_pictures, pictures[:, :1].detach().requires_grad_(), y)  # grey ones
    done("join")


check_join(join_z, join_pictures)

# %% [markdown]
# ## The two steps
#
# The networks are those of 01, with a longer z and with more channels. $y$ are the labels of the batch's real faces:
#
# $$L_D = -\tfrac12\,\mathbb E_{x, y}[\log D(x, y)] - \tfrac12\,\mathbb E_{z, y}[\log(1 - D(G(z, y), y))]$$
# $$L_G = -\mathbb E_{z, y}[\log D(G(z, y), y)]$$
#
# $D$ judges every fake under the label that it was made for. So $D$ meets wrong pairs only as fakes. While fakes are
# easy to tell by their looks, $D$ may never look at the label. A third kind of example teaches the label by itself: a
# *real* face under a *wrong* label $y' \neq y$, which $D$ should reject like a fake
# ([Reed et al., 2016](https://arxiv.org/abs/1605.05396)). All presets train without it. `{"wrong_labels": True}` in
# `overrides` switches it on, in another `run`. Then fakes and wrong labels share the ½ of the fakes:
#
# $$L_D = -\tfrac12\,\mathbb E[\log D(x, y)]
#   - \tfrac14\,\mathbb E[\log(1 - D(G(z, y), y))] - \tfrac14\,\mathbb E[\log(1 - D(x, y'))]$$
#
# <details><summary>Hint 1</summary>
#
# Go round in a circle: add something to the label that is never 0, and take the remainder of the division by
# `n_classes`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `torch.randint_like(labels, 1, n_classes)` draws from 1 to `n_classes − 1`.
#
# </details>

# %% [markdown] lang="zh"
# ## 兩個訓練步驟
#
# 網路和 01 的一樣，只是 z 比較長，通道比較多。$y$ 是這個批次的真圖的標籤：
#
# $$L_D = -\tfrac12\,\mathbb E_{x, y}[\log D(x, y)] - \tfrac12\,\mathbb E_{z, y}[\log(1 - D(G(z, y), y))]$$
# $$L_G = -\mathbb E_{z, y}[\log D(G(z, y), y)]$$
#
# $D$ 看每張假圖時，配的都是 $G$ 畫它時用的標籤。所以 $D$ 看到的圖片裡，只有假圖會和標籤不合。如果光看畫面就認得出假圖，
# $D$ 可能從來不看標籤。再加第三種例子，就能單獨教它看標籤：*真的*人臉配上*錯的*標籤 $y' \neq y$。$D$ 應該拒絕它，就像拒
# 絕假圖一樣（[Reed et al., 2016](https://arxiv.org/abs/1605.05396)）。所有設定組預設都不用它；想用，就在 `overrides` 設
# `{"wrong_labels": True}`，並換一個 `run`。這時要拒絕的有兩種，原本給假圖的那一半由它們平分：
#
# $$L_D = -\tfrac12\,\mathbb E[\log D(x, y)]
#   - \tfrac14\,\mathbb E[\log(1 - D(G(z, y), y))] - \tfrac14\,\mathbb E[\log(1 - D(x, y'))]$$
#
# <details><summary>提示 1</summary>
#
# 把類別想成圍成一圈：給標籤加上一個一定不是 0 的數，再取除以 `n_classes` 的餘數。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# `torch.randint_like(labels, 1, n_classes)` 會從 1 到 `n_classes − 1` 隨機抽。
#
# </details>


# %% todo="other_labels"
def other_labels(labels, n_classes):
    """For each of labels [N] a wrong one, drawn anew at every call: each of the other classes is equally likely."""
    ### BEGIN SOLUTION
    return (labels + torch.randint_like(labels, 1, n_classes)) % n_classes
    ### END SOLUTION


# %% check="other_labels"
def check_other_labels(other_labels):
    for n_classes, count in ((4, 5000), (2, 80), (7, 5000)):
        sizes = count * torch.arange(1, n_classes + 1, device=check_device())  # uneven, as those of a batch are
        labels = torch.arange(n_classes, device=check_device()).repeat_interleave(sizes)
        labels = labels.view(2 * n_classes, -1).T.contiguous()  # batches so small that all drawn again come to an end
        before = labels.clone()
        with explained("labels [N] in, as many labels out"):
            batches = [other_labels(batch, n_classes) for batch in labels]
        others, kind = batches[0], labels.dtype
        assert torch.is_tensor(others), f"return a tensor, not {type(others).__name__}"
        assert torch.equal(labels, before), "the labels themselves were changed: make a new tensor"
        assert others.shape == labels[0].shape, f"labels [N] in, as many labels out, not {list(others.shape)}"
        assert others.dtype == kind, f"labels are whole numbers, {kind}, and these are {others.dtype}"
        assert others.device == labels.device, "keep them on the device of the labels"
        with explained("labels [N] in, as many labels out"):
            others = torch.stack(batches)
        in_range = others.min() >= 0 and others.max() < n_classes
        assert in_range, "classes are 0 … n_classes − 1: take the remainder, % n_classes"
        assert not torch.equal(others, labels), "these are the right labels"
        assert (others != labels).all(), "some labels are still right: every one must be wrong"
        again = [other_labels(labels[0], n_classes) for _ in range(10)]
        assert n_classes == 2 or any((others[0] != one).any() for one in again), (
            "the same wrong labels at every call: draw them"
        )
        of_one_class = labels[:, :, None] == labels[:, None]
        alike = (others[:, :, None] == others[:, None])[of_one_class].float().mean()
        assert n_classes == 2 or alike < 0.9, "labels of one class get the same wrong label: draw one for each"
        counts = [others[labels == label].bincount(minlength=n_classes) for label in range(n_classes)]
        counts = torch.stack(counts)  # [label, wrong label]
        equally = "each of the other classes should be equally likely"
        assert (counts > 0).sum() == n_classes * (n_classes - 1), f"some wrong labels never come: {equally}"
        expected = (sizes / (n_classes - 1))[:, None]
        most = expected + 7.5 * expected.sqrt()  # which only a bias reaches
        assert (counts < most).all(), f"some wrong labels come more often: {equally}"
    done("other_labels")


check_other_labels(other_labels)


# %% fold="What the checks of the two steps share: tiny networks that know labels"
class LabelledD(TinyD):
    """pictures and maps of 4 classes [N, 3 + 4, H, W] -> probability of being real [N]. `seen` keeps what came in."""

    def __init__(self):
        super().__init__(channels=3 + 4)
        self.seen = []

    def forward(self, joined, *others):
        assert not others, "D takes one tensor: join y to the pictures"
        shape = list(joined.shape)
        fits = len(shape) == 4 and shape[1] == 7
        assert fits, f"D got {shape}, not [N, 3 + 4, H, W]: join y to the pictures, real and fake"
        self.seen += [(row[:3], row[3:]) for row in joined[:, :, 0, 0].detach()]
        return super().forward(joined)


class LabelledG(TinyG):
    """z and y of 4 classes [N, 7 + 4] -> pictures [N, 3, size, size]. `made` keeps what went in, and what came out."""

    def __init__(self, size):
        super().__init__(z_dim=7 + 4)
        self.size, self.made = size, []

    def forward(self, joined, *others):
        assert not others, "G takes one tensor: join y to z"
        assert list(joined.shape[1:]) == [11], f"G got {list(joined.shape)}, not [N, 7 + 4]: join y to z"
        fakes = super().forward(joined)[:, :, : self.size, : self.size]
        self.made += [
            (z_and_y[:7], z_and_y[7:], picture)
            for z_and_y, picture in zip(joined.detach(), fakes[:, :, 0, 0].detach(), strict=True)
        ]
        return fakes


def labelled_pair(size=64, steep=1):
    """(D, G) with weights that are always the same. The label counts for both. D's gradient grows with `steep`."""
    D, G = LabelledD(), LabelledG(size)
    repeatable = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in [*D.parameters(), *G.parameters()]:
            weight.copy_(torch.randn(weight.shape, generator=repeatable))
        for layer, factor in ((D.layers[0], 1 / steep), (D.layers[-1], steep)):
            layer.weight.mul_(factor)
    return D.to(check_device()), G.to(check_device())


def labelled_batch():
    """Real pictures [6, 3, 64, 64], z [6, 7], and y [6, 4] of 4 classes, which do not come equally often."""
    return *tiny_batch(), torch.eye(4, device=check_device())[[2, 0, 1, 3, 0, 2]]


def right_join_z(z, y, *_, **__):  # your own may have more arguments
    shapes = f"join_z takes z [N, z_dim] and y [N, classes], and got {list(z.shape)} and {list(y.shape)}"
    assert z.dim() == y.dim() == 2 and len(z) == len(y) and y.shape[1] == 4, shapes
    return torch.cat([z, y], 1)


def right_join_pictures(pictures, y, *_, **__):
    assert y is not None, "wrong_y is None in a run without wrong labels: ask `if wrong_y is not None`"
    got = f"{list(pictures.shape)}, {list(y.shape)}"
    shapes = f"join_pictures takes pictures [N, 3, H, W] and y [N, classes], and got {got}"
    assert pictures.dim() == 4 and y.dim() == 2 and len(pictures) == len(y), shapes
    return torch.cat([pictures, y[:, :, None, None].expand(-1, -1, *pictures.shape[2:])], 1)


def right_p(D, pictures, y):
    """The probability that D gives to pictures with labels y, [N]."""
    return D(right_join_pictures(pictures, y))


def right_fakes(G, z, y):
    return G(right_join_z(z, y))


def watch_labels(step, hint):
    """The same step, which then looks at what D and G got: every picture should come with its own label."""

    def watched(D, G, optimizer, *arguments):
        *real, z, y = arguments  # G's step gets no real pictures
        D.seen, G.made = [], []
        with stand_ins(step, join_z=right_join_z, join_pictures=right_join_pictures):
            loss = step(D, G, optimizer, *arguments)
        assert D.seen, "D saw nothing: ask it about the fakes" + " and about the real pictures" * len(real)
        labels = [(picture, label) for _, label, picture in G.made]
        labels += [(picture, label) for batch in real for picture, label in zip(batch[:, :, 0, 0], y, strict=True)]
        for picture, label in D.seen:
            own = [known for one, known in labels if torch.equal(one, picture)]
            assert not own or any(torch.equal(label, known) for known in own), hint
        for z_n, y_n, _ in G.made:
            own = [known for one, known in zip(z, y, strict=True) if torch.equal(one, z_n)]
            assert not own or torch.equal(y_n, own[0]), (
                "the fakes are made of other labels than y: G gets z[n] and y[n]"
            )
        return loss

    return watched


def check_other_size(step, trains):
    """Tries a step of D or G on pictures of 28×28, as the last cell has them."""
    D, G = labelled_pair(28)
    real, z, y = labelled_batch()
    batch, network = ((real[:, :, :28, :28], z, y), D) if trains == "D" else ((z, y), G)
    with explained("take height and width of the pictures, not 64"):
        step(D, G, torch.optim.SGD(network.parameters(), 0.1), *batch)


# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two or three questions to $D$: real with `y`, fake with `y`, and real with `wrong_y` where it is given. Only the first
# is to be accepted.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# What is to be rejected counts half in all. With `wrong_y` it is the mean of two `bce`.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# 問 $D$ 兩次或三次：真圖配 `y`、假圖配 `y`；如果有給 `wrong_y`，再問真圖配 `wrong_y`。只有第一種該被接受。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 要拒絕的部分合起來算一半。有 `wrong_y` 的時候，這部分是兩個 `bce` 的平均。
#
# </details>


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z, y, wrong_y=None):
    """One step of D on real pictures [N, C, H, W] with their labels y [N, classes] and on the fakes of z [N, z_dim]
    and y; where wrong_y [N, classes] is given, on the real pictures with these wrong labels too. Returns its loss, a
    scalar. bce(probabilities [N], targets [N]) is their mean binary cross-entropy."""
    ### BEGIN SOLUTION
    fake = G(join_z(z, y)).detach()
    p_real, p_fake = D(join_pictures(real, y)), D(join_pictures(fake, y))
    loss_rejected = bce(p_fake, torch.zeros_like(p_fake))
    if wrong_y is not None:
        p_wrong = D(join_pictures(real, wrong_y))
        loss_rejected = (loss_rejected + bce(p_wrong, torch.zeros_like(p_wrong))) / 2
    loss = (bce(p_real, torch.ones_like(p_real)) + loss_rejected) / 2
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    def accept(p):
        return -p.log().mean()

    def reject(p):
        return -(1 - p).log().mean()

    def right(D, G, real, z, y):
        return (accept(right_p(D, real, y)) + reject(right_p(D, right_fakes(G, z, y), y))) / 2

    mistakes = {
        "targets swapped: reals are 1, fakes are 0": lambda D, G, real, z, y: (
            (reject(right_p(D, real, y)) + accept(right_p(D, right_fakes(G, z, y), y))) / 2
        ),
        f"only the reals count: add BCE(D(G(z, y), y), 0), {THROUGH_D}": lambda D, G, real, z, y: (
            accept(right_p(D, real, y)) / 2
        ),
        f"only the fakes count: add BCE(D(real, y), 1), {THROUGH_D}": lambda D, G, real, z, y: (
            reject(right_p(D, right_fakes(G, z, y), y)) / 2
        ),
        "fakes get the target 1 too: D should answer 0 for them": lambda D, G, real, z, y: (
            (accept(right_p(D, real, y)) + accept(right_p(D, right_fakes(G, z, y), y))) / 2
        ),
        "reals get the target 0 too: D should answer 1 for them": lambda D, G, real, z, y: (
            (reject(right_p(D, real, y)) + reject(right_p(D, right_fakes(G, z, y), y))) / 2
        ),
        "D gives probabilities already: bce(…), no with_logits, no softplus": lambda D, G, real, z, y: (
            (accept(right_p(D, real, y).sigmoid()) + reject(right_p(D, right_fakes(G, z, y), y).sigmoid())) / 2
        ),
        "this is the difference of two means, 03's loss: use bce": lambda D, G, real, z, y: (
            right_p(D, right_fakes(G, z, y), y).mean() - right_p(D, real, y).mean()
        ),
    }
    watched = watch_labels(
        step, "D saw a picture under another label than its own: real ones have y, and fakes are made of y"
    )
    both = {"pair": labelled_pair, "scales": (1.0, 2.0)}  # the mean of what is accepted and rejected, or their sum
    remarks = check_step(watched, right, mistakes, batch=labelled_batch, **both)
    steep = both | {"pair": lambda: labelled_pair(steep=4)}  # whose gradients a limit on their norm would change
    check_step(watched, right, mistakes, batch=labelled_batch, **steep)

    wrong_y = torch.eye(4, device=check_device())[[0, 3, 2, 1, 1, 3]]

    def right_with_wrong(D, G, real, z, y):
        rejected = (reject(right_p(D, right_fakes(G, z, y), y)) + reject(right_p(D, real, wrong_y))) / 2
        return (accept(right_p(D, real, y)) + rejected) / 2

    def step_with_wrong(D, G, optimizer, real, z, y):
        with stand_ins(step, join_z=right_join_z, join_pictures=right_join_pictures):
            return step(D, G, optimizer, real, z, y, wrong_y)

    def wrong_mistake(of_wrong, fakes=0.25):
        """The loss with another third part, and another share of the fakes."""
        return lambda D, G, real, z, y: (
            accept(right_p(D, real, y)) / 2
            + fakes * reject(right_p(D, right_fakes(G, z, y), y))
            + of_wrong(D, right_fakes(G, z, y), real, y)
        )

    mistakes = {
        "it has no effect: D should reject real pictures with wrong labels": right,
        "real pictures with wrong labels get the target 0, not 1": wrong_mistake(
            lambda D, fake, real, y: accept(right_p(D, real, wrong_y)) / 4
        ),
        "it is the real pictures that get wrong labels, not the fakes": wrong_mistake(
            lambda D, fake, real, y: reject(right_p(D, fake, wrong_y)) / 4
        ),
        "the real pictures got their right labels y here: give them wrong_y": wrong_mistake(
            lambda D, fake, real, y: reject(right_p(D, real, y)) / 4
        ),
        "fakes and wrong labels count half each, so that they do not outweigh reals": wrong_mistake(
            lambda D, fake, real, y: reject(right_p(D, real, wrong_y)) / 2, fakes=0.5
        ),
        "all three count alike: reals count half, fakes and wrong labels a quarter each": lambda *batch: (
            wrong_mistake(lambda D, fake, real, y: reject(right_p(D, real, wrong_y)) / 2, fakes=0.5)(*batch) * 2 / 3
        ),
        "the fakes no longer count: reject fakes and wrong labels": wrong_mistake(
            lambda D, fake, real, y: reject(right_p(D, real, wrong_y)) / 2, fakes=0.0
        ),
        "only the fakes count half: wrong labels count half as well": wrong_mistake(
            lambda D, fake, real, y: reject(right_p(D, real, wrong_y)) / 2
        ),
        "no gradient comes from the wrong labels: let it through D, and take the fakes half": wrong_mistake(
            lambda D, fake, real, y: 0
        ),
    }
    try:
        check_step(step_with_wrong, right_with_wrong, mistakes, batch=labelled_batch, **both)
    except AssertionError as error:
        raise AssertionError(f"where wrong_y is given: {error}") from None
    check_other_size(watched, "D")
    done("discriminator_step", remarks)


check_discriminator_step(discriminator_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $G$ takes `join_z(z, y)`, and $D$ takes `join_pictures(fake, y)`: the same `y` in both.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The target is 1, as in 01. The fakes are not detached.
#
# </details>

# %% [markdown] lang="zh"
# <details><summary>提示 1</summary>
#
# $G$ 的輸入是 `join_z(z, y)`，$D$ 的輸入是 `join_pictures(fake, y)`：兩邊用同一個 `y`。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 目標是 1，和 01 一樣。假圖不要 detach。
#
# </details>


# %% todo="generator_step"
def generator_step(D, G, optimizer_G, z, y):
    """One step of G on the fakes of z [N, z_dim] and y [N, classes]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    p_fake = D(join_pictures(G(join_z(z, y)), y))
    loss = bce(p_fake, torch.ones_like(p_fake))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss
    ### END SOLUTION


# %% check="generator_step"
def check_generator_step(step):
    def loss_of(loss):
        return lambda D, G, z, y: loss(right_p(D, right_fakes(G, z, y), y)).mean()

    right = loss_of(lambda p: -p.log())
    mistakes = {
        "this is log(1 − D(G(z, y), y)), which saturates: use −log D(G(z, y), y)": loss_of(lambda p: (1 - p).log()),
        "targets swapped: G wants D to answer 1 for its fakes": loss_of(lambda p: -(1 - p).log()),
        "D gives probabilities already: bce(…), no with_logits, no softplus": loss_of(lambda p: -p.sigmoid().log()),
        "this is −mean D(G(z, y), y), 03's loss: use bce": loss_of(lambda p: -p),
        "the target is 0.9: take 1": loss_of(lambda p: -0.9 * p.log() - 0.1 * (1 - p).log()),
        "this is a squared error: use bce": loss_of(lambda p: (p - 1) ** 2),
    }
    watched = watch_labels(
        step, "D saw a fake under another label than it was made for: join the same y to z and to the fake"
    )
    remarks = check_step(watched, right, mistakes, "G", labelled_pair, labelled_batch)
    check_other_size(watched, "G")
    done("generator_step", remarks)


check_generator_step(generator_step)

# %% [markdown]
# ## Training
#
# Each class gets as many of the 1,000 samples as the others, one more or less. `labels.csv` in the run's folder says
# what each one should show (`1.jpg,aqua`). The grid at each checkpoint has a row per class.
#
# $G$ never settles: it swings around what $D$ would accept. So samples can come from `G_ema`, a running average of its
# weights (`ema`; 0 is $G$ itself). Keep the samples of every checkpoint: a GAN often does not end at its best. After a
# lost session run the notebook again: it goes on from the last checkpoint.

# %% [markdown] lang="zh"
# ## 訓練
#
# 1,000 個樣本平均分給各個類別，最多差一個。訓練的資料夾裡有 `labels.csv`，寫著每張應該畫什麼（`1.jpg,aqua`）。每個檢查
# 點會存一張拼圖，每個類別一列。
#
# $G$ 不會停在一點：它會在 $D$ 能接受的範圍附近擺盪。所以樣本可以來自 `G_ema`，也就是 $G$ 的權重的移動平均（由 `ema` 設
# 定；0 就是 $G$ 本身）。每個檢查點的樣本都要留著：GAN 最好的時候常常不在最後。連線中斷之後，重新執行這份筆記本，它會從
# 最後一個檢查點接著訓練。


# %%
def train(settings):
    """Trains G against D, from the last checkpoint on if there is one. Returns the run, which has G_ema, faces
    and classes."""
    seed_everything(settings.seed)
    device = get_device()
    faces, labels, classes = load_labelled_faces(settings, device)  # uint8 [N, 3, 64, 64], [N], names
    G = place(Generator(settings.z_dim + len(classes), settings.width), settings, device)
    D = place(Discriminator(settings.width, channels=3 + len(classes)), settings, device)
    betas = (settings.beta1, settings.beta2)
    optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
    optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)
    sample_labels = balanced_labels(1000, len(classes))  # first 8 of each class: a row of the grid
    z = join_z(fixed_noise(settings), one_hot(sample_labels, len(classes)))  # [1000, z_dim + classes]
    run = Run(settings, G, D, z, shown=8 * len(classes), optimizer_G=optimizer_G, optimizer_D=optimizer_D)
    run.faces, run.classes = faces, classes
    write_labels(run, sample_labels, classes)

    for step, real, real_labels in run.steps(faces, labels):  # [batch_size, 3, 64, 64] in −1 … 1, [batch_size]
        y, wrong_y = one_hot(real_labels, len(classes)), None  # the fakes of this step get these labels as well
        if settings.wrong_labels:
            wrong_y = one_hot(other_labels(real_labels, len(classes)), len(classes))
        run.log(loss_D=discriminator_step(D, G, optimizer_D, real, run.noise(), y, wrong_y))
        if step % settings.norms_every == 0:
            run.record_norms(layer_norms(D))  # now: G's step would add its own gradients
        if step % settings.n_critic == 0:
            with frozen(D):  # no time for gradients of weights that stay as they are
                run.log(loss_G=generator_step(D, G, optimizer_G, run.noise(), y))
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
# As in 01, the losses say only which of the two is ahead.

# %% [markdown] lang="zh"
# ## 它學到了什麼
#
# 和 01 一樣，損失只告訴你誰領先。

# %%
plot_losses(run)

# %% [markdown]
# ## Your submission
#
# 1,000 pictures `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz` in RUN, the folder of this
# training. The cell below prints where they are. Score them on the computer that has this project:
# `python -m grader score RUN/submission.tgz --reference FACES`, where FACES are those that you trained on. Add
# `--by-label FACES --labels RUN/labels.csv`, and the grader also tells how many pictures show their label. It scores
# each class by itself, against labelled real faces. `labels.csv` says which class each picture should show. For eye
# colours add `--attribute eye`.
#
# An earlier checkpoint may be better. `python -m grader history RUN --reference FACES --pack best` puts the best one
# into `RUN/submission.tgz`: score it by the same command. The folder of pictures keeps the last one.

# %% [markdown] lang="zh"
# ## 你要繳交的檔案
#
# 1,000 張 64×64 的圖片 `1.jpg` … `1000.jpg`，放在一個資料夾裡，也打包成沒有子資料夾的 `submission.tgz`，放進這次訓練的
# 資料夾 RUN。下面的儲存格會印出它們在哪裡。在裝了這個專案的電腦上，用
# `python -m grader score RUN/submission.tgz --reference FACES` 替它們評分，FACES 是訓練用的人臉。再加上
# `--by-label FACES --labels RUN/labels.csv`，評分程式還會告訴你有多少張照標籤畫對了，並且替每個類別單獨評分，和有標籤的
# 真實人臉比較。`labels.csv` 寫著每張圖片該是哪個類別。如果是眼睛的顏色，再加上 `--attribute eye`。
#
# 更早的檢查點可能更好：用 `python -m grader history RUN --reference FACES --pack best`，就能把最好的一個放進
# `RUN/submission.tgz`，再用同一個指令評分。圖片的資料夾裡還是最後一個。

# %%
pictures = write_submission(run)

# %% [markdown]
# ## What the label does
#
# All rows share their eight $z$. What changes down a column is the label alone.

# %% [markdown] lang="zh"
# ## 標籤有什麼作用
#
# 每一列用的都是同樣的八個 $z$。從上往下看同一行，變的只有標籤。


# %%
def rows_of_classes(run, columns=8):
    """Pictures [classes × columns, 3, 64, 64] of G_ema: a row per class, the same z in every row."""
    n_classes = len(run.classes)
    z = run.z[:columns, : run.settings.z_dim].repeat(n_classes, 1)  # [columns, z_dim] -> [classes × columns, z_dim]
    labels = torch.arange(n_classes, device=z.device).repeat_interleave(columns)
    return sample(run.G_ema, join_z(z, one_hot(labels, n_classes)))


show_classes(rows_of_classes(run), run.classes, run.folder / "classes.png")

# %% [markdown]
# The same samples at every checkpoint, as an animated picture.

# %% [markdown] lang="zh"
# 同樣的樣本在每個檢查點長什麼樣子，做成一張動畫。

# %%
grids = sorted((run.folder / "samples").glob("*.png"), key=lambda path: int(path.stem))
animate([Image.open(path).convert("RGB") for path in grids], run.folder / "training.gif")

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
# | `loss_D` falls to 0, `loss_G` grows | $D$ is sure of everything: its gradient no longer tells $G$ which way is \
#   better, and samples get worse | lower `lr_D`, or raise `lr_G`; use the samples of an earlier checkpoint |
# | `loss_G` → 0 | $G$ deceives $D$ with anything: $D$ learns too little | raise `lr_D`; run the check of \
#   `discriminator_step` again |
# | `loss_D` grows | $D$ was ahead, and $G$ has found its weak spot; or the learning rates are too high | wait 500 \
#   steps; if it goes on, lower `lr_D` and `lr_G` |
# | one face per label | mode collapse within the labels | take an earlier checkpoint; lower `lr_G` |
# | the faces are good, the colours are wrong | $D$ never looks at the label | `wrong_labels` True; run the check of \
#   `join` again |
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
# | 每個標籤都只畫一張臉 | 同一個標籤裡發生模式崩潰（mode collapse） | 用更早的檢查點；調低 `lr_G` |
# | 臉畫得好，顏色卻不對 | $D$ 從來不看標籤 | 把 `wrong_labels` 設成 True；再執行一次 `join` 的檢查 |
# | 雜訊，或灰色方塊 | 步數太少；如果用了 `ema`，移動平均還沒跟上，裡面還有一開始的權重 | 接著訓練：$G$ 再 500 步；用 \
#   了 `ema` 就要 5 / (1 − `ema`) 步，0.999 是 5,000 步。然後和最上面的圖比較 |

# %% [markdown]
# ## Going further
#
# **The paper's own network.** Mirza and Osindero drew grey digits of 28×28, without any convolution. In $G$, $z$ goes
# to 200 hidden units and $y$ to 1,000. Both together go to 1,200, and those to the 784 pixels, between 0 and 1. In $D$
# the hidden units are *maxout*: each is the largest of several linear ones, its pieces
# ([Goodfellow et al., 2013](https://arxiv.org/abs/1302.4389)). The sizes and the dropout of one half are the paper's.
# Its digits (MNIST) need a download, so five shapes replace them. Adam replaces its slower SGD.
#
# Your two steps train it as they are. They join $y$ to pictures as maps. This $D$ takes one pixel of each map. The
# setting `shape_steps` says how long it trains.

# %% [markdown] lang="zh"
# ## 更進一步
#
# **論文自己的網路**：Mirza 和 Osindero 畫的是 28×28 的灰階數字，完全不用卷積。在 $G$ 裡，$z$ 接到 200 個隱藏單元，$y$
# 接到 1,000 個。兩者合起來接到 1,200 個，再接到 784 個像素，值在 0 和 1 之間。在 $D$ 裡，隱藏單元是 *maxout*：每個單元
# 是幾個線性單元（叫做 piece）裡最大的那個（[Goodfellow et al., 2013](https://arxiv.org/abs/1302.4389)）。各層的大小和
# 0.5 的 dropout 都照論文。論文用的數字圖片不一定拿得到，所以這裡改畫五種形狀。論文的梯度下降比較慢，這裡改用 Adam。
#
# 你的兩個步驟不用改，就能訓練這個網路。它們把 $y$ 變成 map 接在圖片上，這個 $D$ 只取每張 map 的一個像素。要訓練多久，
# 由 `shape_steps` 設定。

# %% fold="Five shapes, and the paper's two networks"
SHAPES = ["cross", "disc", "ring", "square", "triangle"]


def draw_shapes(labels):
    """Grey pictures [N, 1, 28, 28] in 0 … 1 of white shapes, each with its own size, place and turn."""
    device = labels.device

    def uniform(low, high):
        return low + (high - low) * torch.rand(len(labels), 1, 1, device=device)

    size, x, y, turn = uniform(7, 10), uniform(12, 15), uniform(12, 15), uniform(-0.3, 0.3)
    pixels = torch.arange(28, device=device)
    x, y = (pixels - x) / size, (pixels[:, None] - y) / size  # [N, 1, 28] and [N, 28, 1], 0 at the centre
    x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()  # [N, 28, 28]
    radius, larger, smaller = torch.hypot(x, y), torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    inside = [  # how far from the edge, below 0 outside
        torch.minimum(0.3 - smaller, 1 - larger),
        1 - radius,
        0.25 - (radius - 0.75).abs(),
        0.8 - larger,
        0.5 - torch.maximum(y, 0.87 * x.abs() - 0.5 * y),
    ]
    inside = torch.stack(inside)[labels, torch.arange(len(labels), device=device)]
    return (inside * size + 0.5).clamp(0, 1)[:, None]


class Maxout(nn.Module):
    """[N, inputs] -> [N, units], each the largest of `pieces` linear units."""

    def __init__(self, inputs, units, pieces):
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, units * pieces), pieces

    def forward(self, x):
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class PaperGenerator(nn.Module):
    """z and y [N, z_dim + classes] -> grey pictures [N, 1, 28, 28] in 0 … 1."""

    def __init__(self, z_dim, n_classes):
        super().__init__()
        self.sizes = [z_dim, n_classes]
        self.of_z = nn.Sequential(nn.Linear(z_dim, 200), nn.ReLU(), nn.Dropout())
        self.of_y = nn.Sequential(nn.Linear(n_classes, 1000), nn.ReLU(), nn.Dropout())
        self.of_both = nn.Sequential(
            nn.Linear(1200, 1200), nn.ReLU(), nn.Dropout(), nn.Linear(1200, 28 * 28), nn.Sigmoid()
        )

    def forward(self, joined):
        z, y = joined.split(self.sizes, 1)
        return self.of_both(torch.cat([self.of_z(z), self.of_y(y)], 1)).view(-1, 1, 28, 28)


class PaperDiscriminator(nn.Module):
    """pictures and maps of y [N, 1 + classes, 28, 28] -> probability of being real [N]."""

    def __init__(self, n_classes):
        super().__init__()
        self.of_x = nn.Sequential(Maxout(28 * 28, 240, 5), nn.Dropout())
        self.of_y = nn.Sequential(Maxout(n_classes, 50, 5), nn.Dropout())
        self.of_both = nn.Sequential(Maxout(290, 240, 4), nn.Dropout(), nn.Linear(240, 1), nn.Sigmoid())

    def forward(self, joined):
        x, y = joined[:, 0].flatten(1), joined[:, 1:, 0, 0]
        return self.of_both(torch.cat([self.of_x(x), self.of_y(y)], 1)).flatten()


# %% fold="Training them"
def train_on_shapes(settings, run):
    """Trains the paper's pair on shapes, for no more steps than the run has. Returns its G."""
    seed_everything(settings.seed)
    device = run.device
    G, D = PaperGenerator(settings.z_dim, len(SHAPES)).to(device), PaperDiscriminator(len(SHAPES)).to(device)
    optimizer_G = torch.optim.Adam(G.parameters(), 2e-4, (0.5, 0.999))
    optimizer_D = torch.optim.Adam(D.parameters(), 2e-4, (0.5, 0.999))
    steps = min(settings.shape_steps, max(settings.steps, run.step))  # of a run that is only opened, `steps` is 1
    for _ in progress(range(steps), "shapes", steps):
        labels = torch.randint(len(SHAPES), (64,), device=device)
        y = one_hot(labels, len(SHAPES))
        discriminator_step(D, G, optimizer_D, draw_shapes(labels), torch.randn(64, settings.z_dim, device=device), y)
        with frozen(D):
            generator_step(D, G, optimizer_G, torch.randn(64, settings.z_dim, device=device), y)
    return G


@torch.no_grad()
def sample_shapes(G, z_dim, columns=10):
    """Grey pictures uint8 [5 × columns, 1, 28, 28] on the CPU: a row per shape."""
    labels = torch.arange(len(SHAPES), device=next(G.parameters()).device).repeat_interleave(columns)
    z = torch.randn(len(labels), z_dim, device=labels.device)
    return (G.eval()(join_z(z, one_hot(labels, len(SHAPES)))) * 255).byte().cpu()


# %%
G_shapes = train_on_shapes(settings, run)
show_classes(sample_shapes(G_shapes, settings.z_dim), SHAPES, run.folder / "shapes.png")
