"""Adapters to MRML: convert nodes to arrays and results to nodes.

Runs in the 3D Slicer application, and on the slicer-core package without Qt or a display.
"""
