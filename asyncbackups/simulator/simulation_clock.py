"""The simulator's time: the machine's clock, or one that a test moves by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable


@runtime_checkable
class SimulationClock(Protocol):
    """The time that the simulator works with."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never decreases."""
        ...

    def utcnow(self) -> datetime:
        """The time of day, timezone-aware and in UTC."""
        ...


class RealTimeClock:
    """The machine's own clock."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def utcnow(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved: backups finish exactly when a test advances it.

    Args:
        start: The initial time of day, timezone-aware; by default the start of the documented example backup.
        monotonic: The initial value of `monotonic()`, in seconds.
    """

    __slots__ = ("_monotonic", "_utc")

    def __init__(
        self, start: datetime = datetime(2024, 1, 29, 9, 53, 9, tzinfo=UTC), *, monotonic: float = 1000.0
    ) -> None:
        if start.tzinfo is None:
            raise ValueError(f"start must be an aware datetime, not {start!r}")
        self._utc = start.astimezone(UTC)
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """Seconds, changed only by `advance`."""
        return self._monotonic

    def utcnow(self) -> datetime:
        """The time of day, changed only by `advance`."""
        return self._utc

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds!r})")
        self._monotonic += seconds
        self._utc += timedelta(seconds=seconds)
