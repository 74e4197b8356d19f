# %% [markdown]
# # 02 · Gradient clipping
#
# The vanilla GAN's gradients are unruly. When $D$ is sure of itself, $-\log D(G(z))$ is steep, and one batch can throw
# $G$ far away from what it had learned: pictures that were faces at one checkpoint are noise at the next. The cheapest
# cure is to shorten a gradient $g$ that is too long, and to leave its direction alone:
#
# $$g \leftarrow g \cdot \min\!\Big(1, \frac{c}{\lVert g \rVert_2}\Big)$$
#
# where $\lVert g \rVert_2$ is the norm over **all** parameters of a network together
# ([Pascanu et al., 2013](https://arxiv.org/abs/1211.5063)). Short gradients pass unchanged: $c$ is a speed limit, not a
# learning rate. Watch that it does not bind always: then every step has the same length, and a smaller learning rate
# would say the same more honestly. Adam divides by the size of past gradients, so clipping helps against outliers, not
# against gradients that are large throughout.
#
# Two more changes make the **Medium** baseline: $D$ makes two steps for one of $G$ (`n_critic`), so that $G$ follows a
# better judge, and training lasts 50 epochs. Everything else is as in 01.

# %% include: setup, settings


# %%
@dataclass
class ClippingSettings(Settings):
    max_norm: float = 1.0  # c, the longest gradient that a step may have


PRESETS = with_longer(ClippingSettings(run="runs/clipping", n_critic=2, steps=50 * 1115, checkpoint_every=2230))
PRESETS["cpu"] = replace(  # ten minutes on one CPU core
    PRESETS["course"], steps=4000, batch_size=32, width=16, lr_G=4e-4, lr_D=2e-4, ema=0.99, checkpoint_every=500
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"max_norm": 5.0}

# %% include: choose, faces, dcgan

# %%
seed_everything(settings.seed)
G = on_device(Generator(settings.z_dim, settings.width))
D = on_device(Discriminator(settings.width))

# %% [markdown]
# ## One clipped step
#
# The gradient exists only after `backward()`, and it has done its work after `step()`: clip in between.
# `nn.utils.clip_grad_norm_` does it in place, for all parameters together.


# %% todo="clipped_step"
def clipped_step(loss, network, optimizer):
    """One step of an optimizer on a loss, its gradient no longer than settings.max_norm over all of the network."""
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), settings.max_norm)
    optimizer.step()
    ### END SOLUTION


# %% check="clipped_step"
def check_clipped_step(step):
    def moved(slopes):
        """How far a step of plain gradient descent moves two parameters whose gradients are the slopes."""
        network = nn.ParameterList([torch.zeros(1, device=device), torch.zeros(1, device=device)])
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        for weight in network:
            weight.grad = torch.full_like(weight, 7.0)  # what an earlier batch left behind
        step(sum(slope * weight.sum() for slope, weight in zip(slopes, network, strict=True)), network, optimizer)
        return [-weight.item() for weight in network]

    c = settings.max_norm
    short, long = moved([0.3 * c, 0.4 * c]), moved([30 * c, 40 * c])
    assert any(short) or any(long), "nothing moved: call optimizer.step()"
    if not np.allclose(short, [0.3 * c, 0.4 * c], rtol=1e-3):
        assert not np.allclose(short, [0.6 * c, 0.8 * c], rtol=1e-3), "a short gradient got longer: min(1, c/‖g‖)"
        raise AssertionError("a gradient shorter than max_norm must pass unchanged: zero_grad() first, then backward()")
    assert not np.allclose(long, [30 * c, 40 * c]), "not clipped: clip after backward() and before optimizer.step()"
    assert not np.allclose(long, [c, c], rtol=1e-3), "clipped value by value: take one norm over all parameters"
    assert np.allclose(long, [0.6 * c, 0.8 * c], rtol=1e-3), f"a gradient of (30c, 40c) became {long}, not (0.6c, 0.8c)"
    print("clipped_step: done")


check_clipped_step(clipped_step)

# %% [markdown]
# Both steps are those of 01 with this one in their middle.

# %%
bce = nn.BCELoss()  # of probabilities [N] and labels [N]


def discriminator_step(D, G, optimizer_D, real, z):
    """One step of D on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    p_real, p_fake = D(real), D(G(z).detach())
    loss = (bce(p_real, torch.ones_like(p_real)) + bce(p_fake, torch.zeros_like(p_fake))) / 2
    clipped_step(loss, D, optimizer_D)
    return loss


def generator_step(D, G, optimizer_G, z):
    """One step of G on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    p_fake = D(G(z))
    loss = bce(p_fake, torch.ones_like(p_fake))
    clipped_step(loss, G, optimizer_G)
    return loss


betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)

# %% include: run, solved train_step, train, loop, handin
