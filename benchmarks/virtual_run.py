"""The package's own scheduler in virtual time: backups of one star system, begun together, to the end of the last.

Nothing of it is rebuilt here: what is due is asked from the scheduler, answered in no time, and told to it. The first
list costs what an unmeasured one is taken to cost, backups that finish are learned from, and the last few are asked for
by get, as in use.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs

from asyncbackups._polling.scheduler import Notification, Scheduler
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, ResponseCost
from asyncbackups.events import FinalEvent
from asyncbackups.models import Backup, BackupRef, Progress
from asyncbackups.policies import PollingPolicy

STAR_SYSTEM = "s"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER, LONG_AGO = 1e9, 1e6


@attrs.frozen
class _Entry:
    """An entry of a list, as far as it is looked at."""

    id: int
    status: str
    completedAt: str | None  # noqa: N815 - the API's own name


@attrs.define(eq=False)
class VirtualRun:
    """Backups that take so long, polled to the end.

    Attributes:
        policy: The policy.
        took: How long each takes, in seconds.
        get: What a get costs.
        listing: What a list costs.
        rng: Chance.
        requests: Gets and lists so far.
        lists: Lists so far.
        delays: Of the news of each backup that has ended, in seconds.
    """

    policy: PollingPolicy
    took: Sequence[float]
    get: ResponseCost
    listing: ResponseCost
    rng: random.Random
    requests: int = 0
    lists: int = 0
    delays: list[float] = attrs.field(factory=list)
    _now: float = 0.0

    def run(self, history: Sequence[float]) -> None:
        """Poll all to the end; a history has been watched before."""
        scheduler = Scheduler(self.policy, draw=self.rng.random)
        for number, seconds in enumerate(history, len(self.took)):
            self._add(scheduler, number, born=None)
            (poll,) = scheduler.take_due(self._now, room=len(self.took) + 1)
            scheduler.record_get(poll, self._sighting(number, age=LONG_AGO, took=seconds), self.get, self._now)
        for number in range(len(self.took)):
            self._add(scheduler, number, born=0.0)
        while (due := scheduler.next_wakeup()) is not None:
            self._now = max(self._now, due)
            for poll in scheduler.take_due(self._now, room=len(self.took) + 1):
                self.requests += 1
                for subscriber, event in self._answer(scheduler, poll):
                    subscriber.deliver(event)

    def _add(self, scheduler: Scheduler, number: int, *, born: float | None) -> None:
        ref = BackupRef(STAR_SYSTEM, number)
        scheduler.add(ref, self, now=self._now, deadline=FOREVER, planet="p", mechanism="logical", born=born)

    def deliver(self, event: FinalEvent) -> None:
        """Take note of the news of one."""
        self.delays.append(self._now - self.took[event.ref.backup_id])

    def _answer(self, scheduler: Scheduler, poll: Poll) -> list[Notification]:
        if isinstance(poll, GetPoll):
            return scheduler.record_get(poll, self._seen(poll.ref.backup_id), self.get, self._now)
        return self._list(scheduler, poll)

    def _list(self, scheduler: Scheduler, poll: ListPoll) -> list[Notification]:
        self.lists += 1
        entries = [_Entry(number, *self._shown(number)) for number in range(len(self.took))]
        wanted = scheduler.select_entries(poll, entries)
        return scheduler.record_list(poll, entries, {n: self._seen(n) for n in wanted}, self.listing, self._now)

    def _shown(self, number: int) -> tuple[str, str | None]:
        if self._now < self.took[number]:
            return "in_progress", None
        return "succeeded", (BEGAN + timedelta(seconds=self.took[number])).isoformat()

    def _seen(self, number: int) -> Observation:
        return self._sighting(number, age=self._now, took=self.took[number])

    @staticmethod
    def _sighting(number: int, *, age: float, took: float) -> Observation:
        done = age >= took
        return Observation(
            backup=Backup(id=number, status="succeeded" if done else "in_progress", mechanism="logical"),
            progress=Progress.SUCCEEDED if done else Progress.IN_PROGRESS,
            age=age,
            duration=took if done else None,
        )
