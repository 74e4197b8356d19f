# %% [markdown]
# # 06 · The conditional GAN
#
# A GAN draws whatever it likes. To ask it for something, *blue hair*, give both players a label $y$: $G$ draws from $z$
# **and** $y$, and $D$ judges a picture **together with** the label that it is said to have
# ([Mirza & Osindero, 2014](https://arxiv.org/abs/1411.1784)):
#
# $$\min_G \max_D \; \mathbb E_{x, y}\big[\log D(x, y)\big] + \mathbb E_{z, y}\big[\log(1 - D(G(z, y), y))\big]$$
#
# For each label this is the game of 01: at its end $G(\cdot, y)$ draws what has the label $y$. The finest face with red
# hair, shown to $D$ as *blue*, is as bad as a poor one, since no real pair looks like that. Both players must know the
# label. Told to $G$ alone it is only more noise; told to $D$ alone, $G$ cannot answer to it.
#
# A label enters a network as a **one-hot** vector, one number a class: 1 for its own, 0 for the others. $G$ gets it
# joined to $z$. $D$, a network of convolutions, gets it joined to the picture: every number becomes a constant map as
# large as the picture, one more channel beside red, green and blue. The paper had no convolutions yet; the last section
# builds its network as it was, for small grey pictures.
#
# You write how labels join, and both steps. No tier asks for this: what counts is that the hair has the colour that you
# asked for. You need faces with labels, drawn ones (`python -m data render faces`) or real ones with their tags.

# %% include: setup, settings


# %%
@dataclass
class ConditionalSettings(Settings):
    attribute: str = "hair"  # what the classes are of: "hair" or "eye" of a tags.csv, a column of an attributes.csv
    classes: str = ""  # which to learn, separated by commas; "" takes all
    wrong_labels: bool = False  # whether D sees real faces with wrong labels too, as a third kind of example
    shape_steps: int = 2000  # batches of shapes for the paper's network, in the last section


PRESETS = with_longer(ConditionalSettings(run="runs/cgan", steps=12_000, lr_G=2e-4, lr_D=2e-4, checkpoint_every=1000))
PRESETS["cpu"] = replace(  # ten minutes on one CPU core
    PRESETS["course"], steps=3000, batch_size=32, width=16, lr_G=4e-4, lr_D=2e-4, ema=0.99, checkpoint_every=250
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"classes": "black, blonde, blue, pink"}

# %% include: choose, faces, labels

# %% [markdown]
# ## Labels as numbers that a network can take
#
# A class has a number, but the number means nothing: 2 is not twice 1, and blonde does not lie between black and blue.
# So a network gets one number for each class.


# %% todo="one_hot"
def one_hot(labels, n_classes):
    """Labels [N], 0 … n_classes − 1 -> floats [N, n_classes]: 1 at the label, 0 elsewhere."""
    ### BEGIN SOLUTION
    return nn.functional.one_hot(labels, n_classes).float()
    ### END SOLUTION


# %% check="one_hot"
def check_one_hot(one_hot):
    labels = torch.tensor([2, 0, 1, 2], device=device)
    y = one_hot(labels, 5)
    assert torch.is_tensor(y) and y.shape != (4,) and y.shape != (4, 1), "a number a label: make it one a class"
    assert y.shape != (5, 4), "transposed: a row a label, a column a class"
    assert y.shape == (4, 5), f"4 labels of 5 classes gave {list(y.shape)}, not [4, 5]: pass n_classes on"
    assert y.is_floating_point(), f"networks take floats, these are {y.dtype}: .float()"
    assert y.device == labels.device, "keep y on the labels' device"
    right = [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert y.tolist() == right, f"label 2 of 5 is {[int(n) for n in right[0]]}, not {y[0].tolist()}"
    print("one_hot: done")


check_one_hot(one_hot)


# %% todo="join"
def join_z(z, y):
    """z [N, z_dim] and then y [N, classes] -> [N, z_dim + classes]."""
    ### BEGIN SOLUTION
    return torch.cat([z, y], 1)
    ### END SOLUTION


def join_pictures(pictures, y):
    """pictures [N, C, H, W] and then y [N, classes] as constant maps -> [N, C + classes, H, W]."""
    ### BEGIN SOLUTION
    maps = y[:, :, None, None].expand(-1, -1, *pictures.shape[2:])  # [N, classes] -> [N, classes, H, W]
    return torch.cat([pictures, maps], 1)
    ### END SOLUTION


# %% check="join"
def check_join(join_z, join_pictures):
    y = torch.eye(5, device=device)[[2, 0, 1, 4]]
    z = torch.randn(4, 7, device=device)
    joined = join_z(z, y)
    assert joined.shape == (4, 12), f"z [4, 7] and y [4, 5] gave {list(joined.shape)}, not [4, 12]: join dimension 1"
    assert not torch.equal(joined, torch.cat([y, z], 1)), "z comes first, then y"
    assert torch.equal(joined, torch.cat([z, y], 1)), "z and y are to be joined unchanged"

    pictures = torch.randn(4, 3, 6, 8, device=device)
    joined = join_pictures(pictures, y)
    right = "pictures [4, 3, 6, 8] and y [4, 5] make [4, 8, 6, 8]"
    assert joined.dim() == 4, f"{right}, not {list(joined.shape)}: keep pictures as they are, and add channels"
    assert joined.shape[1] == 8, f"{right}, not {list(joined.shape)}: a map for each class, joined along dimension 1"
    assert joined.shape == (4, 8, 6, 8), f"{right}, not {list(joined.shape)}: maps as large as the picture"
    assert torch.equal(joined[:, :3], pictures), "the pictures come first, unchanged; then the maps"
    maps = joined[:, 3:].flatten(2)
    assert torch.equal(maps.amin(2), maps.amax(2)), "a map is constant: the same number at every pixel"
    assert torch.equal(maps[:, :, 0], y), "the maps of picture n are the numbers of y[n], in their order"
    print("join: done")


check_join(join_z, join_pictures)

# %% [markdown]
# The networks are those of 01, with a longer z and with more channels: nothing else changes.

# %% include: dcgan

# %%
seed_everything(settings.seed)
G = on_device(Generator(settings.z_dim + len(classes), settings.width))
D = on_device(Discriminator(settings.width, channels=3 + len(classes)))

# %% [markdown]
# ## The two steps
#
# With $y$ the labels of the batch's real faces:
#
# $$L_D = -\tfrac12\,\mathbb E_{x, y}[\log D(x, y)] - \tfrac12\,\mathbb E_{z, y}[\log(1 - D(G(z, y), y))]$$
# $$L_G = -\mathbb E_{z, y}[\log D(G(z, y), y)]$$
#
# Every fake is judged under the label that it was made for. So far $D$ meets wrong pairs only as fakes, and may never
# look at the label while fakes are easy to tell by their looks. A third kind of example teaches the label by itself: a
# *real* face under a *wrong* label $y' \neq y$, to be rejected like a fake
# ([Reed et al., 2016](https://arxiv.org/abs/1605.05396)). What is to be rejected counts half each then:
#
# $$L_D = -\tfrac12\,\mathbb E[\log D(x, y)]
#   - \tfrac14\,\mathbb E[\log(1 - D(G(z, y), y))] - \tfrac14\,\mathbb E[\log(1 - D(x, y'))]$$


# %% todo="other_labels"
def other_labels(labels, n_classes):
    """For each of labels [N] a wrong one, drawn anew at every call: each of the other classes is equally likely."""
    ### BEGIN SOLUTION
    return (labels + torch.randint_like(labels, 1, n_classes)) % n_classes
    ### END SOLUTION


# %% check="other_labels"
def check_other_labels(other_labels):
    labels = torch.arange(4, device=device).repeat(1000)
    others = other_labels(labels, 4)
    assert others.shape == labels.shape and others.dtype == labels.dtype, "labels [N] in, as many labels out"
    assert others.min() >= 0 and others.max() < 4, "classes are 0 … n_classes − 1: take the rest, % n_classes"
    assert not torch.equal(others, labels), "these are the right labels"
    assert (others != labels).all(), "some labels are still right: every one must be wrong"
    assert not torch.equal(others, other_labels(labels, 4)), "the same wrong labels at every call: draw them"
    counts = torch.stack([others[labels == label].bincount(minlength=4) for label in range(4)])  # [label, wrong label]
    assert (counts > 0).sum() == 12, "some wrong labels never come: each of the other classes is to be equally likely"
    assert counts.max() < 450, "some wrong labels come more often: each of the other classes is to be equally likely"
    print("other_labels: done")


check_other_labels(other_labels)

# %% include: toy


# %%
def toy_labelled_pair(probability=True):
    """As toy_pair, with labels of 3 classes joined: G paints its class into channel 0, 1 or 2, D likes the last class
    best. D.matches says of each picture that D saw whether it came with the label that is painted in it."""

    class ToyD(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.7, device=device))
            self.matches = []

        def forward(self, joined):
            assert joined.shape[1:] == (6, 64, 64), f"D got {list(joined.shape)}: join y to the pictures, real and fake"
            pictures, y = joined[:, :3], joined[:, 3:, 0, 0]
            self.matches += (pictures[:, :, 0, 0].argmax(1) == y.argmax(1)).tolist()
            score = self.weight * pictures.flatten(1).mean(1) + 0.3 + y @ torch.tensor([-1.0, 0.0, 2.0], device=device)
            return torch.sigmoid(score) if probability else score

    class ToyG(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5, device=device))

        def forward(self, joined):
            assert joined.shape[1:] == (settings.z_dim + 3,), f"G got {list(joined.shape)}: join y to z"
            z, y = joined.split([settings.z_dim, 3], 1)
            grey = self.weight * z.mean(1).view(-1, 1, 1, 1)
            return (grey + 0.1 * y[:, :, None, None]).expand(-1, 3, 64, 64)  # [N, 3, 1, 1] -> [N, 3, 64, 64]

    return ToyD(), ToyG()


def toy_labelled_batch():
    """8 pictures with their class painted in, 8 rows of z, and their labels of 3 classes as y [8, 3]."""
    real, z = toy_batch()
    y = torch.eye(3, device=device)[[0, 1, 2, 0, 1, 2, 0, 1]]
    return real + 0.1 * y[:, :, None, None], z, y


# %% todo="discriminator_step"
bce = nn.BCELoss()  # of probabilities [N] and targets [N]


def discriminator_step(D, G, optimizer_D, real, z, y, wrong_y=None):
    """One step of D on real pictures [N, 3, 64, 64] with their labels y [N, classes] and on the fakes of z [N, z_dim]
    and y; where wrong_y [N, classes] is given, on the real pictures with these wrong labels too. Returns its loss, a
    scalar."""
    ### BEGIN SOLUTION
    fake = G(join_z(z, y)).detach()
    p_real, p_fake = D(join_pictures(real, y)), D(join_pictures(fake, y))
    loss_rejected = bce(p_fake, torch.zeros_like(p_fake))
    if wrong_y is not None:
        p_wrong = D(join_pictures(real, wrong_y))
        loss_rejected = (loss_rejected + bce(p_wrong, torch.zeros_like(p_wrong))) / 2
    loss = (bce(p_real, torch.ones_like(p_real)) + loss_rejected) / 2
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    D, G = toy_labelled_pair()
    real, z, y = toy_labelled_batch()
    wrong_y = y.roll(1, 1)
    answer = lambda pictures, y: D(join_pictures(pictures, y))  # noqa: E731
    with torch.no_grad():
        fake = G(join_z(z, y))
        right_real, right_fake = -answer(real, y).log().mean(), -(1 - answer(fake, y)).log().mean()
        swapped = -(1 - answer(real, y)).log().mean() - answer(fake, y).log().mean()
        right_wrong, wrong_as_real = -(1 - answer(real, wrong_y)).log().mean(), -answer(real, wrong_y).log().mean()
        wrong_fake = -(1 - answer(fake, wrong_y)).log().mean()
    D.matches.clear()
    optimizer = torch.optim.SGD(D.parameters(), lr=0.0)

    loss = check_loss_alone(step(D, G, optimizer, real, z, y))
    near = lambda sum_: min(abs(loss - float(sum_)), abs(loss - float(sum_) / 2)) < 1e-4  # noqa: E731
    assert D.matches, "D saw nothing: ask it about the real pictures and about the fakes"
    assert all(D.matches), "D saw a picture under another label than its own: real ones have y, and fakes are made of y"
    assert not near(swapped), "targets swapped: reals are 1, fakes are 0"
    right = right_real + right_fake
    assert near(right), (
        f"the loss is {loss:.4f}, not {right / 2:.4f} (or twice that): add BCE(D(real, y), 1) and BCE(D(G(z, y), y), 0)"
    )

    loss = check_loss_alone(step(D, G, optimizer, real, z, y, wrong_y))
    assert not near(right), "wrong_y is given and nothing comes of it: D is to reject real pictures with wrong labels"
    assert not near(right_real + (right_fake + wrong_as_real) / 2), "real pictures with wrong labels get 0, not 1"
    assert not near(right_real + (right_fake + wrong_fake) / 2), "it is the real pictures that get wrong labels"
    assert not near(right + right_wrong), "fakes and wrong labels count half each, so that reals are not outweighed"
    right = right_real + (right_fake + right_wrong) / 2
    assert near(right), f"with wrong_y the loss is {loss:.4f}, not {right / 2:.4f} (or twice that): see the formula"

    check_step_of_D(step, pair=toy_labelled_pair, batch=toy_labelled_batch)
    print("discriminator_step: done")


check_discriminator_step(discriminator_step)


# %% todo="generator_step"
def generator_step(D, G, optimizer_G, z, y):
    """One step of G on the fakes of z [N, z_dim] and y [N, classes]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    p_fake = D(join_pictures(G(join_z(z, y)), y))
    loss = bce(p_fake, torch.ones_like(p_fake))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss
    ### END SOLUTION


# %% check="generator_step"
def check_generator_step(step):
    D, G = toy_labelled_pair()
    _, z, y = toy_labelled_batch()
    with torch.no_grad():
        p_fake = D(join_pictures(G(join_z(z, y)), y))
        right, saturating = -p_fake.log().mean().item(), (1 - p_fake).log().mean().item()
    D.matches.clear()
    loss = check_loss_alone(step(D, G, torch.optim.SGD(G.parameters(), lr=0.0), z, y))
    assert D.matches, "D saw nothing: ask it about the fakes"
    assert all(D.matches), "D saw a fake under another label than it was made for: join the same y to z and to the fake"
    assert abs(loss - saturating) > 1e-4, "this is log(1 − D(G(z, y), y)), which saturates: use −log D(G(z, y), y)"
    assert abs(loss + saturating) > 1e-4, "targets swapped: G wants D to answer 1 for its fakes"
    assert abs(loss - right) < 1e-4, f"the loss is {loss:.4f}, not {right:.4f}: take BCE(D(G(z, y), y), 1)"
    check_step_of_G(step, pair=toy_labelled_pair, batch=toy_labelled_batch)
    print("generator_step: done")


check_generator_step(generator_step)

# %%
betas = (settings.beta1, settings.beta2)
optimizer_G = torch.optim.Adam(G.parameters(), settings.lr_G, betas)
optimizer_D = torch.optim.Adam(D.parameters(), settings.lr_D, betas)

# %% include: run, labelled_samples, solved train_step, start

# %%
fixed_z = join_z(fixed_z, one_hot(fixed_labels, len(classes)))  # [1000, z_dim] -> [1000, z_dim + classes]
batches = batch_indices(len(faces), settings.batch_size, settings.seed, start)


def take_step(step):
    """A step on the next faces and their labels, which the fakes of this step get as well."""
    indices = next(batches)
    y = one_hot(labels[indices], len(classes))
    wrong_y = one_hot(other_labels(labels[indices], len(classes)), len(classes)) if settings.wrong_labels else None

    def update_D(real):
        return discriminator_step(D, G, optimizer_D, real, noise(len(real)), y, wrong_y)

    def update_G(count):
        loss = generator_step(D, G, optimizer_G, noise(count), y)
        average_G.update_parameters(G)
        return loss

    return train_step(step, as_input(faces[indices]), update_D, update_G, norms.add)


# %% include: loop, handin

# %% [markdown]
# ## What the label does
#
# `labels.csv` beside the pictures says what each was asked to be. `python -m grader score outputs --by-class FACES`
# tells in how many of them the label shows, and scores each class by itself against real faces that have labels. Below,
# all rows share their eight $z$: what changes down a column is the label alone.

# %%
write_labels(outputs, fixed_labels, classes)
z = fixed_z[:8, : settings.z_dim].repeat(len(classes), 1)  # [8, z_dim] -> [classes × 8, z_dim]
rows = torch.arange(len(classes), device=device).repeat_interleave(8)
show_classes(sample(average_G, join_z(z, one_hot(rows, len(classes)))), classes, run / "classes.png")

# %% [markdown]
# The same samples at every checkpoint, as an animated picture.

# %%
grids = sorted((run / "samples").glob("*.png"))
animate([Image.open(path) for path in grids], run / "training.gif")

# %% [markdown]
# ## The paper's own network
#
# Mirza and Osindero drew grey digits of 28×28 without any convolution. In $G$, $z$ goes to 200 hidden units and $y$ to
# 1,000, both together to 1,200, and those to the picture's 784 pixels between 0 and 1. In $D$ the hidden units are
# *maxout*: each is the largest of several linear ones, its pieces
# ([Goodfellow et al., 2013](https://arxiv.org/abs/1302.4389)). The sizes and the dropout of one half are the paper's;
# its digits are not at hand everywhere, so here are five shapes, and Adam takes the place of its slower descent.
#
# Your two steps train it as they are. They join $y$ to pictures as maps; this $D$ takes one pixel of each map.


# %%
SHAPES = ["cross", "disc", "ring", "square", "triangle"]


def draw_shapes(labels):
    """Grey pictures [N, 1, 28, 28] in 0 … 1 of white shapes, each of a size, place and turn of its own."""
    uniform = lambda low, high: low + (high - low) * torch.rand(len(labels), 1, 1, device=device)  # noqa: E731
    size, x, y, turn = uniform(7, 10), uniform(12, 15), uniform(12, 15), uniform(-0.3, 0.3)
    pixels = torch.arange(28, device=device)
    x, y = (pixels - x) / size, (pixels[:, None] - y) / size  # [N, 1, 28] and [N, 28, 1], 0 at the centre
    x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()  # [N, 28, 28]
    radius, larger, smaller = torch.hypot(x, y), torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    inside = [  # how far from the edge, below 0 outside
        torch.minimum(0.3 - smaller, 1 - larger),
        1 - radius,
        0.25 - (radius - 0.75).abs(),
        0.8 - larger,
        0.5 - torch.maximum(y, 0.87 * x.abs() - 0.5 * y),
    ]
    inside = torch.stack(inside)[labels, torch.arange(len(labels), device=device)]
    return (inside * size + 0.5).clamp(0, 1)[:, None]


class Maxout(nn.Module):
    """[N, inputs] -> [N, units], each the largest of `pieces` linear units."""

    def __init__(self, inputs, units, pieces):
        super().__init__()
        self.linear, self.pieces = nn.Linear(inputs, units * pieces), pieces

    def forward(self, x):
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class PaperGenerator(nn.Module):
    """z and y [N, z_dim + classes] -> grey pictures [N, 1, 28, 28] in 0 … 1."""

    def __init__(self, z_dim, n_classes):
        super().__init__()
        self.sizes = [z_dim, n_classes]
        self.of_z = nn.Sequential(nn.Linear(z_dim, 200), nn.ReLU(), nn.Dropout())
        self.of_y = nn.Sequential(nn.Linear(n_classes, 1000), nn.ReLU(), nn.Dropout())
        self.of_both = nn.Sequential(
            nn.Linear(1200, 1200), nn.ReLU(), nn.Dropout(), nn.Linear(1200, 28 * 28), nn.Sigmoid()
        )

    def forward(self, joined):
        z, y = joined.split(self.sizes, 1)
        return self.of_both(torch.cat([self.of_z(z), self.of_y(y)], 1)).view(-1, 1, 28, 28)


class PaperDiscriminator(nn.Module):
    """pictures and maps of y [N, 1 + classes, 28, 28] -> probability of being real [N]."""

    def __init__(self, n_classes):
        super().__init__()
        self.of_x = nn.Sequential(Maxout(28 * 28, 240, 5), nn.Dropout())
        self.of_y = nn.Sequential(Maxout(n_classes, 50, 5), nn.Dropout())
        self.of_both = nn.Sequential(Maxout(290, 240, 4), nn.Dropout(), nn.Linear(240, 1), nn.Sigmoid())

    def forward(self, joined):
        x, y = joined[:, 0].flatten(1), joined[:, 1:, 0, 0]
        return self.of_both(torch.cat([self.of_x(x), self.of_y(y)], 1)).flatten()


# %%
seed_everything(settings.seed)
shape_G = PaperGenerator(settings.z_dim, len(SHAPES)).to(device)
shape_D = PaperDiscriminator(len(SHAPES)).to(device)
shape_optimizer_G = torch.optim.Adam(shape_G.parameters(), 2e-4, (0.5, 0.999))
shape_optimizer_D = torch.optim.Adam(shape_D.parameters(), 2e-4, (0.5, 0.999))
for _ in tqdm(range(min(settings.shape_steps, settings.steps)), "shapes", mininterval=5):
    shapes = torch.randint(len(SHAPES), (64,), device=device)
    y = one_hot(shapes, len(SHAPES))
    discriminator_step(shape_D, shape_G, shape_optimizer_D, draw_shapes(shapes), noise(64), y)
    generator_step(shape_D, shape_G, shape_optimizer_G, noise(64), y)

# %%
shape_G.eval()
shapes = torch.arange(len(SHAPES), device=device).repeat_interleave(10)
with torch.no_grad():
    drawn = shape_G(join_z(noise(len(shapes)), one_hot(shapes, len(SHAPES))))  # [50, 1, 28, 28]
show_classes((drawn * 255).byte().cpu(), SHAPES, run / "shapes.png")
