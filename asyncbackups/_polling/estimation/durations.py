"""How long backups take: what was seen, and what it makes us expect.

Durations are learned per planet and mechanism, per star system, and of everything taken together. A planet is taken
for one like the others of its star system, and that for one like all, until what was seen of it speaks for a world of
its own. The logarithms are cut into clusters (a planet's snapshots take minutes, its dumps an hour); each cluster
predicts by a Student-t distribution, as of a normal sample of unknown mean and spread; what was seen before the world
changed loses its weight; and a heavy-tailed prior keeps a wrong history from being believed for ever. Pure: no clock,
no randomness, no I/O.
"""

from __future__ import annotations

import collections
import math
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import attrs

from asyncbackups._base.lru import LruDict
from asyncbackups._polling.estimation.survival import Learned, Prior, SurvivalEstimate, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncbackups.policies import PollingPolicy


_KEPT = 64
"""Durations remembered per key: five times as many would make the news 2% sooner at sigma 0.4."""
_LIKELIER = 2.0
"""A key has a world of its own once its durations are so many times likelier there than in the level above. Where all
are alike, taking them as such saves a tenth of the delay; where they differ by half it costs a fortieth."""
_SPREAD, _SPREAD_WORTH = 0.2, 2.0
"""Before any is seen, durations are taken to spread by 0.2 in the logarithm, with the weight of two of them."""
_ABOVE = 3.0
"""Weight, in backups, of the level above in a world of its own."""
_UNSEEN = 0.35
"""Weight, in backups, of what was not seen: less is closer to the optimum where the history is true, more recovers
sooner where it is not; at this one a truth ten times longer than the history costs a tenth over backoff."""
_MEDIAN = 2.0
"""Median of what was not seen, in units of the policy's maximum: two minutes by default."""
_NEW = 0.05
"""Weight, in backups, of a cluster never seen: more cuts what is wide into several, less learns late what is new."""
_MEAN_WORTH = 0.05
"""Weight, in samples, of the prior of a cluster's mean: a new cluster must earn its place."""
_CHANGE = 0.01
"""How likely the world is to have changed at each of `_CHANGES`, before anything speaks for it."""
_CHANGES = (1, 2, 3, 5, 8, 13, 21, 34)
"""So many backups ago the world may have changed: less exactly, the longer ago."""
_PRESENT = 0.01
"""What is less likely than this to be of the present world is left out."""
_GRID = tuple(math.sinh(i / 8) / math.sinh(1.5) * 4.5 for i in range(-12, 13))
"""Where a cluster is tabulated, in its own scales from its centre: finest in the middle."""
_COARSE = tuple(2.0**i for i in range(-10, 18))
"""Where the prior is tabulated, in units of its median."""

_SURPRISE = 0.05
"""A duration less likely than this, or its opposite, is worth a new belief at once."""
_LONGEST = 1e5
"""No duration is taken to be longer than this, in units of the policy's maximum."""

_SHAPE, _RATE = _SPREAD_WORTH / 2, _SPREAD_WORTH / 2 * _SPREAD**2
_ONE = _SHAPE * math.log(_RATE) - math.lgamma(_SHAPE) + math.log(_NEW)
_Sample = tuple[float, int]
"""The logarithm of a duration, and how many are newer."""
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@attrs.frozen
class _Cluster:
    """Durations alike, and the Student-t distribution of the logarithm of the next one.

    Attributes:
        weight: How many backups of the present world it stands for.
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
        """Fit (logarithm, weight) pairs, under a weak prior of the spread."""
        count = sum(weight for _, weight in samples)
        centre = sum(weight * x for x, weight in samples) / count
        freedom = max(count - 1, 0) + _SPREAD_WORTH
        squares = sum(weight * (x - centre) ** 2 for x, weight in samples) + _SPREAD_WORTH * _SPREAD**2
        return cls(count, centre, math.sqrt(squares / freedom * (1 + 1 / max(count, 1))), freedom)

    def survival(self, log_age: float) -> float:
        """Return the probability that the next one takes longer.

        Source: D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions",
        1959; with two degrees of freedom or more its error is below 0.002.
        """
        z, freedom = (log_age - self.centre) / self.scale, self.freedom
        normal = math.sqrt(freedom * math.log1p(z * z / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
        return 0.5 * math.erfc(math.copysign(normal, z) * math.sqrt(0.5))


class _Moments(NamedTuple):
    """How many logarithms, their sum, and that of their squares."""

    size: int
    total: float
    squares: float

    @classmethod
    def of(cls, samples: list[_Sample]) -> _Moments:
        logs = [x for x, _ in samples]
        return cls(len(logs), sum(logs), sum([x * x for x in logs]))

    def plus(self, x: float) -> _Moments:
        return _Moments(self.size + 1, self.total + x, self.squares + x * x)

    def minus(self, other: _Moments) -> _Moments:
        return _Moments(self.size - other.size, self.total - other.total, self.squares - other.squares)

    def evidence(self) -> float:
        """Return the log marginal likelihood of being one cluster, up to a factor per sample and one for all.

        Normal with a conjugate prior: spread as in `_Cluster`, mean anywhere within some units of the logarithm.
        Who belongs where is a Chinese restaurant process (J. Pitman, "Combinatorial stochastic processes", 2006).
        """
        if not self.size:
            return 0.0
        shape = _SHAPE + self.size / 2
        rate = _RATE + max(self.squares - self.total**2 / self.size, 0.0) / 2
        fit = math.lgamma(shape) - shape * math.log(rate) - math.log(1 + self.size / _MEAN_WORTH) / 2
        return fit + math.lgamma(self.size) + _ONE


def _clusters(samples: list[_Sample]) -> list[list[_Sample]]:
    """Cut sorted samples into clusters, at the widest gaps, while the evidence is for it."""
    if len(samples) < 2:
        return [samples]
    whole, cuts = _Moments.of(samples), []
    for i in sorted(range(1, len(samples)), key=lambda i: samples[i - 1][0] - samples[i][0])[:4]:
        part = _Moments.of(samples[:i])
        cuts.append((part.evidence() + whole.minus(part).evidence(), i))
    best, cut = max(cuts)
    if best <= whole.evidence():
        return [samples]
    return _clusters(samples[:cut]) + _clusters(samples[cut:])


def _joint(clusters: Iterable[_Moments]) -> float:
    """Return the log marginal likelihood of all clusters of one world, up to a factor per sample."""
    evidence, count = 0.0, 0
    for cluster in clusters:
        evidence, count = evidence + cluster.evidence(), count + cluster.size
    return evidence + math.lgamma(_NEW) - math.lgamma(count + _NEW)


def _present(clusters: list[list[_Sample]]) -> list[float]:
    """Return, from the newest to the oldest, how likely each sample is to be of the present world.

    The world, that is each cluster's share, mean and spread, changed once or never; source: A. F. M. Smith, "A
    Bayesian approach to inference about a change-point in a sequence of random variables", Biometrika, 1975.
    """
    newest_first = sorted((age, i, x) for i, cluster in enumerate(clusters) for x, age in cluster)
    whole = [_Moments.of(cluster) for cluster in clusters]
    since, never = [_Moments(0, 0.0, 0.0)] * len(clusters), _joint(whole)
    logs = {len(newest_first): 0.0}
    for age, i, x in newest_first[:-1]:
        since[i] = since[i].plus(x)
        if age + 1 in _CHANGES:
            before = map(_Moments.minus, whole, since)
            logs[age + 1] = math.log(_CHANGE) + _joint(since) + _joint(before) - never
    most = max(logs.values())
    odds = {age: math.exp(log - most) for age, log in logs.items()}
    total = sum(odds.values())
    return [sum(odd for first, odd in odds.items() if first > age) / total for age in range(len(newest_first))]


@attrs.frozen
class _World:
    """What the durations of one key say of themselves.

    Attributes:
        clusters: Of those that are of the present world.
        present: So many are.
        logs: The logarithms of those that more likely are than not.
    """

    clusters: list[_Cluster]
    present: float
    logs: list[float]

    @classmethod
    def of(cls, samples: list[_Sample]) -> _World:
        """Fit clusters to sorted samples."""
        found = _clusters(samples)
        weights = _present(found)
        kept = [[(x, weights[age]) for x, age in cluster if weights[age] > _PRESENT] for cluster in found]
        clusters = [_Cluster.of(cluster) for cluster in kept if cluster]
        logs = [x for cluster in kept for x, weight in cluster if weight > 0.5]
        return cls(clusters, sum(cluster.weight for cluster in clusters), logs)

    def differs_from(self, above: Iterable[float]) -> bool:
        """Tell whether these durations and the others of the level above are likelier as two worlds than as one.

        The others may be of an older world: what one planet did last would else pass for a change of all.
        Source: the Bayes factor (H. Jeffreys, "Theory of probability", 1939).
        """
        others = collections.Counter(above)
        others.subtract(self.logs)
        apart = sorted((+others).elements())
        if not apart:
            return False
        together = _evidence(sorted([*apart, *self.logs]))
        return _evidence(self.logs) + _evidence(apart) > together + math.log(_LIKELIER)


def _evidence(logs: list[float]) -> float:
    """Return the log marginal likelihood of one world, up to a factor per sample."""
    return _joint(map(_Moments.of, _clusters([(x, 0) for x in logs])))


@attrs.define(eq=False)
class _History:
    """The latest durations of one key, and what was last concluded from them.

    Attributes:
        logs: Their logarithms, from the oldest to the newest.
        places: What says so, of each: the newer, the higher.
        news: How many came since.
        world: What they say of themselves.
        belief: What is expected.
        own: Whether that rests on a world of its own; else what the level above says holds, as it changes.
        above_seen: How much the level above had seen.
    """

    logs: array[float] = attrs.field(factory=lambda: array("d"))
    places: array[float] = attrs.field(factory=lambda: array("d"))
    news: int = 0
    world: _World | None = None
    belief: SurvivalEstimate | None = None
    own: bool = False
    above_seen: int = 0

    def add(self, log: float, place: float | None) -> None:
        """Remember one, forgetting the oldest if there are too many."""
        if place is None:
            place = self.places[-1] + 1 if self.places else 0.0
        index = bisect_right(self.places, place)
        self.logs.insert(index, log)
        self.places.insert(index, place)
        if len(self.logs) > _KEPT:
            del self.logs[0], self.places[0]
            if index == 0:
                return
        surprise = self.belief is not None and abs(self.belief.survival(math.exp(log)) - 0.5) > 0.5 - _SURPRISE
        self.news += _KEPT if surprise else 1

    def samples(self) -> list[_Sample]:
        """Return what is remembered, sorted."""
        newest = len(self.logs) - 1
        return sorted((log, newest - i) for i, log in enumerate(self.logs))

    def stale(self, above: SurvivalEstimate) -> bool:
        """Tell whether the conclusion must be drawn anew: one more of a few is news, one more of many is not."""
        return self.world is None or self.news > self.world.present // 8 or above.seen > 2 * self.above_seen

    def conclude(self, world: _World, belief: SurvivalEstimate, above: SurvivalEstimate) -> None:
        """Keep what was concluded until it is stale."""
        self.world, self.belief, self.news = world, belief, 0
        self.own, self.above_seen = belief is not above, above.seen


def _history(table: LruDict[_Key, _History], key: _Key) -> _History:
    found = table.look_up(key)
    return table.store(key, _History()) if found is None else found


class DurationEstimates:
    """What is known of how long backups take.

    Constant memory for each key (the latest 64 durations), a bounded number of keys (the least recently used
    planets are forgotten first: they fall back to their star system).

    Args:
        policy: Where nothing is known, its backoff is followed; it also sets the scale of the prior.
        keys: How many keys to remember.
    """

    def __init__(self, policy: PollingPolicy, *, keys: int = 4096) -> None:
        self.unknown: Unknown = Unknown(policy)
        self._learn = policy.learn
        self._shortest, self._longest = policy.initial / 10, policy.maximum * _LONGEST
        self._prior = Prior(math.log(_MEDIAN * policy.maximum))
        self._planets: LruDict[tuple[str, str, str | None], _History] = LruDict(keys)
        self._systems: LruDict[tuple[str | None, str | None], _History] = LruDict(keys)
        self._told_apart = False  # whether any backup that was learned from said how it was made

    def observe(self, star_system: str, planet: str | None, mechanism: str | None, seconds: float) -> None:
        """Learn at every level that a backup took so many seconds; what is impossible is ignored.

        Args:
            star_system: Where it ran.
            planet: Of which planet it was, if known.
            mechanism: How it was made, if known.
            seconds: How long it took.
        """
        self.observe_at(star_system, planet, mechanism, seconds)
        self.observe_at(None, None, mechanism, seconds)

    def observe_at(
        self,
        star_system: str | None,
        planet: str | None,
        mechanism: str | None,
        seconds: float,
        *,
        place: float | None = None,
    ) -> None:
        """Learn it of a star system and its planet only; or, where that is None, of everything taken together.

        Args:
            star_system: Where it ran.
            planet: Of which planet it was, if known.
            mechanism: How it was made, if known.
            seconds: How long it took.
            place: Its place among the others, the newer, the higher; None for the newest.
        """
        if not (self._learn and 0 <= seconds < math.inf):
            return
        log = math.log(min(max(seconds, self._shortest), self._longest))
        self._told_apart = self._told_apart or mechanism is not None
        for kind in dict.fromkeys((mechanism, None)):
            _history(self._systems, (star_system, kind)).add(log, place)
            if star_system is not None and planet is not None:
                _history(self._planets, (star_system, planet, kind)).add(log, place)

    def belief(self, star_system: str, planet: str | None, mechanism: str | None) -> SurvivalEstimate:
        """Return what to expect of a backup, from what is known of those most like it."""
        if not self._told_apart:
            mechanism = None
        levels = (
            self._systems.look_up((None, mechanism)),
            self._systems.look_up((star_system, mechanism)),
            self._planets.look_up((star_system, planet, mechanism)) if planet is not None else None,
        )
        belief: SurvivalEstimate = self.unknown
        above: Sequence[float] = ()
        for history in levels:
            if history is not None:
                self._refresh(history, belief, above)
                if history.own and history.belief is not None:
                    belief, above = history.belief, history.logs
        return belief

    def _refresh(self, history: _History, belief: SurvivalEstimate, above: Sequence[float]) -> None:
        """Conclude, if there is news, what is expected at one level: as above, until its own durations differ."""
        if history.stale(belief):
            world = _World.of(history.samples())
            own = not above or world.differs_from(above)
            history.conclude(world, self._mixture(len(history.logs), world, belief) if own else belief, belief)

    def _mixture(self, seen: int, world: _World, above: SurvivalEstimate) -> Learned:
        """Mix what was seen with the level above, as if it were `_ABOVE` backups, and the prior, as if `_UNSEEN`."""
        base = above if isinstance(above, Learned) else None
        weight = world.present + _UNSEEN + (0.0 if base is None else _ABOVE)

        def survival(age: float) -> float:
            log_age = math.log(age)
            own = sum(cluster.weight * cluster.survival(log_age) for cluster in world.clusters)
            other = 0.0 if base is None else _ABOVE * base.survival(age)
            return (own + other + _UNSEEN * self._prior.survival(age)) / weight

        ages = {math.exp(cluster.centre + z * cluster.scale) for cluster in world.clusters for z in _GRID}
        ages.update(math.exp(self._prior.centre) * ratio for ratio in _COARSE)
        ages.update(() if base is None else base.ages[1:])
        return Learned.tabulate(seen, _UNSEEN / weight, sorted(ages), survival)
