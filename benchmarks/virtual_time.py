"""Polling policies in virtual time: when each one polls, and what that costs; exact, without a network.

Every policy is reduced to the ages at which it polls a backup. If the distribution of durations is known, requests and
delays follow without simulating time: a backup that takes T is polled at every age up to the first that is at least T.
T runs over 2,000 quantiles of its distribution; random quantities (jitter, histories, groups) are averaged over seeded
draws. Our policy is the package's own code.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
from scipy import stats

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._polling.cost_model import RequestCosts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups._polling.poll_interval import next_interval
from asyncbackups.policies import PollingPolicy
from benchmarks.virtual_run import VirtualRun, response_info

Schedule = np.ndarray
Where = ("s", "p", "logical")
GET_BYTES, GET_SECONDS = 600, 0.05
LIST_BYTES, LIST_SECONDS = 450, 50e-6  # per backup listed
KEPT = 3  # backups that a star system keeps, finished ones included, per backup in progress
QUANTILES = (np.arange(2000) + 0.5) / 2000


@attrs.frozen
class Outcome:
    """Requests per backup, and its detection latency in seconds: mean and 99th percentile."""

    requests: float
    delay: float
    p99: float = math.nan


class Mixture:
    """A mixture of distributions, with the methods of scipy's distributions that are used here."""

    def __init__(self, *parts: tuple[float, Any]) -> None:
        self.parts = parts
        grid = np.geomspace(1e-2, 1e6, 20_000)
        self._grid, self._cdf = grid, 1 - self.sf(grid)

    def sf(self, t: Any) -> Any:
        """Return the survival function."""
        return sum(weight * part.sf(t) for weight, part in self.parts)

    def ppf(self, q: Any) -> Any:
        """Return quantiles, interpolated."""
        return np.interp(q, self._cdf, self._grid)


def lognormal(median: float, sigma: float) -> Any:
    return stats.lognorm(sigma, scale=median)


@attrs.frozen
class Workload:
    """How long backups take, and how long they took by the history."""

    name: str
    truth: Any
    past: Any

    def draw(self, count: int, rng: np.random.Generator, *, past: bool = False) -> np.ndarray:
        """Draw durations, from the truth or from the history."""
        return np.asarray((self.past if past else self.truth).ppf(rng.random(count)))

    @property
    def is_misleading(self) -> bool:
        """Whether the history is that of another workload."""
        return self.name.startswith("wrong history")

    @property
    def end(self) -> float:
        """Return an age by which all but one in a million have finished."""
        return float(self.truth.ppf(1 - 1e-6))


def workloads() -> list[Workload]:
    usual = lognormal(131, 0.4)
    mix = Mixture((0.7, usual), (0.3, lognormal(3600, 0.4)))
    honest = [Workload(f"sigma {s}", lognormal(131, s), lognormal(131, s)) for s in (0.2, 0.4, 0.8)]
    others = (("3x longer", 393), ("10x longer", 1310), ("3x shorter", 43.7), ("10x shorter", 13.1))
    misleading = [Workload(f"wrong history: {name}", lognormal(median, 0.4), usual) for name, median in others]
    return [*honest, Workload("bimodal", mix, mix), *misleading]


# --- policies: each yields the ages at which it polls ---


def fixed(every: float, *, at_once: bool = False) -> Callable[[random.Random, float], Iterator[float]]:
    def ages(_: random.Random, scale: float) -> Iterator[float]:
        age = 0.0 if at_once else every * scale
        while True:
            yield age
            age += every * scale

    return ages


def backoff(initial: float, factor: float, maximum: float, *, full_jitter: bool = False) -> Any:
    def ages(rng: random.Random, scale: float) -> Iterator[float]:
        age, interval = 0.0, initial
        while True:
            age += interval * scale * (rng.random() if full_jitter else 1)
            yield age
            interval = min(interval * factor, maximum)

    return ages


PEERS: dict[str, Any] = {
    "azure-core (at once, then 30 s)": fixed(30, at_once=True),
    "google-api-core (1 s x2 cap 60, full jitter)": backoff(1, 2, 60, full_jitter=True),
    "botocore (15 s)": fixed(15),
    "botocore RDS (30 s)": fixed(30),
    "planet (5 s)": fixed(5),
    "1 s x2 cap 60": backoff(1, 2, 60),
    "1 s x1.5 cap 20": backoff(1, 1.5, 20),
}
BACKOFF, GOOGLE = "1 s x2 cap 60", "google-api-core (1 s x2 cap 60, full jitter)"


def scaled(policy: PollingPolicy, cadence: float) -> PollingPolicy:
    """Poll `cadence` times less often: a rate that is the root of a hazard over c needs its square."""
    return attrs.evolve(
        policy,
        initial=policy.initial * cadence,
        maximum=policy.maximum * cadence,
        request_worth=policy.request_worth * cadence**2,
    )


def ours(estimate: SurvivalEstimate, policy: PollingPolicy, rng: random.Random, ahead: float = 0.0) -> Iterator[float]:
    """Poll as the package does; it assumes that a backup is older than it is by `ahead` seconds."""
    age = 0.0
    while True:
        age += next_interval([(estimate, max(age + ahead, 0.0))], policy=policy, draw=rng.random())
        yield age


def record_duration(durations: DurationEstimates, seconds: float) -> None:
    """Record a duration at every level."""
    star_system, planet, mechanism = Where
    durations.record_at_level(star_system, planet, mechanism, seconds)
    durations.record_at_level(None, None, mechanism, seconds)


def estimate_from(policy: PollingPolicy, history: np.ndarray) -> SurvivalEstimate:
    durations = DurationEstimates(policy)
    for seconds in history:
        record_duration(durations, float(seconds))
    return durations.estimate_for(*Where)


# --- evaluation ---


def schedule_until(ages: Iterator[float], end: float) -> Schedule:
    polls = []
    for age in ages:
        polls.append(age)
        if age >= end:
            return np.array(polls)
    raise AssertionError


def average_outcome(schedules: list[Schedule], durations: np.ndarray) -> Outcome:
    """Average over schedules and durations."""
    found = [np.searchsorted(polls, durations) for polls in schedules]
    delays = np.concatenate([polls[i] - durations for polls, i in zip(schedules, found, strict=True)])
    return Outcome(float(np.mean(found)) + 1, float(delays.mean()), float(np.quantile(delays, 0.99)))


def peer_outcome(name: str, workload: Workload, draws: int, scale: float = 1.0) -> Outcome:
    rng = random.Random(1)
    draws = draws if name == GOOGLE else 1
    return average_outcome(
        [schedule_until(PEERS[name](rng, scale), workload.end) for _ in range(draws)], workload.truth.ppf(QUANTILES)
    )


def our_outcome(policy: PollingPolicy, workload: Workload, seen: int, draws: int, ahead: float = 0.0) -> Outcome:
    rng, histories = random.Random(1), np.random.default_rng(1)
    estimates = [estimate_from(policy, workload.draw(seen, histories, past=True)) for _ in range(draws)]
    schedules = [schedule_until(ours(estimate, policy, rng, ahead), workload.end) for estimate in estimates]
    return average_outcome(schedules, workload.truth.ppf(QUANTILES))


def optimal_outcome(
    workload: Workload, worth: float, count: int = 1, nodes: int = 1500, first: float = math.inf
) -> Outcome:
    """Find the optimal schedule for a known distribution, by dynamic programming over a grid of ages.

    For one backup this is the optimum of Barlow, Hunter and Proschan (1963). For `count` backups that start together
    and are covered by one list, it is the best schedule that does not depend on which backups are left. With `first`
    it is the best schedule that polls no later than at that age.
    """
    ages = np.concatenate([[0], np.geomspace(workload.truth.ppf(1e-5 / count), workload.end * 1.5, nodes)])
    alive = workload.truth.sf(ages)
    spent = np.concatenate([[0], np.cumsum((alive[1:] + alive[:-1]) / 2 * np.diff(ages))])  # mean of min(T, age)
    polled = 1 - (1 - alive) ** count
    best, follower = np.zeros(len(ages)), np.zeros(len(ages), int)
    for i in range(len(ages) - 2, -1, -1):
        # The integral of (next - T) over the backups that finish before the next poll.
        delay = (ages[i + 1 :] - ages[i]) * alive[i] - (spent[i + 1 :] - spent[i])
        value = worth * polled[i] + count * delay + best[i + 1 :]
        if i == 0:
            value = np.where(ages[1:] > first, np.inf, value)
        follower[i] = i + 1 + value.argmin()
        best[i] = value.min()
    requests = delays = 0.0
    i = 0
    while i < len(ages) - 1:
        j = follower[i]
        requests += polled[i]
        delays += (ages[j] - ages[i]) * alive[i] - (spent[j] - spent[i])
        i = j
    return Outcome(requests / count, delays)


def delay_at(curve: list[Outcome], requests: float) -> float:
    """Interpolate the delay at a number of requests, log-log; not a number outside the measured range."""
    ordered = sorted(curve, key=lambda point: point.requests)
    x = np.log([point.requests for point in ordered])
    y = np.log([point.delay for point in ordered])
    return float(np.exp(np.interp(math.log(requests), x, y, left=math.nan, right=math.nan)))


def pareto_front(curve: list[Outcome]) -> list[Outcome]:
    """Drop points that another point beats: backoff with fewer requests sometimes has less delay, too."""
    best: list[Outcome] = []
    for point in sorted(curve, key=lambda point: (point.requests, point.delay)):
        if not best or point.delay < best[-1].delay:
            best.append(point)
    return best


# --- groups: many backups of one star system that start together ---


def group_outcome(
    policy: PollingPolicy, workload: Workload, count: int, draws: int, seen: int = 30
) -> tuple[Outcome, float]:
    """Poll groups to the end with the package's scheduler; return the outcome and the share of lists."""
    rng, draw = random.Random(1), np.random.default_rng(1)
    requests, lists, delays = 0, 0, []
    get, listing = response_info(GET_BYTES, GET_SECONDS), list_response(count)
    for _ in range(draws):
        history = workload.draw(seen, draw, past=True).tolist()
        run = VirtualRun(policy, workload.draw(count, draw).tolist(), get, listing, rng)
        run.run(history)
        requests += run.requests
        lists += run.lists
        delays += run.delays
    mean = Outcome(requests / draws / count, float(np.mean(delays)), float(np.quantile(delays, 0.99)))
    return mean, lists / requests


def list_response(count: int) -> ResponseInfo:
    """Return the size and time of a list in a star system with a number of backups in progress."""
    listed = count * KEPT
    return response_info(listed * LIST_BYTES, GET_SECONDS + listed * LIST_SECONDS)


def list_cost(count: int) -> float:
    """Return the cost of such a list in GETs, once both were measured."""
    costs, response = RequestCosts(), list_response(count)
    costs.record_get("s", size=GET_BYTES, seconds=GET_SECONDS)
    costs.record_list(("s", None), size=response.size, seconds=response.seconds)
    return costs.list_cost(("s", None))


def outcome_after_change(policy: PollingPolicy, workload: Workload, draws: int, new: int = 30) -> Outcome:
    """Average over the first backups of a changed workload: 30 old durations are known, each new one is recorded."""
    rng, draw = random.Random(1), np.random.default_rng(1)
    points = []
    for _ in range(draws):
        durations = DurationEstimates(policy)
        for seconds in workload.draw(30, draw, past=True):
            record_duration(durations, float(seconds))
        for seconds in workload.draw(new, draw):
            schedule = schedule_until(ours(durations.estimate_for(*Where), policy, rng), workload.end)
            points.append(average_outcome([schedule], workload.truth.ppf(QUANTILES[::10])))
            record_duration(durations, float(seconds))
    return Outcome(float(np.mean([p.requests for p in points])), float(np.mean([p.delay for p in points])))
