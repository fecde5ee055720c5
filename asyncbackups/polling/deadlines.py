"""Deadlines of very many waits, a few bytes each: they are kept in slots of time instead of one by one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

_Item = TypeVar("_Item")

_COARSEST = 1.0  # seconds
_PARTS = 256
_FEW = 64


class Deadlines(Generic[_Item]):
    """Items, and when their time is up: each deadline is rounded up by at most 1/256 of what is left, never over 1 s.

    Items that end early are only counted; once they outnumber the open ones the slots are swept, so that memory
    stays in proportion to what is open.

    Args:
        is_open: Says whether an item still waits.
    """

    def __init__(self, is_open: Callable[[_Item], bool]) -> None:
        self._is_open = is_open
        # Each slot's time is kept beside its items, so that they share one number instead of having one each.
        self._slots: dict[float, tuple[float, list[_Item]]] = {}
        self._times: list[float] = []
        self._open = 0
        self._ended = 0

    def __len__(self) -> int:
        return self._open

    def add(self, item: _Item, when: float, *, now: float) -> float:
        """Add an open item.

        Args:
            item: Who waits.
            when: When its time is up, in seconds of the monotonic clock.
            now: The time now.

        Returns:
            When its time is really up, rounded as said above.
        """
        rounded = _rounded_up(when, now)
        found = self._slots.get(rounded)
        if found is None:
            found = self._slots[rounded] = (rounded, [])
            heapq.heappush(self._times, rounded)
        slot, items = found
        items.append(item)
        self._open += 1
        return slot

    def ended(self) -> None:
        """Count one item that is no longer open."""
        self._open -= 1
        self._ended += 1
        if self._ended > max(_FEW, self._open):
            self._sweep()

    def _sweep(self) -> None:
        left = {slot: [item for item in items if self._is_open(item)] for slot, items in self._slots.values()}
        self._slots = {slot: (slot, items) for slot, items in left.items() if items}
        self._times = sorted(self._slots)
        self._ended = 0

    def next(self) -> float | None:
        """Return when the next time is up, or None. What ended early may still be counted for a while."""
        return self._times[0] if self._times else None

    def pop_due(self, now: float) -> Iterator[_Item]:
        """Give out the open items whose time is up; they are no longer kept."""
        while self._times and self._times[0] <= now:
            for item in self._slots.pop(heapq.heappop(self._times))[1]:
                if self._is_open(item):
                    self._open -= 1
                    yield item
                else:
                    self._ended -= 1


def _rounded_up(when: float, now: float) -> float:
    # Powers of two, so that deadlines added at different times meet in the same slots.
    step = 2.0 ** math.floor(math.log2(max(1e-3, min(_COARSEST, (when - now) / _PARTS))))
    return math.ceil(when / step) * step
