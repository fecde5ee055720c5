"""New backups of unknown age: asked about at once, but together where several come within a moment."""

from __future__ import annotations

import math
from collections import deque

from asyncbackups._polling.list_polls import ListPolls
from asyncbackups._polling.tracked import TrackedBackup

_MOMENT = 0.5
"""For how long they wait for each other, in units of what a request is worth."""


class Newcomers:
    """The flights of one star system of which nothing is known yet, not even when they began.

    The first is asked about at once. Those that come in the moment after a request wait until it is over, if who waits
    for them is patient: then one list does for all of them, if they are more than it costs in gets.

    Args:
        batches: The lists in use.
        request_worth: How many seconds of delay a request is worth.
    """

    def __init__(self, batches: ListPolls, *, request_worth: float) -> None:
        self._batches = batches
        self._moment = _MOMENT * request_worth
        self._over = -math.inf
        self._flights: deque[TrackedBackup] = deque()

    def add(self, flight: TrackedBackup, now: float, *, patient: bool) -> float:
        """Take up a flight; returns when it is to be asked about."""
        self._flights.append(flight)
        return max(now, self._over) if patient else now

    def asked(self, now: float) -> None:
        """Take note of a request that told of one of them, or of a list."""
        self._over = now + self._moment

    def fold(self, now: float) -> None:
        """Where those that are due are more than a list costs in gets, let the list be due that stands for them."""
        while self._flights and not _is_new(self._flights[0]):
            self._flights.popleft()
        if not self._flights or self._flights[0].due > now:
            return
        batch = self._batches.of(self._flights[0])
        # One that is under way could only be asked for again; its answer comes first.
        if batch is None or batch.poll is not None:
            return
        covered = [flight for flight in self._flights if _is_new(flight) and self._batches.of(flight) is batch]
        if len(covered) > self._batches.cost(batch):
            for flight in covered:
                self._batches.stand_for(flight, batch)
            self._batches.ask_at(batch, now)

    def clear(self) -> None:
        """Forget them."""
        self._flights.clear()


def _is_new(flight: TrackedBackup) -> bool:
    return flight.started_at is None and math.isfinite(flight.due)
