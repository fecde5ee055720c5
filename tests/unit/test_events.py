"""Events: frozen values made for `match`."""

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
GIVEN: dict[str, Any] = {
    "ref": REF,
    "planet": PLANET,
    "elapsed": 2.5,
    "polls": 3,
    "backup": Backup(id=362),
    "error": NotFoundError(status=404),
}


def made(cls: Any) -> Any:
    return cls(**{field.name: GIVEN[field.name] for field in attrs.fields(cls) if field.name in GIVEN})


@pytest.mark.parametrize("cls", get_args(Event), ids=lambda cls: cls.__name__)
def test_every_event_says_where_and_how_long(cls: Any) -> None:
    """Each event carries planet, elapsed time and polls, and is a frozen, slotted, hashable value."""
    event = made(cls)
    assert (event.planet, event.elapsed, event.polls) == (PLANET, 2.5, 3)
    assert event == made(cls)
    assert {event: 1}
    assert not hasattr(event, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.polls = 4


@pytest.mark.parametrize("cls", get_args(FinalEvent), ids=lambda cls: cls.__name__)
def test_every_final_event_names_the_backup(cls: Any) -> None:
    """What ends a watch names the backup, and shows it where it was seen."""
    event = made(cls)
    assert (event.ref, event.backup) == (REF, GIVEN["backup"])


def test_create_failed_has_no_ref() -> None:
    """A backup that was not created has no id to name it by."""
    assert not hasattr(CreateFailed(planet=PLANET, error=GIVEN["error"]), "ref")


def test_adoption_is_told() -> None:
    """A created backup says how it was found, None where its own answer named it."""
    assert BackupCreated(ref=REF, backup=GIVEN["backup"]).adopted is None
    assert BackupCreated(ref=REF, backup=GIVEN["backup"], adopted="marker").adopted == "marker"


def test_final_events_are_events() -> None:
    """Everything that ends a watch is among what a bulk run may tell, and all of it is exported."""
    assert set(get_args(FinalEvent)) < set(get_args(Event))
    assert {cls.__name__ for cls in get_args(Event)} < set(events.__all__)


def test_events_are_made_for_match() -> None:
    """Class patterns with keywords take an event apart."""
    event: Event = made(BackupFailed)
    match event:
        case BackupSucceeded():
            seen = None
        case BackupFailed(ref=ref, backup=Backup(id=number)):
            seen = (ref, number)
    assert seen == (REF, 362)
