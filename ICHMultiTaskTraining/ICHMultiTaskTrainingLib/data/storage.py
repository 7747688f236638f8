"""Files that appear whole or not at all, whatever ends the process."""

import io
import os
from contextlib import contextmanager
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskLib.common.writing import os_error_sentence

PARTIAL = ".partial"


@contextmanager
def whole_file(path):
    """Open a file for writing that takes the place of `path` when the block ends and its bytes are on the disk.

    Parameters
    ----------
    path : path

    Yields
    ------
    binary file

    Raises
    ------
    OutputError
        If the disk is full or the file cannot be written; what was at `path` is still there.
    """
    path = Path(path)
    # Two processes may prepare the same scan; each writes a file of its own.
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(os_error_sentence(error, path)) from error
        raise


@contextmanager
def appended(path):
    """Open a file for writing at its end.

    Raises
    ------
    OutputError
        If the disk is full or the file cannot be written.
    """
    try:
        with Path(path).open("ab") as file:
            yield file
    except OSError as error:
        raise OutputError(os_error_sentence(error, path)) from error


def write_text(path, text):
    """Write a text file (UTF-8), whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


def remove_partial(folder):
    """Delete what killed processes have left half-written in a folder."""
    for partial in Path(folder).glob(f"*{PARTIAL}"):
        partial.unlink(missing_ok=True)


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
