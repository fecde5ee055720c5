"""Where the simulator gets its time from: the real clock, or one that a test moves by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "ManualClock", "SystemClock"]


@runtime_checkable
class Clock(Protocol):
    """What the simulated world needs to know about time."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes backwards."""
        ...

    def utcnow(self) -> datetime:
        """The time of day, aware and in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def utcnow(self) -> datetime:
        """The present time in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved: backups finish exactly when a test says so.

    Args:
        start: The time of day at the beginning, aware; the documented example's by default.
        monotonic: Seconds that `monotonic()` shows at the beginning.
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
        """Seconds, moved only by `advance`."""
        return self._monotonic

    def utcnow(self) -> datetime:
        """The time of day, moved only by `advance`."""
        return self._utc

    def advance(self, seconds: float) -> None:
        """Move both readings forward.

        Args:
            seconds: How far; zero or more.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds!r})")
        self._monotonic += seconds
        self._utc += timedelta(seconds=seconds)
