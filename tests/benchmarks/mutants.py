"""Wrong answers that nobody thought of: `make mutants`, or python -m tests.benchmarks.mutants 04_wgan_gp ...

Changes the solution of each TODO in one place at a time, and asks its check (mutation analysis: DeMillo et al., 1978,
Hints on Test Data Selection, https://doi.org/10.1109/C-M.1978.218136). It prints each change that the check accepts,
and each at which it stops with no word of its own. A person reads them: most accepted ones have the same effect as the
solution (`.abs()` of a mean of squares), and the rest is what a check misses.
"""

from __future__ import annotations

import ast
import difflib
import io
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout

import click
import torch

from baselines.build import masters
from tests.helpers.notebook import before_todos, cells, check

PATIENCE = 90  # seconds; a change may make a loop endless
SWAPPED = {
    **{
        ast.Add: ast.Sub,
        ast.Sub: ast.Add,
        ast.Mult: ast.Div,
        ast.Div: ast.Mult,
        ast.FloorDiv: ast.Div,
        ast.Pow: ast.Mult,
    },
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
OTHER_NAMES = dict(
    **{"mean": "sum", "sum": "mean", "softplus": "relu", "relu": "leaky_relu", "square": "abs", "rand": "randn"},
    **{"ones_like": "zeros_like", "zeros_like": "ones_like", "max": "min", "min": "max", "cat": "stack"},
    **{"l1_loss": "mse_loss", "sqrt": "square", "rsqrt": "sqrt", "RMSprop": "SGD", "Adam": "RMSprop"},
    **{"InstanceNorm2d": "BatchNorm2d", "BatchNorm2d": "InstanceNorm2d", "softmax": "log_softmax"},
)
METHODS = ("detach", "abs", "mean", "square", "tanh", "flatten")


def mutants(source: str) -> Iterator[str]:
    """The code of a TODO's cell, each time with one change between BEGIN SOLUTION and END SOLUTION."""
    lines = source.splitlines()
    inside = [i for i, line in enumerate(lines, 1) if "### BEGIN SOLUTION" in line or "### END SOLUTION" in line]
    ranges = list(zip(inside[::2], inside[1::2], strict=True))
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for parent, holder, key, node in list(places(tree)):
        if not any(first < node.lineno < last for first, last in ranges):
            continue
        around = [one for one in functions if one.lineno <= node.lineno <= one.end_lineno]
        names = {name: None for one in around for name in local_names(one)}
        is_used = not isinstance(parent, ast.Expr)
        for other in statements(holder, key) if isinstance(node, ast.stmt) else expressions(node, names, is_used):
            before, holder[key] = holder[key], other
            text = ast.unparse(ast.fix_missing_locations(tree))
            holder[key] = before
            if text not in seen:
                seen.add(text)
                yield text


def places(tree: ast.AST) -> Iterator[tuple]:
    """(parent, holder, key, node) of each expression that is read and each statement: holder[key] is the node."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            held = [(value, i, node) for i, node in enumerate(value)] if isinstance(value, list) else []
            for holder, key, node in held or [(vars(parent), field, value)]:
                is_read = isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store)
                if is_read or isinstance(node, ast.stmt):
                    yield parent, holder, key, node


def local_names(function: ast.FunctionDef) -> list[str]:
    """Its arguments, and what it assigns."""
    stored = (node for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return [*(one.arg for one in function.args.args if one.arg != "self"), *(node.id for node in stored)]


def statements(holder: list, key: int) -> Iterator[ast.AST]:
    """What may stand in a statement's place: nothing, the next one before it, it without gradients, its own body."""
    node, *after = holder[key : key + 2]
    yield ast.Pass()
    if after:  # the next one stays where it is as well: it comes once too often
        yield block(after[0], node)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)):
        yield ast.With([ast.withitem(ast.parse("torch.no_grad()", mode="eval").body)], [node])
    if isinstance(node, (ast.With, ast.If, ast.For)):
        yield block(*node.body)


def block(*nodes: ast.stmt) -> ast.If:
    return ast.If(ast.Constant(True), [*nodes], [])


def expressions(node: ast.expr, names: dict, is_used: bool) -> Iterator[ast.expr]:
    """What may stand in an expression's place."""
    if isinstance(node, ast.BinOp):
        yield from (node.left, node.right, ast.BinOp(node.right, node.op, node.left))
        if swapped := SWAPPED.get(type(node.op)):
            yield ast.BinOp(node.left, swapped(), node.right)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield from node.values
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield ast.Compare(node.left, [SWAPPED[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)):
            yield from map(ast.Constant, {node.value + 1, -node.value, 2 * node.value, 0, 1} - {node.value})
    elif isinstance(node, ast.Subscript):
        yield node.value
    elif isinstance(node, (ast.Tuple, ast.List)):
        yield type(node)(node.elts[::-1], node.ctx)
        yield from (type(node)(node.elts[:i] + node.elts[i + 1 :], node.ctx) for i in range(len(node.elts)))
    elif isinstance(node, ast.Call):
        yield from calls(node)
        if is_used:
            yield from (ast.Call(ast.Attribute(node, method, ast.Load()), [], []) for method in METHODS)
            yield from (ast.UnaryOp(ast.USub(), node), ast.BinOp(ast.Constant(2), ast.Mult(), node))
    elif isinstance(node, ast.Name):
        yield from (ast.Name(name, ast.Load()) for name in names if name != node.id)
        yield from (ast.BinOp(ast.Constant(2), ast.Mult(), node), ast.BinOp(node, ast.Add(), ast.Constant(1)))
        yield ast.Call(ast.Attribute(node, "detach", ast.Load()), [], [])


def calls(node: ast.Call) -> Iterator[ast.expr]:
    """A call with an argument less, with two exchanged, of another function, and left out."""
    args, keywords = node.args, node.keywords
    for i in range(len(args)):
        yield ast.Call(node.func, args[:i] + args[i + 1 :], keywords)
        yield ast.Call(node.func, [*args[:i], *args[i : i + 2][::-1], *args[i + 2 :]], keywords)
    for i in range(len(keywords)):
        yield ast.Call(node.func, args, keywords[:i] + keywords[i + 1 :])
    yield from args[:1]
    if isinstance(node.func, ast.Attribute):
        yield node.func.value
        if other := OTHER_NAMES.get(node.func.attr):
            yield ast.Call(ast.Attribute(node.func.value, other, ast.Load()), args, keywords)


def verdict(master, todo: str, solution: str) -> str:
    """ "accepted", "refused", or the error that the check stops with."""
    torch.set_num_threads(1)  # a copy of a process has none of its threads
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            check(master, todo, solution)
    except (AssertionError, NameError):  # Python says well enough what is not defined
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "accepted" if f"{todo}: done" in said.getvalue() else "says nothing"


def in_a_process(*case) -> str:
    """The verdict, made in a copy of this process: a mutant may spoil it, or never end."""
    before_todos(case[0])  # here, once for all
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(verdict(*case)), daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(PATIENCE) else f"no end in {PATIENCE} s"
    except EOFError:
        return "the process died"
    finally:
        process.kill()
        process.join()


def changed_lines(solution: str, mutant: str) -> str:
    lines = difflib.ndiff(ast.unparse(ast.parse(solution)).splitlines(), mutant.splitlines())
    changed = [line for line in lines if line.startswith(("+ ", "- "))]
    added = [line for line in changed if line.startswith("+ ")]
    return " / ".join(" ".join(line.split()) for line in added or changed)


@click.command()
@click.argument("notebooks", nargs=-1)
def main(notebooks):
    """Tries all of them, or those NOTEBOOKS, such as 04_wgan_gp."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a copy of a process that has started CUDA can use no GPU
    total = Counter()
    for master in masters():
        if notebooks and master.stem not in notebooks:
            continue
        for cell, solution in cells(master).items():
            todo = cell.removeprefix("todo-")
            if todo == cell:
                continue
            found = Counter()
            for mutant in mutants(solution):
                said = in_a_process(master, todo, mutant)
                found[said if said in ("accepted", "refused") else "other"] += 1
                if said != "refused":
                    print(f"{said}: {changed_lines(solution, mutant)}", flush=True)
            print(f"{master.stem} {todo}: {dict(found)}\n", flush=True)
            total += found
    print(f"{total.total()} changes: {dict(total)}")


if __name__ == "__main__":
    main()
