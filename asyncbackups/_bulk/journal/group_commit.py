"""Group commit: whatever waits to be written goes into one transaction, written by one writer at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from asyncbackups._base.clock import Clock, Timer

_Row = TypeVar("_Row")
_Value = TypeVar("_Value")

_MAX_BATCH_ROWS = 10_000
"""A batch is cut here: nobody waits for a transaction without end."""


class GroupCommit(Generic[_Row]):
    """Writes rows in the order in which they were added, as many at once as wait.

    While one batch is being written, the next one gathers: the slower the disk, the larger the batches. Whoever can
    wait for others says for how long, as PostgreSQL's `commit_delay` does it: each transaction costs a sync of the disk
    and a way to a thread and back. There is a task only while there is something to write. After a failure nothing is
    written any more.

    Args:
        write: Writes rows in one transaction: all of them, or none.
        clock: The time.

    Attributes:
        failure: Why nothing is written any more; None while all is well.
    """

    def __init__(self, write: Callable[[list[_Row]], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._waiting: list[tuple[Sequence[_Row], Callable[[], None] | None]] = []
        self._due = math.inf
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    def add_rows(self, rows: Sequence[_Row], then: Callable[[], None] | None = None, *, within: float = 0.0) -> None:
        """Let rows be written.

        Args:
            rows: They stay together; none at all is fine, too, for what must happen after what was added before.
            then: Called once they are written, or have turned out not to be (see `failure`).
            within: For how many seconds they may wait for others to go with.
        """
        self._waiting.append((rows, then))
        due = self._clock.monotonic() + within
        if due < self._due:
            self._due = due
            if self._task is None:
                self._schedule_drain(within)

    async def flush(self) -> None:
        """Wait until all that was added is written, or has turned out not to be."""
        while self._waiting or self._task is not None:
            if self._waiting:
                self._due = -math.inf
            if self._task is None:
                self._start_drain()
            if self._task is not None:
                await asyncio.wait({self._task})

    def _schedule_drain(self, wait: float) -> None:
        """Begin to write once the first of what waits has waited long enough."""
        self._cancel_timer()
        if wait > 0:
            self._timer = self._clock.call_at(self._due, self._start_drain)
        else:
            self._start_drain()

    def _start_drain(self) -> None:
        self._cancel_timer()
        self._task = asyncio.get_running_loop().create_task(self._drain(), name="asyncbackups-journal")

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def _drain(self) -> None:
        try:
            await self._write_batch()
            while self._waiting and self._due <= self._clock.monotonic():
                await self._write_batch()
        finally:
            self._task = None
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
        told, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._due = self._clock.monotonic() if self._waiting else math.inf  # what was cut off goes next
        if batch and self.failure is None:
            try:
                await self._write(batch)
            except Exception as exc:  # noqa: BLE001 - whatever it was: everybody who waits is told
                self.failure = exc
        for _, then in told:
            if then is not None:
                then()


async def run_to_completion(work: Coroutine[Any, Any, _Value]) -> _Value:
    """Do something short to its end, and only then let a cancellation that came meanwhile through.

    A thread cannot be cancelled: left alone, it would take a lock that nobody gives back.
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
            task.exception()  # seen: it would be logged else
        raise asyncio.CancelledError
    return task.result()
