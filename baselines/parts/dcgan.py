# %% [markdown]
# ## The two networks
#
# The DCGAN pair of the course's sample code. The generator projects z to a 4×4 picture of many channels and doubles it
# four times; the discriminator mirrors it with strided convolutions and ends in one number a picture.


# %%
def may_be_mixed(forward):
    """A forward that runs in half precision while its network trains, where `mix_precision` sets `half` and `scaler`.

    What goes in and comes out stays float32. Small gradients would be 0 in float16: they are scaled up at the exit of
    the network and down again at its entrance; those of its weights are what the scaler expects of them.
    """

    def run(network, x):
        if not (network.training and network.half):  # samples are float32
            return forward(network, x)
        scale = network.scaler.scale(torch.ones((), device=x.device))  # 1 in bfloat16, which has float32's range
        x = x.view_as(x)
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient / scale)
        with torch.autocast(x.device.type, network.half):
            out = forward(network, x).float()
        if out.requires_grad:
            out.register_hook(lambda gradient: gradient * scale)
        return out

    return run


class Generator(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64] in −1 … 1."""

    half = None

    def __init__(self, z_dim, width):
        super().__init__()
        self.project = nn.Sequential(
            nn.Linear(z_dim, width * 8 * 4 * 4, bias=False),
            nn.BatchNorm1d(width * 8 * 4 * 4),
            nn.ReLU(),
        )
        self.grow = nn.Sequential(
            self.double(width * 8, width * 4),  # [N, 8w, 4, 4]   -> [N, 4w, 8, 8]
            self.double(width * 4, width * 2),  # [N, 4w, 8, 8]   -> [N, 2w, 16, 16]
            self.double(width * 2, width),  # [N, 2w, 16, 16] -> [N, w, 32, 32]
            nn.ConvTranspose2d(width, 3, 5, stride=2, padding=2, output_padding=1, bias=False),  # -> [N, 3, 64, 64]
            nn.Tanh(),
        )
        self.apply(dcgan_weights)

    @staticmethod
    def double(channels_in, channels_out):
        return nn.Sequential(
            nn.ConvTranspose2d(channels_in, channels_out, 5, stride=2, padding=2, output_padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )

    @may_be_mixed
    def forward(self, z):
        return self.grow(self.project(z).view(len(z), -1, 4, 4))


class Discriminator(nn.Module):
    """pictures [N, 3, 64, 64] -> probability of being real [N], or any number [N] without the Sigmoid at the end."""

    half = None

    def __init__(self, width, layers=4, norm=nn.BatchNorm2d, probability=True, channels=3):
        super().__init__()
        blocks = []
        for stage in range(4):  # [N, 3, 64, 64] -> [N, w, 32, 32] -> [N, 2w, 16, 16] -> [N, 4w, 8, 8] -> [N, 8w, 4, 4]
            out = width * 2**stage
            blocks.append(self.block(channels, out, 4, 2, norm if stage else nn.Identity))  # the first goes without
            channels = out
            for _ in range(
                (layers - 1 - stage) // 4
            ):  # layers over 4 are dealt out among the stages, and keep the size
                blocks.append(self.block(channels, channels, 3, 1, norm))
        blocks.append(nn.Conv2d(channels, 1, 4))  # -> [N, 1, 1, 1]
        self.layers = nn.Sequential(*blocks, nn.Sigmoid() if probability else nn.Identity())
        self.apply(dcgan_weights)

    @staticmethod
    def block(channels_in, channels_out, kernel, stride, norm):
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding=1), norm(channels_out), nn.LeakyReLU(0.2)
        )

    @may_be_mixed
    def forward(self, pictures):
        scores = self.layers[:-1](pictures).float()  # [N, 1, 1, 1]; in half precision a Sigmoid jumps to 1 at 8
        return self.layers[-1](scores).flatten()


def dcgan_weights(module):
    """Small normal weights, as the DCGAN paper starts from (https://arxiv.org/abs/1511.06434)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def on_device(network, mixed=False):
    """The network on the device. `mixed` allows it half precision, which a gradient penalty cannot bear."""
    print(f"{type(network).__name__}: {sum(weight.numel() for weight in network.parameters()):,} parameters")
    network.mixed = mixed
    # the layout that a GPU's convolutions are fastest in; a CPU's gain nothing by it
    return network.to(device, memory_format=torch.channels_last if device.type == "cuda" else torch.contiguous_format)
