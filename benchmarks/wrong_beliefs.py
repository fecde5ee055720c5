"""What it costs `benchmarks.schedules` to know little, or something wrong: nothing, lies, clocks that disagree."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from benchmarks.report import table
from benchmarks.studies import POLICY, Study
from benchmarks.virtual_time import QUANTILES, Outcome, at_requests, changed, of_us, optimal, outcome

CLOCKS = (30.0, 300.0, -30.0, -300.0)  # seconds by which a backup is believed to be older than it is
ALLOWED = 0.15
ABOUT = """Backoff is 1 s x2 cap 60, at the cadence that is best at as many requests as ours. A lie: the history of 30
says 131 s, sigma 0.4; the truth is this much longer or shorter. Believed throughout: as for the first of them, or for
all that start together. Learned from: over the first 30 backups of the changed world, each of which is learned from
when it finishes, as in use; of a change by ten times the third is believed. Clocks: `startedAt` is the service's, and
may be wrong by any other clock.
"""
BOUND = """That a truth ten times shorter, believed throughout, costs more than backoff is inherent: who profits from
what is known asks next to nothing before the news is expected, and news that is sooner waits for the first poll. Of all
schedules within {allowed:.0%} of the optimum for the history's world, at the default cadence, none asks before an age
of {first:.0f} s: in this world that is {ratio:.2f} times the delay of backoff, whatever the rest of the schedule.
"""


@attrs.frozen
class Doubtful:
    """What it costs where little or something wrong is known: ours, and the least delay of backoff at as many requests.

    Attributes:
        world: Which, and what is wrong about what is known of it.
        how: What is made of that.
        ours: What it costs.
        backoff: The least delay of backoff, of any cadence, at as many requests.
    """

    world: str
    how: str
    ours: Outcome
    backoff: float

    @property
    def ratio(self) -> float:
        """Return our delay over backoff's."""
        return self.ours.delay / self.backoff

    @classmethod
    def of(cls, study: Study, world: str, how: str, ours: Outcome) -> Doubtful:
        """Compare with the backoffs of a study."""
        return cls(world, how, ours, at_requests(study.backoffs, ours.requests))


def lies(studies: Sequence[Study], draws: int) -> list[Doubtful]:
    found = []
    for study in studies:
        name, later = study.world.name, changed(POLICY, study.world, draws)
        found.append(Doubtful.of(study, name, "believed throughout", study.default[30]))
        found.append(Doubtful.of(study, name, "learned from, first 30 backups", later))
    return found


def little(studies: Sequence[Study]) -> list[Doubtful]:
    """Compare where nothing, or next to nothing, is known of a world."""
    return [
        Doubtful.of(study, study.world.name, f"history of {seen}", study.default[seen])
        for study in studies
        for seen in (0, 3)
    ]


def clocks(usual: Study, draws: int) -> list[Doubtful]:
    """Compare where a backup is older or younger than `startedAt` and the service's clock make us believe."""
    found = []
    for ahead in CLOCKS:
        how = f"{abs(ahead):.0f} s {'younger' if ahead > 0 else 'older'} than believed"
        found.append(Doubtful.of(usual, usual.world.name, how, of_us(POLICY, usual.world, 30, draws, ahead)))
    return found


def earliest(usual: Study) -> float:
    """Return the age by which a schedule may ask first that is still within `ALLOWED` of the optimum."""
    for first in range(20, 200):
        point = optimal(usual.world, POLICY.request_worth, first=float(first), nodes=700)
        if point.delay <= (1 + ALLOWED) * at_requests(usual.best, point.requests):
            return float(first)
    raise AssertionError


def bound(usual: Study, quick: Study) -> str:
    """Say what no schedule that profits from the history can avoid where the truth is ten times shorter."""
    first = earliest(usual)
    schedule = np.array([first, quick.world.end + first])
    point = outcome([schedule], quick.world.truth.ppf(QUANTILES))
    ratio = point.delay / at_requests(quick.backoffs, point.requests)
    return BOUND.format(allowed=ALLOWED, first=first, ratio=ratio)


def doubtful(found: Sequence[Doubtful]) -> str:
    rows = [(one.world, one.how, one.ours.requests, one.ours.delay, one.backoff, one.ratio) for one in found]
    head = ("world", "what is known", "requests", "delay, s", "backoff's delay at as many, s", "ratio")
    return ABOUT + "\n" + table(head, rows)
