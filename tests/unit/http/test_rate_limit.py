"""The rate limit: slots, spacing, pauses, and recovery."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncbackups._http.messages import Response
from asyncbackups._http.rate_limit import RateLimiter, Throttle
from asyncbackups.policies import Limits
from tests.fake_clock import FakeClock, settle


def make_throttle(per_second: float | None = None, retry_after_maximum: float = 300.0) -> Throttle:
    return Throttle(per_second=per_second, retry_after_maximum=retry_after_maximum)


def starts(subject: Throttle, *, begin: float, until: float) -> list[float]:
    """Start requests as fast as the throttle allows, and return the times."""
    now, found = begin, []
    while now < until:
        wait = subject.time_to_start(now)
        if wait == 0:
            subject.record_start(now)
            found.append(now)
            if not subject.is_limiting:
                break
        now += wait or 1e-9
    return found


def test_no_delay_without_a_limit() -> None:
    """Without a limit or throttling requests start immediately."""
    subject = make_throttle()
    assert not subject.is_limiting
    assert [subject.time_to_start(1.0), subject.current_rate(1.0), subject.remaining_pause(1.0)] == [0.0, math.inf, 0.0]
    subject.record_start(1.0)
    subject.record_start(1.0)
    assert subject.time_to_start(1.0) == 0.0


@given(per_second=st.floats(0.2, 150), seconds=st.floats(1, 8))
@settings(max_examples=50)
def test_starts_per_second_stay_within_the_limit(per_second: float, seconds: float) -> None:
    """No second contains more starts than the limit, rounded up, and nearly all of the limit is used."""
    found = starts(make_throttle(per_second), begin=10.0, until=10.0 + seconds)
    for index, first in enumerate(found):
        assert sum(1 for other in found[index:] if other < first + 1 - 1e-6) <= math.ceil(per_second)
    assert len(found) >= math.floor(per_second * seconds)


def test_late_timer_is_made_up_for_at_high_rates() -> None:
    """Above 200 per second a late start does not delay the following ones."""
    subject = make_throttle(1000)
    subject.record_start(10.0)
    subject.record_start(10.004)
    assert subject.time_to_start(10.004) == 0.0
    slow = make_throttle(100)
    slow.record_start(10.0)
    slow.record_start(10.014)
    assert slow.time_to_start(10.014) == pytest.approx(0.01)


def test_retry_after_pauses_all_requests() -> None:
    """No request starts until the requested time has passed."""
    subject = make_throttle()
    subject.record_throttling(100.0, started=99.0, retry_after=7)
    assert subject.is_limiting
    assert subject.remaining_pause(100.0) == 7.0
    assert subject.remaining_pause(103.0) == 4.0
    assert subject.time_to_start(103.0) == 4.0
    assert subject.time_to_start(107.0) == 0.0
    assert subject.remaining_pause(107.5) == 0.0


def test_retry_after_is_cut_to_its_maximum() -> None:
    """A server that requests a year gets the longest pause that is allowed."""
    subject = make_throttle(retry_after_maximum=60)
    subject.record_throttling(0.0, started=0.0, retry_after=1e12)
    assert subject.remaining_pause(0.0) == 60.0


def test_shorter_pause_does_not_end_a_longer_one() -> None:
    """Of several pauses the longest counts."""
    subject = make_throttle()
    subject.record_throttling(0.0, started=0.0, retry_after=30)
    subject.record_throttling(1.0, started=0.0, retry_after=2)
    assert subject.remaining_pause(1.0) == 29.0


def test_requests_are_spaced_after_a_pause() -> None:
    """Requests do not start in one burst, and are at full speed again after a while."""
    subject = make_throttle()
    for _ in range(20):
        subject.record_start(100.0)
    subject.record_throttling(100.5, started=100.0, retry_after=5)
    found = starts(subject, begin=101.0, until=140.0)
    assert found[0] == 105.5
    first_second = [start for start in found if start < 106.5]
    assert 5 <= len(first_second) <= 40
    assert max(found) < 120
    assert not subject.is_limiting


def test_rate_is_cut_after_a_429_and_recovers() -> None:
    """Without `Retry-After` the rate drops below the measured one, recovers, and exceeds it."""
    subject = make_throttle()
    for index in range(100):
        subject.record_start(index / 50)
    rate = subject.record_throttling(2.0, started=1.9, retry_after=None)
    assert rate == pytest.approx(0.7 * 50, rel=0.1)
    assert subject.remaining_pause(2.0) == 0.0
    assert subject.time_to_start(2.0) == pytest.approx(1 / rate)
    assert rate < subject.current_rate(4.0) < subject.current_rate(6.0)
    assert subject.current_rate(20.0) > 100
    assert subject.time_to_start(20.0) == 0.0
    assert not subject.is_limiting
    assert subject.current_rate(20.0) == math.inf


def test_rejected_burst_cuts_the_rate_once() -> None:
    """Responses to requests sent before the cut do not cut again; one to a later request does."""
    subject = make_throttle()
    for _ in range(32):
        subject.record_start(10.0)
    first = subject.record_throttling(10.1, started=10.0, retry_after=None)
    assert first is not None
    assert subject.record_throttling(10.1, started=10.0, retry_after=None) is None
    assert subject.current_rate(10.1) == pytest.approx(first)
    second = subject.record_throttling(11.0, started=10.5, retry_after=None)
    assert second is not None
    assert second < first


def test_rate_has_a_minimum() -> None:
    """However often it is cut, one request every two seconds remains."""
    subject = make_throttle()
    for index in range(30):
        subject.record_throttling(float(index), started=float(index), retry_after=None)
    assert subject.current_rate(29.0) == 0.5


def test_configured_limit_stays_after_recovery() -> None:
    """The recovered rate never exceeds the configured limit."""
    subject = make_throttle(per_second=4)
    subject.record_throttling(0.0, started=0.0, retry_after=None)
    assert subject.time_to_start(60.0) == 0.0
    assert subject.current_rate(60.0) == 4
    assert subject.is_limiting


def make_limiter(clock: FakeClock, **limits: float) -> RateLimiter:
    return RateLimiter(Limits(**limits), retry_after_maximum=300.0, clock=clock)  # type: ignore[arg-type]


def throttle(subject: RateLimiter, retry_after: float | None = None, status: int = 429) -> None:
    """Record a response to a request that started at the beginning."""
    headers = CIMultiDict({} if retry_after is None else {"Retry-After": str(retry_after)})
    response = Response(status=status, headers=headers, body=b"", method="GET", url="https://db.example/")
    subject.record_response(response, started=1000.0)


async def acquire_slots(subject: RateLimiter, count: int) -> list[asyncio.Task[float]]:
    tasks = [asyncio.create_task(subject.acquire_slot()) for _ in range(count)]
    await settle()
    return tasks


def count_done(tasks: list[asyncio.Task[float]]) -> int:
    return sum(task.done() for task in tasks)


async def finish(tasks: list[asyncio.Task[float]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def free_slots(subject: RateLimiter, concurrency: int) -> bool:
    """Return True if every slot can be acquired, and no more."""
    tasks = await acquire_slots(subject, concurrency + 1)
    free = count_done(tasks) == concurrency
    for _ in range(count_done(tasks)):
        subject.release_slot()
    await settle()
    subject.release_slot()
    await finish(tasks)
    return free


async def test_requests_in_flight_are_limited(clock: FakeClock) -> None:
    """The next request starts when one ends, in order."""
    subject = make_limiter(clock, concurrency=2)
    tasks = await acquire_slots(subject, 4)
    assert [task.done() for task in tasks] == [True, True, False, False]
    subject.release_slot()
    await settle()
    assert [task.done() for task in tasks] == [True, True, True, False]
    await finish(tasks)


async def test_requests_per_second_are_spaced(clock: FakeClock) -> None:
    """Starts are spaced evenly, in order, with one timer for all."""
    subject = make_limiter(clock, concurrency=10, requests_per_second=2)
    tasks = await acquire_slots(subject, 4)
    assert count_done(tasks) == 1
    assert clock.pending_timers == 1
    await clock.run(0.5)
    assert [task.done() for task in tasks] == [True, True, False, False]
    await clock.run(1.0)
    assert [task.result() - 1000 for task in tasks] == [0, 0.5, 1.0, 1.5]


async def test_retry_after_is_logged_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """A `Retry-After` of one response pauses all requests; a burst of them is logged once."""
    subject = make_limiter(clock, concurrency=10)
    await acquire_slots(subject, 3)
    with caplog.at_level(logging.WARNING, "asyncbackups"):
        for _ in range(3):
            throttle(subject, retry_after=5)
    assert [record.getMessage() for record in caplog.records] == [
        "throttled by the server: pausing for 5.0 s, then 4.2 requests per second"
    ]
    assert subject.remaining_pause(clock.monotonic()) == 5.0
    tasks = await acquire_slots(subject, 2)
    await clock.run(4.9)
    assert count_done(tasks) == 0
    await clock.run(0.2)
    assert count_done(tasks) == 1
    await clock.run(1)
    assert count_done(tasks) == 2


async def test_pause_extended_during_a_wait(clock: FakeClock) -> None:
    """A request that already waits respects the extension."""
    subject = make_limiter(clock, concurrency=10)
    throttle(subject, retry_after=5)
    tasks = await acquire_slots(subject, 1)
    await clock.run(3)
    throttle(subject, retry_after=10)
    await clock.run(9.9)
    assert count_done(tasks) == 0
    await clock.run(0.2)
    assert count_done(tasks) == 1


async def test_cancelled_while_waiting_for_a_slot(clock: FakeClock) -> None:
    """A cancelled caller takes no slot."""
    subject = make_limiter(clock, concurrency=1)
    tasks = await acquire_slots(subject, 2)
    await finish(tasks[1:])
    subject.release_slot()
    assert await free_slots(subject, 1)


async def test_cancelled_while_waiting_for_its_turn(clock: FakeClock) -> None:
    """A caller cancelled during a pause releases its slot, at the head of the queue and behind."""
    subject = make_limiter(clock, concurrency=3)
    throttle(subject, retry_after=5)
    tasks = await acquire_slots(subject, 3)
    await finish(tasks[:1])
    await finish(tasks[2:])
    await clock.run(6)
    assert tasks[1].done()
    subject.release_slot()
    await clock.run(60)
    assert clock.pending_timers == 0
    assert await free_slots(subject, 3)


async def test_slot_passed_to_a_cancelled_caller_is_not_lost(clock: FakeClock) -> None:
    """Cancelling in the same turn in which a slot becomes free loses nothing."""
    subject = make_limiter(clock, concurrency=1)
    tasks = await acquire_slots(subject, 3)
    subject.release_slot()
    tasks[1].cancel()
    await settle()
    assert tasks[2].done()
    assert not tasks[2].cancelled()
    subject.release_slot()
    assert await free_slots(subject, 1)


def test_new_event_loop_starts_with_free_slots(clock: FakeClock) -> None:
    """Requests of an event loop that has ended take no slot in the next one; the pause still applies."""
    subject = make_limiter(clock, concurrency=1)

    async def first() -> None:
        subject.bind_loop()
        subject.bind_loop()
        await finish(await acquire_slots(subject, 2))
        throttle(subject, retry_after=5)

    async def second() -> None:
        subject.bind_loop()
        assert subject.remaining_pause(clock.monotonic()) == 5.0
        clock.advance(60)
        assert await free_slots(subject, 1)

    asyncio.run(first())
    asyncio.run(second())
