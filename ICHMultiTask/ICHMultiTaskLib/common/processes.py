"""Distribute work to several processes, which end with this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
ENDING = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
"""Signals that ask a program to end. Windows has no SIGHUP, other systems no SIGBREAK."""
_call = None
"""In a process of `in_processes`: its function, which makes the tool for its first job."""


def usable_cores() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # missing on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    function: Callable[..., Any],
    jobs: Sequence[Any],
    count: int,
    worth: int = 1,
    setup: Callable[[], Any] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Call a function with each job, in several processes if there is more than one job.

    Parameters
    ----------
    function : callable (job) or (job, tool)
        Defined at module level, like `setup`, its results and errors, because they are pickled.
    jobs : sequence
    count : int
        Number of processes, with one thread each; with 1 the jobs run in this process.
    worth : int
        Number of jobs that is worth the seconds that a process takes to start.
    setup : callable, optional
        Makes what all jobs of a process need, such as a loaded model; the function is given it as the second argument.

    Yields
    ------
    (int, object)
        Number of the job and the result of the function, as they become available.

    Raises
    ------
    BrokenProcessPool
        If the system has ended a process, as it does when memory runs out. Any error, of the function or of the
        consumer of the results, ends all processes at once.
    """
    count = min(count, len(jobs) // worth)
    if count < 2:
        call = _with_tool(function, setup)
        for number, job in enumerate(jobs):
            yield number, call(job)
        return
    before = set(multiprocessing.active_children())
    # Spawned, because forking a process with running threads, such as PyTorch's, can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(function, setup))
    try:
        with _no_interrupt(), _one_thread_each():
            futures = {pool.submit(_do, job): number for number, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_interrupt():
    """Let child processes ignore Ctrl-C, which a terminal also sends to them: their parent ends them.

    What ends this process waits until they are started, which takes seconds, and is not lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # which would unblock them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _one_thread_each():
    """Start children whose numerical libraries use one thread, or all of them together would use too many."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _with_tool(function, setup):
    """The function of a job alone; the tool is made for the first job, whose error it then is."""
    if setup is None:
        return function
    tool = cache(setup)
    return lambda job: function(job, tool())


def _do(job):
    try:
        return _call(job)
    except SystemExit:  # the pool would report it as an error of the job
        os._exit(1)


def _begin(function, setup):
    """Keep the function for all jobs, and end this process as soon as its parent has ended, even if it was killed."""
    global _call
    _call = _with_tool(function, setup)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # a waiting one ends this process, which has not begun
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # lets half-written files be removed
    parent = multiprocessing.parent_process().sentinel

    def follow():
        wait([parent])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
