"""The optimal inspection schedule, compared with brute force and with its known properties."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.estimation.optimal_polls import OptimalPolls

Table = tuple[list[float], list[float]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Ages from 0, and the integral of a hazard that is constant between one and the next."""
    steps = draw(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 2)), min_size=2, max_size=12))
    ages = itertools.accumulate((width for width, _ in steps), initial=0.0)
    totals = itertools.accumulate((more for _, more in steps), initial=0.0)
    return list(ages), list(totals)


def cost(ages: list[float], totals: list[float], polls: list[int], worth: float) -> float:
    """Return the cost of polling at some of the ages, the last one included, by adding up the delays."""
    alive = [math.exp(-total) for total in totals]
    hazard = (totals[-1] - totals[-2]) / (ages[-1] - ages[-2])
    spent, before = 0.0, 0
    for poll in polls:
        spent += worth * alive[before]
        for i in range(before, poll):
            width, more = ages[i + 1] - ages[i], totals[i + 1] - totals[i]
            running = width * (alive[i] if more < 1e-9 else (alive[i] - alive[i + 1]) / more)
            spent += width * alive[before] - running
        before = poll
    return spent + alive[-1] * (math.sqrt(2 * worth / hazard) if hazard > 0 else 0.0)


@given(tables(), st.floats(0.1, 100))
def test_no_other_schedule_is_better(table: Table, worth: float):
    """All subsets of the ages cost at least as much as the computed schedule."""
    ages, totals = table
    last = len(ages) - 1
    schedule = OptimalPolls.compute(ages, totals, worth)
    polls = [ages.index(schedule.next_polls[0])]
    while polls[-1] < last:
        polls.append(ages.index(schedule.next_polls[polls[-1]]))
    ways = ([*some, last] for n in range(last) for some in itertools.combinations(range(1, last), n))
    best = min(cost(ages, totals, way, worth) for way in ways)
    assert cost(ages, totals, polls, worth) == pytest.approx(best, rel=1e-6, abs=1e-6)


@given(tables(), st.floats(0.1, 100), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_next_poll_grows_with_the_age(table: Table, worth: float, where: list[float]):
    """The next poll is after now, and its age grows with the backup's age."""
    ages, totals = table
    schedule = OptimalPolls.compute(ages, totals, worth)
    younger, older = sorted(share * ages[-1] for share in where)
    assert younger <= schedule.next_poll(younger) <= schedule.next_poll(older) * (1 + 1e-9)


def test_certain_end_is_polled_once():
    """If backups end at one age, nothing is polled before it."""
    schedule = OptimalPolls.compute([0.0, 50.0, 99.0, 100.0, 200.0], [0.0, 0.0, 0.0, 50.0, 50.1], 1.0)
    assert schedule.next_poll(0.0) == 100.0


def test_nothing_is_polled_between_two_modes():
    """Snapshots take minutes and dumps an hour: a backup that outlives the first mode is polled next at the second."""
    ages = [0.0, 90.0, 120.0, 150.0, 1800.0, 3500.0, 3600.0, 3700.0, 9000.0]
    totals = [0.0, 0.01, 0.5, 1.0, 1.001, 1.002, 4.0, 8.0, 8.1]
    schedule = OptimalPolls.compute(ages, totals, 20.0)
    assert schedule.next_poll(150.0) == 3600.0
