"""Tracked backups, and the polls that can be sent for them."""

from __future__ import annotations

from asyncbackups._polling.tracked import GetPoll, Subscription, TrackedBackup
from asyncbackups.models import Backup, BackupRef
from tests.unit.polling.scenario import RecordingSubscriber


def test_ref_is_created_on_access() -> None:
    """The name is not kept, because there may be a million backups."""
    assert TrackedBackup("sun", 7).ref == BackupRef("sun", 7)


def test_age_is_never_negative() -> None:
    """A backup that seems to start in the future has age 0, as has one whose start is unknown."""
    assert TrackedBackup("sun", 7, started_at=90.0).age_at(100.0) == 10.0
    assert TrackedBackup("sun", 7, started_at=110.0).age_at(100.0) == 0.0
    assert TrackedBackup("sun", 7).age_at(100.0) == 0.0


def test_last_seen_shows_what_is_kept_of_the_last_observation() -> None:
    """It is None before the first observation."""
    backup = TrackedBackup("sun", 7, mechanism="logical")
    assert backup.last_seen() is None
    backup.status = "running"
    assert backup.last_seen() == Backup(id=7, status="running", mechanism="logical")


def test_older_poll_does_not_make_the_last_observation_older() -> None:
    """A GET that was in flight for long counts as a poll, but lists sent before the last one stay outdated."""
    backup = TrackedBackup("sun", 7)
    backup.count_poll(10.0)
    backup.count_poll(5.0)
    assert (backup.polls, backup.observed_at) == (2, 10.0)


def test_get_belongs_to_the_star_system_of_its_backup() -> None:
    """The scheduler finds the star system of a poll by it."""
    assert GetPoll(ref=BackupRef("sun", 7), sent=1.0).star_system == "sun"


def test_tracked_backups_and_subscriptions_are_small() -> None:
    """There may be a million of them: no dictionaries, no weak references."""
    backup = TrackedBackup("sun", 7)
    for item in (backup, Subscription(RecordingSubscriber(), backup, 0.0)):
        assert not hasattr(item, "__dict__")
        assert not hasattr(item, "__weakref__")
