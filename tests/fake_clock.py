"""A clock that stands still until the test advances it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeTimer:
    """A scheduled callback; the clock drops it when it is cancelled."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    @property
    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None

    def run_callback(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class FakeClock:
    """Implements `asyncbackups._base.clock.Clock`.

    Args:
        start: The first value of `monotonic`.
        utc: The first value of `utcnow`.
        auto_advance: Whether a sleep advances the clock itself instead of waiting; for code that runs in one task.

    Attributes:
        slept: The duration of each sleep, in seconds.
    """

    def __init__(
        self,
        start: float = 1000.0,
        utc: datetime = datetime(2024, 1, 29, 9, 53, 9, tzinfo=UTC),
        *,
        auto_advance: bool = False,
    ) -> None:
        self._now = start
        self._start = start
        self._utc = utc
        self._auto_advance = auto_advance
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def utcnow(self) -> datetime:
        return self._utc + timedelta(seconds=self._now - self._start)

    def call_at(self, when: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._auto_advance:
            self.advance(max(0.0, seconds))
        if seconds <= 0 or self._auto_advance:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_at(self._now + seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def next_timer(self) -> float | None:
        """Return the time of the next callback, or None if there is none."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @property
    def pending_timers(self) -> int:
        """The number of callbacks that are scheduled; a sleep is one."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Advance the clock and run the callbacks that become due, in order; tasks run at the caller's next await."""
        target = self._now + seconds
        while (due := self.next_timer()) is not None and due <= target:
            self._now = max(self._now, due)
            heapq.heappop(self._timers)[2].run_callback()
        self._now = max(self._now, target)

    async def run(self, seconds: float, *, turns: int = 20) -> None:
        """Advance the clock from callback to callback, and let tasks run in between.

        Args:
            seconds: The time to advance by.
            turns: The number of event loop iterations before and after each step.
        """
        target = self._now + seconds
        await settle(turns)
        while (due := self.next_timer()) is not None and due <= target:
            self.advance(max(0.0, due - self._now))
            await settle(turns)
        self.advance(target - self._now)
        await settle(turns)


async def settle(turns: int = 20) -> None:
    """Give other tasks the given number of event loop iterations."""
    for _ in range(turns):
        await asyncio.sleep(0)
