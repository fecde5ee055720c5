"""Group commit: whatever waits to be written goes into one transaction, written by one writer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from asyncbackups.clock import Clock, Timer

__all__ = ["GroupCommit", "completed"]

_Row = TypeVar("_Row")
_Value = TypeVar("_Value")

_LINGER = 0.005
"""Seconds that an event may wait for something urgent to go with: each transaction costs a sync of the disk."""
_MOST_ROWS = 10_000
"""A batch is cut here: nobody waits for a transaction without end."""


class GroupCommit(Generic[_Row]):
    """Writes rows in the order in which they were added, as many at once as wait.

    While one batch is being written, the next one gathers: the slower the disk, the larger the batches. What nobody
    waits for lingers a little, to go with what somebody waits for. There is a task only while there is something to
    write. After a failure nothing is written any more.

    Args:
        write: Writes rows in one transaction: all of them, or none.
        clock: The time.
    """

    def __init__(self, write: Callable[[list[_Row]], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._waiting: list[tuple[Sequence[_Row], Callable[[], None] | None]] = []
        self._urgent = False
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    def add(self, rows: Sequence[_Row], then: Callable[[], None] | None = None, *, urgent: bool = False) -> None:
        """Let rows be written.

        Args:
            rows: They stay together; none at all is fine, too, for what must happen after what was added before.
            then: Called once they are written, or have turned out not to be (see `failure`).
            urgent: Whether somebody waits for it.
        """
        self._waiting.append((rows, then))
        if urgent:
            self._hurry()
        else:
            self._linger()

    async def flush(self) -> None:
        """Wait until all that was added is written, or has turned out not to be."""
        while self._waiting or self._task is not None:
            self._hurry()
            if self._task is not None:
                await asyncio.wait({self._task})

    def _linger(self) -> None:
        if self._task is None and self._timer is None:
            self._timer = self._clock.call_at(self._clock.monotonic() + _LINGER, self._hurry)

    def _hurry(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._urgent = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain(), name="asyncbackups-journal")

    async def _drain(self) -> None:
        try:
            while self._waiting and self._urgent:
                await self._write_batch()
        finally:
            self._task = None
        if self._waiting:
            self._linger()

    async def _write_batch(self) -> None:
        batch: list[_Row] = []
        taken = 0
        for rows, _ in self._waiting:
            taken += 1
            batch.extend(rows)
            if len(batch) >= _MOST_ROWS:
                break
        told, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._urgent = bool(self._waiting)
        if batch and self.failure is None:
            try:
                await self._write(batch)
            except Exception as exc:  # noqa: BLE001 - whatever it was: everybody who waits is told
                self.failure = exc
        for _, then in told:
            if then is not None:
                then()


async def completed(work: Coroutine[Any, Any, _Value]) -> _Value:
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
