"""Which requests are due, over all star systems; who is told what; and when there is something to do again.

The scheduler decides, the engine acts: it asks `due`, performs, feeds back what came, and sleeps until `next_deadline`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from asyncbackups._polling.cost_model import RequestCosts
from asyncbackups._polling.due_queue import TimerQueue
from asyncbackups._polling.estimation.censoring import Cohorts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.observations import NO_INSTANT
from asyncbackups._polling.poll_outcomes import StarSystemPolling, TrackedOutcome
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.timers import DeadlineTimers
from asyncbackups._polling.tracked import (
    GetPoll,
    ListEntryLike,
    ListPoll,
    Observation,
    Poll,
    ResponseCost,
    Subscriber,
    Subscription,
    TrackedBackup,
)
from asyncbackups.errors import BackupsError, NotFoundError
from asyncbackups.events import (
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    Explanation,
    FinalEvent,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import BackupRef, PlanetRef, Progress
from asyncbackups.policies import PollingPolicy

Notification = tuple[Subscriber, FinalEvent]
"""Who is to be told, and what."""

_SHARE = 3
"""A star system with requests under way takes another place only below so many times the free ones."""
_STALL = 5.0
"""Seconds by which the engine may be late before what is overdue is spread out."""
_LOOK = 2.0
"""At least so many seconds before its deadline a long wait takes its last look: deadlines are rounded, too."""
_LOOK_PART = 0.1
"""What part of a short wait that is."""
_TOGETHER = 8
"""Where fewer star systems than this are due, those that are nearly due go along; more would be a burst."""
_AT_ONCE = 1_000
"""How many deadlines may pass in one go: a few milliseconds' work."""


class Scheduler:
    """Every backup in flight of a client.

    Args:
        policy: When to ask.
        draw: Gives uniform numbers from [0, 1).
    """

    def __init__(self, policy: PollingPolicy, *, draw: Callable[[], float]) -> None:
        self._know = PollingState(policy, draw, DurationEstimates(policy), RequestCosts(), Cohorts(policy.initial))
        self._star_systems: dict[str, StarSystemPolling] = {}
        self._deadlines: DeadlineTimers[Subscription] = DeadlineTimers(lambda subscription: subscription.open)
        self._waiting: TimerQueue[StarSystemPolling] = TimerQueue()
        self._ready: deque[StarSystemPolling] = deque()
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
        mechanism: str | None = None,
        born: float | None = None,
        patient: bool = False,
    ) -> bool:
        """Let somebody wait for a backup.

        Args:
            ref: Which backup.
            subscriber: Who waits.
            now: The time now, in seconds of the monotonic clock.
            deadline: Until when, on the same clock.
            planet: Its planet, where that is known.
            mechanism: How it is made, where that is known.
            born: When it was created, on the same clock, where that is known.
            patient: Whether one of unknown age may wait a moment for others, which one list then tells of.

        Returns:
            Whether that is new; False where the same subscriber already waits for it.
        """
        star_system = self._star_systems.get(ref.star_system)
        if star_system is None:
            star_system = self._star_systems[ref.star_system] = StarSystemPolling(ref.star_system, self._know)
        flight = star_system.tracked.get(ref.backup_id)
        if flight is None:
            flight = TrackedBackup(star_system.name, ref.backup_id, planet, mechanism, born)
            self._subscribe(flight, subscriber, now, deadline)
            self._in_flight += 1
            star_system.add(flight, now, patient=patient)
            self._schedule(star_system)
            return True
        if any(subscription.subscriber is subscriber for subscription in flight.subscriptions):
            return False
        flight.planet = flight.planet or planet
        self._subscribe(flight, subscriber, now, deadline)
        return True

    def _subscribe(self, flight: TrackedBackup, subscriber: Subscriber, now: float, deadline: float) -> None:
        deadline = self._deadlines.rounded(deadline, now=now)
        subscription = Subscription(subscriber, flight, now, deadline)
        self._deadlines.add(subscription, deadline - self._last_look(deadline - now), now=now)
        flight.subscriptions = (*flight.subscriptions, subscription)

    def _last_look(self, lasting: float) -> float:
        """Return how long before its end a wait of so many seconds is to be sure that it was not over long before."""
        return min(max(self._know.policy.initial, _LOOK), lasting * _LOOK_PART)

    def discard(self, ref: BackupRef, subscriber: Subscriber) -> bool:
        """Let somebody no longer wait for a backup; returns whether they did."""
        flight = self._find(ref)
        return flight is not None and self._discard(flight, subscriber)

    def _discard(self, flight: TrackedBackup, subscriber: Subscriber) -> bool:
        for subscription in flight.subscriptions:
            if subscription.subscriber is subscriber:
                self._unsubscribe(flight, subscription)
                self._deadlines.ended()
                return True
        return False

    def discard_all(self, subscriber: Subscriber, star_systems: Iterable[str]) -> None:
        """Let somebody no longer wait for anything in some star systems."""
        for name in star_systems:
            star_system = self._star_systems.get(name)
            for flight in [] if star_system is None else list(star_system.tracked.values()):
                self._discard(flight, subscriber)

    def give_up(self, error: BackupsError, now: float) -> list[Notification]:
        """End every wait with an error. The scheduler is not to be used any more: it may be what broke."""
        news: list[Notification] = []
        for star_system in self._star_systems.values():
            for flight in star_system.tracked.values():
                news += self._close(flight, error, now)
        self._star_systems.clear()
        self._in_flight = 0
        return news

    def _unsubscribe(self, flight: TrackedBackup, subscription: Subscription) -> None:
        subscription.open = False
        flight.subscriptions = tuple(other for other in flight.subscriptions if other is not subscription)
        if not flight.subscriptions:
            self._settle(self._let_go(flight))

    def _let_go(self, flight: TrackedBackup) -> StarSystemPolling:
        """Forget a flight; its star system is still to be settled, once for all that one answer told of."""
        star_system = self._star_systems[flight.star_system]
        star_system.remove(flight)
        self._in_flight -= 1
        return star_system

    def _settle(self, star_system: StarSystemPolling) -> None:
        """Forget a star system that has become idle; else see to its next request."""
        if star_system.tracked or star_system.requests or star_system.queued:
            self._schedule(star_system)
        else:
            star_system.due = math.inf
            del self._star_systems[star_system.name]

    def _find(self, ref: BackupRef) -> TrackedBackup | None:
        star_system = self._star_systems.get(ref.star_system)
        return None if star_system is None else star_system.tracked.get(ref.backup_id)

    # What is due

    @property
    def held_back(self) -> bool:
        """Whether something was due that had no room: it is to be asked for again once an answer has come."""
        return bool(self._ready)

    def next_deadline(self) -> float | None:
        """Return when there is something to do, as far as no answer comes before; None for never."""
        when = min(self._waiting.next(), self._deadlines.next())
        return when if when < math.inf else None

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

    def expire(self, now: float) -> list[Notification]:
        """Return waits whose deadline has passed, which are over; of very many, some are left for next time.

        Who will soon not wait any longer is looked after once more before: a backup that has succeeded is not to be
        called unfinished because the schedule was to ask about it later.
        """
        news: list[Notification] = []
        for subscription in self._deadlines.pop_due(now, most=_AT_ONCE):
            flight = subscription.tracked
            if now < subscription.deadline:
                self._look_once_more(subscription, now)
                continue
            about = _about(flight, subscription, now)
            trouble = self._star_systems[flight.star_system].trouble_of(flight)
            event = WatchExpired(**about, backup=flight.last_seen(), error=trouble)
            news.append((subscription.subscriber, event))
            self._unsubscribe(flight, subscription)
        return news

    def _look_once_more(self, subscription: Subscription, now: float) -> None:
        flight, left = subscription.tracked, subscription.deadline - now
        self._deadlines.add(subscription, subscription.deadline, now=now)
        star_system = self._star_systems[flight.star_system]
        star_system.look_once_more(flight, now, since=now - left)
        self._schedule(star_system)

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
            age=None if flight.started_at is None else flight.age(now),
            status=flight.status,
            polls=flight.polls,
            learned_from=self._know.member(flight, now)[0].seen,
            expires_in=max(subscription.deadline for subscription in flight.subscriptions) - now,
        )

    def _collect_ready(self, now: float) -> None:
        while (due := self._waiting.next()) <= now:
            star_system = self._take_up()
            if now - due > _STALL:
                star_system.spread(now, min(now - due, self._know.policy.maximum))
        # As timers with slack do it: what is nearly due goes along with what is, instead of waking everybody again.
        while 0 < len(self._ready) < _TOGETHER and (other := self._waiting.first()) and other.bring_forward(now):
            self._take_up()

    def _take_up(self) -> StarSystemPolling:
        star_system = self._waiting.pop(due=math.inf)
        star_system.queued = True
        self._ready.append(star_system)
        return star_system

    def _schedule(self, star_system: StarSystemPolling) -> None:
        if star_system.queued:
            return
        due = star_system.next_due()
        if due == math.inf:
            star_system.due = due
        elif due != star_system.due:
            self._waiting.put(star_system, due)

    # What came

    def wanted(
        self, poll: ListPoll, entries: Iterable[ListEntryLike], *, latest: str = NO_INSTANT, every: bool = False
    ) -> set[int]:
        """Return the ids of a list's entries that are worth decoding whole.

        Args:
            poll: Which list.
            entries: What is in it.
            latest: What `completedAt` cannot be later than, as ISO 8601 writes it.
            every: Whether there may be news of a backup whose status is as it was.
        """
        return self._star_systems[poll.star_system].wanted(poll, entries, latest=latest, every=every)

    def got(self, poll: GetPoll, sighting: Observation, cost: ResponseCost, now: float) -> list[Notification]:
        """Record the answer to a get; returns who is to be told what."""
        star_system = self._star_systems[poll.star_system]
        return self._conclude(star_system, star_system.got(poll, sighting, cost, now), now)

    def listed(
        self,
        poll: ListPoll,
        entries: Iterable[ListEntryLike],
        sightings: Mapping[int, Observation],
        cost: ResponseCost,
        now: float,
    ) -> list[Notification]:
        """Record a list: all its entries, and those that `wanted` asked for; returns who is to be told what."""
        portions = self.listed_in_portions(poll, entries, sightings, cost, now)
        return [one for portion in portions for one in portion]

    def listed_in_portions(
        self,
        poll: ListPoll,
        entries: Iterable[ListEntryLike],
        sightings: Mapping[int, Observation],
        cost: ResponseCost,
        now: float,
    ) -> Iterator[list[Notification]]:
        """Record a list as `listed` does, a portion each time that the next one is asked for.

        In between anything else may be recorded. All portions are to be asked for: only then is the poll over.
        """
        star_system = self._star_systems[poll.star_system]
        for outcomes in star_system.listed(poll, entries, sightings, cost, now):
            yield [one for flight, what in outcomes for one in self._end(flight, what, now)]
        self._settle(star_system)

    def unchanged(self, poll: Poll, cost: ResponseCost, now: float) -> None:
        """Record that what was asked about is as it was (304)."""
        star_system = self._star_systems[poll.star_system]
        if isinstance(poll, GetPoll):
            star_system.unchanged_since(poll, cost, now)
        else:
            star_system.unchanged(poll, cost, now)
        self._settle(star_system)

    def failed(self, poll: Poll, error: BackupsError, now: float) -> list[Notification]:
        """Record a poll that failed; returns who is to be told that it cannot be checked any more."""
        star_system = self._star_systems[poll.star_system]
        return self._conclude(star_system, star_system.failed(poll, error, now), now)

    def _conclude(
        self, star_system: StarSystemPolling, outcomes: Iterable[TrackedOutcome], now: float
    ) -> list[Notification]:
        news = [one for flight, what in outcomes for one in self._end(flight, what, now)]
        self._settle(star_system)
        return news

    def _end(self, flight: TrackedBackup, what: Observation | BackupsError, now: float) -> list[Notification]:
        news = self._close(flight, what, now)
        for _ in news:
            self._deadlines.ended()
        self._let_go(flight)
        return news

    @staticmethod
    def _close(flight: TrackedBackup, what: Observation | BackupsError, now: float) -> list[Notification]:
        news: list[Notification] = []
        for subscription in flight.subscriptions:
            subscription.open = False
            news.append((subscription.subscriber, _final_event(flight, subscription, what, now)))
        return news


def _final_event(
    flight: TrackedBackup, subscription: Subscription, what: Observation | BackupsError, now: float
) -> FinalEvent:
    about = _about(flight, subscription, now)
    if isinstance(what, Observation):
        kind = BackupSucceeded if what.progress is Progress.SUCCEEDED else BackupFailed
        return kind(**about, backup=what.backup)
    if isinstance(what, NotFoundError):
        return BackupGone(**about, backup=flight.last_seen())
    return WatchFailed(**about, error=what, backup=flight.last_seen())


def _about(flight: TrackedBackup, subscription: Subscription, now: float) -> dict[str, Any]:
    planet = None if flight.planet is None else PlanetRef(flight.star_system, flight.planet)
    return {"ref": flight.ref, "planet": planet, "elapsed": now - subscription.added, "polls": flight.polls}
