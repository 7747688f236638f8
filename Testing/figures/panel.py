"""The pictures of the panels in the documentation, drawn in the running application.

Slicer --testing --no-splash --additional-module-paths ICHMultiTask ICHMultiTaskTraining
    --python-script Testing/figures/panel.py [guide] [tutorial] [training]

writes into Docs, or into the folder that ICHMULTITASK_SCREENSHOTS names, all of them or those asked for:

- guide: panel.png, compare.png, panel-3d.png, repeat.png and panel-table.png. The readers' segments are made from the
  simulated mask; the earlier scan is the same patient with less blood.
- tutorial: tutorial-1.png to tutorial-5.png, from a DICOM series, which is that of a simulated patient, to a report.
- training: training-panel.png, a short run on a small simulated cohort.
"""

import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import qt
import slicer
from scipy import ndimage
from vtk.util.numpy_support import numpy_to_vtk

from ICHMultiTaskLib.measures.clinical_scores import ClinicalContext
from ICHMultiTaskLib.mrml import volumes
from ICHMultiTaskLib.mrml.sample_data import show_sample, simulate_sample
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.simulation.writers import write_dicom

FOLDER = Path(os.environ.get("ICHMULTITASK_SCREENSHOTS") or Path(__file__).parents[2] / "Docs")
SIZE = 1500, 980
SMALL = 1366, 768
RIM_MM, BRAIN_HU = 5.0, 34.0
READERS = (("Dr. A", (0.1, 0.6, 0.9), ndimage.binary_dilation), ("Dr. B", (0.2, 0.8, 0.3), ndimage.binary_erosion))


def settle(panel):
    """Wait until all work has ended and is on show."""
    for _turn in range(5):
        slicer.app.processEvents()
    while panel.compare._timer.isActive() or panel.state.queue.busy:
        slicer.app.processEvents()
        time.sleep(0.003)
    for _turn in range(10):
        slicer.app.processEvents()
        time.sleep(0.02)


def picture(panel, name):
    """Save a picture of the window."""
    from few_colors import save_few_colors  # which loads Pillow
    from PIL import Image

    settle(panel)
    path = FOLDER / f"{name}.png"
    slicer.util.mainWindow().grab().save(str(path))
    with Image.open(path) as file:
        image = file.convert("RGB")
    save_few_colors(image, path)


def draw(scan, name, color, mask):
    """A reader's segmentation."""
    labels, image = np.ascontiguousarray(mask.astype(np.uint8)), slicer.vtkOrientedImageData()
    image.SetDimensions(labels.shape[::-1])
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(volumes.ijk_to_ras_of(scan)))
    image.GetPointData().SetScalars(numpy_to_vtk(labels.reshape(-1), deep=True))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    node.AddSegmentFromBinaryLabelmapRepresentation(image, "Hemorrhage", color)


def tick_readers(panel):
    """Compare the readers alone: of a draft, which was made from the model's volume, no verdict is given."""
    choices = panel.compare.state.choices
    panel.compare.state.tick([choice for choice in choices if choice.draft], False)
    panel.compare.state.tick([choice for choice in choices if not choice.draft])


def earlier_scan(patient):
    """The patient with the outer millimeters of the hematoma as dense as brain; the noise stays."""
    scan = patient.head_ct
    hu = scan.hu.astype(np.float32)
    wider = ndimage.binary_dilation(patient.mask, np.ones((1, 5, 5)))
    depth = ndimage.distance_transform_edt(wider, sampling=scan.spacing_kji)
    rim = wider & (depth < RIM_MM)
    hu[rim] -= np.maximum(ndimage.gaussian_filter(hu, (0, 2, 2))[rim] - BRAIN_HU, 0.0)
    return HeadCT(np.round(hu).astype(scan.hu.dtype), scan.ijk_to_ras, dataclasses.replace(scan.facts))


def prepare(size):
    """The window as a user finds it, with room for the panel."""
    window = slicer.util.mainWindow()
    window.resize(*size)
    slicer.util.findChild(window, "DataProbeCollapsibleWidget").collapsed = True
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def guide(panel, patient):
    """Pictures of the user guide."""
    prepare(SIZE)
    scan = show_sample(patient)
    settle(panel)
    panel.analyze.ui.analyzeButton.click()
    settle(panel)
    panel.analyze.ui.headlineButton.click()
    picture(panel, "panel")

    panel.state.logic.comparison.keep_clinical_context(scan, ClinicalContext(gcs=11))
    panel.findings.widget.collapsed = True
    panel.compare.widget.collapsed = False
    panel.compare.ui.markButton.click()
    settle(panel)
    for name, color, change in READERS:
        draw(scan, name, color, change(patient.mask))
    settle(panel)
    tick_readers(panel)
    panel.compare.ui.diametersBox.checked = True
    settle(panel)
    panel.compare.ui.sideBySideButton.click()
    picture(panel, "compare")
    panel.compare.ui.sideBySideButton.click()
    panel.compare.ui.threeDButton.click()
    picture(panel, "panel-3d")
    panel.compare.ui.diametersBox.checked = False
    panel.compare.widget.collapsed = True

    earlier = volumes.head_ct_to_node(slicer.mrmlScene, earlier_scan(patient), "Earlier scan")
    settle(panel)
    panel.state.choose(scan)
    panel.state.parameters.earlierVolume = earlier
    panel.repeat.widget.collapsed = False
    settle(panel)
    panel.repeat.ui.growthButton.click()
    settle(panel)
    panel.repeat.ui.repeatViewsButton.click()
    picture(panel, "repeat")
    panel.repeat.ui.repeatViewsButton.click()
    panel.repeat.widget.collapsed = True
    panel.analyze.ui.tableButton.click()
    panel.analyze.ui.headlineButton.click()
    picture(panel, "panel-table")


def tutorial(panel, patient):
    """Pictures of the tutorial: load a DICOM series, analyze, mark and correct the bleed, compare, save the report."""
    prepare(SMALL)
    slicer.mrmlScene.Clear(0)
    panel.findings.widget.collapsed = False
    settle(panel)
    with tempfile.TemporaryDirectory() as folder:
        series = write_dicom(patient.head_ct, Path(folder) / "study")
        scan = slicer.util.loadVolume(str(min(series.iterdir())), {"name": "Head CT, simulated patient"})
        settle(panel)
        panel.state.choose(scan)
        picture(panel, "tutorial-1")
        panel.analyze.ui.analyzeButton.click()
        picture(panel, "tutorial-2")
        panel.attention.widget.collapsed = True
        panel.findings.widget.collapsed = True
        panel.compare.widget.collapsed = False
        panel.compare.ui.markButton.click()
        settle(panel)
        panel.attention.ui.overlayBox.checked = False  # which would cover the outline
        picture(panel, "tutorial-3")
        panel.attention.ui.overlayBox.checked = True
        draw(scan, *READERS[0][:2], READERS[0][2](patient.mask))
        settle(panel)
        tick_readers(panel)
        settle(panel)
        panel.compare.ui.sideBySideButton.click()
        picture(panel, "tutorial-4")
        panel.compare.ui.sideBySideButton.click()
        panel.compare.widget.collapsed = True
        panel.analyze.saveReport(folder)
        picture(panel, "tutorial-5")


def training(panel, patient):
    """The training panel with a finished run."""
    import ICHMultiTaskTrainingPanelTest as tests  # which simulates, trains and waits

    prepare(SIZE)
    slicer.mrmlScene.Clear(0)
    case = tests.ICHMultiTaskTrainingPanelTest()
    case.setUpClass()
    try:
        case.setUp()
        case.ui.startButton.click()
        case.waitFor(lambda: not case.widget._running)
        picture(panel, "training-panel")
    finally:
        case.doClassCleanups()


def main(parts):
    """Draw every picture in turn, or those of some parts."""
    qt.QSettings().setValue("ICHMultiTask/TourDone", "1")
    sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "SlicerSelfTests")]
    slicer.util.selectModule("ICHMultiTask")
    panel, patient = slicer.modules.ICHMultiTaskWidget.panel, simulate_sample()
    for part in (guide, tutorial, training):
        if not parts or part.__name__ in parts:
            part(panel, patient)


main(sys.argv[1:])
slicer.util.exit(0)
