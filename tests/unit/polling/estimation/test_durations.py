"""How long backups take: learned by key, from few or many, with old news fading and memory bounded."""

from __future__ import annotations

import itertools
import math
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._base.lru import LruDict
from asyncbackups._polling.estimation.durations import DurationEstimates, _current_weights, _split_clusters
from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups.policies import PollingPolicy

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
        durations.record_duration(*key, seconds)
    return durations


def quantile(estimate: SurvivalEstimate, share: float) -> float:
    """Return the age that a share of backups finish by."""
    low, high = 0.0, 1e7
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if estimate.survival(middle) > 1 - share else (low, middle)
    return high


def test_nothing_known_is_backoff():
    """Without any history the belief is the policy's backoff."""
    durations = DurationEstimates(POLICY)
    assert durations.estimate_for("s", "p", "logical") is durations.unknown
    assert durations.unknown.sample_size == 0


def test_learns_the_distribution():
    """From thirty durations the quantiles are known well enough."""
    estimate = durations_of(lognormal(131, 0.4, 30)).estimate_for("s", "p", "logical")
    assert estimate.sample_size == 30
    assert quantile(estimate, 0.5) == pytest.approx(131, rel=0.2)
    assert quantile(estimate, 0.9) == pytest.approx(131 * math.exp(0.4 * 1.28), rel=0.3)


def test_two_kinds_of_backup_are_two_modes():
    """Snapshots of minutes and dumps of an hour: hardly any finish in between."""
    history = [*lognormal(131, 0.2, 20), *lognormal(3600, 0.2, 10)]
    random.Random(2).shuffle(history)
    estimate = durations_of(history).estimate_for("s", "p", "logical")
    assert estimate.survival(400) - estimate.survival(1500) < 0.05
    assert estimate.hazard(700) < estimate.hazard(131) / 20
    assert estimate.hazard(700) < estimate.hazard(3600) / 5


def test_falls_back_from_planet_to_star_system_to_everything():
    """A planet never seen is judged by its star system, and that by all others."""
    durations = durations_of([100.0] * 20)
    assert durations.estimate_for("s", "p", "logical").sample_size == 20
    assert quantile(durations.estimate_for("s", "other", "logical"), 0.5) == pytest.approx(100, rel=0.1)
    assert quantile(durations.estimate_for("elsewhere", None, "logical"), 0.5) == pytest.approx(100, rel=0.1)
    assert quantile(durations.estimate_for("s", "p", None), 0.5) == pytest.approx(100, rel=0.1)
    assert durations.estimate_for("s", "p", "snapshot") is durations.unknown


def test_a_planet_of_which_little_is_known_leans_on_its_star_system():
    """One odd backup of a planet does not make its star system forgotten."""
    durations = durations_of([100.0] * 30, key=("s", "many", "logical"))
    durations.record_duration("s", "few", "logical", 1000.0)
    few = durations.estimate_for("s", "few", "logical")
    assert few.sample_size == 1
    alone = durations_of([1000.0]).estimate_for("s", "p", "logical")
    assert few.survival(80) - few.survival(125) > alone.survival(80) - alone.survival(125) + 0.1
    assert 0.3 < few.survival(500) < 0.9


def test_a_planet_like_the_others_is_taken_for_one_of_them():
    """Its three say nothing against it; and what is learned of the others later holds for it, too."""
    durations = durations_of(lognormal(131, 0.4, 40), key=("s", "many", "logical"))
    for seconds in (110.0, 170.0, 140.0):
        durations.record_duration("s", "few", "logical", seconds)
    assert durations.estimate_for("s", "few", "logical") is durations.estimate_for("s", "never seen", "logical")
    for seconds in lognormal(400, 0.4, 40):
        durations.record_duration("s", "many", "logical", seconds)
    assert durations.estimate_for("s", "few", "logical") is durations.estimate_for("s", "never seen", "logical")


@pytest.mark.parametrize("median", [13.0, 40.0, 400.0, 4000.0])
def test_a_planet_unlike_the_others_has_a_world_of_its_own(median: float):
    """A few are enough to see it, whatever the others do, and though theirs are among all that is known."""
    durations = durations_of(lognormal(131, 0.3, 40), key=("s", "many", "logical"))
    for seconds in lognormal(median, 0.1, 4, seed=2):
        durations.record_duration("s", "few", "logical", seconds)
    assert quantile(durations.estimate_for("s", "few", "logical"), 0.5) == pytest.approx(median, rel=0.5)
    assert quantile(durations.estimate_for("s", "many", "logical"), 0.5) == pytest.approx(131, rel=0.2)


def test_a_place_is_kept():
    """What began earlier is older, whenever it is learned of; older than all that is kept, it is not learned."""
    durations = DurationEstimates(POLICY)
    for number in range(64):
        durations.record_at_level(None, None, "logical", 131.0, place=10.0 + number)
    for place in (9.0, 12.5):
        durations.record_at_level(None, None, "logical", 5000.0, place=place)
    history = durations._systems[None, "logical"]
    assert [place for place, log in zip(history.places, history.logs, strict=True) if math.exp(log) > 4999] == [12.5]
    assert len(history.logs) == 64


def test_of_unknown_planet_and_mechanism_it_learns_too():
    """A duration of which nothing else is known counts for its star system and for everything."""
    durations = durations_of([100.0] * 5, key=("s", None, None))
    assert durations.estimate_for("s", "p", None).sample_size == 5
    assert durations.estimate_for("x", "p", None).sample_size == 5


def test_where_answers_do_not_say_how_backups_are_made_all_count():
    """Until one says it, what is known without it is known of every mechanism."""
    durations = durations_of([100.0] * 5, key=("s", None, None))
    assert durations.estimate_for("s", "p", "logical").sample_size == 5
    durations.record_duration("s", None, "snapshot", 10.0)
    assert durations.estimate_for("s", "p", "logical") is durations.unknown


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_ignores_what_cannot_be(seconds: float):
    """A duration is finite and not negative."""
    durations = durations_of([seconds])
    assert durations.estimate_for("s", "p", "logical") is durations.unknown


def test_learns_nothing_when_told_not_to():
    """`learn=False` is plain backoff, whatever finishes."""
    durations = DurationEstimates(PollingPolicy(learn=False))
    durations.record_duration("s", "p", "logical", 100.0)
    assert durations.estimate_for("s", "p", "logical") is durations.unknown


def test_a_belief_is_kept_until_there_is_news():
    """Asking again is cheap; something observed elsewhere changes nothing here."""
    durations = durations_of(lognormal(131, 0.4, 40))
    first = durations.estimate_for("s", "p", "logical")
    assert durations.estimate_for("s", "p", "logical") is first
    durations.record_duration("x", "y", "logical", 131.0)
    assert durations.estimate_for("s", "p", "logical") is first
    for _ in range(6):
        durations.record_duration("s", "p", "logical", 131.0)
    assert durations.estimate_for("s", "p", "logical") is not first


def test_a_surprise_is_news_at_once():
    """A duration that was thought impossible renews even a belief that rests on many."""
    durations = durations_of([131.0] * 60)
    first = durations.estimate_for("s", "p", "logical")
    durations.record_duration("s", "p", "logical", 5000.0)
    assert durations.estimate_for("s", "p", "logical") is not first


@pytest.mark.parametrize("times", [10, 0.1])
def test_a_changed_world_is_believed_after_three(times: float):
    """Ten times slower or faster: the old world has lost its weight after the third that says so."""
    durations = durations_of([*lognormal(131, 0.4, 60), *lognormal(131 * times, 0.4, 3, seed=2)])
    assert quantile(durations.estimate_for("s", "p", "logical"), 0.5) == pytest.approx(131 * times, rel=0.5)


def test_a_smaller_change_is_believed_too():
    """Three times faster lies within one cluster, of which only the new part then counts."""
    durations = durations_of([*lognormal(131, 0.4, 40), *lognormal(44, 0.4, 8, seed=2)])
    assert quantile(durations.estimate_for("s", "p", "logical"), 0.5) == pytest.approx(44, rel=0.3)


def test_after_a_change_little_is_known():
    """The prior has its weight among the few of the new world, and each of them is news again."""
    durations = durations_of([131.0] * 60)
    sure = durations.estimate_for("s", "p", "logical").prior_weight(0)
    for _ in range(3):
        durations.record_duration("s", "p", "logical", 1310.0)
    changed = durations.estimate_for("s", "p", "logical")
    assert changed.prior_weight(0) > 5 * sure
    durations.record_duration("s", "p", "logical", 1310.0)
    assert durations.estimate_for("s", "p", "logical") is not changed


def test_one_odd_backup_is_no_change():
    """A single one that hung for an hour does not make the others forgotten, and less so when they come back."""
    durations = durations_of([*lognormal(131, 0.4, 30), 3600.0])
    assert durations.estimate_for("s", "p", "logical").survival(400) < 0.75
    for seconds in lognormal(131, 0.4, 3, seed=2):
        durations.record_duration("s", "p", "logical", seconds)
    assert durations.estimate_for("s", "p", "logical").survival(400) < 0.1


@pytest.mark.parametrize("seed", range(10))
def test_modes_that_recur_are_no_change(seed: int):
    """Snapshots and dumps in any order, with runs of one kind as chance has them: both are still expected."""
    rng = random.Random(seed)
    history = [rng.lognormvariate(math.log(131 if rng.random() < 0.7 else 3600), 0.4) for _ in range(60)]
    estimate = durations_of(history).estimate_for("s", "p", "logical")
    assert 0.1 < estimate.survival(900) < 0.6


@given(HISTORIES)
def test_the_newer_the_likelier_of_the_present_world(history: list[float]):
    """Each is of the present world with some probability: the newest surely, an older one no more than a newer."""
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


def test_memory_is_bounded_by_key_and_in_all():
    """Neither ten thousand durations of a planet nor ten thousand planets grow without limit."""
    durations = DurationEstimates(POLICY, keys=100)
    for i in range(1000):
        durations.record_duration("s", f"p{i}", "logical", 100.0 + i % 7)
        durations.record_duration("s", "p", "logical", 100.0)
    assert len(durations._planets) == 100
    history = durations._planets["s", "p", "logical"]
    assert len(history.logs) == 64
    assert sys.getsizeof(history.logs) < 1024
    assert durations.estimate_for("s", "p0", "logical").sample_size == 64  # forgotten: its star system's


def test_the_least_recently_used_is_forgotten():
    """Being asked for keeps a key alive."""
    recent: LruDict[str, int] = LruDict(2)
    recent.store("a", 1)
    recent.store("b", 2)
    assert recent.look_up("a") == 1
    recent.store("c", 3)
    assert recent.look_up("b") is None
    assert list(recent) == ["a", "c"]


def test_extreme_durations_are_harmless():
    """Zero and centuries are taken to be the shortest and longest that can matter."""
    estimate = durations_of([0.0, 1e300, 5e-324]).estimate_for("s", "p", "logical")
    assert 0 < estimate.next_interval(0, 5) < math.inf
    assert estimate.survival(1) < 1
