"""Which requests are due, over all star systems; who is told what; and when there is something to do again.

The scheduler decides, the engine acts: it asks `due`, performs, feeds back what came, and sleeps until `next_deadline`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count
from typing import Any

import attrs

from asyncbackups.errors import BackupsError, NotFoundError
from asyncbackups.events import BackupFailed, BackupGone, BackupSucceeded, FinalEvent, WatchExpired, WatchFailed
from asyncbackups.models import BackupRef, PlanetRef, Progress
from asyncbackups.policies import PollingPolicy
from asyncbackups.polling.deadlines import Deadlines
from asyncbackups.polling.durations import Durations
from asyncbackups.polling.flights import (
    Cost,
    Entry,
    Flight,
    GetPoll,
    ListPoll,
    Poll,
    Sighting,
    Subscriber,
    Subscription,
)
from asyncbackups.polling.planner import Costs
from asyncbackups.polling.star_system import Knowledge, Outcome, StarSystem

__all__ = ["Explanation", "News", "Scheduler"]

News = tuple[Subscriber, FinalEvent]
"""Who is to be told, and what."""

_SHARE = 3
"""A star system with requests under way takes another place only below so many times the free ones."""
_STALL = 5.0
"""Seconds by which the engine may be late before what is overdue is spread out."""


@attrs.frozen(kw_only=True)
class Explanation:
    """When a backup in flight is asked about next, and why.

    Attributes:
        ref: Which backup.
        by: "get", or "list" where one list stands for several gets.
        due_in: Seconds until that request is due; 0 while it is under way or overdue.
        age: Seconds since the backup began, as far as that is known; else None.
        status: As last seen, or None.
        polls: How many answers have told of it.
        learned_from: How many finished backups the schedule rests on; 0 means plain backoff.
        expires_in: Seconds until the last deadline of those who wait for it.
    """

    ref: BackupRef
    by: str
    due_in: float
    age: float | None
    status: str | None
    polls: int
    learned_from: int
    expires_in: float


class Scheduler:
    """Every backup in flight of a client.

    Args:
        policy: When to ask.
        draw: Gives uniform numbers from [0, 1).
    """

    def __init__(self, policy: PollingPolicy, *, draw: Callable[[], float]) -> None:
        self._know = Knowledge(policy, draw, Durations(policy), Costs())
        self._star_systems: dict[str, StarSystem] = {}
        self._deadlines: Deadlines[Subscription] = Deadlines(lambda subscription: subscription.open)
        self._heap: list[tuple[float, int, StarSystem]] = []
        self._scheduled: dict[str, float] = {}
        self._ready: deque[StarSystem] = deque()
        self._order = count()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """How many backups are in flight, each counted once however many wait for it."""
        return self._in_flight

    # Who waits for what

    def add(
        self,
        ref: BackupRef,
        subscriber: Subscriber,
        *,
        now: float,
        deadline: float,
        planet: str | None = None,
        born: float | None = None,
    ) -> bool:
        """Let somebody wait for a backup.

        Args:
            ref: Which backup.
            subscriber: Who waits.
            now: The time now, in seconds of the monotonic clock.
            deadline: Until when, on the same clock.
            planet: Its planet, where that is known.
            born: When it was created, on the same clock, where that is known.

        Returns:
            Whether that is new; False where the same subscriber already waits for it.
        """
        star_system = self._star_systems.get(ref.star_system)
        if star_system is None:
            star_system = self._star_systems[ref.star_system] = StarSystem(ref.star_system, self._know)
        flight = star_system.flights.get(ref.backup_id)
        if flight is None:
            flight = Flight(star_system.name, ref.backup_id, planet, born=born)
            self._subscribe(flight, subscriber, now, deadline)
            self._in_flight += 1
            star_system.add(flight, now)
            self._schedule(star_system)
            return True
        if any(subscription.subscriber is subscriber for subscription in flight.subscriptions):
            return False
        flight.planet = flight.planet or planet
        self._subscribe(flight, subscriber, now, deadline)
        return True

    def _subscribe(self, flight: Flight, subscriber: Subscriber, now: float, deadline: float) -> None:
        subscription = Subscription(subscriber, flight, now)
        subscription.deadline = self._deadlines.add(subscription, deadline, now=now)
        flight.subscriptions = (*flight.subscriptions, subscription)

    def discard(self, ref: BackupRef, subscriber: Subscriber) -> bool:
        """Let somebody no longer wait for a backup; returns whether they did."""
        flight = self._find(ref)
        return flight is not None and self._discard(flight, subscriber)

    def _discard(self, flight: Flight, subscriber: Subscriber) -> bool:
        for subscription in flight.subscriptions:
            if subscription.subscriber is subscriber:
                self._unsubscribe(flight, subscription)
                self._deadlines.ended()
                return True
        return False

    def discard_all(self, subscriber: Subscriber) -> None:
        """Let somebody no longer wait for anything."""
        for flight in self._flights():
            self._discard(flight, subscriber)

    def give_up(self, error: BackupsError, now: float) -> list[News]:
        """End every wait with an error: nothing is in flight any more."""
        news = [one for flight in self._flights() for one in self._end(flight, error, now)]
        for star_system in list(self._star_systems.values()):
            self._settle(star_system)
        return news

    def _unsubscribe(self, flight: Flight, subscription: Subscription) -> None:
        subscription.open = False
        flight.subscriptions = tuple(other for other in flight.subscriptions if other is not subscription)
        if not flight.subscriptions:
            self._settle(self._let_go(flight))

    def _let_go(self, flight: Flight) -> StarSystem:
        """Forget a flight; its star system is still to be settled, once for all that one answer told of."""
        star_system = self._star_systems[flight.star_system]
        star_system.remove(flight)
        self._in_flight -= 1
        return star_system

    def _settle(self, star_system: StarSystem) -> None:
        """Forget a star system that has become idle; else see to its next request."""
        if star_system.flights or star_system.requests:
            self._schedule(star_system)
        else:
            self._star_systems.pop(star_system.name, None)
            self._scheduled.pop(star_system.name, None)

    def _find(self, ref: BackupRef) -> Flight | None:
        star_system = self._star_systems.get(ref.star_system)
        return None if star_system is None else star_system.flights.get(ref.backup_id)

    def _flights(self) -> list[Flight]:
        return [flight for star_system in self._star_systems.values() for flight in star_system.flights.values()]

    # What is due

    def next_deadline(self) -> float | None:
        """Return when there is something to do, as far as no answer comes before; None for never."""
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        times = [self._heap[0][0]] if self._heap else []
        expiry = self._deadlines.next()
        return min([*times, expiry] if expiry is not None else times, default=None)

    def due(self, now: float, *, room: int) -> list[Poll]:
        """Return the requests to send now; each counts as under way until its answer is recorded.

        Star systems take turns, and none takes the last places while it has requests under way: many backups or slow
        answers in one do not starve another.

        Args:
            now: The time now, in seconds of the monotonic clock.
            room: How many requests may be sent.
        """
        self._collect_ready(now)
        polls: list[Poll] = []
        blocked = 0
        while len(polls) < room and blocked < len(self._ready):
            star_system = self._ready.popleft()
            if star_system.requests and star_system.requests >= _SHARE * (room - len(polls)):
                self._ready.append(star_system)
                blocked += 1
                continue
            poll = star_system.take(now)
            if poll is None:
                star_system.queued = False
                self._settle(star_system)
                continue
            polls.append(poll)
            self._ready.append(star_system)
            blocked = 0
        return polls

    def expire(self, now: float) -> list[News]:
        """Return the waits whose deadline has passed; they are over."""
        news: list[News] = []
        for subscription in self._deadlines.pop_due(now):
            flight = subscription.flight
            about = _about(flight, subscription, now)
            news.append((subscription.subscriber, WatchExpired(**about, backup=flight.last_seen())))
            self._unsubscribe(flight, subscription)
        return news

    def explain(self, ref: BackupRef, now: float) -> Explanation | None:
        """Say when a backup is asked about next and why; None where it is not in flight."""
        flight = self._find(ref)
        if flight is None:
            return None
        star_system = self._star_systems[ref.star_system]
        by, due = star_system.route(flight)
        return Explanation(
            ref=ref,
            by=by,
            due_in=max(0.0, due - now),
            age=None if flight.born is None else flight.age(now),
            status=flight.status,
            polls=flight.polls,
            learned_from=star_system.member(flight, now)[0].seen,
            expires_in=max(subscription.deadline for subscription in flight.subscriptions) - now,
        )

    def _collect_ready(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._is_stale(entry):
                continue
            due, _, star_system = entry
            del self._scheduled[star_system.name]
            if now - due > _STALL:
                star_system.spread(now, min(now - due, self._know.policy.maximum))
            star_system.queued = True
            self._ready.append(star_system)

    def _is_stale(self, entry: tuple[float, int, StarSystem]) -> bool:
        return self._scheduled.get(entry[2].name) != entry[0]

    def _schedule(self, star_system: StarSystem) -> None:
        if star_system.queued:
            return
        due = star_system.next_due()
        if due is None:
            self._scheduled.pop(star_system.name, None)
        elif due != self._scheduled.get(star_system.name):
            self._scheduled[star_system.name] = due
            heapq.heappush(self._heap, (due, next(self._order), star_system))

    # What came

    def wanted(self, poll: ListPoll, entries: Iterable[Entry]) -> set[int]:
        """Return the ids of a list's entries that are worth decoding whole."""
        star_system = self._star_systems.get(poll.star_system)
        return star_system.wanted(poll, entries) if star_system is not None else set()

    def got(self, poll: GetPoll, sighting: Sighting, cost: Cost, now: float) -> list[News]:
        """Record the answer to a get; returns who is to be told what."""
        star_system = self._star_systems[poll.star_system]
        return self._conclude(star_system, star_system.got(poll, sighting, cost, now), now)

    def listed(
        self,
        poll: ListPoll,
        entries: Collection[Entry],
        sightings: Mapping[int, Sighting],
        cost: Cost,
        now: float,
    ) -> list[News]:
        """Record a list: all its entries, and those that `wanted` asked for; returns who is to be told what."""
        star_system = self._star_systems[poll.star_system]
        return self._conclude(star_system, star_system.listed(poll, entries, sightings, cost, now), now)

    def unchanged(self, poll: ListPoll, cost: Cost, now: float) -> None:
        """Record that a list has not changed (304)."""
        star_system = self._star_systems[poll.star_system]
        star_system.unchanged(poll, cost, now)
        self._settle(star_system)

    def failed(self, poll: Poll, error: BackupsError, now: float) -> list[News]:
        """Record a poll that failed; returns who is to be told that it cannot be checked any more."""
        star_system = self._star_systems[poll.star_system]
        return self._conclude(star_system, star_system.failed(poll, error, now), now)

    def _conclude(self, star_system: StarSystem, outcomes: Iterable[Outcome], now: float) -> list[News]:
        news = [one for flight, what in outcomes for one in self._end(flight, what, now)]
        self._settle(star_system)
        return news

    def _end(self, flight: Flight, what: Sighting | BackupsError, now: float) -> list[News]:
        news: list[News] = []
        for subscription in flight.subscriptions:
            subscription.open = False
            news.append((subscription.subscriber, _final_event(flight, subscription, what, now)))
            self._deadlines.ended()
        self._let_go(flight)
        return news


def _final_event(flight: Flight, subscription: Subscription, what: Sighting | BackupsError, now: float) -> FinalEvent:
    about = _about(flight, subscription, now)
    if isinstance(what, Sighting):
        kind = BackupSucceeded if what.progress is Progress.SUCCEEDED else BackupFailed
        return kind(**about, backup=what.backup)
    if isinstance(what, NotFoundError):
        return BackupGone(**about, backup=flight.last_seen())
    return WatchFailed(**about, error=what, backup=flight.last_seen())


def _about(flight: Flight, subscription: Subscription, now: float) -> dict[str, Any]:
    planet = None if flight.planet is None else PlanetRef(flight.star_system, flight.planet)
    return {"ref": flight.ref, "planet": planet, "elapsed": now - subscription.added, "polls": flight.polls}
