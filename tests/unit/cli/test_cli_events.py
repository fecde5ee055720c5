"""Events as JSON and as lines."""

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
    PlanetRef,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.cli.events import Told, as_json, as_text

PLANET = PlanetRef("alpha", "prod")
REF = BackupRef("alpha", 7)
BACKUP = Backup(id=7, status="failed", display_status="sad", extra={"new": [1]})
KNOWN = {"ref": REF, "planet": PLANET, "elapsed": 2.5, "polls": 3}
NO_TOKEN = AuthenticationError(status=401)
LOST = AmbiguousCreateError("no answer", planet=PLANET, candidates=[BACKUP])

EVENTS: list[tuple[Told, str, str]] = [
    (BackupCreated(backup=BACKUP, **KNOWN), "backup_created", "alpha/prod: backup 7 created"),
    (
        BackupCreated(backup=BACKUP, adopted="time", possible_duplicate=True, **KNOWN),
        "backup_created",
        "alpha/prod: backup 7 created (its answer was lost; found by its time); there may be a second one",
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
        "alpha/prod: backup 7 was not finished when our deadline passed, after 2.5 s",
    ),
    (
        WatchFailed(error=NO_TOKEN, **KNOWN),
        "watch_failed",
        f"alpha/prod: backup 7 could no longer be checked: {NO_TOKEN}",
    ),
    (CreateFailed(planet=PLANET, error=NO_TOKEN), "create_failed", f"alpha/prod: not created: {NO_TOKEN}"),
    (
        CreateFailed(planet=PLANET, error=LOST),
        "create_failed",
        str(LOST),
    ),
    (BackupDeleted(ref=REF), "backup_deleted", "alpha/7 is deleted"),
    (DeleteFailed(ref=REF, error=NO_TOKEN), "delete_failed", f"alpha/7: not deleted: {NO_TOKEN}"),
]


@pytest.mark.parametrize(("event", "name", "text"), EVENTS)
def test_events_for_programs_and_people(event: Told, name: str, text: str) -> None:
    """Each event has its name, the same first members, and a line."""
    told = json.loads(json.dumps(as_json(event)))
    assert list(told)[:6] == ["event", "star_system", "planet", "backup_id", "elapsed", "polls"]
    assert (told["event"], told["star_system"]) == (name, "alpha")
    assert as_text(event) == text


def test_what_a_journal_finds_out_nobody_has_to_look_for() -> None:
    """The advice to look is left out as long as the journal has no outcome, which has a number."""
    lost = CreateFailed(planet=PLANET, error=LOST)
    assert as_text(lost, journaled=True) == (
        "alpha/prod: whether the backup was created is unknown: no answer (candidates: 7)."
    )
    assert as_text(attrs.evolve(lost, id=5), journaled=True) == as_text(lost) == str(LOST)


def test_backups_have_the_names_of_the_api() -> None:
    """A backup in an event is written as the API writes it, with what this version does not know."""
    told = as_json(BackupSucceeded(backup=BACKUP, **KNOWN))
    assert told["backup"]["displayStatus"] == "sad"
    assert told["backup"]["new"] == [1]
    assert (told["planet"], told["backup_id"], told["elapsed"], told["polls"]) == ("prod", 7, 2.5, 3)
    assert as_json(WatchExpired(ref=REF))["backup"] is None


def test_a_deadline_that_passed_while_nothing_could_be_asked_says_why() -> None:
    """What ran on, and what could not be looked at, are different things."""
    blind = WatchExpired(ref=REF, error=NO_TOKEN)
    assert as_json(blind)["error"]["message"] == str(NO_TOKEN)
    assert as_text(blind).endswith(f"; the last poll told nothing: {NO_TOKEN}")
    assert "error" not in as_json(WatchExpired(ref=REF))


def test_events_of_a_journal_have_their_number() -> None:
    """By it a program knows an event that is told again; without a journal there is none."""
    assert as_json(BackupSucceeded(backup=BACKUP, id=12, **KNOWN))["id"] == 12
    assert as_json(CreateFailed(planet=PLANET, error=NO_TOKEN, id=13))["id"] == 13
    assert "id" not in as_json(BackupSucceeded(backup=BACKUP, **KNOWN))


def test_errors_say_what_they_are() -> None:
    """An error has its class, its message, its HTTP status, and the candidates of a lost create."""
    refused = as_json(CreateFailed(planet=PLANET, error=NO_TOKEN))
    assert refused["error"] == {"type": "AuthenticationError", "message": str(NO_TOKEN), "status": 401}
    assert refused["backup_id"] is None
    assert as_json(CreateFailed(planet=PLANET, error=LOST))["error"]["candidates"] == [7]
    assert as_json(WatchFailed(ref=REF, error=NO_TOKEN))["error"]["status"] == 401
