"""What a notebook of the kit takes of a student's: the TODOs as they are filled in, with what they call."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator

ROUND = {"__globals__", "globals", "builtins", "__builtins__", "sys.modules"}  # ways round the kit's names
BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)  # statements, and what holds some
LEFT_OUT = f"left out: the kit takes no {', '.join(sorted(ROUND))} from a notebook"

Statement = tuple[set[str], str]  # the names that it binds, and the statement itself


def filled_in(kit: list[tuple[str, str]], sources: list[str]) -> list[str]:
    """The kit's cells, with what the student's define: the TODOs, and names that the kit does not know.

    Left out is what plainly reaches round these names. Code in a TODO can change the checks in other ways too.
    """
    bound = {key: {n for s in statements(source) or [] for n in bound_names(s)} for key, source in kit}
    todos = {key: names for key, names in bound.items() if key.startswith("todo-")}
    wanted = set().union(*todos.values())
    known = {name for key, names in bound.items() if key not in todos for name in names}
    known -= {name for key, source in kit if key in todos for name in wanted if defines(source, name)}
    own, invalid = _defined(sources, wanted, known)
    cells = []
    for key, source in kit:
        filled = _filled(todos[key], own, invalid, wanted, known) if key in todos else []
        cells += filled or [source]
    return cells


def _defined(sources: list[str], wanted: set[str], known: set[str]) -> tuple[list[Statement], dict[str, str]]:
    """What a student's cells define, in order, but for what the kit has `known`; and of the TODOs `wanted` those that
    cannot be had as they are written, each with what stands in its place."""
    own, invalid = [], {}
    for source in sources:
        body = statements(source)
        if body is None:  # it stands for the TODOs that it was to define, and says what is wrong
            invalid |= {name: source for name in wanted if defines(source, name)}
        for statement in _one_by_one(body or []):
            # for step in …: fills no TODO in, and one over a name of the kit may change what a TODO uses
            names = bound_names(statement) - (_run_through(statement) & (wanted | known))
            if _goes_round(statement):
                invalid |= {name: _left_out(name) for name in names & wanted}
                own += [({name}, _left_out(name)) for name in names - wanted - known - {"*"}]
            elif names and not names & known:
                own.append((names, ast.unparse(statement)))
                if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                    invalid.pop(statement.name, None)  # written again
    return own, invalid


def _filled(
    todos: set[str], own: list[Statement], invalid: dict[str, str], wanted: set[str], known: set[str]
) -> list[str]:
    """What takes the place of the kit's cell that defines these `todos`: cells with the student's own and all that they
    use, in the student's order. Empty where the student has none."""
    helpers = [(names, text) for names, text in own if not names & wanted]
    written = [text for names, text in own if names & todos]
    used = _used(written, helpers)
    all_used = set().union(*map(looked_up, [*written, *(text for _, text in used)]))
    needed = sorted(all_used - known - (wanted - todos) - {*dir(builtins)})
    before = max((i for i, (names, _) in enumerate(own) if names & todos), default=0)
    parts = [
        _narrowed(text, needed) if "*" in names and not names & todos else text
        for i, (names, text) in enumerate(own)
        if names & todos or (names, text) in used or ("*" in names and not names & wanted and needed and i < before)
    ]
    places = [i for i, text in enumerate(parts) if text in written] or [len(parts)]
    first, after = places[0], places[-1] + 1
    broken = {invalid[name] for name in todos & {*invalid}}
    filled = "\n".join([*parts[first:after], *broken])
    return [*parts[:first], filled, *parts[after:]] if filled else []


def statements(source: str) -> list[ast.stmt] | None:
    """The top-level statements of a cell, its magics included; None where it is not Python, or nested too deep."""
    try:
        tree = parsed(source)
        ast.unparse(tree)  # it gives up earlier
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree.body


def parsed(source: str) -> ast.Module:
    """The syntax tree of a cell; its magics are calls. Raises what ast.parse does."""
    from IPython.core.inputtransformer2 import TransformerManager

    return ast.parse(TransformerManager().transform_cell(source))


def bound_names(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement binds or changes; of a call, as in table.append(1), what it is called on."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return set().union(*map(_changed, targets))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        return _changed(function) if isinstance(function, ast.Attribute) else set()
    return set().union(_run_through(statement), *map(bound_names, _inside(statement)))


def _inside(statement: ast.stmt) -> list[ast.AST]:
    """The statements, and what holds some, in an if, a try, a match, a with or a loop."""
    return [one for one in ast.iter_child_nodes(statement) if isinstance(one, BLOCKS)]


def _run_through(statement: ast.stmt) -> set[str]:
    """The names that loops and withs bind themselves."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return set()
    loops = isinstance(statement, (ast.For, ast.AsyncFor))
    targets = [statement.target] if loops else [one.optional_vars for one in getattr(statement, "items", [])]
    own = (_changed(target) for target in targets if target)
    return set().union(*own, *map(_run_through, _inside(statement)))


def _changed(target: ast.expr) -> set[str]:
    """The names that an assignment to a target changes: of a.x and a[i] only a, of (a, *b) both."""
    if isinstance(target, ast.Name):
        return {target.id}
    if isinstance(target, (ast.Tuple, ast.List)):
        return set().union(*map(_changed, target.elts))
    return _changed(target.value) if isinstance(target, (ast.Attribute, ast.Subscript, ast.Starred)) else set()


def _left_out(name: str) -> str:
    """What stands for a function or class of that name: who calls it is told."""
    return f"def {name}(*_, **__):\n    raise SystemExit({LEFT_OUT!r})"


def _goes_round(statement: ast.stmt) -> bool:
    """Whether a statement plainly uses one of ROUND: as a name, an attribute, a module, or a text that is just it."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute):
            found |= {node.attr, ast.unparse(node)}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        else:
            found |= {getattr(node, field, None) for field in ("id", "name")}
            found |= {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
    return bool(found & ROUND)


def defines(source: str, name: str) -> bool:
    """Whether a cell defines a TODO, even if it is not valid Python."""
    return bool(re.search(rf"^(?:def|class) {name}\b", source, re.MULTILINE))


def _one_by_one(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements, with one for each name that an import binds: a kit may know only some of them."""
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (type(statement)(**vars(statement) | {"names": [alias]}) for alias in statement.names)
        else:
            yield statement


def _used(sources: Iterable[str], helpers: list[Statement]) -> list[Statement]:
    """The helpers that statements use, directly or through others."""
    names, new = set(), [*sources]
    while new:
        found = {name for source in new for name in looked_up(source)} - names
        names |= found
        new = [source for bound, source in helpers if bound & found]
    return [helper for helper in helpers if helper[0] & names]


def _narrowed(source: str, names: list[str]) -> str:
    """A statement with an `import *`, so that it binds these names alone: what else it has, such as another `any`,
    would stand in the checks too."""
    return (
        f"# {first_code_line(source)}\n"
        f"globals().update((lambda own: exec({source!r}, own) or "
        f"{{name: own[name] for name in {names!r} if name in own}})({{**globals()}}))"
    )


def looked_up(source: str) -> set[str]:
    """The names that statements look up, but for those that their functions make themselves."""
    try:
        names, tables = set(), [symtable.symtable(source, "cell", "exec")]
    except SyntaxError:  # such as an argument that is there twice: the kernel will say so
        return set()
    for table in tables:  # which grows
        names |= {
            one.get_name()
            for one in table.get_symbols()
            if one.is_referenced() and (table is tables[0] or one.is_global())
        }
        tables += table.get_children()
    return names


def first_code_line(source: str) -> str:
    """The first line of a cell that is not empty, to call it by."""
    return next((line for line in source.splitlines() if line.strip()), "an empty cell")
