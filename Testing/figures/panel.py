"""The pictures of the panel in the documentation, drawn in the running application.

Slicer --testing --no-splash --additional-module-paths ICHMultiTask --python-script Testing/figures/panel.py

writes panel.png, compare.png, panel-3d.png, repeat.png and panel-table.png into Docs, or into the folder that
ICHMULTITASK_SCREENSHOTS names. The readers' segments are made from the simulated mask; the earlier scan is the same
patient with less blood.
"""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import qt
import slicer
from scipy import ndimage
from vtk.util.numpy_support import numpy_to_vtk

from ICHMultiTaskLib.mrml import volumes
from ICHMultiTaskLib.mrml.sample_data import show_sample, simulate_sample
from ICHMultiTaskLib.scan.head_ct import HeadCT

FOLDER = Path(os.environ.get("ICHMULTITASK_SCREENSHOTS") or Path(__file__).parents[2] / "Docs")
SIZE = 1500, 980
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
    settle(panel)
    slicer.util.mainWindow().grab().save(str(FOLDER / f"{name}.png"))


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


def earlier_scan(patient):
    """The patient with the rim of all blood taken away."""
    hu = patient.head_ct.hu.copy()
    blood = ndimage.binary_opening((hu > 52) & (hu < 95), iterations=2)
    hu[ndimage.binary_dilation(blood) & ~ndimage.binary_erosion(blood, iterations=2)] = 34
    return HeadCT(hu, patient.head_ct.ijk_to_ras, dataclasses.replace(patient.head_ct.facts))


def main():
    """Draw every picture in turn."""
    qt.QSettings().setValue("ICHMultiTask/TourDone", "1")
    slicer.util.mainWindow().resize(*SIZE)
    slicer.util.selectModule("ICHMultiTask")
    panel, patient = slicer.modules.ICHMultiTaskWidget.panel, simulate_sample()
    scan = show_sample(patient)
    settle(panel)
    panel.analyze.ui.analyzeButton.click()
    picture(panel, "panel")

    panel.compare.widget.collapsed = False
    panel.compare.ui.markButton.click()
    settle(panel)
    for name, color, change in READERS:
        draw(scan, name, color, change(patient.mask))
    settle(panel)
    panel.compare.state.tick(panel.compare.state.choices)
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
    picture(panel, "panel-table")


main()
slicer.util.exit(0)
