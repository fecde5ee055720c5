"""Survival estimates: hazards, survival, and when a backup is polled alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import BackoffEstimate, LearnedEstimate, SurvivalEstimate
from asyncbackups.policies import PollingPolicy
from tests.unit.polling.object_sizes import memory_of
from tests.unit.polling.scenario import record_duration

POLICY = PollingPolicy(initial=5, factor=1.5, maximum=60, jitter=0.25, request_worth=5)
AGES = st.floats(0, 1e6)
HISTORIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=80)


def learned(history: list[float]) -> SurvivalEstimate:
    durations = DurationEstimates(POLICY)
    for seconds in history:
        record_duration(durations, "s", "p", "logical", seconds)
    return durations.estimate_for("s", "p", "logical")


ESTIMATES = st.just(BackoffEstimate(POLICY)) | HISTORIES.map(learned)


@given(ESTIMATES, AGES)
def test_hazard_is_never_negative(estimate: SurvivalEstimate, age: float):
    """At no age does the probability of having finished fall."""
    assert 0 <= estimate.hazard(age) < math.inf


@given(ESTIMATES, AGES, AGES)
def test_survival_decreases_with_age(estimate: SurvivalEstimate, run: float, other: float):
    """The older a backup, the less likely it still runs; at age 0 it certainly does."""
    younger, older = sorted((run, other))
    assert estimate.survival(0) == 1
    assert 0 <= estimate.survival(older) <= estimate.survival(younger) * (1 + 1e-9)


@given(ESTIMATES, st.floats(0.1, 1e5))
def test_cumulative_hazard_is_the_integral_of_the_hazard(estimate: SurvivalEstimate, age: float):
    """The hazard is its slope, where the hazard is constant around the age."""
    step = age * 1e-6
    slope = (estimate.cumulative_hazard(age + step) - estimate.cumulative_hazard(age)) / step
    hazards = estimate.hazard(age), estimate.hazard(age + step)
    assert min(hazards) * 0.99 - 1e-9 <= slope <= max(hazards) * 1.01 + 1e-9


@given(ESTIMATES, AGES)
def test_prior_weight_is_a_probability(estimate: SurvivalEstimate, age: float):
    """It is positive, and at most 1."""
    assert 0 < estimate.prior_weight(age) <= 1


@given(HISTORIES, AGES, st.floats(0.01, 100), st.floats(1, 100))
def test_more_expensive_request_is_sent_later(history: list[float], age: float, worth: float, times: float):
    """The interval grows with the worth of the request, within the precision of the grid."""
    estimate = learned(history)
    assert estimate.next_interval(age, worth) <= estimate.next_interval(age, worth * times) * 1.5


def test_negative_age_counts_as_zero():
    """If clocks disagree, a backup may seem to start in the future."""
    assert BackoffEstimate(POLICY).next_interval(-1000, 5) == POLICY.initial
    assert BackoffEstimate(POLICY).cumulative_hazard(-1000) == 0
    assert learned([131.0] * 5).next_interval(-10, 5) > 0


def test_backoff_is_a_function_of_age():
    """Without jitter the first interval is `initial`, and each further one is longer by `factor`."""
    estimate, age, gaps = BackoffEstimate(POLICY), 0.0, []
    for _ in range(9):
        gaps.append(estimate.next_interval(age, POLICY.request_worth))
        age += gaps[-1]
    assert gaps == pytest.approx([min(60, 5 * 1.5**n) for n in range(9)])


def test_backoff_grows_with_the_root_of_the_cost():
    """A list that costs four GETs is sent half as often."""
    assert BackoffEstimate(POLICY).next_interval(10, POLICY.request_worth * 4) == 2 * BackoffEstimate(
        POLICY
    ).next_interval(10, POLICY.request_worth)


def test_backoff_without_growth():
    """A factor of one is a fixed interval, with the hazard for which that is optimal."""
    fixed = BackoffEstimate(PollingPolicy(initial=10, factor=1, maximum=10, request_worth=5))
    assert fixed.next_interval(1000, 5) == 10
    assert fixed.hazard(1000) == pytest.approx(0.1)
    assert fixed.cumulative_hazard(1000) == pytest.approx(100)


def test_interval_is_nearly_optimal_for_a_constant_hazard():
    """The interval d solves exp(hd) - 1 - hd = h worth to a few per cent (Barlow, Hunter and Proschan)."""
    nodes = [1.2**i for i in range(1, 60)]
    estimate = LearnedEstimate.tabulate(1, 0.1, nodes, lambda age: math.exp(-0.01 * age))
    for worth in (0.1, 1, 10, 100):
        x = 0.01 * estimate.next_interval(50, worth)
        assert math.expm1(x) - x == pytest.approx(0.01 * worth, rel=0.2)


def test_schedules_are_kept_for_a_few_worths():
    """The cost of a list changes a little each time: its schedule is not computed again, and memory stays small."""
    estimate = LearnedEstimate.tabulate(1, 0.1, [10.0, 100.0, 1000.0], lambda age: math.exp(-0.01 * age))
    assert estimate.next_interval(50, 5.0) == estimate.next_interval(50, 5.1)
    for worth in range(1, 100):
        estimate.next_interval(50, float(worth))
        assert memory_of(estimate) < 6_000


def test_nodes_that_are_too_close_are_merged():
    """The difference of nearly equal survivals would be noise."""
    estimate = LearnedEstimate.tabulate(1, 0.1, [1, 1.0001, 2], lambda age: 1 / (1 + age))
    assert list(estimate.ages) == [0, 1, 2]


def test_hazard_fades_beyond_all_known_durations():
    """A backup that outlives all known durations is polled ever less often."""
    estimate = learned([131.0] * 30)
    gaps = [estimate.next_interval(age, 5) for age in (400, 1000, 3000, 10_000, 100_000)]
    assert gaps == sorted(gaps)
    assert estimate.prior_weight(1000) > 0.9
