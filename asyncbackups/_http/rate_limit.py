"""One pace for all calls of a client: requests in flight, requests per second, and what the server asks for.

`Throttle` decides and is told the time; `Pace` waits. The fixed limit of requests per second is the upper
bound of the same spacing that follows a 429, hence no rate limiter library: aiolimiter's rate cannot change while it
runs, its clock is the event loop's, and it lets a whole second's worth start at once.
"""

from __future__ import annotations

import asyncio
import logging
import math

from asyncbackups._base.clock import Clock
from asyncbackups._http.headers import retry_after_of
from asyncbackups._http.messages import Response
from asyncbackups.policies import Limits

_log = logging.getLogger(__name__)

# The cubic law by which botocore's adaptive mode (and TCP, RFC 9438 section 4) comes back after a cut.
_CUT = 0.7
_GROWTH = 0.4
_SLOWEST = 0.5
# Requests per second from which on spacing no longer matters beside the limit of requests in flight.
_FULL_SPEED = 100.0
# Timers fire up to a millisecond late: at more than 200 starts a second a late one may be made up for, so that
# a limit of 1,000 a second does not become 500. Below that, no second ever holds more starts than the limit.
_CATCH_UP = 0.005
_WINDOW = 0.5
_RECENT = 0.8
_SLOWING = frozenset({429, 503})


class Throttle:
    """When the next request may start. Pure: it is told the time (seconds, monotonic) and never waits.

    Args:
        per_second: The most requests started in a second, or None for no limit of ours.
        longest_silence: The longest `Retry-After` that is obeyed, in seconds.

    Attributes:
        limiting: Whether `wait` has to be asked at all; False is full speed.
    """

    __slots__ = (
        "_count",
        "_cut_at",
        "_longest_silence",
        "_measured",
        "_next",
        "_per_second",
        "_plateau",
        "_rate_at_cut",
        "_silent_until",
        "_window_start",
        "limiting",
    )

    def __init__(self, *, per_second: float | None, longest_silence: float) -> None:
        self._per_second = math.inf if per_second is None else per_second
        self._longest_silence = longest_silence
        self._silent_until = -math.inf
        self._next = -math.inf
        self._cut_at: float | None = None
        self._rate_at_cut = 0.0
        self._plateau = 0.0
        self._measured = 0.0
        self._count = 0
        self._window_start = -math.inf
        self.limiting: bool = per_second is not None

    def delay(self, now: float) -> float:
        """Return for how many seconds everything is to be silent because the server said so."""
        return max(0.0, self._silent_until - now)

    def rate(self, now: float) -> float:
        """Return how many requests may start in a second; infinity for no limit."""
        if self._cut_at is None:
            return self._per_second
        # The time that the recovery takes begins with the end of the silence.
        since = max(0.0, now - max(self._cut_at, self._silent_until))
        recovered = _GROWTH * (since - self._plateau) ** 3 + self._rate_at_cut
        return min(self._per_second, max(_SLOWEST, recovered))

    def wait(self, now: float) -> float:
        """Return in how many seconds the next request may start; 0 for now."""
        if self._cut_at is not None and self.rate(now) >= min(self._per_second, self._lifted_at()):
            self._cut_at = None
        self.limiting = self._cut_at is not None or self._per_second < math.inf or self._silent_until > now
        return max(0.0, self._silent_until - now, self._next - now)

    def started(self, now: float) -> None:
        """Take note that a request starts."""
        if now - self._window_start >= _WINDOW:
            self._roll(now)
        self._count += 1
        if self.limiting:
            interval = 1 / self.rate(now)
            late = _CATCH_UP if interval < _CATCH_UP else 0.0
            self._next = max(self._next, now - late) + interval

    def throttled(self, now: float, *, started: float, retry_after: float | None) -> float | None:
        """Take note that the server asked for less.

        Args:
            now: When its answer came.
            started: When the request had started that it answers.
            retry_after: For how many seconds it asked to be silent, or None.

        Returns:
            The new rate in requests per second, or None where this answer belongs to an earlier cut: all requests of a
            burst are refused together, and together they are one sign.
        """
        asked = min(retry_after or 0.0, self._longest_silence)
        self._silent_until = max(self._silent_until, now + asked)
        self.limiting = True
        if self._cut_at is not None and started <= self._cut_at:
            return None
        self._rate_at_cut = max(_SLOWEST, min(self._measured_rate(now), self.rate(now)))
        self._plateau = math.cbrt(self._rate_at_cut * (1 - _CUT) / _GROWTH)
        self._cut_at = now
        rate = self.rate(now)
        self._next = max(self._next, now + 1 / rate)
        return rate

    def _lifted_at(self) -> float:
        return max(_FULL_SPEED, 2 * self._rate_at_cut)

    def _measured_rate(self, now: float) -> float:
        return max(self._measured, self._count / max(now - self._window_start, _WINDOW))

    def _roll(self, now: float) -> None:
        elapsed = now - self._window_start
        self._measured = _RECENT * self._count / elapsed + (1 - _RECENT) * self._measured
        self._window_start = now
        self._count = 0


class RateLimiter:
    """Lets requests start: no more in flight than allowed, no faster than allowed, and none while the server rests.

    Args:
        limits: How fast the calls of the client may go.
        longest_silence: The longest `Retry-After` that is obeyed, in seconds.
        clock: The time.
    """

    def __init__(self, limits: Limits, *, longest_silence: float, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._throttle = Throttle(per_second=limits.requests_per_second, longest_silence=longest_silence)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._gate = asyncio.Lock()

    def bind(self) -> None:
        """Go on in the running event loop. If it is another one nobody is in flight; the throttle still holds."""
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            self._slots = asyncio.Semaphore(self._limits.concurrency)
            self._gate = asyncio.Lock()
        self._loop = loop

    def delay(self, now: float) -> float:
        """Return for how many seconds, from `now`, everything is to be silent because the server said so."""
        return self._throttle.delay(now)

    async def enter(self) -> float:
        """Wait until a request may start, and take a slot for it; `leave` gives the slot back.

        Returns:
            When the request starts, in the clock's monotonic seconds.
        """
        await self._slots.acquire()
        if not self._throttle.limiting:
            now = self._clock.monotonic()
            self._throttle.started(now)
            return now
        try:
            return await self._wait()
        except BaseException:
            self._slots.release()
            raise

    async def held(self, started: float) -> float:
        """Wait on in a slot that was taken, where the server has asked for silence meanwhile.

        Args:
            started: What `enter` returned.

        Returns:
            When the request starts, in the clock's monotonic seconds.
        """
        return await self._wait() if self.delay(self._clock.monotonic()) > 0 else started

    def leave(self) -> None:
        """Give a slot back."""
        self._slots.release()

    def heard(self, response: Response, *, started: float) -> None:
        """Slow everybody down where an answer asks for it: a 429, a 503, or any error with `Retry-After`.

        A 503 counts because it is what nginx's `limit_req` answers unless it is told otherwise; a create that it
        refused would have to be looked for, so that going on at full speed costs more than it gains.

        Args:
            response: An answer; one of 2xx never slows, for its `Retry-After` is about one resource.
            started: When its request had started, in the clock's monotonic seconds.
        """
        retry_after = retry_after_of(response.headers, now=self._clock.utcnow()) if response.status >= 400 else None
        if retry_after is None and response.status not in _SLOWING:
            return
        now = self._clock.monotonic()
        rate = self._throttle.throttled(now, started=started, retry_after=retry_after)
        if rate is not None:
            silence = self._throttle.delay(now)
            _log.warning("the server asked for less: silent for %.1f s, then %.1f requests a second", silence, rate)

    async def _wait(self) -> float:
        # One at a time, in order: the others need no timer, and what changes meanwhile holds for them too.
        async with self._gate:
            while (wait := self._throttle.wait(now := self._clock.monotonic())) > 0:
                await self._clock.sleep(wait)
            self._throttle.started(now)
            return now
