"""Adapters to MRML: the only place where nodes become arrays and results become nodes.

Everything here runs alike in the 3D Slicer application and on the slicer-core package without Qt or a display.
"""
