"""The tool that changes solutions: what it changes, and that it survives what comes of it."""

import ast
import os
from unittest.mock import Mock

import pytest
import torch
from click.testing import CliRunner

from baselines.definitions import BASELINES
from tests.benchmarks import mutants
from tests.helpers.notebook import cells

MASTER = BASELINES / "04_wgan_gp.py"
CELL = '''
def loss_of(real, fake):
    """A loss."""
    width = 3
    ### BEGIN SOLUTION
    difference = real - fake
    return difference.mean(0, keepdim=True)
    ### END SOLUTION
'''


def test_one_place_changes_at_a_time():
    found = list(mutants.mutants(CELL))
    assert len(found) == len({*found})
    assert ast.unparse(ast.parse(CELL)) not in found
    assert all('"""A loss."""\n    width = 3\n' in mutant for mutant in found)  # only the solution
    ends = [mutant.partition("width = 3\n    ")[2] for mutant in found]
    same = "difference = real - fake\n    "
    for expected in (
        "difference = real + fake\n    return difference.mean(0, keepdim=True)",
        "difference = fake - real\n    return difference.mean(0, keepdim=True)",
        "difference = real - fake.detach()\n    return difference.mean(0, keepdim=True)",
        "pass\n    return difference.mean(0, keepdim=True)",
        "with torch.no_grad():\n        difference = real - fake\n    return difference.mean(0, keepdim=True)",
        same + "return difference.sum(0, keepdim=True)",
        same + "return difference.mean(0)",
        same + "return difference.mean(1, keepdim=True)",
        same + "return difference.mean(0, keepdim=False)",
        same + "return -difference.mean(0, keepdim=True)",
        same + "return difference",
        same + "return real.mean(0, keepdim=True)",
    ):
        assert expected in ends


def test_the_tool_sees_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(mutants, "masters", list)
    monkeypatch.setattr(torch, "set_num_threads", threads := Mock())
    assert CliRunner().invoke(mutants.main).output == "0 changes: {}\n"
    assert not threads.called  # they are this process's, where other tests run
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_check_s_verdicts(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("the tool hides the GPU before anything uses it, which is too late here")
    solution = cells(MASTER)["todo-gradient_penalty"]
    assert mutants.in_a_process(MASTER, "gradient_penalty", solution) == "accepted"
    wrong = solution.replace("mixed = (alpha", "mixed = -(alpha")
    assert mutants.in_a_process(MASTER, "gradient_penalty", wrong) == "refused"
    assert mutants.changed_lines(solution, ast.unparse(ast.parse(wrong))).startswith("+ mixed = -(alpha")
    monkeypatch.setattr(mutants, "PATIENCE", 1)
    endless = solution.replace("    alpha =", "    while True:\n        pass\n    alpha =")
    assert mutants.in_a_process(MASTER, "gradient_penalty", endless) == "no end in 1 s"
    died = "import os\n\ndef gradient_penalty(D, real, fake):\n    os._exit(1)\n"
    assert mutants.in_a_process(MASTER, "gradient_penalty", died) == "the process died"
