"""Measurements on a mask: volume, shape, bedside formulas, agreement; and the published clinical scores."""
