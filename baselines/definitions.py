"""Takes single functions, classes and constants out of a master or a module of kit, and runs nothing else of it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from grader.filled_in import bound_names, looked_up

BASELINES = Path(__file__).resolve().parent


def masters() -> list[Path]:
    """The masters of all notebooks, in their order."""
    return sorted(BASELINES.glob("[0-9][0-9]_*.py"))


def definitions(path: Path, *names: str) -> dict:
    """{name: what a file defines under it at its top level}, with all that it needs defined beside it.

    What kit defines is taken out of kit in the same way, so that kit need not be importable. Statements that define
    and change none of it, as cells that train, are not executed. Raises KeyError for a name that the file does not
    define.
    """
    space = {"__name__": path.stem}
    _define(path, names, space)
    return {name: space[name] for name in names}


@cache
def definition(path: Path, name: str):
    """What a file defines under one name, as `definitions` takes it out; the same each time."""
    return definitions(path, name)[name]


def _define(path: Path, names: tuple[str, ...], space: dict) -> None:
    there, wanted, waiting = _statements(path), [], list(names)
    while waiting:
        name = waiting.pop()
        for statement in [] if name in space else there.pop(name, []):
            if isinstance(statement, ast.ImportFrom) and statement.module.startswith("kit."):
                _define(BASELINES / f"{statement.module.replace('.', '/')}.py", (name,), space)
            elif statement not in wanted:
                wanted.append(statement)
                waiting += looked_up(ast.unparse(statement))
    wanted.sort(key=lambda statement: statement.lineno)
    exec(compile(ast.Module(wanted, []), str(path), "exec", dont_inherit=True), space)  # not this file's __future__


def _statements(path: Path) -> dict[str, list[ast.stmt]]:
    """The statements at the top level of a file that define, import or change each name."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        for name in bound_names(statement):
            found.setdefault(name, []).append(statement)
    return found
