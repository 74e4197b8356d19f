"""What the check cells share: tiny networks that show mistakes, and a watch over the gradients of a step."""

import copy
import inspect
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from kit.device import kernel_error

NOT_YET = "fill in the cell above"  # what a TODO says until it is written: torch raises NotImplementedError too
# what stops a solution
ERRORS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, StopIteration, NameError)
ON_DEVICE = "make new tensors on the device of those that you get, as ones_like, zeros_like and device=real.device do"
MADE_FIRST = "a layer is made first, then called: nn.ReLU()(x)"
NO_CALL = "a call has no (): write backward(), mean(), detach(), network.parameters()"
ANY_CHECK_SAYS = {  # what stops any solution, and what that means
    "method' object is not subscriptable": "a size is x.shape[0] or x.size(0), and a call has ()",
    **{"builtin_function_or_method": NO_CALL, "'method' object": NO_CALL},
    **{"on the same device": ON_DEVICE, "NVIDIA driver": ON_DEVICE, "compiled with CUDA": ON_DEVICE},
    "device-side assert": "a number out of range has stopped the GPU: restart the kernel. BCE takes probabilities and "
    "targets in 0 … 1, no scores; an index is at least 0, and less than the size",
    **{"ReLU' object": MADE_FIRST, "Softplus' object": MADE_FIRST},
    "Boolean value of Tensor": "is a loss class called at once? It is made first: nn.BCELoss()(p, target). Else: a "
    "tensor is neither true nor false, for `if` and Python's max() as well: compare with None, compare its norm, or "
    "take any() or all(); relu() and torch.where() take each number",
}
NOT_DEFINED = {  # names in code from elsewhere
    **{"F": "write nn.functional, as in nn.functional.relu(x)", "device": ON_DEVICE},
    **{"optim": "write torch.optim", "autograd": "write torch.autograd"},
}
THROUGH_D = "and let its gradient through D: no detach() of what D says, no zero_grad() between two backward()"
NO_INFERENCE = "leave out inference_mode(): D cannot learn from its pictures. detach() or no_grad() is enough"
TARGET_MISSING = "the loss wants a tensor as its target: ones_like or zeros_like of D's answers"
CHANGED = "modified by an inplace operation"  # says torch
IN_PLACE = "a method that ends in _, or += and the like, changes what backward() needs: make a new tensor"
CHANGED_AFTER = (
    "after the step D has other gradients than those that it used, and grad_norms.csv shows them: change none after "
    "step(), and call no second backward()"
)
NO_LIST = "a network is no list of weights: write network.parameters()"
TORCH_SAYS = {  # what stops a step, and what that means
    "does not require grad": "backward() finds no gradient: is there a detach(), no_grad() or item() around the loss?",
    "only for scalar outputs": "the loss is not one number: take the mean before backward()",
    "backward through the graph a second time": "backward() twice on one graph: add the losses, and call it once",
    "target size": "bce takes probabilities and targets of one shape, [N]: use ones_like or zeros_like",
    **{"has no attribute 'size'": TARGET_MISSING, "has no attribute 'clamp'": TARGET_MISSING},  # in bce: clamp
    "elements of target": "BCE takes targets in 0 … 1, and some are outside",
    "between 0 and 1": "BCE takes probabilities, 0 … 1, and these are scores",
    "found dtype": "bce wants targets of the type of p: use ones_like or zeros_like",
    "shapes cannot be multiplied": "G takes z, [N, z_dim]: take the z that you are given",
    "view size is not compatible": "weights may lie in another order: flatten() or reshape(-1), not view(-1), "
    "which parameters_to_vector() calls as well",
    "is invalid for input of size": "a size does not fit: take it from what you are given, as len(real) does",
    "'generator' object has no attribute": "parameters() is no tensor: go through it, for weight in D.parameters()",
    **{"'TinyD' object is not iterable": NO_LIST, "'TwoParts' object is not iterable": NO_LIST},
    "inference tensor": NO_INFERENCE,
    "leaf variable that requires grad": "change weights under no_grad(): with torch.no_grad(): weight.clamp_(…)",
}


@cache
def check_device():
    """Where checks run: on the CPU too if the card is too old, or full, of which get_device() has to tell."""
    return torch.device("cuda" if torch.cuda.is_available() and not kernel_error("cuda") else "cpu")


class TinyD(nn.Module):
    """pictures [N, 3, H, W] -> probability of being real [N], or any number [N]. It is small, and not linear."""

    def __init__(self, probability=True, channels=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, 4), nn.Tanh(), nn.Linear(4, 1))
        self.probability = probability

    def forward(self, pictures):
        shape, channels = [*pictures.shape], self.layers[0].in_features
        assert len(shape) == 4 and shape[1] == channels, f"D takes pictures, [N, {channels}, H, W], not {shape}"
        assert not pictures.is_inference(), NO_INFERENCE
        down, right = (torch.linspace(-0.4, 0.4, size, device=pictures.device) for size in shape[2:])
        # Turned or mirrored, pictures get another score.
        places = 1 + down.view(-1, 1) + right / 2  # [H, W], 1 on average
        score = self.layers((places * pictures).mean((2, 3))).squeeze(1)  # [N, channels] -> [N]
        return torch.sigmoid(score) if self.probability else score


class TinyG(nn.Module):
    """z [N, z_dim] -> pictures [N, 3, 64, 64] of one colour each, in −1 … 1."""

    def __init__(self, z_dim=7):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(z_dim, 3), nn.Tanh())

    def forward(self, z):
        return self.layers(z)[:, :, None, None].repeat(1, 1, 64, 64)


class Waves(nn.Module):
    """pictures [N, 3, 64, 64], or one alone, -> any number for each: a sum of tanh. No two pictures have one slope, not
    even x and −x."""

    def __init__(self):
        super().__init__()
        repeatable = torch.Generator().manual_seed(9)
        self.directions = nn.Parameter(torch.randn(4, 3 * 64 * 64, generator=repeatable) / 64)
        self.offsets = nn.Parameter(torch.tensor([0.2, -0.3, 0.1, 0.4]))
        self.heights = nn.Parameter(torch.tensor([0.9, -0.6, 0.5, 0.4]))

    def forward(self, pictures):
        maps = torch.tanh(pictures.flatten(-3) @ self.directions.T + self.offsets)  # [N, 12288] -> [N, 4]
        return maps @ self.heights  # [N]


def tiny_pair(probability=True, sign=1):
    """(D, G) with weights that are always the same, and of which no two are alike. They do not lie row by row, as those
    of convolutions on a GPU. `sign` multiplies D's scores."""
    D, G = TinyD(probability), TinyG()
    repeatable = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in [*D.parameters(), *G.parameters()]:
            weight.copy_(torch.randn(weight.shape, generator=repeatable))
            weight.data = weight.data.t().contiguous().t()
        for weight in D.layers[-1].parameters():
            weight.mul_(sign)
    return D.to(check_device()), G.to(check_device())


def tiny_batch():
    """Real pictures [6, 3, 64, 64] in −1 … 1, each of another brightness and contrast, and z [6, 7]. They are brighter
    to the right and to the bottom: turned, they are others."""
    repeatable = torch.Generator().manual_seed(6)
    real = torch.rand(6, 3, 64, 64, generator=repeatable) * torch.linspace(0.1, 1.2, 6).view(-1, 1, 1, 1)
    real = real + torch.linspace(-1, 0.4, 6).view(-1, 1, 1, 1) + torch.tensor([0.2, 0.0, -0.3]).view(3, 1, 1)
    slope = torch.linspace(-0.4, 0.4, 64)
    real = (real + slope.view(64, 1) + slope / 2).clamp(-1, 1)
    z = torch.randn(6, 7, generator=repeatable)
    return real.to(check_device()), z.to(check_device())


class WatchedSGD(torch.optim.SGD):
    """Plain gradient descent that remembers the gradients at each of its steps, and whether backward() made any."""

    def __init__(self, network, lr=0.3, called="optimizer"):
        super().__init__(network.parameters(), lr)
        self.network, self.lr, self.called = network, lr, called
        self.forget()
        for weight in network.parameters():
            weight.register_post_accumulate_grad_hook(self.notice)

    def forget(self):
        self.before = [weight.detach().clone() for weight in self.network.parameters()]
        self.seen, self.arrived, self.versions_before = [], False, self.versions()

    def versions(self):
        """How often each weight has been changed in place, as autograd counts."""
        return [weight._version for weight in self.network.parameters()]

    def notice(self, weight):
        self.arrived = True

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.seen.append([None if w.grad is None else w.grad.clone() for w in self.network.parameters()])
        super().step()
        return loss

    def moved_alone(self):
        """Whether the weights are where its one step, at its own learning rate, brings them."""
        steps = zip(self.before, self.seen[0], strict=True)
        expected = [was if g is None else was - self.lr * g for was, g in steps]
        return are_close([*self.network.parameters()], expected, 1e-5)


def right_gradients(loss, network):
    """The gradient of a loss for each weight of a network; 0 for what the loss does not depend on."""
    weights = [*network.parameters()]
    if not loss.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    with explained("its gradient cannot be taken"):
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


@contextmanager
def errors_in_words(say, meanings):
    """Turns an error inside of a solution into a line: the hint of `meanings`, {a part of what the error says: hint},
    or else what say(the error's type and first line) gives. So does what it leaves behind for all that comes after."""
    try:
        with nothing_left_behind():
            yield
    except (*ERRORS, AssertionError) as error:  # torch raises AssertionError where it has no CUDA
        said = str(error)
        if isinstance(error, NotImplementedError) and (not said or NOT_YET in said):  # nothing is written yet
            raise
        for words, hint in (meanings | ANY_CHECK_SAYS).items():
            if words.lower() in said.lower():
                raise AssertionError(hint) from None
        if type(error) is NameError:
            instead = NOT_DEFINED.get(
                error.name, "take what the function gets, define it here, or run the cell that does"
            )
            raise AssertionError(f"{error.name} is not defined: {instead}") from None
        if isinstance(error, AssertionError):  # a check's own words
            assert said, (
                "an assert of yours stops it: here are small batches, odd sizes and other numbers. Leave it out"
            )
            raise
        first_line = said.partition("\n")[0]
        raise AssertionError(say(f"{type(error).__name__}: {first_line}".rstrip(": "))) from error


@contextmanager
def nothing_left_behind():
    """Undoes a solution's set_grad_enabled() and set_default_dtype(), for which right solutions after it would fail,
    and says so; says too that it seeds the random numbers."""
    enabled, dtype, seed = torch.is_grad_enabled(), torch.get_default_dtype(), torch.initial_seed()
    try:
        yield
    finally:
        left, retyped = torch.is_grad_enabled() != enabled, torch.get_default_dtype() != dtype
        seeded = torch.initial_seed() != seed
        torch.set_grad_enabled(enabled)
        torch.set_default_dtype(dtype)
        assert not left, "set_grad_enabled() holds on after the function: write `with torch.no_grad():`"
        assert not retyped, "leave out set_default_dtype(): it holds on after the function, for all new tensors"
        assert not seeded, "leave out manual_seed() and seed(): training would get the same z at every step"


def explained(hint, meanings=None):
    """Turns an error inside of a solution into a hint, which says what the shapes should be, or that of `meanings`."""
    whatever_the_shapes = {
        "inference tensor": "leave out inference_mode(): no gradient can flow through what it makes. detach() or "
        "no_grad() is enough",
        "leaf variable that requires grad": "this changes a tensor in place, for which a gradient is asked: make a new "
        "tensor; change weights under torch.no_grad()",
        CHANGED: IN_PLACE,
    }
    return errors_in_words(
        lambda error: f"{hint} (your code stopped with: {error})", whatever_the_shapes | (meanings or {})
    )


def check_gradients(output, right, inputs):
    """Compares the gradients of two outputs, equal in value, for each of the inputs, {name: tensor with gradient}."""
    lost = "is there a detach(), no_grad() or item() on the way?"
    assert output.requires_grad, f"no gradient comes back from the output: {lost}"
    found, expected = (weighted_slopes(out, [*inputs.values()]) for out in (output, right))
    for name, gradient, right_one in zip(inputs, found, expected, strict=True):
        assert has_values([gradient]) or not has_values([right_one]), f"{name} gets no gradient: {lost}"
    for name, gradient, right_one in zip(inputs, found, expected, strict=True):
        assert are_close([gradient], [right_one]), (
            f"the output is right, but the gradient for {name} is not: its norm is {gradient.norm():.4f}, and should "
            f"be {right_one.norm():.4f}; is a part of the formula detached?"
        )


@contextmanager
def stand_ins(function, **others):
    """Lets a function call these others in place of what the notebook has by their names: a check then tells of one
    TODO alone, whatever the TODOs that it builds on are like."""
    function = inspect.unwrap(function)
    while hasattr(function, "func"):  # of functools.partial
        function = function.func
    kind = type(function)  # of an object that is called; that of a network calls its forward()
    names = getattr(function, "__globals__", None) or getattr(kind, "forward", kind.__call__).__globals__
    before = {name: names[name] for name in others if name in names}
    for name, other in others.items():
        other.__qualname__ = name  # which Python names when its arguments do not fit
    names.update(others)
    try:
        yield
    finally:
        for name in others:
            del names[name]
        names.update(before)


def check_scalar(loss):
    """The value of a loss that a step returned."""
    assert torch.is_tensor(loss), f"return the loss as a tensor, not as {type(loss).__name__}"
    assert loss.dim() == 0, f"return one number, the mean over the batch, not shape {list(loss.shape)}"
    return loss.item()


@contextmanager
def modes_of(network):
    """Yields a set that fills with the modes in which a network answers: True for train(), False for eval()."""
    modes = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: modes.add(module.training))
        for module in network.modules()
    ]
    try:
        yield modes
    finally:
        for hook in hooks:
            hook.remove()


def check_stepped(optimizer, expected, trains, other):
    """Checks that backward() reached the network that a step trains, and that its optimizer then took one step."""
    called = optimizer.called
    reached = any(weight.grad is not None for weight in optimizer.network.parameters())
    if not reached and not any(map(has_values, optimizer.seen)):
        assert not optimizer.arrived, f"{called} has no gradient: is there a zero_grad() after backward()?"
        astray = any(weight.grad is not None for weight in other.parameters())
        assert not astray, f"backward() does not reach {trains}: is there a detach() or no_grad() between?"
        raise AssertionError(
            f"{trains} has no gradient: call backward() on the loss, and put no torch.tensor() or "
            "requires_grad_() around it"
        )
    assert optimizer.seen, f"{called} made no step: call {called}.step() after backward()"
    assert len(optimizer.seen) == 1, f"{called}.step() was called {len(optimizer.seen)} times: once is right"
    assert any(gradient is not None for gradient in optimizer.seen[0]), (
        f"{called}.step() comes before backward(): it has no gradient yet"
    )
    assert has_values(optimizer.seen[0]) or not has_values(expected), (
        f"at {called}.step() all gradients are 0: is there a zero_grad() after backward(), or a clamp() of the loss? "
        "Or is it a difference of two equal things?"
    )


def check_wrong_gradient(optimizer, expected, previous, scales, returned, value, wrong):
    """Says why an optimizer's step had another gradient than the expected one. `previous` is that of the step before,
    and `wrong` is {hint: (gradients, value of the loss)}."""
    found = optimizer.seen[0]
    length, right_length = map(norm_over_weights, (found, expected))
    assert length == length, (
        "the gradient is NaN: is there a log or a root of 0? And bce takes the probabilities first, then the targets"
    )
    piled_up = previous is not None and any(
        are_close(found, [p + s * e for p, e in zip(previous, expected, strict=True)]) for s in scales
    )
    assert not piled_up, "gradients pile up from step to step: call zero_grad() before backward()"
    for hint, (gradients, _) in wrong.items():
        assert not any(are_close(found, [s * g for g in gradients]) for s in scales), hint
    factor = length / max(right_length, 1e-9)
    assert length < 1e-5 or not are_close(found, [-factor * e for e in expected]), (
        "the sign is wrong: this climbs where it should descend"
    )
    too_long = length > 1e-5 and abs(factor - 1) > 0.01 and are_close(found, [factor * e for e in expected])
    for hint, (_, wrong_value) in wrong.items():
        if not too_long and abs(wrong_value - value) > 1e-4:  # else the mistake is in the gradient alone
            assert not any(abs(returned - s * wrong_value) < 1e-4 for s in scales), hint
    assert not too_long, (
        f"the gradient at {optimizer.called}.step() is {factor:.4g} times as long as it should be: look for a factor, "
        "a sum or a norm that is not as asked"
    )
    assert not are_close(found, expected, 0.03), (
        f"the gradient at {optimizer.called}.step() is nearly right: is a target or a weight a little off, as 0.99 "
        "for 1? Are the pictures changed? Is there half precision (autocast), or too large a number in a log or a root?"
    )
    assert abs(factor - 1) > 0.01, (
        f"the gradient at {optimizer.called}.step() is as long as it should be, but points another way; the loss is "
        f"{returned:.4f}, and should be {value:.4f}"
    )
    raise AssertionError(
        f"the gradient at {optimizer.called}.step() is not that of the loss: its norm is {length:.4f}, and should be "
        f"{right_length:.4f}; the loss is {returned:.4f}, and should be {value:.4f}"
    )


def check_nothing_else(optimizer, trains, other, other_before, clips_weights):
    """Checks that a step left alone all but the weights, and that these moved by its optimizer."""
    called, letter = optimizer.called, "G" if trains == "D" else "D"
    assert all(map(torch.equal, other_before.parameters(), other.parameters())), (
        f"{letter} moved in {trains}'s step: step {called} only"
    )
    assert all(group["lr"] == optimizer.lr for group in optimizer.param_groups), (
        f"the step changes the learning rate of {called}: leave it as it is"
    )
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert [*map(id, trained)] == [*map(id, optimizer.network.parameters())], (
        f"{trains} has new parameters, which {called} does not know: change the old ones in place"
    )
    assert clips_weights or optimizer.moved_alone(), (
        f"the weights of {trains} moved without {called}: leave the weights alone"
    )
    gradients = zip(optimizer.seen[0], optimizer.before, strict=True)
    assert all(g is None or 1 in g.shape or g.stride() == weight.stride() for g, weight in gradients), (
        "write into weight.grad with copy_(): a new tensor may have another layout in memory, and "
        "then training stops on a GPU"
    )


def check_step(
    step,
    right_loss,
    mistakes,
    trains="D",
    pair=tiny_pair,
    batch=tiny_batch,
    scales=(1.0,),
    clips_weights=False,
    optimizer_name=None,
):
    """Checks a step by what it does to the weights. Returns remarks on what is right, but could be better.

    step(D, G, optimizer, *arguments) trains D or G, as `trains` says. Its gradients are compared with those of
    right_loss(D, G, *arguments), times one of `scales`, at three steps in a row. When they differ, `mistakes`, {hint:
    loss like right_loss}, tells why. pair() makes (D, G), and batch() the arguments: (real, z), for G only z. Nothing
    but the optimizer may move the weights, unless the step `clips_weights`. Hints call the optimizer `optimizer_name`,
    or else optimizer_D or optimizer_G.
    """
    with errors_in_words(str, {}):  # a GPU that a step has stopped stays so
        D, G = pair()
    network, other = (D, G) if trains == "D" else (G, D)
    optimizer = WatchedSGD(network, called=optimizer_name or f"optimizer_{trains}")

    def say(error):
        if CHANGED not in error:
            return f"the step stops with {error}"
        if optimizer.seen:
            return "optimizer.step() comes before a backward() that needs the old weights"
        if optimizer.versions() != optimizer.versions_before:
            return "weights change between the loss and its backward(): change them after optimizer.step()"
        return IN_PLACE

    arguments = batch() if trains == "D" else batch()[1:]
    previous = None
    for _ in range(3):
        arguments = [  # other ones at each step: who keeps the first ones trains on them for ever
            0.9 * one.detach() if torch.is_tensor(one) and one.is_floating_point() else one for one in arguments
        ]
        given = copy.deepcopy(arguments)
        loss_before = right_loss(D, G, *arguments)
        expected, value = right_gradients(loss_before, network), loss_before.item()
        before = copy.deepcopy((D, G))
        network_before, other_before = before if trains == "D" else before[::-1]
        optimizer.forget()
        with modes_of(D) as modes_of_D, modes_of(G) as modes_of_G, errors_in_words(say, TORCH_SAYS):
            returned = check_scalar(step(D, G, optimizer, *arguments))
        assert returned == returned, (
            "the loss is NaN: log and sqrt take no number below 0, and bce takes probabilities and targets in 0 … 1, "
            "no scores"
        )
        assert all(torch.equal(one, was) for one, was in zip(arguments, given, strict=True) if torch.is_tensor(one)), (
            "it changes what it is given: make a new tensor"
        )
        check_stepped(optimizer, expected, trains, other)
        found = optimizer.seen[0]
        scale = next((s for s in scales if are_close(found, [s * e for e in expected])), None)
        if scale is None:
            losses = {hint: loss(*before, *arguments) for hint, loss in mistakes.items()}
            wrong = {hint: (right_gradients(loss, network_before), loss.item()) for hint, loss in losses.items()}
            check_wrong_gradient(optimizer, expected, previous, scales, returned, value, wrong)
        assert abs(returned - scale * value) < 1e-3 * max(1, abs(scale * value)), (
            f"the gradient is right, but {returned:.4f} was returned instead of the loss, {scale * value:.4f}"
        )
        check_nothing_else(optimizer, trains, other, other_before, clips_weights)
        for name, one, modes in (("D", D, modes_of_D), ("G", G, modes_of_G)):
            assert one.training, f"{name} stays in eval() after the step: leave out eval()"
            assert False not in modes, f"{name} is in eval() while it answers: leave it in train()"
            if trains == "D" or one is G:  # the notebook freezes D itself for G's step
                assert all(weight.requires_grad for weight in one.parameters()), (
                    f"the weights of {name} stay frozen after the step: call {name}.requires_grad_(True) again"
                )
        left, remarks = [weight.grad for weight in network.parameters()], []
        if trains == "D":
            if all(g is None for g in left):
                remarks += [
                    "grad_norms.csv stays empty: zero_grad() at the end takes the gradients. Call it first, and only "
                    "there"
                ]
            elif not has_values(left):
                raise AssertionError(
                    "after the step all gradients are 0, and so is grad_norms.csv: call zero_grad() first, and only "
                    "there"
                )
            assert not has_values(left) or are_close(left, found), CHANGED_AFTER
            if has_values(weight.grad for weight in other.parameters()):
                remarks += ["G got gradients in D's step: detach() the fakes, which is faster"]
                other.zero_grad()  # as G's own step does before its backward()
        previous = found
    if trains == "G":
        for weight in network.parameters():
            weight.grad = torch.full_like(weight, 1e4)  # as D's step may leave there: a gradient of another size
        optimizer.forget()
        step(D, G, optimizer, *arguments)
        if norm_over_weights(optimizer.seen[0]) > 1e4:
            remarks += ["zero_grad() at the end alone leaves what D's step adds to G's gradients. Call it first"]
    return remarks


def output_of(function, *inputs, shape=None, meanings=None):
    """What a function returns for its inputs. Errors, and a tensor of another shape than `shape`, are told in a line
    that names the inputs' shapes, or that `meanings` has for them, as `errors_in_words` wants it."""
    given = ", ".join(str([*one.shape]) for one in inputs if torch.is_tensor(one))

    def say(error):
        return f"for {given} it stops with {error}" if given else f"it stops with {error}"

    with errors_in_words(say, {CHANGED: IN_PLACE, "leaf variable that requires grad": IN_PLACE} | (meanings or {})):
        out = function(*inputs)
    assert out is not None, "it returns nothing: is the return missing?"
    if shape is not None:
        assert torch.is_tensor(out), f"it returns no tensor, but {type(out).__name__}"
        assert out.shape == shape, f"{given} became {[*out.shape]}, not {[*shape]}"
    return out


def weighted_slopes(out, inputs):
    """The gradient for each input of a sum over `out` in which no two numbers have the same weight."""
    if not out.requires_grad:
        return [torch.zeros_like(one) for one in inputs]
    weights = torch.linspace(-1.0, 2.0, out.numel(), device=out.device).view(out.shape)
    with explained("its gradient cannot be taken"):
        found = torch.autograd.grad((out * weights).sum(), inputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(one) if slope is None else slope for one, slope in zip(inputs, found, strict=True)]


def check_function(function, right, inputs, mistakes):
    """Checks that a function of tensors has the values of `right`, and its gradient for each input that wants one.
    When the values differ, `mistakes`, {hint: function like right}, tells why."""
    expected = right(*inputs)
    before = [one.detach().clone() if torch.is_tensor(one) else one for one in inputs]
    out = output_of(function, *inputs, shape=expected.shape)
    for one, was in zip(inputs, before, strict=True):
        assert not torch.is_tensor(one) or torch.equal(one, was), "it changes what it is given: make a new tensor"
    if not are_close([out], [expected]):
        for hint, wrong in mistakes.items():
            assert not are_close([out], [wrong(*inputs)]), hint
        apart = ~((out - expected).abs() <= 1e-3 * expected.abs())  # NaN too; the first of all may be right
        first, wanted = (", ".join(f"{value:.4g}" for value in one[apart][:3].tolist()) for one in (out, expected))
        raise AssertionError(f"the numbers differ from the formula's: the first are {first}, and should be {wanted}")
    variables = [one for one in inputs if torch.is_tensor(one) and one.requires_grad]
    found, wanted = weighted_slopes(out, variables), weighted_slopes(expected, variables)
    assert are_close(found, wanted), (
        f"the values are right, but their gradient is not: its norm is {norm_over_weights(found):.4f}, and should be "
        f"{norm_over_weights(wanted):.4f}. Is there a detach(), .data, item() or no_grad()?"
    )


def check_critic(make, settings):
    """Checks what every critic needs: any number per picture, settings.layers, settings.width. Returns the critic."""
    a_class = "the critic cannot be made: Discriminator wants a class or a function as its norm, no layer"
    with explained("the critic cannot be made", {"not callable": a_class, "has no attribute 'dim'": a_class}):
        critic = make(settings)
    assert isinstance(critic, nn.Module), f"return the network, not {type(critic).__name__}"
    assert all(module.training for module in critic.modules()) and all(
        weight.requires_grad for weight in critic.parameters()
    ), "the critic is in eval(), or frozen: return it as Discriminator makes it, it has to learn"
    critic, pictures = critic.to(check_device()), tiny_batch()[0]
    scores = output_of(critic, pictures, shape=pictures.shape[:1])
    assert are_close([critic(pictures)], [scores]), "it answers differently each time: leave Dropout and noise out"
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == settings.layers + 1, (
        f"layers is {settings.layers}, but before the last convolution there are {len(convolutions) - 1}: pass "
        "settings.layers on"
    )
    first, last = convolutions[0].out_channels, convolutions[-1]
    assert first == settings.width, (
        f"width is {settings.width}, but the first layer has {first}: pass settings.width on"
    )
    large = []
    with torch.no_grad():
        for factor in (1024, -1, 1 / 1024, -1):  # exact, in whatever precision convolutions are
            for weight in last.parameters():
                weight.mul_(factor)
            large.append(critic(pictures))
    larger = torch.cat(large[:2])
    if not are_close([larger], [torch.cat([1024 * scores, -1024 * scores])]):
        assert larger.min() < 0 or larger.max() > 1, (
            "the Sigmoid is still in: its gradients vanish, and a distance is no probability. Pass probability=False"
        )
        raise AssertionError("something changes what the last convolution gives: return it as it is")
    given = []
    with last.register_forward_hook(lambda layer, inputs, out: given.append(out)):
        scores = critic(pictures)
    assert given[-1].numel() == scores.numel() and are_close([scores], [given[-1].view_as(scores)]), (
        "the scores are not what the last convolution gives: return it as it is"
    )
    return critic


def norm_over_weights(gradients):
    """The L2 norm of the gradients of all weights together."""
    return sum(g.square().sum() for g in gradients if g is not None).sqrt().item()


def done(name, remarks=()):
    """What a check says in the end."""
    print("\n".join([f"{name}: done", *(f"  remark: {remark}" for remark in remarks)]))
