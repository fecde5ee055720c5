"""Which durations may be recorded yet: those of backups whose cohort has nearly finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.estimation.censoring import Cohorts, FinishedBackup, PlacedBackup
from tests.unit.polling.object_sizes import memory_of

WIDTH = 5.0
HERE = ("sun", "logical")


def finish(cohorts: Cohorts, cohort: int, seconds: float = 1.0) -> dict[str | None, list[float]]:
    free = cohorts.record_finished(FinishedBackup(cohort, "p", seconds), *HERE)
    return {scope: [placed.finished.seconds for placed in every] for scope, every in free.items()}


def end(cohorts: Cohorts, cohort: int, seconds: float = 1.0) -> dict[str | None, list[float]]:
    cohorts.remove_running(cohort, *HERE)
    return finish(cohorts, cohort, seconds)


def experienced() -> Cohorts:
    """Return cohorts in which unbiased durations were recorded before."""
    cohorts = Cohorts(WIDTH)
    for _ in range(8):
        finish(cohorts, -1_000)
    return cohorts


def test_sequential_backups_are_recorded_at_once() -> None:
    """Nothing else runs, so there is nothing to wait for."""
    cohorts = Cohorts(WIDTH)
    for cohort in range(3):
        cohorts.add_running(cohort, *HERE)
        assert end(cohorts, cohort, 7.0) == {"sun": [7.0], None: [7.0]}
    assert memory_of(cohorts) < 2_000


def test_history_is_recorded_at_once() -> None:
    """Backups that started long before the tracked ones form complete cohorts."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(100, *HERE)
    assert finish(cohorts, 50, 3.0) == {"sun": [3.0], None: [3.0]}


def test_backups_of_about_the_same_start_are_held_back() -> None:
    """The start is known to a second or so, by the server's clock."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(100, *HERE)
    assert finish(cohorts, 99) == {"sun": [], None: []}


def test_star_systems_are_separate_scopes() -> None:
    """A star system that has finished is recorded; for all together, the others must have finished, too."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(0, *HERE)
    for _ in range(5):
        cohorts.add_running(0, "moon", "logical")
    assert end(cohorts, 0, 4.0) == {"sun": [4.0], None: []}


def test_mechanisms_are_separate_scopes() -> None:
    """Dumps that take an hour do not hold back the durations of snapshots."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(0, "sun", "logical")
    cohorts.add_running(0, "sun", "physical")
    assert end(cohorts, 0, 4.0) == {"sun": [4.0], None: [4.0]}


def test_one_endless_backup_does_not_hold_back_the_others() -> None:
    """Nine of ten are enough."""
    cohorts, taught = Cohorts(WIDTH), 0
    cohorts.add_running(0, *HERE)
    for cohort in range(10, 2_000):
        cohorts.add_running(cohort, *HERE)
        taught += len(end(cohorts, cohort)["sun"])
    assert taught >= 1_980
    assert memory_of(cohorts) < 30_000


def test_even_share_of_very_many_is_held_back() -> None:
    """Memory stays small, and the durations kept are neither the quickest nor the slowest."""
    cohorts = experienced()
    for _ in range(10_000):
        cohorts.add_running(0, *HERE)
    free: list[float] = []
    for seconds in range(10_000):
        free += end(cohorts, 0, float(seconds))["sun"]
        assert seconds % 500 or memory_of(cohorts) < 30_000
    first = [seconds for seconds in free if seconds < 9_000]
    assert 128 <= len(first) <= 256
    assert 4_000 < sum(first) / len(first) < 5_000
    assert memory_of(cohorts) < 2_000


def test_nearly_all_must_finish_once_something_is_known() -> None:
    """Unbiased durations are better than those of the quick backups."""
    cohorts = experienced()
    for _ in range(100):
        cohorts.add_running(0, *HERE)
    ends = [len(end(cohorts, 0)["sun"]) for _ in range(100)]
    assert not any(ends[:89])
    assert sum(ends) == 100


def test_first_durations_are_recorded_after_a_third() -> None:
    """While nothing is known in any star system, a biased estimate is better than none."""
    cohorts = Cohorts(WIDTH)
    for _ in range(90):
        cohorts.add_running(0, *HERE)
    ends = [len(end(cohorts, 0)["sun"]) for _ in range(90)]
    assert not any(ends[:29])
    assert 30 <= sum(ends[:40]) <= 40


def test_slow_backups_get_places_among_the_others() -> None:
    """The slowest are recorded last but are not the newest; of very many the same share of them is kept."""
    cohorts = experienced()
    for _ in range(2_000):
        cohorts.add_running(0, *HERE)
    learned: list[PlacedBackup] = []
    for number in range(2_000):
        cohorts.remove_running(0, *HERE)
        learned += cohorts.record_finished(FinishedBackup(0, "p", float(number)), *HERE)[None]
    slow = [placed for placed in learned if placed.finished.seconds >= 1_800]
    assert len(slow) == pytest.approx(len(learned) / 10, rel=0.25)
    newest = sorted(learned, key=lambda placed: placed.place)[-64:]
    assert sum(placed.finished.seconds for placed in newest) / 64 == pytest.approx(1_000, rel=0.05)


def test_removed_backups_hold_back_nothing() -> None:
    """A backup that was discarded, expired or is gone does not count any more."""
    cohorts = experienced()
    for _ in range(3):
        cohorts.add_running(0, *HERE)
    assert end(cohorts, 0, 4.0)["sun"] == []
    cohorts.remove_running(0, *HERE)
    assert end(cohorts, 0, 5.0)["sun"] == [4.0, 5.0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=1, max_size=150))
def test_each_duration_is_recorded_once(backups: list[tuple[int, int]]) -> None:
    """Each is released once and none is lost, whatever the order of starts and ends."""
    cohorts = Cohorts(WIDTH)
    for cohort, _ in backups:
        cohorts.add_running(cohort, *HERE)
    free: list[float] = []
    ends = sorted((cohort + took, cohort, number) for number, (cohort, took) in enumerate(backups))
    for _, cohort, number in ends:
        free += end(cohorts, cohort, float(number))[None]
    assert sorted(free) == [float(number) for number in range(len(backups))]
    assert memory_of(cohorts) < 2_000


@given(st.floats(-1e9, 1e9, allow_subnormal=False))
def test_cohort_is_a_time_span(started_at: float) -> None:
    """Starts within its width are one cohort, and equal cohorts are one object: there may be a million."""
    cohorts = Cohorts(WIDTH)
    cohort = cohorts.cohort_at(started_at)
    assert cohort * WIDTH <= started_at <= (cohort + 1) * WIDTH
    assert cohorts.cohort_at(started_at) is cohort
