"""The meaning of each response for the tracked backups of one star system. When they are polled: `request_queue`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import attrs

from asyncbackups._api.operations import ResponseInfo
from asyncbackups._api.pagination import ListEntry
from asyncbackups._polling.circuit_breaker import CircuitBreaker
from asyncbackups._polling.estimation.observations import FinishedSelection, record_durations, record_tracked
from asyncbackups._polling.list_polls import end_time
from asyncbackups._polling.request_queue import RequestQueue
from asyncbackups._polling.shared_state import PollingState
from asyncbackups._polling.tracked import GetPoll, ListPoll, Observation, Poll, TrackedBackup
from asyncbackups.errors import (
    ApiError,
    BackupsError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    ends_wait,
    is_gateway_page,
    is_service_fault,
)
from asyncbackups.models import BackupId, id_key

TrackedOutcome = tuple[TrackedBackup, Observation | BackupsError]
"""A backup whose tracking ends: because of an observation, or of an error after which it cannot be checked."""

_CONFIRMATIONS = 2
"""A backup is gone once this many GETs in a row did not find it: the service may lag."""
_PORTION = 256
"""This many entries of a list are processed at a time; if all have changed, that takes ten milliseconds."""


@attrs.define
class _FailedPolls:
    """The failed GETs of one backup since it was last observed.

    Attributes:
        not_found: How many did not find it (404).
        not_found_since: When the first one did not find it.
        others: How many failed otherwise, without ending the wait; `error` is the last of these errors.
    """

    not_found: int = 0
    not_found_since: float = math.inf
    others: int = 0
    error: BackupsError | None = None


class StarSystemPolling:
    """The polling of one star system.

    Attributes:
        tracked: The tracked backups, by `key`.
        requests: How many requests are in flight.
        due: When the scheduler is to process it; infinity for never.
        queued: Whether it is in the scheduler's queue of star systems with requests to send.
    """

    def __init__(self, name: str, shared: PollingState) -> None:
        self.name = name
        self.tracked: dict[BackupId, TrackedBackup] = {}
        self.requests: int = 0
        self.due: float = math.inf
        self.queued = False
        self._shared = shared
        self._queue = RequestQueue(name, self.tracked, shared)
        self._breaker = CircuitBreaker(shared)
        # By `key`; not attributes of the backups, because few backups have one.
        self._failed: dict[BackupId, _FailedPolls] = {}
        self._inferred_since: dict[BackupId, float] = {}

    def last_error_of(self, backup: TrackedBackup) -> BackupsError | None:
        """Return why the last poll of a backup failed; None if it succeeded."""
        failed = self._failed.get(backup.key)
        return self._breaker.last_fault if failed is None or failed.error is None else failed.error

    # Tracked backups

    def add(self, backup: TrackedBackup, now: float, *, patient: bool) -> None:
        """Start to track a backup. If its age is unknown, or its first poll is overdue, it is polled at once."""
        self.tracked[backup.key] = backup
        self._shared.enter_cohort(backup)
        self._queue.add(backup, now, patient=patient)

    def remove(self, backup: TrackedBackup) -> None:
        """Stop tracking a backup."""
        del self.tracked[backup.key]
        self._shared.leave_cohort(backup)
        self._failed.pop(backup.key, None)
        self._inferred_since.pop(backup.key, None)
        self._queue.remove(backup)

    def poll_before_deadline(self, backup: TrackedBackup, now: float, *, since: float) -> None:
        """Poll a backup now, unless it was observed since a time, or a poll is in flight."""
        failed = self._failed.get(backup.key)
        # After a 404, GETs stay apart: that a backup is gone must be confirmed over time.
        if backup.observed_at < since and not (failed is not None and failed.not_found):
            self._queue.poll_now(backup, now)

    def next_poll_of(self, backup: TrackedBackup, now: float) -> tuple[str, float]:
        """Return how a backup is polled next ("get" or "list"), and when (now while that request is in flight)."""
        method, due, in_flight = self._queue.next_poll_of(backup)
        return method, now if in_flight else max(due, self._breaker.open_until)

    # What is due

    def next_due(self) -> float:
        """Return when the next poll is due, or the next plan; infinity if a response must come first."""
        return min(self._next_poll_due(), self._queue.replan_at)

    def _next_poll_due(self) -> float:
        if self._breaker.is_half_open and self.requests:
            return math.inf
        return max(self._queue.next_due(), self._breaker.open_until)

    def bring_forward(self, now: float) -> bool:
        """Make the next list due now, if it may be sent together with other requests; return whether it may."""
        blocked = now < self._breaker.open_until or (self._breaker.is_half_open and self.requests)
        return not blocked and self._queue.bring_forward(now)

    def take_poll(self, now: float) -> Poll | None:
        """Return the poll that is due, which is in flight from now on; None if none is due."""
        self._queue.prepare_due(now)
        if not self.tracked or self._next_poll_due() > now:
            return None
        self.requests += 1
        return self._queue.take_poll(now)

    def is_needed(self, poll: Poll) -> bool:
        """Return True if any backup that a poll covers is still tracked."""
        if isinstance(poll, GetPoll):
            return id_key(poll.ref.backup_id) in self.tracked
        return self._queue.is_list_needed(poll)

    def cancel_poll(self, poll: Poll, now: float) -> None:
        """Record that a poll was not sent, because it is not needed any more."""
        self.requests -= 1
        if isinstance(poll, ListPoll):
            self._queue.cancel_list(poll, now)

    def spread_overdue(self, now: float, window: float) -> None:
        """Delay what is overdue by random parts of a window: a stall must not be followed by a burst."""
        self._queue.spread_overdue(now, window)

    # Responses

    def record_get(
        self, poll: GetPoll, observation: Observation, response: ResponseInfo, now: float
    ) -> list[TrackedOutcome]:
        """Record the response to a GET."""
        backup = self._record_get_response(poll, response)
        if backup is None:
            return []
        if observation.is_foreign:
            failed = self._failed.setdefault(backup.key, _FailedPolls())
            reason = "the id belongs to a backup of another planet now"
            return self._record_not_found(backup, failed, NotFoundError(status=404, reason=reason), now)
        self._queue.set_etag(backup, response.etag)
        before = backup.observed_at
        if self._observe(backup, observation, poll.sent, now):
            self._queue.check_list_lag(backup, observation, before, now)
            return [(backup, observation)]
        if backup.key in self._inferred_since:
            self._queue.schedule_get(backup, now + self._shared.policy.initial)
        else:
            self._queue.schedule_after_get(backup, now, pause=self._requested_pause(response))
        return []

    def record_unchanged_get(self, poll: GetPoll, response: ResponseInfo, now: float) -> None:
        """Record that a backup has not changed (304)."""
        backup = self._record_get_response(poll, response)
        if backup is None:
            return
        if response.etag is not None:
            self._queue.set_etag(backup, response.etag)
        if not backup.polls:
            # The entity tag was received while the backup was tracked before; this time it was not observed yet.
            self._queue.schedule_get(backup, now)
            return
        self._count_poll(backup, poll.sent)
        self._queue.schedule_after_get(backup, now, pause=self._requested_pause(response))

    def select_entries(
        self, poll: ListPoll, entries: Iterable[ListEntry], *, latest: str, every: bool = False
    ) -> set[BackupId]:
        """Return the ids of the entries of a list to decode: changed backups, and finished ones for the estimates."""
        changed: set[BackupId] = set()
        finished = FinishedSelection(self._shared, (self.name, poll.planet), latest)
        for entry in entries:
            backup = self.tracked.get(entry.id)
            if entry.completedAt is not None:
                finished.consider(entry, tracked=backup is not None)
            if backup is not None and (every or _has_changed(backup, entry)):
                changed.add(entry.id)
        return changed | finished.choose_ids()

    def record_list(
        self,
        poll: ListPoll,
        entries: Iterable[ListEntry],
        observations: Mapping[BackupId, Observation],
        response: ResponseInfo,
        now: float,
    ) -> Iterator[list[TrackedOutcome]]:
        """Record a list, in portions. What it does not show is polled by GET: a list never declares a backup gone.

        The caller must remove what has ended before it takes the next portion, and must take all portions.
        """
        untracked = [observations[backup_id] for backup_id in observations if backup_id not in self.tracked]
        record_durations(self._shared, (self.name, poll.planet), untracked, now)
        useful, newest_end, rest = False, -math.inf, iter(entries)
        while portion := list(islice(rest, _PORTION)):
            ended = list(self._observe_entries(poll, portion, observations, now))
            useful = useful or bool(ended)
            newest_end = max([newest_end, *(end_time(observation, now) for _, observation in ended)])
            yield [*ended]
        self._record_list_response(poll, response)
        pause = self._requested_pause(response)
        self._queue.record_list(poll, now, etag=response.etag, newest_end=newest_end, pause=pause, useful=useful)

    def record_unchanged_list(self, poll: ListPoll, response: ResponseInfo, now: float) -> None:
        """Record that a list has not changed (304)."""
        self._record_list_response(poll, response)
        for backup in self._queue.record_unchanged_list(poll, now, pause=self._requested_pause(response)):
            self._count_poll(backup, poll.sent)

    def record_failure(self, poll: Poll, error: BackupsError, now: float) -> list[TrackedOutcome]:
        """Record a failed poll. After a fault of the service the whole star system is polled more slowly."""
        self.requests -= 1
        if is_service_fault(error):
            self._breaker.record_fault(error, now)
        elif isinstance(error, ApiError | ProtocolError):
            self._breaker.record_success()
        if isinstance(poll, ListPoll):
            return self._record_list_failure(poll, error, now)
        backup = self.tracked.get(id_key(poll.ref.backup_id))
        if backup is None:
            return []
        if ends_wait(error):
            return [(backup, error)]
        failed = self._failed.setdefault(backup.key, _FailedPolls())
        if isinstance(error, NotFoundError):
            return self._record_not_found(backup, failed, error, now)
        retry_at = now + self._breaker.backoff_after(failed.others)
        self._queue.schedule_get(backup, max(self._breaker.open_until, retry_at))
        failed.others, failed.error = failed.others + 1, error
        return []

    def _record_not_found(
        self, backup: TrackedBackup, failed: _FailedPolls, error: NotFoundError, now: float
    ) -> list[TrackedOutcome]:
        failed.not_found += 1
        failed.not_found_since = min(failed.not_found_since, now)
        policy = self._shared.policy
        # A backup that this client created may not be found yet: GETs may lag behind creates, and behind lists.
        started_at = None if backup.polls else backup.started_at
        since = started_at if backup.planet is None else backup.subscriptions[0].added
        new = since is not None and now - since < policy.maximum
        # An ingress whose service restarts responds to everything with a page of its own.
        dubious = is_gateway_page(error) and now - failed.not_found_since < policy.maximum
        if failed.not_found >= _CONFIRMATIONS and not new and not dubious:
            return [(backup, error)]
        self._queue.schedule_get(backup, now + policy.initial)
        return []

    def _record_list_failure(self, poll: ListPoll, error: BackupsError, now: float) -> list[TrackedOutcome]:
        # A 403 may be about the list alone: GETs find out whether the backups may be read.
        if ends_wait(error) and not isinstance(error, PermissionDeniedError):
            return [(backup, error) for backup in self._queue.abort_list(poll)]
        if is_service_fault(error):
            self._queue.retry_list(poll, self._breaker.open_until, now)
        else:
            self._queue.refuse_list(poll, now)
        return []

    def _record_get_response(self, poll: GetPoll, response: ResponseInfo) -> TrackedBackup | None:
        self._record_response()
        self._shared.costs.record_get(self.name, size=response.size, seconds=response.seconds)
        return self.tracked.get(id_key(poll.ref.backup_id))

    def _record_list_response(self, poll: ListPoll, response: ResponseInfo) -> None:
        self._record_response()
        self._shared.costs.record_list((self.name, poll.planet), size=response.size, seconds=response.seconds)

    def _record_response(self) -> None:
        self.requests -= 1
        self._breaker.record_success()

    def _requested_pause(self, response: ResponseInfo) -> float:
        """Return the `Retry-After` of a response within its limits, in seconds; 0 if it has none."""
        return self._breaker.clamp_retry_after(response.retry_after) if response.retry_after else 0.0

    def _count_poll(self, backup: TrackedBackup, sent: float) -> None:
        """Record that a poll sent at a time has found a backup."""
        backup.count_poll(sent)
        self._failed.pop(backup.key, None)

    def _observe(self, backup: TrackedBackup, observation: Observation, sent: float, now: float) -> bool:
        """Record what a poll has shown of a backup; return True if the backup has ended."""
        self._count_poll(backup, sent)
        backup.status = _shared_text(observation.backup.status)
        is_final = observation.progress.final and self._is_confirmed(backup, observation, now)
        cohort, mechanism = backup.cohort, _shared_text(observation.backup.mechanism) or backup.mechanism
        if is_final or mechanism != backup.mechanism:
            self._shared.leave_cohort(backup)
        backup.mechanism = mechanism
        if observation.age is not None:
            backup.started_at = now - observation.age
        elif backup.started_at is None:
            backup.started_at = now
        if is_final:
            record_tracked(self._shared, backup, observation, cohort, now)
        else:
            self._shared.enter_cohort(backup)
        return is_final

    def _is_confirmed(self, backup: TrackedBackup, observation: Observation, now: float) -> bool:
        """Return True unless a failure was inferred for the first time just now: services may write an end early."""
        if not observation.is_inferred:
            self._inferred_since.pop(backup.key, None)
            return True
        return now >= self._inferred_since.setdefault(backup.key, now) + self._shared.policy.initial

    def _observe_entries(
        self, poll: ListPoll, entries: Iterable[ListEntry], observations: Mapping[BackupId, Observation], now: float
    ) -> Iterator[tuple[TrackedBackup, Observation]]:
        """Record what a list has shown; yield the backups that have ended."""
        sent = poll.sent
        for entry in entries:
            backup = self.tracked.get(entry.id)
            # A GET has shown something newer; or the list shows the backup twice, because its pages shifted.
            if backup is None or backup.observed_at >= sent:
                continue
            observation = observations.get(entry.id)
            if observation is None:
                if backup.subscriptions[0].added > sent:
                    continue  # it was not tracked yet when the entries to decode were selected
                # As `_count_poll`, inlined: this runs for every backup of every list.
                backup.polls += 1
                backup.observed_at = sent
                self._failed.pop(entry.id, None)
            elif observation.is_foreign:
                self._queue.schedule_get(backup, now)  # a list never declares a backup gone
                continue
            elif self._observe(backup, observation, sent, now):
                yield backup, observation
                continue
            elif backup.key in self._inferred_since:
                self._queue.schedule_get(backup, now + self._shared.policy.initial)
                continue
            self._queue.cover_by_list(backup, now)


def _has_changed(backup: TrackedBackup, entry: ListEntry) -> bool:
    return entry.status != backup.status or entry.completedAt is not None or not backup.polls


def _shared_text(text: str | None) -> str | None:
    """Return one object for equal texts: decoded ones are new each time, and a million backups share few statuses."""
    return sys.intern(text) if type(text) is str else text
