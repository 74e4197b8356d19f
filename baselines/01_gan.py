# %% [markdown]
# # 01 · The vanilla GAN
#
# Two networks play against each other. The **generator** $G$ turns noise $z$ into a picture; the **discriminator** $D$
# says how likely a picture is to be real. $D$ learns to tell the two apart, $G$ learns to be taken for real:
#
# $$\min_G \max_D \; \mathbb E_{x}\big[\log D(x)\big] + \mathbb E_{z}\big[\log(1 - D(G(z)))\big]$$
#
# ([Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)). Taken literally, $G$ has no gradient left just when it
# needs it most: while $D$ sees through every fake, $\log(1 - D(G(z)))$ is flat. So $G$ maximises $\log D(G(z))$
# instead, the *non-saturating* loss, which has the same fixed point and a strong gradient when $G$ is losing.
#
# You write both training steps. Everything else is given: read it, it is short. The score to beat is **Simple**.

# %% include: setup, settings

# %%
PRESETS = with_longer(Settings())  # "course": the sample code's sizes
PRESETS["cpu"] = Settings(  # ten minutes on one CPU core
    steps=3000, batch_size=32, width=16, lr_G=4e-4, lr_D=2e-4, ema=0.99
)
PRESETS["demo"] = Settings(  # a few minutes on two CPU cores
    steps=1400, batch_size=32, width=16, lr_G=4e-4, lr_D=2e-4, ema=0.99, checkpoint_every=350
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"steps": 20 * 1115}

# %% include: choose, faces, dcgan

# %%
seed_everything(settings.seed)
G = on_device(Generator(settings.z_dim, settings.width), mixed=True)
D = on_device(Discriminator(settings.width), mixed=True)

# %% [markdown]
# ## The two steps
#
# With binary cross-entropy the two goals become two losses. $D$ is to answer 1 for reals and 0 for fakes; $G$ is to
# make $D$ answer 1 for its fakes:
#
# $$L_D = -\tfrac12\,\mathbb E_x[\log D(x)] - \tfrac12\,\mathbb E_z[\log(1 - D(G(z)))]$$
# $$L_G = -\mathbb E_z[\log D(G(z))]$$
#
# In $D$'s step the fakes are only examples: `detach()` them, so that no time goes into gradients for $G$ which nobody
# uses.

# %% include: toy

# %% todo="discriminator_step"
bce = nn.BCELoss()  # of probabilities [N] and labels [N]


def discriminator_step(D, G, optimizer_D, real, z):
    """One step of D on real pictures [N, 3, 64, 64] and on the fakes of z [N, z_dim]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    fake = G(z).detach()
    p_real, p_fake = D(real), D(fake)
    loss = (bce(p_real, torch.ones_like(p_real)) + bce(p_fake, torch.zeros_like(p_fake))) / 2
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    D, G = toy_pair()
    real, z = toy_batch()
    with torch.no_grad():
        right_real, right_fake = -D(real).log().mean(), -(1 - D(G(z))).log().mean()
        swapped = -(1 - D(real)).log().mean() - D(G(z)).log().mean()
    loss = check_loss_alone(step(D, G, torch.optim.SGD(D.parameters(), lr=0.0), real, z))
    right = (right_real + right_fake).item()
    assert abs(loss - swapped) > 1e-4 and abs(loss - swapped / 2) > 1e-4, "labels swapped: reals are 1, fakes are 0"
    assert min(abs(loss - right), abs(loss - right / 2)) < 1e-4, (
        f"the loss is {loss:.4f}, not {right / 2:.4f} (or twice that): add BCE(D(real), 1) and BCE(D(G(z)), 0)"
    )
    check_step_of_D(step)
    print("discriminator_step: done")


check_discriminator_step(discriminator_step)


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
    D, G = toy_pair()
    _, z = toy_batch()
    with torch.no_grad():
        right, saturating = -D(G(z)).log().mean().item(), (1 - D(G(z))).log().mean().item()
    loss = check_loss_alone(step(D, G, torch.optim.SGD(G.parameters(), lr=0.0), z))
    assert abs(loss - saturating) > 1e-4, "this is log(1 − D(G(z))), which saturates: use −log D(G(z))"
    assert abs(loss + saturating) > 1e-4, "labels swapped: G wants D to answer 1 for its fakes"
    assert abs(loss - right) < 1e-4, f"the loss is {loss:.4f}, not {right:.4f}: take BCE(D(G(z)), 1)"
    check_step_of_G(step)
    print("generator_step: done")


check_generator_step(generator_step)

# %%
betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas, fused=True)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas, fused=True)

# %% include: run, solved train_step, train, loop, handin
