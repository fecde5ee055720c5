"""What all star systems of a client share: the policy, how long backups take, and what requests cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from asyncbackups._base.lru import LruDict
from asyncbackups._polling import cost_model as planner
from asyncbackups._polling import poll_interval as schedule
from asyncbackups._polling.estimation.censoring import Cohorts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups._polling.tracked import TrackedBackup
from asyncbackups.policies import PollingPolicy

_LISTS = 4096
"""Of so many lists it is remembered up to where they were learned from; and so many backups that were."""


@attrs.frozen
class PollingState:
    """What is known, and what follows from it for flights.

    Attributes:
        policy: When to ask.
        draw: Gives uniform numbers from [0, 1).
        durations: How long backups take.
        costs: What gets and lists cost.
        cohorts: What is under watch, by when it began: it says what may be learned from yet.
        learned: The latest backups that were learned from under watch; lists will show them again.
        rests: Until when the server does not want to be asked for a list, for the latest lists of which it said so.
        learned_until: For each list, the newest `completedAt` of what was learned from it, as the service wrote it.
    """

    policy: PollingPolicy
    draw: Callable[[], float]
    durations: DurationEstimates
    costs: planner.RequestCosts
    cohorts: Cohorts
    learned: LruDict[tuple[str, int], None] = attrs.field(factory=lambda: LruDict(_LISTS))
    rests: LruDict[planner.Where, float] = attrs.field(factory=lambda: LruDict(_LISTS))
    learned_until: LruDict[planner.Where, str] = attrs.field(factory=lambda: LruDict(_LISTS))

    def enter(self, flight: TrackedBackup) -> None:
        """Take note that a flight whose age is known is under watch; once is enough."""
        if flight.cohort is None and flight.started_at is not None:
            flight.cohort = self.cohorts.of(flight.started_at)
            self.cohorts.enter(flight.cohort, flight.star_system, flight.mechanism)

    def leave(self, flight: TrackedBackup) -> None:
        """Take note that a flight is no longer under watch, or not as what it was entered."""
        if flight.cohort is not None:
            self.cohorts.leave(flight.cohort, flight.star_system, flight.mechanism)
            flight.cohort = None

    def member(self, flight: TrackedBackup, now: float) -> tuple[SurvivalEstimate, float]:
        """Return what the schedule needs to know of a flight: the belief about it, and its age."""
        belief = self.durations.belief(flight.star_system, flight.planet, flight.mechanism)
        return belief, flight.age(now)

    def members(self, flights: Iterable[TrackedBackup], now: float) -> list[tuple[SurvivalEstimate, float]]:
        """Return `member` of each, asking for the belief about those alike once; all are of one star system."""
        beliefs: dict[tuple[str | None, str | None], SurvivalEstimate] = {}
        members: list[tuple[SurvivalEstimate, float]] = []
        for flight in flights:
            alike = (flight.planet, flight.mechanism)
            belief = beliefs.get(alike)
            if belief is None:
                belief = beliefs[alike] = self.durations.belief(flight.star_system, *alike)
            members.append((belief, flight.age(now)))
        return members

    def gap(self, flights: Sequence[TrackedBackup], now: float, *, cost: float = 1.0) -> float:
        """Return the seconds until the next request, which costs so many gets and tells of all these flights."""
        return schedule.gap(_Members(self, flights, now), policy=self.policy, cost=cost, draw=self.draw())

    def load(
        self, flights: Sequence[TrackedBackup], now: float, *, sample: int = schedule.SAMPLE
    ) -> planner.PollingLoad:
        """Weigh what polling these flights costs, from so many of them."""
        chosen = flights[:: -(-len(flights) // sample)]
        return planner.PollingLoad.of(
            self.members(chosen, now),
            horizon=self.policy.maximum,
            scale=len(flights) / len(chosen),
        )


@attrs.frozen
class _Members(Sequence[tuple[SurvivalEstimate, float]]):
    """Flights as the schedule sees them; built only for those that it looks at."""

    know: PollingState
    flights: Sequence[TrackedBackup]
    now: float

    def __len__(self) -> int:
        return len(self.flights)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return self.know.members(self.flights[index], self.now)
        return self.know.member(self.flights[index], self.now)
