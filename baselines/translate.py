"""What the builder needs for notebooks in Traditional Chinese, as docs/translating.md tells: which masters have a
translation, their tables of messages, and which texts of Python source are messages."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = Path(__file__).resolve().parent / "zh"
NOT_YET = {  # masters without a translation: take a name out when its texts and its table are complete
    "02_gradient_clipping",
    "03_wgan",
    "04_wgan_gp",
    "05_stylegan2",
    "06_cgan",
    "07_progressive",
    "08_biggan",
    "09_cyclegan",
}
CHINESE = "[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"  # characters and their punctuation
WRAPPED = re.compile(rf"(?<={CHINESE})[\n ](?={CHINESE})")  # a line break of the master is no space between words
WORDS = re.compile(r"[A-Za-z]{2}[,:;.)`]* [A-Za-z(`]")  # two words, or more
NOT_IN_SOURCE = {  # messages that no text of the kit's source is a template of
    "{0}: fill in the cell above (between {1} and {2} SOLUTION)",  # of a TODO; nbgrader looks for the marks
    "[{0}] and [{1}]",  # shapes, joined
}
NOT_SHOWN = {  # texts in which a reader of source sees messages, and which nobody is shown
    "does not require grad",
    "only for scalar outputs",
    "backward through the graph a second time",
    "target size",
    "Boolean value of Tensor",
    "modified by an inplace operation",
    "import cloudpickle, sys; cloudpickle.load(open(sys.argv[1], 'rb'))()",
    "No module named grader",
}
IN_FIGURES = {  # matplotlib's fonts have no Chinese
    "gradient penalty λ = {0}",
    "weight clipping c = {0}",
    "layer of D, from the picture up",
    "L2 norm of the gradient",
}


def joined(text: str) -> str:
    """A Chinese text without the line breaks inside its paragraphs; code blocks stay as they are."""
    parts = text.split("```")
    parts[::2] = [WRAPPED.sub("", part) for part in parts[::2]]
    return "```".join(parts)


def read_table(name: str) -> dict[str, str]:
    """{English template: translation} of zh/NAME.toml; none where there is no such file."""
    path = TABLES / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def messages_cell(module: str, table: dict[str, str]) -> str:
    """The source of a cell that translates what the other cells print and raise: kit.translation, and the table."""
    rows = "".join(f"        {key!r}: {value!r},\n" for key, value in table.items())
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
        for part in ast.walk(node):  # what stands inside of {…} may be a text too
            if isinstance(part, ast.FormattedValue):
                add(part.value)

    visit(ast.parse(source))
    return found


def messages(source: str) -> set[str]:
    """The templates of two words or more, which somebody may be shown."""
    return {text for text in templates(source) if WORDS.search(text)} - NOT_SHOWN - IN_FIGURES


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


def _numbered(text: str) -> str:
    numbers = iter(range(10))
    return re.sub(r"\{(?::[^{}]*)?\}", lambda _: f"{{{next(numbers)}}}", text)
