"""Tests of how robust a model is, and whether it really measures the blood."""
