"""How `benchmarks.schedules` measures little or wrong knowledge: no history, a wrong one, clocks that disagree."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from benchmarks.report import table
from benchmarks.studies import POLICY, Study
from benchmarks.virtual_time import (
    QUANTILES,
    Outcome,
    average_outcome,
    delay_at,
    optimal_outcome,
    our_outcome,
    outcome_after_change,
)

CLOCKS = (30.0, 300.0, -30.0, -300.0)  # seconds by which a backup is younger than assumed
ALLOWED = 0.15
ABOUT = """\
Backoff is 1 s x2 cap 60, at the cadence that is best at as many requests as ours. Wrong history: the history of 30
has a median of 131 s and sigma 0.4; the truth is longer or shorter by the factor given. Never corrected: as for the
first backup, or for all that start together. Learning: over the first 30 backups of the changed workload, each of
which is recorded when it finishes, as in production; a change by a factor of ten is recognized at the third.
Clocks: `startedAt` is the service's time, and may be wrong by any other clock.
"""
BOUND = """\
That a truth ten times shorter, never corrected, costs more than backoff is inherent: a schedule that profits from a
history sends next to no polls before the expected end, and a backup that ends sooner is detected by the first poll.
Of all schedules within {allowed:.0%} of the optimum for the history's workload, at the default cadence, none polls
before an age of {first:.0f} s: in this workload that is {ratio:.2f} times the delay of backoff, whatever the rest
of the schedule.
"""


@attrs.frozen
class UncertainCase:
    """Our outcome if little is known, or something wrong, and that of backoff at as many requests.

    Attributes:
        workload: The workload, and what is wrong with its history.
        how: How that is used.
        ours: Our outcome.
        backoff: The least delay of backoff, of any cadence, at as many requests.
    """

    workload: str
    how: str
    ours: Outcome
    backoff: float

    @property
    def ratio(self) -> float:
        """Return our delay over backoff's."""
        return self.ours.delay / self.backoff

    @classmethod
    def compare(cls, study: Study, workload: str, how: str, ours: Outcome) -> UncertainCase:
        """Compare with the backoffs of a study."""
        return cls(workload, how, ours, delay_at(study.backoffs, ours.requests))


def wrong_histories(studies: Sequence[Study], draws: int) -> list[UncertainCase]:
    found = []
    for study in studies:
        name, later = study.workload.name, outcome_after_change(POLICY, study.workload, draws)
        found.append(UncertainCase.compare(study, name, "never corrected", study.default[30]))
        found.append(UncertainCase.compare(study, name, "learning, first 30 backups", later))
    return found


def short_histories(studies: Sequence[Study]) -> list[UncertainCase]:
    """Compare if nothing, or next to nothing, is known of a workload."""
    return [
        UncertainCase.compare(study, study.workload.name, f"history of {seen}", study.default[seen])
        for study in studies
        for seen in (0, 3)
    ]


def wrong_clocks(usual: Study, draws: int) -> list[UncertainCase]:
    """Compare if a backup is older or younger than `startedAt` and the service's clock say."""
    found = []
    for ahead in CLOCKS:
        how = f"{abs(ahead):.0f} s {'younger' if ahead > 0 else 'older'} than assumed"
        found.append(
            UncertainCase.compare(
                usual, usual.workload.name, how, our_outcome(POLICY, usual.workload, 30, draws, ahead)
            )
        )
    return found


def earliest_first_poll(usual: Study) -> float:
    """Return the earliest first poll of a schedule that is within `ALLOWED` of the optimum."""
    for first in range(20, 200):
        point = optimal_outcome(usual.workload, POLICY.request_worth, first=float(first), nodes=700)
        if point.delay <= (1 + ALLOWED) * delay_at(usual.best, point.requests):
            return float(first)
    raise AssertionError


def explain_bound(usual: Study, quick: Study) -> str:
    """Explain what no schedule that profits from the history can avoid if the truth is ten times shorter."""
    first = earliest_first_poll(usual)
    schedule = np.array([first, quick.workload.end + first])
    point = average_outcome([schedule], quick.workload.truth.ppf(QUANTILES))
    ratio = point.delay / delay_at(quick.backoffs, point.requests)
    return BOUND.format(allowed=ALLOWED, first=first, ratio=ratio)


def uncertain_table(found: Sequence[UncertainCase]) -> str:
    rows = [(one.workload, one.how, one.ours.requests, one.ours.delay, one.backoff, one.ratio) for one in found]
    head = ("workload", "what is known", "requests", "delay, s", "backoff's delay at as many requests, s", "ratio")
    return ABOUT + "\n" + table(head, rows)
