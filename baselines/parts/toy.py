# %%
def toy_pair(probability=True):
    """A D and a G of one weight each: D looks at the mean of a picture, G paints the mean of z all over one."""

    class ToyD(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.7, device=device))

        def forward(self, pictures):
            score = self.weight * pictures.flatten(1).mean(1) + 0.3
            return torch.sigmoid(score) if probability else score

    class ToyG(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5, device=device))

        def forward(self, z):
            return self.weight * z.mean(1).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)

    return ToyD(), ToyG()


def toy_batch():
    """8 grey pictures from black to white, and 8 rows of z."""
    real = torch.linspace(-1, 1, 8, device=device).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    return real, torch.linspace(0, 1, 8, device=device).view(-1, 1).expand(-1, settings.z_dim)


def check_loss_alone(loss):
    assert torch.is_tensor(loss), "return the loss as a tensor, not as a number"
    assert loss.dim() == 0, f"return one number, the mean over the batch, not shape {list(loss.shape)}"
    return loss.item()
