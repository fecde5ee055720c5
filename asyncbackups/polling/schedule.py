"""When to ask next: the square-root law.

If backups finish with hazard h, polls at rate n cost n requests and delay the news by h / 2n each second, so
that with a request worth c seconds of delay the best rate is n = sqrt(h / 2c). One request that costs C gets
and covers many backups is made at n = sqrt(sum of h / 2cC); the next is due when the integral of n is one.
Pure: the draw that jitter needs is passed in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncbackups.policies import PollingPolicy
    from asyncbackups.polling.durations import Belief

__all__ = ["SAMPLE", "floor", "gap"]

SAMPLE = 64
"""Of a larger group so many members, evenly spaced, are looked at: the error of the root is a few per cent."""
_FLOOR = 0.25
"""The shortest gap, in units of the policy's initial interval: no busy loop, however large the group."""

_STRIDE = 1.5
"""How much each step of the integration is longer than the last."""


def gap(
    members: Sequence[tuple[Belief, float]], *, policy: PollingPolicy, cost: float = 1.0, draw: float = 0.5
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
        spread = 1 + policy.jitter * (0.5 - draw) if belief.seen else 1 - policy.jitter * draw
    else:
        ideal = _together(members, policy, cost)
        spread = 1 + policy.jitter * (0.5 - draw)
    return min(policy.maximum, max(floor(policy), ideal * spread))


def floor(policy: PollingPolicy) -> float:
    """Return the shortest gap that the policy allows, in seconds."""
    return policy.initial * _FLOOR


def _together(members: Sequence[tuple[Belief, float]], policy: PollingPolicy, cost: float) -> float:
    """Integrate the rate of polls for a group, in ever longer steps, until it reaches one."""
    sample = members[:: -(-len(members) // SAMPLE)]
    scale = len(members) / len(sample)
    before = [belief.cumulative(age) for belief, age in sample]
    elapsed = polls = 0.0
    step = floor(policy)
    while elapsed < policy.maximum:
        after = [belief.cumulative(age + elapsed + step) for belief, age in sample]
        finished = math.fsum(after) - math.fsum(before)
        rate = math.sqrt(scale * finished / step / (2 * policy.request_worth * cost))
        more = rate * step + finished / len(sample) / 6
        if polls + more >= 1:
            return elapsed + step * (1 - polls) / more
        polls, elapsed, before, step = polls + more, elapsed + step, after, step * _STRIDE
    return policy.maximum
