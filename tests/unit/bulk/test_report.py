"""The report of a bulk run."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import attrs

from asyncbackups._bulk.report import BulkReport, Outcome, ReportBuilder
from asyncbackups._http.messages import RequestKind
from asyncbackups.errors import ConfigurationError, NotFoundError
from asyncbackups.events import BackupCreated, BackupFailed, BackupSucceeded, CreateFailed, DuplicateFound, Event
from asyncbackups.models import Backup, BackupRef, PlanetRef

PLANETS = [PlanetRef("sun", f"p{number}") for number in range(3)]


def created(number: int) -> BackupCreated:
    return BackupCreated(ref=BackupRef("sun", number), planet=PLANETS[number], backup=Backup(id=number), elapsed=1.0)


def succeeded(number: int) -> BackupSucceeded:
    return BackupSucceeded(ref=BackupRef("sun", number), planet=PLANETS[number], backup=Backup(id=number), elapsed=9.0)


def failed(number: int) -> BackupFailed:
    return BackupFailed(ref=BackupRef("sun", number), planet=PLANETS[number], backup=Backup(id=number), elapsed=7.0)


def build(*events: Event) -> ReportBuilder:
    builder = ReportBuilder(Counter())
    for event in events:
        builder.add_event(event)
    return builder


def test_events_are_counted_and_outcomes_kept() -> None:
    """A created backup in flight has no outcome yet."""
    report = build(created(0), created(1), succeeded(0), failed(1), created(2)).snapshot(0.0)
    assert (report.created, report.succeeded, report.failed, report.in_flight) == (3, 1, 1, 1)
    assert report.outcomes == {
        PLANETS[0]: Outcome(event=succeeded(0), seconds=9.0),
        PLANETS[1]: Outcome(event=failed(1), seconds=7.0),
    }


def test_duplicates_and_doubts() -> None:
    """A doubt ends with a duplicate that is found, or with a proof that there is none."""
    in_doubt = [attrs.evolve(created(number), possible_duplicate=True) for number in range(3)]
    builder = build(*in_doubt)
    assert builder.snapshot(0.0).possible_duplicates == 3
    builder.add_event(DuplicateFound(ref=in_doubt[0].ref, planet=PLANETS[0], duplicates=(BackupRef("sun", 7),)))
    builder.settle_doubt(in_doubt[1].ref)
    report = builder.snapshot(0.0)
    assert (report.possible_duplicates, report.duplicates) == (1, (BackupRef("sun", 7),))
    known = attrs.evolve(in_doubt[0], duplicates=(BackupRef("sun", 8),))
    assert build(known).snapshot(0.0).duplicates == (BackupRef("sun", 8),)
    assert (report.outcomes, report.in_flight) == ({}, 3)


def test_snapshot_does_not_change() -> None:
    """Later events change neither counts nor outcomes, whenever the outcomes are first read, and in any order."""
    builder = build(created(0), succeeded(0))
    first = builder.snapshot(0.0)
    builder.add_event(failed(1))
    second = builder.snapshot(0.0)
    builder.add_event(succeeded(2))
    third = builder.snapshot(0.0)
    assert list(third.outcomes) == PLANETS
    assert list(first.outcomes) == PLANETS[:1]
    assert list(second.outcomes) == PLANETS[:2]
    assert [report.succeeded for report in (first, second, third)] == [1, 1, 2]


def test_changing_a_snapshot_changes_nothing_else() -> None:
    """Each snapshot is a copy of its own."""
    builder = build(succeeded(0))
    report = builder.snapshot(0.0)
    report.outcomes.clear()
    report.count(failed(1))
    assert list(report.outcomes) == PLANETS[1:2]
    assert list(builder.snapshot(0.0).outcomes) == PLANETS[:1]


def test_snapshot_is_a_report_like_any_other() -> None:
    """It can be compared, copied, pickled, and taken apart."""
    first, second = (build(created(0), succeeded(0)).snapshot(0.0) for _ in range(2))
    assert isinstance(first, BulkReport)
    assert first == second == copy.deepcopy(second) == pickle.loads(pickle.dumps(first))
    assert attrs.asdict(first, recurse=False)["outcomes"] == second.outcomes
    assert first != build(created(0)).snapshot(0.0)
    assert not hasattr(first, "no_such_member")


def test_duplicate_planet_keeps_the_outcome_of_its_backup() -> None:
    """Whether its second place is refused before or after the backup has ended."""
    refused = CreateFailed(planet=PLANETS[0], error=ConfigurationError("listed twice"))
    for events in ((created(0), refused, succeeded(0)), (created(0), succeeded(0), refused)):
        report = build(*events).snapshot(0.0)
        assert report.outcomes[PLANETS[0]].event == succeeded(0)
        assert (report.create_failed, report.succeeded) == (1, 1)


def test_failed_create_is_an_outcome() -> None:
    """A planet without a backup has the error as its outcome."""
    event = CreateFailed(planet=PLANETS[0], error=NotFoundError(status=404), elapsed=0.5)
    assert build(event).snapshot(0.0).outcomes == {PLANETS[0]: Outcome(event=event, seconds=0.5)}


def test_requests_and_time_count_from_the_start() -> None:
    """Requests before the run are not its own, and the time stops at the end."""
    requests = Counter({RequestKind.CREATE: 5})
    builder = ReportBuilder(requests)
    assert builder.snapshot(50.0) == ReportBuilder(Counter()).snapshot(0.0)
    builder.start_requests()
    builder.start_clock(100.0)
    requests[RequestKind.GET] += 2
    report = builder.snapshot(107.0)
    assert (report.requests, report.seconds) == ({RequestKind.GET: 2}, 7.0)
    builder.finish(110.0)
    builder.finish(120.0)
    assert builder.snapshot(130.0).seconds == 10.0


def test_public_report_counts_events() -> None:
    """`BulkReport` counts by itself, too, as `Counts` does."""
    report = BulkReport(planets=1, outcomes={}, requests=Counter(), seconds=1.0)
    report.count(created(0))
    assert (report.ok, report.outcomes) == (False, {})
    report.count(succeeded(0))
    assert (report.ok, list(report.outcomes)) == (True, PLANETS[:1])
