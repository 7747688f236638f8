"""Findings other than the volume, measured on the marked bleed: proposals that the user can correct."""
