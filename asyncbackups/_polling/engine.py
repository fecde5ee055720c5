"""The polling engine: one task per client that sends the polls that are due, and delivers the final events.

It decides nothing: between two decisions of the scheduler it sleeps until the next wake-up, or until it is woken. It
has one task for each request in flight, however many backups are tracked.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.abc

from asyncbackups._api.create import CreateOrigin
from asyncbackups._api.operations import Operations, ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups._api.status_rule import has_known_status, progress_of
from asyncbackups._base.clock import Clock
from asyncbackups._base.validation import quote_value
from asyncbackups._polling.scheduler import Notification, Scheduler
from asyncbackups._polling.server_clock import ServerClock
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, Subscriber
from asyncbackups.errors import BackupsError, ClientClosedError, EngineError, is_informative
from asyncbackups.events import Explanation
from asyncbackups.models import Backup, BackupId, BackupRef, Progress, Status, StatusRule

_log = logging.getLogger(__name__)

_FAILURES_LOGGED = 2
"""A warning is logged after this many failed polls in a row: a single one is common."""
_TIME_ZONES = timedelta(days=1)
"""Times of all zones are compared as text."""
_STATUSES_LOGGED = 100
"""At most this many undocumented statuses are logged, in case the service invents new ones without end."""


class Engine:
    """Polls every tracked backup of a client for all its subscribers; a backup watched twice is polled once.

    Its task is started by the first subscription and ended by `close`, which may be called from another task.

    Args:
        operations: Sends the polls.
        scheduler: Creates a scheduler: at the start, and again after a crash.
        clock: The time.
        concurrency: The maximum number of polls in flight.
        status_rule: Returns what a status means.
        origin: Returns what this client knows of a backup because it created it.
        is_foreign: Returns True if a backup of a star system has the id of one that this client created, and is not it.
    """

    def __init__(
        self,
        operations: Operations,
        *,
        scheduler: Callable[[], Scheduler],
        clock: Clock,
        concurrency: int,
        status_rule: StatusRule,
        origin: Callable[[BackupRef], CreateOrigin | None],
        is_foreign: Callable[[str, Backup], bool],
    ) -> None:
        self._operations = operations
        self._new_scheduler = scheduler
        self._scheduler = scheduler()
        self._clock = clock
        self._concurrency = concurrency
        self._status_rule = status_rule
        self._origin = origin
        self._is_foreign = is_foreign
        self._server_clock = ServerClock()
        self._wake = asyncio.Event()
        self._asleep_until = -math.inf
        self._task: asyncio.Task[None] | None = None
        self._requests = 0
        self._failures: collections.Counter[str] = collections.Counter()  # in a row, per star system
        self._closed = False
        self._close_callbacks: set[Callable[[], None]] = set()
        self._known_statuses: set[str | None] = {Status.SUCCEEDED}

    @property
    def in_flight(self) -> int:
        """How many backups are tracked."""
        return self._scheduler.in_flight

    def track(
        self,
        ref: BackupRef,
        subscriber: Subscriber,
        *,
        deadline: float,
        planet: str | None = None,
        mechanism: str | None = None,
        started_at: float | None = None,
        patient: bool = False,
    ) -> bool:
        """Subscribe to a backup; return whether the subscription is new.

        Args:
            ref: The backup.
            subscriber: Receives the final event.
            deadline: When the wait expires, in seconds from now.
            planet: The backup's planet, if known.
            mechanism: How it is made, if known.
            started_at: When it was created, on the client's clock, if known.
            patient: Whether a backup of unknown age may wait a moment for others, which one list then covers.

        Raises:
            ClientClosedError: If the client was closed.
        """
        if self._closed:
            raise ClientClosedError("the client was closed: nothing can be watched any more")
        now = self._clock.monotonic()
        if started_at is None and (origin := self._origin(ref)) is not None:
            planet, mechanism, started_at = origin.planet, origin.mechanism, origin.started_at
        self._deliver_events(self._scheduler.supersede(ref, planet, now))
        new = self._scheduler.add(
            ref,
            subscriber,
            now=now,
            deadline=now + deadline,
            planet=planet,
            mechanism=mechanism,
            started_at=started_at,
            patient=patient,
        )
        if self._task is None or self._task.done():
            self._start_task()
        self._wake.set()
        return new

    def _start_task(self) -> None:
        # The task outlives its first caller, so it must not inherit the caller's context (trace spans, log fields).
        context = contextvars.Context()
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._run_task(), name="asyncbackups-engine", context=context)
        if not task.done():  # an eager task may have run to its end already
            self._task = task

    def untrack(self, ref: BackupRef, subscriber: Subscriber) -> bool:
        """End a subscription without an event; return whether there was one."""
        found = self._scheduler.discard(ref, subscriber)
        if found:
            self._wake.set()  # there may be nothing left to wake up for
        return found

    def untrack_all(self, subscriber: Subscriber, star_systems: Iterable[str]) -> None:
        """End all subscriptions of a subscriber in some star systems without events."""
        self._scheduler.discard_all(subscriber, star_systems)
        self._wake.set()

    def add_close_callback(self, callback: Callable[[], None]) -> None:
        """Call a function when the client is closed: for watches that have no backup in progress."""
        self._close_callbacks.add(callback)

    def remove_close_callback(self, callback: Callable[[], None]) -> None:
        """Undo `add_close_callback`."""
        self._close_callbacks.discard(callback)

    def explain(self, ref: BackupRef) -> Explanation | None:
        """Explain when a backup is polled next, and why; None if it is not tracked."""
        return self._scheduler.explain(ref, self._clock.monotonic())

    async def close(self) -> None:
        """End the task; open waits end with a `ClientClosedError`."""
        self._closed = True
        task = self._task
        try:
            if task is not None:
                task.cancel()
                # Not `await task`: its cancellation and our own could not be distinguished.
                await asyncio.wait({task})
        finally:
            self._end_waits(_client_closed_error())
            for callback in list(self._close_callbacks):
                callback()

    async def _run_task(self) -> None:
        # Here as well as in `_start_task`, where an eager task is assigned only after its first step.
        self._task = asyncio.current_task()
        error: BackupsError = ClientClosedError("the event loop ended while this backup was watched")
        try:
            async with anyio.create_task_group() as tasks:
                await self._poll_until_cancelled(tasks)
        except Exception as exc:  # noqa: BLE001 - whatever it was, no subscriber may be left waiting
            error = _engine_error(exc)
        finally:
            self._task = None
            self._end_waits(_client_closed_error() if self._closed else error)

    def _end_waits(self, error: BackupsError) -> None:
        """End all waits with an error, and start with a new scheduler: polls in flight no longer matter."""
        notifications = self._scheduler.fail_all(error, self._clock.monotonic())
        self._scheduler = self._new_scheduler()
        self._failures.clear()
        self._requests = 0
        self._deliver_events(notifications)

    async def _poll_until_cancelled(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            self._deliver_events(self._scheduler.expire_waits(now))
            for poll in self._scheduler.take_due(now, capacity=self._concurrency - self._requests):
                self._requests += 1
                tasks.start_soon(self._perform_poll, poll)
            await self._sleep_until(self._scheduler.next_wakeup())

    async def _sleep_until(self, when: float | None) -> None:
        timer = None if when is None else self._clock.call_at(when, self._wake.set)
        self._asleep_until = math.inf if when is None else when
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _perform_poll(self, poll: Poll) -> None:
        # This task starts later than it was created: the backup may have been discarded in between.
        if not self._scheduler.is_needed(poll):
            self._scheduler.cancel_poll(poll, self._clock.monotonic())
        else:
            await (self._poll_backup(poll) if isinstance(poll, GetPoll) else self._poll_list(poll))
        self._requests -= 1
        # Usually the next wake-up is later than the one that the engine sleeps until. (Without one it has no timer.)
        due = self._scheduler.next_wakeup()
        if self._scheduler.has_backlog or due is None or due < self._asleep_until:
            self._wake.set()

    async def _poll_backup(self, poll: GetPoll) -> None:
        sent = self._clock.monotonic()
        try:
            backup, response = await self._operations.poll_get(poll.ref, etag=poll.etag)
        except BackupsError as exc:
            self._handle_failure(poll, exc)
            return
        now = self._record_time(poll, response, sent)
        if backup is None:
            self._scheduler.record_unchanged(poll, response, now)
        else:
            observation = self._to_observation(poll.star_system, backup, now)
            self._deliver_events(self._scheduler.record_get(poll, observation, response, now))

    async def _poll_list(self, poll: ListPoll) -> None:
        sent = self._clock.monotonic()
        try:
            listing = await self._operations.poll_list(
                poll.star_system,
                poll.planet,
                etag=poll.etag,
                wanted=lambda entries: self._select_entries(poll, entries),
            )
        except BackupsError as exc:
            self._handle_failure(poll, exc)
            return
        now = self._record_time(poll, listing.info, sent)
        if listing.entries is None:
            self._scheduler.record_unchanged(poll, listing.info, now)
            return
        backups = listing.backups
        observations = (
            _LazyObservations(backups, lambda backup: self._to_observation(poll.star_system, backup, now))
            if backups
            else {}
        )
        try:
            for part in self._scheduler.record_list_in_parts(poll, listing.entries, observations, listing.info, now):
                self._deliver_events(part)
                await asyncio.sleep(0)
        except BackupsError as exc:  # an entry is not a backup; the parts recorded before are valid
            self._handle_failure(poll, exc)

    def record_listed(self, star_system: str, planet: str | None, backups: Iterable[Backup]) -> None:
        """Record the durations of the finished backups in a list that was not polled, for the estimates."""
        now = self._clock.monotonic()
        # Not the caller's status rule, which may raise: a duration does not depend on it.
        server_time = self._server_clock.time_at(now, otherwise=self._clock.utcnow())
        observations = (
            Observation(
                backup=backup,
                progress=progress_of(backup),
                age=_seconds_between(backup.started_at, server_time),
                duration=_seconds_between(backup.started_at, backup.completed_at),
            )
            for backup in backups
            if backup.completed_at is not None
        )
        self._scheduler.record_listed(star_system, planet, observations, now, latest=self._latest_timestamp())

    def _latest_timestamp(self) -> str:
        server_time = self._server_clock.time_at(self._clock.monotonic(), otherwise=self._clock.utcnow())
        return (server_time + _TIME_ZONES).isoformat()

    def _select_entries(self, poll: ListPoll, entries: Iterable[ListEntry]) -> set[BackupId]:
        # A custom status rule may depend on more than the status and whether the backup is completed.
        every = self._status_rule is not progress_of
        return self._scheduler.select_entries(poll, entries, latest=self._latest_timestamp(), every=every)

    def _handle_failure(self, poll: Poll, error: BackupsError) -> None:
        uninformative = not is_informative(error)
        if uninformative:
            self._failures[poll.star_system] += 1
        if uninformative and self._failures[poll.star_system] == _FAILURES_LOGGED:
            # Once per outage: during a wait of a day the user wants to know in the first minute.
            _log.warning("polling star system %s fails; retrying until the deadline: %s", poll.star_system, error)
        else:
            _log.debug("a poll of star system %s failed: %s", poll.star_system, error)
        self._deliver_events(self._scheduler.record_failure(poll, error, self._clock.monotonic()))

    def _record_time(self, poll: Poll, response: ResponseInfo, sent: float) -> float:
        """Record the server's time of a response; return the time here."""
        now = self._clock.monotonic()
        self._failures.pop(poll.star_system, None)
        if response.date is not None:
            self._server_clock.record_date(response.date, sent=sent, received=now)
        return now

    def _to_observation(self, star_system: str, backup: Backup, now: float) -> Observation:
        progress = self._status_rule(backup)
        if not isinstance(progress, Progress):
            raise TypeError(f"the status rule must return a Progress, not {quote_value(progress)}")
        self._log_status(star_system, backup, progress)
        server_time = self._server_clock.time_at(now, otherwise=self._clock.utcnow())
        is_inferred = False
        if progress is Progress.FAILED and self._status_rule is progress_of and not has_known_status(backup):
            is_inferred = True
            if backup.completed_at is not None and backup.completed_at > server_time:
                progress = Progress.IN_PROGRESS  # the expected end: services write it early
        return Observation(
            backup=backup,
            progress=progress,
            is_foreign=self._is_foreign(star_system, backup),
            is_inferred=is_inferred,
            age=_seconds_between(backup.started_at, server_time),
            duration=_seconds_between(backup.started_at, backup.completed_at),
        )

    def _log_status(self, star_system: str, backup: Backup, progress: Progress) -> None:
        """Log each undocumented status once: as a warning if its meaning is a guess."""
        if backup.status in self._known_statuses or len(self._known_statuses) >= _STATUSES_LOGGED:
            return
        self._known_statuses.add(backup.status)
        level = logging.INFO if has_known_status(backup) else logging.WARNING
        ref, status = f"{star_system}/{backup.id}", quote_value(backup.status)
        _log.log(level, "backup %s: the status %s is not documented; treated as: %s", ref, status, progress.value)

    @staticmethod
    def _deliver_events(notifications: list[Notification]) -> None:
        """Deliver all events, even if one subscriber raises: no other event would ever follow for the rest."""
        failure: Exception | None = None
        for subscriber, event in notifications:
            try:
                subscriber.deliver(event)
            except Exception as exc:  # noqa: BLE001 - a bug of the subscriber; it ends the engine, which reports it
                failure = exc
        if failure is not None:
            raise failure


class _LazyObservations(Mapping[BackupId, Observation]):
    """The observation of each backup in a list, by `id_key`, computed on access."""

    def __init__(self, backups: Mapping[BackupId, Backup], make: Callable[[Backup], Observation]) -> None:
        self._backups = backups
        self._make = make

    def __getitem__(self, backup_id: BackupId) -> Observation:
        return self._make(self._backups[backup_id])

    def __iter__(self) -> Iterator[BackupId]:
        return iter(self._backups)

    def __len__(self) -> int:
        return len(self._backups)

    def get(self, backup_id: BackupId, default: Any = None) -> Any:
        """Return an observation or the default; unlike the inherited method without an exception for each miss."""
        return self[backup_id] if backup_id in self._backups else default


def _client_closed_error() -> ClientClosedError:
    return ClientClosedError("the client was closed while this backup was watched")


def _engine_error(exc: Exception) -> EngineError:
    _log.error("the polling engine crashed", exc_info=exc)
    cause = _first_cause(exc)
    error = EngineError(f"the polling engine crashed: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from one time to another; None if one is missing or their order is impossible."""
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()


def _first_cause(exc: BaseException) -> BaseException:
    """Return the first exception of a task group's exceptions: if several tasks crash at once, they share a cause."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
