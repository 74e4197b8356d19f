# %% [markdown]
# # 08 · SNGAN, SAGAN, BigGAN
#
# A critic must not be steep. 03 clips its weights, 04 punishes its slope; **SNGAN**
# ([Miyato et al., 2018](https://arxiv.org/abs/1802.05957)) divides every weight by its largest singular value $\sigma$,
# so that no layer can stretch anything: $\bar W = W / \sigma(W)$, which costs next to nothing. The loss is the hinge,
# which leaves pictures alone that $D$ is already sure of:
#
# $$L_D = \mathbb E_x[\max(0, 1 - D(x, y))] + \mathbb E_z[\max(0, 1 + D(G(z, y), y))]
#   \qquad L_G = -\mathbb E_z[D(G(z, y), y)]$$
#
# Here both networks know the class $y$, say the hair's colour. $D$ projects its features $\phi(x)$ onto a vector a
# class ([Miyato & Koyama, 2018](https://arxiv.org/abs/1802.05637)), $G$ takes the scale and the shift of its BatchNorm
# from it. **SAGAN** ([Zhang et al., 2018](https://arxiv.org/abs/1805.08318)) lets every place look at every other, so
# that two eyes can match, and normalises $G$ as well. **BigGAN**
# ([Brock et al., 2018](https://arxiv.org/abs/1809.11096)) makes all of it larger: wider layers, a batch several times
# as large, one embedding of the class for all layers, a piece of $z$ at every size (skip-z), filters kept apart
# (orthogonal regularisation), samples from averaged weights, and $z$ cut off at a threshold, which trades variety for
# quality.
#
# One notebook climbs the ladder: the presets `sngan`, `sagan` and `biggan` differ in their settings alone.

# %% include: setup, settings

# %%
from torch.nn import functional as F


@dataclass
class LadderSettings(Settings):
    """The defaults are SNGAN's; each rung above changes some."""

    run: str = "runs/biggan"
    attribute: str = "hair"  # what the classes are of, "hair" or "eye" or a column's name; "" trains without classes
    classes: str = ""  # which to learn, separated by commas; "" takes all
    lr_G: float = 2e-4
    lr_D: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.9
    n_critic: int = 5
    steps: int = 50_000
    checkpoint_every: int = 2500
    spectral_norm: str = "torch"  # the style: "torch" is the library's, "ajbrock" the one below, "" none
    spectral_norm_G: bool = False  # in G too, not in D alone
    attention: int = 0  # maps of this size get self-attention, in G and in D; 0 is none
    shared: int = 0  # numbers in the embedding of a class that all layers of G share; 0 gives each layer its own table
    skip_z: bool = False  # a fifth of z for the start and for each block, instead of all of it for the start
    accumulate: int = 1  # batches whose gradients add up to one step
    orthogonal: float = 0.0  # weight of the orthogonal regularisation of G, BigGAN's β
    ema_start: int = 0  # the average is a copy of G until so many steps of G
    ema_every: int = 1  # steps of G between updates of the average
    ema_buffers: float = 0.0  # as `ema`, for BatchNorm's running means and variances; 0 copies G's
    truncation: float = 0.0  # the samples' z is drawn again where it is beyond ±this; 0 takes it as it comes


SNGAN = LadderSettings()
SAGAN = replace(SNGAN, spectral_norm_G=True, attention=32, n_critic=1, lr_G=1e-4, lr_D=4e-4)
BIGGAN = replace(
    SAGAN,
    spectral_norm="ajbrock",
    shared=128,
    skip_z=True,
    width=96,
    accumulate=4,
    n_critic=2,
    orthogonal=1e-4,
    ema=0.999,
    ema_start=1000,
    ema_buffers=0.9,
    beta2=0.999,
    steps=20_000,
    checkpoint_every=1000,
)
PRESETS = with_longer(replace(BIGGAN, width=64, accumulate=1))  # the batches of a T4 are small
PRESETS |= {"sngan": SNGAN, "sagan": SAGAN, "biggan": BIGGAN, "course": BIGGAN}
SMALL = {  # ten minutes on one CPU core, where attention to maps of 32 would take longer than all the rest
    "steps": 1800,
    "batch_size": 16,
    "width": 8,
    "accumulate": 1,
    "n_critic": 1,
    "lr_G": 1e-3,
    "lr_D": 5e-4,
    "beta2": 0.999,
    "ema": 0.99,
    "ema_start": 100,
    "ema_buffers": 0.9,
    "checkpoint_every": 300,
}
PRESETS["cpu"] = replace(BIGGAN, **SMALL, attention=16, shared=20)
PRESETS["cpu_sagan"] = replace(SAGAN, **SMALL, attention=16)
PRESETS["cpu_sngan"] = replace(SNGAN, **SMALL)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"attribute": "eye"}

# %% include: choose, faces, labels

# %% [markdown]
# ## The hinge loss


# %% todo="hinge_losses"
def hinge_loss_D(real, fake):
    """D's loss, a scalar, of its scores of reals and of fakes, [N] each."""
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
    real, fake = torch.tensor([-2.0, 0.5, 3.0], device=device), torch.tensor([-6.0, -0.25, 1.5], device=device)
    value = loss_D(real, fake)
    assert torch.is_tensor(value) and value.dim() == 0, "return one number, the mean over the batch, as a tensor"
    value, right = value.item(), ((3 + 0.5) + (0.75 + 2.5)) / 3
    hinge = lambda scores: scores.relu().mean().item()  # noqa: E731
    near = lambda wrong: abs(value - wrong) < 1e-4  # noqa: E731
    assert not near(hinge(1 + real) + hinge(1 - fake)), "signs are swapped: reals want to score over 1, fakes under −1"
    assert not near(hinge(1 + real) + hinge(1 + fake)), "a real picture costs max(0, 1 − D(x)): reals want over 1"
    assert not near(hinge(1 - real) + hinge(1 - fake)), "a fake costs max(0, 1 + D(G(z))): fakes are to score under −1"
    straight = (fake.mean() - real.mean()).item()
    assert not near(straight) and not near(2 + straight), "a picture that D is sure of costs nothing: max(0, …)"
    assert not near(hinge(1 - real.mean()) + hinge(1 + fake.mean())), "take max(0, …) of each picture, then the mean"
    assert not near(hinge(-real) + hinge(fake)), "the hinge is at ±1, not at 0: max(0, 1 − D(x)), max(0, 1 + D(G(z)))"
    assert not near(3 * right), "take the mean over the batch, not the sum"
    assert near(right) or near(right / 2), f"D's loss is {value:.4f}, not {right:.4f}"
    value = loss_G(fake)
    assert torch.is_tensor(value) and value.dim() == 0, "return one number, the mean over the batch, as a tensor"
    value = value.item()
    assert not near(fake.mean().item()), "the sign is wrong: G wants high scores, and the loss is minimised"
    assert not near(hinge(1 - fake)), "G's loss has no hinge: −mean D(G(z))"
    assert near(-fake.mean().item()), f"G's loss is {value:.4f}, not {-fake.mean().item():.4f}: −mean D(G(z))"
    print("hinge_losses: done")


check_hinge_losses(hinge_loss_D, hinge_loss_G)

# %% [markdown]
# ## Spectral normalisation
#
# $\sigma(W)$ is the most that $W$ can stretch a vector. Power iteration finds it: whatever $u$ you start from, $v =
# W^\top u$ and $u = Wv$, each scaled to length 1, turn towards the pair of vectors that $W$ stretches most, and then
# $\sigma = u^\top W v$. Weights move little in a step, so one iteration a step is enough, if $u$ is kept.
#
# The gradient flows through $W$ in $u^\top W v$, and not through $u$ and $v$, which are constants here. The weight of a
# convolution, `[out, in, k, k]`, counts as a matrix with a row an output; where its windows overlap, the convolution
# itself may stretch up to $k$ times as much.


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
def check_largest_singular_value(step):
    W = torch.linspace(-1, 2, 15, device=device).view(3, 5).sin().requires_grad_()
    first = torch.tensor([0.6, 0.0, -0.8], device=device)
    kept = first.clone()
    sigma, u = step(W, first)
    assert torch.equal(first, kept), "the u that came in was changed: return a new one"
    assert torch.is_tensor(sigma) and sigma.dim() == 0, "σ is one number, a tensor: u @ W @ v"
    assert u.shape == (3,), f"u has shape {list(u.shape)}, not one number a row of W"
    assert abs(u.norm().item() - 1) < 1e-4, "u has not length 1: normalise it"
    assert not u.requires_grad, "u is a constant: take the iteration under torch.no_grad()"
    v_right = W.detach().T @ first
    v_right /= v_right.norm()
    u_right = W.detach() @ v_right
    sigma_right = u_right.norm()
    u_right /= sigma_right
    assert not torch.allclose(u, first), "u did not move: u is W v, scaled to length 1"
    assert torch.allclose(u, u_right, atol=1e-4), "one iteration is v = Wᵀu, then u = Wv, each scaled to length 1"
    value = sigma.item()
    assert abs(value - W.detach().norm().item()) > 1e-3, "this is the Frobenius norm: σ = uᵀWv"
    assert abs(value - sigma_right.item() ** 2) > 1e-3, "this is σ²: v is to be scaled to length 1"
    assert abs(value - sigma_right.item()) < 1e-4, f"σ is {value:.4f}, not {sigma_right.item():.4f}: the new u and v"
    assert sigma.requires_grad, "σ has no gradient: u @ W @ v stays outside of torch.no_grad()"
    (gradient,) = torch.autograd.grad(sigma, W)
    assert torch.allclose(gradient, torch.outer(u_right, v_right), atol=1e-4), (
        "the gradient of σ with respect to W is u vᵀ: none flows through u and v"
    )
    for _ in range(100):
        sigma, u = step(W, u)
    assert abs(sigma.item() - torch.linalg.svdvals(W.detach())[0].item()) < 1e-3, "it does not find the largest σ"
    print("largest_singular_value: done")


check_largest_singular_value(largest_singular_value)

# %% [markdown]
# The two styles differ in what they keep. `torch` keeps $u$ and $v$, iterates in training only, and trusts them in
# evaluation. `ajbrock`, after BigGAN's PyTorch code, keeps $u$ alone, iterates in every forward pass, and stores the
# new $u$ in training only: so $\sigma$ fits averaged weights as well, whose $u$ was never trained.


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
    """A layer with orthogonal weights to start from, spectrally normalised in a style, or not at all."""
    nn.init.orthogonal_(module.weight)
    if style == "torch":
        nn.utils.parametrizations.spectral_norm(module)
    elif style == "ajbrock":
        nn.utils.parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))
    elif style:
        raise ValueError(f"no style {style!r} of spectral normalisation: torch, ajbrock, or '' for none")
    return module


# %% [markdown]
# ## Self-attention
#
# Every place $j$ of a map asks, with a query $g(x_j)$, all places $i$, which answer by keys $f(x_i)$ and have values
# $h(x_i)$ to give:
#
# $$\beta_{ji} = \operatorname{softmax}_i\big(f(x_i)^\top g(x_j)\big) \qquad
#   o_j = v\Big(\sum_i \beta_{ji}\, h(x_i)\Big) \qquad y_j = x_j + \gamma\, o_j$$
#
# $f$, $g$, $h$ and $v$ are 1×1 convolutions; inside there are an eighth of the channels. $\gamma$ is learned from 0, so
# that the network is at first what it would be without. No $1 / \sqrt d$ here, unlike in transformers. Keys and values
# are the largest of each 2×2 places, as in the authors' code: a quarter of the time and memory.


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
        attention = (queries.transpose(1, 2) @ keys).softmax(2)  # [N, H · W, H · W / 4], a row a query
        gathered = values @ attention.transpose(1, 2)  # [N, c, H · W]
        return x + self.gamma * self.v(gathered.unflatten(2, x.shape[2:]))
        ### END SOLUTION


# %% check="SelfAttention"
def check_SelfAttention(make):
    torch.manual_seed(0)
    attention, x = make(16).to(device), torch.randn(2, 16, 4, 6, device=device)
    with torch.no_grad():
        assert attention(x).shape == x.shape, f"the shape is {list(attention(x).shape)}, not {list(x.shape)}"
        assert torch.allclose(attention(x), x, atol=1e-5), "with γ = 0 the output is x: x + γ o"
        attention.gamma.fill_(1.0)
        o = attention(x) - x
        queries, keys, values = (part(x).flatten(2).mT for part in (attention.g, attention.f, attention.h))
        scores = queries @ keys.mT  # [N, queries, keys]
        found = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)  # [N, queries, c]

        def near(wrong):
            """Whether o is what comes of the wrong things found [N, queries, c]."""
            return torch.allclose(o, attention.v(wrong.mT.unflatten(2, x.shape[2:])), atol=1e-4)

        assert not torch.allclose(o + x, attention.v(found.mT.unflatten(2, x.shape[2:])), atol=1e-4), "x is missing"
        assert not near((scores / 2**0.5).softmax(2) @ values), "no 1 / √d in SAGAN"
        assert not near(scores.softmax(1) @ values), "softmax over the wrong places: what a query takes adds up to 1"
        assert not near(scores @ values), "the softmax is missing"
        assert not near(found.reshape(2, 2, -1).mT), "[N, H · W, c] is no map yet: transpose it to [N, c, H · W] first"
        assert near(found), "o is not v(Σ_i β_ji h(x_i)): compare with the formula"
        right = attention(x)
        attention.gamma.fill_(0.5)
        assert torch.allclose(attention(x), (x + right) / 2, atol=1e-4), "γ is missing, or scales x as well: x + γ o"
    assert attention(x).sum().requires_grad, "there is no gradient"
    print("SelfAttention: done")


check_SelfAttention(SelfAttention)

# %% [markdown]
# ## Conditional BatchNorm
#
# BatchNorm brings every channel to mean 0 and variance 1, and then a scale and a shift say what it is to be. Here they
# depend on a condition $c$, a row a picture: $(1 + \text{gain}(c)) \cdot \text{norm}(x) + \text{bias}(c)$. In SNGAN $c$
# is the class as a one-hot row, so that `gain` is a table with a row a class; in BigGAN it is the shared embedding of
# the class with a piece of $z$.


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
    batch_norm, x = make(6, 4).to(device), 3 * torch.randn(6, 6, 2, 2, device=device) + 1
    condition = torch.randn(6, 4, device=device)
    with torch.no_grad():
        y = batch_norm(x, condition)
        assert y.shape == x.shape, f"the shape is {list(y.shape)}, not {list(x.shape)}"
        norm = F.batch_norm(x, None, None, training=True)
        gain, bias = (part(condition)[:, :, None, None] for part in (batch_norm.gain, batch_norm.bias))
        near = lambda wrong: torch.allclose(y, wrong, atol=1e-3)  # noqa: E731
        assert not near((1 + gain) * x + bias), "x is not normalised: self.norm(x)"
        assert not near(gain * norm + bias), "the scale is 1 + gain: a gain of 0 changes nothing"
        assert not near((1 + bias) * norm + gain), "gain and bias are mixed up"
        assert not near((1 + gain) * norm), "the bias is missing"
        assert not near((1 + gain) * (norm + bias)), "scale first, then shift: (1 + gain) · norm(x) + bias"
        assert not near(F.batch_norm((1 + gain) * x + bias, None, None, training=True)), "normalise first, then scale"
        shifted = (1 + gain.transpose(0, 1)) * norm + bias.transpose(0, 1)
        assert not near(shifted), "the gain of a picture went to a channel: [N, channels] becomes [N, channels, 1, 1]"
        assert near((1 + gain) * norm + bias), "this is not (1 + gain) · norm(x) + bias, a gain a picture and channel"
    assert batch_norm.norm.running_mean.abs().sum() > 0, "the running means did not move: call self.norm(x)"
    print("ConditionalBatchNorm: done")


check_ConditionalBatchNorm(ConditionalBatchNorm)

# %% [markdown]
# ## The generator
#
# Residual blocks double the size from 4×4 to 64×64: what a block adds goes through two convolutions, and what it adds
# to through a 1×1 convolution alone. $G$ takes $z$ and $y$ side by side, as one row. As $y$ is a one-hot row, half of
# one class and half of another is a row too: you will use that to walk between classes.


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
        if settings.z_dim % pieces:
            raise ValueError(f"skip-z deals z out in 5 equal pieces, and z_dim is {settings.z_dim}")
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
# Were $D$ to know how likely each class $y$ makes a picture, and how likely the picture is anyway, its best score would
# be the sum of two terms: one that depends on the class, and one that does not. So it is built as such a sum,
#
# $$D(x, y) = e_y^\top \phi(x) + \psi(\phi(x))$$
#
# with a learned vector $e_y$ for each class, and a linear $\psi$. $\phi(x)$ is what the residual blocks make of the
# picture, summed over all places.


# %% todo="projection_logit"
def projection_logit(features, class_vectors, psi):
    """D's scores [N] of features φ(x) [N, C], with each one's e_y [N, C], and psi, a layer [N, C] -> [N, 1]."""
    ### BEGIN SOLUTION
    return (class_vectors * features).sum(1) + psi(features).squeeze(1)
    ### END SOLUTION


# %% check="projection_logit"
def check_projection_logit(logit):
    torch.manual_seed(0)
    psi = nn.Linear(6, 1).to(device)
    features, vectors = torch.randn(4, 6, device=device), torch.randn(4, 6, device=device)
    scores = logit(features, vectors, psi)
    by_class = torch.stack([e @ phi for e, phi in zip(vectors, features, strict=True)])
    near = lambda wrong: torch.allclose(scores, wrong, atol=1e-4)  # noqa: E731
    assert scores.shape != (4, 4) or not near(by_class + psi(features)), (
        "ψ gives [N, 1], and with [N] that makes [N, N]"
    )
    assert scores.shape != (4, 4), "each picture meets the vectors of all: its own only, (e * φ).sum(1)"
    assert scores.shape == (4,), f"4 pictures gave {list(scores.shape)}, not one number each"
    assert not near(by_class), "ψ(φ(x)) is missing"
    assert not near(psi(features)[:, 0]), "the projection e · φ(x) is missing"
    assert not near(psi(features + vectors)[:, 0]), "e is multiplied with φ(x), not added to it"
    assert not near(by_class / 6 + psi(features)[:, 0]), "a scalar product is a sum, not a mean"
    assert not near(by_class + psi(vectors)[:, 0]), "ψ is of the features, not of the class"
    assert near(by_class + psi(features)[:, 0]), "this is not e · φ(x) + ψ(φ(x)) for each picture"
    assert scores.requires_grad, "there is no gradient"
    print("projection_logit: done")


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


seed_everything(settings.seed)
G = Generator(settings, len(classes)).to(device, memory_format=torch.channels_last)
D = Discriminator(settings, len(classes)).to(device, memory_format=torch.channels_last)
for network in (G, D):
    print(f"{type(network).__name__}: {sum(weight.numel() for weight in network.parameters()):,} parameters")

# %% [markdown]
# ## A large batch out of small ones
#
# BigGAN's batch of 2,048 fits into no GPU of ours, but gradients add up: those of four batches, each loss divided by
# four, are the gradient of the mean over all. In $D$ this is exact, as nothing in it looks at other pictures. In $G$
# BatchNorm does, and normalises each of the four by itself (*ghost batches*): a large batch's step is another one, if
# not a worse one. Power iteration goes on from batch to batch, so $\sigma$ differs by as little as in a step.
#
# **Orthogonal regularisation** adds $\beta\,\lVert W W^\top \circ (1 - I) \rVert^2$ to $G$'s loss for each weight
# $W$: filters, its rows, are not to overlap; how long they are is left to them. It makes $G$ smooth, so that truncation
# below does no harm. As $\lVert W W^\top \rVert = \lVert W^\top W \rVert$, the smaller of the two will do.


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


def discriminator_step(D, G, optimizer_D, batches):
    """One step of D on all batches: tuples of real pictures [N, 3, 64, 64], their y [N, classes], and the z and y that
    its fakes are made of [N, z_dim + classes]. Returns its loss, a scalar."""
    optimizer_D.zero_grad()
    total = 0.0
    for real, y, latents in batches:
        with torch.no_grad():
            fake = G(latents)
        scores = D(torch.cat([real, fake]), torch.cat([y, latents[:, settings.z_dim :]]))
        loss = hinge_loss_D(*scores.split(len(real))) / len(batches)
        loss.backward()
        total = total + loss.detach()
    optimizer_D.step()
    return total


def generator_step(D, G, optimizer_G, batches):
    """One step of G on all batches of z and y [N, z_dim + classes]. Returns its loss, a scalar."""
    optimizer_G.zero_grad()
    D.requires_grad_(False)  # its weights need no gradients now
    total = 0.0
    for latents in batches:
        loss = hinge_loss_G(D(G(latents), latents[:, settings.z_dim :])) / len(batches)
        loss.backward()
        total = total + loss.detach()
    if settings.orthogonal:
        (settings.orthogonal * orthogonal_penalty(G)).backward()
    D.requires_grad_(True)
    optimizer_G.step()
    return total


betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas)

# %% include: run, labelled_samples, solved train_step, start

# %% [markdown]
# Here the average starts late, as a copy of $G$: its first weights are worth nothing. BatchNorm's running statistics
# are averages already, and follow with a momentum of their own; the vectors $u$ are copied, as an average of directions
# is none.


# %%
@torch.no_grad()
def update_average(average, network, step):
    """Moves an average's weights and buffers towards a network's after its step `step`: a copy up to step
    settings.ema_start, then every settings.ema_every steps θ̄ ← β θ̄ + (1 − β) θ."""
    copies = step <= settings.ema_start
    if not copies and step % settings.ema_every:
        return
    beta, beta_buffers = (0.0, 0.0) if copies else (settings.ema, settings.ema_buffers)
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - beta)
    for (name, mean), buffer in zip(average.named_buffers(), network.buffers(), strict=True):
        if name.endswith(("running_mean", "running_var")):
            mean.lerp_(buffer, 1 - beta_buffers)
        else:
            mean.copy_(buffer)


def truncate(z, threshold, seed=settings.seed + 1):
    """z with the numbers beyond ±threshold drawn again until none is left. A threshold of 0 leaves z as it is."""
    z, generator = z.clone(), torch.Generator().manual_seed(seed)
    while threshold and (beyond := z.abs() > threshold).any():
        z[beyond] = torch.randn(int(beyond.sum()), generator=generator).to(z.device)
    return z


def one_hot(labels):
    return F.one_hot(labels, len(classes)).float()  # [N] -> [N, classes]


def join(z, y):
    return torch.cat([z, y], 1)  # what G takes: [N, z_dim] and [N, classes] -> [N, z_dim + classes]


fixed_z = join(truncate(fixed_z, settings.truncation), one_hot(fixed_labels))
indices = batch_indices(len(faces), settings.batch_size, settings.seed, start * settings.accumulate)


def fakes_to_make(count):
    """z and y for fakes [count, z_dim + classes], whose classes are as frequent as among the faces."""
    return join(noise(count), one_hot(labels[torch.randint(len(labels), (count,), device=device)]))


def update_D(chosen):
    batches = [(as_input(faces[i]), one_hot(labels[i]), fakes_to_make(len(i))) for i in chosen]
    return discriminator_step(D, G, optimizer_D, batches)


def update_G(count):
    return generator_step(D, G, optimizer_G, [fakes_to_make(settings.batch_size // PROCESSES) for _ in range(count)])


def take_step(step):
    chosen = [next(indices) for _ in range(settings.accumulate)]  # which faces, a tensor [batch_size] each
    loss_D, loss_G = train_step(step, chosen, update_D, update_G, norms.add)
    if loss_G is not None:
        update_average(average_G.module, G, step // settings.n_critic)
    return loss_D, loss_G


# %% include: loop, handin

# %% [markdown]
# ## What the class does
#
# `labels.csv` beside the pictures says which class each was asked to be: `python -m grader score outputs --by-class`
# scores each class by itself. Below, all rows share their eight $z$: what changes down a column is the class alone.

# %%
write_labels(outputs, fixed_labels, classes)
z = fixed_z[:8, : settings.z_dim]
rows = torch.arange(len(classes), device=device).repeat_interleave(8)
show_classes(sample(average_G, join(z.repeat(len(classes), 1), one_hot(rows))), classes, run / "classes.png")

# %% [markdown]
# As many as you want of each class:


# %%
def sample_classes(counts, truncation=settings.truncation, seed=0):
    """Pictures [N, 3, 64, 64] and their labels [N], as many of each class as counts says: {"aqua": 5, "red": 3}."""
    chosen = torch.tensor([classes.index(name) for name, count in counts.items() for _ in range(count)], device=device)
    z = torch.randn(len(chosen), settings.z_dim, generator=torch.Generator().manual_seed(seed)).to(device)
    return sample(average_G, join(truncate(z, truncation), one_hot(chosen))), chosen


pictures, chosen = sample_classes({classes[0]: 5, classes[-1]: 3})
display(picture_grid(pictures))

# %% [markdown]
# ## Truncation
#
# Few $z$ lie far out, so $G$ has seen little of them. Cut them off, and faces get more regular and more alike: the same
# eight $z$, with their numbers beyond a threshold drawn again.

# %%
thresholds = {"z as it is": 0.0, "within ±1": 1.0, "within ±0.5": 0.5, "within ±0.1": 0.1}
z = torch.randn(8, settings.z_dim, generator=torch.Generator().manual_seed(1)).to(device)
z = torch.cat([truncate(z, threshold) for threshold in thresholds.values()])  # [4 × 8, z_dim]
pictures = sample(average_G, join(z, one_hot(fixed_labels[:1].expand(len(z)))))
show_classes(pictures, list(thresholds), run / "truncation.png")

# %% [markdown]
# ## Walks
#
# Between two $z$ a straight line (*lerp*) passes nearer to 0 than any $z$ that $G$ was trained on: 100 normal numbers
# have a length of about $\sqrt{100}$, half way it is $\sqrt{50}$. The great circle (*slerp*) keeps the length. Between
# classes the line is the natural way: half of one row and half of the other.


# %%
def lerp(a, b, t):
    """The row a [numbers] at t = 0, b at t = 1, and what lies between on the line."""
    return (1 - t) * a + t * b


def slerp(a, b, t):
    """As lerp, on the arc from the direction of a to that of b; the lengths go over as well."""
    angle = torch.acos(F.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if angle.sin() < 1e-4:  # the same direction, or opposite ones, between which no arc is shorter
        return lerp(a, b, t)
    return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b


def walk(a, b, steps, between=lerp):
    """Rows [steps, numbers] from a to b."""
    return torch.stack([between(a, b, t) for t in torch.linspace(0, 1, steps, device=device)])


z = torch.randn(8, settings.z_dim, generator=torch.Generator().manual_seed(2)).to(device)
y = one_hot(torch.arange(len(classes), device=device))
print(f"one z a row, from {classes[0]} to {classes[-1]}")
classes_between = walk(y[0], y[-1], 8)
display(picture_grid(sample(average_G, torch.cat([join(row.expand(8, -1), classes_between) for row in z[:4]]))))
print(f"one class, {classes[0]}, from one z to another: lerp above, slerp below")
zs_between = torch.cat([walk(z[0], z[1], 8, lerp), walk(z[0], z[1], 8, slerp)])
display(picture_grid(sample(average_G, join(zs_between, y[0].expand(16, -1)))))

# %% [markdown]
# The same as animated pictures: six faces that walk through all classes, and a face of each class that walks through
# $z$ and back to where it began.


# %%
def round_walk(corners, steps, between=lerp):
    """Rows [corners · steps, numbers] from each corner [corners, numbers] to the next, and back to the first."""
    return torch.cat([walk(a, b, steps + 1, between)[:-1] for a, b in zip(corners, corners.roll(-1, 0), strict=True)])


def animate_faces(rows_of_frames, path):
    """An animated picture with a grid of faces a frame, of the rows [faces, z_dim + classes] of each."""
    pictures = sample(average_G, torch.cat(rows_of_frames)).split(len(rows_of_frames[0]))
    animate([picture_grid(frame, columns=6) for frame in pictures], path, most=len(pictures))


animate_faces([join(z[:6], between.expand(6, -1)) for between in round_walk(y, 3)], run / "classes.gif")
animate_faces([join(between.expand(len(y), -1), y) for between in round_walk(z[:3], 12, slerp)], run / "z.gif")
