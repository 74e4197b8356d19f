"""Studies, benchmarks and helper programs that run once in a while: they can be imported, and say what they do."""

from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from grader import console
from tests.conftest import ROOT

FOLDERS = "studies", "tests/benchmarks", "tests/helpers"
MODULES = [
    path.relative_to(ROOT).with_suffix("") for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))
]


@pytest.mark.parametrize("module", [".".join(path.parts) for path in MODULES])
def test_it_can_be_imported_and_has_help(module):
    command = getattr(import_module(module), "main", None)
    if isinstance(command, click.Command):
        result = CliRunner().invoke(command, ["-h" if isinstance(command, console.Command) else "--help"])
        assert result.exit_code == 0 and result.output.startswith("Usage: "), result.output
        assert command.help, "its help says nothing of what it does"
    if command and module.startswith("studies."):  # what a user can mend is a line
        assert isinstance(command, console.Command)
        name = f'console.run(main, "python -m {module}")'
        assert name in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [".".join(path.parts) for path in MODULES if path.parts[0] == "studies"])
def test_what_no_study_can_use_is_refused(module):
    """As the variable of a shell that is not set, and no steps."""
    for parameter in getattr(import_module(module), "main", click.Command("none")).params:
        wrong = {"threads": ["0"], "steps": ["0"]}.get(parameter.name, [])
        wrong += [""] * isinstance(parameter.type, click.Path)
        wrong += ["-1"] * isinstance(parameter.type, click.types.IntParamType)
        for value in wrong:
            with pytest.raises(click.BadParameter):
                parameter.type.convert(value, parameter, None)


def test_the_verdict_is_drawn(tmp_path, monkeypatch):
    verdict = import_module("studies.verdict")
    monkeypatch.setattr(verdict, "score", lambda *_, **__: None)
    monkeypatch.setattr(verdict, "show", lambda score, screen: screen.print("Boss"))
    (tmp_path / "x.tgz").touch()
    result = CliRunner().invoke(verdict.main, [str(tmp_path / "x.tgz"), "--output", str(tmp_path / "x.svg")])
    assert result.exit_code == 0, result.output
    assert "Boss" in (tmp_path / "x.svg").read_text(encoding="utf-8")
