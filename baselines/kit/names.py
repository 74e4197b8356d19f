"""Names of the folded cells: what takes one is told before it stops the training."""

import inspect
from types import ModuleType

KIT_NAMES = {}  # {name: what the folded cells of a notebook mean by it}: elsewhere nobody can take one


def remember(space, names):
    """Keeps what `space`, the notebook's globals(), has under each of the names, which blanks part."""
    KIT_NAMES.update((name, space[name]) for name in names.split())


def name_taken(space):
    """A line about a name of the folded cells that means something else in `space`, the notebook's globals(), or ""."""
    for name, ours in KIT_NAMES.items():
        if not is_of_kit(space.get(name), ours):
            return (
                f"the folded cells use the name `{name}`, and your code gives it another meaning: take another name, "
                "restart the kernel, and run all"
            )
    return ""


def is_of_kit(thing, ours):
    """Whether a thing is our module, function or class, or was made by the same source: a cell may run again. A
    constant of ours always is."""
    if thing is ours or not callable(ours):
        return thing is ours or not isinstance(ours, ModuleType)
    return made_of(thing) == made_of(ours)


def made_of(thing):
    """What two functions or classes of one source have in common."""
    code = getattr(inspect.unwrap(thing), "__code__", None)
    inside = sorted(vars(thing)) if isinstance(thing, type) else code and (code.co_varnames, code.co_names)
    return type(thing), getattr(thing, "__qualname__", ""), getattr(thing, "__module__", ""), inside
