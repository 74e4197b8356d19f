# %% [markdown]
# # 01 · The vanilla GAN
#
# | In this notebook | |
# |---|---|
# | **You learn** | what $G$ and $D$ want from each other, why $G$ does not minimise $\log(1 - D(G(z)))$, and how to \
#   read the losses |
# | **You write** | `discriminator_step`, `generator_step` |
# | **Time** | `cpu`: 9 to 10 minutes on one CPU core, **Simple** after 4. `t4_1h`, `t4_3h`, `t4_12h`: 1, 3 and 11.5 \
#   hours on any GPU. `course`: not measured on a GPU; on one CPU core 78 minutes |
# | **Tier** | **Simple**: {{Simple}} |

# %% [markdown]
# ![Eight samples after 500, 1,500 and 3,000 steps of preset cpu](results/01_gan_cpu/stages.jpg)
#
# *Preset `cpu` after 500, 1,500 and 3,000 steps, not selected: heads first, then eyes, then hair and dots of noise.*

# %% [markdown]
# Two networks play against each other. The **generator** $G$ turns noise $z$ into a picture. The **discriminator** $D$
# says how likely a picture is to be real. $D$ learns to tell the two apart. $G$ learns to be taken for real:
#
# $$\min_G \max_D \; \mathbb E_{x}\big[\log D(x)\big] + \mathbb E_{z}\big[\log(1 - D(G(z)))\big]$$
#
# ([Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)). Taken literally, $G$ has no gradient just when it needs
# one most: while $D$ sees through every fake, $\log(1 - D(G(z)))$ is flat. So $G$ maximises $\log D(G(z))$ instead.
# This *non-saturating* loss has the same fixed point, and a strong gradient while $G$ is losing.
#
# You write both training steps. The score to beat is **Simple**.

# %% [markdown]
# ## Before you start
#
# The next cells are folded. They hold what all notebooks share: settings, reading faces, checkpoints, samples. You need
# not read them, but you can: open a cell by its title.

# %%
from dataclasses import replace

import torch
from kit.checks import check_step, done
from kit.device import get_device, place, seed_everything
from kit.faces import load_faces
from kit.launch import launch
from kit.norms import layer_norms
from kit.run import Run, frozen
from kit.samples import plot_losses, write_submission

# %% [markdown]
# ## Settings

# %% show=true
from kit.settings import Settings, make_settings, t4_presets

# %%
FASTER = {"lr_G": 4e-4, "lr_D": 2e-4}  # the best of those that were tried on a CPU
PRESETS = t4_presets(Settings(), **FASTER)  # "course": the sample code's sizes
PRESETS["cpu"] = Settings(steps=3000, batch_size=32, width=16, ema=0.99, **FASTER)  # ten minutes on one CPU core
PRESETS["demo"] = replace(PRESETS["cpu"], steps=1400, checkpoint_every=350)  # a few minutes on two CPU cores

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
        "labels swapped: reals are 1, fakes are 0": lambda D, G, real, z: (
            -((1 - D(real)).log().mean() + D(G(z)).log().mean()) / 2
        ),
        "only the reals count: add BCE(D(G(z)), 0), and let its gradient through D": lambda D, G, real, z: (
            -D(real).log().mean() / 2
        ),
        "only the fakes count: add BCE(D(real), 1)": lambda D, G, real, z: -(1 - D(G(z))).log().mean() / 2,
        "fakes get the label 1 too: D should answer 0 for them": lambda D, G, real, z: (
            -(D(real).log().mean() + D(G(z)).log().mean()) / 2
        ),
    }
    done("discriminator_step", check_step(step, right, mistakes, scales=(1.0, 2.0)))  # the mean of both, or the sum


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
        "this is log(1 − D(G(z))), which saturates: use −log D(G(z))": lambda D, G, z: (1 - D(G(z))).log().mean(),
        "labels swapped: G wants D to answer 1 for its fakes": lambda D, G, z: -(1 - D(G(z))).log().mean(),
    }
    done("generator_step", check_step(step, right, mistakes, trains="G"))


check_generator_step(generator_step)

# %% [markdown]
# ## Training
#
# $G$ never settles: it swings around what $D$ would accept. So samples can come from `G_ema`, a running average of its
# weights, $\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta$. The sample code does without: its `ema` $\beta$ is
# 0. Try 0.995.
#
# Every checkpoint has 1,000 samples. **Keep them all**: a GAN does not end at its best, and the losses do not tell when
# that was. After a lost session run the notebook again: it goes on from the last checkpoint.


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
# To stop early, interrupt the kernel (■, or Ctrl-C). Training ends after its step, with samples and a checkpoint, and
# you can run the cells below. Run this cell again to go on.

# %%
run = launch(train, settings)

# %% [markdown]
# ## What it learned
#
# In a vanilla GAN the losses say only which of the two is ahead. Read them for trouble, not for quality: when $D$'s
# loss is 0, $G$ learns nothing more.

# %%
plot_losses(run)

# %% [markdown]
# ## Your submission
#
# 1,000 pictures `1.jpg` … `1000.jpg` of 64×64, as a folder and as a flat `submission.tgz`. Score them with
# `python -m grader score outputs`.

# %%
pictures = write_submission(run)

# %% [markdown]
# ## Your score
#
# What was trained here is scored here. FID is measured on a GPU against the faces that it was trained on, with
# pytorch-fid's Inception network (91 MB, from the internet). AFD is the share of pictures in which lbpcascade finds a
# face. The grader says which tier you pass, if it is installed. What this machine lacks, a line says.
#
# Compare FID with FID only. The course's own site has another scale, and no factor leads from one to the other.

# %%
from kit.score import score_run

score_run(run)

# %% [markdown]
# ## When it looks wrong
#
# | you see | cause | what to do |
# |---|---|---|
# | `loss_D` falls to 0, `loss_G` grows | $D$ is sure of everything, and $G$ learns nothing | lower `lr_D`, or raise \
#   `lr_G`; take samples from before |
# | `loss_G` → 0 | $G$ deceives $D$ with anything: $D$ learns too little | raise `lr_D`; run the check of \
#   `discriminator_step` again |
# | `loss_D` grows | $D$ was ahead, and $G$ has found its weak spot; or the learning rates are too high | wait 500 \
#   steps; if it goes on, lower `lr_D` and `lr_G` |
# | one face repeated, “near repeats” rises | mode collapse: $G$ found one face that $D$ accepts | take an earlier \
#   checkpoint; lower `lr_G`, and set another `run` |
# | noise, or grey squares | too few steps; with `ema`, the average is still young | train for 500 steps more; then \
#   compare with the picture at the top |
