"""What is expected of one backup: hazards, survival, and when to ask about it alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import Learned, SurvivalEstimate, Unknown
from asyncbackups.policies import PollingPolicy

POLICY = PollingPolicy(initial=5, factor=1.5, maximum=60, jitter=0.25, request_worth=5)
AGES = st.floats(0, 1e6)
HISTORIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=80)


def learned(history: list[float]) -> SurvivalEstimate:
    durations = DurationEstimates(POLICY)
    for seconds in history:
        durations.observe("s", "p", "logical", seconds)
    return durations.belief("s", "p", "logical")


BELIEFS = st.just(Unknown(POLICY)) | HISTORIES.map(learned)


@given(BELIEFS, AGES)
def test_hazard_is_never_negative(belief: SurvivalEstimate, age: float):
    """No age makes a backup less finished."""
    assert 0 <= belief.hazard(age) < math.inf


@given(BELIEFS, AGES, AGES)
def test_survival_decreases_with_age(belief: SurvivalEstimate, one: float, other: float):
    """The older, the less likely still to run; at age 0 it certainly does."""
    younger, older = sorted((one, other))
    assert belief.survival(0) == 1
    assert 0 <= belief.survival(older) <= belief.survival(younger) * (1 + 1e-9)


@given(BELIEFS, st.floats(0.1, 1e5))
def test_cumulative_is_the_integral_of_the_hazard(belief: SurvivalEstimate, age: float):
    """The hazard is its slope, where that is constant around the age."""
    step = age * 1e-6
    slope = (belief.cumulative(age + step) - belief.cumulative(age)) / step
    hazards = belief.hazard(age), belief.hazard(age + step)
    assert min(hazards) * 0.99 - 1e-9 <= slope <= max(hazards) * 1.01 + 1e-9


@given(BELIEFS, AGES)
def test_doubt_is_a_probability(belief: SurvivalEstimate, age: float):
    """Nothing is more than wholly doubted, and nothing is believed for certain."""
    assert 0 < belief.doubt(age) <= 1


@given(HISTORIES, AGES, st.floats(0.01, 100), st.floats(1, 100))
def test_a_dearer_request_is_made_later(history: list[float], age: float, worth: float, times: float):
    """The gap grows with what a request is worth, as far as looks are planned on fine enough a grid."""
    belief = learned(history)
    assert belief.gap(age, worth) <= belief.gap(age, worth * times) * 1.5


def test_a_negative_age_is_as_good_as_none():
    """Clocks that disagree may make a backup start in the future."""
    assert Unknown(POLICY).gap(-1000, 5) == POLICY.initial
    assert Unknown(POLICY).cumulative(-1000) == 0
    assert learned([131.0] * 5).gap(-10, 5) > 0


def test_backoff_is_a_function_of_age():
    """Asked without jitter, the unknown is polled at initial, and each gap is `factor` times the last."""
    belief, age, gaps = Unknown(POLICY), 0.0, []
    for _ in range(9):
        gaps.append(belief.gap(age, POLICY.request_worth))
        age += gaps[-1]
    assert gaps == pytest.approx([min(60, 5 * 1.5**n) for n in range(9)])


def test_a_dearer_backoff_is_slower_by_the_root():
    """A list of four gets' cost is worth asking half as often."""
    assert Unknown(POLICY).gap(10, POLICY.request_worth * 4) == 2 * Unknown(POLICY).gap(10, POLICY.request_worth)


def test_backoff_without_growth():
    """A factor of one is a fixed interval, with the hazard for which that is right."""
    fixed = Unknown(PollingPolicy(initial=10, factor=1, maximum=10, request_worth=5))
    assert fixed.gap(1000, 5) == 10
    assert fixed.hazard(1000) == pytest.approx(0.1)
    assert fixed.cumulative(1000) == pytest.approx(100)


def test_the_gap_is_nearly_the_best_for_a_constant_hazard():
    """The gap d solves exp(hd) - 1 - hd = h worth to a few per cent (Barlow, Hunter and Proschan)."""
    nodes = [1.2**i for i in range(1, 60)]
    belief = Learned.tabulate(1, 0.1, nodes, lambda age: math.exp(-0.01 * age))
    for worth in (0.1, 1, 10, 100):
        x = 0.01 * belief.gap(50, worth)
        assert math.expm1(x) - x == pytest.approx(0.01 * worth, rel=0.2)


def test_plans_are_kept_for_a_few_worths_and_good_for_those_near():
    """What a list costs changes a little with each: that is no reason to plan anew, and memory stays small."""
    belief = Learned.tabulate(1, 0.1, [10.0, 100.0, 1000.0], lambda age: math.exp(-0.01 * age))
    assert belief.gap(50, 5.0) == belief.gap(50, 5.1)
    for worth in range(1, 100):
        belief.gap(50, float(worth))
    assert len(belief._plans) <= 4


def test_nodes_that_are_too_close_are_one():
    """The difference of nearly equal survivals would be noise."""
    belief = Learned.tabulate(1, 0.1, [1, 1.0001, 2], lambda age: 1 / (1 + age))
    assert list(belief.ages) == [0, 1, 2]


def test_beyond_everything_seen_the_hazard_fades():
    """A backup that outlives everything ever seen is asked about ever more slowly."""
    belief = learned([131.0] * 30)
    gaps = [belief.gap(age, 5) for age in (400, 1000, 3000, 10_000, 100_000)]
    assert gaps == sorted(gaps)
    assert belief.doubt(1000) > 0.9
