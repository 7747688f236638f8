"""Comparison of the model with segmentations, bedside formulas and readers; tables and statistics of a cohort."""
