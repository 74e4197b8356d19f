"""The Chinese notebooks: the same code, all texts and messages, Traditional characters, one term per word."""

import re
import sys
from functools import cache
from itertools import pairwise, takewhile
from types import ModuleType, SimpleNamespace

import jupytext
import nbformat
import pytest

from baselines import build, translate
from baselines.build import KIT, ROOT, masters
from kit import translation
from tests.helpers.notebook import built

MASTERS = [pytest.param(master, id=master.stem) for master in masters()]
TRANSLATED = [pytest.param(master, id=master.stem) for master in masters() if translate.is_translated(master.stem)]
TABLES = ["kit", *(master.stem for master in masters() if translate.is_translated(master.stem))]
ENGLISH_ONLY = ("command_line", "translation")  # modules of kit: scripts have no translation, and the translator itself
SIMPLIFIED_IN_BIG5 = (
    "万与丰么云体价优厂坏庄据斗机极柜气涂网胜荐适于个党着"  # Big5 lacks all other simplified characters
)
FORMULA = re.compile(r"\$\$.+?\$\$", re.DOTALL)
CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
TARGET = re.compile(r"\]\(([^)\s]+)\)")


def pairs(master):
    """(English, Chinese) texts of a master as they stand in its notebooks; no Chinese where it is missing."""
    return [
        (build.with_whole_rows(cell.source), translated and translate.joined(build.with_whole_rows(translated.source)))
        for cell, translated in translate.with_translations(master)
        if cell.cell_type == "markdown"
    ]


@cache
def sources(name):
    """The code of which a table has the messages: that of a master's cells, or of the kit."""
    if name == "kit":
        paths = [path for path in sorted(KIT.glob("*.py")) if path.stem not in ENGLISH_ONLY]
        return "\n".join(path.read_text(encoding="utf-8") for path in paths)
    return translate.code_of(ROOT / f"baselines/{name}.py")


def missing(name):
    """The messages that a table has no translation of."""
    return translate.messages(sources(name)) - {*translate.read_table(name)} - {*translate.read_table("kit")}


def chinese():
    """All Chinese texts: (where, text)."""
    for master in masters():
        yield from ((master.name, text) for _, text in pairs(master) if text)
    for path in sorted(translate.TABLES.glob("*.toml")):
        yield path.name, "\n".join(translate.read_table(path.stem).values())
    yield "README.zh.md", (ROOT / "README.zh.md").read_text(encoding="utf-8")
    yield "build.py", "".join([build.how_to_open("", "zh"), *build.TIER_IN_CHINESE.values()])


@cache
def glossary():
    """[English, its terms, what never stands in its place] of docs/glossary.md."""
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return [(english, terms.split("、"), never.split("、") if never else []) for english, terms, never in rows[1:]]


@pytest.mark.parametrize("master", TRANSLATED)
def test_both_notebooks_have_the_same_cells_and_the_same_code(master):
    english, _, chinese = (nbformat.reads(text, as_version=4) for text in built(master).values())
    (more,) = [cell for cell in chinese.cells if cell.id == "messages"]
    assert more.metadata["jupyter"]["source_hidden"]
    cells = [cell for cell in chinese.cells if cell.id != "messages"]
    for one, other in zip(english.cells, cells, strict=True):
        assert (one.id, one.cell_type, one.metadata) == (other.id, other.cell_type, other.metadata)
        assert one.cell_type == "markdown" or one.source == other.source
    assert chinese.metadata == english.metadata


@pytest.mark.parametrize("master", TRANSLATED)
def test_every_text_has_its_translation_with_the_same_code_formulas_and_links(master):
    for english, chinese in pairs(master):
        assert chinese and re.search(translate.CHINESE, chinese), f"no translation below: {english[:300]}"
        for what in (FORMULA, TARGET, build.TIER):
            assert what.findall(english) == what.findall(chinese), f"{what.pattern} differ: {chinese[:300]}"
        lost = {*CODE_SPAN.findall(english)} - {*CODE_SPAN.findall(chinese)}
        assert not lost, f"{lost} are not in {chinese[:300]}"


@pytest.mark.parametrize("name", TABLES)
def test_every_message_has_its_translation(name):
    assert not missing(name), f"baselines/zh/{name}.toml lacks them"


@pytest.mark.parametrize("name", ["kit", *(master.stem for master in masters())])
def test_a_table_holds_nothing_else_and_keeps_the_values(name):
    known = translate.templates(sources(name)) | (translate.NOT_IN_SOURCE if name == "kit" else set())
    for template, text in translate.read_table(name).items():
        assert template in known, f"baselines/zh/{name}.toml: nothing says {template!r}"
        places = [sorted(re.findall(r"\{.*?\}", one)) for one in (template, text)]
        assert not text or places[0] == places[1], f"baselines/zh/{name}.toml: other values than in {template!r}"


@pytest.mark.parametrize("master", [one for one in MASTERS if one not in TRANSLATED])
def test_a_complete_translation_is_not_left_out(master):
    texts = [chinese for _, chinese in pairs(master)]
    assert not all(texts) or missing(master.stem), f"take not_yet out of baselines/zh/{master.stem}.toml"


def test_a_text_stands_directly_below_what_it_translates():
    for master in masters():
        cells = jupytext.reads(master.read_text(encoding="utf-8"), fmt="py:percent").cells
        for above, cell in pairwise(cells):
            if "lang" in cell.metadata:
                assert (cell.metadata["lang"], cell.cell_type, above.cell_type) == ("zh", "markdown", "markdown")
                assert "lang" not in above.metadata, f"{master.name}: translated twice: {cell.source[:300]}"


def test_no_simplified_characters():
    for where, text in chinese():
        for character in re.findall(r"[\u3400-\u9fff]", text):
            in_big5 = character.encode("big5", "replace") != b"?"
            assert in_big5 and character not in SIMPLIFIED_IN_BIG5, f"{where}: {character}"


def test_the_glossary_is_one_term_per_word():
    names = [english for english, _, _ in glossary()]
    assert len(names) >= 40 and len({*names}) == len(names)
    for english, terms, never in glossary():
        assert all(terms) and not {*terms} & {*never}, english


def test_no_term_of_others():
    for where, text in chinese():
        for _, terms, never in glossary():
            for wrong in never:
                assert wrong not in text, f"{where}: {wrong} instead of {' or '.join(terms)}"


@pytest.mark.parametrize("name", TABLES)
def test_a_word_is_translated_as_the_glossary_says(name):
    texts = [*translate.read_table(name).items(), *(pairs(ROOT / f"baselines/{name}.py") if name != "kit" else [])]
    for english, chinese in texts:
        words = re.sub(r"`[^`]*`|\w+[._]\w+|[Ss]ample code", "", english)
        for word, terms, _ in glossary():
            if chinese and re.search(rf"\b{word}(?:e?s)?\b", words, re.IGNORECASE):
                assert any(term in chinese for term in [*terms, word]), f"{word} is {terms}: {chinese[:300]}"


def test_a_table_translates_values_too_and_line_by_line():
    table = {
        "{0}: done": "{0}: 完成",
        "{0} of {1} hours": "{1} 小時中的 {0}",
        "two": "兩",
        "{0}: {1}": "{0}：{1}",
        "a": "",
    }
    said = translation.translator({template: text for template, text in table.items() if text})
    assert said("step: done\ntwo of 3 hours") == "step: 完成\n3 小時中的 兩"
    assert said("two: two") == "兩：兩"
    assert said("(a+b) of nothing") == "(a+b) of nothing"


def test_a_run_s_name_behind_its_setting_hides_nothing():
    table = translate.read_table("kit")
    said = translation.translator({template: text for template, text in table.items() if text})
    line = "weight clipping c = 0.03 without BatchNorm (wgan_b): largest over smallest layer 19.6"
    assert said(line) == "權重裁剪 c = 0.03，沒有 BatchNorm (wgan_b)：最大的一層是最小的一層的 19.6 倍"


def test_printed_words_and_progress_are_translated(capsys):
    names = {"progress": lambda *given: given}
    translation.translate_messages(names, {"training": "訓練", "{0} faces": "{0} 張臉"})
    names["print"]("3 faces", 3, sep=": ")
    assert capsys.readouterr().out == "3 張臉: 3\n"
    assert names["progress"](range(2), "training", 2) == (range(2), "訓練", 2)
    assert names["progress"](range(1), "shapes") == (range(1), "shapes")


def test_errors_are_translated_before_they_are_shown():
    shown = []
    shell = SimpleNamespace(showtraceback=lambda exc_tuple=None, **options: shown.append(str(sys.exc_info()[1])))
    translation.translate_errors(translation.translator({"no {0}": "沒有 {0}"}), shell)
    for error in (
        AssertionError("no gradient"),
        SystemExit("no faces"),
        AssertionError(),
        KeyError(3),
        ValueError("x"),
    ):
        try:
            raise error
        except BaseException:
            shell.showtraceback(running_compiled_code=True)
    assert shown == ["沒有 gradient", "沒有 faces", "", "3", "x"]


def test_the_cell_of_messages_works_as_it_stands(monkeypatch, capsys):
    shell = SimpleNamespace(showtraceback=lambda *_: None)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    show_error = shell.showtraceback
    text = built(masters()[0])[ROOT / f"notebooks/zh/{masters()[0].stem}.ipynb"]
    cells = nbformat.reads(text, as_version=4).cells
    before = [*takewhile(lambda cell: cell.id != "messages", cells)]
    cell = cells[len(before)]
    names = {"rank": lambda: 0}
    monkeypatch.setenv("KIT_WATCHED", "0")
    exec(next(one.source for one in before if "def progress(" in one.source), names)
    exec(cell.source, names)
    names["print"]("discriminator_step: done")
    assert capsys.readouterr().out == "discriminator_step: 完成\n"
    assert names["progress"](range(1), "training").what == "訓練"
    assert shell.showtraceback is not show_error


def test_messages_are_found_however_they_are_written():
    source = '''
"""No message: a docstring."""
def f(x):
    """No message either."""
    assert x, f"value is {x:.3f}: {'too small' if x < 0 else 'too large'}"
    print("two " "parts", "a %s" % x, "one {:,} by format".format(x), "left " + name(x, "in a call") + " right one")
'''
    assert translate.messages(source) == {
        *("value is {0}: {1}", "too small", "too large", "two parts"),
        *("one {0} by format", "left {0} right one", "in a call"),
    }
