# %% [markdown]
# # 07 · Progressive growing
#
# A face of 64×64 has everything to learn at once: where the head is, which colour the hair has, how an eye shines. So
# begin small ([Karras et al., 2018](https://arxiv.org/abs/1710.10196)). $G$ and $D$ first play with pictures of 4×4,
# where a face is a spot on a ground, and are good at it soon. Then both get a block that doubles the resolution, and
# another, up to 64×64, while the smaller ones go on learning. Steps at low resolution are cheap, and at no time is more
# than one block new.
#
# A new block knows nothing yet, and would spoil what the others know. So it is **faded in**. While $\alpha$ rises from
# 0 to 1, $G$ mixes its old picture, enlarged, with the new block's, and $D$ mixes what it reads in the picture, shrunk,
# with what the new block reads in it:
#
# $$G_{2r}(z) = (1-\alpha)\,\mathrm{double}\big(G_r(z)\big) + \alpha\, G_{2r}^\mathrm{new}(z) \qquad
#   h_r(x) = (1-\alpha)\,\mathrm{rgb}_r\big(\mathrm{halve}(x)\big) + \alpha\, D_{2r}^\mathrm{new}(x)$$
#
# Then the block is held at $\alpha = 1$ until all have settled. Reals are mixed like the fakes, so that sharpness does
# not give them away.
#
# The paper's other ideas have outlived growing itself. **Pixel norm** and the **equalized learning rate** keep signals
# and weights at a size of 1 without BatchNorm. The **minibatch standard deviation** tells $D$ how different the
# pictures of a batch are, which gives away a $G$ that has collapsed. You write all of these, and the growing.

# %% include: setup, settings


# %%
@dataclass
class GrowingSettings(Settings):
    hold: tuple = (1115, 1115, 2230, 2230)  # steps at 4×4, 8×8, 16×16 and 32×32; 64×64 is held to the end
    fade: tuple = (1115, 1115, 2230, 2230)  # steps in which 8×8, 16×16, 32×32 and 64×64 are faded in
    batch_share: tuple = (1, 1, 1, 1, 1)  # batches at 4×4 … 64×64, as a share of batch_size, at most 1
    lr_share: tuple = (1, 1, 1, 1, 1)  # learning rates at 4×4 … 64×64, as a share of lr_G and lr_D
    averaging: str = "all"  # of the minibatch standard deviation: all, spatial, gpool or flat
    loss: str = "least squares"  # or "wgan-gp"
    penalty: float = 10.0  # λ of wgan-gp
    drift: float = 1e-3  # how much wgan-gp minds D's answers for reals being far from 0
    norms_every: int = 0  # not recorded here: D's layers come one by one

    def __post_init__(self):  # lists, as config.json gives them back when a run goes on
        self.hold, self.fade = list(self.hold), list(self.fade)
        self.batch_share, self.lr_share = list(self.batch_share), list(self.lr_share)


course = GrowingSettings(  # the paper's, but narrower and shorter
    run="runs/progressive", steps=30 * 1115, lr_G=1e-3, lr_D=1e-3, beta1=0.0, beta2=0.99, ema=0.999, width=32
)
PRESETS = with_longer(course)
for name, times in (("t4_3h", 2), ("t4_12h", 8)):  # who has longer grows slower
    hold, fade = ([times * steps for steps in length] for length in (course.hold, course.fade))
    PRESETS[name] = replace(PRESETS[name], hold=hold, fade=fade)
PRESETS["cpu"] = replace(  # ten minutes on one CPU core
    course,
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

# %% include: choose, faces

# %% [markdown]
# ## When to grow
#
# A resolution is held for some steps, then the next is faded in for some, and so on. Resolution and $\alpha$ follow
# from the number of the step alone: nothing has to be remembered, and a run that goes on from a checkpoint cannot go on
# at another stage.


# %% todo="stage"
def stage(step, hold, fade):
    """The resolution (4, 8, …) and α (0 … 1) of the step that comes after `step` others; the first comes after 0.

    4×4 is held for hold[0] steps; then 8×8 is faded in for fade[0] steps, α = 0/fade[0], 1/fade[0], …, and held at
    α = 1 for hold[1] steps; and so on. The last resolution, which comes with fade[-1], is held for ever.
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
    hold, fade = [3, 5, 2], [4, 10, 0]
    first, last = stage(0, hold, fade), stage(10**6, hold, fade)
    assert isinstance(first, tuple) and len(first) == 2, "return resolution and α"
    assert first == (4, 1), f"the first step is {first}, not (4, 1.0): 4×4 has nothing to be faded over"
    assert last == (32, 1), f"long after three doublings the stage is {last}, not (32, 1.0)"
    begins, end = stage(3, hold, fade), stage(2, hold, fade)
    assert end == (4, 1), f"4×4, held for 3 steps, is {end} at step 2, the third"
    assert begins == (8, 0), f"the first step of 8×8 is {begins}, not (8, 0.0)"
    half = stage(5, hold, fade)
    assert half == (8, 0.5), f"after 2 of the 4 steps of fading the stage is {half}, not (8, 0.5)"
    held = {stage(step, hold, fade) for step in range(7, 12)}
    assert held == {(8, 1)}, f"8×8 is faded in for 4 steps and then held for 5, where it is {held}, not (8, 1.0)"
    assert stage(12, hold, fade) == (16, 0), f"16×16 begins at step 3 + 4 + 5, with {stage(12, hold, fade)}"
    assert stage(24, hold, fade) == (32, 1), "a fade of 0 steps: 32×32 is there at once, with α = 1"
    print("stage: done")


check_stage(stage)

# %% [markdown]
# ## Fading
#
# $\alpha = 0$ has to give the old one to the last bit: then growing changes nothing at first.


# %% todo="fade"
def fade(old, new, alpha):
    """The mixture of two tensors of one shape: old at α = 0, new at α = 1."""
    ### BEGIN SOLUTION
    return (1 - alpha) * old + alpha * new
    ### END SOLUTION


# %% check="fade"
def check_fade(fade):
    old, new = (torch.randn(4, 3, 8, 8, device=device, requires_grad=True) for _ in range(2))
    start, end, mixed = fade(old, new, 0.0), fade(old, new, 1.0), fade(old, new, 0.25)
    assert not torch.allclose(start, new, atol=1e-5), "the wrong way round: α = 0 is old, α = 1 is new"
    assert torch.allclose(start, old, atol=1e-5), "at α = 0 it is not old"
    assert torch.equal(start, old), "at α = 0 it is old but for rounding: (1 − α) · old + α · new is exact"
    assert torch.allclose(end, new, atol=1e-5), "at α = 1 it is not new"
    assert torch.allclose(mixed, old + 0.25 * (new - old), atol=1e-5), "α = 0.25 is not ¾ of old and ¼ of new"
    slopes = torch.autograd.grad(mixed.sum(), (old, new), allow_unused=True)
    assert None not in slopes, "both get a gradient: no detach() here"
    print("fade: done")


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
# After every convolution of $G$, and of $z$ itself: each pixel's vector of $C$ channels is divided by its root mean
# square, so that no layer can drive the others to ever larger numbers.
#
# $$b = a \Big/ \sqrt{\tfrac1C \textstyle\sum_c a_c^2 + 10^{-8}}$$


# %% todo="pixel_norm"
def pixel_norm(x):
    """Features [N, C, H, W], each pixel of which gets a mean square of 1 over its channels."""
    ### BEGIN SOLUTION
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    ### END SOLUTION


# %% check="pixel_norm"
def check_pixel_norm(norm):
    x = torch.randn(4, 16, 3, 5, device=device) * torch.rand(4, 1, 3, 5, device=device).add(0.1) + 0.5
    out = norm(x)
    assert out.shape == x.shape, f"features {list(x.shape)} became {list(out.shape)}: mean(1, keepdim=True)"
    one = torch.ones((), device=device)
    assert not torch.allclose(out.square().sum(1), one, atol=1e-3), "this makes the sum of squares 1: take the mean"
    assert not torch.allclose(out.std(1, correction=0), one, atol=1e-3), "nothing is subtracted: only divide"
    size = out.square().mean(1)  # [4, 3, 5]
    assert torch.allclose(size, one, atol=1e-3), (
        f"the mean square over a pixel's channels runs from {size.min():.2f} to {size.max():.2f}, and is to be 1 at "
        "each: the mean is over the channels, dim 1, alone, and its square root divides"
    )
    assert torch.allclose(out / x, (out / x)[:, :1], rtol=1e-3), "one number divides all channels of a pixel"
    assert norm(torch.zeros_like(x)).isfinite().all(), "a pixel of zeros is divided by 0: add 1e-8 under the root"
    print("pixel_norm: done")


check_pixel_norm(pixel_norm)

# %% [markdown]
# ## The equalized learning rate
#
# He's initialisation gives a weight the size $\sqrt{2/n}$, with $n$ the numbers that one output is summed from (input
# channels × kernel height × kernel width), so that signals keep their size through a layer and its ReLU. But Adam's
# steps are of the same length whatever a weight's size, so that the small weights of wide layers change faster than
# those of narrow ones. So give every weight a size of 1, $w \sim N(0, 1)$, and scale it where it is **used**, in each
# forward pass:
#
# $$\hat w = c\, w \qquad c = \mathrm{gain} \big/ \sqrt n \qquad \mathrm{gain} = \sqrt 2$$
#
# The last layers, that no ReLU follows, take a gain of 1.


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
    def spread(conv):  # the variance of what comes out when what goes in has a variance of 1
        with torch.no_grad():
            return conv.to(device)(torch.randn(8, 24, 12, 12, device=device)).var().item()

    conv = Conv(24, 96, 3, gain=1.0)
    out = conv.to(device)(torch.randn(2, 24, 12, 12, device=device))
    assert out.shape == (2, 96, 10, 10), f"24 channels of 12×12 became {list(out.shape[1:])}, not [96, 10, 10]"
    assert Conv(24, 96, 3, padding=1).to(device)(torch.randn(2, 24, 12, 12, device=device)).shape[2] == 12, (
        "pass self.padding on"
    )
    out.sum().backward()
    assert conv.weight.grad is not None, "the weight has no gradient: scale self.weight itself, not its data"
    for _ in range(3):
        variance = spread(conv)
    assert 0.9 < conv.weight.std() < 1.1, "the weights are to stay N(0, 1): scale them when used, not in place"
    near = lambda wrong: abs(variance / wrong - 1) < 0.1  # noqa: E731
    n = 24 * 9
    assert not near(n), "the weights are not scaled"
    assert not near(1 / n), "divide by the square root of n, not by n"
    assert not near(9), "n counts the kernel's 3×3 places too, not the input channels alone"
    assert not near(24 / 96), "n counts what goes into one output: input channels, not output channels"
    assert not near(2), "√2 is this layer's gain only where it is asked for: use self.gain"
    assert near(1), f"with a gain of 1, inputs of variance 1 give outputs of variance {variance:.3g}, not 1"
    variance = spread(Conv(24, 96, 3))
    assert near(2), f"with a gain of √2 the variance is {variance:.3g}, not 2: the scale is gain / √n"
    nn.init.constant_(conv.bias, 5.0)
    with torch.no_grad():
        mean = conv(torch.zeros(2, 24, 12, 12, device=device)).mean().item()
    assert abs(mean - 5) < 1e-4, f"a bias of 5 came out as {mean:.3g}: add it, and do not scale it"
    print("equalized_conv: done")


check_equalized_conv(EqualizedConv)

# %% [markdown]
# ## The minibatch standard deviation
#
# $D$ sees one picture at a time, and cannot know that $G$ makes the same one again and again. So near its end it is
# told how much the batch varies: the standard deviation over the batch of each feature at each place, averaged over all
# of them to a single number, which every picture gets as one more channel.
#
# $$s = \frac{1}{CHW} \sum_{c,h,w} \sqrt{\tfrac1N \textstyle\sum_n (x_{nchw} - \bar x_{chw})^2 + 10^{-8}}$$


# %% todo="minibatch_stddev"
def minibatch_stddev(x):
    """Features [N, C, H, W] -> [N, C + 1, H, W]: the last channel is the mean standard deviation over the batch."""
    ### BEGIN SOLUTION
    spread = ((x - x.mean(0)).square().mean(0) + 1e-8).sqrt().mean()
    return torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], 1)
    ### END SOLUTION


# %% check="minibatch_stddev"
def check_minibatch_stddev(stddev):
    x = torch.randn(8, 5, 4, 4, device=device) * torch.rand(1, 5, 4, 4, device=device).mul(3)
    x += torch.randn(1, 5, 4, 4, device=device)
    x.requires_grad_()
    out = stddev(x)
    assert out.shape == (8, 6, 4, 4), f"[8, 5, 4, 4] became {list(out.shape)}, not [8, 6, 4, 4]: one channel more"
    assert torch.equal(out[:, :5], x), "the features come first, as they are, and the new channel last"
    new = out[:, 5]
    assert torch.allclose(new, new.mean(), atol=1e-5), "one number for the whole batch, the same at every place"
    value = new.mean().item()
    near = lambda wrong: abs(value / wrong.item() - 1) < 1e-3  # noqa: E731
    assert not near(x.var(0).mean()) and not near(x.var(0, correction=0).mean()), "the variance: take its root"
    assert not near(x.std()) and not near(x.std(correction=0)), (
        "this is the deviation of all numbers together: take that of each feature over the batch, dim 0, then the mean"
    )
    assert not near(x.std(1).mean()) and not near(x.std(1, correction=0).mean()), "over the batch, dim 0, not dim 1"
    assert not near(x.var(0, correction=0).mean().sqrt()) and not near(x.var(0).mean().sqrt()), (
        "first the root of each variance, then the mean"
    )
    right = x.std(0, correction=0).mean()
    assert near(right) or near(x.std(0).mean()), f"the new channel is {value:.4f}, not {right:.4f}"
    (slope,) = torch.autograd.grad(new.sum(), x, retain_graph=True)
    assert slope.abs().sum() > 0, "the new channel has no gradient, so G could learn nothing from it"
    same = torch.ones(8, 5, 4, 4, device=device, requires_grad=True)
    (slope,) = torch.autograd.grad(stddev(same).sum(), same)
    assert slope.isfinite().all(), "equal pictures have a gradient of NaN: add 1e-8 under the root"
    print("minibatch_stddev: done")


check_minibatch_stddev(minibatch_stddev)

# %% [markdown]
# That was `averaging` *all*. *spatial* averages over the places only, which leaves a number a channel; *gpool* has one
# a channel, too, the deviation over batch and places together; and *flat* is the deviation of all numbers together.


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
# All blocks are there from the start, and the stage says which of them are used. A block that is not used has no
# gradient, and Adam leaves a weight without one alone; so it is as if it had been added later, while optimizers,
# averages and checkpoints never change their shape. At $\alpha = 1$ the old way is not even computed.

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
    """z [N, z_dim] -> pictures [N, 3, r, r], r as its stage says, about −1 … 1: there is no tanh at the end."""

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
        return pictures


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


seed_everything(settings.seed)
G = Generator(settings.z_dim, settings.width).to(device, memory_format=torch.channels_last)
D = Discriminator(settings.width, settings.averaging).to(device, memory_format=torch.channels_last)
for network in (G, D):
    print(f"{type(network).__name__}: {sum(weight.numel() for weight in network.parameters()):,} parameters")

# %% [markdown]
# ## The losses
#
# Growing asks for no loss of its own. Least squares ([Mao et al., 2017](https://arxiv.org/abs/1611.04076)) is quick:
# $D$ is to answer 1 for reals and 0 for fakes, and $G$ wants a 1,
#
# $$L_D = \tfrac12\,\mathbb E_x\big[(D(x) - 1)^2\big] + \tfrac12\,\mathbb E_z\big[D(G(z))^2\big] \qquad
#   L_G = \tfrac12\,\mathbb E_z\big[(D(G(z)) - 1)^2\big]$$
#
# It breaks down when $D$ is so sure that its answers for reals reach 1 and stay. The cure: let $d$ be the running mean
# of those answers, and add noise of the size $0.2 \cdot \max(0, d - 0.5)^2$ to the reals. The surer $D$ is, the harder
# they are to tell. (The paper multiplies the inputs of all $D$'s layers by such noise.) The switch is `wgan-gp`, 04's
# loss and the paper's first choice, with a small pull $\epsilon\, \mathbb E_x[D(x)^2]$ that keeps $D$ from drifting.
# Its penalty sums $D$'s answers, each of which now depends, a little, on the other pictures of its batch.

# %% include: solved gradient_penalty


# %%
def least_squares_D(D, real, fake):
    noise_size = 0.2 * (D.on_reals - 0.5).clamp(min=0) ** 2
    d_real, d_fake = D(real + noise_size * torch.randn_like(real)), D(fake)
    D.on_reals.lerp_(d_real.detach().mean(), 0.1)  # 0.9 of the old mean, 0.1 of the new
    return ((d_real - 1).square().mean() + d_fake.square().mean()) / 2


def least_squares_G(d_fake):
    return (d_fake - 1).square().mean() / 2


def wgan_gp_D(D, real, fake):
    d_real, d_fake = D(real), D(fake)
    penalty, drift = gradient_penalty(D, real, fake), d_real.square().mean()
    return d_fake.mean() - d_real.mean() + settings.penalty * penalty + settings.drift * drift


def wgan_gp_G(d_fake):
    return -d_fake.mean()


LOSSES = {"least squares": (least_squares_D, least_squares_G), "wgan-gp": (wgan_gp_D, wgan_gp_G)}
loss_of_D, loss_of_G = LOSSES[settings.loss]


def discriminator_step(D, G, optimizer_D, real, z):
    """One step of D on reals [N, 3, r, r] and on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    loss = loss_of_D(D, real, G(z).detach())
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss


def generator_step(D, G, optimizer_G, z):
    """One step of G on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    loss = loss_of_G(D(G(z)))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss


betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas)

# %% include: run

# %% [markdown]
# ## Training
#
# The samples come from a running average of $G$'s weights, and are enlarged to 64×64 by repeating pixels, so that you
# see them grow. What $D$ sees has the resolution of the stage: reals are shrunk to it, and faded like the fakes.


# %%
class EnlargedAverage(AveragedModel):
    """The average of G, with pictures [N, 3, 64, 64] at every stage."""

    def forward(self, z):
        return nn.functional.interpolate(super().forward(z), RESOLUTIONS[-1])


fixed_z = torch.randn(1000, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed)).to(device)
average_G = EnlargedAverage(G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))

parts = {"G": G, "D": D, "average_G": average_G, "optimizer_G": optimizer_G, "optimizer_D": optimizer_D}
start = load_checkpoint(**parts)
log = LossLog(run / "log.csv", start)
tables = [log]
batches = face_batches(faces, settings.batch_size, settings.seed, start)


def grow(step):
    """Brings networks and learning rates to the stage after `step` steps. Returns resolution, α and batch size."""
    resolution, alpha = stage(step, settings.hold, settings.fade)
    for network in (G, D, average_G.module):
        network.stage = resolution, alpha
    level = RESOLUTIONS.index(resolution)
    for optimizer, lr in ((optimizer_G, settings.lr_G), (optimizer_D, settings.lr_D)):
        for group in optimizer.param_groups:
            group["lr"] = lr * settings.lr_share[level]
    return resolution, alpha, max(1, round(settings.batch_size * settings.batch_share[level]))


def noise(count):
    return torch.randn(count, settings.z_dim, device=device)


def take_step(step):
    resolution, alpha, count = grow(step - 1)
    real = as_sharp(next(batches)[:count], resolution, alpha)
    loss_D, loss_G = discriminator_step(D, G, optimizer_D, real, noise(count)), None
    if step % settings.n_critic == 0:
        loss_G = generator_step(D, G, optimizer_G, noise(count))
        average_G.update_parameters(G)
    if stage(step, settings.hold, settings.fade)[0] != resolution:  # this was its last step
        picture_grid(sample(average_G, fixed_z[:8])).save(run / f"samples/last_of_{resolution:02d}.png")
        print(f"{resolution}×{resolution} is done after step {step:,}")
    return loss_D, loss_G


grow(max(start - 1, 0))  # where the last step was made

# %% include: loop, handin

# %% [markdown]
# ## How it grew
#
# A row a resolution, of the same z at its last step. Look at what stays from row to row: pose and colours are settled
# at 8×8 and 16×16 already, and later blocks draw into them.

# %%
rows = [Image.open(path) for path in sorted(run.glob("samples/last_of_*.png"))] + [picture_grid(pictures[:8])]
growth = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
for number, row in enumerate(rows):
    growth.paste(row, (0, number * row.height))
growth.save(run / "growth.png")
display(growth)
