"""Entries, and events and errors as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec
import pytest

from asyncbackups import errors
from asyncbackups._bulk.journal.entries import Entry, EntryKind, Header, entry_kind_of, event_from_entry, event_to_json
from asyncbackups.errors import (
    AmbiguousCreateError,
    AnswerTimeoutError,
    BackupGoneError,
    BackupsError,
    NotFoundError,
    ProtocolError,
    TransportError,
)
from asyncbackups.events import (
    BackupCreated,
    BackupFailed,
    BackupGone,
    BackupSucceeded,
    CreateFailed,
    DuplicateFound,
    Event,
    WatchExpired,
    WatchFailed,
)
from asyncbackups.models import Backup, BackupRef, BackupSpec, Environment, PlanetRef

NOW = datetime(2024, 1, 29, 9, 53, 9, 123456, tzinfo=UTC)
PLANET = PlanetRef('sol "a"', "märs")
REF = BackupRef('sol "a"', 362)
BACKUP = Backup(
    id=362,
    environment=Environment(project="a", extra={"zone": 1}),
    status="failed",
    started_at=NOW,
    extra={"huge": 2**63, "deep": {"list": [1, None, "x"]}},
)
WHERE: dict[str, Any] = {"ref": REF, "planet": PLANET, "elapsed": 1.5, "polls": 3}
PLAIN: list[Event] = [
    BackupCreated(backup=BACKUP, adopted="time", possible_duplicate=True, **WHERE),
    BackupCreated(backup=BACKUP, possible_duplicate=True, duplicates=(REF, BackupRef("a", "x")), **WHERE),
    DuplicateFound(duplicates=(BackupRef("a", 2**63), BackupRef("a", "00362")), **WHERE),
    BackupSucceeded(backup=BACKUP, **WHERE),
    BackupFailed(backup=BACKUP, **WHERE),
    BackupGone(backup=None, **WHERE),
    WatchExpired(backup=BACKUP, **WHERE),
]
ERRORS: list[BackupsError] = [
    NotFoundError(status=404, method="GET", url="https://x", headers={"Retry-After": "3"}, retry_after=3.0),
    AnswerTimeoutError("it took too long", method="POST", sent=True, attempt=2),
    ProtocolError("not JSON", excerpt="<html>"),
    AmbiguousCreateError("lost", planet=PLANET, candidates=[BACKUP]),
    BackupGoneError.of(REF, BACKUP),
]


def round_trip(event: Event) -> Event:
    return event_from_entry(Entry(7, entry_kind_of(event), 0, NOW, event_to_json(event)))


@pytest.mark.parametrize("event", PLAIN, ids=lambda event: type(event).__name__)
def test_events_survive_encoding(event: Event) -> None:
    """Nothing of an event is lost, and it gets the id of its entry."""
    assert round_trip(event) == attrs.evolve(event, id=7)


@pytest.mark.parametrize("backup_id", ["3f2a-b", "362", "00362", 2**64 - 1, -(2**63)])
def test_ids_survive_encoding(backup_id: int | str) -> None:
    """Also those in errors; an id keeps its type."""
    ref, backup = BackupRef("a", backup_id), attrs.evolve(BACKUP, id=backup_id)
    again = round_trip(WatchFailed(ref=ref, backup=backup, error=BackupGoneError.of(ref, backup)))
    assert (again.ref, again.backup, again.error.ref, again.error.backup) == (ref, backup, ref, backup)
    assert type(again.ref.backup_id) is type(again.error.ref.backup_id) is type(backup_id)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_encoding(error: BackupsError) -> None:
    """The error of an event keeps its class, message and data."""
    ended = [kind(error=error, **WHERE) for kind in (WatchFailed, WatchExpired)]
    for event in (CreateFailed(planet=PLANET, error=error), *ended):
        again = round_trip(event).error
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_unknown_error_class_becomes_its_nearest_public_base() -> None:
    """A class that a later reader may not know is written as its public base class."""

    class OwnError(NotFoundError):
        pass

    event = CreateFailed(planet=PLANET, error=OwnError(status=404))
    assert type(round_trip(event).error) is NotFoundError


def test_decoding_creates_only_errors_of_this_package() -> None:
    """Any other class that a journal names is ignored."""
    data = '{"planet": {"star_system": "a", "planet": "b"}, "error": {"type": "annotations", "args": [], "state": {}}}'
    assert hasattr(errors, "annotations")
    event = event_from_entry(Entry(7, EntryKind.CREATE_FAILED, 0, NOW, data))
    assert type(event.error) is BackupsError


def test_members_nested_too_deep_are_left_out() -> None:
    """An event is written even if the service's response cannot be encoded."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    event = BackupSucceeded(backup=attrs.evolve(BACKUP, extra={"deep": nested}), **WHERE)
    again = round_trip(event)
    assert again.ref == REF
    assert again.backup is not None
    assert (again.backup.status, again.backup.extra) == ("failed", {})


def test_entries_and_headers_survive_storing() -> None:
    """A row gives back its entry, and JSON its header."""
    entry = Entry(3, EntryKind.INTENT, 1, NOW, '{"key":"k"}')
    assert Entry.from_row(entry.row) == entry
    header = Header(tenant="t", base_url="https://x", spec=BackupSpec(temporary=False))
    assert Header.from_json(header.json_text) == header
    with pytest.raises(ValueError, match="unknown"):
        Entry.from_row((1, None, "unknown", NOW.isoformat(), ""))


def test_header_holds_no_secret() -> None:
    """A header holds tenant, URL and spec only."""
    text = Header(tenant="t", base_url="https://x", spec=BackupSpec()).json_text
    assert set(msgspec.json.decode(text)) == {"tenant", "base_url", "spec"}


def test_surrogates_are_replaced() -> None:
    """Aiohttp returns bytes of headers that are not UTF-8 as surrogates, which JSON cannot hold."""
    event = CreateFailed(planet=PlanetRef("s", "p"), error=TransportError("caf\udce9"))
    assert "caf?" in event_to_json(event)
