"""Bounded concurrency over items that are not read ahead."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable

import pytest

from asyncbackups._bulk.worker_pool import WorkerPool
from tests.fake_clock import settle


async def each(numbers: Iterable[int]) -> AsyncIterator[int]:
    for number in numbers:
        yield number


async def keep_up() -> None:
    """Wait for nothing, as the consumer has no event unread."""


def pool_of(numbers: Iterable[int]) -> WorkerPool[int]:
    return WorkerPool(each(numbers), wait_for_capacity=keep_up)


async def test_every_item_is_processed_once() -> None:
    """However many workers there are."""
    done: list[int] = []

    async def process(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    await pool_of(range(10)).process_items(process, concurrency=3)
    assert sorted(done) == list(range(10))


async def test_items_are_not_read_ahead() -> None:
    """With two items in progress, two of a million are read."""
    read: list[int] = []

    def numbers() -> Iterable[int]:
        for number in range(1_000_000):
            read.append(number)
            yield number

    async def process(_: int) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(pool_of(numbers()).process_items(process, concurrency=2))
    await settle()
    assert read == [0, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_workers_wait_for_capacity() -> None:
    """No item is read before."""
    capacity, read, done = asyncio.Event(), [], []

    async def wait_for_capacity() -> None:
        await capacity.wait()

    async def numbers() -> AsyncIterator[int]:
        read.append(1)
        yield 1

    async def process(number: int) -> None:
        done.append(number)

    pool = WorkerPool(numbers(), wait_for_capacity=wait_for_capacity)
    task = asyncio.create_task(pool.process_items(process, concurrency=1))
    await settle()
    assert read == []
    capacity.set()
    await task
    assert done == [1]


async def test_failing_items_end_the_reading_only() -> None:
    """Items in progress are finished."""
    started, finish, done = asyncio.Event(), asyncio.Event(), []

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await started.wait()
        raise LookupError("no more")

    async def process(number: int) -> None:
        started.set()
        await finish.wait()
        done.append(number)

    pool = WorkerPool(numbers(), wait_for_capacity=keep_up)
    task = asyncio.create_task(pool.process_items(process, concurrency=2))
    await settle()
    finish.set()
    await task
    assert done == [1]
    assert isinstance(pool.failure, LookupError)


async def test_failing_process_does_not_cancel_the_others() -> None:
    """It ends the reading of items, and the error is kept for the consumer."""
    done, started = [], asyncio.Event()

    async def process(number: int) -> None:
        if number == 0:
            await started.wait()
            raise ZeroDivisionError
        started.set()
        await settle()
        done.append(number)

    pool = pool_of(range(5))
    await pool.process_items(process, concurrency=2)
    assert done == [1]
    assert isinstance(pool.failure, ZeroDivisionError)


@pytest.mark.parametrize("where", ["items", "process"])
async def test_stray_cancellation_is_a_failure(where: str) -> None:
    """If another task cancels a future that the items or the processing await, that is an error like any other."""
    shared = asyncio.get_running_loop().create_future()
    shared.cancel()

    async def items() -> AsyncIterator[int]:
        yield 1
        if where == "items":
            await shared

    async def process(number: int) -> None:
        if where == "process":
            await shared

    pool = WorkerPool(items(), wait_for_capacity=keep_up)
    await pool.process_items(process, concurrency=2)
    assert isinstance(pool.failure, RuntimeError)


async def test_stopped_pool_reads_no_more_items() -> None:
    """Items in progress are finished."""
    done = []
    pool = pool_of(range(5))

    async def process(number: int) -> None:
        done.append(number)
        pool.stop()

    await pool.process_items(process, concurrency=1)
    assert done == [0]


async def test_waiting_until_idle_includes_failing_items() -> None:
    """After a stop it returns with the last item in progress, also if that fails."""
    finish = asyncio.Event()
    pool = pool_of(range(5))

    async def process(number: int) -> None:
        await finish.wait()
        if number == 1:
            raise ZeroDivisionError

    task = asyncio.create_task(pool.process_items(process, concurrency=2))
    await settle()
    pool.stop()
    waiting = asyncio.create_task(pool.wait_until_idle())
    await settle()
    assert (pool.in_progress, waiting.done()) == (2, False)
    finish.set()
    await waiting
    await task
    assert pool.in_progress == 0
    await pool.wait_until_idle()


async def test_item_that_comes_after_the_stop_is_dropped() -> None:
    """It was awaited when the pool was stopped."""
    coming, done = asyncio.Event(), []

    async def numbers() -> AsyncIterator[int]:
        await coming.wait()
        yield 1

    async def process(number: int) -> None:
        done.append(number)

    pool = WorkerPool(numbers(), wait_for_capacity=keep_up)
    task = asyncio.create_task(pool.process_items(process, concurrency=2))
    await settle()
    pool.stop()
    coming.set()
    await task
    assert (done, pool.in_progress) == ([], 0)


async def test_workers_start_as_items_come() -> None:
    """A large `concurrency` costs nothing without items: one worker waits for the next item, no more."""
    most, finish = 0, asyncio.Event()
    others = len(asyncio.all_tasks())

    async def process(_: int) -> None:
        nonlocal most
        await settle()
        most = max(most, len(asyncio.all_tasks()) - others)
        await finish.wait()

    task = asyncio.create_task(pool_of(range(3)).process_items(process, concurrency=100_000))
    await settle()
    finish.set()
    await task
    assert most <= 1 + 3 + 1, "the pool's own task, one for each item, one that waits for an item"


async def test_idle_worker_takes_the_next_item() -> None:
    """Where one worker is enough for the items, no more are started."""
    tasks: set[asyncio.Task[object] | None] = set()

    async def numbers() -> AsyncIterator[int]:
        for number in range(20):
            await settle(20)
            yield number

    async def process(_: int) -> None:
        tasks.add(asyncio.current_task())
        await asyncio.sleep(0)

    await WorkerPool(numbers(), wait_for_capacity=keep_up).process_items(process, concurrency=10)
    assert len(tasks) <= 2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks need Python 3.12")
async def test_eager_tasks_do_not_nest() -> None:
    """Workers that start each other do not do so recursively, however many there are."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    finish, started = asyncio.Event(), 0

    async def process(_: int) -> None:
        nonlocal started
        started += 1
        if started == 2_000:
            finish.set()
        await finish.wait()

    await asyncio.wait_for(pool_of(range(2_000)).process_items(process, concurrency=100_000), 20)
    assert started == 2_000
