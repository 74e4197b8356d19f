"""What pyproject.toml installs is all of grader/: a forgotten folder is missing only from an installed package."""

from grader import toml
from tests.conftest import ROOT

SETUPTOOLS = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_folder_with_code_is_a_package():
    code = {path.parent for path in (ROOT / "grader").rglob("*.py")}
    assert sorted(SETUPTOOLS["packages"]) == sorted(".".join(folder.relative_to(ROOT).parts) for folder in code)
    assert all((folder / "__init__.py").exists() for folder in code)


def test_every_file_that_is_no_code_is_package_data():
    packed = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    assert packed == {p for p in (ROOT / "grader").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
