"""Deadlines in slots of time."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.timers import DeadlineTimers


@attrs.define(eq=False)
class Item:
    open: bool = True


@pytest.fixture
def deadlines() -> DeadlineTimers[Item]:
    return DeadlineTimers(lambda item: item.open)


def end(deadlines: DeadlineTimers[Item], item: Item) -> None:
    item.open = False
    deadlines.ended()


@given(now=st.floats(0, 1e7), left=st.floats(0, 1e7))
def test_deadline_is_rounded_up_a_little(now: float, left: float) -> None:
    """Nobody's time is up early, and nobody's over a second, or a 256th of what was left, late."""
    rounded = DeadlineTimers[Item](lambda item: item.open).rounded(now + left, now=now)
    assert now + left <= rounded <= now + left + min(1.0, max(0.001, left / 256)) + 1e-6


def test_items_come_out_in_order_of_time(deadlines: DeadlineTimers[Item]) -> None:
    """Whose time is up first comes out first, whose is not stays."""
    late, early, never = Item(), Item(), Item()
    for item, when in ((late, 20.0), (early, 10.0), (never, 1e6)):
        deadlines.add(item, when, now=0.0)
    assert deadlines.next() == pytest.approx(10.0, abs=0.1)
    assert deadlines.pop_due(30.0, most=10) == [early, late]
    assert len(deadlines) == 1


def test_very_many_come_out_in_portions(deadlines: DeadlineTimers[Item]) -> None:
    """No more come out at once than asked for, and none is lost in between."""
    items = [Item() for _ in range(10)]
    for item in items:
        deadlines.add(item, 10.0, now=0.0)
    out = []
    for _ in range(4):
        out.append(deadlines.pop_due(11.0, most=3))
        for item in out[-1]:
            item.open = False
    assert [len(portion) for portion in out] == [3, 3, 3, 1]
    assert [item for portion in out for item in portion] == items
    assert deadlines.next() == math.inf


def test_ended_items_do_not_come_out(deadlines: DeadlineTimers[Item]) -> None:
    """Who no longer waits is not told, though it may still be counted for a while."""
    gone, left, later = Item(), Item(), Item()
    deadlines.add(gone, 10.0, now=0.0)
    deadlines.add(left, 10.0, now=0.0)
    deadlines.add(later, 1e6, now=0.0)
    end(deadlines, gone)
    assert len(deadlines) == 2
    assert deadlines.pop_due(11.0, most=10) == [left]
    assert len(deadlines) == 1


def test_nothing_is_kept_once_all_have_ended(deadlines: DeadlineTimers[Item]) -> None:
    """There is no time to wake up for, and no memory, when nobody waits."""
    items = [Item() for _ in range(5)]
    for item in items:
        deadlines.add(item, 86400.0, now=0.0)
    for item in items:
        end(deadlines, item)
    assert deadlines.next() == math.inf
    assert not deadlines._slots


def test_memory_stays_in_proportion_to_what_is_open(deadlines: DeadlineTimers[Item]) -> None:
    """However many come and go with far deadlines, about as many are kept as are open."""
    stays = [Item() for _ in range(100)]
    for number, item in enumerate(stays):
        deadlines.add(item, 86400.0 + number, now=0.0)
    for number in range(5_000):
        item = Item()
        deadlines.add(item, 86400.0 + number % 7, now=0.0)
        end(deadlines, item)
    assert sum(len(items) for items in deadlines._slots.values()) <= 200
    assert deadlines.pop_due(1e6, most=1_000) == stays


def test_equal_deadlines_share_their_number(deadlines: DeadlineTimers[Item]) -> None:
    """A million deadlines in one slot are one number in memory."""
    first, second = (deadlines.rounded(86400.0 + few, now=0.0) for few in (0.1, 0.2))
    assert first is second
