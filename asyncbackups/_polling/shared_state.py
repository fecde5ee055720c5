"""State shared by all star systems of a client: the policy, the duration estimates, and the costs of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from asyncbackups._base.containers import LruDict
from asyncbackups._polling import poll_interval
from asyncbackups._polling.cost_model import ListScope, PollingLoad, RequestCosts
from asyncbackups._polling.estimation.censoring import Cohorts
from asyncbackups._polling.estimation.durations import DurationEstimates
from asyncbackups._polling.estimation.survival import SurvivalEstimate
from asyncbackups._polling.tracked import TrackedBackup
from asyncbackups.models import BackupId
from asyncbackups.policies import PollingPolicy

_REMEMBERED = 4096  # state is kept for this many lists, and for this many backups whose durations were recorded


@attrs.frozen
class PollingState:
    """The shared state, and what follows from it for tracked backups."""

    policy: PollingPolicy
    retry_after_maximum: float  # the longest `Retry-After` that is honored, in seconds
    draw: Callable[[], float]  # returns uniform numbers from [0, 1)
    durations: DurationEstimates
    costs: RequestCosts
    cohorts: Cohorts  # the tracked backups by start time
    # The latest backups whose durations were recorded while tracked or from a baseline; lists will show them again.
    recorded: LruDict[tuple[str, BackupId], None] = attrs.field(factory=lambda: LruDict(_REMEMBERED))
    # Until when the server wants lists to pause that came with a `Retry-After`.
    list_pauses: LruDict[ListScope, float] = attrs.field(factory=lambda: LruDict(_REMEMBERED))
    # For each list, the newest `completedAt` among the durations recorded from it, as text.
    recorded_until: LruDict[ListScope, str] = attrs.field(factory=lambda: LruDict(_REMEMBERED))

    def enter_cohort(self, backup: TrackedBackup) -> None:
        """Count a tracked backup in its cohort, if its age is known and it is not counted yet."""
        if backup.cohort is None and backup.started_at is not None:
            backup.cohort = self.cohorts.cohort_at(backup.started_at)
            self.cohorts.add_running(backup.cohort, backup.star_system, backup.mechanism)

    def leave_cohort(self, backup: TrackedBackup) -> None:
        """Do not count a backup in its cohort any more: it is no longer tracked, or its start or mechanism changed."""
        if backup.cohort is not None:
            self.cohorts.remove_running(backup.cohort, backup.star_system, backup.mechanism)
            backup.cohort = None

    def estimate_of(self, backup: TrackedBackup, now: float) -> tuple[SurvivalEstimate, float]:
        """Return the survival estimate of a backup, and its age in seconds."""
        return self.durations.estimate_for(backup.star_system, backup.planet, backup.mechanism), backup.age_at(now)

    def estimates_of(self, backups: Iterable[TrackedBackup], now: float) -> list[tuple[SurvivalEstimate, float]]:
        """Return `estimate_of` each of some backups of one star system, computing equal estimates once."""
        estimates: dict[tuple[str | None, str | None], SurvivalEstimate] = {}
        members: list[tuple[SurvivalEstimate, float]] = []
        for backup in backups:
            alike = (backup.planet, backup.mechanism)
            estimate = estimates.get(alike)
            if estimate is None:
                estimate = estimates[alike] = self.durations.estimate_for(backup.star_system, *alike)
            members.append((estimate, backup.age_at(now)))
        return members

    def next_interval(self, backups: Sequence[TrackedBackup], now: float, *, cost: float = 1.0) -> float:
        """Return the seconds until the next request that covers some backups, and costs as much as `cost` GETs."""
        members = _LazyEstimates(self, backups, now)
        return poll_interval.next_interval(members, policy=self.policy, cost=cost, draw=self.draw())

    def polling_load(
        self, backups: Sequence[TrackedBackup], now: float, *, sample: int = poll_interval.SAMPLE
    ) -> PollingLoad:
        """Return the load of polling some backups, estimated from a sample of them."""
        chosen = backups[:: -(-len(backups) // sample)]
        return PollingLoad.from_members(
            self.estimates_of(chosen, now), horizon=self.policy.maximum, scale=len(backups) / len(chosen)
        )


@attrs.frozen
class _LazyEstimates(Sequence[tuple[SurvivalEstimate, float]]):
    """The estimates and ages of some backups, computed only for those that are accessed."""

    shared: PollingState
    backups: Sequence[TrackedBackup]
    now: float

    def __len__(self) -> int:
        return len(self.backups)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return self.shared.estimates_of(self.backups[index], self.now)
        return self.shared.estimate_of(self.backups[index], self.now)
