"""What lists teach of how long backups take."""

from __future__ import annotations

from typing import Any

import pytest

from asyncbackups.polling.lessons import Lesson, learn
from tests.unit.polling.worlds import Entry, scheduler, sighting

WHERE = ("sun", None)


def chosen(know: Any, entries: list[Entry]) -> set[int]:
    lesson = Lesson(know, WHERE)
    for entry in entries:
        lesson.look_at(entry)
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


def test_nothing_is_chosen_where_nothing_is_to_be_learned() -> None:
    """With `learn=False` no history is decoded."""
    assert chosen(scheduler(learn=False)._know, [Entry(5, "succeeded", "2024")]) == set()


def test_newest_is_learned_last() -> None:
    """Durations are learned in the order of completion, and those that are not known not at all."""
    know = scheduler()._know
    seen: list[float] = []
    know.durations.observe = lambda *where: seen.append(where[-1])  # type: ignore[method-assign]
    learn(know, WHERE, [sighting(1, "succeeded", duration=300.0), sighting(2), sighting(3, "failed", duration=20.0)])
    assert seen == [20.0, 300.0]
