"""Definitions are taken out of a master with all that they need, and nothing else of it is executed."""

import pytest

from baselines.build import ROOT
from baselines.definitions import definitions

MASTER = """
import math
from kit.settings import Settings
import a_package_that_is_nowhere
settings = print("a cell was executed")
run = launch(train, settings)
SIZES = {4: 8}
SIZES[8] = 8
for size, gain in ((16, 2),):
    SIZES[size] = gain
class Block:
    gain: float = math.sqrt(4)
class Network(Block):
    def __init__(self, settings):
        self.sizes = [size * factor(run) for size, run in SIZES.items()]
def factor(settings):
    def inner(train=1):
        return settings * train * HALF
    return inner()
HALF = 0.5
"""


def test_only_what_is_needed_is_executed(tmp_path, capsys):
    path = tmp_path / "99_master.py"
    path.write_text(MASTER)
    taken = definitions(path, "Network", "Settings")
    assert [*taken] == ["Network", "Settings"]
    network = taken["Network"](None)
    assert network.sizes == [16, 32, 16] and network.gain == 2
    assert taken["Settings"]().batch_size == 64
    assert not capsys.readouterr().out
    with pytest.raises(KeyError, match="Generator"):
        definitions(path, "Generator")


def test_what_a_file_says_of_itself_is_its_own():
    """A constant that is changed below its definition, settings that come from kit, and a function of kit."""
    Settings, presets = definitions(ROOT / "baselines/10_r3gan.py", "R3GANSettings", "PRESETS").values()
    assert {"course", "cpu", "t4_1h", "large"} <= {*presets} and all(type(one) is Settings for one in presets.values())
    (sample,) = definitions(ROOT / "baselines/kit/samples.py", "sample").values()
    assert sample.__name__ == "sample"
