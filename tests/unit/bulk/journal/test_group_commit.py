"""Group commit."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups._bulk.journal.group_commit import GroupCommit, completed
from tests.fake_clock import FakeClock, settle


class Disk:
    """Writes when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.ready = asyncio.Event()
        self.fault: Exception | None = None

    async def write(self, rows: list[int]) -> None:
        await self.ready.wait()
        if self.fault is not None:
            raise self.fault
        self.batches.append(rows)


async def test_what_waits_is_written_together(clock: FakeClock) -> None:
    """While one batch is being written the next one gathers; each is told when it is written, in order."""
    disk, told = Disk(), []
    writer = GroupCommit(disk.write, clock)
    writer.add([1], lambda: told.append(1))
    await settle()
    for number in (2, 3):
        writer.add([number], lambda number=number: told.append(number))
    writer.add((), lambda: told.append(4))
    assert told == []
    disk.ready.set()
    await writer.flush()
    assert disk.batches == [[1], [2, 3]]
    assert told == [1, 2, 3, 4]


async def test_what_nobody_waits_for_lingers(clock: FakeClock) -> None:
    """An event waits a moment for company: for something urgent, or for its time."""
    disk = Disk()
    disk.ready.set()
    writer = GroupCommit(disk.write, clock)
    writer.add([1], within=0.005)
    await settle()
    assert disk.batches == []
    writer.add([2])
    await settle()
    assert disk.batches == [[1, 2]]
    writer.add([3], within=0.005)
    await clock.run(1)
    assert disk.batches == [[1, 2], [3]]
    assert clock.pending_timers == 0


async def test_whoever_can_wait_least_says_when(clock: FakeClock) -> None:
    """What may wait shorter takes along what came before; what came while a batch was written waits from then on."""
    disk = Disk()
    writer = GroupCommit(disk.write, clock)
    writer.add([1], within=5)
    writer.add([2], within=1)
    writer.add([3], within=5)
    await clock.run(1)
    writer.add([4], within=2)
    await clock.run(1)
    disk.ready.set()
    await settle()
    assert disk.batches == [[1, 2, 3]]
    await clock.run(1)
    assert disk.batches == [[1, 2, 3], [4]]
    writer.add([5], within=1)
    await writer.flush()
    writer.add([6], within=1)
    await clock.run(1)
    assert disk.batches[2:] == [[5], [6]]
    assert clock.pending_timers == 0


async def test_after_a_failure_nothing_is_written(clock: FakeClock) -> None:
    """A batch that cannot be written is the last; everybody who waits is told."""
    disk, told = Disk(), []
    disk.ready.set()
    disk.fault = OSError("no space")
    writer = GroupCommit(disk.write, clock)
    writer.add([1], lambda: told.append(writer.failure))
    await writer.flush()
    disk.fault = None
    writer.add([2], lambda: told.append(writer.failure))
    await writer.flush()
    assert disk.batches == []
    assert [str(failure) for failure in told] == ["no space", "no space"]


async def test_completed_ends_before_a_cancellation_goes_on() -> None:
    """What was begun ends, however often it is cancelled meanwhile; then the cancellation is raised."""
    going, done = asyncio.Event(), []

    async def work() -> None:
        await going.wait()
        done.append(True)

    task = asyncio.create_task(completed(work()))
    for _ in range(2):
        await settle()
        task.cancel()
    await settle()
    assert not task.done()
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_completed_gives_what_came_of_it() -> None:
    """Without a cancellation it is a plain await."""

    async def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await completed(fail())
    assert await completed(asyncio.sleep(0, 3)) == 3
