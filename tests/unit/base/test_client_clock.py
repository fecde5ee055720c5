"""The time as the parts of a client have it."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._base.clock import ClientClock
from asyncbackups.errors import ClientClosedError
from tests.fake_clock import FakeClock, settle


async def test_it_is_the_clock_it_was_given(clock: FakeClock) -> None:
    """Its times, its timers and its sleeps."""
    one, called = ClientClock(clock), []
    assert (one.monotonic(), one.utcnow()) == (clock.monotonic(), clock.utcnow())
    one.call_at(clock.monotonic() + 1, lambda: called.append(1))
    sleeping = asyncio.create_task(one.sleep(2))
    await clock.run(1.5)
    assert (called, sleeping.done()) == ([1], False)
    await clock.run(1)
    await sleeping


async def test_leaving_wakes_who_sleeps(clock: FakeClock) -> None:
    """However long they meant to, and whoever wants to sleep then does not."""
    one = ClientClock(clock)
    sleeping = [asyncio.create_task(one.sleep(300)) for _ in range(3)]
    await settle()
    one.close()
    for task in (*sleeping, asyncio.create_task(one.sleep(300))):
        with pytest.raises(ClientClosedError):
            await task
    assert clock.pending_timers == 0


async def test_cancelled_it_ends(clock: FakeClock) -> None:
    """A sleep that is cancelled is no client that was left."""
    one = ClientClock(clock)
    sleeping = asyncio.create_task(one.sleep(300))
    await settle()
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    one.close()
