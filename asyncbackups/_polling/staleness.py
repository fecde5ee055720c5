"""Whether a list is far behind: what its own news says of that, and which backup to ask about by get to find out."""

from __future__ import annotations

import math
from collections.abc import Iterable

from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.tracked import Observation, TrackedBackup

_OVERDUE = 0.05
"""A backup that lists show as running is suspect once so few were expected to take so long."""


def ended(sighting: Observation, now: float) -> float:
    """Return when a backup ended, in seconds of our monotonic clock; negative infinity where that is not known.

    What claims to have ended later than now ended now, at the latest: else a list would be believed for years.
    """
    if sighting.age is None or sighting.duration is None:
        return -math.inf
    return min(now, now - sighting.age + sighting.duration)


def suspect(flights: Iterable[TrackedBackup], knowledge: PollingState, now: float) -> TrackedBackup | None:
    """Return the backup that should have ended most surely, if a list stands for it; None where none should have."""
    listed = (
        (flight.started_at, flight) for flight in flights if flight.due == math.inf and flight.started_at is not None
    )
    _, oldest = min(listed, key=lambda pair: pair[0], default=(now, None))
    if oldest is None:
        return None
    belief, age = knowledge.member(oldest, now)
    return oldest if belief.survival(age) < _OVERDUE else None
