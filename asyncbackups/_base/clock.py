"""The clock as an argument, so that tests can pass one that they move by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from asyncbackups._base.errors import ClientClosedError


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None:
        """Cancel the callback."""


class Clock(Protocol):
    """The clock that the layers with I/O use."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        ...

    def utcnow(self) -> datetime:
        """Return the time of day (aware, UTC); may jump."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Schedule a callback for when `monotonic()` reaches `when`."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Sleep. Zero or a negative number still yields to other tasks once."""


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utcnow(self) -> datetime:
        return datetime.now(UTC)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        # A loop's own clock may be cached (uvloop) or have another start: only differences are safe.
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class ClientClock:
    """A client's clock. Closing the client wakes every sleeper with `ClientClosedError`."""

    def __init__(self, clock: Clock) -> None:
        # Bound methods, not wrappers: they are called for each request.
        self.monotonic: Callable[[], float] = clock.monotonic
        self.utcnow: Callable[[], datetime] = clock.utcnow
        self.call_at: Callable[[float, Callable[[], object]], Timer] = clock.call_at
        self._clock = clock
        self._closed = False
        self._sleepers: set[asyncio.Timeout] = set()

    def close(self) -> None:
        """Wake every sleeper with an error, now and in the future."""
        self._closed = True
        while self._sleepers:
            self._sleepers.pop().reschedule(0)

    async def sleep(self, seconds: float) -> None:
        """Sleep; raise `ClientClosedError` if the client is closed, or is closed meanwhile."""
        limit = asyncio.timeout(0 if self._closed else None)
        try:
            async with limit:
                self._sleepers.add(limit)
                await self._clock.sleep(seconds)
        except TimeoutError:
            raise ClientClosedError("the client was closed") from None
        finally:
            self._sleepers.discard(limit)
