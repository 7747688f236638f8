"""A scan and a segment of the scene, added to a table by the panel's state; on slicer-core."""

import csv

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")

from ICHMultiTaskLib.mrml import scene, volumes  # noqa: E402
from ICHMultiTaskLib.panel.compare_state import CompareState  # noqa: E402
from ICHMultiTaskLib.panel.scan_table_state import SECTION, ScanTableState  # noqa: E402
from ICHMultiTaskLib.panel.state import PanelState  # noqa: E402
from ICHMultiTaskLib.scan.geometry import voxel_volume_mm3  # noqa: E402
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts  # noqa: E402


class Parameters:
    """What the states ask of a parameter node."""

    inputVolume, comparedSegments, overlayThreshold = None, (), 0.4


@pytest.fixture
def state(dicom_files):
    """The panel with a tilted scan of a patient, chosen, and two readers' segments, one of them empty."""
    found = scene.create_scene()
    found.Clear(0)
    affine = dicom_files.affine(12.0)
    hu = dicom_files.head(affine)
    hu[14:18, 24:30, 24:30] = 62
    panel = PanelState()
    panel.parameters = Parameters()
    scan = volumes.head_ct_to_node(
        found, HeadCT(hu, affine, ScanFacts(patient_id="P7", study_uid="1.2", series_uid="1.3")), "CT"
    )
    for name, drawn in (("Dr. A", slice(14, 18)), ("Dr. B", slice(0, 0))):
        mask = np.zeros(hu.shape, np.uint8)
        mask[drawn, 24:30, 24:30] = 1
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(mask.shape[::-1])
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
        image.GetPointData().SetScalars(volumes.image_from_array(mask).GetPointData().GetScalars())
        node = found.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
        node.AddSegmentFromBinaryLabelmapRepresentation(image, "Hemorrhage", (0.9, 0.1, 0.1))
    panel.parameters.inputVolume = scan
    compare = CompareState(panel)
    compare.refresh()
    yield ScanTableState(compare)
    found.Clear(0)


def finish(state):
    while state.panel.queue.drain(0.02):
        pass


def choice(state, reader):
    return next(c for c in state.compare.choices if c.reader == reader)


def test_scan_and_segment_are_added_with_the_volume_measured(state, tmp_path):
    table, drawn = tmp_path / "t.csv", choice(state, "Dr. A")
    assert state.can_add(drawn) and not state.can_add(None)
    assert state.proposed_patient() == "P7"
    state.add(table, drawn, "pseudonym-1", 1)
    assert not state.can_add(drawn), "one at a time"
    finish(state)
    with table.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    affine = volumes.ijk_to_ras_of(state.panel.scan)
    assert float(row["volume_ml"]) == pytest.approx(4 * 36 * voxel_volume_mm3(affine) / 1000, abs=1e-3)
    said = state.panel.message(SECTION)
    assert said.text.startswith("Added to t.csv: ") and "It holds 1 scans now." in said.text and not said.failed
    state.add(table, drawn, "pseudonym-2", 1)
    finish(state)
    assert "in the table already" in state.panel.message(SECTION).text and state.panel.message(SECTION).failed


def test_empty_segment_is_refused_in_words_and_nothing_is_written(state, tmp_path):
    state.add(tmp_path / "t.csv", choice(state, "Dr. B"), "P7", 0)
    finish(state)
    said = state.panel.message(SECTION)
    assert said.failed and "the segment is empty: expected the bleed in it" in said.text
    assert list(tmp_path.iterdir()) == []
