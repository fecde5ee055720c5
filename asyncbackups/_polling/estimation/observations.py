"""Durations of finished backups, recorded for the estimates: from lists and from tracked backups, each backup once."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Container, Iterable

from asyncbackups._api.pagination import ListEntry
from asyncbackups._polling.cost_model import ListScope
from asyncbackups._polling.estimation.censoring import FinishedBackup
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.tracked import Observation, TrackedBackup
from asyncbackups.models import BackupId, id_key

LATEST_TIMESTAMP = "3000"
"""A greater `completedAt`, compared as text, is not credible: it is no timestamp, or one in the far future."""
_CLOCK_TOLERANCE = 60.0
"""A backup may seem to have taken this many seconds longer than its age, because clocks disagree; not more."""
_PER_LIST = 256  # at most this many durations are recorded from one list: older ones carry little weight anyway


class FinishedSelection:
    """Selects the finished backups of one list that were not recorded yet, by `completedAt` and not by id.

    A backup may finish long after backups with higher ids. Selecting by id would leave it out, and bias the estimates
    towards quick backups. A `completedAt` greater than `latest` (ISO 8601 text) is not credible.
    """

    def __init__(self, shared: PollingState, scope: ListScope, latest: str = LATEST_TIMESTAMP) -> None:
        self._shared = shared
        self._scope = scope
        self._latest = latest
        self._known = self._newest = shared.recorded_until.get(scope, "")
        self._found: list[tuple[str, BackupId]] = []

    def consider(self, entry: ListEntry, *, tracked: bool) -> None:
        """Consider an entry. A tracked backup is recorded when its tracking ends, but counts as seen here, too."""
        timestamp = entry.completedAt
        if not isinstance(timestamp, str) or not self._known < timestamp <= self._latest:
            return
        self._newest = max(self._newest, timestamp)
        if not tracked and (self._scope[0], entry.id) not in self._shared.recorded:
            self._found.append((timestamp, entry.id))

    def choose_ids(self) -> set[BackupId]:
        """Return the ids to record: the newest, if there are many. They will not be selected again."""
        if not self._shared.policy.learn:
            return set()
        if self._newest > self._known:
            self._shared.recorded_until.store(self._scope, self._newest)
        newest = heapq.nlargest(_PER_LIST, self._found, key=operator.itemgetter(0))  # ids may have different types
        return {backup_id for _, backup_id in newest}


def record_listed(
    shared: PollingState,
    scope: ListScope,
    observations: Iterable[Observation],
    now: float,
    *,
    tracked: Container[BackupId],
    latest: str,
) -> None:
    """Record the durations of a list that was not polled; later lists do not record these backups again."""
    finished = FinishedSelection(shared, scope, latest)
    by_key: dict[BackupId, Observation] = {}
    for observation in observations:
        backup = observation.backup
        if backup.completed_at is not None:
            key = id_key(backup.id)
            # As the service writes it, for the comparison with later lists.
            text = f"{backup.completed_at.replace(tzinfo=None).isoformat()}Z"
            finished.consider(ListEntry(key, completedAt=text), tracked=key in tracked)
            by_key[key] = observation
    chosen = finished.choose_ids()
    for key in chosen:
        shared.recorded.store((scope[0], key), None)
    record_durations(shared, scope, map(by_key.__getitem__, chosen), now)


def record_tracked(
    shared: PollingState, backup: TrackedBackup, observation: Observation, cohort: int | None, now: float
) -> None:
    """Record the duration of a tracked backup that ended, and left a cohort (None: it was never observed before)."""
    shared.recorded.store((backup.star_system, backup.key), None)
    if cohort is None:
        record_durations(shared, (backup.star_system, backup.planet), [observation], now, backup.mechanism)
    elif (seconds := _plausible_duration(observation)) is not None:
        # By the cohort and not by its age: the server's time is known to a second or so, and its estimate may change.
        _record_finished(shared, backup.star_system, backup.mechanism, FinishedBackup(cohort, backup.planet, seconds))


def record_durations(
    shared: PollingState,
    scope: ListScope,
    observations: Iterable[Observation],
    now: float,
    mechanism: str | None = None,
) -> None:
    """Record durations in the order in which the backups started: the newest has the most weight.

    The `mechanism` is that of backups whose observation does not say so; None if unknown.
    """
    found: list[tuple[FinishedBackup, str | None]] = []
    for observation in observations:
        if (seconds := _plausible_duration(observation)) is not None:
            started_at = now - (seconds if observation.age is None else observation.age)
            finished = FinishedBackup(shared.cohorts.cohort_at(started_at), scope[1], seconds)
            found.append((finished, observation.backup.mechanism or mechanism))
    for finished, made_by in sorted(found, key=lambda pair: pair[0].cohort):
        _record_finished(shared, scope[0], made_by, finished)


def _plausible_duration(observation: Observation) -> float | None:
    """Return how many seconds a backup took; None if the observation does not say, or contradicts its age."""
    seconds, age = observation.duration, observation.age
    return None if seconds is None or (age is not None and seconds > age + _CLOCK_TOLERANCE) else seconds


def _record_finished(shared: PollingState, star_system: str, mechanism: str | None, finished: FinishedBackup) -> None:
    """Record the durations that may be recorded now that one more backup has finished."""
    for scope, released in shared.cohorts.record_finished(finished, star_system, mechanism).items():
        for placed in released:
            planet, seconds = placed.finished.planet, placed.finished.seconds
            shared.durations.record_at_level(scope, planet, mechanism, seconds, place=placed.place)
