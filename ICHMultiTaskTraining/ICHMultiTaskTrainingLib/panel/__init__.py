"""Sections of the training panel: widgets, in the application only."""
