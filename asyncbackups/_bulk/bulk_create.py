"""Many creates: each planet's backup is created, then watched; one stream of events for both, and a report."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import attrs

from asyncbackups._base.clock import Clock
from asyncbackups._base.event_stream import EventStream
from asyncbackups._bulk.report import BulkReport
from asyncbackups._bulk.run_store import Intent, ResumePoint, RunningBackup, RunStore, Target, numbered
from asyncbackups._bulk.worker_pool import WorkerPool
from asyncbackups._http.messages import RequestKind
from asyncbackups._inputs import Planets
from asyncbackups.errors import AmbiguousCreateError, BackupsError, ClientClosedError, ConfigurationError, JournalError
from asyncbackups.events import (
    BackupCreated,
    CreateFailed,
    Event,
    FinalEvent,
    WatchFailed,
)
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef

if TYPE_CHECKING:
    from asyncbackups._api.create import Creation
    from asyncbackups._polling.engine import Engine


_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Watched:
    """A backup that was created, as the run waits for it."""

    run: BulkRun
    target: Target
    began: float

    def deliver(self, event: FinalEvent) -> None:
        self.run.ended(self, event)


class _Create(Protocol):
    """How a run creates one backup."""

    async def __call__(
        self,
        planet: PlanetRef,
        spec: BackupSpec,
        *,
        key: str | None,
        may_exist: bool,
        since: datetime | None,
        until: datetime | None,
    ) -> Creation:
        """Create it."""
        ...


class BulkRun:
    """Creates a backup of each planet and watches it. Enter with ``async with``, then iterate with ``async for``.

    Creates run at most `concurrency` at once; targets are read as creates begin, never ahead. One planet's failure
    never stops the others. Leaving early stops creating and watching; backups that exist go on.

    Args:
        engine: The client's engine.
        create: Creates one backup.
        ledger: What it remembers.
        planets: The targets, see `parse_planets`; None for those that the ledger has.
        concurrency: The most creates in flight at once.
        deadline: For how long each backup is watched, in seconds.
        clock: The time.
        requests: The client's count of requests, by kind.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        create: _Create,
        ledger: RunStore,
        planets: Planets,
        concurrency: int,
        deadline: float,
        clock: Clock,
        requests: collections.Counter[RequestKind],
    ) -> None:
        self._engine = engine
        self._create = create
        self._ledger = ledger
        self._planets = planets
        self._taken: set[PlanetRef] = set()
        self._concurrency = concurrency
        self._deadline = deadline
        self._clock = clock
        self._requests = requests
        self._stream: EventStream[Event] = EventStream()
        self._intake: WorkerPool[Target] = self._taking(numbered(()))
        self._report = BulkReport()
        self._watched: dict[_Watched, BackupRef] = {}
        self._untold = 0
        self._held: dict[asyncio.Task[object] | None, int] = {}
        self._broken_off: list[int] = []  # events whose consumers did not come to deal with them
        self._delivered = 0
        self._entered = False
        self._task: asyncio.Task[None] | None = None
        self._creating = True
        self._began = 0.0
        self._ended: float | None = None
        self._requests_before: collections.Counter[RequestKind] = collections.Counter()

    async def __aenter__(self) -> Self:
        """Begin, or go on with what the journal has.

        Raises:
            ClientClosedError: If it was entered before: a run is used once.
            JournalError: If the journal is of another run, is being run, or cannot be used; nothing was sent.
        """
        if self._entered:
            raise ClientClosedError("a bulk run can be entered only once: make another one")
        self._entered = True
        self._requests_before = self._requests.copy()
        earlier = await self._ledger.open(self._planets)
        try:
            self._go_on(earlier)
        except BaseException:
            await self._leave()
            raise
        self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncbackups-bulk")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop creating and watching; what exists goes on without us."""
        if self._task is not None:
            self._task.cancel()
            try:
                await asyncio.wait({self._task})
            finally:
                await self._leave()

    async def _leave(self) -> None:
        over = self._over
        for watched, ref in self._watched.items():
            self._engine.untrack(ref, watched)
        self._watched.clear()
        try:
            await self._ledger.close()
        finally:
            self._creating = False
            if not over:
                self._report.seconds = self._clock.monotonic() - self._began
            self._stream.close()

    def _go_on(self, earlier: ResumePoint) -> None:
        """Take up what earlier processes have done; without any, that is nothing."""
        self._began = self._clock.monotonic() if earlier.started is None else self._since(earlier.started)
        self._ended = None if earlier.ended is None else self._since(earlier.ended)
        self._intake = self._taking(earlier.targets)
        self._taken.update(earlier.planets)
        self._report.planets = earlier.taken
        for event in earlier.told:
            self._report.count(event)
        for event in earlier.undelivered:
            self._stream.put(event)
        for running in earlier.running:
            self._watch_again(running)

    def _since(self, moment: datetime) -> float:
        """Return an instant of the time of day on the run's own clock; one that is to come, for now."""
        return self._clock.monotonic() - max(0.0, (self._clock.utcnow() - moment).total_seconds())

    @property
    def report(self) -> BulkReport:
        """What has come of it so far; complete once the iteration has ended."""
        report = self._report
        if not self._entered:
            return report
        report.requests = self._requests - self._requests_before
        if not self._over:
            report.seconds = self._clock.monotonic() - self._began
        return report

    @property
    def under_way(self) -> int:
        """How many creates were begun whose outcome is not known yet."""
        return self._intake.under_way

    async def stop(self) -> None:
        """Begin no more creates; returns when the outcome of those under way is known. Backups are watched on.

        The planets that were not begun with have no event. A journal keeps them, for `BackupClient.resume`.

        Raises:
            ClientClosedError: If the run was not entered.
        """
        if self._task is None:
            raise ClientClosedError("enter the run before stopping it: `async with client.bulk_create(...) as run`")
        self._intake.stop()
        await self._intake.settled()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            StopAsyncIteration: When every planet has its outcome.
            ClientClosedError: If the run was not entered.
            JournalError: If the journal could not be written, after all other events: what had been begun then was
                watched to its end.
            Exception: What the iteration of the targets raised, after the events of those already read.
        """
        if self._task is None:
            raise ClientClosedError("enter the run before iterating: `async with client.bulk_create(...) as run`")
        self._acknowledge()
        try:
            event = await self._stream.__anext__()
        except StopAsyncIteration:
            await self._ledger.flush()
            if self._failed is None:
                raise
        else:
            self._intake.consumed()
            self._deliver(event)
            return event
        raise self._failed

    def _deliver(self, event: Event) -> None:
        if event.id is not None:
            self._delivered = event.id
            self._held[asyncio.current_task()] = event.id

    def _acknowledge(self) -> None:
        """Whoever asks for the next event has dealt with the last one; several consumers may share the events."""
        task = asyncio.current_task()
        for holder in [one for one in self._held if one is None or one is task or one.done()]:
            event_id = self._held.pop(holder)
            if holder is not None and holder is not task and not _ended_well(holder):
                self._broken_off.append(event_id)
        self._ledger.acknowledge(min([*self._held.values(), *self._broken_off, self._delivered + 1]) - 1)

    @property
    def _failed(self) -> Exception | None:
        return self._intake.failure or self._ledger.failure

    def ended(self, watched: _Watched, event: FinalEvent) -> None:
        """Take note of a backup's final event; for the engine."""
        del self._watched[watched]
        elapsed = self._clock.monotonic() - watched.began
        self._note(watched.target, attrs.evolve(event, planet=watched.target.planet, elapsed=elapsed))

    @property
    def _over(self) -> bool:
        return not (self._creating or self._watched or self._untold)

    def _close_if_over(self) -> None:
        if self._over:
            ended = self._clock.monotonic() if self._ended is None else self._ended
            self._report.seconds = ended - self._began
            self._stream.close()

    def _note(self, target: Target, event: Event) -> None:
        self._untold += 1
        try:
            self._ledger.record(target, event, self._noted)
        except Exception as exc:  # noqa: BLE001 - a bug, told at the end; the run must not wait for what nobody tells
            self._intake.failure = exc
            self._noted(event)

    def _noted(self, event: Event) -> None:
        self._untold -= 1
        self._tell(event)

    def _tell(self, event: Event) -> None:
        self._report.count(event)
        self._stream.put(event)
        self._close_if_over()

    async def _run(self) -> None:
        try:
            await self._intake.work_off(self._create_one, workers=self._concurrency)
        finally:
            self._creating = False
            self._close_if_over()

    def _taking(self, targets: AsyncIterator[Target]) -> WorkerPool[Target]:
        return WorkerPool(targets, unread=lambda: len(self._stream))

    async def _create_one(self, target: Target) -> None:
        began = self._clock.monotonic()
        try:
            self._claim(target.planet)
            intent = await self._ledger.intend(target)
        except JournalError:
            # What cannot be written is not sent; `__anext__` says why.
            self._intake.stop()
            return
        except ConfigurationError as exc:
            self._report.planets += 1
            self._create_failed(target, exc, began)
            return
        self._report.planets += 1
        await self._create_intended(target, intent, began)

    async def _create_intended(self, target: Target, intent: Intent, began: float) -> None:
        if intent.since is not None and intent.may_exist:
            began = self._since(intent.since)
        try:
            creation = await self._create(
                target.planet,
                self._ledger.spec,
                key=intent.key,
                may_exist=intent.may_exist,
                since=intent.since,
                until=intent.until,
            )
        except BackupsError as exc:
            closed = _client_closed(exc)
            if closed is None:
                self._create_failed(target, exc, began)
                return
            # No entry of the journal, here and below: resuming looks for it.
            self._tell(self._not_created(target, exc, began))
            raise closed from None
        except (asyncio.CancelledError, Exception) as exc:
            left = isinstance(exc, asyncio.CancelledError)
            reason = f"{'the run was left' if left else type(exc).__name__} while the create was under way"
            error = AmbiguousCreateError(reason, planet=target.planet)
            error.__cause__ = exc
            self._tell(self._not_created(target, error, began))
            raise
        else:
            self._created(target, creation, began)

    def _claim(self, planet: PlanetRef) -> None:
        if planet in self._taken:
            raise ConfigurationError(f"{planet} is listed twice among the targets: it gets one backup")
        self._taken.add(planet)

    def _create_failed(self, target: Target, error: BackupsError, began: float) -> None:
        self._note(target, self._not_created(target, error, began))

    def _not_created(self, target: Target, error: BackupsError, began: float) -> CreateFailed:
        return CreateFailed(planet=target.planet, error=error, elapsed=self._clock.monotonic() - began)

    def _created(self, target: Target, creation: Creation, began: float) -> None:
        now = self._clock.monotonic()
        ref = BackupRef(target.planet.star_system, creation.backup.id)
        created = BackupCreated(
            ref=ref,
            planet=target.planet,
            backup=creation.backup,
            elapsed=now - began,
            adopted=creation.adopted,
            possible_duplicate=creation.possible_duplicate,
        )
        self._note(target, created)
        # One that was adopted may have begun long ago: it is asked about at once.
        self._watch(target, ref, began=began, born=now if creation.adopted is None else None)

    def _watch_again(self, running: RunningBackup) -> None:
        began, born = self._since(running.intended), self._since(running.created)
        self._watch(running.target, running.ref, began=began, born=born)

    def _watch(self, target: Target, ref: BackupRef, *, began: float, born: float | None) -> None:
        watched = _Watched(self, target, began)
        self._watched[watched] = ref
        try:
            self._engine.track(
                ref,
                watched,
                deadline=self._deadline,
                planet=target.planet.planet,
                mechanism=self._ledger.spec.mechanism,
                born=born,
            )
        except ClientClosedError as exc:
            self.ended(watched, WatchFailed(ref=ref, error=exc))
        except Exception:
            del self._watched[watched]  # a bug; the run must not wait for what nobody watches
            raise


def _client_closed(error: BackupsError) -> ClientClosedError | None:
    """Return the error that says that the client was left, where that is why a create has no outcome."""
    cause = error.__cause__ if isinstance(error, AmbiguousCreateError) else error
    return cause if isinstance(cause, ClientClosedError) else None


def _ended_well(consumer: asyncio.Task[object]) -> bool:
    """Whether a consumer that is over has dealt with what it was given; if it broke off, that is to be told again."""
    if consumer.cancelled():
        return False
    failure = consumer.exception()
    if failure is not None:  # asyncio no longer says it of a task that was asked for it
        _log.warning("a consumer broke off: what it was told last will be told again on resuming", exc_info=failure)
    return failure is None
