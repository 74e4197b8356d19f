r"""Builds the notebooks from their masters: `python -m baselines.build`.

A master, baselines/NN_name.py, is a script that runs by itself, in cells of py:percent (https://jupytext.readthedocs.io)
with marks of its own:

    from kit.faces import …        the module is laid in before this cell, folded, with what it imports from kit
    # %% show=true                 the modules that this cell imports from kit are laid in unfolded
    # %% todo="name"               what stands between BEGIN and END SOLUTION is the student's to write; where the cell
                                   imports a module of kit, it is that module's
    # %% check="name"              tells the student at once whether it is right; folded
    # %% fold="title"              folded
    # %% only="script"             left out of the notebook
    # %% [markdown] lang="zh"      the text before it in Traditional Chinese (docs/translating.md)
    ![…](results/NAME.jpg)         in a text: the picture is laid in
    | … \                          in a text: a row of a table that goes on in the next line
    {{Strong}}                     in a text: what the tier asks for, from grader/thresholds.toml

Each master becomes notebooks/NN_name.ipynb, without its solutions, baselines/solved/NN_name.ipynb, and, once it is
translated, notebooks/zh/NN_name.ipynb: the same code, and one cell more, which translates the messages. The marks of
solutions stay in all: nbgrader wants them (https://nbgrader.readthedocs.io). A folded cell shows its title alone in
JupyterLab, VS Code, Colab and Kaggle.
"""

from __future__ import annotations

import ast
import base64
import re
import textwrap
from pathlib import Path

import nbformat

from baselines import translate
from baselines.definitions import BASELINES, masters
from grader import toml
from grader.files import write_text
from grader.filled_in import bound_names

ROOT = BASELINES.parent
KIT = BASELINES / "kit"
SOLUTION = re.compile(r"^( *)(### BEGIN SOLUTION\n).*?^ *(### END SOLUTION)$", re.MULTILINE | re.DOTALL)
SOLUTION_MARK = re.compile(r"^ *### (?:BEGIN|END) SOLUTION(?:\n|\Z)", re.MULTILINE)
TODO = (
    r"\1\2\1# TODO: your code in place of the next line\n"
    r'\1raise NotImplementedError("{}: fill in the cell above, in place of this line")\n\1\3'
)
PICTURE = re.compile(r"(!\[[^\]]*\])\((results/[^)]+\.jpg)\)")
MAX_PICTURE = 15_000  # bytes of a picture in a text: a notebook stays small
CONTINUED = re.compile(r"^(\|.*?) \\\n +", re.MULTILINE)
TIER = re.compile(r"\{\{(\w+)\}\}")
LABELLED = ("06_", "08_", "09_")  # notebooks whose faces have labels
SCALES = {"embedded": "both by the grader", "published": "with the course's faces.zip"}  # in the words of a newcomer
TIER_IN_CHINESE = {
    " · or ": " · 或 ",
    " and ": " 且 ",
    "lbpcascade's ": "lbpcascade 的 ",
    " (both by the grader)": "（由評分程式 grader 量）",
    " (by the grader)": "（由評分程式 grader 量）",
    " (with the course's faces.zip)": "（和課程的 faces.zip 比）",
}


def build(master: Path) -> dict[Path, str]:
    """The text of the student's, the solved and the Chinese notebook of a master, by the path of each."""
    folders = {"notebooks": (False, "en"), "baselines/solved": (True, "en"), "notebooks/zh": (False, "zh")}
    if not translate.is_translated(master.stem):
        del folders["notebooks/zh"]
    return {
        ROOT / folder / f"{master.stem}.ipynb": nbformat.writes(_notebook(master, folder, solved, language)) + "\n"
        for folder, (solved, language) in folders.items()
    }


def _notebook(master: Path, folder: str, solved: bool, language: str) -> nbformat.NotebookNode:
    laid: set[str] = set()  # modules of kit that stand in the notebook already
    cells = []
    for cell, translated in translate.with_translations(master):
        if cell.metadata.get("only") != "script":
            if translated and language == "zh":
                cell = translated
            cells += _with_modules(cell, laid)
    cells.insert(1, nbformat.v4.new_markdown_cell(how_to_open(f"{folder}/{master.stem}.ipynb", language)))
    first = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    beside = [_names_cell(cells[:first])]  # the settings
    for number, cell in enumerate(cells):
        todo, check, title = (cell.metadata.pop(mark, None) for mark in ("todo", "check", "fold"))
        for mark in ("show", "lang", "module", "lines_to_next_cell"):  # the last is jupytext's
            cell.metadata.pop(mark, None)
        cell.id = f"todo-{todo}" if todo else f"check-{check}" if check else f"cell-{number}"
        cell.source = cell.source.strip("\n")
        if cell.cell_type == "markdown":
            cell.source = with_whole_rows(cell.source)
            if language == "zh":
                cell.source = translate.joined(cell.source)
            cell.source = TIER.sub(lambda found: tier(found[1], language), PICTURE.sub(_laid_in, cell.source))
        if todo and not solved:
            cell.source = SOLUTION.sub(TODO.format(todo), cell.source)
        if check:
            cell.source = f"assert not (taken := name_taken(globals())), taken\n\n\n{cell.source}"
        if todo or check:
            cell.metadata["tags"] = ["todo" if todo else "check"]
            cell.metadata["nbgrader"] = _nbgrader(cell.id, graded=bool(check))
        if title or check:
            _fold(cell, title or f"Check: {check}")
    if language == "zh":  # before anything is printed
        beside.insert(0, _messages_cell(master, laid))
    cells[first:first] = beside
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
        "accelerator": "GPU",  # Colab opens it on one
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def _names_cell(cells: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """The folded cell that keeps what the modules' names mean before a student writes any: each check begins with a
    look at them. The two networks are left out: others may well be tried."""
    modules = [cell.source for cell in cells if cell.metadata.get("module", "networks") != "networks"]
    bound = {name for source in modules for one in ast.parse(source).body for name in bound_names(one)}
    names = sorted(name for name in bound if not name.isupper())  # no constants
    source = f'remember(globals(), """\n{textwrap.fill(" ".join(names), 120)}\n""")'
    cell = nbformat.v4.new_code_cell(source, id="names")
    _fold(cell, "The names of the cells above: a check tells when one of them gets another meaning")
    return cell


def with_whole_rows(text: str) -> str:
    """A text whose tables have each row in one line."""
    while CONTINUED.search(text):
        text = CONTINUED.sub(r"\1 ", text)
    return text


def _messages_cell(master: Path, modules: set[str]) -> nbformat.NotebookNode:
    """The cell that only the Chinese notebook has: it translates what the others print and raise."""
    kit, own = translate.read_table("kit"), translate.read_table(master.stem)
    said = {text for name in modules for text in translate.templates((KIT / f"{name}.py").read_text(encoding="utf-8"))}
    table = {text: kit[text] for text in kit if text in said | translate.NOT_IN_SOURCE} | own
    cell = nbformat.v4.new_code_cell(translate.messages_cell(module_source("translation"), table), id="messages")
    _fold(cell, "中文訊息")
    return cell


def _with_modules(cell: nbformat.NotebookNode, laid: set[str]) -> list[nbformat.NotebookNode]:
    """The cell without its imports from kit, after the cells of the modules that are not laid in yet."""
    source, modules = without_kit(cell.source) if cell.cell_type == "code" else (cell.source, [])
    new = [module for name in modules for module in _needed(name, laid)]
    if cell.metadata.get("todo") and new:  # the module is what the student writes
        cell.source = "\n".join([module_source(new[-1]), source])
        return [*map(_folded_module, new[:-1]), cell]
    shown = cell.metadata.get("show")
    cells = []
    for name in new:
        if shown and name in modules:
            cells.append(nbformat.v4.new_code_cell(SOLUTION_MARK.sub("", module_source(name)).strip("\n")))
        else:
            cells.append(_folded_module(name))
    cell.source = source
    return [*cells, cell] if source.strip() else cells


def _needed(name: str, laid: set[str]) -> list[str]:
    """A module of kit and those that it needs, these first, without what is laid in already."""
    if name in laid:
        return []
    laid.add(name)
    _, modules = without_kit((KIT / f"{name}.py").read_text(encoding="utf-8"))
    return [module for needed in modules for module in _needed(needed, laid)] + [name]


def without_kit(source: str) -> tuple[str, list[str]]:
    """Python source without its imports from kit, and the modules that these name."""
    lines, modules = source.split("\n"), []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("kit."):
            modules.append(node.module.removeprefix("kit."))
            lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    left = "\n".join(line for line in lines if line is not None)
    return re.sub(r"\n{4,}", "\n\n\n", left), modules


def module_source(name: str) -> str:
    """A module of kit as it stands in a notebook: without its docstring and its imports from kit."""
    source, _ = without_kit((KIT / f"{name}.py").read_text(encoding="utf-8"))
    docstring = ast.parse(source).body[0]
    return "\n".join(source.split("\n")[docstring.end_lineno :]).strip("\n")


def _folded_module(name: str) -> nbformat.NotebookNode:
    title = ast.get_docstring(ast.parse((KIT / f"{name}.py").read_text(encoding="utf-8"))).partition("\n")[0]
    source = SOLUTION_MARK.sub("", module_source(name))
    return nbformat.v4.new_code_cell(source, metadata={"fold": title.rstrip("."), "module": name})


def _fold(cell: nbformat.NotebookNode, title: str) -> None:
    """Hides a cell's code under its title, in whatever opens it."""
    cell.source = f"# @title {title}\n{cell.source}"
    cell.metadata |= {"cellView": "form", "_kg_hide-input": True, "jupyter": {"source_hidden": True}}


def _laid_in(found: re.Match) -> str:
    """A picture in Markdown with its bytes in place of its path: a notebook is one file."""
    data = (BASELINES / found[2]).read_bytes()
    if len(data) > MAX_PICTURE:
        raise ValueError(f"{found[2]}: {len(data):,} bytes, more than {MAX_PICTURE:,}: shrink it")
    return f"{found[1]}(data:image/jpeg;base64,{base64.b64encode(data).decode()})"


def tier(name: str, language: str = "en") -> str:
    """What a tier asks for on the grader's two scales, in words: a distance and a ratio of each. Both ratios are called
    AFD, and are of two detectors."""
    thresholds = toml.loads((ROOT / "grader/thresholds.toml").read_text(encoding="utf-8"))
    families: dict[str, list[str]] = {}
    for scale in thresholds["scale"]:  # no family that only stands in for another, and no ratio of 0
        if scale["family"] not in thresholds.get("instead", {}) and scale[name]:
            sign = "≥" if scale["measure"] == "AFD" else "≤"
            whose = "lbpcascade's " if scale["by"].startswith("lbpcascade") else ""
            families.setdefault(scale["family"], []).append(f"{whose}{scale['measure']} {sign} {scale[name]:g}")
    said = " · or ".join(f"{' and '.join(asked)} ({SCALES[family]})" for family, asked in families.items())
    said = said if " and " in said else said.replace("both by", "by")
    for english, chinese in TIER_IN_CHINESE.items() if language == "zh" else ():
        said = said.replace(english, chinese)
    return said


def _nbgrader(cell_id: str, graded: bool) -> dict:
    """nbgrader's mark of a cell: a TODO is the student's to write, a check is locked and earns a point
    (https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html)."""
    mark = {"schema_version": 3, "grade_id": cell_id, "grade": graded, "solution": not graded, "locked": graded}
    return mark | {"task": False, "cell_type": "code"} | ({"points": 1} if graded else {})


def how_to_open(path: str, language: str = "en") -> str:
    """Badges that open the notebook at `path` in Kaggle and Colab, if pyproject.toml names the project's public
    repository under [project.urls]; else how to upload the file."""
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project.get("urls", {}).get("Repository")
    labelled = Path(path).name.startswith(LABELLED)
    if not repository and language == "zh":
        faces = "有標籤的人臉（課程的 faces.zip 沒有標籤）" if labelled else "人臉資料集"
        archive = "它們的 zip" if labelled else " faces.zip "
        return (
            "*用 Kaggle（Create > New Notebook > File > Import Notebook）或 Colab（檔案 > 上傳筆記本）打開這個檔案，"
            f"並啟用 GPU。再加上{faces}（Kaggle：Add Input；Colab：把{archive}上傳到 /content），"
            "填好 TODO，然後全部執行。*"
        )
    if not repository:
        faces = "faces with labels, which the course's faces.zip has not" if labelled else "faces"
        archive = "a zip of them" if labelled else "faces.zip"
        return (
            "*Open this file on Kaggle (Create > New Notebook > File > Import Notebook) or on Colab (File > Upload "
            f"notebook), and switch a GPU on. Add {faces} (Kaggle: Add Input; Colab: upload {archive} to /content), "
            "fill the TODO cells, and run all.*"
        )
    file = f"blob/main/{path}"
    return (
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
        f"(https://kaggle.com/kernels/welcome?src={repository}/{file})\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{repository.removeprefix('https://github.com/')}/{file})"
    )


def checks_page() -> str:
    """docs/checks.md: what the check cells catch and accept, from the planted cases that the tests try."""
    lines = [
        "# What the checks catch",
        "",
        "A check cell compares what your code does to the weights with what the right formula does. It accepts every",
        "right answer, and tells you what is wrong with the others. Each row was planted into a solution and tried.",
        "`make notebooks` builds this page from [baselines/mistakes/](../baselines/mistakes/).",
    ]
    for master in masters():
        cases = toml.loads((BASELINES / f"mistakes/{master.stem}.toml").read_text(encoding="utf-8"))
        lines += ["", f"## {master.stem}", "", "| TODO | mistake | the check says |", "|---|---|---|"]
        lines += [f"| `{case['todo']}` | {_cell(case['what'])} | {_cell(case['hint'])} |" for case in cases["mistake"]]
        if right := cases.get("right"):
            lines += ["", "Right as well:", ""]
            lines += [
                f"- `{case['todo']}`: {case['what']}" + (f" (*{case['remark']}*)" if "remark" in case else "")
                for case in right
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("*", "\\*")


def code_lines(source: str) -> int:
    """Lines that are neither blank nor comments."""
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in source.split("\n"))


def line_counts(notebook: nbformat.NotebookNode) -> dict[str, int]:
    """Code lines of a notebook: `unfolded`, `folded`, and the unfolded ones before the first TODO, `before_todo`."""
    counts = {"unfolded": 0, "folded": 0, "before_todo": 0}
    todo_seen = False
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        todo_seen = todo_seen or cell.id.startswith("todo-")
        folded = cell.metadata.get("jupyter", {}).get("source_hidden")
        lines = code_lines(cell.source)
        counts["folded" if folded else "unfolded"] += lines
        counts["before_todo"] += lines * (not folded and not todo_seen)
    return counts


def build_all() -> dict[str, dict[str, int]]:
    """Writes docs/checks.md and all notebooks, each whole or not at all; gives the `line_counts` by name."""
    write_text(ROOT / "docs/checks.md", checks_page())
    counts = {}
    for master in masters():
        for path, text in build(master).items():
            write_text(path, text)
            if path.parent.name == "solved":
                counts[master.stem] = line_counts(nbformat.reads(text, as_version=4))
    return counts


if __name__ == "__main__":
    print(f"{'code lines of':24} unfolded  before the first TODO  folded")
    for name, lines in build_all().items():
        print(f"{name:24} {lines['unfolded']:8}  {lines['before_todo']:21}  {lines['folded']:6}")
