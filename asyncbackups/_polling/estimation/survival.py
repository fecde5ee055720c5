"""Survival estimates: how likely a backup is to finish at which age, and when to poll it if it is polled alone.

Ages and durations are seconds.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from asyncbackups._polling.estimation.optimal_polls import OptimalPolls
from asyncbackups.policies import PollingPolicy

_TAIL = 2.0  # scale of the log-Cauchy prior: half its mass lies within a factor e**2 of its median
_CLOSE = 1.001  # nodes nearer than this ratio are one: differences of nearly equal survivals are noise

_PER_OCTAVE = 8  # schedules are computed for this many worths of a request between one worth and its double
_SCHEDULES_KEPT = 4
_GRAIN, _FINEST = 6, 15
"""Polls are placed to about a sixth of their interval; a cell of the table is cut at most this many times."""


class SurvivalEstimate(Protocol):
    """The estimated survival function of a backup's duration."""

    @property
    def sample_size(self) -> int:
        """How many finished backups it is based on."""
        ...

    def hazard(self, age: float) -> float:
        """Return the rate, per second, at which backups of this age finish."""
        ...

    def cumulative_hazard(self, age: float) -> float:
        """Return the integral of the hazard from 0 to `age`."""
        ...

    def survival(self, age: float) -> float:
        """Return the probability of still running at `age`."""
        ...

    def prior_weight(self, age: float) -> float:
        """Return the probability that the durations seen so far do not apply to a backup still running at `age`."""
        ...

    def next_interval(self, age: float, worth: float) -> float:
        """Return the seconds until this backup alone is polled next, before jitter and limits.

        `worth` is how many seconds of latency the request is worth.
        """
        ...


@attrs.frozen(eq=False)
class BackoffEstimate:
    """No duration is known: exponential backoff, as a function of age, and the hazard for which it would be optimal.

    The n-th backoff poll is at ``initial * (factor**n - 1) / (factor - 1)``, hence the interval at an age is
    ``initial + (factor - 1) * age``, up to `maximum`. Polls at that rate n are optimal for the hazard
    ``2 * request_worth * n**2``; hazards are added up if one list covers many backups.
    """

    policy: PollingPolicy
    sample_size: int = 0

    def interval(self, age: float) -> float:
        policy = self.policy
        return min(policy.maximum, policy.initial + (policy.factor - 1) * max(age, 0.0))

    def hazard(self, age: float) -> float:
        return 2 * self.policy.request_worth / self.interval(age) ** 2

    def cumulative_hazard(self, age: float) -> float:
        policy = self.policy
        slope = policy.factor - 1
        capped = (policy.maximum - policy.initial) / slope if slope else math.inf
        growing = min(max(age, 0.0), capped)
        total = growing / (policy.initial * self.interval(growing)) + max(age - capped, 0.0) / policy.maximum**2
        return 2 * policy.request_worth * total

    def survival(self, age: float) -> float:
        return math.exp(-self.cumulative_hazard(age))

    def prior_weight(self, age: float) -> float:  # noqa: ARG002 - the same at any age
        return 1.0

    def next_interval(self, age: float, worth: float) -> float:
        return self.interval(age) * math.sqrt(worth / self.policy.request_worth)


@attrs.frozen
class HeavyTailPrior:
    """The prior of a duration: log-Cauchy, which is heavy-tailed; `centre` is the logarithm of its median."""

    centre: float

    def survival(self, age: float) -> float:
        """Return the probability that a backup takes longer."""
        return 0.5 - math.atan((math.log(age) - self.centre) / _TAIL) / math.pi


@attrs.frozen(eq=False)
class LearnedEstimate:
    """An estimate from durations, as a table: the hazard is constant between two ages."""

    sample_size: int
    share: float  # the weight of the prior at age 0
    ages: array[float]  # the nodes, ascending from 0, in seconds
    totals: array[float]  # for each node, the integral of the hazard from 0
    roots: array[float]  # for each node, the integral of the hazard's square root from 0
    _schedules: dict[int, OptimalPolls] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def tabulate(
        cls, sample_size: int, share: float, ages: Iterable[float], survival: Callable[[float], float]
    ) -> LearnedEstimate:
        """Tabulate a survival function at ascending ages."""
        nodes, totals, roots = array("d", [0.0]), array("d", [0.0]), array("d", [0.0])
        for age in ages:
            if age < nodes[-1] * _CLOSE:
                continue
            width = age - nodes[-1]
            total = max(totals[-1], -math.log(survival(age)))
            roots.append(roots[-1] + math.sqrt((total - totals[-1]) * width))
            totals.append(total)
            nodes.append(age)
        return cls(sample_size, share, nodes, totals, roots)

    def hazard(self, age: float) -> float:
        i = self._cell_index(age)
        return (self.totals[i + 1] - self.totals[i]) / (self.ages[i + 1] - self.ages[i])

    def cumulative_hazard(self, age: float) -> float:
        age = max(age, 0.0)
        i = self._cell_index(age)
        share = (age - self.ages[i]) / (self.ages[i + 1] - self.ages[i])
        return self.totals[i] + share * (self.totals[i + 1] - self.totals[i])

    def survival(self, age: float) -> float:
        return math.exp(-self.cumulative_hazard(age))

    def prior_weight(self, age: float) -> float:
        # Not divided by the survival, which is zero for a backup that started in the year 1, as a service may write.
        return math.exp(min(0.0, math.log(self.share) + self.cumulative_hazard(age)))

    def next_interval(self, age: float, worth: float) -> float:
        if age >= self.ages[-2]:
            return math.inf  # in the last cell of the table and beyond it only the limits hold
        # The cost of a list, and so its worth, changes a little each time: a schedule is valid for all worths near it.
        octave = round(_PER_OCTAVE * math.log2(worth))
        schedule = self._schedules.get(octave)
        if schedule is None:
            if len(self._schedules) >= _SCHEDULES_KEPT:
                self._schedules.clear()
            schedule = self._schedules[octave] = self._compute_polls(2 ** (octave / _PER_OCTAVE))
        return schedule.next_poll(max(age, 0.0)) - max(age, 0.0)

    def _compute_polls(self, worth: float) -> OptimalPolls:
        """Compute the optimal polls, on a grid that is fine where they will be near to each other."""
        ages, totals, scale = [0.0], [0.0], 1 / math.sqrt(2 * worth)
        for i in range(len(self.ages) - 1):
            width, more = self.ages[i + 1] - self.ages[i], self.totals[i + 1] - self.totals[i]
            polls = (self.roots[i + 1] - self.roots[i]) * scale + more / 6
            parts = 1 + min(int(_GRAIN * polls), _FINEST)
            ages += [self.ages[i] + width * part / parts for part in range(1, parts + 1)]
            totals += [self.totals[i] + more * part / parts for part in range(1, parts + 1)]
        return OptimalPolls.compute(ages, totals, worth)

    def _cell_index(self, age: float) -> int:
        """Return the cell of an age; before the table that is the first one, beyond it the last."""
        return max(min(bisect_right(self.ages, age), len(self.ages) - 1) - 1, 0)
