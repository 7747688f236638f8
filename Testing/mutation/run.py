"""Mutation score: how many small faults, put into the code one at a time, do the tests notice?

The faults are made by cosmic-ray (``pip install cosmic-ray==8.7.0``), and its sessions hold the results, so that
``cr-report``, ``cr-rate`` and ``cr-html`` read them. Only the execution is our own: ``cosmic-ray exec`` starts a Python
for every mutant, which imports PyTorch anew for seconds; here a process is forked after the imports, and the mutated
code exists in its memory alone.
"""

import argparse
import ast
import difflib
import gc
import importlib
import importlib.machinery
import os
import random
import resource
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tomllib
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "numpy", "scipy.stats", "scipy.optimize", "scipy.ndimage", "SimpleITK", "torch", "pydicom", "jinja2", "pandas",
    "sklearn.linear_model", "sklearn.metrics", "sklearn.calibration", "threadpoolctl", "matplotlib", "monai.visualize",
)  # fmt: skip
"""What the tests import: loaded once, before the processes fork."""


def main():
    """Run the mutants that have no result yet, then print the table and what survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="parts of names in mutation.toml; default: all")
    parser.add_argument(
        "--sessions", type=Path, default=ROOT / "build" / "mutation", help="folder of cosmic-ray's sessions"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="time for each file; a further start goes on"
    )
    parser.add_argument("--again", action="store_true", help="run the survivors again, after tests were written")
    options = parser.parse_args()
    config = tomllib.loads(Path(__file__).with_name("mutation.toml").read_text())
    chosen = {
        path: tests
        for path, tests in config["files"].items()
        if not options.files or any(part in path for part in options.files)
    }
    options.sessions.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    rows, survivors = [], []
    for path, tests in chosen.items():
        with use_db(options.sessions / (path.replace("/", ".") + ".sqlite")) as database:
            if not database.num_work_items:
                database.add_work_items(mutants(path, config["operators"]))
            if options.seconds > 0:
                run(database, tests, options)
            rows.append(row(path, database))
            survivors += [
                f"{path}: {changed_line(result.diff)}"
                for _, result in database.completed_work_items
                if result.test_outcome == TestOutcome.SURVIVED
            ]
    print("| file | mutants | run | killed | score |\n|---|---|---|---|---|", *rows, "", *survivors, sep="\n")


def mutants(path, operators):
    """Mutants of one file, as cosmic-ray's work, in an order drawn with the seed 1; annotations are left out."""
    source = Path(path).read_text()
    tree, hints, found = get_ast(source), annotations(source), []
    for name in operators:
        operator = get_operator("core/" + name)()
        positions = [span for node in ast_nodes(tree) for span in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(positions):
            if not any(low <= start < high for low, high in hints):
                found.append(MutationSpec(path, "core/" + name, occurrence, start, end))
    drawn = random.Random(1).sample(found, len(found))
    return [WorkItem.single(f"{n:04d}", mutation) for n, mutation in enumerate(drawn)]


def annotations(source):
    """Where type hints begin and end, as (line, column) pairs."""
    hints = []
    for node in ast.walk(ast.parse(source)):
        hints += [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [((hint.lineno, hint.col_offset), (hint.end_lineno, hint.end_col_offset)) for hint in hints if hint]


def run(database, tests, options):
    """Run the tests against each mutant without a result; with `again`, against each that survived."""
    for library in LIBRARIES:
        try:
            importlib.import_module(library)
        except ImportError:
            print(f"{library} is missing: tests that need it are skipped")
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # so that the memory stays shared with the forked processes
    rounds = []
    for name in ("first", "tests"):
        if name in tests:
            arguments = ["-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests[name])]
            rounds.append((arguments, 4 + 3 * seconds_without_fault(arguments)))
    again = {item.job_id for item, result in database.completed_work_items if not result.is_killed}
    items = (
        [item for item in database.work_items if item.job_id in again] if options.again else database.pending_work_items
    )
    began = time.monotonic()
    for item in sorted(items, key=lambda item: item.job_id):
        if time.monotonic() - began > options.seconds:
            break
        mutation = item.mutations[0]
        path = mutation.module_path
        source = path.read_text()
        code = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
        survived = all(status_of(arguments, limit, path, code)[0] == 0 for arguments, limit in rounds)
        diff = "\n".join(
            difflib.unified_diff(source.splitlines(), code.splitlines(), str(path), str(path), lineterm="")
        )
        outcome = TestOutcome.SURVIVED if survived else TestOutcome.KILLED
        database.set_result(item.job_id, WorkResult(WorkerOutcome.NORMAL, None, outcome, diff))
        if survived:
            print(f"survived: {changed_line(diff)}", flush=True)


def seconds_without_fault(arguments):
    """Processor time of the tests on the code as it is; they must pass."""
    status, seconds = status_of(arguments, None)
    if status:
        sys.exit(f"the tests fail without a mutant: {shlex.join(arguments)}")
    return seconds


def status_of(arguments, limit, path=None, code=None):
    """Exit status of pytest in a forked process in which `path` has the source `code`, and its processor time (s)."""
    child = os.fork()
    if not child:
        status = 99
        try:
            if limit is not None:  # a mutant may loop, wait or grow for ever
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
                resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
                signal.alarm(900)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            if code is not None:
                put_in_place(path.resolve(), code)
            with tempfile.TemporaryDirectory() as folder:
                status = int(pytest.main([*arguments, "--basetemp", folder]))
        finally:
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def put_in_place(path, code):
    """Let the import of the file at `path` give `code`."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader, name):
        return compile(code, path, "exec") if Path(loader.path).resolve() == path else original(loader, name)

    importlib.machinery.SourceFileLoader.get_code = get_code


def row(path, database):
    """One row of the table."""
    outcomes = [result.test_outcome for _, result in database.results]
    killed = outcomes.count(TestOutcome.KILLED)
    score = f"{100 * killed / len(outcomes):.0f} %" if outcomes else ""
    return f"| `{'/'.join(path.split('/')[2:])}` | {database.num_work_items} | {len(outcomes)} | {killed} | {score} |"


def changed_line(diff):
    """Old and new text of the first line that a mutant changed."""
    lines = diff.splitlines()[2:]
    old = next((line[1:].strip() for line in lines if line.startswith("-")), "")
    new = next((line[1:].strip() for line in lines if line.startswith("+")), "")
    return f"`{old}` → `{new}`"


if __name__ == "__main__":
    main()
