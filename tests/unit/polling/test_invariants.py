"""Invariants of the scheduler, in any order of events: a state machine of a service that lies, lags and fails."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._polling.scheduler import Notification
from asyncbackups._polling.tracked import REQUESTED, GetPoll, ListPoll, Poll
from asyncbackups.errors import (
    AnswerTimeoutError,
    AuthenticationError,
    BackupsError,
    ConnectError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
)
from asyncbackups.events import BackupFailed, BackupGone, BackupSucceeded, WatchExpired, WatchFailed
from asyncbackups.models import BackupRef
from tests.unit.polling.scenario import (
    START,
    RecordingSubscriber,
    is_idle,
    list_entry,
    observation,
    response_info,
    scheduler,
)

STAR_SYSTEMS = ("sun", "vega", "deneb")
TRANSIENT: list[BackupsError] = [
    ServiceUnavailableError(status=503),
    RateLimitedError(status=429, retry_after=20.0),
    AnswerTimeoutError("slow"),
    ConnectError("refused"),
    ProtocolError("garbage"),
]
refs = st.builds(BackupRef, st.sampled_from(STAR_SYSTEMS), st.integers(1, 8))
which = st.integers(0, 1_000)


class Polling(RuleBasedStateMachine):
    """The backups as the service knows them, and the scheduler that polls them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.subscribers = [RecordingSubscriber() for _ in range(3)]
        self.in_flight: list[Poll] = []
        self.ends: dict[BackupRef, tuple[float, str]] = {}  # when each backup ends, and how
        self.open: dict[tuple[int, BackupRef], float] = {}  # the deadline of each open wait
        self.not_found: Counter[BackupRef] = Counter()
        self.shown_final: set[tuple[BackupRef, str]] = set()
        self.refused: set[BackupRef] = set()
        self.tags = itertools.count()

    def make(self, seed: int, policy: dict[str, Any]) -> None:
        self.scheduler = scheduler(seed, **policy)

    # -- callers

    @rule(
        star_system=st.sampled_from(STAR_SYSTEMS),
        ids=st.sampled_from([range(1, 9), range(1, 5), range(3, 9, 2), range(6, 7)]),
        who=st.integers(0, 2),
        deadline_in=st.sampled_from([3.0, 300.0, 1e5]),
        age=st.none() | st.just(7.0),
    )
    def add(self, star_system: str, ids: range, who: int, deadline_in: float, age: float | None) -> None:
        for number in ids:
            self.add_backup(BackupRef(star_system, number), who, deadline_in, age)

    def add_backup(self, ref: BackupRef, who: int, deadline_in: float, age: float | None) -> None:
        planet = f"p{ref.backup_id % 2}" if ref.backup_id > 2 else None
        self.ends.setdefault(ref, (self.now + 37.0 * ref.backup_id, "failed" if ref.backup_id == 5 else "succeeded"))
        new = self.scheduler.add(
            ref,
            self.subscribers[who],
            now=self.now,
            deadline=self.now + deadline_in,
            planet=planet,
            started_at=None if age is None else self.now - age,
        )
        assert new is ((who, ref) not in self.open), "adding is idempotent"
        if new:
            self.open[who, ref] = self.now + deadline_in

    @rule(ref=refs, who=st.integers(0, 2))
    def discard(self, ref: BackupRef, who: int) -> None:
        assert self.scheduler.discard(ref, self.subscribers[who]) is ((who, ref) in self.open)
        self.open.pop((who, ref), None)

    @rule(who=st.integers(0, 2))
    def discard_all(self, who: int) -> None:
        self.scheduler.discard_all(self.subscribers[who], STAR_SYSTEMS)
        self.open = {key: deadline for key, deadline in self.open.items() if key[0] != who}

    # -- time

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 30.0, 400.0]), capacity=st.integers(0, 6))
    def advance(self, seconds: float, capacity: int) -> None:
        self.now += seconds
        self.step(capacity)

    @rule(capacity=st.integers(1, 6))
    def advance_to_wakeup(self, capacity: int) -> None:
        when = self.scheduler.next_wakeup()
        if when is not None:
            self.now = max(self.now, when)
        self.step(capacity)

    def step(self, capacity: int) -> None:
        self.deliver(self.scheduler.expire_waits(self.now))
        first, backlog = self.scheduler.next_wakeup(), self.scheduler.has_backlog
        polls = self.scheduler.take_due(self.now, capacity=capacity)
        assert len(polls) <= capacity, "the request budget holds"
        assert not polls or backlog or (first is not None and first <= self.now), "no poll before it is due"
        for poll in polls:
            assert poll.sent == self.now
            if isinstance(poll, ListPoll):
                lists = self.scheduler._star_systems[poll.star_system]._queue._lists
                assert lists._in_use[poll.planet].earliest <= self.now, "no list earlier than its slack allows"
        self.in_flight += polls

    # -- responses

    @precondition(lambda self: self.in_flight)
    @rule(number=which, retry_after=st.sampled_from([None, None, 0.0, 40.0]), tagged=st.booleans())
    def respond(self, number: int, retry_after: float | None, tagged: bool) -> None:
        """Respond truthfully, as of the time when the request was sent."""
        poll = self.take(number)
        etag = f'"{next(self.tags)}"' if tagged else None
        response = response_info(400, 0.1, retry_after=retry_after, etag=etag)
        if isinstance(poll, GetPoll):
            self.not_found[poll.ref] = 0
            seen = self.observe(poll.ref, poll.sent)
            self.deliver(self.scheduler.record_get(poll, seen, response, self.now))
        else:
            shown = {ref.backup_id: self.status(ref, poll.sent) for ref in self.backups_of(poll)}
            self.respond_with_list(poll, shown, response)

    @precondition(lambda self: any(isinstance(poll, ListPoll) for poll in self.in_flight))
    @rule(number=which, hidden=st.sets(st.integers(1, 8)), stale=st.sets(st.integers(1, 8)), twice=st.booleans())
    def respond_with_stale_list(self, number: int, hidden: set[int], stale: set[int], twice: bool) -> None:
        """Omit some backups, show others in an old state, and as finished those of which a newer GET is known."""
        poll = self.take(number, ListPoll)
        shown = {}
        for ref in self.backups_of(poll):
            backup = self.scheduler._find_tracked(ref)
            newer = backup is not None and backup.observed_at > poll.sent
            status = "succeeded" if newer else "running" if ref.backup_id in stale else self.status(ref, poll.sent)
            if ref.backup_id not in hidden:
                shown[ref.backup_id] = status
        self.respond_with_list(poll, shown, response_info(900, 0.1), twice=twice)

    @precondition(lambda self: any(poll.etag for poll in self.in_flight))
    @rule(number=which)
    def respond_unchanged(self, number: int) -> None:
        tagged = [poll for poll in self.in_flight if poll.etag]
        poll = tagged[number % len(tagged)]
        self.in_flight.remove(poll)
        self.scheduler.record_unchanged(poll, response_info(seconds=0.05, etag=poll.etag), self.now)

    @precondition(lambda self: self.in_flight)
    @rule(number=which, error=st.sampled_from(TRANSIENT))
    def fail_transiently(self, number: int, error: BackupsError) -> None:
        assert self.fail(self.take(number), error) == [], "a transient error ends no wait"

    @precondition(lambda self: self.in_flight)
    @rule(number=which)
    def fail_not_found(self, number: int) -> None:
        poll = self.take(number)
        if isinstance(poll, GetPoll):
            self.not_found[poll.ref] += 1
        self.fail(poll, NotFoundError(status=404))

    @precondition(lambda self: self.in_flight)
    @rule(number=which, cls=st.sampled_from([PermissionDeniedError, AuthenticationError]))
    def fail_not_allowed(self, number: int, cls: type[PermissionDeniedError]) -> None:
        poll = self.take(number)
        if isinstance(poll, GetPoll):
            self.refused.add(poll.ref)
        elif cls is AuthenticationError:
            self.refused.update(self.backups_of(poll))
        self.fail(poll, cls(status=401))

    @precondition(lambda self: any(not self.scheduler.is_needed(poll) for poll in self.in_flight))
    @rule(number=which)
    def cancel_unneeded(self, number: int) -> None:
        """Do not send a poll whose backups were discarded before its task started."""
        unneeded = [poll for poll in self.in_flight if not self.scheduler.is_needed(poll)]
        poll = unneeded[number % len(unneeded)]
        self.in_flight.remove(poll)
        self.scheduler.cancel_poll(poll, self.now)

    # -- helpers

    def take(self, number: int, kind: type[Poll] | None = None) -> Any:
        chosen = [poll for poll in self.in_flight if kind is None or isinstance(poll, kind)]
        poll = chosen[number % len(chosen)]
        self.in_flight.remove(poll)
        return poll

    def fail(self, poll: Poll, error: BackupsError) -> list[Notification]:
        notifications = self.scheduler.record_failure(poll, error, self.now)
        self.deliver(notifications)
        return notifications

    def status(self, ref: BackupRef, when: float) -> str:
        end, how = self.ends[ref]
        return how if when >= end else "running"

    def observe(self, ref: BackupRef, when: float) -> Any:
        status = self.status(ref, when)
        if status != "running":
            self.shown_final.add((ref, status))
        return observation(ref.backup_id, status, age=20.0, duration=None if status == "running" else 37.0)

    def backups_of(self, poll: ListPoll) -> list[BackupRef]:
        return [ref for ref in self.ends if ref.star_system == poll.star_system]

    def respond_with_list(
        self, poll: ListPoll, shown: dict[int, str], response: ResponseInfo, *, twice: bool = False
    ) -> None:
        entries = [
            list_entry(number, status, None if status == "running" else "2024") for number, status in shown.items()
        ]
        entries = entries * 2 if twice else entries
        seen = {}
        for number in self.scheduler.select_entries(poll, entries):
            backup = self.scheduler._find_tracked(BackupRef(poll.star_system, number))
            if shown[number] != "running" and (backup is None or backup.observed_at < poll.sent):
                self.shown_final.add((BackupRef(poll.star_system, number), shown[number]))
            seen[number] = observation(number, shown[number], duration=None if shown[number] == "running" else 37.0)
        for part in self.scheduler.record_list_in_parts(poll, entries, seen, response, self.now):
            self.deliver(part)

    def deliver(self, notifications: list[Notification]) -> None:
        for subscriber, event in notifications:
            key = (self.subscribers.index(subscriber), event.ref)
            deadline = self.open.pop(key, None)
            assert deadline is not None, "each wait gets one final event, and no one else does"
            match event:
                case WatchExpired():
                    assert self.now >= deadline
                case BackupGone():
                    assert self.not_found[event.ref] >= 2, "only GETs declare a backup gone"
                case BackupSucceeded():
                    assert (event.ref, "succeeded") in self.shown_final
                case BackupFailed():
                    assert (event.ref, "failed") in self.shown_final
                case WatchFailed():
                    assert event.ref in self.refused

    # -- invariants

    @invariant()
    def each_tracked_backup_has_a_next_poll(self) -> None:
        """A GET or a list is scheduled for each tracked backup, or in flight; and its star system will be processed."""
        gets = [poll.ref for poll in self.in_flight if isinstance(poll, GetPoll)]
        for ref in {ref for _, ref in self.open}:
            explanation = self.scheduler.explain(ref, self.now)
            assert explanation is not None
            assert math.isfinite(explanation.due_in)
            backup = self.scheduler._find_tracked(ref)
            assert backup is not None
            assert backup.state is not REQUESTED or ref in gets
        for star_system in self.scheduler._star_systems.values():
            if star_system.tracked:
                assert star_system.queued or math.isfinite(star_system.due) or star_system.requests

    @invariant()
    def counts_are_right(self) -> None:
        """The tracked backups are those with open waits; the requests are those in flight."""
        assert self.scheduler.in_flight == len({ref for _, ref in self.open})
        for star_system in self.scheduler._star_systems.values():
            assert star_system.requests == sum(poll.star_system == star_system.name for poll in self.in_flight)

    def teardown(self) -> None:
        """Once the service works again all waits end, and nothing is kept."""
        for _ in range(3_000):
            for poll in list(self.in_flight):
                self.respond(self.in_flight.index(poll), None, tagged=False)
            if not self.open:
                break
            when = self.scheduler.next_wakeup()
            if when is not None:
                self.now = max(self.now, when)
            self.step(capacity=4)
        assert not self.open, "no backup starves"
        for poll in list(self.in_flight):
            self.respond(self.in_flight.index(poll), None, tagged=False)
        self.step(capacity=4)
        assert is_idle(self.scheduler)


class Learning(Polling):
    def __init__(self) -> None:
        super().__init__()
        self.make(1, {})


class Alone(Polling):
    def __init__(self) -> None:
        super().__init__()
        self.make(2, {"coalesce": False, "learn": False, "jitter": 1})


class Eager(Polling):
    """Lists are measured as cheap, so that a few backups are enough for them."""

    def __init__(self) -> None:
        super().__init__()
        self.make(3, {"maximum": 20.0, "initial": 1.0})
        costs = self.scheduler._shared.costs
        for star_system in STAR_SYSTEMS:
            for planet in (None, "p0", "p1"):
                costs.record_list((star_system, planet), size=1, seconds=0.0)
            costs.record_get(star_system, size=1, seconds=0.0)


_often = settings(max_examples=60, stateful_step_count=50)
TestLearning, TestAlone, TestEager = Learning.TestCase, Alone.TestCase, Eager.TestCase
for _case in (TestLearning, TestAlone, TestEager):
    _case.settings = _often
del _case
