"""Simulated cohorts, training and evaluation for ICHMultiTask; never imports slicer, qt or vtk."""
