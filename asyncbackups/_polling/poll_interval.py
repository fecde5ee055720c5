"""When to ask next: the square-root law.

If backups finish with hazard h, polls at rate n cost n requests and delay the news by h / 2n each second, so
that with a request worth c seconds of delay the best rate is n = sqrt(h / 2c). One request that costs C gets
and covers many backups is made at n = sqrt(sum of h / 2cC); the next is due when the integral of n is one.
One backup alone is asked about by the exact optimum, see `inspection`.
Pure: the draw that jitter needs is passed in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncbackups._polling.estimation.survival import SurvivalEstimate
    from asyncbackups.policies import PollingPolicy

    _Alike = tuple[SurvivalEstimate, float, float]
    """What is believed of some members, their age, and which share of all they are."""


SAMPLE = 32
"""Of a larger group so many members, evenly spaced, are looked at: the error of the root is a few per cent."""
_FLOOR = 0.25
"""The shortest gap, in units of the policy's initial interval: no busy loop, however large the group."""

_STRETCH = 10
"""How many times the policy's maximum a gap may be at the most, however sure the news is not yet."""
_STRIDE = 1.5
"""How much each step of the integration is longer than the last."""


def gap(
    members: Sequence[tuple[SurvivalEstimate, float]], *, policy: PollingPolicy, cost: float = 1.0, draw: float = 0.5
) -> float:
    """Return the seconds from now until the next request, which covers all members.

    Args:
        members: For each backup, the belief about it and its age now in seconds; at least one.
        policy: Its limits, and what a request is worth.
        cost: What the request costs, in gets.
        draw: Uniform in [0, 1), for jitter.
    """
    if len(members) == 1:
        belief, age = members[0]
        ideal = belief.gap(age, policy.request_worth * cost)
        longest = _longest(belief, age, policy)
        spread = 1 + policy.jitter * (0.5 - draw) if belief.seen else 1 - policy.jitter * draw
    else:
        group = _alike(members[:: -(-len(members) // SAMPLE)], floor(policy))
        longest = min(_longest(belief, age, policy) for belief, age, _ in group)
        ideal = _together(group, len(members), policy, cost, longest)
        spread = 1 + policy.jitter * (0.5 - draw)
    return min(longest, max(floor(policy), ideal * spread))


def _alike(sample: Sequence[tuple[SurvivalEstimate, float]], tick: float) -> list[_Alike]:
    """Put those together of which the same is believed, and that began within a tick: a bulk run is few such groups."""
    counts: dict[tuple[SurvivalEstimate, int], int] = {}
    for belief, age in sample:
        key = belief, int(age / tick)
        counts[key] = counts.get(key, 0) + 1
    return [(belief, (ticks + 0.5) * tick, count / len(sample)) for (belief, ticks), count in counts.items()]


def _longest(belief: SurvivalEstimate, age: float, policy: PollingPolicy) -> float:
    """Return the longest gap, in seconds: the maximum, stretched while what is known speaks for waiting.

    The maximum is for what nothing is known of; to so much of the expectation as that is, its rate of polls applies.
    """
    return policy.maximum / max(belief.doubt(age), 1 / _STRETCH)


def floor(policy: PollingPolicy) -> float:
    """Return the shortest gap that the policy allows, in seconds."""
    return policy.initial * _FLOOR


def _together(group: Sequence[_Alike], count: int, policy: PollingPolicy, cost: float, longest: float) -> float:
    """Integrate the rate of polls for a group, in ever longer steps, until it reaches one."""
    before = math.fsum([belief.cumulative(age) * share for belief, age, share in group])
    elapsed = polls = 0.0
    step = floor(policy)
    while elapsed < longest:
        after = math.fsum([belief.cumulative(age + elapsed + step) * share for belief, age, share in group])
        each = max(after - before, 0.0)
        more = math.sqrt(count * each * step / (2 * policy.request_worth * cost)) + each / 6
        if polls + more >= 1:
            return elapsed + step * (1 - polls) / more
        polls, elapsed, before, step = polls + more, elapsed + step, after, step * _STRIDE
    return longest
