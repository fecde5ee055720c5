"""The log of an open journal: adds new entries to the run's state, and writes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asyncbackups._base.clock import Clock, Timer
from asyncbackups._bulk.journal import database
from asyncbackups._bulk.journal.entries import Entry, EntryKind, Row
from asyncbackups._bulk.journal.group_commit import GroupCommit
from asyncbackups._bulk.journal.run_state import RunState
from asyncbackups.errors import JournalError
from asyncbackups.models import BackupRef

if TYPE_CHECKING:
    import aiosqlite  # an optional dependency


_log = logging.getLogger(__name__)

EVENT_DELAY = 0.005
"""Seconds that an event may wait for an intent, to be written with it."""
_ACKNOWLEDGE_DELAY = 0.1
"""Seconds that an acknowledgement may wait for another entry, to be written with it."""


class EntryLog:
    """Writes entries, and knows the state that they add up to.

    Args:
        path: The journal's file.
        clock: The clock.

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
        """Add up the entries that were read, and connect to the database.

        Raises:
            JournalError: If the entries are inconsistent.
        """
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
        """Write entries soon, with others.

        Args:
            entries: The entries; may be empty, for a `then` that must follow the entries before.
            then: Called once they are written, or could not be written (see `failure`).
        """
        self._add_rows(entries, then, within=EVENT_DELAY)

    async def write(self, entries: Sequence[Entry], *, within: float = 0.0) -> None:
        """Write entries, and wait until they are written.

        Args:
            entries: The entries.
            within: Maximum time to wait for other entries, in seconds.

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
