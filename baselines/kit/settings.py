"""Settings: all that can be set, each with its meaning."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Settings:
    """Everything that you can set."""

    faces: str = ""  # folder or zip of face pictures; "" searches the usual places of Kaggle, Colab and this project
    run: str = "runs/gan"  # folder for everything that training writes; on Colab on your Drive, if that is mounted
    outputs: str = "outputs"  # folder for the 1,000 pictures of the submission
    steps: int = 1115  # batches of real faces to train on; 1,115 are one epoch of the course's 71,314 faces
    hours: float = 0.0  # length of this session: it then stops with a checkpoint; 0 trains to the last step
    batch_size: int = 64  # pictures per batch
    lr_G: float = 1e-4  # learning rate of G
    lr_D: float = 1e-4  # learning rate of D
    beta1: float = 0.5  # Adam's momentum; with 0.9 a GAN swings
    beta2: float = 0.999  # Adam's memory of the size of gradients
    n_critic: int = 1  # steps of D per step of G
    ema: float = 0.0  # β of G_ema, the running average of G that samples come from; 0 is G itself
    z_dim: int = 100  # numbers in z
    width: int = 64  # channels next to the picture; the deepest layers have 8 times as many
    checkpoint_every: int = 500  # steps between checkpoints with samples
    checkpoint_minutes: float = 10.0  # minutes after which a checkpoint is written in any case, without samples
    log_every: int = 50  # steps between writes to log.csv; one process waits for its GPU only then
    norms_every: int = 50  # steps between rows of grad_norms.csv
    half: bool = False  # half precision on GPUs that are fast in it
    processes: int = 1  # GPUs to train on, each with its part of every batch; Kaggle lends two
    seed: int = 2022  # of the weights, of z and of the order of the faces


def t4_presets(course, **better):
    """The course's preset, and presets that train for one, three and twelve hours of a T4, with what is `better`."""
    long = replace(course, steps=10**9, ema=0.999, **better)  # the clock ends it; averaged weights hold less noise
    return {
        "course": course,
        "t4_1h": replace(long, hours=1.0, checkpoint_every=2 * 1115),
        "t4_3h": replace(long, hours=3.0, checkpoint_every=5 * 1115),
        "t4_12h": replace(long, hours=11.5, checkpoint_every=20 * 1115),  # Kaggle ends a session after 12 hours
    }
