"""A clock that runs faster than real time, so that the default policies take milliseconds instead of minutes."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self


class FastClock:
    """Implements `asyncbackups._base.clock.Clock`, and the simulator's clock.

    Args:
        speed: The number of its seconds per real second.

    Attributes:
        speed: As given.
    """

    def __init__(self, speed: float = 100.0) -> None:
        self.speed = speed
        self._start = time.monotonic()
        self._utc = datetime.now(UTC)

    def monotonic(self) -> float:
        return (time.monotonic() - self._start) * self.speed + 1000.0

    def utcnow(self) -> datetime:
        return self._utc + timedelta(seconds=self.monotonic() - 1000.0)

    def with_own_date(self) -> Self:
        """Return a clock with the same monotonic time, whose time of day can jump on its own."""
        return copy.copy(self)

    def jump(self, seconds: float) -> None:
        """Set the time of day forward or back; `monotonic` is not affected."""
        self._utc += timedelta(seconds=seconds)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        delay = max(0.0, when - self.monotonic()) / self.speed
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.speed)
