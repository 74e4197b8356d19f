"""What the check cells share: tiny networks that show mistakes, and a watch over the gradients of a step."""

import torch
from torch import nn

CHECK_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TinyD(nn.Module):
    """pictures [N, 3, H, W] -> probability of being real [N], or any number [N]. It is small, and not linear."""

    def __init__(self, probability=True, channels=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, 4), nn.Tanh(), nn.Linear(4, 1))
        self.probability = probability

    def forward(self, pictures):
        score = self.layers(pictures.mean((2, 3))).squeeze(1)  # [N, channels] -> [N]
        return torch.sigmoid(score) if self.probability else score


class TinyG(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64] of one colour each, in −1 … 1."""

    def __init__(self, z_dim=7):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(z_dim, 3), nn.Tanh())

    def forward(self, z):
        return self.layers(z)[:, :, None, None].expand(-1, -1, 64, 64)


def tiny_pair(probability=True):
    """(D, G) with weights that are always the same, and of which no two are alike."""
    D, G = TinyD(probability), TinyG()
    repeatable = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in [*D.parameters(), *G.parameters()]:
            weight.copy_(torch.randn(weight.shape, generator=repeatable))
    return D.to(CHECK_DEVICE), G.to(CHECK_DEVICE)


def tiny_batch():
    """Real pictures [6, 3, 64, 64], each of another brightness and contrast, and z [6, 7]."""
    repeatable = torch.Generator().manual_seed(6)
    real = torch.rand(6, 3, 64, 64, generator=repeatable) * torch.linspace(0.1, 1.2, 6).view(-1, 1, 1, 1)
    real = real + torch.linspace(-1, 0.4, 6).view(-1, 1, 1, 1) + torch.tensor([0.2, 0.0, -0.3]).view(3, 1, 1)
    z = torch.randn(6, 7, generator=repeatable)
    return real.to(CHECK_DEVICE), z.to(CHECK_DEVICE)


class WatchedSGD(torch.optim.SGD):
    """Plain gradient descent that remembers the gradients at each of its steps."""

    def __init__(self, network, lr=0.3):
        super().__init__(network.parameters(), lr)
        self.network, self.seen = network, []

    def step(self, closure=None):
        self.seen.append([None if w.grad is None else w.grad.clone() for w in self.network.parameters()])
        return super().step(closure)


def gradients_of(loss, network):
    """The gradient of a loss for each weight of a network; 0 for what the loss does not depend on."""
    weights = [*network.parameters()]
    if not loss.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]


def are_close(found, expected, tolerance=1e-3):
    """Whether two lists of tensors are alike: their difference is small beside `expected`."""
    found = [torch.zeros_like(e) if f is None else f for f, e in zip(found, expected, strict=True)]
    difference = sum((f - e).square().sum() for f, e in zip(found, expected, strict=True)).sqrt()
    return bool(difference <= tolerance * sum(e.square().sum() for e in expected).sqrt() + 1e-7)


def has_values(gradients):
    """Whether any gradient is there and not 0."""
    return any(gradient is not None and gradient.any() for gradient in gradients)


def check_scalar(loss):
    """The value of a loss that a step returned."""
    assert torch.is_tensor(loss), f"return the loss as a tensor, not as {type(loss).__name__}"
    assert loss.dim() == 0, f"return one number, the mean over the batch, not shape {list(loss.shape)}"
    return loss.item()


def check_step(step, right_loss, mistakes, trains="D", pair=tiny_pair, batch=tiny_batch, scales=(1.0,)):
    """Checks a step by what it does to the weights. Returns remarks on what is right, but could be better.

    step(D, G, optimizer, *arguments) trains D or G, as `trains` says. Its gradients are compared with those of
    right_loss(D, G, *arguments), times one of `scales`, at three steps in a row. When they differ, `mistakes`, {hint:
    loss like right_loss}, tells why. pair() makes (D, G), and batch() the arguments: (real, z), for G only z.
    """
    remarks = []
    D, G = pair()
    network, other, letter = (D, G, "G") if trains == "D" else (G, D, "D")
    optimizer = WatchedSGD(network)
    arguments = batch() if trains == "D" else batch()[1:]
    previous = None
    for _ in range(3):
        loss_before = right_loss(D, G, *arguments)
        expected, value = gradients_of(loss_before, network), loss_before.item()
        wrong = {hint: loss(D, G, *arguments) for hint, loss in mistakes.items()}
        wrong = {hint: (gradients_of(loss, network), loss.item()) for hint, loss in wrong.items()}
        others_before = [weight.detach().clone() for weight in other.parameters()]
        optimizer.seen.clear()
        try:
            returned = check_scalar(step(D, G, optimizer, *arguments))
        except RuntimeError as error:
            if "does not require grad" in str(error):
                hint = "backward() finds no gradient: is there a detach(), no_grad() or item() around the loss?"
                raise AssertionError(hint) from None
            raise

        if not any(weight.grad is not None for weight in network.parameters()) and not any(
            map(has_values, optimizer.seen)
        ):
            reached = any(weight.grad is not None for weight in other.parameters())
            assert not reached, f"backward() does not reach {trains}: is there a detach() or no_grad() between?"
            raise AssertionError(f"{trains} has no gradient: call backward() on the loss")
        assert optimizer.seen, f"{trains} did not move: call optimizer_{trains}.step() after backward()"
        assert len(optimizer.seen) == 1, (
            f"optimizer_{trains}.step() was called {len(optimizer.seen)} times: once is right"
        )
        found = optimizer.seen[0]
        assert any(gradient is not None for gradient in found), (
            f"optimizer_{trains}.step() comes before backward(): it has no gradient yet"
        )
        assert has_values(found) or not has_values(expected), (
            f"at optimizer_{trains}.step() all gradients are 0: is there a zero_grad() after backward()?"
        )
        scale = next((s for s in scales if are_close(found, [s * e for e in expected])), None)
        if scale is None:
            if previous is not None and are_close(
                found, [p + scales[0] * e for p, e in zip(previous, expected, strict=True)]
            ):
                raise AssertionError("gradients pile up from step to step: call zero_grad() before backward()")
            for hint, (gradients, _) in wrong.items():
                assert not any(are_close(found, [s * g for g in gradients]) for s in scales), hint
            assert not any(are_close(found, [-s * e for e in expected]) for s in scales), (
                "the sign is wrong: this climbs where it should descend"
            )
            for hint, (_, wrong_value) in wrong.items():
                assert not any(abs(returned - s * wrong_value) < 1e-4 for s in scales), hint
            raise AssertionError(
                f"the gradient at optimizer_{trains}.step() is not that of the loss: its norm is "
                f"{norm_of(found):.4f}, and should be {norm_of(expected):.4f}; the loss is {returned:.4f}, and should "
                f"be {value:.4f}"
            )
        assert abs(returned - scale * value) < 1e-3 * max(1, abs(scale * value)), (
            f"the gradient is right, but {returned:.4f} was returned instead of the loss, {scale * value:.4f}"
        )
        assert all(torch.equal(a, b) for a, b in zip(others_before, other.parameters(), strict=True)), (
            f"{letter} moved in {trains}'s step: step optimizer_{trains} only"
        )
        if trains == "D":
            left = [weight.grad for weight in network.parameters()]
            if all(g is None for g in left):
                remarks = ["grad_norms.csv stays empty: zero_grad() at the end takes the gradients. Call it first"]
            elif not has_values(left):
                raise AssertionError(
                    "after the step all gradients are 0, and so is grad_norms.csv: call zero_grad() first"
                )
            if has_values(weight.grad for weight in other.parameters()):
                remarks = [*remarks[:1], "G got gradients that nobody uses: detach() the fakes, which is faster"]
                other.zero_grad()  # as G's own step does before its backward()
        previous = found
    return remarks


def norm_of(gradients):
    return sum(g.square().sum() for g in gradients if g is not None).sqrt().item()


def done(name, remarks=()):
    """What a check says in the end."""
    print("\n".join([f"{name}: done", *(f"  remark: {remark}" for remark in remarks)]))
