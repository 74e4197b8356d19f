# %% [markdown]
# # 04 · WGAN with gradient penalty
#
# Clipping bounds the critic's slope by crippling the critic: most weights end at $\pm c$, it can express only simple
# functions, and on their way through the layers gradients vanish or explode, whichever $c$ you choose. What the theory
# asks for is a slope of 1. So ask for that directly, where it matters: between the reals and the fakes
# ([Gulrajani et al., 2017](https://arxiv.org/abs/1704.00028)):
#
# $$L_D = \mathbb E_z[D(G(z))] - \mathbb E_x[D(x)]
#   + \lambda\, \mathbb E_{\hat x}\big[(\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1)^2\big]
#   \qquad \hat x = \alpha x + (1 - \alpha)\, G(z), \;\; \alpha \sim U[0, 1]$$
#
# with $\lambda = 10$ and one $\alpha$ for each picture. The norm is taken of the gradient with respect to the
# **picture**, over all its pixels and channels together. The penalty is itself trained, so its gradient is needed too:
# `create_graph=True`.
#
# The penalty holds for each picture alone, and BatchNorm would make $D$'s answer for one depend on all the others: the
# critic takes InstanceNorm instead. With no clipped weights about, Adam works again, with $\beta_1 = 0$. Watch the
# gradient norms: from layer to layer they stay within an order of magnitude, where 03's ran away. The score to beat is
# **Strong**.

# %% include: setup, settings


# %%
@dataclass
class PenaltySettings(Settings):
    penalty: float = 10.0  # λ
    layers: int = 4  # layers of D before the last, 4 to 15; those over 4 keep the size


PRESETS = with_longer(
    PenaltySettings(run="runs/wgan_gp", n_critic=5, beta1=0.0, beta2=0.9, steps=50 * 1115, checkpoint_every=2230)
)
PRESETS["cpu"] = replace(  # ten minutes on one CPU core
    PRESETS["course"],
    steps=2000,
    batch_size=32,
    width=16,
    lr_G=4e-4,
    lr_D=4e-4,
    n_critic=2,
    ema=0.99,
    checkpoint_every=250,
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"layers": 10}

# %% include: choose, faces, dcgan

# %% [markdown]
# ## The critic
#
# As in 03 without a Sigmoid, and now without BatchNorm: `nn.InstanceNorm2d` normalises each picture by itself. Give it
# its learned scale and shift, `affine=True`, which BatchNorm has by default.


# %% todo="make_critic"
def make_critic():
    """A critic of settings.width and settings.layers: pictures [N, 3, 64, 64] -> any number [N], each by itself."""
    ### BEGIN SOLUTION
    norm = lambda channels: nn.InstanceNorm2d(channels, affine=True)  # noqa: E731
    return Discriminator(settings.width, settings.layers, norm, probability=False)
    ### END SOLUTION


# %% check="make_critic"
def check_make_critic(make):
    critic, pictures = make(), torch.randn(8, 3, 64, 64)
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions[-1:]:
            convolution.weight.mul_(1000)
        scores, others = critic(pictures), critic(torch.cat([pictures[:1], torch.randn(7, 3, 64, 64)]))
    assert scores.shape == (8,), f"8 pictures gave {list(scores.shape)}, not one number each"
    assert scores.min() < 0 or scores.max() > 1, "the Sigmoid is still in"
    assert torch.isclose(scores[0], others[0], rtol=1e-3, atol=1e-3), (
        "a picture's score depends on the rest of its batch: there is BatchNorm in the critic. Use InstanceNorm2d"
    )
    assert len(convolutions) == settings.layers + 1, "pass settings.layers on"
    print("make_critic: done")


check_make_critic(make_critic)

# %%
seed_everything(settings.seed)
G = on_device(Generator(settings.z_dim, settings.width), mixed=True)
D = on_device(make_critic())

# %% include: toy

# %% [markdown]
# ## The penalty
#
# `torch.autograd.grad(outputs, inputs, create_graph=True)` gives the gradient with respect to the pictures. Sum $D$'s
# answers first: each depends on its own picture alone, so the gradient of the sum holds each one's gradient.


# %% include: gradient_penalty


# %% check="gradient_penalty"
def check_gradient_penalty(penalty):
    class Bowl(nn.Module):
        """D(x) = w · ‖x‖² / 2, whose gradient w · x is known."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.02, device=device))

        def forward(self, pictures):
            self.seen = pictures
            return self.weight * pictures.square().flatten(1).sum(1) / 2

    D = Bowl().to(device)
    x = torch.rand(6, 3, 64, 64, device=device) + 0.2
    slopes = (D.weight * x).detach().flatten(1)
    right = ((slopes.norm(2, dim=1) - 1) ** 2).mean().item()
    value = check_loss_alone(penalty(D, x, x.clone()))  # wherever between them: x̂ = x
    near = lambda wrong: abs(value - float(wrong)) < 1e-3 * abs(float(wrong))  # noqa: E731
    assert not near(((slopes.abs().sum(1) - 1) ** 2).mean()), "this is the L1 norm: take the L2 norm, norm(2, dim=1)"
    assert not near(settings.penalty * right), "λ is already in: it belongs to the loss of D, not in here"
    assert not near((slopes.norm(2, dim=1) ** 2).mean()), "the norm is to be 1, not 0: subtract 1 before squaring"
    assert not near((slopes.norm() - 1) ** 2), "one norm over the whole batch: take one for each picture"
    assert near(right), f"the penalty is {value:.4f}, not {right:.4f}: flatten each picture, and take one norm of it"

    real, fake = torch.ones_like(x), torch.zeros_like(x)  # so that x̂ is α
    penalty(D, real, fake)
    alpha = D.seen.detach().flatten(1)
    assert alpha.min() >= 0 and alpha.max() <= 1, (
        "x̂ lies between real and fake: α real + (1 − α) fake, with α in [0, 1]"
    )
    assert (alpha.max(1).values - alpha.min(1).values).max() < 1e-6, (
        "one α per pixel or channel: take one for each picture"
    )
    assert alpha[:, 0].unique().numel() > 1, "one α for the whole batch: take one for each picture"

    loss = penalty(D, x, x.clone())
    assert loss.requires_grad, "the penalty has no gradient: create_graph=True"
    loss.backward()
    assert D.weight.grad is not None and D.weight.grad.abs() > 0, "the penalty has no gradient: create_graph=True"
    print("gradient_penalty: done")


check_gradient_penalty(gradient_penalty)

# %% [markdown]
# ## The two steps
#
# $G$'s step is that of 03. $D$'s has lost its clipping, and gains $\lambda$ times the penalty.


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z):
    """One step of the critic on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim], with
    settings.penalty times the penalty. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    fake = G(z).detach()
    loss = D(fake).mean() - D(real).mean() + settings.penalty * gradient_penalty(D, real, fake)
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    D, G = toy_pair(probability=False)
    real, z = toy_batch()
    with torch.no_grad():
        distance = (D(G(z)).mean() - D(real).mean()).item()
    penalty = (abs(D.weight.item()) / real[0].numel() ** 0.5 - 1) ** 2  # this D has the same slope everywhere
    loss = check_loss_alone(step(D, G, torch.optim.SGD(D.parameters(), lr=0.0), real, z))
    right = distance + settings.penalty * penalty
    near = lambda wrong: abs(loss - wrong) < 1e-3  # noqa: E731
    assert not near(-distance + settings.penalty * penalty), "the sign is wrong: mean D(fake) − mean D(real)"
    assert not near(distance), "the penalty is missing"
    assert not near(distance + penalty), "λ is missing: settings.penalty times the penalty"
    assert not near(distance - settings.penalty * penalty), (
        "the penalty is to be small, and the loss is minimised: add it"
    )
    assert near(right), f"the loss is {loss:.4f}, not {right:.4f}: mean D(fake) − mean D(real) + λ · penalty"
    check_step_of_D(step, probability=False)
    print("discriminator_step: done")


check_discriminator_step(discriminator_step)


# %% include: solved wgan_generator_step

# %%
betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)

# %% include: run, solved train_step, train, loop, handin
