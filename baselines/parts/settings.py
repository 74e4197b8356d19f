# %% [markdown]
# ## Settings


# %%
@dataclass
class Settings:
    """Everything there is to set, with what it means."""

    faces: str = ""  # folder or zip of face pictures; "" looks where Kaggle, Colab and this project keep them
    run: str = "runs/gan"  # everything that training writes goes here
    outputs: str = "outputs"  # the 1,000 pictures to hand in
    steps: int = 1115  # batches of real faces to train on; 1,115 are one epoch of the course's 71,314 faces
    hours: float = 0.0  # of this session, after which it stops with a checkpoint; 0 goes on to the last step
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
    norms_every: int = 50  # steps between rows of grad_norms.csv
    half: bool = False  # half precision on GPUs that compute in it: a faster step, with less exact sums
    processes: int = 1  # GPUs to train on, each with its part of every batch; Kaggle lends two
    seed: int = 2022  # of the weights, of z and of the order of the faces


def with_longer(course):
    """The course's preset, and those for a T4's one, three and twelve hours: as many steps as fit into the time, and
    samples from averaged weights, which hold less noise."""
    long = replace(course, steps=1_000_000, ema=0.999)
    return {
        "course": course,
        "t4_1h": replace(long, hours=1.0, checkpoint_every=2 * 1115),
        "t4_3h": replace(long, hours=3.0, checkpoint_every=5 * 1115),
        "t4_12h": replace(long, hours=11.5, checkpoint_every=20 * 1115),  # Kaggle ends a session after 12
    }
