"""Group commit."""

from __future__ import annotations

import asyncio
import sys

import pytest

from asyncbackups._bulk.journal.group_commit import GroupCommit, run_to_completion
from tests.fake_clock import FakeClock, settle


class Disk:
    """Writes once it is ready."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.ready = asyncio.Event()
        self.fault: Exception | None = None

    async def write(self, rows: list[int]) -> None:
        await self.ready.wait()
        if self.fault is not None:
            raise self.fault
        self.batches.append(rows)


async def test_waiting_rows_are_written_together(clock: FakeClock) -> None:
    """While one batch is written the next one gathers; callbacks come in order."""
    disk, called = Disk(), []
    writer = GroupCommit(disk.write, clock)
    writer.add_rows([1], lambda: called.append(1))
    await settle()
    for number in (2, 3):
        writer.add_rows([number], lambda number=number: called.append(number))
    writer.add_rows((), lambda: called.append(4))
    assert called == []
    disk.ready.set()
    await writer.flush()
    assert disk.batches == [[1], [2, 3]]
    assert called == [1, 2, 3, 4]


async def test_rows_wait_for_others(clock: FakeClock) -> None:
    """Rows that may wait are written with urgent ones, or when their time has passed."""
    disk = Disk()
    disk.ready.set()
    writer = GroupCommit(disk.write, clock)
    writer.add_rows([1], within=0.005)
    await settle()
    assert disk.batches == []
    writer.add_rows([2])
    await settle()
    assert disk.batches == [[1, 2]]
    writer.add_rows([3], within=0.005)
    await clock.run(1)
    assert disk.batches == [[1, 2], [3]]
    assert clock.pending_timers == 0


async def test_most_urgent_rows_determine_the_time(clock: FakeClock) -> None:
    """They take earlier rows along; rows added during a write wait from then on."""
    disk = Disk()
    writer = GroupCommit(disk.write, clock)
    writer.add_rows([1], within=5)
    writer.add_rows([2], within=1)
    writer.add_rows([3], within=5)
    await clock.run(1)
    writer.add_rows([4], within=2)
    await clock.run(1)
    disk.ready.set()
    await settle()
    assert disk.batches == [[1, 2, 3]]
    await clock.run(1)
    assert disk.batches == [[1, 2, 3], [4]]
    writer.add_rows([5], within=1)
    await writer.flush()
    writer.add_rows([6], within=1)
    await clock.run(1)
    assert disk.batches[2:] == [[5], [6]]
    assert clock.pending_timers == 0


async def test_nothing_is_written_after_a_failure(clock: FakeClock) -> None:
    """A batch that cannot be written is the last one; all callbacks are called."""
    disk, called = Disk(), []
    disk.ready.set()
    disk.fault = OSError("no space")
    writer = GroupCommit(disk.write, clock)
    writer.add_rows([1], lambda: called.append(writer.failure))
    await writer.flush()
    disk.fault = None
    writer.add_rows([2], lambda: called.append(writer.failure))
    await writer.flush()
    assert disk.batches == []
    assert [str(failure) for failure in called] == ["no space", "no space"]


async def test_cancellation_waits_for_completion() -> None:
    """The work ends, however often it is cancelled; then the cancellation is raised."""
    going, done = asyncio.Event(), []

    async def work() -> None:
        await going.wait()
        done.append(True)

    task = asyncio.create_task(run_to_completion(work()))
    for _ in range(2):
        await settle()
        task.cancel()
    await settle()
    assert not task.done()
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_completion_returns_the_result() -> None:
    """Without a cancellation it is a plain await."""

    async def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await run_to_completion(fail())
    assert await run_to_completion(asyncio.sleep(0, 3)) == 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks need Python 3.12")
@pytest.mark.parametrize("fault", [None, OSError("no space")])
async def test_eager_tasks_do_not_spin(clock: FakeClock, fault: Exception | None) -> None:
    """A write that ends before its task is assigned leaves the writer idle, so that flushing returns."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    disk, called = Disk(), []
    disk.ready.set()
    disk.fault = fault
    writer = GroupCommit(disk.write, clock)
    for number in range(3):
        writer.add_rows([number], lambda number=number: called.append(number))
        await asyncio.wait_for(writer.flush(), 5)
    writer.add_rows([3], lambda: called.append(3), within=1)
    await asyncio.wait_for(writer.flush(), 5)
    assert called == [0, 1, 2, 3]
    assert disk.batches == ([[0], [1], [2], [3]] if fault is None else [])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks need Python 3.12")
async def test_callback_of_an_eager_write_may_add_rows(clock: FakeClock) -> None:
    """Rows that a callback adds are written by the same task, not by a second one at the same time."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    disk = Disk()
    disk.ready.set()
    writer = GroupCommit(disk.write, clock)
    writer.add_rows([1], lambda: writer.add_rows([2]))
    await asyncio.wait_for(writer.flush(), 5)
    assert disk.batches == [[1], [2]]
