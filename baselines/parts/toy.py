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


def check_step_of_D(step, probability=True, pair=toy_pair, batch=toy_batch):
    """Whatever the loss: D gets a fresh gradient and moves, G is left alone."""
    D, G = pair(probability)
    optimizer = torch.optim.SGD(D.parameters(), lr=0.0)
    step(D, G, optimizer, *batch())
    assert D.weight.grad is not None, "D has no gradient: call backward() on the loss"
    assert G.weight.grad is None, "G got a gradient in D's step: detach() the fakes"
    first = D.weight.grad.clone()
    step(D, G, optimizer, *batch())
    assert torch.allclose(D.weight.grad, first), "gradients pile up: zero_grad() before backward()"
    before = D.weight.item()
    step(D, G, torch.optim.SGD(D.parameters(), lr=0.1), *batch())
    assert abs(D.weight.item() - before) > 1e-6, "D did not move: call optimizer_D.step()"
    assert G.weight.item() == 0.5, "G moved in D's step"


def check_step_of_G(step, probability=True, pair=toy_pair, batch=toy_batch):
    """Whatever the loss: G gets a fresh gradient and moves towards fooling D, which is left alone."""
    D, G = pair(probability)
    _, *z = batch()  # and what belongs to z
    optimizer = torch.optim.SGD(G.parameters(), lr=0.0)
    step(D, G, optimizer, *z)
    assert G.weight.grad is not None, "G has no gradient: backward() through D, and no detach() here"
    first = G.weight.grad.clone()
    step(D, G, optimizer, *z)
    assert torch.allclose(G.weight.grad, first), "gradients pile up: zero_grad() before backward()"
    step(D, G, torch.optim.SGD(G.parameters(), lr=0.1), *z)
    assert G.weight.item() > 0.5 + 1e-6, "G did not move towards fooling D: call optimizer_G.step()"
    assert abs(D.weight.item() - 0.7) < 1e-6, "D moved in G's step: step optimizer_G only"
