"""Work shared by several processes, which end with this one."""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # which Windows and macOS lack
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(function, jobs, count, worth=1):
    """Call a function with each job, in several processes where there is more than one job.

    Parameters
    ----------
    function : callable (job)
        Found by its name in a module, as its results and errors are, for they are pickled.
    jobs : sequence
    count : int
        Of processes, of a thread each; with 1 the jobs are done here.
    worth : int
        Jobs for which a process is worth the seconds that it takes to start.

    Yields
    ------
    (int, object)
        Number of the job and what the function returned, as they come.

    Raises
    ------
    BrokenProcessPool
        If the system has ended a process, as it does where the memory is full. Whatever is raised, by the function or
        by who takes the results, ends all processes at once.
    """
    count = min(count, len(jobs) // worth)
    if count < 2:
        for number, job in enumerate(jobs):
            yield number, function(job)
        return
    before = set(multiprocessing.active_children())
    # Spawned, since forking a process that runs threads (PyTorch's, say) can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_follow_parent)
    try:
        with _no_interrupt(), _one_thread_each():
            futures = {pool.submit(_do, function, job): number for number, job in enumerate(jobs)}
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
    """Start children that ignore Ctrl-C, which a terminal sends to them as well: who started them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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


def _do(function, job):
    try:
        return function(job)
    except SystemExit:  # which the pool would take for an error of the job
        os._exit(1)


def _follow_parent():
    """End this process as soon as the one that started it has ended, in whatever way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is half-written is removed
    parent = multiprocessing.parent_process().sentinel

    def follow():
        wait([parent])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
