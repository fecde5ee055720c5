"""A backup in flight, and what may be asked about it."""

from __future__ import annotations

from asyncbackups._polling.tracked import GetPoll, Subscription, TrackedBackup
from asyncbackups.models import Backup, BackupRef
from tests.unit.polling.worlds import Waiter


def test_flight_makes_its_name() -> None:
    """The name is not kept, but made when it is needed."""
    assert TrackedBackup("sun", 7).ref == BackupRef("sun", 7)


def test_age_is_none_of_the_clocks_tricks() -> None:
    """A backup is never younger than nothing, also where it seems to begin in the future; unknown counts as new."""
    assert TrackedBackup("sun", 7, started_at=90.0).age(100.0) == 10.0
    assert TrackedBackup("sun", 7, started_at=110.0).age(100.0) == 0.0
    assert TrackedBackup("sun", 7).age(100.0) == 0.0


def test_what_was_seen_is_told_of() -> None:
    """A flight that was never seen shows nothing; one that was shows what is kept of it."""
    flight = TrackedBackup("sun", 7, mechanism="logical")
    assert flight.last_seen() is None
    flight.status = "running"
    assert flight.last_seen() == Backup(id=7, status="running", mechanism="logical")


def test_get_knows_its_star_system() -> None:
    """A get is of the star system of its backup."""
    assert GetPoll(ref=BackupRef("sun", 7), sent=1.0).star_system == "sun"


def test_flights_and_waits_have_no_room_for_more() -> None:
    """A million of them: no dictionaries, no weak references."""
    flight = TrackedBackup("sun", 7)
    for one in (flight, Subscription(Waiter(), flight, 0.0)):
        assert not hasattr(one, "__dict__")
        assert not hasattr(one, "__weakref__")
