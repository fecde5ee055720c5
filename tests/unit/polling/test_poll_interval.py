"""When the next poll is sent: the square-root law and its limits."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import BackoffEstimate, SurvivalEstimate
from asyncbackups._polling.poll_interval import SAMPLE, next_interval, shortest_interval
from asyncbackups.policies import PollingPolicy
from tests.unit.polling.scenario import record_duration

POLICY = PollingPolicy(initial=5, factor=1.5, maximum=60, jitter=0.25, request_worth=5)
STEADY = PollingPolicy(initial=5, factor=1.5, maximum=60, jitter=0, request_worth=5)


def learned(history: list[float]) -> SurvivalEstimate:
    durations = DurationEstimates(POLICY)
    for seconds in history:
        record_duration(durations, "s", "p", "logical", seconds)
    return durations.estimate_for("s", "p", "logical")


def lognormal(median: float, sigma: float, count: int) -> list[float]:
    rng = random.Random(1)
    return [rng.lognormvariate(math.log(median), sigma) for _ in range(count)]


USUAL = learned(lognormal(131, 0.4, 30))
ESTIMATES = st.sampled_from([BackoffEstimate(POLICY), USUAL, learned([100.0]), learned([60.0, 4000.0] * 5)])
MEMBERS = st.lists(st.tuples(ESTIMATES, st.floats(-10, 1e5)), min_size=1, max_size=200)
DRAWS = st.floats(0, 1, exclude_max=True)


def polls_until(estimate: SurvivalEstimate, end: float, policy: PollingPolicy = STEADY) -> list[float]:
    ages = [0.0]
    while ages[-1] < end:
        ages.append(ages[-1] + next_interval([(estimate, ages[-1])], policy=policy))
    return ages[1:]


@given(MEMBERS, st.floats(0.1, 100), DRAWS)
def test_intervals_keep_their_limits(members: list[tuple[SurvivalEstimate, float]], cost: float, draw: float):
    """There is no busy loop; the longest interval is the maximum, or ten times that if durations are known."""
    longest = POLICY.maximum * (10 if any(estimate.sample_size for estimate, _ in members) else 1)
    assert shortest_interval(POLICY) <= next_interval(members, policy=POLICY, cost=cost, draw=draw) <= longest


@given(st.lists(st.floats(-10, 1e6), min_size=1, max_size=100), st.floats(0.1, 100), DRAWS)
def test_maximum_holds_if_nothing_is_known(ages: list[float], cost: float, draw: float):
    """There is no exception to it."""
    members = [(BackoffEstimate(POLICY), age) for age in ages]
    assert next_interval(members, policy=POLICY, cost=cost, draw=draw) <= POLICY.maximum


@given(MEMBERS, st.floats(0.1, 50), st.floats(1, 10))
def test_more_expensive_request_is_sent_later(members: list[tuple[SurvivalEstimate, float]], cost: float, times: float):
    """The interval grows with the cost of the request."""
    cheap = next_interval(members, policy=STEADY, cost=cost)
    assert cheap <= next_interval(members, policy=STEADY, cost=cost * times) * (1 + 1e-6)


@given(st.lists(st.tuples(ESTIMATES, st.floats(0, 1e4)), min_size=2, max_size=SAMPLE), st.randoms())
def test_order_of_a_group_does_not_matter(members: list[tuple[SurvivalEstimate, float]], rng: random.Random):
    """The interval depends on the group only."""
    shuffled = rng.sample(members, len(members))
    assert next_interval(shuffled, policy=STEADY) == pytest.approx(next_interval(members, policy=STEADY), rel=1e-9)


@given(DRAWS)
def test_jitter_only_shortens_backoff(draw: float):
    """Full jitter reaches down to the shortest interval."""
    full = PollingPolicy(initial=8, factor=2, maximum=60, jitter=1)
    assert next_interval([(BackoffEstimate(full), 24.0)], policy=full, draw=draw) == pytest.approx(
        max(2, 32 * (1 - draw))
    )


@given(DRAWS)
def test_jitter_keeps_the_mean_of_an_estimated_interval(draw: float):
    """An interval that is optimal on average is spread around it."""
    there, back = (next_interval([(USUAL, 100.0)], policy=POLICY, draw=d) for d in (draw, 1 - draw))
    assert (there + back) / 2 == pytest.approx(next_interval([(USUAL, 100.0)], policy=STEADY))


def test_polls_are_dense_where_completions_are_likely():
    """The first poll waits until some backups may have finished; then there are several times as many as before."""
    ages = polls_until(USUAL, 260)
    assert ages[0] > 50
    assert sum(age > 70 for age in ages) >= 4 * sum(age <= 70 for age in ages)


def test_intervals_of_a_backup_that_outlives_all_others_grow_to_the_maximum():
    """After the longest known duration the intervals grow up to the maximum."""
    ages = polls_until(USUAL, 20_000)
    gaps = [after - before for before, after in itertools.pairwise(ages) if before > 300]
    assert all(later > 0.8 * sooner for sooner, later in itertools.pairwise(gaps))
    assert gaps[0] < 30
    assert gaps[-1] == pytest.approx(POLICY.maximum, rel=0.1)


@pytest.mark.parametrize("age", [7.8e6, 1e7, 1e9, 1e12])
def test_maximum_holds_beyond_the_table(age: float):
    """A backup that runs for months is not polled every second because the schedule has ended."""
    assert next_interval([(USUAL, age)], policy=STEADY) == pytest.approx(POLICY.maximum)


def test_known_duration_of_an_hour_is_waited_for():
    """During that hour polls are rare, but there are some."""
    hours = learned(lognormal(3600, 0.2, 30))
    early = [age for age in polls_until(hours, 3000) if age < 1500]
    assert 2 <= len(early) <= 8


def test_rate_of_a_group_grows_with_the_root_of_its_size():
    """A hundred times as many backups are polled ten times as often."""
    few, many = (next_interval([(USUAL, 130.0)] * count, policy=STEADY, cost=50) for count in (10, 1000))
    assert few / many == pytest.approx(10, rel=0.25)


def test_integration_agrees_with_the_schedule_of_one_backup():
    """A group in which one backup can still finish is polled like that backup alone."""
    alone = next_interval([(USUAL, 130.0)], policy=STEADY)
    dead = learned([1e-3] * 60)
    assert next_interval([(USUAL, 130.0)] * 2, policy=STEADY, cost=2) == pytest.approx(alone, rel=0.1)
    assert next_interval([(USUAL, 130.0), (dead, 1e5)], policy=STEADY) == pytest.approx(alone, rel=0.25)


def test_large_group_is_sampled():
    """Ten thousand members cost as much as a few dozen."""

    class Counted(list):  # type: ignore[type-arg]
        looked_at = 0

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            found = super().__getitem__(index)
            Counted.looked_at += len(found) if isinstance(index, slice) else 1
            return found

    members = Counted([(USUAL, float(age % 300)) for age in range(10_000)])
    whole = [(USUAL, float(age)) for age in range(0, 300, 5)]
    assert next_interval(members, policy=STEADY, cost=1e4) == pytest.approx(
        next_interval(whole, policy=STEADY, cost=1e4 * len(whole) / 10_000), rel=0.1
    )
    assert Counted.looked_at <= SAMPLE
