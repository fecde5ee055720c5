"""Queues of things that are due: polls that move often, and the deadlines of very many waits."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Generic, Protocol, TypeVar

_SMALL = 64  # below this many stale entries a queue is not rebuilt
_COARSEST = 1.0  # deadlines are rounded by at most this many seconds
_PARTS = 256  # deadlines are rounded by at most this fraction of the time that is left


class _Scheduled(Protocol):
    due: float


_Item = TypeVar("_Item", bound=_Scheduled)
_Wait = TypeVar("_Wait")


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


class DeadlineTimers(Generic[_Wait]):
    """The deadlines of very many waits, a few bytes each: they are kept in slots of time instead of one by one.

    Each deadline is rounded up by at most 1/256 of the time that is left, and never by more than 1 s. Waits that end
    early, as `is_open` reports, are only counted; once they are a quarter of the open ones, the slots are swept,
    so that memory stays in proportion to what is open. When the last open wait ends, all slots are cleared.
    """

    def __init__(self, is_open: Callable[[_Wait], bool]) -> None:
        self._is_open = is_open
        self._slots: dict[float, list[_Wait]] = {}
        self._times: list[float] = []
        self._open = 0
        self._ended = 0
        self._latest = -math.inf

    def __len__(self) -> int:
        return self._open

    def round_deadline(self, when: float, *, now: float) -> float:
        """Round a deadline up; equal results are one object, because a million waits hold one each."""
        rounded = _round_up(when, now)
        if rounded != self._latest:
            self._latest = rounded
        return self._latest

    def add(self, wait: _Wait, when: float, *, now: float) -> None:
        """Add an open wait; its deadline is rounded."""
        rounded = _round_up(when, now)
        waits = self._slots.get(rounded)
        if waits is None:
            waits = self._slots[rounded] = []
            heapq.heappush(self._times, rounded)
        waits.append(wait)
        self._open += 1

    def count_ended(self) -> None:
        """Count one wait that has ended before its deadline."""
        self._open -= 1
        self._ended += 1
        self._drop_ended()

    def _drop_ended(self) -> None:
        if not self._open:
            self._slots.clear()
            self._times.clear()
            self._ended = 0
        elif self._ended > max(_SMALL, self._open // 4):
            left = {slot: [wait for wait in waits if self._is_open(wait)] for slot, waits in self._slots.items()}
            self._slots = {slot: waits for slot, waits in left.items() if waits}
            self._times = sorted(self._slots)
            self._ended = 0

    def next_time(self) -> float:
        """Return the next deadline; infinity if there is none. It may be that of a wait that ended early."""
        return self._times[0] if self._times else math.inf

    def pop_due(self, now: float, *, limit: int) -> list[_Wait]:
        """Remove and return open waits whose deadline has passed, at most `limit` of them; more may be left."""
        due: list[_Wait] = []
        while self._times and self._times[0] <= now and len(due) < limit:
            waits = self._slots[self._times[0]]
            portion = waits[: limit - len(due)]
            del waits[: len(portion)]
            if not waits:
                del self._slots[heapq.heappop(self._times)]
            due += [wait for wait in portion if self._is_open(wait)]
            self._ended -= sum(not self._is_open(wait) for wait in portion)
        self._open -= len(due)
        self._drop_ended()
        return due


def _round_up(when: float, now: float) -> float:
    # Powers of two, so that deadlines added at different times meet in the same slots.
    step = 2.0 ** math.floor(math.log2(max(1e-3, min(_COARSEST, (when - now) / _PARTS))))
    return math.ceil(when / step) * step
