"""One queue of work: what runs when, what is handed over, and what is not."""

import threading
import time

import pytest

from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.common.work_queue import WorkQueue


def drain(queue):
    while queue.drain(0.05):
        pass


class Gate:
    """Work that goes on until it is let through, and reports progress meanwhile."""

    def __init__(self, result=None):
        self.open, self.started, self.result = threading.Event(), threading.Event(), result

    def __call__(self, progress):
        self.started.set()
        while not self.open.wait(0.002):
            progress(0.5, "waiting")
        return self.result


def test_one_after_another_in_their_order():
    queue, done, running = WorkQueue(), [], []

    def work(name):
        def run(progress):
            running.append(name)
            assert running == [name], "nothing else runs"
            time.sleep(0.01)
            running.remove(name)
            return name

        return run

    for name in ("analysis", "comparison", "report"):
        queue.submit(name, work(name), done.append)
    assert queue.busy and queue.job("report").waiting
    drain(queue)
    assert done == ["analysis", "comparison", "report"] and not queue.busy


def test_another_kind_does_not_cancel_a_running_report():
    queue, report, done = WorkQueue(), Gate("page"), []
    queue.submit("report", report, done.append)
    queue.submit("attention", lambda progress: "map", done.append)
    assert report.started.wait(5) and not queue.job("report").canceled
    report.open.set()
    drain(queue)
    assert done == ["page", "map"]


def test_the_latest_of_a_kind_takes_the_place_of_the_others():
    queue, first, done, ended = WorkQueue(), Gate("first"), [], []
    queue.submit("attention", first, done.append, ended.append)
    queue.submit("attention", lambda progress: "second", done.append, ended.append)
    queue.submit("attention", lambda progress: "third", done.append, ended.append)
    drain(queue)
    assert done == ["third"] and ended == [None], "nothing is heard of what was replaced"


def test_what_was_dropped_ends_before_the_next_begins():
    queue, stubborn = WorkQueue(), threading.Event()
    alive = []

    def old(progress):
        alive.append(True)
        stubborn.wait(120)
        alive.clear()

    queue.submit("analysis", old, pytest.fail)
    while not alive:
        time.sleep(0.001)
    queue.drop()
    seen = []
    queue.submit("analysis", lambda progress: list(alive), seen.append)
    queue.drain()
    assert queue.job("analysis").waiting
    stubborn.set()
    drain(queue)
    assert seen == [[]], "two pieces of work never share a network"


def test_cancel_is_said_and_gives_no_result():
    queue, gate, ended = WorkQueue(), Gate(), []
    queue.submit("analysis", gate, pytest.fail, ended.append)
    queue.submit("growth", lambda progress: None, pytest.fail, ended.append)
    gate.started.wait(120)
    queue.cancel("growth")
    assert isinstance(ended[0], Canceled) and queue.job("growth") is None
    queue.cancel("analysis")
    assert queue.job("analysis").canceled
    drain(queue)
    assert isinstance(ended[1], Canceled) and len(ended) == 2
    queue.cancel("analysis")


def test_work_about_a_thing_that_is_gone_is_dropped():
    queue, gate, done, scan, other = WorkQueue(), Gate(), [], object(), object()
    queue.submit("analysis", gate, pytest.fail, pytest.fail, about=(scan,))
    queue.submit("comparison", lambda progress: None, pytest.fail, pytest.fail, about=(other, scan))
    queue.submit("report", lambda progress: "kept", done.append, about=(other,))
    queue.drop(scan)
    drain(queue)
    assert done == ["kept"]


@pytest.mark.parametrize("place", ["work", "when_done"])
@pytest.mark.parametrize("kind", [InputError, ZeroDivisionError])
def test_errors_are_handed_over_wherever_they_come_from(place, kind):
    def fail(*_):
        raise kind("The scan is gone.")

    queue, ended = WorkQueue(), []
    work, when_done = (fail, pytest.fail) if place == "work" else (lambda progress: None, fail)
    queue.submit("analysis", work, when_done, ended.append)
    drain(queue)
    assert isinstance(ended[0], kind)


def test_a_result_may_let_more_work_wait():
    queue, done = WorkQueue(), []
    queue.submit("analysis", lambda p: 1, lambda r: queue.submit("analysis", lambda p: r + 1, done.append))
    drain(queue)
    assert done == [2]


def test_listeners_hear_of_progress_and_not_of_every_turn():
    queue, gate, heard = WorkQueue(), Gate(), []
    queue.submit("analysis", gate, lambda result: None)
    queue.listeners.append(lambda: heard.append(queue.job("analysis") and queue.job("analysis").message))
    while "waiting" not in heard:
        queue.drain(0.01)
    count = len(heard)
    for _ in range(20):
        queue.drain()
    assert len(heard) <= count + 1
    gate.open.set()
    drain(queue)
    assert heard[-1] is None


def test_listeners_hear_of_the_end_of_work_that_was_over_at_once():
    queue, done = WorkQueue(), []
    for n in range(3):
        job = queue.submit("compare", lambda progress, n=n: n, done.append)
        job._task.wait(60)  # before anybody looks at its progress
        heard = []
        queue.listeners[:] = [lambda heard=heard: heard.append(len(done))]
        while queue.drain(0.01):
            pass
        assert heard and heard[-1] == n + 1


def test_stop_waits_for_what_is_running_and_drops_the_rest():
    queue, running, waiting = WorkQueue(), Gate(), Gate()
    queue.submit("first", running, pytest.fail)
    queue.submit("second", waiting, pytest.fail)
    assert running.started.wait(5)
    assert queue.stop(5) and not queue.busy and not waiting.started.is_set()
    deaf = threading.Event()
    queue.submit("deaf", lambda progress: deaf.wait(5), pytest.fail)
    assert not queue.stop(0.02), "it reports no progress, at which it would stop"
    deaf.set()
    assert queue.stop(5)
