"""The polling of one star system: GETs, LISTs, and what their responses mean."""

from __future__ import annotations

from typing import Any

import pytest

from asyncbackups._polling.tracked import GetPoll, ListPoll, Poll
from asyncbackups.errors import (
    AnswerTooLargeError,
    ApiError,
    AuthenticationError,
    BackupsError,
    BadRequestError,
    ClientClosedError,
    ConnectError,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServiceUnavailableError,
)
from asyncbackups.events import BackupFailed, BackupGone, BackupSucceeded, WatchFailed
from asyncbackups.models import BackupRef
from tests.unit.polling.scenario import (
    CHEAP,
    START,
    RecordingSubscriber,
    Scenario,
    deliver_all,
    is_idle,
    list_entry,
    observation,
    record_whole_list,
    response_info,
    scheduler,
)

MANY = range(1, 21)
DOWN = ServiceUnavailableError(status=503)
NOT_FOUND = NotFoundError(status=404)


def scenario(**policy: Any) -> Scenario:
    return Scenario(scheduler(**policy))


def listing(*ids: int, **policy: Any) -> tuple[Scenario, ListPoll]:
    """Track backups that one list covers, and take its poll."""
    run = scenario(**policy)
    run.add(*(ids or MANY))
    (poll,) = run.take_due()
    assert isinstance(poll, ListPoll)
    return run, poll


def running(*ids: int) -> dict[int, str]:
    return dict.fromkeys(ids or MANY, "running")


def gets(run: Scenario) -> list[GetPoll]:
    """Wait until new backups of unknown age were gathered; return the GETs that are due then."""
    run.now += 3
    return [poll for poll in run.take_due() if isinstance(poll, GetPoll)]


# -- gets


def test_backup_of_unknown_age_is_polled_at_once() -> None:
    """It may have finished long ago."""
    run = scenario()
    run.add(7)
    assert run.take_due() == [GetPoll(ref=BackupRef("sun", 7), sent=START)]
    assert run.take_due() == []


def test_new_backup_is_polled_by_its_age() -> None:
    """A backup that has just started has not finished yet."""
    run = scenario(jitter=0.0, initial=5.0)
    run.add(7, started_at=START)
    assert run.take_due() == []
    run.wait_until_due()
    assert run.now == START + 5.0


def test_overdue_backup_is_polled_at_once() -> None:
    """If the process was down since the create, the backup does not wait for another interval."""
    run = scenario(jitter=0.0, initial=5.0)
    run.add(7, started_at=START - 240.0)
    assert run.take_due() == [GetPoll(ref=BackupRef("sun", 7), sent=START)]


def test_gets_follow_the_backoff_if_nothing_is_known() -> None:
    """Plain exponential backoff up to the maximum, by age."""
    run = scenario(jitter=0.0, initial=4.0, factor=2.0, maximum=30.0)
    run.add(7, started_at=START)
    polled = []
    for _ in range(6):
        (poll,) = run.wait_until_due()
        polled.append(run.now - START)
        run.record_get(poll)
    assert polled == [4.0, 12.0, 28.0, 58.0, 88.0, 118.0]


@pytest.mark.parametrize(("status", "kind"), [("succeeded", BackupSucceeded), ("failed", BackupFailed)])
def test_final_status_ends_the_wait(status: str, kind: type) -> None:
    """The event has the whole backup, and the number of polls."""
    run = scenario()
    run.add(7, planet="earth")
    run.now += 2.0
    (event,) = run.record_get(run.take_due()[0], status, duration=60.0)
    assert isinstance(event, kind)
    assert (event.backup.status, event.polls, event.elapsed) == (status, 1, 2.0)
    assert is_idle(run.scheduler)


def test_response_for_a_discarded_backup_is_ignored() -> None:
    """Its star system is forgotten, too."""
    run = scenario()
    run.add(7)
    polls = [*run.take_due()]
    run.discard(7)
    assert run.record_get(polls[0], "succeeded") == []
    assert is_idle(run.scheduler)


def test_retry_after_of_a_get_is_honored_for_its_backup() -> None:
    """It overrides the schedule, for this backup only; zero means no request to wait."""
    run = scenario(jitter=0.0, initial=5.0)
    run.add(7, 8)
    first, second = run.take_due()
    run.record_get(first, age=0.0, response=response_info(retry_after=40.0))
    run.record_get(second, age=0.0, response=response_info(retry_after=0.0))
    assert run.explain(7).due_in == 40.0
    assert run.explain(8).due_in == 5.0


def test_entity_tags_of_gets_are_used() -> None:
    """The tag of the last response is sent; a 304 counts as a poll."""
    run = scenario()
    run.add(7)
    run.record_get(run.take_due()[0], "queued", response=response_info(etag='"a"'))
    (poll,) = run.wait_until_due()
    assert poll.etag == '"a"'
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert (run.explain(7).polls, run.explain(7).status) == (2, "queued")
    (poll,) = run.wait_until_due()
    assert poll.etag == '"a"', "a 304 may leave out the tag"
    run.record_get(poll)
    (poll,) = run.wait_until_due()
    assert poll.etag is None, "the last response had none"


def test_entity_tag_of_a_discarded_backup_is_not_used() -> None:
    """A backup added again while its 304 was in flight is polled again, without a tag."""
    run = scenario()
    run.add(7)
    run.record_get(run.take_due()[0], response=response_info(etag='"a"'))
    (poll,) = run.wait_until_due()
    run.scheduler.discard(poll.ref, run.subscriber)
    run.add(7, started_at=run.now)
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert run.explain(7).polls == 0
    (again,) = run.take_due()
    assert again.etag is None
    run.scheduler.discard(poll.ref, run.subscriber)
    run.scheduler.record_unchanged(again, response_info(), run.now)
    assert is_idle(run.scheduler)


# -- faults of gets


def test_fault_of_the_service_slows_the_star_system_down() -> None:
    """After a fault nothing is sent for a while, then one poll at a time, and after a success all of them."""
    run = scenario(jitter=0.0, initial=5.0, coalesce=False)
    run.add(1, 2, 3)
    first, second, third = run.take_due()
    run.record_failure(first, DOWN)
    run.record_failure(second, DOWN)
    run.record_get(third)
    run.discard(3)
    assert run.take_due() == []
    run.record_failure(*run.wait_until_due(capacity=1), DOWN)
    assert run.now == START + 5.0
    (trial,) = run.wait_until_due()
    assert run.now == START + 10.0
    assert run.take_due() == [], "one request at a time tests whether the service has recovered"
    run.record_get(trial)
    assert len(run.wait_until_due()) == 1


def test_retry_after_of_a_fault_holds_for_the_star_system() -> None:
    """After a 429 with a minute no request is sent for a minute."""
    run = scenario(coalesce=False)
    run.add(1, 2)
    polls = run.take_due()
    for poll in polls:
        run.record_failure(poll, RateLimitedError(status=429, retry_after=60.0))
    run.wait_until_due()
    assert run.now == START + 60.0


@pytest.mark.parametrize("error", [BadRequestError(status=400), ProtocolError("garbage")])
def test_backup_that_cannot_be_read_does_not_delay_the_others(error: BackupsError) -> None:
    """It is polled ever less often, while the others are polled as before."""
    run = scenario(jitter=0.0, initial=5.0, factor=2.0, maximum=60.0, coalesce=False)
    run.add(1, 2)
    broken, fine = run.take_due()
    gaps = []
    run.record_get(fine, age=0.0)
    for _ in range(4):
        run.record_failure(broken, error)
        gaps.append(run.explain(1).due_in)
        while (poll := run.wait_until_due(capacity=1)[0]).ref != broken.ref:
            run.record_get(poll, age=0.0)
        broken = poll
    assert gaps == [5.0, 10.0, 20.0, 40.0]
    run.record_get(broken)
    while (poll := run.wait_until_due(capacity=1)[0]).ref != broken.ref:
        run.record_get(poll, age=0.0)
    run.record_failure(poll, error)
    assert run.explain(1).due_in == 5.0


@pytest.mark.parametrize(
    "error", [PermissionDeniedError(status=403), AuthenticationError(status=401), ClientClosedError("session closed")]
)
def test_permanent_error_ends_the_wait(error: BackupsError) -> None:
    """The event has the error."""
    run = scenario()
    run.add(7)
    (event,) = run.record_failure(run.take_due()[0], error)
    assert isinstance(event, WatchFailed)
    assert event.error is error


def test_errors_for_a_discarded_backup_are_ignored() -> None:
    """They end no wait."""
    for error in (DOWN, NOT_FOUND, PermissionDeniedError(status=403)):
        run = scenario()
        run.add(7)
        polls = run.take_due()
        run.discard(7)
        assert run.record_failure(polls[0], error) == []
        assert is_idle(run.scheduler)


# -- gone


def test_backup_is_gone_after_two_consecutive_404s() -> None:
    """A single 404 may come from a replica that lags."""
    run = scenario(initial=5.0)
    run.add(7)
    run.record_get(run.take_due()[0], "queued")
    assert run.record_failure(*run.wait_until_due(), NOT_FOUND) == []
    run.record_get(*run.wait_until_due(), status="queued")
    assert run.record_failure(*run.wait_until_due(), NOT_FOUND) == []
    before = run.now
    (event,) = run.record_failure(*run.wait_until_due(), NOT_FOUND)
    assert run.now == before + 5.0
    assert isinstance(event, BackupGone)
    assert event.backup.status == "queued"


def test_new_backup_is_not_declared_gone_early() -> None:
    """A backup just created may not be found yet; it counts as gone only after the longest interval."""
    run = scenario(initial=5.0, maximum=60.0)
    run.add(7, started_at=START)
    while not (events := run.record_failure(*run.wait_until_due(), NOT_FOUND)):
        assert run.now < START + 70.0
    assert run.now >= START + 60.0
    assert isinstance(events[0], BackupGone)


def test_page_of_a_gateway_does_not_declare_a_backup_gone_early() -> None:
    """An ingress whose service restarts responds to everything with 404 and a page; that may take a minute."""
    run = scenario(initial=5.0, maximum=60.0)
    run.add(7)
    run.record_get(run.take_due()[0], "queued")
    page = NotFoundError(status=404, excerpt="<html><body>404</body></html>")
    first = run.now
    while not run.record_failure(*run.wait_until_due(), page):
        assert run.now < first + 200.0
    assert run.now >= first + 60.0


# -- lists


def test_one_list_replaces_many_gets() -> None:
    """Twenty backups of unknown age are polled by one request."""
    run, poll = listing()
    assert (poll.star_system, poll.planet, poll.etag) == ("sun", None, None)
    assert run.record_list(poll, running()) == []
    assert {run.explain(number).by for number in MANY} == {"list"}
    assert all(isinstance(again, ListPoll) for again in run.wait_until_due())


def test_lists_can_be_switched_off() -> None:
    """With `coalesce=False` each backup is polled by a GET of its own."""
    run = scenario(coalesce=False)
    run.add(*MANY)
    assert {type(poll) for poll in run.take_due()} == {GetPoll}


def test_list_ends_the_waits_for_finished_backups() -> None:
    """Each gets one event, although shifted pages show it twice; the other backups stay."""
    run, poll = listing()
    entries = [list_entry(number, "running") for number in MANY] + [list_entry(3, "succeeded", "2024")] * 2
    seen = {number: observation(number, "succeeded" if number == 3 else "running") for number in MANY}
    events = record_whole_list(run.scheduler, poll, entries, seen, CHEAP, run.now)
    assert [(type(event), event.ref.backup_id) for event in events] == [(BackupSucceeded, 3)]
    assert run.scheduler.in_flight == 19


def test_long_list_is_recorded_in_portions() -> None:
    """Between portions waits may be discarded, and others added."""
    run, poll = listing(*range(1, 2_001))
    entries = [list_entry(number, "succeeded", "2024") for number in range(1, 2_001)]
    seen = {number: observation(number, "succeeded") for number in run.scheduler.select_entries(poll, entries)}
    portions = run.scheduler.record_list_in_parts(poll, entries, seen, CHEAP, run.now)
    assert len(deliver_all(next(portions))) == 256
    run.discard(2_000)
    run.now += 1
    run.add(1, 5_000)
    assert sum(len(deliver_all(portion)) for portion in portions) == 2_000 - 256 - 1
    assert run.scheduler.in_flight == 2
    assert run.wait_until_due() != []


def test_only_changed_entries_are_decoded() -> None:
    """Selected are entries with another status, completed ones, those never observed, and some history."""
    run, poll = listing()
    assert run.scheduler.select_entries(poll, [list_entry(number, None) for number in MANY]) == set(MANY), "never seen"
    run.record_list(poll, running())
    entries = [
        list_entry(1),
        list_entry(2, "succeeded"),
        list_entry(3, "running", "2024"),
        list_entry(99, "succeeded", "2024"),
    ]
    assert run.scheduler.select_entries(poll, entries) == {2, 3, 99}
    assert run.scheduler.select_entries(poll, entries[:1], every=True) == {1}


def test_list_never_overrules_a_newer_get() -> None:
    """An entry that is older than the last GET is ignored."""
    run, poll = listing()
    run.now += 1
    run.discard(5)
    run.add(5)
    (get,) = run.take_due()
    run.record_get(get, "running")
    assert run.record_list(poll, running() | {5: "failed"}) == []
    assert run.explain(5).status == "running"


def test_backups_missing_from_a_list_are_polled_by_get() -> None:
    """A list declares no backup gone: missing backups are polled one by one, until a list shows them."""
    run, poll = listing()
    run.record_list(poll, running(*range(1, 19)))
    missing = run.take_due()
    assert {poll.ref.backup_id for poll in missing} == {19, 20}
    for poll in missing:
        run.record_get(poll)
    assert {run.explain(number).by for number in (19, 20)} == {"get"}
    for _ in range(20):
        (poll,) = run.wait_until_due(capacity=1)
        if isinstance(poll, ListPoll):
            break
        run.record_get(poll)
    run.record_list(poll, running())
    assert {run.explain(number).by for number in (19, 20)} == {"list"}


def test_backup_added_while_a_list_is_in_flight_is_not_missing() -> None:
    """The list may be older; and an entry that was not decoded says nothing about it."""
    run, poll = listing()
    wanted = run.scheduler.select_entries(poll, [list_entry(number) for number in MANY])
    run.now += 1
    run.add(21, 22, started_at=run.now)
    run.add(23)
    seen = {number: observation(number) for number in wanted}
    record_whole_list(run.scheduler, poll, [list_entry(number) for number in (*MANY, 21, 23)], seen, CHEAP, run.now)
    assert [run.explain(number).polls for number in (21, 22, 23)] == [0, 0, 0]
    assert [poll.ref.backup_id for poll in gets(run)] == [23]


def test_wait_for_one_backup_is_not_delayed_by_others() -> None:
    """A backup that finished long ago is known after one request, also beside others."""
    run = scenario()
    run.add(1)
    run.record_get(*run.take_due())
    run.add(2, patient=True)
    assert run.take_due() == []
    run.add(3)
    assert [poll.ref.backup_id for poll in run.take_due()] == [3]


def test_backups_that_start_together_are_listed_when_it_is_worth_it_for_all() -> None:
    """That is sooner than the first of them alone would be polled."""
    alone, together = scenario(jitter=0.0), scenario(jitter=0.0)
    alone.add(1, started_at=START)
    for number in range(100):
        together.add(number, started_at=START)
        together.take_due()
    (get,), (poll,) = alone.wait_until_due(), together.wait_until_due()
    assert isinstance(get, GetPoll)
    assert isinstance(poll, ListPoll)
    assert together.now - START < (alone.now - START) / 2


def test_backups_of_unknown_age_added_one_by_one_are_gathered() -> None:
    """The first is polled at once; those added within half of a request's worth share a list."""
    run = scenario(request_worth=10.0)
    polled: list[Poll] = []
    for number in range(60):
        run.add(number, patient=True)
        polled += (polls := run.take_due())
        for poll in polls:
            if isinstance(poll, GetPoll):
                run.record_get(poll, "running")
            else:
                run.record_list(poll, running(*range(number + 1)))
        run.now += 0.25
    assert run.explain(0).polls >= 1
    assert sum(isinstance(poll, GetPoll) for poll in polled) <= 3
    assert len(polled) <= 12


def test_many_new_backups_of_unknown_age_are_listed() -> None:
    """If a list is in use, many new backups make it due at once; few are polled by GET."""
    run, poll = listing()
    run.add(*range(31, 51))
    run.now += 3
    assert all(isinstance(poll, GetPoll) for poll in run.take_due(capacity=2)), "the list is in flight"
    run.record_list(poll, running())
    again = run.take_due()
    assert [type(poll) for poll in again] == [ListPoll]
    run.record_list(again[0], running(*MANY, *range(31, 51)), response_info(size=10**6, seconds=1.0))
    run.add(60, 61)
    assert [poll.ref.backup_id for poll in gets(run)] == [60, 61]


def test_entity_tag_is_not_sent_after_a_backup_joined_the_list() -> None:
    """A 304 would say nothing about a backup that joined since the last list."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, etag='"a"'))
    (poll,) = run.wait_until_due()
    assert poll.etag == '"a"'
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert run.explain(3).polls == 2
    run.add(40, started_at=run.now)
    (poll,) = run.wait_until_due()
    assert poll.etag is None


def test_unchanged_list_of_discarded_backups_is_ignored() -> None:
    """Its backups were discarded in the meantime."""
    run, poll = listing()
    run.scheduler.discard_all(run.subscriber, ["sun", "nowhere"])
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert is_idle(run.scheduler)


def test_retry_after_of_a_list_is_honored() -> None:
    """It holds for all backups that the list covers."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, retry_after=90.0))
    assert run.explain(3).due_in == 90.0


@pytest.mark.parametrize(
    "error",
    [
        PermissionDeniedError(status=403),
        NOT_FOUND,
        MethodNotAllowedError(status=405),
        ProtocolError("more pages"),
        AnswerTooLargeError("huge"),
    ],
)
def test_list_that_does_not_work_is_paused_for_minutes(error: BackupsError) -> None:
    """Its backups are polled by other requests until then."""
    run, poll = listing()
    assert run.record_failure(poll, error) == []
    until = run.now + 299.0
    while run.now < until:
        for poll in run.wait_until_due():
            run.record_get(poll)
    for _ in range(200):
        polls = run.wait_until_due()
        if any(isinstance(poll, ListPoll) for poll in polls):
            break
        for poll in polls:
            run.record_get(poll)
    else:
        pytest.fail("the list was never sent again")


def test_list_is_retried_after_a_transient_fault() -> None:
    """After the third fault in a row GETs are used instead."""
    run, poll = listing()
    for _ in range(2):
        assert run.record_failure(poll, DOWN) == []
        (poll,) = run.wait_until_due()
        assert isinstance(poll, ListPoll)
        assert poll.planet is None
    run.record_failure(poll, DOWN)
    polls = run.wait_until_due()
    assert not any(isinstance(poll, ListPoll) and poll.planet is None for poll in polls)


def test_list_that_never_shows_our_backups_is_paused() -> None:
    """It is paused after three useless responses in a row."""
    run, poll = listing()
    lists = 0
    for _ in range(300):
        if isinstance(poll, ListPoll):
            lists += 1
            run.record_list(poll, {})
        else:
            run.record_get(poll)
        (poll,) = run.wait_until_due(capacity=1)
        if run.now > START + 250:
            break
    assert lists == 3


def test_refused_credentials_of_a_list_end_the_waits_it_covers() -> None:
    """Backups that are polled by GET get their own result."""
    run, poll = listing()
    run.add(50)
    events = run.record_failure(poll, AuthenticationError(status=401))
    assert len(events) == 20
    assert {type(event) for event in events} == {WatchFailed}
    assert run.scheduler.in_flight == 1


def test_errors_of_a_list_of_discarded_backups_are_ignored() -> None:
    """Its backups were discarded in the meantime."""
    for error in (AuthenticationError(status=401), DOWN, NOT_FOUND):
        run, poll = listing()
        run.scheduler.discard_all(run.subscriber, ["sun"])
        assert run.record_failure(poll, error) == []
        assert is_idle(run.scheduler)


def test_list_that_lags_far_behind_is_detected() -> None:
    """A backup long overdue is checked by GET now and then; if it ended long ago, the list is paused."""
    run, poll = listing(maximum=60.0)
    shown = dict.fromkeys(MANY, "running")
    while not (gets := [poll for poll in [poll] if isinstance(poll, GetPoll)]):
        assert run.now < START + 600.0
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
        (poll,) = run.wait_until_due(capacity=1)
    run.record_get(gets[0], "running")
    assert run.explain(gets[0].ref.backup_id).by == "list", "the backup was slow, but the list was right"
    run.now += 60.0
    while isinstance(poll := run.wait_until_due(capacity=1)[0], ListPoll):
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
    run.record_get(poll, "succeeded", age=run.now - START, duration=10.0)
    left = next(number for number in MANY if number != poll.ref.backup_id)
    assert run.explain(left).by == "get"


def test_list_with_recent_completions_is_trusted() -> None:
    """It would have shown any earlier end, too: a GET checks it only when its newest end is old."""
    run, poll = listing(maximum=60.0)
    shown = dict.fromkeys(MANY, "running")
    for number in MANY[:10]:
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
        (poll,) = run.wait_until_due(capacity=1)
        assert isinstance(poll, ListPoll)
        shown[number] = "succeeded"
        run.now += 20.0
        entries = [list_entry(n, status, "2024" if status == "succeeded" else None) for n, status in shown.items()]
        took = run.now - START - 1.0
        seen = {
            n: observation(n, shown[n], age=took + 1.0, duration=took)
            for n in run.scheduler.select_entries(poll, entries)
        }
        record_whole_list(run.scheduler, poll, entries, seen, CHEAP, run.now)
        (poll,) = run.wait_until_due(capacity=1)
        assert isinstance(poll, ListPoll), "the list is trusted"
    news = run.now
    while isinstance(poll, ListPoll):
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
        (poll,) = run.wait_until_due(capacity=1)
    assert run.now > news + 30.0


def test_list_that_lags_a_little_is_kept() -> None:
    """A backup that ended since the last list, or just before it, is no reason to pause the list."""
    run, poll = listing(maximum=60.0)
    run.record_list(poll, running())
    run.add(99)
    (get,) = gets(run)
    run.record_get(get, "succeeded", age=100.0, duration=95.0)
    assert run.explain(3).by == "list"


# -- plans


def test_lists_of_planets_are_used_if_they_are_cheaper() -> None:
    """If the star system's list is expensive, each planet with enough backups has its own."""
    run = scenario()
    run.shared.costs.record_list(("sun", None), size=10**8, seconds=30.0)
    run.add(*range(1, 11), planet="earth")
    run.add(*range(11, 21), planet="mars")
    run.add(21, planet="venus")
    polls = run.take_due()
    assert {poll.planet for poll in polls if isinstance(poll, ListPoll)} == {"earth", "mars"}
    assert [poll.ref.backup_id for poll in polls if isinstance(poll, GetPoll)] == [21]
    earth = next(poll for poll in polls if isinstance(poll, ListPoll) and poll.planet == "earth")
    run.discard(1)
    run.record_list(earth, running(*range(2, 10)))
    assert [poll.ref.backup_id for poll in run.take_due()] == [10], "the list of a planet covers only its own backups"


def test_replanning_while_a_list_is_in_flight_loses_nothing() -> None:
    """Its response still counts, every backup has a next poll, and a second list is not mistaken for the first."""
    run, poll = listing()
    run.shared.costs.pause_list(("sun", None), now=run.now)
    run.add(*range(101, 121), started_at=run.now)  # twice as many backups: a new plan is due
    others = run.take_due(capacity=1)
    assert {run.explain(number).by for number in MANY} == {"get"}, "the backups were reassigned"
    run.now += 301.0
    for other in [*others, *run.take_due()]:
        run.record_failure(other, ConnectError("refused"))
    events = run.record_list(poll, running() | {3: "succeeded"})
    assert [event.ref.backup_id for event in events] == [3]
    seen = set()
    for _ in range(100):
        for other in run.wait_until_due():
            if isinstance(other, ListPoll):
                seen |= set(MANY)
                run.record_list(other, running())
            else:
                seen.add(other.ref.backup_id)
                run.record_get(other)
    assert seen >= set(MANY) - {3}


def test_list_of_a_planet_ends_with_its_last_backup() -> None:
    """A list that covers nothing is not sent."""
    run = scenario()
    run.shared.costs.record_list(("sun", None), size=10**8, seconds=30.0)
    run.add(*range(1, 11), planet="earth")
    run.add(*range(11, 21), planet="mars")
    earth, mars = sorted(run.take_due(), key=lambda poll: poll.planet)
    run.record_list(earth, dict.fromkeys(range(1, 11), "succeeded"))
    run.record_list(mars, running(*range(11, 21)))
    for _ in range(10):
        for poll in run.wait_until_due():
            assert isinstance(poll, GetPoll) or poll.planet != "earth"
            if isinstance(poll, ListPoll):
                run.record_list(poll, running(*range(11, 21)))
            else:
                run.record_get(poll)


def test_planning_examines_a_bounded_number_of_backups() -> None:
    """However many planets there are, the number of estimates is limited."""
    run = scenario()
    for number in range(3_000):
        run.add(number, planet=f"planet-{number // 2}")
    examined = 0
    real = run.shared.durations.estimate_for

    def counted(*where: Any) -> Any:
        nonlocal examined
        examined += 1
        return real(*where)

    run.shared.durations.estimate_for = counted  # type: ignore[method-assign]
    run.take_due(capacity=1)
    assert examined < 4_000


# -- explanations


def test_explanation_shows_the_next_poll() -> None:
    """By GET or by list; a request in flight is due now."""
    run, poll = listing()
    run.add(50)
    assert (run.explain(3).by, run.explain(3).due_in) == ("list", 0.0)
    (get,) = gets(run)
    assert (run.explain(50).by, run.explain(50).due_in) == ("get", 0.0)
    run.record_get(get, age=0.0)
    run.record_failure(poll, RateLimitedError(status=429, retry_after=60.0))
    assert run.explain(3).due_in == 60.0


def test_two_subscribers_of_one_backup_share_its_requests() -> None:
    """Each gets an event, and the backup is polled once."""
    run, other = scenario(), RecordingSubscriber()
    run.add(7)
    run.add(7, subscriber=other, planet="earth")
    (poll,) = run.take_due()
    events = run.record_get(poll, "succeeded")
    assert [event.planet.planet for event in events] == ["earth", "earth"]
    assert len(other.events) == 1


def test_unchanged_list_confirms_only_the_backups_it_covers() -> None:
    """A 304 says nothing about backups that are polled by GET."""
    run, poll = listing()
    run.record_list(poll, running(*range(1, 20)), response_info(size=10, seconds=0.01, etag='"a"'))
    (get,) = run.take_due()
    run.record_get(get, response=response_info(retry_after=200.0))
    (poll,) = run.wait_until_due()
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert [run.explain(number).polls for number in (1, 20)] == [2, 1]


def test_list_that_shows_a_backup_cancels_an_earlier_404() -> None:
    """The 404s of two GETs must be consecutive."""
    run, poll = listing()
    run.record_list(poll, running())
    for _ in range(3):
        (poll,) = run.wait_until_due()
        run.record_list(poll, running(*MANY[1:]))
        (get,) = run.take_due()
        assert run.record_failure(get, NOT_FOUND) == []
        (poll,) = run.wait_until_due()
        run.record_list(poll, running())
    assert run.subscriber.events == []


def test_unchanged_list_does_not_confirm_a_newer_backup() -> None:
    """A backup created while the list was in flight has not been observed."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, etag='"a"'))
    poll = next(poll for poll in run.wait_until_due() if isinstance(poll, ListPoll))
    assert poll.etag == '"a"'
    run.add(999, started_at=run.now)
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert (run.explain(MANY[0]).polls, run.explain(999).polls) == (2, 0)


def test_retry_after_of_a_list_is_honored_though_backups_join() -> None:
    """Neither a new backup nor a new plan makes the list due earlier."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, retry_after=90.0))
    rest_until = run.now + 90.0
    run.now += 1.0
    run.add(*range(900, 990), started_at=run.now, mechanism="logical")
    while not any(isinstance(poll, ListPoll) for poll in run.wait_until_due()):
        assert run.now < rest_until + 60.0
    assert run.now >= rest_until


@pytest.mark.parametrize("error", [ApiError(status=418), ProtocolError("what?", status=302)])
def test_expired_wait_has_the_error_of_the_last_poll(error: BackupsError) -> None:
    """Also if the service responds, but with an error that is not transient."""
    run = scenario()
    run.add(7, deadline_in=60.0)
    while run.scheduler.in_flight:
        for poll in run.take_due():
            run.record_failure(poll, error)
        run.now = run.scheduler.next_wakeup()
        run.expire_waits()
    assert run.subscriber.events[0].error is error
