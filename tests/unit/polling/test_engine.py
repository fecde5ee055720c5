"""The engine: one task that sends the polls that are due, and delivers the events, whatever happens."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
import sys
from datetime import timedelta
from typing import Any

import pytest

from asyncbackups._api import pagination as lists
from asyncbackups._api.status_rule import progress_of
from asyncbackups._http.messages import RequestKind
from asyncbackups._polling.engine import Engine
from asyncbackups.errors import (
    AnswerTimeoutError,
    ClientClosedError,
    ConfigurationError,
    EngineError,
    ProtocolError,
    ServiceUnavailableError,
)
from asyncbackups.events import BackupFailed, BackupGone, BackupSucceeded, WatchExpired, WatchFailed
from asyncbackups.models import Backup, BackupRef, Progress
from asyncbackups.policies import RetryPolicy
from tests.fake_clock import FakeClock, settle
from tests.unit.polling.scenario import RecordingSubscriber
from tests.unit.service import Service


@pytest.fixture
def service(clock: FakeClock) -> Service:
    return Service(clock)


def tasks() -> list[str]:
    """Return the names of the tasks that run, the test's own aside."""
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_backup_is_polled_until_it_has_ended(clock: FakeClock, service: Service) -> None:
    """After its end it is not polled any more."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    (ref,) = service.begin(7)
    assert engine.track(ref, subscriber, deadline=1e4)
    await clock.run(100)
    service.end(ref)
    await clock.run(100)
    (event,) = subscriber.events
    assert isinstance(event, BackupSucceeded)
    assert event.polls == len(service.received)
    await clock.run(1_000)
    assert event.polls == len(service.received)
    await engine.close()


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize(
    ("tracked", "shown"),
    [
        (362, "362"),
        ("362", 362),
        (0, "0"),
        ("00362", "00362"),
        (-5, "-5"),
        (2**63, 2**63),
        (str(2**64 - 1), 2**64 - 1),
        ("3f2a0c1e-77aa-4b5e-9d59-0a1b2c3d4e5f",) * 2,
        ("a/b c",) * 2,
    ],
)
async def test_ids_are_compared_by_their_path(
    clock: FakeClock, service: Service, tracked: int | str, shown: int | str, lists: bool, tagged: bool
) -> None:
    """GETs and lists find a backup however its id is written; the event has it as it was given."""
    service.tagged = tagged
    engine, subscriber = service.engine(coalesce=lists), RecordingSubscriber()
    others = service.begin(*range(1_000, 1_050), "00362x", "x362")
    (ref,) = service.begin(shown)
    for backup in [BackupRef("sun", tracked), *others]:
        engine.track(backup, subscriber, deadline=1e5)
    assert not engine.track(ref, subscriber, deadline=1e5)
    await clock.run(300)
    assert (service.count(RequestKind.LIST) > 0) == lists
    assert engine.explain(ref) is not None
    service.end(ref)
    await clock.run(300)
    (event,) = subscriber.events
    assert isinstance(event, BackupSucceeded)
    assert (event.ref.backup_id, type(event.ref.backup_id)) == (tracked, type(tracked))
    assert (event.backup.id, type(event.backup.id)) == (shown, type(shown))
    assert all(engine.untrack(backup, subscriber) for backup in others)
    assert engine.in_flight == 0
    await engine.close()


async def test_similar_ids_are_different_backups(clock: FakeClock, service: Service) -> None:
    """Whatever a list shows of "00362" says nothing of 362."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    one, other = service.begin(362, "00362")
    more = service.begin(*range(30))
    for ref in [one, other, *more]:
        engine.track(ref, subscriber, deadline=1e5)
    await clock.run(100)
    service.end(other)
    await clock.run(300)
    assert [event.ref for event in subscriber.events] == [other]
    service.end(one)
    await clock.run(300)
    assert [event.ref for event in subscriber.events] == [other, one]
    await engine.close()


async def test_an_invalid_entry_is_logged_with_its_position(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """GETs replace a list that cannot be read, so the backups are watched to their end."""
    caplog.set_level(logging.DEBUG)
    engine, subscriber = service.engine(), RecordingSubscriber()
    refs = service.begin(*range(30))
    service.backups[BackupRef("sun", 99)] = {"id": 99.0, "status": "running"}
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e5)
    await clock.run(100)
    assert "entry 31 of the list is not a backup (Expected `int | str`, got `float`" in caplog.text
    service.end(*refs)
    await clock.run(300)
    assert {type(event) for event in subscriber.events} == {BackupSucceeded}
    assert len(subscriber.events) == 30
    await engine.close()


async def test_waits_for_one_backup_share_its_polls(clock: FakeClock, service: Service) -> None:
    """A thousand subscribers cost no more requests than one."""
    engine, subscribers = service.engine(), [RecordingSubscriber() for _ in range(1_000)]
    (ref,) = service.begin(7)
    for subscriber in subscribers:
        engine.track(ref, subscriber, deadline=1e4)
    assert engine.in_flight == 1
    await clock.run(100)
    service.end(ref)
    await clock.run(100)
    assert {len(subscriber.events) for subscriber in subscribers} == {1}
    assert len(service.received) < 12
    await engine.close()


async def test_number_of_tasks_depends_on_requests_not_on_backups(clock: FakeClock, service: Service) -> None:
    """Ten thousand backups need one task, and one more for each request in flight."""
    engine = service.engine(concurrency=4, coalesce=False)
    service.gate.clear()
    for ref in service.begin(*range(10_000)):
        engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await settle()
    assert len(tasks()) == 1 + 3  # one star system leaves the last place to others
    await engine.close()
    assert tasks() == []


async def test_idle_engine_has_no_timer(clock: FakeClock, service: Service) -> None:
    """Nothing wakes the engine while no backup is tracked, or while only responses are awaited."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    (ref,) = service.begin(7)
    engine.track(ref, subscriber, deadline=1e5)
    await settle()
    service.end(ref)
    await clock.run(100)
    assert len(subscriber.events) == 1
    assert clock.pending_timers == 0
    engine.track(BackupRef("sun", 8), subscriber, deadline=1e5)
    await settle()
    assert engine.untrack(BackupRef("sun", 8), subscriber)
    await settle()
    assert clock.pending_timers == 0
    await engine.close()


async def test_stall_is_not_followed_by_a_burst(clock: FakeClock, service: Service) -> None:
    """After an hour of sleep a laptop's polls are spread out."""
    engine = service.engine(coalesce=False)
    for number in range(100):
        (ref,) = service.begin(number, star_system=f"s{number}")
        engine.track(ref, RecordingSubscriber(), deadline=1e6)
    await clock.run(30)
    before = len(service.received)
    clock.advance(3_600)
    await settle()
    assert len(service.received) - before < 30
    await clock.run(60)
    assert len(service.received) - before >= 100
    await engine.close()


async def test_event_is_delivered_within_a_turn_of_the_response(clock: FakeClock, service: Service) -> None:
    """There is no further delay between the response and the subscriber."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    (ref,) = service.begin(7)
    service.end(ref)
    service.gate.clear()
    engine.track(ref, subscriber, deadline=1e4)
    await settle()
    service.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(subscriber.events) == 1
    await engine.close()


async def test_long_list_is_processed_in_portions(clock: FakeClock, service: Service) -> None:
    """Ten thousand backups that end in one list do not block the event loop."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    refs = service.begin(*range(10_000))
    service.end(*refs)
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    seen: list[int] = []
    while len(subscriber.events) < 10_000:
        await asyncio.sleep(0)
        seen.append(len(subscriber.events))
    assert service.count(RequestKind.GET) == 0
    assert max(later - sooner for sooner, later in itertools.pairwise(seen)) <= 512
    await engine.close()


async def test_subscriptions_added_while_a_list_is_processed_are_not_lost(clock: FakeClock, service: Service) -> None:
    """Each gets its one event."""
    engine, subscriber, late = service.engine(), RecordingSubscriber(), RecordingSubscriber()
    refs = service.begin(*range(2_000))
    service.end(*refs)
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    while not subscriber.events:
        await asyncio.sleep(0)
    for ref in refs:
        engine.track(ref, late, deadline=1e4)
    await clock.run(100, turns=100)
    assert (len(subscriber.events), len(late.events)) == (2_000, 2_000)
    await engine.close()


async def test_entity_tags_are_used(clock: FakeClock, service: Service) -> None:
    """Unchanged backups and lists cost an empty response, and still count as polls."""
    service.tagged = True
    engine, subscriber = service.engine(learn=False), RecordingSubscriber()
    (single,) = service.begin(7, star_system="vega")
    many = service.begin(*range(20))
    for ref in (single, *many):
        engine.track(ref, subscriber, deadline=1e4)
    await clock.run(200)
    tagged = [request.kind for request in service.received if request.etag]
    assert {RequestKind.GET, RequestKind.LIST} <= set(tagged)
    service.end(single, *many)
    await clock.run(200)
    assert len(subscriber.events) == 21
    assert all(event.polls > 3 for event in subscriber.events)
    await engine.close()


async def test_retry_after_is_honored(clock: FakeClock, service: Service) -> None:
    """The next poll is sent after the time that the header gives."""
    service.headers["Retry-After"] = "40"
    engine = service.engine()
    (ref,) = service.begin(7)
    engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await clock.run(100)
    assert len(service.received) == 3
    explain = engine.explain(ref)
    assert explain is not None
    assert explain.due_in == 20.0
    await engine.close()


async def test_age_is_measured_by_the_clock_of_the_server(clock: FakeClock, service: Service) -> None:
    """The age of a backup is right although the server's clock is hours behind ours."""
    engine = service.engine()
    service.clock = FakeClock(clock.monotonic(), clock.utcnow() - timedelta(hours=6))
    (ref,) = service.begin(7)
    engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await settle()
    explain = engine.explain(ref)
    assert explain is not None
    assert explain.age == pytest.approx(0.0, abs=1.0)
    await engine.close()


@pytest.mark.parametrize(("maximum", "pause"), [(10.0, 10.0), (300.0, 250.0)])
@pytest.mark.parametrize("by_list", [False, True], ids=["get", "list"])
async def test_retry_after_of_a_fault_is_honored_up_to_the_maximum_of_the_retry_policy(
    clock: FakeClock, service: Service, maximum: float, pause: float, by_list: bool
) -> None:
    """A 503 with `Retry-After: 250` pauses polling for 10 seconds if the client waits no longer than that."""
    engine, subscriber = service.engine(RetryPolicy(retry_after_maximum=maximum), jitter=0.0), RecordingSubscriber()
    refs = service.begin(*range(20 if by_list else 1))
    service.fault = lambda request: ServiceUnavailableError(status=503, retry_after=250.0)
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    await settle()
    assert len(service.received) == 1
    service.fault = lambda request: None
    service.end(*refs)
    await clock.run(pause - 0.5)
    assert len(service.received) == 1
    await clock.run(1)
    assert len(subscriber.events) == len(refs)
    await engine.close()


async def test_retry_after_of_a_response_is_honored_up_to_the_maximum_of_the_retry_policy(
    clock: FakeClock, service: Service
) -> None:
    """The limit holds for a response in progress, too."""
    service.headers["Retry-After"] = "250"
    engine = service.engine(RetryPolicy(retry_after_maximum=10.0))
    (ref,) = service.begin(7)
    engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await settle()
    explanation = engine.explain(ref)
    assert explanation is not None
    assert explanation.due_in == 10.0
    await engine.close()


async def test_faults_do_not_end_waits_but_deadlines_do(clock: FakeClock, service: Service) -> None:
    """A wait survives an hour of outage; its deadline is kept to the second."""
    engine, patient, hasty = service.engine(), RecordingSubscriber(), RecordingSubscriber()
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


async def test_failing_polls_are_logged_once_per_outage(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """During a wait of a day the user learns of an outage in its first minute, but not again at every poll."""
    caplog.set_level(logging.WARNING, "asyncbackups._polling.engine")
    engine, subscriber = service.engine(), RecordingSubscriber()
    (ref,) = service.begin(7)
    engine.track(ref, subscriber, deadline=1e5)
    for _ in range(2):
        service.fault = lambda request: AnswerTimeoutError("nobody there")
        await clock.run(1000)
        service.fault = lambda request: None
        await clock.run(1000)
    assert [record.getMessage() for record in caplog.records] == [
        f"polling star system {ref.star_system} fails; retrying until the deadline: nobody there"
    ] * 2
    await engine.close()


async def test_gets_replace_a_list_that_fails(clock: FakeClock, service: Service) -> None:
    """Backups are polled one by one if their list does not work."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    service.fault = lambda request: ProtocolError("no list") if request.kind is RequestKind.LIST else None
    refs = service.begin(*range(20))
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    service.end(*refs)
    await clock.run(30)
    assert len(subscriber.events) == 20
    assert (service.count(RequestKind.LIST), service.count(RequestKind.GET)) == (1, 20)
    await engine.close()


async def test_invalid_entry_does_not_delay_the_others(
    clock: FakeClock, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries before it are recorded; the others are polled by GET, and the list is paused."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    refs = service.begin(*range(600))
    decode = lists.backup_from_json

    def choosy(raw: Any) -> Backup:
        if raw["id"] == 500:
            raise ProtocolError("unreadable")
        return decode(raw)

    monkeypatch.setattr(lists, "backup_from_json", choosy)
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    service.end(*refs)
    await settle(100)
    assert 256 <= len(subscriber.events) < 500
    await clock.run(60)
    assert len(subscriber.events) == 600
    assert service.count(RequestKind.LIST) == 1
    await engine.close()


# -- statuses


async def test_undocumented_status_is_logged_once(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names the backup and says how an unknown word is treated; a common word for work is no warning."""
    caplog.set_level(logging.INFO, "asyncbackups._polling.engine")
    engine = service.engine()
    refs = [
        *service.begin(1, 2, 3, status="Dumping\n"),
        *service.begin(4, status="Zzz"),
        *service.begin(5, status="queued"),
    ]
    for ref in refs:
        engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await clock.run(100)
    service.end(*refs)
    await clock.run(100)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", r"backup sun/1: the status 'Dumping\n' is not documented; treated as: in progress"),
        ("WARNING", "backup sun/4: the status 'Zzz' is not documented; treated as: in progress"),
        ("INFO", "backup sun/5: the status 'queued' is not documented; treated as: in progress"),
    ]
    await engine.close()


async def test_number_of_logged_statuses_is_limited(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that invents new statuses does not fill the log."""
    caplog.set_level(logging.INFO, "asyncbackups._polling.engine")
    engine = service.engine()
    for number in range(300):
        (ref,) = service.begin(number, status=f"phase {number}")
        engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await clock.run(10)
    assert len(caplog.records) == 99
    await engine.close()


async def test_custom_status_rule_gets_every_backup(clock: FakeClock, service: Service) -> None:
    """It may depend on any member, so all tracked entries of a list are decoded for it."""

    def by_display_status(backup: Backup) -> Progress:
        return Progress.SUCCEEDED if backup.display_status == "ready" else Progress.IN_PROGRESS

    engine, subscriber = service.engine(status_rule=by_display_status), RecordingSubscriber()
    refs = service.begin(*range(20))
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    await clock.run(50)
    for ref in refs:
        service.backups[ref]["displayStatus"] = "ready"
    await clock.run(100)
    assert len(subscriber.events) == 20
    await engine.close()


# -- inferred failures, and ids that come again


@pytest.mark.parametrize("ahead", [0, 600], ids=["now", "ten minutes ahead"])
async def test_case_10_backup_in_progress_with_a_completion_time_is_in_progress(
    clock: FakeClock, service: Service, ahead: float
) -> None:
    """A word for work counts more than `completedAt`, which services write early: the success is awaited."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    end = (clock.utcnow() + timedelta(seconds=ahead)).isoformat()
    (ref,) = service.begin(7, status="inProgress", completedAt=end)
    engine.track(ref, subscriber, deadline=1e5)
    await clock.run(1_000)
    assert subscriber.events == []
    service.end(ref)
    await clock.run(1_000)
    assert [type(event) for event in subscriber.events] == [BackupSucceeded]
    await engine.close()


async def test_case_10_unknown_status_with_a_future_end_is_in_progress(clock: FakeClock, service: Service) -> None:
    """An end in the future is an expectation, whatever the word; the failure is inferred once it has passed."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    end = (clock.utcnow() + timedelta(seconds=600)).isoformat()
    (ref,) = service.begin(7, status="zzz", completedAt=end)
    engine.track(ref, subscriber, deadline=1e5)
    await clock.run(590)
    assert subscriber.events == []
    await clock.run(1_000)
    assert [type(event) for event in subscriber.events] == [BackupFailed]
    await engine.close()


async def test_inferred_failure_is_confirmed_by_another_poll(clock: FakeClock, service: Service) -> None:
    """A service may write the end first and the final status a moment later."""
    engine, subscriber = service.engine(initial=5), RecordingSubscriber()
    (ref,) = service.begin(7, status="zzz", completedAt=clock.utcnow().isoformat())
    engine.track(ref, subscriber, deadline=1e5)
    await clock.run(1)
    assert (subscriber.events, service.count(RequestKind.GET)) == ([], 1)
    service.end(ref)
    await clock.run(6)
    assert ([type(event) for event in subscriber.events], service.count(RequestKind.GET)) == ([BackupSucceeded], 2)
    await engine.close()


async def test_inferred_failure_that_lasts_is_reported(clock: FakeClock, service: Service) -> None:
    """After the second poll, an interval later, the failure is reported; from a list, too."""
    for ids, coalesce in ((range(1), False), (range(50), True)):
        engine, subscriber = service.engine(initial=5, coalesce=coalesce), RecordingSubscriber()
        for ref in service.begin(*ids, status="zzz", completedAt=clock.utcnow().isoformat()):
            engine.track(ref, subscriber, deadline=1e5)
        await clock.run(4)
        assert subscriber.events == []
        await clock.run(60)
        assert [type(event) for event in subscriber.events] == [BackupFailed] * len(ids)
        await engine.close()


@pytest.mark.parametrize("coalesce", [False, True])
async def test_case_4_backup_of_another_planet_is_not_reported_as_success(
    clock: FakeClock, service: Service, coalesce: bool
) -> None:
    """The service was restored and its ids came again: the backup that was waited for is gone."""
    foreign = {"environment": {"name": "mars"}}
    engine = service.engine(
        coalesce=coalesce, is_foreign=lambda star_system, one: one.environment is not None and star_system == "sun"
    )
    subscribers = [RecordingSubscriber() for _ in range(30)]
    refs = service.begin(*range(30))
    for subscriber, ref in zip(subscribers, refs, strict=True):
        engine.track(ref, subscriber, deadline=1e5)
    await clock.run(20)
    for ref in refs[:3]:
        service.backups[ref] |= foreign
    service.end(*refs)
    await clock.run(300)
    kinds = [[type(event) for event in subscriber.events] for subscriber in subscribers]
    assert kinds == [[BackupGone]] * 3 + [[BackupSucceeded]] * 27
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
async def test_crash_ends_all_waits_with_its_cause(
    clock: FakeClock, service: Service, caplog: pytest.LogCaptureFixture, rule: Any, said: str, number: int
) -> None:
    """No subscriber is left waiting; the cause is chained and logged; the engine can be used again."""
    state = {"broken": True}
    engine = service.engine(status_rule=lambda backup: rule(backup) if state["broken"] else progress_of(backup))
    subscribers = [RecordingSubscriber() for _ in range(number)]
    refs = service.begin(*range(number))
    for ref, subscriber in zip(refs, subscribers, strict=True):
        engine.track(ref, subscriber, deadline=1e4)
    (other,) = service.begin(7, star_system="vega")
    service.backups[other]["status"] = "running"
    bystander = RecordingSubscriber()
    engine.track(other, bystander, deadline=1e4)
    await clock.run(20)
    for subscriber in (*subscribers, bystander):
        (event,) = subscriber.events
        assert isinstance(event, WatchFailed)
        assert isinstance(event.error, EngineError)
        assert event.error.__cause__ is not None
        assert said in str(event.error)
    assert "the polling engine crashed" in caplog.text
    assert engine.in_flight == 0
    assert tasks() == []
    state["broken"] = False
    service.end(*refs)
    again = RecordingSubscriber()
    engine.track(refs[0], again, deadline=1e4)
    await clock.run(20)
    assert isinstance(again.events[0], BackupSucceeded)
    await engine.close()


async def test_crash_while_requests_are_in_flight_leaves_no_task(clock: FakeClock, service: Service) -> None:
    """Their responses are ignored, and their capacity is available again."""
    state = {"broken": True}
    engine = service.engine(
        status_rule=lambda backup: 1 / 0 if state["broken"] else progress_of(backup), concurrency=4, coalesce=False
    )
    refs = service.begin(*range(50))
    for ref in refs:
        engine.track(ref, RecordingSubscriber(), deadline=1e4)
    await clock.run(1)
    assert tasks() == []
    state["broken"] = False
    service.end(*refs)
    subscriber = RecordingSubscriber()
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    await clock.run(100, turns=100)
    assert len(subscriber.events) == 50, "the whole capacity is available again"
    await engine.close()


# -- the end


async def test_closing_ends_all_waits(clock: FakeClock, service: Service) -> None:
    """Each subscriber gets an event, no task is left, and no backup can be added any more."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    refs = service.begin(*range(5))
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
    await settle()
    await engine.close()
    assert len(subscriber.events) == 5
    assert all(isinstance(event, WatchFailed) for event in subscriber.events)
    assert tasks() == []
    assert clock.pending_timers == 0
    with pytest.raises(ClientClosedError, match="was closed"):
        engine.track(refs[0], subscriber, deadline=1e4)
    await engine.close()


async def test_closing_before_the_first_step_ends_all_waits(service: Service) -> None:
    """The engine may be closed in the turn in which it was started."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    engine.track(*service.begin(7), subscriber, deadline=1e4)
    await engine.close()
    assert isinstance(subscriber.events[0], WatchFailed)


async def test_engine_can_be_closed_by_another_task(clock: FakeClock, service: Service) -> None:
    """The task that closes it need not be the one that started it."""
    engine, subscriber = service.engine(), RecordingSubscriber()

    async def start() -> None:
        engine.track(*service.begin(7), subscriber, deadline=1e4)
        await settle()

    await asyncio.create_task(start())
    await asyncio.create_task(engine.close())
    assert isinstance(subscriber.events[0], WatchFailed)
    assert tasks() == []


async def test_cancelled_close_ends_all_waits(service: Service) -> None:
    """Cancelling `close` leaves no subscriber waiting."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    engine.track(*service.begin(7), subscriber, deadline=1e4)
    await settle()
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert isinstance(subscriber.events[0], WatchFailed)
    await settle()
    assert tasks() == []


async def test_cancelling_the_task_ends_all_waits(clock: FakeClock, service: Service) -> None:
    """`asyncio.run` does that after the main task has ended; the engine can be started again."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    (ref,) = service.begin(7)
    engine.track(ref, subscriber, deadline=1e4)
    await settle()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    assert isinstance(subscriber.events[0], WatchFailed)
    assert "event loop ended" in str(subscriber.events[0].error)
    engine.track(ref, subscriber, deadline=1e4)
    service.end(ref)
    await clock.run(10)
    assert isinstance(subscriber.events[1], BackupSucceeded)
    await engine.close()


async def test_task_cancelled_before_its_first_step_is_started_again(clock: FakeClock, service: Service) -> None:
    """It has delivered no event; the next subscription starts a new task for all."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    first, second = service.begin(7, 8)
    engine.track(first, subscriber, deadline=1e4)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    service.end(first, second)
    engine.track(second, subscriber, deadline=1e4)
    await clock.run(10)
    assert {event.ref for event in subscriber.events} == {first, second}
    await engine.close()


def test_end_of_the_loop_causes_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    """`asyncio.run` may end while an engine is open."""
    subscriber = RecordingSubscriber()

    async def main() -> Engine:
        clock = FakeClock()
        service = Service(clock)
        engine = service.engine()
        for ref in service.begin(*range(10)):
            engine.track(ref, subscriber, deadline=1e4)
        await settle()
        return engine

    engine = asyncio.run(main())
    gc.collect()
    assert len(subscriber.events) == 10
    assert engine.in_flight == 0
    assert not recwarn.list


async def test_explanation_of_an_untracked_backup_is_none(service: Service) -> None:
    """It is no error: the backup may just have ended."""
    assert service.engine().explain(BackupRef("sun", 7)) is None


@pytest.mark.parametrize("number", [1, 20], ids=["get", "list"])
async def test_poll_of_discarded_backups_is_not_sent(clock: FakeClock, service: Service, number: int) -> None:
    """Backups discarded after their poll became due, but before its task has started, cost no request."""
    engine, subscriber = service.engine(concurrency=1), RecordingSubscriber()
    for ref in service.begin(*range(number)):
        engine.track(ref, subscriber, deadline=1e4)
    await asyncio.sleep(0)
    assert sorted(tasks()) == ["asyncbackups-engine", "asyncbackups._polling.engine.Engine._perform_poll"]
    assert service.received == []
    engine.untrack_all(subscriber, ["sun"])
    await clock.run(500)
    assert (service.received, clock.pending_timers) == ([], 0)
    # The capacity of one request is free again.
    (ref,) = service.begin(99)
    service.end(ref)
    engine.track(ref, subscriber, deadline=1e4)
    await clock.run(10)
    assert [event.ref for event in subscriber.events] == [ref]
    await engine.close()


async def test_poll_is_sent_if_a_subscriber_remains(clock: FakeClock, service: Service) -> None:
    """Discarding one of two waits before the poll's task has started does not cancel the poll."""
    engine, first, second = service.engine(), RecordingSubscriber(), RecordingSubscriber()
    (ref,) = service.begin(7)
    service.end(ref)
    for subscriber in (first, second):
        engine.track(ref, subscriber, deadline=1e4)
    await asyncio.sleep(0)
    engine.untrack(ref, first)
    await settle()
    assert (len(first.events), len(second.events), len(service.received)) == (0, 1, 1)
    await engine.close()


async def test_poll_that_is_not_sent_after_a_fault_does_not_block_others(clock: FakeClock, service: Service) -> None:
    """After a fault one poll at a time tests the service; if that one is discarded, the next one is sent."""
    engine, discarded, other = service.engine(coalesce=False, jitter=0.0), RecordingSubscriber(), RecordingSubscriber()
    first, second = service.begin(1, 2)
    service.fault = lambda request: ServiceUnavailableError(status=503)
    engine.track(first, discarded, deadline=1e4)
    engine.track(second, other, deadline=1e4)
    await settle()
    service.fault = lambda request: None
    service.end(second)
    due = clock.next_timer()
    assert due is not None
    clock.advance(due - clock.monotonic())
    sent = len(service.received)
    while "asyncbackups._polling.engine.Engine._perform_poll" not in tasks():
        await asyncio.sleep(0)
    assert len(service.received) == sent
    engine.untrack(first, discarded)
    await clock.run(60)
    assert [event.ref for event in other.events] == [second]
    await engine.close()


async def test_task_does_not_inherit_the_context_of_its_first_caller(clock: FakeClock, service: Service) -> None:
    """The task serves all callers: neither it nor its requests see a context variable of the first one."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    def look(request: object) -> None:
        seen.append(variable.get())

    service.fault = look
    engine, subscriber = service.engine(), RecordingSubscriber()
    (ref,) = service.begin(7)
    service.end(ref)
    variable.set("the first caller's")
    engine.track(ref, subscriber, deadline=1e4)
    await settle()
    assert len(subscriber.events) == 1
    assert seen == ["none"]
    await engine.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("crash", [False, True])
async def test_engine_works_with_eager_tasks(clock: FakeClock, service: Service, crash: bool) -> None:
    """Its task may run before `create_task` returns: there is still one task only, and it can be closed."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    state = {"broken": crash}
    engine = service.engine(status_rule=lambda backup: 1 / 0 if state["broken"] else progress_of(backup))
    subscriber = RecordingSubscriber()
    refs = service.begin(*range(3))
    for ref in refs:
        engine.track(ref, subscriber, deadline=1e4)
        assert tasks().count("asyncbackups-engine") == 1
    await clock.run(10)
    if crash:
        assert {type(event) for event in subscriber.events} == {WatchFailed}
        assert tasks() == []
        state["broken"] = False
        subscriber.events.clear()
        for ref in refs:
            engine.track(ref, subscriber, deadline=1e4)
    service.end(*refs[1:])
    await clock.run(100)
    assert {event.ref for event in subscriber.events} == set(refs[1:])
    await engine.close()
    assert isinstance(subscriber.events[-1], WatchFailed)
    assert tasks() == []


async def test_untracking_discards_all_waits_of_a_subscriber(clock: FakeClock, service: Service) -> None:
    """They cost no more requests and get no event."""
    engine, subscriber = service.engine(), RecordingSubscriber()
    for ref in service.begin(*range(5)):
        engine.track(ref, subscriber, deadline=1e4)
    await settle()
    engine.untrack_all(subscriber, ["sun"])
    assert engine.in_flight == 0
    asked = len(service.received)
    await clock.run(500)
    assert (len(service.received), subscriber.events, clock.pending_timers) == (asked, [], 0)
    await engine.close()
