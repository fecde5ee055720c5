"""Polling policies in virtual time: when each asks, and what that costs; exact, without a network.

Every policy is reduced to the ages at which it asks about a backup. With the distribution of durations known,
requests and delays follow without simulating time: a backup that takes T is asked about at every age up to the
first that is at least T. T runs over 2,000 quantiles of its distribution; what is random (jitter, histories, groups)
is averaged over seeded draws. Ours is the package's own code.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
from scipy import stats

from asyncbackups._polling.cost_model import RequestCosts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups._polling.poll_interval import next_interval
from asyncbackups._polling.tracked import ResponseCost
from asyncbackups.policies import PollingPolicy
from benchmarks.virtual_run import VirtualRun

Schedule = np.ndarray
Where = ("s", "p", "logical")
GET_BYTES, GET_SECONDS = 600, 0.05
LIST_BYTES, LIST_SECONDS = 450, 50e-6  # per backup listed
KEPT = 3  # backups that a star system keeps, finished ones included, for each one in flight
QUANTILES = (np.arange(2000) + 0.5) / 2000


@attrs.frozen
class Outcome:
    """Requests for each backup, and the delay of its news in seconds: mean and 99th percentile."""

    requests: float
    delay: float
    p99: float = math.nan


class Mixture:
    """A mixture of distributions, with the methods of scipy's that are used here."""

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
class World:
    """How long backups take, and how long the history says they took."""

    name: str
    truth: Any
    past: Any

    def draw(self, count: int, rng: np.random.Generator, *, past: bool = False) -> np.ndarray:
        """Draw durations, true ones or ones of the history."""
        return np.asarray((self.past if past else self.truth).ppf(rng.random(count)))

    @property
    def lies(self) -> bool:
        """Tell whether the history is not of this world."""
        return self.name.startswith("lie")

    @property
    def end(self) -> float:
        """Return an age that all but one in a million finish by."""
        return float(self.truth.ppf(1 - 1e-6))


def worlds() -> list[World]:
    usual = lognormal(131, 0.4)
    mix = Mixture((0.7, usual), (0.3, lognormal(3600, 0.4)))
    honest = [World(f"sigma {s}", lognormal(131, s), lognormal(131, s)) for s in (0.2, 0.4, 0.8)]
    false = (("3x longer", 393), ("10x longer", 1310), ("3x shorter", 43.7), ("10x shorter", 13.1))
    lies = [World(f"lie: {name}", lognormal(median, 0.4), usual) for name, median in false]
    return [*honest, World("bimodal", mix, mix), *lies]


# --- policies: each yields the ages at which it asks ---


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
    """Ask `cadence` times less often: a rate that is the root of a hazard over c needs its square."""
    return attrs.evolve(
        policy,
        initial=policy.initial * cadence,
        maximum=policy.maximum * cadence,
        request_worth=policy.request_worth * cadence**2,
    )


def ours(belief: SurvivalEstimate, policy: PollingPolicy, rng: random.Random, ahead: float = 0.0) -> Iterator[float]:
    """Ask as the package does; it takes a backup to be older than it is by `ahead`."""
    age = 0.0
    while True:
        age += next_interval([(belief, max(age + ahead, 0.0))], policy=policy, draw=rng.random())
        yield age


def believed(policy: PollingPolicy, history: np.ndarray) -> SurvivalEstimate:
    durations = DurationEstimates(policy)
    for seconds in history:
        durations.record_duration(*Where, float(seconds))
    return durations.estimate_for(*Where)


# --- evaluation ---


def until(ages: Iterator[float], end: float) -> Schedule:
    asked = []
    for age in ages:
        asked.append(age)
        if age >= end:
            return np.array(asked)
    raise AssertionError


def outcome(schedules: list[Schedule], took: np.ndarray) -> Outcome:
    """Average over schedules and durations."""
    found = [np.searchsorted(asked, took) for asked in schedules]
    delays = np.concatenate([asked[i] - took for asked, i in zip(schedules, found, strict=True)])
    return Outcome(float(np.mean(found)) + 1, float(delays.mean()), float(np.quantile(delays, 0.99)))


def of_peer(name: str, world: World, draws: int, scale: float = 1.0) -> Outcome:
    rng = random.Random(1)
    draws = draws if name == GOOGLE else 1
    return outcome([until(PEERS[name](rng, scale), world.end) for _ in range(draws)], world.truth.ppf(QUANTILES))


def of_us(policy: PollingPolicy, world: World, seen: int, draws: int, ahead: float = 0.0) -> Outcome:
    rng, histories = random.Random(1), np.random.default_rng(1)
    beliefs = [believed(policy, world.draw(seen, histories, past=True)) for _ in range(draws)]
    schedules = [until(ours(belief, policy, rng, ahead), world.end) for belief in beliefs]
    return outcome(schedules, world.truth.ppf(QUANTILES))


def optimal(world: World, worth: float, count: int = 1, nodes: int = 1500, first: float = math.inf) -> Outcome:
    """Find the best schedule by dynamic programming over a grid of ages, the true distribution being known.

    For one backup this is the optimum of Barlow, Hunter and Proschan (1963). For `count` started together and
    covered by one list it is the best of the schedules that do not look at who is left. With `first` it is the best of
    those that ask no later than at that age.
    """
    ages = np.concatenate([[0], np.geomspace(world.truth.ppf(1e-5 / count), world.end * 1.5, nodes)])
    alive = world.truth.sf(ages)
    spent = np.concatenate([[0], np.cumsum((alive[1:] + alive[:-1]) / 2 * np.diff(ages))])  # mean of min(T, age)
    asked = 1 - (1 - alive) ** count
    best, follower = np.zeros(len(ages)), np.zeros(len(ages), int)
    for i in range(len(ages) - 2, -1, -1):
        # The integral of (next - T) over those that finish in the gap.
        delay = (ages[i + 1 :] - ages[i]) * alive[i] - (spent[i + 1 :] - spent[i])
        value = worth * asked[i] + count * delay + best[i + 1 :]
        if i == 0:
            value = np.where(ages[1:] > first, np.inf, value)
        follower[i] = i + 1 + value.argmin()
        best[i] = value.min()
    requests = delays = 0.0
    i = 0
    while i < len(ages) - 1:
        j = follower[i]
        requests += asked[i]
        delays += (ages[j] - ages[i]) * alive[i] - (spent[j] - spent[i])
        i = j
    return Outcome(requests / count, delays)


def at_requests(curve: list[Outcome], requests: float) -> float:
    """Interpolate the delay at so many requests, log-log; outside of what was measured, not a number."""
    ordered = sorted(curve, key=lambda point: point.requests)
    x = np.log([point.requests for point in ordered])
    y = np.log([point.delay for point in ordered])
    return float(np.exp(np.interp(math.log(requests), x, y, left=math.nan, right=math.nan)))


def undominated(curve: list[Outcome]) -> list[Outcome]:
    """Leave out points that another one beats: backoff that asks less is sometimes sooner, too."""
    best: list[Outcome] = []
    for point in sorted(curve, key=lambda point: (point.requests, point.delay)):
        if not best or point.delay < best[-1].delay:
            best.append(point)
    return best


# --- groups: many backups of one star system, started together ---


def of_group(policy: PollingPolicy, world: World, count: int, draws: int, seen: int = 30) -> tuple[Outcome, float]:
    """Poll groups to the end with the package's scheduler; return the outcome and the lists' share of requests."""
    rng, draw = random.Random(1), np.random.default_rng(1)
    requests, lists, delays = 0, 0, []
    get, listing = ResponseCost(size=GET_BYTES, seconds=GET_SECONDS), list_cost(count)
    for _ in range(draws):
        history = world.draw(seen, draw, past=True).tolist()
        run = VirtualRun(policy, world.draw(count, draw).tolist(), get, listing, rng)
        run.run(history)
        requests += run.requests
        lists += run.lists
        delays += run.delays
    mean = Outcome(requests / draws / count, float(np.mean(delays)), float(np.quantile(delays, 0.99)))
    return mean, lists / requests


def list_cost(count: int) -> ResponseCost:
    """Return what a list costs in a star system with so many in flight."""
    listed = count * KEPT
    return ResponseCost(size=listed * LIST_BYTES, seconds=GET_SECONDS + listed * LIST_SECONDS)


def in_gets(count: int) -> float:
    """Return what a list costs there in gets, once both were measured."""
    costs, cost = RequestCosts(), list_cost(count)
    costs.record_get("s", size=GET_BYTES, seconds=GET_SECONDS)
    costs.record_list(("s", None), size=cost.size, seconds=cost.seconds)
    return costs.list_cost(("s", None))


def changed(policy: PollingPolicy, world: World, draws: int, new: int = 30) -> Outcome:
    """Average over the first backups of a changed world: 30 old ones are known, each new one is learned from."""
    rng, draw = random.Random(1), np.random.default_rng(1)
    points = []
    for _ in range(draws):
        durations = DurationEstimates(policy)
        for seconds in world.draw(30, draw, past=True):
            durations.record_duration(*Where, float(seconds))
        for seconds in world.draw(new, draw):
            schedule = until(ours(durations.estimate_for(*Where), policy, rng), world.end)
            points.append(outcome([schedule], world.truth.ppf(QUANTILES[::10])))
            durations.record_duration(*Where, float(seconds))
    return Outcome(float(np.mean([p.requests for p in points])), float(np.mean([p.delay for p in points])))
