# %% [markdown]
# # 09 · CycleGAN
#
# What would this face look like with light hair? To learn it from examples you would want every face twice, once with
# each hair, and nobody drew those. CycleGAN does with two heaps of pictures that have nothing to do with each other,
# domain $A$ and domain $B$ ([Zhu et al., 2017](https://arxiv.org/abs/1703.10593)). One generator, $G_{AB}$, takes a
# picture of $A$ (there is no noise $z$) and makes one of $B$; a discriminator $D_B$ that knows real pictures of $B$
# judges it. The other pair, $G_{BA}$ and $D_A$, works the other way.
#
# That alone is not enough. $D_B$ is content with any picture of $B$, so $G_{AB}$ may answer every face with the same
# one. What makes it a *translation* is the way back: translated there and back again, a picture has to be what it was.
#
# $$L_{cycle} = \mathbb E_a\big[\lVert G_{BA}(G_{AB}(a)) - a \rVert_1\big]
#   + \mathbb E_b\big[\lVert G_{AB}(G_{BA}(b)) - b \rVert_1\big]$$
#
# So $G_{AB}$ must keep in its picture whatever $G_{BA}$ needs to restore the face: its shape, its pose, its eyes. It
# changes what it has to change for $D_B$, and as little else as possible. With least squares in place of the logarithm
# ([Mao et al., 2017](https://arxiv.org/abs/1611.04076)), which still pull on a fake that is already taken for real, the
# generators minimise together
#
# $$L_G = \mathbb E_a\big[(D_B(G_{AB}(a)) - 1)^2\big] + \mathbb E_b\big[(D_A(G_{BA}(b)) - 1)^2\big]
#   + \lambda\, L_{cycle} \qquad \lambda = 10$$
#
# Here $A$ are the faces with dark hair and $B$ those with light hair, or drawn faces and real ones, or any two heaps
# of your own. You write both steps, the cycle loss, and the discriminators' memory.

# %% include: setup, settings


# %%
@dataclass
class CycleSettings(Settings):
    """Those above, save z_dim, n_critic and half, which mean nothing here: there is no z, and all take turns."""

    faces_b: str = ""  # folder or zip of domain B's faces, `faces` being A's; "" makes both of `faces`, by their labels
    attribute: str = "hair"  # what the labels tell: "hair" or "eye" of a tags.csv, a column of an attributes.csv
    classes_a: str = "black, blue, brown, purple"  # the labels that are domain A
    classes_b: str = "blonde, orange, pink, white"  # and domain B; the other colours are now light, now dark
    cycle: float = 10.0  # λ, the weight of the cycle loss
    identity: float = 0.0  # the weight of the identity loss, which keeps colours; 0 leaves it out, the paper tries 5
    history: int = 50  # fakes of earlier steps that each D is shown again


PRESETS = with_longer(  # "course": as many pictures as the paper's 200 epochs of 1,000
    CycleSettings(run="runs/cyclegan", steps=50_000, batch_size=4, lr_G=2e-4, lr_D=2e-4, checkpoint_every=2500)
)
PRESETS["cpu"] = replace(  # ten minutes on one CPU core
    PRESETS["course"], steps=5000, batch_size=2, width=16, lr_G=4e-4, lr_D=4e-4, ema=0.995, checkpoint_every=500
)

# %% tags=["parameters"]
preset = "course"
overrides = {}  # any setting by name, for example {"classes_b": "pink", "identity": 5.0}

# %% include: choose

# %% [markdown]
# ## The networks
#
# A generator halves the picture three times, works on the 8×8 map in six residual blocks, which each add something to
# what they get, and doubles three times. A discriminator does not judge a picture as a whole: it gives one answer for
# each of 6×6 overlapping patches (a *PatchGAN*). InstanceNorm normalises every picture by itself.
#
# The networks come in pairs, named as in the formulas: `G.AB` and `G.BA`, `D.A` and `D.B`.


# %%
def convolution(channels_in, channels_out, stride=2, norm=True):
    if not norm:
        return [nn.Conv2d(channels_in, channels_out, 4, stride, padding=1)]
    without_bias = nn.Conv2d(channels_in, channels_out, 4, stride, padding=1, bias=False)  # a norm takes it out again
    return [without_bias, nn.InstanceNorm2d(channels_out)]


class ResidualBlock(nn.Module):
    """Maps [N, channels, H, W] -> the same shape: the map plus what two convolutions make of it."""

    def __init__(self, channels):
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, maps):
        return maps + self.change(maps)


class Generator(nn.Module):
    """Pictures [N, 3, 64, 64] in −1 … 1 -> as many in the other domain."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            *convolution(3, width),  # [N, 3, 64, 64] -> [N, w, 32, 32]
            nn.ReLU(),
            *convolution(width, 2 * width),  # [N, w, 32, 32]  -> [N, 2w, 16, 16]
            nn.ReLU(),
            *convolution(2 * width, 4 * width),  # [N, 2w, 16, 16] -> [N, 4w, 8, 8]
            nn.ReLU(),
            *(ResidualBlock(4 * width) for _ in range(6)),
            *self.double(4 * width, 2 * width),  # [N, 4w, 8, 8]   -> [N, 2w, 16, 16]
            *self.double(2 * width, width),  # [N, 2w, 16, 16] -> [N, w, 32, 32]
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),  # [N, w, 32, 32]  -> [N, 3, 64, 64]
            nn.Tanh(),
        )
        self.apply(small_weights)

    @staticmethod
    def double(channels_in, channels_out):
        up = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
        return up, nn.InstanceNorm2d(channels_out), nn.ReLU()

    def forward(self, pictures):
        return self.layers(pictures)


class Discriminator(nn.Module):
    """Pictures [N, 3, 64, 64] -> answers [N, 1, 6, 6], one a patch, trained to be 1 for reals and 0 for fakes."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            *convolution(3, width, norm=False),  # [N, 3, 64, 64] -> [N, w, 32, 32]
            nn.LeakyReLU(0.2),
            *convolution(width, 2 * width),  # [N, w, 32, 32]  -> [N, 2w, 16, 16]
            nn.LeakyReLU(0.2),
            *convolution(2 * width, 4 * width),  # [N, 2w, 16, 16] -> [N, 4w, 8, 8]
            nn.LeakyReLU(0.2),
            *convolution(4 * width, 8 * width, stride=1),  # [N, 4w, 8, 8]   -> [N, 8w, 7, 7]
            nn.LeakyReLU(0.2),
            *convolution(8 * width, 1, stride=1, norm=False),  # [N, 8w, 7, 7]   -> [N, 1, 6, 6]
        )
        self.apply(small_weights)

    def forward(self, pictures):
        return self.layers(pictures)


class Generators(nn.Module):
    """AB translates domain A into B, and BA back. Called itself, it is AB, whose pictures are handed in."""

    def __init__(self, width):
        super().__init__()
        self.AB, self.BA = Generator(width), Generator(width)

    def forward(self, pictures):
        return self.AB(pictures)


class Discriminators(nn.Module):
    """A tells the real pictures of domain A from fakes, and B those of B."""

    def __init__(self, width):
        super().__init__()
        self.A, self.B = Discriminator(width), Discriminator(width)


def small_weights(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)


seed_everything(settings.seed)
G, D = Generators(settings.width).to(device), Discriminators(settings.width).to(device)
for name, network in {"G.AB": G.AB, "G.BA": G.BA, "D.A": D.A, "D.B": D.B}.items():
    print(f"{name}: {sum(weight.numel() for weight in network.parameters()):,} parameters")

# %% include: toy


# %%
def toy_cycle():
    """G and D as above, made of the toy networks: G.AB and G.BA paint a picture darker or lighter."""

    class ToyG(nn.Module):
        def __init__(self, weight, shift):
            super().__init__()
            self.weight, self.shift = nn.Parameter(torch.tensor(weight, device=device)), shift

        def forward(self, pictures):
            return self.weight * pictures + self.shift

    G, D = nn.Module(), nn.Module()
    G.AB, G.BA = ToyG(0.5, 0.3), ToyG(1.5, -0.1)
    D.A, D.B = toy_pair(probability=False)[0], toy_pair(probability=False)[0]
    nn.init.constant_(D.B.weight, -0.4)
    return G, D


def toy_domains():
    """A batch of 6 pictures [6, 3, 64, 64] of each domain, always the same."""
    repeatable = torch.Generator().manual_seed(0)
    real_A, real_B = (torch.rand(6, 3, 64, 64, generator=repeatable).to(device) for _ in "AB")
    return real_A * 2 - 1, real_B - 0.7


# %% [markdown]
# ## The cycle loss
#
# $L_1$, the mean absolute difference over all pixels, and not its square: squares forgive many small differences, which
# look like blur. Both directions count, each with its mean.


# %% todo="cycle_loss"
def cycle_loss(G, real_A, real_B, fake_A, fake_B):
    """How far pictures are from themselves when translated there and back, a scalar, without λ. All four are
    [N, 3, 64, 64]; fake_B = G.AB(real_A) and fake_A = G.BA(real_B) are made already."""
    ### BEGIN SOLUTION
    return (G.BA(fake_B) - real_A).abs().mean() + (G.AB(fake_A) - real_B).abs().mean()
    ### END SOLUTION


# %% check="cycle_loss"
def check_cycle_loss(cycle_loss):
    G, _ = toy_cycle()
    real_A, real_B = toy_domains()
    fake_A, fake_B = G.BA(real_B), G.AB(real_A)
    loss = cycle_loss(G, real_A, real_B, fake_A, fake_B)
    value = check_loss_alone(loss)
    there, back = G.BA(fake_B) - real_A, G.AB(fake_A) - real_B  # A and B after their round trips
    right = there.abs().mean() + back.abs().mean()
    near = lambda wrong: math.isclose(value, wrong.item(), rel_tol=1e-4)  # noqa: E731
    one_way = "one direction only: there are two round trips, A → B → A and B → A → B"
    assert not near(there.abs().mean()) and not near(back.abs().mean()), one_way
    assert not near(there.square().mean() + back.square().mean()), "this is L2, the square: take L1, abs()"
    assert not near(10 * right), "λ is already in: it belongs to the loss of the generators, not in here"
    assert not near((fake_A - real_A).abs().mean() + (fake_B - real_B).abs().mean()), (
        "a fake is compared with a picture of its own domain: translate it back, and compare it with where it came from"
    )
    assert not near((fake_B - real_A).abs().mean() + (fake_A - real_B).abs().mean()), (
        "this is the way there alone, which is to change the picture: translate the fakes back first"
    )
    assert not near((G.AB(fake_B) - real_A).abs().mean() + (G.BA(fake_A) - real_B).abs().mean()), (
        "each fake goes through the same generator twice: G.BA takes fake_B back, G.AB takes fake_A"
    )
    assert not near(there.abs().sum() + back.abs().sum()), "the sum over all pixels: take the mean"
    assert near(right), f"the loss is {value:.4f}, not {right:.4f}: mean |G.BA(fake_B) − real_A|, and the same for B"
    weights = [*G.parameters()]
    expected = torch.autograd.grad(right, weights, retain_graph=True)
    found = torch.autograd.grad(loss, weights, allow_unused=True) if loss.requires_grad else [None, None]
    assert all(f is not None and torch.isclose(f, e, rtol=1e-3) for f, e in zip(found, expected, strict=True)), (
        "part of the gradient is lost: it flows through both generators of a round trip, detach() nothing"
    )
    print("cycle_loss: done")


check_cycle_loss(cycle_loss)

# %% [markdown]
# ## The optimizers
#
# $L_{cycle}$ ties the two generators to each other, and one step moves both: **one** Adam has the weights of both. The
# discriminators have nothing to do with each other, and an Adam each.


# %% todo="make_optimizers"
def make_optimizers(G, D):
    """(of both generators, of D.A, of D.B): three Adams with settings.lr_G or settings.lr_D, and with settings.beta1
    and settings.beta2."""
    ### BEGIN SOLUTION
    betas = (settings.beta1, settings.beta2)
    return (
        torch.optim.Adam([*G.AB.parameters(), *G.BA.parameters()], settings.lr_G, betas),
        torch.optim.Adam(D.A.parameters(), settings.lr_D, betas),
        torch.optim.Adam(D.B.parameters(), settings.lr_D, betas),
    )
    ### END SOLUTION


# %% check="make_optimizers"
def check_make_optimizers(make):
    G, D = toy_cycle()
    optimizers = make(G, D)
    assert len(optimizers) == 3, f"three optimizers, not {len(optimizers)}: of both generators, of D.A, of D.B"
    held = [{id(weight) for group in optimizer.param_groups for weight in group["params"]} for optimizer in optimizers]
    weights = {"G.AB": G.AB.weight, "G.BA": G.BA.weight, "D.A": D.A.weight, "D.B": D.B.weight}
    names = [" and ".join(name for name, weight in weights.items() if id(weight) in ids) for ids in held]
    assert names[0] == "G.AB and G.BA", f"the first holds {names[0] or 'nothing'}: give it both generators, and no D"
    assert names[1:] == ["D.A", "D.B"], f"the second and third hold {names[1]} and {names[2]}, not D.A and D.B"
    for name, optimizer, lr in zip(
        ("G", "D.A", "D.B"), optimizers, (settings.lr_G, settings.lr_D, settings.lr_D), strict=True
    ):
        for group in optimizer.param_groups:
            assert math.isclose(group["lr"], lr), f"the learning rate of {name} is {group['lr']}, not {lr}"
            betas = (settings.beta1, settings.beta2)
            assert group.get("betas") == betas, f"{name}: pass Adam betas={betas}; its default of 0.9 makes a GAN swing"
    print("make_optimizers: done")


check_make_optimizers(make_optimizers)

# %% [markdown]
# ## The generators' step
#
# $L_G$ from above: both generators are to be taken for real, by least squares, and $\lambda$ times the cycle loss comes
# on top. A third loss is a switch. $D_B$ accepts a light-haired face on a pink background as gladly as on a white one,
# so nothing stops $G_{AB}$ from tinting pictures, as long as $G_{BA}$ takes the tint out again. What is in the target
# domain already needs no change:
#
# $$L_{identity} = \mathbb E_b\big[\lVert G_{AB}(b) - b \rVert_1\big]
#   + \mathbb E_a\big[\lVert G_{BA}(a) - a \rVert_1\big]$$
#
# It costs two more passes, so it is left out, passes and all, while its weight `settings.identity` is 0.


# %% todo="generator_step"
def generator_step(G, D, optimizer_G, real_A, real_B):
    """One step of both generators on real pictures, each [N, 3, 64, 64], with settings.cycle times the cycle loss and
    settings.identity times the identity loss. Returns the loss, a scalar, and its fakes fake_A and fake_B."""
    ### BEGIN SOLUTION
    fake_A, fake_B = G.BA(real_B), G.AB(real_A)
    loss = ((D.A(fake_A) - 1) ** 2).mean() + ((D.B(fake_B) - 1) ** 2).mean()
    loss = loss + settings.cycle * cycle_loss(G, real_A, real_B, fake_A, fake_B)
    if settings.identity:
        identity_loss = (G.AB(real_B) - real_B).abs().mean() + (G.BA(real_A) - real_A).abs().mean()
        loss = loss + settings.identity * identity_loss
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    return loss, fake_A, fake_B
    ### END SOLUTION


# %% check="generator_step"
def check_generator_step(step):
    real_A, real_B = toy_domains()
    chosen = settings.cycle, settings.identity
    try:
        for identity_weight in (0.0, 5.0):  # the switch off and on
            settings.cycle, settings.identity = 10.0, identity_weight
            G, D = toy_cycle()
            fake_A, fake_B = G.BA(real_B), G.AB(real_A)
            fool_A, fool_B = ((D.A(fake_A) - 1) ** 2).mean(), ((D.B(fake_B) - 1) ** 2).mean()
            cycle_A, cycle_B = (G.BA(fake_B) - real_A).abs().mean(), (G.AB(fake_A) - real_B).abs().mean()
            identity = (G.AB(real_B) - real_B).abs().mean() + (G.BA(real_A) - real_A).abs().mean()
            rest = settings.cycle * (cycle_A + cycle_B) + settings.identity * identity
            right = fool_A + fool_B + rest
            expected = [gradient.item() for gradient in torch.autograd.grad(right, [*G.parameters()])]

            optimizer = torch.optim.SGD(G.parameters(), lr=0.0)
            result = step(G, D, optimizer, real_A, real_B)
            assert isinstance(result, tuple) and len(result) == 3, "return loss, fake_A, fake_B"
            loss = check_loss_alone(result[0])
            near = lambda wrong: math.isclose(loss, wrong.item(), rel_tol=1e-4)  # noqa: B023, E731
            assert not near(fool_A + fool_B + settings.identity * identity), "the cycle loss is missing"
            assert not near(right - (settings.cycle - 1) * (cycle_A + cycle_B)), (
                "λ is missing: settings.cycle times the cycle loss"
            )
            assert not near(right - settings.cycle * cycle_A) and not near(right - settings.cycle * cycle_B), (
                "the cycle loss of one direction only: take cycle_loss(…), which holds both"
            )
            swapped = D.A(fake_A).square().mean() + D.B(fake_B).square().mean()
            assert not near(swapped + rest), "these are D's labels for fakes: G wants D to answer 1 for its fakes"
            mixed_up = ((D.B(fake_A) - 1) ** 2).mean() + ((D.A(fake_B) - 1) ** 2).mean()
            assert not near(mixed_up + rest), "the discriminators are mixed up: D.A judges fake_A, and D.B fake_B"
            assert not near(right - fool_A) and not near(right - fool_B), (
                "one generator is not judged: both D.A(fake_A) and D.B(fake_B) are to be 1"
            )
            if settings.identity:
                assert not near(right - settings.identity * identity), (
                    "the identity loss is missing while settings.identity is not 0"
                )
                assert not near(right - (settings.identity - 1) * identity), "settings.identity times the identity loss"
                wrong_way = (G.AB(real_A) - real_A).abs().mean() + (G.BA(real_B) - real_B).abs().mean()
                assert not near(right + settings.identity * (wrong_way - identity)), (
                    "the identity loss is of pictures in the target domain already: G.AB(real_B) and G.BA(real_A)"
                )
            else:
                assert not near(right + identity) and not near(right + settings.cycle / 2 * identity), (
                    "the identity loss counts although settings.identity is 0"
                )
            assert near(right), f"the loss is {loss:.4f}, not {right:.4f}: compare with the formulas, term by term"
            for name, network, gradient in zip(("G.AB", "G.BA"), (G.AB, G.BA), expected, strict=True):
                found = network.weight.grad
                assert found is not None, f"{name} has no gradient: one backward() on the whole loss, and no detach()"
                assert math.isclose(found.item(), gradient, rel_tol=1e-3), (
                    f"{name} has another gradient than the loss has: one backward() on the whole loss, and no detach()"
                )
            assert torch.allclose(result[1], fake_A) and torch.allclose(result[2], fake_B), (
                "return loss, fake_A, fake_B: fakes of domain A first"
            )
            step(G, D, optimizer, real_A, real_B)
            assert math.isclose(G.AB.weight.grad.item(), expected[0], rel_tol=1e-3), (
                "gradients pile up: zero_grad() before backward()"
            )
    finally:
        settings.cycle, settings.identity = chosen
    before = [weight.item() for weight in (*G.parameters(), *D.parameters())]
    step(G, D, torch.optim.SGD(G.parameters(), lr=0.01), real_A, real_B)
    moved = [weight.item() != old for weight, old in zip((*G.parameters(), *D.parameters()), before, strict=True)]
    assert moved[0] and moved[1], "the generators did not move: call optimizer_G.step()"
    assert not moved[2] and not moved[3], "D moved in G's step: step optimizer_G only"
    assert all(weight.requires_grad for weight in D.parameters()), "D stays frozen: requires_grad_(True) at the end"
    print("generator_step: done")


check_generator_step(generator_step)

# %% [markdown]
# ## The history of fakes
#
# A discriminator that sees only the newest fakes forgets what the older ones looked like, the generator goes back to
# them, and the two run in circles. So it is shown a mix of new and old. A `History` keeps 50 fakes; once it is full,
# every new fake is either shown as it is, or put away in the place of a random old one, which is shown instead. Toss a
# coin for each fake. Draw with `random` or with torch, whose states are in the checkpoints.


# %%
class History:
    """Fakes of earlier steps, `pictures`: a list of at most `size` tensors [3, 64, 64]."""

    def __init__(self, size):
        self.size, self.pictures = size, []

    def state_dict(self):
        return {"pictures": torch.stack(self.pictures) if self.pictures else None}

    def load_state_dict(self, state):
        self.pictures = [] if state["pictures"] is None else [*state["pictures"]]


# %% todo="exchange"
def exchange(history, fakes):
    """What D is shown in place of new fakes [N, 3, 64, 64]: as many pictures, which carry no gradient.

    As long as there is room in the history, a new fake is kept there, and shown. Once it is full, a new fake is shown
    with probability 1/2, and else takes the place of a random picture of the history, which is shown.
    """
    ### BEGIN SOLUTION
    shown = []
    for fake in fakes.detach():
        if len(history.pictures) < history.size:
            history.pictures.append(fake)
        elif random.random() < 0.5:
            place = random.randrange(history.size)
            fake, history.pictures[place] = history.pictures[place], fake
        shown.append(fake)
    return torch.stack(shown)
    ### END SOLUTION


# %% check="exchange"
def check_exchange(exchange):
    numbered = iter(range(10**6))

    def new_fakes(count=8):
        """Pictures that hold their own number, small here: [count, 3, 4, 4]."""
        fakes = torch.tensor([float(next(numbered)) for _ in range(count)], device=device).requires_grad_()
        return fakes.view(-1, 1, 1, 1).expand(-1, 3, 4, 4)

    def numbers(pictures):
        return [round(picture.flatten()[0].item()) for picture in pictures]

    history = History(50)
    while len(history.pictures) < 50:
        fakes, before = new_fakes(), numbers(history.pictures)
        kept = min(len(before) + 8, 50)
        shown = exchange(history, fakes)
        assert torch.is_tensor(shown) and shown.shape == fakes.shape, "return as many pictures, stacked: [N, 3, 64, 64]"
        assert not shown.requires_grad, "what is shown carries a gradient of G: detach() the fakes"
        assert not any(picture.requires_grad for picture in history.pictures), (
            "the history keeps the fakes with their gradients, and all networks' memory with them: detach() the fakes"
        )
        now, room = len(history.pictures), kept - len(before)
        assert now <= 50, f"the history has grown to {now} pictures: keep history.size at most"
        assert now == kept, f"{kept} fakes are to be kept by now, not {now}: keep new ones as long as there is room"
        assert numbers(shown)[:room] == numbers(fakes)[:room], "as long as there is room, new fakes are shown"
        everything = sorted(before + numbers(fakes) + numbers(fakes)[:room])
        assert sorted(numbers(history.pictures) + numbers(shown)) == everything, "a picture got lost, or came twice"

    first, put_away = set(numbers(history.pictures)), []
    for _ in range(20):
        fakes, before = new_fakes(), numbers(history.pictures)
        shown = numbers(exchange(history, fakes))
        assert sorted(numbers(history.pictures) + shown) == sorted(before + numbers(fakes)), (
            "a picture got lost, or came twice: a new fake takes the very place of the old one that is shown"
        )
        put_away.append(len(set(numbers(fakes)) - set(shown)))
    old = [numbers(exchange(history, fake)) != numbers(fake) for fake in map(new_fakes, [1] * 1000)]
    share = sum(old) / len(old)
    assert share > 0, "the history is never used: with probability 1/2 an old picture is shown"
    assert share < 1, "no new fake is shown any more: with probability 1/2 it is"
    assert 0.4 < share < 0.6, f"an old picture is shown in {share:.0%} of all cases: make it half of them"
    assert not first & set(numbers(history.pictures)), "some places are never exchanged: choose a random one"
    assert sum(2 <= count <= 6 for count in put_away) > 10, "all of a batch or nothing: decide for each fake by itself"
    print("exchange: done")


check_exchange(exchange)

# %% [markdown]
# ## The discriminators' step
#
# Each by itself, on real pictures of its domain and on what its history gives for the fakes. Halved, as in the paper,
# so that $D$ learns more slowly than $G$:
#
# $$L_{D_B} = \tfrac12\,\mathbb E_b\big[(D_B(b) - 1)^2\big] + \tfrac12\,\mathbb E_a\big[D_B(G_{AB}(a))^2\big]$$


# %% todo="discriminator_step"
def discriminator_step(D, optimizer_D, real, fake, history):
    """One step of one discriminator, D.A or D.B, on real pictures of its domain and on what `exchange` gives for the
    fakes, each [N, 3, 64, 64]. Returns its loss, a scalar."""
    ### BEGIN SOLUTION
    shown = exchange(history, fake)
    loss = ((D(real) - 1) ** 2).mean() / 2 + (D(shown) ** 2).mean() / 2
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()
    return loss
    ### END SOLUTION


# %% check="discriminator_step"
def check_discriminator_step(step):
    G, D = toy_cycle()
    real, fake = toy_domains()[1], G.AB(toy_domains()[0])
    frozen = torch.optim.SGD(D.B.parameters(), lr=0.0)
    history = History(50)
    loss = check_loss_alone(step(D.B, frozen, real, fake, history))
    with torch.no_grad():
        on_real, on_fake = ((D.B(real) - 1) ** 2).mean().item(), (D.B(fake) ** 2).mean().item()
        swapped = (D.B(real) ** 2).mean().item() + ((D.B(fake) - 1) ** 2).mean().item()
    right = (on_real + on_fake) / 2
    near = lambda wrong: abs(loss - wrong) < 1e-4  # noqa: E731
    assert not near(swapped) and not near(swapped / 2), "labels swapped: reals are 1, fakes are 0"
    assert not near(2 * right), "halve the loss, so that D learns more slowly than G"
    assert near(right), f"the loss is {loss:.4f}, not {right:.4f}: half of mean (D(real) − 1)² + mean D(shown)²"
    assert G.AB.weight.grad is None, "G got a gradient in D's step: detach() the fakes"
    assert len(history.pictures) == len(fake), "the fakes did not go through the history: exchange(history, fake)"
    assert D.B.weight.grad is not None, "D has no gradient: call backward() on the loss"
    first = D.B.weight.grad.clone()
    step(D.B, frozen, real, G.AB(toy_domains()[0]), History(50))
    assert torch.allclose(D.B.weight.grad, first), "gradients pile up: zero_grad() before backward()"

    history.pictures = [torch.full_like(picture, 3.0) for picture in history.pictures]
    history.size = len(history.pictures)
    losses = [step(D.B, frozen, real, G.AB(toy_domains()[0]), history).item() for _ in range(4)]
    assert not all(map(near, losses)), "D was shown the new fakes: show it what exchange(history, fake) returns"

    before = D.B.weight.item()
    step(D.B, torch.optim.SGD(D.B.parameters(), lr=0.1), real, G.AB(toy_domains()[0]), History(50))
    assert D.B.weight.item() != before, "D did not move: call optimizer_D.step()"
    print("discriminator_step: done")


check_discriminator_step(discriminator_step)

# %% include: faces, read_labels

# %% [markdown]
# ## Two domains
#
# With `faces_b`, one source is one domain. Without it, labels divide the faces. A tenth of each domain, at most 1,000
# faces, is kept aside: no network learns from them, and grids and measures are of them.


# %%
def keep_aside(faces):
    """Pictures [N, 3, 64, 64] -> (those to learn from, those kept aside); always the same for one seed."""
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(settings.seed)).to(device)
    aside = min(math.ceil(len(faces) / 10), 1000)
    return faces[order[aside:]], faces[order[:aside]]


if settings.faces_b:
    name_A, name_B = source.name, Path(settings.faces_b).name
    domain_A, domain_B = faces, read_faces(find_faces(settings.faces_b))[0].to(device)
else:
    name_A, name_B = settings.classes_a, settings.classes_b
    labels, classes = read_labels(source, names, settings.attribute, f"{name_A}, {name_B}")
    of_A = torch.tensor([i for i, name in enumerate(classes) if name in map(str.strip, name_A.split(","))])
    is_A = torch.isin(labels, of_A)
    is_B = (labels >= 0) & ~is_A
    domain_A, domain_B = faces[is_A.to(device)], faces[is_B.to(device)]
(train_A, aside_A), (train_B, aside_B) = keep_aside(domain_A), keep_aside(domain_B)
for title, train, aside in (f"A, {name_A}", train_A, aside_A), (f"B, {name_B}", train_B, aside_B):
    print(f"{title}: {len(train):,} faces to learn from, {len(aside):,} kept aside")
    if len(train) < settings.batch_size:
        raise ValueError(f"domain {title}: fewer faces to learn from than one batch of {settings.batch_size}")

# %% [markdown]
# ## Did it translate?
#
# Three questions, each with a number. *Is the result in the other domain?* A simple judge decides: a linear rule on
# thumbnails of 8×8 pixels, fitted to the real faces of both domains by least squares. It sees no lines, only which
# colour is where: of hair that is what we ask. *Is it still the same face?* As far as the way back can tell: the mean
# absolute difference between a face and its round trip, in grey levels of 0 … 255. *Does it look real?* That is the
# Fréchet distance to the other domain, which the grader measures.


# %%
def thumbnails(pictures):
    """Bytes [N, 3, 64, 64] -> [N, 193]: the numbers of 8×8 pixels, and a 1."""
    small = nn.functional.adaptive_avg_pool2d(as_input(pictures), 8).flatten(1)
    return torch.cat([small, torch.ones_like(small[:, :1])], 1)


def fit_judge(faces_A, faces_B):
    """A rule [193]: thumbnails(pictures) @ rule is below 0 for domain A and above 0 for B, by ridge regression."""
    count = min(len(faces_A), len(faces_B), 4000)  # as many of each, so that it favours neither
    x = thumbnails(torch.cat([faces_A[:count], faces_B[:count]]))
    y = torch.ones(count, device=device)
    return torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], device=device), x.T @ torch.cat([-y, y]))


judge = fit_judge(train_A, train_B)


def share_in_B(pictures):
    """The share of bytes [N, 3, 64, 64] that the judge takes for domain B."""
    return (thumbnails(pictures.to(device)) @ judge > 0).float().mean().item()


right = (1 - share_in_B(aside_A) + share_in_B(aside_B)) / 2
print(f"of the real faces kept aside, the judge puts {right:.1%} into their domain")

# %% include: run


# %%
def round_trip(there, back, faces):
    """Faces [N, 3, 64, 64] as bytes, translated, and translated back, also as bytes."""
    translated = sample(there, as_input(faces))
    return faces.cpu(), translated, sample(back, as_input(translated.to(device)))


def both_trips(G):
    """The round trips A → B → A and B → A → B of the faces kept aside."""
    return round_trip(G.AB, G.BA, aside_A), round_trip(G.BA, G.AB, aside_B)


def measure(trip_A, trip_B):
    """The shares of translations that the judge takes for the target domain, and the round trips' differences."""
    changed = share_in_B(trip_A[1]), 1 - share_in_B(trip_B[1])
    return *changed, *((start.float() - end.float()).abs().mean().item() for start, _, end in (trip_A, trip_B))


MEASURES = ["changed_AB", "changed_BA", "difference_ABA", "difference_BAB"]


def trip_grid(trip, columns=10):
    """Three rows: faces, translated, translated back."""
    return picture_grid(torch.cat([pictures[:columns] for pictures in trip]), columns)


# %% [markdown]
# ## Training
#
# Every step takes a batch from each domain, some pictures mirrored, and moves the generators and then the
# discriminators. The paper lets the learning rate fall to 0 in the second half of the training; here the samples come
# from a running average of the generators' weights, which calms them as well.
#
# At each checkpoint 1,000 faces of $A$ are translated, those kept aside first. This is how 64 of them look **before**.

# %%
thousand = torch.cat([aside_A, train_A]).repeat(math.ceil(1000 / len(domain_A)), 1, 1, 1)[
    :1000
]  # again if they are few
fixed_z = as_input(thousand)  # for the loop below, which knows nothing of translations
display(picture_grid(thousand[:64].cpu()))

optimizer_G, optimizer_A, optimizer_B = make_optimizers(G, D)
history_A, history_B = History(settings.history), History(settings.history)
average_G = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))

parts = {"G": G, "D": D, "average_G": average_G, "history_A": history_A, "history_B": history_B}
parts |= {"optimizer_G": optimizer_G, "optimizer_A": optimizer_A, "optimizer_B": optimizer_B}
start = load_checkpoint(**parts)
log = LossLog(run / "log.csv", start)
norms = GradientNorms(run / "grad_norms.csv", D.B, start)
measures = StepTable(run / "samples/measures.csv", MEASURES, start)
tables = [log, norms]
batches_A = face_batches(train_A, settings.batch_size, settings.seed, start)
batches_B = face_batches(train_B, settings.batch_size, settings.seed + 1, start)


def mirrored(pictures):
    """Pictures [N, 3, 64, 64], about every second one mirrored."""
    coins = torch.rand(len(pictures), 1, 1, 1, device=device) < 0.5
    return torch.where(coins, pictures.flip(3), pictures)


def take_step(step):
    real_A, real_B = mirrored(next(batches_A)), mirrored(next(batches_B))
    D.requires_grad_(False)  # it only looks on: no time goes into gradients for its weights
    loss_G, fake_A, fake_B = generator_step(G, D, optimizer_G, real_A, real_B)
    D.requires_grad_(True)
    average_G.update_parameters(G)
    loss_A = discriminator_step(D.A, optimizer_A, real_A, fake_A, history_A)
    loss_B = discriminator_step(D.B, optimizer_B, real_B, fake_B, history_B)
    if step % settings.norms_every == 0:
        norms.add(step)
    if step % settings.checkpoint_every == 0:
        trips = both_trips(average_G.module)
        measures.append([[step, *(f"{value:.4g}" for value in measure(*trips))]])
        for name, trip in zip(("ABA", "BAB"), trips, strict=True):
            write_safely(run / f"samples/{step:06d}_{name}.png", partial(trip_grid(trip).save, format="PNG"))
    return (loss_A + loss_B) / 2, loss_G


# %% include: loop

# %% [markdown]
# ## There and back
#
# Faces that no network learned from. In each picture the first row is the face, the second its translation, the third
# the translation translated back.

# %%
trips = both_trips(average_G.module)
for title, trip in zip(("A → B → A", "B → A → B"), trips, strict=True):
    print(title)
    display(trip_grid(trip))
changed_AB, changed_BA, difference_ABA, difference_BAB = measure(*trips)
print(f"in the other domain, as the judge sees it: {changed_AB:.1%} of A → B, {changed_BA:.1%} of B → A")
print(f"a round trip's mean difference, of 255: {difference_ABA:.1f} from A, {difference_BAB:.1f} from B")

# %% [markdown]
# The third row may look better than the second deserves: a generator can hide what the way back needs in noise that
# nobody sees ([Chu et al., 2017](https://arxiv.org/abs/1712.02950)). Set `cycle` to 0 and look at what is left of the
# faces; set it to 50 and look at what is left of the translation.

# %% include: handin

# %% [markdown]
# These are translations from $A$ to $B$, so they are to be compared with the faces of domain $B$, and with them alone:
# `python -m grader score outputs --reference` and the path of the archive below.

# %%
pack(domain_B.cpu(), run / "domain_B.tgz")
print(run / "domain_B.tgz")
