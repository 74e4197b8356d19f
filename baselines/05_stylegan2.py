# %% [markdown]
# # 05 · StyleGAN2
#
# A DCGAN squeezes all it knows about a face through one vector at its entrance. StyleGAN asks what each **resolution**
# should look like. A mapping network $S$ first bends the noise into a style $w = S(z)$, whose directions are free to
# mean something (hair, pose, colour), which those of a round cloud of noise are not. The generator starts from a
# learned constant, and at every resolution the style scales the channels of the convolution's weights; StyleGAN2
# divides the sum's size out again (*demodulation*), where StyleGAN1 normalised the picture itself and left blobs
# ([Karras et al., 2020](https://arxiv.org/abs/1912.04958)):
#
# $$w'_{ijk} = s_i\, w_{ijk} \qquad w''_{ijk} = w'_{ijk} \Big/ \sqrt{\textstyle\sum_{i,k} {w'_{ijk}}^2 + \epsilon}$$
#
# The losses are what you know by now: a hinge loss, with a gradient penalty on every fourth step (here towards slope 0)
# and, later, a penalty that keeps a step in $w$ the same size in pictures everywhere. The gain is in the architecture,
# and it costs: a step takes about ten times as long as one of 01.
#
# You do not write it. As in real work, the network comes from a package,
# [`stylegan2_pytorch`](https://github.com/lucidrains/stylegan2-pytorch), and your part is to **use it right**: set it
# up for this task, and sample from it. When sampling, pull each style towards the mean style by a factor $\psi$:
#
# $$w_\psi = \bar w + \psi\,(S(z) - \bar w)$$
#
# That is the *truncation trick*. Smaller $\psi$ means safer and more alike faces: the detector finds more of them, and
# FID gets worse, since it misses the variety. One student's run gave FID 66, 77, 96 and a detection ratio of .47, .56,
# .66 at $\psi$ = 1, .75, .5. Watch the trade, and choose for the tier you are after, which is **Boss**.

# %% [markdown]
# ## The package
#
# It is installed without its own list of requirements, on which stands an experiment tracker, `aim`, of forty packages,
# that has no builds for new Pythons and is only used when asked to log.

# %%
import importlib.util
import subprocess
import sys

PACKAGES = ["stylegan2_pytorch==1.9.0", "vector_quantize_pytorch==0.1.0", "einops", "kornia", "kornia_rs", "fire"]
PACKAGES += ["termcolor", "retry", "py", "decorator"]
if importlib.util.find_spec("stylegan2_pytorch") is None:
    pip = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES])
    if pip.returncode:
        raise SystemExit("pip could not install stylegan2_pytorch. Kaggle: Settings > Internet > On, then run again.")

# %% include: setup

# %%
from types import ModuleType
from unittest import mock

sys.modules.setdefault("aim", ModuleType("aim"))  # imported by the package, and not used
# Without a GPU, and only then: the package refuses to be imported there, and calls .cuda() on whatever it makes. So the
# first question is answered with yes, and .cuda() leaves things where they are. Good for a try, too slow for more.
if not torch.cuda.is_available():
    torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self
with mock.patch("torch.cuda.is_available", return_value=True):
    import stylegan2_pytorch

# %% [markdown]
# ## Settings


# %%
@dataclass
class StyleSettings:
    """Everything there is to set, with what it means."""

    faces: str = ""  # folder or zip of face pictures; "" looks where Kaggle, Colab and this project keep them
    run: str = "runs/stylegan2"  # everything that training writes goes here
    outputs: str = "outputs"  # the 1,000 pictures to hand in
    steps: int = 50_000  # steps of D, each with one of G
    hours: float = 0.0  # of this session, after which it stops with a checkpoint; 0 goes on to the last step
    batch_size: int = 30  # pictures a batch
    lr_G: float = 2e-4  # Adam's learning rate for S and G
    lr_D: float = 3e-4  # and for D
    psi: float = 0.75  # ψ of the truncation when sampling: 1 for all the variety, less for safer faces
    ema: float = 0.998  # how slowly the average of S and G follows them, which the samples come from
    z_dim: int = 512  # numbers in z, and in a style
    width: int = 16  # the package's network_capacity: G has twice as many channels next to the picture, D four times
    checkpoint_every: int = 1000  # steps between checkpoints, each with a grid and 1,000 samples
    log_every: int = 50  # steps between lines in log.csv being written
    seed: int = 2022  # of the weights, of z and of the order of the faces


course = StyleSettings()  # the package's own settings, its batch of 5 taken 6 times as one of 30
PRESETS = {
    "course": course,
    "t4_1h": replace(course, steps=1_000_000, hours=1.0),
    "t4_3h": replace(course, steps=1_000_000, hours=3.0),
    "t4_12h": replace(course, steps=1_000_000, hours=11.5, checkpoint_every=4000),  # Kaggle ends a session after 12
}

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"psi": 0.6}

# %% include: choose, faces

# %% [markdown]
# ## The trainer
#
# `stylegan2_pytorch.Trainer` builds the networks ($S$, $G$ and $D$) and makes a step at each call of `train()`. Left to
# itself, it reads JPEGs again in every epoch, saves no optimizer, so that a resumed run stumbles, begins to average
# only after step 20,000, and writes pictures as 8×8 grids. `FaceTrainer` keeps its steps, and leaves the rest to this
# notebook.


# %%
class FaceTrainer(stylegan2_pytorch.Trainer):
    """The package's trainer, with a state that holds all an uninterrupted run would have, and without its own files."""

    STATE = ("S", "G", "D", "G_opt", "D_opt")

    def init_folders(self):
        pass

    def save(self, number):
        pass

    def evaluate(self, number):
        pass

    def state_dict(self):
        state = {name: getattr(self.GAN, name).state_dict() for name in self.STATE}
        return state | {"pl_mean": self.pl_mean if self.pl_mean is None else float(self.pl_mean)}

    def load_state_dict(self, state):
        for name in self.STATE:
            getattr(self.GAN, name).load_state_dict(state[name])
        self.pl_mean = state["pl_mean"]  # the mean path length, which the package forgets


# %% [markdown]
# Now make one. `Trainer` has a default for everything, and none is made for this task. Look at the
# [arguments](https://github.com/lucidrains/stylegan2-pytorch/blob/1.9.0/stylegan2_pytorch/stylegan2_pytorch.py): the
# size of the pictures, the capacity of the networks, the batch size, the learning rate of G, `lr`, and how many times
# as large that of D is, `ttur_mult`.


# %% todo="make_trainer"
def make_trainer():
    """A FaceTrainer for pictures of 64×64, with what settings say: width, batch_size, lr_G, lr_D."""
    ### BEGIN SOLUTION
    return FaceTrainer(
        image_size=64,
        network_capacity=settings.width,
        batch_size=settings.batch_size,
        lr=settings.lr_G,
        ttur_mult=settings.lr_D / settings.lr_G,
        latent_dim=settings.z_dim,
    )
    ### END SOLUTION


# %% check="make_trainer"
def check_make_trainer(make):
    trainer = make()
    assert isinstance(trainer, FaceTrainer), "return a FaceTrainer(…)"
    assert trainer.image_size == 64, f"the pictures would be {trainer.image_size} pixels wide: set image_size"
    assert trainer.network_capacity == settings.width, "network_capacity is settings.width"
    together = trainer.batch_size * trainer.gradient_accumulate_every
    assert together == settings.batch_size, f"a step would see {together} pictures, not {settings.batch_size}"
    assert math.isclose(trainer.lr, settings.lr_G), f"G's learning rate lr is {trainer.lr}, not {settings.lr_G}"
    lr_D = trainer.lr * trainer.ttur_mult
    assert math.isclose(lr_D, settings.lr_D), f"D's learning rate, lr · ttur_mult, is {lr_D:g}, not {settings.lr_D:g}"
    latent_dim = trainer.GAN_params[1].get("latent_dim", 512)
    assert latent_dim == settings.z_dim, f"z has {settings.z_dim} numbers: set latent_dim"
    print("make_trainer: done")


check_make_trainer(make_trainer)

# %% [markdown]
# ## Sampling
#
# `S` takes noise `[N, z_dim]` to styles of the same shape. `G` takes styles `[N, layers, z_dim]`, one for each of its
# `G.num_layers` layers (the same for all of them here), and an image of noise for the details. The package's pictures
# are 0 … 1, and overshoot a little.


# %% todo="generate"
def generate(S, G, z, mean_style, psi, image_noise):
    """Pictures [N, 3, 64, 64] in 0 … 1 of z [N, z_dim], their styles truncated towards mean_style [1, z_dim] by psi.

    image_noise is [N, 64, 64, 1].
    """
    ### BEGIN SOLUTION
    style = mean_style + psi * (S(z) - mean_style)  # [N, z_dim]
    styles = style[:, None].expand(-1, G.num_layers, -1)  # [N, layers, z_dim]
    return G(styles, image_noise).clamp(0, 1)
    ### END SOLUTION


# %% check="generate"
def check_generate(generate):
    class Mapping(nn.Module):
        def forward(self, z):
            return 2 * z + 1

    class Synthesis(nn.Module):
        num_layers = 5

        def forward(self, styles, image_noise):
            pictures = styles.flatten(1).mean(1)[:, None, None, None].expand(-1, 3, 64, 64)  # from −2.5 to 4.5
            self.seen = styles, image_noise, pictures
            return pictures.clone()

    S, G, z = Mapping(), Synthesis(), torch.linspace(-3, 3, 6 * 8, device=device).view(6, 8)
    mean_style, image_noise = torch.full((1, 8), 0.5, device=device), torch.rand(6, 64, 64, 1, device=device)
    pictures = generate(S, G, z, mean_style, 0.7, image_noise)
    styles, noise, overshooting = G.seen
    assert styles.dim() == 3 and styles.shape[1] == 5, (
        f"G takes styles [N, G.num_layers, z_dim], one a layer, not {list(styles.shape)}"
    )
    assert torch.equal(noise, image_noise), "pass image_noise on to G"
    near = lambda style: torch.allclose(styles, style[:, None].expand(-1, 5, -1), atol=1e-5)  # noqa: E731
    assert not near(S(z)), "the styles are not truncated"
    assert not near(S(mean_style + 0.7 * (z - mean_style))), "truncate the styles S(z), not the noise z"
    assert not near(0.7 * S(z)), "this pulls towards 0: pull towards mean_style"
    assert not near(0.3 * S(z) + 0.7 * mean_style), "ψ the wrong way round: ψ = 1 leaves S(z) as it is"
    assert near(mean_style + 0.7 * (S(z) - mean_style)), "the styles are not mean_style + psi · (S(z) − mean_style)"
    assert pictures.shape == (6, 3, 64, 64), f"the pictures are {list(pictures.shape)}, not [6, 3, 64, 64]"
    assert pictures.min() >= 0 and pictures.max() <= 1, "clamp the pictures to 0 … 1"
    assert torch.allclose(pictures, overshooting.clamp(0, 1)), "G's pictures are 0 … 1 already: only clamp them"
    print("generate: done")


check_generate(generate)


# %%
class StyleGenerator(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64] in −1 … 1, as the other notebooks' generators give them."""

    def __init__(self, S, G):
        super().__init__()
        self.S, self.G = S, G

    def forward(self, z):
        repeatable = torch.Generator().manual_seed(settings.seed)  # sampling leaves training's random numbers alone
        mean_style = self.S(torch.randn(2000, settings.z_dim, generator=repeatable).to(z)).mean(0, keepdim=True)
        image_noise = torch.rand(len(z), 64, 64, 1, generator=repeatable).to(z)
        return generate(self.S, self.G, z, mean_style, settings.psi, image_noise) * 2 - 1


# %% include: run

# %% [markdown]
# ## Training
#
# The package's step gives D a hinge loss on a batch of reals and fakes, then G the mean score of its fakes (here D
# scores fakes high). Nine times in ten, the layers of a fake take their styles from two different z, so that no layer
# learns to rely on its neighbours. As before, the samples come from a running average.

# %%
fixed_z = torch.randn(1000, settings.z_dim, generator=torch.Generator().manual_seed(settings.seed)).to(device)

seed_everything(settings.seed)
trainer = make_trainer()
trainer.init_GAN()
GAN = trainer.GAN
for name in ("S", "G", "D"):
    print(f"{name}: {sum(weight.numel() for weight in getattr(GAN, name).parameters()):,} parameters")
now_G = StyleGenerator(GAN.S, GAN.G)
average_G = AveragedModel(now_G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))

parts = {"trainer": trainer, "average_G": average_G}
start = load_checkpoint(**parts)
log = LossLog(run / "log.csv", start)
tables = [log]
trainer.loader = ((batch + 1) / 2 for batch in face_batches(faces, settings.batch_size, settings.seed, start))


def take_step(step):
    trainer.steps = step  # the package's penalties take turns by it
    try:
        trainer.train()
    except stylegan2_pytorch.NanException:
        raise SystemExit(diverged(step, "a loss is not a number")) from None
    average_G.update_parameters(now_G)
    return torch.tensor(trainer.d_loss, device=device), torch.tensor(trainer.g_loss, device=device)


# %% include: loop, handin

# %% [markdown]
# ## When you have only grids
#
# The package's own command makes 8×8 grids (`--num_image_tiles 1` makes single pictures). This cuts them apart again.


# %%
def cut_grid(grid, size=64):
    """The single pictures, each size × size, of a grid that torchvision's save_image wrote (a PIL picture)."""
    columns = (grid.width - 2) // (size + 2)  # 2 pixels stand between pictures, and around them
    rows = (grid.height - 2) // (size + 2)
    corners = [(2 + column * (size + 2), 2 + row * (size + 2)) for row in range(rows) for column in range(columns)]
    tiles = [grid.crop((x, y, x + size, y + size)) for x, y in corners]
    centres = (tile.crop((16, 16, size - 16, size - 16)).convert("L") for tile in tiles)  # JPEG blurs the rest
    return [tile for tile, centre in zip(tiles, centres, strict=True) if centre.getextrema()[1] > 8]  # not left black


grids = sorted(Path("results").glob("*/*-ema.jpg"))  # where the package's command puts them
singles = [tile for path in grids for tile in cut_grid(Image.open(path))]
if singles:
    Path("singles").mkdir(exist_ok=True)
    for number, tile in enumerate(singles[:1000], 1):
        tile.save(f"singles/{number}.jpg")
    print(f"{len(singles):,} pictures from {len(grids)} grids, the first 1,000 of them in singles/")
