"""Which backup a lost create made: decisions over what lists and gets show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._api.reconcile import (
    AdoptBackup,
    ExamineCandidates,
    ExpectedBackup,
    MetadataMatch,
    NotListed,
    SeveralCandidates,
    marker_of,
)
from asyncbackups.models import Backup, BackupMetadata, BackupRef, BackupSpec, PlanetRef

PLANET = PlanetRef("solar", "earth")
SPEC = BackupSpec(retention_period_in_days=7, metadata=BackupMetadata("nightly", "before the release"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MARKER = marker_of(PLANET, "key")


def expectation(*, marker: str | None = MARKER, by_time: bool = True) -> ExpectedBackup:
    return ExpectedBackup(spec=SPEC, marker=marker, by_time=by_time)


def backup(number: int = 1, *, description: str | None = None, **changes) -> Backup:
    extra = {} if description is None else {"metadata": {"name": "nightly", "description": description}}
    given_fields = {"mechanism": "logical", "type": "temporary", "started_at": NOW, "extra": extra}
    return Backup(id=number, **{**given_fields, **changes})


def judge(backups, *, looking=None, since=NOW, owned=(), examined=True, **bounds):
    looking = looking or expectation()
    return looking.judge(backups, star_system="solar", since=since, owned=set(owned), examined=examined, **bounds)


def test_a_marker_is_short_readable_and_always_the_same_for_a_key():
    """The same key and planet give the same marker; another key or planet another one."""
    assert marker_of(PLANET, "key") == MARKER
    assert len({MARKER, marker_of(PLANET, "other"), marker_of(PlanetRef("solar", "mars"), "key")}) == 3
    assert MARKER.startswith("[asyncbackups:")
    assert len(MARKER) == 31


def test_the_marker_stands_at_the_end_of_the_description():
    """Name and description stay readable; the marker comes last."""
    marked = expectation().marked.metadata
    assert (marked.name, marked.description) == ("nightly", f"before the release {MARKER}")


def test_an_empty_description_becomes_the_marker_alone():
    """No blank is put before a marker that stands alone."""
    spec = BackupSpec(metadata=BackupMetadata("nightly"))
    assert ExpectedBackup(spec=spec, marker=MARKER, by_time=True).marked.metadata.description == MARKER


def test_without_a_marker_the_spec_is_sent_as_it_is():
    """Switched off, nothing is added."""
    assert expectation(marker=None).marked is SPEC


@pytest.mark.parametrize(
    ("shown", "echo"),
    [
        ({"metadata": {"name": "nightly", "description": f"x {MARKER}"}}, MetadataMatch.OURS),
        ({"annotations": [{"text": MARKER}]}, MetadataMatch.OURS),
        ({"metadata": {"name": "nightly", "description": "x"}}, MetadataMatch.OTHER),
        ({"metadata": {"name": "nightly", "description": SPEC.metadata.description}}, MetadataMatch.OTHER),
        ({"metadata": {"name": "weekly", "description": None}}, MetadataMatch.OTHER),
        ({"metadata": {"name": "nightly", "description": f"before the release {MARKER}"[:-5]}}, MetadataMatch.SILENT),
        ({"metadata": {"name": "nightly", "description": "before the"}}, MetadataMatch.SILENT),
        ({"metadata": {"name": "nightly", "description": "before the…"}}, MetadataMatch.SILENT),
        ({"metadata": {"name": "nightly", "description": "before the rel..."}}, MetadataMatch.SILENT),
        ({"metadata": {"name": "nightly"}}, MetadataMatch.SILENT),
        ({"metadata": {"name": "nightly", "description": ""}}, MetadataMatch.SILENT),
        ({"metadata": {"name": None}}, MetadataMatch.SILENT),
        ({"metadata": None}, MetadataMatch.SILENT),
        ({}, MetadataMatch.SILENT),
    ],
)
def test_metadata_says_whose_a_backup_is(shown, echo):
    """The marker anywhere is ours; what cannot be ours is not; what is cut or left out says nothing."""
    assert expectation().echo(Backup(id=1, extra=shown)) is echo


def test_without_a_marker_the_same_name_is_no_proof_but_another_is():
    """A name like ours leaves the question open; another name or description settles it."""
    looking = expectation(marker=None)
    assert looking.echo(backup(description="before the release")) is MetadataMatch.SILENT
    assert looking.echo(backup(description="x")) is MetadataMatch.OTHER
    assert looking.echo(backup(extra={"metadata": {"name": "other"}})) is MetadataMatch.OTHER


def test_a_marker_settles_it_whatever_else_is_there():
    """The one with the marker is adopted, even beside others that fit."""
    found = judge([backup(1), backup(2, description=f"y {MARKER}"), backup(3)])
    assert found == AdoptBackup(backup(2, description=f"y {MARKER}"), "marker")


def test_the_same_marker_twice_is_for_a_person_to_settle():
    """Two backups with our marker: both are candidates, newest first."""
    twice = [backup(1, description=MARKER), backup(2, description=MARKER)]
    assert judge(twice) == SeveralCandidates((twice[1], twice[0]))


def test_what_the_list_is_silent_about_is_examined_first():
    """A get may show metadata that the list does not."""
    assert judge([backup(1)], examined=False) == ExamineCandidates((backup(1),))


def test_one_that_only_time_points_to_is_adopted_by_time():
    """Where no metadata is shown at all, kind and start time decide, and it says so."""
    assert judge([backup(1)]) == AdoptBackup(backup(1), "time")


def test_adoption_by_time_can_be_forbidden():
    """Then the one candidate is for a person to settle."""
    assert judge([backup(1)], looking=expectation(by_time=False)) == SeveralCandidates((backup(1),))


def test_several_that_time_points_to_are_for_a_person_to_settle():
    """No guessing among candidates."""
    assert judge([backup(1), backup(2)]) == SeveralCandidates((backup(2), backup(1)))


def test_too_many_to_examine_are_for_a_person_to_settle():
    """Hundreds of gets would settle nothing in a reasonable time."""
    many = [backup(number) for number in range(50)]
    assert isinstance(judge(many, examined=False), SeveralCandidates)


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanism": "snapshot"},
        {"type": "permanent"},
        {"type": "scheduled"},
        {"started_at": NOW - timedelta(seconds=10)},
        {"description": "somebody else's"},
    ],
)
def test_what_does_not_fit_is_no_candidate(changes):
    """Another mechanism, type, time or metadata is not ours."""
    assert judge([backup(1, **changes)]) == NotListed()


def test_a_backup_of_another_create_is_never_a_candidate():
    """An id that another create of this client or journal owns stays theirs, marker or not."""
    assert judge([backup(1, description=MARKER)], owned=[BackupRef("solar", 1)]) == NotListed()


def test_one_that_has_not_started_may_be_ours():
    """A queued backup shows no start time."""
    assert judge([backup(1, started_at=None)]) == AdoptBackup(backup(1, started_at=None), "time")


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"status": "succeeded"}, {"completed_at": NOW}])
def test_one_that_is_over_and_does_not_say_when_it_began_is_not_proven(changes):
    """It may have failed before it began, or be years old: neither is it adopted, nor is another one made."""
    over = backup(1, started_at=None, **changes)
    assert judge([over]) == SeveralCandidates((over,))
    assert judge([attrs.evolve(over, completed_at=NOW - timedelta(days=1))]) == NotListed()


def test_times_of_no_year_are_none():
    """A backup that waits for its turn may show the year 1."""
    queued = backup(1, started_at=datetime(1, 1, 1, tzinfo=UTC), completed_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert judge([queued]) == AdoptBackup(queued, "time")


def test_where_clocks_disagree_time_proves_only_what_both_allow():
    """A machine slept, or its time of day was put right: what began in between may be ours, or somebody else's."""
    early = backup(1, started_at=NOW - timedelta(minutes=5))
    disagreeing = {"since": NOW - timedelta(minutes=10), "surely": NOW}
    assert judge([early], **disagreeing) == SeveralCandidates((early,))
    assert judge([backup(2)], **disagreeing) == AdoptBackup(backup(2), "time")


def test_description_that_is_shown_as_empty_proves_nothing():
    """The service may blank it, or somebody sent none."""
    blank = backup(1, description="")
    assert judge([blank]) == SeveralCandidates((blank,))


def test_what_began_after_the_attempt_was_over_is_not_proven_by_time():
    """The service may have let it wait, or somebody else made it: that is for a person to settle."""
    late = backup(1, started_at=NOW + timedelta(hours=4))
    assert judge([late], until=NOW + timedelta(minutes=15)) == SeveralCandidates((late,))
    assert judge([late], until=NOW + timedelta(hours=4)) == AdoptBackup(late, "time")


@given(st.lists(st.builds(backup, st.integers(0, 5), description=st.sampled_from([None, "x", MARKER])), max_size=6))
def test_what_is_adopted_was_shown_and_fits_best(backups):
    """Whatever is shown: something is adopted only if it is the only one of the strongest evidence."""
    verdict = judge(backups)
    marked = [one for one in backups if expectation().echo(one) is MetadataMatch.OURS]
    if isinstance(verdict, AdoptBackup):
        assert verdict.backup in backups
        assert verdict.by == ("marker" if marked else "time")
        assert len(marked or [one for one in backups if expectation().echo(one) is MetadataMatch.SILENT]) == 1
