"""Errors with a one-sentence message for the user: what was wrong, what was expected, what was found."""

import errno
import re

_NO_MEMORY = re.compile(
    "out of memory|not enough memory|cannot allocate|can't allocate|failed to allocate|bad_?alloc|alloc_failed|"
    "failed to map segment|can't start new thread",
    re.I,
)


class ICHMultiTaskError(Exception):
    """Base class of all errors that the panel and the shell show as a message, without a traceback."""


class InputError(ICHMultiTaskError, ValueError):
    """A scan, table or setting cannot be used."""


class BundleError(ICHMultiTaskError, ValueError):
    """A model bundle is incomplete, altered or not for a network of this project."""


class DependencyError(ICHMultiTaskError, ImportError):
    """A required package is not installed."""


class OutputError(ICHMultiTaskError, OSError):
    """A result could not be written."""


class Canceled(ICHMultiTaskError):
    """The user stopped the work; nothing was written."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, including errors of C++ libraries."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, (RuntimeError, ImportError)) and _NO_MEMORY.search(str(error)) is not None
