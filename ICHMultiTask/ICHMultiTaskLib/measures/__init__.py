"""Measurements of a mask (volume, shape, bedside formulas, agreement), and published clinical scores."""
