"""Creates a backup of each target: target, intent, create, created or failed, tracked to its final event."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Protocol

import attrs

from asyncbackups._api.create import Creation
from asyncbackups._api.reconcile import Baseline
from asyncbackups._base.cancellation import await_shared_work
from asyncbackups._base.clock import Clock
from asyncbackups._bulk.event_delivery import EventDelivery
from asyncbackups._bulk.report import ReportBuilder
from asyncbackups._bulk.run_store import Intent, ResumePoint, RunningBackup, RunStore, Target, number_targets
from asyncbackups._bulk.worker_pool import WorkerPool
from asyncbackups._polling.engine import Engine
from asyncbackups.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    ConfigurationError,
    JournalError,
    find_client_closed,
    is_client_shutdown,
)
from asyncbackups.events import BackupCreated, CreateFailed, DuplicateFound, Event, FinalEvent, WatchFailed
from asyncbackups.models import BackupRef, BackupSpec, PlanetRef

_log = logging.getLogger(__name__)


class CreateFunction(Protocol):
    """Creates one backup."""

    async def __call__(
        self,
        planet: PlanetRef,
        spec: BackupSpec,
        *,
        key: str | None,
        may_exist: bool,
        baseline: Baseline | None,
    ) -> Creation:
        """Create it; the keyword arguments are those of an `Intent`."""
        ...


class FindDuplicatesFunction(Protocol):
    """Finds other backups that a create has made."""

    async def __call__(self, planet: PlanetRef, key: str, ref: BackupRef) -> tuple[BackupRef, ...] | None:
        """Return them; None if the service does not show which create has made a backup."""
        ...


@attrs.define(eq=False)
class _CreatedBackup:
    """Subscribes a run to the final event of a backup that it created."""

    pipeline: CreationPipeline
    target: Target
    started: float

    def deliver(self, event: FinalEvent) -> None:
        self.pipeline.handle_final_event(self, event)


class CreationPipeline:
    """Creates the backups of a run, at most `concurrency` at once, and tracks each until it has its final event."""

    def __init__(
        self,
        engine: Engine,
        *,
        create: CreateFunction,
        take_baseline: Callable[[PlanetRef], Awaitable[Baseline | None]],
        find_duplicates: FindDuplicatesFunction,
        store: RunStore,
        delivery: EventDelivery,
        report: ReportBuilder,
        concurrency: int,
        deadline: float,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._create = create
        self._take_baseline = take_baseline
        self._find_duplicates = find_duplicates
        self._store = store
        self._delivery = delivery
        self._report = report
        self._concurrency = concurrency
        self._deadline = deadline
        self._clock = clock
        self._claimed: set[PlanetRef] = set()
        self._tracked: dict[_CreatedBackup, BackupRef] = {}
        # The few backups whose creates were sent again, with the creates' keys.
        self._in_doubt: dict[_CreatedBackup, str] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()
        self.pool: WorkerPool[Target] = self._new_pool(number_targets(()))

    def prepare(self, resume_point: ResumePoint) -> None:
        """Take over what earlier processes created, and what is left to create."""
        # Until `run` ends: the stream must not end while creates may still come.
        self._delivery.add_source()
        self.pool = self._new_pool(resume_point.targets)
        self._claimed.update(resume_point.created_planets)
        for running in resume_point.running:
            self._track_again(running)

    def _new_pool(self, targets: AsyncIterator[Target]) -> WorkerPool[Target]:
        return WorkerPool(targets, wait_for_capacity=self._delivery.backpressure.wait_for_capacity)

    async def run(self) -> None:
        """Create the backups of all targets; returns when no more creates are started and none is in flight."""
        # Final events come from the engine's task, which has no context: checks run in that of the caller.
        self._context = contextvars.copy_context()
        try:
            await self.pool.process_items(self._create_backup, concurrency=self._concurrency)
        finally:
            self._delivery.remove_source()

    def untrack_all(self) -> None:
        """Stop tracking all backups. The stream stays open: the caller closes it."""
        for backup, ref in self._tracked.items():
            self._engine.untrack(ref, backup)
        self._tracked.clear()

    async def cancel_checks(self) -> None:
        """Cancel the searches for duplicates. A journal repeats them: the final events were not recorded."""
        for check in self._checks:
            check.cancel()
        if self._checks:
            await asyncio.wait(self._checks)

    async def _create_backup(self, target: Target) -> None:
        started = self._clock.monotonic()
        try:
            self._claim_planet(target.planet)
            baseline = await self._take_baseline(target.planet) if self._store.needs_baseline(target) else None
            intent = await self._store.record_intent(target, baseline)
        except JournalError:
            # Without a stored intent, nothing may be sent. The store keeps the error.
            self.pool.stop()
            return
        except (ConfigurationError, AuthenticationError) as exc:  # a planet that is listed twice; no baseline
            self._report.planets += 1
            self._record_failure(target, exc, started)
            return
        self._report.planets += 1
        await self._send_create(target, intent, started)

    def _claim_planet(self, planet: PlanetRef) -> None:
        if planet in self._claimed:
            raise ConfigurationError(f"{planet} is listed twice: a planet gets one backup per run")
        self._claimed.add(planet)

    async def _send_create(self, target: Target, intent: Intent, started: float) -> None:
        if intent.since is not None and intent.may_exist:
            started = monotonic_at(self._clock, intent.since)
        try:
            creation = await self._create(
                target.planet,
                self._store.spec,
                key=intent.key,
                may_exist=intent.may_exist,
                baseline=intent.baseline,
            )
        except BackupsError as exc:
            closed = find_client_closed(exc)
            if closed is None:
                self._record_failure(target, exc, started)
                return
            # Delivered but not stored, here and below: the outcome is unknown, so resuming reconciles the create.
            self._delivery.deliver(self._create_failed(target, exc, started))
        except (asyncio.CancelledError, Exception) as exc:
            cause = "the run was left" if isinstance(exc, asyncio.CancelledError) else type(exc).__name__
            error = AmbiguousCreateError(f"{cause} while the create was in flight", planet=target.planet)
            error.__cause__ = exc
            self._delivery.deliver(self._create_failed(target, error, started))
            raise
        else:
            self._handle_creation(target, creation, started)
            return
        raise closed  # not in the handler: the delivered error, whose cause it is, would be its context

    def _handle_creation(self, target: Target, creation: Creation, started: float) -> None:
        now = self._clock.monotonic()
        ref = BackupRef(target.planet.star_system, creation.backup.id)
        created = BackupCreated(
            ref=ref,
            planet=target.planet,
            backup=creation.backup,
            elapsed=now - started,
            adopted=creation.adopted,
            possible_duplicate=creation.possible_duplicate,
            duplicates=creation.duplicates,
        )
        self._record(target, created)
        # An adopted backup may have started long ago: its age is unknown, so it is polled at once.
        created_at = now if creation.adopted is None else None
        self._track(target, ref, started=started, created_at=created_at, key_in_doubt=creation.key)

    def _record_failure(self, target: Target, error: BackupsError, started: float) -> None:
        self._record(target, self._create_failed(target, error, started))

    def _create_failed(self, target: Target, error: BackupsError, started: float) -> CreateFailed:
        return CreateFailed(planet=target.planet, error=error, elapsed=self._clock.monotonic() - started)

    def _record(self, target: Target, event: Event) -> None:
        try:
            self._delivery.record(target, event)
        except Exception as exc:  # noqa: BLE001 - a bug; the iteration of the run ends with it
            self.pool.failure = exc

    def _track_again(self, running: RunningBackup) -> None:
        started, created_at = (monotonic_at(self._clock, at) for at in (running.intended_at, running.created_at))
        self._track(
            running.target, running.ref, started=started, created_at=created_at, key_in_doubt=running.key_in_doubt
        )

    def _track(
        self, target: Target, ref: BackupRef, *, started: float, created_at: float | None, key_in_doubt: str | None
    ) -> None:
        backup = _CreatedBackup(self, target, started)
        self._tracked[backup] = ref
        if key_in_doubt is not None:
            self._in_doubt[backup] = key_in_doubt
        self._delivery.add_source()
        try:
            self._engine.track(
                ref,
                backup,
                deadline=self._deadline,
                planet=target.planet.planet,
                mechanism=self._store.spec.mechanism,
                started_at=created_at,
            )
        except ClientClosedError as exc:
            self.handle_final_event(backup, WatchFailed(ref=ref, error=exc))
        except Exception:
            # A bug: the run must not wait for a backup that is not tracked.
            del self._tracked[backup]
            self._delivery.remove_source()
            raise

    def handle_final_event(self, backup: _CreatedBackup, event: FinalEvent) -> None:
        """Record the final event of a tracked backup, after a search for possible duplicates; called by the engine."""
        del self._tracked[backup]
        elapsed = self._clock.monotonic() - backup.started
        event = attrs.evolve(event, planet=backup.target.planet, elapsed=elapsed)
        key = self._in_doubt.pop(backup, None)
        if key is None or (isinstance(event, WatchFailed) and is_client_shutdown(event.error)):
            self._record_final_event(backup.target, event)
            return
        check = self._check_duplicates(backup.target, key, event)
        task = asyncio.get_running_loop().create_task(check, name="asyncbackups-duplicates", context=self._context)
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    def _record_final_event(self, target: Target, event: FinalEvent) -> None:
        self._record(target, event)
        self._delivery.remove_source()

    async def _check_duplicates(self, target: Target, key: str, event: FinalEvent) -> None:
        """Record whether a create that was sent again has made other backups, then the final event of the known one."""
        found = None
        try:
            found = await await_shared_work(
                lambda: self._find_duplicates(target.planet, key, event.ref), _stray_cancellation
            )
        except ClientClosedError:
            # Delivered but not stored: resuming gets the final event again, and repeats the search.
            self._delivery.deliver(event)
            self._delivery.remove_source()
            return
        except BackupsError as exc:
            _log.info("%s: it remains unknown whether it was created twice: %s", target.planet, exc)
        except Exception as exc:  # noqa: BLE001 - a bug; the iteration of the run ends with it
            self.pool.failure = exc
        if found:
            duplicate = DuplicateFound(ref=event.ref, planet=target.planet, elapsed=event.elapsed, duplicates=found)
            self._record(target, duplicate)
        elif found is not None:
            _log.info("%s: created once, although the create was sent again", target.planet)
            self._report.settle_doubt(event.ref)
        self._record_final_event(target, event)


def _stray_cancellation() -> Exception:
    return RuntimeError("a task that a search for duplicates shares with another task was cancelled by that other task")


def monotonic_at(clock: Clock, moment: datetime) -> float:
    """Return a time of day in monotonic seconds; a moment in the future counts as now."""
    return clock.monotonic() - max(0.0, (clock.utcnow() - moment).total_seconds())
