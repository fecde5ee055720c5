"""Events as JSON and as lines for people."""

from __future__ import annotations

import json

import attrs
import pytest

from asyncbackups import (
    AmbiguousCreateError,
    AuthenticationError,
    Backup,
    BackupCreated,
    BackupDeleted,
    BackupFailed,
    BackupGone,
    BackupRef,
    BackupSucceeded,
    CreateFailed,
    DeleteFailed,
    DuplicateFound,
    PlanetRef,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.cli.exits import AnyEvent
from asyncbackups.cli.views import event_json, event_text

PLANET = PlanetRef("alpha", "prod")
REF = BackupRef("alpha", 7)
BACKUP = Backup(id=7, status="failed", display_status="sad", extra={"new": [1]})
KNOWN = {"ref": REF, "planet": PLANET, "elapsed": 2.5, "polls": 3}
NO_TOKEN = AuthenticationError(status=401)
LOST = AmbiguousCreateError("no response", planet=PLANET, candidates=[BACKUP])

EVENTS: list[tuple[AnyEvent, str, str]] = [
    (BackupCreated(backup=BACKUP, **KNOWN), "backup_created", "alpha/prod: backup 7 created"),
    (
        BackupCreated(backup=BACKUP, adopted="time", possible_duplicate=True, **KNOWN),
        "backup_created",
        "alpha/prod: backup 7 created (its response was lost; identified by its time); there may be a duplicate",
    ),
    (
        DuplicateFound(duplicates=(BackupRef("alpha", 8),), **KNOWN),
        "duplicate_found",
        "alpha/prod: created twice: alpha/7, alpha/8; delete one of them",
    ),
    (
        DuplicateFound(duplicates=(BackupRef("alpha", 8), BackupRef("alpha", "x")), **KNOWN),
        "duplicate_found",
        "alpha/prod: created 3 times: alpha/7, alpha/8, alpha/x; delete all but one",
    ),
    (BackupSucceeded(backup=BACKUP, ref=REF, elapsed=131), "backup_succeeded", "alpha/7 succeeded after 2 min 11 s"),
    (
        BackupFailed(backup=BACKUP, **KNOWN),
        "backup_failed",
        "alpha/prod: backup 7 failed after 2.5 s: its status is 'failed'",
    ),
    (
        BackupFailed(backup=Backup(id=7, error_message="disk full"), **KNOWN),
        "backup_failed",
        "alpha/prod: backup 7 failed after 2.5 s: disk full",
    ),
    (BackupGone(ref=REF), "backup_gone", "alpha/7 does not exist"),
    (BackupGone(ref=REF, backup=BACKUP), "backup_gone", "alpha/7 was deleted while it was watched"),
    (
        WatchExpired(**KNOWN),
        "watch_expired",
        "alpha/prod: backup 7 not finished at the deadline, after 2.5 s",
    ),
    (
        WatchFailed(error=NO_TOKEN, **KNOWN),
        "watch_failed",
        f"alpha/prod: backup 7 can no longer be checked: {NO_TOKEN}",
    ),
    (CreateFailed(planet=PLANET, error=NO_TOKEN), "create_failed", f"alpha/prod: not created: {NO_TOKEN}"),
    (
        CreateFailed(planet=PLANET, error=LOST),
        "create_failed",
        str(LOST),
    ),
    (BackupDeleted(ref=REF), "backup_deleted", "alpha/7 deleted"),
    (DeleteFailed(ref=REF, error=NO_TOKEN), "delete_failed", f"alpha/7: not deleted: {NO_TOKEN}"),
]


@pytest.mark.parametrize(("event", "name", "text"), EVENTS)
def test_events_for_programs_and_people(event: AnyEvent, name: str, text: str) -> None:
    """Each event has its name, the same first members, and a line."""
    members = json.loads(json.dumps(event_json(event)))
    assert list(members)[:6] == ["event", "star_system", "planet", "backup_id", "elapsed", "polls"]
    assert (members["event"], members["star_system"]) == (name, "alpha")
    assert event_text(event) == text


def test_no_advice_if_the_journal_settles_the_outcome() -> None:
    """The hint is left out as long as the journal has no outcome, which would have an id."""
    lost = CreateFailed(planet=PLANET, error=LOST)
    assert event_text(lost, has_journal=True) == f"alpha/prod: {LOST.reason}"
    assert event_text(attrs.evolve(lost, id=5), has_journal=True) == event_text(lost) == str(LOST)


def test_backups_have_the_field_names_of_the_api() -> None:
    """A backup in an event has the API's field names, including fields that this version does not know."""
    members = event_json(BackupSucceeded(backup=BACKUP, **KNOWN))
    assert members["backup"]["displayStatus"] == "sad"
    assert members["backup"]["new"] == [1]
    assert (members["planet"], members["backup_id"], members["elapsed"], members["polls"]) == ("prod", 7, 2.5, 3)
    assert event_json(WatchExpired(ref=REF))["backup"] is None


def test_expired_watch_reports_why_its_last_poll_failed() -> None:
    """A backup that is still running and one that could not be polled are different results."""
    blind = WatchExpired(ref=REF, error=NO_TOKEN)
    assert event_json(blind)["error"]["message"] == str(NO_TOKEN)
    assert event_text(blind).endswith(f"; the last poll failed: {NO_TOKEN}")
    assert "error" not in event_json(WatchExpired(ref=REF))


def test_events_of_a_journal_have_an_id() -> None:
    """A program recognizes a repeated event by it; without a journal there is none."""
    assert event_json(BackupSucceeded(backup=BACKUP, id=12, **KNOWN))["id"] == 12
    assert event_json(CreateFailed(planet=PLANET, error=NO_TOKEN, id=13))["id"] == 13
    assert "id" not in event_json(BackupSucceeded(backup=BACKUP, **KNOWN))


@pytest.mark.parametrize("backup_id", ["3f2a", "00362", 2**64 - 1, -5])
def test_ids_are_shown_as_they_are(backup_id: int | str) -> None:
    """JSON keeps their type."""
    event = BackupSucceeded(ref=BackupRef("alpha", backup_id), planet=PLANET, backup=Backup(id=backup_id))
    members = json.loads(json.dumps(event_json(event)))
    assert (members["backup_id"], members["backup"]["id"]) == (backup_id, backup_id)
    assert f"alpha/prod: backup {backup_id} " in event_text(event)


def test_duplicates_are_named() -> None:
    """A program gets the ids of all further backups of a create."""
    others = (BackupRef("alpha", 8), BackupRef("alpha", "x"))
    assert event_json(BackupCreated(backup=BACKUP, duplicates=others, **KNOWN))["duplicates"] == [8, "x"]
    found = event_json(DuplicateFound(duplicates=others, **KNOWN))
    assert (found["backup_id"], found["duplicates"]) == (7, [8, "x"])


def test_errors_as_json() -> None:
    """An error has its class, message and HTTP status, and the candidates of a create with a lost response."""
    refused = event_json(CreateFailed(planet=PLANET, error=NO_TOKEN))
    assert refused["error"] == {"type": "AuthenticationError", "message": str(NO_TOKEN), "status": 401}
    assert refused["backup_id"] is None
    assert event_json(CreateFailed(planet=PLANET, error=LOST))["error"]["candidates"] == [7]
    assert event_json(WatchFailed(ref=REF, error=NO_TOKEN))["error"]["status"] == 401
