"""Building blocks for tests of the scheduler: a subscriber, responses, entries of lists, and a clock moved by hand."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups._polling.cost_model import RequestCosts
from asyncbackups._polling.estimation.censoring import Cohorts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.scheduler import Notification, Scheduler
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll
from asyncbackups.errors import BackupsError
from asyncbackups.events import FinalEvent
from asyncbackups.models import Backup, BackupRef, Progress
from asyncbackups.policies import PollingPolicy

START = 1000.0
STARTED_AT = datetime(2024, 1, 29, 9, 0, tzinfo=UTC)


def response_info(
    size: int = 0, seconds: float = 0.0, *, retry_after: float | None = None, etag: str | None = None
) -> ResponseInfo:
    return ResponseInfo(size=size, seconds=seconds, retry_after=retry_after, etag=etag, date=None)


CHEAP = response_info(500, 0.01)


@attrs.define(eq=False)
class RecordingSubscriber:
    """Keeps the events that are delivered to it."""

    events: list[FinalEvent] = attrs.field(factory=list)

    def deliver(self, event: FinalEvent) -> None:
        self.events.append(event)


def list_entry(backup_id: int | str, status: Any = "running", completed_at: Any = None) -> ListEntry:
    return ListEntry(backup_id, status, completed_at)


def deliver_all(notifications: list[Notification]) -> list[FinalEvent]:
    """Deliver events, and return them."""
    for subscriber, event in notifications:
        subscriber.deliver(event)
    return [event for _, event in notifications]


def observation(
    backup_id: int, status: str = "running", *, age: float | None = None, duration: float | None = None
) -> Observation:
    progress = {"succeeded": Progress.SUCCEEDED, "failed": Progress.FAILED}.get(status, Progress.IN_PROGRESS)
    completed = STARTED_AT + timedelta(seconds=duration) if duration is not None else None
    backup = Backup(id=backup_id, status=status, mechanism="logical", started_at=STARTED_AT, completed_at=completed)
    return Observation(backup=backup, progress=progress, age=age, duration=duration)


def shared_state(*, retry_after_maximum: float = 300.0, **policy: Any) -> PollingState:
    chosen = PollingPolicy(**policy)
    return PollingState(
        chosen,
        retry_after_maximum,
        random.Random(1).random,
        DurationEstimates(chosen),
        RequestCosts(),
        Cohorts(chosen.initial),
    )


def record_duration(
    durations: DurationEstimates, star_system: str, planet: str | None, mechanism: str | None, seconds: float
) -> None:
    """Record a duration at every level."""
    durations.record_at_level(star_system, planet, mechanism, seconds)
    durations.record_at_level(None, None, mechanism, seconds)


def record_whole_list(scheduler: Scheduler, *response: Any) -> list[FinalEvent]:
    """Record all parts of a list, then deliver its events, and return them."""
    return deliver_all([one for part in scheduler.record_list_in_parts(*response) for one in part])


def scheduler(seed: int = 1, **policy: Any) -> Scheduler:
    return Scheduler(PollingPolicy(**policy), draw=random.Random(seed).random)


@attrs.define
class Scenario:
    """A scheduler, and the time, which the test moves."""

    scheduler: Scheduler
    now: float = START
    subscriber: RecordingSubscriber = attrs.field(factory=RecordingSubscriber)

    @property
    def shared(self) -> PollingState:
        """The state of the scheduler: tests set costs and read estimates."""
        return self.scheduler._shared

    def add(self, *ids: int, star_system: str = "sun", started_at: float | None = None, **more: Any) -> None:
        deadline = self.now + more.pop("deadline_in", 1e6)
        subscriber = more.pop("subscriber", self.subscriber)
        for backup_id in ids:
            ref = BackupRef(star_system, backup_id)
            self.scheduler.add(ref, subscriber, now=self.now, deadline=deadline, started_at=started_at, **more)

    def discard(self, backup_id: int, star_system: str = "sun") -> bool:
        return self.scheduler.discard(BackupRef(star_system, backup_id), self.subscriber)

    def take_due(self, capacity: int = 32) -> list[Poll]:
        return self.scheduler.take_due(self.now, capacity=capacity)

    def wait_until_due(self, capacity: int = 32) -> list[Poll]:
        """Move to the next poll that is due."""
        while not (polls := self.take_due(capacity)):
            when = self.scheduler.next_wakeup()
            assert when is not None, "no poll will ever be due"
            self.now = max(self.now, when)
            self.expire_waits()
        return polls

    def expire_waits(self) -> list[FinalEvent]:
        return deliver_all(self.scheduler.expire_waits(self.now))

    def record_get(self, poll: Poll, status: str = "running", **more: Any) -> list[FinalEvent]:
        assert isinstance(poll, GetPoll)
        response = more.pop("response", CHEAP)
        seen = observation(poll.ref.backup_id, status, **more)
        return deliver_all(self.scheduler.record_get(poll, seen, response, self.now))

    def record_list(self, poll: Poll, shown: dict[int, str], response: ResponseInfo = CHEAP) -> list[FinalEvent]:
        """Respond with a list, of which the selected entries are decoded."""
        assert isinstance(poll, ListPoll)
        final = {"succeeded", "failed"}
        entries = [list_entry(number, status, "2024" if status in final else None) for number, status in shown.items()]
        seen = {number: observation(number, shown[number]) for number in self.scheduler.select_entries(poll, entries)}
        return record_whole_list(self.scheduler, poll, entries, seen, response, self.now)

    def record_failure(self, poll: Poll, error: BackupsError) -> list[FinalEvent]:
        return deliver_all(self.scheduler.record_failure(poll, error, self.now))

    def explain(self, backup_id: int, star_system: str = "sun") -> Any:
        return self.scheduler.explain(BackupRef(star_system, backup_id), self.now)


def is_idle(scheduler: Scheduler) -> bool:
    """Return True if a scheduler keeps nothing of waits and backups, and has nothing to wake up for."""
    kept = scheduler.in_flight or scheduler._star_systems or scheduler.has_backlog
    return not kept and scheduler.next_wakeup() is None
