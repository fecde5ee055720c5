"""The rate limit of a client: requests in flight, requests per second, and throttling by the server.

`Throttle` decides and gets the time as an argument; `RateLimiter` waits. No library is used, because the rate
must change after a 429 (aiolimiter's is fixed), and because aiolimiter releases a second's requests in one burst.
"""

from __future__ import annotations

import asyncio
import logging
import math

from asyncbackups._base.clock import Clock
from asyncbackups._http.headers import parse_retry_after
from asyncbackups._http.messages import Response
from asyncbackups.errors import is_overload
from asyncbackups.policies import Limits

_log = logging.getLogger(__name__)

# After a 429 the rate is cut and recovers by a cubic function, as in botocore's adaptive mode and TCP (RFC 9438).
_CUT = 0.7
_GROWTH = 0.4
_MINIMUM_RATE = 0.5
_FULL_RATE = 100.0
"""Requests per second from which spacing no longer matters beside the limit of requests in flight."""
# Timers fire up to a millisecond late. Above 200 starts per second a late start is made up for, so that a limit of
# 1,000 per second does not become 500. Below that, no second ever contains more starts than the limit.
_CATCH_UP = 0.005
_WINDOW = 0.5
_RECENT_WEIGHT = 0.8


class Throttle:
    """Decides when the next request may start. Pure: it gets the time (monotonic seconds) and never waits.

    Attributes:
        is_limiting: Whether `time_to_start` must be called before a start; False is full speed.
    """

    def __init__(self, *, per_second: float | None, retry_after_maximum: float) -> None:
        self._per_second = math.inf if per_second is None else per_second
        self._retry_after_maximum = retry_after_maximum
        self._paused_until = -math.inf
        self._next = -math.inf
        self._cut_at: float | None = None
        self._rate_at_cut = 0.0
        self._plateau = 0.0
        self._measured = 0.0
        self._count = 0
        self._window_start = -math.inf
        self.is_limiting: bool = per_second is not None

    def remaining_pause(self, now: float) -> float:
        """Return the rest of the pause that the server requested, in seconds."""
        return max(0.0, self._paused_until - now)

    def current_rate(self, now: float) -> float:
        """Return the current limit in requests per second; infinity for none."""
        if self._cut_at is None:
            return self._per_second
        # Recovery starts at the end of the pause.
        since = max(0.0, now - max(self._cut_at, self._paused_until))
        recovered = _GROWTH * (since - self._plateau) ** 3 + self._rate_at_cut
        return min(self._per_second, max(_MINIMUM_RATE, recovered))

    def time_to_start(self, now: float) -> float:
        """Return in how many seconds the next request may start; 0 for now."""
        if self._cut_at is not None and self.current_rate(now) >= min(
            self._per_second, max(_FULL_RATE, 2 * self._rate_at_cut)
        ):
            self._cut_at = None
        self.is_limiting = self._cut_at is not None or self._per_second < math.inf or self._paused_until > now
        return max(0.0, self._paused_until - now, self._next - now)

    def record_start(self, now: float) -> None:
        if now - self._window_start >= _WINDOW:
            self._roll_window(now)
        self._count += 1
        if self.is_limiting:
            interval = 1 / self.current_rate(now)
            late = _CATCH_UP if interval < _CATCH_UP else 0.0
            self._next = max(self._next, now - late) + interval

    def record_throttling(self, now: float, *, started: float, retry_after: float | None) -> float | None:
        """Record a response by which the server requests a lower rate; `started` is when its request started.

        Returns:
            The new rate in requests per second; None if the rate was already cut for this response's burst, whose
            requests are rejected together.
        """
        pause = min(retry_after or 0.0, self._retry_after_maximum)
        self._paused_until = max(self._paused_until, now + pause)
        self.is_limiting = True
        if self._cut_at is not None and started <= self._cut_at:
            return None
        self._rate_at_cut = max(_MINIMUM_RATE, min(self._request_rate(now), self.current_rate(now)))
        self._plateau = math.cbrt(self._rate_at_cut * (1 - _CUT) / _GROWTH)
        self._cut_at = now
        rate = self.current_rate(now)
        self._next = max(self._next, now + 1 / rate)
        return rate

    def _request_rate(self, now: float) -> float:
        return max(self._measured, self._count / max(now - self._window_start, _WINDOW))

    def _roll_window(self, now: float) -> None:
        elapsed = now - self._window_start
        self._measured = _RECENT_WEIGHT * self._count / elapsed + (1 - _RECENT_WEIGHT) * self._measured
        self._window_start = now
        self._count = 0


class RateLimiter:
    """Delays requests: limits those in flight and those per second, and pauses when the server requests it."""

    def __init__(self, limits: Limits, *, retry_after_maximum: float, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._throttle = Throttle(per_second=limits.requests_per_second, retry_after_maximum=retry_after_maximum)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._gate = asyncio.Lock()

    def bind_loop(self) -> None:
        """Use the running event loop. In a new one no request is in flight, but the throttle still applies."""
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            self._slots = asyncio.Semaphore(self._limits.concurrency)
            self._gate = asyncio.Lock()
        self._loop = loop

    def remaining_pause(self, now: float) -> float:
        """Return the rest of the pause that the server requested, in seconds from `now`."""
        return self._throttle.remaining_pause(now)

    async def acquire_slot(self) -> float:
        """Wait until a request may start, acquire a slot for it, and return when it starts (monotonic seconds)."""
        await self._slots.acquire()
        if not self._throttle.is_limiting:
            now = self._clock.monotonic()
            self._throttle.record_start(now)
            return now
        try:
            return await self._wait_turn()
        except BaseException:
            self._slots.release()
            raise

    async def wait_out_pause(self, started: float) -> float:
        """Wait with an acquired slot if the server has requested a pause since `started`; return the new start."""
        return await self._wait_turn() if self.remaining_pause(self._clock.monotonic()) > 0 else started

    def release_slot(self) -> None:
        self._slots.release()

    def record_response(self, response: Response, *, started: float) -> None:
        """Slow down all requests if the response is a 429, a 503, or any error with `Retry-After`.

        The `Retry-After` of a successful response is about one resource and is ignored here.
        """
        retry_after = parse_retry_after(response.headers, now=self._clock.utcnow()) if response.status >= 400 else None
        if retry_after is None and not is_overload(response.status):
            return
        now = self._clock.monotonic()
        rate = self._throttle.record_throttling(now, started=started, retry_after=retry_after)
        if rate is not None:
            pause = self._throttle.remaining_pause(now)
            _log.warning("throttled by the server: pausing for %.1f s, then %.1f requests per second", pause, rate)

    async def _wait_turn(self) -> float:
        # One waits at a time, in order: the others need no timer, and a pause requested meanwhile applies to them too.
        async with self._gate:
            while (wait := self._throttle.time_to_start(now := self._clock.monotonic())) > 0:
                await self._clock.sleep(wait)
            self._throttle.record_start(now)
            return now
