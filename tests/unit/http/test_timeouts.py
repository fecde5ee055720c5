"""One time limit, one timer, many that run."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._http.timeouts import TimeLimit
from tests.fake_clock import FakeClock, settle


async def limited(limit: TimeLimit, clock: FakeClock, hold: asyncio.Event) -> str:
    with limit.scope_from(clock.monotonic()):
        await hold.wait()
    return "done"


async def test_what_is_quick_enough_is_left_alone(clock: FakeClock) -> None:
    """Nothing happens to what ends in time."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    task = asyncio.create_task(limited(limit, clock, hold))
    await clock.run(9.9)
    hold.set()
    assert await task == "done"
    await clock.run(60)
    assert clock.pending_timers == 0


async def test_each_gets_its_own_time(clock: FakeClock) -> None:
    """What began first ends first; one timer serves all."""
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


async def test_all_that_are_due_end_together(clock: FakeClock) -> None:
    """Those that began in the same moment end in the same moment."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    tasks = [asyncio.create_task(limited(limit, clock, hold)) for _ in range(3)]
    await clock.run(10)
    assert [type(task.exception()) for task in tasks] == [TimeoutError] * 3
    assert clock.pending_timers == 0


async def test_a_cancellation_stays_one(clock: FakeClock) -> None:
    """Somebody else's cancellation is not turned into a timeout, also where both come at once."""
    limit, hold = TimeLimit(10, clock), asyncio.Event()
    tasks = [asyncio.create_task(limited(limit, clock, hold)) for _ in range(2)]
    await settle()
    tasks[0].cancel()
    clock.advance(10)
    tasks[1].cancel()
    await settle()
    assert [task.cancelled() for task in tasks] == [True, True]


async def test_another_error_passes(clock: FakeClock) -> None:
    """An error of what runs is not touched, and a task whose time ran out meanwhile is not cancelled later."""
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


async def test_closing_takes_the_timer_away(clock: FakeClock) -> None:
    """When nothing runs no timer is left; what still runs keeps its limit."""
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


def test_only_a_task_can_be_ended(clock: FakeClock) -> None:
    """Outside a task there is nothing to cancel."""
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
    assert "needs a task" in str(caught[0])
