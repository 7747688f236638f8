"""The panel in the real application, which SLICER_EXECUTABLE names; skipped elsewhere."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SLICER = os.environ.get("SLICER_EXECUTABLE")

pytestmark = [
    pytest.mark.application,
    pytest.mark.skipif(not SLICER, reason="SLICER_EXECUTABLE names no 3D Slicer application"),
]


def run_slicer(*arguments):
    """Start the application with the modules of this source tree; return what it printed, if it ended well."""
    modules = [str(REPOSITORY / name) for name in ("ICHMultiTask", "ICHMultiTaskTraining")]
    command = [SLICER, "--testing", "--no-splash", "--additional-module-paths", *modules]
    with tempfile.TemporaryDirectory() as folder:  # where an application without settings makes its DICOM database
        result = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, errors="replace", timeout=1800, cwd=folder
        )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-6000:]
    return output


@pytest.mark.parametrize(
    "name",
    ["ICHMultiTaskPanelTest", "ICHMultiTaskLegibleTest", "ICHMultiTaskCompareTest", "ICHMultiTaskTrainingPanelTest"],
)
def test_panel(name):
    output = run_slicer("--python-script", str(REPOSITORY / "Testing" / "SlicerSelfTests" / f"{name}.py"))
    assert "\nOK" in output, output[-6000:]


@pytest.mark.parametrize("name", ["ICHMultiTask", "ICHMultiTaskTraining"])
def test_self_tests(name):
    code = (
        "import slicer, unittest; "
        f"import {name} as module; "
        f"suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.{name}Test); "
        "result = unittest.TextTestRunner(verbosity=2).run(suite); "
        "slicer.util.exit(0 if result.wasSuccessful() and result.testsRun else 1)"
    )
    output = run_slicer("--no-main-window", "--python-code", code)
    assert "\nOK" in output, output[-6000:]


CLOSED_DURING_AN_ANALYSIS = """
import slicer
from ICHMultiTaskLib.model import testing
from ICHMultiTaskLib.mrml import volumes
slicer.util.selectModule("ICHMultiTask")
volumes.head_ct_to_node(slicer.mrmlScene, testing.phantom((200, 512, 512), (0.9, 0.45, 0.45)), "Head CT")
analyze = slicer.modules.ICHMultiTaskWidget.panel.analyze
while not analyze.ui.analyzeButton.enabled:
    slicer.app.processEvents()
analyze.ui.analyzeButton.click()
while analyze.state.job.message != "Preparing":
    slicer.app.processEvents()
print("closed at:", analyze.state.job.message)
slicer.util.exit(0)
"""


def test_application_can_be_closed_during_an_analysis(tmp_path):
    script = tmp_path / "closed.py"
    script.write_text(CLOSED_DURING_AN_ANALYSIS, encoding="utf-8")
    assert "closed at: " in run_slicer("--python-script", str(script))


SIDE_BY_SIDE_OPENED = """
import slicer
from ICHMultiTaskLib.mrml import layout, scene
node = layout.layout_node(slicer.mrmlScene)
for _turn in range(1000):  # until the application has started
    slicer.app.processEvents()
    if node.IsLayoutDescription(layout.SIDE_BY_SIDE):
        break
node.SetViewArrangement(layout.SIDE_BY_SIDE)
slicer.app.processEvents()
shown = [slicer.app.layoutManager().sliceWidget(tag) for tag in (layout.LEFT, layout.RIGHT)]
print("shown:", all(widget is not None and widget.visible for widget in shown))
slicer.util.exit(0)
"""


def test_scene_saved_side_by_side_has_views_before_the_module_was_opened(tmp_path):
    script = tmp_path / "opened.py"
    script.write_text(SIDE_BY_SIDE_OPENED, encoding="utf-8")
    assert "shown: True" in run_slicer("--python-script", str(script))


def test_training_command_without_window(tmp_path):
    script = REPOSITORY / "ICHMultiTaskTraining" / "ICHMultiTaskTrainingLib" / "cli" / "in_slicer.py"
    command = [SLICER, "--no-main-window", "--no-splash", "--python-script", str(script)]
    arguments = ["train", str(tmp_path / "gone.csv"), "--output", str(tmp_path / "run")]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, errors="replace", timeout=600)
    assert result.returncode == 1
    assert "The table does not exist" in result.stdout + result.stderr
    result = subprocess.run([*command, "--", "train", "--help"], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0 and "--skip-unusable" in result.stdout
