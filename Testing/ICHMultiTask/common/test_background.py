"""Work one step ahead of a loop, in a thread."""

import threading

import pytest

from ICHMultiTaskLib.common.background import one_ahead


def test_the_next_item_is_worked_on_while_the_loop_has_the_first():
    started = {item: threading.Event() for item in "abc"}

    def work(item):
        started[item].set()
        return item.upper()

    found = []
    for item, result in one_ahead(work, "abc"):
        found.append((item, result()))
        if item == "a":
            assert started["b"].wait(30) and not started["c"].is_set()
    assert found == [("a", "A"), ("b", "B"), ("c", "C")]
    assert list(one_ahead(work, "")) == []


def test_an_error_is_raised_at_its_own_item():
    found = []
    for item, result in one_ahead(lambda n: 6 // n, [3, 0, 2]):
        if item:
            found.append(result())
            continue
        with pytest.raises(ZeroDivisionError):
            result()
    assert found == [2, 3]


def test_a_loop_that_ends_early_leaves_the_rest_undone():
    done, proceed = [], threading.Event()

    def work(item):
        done.append(item)
        proceed.wait(30)

    for _ in one_ahead(work, range(5)):
        break
    proceed.set()
    assert set(done) <= {0, 1}
