"""The events of a watch and of a bulk run, as classes for ``match``."""

from __future__ import annotations

from typing import Literal

import attrs

from asyncbackups.errors import BackupsError
from asyncbackups.models import Backup, BackupRef, PlanetRef

__all__ = [
    "Adoption",
    "BackupCreated",
    "BackupDeleted",
    "BackupFailed",
    "BackupGone",
    "BackupSucceeded",
    "CreateFailed",
    "DeleteFailed",
    "DuplicateFound",
    "Event",
    "Explanation",
    "FinalEvent",
    "WatchExpired",
    "WatchFailed",
]

Adoption = Literal["marker", "time"]
"""How a create with a lost response identified its backup: by its marker, or by mechanism, type and start time."""


@attrs.frozen(kw_only=True)
class _BackupEvent:
    """An event about one backup.

    Attributes:
        ref: The backup.
        planet: The backup's planet; None if unknown.
        elapsed: Time since the backup was added to the watch, or since its create or delete started, in seconds.
        polls: Number of responses that included this backup, lists included.
        id: The event's number in the journal, ascending, the same each time it is delivered; None without a journal.
    """

    ref: BackupRef
    planet: PlanetRef | None = None
    elapsed: float = 0.0
    polls: int = 0
    id: int | None = None


@attrs.frozen(kw_only=True)
class BackupSucceeded(_BackupEvent):
    """The backup succeeded.

    Attributes:
        backup: The backup, as last returned by the service.
    """

    backup: Backup


@attrs.frozen(kw_only=True)
class BackupFailed(_BackupEvent):
    """The backup failed.

    Attributes:
        backup: The backup, as last returned by the service; `error_message` may give the reason.
    """

    backup: Backup


@attrs.frozen(kw_only=True)
class BackupGone(_BackupEvent):
    """The backup was deleted while it was watched, or never existed.

    Attributes:
        backup: The backup, as last returned by the service; None if it never was.
    """

    backup: Backup | None = None


@attrs.frozen(kw_only=True)
class WatchExpired(_BackupEvent):
    """The deadline passed before the backup succeeded or failed.

    Attributes:
        backup: The backup, as last returned by the service; None if it never was.
        error: Why the last poll failed; None if it succeeded, so that the backup is still in progress.
    """

    backup: Backup | None = None
    error: BackupsError | None = None


@attrs.frozen(kw_only=True)
class WatchFailed(_BackupEvent):
    """The backup can no longer be polled; its outcome is unknown.

    Attributes:
        error: The reason: permission denied, credentials refused, the client closed, or an error in the engine.
        backup: The backup, as last returned by the service; None if it never was.
    """

    error: BackupsError
    backup: Backup | None = None


@attrs.frozen(kw_only=True)
class BackupCreated(_BackupEvent):
    """A bulk run created a backup and now watches it.

    Attributes:
        backup: The backup, as returned by the create.
        adopted: How the backup was identified after a lost response; None if the response named it.
        possible_duplicate: Whether a second backup may exist, because the create was sent again. When the backup ends,
            a list of the planet decides: see `DuplicateFound`.
        duplicates: Other backups that this create has certainly made, as far as known by then.
    """

    backup: Backup
    adopted: Adoption | None = None
    possible_duplicate: bool = False
    duplicates: tuple[BackupRef, ...] = ()


@attrs.frozen(kw_only=True)
class DuplicateFound(_BackupEvent):
    """A bulk run's create made several backups of a planet: it was sent again, and all of them carry its marker.

    It comes before the final event of the backup.

    Attributes:
        duplicates: The other backups; all but one can be deleted.
    """

    duplicates: tuple[BackupRef, ...]


@attrs.frozen(kw_only=True)
class CreateFailed:
    """A bulk run could not create the backup of a planet.

    Attributes:
        planet: The planet.
        error: The reason. After an `AmbiguousCreateError` the backup may exist all the same.
        elapsed: Time since the create started, in seconds.
        polls: Always 0.
        id: The event's number in the journal; None without a journal.
    """

    planet: PlanetRef
    error: BackupsError
    elapsed: float = 0.0
    polls: int = 0
    id: int | None = None


@attrs.frozen(kw_only=True)
class BackupDeleted(_BackupEvent):
    """A bulk deletion deleted a backup."""


@attrs.frozen(kw_only=True)
class DeleteFailed(_BackupEvent):
    """A bulk deletion could not delete a backup.

    Attributes:
        error: The reason. After a `TransportError` the backup may be deleted all the same.
    """

    error: BackupsError


FinalEvent = BackupSucceeded | BackupFailed | BackupGone | WatchExpired | WatchFailed
"""The last event of a backup: each backup added to a watch gets exactly one."""

Event = FinalEvent | BackupCreated | CreateFailed | DuplicateFound
"""The events of a bulk run."""


@attrs.frozen(kw_only=True)
class Explanation:
    """When a backup in progress is polled next, and on what grounds.

    Attributes:
        ref: The backup.
        by: "get", or "list" if one list replaces several gets.
        due_in: Time until that request is due, in seconds; 0 while it is in flight or overdue. A list may be sent
            earlier, by up to a fifth of its interval, together with another request.
        age: Time since the backup started, in seconds; None if unknown.
        status: The last status returned; None if there was none.
        polls: Number of responses that included this backup.
        learned_from: Number of finished backups that the schedule is based on; 0 means exponential backoff.
        expires_in: Time until the last deadline of the backup's subscribers, in seconds.
    """

    ref: BackupRef
    by: str
    due_in: float
    age: float | None
    status: str | None
    polls: int
    learned_from: int
    expires_in: float
