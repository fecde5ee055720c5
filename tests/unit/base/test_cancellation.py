"""Whose a cancellation is."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from asyncbackups._base.cancellation import await_shared_work


async def forever() -> None:
    await asyncio.Event().wait()


async def guarded() -> None:
    await await_shared_work(forever, LookupError)


async def test_what_it_shares_was_cancelled() -> None:
    """Another task's cancellation is an error, and the task goes on."""
    shared = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(await_shared_work(lambda: shared, LookupError))
    await asyncio.sleep(0)
    shared.cancel()
    with pytest.raises(LookupError):
        await waiting


async def test_own_cancellation_is_one() -> None:
    """The task ends as it would without."""
    waiting = asyncio.create_task(guarded())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_cancelled_while_it_ran_it_is_its_own() -> None:
    """A Ctrl-C that comes between two awaits is not taken for somebody else's."""

    async def busy() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await guarded()

    waiting = asyncio.create_task(busy())
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_scopes_and_time_limits_end_it() -> None:
    """What they cancel is the task's own, too."""
    with anyio.move_on_after(0.01) as scope:
        await guarded()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await guarded()


async def test_cancelled_before_and_gone_on_it_tells_both_apart() -> None:
    """A task that has swallowed a cancellation is not immune to the next one, nor does it take others' for its own."""

    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await guarded()

    waiting = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    waiting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
