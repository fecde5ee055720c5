"""Estimates of durations: by key, from few or many durations, with change points and bounded memory."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._base.containers import LruDict
from asyncbackups._polling.estimation.durations import DurationEstimates, _current_weights, _split_clusters
from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups.policies import PollingPolicy
from tests.unit.polling.object_sizes import memory_of
from tests.unit.polling.scenario import record_duration

POLICY = PollingPolicy(initial=5, factor=1.5, maximum=60, jitter=0.25, request_worth=5)
HISTORIES = st.lists(st.floats(-3, 16) | st.sampled_from([5.0, 8.0]), min_size=1, max_size=64)


def lognormal(median: float, sigma: float, count: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(math.log(median), sigma) for _ in range(count)]


def durations_of(
    history: list[float], *, key: tuple[str, str | None, str | None] = ("s", "p", "logical")
) -> DurationEstimates:
    durations = DurationEstimates(POLICY)
    for seconds in history:
        record_duration(durations, *key, seconds)
    return durations


def quantile(estimate: SurvivalEstimate, share: float) -> float:
    """Return the age that a share of backups finish by."""
    low, high = 0.0, 1e7
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if estimate.survival(middle) > 1 - share else (low, middle)
    return high


def test_estimate_without_history_is_the_backoff():
    """Without any history the policy's backoff is used."""
    durations = DurationEstimates(POLICY)
    assert durations.estimate_for("s", "p", "logical") is durations.unknown
    assert durations.unknown.sample_size == 0


def test_distribution_is_estimated():
    """Thirty durations give the quantiles with sufficient precision."""
    estimate = durations_of(lognormal(131, 0.4, 30)).estimate_for("s", "p", "logical")
    assert estimate.sample_size == 30
    assert quantile(estimate, 0.5) == pytest.approx(131, rel=0.2)
    assert quantile(estimate, 0.9) == pytest.approx(131 * math.exp(0.4 * 1.28), rel=0.3)


def test_two_kinds_of_backup_are_two_modes():
    """Snapshots take minutes and dumps an hour: hardly any backup finishes in between."""
    history = [*lognormal(131, 0.2, 20), *lognormal(3600, 0.2, 10)]
    random.Random(2).shuffle(history)
    estimate = durations_of(history).estimate_for("s", "p", "logical")
    assert estimate.survival(400) - estimate.survival(1500) < 0.05
    assert estimate.hazard(700) < estimate.hazard(131) / 20
    assert estimate.hazard(700) < estimate.hazard(3600) / 5


def test_estimate_falls_back_from_planet_to_star_system_to_all():
    """An unknown planet gets the estimate of its star system, and an unknown star system that of all."""
    durations = durations_of([100.0] * 20)
    assert durations.estimate_for("s", "p", "logical").sample_size == 20
    assert quantile(durations.estimate_for("s", "other", "logical"), 0.5) == pytest.approx(100, rel=0.1)
    assert quantile(durations.estimate_for("elsewhere", None, "logical"), 0.5) == pytest.approx(100, rel=0.1)
    assert quantile(durations.estimate_for("s", "p", None), 0.5) == pytest.approx(100, rel=0.1)
    assert durations.estimate_for("s", "p", "snapshot") is durations.unknown


def test_few_durations_of_a_planet_are_mixed_with_its_star_system():
    """One odd backup of a planet does not outweigh its star system."""
    durations = durations_of([100.0] * 30, key=("s", "many", "logical"))
    record_duration(durations, "s", "few", "logical", 1000.0)
    few = durations.estimate_for("s", "few", "logical")
    assert few.sample_size == 1
    alone = durations_of([1000.0]).estimate_for("s", "p", "logical")
    assert few.survival(80) - few.survival(125) > alone.survival(80) - alone.survival(125) + 0.1
    assert 0.3 < few.survival(500) < 0.9


def test_planet_like_the_others_shares_their_estimate():
    """Similar durations are no evidence for a workload of its own; later ones of the others count for it, too."""
    durations = durations_of(lognormal(131, 0.4, 40), key=("s", "many", "logical"))
    for seconds in (110.0, 170.0, 140.0):
        record_duration(durations, "s", "few", "logical", seconds)
    assert durations.estimate_for("s", "few", "logical") is durations.estimate_for("s", "never seen", "logical")
    for seconds in lognormal(400, 0.4, 40):
        record_duration(durations, "s", "many", "logical", seconds)
    assert durations.estimate_for("s", "few", "logical") is durations.estimate_for("s", "never seen", "logical")


@pytest.mark.parametrize("median", [13.0, 40.0, 400.0, 4000.0])
def test_planet_unlike_the_others_has_an_estimate_of_its_own(median: float):
    """A few durations are enough, although they are part of the level above."""
    durations = durations_of(lognormal(131, 0.3, 40), key=("s", "many", "logical"))
    for seconds in lognormal(median, 0.1, 4, seed=2):
        record_duration(durations, "s", "few", "logical", seconds)
    assert quantile(durations.estimate_for("s", "few", "logical"), 0.5) == pytest.approx(median, rel=0.5)
    assert quantile(durations.estimate_for("s", "many", "logical"), 0.5) == pytest.approx(131, rel=0.2)


def test_durations_are_ordered_by_place():
    """Earlier starts are older, whenever they are recorded; durations older than all that are kept are dropped."""
    durations = DurationEstimates(POLICY)
    for number in range(64):
        durations.record_at_level(None, None, "logical", 131.0, place=10.0 + number)
    for place in (9.0, 12.5):
        durations.record_at_level(None, None, "logical", 5000.0, place=place)
    history = durations._systems[None, "logical"]
    assert [place for place, log in zip(history.places, history.logs, strict=True) if math.exp(log) > 4999] == [12.5]
    assert len(history.logs) == 64


def test_duration_of_unknown_planet_and_mechanism_counts():
    """It counts for its star system and for all."""
    durations = durations_of([100.0] * 5, key=("s", None, None))
    assert durations.estimate_for("s", "p", None).sample_size == 5
    assert durations.estimate_for("x", "p", None).sample_size == 5


def test_all_durations_count_while_no_mechanism_is_known():
    """Until a response shows a mechanism, the durations are valid for all mechanisms."""
    durations = durations_of([100.0] * 5, key=("s", None, None))
    assert durations.estimate_for("s", "p", "logical").sample_size == 5
    record_duration(durations, "s", None, "snapshot", 10.0)
    assert durations.estimate_for("s", "p", "logical") is durations.unknown


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_impossible_durations_are_ignored(seconds: float):
    """A duration is finite and not negative."""
    durations = durations_of([seconds])
    assert durations.estimate_for("s", "p", "logical") is durations.unknown


def test_learning_can_be_switched_off():
    """`learn=False` is plain backoff, whatever finishes."""
    durations = DurationEstimates(PollingPolicy(learn=False))
    record_duration(durations, "s", "p", "logical", 100.0)
    assert durations.estimate_for("s", "p", "logical") is durations.unknown


def test_estimate_is_kept_until_it_is_stale():
    """Reading it again is cheap; durations recorded elsewhere do not change it."""
    durations = durations_of(lognormal(131, 0.4, 40))
    first = durations.estimate_for("s", "p", "logical")
    assert durations.estimate_for("s", "p", "logical") is first
    record_duration(durations, "x", "y", "logical", 131.0)
    assert durations.estimate_for("s", "p", "logical") is first
    for _ in range(6):
        record_duration(durations, "s", "p", "logical", 131.0)
    assert durations.estimate_for("s", "p", "logical") is not first


def test_surprising_duration_renews_the_estimate():
    """A duration that seemed impossible renews even an estimate from many."""
    durations = durations_of([131.0] * 60)
    first = durations.estimate_for("s", "p", "logical")
    record_duration(durations, "s", "p", "logical", 5000.0)
    assert durations.estimate_for("s", "p", "logical") is not first


@pytest.mark.parametrize("times", [10, 0.1])
def test_changed_workload_is_recognized_after_three_backups(times: float):
    """If backups become ten times slower or faster, the old durations lose their weight at the third."""
    durations = durations_of([*lognormal(131, 0.4, 60), *lognormal(131 * times, 0.4, 3, seed=2)])
    assert quantile(durations.estimate_for("s", "p", "logical"), 0.5) == pytest.approx(131 * times, rel=0.5)


def test_smaller_change_is_recognized():
    """Three times faster is within one cluster, of which only the new part counts then."""
    durations = durations_of([*lognormal(131, 0.4, 40), *lognormal(44, 0.4, 8, seed=2)])
    assert quantile(durations.estimate_for("s", "p", "logical"), 0.5) == pytest.approx(44, rel=0.3)


def test_estimate_after_a_change_is_based_on_few_durations():
    """The prior has its weight among the few new durations, and each further one renews the estimate."""
    durations = durations_of([131.0] * 60)
    sure = durations.estimate_for("s", "p", "logical").prior_weight(0)
    for _ in range(3):
        record_duration(durations, "s", "p", "logical", 1310.0)
    changed = durations.estimate_for("s", "p", "logical")
    assert changed.prior_weight(0) > 5 * sure
    record_duration(durations, "s", "p", "logical", 1310.0)
    assert durations.estimate_for("s", "p", "logical") is not changed


def test_one_odd_backup_is_no_change():
    """A single backup that hung for an hour does not outweigh the others, and even less after further usual ones."""
    durations = durations_of([*lognormal(131, 0.4, 30), 3600.0])
    assert durations.estimate_for("s", "p", "logical").survival(400) < 0.75
    for seconds in lognormal(131, 0.4, 3, seed=2):
        record_duration(durations, "s", "p", "logical", seconds)
    assert durations.estimate_for("s", "p", "logical").survival(400) < 0.1


@pytest.mark.parametrize("seed", range(10))
def test_recurring_modes_are_no_change(seed: int):
    """Snapshots and dumps in random order, with random runs of one kind: both are still expected."""
    rng = random.Random(seed)
    history = [rng.lognormvariate(math.log(131 if rng.random() < 0.7 else 3600), 0.4) for _ in range(60)]
    estimate = durations_of(history).estimate_for("s", "p", "logical")
    assert 0.1 < estimate.survival(900) < 0.6


@given(HISTORIES)
def test_newer_durations_are_likelier_of_the_present_workload(history: list[float]):
    """The newest certainly is; an older one is no likelier than a newer one."""
    samples = sorted((log, age) for age, log in enumerate(history))
    present = _current_weights(_split_clusters(samples))
    assert present[0] == pytest.approx(1)
    assert all(0 <= older <= newer for newer, older in itertools.pairwise(present))


@given(HISTORIES)
def test_clusters_are_a_partition(history: list[float]):
    """Every duration is in exactly one cluster, and clusters do not overlap."""
    samples = sorted((log, age) for age, log in enumerate(history))
    clusters = _split_clusters(samples)
    assert [sample for cluster in clusters for sample in cluster] == samples
    assert all(clusters)


def test_memory_is_bounded_per_key_and_in_total():
    """Neither a thousand durations of a planet nor a thousand planets grow without limit."""
    durations = DurationEstimates(POLICY, keys=100)
    for i in range(1000):
        record_duration(durations, "s", f"p{i}", "logical", 100.0 + i % 7)
        record_duration(durations, "s", "p", "logical", 100.0)
    assert memory_of(durations) < 100_000
    assert durations.estimate_for("s", "p0", "logical").sample_size == 64  # forgotten: its star system's


def test_least_recently_used_key_is_dropped():
    """Reading a key keeps it."""
    recent: LruDict[str, int] = LruDict(2)
    recent.store("a", 1)
    recent.store("b", 2)
    assert recent.look_up("a") == 1
    recent.store("c", 3)
    assert recent.look_up("b") is None
    assert list(recent) == ["a", "c"]


def test_extreme_durations_are_harmless():
    """Zero and centuries are clamped to the shortest and longest durations that matter."""
    estimate = durations_of([0.0, 1e300, 5e-324]).estimate_for("s", "p", "logical")
    assert 0 < estimate.next_interval(0, 5) < math.inf
    assert estimate.survival(1) < 1
