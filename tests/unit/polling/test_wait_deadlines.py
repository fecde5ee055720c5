"""The deadlines of waits: timers, the final poll, and the expiry."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.tracked import GetPoll
from asyncbackups._polling.wait_deadlines import DeadlineTimers
from asyncbackups.errors import NotFoundError, ServiceUnavailableError
from asyncbackups.events import BackupSucceeded, WatchExpired
from tests.unit.polling.object_sizes import memory_of
from tests.unit.polling.scenario import (
    CHEAP,
    START,
    RecordingSubscriber,
    Scenario,
    deliver_all,
    is_idle,
    observation,
    response_info,
    scheduler,
)


@attrs.define(eq=False)
class Wait:
    open: bool = True


@pytest.fixture
def deadlines() -> DeadlineTimers[Wait]:
    return DeadlineTimers(lambda wait: wait.open)


def end_early(deadlines: DeadlineTimers[Wait], wait: Wait) -> None:
    wait.open = False
    deadlines.count_ended()


def scenario(**policy: Any) -> Scenario:
    return Scenario(scheduler(**policy))


# -- timers


@given(now=st.floats(0, 1e7), left=st.floats(0, 1e7))
def test_deadlines_are_rounded_up_slightly(now: float, left: float) -> None:
    """No deadline is early, and none is late by more than a second or a 256th of the time left."""
    rounded = DeadlineTimers[Wait](lambda wait: wait.open).round_deadline(now + left, now=now)
    assert now + left <= rounded <= now + left + min(1.0, max(0.001, left / 256)) + 1e-6


def test_waits_expire_in_order(deadlines: DeadlineTimers[Wait]) -> None:
    """Waits come out by deadline; a wait whose deadline has not passed stays."""
    late, early, never = Wait(), Wait(), Wait()
    for wait, when in ((late, 20.0), (early, 10.0), (never, 1e6)):
        deadlines.add(wait, when, now=0.0)
    assert deadlines.next_time() == pytest.approx(10.0, abs=0.1)
    assert deadlines.pop_due(30.0, limit=10) == [early, late]
    assert len(deadlines) == 1


def test_many_waits_expire_in_portions(deadlines: DeadlineTimers[Wait]) -> None:
    """No more waits come out at once than the limit, and none is lost."""
    waits = [Wait() for _ in range(10)]
    for wait in waits:
        deadlines.add(wait, 10.0, now=0.0)
    portions = []
    for _ in range(4):
        portions.append(deadlines.pop_due(11.0, limit=3))
        for wait in portions[-1]:
            wait.open = False
    assert [len(portion) for portion in portions] == [3, 3, 3, 1]
    assert [wait for portion in portions for wait in portion] == waits
    assert deadlines.next_time() == math.inf


def test_ended_waits_do_not_expire(deadlines: DeadlineTimers[Wait]) -> None:
    """A wait that ended early does not come out, although its slot may be kept for a while."""
    ended, open_wait, later = Wait(), Wait(), Wait()
    deadlines.add(ended, 10.0, now=0.0)
    deadlines.add(open_wait, 10.0, now=0.0)
    deadlines.add(later, 1e6, now=0.0)
    end_early(deadlines, ended)
    assert len(deadlines) == 2
    assert deadlines.pop_due(11.0, limit=10) == [open_wait]
    assert len(deadlines) == 1


def test_no_deadline_is_kept_after_the_last_wait(deadlines: DeadlineTimers[Wait]) -> None:
    """There is no time to wake up for, and no memory in use, after all waits have ended."""
    waits = [Wait() for _ in range(5)]
    for wait in waits:
        deadlines.add(wait, 86400.0, now=0.0)
    for wait in waits:
        end_early(deadlines, wait)
    assert deadlines.next_time() == math.inf
    assert memory_of(deadlines) < 2_000


def test_memory_of_deadlines_is_proportional_to_open_waits(deadlines: DeadlineTimers[Wait]) -> None:
    """However many waits with far deadlines end early, about as many are kept as are open."""
    waits = [Wait() for _ in range(100)]
    for number, wait in enumerate(waits):
        deadlines.add(wait, 86400.0 + number, now=0.0)
    for number in range(5_000):
        ended = Wait()
        deadlines.add(ended, 86400.0 + number % 7, now=0.0)
        end_early(deadlines, ended)
    assert memory_of(deadlines) < 40_000
    assert deadlines.pop_due(1e6, limit=1_000) == waits


def test_equal_deadlines_share_one_number(deadlines: DeadlineTimers[Wait]) -> None:
    """A million deadlines in one slot are one number in memory."""
    first, second = (deadlines.round_deadline(86400.0 + few, now=0.0) for few in (0.1, 0.2))
    assert first is second


# -- waits


def test_deadline_ends_a_wait() -> None:
    """Longer waits for the backup continue; the event has the last observation."""
    run, other = scenario(jitter=0.0), RecordingSubscriber()
    run.add(7, deadline_in=100.0)
    run.add(7, deadline_in=1_000.0, subscriber=other)
    run.record_get(*run.take_due())
    run.now += 101.0
    (event,) = run.expire_waits()
    assert isinstance(event, WatchExpired)
    assert (event.backup.status, event.polls, event.elapsed) == ("running", 1, 101.0)
    assert other.events == []
    run.now += 1_000.0
    (event,) = run.expire_waits()
    assert event is other.events[0]
    assert is_idle(run.scheduler)


def test_wait_that_expires_during_an_outage_has_its_error() -> None:
    """After polls succeed again the event has no error."""
    run, down = scenario(jitter=0.0), ServiceUnavailableError(status=503)
    run.add(7, deadline_in=100.0)
    run.add(7, deadline_in=1_000.0, subscriber=RecordingSubscriber())
    deliver_all(run.scheduler.record_failure(*run.take_due(), down, run.now))
    run.now += 101.0
    (event,) = run.expire_waits()
    assert event.error is down
    run.record_get(*run.wait_until_due())
    run.now += 1_000.0
    (event,) = run.expire_waits()
    assert event.error is None


def test_scheduler_wakes_up_for_a_deadline() -> None:
    """Also if nothing else is due before."""
    run = scenario()
    run.add(7, deadline_in=0.5)
    run.take_due()
    assert run.scheduler.next_wakeup() == pytest.approx(START + 0.45, abs=0.01), "its last look"
    run.now += 0.46
    assert run.scheduler.expire_waits(run.now) == []
    assert run.scheduler.next_wakeup() == pytest.approx(START + 0.5, abs=0.01)


@pytest.mark.parametrize(("deadline_in", "polled_at"), [(3.0, 2.7), (30.0, 27.0), (4_000.0, 3_995.0)])
def test_wait_is_polled_a_last_time_before_its_deadline(deadline_in: float, polled_at: float) -> None:
    """A backup that has succeeded must not be reported as unfinished because its next poll was scheduled for later."""
    run = scenario(initial=5.0, maximum=3_600.0, jitter=0.0)
    run.add(7, started_at=START, deadline_in=deadline_in)
    while run.now < START + polled_at - 1e-9:
        for poll in run.wait_until_due():
            last = run.now
            events = run.record_get(poll, "running" if run.now < START + polled_at - 1e-9 else "succeeded")
    assert last == pytest.approx(START + polled_at, abs=1.0)
    assert [type(event) for event in events] == [BackupSucceeded]


def test_final_poll_of_many_waits_is_one_list() -> None:
    """If a list covers them, it is sent once."""
    run = scenario(initial=5.0, maximum=3_600.0, jitter=0.0)
    run.add(*range(50), started_at=START, deadline_in=400.0)
    polled = []
    while run.scheduler.in_flight:
        for poll in run.take_due():
            if isinstance(poll, GetPoll):  # one that should have ended: lists may be behind
                run.record_get(poll)
                continue
            polled.append(run.now - START)
            run.record_list(poll, dict.fromkeys(range(50), "running"))
        run.now = run.scheduler.next_wakeup()
        run.expire_waits()
    assert [when for when in polled if when > 390.0] == [pytest.approx(395.0, abs=1.6)]
    assert [type(event) for event in run.subscriber.events] == [WatchExpired] * 50


def test_final_poll_honors_retry_after() -> None:
    """A `Retry-After` may delay it beyond the deadline."""
    run = scenario(initial=5.0, jitter=0.0)
    run.add(7, deadline_in=30.0)
    run.record_get(run.take_due()[0], response=response_info(retry_after=300.0))
    while run.scheduler.in_flight:
        run.now = run.scheduler.next_wakeup()
        assert run.take_due() == []
        run.expire_waits()
    assert run.now == pytest.approx(START + 30.0, abs=0.3)


def test_final_poll_does_not_hurry_the_confirmation_of_a_404() -> None:
    """Two GETs that find nothing are some seconds apart, also before a deadline."""
    run, polled = scenario(initial=5.0, jitter=0.0), []
    run.add(7, deadline_in=25.0)
    run.add(7, deadline_in=25.3, subscriber=RecordingSubscriber())
    run.record_get(run.take_due()[0], age=0.0)
    while run.scheduler.in_flight:
        for poll in run.take_due():
            polled.append(run.now)
            if run.now < START + 19.0:
                run.record_get(poll, age=run.now - START)
            else:
                deliver_all(run.scheduler.record_failure(poll, NotFoundError(status=404), run.now))
        run.now = run.scheduler.next_wakeup() or run.now
        run.expire_waits()
    missing = [when for when in polled if when >= START + 19.0]
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(missing))


def test_no_final_poll_after_a_recent_one() -> None:
    """Nor while a poll is in flight."""
    run = scenario(initial=5.0, jitter=0.0)
    run.add(7, 8, deadline_in=10.0)
    first, second = run.take_due()
    run.now += 9.2
    run.scheduler.record_get(attrs.evolve(first, sent=run.now), observation(7, age=0.0), CHEAP, run.now)
    assert (run.expire_waits(), run.take_due()) == ([], [])
    run.record_get(second, age=0.0)
    run.now += 1.0
    assert len(run.expire_waits()) == 2


def test_very_many_waits_expire_in_portions() -> None:
    """A million waits that expire together do not block everything else."""
    run = scenario()
    run.add(*range(2_500), deadline_in=10.0)
    run.now += 11.0
    portions = [len(run.scheduler.expire_waits(run.now)) for _ in range(4)]
    assert portions == [1_000, 1_000, 500, 0]
    assert is_idle(run.scheduler)


def test_wait_may_expire_while_a_request_is_in_flight() -> None:
    """The late response ends no wait twice."""
    run = scenario()
    run.add(7, deadline_in=10.0)
    (poll,) = run.take_due()
    run.now += 11.0
    assert len(run.expire_waits()) == 1
    assert run.record_get(poll, "succeeded") == []
    assert is_idle(run.scheduler)
