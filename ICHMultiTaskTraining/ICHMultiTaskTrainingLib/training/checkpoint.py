"""Checkpoints, which appear whole or not at all, whatever ends the process."""

import io

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.writing import whole_file


def save_checkpoint(state, path):
    """Write tensors and plain values, whole or not at all."""
    import torch

    # Serialized first: PyTorch's own writer turns a full disk into an error that does not say so.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with whole_file(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path, device):
    """Read what `save_checkpoint` wrote; nothing is unpickled but tensors and plain values.

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
    except Exception as error:  # PyTorch raises errors of many kinds for bytes that are not its own
        raise InputError(
            f"The checkpoint {path} is damaged: expected one that this software wrote, found {type(error).__name__} on "
            "reading it; delete it to start the run over."
        ) from error
