"""What a loop with a sleep in it would have asked for the same backups: computed, not run. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import attrs

from asyncbackups.cli.text import took

__all__ = ["INTERVAL", "Comparison", "sleeping_loop"]

INTERVAL = 30.0
"""Seconds that the loop sleeps."""


def sleeping_loop(duration: float, interval: float = INTERVAL) -> tuple[int, float]:
    """Return how often a loop asks for one backup, and how late it hears of its end.

    The loop is ``while True: get; if it has ended: break; sleep(interval)``, begun when the backup is; its gets take
    no time, which is in its favour.

    Args:
        duration: How long the backup takes, in seconds.
        interval: How long the loop sleeps, in seconds.
    """
    sleeps = math.ceil(duration / interval)
    return sleeps + 1, sleeps * interval - duration


@attrs.frozen
class Comparison:
    """Our run beside the loop's.

    Attributes:
        durations: How long the backups took, in seconds of their own time.
        delays: How late we heard of each end, in the same seconds.
        polls: How many gets and lists we sent.
    """

    durations: Sequence[float]
    delays: Sequence[float]
    polls: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures; empty where no backup has ended."""
        if not self.durations:
            return {}
        loop = [sleeping_loop(duration) for duration in self.durations]
        return {
            "backups": len(loop),
            "polls": self.polls,
            "mean_delay": round(statistics.fmean(self.delays), 2),
            "loop_interval": INTERVAL,
            "loop_polls_computed": sum(polls for polls, _ in loop),
            "loop_mean_delay_computed": round(statistics.fmean(late for _, late in loop), 2),
        }

    def as_lines(self) -> list[str]:
        """Return the figures for people."""
        told = self.as_json()
        if not told:
            return []
        ours = (
            f"{told['polls']} gets and lists told of {told['backups']} ends, {took(told['mean_delay'])} late on average"
        )
        gets, late = told["loop_polls_computed"], took(told["loop_mean_delay_computed"])
        loop = f"a loop that sleeps {INTERVAL:.0f} s would have sent {gets} gets and heard {late} late"
        return [ours, f"{loop} (computed, not run; all in the backups' own time)"]
