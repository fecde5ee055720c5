"""The deadlines of waits: each wait is polled a last time shortly before its deadline, and expires at it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from asyncbackups._polling.tracked import Subscriber, Subscription, TrackedBackup

_FINAL_POLL = 2.0
"""A long wait is polled a last time at least this many seconds before its deadline: deadlines are rounded, too."""
_FINAL_POLL_PART = 0.1  # a short wait is polled a last time this fraction of its duration before its deadline
_EXPIRED_AT_ONCE = 1_000  # at most this many deadlines expire at a time: a few milliseconds' work
_SMALL = 64  # below this many ended waits the slots are not swept
_COARSEST = 1.0  # deadlines are rounded by at most this many seconds
_PARTS = 256  # deadlines are rounded by at most this fraction of the time that is left

_Wait = TypeVar("_Wait")


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


class WaitDeadlines(DeadlineTimers[Subscription]):
    """The deadlines of all subscriptions of a client.

    Shortly before its deadline each wait is polled a last time: a backup that has succeeded must not be reported as
    unfinished because its next poll was scheduled for later.
    """

    def __init__(self, initial: float) -> None:
        super().__init__(lambda subscription: subscription.open)
        self._final_poll_lead = max(initial, _FINAL_POLL)

    def subscribe(self, backup: TrackedBackup, subscriber: Subscriber, now: float, deadline: float) -> None:
        """Start a subscriber's wait for a backup; the first timer of the wait is that of its final poll."""
        deadline = self.round_deadline(deadline, now=now)
        subscription = Subscription(subscriber, backup, now, deadline)
        lead = min(self._final_poll_lead, (deadline - now) * _FINAL_POLL_PART)
        self.add(subscription, deadline - lead, now=now)
        backup.subscriptions = (*backup.subscriptions, subscription)

    def take_expired(self, now: float, schedule_final_poll: Callable[[Subscription], None]) -> Iterator[Subscription]:
        """Yield the waits whose deadline has passed, to be ended; if there are very many, some are left for later.

        Args:
            now: The time now, in seconds of the monotonic clock.
            schedule_final_poll: Called with each wait whose deadline is near.
        """
        for subscription in self.pop_due(now, limit=_EXPIRED_AT_ONCE):
            if now < subscription.deadline:
                self.add(subscription, subscription.deadline, now=now)
                schedule_final_poll(subscription)
            else:
                yield subscription


def _round_up(when: float, now: float) -> float:
    # Powers of two, so that deadlines added at different times meet in the same slots.
    step = 2.0 ** math.floor(math.log2(max(1e-3, min(_COARSEST, (when - now) / _PARTS))))
    return math.ceil(when / step) * step
