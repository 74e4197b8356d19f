"""What the builder needs for notebooks in Traditional Chinese, as docs/translating.md tells: which masters are
translated, their tables of messages, and which texts of Python source are messages."""

from __future__ import annotations

import ast
import re
from itertools import count
from pathlib import Path

import click
import jupytext
import nbformat

from baselines.definitions import BASELINES
from baselines.run import NAMES
from grader import console, toml
from grader.version import VERSION

TABLES = BASELINES / "zh"
CHINESE = "[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"  # characters and their punctuation
WRAPPED = re.compile(rf"(?<={CHINESE})[\n ](?={CHINESE})")  # a line break of the master is no space between words
WORDS = re.compile(r"[A-Za-z]{2}[,:;.)`]* [A-Za-z(`]")  # two words, or more
NOT_IN_SOURCE = {  # messages that no text of the kit's source is a template of
    "{0}: fill in the cell above, in place of this line",  # of a TODO
}


def with_translations(master: Path) -> list[tuple[nbformat.NotebookNode, nbformat.NotebookNode | None]]:
    """A master's cells, each with its translation, if it is a text that has one."""
    pairs = []
    for cell in jupytext.reads(master.read_text(encoding="utf-8"), fmt="py:percent").cells:
        if cell.metadata.get("lang") == "zh":
            pairs[-1] = (pairs[-1][0], cell)
        else:
            pairs.append((cell, None))
    return pairs


def code_of(master: Path) -> str:
    """The code of which a master's table has the messages: that of its cells, without what only a script needs."""
    cells = [cell for cell, _ in with_translations(master) if cell.cell_type == "code"]
    return "\n".join(cell.source for cell in cells if cell.metadata.get("only") != "script")


def joined(text: str) -> str:
    """A Chinese text without the line breaks inside its paragraphs; code blocks stay as they are."""
    parts = text.split("```")
    parts[::2] = [WRAPPED.sub("", part) for part in parts[::2]]
    return "```".join(parts)


def is_translated(name: str) -> bool:
    """Whether zh/NAME.toml is there and does not say `not_yet = true`."""
    return (TABLES / f"{name}.toml").exists() and not _read(name).get("not_yet")


def read_table(name: str) -> dict[str, str]:
    """{English template: translation} of zh/NAME.toml; "" stands for one that stays English, as in a figure."""
    return {template: text for template, text in _read(name).items() if template != "not_yet"}


def _read(name: str) -> dict:
    return toml.loads((TABLES / f"{name}.toml").read_text(encoding="utf-8"))


def messages_cell(module: str, table: dict[str, str]) -> str:
    """The source of a cell that translates what the other cells print and raise: kit.translation, and the table."""
    rows = "".join(f"        {key!r}: {value!r},\n" for key, value in table.items() if value)
    return f"{module}\n\n\ntranslate_messages(\n    globals(),\n    {{\n{rows}    }},\n)"


def templates(source: str) -> set[str]:
    """All texts of Python source that are no docstrings, as templates of messages: values are {0}, {1}, … in them."""
    found = set()

    def visit(node: ast.AST) -> None:
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                is_docstring = field == "body" and isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                if isinstance(child, ast.AST) and not is_docstring:
                    add(child)

    def add(node: ast.AST) -> None:
        text = _template(node)
        if text is None:
            visit(node)
            return
        found.add(_numbered(text))
        for value in _values(node):  # which may be a text too
            add(value)

    visit(ast.parse(source))
    return found


def messages(source: str) -> set[str]:
    """The templates of two words or more, which somebody may be shown."""
    return {text for text in templates(source) if WORDS.search(text)}


def _template(node: ast.AST) -> str | None:
    """A text with {} for each value, or None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = _template(node.left), _template(node.right)
        if sides != (None, None):
            return "".join("{}" if side is None else side for side in sides)
    return None


def _values(text: ast.AST) -> list[ast.AST]:
    """What a text has {} for."""
    if isinstance(text, ast.JoinedStr):
        return [part.value for part in text.values if isinstance(part, ast.FormattedValue)]
    sides = [text.left, text.right] if isinstance(text, ast.BinOp) else []
    return [value for side in sides for value in ([side] if _template(side) is None else _values(side))]


def _numbered(text: str) -> str:
    numbers = count()
    return re.sub(r"\{(?::[^{}]*)?\}", lambda _: f"{{{next(numbers)}}}", text)


def report(master: Path) -> str:
    """What the translation of a master lacks, in lines."""
    texts = [(cell, translated) for cell, translated in with_translations(master) if cell.cell_type == "markdown"]
    table, said = read_table(master.stem), code_of(master)
    lines = [f"no translation below: {one.source.strip().splitlines()[0]}" for one, other in texts if not other]
    lines += [f"no translation: {template}" for template in sorted(messages(said) - {*table} - {*read_table("kit")})]
    lines += [f"nothing says: {template}" for template in sorted({*table} - templates(said))]
    lines = [master.stem, *lines] if lines else [f"{master.stem}: {len(texts)} texts and all messages are there"]
    return "\n".join(lines)


@click.command(cls=console.Command)
@click.version_option(VERSION, message="%(version)s")
@click.argument("names", nargs=-1, required=True, type=click.Choice(NAMES), metavar="NAME...")
def main(names: tuple[str, ...]) -> None:
    """Lists what the translation of each notebook NAME lacks.

    \b
    Example:
      python -m baselines.translate 01_gan
    """
    for name in names:
        click.echo(report(BASELINES / f"{name}.py"))


if __name__ == "__main__":
    console.run(main, "python -m baselines.translate")
