#!/usr/bin/env python3
"""Analyze a head CT or run the tests, from a clone with nothing else installed.

    python3 run.py analyze [PATH] [--output DIR] [--model BUNDLE] [--device auto|cpu|cuda|mps]
    python3 run.py test [pytest arguments]

The first run makes the environment .venv beside this file and installs the packages into it, which takes minutes;
later runs start at once and need no network. Exit status: 0 done, 1 refused or failed, 2 wrong usage.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  (this file must parse on old interpreters, to say this)
    sys.stderr.write("Python {}.{} is too old: expected Python 3.10 or newer.\n".format(*sys.version_info[:2]))
    sys.exit(1)

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
OURS = ".made-by-run.py"
"""Written into the environment before anything else: an environment without it belongs to the user."""

COMMANDS = {
    "analyze": ["-m", "ICHMultiTaskLib.cli", "analyze"],
    "test": ["-m", "pytest"],
}
INSTALLS = {
    "analyze": [["-e", "."]],
    # MONAI and PyTorchVideo are the tests' oracles. Neither needs its own requirements here: MONAI's could replace
    # PyTorch, PyTorchVideo's include a video decoder.
    "test": [["-e", ".[test]"], ["--no-deps", "monai", "pytorchvideo"]],
}


class Failure(Exception):
    """One sentence for the user."""


def environment_python():
    """Path of the environment's interpreter, whether it exists or not."""
    return ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint():
    """Changes when the environment has to be installed anew: other requirements, or a clone that was moved."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt", "run.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp(command):
    """The file that holds the fingerprint of the last complete installation for a command."""
    return ENVIRONMENT / f".installed-for-{command}"


def is_ready(command):
    """Whether everything that a command needs is installed."""
    stamps = [stamp(command)] + ([stamp("test")] if command == "analyze" else [])
    now = fingerprint()
    return environment_python().exists() and any(s.is_file() and s.read_text() == now for s in stamps)


def prepare(command):
    """Make the environment and install what a command needs.

    Raises
    ------
    Failure
        In one sentence; the next run starts over.
    """
    say(f"Setting up {ENVIRONMENT} with Python {sys.version.split()[0]}; this takes a few minutes, once.")
    fresh = not is_sound()
    try:
        if fresh:
            make_environment()
        for old in INSTALLS:
            stamp(old).unlink(missing_ok=True)  # whatever stops the installation: the next run starts over
        for requirements in INSTALLS[command]:
            install(requirements)
    except BaseException:
        if fresh:
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        raise
    stamp(command).write_text(fingerprint())
    say("Ready.")


def is_sound():
    """Whether the environment can be installed into; False if it is missing, half-made or its Python is gone."""
    if not environment_python().exists():
        return False
    if not (ENVIRONMENT / OURS).is_file():
        raise Failure(f"{ENVIRONMENT} was not made by run.py; rename or remove it, and run again.")
    return any(stamp(command).is_file() for command in INSTALLS)


def make_environment():
    try:
        import ensurepip  # noqa: F401  (Debian leaves it out of its python3 package)
        import venv  # noqa: F401
    except ImportError:
        version = "{}.{}".format(*sys.version_info[:2])
        raise Failure(
            f"This Python {version} comes without its venv module; install it "
            f"(Debian, Ubuntu: sudo apt install python{version}-venv) and run again."
        ) from None
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    ENVIRONMENT.mkdir()
    (ENVIRONMENT / OURS).touch()
    run_quietly([sys.executable, "-m", "venv", str(ENVIRONMENT)], "The environment could not be made")


def install(requirements):
    python = str(environment_python())
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    run_quietly([*command, "-c", "constraints.txt", *requirements], "The packages could not be installed")


def run_quietly(command, failure):
    """Run a command in the clone; show its steps on one line, and its last error in the sentence if it fails."""
    environment = {**os.environ, "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONHOME", None)
    lines = []
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    try:
        for line in process.stdout:
            lines.append(line.strip())
            show_step(lines[-1])
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdout.close()
        status = process.wait()
        show_step("")
    if status:
        raise Failure(f"{failure}: {reason(lines)}")


def reason(lines):
    """The line of a failed installation that says why."""
    text = "\n".join(lines)
    if "No space left on device" in text or "Errno 28" in text or "WinError 112" in text:
        return f"the disk of {ROOT} is full; free about 4 GB and run again."
    if "NewConnectionError" in text or "NameResolutionError" in text or "Temporary failure in name" in text:
        return "the package index cannot be reached; the first run needs a network."
    errors = [line for line in lines if line.startswith("ERROR:")] or [line for line in lines if line]
    return errors[-1].removeprefix("ERROR: ").rstrip(".") + "." if errors else "it gave no reason."


def show_step(line):
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r" + line[:width].ljust(width) + ("" if line else "\r"))
        sys.stderr.flush()


def say(sentence):
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def start(command, arguments):
    """Replace this process by the command, or follow it where the system cannot; return its exit status."""
    line = [str(environment_python()), *COMMANDS[command], *arguments]
    if command == "test":
        os.chdir(ROOT)
    if os.name != "nt":
        sys.stdout.flush()
        os.execv(line[0], line)
    # The pipe tells the command when this process ends, in whatever way: Windows ends no children with their parent.
    environment = {**os.environ, "ICHMULTITASK_ENDS_WITH_INPUT": "1"}
    process = subprocess.Popen(line, stdin=subprocess.PIPE, env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the command got Ctrl-C as well, and says what it does about it


def main(arguments):
    """Run a command; return its exit status."""
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(__doc__)
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        found = f"found {arguments[0]!r}" if arguments else "found none"
        say(f"Expected a command, analyze or test; {found}. See python3 run.py --help.")
        return 2
    try:
        if not is_ready(arguments[0]):
            prepare(arguments[0])
        return start(arguments[0], arguments[1:])
    except Failure as failure:
        say(str(failure))
    except KeyboardInterrupt:
        say("Canceled; the next run starts the installation over.")
    except OSError as error:
        say(f"{error.filename or ROOT} cannot be used: {error.strerror or error}.")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
