"""Evaluation of models: accuracy, robustness, comparisons and reports."""
