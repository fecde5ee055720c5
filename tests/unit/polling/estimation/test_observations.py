"""What lists teach of how long backups take."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import attrs
import msgspec
import pytest

from asyncbackups._polling.estimation.observations import FinishedSelection, record_durations
from asyncbackups._polling.tracked import Observation
from tests.unit.polling.scenario import CHEAP, START, Scenario, list_entry, observation, scheduler, shared_state

WHERE = ("sun", None)


def chosen(shared: Any, entries: list[list_entry], tracked: frozenset[int] = frozenset()) -> set[int]:
    lesson = FinishedSelection(shared, WHERE)
    for entry in entries:
        lesson.consider(entry, tracked=entry.id in tracked)
    return lesson.choose_ids()


def test_each_finished_backup_is_chosen_once() -> None:
    """The next list teaches only what was completed since, whatever its id."""
    shared = shared_state()
    assert chosen(
        shared, [list_entry(5, "running"), list_entry(7, "succeeded", "2024-01-02"), list_entry(6, "ok", "2024-01-01")]
    ) == {
        6,
        7,
    }
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03"), list_entry(7, "succeeded", "2024-01-02")]) == {5}
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03")]) == set()


def test_of_very_many_the_newest_are_chosen() -> None:
    """A history of thousands costs no more than a few hundred."""
    entries = [list_entry(number, "succeeded", f"2024-{number:06}") for number in range(1_000)]
    assert chosen(shared_state(), entries) == set(range(1_000 - 256, 1_000))


@pytest.mark.parametrize("stamp", [None, 1706522120, ""])
def test_stamp_that_is_no_text_teaches_nothing(stamp: Any) -> None:
    """What cannot be put in order is left out."""
    assert chosen(shared_state(), [list_entry(5, "succeeded", stamp)]) == set()


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:59Z", "unknown", "2024-01-05"])
def test_stamp_that_cannot_be_true_does_not_end_the_learning(stamp: str) -> None:
    """What is no time, or one that is to come, is no mark for what was learned from."""
    shared = shared_state()
    lesson = FinishedSelection(shared, WHERE, "2024-01-04")
    lesson.consider(list_entry(5, "succeeded", stamp), tracked=False)
    assert lesson.choose_ids() == set()
    assert chosen(shared, [list_entry(6, "succeeded", "2024-01-03")]) == {6}


def test_duration_longer_than_its_age_is_not_learned() -> None:
    """A backup that is to be completed in the year 9999 says nothing of how long backups take."""
    assert learned(shared_state(), [observation(1, "succeeded", age=100.0, duration=1e9)]) == []


def test_where_answers_do_not_say_how_a_backup_is_made_its_create_does() -> None:
    """What is watched is learned from as what it was created as."""
    scenario = Scenario(scheduler())
    scenario.add(5, started_at=START, mechanism="logical")
    (poll,) = scenario.wait_until_due()
    run = observation(5, "succeeded", age=900.0, duration=100.0)
    silent = msgspec.structs.replace(run, backup=attrs.evolve(run.backup, mechanism=None))
    scenario.scheduler.record_get(poll, silent, CHEAP, scenario.now)
    assert scenario.shared.durations.estimate_for("sun", None, "logical").sample_size == 1


def test_nothing_is_chosen_where_nothing_is_to_be_learned() -> None:
    """With `learn=False` no history is decoded."""
    assert chosen(shared_state(learn=False), [list_entry(5, "succeeded", "2024")]) == set()


def test_what_is_watched_is_not_chosen_but_seen() -> None:
    """It teaches in its own way; once it is over, the next list shows it to nobody who waits."""
    shared = shared_state()
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03")], tracked=frozenset({5})) == set()
    assert chosen(shared, [list_entry(5, "succeeded", "2024-01-03"), list_entry(6, "succeeded", "2024-01-04")]) == {6}


def test_what_was_learned_from_a_get_is_not_learned_again_from_a_list() -> None:
    """It would count twice."""
    scenario = Scenario(scheduler())
    scenario.add(5)
    (poll,) = scenario.take_due()
    scenario.record_get(poll, "succeeded", age=900.0, duration=100.0)
    assert chosen(scenario.shared, [list_entry(5, "succeeded", "2024-01-03"), list_entry(6, "succeeded", "2024")]) == {
        6
    }


def learned(shared: Any, observations: list[Observation], now: float = 0.0) -> list[float]:
    """Return what is learned for all star systems, in order."""
    seen: list[tuple[float, float]] = []

    def record_at_level(star_system: str | None, *what: Any, place: float) -> None:
        if star_system is None:
            seen.append((place, what[-1]))

    shared.durations.record_at_level = record_at_level
    record_durations(shared, WHERE, observations, now)
    return [seconds for _, seconds in sorted(seen)]


def test_newest_is_learned_last() -> None:
    """Durations are learned in the order in which they began, and those that are not known not at all."""
    late = observation(1, "succeeded", age=100.0, duration=50.0)
    early = observation(3, "failed", age=900.0, duration=300.0)
    assert learned(shared_state(), [late, observation(2), early]) == [300.0, 50.0]


def test_those_that_began_together_are_learned_in_no_order() -> None:
    """From the quickest to the slowest they would look like a world that changes."""
    together = [observation(number, "succeeded", age=900.0, duration=1.0 + number) for number in range(32)]
    seen = learned(shared_state(), together)
    assert sorted(seen) == [1.0 + number for number in range(32)]
    rising = sum(later > earlier for earlier, later in pairwise(seen))
    assert 8 <= rising <= 23


def test_after_a_bulk_run_the_world_is_what_it_was() -> None:
    """Its slowest are learned from last: they must not look like a world that has become slow."""
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


def test_quick_ones_of_a_cohort_teach_nothing_yet() -> None:
    """A hundred that began together are learned from when nine tenths are over, not from the quickest first."""
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
