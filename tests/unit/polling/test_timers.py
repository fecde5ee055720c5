"""The queue of scheduled items, and the deadlines of waits."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.timers import DeadlineTimers, TimerQueue
from tests.unit.polling.object_sizes import memory_of


@attrs.define(eq=False)
class Item:
    due: float = math.inf


@attrs.define(eq=False)
class Wait:
    open: bool = True


@pytest.fixture
def deadlines() -> DeadlineTimers[Wait]:
    return DeadlineTimers(lambda wait: wait.open)


def end_early(deadlines: DeadlineTimers[Wait], wait: Wait) -> None:
    wait.open = False
    deadlines.count_ended()


# -- the queue


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


# -- deadlines


@given(now=st.floats(0, 1e7), left=st.floats(0, 1e7))
def test_deadlines_are_rounded_up_slightly(now: float, left: float) -> None:
    """No deadline is early, and none is late by more than a second or a 256th of the time left."""
    rounded = DeadlineTimers[Wait](lambda wait: wait.open).round_deadline(now + left, now=now)
    assert now + left <= rounded <= now + left + min(1.0, max(0.001, left / 256)) + 1e-6


def test_waits_expire_in_order(deadlines: DeadlineTimers[Wait]) -> None:
    """Waits come out by deadline; a wait whose deadline has not passed stays."""
    late, early, never = Wait(), Wait(), Wait()
    for wait, when in ((late, 20.0), (early, 10.0), (never, 1e6)):
        deadlines.add(wait, when, now=0.0)
    assert deadlines.next_time() == pytest.approx(10.0, abs=0.1)
    assert deadlines.pop_due(30.0, limit=10) == [early, late]
    assert len(deadlines) == 1


def test_many_waits_expire_in_portions(deadlines: DeadlineTimers[Wait]) -> None:
    """No more waits come out at once than the limit, and none is lost."""
    waits = [Wait() for _ in range(10)]
    for wait in waits:
        deadlines.add(wait, 10.0, now=0.0)
    portions = []
    for _ in range(4):
        portions.append(deadlines.pop_due(11.0, limit=3))
        for wait in portions[-1]:
            wait.open = False
    assert [len(portion) for portion in portions] == [3, 3, 3, 1]
    assert [wait for portion in portions for wait in portion] == waits
    assert deadlines.next_time() == math.inf


def test_ended_waits_do_not_expire(deadlines: DeadlineTimers[Wait]) -> None:
    """A wait that ended early does not come out, although its slot may be kept for a while."""
    ended, open_wait, later = Wait(), Wait(), Wait()
    deadlines.add(ended, 10.0, now=0.0)
    deadlines.add(open_wait, 10.0, now=0.0)
    deadlines.add(later, 1e6, now=0.0)
    end_early(deadlines, ended)
    assert len(deadlines) == 2
    assert deadlines.pop_due(11.0, limit=10) == [open_wait]
    assert len(deadlines) == 1


def test_no_deadline_is_kept_after_the_last_wait(deadlines: DeadlineTimers[Wait]) -> None:
    """There is no time to wake up for, and no memory in use, after all waits have ended."""
    waits = [Wait() for _ in range(5)]
    for wait in waits:
        deadlines.add(wait, 86400.0, now=0.0)
    for wait in waits:
        end_early(deadlines, wait)
    assert deadlines.next_time() == math.inf
    assert memory_of(deadlines) < 2_000


def test_memory_of_deadlines_is_proportional_to_open_waits(deadlines: DeadlineTimers[Wait]) -> None:
    """However many waits with far deadlines end early, about as many are kept as are open."""
    waits = [Wait() for _ in range(100)]
    for number, wait in enumerate(waits):
        deadlines.add(wait, 86400.0 + number, now=0.0)
    for number in range(5_000):
        ended = Wait()
        deadlines.add(ended, 86400.0 + number % 7, now=0.0)
        end_early(deadlines, ended)
    assert memory_of(deadlines) < 40_000
    assert deadlines.pop_due(1e6, limit=1_000) == waits


def test_equal_deadlines_share_one_number(deadlines: DeadlineTimers[Wait]) -> None:
    """A million deadlines in one slot are one number in memory."""
    first, second = (deadlines.round_deadline(86400.0 + few, now=0.0) for few in (0.1, 0.2))
    assert first is second
