"""When to look at one backup next: the optimal inspection schedule for what is believed of its duration.

With a look worth c seconds of delay, and S(t) the probability of still running at age t, the best that can be done
from age a on costs V(a) = min over the next look b > a of [ c S(a) + integral from a to b of (S(a) - S(t)) dt + V(b) ]:
the look is made if the backup still runs now, and news that comes on the way to b waits for b (R. E. Barlow, L. C.
Hunter and F. Proschan, "Optimum checking procedures", 1963). What is minimized is a line in S(a) for each b, so that a
convex hull finds all the best looks in one pass over the ages, from the last to the first. Pure.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

import attrs

_Line = tuple[float, float]
"""Slope and intercept."""


@attrs.frozen(eq=False)
class Inspections:
    """The best next look, as a table.

    Attributes:
        ages: Ages, ascending from 0, in seconds.
        looks: At each but the last, the age of the best next look.
    """

    ages: array[float]
    looks: array[float]

    @classmethod
    def plan(cls, ages: Sequence[float], totals: Sequence[float], worth: float) -> Inspections:
        """Find the best looks among some ages.

        Args:
            ages: Ascending from 0, in seconds.
            totals: At each, the integral of the hazard from 0; the hazard is constant between one and the next.
            worth: How many seconds of delay a look is worth.
        """
        alive = [math.exp(-total) for total in totals]
        waited = _waited(ages, totals, alive)
        looks = array("d", [math.inf]) * (len(ages) - 1)
        value = _at_the_end(ages, totals, worth) * alive[-1]
        lines: deque[_Line] = deque()
        for i in range(len(ages) - 2, -1, -1):
            _add(lines, (ages[i + 1], value - waited[i + 1]))
            best, intercept = _lowest(lines, alive[i])
            looks[i] = best
            value = (worth + best - ages[i]) * alive[i] + intercept + waited[i]
        return cls(array("d", ages), looks)

    def next(self, age: float) -> float:
        """Return the age of the next look at a backup that still runs at an age within the table."""
        i = min(bisect_right(self.ages, age), len(self.looks)) - 1
        if i + 1 == len(self.looks):
            return max(self.looks[i], age)
        share = (age - self.ages[i]) / (self.ages[i + 1] - self.ages[i])
        return self.looks[i] + share * (self.looks[i + 1] - self.looks[i])


def _waited(ages: Sequence[float], totals: Sequence[float], alive: Sequence[float]) -> list[float]:
    """Return at each age the integral of the survival function from 0."""
    waited = [0.0]
    for i in range(len(ages) - 1):
        more, width = totals[i + 1] - totals[i], ages[i + 1] - ages[i]
        mean = (alive[i] - alive[i + 1]) / more if more > 1e-9 else alive[i]
        waited.append(waited[-1] + width * mean)
    return waited


def _at_the_end(ages: Sequence[float], totals: Sequence[float], worth: float) -> float:
    """Return what it costs from the last age on, if still running there, at rates right for the hazard so far."""
    hazard = (totals[-1] - totals[-2]) / (ages[-1] - ages[-2])
    return math.sqrt(2 * worth / hazard) if hazard > 0 else 0.0


def _add(lines: deque[_Line], new: _Line) -> None:
    """Add a line of the least slope so far to a lower hull; lines that are nowhere the lowest any more are dropped."""
    while len(lines) > 1 and not _needed(lines[-2], lines[-1], new):
        lines.pop()
    lines.append(new)


def _needed(first: _Line, middle: _Line, last: _Line) -> bool:
    """Tell whether the middle one of three lines, of falling slopes, is the lowest somewhere."""
    return (last[1] - first[1]) * (first[0] - middle[0]) > (middle[1] - first[1]) * (first[0] - last[0])


def _lowest(lines: deque[_Line], x: float) -> _Line:
    """Return the lowest line at x, where x never falls from call to call; those that it has left are dropped."""
    while len(lines) > 1 and lines[1][0] * x + lines[1][1] <= lines[0][0] * x + lines[0][1]:
        lines.popleft()
    return lines[0]
