"""A simulated head CT with a hemorrhage for the Sample Data module; it is computed, not downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import slicer

from ..common.background import BackgroundTask
from ..simulation import DEMONSTRATION_SEED, simulate_patient
from .results import show_overlay
from .scene import create_scene
from .translation import tr as _
from .volumes import head_ct_to_node

if TYPE_CHECKING:
    from ..common.progress import Progress
    from ..simulation import SimulatedPatient

SAMPLE_NAME = "ICHMultiTask simulated hemorrhage"
THUMBNAIL = Path(__file__).parents[2] / "Resources" / "Icons" / "ICHMultiTaskSample.png"


def register_sample_data() -> None:
    """Register the sample in the Sample Data module of the application."""
    from SampleData import SampleDataLogic

    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):  # newer than 3D Slicer 5.10
        SampleDataLogic.registerCustomSampleDataCategory("ICHMultiTask", title=_("Intracerebral hemorrhage"))
    SampleDataLogic.registerCustomSampleDataSource(
        category="ICHMultiTask",
        sampleName=SAMPLE_NAME,
        uris="simulated",
        thumbnailFileName=str(THUMBNAIL),
        customDownloader=lambda source: load_with_dialog(),
    )


def simulate_sample(progress: Progress | None = None) -> SimulatedPatient:
    """Simulate the sample patient; accesses no node, so that it can run in a thread.

    Returns
    -------
    ICHMultiTaskLib.simulation.SimulatedPatient
    """
    return simulate_patient(DEMONSTRATION_SEED)


def show_sample(patient: SimulatedPatient) -> slicer.vtkMRMLScalarVolumeNode:
    """Load the sample into the scene and the slice views.

    Returns
    -------
    vtkMRMLScalarVolumeNode
    """
    scene = create_scene()
    node = head_ct_to_node(scene, patient.head_ct, scene.GenerateUniqueName(SAMPLE_NAME))
    show_overlay(scene, node, None)
    return node


def load_with_dialog() -> slicer.vtkMRMLScalarVolumeNode | None:
    """Simulate with a progress dialog, and load; return the volume node, or None if canceled."""
    import qt

    dialog = slicer.util.createProgressDialog(
        labelText=_("Simulating a head CT…"), maximum=0, windowModality=qt.Qt.ApplicationModal
    )
    try:
        task = BackgroundTask(simulate_sample)
        while not task.wait(0.02):
            slicer.app.processEvents()
            if dialog.wasCanceled:
                return None  # the thread ends on its own; its result is not used
        with slicer.util.tryWithErrorDisplay(_("The sample scan could not be simulated.")):
            return show_sample(task.result())
    finally:
        dialog.close()
