"""One time limit with one timer for many scopes."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._http.timeouts import TimeLimit
from tests.fake_clock import FakeClock, settle


async def limited(limit: TimeLimit, clock: FakeClock, hold: asyncio.Event) -> str:
    with limit.scope_from(clock.monotonic()):
        await hold.wait()
    return "done"


async def test_scope_that_ends_in_time_is_not_affected(clock: FakeClock) -> None:
    """No error, and no timer is left."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    task = asyncio.create_task(limited(limit, clock, hold))
    await clock.run(9.9)
    hold.set()
    assert await task == "done"
    await clock.run(60)
    assert clock.pending_timers == 0


async def test_each_scope_expires_at_its_own_time(clock: FakeClock) -> None:
    """The first to start is the first to expire; one timer serves all."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    tasks = []
    for _ in range(3):
        tasks.append(asyncio.create_task(limited(limit, clock, hold)))
        await clock.run(1)
    assert clock.pending_timers == 1
    await clock.run(7)
    assert [task.done() for task in tasks] == [True, False, False]
    with pytest.raises(TimeoutError):
        await tasks[0]
    assert tasks[0].cancelling() == 0
    hold.set()
    assert await tasks[1] == await tasks[2] == "done"


async def test_scopes_started_together_expire_together(clock: FakeClock) -> None:
    """One timer expires all of them."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    tasks = [asyncio.create_task(limited(limit, clock, hold)) for _ in range(3)]
    await clock.run(10)
    assert [type(task.exception()) for task in tasks] == [TimeoutError] * 3
    assert clock.pending_timers == 0


async def test_cancellation_is_not_turned_into_a_timeout(clock: FakeClock) -> None:
    """Also if the limit passes at the same time."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    tasks = [asyncio.create_task(limited(limit, clock, hold)) for _ in range(2)]
    await settle()
    tasks[0].cancel()
    clock.advance(10)
    tasks[1].cancel()
    await settle()
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_other_errors_pass(clock: FakeClock) -> None:
    """An error within the scope is not changed, and the task is not cancelled later."""
    limit = TimeLimit(10, clock)
    with pytest.raises(KeyError), limit.scope_from(clock.monotonic()):
        raise KeyError

    async def stubborn() -> None:
        with limit.scope_from(clock.monotonic()):
            try:
                clock.advance(10)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                raise KeyError from None

    with pytest.raises(KeyError):
        await stubborn()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_close_cancels_the_timer(clock: FakeClock) -> None:
    """Without open scopes there is no timer; an open scope keeps its limit."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    limit.close()
    with limit.scope_from(clock.monotonic()):
        pass
    assert clock.pending_timers == 1
    limit.close()
    assert clock.pending_timers == 0
    task = asyncio.create_task(limited(limit, clock, hold))
    await settle()
    limit.close()
    await clock.run(10)
    assert isinstance(task.exception(), TimeoutError)


def test_scope_requires_a_task(clock: FakeClock) -> None:
    """Outside a task nothing can be cancelled."""
    loop = asyncio.new_event_loop()
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            TimeLimit(10, clock).scope_from(0.0).__enter__()
        except RuntimeError as exc:
            caught.append(exc)

    loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert "needs a running task" in str(caught[0])
