"""Bulk deletion: one stream of events, one event per backup."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from asyncbackups._api.operations import Operations
from asyncbackups._base.clock import Clock
from asyncbackups._base.containers import EventStream
from asyncbackups._bulk.event_delivery import Backpressure
from asyncbackups._bulk.worker_pool import WorkerPool
from asyncbackups._inputs import Refs, parse_refs
from asyncbackups.errors import BackupsError, ClientClosedError
from asyncbackups.events import BackupDeleted, DeleteFailed
from asyncbackups.models import BackupRef


class BulkDeletion:
    """Deletes backups. Enter with ``async with``, then iterate with ``async for``: one event per backup.

    At most `concurrency` deletes run at once; `refs` are read as deletes start, never ahead. A failed delete does not
    stop the others. Leaving early starts no more deletes.

    Args:
        operations: Sends the deletes.
        refs: The backups. The items of a collection are checked at once.
        concurrency: Maximum number of deletes in flight.
        missing_ok: Whether a backup that does not exist counts as deleted.
        clock: The clock.

    Raises:
        ConfigurationError: If `refs` is not an iterable of backups.
    """

    def __init__(self, operations: Operations, *, refs: Refs, concurrency: int, missing_ok: bool, clock: Clock) -> None:
        self._operations = operations
        self._concurrency = concurrency
        self._missing_ok = missing_ok
        self._clock = clock
        self._stream: EventStream[BackupDeleted | DeleteFailed] = EventStream()
        self._backpressure = Backpressure(self._stream)
        self._pool = WorkerPool(parse_refs(refs), wait_for_capacity=self._backpressure.wait_for_capacity)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start deleting.

        Raises:
            ClientClosedError: If it was entered before: a bulk deletion is used once.
        """
        if self._task is not None:
            raise ClientClosedError("a bulk deletion can be entered only once: make another one")
        # In the caller's context, as the task of a `BulkRun`: the deletion belongs to the caller.
        self._task = asyncio.get_running_loop().create_task(self._delete_all(), name="asyncbackups-bulk-delete")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Start no more deletes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    @property
    def under_way(self) -> int:
        """Number of deletes that were started and have no outcome yet."""
        return self._pool.in_progress

    async def stop(self) -> None:
        """Start no more deletes; return when those in flight have their outcome."""
        self._pool.stop()
        await self._pool.wait_until_idle()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BackupDeleted | DeleteFailed:
        """Return the next event.

        Raises:
            StopAsyncIteration: When every backup has had its event.
            ClientClosedError: If it was not entered.
            Exception: The error that the iteration of `refs` raised, after all events.
        """
        if self._task is None:
            raise ClientClosedError("enter it before iterating: `async with client.bulk_delete(...) as deletion`")
        try:
            event = await self._stream.__anext__()
        except StopAsyncIteration:
            if self._pool.failure is None:
                raise
        else:
            self._backpressure.notify_consumed()
            return event
        raise self._pool.failure

    async def _delete_all(self) -> None:
        try:
            await self._pool.process_items(self._delete_backup, concurrency=self._concurrency)
        finally:
            self._stream.close()

    async def _delete_backup(self, ref: BackupRef) -> None:
        started = self._clock.monotonic()
        try:
            await self._operations.delete(ref, missing_ok=self._missing_ok)
        except BackupsError as exc:
            self._stream.put(DeleteFailed(ref=ref, error=exc, elapsed=self._clock.monotonic() - started))
        else:
            self._stream.put(BackupDeleted(ref=ref, elapsed=self._clock.monotonic() - started))
