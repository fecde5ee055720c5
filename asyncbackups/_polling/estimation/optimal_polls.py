"""When to poll a single backup next: the optimal inspection schedule for its survival estimate.

With a poll worth c seconds of latency, and S(t) the probability of still running at age t, the optimal cost from age a
on is V(a) = min over the next poll b > a of [ c S(a) + integral from a to b of (S(a) - S(t)) dt + V(b) ]: the poll is
sent if the backup still runs now, and a completion before b is detected at b (R. E. Barlow, L. C. Hunter and F.
Proschan, "Optimum checking procedures", 1963). For each b the minimized expression is a line in S(a), so that a convex
hull finds all optimal polls in one pass over the ages, from the last to the first.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

import attrs

_Line = tuple[float, float]  # slope and intercept


@attrs.frozen(eq=False)
class OptimalPolls:
    """The optimal next poll, as a table: for each age but the last, in seconds, the age of the next poll."""

    ages: array[float]
    next_polls: array[float]

    @classmethod
    def compute(cls, ages: Sequence[float], totals: Sequence[float], worth: float) -> OptimalPolls:
        """Find the optimal polls among ages that ascend from 0, if a poll is worth `worth` seconds of latency.

        For each age `totals` holds the integral of the hazard from 0; the hazard is constant between two ages.
        """
        alive = [math.exp(-total) for total in totals]
        waited = _integrate_survival(ages, totals, alive)
        polls = array("d", [math.inf]) * (len(ages) - 1)
        value = _tail_cost(ages, totals, worth) * alive[-1]
        lines: deque[_Line] = deque()
        for i in range(len(ages) - 2, -1, -1):
            _add_line(lines, (ages[i + 1], value - waited[i + 1]))
            best, intercept = _lowest_line(lines, alive[i])
            polls[i] = best
            value = (worth + best - ages[i]) * alive[i] + intercept + waited[i]
        return cls(array("d", ages), polls)

    def next_poll(self, age: float) -> float:
        """Return the age of the next poll of a backup that still runs at an age within the table."""
        i = min(bisect_right(self.ages, age), len(self.next_polls)) - 1
        if i + 1 == len(self.next_polls):
            return max(self.next_polls[i], age)
        share = (age - self.ages[i]) / (self.ages[i + 1] - self.ages[i])
        return self.next_polls[i] + share * (self.next_polls[i + 1] - self.next_polls[i])


def _integrate_survival(ages: Sequence[float], totals: Sequence[float], alive: Sequence[float]) -> list[float]:
    """Return for each age the integral of the survival function from 0."""
    waited = [0.0]
    for i in range(len(ages) - 1):
        more, width = totals[i + 1] - totals[i], ages[i + 1] - ages[i]
        mean = (alive[i] - alive[i + 1]) / more if more > 1e-9 else alive[i]
        waited.append(waited[-1] + width * mean)
    return waited


def _tail_cost(ages: Sequence[float], totals: Sequence[float], worth: float) -> float:
    """Return the cost from the last age on, if the backup still runs then, at the optimal rate for the last hazard."""
    hazard = (totals[-1] - totals[-2]) / (ages[-1] - ages[-2])
    return math.sqrt(2 * worth / hazard) if hazard > 0 else 0.0


def _add_line(lines: deque[_Line], new: _Line) -> None:
    """Add the line of the least slope so far to a lower hull; drop lines that are not the lowest anywhere any more."""
    while len(lines) > 1 and not _is_needed(lines[-2], lines[-1], new):
        lines.pop()
    lines.append(new)


def _is_needed(first: _Line, middle: _Line, last: _Line) -> bool:
    """Return True if the middle one of three lines, of falling slopes, is the lowest somewhere."""
    return (last[1] - first[1]) * (first[0] - middle[0]) > (middle[1] - first[1]) * (first[0] - last[0])


def _lowest_line(lines: deque[_Line], x: float) -> _Line:
    """Return the lowest line at x, where x never falls from call to call; drop the lines before it."""
    while len(lines) > 1 and lines[1][0] * x + lines[1][1] <= lines[0][0] * x + lines[0][1]:
        lines.popleft()
    return lines[0]
