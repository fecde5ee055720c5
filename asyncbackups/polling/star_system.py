"""The backups in flight of one star system: which request is due next, and what each answer means for them.

A flight is *single* while it is asked by get, and *listed* while a list stands for it (see `batches`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from asyncbackups.errors import (
    ApiError,
    AuthenticationError,
    BackupsError,
    ClientClosedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
)
from asyncbackups.polling.batches import Batch, Batches
from asyncbackups.polling.due_queue import DueQueue
from asyncbackups.polling.flights import ASKED, Cost, Entry, Flight, GetPoll, ListPoll, Poll, Sighting
from asyncbackups.polling.health import Health, is_passing
from asyncbackups.polling.knowledge import Knowledge
from asyncbackups.polling.lessons import Lesson, learn, learn_watched
from asyncbackups.polling.newcomers import Newcomers
from asyncbackups.polling.staleness import ended, suspect

__all__ = ["Outcome", "StarSystem"]

Outcome = tuple[Flight, Sighting | BackupsError]
"""A flight that ended: by what was seen of it, or by the error that means that it cannot be checked."""

_CONFIRMATIONS = 2
"""How many gets in a row must find nothing before a backup counts as gone: the service may lag."""
_PORTION = 256
"""How many entries of a list are looked at in one go: where all have news that is ten milliseconds' work."""
_GROWTH = 1.25
"""Once there are so many times the flights that were planned for, it is planned anew."""
_HOPELESS = (PermissionDeniedError, AuthenticationError, ClientClosedError)
"""What does not heal: who waits is told that it can no longer be checked."""


class StarSystem:
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

    def __init__(self, name: str, knowledge: Knowledge) -> None:
        self.name = name
        self.flights: dict[int, Flight] = {}
        self.requests: int = 0
        self.due: float = math.inf
        self.queued = False
        self._know = knowledge
        self._singles: DueQueue[Flight] = DueQueue()
        self._batches = Batches(name, knowledge)
        self._newcomers = Newcomers(self._batches, request_worth=knowledge.policy.request_worth)
        self._health = Health(knowledge)
        # Kept apart from the flights, because few have one.
        self._etags: dict[int, str] = {}
        self._troubles: dict[int, tuple[int, BackupsError]] = {}
        self._planned = 0
        self._plan_until = -math.inf
        self._plan_at = math.inf

    def trouble_of(self, flight: Flight) -> BackupsError | None:
        """Return why the last request about a flight told nothing; None where it told something."""
        _, error = self._troubles.get(flight.backup_id, (0, self._health.trouble))
        return error

    # What is in flight

    def add(self, flight: Flight, now: float, *, patient: bool) -> None:
        """Take up a flight. One of unknown age is asked about at once, as is one that should have been asked about.

        Args:
            flight: Which.
            now: The time.
            patient: Whether one of unknown age may wait a moment for others.
        """
        self.flights[flight.backup_id] = flight
        self._know.enter(flight)
        if flight.born is None:
            self._singles.put(flight, self._newcomers.add(flight, now, patient=patient))
        else:
            self._ask_in_time(flight, now, since=flight.born)
        if len(self.flights) >= 2 * max(1, self._planned):
            self._plan_at = min(self._plan_at, now)

    def remove(self, flight: Flight) -> None:
        """Let go of a flight."""
        del self.flights[flight.backup_id]
        self._know.leave(flight)
        flight.due = math.inf
        self._etags.pop(flight.backup_id, None)
        self._troubles.pop(flight.backup_id, None)
        if not self.flights:
            self._singles.clear()
            self._batches.clear()
            self._newcomers.clear()
            self._planned, self._plan_until, self._plan_at = 0, -math.inf, math.inf

    def look_once_more(self, flight: Flight, now: float, *, since: float) -> None:
        """Ask about a flight now, unless something is known of it since a time, or it is being asked about."""
        if flight.told >= since or flight.due == ASKED:
            return
        batch = self._batches.of(flight) if flight.due == math.inf else None
        if batch is None:
            self._singles.put(flight, min(flight.due, now))
        elif batch.poll is None:
            self._batches.ask_by(batch, now)

    def route(self, flight: Flight) -> tuple[str, float]:
        """Return what will tell of a flight next ("get" or "list"), and when (`ASKED` while that is under way)."""
        batch = self._batches.of(flight) if flight.due == math.inf else None
        by, due = ("get", flight.due) if batch is None else ("list", batch.due)
        return by, due if due == ASKED else max(due, self._health.held_until)

    # What is due

    def next_due(self) -> float:
        """Return when the next request is due, or is to be planned anew; infinity where an answer must come first."""
        return min(self._next_request(), self._plan_at)

    def _next_request(self) -> float:
        if self._health.on_trial and self.requests:
            return math.inf
        return max(min(self._singles.next(), self._batches.next_due()), self._health.held_until)

    def bring_forward(self, now: float) -> bool:
        """Let a list be due now that may go along with others; returns whether one is."""
        at_rest = now < self._health.held_until or (self._health.on_trial and self.requests)
        return not at_rest and self._batches.bring_forward(now)

    def take(self, now: float) -> Poll | None:
        """Return the request that is due, which then counts as under way; None where none is."""
        if now >= min(self._plan_until, self._plan_at) or len(self.flights) > self._planned * _GROWTH:
            self._plan(now)
        self._newcomers.fold(now)
        if not self.flights or self._next_request() > now:
            return None
        self.requests += 1
        if self._batches.next_due() <= self._singles.next():
            self._newcomers.asked(now)
            return self._batches.issue(now)
        flight = self._singles.pop(due=ASKED)
        if flight.born is None:
            self._newcomers.asked(now)
        return GetPoll(ref=flight.ref, sent=now, etag=self._etags.get(flight.backup_id))

    def spread(self, now: float, window: float) -> None:
        """Put what is overdue off by random parts of a window: after a stall there must be no burst."""
        self._batches.spread(now, window)
        for flight in self._singles.overdue(now):
            self._singles.put(flight, now + self._know.draw() * window)

    # What answers tell

    def got(self, poll: GetPoll, sighting: Sighting, cost: Cost, now: float) -> list[Outcome]:
        """Take note of the answer to a get."""
        flight = self._got_answer(poll, cost)
        if flight is None:
            return []
        if cost.etag is None:
            self._etags.pop(flight.backup_id, None)
        told_before = flight.told
        if self._told(flight, sighting, poll.sent, now):
            self._hold_list_to(flight, sighting, told_before, now)
            return [(flight, sighting)]
        self._ask_again(flight, cost, now)
        return []

    def unchanged_since(self, poll: GetPoll, cost: Cost, now: float) -> None:
        """Take note that a backup is as it was (304)."""
        flight = self._got_answer(poll, cost)
        if flight is None:
            return
        if not flight.polls:
            self._singles.put(flight, now)  # the tag was that of an earlier flight, of which this one knows nothing
            return
        _told_again(flight, poll.sent)
        flight.missing = 0
        self._troubles.pop(flight.backup_id, None)
        self._ask_again(flight, cost, now)

    def wanted(self, poll: ListPoll, entries: Iterable[Entry], *, latest: str, every: bool = False) -> set[int]:
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
            flight = self.flights.get(entry.id)
            if entry.completedAt is not None:
                lesson.look_at(entry, watched=flight is not None)
            if flight is not None and (every or _is_news(flight, entry)):
                news.add(flight.backup_id)
        return news | lesson.chosen()

    def listed(
        self,
        poll: ListPoll,
        entries: Iterable[Entry],
        sightings: Mapping[int, Sighting],
        cost: Cost,
        now: float,
    ) -> Iterator[list[Outcome]]:
        """Take note of a list, in portions. What it does not show is asked by get: a list declares nothing gone.

        What ended is to be removed before the next portion is asked for, and all portions are to be asked for.
        """
        foreign = [sightings[backup_id] for backup_id in sightings if backup_id not in self.flights]
        learn(self._know, (self.name, poll.planet), foreign, now)
        useful, newest, rest = False, -math.inf, iter(entries)
        while portion := list(islice(rest, _PORTION)):
            over = list(self._seen_in(poll, portion, sightings, now))
            useful = useful or bool(over)
            newest = max([newest, *(ended(sighting, now) for _, sighting in over)])
            yield [*over]
        self._answered()
        self._know.costs.listed((self.name, poll.planet), size=cost.size, seconds=cost.seconds)
        batch = self._batches.answered(poll)
        if batch is not None:
            left = self._batches.covered(batch, self.flights)
            batch.etag = cost.etag
            # Whatever it does not tell ended, if at all, after what it does tell of.
            batch.believed_until = max(batch.believed_until, newest + self._know.policy.maximum)
            self._ask_missing(poll, left, now)
            useful = useful or any(not flight.unlisted for flight in left)
            self._go_on(batch, left, cost, now, useful=useful)

    def unchanged(self, poll: ListPoll, cost: Cost, now: float) -> None:
        """Take note that a list is as it was (304)."""
        self._answered()
        self._know.costs.listed((self.name, poll.planet), size=cost.size, seconds=cost.seconds)
        batch = self._batches.answered(poll)
        if batch is None:
            return
        left = self._batches.covered(batch, self.flights)
        for flight in left:
            # One that was never seen came after the list that has not changed since.
            if flight.due == math.inf and flight.polls and flight.told < poll.sent:
                _told_again(flight, poll.sent)
                flight.missing = 0
        self._go_on(batch, left, cost, now, useful=True)

    def failed(self, poll: Poll, error: BackupsError, now: float) -> list[Outcome]:
        """Take note of a poll that failed: mostly it told nothing, and the star system slows down."""
        self.requests -= 1
        if is_passing(error):
            self._health.fault(error, now)
        elif isinstance(error, ApiError | ProtocolError):
            self._health.answers()
        if isinstance(poll, ListPoll):
            return self._list_failed(poll, error, now)
        flight = self.flights.get(poll.ref.backup_id)
        if flight is not None and isinstance(error, _HOPELESS):
            return [(flight, error)]
        if flight is None:
            return []
        if isinstance(error, NotFoundError):
            return self._not_found(flight, error, now)
        tried, _ = self._troubles.get(flight.backup_id, (0, None))
        self._troubles[flight.backup_id] = tried + 1, error
        self._singles.put(flight, max(self._health.held_until, now + self._health.pause(tried)))
        return []

    def _not_found(self, flight: Flight, error: NotFoundError, now: float) -> list[Outcome]:
        flight.missing += 1
        policy = self._know.policy
        # A new backup that was never seen is believed in for a while: gets may lag behind creates, too.
        new = flight.born is not None and not flight.polls and flight.age(now) < policy.maximum
        if flight.missing >= _CONFIRMATIONS and not new:
            return [(flight, error)]
        self._singles.put(flight, now + policy.initial)
        return []

    def _list_failed(self, poll: ListPoll, error: BackupsError, now: float) -> list[Outcome]:
        batch = self._batches.answered(poll)
        if isinstance(error, AuthenticationError | ClientClosedError):
            listed = [] if batch is None else self._batches.covered(batch, self.flights)
            return [(flight, error) for flight in listed if flight.due == math.inf]
        if not is_passing(error):
            self._refuse(poll.planet, now)
        elif batch is not None:
            self._batches.ask_at(batch, self._health.held_until)
            if self._batches.judge(batch, useful=False):
                self._refuse(batch.planet, now)
        return []

    def _got_answer(self, poll: GetPoll, cost: Cost) -> Flight | None:
        self._answered()
        self._know.costs.got(self.name, size=cost.size, seconds=cost.seconds)
        flight = self.flights.get(poll.ref.backup_id)
        if flight is not None and cost.etag is not None:
            self._etags[flight.backup_id] = cost.etag
        return flight

    def _answered(self) -> None:
        self.requests -= 1
        self._health.answers()

    def _told(self, flight: Flight, sighting: Sighting, sent: float, now: float) -> bool:
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
            flight.born = now - sighting.age
        elif flight.born is None:
            flight.born = now
        if sighting.progress.final:
            learn_watched(self._know, flight, sighting, cohort, now)
        else:
            self._know.enter(flight)
        return sighting.progress.final

    def _seen_in(
        self, poll: ListPoll, entries: Iterable[Entry], sightings: Mapping[int, Sighting], now: float
    ) -> Iterator[tuple[Flight, Sighting]]:
        sent = poll.sent
        for entry in entries:
            flight = self.flights.get(entry.id)
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
            flight.unlisted = False
            if math.isfinite(flight.due) and (batch := self._batches.of(flight)) is not None:
                self._join(flight, batch, now, since=now)

    def _ask_missing(self, poll: ListPoll, covered: Iterable[Flight], now: float) -> None:
        for flight in covered:
            if flight.due == math.inf and flight.told < poll.sent and flight.subscriptions[0].added <= poll.sent:
                flight.unlisted = True
                self._singles.put(flight, now)

    # When and how to ask

    def _ask_again(self, flight: Flight, cost: Cost, now: float) -> None:
        """See to it that a flight is asked about that a get has told of."""
        if cost.retry_after:
            self._singles.put(flight, now + self._health.obeyed(cost.retry_after))
        elif flight.unlisted:
            self._singles.put(flight, now + self._know.gap([flight], now))
        else:
            self._ask_in_time(flight, now, since=now)

    def _ask_in_time(self, flight: Flight, now: float, *, since: float) -> None:
        """Ask about a flight of which nothing is known since a time, by a list where there is one."""
        batch = self._batches.of(flight)
        if batch is None:
            self._singles.put(flight, max(now, since + self._know.gap([flight], since)))
        else:
            self._join(flight, batch, now, since=since)

    def _join(self, flight: Flight, batch: Batch, now: float, *, since: float) -> None:
        self._etags.pop(flight.backup_id, None)
        self._batches.join(flight, batch, now, since=since)

    def _go_on(self, batch: Batch, covered: Collection[Flight], cost: Cost, now: float, *, useful: bool) -> None:
        """See to it that a list is asked for again, if it is of any use."""
        if useful:
            self._know.costs.worked((self.name, batch.planet))
        if not covered:
            self._batches.drop(batch)
            self._plan_until = now
            return
        if cost.retry_after:
            batch.not_before = now + self._health.obeyed(cost.retry_after)
            self._batches.ask_at(batch, batch.not_before)
        else:
            self._batches.ask_in(batch, self._know.gap(list(covered), now, cost=self._batches.cost(batch)), now)
        if self._batches.judge(batch, useful=useful):
            self._refuse(batch.planet, now)
        else:
            self._check(batch, covered, now)

    def _check(self, batch: Batch, covered: Iterable[Flight], now: float) -> None:
        """Now and then ask by get about the backup that should have ended most surely: lists may be far behind."""
        overdue = suspect(covered, self._know, now) if now >= batch.believed_until else None
        if overdue is not None:
            batch.believed_until = now + self._know.policy.maximum
            self._singles.put(overdue, now)

    def _hold_list_to(self, flight: Flight, sighting: Sighting, told: float, now: float) -> None:
        """Give a list up for a time that showed a backup as running long after it had ended."""
        batch = self._batches.of(flight)
        if batch is not None and -math.inf < ended(sighting, now) < told - self._know.policy.maximum:
            self._refuse(batch.planet, now)

    def _refuse(self, planet: str | None, now: float) -> None:
        self._know.costs.refused((self.name, planet), now=now)
        self._plan(now)

    def _plan(self, now: float) -> None:
        """Decide anew which lists stand for which gets."""
        self._planned = len(self.flights)
        self._plan_until, self._plan_at = now + self._know.policy.maximum, math.inf
        if not self._know.policy.coalesce or not self.flights:
            return
        before = self._batches.choose(self.flights, now)
        if before is not None:
            for flight in self.flights.values():
                self._assign(flight, before, now)
        self._batches.hasten(self.flights, now)

    def _assign(self, flight: Flight, before: Mapping[str | None, float], now: float) -> None:
        """Put a flight where the new plan wants it; it is asked no later than before, as far as that was known."""
        batch = self._batches.of(flight)
        if flight.due == ASKED or flight.unlisted:
            return
        if batch is None:
            if flight.due == math.inf:
                self._singles.put(flight, now if flight.born is None else now + self._know.gap([flight], now))
            return
        when = flight.due
        if when == math.inf:
            when = before.get(None, before.get(flight.planet, math.inf))
        if math.isfinite(when):
            self._batches.stand_for(flight, batch)
            self._batches.ask_by(batch, when)
        else:
            self._join(flight, batch, now, since=now)


def _is_news(flight: Flight, entry: Entry) -> bool:
    return entry.status != flight.status or entry.completedAt is not None or not flight.polls


def _told_again(flight: Flight, sent: float) -> None:
    flight.polls += 1
    flight.told = max(flight.told, sent)


def _shared(word: str | None) -> str | None:
    """Return one object for equal words: decoded ones are new each time, and a million flights say "in progress"."""
    return sys.intern(word) if type(word) is str else word
