"""The engine: one task per client that asks the scheduler what is due, does it, and tells who waits.

It decides nothing: between two decisions of the scheduler it sleeps until the next deadline, or until it is woken. Its
tasks are as many as its requests in flight, however many backups are watched.
"""

from __future__ import annotations

import asyncio
import collections
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
from asyncbackups._base.clock import Clock
from asyncbackups._base.validation import quote_value
from asyncbackups._polling.scheduler import Notification, Scheduler
from asyncbackups._polling.server_clock import ServerClock
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, ResponseCost, Subscriber
from asyncbackups.errors import (
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    EngineError,
    NotFoundError,
    PermissionDeniedError,
)
from asyncbackups.events import Explanation
from asyncbackups.models import Backup, BackupRef, Progress, Status, StatusRule, progress_of

_log = logging.getLogger(__name__)

_ANSWERS = (AuthenticationError, NotFoundError, PermissionDeniedError)
"""Errors that do tell something, and that whoever waits is told of."""
_TROUBLE = 2
"""So many failed polls in a row are more than a hiccup."""

_ZONES = timedelta(days=1)
"""Times of all zones are compared as text."""
_MOST_WORDS = 100
"""So many statuses that are not documented are reported: a service that makes up new ones must not fill the log."""


class Engine:
    """Polls every backup in flight of a client, whoever waits for it; a backup watched twice is polled once.

    Its task is started by the first wait and ended by `close`, which may be called from another task.

    Args:
        operations: What it asks with.
        scheduler: Makes a scheduler: at the start, and anew after a crash.
        clock: The time.
        concurrency: The most polls in flight at once.
        status_rule: Says what a status means.
        origin: Says what is known of a backup because this client created it.
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
    ) -> None:
        self._operations = operations
        self._new_scheduler = scheduler
        self._scheduler = scheduler()
        self._clock = clock
        self._concurrency = concurrency
        self._status_rule = status_rule
        self._origin = origin
        self._server_time = ServerClock()
        self._wake = asyncio.Event()
        self._asleep_until = -math.inf
        self._task: asyncio.Task[None] | None = None
        self._requests = 0
        self._failures: collections.Counter[str] = collections.Counter()  # in a row, per star system
        self._closed = False
        self._attached: set[Callable[[], None]] = set()
        self._words: set[str | None] = {Status.SUCCEEDED}

    @property
    def in_flight(self) -> int:
        """How many backups are in flight."""
        return self._scheduler.in_flight

    def track(
        self,
        ref: BackupRef,
        subscriber: Subscriber,
        *,
        deadline: float,
        planet: str | None = None,
        mechanism: str | None = None,
        born: float | None = None,
        patient: bool = False,
    ) -> bool:
        """Let somebody wait for a backup; returns whether that is new.

        Args:
            ref: Which backup.
            subscriber: Who waits.
            deadline: For how long, in seconds from now.
            planet: Its planet, where that is known.
            mechanism: How it is made, where that is known.
            born: When it was created, on the client's clock, where that is known.
            patient: Whether one of unknown age may wait a moment for others, which one list then tells of.

        Raises:
            ClientClosedError: If the client was left.
        """
        if self._closed:
            raise ClientClosedError("the client was left: nothing can be watched any more")
        now = self._clock.monotonic()
        if born is None and (origin := self._origin(ref)) is not None:
            planet, mechanism, born = origin.planet, origin.mechanism, origin.started_at
        new = self._scheduler.add(
            ref,
            subscriber,
            now=now,
            deadline=now + deadline,
            planet=planet,
            mechanism=mechanism,
            born=born,
            patient=patient,
        )
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="asyncbackups-engine")
        self._wake.set()
        return new

    def untrack(self, ref: BackupRef, subscriber: Subscriber) -> bool:
        """Let somebody no longer wait for a backup; returns whether they did."""
        found = self._scheduler.discard(ref, subscriber)
        if found:
            self._wake.set()  # there may be nothing left to wake up for
        return found

    def untrack_all(self, subscriber: Subscriber, star_systems: Iterable[str]) -> None:
        """Let somebody no longer wait for anything in some star systems."""
        self._scheduler.discard_all(subscriber, star_systems)
        self._wake.set()

    def add_close_callback(self, on_left: Callable[[], None]) -> None:
        """Have something called when the client is left: for who may wait without a backup in flight."""
        self._attached.add(on_left)

    def remove_close_callback(self, on_left: Callable[[], None]) -> None:
        """Undo `attach`."""
        self._attached.discard(on_left)

    def explain(self, ref: BackupRef) -> Explanation | None:
        """Say when a backup is asked about next, and why; None where it is not in flight."""
        return self._scheduler.explain(ref, self._clock.monotonic())

    async def close(self) -> None:
        """End the task; whoever still waits is told that the client was left."""
        self._closed = True
        task = self._task
        try:
            if task is not None:
                task.cancel()
                # Not `await task`: it would not tell the task's cancellation from our own.
                await asyncio.wait({task})
        finally:
            self._give_up(_client_left())
            for on_left in list(self._attached):
                on_left()

    async def _run(self) -> None:
        error: BackupsError = ClientClosedError("the event loop ended while this backup was watched")
        try:
            async with anyio.create_task_group() as tasks:
                await self._drive(tasks)
        except Exception as exc:  # noqa: BLE001 - whatever it was, nobody may be left waiting
            error = _broken(exc)
        finally:
            self._task = None
            self._give_up(_client_left() if self._closed else error)

    def _give_up(self, error: BackupsError) -> None:
        """Tell whoever waits that it is over, and begin anew: what was under way no longer matters to anybody."""
        news = self._scheduler.give_up(error, self._clock.monotonic())
        self._scheduler = self._new_scheduler()
        self._failures.clear()
        self._requests = 0
        self._tell(news)

    async def _drive(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            self._tell(self._scheduler.expire(now))
            for poll in self._scheduler.due(now, room=self._concurrency - self._requests):
                self._requests += 1
                tasks.start_soon(self._perform, poll)
            await self._sleep_until(self._scheduler.next_deadline())

    async def _sleep_until(self, when: float | None) -> None:
        timer = None if when is None else self._clock.call_at(when, self._wake.set)
        self._asleep_until = math.inf if when is None else when
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _perform(self, poll: Poll) -> None:
        await (self._get(poll) if isinstance(poll, GetPoll) else self._list(poll))
        self._requests -= 1
        # Mostly what the answer made due is later than what the engine sleeps for. (With nothing due it has no timer.)
        due = self._scheduler.next_deadline()
        if self._scheduler.held_back or due is None or due < self._asleep_until:
            self._wake.set()

    async def _get(self, poll: GetPoll) -> None:
        asked = self._clock.monotonic()
        try:
            backup, answer = await self._operations.poll_get(poll.ref, etag=poll.etag)
        except BackupsError as exc:
            self._failed(poll, exc)
            return
        now = self._learn_time(poll, answer, asked)
        if backup is None:
            self._scheduler.unchanged(poll, _cost(answer), now)
        else:
            self._tell(self._scheduler.got(poll, self._sighting(backup, now), _cost(answer), now))

    async def _list(self, poll: ListPoll) -> None:
        asked = self._clock.monotonic()
        try:
            listing = await self._operations.poll_list(
                poll.star_system, poll.planet, etag=poll.etag, wanted=lambda entries: self._wanted(poll, entries)
            )
        except BackupsError as exc:
            self._failed(poll, exc)
            return
        now = self._learn_time(poll, listing.info, asked)
        cost = _cost(listing.info)
        if listing.entries is None:
            self._scheduler.unchanged(poll, cost, now)
            return
        sightings = _Sightings(listing.backups, lambda backup: self._sighting(backup, now)) if listing.backups else {}
        try:
            for news in self._scheduler.listed_in_portions(poll, listing.entries, sightings, cost, now):
                self._tell(news)
                await asyncio.sleep(0)
        except BackupsError as exc:  # one of them is no backup: what the others told is true
            self._failed(poll, exc)

    def _wanted(self, poll: ListPoll, entries: Iterable[ListEntry]) -> set[int]:
        at_server = self._server_time.at(self._clock.monotonic(), otherwise=self._clock.utcnow())
        # A rule of the caller's may look at more than the status and whether it is completed.
        every = self._status_rule is not progress_of
        return self._scheduler.wanted(poll, entries, latest=(at_server + _ZONES).isoformat(), every=every)

    def _failed(self, poll: Poll, error: BackupsError) -> None:
        told_nothing = not isinstance(error, _ANSWERS)
        if told_nothing:
            self._failures[poll.star_system] += 1
        if told_nothing and self._failures[poll.star_system] == _TROUBLE:
            # Once for each time of trouble: who waits for a day wants to know it in its first minute.
            _log.warning(
                "polls of star system %r tell nothing, going on until the deadline: %s", poll.star_system, error
            )
        else:
            _log.debug("a poll of star system %r failed: %s", poll.star_system, error)
        self._tell(self._scheduler.failed(poll, error, self._clock.monotonic()))

    def _learn_time(self, poll: Poll, answer: ResponseInfo, asked: float) -> float:
        """Learn from an answer what time it is at the server; returns the time here."""
        now = self._clock.monotonic()
        self._failures.pop(poll.star_system, None)
        if answer.date is not None:
            self._server_time.observe(answer.date, asked=asked, came=now)
        return now

    def _sighting(self, backup: Backup, now: float) -> Observation:
        progress = self._status_rule(backup)
        if not isinstance(progress, Progress):
            raise TypeError(f"the status rule must return a Progress, not {quote_value(progress)}")
        if backup.status not in self._words and len(self._words) < _MOST_WORDS:
            self._words.add(backup.status)
            _log.info(
                "the status %s is not documented; it is taken for: %s", quote_value(backup.status), progress.value
            )
        at_server = self._server_time.at(now, otherwise=self._clock.utcnow())
        return Observation(
            backup=backup,
            progress=progress,
            age=_between(backup.started_at, at_server),
            duration=_between(backup.started_at, backup.completed_at),
        )

    @staticmethod
    def _tell(news: list[Notification]) -> None:
        """Tell everybody, also where one cannot take it: the others are no longer in flight, and would wait on."""
        failure: Exception | None = None
        for subscriber, event in news:
            try:
                subscriber.deliver(event)
            except Exception as exc:  # noqa: BLE001 - a bug of who waits; it ends the engine, which tells it
                failure = exc
        if failure is not None:
            raise failure


class _Sightings(Mapping[int, Observation]):
    """What a list showed of each backup, made when it is asked for."""

    def __init__(self, backups: Mapping[int, Backup], make: Callable[[Backup], Observation]) -> None:
        self._backups = backups
        self._make = make

    def __getitem__(self, backup_id: int) -> Observation:
        return self._make(self._backups[backup_id])

    def __iter__(self) -> Iterator[int]:
        return iter(self._backups)

    def __len__(self) -> int:
        return len(self._backups)

    def get(self, backup_id: int, default: Any = None) -> Any:
        """Return it, or the default; unlike the inherited one without an exception for each that is not there."""
        return self[backup_id] if backup_id in self._backups else default


def _client_left() -> ClientClosedError:
    return ClientClosedError("the client was left while this backup was watched")


def _broken(exc: Exception) -> EngineError:
    _log.error("the polling engine broke", exc_info=exc)
    cause = _first(exc)
    error = EngineError(f"the polling engine broke: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


def _between(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from one instant to another; None where one is missing or their order is impossible."""
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()


def _cost(answer: ResponseInfo) -> ResponseCost:
    return ResponseCost(size=answer.size, seconds=answer.seconds, retry_after=answer.retry_after, etag=answer.etag)


def _first(exc: BaseException) -> BaseException:
    """Return the first of what task groups have put together: where several break at once, it is for one reason."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
