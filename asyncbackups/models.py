"""What the API speaks of: backups, what to create, where they live; in the API's own words.

Sets that the service may extend (mechanisms, types, planet classes, statuses) stay open: known values are named
constants, unknown ones pass through.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self

import attrs

from asyncbackups._base.errors import ConfigurationError
from asyncbackups._base.validation import (
    check_flag,
    check_instance,
    check_integer,
    check_not_blank,
    check_path_name,
    check_text,
    quote_value,
)

__all__ = [
    "Backup",
    "BackupMetadata",
    "BackupRef",
    "BackupSpec",
    "BackupType",
    "Environment",
    "Health",
    "Mechanism",
    "PlanetClass",
    "PlanetRef",
    "Progress",
    "Status",
    "StatusRule",
    "progress_of",
    "real_instant",
]


class Mechanism(enum.StrEnum):
    """Known mechanisms of a backup; others pass as plain text."""

    LOGICAL = "logical"
    """A ``pg_dump``: every planet; minutes to hours, as large as the database is."""
    SNAPSHOT = "snapshot"
    """Planets with a cluster of their own; under 10 minutes."""


class BackupType(enum.StrEnum):
    """Known types of a backup; others pass as plain text."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    SCHEDULED = "scheduled"


class PlanetClass(enum.StrEnum):
    """The planet class that the guide shows; others pass as plain text."""

    DEV = "dev"


class Status(enum.StrEnum):
    """The one status that the guide documents; others pass as plain text."""

    SUCCEEDED = "succeeded"


def _name(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_not_blank(value, attribute.name)


def _text(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    check_text(value, attribute.name)


def _path_name(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    check_path_name(value, attribute.name)


def _halves(written: object) -> tuple[str, str]:
    """Return the two names that a text has around its one slash; of anything else, two empty ones."""
    parts = [part.strip() for part in written.split("/")] if isinstance(written, str) else []
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else ("", "")


def _backup_id(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    check_integer(value, attribute.name, minimum=0)


@attrs.frozen(order=True)
class PlanetRef:
    """A planet (environment) of a star system.

    Attributes:
        star_system: The star system's id (`projectId`).
        planet: The planet's id.
    """

    star_system: str = attrs.field(validator=_path_name)
    planet: str = attrs.field(validator=_path_name)

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read ``star_system/planet``.

        Raises:
            ConfigurationError: If it is not of that form.
        """
        star_system, planet = _halves(written)
        if not planet:
            raise ConfigurationError(f"a planet is written star_system/planet, not {quote_value(written)}")
        return cls(star_system, planet)

    def __str__(self) -> str:
        return f"{self.star_system}/{self.planet}"


@attrs.frozen(order=True)
class BackupRef:
    """A backup of a star system, by its id.

    Attributes:
        star_system: The star system's id (`projectId`).
        backup_id: The backup's id.
    """

    star_system: str = attrs.field(validator=_path_name)
    backup_id: int = attrs.field(validator=_backup_id)

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read ``star_system/backup_id``.

        Raises:
            ConfigurationError: If it is not of that form.
        """
        star_system, number = _halves(written)
        # Nineteen digits hold every id of 64 bits; of numbers of thousands of digits Python makes a bare ValueError.
        if not (number.isascii() and number.isdecimal() and len(number) <= 19):
            raise ConfigurationError(
                f"a backup is written star_system/backup_id, with a whole number, not {quote_value(written)}"
            )
        return cls(star_system, int(number))

    def __str__(self) -> str:
        return f"{self.star_system}/{self.backup_id}"


@attrs.frozen
class BackupMetadata:
    """A name and a description, for people.

    Attributes:
        name: Must not be blank.
        description: May be empty.
    """

    name: str = attrs.field(validator=_name)
    description: str = attrs.field(default="", validator=_text)


DOCUMENTED_RETENTION_DAYS = 10
"""The retention of the guide's example. The longest is 14 days unless the tenant says otherwise: the server decides."""


def _retention_default(spec: BackupSpec) -> int | None:
    return DOCUMENTED_RETENTION_DAYS if spec.temporary else None


@attrs.frozen
class BackupSpec:
    """What to create.

    Attributes:
        mechanism: A `Mechanism`, or another word that the service knows.
        planet_class: The class of the planet, for instance "dev".
        temporary: Whether the backup is removed after its retention period; a permanent one is kept until deleted.
        retention_period_in_days: Days that a temporary backup is kept: positive, 10 unless given (as in the guide's
            example). None for a permanent one.
        metadata: Name and description.
    """

    mechanism: str = attrs.field(default=Mechanism.LOGICAL, validator=_name)
    planet_class: str = attrs.field(default=PlanetClass.DEV, validator=_name)
    temporary: bool = attrs.field(default=True)
    retention_period_in_days: int | None = attrs.field(default=attrs.Factory(_retention_default, takes_self=True))
    metadata: BackupMetadata = attrs.field(factory=lambda: BackupMetadata("asyncbackups"))

    @temporary.validator
    def _check_temporary(self, _: object, value: object) -> None:
        check_flag(value, "temporary")

    @retention_period_in_days.validator
    def _check_retention(self, _: object, value: object) -> None:
        if self.temporary:
            check_integer(value, "retention_period_in_days", minimum=1)
        elif value is not None:
            raise ConfigurationError(
                "applies to temporary backups only; a permanent one is kept until it is deleted",
                field="retention_period_in_days",
                hint="Pass None together with temporary=False.",
            )

    @metadata.validator
    def _check_metadata(self, _: object, value: object) -> None:
        check_instance(value, BackupMetadata, "metadata")


@attrs.frozen(kw_only=True)
class Environment:
    """The environment that a backup was made of.

    Attributes:
        tenant: The tenant's id, or None where the answer does not say (so are the next three).
        project: The star system's id.
        stage: For instance "dev".
        name: As the service shows it.
        extra: Whatever else the answer holds, in the API's own names.
    """

    tenant: str | None = None
    project: str | None = None
    stage: str | None = None
    name: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Backup:
    """A backup, as an answer of the service shows it. What the answer does not say is None.

    Attributes:
        id: Its number; with the star system it names the backup.
        mechanism: See `Mechanism`.
        type: See `BackupType`.
        environment: What it was made of.
        status: "succeeded" once it is created; other words are not documented and are kept as they are.
        display_status: A status for people.
        error_message: Why it failed, where the service says so.
        started_at: When it began (aware, UTC).
        completed_at: When it ended (aware, UTC).
        expiration_date: When it will be removed (aware, UTC).
        database_to_application_builds: As the service sends it.
        extra: Every member of the answer that the attributes above do not reproduce exactly, in the API's own names;
            it is written back out, and where it names a member that an attribute holds, too, it is `extra` that is
            written.
    """

    id: int
    mechanism: str | None = None
    type: str | None = None
    environment: Environment | None = None
    status: str | None = None
    display_status: str | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    expiration_date: datetime | None = None
    database_to_application_builds: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Health:
    """What the health endpoint says.

    Attributes:
        status: The service's own word; it is not documented which there are.
        extra: Whatever else the answer holds.
    """

    status: str
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


class Progress(enum.Enum):
    """How far a backup is: what a status means for somebody who waits."""

    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self is not Progress.IN_PROGRESS


_NO_YEAR = 1970
_FAILURES = frozenset({"failed", "error", "cancelled", "canceled", "aborted", "expired", "deleted"})


def real_instant(at: datetime | None) -> datetime | None:
    """Return an instant that a backup shows; None for one of the year 1 or 1970, as some languages write none."""
    return at if at is not None and at.year > _NO_YEAR else None


def progress_of(backup: Backup) -> Progress:
    """Say what a backup's status means. Pass another function as the client's `status_rule` to replace it.

    "The database backup has been created if the value of `status` is `succeeded`" is documented. Other statuses are
    not: words that speak of failure are taken for failure in any case, as is a backup that is completed without
    having succeeded. Anything else is in progress, and bounded by the deadline of the watch.

    Args:
        backup: What an answer showed.

    Returns:
        What that means for somebody who waits.
    """
    status = (backup.status or "").casefold()
    if status == Status.SUCCEEDED:
        return Progress.SUCCEEDED
    # A `completedAt` that is no ISO 8601 instant (an epoch number, say) is in `extra`, and says the same.
    at = backup.completed_at
    completed = bool(backup.extra.get("completedAt")) if at is None else real_instant(at) is not None
    return Progress.FAILED if completed or status in _FAILURES else Progress.IN_PROGRESS


StatusRule = Callable[[Backup], Progress]
"""Says what a backup's status means; `progress_of` unless a client is given another one."""
