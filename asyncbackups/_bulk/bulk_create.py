"""A bulk run: creates and watches the backups of many planets, as one stream of events and a report."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from asyncbackups._api.reconcile import Baseline
from asyncbackups._base.clock import Clock
from asyncbackups._bulk.creation_pipeline import CreateFunction, CreationPipeline, FindDuplicatesFunction, monotonic_at
from asyncbackups._bulk.event_delivery import Acknowledgement, ConsumerState, EventDelivery
from asyncbackups._bulk.report import BulkReport, ReportBuilder
from asyncbackups._bulk.run_store import ResumePoint, RunStore
from asyncbackups._http.messages import RequestKind
from asyncbackups._inputs import Planets
from asyncbackups._polling.engine import Engine
from asyncbackups.errors import ClientClosedError
from asyncbackups.events import Event
from asyncbackups.models import PlanetRef

_log = logging.getLogger(__name__)


class BulkRun:
    """Creates a backup of each planet and watches it. Enter with ``async with``, then iterate with ``async for``.

    At most `concurrency` creates run at once; targets are read as creates start, never ahead. A planet that fails does
    not stop the others. Leaving early stops creating and watching; backups that exist continue.

    Args:
        engine: The client's polling engine.
        create: Creates one backup.
        take_baseline: Returns the backups that exist in a planet's star system now, or None if that is unknown.
        find_duplicates: Finds other backups that a create has made.
        store: Stores the progress of the run.
        planets: The targets, see `parse_planets`; None for those that the store has.
        concurrency: Maximum number of creates in flight.
        deadline: Seconds for which each backup is watched.
        clock: The clock.
        requests: The client's requests so far, by kind.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        create: CreateFunction,
        take_baseline: Callable[[PlanetRef], Awaitable[Baseline | None]],
        find_duplicates: FindDuplicatesFunction,
        store: RunStore,
        planets: Planets,
        concurrency: int,
        deadline: float,
        clock: Clock,
        requests: collections.Counter[RequestKind],
    ) -> None:
        self._store = store
        self._planets = planets
        self._clock = clock
        self._report = ReportBuilder(requests)
        self._delivery = EventDelivery(store, self._report, clock)
        self._pipeline = CreationPipeline(
            engine,
            create=create,
            take_baseline=take_baseline,
            find_duplicates=find_duplicates,
            store=store,
            delivery=self._delivery,
            report=self._report,
            concurrency=concurrency,
            deadline=deadline,
            clock=clock,
        )
        self._acknowledgement: Acknowledgement[asyncio.Task[object] | None] = Acknowledgement()
        self._entered = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the run, or resume what the journal has.

        Raises:
            ClientClosedError: If it was entered before: a run is used once.
            JournalError: If the journal belongs to another run, is in use, or cannot be used; nothing was sent.
        """
        if self._entered:
            raise ClientClosedError("a bulk run can be entered only once: make another one")
        self._entered = True
        self._report.start_requests()
        resume_point = await self._store.open(self._planets)
        try:
            self._resume_from(resume_point)
        except BaseException:
            await self._leave()
            raise
        # The task inherits the caller's context, unlike the tasks that all callers of a client share: the requests of
        # this run belong to the caller's trace and log context.
        self._task = asyncio.get_running_loop().create_task(self._pipeline.run(), name="asyncbackups-bulk")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop creating and watching; backups that exist continue."""
        if self._task is not None:
            self._task.cancel()
            try:
                await asyncio.wait({self._task})
            finally:
                await self._leave()

    async def _leave(self) -> None:
        self._pipeline.untrack_all()
        try:
            await self._pipeline.cancel_checks()
        finally:
            try:
                await self._store.close()
            finally:
                self._delivery.close()

    def _resume_from(self, point: ResumePoint) -> None:
        """Restore what earlier processes did; for a new run there is nothing to restore."""
        now = self._clock.monotonic()
        self._report.start_clock(now if point.started_at is None else monotonic_at(self._clock, point.started_at))
        if point.ended_at is not None:
            self._report.finish(monotonic_at(self._clock, point.ended_at))
        self._report.planets = point.started_targets
        for event in point.events:
            self._report.add_event(event)
        for event in point.undelivered:
            self._delivery.stream.put(event)
        self._pipeline.prepare(point)

    @property
    def report(self) -> BulkReport:
        """The report so far, a snapshot; complete once the iteration has ended."""
        return self._report.snapshot(self._clock.monotonic())

    @property
    def under_way(self) -> int:
        """Number of creates that were started and have no outcome yet."""
        return self._pipeline.pool.in_progress

    async def stop(self) -> None:
        """Start no more creates; return when those in flight have their outcome. Their backups are still watched.

        Planets that were not started have no event. A journal keeps them, for `BackupClient.resume`.

        Raises:
            ClientClosedError: If the run was not entered.
        """
        if self._task is None:
            raise ClientClosedError("enter the run before stopping it: `async with client.bulk_create(...) as run`")
        self._pipeline.pool.stop()
        await self._pipeline.pool.wait_until_idle()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            StopAsyncIteration: When every planet has its outcome.
            ClientClosedError: If the run was not entered.
            JournalError: If the journal could not be written, after all other events: backups that were created by then
                were watched until they ended.
            Exception: The error that the iteration of the targets raised, after the events of the targets before it.
        """
        if self._task is None:
            raise ClientClosedError("enter the run before iterating: `async with client.bulk_create(...) as run`")
        consumer = asyncio.current_task()
        self._store.acknowledge_up_to(self._acknowledgement.record_request(consumer, _consumer_state))
        try:
            event = await self._delivery.stream.__anext__()
        except StopAsyncIteration:
            await self._store.flush()
            failure = self._pipeline.pool.failure or self._store.failure
            if failure is None:
                raise
        else:
            self._delivery.backpressure.notify_consumed()
            if event.id is not None:
                self._acknowledgement.record_delivery(consumer, event.id)
            return event
        raise failure


def _consumer_state(consumer: asyncio.Task[object] | None) -> ConsumerState:
    if consumer is None:
        return ConsumerState.FINISHED
    if not consumer.done():
        return ConsumerState.ACTIVE
    if consumer.cancelled():
        return ConsumerState.FAILED
    failure = consumer.exception()
    if failure is None:
        return ConsumerState.FINISHED
    # asyncio does not log the error of a task whose exception was retrieved.
    _log.warning("a consumer failed; resuming the run delivers its last event again", exc_info=failure)
    return ConsumerState.FAILED
