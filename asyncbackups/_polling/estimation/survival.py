"""What is expected of a backup in flight: how likely it is to finish, and when to ask about it alone.

Pure: no clock, no randomness, no I/O. Ages and durations are seconds.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import attrs

from asyncbackups._polling.estimation.optimal_polls import Inspections

if TYPE_CHECKING:
    from asyncbackups.policies import PollingPolicy


_TAIL = 2.0
"""Scale of the log-Cauchy prior: half its mass lies within a factor e**2 of its median."""
_CLOSE = 1.001
"""Nodes nearer than this ratio are one: differences of nearly equal survivals are noise."""

_PER_OCTAVE = 8
"""Plans are made for so many worths of a request between one and its double."""
_PLANS = 4
"""So many plans are kept."""
_GRAIN, _FINEST = 6, 15
"""Looks are planned to about a sixth of what lies between them; a cell is cut so many times at the most."""


class SurvivalEstimate(Protocol):
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

    def doubt(self, age: float) -> float:
        """Return the probability that what is known does not apply to a backup still running at `age`."""
        ...

    def gap(self, age: float, worth: float) -> float:
        """Return the seconds until this backup alone is next asked about, before jitter and limits.

        Args:
            age: Its age now.
            worth: How many seconds of delay the request is worth.
        """
        ...


@attrs.frozen(eq=False)
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
        return min(policy.maximum, policy.initial + (policy.factor - 1) * max(age, 0.0))

    def hazard(self, age: float) -> float:
        """Return the rate, per second, at which backups would finish for the backoff to be right."""
        return 2 * self.policy.request_worth / self.interval(age) ** 2

    def cumulative(self, age: float) -> float:
        """Return the integral of the hazard from 0 to `age`."""
        policy = self.policy
        slope = policy.factor - 1
        capped = (policy.maximum - policy.initial) / slope if slope else math.inf
        growing = min(max(age, 0.0), capped)
        total = growing / (policy.initial * self.interval(growing)) + max(age - capped, 0.0) / policy.maximum**2
        return 2 * policy.request_worth * total

    def survival(self, age: float) -> float:
        """Return the probability of still running at `age`."""
        return math.exp(-self.cumulative(age))

    def doubt(self, age: float) -> float:  # noqa: ARG002 - whatever its age
        """Return the probability that what is known does not apply: one, for nothing is."""
        return 1.0

    def gap(self, age: float, worth: float) -> float:
        """Return the backoff interval, longer where the request is worth more than a get."""
        return self.interval(age) * math.sqrt(worth / self.policy.request_worth)


@attrs.frozen
class Prior:
    """What may happen whatever was seen: log-Cauchy, whose tails are the heaviest of the usual distributions.

    Attributes:
        centre: Logarithm of its median.
    """

    centre: float

    def survival(self, age: float) -> float:
        """Return the probability that a backup takes longer."""
        return 0.5 - math.atan((math.log(age) - self.centre) / _TAIL) / math.pi


@attrs.frozen(eq=False)
class Learned:
    """A belief as a table: the hazard is constant between one age and the next.

    Attributes:
        seen: How many finished backups it rests on.
        share: The probability, at age 0, that what was seen does not apply.
        ages: The nodes, ascending from 0, in seconds.
        totals: At each node, the integral of the hazard from 0.
        roots: At each node, the integral of the hazard's square root from 0.
    """

    seen: int
    share: float
    ages: array[float]
    totals: array[float]
    roots: array[float]
    _plans: dict[int, Inspections] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def tabulate(cls, seen: int, share: float, ages: Iterable[float], survival: Callable[[float], float]) -> Learned:
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
        return cls(seen, share, nodes, totals, roots)

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

    def doubt(self, age: float) -> float:
        """Return the probability that what is known does not apply to a backup still running at `age`."""
        # Not over the survival, which is nothing at all for what began in the year 1, as some services may write.
        return math.exp(min(0.0, math.log(self.share) + self.cumulative(age)))

    def gap(self, age: float, worth: float) -> float:
        """Return the seconds until this backup alone is next asked about, before jitter and limits.

        In the last cell of the table and beyond it that is infinity: only the limits hold there.
        """
        if age >= self.ages[-2]:
            return math.inf
        # What a list costs, and so what it is worth, changes a little with each: a plan is good for all near it.
        octave = round(_PER_OCTAVE * math.log2(worth))
        plan = self._plans.get(octave)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            plan = self._plans[octave] = self._plan(2 ** (octave / _PER_OCTAVE))
        return plan.next(max(age, 0.0)) - max(age, 0.0)

    def _plan(self, worth: float) -> Inspections:
        """Plan looks, on a grid that is fine where they will be near to each other."""
        ages, totals, scale = [0.0], [0.0], 1 / math.sqrt(2 * worth)
        for i in range(len(self.ages) - 1):
            width, more = self.ages[i + 1] - self.ages[i], self.totals[i + 1] - self.totals[i]
            looks = (self.roots[i + 1] - self.roots[i]) * scale + more / 6
            parts = 1 + min(int(_GRAIN * looks), _FINEST)
            ages += [self.ages[i] + width * part / parts for part in range(1, parts + 1)]
            totals += [self.totals[i] + more * part / parts for part in range(1, parts + 1)]
        return Inspections.plan(ages, totals, worth)

    def _cell(self, age: float) -> int:
        """Return the cell that an age lies in; before the table the first one goes on, beyond it the last."""
        return max(min(bisect_right(self.ages, age), len(self.ages) - 1) - 1, 0)

    def _at(self, table: array[float], age: float) -> float:
        age = max(age, 0.0)
        i = self._cell(age)
        share = (age - self.ages[i]) / (self.ages[i + 1] - self.ages[i])
        return table[i] + share * (table[i + 1] - table[i])
