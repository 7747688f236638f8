"""Scans read and given to an analyzer, in several processes or with the next one read meanwhile."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.background import one_ahead
from ICHMultiTaskLib.common.processes import in_processes, usable_cores
from ICHMultiTaskLib.common.progress import NO_PROGRESS, Progress
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.reading import read_head_ct

from .manifest import Row

SCANS_WORTH_A_PROCESS = 4
"""Starting a process and loading the model takes as long as analyzing about this many scans."""
MEMORY_BYTES = 2 * 1024**3
"""Of a process that has loaded PyTorch and analyzes a scan of thin slices."""


def processes_for(device: str) -> int:
    """Number of processes that analyze scans fastest: one for each processor, if memory allows; on a GPU one."""
    from ICHMultiTaskLib.model.runtime import choose_device, free_memory

    if choose_device(device) != "cpu":
        return 1
    memory = free_memory("cpu")
    return max(1, min(usable_cores(), usable_cores() if memory is None else memory // MEMORY_BYTES))


def copier(analyzer: Analyzer) -> Callable[[], Analyzer]:
    """A function for `in_processes` that makes a copy of an analyzer in each process."""
    # Bytes, since PyTorch would put the weights of an object into shared memory, of which containers have little.
    return partial(pickle.loads, pickle.dumps(analyzer))


def analyze_each(
    function: Callable[[Row | Path, Callable[[], HeadCT], Analyzer], Any],
    scans: Sequence[Row | Path],
    analyzer: Analyzer,
    processes: int = 1,
    progress: Progress = NO_PROGRESS,
    step: str = "",
) -> list:
    """Call a function with each scan and an analyzer.

    Parameters
    ----------
    function : callable (scan, reading, analyzer)
        `reading()` returns the scan, or raises the error that reading it raised. With several processes, `function`
        and its results are pickled.
    scans : sequence of Row or Path
        Rows of a manifest, or the scans themselves.
    analyzer : Analyzer
        Each process gets a copy.
    processes : int
    progress : callable (fraction, message)
        May raise Canceled.
    step : str
        Words after the number of the scan in the messages.

    Returns
    -------
    list
        What the function returned for each scan.
    """
    count = min(processes, len(scans) // SCANS_WORTH_A_PROCESS)
    if count < 2:
        found = _one_by_one(function, scans, analyzer)
    else:
        found = in_processes(partial(_read_and_call, function), scans, count, setup=copier(analyzer))
    results = [None] * len(scans)
    progress(0.0, f"Scan 1 of {len(scans)}{step}")
    with closing(found):  # ends the processes at once if the progress raises Canceled
        for done, (number, result) in enumerate(found, start=1):
            results[number] = result
            progress(done / len(scans), f"Scan {min(done + 1, len(scans))} of {len(scans)}{step}")
    return results


def _one_by_one(function, scans, analyzer):
    for number, (scan, reading) in enumerate(one_ahead(_read, scans)):
        yield number, function(scan, reading, analyzer)


def _read_and_call(function, scan, analyzer):
    return function(scan, partial(_read, scan), analyzer)


def _read(scan):
    return read_head_ct(scan.image if isinstance(scan, Row) else scan)
