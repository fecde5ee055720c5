"""The meaning of a backup's status: documented, common and unknown words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asyncbackups._api.status_rule import has_known_status, progress_of
from asyncbackups.models import Backup, Progress, Status

NOW = datetime(2024, 1, 29, 9, 55, 20, tzinfo=UTC)


@pytest.mark.parametrize("status", ["succeeded", "Succeeded", "SUCCEEDED", Status.SUCCEEDED])
def test_documented_status_is_success(status: str) -> None:
    """The only documented status, in any case, completed or not."""
    assert progress_of(Backup(id=1, status=status)) is Progress.SUCCEEDED
    assert progress_of(Backup(id=1, status=status, completed_at=NOW)) is Progress.SUCCEEDED


@pytest.mark.parametrize(
    "status", ["failed", "error", "cancelled", "canceled", "aborted", "expired", "deleted", "FAILED", "Error"]
)
def test_common_failure_statuses_are_failure(status: str) -> None:
    """Words for failure, in any case, completed or not."""
    assert progress_of(Backup(id=1, status=status)) is Progress.FAILED


@pytest.mark.parametrize(
    "status", ["running", "inProgress", "IN_PROGRESS", "in-progress", "ONGOING", "pending", "queued", "creating", "New"]
)
@pytest.mark.parametrize("ended", [None, NOW], ids=["no end", "an end"])
def test_common_words_for_work_are_in_progress(status: str, ended: datetime | None) -> None:
    """Whatever `completedAt` says: services write the expected end early."""
    backup = Backup(id=1, status=status, completed_at=ended, extra={"completedAt": 5})
    assert progress_of(backup) is Progress.IN_PROGRESS
    assert has_known_status(backup)


@pytest.mark.parametrize(("status", "known"), [("succeeded", True), ("FAILED", True), ("zzz", False), (None, False)])
def test_known_status_is_not_inferred(status: str | None, known: bool) -> None:
    """Only an unknown word is interpreted by other members."""
    assert has_known_status(Backup(id=1, status=status, completed_at=NOW)) is known


@pytest.mark.parametrize("status", ["zzz", "", None, "failing", "succeeded?", "un-succeeded", "can.celled"])
def test_unknown_status_is_in_progress_until_completed(status: str | None) -> None:
    """Once the backup is completed, an unknown status is a failure."""
    assert progress_of(Backup(id=1, status=status)) is Progress.IN_PROGRESS
    assert progress_of(Backup(id=1, status=status, completed_at=NOW)) is Progress.FAILED


@pytest.mark.parametrize(
    ("completed", "progress"),
    [
        (1706522120, Progress.FAILED),
        ("29/01/2024", Progress.FAILED),
        (None, Progress.IN_PROGRESS),
        ("", Progress.IN_PROGRESS),
    ],
)
def test_unreadable_completion_time_is_completion(completed: object, progress: Progress) -> None:
    """A `completedAt` in another format still says that the backup is completed."""
    assert progress_of(Backup(id=1, status="stopped", extra={"completedAt": completed})) is progress


@pytest.mark.parametrize("year", [1, 1970])
def test_unset_completion_time_is_no_completion(year: int) -> None:
    """The year 1 or 1970, which some languages write for no time, does not make a running backup a failed one."""
    assert progress_of(Backup(id=1, status="running", completed_at=datetime(year, 1, 1, tzinfo=UTC))) is (
        Progress.IN_PROGRESS
    )
