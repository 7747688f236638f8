"""Checkpoints, written atomically."""

from __future__ import annotations

import io
import os

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.writing import whole_file


def save_checkpoint(state: dict, path: str | os.PathLike) -> None:
    """Write tensors and plain values atomically."""
    import torch

    # Serialized first: PyTorch's own writer does not report a full disk clearly.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with whole_file(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: str | os.PathLike, device: str) -> dict:
    """Read a file of `save_checkpoint`; only tensors and plain values are unpickled.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    import torch

    try:
        return torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        raise InputError(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # PyTorch raises many kinds of errors for invalid files
        raise InputError(
            f"The checkpoint {path} is damaged: expected one written by this software, found {type(error).__name__} on "
            "reading it; delete it to start the run over."
        ) from error
