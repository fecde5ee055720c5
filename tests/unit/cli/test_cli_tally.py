"""Counting, and the report at the end."""

from __future__ import annotations

from asyncbackups import (
    AmbiguousCreateError,
    Backup,
    BackupCreated,
    BackupFailed,
    BackupRef,
    BackupSucceeded,
    ConnectError,
    CreateFailed,
    JournalError,
    PlanetRef,
    WatchExpired,
)
from asyncbackups.cli.comparison import Comparison, sleeping_loop
from asyncbackups.cli.ending import Ending
from asyncbackups.cli.tally import Counts, Tally

BACKUP = Backup(id=1)


def busy() -> Tally:
    """Return a tally of four backups in two star systems, of which one is in flight, and one that was not created."""
    tally = Tally()
    for number, star_system in enumerate(["alpha", "alpha", "beta", "beta"]):
        tally.note(BackupCreated(ref=BackupRef(star_system, number), backup=BACKUP))
    tally.note(BackupSucceeded(ref=BackupRef("alpha", 0), backup=BACKUP))
    tally.note(BackupFailed(ref=BackupRef("alpha", 1), backup=BACKUP))
    tally.note(WatchExpired(ref=BackupRef("beta", 2)))
    tally.note(CreateFailed(planet=PlanetRef("beta", "x"), error=ConnectError("refused")))
    return tally


def test_counts_by_star_system() -> None:
    """Each event is counted where it belongs; the total adds up; the highest status stays."""
    tally = busy()
    assert tally.by_star_system["alpha"] == Counts(created=2, succeeded=1, failed=1)
    assert tally.by_star_system["beta"] == Counts(created=2, expired=1, create_failed=1)
    assert (tally.total.created, tally.total.final_events, tally.total.in_flight) == (4, 3, 1)
    assert list(tally.in_flight) == [BackupRef("beta", 3)]
    assert tally.status == 4


def test_watched_backups_are_in_flight_from_the_start() -> None:
    """Backups that were not created by us count from the start, each once."""
    tally = Tally([BackupRef("alpha", 1), BackupRef("alpha", 1), BackupRef("beta", 1)])
    assert tally.total == Counts(created=2)
    assert tally.total.in_flight == 2


def test_report_for_programs() -> None:
    """The report has all counts, what is still running, and the exit status."""
    ending = Ending(tally=busy(), requests={"create": 4, "get": 2}, seconds=1.23456, targets=9, interrupted=True)
    assert ending.as_json() == {
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
        "in_flight": 1,
        "final_events": 3,
        "still_running": ["beta/3"],
        "requests": {"create": 4, "get": 2},
        "seconds": 1.235,
        "interrupted": True,
        "exit_status": 130,
    }
    assert "planets" not in Ending(tally=Tally(), requests={}, seconds=0).as_json()


def test_report_for_people() -> None:
    """The last lines say what was counted and, after an interrupt, what goes on and what was not begun."""
    ending = Ending(tally=busy(), requests={"get": 2, "create": 4}, seconds=75, targets=9, interrupted=True)
    counts = "4 backups created, 1 not created, 1 succeeded, 1 failed, 1 past the deadline"
    assert ending.as_lines() == [
        f"{counts}; 1 min 15 s; 6 requests (create 4, get 2)",
        "interrupted: 1 backup created and still running; to go on waiting: asyncbackups wait beta/3",
        "4 planets were not begun with",
    ]


def test_a_create_of_unknown_outcome_is_not_called_not_created() -> None:
    """It may have been done: people are told so, and programs find it among the creates that failed."""
    tally = busy()
    planet = PlanetRef("beta", "y")
    tally.note(CreateFailed(planet=planet, error=AmbiguousCreateError("no answer", planet=planet)))
    ending = Ending(tally=tally, requests={}, seconds=0, targets=6)
    assert ending.as_lines()[0].startswith("4 backups created, 1 not created, 1 perhaps created, 1 succeeded, ")
    assert ending.as_json()["create_failed"] == 2


def test_the_way_to_go_on_leads_to_the_same_place() -> None:
    """Options of the connection are repeated, and written so that a shell understands them."""
    where = {"requests": {}, "seconds": 0, "interrupted": True, "options": ("--token-file", "my token")}
    waiting = Ending(tally=Tally([BackupRef("a b", 1)]), **where)
    assert waiting.as_lines()[1].endswith("to go on waiting: asyncbackups wait 'a b/1' --token-file 'my token'")
    journaled = Ending(tally=Tally(), targets=1, journal="my run", **where)
    assert journaled.as_lines()[-1] == "to go on: asyncbackups resume 'my run' --token-file 'my token'"


def test_report_of_a_wait_that_was_left() -> None:
    """A wait says what it no longer watches; where backups end with the command there is nothing to go on with."""
    left = Ending(tally=Tally([BackupRef("a", 1)]), requests={}, seconds=0, interrupted=True)
    assert left.as_lines()[0] == "1 backup watched; 0.0 s; 0 requests"
    assert left.as_lines()[1:] == [
        "interrupted: 1 backup watched and still in flight; to go on waiting: asyncbackups wait a/1"
    ]
    short_lived = Ending(tally=busy(), requests={}, seconds=0, targets=4, interrupted=True, outlived=False)
    assert short_lived.as_lines()[1] == "interrupted: 1 backup created and still running"
    nothing = Ending(tally=Tally(), requests={}, seconds=0, targets=1, interrupted=True)
    assert nothing.as_lines()[1] == "interrupted: no backup that we know of is still running"


def test_report_of_a_run_with_a_journal() -> None:
    """Its journal goes on with it; the names of what is running are in there, too."""
    kept = {"requests": {}, "seconds": 0, "targets": 9, "journal": "my run"}
    left = Ending(tally=busy(), interrupted=True, **kept)
    assert left.as_json()["journal"] == "my run"
    assert left.as_lines()[1:] == [
        "interrupted: 1 backup created and still running",
        "4 planets were not begun with",
        "to go on: asyncbackups resume 'my run'",
    ]
    full = JournalError("the journal my run cannot be used: disk is full")
    broken = Ending(tally=Tally(), error=full, **kept)
    assert broken.as_lines()[1:] == [
        "the journal my run cannot be used: disk is full",
        "9 planets were not begun with",
        "to go on: asyncbackups resume 'my run'",
    ]
    assert (broken.status, Ending(tally=busy(), error=full, **kept).status) == (2, 4)
    assert broken.as_json()["error"] == {"type": "JournalError", "message": str(full)}
    assert "error" not in left.as_json()


def test_what_a_sleeping_loop_asks() -> None:
    """A loop asks at once and after each sleep, until the first time after the end."""
    assert sleeping_loop(131) == (6, 19)
    assert sleeping_loop(30) == (2, 0)
    assert sleeping_loop(0) == (1, 0)


def test_comparison_is_labelled_as_computed() -> None:
    """The comparison says what was counted and what was only computed; of nothing there is none."""
    comparison = Comparison(durations=[131, 60], delays=[2, 4], polls=5)
    assert comparison.as_json() == {
        "backups": 2,
        "polls": 5,
        "mean_delay": 3,
        "loop_interval": 30,
        "loop_polls_computed": 9,
        "loop_mean_delay_computed": 9.5,
    }
    ours, loop = comparison.as_lines()
    assert ours == "5 gets and lists told of 2 ends, 3.0 s late on average"
    assert loop.startswith("a loop that sleeps 30 s would have sent 9 gets and heard 9.5 s late (computed, not run;")
    assert Comparison([], [], 0).as_lines() == []
