"""Exit statuses: what a run's end is to the shell. Pure."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable

from asyncbackups import (
    BackupCreated,
    BackupDeleted,
    BackupFailed,
    BackupFailedError,
    BackupGone,
    BackupGoneError,
    BackupSucceeded,
    ConfigurationError,
    CreateFailed,
    DeleteFailed,
    JournalError,
    WatchExpired,
    WatchExpiredError,
    WatchFailed,
)
from asyncbackups.cli.events import Told
from asyncbackups.errors import is_refusal

__all__ = ["ExitStatus", "exit_status"]


class ExitStatus(enum.IntEnum):
    """How a command ended; of several the highest counts."""

    OK = 0
    FAILED = 1
    """A backup failed or could not be created; what was asked for does not exist."""
    USAGE = 2
    """Wrong usage or configuration, and nothing was sent; or a journal that could no longer be written."""
    DEADLINE = 3
    """A deadline of ours passed."""
    UNCHECKED = 4
    """We could not check, because of the service, the network or the credentials."""
    INTERRUPTED = 130


def exit_status(happened: Iterable[Told | BaseException]) -> ExitStatus:
    """Return the status that stands for everything that happened.

    Args:
        happened: Events, and exceptions that ended something.
    """
    return max(map(_status_of, happened), default=ExitStatus.OK)


def _status_of(one: Told | BaseException) -> ExitStatus:
    match one:
        case BackupCreated() | BackupSucceeded() | BackupDeleted():
            return ExitStatus.OK
        case BackupFailed() | BackupGone() | BackupFailedError() | BackupGoneError():
            return ExitStatus.FAILED
        case WatchExpired() | WatchExpiredError():
            return ExitStatus.DEADLINE
        case CreateFailed() | DeleteFailed():
            return _not_done(one)
        case WatchFailed():
            return ExitStatus.UNCHECKED
        case _:
            return _raised(one)


def _not_done(event: CreateFailed | DeleteFailed) -> ExitStatus:
    status = _raised(event.error)
    # A target that is wrong is one that could not be created; the command itself was used rightly.
    return ExitStatus.FAILED if status is ExitStatus.USAGE else status


def _raised(error: BaseException) -> ExitStatus:
    match error:
        case KeyboardInterrupt() | asyncio.CancelledError():
            return ExitStatus.INTERRUPTED
        case ConfigurationError() | JournalError():
            return ExitStatus.USAGE
        case _ if is_refusal(error):
            return ExitStatus.FAILED
        case _:
            return ExitStatus.UNCHECKED
