"""What a notebook of the kit takes of a student's: the TODOs as they are filled in, with what they call."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Iterator
from typing import NamedTuple

ROUND = {"__globals__", "globals", "builtins", "__builtins__", "sys.modules"}  # ways round the kit's names
LEFT_OUT = f"left out: the kit takes no {', '.join(sorted(ROUND))} from a notebook"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
# What magics run as if they were not there. Not %%timeit: what a cell defines is gone after it, in Jupyter too.
TRANSPARENT = re.compile(r"\s*%%(?:time|capture|prun)\b.*\n")
# A student's statements run in a module of their own with the kit's names, which the functions among them go on to see:
# so a helper may have any name, and changes nothing for the kit. __main__ stays the kit's.
BEGIN = """\
get_ipython().user_module = get_ipython().__dict__.setdefault("_theirs", type(__import__("__main__"))("__main__"))
get_ipython().user_ns = get_ipython().user_module.__dict__"""
KIT_FIRST = """\
get_ipython().user_ns.update(
    {{name: thing for name, thing in __import__("__main__").__dict__.items() if name not in {theirs}}}
)"""
END = """\
__import__("__main__").__dict__.update(
    {{name: get_ipython().user_ns[name] for name in {names} if name in get_ipython().user_ns}}
)
get_ipython().user_module = __import__("__main__")
get_ipython().user_ns = get_ipython().user_module.__dict__"""


class Statement(NamedTuple):
    """A student's, with the names that it binds or changes, and the number of its cell."""

    names: set[str]
    text: str
    cell: int


class Kit(NamedTuple):
    """What there is in the kit's cells: the names that its TODOs define, all others, those of each cell, and its
    statements."""

    wanted: set[str]
    known: set[str]
    cells: list[set[str]]
    texts: set[str]


def filled_in(kit: list[tuple[str, str]], sources: list[str]) -> list[str]:
    """The kit's cells, with what the student's define: the TODOs, and what these call.

    Left out is what plainly reaches round the kit's names. Code in a TODO can change the checks in other ways too.
    """
    todos = {key: _cell_names(source) for key, source in kit if key.startswith("todo-")}
    others = [statements(source) or [] for key, source in kit if key not in todos]
    bound = [set().union(*map(bound_names, body)) for body in others]
    wanted = set().union(*todos.values())
    texts = {ast.unparse(statement) for body in others for statement in body}
    names = Kit(wanted, set().union(*bound) - wanted, bound, texts)
    own, invalid = _defined(sources, names)
    filled, taken = [], []
    for key, source in kit:
        before = sorted(set().union(*(one.names for one in taken)) - wanted)
        stars, cells = _filled(todos[key], own, invalid, names, taken) if key in todos else ([], [])
        if not cells:
            filled.append(source)
            continue
        kit_first = KIT_FIRST.format(theirs=before)
        again = [kit_first] if stars else []  # before what an import * brought
        filled += [f"{BEGIN}\n{kit_first}", *stars, *again, *cells, END.format(names=sorted(todos[key]))]
    return filled


def _defined(sources: list[str], kit: Kit) -> tuple[list[Statement], dict[str, str]]:
    """What a student's cells define, in order, but for what is the kit's; and of the TODOs those that cannot be had as
    they are written, each with what stands in its place."""
    own, invalid, mine = [], {}, set()
    for cell, source in enumerate(sources):
        body = statements(source)
        if body is None:  # it stands for the TODOs that it was to define, and says what is wrong
            invalid |= {name: source for name in kit.wanted if defines(source, name)}
        for statement in [] if _is_the_kits(source, kit) else _one_by_one(body or []):
            text = ast.unparse(statement)
            # for step in …: fills no TODO in, and one over a name of the kit may change what a TODO uses
            names = bound_names(statement) - (_run_through(statement) & (kit.wanted | kit.known))
            if isinstance(statement, IMPORTS) and not _goes_round(statement):
                own.append(Statement(names, text, cell))  # the kit's too: a TODO may stand above them in the kit
            elif text in kit.texts or _changed(statement) & kit.known - mine:
                pass
            elif _goes_round(statement):
                invalid |= {name: _left_out(name) for name in names & kit.wanted}
                own += [Statement({name}, _left_out(name), cell) for name in names - kit.wanted - {"*"}]
            elif names:
                own.append(Statement(names, text, cell))
                mine |= names - _changed(statement)  # no longer the kit's, or what it imports
                if isinstance(statement, DEFINITIONS):
                    invalid.pop(statement.name, None)  # written again
    return own, invalid


def _is_the_kits(source: str, kit: Kit) -> bool:
    """Whether a student's cell is one of the kit's, changed or not: it binds the same names, and no TODO."""
    names = _cell_names(source)
    return names in kit.cells and not names & kit.wanted


def _cell_names(source: str) -> set[str]:
    """The names that a cell binds or changes."""
    return set().union(*map(bound_names, statements(source) or []))


def _filled(
    todos: set[str], own: list[Statement], invalid: dict[str, str], kit: Kit, taken: list[Statement]
) -> tuple[list[str], list[str]]:
    """What takes the place of the kit's cell that defines these `todos`: imports of all, and cells with the student's
    own and all that they use, in the student's order; without what was `taken` for a TODO above, to which these are
    added. Empty where the student has none."""
    written = [one for one in own if one.names & todos]
    cell = max((one.cell for one in written), default=-1)
    below = kit.known | {"*"}  # what of these stands below the TODO is for a plot, or another training
    helpers = [one for one in own if not one.names & (kit.wanted | (below if one.cell > cell else set()))]
    stars = [one for one in helpers if "*" in one.names and one not in taken]
    used = _used([one.text for one in written], [one for one in helpers if "*" not in one.names])
    parts = [one for one in own if one in written or (one in used and one not in taken)]
    places = [i for i, one in enumerate(parts) if one in written] or [len(parts)]
    first, after = places[0], places[-1] + 1
    broken = {invalid[name] for name in todos & {*invalid}}
    texts = [one.text for one in parts]
    filled = "\n".join([*texts[first:after], *broken])
    if not filled:
        return [], []
    taken += [*stars, *parts]
    return [one.text for one in stars], [*texts[:first], filled, *texts[after:]]


def statements(source: str) -> list[ast.stmt] | None:
    """The top-level statements of a cell, its line magics included; None where it is not Python, or nested too deep."""
    try:
        tree = parsed(source)
        ast.unparse(tree)  # it gives up earlier
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if source.lstrip().startswith("%%") else tree.body


def parsed(source: str) -> ast.Module:
    """The syntax tree of a cell; its magics are calls. Raises what ast.parse does."""
    from IPython.core.inputtransformer2 import TransformerManager

    return ast.parse(TransformerManager().transform_cell(source))


def without_magics(source: str) -> str:
    """A cell without what only measures it, or keeps what it prints."""
    while found := TRANSPARENT.match(source):
        source = source[found.end() :]
    return source


def bound_names(statement: ast.AST) -> set[str]:
    """The names that a top-level statement binds or changes; of a call, as in table.append(1), what it is called on."""
    names = _changed(statement)
    for node in _outside(statement):
        if isinstance(node, DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _changed(statement: ast.AST) -> set[str]:
    """Those of these names that it changes as they are: a in a.x = 1, a[i] = 1, a += 1 and a.append(1)."""
    targets = []
    for node in _outside(statement):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            targets.append(node)
        elif isinstance(node, ast.AugAssign):
            targets.append(node.target)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            targets += [node.value.func] if isinstance(node.value.func, ast.Attribute) else []
    return {root.id for root in map(_root, targets) if isinstance(root, ast.Name)}


def _root(target: ast.expr) -> ast.expr:
    """What an attribute or an item belongs to: a of a.x[i]."""
    return _root(target.value) if isinstance(target, (ast.Attribute, ast.Subscript)) else target


def _outside(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and all in it that runs in its own scope: not what functions and classes hold, nor what a
    comprehension runs through."""
    yield node
    hidden = node.target if isinstance(node, ast.comprehension) else None
    for child in [] if isinstance(node, (*DEFINITIONS, ast.Lambda)) else ast.iter_child_nodes(node):
        if child is not hidden:
            yield from _outside(child)


def _run_through(statement: ast.stmt) -> set[str]:
    """The names that loops and withs bind themselves."""
    loops = (one.target for one in _outside(statement) if isinstance(one, (ast.For, ast.AsyncFor)))
    withs = (one.optional_vars for one in _outside(statement) if isinstance(one, ast.withitem) and one.optional_vars)
    return set().union(*map(bound_names, [*loops, *withs]))


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
    """Statements, with one for each name that an import binds: a TODO may use only some of them."""
    for statement in body:
        if isinstance(statement, IMPORTS):
            yield from (type(statement)(**vars(statement) | {"names": [alias]}) for alias in statement.names)
        else:
            yield statement


def _used(sources: list[str], helpers: list[Statement]) -> list[Statement]:
    """The helpers that statements use, directly or through others."""
    names, new = set(), sources
    while new:
        found = {name for source in new for name in looked_up(source)} - names
        names |= found
        new = [one.text for one in helpers if one.names & found]
    return [one for one in helpers if one.names & names]


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
