"""Adapters between a training run and nodes of 3D Slicer."""
