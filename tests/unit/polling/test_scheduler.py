"""The scheduler over all star systems: turns, deadlines, stalls, and what it keeps."""

from __future__ import annotations

import gc
import random
import weakref
from collections import Counter
from itertools import pairwise
from typing import Any

import attrs
import pytest

from asyncbackups._polling.tracked import GetPoll, ListPoll, Poll, ResponseCost
from asyncbackups.errors import EngineError, NotFoundError, ServiceUnavailableError
from asyncbackups.events import BackupSucceeded, WatchExpired, WatchFailed
from asyncbackups.models import BackupRef
from tests.unit.polling.worlds import CHEAP, START, Course, Entry, Waiter, leftovers, scheduler, sighting, tell


def course(**policy: Any) -> Course:
    return Course(scheduler(**policy))


# -- who waits for what


def test_adding_twice_is_adding_once() -> None:
    """The same subscriber waits once for a backup, another one waits beside it."""
    one, other = course(), Waiter()
    ref = BackupRef("sun", 7)
    news = [one.scheduler.add(ref, who, now=START, deadline=2e6) for who in (one.waiter, one.waiter, other)]
    assert news == [True, False, True]
    assert one.scheduler.in_flight == 1
    one.got(*one.due(), status="succeeded")
    assert (len(one.waiter.events), len(other.events)) == (1, 1)


def test_discard_ends_a_wait_without_an_event() -> None:
    """Others who wait for the same backup are left alone; what is not waited for is ignored."""
    one, other = course(), Waiter()
    ref = BackupRef("sun", 7)
    one.add(7)
    one.add(7, waiter=other)
    assert one.scheduler.discard(ref, one.waiter)
    assert not one.scheduler.discard(ref, one.waiter)
    assert not one.scheduler.discard(BackupRef("vega", 7), one.waiter)
    one.got(*one.due(), status="succeeded")
    assert (one.waiter.events, len(other.events)) == ([], 1)


def test_leaving_discards_everything_of_one_subscriber() -> None:
    """Its backups are no longer asked about, those of others are."""
    one, other = course(), Waiter()
    one.add(*range(10), star_system="vega")
    one.add(*range(10), star_system="sun")
    one.add(3, star_system="sun", waiter=other)
    one.scheduler.discard_all(one.waiter, ["sun", "vega"])
    assert one.scheduler.in_flight == 1
    assert [poll.ref for poll in one.due()] == [BackupRef("sun", 3)]


def test_star_system_that_comes_back_is_not_taken_for_the_old_one() -> None:
    """Forgotten and added again in the same instant, in line and out of line."""
    one = course()
    for _ in range(3):
        one.add(7)
        one.scheduler.discard(BackupRef("sun", 7), one.waiter)
    one.add(*range(20), star_system="vega")
    one.add(8)
    one.scheduler._know.costs.refused(("vega", None), now=one.now)
    assert len(one.due(room=1)) == 1
    one.scheduler.discard(BackupRef("sun", 8), one.waiter)  # it is in line, and there was no room for it
    one.add(9)
    assert BackupRef("sun", 9) in [getattr(poll, "ref", None) for poll in one.due()]
    assert one.explained(9) is not None


# -- deadlines


def test_deadline_ends_a_wait() -> None:
    """It is the wait's own: who waits longer goes on, and what was last seen is told."""
    one, other = course(jitter=0.0), Waiter()
    one.add(7, lasting=100.0)
    one.add(7, lasting=1_000.0, waiter=other)
    one.got(*one.due())
    one.now += 101.0
    (event,) = tell(one.scheduler.expire(one.now))
    assert isinstance(event, WatchExpired)
    assert (event.backup.status, event.polls, event.elapsed) == ("running", 1, 101.0)
    assert other.events == []
    one.now += 1_000.0
    (event,) = tell(one.scheduler.expire(one.now))
    assert event is other.events[0]
    assert not any(leftovers(one.scheduler).values())


def test_deadline_that_passes_during_trouble_says_which() -> None:
    """Whether it still ran is not known then; once polls are answered again, it is."""
    one, down = course(jitter=0.0), ServiceUnavailableError(status=503)
    one.add(7, lasting=100.0)
    one.add(7, lasting=1_000.0, waiter=Waiter())
    tell(one.scheduler.failed(*one.due(), down, one.now))
    one.now += 101.0
    (event,) = tell(one.scheduler.expire(one.now))
    assert event.error is down
    one.got(*one.until_due())
    one.now += 1_000.0
    (event,) = tell(one.scheduler.expire(one.now))
    assert event.error is None


def test_scheduler_wakes_for_a_deadline() -> None:
    """Also where nothing else is due before."""
    one = course()
    one.add(7, lasting=0.5)
    one.due()
    assert one.scheduler.next_deadline() == pytest.approx(START + 0.45, abs=0.01), "its last look"
    one.now += 0.46
    assert one.scheduler.expire(one.now) == []
    assert one.scheduler.next_deadline() == pytest.approx(START + 0.5, abs=0.01)


@pytest.mark.parametrize(("lasting", "looked"), [(3.0, 2.7), (30.0, 27.0), (4_000.0, 3_995.0)])
def test_wait_takes_a_last_look_before_its_deadline(lasting: float, looked: float) -> None:
    """What has succeeded is not called unfinished because the schedule was to ask later."""
    one = course(initial=5.0, maximum=3_600.0, jitter=0.0)
    one.add(7, born=START, lasting=lasting)
    while one.now < START + looked - 1e-9:
        for poll in one.until_due():
            last = one.now
            events = one.got(poll, "running" if one.now < START + looked - 1e-9 else "succeeded")
    assert last == pytest.approx(START + looked, abs=1.0)
    assert [type(event) for event in events] == [BackupSucceeded]


def test_last_look_at_many_is_one_list() -> None:
    """Where a list stands for them, it is asked for once."""
    one = course(initial=5.0, maximum=3_600.0, jitter=0.0)
    one.add(*range(50), born=START, lasting=400.0)
    asked = []
    while one.scheduler.in_flight:
        for poll in one.due():
            if isinstance(poll, GetPoll):  # one that should have ended: lists may be behind
                one.got(poll)
                continue
            asked.append(one.now - START)
            one.listed(poll, dict.fromkeys(range(50), "running"))
        one.now = one.scheduler.next_deadline()
        tell(one.scheduler.expire(one.now))
    assert [when for when in asked if when > 390.0] == [pytest.approx(395.0, abs=1.6)]
    assert [type(event) for event in one.waiter.events] == [WatchExpired] * 50


def test_last_look_waits_as_long_as_the_server_wants() -> None:
    """`Retry-After` overrides it."""
    one = course(initial=5.0, jitter=0.0)
    one.add(7, lasting=30.0)
    one.got(one.due()[0], cost=ResponseCost(retry_after=300.0))
    while one.scheduler.in_flight:
        one.now = one.scheduler.next_deadline()
        assert one.due() == []
        tell(one.scheduler.expire(one.now))
    assert one.now == pytest.approx(START + 30.0, abs=0.3)


def test_last_look_does_not_hurry_the_confirmation_that_one_is_gone() -> None:
    """Two gets that find nothing are some seconds apart, whoever is about to go."""
    one, asked = course(initial=5.0, jitter=0.0), []
    one.add(7, lasting=25.0)
    one.add(7, lasting=25.3, waiter=Waiter())
    one.got(one.due()[0], age=0.0)
    while one.scheduler.in_flight:
        for poll in one.due():
            asked.append(one.now)
            if one.now < START + 19.0:
                one.got(poll, age=one.now - START)
            else:
                tell(one.scheduler.failed(poll, NotFoundError(status=404), one.now))
        one.now = one.scheduler.next_deadline() or one.now
        tell(one.scheduler.expire(one.now))
    missing = [when for when in asked if when >= START + 19.0]
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(missing))


def test_no_last_look_where_one_was_just_taken() -> None:
    """Nor while one is under way."""
    one = course(initial=5.0, jitter=0.0)
    one.add(7, 8, lasting=10.0)
    first, second = one.due()
    one.now += 9.2
    one.scheduler.got(attrs.evolve(first, sent=one.now), sighting(7, age=0.0), CHEAP, one.now)
    assert (tell(one.scheduler.expire(one.now)), one.due()) == ([], [])
    one.got(second, age=0.0)
    one.now += 1.0
    assert len(tell(one.scheduler.expire(one.now))) == 2


def test_very_many_deadlines_pass_in_portions() -> None:
    """A million waits that expire together do not hold up everything else."""
    one = course()
    one.add(*range(2_500), lasting=10.0)
    one.now += 11.0
    portions = [len(one.scheduler.expire(one.now)) for _ in range(4)]
    assert portions == [1_000, 1_000, 500, 0]
    assert not any(leftovers(one.scheduler).values())


def test_deadline_passes_while_a_request_is_under_way() -> None:
    """The late answer ends nothing twice."""
    one = course()
    one.add(7, lasting=10.0)
    (poll,) = one.due()
    one.now += 11.0
    assert len(tell(one.scheduler.expire(one.now))) == 1
    assert one.got(poll, "succeeded") == []
    assert not any(leftovers(one.scheduler).values())


# -- when there is something to do


def test_idle_is_idle() -> None:
    """With nothing in flight, or everything under way, there is no time to wake up for but deadlines."""
    one = course()
    assert one.scheduler.next_deadline() is None
    one.add(7, lasting=5_000.0)
    (poll,) = one.due()
    assert one.scheduler.next_deadline() == pytest.approx(START + 4_995.0, abs=1.0), "its last look"
    one.got(poll, "succeeded")
    assert one.scheduler.next_deadline() is None


def test_no_request_before_it_is_due() -> None:
    """A thousand backups born at different times: each is asked about at its own time, in order."""
    one, chance = course(coalesce=False), random.Random(3)
    for number in range(1_000):
        one.add(number, star_system=f"s{number % 7}", born=START - chance.uniform(0, 100))
    expected = {number: one.explained(number, f"s{number % 7}").due_in for number in range(1_000)}
    asked = 0
    while asked < 1_000:
        for poll in one.until_due(room=50):
            assert one.now - START >= expected[poll.ref.backup_id] - 1e-6
            tell(one.scheduler.got(poll, sighting(poll.ref.backup_id, "succeeded"), CHEAP, one.now))
            asked += 1
    assert one.scheduler.in_flight == 0


def test_room_is_kept_to() -> None:
    """Never more requests than there is room for, and none without room."""
    one = course(coalesce=False)
    one.add(*range(100))
    assert one.due(room=0) == []
    assert len(one.due(room=7)) <= 7


def test_stall_does_not_come_back_as_a_burst() -> None:
    """What was overdue for a minute is spread over a minute."""
    one = course(maximum=60.0)
    for number in range(200):
        one.add(number, star_system=f"s{number}", born=START)
    one.now += 3_600.0
    assert one.due(room=1_000) == []
    minutes: Counter[int] = Counter()
    while sum(minutes.values()) < 200:
        for poll in one.until_due(room=1_000):
            minutes[int(one.now - START - 3_600) // 10] += 1
            tell(one.scheduler.got(poll, sighting(poll.ref.backup_id, "succeeded"), CHEAP, one.now))
    assert max(minutes) == 5
    assert max(minutes.values()) < 70


def test_list_that_is_overdue_is_put_off_too() -> None:
    """After a stall a list waits for its part of the window."""
    one = course()
    one.add(*range(20))
    one.listed(*one.due(), shown=dict.fromkeys(range(20), "running"))
    one.now += 500.0
    assert one.due() == []
    (poll,) = one.until_due()
    assert isinstance(poll, ListPoll)
    assert START + 500.0 < one.now < START + 560.0


# -- what goes along


def _polled_by_list(one: Course, *star_systems: str, cost: ResponseCost = CHEAP) -> None:
    """Let each star system's twenty backups be told of by a list, now."""
    for name in star_systems:
        one.add(*range(20), star_system=name)
    for poll in one.due(room=100):
        one.listed(poll, shown=dict.fromkeys(range(20), "running"), cost=cost)


def _names(polls: list[Poll]) -> list[str]:
    return sorted(poll.star_system for poll in polls)


def test_lists_that_are_nearly_due_go_along() -> None:
    """Those of other star systems, the last fifth of their pause; nobody is woken for that alone."""
    one = course(learn=False, initial=10.0, factor=1.0, jitter=0.0)
    _polled_by_list(one, "a")
    pause = one.explained(0, "a").due_in
    one.now += pause * 0.15
    _polled_by_list(one, "b")
    one.now += pause * 0.1
    _polled_by_list(one, "c")
    assert _names(one.until_due()) == ["a", "b"]
    assert one.now == pytest.approx(START + pause)
    assert _names(one.until_due()) == ["c"]


def test_what_goes_along_is_no_burst() -> None:
    """Of a hundred star systems that are nearly due a few go with the first."""
    one = course(learn=False, initial=10.0, factor=1.0)
    _polled_by_list(one, *(f"s{number}" for number in range(100)), cost=ResponseCost(size=10_000, seconds=0.5))
    assert len(one.until_due(room=100)) == 8


def test_nothing_goes_along_before_the_server_wants_it() -> None:
    """A `Retry-After` has no slack."""
    one = course(learn=False, initial=10.0, factor=1.0, jitter=0.0)
    _polled_by_list(one, "a", cost=attrs.evolve(CHEAP, retry_after=61.0))
    one.now += 2.0
    _polled_by_list(one, "b", cost=attrs.evolve(CHEAP, retry_after=60.0))
    assert _names(one.until_due()) == ["a"]
    assert _names(one.until_due()) == ["b"]
    assert one.now == START + 62.0


# -- fairness


def test_star_system_of_very_many_does_not_starve_a_small_one() -> None:
    """Ten backups beside 100,000 are all asked about within the first turns."""
    one = course(coalesce=False)
    one.add(*range(100_000), star_system="giant")
    one.add(*range(10), star_system="dwarf")
    asked: Counter[str] = Counter()
    for _ in range(3):
        polls = one.due(room=10)
        asked.update(poll.star_system for poll in polls)
        for poll in polls:
            one.got(poll)
    assert asked["dwarf"] == 10


def test_slow_answers_do_not_starve_another_star_system() -> None:
    """A star system whose answers never come leaves places free for others."""
    one = course(coalesce=False)
    one.add(*range(1_000), star_system="slow")
    under_way = one.due(room=32)
    assert len(under_way) == 24
    one.add(*range(5), star_system="quick")
    polls = one.due(room=32 - 24)
    assert {poll.star_system for poll in polls} == {"quick"}
    assert len(polls) == 5
    assert one.due(room=3) == []
    one.got(under_way[0])
    assert one.due(room=9)[0].star_system == "slow"


def test_star_systems_take_turns() -> None:
    """With room for few, each gets its share."""
    one = course(coalesce=False)
    for name in ("a", "b", "c"):
        one.add(*range(30), star_system=name)
    assert Counter(poll.star_system for poll in one.due(room=9)) == {"a": 3, "b": 3, "c": 3}


# -- the end


def test_giving_up_tells_everybody() -> None:
    """Whoever waits is told why, whatever state the scheduler is in."""
    one, other = course(), Waiter()
    one.add(*range(30))
    one.due()
    one.add(7, 99, star_system="vega", waiter=other)
    error = EngineError("it broke")
    events = tell(one.scheduler.give_up(error, one.now))
    assert len(events) == 32
    assert all(isinstance(event, WatchFailed) and event.error is error for event in events)
    assert one.scheduler.in_flight == 0


def test_nothing_is_kept_once_all_is_over() -> None:
    """No flight, no wait, no subscriber, however it ended."""
    one = course()
    waiter = Waiter()
    one.add(*range(300), waiter=waiter)
    one.add(*range(10), star_system="vega", waiter=waiter, lasting=50.0)
    for _ in range(40):
        for poll in one.until_due(room=5):
            if isinstance(poll, GetPoll):
                one.got(poll, "succeeded" if one.now > START + 20 else "running", cost=CHEAP)
            elif one.now < START + 10:
                tell(one.scheduler.failed(poll, ServiceUnavailableError(status=503), one.now))
            else:
                one.listed(poll, dict.fromkeys(range(300), "succeeded"))
        if not one.scheduler.in_flight:
            break
    assert len(waiter.events) == 310
    assert not any(leftovers(one.scheduler).values())
    alive = weakref.ref(waiter)
    del waiter
    gc.collect()
    assert alive() is None


def test_memory_of_the_queue_follows_what_is_in_flight() -> None:
    """Coming and going in one star system for ever does not fill its queue."""
    one = course(coalesce=False)
    one.add(0)
    for number in range(1, 20_000):
        one.add(number, born=one.now)
        one.scheduler.discard(BackupRef("sun", number), one.waiter)
    system = one.scheduler._star_systems["sun"]
    assert len(system._agenda._singles) < 200
    assert len(one.scheduler._waiting) < 200


# -- what is said about it


def test_explanation_says_when_and_why() -> None:
    """By which request, when, on what grounds; nothing of what is not in flight."""
    one = course(jitter=0.0, initial=5.0)
    assert one.explained(7) is None
    one.add(7, born=START - 2.0, lasting=100.0)
    explained = one.explained(7)
    assert (explained.by, explained.age, explained.polls, explained.status) == ("get", 2.0, 0, None)
    assert explained.due_in == 3.0
    assert explained.learned_from == 0
    assert explained.expires_in == pytest.approx(100.0, abs=0.5)
    assert explained.ref == BackupRef("sun", 7)
    one.add(8)
    assert one.explained(8).age is None


def test_history_in_a_list_is_learned_from() -> None:
    """What a list shows as finished tells how long backups take."""
    one = course()
    one.add(*range(20))
    (poll,) = one.due()
    entries = [Entry(number) for number in range(20)] + [Entry(100 + n, "succeeded", f"2024-{n}") for n in range(9)]
    seen = {
        number: sighting(number, age=5.0) if number < 20 else sighting(number, "succeeded", duration=60.0)
        for number in one.scheduler.wanted(poll, entries)
    }
    tell(one.scheduler.listed(poll, entries, seen, CHEAP, one.now))
    assert one.explained(3).learned_from == 9
    assert one.explained(3).age == 5.0


def test_backups_under_watch_are_learned_from() -> None:
    """Each that ends is one more to learn from."""
    one = course()
    one.add(7, planet="earth")
    events = one.got(*one.due(), status="succeeded", duration=60.0)
    assert isinstance(events[0], BackupSucceeded)
    one.add(8, planet="earth")
    assert one.explained(8).learned_from == 1
