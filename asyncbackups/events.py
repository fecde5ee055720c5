"""What a watch or a bulk run tells: one attrs class for each kind of news, made for ``match``."""

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
    "Event",
    "Explanation",
    "FinalEvent",
    "WatchExpired",
    "WatchFailed",
]

Adoption = Literal["marker", "time"]
"""How a create whose answer was lost found its backup: by the marker in its metadata, or by kind and time alone."""


@attrs.frozen(kw_only=True)
class _BackupEvent:
    """What every event about a backup carries.

    Attributes:
        ref: The backup.
        planet: The planet it is of, where that is known.
        elapsed: Seconds since the backup was added to the watch (of a bulk run: since its create began).
        polls: How many answers have told of this backup, lists included.
        id: Its number in the journal, ascending and the same however often it is delivered; None without a journal.
    """

    ref: BackupRef
    planet: PlanetRef | None = None
    elapsed: float = 0.0
    polls: int = 0
    id: int | None = None


@attrs.frozen(kw_only=True)
class BackupSucceeded(_BackupEvent):
    """It ran and succeeded.

    Attributes:
        backup: As last seen.
    """

    backup: Backup


@attrs.frozen(kw_only=True)
class BackupFailed(_BackupEvent):
    """It ran and failed.

    Attributes:
        backup: As last seen; `error_message` may say why.
    """

    backup: Backup


@attrs.frozen(kw_only=True)
class BackupGone(_BackupEvent):
    """It was deleted while it was watched, or never existed.

    Attributes:
        backup: As last seen, or None where it was never seen.
    """

    backup: Backup | None = None


@attrs.frozen(kw_only=True)
class WatchExpired(_BackupEvent):
    """Our deadline passed while it was still in progress.

    Attributes:
        backup: As last seen, or None where it was never seen.
        error: Why the last poll told nothing; None where polls were answered, so that it was indeed in progress.
    """

    backup: Backup | None = None
    error: BackupsError | None = None


@attrs.frozen(kw_only=True)
class WatchFailed(_BackupEvent):
    """We could no longer check: what became of the backup is unknown.

    Attributes:
        error: Why: not permitted, credentials gone, the engine broke.
        backup: As last seen, or None where it was never seen.
    """

    error: BackupsError
    backup: Backup | None = None


@attrs.frozen(kw_only=True)
class BackupCreated(_BackupEvent):
    """A bulk run created a backup, and watches it from now on.

    Attributes:
        backup: As the create's answer showed it.
        adopted: None where the create's own answer named the backup; else how it was found.
        possible_duplicate: Whether there may be another one, because the create was sent again without certainty (only
            with `CreatePolicy(unresolved="duplicate")`).
    """

    backup: Backup
    adopted: Adoption | None = None
    possible_duplicate: bool = False


@attrs.frozen(kw_only=True)
class CreateFailed:
    """A bulk run could not create the backup of one planet.

    Attributes:
        planet: Which.
        error: Why. An `AmbiguousCreateError` means that it may have been created all the same.
        elapsed: Seconds since the create began.
        polls: Always 0: nothing was watched.
        id: Its number in the journal, or None without one.
    """

    planet: PlanetRef
    error: BackupsError
    elapsed: float = 0.0
    polls: int = 0
    id: int | None = None


@attrs.frozen(kw_only=True)
class BackupDeleted(_BackupEvent):
    """A bulk deletion deleted a backup; `elapsed` counts from the beginning of its delete."""


@attrs.frozen(kw_only=True)
class DeleteFailed(_BackupEvent):
    """A bulk deletion could not delete a backup.

    Attributes:
        error: Why. A `TransportError` means that it may have been deleted all the same.
    """

    error: BackupsError


FinalEvent = BackupSucceeded | BackupFailed | BackupGone | WatchExpired | WatchFailed
"""What ends a watch: each backup added gets exactly one of these."""

Event = FinalEvent | BackupCreated | CreateFailed
"""Everything that a bulk run may tell."""


@attrs.frozen(kw_only=True)
class Explanation:
    """When a backup in flight is asked about next, and why.

    Attributes:
        ref: Which backup.
        by: "get", or "list" where one list stands for several gets.
        due_in: Seconds until that request is due; 0 while it is under way or overdue. A list may go up to a fifth of
            its pause sooner, along with another request.
        age: Seconds since the backup began, as far as that is known; else None.
        status: As last seen, or None.
        polls: How many answers have told of it.
        learned_from: How many finished backups the schedule rests on; 0 means plain backoff.
        expires_in: Seconds until the last deadline of those who wait for it.
    """

    ref: BackupRef
    by: str
    due_in: float
    age: float | None
    status: str | None
    polls: int
    learned_from: int
    expires_in: float
