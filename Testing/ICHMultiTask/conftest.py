"""Fixtures that the tests of several rooms share."""

import pytest


@pytest.fixture
def mrmlScene():
    """The MRML scene, emptied before and after each test, with the layout it begins with."""
    from ICHMultiTaskLib.mrml import scene

    found = scene.create_scene()
    found.Clear(0)
    layout = found.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpTableView)  # a test before may have chosen another
    yield found
    found.Clear(0)
