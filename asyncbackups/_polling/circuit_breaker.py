"""How the service answers for one star system: after a fault it is asked more slowly, and one request at a time."""

from __future__ import annotations

import math

from asyncbackups._polling import poll_interval as schedule
from asyncbackups._polling.shared_state import PollingState
from asyncbackups.errors import ApiError, BackupsError, TransportError

_OBEYED = 300.0
"""The longest `Retry-After` that is obeyed, in seconds."""
_PASSING = frozenset({408, 424, 429, 500, 502, 503, 504})
"""Statuses that speak of the service's state, not of what was asked for."""


def is_passing(error: BackupsError) -> bool:
    """Tell whether an error speaks of the service's state, or of the way to it, and not of what was asked for."""
    if isinstance(error, ApiError):
        return error.status in _PASSING
    return isinstance(error, TransportError)


class CircuitBreaker:
    """Counts faults in a row, and says until when nothing is to be asked.

    Args:
        knowledge: The policy, and chance.

    Attributes:
        held_until: Until when nothing is to be asked, in seconds of the monotonic clock.
        trouble: The last fault, while nothing but faults was heard since.
    """

    def __init__(self, knowledge: PollingState) -> None:
        self._know = knowledge
        self._faults = 0
        self.held_until: float = -math.inf
        self.trouble: BackupsError | None = None

    @property
    def on_trial(self) -> bool:
        """Whether the last that was heard was a fault: then one request at a time tries whether all is well again."""
        return self._faults > 0

    def answers(self) -> None:
        """Take note that the service answers, whatever the answer is."""
        self._faults = 0
        self.trouble = None

    def fault(self, error: BackupsError, now: float) -> None:
        """Take note of a passing fault."""
        self.trouble = error
        asked = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        if now >= self.held_until:  # else it is one more victim of the fault that is known already
            self.held_until = now + self.pause(self._faults)
            self._faults += 1
        self.held_until = max(self.held_until, now + min(asked, _OBEYED))

    def pause(self, faults: int) -> float:
        """Return how long to wait after so many faults before this one, in seconds."""
        return self._know.policy.backoff(faults, draw=self._know.draw())

    def obeyed(self, retry_after: float) -> float:
        """Return how long to wait where an answer asks for it, in seconds: neither a busy loop nor for ever."""
        return max(schedule.floor(self._know.policy), min(retry_after, _OBEYED))
