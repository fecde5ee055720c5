"""What tests of the scheduler are made of: somebody who waits, answers, and entries of lists."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from asyncbackups._polling.scheduler import Notification, Scheduler
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, ResponseCost
from asyncbackups.events import FinalEvent
from asyncbackups.models import Backup, BackupRef, Progress
from asyncbackups.policies import PollingPolicy

START = 1000.0
BEGAN = datetime(2024, 1, 29, 9, 0, tzinfo=UTC)
CHEAP = ResponseCost(size=500, seconds=0.01)


@attrs.define(eq=False)
class Waiter:
    """Remembers what it is told."""

    events: list[FinalEvent] = attrs.field(factory=list)

    def deliver(self, event: FinalEvent) -> None:
        self.events.append(event)


@attrs.frozen
class Entry:
    """An entry of a list, as far as it is looked at."""

    id: int
    status: Any = "running"
    completedAt: Any = None  # noqa: N815 - the API's own name


def tell(news: list[Notification]) -> list[FinalEvent]:
    """Deliver; return the events."""
    for waiter, event in news:
        waiter.deliver(event)
    return [event for _, event in news]


def sighting(
    backup_id: int, status: str = "running", *, age: float | None = None, duration: float | None = None
) -> Observation:
    progress = {"succeeded": Progress.SUCCEEDED, "failed": Progress.FAILED}.get(status, Progress.IN_PROGRESS)
    completed = BEGAN + timedelta(seconds=duration) if duration is not None else None
    backup = Backup(id=backup_id, status=status, mechanism="logical", started_at=BEGAN, completed_at=completed)
    return Observation(backup=backup, progress=progress, age=age, duration=duration)


def scheduler(seed: int = 1, **policy: Any) -> Scheduler:
    return Scheduler(PollingPolicy(**policy), draw=random.Random(seed).random)


@attrs.define
class Course:
    """A scheduler and the time, which goes on only when it is told to."""

    scheduler: Scheduler
    now: float = START
    waiter: Waiter = attrs.field(factory=Waiter)

    def add(self, *ids: int, star_system: str = "sun", born: float | None = None, **more: Any) -> None:
        deadline = self.now + more.pop("lasting", 1e6)
        who = more.pop("waiter", self.waiter)
        for backup_id in ids:
            ref = BackupRef(star_system, backup_id)
            self.scheduler.add(ref, who, now=self.now, deadline=deadline, born=born, **more)

    def due(self, room: int = 32) -> list[Poll]:
        return self.scheduler.due(self.now, room=room)

    def until_due(self, room: int = 32) -> list[Poll]:
        """Go on to the next request that is due."""
        while not (polls := self.due(room)):
            when = self.scheduler.next_deadline()
            assert when is not None, "nothing will ever be due"
            self.now = max(self.now, when)
            tell(self.scheduler.expire(self.now))
        return polls

    def got(self, poll: Poll, status: str = "running", **more: Any) -> list[FinalEvent]:
        assert isinstance(poll, GetPoll)
        cost = more.pop("cost", CHEAP)
        return tell(self.scheduler.got(poll, sighting(poll.ref.backup_id, status, **more), cost, self.now))

    def listed(
        self, poll: Poll, shown: dict[int, str], cost: ResponseCost = CHEAP, **sightings: Observation
    ) -> list[FinalEvent]:
        """Answer with a list, of which is decoded what is wanted."""
        assert isinstance(poll, ListPoll)
        final = {"succeeded", "failed"}
        entries = [Entry(number, status, "2024" if status in final else None) for number, status in shown.items()]
        seen = {number: sighting(number, shown[number]) for number in self.scheduler.wanted(poll, entries)}
        return tell(self.scheduler.listed(poll, entries, seen, cost, self.now))

    def explained(self, backup_id: int, star_system: str = "sun") -> Any:
        return self.scheduler.explain(BackupRef(star_system, backup_id), self.now)


def leftovers(scheduler: Scheduler) -> dict[str, int]:
    """Return what a scheduler still keeps of waits and flights."""
    scheduler.next_deadline()  # which forgets what is stale
    return {
        "in flight": scheduler.in_flight,
        "star systems": len(scheduler._star_systems),
        "deadlines": len(scheduler._deadlines._slots),
        "waiting": len(scheduler._waiting),
        "ready": len(scheduler._ready),
    }
