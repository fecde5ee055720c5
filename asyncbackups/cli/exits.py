"""Exit statuses, and the message for an error that ends a command."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TypeAlias

# Its names are imported on first use, so that `asyncbackups --help` does not wait for them.
import asyncbackups
from asyncbackups.cli.output import OutputError, print_message

AnyEvent: TypeAlias = "asyncbackups.Event | asyncbackups.BackupDeleted | asyncbackups.DeleteFailed"
"""Every event that a command reports."""


class ExitStatus(enum.IntEnum):
    """How a command ended; the highest that applies counts."""

    OK = 0
    FAILED = 1  # a backup failed, does not exist, or could not be created or deleted
    USAGE = 2  # wrong usage or configuration, and nothing was sent; or a journal that cannot be used
    DEADLINE = 3  # a deadline passed
    UNCHECKED = 4  # the result could not be checked, because of the service, the network or the credentials
    INTERRUPTED = 130


def exit_status(results: Iterable[AnyEvent | BaseException]) -> ExitStatus:
    """Return the highest exit status of several events and exceptions."""
    return max(map(_status_of, results), default=ExitStatus.OK)


def _status_of(result: AnyEvent | BaseException) -> ExitStatus:
    from asyncio import CancelledError  # noqa: PLC0415 - asyncio would triple the time of `asyncbackups --version`

    from asyncbackups.errors import is_refusal  # noqa: PLC0415 - help pages need no errors

    status = ExitStatus.UNCHECKED
    match result:
        case (
            asyncbackups.BackupCreated()
            | asyncbackups.DuplicateFound()
            | asyncbackups.BackupSucceeded()
            | asyncbackups.BackupDeleted()
        ):
            status = ExitStatus.OK
        case asyncbackups.BackupFailed() | asyncbackups.BackupGone():
            status = ExitStatus.FAILED
        case asyncbackups.CreateFailed(error=error) | asyncbackups.DeleteFailed(error=error):
            # One wrong target is a backup that could not be created; the command itself was used correctly.
            status = ExitStatus.FAILED if _status_of(error) is ExitStatus.USAGE else _status_of(error)
        case KeyboardInterrupt() | CancelledError():
            status = ExitStatus.INTERRUPTED
        case asyncbackups.ConfigurationError() | asyncbackups.JournalError():
            status = ExitStatus.USAGE
        case asyncbackups.WatchExpired() | asyncbackups.WatchExpiredError():
            status = ExitStatus.DEADLINE
        case asyncbackups.BackupFailedError() | asyncbackups.BackupGoneError():
            status = ExitStatus.FAILED
        case BaseException() if is_refusal(result):
            status = ExitStatus.FAILED
    return status


# The options and variables that set the library's arguments.
_SETTING_NAMES: dict[str | None, str] = {
    "auth": "the token in ASYNCBACKUPS_TOKEN",
    "token": "the token in ASYNCBACKUPS_TOKEN",
    "token_url": "ASYNCBACKUPS_TOKEN_URL",
    "client_id": "ASYNCBACKUPS_CLIENT_ID",
    "client_secret": "ASYNCBACKUPS_CLIENT_SECRET",
    "scopes": "ASYNCBACKUPS_SCOPES",
    "region": "ASYNCBACKUPS_REGION",
    "proxy": "the proxy in the environment (HTTPS_PROXY, ...)",
    **dict.fromkeys(("name", "metadata.name"), "--name"),
    **dict.fromkeys(("description", "metadata.description"), "--description"),
    "mechanism": "--mechanism",
    "planet_class": "--planet-class",
    "retention_period_in_days": "--retention-days",
    "speed": "--speed",
    "base_url": "--base-url (or ASYNCBACKUPS_BASE_URL)",
    "tenant": "--tenant (or ASYNCBACKUPS_TENANT)",
}
_NAMED_AT_MOST = 20


def describe_error(error: Exception) -> str:
    """Return an error's message, with the name of the option or variable instead of the library's argument."""
    if isinstance(error, asyncbackups.ConfigurationError) and error.field in _SETTING_NAMES:
        # The library's hint is for programs, so it is left out.
        return f"{_SETTING_NAMES[error.field]} {error.reason}"
    return str(error)


def print_error(error: asyncbackups.BackupsError | OutputError) -> None:
    """Print an error on stderr, and the backups of a journal that cannot be resumed: nothing else may know of them."""
    print_message(f"asyncbackups: {describe_error(error)}")
    if isinstance(error, asyncbackups.JournalError) and error.created:
        more = len(error.created) - _NAMED_AT_MOST
        rest = f" and {more:,} more (see `asyncbackups status --json`)" if more > 0 else ""
        print_message(f"created: {' '.join(map(str, error.created[:_NAMED_AT_MOST]))}{rest}")
