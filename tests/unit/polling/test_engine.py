"""The engine: one task that asks what is due, and tells who waits, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from typing import Any

import pytest

from asyncbackups._api import pagination as lists
from asyncbackups._http.messages import RequestKind
from asyncbackups._polling.engine import Engine
from asyncbackups.errors import AnswerTimeoutError, ClientClosedError, ConfigurationError, EngineError, ProtocolError
from asyncbackups.events import BackupSucceeded, FinalEvent, WatchExpired, WatchFailed
from asyncbackups.models import Backup, BackupRef, Progress, progress_of
from tests.fake_clock import FakeClock, settle
from tests.unit.service import Service


class Waiter:
    def __init__(self) -> None:
        self.events: list[FinalEvent] = []

    def deliver(self, event: FinalEvent) -> None:
        self.events.append(event)


@pytest.fixture
def service(clock: FakeClock) -> Service:
    return Service(clock)


def tasks() -> list[str]:
    """Return the names of the tasks that run, the test's own aside."""
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_backup_is_polled_until_it_has_ended(clock: FakeClock, service: Service) -> None:
    """And not any more after that."""
    engine, waiter = service.engine(), Waiter()
    (ref,) = service.begin(7)
    assert engine.track(ref, waiter, deadline=1e4)
    await clock.run(100)
    service.end(ref)
    await clock.run(100)
    (event,) = waiter.events
    assert isinstance(event, BackupSucceeded)
    assert event.polls == len(service.asked)
    await clock.run(1_000)
    assert event.polls == len(service.asked)
    await engine.close()


async def test_waits_for_one_backup_share_its_polls(clock: FakeClock, service: Service) -> None:
    """A thousand who wait cost no more requests than one."""
    engine, waiters = service.engine(), [Waiter() for _ in range(1_000)]
    (ref,) = service.begin(7)
    for waiter in waiters:
        engine.track(ref, waiter, deadline=1e4)
    assert engine.in_flight == 1
    await clock.run(100)
    service.end(ref)
    await clock.run(100)
    assert {len(waiter.events) for waiter in waiters} == {1}
    assert len(service.asked) < 12
    await engine.close()


async def test_tasks_number_with_requests_and_not_with_backups(clock: FakeClock, service: Service) -> None:
    """Ten thousand backups in flight are one task while nothing is asked."""
    engine = service.engine(concurrency=4, coalesce=False)
    service.gate.clear()
    for ref in service.begin(*range(10_000)):
        engine.track(ref, Waiter(), deadline=1e4)
    await settle()
    assert len(tasks()) == 1 + 3  # one star system leaves the last place to others
    await engine.close()
    assert tasks() == []


async def test_idle_means_idle(clock: FakeClock, service: Service) -> None:
    """No timer and no wake-up while nothing is in flight, or all that is left to come are answers."""
    engine, waiter = service.engine(), Waiter()
    (ref,) = service.begin(7)
    engine.track(ref, waiter, deadline=1e5)
    await settle()
    service.end(ref)
    await clock.run(100)
    assert len(waiter.events) == 1
    assert clock.pending_timers == 0
    engine.track(BackupRef("sun", 8), waiter, deadline=1e5)
    await settle()
    assert engine.untrack(BackupRef("sun", 8), waiter)
    await settle()
    assert clock.pending_timers == 0
    await engine.close()


async def test_stall_does_not_come_back_as_a_burst(clock: FakeClock, service: Service) -> None:
    """A laptop that slept for an hour asks little by little."""
    engine = service.engine(coalesce=False)
    for number in range(100):
        (ref,) = service.begin(number, star_system=f"s{number}")
        engine.track(ref, Waiter(), deadline=1e6)
    await clock.run(30)
    before = len(service.asked)
    clock.advance(3_600)
    await settle()
    assert len(service.asked) - before < 30
    await clock.run(60)
    assert len(service.asked) - before >= 100
    await engine.close()


async def test_final_event_leaves_within_a_turn_of_its_answer(clock: FakeClock, service: Service) -> None:
    """Nothing stands between the answer and who waits for it."""
    engine, waiter = service.engine(), Waiter()
    (ref,) = service.begin(7)
    service.end(ref)
    service.gate.clear()
    engine.track(ref, waiter, deadline=1e4)
    await settle()
    service.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(waiter.events) == 1
    await engine.close()


async def test_long_list_is_processed_in_slices(clock: FakeClock, service: Service) -> None:
    """Ten thousand backups that end in one list leave room for others in between."""
    engine, waiter = service.engine(), Waiter()
    refs = service.begin(*range(10_000))
    service.end(*refs)
    for ref in refs:
        engine.track(ref, waiter, deadline=1e4)
    seen: list[int] = []
    while len(waiter.events) < 10_000:
        await asyncio.sleep(0)
        seen.append(len(waiter.events))
    assert service.count(RequestKind.GET) == 0
    assert max(later - sooner for sooner, later in itertools.pairwise(seen)) <= 512
    await engine.close()


async def test_what_is_added_while_a_list_is_processed_is_not_lost(clock: FakeClock, service: Service) -> None:
    """Each gets its one event, whenever it came."""
    engine, waiter, late = service.engine(), Waiter(), Waiter()
    refs = service.begin(*range(2_000))
    service.end(*refs)
    for ref in refs:
        engine.track(ref, waiter, deadline=1e4)
    while not waiter.events:
        await asyncio.sleep(0)
    for ref in refs:
        engine.track(ref, late, deadline=1e4)
    await clock.run(100, turns=100)
    assert (len(waiter.events), len(late.events)) == (2_000, 2_000)
    await engine.close()


async def test_entity_tags_are_used(clock: FakeClock, service: Service) -> None:
    """Unchanged backups and lists cost an empty answer, and still count as polls."""
    service.tagged = True
    engine, waiter = service.engine(learn=False), Waiter()
    (single,) = service.begin(7, star_system="vega")
    many = service.begin(*range(20))
    for ref in (single, *many):
        engine.track(ref, waiter, deadline=1e4)
    await clock.run(200)
    tagged = [request.kind for request in service.asked if request.etag]
    assert {RequestKind.GET, RequestKind.LIST} <= set(tagged)
    service.end(single, *many)
    await clock.run(200)
    assert len(waiter.events) == 21
    assert all(event.polls > 3 for event in waiter.events)
    await engine.close()


async def test_retry_after_is_obeyed(clock: FakeClock, service: Service) -> None:
    """What the server asks for on an answer in progress is when it is asked again."""
    service.headers["Retry-After"] = "40"
    engine = service.engine()
    (ref,) = service.begin(7)
    engine.track(ref, Waiter(), deadline=1e4)
    await clock.run(100)
    assert len(service.asked) == 3
    explained = engine.explain(ref)
    assert explained is not None
    assert explained.due_in == 20.0
    await engine.close()


async def test_clock_of_the_server_counts(clock: FakeClock, service: Service) -> None:
    """A server whose clock is hours ahead of ours is believed about the age of its backups."""
    engine = service.engine()
    (ref,) = service.begin(7)
    engine.track(ref, Waiter(), deadline=1e4)
    clock._utc = clock._utc.replace(hour=3)  # ours goes wrong; the answers' dates go with the server's
    service.clock = FakeClock(clock.monotonic())
    await settle()
    explained = engine.explain(ref)
    assert explained is not None
    assert explained.age == pytest.approx(0.0, abs=1.0)
    await engine.close()


async def test_faults_end_nothing_but_deadlines_do(clock: FakeClock, service: Service) -> None:
    """An hour of outage is survived; the deadline is kept to the second."""
    engine, patient, hasty = service.engine(), Waiter(), Waiter()
    (ref,) = service.begin(7)
    engine.track(ref, patient, deadline=1e4)
    engine.track(ref, hasty, deadline=600)
    service.fault = lambda request: AnswerTimeoutError("nobody there")
    await clock.run(599)
    assert hasty.events == []
    await clock.run(2)
    assert isinstance(hasty.events[0], WatchExpired)
    service.fault = lambda request: None
    service.end(ref)
    await clock.run(100)
    assert isinstance(patient.events[0], BackupSucceeded)
    await engine.close()


async def test_trouble_is_told_once_and_again_when_it_comes_back(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for a day learns in its first minute that nobody answers; not at every poll."""
    caplog.set_level(logging.WARNING, "asyncbackups._polling.engine")
    engine, waiter = service.engine(), Waiter()
    (ref,) = service.begin(7)
    engine.track(ref, waiter, deadline=1e5)
    for _ in range(2):
        service.fault = lambda request: AnswerTimeoutError("nobody there")
        await clock.run(1000)
        service.fault = lambda request: None
        await clock.run(1000)
    assert [record.getMessage() for record in caplog.records] == [
        f"polls of star system {ref.star_system!r} tell nothing, going on until the deadline: nobody there"
    ] * 2
    await engine.close()


async def test_list_that_fails_falls_back_to_gets(clock: FakeClock, service: Service) -> None:
    """What a list cannot tell is asked one by one."""
    engine, waiter = service.engine(), Waiter()
    service.fault = lambda request: ProtocolError("no list") if request.kind is RequestKind.LIST else None
    refs = service.begin(*range(20))
    for ref in refs:
        engine.track(ref, waiter, deadline=1e4)
    service.end(*refs)
    await clock.run(30)
    assert len(waiter.events) == 20
    assert (service.count(RequestKind.LIST), service.count(RequestKind.GET)) == (1, 20)
    await engine.close()


async def test_entry_that_cannot_be_read_keeps_no_other_waiting(
    clock: FakeClock, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the list told before is told; the rest is asked by get, and the list is left alone for a time."""
    engine, waiter = service.engine(), Waiter()
    refs = service.begin(*range(600))
    decode = lists.backup_from_json

    def choosy(raw: Any) -> Backup:
        if raw["id"] == 500:
            raise ProtocolError("unreadable")
        return decode(raw)

    monkeypatch.setattr(lists, "backup_from_json", choosy)
    for ref in refs:
        engine.track(ref, waiter, deadline=1e4)
    service.end(*refs)
    await settle(100)
    assert 256 <= len(waiter.events) < 500
    await clock.run(60)
    assert len(waiter.events) == 600
    assert service.count(RequestKind.LIST) == 1
    await engine.close()


# -- statuses


async def test_new_status_is_reported_once(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """A word that the guide does not know is said once, with what it is taken for; "succeeded" is documented."""
    caplog.set_level(logging.INFO, "asyncbackups._polling.engine")
    engine = service.engine()
    refs = [*service.begin(1, 2, 3, status="Dumping\n"), *service.begin(4, status="Zzz")]
    for ref in refs:
        engine.track(ref, Waiter(), deadline=1e4)
    await clock.run(100)
    service.end(*refs)
    await clock.run(100)
    assert [record.getMessage() for record in caplog.records] == [
        r"the status 'Dumping\n' is not documented; it is taken for: in progress",
        "the status 'Zzz' is not documented; it is taken for: in progress",
    ]
    await engine.close()


async def test_service_that_makes_up_statuses_does_not_fill_the_log(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """After a hundred words it is enough."""
    caplog.set_level(logging.INFO, "asyncbackups._polling.engine")
    engine = service.engine()
    for number in range(300):
        (ref,) = service.begin(number, status=f"phase {number}")
        engine.track(ref, Waiter(), deadline=1e4)
    await clock.run(10)
    assert len(caplog.records) == 99
    await engine.close()


async def test_rule_of_the_callers_sees_every_backup(clock: FakeClock, service: Service) -> None:
    """It may look at anything, so lists are decoded whole for it, though the status is as it was."""

    def by_display_status(backup: Backup) -> Progress:
        return Progress.SUCCEEDED if backup.display_status == "ready" else Progress.IN_PROGRESS

    engine, waiter = service.engine(status_rule=by_display_status), Waiter()
    refs = service.begin(*range(20))
    for ref in refs:
        engine.track(ref, waiter, deadline=1e4)
    await clock.run(50)
    for ref in refs:
        service.backups[ref]["displayStatus"] = "ready"
    await clock.run(100)
    assert len(waiter.events) == 20
    await engine.close()


# -- a crash


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda backup: 1 / 0, "ZeroDivisionError"),
        (lambda backup: None, "must return a Progress, not None"),
        (lambda backup: (_ for _ in ()).throw(ConfigurationError("no")), "ConfigurationError"),
    ],
    ids=["bug", "nothing", "an error of ours"],
)
@pytest.mark.parametrize("number", [1, 40], ids=["get", "list"])
async def test_engine_that_crashes_tells_everybody_why(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture, rule: Any, said: str, number: int
) -> None:
    """Nobody is left waiting; the cause is chained and logged; the engine works again afterwards."""
    state = {"broken": True}
    engine = service.engine(status_rule=lambda backup: rule(backup) if state["broken"] else progress_of(backup))
    waiters = [Waiter() for _ in range(number)]
    refs = service.begin(*range(number))
    for ref, waiter in zip(refs, waiters, strict=True):
        engine.track(ref, waiter, deadline=1e4)
    (other,) = service.begin(7, star_system="vega")
    service.backups[other]["status"] = "running"
    bystander = Waiter()
    engine.track(other, bystander, deadline=1e4)
    await clock.run(20)
    for waiter in (*waiters, bystander):
        (event,) = waiter.events
        assert isinstance(event, WatchFailed)
        assert isinstance(event.error, EngineError)
        assert event.error.__cause__ is not None
        assert said in str(event.error)
    assert "the polling engine broke" in caplog.text
    assert engine.in_flight == 0
    assert tasks() == []
    state["broken"] = False
    service.end(*refs)
    again = Waiter()
    engine.track(refs[0], again, deadline=1e4)
    await clock.run(20)
    assert isinstance(again.events[0], BackupSucceeded)
    await engine.close()


async def test_crash_while_requests_are_under_way_leaves_no_task(clock: FakeClock, service: Service) -> None:
    """Their answers no longer matter to anybody, and the count of requests begins anew."""
    engine = service.engine(status_rule=lambda backup: 1 / 0, concurrency=4, coalesce=False)
    for ref in service.begin(*range(50)):
        engine.track(ref, Waiter(), deadline=1e4)
    await clock.run(1)
    assert tasks() == []
    assert engine._requests == 0
    await engine.close()


# -- the end


async def test_closing_tells_who_waits(clock: FakeClock, service: Service) -> None:
    """Who waits is told that the client was left, nothing runs on, and nothing more can be added."""
    engine, waiter = service.engine(), Waiter()
    refs = service.begin(*range(5))
    for ref in refs:
        engine.track(ref, waiter, deadline=1e4)
    await settle()
    await engine.close()
    assert len(waiter.events) == 5
    assert all(isinstance(event, WatchFailed) for event in waiter.events)
    assert tasks() == []
    assert clock.pending_timers == 0
    with pytest.raises(ClientClosedError, match="was left"):
        engine.track(refs[0], waiter, deadline=1e4)
    await engine.close()


async def test_closing_before_the_first_step(service: Service) -> None:
    """An engine closed in the same turn in which it was started tells its waiters all the same."""
    engine, waiter = service.engine(), Waiter()
    engine.track(*service.begin(7), waiter, deadline=1e4)
    await engine.close()
    assert isinstance(waiter.events[0], WatchFailed)


async def test_closing_from_another_task(clock: FakeClock, service: Service) -> None:
    """The task that closes need not be the one that started it."""
    engine, waiter = service.engine(), Waiter()

    async def start() -> None:
        engine.track(*service.begin(7), waiter, deadline=1e4)
        await settle()

    await asyncio.create_task(start())
    await asyncio.create_task(engine.close())
    assert isinstance(waiter.events[0], WatchFailed)
    assert tasks() == []


async def test_closing_that_is_cancelled_tells_who_waits(service: Service) -> None:
    """Cancellation in the middle of closing leaves nobody waiting."""
    engine, waiter = service.engine(), Waiter()
    engine.track(*service.begin(7), waiter, deadline=1e4)
    await settle()
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert isinstance(waiter.events[0], WatchFailed)
    await settle()
    assert tasks() == []


async def test_task_that_is_cancelled_from_outside_tells_who_waits(clock: FakeClock, service: Service) -> None:
    """As `asyncio.run` does when the main task has ended; and it can be started again."""
    engine, waiter = service.engine(), Waiter()
    (ref,) = service.begin(7)
    engine.track(ref, waiter, deadline=1e4)
    await settle()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    assert isinstance(waiter.events[0], WatchFailed)
    assert "event loop ended" in str(waiter.events[0].error)
    engine.track(ref, waiter, deadline=1e4)
    service.end(ref)
    await clock.run(10)
    assert isinstance(waiter.events[1], BackupSucceeded)
    await engine.close()


async def test_task_that_never_began_is_started_again(clock: FakeClock, service: Service) -> None:
    """Cancelled before its first step, it has told nobody; the next wait starts it anew."""
    engine, waiter = service.engine(), Waiter()
    first, second = service.begin(7, 8)
    engine.track(first, waiter, deadline=1e4)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    service.end(first, second)
    engine.track(second, waiter, deadline=1e4)
    await clock.run(10)
    assert {event.ref for event in waiter.events} == {first, second}
    await engine.close()


def test_loop_that_ends_leaves_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    """`asyncio.run` with an engine that nobody closed ends in silence."""
    waiter = Waiter()

    async def main() -> Engine:
        clock = FakeClock()
        service = Service(clock)
        engine = service.engine()
        for ref in service.begin(*range(10)):
            engine.track(ref, waiter, deadline=1e4)
        await settle()
        return engine

    engine = asyncio.run(main())
    gc.collect()
    assert len(waiter.events) == 10
    assert engine.in_flight == 0
    assert not recwarn.list


async def test_nothing_is_explained_of_what_is_not_in_flight(service: Service) -> None:
    """None, rather than an error: it may just have ended."""
    assert service.engine().explain(BackupRef("sun", 7)) is None


async def test_leaving_discards(clock: FakeClock, service: Service) -> None:
    """Who leaves is told nothing more, and costs no more requests."""
    engine, waiter = service.engine(), Waiter()
    for ref in service.begin(*range(5)):
        engine.track(ref, waiter, deadline=1e4)
    await settle()
    engine.untrack_all(waiter, ["sun"])
    assert engine.in_flight == 0
    asked = len(service.asked)
    await clock.run(500)
    assert (len(service.asked), waiter.events, clock.pending_timers) == (asked, [], 0)
    await engine.close()
