"""The polling of one star system: gets, lists, and what their answers mean."""

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
    response_info,
    scheduler,
)

MANY = range(1, 21)
DOWN = ServiceUnavailableError(status=503)
NOT_FOUND = NotFoundError(status=404)


def scenario(**policy: Any) -> Scenario:
    return Scenario(scheduler(**policy))


def listing(*ids: int, **policy: Any) -> tuple[Scenario, ListPoll]:
    """Put backups in flight that one list stands for, and let it be asked for."""
    run = scenario(**policy)
    run.add(*(ids or MANY))
    (poll,) = run.take_due()
    assert isinstance(poll, ListPoll)
    return run, poll


def running(*ids: int) -> dict[int, str]:
    return dict.fromkeys(ids or MANY, "running")


def gets(run: Scenario) -> list[GetPoll]:
    """Let new backups of unknown age have waited for each other; return what is asked by get then."""
    run.now += 3
    return [poll for poll in run.take_due() if isinstance(poll, GetPoll)]


# -- gets


def test_backup_of_unknown_age_is_asked_about_at_once() -> None:
    """It may have finished long ago."""
    run = scenario()
    run.add(7)
    assert run.take_due() == [GetPoll(ref=BackupRef("sun", 7), sent=START)]
    assert run.take_due() == []


def test_backup_just_created_is_asked_about_when_its_age_says_so() -> None:
    """A backup that has just begun will not have finished."""
    run = scenario(jitter=0.0, initial=5.0)
    run.add(7, started_at=START)
    assert run.take_due() == []
    run.wait_until_due()
    assert run.now == START + 5.0


def test_backup_that_should_have_been_asked_about_is_asked_about_at_once() -> None:
    """Nobody looked since it was created, say because the process was dead: it does not wait another interval."""
    run = scenario(jitter=0.0, initial=5.0)
    run.add(7, started_at=START - 240.0)
    assert run.take_due() == [GetPoll(ref=BackupRef("sun", 7), sent=START)]


def test_gets_follow_the_backoff_where_nothing_is_known() -> None:
    """Plain exponential backoff up to the maximum, by age."""
    run = scenario(jitter=0.0, initial=4.0, factor=2.0, maximum=30.0)
    run.add(7, started_at=START)
    asked = []
    for _ in range(6):
        (poll,) = run.wait_until_due()
        asked.append(run.now - START)
        run.record_get(poll)
    assert asked == [4.0, 12.0, 28.0, 58.0, 88.0, 118.0]


@pytest.mark.parametrize(("status", "kind"), [("succeeded", BackupSucceeded), ("failed", BackupFailed)])
def test_final_status_ends_the_wait(status: str, kind: type) -> None:
    """The event carries the whole backup and how many answers it took."""
    run = scenario()
    run.add(7, planet="earth")
    run.now += 2.0
    (event,) = run.record_get(run.take_due()[0], status, duration=60.0)
    assert isinstance(event, kind)
    assert (event.backup.status, event.polls, event.elapsed) == (status, 1, 2.0)
    assert is_idle(run.scheduler)


def test_answer_for_a_backup_that_nobody_waits_for_any_more_is_dropped() -> None:
    """It costs nothing but the request, and its star system is forgotten."""
    run = scenario()
    run.add(7)
    polls = [*run.take_due()]
    run.discard(7)
    assert run.record_get(polls[0], "succeeded") == []
    assert is_idle(run.scheduler)


def test_retry_after_of_an_answer_is_obeyed_for_that_backup() -> None:
    """It overrides the schedule, for this backup only; zero is no wish."""
    run = scenario(jitter=0.0, initial=5.0)
    run.add(7, 8)
    first, second = run.take_due()
    run.record_get(first, age=0.0, response=response_info(retry_after=40.0))
    run.record_get(second, age=0.0, response=response_info(retry_after=0.0))
    assert run.explain(7).due_in == 40.0
    assert run.explain(8).due_in == 5.0


def test_entity_tags_of_gets_are_used() -> None:
    """The tag of the last answer goes along; unchanged counts as a poll that told of nothing new."""
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
    assert poll.etag is None, "the last answer had none"


def test_tag_of_a_backup_that_was_discarded_tells_nothing() -> None:
    """A backup added anew while its 304 was under way is asked about again, without a tag."""
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


def test_passing_fault_slows_the_star_system_down() -> None:
    """After a fault nothing is asked for a while, then one request tries, and after an answer all go on."""
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
    assert run.take_due() == [], "one request at a time tries whether things are well again"
    run.record_get(trial)
    assert len(run.wait_until_due()) == 1


def test_retry_after_of_a_fault_holds_the_star_system() -> None:
    """A 429 that asks for a minute gets a minute."""
    run = scenario(coalesce=False)
    run.add(1, 2)
    polls = run.take_due()
    for poll in polls:
        run.record_failure(poll, RateLimitedError(status=429, retry_after=60.0))
    run.wait_until_due()
    assert run.now == START + 60.0


@pytest.mark.parametrize("error", [BadRequestError(status=400), ProtocolError("garbage")])
def test_backup_that_cannot_be_read_does_not_hold_up_the_others(error: BackupsError) -> None:
    """It is asked about ever more seldom, while the others go on as before."""
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
def test_what_cannot_heal_ends_the_wait(error: BackupsError) -> None:
    """Who waits is told that it can no longer be checked, and why."""
    run = scenario()
    run.add(7)
    (event,) = run.record_failure(run.take_due()[0], error)
    assert isinstance(event, WatchFailed)
    assert event.error is error


def test_faults_for_nobody_are_dropped() -> None:
    """Errors about a backup that was discarded end nothing."""
    for error in (DOWN, NOT_FOUND, PermissionDeniedError(status=403)):
        run = scenario()
        run.add(7)
        polls = run.take_due()
        run.discard(7)
        assert run.record_failure(polls[0], error) == []
        assert is_idle(run.scheduler)


# -- gone


def test_backup_is_gone_when_two_gets_in_a_row_do_not_find_it() -> None:
    """One 404 may be a replica that lags."""
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


def test_new_backup_is_believed_in_for_a_while() -> None:
    """What was just created may not be shown yet; only after the longest interval it counts as gone."""
    run = scenario(initial=5.0, maximum=60.0)
    run.add(7, started_at=START)
    while not (events := run.record_failure(*run.wait_until_due(), NOT_FOUND)):
        assert run.now < START + 70.0
    assert run.now >= START + 60.0
    assert isinstance(events[0], BackupGone)


# -- lists


def test_one_list_stands_for_many_gets() -> None:
    """Twenty backups of unknown age are asked about by one request."""
    run, poll = listing()
    assert (poll.star_system, poll.planet, poll.etag) == ("sun", None, None)
    assert run.record_list(poll, running()) == []
    assert {run.explain(number).by for number in MANY} == {"list"}
    assert all(isinstance(again, ListPoll) for again in run.wait_until_due())


def test_lists_are_not_used_where_they_are_switched_off() -> None:
    """`coalesce=False` polls each by itself."""
    run = scenario(coalesce=False)
    run.add(*MANY)
    assert {type(poll) for poll in run.take_due()} == {GetPoll}


def test_list_ends_what_it_shows_as_finished() -> None:
    """Each once, though its pages shifted and it is shown twice; the rest goes on."""
    run, poll = listing()
    entries = [list_entry(number, "running") for number in MANY] + [list_entry(3, "succeeded", "2024")] * 2
    seen = {number: observation(number, "succeeded" if number == 3 else "running") for number in MANY}
    events = deliver_all(run.scheduler.record_list(poll, entries, seen, CHEAP, run.now))
    assert [(type(event), event.ref.backup_id) for event in events] == [(BackupSucceeded, 3)]
    assert run.scheduler.in_flight == 19


def test_long_list_is_recorded_in_portions() -> None:
    """Between portions there is time for others: waits may be given up, and others added."""
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


def test_only_news_is_decoded() -> None:
    """Wanted are backups with another status, completed ones, those never seen, and some history."""
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
    """What a list shows as it was before a get told more is not believed."""
    run, poll = listing()
    run.now += 1
    run.discard(5)
    run.add(5)
    (get,) = run.take_due()
    run.record_get(get, "running")
    assert run.record_list(poll, running() | {5: "failed"}) == []
    assert run.explain(5).status == "running"


def test_what_a_list_does_not_show_is_asked_by_get() -> None:
    """A list declares nothing gone: missing backups are asked about one by one, until a list shows them."""
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


def test_backup_added_while_a_list_is_under_way_is_not_missing() -> None:
    """The list may have been made before; and what it shows of a backup without decoding it says nothing."""
    run, poll = listing()
    wanted = run.scheduler.select_entries(poll, [list_entry(number) for number in MANY])
    run.now += 1
    run.add(21, 22, started_at=run.now)
    run.add(23)
    seen = {number: observation(number) for number in wanted}
    run.scheduler.record_list(poll, [list_entry(number) for number in (*MANY, 21, 23)], seen, CHEAP, run.now)
    assert [run.explain(number).polls for number in (21, 22, 23)] == [0, 0, 0]
    assert [poll.ref.backup_id for poll in gets(run)] == [23]


def test_who_waits_for_one_backup_is_not_kept_waiting_for_others() -> None:
    """A backup that has finished long ago is known after one request, also beside others."""
    run = scenario()
    run.add(1)
    run.record_get(*run.take_due())
    run.add(2, patient=True)
    assert run.take_due() == []
    run.add(3)
    assert [poll.ref.backup_id for poll in run.take_due()] == [3]


def test_backups_that_begin_together_are_listed_as_soon_as_it_is_worth_it_for_all() -> None:
    """Not when the first of them alone would be asked about: a bulk run has a hundred in a star system."""
    alone, together = scenario(jitter=0.0), scenario(jitter=0.0)
    alone.add(1, started_at=START)
    for number in range(100):
        together.add(number, started_at=START)
        together.take_due()
    (get,), (poll,) = alone.wait_until_due(), together.wait_until_due()
    assert isinstance(get, GetPoll)
    assert isinstance(poll, ListPoll)
    assert together.now - START < (alone.now - START) / 2


def test_backups_of_unknown_age_that_come_one_by_one_wait_for_each_other() -> None:
    """The first is asked about at once, those that come within half of what a request is worth together, by list."""
    run = scenario(request_worth=10.0)
    asked: list[Poll] = []
    for number in range(60):
        run.add(number, patient=True)
        asked += (polls := run.take_due())
        for poll in polls:
            if isinstance(poll, GetPoll):
                run.record_get(poll, "running")
            else:
                run.record_list(poll, running(*range(number + 1)))
        run.now += 0.25
    assert run.explain(0).polls >= 1
    assert sum(isinstance(poll, GetPoll) for poll in asked) <= 3
    assert len(asked) <= 12


def test_new_backups_of_unknown_age_are_asked_about_by_list_where_there_are_many() -> None:
    """Where there is a list, many new ones make it due at once; few are asked about by get."""
    run, poll = listing()
    run.add(*range(31, 51))
    run.now += 3
    assert all(isinstance(poll, GetPoll) for poll in run.take_due(capacity=2)), "the list is under way"
    run.record_list(poll, running())
    again = run.take_due()
    assert [type(poll) for poll in again] == [ListPoll]
    run.record_list(again[0], running(*MANY, *range(31, 51)), response_info(size=10**6, seconds=1.0))
    run.add(60, 61)
    assert [poll.ref.backup_id for poll in gets(run)] == [60, 61]


def test_new_backup_joins_a_list_without_its_tag() -> None:
    """A 304 would not tell of who joined since the last list."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, etag='"a"'))
    (poll,) = run.wait_until_due()
    assert poll.etag == '"a"'
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert run.explain(3).polls == 2
    run.add(40, started_at=run.now)
    (poll,) = run.wait_until_due()
    assert poll.etag is None


def test_unchanged_list_of_nobody_is_dropped() -> None:
    """Its backups were discarded meanwhile."""
    run, poll = listing()
    run.scheduler.discard_all(run.subscriber, ["sun", "nowhere"])
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert is_idle(run.scheduler)


def test_retry_after_of_a_list_is_obeyed() -> None:
    """For all that it stands for."""
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
def test_list_that_does_not_work_is_remembered_and_tried_again_seldom(error: BackupsError) -> None:
    """The backups are asked about by other means, and the list again after minutes."""
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
        pytest.fail("the list was never tried again")


def test_list_that_fails_for_the_moment_is_asked_for_again() -> None:
    """Twice; after the third time in a row gets are tried instead."""
    run, poll = listing()
    for _ in range(2):
        assert run.record_failure(poll, DOWN) == []
        (poll,) = run.wait_until_due()
        assert isinstance(poll, ListPoll)
        assert poll.planet is None
    run.record_failure(poll, DOWN)
    polls = run.wait_until_due()
    assert not any(isinstance(poll, ListPoll) and poll.planet is None for poll in polls)


def test_list_that_never_shows_ours_is_given_up() -> None:
    """A list that is of no use three times in a row is left alone for a time."""
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


def test_credentials_refused_for_a_list_end_what_it_stands_for() -> None:
    """Those that are asked about by get find out by themselves."""
    run, poll = listing()
    run.add(50)
    events = run.record_failure(poll, AuthenticationError(status=401))
    assert len(events) == 20
    assert {type(event) for event in events} == {WatchFailed}
    assert run.scheduler.in_flight == 1


def test_errors_of_a_list_of_nobody_are_dropped() -> None:
    """Its backups were discarded meanwhile."""
    for error in (AuthenticationError(status=401), DOWN, NOT_FOUND):
        run, poll = listing()
        run.scheduler.discard_all(run.subscriber, ["sun"])
        assert run.record_failure(poll, error) == []
        assert is_idle(run.scheduler)


def test_list_that_is_far_behind_is_found_out() -> None:
    """A backup long overdue is asked about by get now and then; if it ended long ago, the list is given up."""
    run, poll = listing(maximum=60.0)
    shown = dict.fromkeys(MANY, "running")
    while not (gets := [poll for poll in [poll] if isinstance(poll, GetPoll)]):
        assert run.now < START + 600.0
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
        (poll,) = run.wait_until_due(capacity=1)
    run.record_get(gets[0], "running")
    assert run.explain(gets[0].ref.backup_id).by == "list", "it was slow, but honest"
    run.now += 60.0
    while isinstance(poll := run.wait_until_due(capacity=1)[0], ListPoll):
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
    run.record_get(poll, "succeeded", age=run.now - START, duration=10.0)
    left = next(number for number in MANY if number != poll.ref.backup_id)
    assert run.explain(left).by == "get"


def test_list_with_fresh_news_is_believed() -> None:
    """Of what ended before that it would have told: only when its news has become old, a get is asked what is true."""
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
        deliver_all(run.scheduler.record_list(poll, entries, seen, CHEAP, run.now))
        (poll,) = run.wait_until_due(capacity=1)
        assert isinstance(poll, ListPoll), "the last one should have ended long ago, but so it is with all"
    news = run.now
    while isinstance(poll, ListPoll):
        run.record_list(poll, shown, response_info(size=10, seconds=0.01))
        (poll,) = run.wait_until_due(capacity=1)
    assert run.now > news + 30.0


def test_list_that_is_a_little_behind_is_good_enough() -> None:
    """What ended since the last list, or just before it, is no reason to give it up."""
    run, poll = listing(maximum=60.0)
    run.record_list(poll, running())
    run.add(99)
    (get,) = gets(run)
    run.record_get(get, "succeeded", age=100.0, duration=95.0)
    assert run.explain(3).by == "list"


# -- plans


def test_lists_of_planets_are_used_where_they_are_cheaper() -> None:
    """Where the star system's list is dear, each planet with enough backups has its own."""
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
    assert [poll.ref.backup_id for poll in run.take_due()] == [10], "the list of a planet is asked only for its own"


def test_change_of_plan_while_a_list_is_under_way_loses_nothing() -> None:
    """The answer still tells; nobody is left without a request; a second list is not taken for the first."""
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


def test_last_backup_of_a_planet_takes_its_list_along() -> None:
    """A list that covers nothing is not asked for."""
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


def test_list_needs_no_planet_of_every_backup_looked_at() -> None:
    """However many planets there are, planning looks at a bounded number of flights."""
    run = scenario()
    for number in range(3_000):
        run.add(number, planet=f"planet-{number // 2}")
    looked = 0
    real = run.shared.durations.estimate_for

    def counted(*where: Any) -> Any:
        nonlocal looked
        looked += 1
        return real(*where)

    run.shared.durations.estimate_for = counted  # type: ignore[method-assign]
    run.take_due(capacity=1)
    assert looked < 4_000


# -- what is said about it


def test_route_says_what_comes_next() -> None:
    """By get or by list; while that is under way, at once."""
    run, poll = listing()
    run.add(50)
    assert (run.explain(3).by, run.explain(3).due_in) == ("list", 0.0)
    (get,) = gets(run)
    assert (run.explain(50).by, run.explain(50).due_in) == ("get", 0.0)
    run.record_get(get, age=0.0)
    run.record_failure(poll, RateLimitedError(status=429, retry_after=60.0))
    assert run.explain(3).due_in == 60.0


def test_two_who_wait_for_one_backup_share_its_requests() -> None:
    """Each is told, and the backup is asked about once."""
    run, other = scenario(), RecordingSubscriber()
    run.add(7)
    run.add(7, subscriber=other, planet="earth")
    (poll,) = run.take_due()
    events = run.record_get(poll, "succeeded")
    assert [event.planet.planet for event in events] == ["earth", "earth"]
    assert len(other.events) == 1


def test_unchanged_list_tells_nothing_of_what_it_does_not_show() -> None:
    """A 304 counts for those that the list stands for, not for those that are asked by get."""
    run, poll = listing()
    run.record_list(poll, running(*range(1, 20)), response_info(size=10, seconds=0.01, etag='"a"'))
    (get,) = run.take_due()
    run.record_get(get, response=response_info(retry_after=200.0))
    (poll,) = run.wait_until_due()
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert [run.explain(number).polls for number in (1, 20)] == [2, 1]


def test_list_that_shows_a_backup_takes_an_earlier_404_back() -> None:
    """Two gets in a row must find nothing; what a list showed in between was there."""
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


def test_unchanged_list_tells_nothing_of_a_backup_that_it_never_showed() -> None:
    """It was created while the list was under way: it stays one that is believed in for a while."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, etag='"a"'))
    poll = next(poll for poll in run.wait_until_due() if isinstance(poll, ListPoll))
    assert poll.etag == '"a"'
    run.add(999, started_at=run.now)
    run.scheduler.record_unchanged(poll, response_info(), run.now)
    assert (run.explain(MANY[0]).polls, run.explain(999).polls) == (2, 0)


def test_retry_after_of_a_list_is_obeyed_though_others_join() -> None:
    """A new backup, and a plan that hastens, do not bring a list forward that the server wants to rest."""
    run, poll = listing()
    run.record_list(poll, running(), response_info(size=10, seconds=0.01, retry_after=90.0))
    rest_until = run.now + 90.0
    run.now += 1.0
    run.add(*range(900, 990), started_at=run.now, mechanism="logical")
    while not any(isinstance(poll, ListPoll) for poll in run.wait_until_due()):
        assert run.now < rest_until + 60.0
    assert run.now >= rest_until


@pytest.mark.parametrize("error", [ApiError(status=418), ProtocolError("what?", status=302)])
def test_wait_says_what_kept_it_from_knowing(error: BackupsError) -> None:
    """Also where the service answers, but with what tells nothing."""
    run = scenario()
    run.add(7, deadline_in=60.0)
    while run.scheduler.in_flight:
        for poll in run.take_due():
            run.record_failure(poll, error)
        run.now = run.scheduler.next_wakeup()
        run.expire_waits()
    assert run.subscriber.events[0].error is error
