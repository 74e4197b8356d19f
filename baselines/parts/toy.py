# %%
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
