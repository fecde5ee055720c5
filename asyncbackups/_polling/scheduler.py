"""Which polls are due, over all star systems; which events follow from responses; and when to wake up next.

The scheduler decides, the engine acts: it takes what is due, sends it, records the responses, and sleeps until
`next_wakeup`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups._polling.cost_model import RequestCosts
from asyncbackups._polling.estimation.censoring import Cohorts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.observations import LATEST_TIMESTAMP, record_listed
from asyncbackups._polling.poll_outcomes import StarSystemPolling, TrackedOutcome
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.timers import TimerQueue
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, Subscriber, Subscription, TrackedBackup
from asyncbackups._polling.wait_deadlines import WaitDeadlines
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
from asyncbackups.models import BackupId, BackupRef, PlanetRef, Progress, id_key
from asyncbackups.policies import PollingPolicy, RetryPolicy

Notification = tuple[Subscriber, FinalEvent]  # a subscriber, and the event to deliver to it

_SHARE = 3  # a star system with requests in flight takes more capacity only below this many times the free capacity
_STALL = 5.0  # if the engine is late by more than this many seconds, overdue polls are spread out
_TOGETHER = 8
"""If fewer star systems than this are due, lists that are nearly due are sent along; more would be a burst."""


class Scheduler:
    """All tracked backups of a client. The retry policy limits the `Retry-After` of polls, too."""

    def __init__(
        self,
        policy: PollingPolicy,
        *,
        draw: Callable[[], float],
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self._shared = PollingState(
            policy, retry.retry_after_maximum, draw, DurationEstimates(policy), RequestCosts(), Cohorts(policy.initial)
        )
        self._star_systems: dict[str, StarSystemPolling] = {}
        self._deadlines: WaitDeadlines = WaitDeadlines(policy.initial)
        self._waiting: TimerQueue[StarSystemPolling] = TimerQueue()
        self._ready: deque[StarSystemPolling] = deque()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """How many backups are tracked, each counted once however many subscribers it has."""
        return self._in_flight

    def add(
        self,
        ref: BackupRef,
        subscriber: Subscriber,
        *,
        now: float,
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
            now: The time now, in seconds of the monotonic clock.
            deadline: When the wait expires, on the same clock.
            planet: The backup's planet, if known.
            mechanism: How it is made, if known.
            started_at: When it was created, on the same clock, if known.
            patient: Whether a backup of unknown age may wait a moment for others, which one list then covers.
        """
        star_system = self._star_systems.get(ref.star_system)
        if star_system is None:
            star_system = self._star_systems[ref.star_system] = StarSystemPolling(ref.star_system, self._shared)
        backup = star_system.tracked.get(id_key(ref.backup_id))
        if backup is None:
            backup = TrackedBackup(star_system.name, ref.backup_id, planet, mechanism, started_at)
            self._deadlines.subscribe(backup, subscriber, now, deadline)
            self._in_flight += 1
            star_system.add(backup, now, patient=patient)
            self._schedule_star_system(star_system)
            return True
        if any(subscription.subscriber is subscriber for subscription in backup.subscriptions):
            return False
        backup.planet = backup.planet or planet
        self._deadlines.subscribe(backup, subscriber, now, deadline)
        return True

    def supersede(self, ref: BackupRef, planet: str | None, now: float) -> list[Notification]:
        """End the waits for a backup whose id the service has assigned again, to a backup of another planet.

        Args:
            ref: The new backup.
            planet: Its planet's id; None if unknown.
            now: The time now, in seconds of the monotonic clock.
        """
        backup = self._find_tracked(ref)
        if backup is None or planet is None or backup.planet in {None, planet}:
            return []
        reason = f"its id was assigned to a backup of {planet}"
        return self._end_tracking(backup, NotFoundError(status=404, reason=reason), now)

    def discard(self, ref: BackupRef, subscriber: Subscriber) -> bool:
        """End a subscription without an event; return whether there was one."""
        backup = self._find_tracked(ref)
        return backup is not None and self._discard(backup, subscriber)

    def _discard(self, backup: TrackedBackup, subscriber: Subscriber) -> bool:
        for subscription in backup.subscriptions:
            if subscription.subscriber is subscriber:
                self._unsubscribe(backup, subscription)
                self._deadlines.count_ended()
                return True
        return False

    def discard_all(self, subscriber: Subscriber, star_systems: Iterable[str]) -> None:
        """End all subscriptions of a subscriber in some star systems without events."""
        for name in star_systems:
            star_system = self._star_systems.get(name)
            for backup in [] if star_system is None else list(star_system.tracked.values()):
                self._discard(backup, subscriber)

    def fail_all(self, error: BackupsError, now: float) -> list[Notification]:
        """End every wait with an error. The scheduler must not be used afterwards: its state may be inconsistent."""
        notifications: list[Notification] = []
        for star_system in self._star_systems.values():
            for backup in star_system.tracked.values():
                notifications += self._close_subscriptions(backup, error, now)
        self._star_systems.clear()
        self._in_flight = 0
        return notifications

    def _unsubscribe(self, backup: TrackedBackup, subscription: Subscription) -> None:
        subscription.open = False
        backup.subscriptions = tuple(other for other in backup.subscriptions if other is not subscription)
        if not backup.subscriptions:
            self._release_star_system(self._stop_tracking(backup))

    def _stop_tracking(self, backup: TrackedBackup) -> StarSystemPolling:
        """Forget a backup. Its star system must be released afterwards, once for all backups of a response."""
        star_system = self._star_systems[backup.star_system]
        star_system.remove(backup)
        self._in_flight -= 1
        return star_system

    def _release_star_system(self, star_system: StarSystemPolling) -> None:
        """Forget a star system that has become idle; else schedule its next poll."""
        if star_system.tracked or star_system.requests or star_system.queued:
            self._schedule_star_system(star_system)
        else:
            star_system.due = math.inf
            del self._star_systems[star_system.name]

    def _find_tracked(self, ref: BackupRef) -> TrackedBackup | None:
        star_system = self._star_systems.get(ref.star_system)
        return None if star_system is None else star_system.tracked.get(id_key(ref.backup_id))

    @property
    def has_backlog(self) -> bool:
        """Whether polls were due for which there was no capacity: take them once a response has been received."""
        return bool(self._ready)

    def next_wakeup(self) -> float | None:
        """Return when there is something to do, unless a response is received before; None for never."""
        when = min(self._waiting.next_time(), self._deadlines.next_time())
        return when if when < math.inf else None

    def take_due(self, now: float, *, capacity: int) -> list[Poll]:
        """Return at most `capacity` polls to send now; each is in flight until its response is recorded.

        Star systems take turns, and none takes the last capacity while it has requests in flight: many backups, or slow
        responses, in one star system do not starve another.
        """
        self._collect_ready(now)
        polls: list[Poll] = []
        blocked = 0
        while len(polls) < capacity and blocked < len(self._ready):
            star_system = self._ready.popleft()
            if star_system.requests and star_system.requests >= _SHARE * (capacity - len(polls)):
                self._ready.append(star_system)
                blocked += 1
                continue
            poll = star_system.take_poll(now)
            if poll is None:
                star_system.queued = False
                self._release_star_system(star_system)
                continue
            polls.append(poll)
            self._ready.append(star_system)
            blocked = 0
        return polls

    def is_needed(self, poll: Poll) -> bool:
        """Return True if any backup that a poll covers is still tracked."""
        return self._star_systems[poll.star_system].is_needed(poll)

    def cancel_poll(self, poll: Poll, now: float) -> None:
        """Record that a poll was not sent, because it is not needed any more."""
        star_system = self._star_systems[poll.star_system]
        star_system.cancel_poll(poll, now)
        self._release_star_system(star_system)

    def expire_waits(self, now: float) -> list[Notification]:
        """End the waits whose deadline has passed, after a final poll; some may be left for the next call."""
        notifications: list[Notification] = []
        for subscription in self._deadlines.take_expired(now, lambda near: self._schedule_final_poll(near, now)):
            backup = subscription.tracked
            error = self._star_systems[backup.star_system].last_error_of(backup)
            fields = _common_fields(backup, subscription, now)
            event = WatchExpired(**fields, backup=backup.last_seen(), error=error)
            notifications.append((subscription.subscriber, event))
            self._unsubscribe(backup, subscription)
        return notifications

    def _schedule_final_poll(self, subscription: Subscription, now: float) -> None:
        left = subscription.deadline - now
        star_system = self._star_systems[subscription.tracked.star_system]
        star_system.poll_before_deadline(subscription.tracked, now, since=now - left)
        self._schedule_star_system(star_system)

    def explain(self, ref: BackupRef, now: float) -> Explanation | None:
        """Explain when a backup is polled next and why; None if it is not tracked."""
        backup = self._find_tracked(ref)
        if backup is None:
            return None
        method, due = self._star_systems[ref.star_system].next_poll_of(backup, now)
        return Explanation(
            ref=ref,
            by=method,
            due_in=max(0.0, due - now),
            age=None if backup.started_at is None else backup.age_at(now),
            status=backup.status,
            polls=backup.polls,
            learned_from=self._shared.estimate_of(backup, now)[0].sample_size,
            expires_in=max(subscription.deadline for subscription in backup.subscriptions) - now,
        )

    def _collect_ready(self, now: float) -> None:
        while (due := self._waiting.next_time()) <= now:
            star_system = self._enqueue_first()
            if now - due > _STALL:
                star_system.spread_overdue(now, min(now - due, self._shared.policy.maximum))
        # As timers with slack do: what is nearly due is sent together with what is due, without a wake-up of its own.
        while 0 < len(self._ready) < _TOGETHER and (other := self._waiting.peek_first()) and other.bring_forward(now):
            self._enqueue_first()

    def _enqueue_first(self) -> StarSystemPolling:
        star_system = self._waiting.pop_first()
        star_system.queued = True
        self._ready.append(star_system)
        return star_system

    def _schedule_star_system(self, star_system: StarSystemPolling) -> None:
        if star_system.queued:
            return
        due = star_system.next_due()
        if due == math.inf:
            star_system.due = due
        elif due != star_system.due:
            self._waiting.schedule(star_system, due)

    def select_entries(
        self, poll: ListPoll, entries: Iterable[ListEntry], *, latest: str = LATEST_TIMESTAMP, every: bool = False
    ) -> set[BackupId]:
        """Return the ids of the entries that are worth decoding; `latest` is the largest credible `completedAt`.

        If `every` is true, a backup may have changed although its status has not.
        """
        return self._star_systems[poll.star_system].select_entries(poll, entries, latest=latest, every=every)

    def record_listed(
        self, star_system: str, planet: str | None, observations: Iterable[Observation], now: float, *, latest: str
    ) -> None:
        """Record the durations of finished backups in a list that was not polled; it says nothing of tracked ones."""
        polling = self._star_systems.get(star_system)
        tracked = () if polling is None else polling.tracked
        record_listed(self._shared, (star_system, planet), observations, now, tracked=tracked, latest=latest)

    def record_get(
        self, poll: GetPoll, observation: Observation, response: ResponseInfo, now: float
    ) -> list[Notification]:
        """Record the response to a GET; return the events to deliver."""
        star_system = self._star_systems[poll.star_system]
        return self._finish_poll(star_system, star_system.record_get(poll, observation, response, now), now)

    def record_list_in_parts(
        self,
        poll: ListPoll,
        entries: Iterable[ListEntry],
        observations: Mapping[BackupId, Observation],
        response: ResponseInfo,
        now: float,
    ) -> Iterator[list[Notification]]:
        """Record a list: all its entries, and those selected; yield the events to deliver, part by part.

        In between anything else may be recorded. The caller must take all parts: only then is the poll finished.
        """
        star_system = self._star_systems[poll.star_system]
        for outcomes in star_system.record_list(poll, entries, observations, response, now):
            yield [one for backup, outcome in outcomes for one in self._end_tracking(backup, outcome, now)]
        self._release_star_system(star_system)

    def record_unchanged(self, poll: Poll, response: ResponseInfo, now: float) -> None:
        """Record that a backup or a list has not changed (304)."""
        star_system = self._star_systems[poll.star_system]
        if isinstance(poll, GetPoll):
            star_system.record_unchanged_get(poll, response, now)
        else:
            star_system.record_unchanged_list(poll, response, now)
        self._release_star_system(star_system)

    def record_failure(self, poll: Poll, error: BackupsError, now: float) -> list[Notification]:
        """Record a failed poll; return the events to deliver, if it ends any wait."""
        star_system = self._star_systems[poll.star_system]
        return self._finish_poll(star_system, star_system.record_failure(poll, error, now), now)

    def _finish_poll(
        self, star_system: StarSystemPolling, outcomes: Iterable[TrackedOutcome], now: float
    ) -> list[Notification]:
        notifications = [one for backup, outcome in outcomes for one in self._end_tracking(backup, outcome, now)]
        self._release_star_system(star_system)
        return notifications

    def _end_tracking(
        self, backup: TrackedBackup, outcome: Observation | BackupsError, now: float
    ) -> list[Notification]:
        notifications = self._close_subscriptions(backup, outcome, now)
        for _ in notifications:
            self._deadlines.count_ended()
        self._stop_tracking(backup)
        return notifications

    @staticmethod
    def _close_subscriptions(
        backup: TrackedBackup, outcome: Observation | BackupsError, now: float
    ) -> list[Notification]:
        notifications: list[Notification] = []
        for subscription in backup.subscriptions:
            subscription.open = False
            notifications.append((subscription.subscriber, _final_event(backup, subscription, outcome, now)))
        return notifications


def _final_event(
    backup: TrackedBackup, subscription: Subscription, outcome: Observation | BackupsError, now: float
) -> FinalEvent:
    fields = _common_fields(backup, subscription, now)
    if isinstance(outcome, Observation):
        kind = BackupSucceeded if outcome.progress is Progress.SUCCEEDED else BackupFailed
        return kind(**fields, backup=outcome.backup)
    if isinstance(outcome, NotFoundError):
        return BackupGone(**fields, backup=backup.last_seen())
    return WatchFailed(**fields, error=outcome, backup=backup.last_seen())


def _common_fields(backup: TrackedBackup, subscription: Subscription, now: float) -> dict[str, Any]:
    planet = None if backup.planet is None else PlanetRef(backup.star_system, backup.planet)
    return {"ref": backup.ref, "planet": planet, "elapsed": now - subscription.added, "polls": backup.polls}
