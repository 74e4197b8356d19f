"""What data/ may import: the lowest layers of the grader."""

import re

from tests.conftest import ROOT


def test_only_the_lowest_layers_of_the_grader_are_imported():
    for path in (ROOT / "data").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"^\s*(?:from|import) (grader[.\w]*)", text, re.MULTILINE))
        assert {name.split(".")[1] for name in imported} <= {"errors", "files", "inputs", "processes", "version"}, path
        assert not re.search(r"^\s*(?:from|import) (baselines|kit|studies|tests)\b", text, re.MULTILINE), path
