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

# %% include: setup

# %% [markdown]
# ## Settings


# %%
@dataclass
class Settings:
    faces: str = ""  # folder or zip of face pictures; "" looks where Kaggle, Colab and this project keep them
    run: str = "runs/gan"  # everything that training writes goes here
    outputs: str = "outputs"  # the 1,000 pictures to hand in
    steps: int = 1115  # batches of real faces to train on; 1,115 are one epoch of the course's 71,314 faces
    batch_size: int = 64  # pictures a batch
    lr_G: float = 1e-4  # Adam's learning rate for G
    lr_D: float = 1e-4  # and for D
    beta1: float = 0.5  # Adam's momentum; 0.9 makes a GAN swing
    beta2: float = 0.999  # Adam's memory for the size of gradients
    n_critic: int = 1  # steps of D for one of G
    ema: float = 0.0  # how slowly the average of G follows G, which the samples come from; 0 is G itself
    z_dim: int = 100  # numbers in z
    width: int = 64  # channels next to the picture; the deepest layers have 8 times as many
    checkpoint_every: int = 500  # steps between checkpoints, each with a grid and 1,000 samples
    log_every: int = 50  # steps between lines in log.csv being written, the only time the GPU is waited for
    seed: int = 2022  # of the weights, of z and of the order of the faces


PRESETS = {
    "course": Settings(),  # the sample code's sizes
    "demo": Settings(  # a few minutes on two CPU cores
        steps=1500, batch_size=32, width=16, lr_G=4e-4, lr_D=2e-4, ema=0.99, checkpoint_every=300
    ),
}

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"steps": 20 * 1115}

# %%
settings = replace(PRESETS[preset], **overrides)
print(settings)

# %% include: faces, dcgan

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
def toy_pair():
    """A D and a G small enough to know every answer: D's probability depends on the mean of the picture."""

    class ToyD(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.calls = nn.Parameter(torch.tensor(0.7, device=device)), []

        def forward(self, pictures):
            self.calls.append(pictures)
            return torch.sigmoid(self.weight * pictures.flatten(1).mean(1) + 0.3)

    class ToyG(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5, device=device))

        def forward(self, z):
            return self.weight * z.mean(1).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)

    return ToyD(), ToyG()


def check_discriminator_step(step):
    D, G = toy_pair()
    real = torch.linspace(-1, 1, 8, device=device).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    z = torch.linspace(0, 1, 8, device=device).view(-1, 1).expand(-1, settings.z_dim)
    with torch.no_grad():
        right_real, right_fake = -D(real).log().mean(), -(1 - D(G(z))).log().mean()
        swapped = -(1 - D(real)).log().mean() - D(G(z)).log().mean()
    optimizer = torch.optim.SGD(D.parameters(), lr=0.0)
    loss = step(D, G, optimizer, real, z)
    assert torch.is_tensor(loss) and loss.dim() == 0, "return the loss, a tensor with one number"
    loss = loss.item()
    right = (right_real + right_fake).item()
    assert abs(loss - swapped) > 1e-4 and abs(loss - swapped / 2) > 1e-4, "labels swapped: reals are 1, fakes are 0"
    assert min(abs(loss - right), abs(loss - right / 2)) < 1e-4, (
        f"the loss is {loss:.4f}, not {right / 2:.4f} (or twice that): add BCE(D(real), 1) and BCE(D(G(z)), 0)"
    )
    assert D.weight.grad is not None, "D has no gradient: call backward() on the loss"
    assert G.weight.grad is None, "G got a gradient in D's step: detach() the fakes"
    first = D.weight.grad.clone()
    step(D, G, optimizer, real, z)
    assert torch.allclose(D.weight.grad, first), "gradients pile up: zero_grad() before backward()"
    step(D, G, torch.optim.SGD(D.parameters(), lr=0.1), real, z)
    assert abs(D.weight.item() - 0.7) > 1e-6, "D did not move: call optimizer_D.step()"
    assert G.weight.item() == 0.5, "G moved in D's step"
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
    z = torch.linspace(0, 1, 8, device=device).view(-1, 1).expand(-1, settings.z_dim)
    with torch.no_grad():
        right, saturating = -D(G(z)).log().mean().item(), (1 - D(G(z))).log().mean().item()
    optimizer = torch.optim.SGD(G.parameters(), lr=0.0)
    loss = step(D, G, optimizer, z)
    assert torch.is_tensor(loss) and loss.dim() == 0, "return the loss, a tensor with one number"
    loss = loss.item()
    assert abs(loss - saturating) > 1e-4, "this is log(1 − D(G(z))), which saturates: use −log D(G(z))"
    assert abs(loss + saturating) > 1e-4, "labels swapped: G wants D to answer 1 for its fakes"
    assert abs(loss - right) < 1e-4, f"the loss is {loss:.4f}, not {right:.4f}: take BCE(D(G(z)), 1)"
    assert G.weight.grad is not None, "G has no gradient: backward() through D, and no detach() here"
    first = G.weight.grad.clone()
    step(D, G, optimizer, z)
    assert torch.allclose(G.weight.grad, first), "gradients pile up: zero_grad() before backward()"
    step(D, G, torch.optim.SGD(G.parameters(), lr=0.1), z)
    assert G.weight.item() > 0.5 + 1e-6, "G did not move towards fooling D: call optimizer_G.step()"
    assert abs(D.weight.item() - 0.7) < 1e-6, "D moved in G's step: step optimizer_G only"
    print("generator_step: done")


check_generator_step(generator_step)

# %% include: run

# %% [markdown]
# ## Training
#
# $G$ never settles: it swings around what $D$ would accept, and single steps leave noise in the pictures. The samples
# can come from a running average of its weights, $\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$, which
# swings less. The sample code does without, so the course's preset has `ema` $\beta = 0$; try 0.995.

# %%
betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas)
fixed_z = torch.randn(1000, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed)).to(device)

average_G = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)

parts = {"G": G, "D": D, "average_G": average_G, "optimizer_G": optimizer_G, "optimizer_D": optimizer_D}
start = load_checkpoint(**parts)
log = Log(run / "log.csv", ["loss_D", "loss_G"])
log.keep_until(start)
loss_G = torch.zeros((), device=device)  # until G's first step
batches = face_batches(faces, settings.batch_size, settings.seed, start)

progress = tqdm(range(start + 1, settings.steps + 1), "training", settings.steps, initial=start, mininterval=5)
for step in progress:
    real = next(batches)
    z = torch.randn(len(real), settings.z_dim, device=device)
    loss_D = discriminator_step(D, G, optimizer_D, real, z)
    if step % settings.n_critic == 0:
        z = torch.randn(len(real), settings.z_dim, device=device)
        loss_G = generator_step(D, G, optimizer_G, z)
        average_G.update_parameters(G)
    log.add(step, loss_D, loss_G)

    if step % settings.log_every == 0 or step == settings.steps:
        values = log.flush()
        progress.set_postfix_str(f"loss_D {values[0]:.3f}, loss_G {values[1]:.3f}", refresh=False)
    if step % settings.checkpoint_every == 0 or step == settings.steps:
        pictures = sample(average_G, fixed_z)  # [1000, 3, 64, 64]
        grid = picture_grid(pictures[:64])
        grid.save(run / f"samples/{step:06d}.png")
        pack(pictures, run / f"samples/{step:06d}.tgz")
        save_checkpoint(step, **parts)
        print(f"step {step:,}")
        display(grid)

# %% include: handin
