"""How work tells how far it is: a function of (what, how many) gives one that is called with each number done."""

from __future__ import annotations

from collections.abc import Callable

Done = Callable[[int], None]
Progress = Callable[[str, int], Done]


def unheard(count: int) -> None:
    """A Done that tells nobody."""


def silent(what: str, total: int) -> Done:
    """A Progress that tells nobody."""
    return unheard
