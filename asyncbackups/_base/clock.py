"""Time, as it is passed in: tests pass a clock that they move by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from asyncbackups._base.errors import ClientClosedError


class Timer(Protocol):
    """Something that will be called at its time unless it is cancelled."""

    def cancel(self) -> None:
        """Do not call it any more."""


class Clock(Protocol):
    """What the layers that do I/O know of time."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...

    def utcnow(self) -> datetime:
        """Return the time of day (aware, UTC); may jump."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call back once `monotonic()` has reached `when`."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. Zero and less still gives way to other tasks once."""
        ...


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()

    def utcnow(self) -> datetime:
        """Return the time of day (aware, UTC)."""
        return datetime.now(UTC)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call back through the running event loop."""
        # A loop's own clock may be cached (uvloop) or have another start: only differences are safe.
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), callback)

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


class ClientClock:
    """The clock of a client, which may be left: whoever sleeps wakes then, to an error.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock) -> None:
        # As they are: each request looks at the time.
        self.monotonic: Callable[[], float] = clock.monotonic
        self.utcnow: Callable[[], datetime] = clock.utcnow
        self.call_at: Callable[[float, Callable[[], object]], Timer] = clock.call_at
        self._clock = clock
        self._left = False
        self._sleeping: set[asyncio.Timeout] = set()

    def leave(self) -> None:
        """Wake all who sleep."""
        self._left = True
        while self._sleeping:
            self._sleeping.pop().reschedule(0)

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            ClientClosedError: If the client was left.
        """
        limit = asyncio.timeout(0 if self._left else None)
        try:
            async with limit:
                self._sleeping.add(limit)
                await self._clock.sleep(seconds)
        except TimeoutError:
            raise ClientClosedError("the client was left") from None
        finally:
            self._sleeping.discard(limit)
