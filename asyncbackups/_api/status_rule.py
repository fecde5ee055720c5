"""The meaning of a backup's status: the words for success, work in progress and failure, and unknown words."""

from __future__ import annotations

from asyncbackups.models import Backup, Progress, Status, real_instant

_PROGRESS_STATUSES = frozenset(
    {
        *("accepted", "active", "created", "creating", "executing", "initiated", "initiating", "inprogress", "new"),
        *("notstarted", "ongoing", "pending", "processing", "provisioning", "queued", "requested", "running"),
        *("scheduled", "started", "starting", "submitted", "waiting", "working"),
    }
)
"""Words for work in progress, in lower case and without separators."""
_FAILURE_STATUSES = frozenset({"failed", "error", "cancelled", "canceled", "aborted", "expired", "deleted"})


def progress_of(backup: Backup) -> Progress:
    """Return what a backup's status means. Another function can be given to the client as `status_rule`.

    Documented: "The database backup has been created if the value of `status` is `succeeded`". Other statuses are not
    documented: a common word for failure (failed, error, cancelled, aborted, expired, deleted), in any case, means
    failed. A common word for work (inProgress, ONGOING, running, pending, queued, creating, ...) means in progress,
    whatever `completedAt` says. An unknown status means failed if the backup is completed (a wait confirms that with
    another poll, and ignores a `completedAt` in the future), and in progress otherwise.

    Args:
        backup: The backup, as returned by the service.
    """
    known = _known_progress(backup.status)
    if known is not None:
        return known
    # A `completedAt` that is not an ISO 8601 instant (an epoch number, say) is in `extra`, with the same meaning.
    at = backup.completed_at
    completed = bool(backup.extra.get("completedAt")) if at is None else real_instant(at) is not None
    return Progress.FAILED if completed else Progress.IN_PROGRESS


def has_known_status(backup: Backup) -> bool:
    """Return True if `progress_of` knows the word of a backup's status, and infers nothing from other members."""
    return _known_progress(backup.status) is not None


def _known_progress(status: str | None) -> Progress | None:
    word = (status or "").casefold()
    if word == Status.SUCCEEDED:
        return Progress.SUCCEEDED
    if word in _FAILURE_STATUSES:
        return Progress.FAILED
    return Progress.IN_PROGRESS if "".join(filter(str.isalnum, word)) in _PROGRESS_STATUSES else None
