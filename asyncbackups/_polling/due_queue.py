"""Things in the order in which they are due, where most are put elsewhere again before their time comes."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Generic, Protocol, TypeVar

_FEW = 64


class _Due(Protocol):
    due: float


_Item = TypeVar("_Item", bound=_Due)


class TimerQueue(Generic[_Item]):
    """A heap of items by their `due`, which says where an item really is: setting it to something else takes it out.

    What was taken out stays in the heap until it comes up, or until it is the greater part of it: memory stays in
    proportion to what is in the queue.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Item]] = []
        self._order = count()
        self._limit = _FEW

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, item: _Item, when: float) -> None:
        """Let an item be due at a time, and at no other."""
        item.due = when
        heapq.heappush(self._heap, (when, next(self._order), item))
        if len(self._heap) > self._limit:
            self._heap = [entry for entry in self._heap if entry[2].due == entry[0]]
            heapq.heapify(self._heap)
            self._limit = max(_FEW, 2 * len(self._heap))

    def next(self) -> float:
        """Return when the first item is due; infinity where there is none."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def first(self) -> _Item | None:
        """Return the item that is due first; None where there is none. It stays where it is."""
        return self._heap[0][2] if self.next() < math.inf else None

    def pop(self, *, due: float) -> _Item:
        """Take out the item that is due first.

        Args:
            due: What its `due` is from now on.

        Raises:
            IndexError: If there is none.
        """
        self.next()
        item = heapq.heappop(self._heap)[2]
        item.due = due
        return item

    def overdue(self, now: float) -> list[_Item]:
        """Return the items whose time has come, in no order; they stay where they are."""
        return [item for when, _, item in self._heap if when <= now and item.due == when]

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._limit = _FEW
