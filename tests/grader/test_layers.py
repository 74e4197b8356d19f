"""Imports go down only: a command knows reports and scoring, these know metrics, and so on down to files and errors."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LAYERS = (  # the lowest first; a module may import those of its own layer and of lower ones
    ("console", "errors", "files", "processes", "progress", "toml", "version"),
    ("inputs",),
    ("features",),
    ("metrics", "results"),
    ("verdict",),
    ("scoring", "report"),
    ("filled_in", "grading", "plagiarism", "points", "result_cache", "roster", "uploads", "workers"),
    ("check", "gradient_norms", "grades", "history", "leaderboard", "pack"),
    ("cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "grader").rglob("*.py"))
}


def imported(path):
    """The modules of the project that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module


def test_every_module_has_its_layer():
    assert {name.split(".")[1] for name in MODULES if "." in name} == LEVEL.keys()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "grader"])
def test_imports_go_down(module):
    own = LEVEL[module.split(".")[1]]
    for other in imported(MODULES[module]):
        assert other.split(".")[0] not in ("studies", "data", "baselines", "tests"), f"{module} imports {other}"
        if other.startswith("grader."):
            assert LEVEL[other.split(".")[1]] <= own, f"{module} imports {other}"
        assert other != "grader" or module.startswith("grader.cli"), f"{module} imports {other}"


def test_no_circle():
    graph = {name: {other for other in imported(path) if other in MODULES} for name, path in MODULES.items()}
    graph["grader"] = set()  # the package itself, whose score() is what commands and students call
    while graph:
        free = [name for name, others in graph.items() if not others & graph.keys()]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_nothing_is_read_at_import():
    """The weights name the scales, but are read when a name is asked for."""
    code = (
        "import sys, pathlib; opened = []; "
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None); "
        "import grader.scoring, grader.report.page, grader.history, grader.leaderboard; "
        "print(*(path for path in opened if path.endswith(('.safetensors', '.toml', '.j2'))))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not seen.strip()
