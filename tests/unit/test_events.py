"""Events: values for `match`."""

from __future__ import annotations

from typing import Any, get_args

import attrs
import pytest

from asyncbackups import events
from asyncbackups.errors import NotFoundError
from asyncbackups.events import BackupCreated, BackupFailed, BackupSucceeded, CreateFailed, Event, FinalEvent
from asyncbackups.models import Backup, BackupRef, PlanetRef

REF = BackupRef("alpha", 362)
PLANET = PlanetRef("alpha", "p1")
FIELDS: dict[str, Any] = {
    "ref": REF,
    "planet": PLANET,
    "elapsed": 2.5,
    "polls": 3,
    "backup": Backup(id=362),
    "error": NotFoundError(status=404),
    "duplicates": (BackupRef("alpha", 363),),
}


def build_event(cls: Any) -> Any:
    return cls(**{field.name: FIELDS[field.name] for field in attrs.fields(cls) if field.name in FIELDS})


@pytest.mark.parametrize("cls", get_args(Event), ids=lambda cls: cls.__name__)
def test_events_have_planet_elapsed_and_polls(cls: Any) -> None:
    """All events of a run share these attributes, and are hashable values."""
    event = build_event(cls)
    assert (event.planet, event.elapsed, event.polls) == (PLANET, 2.5, 3)
    assert event == build_event(cls)
    assert {event: 1}


@pytest.mark.parametrize("cls", get_args(FinalEvent), ids=lambda cls: cls.__name__)
def test_final_events_have_ref_and_backup(cls: Any) -> None:
    """A final event has the reference and the backup as last returned."""
    event = build_event(cls)
    assert (event.ref, event.backup) == (REF, FIELDS["backup"])


def test_create_failed_has_no_ref() -> None:
    """A backup that was not created has no id."""
    assert not hasattr(CreateFailed(planet=PLANET, error=FIELDS["error"]), "ref")


def test_adoption_is_none_unless_adopted() -> None:
    """A created backup has the kind of its adoption; None if the response named it."""
    assert BackupCreated(ref=REF, backup=FIELDS["backup"]).adopted is None
    assert BackupCreated(ref=REF, backup=FIELDS["backup"], adopted="marker").adopted == "marker"


def test_events_are_exported() -> None:
    """Final events are events of a run, and all of them are exported."""
    assert set(get_args(FinalEvent)) < set(get_args(Event))
    assert {cls.__name__ for cls in get_args(Event)} < set(events.__all__)


def test_events_support_match() -> None:
    """Class patterns with keywords destructure an event."""
    event: Event = build_event(BackupFailed)
    match event:
        case BackupSucceeded():
            seen = None
        case BackupFailed(ref=ref, backup=Backup(id=number)):
            seen = (ref, number)
    assert seen == (REF, 362)
