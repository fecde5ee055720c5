"""The scheduler over all star systems: fairness, stalls, and memory."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
from collections import Counter
from typing import Any

import attrs
import pytest

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._polling.tracked import GetPoll, ListPoll, Poll
from asyncbackups.errors import EngineError, ServiceUnavailableError
from asyncbackups.events import BackupSucceeded, WatchFailed
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


def scenario(**policy: Any) -> Scenario:
    return Scenario(scheduler(**policy))


# -- subscriptions


def test_adding_is_idempotent() -> None:
    """A subscriber has one subscription per backup; another subscriber has its own."""
    run, other = scenario(), RecordingSubscriber()
    ref = BackupRef("sun", 7)
    news = [run.scheduler.add(ref, who, now=START, deadline=2e6) for who in (run.subscriber, run.subscriber, other)]
    assert news == [True, False, True]
    assert run.scheduler.in_flight == 1
    run.record_get(*run.take_due(), status="succeeded")
    assert (len(run.subscriber.events), len(other.events)) == (1, 1)


def test_discard_ends_a_wait_without_an_event() -> None:
    """Other subscribers of the backup are not affected; a backup without a subscription is ignored."""
    run, other = scenario(), RecordingSubscriber()
    ref = BackupRef("sun", 7)
    run.add(7)
    run.add(7, subscriber=other)
    assert run.scheduler.discard(ref, run.subscriber)
    assert not run.scheduler.discard(ref, run.subscriber)
    assert not run.scheduler.discard(BackupRef("vega", 7), run.subscriber)
    run.record_get(*run.take_due(), status="succeeded")
    assert (run.subscriber.events, len(other.events)) == ([], 1)


def test_discard_all_ends_the_waits_of_one_subscriber() -> None:
    """Its backups are not polled any more, those of others are."""
    run, other = scenario(), RecordingSubscriber()
    run.add(*range(10), star_system="vega")
    run.add(*range(10), star_system="sun")
    run.add(3, star_system="sun", subscriber=other)
    run.scheduler.discard_all(run.subscriber, ["sun", "vega"])
    assert run.scheduler.in_flight == 1
    assert [poll.ref for poll in run.take_due()] == [BackupRef("sun", 3)]


def test_star_system_added_again_is_not_mistaken_for_the_old_one() -> None:
    """It may be forgotten and added again in the same instant, also while it is in the queue."""
    run = scenario()
    for _ in range(3):
        run.add(7)
        run.discard(7)
    run.add(*range(20), star_system="vega")
    run.add(8)
    run.shared.costs.pause_list(("vega", None), now=run.now)
    assert len(run.take_due(capacity=1)) == 1
    run.discard(8)  # it is in line, and there was no room for it
    run.add(9)
    assert BackupRef("sun", 9) in [getattr(poll, "ref", None) for poll in run.take_due()]
    assert run.explain(9) is not None


# -- wake-ups


def test_idle_scheduler_has_no_wakeup() -> None:
    """Without tracked backups, or with all polls in flight, it wakes up for deadlines only."""
    run = scenario()
    assert run.scheduler.next_wakeup() is None
    run.add(7, deadline_in=5_000.0)
    (poll,) = run.take_due()
    assert run.scheduler.next_wakeup() == pytest.approx(START + 4_995.0, abs=1.0), "its last look"
    run.record_get(poll, "succeeded")
    assert run.scheduler.next_wakeup() is None


def test_no_poll_is_sent_before_it_is_due() -> None:
    """A thousand backups of different ages are polled at their own times, in order."""
    run, chance = scenario(coalesce=False), random.Random(3)
    for number in range(1_000):
        run.add(number, star_system=f"s{number % 7}", started_at=START - chance.uniform(0, 100))
    expected = {number: run.explain(number, f"s{number % 7}").due_in for number in range(1_000)}
    polled = 0
    while polled < 1_000:
        for poll in run.wait_until_due(capacity=50):
            assert run.now - START >= expected[poll.ref.backup_id] - 1e-6
            deliver_all(run.scheduler.record_get(poll, observation(poll.ref.backup_id, "succeeded"), CHEAP, run.now))
            polled += 1
    assert run.scheduler.in_flight == 0


def test_capacity_is_respected() -> None:
    """There are never more requests than capacity, and none without capacity."""
    run = scenario(coalesce=False)
    run.add(*range(100))
    assert run.take_due(capacity=0) == []
    assert len(run.take_due(capacity=7)) <= 7


def test_stall_is_not_followed_by_a_burst() -> None:
    """Polls that were overdue for a minute are spread over a minute."""
    run = scenario(maximum=60.0)
    for number in range(200):
        run.add(number, star_system=f"s{number}", started_at=START)
    run.now += 3_600.0
    assert run.take_due(capacity=1_000) == []
    minutes: Counter[int] = Counter()
    while sum(minutes.values()) < 200:
        for poll in run.wait_until_due(capacity=1_000):
            minutes[int(run.now - START - 3_600) // 10] += 1
            deliver_all(run.scheduler.record_get(poll, observation(poll.ref.backup_id, "succeeded"), CHEAP, run.now))
    assert max(minutes) == 5
    assert max(minutes.values()) < 70


def test_overdue_list_is_spread_out_too() -> None:
    """After a stall it waits for a part of the window."""
    run = scenario()
    run.add(*range(20))
    run.record_list(*run.take_due(), shown=dict.fromkeys(range(20), "running"))
    run.now += 500.0
    assert run.take_due() == []
    (poll,) = run.wait_until_due()
    assert isinstance(poll, ListPoll)
    assert START + 500.0 < run.now < START + 560.0


# -- lists sent along


def _polled_by_list(run: Scenario, *star_systems: str, response: ResponseInfo = CHEAP) -> None:
    """Poll twenty backups of each star system by a list, now."""
    for name in star_systems:
        run.add(*range(20), star_system=name)
    for poll in run.take_due(capacity=100):
        run.record_list(poll, shown=dict.fromkeys(range(20), "running"), response=response)


def _names(polls: list[Poll]) -> list[str]:
    return sorted(poll.star_system for poll in polls)


def test_lists_that_are_nearly_due_are_sent_along() -> None:
    """Lists of other star systems may be sent in the last fifth of their interval, but cause no wake-up."""
    run = scenario(learn=False, initial=10.0, factor=1.0, jitter=0.0)
    _polled_by_list(run, "a")
    pause = run.explain(0, "a").due_in
    run.now += pause * 0.15
    _polled_by_list(run, "b")
    run.now += pause * 0.1
    _polled_by_list(run, "c")
    assert _names(run.wait_until_due()) == ["a", "b"]
    assert run.now == pytest.approx(START + pause)
    assert _names(run.wait_until_due()) == ["c"]


def test_lists_sent_along_are_no_burst() -> None:
    """Of a hundred star systems that are nearly due a few are sent with the first."""
    run = scenario(learn=False, initial=10.0, factor=1.0)
    _polled_by_list(run, *(f"s{number}" for number in range(100)), response=response_info(size=10_000, seconds=0.5))
    assert len(run.wait_until_due(capacity=100)) == 8


def test_paused_list_is_not_sent_along() -> None:
    """A `Retry-After` has no slack."""
    run = scenario(learn=False, initial=10.0, factor=1.0, jitter=0.0)
    _polled_by_list(run, "a", response=attrs.evolve(CHEAP, retry_after=61.0))
    run.now += 2.0
    _polled_by_list(run, "b", response=attrs.evolve(CHEAP, retry_after=60.0))
    assert _names(run.wait_until_due()) == ["a"]
    assert _names(run.wait_until_due()) == ["b"]
    assert run.now == START + 62.0


# -- fairness


def test_large_star_system_does_not_starve_a_small_one() -> None:
    """Ten backups beside 100,000 are all polled within the first turns."""
    run = scenario(coalesce=False)
    run.add(*range(100_000), star_system="giant")
    run.add(*range(10), star_system="dwarf")
    polled: Counter[str] = Counter()
    for _ in range(3):
        polls = run.take_due(capacity=10)
        polled.update(poll.star_system for poll in polls)
        for poll in polls:
            run.record_get(poll)
    assert polled["dwarf"] == 10


def test_slow_star_system_does_not_starve_another_one() -> None:
    """A star system whose responses never come leaves capacity for others."""
    run = scenario(coalesce=False)
    run.add(*range(1_000), star_system="slow")
    under_way = run.take_due(capacity=32)
    assert len(under_way) == 24
    run.add(*range(5), star_system="quick")
    polls = run.take_due(capacity=32 - 24)
    assert {poll.star_system for poll in polls} == {"quick"}
    assert len(polls) == 5
    assert run.take_due(capacity=3) == []
    run.record_get(under_way[0])
    assert run.take_due(capacity=9)[0].star_system == "slow"


def test_star_systems_take_turns() -> None:
    """With little capacity each gets its share."""
    run = scenario(coalesce=False)
    for name in ("a", "b", "c"):
        run.add(*range(30), star_system=name)
    assert Counter(poll.star_system for poll in run.take_due(capacity=9)) == {"a": 3, "b": 3, "c": 3}


# -- the end of waits


def test_fail_all_ends_every_wait() -> None:
    """Each subscriber gets the error, whatever the state of the scheduler."""
    run, other = scenario(), RecordingSubscriber()
    run.add(*range(30))
    run.take_due()
    run.add(7, 99, star_system="vega", subscriber=other)
    error = EngineError("it broke")
    events = deliver_all(run.scheduler.fail_all(error, run.now))
    assert len(events) == 32
    assert all(isinstance(event, WatchFailed) and event.error is error for event in events)
    assert run.scheduler.in_flight == 0


def test_nothing_is_kept_after_the_last_wait() -> None:
    """No backup, no wait and no subscriber, however the waits ended."""
    run = scenario()
    subscriber = RecordingSubscriber()
    run.add(*range(300), subscriber=subscriber)
    run.add(*range(10), star_system="vega", subscriber=subscriber, deadline_in=50.0)
    for _ in range(40):
        for poll in run.wait_until_due(capacity=5):
            if isinstance(poll, GetPoll):
                run.record_get(poll, "succeeded" if run.now > START + 20 else "running", response=CHEAP)
            elif run.now < START + 10:
                deliver_all(run.scheduler.record_failure(poll, ServiceUnavailableError(status=503), run.now))
            else:
                run.record_list(poll, dict.fromkeys(range(300), "succeeded"))
        if not run.scheduler.in_flight:
            break
    assert len(subscriber.events) == 310
    assert is_idle(run.scheduler)
    alive = weakref.ref(subscriber)
    del subscriber
    gc.collect()
    assert alive() is None


def test_memory_is_proportional_to_tracked_backups() -> None:
    """Adding and discarding backups of one star system without end does not fill its queue."""
    run = scenario(coalesce=False)
    run.add(0)

    def come_and_go(numbers: range) -> None:
        for number in numbers:
            run.add(number, started_at=run.now)
            run.discard(number)

    come_and_go(range(1, 2_000))
    gc.collect()
    tracemalloc.start()
    try:
        come_and_go(range(2_000, 20_000))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


# -- explanations and estimates


def test_explanation_shows_the_next_poll_and_its_grounds() -> None:
    """It is None for a backup that is not tracked."""
    run = scenario(jitter=0.0, initial=5.0)
    assert run.explain(7) is None
    run.add(7, started_at=START - 2.0, deadline_in=100.0)
    explain = run.explain(7)
    assert (explain.by, explain.age, explain.polls, explain.status) == ("get", 2.0, 0, None)
    assert explain.due_in == 3.0
    assert explain.learned_from == 0
    assert explain.expires_in == pytest.approx(100.0, abs=0.5)
    assert explain.ref == BackupRef("sun", 7)
    run.add(8)
    assert run.explain(8).age is None


def test_history_in_a_list_is_recorded() -> None:
    """Finished backups in a list improve the estimates."""
    run = scenario()
    run.add(*range(20))
    (poll,) = run.take_due()
    entries = [list_entry(number) for number in range(20)] + [
        list_entry(100 + n, "succeeded", f"2024-{n}") for n in range(9)
    ]
    seen = {
        number: observation(number, age=5.0) if number < 20 else observation(number, "succeeded", duration=60.0)
        for number in run.scheduler.select_entries(poll, entries)
    }
    record_whole_list(run.scheduler, poll, entries, seen, CHEAP, run.now)
    assert run.explain(3).learned_from == 9
    assert run.explain(3).age == 5.0


def test_durations_of_tracked_backups_are_recorded() -> None:
    """Each backup that ends improves the estimates."""
    run = scenario()
    run.add(7, planet="earth")
    events = run.record_get(*run.take_due(), status="succeeded", duration=60.0)
    assert isinstance(events[0], BackupSucceeded)
    run.add(8, planet="earth")
    assert run.explain(8).learned_from == 1
