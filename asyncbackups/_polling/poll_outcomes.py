"""The backups in flight of one star system, and what each answer means for them. When to ask what: see `agenda`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from asyncbackups._polling.circuit_breaker import CircuitBreaker, is_passing
from asyncbackups._polling.estimation.observations import Lesson, learn, learn_watched
from asyncbackups._polling.request_queue import RequestQueue
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.staleness import ended
from asyncbackups._polling.tracked import (
    ASKED,
    GetPoll,
    ListEntryLike,
    ListPoll,
    Observation,
    Poll,
    ResponseCost,
    TrackedBackup,
)
from asyncbackups.errors import (
    ApiError,
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
)

TrackedOutcome = tuple[TrackedBackup, Observation | BackupsError]
"""A flight that ended: by what was seen of it, or by the error that means that it cannot be checked."""

_CONFIRMATIONS = 2
"""How many gets in a row must find nothing before a backup counts as gone: the service may lag."""
_PORTION = 256
"""How many entries of a list are looked at in one go: where all have news that is ten milliseconds' work."""
_HOPELESS = (PermissionDeniedError, AuthenticationError, ClientClosedError)
"""What does not heal: who waits is told that it can no longer be checked."""


class StarSystemPolling:
    """The polling of one star system.

    Args:
        name: The star system's id.
        knowledge: What all star systems share.

    Attributes:
        name: The star system's id.
        flights: What is in flight, by backup id.
        requests: How many requests are under way.
        due: When the scheduler is to look at it; infinity for never.
        queued: Whether the scheduler has it in line to take requests.
    """

    def __init__(self, name: str, knowledge: PollingState) -> None:
        self.name = name
        self.tracked: dict[int, TrackedBackup] = {}
        self.requests: int = 0
        self.due: float = math.inf
        self.queued = False
        self._know = knowledge
        self._agenda = RequestQueue(name, self.tracked, knowledge)
        self._health = CircuitBreaker(knowledge)
        self._troubles: dict[int, tuple[int, BackupsError]] = {}  # apart from the flights, because few have one

    def trouble_of(self, flight: TrackedBackup) -> BackupsError | None:
        """Return why the last request about a flight told nothing; None where it told something."""
        _, error = self._troubles.get(flight.backup_id, (0, self._health.trouble))
        return error

    # What is in flight

    def add(self, flight: TrackedBackup, now: float, *, patient: bool) -> None:
        """Take up a flight. One of unknown age is asked about at once, as is one that should have been asked about.

        Args:
            flight: Which.
            now: The time.
            patient: Whether one of unknown age may wait a moment for others.
        """
        self.tracked[flight.backup_id] = flight
        self._know.enter(flight)
        self._agenda.add(flight, now, patient=patient)

    def remove(self, flight: TrackedBackup) -> None:
        """Let go of a flight."""
        del self.tracked[flight.backup_id]
        self._know.leave(flight)
        self._troubles.pop(flight.backup_id, None)
        self._agenda.remove(flight)

    def look_once_more(self, flight: TrackedBackup, now: float, *, since: float) -> None:
        """Ask about a flight now, unless something is known of it since a time, or it is being asked about."""
        self._agenda.look_once_more(flight, now, since=since)

    def route(self, flight: TrackedBackup) -> tuple[str, float]:
        """Return what will tell of a flight next ("get" or "list"), and when (`ASKED` while that is under way)."""
        by, due = self._agenda.route(flight)
        return by, due if due == ASKED else max(due, self._health.held_until)

    # What is due

    def next_due(self) -> float:
        """Return when the next request is due, or is to be planned anew; infinity where an answer must come first."""
        return min(self._next_request(), self._agenda.plan_at)

    def _next_request(self) -> float:
        if self._health.on_trial and self.requests:
            return math.inf
        return max(self._agenda.next_due(), self._health.held_until)

    def bring_forward(self, now: float) -> bool:
        """Let a list be due now that may go along with others; returns whether one is."""
        at_rest = now < self._health.held_until or (self._health.on_trial and self.requests)
        return not at_rest and self._agenda.batches.bring_forward(now)

    def take(self, now: float) -> Poll | None:
        """Return the request that is due, which then counts as under way; None where none is."""
        self._agenda.make_ready(now)
        if not self.tracked or self._next_request() > now:
            return None
        self.requests += 1
        return self._agenda.take(now)

    def spread(self, now: float, window: float) -> None:
        """Put what is overdue off by random parts of a window: after a stall there must be no burst."""
        self._agenda.spread(now, window)

    # What answers tell

    def got(self, poll: GetPoll, sighting: Observation, cost: ResponseCost, now: float) -> list[TrackedOutcome]:
        """Take note of the answer to a get."""
        flight = self._got_answer(poll, cost)
        if flight is None:
            return []
        self._agenda.tag(flight, cost.etag)
        told_before = flight.told
        if self._told(flight, sighting, poll.sent, now):
            self._agenda.hold_list_to(flight, sighting, told_before, now)
            return [(flight, sighting)]
        self._agenda.ask_again(flight, now, rest=self._rest(cost))
        return []

    def unchanged_since(self, poll: GetPoll, cost: ResponseCost, now: float) -> None:
        """Take note that a backup is as it was (304)."""
        flight = self._got_answer(poll, cost)
        if flight is None:
            return
        if cost.etag is not None:
            self._agenda.tag(flight, cost.etag)
        if not flight.polls:
            self._agenda.ask_at(flight, now)  # the tag was that of an earlier flight, of which this one knows nothing
            return
        _told_again(flight, poll.sent)
        flight.missing = 0
        self._troubles.pop(flight.backup_id, None)
        self._agenda.ask_again(flight, now, rest=self._rest(cost))

    def wanted(self, poll: ListPoll, entries: Iterable[ListEntryLike], *, latest: str, every: bool = False) -> set[int]:
        """Return the ids of a list's entries that are worth decoding whole: those with news, and some to learn from.

        Args:
            poll: Which list.
            entries: What is in it.
            latest: What `completedAt` cannot be later than, as ISO 8601 writes it.
            every: Whether there may be news of a backup whose status is as it was.
        """
        news: set[int] = set()
        lesson = Lesson(self._know, (self.name, poll.planet), latest)
        for entry in entries:
            flight = self.tracked.get(entry.id)
            if entry.completedAt is not None:
                lesson.look_at(entry, watched=flight is not None)
            if flight is not None and (every or _is_news(flight, entry)):
                news.add(flight.backup_id)
        return news | lesson.chosen()

    def listed(
        self,
        poll: ListPoll,
        entries: Iterable[ListEntryLike],
        sightings: Mapping[int, Observation],
        cost: ResponseCost,
        now: float,
    ) -> Iterator[list[TrackedOutcome]]:
        """Take note of a list, in portions. What it does not show is asked by get: a list declares nothing gone.

        What ended is to be removed before the next portion is asked for, and all portions are to be asked for.
        """
        foreign = [sightings[backup_id] for backup_id in sightings if backup_id not in self.tracked]
        learn(self._know, (self.name, poll.planet), foreign, now)
        useful, newest, rest = False, -math.inf, iter(entries)
        while portion := list(islice(rest, _PORTION)):
            over = list(self._seen_in(poll, portion, sightings, now))
            useful = useful or bool(over)
            newest = max([newest, *(ended(sighting, now) for _, sighting in over)])
            yield [*over]
        self._answered()
        self._know.costs.listed((self.name, poll.planet), size=cost.size, seconds=cost.seconds)
        batch = self._agenda.batches.answered(poll)
        if batch is not None:
            left = self._agenda.batches.covered(batch, self.tracked)
            batch.etag = cost.etag
            # Whatever it does not tell ended, if at all, after what it does tell of.
            batch.believed_until = max(batch.believed_until, newest + self._know.policy.maximum)
            self._ask_missing(poll, left, now)
            useful = useful or any(not flight.unlisted for flight in left)
            self._agenda.go_on(batch, left, now, rest=self._rest(cost), useful=useful)

    def unchanged(self, poll: ListPoll, cost: ResponseCost, now: float) -> None:
        """Take note that a list is as it was (304)."""
        self._answered()
        self._know.costs.listed((self.name, poll.planet), size=cost.size, seconds=cost.seconds)
        batch = self._agenda.batches.answered(poll)
        if batch is None:
            return
        left = self._agenda.batches.covered(batch, self.tracked)
        for flight in left:
            # One that was never seen came after the list that has not changed since.
            if flight.due == math.inf and flight.polls and flight.told < poll.sent:
                _told_again(flight, poll.sent)
                flight.missing = 0
        self._agenda.go_on(batch, left, now, rest=self._rest(cost), useful=True)

    def failed(self, poll: Poll, error: BackupsError, now: float) -> list[TrackedOutcome]:
        """Take note of a poll that failed: mostly it told nothing, and the star system slows down."""
        self.requests -= 1
        if is_passing(error):
            self._health.fault(error, now)
        elif isinstance(error, ApiError | ProtocolError):
            self._health.answers()
        if isinstance(poll, ListPoll):
            return self._list_failed(poll, error, now)
        flight = self.tracked.get(poll.ref.backup_id)
        if flight is not None and isinstance(error, _HOPELESS):
            return [(flight, error)]
        if flight is None:
            return []
        if isinstance(error, NotFoundError):
            return self._not_found(flight, error, now)
        tried, _ = self._troubles.get(flight.backup_id, (0, None))
        self._troubles[flight.backup_id] = tried + 1, error
        self._agenda.ask_at(flight, max(self._health.held_until, now + self._health.pause(tried)))
        return []

    def _not_found(self, flight: TrackedBackup, error: NotFoundError, now: float) -> list[TrackedOutcome]:
        flight.missing += 1
        policy = self._know.policy
        # A new backup that was never seen is believed in for a while: gets may lag behind creates, too.
        new = flight.started_at is not None and not flight.polls and flight.age(now) < policy.maximum
        if flight.missing >= _CONFIRMATIONS and not new:
            return [(flight, error)]
        self._agenda.ask_at(flight, now + policy.initial)
        return []

    def _list_failed(self, poll: ListPoll, error: BackupsError, now: float) -> list[TrackedOutcome]:
        batch = self._agenda.batches.answered(poll)
        if isinstance(error, AuthenticationError | ClientClosedError):
            listed = [] if batch is None else self._agenda.batches.covered(batch, self.tracked)
            return [(flight, error) for flight in listed if flight.due == math.inf]
        if not is_passing(error):
            self._agenda.refuse(poll.planet, now)
        elif batch is not None:
            self._agenda.try_again(batch, self._health.held_until, now)
        return []

    def _got_answer(self, poll: GetPoll, cost: ResponseCost) -> TrackedBackup | None:
        self._answered()
        self._know.costs.got(self.name, size=cost.size, seconds=cost.seconds)
        return self.tracked.get(poll.ref.backup_id)

    def _rest(self, cost: ResponseCost) -> float:
        """Return for how many seconds an answer asks not to be asked again; 0 where it does not say."""
        return self._health.obeyed(cost.retry_after) if cost.retry_after else 0.0

    def _answered(self) -> None:
        self.requests -= 1
        self._health.answers()

    def _told(self, flight: TrackedBackup, sighting: Observation, sent: float, now: float) -> bool:
        """Take note of what was seen of a flight; returns whether it ended."""
        _told_again(flight, sent)
        flight.missing = 0
        self._troubles.pop(flight.backup_id, None)
        flight.status = _shared(sighting.backup.status)
        cohort, mechanism = flight.cohort, _shared(sighting.backup.mechanism) or flight.mechanism
        if sighting.progress.final or mechanism != flight.mechanism:
            self._know.leave(flight)
        flight.mechanism = mechanism
        if sighting.age is not None:
            flight.started_at = now - sighting.age
        elif flight.started_at is None:
            flight.started_at = now
        if sighting.progress.final:
            learn_watched(self._know, flight, sighting, cohort, now)
        else:
            self._know.enter(flight)
        return sighting.progress.final

    def _seen_in(
        self, poll: ListPoll, entries: Iterable[ListEntryLike], sightings: Mapping[int, Observation], now: float
    ) -> Iterator[tuple[TrackedBackup, Observation]]:
        sent = poll.sent
        for entry in entries:
            flight = self.tracked.get(entry.id)
            # A get has told something newer; or the list shows it twice, because its pages shifted.
            if flight is None or flight.told >= sent:
                continue
            sighting = sightings.get(flight.backup_id)
            if sighting is None:
                if flight.subscriptions[0].added > sent:
                    continue  # it was not in flight yet when the entries worth decoding were chosen
                flight.polls += 1
                flight.told = sent
                flight.missing = 0
                self._troubles.pop(flight.backup_id, None)
            elif self._told(flight, sighting, sent, now):
                yield flight, sighting
                continue
            self._agenda.listed(flight, now)

    def _ask_missing(self, poll: ListPoll, covered: Iterable[TrackedBackup], now: float) -> None:
        for flight in covered:
            if flight.due == math.inf and flight.told < poll.sent and flight.subscriptions[0].added <= poll.sent:
                flight.unlisted = True
                self._agenda.ask_at(flight, now)


def _is_news(flight: TrackedBackup, entry: ListEntryLike) -> bool:
    return entry.status != flight.status or entry.completedAt is not None or not flight.polls


def _told_again(flight: TrackedBackup, sent: float) -> None:
    flight.polls += 1
    flight.told = max(flight.told, sent)


def _shared(word: str | None) -> str | None:
    """Return one object for equal words: decoded ones are new each time, and a million flights say "in progress"."""
    return sys.intern(word) if type(word) is str else word
