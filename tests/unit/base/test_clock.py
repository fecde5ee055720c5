"""The clock of a client."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._base.clock import ClientClock
from asyncbackups.errors import ClientClosedError
from tests.fake_clock import FakeClock, settle


async def test_client_clock_uses_its_clock(clock: FakeClock) -> None:
    """Times, timers and sleeps are those of the clock."""
    one, called = ClientClock(clock), []
    assert (one.monotonic(), one.utcnow()) == (clock.monotonic(), clock.utcnow())
    one.call_at(clock.monotonic() + 1, lambda: called.append(1))
    sleeping = asyncio.create_task(one.sleep(2))
    await clock.run(1.5)
    assert (called, sleeping.done()) == ([1], False)
    await clock.run(1)
    await sleeping


async def test_close_wakes_all_sleepers(clock: FakeClock) -> None:
    """Sleeping after closing raises the same error immediately."""
    one = ClientClock(clock)
    sleeping = [asyncio.create_task(one.sleep(300)) for _ in range(3)]
    await settle()
    one.close()
    for task in (*sleeping, asyncio.create_task(one.sleep(300))):
        with pytest.raises(ClientClosedError):
            await task
    assert clock.pending_timers == 0


async def test_cancelled_sleep_is_cancelled(clock: FakeClock) -> None:
    """It is not reported as a closed client."""
    one = ClientClock(clock)
    sleeping = asyncio.create_task(one.sleep(300))
    await settle()
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    one.close()
