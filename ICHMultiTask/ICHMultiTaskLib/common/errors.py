"""Errors whose message is one sentence for the user: what was wrong, expected, found."""


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
