"""A queue of timers that move often: the next polls of backups, lists and star systems."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Generic, Protocol, TypeVar

_SMALL = 64  # below this many stale entries a queue is not rebuilt


class _Scheduled(Protocol):
    due: float


_Item = TypeVar("_Item", bound=_Scheduled)


class TimerQueue(Generic[_Item]):
    """A heap of items ordered by their `due`. An item is in the queue only at its `due`: assigning it removes the item.

    Removed items stay in the heap until they come up, or until they outnumber the others, so that memory stays in
    proportion to what is queued.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Item]] = []
        self._order = count()
        self._limit = _SMALL

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, item: _Item, when: float) -> None:
        """Schedule an item at a time, instead of its earlier one."""
        item.due = when
        heapq.heappush(self._heap, (when, next(self._order), item))
        if len(self._heap) > self._limit:
            self._heap = [entry for entry in self._heap if entry[2].due == entry[0]]
            heapq.heapify(self._heap)
            self._limit = max(_SMALL, 2 * len(self._heap))

    def next_time(self) -> float:
        """Return when the first item is due; infinity if the queue is empty."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def peek_first(self) -> _Item | None:
        """Return the item that is due first, without removing it; None if the queue is empty."""
        return self._heap[0][2] if self.next_time() < math.inf else None

    def pop_first(self) -> _Item:
        """Remove and return the item that is due first, whose `due` becomes infinity; `IndexError` if there is none."""
        self.next_time()
        item = heapq.heappop(self._heap)[2]
        item.due = math.inf
        return item

    def overdue_items(self, now: float) -> list[_Item]:
        """Return the items whose time has come, in no order, without removing them."""
        return [item for when, _, item in self._heap if when <= now and item.due == when]

    def clear(self) -> None:
        self._heap.clear()
        self._limit = _SMALL
