"""How long backups take: what was seen, and what it makes us expect.

Durations are learned per planet and mechanism, with fallback to the star system and then to everything. Their
logarithms are cut into clusters (a planet's snapshots take minutes, its dumps an hour); each cluster predicts
by a Student-t distribution, as of a normal sample of unknown mean and spread; and a heavy-tailed prior keeps a
wrong history from being believed for ever. Pure: no clock, no randomness, no I/O.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from asyncbackups.policies import PollingPolicy

__all__ = ["Belief", "Durations", "Learned", "Recent", "Unknown"]

_KEPT = 64
"""Durations remembered per key: beyond these the schedule gains less than 2% (benchmarks/schedules.py)."""
_TRUSTED = 16
"""From so many durations of its own on, a key no longer asks the level above it."""
_SPREAD, _SPREAD_WORTH = 0.3, 2.0
"""Before any is seen, durations are taken to spread by 0.3 in the logarithm, with the weight of two of them."""
_FADE = 0.5 ** (1 / 8)
"""A cluster's weight halves with every eight newer durations, so that a changed world is soon believed."""
_TAIL = 2.0
"""Scale of the log-Cauchy prior: half its mass lies within a factor e**2 of its median."""
_GRID = tuple(math.sinh(i / 8) / math.sinh(1.5) * 4.5 for i in range(-12, 13))
"""Where a cluster is tabulated, in its own scales from its centre: finest in the middle."""
_COARSE = tuple(2.0**i for i in range(-10, 18))
"""Where the prior is tabulated, in units of its median."""

_CLOSE = 1.001
"""Nodes nearer than this ratio are one: differences of nearly equal survivals are noise."""
_LONGEST = 1e5
"""No duration is taken to be longer than this, in units of the policy's maximum."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Belief(Protocol):
    """What is expected of one backup in flight; ages and durations are seconds."""

    @property
    def seen(self) -> int:
        """How many finished backups it rests on."""
        ...

    def hazard(self, age: float) -> float:
        """Return the rate, per second, at which backups of this age finish."""
        ...

    def cumulative(self, age: float) -> float:
        """Return the integral of the hazard from 0 to `age`."""
        ...

    def survival(self, age: float) -> float:
        """Return the probability of still running at `age`."""
        ...

    def gap(self, age: float, worth: float) -> float:
        """Return the seconds until this backup alone is next asked about, before jitter and limits.

        Args:
            age: Its age now.
            worth: How many seconds of delay the request is worth.
        """
        ...


@attrs.frozen
class Unknown:
    """Nothing is known: exponential backoff, as a function of age, and the hazard for which it would be right.

    The n-th backoff poll is at ``initial * (factor**n - 1) / (factor - 1)``, hence the interval at an age is
    ``initial + (factor - 1) * age``, up to `maximum`. Polls at that rate n are the best where the hazard is
    ``2 * request_worth * n**2``; as such they are added up where one list stands for many backups.
    """

    policy: PollingPolicy
    seen: int = 0

    def interval(self, age: float) -> float:
        """Return the backoff interval of a backup of this age, in seconds."""
        policy = self.policy
        return min(policy.maximum, policy.initial + (policy.factor - 1) * age)

    def hazard(self, age: float) -> float:
        """Return the rate, per second, at which backups would finish for the backoff to be right."""
        return 2 * self.policy.request_worth / self.interval(age) ** 2

    def cumulative(self, age: float) -> float:
        """Return the integral of the hazard from 0 to `age`."""
        policy = self.policy
        slope = policy.factor - 1
        capped = (policy.maximum - policy.initial) / slope if slope else 0.0
        growing = min(age, capped)
        total = growing / (policy.initial * self.interval(growing)) + max(age - capped, 0) / policy.maximum**2
        return 2 * policy.request_worth * total

    def survival(self, age: float) -> float:
        """Return the probability of still running at `age`."""
        return math.exp(-self.cumulative(age))

    def gap(self, age: float, worth: float) -> float:
        """Return the backoff interval, longer where the request is worth more than a get."""
        return self.interval(age) * math.sqrt(worth / self.policy.request_worth)


@attrs.frozen(eq=False)
class Learned:
    """A belief as a table: the hazard is constant between one age and the next.

    Attributes:
        seen: How many finished backups it rests on.
        ages: The nodes, ascending from 0, in seconds.
        totals: At each node, the integral of the hazard from 0.
        roots: At each node, the integral of the hazard's square root from 0.
    """

    seen: int
    ages: array[float]
    totals: array[float]
    roots: array[float]

    @classmethod
    def from_survival(cls, seen: int, ages: Iterable[float], survival: Callable[[float], float]) -> Learned:
        """Tabulate a survival function at the given ages (ascending, positive)."""
        nodes, totals, roots = array("d", [0.0]), array("d", [0.0]), array("d", [0.0])
        for age in ages:
            if age < nodes[-1] * _CLOSE:
                continue
            width = age - nodes[-1]
            total = max(totals[-1], -math.log(survival(age)))
            roots.append(roots[-1] + math.sqrt((total - totals[-1]) * width))
            totals.append(total)
            nodes.append(age)
        return cls(seen, nodes, totals, roots)

    def hazard(self, age: float) -> float:
        """Return the rate, per second, at which backups of this age finish."""
        i = self._cell(age)
        return (self.totals[i + 1] - self.totals[i]) / (self.ages[i + 1] - self.ages[i])

    def cumulative(self, age: float) -> float:
        """Return the integral of the hazard from 0 to `age`."""
        return self._at(self.totals, age)

    def survival(self, age: float) -> float:
        """Return the probability of still running at `age`."""
        return math.exp(-self.cumulative(age))

    def gap(self, age: float, worth: float) -> float:
        """Return the seconds until this backup alone is next asked about, before jitter and limits.

        The integral of the best rate n = sqrt(hazard / (2 worth)) + hazard / 6 is one from each poll to the
        next. For a constant hazard h the best interval d solves exp(hd) - 1 - hd = h worth (Barlow, Hunter and
        Proschan, "Optimum checking procedures", 1963); n are the first two terms of 1/d.
        """
        scale = 1 / math.sqrt(2 * worth)
        target = self._at(self.roots, age) * scale + self._at(self.totals, age) / 6 + 1
        i = bisect_left(range(1, len(self.ages) - 1), target, key=lambda j: self.roots[j] * scale + self.totals[j] / 6)
        polls = self.roots[i] * scale + self.totals[i] / 6
        more = (self.roots[i + 1] - self.roots[i]) * scale + (self.totals[i + 1] - self.totals[i]) / 6
        return self.ages[i] + (target - polls) * (self.ages[i + 1] - self.ages[i]) / more - age

    def _cell(self, age: float) -> int:
        """Return the cell that an age lies in; beyond the table the last one goes on."""
        return min(bisect_right(self.ages, age), len(self.ages) - 1) - 1

    def _at(self, table: array[float], age: float) -> float:
        i = self._cell(age)
        share = (age - self.ages[i]) / (self.ages[i + 1] - self.ages[i])
        return table[i] + share * (table[i + 1] - table[i])


@attrs.frozen
class _Cluster:
    """Durations alike, and the Student-t distribution of the logarithm of the next one.

    Attributes:
        weight: Its share of the recent durations.
        centre: Mean of the logarithms.
        scale: Scale of the prediction.
        freedom: Degrees of freedom.
    """

    weight: float
    centre: float
    scale: float
    freedom: float

    @classmethod
    def of(cls, samples: list[tuple[float, float]]) -> _Cluster:
        """Fit (logarithm, recency) pairs, under a weak prior of the spread."""
        count = len(samples)
        centre = sum(x for x, _ in samples) / count
        freedom = count - 1 + _SPREAD_WORTH
        squares = sum((x - centre) ** 2 for x, _ in samples) + _SPREAD_WORTH * _SPREAD**2
        scale = math.sqrt(squares / freedom * (1 + 1 / count))
        return cls(sum(weight for _, weight in samples), centre, scale, freedom)

    def survival(self, log_age: float) -> float:
        """Return the probability that the next one takes longer.

        Source: D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions",
        1959; its error is below 0.01 from two degrees of freedom on.
        """
        z, freedom = (log_age - self.centre) / self.scale, self.freedom
        normal = math.sqrt(freedom * math.log1p(z * z / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
        return 0.5 * math.erfc(math.copysign(normal, z) * math.sqrt(0.5))


def _evidence(samples: list[tuple[float, float]]) -> float:
    """Return the log marginal likelihood of being one normal cluster, up to a factor per sample.

    Normal with a conjugate prior: spread as in `_Cluster`, mean anywhere within some units of the logarithm.
    """
    count = len(samples)
    centre = sum(x for x, _ in samples) / count
    squares = sum((x - centre) ** 2 for x, _ in samples)
    shape = _SPREAD_WORTH / 2
    rate = shape * _SPREAD**2
    return (
        math.lgamma(shape + count / 2)
        - math.lgamma(shape)
        + shape * math.log(rate)
        - (shape + count / 2) * math.log(rate + squares / 2)
        - 0.5 * math.log(1 + count / _MEAN_WORTH)
    )


_MEAN_WORTH = 0.05
"""Weight, in samples, of the prior of a cluster's mean: a new cluster must earn its place."""


def _clusters(samples: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Cut sorted samples into clusters, at the widest gaps, while the evidence is for it."""
    count = len(samples)
    if count < 4:
        return [samples]
    places = sorted(range(2, count - 1), key=lambda i: samples[i - 1][0] - samples[i][0])[:4]
    gain, cut = max((_evidence(samples[:i]) + _evidence(samples[i:]) + _labels(i, count), i) for i in places)
    if gain <= _evidence(samples) + 2:
        return [samples]
    return _clusters(samples[:cut]) + _clusters(samples[cut:])


def _labels(first: int, count: int) -> float:
    """Return the log probability of who belongs where, the clusters' shares being anything."""
    return math.lgamma(first + 1) + math.lgamma(count - first + 1) - math.lgamma(count + 2)


class Recent(OrderedDict[_Key, _Value], Generic[_Key, _Value]):
    """A dictionary of bounded size that forgets what was longest not asked for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def recall(self, key: _Key) -> _Value | None:
        """Return the value, now the most recently used, or `None`."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def remember(self, key: _Key, value: _Value) -> _Value:
        """Store a value, forgetting the least recently used one if there are too many; return it."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.size:
            self.popitem(last=False)
        return value


@attrs.define(eq=False)
class _History:
    """The latest durations of one key, and the belief that was last built from them."""

    logs: array[float] = attrs.field(factory=lambda: array("d"))
    next: int = 0
    news: int = 0
    belief: Belief | None = None
    above: Belief | None = None

    def add(self, log: float) -> None:
        """Remember one, forgetting the oldest if there are too many."""
        if len(self.logs) < _KEPT:
            self.logs.append(log)
        else:
            self.logs[self.next] = log
        self.next = (self.next + 1) % _KEPT
        self.news += 1

    def samples(self) -> list[tuple[float, float]]:
        """Return (logarithm, recency) pairs, sorted."""
        count = len(self.logs)
        return sorted((log, _FADE ** ((self.next - 1 - i) % count)) for i, log in enumerate(self.logs))

    def stale(self, above: Belief) -> bool:
        """Tell whether the belief must be built anew: one more of a few is news, one more of many is not."""
        return self.belief is None or self.above is not above or self.news > len(self.logs) // 8

    def built(self, belief: Belief, above: Belief) -> Belief:
        """Keep a belief until it is stale."""
        self.belief, self.above, self.news = belief, above, 0
        return belief


class Durations:
    """What is known of how long backups take.

    Constant memory for each key (the latest 64 durations), a bounded number of keys (the least recently used
    planets are forgotten first: they fall back to their star system).

    Args:
        policy: Where nothing is known, its backoff is followed; it also sets the scale of the prior.
        keys: How many keys to remember.
    """

    def __init__(self, policy: PollingPolicy, *, keys: int = 4096) -> None:
        self.unknown = Unknown(policy)
        self._learn = policy.learn
        self._shortest, self._longest = policy.initial / 10, policy.maximum * _LONGEST
        self._centre = math.log(policy.maximum)
        self._planets: Recent[tuple[str, str, str | None], _History] = Recent(keys)
        self._systems: Recent[tuple[str | None, str | None], _History] = Recent(keys)

    def observe(self, star_system: str, planet: str | None, mechanism: str | None, seconds: float) -> None:
        """Learn that a backup took so many seconds; what is impossible is ignored.

        Args:
            star_system: Where it ran.
            planet: Of which planet it was, if known.
            mechanism: How it was made, if known.
            seconds: How long it took.
        """
        if not (self._learn and 0 <= seconds < math.inf):
            return
        log = math.log(min(max(seconds, self._shortest), self._longest))
        for kind in {mechanism, None}:
            for system in (star_system, None):
                history = self._systems.recall((system, kind)) or _History()
                self._systems.remember((system, kind), history).add(log)
            if planet is not None:
                of_planet = self._planets.recall((star_system, planet, kind)) or _History()
                self._planets.remember((star_system, planet, kind), of_planet).add(log)

    def belief(self, star_system: str, planet: str | None, mechanism: str | None) -> Belief:
        """Return what to expect of a backup, from what is known of those most like it."""
        above: Belief = self.unknown
        for history in (
            self._systems.recall((None, mechanism)),
            self._systems.recall((star_system, mechanism)),
            self._planets.recall((star_system, planet, mechanism)) if planet is not None else None,
        ):
            if history is not None:
                above = self._refresh(history, above)
        return above

    def _refresh(self, history: _History, above: Belief) -> Belief:
        """Return the belief of one level, which rests on the level above while it has seen little itself."""
        if len(history.logs) >= _TRUSTED:
            above = self.unknown
        if history.belief is not None and not history.stale(above):
            return history.belief
        clusters = [_Cluster.of(cluster) for cluster in _clusters(history.samples())]
        return history.built(self._mixture(len(history.logs), clusters, above), above)

    def _mixture(self, seen: int, clusters: list[_Cluster], above: Belief) -> Learned:
        """Mix what was seen, with weight `seen`, with what was not, with the weight of one."""
        weight = sum(cluster.weight for cluster in clusters)
        learned = above if isinstance(above, Learned) else None

        def survival(age: float) -> float:
            log_age = math.log(age)
            own = sum(cluster.weight * cluster.survival(log_age) for cluster in clusters) / weight
            other = 0.5 - math.atan((log_age - self._centre) / _TAIL) / math.pi
            if learned is not None:
                other = (other + learned.survival(age)) / 2
            return (seen * own + other) / (seen + 1)

        ages = {math.exp(cluster.centre + z * cluster.scale) for cluster in clusters for z in _GRID}
        ages.update(math.exp(self._centre) * ratio for ratio in _COARSE)
        ages.update(learned.ages[1:] if learned is not None else ())
        return Learned.from_survival(seen, sorted(ages), survival)
