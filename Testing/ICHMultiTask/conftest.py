"""Fixtures that the tests of several rooms share."""

import pytest


@pytest.fixture
def mrmlScene():
    """The MRML scene, emptied before and after each test."""
    from ICHMultiTaskLib.mrml import scene

    found = scene.create_scene()
    found.Clear(0)
    yield found
    found.Clear(0)
