"""The time as the parts of a client are given it: their sleeps end when the client is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from asyncbackups.clock import Clock, Timer
from asyncbackups.errors import ClientClosedError

__all__ = ["ClientClock"]


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
