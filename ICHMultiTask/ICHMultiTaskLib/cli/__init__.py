"""The command `ichmultitask`."""

from .command import main

__all__ = ["main"]
