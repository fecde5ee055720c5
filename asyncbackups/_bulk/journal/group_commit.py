"""Group commit: all rows that wait are written in one transaction, by one writer at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from asyncbackups._base.clock import Clock, Timer

_Row = TypeVar("_Row")
_Value = TypeVar("_Value")

_MAX_BATCH_ROWS = 10_000
"""A larger batch is split, so that no transaction takes too long."""


class GroupCommit(Generic[_Row]):
    """Writes rows in the order in which they were added, as many at once as wait.

    While one batch is written, the next one gathers: the slower the disk, the larger the batches. Rows may wait for
    others for a given time, as with PostgreSQL's `commit_delay`, because each transaction costs a sync of the disk and
    a call to a thread. There is a task only while there are rows to write. After a failure nothing more is written.

    Args:
        write: Writes rows in one transaction: all of them, or none.
        clock: The clock.

    Attributes:
        failure: Why nothing more is written; None if all is well.
    """

    def __init__(self, write: Callable[[list[_Row]], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._waiting: list[tuple[Sequence[_Row], Callable[[], None] | None]] = []
        self._due = math.inf
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.failure: Exception | None = None

    def add_rows(self, rows: Sequence[_Row], then: Callable[[], None] | None = None, *, within: float = 0.0) -> None:
        """Add rows to be written.

        Args:
            rows: The rows; they stay together. May be empty, for a `then` that must follow the rows added before.
            then: Called once the rows are written, or could not be written (see `failure`).
            within: Maximum time to wait for other rows, in seconds.
        """
        self._waiting.append((rows, then))
        due = self._clock.monotonic() + within
        if due < self._due:
            self._due = due
            if self._idle.is_set():
                self._schedule_drain(within)

    async def flush(self) -> None:
        """Wait until all rows that were added are written, or could not be written."""
        while self._waiting or not self._idle.is_set():
            if self._waiting:
                self._due = -math.inf
            if self._idle.is_set():
                self._start_drain()
            await self._idle.wait()

    def _schedule_drain(self, delay: float) -> None:
        """Start writing once the most urgent rows have waited long enough."""
        self._cancel_timer()
        if delay > 0:
            self._timer = self._clock.call_at(self._due, self._start_drain)
        else:
            self._start_drain()

    def _start_drain(self) -> None:
        self._cancel_timer()
        # Not `self._task` says whether rows are being written: with an eager task factory, the task may have ended
        # before it is assigned. It is kept only so that it is not garbage-collected.
        self._idle.clear()
        self._task = asyncio.get_running_loop().create_task(self._drain_batches(), name="asyncbackups-journal")

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def _drain_batches(self) -> None:
        try:
            await self._write_batch()
            while self._waiting and self._due <= self._clock.monotonic():
                await self._write_batch()
        finally:
            self._idle.set()
        if self._waiting:
            self._schedule_drain(self._due - self._clock.monotonic())

    async def _write_batch(self) -> None:
        batch: list[_Row] = []
        taken = 0
        for rows, _ in self._waiting:
            taken += 1
            batch.extend(rows)
            if len(batch) >= _MAX_BATCH_ROWS:
                break
        written, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._due = self._clock.monotonic() if self._waiting else math.inf  # rows that were split off are written next
        if batch and self.failure is None:
            try:
                await self._write(batch)
            except Exception as exc:  # noqa: BLE001 - any error: every caller that waits is notified
                self.failure = exc
        for _, then in written:
            if then is not None:
                then()


async def run_to_completion(work: Coroutine[Any, Any, _Value]) -> _Value:
    """Run something short to its end, and raise a cancellation that came meanwhile only then.

    A thread cannot be cancelled: if it were abandoned, it would take a lock that is never released.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it
        raise asyncio.CancelledError
    return task.result()
