"""The queue of scheduled items."""

from __future__ import annotations

import math

import attrs
import pytest

from asyncbackups._polling.timers import TimerQueue


@attrs.define(eq=False)
class Item:
    due: float = math.inf


def test_items_are_ordered_by_time() -> None:
    """Items come out by time, and in the order of scheduling if their times are equal."""
    queue: TimerQueue[Item] = TimerQueue()
    late, first, second = Item(), Item(), Item()
    queue.schedule(late, 9.0)
    queue.schedule(first, 5.0)
    queue.schedule(second, 5.0)
    assert [queue.next_time(), queue.pop_first(), queue.pop_first(), queue.next_time()] == [5.0, first, second, 9.0]
    assert first.due == math.inf


def test_items_can_be_moved_and_removed() -> None:
    """Assigning `due` removes an item, scheduling it again moves it."""
    queue: TimerQueue[Item] = TimerQueue()
    removed, moved = Item(), Item()
    queue.schedule(removed, 1.0)
    queue.schedule(moved, 2.0)
    removed.due = math.inf
    queue.schedule(moved, 7.0)
    assert queue.overdue_items(10.0) == [moved]
    assert queue.next_time() == 7.0
    assert queue.peek_first() is moved
    assert queue.pop_first() is moved
    assert queue.next_time() == math.inf
    assert queue.peek_first() is None
    with pytest.raises(IndexError):
        queue.pop_first()


def test_queue_memory_is_proportional_to_its_items() -> None:
    """An item moved ten thousand times is not kept ten thousand times."""
    queue: TimerQueue[Item] = TimerQueue()
    items = [Item() for _ in range(50)]
    for number in range(10_000):
        queue.schedule(items[number % 50], float(number))
    assert len(queue) <= 128
    assert queue.next_time() == 9_950.0
    queue.clear()
    assert len(queue) == 0
