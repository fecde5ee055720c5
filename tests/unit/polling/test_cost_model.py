"""Get or list: measured costs, the number of backups that count, and lists that do not work."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.cost_model import PollingLoad, PollPlan, RequestCosts, plan
from asyncbackups._polling.estimation.survival import Unknown
from asyncbackups.policies import PollingPolicy

POLICY = PollingPolicy(initial=5, factor=1.5, maximum=60, request_worth=5)
HAZARDS = st.lists(st.floats(1e-9, 10), min_size=1, max_size=30)
ALIKE = PollingLoad(hazards=0.01, roots=0.1)  # one backup with a hazard of 0.01


def alike(count: int) -> PollingLoad:
    return PollingLoad(hazards=0.01 * count, roots=0.1 * count)


def measured(**bytes_of_list: int) -> RequestCosts:
    """Build costs of a star system "s": `all` is its list, the others those of its planets."""
    costs = RequestCosts()
    costs.got("s", size=600, seconds=0.05)
    for name, size in bytes_of_list.items():
        costs.listed(("s", None if name == "all" else name), size=size, seconds=0.05)
    return costs


def test_one_beside_ten_thousand_old_ones_is_polled_by_get():
    """A list of 4.5 MB for the sake of one backup would be waste."""
    costs = measured(all=4_500_000, p=4_500_000)
    assert plan("s", {"p": alike(1)}, costs, now=0) == PollPlan()


def test_a_hundred_beside_ten_thousand_old_ones_are_polled_by_list():
    """A list of 4.5 MB is less than a hundred gets."""
    costs = measured(all=4_500_000)
    assert plan("s", {None: alike(100)}, costs, now=0) == PollPlan(star_system=True)


@given(st.integers(1, 300), st.integers(100, 10_000_000))
def test_between_them_the_measurements_decide(count: int, size: int):
    """Backups that are all alike are listed exactly where the list costs less than their gets."""
    costs = measured(all=size)
    assert plan("s", {None: alike(count)}, costs, now=0).star_system == (costs.of_list(("s", None)) < count)


def test_planets_lists_where_they_are_cheaper():
    """Two planets with many in flight each, in a star system with a huge history; a third with one."""
    costs = measured(all=50_000_000, a=10_000, b=10_000, c=10_000)
    loads = {"a": alike(10), "b": alike(10), "c": alike(1), None: alike(1)}
    assert plan("s", loads, costs, now=0) == PollPlan(planets=frozenset("ab"))


def test_the_star_systems_list_beats_those_of_its_planets():
    """One small list for everything is better than one for each planet."""
    costs = measured(all=20_000, a=10_000, b=10_000)
    assert plan("s", {"a": alike(10), "b": alike(10)}, costs, now=0) == PollPlan(star_system=True)


def test_few_about_to_finish_among_many_that_are_not():
    """Only those count that may finish: a list for the sake of one of them is not made."""
    costs = measured(all=1_000_000)
    mixed = PollingLoad.of([(Unknown(POLICY), 0.0)], horizon=60.0) + PollingLoad(hazards=1e-9, roots=1e-4)
    assert not plan("s", {None: mixed}, costs, now=0).star_system


@given(HAZARDS, st.randoms())
def test_loads_add_up_in_any_order(hazards: list[float], rng: object):
    """A load is a sum, whatever the grouping."""
    loads = [PollingLoad(hazard, math.sqrt(hazard)) for hazard in hazards]
    total = sum(loads, PollingLoad())
    assert total.hazards == pytest.approx(sum(hazards))
    assert total.by_list(1.0) <= total.by_get() * (1 + 1e-9)


def test_a_sample_stands_for_all():
    """Members may be a sample: each then counts for several."""
    one = PollingLoad.of([(Unknown(POLICY), 30.0)], horizon=60.0)
    ten = PollingLoad.of([(Unknown(POLICY), 30.0)], horizon=60.0, scale=10)
    assert (ten.hazards, ten.roots) == pytest.approx((10 * one.hazards, 10 * one.roots))


def test_costs_follow_what_is_measured():
    """The history of a star system grows, and so does what its list costs."""
    costs = measured(all=1000)
    before = costs.of_list(("s", None))
    costs.listed(("s", None), size=10_000_000, seconds=2.0)
    once = costs.of_list(("s", None))
    for _ in range(30):
        costs.listed(("s", None), size=10_000_000, seconds=2.0)
    assert before < 2 < once < costs.of_list(("s", None)) == pytest.approx(155.6 / 1.059, rel=0.01)


def test_before_any_was_seen_a_list_is_tried_for_a_handful():
    """Unmeasured, a list is worth a few gets; gets need not have been measured."""
    costs = RequestCosts()
    assert plan("s", {None: alike(10)}, costs, now=0).star_system
    assert not plan("s", {None: alike(2)}, costs, now=0).star_system
    costs.listed(("s", None), size=65_536, seconds=-1.0)
    assert costs.of_list(("s", None)) == 2


def test_a_list_that_does_not_work_is_left_alone_ever_longer():
    """Refused: tried again after minutes, then hours; one that works is forgiven."""
    costs, where, now, pauses = RequestCosts(), ("s", None), 0.0, []
    for _ in range(10):
        until = costs.refused(where, now=now)
        pauses.append(until - now)
        assert not costs.works(where, now=until - 1)
        assert costs.works(where, now=until)
        now = until
    assert pauses[:3] == [300, 600, 1200]
    assert pauses[-1] == 6 * 3600
    costs.listed(where, size=1000, seconds=0.1)
    assert costs.refused(where, now=now) == now + 6 * 3600, "an answer that is of no use forgives nothing"
    costs.worked(where)
    assert costs.works(where, now=now)
    assert costs.refused(where, now=now) == now + 300


def test_refused_lists_are_not_planned():
    """A refused list of the star system leaves those of its planets, and the other way round."""
    costs = measured(all=1000, p=1000)
    costs.refused(("s", None), now=0)
    assert plan("s", {"p": alike(50)}, costs, now=1) == PollPlan(planets=frozenset({"p"}))
    costs.refused(("s", "p"), now=0)
    assert plan("s", {"p": alike(50)}, costs, now=1) == PollPlan()


def test_memory_is_bounded():
    """A hundred thousand planets do not each keep a measurement for ever."""
    costs = RequestCosts(keys=10)
    for i in range(100):
        costs.listed(("s", f"p{i}"), size=1, seconds=0)
        costs.refused(("s", f"q{i}"), now=0)
    assert len(costs._lists) == len(costs._pauses) == 10
