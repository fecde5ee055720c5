"""When to send the next poll: the square-root law.

If backups finish with hazard h, polls at rate n cost n requests and h / 2n seconds of latency each second. With a
request worth c seconds of latency, the optimal rate is n = sqrt(h / 2c). One request that costs C GETs and covers many
backups is sent at n = sqrt(sum of h / 2cC); the next one is due when the integral of n is one. A single backup is
polled at the exact optimum, see `estimation.optimal_polls`. The random number for jitter is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups.policies import PollingPolicy

_AlikeBackups = tuple[SurvivalEstimate, float, float]
"""The survival estimate of some members, their age in seconds, and their share of all members."""

SAMPLE = 32  # of a larger group this many members, evenly spaced, are examined: the error of the root is a few per cent
_SHORTEST = 0.25  # the shortest interval, in units of the policy's initial one: no busy loop, however large the group
_STRETCH = 10
"""An interval is at most this many times the policy's maximum, however sure it is that no backup has finished yet."""
_STEP_GROWTH = 1.5  # each step of the integration is longer than the last by this factor


def next_interval(
    members: Sequence[tuple[SurvivalEstimate, float]], *, policy: PollingPolicy, cost: float = 1.0, draw: float = 0.5
) -> float:
    """Return the seconds from now until the next request, which covers all members.

    Args:
        members: For each backup, its survival estimate and its age in seconds; at least one.
        policy: The limits, and what a request is worth.
        cost: What the request costs, in GETs.
        draw: Uniform in [0, 1), for jitter.
    """
    if len(members) == 1:
        estimate, age = members[0]
        ideal = estimate.next_interval(age, policy.request_worth * cost)
        longest = _longest_interval(estimate, age, policy)
        spread = 1 + policy.jitter * (0.5 - draw) if estimate.sample_size else 1 - policy.jitter * draw
    else:
        group = _group_alike(members[:: -(-len(members) // SAMPLE)], shortest_interval(policy))
        longest = min(_longest_interval(estimate, age, policy) for estimate, age, _ in group)
        ideal = _group_interval(group, len(members), policy, cost, longest)
        spread = 1 + policy.jitter * (0.5 - draw)
    return min(longest, max(shortest_interval(policy), ideal * spread))


def _group_alike(sample: Sequence[tuple[SurvivalEstimate, float]], tick: float) -> list[_AlikeBackups]:
    """Group members that have one estimate and started within a tick: a bulk run has few such groups."""
    counts: dict[tuple[SurvivalEstimate, int], int] = {}
    for estimate, age in sample:
        key = estimate, int(age / tick)
        counts[key] = counts.get(key, 0) + 1
    return [(estimate, (ticks + 0.5) * tick, count / len(sample)) for (estimate, ticks), count in counts.items()]


def _longest_interval(estimate: SurvivalEstimate, age: float, policy: PollingPolicy) -> float:
    """Return the longest interval, in seconds: the policy's maximum, stretched while the estimate justifies waiting.

    The maximum is for backups of which nothing is known; its rate of polls applies to the part of the estimate that
    the prior makes up.
    """
    return policy.maximum / max(estimate.prior_weight(age), 1 / _STRETCH)


def shortest_interval(policy: PollingPolicy) -> float:
    """Return the shortest interval that the policy allows, in seconds."""
    return policy.initial * _SHORTEST


def _group_interval(
    group: Sequence[_AlikeBackups], count: int, policy: PollingPolicy, cost: float, longest: float
) -> float:
    """Integrate the rate of polls for a group, in ever longer steps, until it reaches one."""
    before = math.fsum([estimate.cumulative_hazard(age) * share for estimate, age, share in group])
    elapsed = polls = 0.0
    step = shortest_interval(policy)
    while elapsed < longest:
        after = math.fsum([estimate.cumulative_hazard(age + elapsed + step) * share for estimate, age, share in group])
        each = max(after - before, 0.0)
        more = math.sqrt(count * each * step / (2 * policy.request_worth * cost)) + each / 6
        if polls + more >= 1:
            return elapsed + step * (1 - polls) / more
        polls, elapsed, before, step = polls + more, elapsed + step, after, step * _STEP_GROWTH
    return longest
