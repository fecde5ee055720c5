"""The backups in flight of one star system: which request is due next, and what each answer means for them.

A flight is *listed* while a list stands for it (its own `due` is infinite) and *single* while it is asked by get.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count

import attrs

from asyncbackups.errors import (
    ApiError,
    AuthenticationError,
    BackupsError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
)
from asyncbackups.policies import PollingPolicy
from asyncbackups.polling import planner, schedule
from asyncbackups.polling.durations import Belief, Durations
from asyncbackups.polling.flights import Cost, Entry, Flight, GetPoll, ListPoll, Poll, Sighting

__all__ = ["Knowledge", "Outcome", "StarSystem"]

Outcome = tuple[Flight, Sighting | BackupsError]
"""A flight that ended: by what was seen of it, or by the error that means that it cannot be checked."""

_ASKED = -math.inf
"""The `due` of a flight whose get is under way."""
_CONFIRMATIONS = 2
"""How many gets in a row must find nothing before a backup counts as gone: the service may lag."""
_LIST_FAULTS = 3
"""How many times in a row a list may fail before gets are tried instead."""
_LEARNED_PER_LIST = 256
"""How many finished backups of one list are learned from: older news fades anyway."""
_GROWTH = 1.25
_OBEYED = 300.0
"""The longest `Retry-After` that is obeyed, in seconds."""
_PASSING = frozenset({408, 424, 429, 500, 502, 503, 504})
"""Statuses that speak of the service's state, not of the list that was asked for."""


@attrs.frozen
class Knowledge:
    """What all star systems of a client share.

    Attributes:
        policy: When to ask.
        draw: Gives uniform numbers from [0, 1).
        durations: How long backups take.
        costs: What gets and lists cost.
    """

    policy: PollingPolicy
    draw: Callable[[], float]
    durations: Durations
    costs: planner.Costs


@attrs.define(eq=False)
class _Batch:
    """A list that stands for the gets of its flights."""

    planet: str | None
    due: float
    asked: bool = False
    joined: bool = True  # since the last request left
    etag: str | None = None
    faults: int = 0  # in a row: lists that failed, or told of none of the flights


@attrs.frozen
class _Members(Sequence[tuple[Belief, float]]):
    """Flights as the schedule sees them: a belief and an age; built only for those that it looks at."""

    star_system: StarSystem
    flights: Sequence[Flight]
    now: float

    def __len__(self) -> int:
        return len(self.flights)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self.star_system.member(flight, self.now) for flight in self.flights[index]]
        return self.star_system.member(self.flights[index], self.now)


class StarSystem:
    """The polling of one star system.

    Args:
        name: The star system's id.
        knowledge: What all star systems share.
    """

    def __init__(self, name: str, knowledge: Knowledge) -> None:
        self.name = name
        self.flights: dict[int, Flight] = {}
        self.requests = 0
        self.queued = False  # whether the scheduler has it in line to take requests
        self._know = knowledge
        self._faults = 0
        self._held_until = -math.inf
        self._singles: list[tuple[float, int, Flight]] = []
        self._order = count()
        self._batches: dict[str | None, _Batch] = {}
        self._urgent: list[Flight] = []
        self._planned = 0
        self._plan_until = -math.inf
        self._learned_up_to: dict[str | None, int] = {}

    # What is in flight

    def add(self, flight: Flight, now: float) -> None:
        """Take up a flight. One of unknown age is asked about at once, another when its age says so."""
        self.flights[flight.backup_id] = flight
        batch = self._batch_of(flight)
        if flight.born is None:
            self._ask_at(flight, now)
            if batch is not None:
                self._urgent.append(flight)
        elif batch is None:
            self._ask_at(flight, now + self._gap([flight], now))
        else:
            self._join(flight, batch, now)

    def remove(self, flight: Flight) -> None:
        """Let go of a flight."""
        del self.flights[flight.backup_id]
        flight.due = math.inf
        if not self.flights:
            self._batches.clear()
            self._urgent.clear()
            self._singles.clear()
            self._planned = 0

    def member(self, flight: Flight, now: float) -> tuple[Belief, float]:
        """Return what the schedule needs to know of a flight: the belief about it, and its age."""
        belief = self._know.durations.belief(self.name, flight.planet, flight.mechanism)
        return belief, flight.age(now)

    def route(self, flight: Flight) -> tuple[str, float]:
        """Return what will tell of a flight next ("get" or "list"), and when (never, in the past: under way)."""
        batch = self._batch_of(flight) if flight.due == math.inf else None
        if batch is None:
            return "get", max(flight.due, self._held_until)
        return "list", _ASKED if batch.asked else max(batch.due, self._held_until)

    # What is due

    def next_due(self) -> float | None:
        """Return when the next request is due; None where an answer must come first, or nothing is in flight."""
        if self._faults and self.requests:
            return None  # after a fault one request at a time tries whether things are well again
        self._drop_stale()
        dues = [batch.due for batch in self._batches.values() if not batch.asked]
        if self._singles:
            dues.append(self._singles[0][0])
        due = max(min(dues, default=math.inf), self._held_until)
        return due if due < math.inf else None

    def take(self, now: float) -> Poll | None:
        """Return the request that is due, which then counts as under way; None where none is."""
        if now >= self._plan_until or len(self.flights) > self._planned * _GROWTH:
            self._plan(now)
        self._fold_urgent(now)
        due = self.next_due()
        if due is None or due > now:
            return None
        self.requests += 1
        batch = min((b for b in self._batches.values() if not b.asked), key=lambda b: b.due, default=None)
        if batch is not None and not (self._singles and self._singles[0][0] < batch.due):
            return self._take_batch(batch, now)
        flight = heapq.heappop(self._singles)[2]
        flight.due = _ASKED
        return GetPoll(ref=flight.ref, sent=now)

    def _take_batch(self, batch: _Batch, now: float) -> ListPoll:
        etag = None if batch.joined else batch.etag
        batch.asked, batch.joined = True, False
        return ListPoll(star_system=self.name, planet=batch.planet, sent=now, etag=etag)

    def spread(self, now: float, window: float) -> None:
        """Put what is overdue off by random parts of a window: after a stall there must be no burst."""
        draw = self._know.draw
        for batch in self._batches.values():
            if not batch.asked and batch.due <= now:
                batch.due = now + draw() * window
        late = [flight for due, _, flight in self._singles if due <= now and flight.due == due]
        for flight in late:
            self._ask_at(flight, now + draw() * window)

    # What answers tell

    def got(self, poll: GetPoll, sighting: Sighting, cost: Cost, now: float) -> list[Outcome]:
        """Take note of the answer to a get."""
        self._answered()
        self._know.costs.got(self.name, size=cost.size, seconds=cost.seconds)
        flight = self.flights.get(poll.ref.backup_id)
        if flight is None:
            return []
        flight.missing = 0
        if self._told(flight, sighting, poll.sent, now):
            return [(flight, sighting)]
        batch = None if flight.unlisted else self._batch_of(flight)
        if cost.retry_after is not None:
            self._ask_at(flight, now + min(cost.retry_after, _OBEYED))
        elif batch is None:
            self._ask_at(flight, now + self._gap([flight], now))
        else:
            self._join(flight, batch, now)
        return []

    def wanted(self, poll: ListPoll, entries: Iterable[Entry]) -> set[int]:
        """Return the ids of a list's entries that are worth decoding whole: those with news, and some to learn from."""
        news: set[int] = set()
        finished: list[int] = []
        known = self._learned_up_to.get(poll.planet, -1)
        for entry in entries:
            flight = self.flights.get(entry.id)
            if flight is None:
                if entry.completedAt is not None and entry.id > known:
                    finished.append(entry.id)
            elif entry.status != flight.status or entry.completedAt is not None:
                news.add(flight.backup_id)
        if self._know.policy.learn:
            news.update(heapq.nlargest(_LEARNED_PER_LIST, finished))
        return news

    def listed(
        self,
        poll: ListPoll,
        entries: Collection[Entry],
        sightings: Mapping[int, Sighting],
        cost: Cost,
        now: float,
    ) -> list[Outcome]:
        """Take note of a list. What it does not show is asked by get: a list declares nothing gone."""
        self._answered()
        self._know.costs.listed((self.name, poll.planet), size=cost.size, seconds=cost.seconds)
        self._learn_from(poll, entries, sightings)
        outcomes = list(self._seen_in(poll, entries, sightings, now))
        batch = self._batches.get(poll.planet)
        if batch is not None:
            ended = {flight.backup_id for flight, _ in outcomes}
            left = [flight for flight in self._covered_by(batch) if flight.backup_id not in ended]
            batch.asked, batch.etag = False, cost.etag
            self._ask_missing(poll, left, now)
            self._judge(batch, bool(outcomes) or any(not flight.unlisted for flight in left), now)
            self._reschedule(batch, left, now, cost.retry_after)
        return outcomes

    def unchanged(self, poll: ListPoll, cost: Cost, now: float) -> None:
        """Take note that a list is as it was (304)."""
        self._answered()
        self._know.costs.listed((self.name, poll.planet), size=cost.size, seconds=cost.seconds)
        batch = self._batches.get(poll.planet)
        if batch is None:
            return
        batch.asked, batch.faults = False, 0
        left = self._covered_by(batch)
        for flight in left:
            if flight.due == math.inf and flight.told <= poll.sent:
                flight.polls += 1
                flight.told = poll.sent
        self._reschedule(batch, left, now, cost.retry_after)

    def failed(self, poll: Poll, error: BackupsError, now: float) -> list[Outcome]:
        """Take note of a poll that failed: mostly it told nothing, and the star system slows down."""
        self.requests -= 1
        if isinstance(poll, ListPoll):
            return self._list_failed(poll, error, now)
        flight = self.flights.get(poll.ref.backup_id)
        if isinstance(error, NotFoundError):
            self._faults = 0
            return [] if flight is None else self._not_found(flight, error, now)
        if isinstance(error, PermissionDeniedError | AuthenticationError):
            return [] if flight is None else [(flight, error)]
        self._slow_down(error, now)
        if flight is not None:
            self._ask_at(flight, self._held_until)
        return []

    def _not_found(self, flight: Flight, error: NotFoundError, now: float) -> list[Outcome]:
        flight.missing += 1
        if flight.missing >= _CONFIRMATIONS:
            return [(flight, error)]
        self._ask_at(flight, now + self._know.policy.initial)
        return []

    def _list_failed(self, poll: ListPoll, error: BackupsError, now: float) -> list[Outcome]:
        batch = self._batches.get(poll.planet)
        if batch is not None:
            batch.asked = False
        if isinstance(error, AuthenticationError):
            listed = [] if batch is None else self._covered_by(batch)
            return [(flight, error) for flight in listed if flight.due == math.inf]
        if _is_about_the_list(error):
            self._refuse(poll.planet, now)
        else:
            self._slow_down(error, now)
            if batch is not None:
                self._judge(batch, False, now)
        return []

    def _judge(self, batch: _Batch, useful: bool, now: float) -> None:
        """Give a list up for a time once it was of no use several times in a row."""
        batch.faults = 0 if useful else batch.faults + 1
        if batch.faults >= _LIST_FAULTS:
            self._refuse(batch.planet, now)

    def _refuse(self, planet: str | None, now: float) -> None:
        self._know.costs.refused((self.name, planet), now=now)
        self._plan(now)

    def _answered(self) -> None:
        self.requests -= 1
        self._faults = 0

    def _slow_down(self, error: BackupsError, now: float) -> None:
        asked = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        if now >= self._held_until:  # else it is one more victim of the fault that is known already
            self._held_until = now + self._know.policy.backoff(self._faults, draw=self._know.draw())
            self._faults += 1
        self._held_until = max(self._held_until, now + min(asked, _OBEYED))

    def _told(self, flight: Flight, sighting: Sighting, sent: float, now: float) -> bool:
        """Take note of what was seen of a flight; returns whether it ended."""
        flight.polls += 1
        flight.told = sent
        flight.status = _shared(sighting.backup.status)
        flight.mechanism = _shared(sighting.backup.mechanism) or flight.mechanism
        if sighting.age is not None:
            flight.born = now - sighting.age
        elif flight.born is None:
            flight.born = now
        if sighting.progress.final and sighting.duration is not None:
            self._learn(flight.planet, sighting)
        return sighting.progress.final

    def _seen_in(
        self, poll: ListPoll, entries: Collection[Entry], sightings: Mapping[int, Sighting], now: float
    ) -> Iterator[Outcome]:
        for entry in entries:
            flight = self.flights.get(entry.id)
            if flight is None or flight.told > poll.sent:
                continue  # not ours, or a get has told something newer
            flight.unlisted = False
            sighting = sightings.get(flight.backup_id)
            if sighting is None:
                flight.polls += 1
                flight.told = poll.sent
            elif self._told(flight, sighting, poll.sent, now):
                yield flight, sighting
                continue
            if flight.due not in {math.inf, _ASKED} and self._batch_of(flight) is not None:
                flight.due = math.inf

    def _ask_missing(self, poll: ListPoll, covered: list[Flight], now: float) -> None:
        for flight in covered:
            if flight.due == math.inf and flight.told < poll.sent and flight.subscriptions[0].added <= poll.sent:
                flight.unlisted = True
                self._ask_at(flight, now)

    def _learn_from(self, poll: ListPoll, entries: Iterable[Entry], sightings: Mapping[int, Sighting]) -> None:
        for backup_id, sighting in sorted(sightings.items()):  # in the order of time: the newest is believed most
            if backup_id not in self.flights:
                self._learn(poll.planet, sighting)
        newest = max((entry.id for entry in entries), default=-1)
        self._learned_up_to[poll.planet] = max(newest, self._learned_up_to.get(poll.planet, -1))

    def _learn(self, planet: str | None, sighting: Sighting) -> None:
        if sighting.duration is not None:
            self._know.durations.observe(self.name, planet, sighting.backup.mechanism, sighting.duration)

    # When and how to ask

    def _ask_at(self, flight: Flight, when: float) -> None:
        flight.due = when
        heapq.heappush(self._singles, (when, next(self._order), flight))

    def _join(self, flight: Flight, batch: _Batch, now: float) -> None:
        """Let a list stand for a flight; it is asked for no later than the flight alone would be worth it."""
        flight.due = math.inf
        batch.joined = True
        batch.due = min(batch.due, now + self._gap([flight], now, cost=self._cost_of(batch)))

    def _reschedule(self, batch: _Batch, covered: list[Flight], now: float, retry_after: float | None) -> None:
        if batch is not self._batches.get(batch.planet):
            return  # it was just given up
        if not covered:
            del self._batches[batch.planet]
            self._plan_until = now
        elif retry_after is not None:
            batch.due = now + min(retry_after, _OBEYED)
        else:
            batch.due = now + self._gap(covered, now, cost=self._cost_of(batch))

    def _gap(self, flights: Sequence[Flight], now: float, *, cost: float = 1.0) -> float:
        know = self._know
        return schedule.gap(_Members(self, flights, now), policy=know.policy, cost=cost, draw=know.draw())

    def _cost_of(self, batch: _Batch) -> float:
        return self._know.costs.of_list((self.name, batch.planet))

    def _batch_of(self, flight: Flight) -> _Batch | None:
        return self._batches.get(None) or (self._batches.get(flight.planet) if flight.planet is not None else None)

    def _covered_by(self, batch: _Batch) -> list[Flight]:
        flights = self.flights.values()
        return [flight for flight in flights if batch.planet is None or flight.planet == batch.planet]

    def _drop_stale(self) -> None:
        while self._singles and self._singles[0][2].due != self._singles[0][0]:
            heapq.heappop(self._singles)

    def _fold_urgent(self, now: float) -> None:
        """Ask at once by a list about new flights of unknown age, where they are more than a list costs in gets."""
        if not self._urgent:
            return
        new = [flight for flight in self._urgent if flight.born is None and math.isfinite(flight.due)]
        batch = self._batch_of(new[0]) if new else None
        if batch is not None and not batch.asked and len(new) > self._cost_of(batch):
            for flight in new:
                if self._batch_of(flight) is batch:
                    flight.due = math.inf
            batch.due, batch.joined, new = now, True, []
        self._urgent = new

    def _plan(self, now: float) -> None:
        """Decide anew which lists stand for which gets."""
        self._planned = len(self.flights)
        self._plan_until = now + self._know.policy.maximum
        if not self._know.policy.coalesce or not self.flights:
            return
        chosen = planner.plan(self.name, self._loads(now), self._know.costs, now=now)
        planets: set[str | None] = {None} if chosen.star_system else set(chosen.planets)
        if planets == self._batches.keys():
            return
        self._batches = {planet: self._batches.get(planet) or _Batch(planet, math.inf) for planet in planets}
        for flight in self.flights.values():
            self._assign(flight, now)

    def _assign(self, flight: Flight, now: float) -> None:
        """Put a flight where the new plan wants it; it is asked no later than before."""
        batch = self._batch_of(flight)
        if batch is not None and flight.due != _ASKED and not flight.unlisted:
            batch.due = min(batch.due, flight.due if flight.due < math.inf else now)
            batch.joined = True
            flight.due = math.inf
        elif batch is None and flight.due == math.inf:
            self._ask_at(flight, now if flight.born is None else now + self._gap([flight], now))

    def _loads(self, now: float) -> dict[str | None, planner.Load]:
        by_planet: dict[str | None, list[Flight]] = {}
        for flight in self.flights.values():
            by_planet.setdefault(flight.planet, []).append(flight)
        return {planet: self._load(flights, now) for planet, flights in by_planet.items()}

    def _load(self, flights: list[Flight], now: float) -> planner.Load:
        sample = flights[:: -(-len(flights) // schedule.SAMPLE)]
        return planner.Load.of(
            (self.member(flight, now) for flight in sample),
            horizon=self._know.policy.maximum,
            scale=len(flights) / len(sample),
        )


def _shared(word: str | None) -> str | None:
    """Return one object for equal words: decoded ones are new each time, and a million flights say "in progress"."""
    return sys.intern(word) if type(word) is str else word


def _is_about_the_list(error: BackupsError) -> bool:
    """Tell whether a list failed for reasons of its own, so that asking for it again soon makes no sense."""
    if isinstance(error, ApiError):
        return error.status not in _PASSING
    return isinstance(error, ProtocolError)
