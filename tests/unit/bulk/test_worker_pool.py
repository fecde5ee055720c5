"""Workers that take one item after the other, never ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from asyncbackups._bulk.worker_pool import WorkerPool
from tests.fake_clock import settle


async def each(numbers: Iterable[int]) -> AsyncIterator[int]:
    for number in numbers:
        yield number


def intake(numbers: Iterable[int], unread: list[int] | None = None) -> WorkerPool[int]:
    waiting = unread if unread is not None else [0]
    return WorkerPool(each(numbers), unread_events=lambda: waiting[0])


async def test_every_item_is_worked_on_once() -> None:
    """However many workers there are."""
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    await intake(range(10)).process_items(work, concurrency=3)
    assert sorted(done) == list(range(10))


async def test_nothing_is_read_ahead() -> None:
    """With two workers busy, two items are read of a million."""
    read: list[int] = []

    def numbers() -> Iterable[int]:
        for number in range(1_000_000):
            read.append(number)
            yield number

    async def work(_: int) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(intake(numbers()).process_items(work, concurrency=2))
    await settle()
    assert read == [0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_waits_for_the_consumer() -> None:
    """With a thousand events unread nothing is begun, until one is taken."""
    unread, done = [1_000], []

    async def work(number: int) -> None:
        done.append(number)

    taking = intake([1], unread)
    task = asyncio.create_task(taking.process_items(work, concurrency=1))
    await settle()
    assert done == []
    taking.notify_consumed()
    await settle()
    assert done == []
    unread[0] = 999
    taking.notify_consumed()
    await task
    assert done == [1]


async def test_items_that_break_end_the_handing_out_only() -> None:
    """What was begun before goes on to its end."""
    begun, finish, done = asyncio.Event(), asyncio.Event(), []

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await begun.wait()
        raise LookupError("no more")

    async def work(number: int) -> None:
        begun.set()
        await finish.wait()
        done.append(number)

    taking = WorkerPool(numbers(), unread_events=lambda: 0)
    task = asyncio.create_task(taking.process_items(work, concurrency=2))
    await settle()
    finish.set()
    await task
    assert done == [1]
    assert isinstance(taking.failure, LookupError)


async def test_a_bug_in_the_work_does_not_cut_off_the_others() -> None:
    """It ends the handing out, and is kept for the consumer."""
    done = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        if number == 0:
            raise ZeroDivisionError
        await asyncio.sleep(0)
        done.append(number)

    taking = intake(range(5))
    await taking.process_items(work, concurrency=2)
    assert done == [1]
    assert isinstance(taking.failure, ZeroDivisionError)


@pytest.mark.parametrize("where", ["items", "work"])
async def test_cancellation_of_something_else_does_not_end_it_in_silence(where: str) -> None:
    """What the items or the work share with another task, and that one cancelled, is a failure like any other."""
    shared = asyncio.get_running_loop().create_future()
    shared.cancel()

    async def items() -> AsyncIterator[int]:
        yield 1
        if where == "items":
            await shared

    async def work(number: int) -> None:
        if where == "work":
            await shared

    taking = WorkerPool(items(), unread_events=lambda: 0)
    await taking.process_items(work, concurrency=2)
    assert isinstance(taking.failure, RuntimeError)


async def test_stopped_it_hands_out_nothing_more() -> None:
    """What is begun goes on."""
    done = []
    taking = intake(range(5))

    async def work(number: int) -> None:
        done.append(number)
        taking.stop()

    await taking.process_items(work, concurrency=1)
    assert done == [0]


async def test_settled_waits_for_what_is_under_way() -> None:
    """After a stop it returns with the end of what was begun, also where that breaks."""
    finish = asyncio.Event()
    taking = intake(range(5))

    async def work(number: int) -> None:
        await finish.wait()
        if number == 1:
            raise ZeroDivisionError

    task = asyncio.create_task(taking.process_items(work, concurrency=2))
    await settle()
    taking.stop()
    waiting = asyncio.create_task(taking.wait_until_idle())
    await settle()
    assert (taking.in_progress, waiting.done()) == (2, False)
    finish.set()
    await waiting
    await task
    assert taking.in_progress == 0
    await taking.wait_until_idle()


async def test_what_comes_after_the_stop_is_not_begun() -> None:
    """An item that was being waited for is dropped."""
    coming, done = asyncio.Event(), []

    async def numbers() -> AsyncIterator[int]:
        await coming.wait()
        yield 1

    async def work(number: int) -> None:
        done.append(number)

    taking = WorkerPool(numbers(), unread_events=lambda: 0)
    task = asyncio.create_task(taking.process_items(work, concurrency=2))
    await settle()
    taking.stop()
    coming.set()
    await task
    assert (done, taking.in_progress) == ([], 0)
