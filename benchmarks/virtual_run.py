"""The package's own scheduler in virtual time: backups of one star system that start together, polled to the last end.

The scheduler is the real one: its due polls are taken, get responses that take no time, and the responses are recorded.
As in production, the first list costs what an unmeasured one is assumed to cost, durations of finished backups are
recorded, and the last few backups are polled by GET.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups._polling.scheduler import Notification, Scheduler
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll
from asyncbackups.events import FinalEvent
from asyncbackups.models import Backup, BackupRef, Progress
from asyncbackups.policies import PollingPolicy

STAR_SYSTEM = "s"
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
NO_DEADLINE, LONG_AGO = 1e9, 1e6


def response_info(size: int, seconds: float) -> ResponseInfo:
    """Return what is known of a response, without `Retry-After`, entity tag or date."""
    return ResponseInfo(size=size, seconds=seconds, retry_after=None, etag=None, date=None)


@attrs.define(eq=False)
class VirtualRun:
    """Backups of given durations, polled to the end.

    Attributes:
        policy: The policy.
        durations: How long each backup takes, in seconds.
        get: The response to a GET: its size and time.
        listing: The response to a list: its size and time.
        rng: The source of randomness.
        requests: GETs and LISTs so far.
        lists: LISTs so far.
        delays: The detection latency of each backup that has ended, in seconds.
    """

    policy: PollingPolicy
    durations: Sequence[float]
    get: ResponseInfo
    listing: ResponseInfo
    rng: random.Random
    requests: int = 0
    lists: int = 0
    delays: list[float] = attrs.field(factory=list)
    _now: float = 0.0

    def run(self, history: Sequence[float]) -> None:
        """Poll all backups to the end, after those of a history were watched."""
        scheduler = Scheduler(self.policy, draw=self.rng.random)
        for number, seconds in enumerate(history, len(self.durations)):
            self._add_backup(scheduler, number, started_at=None)
            (poll,) = scheduler.take_due(self._now, capacity=len(self.durations) + 1)
            assert isinstance(poll, GetPoll)
            scheduler.record_get(poll, self._observation(number, age=LONG_AGO, duration=seconds), self.get, self._now)
        for number in range(len(self.durations)):
            self._add_backup(scheduler, number, started_at=0.0)
        while (due := scheduler.next_wakeup()) is not None:
            self._now = max(self._now, due)
            for poll in scheduler.take_due(self._now, capacity=len(self.durations) + 1):
                self.requests += 1
                for subscriber, event in self._respond(scheduler, poll):
                    subscriber.deliver(event)

    def _add_backup(self, scheduler: Scheduler, number: int, *, started_at: float | None) -> None:
        ref = BackupRef(STAR_SYSTEM, number)
        scheduler.add(
            ref, self, now=self._now, deadline=NO_DEADLINE, planet="p", mechanism="logical", started_at=started_at
        )

    def deliver(self, event: FinalEvent) -> None:
        """Record the detection latency of a backup."""
        self.delays.append(self._now - self.durations[event.ref.backup_id])

    def _respond(self, scheduler: Scheduler, poll: Poll) -> list[Notification]:
        if isinstance(poll, GetPoll):
            return scheduler.record_get(poll, self._observe(poll.ref.backup_id), self.get, self._now)
        return self._respond_with_list(scheduler, poll)

    def _respond_with_list(self, scheduler: Scheduler, poll: ListPoll) -> list[Notification]:
        self.lists += 1
        entries = [ListEntry(number, *self._status_of(number)) for number in range(len(self.durations))]
        selected = scheduler.select_entries(poll, entries)
        observations = {number: self._observe(number) for number in selected}
        parts = scheduler.record_list_in_parts(poll, entries, observations, self.listing, self._now)
        return [notification for part in parts for notification in part]

    def _status_of(self, number: int) -> tuple[str, str | None]:
        if self._now < self.durations[number]:
            return "in_progress", None
        return "succeeded", (STARTED_AT + timedelta(seconds=self.durations[number])).isoformat()

    def _observe(self, number: int) -> Observation:
        return self._observation(number, age=self._now, duration=self.durations[number])

    @staticmethod
    def _observation(number: int, *, age: float, duration: float) -> Observation:
        done = age >= duration
        return Observation(
            backup=Backup(id=number, status="succeeded" if done else "in_progress", mechanism="logical"),
            progress=Progress.SUCCEEDED if done else Progress.IN_PROGRESS,
            age=age,
            duration=duration if done else None,
        )
