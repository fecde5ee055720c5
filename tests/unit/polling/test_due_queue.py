"""A heap whose items may be elsewhere by now."""

from __future__ import annotations

import math

import attrs
import pytest

from asyncbackups._polling.due_queue import TimerQueue


@attrs.define(eq=False)
class Thing:
    due: float = math.inf


def test_first_due_comes_first() -> None:
    """Items come out by time, and of equal times in the order in which they came."""
    queue: TimerQueue[Thing] = TimerQueue()
    late, first, second = Thing(), Thing(), Thing()
    queue.put(late, 9.0)
    queue.put(first, 5.0)
    queue.put(second, 5.0)
    assert [queue.next(), queue.pop(due=0.0), queue.pop(due=0.0), queue.next()] == [5.0, first, second, 9.0]
    assert first.due == 0.0


def test_item_that_was_put_elsewhere_is_there() -> None:
    """Setting `due` takes an item out, putting it again moves it."""
    queue: TimerQueue[Thing] = TimerQueue()
    taken, moved = Thing(), Thing()
    queue.put(taken, 1.0)
    queue.put(moved, 2.0)
    taken.due = math.inf
    queue.put(moved, 7.0)
    assert queue.overdue(10.0) == [moved]
    assert queue.next() == 7.0
    assert queue.pop(due=math.inf) is moved
    assert queue.next() == math.inf
    with pytest.raises(IndexError):
        queue.pop(due=0.0)


def test_memory_stays_in_proportion() -> None:
    """An item moved ten thousand times is not kept ten thousand times."""
    queue: TimerQueue[Thing] = TimerQueue()
    things = [Thing() for _ in range(50)]
    for number in range(10_000):
        queue.put(things[number % 50], float(number))
    assert len(queue) <= 128
    assert queue.next() == 9_950.0
    queue.clear()
    assert len(queue) == 0
