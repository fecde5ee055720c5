"""Exit statuses, and the message for an error that ends a command."""

from __future__ import annotations

import asyncio

import pytest

from asyncbackups import (
    AmbiguousCreateError,
    AuthenticationError,
    Backup,
    BackupCreated,
    BackupDeleted,
    BackupFailed,
    BackupFailedError,
    BackupGone,
    BackupGoneError,
    BackupRef,
    BackupSucceeded,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    CreateFailed,
    DeleteFailed,
    DuplicateFound,
    JournalError,
    NotFoundError,
    PermissionDeniedError,
    PlanetRef,
    ProtocolError,
    ServiceUnavailableError,
    WatchExpired,
    WatchExpiredError,
    WatchFailed,
)
from asyncbackups.cli.exits import ExitStatus, describe_error, exit_status

REF = BackupRef("alpha", 1)
PLANET = PlanetRef("alpha", "prod")
BACKUP = Backup(id=1)
REFUSED = BadRequestError(status=400)
TOKEN_GONE = AuthenticationError(status=401)


@pytest.mark.parametrize(
    ("happened", "status"),
    [
        (BackupCreated(ref=REF, backup=BACKUP), 0),
        (BackupSucceeded(ref=REF, backup=BACKUP), 0),
        (BackupFailed(ref=REF, backup=BACKUP), 1),
        (BackupGone(ref=REF), 1),
        (WatchExpired(ref=REF), 3),
        (WatchFailed(ref=REF, error=TOKEN_GONE), 4),
        (WatchFailed(ref=REF, error=NotFoundError(status=404)), 4),
        (DuplicateFound(ref=REF, planet=PLANET, duplicates=(REF,)), 0),
        (CreateFailed(planet=PLANET, error=REFUSED), 1),
        (CreateFailed(planet=PLANET, error=ConfigurationError("twice")), 1),
        (CreateFailed(planet=PLANET, error=TOKEN_GONE), 4),
        (CreateFailed(planet=PLANET, error=AmbiguousCreateError("lost", planet=PLANET)), 4),
        (BackupDeleted(ref=REF), 0),
        (DeleteFailed(ref=REF, error=NotFoundError(status=404)), 1),
        (DeleteFailed(ref=REF, error=TOKEN_GONE), 4),
        (DeleteFailed(ref=REF, error=ConnectError("refused")), 4),
        (BackupFailedError.of(REF), 1),
        (BackupGoneError.of(REF), 1),
        (WatchExpiredError.of(REF), 3),
        (REFUSED, 1),
        (NotFoundError(status=404), 1),
        (TOKEN_GONE, 4),
        (PermissionDeniedError(status=403), 4),
        (ServiceUnavailableError(status=503), 4),
        (ConnectError("refused"), 4),
        (ProtocolError("no list"), 4),
        (ConfigurationError("wrong"), 2),
        (JournalError("locked"), 2),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, object) and not isinstance(value, int) else str(value),
)
def test_exit_status_of_events_and_errors(happened: object, status: int) -> None:
    """Each event and error has an exit status."""
    assert exit_status([happened]) == status  # type: ignore[list-item]


def test_the_highest_status_counts() -> None:
    """The highest of several statuses counts, in any order; without any it is 0."""
    failed, expired = BackupFailed(ref=REF, backup=BACKUP), WatchExpired(ref=REF)
    unchecked = WatchFailed(ref=REF, error=TOKEN_GONE)
    assert exit_status([failed, expired]) is ExitStatus.DEADLINE
    assert exit_status([unchecked, failed, expired]) is ExitStatus.UNCHECKED
    assert exit_status([]) is ExitStatus.OK


@pytest.mark.parametrize(
    ("field", "reason", "message"),
    [
        ("planet_class", "must not be blank", "--planet-class must not be blank"),
        ("base_url", "must be a URL", "--base-url (or ASYNCBACKUPS_BASE_URL) must be a URL"),
        ("client_id", "must not be blank", "ASYNCBACKUPS_CLIENT_ID must not be blank"),
        ("workers", "must be positive", "workers must be positive"),
        (None, "two things contradict each other", "two things contradict each other"),
    ],
)
def test_errors_name_the_option_or_variable(field: str | None, reason: str, message: str) -> None:
    """The name of the library's argument is replaced by that of the option or variable that sets it."""
    error = ConfigurationError(reason, field=field, hint="for programs" if message.startswith("-") else None)
    assert describe_error(error) == message


def test_other_errors_keep_their_message() -> None:
    """Only errors about arguments are rephrased."""
    assert describe_error(TOKEN_GONE) == str(TOKEN_GONE)
