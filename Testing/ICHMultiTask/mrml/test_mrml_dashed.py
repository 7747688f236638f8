"""Dashed outlines: surfaces with gaps, on real VTK data."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")
import vtk  # noqa: E402
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

from ICHMultiTaskLib.measures.segment import Segment  # noqa: E402
from ICHMultiTaskLib.mrml.dashed import DASH_MM, dashed_surface  # noqa: E402

AFFINE = np.array([[-0.6, 0, 0, 50], [0, -0.6, 0.3, 40], [0, 0, 3, -20], [0, 0, 0, 1.0]])


def test_a_slice_through_the_surface_is_a_dashed_line_where_the_segment_is():
    k, j, i = np.indices((14, 70, 80))
    mask = ((k - 7) / 5) ** 2 + ((j - 30) / 25) ** 2 + ((i - 40) / 25) ** 2 < 1
    surface = dashed_surface(Segment("Bleed", mask, AFFINE))
    middle = (AFFINE @ [40, 30, 7, 1])[:3]
    cutter, plane = vtk.vtkCutter(), vtk.vtkPlane()
    plane.SetOrigin(*middle)
    plane.SetNormal(0, 0, 1)
    cutter.SetCutFunction(plane)
    cutter.SetInputData(surface)
    cutter.Update()
    ends = vtk_to_numpy(cutter.GetOutput().GetPoints().GetData())
    lines = vtk_to_numpy(cutter.GetOutput().GetLines().GetConnectivityArray()).reshape(-1, 2)
    distance = np.linalg.norm(ends - middle, axis=1)
    assert distance == pytest.approx(25 * 0.6, abs=1.0), "the outline of the segment"
    drawn = np.linalg.norm(np.diff(ends[lines], axis=1), axis=2).sum()
    assert 0.3 < drawn / (2 * np.pi * 15) < 0.7, "about half of it"
    angles = np.sort(np.arctan2(*(ends[lines].mean(axis=1) - middle).T[:2]))
    gaps = np.diff(angles) * 15
    assert 7 <= (gaps > DASH_MM / 2).sum() <= 13
