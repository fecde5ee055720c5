"""Time, as it is passed in: tests pass a clock that they move by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer"]


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
