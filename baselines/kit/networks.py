"""The two networks: the DCGAN pair of the course's sample code."""

from torch import nn


class Generator(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64] in −1 … 1."""

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

    def forward(self, z):
        return self.grow(self.project(z).view(len(z), -1, 4, 4))


class Discriminator(nn.Module):
    """pictures [N, 3, 64, 64] -> probability of being real [N]; with probability=False any number [N].

    `layers` counts the convolutions before the last one, 4 or more. Those over 4 keep the size.
    """

    def __init__(self, width, layers=4, norm=nn.BatchNorm2d, probability=True, channels=3):
        super().__init__()
        blocks = []
        for stage in range(4):  # [N, 3, 64, 64] -> [N, w, 32, 32] -> [N, 2w, 16, 16] -> [N, 4w, 8, 8] -> [N, 8w, 4, 4]
            out = width * 2**stage
            blocks.append(self.block(channels, out, 4, 2, norm if stage else nn.Identity))  # the first has no norm
            channels = out
            for _ in range((layers - 1 - stage) // 4):
                blocks.append(self.block(channels, channels, 3, 1, norm))
        blocks.append(nn.Conv2d(channels, 1, 4))  # -> [N, 1, 1, 1]
        self.layers = nn.Sequential(*blocks, nn.Sigmoid() if probability else nn.Identity())
        self.apply(dcgan_weights)

    @staticmethod
    def block(channels_in, channels_out, kernel, stride, norm):
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding=1), norm(channels_out), nn.LeakyReLU(0.2)
        )

    def forward(self, pictures):
        scores = self.layers[:-1](pictures).float()  # [N, 1, 1, 1]; in half precision a Sigmoid jumps to 1 at 8
        return self.layers[-1](scores).flatten()


def dcgan_weights(module):
    """Small normal weights, as in the DCGAN paper (https://arxiv.org/abs/1511.06434)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def bce(probabilities, targets):
    """The mean binary cross-entropy, a scalar, of probabilities [N] and targets [N]. NaN if one is not in 0 … 1."""
    p_off, t_off = (one.clamp(0, 1) != one for one in (probabilities, targets))  # NaN too: nn.BCELoss stops the GPU
    known = nn.functional.binary_cross_entropy(probabilities.masked_fill(p_off, 0.5), targets.masked_fill(t_off, 0.5))
    return known.masked_fill(p_off.any() | t_off.any(), float("nan"))
