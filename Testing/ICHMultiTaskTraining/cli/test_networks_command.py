"""`ichmultitask-train networks`."""

import pytest

from ICHMultiTaskLib.model.networks import TRAINABLE
from ICHMultiTaskTrainingLib.cli import main


@pytest.mark.slow
def test_the_table_is_of_any_grid_that_all_networks_read(capsys):
    assert main(["networks", "--shape", "16", "48", "48"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(TRAINABLE) and "16×48×48" in lines[0]
    assert main(["networks", "--shape", "8", "48", "48"]) == 1
    assert "The network p3d50 cannot read 8×48×48 voxels" in capsys.readouterr().err
