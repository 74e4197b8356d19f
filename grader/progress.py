"""How work tells how far it is: a function of (what, how many) gives one that is called with each number done."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int], Callable[[int], None]]


def silent(what: str, total: int) -> Callable[[int], None]:
    return lambda done: None
