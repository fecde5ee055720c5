"""Writes the entries of an open journal by group commit: all entries that wait are written in one transaction."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asyncbackups._base.clock import Clock, Timer
from asyncbackups._bulk.journal import database
from asyncbackups._bulk.journal.entries import Entry, EntryKind, Row
from asyncbackups._bulk.journal.run_state import RunState
from asyncbackups.errors import JournalError
from asyncbackups.models import BackupRef

if TYPE_CHECKING:
    import aiosqlite  # an optional dependency

_Row = TypeVar("_Row")
_Value = TypeVar("_Value")

_log = logging.getLogger(__name__)

_EVENT_DELAY = 0.005  # seconds that an event may wait for an intent, to be written with it
_ACKNOWLEDGE_DELAY = 0.1  # seconds that an acknowledgement may wait for another entry, to be written with it
_MAX_BATCH_ROWS = 10_000  # a larger batch is split, so that no transaction takes too long


class EntryLog:
    """Adds new entries to the run's state, and writes them.

    Attributes:
        state: The state of the run, entries included that are being written.
        unwritten: Backups that were created after writing failed.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._writer: GroupCommit[Row] = GroupCommit(self._write_rows, clock)
        self._connection: aiosqlite.Connection | None = None
        self._acknowledged = 0
        self._timer: Timer | None = None
        self.state: RunState = RunState()
        self.unwritten: list[BackupRef] = []

    async def open(self, entries: list[Entry]) -> None:
        """Add up the entries that were read, and connect to the database."""
        self.state = await asyncio.to_thread(database.build_run_state, entries, self._path)
        self._acknowledged = self.state.acknowledged
        self._connection = await database.open_connection(self._path)

    async def close(self) -> None:
        """Write what was added, and close the database."""
        await self.flush()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @property
    def has_failed(self) -> bool:
        """Whether writing failed, so that nothing more is written."""
        return self._writer.failure is not None

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be written any more, with all backups that were created; None if all is well."""
        cause = self._writer.failure
        if cause is None:
            return None
        error = database.build_journal_error(self._path, cause, (*self.state.list_created_refs(), *self.unwritten))
        error.__cause__ = cause
        return error

    def add_entry(self, kind: EntryKind, target: int | None, data: str) -> Entry:
        """Make an entry. The state has it at once; it is written by `write` or `enqueue`, and may be acted on then."""
        entry = Entry(self.state.last_id + 1, kind, target, self._clock.utcnow(), data)
        self.state.apply_entry(entry)
        return entry

    def enqueue(self, entries: Sequence[Entry], then: Callable[[], None] | None = None) -> None:
        """Write entries soon, with others; call `then` once they are written, or could not be (see `failure`)."""
        self._add_rows(entries, then, within=_EVENT_DELAY)

    async def write(self, entries: Sequence[Entry], *, within: float = 0.0) -> None:
        """Write entries, after waiting at most `within` seconds for others; return when they are written.

        Raises:
            JournalError: If they could not be written.
        """
        done = asyncio.get_running_loop().create_future()
        self._add_rows(entries, lambda: None if done.done() else done.set_result(None), within=within)
        await done
        failure = self.failure
        if failure is not None:
            raise failure

    def acknowledge_up_to(self, event_id: int) -> None:
        """Write an acknowledgement with the next entry, or by itself after a moment."""
        if event_id > self._acknowledged:
            self._acknowledged = event_id
            if self._timer is None:
                when = self._clock.monotonic() + _ACKNOWLEDGE_DELAY
                self._timer = self._clock.call_at(when, self._write_acknowledgement)

    async def flush(self) -> None:
        """Wait until everything that was added is written."""
        self._write_acknowledgement()
        await self._writer.flush()

    def _add_rows(self, entries: Sequence[Entry], then: Callable[[], None] | None, *, within: float) -> None:
        rows = [entry.row for entry in entries]
        if self._acknowledged > self.state.acknowledged:
            rows.append(self.add_entry(EntryKind.ACKNOWLEDGED, None, str(self._acknowledged)).row)
        self._writer.add_rows(rows, then, within=within)

    def _write_acknowledgement(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._acknowledged > self.state.acknowledged and self._connection is not None:
            self.enqueue([])

    async def _write_rows(self, rows: list[Row]) -> None:
        if self._connection is None:
            raise AssertionError("the journal was written to before it was opened")  # pragma: no cover
        try:
            await database.insert_rows(self._connection, rows)
        except Exception as exc:
            _log.error("the journal %s cannot be written; no more creates are started: %s", self._path, exc)
            raise


class GroupCommit(Generic[_Row]):
    """Writes rows in the order in which they were added, as many at once as wait.

    While one batch is written, the next one gathers: the slower the disk, the larger the batches. Rows may wait for
    others for a given time, as with PostgreSQL's `commit_delay`, because each transaction costs a sync of the disk and
    a call to a thread. There is a task only while there are rows to write. After a `failure` nothing more is written.
    `write` must write all rows that it gets, or none.
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
        """Add rows to be written together, after waiting at most `within` seconds for others.

        `then` is called once they and all rows before them are written, or could not be (see `failure`).
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
        # `self._task` does not show if rows are being written: with an eager task factory, the task may have ended
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
