"""A backup in flight, who waits for it, what may be asked about it and what answers tell."""

from __future__ import annotations

from typing import Any, Protocol

import attrs
import msgspec

from asyncbackups.events import FinalEvent
from asyncbackups.models import Backup, BackupRef, Progress

ASKED = float("-inf")
"""The `due` of what is being asked for: its request is under way."""


class Subscriber(Protocol):
    """Somebody who waits for backups."""

    def deliver(self, event: FinalEvent) -> None:
        """Take the one final event of a backup. Must not raise or block."""


@attrs.define(eq=False, weakref_slot=False)
class Subscription:
    """One wait for one backup.

    Attributes:
        subscriber: Who waits.
        flight: For what.
        added: Since when, in seconds of the monotonic clock.
        deadline: Until when.
        open: Whether it still waits: False once its one final event is out, or it was given up.
    """

    subscriber: Subscriber
    tracked: TrackedBackup
    added: float
    deadline: float = 0.0
    open: bool = True


@attrs.define(eq=False, weakref_slot=False)
class TrackedBackup:
    """A backup in flight. There may be a million of these: small, and sharing what can be shared.

    Attributes:
        star_system: Where it is.
        backup_id: Its number.
        planet: Of which planet it is, where that is known.
        mechanism: How it is made, where that is known.
        born: When it began, in seconds of our monotonic clock; None while its age is not known.
        cohort: What it began together with, as `cohorts` has it; None while it is not entered there.
        status: As last seen; None while it was not seen.
        polls: How many answers told of it.
        told: When the newest request that told of it was sent; negative infinity before.
        due: When it is to be asked about by a get; `ASKED` while that is under way, infinity while a list does it.
        missing: How many gets in a row found nothing.
        unlisted: Whether the last list did not show it; then it is asked by get until one does.
        subscriptions: Who waits for it; never empty while it is in flight.
    """

    star_system: str
    backup_id: int
    planet: str | None = None
    mechanism: str | None = None
    started_at: float | None = None
    cohort: int | None = None
    status: str | None = None
    polls: int = 0
    told: float = float("-inf")
    due: float = float("inf")
    missing: int = 0
    unlisted: bool = False
    subscriptions: tuple[Subscription, ...] = ()

    @property
    def ref(self) -> BackupRef:
        """Its name; made anew each time, which is cheaper than a million kept."""
        return BackupRef(self.star_system, self.backup_id)

    def age(self, now: float) -> float:
        """Return its age in seconds; 0 where it is not known."""
        return 0.0 if self.started_at is None else max(0.0, now - self.started_at)

    def last_seen(self) -> Backup | None:
        """Return what the watch keeps of it (id, status and mechanism), or None where it was never seen."""
        if self.status is None:
            return None
        return Backup(id=self.backup_id, status=self.status, mechanism=self.mechanism)


@attrs.frozen(kw_only=True)
class GetPoll:
    """Ask about one backup.

    Attributes:
        ref: Which.
        sent: When it was issued, in seconds of the monotonic clock.
        etag: The entity tag of the last answer about it: then 304 tells that nothing has changed.
    """

    ref: BackupRef
    sent: float
    etag: str | None = None

    @property
    def star_system(self) -> str:
        """The star system that is asked."""
        return self.ref.star_system


@attrs.frozen(kw_only=True)
class ListPoll:
    """Ask about all backups of a star system, or of one of its planets, at once.

    Attributes:
        star_system: Which.
        planet: Which planet; None for all.
        sent: When it was issued, in seconds of the monotonic clock.
        etag: The entity tag of the last answer, if it may be used: then 304 tells that nothing has changed.
    """

    star_system: str
    planet: str | None
    sent: float
    etag: str | None = None


Poll = GetPoll | ListPoll


@attrs.frozen(kw_only=True)
class ResponseCost:
    """What an answer cost, and what else it said about asking.

    Attributes:
        size: Bytes of its bodies.
        seconds: How long it took.
        retry_after: When the server wants to be asked again: seconds from now, or None.
        etag: Its entity tag, or None.
    """

    size: int = 0
    seconds: float = 0.0
    retry_after: float | None = None
    etag: str | None = None


class ListEntryLike(Protocol):
    """An entry of a list, as far as it must be known to tell whether there is news."""

    id: int
    status: Any
    completedAt: Any  # noqa: N815 - the API's own name


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an answer showed of one backup.

    Attributes:
        backup: The whole of it.
        progress: What its status means.
        age: Seconds since it began, by the server's own clock; None where the answer does not say.
        duration: Seconds that it took, where it is finished and the answer says so.
    """

    backup: Backup
    progress: Progress
    age: float | None = None
    duration: float | None = None
