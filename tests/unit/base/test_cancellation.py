"""Own and shared cancellation."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from asyncbackups._base.cancellation import await_shared_work


async def forever() -> None:
    await asyncio.Event().wait()


async def guarded() -> None:
    await await_shared_work(forever, LookupError)


async def test_cancelled_shared_work_is_an_error() -> None:
    """Another task's cancellation becomes an error, and the task continues."""
    shared = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(await_shared_work(lambda: shared, LookupError))
    await asyncio.sleep(0)
    shared.cancel()
    with pytest.raises(LookupError):
        await waiting


async def test_own_cancellation_passes() -> None:
    """The task is cancelled as usual."""
    waiting = asyncio.create_task(guarded())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_cancellation_requested_while_running_is_the_tasks_own() -> None:
    """A Ctrl-C between two awaits is not taken for the cancellation of shared work."""

    async def busy() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await guarded()

    waiting = asyncio.create_task(busy())
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_cancel_scopes_and_timeouts_pass() -> None:
    """Their cancellation is the task's own, too."""
    with anyio.move_on_after(0.01) as scope:
        await guarded()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await guarded()


async def test_after_a_suppressed_cancellation() -> None:
    """A task that suppressed a cancellation is cancelled by the next one, and still detects that of shared work."""

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
