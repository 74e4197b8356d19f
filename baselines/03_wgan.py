# %% [markdown]
# # 03 · Wasserstein GAN
#
# A vanilla discriminator that is sure of itself teaches nothing: its Sigmoid is flat there, and so is the loss. Behind
# that stands the Jensen–Shannon divergence which it estimates: it is $\log 2$ for any two distributions that do not
# overlap, however near they are. The **earth mover's distance** does tell how far away they are, so that $G$ always
# knows which way to go ([Arjovsky et al., 2017](https://arxiv.org/abs/1701.07875)). It is
#
# $$W(p_{\text{real}}, p_G) = \max_{\lVert D \rVert_L \le 1} \; \mathbb E_x[D(x)] - \mathbb E_z[D(G(z))]$$
#
# over all $D$ whose slope is at most 1. $D$ is no longer asked for a probability: it is a **critic** that gives any
# number. So the Sigmoid goes, and the logarithms go. The slope is bounded crudely: after each step, every weight is
# clipped to $[-c, c]$. Momentum makes a critic with clipped weights unstable, so both optimizers are RMSprop; and the
# better the critic, the better its advice, so it makes five steps for one of $G$.
#
# You take the Sigmoid away, choose the optimizers, write both steps, and record the gradient norms for your report.
# Watch `loss_D`: its negative estimates the distance, and unlike a vanilla GAN's loss it falls as the pictures get
# better. And watch the gradient norms that this notebook records: a clipped layer scales what passes through it by a
# factor that $c$ decides, and over many layers the factors multiply, so that the gradient fades or explodes. BatchNorm
# hides much of that, by scaling back: try `{"batch_norm": False, "layers": 12}` for your report. 04 mends it.
# The score to beat is **Strong**.

# %% include: setup, settings


# %%
@dataclass
class WganSettings(Settings):
    clip: float = 0.01  # c: weights of D stay between −c and c
    layers: int = 4  # layers of D before the last, 4 to 15; those over 4 keep the size
    batch_norm: bool = True  # BatchNorm in D; without it, the gradients of clipped layers go where they want


PRESETS = with_longer(
    WganSettings(run="runs/wgan", n_critic=5, lr_G=5e-5, lr_D=5e-5, steps=50 * 1115, checkpoint_every=2230)
)
PRESETS["cpu"] = replace(  # ten minutes on one CPU core, with larger steps and a wider clip than the paper's
    PRESETS["course"],
    steps=4000,
    batch_size=32,
    width=16,
    lr_G=4e-4,
    lr_D=4e-4,
    clip=0.03,
    n_critic=2,
    ema=0.99,
    checkpoint_every=500,
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"clip": 0.1}

# %% include: choose, faces, dcgan

# %% [markdown]
# ## The critic
#
# `Discriminator` of 01 ends in a Sigmoid unless told otherwise. With `layers` over 4 it gets more layers of the same
# size, for the gradient norms of a deep critic.


# %% todo="make_critic"
def make_critic():
    """A critic of settings.width and settings.layers: pictures [N, 3, 64, 64] -> any number [N]."""
    ### BEGIN SOLUTION
    return Discriminator(settings.width, settings.layers, probability=False)
    ### END SOLUTION


# %% check="make_critic"
def check_make_critic(make):
    critic = make()
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for convolution in convolutions[-1:]:
            convolution.weight.mul_(1000)
        scores = critic(torch.randn(8, 3, 64, 64))
    assert scores.shape == (8,), f"8 pictures gave {list(scores.shape)}, not one number each"
    assert scores.min() < 0 or scores.max() > 1, (
        "the Sigmoid is still in: its gradients vanish, and W is no probability"
    )
    assert len(convolutions) == settings.layers + 1, "pass settings.layers on"
    print("make_critic: done")


check_make_critic(make_critic)

# %%
seed_everything(settings.seed)
G = on_device(Generator(settings.z_dim, settings.width), mixed=True)
D = on_device(make_critic(), mixed=True)
if not settings.batch_norm:
    for block in D.layers:
        for name, module in block.named_children():
            if isinstance(module, nn.BatchNorm2d):
                setattr(block, name, nn.Identity())


# %% include: toy


# %% todo="make_optimizers"
def make_optimizers(G, D):
    """(optimizer of G, optimizer of D), without momentum, with settings.lr_G and settings.lr_D."""
    ### BEGIN SOLUTION
    return (
        torch.optim.RMSprop(G.parameters(), settings.lr_G),
        torch.optim.RMSprop(D.parameters(), settings.lr_D),
    )
    ### END SOLUTION


# %% check="make_optimizers"
def check_make_optimizers(make):
    D, G = toy_pair()
    for optimizer, network, lr in zip(make(G, D), (G, D), (settings.lr_G, settings.lr_D), strict=True):
        (group,) = optimizer.param_groups
        assert {*map(id, group["params"])} == {*map(id, network.parameters())}, "first G's optimizer, then D's"
        assert group["lr"] == lr, f"the learning rate is {group['lr']}, the settings say {lr}"
        momentum = group.get("betas", (group.get("momentum", 0),))[0]
        assert momentum == 0, "no momentum with clipped weights: RMSprop, as the paper, or Adam with beta1 = 0"
    print("make_optimizers: done")


check_make_optimizers(make_optimizers)

# %% [markdown]
# ## The two steps
#
# $$L_D = \mathbb E_z[D(G(z))] - \mathbb E_x[D(x)] \qquad L_G = -\mathbb E_z[D(G(z))]$$
#
# Minimising $L_D$ maximises the difference. The clipping comes **after** the optimizer's step, or the step leaves the
# allowed range again.


# %% todo="discriminator_step"
def discriminator_step(D, G, optimizer_D, real, z):
    """One step of the critic on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim], and its weights
    clipped to ±settings.clip. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    loss = D(G(z).detach()).mean() - D(real).mean()
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    with torch.no_grad():
        for weight in D.parameters():
            weight.clamp_(-settings.clip, settings.clip)
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    def one(lr):
        """A step on a fresh pair: the loss, and D's weight after it."""
        D, G = toy_pair(probability=False)
        loss = check_loss_alone(step(D, G, torch.optim.SGD(D.parameters(), lr), *toy_batch()))
        return loss, abs(D.weight.item())

    D, G = toy_pair(probability=False)
    real, z = toy_batch()
    with torch.no_grad():
        right = (D(G(z)).mean() - D(real).mean()).item()
    clip, inside = settings.clip, settings.clip * 1.001
    loss, weight = one(lr=0.0)
    assert abs(loss + right) > 1e-4, "the sign is wrong: D(fake) is to fall, D(real) to rise, and the loss is minimised"
    assert abs(loss - right) < 1e-4, (
        f"the loss is {loss:.4f}, not {right:.4f}: mean D(fake) − mean D(real), no log, no BCE"
    )
    assert weight <= inside, f"a weight of 0.7 is {weight:.3f} after the step: clip it to ±{clip}"
    assert one(lr=100.0)[1] <= inside, "clipped before the step, which leaves the range again: clip after it"
    settings.clip = 1e6  # wide enough to see the rest
    try:
        check_step_of_D(step, probability=False)
    finally:
        settings.clip = clip
    print("discriminator_step: done")


check_discriminator_step(discriminator_step)


# %% include: wgan_generator_step


# %% check="generator_step"
def check_generator_step(step):
    D, G = toy_pair(probability=False)
    _, z = toy_batch()
    with torch.no_grad():
        right = -D(G(z)).mean().item()
    loss = check_loss_alone(step(D, G, torch.optim.SGD(G.parameters(), lr=0.0), z))
    assert abs(loss + right) > 1e-4, "the sign is wrong: G wants D(G(z)) to rise, and the loss is minimised"
    assert abs(loss - right) < 1e-4, f"the loss is {loss:.4f}, not {right:.4f}: −mean D(G(z)), no log, no BCE"
    check_step_of_G(step, probability=False)
    print("generator_step: done")


check_generator_step(generator_step)

# %% [markdown]
# ## The order of a step
#
# `.grad` is a running sum. G's loss goes through D and leaves its own gradients there, so the norms that your report
# shows must be read after D's step and before G's.


# %% include: train_step


# %% check="train_step"
def check_train_step(train_step):
    before = settings.n_critic, settings.norms_every
    settings.n_critic, settings.norms_every = 2, 4
    try:
        for step, expected in {1: "D", 2: "DG", 3: "D", 4: "DNG"}.items():
            order = []
            update_D, update_G, record = (
                lambda real, order=order: order.append("D") or "loss of D",
                lambda count, order=order: order.append("G") or "loss of G",
                lambda step, order=order: order.append("N"),
            )
            losses = train_step(step, torch.zeros(3), update_D, update_G, record)
            order = "".join(order)
            assert order != "DGN", (
                "the norms are read after G's step: its gradients are in them. Record before update_G"
            )
            assert order != "NDG", "the norms are read before D's step: they are those of the step before"
            assert order.count("G") == expected.count("G"), (
                f"n_critic = 2: step {step} made {order.count('G')} steps of G"
            )
            assert order.count("N") == expected.count("N"), (
                f"norms_every = 4: recorded {order.count('N')} times in step {step}"
            )
            assert order == expected, f"step {step} did {order}, not {expected}"
            assert losses == ("loss of D", "loss of G" if "G" in expected else None), "return (loss_D, loss_G or None)"
    finally:
        settings.n_critic, settings.norms_every = before
    print("train_step: done")


check_train_step(train_step)

# %%
optimizer_G, optimizer_D = make_optimizers(G, D)

# %% include: run, train, loop, handin
