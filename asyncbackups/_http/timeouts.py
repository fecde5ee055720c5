"""One time limit for many things that run at once, with one timer for all of them.

A timer for each request, as aiohttp and `asyncio.timeout` set it, costs a tenth of a small get. The limit is the same
for all, so what began first ends first: a dict in order of beginning and one timer for its first entry are enough.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from asyncbackups._base.clock import Clock, Timer


class TimeLimit:
    """Ends whatever runs longer than it may.

    Args:
        seconds: The limit.
        clock: The time.
    """

    __slots__ = ("_clock", "_running", "_seconds", "_timer")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._running: dict[TimeLimitScope, None] = {}
        self._timer: Timer | None = None

    def since(self, now: float) -> TimeLimitScope:
        """Return a context manager that raises TimeoutError in the current task when the limit has passed.

        Args:
            now: From when on the time counts, in the clock's monotonic seconds: the present.
        """
        limited = TimeLimitScope(self._running, now + self._seconds)
        if self._timer is None:
            self._timer = self._clock.call_at(limited.ends_at, self._fire)
        return limited

    def close(self) -> None:
        """Cancel the timer, unless something still runs."""
        if self._timer is not None and not self._running:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._running:
            first = next(iter(self._running))
            if first.ends_at > now:
                self._timer = self._clock.call_at(first.ends_at, self._fire)
                return
            del self._running[first]
            first.expire()


class TimeLimitScope:
    """What runs in a task under a limit; made by `TimeLimit`.

    Attributes:
        ends_at: When it has run long enough, in monotonic seconds.
    """

    __slots__ = ("_cancelling", "_expired", "_running", "_task", "ends_at")

    def __init__(self, running: dict[TimeLimitScope, None], ends_at: float) -> None:
        self.ends_at: float = ends_at
        self._running = running
        self._expired = False

    def expire(self) -> None:
        """Cancel the task; on the way out that becomes a TimeoutError."""
        self._expired = True
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task that it can end")
        self._task = task
        self._cancelling = task.cancelling()
        self._running[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The timer stays: by the time that it fires, it mostly has something else to wait for.
        self._running.pop(self, None)
        # As `asyncio.timeout` does it: somebody else's cancellation at the same time goes on as one.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc
