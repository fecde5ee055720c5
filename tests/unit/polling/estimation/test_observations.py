"""Durations recorded from lists and from tracked backups."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import attrs
import msgspec
import pytest

from asyncbackups._polling.estimation.observations import FinishedSelection, record_durations, record_listed
from asyncbackups._polling.tracked import Observation
from tests.unit.polling.scenario import CHEAP, START, Scenario, list_entry, observation, scheduler, shared_state

WHERE = ("sun", None)


def chosen(shared: Any, entries: list[list_entry], tracked: frozenset[int] = frozenset()) -> set[int]:
    selection = FinishedSelection(shared, WHERE)
    for entry in entries:
        selection.consider(entry, tracked=entry.id in tracked)
    return selection.choose_ids()


def test_each_finished_backup_is_selected_once() -> None:
    """From the next list only later completions are selected, whatever their ids."""
    shared = shared_state()
    assert chosen(
        shared, [list_entry(5, "running"), list_entry(7, "succeeded", "2024-01-02"), list_entry(6, "ok", "2024-01-01")]
    ) == {
        6,
        7,
    }
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03"), list_entry(7, "succeeded", "2024-01-02")]) == {5}
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03")]) == set()


def test_newest_of_very_many_are_selected() -> None:
    """A history of thousands costs no more than a few hundred."""
    entries = [list_entry(number, "succeeded", f"2024-{number:06}") for number in range(1_000)]
    assert chosen(shared_state(), entries) == set(range(1_000 - 256, 1_000))


def test_ids_of_different_types_may_have_finished_at_the_same_time() -> None:
    """They are chosen by time alone."""
    entries = [list_entry(backup_id, "succeeded", "2024-01-01") for backup_id in (7, "3f2a", "00007", -5)]
    assert chosen(shared_state(), entries) == {7, "3f2a", "00007", -5}


@pytest.mark.parametrize("stamp", [None, 1706522120, ""])
def test_timestamp_of_another_type_is_ignored(stamp: Any) -> None:
    """Timestamps that cannot be ordered are left out."""
    assert chosen(shared_state(), [list_entry(5, "succeeded", stamp)]) == set()


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:59Z", "unknown", "2024-01-05"])
def test_impossible_timestamp_does_not_stop_the_recording(stamp: str) -> None:
    """A text that is no timestamp, or one in the future, does not mark what was recorded."""
    shared = shared_state()
    selection = FinishedSelection(shared, WHERE, "2024-01-04")
    selection.consider(list_entry(5, "succeeded", stamp), tracked=False)
    assert selection.choose_ids() == set()
    assert chosen(shared, [list_entry(6, "succeeded", "2024-01-03")]) == {6}


def test_duration_longer_than_its_age_is_ignored() -> None:
    """A `completedAt` in the year 9999 says nothing about durations."""
    assert learned(shared_state(), [observation(1, "succeeded", age=100.0, duration=1e9)]) == []


def test_mechanism_of_the_create_is_used_if_the_response_has_none() -> None:
    """A tracked backup is recorded with the mechanism that it was created with."""
    scenario = Scenario(scheduler())
    scenario.add(5, started_at=START, mechanism="logical")
    (poll,) = scenario.wait_until_due()
    run = observation(5, "succeeded", age=900.0, duration=100.0)
    silent = msgspec.structs.replace(run, backup=attrs.evolve(run.backup, mechanism=None))
    scenario.scheduler.record_get(poll, silent, CHEAP, scenario.now)
    assert scenario.shared.durations.estimate_for("sun", None, "logical").sample_size == 1


def test_nothing_is_selected_if_learning_is_off() -> None:
    """With `learn=False` no history is decoded."""
    assert chosen(shared_state(learn=False), [list_entry(5, "succeeded", "2024")]) == set()


def test_tracked_backup_is_not_selected_but_counts_as_seen() -> None:
    """It is recorded when its tracking ends; a later list that shows it does not record it again."""
    shared = shared_state()
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03")], tracked=frozenset({5})) == set()
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03"), list_entry(6, "succeeded", "2024-01-04")]) == {6}


def test_duration_from_a_get_is_not_recorded_again_from_a_list() -> None:
    """It would count twice."""
    scenario = Scenario(scheduler())
    scenario.add(5)
    (poll,) = scenario.take_due()
    scenario.record_get(poll, "succeeded", age=900.0, duration=100.0)
    assert chosen(scenario.shared, [list_entry(5, "succeeded", "2024-01-03"), list_entry(6, "succeeded", "2024")]) == {
        6
    }


def test_listed_backups_are_recorded_once() -> None:
    """Not again from a later list, whatever the form of its times; tracked ones when their tracking ends."""
    shared = shared_state()
    seen: list[float] = []
    shared.durations.record_at_level = lambda star_system, *what, place: seen.append(what[-1]) if star_system else None
    listed = [observation(number, "succeeded", age=9000.0, duration=60.0 * number) for number in (1, 2, 3)]
    for _ in range(2):
        record_listed(shared, WHERE, [*listed, observation(4)], 0.0, tracked={3}, latest="2025")
    assert seen == [60.0, 120.0]
    later = [list_entry(number, "succeeded", f"2024-01-29T09:0{number}:00.5Z") for number in (1, 2, 3, 4)]
    assert chosen(shared, later, tracked=frozenset({3})) == {4}


def test_listed_backups_are_not_recorded_if_learning_is_off() -> None:
    """As with polled lists."""
    shared = shared_state(learn=False)
    shared.durations.record_at_level = None
    record_listed(shared, WHERE, [observation(1, "succeeded", age=9.0, duration=6.0)], 0.0, tracked=(), latest="2025")


def learned(shared: Any, observations: list[Observation], now: float = 0.0) -> list[float]:
    """Return the durations recorded for all star systems, in order."""
    seen: list[tuple[float, float]] = []

    def record_at_level(star_system: str | None, *what: Any, place: float) -> None:
        if star_system is None:
            seen.append((place, what[-1]))

    shared.durations.record_at_level = record_at_level
    record_durations(shared, WHERE, observations, now)
    return [seconds for _, seconds in sorted(seen)]


def test_newest_duration_is_recorded_last() -> None:
    """Durations are recorded in the order of the starts, and unknown ones not at all."""
    late = observation(1, "succeeded", age=100.0, duration=50.0)
    early = observation(3, "failed", age=900.0, duration=300.0)
    assert learned(shared_state(), [late, observation(2), early]) == [300.0, 50.0]


def test_durations_of_one_cohort_are_recorded_in_no_order() -> None:
    """From the quickest to the slowest they would look like a workload that changes."""
    together = [observation(number, "succeeded", age=900.0, duration=1.0 + number) for number in range(32)]
    seen = learned(shared_state(), together)
    assert sorted(seen) == [1.0 + number for number in range(32)]
    rising = sum(later > earlier for earlier, later in pairwise(seen))
    assert 8 <= rising <= 23


def test_estimate_after_a_bulk_run_is_unbiased() -> None:
    """Its slowest backups are recorded last: they must not look like a workload that has become slow."""
    scenario, took = Scenario(scheduler(coalesce=False)), random.Random(4)
    shared, ends = scenario.shared, sorted(took.lognormvariate(math.log(131.0), 0.4) for _ in range(1_000))
    record_durations(shared, WHERE, [observation(-1, "succeeded", age=9e4, duration=131.0) for _ in range(8)], START)
    for number in range(1_000):
        scenario.add(number, star_system=f"s{number % 10}", started_at=START, mechanism="logical")
    polls = {}
    while len(polls) < 1_000:
        polls |= {poll.ref.backup_id: poll for poll in scenario.wait_until_due(capacity=1_000)}
    for number, seconds in enumerate(ends):
        scenario.record_get(polls[number], "succeeded", age=seconds, duration=seconds)
    estimate = shared.durations.estimate_for("s3", None, "logical")
    assert estimate.survival(131.0) == pytest.approx(0.5, abs=0.12)
    assert estimate.survival(131.0 * math.exp(0.8)) == pytest.approx(0.023, abs=0.03)


def test_quick_backups_of_a_cohort_are_held_back() -> None:
    """A hundred backups of one start are recorded when nine tenths have finished, not from the quickest first."""
    scenario = Scenario(scheduler(coalesce=False))
    shared, taught = scenario.shared, []
    record_durations(shared, WHERE, [observation(-1, "succeeded", age=9e4, duration=100.0) for _ in range(8)], START)
    scenario.add(*range(100), started_at=START, mechanism="logical")
    shared.durations.record_at_level = lambda *where, **_: taught.append(where[-1]) if where[0] is None else None
    polls = []
    while len(polls) < 100:
        polls += scenario.wait_until_due(capacity=100)
    for number, poll in enumerate(polls, 1):
        scenario.record_get(poll, "succeeded", age=scenario.now - START, duration=float(number))
        assert not taught or number >= 90, number
    assert sorted(taught) == [float(number) for number in range(1, 101)]
