"""Differentiable augmentation: D sees every picture in another light, at another place, with a part missing."""

import torch


def color(x):
    """Pictures [N, 3, H, W] of another brightness, saturation and contrast each."""

    def drawn():  # one number for each picture, uniform in 0 … 1
        return torch.rand(len(x), 1, 1, 1, device=x.device)

    x = x + drawn() - 0.5
    grey = x.mean(1, keepdim=True)  # [N, 1, H, W]
    x = grey + 2 * drawn() * (x - grey)
    middle = x.mean((1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
    return middle + (0.5 + drawn()) * (x - middle)


def translation(x, most=0.125):
    """Pictures moved by up to `most` of their size in both directions; what comes in is grey, 0."""

    def moves(size):
        """A matrix [N, 1, size, size] for each picture. Its row i takes what stands at i − shift, if that is there."""
        far = round(most * size)
        shift = torch.randint(-far, far + 1, (len(x), 1, 1, 1), device=x.device)
        places = torch.arange(size, device=x.device)
        return (places[:, None] - shift == places).to(x.dtype)

    return moves(x.shape[2]) @ x @ moves(x.shape[3]).mT


def cutout(x, part=0.5):
    """Pictures without a rectangle of `part` of their size, which is grey, 0. It may reach over the edge."""

    def outside(size):
        """Which of the places [N, size] lie outside."""
        length = int(part * size)
        begin = torch.randint(-(length // 2), size - length // 2, (len(x), 1), device=x.device)
        places = torch.arange(size, device=x.device)
        return (places < begin) | (places >= begin + length)

    kept = outside(x.shape[2])[:, None, :, None] | outside(x.shape[3])[:, None, None, :]  # [N, 1, H, W]
    return x * kept


WAYS = {"color": color, "translation": translation, "cutout": cutout}


def augmentation(names):
    """A function that takes pictures [N, 3, H, W] in −1 … 1 through the named ways, "color,translation,cutout" or some
    of them, each picture by numbers of its own. "" leaves them as they are. Gradients flow through it, also twice
    (Zhao et al., 2020, https://arxiv.org/abs/2006.10738). Raises SystemExit for a name that does not exist."""
    named = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := set(named) - set(WAYS):
        raise SystemExit(f"there is no augmentation {', '.join(sorted(unknown))}: use some of {', '.join(WAYS)}")

    def augment(pictures):
        for name in named:
            pictures = WAYS[name](pictures)
        return pictures

    return augment
