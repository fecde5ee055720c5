"""Events, as a program reads them (JSON) and as people do. Pure."""

from __future__ import annotations

import re
from typing import Any

from asyncbackups import (
    AmbiguousCreateError,
    ApiError,
    BackupCreated,
    BackupDeleted,
    BackupFailed,
    BackupGone,
    BackupsError,
    BackupSucceeded,
    CreateFailed,
    DeleteFailed,
    Event,
    FinalEvent,
    WatchExpired,
    WatchFailed,
    plain,
)
from asyncbackups.cli.text import took

__all__ = ["Told", "as_json", "as_text", "error_json"]

Told = Event | BackupDeleted | DeleteFailed
"""Everything that a command may tell."""

_ADVICE = " List the planet's backups before you create it again."


def _name_of(event: Told) -> str:
    """Return an event's name in JSON, for instance "backup_succeeded"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def as_json(event: Told) -> dict[str, Any]:
    """Return an event as plain JSON values; backups in it have the API's own field names."""
    about: dict[str, Any] = {"event": _name_of(event)}
    if isinstance(event, CreateFailed):
        about |= {"star_system": event.planet.star_system, "planet": event.planet.planet, "backup_id": None}
    else:
        planet = None if event.planet is None else event.planet.planet
        about |= {"star_system": event.ref.star_system, "planet": planet, "backup_id": event.ref.backup_id}
    about |= {"elapsed": round(event.elapsed, 3), "polls": event.polls}
    if event.id is not None:
        about["id"] = event.id
    return about | _particulars(event)


def _particulars(event: Told) -> dict[str, Any]:
    match event:
        case BackupDeleted():
            return {}
        case CreateFailed() | DeleteFailed():
            return {"error": error_json(event.error)}
        case WatchFailed():
            return {"error": error_json(event.error), "backup": _backup(event)}
        case BackupCreated():
            found = {"adopted": event.adopted, "possible_duplicate": event.possible_duplicate}
            return {**found, "backup": _backup(event)}
        case WatchExpired() if event.error is not None:
            return {"error": error_json(event.error), "backup": _backup(event)}
        case _:
            return {"backup": _backup(event)}


def _backup(event: FinalEvent | BackupCreated) -> Any:
    return None if event.backup is None else plain(event.backup)


def error_json(error: BackupsError) -> dict[str, Any]:
    """Return an error as plain JSON values."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ApiError):
        told["status"] = error.status
    if isinstance(error, AmbiguousCreateError):
        told["candidates"] = [backup.id for backup in error.candidates]
    return told


def as_text(event: Told, *, journaled: bool = False) -> str:
    """Return an event as a line for people.

    Args:
        event: What happened.
        journaled: Whether it is of a run with a journal.
    """
    if isinstance(event, CreateFailed):
        return f"{event.planet}: {_why_not_created(event, journaled=journaled)}"
    if isinstance(event, DeleteFailed):
        return f"{event.ref}: not deleted: {event.error}"
    if isinstance(event, BackupDeleted):
        return f"{event.ref} is deleted"
    about = f"{event.ref}" if event.planet is None else f"{event.planet}: backup {event.ref.backup_id}"
    return f"{about} {_what(event)}"


def _why_not_created(event: CreateFailed, *, journaled: bool) -> str:
    if not isinstance(event.error, AmbiguousCreateError):
        return f"not created: {event.error}"
    # The error's own message begins with the planet.
    why = str(event.error).removeprefix(f"{event.planet}: ")
    # What a journal has no outcome of, going on with it finds out: nobody has to look, nor to create it again.
    return why.removesuffix(_ADVICE) if journaled and event.id is None else why


def _what(event: FinalEvent | BackupCreated) -> str:
    match event:
        case BackupCreated():
            found = "" if event.adopted is None else f" (its answer was lost; found by its {event.adopted})"
            return f"created{found}{'; there may be a second one' if event.possible_duplicate else ''}"
        case BackupSucceeded():
            return f"succeeded after {took(event.elapsed)}"
        case BackupFailed():
            why = event.backup.error_message or f"its status is {event.backup.status!r}"
            return f"failed after {took(event.elapsed)}: {why}"
        case BackupGone():
            return "does not exist" if event.backup is None else "was deleted while it was watched"
        case WatchExpired():
            trouble = "" if event.error is None else f"; the last poll told nothing: {event.error}"
            return f"was not finished when our deadline passed, after {took(event.elapsed)}{trouble}"
        case WatchFailed():
            return f"could no longer be checked: {event.error}"
