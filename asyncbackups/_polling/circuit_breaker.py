"""The circuit breaker of one star system: after a fault of the service it is polled more slowly, one poll at a time."""

from __future__ import annotations

import math

from asyncbackups._polling.poll_interval import shortest_interval
from asyncbackups._polling.shared_state import PollingState
from asyncbackups.errors import ApiError, BackupsError


class CircuitBreaker:
    """Counts faults in a row, and decides until when nothing is sent."""

    def __init__(self, shared: PollingState) -> None:
        self._shared = shared
        self._faults = 0
        self.open_until: float = -math.inf  # until when nothing is sent, in seconds of the monotonic clock
        self.last_fault: BackupsError | None = None  # None once a poll has succeeded

    @property
    def is_half_open(self) -> bool:
        """Whether the last response was a fault. Then one request at a time tests whether the service has recovered."""
        return self._faults > 0

    def record_success(self) -> None:
        """Record that the service responds, whatever the response is."""
        self._faults = 0
        self.last_fault = None

    def record_fault(self, error: BackupsError, now: float) -> None:
        self.last_fault = error
        retry_after = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        if now >= self.open_until:  # else this request was sent before the fault that is known already
            self.open_until = now + self.backoff_after(self._faults)
            self._faults += 1
        self.open_until = max(self.open_until, now + min(retry_after, self._shared.retry_after_maximum))

    def backoff_after(self, faults: int) -> float:
        """Return how long to wait after a fault, in seconds, given the number of faults in a row before it."""
        return self._shared.policy.backoff(faults, draw=self._shared.draw())

    def clamp_retry_after(self, retry_after: float) -> float:
        """Return how long to wait for a `Retry-After`, in seconds: neither a busy loop nor beyond the maximum."""
        return max(shortest_interval(self._shared.policy), min(retry_after, self._shared.retry_after_maximum))
