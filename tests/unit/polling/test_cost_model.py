"""GET or LIST: measured costs, the effective number of backups, and lists that do not work."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._polling.cost_model import PollingLoad, RequestCosts, choose_lists
from asyncbackups._polling.estimation.survival import BackoffEstimate
from asyncbackups.policies import PollingPolicy

POLICY = PollingPolicy(initial=5, factor=1.5, maximum=60, request_worth=5)
HAZARDS = st.lists(st.floats(1e-9, 10), min_size=1, max_size=30)
ALIKE = PollingLoad(hazards=0.01, roots=0.1)  # one backup with a hazard of 0.01


def alike(count: int) -> PollingLoad:
    return PollingLoad(hazards=0.01 * count, roots=0.1 * count)


def measured(**bytes_of_list: int) -> RequestCosts:
    """Build costs of a star system "s": `all` is its list, the others those of its planets."""
    costs = RequestCosts()
    costs.record_get("s", size=600, seconds=0.05)
    for name, size in bytes_of_list.items():
        costs.record_list(("s", None if name == "all" else name), size=size, seconds=0.05)
    return costs


def test_one_backup_beside_ten_thousand_old_ones_is_polled_by_get():
    """A list of 4.5 MB for one backup would be a waste."""
    costs = measured(all=4_500_000, p=4_500_000)
    assert choose_lists("s", {"p": alike(1)}, costs, now=0) == set()


def test_hundred_backups_beside_ten_thousand_old_ones_are_listed():
    """A list of 4.5 MB costs less than a hundred GETs."""
    costs = measured(all=4_500_000)
    assert choose_lists("s", {None: alike(100)}, costs, now=0) == {None}


@given(st.integers(1, 300), st.integers(100, 10_000_000))
def test_measured_costs_decide(count: int, size: int):
    """Backups that are all alike are listed exactly if the list costs less than their GETs."""
    costs = measured(all=size)
    cheaper = costs.list_cost(("s", None)) < count
    assert choose_lists("s", {None: alike(count)}, costs, now=0) == ({None} if cheaper else set())


def test_lists_of_planets_are_used_if_they_are_cheaper():
    """Two planets have many backups each, in a star system with a huge history; a third has one."""
    costs = measured(all=50_000_000, a=10_000, b=10_000, c=10_000)
    loads = {"a": alike(10), "b": alike(10), "c": alike(1), None: alike(1)}
    assert choose_lists("s", loads, costs, now=0) == {"a", "b"}


def test_list_of_the_star_system_beats_those_of_its_planets():
    """One small list of everything is cheaper than one per planet."""
    costs = measured(all=20_000, a=10_000, b=10_000)
    assert choose_lists("s", {"a": alike(10), "b": alike(10)}, costs, now=0) == {None}


def test_only_backups_that_may_finish_count():
    """No list is sent for one backup among many that are not about to finish."""
    costs = measured(all=1_000_000)
    mixed = PollingLoad.from_members([(BackoffEstimate(POLICY), 0.0)], horizon=60.0) + PollingLoad(
        hazards=1e-9, roots=1e-4
    )
    assert choose_lists("s", {None: mixed}, costs, now=0) == set()


@given(HAZARDS, st.randoms())
def test_loads_add_up_in_any_order(hazards: list[float], rng: object):
    """A load is a sum, whatever the grouping."""
    loads = [PollingLoad(hazard, math.sqrt(hazard)) for hazard in hazards]
    total = sum(loads, PollingLoad())
    assert total.hazards == pytest.approx(sum(hazards))
    assert total.cost_by_list(1.0) <= total.roots * (1 + 1e-9)


def test_load_of_a_sample_is_scaled():
    """Each member may represent several backups."""
    run = PollingLoad.from_members([(BackoffEstimate(POLICY), 30.0)], horizon=60.0)
    ten = PollingLoad.from_members([(BackoffEstimate(POLICY), 30.0)], horizon=60.0, scale=10)
    assert (ten.hazards, ten.roots) == pytest.approx((10 * run.hazards, 10 * run.roots))


def test_costs_follow_the_measurements():
    """The history of a star system grows, and so does the cost of its list."""
    costs = measured(all=1000)
    before = costs.list_cost(("s", None))
    costs.record_list(("s", None), size=10_000_000, seconds=2.0)
    once = costs.list_cost(("s", None))
    for _ in range(30):
        costs.record_list(("s", None), size=10_000_000, seconds=2.0)
    assert before < 2 < once < costs.list_cost(("s", None)) == pytest.approx(155.6 / 1.059, rel=0.01)


def test_unmeasured_list_is_tried_for_a_few_backups():
    """It is assumed to cost a few GETs; GETs need not have been measured."""
    costs = RequestCosts()
    assert choose_lists("s", {None: alike(10)}, costs, now=0) == {None}
    assert choose_lists("s", {None: alike(2)}, costs, now=0) == set()
    costs.record_list(("s", None), size=65_536, seconds=-1.0)
    assert costs.list_cost(("s", None)) == 2


def test_pauses_of_a_list_that_does_not_work_grow():
    """It is tried again after minutes, then hours; a useful response resets the pause."""
    costs, where, now, pauses = RequestCosts(), ("s", None), 0.0, []
    for _ in range(10):
        until = costs.pause_list(where, now=now)
        pauses.append(until - now)
        assert not costs.is_usable(where, now=until - 1)
        assert costs.is_usable(where, now=until)
        now = until
    assert pauses[:3] == [300, 600, 1200]
    assert pauses[-1] == 6 * 3600
    costs.record_list(where, size=1000, seconds=0.1)
    assert costs.pause_list(where, now=now) == now + 6 * 3600, "a useless response does not reset the pause"
    costs.clear_pause(where)
    assert costs.is_usable(where, now=now)
    assert costs.pause_list(where, now=now) == now + 300


def test_paused_lists_are_not_chosen():
    """If the list of the star system is paused, those of its planets are used, and vice versa."""
    costs = measured(all=1000, p=1000)
    costs.pause_list(("s", None), now=0)
    assert choose_lists("s", {"p": alike(50)}, costs, now=1) == {"p"}
    costs.pause_list(("s", "p"), now=0)
    assert choose_lists("s", {"p": alike(50)}, costs, now=1) == set()


def test_memory_of_costs_is_bounded():
    """A hundred thousand planets do not each keep a measurement."""
    costs = RequestCosts(keys=10)
    for i in range(100):
        costs.record_list(("s", f"p{i}"), size=1, seconds=0)
        costs.pause_list(("s", f"q{i}"), now=0)
    measured_lists = [i for i in range(100) if costs.list_cost(("s", f"p{i}")) < 2]
    paused_lists = [i for i in range(100) if not costs.is_usable(("s", f"q{i}"), now=1)]
    assert measured_lists == paused_lists == list(range(90, 100))
