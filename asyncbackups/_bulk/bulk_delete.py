"""Many deletes: one stream of events, one event for each backup."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from asyncbackups._api.operations import Operations
from asyncbackups._base.clock import Clock
from asyncbackups._base.event_stream import EventStream
from asyncbackups._bulk.worker_pool import WorkerPool
from asyncbackups._inputs import Refs, parse_refs
from asyncbackups.errors import BackupsError, ClientClosedError
from asyncbackups.events import BackupDeleted, DeleteFailed
from asyncbackups.models import BackupRef


class BulkDeletion:
    """Deletes backups. Enter with ``async with``, then iterate with ``async for``: one event for each backup.

    Deletes run at most `concurrency` at once; what to delete is read as deletes begin, never ahead. One that fails
    never stops the others. Leaving early begins no more of them. Of a collection, all are checked when this is made.

    Args:
        operations: What it deletes with.
        refs: The backups.
        concurrency: The most deletes in flight at once.
        missing_ok: Whether a backup that does not exist counts as deleted.
        clock: The time.

    Raises:
        ConfigurationError: If `refs` are not several, or one of a collection is no backup.
    """

    def __init__(self, operations: Operations, *, refs: Refs, concurrency: int, missing_ok: bool, clock: Clock) -> None:
        self._operations = operations
        self._concurrency = concurrency
        self._missing_ok = missing_ok
        self._clock = clock
        self._stream: EventStream[BackupDeleted | DeleteFailed] = EventStream()
        self._intake = WorkerPool(parse_refs(refs), unread=lambda: len(self._stream))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            ClientClosedError: If it was entered before: it is used once.
        """
        if self._task is not None:
            raise ClientClosedError("a bulk deletion can be entered only once: make another one")
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncbackups-bulk-delete")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Begin no more deletes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def under_way(self) -> int:
        """How many deletes were begun whose outcome is not known yet."""
        return self._intake.under_way

    async def stop(self) -> None:
        """Begin no more deletes; returns when the outcome of those under way is known."""
        self._intake.stop()
        await self._intake.settled()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BackupDeleted | DeleteFailed:
        """Return the next event.

        Raises:
            StopAsyncIteration: When every backup has its event.
            ClientClosedError: If it was not entered.
            Exception: What the iteration of the refs raised, after all events.
        """
        if self._task is None:
            raise ClientClosedError("enter it before iterating: `async with client.bulk_delete(...) as deletion`")
        try:
            event = await self._stream.__anext__()
        except StopAsyncIteration:
            if self._intake.failure is None:
                raise
        else:
            self._intake.consumed()
            return event
        raise self._intake.failure

    async def _run(self) -> None:
        try:
            await self._intake.work_off(self._delete, workers=self._concurrency)
        finally:
            self._stream.close()

    async def _delete(self, ref: BackupRef) -> None:
        began = self._clock.monotonic()
        error: BackupsError | None = None
        try:
            await self._operations.delete(ref, missing_ok=self._missing_ok)
        except BackupsError as exc:
            error = exc
        elapsed = self._clock.monotonic() - began
        if error is None:
            self._stream.put(BackupDeleted(ref=ref, elapsed=elapsed))
        else:
            self._stream.put(DeleteFailed(ref=ref, error=error, elapsed=elapsed))
