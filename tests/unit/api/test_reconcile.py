"""Matching listed and fetched backups with a create that lost its response."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbackups._api.marker import build_marker
from asyncbackups._api.reconcile import (
    AdoptBackup,
    ExpectedBackup,
    FetchCandidates,
    MetadataMatch,
    NotListed,
    SeveralCandidates,
)
from asyncbackups.models import Backup, BackupMetadata, BackupRef, BackupSpec, PlanetRef, Progress, progress_of

PLANET = PlanetRef("solar", "earth")
SPEC = BackupSpec(retention_period_in_days=7, metadata=BackupMetadata("nightly", "before the release"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MARKER = build_marker(PLANET, "key")


def expectation(**changes) -> ExpectedBackup:
    fields = {"spec": SPEC, "marker": MARKER, "adopt_by_time": True, "status_rule": progress_of}
    return ExpectedBackup(**{**fields, **changes})


def backup(number: int = 1, *, description: str | None = None, **changes) -> Backup:
    extra = {} if description is None else {"metadata": {"name": "nightly", "description": description}}
    given_fields = {"mechanism": "logical", "type": "temporary", "started_at": NOW, "extra": extra}
    return Backup(id=number, **{**given_fields, **changes})


def match(backups, *, expected=None, earliest_send=NOW, claimed=(), fetched=True, **bounds):
    return (expected or expectation()).match_backups(
        backups, star_system="solar", earliest_send=earliest_send, claimed=set(claimed), fetched=fetched, **bounds
    )


def test_marker_is_appended_to_the_description():
    """Name and description stay readable; the marker comes last."""
    marked = expectation().spec_with_marker.metadata
    assert (marked.name, marked.description) == ("nightly", f"before the release {MARKER}")


def test_empty_description_becomes_the_marker():
    """No space precedes a marker that is the whole description."""
    spec = BackupSpec(metadata=BackupMetadata("nightly"))
    assert expectation(spec=spec).spec_with_marker.metadata.description == MARKER


def test_spec_without_marker_is_sent_unchanged():
    """With markers switched off, nothing is added."""
    assert expectation(marker=None).spec_with_marker is SPEC


@pytest.mark.parametrize(
    ("shown", "result"),
    [
        ({"metadata": {"name": "nightly", "description": f"x {MARKER}"}}, MetadataMatch.OURS),
        ({"annotations": [{"text": MARKER}]}, MetadataMatch.OURS),
        ({"metadata": {"name": "nightly", "description": "x"}}, MetadataMatch.OTHER),
        ({"metadata": {"name": "nightly", "description": SPEC.metadata.description}}, MetadataMatch.OTHER),
        ({"metadata": {"name": "weekly", "description": None}}, MetadataMatch.OTHER),
        ({"metadata": {"name": "nightly", "description": f"before the release {MARKER}"[:-5]}}, MetadataMatch.UNKNOWN),
        ({"metadata": {"name": "nightly", "description": "before the"}}, MetadataMatch.UNKNOWN),
        ({"metadata": {"name": "nightly", "description": "before the…"}}, MetadataMatch.UNKNOWN),
        ({"metadata": {"name": "nightly", "description": "before the rel..."}}, MetadataMatch.UNKNOWN),
        ({"metadata": {"name": "nightly"}}, MetadataMatch.UNKNOWN),
        ({"metadata": {"name": "nightly", "description": ""}}, MetadataMatch.UNKNOWN),
        ({"metadata": {"name": None}}, MetadataMatch.UNKNOWN),
        ({"metadata": None}, MetadataMatch.UNKNOWN),
        ({}, MetadataMatch.UNKNOWN),
    ],
)
def test_metadata_is_compared_with_the_request(shown, result):
    """The marker anywhere matches; other metadata excludes; missing or truncated metadata proves nothing."""
    assert expectation().match_metadata(Backup(id=1, extra=shown)) is result


def test_without_marker_only_different_metadata_decides():
    """An equal name or description proves nothing; a different one excludes."""
    expected = expectation(marker=None)
    assert expected.match_metadata(backup(description="before the release")) is MetadataMatch.UNKNOWN
    assert expected.match_metadata(backup(description="x")) is MetadataMatch.OTHER
    assert expected.match_metadata(backup(extra={"metadata": {"name": "other"}})) is MetadataMatch.OTHER


def test_backup_with_the_marker_is_adopted():
    """It is adopted even beside other candidates."""
    found = match([backup(1), backup(2, description=f"y {MARKER}"), backup(3)])
    assert found == AdoptBackup(backup(2, description=f"y {MARKER}"), "marker")


def test_two_backups_with_the_marker_are_both_candidates():
    """Neither is adopted; both are reported, newest first."""
    twice = [backup(1, description=MARKER), backup(2, description=MARKER)]
    assert match(twice) == SeveralCandidates((twice[1], twice[0]))


def test_candidates_without_metadata_are_fetched_first():
    """A GET may show metadata that the LIST does not."""
    assert match([backup(1)], fetched=False) == FetchCandidates((backup(1),))


def test_only_candidate_is_adopted_by_time():
    """If no metadata is shown at all, mechanism, type and start time decide, and the verdict says so."""
    assert match([backup(1)]) == AdoptBackup(backup(1), "time")


def test_adoption_by_time_can_be_switched_off():
    """The only candidate is then reported, not adopted."""
    assert match([backup(1)], expected=expectation(adopt_by_time=False)) == SeveralCandidates((backup(1),))


def test_several_candidates_are_reported_not_guessed():
    """Time does not decide between two candidates."""
    assert match([backup(1), backup(2)]) == SeveralCandidates((backup(2), backup(1)))


def test_too_many_candidates_are_not_fetched():
    """Dozens of GETs would take too long; the candidates are reported."""
    many = [backup(number) for number in range(50)]
    assert isinstance(match(many, fetched=False), SeveralCandidates)


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanism": "snapshot"},
        {"type": "permanent"},
        {"type": "scheduled"},
        {"started_at": NOW - timedelta(seconds=10)},
        {"description": "another client's"},
    ],
)
def test_backup_that_differs_is_no_candidate(changes):
    """Another mechanism, type, start time or metadata excludes a backup."""
    assert match([backup(1, **changes)]) == NotListed()


def test_claimed_backup_is_no_candidate():
    """A backup claimed by another create of this client or journal is excluded, even with the marker."""
    assert match([backup(1, description=MARKER)], claimed=[BackupRef("solar", 1)]) == NotListed()


def test_queued_backup_is_adopted():
    """A queued backup has no start time yet."""
    assert match([backup(1, started_at=None)]) == AdoptBackup(backup(1, started_at=None), "time")


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"status": "succeeded"}, {"completed_at": NOW}])
def test_finished_backup_without_start_time_is_not_adopted(changes):
    """It may be years old: it is reported, unless its completion time excludes it."""
    over = backup(1, started_at=None, **changes)
    assert match([over]) == SeveralCandidates((over,))
    assert match([attrs.evolve(over, completed_at=NOW - timedelta(days=1))]) == NotListed()


def test_status_rule_decides_whether_a_backup_without_start_time_is_queued():
    """The client's rule is applied, not the default one."""
    ready = backup(1, started_at=None, status="ready")
    expected = expectation(
        status_rule=lambda one: Progress.SUCCEEDED if one.status == "ready" else Progress.IN_PROGRESS
    )
    assert match([ready]) == AdoptBackup(ready, "time")
    assert match([ready], expected=expected) == SeveralCandidates((ready,))
    stopped = backup(1, started_at=None, status="failed")
    assert match([stopped], expected=expected) == AdoptBackup(stopped, "time")


@pytest.mark.parametrize("rule", [lambda one: 1 / 0, lambda one: None], ids=["raises", "returns None"])
def test_broken_status_rule_adopts_nothing(rule):
    """An error in the caller's rule is no reason to lose a create that may have happened: the backup is reported."""
    queued = backup(1, started_at=None)
    assert match([queued], expected=expectation(status_rule=rule)) == SeveralCandidates((queued,))


def test_unset_times_count_as_missing():
    """A queued backup may show the year 1 or 1970."""
    queued = backup(1, started_at=datetime(1, 1, 1, tzinfo=UTC), completed_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert match([queued]) == AdoptBackup(queued, "time")


def test_time_proves_only_what_both_clocks_allow():
    """If clocks disagree about the time of sending, a backup that started in between is reported, not adopted."""
    early = backup(1, started_at=NOW - timedelta(minutes=5))
    disagreeing = {"earliest_send": NOW - timedelta(minutes=10), "latest_send": NOW}
    assert match([early], **disagreeing) == SeveralCandidates((early,))
    assert match([backup(2)], **disagreeing) == AdoptBackup(backup(2), "time")


def test_empty_description_proves_nothing():
    """The service may blank descriptions, or another client sent an empty one."""
    blank = backup(1, description="")
    assert match([blank]) == SeveralCandidates((blank,))


def test_backup_started_after_the_attempt_ended_is_not_adopted():
    """The service may have queued it, or another client created it: it is reported."""
    late = backup(1, started_at=NOW + timedelta(hours=4))
    assert match([late], latest_end=NOW + timedelta(minutes=15)) == SeveralCandidates((late,))
    assert match([late], latest_end=NOW + timedelta(hours=4)) == AdoptBackup(late, "time")


@given(st.lists(st.builds(backup, st.integers(0, 5), description=st.sampled_from([None, "x", MARKER])), max_size=6))
def test_adopted_backup_has_the_strongest_evidence_alone(backups):
    """Whatever is listed: a backup is adopted only if no other has evidence as strong."""
    verdict = match(backups)
    marked = [one for one in backups if expectation().match_metadata(one) is MetadataMatch.OURS]
    if isinstance(verdict, AdoptBackup):
        assert verdict.backup in backups
        assert verdict.by == ("marker" if marked else "time")
        assert (
            len(marked or [one for one in backups if expectation().match_metadata(one) is MetadataMatch.UNKNOWN]) == 1
        )
