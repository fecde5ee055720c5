"""Counting events, and the report at the end."""

from __future__ import annotations

from typing import Any

from asyncbackups import (
    AmbiguousCreateError,
    Backup,
    BackupCreated,
    BackupFailed,
    BackupRef,
    BackupSucceeded,
    ConnectError,
    Counts,
    CreateFailed,
    DuplicateFound,
    JournalError,
    PlanetRef,
    WatchExpired,
)
from asyncbackups.cli.reports import RunReport

BACKUP = Backup(id=1)


REQUESTS = {"get": 2, "create": 4}


def busy(**settings: Any) -> RunReport:
    """Return a report of four backups in two star systems, one of them in flight, and one that was not created."""
    report = RunReport(**settings)
    for number, star_system in enumerate(["alpha", "alpha", "beta", "beta"]):
        report.record_event(BackupCreated(ref=BackupRef(star_system, number), backup=BACKUP))
    report.record_event(BackupSucceeded(ref=BackupRef("alpha", 0), backup=BACKUP))
    report.record_event(BackupFailed(ref=BackupRef("alpha", 1), backup=BACKUP))
    report.record_event(WatchExpired(ref=BackupRef("beta", 2)))
    report.record_event(CreateFailed(planet=PlanetRef("beta", "x"), error=ConnectError("refused")))
    return report


def watching(*names: str, **settings: Any) -> RunReport:
    """Return a report of backups that are watched and were not created by the run."""
    report = RunReport(**settings)
    report.add_watched(map(BackupRef.parse, names))
    return report


def test_counts_by_star_system() -> None:
    """Each event counts for its star system; the total adds up; the highest status is kept."""
    report = busy()
    assert report.by_star_system["alpha"] == Counts(created=2, succeeded=1, failed=1)
    assert report.by_star_system["beta"] == Counts(created=2, expired=1, create_failed=1)
    assert (report.total.created, report.total.final_events, report.total.in_flight) == (4, 3, 1)
    assert list(report.in_flight) == [BackupRef("beta", 3)]
    assert report.status == 4


def test_watched_backups_are_in_flight_from_the_start() -> None:
    """Backups that the run did not create count from the start."""
    report = watching("alpha/1", "beta/1")
    assert report.total == Counts(created=2)
    assert report.total.in_flight == 2


def test_report_for_programs() -> None:
    """The report has all counts, the backups that are still running, and the exit status."""
    report = busy(targets=9, requests={"create": 4, "get": 2}, seconds=1.23456, interrupted=True)
    assert report.as_json() == {
        "event": "report",
        "planets": 9,
        "not_started": 4,
        "created": 4,
        "create_failed": 1,
        "succeeded": 1,
        "failed": 1,
        "gone": 0,
        "expired": 1,
        "unchecked": 0,
        "duplicate_found": 0,
        "in_flight": 1,
        "final_events": 3,
        "still_running": ["beta/3"],
        "duplicates": [],
        "possible_duplicates": 0,
        "requests": {"create": 4, "get": 2},
        "seconds": 1.235,
        "interrupted": True,
        "exit_status": 130,
    }
    assert "planets" not in RunReport().as_json()


def test_report_for_people() -> None:
    """The last lines have the counts and, after an interrupt, what is still running and what was not started."""
    report = busy(targets=1150, requests=REQUESTS, seconds=75, interrupted=True)
    counts = "4 backups created, 1 not created, 1 succeeded, 1 failed, 1 past the deadline"
    assert report.as_lines() == [
        f"{counts}; 1 min 15 s; 6 requests (create 4, get 2)",
        "interrupted: 1 backup created and still running; to continue waiting: asyncbackups wait beta/3",
        "1,145 planets not started",
    ]


def test_create_with_unknown_outcome_is_perhaps_created() -> None:
    """People see that it may have been done; programs find it among the failed creates."""
    report = busy(targets=6)
    planet = PlanetRef("beta", "y")
    report.record_event(CreateFailed(planet=planet, error=AmbiguousCreateError("no response", planet=planet)))
    assert report.as_lines()[0].startswith("4 backups created, 1 not created, 1 perhaps created, 1 succeeded, ")
    assert report.as_json()["create_failed"] == 2


def test_duplicates_are_named() -> None:
    """A user learns what to delete; the backup is still in flight, and the exit status is not affected."""
    report = RunReport(targets=1)
    ref = BackupRef("alpha", 31)
    report.record_event(BackupCreated(ref=ref, backup=BACKUP, possible_duplicate=True))
    planet, duplicates = PlanetRef("alpha", "prod"), (BackupRef("alpha", 32),)
    report.record_event(DuplicateFound(ref=ref, planet=planet, duplicates=duplicates))
    assert list(report.in_flight) == [ref]
    report.record_event(BackupSucceeded(ref=ref, backup=BACKUP))
    report.possible_duplicates = 1
    first, second = report.as_lines()
    assert first.startswith("1 backup created, 1 succeeded, 1 created twice, 1 perhaps created twice; ")
    assert second == "alpha/prod: created twice: alpha/31, alpha/32; delete one of them"
    members = report.as_json()
    assert (members["duplicates"], members["possible_duplicates"], members["exit_status"]) == (["alpha/32"], 1, 0)


def test_command_to_continue_repeats_the_connection() -> None:
    """The connection's options are repeated, quoted for a shell."""
    options = ("--token-file", "my token")
    waiting = watching("a b/1", interrupted=True, options=options)
    assert waiting.as_lines()[1].endswith("to continue waiting: asyncbackups wait 'a b/1' --token-file 'my token'")
    journaled = RunReport(targets=1, journal="my run", interrupted=True, options=options)
    assert journaled.as_lines()[-1] == "to resume: asyncbackups resume 'my run' --token-file 'my token'"


def test_report_of_an_interrupted_wait() -> None:
    """A wait names what it no longer watches; backups that end with the command need no command to continue."""
    left = watching("a/1", interrupted=True)
    assert left.as_lines() == [
        "1 backup watched; 0.0 s; 0 requests",
        "interrupted: 1 backup watched and still in flight; to continue waiting: asyncbackups wait a/1",
    ]
    short_lived = busy(targets=4, interrupted=True, is_outlived=False)
    assert short_lived.as_lines()[1] == "interrupted: 1 backup created and still running"
    nothing = RunReport(targets=1, interrupted=True)
    assert nothing.as_lines()[1] == "interrupted: no known backup is still running"


def test_report_of_a_run_with_a_journal() -> None:
    """The journal has the names of what is running and resumes the run; its error is part of the report."""
    left = busy(targets=9, journal="my run", interrupted=True)
    assert left.as_json()["journal"] == "my run"
    assert left.as_lines()[1:] == [
        "interrupted: 1 backup created and still running",
        "4 planets not started",
        "to resume: asyncbackups resume 'my run'",
    ]
    full = JournalError("the journal my run cannot be used: disk is full")
    broken = RunReport(targets=9, journal="my run", error=full)
    assert broken.as_lines()[1:] == [
        "the journal my run cannot be used: disk is full",
        "9 planets not started",
        "to resume: asyncbackups resume 'my run'",
    ]
    assert (broken.status, busy(targets=9, error=full).status) == (2, 4)
    assert broken.as_json()["error"] == {"type": "JournalError", "message": str(full)}
    assert "error" not in left.as_json()
