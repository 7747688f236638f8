"""The command `ichmultitask-train`."""

from .command import main

__all__ = ["main"]
