"""What data/ may import: the lowest layers of the grader."""

import re

from tests.conftest import ROOT

LOWEST = {"console", "errors", "files", "inputs", "processes", "version"}


def test_only_the_lowest_layers_of_the_grader_are_imported():
    for path in (ROOT / "data").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        imported = re.findall(r"^\s*(?:from|import) grader(?:\.| import )(\w+)", text, re.MULTILINE)
        assert {*imported} <= LOWEST, path
        assert not re.search(r"^\s*(?:from|import) (baselines|kit|studies|tests)\b", text, re.MULTILINE), path
