"""A clock that runs faster than the real one: the default policies, with all their minutes, in milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FastClock:
    """Implements `asyncbackups._base.clock.Clock`, and the simulator's.

    Args:
        speed: How many of its seconds pass in a real one.

    Attributes:
        speed: As given.
    """

    def __init__(self, speed: float = 100.0) -> None:
        self.speed = speed
        self._began = time.monotonic()
        self._utc = datetime.now(UTC)

    def monotonic(self) -> float:
        return (time.monotonic() - self._began) * self.speed + 1000.0

    def utcnow(self) -> datetime:
        return self._utc + timedelta(seconds=self.monotonic() - 1000.0)

    def jump(self, seconds: float) -> None:
        """Set the time of day forward or back; `monotonic` does not notice."""
        self._utc += timedelta(seconds=seconds)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        real = max(0.0, when - self.monotonic()) / self.speed
        return asyncio.get_running_loop().call_later(real, callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.speed)
