"""Sections of the panel: widgets bound to the logic. Only the 3D Slicer application can import these files."""
