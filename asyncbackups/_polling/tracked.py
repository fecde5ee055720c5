"""Tracked backups and their subscribers, the polls that can be sent for them, and what a response shows of one."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs
import msgspec

from asyncbackups.events import FinalEvent
from asyncbackups.models import Backup, BackupId, BackupRef, Progress, id_key

NEVER = float("inf")
"""The time of a poll that is not scheduled."""


class Subscriber(Protocol):
    """Receives the final events of the backups that it subscribed to."""

    def deliver(self, event: FinalEvent) -> None:
        """Receive the one final event of a backup. Must not raise or block."""


class TrackedState(enum.Enum):
    """How the next observation of a tracked backup is obtained."""

    UNSCHEDULED = enum.auto()
    """No poll is scheduled: the backup is new, or no longer tracked."""
    SCHEDULED = enum.auto()
    """A GET is scheduled; `TrackedBackup.due` is its time."""
    REQUESTED = enum.auto()
    """A GET is in flight."""
    LISTED = enum.auto()
    """A LIST covers the backup, which has no time of its own."""


# Bound once: CPython 3.11 runs Python code for each access of a member through its class.
UNSCHEDULED, SCHEDULED, REQUESTED, LISTED = TrackedState


@attrs.define(eq=False, weakref_slot=False)
class Subscription:
    """One subscriber's wait for one backup.

    Attributes:
        added: When the wait started, in seconds of the monotonic clock.
        deadline: When it expires, on the same clock.
        open: Whether the wait continues: False once its final event was created, or the wait was discarded.
    """

    subscriber: Subscriber
    tracked: TrackedBackup
    added: float
    deadline: float = 0.0
    open: bool = True


@attrs.define(eq=False, weakref_slot=False)
class TrackedBackup:
    """A backup in progress. There may be a million of these: keep them small, and share values between them.

    Attributes:
        planet: Its planet's id, or None if unknown.
        mechanism: How it is made, or None if unknown.
        started_at: When it started, in seconds of our monotonic clock; None while its age is unknown.
        cohort: Its cohort (see `estimation.censoring`); None while it is not counted in one.
        status: Its last observed status; None before the first observation.
        polls: How many polls have shown it.
        observed_at: When the newest poll that showed it was sent; negative infinity before the first one.
        state: How its next observation is obtained.
        due: When its next GET is due, if `state` is SCHEDULED; else `NEVER`.
        unlisted: Whether the last LIST did not show it. It is polled by GET until a LIST does.
        subscriptions: The waits for it; never empty while it is tracked.
    """

    star_system: str
    backup_id: BackupId
    planet: str | None = None
    mechanism: str | None = None
    started_at: float | None = None
    cohort: int | None = None
    status: str | None = None
    polls: int = 0
    observed_at: float = float("-inf")
    state: TrackedState = UNSCHEDULED
    due: float = NEVER
    unlisted: bool = False
    subscriptions: tuple[Subscription, ...] = ()

    @property
    def ref(self) -> BackupRef:
        """Its name; created on each access, which is cheaper than keeping a million."""
        return BackupRef(self.star_system, self.backup_id)

    @property
    def key(self) -> BackupId:
        """Its id as the key of dictionaries: see `id_key`."""
        return id_key(self.backup_id)

    def age_at(self, now: float) -> float:
        """Return its age in seconds; 0 if unknown."""
        return 0.0 if self.started_at is None else max(0.0, now - self.started_at)

    def last_seen(self) -> Backup | None:
        """Return what is kept of the last observation (id, status and mechanism); None before the first one."""
        if self.status is None:
            return None
        return Backup(id=self.backup_id, status=self.status, mechanism=self.mechanism)

    def count_poll(self, sent: float) -> None:
        """Record that a poll sent at a time has shown the backup."""
        self.polls += 1
        self.observed_at = max(self.observed_at, sent)


@attrs.frozen(kw_only=True)
class GetPoll:
    """A GET of one backup.

    Attributes:
        sent: When the poll was issued, in seconds of the monotonic clock.
        etag: The entity tag of the last response for this backup; a 304 then means that nothing has changed.
    """

    ref: BackupRef
    sent: float
    etag: str | None = None

    @property
    def star_system(self) -> str:
        return self.ref.star_system


@attrs.frozen(kw_only=True)
class ListPoll:
    """A LIST of all backups of a star system, or of one of its planets.

    Attributes:
        planet: The planet's id; None for all planets.
        sent: When the poll was issued, in seconds of the monotonic clock.
        etag: The entity tag of the last response, if it may be used; a 304 then means that nothing has changed.
    """

    star_system: str
    planet: str | None
    sent: float
    etag: str | None = None


Poll = GetPoll | ListPoll


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One backup as a response showed it.

    Attributes:
        backup: The whole backup.
        progress: What its status means.
        age: Seconds since it started, by the server's clock; None if the response does not say.
        duration: How many seconds it took, if it has finished and the response says so; else None.
        is_foreign: Whether it certainly belongs to another create, although it has the id of a tracked backup.
        is_inferred: Whether its failure was inferred from `completedAt`, and another poll must confirm it.
    """

    backup: Backup
    progress: Progress
    age: float | None = None
    duration: float | None = None
    is_foreign: bool = False
    is_inferred: bool = False
