"""What lists teach of how long backups take."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import attrs
import msgspec
import pytest

from asyncbackups._polling.estimation.observations import Lesson, learn
from asyncbackups._polling.tracked import Observation
from tests.unit.polling.worlds import CHEAP, START, Course, Entry, scheduler, sighting

WHERE = ("sun", None)


def chosen(know: Any, entries: list[Entry], watched: frozenset[int] = frozenset()) -> set[int]:
    lesson = Lesson(know, WHERE)
    for entry in entries:
        lesson.look_at(entry, watched=entry.id in watched)
    return lesson.chosen()


def test_each_finished_backup_is_chosen_once() -> None:
    """The next list teaches only what was completed since, whatever its id."""
    know = scheduler()._know
    assert chosen(know, [Entry(5, "running"), Entry(7, "succeeded", "2024-01-02"), Entry(6, "ok", "2024-01-01")]) == {
        6,
        7,
    }
    assert chosen(know, [Entry(5, "succeeded", "2024-01-03"), Entry(7, "succeeded", "2024-01-02")]) == {5}
    assert chosen(know, [Entry(5, "succeeded", "2024-01-03")]) == set()


def test_of_very_many_the_newest_are_chosen() -> None:
    """A history of thousands costs no more than a few hundred."""
    entries = [Entry(number, "succeeded", f"2024-{number:06}") for number in range(1_000)]
    assert chosen(scheduler()._know, entries) == set(range(1_000 - 256, 1_000))


@pytest.mark.parametrize("stamp", [None, 1706522120, ""])
def test_stamp_that_is_no_text_teaches_nothing(stamp: Any) -> None:
    """What cannot be put in order is left out."""
    assert chosen(scheduler()._know, [Entry(5, "succeeded", stamp)]) == set()


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:59Z", "unknown", "2024-01-05"])
def test_stamp_that_cannot_be_true_does_not_end_the_learning(stamp: str) -> None:
    """What is no time, or one that is to come, is no mark for what was learned from."""
    know = scheduler()._know
    lesson = Lesson(know, WHERE, "2024-01-04")
    lesson.look_at(Entry(5, "succeeded", stamp), watched=False)
    assert lesson.chosen() == set()
    assert chosen(know, [Entry(6, "succeeded", "2024-01-03")]) == {6}


def test_duration_longer_than_its_age_is_not_learned() -> None:
    """A backup that is to be completed in the year 9999 says nothing of how long backups take."""
    assert learned(scheduler()._know, [sighting(1, "succeeded", age=100.0, duration=1e9)]) == []


def test_where_answers_do_not_say_how_a_backup_is_made_its_create_does() -> None:
    """What is watched is learned from as what it was created as."""
    course = Course(scheduler())
    course.add(5, born=START, mechanism="logical")
    (poll,) = course.until_due()
    one = sighting(5, "succeeded", age=900.0, duration=100.0)
    silent = msgspec.structs.replace(one, backup=attrs.evolve(one.backup, mechanism=None))
    course.scheduler.got(poll, silent, CHEAP, course.now)
    assert course.scheduler._know.durations.belief("sun", None, "logical").seen == 1


def test_nothing_is_chosen_where_nothing_is_to_be_learned() -> None:
    """With `learn=False` no history is decoded."""
    assert chosen(scheduler(learn=False)._know, [Entry(5, "succeeded", "2024")]) == set()


def test_what_is_watched_is_not_chosen_but_seen() -> None:
    """It teaches in its own way; once it is over, the next list shows it to nobody who waits."""
    know = scheduler()._know
    assert chosen(know, [Entry(5, "succeeded", "2024-01-03")], watched=frozenset({5})) == set()
    assert chosen(know, [Entry(5, "succeeded", "2024-01-03"), Entry(6, "succeeded", "2024-01-04")]) == {6}


def test_what_was_learned_from_a_get_is_not_learned_again_from_a_list() -> None:
    """It would count twice."""
    course = Course(scheduler())
    course.add(5)
    (poll,) = course.due()
    course.got(poll, "succeeded", age=900.0, duration=100.0)
    assert chosen(course.scheduler._know, [Entry(5, "succeeded", "2024-01-03"), Entry(6, "succeeded", "2024")]) == {6}


def learned(know: Any, sightings: list[Observation], now: float = 0.0) -> list[float]:
    """Return what is learned for all star systems, in order."""
    seen: list[tuple[float, float]] = []

    def observe_at(star_system: str | None, *what: Any, place: float) -> None:
        if star_system is None:
            seen.append((place, what[-1]))

    know.durations.observe_at = observe_at
    learn(know, WHERE, sightings, now)
    return [seconds for _, seconds in sorted(seen)]


def test_newest_is_learned_last() -> None:
    """Durations are learned in the order in which they began, and those that are not known not at all."""
    late = sighting(1, "succeeded", age=100.0, duration=50.0)
    early = sighting(3, "failed", age=900.0, duration=300.0)
    assert learned(scheduler()._know, [late, sighting(2), early]) == [300.0, 50.0]


def test_those_that_began_together_are_learned_in_no_order() -> None:
    """From the quickest to the slowest they would look like a world that changes."""
    together = [sighting(number, "succeeded", age=900.0, duration=1.0 + number) for number in range(32)]
    seen = learned(scheduler()._know, together)
    assert sorted(seen) == [1.0 + number for number in range(32)]
    rising = sum(later > earlier for earlier, later in pairwise(seen))
    assert 8 <= rising <= 23


def test_after_a_bulk_run_the_world_is_what_it_was() -> None:
    """Its slowest are learned from last: they must not look like a world that has become slow."""
    course, took = Course(scheduler(coalesce=False)), random.Random(4)
    know, ends = course.scheduler._know, sorted(took.lognormvariate(math.log(131.0), 0.4) for _ in range(1_000))
    learn(know, WHERE, [sighting(-1, "succeeded", age=9e4, duration=131.0) for _ in range(8)], START)
    for number in range(1_000):
        course.add(number, star_system=f"s{number % 10}", born=START, mechanism="logical")
    polls = {}
    while len(polls) < 1_000:
        polls |= {poll.ref.backup_id: poll for poll in course.until_due(room=1_000)}
    for number, seconds in enumerate(ends):
        course.got(polls[number], "succeeded", age=seconds, duration=seconds)
    belief = know.durations.belief("s3", None, "logical")
    assert belief.survival(131.0) == pytest.approx(0.5, abs=0.12)
    assert belief.survival(131.0 * math.exp(0.8)) == pytest.approx(0.023, abs=0.03)


def test_quick_ones_of_a_cohort_teach_nothing_yet() -> None:
    """A hundred that began together are learned from when nine tenths are over, not from the quickest first."""
    course = Course(scheduler(coalesce=False))
    know, taught = course.scheduler._know, []
    learn(know, WHERE, [sighting(-1, "succeeded", age=9e4, duration=100.0) for _ in range(8)], START)
    course.add(*range(100), born=START, mechanism="logical")
    know.durations.observe_at = lambda *where, **_: taught.append(where[-1]) if where[0] is None else None
    polls = []
    while len(polls) < 100:
        polls += course.until_due(room=100)
    for number, poll in enumerate(polls, 1):
        course.got(poll, "succeeded", age=course.now - START, duration=float(number))
        assert not taught or number >= 90, number
    assert sorted(taught) == [float(number) for number in range(1, 101)]
