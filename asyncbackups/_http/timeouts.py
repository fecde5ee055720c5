"""One time limit for many concurrent requests, with one timer for all of them.

A timer per request, as in aiohttp and `asyncio.timeout`, takes a tenth of the CPU time of a small GET. The limit is the
same for all, so the first to start is the first to expire: an insertion-ordered dict and one timer suffice.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from asyncbackups._base.clock import Clock, Timer


class TimeLimit:
    """A time limit that applies to each of many concurrent scopes."""

    __slots__ = ("_clock", "_running", "_seconds", "_timer")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._running: dict[TimeLimitScope, None] = {}
        self._timer: Timer | None = None

    def scope_from(self, now: float) -> TimeLimitScope:
        """Return a context manager that raises TimeoutError in the current task when the limit has passed."""
        scope = TimeLimitScope(self._running, now + self._seconds)
        if self._timer is None:
            self._timer = self._clock.call_at(scope.ends_at, self._expire_due)
        return scope

    def close(self) -> None:
        """Cancel the timer, unless a scope is still open."""
        if self._timer is not None and not self._running:
            self._timer.cancel()
            self._timer = None

    def _expire_due(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._running:
            first = next(iter(self._running))
            if first.ends_at > now:
                self._timer = self._clock.call_at(first.ends_at, self._expire_due)
                return
            del self._running[first]
            first.expire()


class TimeLimitScope:
    """The context manager of a `TimeLimit`."""

    __slots__ = ("_cancelling", "_expired", "_running", "_task", "ends_at")

    def __init__(self, running: dict[TimeLimitScope, None], ends_at: float) -> None:
        self.ends_at: float = ends_at
        self._running = running
        self._expired = False

    def expire(self) -> None:
        """Cancel the task; leaving the scope turns that into a TimeoutError."""
        self._expired = True
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a running task")
        self._task = task
        self._cancelling = task.cancelling()
        self._running[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The timer stays: when it fires, there is usually another scope to wait for.
        self._running.pop(self, None)
        # As in `asyncio.timeout`: a cancellation from elsewhere at the same time stays a cancellation.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc
