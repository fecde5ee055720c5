"""How long backups take: what was seen, and what it makes us expect.

Durations are learned per planet and mechanism, with fallback to the star system and then to everything. Their
logarithms are cut into clusters (a planet's snapshots take minutes, its dumps an hour); each cluster predicts
by a Student-t distribution, as of a normal sample of unknown mean and spread; and a heavy-tailed prior keeps a
wrong history from being believed for ever. Pure: no clock, no randomness, no I/O.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from asyncbackups.polling.beliefs import Belief, Learned, Prior, Unknown

if TYPE_CHECKING:
    from asyncbackups.policies import PollingPolicy

__all__ = ["Belief", "Durations", "Recent"]

_KEPT = 64
"""Durations remembered per key: five times as many would make the news 2% sooner at sigma 0.4."""
_TRUSTED = 16
"""From so many durations of its own on, a key no longer asks the level above it."""
_SPREAD, _SPREAD_WORTH = 0.2, 2.0
"""Before any is seen, durations are taken to spread by 0.2 in the logarithm, with the weight of two of them."""
_UNSEEN = 0.7
"""Weight, in backups, of what was not seen: less is closer to the optimum where the history is true, more recovers
sooner where it is not; at this one a truth ten times longer than the history costs a tenth over backoff."""
_FADE = 0.5 ** (1 / 8)
"""A cluster's weight halves with every eight newer durations, so that a changed world is soon believed."""
_MEAN_WORTH = 0.05
"""Weight, in samples, of the prior of a cluster's mean: a new cluster must earn its place."""
_GRID = tuple(math.sinh(i / 8) / math.sinh(1.5) * 4.5 for i in range(-12, 13))
"""Where a cluster is tabulated, in its own scales from its centre: finest in the middle."""
_COARSE = tuple(2.0**i for i in range(-10, 18))
"""Where the prior is tabulated, in units of its median."""

_SURPRISE = 0.01
"""A duration less likely than this, or its opposite, is worth a new belief at once."""
_LONGEST = 1e5
"""No duration is taken to be longer than this, in units of the policy's maximum."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


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
        1959; with two degrees of freedom or more its error is below 0.002.
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


def _clusters(samples: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Cut sorted samples into clusters, at the widest gaps, while the evidence is for it."""
    count = len(samples)
    if count < 3:
        return [samples]
    places = sorted(range(1, count), key=lambda i: samples[i - 1][0] - samples[i][0])[:4]
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
    above_seen: int = 0

    def add(self, log: float) -> None:
        """Remember one, forgetting the oldest if there are too many."""
        if len(self.logs) < _KEPT:
            self.logs.append(log)
        else:
            self.logs[self.next] = log
        self.next = (self.next + 1) % _KEPT
        surprise = self.belief is not None and abs(self.belief.survival(math.exp(log)) - 0.5) > 0.5 - _SURPRISE
        self.news += _KEPT if surprise else 1

    def samples(self) -> list[tuple[float, float]]:
        """Return (logarithm, recency) pairs, sorted."""
        count = len(self.logs)
        return sorted((log, _FADE ** ((self.next - 1 - i) % count)) for i, log in enumerate(self.logs))

    def stale(self, above: Belief) -> bool:
        """Tell whether the belief must be built anew: one more of a few is news, one more of many is not."""
        return self.news > len(self.logs) // 8 or above.seen > 2 * self.above_seen

    def built(self, belief: Belief, above: Belief) -> Belief:
        """Keep a belief until it is stale."""
        self.belief, self.above_seen, self.news = belief, above.seen, 0
        return belief


def _history(table: Recent[_Key, _History], key: _Key) -> _History:
    found = table.recall(key)
    return table.remember(key, _History()) if found is None else found


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
        self._prior = Prior(math.log(policy.maximum))
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
        for kind in dict.fromkeys((mechanism, None)):
            for system in (star_system, None):
                _history(self._systems, (system, kind)).add(log)
            if planet is not None:
                _history(self._planets, (star_system, planet, kind)).add(log)

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
        """Mix what was seen with the level above and the prior, which share the weight of `_UNSEEN` backups."""
        weight = sum(cluster.weight for cluster in clusters)
        base = above if isinstance(above, Learned) else None
        share = _UNSEEN / (seen + _UNSEEN) / (1 if base is None else 2)

        def survival(age: float) -> float:
            log_age = math.log(age)
            own = sum(cluster.weight * cluster.survival(log_age) for cluster in clusters) / weight
            other = 0.0 if base is None else share * base.survival(age)
            return own * seen / (seen + _UNSEEN) + share * self._prior.survival(age) + other

        ages = {math.exp(cluster.centre + z * cluster.scale) for cluster in clusters for z in _GRID}
        ages.update(math.exp(self._prior.centre) * ratio for ratio in _COARSE)
        ages.update(() if base is None else base.ages[1:])
        return Learned.tabulate(seen, share, sorted(ages), survival)
