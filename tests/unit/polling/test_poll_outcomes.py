"""The polling of one star system: gets, lists, and what their answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from asyncbackups._polling.tracked import GetPoll, ListPoll, Poll, ResponseCost
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
from tests.unit.polling.worlds import CHEAP, START, Course, Entry, Waiter, leftovers, scheduler, sighting, tell

MANY = range(1, 21)
DOWN = ServiceUnavailableError(status=503)
NOT_FOUND = NotFoundError(status=404)


def course(**policy: Any) -> Course:
    return Course(scheduler(**policy))


def listing(*ids: int, **policy: Any) -> tuple[Course, ListPoll]:
    """Put backups in flight that one list stands for, and let it be asked for."""
    one = course(**policy)
    one.add(*(ids or MANY))
    (poll,) = one.due()
    assert isinstance(poll, ListPoll)
    return one, poll


def running(*ids: int) -> dict[int, str]:
    return dict.fromkeys(ids or MANY, "running")


def gets(one: Course) -> list[GetPoll]:
    """Let new backups of unknown age have waited for each other; return what is asked by get then."""
    one.now += 3
    return [poll for poll in one.due() if isinstance(poll, GetPoll)]


def fail(one: Course, poll: Poll, error: BackupsError) -> list[Any]:
    return tell(one.scheduler.failed(poll, error, one.now))


# -- gets


def test_backup_of_unknown_age_is_asked_about_at_once() -> None:
    """It may have finished long ago."""
    one = course()
    one.add(7)
    assert one.due() == [GetPoll(ref=BackupRef("sun", 7), sent=START)]
    assert one.due() == []


def test_backup_just_created_is_asked_about_when_its_age_says_so() -> None:
    """A backup that has just begun will not have finished."""
    one = course(jitter=0.0, initial=5.0)
    one.add(7, born=START)
    assert one.due() == []
    one.until_due()
    assert one.now == START + 5.0


def test_backup_that_should_have_been_asked_about_is_asked_about_at_once() -> None:
    """Nobody looked since it was created, say because the process was dead: it does not wait another interval."""
    one = course(jitter=0.0, initial=5.0)
    one.add(7, born=START - 240.0)
    assert one.due() == [GetPoll(ref=BackupRef("sun", 7), sent=START)]


def test_gets_follow_the_backoff_where_nothing_is_known() -> None:
    """Plain exponential backoff up to the maximum, by age."""
    one = course(jitter=0.0, initial=4.0, factor=2.0, maximum=30.0)
    one.add(7, born=START)
    asked = []
    for _ in range(6):
        (poll,) = one.until_due()
        asked.append(one.now - START)
        one.got(poll)
    assert asked == [4.0, 12.0, 28.0, 58.0, 88.0, 118.0]


@pytest.mark.parametrize(("status", "kind"), [("succeeded", BackupSucceeded), ("failed", BackupFailed)])
def test_final_status_ends_the_wait(status: str, kind: type) -> None:
    """The event carries the whole backup and how many answers it took."""
    one = course()
    one.add(7, planet="earth")
    one.now += 2.0
    (event,) = one.got(one.due()[0], status, duration=60.0)
    assert isinstance(event, kind)
    assert (event.backup.status, event.polls, event.elapsed) == (status, 1, 2.0)
    assert not any(leftovers(one.scheduler).values())


def test_answer_for_a_backup_that_nobody_waits_for_any_more_is_dropped() -> None:
    """It costs nothing but the request, and its star system is forgotten."""
    one = course()
    one.add(7)
    polls = [*one.due()]
    one.scheduler.discard(BackupRef("sun", 7), one.waiter)
    assert one.got(polls[0], "succeeded") == []
    assert not any(leftovers(one.scheduler).values())


def test_retry_after_of_an_answer_is_obeyed_for_that_backup() -> None:
    """It overrides the schedule, for this backup only; zero is no wish."""
    one = course(jitter=0.0, initial=5.0)
    one.add(7, 8)
    first, second = one.due()
    one.got(first, age=0.0, cost=ResponseCost(retry_after=40.0))
    one.got(second, age=0.0, cost=ResponseCost(retry_after=0.0))
    assert one.explained(7).due_in == 40.0
    assert one.explained(8).due_in == 5.0


def test_entity_tags_of_gets_are_used() -> None:
    """The tag of the last answer goes along; unchanged counts as a poll that told of nothing new."""
    one = course()
    one.add(7)
    one.got(one.due()[0], "queued", cost=ResponseCost(etag='"a"'))
    (poll,) = one.until_due()
    assert poll.etag == '"a"'
    one.scheduler.unchanged(poll, ResponseCost(), one.now)
    assert (one.explained(7).polls, one.explained(7).status) == (2, "queued")
    (poll,) = one.until_due()
    assert poll.etag == '"a"', "a 304 may leave out the tag"
    one.got(poll)
    (poll,) = one.until_due()
    assert poll.etag is None, "the last answer had none"


def test_tag_of_a_backup_that_was_discarded_tells_nothing() -> None:
    """A backup added anew while its 304 was under way is asked about again, without a tag."""
    one = course()
    one.add(7)
    one.got(one.due()[0], cost=ResponseCost(etag='"a"'))
    (poll,) = one.until_due()
    one.scheduler.discard(poll.ref, one.waiter)
    one.add(7, born=one.now)
    one.scheduler.unchanged(poll, ResponseCost(), one.now)
    assert one.explained(7).polls == 0
    (again,) = one.due()
    assert again.etag is None
    one.scheduler.discard(poll.ref, one.waiter)
    one.scheduler.unchanged(again, ResponseCost(), one.now)
    assert not any(leftovers(one.scheduler).values())


# -- faults of gets


def test_passing_fault_slows_the_star_system_down() -> None:
    """After a fault nothing is asked for a while, then one request tries, and after an answer all go on."""
    one = course(jitter=0.0, initial=5.0, coalesce=False)
    one.add(1, 2, 3)
    first, second, third = one.due()
    fail(one, first, DOWN)
    fail(one, second, DOWN)
    one.got(third)
    one.scheduler.discard(BackupRef("sun", 3), one.waiter)
    assert one.due() == []
    fail(one, *one.until_due(room=1), DOWN)
    assert one.now == START + 5.0
    (trial,) = one.until_due()
    assert one.now == START + 10.0
    assert one.due() == [], "one request at a time tries whether things are well again"
    one.got(trial)
    assert len(one.until_due()) == 1


def test_retry_after_of_a_fault_holds_the_star_system() -> None:
    """A 429 that asks for a minute gets a minute."""
    one = course(coalesce=False)
    one.add(1, 2)
    polls = one.due()
    for poll in polls:
        fail(one, poll, RateLimitedError(status=429, retry_after=60.0))
    one.until_due()
    assert one.now == START + 60.0


@pytest.mark.parametrize("error", [BadRequestError(status=400), ProtocolError("garbage")])
def test_backup_that_cannot_be_read_does_not_hold_up_the_others(error: BackupsError) -> None:
    """It is asked about ever more seldom, while the others go on as before."""
    one = course(jitter=0.0, initial=5.0, factor=2.0, maximum=60.0, coalesce=False)
    one.add(1, 2)
    broken, fine = one.due()
    gaps = []
    one.got(fine, age=0.0)
    for _ in range(4):
        fail(one, broken, error)
        gaps.append(one.explained(1).due_in)
        while (poll := one.until_due(room=1)[0]).ref != broken.ref:
            one.got(poll, age=0.0)
        broken = poll
    assert gaps == [5.0, 10.0, 20.0, 40.0]
    one.got(broken)
    while (poll := one.until_due(room=1)[0]).ref != broken.ref:
        one.got(poll, age=0.0)
    fail(one, poll, error)
    assert one.explained(1).due_in == 5.0


@pytest.mark.parametrize(
    "error", [PermissionDeniedError(status=403), AuthenticationError(status=401), ClientClosedError("session closed")]
)
def test_what_cannot_heal_ends_the_wait(error: BackupsError) -> None:
    """Who waits is told that it can no longer be checked, and why."""
    one = course()
    one.add(7)
    (event,) = fail(one, one.due()[0], error)
    assert isinstance(event, WatchFailed)
    assert event.error is error


def test_faults_for_nobody_are_dropped() -> None:
    """Errors about a backup that was discarded end nothing."""
    for error in (DOWN, NOT_FOUND, PermissionDeniedError(status=403)):
        one = course()
        one.add(7)
        polls = one.due()
        one.scheduler.discard(BackupRef("sun", 7), one.waiter)
        assert fail(one, polls[0], error) == []
        assert not any(leftovers(one.scheduler).values())


# -- gone


def test_backup_is_gone_when_two_gets_in_a_row_do_not_find_it() -> None:
    """One 404 may be a replica that lags."""
    one = course(initial=5.0)
    one.add(7)
    one.got(one.due()[0], "queued")
    assert fail(one, *one.until_due(), NOT_FOUND) == []
    one.got(*one.until_due(), status="queued")
    assert fail(one, *one.until_due(), NOT_FOUND) == []
    before = one.now
    (event,) = fail(one, *one.until_due(), NOT_FOUND)
    assert one.now == before + 5.0
    assert isinstance(event, BackupGone)
    assert event.backup.status == "queued"


def test_new_backup_is_believed_in_for_a_while() -> None:
    """What was just created may not be shown yet; only after the longest interval it counts as gone."""
    one = course(initial=5.0, maximum=60.0)
    one.add(7, born=START)
    while not (events := fail(one, *one.until_due(), NOT_FOUND)):
        assert one.now < START + 70.0
    assert one.now >= START + 60.0
    assert isinstance(events[0], BackupGone)


# -- lists


def test_one_list_stands_for_many_gets() -> None:
    """Twenty backups of unknown age are asked about by one request."""
    one, poll = listing()
    assert (poll.star_system, poll.planet, poll.etag) == ("sun", None, None)
    assert one.listed(poll, running()) == []
    assert {one.explained(number).by for number in MANY} == {"list"}
    assert all(isinstance(again, ListPoll) for again in one.until_due())


def test_lists_are_not_used_where_they_are_switched_off() -> None:
    """`coalesce=False` polls each by itself."""
    one = course(coalesce=False)
    one.add(*MANY)
    assert {type(poll) for poll in one.due()} == {GetPoll}


def test_list_ends_what_it_shows_as_finished() -> None:
    """Each once, though its pages shifted and it is shown twice; the rest goes on."""
    one, poll = listing()
    entries = [Entry(number, "running") for number in MANY] + [Entry(3, "succeeded", "2024")] * 2
    seen = {number: sighting(number, "succeeded" if number == 3 else "running") for number in MANY}
    events = tell(one.scheduler.listed(poll, entries, seen, CHEAP, one.now))
    assert [(type(event), event.ref.backup_id) for event in events] == [(BackupSucceeded, 3)]
    assert one.scheduler.in_flight == 19


def test_long_list_is_recorded_in_portions() -> None:
    """Between portions there is time for others: waits may be given up, and others added."""
    one, poll = listing(*range(1, 2_001))
    entries = [Entry(number, "succeeded", "2024") for number in range(1, 2_001)]
    seen = {number: sighting(number, "succeeded") for number in one.scheduler.wanted(poll, entries)}
    portions = one.scheduler.listed_in_portions(poll, entries, seen, CHEAP, one.now)
    assert len(tell(next(portions))) == 256
    one.scheduler.discard(BackupRef("sun", 2_000), one.waiter)
    one.now += 1
    one.add(1, 5_000)
    assert sum(len(tell(portion)) for portion in portions) == 2_000 - 256 - 1
    assert one.scheduler.in_flight == 2
    assert one.until_due() != []


def test_only_news_is_decoded() -> None:
    """Wanted are backups with another status, completed ones, those never seen, and some history."""
    one, poll = listing()
    assert one.scheduler.wanted(poll, [Entry(number, None) for number in MANY]) == set(MANY), "never seen"
    one.listed(poll, running())
    entries = [Entry(1), Entry(2, "succeeded"), Entry(3, "running", "2024"), Entry(99, "succeeded", "2024")]
    assert one.scheduler.wanted(poll, entries) == {2, 3, 99}
    assert one.scheduler.wanted(poll, entries[:1], every=True) == {1}


def test_list_never_overrules_a_newer_get() -> None:
    """What a list shows as it was before a get told more is not believed."""
    one, poll = listing()
    one.now += 1
    one.add(50)
    one.due()
    one.got(GetPoll(ref=BackupRef("sun", 5), sent=one.now), "running")
    one.scheduler._star_systems["sun"].requests += 1  # the get above was never issued
    assert one.listed(poll, running() | {5: "failed"}) == []
    assert one.explained(5).status == "running"


def test_older_get_does_not_make_a_list_older() -> None:
    """A get that was on its way for long does not let older lists count again."""
    one, poll = listing()
    one.listed(poll, running())
    flight = one.scheduler._find(BackupRef("sun", 5))
    told = flight.told
    one.got(GetPoll(ref=flight.ref, sent=told - 5), "running")
    assert flight.told == told


def test_what_a_list_does_not_show_is_asked_by_get() -> None:
    """A list declares nothing gone: missing backups are asked about one by one, until a list shows them."""
    one, poll = listing()
    one.listed(poll, running(*range(1, 19)))
    missing = one.due()
    assert {poll.ref.backup_id for poll in missing} == {19, 20}
    for poll in missing:
        one.got(poll)
    assert {one.explained(number).by for number in (19, 20)} == {"get"}
    for _ in range(20):
        (poll,) = one.until_due(room=1)
        if isinstance(poll, ListPoll):
            break
        one.got(poll)
    one.listed(poll, running())
    assert {one.explained(number).by for number in (19, 20)} == {"list"}


def test_backup_added_while_a_list_is_under_way_is_not_missing() -> None:
    """The list may have been made before; and what it shows of a backup without decoding it says nothing."""
    one, poll = listing()
    wanted = one.scheduler.wanted(poll, [Entry(number) for number in MANY])
    one.now += 1
    one.add(21, 22, born=one.now)
    one.add(23)
    seen = {number: sighting(number) for number in wanted}
    one.scheduler.listed(poll, [Entry(number) for number in (*MANY, 21, 23)], seen, CHEAP, one.now)
    assert [one.explained(number).polls for number in (21, 22, 23)] == [0, 0, 0]
    assert [poll.ref.backup_id for poll in gets(one)] == [23]


def test_who_waits_for_one_backup_is_not_kept_waiting_for_others() -> None:
    """A backup that has finished long ago is known after one request, also beside others."""
    one = course()
    one.add(1)
    one.got(*one.due())
    one.add(2, patient=True)
    assert one.due() == []
    one.add(3)
    assert [poll.ref.backup_id for poll in one.due()] == [3]


def test_backups_that_begin_together_are_listed_as_soon_as_it_is_worth_it_for_all() -> None:
    """Not when the first of them alone would be asked about: a bulk run has a hundred in a star system."""
    alone, together = course(jitter=0.0), course(jitter=0.0)
    alone.add(1, born=START)
    for number in range(100):
        together.add(number, born=START)
        together.due()
    (get,), (poll,) = alone.until_due(), together.until_due()
    assert isinstance(get, GetPoll)
    assert isinstance(poll, ListPoll)
    assert together.now - START < (alone.now - START) / 2


def test_backups_of_unknown_age_that_come_one_by_one_wait_for_each_other() -> None:
    """The first is asked about at once, those that come within half of what a request is worth together, by list."""
    one = course(request_worth=10.0)
    asked: list[Poll] = []
    for number in range(60):
        one.add(number, patient=True)
        asked += (polls := one.due())
        for poll in polls:
            if isinstance(poll, GetPoll):
                one.got(poll, "running")
            else:
                one.listed(poll, running(*range(number + 1)))
        one.now += 0.25
    assert one.explained(0).polls >= 1
    assert sum(isinstance(poll, GetPoll) for poll in asked) <= 3
    assert len(asked) <= 12


def test_new_backups_of_unknown_age_are_asked_about_by_list_where_there_are_many() -> None:
    """Where there is a list, many new ones make it due at once; few are asked about by get."""
    one, poll = listing()
    one.add(*range(31, 51))
    one.now += 3
    assert all(isinstance(poll, GetPoll) for poll in one.due(room=2)), "the list is under way"
    one.listed(poll, running())
    again = one.due()
    assert [type(poll) for poll in again] == [ListPoll]
    one.listed(again[0], running(*MANY, *range(31, 51)), ResponseCost(size=10**6, seconds=1.0))
    one.add(60, 61)
    assert [poll.ref.backup_id for poll in gets(one)] == [60, 61]


def test_new_backup_joins_a_list_without_its_tag() -> None:
    """A 304 would not tell of who joined since the last list."""
    one, poll = listing()
    one.listed(poll, running(), ResponseCost(size=10, seconds=0.01, etag='"a"'))
    (poll,) = one.until_due()
    assert poll.etag == '"a"'
    one.scheduler.unchanged(poll, ResponseCost(), one.now)
    assert one.explained(3).polls == 2
    one.add(40, born=one.now)
    (poll,) = one.until_due()
    assert poll.etag is None


def test_unchanged_list_of_nobody_is_dropped() -> None:
    """Its backups were discarded meanwhile."""
    one, poll = listing()
    one.scheduler.discard_all(one.waiter, ["sun", "nowhere"])
    one.scheduler.unchanged(poll, ResponseCost(), one.now)
    assert not any(leftovers(one.scheduler).values())


def test_retry_after_of_a_list_is_obeyed() -> None:
    """For all that it stands for."""
    one, poll = listing()
    one.listed(poll, running(), ResponseCost(size=10, seconds=0.01, retry_after=90.0))
    assert one.explained(3).due_in == 90.0


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
    one, poll = listing()
    assert fail(one, poll, error) == []
    until = one.now + 299.0
    while one.now < until:
        for poll in one.until_due():
            one.got(poll)
    for _ in range(200):
        polls = one.until_due()
        if any(isinstance(poll, ListPoll) for poll in polls):
            break
        for poll in polls:
            one.got(poll)
    else:
        pytest.fail("the list was never tried again")


def test_list_that_fails_for_the_moment_is_asked_for_again() -> None:
    """Twice; after the third time in a row gets are tried instead."""
    one, poll = listing()
    for _ in range(2):
        assert fail(one, poll, DOWN) == []
        (poll,) = one.until_due()
        assert isinstance(poll, ListPoll)
        assert poll.planet is None
    fail(one, poll, DOWN)
    polls = one.until_due()
    assert not any(isinstance(poll, ListPoll) and poll.planet is None for poll in polls)


def test_list_that_never_shows_ours_is_given_up() -> None:
    """A list that is of no use three times in a row is left alone for a time."""
    one, poll = listing()
    lists = 0
    for _ in range(300):
        if isinstance(poll, ListPoll):
            lists += 1
            one.listed(poll, {})
        else:
            one.got(poll)
        (poll,) = one.until_due(room=1)
        if one.now > START + 250:
            break
    assert lists == 3


def test_credentials_refused_for_a_list_end_what_it_stands_for() -> None:
    """Those that are asked about by get find out by themselves."""
    one, poll = listing()
    one.add(50)
    events = fail(one, poll, AuthenticationError(status=401))
    assert len(events) == 20
    assert {type(event) for event in events} == {WatchFailed}
    assert one.scheduler.in_flight == 1


def test_errors_of_a_list_of_nobody_are_dropped() -> None:
    """Its backups were discarded meanwhile."""
    for error in (AuthenticationError(status=401), DOWN, NOT_FOUND):
        one, poll = listing()
        one.scheduler.discard_all(one.waiter, ["sun"])
        assert fail(one, poll, error) == []
        assert not any(leftovers(one.scheduler).values())


def test_list_that_is_far_behind_is_found_out() -> None:
    """A backup long overdue is asked about by get now and then; if it ended long ago, the list is given up."""
    one, poll = listing(maximum=60.0)
    shown = dict.fromkeys(MANY, "running")
    while not (gets := [poll for poll in [poll] if isinstance(poll, GetPoll)]):
        assert one.now < START + 600.0
        one.listed(poll, shown, ResponseCost(size=10, seconds=0.01))
        (poll,) = one.until_due(room=1)
    one.got(gets[0], "running")
    assert one.explained(gets[0].ref.backup_id).by == "list", "it was slow, but honest"
    one.now += 60.0
    while isinstance(poll := one.until_due(room=1)[0], ListPoll):
        one.listed(poll, shown, ResponseCost(size=10, seconds=0.01))
    one.got(poll, "succeeded", age=one.now - START, duration=10.0)
    left = next(number for number in MANY if number != poll.ref.backup_id)
    assert one.explained(left).by == "get"


def test_list_with_fresh_news_is_believed() -> None:
    """Of what ended before that it would have told: only when its news has become old, a get is asked what is true."""
    one, poll = listing(maximum=60.0)
    shown = dict.fromkeys(MANY, "running")
    for number in MANY[:10]:
        one.listed(poll, shown, ResponseCost(size=10, seconds=0.01))
        (poll,) = one.until_due(room=1)
        assert isinstance(poll, ListPoll)
        shown[number] = "succeeded"
        one.now += 20.0
        entries = [Entry(n, status, "2024" if status == "succeeded" else None) for n, status in shown.items()]
        took = one.now - START - 1.0
        seen = {n: sighting(n, shown[n], age=took + 1.0, duration=took) for n in one.scheduler.wanted(poll, entries)}
        tell(one.scheduler.listed(poll, entries, seen, CHEAP, one.now))
        (poll,) = one.until_due(room=1)
        assert isinstance(poll, ListPoll), "the last one should have ended long ago, but so it is with all"
    news = one.now
    while isinstance(poll, ListPoll):
        one.listed(poll, shown, ResponseCost(size=10, seconds=0.01))
        (poll,) = one.until_due(room=1)
    assert one.now > news + 30.0


def test_list_that_is_a_little_behind_is_good_enough() -> None:
    """What ended since the last list, or just before it, is no reason to give it up."""
    one, poll = listing(maximum=60.0)
    one.listed(poll, running())
    one.add(99)
    (get,) = gets(one)
    one.got(get, "succeeded", age=100.0, duration=95.0)
    assert one.explained(3).by == "list"


# -- plans


def test_lists_of_planets_are_used_where_they_are_cheaper() -> None:
    """Where the star system's list is dear, each planet with enough backups has its own."""
    one = course()
    one.scheduler._know.costs.listed(("sun", None), size=10**8, seconds=30.0)
    one.add(*range(1, 11), planet="earth")
    one.add(*range(11, 21), planet="mars")
    one.add(21, planet="venus")
    polls = one.due()
    assert {poll.planet for poll in polls if isinstance(poll, ListPoll)} == {"earth", "mars"}
    assert [poll.ref.backup_id for poll in polls if isinstance(poll, GetPoll)] == [21]
    earth = next(poll for poll in polls if isinstance(poll, ListPoll) and poll.planet == "earth")
    one.scheduler.discard(BackupRef("sun", 1), one.waiter)
    one.listed(earth, running(*range(2, 10)))
    assert [poll.ref.backup_id for poll in one.due()] == [10], "the list of a planet is asked only for its own"


def test_change_of_plan_while_a_list_is_under_way_loses_nothing() -> None:
    """The answer still tells; nobody is left without a request; a second list is not taken for the first."""
    one, poll = listing()
    system = one.scheduler._star_systems["sun"]
    one.scheduler._know.costs.refused(("sun", None), now=one.now)
    system._agenda.plan(one.now)
    assert {one.explained(number).by for number in MANY} <= {"get", "list"}
    one.now += 301.0
    for other in one.due():
        fail(one, other, ConnectError("refused"))
    events = one.listed(poll, running() | {3: "succeeded"})
    assert [event.ref.backup_id for event in events] == [3]
    seen = set()
    for _ in range(100):
        for other in one.until_due():
            if isinstance(other, ListPoll):
                seen |= set(MANY)
                one.listed(other, running())
            else:
                seen.add(other.ref.backup_id)
                one.got(other)
    assert seen >= set(MANY) - {3}


def test_last_backup_of_a_planet_takes_its_list_along() -> None:
    """A list that covers nothing is not asked for."""
    one = course()
    one.scheduler._know.costs.listed(("sun", None), size=10**8, seconds=30.0)
    one.add(*range(1, 11), planet="earth")
    one.add(*range(11, 21), planet="mars")
    earth, mars = sorted(one.due(), key=lambda poll: poll.planet)
    one.listed(earth, dict.fromkeys(range(1, 11), "succeeded"))
    one.listed(mars, running(*range(11, 21)))
    for _ in range(10):
        for poll in one.until_due():
            assert isinstance(poll, GetPoll) or poll.planet != "earth"
            if isinstance(poll, ListPoll):
                one.listed(poll, running(*range(11, 21)))
            else:
                one.got(poll)


def test_list_needs_no_planet_of_every_backup_looked_at() -> None:
    """However many planets there are, planning looks at a bounded number of flights."""
    one = course()
    for number in range(3_000):
        one.add(number, planet=f"planet-{number // 2}")
    looked = 0
    real = one.scheduler._know.durations.belief

    def counted(*where: Any) -> Any:
        nonlocal looked
        looked += 1
        return real(*where)

    one.scheduler._know.durations.belief = counted  # type: ignore[method-assign]
    one.due(room=1)
    assert looked < 4_000


# -- what is said about it


def test_route_says_what_comes_next() -> None:
    """By get or by list; while that is under way, at once."""
    one, poll = listing()
    one.add(50)
    assert (one.explained(3).by, one.explained(3).due_in) == ("list", 0.0)
    (get,) = gets(one)
    assert (one.explained(50).by, one.explained(50).due_in) == ("get", 0.0)
    one.got(get, age=0.0)
    fail(one, poll, RateLimitedError(status=429, retry_after=60.0))
    assert one.explained(3).due_in == 60.0


def test_two_who_wait_for_one_backup_share_its_requests() -> None:
    """Each is told, and the backup is asked about once."""
    one, other = course(), Waiter()
    one.add(7)
    one.add(7, waiter=other, planet="earth")
    (poll,) = one.due()
    events = one.got(poll, "succeeded")
    assert [event.planet.planet for event in events] == ["earth", "earth"]
    assert len(other.events) == 1


def test_unchanged_list_tells_nothing_of_what_it_does_not_show() -> None:
    """A 304 counts for those that the list stands for, not for those that are asked by get."""
    one, poll = listing()
    one.listed(poll, running(*range(1, 20)), ResponseCost(size=10, seconds=0.01, etag='"a"'))
    (get,) = one.due()
    one.got(get, cost=ResponseCost(retry_after=200.0))
    (poll,) = one.until_due()
    one.scheduler.unchanged(poll, ResponseCost(), one.now)
    assert [one.explained(number).polls for number in (1, 20)] == [2, 1]


def test_list_that_shows_a_backup_takes_an_earlier_404_back() -> None:
    """Two gets in a row must find nothing; what a list showed in between was there."""
    one, poll = listing()
    one.listed(poll, running())
    system = one.scheduler._star_systems["sun"]
    for _ in range(3):
        system._agenda.ask_at(system.tracked[MANY[0]], one.now)  # as lists are held to what gets tell, now and then
        one.scheduler._schedule(system)
        (get,) = [poll for poll in one.due() if isinstance(poll, GetPoll)]
        assert fail(one, get, NotFoundError(status=404)) == []
        one.listed(next(poll for poll in one.until_due() if isinstance(poll, ListPoll)), running())
    assert one.waiter.events == []


def test_unchanged_list_tells_nothing_of_a_backup_that_it_never_showed() -> None:
    """It was created while the list was under way: it stays one that is believed in for a while."""
    one, poll = listing()
    one.listed(poll, running(), ResponseCost(size=10, seconds=0.01, etag='"a"'))
    poll = next(poll for poll in one.until_due() if isinstance(poll, ListPoll))
    assert poll.etag == '"a"'
    one.add(999, born=one.now)
    one.scheduler.unchanged(poll, ResponseCost(), one.now)
    assert (one.explained(MANY[0]).polls, one.explained(999).polls) == (2, 0)


def test_retry_after_of_a_list_is_obeyed_though_others_join() -> None:
    """A new backup, and a plan that hastens, do not bring a list forward that the server wants to rest."""
    one, poll = listing()
    one.listed(poll, running(), ResponseCost(size=10, seconds=0.01, retry_after=90.0))
    rest_until = one.now + 90.0
    one.now += 1.0
    one.add(*range(900, 990), born=one.now, mechanism="logical")
    while not any(isinstance(poll, ListPoll) for poll in one.until_due()):
        assert one.now < rest_until + 60.0
    assert one.now >= rest_until


def test_list_that_rests_is_queued_once_however_many_join() -> None:
    """Memory stays in proportion to what is open."""
    one, poll = listing()
    one.listed(poll, running(), ResponseCost(size=10, seconds=0.01, retry_after=90.0))
    one.add(*range(900, 2_900), born=one.now, mechanism="logical")
    assert len(one.scheduler._star_systems["sun"]._agenda.batches._queue) < 100


@pytest.mark.parametrize("error", [ApiError(status=418), ProtocolError("what?", status=302)])
def test_wait_says_what_kept_it_from_knowing(error: BackupsError) -> None:
    """Also where the service answers, but with what tells nothing."""
    one = course()
    one.add(7, lasting=60.0)
    while one.scheduler.in_flight:
        for poll in one.due():
            fail(one, poll, error)
        one.now = one.scheduler.next_deadline()
        tell(one.scheduler.expire(one.now))
    assert one.waiter.events[0].error is error
