"""Errors whose message is one sentence for the user: what was wrong, expected, found."""

import errno
import re

_NO_MEMORY = re.compile(
    "out of memory|not enough memory|cannot allocate|can't allocate|failed to allocate|bad_?alloc|alloc_failed|"
    "failed to map segment|can't start new thread",
    re.I,
)


class ICHMultiTaskError(Exception):
    """Base of every error that the panel and the shell show as a sentence, without a traceback."""


class InputError(ICHMultiTaskError, ValueError):
    """The scan, table or setting given cannot be used."""


class BundleError(ICHMultiTaskError, ValueError):
    """A model bundle is incomplete, altered or not one of this project's networks."""


class DependencyError(ICHMultiTaskError, ImportError):
    """A package that this step needs is not installed."""


class OutputError(ICHMultiTaskError, OSError):
    """A result could not be written."""


class Canceled(ICHMultiTaskError):
    """The user stopped the work; nothing was written."""


def is_out_of_memory(error):
    """Whether an error, also one of the libraries in C++, means that the memory was not enough."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, (RuntimeError, ImportError)) and _NO_MEMORY.search(str(error)) is not None
