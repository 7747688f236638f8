"""Shared by all packages: errors, writing, progress, background work."""
