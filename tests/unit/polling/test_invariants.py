"""What holds for the scheduler whatever happens, in whatever order: a state machine that lies, lags and fails."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncbackups._polling.scheduler import Notification
from asyncbackups._polling.tracked import ASKED, GetPoll, ListPoll, Poll, ResponseCost
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
from tests.unit.polling.worlds import START, Entry, Waiter, leftovers, scheduler, sighting

STAR_SYSTEMS = ("sun", "vega", "deneb")
PASSING: list[BackupsError] = [
    ServiceUnavailableError(status=503),
    RateLimitedError(status=429, retry_after=20.0),
    AnswerTimeoutError("slow"),
    ConnectError("refused"),
    ProtocolError("garbage"),
]
refs = st.builds(BackupRef, st.sampled_from(STAR_SYSTEMS), st.integers(1, 8))
which = st.integers(0, 1_000)


class Polling(RuleBasedStateMachine):
    """The world, as the server knows it, beside the scheduler that asks about it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.waiters = [Waiter() for _ in range(3)]
        self.under_way: list[Poll] = []
        self.ends: dict[BackupRef, tuple[float, str]] = {}  # when each backup ends, and how
        self.open: dict[tuple[int, BackupRef], float] = {}  # who waits, and until when
        self.told: Counter[tuple[int, BackupRef]] = Counter()
        self.not_found: Counter[BackupRef] = Counter()
        self.shown_final: set[tuple[BackupRef, str]] = set()
        self.refused: set[BackupRef] = set()
        self.tags = itertools.count()

    def make(self, seed: int, policy: dict[str, Any]) -> None:
        self.scheduler = scheduler(seed, **policy)

    # -- what callers do

    @rule(
        star_system=st.sampled_from(STAR_SYSTEMS),
        ids=st.sampled_from([range(1, 9), range(1, 5), range(3, 9, 2), range(6, 7)]),
        who=st.integers(0, 2),
        lasting=st.sampled_from([3.0, 300.0, 1e5]),
        age=st.none() | st.just(7.0),
    )
    def add(self, star_system: str, ids: range, who: int, lasting: float, age: float | None) -> None:
        for number in ids:
            self.add_one(BackupRef(star_system, number), who, lasting, age)

    def add_one(self, ref: BackupRef, who: int, lasting: float, age: float | None) -> None:
        planet = f"p{ref.backup_id % 2}" if ref.backup_id > 2 else None
        self.ends.setdefault(ref, (self.now + 37.0 * ref.backup_id, "failed" if ref.backup_id == 5 else "succeeded"))
        born = None if age is None else self.now - age
        deadline = self.now + lasting
        new = self.scheduler.add(ref, self.waiters[who], now=self.now, deadline=deadline, planet=planet, born=born)
        assert new is ((who, ref) not in self.open), "adding twice is adding once"
        if new:
            self.open[who, ref] = deadline

    @rule(ref=refs, who=st.integers(0, 2))
    def discard(self, ref: BackupRef, who: int) -> None:
        assert self.scheduler.discard(ref, self.waiters[who]) is ((who, ref) in self.open)
        self.open.pop((who, ref), None)

    @rule(who=st.integers(0, 2))
    def leave(self, who: int) -> None:
        self.scheduler.discard_all(self.waiters[who], STAR_SYSTEMS)
        self.open = {key: deadline for key, deadline in self.open.items() if key[0] != who}

    # -- what time does

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 30.0, 400.0]), room=st.integers(0, 6))
    def go_on(self, seconds: float, room: int) -> None:
        self.now += seconds
        self.step(room)

    @rule(room=st.integers(1, 6))
    def go_on_to_what_is_due(self, room: int) -> None:
        when = self.scheduler.next_deadline()
        if when is not None:
            self.now = max(self.now, when)
        self.step(room)

    def step(self, room: int) -> None:
        self.tell(self.scheduler.expire(self.now))
        first = self.scheduler.next_deadline()
        left_over = bool(self.scheduler._ready)
        polls = self.scheduler.due(self.now, room=room)
        assert len(polls) <= room, "the budget holds"
        assert not polls or left_over or (first is not None and first <= self.now), "no poll before it is due"
        for poll in polls:
            assert poll.sent == self.now
            if isinstance(poll, ListPoll):
                batch = self.scheduler._star_systems[poll.star_system]._agenda.batches._in_use[poll.planet]
                assert batch.ripe <= self.now, "nor along with others before it may be"
        self.under_way += polls

    # -- what the server answers

    @precondition(lambda self: self.under_way)
    @rule(number=which, retry_after=st.sampled_from([None, None, 0.0, 40.0]), tagged=st.booleans())
    def answer(self, number: int, retry_after: float | None, tagged: bool) -> None:
        """Tell the truth, as it was when the request left."""
        poll = self.take(number)
        etag = f'"{next(self.tags)}"' if tagged else None
        cost = ResponseCost(size=400, seconds=0.1, retry_after=retry_after, etag=etag)
        if isinstance(poll, GetPoll):
            self.not_found[poll.ref] = 0
            seen = self.seen(poll.ref, poll.sent)
            self.tell(self.scheduler.got(poll, seen, cost, self.now))
        else:
            self.list_shows(poll, {ref.backup_id: self.status(ref, poll.sent) for ref in self.listed(poll)}, cost)

    @precondition(lambda self: any(isinstance(poll, ListPoll) for poll in self.under_way))
    @rule(number=which, hidden=st.sets(st.integers(1, 8)), stale=st.sets(st.integers(1, 8)), twice=st.booleans())
    def list_that_lags(self, number: int, hidden: set[int], stale: set[int], twice: bool) -> None:
        """Leave some out, show others as they were long ago, and one that a newer get told of as finished."""
        poll = self.take(number, ListPoll)
        shown = {}
        for ref in self.listed(poll):
            flight = self.scheduler._find(ref)
            newer = flight is not None and flight.told > poll.sent
            told = "succeeded" if newer else "running" if ref.backup_id in stale else self.status(ref, poll.sent)
            if ref.backup_id not in hidden:
                shown[ref.backup_id] = told
        self.list_shows(poll, shown, ResponseCost(size=900, seconds=0.1), twice=twice)

    @precondition(lambda self: any(poll.etag for poll in self.under_way))
    @rule(number=which)
    def nothing_new(self, number: int) -> None:
        tagged = [poll for poll in self.under_way if poll.etag]
        poll = tagged[number % len(tagged)]
        self.under_way.remove(poll)
        self.scheduler.unchanged(poll, ResponseCost(seconds=0.05, etag=poll.etag), self.now)

    @precondition(lambda self: self.under_way)
    @rule(number=which, error=st.sampled_from(PASSING))
    def fault(self, number: int, error: BackupsError) -> None:
        assert self.fail(self.take(number), error) == [], "what may heal ends nothing"

    @precondition(lambda self: self.under_way)
    @rule(number=which)
    def not_there(self, number: int) -> None:
        poll = self.take(number)
        if isinstance(poll, GetPoll):
            self.not_found[poll.ref] += 1
        self.fail(poll, NotFoundError(status=404))

    @precondition(lambda self: self.under_way)
    @rule(number=which, cls=st.sampled_from([PermissionDeniedError, AuthenticationError]))
    def not_allowed(self, number: int, cls: type[PermissionDeniedError]) -> None:
        poll = self.take(number)
        if isinstance(poll, GetPoll):
            self.refused.add(poll.ref)
        elif cls is AuthenticationError:
            self.refused.update(self.listed(poll))
        self.fail(poll, cls(status=401))

    # -- how that is done

    def take(self, number: int, kind: type[Poll] | None = None) -> Any:
        chosen = [poll for poll in self.under_way if kind is None or isinstance(poll, kind)]
        poll = chosen[number % len(chosen)]
        self.under_way.remove(poll)
        return poll

    def fail(self, poll: Poll, error: BackupsError) -> list[Notification]:
        news = self.scheduler.failed(poll, error, self.now)
        self.tell(news)
        return news

    def status(self, ref: BackupRef, when: float) -> str:
        end, how = self.ends[ref]
        return how if when >= end else "running"

    def seen(self, ref: BackupRef, when: float) -> Any:
        status = self.status(ref, when)
        if status != "running":
            self.shown_final.add((ref, status))
        return sighting(ref.backup_id, status, age=20.0, duration=None if status == "running" else 37.0)

    def listed(self, poll: ListPoll) -> list[BackupRef]:
        return [ref for ref in self.ends if ref.star_system == poll.star_system]

    def list_shows(self, poll: ListPoll, shown: dict[int, str], cost: ResponseCost, *, twice: bool = False) -> None:
        entries = [Entry(number, status, None if status == "running" else "2024") for number, status in shown.items()]
        entries = entries * 2 if twice else entries
        seen = {}
        for number in self.scheduler.wanted(poll, entries):
            flight = self.scheduler._find(BackupRef(poll.star_system, number))
            if shown[number] != "running" and (flight is None or flight.told < poll.sent):
                self.shown_final.add((BackupRef(poll.star_system, number), shown[number]))
            seen[number] = sighting(number, shown[number], duration=None if shown[number] == "running" else 37.0)
        self.tell(self.scheduler.listed(poll, entries, seen, cost, self.now))

    def tell(self, news: list[Notification]) -> None:
        for waiter, event in news:
            key = (self.waiters.index(waiter), event.ref)
            deadline = self.open.pop(key, None)
            assert deadline is not None, "one final event for each wait, and none for who does not wait"
            match event:
                case WatchExpired():
                    assert self.now >= deadline
                case BackupGone():
                    assert self.not_found[event.ref] >= 2, "only gets say that a backup is gone"
                case BackupSucceeded():
                    assert (event.ref, "succeeded") in self.shown_final
                case BackupFailed():
                    assert (event.ref, "failed") in self.shown_final
                case WatchFailed():
                    assert event.ref in self.refused

    # -- what always holds

    @invariant()
    def everything_in_flight_will_be_asked_about(self) -> None:
        """Each flight waits for its time, or is being asked about, or a list is or will be asked for it."""
        under_way = [poll.ref for poll in self.under_way if isinstance(poll, GetPoll)]
        for star_system in self.scheduler._star_systems.values():
            for flight in star_system.tracked.values():
                if flight.due == ASKED:
                    assert flight.ref in under_way
                elif flight.due == math.inf:
                    batch = star_system._agenda.batches.of(flight)
                    assert batch is not None
                    assert math.isfinite(batch.due) or batch.poll in self.under_way
                    assert batch.planet is None or batch.members[flight.backup_id] is flight
            if star_system.tracked:
                assert star_system.queued or math.isfinite(star_system.due) or star_system.requests

    @invariant()
    def counts_are_right(self) -> None:
        """What is in flight is what somebody waits for, and requests are those under way."""
        assert self.scheduler.in_flight == len({ref for _, ref in self.open})
        for star_system in self.scheduler._star_systems.values():
            assert star_system.requests == sum(poll.star_system == star_system.name for poll in self.under_way)

    def teardown(self) -> None:
        """Once the server is well again everything ends, and nothing is kept."""
        for _ in range(3_000):
            for poll in list(self.under_way):
                self.answer(self.under_way.index(poll), None, tagged=False)
            if not self.open:
                break
            when = self.scheduler.next_deadline()
            if when is not None:
                self.now = max(self.now, when)
            self.step(room=4)
        assert not self.open, "nothing starves"
        for poll in list(self.under_way):
            self.answer(self.under_way.index(poll), None, tagged=False)
        self.step(room=4)
        assert not any(leftovers(self.scheduler).values())


class Learning(Polling):
    def __init__(self) -> None:
        super().__init__()
        self.make(1, {})


class Alone(Polling):
    def __init__(self) -> None:
        super().__init__()
        self.make(2, {"coalesce": False, "learn": False, "jitter": 1})


class Eager(Polling):
    """Lists are taken for cheap, so that few flights are enough for them."""

    def __init__(self) -> None:
        super().__init__()
        self.make(3, {"maximum": 20.0, "initial": 1.0})
        for star_system in STAR_SYSTEMS:
            for planet in (None, "p0", "p1"):
                self.scheduler._know.costs.listed((star_system, planet), size=1, seconds=0.0)
            self.scheduler._know.costs.got(star_system, size=1, seconds=0.0)


_often = settings(max_examples=60, stateful_step_count=50)
TestLearning, TestAlone, TestEager = Learning.TestCase, Alone.TestCase, Eager.TestCase
for _case in (TestLearning, TestAlone, TestEager):
    _case.settings = _often
del _case
