"""Estimates of how long backups take, from the durations of finished ones.

Durations are kept per planet and mechanism, per star system, and for everything together. A planet is assumed to be
like the others of its star system, and a star system like all others, until its own durations are evidence for a
workload of its own. The logarithms are split into clusters (a planet's snapshots take minutes, its dumps an hour);
each cluster predicts by a Student-t distribution, as of a normal sample of unknown mean and variance; durations from
before a change of the workload lose their weight; and a heavy-tailed prior limits how long a wrong history is trusted.
"""

from __future__ import annotations

import collections
import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import attrs

from asyncbackups._base.containers import LruDict
from asyncbackups._polling.estimation.survival import BackoffEstimate, HeavyTailPrior, LearnedEstimate, SurvivalEstimate
from asyncbackups.policies import PollingPolicy

_KEPT = 64  # durations kept per key: five times as many would reduce the latency by 2% at sigma 0.4
_LIKELIER = 2.0
"""A key has a workload of its own once this makes its durations the given number of times likelier than the level above
does. If all workloads are alike, one estimate for all saves a tenth of the delay; if they differ by half, it costs a
fortieth."""
_SPREAD, _SPREAD_WORTH = 0.2, 2.0  # the prior of the spread of the logarithms, and its weight in durations
_ABOVE = 3.0  # weight, in backups, of the level above in a workload of its own
_UNSEEN = 0.35
"""Weight, in backups, of the prior: less is closer to the optimum if the history is true, more recovers sooner if it is
not. At this weight a truth ten times longer than the history costs a tenth over backoff."""
_MEDIAN = 2.0  # median of the prior, in units of the policy's maximum: two minutes by default
_NEW = 0.05
"""Weight, in backups, of a new cluster: more splits a wide cluster into several, less recognizes a new one late."""
_MEAN_WORTH = 0.05  # weight, in samples, of the prior of a cluster's mean: a new cluster needs evidence
_CHANGE = 0.01  # the prior probability that the workload has changed at each of `_CHANGES`
_CHANGES = (1, 2, 3, 5, 8, 13, 21, 34)
"""The workload may have changed this many backups ago: less exactly, the longer ago."""
_PRESENT = 0.01  # durations that are less likely than this to belong to the present workload are ignored
_GRID = tuple(math.sinh(i / 8) / math.sinh(1.5) * 4.5 for i in range(-12, 13))
"""Where a cluster is tabulated, in its own scales from its centre: finest in the middle."""
_COARSE = tuple(2.0**i for i in range(-10, 18))  # where the prior is tabulated, in units of its median

_SURPRISE = 0.05  # a duration less likely than this, or than its opposite, renews the estimate at once
_LONGEST = 1e5  # longer durations are cut to this, in units of the policy's maximum

_SHAPE, _RATE = _SPREAD_WORTH / 2, _SPREAD_WORTH / 2 * _SPREAD**2
_ONE = _SHAPE * math.log(_RATE) - math.lgamma(_SHAPE) + math.log(_NEW)
_Sample = tuple[float, int]  # the logarithm of a duration, and how many newer durations there are
_Key = TypeVar("_Key")


@attrs.frozen
class _Cluster:
    """Similar durations, and the Student-t distribution of the logarithm of the next one."""

    weight: float  # how many backups of the present workload it contains
    centre: float  # mean of the logarithms
    scale: float  # scale of the prediction
    freedom: float  # degrees of freedom

    @classmethod
    def fit(cls, samples: list[tuple[float, float]]) -> _Cluster:
        """Fit (logarithm, weight) pairs, under a weak prior of the spread."""
        count = sum(weight for _, weight in samples)
        centre = sum(weight * x for x, weight in samples) / count
        freedom = max(count - 1, 0) + _SPREAD_WORTH
        squares = sum(weight * (x - centre) ** 2 for x, weight in samples) + _SPREAD_WORTH * _SPREAD**2
        return cls(count, centre, math.sqrt(squares / freedom * (1 + 1 / max(count, 1))), freedom)

    def survival(self, log_age: float) -> float:
        """Return the probability that the next backup takes longer.

        Source: D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions",
        1959; with two degrees of freedom or more its error is below 0.002.
        """
        z, freedom = (log_age - self.centre) / self.scale, self.freedom
        normal = math.sqrt(freedom * math.log1p(z * z / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
        return 0.5 * math.erfc(math.copysign(normal, z) * math.sqrt(0.5))


class _Moments(NamedTuple):
    """The number of some logarithms, their sum, and the sum of their squares."""

    size: int
    total: float
    squares: float

    @classmethod
    def from_samples(cls, samples: list[_Sample]) -> _Moments:
        logs = [x for x, _ in samples]
        return cls(len(logs), sum(logs), sum([x * x for x in logs]))

    def with_sample(self, x: float) -> _Moments:
        return _Moments(self.size + 1, self.total + x, self.squares + x * x)

    def without(self, other: _Moments) -> _Moments:
        return _Moments(self.size - other.size, self.total - other.total, self.squares - other.squares)

    def log_evidence(self) -> float:
        """Return the log marginal likelihood of being one cluster, up to a factor per sample and one for all.

        Normal with a conjugate prior: spread as in `_Cluster`, mean anywhere within some units of the logarithm. The
        assignment to clusters is a Chinese restaurant process (J. Pitman, "Combinatorial stochastic processes", 2006).
        """
        if not self.size:
            return 0.0
        shape = _SHAPE + self.size / 2
        rate = _RATE + max(self.squares - self.total**2 / self.size, 0.0) / 2
        fit = math.lgamma(shape) - shape * math.log(rate) - math.log(1 + self.size / _MEAN_WORTH) / 2
        return fit + math.lgamma(self.size) + _ONE


def _split_clusters(samples: list[_Sample]) -> list[list[_Sample]]:
    """Split sorted samples into clusters, at the widest gaps, while the evidence supports it."""
    if len(samples) < 2:
        return [samples]
    whole, cuts = _Moments.from_samples(samples), []
    for i in sorted(range(1, len(samples)), key=lambda i: samples[i - 1][0] - samples[i][0])[:4]:
        part = _Moments.from_samples(samples[:i])
        cuts.append((part.log_evidence() + whole.without(part).log_evidence(), i))
    best, cut = max(cuts)
    if best <= whole.log_evidence():
        return [samples]
    return _split_clusters(samples[:cut]) + _split_clusters(samples[cut:])


def _joint_evidence(clusters: Iterable[_Moments]) -> float:
    """Return the log marginal likelihood of all clusters of one workload, up to a factor per sample."""
    evidence, count = 0.0, 0
    for cluster in clusters:
        evidence, count = evidence + cluster.log_evidence(), count + cluster.size
    return evidence + math.lgamma(_NEW) - math.lgamma(count + _NEW)


def _current_weights(clusters: list[list[_Sample]]) -> list[float]:
    """Return, from the newest to the oldest, the probability that each sample belongs to the present workload.

    The workload, that is each cluster's share, mean and spread, changed once or never. Source: A. F. M. Smith, "A
    Bayesian approach to inference about a change-point in a sequence of random variables", Biometrika, 1975.
    """
    newest_first = sorted((age, i, x) for i, cluster in enumerate(clusters) for x, age in cluster)
    whole = [_Moments.from_samples(cluster) for cluster in clusters]
    since, never = [_Moments(0, 0.0, 0.0)] * len(clusters), _joint_evidence(whole)
    logs = {len(newest_first): 0.0}
    for age, i, x in newest_first[:-1]:
        since[i] = since[i].with_sample(x)
        if age + 1 in _CHANGES:
            before = map(_Moments.without, whole, since)
            logs[age + 1] = math.log(_CHANGE) + _joint_evidence(since) + _joint_evidence(before) - never
    most = max(logs.values())
    odds = {age: math.exp(log - most) for age, log in logs.items()}
    total = sum(odds.values())
    return [sum(odd for first, odd in odds.items() if first > age) / total for age in range(len(newest_first))]


@attrs.frozen
class _Workload:
    """The present workload of one key, by its own durations."""

    clusters: list[_Cluster]
    present: float  # how many durations belong to it
    logs: list[float]  # the logarithms of the durations that probably belong to it

    @classmethod
    def fit(cls, samples: list[_Sample]) -> _Workload:
        """Fit clusters to sorted samples."""
        found = _split_clusters(samples)
        weights = _current_weights(found)
        kept = [[(x, weights[age]) for x, age in cluster if weights[age] > _PRESENT] for cluster in found]
        clusters = [_Cluster.fit(cluster) for cluster in kept if cluster]
        logs = [x for cluster in kept for x, weight in cluster if weight > 0.5]
        return cls(clusters, sum(cluster.weight for cluster in clusters), logs)

    def differs_from(self, above: Iterable[float]) -> bool:
        """Return True if these durations and the others of the level above are likelier two workloads than one.

        The others may be of an older workload; otherwise a change of one planet would look like a change of all.
        Source: the Bayes factor (H. Jeffreys, "Theory of probability", 1939).
        """
        others = collections.Counter(above)
        others.subtract(self.logs)
        apart = sorted((+others).elements())
        if not apart:
            return False
        together = _workload_evidence(sorted([*apart, *self.logs]))
        return _workload_evidence(self.logs) + _workload_evidence(apart) > together + math.log(_LIKELIER)


def _workload_evidence(logs: list[float]) -> float:
    """Return the log marginal likelihood of one workload, up to a factor per sample."""
    return _joint_evidence(map(_Moments.from_samples, _split_clusters([(x, 0) for x in logs])))


@attrs.define(eq=False)
class _History:
    """The latest durations of one key, and the estimate that was last computed from them."""

    logs: array[float] = attrs.field(factory=lambda: array("d"))  # their logarithms, from the oldest to the newest
    places: array[float] = attrs.field(factory=lambda: array("d"))  # the place of each: the newer, the higher
    unused: int = 0  # how many were added since the estimate
    workload: _Workload | None = None
    estimate: SurvivalEstimate | None = None
    own: bool = False  # whether the estimate is for a workload of its own; else that of the level above holds
    above_size: int = 0  # the sample size of the level above at that time

    def add_duration(self, log: float, place: float | None) -> None:
        """Add a duration, the newest if `place` is None; drop the oldest if there are too many."""
        if place is None:
            place = self.places[-1] + 1 if self.places else 0.0
        index = bisect_right(self.places, place)
        self.logs.insert(index, log)
        self.places.insert(index, place)
        if len(self.logs) > _KEPT:
            del self.logs[0], self.places[0]
            if index == 0:
                return
        surprise = self.estimate is not None and abs(self.estimate.survival(math.exp(log)) - 0.5) > 0.5 - _SURPRISE
        self.unused += _KEPT if surprise else 1

    def sorted_samples(self) -> list[_Sample]:
        newest = len(self.logs) - 1
        return sorted((log, newest - i) for i, log in enumerate(self.logs))

    def is_stale(self, above: SurvivalEstimate) -> bool:
        """Return True if the estimate must be renewed: one more of a few matters, one more of many does not."""
        if self.workload is None:
            return True
        return self.unused > self.workload.present // 8 or above.sample_size > 2 * self.above_size

    def store_estimate(self, workload: _Workload, estimate: SurvivalEstimate, above: SurvivalEstimate) -> None:
        self.workload, self.estimate, self.unused = workload, estimate, 0
        self.own, self.above_size = estimate is not above, above.sample_size


def _history_for(table: LruDict[_Key, _History], key: _Key) -> _History:
    found = table.look_up(key)
    return table.store(key, _History()) if found is None else found


class DurationEstimates:
    """The durations of finished backups, and the estimates from them.

    At most `keys` planets and star systems each are remembered, by their latest 64 durations. The least recently used
    planets are forgotten first: they fall back to their star system. The policy sets the backoff while nothing is
    known, and the scale of the prior.
    """

    def __init__(self, policy: PollingPolicy, *, keys: int = 4096) -> None:
        self.unknown: BackoffEstimate = BackoffEstimate(policy)
        self._learn = policy.learn
        self._shortest, self._longest = policy.initial / 10, policy.maximum * _LONGEST
        self._prior = HeavyTailPrior(math.log(_MEDIAN * policy.maximum))
        self._planets: LruDict[tuple[str, str, str | None], _History] = LruDict(keys)
        self._systems: LruDict[tuple[str | None, str | None], _History] = LruDict(keys)
        self._mechanism_known = False  # whether the mechanism of any recorded backup is known

    def record_at_level(
        self,
        star_system: str | None,
        planet: str | None,
        mechanism: str | None,
        seconds: float,
        *,
        place: float | None = None,
    ) -> None:
        """Record a duration for one star system and its planet, or for everything; ignore an impossible one.

        Args:
            star_system: The backup's star system; None for everything.
            planet: Its planet, if known.
            mechanism: How it was made, if known.
            seconds: How long it took.
            place: Its place among the others: the newer, the higher; None for the newest.
        """
        if not (self._learn and 0 <= seconds < math.inf):
            return
        log = math.log(min(max(seconds, self._shortest), self._longest))
        self._mechanism_known = self._mechanism_known or mechanism is not None
        for made_by in dict.fromkeys((mechanism, None)):
            _history_for(self._systems, (star_system, made_by)).add_duration(log, place)
            if star_system is not None and planet is not None:
                _history_for(self._planets, (star_system, planet, made_by)).add_duration(log, place)

    def estimate_for(self, star_system: str, planet: str | None, mechanism: str | None) -> SurvivalEstimate:
        """Return the survival estimate of a backup, from the most similar backups that are known."""
        if not self._mechanism_known:
            mechanism = None
        levels = (
            self._systems.look_up((None, mechanism)),
            self._systems.look_up((star_system, mechanism)),
            self._planets.look_up((star_system, planet, mechanism)) if planet is not None else None,
        )
        estimate: SurvivalEstimate = self.unknown
        logs: Sequence[float] = ()
        for history in levels:
            if history is not None:
                self._refresh_estimate(history, estimate, logs)
                if history.own and history.estimate is not None:
                    estimate, logs = history.estimate, history.logs
        return estimate

    def _refresh_estimate(self, history: _History, above: SurvivalEstimate, logs_above: Sequence[float]) -> None:
        """Renew the estimate of one level if it is stale: that of the level above, until its own durations differ."""
        if history.is_stale(above):
            workload = _Workload.fit(history.sorted_samples())
            own = not logs_above or workload.differs_from(logs_above)
            estimate = self._mix_estimate(len(history.logs), workload, above) if own else above
            history.store_estimate(workload, estimate, above)

    def _mix_estimate(self, sample_size: int, workload: _Workload, above: SurvivalEstimate) -> LearnedEstimate:
        """Mix a workload with the level above, as if that were `_ABOVE` backups, and the prior, as if `_UNSEEN`."""
        base = above if isinstance(above, LearnedEstimate) else None
        weight = workload.present + _UNSEEN + (0.0 if base is None else _ABOVE)

        def survival(age: float) -> float:
            log_age = math.log(age)
            own = sum(cluster.weight * cluster.survival(log_age) for cluster in workload.clusters)
            other = 0.0 if base is None else _ABOVE * base.survival(age)
            return (own + other + _UNSEEN * self._prior.survival(age)) / weight

        ages = {math.exp(cluster.centre + z * cluster.scale) for cluster in workload.clusters for z in _GRID}
        ages.update(math.exp(self._prior.centre) * ratio for ratio in _COARSE)
        ages.update(() if base is None else base.ages[1:])
        return LearnedEstimate.tabulate(sample_size, _UNSEEN / weight, sorted(ages), survival)
