"""Common frame of all commands: closed streams, signals, and errors as one sentence."""

from __future__ import annotations

import _thread
import argparse
import errno
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress

from .errors import Canceled, ICHMultiTaskError, is_out_of_memory
from .processes import ENDING
from .registry import Registry
from .writing import os_error_sentence

_ENDS_WITH_INPUT = "ICHMULTITASK_ENDS_WITH_INPUT"
"""Environment variable set by a launcher that keeps running: `run.py` on Windows, and the panel in 3D Slicer."""
EXIT_STATUS = "Exit status: 0 done, 1 refused or failed (one sentence on standard error), 2 wrong usage."
"""Ends the help of every command."""
_UNREADABLE = (errno.ENOENT, errno.EIO, errno.EISDIR)


def run_command(work: Callable[[], object], canceled: str = "Canceled; nothing was written.") -> int:
    """Run the work of a command.

    Parameters
    ----------
    work : callable ()
    canceled : str
        Message if the user has ended it.

    Returns
    -------
    int
        Exit status: 0 done; 1 refused, failed or canceled, with one sentence on standard error.
    """
    with lasting_streams(), ended_by_signals():
        try:
            _follow_launcher()
            work()
            return 0
        except (KeyboardInterrupt, Canceled):
            sentence = canceled
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
        print(sentence, file=sys.stderr)
        return 1


def parse(
    program: str,
    commands: Registry,
    arguments: Sequence[str | os.PathLike] | None,
    description: str,
    epilog: str | None = None,
    version: str | None = None,
) -> argparse.Namespace:
    """Parse the arguments of a program with subcommands; only the requested subcommand is imported.

    Parameters
    ----------
    program : str
    commands : Registry
        Subcommands by name: a label for `--help`, and a function that adds arguments to a parser, may describe the
        command better than the label does, and sets the default `run`, a callable (options).
    arguments : sequence of str or None
        None: those of this process.
    description, epilog, version : str

    Returns
    -------
    argparse.Namespace
        With `run`, the command's `parser` and the whole `command_line`.
    """
    arguments = sys.argv[1:] if arguments is None else [str(argument) for argument in arguments]
    arguments = [_with_home(argument) for argument in arguments]
    parser = argparse.ArgumentParser(prog=program, description=description, epilog=epilog)
    if version is not None:
        parser.add_argument("--version", action="version", version=f"{program} {version}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name in commands:
        label = commands.label(name)
        own = subparsers.add_parser(name, help=label, description=f"{label[0].upper()}{label[1:]}.")
        if name == asked:
            commands[name](own)
            own.epilog = " ".join(filter(None, [own.epilog, EXIT_STATUS]))
            own.set_defaults(parser=own, command_line=shlex.join([program, *arguments]))
    # A shell variable without a value would mean the working folder, and any scan in it.
    if any(not argument or (argument.startswith("--") and argument.endswith("=")) for argument in arguments):
        parser.error("an argument is empty; expected a value, such as the path of a scan")
    return parser.parse_args(arguments)


def _with_home(argument):
    """An argument with the home folder for ~, which a shell leaves alone in quotes and after =."""
    option, sign, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    is_home = value == "~" or value.startswith(("~/", "~\\"))
    return option + sign + (os.path.expanduser(value) if is_home else value)


def positive(text: str) -> int:
    """Parse an integer of at least 1, as the `type` of an argument."""
    return _at_least(1, text)


def seed(text: str) -> int:
    """Parse an integer of at least 0, as the `type` of an argument."""
    return _at_least(0, text)


def _at_least(least, text):
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"expected at least {least}, found {value}")
    return value


def sentence_of(error: BaseException) -> str | None:
    """Message for the user about an error, in one sentence; None for an error of the program itself.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    str or None
    """
    if isinstance(error, ICHMultiTaskError):
        return str(error)
    if isinstance(error, BrokenProcessPool):
        return "The system ended a worker process, which usually means that memory ran out."
    if is_out_of_memory(error):
        found = (str(error).strip().splitlines() or ["the system could not provide more"])[0].rstrip(".")
        return f"There is not enough memory; close other programs, or use a smaller scan or batch. Found: {found}."
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name} is not installed; install ICHMultiTask with its dependencies."
    if isinstance(error, OSError):
        if error.errno in _UNREADABLE:
            return f"{error.filename or 'The input'} cannot be read: {error.strerror}."
        return os_error_sentence(error, error.filename or "The output")
    return None


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let every termination signal do what Ctrl-C does: raise KeyboardInterrupt, once.

    Signals that were ignored before, as by `nohup`, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # other threads cannot set handlers
        return
    before = {n: handler for n in ENDING if (handler := signal.getsignal(n)) not in (signal.SIG_IGN, None)}

    def end(_number, _frame):
        for n in before:
            signal.signal(n, signal.SIG_IGN)  # do not interrupt the cleanup
        raise KeyboardInterrupt

    for n in before:
        signal.signal(n, end)
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def _follow_launcher():
    """End as by Ctrl-C when the launcher ends, even if it was killed: it holds the other end of standard input."""
    if os.environ.pop(_ENDS_WITH_INPUT, None) is None:
        return

    def follow():
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        _thread.interrupt_main(signal.SIGTERM)  # a background process ignores Ctrl-C

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Keep working if standard output or error is closed or missing.

    Characters that the console does not support are replaced.
    """
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Lasting, before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _fill_descriptors():
    """Reopen standard streams closed by a service or `>&-`: the next file opened would receive what libraries print."""
    for n in range(3):
        try:
            os.fstat(n)
        except OSError:
            found = os.open(os.devnull, os.O_RDWR)
            if found != n:
                os.dup2(found, n)
                os.close(found)
            os.set_inheritable(n, True)


class _Lasting:
    """A text stream that discards output after its reader is gone."""

    def __init__(self, stream):
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._let_go()
            return len(text)

    def flush(self):
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def _let_go(self):
        """Redirect the descriptor to the null device, or the interpreter would fail when it exits."""
        with suppress(OSError, ValueError):
            number, nothing = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, number)
            os.close(nothing)
