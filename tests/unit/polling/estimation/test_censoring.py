"""Which finished backups may be learned from: those of a cohort that is nearly over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.estimation.censoring import Cohorts, FinishedBackup, PlacedBackup

WIDTH = 5.0
HERE = ("sun", "logical")


def finish(cohorts: Cohorts, cohort: int, seconds: float = 1.0) -> dict[str | None, list[float]]:
    free = cohorts.record_finished(FinishedBackup(cohort, "p", seconds), *HERE)
    return {scope: [placed.finished.seconds for placed in every] for scope, every in free.items()}


def end(cohorts: Cohorts, cohort: int, seconds: float = 1.0) -> dict[str | None, list[float]]:
    cohorts.remove_running(cohort, *HERE)
    return finish(cohorts, cohort, seconds)


def experienced() -> Cohorts:
    """Return cohorts that have learned without bias before."""
    cohorts = Cohorts(WIDTH)
    for _ in range(8):
        finish(cohorts, -1_000)
    return cohorts


def test_one_after_the_other_is_learned_from_at_once() -> None:
    """Nothing else runs: there is nothing to wait for."""
    cohorts = Cohorts(WIDTH)
    for cohort in range(3):
        cohorts.add_running(cohort, *HERE)
        assert end(cohorts, cohort, 7.0) == {"sun": [7.0], None: [7.0]}
    assert not cohorts._scopes


def test_a_history_is_learned_from_at_once() -> None:
    """What began long before anything under watch is complete."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(100, *HERE)
    assert finish(cohorts, 50, 3.0) == {"sun": [3.0], None: [3.0]}


def test_what_began_at_about_the_same_time_is_held_back() -> None:
    """The server says when a backup began, to a second or so."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(100, *HERE)
    assert finish(cohorts, 99) == {"sun": [], None: []}


def test_star_systems_are_apart_but_share() -> None:
    """The last of one star system is learned from there; for all, other star systems must be nearly over, too."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(0, *HERE)
    for _ in range(5):
        cohorts.add_running(0, "moon", "logical")
    assert end(cohorts, 0, 4.0) == {"sun": [4.0], None: []}


def test_mechanisms_are_apart() -> None:
    """An hour's dumps do not hold back what snapshots teach."""
    cohorts = Cohorts(WIDTH)
    cohorts.add_running(0, "sun", "logical")
    cohorts.add_running(0, "sun", "physical")
    assert end(cohorts, 0, 4.0) == {"sun": [4.0], None: [4.0]}


def test_one_that_never_ends_does_not_hold_back_the_others_for_ever() -> None:
    """Nine of ten are enough."""
    cohorts, taught = Cohorts(WIDTH), 0
    cohorts.add_running(0, *HERE)
    for cohort in range(10, 2_000):
        cohorts.add_running(cohort, *HERE)
        taught += len(end(cohorts, cohort)["sun"])
    assert taught >= 1_980
    assert all(len(scope.over) <= 128 for scope in cohorts._scopes.values())


def test_of_very_many_an_even_share_is_held_back() -> None:
    """Memory stays small, and what is kept is neither the quickest nor the slowest."""
    cohorts = experienced()
    for _ in range(10_000):
        cohorts.add_running(0, *HERE)
    free: list[float] = []
    for seconds in range(10_000):
        free += end(cohorts, 0, float(seconds))["sun"]
        assert all(len(scope.held) <= 256 for scope in cohorts._scopes.values())
    first = [seconds for seconds in free if seconds < 9_000]
    assert 128 <= len(first) <= 256
    assert 4_000 < sum(first) / len(first) < 5_000
    assert not cohorts._scopes


def test_once_something_is_known_nearly_all_must_be_over() -> None:
    """What was learned without bias is better than what the quick ones say."""
    cohorts = experienced()
    for _ in range(100):
        cohorts.add_running(0, *HERE)
    ends = [len(end(cohorts, 0)["sun"]) for _ in range(100)]
    assert not any(ends[:89])
    assert sum(ends) == 100


def test_the_first_of_all_are_learned_from_after_a_third() -> None:
    """Nothing is known of this star system, nor of any: what is biased is better than nothing."""
    cohorts = Cohorts(WIDTH)
    for _ in range(90):
        cohorts.add_running(0, *HERE)
    ends = [len(end(cohorts, 0)["sun"]) for _ in range(90)]
    assert not any(ends[:29])
    assert 30 <= sum(ends[:40]) <= 40


def test_stragglers_get_their_place_among_the_others() -> None:
    """The slowest come last and are not the newest; of very many the same share of them is kept."""
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


def test_what_leaves_without_an_end_teaches_nothing() -> None:
    """Discarded, expired or gone: it holds back nothing any more."""
    cohorts = experienced()
    for _ in range(3):
        cohorts.add_running(0, *HERE)
    assert end(cohorts, 0, 4.0)["sun"] == []
    cohorts.remove_running(0, *HERE)
    assert end(cohorts, 0, 5.0)["sun"] == [4.0, 5.0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), min_size=1, max_size=150))
def test_everything_is_learned_from_once(backups: list[tuple[int, int]]) -> None:
    """In the order of their ends, whatever began when: each is released once, and none is forgotten."""
    cohorts = Cohorts(WIDTH)
    for cohort, _ in backups:
        cohorts.add_running(cohort, *HERE)
    free: list[float] = []
    ends = sorted((cohort + took, cohort, number) for number, (cohort, took) in enumerate(backups))
    for _, cohort, number in ends:
        free += end(cohorts, cohort, float(number))[None]
    assert sorted(free) == [float(number) for number in range(len(backups))]
    assert not cohorts._scopes


@given(st.floats(-1e9, 1e9, allow_subnormal=False))
def test_cohort_is_a_span_of_time(started_at: float) -> None:
    """What began within its width is one cohort, and equal ones are one object: there may be a million."""
    cohorts = Cohorts(WIDTH)
    cohort = cohorts.cohort_at(started_at)
    assert cohort * WIDTH <= started_at <= (cohort + 1) * WIDTH
    assert cohorts.cohort_at(started_at) is cohort
