"""The notebooks: what their masters build, alone in one file, with little on the screen."""

import ast
import re
import symtable
from functools import cache
from pathlib import Path

import nbformat
import pytest

from baselines import build
from baselines.build import masters
from tests.helpers.notebook import built, cells, execute, small

MASTERS = [pytest.param(master, id=master.stem) for master in masters()]
REPOSITORY = '[project]\n[project.urls]\nRepository = "https://github.com/some/kit"\n'


WORDS = {  # what the texts of all notebooks have in common
    "en": {
        "box": ["You learn", "You write", "Time", "Tier"],
        "comma": ", ",
        "no tier": "none: ",
        "hints": ["Hint 1", "Hint 2"],
        "when it looks wrong": "## When it looks wrong\n",
        "report": "## Your report\n",
        "asked": ["at least two differences between WGAN", "4 layers", "What do you observe?"],
    },
    "zh": {
        "box": ["你會學到", "你要寫", "時間", "等級"],
        "comma": "、",
        "no tier": "無：",
        "hints": ["提示 1", "提示 2"],
        "when it looks wrong": "## 結果不對勁時\n",
        "report": "## 你的報告\n",
        "asked": ["至少兩個", "4 層", "你觀察到什麼？"],
    },
}


@cache
def notebooks(master):
    """The student's, the solved and, once it is there, the Chinese notebook of a master."""
    return [nbformat.reads(text, as_version=4) for text in built(master).values()]


def language_of(path):
    return "zh" if path.parent.name == "zh" else "en"


def with_words(master):
    """(notebook, its language, the words of WORDS in it) for each notebook of a master."""
    languages = [language_of(path) for path in built(master)]
    return [(notebook, one, WORDS[one]) for notebook, one in zip(notebooks(master), languages, strict=True)]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("master", MASTERS)
def test_no_cell_binds_the_name_of_anothers_function(master):
    """To run such a cell again would replace the function, that of a student even."""
    functions, bound = {}, {}
    for cell, source in cells(master).items():
        for symbol in symtable.symtable(source, cell, "exec").get_symbols():
            if symbol.is_assigned() or symbol.is_imported():
                (functions if symbol.is_namespace() else bound).setdefault(symbol.get_name(), set()).add(cell)
    assert functions and not functions.keys() & bound.keys()


@pytest.mark.parametrize("master", MASTERS)
def test_committed_notebooks_are_what_their_masters_build(master):
    made = build.build(master)
    assert [*made] == [*built(master)]  # which the other tests read
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path} is not what {master.name} builds: run 'make notebooks'"
        )


def test_the_page_of_checks_is_what_the_planted_cases_build():
    page = build.ROOT / "docs/checks.md"
    assert page.read_text(encoding="utf-8") == build.checks_page(), "run 'make notebooks'"


def test_what_was_built_stays_whole_where_the_next_is_not(tmp_path, monkeypatch):
    solved, master = tmp_path / "solved/01_gan.ipynb", masters()[0]
    (text,) = (text for path, text in built(master).items() if path.parent.name == "solved")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "masters", lambda: [master])
    monkeypatch.setattr(build, "checks_page", lambda: "a page\n")
    monkeypatch.setattr(build, "build", lambda _: {solved: text, tmp_path / "zh/01_gan.ipynb": text})
    assert [*build.build_all()] == ["01_gan"]
    assert (tmp_path / "docs/checks.md").read_text() == "a page\n"
    write = Path.write_bytes

    def stopped(path, data):
        write(path, data[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", stopped)
    with pytest.raises(KeyboardInterrupt):
        build.build_all()
    assert (tmp_path / "docs/checks.md").read_text() == "a page\n"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["01_gan.ipynb", "01_gan.ipynb", "checks.md"]


@pytest.mark.parametrize("master", MASTERS)
def test_every_notebook_stands_alone(master):
    for notebook in notebooks(master):
        assert not any(cell.get("outputs") for cell in notebook.cells)
        for cell in code(notebook):
            found = imported_modules(cell.source)
            assert not found & {"grader", "data", "baselines", "kit", "studies", "tests"}, f"{cell.id} imports {found}"


@pytest.mark.parametrize("master", MASTERS)
def test_nbconvert_names_a_script_py(master):
    for notebook in notebooks(master):  # without it, `jupyter nbconvert --to script` writes a .txt
        assert notebook.metadata.language_info.file_extension == ".py"


def imported_modules(source):
    """The packages that Python source imports: by a statement, by __import__ or by importlib."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("kit" if node.level else node.module)
        elif isinstance(node, ast.Call) and re.search(r"(__import__|import_module|find_spec)$", ast.unparse(node.func)):
            assert isinstance(node.args[0], ast.Constant), f"imports whatever {ast.unparse(node.args[0])} is"
            found.add(node.args[0].value)
    return {name.partition(".")[0] for name in found}


@pytest.mark.parametrize(
    "source",
    [
        "import kit.run",
        "def f():\n    from kit.run import Run",
        "importlib.import_module('kit.run')",
        "from . import run",
        "run = __import__('kit.run').run",
    ],
)
def test_every_way_to_import_is_seen(source):
    assert imported_modules(source) == {"kit"}


@pytest.mark.parametrize("master", MASTERS)
def test_students_get_todos_each_with_its_check_and_no_solution(master):
    student, solved = cells(master, False), cells(master, True)
    todos = [name for name in student if name.startswith("todo-")]
    assert todos
    for name in todos:
        assert "raise NotImplementedError" in student[name]
        assert "raise NotImplementedError" not in solved[name]
        assert [*student].index(name.replace("todo-", "check-")) > [*student].index(name)
        solutions = re.findall(r"### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION", solved[name], re.DOTALL | re.MULTILINE)
        assert solutions
        for solution in solutions:  # one line, such as `return x`, may stand elsewhere
            assert solution.strip() and (solution.count("\n") == 1 or solution not in "\n".join(student.values()))
    assert {name: source for name, source in student.items() if name not in todos} == {
        name: source for name, source in solved.items() if name not in todos
    }


@pytest.mark.parametrize("master", MASTERS)
def test_one_cell_holds_the_parameters(master):
    for notebook in notebooks(master):
        (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        statements = ast.parse(cell.source).body
        assert [statement.targets[0].id for statement in statements] == ["preset", "overrides"]
        assert statements[0].value.value == "course" and ast.unparse(statements[1].value) == "{}"


@pytest.mark.parametrize("master", MASTERS)
def test_nbgrader_knows_todos_and_checks(master):
    for notebook in notebooks(master):
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
        for cell in notebook.cells:
            mark = cell.metadata.get("nbgrader")
            kind, _, _ = cell.id.partition("-")
            assert (mark is not None) == (kind in ("todo", "check"))
            if mark:
                graded = kind == "check"
                assert (mark.grade, mark.locked, mark.solution) == (graded, graded, not graded)
                assert (mark.grade_id, mark.get("points"), mark.schema_version) == (cell.id, 1 if graded else None, 3)


@pytest.mark.parametrize("master", MASTERS)
def test_folded_cells_are_folded_everywhere_and_hold_no_todo(master):
    for notebook in notebooks(master):
        for cell in code(notebook):
            marks = [
                cell.metadata.get("jupyter", {}).get("source_hidden") is True,  # JupyterLab, VS Code
                cell.metadata.get("cellView") == "form",  # Colab
                cell.metadata.get("_kg_hide-input") is True,  # Kaggle
                bool(re.match(r"# @title \S.*\n", cell.source)),
            ]
            assert all(marks) or not any(marks), f"{cell.id}: {marks}"
            if any(marks):
                assert not cell.id.startswith("todo-")
                assert not re.search(r"# TODO: |raise NotImplementedError\(|(BEGIN|END) SOLUTION", cell.source)
            assert any(marks) or not cell.id.startswith("check-"), f"{cell.id} is not folded"


@pytest.mark.parametrize("master", MASTERS)
def test_the_lesson_is_short_and_its_first_todo_comes_soon(master):
    for notebook in notebooks(master):
        counts = build.line_counts(notebook)
        assert counts["unfolded"] <= (200 if master.stem < "06" else 400), counts
        assert counts["before_todo"] <= 120, counts


def texts(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("master", MASTERS)
def test_a_notebook_opens_with_a_box_and_closes_with_what_goes_wrong(master):
    for notebook, language, words in with_words(master):
        title, _, box = notebook.cells[0].source.partition("\n")
        assert re.match(rf"# {master.stem[:2]} · ", title)
        rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", box, re.MULTILINE)
        assert [name for name, _ in rows] == words["box"]
        todos = [cell.id.removeprefix("todo-") for cell in code(notebook) if cell.id.startswith("todo-")]
        assert rows[1][1] == words["comma"].join(f"`{todo}`" for todo in todos)
        presets = re.findall(r"`(\w+)`", rows[2][1])
        assert {"course", "t4_1h", "t4_3h", "t4_12h"} <= {*presets}
        tier = re.match(r"\*\*(\w+)\*\*(?:: |：)(.*)", rows[3][1])
        assert tier[2] == build.tier(tier[1], language) if tier else rows[3][1].startswith(words["no tier"])
        (table,) = [text for text in texts(notebook) if text.startswith(words["when it looks wrong"])]
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len(lines) >= 7 and all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)


@pytest.mark.parametrize("master", MASTERS)
def test_every_todo_has_two_folded_hints_above_it(master):
    for notebook, _, words in with_words(master):
        for above, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
            if cell.id.startswith("todo-"):
                hints = re.findall(r"<details><summary>(.+?)</summary>\n\n.+?\n\n</details>", above.source, re.DOTALL)
                assert above.cell_type == "markdown" and hints == words["hints"], cell.id


@pytest.mark.parametrize("master", MASTERS)
def test_texts_need_nothing_beside_the_notebook(master):
    for notebook in notebooks(master):
        for text in texts(notebook):
            assert "{{" not in text and " \\\n" not in text.replace("\\\\\n", "")
            for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
                assert target.startswith(("data:image/jpeg;base64,", "https://"))
                assert len(target) < 21_000  # 15 KB


def test_a_picture_that_is_too_large_is_not_laid_in(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BASELINES", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/x.jpg").write_bytes(bytes(15_001))
    with pytest.raises(ValueError, match="shrink it"):
        build.PICTURE.sub(build._laid_in, "![x](results/x.jpg)")


def test_a_tier_says_both_scales():
    said = build.tier("Strong")
    assert re.fullmatch(
        r"FD-ImageNet ≤ \S+ and AFD ≥ \S+ \(.+\) · or FID ≤ \S+ and lbpcascade's AFD ≥ \S+ \(.+\)", said
    )
    assert "AFD" not in build.tier("Simple")  # no face is asked for
    assert not any("demo" in build.tier(name) for name in ("Simple", "Medium", "Strong", "Boss"))  # drawn faces


@pytest.mark.parametrize("name", ["03_wgan", "04_wgan_gp"])
def test_the_report_is_answered_in_the_notebook(name):
    (master,) = [master for master in masters() if master.stem == name]
    for notebook, _, words in with_words(master):
        (text,) = [text for text in texts(notebook) if text.startswith(words["report"])]
        assert all(asked in text.replace("\n", " ") for asked in words["asked"])
        assert any("plot_norms(run, " in cell.source for cell in code(notebook))


@pytest.mark.parametrize("master", MASTERS)
def test_the_run_is_scored_after_its_submission(master):
    for notebook in notebooks(master):
        sources = [cell.source for cell in code(notebook)]
        (scored,) = [i for i, source in enumerate(sources) if re.search(r"^score_run\(run", source, re.MULTILINE)]
        assert scored > next(i for i, source in enumerate(sources) if "write_submission(run)" in source)
        if any("= load_labelled_faces(" in source for source in sources):  # not all faces of the set
            assert "faces=run.faces" in sources[scored]


def top_level(source):
    """The names that Python source binds at its top level: ({name: what it imports}, {other names})."""
    imported, defined = {}, set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            imported |= {name.asname or name.name.partition(".")[0]: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        else:
            defined |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return imported, defined


def test_modules_of_kit_do_not_overwrite_each_other():
    imported, defined = {}, {}
    for path in sorted(build.KIT.glob("*.py")):
        its_imports, its_names = top_level(path.read_text(encoding="utf-8"))
        for name, what in its_imports.items():
            assert imported.setdefault(name, what) == what, f"{path.name}: {name} is {what} here"
        for name in its_names:
            assert defined.setdefault(name, path.name) == path.name, f"{name}: in {defined[name]} and {path.name}"
    for name, what in imported.items():
        assert name not in defined or what == f"kit.{defined[name].removesuffix('.py')}.{name}", f"{name} is {what}"


@pytest.mark.parametrize("master", MASTERS)
def test_a_master_does_not_overwrite_what_is_laid_in(master):
    source = master.read_text(encoding="utf-8")
    its_imports, its_names = top_level(source)
    _, modules = build.without_kit(source)
    laid = set()
    laid_in = [name for module in modules for name in build._needed(module, laid)]
    for module in laid_in:
        imported, defined = top_level((build.KIT / f"{module}.py").read_text(encoding="utf-8"))
        assert not its_names & defined, f"{its_names & defined} of kit.{module}"
        assert not its_names & imported.keys(), f"{its_names & imported.keys()}, which kit.{module} imports"
        for name in its_imports.keys() & imported.keys():
            assert its_imports[name] == imported[name]
        for name in its_imports.keys() & defined:
            assert its_imports[name] == f"kit.{module}.{name}"


def test_badges_stand_where_they_lead_somewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text(REPOSITORY)
    badges = build.how_to_open("notebooks/01_gan.ipynb")
    file = "blob/main/notebooks/01_gan.ipynb"
    assert f"(https://kaggle.com/kernels/welcome?src=https://github.com/some/kit/{file})" in badges
    assert f"(https://colab.research.google.com/github/some/kit/{file})" in badges
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    upload = build.how_to_open("notebooks/01_gan.ipynb")
    assert "Import Notebook" in upload and "Upload notebook" in upload and "http" not in upload


@pytest.mark.parametrize("master", MASTERS)
def test_every_notebook_says_how_to_open_it(master):
    for path, text in built(master).items():
        second = nbformat.reads(text, as_version=4).cells[1]
        assert second.source == build.how_to_open(path.relative_to(build.ROOT).as_posix(), language_of(path))


def test_the_readme_has_the_same_badges():
    if "https://" not in build.how_to_open("notebooks/01_gan.ipynb"):
        pytest.skip("pyproject.toml names no public repository")
    readme = (build.ROOT / "README.md").read_text(encoding="utf-8")
    for master in build.masters():
        for line in build.how_to_open(f"notebooks/{master.stem}.ipynb").splitlines():
            assert line in readme


@pytest.mark.parametrize("master", MASTERS[:4])  # the others have tests of their own for this
def test_it_runs_solved_from_top_to_bottom_and_goes_on(master, tmp_path, rendered, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    execute(master, small(tmp_path, rendered))
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {f"{number}.jpg" for number in range(1, 1001)}
    capsys.readouterr()
    execute(master, small(tmp_path, rendered, steps=6), checks=False)  # as in another session
    assert "going on from step 4" in capsys.readouterr().out


@pytest.mark.parametrize("master", MASTERS)
def test_the_student_version_stops_at_its_first_todo(master, tmp_path):
    first = next(name for name in cells(master, False) if name.startswith("todo-")).removeprefix("todo-")
    with pytest.raises(NotImplementedError, match=f"^{first}: fill in the cell above"):
        execute(master, small(tmp_path, "no faces are needed"), solved=False)
