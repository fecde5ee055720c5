"""The API's resources: planets, backups and the spec of a new backup.

Mechanisms, types, planet classes and statuses are open sets: known values are constants, others pass as plain strings.
Documented facts are those of the guide "Manage database backups".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self, TypeAlias

import attrs

from asyncbackups._base.errors import ConfigurationError
from asyncbackups._base.validation import (
    check_backup_id,
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
    "BackupId",
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
    "id_key",
    "id_sort_key",
    "real_instant",
]

BackupId: TypeAlias = int | str
"""A backup's id: an opaque value, kept as the service writes it. The guide's examples are integers."""


def id_key(backup_id: BackupId) -> BackupId:
    """Return the value by which ids are compared: 362 and "362" have the same path, so they are the same id.

    Args:
        backup_id: A valid id.

    Returns:
        The integer, if the id is the canonical decimal form of a 64-bit integer ("00362" is not); else the id itself.
    """
    if not isinstance(backup_id, str) or len(backup_id) > 20 or not backup_id.removeprefix("-").isdecimal():
        return backup_id
    number = int(backup_id)
    return number if str(number) == backup_id and -(2**63) <= number < 2**64 else backup_id


def id_sort_key(backup_id: BackupId) -> tuple[bool, BackupId]:
    """Return a key that sorts ids of both types: integers, then strings."""
    key = id_key(backup_id)
    return isinstance(key, str), key


class Mechanism(enum.StrEnum):
    """The documented mechanisms of a backup."""

    LOGICAL = "logical"
    """A ``pg_dump``; available for every planet. Takes minutes to hours, depending on the size of the database."""
    SNAPSHOT = "snapshot"
    """A snapshot of the cluster; only for planets with a dedicated cluster. Takes less than 10 minutes."""


class BackupType(enum.StrEnum):
    """The documented types of a backup."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    SCHEDULED = "scheduled"


class PlanetClass(enum.StrEnum):
    """The planet class of the guide's example."""

    DEV = "dev"


class Status(enum.StrEnum):
    """The only documented status."""

    SUCCEEDED = "succeeded"


def _check_name(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_not_blank(value, attribute.name)


def _check_text(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    check_text(value, attribute.name)


def _check_path_name(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    check_path_name(value, attribute.name)


def _split_ref(written: object) -> tuple[str, str]:
    """Return the two parts around the only slash; two empty strings if there are not exactly two parts."""
    parts = [part.strip() for part in written.split("/")] if isinstance(written, str) else []
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else ("", "")


def _check_flag(_: object, attribute: attrs.Attribute[bool], value: object) -> None:
    check_flag(value, attribute.name)


def _check_backup_id(_: object, attribute: attrs.Attribute[BackupId], value: object) -> None:
    check_backup_id(value, attribute.name)


@attrs.frozen(order=True)
class PlanetRef:
    """A reference to a planet of a star system.

    Attributes:
        star_system: The star system's id (`projectId`).
        planet: The planet's id.
    """

    star_system: str = attrs.field(validator=_check_path_name)
    planet: str = attrs.field(validator=_check_path_name)

    @classmethod
    def parse(cls, written: str) -> Self:
        """Parse ``star_system/planet``; white space around the names is ignored.

        Raises:
            ConfigurationError: If the text has another form.
        """
        star_system, planet = _split_ref(written)
        if not planet:
            raise ConfigurationError(f"a planet is written star_system/planet, not {quote_value(written)}")
        return cls(star_system, planet)

    def __str__(self) -> str:
        return f"{self.star_system}/{self.planet}"


@attrs.frozen(order=True)
class BackupRef:
    """A reference to a backup of a star system.

    Attributes:
        star_system: The star system's id (`projectId`).
        backup_id: The backup's id: a 64-bit integer, or a string of at most 200 printable characters. It is kept as
            given, and compared by `id_key`.
    """

    star_system: str = attrs.field(validator=_check_path_name)
    backup_id: BackupId = attrs.field(validator=_check_backup_id, eq=id_key, order=id_sort_key)

    @classmethod
    def parse(cls, written: str) -> Self:
        """Parse ``star_system/backup_id``; white space around the names is ignored.

        An id in canonical decimal form becomes an integer; any other text stays as it is.

        Raises:
            ConfigurationError: If the text has another form.
        """
        star_system, backup_id = _split_ref(written)
        if not backup_id:
            raise ConfigurationError(f"a backup is written star_system/backup_id, not {quote_value(written)}")
        return cls(star_system, id_key(backup_id))

    def __str__(self) -> str:
        return f"{self.star_system}/{self.backup_id}"


@attrs.frozen
class BackupMetadata:
    """The name and description of a backup.

    Attributes:
        name: The name; not blank.
        description: The description; may be empty.
    """

    name: str = attrs.field(validator=_check_name)
    description: str = attrs.field(default="", validator=_check_text)


_DOCUMENTED_RETENTION_DAYS = 10
"""Retention of the guide's example, in days. The documented maximum is 14 days by default; the server checks it."""


def _default_retention(spec: BackupSpec) -> int | None:
    return _DOCUMENTED_RETENTION_DAYS if spec.temporary else None


def _check_retention(spec: BackupSpec, _: object, value: int | None) -> None:
    if spec.temporary:
        check_integer(value, "retention_period_in_days", minimum=1)
    elif value is not None:
        raise ConfigurationError(
            "applies to temporary backups only; a permanent one is kept until it is deleted",
            field="retention_period_in_days",
            hint="Pass None together with temporary=False.",
        )


def _check_metadata(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_instance(value, BackupMetadata, attribute.name)


@attrs.frozen
class BackupSpec:
    """The spec of a backup to create.

    Attributes:
        mechanism: A `Mechanism`, or another string that the service accepts.
        planet_class: The class of the planet, for instance "dev".
        temporary: Whether the service removes the backup after the retention period. A permanent backup is kept until
            it is deleted.
        retention_period_in_days: How long a temporary backup is kept, in days; at least 1, by default 10 (as in the
            guide's example). None for a permanent backup.
        metadata: The name and description.
    """

    mechanism: str = attrs.field(default=Mechanism.LOGICAL, validator=_check_name)
    planet_class: str = attrs.field(default=PlanetClass.DEV, validator=_check_name)
    temporary: bool = attrs.field(default=True, validator=_check_flag)
    retention_period_in_days: int | None = attrs.field(
        default=attrs.Factory(_default_retention, takes_self=True), validator=_check_retention
    )
    metadata: BackupMetadata = attrs.field(factory=lambda: BackupMetadata("asyncbackups"), validator=_check_metadata)


@attrs.frozen(kw_only=True)
class Environment:
    """The environment of a backup. Attributes that the response lacks are None.

    Attributes:
        tenant: The tenant's id.
        project: The star system's id.
        stage: The stage, for instance "dev".
        name: The environment's name.
        extra: All other members of the response, by the API's names.
    """

    tenant: str | None = None
    project: str | None = None
    stage: str | None = None
    name: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class Backup:
    """A backup, as returned by the service. Attributes that the response lacks are None.

    Attributes:
        id: The backup's id as the service writes it, unique within the star system. Compare ids by `BackupRef`.
        mechanism: See `Mechanism`.
        type: See `BackupType`.
        environment: The environment that was backed up.
        status: "succeeded" once the backup is created (documented); other values are not documented.
        display_status: The status to display.
        error_message: Why the backup failed.
        started_at: When it started (aware, UTC).
        completed_at: When it was completed (aware, UTC).
        expiration_date: When the service removes it (aware, UTC).
        database_to_application_builds: The member of the same name, unchanged.
        extra: Every member of the response that the attributes do not reproduce exactly, by the API's names. `plain`
            writes them back, in preference to an attribute for the same member.
    """

    id: BackupId
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
    """The health of the service.

    Attributes:
        status: The reported status; the possible values are not documented.
        extra: All other members of the response.
    """

    status: str
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


class Progress(enum.Enum):
    """The meaning of a backup's status for a wait."""

    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether the backup has succeeded or failed."""
        return self is not Progress.IN_PROGRESS


_UNSET_YEAR = 1970


def real_instant(at: datetime | None) -> datetime | None:
    """Return an instant; None for one in a year up to 1970, which some languages write for "not set"."""
    return at if at is not None and at.year > _UNSET_YEAR else None


StatusRule = Callable[[Backup], Progress]
"""A function that returns what a backup's status means. The default is `asyncbackups.progress_of`."""
