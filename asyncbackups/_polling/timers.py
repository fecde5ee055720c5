"""Deadlines of very many waits, a few bytes each: they are kept in slots of time instead of one by one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")

_COARSEST = 1.0  # seconds
_PARTS = 256
_FEW = 64


class DeadlineTimers(Generic[_Item]):
    """Items, and when their time is up: each deadline is rounded up by at most 1/256 of what is left, never over 1 s.

    Items that end early are only counted; once they are a quarter of the open ones the slots are swept, so that memory
    stays in proportion to what is open. With the last open one everything is forgotten.

    Args:
        is_open: Says whether an item still waits.
    """

    def __init__(self, is_open: Callable[[_Item], bool]) -> None:
        self._is_open = is_open
        self._slots: dict[float, list[_Item]] = {}
        self._times: list[float] = []
        self._open = 0
        self._ended = 0
        self._latest = -math.inf

    def __len__(self) -> int:
        return self._open

    def rounded(self, when: float, *, now: float) -> float:
        """Return a time rounded as said above, and for equal ones the same number: a million waits have one each.

        Args:
            when: The time, in seconds of the monotonic clock.
            now: The time now.
        """
        rounded = _rounded_up(when, now)
        if rounded != self._latest:
            self._latest = rounded
        return self._latest

    def add(self, item: _Item, when: float, *, now: float) -> None:
        """Add an open item.

        Args:
            item: Who waits.
            when: When its time is up, in seconds of the monotonic clock; it is rounded.
            now: The time now.
        """
        rounded = _rounded_up(when, now)
        items = self._slots.get(rounded)
        if items is None:
            items = self._slots[rounded] = []
            heapq.heappush(self._times, rounded)
        items.append(item)
        self._open += 1

    def ended(self) -> None:
        """Count one item that is no longer open."""
        self._open -= 1
        self._ended += 1
        self._tidy()

    def _tidy(self) -> None:
        if not self._open:
            self._slots.clear()
            self._times.clear()
            self._ended = 0
        elif self._ended > max(_FEW, self._open // 4):
            self._sweep()

    def _sweep(self) -> None:
        left = {slot: [item for item in items if self._is_open(item)] for slot, items in self._slots.items()}
        self._slots = {slot: items for slot, items in left.items() if items}
        self._times = sorted(self._slots)
        self._ended = 0

    def next(self) -> float:
        """Return when the next time is up; infinity for never. What ended early may still count for a while."""
        return self._times[0] if self._times else math.inf

    def pop_due(self, now: float, *, most: int) -> list[_Item]:
        """Take out open items whose time is up, at most so many; more may be left."""
        due: list[_Item] = []
        while self._times and self._times[0] <= now and len(due) < most:
            items = self._slots[self._times[0]]
            portion = items[: most - len(due)]
            del items[: len(portion)]
            if not items:
                del self._slots[heapq.heappop(self._times)]
            due += [item for item in portion if self._is_open(item)]
            self._ended -= sum(not self._is_open(item) for item in portion)
        self._open -= len(due)
        self._tidy()
        return due


def _rounded_up(when: float, now: float) -> float:
    # Powers of two, so that deadlines added at different times meet in the same slots.
    step = 2.0 ** math.floor(math.log2(max(1e-3, min(_COARSEST, (when - now) / _PARTS))))
    return math.ceil(when / step) * step
